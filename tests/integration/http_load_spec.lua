-- Much of everything: connections that are slow on purpose, requests without end, a gigabyte to a
-- client that takes its time. The server is a process of its own, whose memory is looked at.
package.path = "tests/support/?.lua;" .. package.path

local child = require "child"
local system = require "system"
local tcp = require "tcp"
local timer = require "timer"
local wire = require "wire"

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
local SERVER = [[
local http = require "http"
local server = assert(http.createServer(0, function(req, res)
    if req.path == "/pieces" then
        local piece = ("x"):rep(1048576)
        for _ = 1, tonumber(req.query.n) do
            if not res:write(piece) then return end
        end
        return
    end
    if req.method == "GET" then return "hello" end
    local body, err = req:body()
    return body, err
end, {
    host = "127.0.0.1",
    headerTimeout = tonumber(os.getenv "HEADER_TIMEOUT") or 60000,
    bodyTimeout = tonumber(os.getenv "BODY_TIMEOUT") or 60000,
}))
print(server:address().port)
io.stdout:flush()
]]

local is_slow = child.isSanitized() or child.isEmulated()
local server

after_each(function()
    if server then assert(server:stop(), "the server did not end on SIGTERM") end
    server = nil
end)

-- KiB of memory that the server has for itself.
local function memory()
    local found
    -- To its end: only there does io.lines close the file, which children would inherit.
    for line in io.lines("/proc/" .. server.pid .. "/status") do
        found = found or line:match("^RssAnon:%s*(%d+)")
    end
    return tonumber(found)
end

local function is_linux() return jit.os == "Linux" end

-- As many clients as there are to be, or as the system has descriptors for.
local function connect_many(n, bytes)
    local clients = {}
    for i = 1, math.min(n, system.limits("nofile").soft - 500) do
        clients[i] = assert(wire.connect(server.port))
        clients[i]:send(bytes)
        if i % 200 == 0 then timer.sleep(0) end
    end
    return clients
end

local function close_all(clients)
    for _, c in ipairs(clients) do c:close() end
end

describe("10,000 slow connections", function()
    it("do not delay a fast one, and take little memory", function()
        if not is_linux() then return pending("needs /proc") end
        server = child.start(SERVER)
        assert.equal("hello", wire.request(server.port, GET).body)
        local before = memory()
        local slow = connect_many(is_slow and 1000 or 10000,
            "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        local fast = wire.connect(server.port)
        local best, worst, turn = math.huge, 0, 0
        for round = 1, 50 do
            for i = 1, 100 do slow[(turn + i) % #slow + 1]:send("x") end
            turn = turn + 100
            local began = timer.now()
            fast:send(GET)
            assert.equal("hello", fast:response().body)
            if round > 5 then worst = math.max(worst, timer.now() - began) end
            best = math.min(best, timer.now() - began)
        end
        -- A busy machine takes longer for one or the other.
        assert.is_true(best < 100, "no request took less than " .. best .. " ms")
        assert.is_true(worst < 10000, "a request took " .. worst .. " ms")
        local each = (memory() - before) * 1024 / #slow
        if not is_slow then
            assert.is_true(each < 5000, "a slow connection takes " .. each .. " bytes")
        end
        -- They are clients like any other, when they come to an end.
        slow[1]:send("\r\n\r\n")
        assert.equal("hello", slow[1]:response().body)
        close_all(slow)
        fast:close()
    end)

    local function are_cut_off(bytes)
        local slow = connect_many(is_slow and 500 or 5000, bytes)
        for i, c in ipairs(slow) do
            assert.equal(408, assert(c:response()).status)
            assert.is_true(c:isClosed())
            if i % 1000 == 0 then
                assert.equal("hello", wire.request(server.port, GET).body)
            end
        end
        close_all(slow)
    end

    it("are answered 408 and closed when their time is over, all of them", function()
        if not is_linux() then return pending("needs /proc") end
        server = child.start(SERVER, "env HEADER_TIMEOUT=500")
        are_cut_off("GET / HT")
    end)

    it("are so, too, where it is the body that does not come", function()
        if not is_linux() then return pending("needs /proc") end
        server = child.start(SERVER, "env BODY_TIMEOUT=500")
        are_cut_off("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
    end)
end)

describe("the memory of a server", function()
    it("does not grow with its requests", function()
        if not is_linux() then return pending("needs /proc") end
        server = child.start(SERVER)
        local c = wire.connect(server.port)
        local batch, answer = GET:rep(64), nil
        local function requests(n)
            for _ = 1, n / 64 do
                assert(c:send(batch))
                if not answer then
                    c:await(function(b) return select(2, b:gsub("hello", "")) == 64 end)
                    answer = #c.buffer
                end
                c:await(function(b) return #b >= answer end)
                c.buffer = c.buffer:sub(answer + 1)
            end
        end
        requests(is_slow and 6400 or 64000)
        local before = memory()
        requests(is_slow and 12800 or 256000)
        local grown = memory() - before
        if not is_slow then assert.is_true(grown < 3072, "it grew by " .. grown .. " KiB") end
        c:close()
    end)

    it("does not grow while it streams a gigabyte to a slow reader", function()
        if not is_linux() then return pending("needs /proc") end
        server = child.start(SERVER)
        local mib = is_slow and 64 or 1024
        local function stream(n)
            local socket = assert(tcp.connect(server.port))
            assert(socket:write("GET /pieces?n=" .. n
                .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
            local total, most, due = 0, 0, 16
            while true do
                local piece, err = socket:readSome(262144)
                if not piece then
                    assert.equal("EOF", err.name)
                    break
                end
                total = total + #piece
                if total > due * 1048576 then
                    timer.sleep(5)
                    most, due = math.max(most, memory()), due + 16
                end
            end
            socket:close()
            assert.is_true(total > n * 1048576)
            return most
        end
        stream(32)
        local before = memory()
        local most = stream(mib)
        if not is_slow then
            assert.is_true(most - before < 4096, "it grew by " .. most - before .. " KiB")
        end
    end)
end)
