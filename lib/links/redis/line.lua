-- A connection to Redis on which commands wait for their replies in the order in which they were
-- sent. Any number of tasks may use it: what they write in one turn of the loop leaves in one
-- write, and one of those that wait reads for all of them. So there is no task that does nothing
-- but read, and a command that is alone costs one resume.
--
-- A task that gives up leaves its place in the row to a reply that nobody wants. So a cancel or a
-- deadline never makes a later command get another one's reply.
local core = require "links.core"
local errors = require "links.errors"
local codec = require "links.redis.codec"
local null = require "links.null"
local tcp_ffi = require "links.tcp.ffi"

local C = tcp_ffi.C
local now, park, new_queue = core.now, core.park, core.queue
local wake_one, wake_all = core.wakeOne, core.wakeAll
local fast_some, read = core.fast.tcpReadSome, codec.read
local new_error = errors.new
local write = require("links.tcp.writing").write
local MORE, ERROR, PUSH = codec.MORE, codec.ERROR, codec.PUSH

local INT_MAX = 2 ^ 31 - 1
local ETIMEDOUT, ECANCELED = -errors.code("ETIMEDOUT"), -errors.code("ECANCELED")
local PROTOCOL, CLOSED = errors.code("PROTOCOL"), errors.code("CLOSED")
local ECONNRESET = errors.code("ECONNRESET")
local DEADLINE, REFUSED = -20016, -20017 -- as lib/links/errors.lua has them

-- What a server says that is no master, or not any more: elsewhere there may be one.
local DEMOTED = { READONLY = true, UNBLOCKED = true }

-- How the wait of a task ends that says nothing of the connection.
local OWN = { [ETIMEDOUT] = true, [ECANCELED] = true, [DEADLINE] = true, [REFUSED] = true }

local Line = {}
Line.__index = Line

-- --- the row of those who wait ----------------------------------------------------------------

-- An entry is one command, or `count` of them whose replies are collected in `list`. `maps` says
-- which of the replies are names and values in turn.
local function enter(self, count, maps)
    local entry = self._spare
    if entry then
        self._spare = entry.after
        entry.after = false
    else
        entry = { queue = new_queue(), after = false }
    end
    entry.done, entry.live, entry.void = false, true, false
    entry.value, entry.err, entry.maps = nil, nil, maps
    entry.left, entry.list = count, count > 0 and {} or false
    if self._last then self._last.after = entry else self._first = entry end
    self._last = entry
    self.pending = self.pending + 1
    return entry
end

local function recycle(self, entry)
    entry.value, entry.err, entry.list, entry.maps = nil, nil, nil, nil
    entry.after = self._spare
    self._spare = entry
end

-- The first leaves the row.
local function leave(self, entry)
    self._first = entry.after
    if not self._first then self._last = false end
    entry.after = false
    self.pending = self.pending - 1
    if not entry.live then return recycle(self, entry) end
    entry.done = true
    wake_one(entry.queue)
end

-- Names and values in turn become a table; what is no list stays as it is.
local function to_map(list)
    if type(list) ~= "table" or errors.is(list) then return list end
    local map = {}
    for i = 1, #list - 1, 2 do
        local key = list[i]
        if key ~= key then key = "nan" end -- what no table can have as a key
        map[key] = list[i + 1]
    end
    return map
end

-- Whether maps come as lists, and are wanted as tables.
function Line:flat()
    return self.protocol == 2 and self._maps
end

local function shape(self, entry, place, value)
    local maps = entry.maps
    if not maps or not self:flat() then return value end
    if maps ~= true and not maps[place] then return value end
    return to_map(value)
end

-- --- what the server says ---------------------------------------------------------------------

-- Whoever is left over takes the reading on.
local function hand_on(self)
    local entry = self._first
    while entry do
        if entry.live and wake_one(entry.queue) then return end
        entry = entry.after
    end
end

local function live(self)
    if self._turns_waiting > 0 then return true end
    local entry = self._first
    while entry do
        if entry.live then return true end
        entry = entry.after
    end
    return false
end

-- The connection is of no more use: who waits gets the error.
function Line:fail(err)
    if self.broken then return end
    self.broken = err
    self._socket:close(true)
    while self._first do
        self._first.err = err
        leave(self, self._first)
    end
    wake_all(self._turns)
    if self.onlost then self.onlost(self, err) end
end

local function settle(self, kind, value)
    local entry = self._first
    while entry and entry.void do
        leave(self, entry)
        entry = self._first
    end
    if not entry then
        local about = { message = "a reply that nobody asked for" }
        return self:fail(new_error(PROTOCOL, "redis", about))
    end
    if kind == ERROR and DEMOTED[value.name] then
        self.demoted = true
        if self.shared then self.retired = true end
    end
    if entry.left == 0 then
        if kind == ERROR then entry.err = value else entry.value = shape(self, entry, 1, value) end
        return leave(self, entry)
    end
    local list = entry.list
    if value == nil then value = null end
    list[#list + 1] = shape(self, entry, #list + 1, value)
    entry.left = entry.left - 1
    if entry.left == 0 then
        entry.value = list
        leave(self, entry)
    end
end

local function dispatch(self, bytes)
    local reader = self._reader
    self._silent = false
    local kind, value = read(reader, bytes)
    while kind ~= MORE and not self.broken do
        if kind < 0 then
            return self:fail(new_error(kind, "redis", { message = value }))
        elseif kind ~= PUSH then
            settle(self, kind, value)
        end
        kind, value = read(reader)
    end
end

-- --- waiting ----------------------------------------------------------------------------------

-- The bytes that come next, or the code of a failure.
local function take(handle)
    local bytes = fast_some(handle, INT_MAX)
    while type(bytes) ~= "string" do
        if bytes == ETIMEDOUT then
            if C.links_tcp_expired(handle, 0) == 1 then return bytes end
        elseif bytes ~= 0 then
            return bytes
        end
        bytes = fast_some(handle, INT_MAX)
    end
    return bytes
end

local function set_timeout(self, ms)
    if ms == self._read_timeout then return end
    self._read_timeout = ms
    C.links_tcp_timeouts(self._socket._h, ms, self._timeout)
end

-- Reads for everybody until the reply of `entry` has come. 0, or how this task's wait ended.
local function lead(self, entry, timeout, began)
    self._reading = true
    local left, status = timeout, 0
    repeat
        if timeout > 0 then left = timeout - (now() - began) end
        if timeout > 0 and left <= 0 then
            status = ETIMEDOUT
            break
        end
        set_timeout(self, math.ceil(left))
        local bytes = take(self._socket._h)
        if type(bytes) ~= "string" then
            status = bytes
            break
        end
        dispatch(self, bytes)
    until entry.done
    self._reading = false
    if status == 0 or OWN[status] then return status end
    self:fail(new_error(status, "redis"))
    return 0
end

-- Nobody waits for this reply any more. It was asked for at `began`.
local function give_up(self, entry, status, began)
    entry.live = false
    -- What does not answer in time gets no further commands; that a task had less time than that
    -- says nothing, but nor does it excuse a server that goes on saying nothing.
    if status == ETIMEDOUT then self.retired = true end
    self._silent = self._silent or began
    if not self._reading then hand_on(self) end
    if self.retired and not live(self) then self:close() end
    return nil, new_error(status, "redis")
end

local function await(self, entry, timeout, began)
    local status = 0
    self.used = began
    while not entry.done do
        if status ~= 0 then return give_up(self, entry, status, began) end
        if self._reading then
            local left = timeout > 0 and math.max(timeout - (now() - began), 0) or nil
            status = park(entry.queue, left, "redis reply")
        else
            status = lead(self, entry, timeout, began)
        end
    end
    local value, err = entry.value, entry.err
    recycle(self, entry)
    if self._first and not self._reading then hand_on(self) end
    if self.retired and not live(self) then self:close() end
    return value, err
end

-- --- writing ----------------------------------------------------------------------------------

-- The row is in the order of what is written, so one writes at a time: while the server is slow to
-- read, a later command could be faster than an earlier one that has been woken to write on.

-- Waits until nobody else writes, behind those who do so already. What is left of `timeout`, or nil
-- and an error.
local function await_turn(self, timeout)
    local began = now()
    self.pending, self._turns_waiting = self.pending + 1, self._turns_waiting + 1
    local status = park(self._turns, timeout > 0 and timeout or nil, "redis write")
    self.pending, self._turns_waiting = self.pending - 1, self._turns_waiting - 1
    if self.broken then return nil, self.broken end
    if status == 0 then
        return timeout > 0 and math.max(timeout - (now() - began), 1) or 0
    end
    if status == ETIMEDOUT then self.retired = true end
    if self.retired and not live(self) then self:close() end
    return nil, new_error(status, "redis")
end

-- The next one writes: nobody comes between.
local function end_turn(self)
    self._writing = self._turns_waiting > 0 and wake_one(self._turns)
end

-- Why a connection is left on which half a command was written: not the others were out of time.
local function lost(err)
    return new_error(ECONNRESET, "redis", { cause = err })
end

-- Writes what is left of a command whose task has gone: others wait for replies behind it.
local function finish(self, rest)
    local done, err = write(self._socket, rest)
    if not done then self:fail(lost(err)) end
    end_turn(self)
    if self.retired and not live(self) then self:close() end
end

-- What was not written gets no reply, and what was in part one that nobody wants.
local function unwritten(self, entry, bytes, err)
    if entry.done then
        local why = entry.err -- of the connection: `err` only says that it is closed
        end_turn(self)
        recycle(self, entry)
        return nil, why
    end
    local partial, own = err.partial or 0, OWN[-err.code]
    local timed_out = err.name == "ETIMEDOUT" and not err.deadline
    entry.live = false
    if own and timed_out then self.retired = true end
    if not own then
        self:fail(err)
    elseif timed_out and partial > 0 then
        self:fail(lost(err))
    elseif partial > 0 then
        core.spawn(finish, self, bytes:sub(partial + 1))
        return nil, err
    else
        entry.void = true
    end
    end_turn(self)
    return nil, err
end

-- Sends a command, and waits for its reply for at most `timeout` ms; 0: as long as it takes. The
-- value, or nil and an error: the server's, with the code 0, or why there is no reply; and when it
-- was sent. Where `count` is not 0 that many commands are sent, and a list of their replies is the
-- value, in which errors are values. `maps` (true, or by place) says which replies are names and
-- values in turn.
function Line:send(bytes, count, timeout, maps)
    if self.broken then return nil, self.broken end
    if self._writing then
        local left, err = await_turn(self, timeout)
        if not left then return nil, err end
        timeout = left
    end
    self._writing = true
    local entry, began = enter(self, count, maps), now()
    -- What is small does not wait. What does may raise where no wait can be.
    local ok, done, failure = pcall(write, self._socket, bytes)
    if ok and not done then return unwritten(self, entry, bytes, failure) end
    if self._turns_waiting > 0 then end_turn(self) else self._writing = false end
    if not ok then
        -- How much of it was written nobody knows.
        self:close()
        error(done, 0)
    end
    local value, err = await(self, entry, timeout, began)
    return value, err, began
end

-- --- life -------------------------------------------------------------------------------------

-- Whether the server has said nothing for the time that a command has. Then it takes no more.
local function is_mute(self)
    if self._timeout == 0 or now() - self._silent < self._timeout then return false end
    if C.links_tcp_quiet(self._socket._h) == 0 then return false end
    self:retire()
    return true
end

-- Whether it takes commands; where nobody uses it, the server must not have said anything, as it
-- does when it closes.
function Line:fit(idle_ms)
    if self.broken or self.retired then return false end
    if self.pending > 0 then return not self._silent or not is_mute(self) end
    local since = now() - self.used
    if since < 1 then return true end
    local fresh = idle_ms == 0 or since < idle_ms
    if fresh and C.links_tcp_quiet(self._socket._h) == 1 then return true end
    self:close()
    return false
end

-- Takes no more commands; is closed as soon as nobody waits any more.
function Line:retire()
    self.retired = true
    if not live(self) then self:close() end
end

-- The next thing that the server says, for who alone uses the connection, and is in no row: what is
-- pushed, and replies too. Waits for at most `ms`; nil: as long as it takes. nil and an error: the
-- server's, one of this wait, or, with self.broken set, one of the connection.
function Line:receive(ms)
    local until_ms = ms and now() + ms
    local kind, value = read(self._reader)
    while kind == MORE do
        local left = until_ms and math.max(math.ceil(until_ms - now()), 0) or 0
        -- What is there already is read in no time.
        if ms and left == 0 and C.links_tcp_quiet(self._socket._h) == 1 then
            return nil, new_error(ETIMEDOUT, "redis")
        end
        set_timeout(self, ms and math.max(left, 1) or 0)
        local bytes = take(self._socket._h)
        if type(bytes) ~= "string" then
            local err = new_error(bytes, "redis")
            -- A time that is not over is the system's, which has given the peer up.
            local early = bytes == ETIMEDOUT and not (until_ms and now() >= until_ms)
            if early or not OWN[bytes] and err.name ~= "EBUSY" then self:fail(err) end
            return nil, err
        end
        self.used = now()
        kind, value = read(self._reader, bytes)
    end
    if kind == ERROR then return nil, value end
    if kind >= 0 then return value end
    local err = new_error(kind, "redis", { message = value })
    self:fail(err)
    return nil, err
end

-- Sends what is not answered in a row: for Line:receive.
function Line:post(bytes)
    if self.broken then return nil, self.broken end
    local done, err = self._socket:write(bytes)
    if done then return true end
    if (err.partial or 0) > 0 or not OWN[-err.code] then self:fail(err) end
    return nil, err
end

-- Closes it; whoever waits gets `err`, or CLOSED. Twice is harmless.
function Line:close(err)
    self:fail(err or new_error(CLOSED, "redis"))
end

-- A line of a connected socket.
local function new(socket, o)
    local self = setmetatable({
        _socket = socket,
        _h = socket._h, -- for the pool that it is kept in
        _reader = codec.reader(o),
        _timeout = o.timeout,
        _maps = o.hashReplies == "map",
        _read_timeout = -1,
        _first = false, _last = false, _spare = false, _reading = false, _silent = false,
        _writing = false, _turns = new_queue(), _turns_waiting = 0,
        pending = 0,
        protocol = 2,
        shared = false, -- by the tasks of a client
        retired = false,
        demoted = false,
        broken = false,
        onlost = false,
        used = now(),
    }, Line)
    set_timeout(self, o.timeout)
    return self
end

return { new = new, to_map = to_map }
