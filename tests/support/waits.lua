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

-- --- Unix sockets, datagrams ---------------------------------------------------------------------

local function unix_pair()
    local path, accepted = os.tmpname(), sync.channel(1)
    os.remove(path)
    local server = require("unix").createServer(path, function(s) accepted:send(s:detach()) end)
    sockets.keep(assert(server))
    local client = sockets.keep(assert(require("unix").connect(path, { passFds = true })))
    sockets.keep(assert(accepted:receive()))
    return client, path
end

add("socket:receiveFd", false, function()
    local socket = unix_pair()
    return function() return socket:receiveFd() end
end)

add("socket:sendFd", false, function()
    local socket = unix_pair()
    sockets.stuff(socket)
    return function() return socket:sendFd(0, "x") end
end)

add("socket:flush", false, function()
    local socket = sockets.pair()
    sockets.stuff(socket)
    socket:write("x")
    return function() return socket:flush() end
end)

add("unix.connect", false, function()
    local path = os.tmpname()
    os.remove(path)
    local unix = require "unix"
    local server = sockets.keep(assert(unix.createServer(path, print, { backlog = 1 })))
    server:pause()
    local socket
    repeat
        socket = unix.connect(path, { connectTimeout = 20 })
        if socket then sockets.keep(socket) end
    until not socket
    return function() return unix.connect(path) end
end)

local function datagrams()
    return sockets.keep(assert(require("udp").createSocket(0, "127.0.0.1")))
end

add("socket:recv", true, function()
    local socket = datagrams()
    return function(ms) return socket:recv(ms) end
end)

-- --- Names: a server that never answers ----------------------------------------------------------

for name, call in pairs {
    ["dns.resolve4"] = function(dns, o) return dns.resolve4("waits.test", o) end,
    ["dns.resolve6"] = function(dns, o) return dns.resolve6("waits.test", o) end,
    ["dns.resolve"] = function(dns, o) return dns.resolve("waits.test", "MX", o) end,
    ["dns.lookup"] = function(dns, o) return dns.lookup("waits.test", o) end,
    ["dns.reverse"] = function(dns, o) return dns.reverse("192.0.2.1", o) end,
} do
    add(name, false, function()
        local hole = "127.0.0.1:" .. datagrams():localAddress().port
        local options = { servers = { hole }, timeout = 60000, tries = 1 }
        return function() return call(require "dns", options) end
    end)
end

-- --- Children ------------------------------------------------------------------------------------

local process = require "process"

-- One that says nothing and reads nothing, and whose pipe is full.
local function sleeper()
    local child = assert(process.spawn("sleep", { "1000" }, { killSignal = "KILL" }))
    sockets.keep { close = function()
        child:kill("KILL")
        child:wait()
    end }
    return child
end

for name, call in pairs {
    ["child:read"] = function(child) return child:read(1) end,
    ["child:readline"] = function(child) return child:readline() end,
    ["child:lines"] = function(child) return child:lines()() end,
    ["child:readError"] = function(child) return child:readError(1) end,
    ["child:readErrorLine"] = function(child) return child:readErrorLine() end,
    ["child:readAll"] = function(child) return child:readAll() end,
    ["child:write"] = function(child) return child:write(("x"):rep(1e6)) end,
} do
    add(name, false, function()
        local child = sleeper()
        return function() return call(child) end
    end)
end

add("child:wait", true, function()
    local child = sleeper()
    return function(ms) return child:wait(ms) end
end)

add("process.wait", true, function()
    local pid = sleeper().pid
    return function(ms) return process.wait(pid, ms) end
end)

add("process.run", false, function()
    return function() return process.run("sleep", { "1000" }) end
end)

add("process.stop", false, function()
    local child = assert(process.spawn("sh", { "-c", "trap '' TERM; echo; exec sleep 1000" }))
    child:readline()
    sockets.keep { close = function()
        child:kill("KILL")
        child:wait()
    end }
    return function() return process.stop(child.pid) end
end)

-- --- Messages: a child that does nothing ---------------------------------------------------------

local function silent()
    local path = os.tmpname()
    local file = io.open(path, "w")
    file:write('local process = require "process" process.on("message", function() end)\n')
    file:write('process.onRequest(function() require("timer").sleep(1e6) end)\n')
    file:close()
    local pid = assert(process.fork { file = path, ipc = true })
    sockets.keep { close = function()
        process.kill(pid, "KILL")
        process.wait(pid)
        os.remove(path)
    end }
    return pid
end

add("process.receive", true, function()
    silent()
    return function(ms) return process.receive(ms) end
end)

add("process.request", true, function()
    local pid = silent()
    return function(ms) return process.request(pid, "?", ms) end
end)

-- --- Queues of shared memory ---------------------------------------------------------------------

local queues = 0

local function queue()
    queues = queues + 1
    local name = "waits-" .. process.pid .. "-" .. queues
    return assert(require("shared").queue(name, 65536))
end

add("queue:pop", true, function()
    local q = queue()
    return function(ms) return q:pop(ms) end
end)

add("queue:push", false, function()
    local q = queue()
    q:push(("x"):rep(50000))
    return function() return q:push(("x"):rep(50000)) end
end)

-- --- Messages to a child that does not read ------------------------------------------------------

add("process.send", false, function()
    local pid = silent()
    process.kill(pid, "STOP")
    repeat
        local _, err = task.withTimeout(5, process.send, pid, ("x"):rep(1e5))
    until err
    return function() return process.send(pid, ("x"):rep(1e6)) end
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
