package.path = "tests/support/?.lua;" .. package.path
local process = require "process"
local program = require "tools"
local system = require "system"
local task = require "task"
local timer = require "timer"

local LINKS, output, raises, fails = program.LINKS, program.output, program.raises, program.fails

local ME = tostring(process.pid)

describe("process", function()
    it("knows its id, its parent's, and its arguments", function()
        assert.equal(ME, program.read("/proc/self/stat"):match("^%d+"))
        assert.equal(process.ppid, tonumber(output("ps", { "-o", "ppid=", "-p", ME })))
        local script = "print(require('process').ppid)"
        assert.equal(ME, output(LINKS, { "-e", script }))
        script = "local p = require('process') print(#p.argv, p.argv[1], p.argv[2])"
        assert.equal("2\ta\tb c", output(LINKS, { "-", "a", "b c" }, { input = script }))
    end)

    it("knows and changes its working directory", function()
        local before = process.cwd()
        assert.equal(output("pwd", { "-P" }), before)
        assert.is_true(process.chdir("/"))
        assert.equal("/", process.cwd())
        assert.equal("/", output("pwd"))
        assert.is_true(process.chdir(before))
        fails("ENOENT", process.chdir("/no/such/folder"))
        fails("ENOTDIR", process.chdir("/etc/passwd"))
        fails("ENAMETOOLONG", process.chdir(("x"):rep(5000)))
        raises("dir must be", function() process.chdir() end)
        raises("zero byte", function() process.chdir("/\0") end)
        assert.equal(before, process.cwd())
    end)

    it("has no working directory once that has been removed, and may have a deep one", function()
        local code = [[
            local process = require "process"
            local dir = os.tmpname()
            os.remove(dir)
            os.execute("mkdir " .. dir)
            process.chdir(dir)
            for i = 1, 40 do
                os.execute("mkdir " .. ("d"):rep(200))
                assert(process.chdir(("d"):rep(200)))
            end
            print(#process.cwd() - #dir)
            os.execute("rm -r " .. dir)
            print(select(2, process.cwd()).name)]]
        assert.equal("8040\nENOENT", output(LINKS, { "-e", code }))
    end)

    it("shows and sets its umask", function()
        local before = process.umask()
        assert.equal(tonumber(output("sh", { "-c", "umask" }), 8), before)
        assert.equal(before, process.umask(tonumber("027", 8)))
        assert.equal("0027", output("sh", { "-c", "umask" }))
        assert.equal(tonumber("027", 8), process.umask(before))
        for _, bad in ipairs { -1, 512, 1.5, "022" } do
            raises("mask must be", function() process.umask(bad) end)
        end
    end)

    it("tells how long it has been up, in whole seconds", function()
        assert.equal(0, process.uptime() % 1)
        local before = process.uptime()
        local seconds = tonumber(output("ps", { "-o", "etimes=", "-p", ME }))
        assert.is_true(before - 1 <= seconds and seconds <= process.uptime() + 1)
    end)

    it("tells what memory it has", function()
        collectgarbage()
        local memory = process.memoryUsage()
        local lua_kib = collectgarbage("count")
        local kib = tonumber(output("ps", { "-o", "rss=", "-p", ME }))
        assert.is_true(math.abs(memory.rss / 1024 - kib) < 16384)
        assert.is_true(math.abs(memory.lua / 1024 - lua_kib) < 512)
        assert.is_true(memory.heap == nil or memory.heap > 0)
    end)

    it("tells how long it has computed, in milliseconds", function()
        local before, begun = process.cpuUsage(), system.hrtime()
        while process.cpuUsage().user - before.user < 20 do end
        assert.is_true(system.hrtime() - begun >= 15e6)
        assert.is_true(process.cpuUsage().sys >= before.sys)
    end)

    it("tells what the system has counted of it", function()
        local before = process.resourceUsage()
        local size = 2 ^ 24
        local memory = require("ffi").new("char[" .. size .. "]")
        for at = 0, size - 1, 4096 do memory[at] = 1 end
        -- On a busy machine a sleep may be over before the process has waited.
        local give_up, after = timer.now() + 20000
        repeat
            timer.sleep(2)
            after = process.resourceUsage()
        until after.voluntarySwitches > before.voluntarySwitches or timer.now() > give_up
        assert.is_true(after.maxRss >= size and after.maxRss < 2 ^ 40)
        assert.is_true(after.minorFaults > 0) -- the memory may have been there before
        assert.is_true(after.voluntarySwitches >= before.voluntarySwitches + 1)
        for name, value in pairs(before) do assert.is_true(after[name] >= value, name) end
        assert.is_true(process.cpuUsage().user >= after.user)
    end)

    it("has the environment in a table to read, write and go through", function()
        local env = process.env
        assert.equal(os.getenv("PATH"), env.PATH)
        assert.is_nil(env.LINKS_NO_SUCH_VARIABLE)
        env.LINKS_TEST = "a=b\n"
        assert.equal("a=b\n", os.getenv("LINKS_TEST"))
        assert.equal("a=b\n", env.LINKS_TEST)
        assert.equal("a=b\n\n", process.run("sh", { "-c", "echo \"$LINKS_TEST\"" }).stdout)
        local all = {}
        for name, value in env() do all[name] = value end
        assert.equal("a=b\n", all.LINKS_TEST)
        assert.equal(os.getenv("PATH"), all.PATH)
        env.LINKS_TEST = 5
        assert.equal("5", env.LINKS_TEST)
        env.LINKS_TEST = ""
        assert.equal("", env.LINKS_TEST)
        env.LINKS_TEST = nil
        assert.is_nil(os.getenv("LINKS_TEST"))
        assert.is_nil(env["A=B"])
        assert.is_nil(env[1])
        raises("name of a variable", function() env["A=B"] = "" end)
        raises("name of a variable", function() env[""] = "x" end)
        raises("A must be", function() env.A = {} end)
        raises("zero byte", function() env.A = "x\0" end)
    end)

    it("shows a title of its own to ps, short or long, and keeps its environment", function()
        local code = [[
            local process = require "process"
            local function ps(what)
                local args = {"-ww", "-o", what .. "=", "-p", tostring(process.pid)}
                return (process.run("ps", args).stdout:gsub("\n$", ""))
            end
            for _, title in ipairs {"short", ("long "):rep(30) .. "title", "x"} do
                process.title = title
                assert(process.title == title)
                assert(ps("args") == title, ps("args"))
                assert(ps("comm") == title:sub(1, 15), ps("comm"))
            end
            process.title = ("y"):rep(100000)
            assert(ps("args"):find("^y+$"))
            print(process.env.MARK, process.run("sh", {"-c", "echo $MARK"}).stdout)]]
        local env = { MARK = "still here", PADDING = ("p"):rep(200) }
        local result = assert(process.run(LINKS, { "-e", code }, { env = env }))
        assert.equal("still here\tstill here\n\n", result.stdout .. result.stderr)
        code = "local p = require('process') print(p.run('ps', {'-ww', '-o', 'args=', '-p', "
            .. "tostring(p.pid)}).stdout == p.title .. '\\n')"
        assert.equal("true", output(LINKS, { "-e", code, "-", "x y" }, { input = "" }))
        raises("process.title value must be", function() process.title = 5 end)
    end)

    it("has a shutdownTimeout that can be set", function()
        assert.equal(10000, process.shutdownTimeout)
        process.shutdownTimeout = 5
        assert.equal(5, process.shutdownTimeout)
        process.shutdownTimeout = 10000
        raises("shutdownTimeout value must be", function() process.shutdownTimeout = -1 end)
    end)

    it("can have fields of the program's own", function()
        process.mine = 1
        assert.equal(1, process.mine)
        process.mine = nil
        assert.is_nil(process.other)
    end)
end)

describe("process.kill", function()
    it("asks whether a process is there with 0", function()
        assert.is_true(process.kill(process.pid, 0))
        assert.is_true(process.kill(1, 0) or not program.is_root())
        fails("ESRCH", process.kill(2147483646, 0))
    end)

    it("sends a signal by number and by name, with or without SIG", function()
        for _, signal in ipairs { "SIGKILL", "KILL", 9 } do
            local child = assert(process.spawn("sleep", { "60" }))
            assert.is_true(process.kill(child.pid, signal))
            assert.same({ signal = "SIGKILL" }, child:wait())
        end
        local child = assert(process.spawn("sleep", { "60" }))
        assert.is_true(process.kill(child.pid))
        assert.same({ signal = "SIGTERM" }, child:wait())
    end)

    it("reaches a group by its negative number", function()
        local child = assert(process.spawn("sh", { "-c", "sleep 60 & echo go; wait" },
            { detached = true }))
        assert.equal("go", child:readline())
        assert.is_true(process.kill(-child.pid, "SIGKILL"))
        fails("EOF", child:read())
        assert.same({ signal = "SIGKILL" }, child:wait())
    end)

    it("raises for a signal that does not exist, and for what is no process", function()
        raises("unknown signal: \"SIGFOO\"", function() process.kill(process.pid, "SIGFOO") end)
        raises("did you mean \"SIGTERM\"", function() process.kill(process.pid, "SIGTREM") end)
        raises("unknown signal", function() process.kill(process.pid, "") end)
        raises("unknown signal", function() process.kill(process.pid, "SIGTERM\0") end)
        raises("signal must be", function() process.kill(process.pid, 65) end)
        raises("signal must be", function() process.kill(process.pid, 1.5) end)
        raises("signal must be", function() process.kill(process.pid, {}) end)
        raises("pid must be", function() process.kill() end)
        raises("pid must be", function() process.kill("1") end)
        raises("pid must be", function() process.kill(2 ^ 31) end)
    end)
end)

describe("process.setuid and setgid", function()
    it("change nothing for who they are already", function()
        assert.is_true(process.setgid(system.groupInfo().gid))
        if not program.is_root() then assert.is_true(process.setuid(system.userInfo().uid)) end
    end)

    it("give up root for good, with its groups", function()
        if not program.is_root() then return pending("needs root") end
        local code = [[
            local process = require "process"
            assert(process.setgid("nogroup"))
            assert(process.setuid("nobody"))
            local status = io.open("/proc/self/status"):read("*a")
            print(status:match("Uid:%s*([%d\t]+)"))
            print(status:match("Gid:%s*([%d\t]+)"))
            print(status:match("Groups:%s*([%d ]*)"))
            print(io.open("/etc/shadow"))]]
        local nobody = system.userInfo("nobody")
        local uid, gid = nobody.uid, system.groupInfo("nogroup").gid
        local said = output(LINKS, { "-e", code })
        local four = "%d\t%d\t%d\t%d\n"
        local expected = four:format(uid, uid, uid, uid) .. four:format(gid, gid, gid, gid) .. gid
        assert.equal(expected, said:sub(1, #expected))
        assert.truthy(said:find("nil\t/etc/shadow: Permission denied", 1, true))
    end)

    it("answer EINVAL for who is not there, and raise what is no name and no id", function()
        fails("EINVAL", process.setuid("no-such-user"))
        fails("EINVAL", process.setgid("no-such-group"))
        for _, bad in ipairs { -1, 2 ^ 32, 0.5, true } do
            raises("user must be", function() process.setuid(bad) end)
            raises("group must be", function() process.setgid(bad) end)
        end
        raises("user must be", function() process.setuid() end)
        raises("group must be", function() process.setgid() end)
    end)
end)

describe("a deadline", function()
    it("does not keep process.quit from ending the process", function()
        local result = process.run(LINKS, { "-e", [[
            require("task").withTimeout(5, function() require("process").quit(8) end)
            print("returned")]] })
        assert.same({ code = 8, stdout = "", stderr = "" }, result)
        assert.is_false(task.current().cancelled)
    end)
end)
