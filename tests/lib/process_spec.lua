package.path = "tests/support/?.lua;" .. package.path

local process = require "links.process"
local task = require "links.task"
local timer = require "links.timer"
local tools = require "tools"

describe("process.on(\"error\")", function()
    local handlers

    local function on(fn)
        handlers[#handlers + 1] = fn
        assert.is_true(process.on("error", fn))
    end

    before_each(function() handlers = {} end)
    after_each(function()
        for _, fn in ipairs(handlers) do process.off("error", fn) end
    end)

    it("hears of each failure that nobody waits for, with task and traceback", function()
        local seen = {}
        on(function(err, t, traceback) seen[#seen + 1] = { err, t, traceback } end)
        local object = {}
        local t = task.spawn(function() local function deep() error(object) end deep() end)
        timer.sleep(1)
        assert.equal(1, #seen)
        assert.equal(object, seen[1][1])
        assert.equal(t, seen[1][2])
        assert.matches("in function 'deep'", seen[1][3])
    end)

    it("may wait, and calls every function", function()
        local n = 0
        on(function() timer.sleep(1) n = n + 1 end)
        on(function() n = n + 10 end)
        task.spawn(error, "x")
        timer.sleep(4)
        assert.equal(11, n)
    end)

    it("is printed, with the failure, where a function of it fails", function()
        local real, text = io.stderr, {}
        on(function() error("in the handler") end)
        local function write(_, ...) text[#text + 1] = table.concat { ... } end
        rawset(io, "stderr", { write = write })
        task.spawn(error, "the failure")
        timer.sleep(1)
        rawset(io, "stderr", real)
        text = table.concat(text)
        assert.matches("the failure", text)
        assert.matches("in the handler", text)
    end)

    it("does not hear of failures that are joined, or of cancelled tasks", function()
        local n = 0
        on(function() n = n + 1 end)
        task.spawn(error, "x"):join()
        local t = task.spawn(function() error(select(2, timer.sleep(1e6))) end)
        timer.sleep(0)
        t:cancel()
        timer.sleep(1)
        assert.equal(0, n)
    end)

    it("ends with process.off, from inside too; another off does no harm", function()
        local n = 0
        local function once()
            n = n + 1
            process.off("error", once)
        end
        on(once)
        on(function() end)
        task.spawn(error, "a")
        timer.sleep(1)
        task.spawn(error, "b")
        timer.sleep(1)
        assert.equal(1, n)
        assert.is_true(process.off("error", once))
        assert.is_true(process.off("error", print))
    end)

    it("raises at the caller's line for an unknown event or no function", function()
        for _, name in ipairs { "on", "off" } do
            local ok, err = pcall(function() process[name]("eror", print) end)
            assert.is_false(ok)
            assert.matches("process_spec.lua:%d+: process%." .. name
                .. '.*unknown event "eror" %(did you mean "error"%?%)', err)
            assert.is_false(pcall(process[name], 5, print))
            assert.is_false(pcall(process[name], "error"))
            assert.is_false(pcall(process[name]))
        end
    end)
end)

describe("process.stats", function()
    it("counts tasks, timers and turns", function()
        -- What other specs have left behind may end just now.
        tools.eventually("the figures", function()
            local before = process.stats()
            local armed = timer.setTimeout(1e6, print)
            local t = task.spawn(timer.sleep, 1e6)
            task.spawn(error, "x"):join()
            timer.sleep(1)
            local after = process.stats()
            armed:cancel()
            t:cancel()
            t:join()
            return after.tasks == before.tasks + 1 and after.timers == before.timers + 2
                and after.handles == before.handles + 2 and after.spawned == before.spawned + 2
                and after.failed == before.failed + 1 and after.turns > before.turns
                and after.resumes >= before.resumes + 3
        end)
    end)

    it("tells the longest hold of the loop and the code that it was", function()
        -- Once more where something held other code up for longer.
        tools.eventually("the line that holds longest", function()
            timer.sleep(0)
            process.stats { reset = true }
            local line
            task.spawn(function()
                local busy = os.clock() + 0.02
                while os.clock() < busy do end
                line = debug.getinfo(1, "l").currentline + 1
                timer.sleep(0)
            end):join()
            timer.sleep(0)
            local stats = process.stats { reset = true }
            assert.is_true(stats.longestHold >= 15)
            assert.is_true(stats.longestTurn >= 15)
            return stats.longestAt:find("process_spec.lua:" .. line .. "$")
                and not process.stats().longestAt
        end)
    end)

    it("counts every turn in one of the buckets of its histogram", function()
        local stats = process.stats()
        local sum = 0
        for i, bucket in ipairs(stats.lag) do
            sum = sum + bucket.turns
            assert.equal(i < 24 and 2 ^ i / 1000 or math.huge, bucket.upTo)
        end
        assert.equal(24, #stats.lag)
        assert.is_true(math.abs(stats.turns - sum) <= 1)
    end)

    it("raises for an unknown option", function()
        local ok, err = pcall(function() process.stats { rest = true } end)
        assert.is_false(ok)
        assert.matches('process_spec.lua:%d+: process.stats.*did you mean "reset"', err)
    end)
end)

describe("process", function()
    it("knows its arguments and its id", function()
        assert.is_table(process.argv)
        local file = io.open("/proc/self/stat")
        if file then
            assert.equal(process.pid, file:read("*n"))
            file:close()
        end
    end)
end)
