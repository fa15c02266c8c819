-- The client against a real server, which this starts.
package.path = "tests/support/?.lua;" .. package.path

local null = require "links.null"
local redis = require "redis"
local servers = require "redis_server"
local sockets = require "sockets"
local sync = require "sync"
local task = require "task"

local PATIENCE_MS = 20000
local run = servers.there and describe or pending

local function join(t)
    local ok, value, err = t:join(PATIENCE_MS)
    assert(ok, tostring(value))
    return value, err
end

run("redis", function()
    local server, client

    local function new(options)
        local o = { path = server.path }
        for name, value in pairs(options or {}) do o[name] = value end
        return sockets.keep(redis.createClient(o))
    end

    setup(function() server = servers.start() end)
    teardown(function() server.stop() end)

    before_each(function()
        client = new()
        assert(client:flushall())
    end)

    after_each(sockets.close_all)

    it("is spoken to in both protocols with the same results", function()
        for protocol = 2, 3 do
            local c = new { protocol = protocol }
            assert(c:flushall())
            assert.equal("OK", c:set("k", "v", "EX", 60))
            assert.equal("v", c:get("k"))
            assert.is_nil((c:get("none")))
            assert.is_nil(select(2, c:get("none")))
            assert.equal(2, c:rpush("list", "a", "b"))
            assert.same({ "a", "b" }, c:lrange("list", 0, -1))
            assert.same({ "v", null }, c:mget("k", "none"))
            assert.equal(2, c:hset("hash", "a", 1, "b", 2))
            assert.same({ a = "1", b = "2" }, c:hgetall("hash"))
            assert.same({}, c:hgetall("none"))
            assert.equal("0", c:config("GET", "maxmemory").maxmemory)
            local _, err = c:lpush("k", 1)
            assert.same({ "WRONGTYPE", 0 }, { err.name, err.code })
            assert.equal("ERR", select(2, c:nonsense()).name)
            assert.equal("PONG", c:command("ping"))
        end
        assert.equal(1.5, new { protocol = 3 }:zincrby("z", 1.5, "a"))
    end)

    it("keeps bytes and integers as they are", function()
        local bytes = {}
        for i = 0, 255 do bytes[i + 1] = string.char(i) end
        bytes = table.concat(bytes):rep(500)
        assert(client:set("k\0\r\n", bytes))
        assert.is_true(client:get("k\0\r\n") == bytes)
        assert.equal("OK", client:set("n", 9223372036854775806LL))
        assert.is_true(client:incr("n") == 9223372036854775807LL)
        assert.equal("ERR", select(2, client:incr("n")).name)
        assert.equal("9223372036854775807", client:get("n"))
        assert(client:set("n", 2 ^ 53 - 1))
        assert.equal(2 ^ 53, client:incr("n"))
        assert.is_true(client:incr("n") == 9007199254740993LL)
        assert.equal("9007199254740994", new { int64 = "string" }:incr("n"))
    end)

    it("is shared by all tasks", function()
        local tasks = {}
        for i = 1, 200 do
            tasks[i] = task.spawn(function()
                for j = 1, 5 do
                    assert(client:set("k" .. i, i * 10 + j))
                    assert.equal(tostring(i * 10 + j), client:get("k" .. i))
                end
            end)
        end
        for i = 1, 200 do join(tasks[i]) end
        assert.same({ connected = true, pending = 0, waiting = 0, reconnects = 0, failures = 0,
            pool = { size = 8, total = 0, idle = 0, waiting = 0 } }, client:stats())
    end)

    it("gives everybody his own reply, whoever else is cancelled or out of time", function()
        for i = 1, 40 do client:set("k" .. i, "v" .. i) end
        local done, cut, tasks = 0, 0, {}
        local function ask(i)
            for j = 1, 30 do
                local value, err
                if (i + j) % 3 == 0 then
                    value, err = task.withTimeout((i * j) % 3, client.get, client, "k" .. i)
                else
                    value, err = client:get("k" .. i)
                end
                if err then
                    assert(err.deadline or err.name == "ECANCELED", tostring(err))
                    cut = cut + 1
                    if err.name == "ECANCELED" then return end
                else
                    assert.equal("v" .. i, value)
                    done = done + 1
                end
            end
        end
        for i = 1, 40 do tasks[i] = task.spawn(ask, i) end
        for i = 1, 40, 5 do
            task.yield()
            tasks[i]:cancel()
        end
        for i = 1, 40 do join(tasks[i]) end
        assert.is_true(done > 0 and cut > 0)
        assert.equal("v7", client:get("k7"))
        assert.same({ 0, 0 }, { client:stats().pending, client:stats().reconnects })
    end)

    it("gives everybody his own reply while it is slow to read what is large", function()
        local tasks, large = {}, ("x"):rep(300000)
        for i = 1, 24 do
            tasks[i] = task.spawn(function()
                for j = 1, 12 do
                    local text = ("%d %d %s"):format(i, j, (i + j) % 3 == 0 and large or "")
                    local ms = (i + j) % 7 == 0 and 5 or PATIENCE_MS
                    local reply, err = task.withTimeout(ms, function() return client:echo(text) end)
                    assert(ms == 5 and err or reply == text, "another one's reply")
                end
            end)
        end
        for i = 1, #tasks do join(tasks[i]) end
        assert.equal(0, client:stats().reconnects)
    end)

    it("gives nobody what was asked for where no wait can be", function()
        for _, size in ipairs { 1, 4000000 } do
            client:set("k", "v")
            local text = ("x"):rep(size)
            assert.has_error(function()
                table.sort({ 3, 2, 1 }, function(a, b)
                    client:echo(text)
                    return a < b
                end)
            end)
            for _ = 1, 3 do assert.equal("v", client:get("k")) end
        end
    end)

    it("gives each command a connection where they are not to share one", function()
        local c = new { autoPipeline = false, poolSize = 3 }
        local tasks = {}
        for i = 1, 20 do tasks[i] = task.spawn(function() return c:incr("n") end) end
        local sum = 0
        for i = 1, 20 do sum = sum + join(tasks[i]) end
        assert.equal(210, sum)
        local stats = c:stats()
        assert.is_false(stats.connected)
        assert.is_true(stats.pool.total >= 1 and stats.pool.total <= 3)
        assert.same({ a = 1, b = 2 }, {
            a = c:pipeline(function(p) p:incr("x") end)[1],
            b = c:multi(function(tx) tx:incr("x") end)[1],
        })
    end)

    it("takes pipelines, in which one failure is one", function()
        client:set("k", "v")
        client:hset("hash", "a", 1)
        local list = assert(client:pipeline(function(p)
            p:incr("n"):get("none")
            p:hgetall("hash")
            p:incr("k")
            p:command("echo", "x")
        end))
        assert.same({ 1, null, { a = "1" } }, { list[1], list[2], list[3] })
        assert.equal("ERR", list[4].name)
        assert.equal("x", list[5])
        assert.equal(5, #list)
        assert.same({}, client:pipeline(function() end))
        assert.is_false(pcall(client.pipeline, client, function(p) p:blpop("x", 1) end))
        assert.is_false(pcall(client.pipeline, client, function(p) p:select(1) end))
        assert.is_false(pcall(client.pipeline, client, function() error("no") end))
        assert.equal(2, client:incr("n"))
    end)

    it("takes transactions, all or nothing", function()
        for protocol = 2, 3 do
            local c = new { protocol = protocol }
            c:flushall()
            c:hset("hash", "a", 1)
            local results = assert(c:multi(function(tx)
                tx:set("k", "v")
                tx:hgetall("hash")
                tx:incr("k")
            end))
            assert.same({ "OK", { a = "1" } }, { results[1], results[2] })
            assert.equal("ERR", results[3].name)
            local _, err = c:multi(function(tx) tx:incr("n") tx:nonsense() end)
            assert.equal("EXECABORT", err.name)
            assert.equal("ERR", err.cause.name)
            assert.is_nil((c:get("n")))
            assert.same({}, c:multi(function() end))
            local flat = new { protocol = protocol, hashReplies = "list" }
            assert.same({ { "a", "1" } }, flat:multi(function(tx) tx:hgetall("hash") end))
            assert.same({ { "a", "1" } }, flat:pipeline(function(p) p:hgetall("hash") end))
            assert.same({ "a", "1" }, flat:hgetall("hash"))
        end
    end)

    it("makes a transaction again where a watched key was changed", function()
        client:set("n", 1)
        local calls = 0
        local results = assert(client:multi(function(tx, conn)
            calls = calls + 1
            local n = tonumber(conn:get("n"))
            if calls < 3 then client:incr("n") end
            tx:set("n", n * 10)
        end, { watch = { "n" } }))
        assert.same({ "OK" }, results)
        assert.same({ 3, "30" }, { calls, client:get("n") })
        local _, err = client:multi(function(tx)
            client:incr("n")
            tx:set("n", 0)
        end, { watch = { "n" }, retries = 1 })
        assert.same({ "CONFLICT", 0, "32" }, { err.name, err.code, client:get("n") })
        assert.same({}, client:multi(function() end, { watch = { "n" } }))
        local watch = { watch = { "n" } }
        assert.is_false(pcall(client.multi, client, function() error("no") end, watch))
        assert.is_false(pcall(client.multi, client, print, { watched = { "n" } }))
        assert.equal(0, client:stats().pool.total) -- what raised has closed its own
    end)

    it("lends a connection, and takes back only one that is as it was", function()
        local id = client:use(function(conn) return conn:client("ID") end)
        assert.equal(id, (client:use(function(conn) return conn:client("ID") end)))
        local kept
        client:use(function(conn)
            kept = conn
            conn:select(5)
            conn:set("k", "five")
        end)
        assert.equal("CLOSED", select(2, kept:get("k")).name)
        assert.is_nil((client:use(function(conn) return conn:get("k") end)))
        local a, b = client:use(function(conn)
            assert(conn:command("MULTI"))
            conn:incr("n")
            return conn:exec(), 7
        end)
        assert.same({ { 1 }, 7 }, { a, b })
        client:use(function(conn) conn:watch("k") end)
        assert.equal(0, client:stats().pool.total)
        local ok, message = pcall(client.use, client, function() error("no", 0) end)
        assert.same({ false, "no" }, { ok, message })
        assert.is_false(pcall(client.use, client, function(conn) conn:subscribe("x") end))
    end)

    it("waits for what comes to a list, without keeping others waiting", function()
        local t = task.spawn(function() return client:blpop("list", 0) end)
        sockets.eventually(function() return client:info("clients"):find("blocked_clients:1") end)
        assert.equal(1, client:rpush("list", "a"))
        assert.same({ "list", "a" }, join(t))
        assert.is_nil((client:blpop("list", 0.01)))
        assert.is_nil((client:xread("BLOCK", 10, "STREAMS", "s", "$")))
        assert.equal(0, client:wait(0, 10))
    end)

    it("lets go of what waits in the server when it is closed", function()
        local c = new { poolSize = 1 }
        local tasks = {}
        for i = 1, 2 do tasks[i] = task.spawn(function() return c:blpop("closing", 0) end) end
        sockets.eventually(function() return c:stats().pool.waiting == 1 end)
        c:close()
        for i = 1, 2 do assert.equal("CLOSED", select(2, join(tasks[i])).name) end
        assert.equal(0, c:stats().pool.total)
    end)

    it("takes nothing off a list for a task that was cancelled", function()
        local _, err = sockets.cancelled(function()
            return client:use(function(conn) return conn:blpop("list", 0) end)
        end)
        assert.equal("ECANCELED", err.name)
        _, err = sockets.cancelled(function() return client:blpop("list", 0) end)
        assert.equal("ECANCELED", err.name)
        sockets.eventually(function() return client:info("clients"):find("blocked_clients:0") end)
        client:rpush("list", "a")
        assert.equal(1, client:llen("list"))
        assert.equal(0, client:stats().pool.total)
    end)

    it("lets no more connections be made than the pool has", function()
        local c = new { poolSize = 2, maxWait = 1, timeout = 50 }
        local busy = sync.event()
        local holders = {}
        for i = 1, 2 do
            holders[i] = task.spawn(c.use, c, function()
                busy:wait()
                return i
            end)
        end
        sockets.eventually(function() return c:stats().pool.total == 2 end)
        local late = task.spawn(function() return c:use(print) end)
        sockets.eventually(function() return c:stats().pool.waiting == 1 end)
        assert.equal("POOL_FULL", select(2, c:use(print)).name)
        assert.equal("POOL_TIMEOUT", select(2, join(late)).name)
        busy:set()
        assert.same({ 1, 2 }, { join(holders[1]), join(holders[2]) })
    end)

    it("comes back when the server has closed its connection", function()
        client:set("k", "v")
        local killer = new()
        for i = 1, 3 do
            killer:client("KILL", "TYPE", "normal", "SKIPME", "yes")
            assert.equal("v", client:get("k"))
            assert.equal(i, client:stats().reconnects)
        end
        killer:client("KILL", "TYPE", "normal", "SKIPME", "yes")
        sockets.eventually(function() return client:incr("n") end)
    end)

    it("closes what nobody uses", function()
        local c = new { idleTimeout = 20 }
        c:get("k")
        c:use(function(conn) conn:get("k") end)
        assert.same({ true, 1 }, { c:stats().connected, c:stats().pool.total })
        sockets.eventually(function()
            return not c:stats().connected and c:stats().pool.total == 0
        end)
        assert.is_nil(select(2, c:get("k")))
    end)

    it("asks for a password, and selects a database", function()
        client:config("SET", "requirepass", "pa:ss@")
        local ok, failure = pcall(function()
            local c = new { password = "pa:ss@", db = 2, name = "spec" }
            assert(c:set("k", "two"))
            assert.equal("spec", c:client("GETNAME"))
            assert.equal("NOAUTH", select(2, new { db = 1 }:get("k")).name)
            assert.equal("WRONGPASS", select(2, new { password = "x" }:get("k")).name)
            local encoded = "unix://:pa%3Ass%40@" .. server.path
            assert.is_nil((sockets.keep(redis.createClient { url = encoded }):get("k")))
            local conn = assert(redis.connect(nil, nil, {
                path = server.path, password = "pa:ss@", protocol = 2, db = 2,
            }))
            assert.equal("two", conn:get("k"))
            assert.same({ "two", null }, conn:pipeline(function(p) p:get("k") p:get("x") end))
            assert.same({ 1 }, conn:multi(function(tx) tx:incr("n") end))
            assert(conn:select(0))
            assert.is_nil((conn:get("k")))
            conn:close()
            assert.equal("CLOSED", select(2, conn:get("k")).name)
        end)
        client:config("SET", "requirepass", "")
        assert(ok, failure)
    end)

    it("runs scripts, which it sends once", function()
        assert(client:command("SCRIPT", "FLUSH"))
        assert(client:config("RESETSTAT"))
        local script = client:script("return {KEYS[1], ARGV[1], ARGV[2] + 1}")
        for _ = 1, 2 do assert.same({ "k", "a", 6 }, script:run({ "k" }, { "a", 5 })) end
        assert.matches("cmdstat_eval:calls=1,", client:info("commandstats"))
        assert.equal("ERR", select(2, client:script("no lua"):run()).name)
        assert.equal("ERR", select(2, client:script("return redis.error_reply('x')"):run()).name)
        assert.is_nil(select(2, client:script("return false"):run()))
        assert.equal(1, (client:use(function(conn) return conn:script("return 1"):run() end)))
        assert.is_false(pcall(client.script, client))
        for _, call in ipairs {
            function() client:script("LOAD", "return 1") end, function() client:script("flush") end,
        } do
            local ok, message = pcall(call)
            assert.is_false(ok)
            assert.matches("^tests/lib/redis_spec.*SCRIPT", message)
        end
        assert.equal(script.sha1, client:command("SCRIPT", "LOAD", script._source))
    end)

    it("runs scripts with more arguments than a function can have", function()
        local args = {}
        for i = 1, 10000 do args[i] = i % 2 == 0 and i or i + 0LL end
        local script = client:script("return {#KEYS, KEYS[2], #ARGV, ARGV[1001], ARGV[10000]}")
        assert.same({ 2, "b", 10000, "1001", "10000" }, script:run({ "a", "b" }, args))
        args[5000] = {}
        assert.has_error(function() script:run({ "a", "b" }, args) end)
    end)

    it("goes over all keys", function()
        local wanted = {}
        client:pipeline(function(p)
            for i = 1, 300 do
                p:set("key" .. i, i)
                wanted["key" .. i] = true
            end
            p:hset("other", "a", 1)
        end)
        local seen = {}
        for key in client:scanEach { match = "key*", count = 50 } do seen[key] = true end
        assert.same(wanted, seen)
        seen = {}
        for key in client:scanEach { type = "hash" } do seen[#seen + 1] = key end
        assert.same({ "other" }, seen)
        local next_key = client:scanEach()
        client:close()
        assert.equal("CLOSED", select(2, next_key()).name)
        assert.is_false(pcall(client.scanEach, client, { matches = "x" }))
    end)

    it("reads a stream, each entry once more where it was not acknowledged", function()
        for protocol = 2, 3 do
            local c = new { protocol = protocol }
            c:flushall()
            for i = 1, 25 do assert(c:xadd("s", i .. "-1", "n", i, "x", "y")) end
            local seen = {}
            for id, entry in c:stream("s", "g", "one", { count = 4, block = 1 }) do
                seen[#seen + 1] = tonumber(entry.n)
                assert.same({ tostring(#seen) .. "-1", "y" }, { id, entry.x })
                if #seen == 10 then break end
            end
            assert.same(10, #seen)
            local again = {}
            for _, entry in c:stream("s", "g", "one", { count = 4, block = 1 }) do
                again[#again + 1] = tonumber(entry.n)
            end
            assert.same({ 10, 16, 25 }, { again[1], #again, again[16] })
            assert.equal(0, (c:xpending("s", "g"))[1])
            local waiting = task.spawn(function()
                return (select(2, c:stream("s", "g", "two")()))
            end)
            sockets.eventually(function() return c:info("clients"):find("blocked_clients:1") end)
            c:xadd("s", "*", "n", "last")
            assert.same({ n = "last" }, join(waiting))
        end
        client:set("k", "no stream")
        assert.equal("WRONGTYPE", select(2, client:stream("k", "g", "one")()).name)
        assert.is_false(pcall(client.stream, client, "s", "g", "one", { wait = 1 }))
    end)

    it("locks a key for one holder at a time", function()
        local lock = assert(client:lock("l"))
        assert.equal(1, lock.fence)
        assert.equal("LOCKED", select(2, client:lock("l", { wait = 0 })).name)
        local waiting = task.spawn(client.lock, client, "l", { wait = PATIENCE_MS })
        assert(lock:extend(60000))
        assert.is_true(client:pttl("l") > 20000)
        assert.is_true(lock:release())
        local second = join(waiting)
        assert.equal(2, second.fence)
        assert.equal("NOT_FOUND", select(2, lock:release()).name)
        assert.equal("NOT_FOUND", select(2, lock:extend()).name)
        client:del("l")
        assert.equal("NOT_FOUND", select(2, second:release()).name)
        assert(client:lock("l", { ttl = 1 }))
        assert.equal(4, assert(client:lock("l", { wait = PATIENCE_MS })).fence)
        local _, err = sockets.cancelled(function() return client:lock("l") end)
        assert.equal("ECANCELED", err.name)
        assert.is_false(pcall(client.lock, client, "l", { ttl = 0 }))
    end)
end)
