-- The server's workers: coroutines that each take a request, call the handler and answer with what
-- it returns, and go on with the next one without going back to the loop.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local binding = require "links.http.ffi"
local Request = require "links.http.request"
local response = require "links.http.response"

local C, AGAIN = binding.C, binding.AGAIN
local Response, over = response.Response, response.over
local respond, set_fields = response.respond, response.set_fields
local WHOLE_MAX = response.WHOLE_MAX
local wait, spawn = core.wait, core.spawn
local setmetatable, type, xpcall = setmetatable, type, xpcall

local ECANCELED = -errors.code("ECANCELED")

-- What a handler that returns `nil, err` of these has to tell its client.
local STATUS_OF = {
    HTTP_BODY_TOO_LARGE = 413,
    HTTP_BAD_FRAMING = 400,
    EOF = 400,
    ETIMEDOUT = 408,
}

local server = {}

local function phrase(status)
    return ffi.string(C.links_http_reason(status)) .. "\n"
end

local function describe(req)
    local ok, text = pcall(function() return req.method .. " " .. req.url end)
    return ok and text or "a request"
end

local function report(what)
    io.stderr:write("links: http: ", what, "\n")
end

local function on_error(err)
    return { err, debug.traceback("", 2) }
end

-- A 500, or where some of another answer has been sent already, the end of the connection, which is
-- all that tells the client.
local function fail(req, res, what)
    report(what)
    local r = res._r
    if not r then return end
    if r.sent == 1 then
        C.links_http_break(r)
        over(res)
        return
    end
    C.links_http_reset(r)
    respond(res, 500, phrase(500), 1)
end

local function fail_with(req, res, trace)
    local err = trace[1]
    if type(err) == "table" and not (getmetatable(err) or {}).__tostring then
        err = "(error object is a table value)"
    end
    fail(req, res, "error in the handler of " .. describe(req) .. ": " .. tostring(err) .. trace[2])
end

local function encode(value)
    local text, err = require("links.json").encode(value)
    if not text then error("http: a handler returned a table: " .. err.message, 0) end
    return text
end

local function stream_body(res, pieces)
    for piece in pieces do
        local ok, err = res:write(piece)
        if not ok then return nil, err end
    end
    return res:finish()
end

-- What the handler has returned is the answer, but for the parts of it that have been given by
-- `res`.
local function answer(req, res, a, b, c)
    local r = res._r
    if not r then return end
    if r.sent == 1 then
        res:finish()
        return
    end
    if a == nil and errors.is(b) then
        local status = b.status or STATUS_OF[b.name]
        if not status then
            return fail(req, res, "the handler of " .. describe(req) .. " returned " .. tostring(b))
        end
        return respond(res, status, phrase(status), 1)
    end
    local status, body, headers = res.status, a, b
    if type(a) == "number" then
        status, body, headers = a, b, c
        res.status = a
        if body == nil then body = status >= 400 and phrase(status) or "" end
    elseif a == nil then
        if status == 200 then
            return fail(req, res, "the handler of " .. describe(req) ..
                " returned without an answer")
        end
        body = ""
    end
    if headers ~= nil then
        if type(headers) ~= "table" then
            error("http: the headers that a handler returns must be a table, not a " ..
                type(headers), 0)
        end
        for name, value in pairs(headers) do
            set_fields(res, "http: the headers of a handler:", name, value, 1)
        end
    end
    if type(body) == "function" then return stream_body(res, body) end
    if type(body) == "table" then
        body = encode(body)
        if not res:getHeader("content-type") then
            res:setHeader("Content-Type", "application/json")
        end
    end
    if type(body) ~= "string" then
        error("http: a handler must return a string, a status, a table or a function, not a " ..
            type(body), 0)
    end
    return respond(res, status, body, 1)
end

-- Runs what may raise, and sees to it that the request is over afterwards.
local function finish(req, res, ok, a, b, c)
    if ok then
        ok, a = xpcall(answer, on_error, req, res, a, b, c)
    end
    if not ok then fail_with(req, res, a) end
    if res._r then
        C.links_http_break(res._r)
        over(res)
    end
end

local work

local function spawn_workers(self)
    for _ = 1, self._h.want do
        C.links_http_worker(self._h, 1, 0)
        spawn(work, self)
    end
end

-- The loop that a busy server is in. What the usual request needs stands here, so that the compiler
-- sees it in one piece; everything else is behind a call.
local function take_requests(self, handle, handler)
    local answered = 0
    while true do
        local r = C.links_http_next(handle, answered)
        if r == nil then return handle.status, answered end
        if handle.want > 0 then spawn_workers(self) end
        local req = setmetatable({ _r = r, _h = handle, _key = r.key }, Request)
        local res = setmetatable({ _r = r, status = 200 }, Response)
        local ok, a, b, c = xpcall(handler, on_error, req, res)
        if ok and type(a) == "string" and b == nil and #a <= WHOLE_MAX and res.status == 200
            and res._r and r.sent == 0 and not res._filter then
            C.links_http_respond(r, 200, a, #a)
            res._r = false
        else
            finish(req, res, ok, a, b, c)
        end
        answered = 1
    end
end

function work(self)
    local handle, handler = self._h, self._handler
    local status, answered
    repeat
        status, answered = take_requests(self, handle, handler)
        if status == AGAIN then status = wait() end
    until status ~= 0
    C.links_http_worker(handle, -1, 0)
    -- A handler that has cancelled its own task, or left something in it (a name, local values),
    -- must not leave the server without a worker, nor the next request with that one.
    if status == ECANCELED and answered == 1 then
        C.links_http_worker(handle, 1, 0)
        core.bequeath(core.current(), false)
        spawn(work, self)
    end
end

local methods = {}
local Server = { __index = methods, __name = "http server" }

function Server.__tostring(self)
    local at = self:address()
    return "http server: " .. (at.family == 6 and "[" .. at.address .. "]" or at.address) .. ":" ..
        at.port
end

--- Where the server listens.
---
--- @return table  {family = 4 or 6, port = integer, address = string}
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function() return "hello" end))
--- assert(server:address().port > 0)
--- server:close()
function methods:address()
    local text = ffi.new("char[46]")
    local n = C.links_http_address(self._h, text)
    return { family = self._h.family, port = self._h.port, address = ffi.string(text, n) }
end

--- How many connections there are now.
---
--- @return integer
function methods:connections()
    return self._h.connections
end

--- What the server has done.
---
--- @return table  connections  open now, those that were upgraded included
---                upgraded     taken over for another protocol (req:upgrade) and still open
---                queued       requests that wait for a worker
---                accepted     connections since the start
---                refused      connections turned away for want of a descriptor
---                requests     handed to handlers since the start
---                rejected     bad requests, answered without a handler
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function() return "hello" end))
--- assert(server:stats().requests == 0)
--- server:close()
function methods:stats()
    local h = self._h
    C.links_http_stats(h)
    return {
        connections = h.connections,
        upgraded = h.upgraded,
        queued = h.queued,
        accepted = h.accepted,
        refused = h.refused,
        requests = h.requests,
        rejected = h.rejected,
    }
end

--- Stops listening and ends when the last connection has: idle ones are closed at once, the others
--- with the answer to the request that they are at. Closing twice is harmless.
---
--- A handler that calls this waits for its own connection: let it spawn a task for that.
---
--- @param ms  number    how long connections may take; those left are then broken off. 0: not a
---                      moment.
---                      Default: 10000
--- @return true
--- @return nil, err     ETIMEDOUT  connections had to be broken off
---                      ECANCELED  this task was cancelled; connections go on, and the server does
---                                 not listen
--- @raise               `ms` is not a number of milliseconds
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function() return "hello" end))
--- assert(server:close())
function methods:close(ms)
    require("links.check").timeout("server:close([ms])", "ms", ms)
    local handle = self._h
    C.links_http_stop(handle)
    local status = 0
    if ms == 0 then
        status = handle.connections > 0 and -errors.code("ETIMEDOUT") or 0
    else
        local rc = C.links_http_drained(handle, ms or 10000)
        if rc == AGAIN then status = wait() end
    end
    if status == 0 then return true end
    if status ~= ECANCELED then C.links_http_abort(handle) end
    return nil, errors.new(status, "http close")
end

--- Makes a server of a handle that listens, and starts its workers.
function server.start(handle, handler)
    local self = setmetatable({ _h = ffi.gc(handle, C.links_http_free), _handler = handler },
        Server)
    for _ = 1, 2 do
        C.links_http_worker(self._h, 1, 0)
        spawn(work, self)
    end
    return self
end

return server
