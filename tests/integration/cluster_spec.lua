-- process.cluster and `links -w`: a master and its workers, seen from outside by their clients,
-- their signals and what they print.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local process = require "process"
local task = require "task"
local timer = require "timer"
local program = require "tools"
local clusters = require "clusters"
local manager = require "manager"
local udp = require "udp"

local eventually = program.eventually
local start, start_by, rewrite = clusters.start, clusters.start_by, clusters.rewrite
local prints, port_of, ask = clusters.prints, clusters.port_of, clusters.ask
local workers_of, end_of = clusters.workers_of, clusters.end_of
local under_load, server_code = clusters.under_load, clusters.code

local folder, script

before_each(function()
    clusters.before()
    folder, script = clusters.folder, clusters.script
end)

after_each(clusters.after)

describe("a cluster", function()
    it("serves one port by all of its workers, which have numbers", function()
        local cluster = start(server_code("workers = 3"))
        local port = port_of(cluster)
        local pids = workers_of(port, 3)
        assert.is_truthy(pids[0] and pids[1] and pids[2])
        assert.not_equal(cluster.pid, pids[0])
        local _, count = cluster.text:gsub("port " .. port .. "\n", "")
        assert.equal(3, count)
    end)

    it("is made by links -w, of a program that knows nothing of it", function()
        program.write(script, (server_code():gsub("assert%(process.cluster[^\n]*", "")))
        local cluster = start(nil, "-w", "2", script)
        assert.is_truthy(workers_of(port_of(cluster), 2)[1])
    end)

    it("ends with SIGTERM, its workers first, and what they have been asked is answered", function()
        local cluster = start(server_code())
        local port = port_of(cluster)
        local pids = workers_of(port, 2)
        local answer
        local asked = task.spawn(function() answer = ask(port, "/slow") end)
        prints(cluster, "slow begins")
        cluster.child:kill("SIGTERM")
        asked:join()
        assert.is_truthy(answer)
        assert.same({ signal = "SIGTERM" }, end_of(cluster))
        assert.is_true(program.has_ended(pids[0]) and program.has_ended(pids[1]))
        assert.is_nil((ask(port)))
    end)

    it("replaces a worker that was killed, and serves by the others meanwhile", function()
        local cluster = start(server_code())
        local port = port_of(cluster)
        local pids = workers_of(port, 2)
        process.kill(pids[1], "SIGKILL")
        prints(cluster, "worker 1 %(" .. pids[1]
            .. "%) died of SIGKILL: starting another one in 10 ms")
        eventually("another worker", function()
            local id, pid = ask(port)
            return id == 1 and pid ~= pids[1]
        end)
        assert.equal(pids[0], workers_of(port, 2)[0])
    end)

    it("loses no connection that is in the queue of a worker that was killed", function()
        local cluster = start(server_code("workers = 1"))
        local port = port_of(cluster)
        local _, pid = ask(port)
        process.kill(pid, "SIGSTOP")
        local answered = 0
        local tasks = {}
        for i = 1, 20 do
            tasks[i] = task.spawn(function() if ask(port) then answered = answered + 1 end end)
        end
        timer.sleep(100)
        process.kill(pid, "SIGKILL")
        for _, t in ipairs(tasks) do t:join() end
        assert.equal(20, answered)
    end)

    it("keeps the shared memory that its master has opened, when its only worker is killed",
        function()
        local cluster = start(([[
            local http, process = require "http", require "process"
            local dict = assert(require("shared").open("cluster-%d", 65536))
            process.cluster { workers = 1 }
            local server = assert(http.createServer(0, function()
                return dict:incr("n", 1, 0) .. " " .. process.pid .. " 1"
            end, { host = "127.0.0.1" }))
            print("port " .. server:address().port)
            io.stdout:flush()
        ]]):format(process.pid))
        local port = port_of(cluster)
        local count, pid = ask(port)
        assert.equal(1, count)
        process.kill(pid, "SIGKILL")
        assert.is_true(eventually("another worker", function() return (ask(port)) end) > 1)
    end)

    it("takes its workers along when its master is killed", function()
        local cluster = start(server_code())
        local pids = workers_of(port_of(cluster), 2)
        cluster.child:kill("SIGKILL")
        end_of(cluster)
        eventually("the end of the workers", function()
            return program.has_ended(pids[0]) and program.has_ended(pids[1])
        end)
    end)

    it("has its process id in a file", function()
        local path = folder .. "/pid"
        local cluster = start(server_code('workers = 1, pidFile = "' .. path .. '"'))
        port_of(cluster)
        assert.equal(cluster.pid .. "\n", program.read(path))
    end)

    it("may be a daemon, whose workers are none of their own", function()
        local pid_file, place = folder .. "/pid", folder .. "/port"
        program.write(script, ([[
            local http, process = require "http", require "process"
            assert(process.daemon())
            assert(process.cluster { workers = 2, pidFile = %q })
            local server = assert(http.createServer(0, function()
                return process.workerId .. " " .. process.pid .. " 1"
            end, { host = "127.0.0.1" }))
            local file = assert(io.open(%q, "w"))
            file:write(server:address().port, "\n")
            file:close()
        ]]):format(pid_file, place))
        local function number_in(path)
            local file = io.open(path)
            local text = file and file:read("*l")
            if file then file:close() end
            return tonumber(text)
        end
        finally(function()
            local left = number_in(pid_file)
            if left then process.kill(left, "SIGKILL") end
        end)
        assert.equal(0, assert(process.run(program.LINKS, { script })).code)
        local port = eventually("the port", function() return number_in(place) end)
        workers_of(port, 2)
        local master = number_in(pid_file)
        process.kill(master, "SIGTERM")
        eventually("its end", function() return program.has_ended(master) end)
    end)

    it("gives all workers one secret for the tickets of TLS sessions", function()
        local code = [[
            assert(process.cluster { workers = 2 })
            print("secret " .. os.getenv("LINKS_TICKET_SECRET") .. ".")
            io.stdout:flush()
            process.ready()
            require("timer").sleep(1e6)]]
        local cluster = start('local process = require "process"\n' .. code)
        assert.equal(64, #prints(cluster, "secret (%x+)%..-secret %x+%."))
        local first, second = cluster.text:match("secret (%x+)%..-secret (%x+)%.")
        assert.equal(first, second)
    end)

    it("pins its workers to processors", function()
        if jit.os ~= "Linux" then return pending("needs /proc") end
        local cluster = start(server_code("workers = 2, cpuAffinity = true"))
        local pids = workers_of(port_of(cluster), 2)
        for id = 0, 1 do
            local status = program.read("/proc/" .. pids[id] .. "/status")
            assert.is_truthy(status:find("Cpus_allowed_list:%s*%d+\n"), status)
        end
    end)

    it("runs its workers as another user, on sockets that only root may open", function()
        if not program.is_root() then return pending("needs root") end
        local path, copy = folder .. "/socket", program.copy_for_others(folder)
        local cluster = start_by(copy, ([[
            local http, process, system = require "http", require "process", require "system"
            assert(process.cluster { workers = 1, uid = 65534, gid = 65534 })
            assert(http.createServer("unix:%s", function() return "hello" end))
            print("user " .. system.userInfo().uid)
            io.stdout:flush()
        ]]):format(path))
        assert.equal("65534", prints(cluster, "user (%d+)\n"))
        local res = assert(http.get("http://localhost/", { unix = path }))
        assert.equal("hello", res.body)
    end)
end)

describe("the reload of a cluster", function()
    it("brings new workers with the program as it is then, and loses no request", function()
        local cluster = start(server_code())
        local port = port_of(cluster)
        workers_of(port, 2)
        local failed, asked, stop = nil, 0, false
        local clients = {}
        for i = 1, 4 do
            clients[i] = task.spawn(function()
                while not stop do
                    local id, err = ask(port)
                    if not id then failed = failed or tostring(err) end
                    asked = asked + 1
                end
            end)
        end
        for version = 2, 4 do
            rewrite(server_code(nil, nil, version))
            cluster.child:kill("SIGHUP")
            local ok = pcall(eventually, "version " .. version, function()
                local _, _, v = ask(port)
                return v == tostring(version)
            end)
            assert(ok, "no version " .. version .. ": " .. cluster.text)
        end
        stop = true
        for _, client in ipairs(clients) do client:join() end
        assert.is_nil(failed)
        assert.is_true(asked > 20)
    end)

    it("lets a request that is under way end with its answer", function()
        local cluster = start(server_code("workers = 1"))
        local port = port_of(cluster)
        local _, pid = ask(port)
        local answered_by
        local asked = task.spawn(function() answered_by = select(2, ask(port, "/slow")) end)
        prints(cluster, "slow begins")
        cluster.child:kill("SIGHUP")
        asked:join()
        assert.equal(pid, answered_by)
        eventually("the end of the old worker", function() return program.has_ended(pid) end)
    end)

    it("keeps the old workers where the new ones cannot start, and says where", function()
        local cluster = start(server_code())
        local port = port_of(cluster)
        local pids = workers_of(port, 2)
        rewrite("local x = \nlocal y = = 2\n")
        cluster.child:kill("SIGHUP")
        prints(cluster, "app.lua:2: unexpected symbol")
        prints(cluster, "the reload has failed, and the old workers stay: worker %d %(%d+%) ended"
            .. " with code 1 before it was ready")
        assert.same(pids, workers_of(port, 2))
        rewrite(server_code(nil, nil, "better"))
        cluster.child:kill("SIGHUP")
        eventually("the better program", function() return select(3, ask(port)) == "better" end)
    end)

    it("keeps the old workers where a new one is not ready in time", function()
        -- The first one has to be ready in that time, which a busy machine may not give it.
        local cluster, ms
        for _, time in ipairs { 2000, 10000, 30000 } do
            ms = time
            cluster = start(server_code("workers = 1, readyTimeout = " .. ms))
            eventually("the start", function()
                return cluster.text:find("port %d") or cluster.child:wait(0)
            end)
            if cluster.text:find("port %d") then break end
        end
        local port = port_of(cluster)
        local pids = workers_of(port, 1)
        rewrite('require("process").cluster() require("timer").sleep(60000)')
        cluster.child:kill("SIGHUP")
        prints(cluster, "the old workers stay: worker 0 %(%d+%) was not ready within " .. ms
            .. " ms")
        assert.same(pids, workers_of(port, 1))
    end)

    it("keeps the old workers where the new ones loop, and ends those", function()
        if not clusters.soak then return pending("takes its time: make soak") end
        local cluster = start(server_code("workers = 2, shutdownTimeout = 500"))
        local port = port_of(cluster)
        local pids = workers_of(port, 2)
        rewrite([[
            local process = require "process"
            process.cluster()
            print("loops " .. process.pid)
            io.stdout:flush()
            while true do end
        ]])
        cluster.child:kill("SIGHUP")
        prints(cluster, "loops %d+\n.*loops %d+\n")
        prints(cluster, "the old workers stay: worker 0 %(%d+%) was not ready within 10000 ms")
        for pid in cluster.text:gmatch("loops (%d+)\n") do
            eventually("its end", function() return program.has_ended(tonumber(pid)) end)
        end
        assert.same(pids, workers_of(port, 2))
    end)

    it("closes the ports that the new program does not open", function()
        local cluster = start(server_code("workers = 2"))
        local port = port_of(cluster)
        workers_of(port, 2)
        rewrite([[
            local process = require "process"
            process.cluster()
            process.ready()
            print("quiet")
            io.stdout:flush()
            require("timer").sleep(60000)
        ]])
        cluster.child:kill("SIGHUP")
        prints(cluster, "quiet\n.*quiet\n")
        eventually("the port to be closed", function()
            local id, err = ask(port)
            return not id and err.name == "ECONNREFUSED"
        end)
    end)
end)

describe("a cluster that cannot start", function()
    it("ends with code 1 and the reason, where a worker fails", function()
        local cluster = start('require("process").cluster { workers = 2 }\nerror("no database")')
        assert.same({ code = 1 }, end_of(cluster))
        cluster.reader:join()
        assert.is_truthy(cluster.text:find("app.lua:2: no database", 1, true), cluster.text)
        assert.is_truthy(cluster.text:find("the cluster has not started: worker", 1, true),
            cluster.text)
    end)

    it("hears what is wrong with a port as a server outside of one", function()
        local other = assert(require("tcp").createServer(0, function() end,
            { host = "127.0.0.1", reuseport = false }))
        local cluster = start(server_code("workers = 2", other:address().port))
        assert.same({ code = 1 }, end_of(cluster))
        cluster.reader:join()
        assert.is_truthy(cluster.text:find("EADDRINUSE", 1, true), cluster.text)
        other:close()
        cluster = start((server_code("workers = 2"):gsub("127%.0%.0%.1", "192.0.2.1")))
        end_of(cluster)
        cluster.reader:join()
        assert.is_truthy(cluster.text:find("EADDRNOTAVAIL", 1, true), cluster.text)
    end)

    it("is refused for a script from standard input, and for options that are wrong", function()
        local child = assert(process.run(program.LINKS, { "-" }, {
            input = 'local ok, err = require("process").cluster() print(ok, err.name)' }))
        assert.equal("nil\tUNSUPPORTED\n", child.stdout)
        program.raises("options.workers must be an integer from 1 to 1024", function()
            process.cluster({ workers = "many" })
        end)
        program.raises("unknown option", function() process.cluster({ worker = 2 }) end)
        child = assert(process.run(program.LINKS, { "-w", "0", script }))
        assert.equal(1, child.code)
        assert.is_truthy(child.stderr:find("-w needs a number of workers", 1, true))
    end)
end)

describe("a worker", function()
    it("that ends again and again is started later and later", function()
        local cluster = start(server_code("workers = 1, restartDelay = 20, restartDelayMax = 80"))
        local _, pid = ask(port_of(cluster))
        rewrite("os.exit(3)")
        process.kill(pid, "SIGKILL")
        prints(cluster, "ended with code 3: starting another one in 40 ms.*in 80 ms.*in 80 ms")
    end)

    it("gets the same number again, and listens where it did", function()
        local cluster = start(server_code("workers = 2"))
        local port = port_of(cluster)
        for _ = 1, 3 do
            local pids = workers_of(port, 2)
            process.kill(pids[0], "SIGKILL")
            eventually("another worker", function()
                local id, pid = ask(port)
                return id == 0 and pid ~= pids[0]
            end)
        end
        assert.equal(port, port_of(cluster))
    end)

    it("is replaced after so many requests, and none is lost", function()
        local cluster = start(server_code("workers = 1, maxRequests = 20"))
        local port = port_of(cluster)
        local _, first = ask(port)
        eventually("another worker", function()
            local id, pid = ask(port)
            assert(id, pid)
            return pid ~= first
        end)
    end)

    it("is replaced later and later where each is at its limit at once", function()
        local cluster = start(server_code(
            "workers = 1, maxRequests = 1, restartDelay = 20, restartDelayMax = 80"))
        local port = port_of(cluster)
        eventually("the longest pause", function()
            assert(ask(port))
            return cluster.text:find("at its limit after %d+ ms: starting another one in 20 ms\n"
                .. ".*in 40 ms\n.*in 80 ms\n.*in 80 ms\n")
        end)
    end)

    it("is not replaced by an older program, where a reload was faster", function()
        local go = folder .. "/go"
        local waits = ([[
            if io.open(%q) then
                print("waits " .. require("process").pid)
                io.stdout:flush()
                while not io.open(%q) do require("timer").sleep(5) end
            end
            io.open(%q, "w"):close()
            local server]]):format(folder .. "/begun", go, folder .. "/begun")
        local options = "workers = 1, maxRequests = 1, readyTimeout = 60000"
        local cluster = start((server_code(options):gsub("local server", waits)))
        local port = port_of(cluster)
        local _, first = ask(port)
        local late = tonumber(prints(cluster, "waits (%d+)\n"))
        rewrite(server_code(options, nil, 2))
        cluster.child:kill("SIGHUP")
        eventually("the end of the first one", function() return program.has_ended(first) end)
        program.write(go, "")
        eventually("the end of the late one", function() return program.has_ended(late) end)
        assert.equal("2", select(3, ask(port)))
    end)

    it("is replaced when it has grown beyond its limit of memory", function()
        local cluster = start([[
            local ffi, http, process = require "ffi", require "http", require "process"
            local MIB = 2 ^ 20
            process.cluster { workers = 1, maxMemory = process.memoryUsage().rss + 100 * MIB }
            local kept
            local server = assert(http.createServer(0, function(req)
                if req.path == "/grow" then
                    kept = ffi.new("char[" .. 150 * MIB .. "]")
                    ffi.fill(kept, 150 * MIB, 1)
                end
                return process.workerId .. " " .. process.pid .. " " .. (kept and "grown" or "small")
            end, { host = "127.0.0.1" }))
            print("port " .. server:address().port)
            io.stdout:flush()
        ]])
        local port = port_of(cluster)
        local _, first, size = ask(port, "/grow")
        assert.equal("grown", size)
        eventually("another worker", function()
            local id, pid, now = ask(port)
            assert(id == 0, pid)
            return pid ~= first and now == "small"
        end)
        assert.is_nil(cluster.text:find("died", 1, true))
    end)

    it("is lent a socket of datagrams, of which none is lost while it is replaced", function()
        local port = manager.free_udp_port()
        local cluster = start(([[
            local process, udp = require "process", require "udp"
            process.cluster { workers = 1, restartDelay = 200 }
            local own = assert(udp.createSocket(0, "127.0.0.1"))
            local socket, err = udp.createSocket(%d, "127.0.0.1")
            assert(socket, tostring(err))
            print(select(2, udp.createSocket(%d, "127.0.0.1")).name)
            process.ready()
            print("pid " .. process.pid)
            io.stdout:flush()
            while true do
                local data, _, from = socket:recv()
                own:send(data, from.port, from.address)
            end
        ]]):format(port, port))
        local first = tonumber(prints(cluster, "EADDRINUSE\npid (%d+)\n"))
        clusters.await(cluster)
        local client = assert(udp.createSocket(0, "127.0.0.1"))
        local function send(from, to)
            for i = from, to do assert(client:send(tostring(i), port, "127.0.0.1")) end
        end
        local function expect(from, to)
            local missing = {}
            for i = from, to do missing[tostring(i)] = true end
            while next(missing) do missing[assert(client:recv(15000))] = nil end
        end
        send(1, 20)
        expect(1, 20)
        process.kill(first, "SIGKILL")
        prints(cluster, "died of SIGKILL")
        send(21, 40)
        expect(21, 40)
        cluster.child:kill("SIGHUP")
        for i = 41, 240 do
            send(i, i)
            if i % 20 == 0 then timer.sleep(5) end
        end
        expect(41, 240)
        client:close()
    end)

    it("hears that it listens there already, and closes a port for all when it closes its server",
        function()
        local cluster = start([[
            local http, process, task = require "http", require "process", require "task"
            process.cluster { workers = 1 }
            local server, serve
            function serve(port)
                local made, err = http.createServer(port, function(req)
                    if req.path == "/again" then
                        local _, failure = serve(server:address().port)
                        return failure.name
                    end
                    if req.path == "/close" then
                        task.spawn(function() server:close() end)
                        task.spawn(function() require("timer").sleep(60000) end)
                    end
                    return "done"
                end, { host = "127.0.0.1" })
                server = server or made
                return made, err
            end
            assert(serve(0))
            print("port " .. server:address().port)
            io.stdout:flush()
        ]])
        local url = "http://127.0.0.1:" .. port_of(cluster)
        assert.equal("EADDRINUSE", assert(http.get(url .. "/again")).body)
        assert.equal("done", assert(http.get(url .. "/close")).body)
        eventually("the port to be closed", function()
            local res, err = http.get(url, { headers = { Connection = "close" } })
            return not res and err.name == "ECONNREFUSED"
        end)
    end)

    it("does not lose what is in a unix socket's queue either", function()
        local path = folder .. "/socket"
        local cluster = start(([[
            local http, process = require "http", require "process"
            process.cluster { workers = 2 }
            assert(http.createServer("unix:%s", function() return tostring(process.pid) end))
            print("ready")
            io.stdout:flush()
        ]]):format(path))
        prints(cluster, "ready\n.*ready\n")
        clusters.await(cluster)
        local pid = tonumber(assert(http.get("http://localhost/", { unix = path })).body)
        process.kill(pid, "SIGKILL")
        local other = eventually("an answer", function()
            return http.get("http://localhost/", { unix = path })
        end)
        assert.is_truthy(tonumber(other.body))
        cluster.child:kill("SIGTERM")
        end_of(cluster)
        assert.is_nil(io.open(path))
    end)
end)

describe("messages in a cluster", function()
    it("go to a worker by its number, to the master, and to all", function()
        local cluster = start([[
            local process, timer = require "process", require "timer"
            if process.isMaster then
                process.onRequest(function(value, from) return value .. " from " .. from end)
                process.on("message", function(from, value)
                    print("master got", value, from)
                    io.stdout:flush()
                end)
            end
            process.cluster { workers = 3 }
            assert(not process.isMaster and process.workerCount == 3)
            process.onRequest(function(value, from)
                return process.workerId .. " heard " .. value .. " of " .. from
            end)
            process.on("message", function(from, value)
                print("worker " .. process.workerId .. " got", value, from)
                io.stdout:flush()
            end)
            process.ready()
            if process.workerId == 2 then
                -- Until the others are there.
                local function hello(to)
                    for _ = 1, 1000 do
                        local answer, err = process.request(to, "hello", 20000)
                        if answer then return answer, err end
                        timer.sleep(20)
                    end
                end
                hello(1)
                print(hello(0))
                print(process.request("master", "hello", 20000))
                process.send(1, "you")
                process.send("master", "boss")
                process.send("*", "all")
                io.stdout:flush()
            end
            timer.sleep(60000)
        ]])
        prints(cluster, "0 heard hello of 2\t")
        prints(cluster, "hello from 2\t")
        for _, line in ipairs { "worker 1 got\tyou\t2", "master got\tboss\t2", "master got\tall\t2",
            "worker 0 got\tall\t2", "worker 1 got\tall\t2" } do
            prints(cluster, line)
        end
    end)
end)

local ROUNDS = clusters.soak and 100 or 6

describe("examples/cluster.lua", function()
    it("counts what all of its workers serve", function()
        local cluster = start(nil, "examples/cluster.lua", "0", "2")
        local url = "http://127.0.0.1:" .. prints(cluster, "http://[%d.]+:(%d+)/\n")
        for n = 1, 3 do
            local body = assert(http.get(url)).body
            assert.equal(tostring(n), body:match("^worker %d %(%d+%): request (%d+) of all\n$"))
        end
    end)
end)

describe("a cluster under load", function()
    it("loses no request by many reloads, nor does its master gather anything", function()
        local cluster = start(server_code())
        local function reload(port, round)
            rewrite(server_code(nil, nil, round))
            cluster.child:kill("SIGHUP")
            eventually("version " .. round, function()
                return select(3, ask(port)) == tostring(round)
            end)
        end
        local before, memory
        local asked, failures = under_load(cluster, function(port)
            reload(port, 0)
            memory = clusters.memory(cluster.pid)
            for round = 1, ROUNDS do reload(port, round) end
        end)
        for i, err in ipairs(failures) do failures[i] = tostring(err) end
        assert.same({}, failures)
        assert.is_true(asked > ROUNDS)
        cluster.child:kill("SIGHUP")
        local port = port_of(cluster)
        local pids = workers_of(port, 2)
        eventually("the end of the old workers", function()
            before = clusters.descriptors(cluster.pid)
            return not before or before <= 24
        end)
        local after = clusters.memory(cluster.pid)
        assert.is_true(not after or after < memory * 1.5 + 2 ^ 22,
            ("%s -> %s"):format(memory, after))
        assert.is_truthy(pids[0])
    end)

    it("loses by the kill of a worker only what was under way in that one", function()
        local cluster = start(server_code())
        local kills = 0
        local _, failures = under_load(cluster, function(port)
            for round = 1, ROUNDS do
                local pids, which = workers_of(port, 2), math.random(0, 1)
                local victim = pids[which]
                process.kill(victim, "SIGKILL")
                kills = kills + 1
                eventually("replacement " .. round, function()
                    local id, pid = ask(port)
                    return id == which and pid ~= victim
                end)
            end
        end)
        assert.is_true(#failures <= kills * 2 * clusters.CLIENTS)
        for _, err in ipairs(failures) do
            assert.is_truthy(({ ECONNRESET = 1, EOF = 1, EPIPE = 1 })[err.name], tostring(err))
        end
    end)

    it("has another worker where the watchdog has ended one, and tells where that was", function()
        local code = server_code():gsub('if req.path == "/slow"', [[
            if req.path == "/forever" then
                process.watchdog { kill = 300 }
                local function forever() local n = 0 while true do n = n + 1 end end
                forever()
            end
            %0]])
        local cluster = start(code)
        local port = port_of(cluster)
        local pids = workers_of(port, 2)
        local res, err = http.get("http://127.0.0.1:" .. port .. "/forever")
        assert.is_nil(res)
        assert.is_truthy(({ ECONNRESET = 1, EOF = 1, EPIPE = 1 })[err.name], tostring(err))
        local id = prints(cluster, "worker (%d) %(%d+%) died of SIGABRT[^\n]*: starting another")
        assert.matches("held the loop for %d+ ms: the process ends\nstack traceback:\n"
            .. "\t[^\n]*/app.lua:%d+: in function 'forever'", cluster.text)
        eventually("a replacement", function()
            local at, pid = ask(port)
            return at == tonumber(id) and pid ~= pids[tonumber(id)]
        end)
    end)

    it("starts another worker at once where one is asked to end from outside", function()
        local cluster = start(server_code())
        local asked, failures = under_load(cluster, function(port)
            local pids = workers_of(port, 2)
            process.kill(pids[0], "SIGTERM")
            eventually("a replacement", function()
                local id, pid = ask(port)
                return id == 0 and pid ~= pids[0]
            end)
        end)
        assert.same({}, failures)
        assert.is_true(asked > 0)
    end)
end)

describe("process.lead", function()
    local LEAD = [[
        local process, timer = require "process", require "timer"
        process.cluster { workers = 3, restartDelay = 1 }
        process.lead("job", function()
            print("leads " .. process.pid .. " VERSION")
            io.stdout:flush()
            WORK
        end)
        assert(require("http").createServer(0, function() end, { host = "127.0.0.1" }))
        print("serves " .. process.pid)
        io.stdout:flush()
    ]]

    local function code(work, version)
        return (LEAD:gsub("WORK", work):gsub("VERSION", version or 1))
    end

    local function count(cluster, pattern)
        return select(2, cluster.text:gsub(pattern, ""))
    end

    it("runs in one worker, and in another one where that is killed", function()
        local cluster = start(code("while timer.sleep(1000) do end"))
        local first = tonumber(prints(cluster, "leads (%d+) 1\n"))
        clusters.await(cluster)
        assert.equal(1, count(cluster, "leads"))
        process.kill(first, "SIGKILL")
        local second = eventually("another one", function()
            return tonumber(cluster.text:match("leads %d+.*leads (%d+) 1\n"))
        end)
        assert.not_equal(first, second)
        assert.equal(2, count(cluster, "leads"))
    end)

    it("is done once by a program, and by the next one once more", function()
        local cluster = start(code(""))
        prints(cluster, "leads %d+ 1\n")
        clusters.await(cluster)
        local victim = tonumber(prints(cluster, "serves (%d+)\n"))
        process.kill(victim, "SIGKILL")
        eventually("a replacement", function() return count(cluster, "serves") == 4 end)
        rewrite(code("", 2))
        cluster.child:kill("SIGHUP")
        prints(cluster, "leads %d+ 2\n")
        assert.equal(2, count(cluster, "leads"))
    end)

    it("goes on in the new program when the old one ends", function()
        local cluster = start(code("while timer.sleep(1000) do end"))
        prints(cluster, "leads %d+ 1\n")
        clusters.await(cluster)
        rewrite(code("while timer.sleep(1000) do end", 2))
        cluster.child:kill("SIGHUP")
        -- An old worker that has not been told to end yet may have been the next one for a moment.
        prints(cluster, "leads %d+ 1\n.*leads %d+ 2\n")
        assert.equal(1, count(cluster, "leads %d+ 2\n"))
    end)

    it("is tried by each worker where it fails, and that is logged", function()
        local cluster = start(code('error("no database")'))
        eventually("three tries", function() return count(cluster, "leads %d+ 1\n") == 3 end)
        eventually("three lines", function()
            return count(cluster, "links: process.lead: [^\n]*app.lua:%d+: no database\n") == 3
        end)
        local leaders = {}
        for pid in cluster.text:gmatch("leads (%d+)") do leaders[pid] = true end
        local n = 0
        for _ in pairs(leaders) do n = n + 1 end
        assert.equal(3, n)
    end)
end)
