package.path = "tests/support/?.lua;" .. package.path

local ffi = require "ffi"
local sockets = require "sockets"
local sync = require "sync"
local task = require "task"
local tcp = require "tcp"
local timer = require "timer"
local tools = require "tools"

local raises = tools.says
local pair, serve, keep = sockets.pair, sockets.serve, sockets.keep

after_each(sockets.close_all)

-- Sends a text in pieces that the other side gets one by one.
local function trickle(socket, text, size)
    return task.spawn(function()
        for i = 1, #text, size or 1 do
            socket:write(text:sub(i, i + (size or 1) - 1))
            task.yield()
        end
    end)
end

describe("socket:read", function()
    it("returns exactly as many bytes as asked for", function()
        local client, peer = pair()
        client:write("abcdef")
        assert.equal("abc", peer:read(3))
        assert.equal("", peer:read(0))
        assert.equal("def", peer:read(3))
    end)

    it("waits for bytes that come one at a time", function()
        local client, peer = pair()
        trickle(client, "one at a time")
        assert.equal("one at a time", peer:read(13))
    end)

    it("returns more than the buffer holds", function()
        local client, peer = pair { readBufferSize = 1 }
        local text = ("0123456789abcdef"):rep(65536)
        task.spawn(function() client:write(text) end)
        assert.equal(text, peer:read(#text))
    end)

    it("is ended by a cancel and by a deadline, however much there is to read", function()
        local client, peer = pair { readBufferSize = 1 }
        local text = ("x"):rep(100000)
        local function read_on()
            while true do
                local data, err = peer:readSome()
                if not data then return nil, err end
                task.spawn(client.write, client, data)
            end
        end
        client:write(text)
        local reader = task.spawn(read_on)
        for _ = 1, 5 do task.yield() end
        reader:cancel()
        local _, _, err = assert(reader:join(10000))
        assert.equal("ECANCELED", err.name)
        _, err = task.withTimeout(20, read_on)
        assert.is_true(err.name == "ETIMEDOUT" and err.deadline)
        assert.equal("x", peer:read(1))
    end)

    it("takes no memory for what the peer has only announced", function()
        local client, peer = pair()
        client:write("ten bytes.")
        client:shutdown()
        collectgarbage()
        local before = collectgarbage("count")
        local data, err = peer:read(2 ^ 30)
        assert.equal("ten bytes.", data)
        assert.equal("EOF", err.name)
        assert.is_true(collectgarbage("count") - before < 1024)
        client, peer = pair { readBufferSize = 1024 }
        client:write("ten bytes.")
        client:shutdown()
        data, err = peer:read(1048576)
        assert.equal("ten bytes.", data)
        assert.equal("EOF", err.name)
    end)

    it("returns what had come, and EOF; then nothing and EOF, again and again", function()
        local client, peer = pair()
        client:write("abc")
        client:close()
        local data, err = peer:read(10)
        assert.equal("abc", data)
        assert.equal("EOF", err.name)
        assert.equal("EOF: end of file (tcp read)", tostring(err))
        for _ = 1, 3 do
            data, err = peer:read(10)
            assert.is_nil(data)
            assert.equal("EOF", err.name)
        end
    end)

    it("reads all with \"a\"", function()
        local client, peer = pair()
        client:write("all of it")
        client:shutdown()
        assert.equal("all of it", peer:read("a"))
        assert.equal("", peer:read("*a"))
    end)

    it("raises for a number of bytes that is none", function()
        local client = pair()
        for _, n in ipairs { -1, 1.5, 0 / 0, 2 ^ 31, math.huge, "x", true } do
            raises("socket:read(n) n must be [integer]", client.read, client, n)
        end
        raises("socket:read(n) n must be [integer]", client.read, client)
        raises("tests/lib/tcp_socket_spec.lua:", function() client:read(-1) end)
    end)

    it("is the same with the smallest and the largest buffer", function()
        for _, size in ipairs { 1, 1024 } do
            local client, peer = pair({ readBufferSize = size }, { readBufferSize = size })
            local text = ("x"):rep(3000000)
            task.spawn(function()
                client:write(text)
                client:shutdown()
            end)
            assert.equal("xx", peer:read(2))
            assert.equal(1000000, #peer:read(1000000))
            assert.equal(1999998, #peer:readAll())
        end
    end)

    it("lets other tasks run although the peer never stops", function()
        local client, peer = pair()
        local stop = false
        task.spawn(function()
            local block = ("x"):rep(65536)
            while not stop and client:write(block) do end
        end)
        local turns = 0
        local t = timer.setInterval(1, function() turns = turns + 1 end)
        while turns < 5 do assert(peer:readSome()) end
        stop = true
        t:cancel()
    end)
end)

describe("socket:readSome", function()
    it("returns what is there, up to max", function()
        local client, peer = pair()
        client:write("abcdef")
        assert.equal("ab", peer:readSome(2))
        assert.equal("cdef", peer:readSome())
        client:shutdown()
        local data, err = peer:readSome()
        assert.is_nil(data)
        assert.equal("EOF", err.name)
        raises("socket:readSome([max]) max must be [integer]", peer.readSome, peer, 0)
        raises("socket:readSome([max]) max must be [integer]", peer.readSome, peer, "x")
    end)

    it("returns at most the buffer's size", function()
        local client, peer = pair { readBufferSize = 2 }
        client:write(("x"):rep(100000))
        timer.sleep(2)
        assert.equal(2048, #peer:readSome(100000))
    end)
end)

describe("socket:readline", function()
    it("ends a line with LF or CR LF and keeps a CR elsewhere", function()
        local client, peer = pair()
        client:write("one\r\ntwo\n\n\r\na\rb\r\r\n")
        assert.equal("one", peer:readline())
        assert.equal("two", peer:readline())
        assert.equal("", peer:readline())
        assert.equal("", peer:readline())
        assert.equal("a\rb\r", peer:readline())
    end)

    it("keeps the end with readline(true)", function()
        local client, peer = pair()
        client:write("one\r\ntwo\n")
        assert.equal("one\r\n", peer:readline(true))
        assert.equal("two\n", peer:readline(true))
        task.spawn(function() client:write("x\n") end)
        raises("socket:readline([keep]) keep must be [boolean|nil]", peer.readline, peer, 5)
    end)

    it("hands over a last line without an end, with EOF", function()
        local client, peer = pair()
        client:write("one\ntail\r")
        client:shutdown()
        assert.equal("one", peer:readline())
        local line, err = peer:readline()
        assert.equal("tail\r", line)
        assert.equal("EOF", err.name)
        line, err = peer:readline()
        assert.is_nil(line)
        assert.equal("EOF", err.name)
    end)

    it("refuses a line that is longer than the buffer, and its bytes can still be read", function()
        for _, size in ipairs { 1, 16, 64 } do
            local client, peer = pair { readBufferSize = size }
            local limit = size * 1024
            local fits = ("f"):rep(limit - 1)
            local long = ("x"):rep(limit)
            task.spawn(function() client:write { fits, "\n", long, "\nnext\n" } end)
            assert.equal(fits, peer:readline())
            for _ = 1, 2 do
                local line, err = peer:readline()
                assert.is_nil(line)
                assert.equal("EXCEED_BUF_SIZE", err.name)
            end
            assert.equal(long, peer:read(limit))
            assert.equal("", peer:readline())
            assert.equal("next", peer:readline())
        end
    end)

    it("finds lines however they are cut, binary ones too", function()
        local lines, whole = {}, {}
        for i = 1, 60 do
            lines[i] = ("\0\255line%d\r"):rep(i % 5):format(1, 2, 3, 4, 5)
            whole[i] = lines[i] .. "\r\n"
        end
        for size = 1, 7 do
            local client, peer = pair()
            trickle(client, table.concat(whole), size)
            for i = 1, 60 do assert.equal(lines[i], peer:readline()) end
        end
    end)
end)

describe("socket:readUntil", function()
    it("stops at a separator of any bytes, and keeps it where asked to", function()
        local client, peer = pair()
        client:write("head\0\0tail--x--y")
        assert.equal("head", peer:readUntil("\0\0"))
        assert.equal("tail--", peer:readUntil("--", { keep = true }))
        assert.equal("x", peer:readUntil("--"))
        assert.equal("", peer:readUntil("y"))
    end)

    it("finds a separator that comes byte by byte, after false beginnings", function()
        local client, peer = pair()
        trickle(client, "aabaabaaabEND")
        assert.equal("aaba", peer:readUntil("abaaab"))
        assert.equal("END", peer:read(3))
    end)

    it("refuses more than max, and the bytes can still be read", function()
        local client, peer = pair()
        client:write("0123456789;rest")
        local data, err = peer:readUntil(";", { max = 10 })
        assert.is_nil(data)
        assert.equal("EXCEED_BUF_SIZE", err.name)
        assert.equal("0123456789", peer:readUntil(";", { max = 11 }))
        assert.equal("rest", peer:read(4))
        client:write(("x"):rep(20000) .. ";")
        data, err = peer:readUntil(";")
        assert.is_nil(data)
        assert.equal("EXCEED_BUF_SIZE", err.name)
        assert.equal(20000, #peer:readUntil(";", { max = 100000 }))
    end)

    it("hands over what came before the end", function()
        local client, peer = pair()
        client:write("no separator")
        client:shutdown()
        local data, err = peer:readUntil(";")
        assert.equal("no separator", data)
        assert.equal("EOF", err.name)
    end)

    it("looks for another separator anew", function()
        local client, peer = pair()
        client:write("a;b,c")
        peer:setTimeout(20000)
        local data, err = peer:readUntil("|", { max = 5 })
        assert.is_nil(data)
        assert.equal("EXCEED_BUF_SIZE", err.name)
        assert.equal("a", peer:readUntil(";"))
        assert.equal("b", peer:readUntil(","))
    end)

    it("raises for a separator or an option that is none", function()
        local client = pair()
        raises("socket:readUntil(sep[, options]) sep must be [string]", client.readUntil, client)
        raises("sep must be 1 to 255 bytes", client.readUntil, client, "")
        raises("sep must be 1 to 255 bytes", client.readUntil, client, ("x"):rep(256))
        raises("options.max must be [integer]", client.readUntil, client, "x", { max = 0 })
        raises('unknown option "kep"', client.readUntil, client, "x", { kep = true })
    end)
end)

describe("socket:readAll", function()
    it("reads to the end, up to max", function()
        local client, peer = pair()
        client:write(("x"):rep(50000))
        client:shutdown()
        local data, err = peer:readAll(40000)
        assert.equal(40000, #data)
        assert.equal("TOO_LARGE", err.name)
        data, err = peer:readAll(10000)
        assert.equal(10000, #data)
        assert.is_nil(err)
        assert.equal("", peer:readAll())
        raises("socket:readAll([max]) max", peer.readAll, peer, 0)
    end)
end)

describe("socket:peek", function()
    it("shows bytes without taking them", function()
        local client, peer = pair()
        trickle(client, "abcd")
        assert.equal("abc", peer:peek(3))
        assert.equal("ab", peer:peek(2))
        assert.equal("abcd", peer:read(4))
        local data, err = peer:peek(16385)
        assert.is_nil(data)
        assert.equal("EXCEED_BUF_SIZE", err.name)
        client:write("z")
        client:shutdown()
        data, err = peer:peek(2)
        assert.is_nil(data)
        assert.equal("EOF", err.name)
        assert.equal("z", peer:read(1))
        raises("socket:peek(n) n must be [integer]", peer.peek, peer, 0)
    end)
end)

describe("socket:readInto", function()
    it("fills the caller's memory, from the buffer first", function()
        local client, peer = pair()
        local buffer = ffi.new("uint8_t[16]")
        client:write("abcdef")
        assert.equal("a", peer:peek(1))
        assert.equal(4, peer:readInto(buffer, 4))
        assert.equal("abcd", ffi.string(buffer, 4))
        assert.equal(2, peer:readInto(buffer + 4, 12))
        assert.equal("abcdef", ffi.string(buffer, 6))
        timer.setTimeout(2, function() client:write("late") end)
        assert.equal(4, peer:readInto(buffer, 16))
        assert.equal("late", ffi.string(buffer, 4))
        client:shutdown()
        local n, err = peer:readInto(buffer, 16)
        assert.is_nil(n)
        assert.equal("EOF", err.name)
        raises("buffer must be [cdata]", peer.readInto, peer, "x", 1)
        raises("n must be [integer]", peer.readInto, peer, buffer, 0)
        raises("buffer must be an array or a pointer", peer.readInto, peer, 5LL, 3)
    end)
end)

describe("socket:write", function()
    it("returns how many bytes it has written", function()
        local client, peer = pair()
        assert.equal(5, client:write("hello"))
        assert.equal(0, client:write(""))
        assert.equal(6, client:write { "a", "bc", "", "def" })
        assert.equal(0, client:write {})
        assert.equal(2, client:write(42))
        assert.equal(4, client:write { 1, 234 })
        assert.equal("helloabcdef421234", peer:read(17))
    end)

    it("writes cdata", function()
        local client, peer = pair()
        assert.equal(3, client:write(ffi.new("char[8]", "xyz"), 3))
        assert.equal("xyz", peer:read(3))
        assert.equal(0, client:write(ffi.new("char[8]"), 0))
        local big = ffi.new("uint8_t[1000000]")
        ffi.fill(big, 1000000, 65)
        local reader = task.spawn(function() return peer:read(1000000) end)
        assert.equal(1000000, client:write(big, 1000000))
        local _, data = reader:join(20000)
        assert.equal(("A"):rep(1000000), data)
        raises("socket:write(data[, n]) n must be [integer]", client.write, client, big)
        raises("data must be an array or a pointer", client.write, client, 5LL, 3)
    end)

    -- Compiled for nothing to write, it has once written into the object behind its array.
    it("writes cdata after it has often written none", function()
        local client, peer = pair()
        local word = ffi.new("char[8]", "word")
        for _ = 1, 20 do
            for _ = 1, 100 do client:write(word, 0) end
            client:write(word, 4)
        end
        collectgarbage()
        assert.equal(("word"):rep(20), peer:read(80))
    end)

    it("writes a string.buffer", function()
        local ok, buffer = pcall(require, "string.buffer")
        if not ok then return pending("this LuaJIT has none") end
        local client, peer = pair()
        assert.equal(6, client:write(buffer.new():put("buf", "fer")))
        assert.equal("buffer", peer:read(6))
    end)

    it("writes large arrays whole, while the peer is slow", function()
        local client, peer = pair()
        local list = {}
        for i = 1, 500 do list[i] = string.char(97 + i % 26):rep((i * 7919) % 30000) end
        local text = table.concat(list)
        local writer = task.spawn(function() return client:write(list) end)
        task.yield()
        list[1], list[500] = "changed", nil -- which is too late
        local parts = {}
        repeat
            parts[#parts + 1] = assert(peer:readSome(7000))
            local n = 0
            for _, part in ipairs(parts) do n = n + #part end
        until n >= #text
        assert.equal(text, table.concat(parts))
        local _, n = writer:join(20000)
        assert.equal(#text, n)
    end)

    it("waits while the peer is slow, and keeps no more than its limit", function()
        local client, peer = pair()
        client:setOption("sndbuf", 1000000)
        local written = 0
        local writer = task.spawn(function()
            for _ = 1, 2000 do
                assert(client:write(("x"):rep(10000)))
                written = written + 10000
            end
        end)
        sockets.eventually(function() return writer.status == "waiting" end)
        timer.sleep(20)
        assert.is_true(written < 20000000)
        assert.equal(20000000, #peer:read(20000000))
        assert.is_true((writer:join(20000)))
    end)

    it("raises for what is no data", function()
        local client = pair()
        raises("data must be [string|number|table|cdata]", client.write, client)
        raises("data must be [string|number|table|cdata]", client.write, client, true)
        raises("data[2] must be a string, not a table", client.write, client, { "x", {} })
        raises("tests/lib/tcp_socket_spec.lua:", function() client:write { {} } end)
    end)

    it("sends what one turn writes in one piece", function()
        local client, peer = pair()
        for i = 1, 9 do client:write(tostring(i)) end
        assert.equal("123456789", peer:readSome())
    end)
end)

describe("socket:cork", function()
    it("holds output back until its function returns", function()
        local client, peer = pair()
        local result = client:cork(function(socket)
            socket:write("a")
            timer.sleep(5)
            socket:cork(function() socket:write("b") end)
            timer.sleep(5)
            socket:write("c")
            return "done"
        end)
        assert.equal("done", result)
        assert.equal("abc", peer:readSome())
    end)

    it("lets go when its function raises, and raises that", function()
        local client, peer = pair()
        raises("oh no", client.cork, client, function()
            client:write("x")
            error("oh no")
        end)
        assert.equal("x", peer:read(1))
        raises("socket:cork(fn) fn", client.cork, client)
    end)

    it("does not hold more than the limit", function()
        local client, peer = pair()
        client:cork(function()
            for _ = 1, 20 do client:write(("x"):rep(10000)) end
            assert.equal(100000, #peer:read(100000))
        end)
        assert.equal(100000, #peer:read(100000))
    end)
end)

describe("socket:sendFile", function()
    local path, text = os.tmpname(), {}

    setup(function()
        for i = 1, 3000 do text[i] = ("%07d\n"):format(i) end
        text = table.concat(text):rep(100)
        local file = assert(io.open(path, "wb"))
        file:write(text)
        file:close()
    end)
    teardown(function() os.remove(path) end)

    it("sends a file, after what was written before and before what comes after", function()
        local client, peer = pair()
        local sender = task.spawn(function()
            client:write("<")
            local n, err = client:sendFile(path)
            client:write(">")
            return n, err
        end)
        assert.equal("<" .. text .. ">", peer:read(#text + 2))
        local _, n = sender:join(20000)
        assert.equal(#text, n)
    end)

    it("sends a part, by path or descriptor", function()
        local client, peer = pair()
        assert.equal(8, client:sendFile(path, 8, 8))
        assert.equal("0000002\n", peer:read(8))
        ffi.cdef "int open(const char *path, int flags, ...); int close(int fd);"
        local fd = ffi.C.open(path, 0)
        assert.equal(16, client:sendFile(fd, 0, 16))
        assert.equal("0000001\n0000002\n", peer:read(16))
        assert.equal(8, client:sendFile(fd, #text - 8))
        assert.equal("0003000\n", peer:read(8))
        assert.equal(0, client:sendFile(fd, #text))
        assert.equal(0, client:sendFile(fd, #text + 100, 5))
        assert.equal(3, client:sendFile(fd, #text - 3, 100))
        ffi.C.close(fd)
        local _, err = client:sendFile(fd)
        assert.equal("EBADF", err.name)
    end)

    it("says what is wrong with a file", function()
        local client = pair()
        for name, file in pairs { ENOENT = "/no/such/file", EISDIR = "/tmp",
            EINVAL = "/dev/null" } do
            local n, err = client:sendFile(file)
            assert.is_nil(n)
            assert.equal(name, err.name)
        end
        local _, err = client:sendFile("a\0b")
        assert.equal("EINVAL", err.name)
        raises("file must be [string|number]", client.sendFile, client)
        raises("offset must be [integer]", client.sendFile, client, path, -1)
        raises("length must be [integer]", client.sendFile, client, path, 0, "x")
    end)

    it("ends with an error when the peer has gone", function()
        local client, peer = pair()
        local sender = task.spawn(function()
            local total = 0
            while true do
                local n, err = client:sendFile(path)
                if err then return nil, err end
                total = total + n
            end
        end)
        sockets.eventually(function() return sender.status == "waiting" end)
        peer:close(true)
        local _, _, err = sender:join(20000)
        assert.truthy(err.name == "EPIPE" or err.name == "ECONNRESET", err.name)
    end)
end)

describe("socket:pipe", function()
    -- client <-> a, b <-> target: what is piped is a and b.
    local function chain()
        local client, a = pair()
        local b, target = pair()
        return client, a, b, target
    end

    it("moves both directions and honours both half-closes", function()
        local client, a, b, target = chain()
        local piping = task.spawn(function() return a:pipe(b) end)
        client:write("question")
        assert.equal("question", target:read(8))
        client:shutdown()
        assert.equal("", target:readAll())
        target:write("answer")
        assert.equal("answer", client:read(6))
        target:shutdown()
        assert.equal("", client:readAll())
        local _, moved, err = piping:join(20000)
        assert.is_nil(err)
        assert.same({ sent = 8, received = 6 }, moved)
        assert.is_false(a.closed)
        assert.equal(8, a.bytesRead)
        assert.equal(6, a.bytesWritten)
    end)

    it("takes what was read and not asked for, and sends after what was written", function()
        local client, a, b, target = chain()
        client:write("first second")
        assert.equal("first ", a:read(6))
        b:write("before ")
        task.spawn(function() a:pipe(b) end)
        assert.equal("before second", target:read(13))
    end)

    it("moves a lot in both directions, spliced and copied", function()
        for _, splice in ipairs { true, false } do
            local client, a, b, target = chain()
            local piping = task.spawn(function() return a:pipe(b, { splice = splice }) end)
            local size = 6000000
            local text = ("0123456789abcde\n"):rep(size / 16)
            task.spawn(function()
                client:write(text)
                client:shutdown()
            end)
            task.spawn(function()
                target:write(text:reverse())
                target:shutdown()
            end)
            local there = task.spawn(function() return target:readAll() end)
            assert.is_true(client:readAll() == text:reverse())
            local _, got = there:join(20000)
            assert.is_true(got == text)
            local _, moved, err = piping:join(20000)
            assert.is_nil(err)
            assert.same({ sent = size, received = size }, moved)
        end
    end)

    it("slows the sender down when the receiver is slow", function()
        local client, a, b, target = chain()
        task.spawn(function() a:pipe(b) end)
        local writer = task.spawn(function() return client:write(("x"):rep(50000000)) end)
        sockets.eventually(function() return writer.status == "waiting" end)
        timer.sleep(30)
        assert.is_true(a.bytesRead < 50000000)
        assert.equal(50000000, #target:read(50000000))
    end)

    it("lets the sender be read on when it has ended while the receiver was slow", function()
        local client, a, b = chain()
        local piping = task.spawn(function() return a:pipe(b, { splice = false }) end)
        local sent = 50000000
        local writer = task.spawn(function()
            client:write(("x"):rep(sent))
            client:write("end")
        end)
        sockets.eventually(function() return writer.status == "waiting" and a.bytesRead > 0 end)
        timer.sleep(30)
        piping:cancel()
        local _, moved = piping:join(20000)
        assert.is_true(moved.sent < sent)
        assert.equal(sent - moved.sent, #a:read(sent - moved.sent))
        assert.equal("end", a:read(3))
        client:write("more")
        assert.equal("more", a:read(4))
    end)

    it("goes one way with oneWay", function()
        local client, a, b, target = chain()
        local piping = task.spawn(function() return a:pipe(b, { oneWay = true }) end)
        client:write("x")
        assert.equal("x", target:read(1))
        target:write("y")
        assert.equal("y", b:read(1))
        client:shutdown()
        local _, moved, err = piping:join(20000)
        assert.is_nil(err)
        assert.same({ sent = 1, received = 0 }, moved)
        assert.equal("", target:readAll())
    end)

    it("ends with the error of the side that fails", function()
        local client, a, b, target = chain()
        local piping = task.spawn(function() return a:pipe(b) end)
        client:write("x")
        assert.equal("x", target:read(1))
        client:close(true)
        local _, moved, err = piping:join(20000)
        assert.same({ sent = 1, received = 0 }, moved)
        assert.equal("ECONNRESET", err.name)
    end)

    it("ends with CLOSED when a socket is closed here", function()
        local _, a, b = chain()
        local piping = task.spawn(function() return a:pipe(b) end)
        timer.sleep(2)
        b:close()
        local _, _, err = piping:join(20000)
        assert.equal("CLOSED", err.name)
    end)

    it("keeps others from reading and writing meanwhile", function()
        local client, a, b = chain()
        local piping = task.spawn(function() return a:pipe(b) end)
        timer.sleep(2)
        local _, err = a:read(1)
        assert.equal("EBUSY", err.name)
        _, err = b:write("x")
        assert.equal("EBUSY", err.name)
        _, err = a:pipe((pair()))
        assert.equal("EBUSY", err.name)
        piping:cancel()
        local _, _, cancelled = piping:join(20000)
        assert.equal("ECANCELED", cancelled.name)
        client:write("x")
        assert.equal("x", a:read(1))
        assert.equal(1, b:write("y"))
    end)

    it("ends after the timeout of its socket without a byte", function()
        local client, a, b, target = chain()
        a:setTimeout(500)
        -- A busy machine may hold everything up for so long: then the timeout is right to come.
        local last, longest = timer.now(), 0
        local function tick()
            longest = math.max(longest, timer.now() - last)
            last = timer.now()
        end
        local ticking = timer.setInterval(15, function() tick() target:write(".") end)
        local piping = task.spawn(function() return a:pipe(b) end)
        timer.sleep(900)
        tick()
        assert.is_true(piping.status == "waiting" or longest > 300, piping.status)
        ticking:cancel()
        local _, moved, err = piping:join(20000)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(moved.received >= 3 or longest > 300)
        client:close()
    end)

    it("obeys a deadline", function()
        local _, a, b = chain()
        local moved, err = task.withTimeout(10, a.pipe, a, b)
        assert.is_nil(moved)
        assert.is_true(err.deadline)
    end)

    it("raises for what is no other socket", function()
        local client = pair()
        raises("other must be another [socket]", client.pipe, client, client)
        raises("other must be another [socket]", client.pipe, client, {})
        raises("other must be another [socket]", client.pipe, client)
        raises('unknown option "spline" (did you mean "splice"?)', client.pipe, client, (pair()),
            { spline = true })
    end)
end)

describe("the PROXY protocol", function()
    local function ask(header, options)
        options = options or {}
        options.proxyProtocol = true
        local got = sync.channel(1)
        local port, server = serve(function(socket)
            got:send { socket:remoteAddress(), socket:localAddress(), (socket:readAll()) }
        end, options)
        local client = keep(assert(tcp.connect(port)))
        return client, got, server, header and client:write(header)
    end

    it("tells the client's address, version 1", function()
        local client, got = ask "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nhello"
        client:shutdown()
        local seen = got:receive(20000)
        assert.same({ family = 4, address = "192.0.2.1", port = 56324 }, seen[1])
        assert.same({ family = 4, address = "198.51.100.7", port = 443 }, seen[2])
        assert.equal("hello", seen[3])
    end)

    it("tells the client's address, version 2", function()
        local client,
            got = ask("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\12" ..
            "\192\0\2\1\198\51\100\7\220\4\1\187" .. "hello")
        client:shutdown()
        local seen = got:receive(20000)
        assert.same({ family = 4, address = "192.0.2.1", port = 56324 }, seen[1])
        assert.same({ family = 4, address = "198.51.100.7", port = 443 }, seen[2])
        assert.equal("hello", seen[3])
    end)

    it("may come byte by byte", function()
        local client, got = ask()
        trickle(client, "PROXY TCP6 2001:db8::1 ::1 1 2\r\nx"):join()
        client:shutdown()
        local seen = got:receive(20000)
        assert.same({ family = 6, address = "2001:db8::1", port = 1 }, seen[1])
        assert.equal("x", seen[3])
    end)

    it("keeps the real address where none is told", function()
        for _, header in ipairs { "PROXY UNKNOWN\r\n", "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" } do
            local client, got = ask(header)
            client:shutdown()
            assert.same(client:localAddress(), got:receive(20000)[1])
        end
    end)

    it("breaks off connections that begin with anything else, and counts them", function()
        local client, _, server = ask "GET / HTTP/1.1\r\n\r\n"
        local _, err = client:read(1)
        assert.equal("ECONNRESET", err.name)
        assert.equal(1, server:stats().rejected)
        client:close()
    end)

    it("is not looked for unless asked for", function()
        local client, peer = pair()
        client:write("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n")
        assert.equal("PROXY", peer:read(5))
        assert.equal("127.0.0.1", peer:remoteAddress().address)
    end)
end)
