package.path = "tests/support/?.lua;" .. package.path
local program = require "program"
local cache = require "cache"
local limit = require "limit"
local lock = require "lock"
local shared = require "shared"
local task = require "task"
local timer = require "timer"
local tools = require "tools"

local serial = 0

local function dictionary(evict)
    serial = serial + 1
    local name = "limit-spec-" .. require("process").pid .. "-" .. serial
    return assert(shared.open(name, 2 ^ 20, { evict = evict })), name
end

local function fails(name, value, err)
    assert.is_nil(value)
    assert.equal(name, err and err.name)
end

-- Another process with the same dictionary in `dict`; its output is checked to be `expected`.
local function other_process(name, code, evict)
    return program.start { "-e", ([[
        io.stdout:setvbuf "no"
        local dict = assert(require("shared").open(%q, 2 ^ 20, { evict = %q }))
        local lock, limit, timer = require "lock", require "limit", require "timer"
    ]]):format(name, evict or "lru") .. code }
end

describe("limit.rate", function()
    it("lets a burst through, and then one at a time", function()
        local rate = limit.rate("a", { rate = 100, burst = 3, dict = dictionary() })
        local n, state = 0, nil
        tools.steadily(10, function()
            n = n + 1
            local ok
            for left = 2, 0, -1 do
                ok, state = rate:check("k" .. n)
                assert.is_true(ok)
                assert.equal(left, state.remaining)
                assert.equal(0, state.retryAfter)
            end
            ok, state = rate:check("k" .. n)
            assert.is_false(ok)
            assert.is_true(state.retryAfter > 0 and state.retryAfter <= 10)
            assert.is_true(state.reset > 20 and state.reset <= 30)
        end)
        assert.is_true((rate:check("another")))
        timer.sleep(state.retryAfter + 1)
        assert.is_true((rate:check("k" .. n)))
    end)

    it("takes a cost, and 0 only asks", function()
        local rate = limit.rate("b", { rate = 1, per = 60000, burst = 10, dict = dictionary() })
        assert.is_true((rate:check("k", 7)))
        local ok, state = rate:check("k", 4)
        assert.is_false(ok)
        assert.equal(3, state.remaining)
        assert.is_true((rate:check("k", 3)))
        assert.equal(0, select(2, rate:check("k", 0)).remaining)
        ok, state = rate:check("j", 11)
        assert.same({ false, math.huge }, { ok, state.retryAfter })
        local window = limit.rate("w", {
            rate = 10, per = 60000, algorithm = "window", dict = rate.dict,
        })
        ok, state = window:check("j", 11)
        assert.same({ false, math.huge }, { ok, state.retryAfter })
        assert.is_true((window:check("j", 10)))
    end)

    it("counts for all processes together", function()
        local dict, name = dictionary()
        local rate = limit.rate("c", { rate = 1, per = 60000, burst = 3, dict = dict })
        rate:check("k")
        local result = other_process(name, [[
            local rate = limit.rate("c", { rate = 1, per = 60000, burst = 3, dict = dict })
            print((rate:check("k")), (rate:check("k")), (rate:check("k")))]]):wait()
        assert.equal("true\ttrue\tfalse\n", result.out)
        assert.is_false((rate:check("k")))
    end)

    it("counts by windows", function()
        local rate = limit.rate("d", { rate = 5, per = 200, algorithm = "window",
            dict = dictionary() })
        local allowed, begun = 0, timer.now()
        while timer.now() - begun < 1000 or allowed < 15 do
            local ok, state = rate:check("k")
            if ok then
                allowed = allowed + 1
            else
                assert.is_true(state.retryAfter > 0 and state.retryAfter <= 400)
                assert(timer.now() - begun < 20000, "not 15 in 20 seconds")
                timer.sleep(5)
            end
        end
        local windows = math.ceil((timer.now() - begun) / 200) + 1
        assert.is_true(allowed >= 15 and allowed <= 5 * windows, allowed .. " went through")
        assert.is_false((rate:check("other", 6)))
    end)

    it("raises and refuses", function()
        local dict = dictionary()
        for _, options in ipairs {
            { rate = 0 }, { per = -1 }, { burst = 0 / 0 }, { algorithm = "leaky" },
            { algorithm = "window", burst = 1 }, { rat = 1 },
        } do
            assert.has_error(function() limit.rate("e", options) end)
        end
        assert.has_error(function() limit.rate("") end)
        local rate = limit.rate("e", { dict = dict })
        assert.has_error(function() rate:check(5) end)
        assert.has_error(function() rate:check("k", -1) end)
        fails("TOO_LARGE", rate:check(("k"):rep(65001)))
        dict:set("r:e:k", "text")
        fails("TYPE", rate:check("k"))
    end)
end)

describe("limit.concurrency", function()
    it("lets so many in, in all processes together, until one leaves or dies", function()
        local dict, name = dictionary()
        local most = limit.concurrency("a", 2, { dict = dict })
        assert.is_true(most:enter("k"))
        local other = other_process(name, [[
            local most = limit.concurrency("a", 2, { dict = dict })
            print(most:enter("k"), select(2, most:enter("k")).name)
            timer.sleep(100000)]])
        other:expect("true\tFULL\n")
        fails("FULL", most:enter("k"))
        assert.is_true(most:enter("other key"))
        other:kill("KILL")
        other:wait()
        assert.is_true(most:enter("k"))
        fails("FULL", most:enter("k"))
        most:leave("k")
        assert.is_true(most:enter("k"))
        most:leave("k")
        most:leave("k")
        most:leave("k")
        assert.is_nil(dict:get("c:a:k"))
    end)
end)

describe("lock.acquire", function()
    -- Twenty tasks that want it: the order in which they had it, and how long that took.
    local function one_after_the_other()
        local dict = dictionary("none")
        local order, inside, tasks, begun = {}, 0, {}, timer.now()
        for i = 1, 20 do
            tasks[i] = task.spawn(function()
                local held = assert(lock.acquire("k", { wait = 20000, dict = dict }))
                inside = inside + 1
                assert(inside == 1)
                order[#order + 1] = i
                timer.sleep(1)
                inside = inside - 1
                assert(held:release())
            end)
        end
        for i = 1, 20 do assert(tasks[i]:join()) end
        assert.is_nil(dict:get("l:k"))
        assert.is_true(dict:len("w:k") <= 20)
        return table.concat(order, " "), timer.now() - begun
    end

    it("lets one after the other have it, in the order of coming", function()
        local in_order = {}
        for i = 1, 20 do in_order[i] = i end
        in_order = table.concat(in_order, " ")
        -- Who has waited for 100 ms looks by himself, and may be faster than who is woken.
        local order, took
        for _ = 1, 100 do
            order, took = one_after_the_other()
            if order == in_order or took < 100 then break end
        end
        assert.equal(in_order, order)
    end)

    it("keeps other processes out, and wakes them at once", function()
        local dict, name = dictionary("none")
        local held = assert(lock.acquire("k", { dict = dict }))
        local other = other_process(name, [[
            print(select(2, lock.acquire("k", { wait = 0, dict = dict })).name)
            print(select(2, lock.acquire("k", { wait = 20, dict = dict })).name)
            local held = lock.acquire("k", { dict = dict })
            print("mine")
            timer.sleep(30)
            print(held:release())]], "none")
        other:expect("LOCKED\nLOCKED\n")
        timer.sleep(20)
        assert(held:release())
        other:expect("mine")
        held = assert(lock.acquire("k", { dict = dict }))
        assert.equal(0, other:wait().code)
        held:release()
    end)

    it("is free when its owner dies, or its time is up", function()
        local dict, name = dictionary("none")
        local other = other_process(name, [[
            lock.acquire("k", { dict = dict })
            print "ready"
            timer.sleep(100000)]], "none")
        other:expect("ready")
        fails("LOCKED", lock.acquire("k", { wait = 0, dict = dict }))
        other:kill("KILL")
        other:wait()
        local held = assert(lock.acquire("k", { ttl = 10, dict = dict }))
        local again = assert(lock.acquire("k", { dict = dict }))
        fails("NOT_FOUND", held:release())
        fails("NOT_FOUND", held:extend(1000))
        assert.is_true(again:extend(60000))
        assert.is_true(again:release())
        fails("NOT_FOUND", again:release())
    end)

    local function leaves_the_queue()
        local dict = dictionary("none")
        local held = assert(lock.acquire("k", { dict = dict }))
        local waiter = task.spawn(function() return lock.acquire("k", { dict = dict }) end)
        local next_one = task.spawn(function() return lock.acquire("k", { dict = dict }) end)
        timer.sleep(1)
        waiter:cancel()
        local _, _, err = waiter:join()
        assert.equal("ECANCELED", err.name)
        local _, late = task.withTimeout(5, lock.acquire, "k", { dict = dict })
        assert.equal("ETIMEDOUT", late.name)
        held:release()
        local begun = timer.now()
        local _, mine = next_one:join()
        -- Woken: it would look by itself after 100 ms.
        assert.is_true(timer.now() - begun < 50)
        assert(mine:release())
    end

    it("leaves the queue when its task is cancelled or its deadline comes", function()
        tools.steadily(40, leaves_the_queue)
    end)

    it("does not remember without end who has given up waiting", function()
        local dict = dictionary("none")
        local held = assert(lock.acquire("k", { dict = dict }))
        local tasks = {}
        for i = 1, 400 do tasks[i] = task.spawn(lock.acquire, "k", { dict = dict, wait = 1 }) end
        for _, one in ipairs(tasks) do
            assert.equal("LOCKED", (select(3, one:join())).name)
        end
        assert.is_true(dict:len("w:k") <= 256)
        held:release()
        assert(lock.acquire("k", { dict = dict }))
    end)

    it("runs a function with the lock and gives it back when that fails", function()
        local dict = dictionary("none")
        local o = { dict = dict, wait = 0 }
        assert.equal(5, lock.with("k", function() return 5 end, o))
        assert.has_error(function() lock.with("k", function() error "mine" end, o) end)
        local held = assert(lock.acquire("k", o))
        fails("LOCKED", lock.with("k", function() end, o))
        held:release()
    end)

    it("raises and refuses", function()
        assert.has_error(function() lock.acquire(1) end)
        assert.has_error(function() lock.acquire("k", { ttl = 0 }) end)
        assert.has_error(function() lock.acquire("k", { wait = -1 }) end)
        fails("TOO_LARGE", lock.acquire(("k"):rep(1025)))
    end)
end)

describe("cache.lru", function()
    it("forgets what was not used for longest", function()
        local c = cache.lru(3)
        for i = 1, 3 do c:set(i, i * 10) end
        assert.equal(10, c:get(1))
        c:set(4, 40)
        assert.is_nil(c:get(2))
        assert.same({ 10, 30, 40 }, { c:get(1), c:get(3), c:get(4) })
        c:set(1, nil)
        assert.is_nil(c:get(1))
        assert.is_true(c:delete(3))
        assert.is_false(c:delete(3))
        for i = 1, 1000 do c:set(i % 7, i) end
        assert.same({ 1000, 999, 998 }, { c:get(1000 % 7), c:get(999 % 7), c:get(998 % 7) })
        assert.is_nil(c:get(997 % 7))
    end)

    it("forgets what has expired", function()
        local c = cache.lru(3, { ttl = 5 })
        c:set("a", 1)
        c:set("b", 2, 0)
        assert.equal(1, c:get("a"))
        timer.sleep(7)
        assert.is_nil(c:get("a"))
        assert.equal(2, c:get("b"))
        assert.has_error(function() c:set(nil, 1) end)
        assert.has_error(function() cache.lru(0) end)
    end)
end)

describe("cache.new", function()
    local function new(options)
        options = options or {}
        options.dict = options.dict or dictionary()
        return assert(cache.new("spec", options)), options.dict
    end

    it("looks here, then in shared memory, then asks the loader", function()
        local a, dict = new()
        local b = new { dict = dict }
        local calls = 0
        local function load(key)
            calls = calls + 1
            return { key }
        end
        local value, err, level = a:get("k", load)
        assert.same({ { "k" }, 3 }, { value, level })
        assert.is_nil(err)
        assert.equal(2, select(3, b:get("k", load)))
        assert.equal(1, select(3, b:get("k", load)))
        assert.equal(1, calls)
        assert.is_nil(a:get("other"))
        assert.same({ { "k" }, 1 }, { a:peek("k") })
    end)

    it("calls the loader once for all tasks that ask at the same time", function()
        local c = new()
        local calls, tasks = 0, {}
        for i = 1, 20 do
            tasks[i] = task.spawn(c.get, c, "k", function()
                calls = calls + 1
                timer.sleep(5)
                return "v"
            end)
        end
        for i = 1, 20 do assert.equal("v", select(2, tasks[i]:join())) end
        assert.equal(1, calls)
    end)

    it("remembers that there is none, for its own time", function()
        local c = new { negativeTtl = 20 }
        local calls = 0
        local function load()
            calls = calls + 1
            return nil
        end
        assert.same({ nil, nil, 3 }, { c:get("k", load) })
        assert.same({ nil, nil, 1 }, { c:get("k", load) })
        assert.same({ nil, 1 }, { c:peek("k") })
        timer.sleep(25)
        c:get("k", load)
        assert.equal(2, calls)
    end)

    it("tells the other processes what has changed", function()
        local a, dict = new()
        local b = new { dict = dict }
        a:set("k", 1)
        assert.equal(1, b:get("k"))
        a:set("k", 2)
        assert.equal(2, b:get("k"))
        a:delete("k")
        assert.is_nil(b:get("k"))
        a:set("k", 3)
        b:get("k")
        a:purge()
        assert.is_nil(b:get("k"))
        assert.is_nil(a:get("k"))
    end)

    it("returns what the loader raises and fails with, and what is stale instead", function()
        local c = new { ttl = 5, staleTtl = 10000 }
        local failure = { name = "EMINE" }
        local function fail() return nil, failure end
        assert.same({ nil, failure, 3 }, { c:get("k", fail) })
        assert.has_error(function() c:get("k", function() error("mine", 0) end) end, "mine")
        assert.equal(1, c:get("k", function() return 1 end))
        timer.sleep(8)
        assert.same({ 1, failure, 4 }, { c:get("k", fail) })
        assert.equal(2, c:get("k", function() return 2 end))
    end)

    it("takes times of life from the loader and from the call", function()
        local c = new { ttl = 10000 }
        c:get("a", function() return 1, nil, 5 end)
        c:get("b", function() return 1 end, { ttl = 5 })
        timer.sleep(8)
        assert.is_nil(c:peek("a"))
        assert.is_nil(c:peek("b"))
    end)

    it("says what it cannot share, and gives it all the same", function()
        local c = new()
        local value, err, level = c:get("k", function() return print end)
        assert.equal(print, value)
        assert.equal("TYPE", err.name)
        assert.equal(3, level)
        fails("TOO_LARGE", c:get(("k"):rep(901)))
        fails("TYPE", c:set("k", print))
        assert.has_error(function() c:get(1) end)
        assert.has_error(function() c:get("k", 5) end)
    end)

    it("does not keep what was loaded while the key was written or forgotten", function()
        local a, dict = new()
        local b = new { dict = dict }
        local function load_while(change)
            return a:get("k", function()
                change()
                return "old"
            end)
        end
        assert.equal("old", load_while(function() b:delete("k") end))
        assert.is_nil(a:peek("k"))
        assert.is_nil(b:peek("k"))
        assert.equal("old", load_while(function() b:set("k", "new") end))
        assert.not_equal("old", a:peek("k"))
        assert.not_equal("old", b:peek("k"))
        b:delete("k")
        assert.equal("old", load_while(function() b:delete("another") end))
        assert.equal("old", b:peek("k"))
    end)

    it("keeps nothing that another process has overwritten at the same moment", function()
        local a, dict = new()
        local b = new { dict = dict }
        -- Another process writes between what `a` reads of shared memory and what it notes of it.
        local moment
        local watched = setmetatable({
            get = function(_, name)
                local value = dict:get(name)
                if name:find("^k:") and moment then moment = moment() end
                return value
            end,
        }, { __index = function(_, name)
            return function(_, ...) return dict[name](dict, ...) end
        end })
        a.dict = watched
        b:set("k", 1)
        moment = function() b:set("k", 2) end
        assert.equal(1, a:get("k"))
        assert.equal(2, a:get("k"))
    end)

    it("does not take what was evicted and begins anew for what it was", function()
        local a, dict = new()
        local b = new { dict = dict }
        a:set("k", 1)
        assert.equal(1, b:get("k"))
        for _, key in ipairs(dict:keys()) do
            if key:find("^g:") or key:find("^e:") then dict:delete(key) end
        end
        assert.is_nil(b:peek("k"))
        a:set("k", 2)
        assert.equal(2, b:get("k"))
    end)

    it("gives what was loaded for one task to the others, but not that task's end", function()
        local c = new()
        local calls = 0
        local first = task.spawn(function()
            return c:get("k", function()
                calls = calls + 1
                return nil, select(2, timer.sleep(100000))
            end)
        end)
        local others = {}
        for i = 1, 5 do
            others[i] = task.spawn(function()
                return c:get("k", function()
                    calls = calls + 1
                    timer.sleep(1)
                    return print -- which no other process can be given
                end)
            end)
        end
        task.yield()
        first:cancel()
        assert.equal("ECANCELED", (select(3, first:join())).name)
        for i = 1, 5 do assert.equal(print, (select(2, others[i]:join()))) end
        assert.equal(2, calls)
    end)

    it("waits for another process, and for another task, no longer than it is to", function()
        local a, dict = new { lockTimeout = 100000 }
        local b = new { dict = dict, lockTimeout = 20 }
        local go_on, begun = task.spawn(timer.sleep, 100000), false
        local slow = task.spawn(function()
            return a:get("k", function()
                begun = true
                go_on:join()
                return "late"
            end)
        end)
        while not begun do task.yield() end
        a.options.lockTimeout = 20 -- its lock lives on
        for _, c in ipairs { a, b } do
            local value, err, level = c:get("k", function() return "never" end)
            assert.same({ nil, "LOCKED", 3 }, { value, err.name, level })
        end
        go_on:cancel()
        assert.equal("late", (select(2, slow:join())))
    end)

    it("tries a loader that fails once for all who wait for it", function()
        local a, dict = new()
        local b = new { dict = dict }
        local calls, tasks = 0, {}
        local failure = require("links.errors").new(111, "connect")
        for i = 1, 20 do
            tasks[i] = task.spawn(function()
                local c = i % 2 == 0 and a or b
                local value, err, level = c:get("k", function()
                    calls = calls + 1
                    timer.sleep(20)
                    return nil, failure
                end)
                assert(value == nil and level == 3)
                return err
            end)
        end
        for i = 1, 20 do
            local err = select(2, tasks[i]:join())
            assert.equal("ECONNREFUSED", err.name)
            assert.equal(tostring(failure), tostring(err))
        end
        assert.equal(1, calls)
        assert.equal("yes", a:get("k", function() return "yes" end))
    end)
end)
