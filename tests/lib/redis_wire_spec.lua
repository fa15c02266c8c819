-- The client against servers whose every byte the spec writes.
package.path = "tests/support/?.lua;" .. package.path

local fs = require "fs"
local redis = require "redis"
local server = require "redis_server"
local sockets = require "sockets"
local tcp_ffi = require "links.tcp.ffi"
local sync = require "sync"
local task = require "task"
local timer = require "timer"
local tls = require "tls"
local tools = require "tools"
local unix = require "unix"

local PATIENCE_MS = 20000

local function client_of(port, options)
    local o = { port = port }
    for name, value in pairs(options or {}) do o[name] = value end
    return sockets.keep(redis.createClient(o))
end

local function join(t)
    local ok, value, err = t:join(PATIENCE_MS)
    assert(ok, tostring(value))
    return value, err
end

describe("a Redis client", function()
    after_each(sockets.close_all)

    it("reads replies whose bytes come one by one", function()
        local replies = "+OK\r\n:12\r\n$5\r\na\r\nbc\r\n*2\r\n$-1\r\n%1\r\n+k\r\n,1.5\r\n"
            .. "-ERR no\r\n"
        local port = server.fake(function(socket)
            for _ = 1, 5 do server.command(socket) end
            for byte in replies:gmatch(".") do
                socket:write(byte)
                task.yield()
            end
            server.command(socket)
        end)
        local list = assert(client_of(port):pipeline(function(p)
            for i = 1, 5 do p:get(i) end
        end))
        assert.same({ "OK", 12, "a\r\nbc", { redis.null, { k = 1.5 } } },
            { list[1], list[2], list[3], list[4] })
        assert.equal("ERR", list[5].name)
    end)

    it("closes a connection on which something else comes, and makes another", function()
        local bad = {
            "HTTP/1.1 400 Bad Request\r\n", ":12x\r\n", "$5\r\nabcdefgh\r\n", "*-2\r\n",
            "%1\r\n>1\r\n",
        }
        local port = server.answering(function(command, _, n)
            return command[2] == "bad" and bad[n] or "+fine\r\n"
        end)
        local client = client_of(port)
        for i = 1, #bad do
            local value, err = client:get("bad")
            assert.is_nil(value)
            assert.equal("PROTOCOL", err.name)
            assert.is_false(client:stats().connected)
            if i == #bad then assert.equal("fine", client:get("good")) end
        end
    end)

    it("takes no reply beyond its limits", function()
        local large = {
            "$1001\r\n", "*11\r\n", "*1\r\n*1\r\n*1\r\n:1\r\n", "+" .. ("x"):rep(1001),
        }
        local port = server.answering(function(_, _, n) return large[n] or "+fine\r\n" end)
        local client = client_of(port, {
            maxReplySize = 1000, maxReplyElements = 10, maxReplyDepth = 2,
        })
        for _ = 1, #large do
            local _, err = client:get("k")
            assert.equal("TOO_LARGE", err.name)
        end
        assert.equal("fine", client:get("k"))
    end)

    it("gives nobody a reply that nobody asked for", function()
        local port = server.answering(function(_, socket, n)
            if n > 1 then return "+second\r\n" end
            socket:write("+first\r\n")
            return "+stray\r\n"
        end)
        local client = client_of(port)
        local first = client:get("k")
        sockets.eventually(function()
            if client:get("k") == "second" then return true end
        end)
        assert.equal("first", first)
    end)

    it("sends what tasks ask for in one turn in one write", function()
        local seen, sizes = sync.channel(10), 0
        local port = server.fake(function(socket)
            server.command(socket)
            socket:write("+first\r\n")
            local bytes = socket:readSome()
            sizes = #bytes
            for i = 1, select(2, bytes:gsub("GET", "")) do socket:write(":" .. i .. "\r\n") end
            seen:send(true)
            server.command(socket)
        end)
        local client = client_of(port)
        assert.equal("first", client:get("k"))
        local tasks = {}
        for i = 1, 50 do
            tasks[i] = task.spawn(function() return client:get(i) end)
        end
        for i = 1, 50 do assert.equal(i, join(tasks[i])) end
        assert(seen:receive(PATIENCE_MS))
        local expected = 0
        for i = 1, 50 do expected = expected + #("*2\r\n$3\r\nGET\r\n$1\r\n\r\n") + #tostring(i) end
        assert.equal(expected, sizes)
    end)

    it("drops the reply that a cancelled task waited for, and no other", function()
        for victim = 1, 3 do -- the first of them reads for all
            local asked, go = sync.channel(10), sync.event()
            local port = server.fake(function(socket)
                for i = 1, 3 do
                    server.command(socket)
                    asked:send(i)
                end
                go:wait()
                socket:write("+reply 1\r\n+reply 2\r\n+reply 3\r\n")
                server.command(socket)
                socket:write("+reply 4\r\n")
                server.command(socket)
            end)
            local client = client_of(port)
            local tasks = {}
            for i = 1, 3 do tasks[i] = task.spawn(function() return client:incr("k" .. i) end) end
            for _ = 1, 3 do assert(asked:receive(PATIENCE_MS)) end
            tasks[victim]:cancel()
            local _, err = join(tasks[victim])
            assert.equal("ECANCELED", err.name)
            go:set()
            for i = 1, 3 do
                if i ~= victim then assert.equal("reply " .. i, join(tasks[i])) end
            end
            assert.equal("reply 4", client:incr("k"))
            assert.equal(0, client:stats().reconnects)
        end
    end)

    it("goes on where all that waited were cancelled", function()
        local asked, go = sync.channel(10), sync.event()
        local port = server.fake(function(socket)
            for _ = 1, 2 do
                server.command(socket)
                asked:send(true)
            end
            go:wait()
            socket:write("+one\r\n+two\r\n")
            server.command(socket)
            socket:write("+three\r\n")
            server.command(socket)
        end)
        local client = client_of(port)
        local tasks = {}
        for i = 1, 2 do tasks[i] = task.spawn(function() return client:incr("k") end) end
        for _ = 1, 2 do assert(asked:receive(PATIENCE_MS)) end
        for i = 2, 1, -1 do
            tasks[i]:cancel()
            assert.equal("ECANCELED", select(2, join(tasks[i])).name)
        end
        go:set()
        assert.equal("three", client:incr("k"))
        assert.equal(0, client:stats().reconnects)
    end)

    it("leaves a server that does not answer in time", function()
        local port = server.answering(function(_, socket, n)
            if n == 1 then
                socket:read(1)
                return nil
            end
            return "+fine\r\n"
        end)
        local client = client_of(port, { timeout = 50, retries = 0 })
        local _, err = client:get("k")
        assert.equal("ETIMEDOUT", err.name)
        assert.is_nil(err.deadline)
        client = client_of(port, { timeout = PATIENCE_MS })
        assert.equal("fine", client:get("k"))
    end)

    it("has its wait for a connection of the pool on its timeout", function()
        local port = server.answering(function() return "+fine\r\n" end)
        local client = client_of(port, { autoPipeline = false, timeout = PATIENCE_MS })
        local get, left = client._pool.get, nil
        function client._pool.get(pool)
            timer.sleep(50)
            local line = assert(get(pool))
            local send = line.send
            function line.send(self, bytes, count, ms, maps)
                left = ms
                return send(self, bytes, count, ms, maps)
            end
            return line
        end
        assert.equal("fine", client:get("k"))
        assert.is_true(left <= PATIENCE_MS - 49)
    end)

    it("leaves a server that says nothing, however short the deadlines of its tasks", function()
        local port = server.answering(function(_, _, n) return n > 1 and "+fine\r\n" or "" end)
        local client = client_of(port, { timeout = 100 })
        tools.eventually("another connection", function()
            return task.withTimeout(30, function() return client:get("k") end)
        end)
        assert.is_true(client:stats().reconnects > 0)
    end)

    it("keeps a server that was slow to tasks with short deadlines, and answers then", function()
        local go = sync.event()
        local port = server.answering(function(command, _, n)
            if command[2] == "slow" then go:wait(PATIENCE_MS) end
            return "+" .. n .. command[2] .. "\r\n"
        end)
        local client = client_of(port, { timeout = PATIENCE_MS })
        assert.equal("1k", client:get("k"))
        local _, err = task.withTimeout(10, function() return client:get("slow") end)
        assert.is_true(err.deadline)
        go:set()
        local line = client._line
        tools.eventually("a reply that nobody reads", function()
            return tcp_ffi.C.links_tcp_quiet(line._h) == 0
        end)
        line._silent = line._silent - PATIENCE_MS -- as if it had been there for that long
        assert.equal("1k", client:get("k"))
    end)

    it("keeps to a deadline, queueing included", function()
        local port = sockets.serve(function(socket) socket:readAll() end) -- greets nobody
        local client = client_of(port, { connectTimeout = 0, timeout = 0 })
        local _, err = task.withTimeout(20, client.get, client, "k")
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(err.deadline)
        client = client_of(port, { connectTimeout = 0, timeout = 20 })
        _, err = client:get("k")
        assert.equal("ETIMEDOUT", err.name)
        client = client_of(port, { connectTimeout = 0, timeout = 0 })
        _, err = sockets.cancelled(function() return client:get("k") end)
        assert.equal("ECANCELED", err.name)
        client = client_of(port, { connectTimeout = 20, timeout = PATIENCE_MS, retries = 0 })
        _, err = client:get("k")
        assert.equal("ETIMEDOUT", err.name)
    end)

    it("makes again what only reads where the connection was lost, and nothing else", function()
        local counts = {}
        local port = server.answering(function(command, _, n)
            counts[command[1]] = (counts[command[1]] or 0) + 1
            return n > 2 and "+fine\r\n" or nil
        end)
        local client = client_of(port, { retries = 3 })
        local _, err = client:incr("k")
        assert.equal("EOF", err.name)
        assert.equal("fine", client:get("k"))
        assert.same({ INCR = 1, GET = 2 }, counts)
        assert.equal(2, client:stats().reconnects)
    end)

    it("makes nothing again more often than it was told", function()
        local counts = {}
        local port = server.answering(function(command)
            local word = command[1]
            counts[word] = (counts[word] or 0) + 1
            return word == "PING" and "+PONG\r\n" or word == "INCR" and "-LOADING it\r\n" or nil
        end)
        local client = client_of(port, { retries = 1, reconnect = { base = 1, max = 1 } })
        for _, word in ipairs { "GET", "INCR" } do
            assert.equal("PONG", client:ping()) -- it is connected
            local value, err = client:command(word, "k")
            assert.same({ nil, true }, { value, err ~= nil })
            assert.equal(2, counts[word])
        end
    end)

    it("makes again what the server says it has not done", function()
        local replies = {
            "-LOADING Redis is loading\r\n", "-MASTERDOWN Link is down\r\n", "+fine\r\n",
            "-OOM command not allowed\r\n", "-READONLY no writes here\r\n", "+master\r\n",
        }
        local i, last = 0, 0
        local port = server.answering(function(_, _, n)
            i, last = i + 1, n
            return replies[i]
        end)
        local client = client_of(port, { retries = 2, reconnect = { base = 1, max = 5 } })
        assert.equal("fine", client:incr("k"))
        assert.equal(1, last)
        local _, err = client:incr("k")
        assert.same({ "OOM", 0 }, { err.name, err.code })
        assert.equal("master", client:incr("k"))
        assert.equal(2, last) -- a new connection, for there may be another master
    end)

    it("finds a server that comes later", function()
        local folder = assert(fs.tempDir())
        local path = folder .. "/socket"
        local client = sockets.keep(redis.createClient {
            path = path, retries = 0, reconnect = { base = 1, max = 2 },
        })
        local _, err = client:get("k")
        assert.equal("ENOENT", err.name)
        assert.equal(1, client:stats().failures)
        sockets.keep(assert(unix.createServer(path, function(socket)
            server.greet(socket)
            while server.command(socket) do socket:write("+here\r\n") end
        end)))
        assert.equal("here", client:get("k"))
        assert.equal(0, client:stats().failures)
        fs.remove(folder, { recursive = true })
    end)

    it("introduces itself by RESP2 to a server that knows no better", function()
        local said = {}
        local port = sockets.serve(function(socket)
            for command in function() return server.command(socket) end do
                said[#said + 1] = table.concat(command, " ")
                socket:write(command[1] == "HELLO" and "-ERR unknown command `HELLO`\r\n"
                    or command[1] == "HGETALL" and "*4\r\n+a\r\n:1\r\n+b\r\n:2\r\n" or "+OK\r\n")
            end
        end)
        local client = sockets.keep(redis.createClient {
            url = "redis://me:p%40ss@127.0.0.1:" .. port .. "/3", name = "app",
        })
        assert.same({ a = 1, b = 2 }, assert(client:hgetall("k")))
        assert.same({
            "HELLO 3 AUTH me p@ss", "AUTH me p@ss", "SELECT 3", "CLIENT SETNAME app",
            "CLIENT SETINFO LIB-NAME links", "HGETALL k",
        }, said)
        local conn = assert(redis.connect(port, nil, {
            protocol = 2, password = "x", hashReplies = "list",
        }))
        assert.same({ "a", 1, "b", 2 }, conn:hgetall("k"))
        assert.equal("AUTH x", said[7])
        conn:close()
    end)

    it("says why a server has closed that has enough clients", function()
        local port = sockets.serve(function(socket)
            if server.command(socket) then
                socket:write("-ERR max number of clients reached\r\n")
            end
        end)
        local value, err = client_of(port, { retries = 0 }):get("k")
        assert.same({ nil, "max number of clients reached" }, { value, err.message })
    end)

    it("says what the server has against it", function()
        local port = sockets.serve(function(socket)
            while server.command(socket) do socket:write("-WRONGPASS invalid password\r\n") end
        end)
        local client = client_of(port, { password = "x", retries = 0 })
        local _, err = client:get("k")
        assert.same({ "WRONGPASS", 0 }, { err.name, err.code })
        _, err = redis.connect(port, "127.0.0.1", { password = "x" })
        assert.equal("WRONGPASS", err.name)
    end)

    it("speaks TLS, with whom it can verify", function()
        local pair = tls.selfSigned("localhost")
        local secure = sockets.keep(assert(tls.createServer(0, function(socket)
            if not server.greet(socket) then return end
            while server.command(socket) do socket:write("+secret\r\n") end
        end, { host = "127.0.0.1", cert = pair.cert, key = pair.key })))
        local url = "rediss://localhost:" .. secure:address().port
        local client = sockets.keep(redis.createClient { url = url, tls = { ca = pair.cert } })
        assert.equal("secret", client:get("k"))
        assert.equal("secret", client:use(function(conn) return conn:get("k") end))
        local _, err = sockets.keep(redis.createClient { url = url, retries = 0 }):get("k")
        assert.equal("TLS_CERT_VERIFY", err.name)
    end)

    it("lets no more wait than it was told", function()
        local port = sockets.serve(function(socket) socket:readAll() end)
        local client = client_of(port, { maxWait = 2, timeout = 0, connectTimeout = 0 })
        local tasks = {}
        for i = 1, 2 do tasks[i] = task.spawn(function() return client:get("k") end) end
        sockets.eventually(function() return client:stats().waiting == 2 end)
        local _, err = client:get("k")
        assert.equal("POOL_FULL", err.name)
        client:close()
        for i = 1, 2 do assert.equal("CLOSED", select(2, join(tasks[i])).name) end
        _, err = client:get("k")
        assert.equal("CLOSED", err.name)
        assert.is_true(client:close())
    end)

    it("takes a large value apart from small ones of others", function()
        local big = ("x"):rep(300000)
        local port = server.answering(function(command)
            return "$" .. #command[3] .. "\r\n" .. command[3] .. "\r\n"
        end)
        local client = client_of(port)
        local tasks = {}
        for i = 1, 20 do
            local value = i % 4 == 0 and big .. i or "small" .. i
            tasks[i] = task.spawn(function() return client:set("k", value) == value end)
        end
        for i = 1, 20 do assert.is_true((join(tasks[i]))) end
    end)

    it("writes what is left of a command whose task was cancelled, for those behind it", function()
        local big, go = ("x"):rep(8000000), sync.event()
        local port = server.fake(function(socket, n)
            go:wait(PATIENCE_MS)
            for command in function() return server.command(socket) end do
                socket:write("+" .. n .. command[1] .. #command[#command] .. "\r\n")
            end
        end)
        local client = client_of(port, { timeout = 0 })
        local large = task.spawn(client.set, client, "k", big)
        sockets.eventually(function() return client:stats().pending == 1 end)
        local behind = task.spawn(client.incr, client, "k")
        local reading = task.spawn(client.get, client, "k")
        sockets.eventually(function() return client:stats().pending == 3 end)
        behind:cancel() -- nothing of it has gone
        assert.equal("ECANCELED", select(2, join(behind)).name)
        large:cancel()
        assert.equal("ECANCELED", select(2, join(large)).name)
        go:set()
        assert.equal("1GET1", join(reading))
        assert.equal("1GET2", client:get("kk"))
        assert.equal(0, client:stats().pending)
    end)

    it("has the system look whether a silent server is there", function()
        local port = server.answering(function() return "+fine\r\n" end)
        local idle = client_of(port):use(function(conn)
            return conn._line._socket:getOption("keepidle")
        end)
        assert.equal(60, idle)
    end)

    it("has its wait for its turn to write on its timeout", function()
        local go, incremented = sync.event(), false
        local port = server.fake(function(socket, n)
            if n == 1 then go:wait(PATIENCE_MS) end
            for command in function() return server.command(socket) end do
                incremented = incremented or command[1] == "INCR"
                socket:write("+" .. n .. command[1] .. "\r\n")
            end
        end)
        local client = client_of(port, { timeout = 0 })
        local large = task.spawn(client.set, client, "k", ("x"):rep(20000000))
        sockets.eventually(function() return client._line and client._line._writing end)
        local line = client._line
        client._o.timeout = 20 -- of what is sent from now on
        local _, err = client:incr("k")
        assert.same({ "ETIMEDOUT" }, { err.name, err.deadline })
        client._o.timeout = 0
        assert.equal("2GET", client:get("k")) -- the first connection takes no more
        go:set()
        assert.equal("1SET", join(large))
        sockets.eventually(function() return line.broken end) -- nobody waits for it any more
        assert.is_false(incremented)
    end)

    it("leaves a connection on which half a command was written", function()
        local stop = sync.event()
        local port = server.fake(function(socket, n)
            if n == 1 then return stop:wait() end
            while server.command(socket) do socket:write("+fine\r\n") end
        end)
        local client = client_of(port, { timeout = 100, retries = 1 })
        local _, err = client:set("k", ("x"):rep(8000000))
        assert.equal("ETIMEDOUT", err.name)
        tools.eventually("another connection", function() return client:get("k") end)
        stop:set()
    end)

    it("makes maps of lists where no table can have such a name", function()
        local port = sockets.serve(function(socket)
            while server.command(socket) do socket:write("*2\r\n,nan\r\n:1\r\n") end
        end)
        local client = client_of(port, { protocol = 2 })
        assert.same({ nan = 1 }, client:hgetall("k"))
    end)

    it("refuses what is not for it", function()
        local client = client_of(1)
        for _, name in ipairs { "subscribe", "monitor", "select", "watch", "hello", "quit" } do
            if name ~= "subscribe" then
                assert.is_false(pcall(client[name], client, "x"), name)
            end
            assert.is_false(pcall(client.command, client, name, "x"), name)
        end
        assert.is_false(pcall(client.client, client, "REPLY", "OFF"))
        assert.is_false(pcall(client.get, client, nil))
        assert.is_false(pcall(client.get, client, {}))
        for _, options in ipairs {
            { sentinels = {}, master = "m" }, { master = "m" }, { sentinels = { { "x" } } },
            { sentinels = { { "x" } }, master = "m", host = "y" },
            { sentinels = { 1 }, master = "m" },
            { cluster = {} }, { readFrom = "replica" }, { pingInterval = -1 }, { url = "http://x" },
            { url = "redis://x/name" }, { port = 0 }, { int64 = "cdata" }, { db = -1 },
            { username = "x" }, { path = "/x", tls = {} }, { reconnect = { first = 1 } },
            { protocol = 4 }, { maxReplyDepth = 65 }, { maxWait = 0 },
        } do
            local ok, message = pcall(function() redis.createClient(options) end)
            assert.is_false(ok)
            assert.matches("^tests/lib/redis_wire_spec.*: redis.createClient", message)
        end
        for what, call in pairs {
            ["port must be"] = function() redis.connect(0) end,
            ["argument 1 of GET"] = function() client:get({}) end,
            ["argument 2 of SET"] = function() client:command("SET", "k", true) end,
            ["client:use"] = function() client:select(1) end,
            ["client:subscribe"] = function() client:command("subscribe", "x") end,
            ["fn must be"] = function() client:pipeline(1) end,
            ["options.retries"] = function() client:multi(print, { retries = -1 }) end,
        } do
            local ok, message = pcall(call)
            assert.is_false(ok)
            assert.matches("^tests/lib/redis_wire_spec.*" .. what, message)
        end
    end)
end)

describe("a Redis client with sentinels", function()
    after_each(sockets.close_all)

    -- A server that answers ROLE with what `roles` has for its name, and all else with its name.
    local function node(name, roles)
        return (server.answering(function(command)
            if command[1] == "ROLE" then return "*1\r\n+" .. roles[name] .. "\r\n" end
            if command[1] == "MULTI" then return "+OK\r\n" end
            if command[1] == "EXEC" then return "-EXECABORT Transaction discarded.\r\n" end
            if command[1] == "BLPOP" and roles[name] ~= "master" then
                return "-UNBLOCKED force unblock from blocking operation\r\n"
            end
            if command[1] == "INCR" and roles[name] ~= "master" then
                return "-READONLY You can't write against a read only replica.\r\n"
            end
            return "+" .. name .. "\r\n"
        end))
    end

    -- A sentinel that says what `where.port` is when it is asked.
    local function sentinel(where)
        return (sockets.serve(function(socket)
            for command in function() return server.command(socket) end do
                local text = "+OK\r\n"
                if command[1] == "SENTINEL" then
                    local port = command[3] == "main" and where.port
                    text = port and ("*2\r\n+127.0.0.1\r\n+%d\r\n"):format(port) or "*-1\r\n"
                end
                socket:write(text)
            end
        end))
    end

    it("finds the master, and the next one after a fail-over", function()
        local roles, where = { one = "master", two = "slave" }, {}
        local ports = { one = node("one", roles), two = node("two", roles) }
        where.port = ports.one
        local client = sockets.keep(redis.createClient {
            sentinels = { { "127.0.0.1", 1 }, { "127.0.0.1", sentinel(where) } },
            master = "main", retries = 3, reconnect = { base = 1, max = 5 },
        })
        assert.equal("one", client:incr("k"))
        assert.equal("one", client:use(function(conn) return conn:get("k") end))
        roles.one, roles.two, where.port = "slave", "master", ports.two
        assert.equal("two", client:incr("k"))
        assert.equal(1, client:stats().reconnects)
    end)

    it("leaves who is no master any more in whatever way it says so", function()
        local ways = {
            function(client) return select(2, client:incr("k")) end,
            function(client) return client:pipeline(function(p) p:get("k") p:incr("k") end)[2] end,
            function(client) return select(2, client:multi(function(tx) tx:incr("k") end)) end,
            function(client) return select(2, client:blpop("k", 1)) end,
            function(client)
                return client:use(function(conn)
                    local _, err = conn:incr("k")
                    assert.equal("one", conn:get("k")) -- for as long as this one has it
                    return err
                end)
            end,
        }
        for i, way in ipairs(ways) do
            for _, shared in ipairs { true, false } do
                local roles, where = { one = "master", two = "slave" }, {}
                local ports = { one = node("one", roles), two = node("two", roles) }
                where.port = ports.one
                local client = sockets.keep(redis.createClient {
                    sentinels = { { "127.0.0.1", sentinel(where) } }, master = "main",
                    retries = 0, autoPipeline = shared, timeout = PATIENCE_MS,
                })
                -- The connection that the way takes is there.
                if i > 3 then client:use(function(conn) return conn:get("k") end) end
                assert.equal("one", client:get("k"))
                roles.one, roles.two, where.port = "slave", "master", ports.two
                local err = way(client)
                assert.is_true(err.name == "READONLY" or err.name == "UNBLOCKED"
                    or err.name == "EXECABORT", tostring(err))
                local reads = i > 3 and function() return client:use(function(conn)
                    return conn:get("k")
                end) end or function() return client:get("k") end
                assert.equal("two", reads(), i)
            end
        end
    end)

    it("asks all sentinels, whoever else finds the master meanwhile", function()
        local roles, where = { one = "master" }, {}
        where.port = node("one", roles)
        local asked, go = sync.channel(2), sync.event()
        local dumb = sockets.serve(function(socket)
            asked:send(true)
            go:wait(PATIENCE_MS)
            socket:close()
        end)
        local list = { { "127.0.0.1", dumb }, { "127.0.0.1", sentinel(where) } }
        local client = sockets.keep(redis.createClient {
            sentinels = list, master = "main", retries = 0, timeout = PATIENCE_MS,
            connectTimeout = PATIENCE_MS,
        })
        local order = client._o.sentinels
        local waiting = task.spawn(client.get, client, "k")
        assert(asked:receive(PATIENCE_MS))
        table.insert(order, 1, table.remove(order, 2)) -- as another task does that has found it
        go:set()
        assert.equal("one", join(waiting))
        assert.equal(list[2][2], order[1][2])
    end)

    it("takes nobody for the master who does not say so, and says what it found", function()
        local roles, where = { one = "slave" }, {}
        where.port = node("one", roles)
        local function ask(name, port)
            local client = sockets.keep(redis.createClient {
                sentinels = { { "127.0.0.1", port } }, master = name, retries = 0,
            })
            return (select(2, client:get("k"))).name
        end
        local port = sentinel(where)
        assert.equal("READONLY", ask("main", port))
        assert.equal("NOT_FOUND", ask("other", port))
        assert.equal("ECONNREFUSED", ask("main", 1))
    end)
end)

describe("timeouts of a Redis connection", function()
    after_each(sockets.close_all)

    it("are each task's own", function()
        local go = sync.event()
        local port = server.fake(function(socket)
            server.command(socket)
            server.command(socket)
            go:wait()
            socket:write("+one\r\n+two\r\n")
            server.command(socket)
        end)
        local client = client_of(port, { timeout = PATIENCE_MS })
        local slow = task.spawn(function() return client:incr("a") end)
        timer.sleep(1)
        local quick = task.spawn(task.withTimeout, 20, client.incr, client, "b")
        assert.equal("ETIMEDOUT", select(2, join(quick)).name)
        go:set()
        assert.equal("one", join(slow))
    end)
end)
