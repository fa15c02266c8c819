-- Programs under a service manager: its sockets (LISTEN_FDS), and what it is told (NOTIFY_SOCKET).
-- The manager is this spec.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local process = require "process"
local tcp = require "tcp"
local udp = require "udp"
local program = require "tools"
local clusters = require "clusters"
local manager = require "manager"

local eventually, prints = program.eventually, clusters.prints

local folder, script, open

before_each(function()
    clusters.before()
    folder, script, open = clusters.folder, clusters.script, {}
end)

after_each(function()
    clusters.after()
    for _, fd in ipairs(open) do manager.close(fd) end
end)

local function own(fd, port)
    open[#open + 1] = fd
    return fd, port
end

-- Starts the program with descriptors: see manager.launch.
local function launch(code, fds, names, env)
    program.write(script, code)
    return clusters.adopt(manager.launch(fds, names, { script }, env), "readErrorLine")
end

local function get(port, host)
    local res, err = http.get("http://" .. (host or "127.0.0.1") .. ":" .. port .. "/",
        { headers = { Connection = "close" }, timeout = 15000 })
    return res and res.body, err
end

local function terminate(cluster)
    cluster.child:kill("SIGTERM")
    assert.same({ signal = "SIGTERM" }, clusters.end_of(cluster))
    cluster.reader:join()
end

describe("sockets of a service manager", function()
    it("are taken by who listens at their address, or at their path", function()
        local fd, port = own(manager.tcp())
        local path = folder .. "/socket"
        local other = own(manager.unix(path))
        local server = launch(([[
            local http, process = require "http", require "process"
            local server = assert(http.createServer(
                { { port = %d, host = "127.0.0.1" }, "unix:%s" }, function() return "hello" end))
            print("here: " .. tostring(server), process.env.LISTEN_FDS, process.env.LISTEN_PID,
                process.env.LISTEN_FDNAMES)
            io.stdout:flush()
        ]]):format(port, path), { fd, other })
        prints(server, ("here: http server: 127.0.0.1:%d, unix:%s\tnil\tnil\tnil\n"):format(port,
            (path:gsub("%p", "%%%0"))))
        assert.equal("hello", get(port))
        assert.equal("hello", assert(http.get("http://localhost/", { unix = path })).body)
        terminate(server)
        -- The file is the manager's, and so are the sockets.
        assert.is_truthy(require("unix").connect(path))
        assert.is_truthy(tcp.connect(port))
    end)

    it("are taken by their names, also those of a second one", function()
        local fd, port = own(manager.tcp())
        local other, second = own(manager.tcp())
        local server = launch([[
            local http, tcp = require "http", require "tcp"
            assert(http.createServer("fd:web", function() return "first" end))
            assert(tcp.createServer(0, function(s) s:write("second\n") end, { host = "fd:web:2" }))
            for _, name in ipairs { "fd:web", "fd:web:3", "fd:other", "fd:web:x", "fd:" } do
                print(name, select(2, tcp.createServer(0, print, { host = name })).name)
            end
            print(select(2, require("udp").createSocket(0, "fd:web")).name)
            print("done")
            io.stdout:flush()
        ]], { fd, other }, "web:web")
        prints(server, "done")
        assert.equal("first", get(port))
        assert.equal("second", assert(tcp.connect(second)):readline())
        for _, name in ipairs { "fd:web", "fd:web:3", "fd:other", "fd:web:x", "fd:" } do
            assert.is_truthy(server.text:find(name .. "\tNOT_FOUND\n", 1, true), server.text)
        end
    end)

    it("are those of IPv4, where they are of all addresses of IPv6", function()
        local ok, fd, port = pcall(manager.tcp6)
        if not ok then return pending("needs IPv6") end
        own(fd)
        local server = launch(([[
            assert(require("http").createServer(%d, function(req) return req.remoteAddress end))
            print("up")
            io.stdout:flush()
        ]]):format(port), { fd })
        prints(server, "up")
        assert.is_truthy(get(port):find("127.0.0.1", 1, true))
    end)

    it("are of datagrams, too", function()
        local fd, port = own(manager.udp())
        local server = launch(([[
            local udp = require "udp"
            print(select(2, require("tcp").createServer(0, print, { host = "fd:dns" })).name)
            local socket = assert(udp.createSocket(%d, "127.0.0.1"))
            print("up")
            io.stdout:flush()
            local data, _, from = socket:recv()
            socket:send(data:upper(), from.port, from.address)
        ]]):format(port), { fd }, "dns")
        prints(server, "EPROTOTYPE\nup")
        local client = assert(udp.createSocket(0, "127.0.0.1"))
        client:send("hello", port, "127.0.0.1")
        assert.equal("HELLO", client:recv(15000))
        client:close()
    end)

    it("are shared by the workers of a cluster, and stay over a reload and an upgrade", function()
        local fd, port = own(manager.tcp())
        local other, spare = own(manager.tcp())
        local function version(name)
            return ([[
                local http, process = require "http", require "process"
                process.cluster { workers = 2, pidFile = "%s/pid" }
                assert(http.createServer("fd:web", function() return "%s" end))
                if "%s" == "third" then
                    assert(http.createServer("fd:spare", function() return "spare" end))
                end
                print("up")
                io.stdout:flush()
            ]]):format(folder, name, name)
        end
        local server = launch(version("first"), { fd, other }, "web:spare")
        prints(server, "up\n.*up\n")
        assert.equal("first", get(port))
        clusters.rewrite(version("second"))
        server.child:kill("SIGHUP")
        eventually("the second version", function() return assert(get(port)) == "second" end)
        clusters.rewrite(version("third"))
        server.child:kill("SIGUSR2")
        eventually("the third version", function() return assert(get(port)) == "third" end)
        assert.equal("spare", get(spare))
        assert.same({ code = 0 }, clusters.end_of(server))
    end)

    it("are others' where LISTEN_PID says so", function()
        local fd, port = own(manager.tcp())
        local server = launch(([[
            print(select(2, require("http").createServer("fd:web", print)).name)
            print(select(2, require("tcp").createServer(%d, print, { host = "127.0.0.1" })).name)
        ]]):format(port), { fd }, "web", { LISTEN_PID = "1" })
        prints(server, "NOT_FOUND\nEADDRINUSE")
    end)

    it("keep a program from its start where they are not as the environment says", function()
        for text, message in pairs {
            ["x"] = "links: LISTEN_FDS is no number from 0 to 1024: x\n",
            ["1025"] = "links: LISTEN_FDS is no number from 0 to 1024: 1025\n",
            ["-1"] = "links: LISTEN_FDS is no number from 0 to 1024: -1\n",
            ["9"] = "links: LISTEN_FDS is 9, but descriptor 3 is not open\n",
        } do
            local server = launch("print('never')", {}, nil, { LISTEN_FDS = text })
            assert.same({ code = 1 }, clusters.end_of(server))
            server.reader:join()
            assert.equal(message, server.text)
        end
    end)
end)

-- The assignments of the next datagram, as a table.
local function hear(ear)
    local text = eventually("a notification", ear.take)
    local all = {}
    for name, value in text:gmatch("([^\n=]+)=([^\n]*)") do all[name] = value end
    return all
end

-- Those that come until one has `name`.
local function hear_until(ear, name)
    while true do
        local all = hear(ear)
        if all[name] then return all end
    end
end

describe("a service manager", function()
    local ear

    local function listen(path)
        ear = manager.ear(path)
        return path
    end

    after_each(function()
        if ear then ear.close() end
        ear = nil
    end)

    local function start(code, env)
        program.write(script, code)
        return clusters.adopt(assert(process.spawn(program.LINKS, { script },
            { stderr = "stdout", env = env })))
    end

    it("hears when a program serves, and when it ends", function()
        for _, path in ipairs { folder .. "/notify", "@links-spec-" .. process.pid } do
            if jit.os == "Linux" or not path:find("^@") then
                local server = start([[
                    print(require("process").env.NOTIFY_SOCKET)
                    assert(require("http").createServer(0, function() end, { host = "127.0.0.1" }))
                ]], { NOTIFY_SOCKET = listen(path) })
                assert.same({ READY = "1" }, hear(ear))
                assert.is_nil(ear.take())
                terminate(server)
                assert.same({ STOPPING = "1", STATUS = "ending" }, hear(ear))
                assert.equal("nil\n", server.text)
                ear.close()
                ear = nil
            end
        end
    end)

    it("does not hear that a program serves which has failed", function()
        local server = start([[
            assert(require("http").createServer(0, function() end, { host = "127.0.0.1" }))
            require("process").onShutdown(function() require("timer").sleep(100) end)
            error("no database")
        ]], { NOTIFY_SOCKET = listen(folder .. "/notify") })
        assert.same({ code = 1 }, clusters.end_of(server))
        assert.same({ STOPPING = "1", STATUS = "ending" }, hear(ear))
        assert.is_nil(ear.take())
    end)

    it("hears of process.ready and process.notify, and that a program is alive", function()
        start([[
            local process, timer = require "process", require "timer"
            assert(process.notify({ STATUS = "warming up", EXTEND_TIMEOUT_USEC = 1000 }))
            process.ready()
            process.ready()
            timer.sleep(60000)
        ]], { NOTIFY_SOCKET = listen(folder .. "/notify"), WATCHDOG_USEC = "40000" })
        local seen = {}
        for _ = 1, 10 do
            for name, value in pairs(hear(ear)) do seen[#seen + 1] = name .. "=" .. value end
        end
        table.sort(seen)
        assert.equal("READY=1", seen[2])
        assert.equal("EXTEND_TIMEOUT_USEC=1000", seen[1])
        assert.equal("STATUS=warming up", seen[3])
        assert.equal("WATCHDOG=1", seen[4])
        assert.equal(11, #seen)
    end)

    it("hears only of its end where a program listens and fails then", function()
        local server = start([[
            assert(require("http").createServer(0, function() end, { host = "127.0.0.1" }))
            error("no database")
        ]], { NOTIFY_SOCKET = listen(folder .. "/notify") })
        assert.same({ code = 1 }, clusters.end_of(server))
        assert.same({ STOPPING = "1", STATUS = "ending" }, hear(ear))
        assert.is_nil(ear.take())
    end)

    it("hears nothing of what it has not asked for", function()
        local server = start([[
            require("process").ready()
            print("ready")
            require("timer").sleep(100)
        ]], {
            NOTIFY_SOCKET = listen(folder .. "/notify"), WATCHDOG_USEC = "1000", WATCHDOG_PID = "1",
        })
        clusters.end_of(server)
        assert.same({ READY = "1" }, hear(ear))
        assert.same({ STOPPING = "1", STATUS = "ending" }, hear(ear))
        assert.is_nil(ear.take())
    end)

    it("hears when all workers of a cluster serve, of reloads, and of its end", function()
        local cluster = start(clusters.code(), { NOTIFY_SOCKET = listen(folder .. "/notify") })
        assert.same({ READY = "1", STATUS = "2 workers serve" }, hear(ear))
        cluster.child:kill("SIGHUP")
        local all = hear(ear)
        assert.equal("1", all.RELOADING)
        assert.is_truthy(tonumber(all.MONOTONIC_USEC) > 0)
        assert.same({ READY = "1", STATUS = "2 workers serve" }, hear(ear))
        clusters.rewrite("local x = = 1")
        cluster.child:kill("SIGHUP")
        assert.equal("1", hear(ear).RELOADING)
        all = hear(ear)
        assert.equal("1", all.READY)
        assert.is_truthy(all.STATUS:find("^the reload has failed: worker %d %(%d+%) ended with"))
        terminate(cluster)
        assert.same({ STOPPING = "1", STATUS = "ending" }, hear(ear))
    end)

    it("hears who the main process is after an upgrade, and not that the old one ends", function()
        local cluster = start(clusters.code(),
            { NOTIFY_SOCKET = listen(folder .. "/notify"), WATCHDOG_USEC = "2000000" })
        hear_until(ear, "READY")
        clusters.rewrite("local x = = 1")
        cluster.child:kill("SIGUSR2")
        assert.equal("the upgrade has failed: the new one",
            hear_until(ear, "STATUS").STATUS:match("^the upgrade.*the new one") or ear.take())
        clusters.rewrite(clusters.code(nil, nil, 2))
        cluster.child:kill("SIGUSR2")
        local pid = tonumber(hear_until(ear, "MAINPID").MAINPID)
        assert.is_true(pid > 0 and pid ~= cluster.pid)
        assert.equal("2 workers serve", hear_until(ear, "READY").STATUS)
        assert.same({ code = 0 }, clusters.end_of(cluster))
        process.kill(pid, "SIGTERM")
        eventually("its end", function() return program.has_ended(pid) end)
        local stopped = 0
        local text = ear.take()
        while text do
            if text:find("STOPPING=1", 1, true) then stopped = stopped + 1 end
            text = ear.take()
        end
        assert.equal(1, stopped)
    end)

    it("that does not listen is no hindrance, but told of", function()
        local server = start([[
            assert(require("http").createServer(0, function() end, { host = "127.0.0.1" }))
            print("up")
            io.stdout:flush()
        ]], { NOTIFY_SOCKET = folder .. "/nobody" })
        prints(server, "links: the service manager at NOTIFY_SOCKET was not told: ENOENT")
        prints(server, "up")
        terminate(server)
        local _, err = process.notify({ STATUS = "x" })
        assert.equal("NOT_FOUND", err.name)
        program.raises("must be of capitals", function() process.notify({ status = "x" }) end)
        program.raises("must not have a line end", function()
            process.notify({ STATUS = "a\nb" })
        end)
    end)
end)

describe("the units of docs/deploy", function()
    it("are what systemd expects", function()
        if not clusters.soak then return pending("hangs on the machine's systemd: make soak") end
        if os.execute("systemd-analyze --version >/dev/null 2>&1") ~= 0 then
            return pending("needs systemd-analyze")
        end
        -- The program has not been installed.
        os.execute(("cp docs/deploy/app.socket '%s'; sed s:/usr/local/bin/links:/bin/true: "
            .. "docs/deploy/app.service > '%s/app.service'"):format(folder, folder))
        local result = assert(process.run("systemd-analyze", { "verify", folder .. "/app.service",
            folder .. "/app.socket" }))
        assert.equal("", result.stdout .. result.stderr)
        assert.equal(0, result.code)
    end)
end)
