--- Subscriptions to channels of Redis, of client:subscribe, client:psubscribe and
--- client:ssubscribe.
---
--- Each has a connection of its own, so its messages are never among the replies of commands. Where
--- that is lost, sub:read makes another and subscribes again to all of its channels; what was
--- published meanwhile is lost, which sub.reconnects, a count, tells. One task reads; others may
--- add and remove channels meanwhile. Nothing is read that nobody asks for, and a server drops who
--- reads too slowly (client-output-buffer-limit). A server that is gone without a word, as when a
--- cable is cut or a firewall forgets, is found out by a PING (`pingInterval`) while a task reads.
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local timer = require "links.timer"
local codec = require "links.redis.codec"
local open = require "links.redis.open"

local now, new_error = core.now, errors.new
local CLOSED, ETIMEDOUT = errors.code("CLOSED"), errors.code("ETIMEDOUT")
local EBUSY = errors.code("EBUSY")

local PING = codec.encode("PING")

local UNDO = { SUBSCRIBE = "UNSUBSCRIBE", PSUBSCRIBE = "PUNSUBSCRIBE", SSUBSCRIBE = "SUNSUBSCRIBE" }

-- What is pushed: whether it is a message, and which of its fields is what.
local MESSAGES = {
    message = function(list) return { channel = list[2], message = list[3] } end,
    pmessage = function(list)
        return { pattern = list[2], channel = list[3], message = list[4] }
    end,
    smessage = function(list) return { channel = list[2], message = list[3] } end,
}

local CONFIRMS = { subscribe = true, psubscribe = true, ssubscribe = true }

local methods = {}
local Subscription = { __index = methods, __name = "redis subscription" }

-- The bytes that subscribe to all channels, and how many there are.
local function all_of(self)
    local list = { self._verb }
    for channel in pairs(self._channels) do list[#list + 1] = channel end
    if #list == 1 then return nil, 0 end
    return codec.encode_list(list, #list), #list - 1
end

-- Connects and subscribes; true, or nil and an error.
local function connect(self)
    local line, err = open(self._o)
    if not line then return nil, err end
    if self._closed then
        line:close()
        return nil, new_error(CLOSED, "redis")
    end
    -- What is added or closed while this is sent is told to this one, too.
    self._line = line
    self._pinged = false
    local bytes = all_of(self)
    local ok = true
    if bytes then ok, err = line:post(bytes) end
    if ok then return true end
    line:close()
    return nil, err
end

-- What the server has said: a message, or nil.
local function take(self, value)
    local kind = type(value) == "table" and value[1] or value
    if kind == "pong" or kind == "PONG" then self._pinged = false end -- of RESP2, or of 3
    if kind == value then return nil end
    if CONFIRMS[kind] then self._confirmed = self._confirmed + 1 end
    local make = MESSAGES[kind]
    return make and make(value)
end

-- Waits before the next try to connect; nil and an error where that is beyond `until_ms`.
local function back_off(self, until_ms)
    local reconnect = self._o.reconnect
    local ms = math.min(reconnect.base * 2 ^ math.min(self._failures, 20), reconnect.max)
    self._failures = self._failures + 1
    local left = until_ms and until_ms - now() or ms
    if left > 0 then
        local ok, err = timer.sleep(math.min(ms, left))
        if not ok then return nil, err end
    end
    if until_ms and now() >= until_ms then return nil, new_error(ETIMEDOUT, "redis") end
    return true
end

-- A refusal by the server, or by who checks certificates, does not go away by trying again.
local function is_final(err)
    return err.code == 0 or err.name == "CLOSED" or err.name == "ECANCELED" or err.deadline
        or err.name:find("^TLS_") ~= nil
end

local function reconnect(self, until_ms)
    while true do
        if self._closed then return nil, new_error(CLOSED, "redis") end
        local ok, err = connect(self)
        if ok then
            self._failures = 0
            self.reconnects = self.reconnects + 1
            return true
        end
        if is_final(err) then return nil, err end
        ok, err = back_off(self, until_ms)
        if not ok then return nil, err end
    end
end

-- When something is to be done about a server that says nothing until then; nil: never.
local function silence_ends(self, line)
    local interval, timeout = self._o.pingInterval, self._o.timeout
    if interval == 0 then return nil end
    if not self._pinged then return line.used + interval end
    return math.max(line.used, self._pinged) + (timeout > 0 and timeout or interval)
end

-- Asks whether the server is there; it has been told to answer before: it is not. True, or nil and
-- how this task's wait ended.
local function end_silence(self, line)
    if self._pinged then
        line:fail(new_error(ETIMEDOUT, "redis"))
        return true
    end
    self._pinged = now()
    local ok, err = line:post(PING)
    if ok or line.broken then return true end
    self._pinged = false -- nothing of it was sent
    if err.name == "ECANCELED" or err.deadline then return nil, err end
    line:fail(err)
    return true
end

-- An answer to PING, too, of a server that does not let this user ask.
local function refuses_ping(self, err)
    local refused = self._pinged and err.code == 0 and err.message:lower():find("ping", 1, true)
    if refused then self._pinged = false end
    return refused
end

-- Reads one thing; the message that it was, or nil, or nil and an error.
local function step(self, until_ms)
    local line = self._line
    if self._closed then return nil, new_error(CLOSED, "redis") end
    if not line or line.broken then
        local ok, err = reconnect(self, until_ms)
        return nil, not ok and err or nil
    end
    local silence = silence_ends(self, line)
    local wake = silence and math.min(silence, until_ms or silence) or until_ms
    local overdue = silence and silence <= now() -- what is there is read first all the same
    local value, err = line:receive(wake and math.max(wake - now(), 0))
    if not err then return take(self, value) end
    if refuses_ping(self, err) then return nil end
    if err.name == "ETIMEDOUT" and not err.deadline then
        if overdue then
            local ok, failure = end_silence(self, line)
            if not ok then return nil, failure end
        end
        if not until_ms or now() < until_ms then return nil end
    end
    -- Lost, and not by us: the next step connects.
    if line.broken and not self._closed and err.name ~= "PROTOCOL" and err.name ~= "TOO_LARGE" then
        return nil
    end
    return nil, err
end

local function next_message(self, until_ms)
    local early = self._early
    if early[1] then return table.remove(early, 1) end
    while true do
        local message, err = step(self, until_ms)
        if message then return message end
        if err then return nil, err end
    end
end

--- Waits for the next message.
---
--- @param ms  number   how long to wait at most, in milliseconds; 0: not at all. Where a connection
---                     has to be made, connectTimeout counts. Default: as long as it takes
--- @return table       {channel =, message =}, and pattern where it came by one
--- @return nil, err    ETIMEDOUT  there was none within `ms`, or a deadline came
---                     ECANCELED  this task was cancelled
---                     CLOSED     the subscription is closed
---                     EBUSY      another task reads
---                     NOPERM and others  the server refuses it
---                     PROTOCOL, TOO_LARGE  what came is no message; the next read connects again
--- @raise              `ms` is not a number of milliseconds
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local sub = client:subscribe("news")
--- if sub then
---     local message, err = sub:read(1)
---     assert(message == nil and err.name == "ETIMEDOUT")
---     sub:close()
--- end
--- client:close()
function methods:read(ms)
    check.timeout("sub:read([ms])", "ms", ms)
    if self._closed then return nil, new_error(CLOSED, "redis") end
    if self._reading then return nil, new_error(EBUSY, "redis") end
    self._reading = true
    local ok, message, err = pcall(next_message, self, ms and now() + ms)
    self._reading = false
    if not ok then error(message, 0) end
    return message, err
end

-- Channels of a call, at least one.
local function check_channels(signature, ...)
    if select("#", ...) == 0 then error(signature .. " there must be one at least", 3) end
    for i = 1, select("#", ...) do
        check.type(signature, "argument " .. i, (select(i, ...)), "string", 2)
    end
end

-- Where there is no connection now, the next one begins with what is wanted then.
local function tell(self, verb, ...)
    local line = self._line
    if self._closed then return nil, new_error(CLOSED, "redis") end
    if not line or line.broken then return true end
    local ok, err = line:post((codec.encode(verb, ...)))
    if ok or line.broken then return true end
    return nil, err
end

--- Subscribes to more channels (or patterns, as the first ones were). The server has them a moment
--- later: what is published before that is not read.
---
--- @param ...  string  channels, one at least
--- @return true
--- @return nil, err    CLOSED     the subscription is closed
---                     ECANCELED  this task was cancelled
--- @raise              there is no channel, or one is no string
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local sub = client:subscribe("news")
--- if sub then
---     assert(sub:add("weather"))
---     sub:close()
--- end
--- client:close()
function methods:add(...)
    check_channels("sub:add(channel, ...)", ...)
    for i = 1, select("#", ...) do self._channels[(select(i, ...))] = true end
    return tell(self, self._verb, ...)
end

--- Gives channels up. Messages that are on their way still come.
---
--- @param ...  string  channels, one at least
--- @return true
--- @return nil, err    as sub:add
--- @raise              as sub:add
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local sub = client:subscribe("news", "weather")
--- if sub then
---     assert(sub:remove("weather"))
---     sub:close()
--- end
--- client:close()
function methods:remove(...)
    check_channels("sub:remove(channel, ...)", ...)
    for i = 1, select("#", ...) do self._channels[(select(i, ...))] = nil end
    return tell(self, UNDO[self._verb], ...)
end

--- Ends the subscription; who reads gets CLOSED. Twice is harmless.
---
--- @return true
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local sub = client:subscribe("news")
--- if sub then sub:close() end
--- client:close()
function methods:close()
    self._closed = true
    if self._line then self._line:close() end
    return true
end

-- Waits until the server has confirmed all channels; messages that come meanwhile are kept.
local function confirmed(self, until_ms)
    local _, wanted = all_of(self)
    while self._confirmed < wanted do
        local line = self._line
        local value, err = line:receive(until_ms and math.max(until_ms - now(), 0))
        if value == nil then return nil, err end
        local message = take(self, value)
        if message then table.insert(self._early, message) end
    end
    return true
end

-- Private: for the client, whose signature it has then.
local function subscribe(signature, o, verb, ...)
    check_channels(signature, ...)
    local self = setmetatable({
        _o = o, _verb = verb, _channels = {}, _early = {}, _line = false, _closed = false,
        _reading = false, _pinged = false,
        _confirmed = 0, _failures = 0,
        reconnects = 0,
    }, Subscription)
    for i = 1, select("#", ...) do self._channels[(select(i, ...))] = true end
    local until_ms = o.timeout > 0 and now() + o.timeout or nil
    local ok, err = connect(self)
    if ok then ok, err = confirmed(self, until_ms) end
    if ok then return self end
    self:close()
    return nil, err
end

return { open = subscribe }
