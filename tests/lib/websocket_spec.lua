package.path = "tests/support/?.lua;" .. package.path

local ffi = require "ffi"
local codec = require "codec"
local crypto = require "crypto"
local frames = require "frames"
local http = require "http"
local sync = require "sync"
local task = require "task"
local tcp = require "tcp"
local timer = require "timer"
local tools = require "tools"
local websocket = require "websocket"
local wire = require "wire"
local zlib = require "zlib"

local raises = tools.blames
local servers = {}
local url

local function keep(server)
    servers[#servers + 1] = server
    url = "ws://127.0.0.1:" .. server:address().port
    return server
end

local function serve(handler, options)
    options = options or {}
    options.host = "127.0.0.1"
    return keep(assert(websocket.createServer(0, handler, options)))
end

local function port_of(server) return server:address().port end

local function echo(ws)
    while true do
        local data, err, kind = ws:read()
        if err then return end
        ws:write(data, kind)
    end
end

local echo_functions = { message = function(ws, data, kind) ws:write(data, kind) end }

local function dial(options) return assert(websocket.connect(url, options)) end

after_each(function()
    for _, server in ipairs(servers) do server:close(0) end
    servers = {}
end)

describe("websocket.connect", function()
    it("sends and gets messages of both kinds", function()
        serve(echo)
        local ws = dial()
        assert.is_true(ws:write("text"))
        assert.is_true(ws:write("\0\255", "binary"))
        assert.is_true(ws:write(42))
        assert.same({ "text", nil, "text" }, { ws:read() })
        local data, err, kind = ws:read()
        assert.equal("\0\255", data)
        assert.is_nil(err)
        assert.equal("binary", kind)
        assert.equal("42", ws:read())
        ws:close()
    end)

    it("sends path, query, headers and subprotocols", function()
        local seen
        serve(function(ws, req)
            seen = { req.path, req.query.q, req:header("x-test"), req.headers.host, ws.protocol }
        end, { protocols = { "b" } })
        url = url .. "/a%20b?q=1"
        local ws = dial{ headers = { ["X-Test"] = "yes" }, protocols = { "a", "b" } }
        assert.equal("b", ws.protocol)
        ws:read()
        assert.same({ "/a b", "1", "yes", url:match("//([^/]+)"), "b" }, seen)
    end)

    it("says who it is as the URL has it, and by which name it asks, unless headers do", function()
        serve(function(ws, req)
            ws:write(tostring(req:header("authorization")) .. " " .. req:header("host"))
        end)
        local at = url:match("//(.*)$")
        local function told(credentials, headers)
            local to = "ws://" .. credentials .. at
            return assert(websocket.connect(to, { headers = headers })):read()
        end
        assert.equal("nil " .. at, told("", nil))
        assert.equal("Basic dXM6cGE6c3M= " .. at, told("us:pa%3Ass@", nil))
        assert.equal("Bearer x example.com", told("us:pass@", {
            authorization = "Bearer x", HOST = "example.com",
        }))
    end)

    it("is WS_BAD_HANDSHAKE for another answer, with the status", function()
        keep(assert(http.createServer(0, function(req)
            return tonumber(req.path:sub(2)), "no"
        end, { host = "127.0.0.1" })))
        for _, status in ipairs { 200, 301, 401, 404, 500 } do
            local ws, err = websocket.connect(url .. "/" .. status)
            assert.is_nil(ws)
            assert.equal("WS_BAD_HANDSHAKE", err.name)
            assert.equal(status, err.status)
        end
    end)

    it("is WS_BAD_HANDSHAKE for an answer that is not one to its key", function()
        local good = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" ..
            "Sec-WebSocket-Accept: "
        local answer
        local server = keep(assert(tcp.createServer(0, function(socket)
            local head = socket:readUntil("\r\n\r\n")
            socket:write(answer(head:match("Key: (%S+)")))
            socket:readAll()
        end)))
        url = "ws://127.0.0.1:" .. port_of(server)
        for what, make in pairs {
            ["another key's"] = function() return good .. frames.ACCEPT .. "\r\n\r\n" end,
            ["not HTTP"] = function() return "hello\r\n\r\n" end,
            ["without fields"] = function() return "HTTP/1.1 101 X\r\n\r\n" end,
        } do
            answer = make
            local ws, err = websocket.connect(url)
            assert.is_nil(ws)
            assert.equal("WS_BAD_HANDSHAKE", err.name, what)
        end
    end)

    it("fails with what tcp.connect says, and after its timeout", function()
        local server = keep(assert(tcp.createServer(0, function(socket) socket:readAll() end)))
        local port = port_of(server)
        local _, err = websocket.connect("ws://127.0.0.1:" .. port, { timeout = 30 })
        assert.equal("ETIMEDOUT", err.name)
        server:close(0)
        _, err = websocket.connect("ws://127.0.0.1:" .. port)
        assert.equal("ECONNREFUSED", err.name)
        server = keep(assert(tcp.createServer(0, function() end)))
        _, err = websocket.connect("ws://127.0.0.1:" .. port_of(server))
        assert.truthy(err.name == "EOF" or err.name == "ECONNRESET", err.name)
    end)

    it("refuses frames that are masked", function()
        local server = keep(assert(tcp.createServer(0, function(socket)
            local key = socket:readUntil("\r\n\r\n"):match("Key: (%S+)")
            local answer = ffi.new("char[29]")
            ffi.C.links_ws_answer(key, answer)
            socket:write("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" ..
                "Sec-WebSocket-Accept: " .. ffi.string(answer) .. "\r\n\r\n" ..
                frames.frame(1, "masked"))
            socket:readAll()
        end)))
        local ws = assert(websocket.connect("ws://127.0.0.1:" .. port_of(server)))
        local _, err = ws:read()
        assert.equal("WS_PROTOCOL", err.name)
        assert.equal(1002, err.status)
    end)

    it("goes through a proxy that is asked for a tunnel", function()
        serve(echo)
        local asked
        local target = tonumber(url:match(":(%d+)$"))
        local proxy = keep(assert(tcp.createServer(0, function(socket)
            asked = socket:readUntil("\r\n\r\n")
            local other = assert(tcp.connect(target))
            socket:write("HTTP/1.1 200 OK\r\n\r\n")
            task.spawn(function() socket:pipe(other) end)
            other:pipe(socket)
        end)))
        local ws = assert(websocket.connect("ws://127.0.0.1:" .. target, {
            proxy = "http://user:pass@127.0.0.1:" .. port_of(proxy),
        }))
        ws:write("through")
        assert.equal("through", ws:read())
        assert.truthy(asked:find("^CONNECT 127.0.0.1:" .. target .. " HTTP/1.1\r\n"))
        assert.truthy(asked:find("Proxy-Authorization: Basic dXNlcjpwYXNz", 1, true))
        ws:close()
    end)

    it("takes messages by functions, and the process lives as long", function()
        local got = {}
        serve(function(ws)
            ws:write("one")
            ws:write("two")
            ws:close(4001, "done")
        end)
        local over
        local ws = dial{ handler = {
            open = function(self) got[#got + 1] = self.id > 0 and "open" end,
            message = function(_, data) got[#got + 1] = data end,
            close = function(_, code, reason)
                got[#got + 1] = code .. reason
                over = true
            end,
        } }
        raises("taken by its functions", ws.read, ws)
        wire.eventually("the close", function() return over end)
        assert.same({ "open", "one", "two", "4001done" }, got)
    end)

    it("raises for what is no URL of a websocket, or cannot stand in a head", function()
        raises("ws:// or wss://", websocket.connect, "http://x/")
        raises("ws:// or wss://", websocket.connect, "nothing")
        raises("must be [string]", websocket.connect, 5)
        raises("did you mean", websocket.connect, "ws://x", { maxMessagesize = 5 })
        raises("header field", websocket.connect, "ws://x", { headers = { a = "b\r\nc" } })
        raises("subprotocol", websocket.connect, "ws://x", { protocols = { "a b" } })
        raises("proxy", websocket.connect, "ws://x", { proxy = "ftp://x" })
        raises('unknown option "car"', websocket.connect, "wss://x", { tls = { car = "" } })
    end)
end)

describe("ws:read", function()
    it("times out, and the connection stays good", function()
        serve(echo)
        local ws = dial()
        local _, err = ws:read(10)
        assert.equal("ETIMEDOUT", err.name)
        ws:write("x")
        assert.equal("x", ws:read(20000))
    end)

    it("is for one task at a time", function()
        serve(echo)
        local ws = dial()
        local first = task.spawn(function() return ws:read() end)
        timer.sleep(0)
        local _, err = ws:read()
        assert.equal("EBUSY", err.name)
        ws:write("x")
        assert.equal("x", select(2, first:join()))
    end)

    it("ends with ECANCELED for a task that is cancelled", function()
        serve(echo)
        local ws = dial()
        local reader = task.spawn(function() return select(2, ws:read()).name end)
        timer.sleep(0)
        reader:cancel()
        assert.equal("ECANCELED", select(2, reader:join()))
        ws:write("x")
        assert.equal("x", ws:read())
    end)

    it("gives what came before the close, and then the close", function()
        serve(function(ws)
            for i = 1, 100 do ws:write(i) end
            ws:close(4000, "why")
        end)
        local ws = dial()
        timer.sleep(20)
        for i = 1, 100 do assert.equal(tostring(i), ws:read()) end
        local _, err = ws:read()
        assert.equal("WS_CLOSED", err.name)
        assert.equal(4000, err.status)
        assert.equal("why", err.message)
        assert.is_true(ws.closed)
        _, err = ws:write("x")
        assert.equal("WS_CLOSED", err.name)
        assert.equal(4000, err.status)
    end)

    it("gives a large message in pieces with the option pieces", function()
        local total, pieces, kinds = 0, 0, {}
        local finished
        serve(function(ws)
            repeat
                local data, err, kind, last = ws:read()
                assert(not err, err)
                total, pieces = total + #data, pieces + 1
                kinds[kind] = true
            until last
            finished = true
        end, { pieces = true, maxMessageSize = 1000 })
        local ws = dial()
        ws:write(("x"):rep(1000000), "binary")
        wire.eventually("the last piece", function() return finished end)
        assert.equal(1000000, total)
        assert.is_true(pieces > 10)
        assert.same({ binary = true }, kinds)
    end)
end)

describe("ws:write", function()
    it("refuses a text that is no UTF-8", function()
        serve(echo)
        local ws = dial()
        local ok, err = ws:write("\255")
        assert.is_nil(ok)
        assert.equal("EILSEQ", err.name)
        assert.is_true(ws:write("\255", "binary"))
    end)

    it("raises for another kind or type", function()
        serve(echo)
        local ws = dial()
        raises("kind must be", ws.write, ws, "x", "string")
        raises("data must be", ws.write, ws, {})
        raises("code must be", ws.close, ws, 1005)
        raises("code must be", ws.close, ws, 1000, ("x"):rep(124))
    end)

    it("sends memory and buffers without a string", function()
        local buffer = require "string.buffer"
        serve(echo)
        local ws = dial()
        local point = ffi.new("int32_t[2]", 1, 2)
        assert.is_true(ws:writeBinary(point, 8))
        assert.equal("\1\0\0\0\2\0\0\0", ws:read())
        local b = buffer.new()
        b:put("from a ", "buffer")
        assert.is_true(ws:writeBinary(b))
        assert.equal("from a buffer", ws:read())
        raises("len must be", ws.writeBinary, ws, point)
        assert.is_true(ws:json{ a = 1 })
        assert.equal('{"a":1}', ws:read())
    end)

    it("comes from any task, and messages are whole", function()
        local server_side
        serve{ open = function(ws) server_side = ws end }
        local ws = dial()
        wire.eventually("the server", function() return server_side end)
        local tasks = {}
        for i = 0, 9 do
            tasks[#tasks + 1] = task.spawn(function()
                for _ = 1, 20 do
                    assert(server_side:write(tostring(i):rep(20000)))
                    task.yield()
                end
            end)
        end
        for _ = 1, 200 do
            local data = assert(ws:read(20000))
            assert.equal(20000, #data)
            assert.equal(data:sub(1, 1):rep(20000), data)
        end
        task.all(tasks)
    end)
end)

describe("a slow reader", function()
    local peer, ws

    -- A client that reads nothing for now, and the server's end of it.
    local function slow(options)
        ws = nil
        local server = serve({
            open = function(given) ws = given end,
            drain = options.drain, close = options.close,
        }, options.options)
        peer = assert(wire.connect(port_of(server), { receiveBuffer = 4096 }))
        peer:send(frames.request())
        assert(peer:response())
        wire.eventually("the server's end", function() return ws end)
        ws.data.message = ("m"):rep(10000)
    end

    it("makes a write wait with onOverflow = block, and is drained later", function()
        local drained
        slow{ options = { maxBuffered = 50000 }, drain = function() drained = true end }
        local written = 0
        local writer = task.spawn(function()
            for _ = 1, 1500 do
                assert(ws:write(ws.data.message))
                written = written + 1
            end
        end)
        timer.sleep(30)
        local before = written
        assert.is_true(before < 1500)
        assert.is_true(ws:buffered() > 0 and ws:buffered() < 70000)
        for _ = 1, 1500 do assert.equal(10000, #frames.next(peer).data) end
        assert.is_true(writer:join(20000))
        assert.equal(1500, written)
        wire.eventually("the drain", function() return drained end)
    end)

    it("gets no new messages with onOverflow = dropNew", function()
        slow{ options = { maxBuffered = 50000, onOverflow = "dropNew" } }
        local failed
        for i = 1, 1500 do
            local ok, err = ws:write(i .. " " .. ws.data.message)
            if not ok then failed = failed or { i, err.name } end
            if i % 50 == 0 then timer.sleep(0) end
        end
        assert.equal("FULL", failed[2])
        assert.is_true(ws.dropped > 100)
        for i = 1, failed[1] - 1 do
            assert.equal(i .. " ", frames.next(peer).data:match("^%d+ "))
        end
    end)

    it("loses the oldest messages with onOverflow = dropOld", function()
        slow{ options = { maxBuffered = 50000, onOverflow = "dropOld" } }
        for i = 1, 1500 do
            assert(ws:write(i .. " " .. ws.data.message))
            if i % 50 == 0 then timer.sleep(0) end
        end
        assert.is_true(ws.dropped > 100)
        assert.is_true(ws:buffered() < 90000)
        local last, count = 0, 0
        repeat
            local f = assert(frames.next(peer))
            assert.equal(1, f.opcode)
            local i = tonumber(f.data:match("^%d+"))
            assert.is_true(i > last)
            last, count = i, count + 1
        until last == 1500
        assert.equal(1500, count + ws.dropped)
    end)

    it("is cut off with onOverflow = close", function()
        local status
        slow{ options = { maxBuffered = 50000, onOverflow = "close" },
            close = function(_, code) status = code end }
        local ok, err
        for i = 1, 1500 do
            ok, err = ws:write(ws.data.message)
            if not ok then break end
            if i % 50 == 0 then timer.sleep(0) end
        end
        assert.is_nil(ok)
        assert.equal("WS_CLOSED", err.name)
        wire.eventually("the end", function() return status end)
        assert.equal(1008, status)
    end)

    it("gets pongs and pings before messages that wait", function()
        slow{ options = { maxBuffered = 0 } }
        for _ = 1, 1500 do ws:write(ws.data.message) end
        timer.sleep(10)
        ws:ping("now")
        local before = 0
        while assert(frames.next(peer)).opcode ~= 9 do before = before + 1 end
        assert.is_true(before < 1490, before .. " messages came first")
    end)

    it("ends a write that waits when the connection does", function()
        slow{ options = { maxBuffered = 50000 } }
        local result
        local writer = task.spawn(function()
            local ok, err = true, nil
            while ok do ok, err = ws:write(ws.data.message) end
            result = err
        end)
        timer.sleep(30)
        assert.is_nil(result)
        peer:reset()
        assert.is_true(writer:join(20000))
        assert.equal("WS_CLOSED", result.name)
        assert.equal(1006, result.status)
    end)
end)

describe("permessage-deflate", function()
    local words = ("a text that says the same again and again. "):rep(200)

    -- Without the head and the checksum of zlib's format; the last block is a final one.
    local function raw_deflate(data) return (assert(zlib.deflate(data)):sub(3, -5)) end

    local function try(server_options, client_options, compressed)
        for _, handler in ipairs { echo, echo_functions } do
            serve(handler, { compress = server_options })
            local ws = dial{ compress = client_options }
            assert.equal(compressed, ws.compressed)
            for _, data in ipairs { words, "", "short", words .. "!", ("z"):rep(100000), words } do
                ws:write(data)
                assert.equal(data, ws:read())
            end
            ws:close()
        end
    end

    it("is used where both want it", function()
        try(true, true, true)
        try(true, false, false)
        try(false, true, false)
    end)

    it("keeps its context where both want that", function()
        local kept = { serverNoContextTakeover = false, clientNoContextTakeover = false,
            threshold = 0 }
        try(kept, kept, true)
        try(kept, true, true)
        try(true, kept, true)
    end)

    it("lets no message be dropped that a later one refers to", function()
        local kept = { serverNoContextTakeover = false, clientNoContextTakeover = false,
            threshold = 0 }
        local sender, texts = nil, {}
        for i = 1, 20 do texts[i] = codec.hex.encode(crypto.randomBytes(500)) end
        serve(function(given)
            sender = given
            given:read()
        end, { onOverflow = "dropOld", maxBuffered = 50000, compress = kept })
        local ws = dial{ compress = kept }
        wire.eventually("the server's end", function() return sender end)
        for i = 1, 300 do assert(sender:write(i .. " " .. texts[i % 20 + 1])) end
        assert.is_true(sender.dropped > 50)
        local i
        repeat
            local data = assert(ws:read(10000))
            i = tonumber(data:match("^%d+"))
            assert.equal(i .. " " .. texts[i % 20 + 1], data)
        until i == 300
    end)

    it("takes smaller windows", function()
        try({ serverMaxWindowBits = 9, clientMaxWindowBits = 10, threshold = 0 }, true, true)
        try(true, { clientMaxWindowBits = 9, serverMaxWindowBits = 10, threshold = 0 }, true)
    end)

    it("makes messages smaller, from the threshold on", function()
        local server = serve(echo, { compress = { threshold = 100 } })
        local c, response = frames.connect(port_of(server), "/",
            "Sec-WebSocket-Extensions: x, permessage-deflate; client_max_window_bits\r\n")
        assert.equal("permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            response.headers["sec-websocket-extensions"])
        c:send(frames.frame(1, words))
        local f = frames.next(c)
        assert.equal(4, f.rsv)
        assert.is_true(#f.data < #words / 20)
        c:send(frames.frame(1, "short"))
        f = frames.next(c)
        assert.equal(0, f.rsv)
        assert.equal("short", f.data)
    end)

    it("is declined for offers that cannot be kept", function()
        local server = serve(echo, { compress = true })
        for offer, answer in pairs {
            ["permessage-deflate; server_max_window_bits=8"] = false,
            ["permessage-deflate; server_max_window_bits=16"] = false,
            ["permessage-deflate; server_max_window_bits"] = false,
            ["permessage-deflate; client_max_window_bits=7"] = false,
            ["permessage-deflate; server_no_context_takeover=1"] = false,
            ["permessage-deflate; unknown"] = false,
            ["permessage-deflate; client_max_window_bits; client_max_window_bits"] = false,
            ["permessage-bzip2"] = false,
            ["permessage-deflate; server_max_window_bits=8, permessage-deflate"] = true,
            ['permessage-deflate; server_max_window_bits="10"'] = "server_max_window_bits=10",
            ["permessage-deflate;unknown=\"a,b\", PERMESSAGE-DEFLATE"] = true,
        } do
            local c, response = frames.connect(port_of(server), "/",
                "Sec-WebSocket-Extensions: " .. offer .. "\r\n")
            local got = response.headers["sec-websocket-extensions"]
            assert.equal(answer and true or false, got ~= nil, offer)
            if type(answer) == "string" then assert.truthy(got:find(answer, 1, true)) end
            c:close()
        end
    end)

    it("does not inflate a bomb", function()
        local ended
        local server = serve({ close = function(_, code) ended = code end },
            { compress = true, maxMessageSize = 100000 })
        local c = frames.connect(port_of(server), "/",
            "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        local bomb = raw_deflate(("\0"):rep(50000000))
        c:send(frames.frame(2, bomb, { rsv = 4 }))
        assert.equal(1009, frames.closed(c))
        c:close()
        wire.eventually("the end", function() return ended end)
        assert.equal(1009, ended)
    end)

    it("lets others have their turn, though nothing comes out of it", function()
        local server = serve(echo, { compress = true })
        local c = frames.connect(port_of(server), "/",
            "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        local blocks = ("\0\0\0\255\255"):rep(40000):sub(1, -5) -- empty ones
        local counted = ffi.C.links_ws_counted()
        local before, most, over = counted.received_bytes, 0, false
        local other = task.spawn(function()
            while not over do
                most = math.max(most, counted.received_bytes - before)
                before = counted.received_bytes
                task.yield()
            end
        end)
        c:send(frames.frame(1, blocks, { rsv = 4 }))
        assert.equal("", frames.next(c).data)
        over = true
        other:join(20000)
        assert.is_true(most <= 65536, most .. " bytes in a turn")
    end)

    it("takes blocks that say they are the last", function()
        local server = serve(echo, { compress = true })
        local c = frames.connect(port_of(server), "/",
            "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        for _ = 1, 2 do
            c:send(frames.frame(1, raw_deflate("hello") .. "\0", { rsv = 4 }))
            assert.equal("hello", frames.next(c).data)
        end
    end)

    it("closes with 1007 for what is no compressed data, or no text inside", function()
        local server = serve(echo, { compress = true })
        for _, bytes in ipairs { "\255\255\255\255", raw_deflate("\255\254") } do
            local c = frames.connect(port_of(server), "/",
                "Sec-WebSocket-Extensions: permessage-deflate\r\n")
            c:send(frames.frame(1, bytes, { rsv = 4 }))
            assert.equal(1007, frames.closed(c))
            c:close()
        end
    end)
end)

describe("functions of a connection", function()
    it("are called one after the other, also where they wait", function()
        local log, running = {}, 0
        serve{
            open = function() timer.sleep(5) log[#log + 1] = "open" end,
            message = function(ws, data)
                running = running + 1
                assert(running == 1)
                timer.sleep(1)
                running = running - 1
                log[#log + 1] = data
                if data == "3" then ws:close() end
            end,
            close = function(_, code) log[#log + 1] = code end,
        }
        local ws = dial()
        for i = 1, 3 do ws:write(i) end
        ws:read()
        wire.eventually("the close", function() return #log == 5 end)
        assert.same({ "open", "1", "2", "3", 1000 }, log)
    end)

    it("run at the same time with perMessageTask, and those of others always", function()
        local running, gate = 0, sync.event()
        local function wait_for_all()
            running = running + 1
            gate:wait()
            running = running - 1
        end
        serve({ message = wait_for_all }, { perMessageTask = true })
        local ws = dial()
        for i = 1, 5 do ws:write(i) end
        wire.eventually("five at a time", function() return running == 5 end)
        gate:set()
        wire.eventually("the end", function() return running == 0 end)
        gate = sync.event()
        serve{ message = wait_for_all }
        local clients = {}
        for i = 1, 4 do
            clients[i] = dial()
            clients[i]:write("x")
        end
        wire.eventually("four at a time", function() return running == 4 end)
        gate:set()
    end)

    it("answer pings while they wait", function()
        local gate = sync.event()
        local server = serve{ message = function() gate:wait() end }
        local c = frames.connect(port_of(server))
        c:send(frames.frame(1, "work") .. frames.frame(1, "more") .. frames.frame(9, "alive?"))
        assert.equal(10, frames.next(c).opcode)
        gate:set()
    end)

    it("that raise close the connection with 1011", function()
        local stderr = io.stderr
        io.stderr = setmetatable({}, { __index = { write = function() end } })
        local codes = {}
        serve{ message = function() error("on purpose") end,
            close = function(_, code) codes[#codes + 1] = code end }
        local ws = dial()
        ws:write("x")
        local _, err = ws:read()
        serve(function() error("on purpose") end)
        ws = dial()
        local _, err2 = ws:read()
        wire.eventually("the close", function() return codes[1] end)
        io.stderr = stderr
        assert.equal(1011, err.status)
        assert.equal(1011, err2.status)
        assert.same({ 1011 }, codes)
    end)

    it("may be fewer, but none that nobody knows", function()
        raises("did you mean", websocket.createServer, 0, { mesage = function() end })
        raises("must be [function]", websocket.createServer, 0, { message = 5 })
        raises("handler must be", websocket.createServer, 0, "x")
        raises("onOverflow", websocket.createServer, 0, {}, { onOverflow = "drop" })
        raises("origins", websocket.createServer, 0, {}, { origins = "any" })
        raises("unknown option", websocket.createServer, 0, {}, { compress = { leve = 5 } })
        raises("unknown option", websocket.createServer, 0, {}, { maxConections = 5 })
        serve{}
        local ws = dial()
        ws:write("into the void")
        ws:close()
        assert.equal(1000, select(2, ws:read()).status)
    end)

    it("leave no task behind when all connections have ended", function()
        local function count()
            local n = 0
            for _ in pairs(task.list()) do n = n + 1 end
            return n
        end
        local server = serve(echo_functions)
        local before = count()
        local ws = dial()
        ws:write("x")
        ws:read()
        ws:close()
        ws:read()
        wire.eventually("the workers' end", function() return count() <= before end)
        assert.equal(0, server:connections())
    end)
end)

describe("websocket.upgrade", function()
    it("makes a websocket inside a handler, after whatever it asked", function()
        keep(assert(http.createServer(0, function(req, res)
            timer.sleep(1)
            if req.path ~= "/ws" then return 404, "not here" end
            req.ctx = { user = "me" }
            res:setHeader("Set-Cookie", "a=b")
            local ws, err = websocket.upgrade(req, res)
            if not ws then return nil, err end
            ws:write(ws.req.ctx.user .. ws.req.path .. ws.req.remoteAddress)
            ws:close()
        end, { host = "127.0.0.1" })))
        local port = tonumber(url:match("%d+$"))
        local ws = assert(websocket.connect(url .. "/ws"))
        assert.equal("me/ws127.0.0.1", ws:read())
        local _, err = websocket.connect(url .. "/other")
        assert.equal(404, err.status)
        assert.equal(426, wire.request(port, "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n").status)
        local _, response = frames.connect(port, "/ws")
        assert.equal("a=b", response.headers["set-cookie"])
    end)

    it("is a route of a router, with its parameters and middleware", function()
        local app = http.router()
        app:use(function(req, _, next)
            req.user = "u"
            return next()
        end)
        app:ws("/room/:name", function(ws, req)
            ws:write(req.params.name .. req.user)
            ws:read()
        end, { maxMessageSize = 10 })
        app:ws("/echo", echo_functions)
        keep(assert(http.createServer(0, app, { host = "127.0.0.1" })))
        local ws = assert(websocket.connect(url .. "/room/7"))
        assert.equal("7u", ws:read())
        ws:write(("x"):rep(11))
        assert.equal(1009, select(2, ws:read()).status)
        ws = assert(websocket.connect(url .. "/echo"))
        ws:write("e")
        assert.equal("e", ws:read())
        assert.equal(404, select(2, websocket.connect(url .. "/nowhere")).status)
        raises("handler must be", app.ws, app, "/x", 5)
        raises("unknown option", app.ws, app, "/y", echo, { no = 1 })
    end)

    it("gives a request that can be read after it was answered", function()
        local ws
        serve{ open = function(given) ws = given end }
        local client = assert(websocket.connect(url .. "/p?a=1&a=2", {
            headers = { Cookie = "k=v", ["X-Many"] = { "1", "2" } },
        }))
        wire.eventually("the connection", function() return ws end)
        assert.equal("GET", ws.req.method)
        assert.equal("1", ws.req.query.a)
        assert.equal("v", ws.req.cookies.k)
        assert.same({ "1", "2" }, ws.req:headerAll("x-many"))
        assert.equal("127.0.0.1", ws.req.remoteAddress)
        assert.is_true(ws.req.remotePort > 0)
        client:close()
    end)

    it("goes by the client that a trusted proxy tells of", function()
        local ends = {}
        serve({ open = function(ws) ends[#ends + 1] = ws end },
            { trustedProxies = { "127.0.0.0/8" }, maxPerIp = 1 })
        local function by(client)
            return websocket.connect(url, { headers = {
                ["X-Forwarded-For"] = client, ["X-Forwarded-Proto"] = "https",
            } })
        end
        assert.truthy(by "192.0.2.1")
        local _, err = by "192.0.2.1"
        assert.equal(429, err.status)
        assert.truthy(by "192.0.2.2")
        wire.eventually("two connections", function() return ends[2] end)
        assert.equal("192.0.2.1", ends[1].req.remoteAddress)
        assert.equal("https", ends[2].req.scheme)
    end)

    it("closes a connection that nobody holds any more", function()
        keep(assert(http.createServer(0, function(req, res)
            assert(websocket.upgrade(req, res))
        end, { host = "127.0.0.1" })))
        local ws = dial()
        local reader = task.spawn(function() return ws:read(20000) end)
        -- What the compiler, or the stack, still holds goes after a while.
        wire.eventually("the end", function()
            collectgarbage()
            return reader.status == "done"
        end)
        local _, _, err = reader:join()
        assert.equal("WS_CLOSED", err.name)
        assert.equal(1001, err.status)
    end)
end)

describe("wss://", function()
    local has_tls, tls = pcall(require, "tls")

    it("is the same over TLS, and checks the server's certificate", function()
        if not has_tls then return pending("needs tls") end
        local pair = tls.selfSigned { "localhost" }
        for _, handler in ipairs { echo, echo_functions } do
            local server = serve(handler, { tls = { cert = pair.cert, key = pair.key },
                compress = true })
            local secure = "wss://localhost:" .. port_of(server) .. "/"
            local ws = assert(websocket.connect(secure, { tls = { ca = pair.cert },
                compress = true }))
            for _, n in ipairs { 0, 5, 200, 5000, 70000, 900000 } do
                assert(ws:write(("x"):rep(n), "binary"))
                local data, err, kind = ws:read(20000)
                assert.truthy(data, tostring(err))
                assert.same({ n, "binary" }, { #data, kind })
            end
            ws:subscribe("over tls")
            for i = 1, 50 do websocket.publish("over tls", i .. ("y"):rep(3000)) end
            for i = 1, 50 do assert.equal(i .. ("y"):rep(3000), ws:read(20000)) end
            ws:close(4000)
            assert.equal(4000, select(2, ws:read(20000)).status)
            local _, err = websocket.connect(secure)
            assert.equal("TLS_CERT_VERIFY", err.name)
        end
    end)

    it("is an error where the server does not speak it", function()
        serve(echo)
        local _, err = websocket.connect("wss" .. url:sub(3), { timeout = 20000 })
        assert.truthy(err.name == "UNSUPPORTED" or err.name:find("^TLS_"), err.name)
    end)
end)
