-- Requests that nobody has sent: a request and a response in memory, with the methods and the rules
-- of those that C has, for router:call and for tests without a socket.
local ahead = require "links.ahead"
local check = require "links.check"
local codec = require "links.codec"
local errors = require "links.errors"
local answers = require "links.http.answers"
local extend = require "links.http.extend"
local fieldmap = require "links.http.fieldmap"

local memory = {}

local MAX_BODY = 1048576

local function new_error(name, what)
    return errors.new(errors.code(name), what)
end

-- --- the request --------------------------------------------------------------------------------

local request, lazy = {}, {}
local Request = { __name = "http request" }

function Request.__index(req, key)
    local method = request[key]
    if method then return method end
    local make = lazy[key]
    if not make then return nil end
    local value = make(nil, req)
    rawset(req, key, value)
    return value
end

function Request.__tostring(req)
    return "http request: " .. req.method .. " " .. req.url
end

-- Of the connection that it came by, where that lives on (links.websocket.request).
function lazy.tls(_, req) return req._tls and req._tls() end

function lazy.path(_, req) return codec.unescapeUri(req.rawPath) end

function request:header(name)
    check.type("req:header(name)", "name", name, "string")
    return self.headers[name]
end

function request:headerAll(name)
    check.type("req:headerAll(name)", "name", name, "string")
    local values = {}
    for i, value in ipairs(self._fields[name:lower()] or {}) do values[i] = value end
    return values
end

-- A piece of the body of `max` bytes at most; "" at its end.
local function read_piece(req, max)
    while req._ahead == "" and req._next do
        local piece = req._next()
        if piece == nil then
            req._next = nil
        else
            ahead.put(req, piece)
        end
    end
    return ahead.take(req, max)
end

function request:read(n)
    if n ~= nil then check.integer("req:read([n])", "n", n, 1, 2 ^ 30) end
    local piece = read_piece(self, n or 65536)
    return piece ~= "" and piece or nil
end

function request:body(max)
    if max ~= nil then check.integer("req:body([max])", "max", max, 0, 2 ^ 53) end
    max = max or MAX_BODY
    local pieces, total = {}, 0
    repeat
        local piece = read_piece(self, 65536)
        pieces[#pieces + 1] = piece
        total = total + #piece
        if total > max then
            return nil, answers.of_request(new_error("HTTP_BODY_TOO_LARGE", "http body"))
        end
    until piece == ""
    return table.concat(pieces)
end

function request:onClose(fn)
    check.type("req:onClose(fn)", "fn", fn, "function")
    return true
end

function request:discard()
    repeat local piece = read_piece(self, 65536) until piece == ""
    return true
end

extend.request(request, lazy)

local function collect_fields(headers)
    local fields = {}
    for name, value in pairs(headers or {}) do
        if type(name) ~= "string" then check.type("router:call", "header", name, "string", 4) end
        local list = {}
        for i, one in ipairs(type(value) == "table" and value or { value }) do
            list[i] = tostring(one)
        end
        fields[name:lower()] = list
    end
    return fields
end

local function new_request(method, url, options)
    local body = options.body
    local fields = collect_fields(options.headers)
    if type(body) == "table" then
        local text, err = require("links.json").encode(body)
        if not text then error(err, 0) end
        body = text
        fields["content-type"] = fields["content-type"] or { "application/json" }
    end
    if type(body) == "string" then fields["content-length"] = { tostring(#body) } end
    fields.host = fields.host or { "localhost" }
    local joined = fieldmap.new()
    for name, list in pairs(fields) do
        for _, value in ipairs(list) do fieldmap.add(joined, name, value) end
    end
    local target = url:gsub("#.*$", "")
    local path, query = target:match("^([^?]*)%??(.*)$")
    local length = type(body) == "string" and #body or body == nil and 0 or nil
    return setmetatable({
        method = method, url = target, rawPath = path, queryString = query, version = "1.1",
        headers = joined, remoteAddress = "127.0.0.1", remotePort = 0,
        contentLength = length, aborted = false, trailers = {}, _fields = fields,
        _ahead = type(body) == "string" and body or "", _at = 1,
        _next = type(body) == "function" and body or nil,
    }, Request)
end

-- A request that was, for who keeps one beyond its answer: `fields` are lists of values by name.
function memory.request(method, url, fields)
    return new_request(method, url, { headers = fields })
end

-- --- the response -------------------------------------------------------------------------------

local response = {}
local Response = { __name = "http response" }

function Response.__index(res, key)
    local method = response[key]
    if method then return method end
    if key == "headersSent" then return rawget(res, "_sent") or rawget(res, "_over") or false end
end

local function text_of(signature, name, value, level)
    if type(value) == "number" then return tostring(value) end
    check.type(signature, name, value, "string|number", level + 1)
    return value
end

local function is_open(res, what)
    if res._over then return nil, new_error("CLOSED", what) end
    if res._sent then return nil, new_error("HTTP_HEADERS_SENT", what) end
    return true
end

local function check_field(signature, name, value, level)
    check.type(signature, "name", name, "string", level + 1)
    value = text_of(signature, "value", value, level + 1)
    if name == "" or name:find("[^%w!#$%%&'*+.^_`|~-]") or value:find("[%z\1-\8\10-\31\127]")
        or name:lower() == "transfer-encoding" then
        local shown = ("%q"):format(name .. ": " .. value):sub(1, 100):gsub("[%c\127]", "?")
        error(signature .. " " .. shown .. " is not a valid header field", level + 2)
    end
    return fieldmap.trim(value)
end

local function add_field(res, signature, name, value, level)
    value = check_field(signature, name, value, level + 1)
    local ok, err = is_open(res, "http header")
    if not ok then return nil, err end
    local key = name:lower()
    res._fields[key] = res._fields[key] or {}
    table.insert(res._fields[key], value)
    return true
end

function response:setHeader(name, value)
    local signature = "res:setHeader(name, value)"
    check.type(signature, "name", name, "string")
    local ok, err = self:removeHeader(name)
    if not ok then return nil, err end
    for _, one in ipairs(type(value) == "table" and value or { value }) do
        ok, err = add_field(self, signature, name, one, 1)
        if not ok then return nil, err end
    end
    if value == nil then check.type(signature, "value", value, "string|number|table") end
    return true
end

function response:addHeader(name, value)
    return add_field(self, "res:addHeader(name, value)", name, value, 1)
end

function response:getHeader(name)
    check.type("res:getHeader(name)", "name", name, "string")
    local list = self._fields[name:lower()]
    if list and #list > 1 then return { unpack(list) } end
    return list and list[1]
end

function response:removeHeader(name)
    check.type("res:removeHeader(name)", "name", name, "string")
    local ok, err = is_open(self, "http header")
    if not ok then return nil, err end
    self._fields[name:lower()] = nil
    return true
end

local function check_status(status, level)
    check.integer("res.status", "status", status, 200, 999, level + 1)
end

function response:write(data)
    data = text_of("res:write(data)", "data", data, 1)
    if self._over then return nil, new_error("CLOSED", "http write") end
    check_status(self.status, 1)
    self._sent = true
    table.insert(self._pieces, data)
    return true
end

function response:finish(data)
    data = data == nil and "" or text_of("res:finish([data])", "data", data, 1)
    if self._over then return nil, new_error("CLOSED", "http finish") end
    check_status(self.status, 1)
    if not self._sent then self._whole = true end
    table.insert(self._pieces, data)
    self._over = true
    return true
end

response["end"] = response.finish

function response:send(status, body, headers)
    check_status(status, 1)
    body = body == nil and "" or text_of("res:send(status, body[, headers])", "body", body, 1)
    local ok, err = is_open(self, "http send")
    if not ok then return nil, err end
    for name, value in pairs(headers or {}) do self:setHeader(name, value) end
    self.status = status
    return self:finish(body)
end

-- What goes before or behind an answer has no place in what router:call returns.
function response:trailer(name, value)
    check_field("res:trailer(name, value)", name, value, 1)
    if self._over then return nil, new_error("CLOSED", "http header") end
    return true
end

function response:informational(status, headers)
    local signature = "res:informational(status[, headers])"
    check.integer(signature, "status", status, 102, 199)
    check.type(signature, "headers", headers, "table|nil")
    return is_open(self, "http inform")
end

function response:earlyHints(headers)
    check.type("res:earlyHints(headers)", "headers", headers, "table")
    return is_open(self, "http inform")
end

function request:_server() return nil end

function request:_staged(name) return self._res:getHeader(name) end

function response:_server() return nil end

function response:_isSecure() return self._req.scheme == "https" end

function response:_requestHeader(name)
    return self._req:header(name)
end

function response:flush()
    return self:write("")
end

extend.response(response)

-- --- the answer ---------------------------------------------------------------------------------

-- What the handler returned is the answer, but for what it has given by `res`.
local function answer(res, a, b, c)
    if res._over then return end
    if res._sent then return res:finish() end
    local status, body, headers, kind = answers.read(res.status, a, b, c)
    if not status then
        if body == answers.NONE then error("the handler " .. body, 0) end
        error(body, 0)
    end
    res.status = status
    for name, value in pairs(headers or {}) do res:setHeader(name, value) end
    if type(body) == "function" then
        for piece in body do res:write(piece) end
        return res:finish()
    end
    if kind and not res:getHeader("content-type") then res:setHeader("Content-Type", kind) end
    return res:finish(body)
end

local function has_no_body(req, status)
    return req.method == "HEAD" or status == 204 or status == 304
end

--- Calls a handler, and returns the status, the fields and the body of what it answers.
---
--- @param handler  function  handler(req, res)
--- @param method   string    such as "GET"
--- @param url      string    path and query
--- @param options  table     headers, body; see router:call
--- @return integer, table, string
function memory.call(handler, method, url, options)
    local req = new_request(method, url, options)
    local res = setmetatable({ status = 200, _req = req, _fields = {}, _pieces = {} }, Response)
    req._res = res
    answer(res, handler(req, res))
    local body = table.concat(res._pieces)
    local fields = res._fields
    if body ~= "" and not fields["content-type"] and res.status ~= 204 and res.status ~= 304 then
        fields["content-type"] = { "text/plain; charset=utf-8" }
    end
    if res._whole and res.status ~= 204 then fields["content-length"] = { tostring(#body) } end
    local sent = fieldmap.new()
    for name, list in pairs(fields) do sent[name] = #list == 1 and list[1] or list end
    return res.status, sent, has_no_body(req, res.status) and "" or body
end

return memory
