package.path = "tests/support/?.lua;" .. package.path

local ffi = require "ffi"
local process = require "process"
local sockets = require "sockets"
local task = require "task"
local timer = require "timer"
local tools = require "tools"

local raises = tools.says
local pair, eventually = sockets.pair, sockets.eventually

after_each(sockets.close_all)

describe("socket addresses", function()
    it("are those of both ends", function()
        local client, peer, server = pair()
        assert.same(client:localAddress(), peer:remoteAddress())
        assert.same(peer:localAddress(), client:remoteAddress())
        assert.equal(server:address().port, client:remoteAddress().port)
        assert.equal("socket: 127.0.0.1:" .. server:address().port, tostring(client))
        client:close()
        local at, err = client:remoteAddress()
        assert.is_nil(at)
        assert.equal("CLOSED", err.name)
        assert.equal("socket: closed", tostring(client))
    end)
end)

describe("socket:close", function()
    it("may be called twice, and everything then answers CLOSED", function()
        local client, peer = pair()
        assert.is_false(client.closed)
        assert.is_true(client:close())
        assert.is_true(client:close())
        assert.is_true(client.closed)
        local buffer = ffi.new("char[8]")
        for name, call in pairs {
            read = function() return client:read(1) end,
            big = function() return client:read(1000000) end,
            readSome = function() return client:readSome() end,
            readline = function() return client:readline() end,
            readUntil = function() return client:readUntil("x") end,
            readAll = function() return client:readAll() end,
            peek = function() return client:peek(1) end,
            readInto = function() return client:readInto(buffer, 8) end,
            write = function() return client:write("x") end,
            list = function() return client:write { "x", "y" } end,
            cdata = function() return client:write(buffer, 8) end,
            sendFile = function() return client:sendFile("README.md") end,
            localAddress = function() return client:localAddress() end,
            remoteAddress = function() return client:remoteAddress() end,
            setTimeout = function() return client:setTimeout(1) end,
            setTimeouts = function() return client:setTimeouts(1, 1, 1) end,
            setOption = function() return client:setOption("nodelay", true) end,
            getOption = function() return client:getOption("nodelay") end,
            credentials = function() return client:peerCredentials() end,
            nodelay = function() return nil, client:setNodelay() end,
            keepalive = function() return nil, client:setKeepalive() end,
            shutdown = function() return nil, client:shutdown() end,
            pipe = function() local _, err = client:pipe(peer) return nil, err end,
            pipe_to = function() local _, err = peer:pipe(client) return nil, err end,
        } do
            local value, err = call()
            assert.is_nil(value, name)
            assert.equal("CLOSED", err and err.name, name)
        end
    end)

    it("wakes who waits on the socket with CLOSED", function()
        local client = pair()
        local reader = task.spawn(function() return client:read(1) end)
        timer.sleep(1)
        client:close()
        local _, data, err = reader:join(20000)
        assert.is_nil(data)
        assert.equal("CLOSED", err.name)
        client = pair()
        client:write(("x"):rep(100))
        local writer = task.spawn(function() return client:write(("x"):rep(50000000)) end)
        eventually(function() return writer.status == "waiting" end)
        client:close()
        _, data, err = writer:join(20000)
        assert.is_nil(data)
        assert.equal("CLOSED", err.name)
    end)

    it("resets with close(true)", function()
        local client, peer = pair()
        client:close(true)
        local data, err = peer:read(1)
        assert.is_nil(data)
        assert.equal("ECONNRESET", err.name)
        data, err = peer:read(1)
        assert.is_nil(data)
        assert.equal("ECONNRESET", err.name)
        raises("socket:close([reset]) reset", client.close, client, 1)
    end)

    it("lets a slow peer have everything that was written", function()
        local client, peer = pair()
        client:setOption("sndbuf", 4096)
        local total = 0
        for _ = 1, 4 do total = total + assert(client:write(("x"):rep(16000))) end
        client:close()
        timer.sleep(5)
        assert.equal(total, #peer:readAll())
    end)

    it("ends the lines of a loop", function()
        local client, peer = pair()
        peer:write("a\nb\nc")
        peer:close()
        local got = {}
        for line,
            err in client:lines() do got[#got + 1] = line .. (err and ":" .. err.name or "") end
        assert.same({ "a", "b", "c:EOF" }, got)
    end)
end)

describe("socket:shutdown", function()
    it("half-closes, in both spellings, and reading goes on", function()
        for _, name in ipairs { "shutdown", "end" } do
            local client, peer = pair()
            client:write("question")
            assert.is_nil(client[name](client))
            assert.is_nil(client[name](client))
            assert.equal("question", peer:readAll())
            peer:write("answer")
            assert.equal("answer", client:read(6))
            local n, err = client:write("more")
            assert.is_nil(n)
            assert.equal("EPIPE", err.name)
        end
    end)

    it("comes after everything that was written before", function()
        local client, peer = pair()
        local reader = task.spawn(function() return peer:readAll() end)
        client:write(("x"):rep(60000))
        client:write(("y"):rep(5000000))
        client:write(("z"):rep(10000))
        client:shutdown()
        local _, all = reader:join(20000)
        assert.equal(5070000, #all)
        assert.equal("z", all:sub(-1))
    end)

    it("lets the other side write after it has read the end", function()
        local client, peer = pair()
        client:shutdown()
        local data, err = peer:read(1)
        assert.is_nil(data)
        assert.equal("EOF", err.name)
        for i = 1, 3 do
            assert.equal(1, peer:write(tostring(i)))
            assert.equal(tostring(i), client:read(1))
        end
    end)
end)

describe("socket times", function()
    it("end a read with ETIMEDOUT, and the socket stays usable", function()
        local client, peer = pair()
        client:setTimeout(10)
        for _ = 1, 2 do
            local data, err = client:read(1)
            assert.is_nil(data)
            assert.equal("ETIMEDOUT", err.name)
            assert.is_nil(err.deadline)
        end
        local line, err = client:readline()
        assert.is_nil(line)
        assert.equal("ETIMEDOUT", err.name)
        peer:write("now\n")
        assert.equal("now", client:readline())
        client:setTimeout(0)
        timer.setTimeout(30, function() peer:write("late") end)
        assert.equal("late", client:read(4))
    end)

    it("hand over what had come", function()
        local client, peer = pair()
        client:setTimeout(10)
        peer:write("abc")
        local data, err = client:read(5)
        assert.equal("abc", data)
        assert.equal("ETIMEDOUT", err.name)
        peer:write("def")
        data, err = client:readline()
        assert.equal("def", data)
        assert.equal("ETIMEDOUT", err.name)
        peer:write("ghi")
        data, err = client:readUntil("xx")
        assert.equal("ghi", data)
        assert.equal("ETIMEDOUT", err.name)
        peer:write("jkl")
        data, err = client:readAll()
        assert.equal("jkl", data)
        assert.equal("ETIMEDOUT", err.name)
        peer:write(("m"):rep(20000))
        data, err = client:read(30000)
        assert.equal(20000, #data)
        assert.equal("ETIMEDOUT", err.name)
        peer:write("n")
        data, err = client:peek(2)
        assert.is_nil(data)
        assert.equal("ETIMEDOUT", err.name)
        assert.equal("n", client:read(1))
    end)

    it("count what is written as activity", function()
        tools.steadily(100, function()
            local client, peer = pair()
            client:setTimeout(200)
            local writes = timer.setInterval(20, function() client:write(".") end)
            timer.setTimeout(400, function() peer:write("x") end)
            local data, err = client:read(1)
            writes:cancel()
            assert.is_nil(err)
            assert.equal("x", data)
        end)
    end)

    it("do not with a time for each direction", function()
        local client = pair()
        client:setTimeouts(0, 40, 1000)
        local writes = timer.setInterval(10, function() client:write(".") end)
        local _, err = task.withTimeout(20000, client.read, client, 1)
        writes:cancel()
        assert.equal("ETIMEDOUT", err.name)
        assert.is_nil(err.deadline)
    end)

    it("end a write that the peer does not take", function()
        local client = pair()
        client:setTimeouts(0, 0, 20)
        local n, err = client:write(("x"):rep(50000000))
        assert.is_nil(n)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(err.partial > 0 and err.partial < 50000000)
    end)

    it("are checked", function()
        local client = pair()
        raises("socket:setTimeout(ms) ms must be [integer]", client.setTimeout, client, -1)
        raises("socket:setTimeout(ms) ms must be [integer]", client.setTimeout, client)
        raises("socket:setTimeouts(connect, read, write) read", client.setTimeouts, client, 1, "x",
            1)
    end)

    it("give way to a deadline around them", function()
        local client = pair()
        local data, err = task.withTimeout(10, client.read, client, 1)
        assert.is_nil(data)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(err.deadline)
        sockets.stuff(client)
        data, err = task.withTimeout(10, client.write, client, ("x"):rep(1000000))
        assert.is_nil(data)
        assert.is_true(err.deadline)
    end)
end)

describe("a cancelled task", function()
    it("gets ECANCELED from every call that waits", function()
        local client, peer = pair()
        local buffer = ffi.new("char[8]")
        for name, call in pairs {
            read = function() return client:read(1) end,
            big = function() return client:read(1000000) end,
            readSome = function() return client:readSome() end,
            readline = function() return client:readline() end,
            readUntil = function() return client:readUntil("x") end,
            readAll = function() return client:readAll() end,
            peek = function() return client:peek(1) end,
            readInto = function() return client:readInto(buffer, 8) end,
            lines = function() return client:lines()() end,
        } do
            local data, err = sockets.cancelled(call)
            assert.is_nil(data, name)
            assert.equal("ECANCELED", err.name, name)
        end
        sockets.stuff(client)
        for name, call in pairs {
            write = function() return client:write(("x"):rep(100000)) end,
            list = function() return client:write { ("x"):rep(100000), "y" } end,
            cdata = function() return client:write(ffi.new("char[100000]"), 100000) end,
            sendFile = function() return client:sendFile("src/lua/sched.c") end,
        } do
            local n, err = sockets.cancelled(call)
            assert.is_nil(n, name)
            assert.equal("ECANCELED", err.name, name)
        end
        peer:write("x")
        assert.equal("x", client:read(1))
    end)
end)

describe("several tasks at one socket", function()
    it("may read and write at the same time", function()
        local client, peer = pair()
        local echo = task.spawn(function()
            for line in peer:lines() do peer:write(line .. "\n") end
        end)
        local reader = task.spawn(function()
            local n = 0
            for _ in client:lines() do n = n + 1 end
            return n
        end)
        for i = 1, 1000 do client:write(i .. "\n") end
        client:shutdown()
        echo:join(20000)
        peer:close()
        local _, n = reader:join(20000)
        assert.equal(1000, n)
    end)

    it("get EBUSY for a second reader at once", function()
        local client, peer = pair()
        local reader = task.spawn(function() return client:read(3) end)
        timer.sleep(1)
        local buffer = ffi.new("char[8]")
        for name, call in pairs {
            read = function() return client:read(1) end,
            readSome = function() return client:readSome() end,
            readline = function() return client:readline() end,
            readUntil = function() return client:readUntil("x") end,
            readAll = function() return client:readAll() end,
            peek = function() return client:peek(1) end,
            readInto = function() return client:readInto(buffer, 8) end,
            pipe = function() local _, err = client:pipe((pair())) return nil, err end,
        } do
            local data, err = call()
            assert.is_nil(data, name)
            assert.equal("EBUSY", err.name, name)
        end
        peer:write("abc")
        local _, data = reader:join(20000)
        assert.equal("abc", data)
    end)

    it("take turns writing, and nothing is mixed", function()
        local client, peer = pair()
        local writers = {}
        for i = 1, 8 do
            writers[i] = task.spawn(function()
                return client:write(string.char(96 + i):rep(300000))
            end)
        end
        local runs = {}
        for _ = 1, 8 do
            local block = peer:read(300000)
            runs[#runs + 1] = block:sub(1, 1)
            assert.equal(block:sub(1, 1):rep(300000), block)
        end
        for i = 1, 8 do
            local _, n = writers[i]:join(20000)
            assert.equal(300000, n)
        end
        table.sort(runs)
        assert.equal("abcdefgh", table.concat(runs))
    end)

    it("go on writing when the one whose turn it was is cancelled", function()
        local client, peer = pair()
        local first = task.spawn(function() return client:write(("a"):rep(20000000)) end)
        local second = task.spawn(function() return client:write("b") end)
        local third = task.spawn(function() return client:write("c") end)
        eventually(function() return third.status == "waiting" end)
        first:cancel()
        second:cancel()
        local _, n, err = first:join(20000)
        assert.is_nil(n)
        assert.equal("ECANCELED", err.name)
        local all = task.spawn(function() return peer:readAll(30000000) end)
        third:join(20000)
        client:close()
        local _, text = all:join(20000)
        assert.equal(err.partial + 1, #text)
        assert.equal("c", text:sub(-1))
    end)
end)

describe("a peer that breaks off", function()
    it("gives ECONNRESET to a reader, with what had come", function()
        local client, peer = pair()
        peer:write("ab")
        assert.equal("ab", client:peek(2))
        peer:close(true)
        local data, err = client:read(5)
        assert.equal("ab", data)
        assert.equal("ECONNRESET", err.name)
    end)

    it("gives an error to a writer, and to every later one", function()
        local client, peer = pair()
        peer:close(true)
        local n, err
        eventually(function()
            n, err = client:write("x")
            return err
        end)
        assert.is_nil(n)
        assert.truthy(err.name == "EPIPE" or err.name == "ECONNRESET", err.name)
        n, err = client:write("x")
        assert.is_nil(n)
        assert.truthy(err.name == "EPIPE" or err.name == "ECONNRESET", err.name)
    end)

    it("ends a write that waits", function()
        local client, peer = pair()
        local writer = task.spawn(function() return client:write(("x"):rep(50000000)) end)
        eventually(function() return writer.status == "waiting" end)
        peer:close(true)
        local _, n, err = writer:join(20000)
        assert.is_nil(n)
        assert.truthy(err.name == "EPIPE" or err.name == "ECONNRESET", err.name)
    end)
end)

describe("socket options", function()
    it("can be set and read", function()
        local client = pair()
        for _, name in ipairs { "keepalive", "nodelay", "reuseaddr", "quickack" } do
            assert.is_true(client:setOption(name, true))
            assert.is_true(client:getOption(name), name)
        end
        assert.is_true(client:setOption("nodelay", false))
        assert.is_false(client:getOption("nodelay"))
        for name, value in pairs { keepidle = 33, keepinterval = 7, keepcount = 4, linger = 3,
            userTimeout = 5000, tos = 16 } do
            assert.is_true(client:setOption(name, value), name)
            assert.equal(value, client:getOption(name), name)
        end
        assert.is_true(client:setOption("linger", -1))
        assert.equal(-1, client:getOption("linger"))
        assert.is_true(client:setOption("sndbuf", 65536))
        assert.is_true(client:setOption("rcvbuf", 65536))
        assert.is_true(client:getOption("sndbuf") >= 65536)
        assert.is_true(client:getOption("rcvbuf") >= 65536)
    end)

    it("are refused by name, type and system", function()
        local client = pair()
        raises('unknown option "nodelai" (did you mean "nodelay"?)', client.setOption, client,
            "nodelai", true)
        raises('unknown option "x"', client.getOption, client, "x")
        raises("value must be [integer]", client.setOption, client, "sndbuf", "x")
        local _, err = client:setOption("keepidle", 0)
        assert.equal("EINVAL", err.name)
    end)

    it("have short forms that return the error alone", function()
        local client = pair()
        assert.is_nil(client:setNodelay(false))
        assert.is_false(client:getOption("nodelay"))
        assert.is_nil(client:setNodelay())
        assert.is_true(client:getOption("nodelay"))
        assert.is_nil(client:setKeepalive(false))
        assert.is_false(client:getOption("keepalive"))
        assert.is_nil(client:setKeepalive(true, 44))
        assert.equal(44, client:getOption("keepidle"))
        raises("enable must be [boolean]", client.setNodelay, client, 1)
        raises("idle must be [integer]", client.setKeepalive, client, true, -1)
    end)
end)

describe("socket fields", function()
    it("count bytes and have room for the user's data", function()
        local client, peer = pair()
        client:write("12345")
        assert.equal("12345", peer:read(5))
        assert.equal(5, client.bytesWritten)
        assert.equal(5, peer.bytesRead)
        assert.equal(0, client.bytesRead)
        client.data.name = "x"
        assert.equal("x", client.data.name)
    end)
end)

describe("socket:flush", function()
    it("waits until the system has everything", function()
        local client, ours = sockets.pair()
        assert.is_true(ours:flush())
        ours:write("hello")
        assert.is_true(ours:flush())
        assert.equal("hello", client:read(5))
        sockets.stuff(ours)
        assert.equal(4, ours:write("tail"))
        ours:setTimeout(5)
        local ok, err = ours:flush()
        assert.is_nil(ok)
        assert.equal("ETIMEDOUT", err.name)
        ours:setTimeout(0)
        ok, err = sockets.cancelled(function() return ours:flush() end)
        assert.is_nil(ok)
        assert.equal("ECANCELED", err.name)
        local flushing = task.spawn(function() return ours:flush() end)
        local reading = task.spawn(function() return client:readAll(2 ^ 30) end)
        assert.same({ true, true }, { flushing:join(20000) })
        ours:close()
        assert(reading:join(20000))
        assert.equal("CLOSED", select(2, ours:flush()).name)
    end)
end)

describe("socket:unref", function()
    local function ends(code, ms)
        return process.run(tools.LINKS, { "-e", [[
            local tcp, task, timer = require "tcp", require "task", require "timer"
            local server = assert(tcp.createServer(0, function(s) s:detach() end))
            local socket = assert(tcp.connect(server:address().port))
            task.spawn(function() socket:read(1) end)
            timer.sleep(5)
            server:close()
        ]] .. code }, { timeout = ms })
    end

    it("lets the process end although a read waits", function()
        assert.same({ code = 0, stdout = "", stderr = "" }, ends("socket:unref()", 20000))
    end)

    it("is taken back by socket:ref, while a read waits", function()
        local _, err = ends("socket:unref() timer.sleep(1) socket:ref()", 1000)
        assert.equal("ETIMEDOUT", err.name)
    end)
end)
