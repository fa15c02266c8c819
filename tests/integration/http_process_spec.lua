-- The server as the system sees it: its system calls, its descriptors, and what it makes of calls
-- that fail.
package.path = "tests/support/?.lua;" .. package.path

local child = require "child"
local program = require "program"
local timer = require "timer"
local tools = require "tools"
local wire = require "wire"

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
local SERVER = [[
local http = require "http"
local server = assert(http.createServer(0, function(req)
    if req.path == "/big" then return ("0123456789"):rep(20000) end
    return req.method == "POST" and req:body() or "hello"
end, {host = "127.0.0.1"}))
print(server:address().port)
io.stdout:flush()
]]

local server

after_each(function()
    if server then assert(server:stop(), "the server did not end on SIGTERM") end
    server = nil
end)

local function is_linux() return jit.os == "Linux" end

describe("a keep-alive request", function()
    it("costs one read, one write and no epoll_ctl", function()
        if child.cannotTrace() then return pending(child.cannotTrace()) end
        server = child.traced(SERVER)
        local c = wire.connect(server.port)
        for _ = 1, 100 do
            assert(c:send(GET))
            assert.equal("hello", c:response().body)
        end
        c:send(GET:rep(16))
        for _ = 1, 16 do c:response() end
        local counts = server:calls(101)
        assert.equal(101, counts.recvfrom)
        assert.equal(1, counts.epoll_ctl) -- the connection's own registration
        assert.is_nil(counts.write or counts.writev or counts.sendmsg or counts.read
            or counts.recvmsg)
        c:close()
    end)
end)

describe("a server without descriptors", function()
    it("turns clients away, does not spin, and serves again", function()
        if not is_linux() then return pending("needs /proc") end
        server = child.start(SERVER, "", "ulimit -n 32;")
        local clients = {}
        local served, turned_away = 0, 0
        for i = 1, 40 do
            clients[i] = assert(wire.connect(server.port))
            clients[i]:send(GET)
        end
        for i = 1, 40 do
            if clients[i]:response() then served = served + 1 else turned_away = turned_away + 1 end
        end
        assert.is_true(served >= 5, "served " .. served)
        assert.is_true(turned_away >= 5, "turned away " .. turned_away)

        local before = server:ticks()
        timer.sleep(300)
        assert.is_true(server:ticks() - before <= 5, "it spins")

        for i = 1, 40 do clients[i]:close() end
        wire.eventually("the server to serve again", function()
            local c = wire.connect(server.port)
            c:send(GET)
            local res = c:response()
            c:close()
            return res
        end)
    end)
end)

describe("a server whose system calls fail", function()
    local library

    setup(function()
        if not is_linux() or child.isSanitized() then return end
        library = os.tmpname()
        local cc = os.getenv("CC") or "cc"
        assert(os.execute(cc .. " -shared -fPIC -O1 -o " .. library .. " tests/fault/fault.c") == 0)
    end)

    teardown(function()
        if library then os.remove(library) end
    end)

    local function start(fault)
        server = child.start(SERVER, ("env LD_PRELOAD=%s FAULT='%s'"):format(library, fault))
        return server.port
    end

    local function serves(port, times)
        for _ = 1, times do
            local c = assert(wire.connect(port))
            for _ = 1, 3 do
                c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
                assert.equal("hello", assert(c:response()).body)
            end
            c:close()
        end
    end

    local function test(name, fn)
        it(name, function()
            if not library then return pending("needs LD_PRELOAD") end
            fn()
        end)
    end

    test("serves when accept is interrupted or its client has left", function()
        serves(start "accept4=EINTR/2", 10)
        server:stop()
        serves(start "accept4=ECONNABORTED/2", 10)
        server:stop()
        serves(start "accept4=EPROTO/3", 10)
    end)

    test("serves when the system had no room for a moment", function()
        serves(start "accept4=ENFILE/3", 4)
        server:stop()
        serves(start "accept4=ENOBUFS/3", 4)
    end)

    test("serves when reads and writes are interrupted", function()
        serves(start "recv=EINTR/2 send=EINTR/2", 10)
    end)

    test("sends everything when writes fall short", function()
        local port = start "send=short/2 sendmsg=short/2"
        serves(port, 5)
        local c = wire.connect(port)
        c:send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal(("0123456789"):rep(20000), c:response().body)
        c:close()
    end)

    test("loses only the connection whose read or write fails", function()
        local port = start "recv=ECONNRESET/5 send=EPIPE/7"
        local served, lost = 0, 0
        for _ = 1, 60 do
            local c = assert(wire.connect(port))
            c:send(GET)
            if c:response() then served = served + 1 else lost = lost + 1 end
            c:close()
        end
        assert.is_true(served >= 30, "served " .. served)
        assert.is_true(lost >= 10, "lost " .. lost)
        assert.is_true(server:isAlive())
    end)

    test("says so and ends when there is no memory", function()
        local port = start "malloc=fail@1000"
        for _ = 1, 5000 do
            local c = wire.connect(port)
            if not c then break end
            c:send(GET)
            c:response()
            c:close()
            if not server:isAlive() then break end
        end
        assert.is_false(server:isAlive())
        assert.truthy(select(2, server:output()):find("out of memory", 1, true))
    end)
end)

describe("the end of a server's process", function()
    -- Answers whether it could wait as long as it wanted to.
    local SLOW = [[
local http = require "http"
local timer = require "timer"
local server = assert(http.createServer(0, function(req)
    if req.path ~= "/slow" then return "at once" end
    print("begun")
    io.stdout:flush()
    return tostring(timer.sleep(300))
end, {host = "127.0.0.1"}))
print("port " .. server:address().port .. ".")
io.stdout:flush()
]]
    local SLOW_GET = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"

    -- The program, at work on a request of one client, while another one is idle.
    local function at_work(code)
        local process = program.start({ "-e", code or SLOW })
        process:expect(".\n")
        local port = tonumber(process.out:match("port (%d+)"))
        local idle, busy = wire.connect(port), wire.connect(port)
        idle:send(GET)
        assert.equal("at once", idle:response().body)
        busy:send(SLOW_GET)
        process:expect("begun")
        return process, busy, idle, port
    end

    it("waits on SIGTERM for the answers that are under way, and takes no more", function()
        local process, busy, idle, port = at_work()
        process:kill("TERM")
        assert.equal("", idle:rest())
        assert.is_nil((require("tcp").connect(port, "127.0.0.1")))
        local res = busy:response()
        assert.equal("true", res.body)
        assert.equal("close", res.headers.connection)
        assert.equal("TERM", process:wait().signal)
        busy:close()
        idle:close()
    end)

    it("cancels what takes longer than shutdownTimeout", function()
        local process, busy, idle = at_work('require("process").shutdownTimeout = 50\n'
            .. SLOW:gsub("300", "1e8"))
        process:kill("TERM")
        assert.equal("nil", busy:response().body)
        assert.equal("TERM", process:wait().signal)
        busy:close()
        idle:close()
    end)

    it("waits on SIGINT for nobody", function()
        tools.within(500, function()
            local process, busy, idle = at_work(SLOW:gsub("300", "1e8"))
            local begun = timer.now()
            process:kill("INT")
            assert.equal("nil", busy:response().body)
            assert.equal("INT", process:wait().signal)
            busy:close()
            idle:close()
            return begun
        end)
    end)
end)
