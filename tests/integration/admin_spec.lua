-- links top, links profile and links admin, and the admin socket of a cluster.
package.path = "tests/support/?.lua;" .. package.path

local fs = require "fs"
local http = require "http"
local process = require "process"
local task = require "task"
local program = require "tools"

local eventually = program.eventually

local SERVER = [[
BEFORE
assert(require("process").cluster { workers = 2 })
AFTER
local http, timer = require "http", require "timer"
local app = http.router()
app:get("/wait", function() timer.sleep(60000) end)
app:get("/work", function()
    local n = 0
    for i = 1, 3e6 do
        n = n + i % 3
    end
    return tostring(n)
end)
app:get("/hold", function() while true do end end)
local server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
io.write("port ", server:address().port, "\n")
io.stdout:flush()
]]

local script, child, text, socket_path

before_each(function()
    script, socket_path = os.tmpname(), os.tmpname()
    os.remove(socket_path)
end)

-- Runs one of links' own programs.
local function tool(...)
    return assert(process.run(program.LINKS, { ... }, { timeout = 30000 }))
end

local function start(before, after, env)
    program.write(script, (SERVER:gsub("BEFORE", before or ""):gsub("AFTER", after or "")))
    child = assert(process.spawn(program.LINKS, { script }, { stderr = "stdout", env = env }))
    text = ""
    local running = child
    task.spawn(function()
        for line in running:lines() do text = text .. line .. "\n" end
    end)
    local port = eventually("the port", function() return text:match("port (%d+)\n") end)
    -- The master does not send to workers before all of them serve.
    eventually("all workers", function()
        local target = fs.lstat(socket_path) and socket_path or tostring(child.pid)
        local out = tool("admin", target, "heap").stdout
        return out:find("worker 0:\n%l+ %d") and out:find("worker 1:\n%l+ %d")
    end)
    return "http://127.0.0.1:" .. port
end

after_each(function()
    if child then
        child:kill("SIGTERM")
        if not child:wait(15000) then child:kill("SIGKILL") end
        child:wait(5000)
    end
    child = nil
    os.remove(script)
end)

local function fails(code, message, ...)
    local result = tool(...)
    assert.equal(code, result.code)
    assert.equal("", result.stdout)
    assert.matches(message, result.stderr)
    if code == 1 then assert.matches("^[^\n]*\n$", result.stderr) end
end

describe("the admin socket of a cluster", function()
    it("is its master's, and answers for all processes or for one", function()
        start(('assert(require("admin").listen(%q))'):format(socket_path))
        local out = tool("admin", socket_path, "tasks").stdout
        assert.matches("^master:\n.*\nworker 0:\n.*http next.*\nworker 1:\n.*http next", out)
        out = tool("admin", socket_path, "@1", "stacks").stdout
        assert.matches("^worker 1:\n", out)
        assert.is_nil(out:find("worker 0", 1, true))
        assert.matches("http/server.lua:%d+", out)
        assert.matches("^master:\n%l+ %d", tool("admin", socket_path, "@master heap").stdout)
        fails(1, "there is no worker 2", "admin", socket_path, "@2", "tasks")
        assert.matches("worker 0:\nlevel debug", tool("admin", socket_path, "log-level",
            "debug").stdout)
    end)

    it("may be asked for by a worker too, and is found by the master's number", function()
        start(nil, ('assert(require("admin").listen(%q))'):format(socket_path))
        assert.matches("\nworker 1:\n", tool("admin", tostring(child.pid), "heap").stdout)
        assert.matches("\nworker 1:\n", tool("admin", "unix:" .. socket_path, "heap").stdout)
    end)

    it("is opened by LINKS_ADMIN, removed at the end, and not inherited", function()
        start(nil, nil, { LINKS_ADMIN = "1" })
        assert.matches("\nworker 1:\n", tool("admin", tostring(child.pid), "heap").stdout)
        local pid = child.pid
        child:kill("SIGTERM")
        assert(child:wait(20000))
        child = nil
        fails(1, "there is no process " .. pid, "admin", tostring(pid), "heap")
    end)

    it("answers while a worker is held, and says so", function()
        local url = start(nil, nil, { LINKS_ADMIN = socket_path })
        local held = task.spawn(http.get, url .. "/hold", { timeout = 60000 })
        local out
        eventually("a worker that is held", function()
            out = tool("admin", socket_path, "heap").stdout
            return out:find("error: no answer: it is held, or stopped\n", 1, true)
        end)
        assert.matches("worker %d:\n%l+ %d", out)
        assert.matches("worker %d: no answer: it is held, or stopped\n",
            tool("profile", socket_path, "0.1").stderr)
        for id = 0, 1 do
            if out:find("worker " .. id .. ":\nerror", 1, true) then
                local pid = text and tool("admin", socket_path, "json", "@master", "stats")
                assert.equal(0, pid.code)
            end
        end
        -- It would keep the cluster from ending for ten seconds.
        eventually("its end", function()
            os.execute("pkill -KILL -P " .. child.pid .. " 2>/dev/null")
            return held.status ~= "waiting"
        end)
    end)

    it("goes on to the new master of an upgrade", function()
        start(nil, ('assert(require("admin").listen(%q))'):format(socket_path),
            { LINKS_ADMIN = "1" })
        local function master()
            local result = tool("admin", socket_path, "json", "@master", "stats")
            return result.code == 0 and result.stdout:match('"pid":(%d+)')
        end
        local old = tostring(child.pid)
        assert.equal(old, master())
        child:kill("SIGUSR2")
        local new = eventually("the new master", function()
            local pid = master()
            return pid and pid ~= old and pid
        end)
        eventually("its socket by its number", function()
            return tool("admin", new, "heap").stdout:find("worker 1:\n%l+ %d")
        end)
        process.kill(tonumber(new), "SIGTERM")
        eventually("its end", function() return program.has_ended(tonumber(new)) end)
        assert(child:wait(20000))
        child = nil
    end)

    it("ends the program by drain", function()
        start(nil, nil, { LINKS_ADMIN = socket_path })
        assert.equal("ending\n", tool("admin", socket_path, "drain").stdout)
        assert.same({ signal = "SIGTERM" }, child:wait(20000))
        child = nil
        assert.is_nil(fs.lstat(socket_path))
    end)
end)

describe("links top", function()
    it("shows a table of the processes, once where it does not write to a terminal", function()
        local url = start(nil, nil, { LINKS_ADMIN = socket_path })
        assert.equal(200, assert(http.get(url .. "/work")).status)
        local result = tool("top", "-d", "0.1", socket_path)
        assert.equal("", result.stderr)
        assert.equal(0, result.code)
        local lines = {}
        for line in result.stdout:gmatch("[^\n]+") do lines[#lines + 1] = line end
        assert.equal(4, #lines)
        assert.matches("^process +pid +cpu +memory +lua +conns +req/s +tasks +busy +turn +up$",
            lines[1])
        assert.matches("^master +" .. child.pid .. " +%d+%% +[%d.]+M ", lines[2])
        assert.matches("^worker 0 ", lines[3])
        assert.matches("^worker 1 ", lines[4])
        result = tool("top", "-n", "2", "-d0.1", tostring(child.pid))
        assert.equal(2, select(2, result.stdout:gsub("process +pid", "")))
    end)

    it("ends with one line where there is nobody to ask, and 2 for a wrong command line", function()
        fails(1, "links top: there is no process 99999999", "top", "99999999")
        fails(1, "has no admin socket: start it with LINKS_ADMIN=1", "top", tostring(process.pid))
        fails(1, "links top: /no/such: no such file or directory", "top", "/no/such")
        fails(2, "links top: whom%?\nusage: ", "top")
        fails(2, "unknown option %-x\nusage: ", "top", "-x", "1")
        fails(2, "not a number from 0.1 to 3600: 0\nusage: ", "top", "-d", "0", "1")
        fails(2, "%-n what%?", "top", "-n")
        assert.matches("^usage: links top", tool("top", "-h").stdout)
    end)

    it("says so where something else listens there, or the process goes", function()
        local unix = require "unix"
        local server = assert(unix.createServer(socket_path, function(socket)
            socket:readline()
            socket:write("HTTP/1.1 400 Bad Request\r\n")
        end))
        fails(1, "it is no admin socket", "top", socket_path)
        server:close()
        server = assert(unix.createServer(socket_path, function(socket) socket:readline() end))
        fails(1, "links top: the process has gone", "top", socket_path)
        server:close()
    end)
end)

describe("links profile", function()
    it("shows where the time goes, as folded stacks or as a table", function()
        local url = start(nil, nil, { LINKS_ADMIN = socket_path })
        local go = true
        local busy = task.spawn(function()
            while go do assert(http.get(url .. "/work", { timeout = 60000 })) end
        end)
        local line = script:match("[^/]+$"):gsub("%p", "%%%0") .. ":%d+"
        -- A busy machine may not let them compute at all for a while.
        eventually("the line that takes the time", function()
            return tool("profile", "-i", "1", socket_path, "0.3").stdout:find(line .. " %d+\n")
        end)
        eventually("it in a table", function()
            local out = tool("profile", "-t", "-i1", socket_path, "0.3").stdout
            return out:find("^%d+ samples\n +own +all +where\n") and out:find("%% +" .. line)
        end)
        go = false
        busy:join()
        fails(1, "there is no worker 5", "profile", "-w", "5", socket_path, "0.1")
    end)

    it("ends at ctrl-C, with what there is so far", function()
        local url = start(nil, nil, { LINKS_ADMIN = socket_path })
        local go = true
        local busy = task.spawn(function()
            while go do assert(http.get(url .. "/work", { timeout = 60000 })) end
        end)
        local run = assert(process.spawn(program.LINKS, { "profile", "-i", "1", socket_path,
            "3000" }))
        eventually("samples of all processes", function()
            local out = tool("admin", socket_path, "tasks").stdout
            return select(2, out:gsub("waiting  samples ", "")) == 3
        end)
        -- Processor time is what counts, so these are some samples in any case.
        for _ = 1, 40 do assert(http.get(url .. "/work", { timeout = 60000 })) end
        run:kill("SIGINT")
        local status = assert(run:wait(20000))
        go = false
        busy:join()
        assert.equal(0, status.code)
        assert.matches(" %d+\n", (run:readAll()))
    end)

    it("says so where there is nothing to show, or nobody", function()
        start(nil, nil, { LINKS_ADMIN = socket_path })
        fails(1, "links profile: no samples", "profile", "-w", "master", "-i", "1000", socket_path,
            "0.05")
        fails(1, "there is no process", "profile", "99999999")
        fails(2, "not a number from 1 to 1000: 0", "profile", "-i", "0", socket_path)
        fails(2, "not a number from 0.001 to 3600: x", "profile", socket_path, "x")
        fails(2, "whom%?", "profile")
    end)
end)

describe("links admin", function()
    it("asks one thing", function()
        start(nil, nil, { LINKS_ADMIN = socket_path })
        assert.matches("^tasks ", tool("admin", socket_path, "help").stdout)
        fails(1, "^links admin: unknown command \"taks\" %(did you mean", "admin", socket_path,
            "taks")
        fails(1, "a command is one line", "admin", socket_path, "tasks\nhelp")
        fails(2, "ask what%?", "admin", socket_path)
        fails(2, "whom%?", "admin")
        assert.matches("^usage: links admin", tool("admin", "-h").stdout)
    end)
end)
