package.path = "tests/support/?.lua;" .. package.path

local frames = require "frames"
local timer = require "timer"
local tools = require "tools"
local websocket = require "websocket"
local wire = require "wire"

local frame, close, next_frame = frames.frame, frames.close, frames.next

local server, port

local function echo(ws)
    while true do
        local data, err, kind = ws:read()
        if err then return end
        ws:write(data, kind)
    end
end

local callbacks = { message = function(ws, data, kind) ws:write(data, kind) end }

local function serve(handler, options)
    options = options or {}
    options.host = "127.0.0.1"
    server = assert(websocket.createServer(0, handler, options))
    port = server:address().port
end

after_each(function()
    if server then server:close(0) end
    server = nil
end)

local function expect(c, opcode, data)
    local f, failure = next_frame(c)
    assert.truthy(f, failure)
    assert.equal(opcode, f.opcode)
    assert.equal(data, f.data)
    assert.is_true(f.fin)
end

-- What it is answered with, after a handshake.
local function status_of(bytes)
    local c = frames.connect(port)
    c:send(bytes)
    local status = frames.closed(c)
    c:close()
    return status
end

describe("the handshake", function()
    it("answers the key of RFC 6455, 1.3", function()
        serve(echo)
        local c, response = frames.connect(port)
        assert.equal(frames.ACCEPT, response.headers["sec-websocket-accept"])
        assert.equal("websocket", response.headers.upgrade)
        assert.equal("Upgrade", response.headers.connection)
        assert.is_nil(response.headers["sec-websocket-extensions"])
        assert.is_nil(response.headers["sec-websocket-protocol"])
        c:close()
    end)

    it("may be split anywhere, and a frame may follow at once", function()
        serve(callbacks)
        local all = frames.request() .. frame(1, "hi")
        for at = 1, #all - 1 do
            local c = assert(wire.connect(port))
            c:send(all:sub(1, at))
            wire.turn(1)
            c:send(all:sub(at + 1))
            assert.equal(101, c:response().status)
            expect(c, 1, "hi")
            c:close()
        end
    end)

    it("is refused where a part is missing or wrong", function()
        serve(echo)
        local good = frames.request()
        for _, case in ipairs {
            { "Sec%-WebSocket%-Version: 13", "Sec-WebSocket-Version: 8", 426 },
            { "Sec%-WebSocket%-Version: 13", "Sec-WebSocket-Version: 133", 426 },
            { "Sec%-WebSocket%-Version: 13\r\n", "", 426 },
            { "Upgrade: websocket\r\n", "", 426 },
            { "Upgrade: websocket", "Upgrade: websockets", 426 },
            { "Connection: Upgrade\r\n", "", 426 },
            { "HTTP/1.1", "HTTP/1.0", 426 },
            { "Sec%-WebSocket%-Key: [^\r]*\r\n", "", 400 },
            { "(Sec%-WebSocket%-Key: [^\r]*\r\n)", "%1%1", 400 },
            { "Key: dGh", "Key: d!h", 400 },
            { "ub25jZQ==", "ub25jZ", 400 },
            { "^GET", "POST", 400 },
            { "Host: x\r\n", "Host: x\r\nContent-Length: 1\r\n", 400 },
        } do
            local response = wire.request(port, (good:gsub(case[1], case[2])))
            assert.equal(case[3], response.status, case[2])
            if case[3] == 426 then
                assert.equal("websocket", response.headers.upgrade)
            end
        end
        local old = good:gsub("Version: 13", "Version: 8")
        assert.equal("13", wire.request(port, old).headers["sec-websocket-version"])
    end)

    it("agrees on the first subprotocol of the server's that is offered", function()
        serve(echo, { protocols = { "v3", "v2", "v1" } })
        local c, response = frames.connect(port, "/", "Sec-WebSocket-Protocol: v1, v2\r\n" ..
            "Sec-WebSocket-Protocol: other\r\n")
        assert.equal("v2", response.headers["sec-websocket-protocol"])
        c:close()
        c, response = frames.connect(port, "/", "Sec-WebSocket-Protocol: v9\r\n")
        assert.is_nil(response.headers["sec-websocket-protocol"])
        c:close()
    end)

    it("leaves the choice of the subprotocol to a function, which may wait", function()
        serve(echo, { protocols = function(offered, req)
            timer.sleep(1)
            return req.path == "/b" and offered[2] or nil
        end })
        local _, response = frames.connect(port, "/b", "Sec-WebSocket-Protocol: one,two\r\n")
        assert.equal("two", response.headers["sec-websocket-protocol"])
        _, response = frames.connect(port, "/a", "Sec-WebSocket-Protocol: one,two\r\n")
        assert.is_nil(response.headers["sec-websocket-protocol"])
    end)

    it("refuses pages of other origins", function()
        serve(echo, { origins = { "https://example.com", "https://*.example.org" } })
        for origin, status in pairs {
            ["https://example.com"] = 101, ["HTTPS://EXAMPLE.COM"] = 101,
            ["https://a.example.org"] = 101, ["http://example.com"] = 403,
            ["https://example.com.evil"] = 403, ["https://evil-example.org"] = 403,
            ["null"] = 403, ["https://example.org"] = 403,
        } do
            local c = assert(wire.connect(port))
            c:send(frames.request("/", "Origin: " .. origin .. "\r\n"))
            assert.equal(status, c:response().status, origin)
            c:close()
        end
        assert.truthy(frames.connect(port))
    end)

    it("takes the page's own host for origins = same", function()
        serve(echo, { origins = "same" })
        for origin, status in pairs { ["http://x"] = 101, ["http://y"] = 403, x = 403 } do
            local c = assert(wire.connect(port))
            c:send(frames.request("/", "Origin: " .. origin .. "\r\n"))
            assert.equal(status, c:response().status, origin)
            c:close()
        end
    end)

    it("takes the host that a trusted proxy tells of for that", function()
        for proxy, status in pairs { loopback = 101, ["10.0.0.1"] = 403 } do
            serve(echo, { origins = "same", trustedProxies = { proxy } })
            local c = assert(wire.connect(port))
            c:send(frames.request("/", "Origin: https://example.com:8443\r\n"
                .. "X-Forwarded-Host: example.com:8443\r\n"))
            assert.equal(status, c:response().status, proxy)
            c:close()
            server:close(0)
        end
    end)

    it("is refused beyond maxPerIp, and allowed again after a close", function()
        serve(echo, { maxPerIp = 2 })
        local a, b = frames.connect(port), frames.connect(port)
        assert.equal(429, wire.request(port, frames.request()).status)
        a:close()
        wire.eventually("the end of a connection", function()
            return server:stats().upgraded == 1
        end)
        assert.truthy(frames.connect(port))
        b:close()
    end)

    it("may be answered otherwise by upgrade, which may wait", function()
        serve({
            upgrade = function(req, res)
                timer.sleep(1)
                if req.query.token ~= "secret" then return 401, "no" end
                res:setHeader("X-User", "me")
                return true
            end,
            message = callbacks.message,
        })
        local response = wire.request(port, frames.request("/"))
        assert.equal(401, response.status)
        assert.equal("no", response.body)
        local c
        c, response = frames.connect(port, "/?token=secret")
        assert.equal("me", response.headers["x-user"])
        c:send(frame(2, "\0\1"))
        expect(c, 2, "\0\1")
    end)
end)

for style, handler in pairs { loop = echo, functions = callbacks } do
    describe("messages, by " .. style .. ",", function()
        it("come back as they were sent, whatever their length", function()
            serve(handler)
            local c = frames.connect(port)
            for _, n in ipairs { 0, 1, 125, 126, 127, 2047, 16383, 16384, 65535, 65536, 300000 } do
                local data = ("abcdefg"):rep(math.ceil(n / 7)):sub(1, n)
                c:send(frame(1, data))
                expect(c, 1, data)
            end
            c:close()
        end)

        it("may be split at every byte", function()
            serve(handler)
            local c = frames.connect(port)
            local all = frame(1, "k\195\182", { fin = false }) .. frame(9, "ping") ..
                frame(0, "st", { fin = false }) .. frame(0, "", { fin = false }) ..
                frame(0, "lich") .. frame(2, ("x"):rep(130))
            for at = 1, #all - 1 do
                c:send(all:sub(1, at))
                wire.turn(1)
                c:send(all:sub(at + 1))
                expect(c, 10, "ping")
                expect(c, 1, "k\195\182stlich")
                expect(c, 2, ("x"):rep(130))
            end
            for i = 1, #all do
                c:send(all:sub(i, i))
                wire.turn(1)
            end
            expect(c, 10, "ping")
            expect(c, 1, "k\195\182stlich")
            expect(c, 2, ("x"):rep(130))
        end)

        it("stay in order, many at a time", function()
            serve(handler)
            local c = frames.connect(port)
            local out = {}
            for i = 1, 3000 do out[i] = frame(1, "message " .. i) end
            c:send(table.concat(out))
            for i = 1, 3000 do expect(c, 1, "message " .. i) end
        end)

        it("of many fragments are put together", function()
            serve(handler)
            local c = frames.connect(port)
            local out = { frame(2, "", { fin = false }) }
            for i = 1, 1000 do
                out[#out + 1] = frame(0, ("%04d"):format(i):rep(10), { fin = false })
            end
            out[#out + 1] = frame(0, "")
            c:send(table.concat(out))
            local f = next_frame(c)
            assert.equal(40000, #f.data)
            assert.equal("1000", f.data:sub(-4))
        end)

        it("are answered with the close's status, and what came before it is answered", function()
            serve(handler)
            local c = frames.connect(port)
            c:send(frame(1, "a") .. frame(1, "b") .. close(1000, "bye"))
            -- Who closes need not get what is under way, but may.
            local status
            repeat
                local f = assert(next_frame(c))
                if f.opcode == 8 then status = f.data:byte(1) * 256 + f.data:byte(2) end
            until status
            assert.equal(1000, status)
            assert.equal("", c:rest())
        end)
    end)
end

describe("bad input", function()
    it("gets the status of RFC 6455, 7.4.1", function()
        serve(echo, { maxMessageSize = 1000, maxFragments = 10 })
        local many = { frame(1, "a", { fin = false }) }
        for _ = 1, 10 do many[#many + 1] = frame(0, "a", { fin = false }) end
        for what, case in pairs {
            ["a frame that is not masked"] = { frame(1, "a", { masked = false }), 1002 },
            ["a reserved bit"] = { frame(1, "a", { rsv = 2 }), 1002 },
            ["another reserved bit"] = { frame(1, "a", { rsv = 1 }), 1002 },
            ["compressed without agreement"] = { frame(1, "a", { rsv = 4 }), 1002 },
            ["opcode 3"] = { frame(3, "a"), 1002 },
            ["opcode 7"] = { frame(7, "a"), 1002 },
            ["opcode 11"] = { frame(11, "a"), 1002 },
            ["opcode 15"] = { frame(15, "a"), 1002 },
            ["a continuation of nothing"] = { frame(0, "a"), 1002 },
            ["a message in a message"] = { frame(1, "a", { fin = false }) .. frame(1, "b"), 1002 },
            ["a fragmented ping"] = { frame(9, "a", { fin = false }), 1002 },
            ["a long ping"] = { frame(9, ("a"):rep(126)), 1002 },
            ["a length that could be shorter"] = { frame(1, "a", { long = 2 }), 1002 },
            ["a length that could be much shorter"] = { frame(1, "a", { long = 8 }), 1002 },
            ["a length of 2^63"] = { "\129\255\128\0\0\0\0\0\0\0mask", 1002 },
            ["a close of one byte"] = { frame(8, "\3"), 1002 },
            ["a close with 1005"] = { close(1005), 1002 },
            ["a close with 999"] = { close(999), 1002 },
            ["a close with 5000"] = { close(5000), 1002 },
            ["a close whose reason is no text"] = { close(1000, "\255"), 1007 },
            ["text that is no UTF-8"] = { frame(1, "\192\128"), 1007 },
            ["a surrogate"] = { frame(1, "\237\160\128"), 1007 },
            ["beyond U+10FFFF"] = { frame(1, "\244\144\128\128"), 1007 },
            ["half a character"] = { frame(1, "\195"), 1007 },
            ["a character cut by another message"] = {
                frame(1, "\195", { fin = false }) .. frame(0, "a"), 1007 },
            ["a message of 1001 bytes"] = { frame(1, ("a"):rep(1001)), 1009 },
            ["fragments of 1001 bytes"] = {
                frame(1, ("a"):rep(600), { fin = false }) .. frame(0, ("a"):rep(401)), 1009 },
            ["eleven fragments"] = { table.concat(many), 1008 },
        } do
            assert.equal(case[2], status_of(case[1]), what)
        end
        assert.equal(1, #many - 10)
        -- The server goes on.
        local c = frames.connect(port)
        c:send(frame(1, "still here"))
        expect(c, 1, "still here")
    end)

    it("is found as early as it can be", function()
        serve(echo)
        -- The frame is not complete, nor is the character, but no byte could make it right.
        local whole = frame(1, "abc\237\160" .. ("x"):rep(100))
        assert.equal(1007, status_of(whole:sub(1, 11)))
        -- What is announced is too large already.
        assert.equal(1009, status_of("\130\255\0\0\0\0\255\255\255\255mask"))
    end)

    it("is a named error for who reads, with the status", function()
        local result
        serve(function(ws) result = select(2, ws:read()) end)
        assert.equal(1002, status_of(frame(3, "")))
        assert.equal("WS_PROTOCOL", result.name)
        assert.equal(1002, result.status)
    end)

    it("that drops the connection in the middle is 1006", function()
        local result
        serve(function(ws) result = select(2, ws:read()) end)
        for _, how in ipairs { "close", "reset" } do
            result = nil
            local c = frames.connect(port)
            c:send(frame(1, "half of it"):sub(1, 9))
            wire.turn(2)
            c[how](c)
            wire.eventually("the end", function() return result end)
            assert.equal("WS_CLOSED", result.name)
            assert.equal(1006, result.status)
        end
    end)

    it("of too many messages in a second is 1008", function()
        serve(callbacks, { maxMessageRate = 50 })
        local c = frames.connect(port)
        c:send(frame(1, "x"):rep(200))
        local f
        repeat f = assert(next_frame(c)) until f.opcode == 8
        assert.equal(1008, f.data:byte(1) * 256 + f.data:byte(2))
    end)

    it("that pings and does not read is not buffered for without end", function()
        local ws
        serve({ open = function(given) ws = given end })
        local c = assert(wire.connect(port, { receiveBuffer = 4096 }))
        c:send(frames.request())
        c:response()
        local ping, sent = frame(9, ("p"):rep(125)):rep(500), 0
        for _ = 1, 200 do
            sent = sent + c:trySend(ping)
            wire.turn(1)
        end
        assert.is_true(sent > 1000000, "only " .. sent .. " bytes were read")
        assert.is_true(ws:buffered() < 200000, ws:buffered() .. " bytes are buffered")
        c:close()
    end)
end)

describe("closing", function()
    it("answers a close with its status, and shuts down first", function()
        serve(callbacks)
        for _, status in ipairs { 1000, 1001, 3000, 4999 } do
            assert.equal(status, status_of(close(status, "why")))
        end
        assert.is_nil(status_of(close()))
    end)

    it("gives the peer closeTimeout to answer", function()
        local ended
        serve({
            open = function(ws) ws:close(4000, "enough") end,
            close = function(_, code) ended = code end,
        }, { closeTimeout = 50 })
        local c = frames.connect(port)
        local f = next_frame(c)
        assert.equal("\15\160enough", f.data)
        wire.eventually("the end", function() return ended end)
        assert.equal(1006, ended)
        assert.is_true(c:isClosed())
    end)

    it("drops what comes between our close and the peer's", function()
        local got = {}
        serve({
            open = function(ws) ws:close() end,
            message = function(_, data) got[#got + 1] = data end,
            close = function(_, code) got[#got + 1] = code end,
        })
        local c = frames.connect(port)
        assert.equal(8, next_frame(c).opcode)
        c:send(frame(1, "late") .. frame(1, "later") .. close(1000))
        assert.is_true(c:isClosed())
        assert.same({ 1000 }, got)
    end)

    it("of the server tells every client 1001 and waits for them", function()
        serve(callbacks)
        local c = frames.connect(port)
        local closing = require("task").spawn(function() return server:close(20000) end)
        local f = next_frame(c)
        assert.equal("\3\233", f.data)
        c:send(close(1001))
        assert.is_true(c:isClosed())
        assert.is_true(select(2, closing:join(20000)))
        server = nil
    end)
end)

describe("time", function()
    it("pings by itself, and knows the latency", function()
        local ws
        serve({ open = function(given) ws = given end }, { pingInterval = 20 })
        local c = frames.connect(port)
        local f = next_frame(c)
        assert.equal(9, f.opcode)
        assert.is_nil(ws.latency)
        c:send(frame(10, "something else"))
        wire.turn(3)
        assert.is_nil(ws.latency)
        -- The answer to an earlier ping than the last one says nothing.
        local give_up = timer.now() + 20000
        repeat
            c:send(frame(10, f.data))
            wire.turn(3)
            if not ws.latency then f = next_frame(c) end
            assert(timer.now() < give_up, "no latency")
        until ws.latency
        assert.is_true(ws.latency > 0 and ws.latency < 20000)
    end)

    it("ends a connection that says nothing for idleTimeout", function()
        tools.steadily(50, function()
            local ended
            serve({ close = function(_, code) ended = code end }, { idleTimeout = 100 })
            local c = frames.connect(port)
            for _ = 1, 5 do
                timer.sleep(30)
                c:send(frame(9))
                expect(c, 10, "")
            end
            assert.is_nil(ended)
            wire.eventually("the end", function() return ended end)
            assert.equal(1006, ended)
        end)
    end)

    it("does not hold our own slowness against the peer", function()
        local ended, got
        serve(function(ws)
            timer.sleep(120)
            got = ws:read()
            ended = select(2, ws:read())
        end, { idleTimeout = 40, maxMessageSize = 0 })
        local c = frames.connect(port)
        c:send(frame(2, ("x"):rep(200000)))
        wire.eventually("the message", function() return got end)
        assert.equal(200000, #got)
        wire.eventually("the end", function() return ended end)
    end)
end)
