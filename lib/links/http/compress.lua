--- Answers compressed by gzip, Brotli, Zstandard or deflate, for the clients that accept it.
---
--- A body that is there as a whole is compressed at once, and has a length; one that is written
--- piece by piece goes as a stream, and each piece is flushed, so that what has been written is
--- read: events and progress arrive as without it.
---
--- Compression tells by the length of an answer how alike its parts are. An answer that shows both
--- a secret (a token against forged requests) and what a request has brought along can be guessed
--- that way (BREACH): leave such pages out, or change how the secret looks each time.
local check = require "links.check"
local zlib = require "links.zlib"
local binding = require "links.http.ffi"

require "links.http.static" -- declares what is asked of the client

local C = binding.C

local http = {}

local TYPES = {
    "text/*", "application/json", "application/*+json", "application/javascript",
    "application/xml", "application/*+xml", "application/wasm", "application/yaml",
    "application/x-ndjson", "image/svg+xml", "font/ttf", "font/otf",
}

local CODINGS = { gzip = "gzip", br = "brotli", zstd = "zstd", deflate = "deflate" }

local OPTIONS = {
    encodings = { type = "table" },
    minLength = { default = 1024, type = "integer", min = 0, max = 2 ^ 53 },
    level = { default = 6, type = "integer", min = 1, max = 9 },
    types = { type = "table" },
    flush = { default = true, type = "boolean" },
}

-- Bodies of these have a meaning of their own, or there is none.
local function has_plain_body(status)
    return status >= 200 and status ~= 204 and status ~= 205 and status ~= 206 and status ~= 304
end

local function make_patterns(signature, types, level)
    local patterns = {}
    for i, kind in ipairs(types) do
        if type(kind) ~= "string" or not kind:find("/", 1, true) then
            error(signature .. ' options.types must be a list such as {"text/*"}', level + 2)
        end
        local pattern = kind:lower():gsub("[%^$().%[%]+%-?%%]", "%%%0"):gsub("%*", "[^;/]*")
        patterns[i] = "^" .. pattern .. "$"
    end
    return patterns
end

local function is_compressible(patterns, kind)
    if type(kind) == "table" then kind = kind[1] end
    kind = (kind or "text/plain"):lower():match("^%s*([^;%s]*)")
    for _, pattern in ipairs(patterns) do
        if kind:find(pattern) then return true end
    end
    return false
end

local function mentions(value, word)
    if type(value) == "table" then value = table.concat(value, ",") end
    return value ~= nil and value:lower():find(word, 1, true) ~= nil
end

-- Whether this answer may be compressed, by what it is. Then caches must know that it depends on
-- what the client accepts, whichever form is sent.
local function may_compress(self, res, status)
    if not has_plain_body(status) or res:getHeader("content-encoding")
        or mentions(res:getHeader("cache-control"), "no-transform")
        or res:getHeader("content-range")
        or not is_compressible(self.patterns, res:getHeader("content-type")) then
        return false
    end
    local vary = res:getHeader("vary")
    if not mentions(vary, "accept-encoding") and vary ~= "*" then
        res:addHeader("Vary", "Accept-Encoding")
    end
    return true
end

-- The coding that the client likes best, by its weights; of equals, the first in our list.
local function choose(self, res)
    local r, best, best_q = res._r, nil, 0
    for _, coding in ipairs(r and self.encodings or {}) do
        local q = C.links_http_accepts(r, coding)
        if q > best_q then best, best_q = coding, q end
    end
    return best
end

local function mark(res, coding)
    res:setHeader("Content-Encoding", coding)
    res:removeHeader("Content-Length")
    -- Other bytes, so only weakly the same (RFC 9110, 8.8.3).
    local etag = res:getHeader("etag")
    if type(etag) == "string" and etag:sub(1, 1) == '"' then res:setHeader("ETag", "W/" .. etag) end
end

local filter = {}

-- private: what to send in place of a body that is there as a whole.
function filter.whole(self, res, status, body)
    res._filter = nil
    if #body < self.options.minLength or not may_compress(self, res, status) then return body end
    local coding = choose(self, res)
    if not coding then return body end
    -- Without a thread for it, or time, it goes as it is.
    local packed = zlib[CODINGS[coding]](body, self.deflate)
    if not packed or #packed >= #body or not res._r then return body end
    mark(res, coding)
    return packed
end

-- private: what to send in place of the next piece.
function filter.piece(self, res, data)
    local stream = res._stream
    if stream == nil then
        local length = tonumber(res:getHeader("content-length"))
        local long = not length or length >= self.options.minLength
        local coding = long and may_compress(self, res, res.status) and choose(self, res)
        if not coding then
            res._filter = nil
            return data
        end
        mark(res, coding)
        stream = zlib.stream(CODINGS[coding], self.deflate)
        res._stream = stream
    end
    if data == "" then return data end
    local packed, err = stream:write(data)
    if not packed then return nil, err end
    if not self.options.flush then return packed end
    local rest
    rest, err = stream:flush()
    if not rest then return nil, err end
    return packed .. rest
end

-- private: what to send at the end of what went by pieces.
function filter.last(_, res, data)
    local stream = res._stream
    res._filter = nil
    if not stream then return data end
    res._stream = nil
    return stream:finish(data)
end

-- What of the list there is: brotli and zstd only where their libraries are.
local function available(signature, encodings, level)
    local list = {}
    for _, coding in ipairs(encodings or { "gzip", "br" }) do
        if not CODINGS[coding] then
            error(signature .. ' options.encodings must be a list of "gzip", "br", "zstd" and'
                .. ' "deflate"', level + 2)
        end
        if zlib.stream(CODINGS[coding]) then list[#list + 1] = coding end
    end
    return list
end

-- private: what a response has as its filter to be compressed.
function http._filter(signature, options, level)
    local o = check.options(signature, options, OPTIONS, level + 1)
    return {
        options = o, encodings = available(signature, o.encodings, level + 1),
        patterns = make_patterns(signature, o.types or TYPES, level + 1),
        deflate = { level = o.level },
        whole = filter.whole, piece = filter.piece, last = filter.last,
    }
end

--- Makes a middleware that compresses the answers of what is within it.
---
--- Left alone are answers that are coded already (Content-Encoding), parts (206), those with
--- `Cache-Control: no-transform`, and files of http.static: for these lay compressed ones beside
--- them.
---
--- @param options  table   encodings  {"gzip", "br"}  the first of those that the client likes
---                                                    best; there are "zstd" and "deflate" too.
---                                                    "br" needs the library libbrotlienc on the
---                                                    machine, "zstd" libzstd: without it, it is
---                                                    left out
---                         minLength  1024  bytes from which it is worth it, where the length is
---                                          known
---                         level      6     1 (fast) to 9 (small)
---                         types      text, JSON, XML, SVG and the like  media types: a "*" stands
---                                                                       for any
---                                                                       letters
---                         flush      true  let each piece of a body that is written in pieces be
---                                          read at once; false:
---                                          when enough has come together, which takes fewer bytes
--- @return function        middleware(req, res, next)
--- @raise                  an argument of another type; an unknown option
--- @usage local http = require "http"
--- local compress = http.compress { minLength = 100 }
--- local server = assert(http.createServer(0, function(req, res)
---     return compress(req, res, function() return ("hello "):rep(1000) end)
--- end))
--- server:close()
function http.compress(options)
    local self = http._filter("http.compress([options])", options, 1)
    return function(_, res, next_handler)
        -- A response in memory is read by nobody who would have to unpack it.
        if res._r and res._r.sent == 0 then res._filter = self end
        return next_handler()
    end
end

return http
