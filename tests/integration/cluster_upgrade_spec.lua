-- The change of a cluster to another program by SIGUSR2, seen by its clients and in the process
-- table.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local process = require "process"
local udp = require "udp"
local websocket = require "websocket"
local program = require "tools"
local clusters = require "clusters"
local manager = require "manager"

local eventually = program.eventually
local prints, port_of, ask = clusters.prints, clusters.port_of, clusters.ask
local workers_of = clusters.workers_of

local CLOSE = { Connection = "close" }
local ROUNDS = clusters.soak and 10 or 3

local folder, pid_file

before_each(function()
    clusters.before()
    folder, pid_file = clusters.folder, clusters.folder .. "/pid"
end)

after_each(clusters.after)

local function code(options, port, version)
    options = ("%s, pidFile = %q"):format(options or "workers = 2", pid_file)
    return clusters.code(options, port, version)
end

-- The master's id, of the file; nil where there is none just now.
local function master()
    local file = io.open(pid_file)
    local pid = file and tonumber(file:read("*a"))
    if file then file:close() end
    return pid
end

local function is_there(path)
    local file = io.open(path)
    if file then file:close() end
    return file ~= nil
end

-- Waits until another process than `old` is the master, and that one has ended.
local function successor_of(old)
    eventually("the end of " .. old, function() return program.has_ended(old) end)
    local pid = master()
    assert(pid and pid ~= old, "there is no other master")
    return pid
end

local function upgrade(version)
    local old = master()
    if version then clusters.rewrite(version) end
    process.kill(old, "SIGUSR2")
    return successor_of(old), old
end

describe("an upgrade", function()
    it("puts the program that is there by now in the old one's place, without a lost request",
        function()
        local cluster = clusters.start(code())
        local asked, failures = clusters.under_load(cluster, function(port)
            for round = 2, ROUNDS + 1 do
                upgrade(code(nil, nil, round))
                eventually("version " .. round, function()
                    return select(3, ask(port)) == tostring(round)
                end)
                assert.equal(tostring(round), select(2, workers_of(port, 2)))
            end
        end)
        for i, err in ipairs(failures) do failures[i] = tostring(err) end
        assert.same({}, failures, cluster.text)
        assert.is_true(asked > 10 * ROUNDS)
        assert.same({ code = 0 }, clusters.end_of(cluster))
        assert.is_false(is_there(pid_file .. ".old"))
    end)

    it("looks the program itself up anew, by the name that it was started by", function()
        local copy = folder .. "/links"
        os.execute(("cp '%s' '%s'"):format(program.LINKS, copy))
        local cluster = clusters.start_by(copy, code("workers = 1"))
        local port = port_of(cluster)
        local _, pid = ask(port)
        -- The new one is a wrapper, which tells of itself.
        program.write(copy .. ".new",
            ('#!/bin/sh\necho "the wrapper of $1"\nexec "%s" "$@"\n'):format(program.LINKS))
        os.execute(("chmod 755 '%s.new'; mv '%s.new' '%s'"):format(copy, copy, copy))
        upgrade()
        prints(cluster, "the wrapper of " .. clusters.script:gsub("%p", "%%%0"))
        assert.not_equal(pid, select(2, ask(port)))
    end)

    it("begins where the program was started, and with the arguments that it had", function()
        program.write(folder .. "/there.lua", [[
            local http, process = require "http", require "process"
            assert(process.chdir("/"))
            process.cluster { workers = 1, pidFile = "]] .. pid_file .. [[" }
            assert(http.createServer(0, function() return "ok" end, { host = "127.0.0.1" }))
            print("arguments: " .. table.concat(process.argv, ",") .. ".")
            io.stdout:flush()
        ]])
        local links = program.LINKS
        if links:sub(1, 1) ~= "/" then links = process.cwd() .. "/" .. links end
        local shell = ("cd '%s'; exec '%s' there.lua 'one and' two"):format(folder, links)
        local cluster = clusters.start_by("/bin/sh", nil, "-c", shell)
        prints(cluster, "arguments: one and,two%.")
        upgrade()
        prints(cluster, "arguments: one and,two%..*arguments: one and,two%.")
    end)

    it("keeps all kinds of sockets, with another number of workers, too", function()
        local path = folder .. "/socket"
        local udp_port = manager.free_udp_port()
        local function version(workers, name)
            return ([[
                local http, process, udp = require "http", require "process", require "udp"
                if process.isMaster then
                    process.on("message", function() process.quit(0) end)
                end
                process.cluster { workers = %d, pidFile = %q }
                local function answer(req)
                    if req.path == "/quit" then process.send("master", "quit") end
                    return process.workerId .. " " .. process.pid .. " %s"
                end
                local server = assert(http.createServer({ 0, "unix:%s" }, answer,
                    { host = "127.0.0.1" }))
                local shared = assert(http.createServer(server:addresses()[1].port + 0, answer,
                    { host = "127.0.0.2" }))
                print("port " .. server:addresses()[1].port)
                io.stdout:flush()
                local socket = assert(udp.createSocket(%d, "127.0.0.1"))
                while true do
                    local data, _, from = socket:recv()
                    if data then socket:send(data .. " %s", from.port, from.address) end
                end
            ]]):format(workers, pid_file, name, path, udp_port, name)
        end
        local cluster = clusters.start(version(2, "first"))
        local port = port_of(cluster)
        workers_of(port, 2)
        local client = assert(udp.createSocket(0, "127.0.0.1"))
        local function datagram()
            return eventually("an answer", function()
                client:send("hello", udp_port, "127.0.0.1")
                return (client:recv(500))
            end)
        end
        assert.equal("hello first", datagram())
        for i, workers in ipairs { 3, 1 } do
            local name = "version" .. i
            upgrade(version(workers, name))
            assert.equal(name, select(2, workers_of(port, workers)))
            local res = assert(http.get("http://localhost/", { unix = path, headers = CLOSE }))
            assert.is_truthy(res.body:find(name, 1, true))
            res = assert(http.get("http://127.0.0.2:" .. port, { headers = CLOSE }))
            assert.is_truthy(res.body:find(name, 1, true))
            eventually("the old worker's silence", function()
                return datagram() == "hello " .. name
            end)
        end
        client:close()
        local last = master()
        ask(port, "/quit")
        eventually("its end", function() return program.has_ended(last) end)
        assert.is_false(is_there(path))
        assert.is_false(is_there(pid_file))
    end)

    it("hands over more sockets than the way to the new program takes at once", function()
        local text = [[
            local http, process = require "http", require "process"
            local places = {}
            for i = 1, 300 do places[i] = 0 end
            process.cluster { workers = 1, pidFile = "PIDFILE" }
            local server = assert(http.createServer(places, function() return "VERSION" end,
                { host = "127.0.0.1" }))
            local list = server:addresses()
            print(("VERSION %d %d"):format(list[1].port, list[300].port))
            io.stdout:flush()
        ]]
        text = text:gsub("PIDFILE", pid_file)
        local cluster = clusters.start((text:gsub("VERSION", "old")))
        local first, last = prints(cluster, "old (%d+ %d+)\n"):match("(%d+) (%d+)")
        upgrade((text:gsub("VERSION", "new")))
        assert.equal(first .. " " .. last, prints(cluster, "new (%d+ %d+)\n"))
        for _, port in ipairs { first, last } do
            local res = assert(http.get("http://127.0.0.1:" .. port, { headers = CLOSE }))
            assert.equal("new", res.body)
        end
    end)

    it("closes what the new program does not open", function()
        local path = folder .. "/socket"
        local cluster = clusters.start((code():gsub("io.write", ([[
            assert(http.createServer("unix:%s", function() return "old" end))
            io.write]]):format(path), 1)))
        local port = port_of(cluster)
        assert.equal("old",
            assert(http.get("http://localhost/", { unix = path, headers = CLOSE })).body)
        upgrade(code(nil, nil, 2))
        assert.equal("2", select(2, workers_of(port, 2)))
        assert.is_false(is_there(path))
    end)

    it("reloads once more where that was asked for meanwhile", function()
        local cluster = clusters.start(code("workers = 1"))
        local port = port_of(cluster)
        local old = master()
        clusters.rewrite('require("timer").sleep(500) ' .. code("workers = 1", nil, 2))
        process.kill(old, "SIGUSR2")
        eventually("its beginning", function() return is_there(pid_file .. ".old") end)
        clusters.rewrite(code("workers = 1", nil, 3))
        process.kill(old, "SIGHUP")
        successor_of(old)
        eventually("the last version", function() return select(3, ask(port)) == "3" end)
    end)

    it("goes on where the old master is killed meanwhile", function()
        local cluster = clusters.start(code("workers = 1"))
        local port = port_of(cluster)
        local old = master()
        clusters.rewrite('print("began") io.stdout:flush() require("timer").sleep(300) '
            .. code("workers = 1", nil, 2))
        process.kill(old, "SIGUSR2")
        prints(cluster, "began")
        process.kill(old, "SIGKILL")
        eventually("the new version", function() return select(3, ask(port)) == "2" end)
        local pid = eventually("its id", master)
        assert.not_equal(old, pid)
        process.kill(pid, "SIGTERM")
        eventually("its end", function() return program.has_ended(pid) end)
    end)
end)

describe("an upgrade that fails", function()
    -- Runs an upgrade to `text` under load: nothing of it is seen but a line that matches.
    local function stays(text, pattern, options)
        local cluster = clusters.start(code(options))
        local old, port = nil, port_of(cluster)
        local pids = workers_of(port, 2)
        local _, failures = clusters.under_load(cluster, function()
            old = master()
            clusters.rewrite(text)
            process.kill(old, "SIGUSR2")
            prints(cluster, "the upgrade has failed, and this program goes on: " .. pattern)
        end)
        for i, err in ipairs(failures) do failures[i] = tostring(err) end
        assert.same({}, failures, cluster.text)
        assert.same(pids, workers_of(port, 2))
        assert.equal(old, master())
        assert.is_false(is_there(pid_file .. ".old"))
        return cluster, port
    end

    it("leaves the old program as it was: a syntax error", function()
        local cluster, port = stays("local x = \nlocal y = = 2\n",
            "the new one %(%d+%) ended with code 1 before it was ready\n")
        prints(cluster, "app.lua:2: unexpected symbol")
        upgrade(code(nil, nil, "better"))
        assert.equal("better", select(2, workers_of(port, 2)))
    end)

    it("leaves the old program as it was: a worker that fails", function()
        -- It takes its time to end, in which it must not say that it serves.
        local fails = 'process.onShutdown(function() timer.sleep(200) end) error("no database") '
        stays(code():gsub("io.write", fails .. "io.write", 1),
            "the new one %(%d+%) ended with code 1 before it was ready\n")
    end)

    it("leaves the old program as it was: workers that are not ready in time", function()
        stays(('require("process").cluster { workers = 1, readyTimeout = 300, pidFile = %q } '
            .. 'require("timer").sleep(60000)'):format(pid_file),
            "the new one %(%d+%) ended with code 1 before it was ready\n")
    end)

    it("leaves the old program as it was: one that dies of a signal", function()
        stays("local process = require 'process' process.kill(process.pid, 'SIGKILL')",
            "the new one %(%d+%) died of SIGKILL before it was ready\n")
    end)

    it("leaves the old program as it was: one that is no cluster, and serves at last", function()
        if not clusters.soak then return pending("takes its time: make soak") end
        stays("require('timer').sleep(60000)",
            "the new one %(%d+%) was not ready within 10000 ms\n",
            "workers = 2, readyTimeout = 5000")
    end)

    it("leaves the old program as it was: a program that cannot be started", function()
        local copy = folder .. "/links"
        os.execute(("cp '%s' '%s'"):format(program.LINKS, copy))
        local cluster = clusters.start_by(copy, code())
        local port = port_of(cluster)
        local pids = workers_of(port, 2)
        local old = master()
        os.remove(copy)
        process.kill(old, "SIGUSR2")
        prints(cluster, "this program goes on: it could not be started: ENOENT")
        program.write(copy, "nonsense")
        os.execute(("chmod 755 '%s'"):format(copy))
        process.kill(old, "SIGUSR2")
        prints(cluster, "this program goes on: it could not be started: ENOEXEC")
        assert.same(pids, workers_of(port, 2))
        assert.equal(old, master())
    end)

    it("is one of two: the second one is refused", function()
        local cluster = clusters.start(code("workers = 1"))
        port_of(cluster)
        local old = master()
        clusters.rewrite('require("timer").sleep(800) ' .. code("workers = 1", nil, 2))
        process.kill(old, "SIGUSR2")
        eventually("its beginning", function() return is_there(pid_file .. ".old") end)
        process.kill(old, "SIGUSR2")
        prints(cluster, "an upgrade is under way, and another one is not begun")
        successor_of(old)
    end)

    it("takes the new program along where the old one is told to end", function()
        local cluster = clusters.start(code("workers = 1"))
        local port = port_of(cluster)
        local old = master()
        clusters.rewrite('print("began " .. require("process").pid .. ".") io.stdout:flush() '
            .. 'require("timer").sleep(60000)')
        process.kill(old, "SIGUSR2")
        local new = tonumber(prints(cluster, "began (%d+)%."))
        process.kill(old, "SIGTERM")
        assert.same({ signal = "SIGTERM" }, clusters.end_of(cluster))
        assert.is_true(program.has_ended(new))
        assert.is_nil((ask(port)))
    end)

    it("is refused for a program from standard input, and a signal that reloads too", function()
        program.write(clusters.script, ([[require("process").cluster { file = "%s" }]]):format(
            folder .. "/worker.lua"))
        program.write(folder .. "/worker.lua", 'print("up") io.stdout:flush() '
            .. 'require("process").ready() require("timer").sleep(60000)')
        local shell = ("exec '%s' - < '%s'"):format(program.LINKS, clusters.script)
        local cluster = clusters.start_by("/bin/sh", nil, "-c", shell)
        prints(cluster, "up")
        cluster.child:kill("SIGUSR2")
        prints(cluster, "there is no upgrade of a program from standard input")
        program.raises("options.upgrade must be another signal than options.reload", function()
            process.cluster({ reload = "SIGUSR2", upgrade = "USR2" })
        end)
    end)
end)

describe("what is published during an upgrade", function()
    -- Worker 1 of a version other than the first waits for a word: until then both programs serve.
    local function version(number)
        return (([[
            local http, process, timer, websocket =
                require "http", require "process", require "timer", require "websocket"
            process.cluster { workers = WORKERS, pidFile = "PIDFILE" }
            while process.workerId == 1 and not io.open("FOLDER/go") do
                assert(not io.open("FOLDER/fail"), "told to fail")
                timer.sleep(5)
            end
            local app = http.router()
            app:ws("/", function(ws)
                ws:write("VERSION")
                ws:subscribe("topic")
                for text in function() return (ws:read()) end do
                    websocket.publish("topic", text)
                end
            end)
            local server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
            io.write("port ", server:address().port, "\n")
            io.stdout:flush()
        ]]):gsub("%u%u%u%u+", {
            WORKERS = number == 1 and 1 or 2, PIDFILE = pid_file, FOLDER = folder,
            VERSION = number,
        }))
    end

    local function connect(port, wanted)
        return eventually("a connection to version " .. wanted, function()
            local ws = websocket.connect("ws://127.0.0.1:" .. port .. "/", { timeout = 20000 })
            if ws and ws:read(20000) == wanted then return ws end
            if ws then ws:close() end
        end)
    end

    -- A connection to each of both programs, the new one of which waits.
    local function both()
        local cluster = clusters.start(version(1))
        local port = port_of(cluster)
        local old = connect(port, "1")
        clusters.rewrite(version(2))
        process.kill(master(), "SIGUSR2")
        return port, old, connect(port, "2"), cluster
    end

    it("reaches the connections of both programs", function()
        local _, old, new = both()
        local before = tonumber(program.read(pid_file .. ".old"))
        assert(new:write("from the new one"))
        assert.equal("from the new one", old:read(20000))
        assert.equal("from the new one", new:read(20000))
        assert(old:write("from the old one"))
        assert.equal("from the old one", new:read(20000))
        program.write(folder .. "/go", "")
        successor_of(before)
        assert(new:write("alone"))
        assert.equal("alone", new:read(20000))
        new:close()
    end)

    it("goes on where the new program fails", function()
        local port, old, new, cluster = both()
        program.write(folder .. "/fail", "")
        prints(cluster, "the upgrade has failed, and this program goes on")
        local other = connect(port, "1")
        assert(other:write("still there"))
        assert.equal("still there", old:read(20000))
        old:close()
        new:close()
        other:close()
    end)
end)

describe("upgrades and kills", function()
    local UPGRADES, KILLS = clusters.soak and 10 or 1, clusters.soak and 100 or 4
    local BROKEN = { ECONNRESET = true, EOF = true, EPIPE = true }

    it("in a long row leave descriptors and memory as they were", function()
        local cluster = clusters.start(code())
        local _, failures = clusters.under_load(cluster, function(port)
            local function look()
                local pid = master()
                workers_of(port, 2)
                return { fds = clusters.descriptors(pid), memory = clusters.memory(pid) }
            end
            upgrade()
            local before = look()
            for _ = 1, UPGRADES do upgrade() end
            for _ = 1, KILLS do
                local id, victim = ask(port)
                while not id do id, victim = ask(port) end
                process.kill(victim, "SIGKILL")
                eventually("a replacement of worker " .. id, function()
                    local now, pid = ask(port)
                    return now == id and pid ~= victim
                end)
            end
            local after = look()
            if not before.fds then return end
            -- A worker that is being replaced has some in the master still.
            assert.is_true(after.fds <= before.fds + 4, before.fds .. " -> " .. after.fds)
            assert.is_true(after.memory < before.memory * 1.5 + 2 ^ 22,
                before.memory .. " -> " .. after.memory)
        end)
        -- What was under way in the worker that was killed, and nothing else.
        assert.is_true(#failures <= KILLS * 2 * clusters.CLIENTS, #failures .. " failures")
        for _, err in ipairs(failures) do assert.is_true(BROKEN[err.name], tostring(err)) end
    end)
end)
