--- The request that a handler sees. It can be used until it has been answered.
---
--- Fields: `method`, `url` (the target as it was sent), `path` (decoded once), `rawPath`,
--- `queryString`, `query` (the first value of each name), `version` ("1.0" or "1.1"), `headers` (by
--- name, in any case), `cookies`, `trailers` (what came behind a body in chunks, once it has been
--- read), `contentLength` (nil where it is not known beforehand), `params` (of the route), `ctx` (a
--- table for the program), `id`, `server`, `startTime` (ms since 1970), `aborted` (the client has
--- left).
---
--- `remoteAddress` ("unix:" for a Unix socket), `remotePort`, `scheme` and `host` are what the
--- connection says, or what a proxy says that the server trusts; `localAddress` and `localPort` are
--- our end of the connection. `socket` has both ends of the connection itself, whatever proxies
--- say: {family = 4, 6 or "unix", remoteAddress, remotePort, localAddress, localPort}.
---
--- The pages http.bodies (JSON, forms), http.multipart, http.query and http.negotiate have more.
--
-- It holds a pointer into its connection until it has been answered, and Lua strings of what has
-- been asked for; every field is made when it is first read.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local answers = require "links.http.answers"
local binding = require "links.http.ffi"
local fieldmap = require "links.http.fieldmap"

local C, AGAIN = binding.C, binding.AGAIN
local METHODS, LEFT = binding.METHODS, binding.LEFT
local wait, new_error = core.wait, errors.new
local ffi_string = ffi.string

local READ_SIZE = 65536
local TOO_LARGE = errors.code("HTTP_BODY_TOO_LARGE") or 21003

local out_len = ffi.new("int[1]")
local out_data = ffi.new("const char *[1]")

local methods, lazy = {}, {}
local Request = { __name = "http request" }

-- The pointer of a request that is not over. The request cannot be told by its response: two tables
-- of which one holds the other would have to be made for every request, where the compiler now
-- makes none.
local function handle(req, level)
    local r = req._r
    if r and C.links_http_is_live(req._h, req._key) == 1 then return r end
    error("http: the request is over: it has been answered", (level or 1) + 2)
end

-- What a request has in its field _route: a route that knows its parameters, or these.
local function is_route(value)
    local metatable = getmetatable(value)
    return metatable ~= nil and metatable.is_route
end

function Request.__index(req, key)
    local method = methods[key]
    if method then return method end
    local make = lazy[key]
    if key == "params" then
        local params = rawget(req, "_route")
        if params and not is_route(params) then return params end
    end
    if make then
        local value, kept = make(handle(req), req)
        if not kept then rawset(req, key, value) end
        return value
    end
    if key == "aborted" then return handle(req).cut == LEFT end
    if key == "trailers" then return methods._trailers(req) end
end

function Request.__tostring(req)
    if C.links_http_is_live(req._h, req._key) == 0 then return "http request (over)" end
    return "http request: " .. req.method .. " " .. req.url
end

lazy.method = function(r) return METHODS[r.method] end

lazy.url = function(r) return ffi_string(r.url, r.url_len) end

-- What socket:tlsInfo tells; nil for a plain connection.
lazy.tls = function(r)
    local tls = r ~= nil and C.links_http_tls(r) or nil
    if tls ~= nil then return require("links.tls.inspect").info(tls) end
end

lazy.version = function(r) return r.minor == 0 and "1.0" or "1.1" end

lazy.rawPath = function(r) return ffi_string(C.links_http_path(r, out_len), out_len[0]) end

local function decode(digits) return string.char(tonumber(digits, 16)) end

lazy.path = function(_, req)
    local path = req.rawPath
    if not path:find("%", 1, true) then return path end
    return (path:gsub("%%(%x%x)", decode))
end

lazy.queryString = function(r)
    local query = C.links_http_query(r, out_len)
    return out_len[0] >= 0 and ffi_string(query, out_len[0]) or ""
end

-- nil, and not -1, where the length is not known beforehand.
lazy.contentLength = function(r)
    if r.content_length >= 0 then return r.content_length end
end

lazy.headers = function(r)
    local fields = fieldmap.new()
    for i = 0, r.fields - 1 do
        local name = C.links_http_field_name(r, i, out_len)
        name = ffi_string(name, out_len[0])
        local value = C.links_http_field_value(r, i, out_len)
        fieldmap.add(fields, name, ffi_string(value, out_len[0]))
    end
    return fields
end

--- The value of a header field, whatever the case of its name.
---
--- @param name  string  such as "user-agent"
--- @return string       its value; repeated fields are joined by ", " (cookies by "; "); nil where
---                      there is none
--- @raise               `name` is not a string, or the request is over
function methods:header(name)
    if type(name) ~= "string" then check.type("req:header(name)", "name", name, "string") end
    local r = handle(self)
    local i, found = C.links_http_find(r, name, #name, -1), nil
    while i >= 0 do
        local value = C.links_http_field_value(r, i, out_len)
        value = ffi_string(value, out_len[0])
        found = fieldmap.join(name:lower(), found, value)
        i = C.links_http_find(r, name, #name, i)
    end
    return found
end

--- All values of a header field, one for each time it was sent.
---
--- @param name  string  such as "accept"
--- @return table        the values in order; empty where there is none
--- @raise               `name` is not a string, or the request is over
function methods:headerAll(name)
    if type(name) ~= "string" then check.type("req:headerAll(name)", "name", name, "string") end
    local r, values = handle(self), {}
    local i = C.links_http_find(r, name, #name, -1)
    while i >= 0 do
        local value = C.links_http_field_value(r, i, out_len)
        values[#values + 1] = ffi_string(value, out_len[0])
        i = C.links_http_find(r, name, #name, i)
    end
    return values
end

local function unread(status, what) return answers.of_request(new_error(status, what)) end

-- A piece of the body; "" at its end; nil, status.
local function read_piece(req, max, level)
    while true do
        local n = C.links_http_read(handle(req, level + 1), max, out_data)
        if n >= 0 then return ffi_string(out_data[0], n) end
        if n ~= AGAIN then return nil, n end
        local status = wait()
        if status ~= 0 then return nil, status end
    end
end

--- Reads some of the body, waiting until at least one byte has come. A client that asked for it
--- (Expect: 100-continue) is told to send the body by the first read.
---
--- @param n  integer    bytes at most. Default: 65536
--- @return string       1 to `n` bytes; nil without an error at the end of the body
--- @return nil, err     HTTP_BODY_TOO_LARGE  it is more than the server's maxBodySize
---                      HTTP_BAD_FRAMING     it is not in chunks as it should be
---                      ETIMEDOUT            nothing came within the server's bodyTimeout
---                      EOF                  the client left before its end
---                      CLOSED               the connection was closed
---                      EBUSY                another task is reading this body
---                      ECANCELED            this task was cancelled
--- @raise               `n` is not a positive integer, or the request is over
--- @wait
function methods:read(n)
    if n ~= nil then check.integer("req:read([n])", "n", n, 1, 2 ^ 30) end
    local piece, status = read_piece(self, n or READ_SIZE, 1)
    if piece then return piece ~= "" and piece or nil end
    return nil, unread(status, "http read")
end

--- Reads the whole body.
---
--- @param max  integer  bytes at most. Default: the server's maxBodySize
--- @return string       the body; "" where there is none
--- @return nil, err     as req:read; HTTP_BODY_TOO_LARGE also beyond `max`
--- @raise               `max` is not an integer, or the request is over
--- @wait
function methods:body(max)
    if max ~= nil then check.integer("req:body([max])", "max", max, 0, 2 ^ 53) end
    local pieces, total = {}, 0
    local r = handle(self)
    if max and r.content_length > max then return nil, unread(TOO_LARGE, "http body") end
    while true do
        local piece, status = read_piece(self, READ_SIZE, 1)
        if not piece then return nil, unread(status, "http body") end
        if piece == "" then break end
        total = total + #piece
        if max and total > max then return nil, unread(TOO_LARGE, "http body") end
        pieces[#pieces + 1] = piece
    end
    return #pieces == 1 and pieces[1] or table.concat(pieces)
end

--- Reads the rest of the body and drops it.
---
--- @return true
--- @return nil, err  as req:read
--- @raise            the request is over
--- @wait
function methods:discard()
    repeat
        local piece, status = read_piece(self, READ_SIZE, 1)
        if not piece then return nil, unread(status, "http discard") end
    until piece == ""
    return true
end

local UPGRADE_STATUS = { HTTP_UPGRADE_REQUIRED = 426, HTTP_BAD_REQUEST = 400, SHUTTING_DOWN = 503 }

--- Takes the connection over for another protocol: answers 101 with the fields that were set, and
--- gives the connection as a socket of tcp. It is the caller's from now on, also when the handler
--- has returned: close it. The server counts it (`upgraded` in server:stats) and breaks it off at
--- the end of server:close.
---
--- @param proto  string  the protocol's name, as in the field Upgrade
--- @return socket        see tcp.socket; it reads first what came behind the request
--- @return nil, err      HTTP_UPGRADE_REQUIRED  the request does not ask for that. A handler that
---                                              returns it answers 426, with the name of the
---                                              protocol
---                       HTTP_BAD_REQUEST       the request has a body; answers 400
---                       SHUTTING_DOWN          the server is being closed; answers 503
---                       HTTP_HEADERS_SENT      there is an answer already
---                       CLOSED                 the client has left
--- @raise                `proto` is no token, or the request is over
--- @usage local http, tcp = require "http", require "tcp"
--- local server = assert(http.createServer(0, function(req)
---     local socket, err = req:upgrade("shout")
---     if not socket then return nil, err end
---     socket:write(socket:readline():upper() .. "\n")
---     socket:close()
--- end))
--- local socket = assert(tcp.connect(server:address().port))
--- socket:write("GET / HTTP/1.1\r\nHost: x\r\n")
--- socket:write("Connection: upgrade\r\nUpgrade: shout\r\n\r\nhello\n")
--- assert(socket:readUntil("\r\n\r\n"):find("101 Switching Protocols", 1, true))
--- assert(socket:readline() == "HELLO")
--- server:close()
function methods:upgrade(proto)
    check.type("req:upgrade(proto)", "proto", proto, "string")
    if not proto:find("^[%w!#$%%&'*+.^_`|~/-]+$") then
        error("req:upgrade(proto) proto must be the name of a protocol", 2)
    end
    local r = handle(self)
    local _ = rawget(self, "_route") and self.params -- they can be read afterwards
    local sockets = require "links.tcp.socket"
    local out = ffi.new("struct links_tcp *[1]")
    local rc = C.links_http_upgrade(r, proto:lower(), #proto, out)
    if rc == 0 then return sockets.own(out[0]) end
    local err = new_error(rc, "http upgrade")
    err.status = UPGRADE_STATUS[err.name]
    return nil, err
end

-- private: as that of the response.
function methods:_server() return self.server end

-- private: a field that is set on the response; the first of several.
function methods:_staged(name)
    local value = C.links_http_get(handle(self), name, #name, 0, out_len)
    if value ~= nil then return ffi_string(value, out_len[0]) end
end

-- private: req.trailers, the fields behind a body in chunks; empty before all of it has been read.
function methods:_trailers()
    local text = C.links_http_trailers(handle(self, 2), out_len)
    local trailers = fieldmap.new()
    for name, value in ffi_string(text, out_len[0]):gmatch("([^:\r\n]+):[ \t]*(.-)[ \t]*\r\n") do
        fieldmap.add(trailers, name, value)
    end
    return trailers
end

local GONE = -errors.code("EOF")

--- Calls a function, in a task of its own, when the client leaves before the request has been
--- answered. A server tells its handlers by itself too: unless `cancelOnAbort` is false, what they
--- wait for ends with ECANCELED then.
---
--- @param fn  function  fn()
--- @return true
--- @raise               `fn` is not a function, or the request is over
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function(req)
---     req:onClose(function() print("nobody waits for this any more") end)
---     return "hello"
--- end))
--- server:close()
function methods:onClose(fn)
    check.type("req:onClose(fn)", "fn", fn, "function")
    handle(self)
    core.spawn(function()
        if C.links_http_is_live(self._h, self._key) == 0 then return end
        local rc = C.links_http_watch(self._r)
        if rc == AGAIN then rc = wait() end
        if rc == GONE then fn() end
    end)
    return true
end

require("links.http.extend").request(methods, lazy)

return Request
