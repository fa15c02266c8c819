package.path = "tests/support/?.lua;" .. package.path
local process = require "process"
local program = require "tools"
local timer = require "timer"

local LINKS, output, raises, fails = program.LINKS, program.output, program.raises, program.fails

-- Starts links on a script that gets the usual modules as locals.
local function start(code, options)
    local prelude = [[
        local process, task, timer = require "process", require "task", require "timer"
        io.stdout:setvbuf("line")
    ]]
    return assert(process.spawn(LINKS, { "-e", prelude .. code }, options))
end

local function run(code)
    local child = start(code)
    local out, _, err = child:readAll()
    local status = child:wait()
    return out, status.signal or status.code, err
end

describe("process.on", function()
    it("calls functions for a signal, in tasks of their own, with its name and number", function()
        local seen = {}
        local function note(name, number)
            timer.sleep(1)
            seen[#seen + 1] = name .. number
        end
        process.on("SIGHUP", note)
        process.on("SIGUSR2", note)
        for _, signal in ipairs { "SIGHUP", "USR2", "HUP", "SIGUSR2" } do
            local n = #seen
            assert.is_true(process.kill(process.pid, signal))
            program.eventually(signal, function() return #seen > n end)
        end
        assert.same({ "SIGHUP1", "SIGUSR212", "SIGHUP1", "SIGUSR212" }, seen)
        process.off("SIGHUP", note)
        process.off("SIGUSR2", note)
    end)

    it("folds a storm of one signal, and loses none of several", function()
        local n = { SIGHUP = 0, SIGUSR1 = 0 }
        local function note(name) n[name] = n[name] + 1 end
        for name in pairs(n) do process.on(name, note) end
        for _ = 1, 1000 do
            process.kill(process.pid, "SIGHUP")
            process.kill(process.pid, "SIGUSR1")
        end
        program.eventually("both", function() return n.SIGHUP >= 1 and n.SIGUSR1 >= 1 end)
        for name in pairs(n) do
            assert.is_true(n[name] <= 1000)
            process.off(name, note)
        end
    end)

    it("gives a signal its own action back with process.off", function()
        local out, ended = run([[
            local n = 0
            local function note() n = n + 1 print("caught") end
            process.on("SIGUSR1", note)
            process.on("SIGUSR1", note)
            process.kill(process.pid, "SIGUSR1")
            while n < 2 do timer.sleep(1) end
            process.off("SIGUSR1", note)
            process.kill(process.pid, "SIGUSR1")
            timer.sleep(60000)]])
        assert.equal("caught\ncaught\n", out)
        assert.equal("SIGUSR1", ended)
    end)

    it("takes a signal that was ignored", function()
        local code = [[
            local process = require "process"
            local caught = require("sync").event()
            process.on("SIGHUP", function() caught:set() end)
            process.kill(process.pid, "SIGHUP")
            print(caught:wait(20000) and "caught")]]
        local ignoring = 'trap "" HUP; exec "$0" -e "$1"'
        assert.equal("caught", output("sh", { "-c", ignoring, LINKS, code }))
    end)

    it("does not keep the process alive, nor is a deadlock for it", function()
        local out, ended = run([[process.on("SIGHUP", print) print("over")]])
        assert.equal("over\n", out)
        assert.equal(0, ended)
    end)

    it("goes on catching after all tasks were cancelled", function()
        local out = run([[
            local caught = require("sync").event()
            process.on("SIGHUP", function() caught:set() end)
            timer.sleep(1)
            for _, t in ipairs(task.list()) do if t ~= task.current() then t:cancel() end end
            timer.sleep(1)
            process.kill(process.pid, "SIGHUP")
            print(caught:wait(20000) and "caught")]])
        assert.equal("caught\n", out)
    end)

    it("raises for what is no event, and for what cannot be caught", function()
        raises("unknown event \"SIGHUPP\"", function() process.on("SIGHUPP", print) end)
        raises("did you mean \"error\"", function() process.on("eror", print) end)
        raises("unknown event \"HUP\"", function() process.on("HUP", print) end)
        raises("unknown event", function() process.off("SIG\0", print) end)
        for _, name in ipairs { "SIGKILL", "SIGSTOP", "SIGSEGV", "SIGFPE" } do
            raises(name .. " cannot be caught", function() process.on(name, print) end)
        end
        raises("event must be", function() process.on(1, print) end)
        raises("fn must be", function() process.on("SIGHUP") end)
        raises("fn must be", function() process.onShutdown("x") end)
    end)
end)

describe("SIGTERM", function()
    it("cancels all tasks, waits for them, and ends by that signal", function()
        -- It takes as long as the tasks do, and not the whole second that they have.
        program.within(900, function()
            local child = start([[
                print("ready")
                local _, err = timer.sleep(10000)
                task.shield(timer.sleep, 30)
                print(err.name)]])
            assert.equal("ready", child:readline())
            local begun = timer.now()
            child:kill()
            assert.equal("ECANCELED\n", child:readAll())
            assert.same({ signal = "SIGTERM" }, child:wait())
            return begun
        end)
    end)

    it("does what process.on says instead", function()
        local out, ended = run([[
            local caught = require("sync").event()
            process.on("SIGTERM", function() print("no") caught:set() end)
            process.kill(process.pid)
            caught:wait(20000)
            print("alive")]])
        assert.equal("no\nalive\n", out)
        assert.equal(0, ended)
    end)

    it("runs what wants to know of the end first, all at once, with the rest alive", function()
        local out, ended = run([[
            local ticks, inside = 0, 0
            local t = timer.setInterval(2, function() ticks = ticks + 1 end)
            for i = 1, 3 do
                process.onShutdown(function(reason)
                    local before = ticks
                    inside = inside + 1
                    while inside < 3 or ticks < before + 5 do assert(timer.sleep(1)) end
                    print(reason)
                end)
            end
            process.on("exit", function(code, signal) print("exit", code, signal) end)
            process.kill(process.pid)
            timer.sleep(10000)]])
        assert.equal(("SIGTERM\n"):rep(3) .. "exit\tnil\tSIGTERM\n", out)
        assert.equal("SIGTERM", ended)
    end)

    it("ends the process although a function hangs, after shutdownTimeout", function()
        program.within(9000, function()
            local begun = timer.now()
            local _, ended = run([[
                process.shutdownTimeout = 50
                process.onShutdown(function() timer.sleep(60000) end)
                process.kill(process.pid)
                timer.sleep(60000)]])
            assert.equal("SIGTERM", ended)
            assert.is_true(timer.now() - begun >= 50)
        end)
    end)

    it("ends the process at once when it comes again", function()
        local child = start([[
            process.onShutdown(function() print("hook") timer.sleep(60000) end)
            print("ready")
            timer.sleep(60000)]])
        assert.equal("ready", child:readline())
        child:kill("SIGINT")
        assert.equal("hook", child:readline())
        child:kill("SIGTERM")
        assert.same({ signal = "SIGTERM" }, child:wait())
    end)

    it("ends a process that does not come back to the loop", function()
        local child = start([[
            process.onShutdown(print)
            print("ready")
            while true do end]])
        assert.equal("ready", child:readline())
        child:kill()
        assert.same({ signal = "SIGTERM" }, child:wait(20000))
    end)

    it("reports what fails in those functions, and runs the others", function()
        local out, ended, err = run([[
            process.onShutdown(function() error("first fails") end)
            process.onShutdown(function() print("second runs") end)
            process.on("exit", function() error("exit fails") end)
            process.on("exit", function() print("last") end)
            process.kill(process.pid)
            timer.sleep(60000)]])
        assert.equal("second runs\nlast\n", out)
        assert.equal("SIGTERM", ended)
        assert.truthy(err:find("first fails", 1, true))
        assert.truthy(err:find("exit fails", 1, true))
    end)

    it("goes on to children that are not detached, and waits for them", function()
        -- They have a second: on a busy machine that is enough once.
        local said
        for _ = 1, 10 do
            local child = start([[
                local script = "trap 'sleep 0.05; echo ended; exit 0' TERM; echo $$; "
                    .. "while :; do sleep 0.01; done"
                local inherit = {stdout = "inherit", stderr = "inherit"}
                local one = process.spawn("sh", {"-c", script}, inherit)
                local null = {stdin = "null", stdout = "null", stderr = "null", detached = true}
                print("detached", process.spawn("sleep", {"60"}, null).pid)
                timer.sleep(60000)]])
            local lines = {}
            for i = 1, 2 do lines[i] = child:readline() end
            local detached = tonumber(table.concat(lines, " "):match("detached%s(%d+)"))
            child:kill()
            said = child:readAll()
            assert.same({ signal = "SIGTERM" }, child:wait())
            assert.is_true(process.kill(detached, "SIGKILL"))
            if said ~= "" then break end
        end
        assert.equal("ended\n", said)
    end)

    it("reaches the children of a process that was killed", function()
        local child = start([[
            local one = process.spawn("sleep", {"60"}, {stdout = "null", stderr = "null"})
            print(one.pid)
            timer.sleep(60000)]])
        local pid = tonumber(child:readline())
        child:kill("SIGKILL")
        child:wait()
        program.eventually("its end", function() return program.has_ended(pid) end)
    end)

    it("ends a parent of children that are kept running, and them", function()
        local path = os.tmpname()
        program.write(path, "print(require('process').pid) io.stdout:flush() "
            .. "require('timer').sleep(60000)")
        local child = start(("process.fork{file='%s', forever=true}"):format(path))
        local pid = tonumber(child:readline())
        child:kill()
        assert.same({ signal = "SIGTERM" }, child:wait())
        fails("ESRCH", process.kill(pid, 0))
        os.remove(path)
    end)
end)

describe("the end", function()
    it("comes with a code by process.quit, after what wants to know of it", function()
        local out, ended = run([[
            process.onShutdown(function(reason) print(reason) end)
            process.on("exit", function(code, signal) print(code, signal) end)
            process.onShutdown(function() print(select(2, process.quit(1)).name) end)
            task.spawn(function() print(select(2, timer.sleep(10000)).name) end)
            timer.sleep(1)
            process.quit(9)
            print("returned")]])
        assert.equal("quit\nSHUTTING_DOWN\n9\tnil\nECANCELED\n", out)
        assert.equal(9, ended)
        assert.equal(0, select(2, run("process.quit() print('not reached') timer.sleep(1)")))
        raises("code must be", function() process.quit(256) end)
        raises("code must be", function() process.quit("0") end)
    end)

    it("comes by a signal with process.exit, which nobody can delay by another", function()
        local cases = {
            [""] = "SIGTERM", ["'SIGINT'"] = "SIGINT", ["'KILL'"] = "SIGKILL",
            ["'SIGABRT'"] = "SIGABRT", ["1"] = "SIGHUP",
        }
        for argument, name in pairs(cases) do
            local _, ended = run("process.exit(" .. argument .. ")")
            assert.equal(name, ended)
        end
        local _, ended = run([[
            process.onShutdown(function() process.quit(3) end)
            process.exit("SIGINT")]])
        assert.equal("SIGINT", ended)
        raises("unknown signal", function() process.exit("SIGNO") end)
        raises("ends a process", function() process.exit("SIGCHLD") end)
        raises("ends a process", function() process.exit(0) end)
        raises("signal must be", function() process.exit({}) end)
    end)

    it("comes from anywhere, also where nothing can wait", function()
        local _, ended = run([[
            table.sort({3, 2, 1}, function() process.quit(4) return false end)
            timer.sleep(60000)]])
        assert.equal(4, ended)
    end)

    it("is told of where nothing is left to do, and where the program has failed", function()
        local hooks = [[
            process.onShutdown(function(reason) timer.sleep(2) print(reason) end)
            process.on("exit", function(code) print(code) end)
        ]]
        local out, ended = run(hooks)
        assert.equal("end\n0\n", out)
        assert.equal(0, ended)
        local failed, code, err = run(hooks .. "error('failed')")
        assert.equal("end\n1\n", failed)
        assert.equal(1, code)
        assert.truthy(err:find("failed", 1, true))
    end)

    it("comes at once by process.abort", function()
        local out, ended = run("process.onShutdown(print) io.write('flushed') process.abort()")
        assert.equal("flushed", out)
        assert.equal("SIGABRT", ended)
    end)
end)

describe("process.daemon", function()
    it("goes on in the background, and ends in the front with 0", function()
        local path = os.tmpname()
        local child = start(([[
            assert(process.daemon())
            assert(process.daemon())
            local ids = process.run("ps", {"-o", "sid=,tty=", "-p", tostring(process.pid)}).stdout
            local file = io.open(%q, "w")
            file:write(process.pid, " ", ids, " ", tostring(process.env.LINKS_DAEMON))
            file:close()]]):format(path))
        assert.equal("", child:readAll())
        assert.same({ code = 0 }, child:wait())
        local text = program.eventually("the daemon", function()
            local all = program.read(path)
            return all:find("nil$") and all
        end)
        os.remove(path)
        local pid, sid, tty, env = text:match("^(%d+)%s+(%d+)%s+(%S+)%s+(%S+)$")
        assert.equal(pid, sid)
        assert.not_equal(child.pid, tonumber(pid))
        assert.equal("?", tty)
        assert.equal("nil", env)
    end)

    it("cannot start a script once more that came from standard input", function()
        local code = "local ok, err = require('process').daemon() print(ok, err.name)"
        assert.equal("nil\tUNSUPPORTED", output(LINKS, { "-" }, { input = code }))
        raises("unknown option", function() process.daemon { stdin = "null" } end)
    end)
end)

describe("process.pidFile", function()
    it("has our id, is ours alone, and goes when we do", function()
        local path = os.tmpname()
        local child = start(([[
            assert(process.pidFile(%q))
            print("ready")
            timer.sleep(60000)]]):format(path))
        assert.equal("ready", child:readline())
        assert.equal(child.pid .. "\n", program.read(path))
        local err = fails("LOCKED", process.pidFile(path))
        assert.equal(child.pid, err.pid)
        assert.equal(path, err.address)
        child:kill()
        child:wait()
        assert.is_nil(io.open(path))
    end)

    it("is taken over from one that was killed, and goes with os.exit too", function()
        local path = os.tmpname()
        local child = start(([[
            assert(process.pidFile(%q))
            process.kill(process.pid, "KILL")]]):format(path))
        child:wait()
        assert.equal(child.pid .. "\n", program.read(path))
        local _, ended = run(("assert(process.pidFile(%q)) os.exit(5)"):format(path))
        assert.equal(5, ended)
        assert.is_nil(io.open(path))
    end)

    it("goes only to one of several that want it", function()
        local path = os.tmpname()
        local code = ([[
            local ok, err = process.pidFile(%q)
            print(ok or err.name)
            io.read()]]):format(path)
        local children, counts = {}, { ["true"] = 0, LOCKED = 0 }
        for i = 1, 8 do children[i] = start(code) end
        for _, child in ipairs(children) do
            local word = child:readline()
            counts[word] = counts[word] + 1
        end
        for _, child in ipairs(children) do child:closeStdin() end
        for _, child in ipairs(children) do child:wait() end
        assert.same({ ["true"] = 1, LOCKED = 7 }, counts)
        os.remove(path)
    end)

    it("returns why it cannot be written", function()
        fails("ENOENT", process.pidFile("/no/such/folder/pid"))
        fails("EISDIR", process.pidFile("/tmp"))
        local path = os.tmpname()
        os.remove(path)
        output("ln", { "-s", "/etc/passwd", path })
        fails("ELOOP", process.pidFile(path))
        os.remove(path)
        raises("path must be", function() process.pidFile() end)
        raises("zero byte", function() process.pidFile("a\0") end)
    end)
end)

describe("process.exit in a task", function()
    it("does not return, and costs no time for that", function()
        program.within(900, function()
            local child = start([[
                process.onShutdown(function() print("hook") timer.sleep(20) end)
                task.spawn(function()
                    task.withTimeout(1, process.exit)
                    print("returned")
                end)
                timer.sleep(60000)]])
            assert.equal("hook", child:readline())
            local begun = timer.now()
            assert.equal("", child:readAll())
            child:wait()
            return begun
        end)
    end)
end)
