package.path = "tests/support/?.lua;" .. package.path
local ffi = require "ffi"
local build = require "child"
local process = require "process"
local program = require "tools"
local system = require "system"
local task = require "task"
local timer = require "timer"

local LINKS, output, raises, fails = program.LINKS, program.output, program.raises, program.fails
local eventually = program.eventually

ffi.cdef [[int links_test_fcntl(int fd, int command, ...) __asm__("fcntl");]]

local NULL = { stdin = "null", stdout = "null", stderr = "null" }

local function shell(script, options)
    return assert(process.spawn("sh", { "-c", script }, options))
end

-- Waits until no child of this process has ended and was not reaped. One may just have ended.
local function await_no_zombie()
    eventually("the last zombie to go", function()
        local list = output("ps", { "-o", "stat=", "--ppid", tostring(process.pid) })
        return not list:find("Z", 1, true)
    end)
end

-- Whether a process is there, a zombie included.
local function lives(pid)
    return (process.kill(pid, 0))
end

-- How many descriptors are open here. Asked from here: while a program runs that could list them,
-- those of its own pipes are on their way.
local function descriptors()
    local n = 0
    for fd = 0, 300 do
        if ffi.C.links_test_fcntl(fd, 1) >= 0 then n = n + 1 end
    end
    return n
end

describe("process.spawn", function()
    it("gives the child its arguments as they are", function()
        local odd = { "", "a b", "$HOME", "*", "\n", "\255\1", "-n", 7 }
        local child = assert(process.spawn("printf", { "%s|", unpack(odd) }))
        assert.equal("|a b|$HOME|*|\n|\255\1|-n|7|", child:readAll())
        assert.same({ code = 0 }, child:wait())
    end)

    it("writes to the child, reads from it, and tells an end of file", function()
        local child = assert(process.spawn("cat"))
        assert.equal(3, child:write("abc"))
        assert.equal("abc", child:read())
        assert.equal(6, child:write({ "de", "", "fghi" }))
        assert.equal("defg", child:read(4))
        assert.equal("hi", child:read(2))
        assert.is_true(child:closeStdin())
        assert.is_true(child:closeStdin())
        fails("EOF", child:read())
        fails("EOF", child:read(5))
        fails("EOF", child:readline())
        fails("CLOSED", child:write("more"))
        assert.same({ code = 0 }, child:wait())
        assert.equal("child " .. child.pid .. " (cat)", tostring(child))
    end)

    it("returns what had come with the end of file, where exactly n were asked for", function()
        local child = shell("printf abc")
        local data, err = child:read(5)
        assert.equal("abc", data)
        assert.equal("EOF", err.name)
    end)

    it("reads more than a pipe and a buffer hold at once", function()
        local child = shell("head -c 300000 /dev/zero | tr '\\0' x; printf END")
        assert.equal(("x"):rep(300000), child:read(300000))
        assert.equal("END", child:read())
    end)

    it("reads lines, with or without their end, and a last one that has none", function()
        local child = shell("printf 'one\\r\\n\\ntwo\\nthree'")
        assert.equal("one\r\n", child:readline(true))
        assert.equal("", child:readline())
        assert.equal("two", child:readline())
        local last, err = child:readline()
        assert.equal("three", last)
        assert.equal("EOF", err.name)
        fails("EOF", child:readline())
        local all = {}
        for line in shell("printf 'a\\nb\\nc'"):lines() do all[#all + 1] = line end
        assert.same({ "a", "b", "c" }, all)
    end)

    it("reads lines that come in pieces", function()
        local child = assert(process.spawn("cat"))
        local reader = task.spawn(function() return child:readline(), child:readline() end)
        for piece in ("first li|ne\nsec|o|nd\n"):gmatch("[^|]+") do
            child:write(piece)
            timer.sleep(1)
        end
        local _, one, two = reader:join()
        assert.same({ "first line", "second" }, { one, two })
        child:closeStdin()
    end)

    it("reads a line of 65536 bytes, and refuses a longer one, which stays", function()
        local child = shell("head -c 65535 /dev/zero | tr '\\0' a; echo; head -c 65536 /dev/zero")
        assert.equal(("a"):rep(65535), child:readline())
        fails("EXCEED_BUF_SIZE", child:readline())
        fails("EXCEED_BUF_SIZE", child:readline())
        assert.equal(("\0"):rep(65536), child:read(65536))
        fails("EOF", child:readline())
    end)

    it("keeps standard output and error apart, or together", function()
        local script = "echo out; echo err >&2; echo err2 >&2"
        local child = shell(script)
        assert.equal("err", child:readErrorLine())
        assert.equal("err2\n", child:readError())
        fails("EOF", child:readError(1))
        assert.equal("out\n", child:read())
        assert.equal("out\nerr\nerr2\n", shell(script, { stderr = "stdout" }):readAll())
    end)

    it("reads all of both without either filling up", function()
        local child = shell([[for i in 1 2 3; do
            head -c 100000 /dev/zero; head -c 100000 /dev/zero >&2; done]])
        local out, err, errs = child:readAll()
        assert.is_nil(err)
        assert.equal(300000, #out)
        assert.equal(300000, #errs)
        fails("CLOSED", shell("true", NULL):readAll())
    end)

    it("stops reading all at its limit, and says so", function()
        local out, err, errs = shell("echo no >&2; exec yes"):readAll(1000)
        assert.equal("TOO_LARGE", err.name)
        assert.equal(1000, #out)
        assert.is_true(errs == nil or #errs <= 3)
        local exact, nothing = shell("printf 12345"):readAll(5)
        assert.equal("12345", exact)
        assert.is_nil(nothing)
        raises("max must be", function() shell("true"):readAll(0) end)
    end)

    it("parks the writer while the child is slow, and goes on afterwards", function()
        local child = shell("sleep 0.05; wc -c")
        assert.equal(1000000, child:write(("x"):rep(1000000)))
        child:closeStdin()
        assert.equal("1000000", child:readline():match("%d+"))
    end)

    it("answers EPIPE to who writes to a child that does not read, and lives on", function()
        local child = shell("exec 0<&-; echo closed; sleep 1")
        assert.equal("closed", child:readline())
        local err = fails("EPIPE", child:write(("x"):rep(100000)))
        assert.equal(0, err.partial)
        child:kill()
    end)

    it("reads an end of file from a child that closes its output and lives", function()
        local child = shell("exec 1>&- 2>&-; read line; exit 3")
        fails("EOF", child:read())
        fails("EOF", child:readError())
        fails("ETIMEDOUT", child:wait(10))
        assert.is_true(lives(child.pid))
        child:write("\n")
        assert.same({ code = 3 }, child:wait())
    end)

    it("closes all pipes at once, and wakes who waits", function()
        local child = assert(process.spawn("cat"))
        local reader = task.spawn(function() return child:read() end)
        timer.sleep(1)
        assert.is_true(child:close())
        assert.is_true(child:close())
        local _, data, err = reader:join()
        fails("CLOSED", data, err)
        fails("CLOSED", child:read())
        fails("CLOSED", child:readError())
        fails("CLOSED", child:write("x"))
        assert.same({ code = 0 }, child:wait())
    end)

    it("answers EBUSY to a second reader and a second writer, and serves the first", function()
        local child = assert(process.spawn("cat"))
        local reader = task.spawn(function() return child:read(4) end)
        timer.sleep(1)
        fails("EBUSY", child:read())
        fails("EBUSY", child:readline())
        fails("EBUSY", child:readAll())
        child:write("ab")
        timer.sleep(5)
        fails("EBUSY", child:read())
        child:write("cd")
        assert.equal("abcd", select(2, reader:join()))

        local stuck = assert(process.spawn("sleep", { "60" })) -- which reads nothing
        local writer = task.spawn(function() return stuck:write(("x"):rep(200000)) end)
        timer.sleep(1)
        fails("EBUSY", stuck:write("y"))
        stuck:kill("SIGKILL")
        local _, n, err = writer:join()
        assert.is_nil(n)
        assert.equal("EPIPE", err.name)
        child:closeStdin()
    end)

    it("connects to /dev/null, to what this process has, and to a descriptor", function()
        local child = shell("cat; readlink /proc/self/fd/0 >&2",
            { stdin = "null", stdout = "null" })
        assert.equal("/dev/null", child:readErrorLine())
        fails("CLOSED", child:read())
        fails("CLOSED", child:write("x"))

        local script = [[
            local ffi = require "ffi"
local process = require "process"
            local child = assert(process.spawn("cat", nil, {stdin = "inherit", stdout = "inherit"}))
            child:wait()]]
        local result = assert(process.run(LINKS, { "-e", script }, { input = "through" }))
        assert.equal("through", result.stdout)

        local path = os.tmpname()
        script = [[exec 7>"$1"; exec "$0" -e '
            local ffi = require "ffi"
local process = require "process"
            assert(process.spawn("echo", {"seven"}, {stdout = 7})):wait()
            local ok, err = process.spawn("echo", nil, {stdout = 99})
            print(ok, err.name, err.syscall)']]
        local said = output("sh", { "-c", script, LINKS, path })
        assert.equal("nil\tEBADF\tstdio", said)
        assert.equal("seven\n", program.read(path))
        os.remove(path)
    end)

    it("starts where it is told to, with the environment that it is told", function()
        assert.equal("/", output("pwd", nil, { cwd = "/" }))
        local env = { A = "1", B = 2, HOME = false, ["with space"] = "x=y" }
        local seen = output("env", nil, { env = env })
        assert.truthy(("\n" .. seen .. "\n"):find("\nA=1\n", 1, true))
        assert.truthy(("\n" .. seen .. "\n"):find("\nB=2\n", 1, true))
        assert.truthy(("\n" .. seen .. "\n"):find("\nwith space=x=y\n", 1, true))
        assert.falsy(("\n" .. seen):find("\nHOME=", 1, true))
        assert.equal("A=1", output("/usr/bin/env", nil, { env = { A = 1 }, cleanEnv = true }))
    end)

    it("looks for the program in the PATH that the child gets", function()
        local dir = os.tmpname()
        os.remove(dir)
        output("mkdir", { "-p", dir .. "/a", dir .. "/b" })
        program.write(dir .. "/a/links-test", "#!/bin/sh\necho a\n")
        program.write(dir .. "/b/links-test", "#!/bin/sh\necho b\n")
        output("chmod", { "755", dir .. "/b/links-test" })
        local env = { PATH = "/nonexistent:" .. dir .. "/a:" .. dir .. "/b:/bin:/usr/bin" }
        -- The one in a may not be executed: the next one is taken.
        assert.equal("b", output("links-test", nil, { env = env }))
        env.PATH = dir .. "/a"
        fails("EACCES", process.spawn("links-test", nil, { env = env }))
        env.PATH = "/nonexistent"
        fails("ENOENT", process.spawn("links-test", nil, { env = env }))
        -- An empty part is the working directory.
        env.PATH = ":/bin:/usr/bin"
        assert.equal("b", output("links-test", nil, { env = env, cwd = dir .. "/b" }))
        assert.equal("b", output("./links-test", nil, { cwd = dir .. "/b" }))
        fails("ENOENT", process.spawn(""))
        output("rm", { "-r", dir })
    end)

    it("returns what the system refuses, with the step that failed", function()
        local err = fails("ENOENT", process.spawn("/no/such/program"))
        assert.equal("ENOENT: no such file or directory (exec /no/such/program)", tostring(err))
        err = fails("ENOENT", process.spawn("true", nil, { cwd = "/no/such/folder" }))
        assert.equal("chdir", err.syscall)
        err = fails("ENOTDIR", process.spawn("true", nil, { cwd = "/etc/passwd" }))
        assert.equal("/etc/passwd", err.address)
        fails("EACCES", process.spawn("/"))
        fails("E2BIG", process.spawn("true", { ("x"):rep(3000000) }))
        local path = os.tmpname()
        program.write(path, "no shebang\n")
        fails("EACCES", process.spawn(path))
        output("chmod", { "755", path })
        fails("ENOEXEC", process.spawn(path))
        os.remove(path)
        fails("EINVAL", process.spawn("true", nil, { cpu = 60000 }))
        await_no_zombie()
    end)

    it("returns EMFILE where no descriptor is left, and leaves nothing behind", function()
        collectgarbage()
        collectgarbage()
        local before, limit = descriptors(), system.limits("nofile")
        for soft = 3, 24 do
            system.limits("nofile", soft)
            local child, err = process.spawn("cat")
            system.limits("nofile", limit.soft)
            if child then
                child:close()
                assert.equal(0, child:wait().code)
            else
                assert.equal("EMFILE", err.name)
            end
        end
        local after = descriptors()
        assert(after <= before, before .. " descriptors became " .. after)
        await_no_zombie()
    end)

    it("runs on the one processor that it is told to", function()
        local cpu = program.a_processor()
        assert.equal("Cpus_allowed_list:\t" .. cpu, output("grep", { "Cpus_allowed_list",
            "/proc/self/status" }, { cpu = cpu }))
    end)

    it("makes a detached child the leader of a session, which keeps no process alive", function()
        local child = shell("ps -o sid=,pgid= -p $$", { detached = true })
        local sid, pgid = child:readAll():match("(%d+)%s+(%d+)")
        assert.equal(child.pid, tonumber(sid))
        assert.equal(child.pid, tonumber(pgid))
        local script = [[
            local null = {stdin = "null", stdout = "null", stderr = "null", detached = true}
            print(require("process").spawn("sleep", {"20"}, null).pid)]]
        local pid = tonumber(output(LINKS, { "-e", script }))
        assert.is_true(lives(pid))
        assert.is_true(process.kill(pid, "SIGKILL"))
    end)

    it("ends a child whose time is up, with the signal of its choice", function()
        local child = assert(process.spawn("sleep", { "20" }, { timeout = 20, killSignal = "INT" }))
        assert.same({ signal = "SIGINT", timedOut = true }, child:wait())
        assert.same({ code = 0 }, shell("exit 0", { timeout = 60000 }):wait())
    end)

    it("ends a child that ignores that by SIGKILL", function()
        -- Until it ignores it before its time is up, which takes a busy machine longer.
        local child, ready
        for _, ms in ipairs { 300, 3000, 30000 } do
            child = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done",
                { timeout = ms, killTimeout = 30 })
            ready = child:readline()
            if ready then break end
        end
        assert.equal("ready", ready)
        local begun = timer.now()
        assert.same({ signal = "SIGKILL", timedOut = true }, child:wait())
        assert.is_true(timer.now() - begun >= 30)
    end)

    it("raises what is wrong, at the caller's line", function()
        raises("file must be %[string%]", function() process.spawn() end)
        raises("args must be", function() process.spawn("true", "x") end)
        raises("args%[2%] must be", function() process.spawn("true", { "x", {} }) end)
        raises("zero byte", function() process.spawn("true", { "a\0b" }) end)
        raises("zero byte", function() process.spawn("tr\0ue") end)
        raises("did you mean \"stdout\"", function() process.spawn("a", {}, { stout = 1 }) end)
        raises("options.stdin must be", function() process.spawn("a", {}, { stdin = "stdout" }) end)
        raises("options.stderr must be", function() process.spawn("a", {}, { stderr = "no" }) end)
        raises("options.stdout must be", function() process.spawn("a", {}, { stdout = -1 }) end)
        raises("options.cwd must be", function() process.spawn("a", {}, { cwd = 1 }) end)
        raises("zero byte", function() process.spawn("a", {}, { cwd = "/\0" }) end)
        raises("options.uid must be", function() process.spawn("a", {}, { uid = -1 }) end)
        raises("options.gid must be", function() process.spawn("a", {}, { gid = 2 ^ 32 }) end)
        raises("options.cpu must be", function() process.spawn("a", {}, { cpu = -1 }) end)
        raises("options.timeout must be", function() process.spawn("a", {}, { timeout = -1 }) end)
        raises("unknown signal", function() process.spawn("a", {}, { killSignal = "SIGNO" }) end)
        raises("name of a variable", function()
            process.spawn("a", {}, { env = { ["A=B"] = "" } })
        end)
        raises("name of a variable", function() process.spawn("a", {}, { env = { "A" } }) end)
        raises("A must be", function() process.spawn("a", {}, { env = { A = true } }) end)
        raises("zero byte", function() process.spawn("a", {}, { env = { A = "\0" } }) end)
        local child = shell("true")
        raises("n must be", function() child:read(0) end)
        raises("n must be", function() child:readError(1.5) end)
        raises("data must be", function() child:write(nil) end)
        raises("ms must be", function() child:wait(-1) end)
        raises("unknown signal", function() child:kill("SIGFOO") end)
    end)
end)

-- A set of signals, without the two that the C library keeps to itself and lets nobody reset.
local function signals(status, field)
    local high, low = status:match(field .. ":%s*(%x%x%x%x%x%x%x%x)(%x+)")
    return bit.tohex(bit.band(tonumber(high, 16), 0xfffffffe)) ..
        bit.tohex(bit.band(tonumber(low, 16), 0x7fffffff))
end

describe("a child", function()
    it("begins with no descriptor but 0, 1 and 2", function()
        local files = {}
        -- fopen does not close on exec.
        for i = 1, 20 do files[i] = assert(io.open("/dev/null")) end
        local other = assert(process.spawn("cat"))
        local same = { stdin = "null", stderr = "stdout" }
        for _, options in ipairs { {}, same, { detached = true } } do
            -- ls has a fourth one, of the folder that it reads.
            assert.equal("0\n1\n2\n3", output("ls", { "/proc/self/fd" }, options))
        end
        for _, file in ipairs(files) do file:close() end
        other:closeStdin()
    end)

    it("begins with no signal blocked and none caught, and SIGPIPE as it is meant", function()
        process.on("SIGUSR1", print)
        local status = output("cat", { "/proc/self/status" })
        process.off("SIGUSR1", print)
        assert.equal("0000000000000000", signals(status, "SigBlk"))
        assert.equal("0000000000000000", signals(status, "SigCgt"))
        assert.equal("0000000000000000", signals(status, "SigIgn"))
        assert.equal("SIGPIPE", shell("kill -PIPE $$"):wait().signal)
    end)

    it("goes on ignoring what nohup ignores", function()
        local script = [[trap "" HUP PIPE CHLD; exec "$0" -e '
            local status = require("process").run("cat", {"/proc/self/status"}).stdout
            print(status:match("SigIgn:[^\n]*"))']]
        local status = output("sh", { "-c", script, LINKS })
        assert.equal("0000000000000001", signals(status, "SigIgn"))
    end)

    it("is reaped though nobody waits for it", function()
        local pid = shell("exit 1", NULL).pid
        collectgarbage()
        eventually("its end", function() return not lives(pid) end)
        assert.same({ code = 1 }, process.wait(pid))
    end)

    it("gets no signal once it has ended", function()
        local child = shell("exit 0")
        child:wait()
        fails("ESRCH", child:kill())
        fails("ESRCH", child:kill(0))
        assert.same({ code = 0 }, child:wait(0))
    end)

    it("leaves io.popen and os.execute theirs", function()
        local ours = shell("read line", { stdout = "null" })
        assert.equal(0, os.execute("true"))
        assert.equal(256 * 3, os.execute("exit 3"))
        local pipe = io.popen("echo popen; exit 5")
        assert.equal("popen\n", pipe:read("*a"))
        timer.sleep(5)
        assert.truthy(pipe:close())
        ours:write("\n")
        assert.same({ code = 0 }, ours:wait())
    end)

    it("leaves no zombie, nor do thousands", function()
        local children = {}
        -- Most of the time is that of their own start.
        for i = 1, build.isSanitized() and 1000 or 10000 do
            local child = assert(process.spawn("/bin/true", nil, NULL))
            children[i % 32] = child
            if i % 32 == 0 then
                for _, one in pairs(children) do assert.equal(0, one:wait().code) end
            end
        end
        for _, one in pairs(children) do one:wait() end
        await_no_zombie()
    end)
end)

describe("a wait", function()
    local function cut_short(fn)
        local waiting = task.spawn(fn)
        timer.sleep(2)
        waiting:cancel()
        local _, value, err = waiting:join()
        fails("ECANCELED", value, err)
        local late, failure = task.withTimeout(5, fn)
        fails("ETIMEDOUT", late, failure)
        assert.is_true(failure.deadline)
    end

    it("that is cancelled or meets a deadline leaves the child alone", function()
        local child = assert(process.spawn("sleep", { "60" }))
        cut_short(function() return child:read() end)
        cut_short(function() return child:read(10) end)
        cut_short(function() return child:readline() end)
        cut_short(function() return child:readError() end)
        cut_short(function() return child:readErrorLine() end)
        cut_short(function() return child:readAll() end)
        cut_short(function() return child:wait() end)
        cut_short(function() return process.wait(child.pid) end)
        cut_short(function() return child:write(("x"):rep(1000000)) end)
        assert.is_true(lives(child.pid))
        child:kill()
        assert.equal("SIGTERM", child:wait().signal)
        fails("EOF", child:read())
    end)

    it("in process.run takes the program with it", function()
        local path = os.tmpname()
        local script = "echo $$ > " .. path .. "; exec sleep 60"
        local running = task.spawn(process.run, "sh", { "-c", script })
        local pid = eventually("the start", function() return tonumber(program.read(path)) end)
        running:cancel()
        local _, result, err = running:join()
        fails("ECANCELED", result, err)
        assert.equal("SIGTERM", process.wait(pid).signal)
        os.remove(path)
        cut_short(function() return process.run("sleep", { "60" }) end)
        await_no_zombie()
    end)

    it("of process.run that cannot be, below table.sort, leaves no program behind", function()
        local path = os.tmpname()
        local script = "echo $$ > " .. path .. "; exec sleep 60"
        local ok, err = pcall(table.sort, { 2, 1 }, function()
            process.run("sh", { "-c", script })
        end)
        assert.is_false(ok)
        assert.truthy(tostring(err):find("cannot yield inside table.sort", 1, true))
        eventually("its end", function()
            local pid = tonumber(program.read(path))
            if not pid then return true end
            local ended, why = process.wait(pid, 1000)
            -- It may have been waited for, and forgotten.
            return ended or why.name == "ECHILD"
        end)
        os.remove(path)
        await_no_zombie()
    end)

    it("in process.run takes one with it that ignores SIGTERM", function()
        local options = { killTimeout = 20 }
        local result, err = task.withTimeout(100, process.run, "sh",
            { "-c", "trap '' TERM; while :; do sleep 0.02; done" }, options)
        fails("ETIMEDOUT", result, err)
        eventually("its end", function()
            local list = output("ps", { "-o", "args=", "--ppid", tostring(process.pid) })
            return not list:find("trap", 1, true)
        end)
    end)

    it("of several tasks for one child ends for all", function()
        local child = shell("read line; exit 9")
        local tasks = {}
        for i = 1, 5 do tasks[i] = task.spawn(function() return child:wait().code end) end
        timer.sleep(1)
        child:write("\n")
        for i = 1, 5 do assert.equal(9, select(2, tasks[i]:join())) end
    end)
end)

-- What process.run returns of a script that has said something before its time was up, and has not
-- ended: a busy machine needs longer for that.
local function run_until_it_speaks(script)
    local result, err
    for _, ms in ipairs { 500, 5000, 30000 } do
        result, err = process.run("sh", { "-c", script }, { timeout = ms })
        if result.stdout ~= "" and (result.code or result.timedOut) then break end
    end
    return result, err
end

describe("process.run", function()
    it("collects what a program says, and how it ends", function()
        assert.same({ code = 3, stdout = "out\n", stderr = "err\n" },
            process.run("sh", { "-c", "echo out; echo err >&2; exit 3" }))
        assert.same({ signal = "SIGKILL", stdout = "", stderr = "" },
            process.run("sh", { "-c", "kill -KILL $$" }))
        assert.same({ code = 0, stdout = "both\n" },
            process.run("sh", { "-c", "echo both >&2" }, { stderr = "stdout" }))
        assert.same({ code = 0 }, process.run("true", nil, NULL))
        fails("ENOENT", process.run("/no/such/program"))
    end)

    it("feeds it, also one that reads nothing", function()
        local input = ("0123456789"):rep(50000)
        assert.equal(input, process.run("cat", nil, { input = input }).stdout)
        assert.equal(0, process.run("true", nil, { input = input }).code)
        assert.equal("", process.run("cat").stdout)
        raises("options.input needs", function()
            process.run("cat", nil, { input = "x", stdin = "null" })
        end)
    end)

    it("ends a program that says more than maxBuffer", function()
        local result, err = process.run("yes", nil, { maxBuffer = 100 })
        assert.equal("TOO_LARGE", err.name)
        assert.equal(100, #result.stdout)
        assert.equal("y\ny\n", result.stdout:sub(1, 4))
        assert.truthy(result.signal)
        result, err = process.run("sh", { "-c", "echo ok; yes >&2" }, { maxBuffer = 4096 })
        assert.equal("TOO_LARGE", err.name)
        assert.equal(4096, #result.stderr)
        result, err = process.run("head", { "-c", "1048576", "/dev/zero" })
        assert.is_nil(err)
        assert.equal(1048576, #result.stdout)
        raises("maxBuffer must be", function() process.run("a", {}, { maxBuffer = 0 }) end)
    end)

    it("returns what had come when its time is up", function()
        local script = "echo early; exec sleep 60"
        local result, err = run_until_it_speaks(script)
        assert.same({ signal = "SIGTERM", timedOut = true, stdout = "early\n", stderr = "" },
            result)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_nil(err.deadline)
    end)

    it("does not wait for others that have its output once its time is up", function()
        -- The other one cannot end before it is told to.
        local path = os.tmpname()
        os.remove(path)
        output("mkfifo", { path })
        local result, err = run_until_it_speaks(("cat %s & echo started"):format(path))
        assert.equal("ETIMEDOUT", err.name)
        assert.equal(0, result.code)
        assert.equal("started\n", result.stdout)
        local gate = assert(io.open(path, "r+"))
        gate:close()
        os.remove(path)
    end)

    it("runs many at once", function()
        local list = {}
        for i = 1, 40 do list[i] = i end
        local results = assert(task.map(list, function(i)
            return process.run("sh", { "-c", "echo " .. i }).stdout
        end, { concurrency = 10 }))
        for i = 1, 40 do assert.equal(i .. "\n", results[i]) end
    end)
end)

describe("process.wait", function()
    it("waits for a child by its id, again too", function()
        local pid = assert(process.exec("exit 6"))
        assert.same({ code = 6 }, process.wait(pid))
        assert.same({ code = 6 }, process.wait(pid, 0))
    end)

    it("waits for a child that somebody else has started", function()
        local pipe = io.popen("echo $$; exec sleep 0.05")
        local pid = pipe:read("*n")
        assert.same({ code = 0 }, process.wait(pid))
        pipe:close()
    end)

    it("answers ECHILD for who is none", function()
        fails("ECHILD", process.wait(1))
        fails("ECHILD", process.wait(2147483647))
        fails("ECHILD", process.stop(1))
        raises("pid must be", function() process.wait(0) end)
        raises("pid must be", function() process.wait("1") end)
        raises("ms must be", function() process.wait(shell("true").pid, "1") end)
    end)

    it("keeps the statuses of the last 1024", function()
        local first = assert(process.exec("exit 1"))
        process.wait(first)
        for _ = 1, 1024 do process.spawn("/bin/true", nil, NULL):wait() end
        fails("ECHILD", process.wait(first))
    end)
end)

describe("process.exec", function()
    it("runs a shell command with this process's output", function()
        local script = "local p = require('process') p.wait(p.exec('echo $0; echo err >&2'))"
        local result = assert(process.run(LINKS, { "-e", script }))
        assert.same({ code = 0, stdout = "sh\n", stderr = "err\n" }, result)
    end)

    it("keeps this process until it ends", function()
        local script = "require('process').exec('sleep 0.1; echo late')"
        assert.equal("late\n", assert(process.run(LINKS, { "-e", script })).stdout)
    end)

    it("raises what is no command", function()
        raises("command must be", function() process.exec() end)
        raises("command must be", function() process.exec({}) end)
        raises("zero byte", function() process.exec("a\0b") end)
    end)
end)
