-- Bodies that were compressed: gzip, deflate, Brotli and Zstandard, piece by piece, so that a few
-- bytes can never become more than a limit in one go.
local core = require "links.core"
local errors = require "links.errors"
local zlib = require "links.zlib"
local binding = require "links.http.client.ffi"

local decoder = {}
local Decoder = {}
Decoder.__index = Decoder

local DECOMPRESS, UNSUPPORTED = errors.code("HTTP_DECOMPRESS"), errors.code("UNSUPPORTED")
local BODY_TOO_LARGE = errors.code("HTTP_BODY_TOO_LARGE")
-- Deflate makes a byte of 1032 at most, so a slice gives 4 MiB at most.
local SLICE = 4096
-- Made to take long, a slice takes 1.5 ms: after so many others have their turn.
local SLICES = 4

local function failure(err, max)
    if err.name == "TOO_LARGE" then
        return errors.new(BODY_TOO_LARGE, "http", {
            message = "the body is larger than " .. max .. " bytes once decompressed",
        })
    end
    if err.name == "PARSE" or err.name == "EOF" then
        return errors.new(DECOMPRESS, "http", { cause = err })
    end
    return err
end

-- "deflate" is zlib's format (RFC 9110, 8.4.1.2), but there are servers that leave its header out.
local function has_zlib_header(first)
    local a, b = first:byte(1, 2)
    return b ~= nil and a % 16 == 8 and (a * 256 + b) % 31 == 0
end

-- These make any number of bytes of a few: what is streamed has a limit there, too.
local OTHERS = { [binding.BROTLI] = "unbrotli", [binding.ZSTD] = "unzstd" }

local function open(self, first)
    local kind, max = OTHERS[self.coding], self.whole_max
    if not kind then kind, max = "gunzip", self.max end
    if self.coding == binding.DEFLATE then
        kind = has_zlib_header(first) and "inflate" or "inflateRaw"
    end
    local err
    self.max = max
    self.z, err = zlib.stream(kind, { maxSize = max })
    return self.z, err
end

local function decode(self, piece)
    if not self.z then
        -- Two bytes say which kind of deflate it is.
        piece = self.held .. piece
        self.held = ""
        if #piece < 2 and self.coding == binding.DEFLATE then
            self.held = piece
            return ""
        end
        local z, err = open(self, piece)
        if not z then return nil, err end
    end
    if #piece > SLICE then
        self.waiting = piece:sub(SLICE + 1)
        piece = piece:sub(1, SLICE)
    end
    return self.z:write(piece)
end

local function finish(self)
    self.ended = true
    -- An empty body is not compressed, whatever its header says.
    if not self.z and self.held == "" then return nil end
    if not self.z then open(self, self.held) end -- one byte, of deflate
    local rest, err = self.z:finish()
    if not rest then return nil, failure(err, self.max) end
    return rest ~= "" and rest or nil
end

-- The next decoded bytes of what next_raw(arg) gives; nil at the end, nil and an error.
function Decoder:read(next_raw, arg)
    if self.coding == binding.OTHER then
        return nil, errors.new(UNSUPPORTED, "http", { message = "an unknown Content-Encoding" })
    end
    while not self.ended do
        if self.slices == SLICES then
            local status = core.yield()
            if status ~= 0 then return nil, errors.new(status, "http read") end
            self.slices = 0
        end
        local piece, err = self.waiting
        self.waiting = nil
        if not piece then
            piece, err = next_raw(arg)
            if err then return nil, err end
        end
        if not piece then return finish(self) end
        self.slices = self.slices + 1
        piece, err = decode(self, piece)
        if not piece then return nil, failure(err, self.max) end
        if piece ~= "" then return piece end
    end
end

local for_whole

-- What a request accepts. Brotli and Zstandard need libraries that may not be there, and what they
-- make of a few bytes has to be held as a whole.
function decoder.accepts(o)
    if o.stream then return "gzip, deflate" end
    if not for_whole then
        for_whole = "gzip, deflate" .. (zlib.stream "unbrotli" and ", br" or "")
            .. (zlib.stream "unzstd" and ", zstd" or "")
    end
    return for_whole
end

-- Makes one for a coding of the reply. What is read at once is limited by maxBodySize, what is
-- streamed only by how fast it is read.
function decoder.new(coding, o)
    return setmetatable({
        coding = coding, held = "", slices = 0, max = o.stream and 2 ^ 53 or o.maxBodySize,
        whole_max = o.maxBodySize,
    }, Decoder)
end

return decoder
