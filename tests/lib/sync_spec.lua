local sync = require "links.sync"
local task = require "links.task"
local timer = require "links.timer"

-- Starts n tasks that do fn(i), one after the other, and lets them come to where they wait.
local function start(n, fn)
    local all = {}
    for i = 1, n do
        all[i] = task.spawn(fn, i)
        timer.sleep(0)
    end
    return all
end

local function join(all)
    for _, t in ipairs(all) do assert(t:join(20000)) end
end

local function raises(pattern, fn)
    local ok, err = pcall(fn)
    assert.is_false(ok)
    assert.matches("sync_spec.lua:%d+: " .. pattern, err)
end

describe("a mutex", function()
    it("is held by one task at a time, in the order of coming", function()
        local m, order, inside = sync.mutex(), {}, 0
        assert(m:lock())
        local all = start(5, function(i)
            assert(m:lock())
            inside = inside + 1
            assert.equal(1, inside)
            order[#order + 1] = i
            timer.sleep(0)
            inside = inside - 1
            assert(m:unlock())
        end)
        assert(m:unlock())
        join(all)
        assert.same({ 1, 2, 3, 4, 5 }, order)
    end)

    it("is not locked twice by one task, nor unlocked by another or by nobody", function()
        local m = sync.mutex()
        assert.equal("EPERM", select(2, m:unlock()).name)
        assert(m:lock())
        raises("mutex:lock%(%[ms%]%) this task holds the lock already", function()
            local ok = m:lock()
            return ok
        end)
        local other = task.spawn(function() return m:unlock() end)
        assert.equal("EPERM", select(3, other:join()).name)
        assert.is_true(m:unlock())
    end)

    it("tryLock never waits", function()
        local m = sync.mutex()
        assert.is_true(m:tryLock())
        assert.is_false(m:tryLock())
        m:unlock()
    end)

    it("handed to a task that is cancelled in the same turn is that task's all the same", function()
        local m = sync.mutex()
        m:lock()
        local got
        local t = task.spawn(function()
            got = m:lock()
            if got then m:unlock() end
        end)
        timer.sleep(0)
        m:unlock()
        t:cancel()
        t:join()
        assert.is_true(got)
        assert.is_true(m:tryLock())
    end)

    it("passes over a waiter that has timed out or was cancelled", function()
        local m = sync.mutex()
        m:lock()
        local first = task.spawn(function() return m:lock(1) end)
        local second = task.spawn(function() return m:lock() end)
        local third = task.spawn(function() assert(m:lock()) return m:unlock() end)
        timer.sleep(3)
        second:cancel()
        m:unlock()
        assert.same({ true, true }, { third:join() })
        assert.is_nil((select(2, first:join())))
        assert.is_nil((select(2, second:join())))
        assert.is_true(m:tryLock())
    end)

    it("withLock unlocks however its function ends", function()
        local m = sync.mutex()
        assert.same({ 1, 2 }, { sync.withLock(m, function(...) return ... end, 1, 2) })
        assert.is_false(pcall(sync.withLock, m, error, "x"))
        local t = task.spawn(sync.withLock, m, timer.sleep, 1e6)
        timer.sleep(0)
        t:cancel()
        t:join()
        assert.is_true(m:tryLock())
        for _, bad in ipairs { 5, {}, "x" } do assert.is_false(pcall(sync.withLock, bad, print)) end
        assert.is_false(pcall(sync.withLock, m))
    end)
end)

describe("a semaphore", function()
    it("lets in as many as it has permits, in the order of coming", function()
        local s, inside, most, order = sync.semaphore(2), 0, 0, {}
        join(start(6, function(i)
            assert(s:acquire())
            order[#order + 1] = i
            inside = inside + 1
            most = math.max(most, inside)
            timer.sleep(1)
            inside = inside - 1
            s:release()
        end))
        assert.equal(2, most)
        assert.same({ 1, 2, 3, 4, 5, 6 }, order)
        assert.equal(2, s.available)
    end)

    it("releases many at once: to who waits, and the rest stays", function()
        local s = sync.semaphore(0)
        local all = start(3, function() assert(s:acquire()) end)
        s:release(5)
        assert.equal(2, s.available)
        join(all)
        assert.is_true(s:tryAcquire())
        assert.is_true(s:tryAcquire())
        assert.is_false(s:tryAcquire())
        local begun = os.clock()
        s:release(2 ^ 31 - 1)
        assert.is_true(os.clock() - begun < 1)
    end)

    it("loses no permit to a cancel or a timeout", function()
        local s = sync.semaphore(0)
        local late = task.spawn(function() return s:acquire(1) end)
        local t = task.spawn(function() return s:acquire() end)
        local u = task.spawn(function() return s:acquire(60000) end)
        assert.is_nil((select(2, late:join())))
        t:cancel()
        s:release() -- to u: the others do not wait any more
        assert.same({ true, true }, { u:join() })
        assert.is_nil((select(2, t:join())))
        assert.equal(0, s.available)
        s:release()
        assert.equal(1, s.available)
    end)

    it("raises for bad numbers", function()
        for _, n in ipairs { -1, 1.5, "1", 2 ^ 31 } do assert.is_false(pcall(sync.semaphore, n)) end
        local s = sync.semaphore()
        assert.equal(1, s.available)
        for _, n in ipairs { 0, -1, 1.5, "1" } do assert.is_false(pcall(s.release, s, n)) end
    end)
end)

describe("an event", function()
    it("wakes all that wait, with its value, and holds up nobody later", function()
        local e, n = sync.event(), 0
        local all = start(5, function()
            assert(e:wait() == "value")
            n = n + 1
        end)
        e:set("value")
        join(all)
        assert.equal(5, n)
        assert.equal("value", e:wait(0))
        assert.is_true(e.isSet)
        e:reset()
        assert.is_false(e.isSet)
        assert.equal("ETIMEDOUT", select(2, e:wait(0)).name)
        e:set()
        assert.is_true(e:wait())
        e:set(false)
        assert.is_false((e:wait()))
    end)

    it("that is reset at once has still woken who waited", function()
        local e = sync.event()
        local t = task.spawn(function() return e:wait() end)
        timer.sleep(0)
        e:set()
        e:reset()
        assert.same({ true, true }, { t:join(20000) })
    end)
end)

describe("a condition", function()
    it("wakes one, or all", function()
        local c, n = sync.condition(), 0
        local all = start(3, function()
            assert(c:wait())
            n = n + 1
        end)
        assert.is_true(c:signal())
        timer.sleep(0)
        assert.equal(1, n)
        c:broadcast()
        join(all)
        assert.equal(3, n)
        assert.is_false(c:signal())
    end)

    it("gives its mutex back meanwhile, and holds it again at the end", function()
        local c, m, ready = sync.condition(), sync.mutex(), false
        local t = task.spawn(function()
            assert(m:lock())
            while not ready do assert(c:wait(m)) end
            return m:unlock()
        end)
        timer.sleep(0)
        assert.is_true(m:tryLock())
        ready = true
        c:signal()
        timer.sleep(0)
        assert.equal("waiting", t.status)
        m:unlock()
        assert.same({ true, true }, { t:join() })
    end)

    it("holds the mutex at the end of a cancelled wait too", function()
        local c, m = sync.condition(), sync.mutex()
        local t = task.spawn(function()
            m:lock()
            local ok, err = c:wait(m)
            return ok, err.name, (m:unlock())
        end)
        timer.sleep(0)
        m:lock()
        t:cancel()
        timer.sleep(1)
        assert.equal("waiting", t.status)
        m:unlock()
        assert.same({ 4, true, nil, "ECANCELED", true }, { select("#", t:join()), t:join() })
    end)

    it("needs a mutex that the task holds, and raises before it lets it go", function()
        local c, m = sync.condition(), sync.mutex()
        assert.equal("EPERM", select(2, c:wait(m)).name)
        m:lock()
        assert.is_false(pcall(c.wait, c, m, -1))
        assert.is_true(m:unlock())
        for _, bad in ipairs { "x", {}, true } do assert.is_false(pcall(c.wait, c, bad)) end
        assert.equal("ETIMEDOUT", select(2, c:wait(1)).name)
    end)
end)

describe("a channel", function()
    it("without capacity hands over from task to task, in order", function()
        local ch, got = sync.channel(), {}
        local all = start(5, function(i) assert(ch:send(i)) end)
        for i = 1, 5 do got[i] = ch:receive() end
        assert.same({ 1, 2, 3, 4, 5 }, got)
        join(all)
        all = start(3, function(i) got[i] = ch:receive() end)
        for i = 1, 3 do ch:send(i * 10) end
        join(all)
        assert.same({ 10, 20, 30, 4, 5 }, got)
    end)

    it("with capacity keeps the order through its buffer and who waits behind it", function()
        local ch, got = sync.channel(2), {}
        local all = start(6, function(i) assert(ch:send(i)) end)
        for i = 1, 6 do got[i] = ch:receive() end
        assert.same({ 1, 2, 3, 4, 5, 6 }, got)
        join(all)
        assert.equal("ETIMEDOUT", select(2, ch:receive(0)).name)
    end)

    it("carries every value but nil", function()
        local ch = sync.channel(4)
        local object = {}
        for _, value in ipairs { false, 0, "", object } do ch:send(value) end
        assert.is_false((ch:receive()))
        assert.equal(0, ch:receive())
        assert.equal("", ch:receive())
        assert.equal(object, ch:receive())
        local unbuffered = sync.channel()
        local t = task.spawn(function() return unbuffered:receive() end)
        timer.sleep(0)
        unbuffered:send(false)
        assert.same({ true, false }, { t:join() })
        t = task.spawn(function() return unbuffered:send(false) end)
        timer.sleep(0)
        assert.is_false((unbuffered:receive()))
        assert.is_true(t:join())
        raises("channel:send%(value%[, ms%]%) value must not be nil", function()
            local ok = ch:send(nil)
            return ok
        end)
    end)

    it("closed gives what it holds, and then CLOSED, to all that wait and to all later", function()
        local ch = sync.channel(1)
        ch:send("held")
        local sender = task.spawn(function() return ch:send("not taken") end)
        timer.sleep(0)
        assert.is_true(ch:close())
        assert.is_true(ch:close())
        assert.equal("CLOSED", select(3, sender:join()).name)
        assert.equal("held", ch:receive())
        assert.equal("CLOSED", select(2, ch:receive()).name)
        assert.equal("CLOSED", select(2, ch:send("x")).name)
        local waiting = sync.channel()
        local all = start(3, function() return waiting:receive() end)
        waiting:close()
        for _, t in ipairs(all) do assert.equal("CLOSED", select(3, t:join()).name) end
    end)

    it("forgets what a cancelled or timed out sender offered", function()
        local ch = sync.channel()
        local t = task.spawn(function() return ch:send("cancelled") end)
        local u = task.spawn(function() return ch:send("late", 1) end)
        timer.sleep(0)
        t:cancel()
        u:join()
        assert.equal("ETIMEDOUT", select(2, ch:receive(0)).name)
        local v = task.spawn(function() return ch:send("taken") end)
        timer.sleep(0)
        assert.equal("taken", ch:receive())
        assert.same({ true, true }, { v:join() })
        local weak = setmetatable({}, { __mode = "v" })
        weak[1] = {}
        ch:send(weak[1], 1)
        collectgarbage()
        collectgarbage()
        assert.is_nil(weak[1])
    end)

    it("values() iterates until it is closed", function()
        local ch, got = sync.channel(), {}
        local t = task.spawn(function()
            for value in ch:values() do got[#got + 1] = value end
        end)
        for i = 1, 3 do ch:send(i) end
        ch:close()
        t:join()
        assert.same({ 1, 2, 3 }, got)
    end)

    it("keeps memory flat however much goes through", function()
        local ch = sync.channel(3)
        ch:send(0)
        local function round(n)
            for i = 1, n do
                ch:send(i)
                ch:receive()
            end
            for _ = 1, 3 do collectgarbage() end
            return collectgarbage("count")
        end
        -- What the compiler keeps is not the channel's: it stays out of the count. A value that
        -- is lost costs 16 bytes or more, and every round would lose all of its own.
        jit.off()
        local before, least = round(10000), math.huge
        for _ = 1, 4 do
            local after = round(100000)
            least = math.min(least, after - before)
            before = after
        end
        jit.on()
        assert.is_true(least * 1024 / 100000 < 4, least .. " KiB more")
    end)

    it("raises for a capacity that is none", function()
        for _, n in ipairs { -1, 1.5, "1", 2 ^ 31 } do assert.is_false(pcall(sync.channel, n)) end
    end)
end)

describe("a waitGroup", function()
    it("lets go when the count is 0, and raises below", function()
        local wg, done = sync.waitGroup(), 0
        assert.is_true(wg:wait())
        for i = 1, 3 do
            wg:add()
            task.spawn(function()
                timer.sleep(i)
                done = done + 1
                wg:done()
            end)
        end
        local others = start(2, function() assert(wg:wait()) end)
        assert.is_true(wg:wait())
        assert.equal(3, done)
        join(others)
        raises("waitGroup:done%(%) the count is 0 already", function() wg:done() end)
        raises("waitGroup:add%(%[n%]%) the count would be negative", function() wg:add(-1) end)
        for _, n in ipairs { 1.5, "1", {} } do assert.is_false(pcall(wg.add, wg, n)) end
        wg:add(2)
        wg:add(-2)
        assert.equal(0, wg.count)
    end)
end)

describe("sync.once", function()
    it("runs once for all that ask, and gives all the same results", function()
        local n = 0
        local fn = sync.once(function(...)
            n = n + 1
            timer.sleep(1)
            return n, nil, ...
        end)
        local all = {}
        for i = 1, 5 do all[i] = task.spawn(fn, i) end
        for i = 1, 5 do
            assert.equal(4, select("#", all[i]:join()))
            assert.same({ true, 1, nil, 1 }, { all[i]:join() })
        end
        assert.equal(1, fn(9))
        assert.equal(1, n)
    end)

    it("is tried again by the next where a run raises or its task is cancelled", function()
        local n = 0
        local fn = sync.once(function()
            n = n + 1
            local ok, err = timer.sleep(n == 1 and 1e6 or 1)
            if not ok then error(err, 0) end
            if n == 2 then error("second", 0) end
            return "third"
        end)
        local all = start(3, fn)
        all[1]:cancel()
        assert.equal("ECANCELED", select(2, all[1]:join()).name)
        assert.same({ false, "second" }, { all[2]:join() })
        assert.same({ true, "third" }, { all[3]:join() })
        assert.is_false(pcall(sync.once))
    end)
end)

describe("a rwlock", function()
    it("is shared by readers, and a writer's alone", function()
        local l, readers, most, writing = sync.rwlock(), 0, 0, false
        local all = start(6, function(i)
            if i % 3 == 0 then
                assert(l:writeLock())
                assert(readers == 0 and not writing)
                writing = true
                timer.sleep(1)
                writing = false
            else
                assert(l:readLock())
                assert(not writing)
                readers = readers + 1
                most = math.max(most, readers)
                timer.sleep(1)
                readers = readers - 1
            end
            assert(l:unlock())
        end)
        join(all)
        assert.equal(2, most)
    end)

    it("keeps readers behind a writer that waits", function()
        local l, order = sync.rwlock(), {}
        l:readLock()
        local all = start(2, function(i)
            assert(i == 1 and l:writeLock() or i == 2 and l:readLock())
            order[#order + 1] = i
            l:unlock()
        end)
        assert.same({}, order)
        l:unlock()
        join(all)
        assert.same({ 1, 2 }, order)
    end)

    it("lets in the readers behind a writer that gave up", function()
        local l = sync.rwlock()
        l:readLock()
        local writer = task.spawn(function() return l:writeLock(2) end)
        local other = task.spawn(function() return l:writeLock() end)
        local reader = task.spawn(function() return l:readLock() end)
        timer.sleep(0)
        other:cancel()
        assert.is_nil((select(2, writer:join())))
        assert.same({ true, true }, { reader:join(20000) })
    end)

    it("is given back by who holds it, and raises for a writer that asks again", function()
        local l = sync.rwlock()
        assert.equal("EPERM", select(2, l:unlock()).name)
        l:writeLock()
        raises("rwlock:readLock", function() local ok = l:readLock() return ok end)
        raises("rwlock:writeLock", function() local ok = l:writeLock() return ok end)
        local other = task.spawn(function() return l:unlock() end)
        assert.equal("EPERM", select(3, other:join()).name)
        assert.is_true(l:unlock())
    end)
end)

describe("a finalizer", function()
    -- Runs fn as one, now.
    local function finalize(fn)
        local ran
        local function make() getmetatable(newproxy(true)).__gc = function() ran = { fn() } end end
        make()
        for _ = 1, 5 do collectgarbage() end
        return ran
    end

    it("can neither wait nor take a lock, and leaves the waits of its task alone", function()
        local m, e = sync.mutex(), sync.event()
        local refused = finalize(function()
            local results = {}
            for i, fn in ipairs {
                function() return timer.sleep(1) end, function() return e:wait() end,
                function() return m:lock() end, function() return m:tryLock() end,
                function() return task.all { print } end, task.yield,
                function() return sync.channel():receive(1) end,
                function() return sync.rwlock():writeLock() end,
            } do
                local ok, err = pcall(fn)
                results[i] = tostring(ok) .. ": " .. tostring(err)
            end
            return unpack(results)
        end)
        assert.equal(8, #refused)
        for i, text in ipairs(refused) do
            assert.matches((i == 3 or i == 4 or i == 8) and "^false: .*not in a finalizer"
                or "^false: .*cannot yield inside", text)
        end
        assert.is_true(m:tryLock())
        assert.is_true(timer.sleep(0))
    end)

    it("is no task's", function()
        local m = sync.mutex()
        local current, err, registered, why = unpack(finalize(function()
            local _, unlock_error = m:unlock()
            return task.current() or "nobody", unlock_error, pcall(task.onCancel, print)
        end), 1, 4)
        assert.equal("nobody", current)
        assert.equal("EPERM", err.name)
        assert.is_false(registered)
        assert.matches("^task.onCancel%(fn%) a finalizer", why)
    end)

    it("can wake, send where there is room, and start tasks", function()
        local e, ch, started = sync.event(), sync.channel(1), nil
        local t = task.spawn(function() return e:wait() end)
        timer.sleep(0)
        finalize(function()
            e:set("from a finalizer")
            ch:send("sent")
            started = task.spawn(function() return task.yield() end)
        end)
        assert.same({ true, "from a finalizer" }, { t:join(20000) })
        assert.equal("sent", ch:receive(0))
        assert.same({ true, true }, { started:join(20000) })
    end)
end)

describe("every object", function()
    it("is usable from any task, timer and hook, long after the task that made it", function()
        local _, ch = task.spawn(sync.channel, 8):join()
        timer.setTimeout(1, function() ch:send("timer") end)
        task.spawn(function()
            task.onCancel(function() ch:send("onCancel") end)
            timer.sleep(1e6)
        end):cancel()
        local t = task.spawn(function()
            task.onCancel(function() ch:send("onCancel") end)
            timer.sleep(1e6)
        end)
        timer.sleep(0)
        t:cancel()
        local got = {}
        for _ = 1, 2 do got[ch:receive(20000)] = true end
        assert.same({ timer = true, onCancel = true }, got)
    end)
end)
