-- Every public call that waits, set up so that it would wait for ever: what the specs apply each
-- way of ending a wait to.
local task = require "links.task"
local timer = require "links.timer"
local sync = require "links.sync"
local sockets = require "sockets"

local NEVER = 1e6

local waits = {}
local helpers = {}

-- A task that does something and then stays, until waits.clean() ends it.
local function helper(fn)
    local t = task.spawn(function()
        if fn then fn() end
        timer.sleep(NEVER)
    end)
    helpers[#helpers + 1] = t
    timer.sleep(0)
    return t
end

-- Ends what the waits have started.
function waits.clean()
    for _, t in ipairs(helpers) do
        t:cancel()
        t:join()
    end
    helpers = {}
    sockets.close_all()
end

-- name, whether it takes a timeout, and a function that makes the call: call(ms) waits.
waits.list = {}

local function add(name, timed, make)
    waits.list[#waits.list + 1] = { name = name, timed = timed, make = make }
end

add("timer.sleep", false, function()
    return function() return timer.sleep(NEVER) end
end)

add("task:join", true, function()
    local t = helper()
    return function(ms) return t:join(ms) end
end)

add("mutex:lock", true, function()
    local m = sync.mutex()
    helper(function() m:lock() end)
    return function(ms) return m:lock(ms) end
end)

add("sync.withLock", false, function()
    local m = sync.mutex()
    helper(function() m:lock() end)
    return function() return sync.withLock(m, error, "must not run") end
end)

add("semaphore:acquire", true, function()
    local s = sync.semaphore(0)
    return function(ms) return s:acquire(ms) end
end)

add("event:wait", true, function()
    local e = sync.event()
    return function(ms) return e:wait(ms) end
end)

add("condition:wait", true, function()
    local c = sync.condition()
    return function(ms) return c:wait(nil, ms) end
end)

add("condition:wait with a mutex", true, function()
    local c, m = sync.condition(), sync.mutex()
    return function(ms)
        assert(m:lock())
        local ok, value, err = pcall(c.wait, c, m, ms)
        assert(m:unlock(), "the mutex is not held any more")
        if not ok then error(value, 0) end
        return value, err
    end
end)

add("channel:send", true, function()
    local ch = sync.channel()
    return function(ms) return ch:send("x", ms) end
end)

add("channel:send to a full buffer", true, function()
    local ch = sync.channel(1)
    ch:send("x")
    return function(ms) return ch:send("y", ms) end
end)

add("channel:receive", true, function()
    local ch = sync.channel(1)
    return function(ms) return ch:receive(ms) end
end)

add("waitGroup:wait", true, function()
    local wg = sync.waitGroup()
    wg:add()
    return function(ms) return wg:wait(ms) end
end)

add("rwlock:readLock", true, function()
    local l = sync.rwlock()
    helper(function() l:writeLock() end)
    return function(ms) return l:readLock(ms) end
end)

add("rwlock:writeLock", true, function()
    local l = sync.rwlock()
    helper(function() l:readLock() end)
    return function(ms) return l:writeLock(ms) end
end)

add("a function of sync.once", false, function()
    local fn = sync.once(timer.sleep)
    helper(function() fn(NEVER) end)
    return function() return fn() end
end)

add("task.group", false, function()
    return function()
        return task.group(function(g) g:spawn(timer.sleep, NEVER) end)
    end
end)

for _, name in ipairs { "all", "any", "race" } do
    add("task." .. name, false, function()
        return function()
            return task[name] { function() return assert(timer.sleep(NEVER)) end }
        end
    end)
end

add("task.map", false, function()
    return function()
        return task.map({ 1 }, function() return assert(timer.sleep(NEVER)) end)
    end
end)

local buffer = require("ffi").new("char[8]")

for name, call in pairs {
    ["socket:read"] = function(socket) return socket:read(1) end,
    ["socket:read of more than the buffer"] = function(socket) return socket:read(1e6) end,
    ["socket:readSome"] = function(socket) return socket:readSome() end,
    ["socket:readline"] = function(socket) return socket:readline() end,
    ["socket:lines"] = function(socket) return socket:lines()() end,
    ["socket:readUntil"] = function(socket) return socket:readUntil("--") end,
    ["socket:readAll"] = function(socket) return socket:readAll() end,
    ["socket:peek"] = function(socket) return socket:peek(2) end,
    ["socket:readInto"] = function(socket) return socket:readInto(buffer, 8) end,
} do
    add(name, false, function()
        local socket = sockets.pair()
        return function() return call(socket) end
    end)
end

for name, call in pairs {
    ["socket:write"] = function(socket) return socket:write(("x"):rep(1e6)) end,
    ["socket:write of little"] = function(socket)
        local n, err
        repeat n, err = socket:write("0123456789") until err
        return n, err
    end,
    ["socket:write of an array"] = function(socket)
        return socket:write { ("x"):rep(1e6), "y" }
    end,
    ["socket:sendFile"] = function(socket) return socket:sendFile("src/lua/sched.c") end,
} do
    add(name, false, function()
        local socket = sockets.pair()
        sockets.stuff(socket)
        return function() return call(socket) end
    end)
end

add("socket:write behind another one", false, function()
    local socket = sockets.pair()
    sockets.stuff(socket)
    helper(function() socket:write(("x"):rep(1e6)) end)
    return function() return socket:write("x") end
end)

add("socket:pipe", false, function()
    local _, a = sockets.pair()
    local b = sockets.pair()
    return function() return a:pipe(b) end
end)

add("server:close", false, function()
    local _, _, server = sockets.pair()
    return function() return server:close(NEVER) end
end)

add("tcp.connect", false, function()
    local port = sockets.hanging()
    return function() return require("tcp").connect(port) end
end)

add("pool:get", false, function()
    local _, _, server = sockets.pair()
    local pool = sockets.keep(require("tcp").createPool(server:address().port, nil, { size = 1 }))
    sockets.keep(assert(pool:get()))
    return function() return pool:get() end
end)

local modules = 0

add("require", false, function()
    modules = modules + 1
    local name = "waits.module" .. modules
    package.preload[name] = function() timer.sleep(NEVER) end
    helper(function() require(name) end)
    return function() return require(name) end
end)

-- What the call came to: its error, returned or raised, and how long it took.
function waits.outcome(fn, ...)
    local begun = timer.now()
    local ok, value, err = pcall(fn, ...)
    timer.sleep(0)
    return ok and err or value, timer.now() - begun, ok and value or nil
end

return waits
