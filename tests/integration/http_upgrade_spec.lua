package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local task = require "task"
local wire = require "wire"

local REQUEST = "GET /up HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n" ..
    "Upgrade: other/2, Shout\r\n\r\n"

local server, port

local function serve(handler)
    server = assert(http.createServer(0, handler, { host = "127.0.0.1" }))
    port = server:address().port
end

-- A handler that answers each line in capitals.
local function shout(req)
    local socket, err = req:upgrade("shout")
    if not socket then return nil, err end
    for line in socket:lines() do socket:write(line:upper() .. "\n") end
    socket:close()
end

local function dial(data)
    local c = assert(wire.connect(port))
    assert(c:send(data))
    return c
end

local function await_line(c, want)
    assert(c:await(function(buffer) return buffer:find(want, 1, true) end))
end

after_each(function()
    if server then server:close(0) end
    server = nil
end)

describe("req:upgrade", function()
    it("answers 101 and makes a socket of the connection", function()
        serve(shout)
        local c = dial(REQUEST)
        local response = c:response()
        assert.equal(101, response.status)
        assert.equal("Upgrade", response.headers.connection)
        assert.equal("shout", response.headers.upgrade)
        assert.is_nil(response.headers["content-length"])
        c:send("hello\n")
        await_line(c, "HELLO\n")
        c:shutdown()
        assert.is_true(select(2, c:rest()) == "eof")
    end)

    it("keeps what came behind the request, wherever the bytes are split", function()
        serve(shout)
        local all = REQUEST .. "one\ntwo\n"
        for at = 1, #all - 1, 3 do
            local c = dial(all:sub(1, at))
            wire.turn(1)
            c:send(all:sub(at + 1))
            assert.equal(101, c:response().status)
            await_line(c, "ONE\nTWO\n")
            c:close()
        end
    end)

    it("sends the fields that were set, and what was pipelined before goes first", function()
        serve(function(req, res)
            if req.path == "/first" then return ("x"):rep(50000) end
            res:setHeader("X-Key", "42")
            return shout(req)
        end)
        local c = dial("GET /first HTTP/1.1\r\nHost: x\r\n\r\n" .. REQUEST .. "a\n")
        assert.equal(50000, #c:response().body)
        assert.equal("42", c:response().headers["x-key"])
        await_line(c, "A\n")
        c:close()
    end)

    it("lets the request be read on, and its answer be no answer", function()
        local seen, ok, err
        serve(function(req, res)
            local socket = assert(req:upgrade("shout"))
            seen = req.path .. req:header("upgrade")
            ok, err = res:setHeader("X-Late", "1")
            assert.is_true(res.headersSent)
            socket:write("bye")
            socket:close()
            return "this goes nowhere"
        end)
        local c = dial(REQUEST)
        assert.equal(101, c:response().status)
        assert.equal("bye", c:rest())
        assert.equal("/upother/2, Shout", seen)
        assert.is_nil(ok)
        assert.equal("HTTP_HEADERS_SENT", err.name)
    end)

    it("answers 426 with the protocol's name to who does not ask", function()
        serve(shout)
        for _, data in ipairs {
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: shout\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: shouting\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrades\r\nUpgrade: shout\r\n\r\n",
            "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n",
        } do
            local response = wire.request(port, data)
            assert.equal(426, response.status, data)
            assert.equal("shout", response.headers.upgrade)
            assert.truthy(response.headers.connection:find("Upgrade", 1, true))
        end
    end)

    it("refuses a request with a body", function()
        serve(shout)
        local data = REQUEST:gsub("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx")
        assert.equal(400, wire.request(port, data).status)
    end)

    it("is counted until the connection ends, and server:close waits for it", function()
        serve(shout)
        local c = dial(REQUEST)
        c:response()
        assert.equal(1, server:stats().upgraded)
        assert.equal(1, server:connections())
        local closing = task.spawn(function() return server:close(5000) end)
        wire.turn(3)
        assert.not_equal("done", closing.status)
        c:send("still here\n")
        await_line(c, "STILL HERE\n")
        c:close()
        assert.is_true(select(2, closing:join(20000)))
        assert.equal(0, server:stats().upgraded)
        assert.equal(0, server:connections())
    end)

    it("is broken off where it outlives server:close", function()
        local result
        serve(function(req)
            local socket = assert(req:upgrade("shout"))
            result = select(2, socket:readline())
        end)
        local c = dial(REQUEST)
        c:response()
        local ok, err = server:close(30)
        assert.is_nil(ok)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(c:isClosed())
        wire.eventually("the handler's end", function() return result end)
        assert.equal("CLOSED", result.name)
    end)

    it("outlives its handler where the socket is kept", function()
        local kept
        serve(function(req) kept = assert(req:upgrade("shout")) end)
        local c = dial(REQUEST)
        c:response()
        wire.turn(3)
        kept:write("later\n")
        await_line(c, "later\n")
        kept:close()
        assert.is_true(select(2, c:rest()) == "eof")
    end)

    it("raises for a name that is no token", function()
        local message
        serve(function(req)
            message = select(2, pcall(req.upgrade, req, "a b"))
            return "ok"
        end)
        wire.request(port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert.truthy(message:find("name of a protocol", 1, true))
    end)
end)
