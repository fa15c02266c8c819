--- Compression: zlib, gzip and raw deflate, at once or as a stream, and checksums.
---
--- Input of up to 65536 bytes is done at once, larger one on a thread of the pool while the task
--- waits. What is inflated has a limit, so that a few bytes from a stranger cannot fill the memory.
local ffi = require "ffi"
local check = require "links.check"
local core = require "links.core"
local errors = require "links.errors"

ffi.cdef [[
typedef struct links_zlib {
    const char *data;
    size_t len;
    double total_in, total_out;
} links_zlib;
links_zlib *links_zlib_new(int format, int level, double max_size);
void links_zlib_free(links_zlib *z);
int links_zlib_feed(links_zlib *z, const char *data, size_t len, int mode);
int links_zlib_result(links_zlib *z);
uint32_t links_zlib_crc32(uint32_t sum, const char *data, size_t len);
uint32_t links_zlib_adler32(uint32_t sum, const char *data, size_t len);
]]

local C, AGAIN = ffi.C, -19999
local wait, new_error = core.wait, errors.new

local RAW, ZLIB, GZIP, AUTO, BROTLI, ZSTD = 0, 1, 2, 3, 4, 5
local MORE, FLUSH, FINISH = 0, 1, 2
local MAX_SIZE = 2 ^ 26

local zlib = {}

local FORMATS = {
    deflate = { ZLIB, true }, gzip = { GZIP, true }, deflateRaw = { RAW, true },
    inflate = { ZLIB }, gunzip = { GZIP }, inflateRaw = { RAW }, unzip = { AUTO },
    brotli = { BROTLI, true }, unbrotli = { BROTLI },
    zstd = { ZSTD, true }, unzstd = { ZSTD },
}

local DEFLATE_OPTIONS = {
    level = { default = 6, type = "integer", min = 0, max = 9 },
    raw = { default = false, type = "boolean" },
}
local INFLATE_OPTIONS = {
    maxSize = { default = MAX_SIZE, type = "integer", min = 0, max = 2 ^ 53 },
    raw = { default = false, type = "boolean" },
}

local COMPRESS_OPTIONS = {
    brotli = { level = { default = 5, type = "integer", min = 0, max = 11 } },
    zstd = { level = { default = 3, type = "integer", min = 1, max = 19 } },
}

local function new_stream(signature, format, options, level)
    local deflates = FORMATS[format][2]
    local known = not deflates and INFLATE_OPTIONS or COMPRESS_OPTIONS[format] or DEFLATE_OPTIONS
    local o = check.options(signature, options, known, level + 1)
    local kind = o.raw and RAW or FORMATS[format][1]
    local handle = C.links_zlib_new(kind, deflates and o.level or -1, o.maxSize or 0)
    if handle == nil then
        if kind >= BROTLI then return nil, new_error(errors.code("UNSUPPORTED"), format) end
        error(signature .. " zlib refused: another version of it?", level + 2)
    end
    return ffi.gc(handle, C.links_zlib_free)
end

-- Feeds one piece and gives what comes out.
local function feed(handle, data, mode, name)
    local rc = C.links_zlib_feed(handle, data, #data, mode)
    if rc == 0 then rc = C.links_zlib_result(handle) end
    while rc == AGAIN do
        local status = wait()
        if status ~= 0 then return nil, new_error(status, name) end
        rc = C.links_zlib_result(handle)
    end
    if rc < 0 then return nil, new_error(rc, name) end
    return ffi.string(handle.data, handle.len)
end

-- A function for all of it at once.
local function whole(format)
    local signature = "zlib." .. format .. "(data[, options])"
    return function(data, options)
        check.type(signature, "data", data, "string")
        local handle, missing = new_stream(signature, format, options, 1)
        if not handle then return nil, missing end
        local result, err = feed(handle, data, FINISH, format)
        -- A stream is a quarter of a megabyte that the collector does not see.
        C.links_zlib_free(ffi.gc(handle, nil))
        return result, err
    end
end

--- Compresses, with zlib's header (RFC 1950): what HTTP calls "deflate".
---
--- @param data     string  the bytes
--- @param options  table   level  6      0 (not at all) to 9 (as small as possible)
---                         raw    false  without the header (RFC 1951)
--- @return string
--- @return nil, err        POOL_FULL  no thread is free and too much waits
---                         ECANCELED  this task was cancelled
--- @raise                  an argument of another type; an unknown option
--- @wait
--- @usage local zlib = require "zlib"
--- assert(#zlib.deflate(("a"):rep(1000)) < 20)
zlib.deflate = whole "deflate"

--- Decompresses what zlib.deflate has made.
---
--- @param data     string  the bytes
--- @param options  table   maxSize  67108864  bytes that may come out
---                         raw      false     there is no header
--- @return string
--- @return nil, err        PARSE      it is no such data, or damaged, or something follows it
---                         EOF        it ends too early
---                         TOO_LARGE  more than `maxSize` comes out
---                         POOL_FULL  no thread is free and too much waits
---                         ECANCELED  this task was cancelled
--- @raise                  an argument of another type; an unknown option
--- @wait
--- @usage local zlib = require "zlib"
--- assert(zlib.inflate(zlib.deflate("hello")) == "hello")
zlib.inflate = whole "inflate"

--- Compresses as gzip does (RFC 1952), without a name and a time: the same input gives the same
--- output.
---
--- @param data     string  the bytes
--- @param options  table   level  6  as zlib.deflate
--- @return string
--- @return nil, err        as zlib.deflate
--- @raise                  as zlib.deflate
--- @wait
--- @usage assert(require("zlib").gzip("hello"):sub(1, 2) == "\31\139")
zlib.gzip = whole "gzip"

--- Decompresses what gzip has made, of one or of several members.
---
--- @param data     string  the bytes
--- @param options  table   maxSize  67108864  as zlib.inflate
--- @return string
--- @return nil, err        as zlib.inflate
--- @raise                  as zlib.inflate
--- @wait
--- @usage local zlib = require "zlib"
--- local text, err = zlib.gunzip(zlib.gzip(("a"):rep(1000)), { maxSize = 100 })
--- assert(not text and err.name == "TOO_LARGE")
zlib.gunzip = whole "gunzip"

--- Compresses as Brotli does (RFC 7932), which makes text smaller than gzip and takes longer. It
--- needs the library libbrotlienc on the machine: it is not part of links.
---
--- @param data     string  the bytes
--- @param options  table   level  5  0 (fast) to 11 (as small as possible, for what is kept)
--- @return string
--- @return nil, err        UNSUPPORTED  the library is not installed
---                         otherwise as zlib.deflate
--- @raise                  as zlib.deflate
--- @wait
--- @usage local zlib = require "zlib"
--- local small, err = zlib.brotli(("a"):rep(1000))
--- assert(small and #small < 30 or err.name == "UNSUPPORTED")
zlib.brotli = whole "brotli"

--- Decompresses what Brotli has made. It needs libbrotlidec on the machine.
---
--- @param data     string  the bytes
--- @param options  table   maxSize  67108864  as zlib.inflate
--- @return string
--- @return nil, err        UNSUPPORTED  the library is not installed
---                         otherwise as zlib.inflate
--- @raise                  as zlib.inflate
--- @wait
--- @usage local zlib = require "zlib"
--- local text, err = zlib.unbrotli("not brotli")
--- assert(not text and (err.name == "PARSE" or err.name == "UNSUPPORTED"))
zlib.unbrotli = whole "unbrotli"

--- Compresses as Zstandard does (RFC 8878): about as small as gzip, and several times as fast. It
--- needs the library libzstd on the machine: it is not part of links.
---
--- @param data     string  the bytes
--- @param options  table   level  3  1 (fast) to 19 (as small as possible, for what is kept)
--- @return string
--- @return nil, err        UNSUPPORTED  the library is not installed
---                         otherwise as zlib.deflate
--- @raise                  as zlib.deflate
--- @wait
--- @usage local zlib = require "zlib"
--- local small, err = zlib.zstd(("a"):rep(1000))
--- assert(small and #small < 30 or err.name == "UNSUPPORTED")
zlib.zstd = whole "zstd"

--- Decompresses what Zstandard has made, of one or of several frames. It needs libzstd on the
--- machine.
---
--- @param data     string  the bytes
--- @param options  table   maxSize  67108864  as zlib.inflate
--- @return string
--- @return nil, err        UNSUPPORTED  the library is not installed
---                         PARSE        as zlib.inflate, and where it takes a window of more than
---                                      8 MiB (RFC 9659)
---                         otherwise as zlib.inflate
--- @raise                  as zlib.inflate
--- @wait
--- @usage local zlib = require "zlib"
--- local text, err = zlib.unzstd("not zstd")
--- assert(not text and (err.name == "PARSE" or err.name == "UNSUPPORTED"))
zlib.unzstd = whole "unzstd"

local Stream = { __name = "zlib stream" }
Stream.__index = Stream

--- Makes a stream, for what does not come in one piece.
---
--- @param format   string  "gzip", "deflate", "deflateRaw", "brotli" or "zstd" to compress;
---                         "gunzip", "inflate", "inflateRaw", "unzip" (gzip or zlib, as the
---                         header says), "unbrotli" or "unzstd" to decompress
--- @param options  table   as zlib.deflate and zlib.inflate
--- @return stream          :write :flush :finish
--- @return nil, err        UNSUPPORTED  brotli or zstd, whose library is not installed
--- @raise                  another format; an unknown option
--- @usage local zlib = require "zlib"
--- local z = zlib.stream("gzip")
--- local all = z:write("hello ") .. z:write("world") .. z:finish()
--- assert(zlib.gunzip(all) == "hello world")
function zlib.stream(format, options)
    local signature = "zlib.stream(format[, options])"
    check.type(signature, "format", format, "string")
    if not FORMATS[format] then
        local near = check.nearest(format, FORMATS)
        local hint = near and ' (did you mean "' .. near .. '"?)' or ""
        error(signature .. ' unknown format "' .. format .. '"' .. hint, 2)
    end
    local handle, missing = new_stream(signature, format, options, 1)
    if not handle then return nil, missing end
    return setmetatable({ _h = handle }, Stream)
end

local function feed_stream(self, data, mode, name)
    local handle = self._h
    if not handle then return nil, new_error(errors.code("CLOSED"), name) end
    local result, err = feed(handle, data, mode, name)
    if mode == FINISH or (err and err.name ~= "EBUSY") then
        -- What a thread is still at belongs to nobody now, so nothing can follow it.
        self._h = nil
        C.links_zlib_free(ffi.gc(handle, nil))
    end
    return result, err
end

--- Puts a piece in.
---
--- @param data  string  the piece
--- @return string       what comes out now, which may be ""
--- @return nil, err     CLOSED  it was finished, or has failed
---                      EBUSY   another task is at it
---                      and as zlib.deflate and zlib.inflate; the stream is of no use after those
--- @raise               `data` is not a string
--- @wait
function Stream:write(data)
    check.type("stream:write(data)", "data", data, "string")
    return feed_stream(self, data, MORE, "zlib write")
end

--- Brings out all that was put in, so that the other side can read it. Each time costs some
--- compression.
---
--- @return string    what comes out
--- @return nil, err  as stream:write
--- @wait
function Stream:flush()
    return feed_stream(self, "", FLUSH, "zlib flush")
end

--- Ends the stream.
---
--- @param data  string  a last piece. Default: ""
--- @return string       what was left
--- @return nil, err     EOF  to decompress: the end of the data is missing
---                      and as stream:write
--- @raise               `data` is not a string
--- @wait
function Stream:finish(data)
    check.type("stream:finish([data])", "data", data, "string|nil")
    return feed_stream(self, data or "", FINISH, "zlib finish")
end

local function checksum(signature, fn, data, sum, first)
    check.type(signature, "data", data, "string", 2)
    if sum ~= nil then check.integer(signature, "sum", sum, 0, 2 ^ 32 - 1, 2) end
    return tonumber(fn(sum or first, data, #data))
end

--- The checksum CRC-32 of gzip and PNG. Done at once, about a gigabyte a second.
---
--- @param data  string   the bytes
--- @param sum   integer  of what comes before them. Default: 0
--- @return integer
--- @raise                an argument of another type
--- @usage assert(require("zlib").crc32("123456789") == 0xcbf43926)
function zlib.crc32(data, sum)
    local result = checksum("zlib.crc32(data[, sum])", C.links_zlib_crc32, data, sum, 0)
    return result
end

--- The checksum Adler-32 of zlib.
---
--- @param data  string   the bytes
--- @param sum   integer  of what comes before them. Default: 1
--- @return integer
--- @raise                an argument of another type
--- @usage assert(require("zlib").adler32("Wikipedia") == 0x11e60398)
function zlib.adler32(data, sum)
    local result = checksum("zlib.adler32(data[, sum])", C.links_zlib_adler32, data, sum, 1)
    return result
end

return zlib
