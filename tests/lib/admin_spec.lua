package.path = "tests/support/?.lua;" .. package.path
local admin = require "admin"
local fs = require "fs"
local http = require "http"
local json = require "json"
local process = require "process"
local task = require "task"
local timer = require "timer"
local unix = require "unix"
local program = require "tools"

local eventually = program.eventually

local path, server

before_each(function()
    path = os.tmpname()
    os.remove(path)
    server = assert(admin.listen(path))
end)

after_each(function() server:close() end)

local function connect()
    local socket = assert(unix.connect(path))
    socket:setTimeout(20000)
    return socket
end

-- The answer to a command; or nil and the message.
local function ask_on(socket, command)
    assert(socket:write(command .. "\n"))
    local line = assert(socket:readline())
    local n = line:match("^ok (%d+)$")
    if not n then return nil, assert(line:match("^error (.+)$")) end
    return n == "0" and "" or assert(socket:read(tonumber(n)))
end

local function ask(command)
    local socket = connect()
    local text, wrong = ask_on(socket, command)
    socket:close()
    return text, wrong
end

local function ask_json(command)
    local list = assert(json.decode(assert(ask("json " .. command))))
    assert.equal(1, #list)
    assert.is_nil(list[1].wrong)
    return list[1].value
end

describe("admin.listen", function()
    it("makes a socket that only its user may use, and removes it", function()
        local about = assert(fs.stat(path))
        assert.equal("socket", about.type)
        assert.equal(tonumber("600", 8), about.mode % 512)
        assert.is_true(server:close())
        assert.is_true(server:close())
        assert.is_nil(fs.lstat(path))
        server = assert(admin.listen("unix:" .. path, { mode = tonumber("660", 8) }))
        assert.equal(tonumber("660", 8), assert(fs.stat(path)).mode % 512)
    end)

    it("is the same socket for the same path, and EADDRINUSE where somebody else listens",
        function()
            assert.equal(server, admin.listen(path))
            local other = os.tmpname()
            os.remove(other)
            local taken = assert(unix.createServer(other, function() end))
            local ok, err = admin.listen(other)
            assert.is_nil(ok)
            assert.equal("EADDRINUSE", err.name)
            taken:close()
            ok, err = admin.listen("/no/such/folder/x")
            assert.is_nil(ok)
            assert.equal("ENOENT", err.name)
        end)

    it("does not keep the process going, nor does a client", function()
        local result = assert(process.run(program.LINKS, { "-e", [[
            local path = os.tmpname()
            os.remove(path)
            assert(require("admin").listen(path))
            local client = assert(require("unix").connect(path))
            client:write("tasks\n")
            print(client:readline():match("^ok"))
        ]] }, { timeout = 20000 }))
        assert.equal("ok\n", result.stdout)
        assert.equal(0, result.code)
    end)

    it("wants a path and options that are known", function()
        assert.error_matches(function() admin.listen(5) end, "path must be %[string|nil%]")
        assert.error_matches(function() admin.listen(path, { mod = 1 }) end, 'did you mean "mode"')
        assert.error_matches(function() admin.listen(path, { mode = 512 }) end, "options.mode")
    end)
end)

describe("the admin socket", function()
    it("tells the tasks, what each waits for, and its stack", function()
        local t = task.spawn(function() timer.sleep(60000) end)
        t.name = "sleeper"
        timer.sleep(1)
        local function find(value)
            for _, one in ipairs(value.tasks) do if one.id == t.id then return one end end
        end
        local found = find(ask_json("tasks"))
        assert.equal("sleeper", found.name)
        assert.equal("waiting", found.status)
        assert.equal("sleep", found.waitsFor)
        assert.is_true(found.ms >= 0)
        assert.is_nil(found.stack)
        assert.matches("admin_spec.lua:%d+: in function", find(ask_json("stacks")).stack)
        assert.equal(1, #ask_json("stacks " .. t.id).tasks)
        assert.matches("task " .. t.id .. " %(sleeper%): waiting for sleep, .-\n.*admin_spec.lua",
            assert(ask("stacks " .. t.id)))
        assert.matches("\n *" .. t.id .. " +sleeper +waiting +sleep ", assert(ask("tasks")))
        t:cancel()
        t:join()
        assert.equal("no such task\n", ask("stacks " .. t.id))
        assert.equal("not a task's number: x", select(2, ask("stacks x")))
    end)

    it("tells the servers, and what they have done", function()
        local web = assert(http.createServer(0, function() return "hello" end,
            { host = "127.0.0.1" }))
        local port = web:address().port
        assert(http.get("http://127.0.0.1:" .. port .. "/"))
        local found
        for _, one in ipairs(ask_json("conns").servers) do
            if one.server == "http server: 127.0.0.1:" .. port then found = one end
        end
        assert.equal(1, found.requests)
        assert.equal(1, found.accepted)
        assert.matches("\nhttp server: 127.0.0.1:" .. port .. " ", assert(ask("conns")))
        web:close()
    end)

    it("tells pools, timers, shared dictionaries, memory and how the process does", function()
        local pool = require("tcp").createPool(1, "127.0.0.1")
        local dict = assert(require("shared").open("admin-spec-" .. process.pid, 65536))
        assert.matches("tcp", assert(ask("pools")))
        local name
        for _, one in ipairs(ask_json("dicts").dicts) do
            if one.name == "admin-spec-" .. process.pid then name = one end
        end
        assert.equal(0, name.items)
        assert.is_true(ask_json("timers").handles >= 0)
        assert.is_true(ask_json("heap").rss > 1e6)
        local stats = ask_json("stats")
        assert.equal(process.pid, stats.pid)
        assert.is_true(stats.tasks >= 1 and stats.turns > 0 and #stats.lag > 10)
        assert.matches("\npid " .. process.pid .. "\n", assert(ask("stats")))
        assert.is_true(dict:set("x", 1))
        pool:close()
    end)

    it("collects garbage", function()
        local kept = setmetatable({ {} }, { __mode = "v" })
        local value = ask_json("gc")
        assert.is_nil(kept[1])
        assert.is_true(value.after > 0 and value.before > 0)
    end)

    it("sets levels of logs, and tells the last lines", function()
        local log = require "log"
        local logger = log.new { name = "admin_spec.part", to = function() end }
        assert.is_false(logger:enabled("debug"))
        assert.matches("level debug", assert(ask("log-level admin_spec debug")))
        assert.is_true(logger:enabled("debug"))
        assert.equal('level must be "debug", "info", "warn", "error", "fatal" or "off"',
            select(2, ask("log-level loud")))
        assert.equal("log-level [MODULE] LEVEL", select(2, ask("log-level")))
        assert(ask("log-level admin_spec info"))
        logger:info("remember this line")
        assert.matches("remember this line", assert(ask("log-tail 1")))
        for _, bad in ipairs { "x", "0", "1.5" } do
            assert.equal("log-tail [LINES], 1 to 10000", select(2, ask("log-tail " .. bad)))
        end
    end)

    it("samples where the time goes, in compiled code too", function()
        local go = true
        local busy = task.spawn(function()
            local n = 0
            while go do
                for i = 1, 100000 do
                    n = n + i % 7
                end
                task.yield()
            end
        end)
        local text
        eventually("samples", function()
            text = assert(ask("profile 0.2 1"))
            return text:find("admin_spec.lua:%d+")
        end)
        go = false
        busy:join()
        assert.matches("admin_spec.lua:%d+.- %d+\n", text)
        for line in text:gmatch("[^\n]+") do assert.matches("^%S.* %d+$", line) end
        for _, bad in ipairs { "0", "x", "3601", "1 0", "1 1001", "1 1.5", "1 1 1" } do
            assert.matches("^profile %[SECONDS", select(2, ask("profile " .. bad)))
        end
    end)

    it("does not sample twice at a time", function()
        local core = require "links.core"
        assert.is_true(core.profileStart(10))
        assert.equal("somebody else is sampling this process", select(2, ask("profile 0.001")))
        assert.is_table(core.profileStop())
        assert.is_string(ask("profile 0.001"))
    end)

    it("ends a profile whose client has left, and no other", function()
        local function samples() return ask("tasks"):find("waiting +samples ") ~= nil end
        local socket = connect()
        assert(socket:write("profile 3600\n"))
        eventually("samples", samples)
        local other = connect()
        assert.matches("somebody else is sampling", select(2, ask_on(other, "profile 9")))
        other:close()
        socket:close()
        eventually("the end of the samples", function() return not samples() end)
        -- Who has only said all that he wants to say waits for the answer.
        socket = connect()
        assert(socket:write("profile 0.6\n"))
        assert.is_nil(socket:shutdown())
        assert.matches("^ok %d+$", (socket:readline()))
        socket:close()
    end)

    it("says what is wrong with a command, and takes the next one", function()
        local socket = connect()
        assert.equal('unknown command "taks" (did you mean "tasks"?)',
            select(2, ask_on(socket, "taks")))
        assert.equal('unknown command "xyzzy" (help lists them)',
            select(2, ask_on(socket, "xyzzy")))
        assert.equal("a command is missing (help lists them)", select(2, ask_on(socket, "")))
        assert.equal("a command is missing (help lists them)", select(2, ask_on(socket, "json")))
        assert.equal("not a worker's number: @x", select(2, ask_on(socket, "@x tasks")))
        assert.equal("there is no worker 3", select(2, ask_on(socket, "@3 tasks")))
        assert.matches('unknown command "%?%[31m', select(2, ask_on(socket, "\27[31mred")))
        assert.matches("^tasks ", ask_on(socket, "help"))
        socket:close()
    end)

    it("ends a client whose line is too long", function()
        for _, size in ipairs { 5000, 20000 } do
            local socket = connect()
            socket:write(("x"):rep(size) .. "\n")
            assert.equal("error a line has 4096 bytes at most", (socket:readline()))
            socket:close()
        end
    end)

    it("answers others while a client does not read, and does not keep much for him", function()
        local stalled = connect()
        local sent = 0
        -- Until the system takes no more: nobody reads the answers.
        local writer = task.spawn(function()
            while stalled:write(("stacks\n"):rep(100)) do sent = sent + 1 end
        end)
        eventually("a stall", function()
            local before = sent
            timer.sleep(20)
            return sent > 0 and sent == before or sent > 200
        end)
        for _ = 1, 3 do assert.matches("^tasks ", assert(ask("help"))) end
        stalled:close(true)
        writer:cancel()
        writer:join()
    end)
end)
