-- What the scheduler's own operations cost: `links bench/micro.lua NAME`, NAME one of `benches`.
-- Prints rows for table.awk: what, measured, target, remark. micro.sh runs each in a process of
-- its own, because what one leaves behind (pooled coroutines, compiled traces) changes the next.

local ffi = require "ffi"
local task = require "task"
local timer = require "timer"
local sync = require "sync"

ffi.cdef [[
struct bench_timespec { long seconds, nanoseconds; };
int clock_gettime(int clock, struct bench_timespec *time);
]]

local REPEATS = 9
local CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME = 1, 2

local timespec = ffi.new("struct bench_timespec")

local function clock_us(clock)
    assert(ffi.C.clock_gettime(clock, timespec) == 0)
    return tonumber(timespec.seconds) * 1e6 + tonumber(timespec.nanoseconds) / 1e3
end

local function now_us() return clock_us(CLOCK_MONOTONIC) end
local function cpu_us() return clock_us(CLOCK_PROCESS_CPUTIME) end

local function median(values)
    table.sort(values)
    return values[math.ceil(#values / 2)]
end

-- The CPU time of one of `count` operations that `run` does, in us: the median of REPEATS after one
-- to warm up. CPU time, because what the neighbours run meanwhile is not ours.
local function time_of(count, run)
    run(count)
    local times = {}
    for i = 1, REPEATS do
        local begin = cpu_us()
        run(count)
        times[i] = (cpu_us() - begin) / count
    end
    return median(times)
end

local function row(what, measured, unit, target, remark)
    print(string.format("%s\t%.3f %s\t%s\t%s", what, measured, unit, target or "", remark or ""))
end

local function private_bytes()
    local file = assert(io.open("/proc/self/smaps_rollup"))
    local kib = file:read("*a"):match("Private_Dirty:%s+(%d+) kB")
    file:close()
    return tonumber(kib) * 1024
end

local benches = {}

function benches.spawn()
    local done = 0
    local function body() done = done + 1 end

    row("task: spawn and finish", time_of(100000, function(count)
        done = 0
        for i = 1, count do
            task.spawn(body)
            if i % 100 == 0 then task.yield() end
        end
        assert(done == count)
    end), "us", 0.5, "100 at a time")

    row("task: spawn and join", time_of(100000, function(count)
        for _ = 1, count do
            assert(task.spawn(body):join())
        end
    end), "us", nil, "one at a time")
end

-- Whoever is first to come waits for the other, and it stays so: both orders are measured.
local function round_trip(receiver_first)
    local ping, pong = sync.channel(), sync.channel()
    local echo = task.spawn(function()
        local value = ping:receive()
        while value do
            pong:send(value)
            value = ping:receive()
        end
    end)
    if receiver_first then task.yield() end
    local us = time_of(100000, function(count)
        for i = 1, count do
            ping:send(i)
            assert(pong:receive() == i)
        end
    end)
    ping:close()
    echo:join()
    return us
end

function benches.channel()
    row("channel: round trip, receivers wait", round_trip(true), "us", 0.3,
        "two parks, two wakes, two values")
    row("channel: round trip, senders wait", round_trip(false), "us", 0.3)

    local tasks = {}
    row("task: yield to the next of 100 tasks", time_of(100000, function(count)
        for i = 1, 100 do
            tasks[i] = task.spawn(function()
                for _ = 1, count / 100 do task.yield() end
            end)
        end
        for i = 1, 100 do assert(tasks[i]:join()) end
    end), "us")
end

-- How late and how early, at worst, `count` sleeps of 1 to 1000 ms end, all at once; in ms.
local function worst_of(count)
    local late, early, tasks = 0, 0, {}
    for i = 1, count do
        local ms = 1 + i * 7919 % 1000 -- every length equally often, in no order
        tasks[i] = task.spawn(function()
            local begin = now_us()
            assert(timer.sleep(ms))
            local off = (now_us() - begin) / 1e3 - ms
            late = math.max(late, off)
            early = math.max(early, -off)
        end)
        if i % 100 == 0 then task.yield() end
    end
    for i = 1, count do assert(tasks[i]:join()) end
    return late, early
end

function benches.sleep()
    local RUNS, COUNT = 5, 10000
    local late, earliest = {}, 0
    for i = 1, RUNS do
        local early
        late[i], early = worst_of(COUNT)
        earliest = math.max(earliest, early)
    end
    -- A neighbour that takes the CPU for a while makes a run worse, and nothing makes it better.
    table.sort(late)
    row("timer.sleep: latest of 10,000 at once", late[1], "ms", 2,
        string.format("the quietest of %d runs; %.2f in the worst", RUNS, late[RUNS]))
    row("timer.sleep: earliest of 10,000 at once", earliest, "ms", 0, "before its time")
end

function benches.timers()
    local COUNT = 1000000
    local function never() error("a cancelled timer fired") end
    local timers = {}
    for i = 1, COUNT do timers[i] = false end
    collectgarbage()
    local before = private_bytes()
    local begin = cpu_us()
    for i = 1, COUNT do timers[i] = timer.setTimeout(3600000 + i * 7919 % COUNT, never) end
    local added = cpu_us()
    local memory = private_bytes() - before
    local cancel = cpu_us()
    for i = 1, COUNT do timers[i]:cancel() end
    local cancelled = cpu_us()
    row("timer: add one of 1,000,000", (added - begin) / COUNT, "us")
    row("timer: cancel one of 1,000,000", (cancelled - cancel) / COUNT, "us")
    row("timer: memory of one of 1,000,000", memory / COUNT, "bytes", nil,
        "its Lua object included")
end

function benches.memory()
    local COUNT = 10000
    local started = 0
    local function body()
        started = started + 1
        timer.sleep(3600000)
    end
    local tasks = {}
    for i = 1, COUNT do tasks[i] = false end
    local first = task.spawn(body) -- what only the first one needs
    task.yield()
    collectgarbage()
    local before = private_bytes()
    for i = 1, COUNT do tasks[i] = task.spawn(body) end
    task.yield()
    collectgarbage()
    local grown = private_bytes() - before
    assert(started == COUNT + 1)
    row("task: memory of one of 10,000 asleep", grown / COUNT / 1024, "KiB", 1.5,
        "private memory, stack included")
    first:cancel()
    for i = 1, COUNT do tasks[i]:cancel() end
end

function benches.coroutine()
    row("coroutine.wrap: resume and yield", time_of(1000000, function(count)
        local generator = coroutine.wrap(function()
            for i = 1, count do coroutine.yield(i) end
        end)
        for i = 1, count do assert(generator() == i) end
    end), "us", nil, "a user's own generator in a task")
end

-- Look-ups that the resolver's cache answers: of a name with addresses of both families, from a
-- server of our own that was asked once.
function benches.dns()
    local dns, udp = require "dns", require "udp"
    local A = "\0\1\0\1\0\0\14\16\0\4\192\0\2\1"
    local AAAA = "\0\28\0\1\0\0\14\16\0\16\32\1\13\184" .. ("\0"):rep(11) .. "\1"
    local server = assert(udp.createSocket(0, "127.0.0.1"))
    task.spawn(function()
        while true do
            local query, _, peer = server:recv()
            if not query then return end
            local last = query:find("\0", 13, true) + 4
            local record = query:byte(last - 2) == 28 and AAAA or A
            server:send(query:sub(1, 2) .. "\129\128\0\1\0\1\0\0\0\0" ..
                query:sub(13, last) .. "\192\12" .. record, peer.port, peer.address)
        end
    end)
    dns.setServers("127.0.0.1:" .. server:localAddress().port)

    local what = { "cached resolve4", "cached lookup, both families", "resolve4, hosts file" }
    local run = {
        function() return dns.resolve4("www.example.test") end,
        function() return dns.lookup("www.example.test") end,
        function() return dns.resolve4("localhost") end,
    }
    for i, fn in ipairs(run) do
        assert(fn())
        local us = time_of(100000, function(count)
            for _ = 1, count do fn() end
        end)
        row("dns: " .. what[i], us, "us", 2,
            string.format("%.1f million a second", 1 / us))
    end
    server:close()
end

-- What the caller of a logger pays. The buffer has room for all of a run.
function benches.log()
    local logger = assert(require "log".new { to = "/dev/null", bufferSize = 2 ^ 26 })
    local fields = { path = "/index.html", status = 200 }
    local run = {
        { "a level that is off", 0.02, function(count)
            for _ = 1, count do logger:debug("hello") end
        end },
        { "a line", 1, function(count)
            for _ = 1, count do logger:info("hello world") end
        end },
        { "a line with two fields", 1, function(count)
            for _ = 1, count do logger:info("request", fields) end
        end },
    }
    -- Code that waits is interpreted, as a rule.
    for _, how in ipairs { "", ", interpreted" } do
        if how ~= "" then
            jit.off()
            jit.flush()
        end
        local loop = time_of(100000, function(count)
            for _ = 1, count do end
        end)
        for _, case in ipairs(run) do
            row("log: " .. case[1] .. how, time_of(100000, function(count)
                case[3](count)
                assert(logger:flush(10000))
            end) - loop, "us", case[2], "the thread that writes included, the loop around it not")
        end
    end
    jit.on()
    assert(logger:stats().dropped == 0)
end

function benches.metrics()
    local metrics = require "metrics"
    local counter, histogram = metrics.counter("bench"), metrics.histogram("bench_seconds")
    local labelled = metrics.counter("bench_by_kind", { labels = { "kind" } })
    local run = {
        { "counter:inc", 0.005, function() counter:inc() end },
        { "counter:labels(...):inc", 0.01, function() labelled:labels("tea"):inc() end },
        { "histogram:observe", 0.02, function() histogram:observe(0.03) end },
    }
    for _, case in ipairs(run) do
        row("metrics: " .. case[1], time_of(1000000, function(count)
            for _ = 1, count do case[3]() end
        end), "us", case[2])
    end
end

local name = arg[1] or "none"
local bench = benches[name]
if not bench then
    io.stderr:write("micro.lua: no benchmark named ", name, "\n")
    os.exit(2)
end
bench()
