-- Wakes tasks of other processes: a datagram over loopback to the process, with the token of what
-- waits in it. Whoever sends one can make a task look once more at what it waits for, and nothing
-- else; and whoever waits looks by himself now and then, should one get lost.
local core = require "links.core"
local task = require "links.task"
local udp = require "links.udp"

local bell = {}

local HOST = "127.0.0.1"

-- token -> the queue of the task that waits, false once it was rung; how many; the socket, which
-- is there while anybody waits.
local waiting, count = {}, 0
local socket
-- What is to be done with a token that nobody waits for any more.
local unclaimed = function() end

local function rung(token, rest)
    local queue = waiting[token]
    if queue == false then return end
    if not queue then return unclaimed(token, rest) end
    waiting[token] = false -- it may not be parked yet
    core.wakeAll(queue)
end

local function read(from)
    core.shieldPush() -- for good: no deadline of whoever came first ends it
    while true do
        local data = from:recv()
        if not data then return end
        local token, rest = data:match("^([^\n]*)\n(.*)$")
        if token then rung(token, rest) end
    end
end

--- Sets what is called for a token that came too late: fn(token, rest).
function bell.onUnclaimed(fn)
    unclaimed = fn
end

--- Begins to wait: the port to ring at, or nil and an error. To be ended by bell.leave.
function bell.enter(token)
    if not socket then
        local err
        socket, err = udp.createSocket(0, HOST)
        if not socket then return nil, err end
        task.spawn(read, socket)
    end
    waiting[token] = core.queue()
    count = count + 1
    return socket:localAddress().port
end

--- Waits until it is rung, for at most `ms`. Returns 0 or a code.
function bell.wait(token, ms, what)
    local queue = waiting[token]
    if not queue then return 0 end -- it was rung already
    return core.park(queue, ms, what)
end

--- Makes it ready to wait once more.
function bell.again(token)
    if waiting[token] == false then waiting[token] = core.queue() end
end

--- Waits no more.
function bell.leave(token)
    waiting[token] = nil
    count = count - 1
    if count > 0 then return end
    socket:close()
    socket = nil
end

--- Rings for a token at a port; `rest` goes with it.
function bell.ring(port, token, rest)
    if socket and socket:localAddress().port == port and waiting[token] ~= nil then
        return rung(token, rest)
    end
    local sender = socket or udp.createSocket(0, HOST)
    if sender then sender:send(token .. "\n" .. rest, port, HOST) end
    if sender and sender ~= socket then sender:close() end
end


return bell
