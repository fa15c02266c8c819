--- Server-sent events, as the HTML standard has them (9.2): a response that goes on, an event now
--- and then, and a comment where nothing else is sent, so that nobody in between takes the
--- connection for dead, and we learn that the client has left.
local check = require "links.check"
local core = require "links.core"
local errors = require "links.errors"
local sync = require "links.sync"
local timer = require "links.timer"

local response, Stream = {}, { __name = "event stream" }
Stream.__index = Stream

local SIGNATURE = "res:sse([options])"
local OPTIONS = {
    heartbeat = { default = 15000, type = "integer", min = 0, max = 2 ^ 31 - 1 },
}

local function closed(what) return nil, errors.new(errors.code("CLOSED"), what) end

local function over(self)
    self.closed = true
    if self._beat then self._beat:cancel() end
end

-- One event at a time: what waits for the client must not be cut in two by another task.
local function write(self, text)
    local turn = self._turn
    local ok, err = turn:lock()
    if not ok then return nil, err end
    if self.closed then
        turn:unlock()
        return closed("sse send")
    end
    ok, err = self._res:write(text)
    self._sent = core.now()
    if not ok then over(self) end
    turn:unlock()
    return ok, err
end

-- It keeps no process: a handler may have returned without a word to its stream.
local function beat(self)
    local due = self._sent + self._every - core.now()
    if due <= 0 then
        if not write(self, ":\n\n") then return end
        due = self._every
    end
    self._beat = timer.setTimeout(due, beat, self):unref()
end

-- A field whose value is one line.
local function one_line(signature, name, value, level)
    check.type(signature, name, value, "string|number", level + 1)
    value = tostring(value)
    if value:find("[\r\n%z]") then
        error(signature .. " " .. name .. " has line ends or NUL in it", level + 2)
    end
    return value
end

local function lines_of(field, text)
    text = text:gsub("\r\n?", "\n")
    return field .. ": " .. text:gsub("\n", "\n" .. field .. ": ") .. "\n"
end

local SEND = "stream:send(event)"
local FIELDS = { event = true, data = true, id = true, retry = true }

local function data_of(data)
    if type(data) == "table" then
        local text, err = require("links.json").encode(data)
        if not text then error(SEND .. " event.data: " .. err.message, 4) end
        return text
    end
    check.type(SEND, "event.data", data, "string|number|table|nil", 3)
    return data ~= nil and tostring(data) or nil
end

local function event_of(event)
    if type(event) ~= "table" then
        check.type(SEND, "event", event, "string|number|table", 2)
        return lines_of("data", tostring(event)) .. "\n"
    end
    for name in pairs(event) do
        if not FIELDS[name] then
            error(SEND .. " event has the unknown field " .. tostring(name)
                .. ": there are event, data, id and retry", 3)
        end
    end
    local text = ""
    if event.event ~= nil then
        text = "event: " .. one_line(SEND, "event.event", event.event, 2) .. "\n"
    end
    if event.id ~= nil then
        text = text .. "id: " .. one_line(SEND, "event.id", event.id, 2) .. "\n"
    end
    if event.retry ~= nil then
        check.integer(SEND, "event.retry", event.retry, 0, 2 ^ 31 - 1, 2)
        text = text .. ("retry: %d\n"):format(event.retry)
    end
    local data = data_of(event.data)
    return (data and text .. lines_of("data", data) or text) .. "\n"
end

--- Begins a stream of server-sent events, which browsers read by EventSource.
---
--- It ends when it is closed, when the handler returns, or when the client leaves: then
--- stream:send answers CLOSED, what the handler waits for ends with ECANCELED, and `stream.closed`
--- is true. A client that comes back says which event was its last: `stream.lastEventId`.
---
--- @param options  table  heartbeat  15000  ms without an event after which a comment is sent; 0:
---                                          never
--- @return stream         :send :comment :close
--- @return nil, err       HTTP_HEADERS_SENT  the head of another answer is on its way
---                        CLOSED             the response is finished, or the client has left
--- @raise                 an option of another type or out of bounds, or one that nobody knows
--- @wait
--- @usage local http, timer = require "http", require "timer"
--- local server = assert(http.createServer(0, function(_, res)
---     local stream = assert(res:sse())
---     for n = 1, 3 do
---         if not stream:send{ event = "tick", id = n, data = { n = n } } then return end
---         timer.sleep(1)
---     end
---     stream:close()
--- end))
--- server:close()
function response:sse(options)
    options = check.options(SIGNATURE, options, OPTIONS)
    for name, value in pairs {
        ["Content-Type"] = "text/event-stream", ["Cache-Control"] = "no-cache",
        -- nginx would collect events until a buffer is full.
        ["X-Accel-Buffering"] = "no",
    } do
        local ok, err = self:setHeader(name, value)
        if not ok then return nil, err end
    end
    local stream = setmetatable({
        _res = self, _sent = core.now(), closed = false, _turn = sync.mutex(),
        _every = options.heartbeat,
        lastEventId = self:_requestHeader("last-event-id"),
    }, Stream)
    local ok, err = self:write("")
    if not ok then return nil, err end
    if options.heartbeat > 0 then beat(stream) end
    return stream
end

--- Sends an event, waiting while the client is slower than we are.
---
--- @param event  string|table  its data, or { event = name, data = string, or a table that is sent
---                             as JSON, id = what the client tells when it comes back, retry = ms
---                             until it does }
--- @return true
--- @return nil, err            CLOSED     the stream is closed, or the client has left
---                             ECANCELED  this task was cancelled
---                             ETIMEDOUT  the client took nothing within the server's writeTimeout
--- @raise                      other fields; a name or an id of more than one line
--- @wait
function Stream:send(event)
    return write(self, event_of(event))
end

--- Sends a comment, which clients do not see.
---
--- @param text  string  any
--- @return true
--- @return nil, err     as stream:send
--- @wait
function Stream:comment(text)
    check.type("stream:comment(text)", "text", text, "string")
    return write(self, lines_of("", text) .. "\n")
end

--- Ends the stream. The client comes back, unless the last answer to it has been 204.
---
--- @return true
--- @return nil, err  as stream:send
--- @wait
function Stream:close()
    if self.closed then return true end
    over(self)
    return self._res:finish()
end

return { response = response }
