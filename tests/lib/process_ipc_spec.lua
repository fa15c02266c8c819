package.path = "tests/support/?.lua;" .. package.path

local ffi = require "ffi"
local process = require "process"
local program = require "tools"
local null = require "links.null"
local task = require "task"
local timer = require "timer"

local LINKS, raises, fails, eventually =
    program.LINKS, program.raises, program.fails, program.eventually

local folder, script, pids

local function fork(text, options)
    options = options or {}
    options.file = script .. #pids .. ".lua"
    program.write(options.file, [[
        local process, task, timer = require "process", require "task", require "timer"
    ]] .. text)
    options.ipc = true
    local pid = assert(process.fork(options))
    pids[#pids + 1] = pid
    return pid
end

-- A child that sends back what it gets, until there is no more.
local ECHO = [[
    while true do
        local value, err = process.receive()
        if err then break end
        process.send("master", value)
    end
]]

local function receive()
    local value, err, from = process.receive(20000)
    assert(not err, tostring(err))
    return value, from
end

local function ends_with(code, pid)
    assert.same({ code = code }, process.wait(pid, 20000))
end

before_each(function()
    pids = {}
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder) == 0)
    script = folder .. "/child"
end)

after_each(function()
    for _, pid in ipairs(pids) do process.stop(pid) end
    eventually("the end of the channels", function()
        return fails("EOF", process.receive(1)) -- luacheck: ignore
    end)
    os.execute("rm -rf " .. folder)
end)

describe("process.send and process.receive", function()
    it("move every value that there is", function()
        local pid = fork(ECHO)
        local shared = { 1 }
        for _, value in ipairs { 1, -0.5, 1e300, "", "text", ("\0\255"):rep(1000), true, false,
            { 1, 2, { a = { b = "c" } }, [10] = 4, [true] = false, [0.5] = "half" }, {},
            { shared, shared } } do
            assert(process.send(pid, value))
            local back, from = receive()
            assert.same(value, back)
            assert.equal(pid, from)
        end
        assert(process.send(pid, { null, 9007199254740993LL, 2ULL }))
        local back = receive()
        assert.equal(null, back[1])
        assert.is_true(back[2] == 9007199254740993LL and back[3] == 2ULL)
        assert(process.send(pid, nil))
        assert.is_nil((receive()))
    end)

    it("keep the order of a sender, and its bytes", function()
        local pid = fork(ECHO)
        local sending = task.spawn(function()
            for i = 1, 3000 do assert(process.send(pid, { i, ("x"):rep(i % 700) })) end
        end)
        for i = 1, 3000 do
            local value = receive()
            assert.is_true(value[1] == i and #value[2] == i % 700)
        end
        assert(sending:join(10000))
    end)

    it("take 16 MiB, and no more", function()
        local pid = fork(ECHO)
        local big = ("x"):rep(16777000)
        assert(process.send(pid, big))
        assert.is_true(receive() == big)
        fails("TOO_LARGE", process.send(pid, big .. big))
        fails("TOO_LARGE", process.request(pid, big .. big))
    end)

    it("let a sender wait for a receiver that does not read, and lose nothing by it", function()
        local pid = fork([[
            assert(process.receive() == "go")
            local n = 0
            repeat
                local value = process.receive()
                n = n + 1
                assert(value == "end" or #value == 100000)
            until value == "end"
            process.quit(n % 256)
        ]], { env = { LINKS_THREADS = "1" } })
        process.kill(pid, "STOP")
        assert(process.send(pid, "go"))
        local value, sent = ("x"):rep(100000), 0
        local err
        -- A busy machine may take that time for a message that there is room for.
        eventually("a full channel", function()
            local _
            _, err = task.withTimeout(50, process.send, pid, value)
            if not err then sent = sent + 1 end
            return err and sent >= 10
        end)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(sent < 100)
        local waiting = task.spawn(function() return process.send(pid, value) end)
        timer.sleep(1)
        waiting:cancel()
        local _, _, canceled = waiting:join(20000)
        assert.equal("ECANCELED", canceled.name)
        process.kill(pid, "CONT")
        assert(process.send(pid, "end"))
        ends_with((sent + 1) % 256, pid)
    end)

    it("stop reading where 1024 messages wait for nobody", function()
        -- It has sent more than that, and then nothing for so long that it is not just slow.
        local pid = fork([[
            local n, silent = 0, 0
            while n <= 1024 or silent < 2 do
                local ok = task.withTimeout(200, process.send, "master", ("x"):rep(4096))
                n, silent = n + (ok and 1 or 0), ok and 0 or silent + 1
            end
            io.open(arg[0] .. ".full", "w"):close()
            process.send("master", n)
            process.receive()
        ]])
        eventually("the channel to be full", function()
            local file = io.open(script .. "0.lua.full")
            return file and file:close()
        end)
        local n = 0
        local got
        repeat
            got = receive()
            n = n + 1
        until type(got) == "number"
        assert.is_true(n > 1024 and n < 3000, n .. " were taken")
        assert.equal(n - 1, got)
        assert(process.send(pid, "go"))
    end)

    it("wait for ms at most, a deadline, a cancel", function()
        local pid = fork(ECHO)
        fails("ETIMEDOUT", process.receive(0))
        fails("ETIMEDOUT", process.receive(5))
        assert.is_true(select(2, task.withTimeout(5, process.receive)).deadline)
        local waiting = task.spawn(function() return process.receive() end)
        task.yield()
        waiting:cancel()
        assert.equal("ECANCELED", (select(3, waiting:join(20000))).name)
        process.send(pid, "still here")
        assert.equal("still here", (receive()))
    end)

    it("say who is not there", function()
        fails("ESRCH", process.send(process.ppid, 1))
        fails("ENOTCONN", process.send("master", 1))
        fails("ENOTCONN", process.request("master", 1))
        fails("ESRCH", process.disconnect(process.pid))
        assert.is_true(process.send("*", 1))
        local pid = fork("")
        ends_with(0, pid)
        eventually("the end of the channel", function() return not process.send(pid, 1) end)
        fails("ESRCH", process.send(pid, 1))
        fails("EOF", process.receive())
        local alone = assert(process.run(LINKS, { "-e", [[
            print(select(2, require("process").receive(1)).name)]] }))
        assert.equal("ENOTCONN\n", alone.stdout)
    end)

    it("name what cannot be sent, a cycle above all", function()
        local pid = fork(ECHO)
        local cycle = { list = { {} } }
        cycle.list[1].back = cycle.list
        local deep = {}
        for _ = 1, 200 do deep = { deep } end
        for pattern, value in pairs {
            ["value is a function, which cannot be sent"] = print,
            ["value is a userdata, which"] = io.stdout,
            ["value%.a%.b%[2%] is a thread"] = { a = { b = { 1, coroutine.create(print) } } },
            ['value%["a b"%] is a function'] = { ["a b"] = print },
            ["a key of value is a table" and "value"] = { [print] = 1 },
            ["value%.list%[1%]%.back is value%.list once more: a cycle"] = cycle,
            ["is nested too deeply"] = deep,
            ["value%.x is a cdata of type ctype<int %[2%]>"] = { x = ffi.new("int[2]") },
        } do
            raises(pattern, function() process.send(pid, value) end)
            raises(pattern, function() process.request(pid, value) end)
        end
        raises("a key of value is a function", function() process.send(pid, { [print] = 1 }) end)
        raises("to must be %[string|number%]", function() process.send(nil, 1) end)
        raises('to must be a process id, "master" or "%*", not "nobody"',
            function() process.send("nobody", 1) end)
        raises("to must be %[integer%] from 1", function() process.send(0, 1) end)
        raises('to must be one process, not "%*"', function() process.request("*", 1) end)
        raises("ms must be %[number%]", function() process.request(pid, 1, "1") end)
        raises("ms must be %[number%]", function() process.receive("1") end)
        raises("options.ipc must be %[boolean%]",
            function() process.fork { file = "x", ipc = 1 } end)
    end)
end)

describe("process.request", function()
    it("is answered by the function of process.onRequest, in both directions", function()
        process.onRequest(function(value, from) return { value, from } end)
        local pid = fork([[
            process.onRequest(function(value, from) return value * 2, from end)
            local answer = assert(process.request("master", "who?"))
            process.send("master", answer)
            process.on("message", function() process.quit(5) end)
        ]])
        assert.same({ "who?", pid }, (receive()))
        assert.equal(42, process.request(pid, 21))
        local all = task.map({ 1, 2, 3, 4, 5 }, function(n) return process.request(pid, n) end)
        assert.same({ 2, 4, 6, 8, 10 }, all)
        process.onRequest(nil)
        process.send(pid, "end")
        ends_with(5, pid)
        raises("fn must be %[function|nil%]", function() process.onRequest(1) end)
    end)

    it("brings errors back by name", function()
        local pid = fork([[
            process.onRequest(function(value)
                if value == "raise" then error("it broke") end
                if value == "fail" then return require("tcp").connect(1, "127.0.0.1") end
                if value == "own" then return nil, { name = "MINE", message = "m", code = 7 } end
                if value == "bad" then return print end
                if value == "die" then os.exit(3) end
                if value == "sleep" then timer.sleep(100) return "late" end
            end)
            process.send("master", "ready")
        ]], { env = { X = "1" } })
        assert.equal("ready", (receive()))
        assert.is_nil(process.request(pid, "nothing"))
        local err = fails("ERROR", process.request(pid, "raise"))
        assert.truthy(err.message:find("child0.lua:%d+: it broke$"), err.message)
        fails("ECONNREFUSED", process.request(pid, "fail"))
        err = fails("MINE", process.request(pid, "own"))
        assert.equal("MINE: m (request)", tostring(err))
        assert.equal(7, err.code)
        err = fails("ERROR", process.request(pid, "bad"))
        assert.truthy(err.message:find("the answer cannot be sent: value is a function", 1, true))
        fails("ETIMEDOUT", process.request(pid, "sleep", 5))
        assert.is_true(select(2, task.withTimeout(5, process.request, pid, "sleep")).deadline)
        local waiting = task.spawn(function() return process.request(pid, "sleep") end)
        timer.sleep(5)
        waiting:cancel()
        assert.equal("ECANCELED", (select(3, waiting:join(20000))).name)
        assert.equal("late", process.request(pid, "sleep")) -- and no answer of those before
        fails("EPIPE", process.request(pid, "die"))
    end)

    it("is refused where nobody answers", function()
        local pid = fork(ECHO)
        fails("UNSUPPORTED", process.request(pid, 1))
    end)
end)

describe("the children of a parent", function()
    it("send to each other by the parent, who need not look", function()
        local answering = fork([[
            process.onRequest(function(value, from) return { value, from } end)
            process.send("master", "ready")
        ]])
        assert.equal("ready", (receive()))
        local asking = fork([[
            local other = tonumber(argv[1])
            local answer = assert(process.request(other, "sister?"))
            assert(answer[2] == process.pid)
            local _, err = process.request(1, "nobody")
            process.send("master", { answer[1], err.name })
        ]], { args = { tostring(answering) } })
        local value, from = receive()
        assert.same({ "sister?", "ESRCH" }, value)
        assert.equal(asking, from)
        ends_with(0, asking)
    end)

    it("get what is for all, and so does the parent", function()
        local LISTEN = [[
            process.send("master", "ready")
            local value, _, from = process.receive()
            process.send("master", { value, from })
        ]]
        fork(LISTEN)
        fork(LISTEN)
        receive()
        receive()
        local shouting = fork([[process.send("*", "all")]])
        local value, from = receive()
        assert.equal("all", value)
        assert.equal(shouting, from)
        for _ = 1, 2 do assert.same({ "all", shouting }, (receive())) end
    end)

    it("that are started again can be sent to by the id that they had first", function()
        local forever = require "links.process.forever"
        local report = forever.report
        forever.report = function() end
        local pid = fork([[process.send("master", process.receive()) process.quit(1)]],
            { forever = true })
        for i = 1, 3 do
            eventually("a restart", function() return process.send(pid, i) end)
            local value, from = receive()
            assert.equal(i, value)
            assert.equal(i == 1, from == pid)
            eventually("the end", function() return not process.send(from, "x") or nil end)
        end
        process.stop(pid)
        forever.report = report
    end)
end)

describe('process.on("message")', function()
    it("gets what waits, and then each message in order", function()
        local pid = fork([[
            for i = 1, 200 do process.send("master", i) end
            process.receive()
        ]])
        timer.sleep(50)
        local got = {}
        local function note(from, value)
            assert.equal(pid, from)
            got[#got + 1] = value
        end
        process.on("message", note)
        eventually("all messages", function() return #got == 200 end)
        process.off("message", note)
        for i = 1, 200 do assert.equal(i, got[i]) end
        process.send(pid, 1)
    end)

    it("runs so many functions at a time, and reads no more meanwhile", function()
        local ipc = require "links.process.ipc"
        local before = ipc.RUNNING_MAX
        assert.equal(1024, before)
        ipc.RUNNING_MAX = 2
        local go, begun, done = require("sync").event(), 0, 0
        local function slow()
            begun = begun + 1
            go:wait()
            done = done + 1
        end
        process.on("message", slow)
        local pid = fork("for i = 1, 6 do process.send('master', i) end process.receive()")
        eventually("two to begin", function() return begun == 2 end)
        timer.sleep(20)
        assert.equal(2, begun)
        go:set()
        eventually("all to end", function() return done == 6 end)
        process.off("message", slow)
        ipc.RUNNING_MAX = before
        process.send(pid, 1)
    end)

    it("and a writer survive that all tasks are cancelled before they begin", function()
        local pid = fork(ECHO)
        for i = 1, 3 do
            process.send(pid, i)
            for _, t in ipairs(task.list()) do
                if t.status == "ready" and t ~= task.current() then t:cancel() end
            end
        end
        process.send(pid, "last")
        local seen = {}
        repeat seen[#seen + 1] = receive() until seen[#seen] == "last"
        assert.same({ 1, 2, 3, "last" }, seen)
    end)

    it("keeps a child going until the channel ends", function()
        local pid = fork([[
            local seen = 0
            process.on("message", function(from, value) seen = seen + value end)
            process.on("disconnect", function(from, err)
                if from == "master" and not err then os.exit(seen) end
            end)
        ]])
        process.send(pid, 3)
        process.send(pid, 4)
        fails("ETIMEDOUT", process.wait(pid, 20))
        assert.is_true(process.disconnect(pid))
        fails("ESRCH", process.send(pid, 1))
        ends_with(7, pid)
    end)
end)

describe("a way for messages", function()
    it("keeps nobody going by itself, and does not hold an end up", function()
        -- It does not take the whole second that what is left has at the end of a process.
        program.within(900, function()
            local pid = fork([[process.send("master", "bye")]])
            assert.equal("bye", (receive()))
            local begun = timer.now()
            ends_with(0, pid)
            pid = fork([[process.send("master", "quits") process.quit(4)]])
            assert.equal("quits", (receive()))
            ends_with(4, pid)
            return begun
        end)
    end)

    it("brings all that was sent before the end", function()
        local pid = fork([[
            for i = 1, 100 do process.send("master", ("x"):rep(10000)) end
            process.quit(1)
        ]])
        for _ = 1, 100 do assert.equal(10000, #receive()) end
        ends_with(1, pid)
    end)

    it("is inherited by nobody else", function()
        fork([[
            assert(process.env.LINKS_IPC == nil)
            local list = process.run("ls", { "/proc/self/fd" })
            local fds = io.popen("ls /proc/self/fd"):read("*a")
            process.send("master", { list.stdout, fds })
        ]])
        local value = receive()
        for _, fds in ipairs(value) do
            -- 3 is the folder that ls reads.
            assert.equal("0\n1\n2\n3\n", fds)
        end
    end)

    it("is there only for who has asked, and not by a variable alone", function()
        local result = assert(process.run(LINKS, { "-e", [[
            print(select(2, require("process").send("master", 1)).name)]] },
            { env = { LINKS_IPC = "3" } }))
        assert.equal("ENOTCONN\n", result.stdout)
    end)

    it("ends with PROTOCOL where the other side speaks something else", function()
        local seen
        local function note(from, err) seen = { from, err } end
        process.on("disconnect", note)
        for _, bytes in ipairs { "GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
            "\\255\\255\\255\\255" .. ("\\0"):rep(12) .. "\\1\\1\\0\\0", -- 4 GiB
            "\\1\\0\\0\\0" .. ("\\0"):rep(12) .. "\\1\\1\\0\\0\\255", -- no value
            "\\1\\0\\0\\0" .. ("\\0"):rep(12) .. "\\9\\1\\0\\0\\0" } do -- no such kind
            seen = nil
            local pid = fork(([[
                require("links.core").processIpc.parent.socket:write("%s")
                process.receive()
            ]]):format(bytes))
            eventually("the end of the channel", function() return seen end)
            assert.equal(pid, seen[1])
            assert.equal("PROTOCOL", seen[2].name)
        end
        process.off("disconnect", note)
    end)
end)
