local sync = require "links.sync"
local task = require "links.task"
local timer = require "links.timer"

local function pack(...) return { n = select("#", ...), ... } end

-- As Lua's own assert, which busted's is not: it raises the error as it is.
local function must(ok, err)
    if not ok then error(err, 0) end
end

-- A task that sleeps for ever.
local function sleeper()
    local t = task.spawn(function()
        local ok, err = timer.sleep(1e6)
        return ok, err
    end)
    timer.sleep(0)
    return t
end

-- Runs fn and returns what it has written to standard error, which the tasks' failures go to.
local function stderr_of(fn)
    local real, text = io.stderr, {}
    rawset(io, "stderr", { write = function(_, ...) text[#text + 1] = table.concat { ... } end })
    local ok, err = pcall(fn)
    timer.sleep(0)
    timer.sleep(0)
    rawset(io, "stderr", real)
    if not ok then error(err, 0) end
    return table.concat(text)
end

describe("task.spawn", function()
    it("begins when the task that runs waits next, with its arguments", function()
        local got
        local t = task.spawn(function(...) got = pack(...) end, 1, nil, 3, nil)
        assert.is_nil(got)
        assert.equal("ready", t.status)
        timer.sleep(0)
        assert.same({ n = 4, 1, nil, 3, nil }, got)
        assert.equal("done", t.status)
    end)

    it("raises at the caller's line for what is no function", function()
        local ok, err = pcall(function() task.spawn(5) end)
        assert.is_false(ok)
        assert.matches("task_spec.lua:%d+: task.spawn%(fn, ...%) fn must be %[function%]", err)
        assert.is_false(pcall(task.spawn))
    end)

    it("takes thousands of arguments and gives back thousands of results, or raises", function()
        local many = {}
        for i = 1, 7900 do many[i] = i end
        local result = pack(task.spawn(function(...) return ... end, unpack(many)):join())
        assert.equal(7901, result.n)
        assert.equal(7900, result[7901])
        for n = 7980, 8010 do
            many[n] = n
            local ok, t = pcall(function() return task.spawn(select, "#", unpack(many, 1, n)) end)
            if ok then assert.same({ true, n }, { t:join() }) end
        end
        local huge = task.spawn(function() return unpack({}, 1, 7999) end)
        timer.sleep(0)
        local ok, err = pcall(huge.join, huge)
        assert.is_true(ok or tostring(err):match("too many results") ~= nil)
    end)

    it("logs a failure that nobody joins, with the whole traceback, and goes on", function()
        local text = stderr_of(function()
            local t = task.spawn(function()
                local function deep() error("lost") end
                deep()
            end)
            t.name = "mine"
        end)
        assert.matches("links: task %d+ %(mine%) failed: [^\n]*task_spec.lua:%d+: lost", text)
        assert.matches("in function 'deep'", text)
    end)

    it("logs error objects of every kind", function()
        for _, case in ipairs {
            { { 1 }, "(error object is a table value)" },
            { setmetatable({}, { __tostring = function() return "mine" end }), "mine" },
            { setmetatable({}, { __tostring = function() error("x") end }), "cannot be printed" },
            { setmetatable({}, { __metatable = 5 }), "table" },
            { setmetatable({}, { __metatable = 1, __tostring = function() return "m" end }), "m" },
            { print, "builtin" },
            { 5, "5" },
        } do
            local text = stderr_of(function() task.spawn(error, case[1]) end)
            assert.matches(case[2], text, 1, true)
        end
        assert.matches("failed: nil", stderr_of(function() task.spawn(error) end))
    end)

    it("runs 100,000 tasks at a time", function()
        local n = 0
        local all = {}
        for i = 1, 100000 do
            all[i] = task.spawn(function()
                timer.sleep(1)
                n = n + 1
            end)
        end
        assert.is_true(#task.list() >= 100000)
        for i = 1, 100000 do all[i]:join() end
        assert.equal(100000, n)
    end)

    it("keeps memory flat over 300,000 tasks, and sleeps with a timeout", function()
        local function round(count)
            for _ = 1, count / 100 do
                local all = {}
                for i = 1, 100 do
                    all[i] = task.spawn(function(x)
                        if x % 10 == 0 then task.withTimeout(5, timer.sleep, 0) end
                        return x
                    end, i)
                end
                for i = 1, 100 do all[i]:join() end
            end
            collectgarbage()
            collectgarbage()
            return collectgarbage("count")
        end
        local before = round(50000)
        local after = round(300000)
        -- What the compiler keeps differs; a task that is not let go takes some hundred bytes.
        assert.is_true(after - before < 2000, ("%.0f KiB more"):format(after - before))
    end)

    it("gives every task its turn", function()
        local counts, stop = {}, false
        for i = 1, 10 do
            counts[i] = 0
            task.spawn(function()
                while not stop do
                    counts[i] = counts[i] + 1
                    task.yield()
                end
            end)
        end
        for _ = 1, 500 do task.yield() end
        stop = true
        timer.sleep(1)
        for i = 2, 10 do assert.is_true(math.abs(counts[i] - counts[1]) <= 2) end
        assert.is_true(counts[1] >= 400)
    end)

    it("gives no task the globals or the coroutine that another was seen with", function()
        local env = { rawset = rawset }
        task.spawn(function() setfenv(0, env) end):join()
        for _ = 1, 5 do
            assert.equal(_G, select(2, task.spawn(function() return getfenv(0) end):join()))
        end
        local seen = {}
        for _ = 1, 20 do
            local _, co = task.spawn(function() return coroutine.running() end):join()
            assert.is_nil(seen[co])
            seen[co] = true
        end
    end)
end)

describe("task:join", function()
    it("gives true and every result, as often as it is asked", function()
        local t = task.spawn(function() return 1, nil, 3, nil end)
        for _ = 1, 3 do assert.same({ n = 5, true, 1, nil, 3, nil }, pack(t:join())) end
        assert.same({ n = 1, true }, pack(task.spawn(function() end):join()))
    end)

    it("gives false and the error value, of any kind, and then it is not logged", function()
        local object = {}
        local text = stderr_of(function()
            assert.same({ n = 2, false, object }, pack(task.spawn(error, object):join()))
            assert.same({ n = 2, false, nil }, pack(task.spawn(error):join()))
            assert.same({ n = 2, false, "x" }, pack(task.spawn(error, "x"):join()))
        end)
        assert.equal("", text)
    end)

    it("lets many tasks wait for one", function()
        local t = task.spawn(function() timer.sleep(1) return "r" end)
        local n = 0
        local all = {}
        for i = 1, 50 do
            all[i] = task.spawn(function()
                assert(select(2, t:join()) == "r")
                n = n + 1
            end)
        end
        for i = 1, 50 do assert(all[i]:join()) end
        assert.equal(50, n)
    end)

    it("raises for a task that joins itself", function()
        local ok, err = pcall(function() task.current():join() end)
        assert.is_false(ok)
        assert.matches("task_spec.lua:%d+: task:join%(%[ms%]%) a task cannot join itself", err)
    end)

    it("leaves a failure to be logged when its wait ended before", function()
        local t = task.spawn(function() timer.sleep(2) error("late") end)
        local text = stderr_of(function()
            assert.is_nil((t:join(0.5)))
            timer.sleep(5)
        end)
        assert.matches("late", text)
        assert.is_false((t:join()))
    end)
end)

describe("task:cancel", function()
    it("is sticky, and false the second time and once the task is over", function()
        local names = {}
        local t = task.spawn(function()
            for i = 1, 3 do names[i] = select(2, timer.sleep(1e6)).name end
            return "ended"
        end)
        timer.sleep(0)
        assert.is_true(t:cancel())
        assert.is_false(t:cancel())
        assert.same({ true, "ended" }, { t:join() })
        assert.same({ "ECANCELED", "ECANCELED", "ECANCELED" }, names)
        assert.is_false(t:cancel())
        assert.equal("done", t.status)
    end)

    it("keeps a task that has not begun from running, and nothing is logged", function()
        local ran = false
        local text = stderr_of(function()
            local t = task.spawn(function() ran = true end)
            t:cancel("early")
            local ok, err = t:join()
            assert.is_false(ok)
            assert.equal("ECANCELED", err.name)
            assert.equal("early", err.cause)
            assert.equal("cancelled", t.status)
        end)
        assert.is_false(ran)
        assert.equal("", text)
    end)

    it("of itself takes effect at the next wait", function()
        local t = task.spawn(function()
            assert(task.current():cancel("me"))
            return timer.sleep(1)
        end)
        local ok, slept, err = t:join()
        assert.is_true(ok)
        assert.is_nil(slept)
        assert.equal("me", err.cause)
        assert.is_true(t.cancelled)
    end)

    it("works from any task, a child or a stranger", function()
        local parent = sleeper()
        task.spawn(function() task.spawn(function() parent:cancel() end) end)
        assert.equal("ECANCELED", select(3, parent:join()).name)
    end)

    it("makes a task that raises the error count as cancelled, and logs nothing", function()
        local text = stderr_of(function()
            local t = task.spawn(function() must(timer.sleep(1e6)) end)
            timer.sleep(0)
            t:cancel()
            timer.sleep(0)
            assert.equal("cancelled", t.status)
        end)
        assert.equal("", text)
    end)
end)

describe("a task", function()
    it("tells its status, id, name and what it waits for", function()
        local t = sleeper()
        assert.equal("waiting", t.status)
        assert.equal("sleep", t.waitsFor)
        assert.is_true(t.waitsSince >= 0)
        assert.is_number(t.id)
        t.name = "sleeper"
        assert.equal("task " .. t.id .. " (sleeper)", tostring(t))
        assert.matches("in function 'sleep'", t:traceback())
        assert.is_nil(t.nosuch)
        t:cancel()
        t:join()
        assert.is_nil(t.waitsFor)
        assert.is_nil(t:traceback())
    end)

    it("lets nothing but its name be set", function()
        assert.has_error(function() task.current().status = "done" end)
        assert.has_error(function() task.current().name = 5 end)
        local ok, err = pcall(function() task.current().state = 1 end)
        assert.matches("task_spec.lua:%d+: task.state cannot be set", ok or err)
    end)

    it("raises where a method is called on something else", function()
        for _, method in ipairs { "join", "cancel", "traceback" } do
            local fn = task.current()[method]
            for _, value in ipairs { 1, "x", {}, io.stdout, newproxy(true), false } do
                assert.is_false(pcall(fn, value))
            end
        end
    end)

    it("hands its local values on to its children, as copies", function()
        local t = task.spawn(function()
            task.current().locals.id = 7
            local child = task.spawn(function()
                local locals = task.current()["local"]
                local was = locals.id
                locals.id = 8
                return was, select(2, task.spawn(function()
                    return task.current().locals.id
                end):join())
            end)
            local _, mine, grandchild = child:join()
            return mine, grandchild, task.current().locals.id
        end)
        assert.same({ true, 7, 8, 7 }, { t:join() })
        assert.is_nil(task.current().locals.id)
    end)

    it("is listed until it is over", function()
        local t = sleeper()
        local function listed()
            for _, each in ipairs(task.list()) do if each == t then return true end end
            return false
        end
        assert.is_true(listed())
        t:cancel()
        t:join()
        assert.is_false(listed())
    end)
end)

describe("task.onCancel", function()
    it("runs in a task of its own, with the reason, unless it was removed", function()
        local seen = {}
        local t = task.spawn(function()
            task.onCancel(function(err)
                timer.sleep(1)
                seen[#seen + 1] = err.cause
            end)
            task.onCancel(function() seen[#seen + 1] = "removed" end):remove()
            timer.sleep(1e6)
        end)
        timer.sleep(0)
        t:cancel("why")
        timer.sleep(3)
        assert.same({ "why" }, seen)
    end)

    it("logs an error in its function, and runs the others", function()
        local others = 0
        local text = stderr_of(function()
            local t = task.spawn(function()
                task.onCancel(function() error("in the handler") end)
                task.onCancel(function() others = others + 1 end)
                timer.sleep(1e6)
            end)
            timer.sleep(0)
            t:cancel()
            timer.sleep(1)
        end)
        assert.matches("in the handler", text)
        assert.equal(1, others)
    end)

    it("keeps no removed function", function()
        local handle
        for _ = 1, 1000 do
            handle = task.onCancel(print)
            handle:remove()
            handle:remove()
        end
        assert.is_false(pcall(task.onCancel, 5))
    end)
end)

describe("task.shield", function()
    it("returns what its function returned, and raises what it raised", function()
        local function same(...) return ... end
        assert.same({ n = 3, 1, nil, 3 }, pack(task.shield(same, 1, nil, 3)))
        local object = {}
        local ok, err = pcall(task.shield, error, object)
        assert.is_false(ok)
        assert.equal(object, err)
        assert.is_false(pcall(task.shield))
    end)

    it("nests, and lets the cancel through after the outermost", function()
        local t = task.spawn(function()
            local inner
            local outer = task.shield(function()
                inner = task.shield(timer.sleep, 1)
                return timer.sleep(1)
            end)
            return inner, outer, (timer.sleep(1))
        end)
        timer.sleep(0)
        t:cancel()
        assert.same({ n = 4, true, true, true, nil }, pack(t:join()))
    end)

    it("does not let a coroutine yield out of it: it would hold for ever", function()
        for _, scope in ipairs { function(fn) task.shield(fn) end,
                                 function(fn) task.withTimeout(1e6, fn) end } do
            local co = coroutine.create(function() scope(function() coroutine.yield(1) end) end)
            local ok, err = coroutine.resume(co)
            assert.is_false(ok)
            assert.matches("attempt to yield out of task.withTimeout or task.shield", err)
            -- One that is made and used inside may.
            local values = {}
            scope(function()
                for i in coroutine.wrap(function() coroutine.yield(1) coroutine.yield(2) end) do
                    values[#values + 1] = i
                    timer.sleep(0)
                end
            end)
            assert.same({ 1, 2 }, values)
        end
    end)
end)

describe("task.withTimeout", function()
    it("returns what its function returned in time", function()
        assert.same({ n = 3, 1, nil, nil }, pack(task.withTimeout(1000, function()
            timer.sleep(1)
            return 1, nil, nil
        end)))
    end)

    it("keeps what its function returned all the same in err.partial", function()
        local ok, err = task.withTimeout(1, function()
            local _, why = timer.sleep(1e6)
            return "partly", why.name
        end)
        assert.is_nil(ok)
        assert.same({ n = 2, "partly", "ETIMEDOUT" }, err.partial)
    end)

    it("turns the raised deadline into nil, err and passes other errors on", function()
        local ok, err = task.withTimeout(1, function() must(timer.sleep(1e6)) end)
        assert.is_nil(ok)
        assert.is_true(err.deadline)
        assert.is_false(pcall(task.withTimeout, 1000, error, "other"))
        local _, raised = pcall(task.withTimeout, 1, function()
            timer.sleep(1e6)
            error("other", 0)
        end)
        assert.equal("other", raised)
    end)

    it("holds no longer than its function", function()
        task.withTimeout(1, timer.sleep, 1e6)
        pcall(task.withTimeout, 1, error)
        assert.is_true(timer.sleep(3))
    end)

    it("does not cut short what does not wait", function()
        assert.equal(5, task.withTimeout(0, function() return 5 end))
    end)

    it("raises for what is no time or no function", function()
        for _, ms in ipairs { -1, "1", 2 ^ 31, 0 / 0, {}, math.huge } do
            assert.is_false(pcall(task.withTimeout, ms, print))
        end
        assert.is_false(pcall(task.withTimeout, 1, nil))
        assert.is_false(pcall(task.withTimeout))
    end)
end)

describe("task.group", function()
    it("is left only when all its tasks have ended", function()
        local ended = 0
        local results = task.group(function(g)
            for i = 1, 5 do
                g:spawn(function() timer.sleep(i / 2) ended = ended + 1 return i end)
            end
        end)
        assert.equal(5, ended)
        assert.same({ 1, 2, 3, 4, 5 }, results)
    end)

    it("cancels the rest at the first failure, and waits for their end", function()
        local cleaned
        local results, err = task.group(function(g)
            g:spawn(function() timer.sleep(1) error("first", 0) end)
            g:spawn(function() timer.sleep(1e6) task.shield(timer.sleep, 2) cleaned = true end)
        end)
        assert.is_nil(results)
        assert.equal("first", err)
        assert.is_true(cleaned)
    end)

    it("fails with what its own function raised", function()
        local child
        local results, err = task.group(function(g)
            child = g:spawn(timer.sleep, 1e6)
            error("scope", 0)
        end)
        assert.is_nil(results)
        assert.equal("scope", err)
        assert.equal("cancelled", child.status)
    end)

    it("passes a cancel on to its tasks", function()
        local child
        local t = task.spawn(function()
            return task.group(function(g)
                child = g:spawn(function() return select(2, timer.sleep(1e6)) end)
            end)
        end)
        timer.sleep(0)
        t:cancel("all")
        local _, results, err = t:join()
        assert.is_nil(results)
        assert.equal("ECANCELED", err.name)
        assert.equal("done", child.status)
    end)

    it("waits for tasks that its tasks start, and takes none afterwards", function()
        local group, late
        task.group(function(g)
            group = g
            g:spawn(function()
                timer.sleep(1)
                g:spawn(function() timer.sleep(1) late = true end)
            end)
        end)
        assert.is_true(late)
        assert.is_false(pcall(group.spawn, group, print))
        assert.is_false(pcall(task.group))
    end)

    it("tells of a task that somebody cancelled before it began", function()
        local results, err = task.group(function(g)
            g:spawn(print):cancel("elsewhere")
        end)
        assert.is_nil(results)
        assert.equal("elsewhere", err.cause)
        results, err = task.map({ 1, 2 }, print, { concurrency = 1 })
        assert.is_table(results)
        assert.is_nil(err)
    end)
end)

describe("task.all, any, race and map", function()
    local function value(v, ms)
        return function() timer.sleep(ms or 1) return v end
    end
    local function failure(v, ms)
        return function() timer.sleep(ms or 1) error(v, 0) end
    end

    it("all gives every first result, or the first failure", function()
        assert.same({ 1, 2 }, task.all { value(1, 2), value(2, 1) })
        assert.same({}, task.all {})
        local results, err = task.all { value(1, 1e6), failure("no") }
        assert.is_nil(results)
        assert.equal("no", err)
    end)

    it("race gives the first to end, well or badly", function()
        assert.equal("fast", task.race { value("slow", 1e6), value("fast") })
        local ok, err = task.race { value("slow", 1e6), failure("bad") }
        assert.is_nil(ok)
        assert.equal("bad", err)
        assert.equal("EINVAL", select(2, task.race {}).name)
    end)

    it("any gives the first success, or the last failure", function()
        assert.equal("yes", task.any { failure("no"), value("yes", 2) })
        local ok, err = task.any { failure("one"), failure("two", 2) }
        assert.is_nil(ok)
        assert.equal("two", err)
        assert.equal("EINVAL", select(2, task.any {}).name)
    end)

    it("take tasks that run already, and cancel them with the rest", function()
        local t = sleeper()
        assert.equal("x", task.race { t, value("x") })
        assert.is_true(t.cancelled)
        assert.same({ 5 }, task.all { task.spawn(function() return 5 end) })
        assert.has_error(function() task.all { task.current() } end)
    end)

    it("survive that all their tasks are cancelled from elsewhere before they begin", function()
        for _, name in ipairs { "all", "race", "any" } do
            local before = {}
            for _, t in ipairs(task.list()) do before[t] = true end
            local done
            local t = task.spawn(function() done = { task[name] { value(1), value(2) } } end)
            -- Runs behind it and before its children.
            task.spawn(function()
                for _, child in ipairs(task.list()) do
                    if not before[child] and child ~= t and child ~= task.current() then
                        child:cancel("elsewhere")
                    end
                end
            end)
            assert(t:join())
            assert.is_nil(done[1], name)
            assert.equal("ECANCELED", done[2].name)
        end
    end)

    it("map runs at most `concurrency` at a time, and keeps the order", function()
        local running, most = 0, 0
        local items = {}
        for i = 1, 20 do items[i] = i end
        local results = task.map(items, function(item, index)
            running = running + 1
            most = math.max(most, running)
            timer.sleep(item % 3)
            running = running - 1
            return item * index
        end, { concurrency = 4 })
        assert.equal(4, most)
        for i = 1, 20 do assert.equal(i * i, results[i]) end
        assert.same({}, task.map({}, print))
    end)

    it("raise at the caller's line for bad arguments", function()
        for _, fn in ipairs {
            function() task.all(5) end,
            function() task.race { 5 } end,
            function() task.any { "x" } end,
            function() task.map({}, 5) end,
            function() task.map({}, print, { concurency = 2 }) end,
            function() task.map({}, print, { concurrency = 0 }) end,
            function() task.map({}, print, { concurrency = 1.5 }) end,
        } do
            local ok, err = pcall(fn)
            assert.is_false(ok)
            assert.matches("task_spec.lua:%d+: task%.", err)
        end
        local _, err = pcall(task.map, {}, print, { concurency = 2 })
        assert.matches('did you mean "concurrency"', err)
    end)
end)

describe("values on their way", function()
    it("are neither lost nor doubled when cancels and timeouts race with them", function()
        local seed = tonumber(os.getenv("SEED")) or os.time()
        print("# SEED=" .. seed)
        math.randomseed(seed)
        for capacity = 0, 2 do
            local ch, sent, received = sync.channel(capacity), {}, {}
            local senders, receivers = {}, {}
            local next_value = 0
            for i = 1, 20 do
                senders[i] = task.spawn(function()
                    for _ = 1, 50 do
                        next_value = next_value + 1
                        local value = next_value
                        local ms = math.random(3) == 1 and math.random() or nil
                        local ok = ch:send(value, ms)
                        if ok then sent[value] = true end
                        if task.current().cancelled then return end
                        if math.random(4) == 1 then timer.sleep(0) end
                    end
                end)
                receivers[i] = task.spawn(function()
                    while true do
                        local ms = math.random(3) == 1 and math.random() or nil
                        local value, err = ch:receive(ms)
                        if value then
                            assert(not received[value], "received twice")
                            received[value] = true
                        elseif err.name ~= "ETIMEDOUT" then
                            return
                        end
                    end
                end)
            end
            for _ = 1, 60 do
                timer.sleep(math.random(2) - 1)
                local list = math.random(2) == 1 and senders or receivers
                local victim = list[math.random(2, 20)]
                victim:cancel()
            end
            for i = 1, 20 do
                if senders[i].status == "waiting" then senders[i]:join(50) end
                senders[i]:cancel()
                senders[i]:join()
            end
            ch:close()
            while true do -- what lies in the buffer still
                local value, err = ch:receive()
                if not value and err.name == "CLOSED" then break end
                received[value] = true
            end
            for i = 1, 20 do assert(receivers[i]:join()) end
            for value in pairs(sent) do assert(received[value], "lost " .. value) end
            for value in pairs(received) do assert(sent[value], "made up " .. value) end
        end
    end)
end)
