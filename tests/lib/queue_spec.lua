-- shared.queue: queues between processes.
package.path = "tests/support/?.lua;" .. package.path
local program = require "program"
local process = require "process"
local shared = require "shared"
local task = require "task"
local timer = require "timer"

local serial = 0

local function new(size)
    serial = serial + 1
    local name = "queue-spec-" .. process.pid .. "-" .. serial
    return assert(shared.queue(name, size or 2 ^ 17)), name
end

local function fails(name, value, err)
    assert.is_nil(value)
    assert.equal(name, err and err.name)
    return err.message
end

-- Another process that has the queues of these names as `a` and `b`.
local function another(code, a, b)
    local head = ([[
        local shared = require "shared"
        local a = assert(shared.queue(%q, 2 ^ 17))
        local b = assert(shared.queue(%q, 2 ^ 17))
    ]]):format(a, b or a)
    return program.start { "-e", head .. code }
end

-- It says that it has begun once it waits.
local WAITS = [[
    local waits = require("task").spawn(function() print((a:pop(60000))) end)
    require("task").yield()
    print("begun")
    io.stdout:flush()
    waits:join()
]]

describe("shared.queue", function()
    it("gives the same queue for the same name, here and in another process", function()
        local queue, name = new()
        assert.equal(queue, shared.queue(name, 2 ^ 17))
        queue:push({ "from here" })
        local result = another('print(a:pop()[1]) a:push("from there")', name):wait()
        assert.equal("from here\n", result.out .. result.err)
        assert.equal("from there", queue:pop(0))
    end)

    it("is no dictionary of that name", function()
        local _, name = new()
        local dict = assert(shared.open(name, 2 ^ 18))
        assert.equal(0, dict:stats().items)
    end)

    it("tells another size", function()
        local _, name = new()
        fails("EXISTS", shared.queue(name, 2 ^ 18))
        local result = program.eval(([[print(require("shared").queue(%q, 2 ^ 18))]]):format(name))
        assert.matches("^nil\tEXISTS: the queue exists with 131072 bytes, not 262144", result.out)
    end)

    it("is gone with the last process", function()
        local name = "queue-spec-gone-" .. process.pid
        local code = [[
            local queue = assert(require("shared").queue(%q, %d))
            print(queue:stats().items)
            queue:push(1)
        ]]
        assert.equal("0\n", program.eval(code:format(name, 65536)).out)
        assert.equal("0\n", program.eval(code:format(name, 131072)).out)
    end)

    it("says that there is not so much room", function()
        local _, err = shared.queue("queue-spec-too-large", 2 ^ 46)
        assert.is_true(err.name == "ENOSPC" or err.name == "ENOMEM" or err.name == "EFBIG")
    end)

    it("raises what is wrong with its arguments", function()
        local queue = new()
        for _, case in ipairs {
            { "name must be [string]", shared.queue, 5, 65536 },
            { "name must be 1 to 64 letters", shared.queue, "a/b", 65536 },
            { "name must be 1 to 64 letters", shared.queue, ("x"):rep(65), 65536 },
            { "size must be [integer]", shared.queue, "x", 65535 },
            { "size must be [integer]", shared.queue, "x" },
            { "value must not be nil", queue.push, queue },
            { "ms must be [number]", queue.push, queue, 1, -1 },
            { "ms must be [number]", queue.pop, queue, "1" },
        } do
            local ok, message = pcall(unpack(case, 2))
            assert.is_false(ok)
            assert.truthy(message:find(case[1], 1, true), message)
        end
    end)
end)

describe("a shared queue", function()
    it("gives back what was pushed, in its order and as it was", function()
        local queue = new()
        local all = {
            "", "text", ("x"):rep(5000), "\0\255", 0, -1.5, 1 / 0, true, false,
            9223372036854775807LL, 18446744073709551615ULL,
        }
        for _, value in ipairs(all) do assert.is_true(queue:push(value)) end
        queue:push({ 1, "a", { b = true, c = 5LL } })
        for _, value in ipairs(all) do
            local got = queue:pop(0)
            assert.equal(value, got)
            assert.equal(type(value), type(got))
        end
        assert.same({ 1, "a", { b = true, c = 5LL } }, queue:pop(0))
        fails("ETIMEDOUT", queue:pop(0))
    end)

    it("is full, and says of what it cannot take why", function()
        local queue = new()
        assert.equal("a function cannot be kept", fails("TYPE", queue:push(print)))
        local loop = {}
        loop[1] = loop
        fails("TYPE", queue:push(loop))
        fails("TOO_LARGE", queue:push(("x"):rep(2 ^ 17)))
        local capacity = queue:stats().capacity
        fails("TOO_LARGE", queue:push(("x"):rep(capacity - 7)))
        assert.is_true(queue:push(("x"):rep(capacity - 8)))
        fails("FULL", queue:push("", 0))
        fails("FULL", queue:push("", 5))
        assert.equal(capacity - 8, #queue:pop())
        local count = 0
        while queue:push(("x"):rep(1000), 0) do count = count + 1 end
        assert.equal(math.floor(capacity / 1008), count)
        assert.equal(count, queue:flush())
        assert.same({ items = 0, free = capacity, capacity = capacity, pushed = count + 1,
            recoveries = 0 }, queue:stats())
    end)

    it("wakes who waits for an item, in the order of coming", function()
        local queue = new()
        local got, tasks = {}, {}
        for i = 1, 3 do
            tasks[i] = task.spawn(function()
                local item = queue:pop(10000)
                got[#got + 1] = i .. item
            end)
        end
        task.yield()
        for _, item in ipairs { "a", "b", "c" } do queue:push(item) end
        for i = 1, 3 do assert(tasks[i]:join(10000)) end
        assert.same({ "1a", "2b", "3c" }, got)
    end)

    it("wakes who waits for room, each as soon as there is enough for him", function()
        local queue = new()
        for _ = 1, 2 do queue:push(("x"):rep(50000)) end
        local done = {}
        local large = task.spawn(function()
            assert(queue:push(("y"):rep(90000)))
            done[#done + 1] = "large"
        end)
        local small = task.spawn(function()
            assert(queue:push(("z"):rep(40000)))
            done[#done + 1] = "small"
        end)
        task.yield()
        assert.equal("x", queue:pop():sub(1, 1))
        assert(small:join(10000))
        assert.same({ "small" }, done)
        assert.equal("x", queue:pop():sub(1, 1))
        assert.equal("z", queue:pop(0):sub(1, 1))
        assert(large:join(10000))
        assert.equal("y", queue:pop(10000):sub(1, 1))
    end)

    it("leaves what is there for others when a task is cancelled or its time is up", function()
        local queue = new()
        local one = task.spawn(function() return queue:pop() end)
        local two = task.spawn(function() return queue:pop(1) end)
        local three = task.spawn(function() return queue:pop(10000) end)
        task.yield()
        one:cancel()
        fails("ECANCELED", select(2, one:join()))
        fails("ETIMEDOUT", select(2, two:join()))
        queue:push("late")
        assert.equal("late", select(2, three:join()))
        local _, err = task.withTimeout(1, queue.pop, queue)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(err.deadline)
    end)

    it("does not keep an item for a task that was woken and cancelled at once", function()
        local queue = new()
        local one = task.spawn(function() return queue:pop() end)
        local two = task.spawn(function() return queue:pop(10000) end)
        task.yield()
        queue:push("item")
        one:cancel()
        local _, first = one:join()
        if first then two:cancel() end
        local _, second = two:join()
        assert.equal("item", first or second)
    end)

    it("says that no descriptor is left to wait with", function()
        local _, name = new()
        local result = another([[
            require("system").limits("nofile", 20)
            local files = {}
            repeat
                local file = io.open("/dev/null")
                files[#files + 1] = file
            until not file
            print(select(2, a:pop(1000)).name, select(2, a:pop(0)).name)
        ]], name):wait()
        assert.equal("EMFILE\tETIMEDOUT\n", result.out .. result.err)
    end)

    it("goes to and fro between processes without waiting", function()
        local there, name = new()
        local back, other_name = new()
        local other = another([[
            while true do
                local n = a:pop(60000)
                if n == "end" then break end
                b:push(n + 1)
            end
        ]], name, other_name)
        -- Who was not woken would look once in a second: this would take more than a minute.
        local begun = timer.now()
        for i = 1, 100 do
            there:push(i)
            assert.equal(i + 1, back:pop(60000))
        end
        assert.is_true(timer.now() - begun < 50000)
        there:push("end")
        assert.equal(0, other:wait().code)
    end)

    it("wakes who waits for room in another process", function()
        local queue, name = new()
        while queue:push(("x"):rep(10000), 0) do end
        local other = another([[
            local waits = require("task").spawn(function() return a:push("mine") end)
            require("task").yield()
            print("begun")
            io.stdout:flush()
            waits:join()
            print("done")
        ]], name)
        other:expect("begun")
        local item
        repeat item = assert(queue:pop(30000)) until item == "mine"
        assert.equal(0, other:wait().code)
        assert.equal("begun\ndone\n", other.out)
    end)

    it("passes by a process that was killed while it waited", function()
        local queue, name = new()
        local dead = another(WAITS, name)
        dead:expect("begun")
        dead:kill("KILL")
        dead:wait()
        local alive = another(WAITS, name)
        alive:expect("begun")
        queue:push("for who is alive")
        assert.equal("begun\nfor who is alive\n", alive:wait().out)
    end)

    it("has each item once when processes are killed while they push and pop", function()
        local work, name = new()
        local done, other_name = new()
        local code = [[
            print("begun")
            io.stdout:flush()
            while true do
                local n = a:pop(60000)
                b:push(n)
            end
        ]]
        local sent, seen, count = 0, {}, 0
        local function collect(ms)
            local n = done:pop(ms)
            if not n then return false end
            assert.is_nil(seen[n])
            seen[n] = true
            count = count + 1
            return true
        end
        for _ = 1, 4 do
            local victim, other = another(code, name, other_name), another(code, name, other_name)
            victim:expect("begun")
            other:expect("begun")
            local goal = count + 300
            while count < goal do
                for _ = 1, 20 do
                    sent = sent + 1
                    work:push(sent)
                end
                collect(10000)
                while collect(0) do end
                if count >= goal - 150 then victim:kill("KILL") end
            end
            victim:wait()
            -- The other goes on, and all that the victim did not have in its hands comes.
            while work:stats().items > 0 do collect(10000) end
            while collect(100) do end
            other:kill("KILL")
            other:wait()
            while collect(0) do end
            assert.equal(0, work:stats().items)
        end
        assert.is_true(sent - count <= 8, ("%d of %d have come"):format(count, sent))
    end)
end)
