package.path = "tests/support/?.lua;" .. package.path
local program = require "program"

-- Runs code in which told() is what the watchdog has said last, nil before it has.
local function run(code, environment)
    return program.eval([[
        local process, report = require "process", require "links.report"
        local said = {}
        report.write = function(level, text) said[#said + 1] = level .. ": " .. text end
        local function told() return said[#said] end
        local BOUND = 1e11
        -- On a busy machine the task that begins to watch may be told of for that.
        local function watch(limits)
            process.watchdog(limits)
            require("timer").sleep(1)
            for i = #said, 1, -1 do said[i] = nil end
        end
        -- Calls fn, each time in a turn of its own, until something has been told that matches:
        -- where the machine is busy a task may be told of before it comes there.
        local function until_told(pattern, fn)
            for _ = 1, 100 do
                require("timer").sleep(1)
                fn()
                for _, text in ipairs(said) do
                    if text:find(pattern) then return print("told of") end
                end
            end
            print(table.concat(said, "\n"))
        end
        ]] .. code, environment)
end

-- The loops end as soon as something is told; they are bounded, should nothing ever be.
local function says(code, ...)
    local result = run(code)
    assert.equal("", result.err)
    for _, pattern in ipairs { ... } do assert.matches(pattern, result.out) end
    return result.out
end

local function has_close_range()
    local ffi = require "ffi"
    ffi.cdef "int close_range(unsigned, unsigned, int);"
    return ffi.C.close_range(1, 0, 0) == -1 and ffi.errno() == 22 -- EINVAL: not upwards
end

describe("the watchdog", function()
    it("tells of a task that holds the loop, by its name and where it is, while it does", function()
        says([[
            watch(20)
            local function compute()
                local i, before = 0, #said
                repeat
                    i = i + #tostring(i)
                until #said > before or i > BOUND
            end
            until_told("^warn: task %d+ %(the slow one%) has held the loop for %d+ ms\n"
                .. "stack traceback:\n.*:%d+: in function", function()
                local t = require("task").spawn(compute)
                t.name = "the slow one"
                t:join()
            end)
        ]], "^told of\n$")
    end)

    it("gets out of a loop that has been compiled", function()
        says([[
            watch(20)
            local i, n = 0, 0
            while not said[1] and i < BOUND do
                i = i + 1
            end
            print(told())
        ]], "has held the loop", ":%d+: in ")
    end)

    it("gets out of a compiled loop on one line, and through calls that were inlined", function()
        says([[
            watch(20)
            local function add(a, b) return a + b end
            local i = 0 while not said[1] and i < BOUND do i = add(i, 1) end
            print(told())
        ]], "has held the loop")
    end)

    it("tells of a coroutine in the task, and of who has resumed it", function()
        says([[
            watch(20)
            local function inner()
                local i, before = 0, #said
                while #said == before and i < BOUND do i = i + 1 end
            end
            local function outer() coroutine.wrap(inner)() end
            until_told("in function <.-\nresumed by:\n.*in function 'outer'", function()
                outer()
            end)
        ]], "^told of\n$")
    end)

    it("tells once of what comes again soon at the same place", function()
        local out = says([[
            watch(20)
            -- All on one line, which is the place.
            assert(loadstring(([=[
                local said, BOUND = ...
                local places = require("links.core").watchdogState.places
                local function is_noted()
                    for _, place in pairs(places) do if place.more > 0 then return true end end
                end
                local i = 0
                while not said[1] and i < BOUND do i = i + 1 end
                require("timer").sleep(1)
                while not said[2] and not is_noted() and i < BOUND do i = i + 1 end
            ]=]):gsub("\n", " "), "=place"))(said, BOUND)
            print(#said == 1 or said[2]:match("loop for (%d+) ms"))
        ]])
        -- One that has taken ten times as long is told of in any case.
        assert.is_true(out == "true\n" or tonumber(out) >= 200, out)
    end)

    it("tells again of a task that goes on, when it has taken ten times as long", function()
        says([[
            watch(10)
            local i = 0
            while not said[2] and i < BOUND do i = i + 1 end
            print(#said)
            print(said[2])
        ]], "^2\n", "has held the loop for %d%d%d+ ms")
    end)

    it("gets out of a compiled loop in a function of links", function()
        says([[
            watch(20)
            local spin = assert(loadstring([=[
                local said, BOUND = ...
                local i, before = 0, #said
                while #said == before and i < BOUND do i = i + 1 end
            ]=], "=links/http/spin.lua"))
            until_told("links/http/spin.lua:3: in ", function() spin(said, BOUND) end)
        ]], "^told of\n$")
    end)

    it("tells which compiled line has called what blocks, by itself or through links", function()
        says([[
            watch(20)
            local ffi = require "ffi"
            ffi.cdef "int usleep(unsigned);"
            local through = assert(loadstring([=[
                local C = ...
                return function(us)
                    C.usleep(us)
                    return us
                end
            ]=], "=links/http/through.lua"))(ffi.C)
            local by_itself, called = assert(loadstring([=[
                local C, through = ...
                return function(us)
                    C.usleep(us)
                    local line_four = us
                    return line_four
                end, function(us)
                    local n = through(us)
                    return n
                end
            ]=], "=blocks.lua"))(ffi.C, through)
            local naps = {}
            for i = 1, 200 do naps[i] = i == 150 and 200000 or 0 end
            local function block(fn)
                return function()
                    for i = 1, 200 do fn(naps[i]) end
                end
            end
            until_told("blocks.lua:[34]: in ", block(by_itself))
            until_told("blocks.lua:[78]: in ", block(called))
        ]], "^told of\ntold of\n$")
    end)

    it("shares no descriptors with the loop, whose system calls that makes dearer", function()
        if jit.os ~= "Linux" or not has_close_range() then
            return pending("needs Linux 5.9 or later")
        end
        local out = says([[
            local fs, timer = require "fs", require "timer"
            process.watchdog(3600000)
            local give_up, seen = timer.now() + 20000
            repeat
                timer.sleep(1)
                seen = {}
                for _, thread in ipairs(assert(fs.readdir("/proc/self/task"))) do
                    local files = fs.readdir("/proc/self/task/" .. thread .. "/fd")
                    if thread ~= tostring(process.pid) and files then
                        seen[table.concat(files, " ")] = true
                    end
                end
            until seen["2"] or timer.now() > give_up
            print(seen["2"])
        ]])
        assert.equal("true\n", out)
    end)

    it("tells of a call that blocks, when it returns", function()
        says([[
            watch(20)
            local n = 0
            repeat
                os.execute("sleep 0.2")
                n = n + 1
            until said[1] or n > 100
            print(told())
        ]], "has held the loop")
    end)

    it("waits in nobody's name: what it tells cannot park the task that is told of", function()
        says([[
            watch(20)
            local timer = require "timer"
            local refused
            report.write = function()
                local ok, err = pcall(timer.sleep, 1)
                refused = tostring(ok) .. " " .. tostring(err)
            end
            local i = 0
            while not refused and i < BOUND do i = i + 1 end
            print(refused, timer.sleep(1))
        ]], "^false .*cannot yield inside a finalizer\ttrue\n")
    end)

    it("does no harm where its own telling fails", function()
        says([[
            watch(20)
            local n = 0
            report.write = function() n = n + 1; error("no luck") end
            local i = 0
            while n == 0 and i < BOUND do i = i + 1 end
            print(require("timer").sleep(1), n > 0)
        ]], "^true\ttrue\n")
    end)

    it("leaves finalizers and hooks of the program alone", function()
        says([[
            watch(20)
            local lines, finalized = 0, 0
            debug.sethook(function() lines = lines + 1 end, "l")
            local function garbage()
                local p = newproxy(true)
                getmetatable(p).__gc = function() finalized = finalized + 1 end
            end
            local i = 0
            while not said[1] and i < 1e8 do
                i = i + 1
                if i % 1000 == 0 then garbage() collectgarbage("step", 100) end
            end
            local hook, mask = debug.gethook()
            debug.sethook()
            collectgarbage() collectgarbage()
            print(type(hook), mask, lines > 0, finalized > 0, said[1] ~= nil)
        ]], "^function\tl\ttrue\ttrue\ttrue\n")
    end)

    it("gives the profiler to a program that wants it, and has it back after", function()
        says([[
            watch(20)
            local profile, n = require "jit.profile", 0
            profile.start("li1", function() n = n + 1 end)
            local i = 0
            while n < 3 and i < BOUND do i = i + 1 end
            profile.stop()
            print(n >= 3, #said)
            i = 0
            while not said[1] and i < BOUND do i = i + 1 end
            print(told())
        ]], "^true\t0\n", "has held the loop")
    end)

    it("is off at first, on where a program listens, and as the environment says", function()
        says([[
            print(process.watchdog())
            local server = require("tcp").createServer(0, print, { host = "127.0.0.1" })
            print(process.watchdog())
            print(process.watchdog(50), process.watchdog(), process.watchdog(0), process.watchdog())
            server:close()
        ]], "^0\n3600000\n3600000\t50\t50\t0\n")
        local result = program.run({ "-e", [[
            local process = require "process"
            local server = require("tcp").createServer(0, print, { host = "127.0.0.1" })
            print(process.watchdog())
            server:close()
        ]] }, { env = { "LINKS_WATCHDOG=soon" } })
        assert.equal("100\n", result.out)
        assert.equal("links: LINKS_WATCHDOG must be a number of milliseconds, 0 to 3600000,"
            .. " not soon\n", result.err)
    end)

    it("stays as the program has set it when it listens later", function()
        says([[
            process.watchdog(0)
            local server = require("tcp").createServer(0, print, { host = "127.0.0.1" })
            print(process.watchdog())
            server:close()
        ]], "^0\n")
    end)

    it("raises an error in a task that holds the loop for too long, and tells where", function()
        says([[
            watch { slow = 0, abort = 200 }
            local function compute()
                local i = 0
                while i < BOUND do i = i + 1 end
            end
            local t = require("task").spawn(compute)
            local ok, err = t:join()
            print(ok, err)
            print(#said, said[1])
            print(require("timer").sleep(1))
        ]], "^false\t[^\n]-:%d+: the task has held the loop for %d+ ms\n",
            "\n1\terror: task 2 has held the loop for %d+ ms: an error is raised in it\n"
            .. "stack traceback:\n\t[^\n]-:%d+: in function", "\ntrue\n$")
    end)

    it("raises it again where a pcall has caught it, also in a coroutine and behind a call of C",
        function()
            says([[
                watch { slow = 0, abort = 150 }
                local function spin() local i = 0 while i < BOUND do i = i + 1 end end
                local function walk()
                    local t = {}
                    while true do string.rep("x", 1000):gsub("x", function() t[1] = 1 end) end
                end
                local errors = 0
                for _, fn in ipairs { spin, coroutine.wrap(spin), walk } do
                    local ok, err = pcall(fn)
                    if not ok and err:find("has held the loop") then errors = errors + 1 end
                end
                print(errors, #said)
            ]], "^3\t3\n$")
        end)

    it("raises no error in code of links, but in what has called it", function()
        says([[
            watch { slow = 0, abort = 200 }
            local inner = assert(loadstring([=[
                local marks, hrtime = ...
                local start, n = hrtime(), 0
                while hrtime() < start + 500e6 do n = n + 1 end
                marks.whole = true
            ]=], "=links/inner.lua"))
            local marks = {}
            local ok, err = pcall(function()
                inner(marks, require("links.system").hrtime)
                local i = 0
                while i < BOUND do i = i + 1 end
            end)
            print(marks.whole, ok, err)
        ]], "^true\tfalse\t[^\n]*the task has held the loop for %d%d%d+ ms\n$")
    end)

    it("ends a process whose task holds the loop for too long, and tells where first", function()
        local result = program.eval([[
            require("process").watchdog { slow = 0, kill = 200 }
            require("timer").sleep(1)
            local function forever() local i = 0 while true do i = i + 1 end end
            forever()
        ]])
        assert.equal(6, result.signal)
        assert.matches("^links: task 1 has held the loop for %d+ ms: the process ends\n"
            .. "stack traceback:\n\t[^\n]-:%d+: in function 'forever'\n", result.err)
    end)

    it("ends it from outside where a call of C does not return", function()
        local result = program.eval([[
            require("process").watchdog { slow = 0, kill = 50 }
            local ffi = require "ffi"
            ffi.cdef "int poll(void *, unsigned long, int);"
            while true do ffi.C.poll(nil, 0, -1) end
        ]])
        assert.equal(6, result.signal)
        assert.matches("^links: task 1 has held the loop for %d+ ms", result.err)
    end)

    it("takes limits by their names, and tells what they were", function()
        says([[
            local function show(t) print(t.slow, t.abort, t.kill) end
            show(process.watchdog {})
            show(process.watchdog { abort = 1000000, kill = 2000000 })
            print(process.watchdog())
            local server = require("tcp").createServer(0, print, { host = "127.0.0.1" })
            show(process.watchdog { kill = 0 })
            show(process.watchdog { slow = 0 })
            show(process.watchdog {})
            server:close()
            print(pcall(process.watchdog, { limit = 1 }))
            print(pcall(process.watchdog, { kill = -1 }))
        ]], "^0\t0\t0\n0\t0\t0\n0\n3600000\t1000000\t2000000\n3600000\t1000000\t0\n0\t1000000\t0\n"
            .. "false\t[^\n]*limit[^\n]*\nfalse\t[^\n]*kill[^\n]*\n$")
    end)

    it("takes no other numbers", function()
        local process = require "process"
        for _, ms in ipairs { -1, 1.5, 3600001, "100" } do
            local ok, message = pcall(function() return (process.watchdog(ms)) end)
            assert.is_false(ok)
            assert.matches("process.watchdog%(%[ms|options%]%) ms must be %[integer%]", message)
        end
    end)
end)
