-- Lua values between a process and the children it has forked with `ipc`.
--
-- A parent and a child have a pair of Unix sockets between them. What goes over it is a frame: a
-- head of fixed size and the value, encoded by LuaJIT's string.buffer. A frame to somebody else
-- goes to the parent, who passes it on without looking into it; so any two of a family can talk.
--
-- Nothing is unbounded: who sends waits while much is queued for his receiver, and who receives
-- stops reading while his inbox is full, until in the end the sender waits. Nothing is cut off
-- either: a frame that has been queued is written as a whole, whatever becomes of the task that
-- sent it.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local binding = require "links.process.ffi"
local events = require "links.process.events"
local null = require "links.null"
local serial = require "links.serial"

local C = binding.C
local new_error = errors.new

local ipc = {
    -- Bytes of an encoded value; bytes queued for one receiver, beyond which senders wait; messages
    -- that nobody has received; handlers that run at a time; requests without an answer.
    MESSAGE_MAX = 16777216,
    QUEUE_MAX = 1048576,
    INBOX_MAX = 1024,
    RUNNING_MAX = 1024,
    PENDING_MAX = 65536,
}

local MESSAGE, REQUEST, REPLY, FAILURE, ASK = 1, 2, 3, 4, 5
local VERSION = 1
-- Instead of a process id: who is at the other end; everybody else; and from here down the workers
-- of a cluster, the first one first.
local PEER, ALL, WORKERS = 0, -1, -2

-- What links itself asks for, besides the program's requests, and the modules that answer: each has
-- a function serve(value).
local SERVICES = { metrics = "links.metrics.builtin", admin = "links.admin.answers" }

local head_type = ffi.typeof [[
    struct { uint32_t length, id; int32_t from, to; uint8_t kind, version; uint16_t worker; }
]]
local HEAD = ffi.sizeof(head_type)

local ENOTCONN, ESRCH, EPIPE = errors.code("ENOTCONN"), errors.code("ESRCH"), errors.code("EPIPE")
local TOO_LARGE, PROTOCOL = errors.code("TOO_LARGE"), errors.code("PROTOCOL")
local FULL, UNSUPPORTED, EOF = errors.code("FULL"), errors.code("UNSUPPORTED"), errors.code("EOF")

-- For the process, not for this load of the module.
local state = core.processIpc or {
    channels = {}, -- pid -> the channel to that child
    parent = nil, -- the channel to the parent
    workers = {}, -- of a master: worker id -> the channel to the one that serves
    nworkers = 0, -- how many the cluster has
    inbox = {}, first = 1, last = 0,
    receivers = core.queue(), -- tasks that wait for a message
    space = core.queue(), -- readers that wait for room in the inbox, or for a handler to end
    pending = {}, npending = 0, next_id = 0, -- requests that wait for their answers
    runs = {}, running = 0, -- the tasks of handlers, and how many there are
    holders = 0, -- who waits for something to come, and so keeps the process going
    listening = false, -- there are handlers of messages
    answer = nil, -- the function of process.onRequest
}
core.processIpc = state

-- --- What can be sent --------------------------------------------------------------------------

local SENDABLE = { ["nil"] = true, boolean = true, number = true, string = true }

local function step(path, key)
    if type(key) == "string" and key:find("^[%a_][%w_]*$") then return path .. "." .. key end
    return path .. "[" .. (type(key) == "string" and ("%q"):format(key) or tostring(key)) .. "]"
end

-- Why a value cannot be sent; nil: it can.
local function fault(value, path, above, depth)
    local is = type(value)
    if SENDABLE[is] or value == null then return nil end
    if is == "cdata" then
        if ffi.istype("int64_t", value) or ffi.istype("uint64_t", value) then return nil end
        return path .. " is a cdata of type " .. tostring(ffi.typeof(value))
    end
    if is ~= "table" then return path .. " is a " .. is end
    if above[value] then return path .. " is " .. above[value] .. " once more: a cycle" end
    if depth == 0 then return path .. " is nested too deeply" end
    above[value] = path
    for key, item in pairs(value) do
        local found = fault(key, "a key of " .. path, above, depth - 1)
            or fault(item, step(path, key), above, depth - 1)
        if found then return found end
    end
    above[value] = nil
end

local DEPTH = 100 -- of string.buffer

--- Encodes a value; or nil and the reason why that cannot be.
function ipc.encode(value)
    local ok, text = serial.encode(value)
    if ok then return text end
    return nil, fault(value, "value", {}, DEPTH) or text
end

-- --- Who keeps the process going ---------------------------------------------------------------

local function each_channel(fn)
    if state.parent then fn(state.parent) end
    for _, channel in pairs(state.channels) do fn(channel) end
end

local function count_of_channels()
    local n = 0
    each_channel(function() n = n + 1 end)
    return n
end

local function hold(change)
    local before = state.holders > 0
    state.holders = state.holders + change
    local now = state.holders > 0
    if now == before then return end
    each_channel(function(channel)
        if now then channel.socket:ref() else channel.socket:unref() end
    end)
end

-- --- Channels: sending -------------------------------------------------------------------------

local Channel = {}
Channel.__index = Channel

-- Whether the task of a channel does its work. One that somebody has cancelled before it began, and
-- who meant all tasks, never will.
local function lives(t, begun)
    if not t or core.finished(t) then return false end
    local _, _, _, _, cancelled = core.info(t)
    return begun or not cancelled
end

-- A task of its own: a sender that is cancelled leaves no half of a frame behind.
local function write_out(channel)
    core.shieldPush() -- for good
    channel.writes = true
    while #channel.out > 0 do
        local batch, bytes = channel.out, channel.queued
        channel.out = {}
        local _, err = channel.socket:write(batch)
        channel.queued = channel.queued - bytes
        core.wakeAll(channel.room)
        -- The process may end when this task does.
        if not err and #channel.out == 0 then err = select(2, channel.socket:flush()) end
        if err then
            channel:close(err)
            break
        end
    end
    channel.writer, channel.writes = nil, false
    if channel.over then channel.socket:close() end
end

local read_in

-- Sees to it that somebody reads, and writes where there is something to write.
function Channel:tend()
    if not self.over and not lives(self.reader, self.reads) then
        self.reader = core.spawn(read_in, self)
    end
    if #self.out > 0 and not lives(self.writer, self.writes) then
        self.writer = core.spawn(write_out, self)
    end
end

-- Queues a frame, once there is room for it: true, or nil and an error.
function Channel:post(kind, id, from, to, payload, worker)
    while not self.over and self.queued > 0 and self.queued + #payload > ipc.QUEUE_MAX do
        local status = core.park(self.room, nil, "process send")
        if status ~= 0 then return nil, new_error(status, "send") end
    end
    if self.over then return nil, new_error(EPIPE, "send") end
    local head = head_type(#payload, id, from, to, kind, VERSION, worker and worker + 1 or 0)
    self.out[#self.out + 1] = ffi.string(head, HEAD)
    self.out[#self.out + 1] = payload
    self.queued = self.queued + HEAD + #payload
    self:tend()
    return true
end

-- No more of it: what is queued still goes out.
function Channel:close(err)
    if self.over then return end
    self.over = true
    if self.pid and state.channels[self.pid] == self then state.channels[self.pid] = nil end
    if self.worker and state.workers[self.worker] == self then state.workers[self.worker] = nil end
    if state.parent == self then state.parent = nil end
    if not lives(self.writer, self.writes) then self.socket:close() end
    core.wakeAll(self.room)
    for _, slot in pairs(state.pending) do
        if slot.channel == self then
            slot.done, slot.err = true, new_error(EPIPE, "request")
            core.wakeAll(slot.queue)
        end
    end
    if count_of_channels() == 0 then core.wakeAll(state.receivers) end
    core.wakeAll(state.space)
    if err then events.start("disconnect", self.name, err.name ~= "EOF" and err or nil) end
end

-- --- Channels: receiving -----------------------------------------------------------------------

-- Waits, as a reader, until fn() is true, or the channel is over; looks again after `ms`.
function Channel:wait_for(fn, ms)
    while not self.over and not fn() do core.park(state.space, ms, "process receive") end
end

-- For xpcall: once is enough, where an error passes through several.
local function trace(err)
    if type(err) ~= "string" or err:find("\nstack traceback:", 1, true) then return err end
    return debug.traceback(err, 2)
end

local function has_ended(t)
    if not state.runs[t] then return end
    state.runs[t] = nil
    state.running = state.running - 1
end

-- Those that were cancelled before they began have told nobody.
local function may_run()
    if state.running < ipc.RUNNING_MAX then return true end
    for t in pairs(state.runs) do
        if core.finished(t) then has_ended(t) end
    end
    return state.running < ipc.RUNNING_MAX
end

local LOOK_AGAIN_MS = 1000

-- Starts a handler in a task of its own.
local function run(fn, ...)
    state.running = state.running + 1
    local t = core.spawn(function(...)
        local ok, err = xpcall(fn, trace, ...)
        has_ended(core.current())
        core.wakeAll(state.space)
        if not ok then error(err, 0) end
    end, ...)
    state.runs[t] = true
end

local function hand_to_listeners(from, value)
    for _, fn in ipairs(events.listeners("message")) do run(fn, from, value) end
end

function Channel:deliver(from, value)
    self:wait_for(function()
        return state.listening or state.last - state.first + 1 < ipc.INBOX_MAX
    end)
    if state.listening then self:wait_for(may_run, LOOK_AGAIN_MS) end
    if state.listening then return hand_to_listeners(from, value) end
    state.last = state.last + 1
    state.inbox[state.last] = { from = from, value = value }
    core.wakeOne(state.receivers)
end

local function describe(err)
    if type(err) == "table" and type(err.name) == "string" then
        return { code = tonumber(err.code), name = err.name, message = tostring(err.message) }
    end
    local text = tostring(err):gsub("\nstack traceback:.*", "")
    return { name = "ERROR", message = text }
end

function Channel:fail(id, to, err)
    return self:post(FAILURE, id, PEER, to, ipc.encode(describe(err)))
end

local function answer_ask(value)
    local service = type(value) == "table" and SERVICES[value.service]
    if not service then return nil, new_error(UNSUPPORTED) end
    return require(service).serve(value.value)
end

-- What a function makes of a request goes back to who asked.
local function serve(channel, id, asker, answer, from, value)
    local ok, result, err = xpcall(answer, trace, value, from)
    if not ok then
        channel:fail(id, asker, result)
        error(result, 0)
    end
    if result == nil and err ~= nil then return channel:fail(id, asker, err) end
    local payload, why = ipc.encode(result)
    if not payload or #payload > ipc.MESSAGE_MAX then
        why = "the answer cannot be sent: " .. (why or "it is too large")
        channel:fail(id, asker, why)
        error("process.onRequest(fn) " .. why, 0)
    end
    return channel:post(REPLY, id, PEER, asker, payload)
end

local function settle(id, value, err)
    local slot = state.pending[id]
    if not slot then return end -- it waits no more
    slot.done, slot.value, slot.err = true, value, err
    core.wakeAll(slot.queue)
end

local function remote_error(about)
    about = type(about) == "table" and about or {}
    return new_error(tonumber(about.code) or 0, "request", {
        code = tonumber(about.code) or 0,
        name = tostring(about.name),
        message = tostring(about.message),
    })
end

-- A frame for us. `asker` is where an answer is to go.
function Channel:take(kind, id, asker, payload, worker)
    local ok, value = pcall(serial.decode, payload)
    if not ok then return nil, new_error(PROTOCOL, "receive") end
    local from = worker or asker ~= PEER and asker or self.name
    if kind == MESSAGE then
        self:deliver(from, value)
    elseif kind == REPLY then
        settle(id, value)
    elseif kind == FAILURE then
        settle(id, nil, remote_error(value))
    elseif kind == ASK then
        run(serve, self, id, asker, answer_ask, from, value)
    elseif kind ~= REQUEST then
        return nil, new_error(PROTOCOL, "receive")
    elseif not state.answer then
        self:fail(id, asker, new_error(UNSUPPORTED, nil, { message = "nobody answers there" }))
    else
        self:wait_for(may_run, LOOK_AGAIN_MS)
        run(serve, self, id, asker, state.answer, from, value)
    end
    return true
end

-- Passes a frame of our child on to another one, or to all of them and to us.
function Channel:pass_on(kind, id, to, payload)
    if to == ALL then
        for _, channel in pairs(state.channels) do
            if channel ~= self then channel:post(kind, id, self.pid, PEER, payload, self.worker) end
        end
        return self:take(kind, id, PEER, payload)
    end
    local channel = to <= WORKERS and state.workers[WORKERS - to] or state.channels[to]
    if channel then
        channel:post(kind, id, self.pid, PEER, payload, self.worker)
    elseif kind == REQUEST or kind == ASK then
        self:fail(id, PEER, new_error(ESRCH))
    end
    return true
end

function read_in(channel)
    core.shieldPush() -- for good: only the end of the channel, or of the process, ends this task
    channel.reads = true
    C.links_ending_stay(1)
    local socket, head = channel.socket, head_type()
    local bytes, payload, ok, err
    repeat
        bytes, err = socket:read(HEAD)
        if err then break end
        ffi.copy(head, bytes, HEAD)
        if head.version ~= VERSION or head.length > ipc.MESSAGE_MAX then
            err = new_error(PROTOCOL, "receive")
            break
        end
        local kind, id, from, to = head.kind, head.id, head.from, head.to
        payload, err = socket:read(head.length)
        if err then break end
        if channel.pid and to ~= PEER then
            ok, err = channel:pass_on(kind, id, to, payload)
        else
            local worker = head.worker > 0 and head.worker - 1 or nil
            ok, err = channel:take(kind, id, channel.pid and PEER or from, payload,
                not channel.pid and worker or nil)
        end
    until not ok
    C.links_ending_stay(-1)
    channel:close(err)
end

local function open(fd, pid)
    local tcp = require "links.tcp"
    local socket, err = tcp.adopt(fd, { readBufferSize = 64 })
    if not socket then
        require("links.unix").closeFd(fd)
        return nil, err
    end
    local channel = setmetatable({
        socket = socket,
        pid = pid, -- of a child
        name = pid or "master",
        out = {},
        queued = 0,
        room = core.queue(),
    }, Channel)
    state.had_channel = true
    if state.holders == 0 then socket:unref() end
    channel:tend()
    return channel
end

--- Takes up our end of the channel to a child that has just been started; `worker` is its number in
--- the cluster, where it has one.
function ipc.attach(pid, fd, worker)
    local channel, err = open(fd, pid)
    if not channel then return nil, err end
    if worker then channel.worker, channel.name = worker, worker end
    state.channels[pid] = channel
    return true
end

--- Takes up the channel that our parent has given us, if he has.
function ipc.inherit()
    local fd = C.links_process_inherited()
    if fd < 0 then return end
    state.parent = open(fd)
    state.parent_pid = C.links_process_ppid()
end

--- This process belongs to a cluster of so many workers.
function ipc.join(nworkers)
    state.nworkers = nworkers
end

--- Of a master: what is for that worker goes to this child from now on.
function ipc.serves(worker, pid)
    state.workers[worker] = state.channels[pid]
end

--- How many workers the cluster has; 0 outside of one.
function ipc.workers()
    return state.nworkers
end

-- --- For the public functions ------------------------------------------------------------------

--- The channels that lead to somebody, and for whom a frame is at their other end; nil and an error
--- where none does. `child_of` finds the process id of a child by any that it had.
function ipc.find(to, child_of)
    if to == "*" then
        local list = {}
        each_channel(function(channel) list[#list + 1] = channel end)
        return list, ALL
    end
    if type(to) == "number" and to < state.nworkers then
        if state.parent then return { state.parent }, WORKERS - to end
        if state.workers[to] then return { state.workers[to] }, PEER end
        return nil, new_error(ESRCH, "send")
    end
    if to == "master" or to == state.parent_pid then
        if state.parent then return { state.parent }, PEER end
        return nil, new_error(ENOTCONN, "send")
    end
    local child = state.channels[to] or state.channels[child_of(to)]
    if child then return { child }, PEER end
    if state.parent then return { state.parent }, to end
    return nil, new_error(ESRCH, "send")
end

--- Sends an encoded value over these channels.
function ipc.send(list, to, payload)
    if #payload > ipc.MESSAGE_MAX then return nil, new_error(TOO_LARGE, "send") end
    local failure
    for _, channel in ipairs(list) do
        local _, err = channel:post(MESSAGE, 0, PEER, channel.pid and PEER or to, payload)
        if err and (#list == 1 or err.code == errors.code("ECANCELED") or err.deadline) then
            return nil, err
        end
        failure = failure or err
    end
    return not failure or nil, failure
end

--- The next message: its value, nil, and who sent it.
function ipc.receive(ms)
    local until_ms = ms and core.now() + ms
    while state.first > state.last do
        if count_of_channels() == 0 then
            return nil, new_error(state.had_channel and EOF or ENOTCONN, "receive")
        end
        hold(1)
        each_channel(Channel.tend)
        local left = until_ms and math.max(until_ms - core.now(), 0)
        local status = core.park(state.receivers, left, "process receive")
        hold(-1)
        if status ~= 0 then return nil, new_error(status, "receive") end
    end
    local message = state.inbox[state.first]
    state.inbox[state.first] = nil
    state.first = state.first + 1
    core.wakeAll(state.space)
    return message.value, nil, message.from
end

--- Sends a request and waits for its answer. `kind` is for ipc.ask.
function ipc.request(channel, to, payload, ms, kind)
    if #payload > ipc.MESSAGE_MAX then return nil, new_error(TOO_LARGE, "request") end
    if state.npending >= ipc.PENDING_MAX then return nil, new_error(FULL, "request") end
    local until_ms = ms and core.now() + ms
    repeat state.next_id = (state.next_id + 1) % 2 ^ 32 until not state.pending[state.next_id]
    local id, slot = state.next_id, { channel = channel, queue = core.queue() }
    state.pending[id] = slot
    state.npending = state.npending + 1
    hold(1)
    local sent, err = channel:post(kind or REQUEST, id, PEER, channel.pid and PEER or to, payload)
    local status = 0
    while sent and not slot.done and status == 0 do
        local left = until_ms and math.max(until_ms - core.now(), 0)
        status = core.park(slot.queue, left, "process request")
    end
    hold(-1)
    state.pending[id] = nil
    state.npending = state.npending - 1
    if slot.done then return slot.value, slot.err end
    return nil, err or new_error(status, "request")
end

--- Asks what links itself answers there: as process.request, with the name of the service.
function ipc.ask(to, service, value, ms)
    local list, whom = ipc.find(to, function() end)
    if not list then return nil, whom end
    return ipc.request(list[1], whom, ipc.encode { service = service, value = value }, ms, ASK)
end

--- Whom else there is to ask, in a cluster: an array.
function ipc.others()
    local list = {}
    if state.nworkers == 0 then return list end
    local me = require("links.process").workerId
    for id = 0, state.nworkers - 1 do
        if id ~= me then list[#list + 1] = id end
    end
    if me then list[#list + 1] = "master" end
    return list
end

--- Sets, or takes away, the function that answers requests.
function ipc.answer(fn)
    if (fn ~= nil) ~= (state.answer ~= nil) then hold(fn and 1 or -1) end
    state.answer = fn
end

--- Handlers of messages have come or gone. Those that wait get what waits for them.
function ipc.listen()
    local listening = #events.listeners("message") > 0
    if listening == state.listening then return end
    state.listening = listening
    hold(listening and 1 or -1)
    while listening and state.first <= state.last do
        local message = state.inbox[state.first]
        state.inbox[state.first] = nil
        state.first = state.first + 1
        hand_to_listeners(message.from, message.value)
    end
    core.wakeAll(state.space)
end

--- Ends channels.
function ipc.disconnect(list)
    for _, channel in ipairs(list) do channel:close() end
end

return ipc
