package.path = "tests/support/?.lua;" .. package.path

local task = require "links.task"
local timer = require "links.timer"
local tools = require "tools"

local function raises(fn, pattern)
    local ok, err = pcall(fn)
    assert.is_false(ok)
    assert.matches("timer_spec.lua:%d+: " .. pattern, err)
end

-- Waits until done() says so: on a busy machine that may be late.
local function eventually(done) tools.eventually("it", done) end

describe("timer.sleep", function()
    it("waits at least as long as asked, fractions too", function()
        for _, ms in ipairs { 1, 0.3, 2.7, 5 } do
            local begun = timer.now()
            assert.is_true(timer.sleep(ms))
            assert.is_true(timer.now() - begun >= ms)
        end
    end)

    it("of 0 lets everything else that is ready go first", function()
        local order = {}
        task.spawn(function() order[#order + 1] = "a" end)
        task.spawn(function() order[#order + 1] = "b" end)
        assert.is_true(timer.sleep(0))
        assert.same({ "a", "b" }, order)
    end)

    it("wakes in the order of the deadlines, with 10,000 timers armed", function()
        local armed = {}
        for i = 1, 10000 do armed[i] = timer.setTimeout(1e6 + i, error, "must not fire") end
        local order, all = {}, {}
        for i = 10, 1, -1 do
            all[i] = task.spawn(function()
                timer.sleep(i)
                order[#order + 1] = i
            end)
        end
        for i = 1, 10 do all[i]:join() end
        assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, order)
        for i = 1, 10000 do armed[i]:cancel() end
    end)

    it("raises for what is no time", function()
        for _, ms in ipairs { -1, "1", {}, 0 / 0, 2 ^ 31, math.huge, -0.5, false } do
            raises(function()
                local ok = timer.sleep(ms)
                return ok
            end, "timer.sleep%(ms%) ms must be %[integer%] from 0 to 2147483647")
        end
        assert.is_false(pcall(timer.sleep))
    end)

    it("keeps memory flat", function()
        local function round(n)
            for _ = 1, n do task.withTimeout(1000, timer.sleep, 0) end
            collectgarbage()
            collectgarbage()
            return collectgarbage("count")
        end
        local before = round(10000)
        local after = round(100000)
        -- What the compiler keeps differs; eight bytes for each call would be more.
        assert.is_true(after - before < 700, ("%.0f KiB more"):format(after - before))
    end)
end)

describe("timer.setTimeout", function()
    it("runs its function once, in a task of its own that may wait, with its arguments", function()
        local got, own
        local t = timer.setTimeout(1, function(...)
            own = task.current()
            assert.is_true(timer.sleep(1))
            got = { n = select("#", ...), ... }
        end, "a", nil, "c", nil)
        assert.is_true(t:armed())
        eventually(function() return got end)
        assert.same({ n = 4, "a", nil, "c", nil }, got)
        assert.is_not.equal(task.current(), own)
        assert.is_false(t:armed())
    end)

    it("does not run once it is cancelled; cancelling again is harmless", function()
        local t = timer.setTimeout(1, error, "must not run")
        assert.is_true(t:cancel())
        assert.is_true(t:cancel())
        assert.is_false(t:armed())
        timer.sleep(3)
        local fired = timer.setTimeout(0, function() end)
        timer.sleep(1)
        assert.is_true(fired:cancel())
    end)

    it("may be cancelled by its own function, and by another's in the same turn", function()
        local other, n = nil, 0
        local self_cancelling
        self_cancelling = timer.setTimeout(1, function()
            n = n + 1
            self_cancelling:cancel()
            other:cancel()
        end)
        other = timer.setTimeout(2, function() n = n + 10 end)
        local interval = timer.setInterval(3, function() n = n + 100 end)
        timer.setTimeout(2, function() interval:cancel() end)
        local until_all_are_due = os.clock() + 0.01
        repeat until os.clock() > until_all_are_due
        eventually(function() return n > 0 end)
        timer.sleep(5)
        assert.equal(1, n)
    end)

    it("lets go of its function once it has fired or was cancelled", function()
        local weak = setmetatable({}, { __mode = "v" })
        do
            local object = {}
            weak[1] = object
            timer.setTimeout(0, function() return object end)
            local second = {}
            weak[2] = second
            timer.setTimeout(1000, function() return second end):cancel()
        end
        timer.sleep(2)
        task.spawn(function() end):join()
        collectgarbage()
        collectgarbage()
        assert.is_nil(weak[1])
        assert.is_nil(weak[2])
    end)

    it("takes thousands of arguments", function()
        local many, got = {}, nil
        for i = 1, 7000 do many[i] = i end
        timer.setTimeout(0, function(...) got = select("#", ...) end, unpack(many))
        eventually(function() return got end)
        assert.equal(7000, got)
    end)

    it("raises for bad arguments, at the caller's line", function()
        raises(function() return (timer.setTimeout("1", print)) end, "timer.setTimeout%(ms, fn")
        raises(function() return (timer.setTimeout(1, 5)) end, "timer.setTimeout%(ms, fn")
        raises(function() return (timer.setTimeout(-1, print)) end, "timer.setTimeout%(ms, fn")
        raises(function() return (timer.setTimeout(2 ^ 31, print)) end, "timer.setTimeout%(ms, fn")
        local t = timer.setTimeout(0, print):cancel() and timer.setTimeout(0, function() end)
        for _, method in ipairs { "cancel", "ref", "unref", "armed" } do
            assert.is_false(pcall(t[method], 5))
            assert.is_false(pcall(t[method], task.current()))
        end
    end)

    it("keeps a million timers, and lets them go", function()
        local n = 200000
        local all = {}
        for i = 1, n do all[i] = timer.setTimeout(1e6 + i % 1000, print) end
        for i = 1, n do all[i]:cancel() end
        assert.is_true(timer.sleep(1))
    end)
end)

describe("timer.setInterval", function()
    it("runs until it is cancelled, from inside too", function()
        local n, t = 0, nil
        t = timer.setInterval(1, function()
            n = n + 1
            if n == 3 then t:cancel() end
        end)
        eventually(function() return n == 3 end)
        timer.sleep(5)
        assert.equal(3, n)
    end)

    it("leaves out runs that are due while the last one goes on", function()
        local running, most, runs, t = 0, 0, 0, nil
        local begun = timer.now()
        t = timer.setInterval(1, function()
            running = running + 1
            most = math.max(most, running)
            runs = runs + 1
            if runs == 3 then t:cancel() end
            timer.sleep(5)
            running = running - 1
        end)
        eventually(function() return runs == 3 and running == 0 end)
        assert.equal(1, most)
        assert.is_true(timer.now() - begun >= 15)
    end)

    it("begins beside the last run with overlap = allow", function()
        local running, most = 0, 0
        local t = timer.setInterval({ interval = 1, overlap = "allow" }, function()
            running = running + 1
            most = math.max(most, running)
            timer.sleep(8)
            running = running - 1
        end)
        eventually(function() return most > 1 end)
        t:cancel()
        eventually(function() return running == 0 end)
    end)

    it("goes on after a run that failed", function()
        local process = require "links.process"
        local errors = 0
        local function note() errors = errors + 1 end
        process.on("error", note)
        local t = timer.setInterval(1, error, "in a run")
        eventually(function() return errors >= 2 end)
        t:cancel()
        timer.sleep(2)
        process.off("error", note)
    end)

    it("does not make up for runs that were missed", function()
        local n = 0
        local t = timer.setInterval(1, function() n = n + 1 end)
        local busy = os.clock() + 0.02
        while os.clock() < busy do end
        timer.sleep(0)
        timer.sleep(0)
        t:cancel()
        assert.is_true(n <= 2, n)
    end)

    it("raises for bad arguments, at the caller's line", function()
        for _, ms in ipairs { 0, -1, "1", 0.5, 2 ^ 31, 0 / 0 } do
            raises(function() return (timer.setInterval(ms, print)) end,
                "timer.setInterval%(ms|opt")
        end
        raises(function() return (timer.setInterval({ interval = 1, overlap = "x" }, print)) end,
            'timer.setInterval.*overlap must be "skip" or "allow"')
        raises(function() return (timer.setInterval({ intervall = 1 }, print)) end,
            'timer.setInterval.*did you mean "interval"')
        raises(function() return (timer.setInterval({}, print)) end, "timer.setInterval")
        raises(function() return (timer.setInterval(1)) end, "timer.setInterval")
    end)
end)

describe("timer:ref and unref", function()
    it("return the timer, and change nothing twice", function()
        local t = timer.setTimeout(1e6, print)
        assert.equal(t, t:unref())
        assert.equal(t, t:unref():ref():ref())
        t:cancel()
        assert.equal(t, t:ref():unref())
    end)
end)

describe("timer.now", function()
    it("is monotonic and in milliseconds", function()
        local a = timer.now()
        timer.sleep(2)
        assert.is_true(timer.now() - a >= 2)
        tools.within(1000, function() timer.sleep(2) end)
    end)
end)
