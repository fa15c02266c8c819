-- Subscriptions, with a real server and with one that the spec writes.
package.path = "tests/support/?.lua;" .. package.path

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

run("subscriptions of redis", function()
    local server

    local function new(options)
        local o = { path = server.path }
        for name, value in pairs(options or {}) do o[name] = value end
        return sockets.keep(redis.createClient(o))
    end

    setup(function() server = servers.start() end)
    teardown(function() server.stop() end)
    after_each(sockets.close_all)

    it("get what is published from the moment they are made, in both protocols", function()
        for protocol = 2, 3 do
            local client = new { protocol = protocol }
            local a, b = "first a" .. protocol, "first b" .. protocol
            local sub = sockets.keep(assert(client:subscribe(a, b)))
            assert.equal(1, client:publish(a, "one"))
            assert.equal(1, client:publish(b, "\0two\r\n"))
            assert.equal(0, client:publish("other", "none"))
            assert.same({ channel = a, message = "one" }, sub:read(PATIENCE_MS))
            assert.same({ channel = b, message = "\0two\r\n" }, sub:read(PATIENCE_MS))
            local _, err = sub:read(1)
            assert.equal("ETIMEDOUT", err.name)
        end
    end)

    it("ask the server whether it is there, and read on", function()
        for protocol = 2, 3 do
            local client = new { protocol = protocol, pingInterval = 1 }
            local name = "asked " .. protocol
            local sub = sockets.keep(assert(client:subscribe(name)))
            for i = 1, 3 do
                assert.equal("ETIMEDOUT", select(2, sub:read(10)).name)
                assert.equal(1, client:publish(name, i))
                assert.same({ channel = name, message = tostring(i) }, sub:read(PATIENCE_MS))
            end
            assert(sub:remove(name)) -- as one who is no subscriber, and is answered otherwise
            assert.equal("ETIMEDOUT", select(2, sub:read(10)).name)
            assert(sub:add(name))
            sockets.eventually(function() return client:publish(name, "last") == 1 end)
            assert.equal("last", sub:read(PATIENCE_MS).message)
            assert.equal(0, sub.reconnects)
        end
    end)

    it("know patterns and sharded channels", function()
        local client = new()
        local pattern = sockets.keep(assert(client:psubscribe("news.*", "x?")))
        local shard = sockets.keep(assert(client:ssubscribe("s")))
        client:publish("news.today", "sun")
        client:publish("xy", "z")
        client:spublish("s", "sharded")
        assert.same({ pattern = "news.*", channel = "news.today", message = "sun" },
            pattern:read(PATIENCE_MS))
        assert.same({ pattern = "x?", channel = "xy", message = "z" }, pattern:read(PATIENCE_MS))
        assert.same({ channel = "s", message = "sharded" }, shard:read(PATIENCE_MS))
    end)

    it("take more channels and give some up while somebody reads", function()
        local client = new()
        local sub = sockets.keep(assert(client:subscribe("a")))
        local reader = task.spawn(function() return sub:read() end)
        task.yield()
        assert(sub:add("b", "c"))
        sockets.eventually(function() return client:publish("c", "hello") == 1 end)
        assert.same({ channel = "c", message = "hello" }, join(reader))
        assert(sub:remove("a", "b"))
        sockets.eventually(function() return client:publish("b", "gone") == 0 end)
        client:publish("c", "last")
        local seen
        repeat seen = assert(sub:read(PATIENCE_MS)) until seen.message == "last"
    end)

    it("give what is there to who does not want to wait", function()
        local client = new()
        local sub = sockets.keep(assert(client:subscribe("a")))
        assert.equal("ETIMEDOUT", select(2, sub:read(0)).name)
        assert.equal(1, client:publish("a", "hello"))
        local message
        sockets.eventually(function()
            message = sub:read(0)
            return message
        end)
        assert.same({ channel = "a", message = "hello" }, message)
    end)

    it("are made once for all who read when the connection is lost", function()
        local client = new { reconnect = { base = 1, max = 5 } }
        local sub = sockets.keep(assert(client:subscribe("once")))
        assert(client:client("KILL", "TYPE", "pubsub"))
        local reader = task.spawn(function() return sub:read() end)
        local other = task.spawn(function() return sub:read() end)
        assert.equal("EBUSY", select(2, join(other)).name)
        sockets.eventually(function() return client:publish("once", "again") > 0 end)
        assert.same({ channel = "once", message = "again" }, join(reader))
        assert.same({ 1, 1 }, { client:publish("once", "more"), sub.reconnects })
    end)

    it("have as many channels as anybody wants", function()
        local client = new { reconnect = { base = 1, max = 5 } }
        local sub = sockets.keep(assert(client:subscribe("many")))
        for i = 1, 9000 do assert(sub:add("many " .. i)) end
        sockets.eventually(function() return client:publish("many 9000", "1") == 1 end)
        assert.equal("1", assert(sub:read(PATIENCE_MS)).message)
        assert(client:client("KILL", "TYPE", "pubsub"))
        local reader = task.spawn(function() return sub:read() end)
        sockets.eventually(function() return client:publish("many 8999", "2") == 1 end)
        assert.equal("2", join(reader).message)
    end)

    it("are made again when the connection is lost", function()
        local client = new { reconnect = { base = 1, max = 5 } }
        local sub = sockets.keep(assert(client:subscribe("lost 1")))
        assert(sub:add("lost 2"))
        for i = 1, 3 do
            assert(client:client("KILL", "TYPE", "pubsub"))
            local reader = task.spawn(function()
                local text
                repeat text = assert(sub:read(PATIENCE_MS)).message until text == "after " .. i
                return sub.reconnects
            end)
            local channel = "lost " .. i % 2 + 1
            sockets.eventually(function() return client:publish(channel, "after " .. i) == 1 end)
            assert.equal(i, join(reader))
        end
    end)

    it("end for who reads when they are closed", function()
        local client = new()
        local sub = assert(client:subscribe("a"))
        local reader = task.spawn(function() return sub:read() end)
        task.yield()
        assert.equal("EBUSY", select(2, sub:read()).name)
        sub:close()
        assert.equal("CLOSED", select(2, join(reader)).name)
        assert.equal("CLOSED", select(2, sub:read()).name)
        assert.equal("CLOSED", select(2, sub:add("b")).name)
        assert.is_true(sub:close())
        client:close()
        assert.equal("CLOSED", select(2, client:subscribe("a")).name)
    end)

    it("say why the server refuses them", function()
        local client = new()
        client:acl("SETUSER", "mute", "on", ">pw", "+@all", "~*", "resetchannels")
        local mute = new { username = "mute", password = "pw" }
        assert.equal("NOPERM", select(2, mute:subscribe("a")).name)
        for _, call in ipairs {
            function() client:subscribe() end, function() client:psubscribe(1) end,
        } do
            local ok, message = pcall(call)
            assert.is_false(ok)
            assert.matches("^tests/lib/redis_pubsub_spec", message)
        end
    end)
end)

describe("a subscription of redis", function()
    after_each(sockets.close_all)

    it("reads messages whose bytes come one by one", function()
        local port = servers.fake(function(socket)
            servers.command(socket)
            local said = ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
                .. ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"
            for byte in said:gmatch(".") do
                socket:write(byte)
                task.yield()
            end
            socket:readAll()
        end)
        local client = sockets.keep(redis.createClient { port = port })
        local sub = sockets.keep(assert(client:subscribe("a")))
        assert.same({ channel = "a", message = "hi" }, sub:read(PATIENCE_MS))
    end)

    it("keeps what comes before the last channel is confirmed", function()
        local port = servers.fake(function(socket)
            servers.command(socket)
            socket:write(">3\r\n+subscribe\r\n+a\r\n:1\r\n>3\r\n+message\r\n+a\r\n+early\r\n"
                .. ">3\r\n+subscribe\r\n+b\r\n:2\r\n>3\r\n+message\r\n+b\r\n+late\r\n")
            socket:readAll()
        end)
        local client = sockets.keep(redis.createClient { port = port })
        local sub = sockets.keep(assert(client:subscribe("a", "b")))
        assert.equal("early", sub:read(PATIENCE_MS).message)
        assert.equal("late", sub:read(PATIENCE_MS).message)
    end)

    it("is closed by what is no reply, and not for good", function()
        local port = servers.fake(function(socket, n)
            servers.command(socket)
            socket:write(">3\r\n+subscribe\r\n+a\r\n:1\r\n"
                .. (n == 1 and "what?" or ">3\r\n+message\r\n+a\r\n+fine\r\n"))
            socket:readAll()
        end)
        local client = sockets.keep(redis.createClient { port = port })
        local sub = sockets.keep(assert(client:subscribe("a")))
        assert.equal("PROTOCOL", select(2, sub:read(PATIENCE_MS)).name)
        assert.equal("fine", sub:read(PATIENCE_MS).message)
    end)

    local CONFIRMED = ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    local MESSAGE = ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"

    it("finds out that the server is gone without a word, and looks for it again", function()
        local asked, stop = {}, sync.event()
        local port = servers.fake(function(socket, n)
            asked[n] = servers.command(socket)
            socket:write(CONFIRMED .. (n > 1 and MESSAGE or ""))
            if n > 1 then return socket:readAll() end
            asked.ping = servers.command(socket)
            stop:wait() -- as behind a cable that was cut
        end)
        local client = sockets.keep(redis.createClient {
            port = port, pingInterval = 20, timeout = 0, reconnect = { base = 1, max = 5 },
        })
        local sub = sockets.keep(assert(client:subscribe("a")))
        assert.equal("ETIMEDOUT", select(2, sub:read(0)).name)
        assert.same({ channel = "a", message = "hi" }, sub:read(PATIENCE_MS))
        assert.is_true(sub.reconnects > 0)
        assert.same({ { "PING" }, { "SUBSCRIBE", "a" } }, { asked.ping, asked[2] })
        stop:set()
    end)

    it("finds that out for who only polls, too", function()
        local stop = sync.event()
        local port = servers.fake(function(socket, n)
            servers.command(socket)
            socket:write(CONFIRMED .. (n > 1 and MESSAGE or ""))
            if n > 1 then socket:readAll() else stop:wait() end
        end)
        local client = sockets.keep(redis.createClient {
            port = port, pingInterval = 20, timeout = 0, reconnect = { base = 1, max = 5 },
        })
        local sub = sockets.keep(assert(client:subscribe("a")))
        local message
        sockets.eventually(function()
            message = sub:read(0)
            return message
        end)
        assert.equal("hi", message.message)
        stop:set()
    end)

    it("stays with a server that answers, whatever it answers", function()
        local answers = {
            "+PONG\r\n", "*2\r\n$4\r\npong\r\n$0\r\n\r\n", "_\r\n+PONG\r\n",
            "-NOPERM this user has no permissions to run the 'ping' command\r\n",
            "-ERR unknown command 'PING'\r\n",
        }
        local port = servers.fake(function(socket)
            servers.command(socket)
            socket:write(CONFIRMED)
            for _, answer in ipairs(answers) do
                assert(servers.command(socket)[1] == "PING")
                socket:write(answer)
            end
            socket:write(MESSAGE)
            socket:readAll()
        end)
        local client = sockets.keep(redis.createClient {
            port = port, pingInterval = 5, timeout = PATIENCE_MS,
        })
        local sub = sockets.keep(assert(client:subscribe("a")))
        assert.equal("hi", assert(sub:read(PATIENCE_MS)).message)
        assert.equal(0, sub.reconnects)
    end)

    it("asks nothing where it was told not to, and nothing that is not due", function()
        for _, interval in ipairs { 0, 2 * PATIENCE_MS } do
            local port = servers.fake(function(socket)
                servers.command(socket)
                socket:write(CONFIRMED)
                socket:write(servers.command(socket)[1] == "UNSUBSCRIBE" and MESSAGE or "")
                socket:readAll()
            end)
            local client = sockets.keep(redis.createClient { port = port, pingInterval = interval })
            local sub = sockets.keep(assert(client:subscribe("a")))
            assert.equal("ETIMEDOUT", select(2, sub:read(30)).name)
            assert(sub:remove("b"))
            assert.equal("hi", assert(sub:read(PATIENCE_MS)).message)
        end
    end)

    it("waits for a server that is gone no longer than it was told", function()
        local stop = sync.event()
        local port, open = servers.fake(function(socket)
            servers.command(socket)
            socket:write(">3\r\n+subscribe\r\n+a\r\n:1\r\n")
            stop:wait()
        end)
        local client = sockets.keep(redis.createClient { port = port })
        local sub = sockets.keep(assert(client:subscribe("a")))
        sockets.open[1]:close() -- the server
        stop:set()
        sockets.eventually(function() return open[1].closed end)
        assert.equal("ETIMEDOUT", select(2, sub:read(30)).name)
        local _, err = sockets.cancelled(function() return sub:read() end)
        assert.equal("ECANCELED", err.name)
    end)
end)
