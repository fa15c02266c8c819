package.path = "tests/support/?.lua;" .. package.path
local process = require "process"
local program = require "tools"
local system = require "system"
local timer = require "timer"
local forever = require "links.process.forever"

local LINKS, output, raises, fails = program.LINKS, program.output, program.raises, program.fails
local eventually = program.eventually

local folder, script

-- Writes the Lua file that the children run.
local function child_is(text)
    program.write(script, text)
    return script
end

local function said()
    local file = io.open(folder .. "/out")
    local text = file and file:read("*a") or ""
    if file then file:close() end
    return text
end

-- Appends what `values` are to the file that `said` reads.
local SAY = [[
    local function say(...)
        local file = io.open(os.getenv "OUT", "a")
        file:write(table.concat({...}, " "), "\n")
        file:close()
    end
]]

local function fork(options)
    options.file = options.file or script
    options.env = options.env or {}
    options.env.OUT = folder .. "/out"
    return process.fork(options)
end

describe("process.fork", function()
    before_each(function()
        folder = os.tmpname()
        os.remove(folder)
        assert(os.execute("mkdir -m 777 " .. folder) == 0)
        script = folder .. "/child.lua"
    end)

    after_each(function() os.execute("rm -rf " .. folder) end)

    it("runs a Lua file by this same program, with its arguments", function()
        child_is(SAY .. [[
            say(#argv, unpack(argv))
            say(require("process").ppid, (...))
            os.exit(7)]])
        local pid = assert(fork { args = { "a", "b c", "", 4 } })
        assert.same({ code = 7 }, process.wait(pid))
        assert.equal("4 a b c  4\n" .. process.pid .. " a\n", said())
    end)

    it("runs a file whose name begins with a minus", function()
        program.write(folder .. "/-e", SAY .. "say('minus')")
        local pid = assert(fork { file = "-e", cwd = folder })
        assert.same({ code = 0 }, process.wait(pid))
        assert.equal("minus\n", said())
    end)

    it("starts it where and as it is told to", function()
        child_is(SAY .. [[
            local process = require "process"
            say(process.cwd(), tostring(process.env.ONE), tostring(process.env.HOME))
            say(process.title)
            say(require("system").cpuCount())
            say(process.run("readlink", {"/proc/self/fd/0"}, {stdin = "inherit"}).stdout)]])
        local pid = assert(fork {
            cwd = "/", env = { ONE = "1", HOME = false }, cpu = program.a_processor(),
            title = "links: worker",
        })
        assert.same({ code = 0 }, process.wait(pid))
        assert.equal("/ 1 nil\nlinks: worker " .. script .. "\n1\n/dev/null\n\n", said())
    end)

    it("returns what is wrong with the file before anything has run", function()
        local err = fails("ENOENT", process.fork { file = "/no/such/file.lua" })
        assert.equal("ENOENT: no such file or directory (open /no/such/file.lua)", tostring(err))
        fails("EISDIR", process.fork { file = "/tmp" })
        fails("ENOENT", process.fork { file = "" })
        fails("ENOTDIR", process.fork { file = "/etc/passwd/x" })
        fails("ENOENT", process.fork { file = script, cwd = "/no/such/folder" })
        fails("EINVAL", process.fork { file = child_is(""), cpu = 65535 })
    end)

    it("returns EMFILE where no descriptor is left", function()
        child_is("")
        local limit = system.limits("nofile")
        system.limits("nofile", 3)
        local pid, err = fork {}
        system.limits("nofile", limit.soft)
        fails("EMFILE", pid, err)
    end)

    it("raises what is wrong with the options", function()
        raises("options must be", function() process.fork() end)
        raises("options.file must be", function() process.fork {} end)
        raises("options.file must be", function() process.fork { file = 1 } end)
        raises("zero byte", function() process.fork { file = "a\0b" } end)
        raises("did you mean \"forever\"", function() process.fork { file = "a", forver = 1 } end)
        raises("options.forever must be", function() process.fork { file = "a", forever = 1 } end)
        raises("options.args must be", function() process.fork { file = "a", args = "b" } end)
        raises("args%[1%] must be", function() process.fork { file = "a", args = { true } } end)
        raises("options.uid must be", function() process.fork { file = "a", uid = 0.5 } end)
        raises("options.cpu must be", function() process.fork { file = "a", cpu = "0" } end)
        raises("maxRestarts must be", function() process.fork { file = "a", maxRestarts = -1 } end)
        raises("unknown option \"stdin\"", function() process.fork { file = "a", stdin = 0 } end)
    end)

    describe("as another user", function()
        local WHO = SAY .. [[
            local process = require "process"
            say((process.run("id", {"-u"}).stdout:gsub("%s", "")),
                (process.run("id", {"-g"}).stdout:gsub("%s", "")),
                (process.run("id", {"-G"}).stdout:gsub("%s", "")))]]

        -- Others cannot run what lies below a folder that is root's alone, as /root is: then a copy
        -- of the program, elsewhere, does the test.
        local function others_may_run_us()
            local pid, err = process.fork { file = "/dev/null", uid = "nobody" }
            if pid then process.wait(pid) end
            return not err or err.name ~= "EACCES"
        end

        local function elsewhere(name)
            local dir = program.output("mktemp", { "-d" })
            local copy = dir .. "/links"
            os.execute(("cp '%s' '%s'; chmod 755 '%s' '%s'"):format(program.LINKS, copy, dir, copy))
            local result = assert(process.run(copy, { "tests/busted.lua", "--filter=" .. name,
                "tests/lib/process_fork_spec.lua" }, { timeout = 60000 }))
            os.execute(("rm -r '%s'"):format(dir))
            assert.matches("\nok 1 ", "\n" .. result.stdout)
            assert.not_matches("\nnot ok ", "\n" .. result.stdout)
        end

        local function as_root(name, fn)
            it(name, function()
                if not program.is_root() then return pending("needs root") end
                if others_may_run_us() then return fn() end
                elsewhere((name:gsub("%W", ".")))
            end)
        end

        as_root("gives up root's group and further groups too", function()
            child_is(WHO)
            os.execute("chmod 755 " .. script)
            local nobody = assert(system.userInfo("nobody"))
            local expected = ("%d %d %d\n"):format(nobody.uid, nobody.gid, nobody.gid)
            assert.same({ code = 0 }, process.wait(assert(fork { uid = "nobody" })))
            assert.same({ code = 0 }, process.wait(assert(fork { uid = nobody.uid })))
            assert.equal(expected:rep(2), said())
        end)

        as_root("takes ids that nobody has, if the group is given too", function()
            child_is(WHO)
            local pid = assert(fork { uid = 54321, gid = 12345 })
            assert.same({ code = 0 }, process.wait(pid))
            assert.equal("54321 12345 12345\n", said())
            local err = fails("EINVAL", fork { uid = 54321 })
            assert.equal("EINVAL: there is no user 54321 (setuid)", tostring(err))
        end)

        as_root("takes a group by name alone", function()
            child_is(WHO)
            local group = assert(system.groupInfo(system.userInfo("nobody").gid))
            assert.same({ code = 0 }, process.wait(assert(fork { gid = group.name })))
            assert.equal(("0 %d %d\n"):format(group.gid, group.gid), said())
        end)

        as_root("reads the file as that user", function()
            child_is("")
            os.execute("chmod 600 " .. script)
            local err = fails("EACCES", fork { uid = "nobody" })
            assert.equal("open", err.syscall)
        end)

        it("answers EINVAL for a user or a group that is not there", function()
            child_is("")
            fails("EINVAL", fork { uid = "no-such-user" })
            fails("EINVAL", fork { gid = "no-such-group" })
            fails("EINVAL", process.spawn("true", nil, { uid = "no-such-user" }))
        end)

        it("answers EPERM to who is not root", function()
            child_is("")
            if not program.is_root() then
                fails("EPERM", fork { uid = 0 })
                fails("EPERM", fork { gid = 0 })
                fails("EPERM", process.setuid(0))
                fails("EPERM", process.setgid(0))
                return
            end
            os.execute("chmod 755 " .. script)
            local code = [[
                local process = require "process"
                assert(process.setgid("nogroup"))
                assert(process.setuid("nobody"))
                for _, o in ipairs { {uid = 0}, {gid = 0}, {uid = 1, gid = 1} } do
                    o.file = arg[1] or process.env.SCRIPT
                    local pid, err = process.fork(o)
                    io.write(tostring(pid), " ", err.name, " ", err.syscall, "\n")
                end
                local ok, err = process.setuid(0)
                io.write(tostring(ok), " ", err.name, "\n")]]
            local result = assert(process.run(LINKS, { "-e", code }, { env = { SCRIPT = script } }))
            assert.equal("nil EPERM setgid\nnil EPERM setgid\nnil EPERM setgid\nnil EPERM\n",
                result.stdout .. result.stderr)
        end)
    end)

    describe("in a root of its own", function()
        -- Where only that folder can be seen.
        local function locked(options)
            options.chroot = folder
            options.file = options.file or "/child.lua"
            -- A sanitizer's search for leaks would need /proc.
            options.env = { OUT = "/out", ASAN_OPTIONS = "detect_leaks=0" }
            return process.fork(options)
        end

        local SEE = SAY .. [[
            local process = require "process"
            say(process.cwd(), tostring(io.open("/etc/passwd")), process.ppid)
            for name in process.env() do if name:find("^LINKS_[ID]") then say(name) end end]]

        it("sees nothing else, and as the user that it is to be", function()
            if not program.is_root() then return pending("needs root") end
            child_is(SEE .. [[
                local ffi = require "ffi"
                ffi.cdef "unsigned getuid(void); unsigned getgid(void); int getgroups(int, void *);"
                say(ffi.C.getuid(), ffi.C.getgid(), ffi.C.getgroups(0, nil))
                say(tostring(process.chroot("/")))
                say(tostring(process.setuid(0)))]])
            os.execute("chmod 755 " .. script)
            assert.same({ code = 0 }, process.wait(assert(locked { uid = 54321, gid = 12345 })))
            assert.equal("/ nil " .. process.pid .. "\n54321 12345 1\nnil\nnil\n", said())
            os.execute("mkdir " .. folder .. "/in; rm " .. folder .. "/out")
            assert.same({ code = 0 }, process.wait(assert(locked { cwd = "/in" })))
            assert.equal("/in nil " .. process.pid, said():match("^[^\n]*"))
        end)

        it("says what is not there, by its name in there", function()
            if not program.is_root() then return pending("needs root") end
            child_is("")
            local err = fails("ENOENT", locked { file = script })
            assert.equal("ENOENT: no such file or directory (open " .. script .. ")", tostring(err))
            err = fails("ENOENT", locked { cwd = "/no/such/folder" })
            assert.equal("chdir", err.syscall)
            os.execute("chmod 600 " .. script)
            fails("EACCES", locked { uid = "nobody" })
            err = fails("ENOENT", process.fork { file = "/x", chroot = "/no/such/root" })
            assert.equal("ENOENT: no such file or directory (chroot /no/such/root)", tostring(err))
            fails("ENOTDIR", process.fork { file = "/x", chroot = "/etc/passwd" })
        end)

        it("has a way for messages, and is tied to this process", function()
            if not program.is_root() then return pending("needs root") end
            child_is([[
                local process = require "process"
                process.send("master", "hello")
                process.receive()]])
            os.execute("chmod 755 " .. script)
            local pid = assert(locked { ipc = true, uid = "nobody" })
            assert.equal("hello", (process.receive(20000)))
            local code = ([[
                local process = require "process"
                print(process.fork { file = "/sleep.lua", chroot = "%s", uid = "nobody" })
                io.stdout:flush()
                process.kill(process.pid, "KILL")]]):format(folder)
            program.write(folder .. "/sleep.lua", "require('timer').sleep(60000)")
            local orphan = tonumber(process.run(LINKS, { "-e", code }).stdout)
            eventually("the end of the orphan", function()
                local stat = io.open("/proc/" .. orphan .. "/stat")
                local text = stat and stat:read("*a")
                if stat then stat:close() end
                return not text or text:find("%) Z")
            end)
            process.send(pid, "end")
            assert.same({ code = 0 }, process.wait(pid))
        end)

        it("is for root only, and raises for what is no path", function()
            raises("options.chroot must be", function() process.fork { file = "x", chroot = 1 } end)
            raises("zero byte", function() process.fork { file = "x", chroot = "a\0b" } end)
            raises("dir must be", function() process.chroot(1) end)
            local code = [[
                local process = require "process"
                process.setgid("nogroup")
                process.setuid("nobody")
                print(select(2, process.fork { file = "/x", chroot = "/" }).name)
                print(select(2, process.chroot("/")).name)]]
            assert.equal("EPERM\nEPERM", output(LINKS, { "-e", code }))
        end)
    end)

    describe("forever", function()
        local first, longest, grown = forever.first, forever.longest, forever.grown

        after_each(function()
            forever.first, forever.longest, forever.grown = first, longest, grown
        end)

        local function restarts_of(options, n)
            local seen = {}
            local function note(child) seen[#seen + 1] = child end
            process.on("restart", note)
            options.forever = true
            local pid = assert(fork(options))
            eventually("restarts", function() return #seen >= n end)
            process.off("restart", note)
            return pid, seen
        end

        it("pauses for 10 ms, then twice as long each time, and says why", function()
            child_is("os.exit(3)")
            local begun = timer.now()
            local pid, seen = restarts_of({ args = { "x" } }, 5)
            assert.is_true(timer.now() - begun >= 10 + 20 + 40 + 80)
            for i, delay in ipairs { 10, 20, 40, 80, 160 } do
                assert.equal(delay, seen[i].delay)
                assert.equal(i - 1, seen[i].restarts)
                assert.same({ code = 3 }, seen[i].reason)
                assert.equal(pid, seen[i].firstPid)
                assert.equal(script, seen[i].file)
                assert.same({ "x" }, seen[i].args)
                assert.is_false(seen[i].running)
                if i > 1 then assert.not_equal(pid, seen[i].pid) end
            end
            local list = process.children()
            assert.equal(1, #list)
            assert.equal(pid, list[1].firstPid)
            assert.same({ code = 3 }, process.stop(pid))
            assert.same({}, process.children())
            fails("ECHILD", process.stop(2 ^ 31 - 1))
        end)

        it("never pauses for longer than 30 s, and begins anew after a minute up", function()
            assert.same({ 10, 30000, 60000 }, { first, longest, grown })
            forever.first, forever.longest, forever.grown = 2, 8, 2000
            child_is([[
                local f = io.open(os.getenv "OUT", "a")
                f:write("x")
                f:close()
                f = io.open(os.getenv "OUT")
                if #f:read("*a") == 5 then require("timer").sleep(2000) end]])
            local pid, seen = restarts_of({}, 6)
            local delays = {}
            for i = 1, 6 do delays[i] = seen[i].delay end
            assert.same({ 2, 4, 8, 8, 2, 4 }, delays)
            process.stop(pid)
        end)

        it("gives up after maxRestarts", function()
            child_is(SAY .. "say('x') os.exit(1)")
            restarts_of({ maxRestarts = 3 }, 4)
            eventually("the end", function() return #process.children() == 0 end)
            assert.equal("x\nx\nx\nx\n", said())
        end)

        it("counts a start that fails as a death", function()
            child_is("os.remove(arg[0])")
            local pid, seen = restarts_of({}, 3)
            assert.same({ code = 0 }, seen[1].reason)
            assert.equal("ENOENT", seen[2].reason.name)
            assert.equal("open", seen[2].reason.syscall)
            process.stop(pid)
        end)

        it("ends one that runs, by its first id and by its present one", function()
            child_is(SAY .. [[
                say(require("process").pid)
                require("timer").sleep(60000)]])
            local pid, seen = assert(fork { forever = true }), {}
            local function note(child) seen[#seen + 1] = child end
            process.on("restart", note)
            eventually("the start", function() return said() ~= "" end)
            process.kill(pid, "SIGKILL")
            local second = eventually("the second start", function()
                return said():match("\n(%d+)")
            end)
            assert.equal("SIGKILL", seen[1].reason.signal)
            local list = process.children()
            assert.same({ tonumber(second), pid, 1, true },
                { list[1].pid, list[1].firstPid, list[1].restarts, list[1].running })
            assert.equal("SIGTERM", process.stop(tonumber(second)).signal)
            assert.equal(1, #seen)
            process.off("restart", note)
            assert.same({}, process.children())
        end)

        it("prints a line for each restart where nobody listens", function()
            child_is("os.exit(4)")
            local code = "require('process').fork{file='" .. script
                .. "', forever=true, maxRestarts=1}"
            local result = assert(process.run(LINKS, { "-e", code }))
            assert.equal(0, result.code)
            local lines = {}
            for line in result.stderr:gmatch("[^\n]+") do
                lines[#lines + 1] = line:gsub("%(%d+%)", "(pid)")
            end
            assert.same({
                "links: " .. script .. " (pid) ended with code 4: starting it again in 10 ms",
                "links: " .. script
                    .. " (pid) ended with code 4: it has been started again 1 times, and no more",
            }, lines)
        end)

        it("goes on although all tasks were cancelled, until it is stopped", function()
            child_is("os.exit(1)")
            local code = ([[
                local process, task, timer = require "process", require "task", require "timer"
                local n = 0
                process.on("restart", function() n = n + 1 end)
                local pid = process.fork{file = '%s', forever = true}
                timer.sleep(15)
                for _, t in ipairs(task.list()) do if t ~= task.current() then t:cancel() end end
                local before = n
                while n < before + 2 do timer.sleep(1) end
                process.stop(pid)
                print("stopped")]]):format(script)
            assert.equal("stopped", output(LINKS, { "-e", code }))
        end)
    end)
end)
