--- A server, as http.createServer gives it: where it listens, what it does, and how it ends.
--
-- Its workers are coroutines that each take a request, call the handler and answer with what it
-- returns, and go on with the next one without going back to the loop.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local json = require "links.json"
local listening = require "links.listening"
local reports = require "links.report"
local binding = require "links.http.ffi"
local Request = require "links.http.request"
local answers = require "links.http.answers"
local peer = require "links.http.peer"
local response = require "links.http.response"
local servers = require "links.http.servers"

local C, AGAIN = binding.C, binding.AGAIN
local Response, over = response.Response, response.over
local respond, set_fields = response.respond, response.set_fields
local WHOLE_MAX = response.WHOLE_MAX
local wait, spawn = core.wait, core.spawn
local write_json, json_text = json._write, json._text
local setmetatable, type, xpcall = setmetatable, type, xpcall

local ECANCELED = -errors.code("ECANCELED")
local LEFT, LATE, NEW = binding.LEFT, binding.LATE, binding.NEW
local GRACE_MS = 1000 -- for connections without a request, when the process ends

local server = {}

local function describe(req)
    local ok, text = pcall(function() return req.method .. " " .. req.url end)
    return ok and text or "a request"
end

-- With the id of the request, by which the line can be found by what the client has got.
local function report(req, what)
    local ok, id = pcall(function() return req.id end)
    reports.write("error", "http: " .. (ok and id and "[" .. id .. "] " or "") .. what)
end

local function on_error(err)
    return { err, debug.traceback("", 2) }
end

local function stream_body(res, pieces)
    for piece in pieces do
        local ok, err = res:write(piece)
        if not ok then return nil, err end
    end
    return res:finish()
end

-- What a handler has returned is the answer, but for the parts of it that have been given by `res`.
-- Returns what is wrong with it, if something is.
local function answer(res, a, b, c)
    local r = res._r
    if not r then return end
    if r.sent == 1 then
        res:finish()
        return
    end
    local status, body, headers, kind = answers.read(res.status, a, b, c)
    if not status then return body end
    if headers then
        for name, value in pairs(headers) do
            set_fields(res, "http: the headers of a handler:", name, value, 1)
        end
    end
    if type(body) == "function" then
        res.status = status
        stream_body(res, body)
        return
    end
    if kind and not res:getHeader("content-type") then res:setHeader("Content-Type", kind) end
    respond(res, status, body, 1)
end

-- Answers with what a handler has returned, or raised. Returns what went wrong, and the traceback
-- where it was raised.
local function settle(res, ok, a, b, c)
    if ok then
        ok, a = xpcall(answer, on_error, res, a, b, c)
        if ok then return a end
    end
    return a[1] == nil and "nil" or a[1], a[2]
end

-- Lets the program say what an error is to its client. True where it has.
local function ask_program(self, req, res, err, trace)
    if not self._onError then return false end
    if res._r and res._r.sent == 0 then C.links_http_reset(res._r) end
    res.status = 500
    local ok, a, b, c = xpcall(self._onError, on_error, err, req, res, trace)
    -- It only looked.
    if ok and a == nil and b == nil and res._r and res._r.sent == 0 then return false end
    local again, trace_of_it = settle(res, ok, a, b, c)
    if again == nil then return true end
    report(req, "error in onError of " .. describe(req) .. ": " .. reports.describe(again)
        .. (trace_of_it or ""))
    return false
end

-- What a handler makes of a wait that has been ended under it.
local function is_cancel(err)
    if err == answers.NONE then return true end
    if errors.is(err) then return err.name == "ECANCELED" or err.name == "CLOSED" end
    return reports.describe(err):find("ECANCELED", 1, true) ~= nil
end

-- A 500, or where some of another answer has been sent already, the end of the connection, which is
-- all that tells the client.
local function fail(self, req, res, err, trace)
    local r, status = res._r, 500
    local cut = r and r.cut or 0
    if cut ~= 0 and is_cancel(err) then
        -- Nobody is there to be told, and what ended the handler was no fault of its own.
        if cut == LEFT then return end
        status = 503
        report(req, "the handler of " .. describe(req) .. " took longer than handlerTimeout")
    elseif ask_program(self, req, res, err, trace) then
        return
    elseif trace then
        report(req, "error in the handler of " .. describe(req) .. ": " .. reports.describe(err)
            .. trace)
    else
        local what = err == answers.NONE and err or "returned " .. reports.describe(err)
        report(req, "the handler of " .. describe(req) .. " " .. what)
    end
    r = res._r
    if not r or r.sent == 1 then return end
    C.links_http_reset(r)
    local id = rawget(req, "id")
    if id then C.links_http_set(r, binding.SET, "X-Request-Id", 12, id, #id) end
    respond(res, status, answers.phrase(status), 1)
end

-- Runs what may raise, and sees to it that the request is over afterwards.
local function finish(self, req, res, ok, a, b, c)
    local err, trace = settle(res, ok, a, b, c)
    if err ~= nil then fail(self, req, res, err, trace) end
    if res._r then
        C.links_http_break(res._r)
        over(res)
    end
end

-- Cancels the handlers whose clients have left, or that have taken too long.
local function cancel_left(self)
    local cut = ffi.new("int[1]")
    while true do
        local id = C.links_http_left(self._h, cut)
        if id == 0 then return end
        local worker = self._workers[id]
        if worker then
            worker:cancel(cut[0] == LATE and "handlerTimeout" or "the client has left")
        end
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
    local answered, known = 0, self._known
    while true do
        local id = C.links_http_next(handle, answered)
        if id >= 0 then
            if handle.want > 0 then spawn_workers(self) end
            local r = known[id]
            local req = setmetatable({ _r = r, _h = handle, _key = r.key, _route = nil }, Request)
            local res = setmetatable({ _r = r, status = 200 }, Response)
            local ok, a, b, c = xpcall(handler, on_error, req, res)
            if not (ok and b == nil and res.status == 200 and res._r and r.sent == 0)
                or res._filter then
                finish(self, req, res, ok, a, b, c)
            elseif type(a) == "string" and #a <= WHOLE_MAX then
                C.links_http_respond(r, 200, a, #a)
                res._r = false
            else
                local len = type(a) == "table" and write_json(a) or -1
                if len >= 0 and len <= WHOLE_MAX then
                    C.links_http_respond_json(r, 200, json_text.data, len)
                    res._r = false
                else
                    if len >= 0 then a = json.raw(json._take(len)) end
                    finish(self, req, res, ok, a, b, c)
                end
            end
            answered = 1
        else
            local status = handle.status
            if status == AGAIN then status = wait() end
            if status ~= 0 then return status, answered end
            answered = 0
        end
    end
end

function work(self)
    local handle, handler = self._h, self._handler
    local me = core.current()
    local _, _, _, id = core.info(me)
    self._workers[id] = me
    local status, answered
    repeat
        status, answered = take_requests(self, handle, handler)
        if status == NEW then
            -- A pointer is an object of the collector's: there is one for each place in memory, and
            -- not for each request.
            local r = C.links_http_meet(handle)
            self._known[r.id] = r
            status = 0
        elseif status == LEFT then
            cancel_left(self)
            status = 0
        end
    until status ~= 0
    self._workers[id] = nil
    C.links_http_worker(handle, -1, 0)
    -- A handler that has cancelled its own task, or left something in it (a name, local values),
    -- must not leave the server without a worker, nor the next request with that one.
    if status == ECANCELED and answered == 1 and C.links_ending_due() == 0 then
        C.links_http_worker(handle, 1, 0)
        core.bequeath(core.current(), false)
        spawn(work, self)
    end
end

-- Asks the program whether a connection may come in. Who cannot be asked about stays outside.
local function ask_about(self, visitor, socket)
    local limit = self._headerTimeout
    local function ask()
        if limit == 0 then return self._onConnection(socket) end
        return require("links.task").withTimeout(limit, self._onConnection, socket)
    end
    local ok, admit, err = xpcall(ask, on_error)
    if not ok then
        reports.write("error", "http: error in onConnection: " .. reports.describe(admit[1])
            .. admit[2])
    elseif errors.is(err) then
        ok = false
        reports.write("error", "http: onConnection: " .. reports.describe(err))
    end
    C.links_http_admit(self._h, visitor, ok and admit ~= false and 1 or 0)
end

local function keep_door(self)
    local handle, status = self._h, 0
    repeat
        local visitor = C.links_http_visit(handle)
        if visitor ~= nil then
            spawn(ask_about, self, visitor, peer.ends(visitor.remote, visitor["local"]))
        else
            status = handle.status
            if status == AGAIN then status = wait() end
        end
    until status ~= 0
end

local methods = {}
local Server = { __index = methods, __name = "http server" }

function Server.__tostring(self)
    local list = {}
    for i, at in ipairs(self:addresses()) do
        list[i] = at.path and "unix:" .. at.path
            or (at.family == 6 and "[" .. at.address .. "]" or at.address) .. ":" .. at.port
    end
    return "http server: " .. (list[1] and table.concat(list, ", ") or "closed")
end

-- Where the server listens, as it was when it began to.
local function places_of(handle)
    local list, place = {}, ffi.new("links_http_place")
    while C.links_http_address(handle, #list, place) == 0 do
        local text = ffi.string(place.text, place.len)
        list[#list + 1] = place.family == 0 and { family = "unix", path = text }
            or { family = place.family, port = place.port, address = text }
    end
    return list
end

local function copy(place)
    local to = {}
    for key, value in pairs(place) do to[key] = value end
    return to
end

--- Where the server listens: the first place, where there are several.
---
--- @return table  {family = 4 or 6, port = integer, address = string}; {family = "unix", path =
---                string}
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function() return "hello" end))
--- assert(server:address().port > 0)
--- server:close()
function methods:address()
    return copy(self._places[1])
end

--- All places that the server listens at.
---
--- @return table  a list of such tables as server:address returns
--- @usage local http = require "http"
--- local server = assert(http.createServer({ 0, 0 }, function() return "hello" end))
--- assert(#server:addresses() == 2)
--- server:close()
function methods:addresses()
    local list = {}
    for i, place in ipairs(self._places) do list[i] = copy(place) end
    return list
end

--- How many connections there are now.
---
--- @return integer
function methods:connections()
    return self._h.connections
end

--- What the server does now, and has done.
---
--- @return table  connections  open now, those that were upgraded included
---                upgraded     taken over for another protocol (req:upgrade) and still open
---                idle         of the others: waiting for a request
---                reading      of the others: a request, or its body, is coming
---                writing      of the others: an answer is going out. What is left has a handler at
---                             work
---                queued       requests that wait for a worker
---                accepted     connections since the start
---                refused      connections turned away for want of a descriptor
---                requests     handed to handlers since the start
---                rejected     bad requests, answered without a handler
---                bytesIn      bytes read
---                bytesOut     bytes of answers, those included that are still on their way
---                statuses     answers by class: {["2xx"] = integer, ...}
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function() return "hello" end))
--- assert(server:stats().requests == 0 and server:stats().statuses["2xx"] == 0)
--- server:close()
function methods:stats()
    local h = self._h
    C.links_http_stats(h)
    local statuses = {}
    for digit = 2, 5 do statuses[digit .. "xx"] = h.answers[digit] end
    return {
        connections = h.connections, upgraded = h.upgraded, idle = h.idle,
        reading = h.reading, writing = h.writing,
        queued = h.queued, accepted = h.accepted, refused = h.refused, requests = h.requests,
        rejected = h.rejected, bytesIn = h.bytes_in, bytesOut = h.bytes_out, statuses = statuses,
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
    C.links_http_stop(handle, 0)
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

-- private: as close, when the process ends and another one goes on: a client that has sent a
-- request just now gets his answer.
function methods:_drain(ms)
    C.links_http_stop(self._h, math.min(GRACE_MS, ms / 2))
    return self:close(ms)
end

-- private: how many requests there have been.
function methods:_served()
    return self._h.requests
end

-- private: makes a server of a handle that listens, which the caller's ffi.gc owns, and starts its
-- workers. options: those of http.createServer, and cookieSecrets and trust made of them.
function server.start(handle, handler, options)
    local self = setmetatable({
        _h = handle, _handler = handler, _workers = {}, _places = places_of(handle),
        _known = {},
        _onError = options.onError, _requestId = options.requestId, _trust = options.trust,
        _cookieSecrets = options.cookieSecrets,
        _onConnection = options.onConnection, _headerTimeout = options.headerTimeout,
    }, Server)
    servers.add(handle, self)
    listening.add(self, true)
    if options.onConnection then
        C.links_http_keep_door(handle)
        spawn(keep_door, self)
    end
    for _ = 1, 2 do
        C.links_http_worker(handle, 1, 0)
        spawn(work, self)
    end
    return self
end

return server
