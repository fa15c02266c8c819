--- The response of a handler: `res.status`, header fields, and a body that is given at once or in
--- pieces. `res.headersSent` says whether the head is on its way.
---
--- What a response can be made of besides is on the pages http.bodies (JSON, HTML, redirects),
--- http.cookies, http.sse and http.static (files).
--
-- Fields are kept by C, as the bytes they will be, so that nothing is built twice; the status and
-- who has answered are kept here.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.http.ffi"

local C, AGAIN = binding.C, binding.AGAIN
local SET, ADD, TRAILER, INFORM = binding.SET, binding.ADD, binding.TRAILER, binding.INFORM
local HEADERS_SENT, CLOSED = binding.HEADERS_SENT, binding.CLOSED
local UNSUPPORTED, EXCEED_BUF_SIZE = binding.UNSUPPORTED, binding.EXCEED_BUF_SIZE
local wait, new_error = core.wait, errors.new
local cast = ffi.cast

-- Bodies up to this are taken in one call and copied; larger ones go out as fast as the client
-- takes them.
local WHOLE_MAX = 65536

local out_len = ffi.new("int[1]")
local bytes = ffi.typeof("const char *")

local methods = {}
local Response = { __name = "http response" }

function Response.__index(res, key)
    local method = methods[key]
    if method then return method end
    if key == "headersSent" then
        local r = res._r
        return not r or r.sent == 1
    end
end

-- Called when the request is over: C may give its memory to the next one.
local function over(res)
    res._r = false
end

local function check_status(status, level)
    if type(status) == "number" and status >= 200 and status <= 999 and status % 1 == 0 then
        return
    end
    check.integer("res.status", "status", status, 200, 999, level + 1)
end

local function refuse_field(signature, name, value, rc, level)
    if rc == HEADERS_SENT then return nil, new_error(rc, "http header") end
    local reason = rc == UNSUPPORTED and " is set by links itself, or cannot be set here"
        or rc == EXCEED_BUF_SIZE
            and " is too much: the header fields of a response are 16384 bytes at most"
        or " is not a valid header field"
    local shown = ("%q"):format(name .. ": " .. value):sub(1, 100):gsub("[%c\127]", "?")
    error(signature .. " " .. shown .. reason, level + 1)
end

local function text_of(signature, name, value, level)
    if type(value) == "string" then return value end
    if type(value) == "number" then return tostring(value) end
    check.type(signature, name, value, "string|number", level + 1)
end

local function set_field(res, signature, mode, name, value, level)
    local r = res._r
    if type(name) ~= "string" then check.type(signature, "name", name, "string", level + 1) end
    if not r then return nil, new_error(CLOSED, "http header") end
    if type(value) ~= "string" then value = text_of(signature, "value", value, level + 1) end
    local rc = C.links_http_set(r, mode, name, #name, value, #value)
    if rc == 0 then return true end
    return refuse_field(signature, name, value, rc, level + 1)
end

local function set_fields(res, signature, name, value, level)
    if type(value) ~= "table" then return set_field(res, signature, SET, name, value, level + 1) end
    local ok, err = res:removeHeader(name)
    for i = 1, ok and #value or 0 do
        ok, err = set_field(res, signature, ADD, name, value[i], level + 1)
        if not ok then break end
    end
    return ok, err
end

--- Sets a header field, in place of what was set under that name.
---
--- @param name   string               of the field; any case
--- @param value  string|number|table  its value; a table is a list of values, each in a field of
---                                    its own
--- @return true
--- @return nil, err  HTTP_HEADERS_SENT  the head of the response is on its way
---                   CLOSED             the response is finished
--- @raise            what cannot stand in a head: a name that is no token, a control character such
---                   as a line end in the value; Transfer-Encoding, which links sets itself; more
---                   than 16384 bytes of fields
function methods:setHeader(name, value)
    local r = self._r
    if r and type(name) == "string" and type(value) == "string" and
        C.links_http_set(r, SET, name, #name, value, #value) == 0 then
        return true
    end
    return set_fields(self, "res:setHeader(name, value)", name, value, 1)
end

--- Adds a header field and keeps what was set under that name.
---
--- @param name   string         of the field; any case
--- @param value  string|number  its value
--- @return true
--- @return nil, err  as res:setHeader
--- @raise            as res:setHeader
function methods:addHeader(name, value)
    return set_field(self, "res:addHeader(name, value)", ADD, name, value, 1)
end

--- The value that was set for a header field.
---
--- @param name  string  of the field; any case
--- @return string       the value, or a table of several; nil where none was set
--- @raise               `name` is not a string
function methods:getHeader(name)
    if type(name) ~= "string" then check.type("res:getHeader(name)", "name", name, "string") end
    local r, values = self._r, {}
    while r do
        local value = C.links_http_get(r, name, #name, #values, out_len)
        if value == nil then break end
        values[#values + 1] = ffi.string(value, out_len[0])
    end
    if #values > 1 then return values end
    return values[1]
end

--- Takes a header field back.
---
--- @param name  string  of the field; any case
--- @return true
--- @return nil, err  as res:setHeader
--- @raise            `name` is not a string
function methods:removeHeader(name)
    if type(name) ~= "string" then check.type("res:removeHeader(name)", "name", name, "string") end
    local r = self._r
    if not r then return nil, new_error(CLOSED, "http header") end
    local rc = C.links_http_unset(r, name, #name)
    if rc == 0 then return true end
    return nil, new_error(rc, "http header")
end

-- Sends all of `text` as part of the body, at the client's pace.
local function write_all(res, text)
    local at, left = cast(bytes, text), #text
    while left > 0 do
        local r = res._r
        if not r then return nil, new_error(CLOSED, "http write") end
        local n = C.links_http_write(r, at, left)
        if n > 0 then
            at, left = at + n, left - n
        else
            if n == AGAIN then n = wait() end
            if n ~= 0 then return nil, new_error(n, "http write") end
        end
    end
    return true
end

--- Sends a piece of the body, waiting while the client is slower than we are. The first one sends
--- the head: with a Content-Length set before it the body has that length, without it goes in
--- chunks (to HTTP/1.0 until the connection ends).
---
--- @param data  string|number  the piece; "" sends only the head
--- @return true
--- @return nil, err     CLOSED     the response is finished, or the client has left
---                      ETIMEDOUT  the client took nothing within the server's writeTimeout
---                      TOO_LARGE  it is more than the Content-Length that was set
---                      ECANCELED  this task was cancelled
--- @raise               `data` is neither; res.status is no status
--- @wait
function methods:write(data)
    if type(data) ~= "string" then data = text_of("res:write(data)", "data", data, 1) end
    local r = self._r
    if not r then return nil, new_error(CLOSED, "http write") end
    if self._filter then
        check_status(self.status, 1)
        local err
        data, err = self._filter:piece(self, data)
        if not data then return nil, err end
        r = self._r
        if not r then return nil, new_error(CLOSED, "http write") end
    end
    if r.sent == 0 then
        check_status(self.status, 1)
        local rc = C.links_http_start(r, self.status, -1)
        if rc < 0 then return nil, new_error(rc, "http write") end
    end
    return write_all(self, data)
end

-- A filter that changes nothing: with one, an answer takes the way on which trailers are seen to.
local PLAIN = {
    whole = function(_, _, _, body) return body end,
    piece = function(_, _, data) return data end,
    last = function(_, _, data) return data end,
}

-- Trailers need chunks, whatever is known of the length.
local function respond_with_trailers(res, status, body)
    local r = res._r
    C.links_http_unset(r, "Content-Length", 14)
    local rc = C.links_http_start(r, status, -1)
    if rc == CLOSED then
        C.links_http_finish(r)
        over(res)
    end
    if rc < 0 then return nil, new_error(rc, "http finish") end
    return res:finish(body)
end

-- Answers with all of the body at once.
local function respond(res, status, body, level)
    check_status(status, level + 1)
    if res._filter then body = res._filter:whole(res, status, body) end
    local r = res._r
    if not r then return nil, new_error(CLOSED, "http finish") end
    if res._trailers then return respond_with_trailers(res, status, body) end
    if #body <= WHOLE_MAX then
        local rc = C.links_http_respond(r, status, body, #body)
        if rc == HEADERS_SENT then return nil, new_error(rc, "http finish") end
        over(res)
        if rc == 0 then return true end
        return nil, new_error(rc, "http finish")
    end
    local rc = C.links_http_start(r, status, #body)
    if rc == HEADERS_SENT then return nil, new_error(rc, "http finish") end
    local ok, err = rc == 0, nil
    if ok then ok, err = write_all(res, body) end
    r = res._r
    if not r then return nil, err end
    rc = C.links_http_finish(r)
    over(res)
    if ok and rc == 0 then return true end
    return nil, err or new_error(rc, "http finish")
end

--- Ends the response.
---
--- @param data  string|number  the last piece of the body, or all of it. Default: ""
--- @return true
--- @return nil, err     as res:write
--- @raise               `data` is neither; res.status is no status
--- @wait
function methods:finish(data)
    if data == nil then data = "" end
    if type(data) ~= "string" then data = text_of("res:finish([data])", "data", data, 1) end
    local r = self._r
    if not r then return nil, new_error(CLOSED, "http finish") end
    if r.sent == 0 then return respond(self, self.status, data, 1) end
    local ok, err
    if self._filter then
        data, err = self._filter:last(self, data)
        r = self._r
        if not r then return nil, err or new_error(CLOSED, "http finish") end
        if not data then
            -- An end would say that this was all.
            C.links_http_break(r)
            over(self)
            return nil, err
        end
    end
    ok, err = write_all(self, data)
    r = self._r
    if not r then return nil, err or new_error(CLOSED, "http finish") end
    local rc = C.links_http_finish(r)
    over(self)
    if ok and rc == 0 then return true end
    return nil, err or new_error(rc, "http finish")
end

methods["end"] = methods.finish

--- Adds a trailer field: one that is sent behind the body, such as a checksum of it. It makes the
--- body go in chunks; to HTTP/1.0, and where a Content-Length is kept to, nothing is sent of it.
--- Where the head is not on its way yet, it announces the field (Trailer).
---
--- @param name   string         of the field; any case
--- @param value  string|number  its value
--- @return true
--- @return nil, err  CLOSED  the response is finished
--- @raise            what cannot stand in a trailer: as res:setHeader, and fields that say how to
---                   read the message (Content-Type, ...) or whom it is for
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function(_, res)
---     res:trailer("X-Rows", 2)
---     res:write("one\n")
---     return res:finish("two\n")
--- end))
--- server:close()
function methods:trailer(name, value)
    local signature = "res:trailer(name, value)"
    local ok, err = set_field(self, signature, TRAILER, name, value, 1)
    if not ok then return nil, err end
    if self._r.sent == 0 then
        C.links_http_set(self._r, ADD, "Trailer", 7, name, #name)
        self._trailers = true
        self._filter = self._filter or PLAIN
    end
    return true
end

--- Sends an informational response (1xx) before the answer itself.
---
--- @param status   integer  102 to 199; 100 is sent by reading the body, 101 is for req:upgrade
--- @param headers  table    its fields: name = value, or name = list of values. Default: none
--- @return true             sent, or the client speaks HTTP/1.0 and would not understand it
--- @return nil, err         HTTP_HEADERS_SENT  the head of the response is on its way
---                          CLOSED             the response is finished, or the client has left
--- @raise                   an argument of another type or out of bounds; as res:setHeader
function methods:informational(status, headers)
    local signature = "res:informational(status[, headers])"
    check.integer(signature, "status", status, 102, 199)
    check.type(signature, "headers", headers, "table|nil")
    local r = self._r
    for name, value in pairs(headers or {}) do
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            local ok, err = set_field(self, signature, INFORM, name, one, 1)
            if not ok then return nil, err end
        end
    end
    if not r then return nil, new_error(CLOSED, "http inform") end
    local rc = C.links_http_inform(r, status)
    if rc == 0 or rc == UNSUPPORTED then return true end
    return nil, new_error(rc, "http inform")
end

--- Tells the client what it will need (103 Early Hints, RFC 8297), while the answer is not ready
--- yet. Browsers and proxies begin to load then.
---
--- @param headers  table  fields, such as { Link = "</style.css>; rel=preload; as=style" }
--- @return true
--- @return nil, err       as res:informational
--- @raise                 as res:informational
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function(_, res)
---     res:earlyHints{ Link = { "</style.css>; rel=preload; as=style" } }
---     return "hello"
--- end))
--- server:close()
function methods:earlyHints(headers)
    check.type("res:earlyHints(headers)", "headers", headers, "table")
    return self:informational(103, headers)
end

--- Waits until all that was written has been handed to the system; it begins with the head, where
--- that has not been sent. What is written leaves at the end of the turn without this too: this is
--- for who wants to know how fast the client takes it.
---
--- @return true
--- @return nil, err  as res:write
--- @raise            res.status is no status
--- @wait
function methods:flush()
    local ok, err = self:write("")
    if not ok then return nil, err end
    while true do
        local r = self._r
        if not r then return nil, new_error(CLOSED, "http flush") end
        local rc = C.links_http_flush(r)
        if rc == 0 then return true end
        if rc == AGAIN then rc = wait() end
        if rc ~= 0 then return nil, new_error(rc, "http flush") end
    end
end

-- private: the server, for what it has for all its responses.
function methods:_server()
    local r = self._r
    return r and require("links.http.servers").of(C.links_http_server_of(r))
end

-- private: whether the client came by TLS, to us or to a proxy that is trusted.
function methods:_isSecure()
    local r = self._r
    if not r then return false end
    local req = { _r = r, _h = C.links_http_server_of(r), _key = r.key }
    return setmetatable(req, require("links.http.request")).scheme == "https"
end

-- private: a field of the request that this is the response to.
function methods:_requestHeader(name)
    local r = self._r
    local i = r and C.links_http_find(r, name, #name, -1) or -1
    if i < 0 then return nil end
    local value = C.links_http_field_value(r, i, out_len)
    return ffi.string(value, out_len[0])
end

--- Answers with everything in one call.
---
--- @param status   integer  200 to 999
--- @param body     string   Default: ""
--- @param headers  table    fields to set: name = value, or name = list of values. Default: none
--- @return true
--- @return nil, err         HTTP_HEADERS_SENT  the head of a response is on its way
---                          otherwise as res:finish
--- @raise                   as res:setHeader and res:finish
--- @wait
function methods:send(status, body, headers)
    local signature = "res:send(status, body[, headers])"
    check_status(status, 1)
    if body == nil then body = "" end
    if type(body) ~= "string" then body = text_of(signature, "body", body, 1) end
    if headers ~= nil then check.type(signature, "headers", headers, "table") end
    local r = self._r
    if not r then return nil, new_error(CLOSED, "http send") end
    if r.sent == 1 then return nil, new_error(HEADERS_SENT, "http send") end
    for name, value in pairs(headers or {}) do
        set_fields(self, signature, name, value, 1)
    end
    self.status = status
    return respond(self, status, body, 1)
end

require("links.http.extend").response(methods)

return {
    Response = Response,
    WHOLE_MAX = WHOLE_MAX,
    over = over,
    respond = respond,
    set_fields = set_fields,
}
