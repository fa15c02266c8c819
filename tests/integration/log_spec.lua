-- What a program's log leaves behind: files, what is written at its end, however that comes, and
-- what links itself says.
package.path = "tests/support/?.lua;" .. package.path

local fs = require "fs"
local program = require "program"
local tools = require "tools"

local folder, path

local function read()
    return fs.readFile(path) or ""
end

local function lines_of(text)
    local n = 0
    for _ in text:gmatch("\n") do n = n + 1 end
    return n
end

-- A program with a logger `log` that writes to the file of these tests.
local function code(text)
    return ('local log = assert(require("log").new { to = %q })\n'):format(path) .. text
end

local function run(text) return program.eval(code(text)) end

describe("the log of a program", function()
    before_each(function()
        folder = assert(fs.tempDir())
        path = folder .. "/app.log"
    end)
    after_each(function() fs.remove(folder, { recursive = true }) end)

    it("is written when the program ends, and does not keep it from that", function()
        local result = run 'for i = 1, 100 do log:info("line %d", i) end'
        assert.same({ 0, "" }, { result.code, result.err })
        assert.equal(100, lines_of(read()))
    end)

    it("is written however the program ends", function()
        for _, ending in ipairs {
            "os.exit(3)", "require('process').quit(3)", "error('x')", "require('process').exit()",
            "require('process').kill(require('process').pid)\nrequire('timer').sleep(5000)",
            "require('process').abort()", "os.exit(3, true)",
            "require('ffi').cast('int *', 8)[0] = 1",
        } do
            fs.remove(path)
            if not (program.sanitized and ending:find("cast")) then
                run('log:info("the last line")\n' .. ending)
                assert.truthy(read():find("the last line\n", 1, true), ending)
            end
        end
    end)

    it("is written to by what runs at the end", function()
        run [[
            local process = require "process"
            process.onShutdown(function() require("timer").sleep(5) log:info("shutting down") end)
            process.on("exit", function() log:info("exit") end)
        ]]
        assert.truthy(read():find("shutting down\n.*exit\n"))
        local result = program.eval [[
            local log = require("log").new { to = function(line)
                require("timer").sleep(1)
                print(line:sub(26))
            end }
            log:info("to a function")
            require("process").on("exit", function() log:info("not too late") end)
        ]]
        assert.truthy(result.out:find("to a function\n", 1, true), result.out .. result.err)
    end)

    it("is opened anew at SIGUSR1", function()
        local process = program.start { "-e", code [[
            local timer = require "timer"
            local n = 0
            log:error("before")
            print("ready")
            io.stdout:flush()
            timer.sleep(20000)
        ]] }
        process:expect("ready")
        tools.eventually("the first line", function() return read():find("before") end)
        assert(fs.rename(path, path .. ".1"))
        program.signals.USR1 = 10
        process:kill("USR1")
        tools.eventually("the new file", function() return fs.exists(path) end)
        process:kill("TERM")
        assert.equal("TERM", process:wait().signal)
    end)

    it("is opened anew at another signal where that is asked for, or at none", function()
        local result = program.eval(([[
            local fs, log, process, sync = require "fs", require "log", require "process",
                require "sync"
            local function opened_at(signal, option)
                local path = %q .. signal
                local logger = assert(log.new { to = path, reopenOn = option })
                logger:info("before")
                logger:flush()
                assert(fs.rename(path, path .. ".1"))
                local came = sync.channel(1)
                process.on(signal, function() came:send(true) end)
                process.kill(process.pid, signal)
                came:receive(20000)
                logger:flush(20000)
                return fs.exists(path)
            end
            print(opened_at("SIGHUP", "SIGHUP"), opened_at("SIGUSR1", false))
        ]]):format(path))
        assert.equal("true\tfalse\n", result.out, result.err)
    end)

    it("has one whole line for each, whoever writes to the file", function()
        local children = {}
        for i = 1, 3 do
            children[i] = program.start { "-e", ([[
                local log = require("log").new { to = %q, onFull = "block" }
                for i = 1, 2000 do log:info(("abc"):rep(30 * %d)) end
            ]]):format(path, i) }
        end
        for i = 1, 3 do assert.equal(0, children[i]:wait().code) end
        local text = read()
        assert.equal(6000, lines_of(text))
        for line in text:gmatch("[^\n]+") do
            local message = line:match("^%S+ INFO  (.*)$")
            assert.truthy(message and #message % 90 == 0 and message == ("abc"):rep(#message / 3))
        end
    end)

    it("is rotated and coloured where that is asked for, and written when it is time", function()
        local result = program.eval(([[
            local log = assert(require("log").new { to = %q, color = true, flushInterval = 600000,
                rotate = { size = "4K", keep = 2, compress = false } })
            log:info("waits")
            print(io.open(%q):read("*a"))
            for i = 1, 200 do
                log:warn(("x"):rep(100))
                log:flush()
            end
        ]]):format(path, path))
        assert.equal("\n", result.out, result.err)
        local files = assert(fs.readdir(folder))
        assert.equal(3, #files)
        for _, file in ipairs(files) do
            local text = assert(fs.readFile(folder .. "/" .. file))
            assert.truthy(#text <= 4096 and text:find("\27[33mWARN", 1, true), text)
        end
    end)

    it("is written at once where that is asked for", function()
        local result = program.eval(([[
            local log = assert(require("log").new { to = %q, sync = true })
            log:info("there")
            print(io.open(%q):read("*a"))
        ]]):format(path, path))
        assert.truthy(result.out:find("there", 1, true))
    end)

    it("does not stop a program whose disk is full", function()
        local result = program.eval [[
            local log = assert(require("log").new { to = "/dev/full", bufferSize = 4096 })
            for i = 1, 1000 do log:error("line %d", i) end
            local ok, err = log:flush()
            local stats = log:stats()
            print(ok, err.name, stats.error, stats.dropped > 800)
        ]]
        assert.equal("nil\tENOSPC\tENOSPC\ttrue\n", result.out)
        assert.equal(0, result.code)
    end)

    it("does not stop a program whose reader has stopped, or has left", function()
        local process = program.start { "-e", [[
            local log = require "log"
            for i = 1, 20000 do log.info("a line that fills the pipe %d", i) end
            print(log.flush(20) == nil, log.stats().dropped > 0)
        ]] }
        -- Nobody reads stderr while it runs.
        tools.eventually("its end", function()
            process:take("out")
            return process.out ~= ""
        end)
        assert.equal("true\ttrue\n", process.out)
        process:hang_up("err")
        assert.equal(0, process:wait().code)
    end)

    it("has colours on terminals only", function()
        local result = program.eval [[require("log").warn("plain")]]
        assert.truthy(result.err:find("Z WARN  plain\n", 1, true))
    end)
end)

describe("what links says", function()
    local FAILING = [[
        require("task").spawn(function() error("boom") end)
        local http = require "http"
    ]]

    it("is on stderr as it always was, where the program does not use the log", function()
        local result = program.eval(FAILING)
        assert.truthy(result.err:find(
            "^links: task %d+ failed: %(command line%):1: boom\nstack traceback:\n\t"), result.err)
    end)

    it("is a line of the default logger where it does", function()
        local result = program.eval('require("log").configure { format = "json" }\n' .. FAILING)
        local r = require("json").decode(result.err)
        assert.same({ "error", "links" }, { r.level, r.logger })
        assert.truthy(r.message:find("^task %d+ failed: %(command line%):2: boom$"), r.message)
        assert.truthy(r.traceback:find("(command line):2", 1, true))
    end)

    it("is a line also where it is about TLS", function()
        local result = program.eval([[
            require("log").configure { format = "json" }
            require("tls").createContext { insecure = true }
        ]])
        local r = require("json").decode(result.err)
        assert.same({ "warn", "links" }, { r.level, r.logger })
        assert.truthy(r.message:find("^tls: insecure: "), r.message)
    end)

    it("is seen by who has started the program, where it is the last", function()
        program.with_file("", function(file)
            local result = program.eval(([[
                require("log").configure { to = %q }
                error("boom")
            ]]):format(file))
            assert.equal(1, result.code)
            assert.truthy(result.err:find("^links: .*boom\nstack traceback:"), result.err)
            assert.truthy(fs.readFile(file):find("FATAL (command line):2: boom", 1, true))
        end)
    end)
end)
