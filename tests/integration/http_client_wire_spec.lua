-- What the client makes of the bytes of a server: each answer whole, split at every byte, and cut
-- off at every byte; and of servers that lie, stall, break off and talk too much.
package.path = "tests/support/?.lua;" .. package.path

local core = require "links.core"
local http = require "http"
local origin = require "origin"
local sockets = require "sockets"
local task = require "task"
local timer = require "timer"
local zlib = require "zlib"

local OK = "HTTP/1.1 200 OK\r\n"

-- Answers that are read: their bytes, and the body that they have.
local ACCEPTED = {
    { "a length", OK .. "Content-Length: 5\r\n\r\nhello", "hello" },
    { "no body", OK .. "Content-Length: 0\r\n\r\n", "" },
    { "chunks", OK
        .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=\"y\"\r\n!\r\n0\r\n\r\n",
            "hello!" },
    { "trailers", OK .. "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n", "x" },
    { "a body up to the end", OK .. "\r\nhello", "hello", true },
    { "HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", "hello", true },
    { "informational answers before it", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" ..
        "HTTP/1.1 100 Continue\r\n\r\n" .. OK .. "Content-Length: 2\r\n\r\nok", "ok" },
    { "no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok" },
    { "blanks around values", OK .. "Content-Length: \t 2 \t\r\nX:\r\n\r\nok", "ok" },
    { "a compressed body", OK .. "Content-Encoding: gzip\r\nContent-Length: "
        .. #zlib.gzip("hello") ..
        "\r\n\r\n" .. zlib.gzip("hello"), "hello" },
    { "a body that looks like an answer", OK .. "Content-Length: 19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n" },
}

-- Answers that are refused: their bytes, and the name of the error.
local REFUSED = {
    { "another protocol", "SSH-2.0-OpenSSH_9.2\r\n", "PROTOCOL" },
    { "HTTP/2", "HTTP/2 200 OK\r\n\r\n", "PROTOCOL" },
    { "HTTP/0.9", "<html>hello</html>\r\n", "PROTOCOL" },
    { "bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "PROTOCOL" },
    { "a folded field", OK .. "A: b\r\n c\r\nContent-Length: 0\r\n\r\n", "PROTOCOL" },
    { "a space before the colon", OK .. "Content-Length : 0\r\n\r\n", "PROTOCOL" },
    { "a NUL in a value", OK .. "A: \0\r\nContent-Length: 0\r\n\r\n", "PROTOCOL" },
    { "a carriage return in a value", OK .. "A: b\rc\r\nContent-Length: 0\r\n\r\n", "PROTOCOL" },
    { "a line without a colon", OK .. "A\r\nContent-Length: 0\r\n\r\n", "PROTOCOL" },
    { "a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", "PROTOCOL" },
    { "a line before the status", "\r\n" .. OK .. "Content-Length: 0\r\n\r\n", "PROTOCOL" },
    { "two lengths", OK .. "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP_BAD_FRAMING" },
    { "the same length twice", OK .. "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "HTTP_BAD_FRAMING" },
    { "a length and chunks", OK
        .. "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP_BAD_FRAMING" },
    { "a negative length", OK .. "Content-Length: -1\r\n\r\n", "HTTP_BAD_FRAMING" },
    { "a length that is too large", OK .. "Content-Length: 99999999999999999\r\n\r\n",
        "HTTP_BAD_FRAMING" },
    { "an unknown transfer coding", OK .. "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP_BAD_FRAMING" },
    { "chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP_BAD_FRAMING" },
    { "a chunk that is longer than its size", OK .. "Transfer-Encoding: chunked\r\n\r\n1\r\nabc",
        "HTTP_BAD_FRAMING" },
    { "a chunk size that is none", OK
        .. "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        "HTTP_BAD_FRAMING" },
    { "chunks that end in bare line feeds", OK .. "Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
        "HTTP_BAD_FRAMING" },
    { "a head without end", OK .. "A: " .. ("x"):rep(70000), "HTTP_HEADERS_TOO_LARGE" },
    { "too many fields", OK .. ("A: b\r\n"):rep(300) .. "\r\n", "HTTP_HEADERS_TOO_LARGE" },
    { "a length that is a lie", OK .. "Content-Length: 5\r\n\r\nhell", "EOF", true },
    { "an end before the head's", OK .. "Content-Le", "EOF", true },
    { "an end before anything", "", "EOF", true },
}

describe("the client on the wire", function()
    local client

    before_each(function() client = sockets.keep(assert(http.createClient())) end)
    after_each(function()
        sockets.close_all()
        assert.equal(0, client:stats().active)
    end)

    -- A server that sends the bytes in these pieces, and closes where that belongs to it.
    local function serve(bytes, closes, drip)
        return (origin.serve(function(socket)
            if drip then origin.drip(socket, bytes, drip) else socket:write(bytes) end
            if closes then socket:close() end
        end))
    end

    for _, case in ipairs(ACCEPTED) do
        local name, bytes, body, closes = case[1], case[2], case[3], case[4]
        it("reads an answer with " .. name, function()
            for _, drip in ipairs { false, 1, 2, 3, 7 } do
                local url = serve(bytes, closes, drip)
                for _ = 1, 2 do
                    assert.equal(body, assert(client:get(url, { timeout = 20000 })).body)
                end
                assert.equal(body, assert(client:get(url, { stream = true })):readAll())
            end
        end)

        it("reads an answer with " .. name .. ", split at every byte", function()
            local at
            local url = origin.serve(function(socket)
                socket:write(bytes:sub(1, at))
                timer.sleep(0)
                timer.sleep(0)
                socket:write(bytes:sub(at + 1))
                if closes then socket:close() end
            end)
            for i = 1, #bytes - 1 do
                at = i
                assert.equal(body, assert(client:get(url, { timeout = 20000 })).body)
            end
        end)

        it("takes no part of an answer with " .. name .. " for the whole", function()
            local at
            local url = origin.serve(function(socket)
                socket:write(bytes:sub(1, at))
                socket:close()
            end)
            -- A body up to the end ends wherever that comes.
            local last = closes and bytes:find("\r\n\r\n", 1, true) + 2 or #bytes - 1
            for i = 0, last do
                at = i
                local res, err = client:post(url, "", { timeout = 20000 })
                assert.is_nil(res, "whole after " .. i .. " bytes")
                assert.equal("EOF", err.name)
            end
        end)
    end

    for _, case in ipairs(REFUSED) do
        local name, bytes, expected, closes = case[1], case[2], case[3], case[4]
        it("refuses " .. name, function()
            for _, drip in ipairs { false, #bytes > 1000 and 5000 or 1, 3000 } do
                local url = serve(bytes, closes, drip)
                local res, err = client:get(url, { timeout = 20000 })
                assert.is_nil(res)
                assert.equal(expected, err.name)
                assert.equal(0, client:stats().idle)
            end
        end)
    end

    it("ends after informational answers without end", function()
        local url = serve(("HTTP/1.1 102 Processing\r\n\r\n"):rep(100))
        local _, err = client:get(url, { timeout = 20000 })
        assert.equal("PROTOCOL", err.name)
    end)

    it("hears of a reset, wherever it comes", function()
        local bytes = OK .. "Content-Length: 5\r\n\r\nhello"
        for _, at in ipairs { 0, 5, 20, #bytes - 2 } do
            local url = origin.serve(function(socket)
                origin.drip(socket, bytes:sub(1, at), 100)
                socket:close(true)
            end)
            local res, err = client:post(url, "x", { timeout = 20000 })
            assert.is_nil(res)
            assert.equal("ECONNRESET", err.name)
        end
    end)

    it("does not use a connection again on which the server goes on talking", function()
        local extra, said = OK .. "Content-Length: 8\r\n\r\nsmuggled", 0
        local url, seen = origin.serve(function(socket)
            socket:write(OK .. "Content-Length: 2\r\n\r\nok")
            timer.sleep(5)
            socket:write(extra)
            socket:flush()
            said = said + 1
        end)
        for i = 1, 3 do
            assert.equal("ok", assert(client:get(url)).body)
            sockets.eventually(function() return said == i end)
            timer.sleep(5)
        end
        assert.equal(3, seen.connections)
    end)

    it("takes a body after HEAD for no answer to the next request", function()
        local url = origin.serve(function() return OK .. "Content-Length: 5\r\n\r\nhello" end)
        assert.equal("", assert(client:head(url)).body)
        assert.equal("hello", assert(client:get(url)).body)
    end)

    describe("while it sends a body", function()
        local big = ("x"):rep(20000000)

        it("reads an answer that comes early, and sends no more", function()
            for _, connection in ipairs { "", "Connection: close\r\n" } do
                local url = origin.serve(function(socket)
                    socket:write("HTTP/1.1 413 Too Large\r\n" .. connection
                        .. "Content-Length: 2\r\n\r\nno")
                    timer.sleep(100)
                end, { noBody = true, once = true })
                local res = assert(client:post(url, big, { timeout = 20000 }))
                assert.equal(413, res.status)
                assert.equal("no", res.body)
                assert.equal(0, client:stats().idle)
            end
        end)

        it("reads an answer that was followed by the end", function()
            local url = origin.serve(function(socket)
                socket:write("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
                socket:shutdown()
                socket:readSome()
            end, { noBody = true, once = true })
            assert.equal(401, assert(client:post(url, big, { timeout = 20000 })).status)
        end)

        it("goes on although the answer has begun", function()
            local got
            local url = origin.serve(function(socket)
                socket:write(OK .. "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
                got = #assert(socket:read(#big))
                return "4\r\ndone\r\n0\r\n\r\n"
            end, { noBody = true })
            local res = assert(client:post(url, big, { stream = true, timeout = 20000 }))
            assert.equal("ok", res:read())
            assert.equal("done", res:readAll())
            assert.equal(#big, got)
            assert.equal(1, client:stats().idle)
        end)

        it("hears of a reset", function()
            local url = origin.serve(function(socket)
                timer.sleep(10)
                socket:close(true)
            end, { noBody = true })
            local res, err = client:post(url, big, { timeout = 20000 })
            assert.is_nil(res)
            assert.is_true(err.name == "ECONNRESET" or err.name == "EPIPE", tostring(err))
        end)

        it("ends the function that makes it, once the answer is complete", function()
            local ended
            local url = origin.serve(function(socket)
                socket:write(OK .. "Content-Length: 2\r\n\r\nok")
                timer.sleep(50)
            end, { noBody = true, once = true })
            local res = assert(client:post(url, function()
                local ok, err = timer.sleep(10000)
                ended = err
                return ok and "x" or nil
            end, { timeout = 20000 }))
            assert.equal("ok", res.body)
            sockets.eventually(function() return ended end)
            assert.equal("ECANCELED", ended.name)
        end)
    end)

    describe("with Expect: 100-continue", function()
        local expecting = { headers = { Expect = "100-continue" }, timeout = 20000 }

        it("sends the body when it is told to", function()
            for _, drip in ipairs { 1, 100 } do
                local url, seen = origin.serve(function(socket, r)
                    assert.equal("100-continue", r.headers.expect)
                    timer.sleep(20)
                    origin.drip(socket, "HTTP/1.1 100 Continue\r\n\r\n", drip)
                    local body = assert(socket:read(4))
                    return OK .. "Content-Length: 4\r\n\r\n" .. body
                end, { noBody = true })
                for _ = 1, 2 do
                    assert.equal("body", assert(client:post(url, "body", expecting)).body)
                end
                assert.equal(1, seen.connections)
            end
        end)

        it("sends none where the answer says no", function()
            local rest
            local url = origin.serve(function(socket)
                socket:write("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
                rest = socket:readAll()
            end, { noBody = true })
            local res = assert(client:post(url, "body", expecting))
            assert.equal(403, res.status)
            sockets.eventually(function() return rest end)
            assert.equal("", rest)
        end)

        it("sends it after a second of silence", function()
            local url = origin.serve(function(socket)
                return OK .. "Content-Length: 4\r\n\r\n" .. assert(socket:read(4))
            end, { noBody = true })
            assert.equal("body", assert(client:post(url, "body", expecting)).body)
        end)

        it("tries without it after 417", function()
            local url, seen = origin.serve(function(socket, r)
                if r.headers.expect then return "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n" end
                return OK .. "Content-Length: 4\r\n\r\n" .. assert(socket:read(4))
            end, { noBody = true })
            assert.equal("body", assert(client:post(url, "body", expecting)).body)
            assert.is_nil(seen[2].headers.expect)
        end)
    end)

    describe("with the server of links", function()
        local server, url

        before_each(function()
            server = sockets.keep(assert(http.createServer(0, function(req, res)
                if req.path == "/echo" then return 200, req:body(),
                    { ["X-Method"] = req.method } end
                if req.path == "/stream" then
                    for i = 1, 100 do assert(res:write(("x"):rep(i * 100))) end
                    return res:finish()
                end
                if req.path == "/json" then return req:json() end
                return 404
            end, { host = "127.0.0.1", maxBodySize = 4000000 })))
            url = "http://127.0.0.1:" .. server:address().port
        end)

        it("agrees on bodies of every size and kind", function()
            for _, size in ipairs { 0, 1, 100, 16384, 16385, 65536, 65537, 3000000 } do
                local body = ("0123456789"):rep(math.ceil(size / 10)):sub(1, size)
                assert.equal(body, assert(client:post(url .. "/echo", body)).body)
                assert.equal(body, assert(client:put(url .. "/echo", { body })).body)
                local sent = false
                assert.equal(body, assert(client:patch(url .. "/echo", function()
                    local piece = not sent and body or nil
                    sent = true
                    return piece
                end)).body)
            end
            assert.equal(505000, #assert(client:get(url .. "/stream")).body)
            assert.same({ a = { 1, 2 } }, assert(client:post(url .. "/json", nil,
                { json = { a = { 1, 2 } } }))
                :json())
            assert.equal(413, assert(client:post(url .. "/echo", ("x"):rep(5000000))).status)
        end)

        it("serves many tasks at once over a few connections", function()
            local requests = {}
            for i = 1, 300 do
                requests[i] = { method = "POST", url = url .. "/echo", body = tostring(i) }
            end
            local results, failed = client:all(requests, { concurrency = 50 })
            assert.is_nil(failed)
            for i, res in ipairs(results) do assert.equal(tostring(i), res.body) end
            assert.is_true(server:stats().accepted <= 33)
        end)
    end)

    it("keeps no memory of the requests it has made", function()
        local url = origin.serve(function(socket)
            local answer = OK .. "Content-Length: 5\r\n\r\nhello"
            socket:write(answer)
            while socket:readUntil("\r\n\r\n") do socket:write(answer) end
        end)
        local function run(n)
            for i = 1, n do assert(client:get(url .. "/" .. i)) end
            collectgarbage()
            collectgarbage()
            return collectgarbage("count")
        end
        run(2000)
        local before = run(1000)
        assert.is_true(run(3000) - before < 200)
        assert.is_true(core.stats().tasks < 50)
    end)

    it("is cancelled at any moment without losing a connection", function()
        client = sockets.keep(assert(http.createClient { maxPerHost = 2 }))
        local url = origin.serve(function(socket)
            origin.drip(socket, OK .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                4)
        end)
        for turns = 0, 60 do
            local t = task.spawn(function() return client:post(url, ("x"):rep(20000)) end)
            for _ = 1, turns do task.yield() end
            t:cancel()
            t:join(20000)
            assert.equal(0, client:stats().active, "after " .. turns .. " turns")
        end
        assert.equal("hello", assert(client:post(url, "x")).body)
    end)

    it("hears of a server that goes at once", function()
        local port = sockets.serve(function(socket) socket:close(true) end)
        for _ = 1, 20 do
            local res, err = client:get("http://127.0.0.1:" .. port, { timeout = 20000 })
            assert.is_nil(res)
            assert.is_true(err.name == "ECONNRESET" or err.name == "EOF" or err.name == "EPIPE"
                or err.name == "ENOTCONN", tostring(err))
        end
    end)
end)
