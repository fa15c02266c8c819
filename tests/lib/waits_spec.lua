-- Each way of ending a wait, at every call that waits.
package.path = "tests/support/?.lua;" .. package.path
local ffi = require "ffi"
local sync = require "links.sync"
local task = require "links.task"
local timer = require "links.timer"
local waits = require "waits"

-- Runs fn in a task and returns what fn returned.
local function in_task(fn, ...)
    local result = { task.spawn(fn, ...):join() }
    if not result[1] then error(result[2], 0) end
    return unpack(result, 2, 6)
end

local function assert_canceled(err, cause)
    assert.is_table(err)
    assert.equal("ECANCELED", err.name, tostring(err))
    assert.equal(cause, err.cause)
end

local function assert_timed_out(err, deadline)
    assert.is_table(err)
    assert.equal("ETIMEDOUT", err.name, tostring(err))
    assert.equal(deadline, err.deadline or false)
end

for _, wait in ipairs(waits.list) do
    describe(wait.name, function()
        after_each(waits.clean)

        it("ends with ECANCELED and the reason when cancelled while it waits", function()
            local call = wait.make()
            local err
            local t = task.spawn(function() err = waits.outcome(call) end)
            timer.sleep(1)
            assert.equal("waiting", t.status)
            assert.is_true(t:cancel("enough"))
            assert.is_false(t:cancel("twice"))
            t:join()
            -- Those that wait for tasks of their own give what these have come to.
            assert_canceled(err, "enough")
        end)

        it("ends with ECANCELED when its task was cancelled before", function()
            local call = wait.make()
            local err = in_task(function()
                task.current():cancel("early")
                return (waits.outcome(call))
            end)
            assert_canceled(err, "early")
        end)

        it("ends with the deadline of an enclosing task.withTimeout", function()
            local call = wait.make()
            local begun = timer.now()
            local ok, err = task.withTimeout(3, function() return (waits.outcome(call)) end)
            assert.is_nil(ok)
            assert_timed_out(err, true)
            assert.is_true(timer.now() - begun >= 3)
        end)

        it("ends with the nearer of nested deadlines", function()
            local call = wait.make()
            local inner_cut, inner_went_on
            local ok, err = task.withTimeout(1e6, function()
                inner_cut = select(2, task.withTimeout(2, call))
                inner_went_on = timer.sleep(1)
                return "outer"
            end)
            assert.equal("outer", ok)
            assert.is_nil(err)
            assert_timed_out(inner_cut, true)
            assert.is_true(inner_went_on)

            local after
            ok, err = task.withTimeout(2, function()
                task.withTimeout(1e6, call)
                after = select(2, timer.sleep(1e6))
            end)
            assert.is_nil(ok)
            assert_timed_out(err, true)
            assert_timed_out(after, true)
        end)

        it("ends at once within a deadline that has passed", function()
            local call = wait.make()
            local ok, err = task.withTimeout(0, call)
            assert.is_nil(ok)
            assert_timed_out(err, true)
        end)

        it("is not cut short within task.shield", function()
            local call = wait.make()
            local inside
            local begun = timer.now()
            local t = task.spawn(function()
                task.withTimeout(2, task.shield, function()
                    inside = select(2, task.withTimeout(6, call))
                end)
            end)
            timer.sleep(0)
            t:cancel()
            t:join()
            assert_timed_out(inside, true)
            assert.is_true(timer.now() - begun >= 5)
        end)

        it("works within pcall, metamethods, iterators and coroutines three deep", function()
            local call = wait.make()
            local function timed() return (waits.outcome(call)) end
            local function check_in(fn)
                assert_timed_out(select(2, task.withTimeout(1, fn)), true)
            end
            check_in(function() return select(2, pcall(timed)) end)
            check_in(function() return select(2, xpcall(timed, debug.traceback)) end)
            check_in(function() return setmetatable({}, { __index = timed }).field end)
            check_in(function() return setmetatable({}, { __add = timed }) + 1 end)
            check_in(function() return setmetatable({}, { __call = timed })() end)
            check_in(function() return setmetatable({}, { __concat = timed }) .. "" end)
            check_in(function() for _ in pairs { timed() } do timed() end end)
            check_in(function()
                local last
                for err in function() return not last and timed() or nil end do last = err end
            end)
            check_in(function() return table.foreach({ 1 }, timed) end)
            check_in(function()
                local err
                tostring(setmetatable({}, { __tostring = function() err = timed() return "" end }))
                return err
            end)
            check_in(function() return coroutine.wrap(timed)() end)
            check_in(function() return coroutine.resume(coroutine.create(timed)) end)
            check_in(function()
                local generator = coroutine.wrap(function()
                    local middle = coroutine.wrap(function()
                        coroutine.yield("mine")
                        coroutine.yield(coroutine.wrap(timed)())
                    end)
                    assert(middle() == "mine")
                    coroutine.yield("yours")
                    coroutine.yield(middle())
                end)
                assert(generator() == "yours")
                return generator()
            end)
        end)

        it("raises an error that names the builtin where it cannot wait", function()
            local call = wait.make()
            local function named(name, fn)
                local ok, err = pcall(fn)
                assert.is_false(ok)
                assert.matches("cannot yield inside " .. name, tostring(err), 1, true)
                return tostring(err)
            end
            local function compare() call() end
            local err = named("table.sort", function() table.sort({ 2, 1 }, compare) end)
            assert.matches("^tests/[^ ]+%.lua:%d+: cannot", err)
            named("string.gsub", function() return (("x"):gsub(".", function() call() end)) end)
            local object = setmetatable({}, { __tostring = function() call() return "x" end })
            named("string.format", function() return string.format("%s", object) end)
            named("print", function() print(object) end)
            named("table.sort", function()
                table.sort({ 2, 1 }, coroutine.wrap(function() call() end))
            end)
            -- The object is none the worse for it.
            assert_timed_out(select(2, task.withTimeout(1, call)), true)
        end)

        it("raises an error in a finalizer, which leaves the waits of its task alone", function()
            local call = wait.make()
            local results
            local function make()
                getmetatable(newproxy(true)).__gc = function() results = { pcall(call) } end
            end
            make()
            collectgarbage()
            assert.is_false(results[1])
            assert.matches("in[side]* a finalizer", tostring(results[2]))
            assert.is_true(timer.sleep(0))
        end)

        it("may wait in the reader of load", function()
            local call = wait.make()
            local err
            assert(load(function()
                if err then return nil end
                err = select(2, task.withTimeout(1, call))
                return "return 1"
            end))
            assert_timed_out(err, true)
        end)

        if wait.timed then
            it("ends with its own timeout, and not before", function()
                local call = wait.make()
                for _, ms in ipairs { 0.5, 1, 2.5 } do
                    local err, took, value = waits.outcome(call, ms)
                    assert.is_nil(value)
                    assert_timed_out(err, false)
                    assert.is_true(took >= ms, took)
                end
                local ok, err = task.withTimeout(1e6, call, 1)
                assert.is_nil(ok)
                assert_timed_out(err, false)
            end)

            it("does not wait with a timeout of 0", function()
                local call = wait.make()
                local others = 0
                task.spawn(function() others = others + 1 end)
                local ok, err = call(0)
                assert.is_nil(ok)
                assert_timed_out(err, false)
                assert.equal(0, others)
            end)

            it("raises for a timeout that is none, with its signature", function()
                local call = wait.make()
                for _, ms in ipairs { -1, "1", {}, 0 / 0, false } do
                    local ok, err = pcall(call, ms)
                    assert.is_false(ok, tostring(ms))
                    assert.matches("[%a:]+%(.*%) ms must be %[number%]", err)
                end
            end)

            it("takes a timeout without end for what it is", function()
                local call = wait.make()
                local ok, err = task.withTimeout(1, call, math.huge)
                assert.is_nil(ok)
                assert_timed_out(err, true)
            end)
        end
    end)
end

describe("every wait", function()
    it("of a task that ignores its cancellation lets the others go on", function()
        local t = task.spawn(function()
            for _ = 1, 1000 do timer.sleep(1000) end
            local e = sync.event()
            for _ = 1, 1000 do e:wait() end
        end)
        timer.sleep(0)
        t:cancel()
        local turns = 0
        while t.status ~= "done" do
            assert(timer.sleep(0))
            turns = turns + 1
        end
        assert.is_true(turns > 500)
    end)

    it("on an object that was collected still ends by cancel or timeout", function()
        local tasks = {}
        for i = 1, 100 do
            tasks[i] = task.spawn(function()
                local function wait(object, method) return object[method](object) end
                return wait(sync.event(), "wait")
            end)
            tasks[i + 100] = task.spawn(function() return sync.channel():receive(3) end)
        end
        timer.sleep(0)
        collectgarbage()
        collectgarbage()
        for i = 1, 100 do tasks[i]:cancel() end
        for i = 1, 100 do
            assert.equal("ECANCELED", select(3, tasks[i]:join()).name)
            assert.equal("ETIMEDOUT", select(3, tasks[i + 100]:join()).name)
        end
    end)

    it("in a callback of C is refused", function()
        ffi.cdef "void qsort(void *base, size_t n, size_t size, int (*compare)(void *, void *));"
        local refused
        local compare = ffi.cast("int (*)(void *, void *)", function()
            local _, err = pcall(timer.sleep, 1)
            refused = err
            return 0
        end)
        ffi.C.qsort(ffi.new("int[2]"), 2, 4, compare)
        compare:free()
        assert.matches("cannot yield inside", refused)
    end)
end)
