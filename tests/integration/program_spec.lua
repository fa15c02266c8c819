package.path = "tests/support/?.lua;" .. package.path
local program = require "program"
local timer = require "links.timer"
local tools = require "tools"

local function trimmed(text) return (text:gsub("%s+$", "")) end

-- What the program printed, where it ended with `code`.
local function output(result, code)
    assert.same({ code = code or 0, err = "" },
        { code = result.code, signal = result.signal, err = result.err })
    return trimmed(result.out)
end

local function one_line(result, code, pattern)
    assert.equal(code, result.code)
    assert.equal("", result.out)
    assert.matches("^links: [^\n]*" .. pattern .. "[^\n]*\n$", result.err)
end

describe("links SCRIPT", function()
    it("runs a plain Lua file with arg, ..., argv and process.argv", function()
        program.with_file([[
            print(arg[0] == SCRIPT, arg[1], arg[2], #arg, arg[-1] ~= nil, ...)
            print(argv[1], argv[2], require("process").argv[2], select("#", ...))
        ]], function(path)
            local result = program.run { "-e", "SCRIPT = '" .. path .. "'", path, "a", "b c" }
            assert.equal("true\ta\tb c\t2\ttrue\ta\tb c\na\tb c\tb c\t2", output(result))
        end)
    end)

    it("passes options behind the script to the script", function()
        program.with_file("print(...)", function(path)
            assert.equal("-v\t--strict\t--", output(program.run { path, "-v", "--strict", "--" }))
        end)
    end)

    it("runs the main chunk in a task, so it may wait at its top level", function()
        assert.equal("true\trunning", output(program.eval [[
            print(require("timer").sleep(1), require("task").current().status)
        ]]))
    end)

    it("skips a shebang line and keeps the numbers of the lines", function()
        program.with_file("#!/usr/bin/env links\nerror('here')", function(path)
            local result = program.run { path }
            assert.equal(1, result.code)
            assert.matches(":2: here", result.err)
        end)
    end)

    it("runs a script that is a pipe", function()
        local result = program.shell([[echo 'print("piped", ...)' | "$LINKS" /dev/stdin x]])
        assert.equal("piped\tx", output(result))
    end)

    it("runs precompiled bytecode", function()
        program.with_file(string.dump(loadstring("print('compiled', ...)")), function(path)
            assert.equal("compiled\tx", output(program.run { path, "x" }))
        end)
    end)

    it("tells of a missing script in one line and exits with 1", function()
        one_line(program.run { "/nowhere/app.lua" }, 1, "cannot open /nowhere/app.lua")
        one_line(program.run { "" }, 1, "cannot open")
    end)

    it("tells of a directory in one line and exits with 1", function()
        one_line(program.run { "/" }, 1, "cannot read /")
    end)

    it("tells of a syntax error in one line and exits with 1", function()
        program.with_file("local x = = 1", function(path)
            one_line(program.run { path }, 1, ":1: unexpected symbol")
        end)
    end)

    it("runs an empty script", function()
        program.with_file("", function(path) assert.equal("", output(program.run { path })) end)
    end)
end)

describe("links -", function()
    it("runs standard input, with arguments", function()
        local stdin = "#!links\nprint(arg[0], ...)"
        assert.equal("-\ta\tb", output(program.run({ "-", "a", "b" }, { stdin = stdin })))
    end)

    it("runs standard input where there is no script and no terminal", function()
        assert.equal("hello", output(program.run({}, { stdin = "print 'hello'" })))
    end)

    it("names standard input in errors", function()
        local result = program.run({ "-" }, { stdin = "\nerror('x')" })
        assert.equal(1, result.code)
        assert.matches("stdin:2: x", result.err)
    end)
end)

describe("links OPTIONS", function()
    it("-e runs code, several in their order, before the script", function()
        program.with_file("print('script', A)", function(path)
            assert.equal("one\ntwo\nscript\t5", output(program.run {
                "-e", "print 'one' A = 5", "-eprint 'two'", path,
            }))
        end)
    end)

    it("-e reports a syntax error in one line", function()
        one_line(program.eval("x ="), 1, "command line")
    end)

    it("-l requires a module into a global of its name", function()
        assert.equal("table\ttrue", output(program.run {
            "-l", "timer", "-e", "print(type(timer), timer == require 'links.timer')",
        }))
    end)

    it("-l of a module that is missing says so and exits with 1", function()
        local result = program.run { "-l", "no.such.module" }
        assert.equal(1, result.code)
        assert.matches("module 'no.such.module' not found", result.err)
    end)

    it("-v prints the versions of everything inside", function()
        local out = output(program.run { "-v" })
        assert.matches("^links %d+%.%d+", out)
        for _, name in ipairs { "LuaJIT", "http%-parser", "c%-ares", "zlib", "OpenSSL" } do
            assert.matches("\n" .. name .. " %d+%.%d+%.%d", out)
        end
        assert.equal(out, output(program.run { "--version" }))
    end)

    it("-h prints the options", function()
        assert.matches("^usage: links", output(program.run { "-h" }))
        assert.matches("%-%-strict", output(program.run { "--help" }))
    end)

    it("-- ends the options", function()
        one_line(program.run { "--", "-v" }, 1, "cannot open %-v")
    end)

    it("an unknown option is one line and exit code 2", function()
        for _, option in ipairs { "-x", "--nope", "-vv", "-hx", "--strict=yes", "-E" } do
            one_line(program.run { option }, 2, "unknown option " .. option:gsub("%p", "%%%0"))
        end
    end)

    it("an option without its argument is one line and exit code 2", function()
        one_line(program.run { "-e" }, 2, "argument is missing after %-e")
        one_line(program.run { "-l" }, 2, "argument is missing after %-l")
    end)

    it("more than 64 of -e and -l are one line and exit code 2", function()
        local many = {}
        for i = 1, 65 do many[i] = "-ex=1" end
        one_line(program.run(many), 2, "too many options")
        many[65] = nil
        assert.equal("", output(program.run(many)))
    end)

    it("--strict makes writing an undeclared global from a function an error", function()
        local result = program.run { "--strict", "-e", "local function f() leaked = 1 end f()" }
        assert.equal(1, result.code)
        assert.matches("global 'leaked' is written but not declared", result.err)
        assert.equal("1", output(program.run {
            "--strict", "-e", "x = 0 local function f() x = 1 end f() print(x)",
        }))
    end)
end)

describe("the exit code", function()
    it("is 0 once nothing is left that could happen", function()
        local result = program.eval [[
            require("timer").setTimeout(5, function() print "late" end)
            require("task").spawn(function() require("sync").event():wait() print "never" end)
        ]]
        assert.equal("late", output(result))
    end)

    it("is 0 with an unreferenced timer armed", function()
        assert.equal("", output(program.eval "require('timer').setInterval(60000, print):unref()"))
    end)

    it("is 1 for an uncaught error of the main program, with its traceback", function()
        local text = "local function inner() error('broken') end\n"
            .. "local function outer() inner() end\nouter()"
        program.with_file(text, function(path)
            local result = program.run { path }
            assert.equal(1, result.code)
            assert.matches("^links: [^\n]*:1: broken\nstack traceback:\n", result.err)
            assert.matches("in function 'outer'", result.err)
            assert.not_matches("links/boot", result.err)
        end)
    end)

    it("is 1 for error objects of every kind", function()
        for code, message in pairs {
            ["error({})"] = "%(error object is a table value%)",
            ["error()"] = "nil",
            ["error(setmetatable({}, { __tostring = function() return 'mine' end }))"] = "mine",
            ["error(setmetatable({}, { __tostring = function() error('no') end }))"] =
                "cannot be printed",
            ["error(setmetatable({}, { __tostring = function() return 5 end }))"] =
                "cannot be printed",
            ["error(setmetatable({}, { __metatable = 5 }))"] = "table: ",
            ["error(print)"] = "builtin",
            ["error(true)"] = "true",
            ["require('timer').sleep(1) error('later', 0)"] = "links: later\n",
        } do
            local result = program.eval(code)
            assert.equal(1, result.code, code)
            assert.matches(message, result.err, 1, false, code)
        end
    end)

    it("is 0 where a spawned task has failed: the process goes on", function()
        local result = program.eval [[
            local task, timer = require "task", require "timer"
            task.spawn(function() local function deep() error("lost") end deep() end)
            timer.sleep(1)
            print "alive"
        ]]
        assert.equal(0, result.code)
        assert.equal("alive\n", result.out)
        assert.matches("links: task %d+ failed: [^\n]*lost", result.err)
        assert.matches("in function 'deep'", result.err)
    end)

    it("is what os.exit says", function()
        for code, expected in pairs { [0] = 0, [3] = 3, [255] = 255 } do
            assert.equal(expected, program.eval("io.write('kept') os.exit(" .. code .. ")").code)
        end
        assert.equal(0, program.eval("os.exit()").code)
        assert.equal(0, program.eval("os.exit(true)").code)
        assert.equal(1, program.eval("os.exit(false)").code)
        assert.equal("kept", output(program.eval [[
            io.write('kept') require('task').spawn(os.exit, 4) require('timer').sleep(50)
        ]], 4))
    end)

    it("is 1 with a line for a main program that nothing can wake", function()
        one_line(program.eval "require('sync').channel():receive()", 1,
            "deadlock: the main program waits %(channel receive%)")
        one_line(program.eval [[
            local task = require "task"
            local main = task.current()
            task.spawn(function() main:join() end):join()
        ]], 1, "deadlock: the main program waits %(join%)")
    end)

    it("is 1 for a yield outside of any coroutine, which pcall can catch", function()
        local result = program.eval "coroutine.yield(1)"
        assert.equal(1, result.code)
        assert.matches("attempt to yield from outside a coroutine", result.err)
        assert.equal("false", output(program.eval "print((pcall(coroutine.yield)))"))
    end)
end)

describe("a server that was refused for its options", function()
    for option, value in pairs {
        cookieSecret = "'short'", trustedProxies = "{ 'nonsense' }", tls = "{ cert = '/none' }",
    } do
        it("does not keep the program going: " .. option, function()
            local result = program.eval(([[
                collectgarbage("stop") -- which would let go of it, sooner or later
                local http = require "http"
                local ok, server = pcall(http.createServer, 0, print, { %s = %s })
                print(not ok or server == nil)]]):format(option, value))
            assert.equal("true\n", result.out)
            assert.equal(0, result.code)
        end)
    end
end)

describe("a used port", function()
    local listen = [[local http = require "http"
        local first = assert(http.createServer(0, function() end, { host = "127.0.0.1" }))
        local port = first:address().port
        ]]

    it("is one line with its place, and exit code 1, where the program asserts", function()
        one_line(program.eval(listen .. [[
            assert(http.createServer(port, function() end, { host = "127.0.0.1" }))]]),
            1, "line%):4: EADDRINUSE: address already in use %(listen 127.0.0.1:")
    end)

    it("is one line and exit code 1 where the program does not look, and has nothing else to do",
        function()
            local server = assert(require("http").createServer(0, function() end))
            one_line(program.eval("require('http').createServer(" .. server:address().port ..
                ", function() end)"), 1, "EADDRINUSE: address already in use %(listen 0.0.0.0:")
            server:close()
        end)

    it("is no news where the program listens on another one", function()
        assert.equal(0, program.eval(listen .. [[
            http.createServer(port, function() end, { host = "127.0.0.1" })
            first:close()]]).code)
    end)
end)

describe("a signal", function()
    local function started(code)
        local process = program.start { "-e", "io.stdout:setvbuf 'no' " .. code }
        process:expect("ready")
        return process
    end

    for _, name in ipairs { "INT", "TERM" } do
        it("SIG" .. name .. " ends a program that sleeps, as the parent can see", function()
            local process = started "print 'ready' print(require('timer').sleep(100000))"
            process:kill(name)
            local result = process:wait()
            assert.equal(name, result.signal)
            assert.matches("ECANCELED", result.out)
            assert.equal("", result.err)
        end)
    end

    it("gives every task a second to clean up, and runs its onCancel", function()
        local process = started [[
            local task, timer = require "task", require "timer"
            for i = 1, 300 do
                task.spawn(function()
                    if i == 300 then task.onCancel(function(err) print("asked", err.cause) end) end
                    local _, err = timer.sleep(100000)
                    task.shield(timer.sleep, 5)
                    if i == 300 then print("cleaned", err.name) end
                end)
            end
            timer.sleep(1)
            print "ready"
            timer.sleep(100000)
        ]]
        process:kill("TERM")
        local result = process:wait()
        assert.equal("TERM", result.signal)
        assert.matches("asked\tthe process is ending", result.out)
        assert.matches("cleaned\tECANCELED", result.out)
        assert.equal("", result.err)
    end)

    it("ends a program that ignores its cancellation", function()
        local process = started "print 'ready' while true do require('timer').sleep(1000) end"
        process:kill("TERM")
        assert.equal("TERM", process:wait().signal)
    end)

    it("ends a program that computes in a compiled loop", function()
        local process = started "print 'ready' local x = 0 while true do x = x + 1 end"
        process:kill("INT")
        assert.equal("INT", process:wait().signal)
    end)

    it("ends a program that gets stuck while it cleans up", function()
        local process = started [[
            print 'ready'
            require('timer').sleep(100000)
            print 'cleaning'
            while true do end
        ]]
        process:kill("TERM")
        local result = process:wait()
        assert.equal("TERM", result.signal)
        assert.matches("cleaning", result.out)
    end)

    it("ends a program at once when it comes a second time", function()
        -- And not when the second that it has is over.
        tools.within(900, function()
            local process = started [[
                print 'ready'
                require('timer').sleep(100000)
                print 'cleaning'
                while true do end
            ]]
            local begun = timer.now()
            process:kill("INT")
            process:expect("cleaning")
            process:kill("TERM")
            assert.equal("TERM", process:wait().signal)
            return begun
        end)
    end)

    it("ends a program stuck in a finalizer at its end", function()
        local process = started [[
            p = newproxy(true)
            getmetatable(p).__gc = function() print 'collecting' while true do end end
            print 'ready'
            require('timer').sleep(100000)
        ]]
        process:kill("TERM")
        assert.equal("TERM", process:wait().signal)
    end)

    it("SIGPIPE: a program whose output nobody reads ends as cat would", function()
        local process = started "print 'ready' while true do print(('x'):rep(1000)) end"
        process:hang_up("out")
        assert.equal("PIPE", process:wait().signal)
    end)

    it("SIGPIPE: another pipe that breaks is an error of the write", function()
        local result = program.eval [[
            local p = io.popen("true", "w")
            require("timer").sleep(50)
            for i = 1, 100 do p:write(("x"):rep(10000)) p:flush() end
            print "alive"
        ]]
        assert.equal("alive", output(result))
    end)

    it("ignored by the parent stays ignored", function()
        local result = program.shell [[trap '' TERM; "$LINKS" -e '
            os.execute("kill -TERM $PPID") require("timer").sleep(20) print "alive"']]
        assert.equal("alive", output(result))
    end)
end)

describe("the program", function()
    it("has /dev/null where it was started without standard input, output or errors", function()
        local path = os.tmpname()
        local child = program.start({ "-c", 'exec "$0" -e "$1" <&- >&- 2>&-', program.path, ([[
            local file = assert(io.open(%q, "w"))
            local function works(ok, err) return tostring(ok and true or err) end
            file:write(io.read("*a"), works(io.write("x")), " ", works(io.flush()), " ",
                works(io.stderr:write("y")), " ",
                require("process").run("cat", {}, { stdin = "inherit" }).stdout, ".")]])
            :format(path) }, { path = "/bin/sh" })
        local result = child:wait()
        local text = tools.read(path)
        os.remove(path)
        assert.equal(0, result.code)
        assert.equal("true true true .", text)
    end)

    it("works as a copy in another directory, with an empty environment", function()
        local result = program.shell [[
            d=$(mktemp -d) && cp "$LINKS" $d/copy && cd $d &&
            env -i $d/copy -e 'print(require("timer").sleep(1), require("http") ~= nil)'
            rc=$?; rm -r $d; exit $rc]]
        assert.equal("true\ttrue", output(result))
    end)

    it("honours LUA_PATH and LUA_CPATH", function()
        local result = program.shell [[LUA_PATH='/l/?.lua;;' LUA_CPATH='/c/?.so' "$LINKS" -e '
            print(package.path:sub(1, 10), package.cpath)']]
        assert.equal("/l/?.lua;.\t/c/?.so", output(result))
    end)

    it("loads C modules: cjson, lpeg and lfs", function()
        assert.equal('{"a":[1,2]}\t4\tdirectory', output(program.eval [[
            local cjson, lpeg, lfs = require "cjson", require "lpeg", require "lfs"
            print(cjson.encode { a = { 1, 2 } }, lpeg.match(lpeg.P "abc", "abc"),
                lfs.attributes("/", "mode"))
        ]]))
    end)

    it("has LuaJIT's extras: string.buffer, table.new, ffi, bit, jit", function()
        assert.equal("abc\ttable\t4\t6\ttrue", output(program.eval [[
            local buffer = require("string.buffer").new():put("a", "bc")
            print(buffer:tostring(), type(require("table.new")(4, 0)), require("ffi").sizeof("int"),
                bit.bor(2, 4), (jit.status()))
        ]]))
    end)

    it("is GC64: a program may hold more than 4 GiB of Lua objects", function()
        assert.equal("true", output(program.eval "print(require('ffi').abi('gc64'))"))
    end)

    it("survives recursion without end through C functions", function()
        for _, code in ipairs {
            "local function f() return (('x'):gsub('.', f)) end f()",
            "local function f() table.sort({ 2, 1 }, f) end f()",
            "local function f() return coroutine.wrap(f)() end f()",
            "local function f() return assert(coroutine.resume(coroutine.create(f))) end f()",
            "local function f() table.foreach({ 1 }, f) end f()",
            "local function f() load(function() f() end) end f() error('overflow')",
            "local t = {} t.__tostring = function() return 'x' .. tostring(setmetatable({}, t)) end"
                .. " tostring(setmetatable({}, t))",
            "local o o = setmetatable({}, { __index = function(_, k) return o[k] .. '' end })"
                .. " return o.x",
            "local function f() error(xpcall(error, f)) end xpcall(error, f) error('overflow')",
            "local n = 0 local function f() n = n + 1 package.preload['m' .. n] = f"
                .. " return require('m' .. n) end f()",
        } do
            local result = program.eval(code)
            assert.equal(1, result.code, code .. " -> " .. tostring(result.signal))
            assert.matches("overflow", result.err, 1, true, code)
        end
    end)

    it("reports errors in finalizers, and goes on", function()
        local result = program.eval [[
            local ffi, timer, task = require "ffi", require "timer", require "task"
            local function bombs()
                for _ = 1, 50 do
                    getmetatable(newproxy(true)).__gc = function() error("in a proxy") end
                    ffi.gc(ffi.new("int[1]"), function() error({}) end)
                end
            end
            ffi.cdef "typedef struct { int x; } fragile;"
            local fragile = ffi.metatype("fragile", { __gc = function() error("in a type") end })
            for i = 1, 30 do
                bombs()
                fragile()
                timer.setTimeout(0, function() local t = {} for n = 1, 100 do t[n] = {} end end)
                timer.sleep(1)
                task.spawn(function() return ("x"):rep(1000) .. i end):join()
            end
            collectgarbage()
            print "alive"
        ]]
        assert.equal(0, result.code)
        assert.equal("alive\n", result.out)
        assert.matches("error in a finalizer: [^\n]*in a proxy", result.err)
        assert.matches("error in a finalizer: [^\n]*in a type", result.err)
        assert.matches("error in a finalizer: table:", result.err)
    end)

    it("lets finalizers spawn tasks, but not at the end, and not wait", function()
        local result = program.eval [[
            local task, timer = require "task", require "timer"
            local n = 0
            local function proxy(fn) getmetatable(newproxy(true)).__gc = fn end
            for _ = 1, 2000 do
                proxy(function() task.spawn(function() n = n + 1 end) end)
                proxy(function() local ok, err = pcall(timer.sleep, 1) refused = err end)
                task.spawn(function() return {} end)
                if _ % 100 == 0 then timer.sleep(1) end
            end
            collectgarbage()
            timer.sleep(5)
            print(n, refused)
            at_end = newproxy(true)
            getmetatable(at_end).__gc = function()
                print(pcall(task.spawn, print))
                print(pcall(timer.sleep, 1))
                print(pcall(timer.setTimeout, 1, print))
            end
        ]]
        assert.equal(0, result.code)
        assert.matches("2000\t[^\n]*cannot yield inside ", result.out)
        assert.matches(("false\t[^\n]*the program is ending\n"):rep(3), result.out)
    end)

    it("starts within a gigabyte of addresses", function()
        if program.sanitized then return pending("the sanitizer needs more") end
        local result = program.shell [[ulimit -v 1000000; "$LINKS" -e 'print "small"']]
        assert.equal("small", output(result))
    end)

    it("raises an error where memory runs out, and goes on", function()
        if program.sanitized then return pending("the sanitizer needs more") end
        local result = program.shell [[ulimit -v 400000; "$LINKS" -e '
            local ok, err = pcall(function()
                local t = {}
                for i = 1, 1e9 do t[i] = ("x"):rep(1e6) .. i end
            end)
            collectgarbage()
            print(ok, err, require("timer").sleep(1))']]
        assert.matches("false\tnot enough memory\ttrue", result.out)
    end)
end)
