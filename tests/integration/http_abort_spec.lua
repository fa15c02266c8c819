-- Clients that leave, handlers that take too long, and what the program hears of both.
package.path = "tests/support/?.lua;" .. package.path

local serving = require "serving"
local sync = require "sync"
local task = require "task"
local timer = require "timer"
local wire = require "wire"

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
local serve, with_log = serving.serve, serving.with_log

after_each(serving.close_all)

local function leave_by_close(c) c:close() end
local function leave_by_reset(c) c:reset() end

describe("a client that leaves", function()
    for name, leave in pairs { ["by closing"] = leave_by_close, ["by a reset"] = leave_by_reset } do
        it("ends what its handler waits for, " .. name, function()
            local began, result, cause, aborted = false, nil, nil, nil
            local port, server = serve(function(req)
                began = true
                local ok, err = timer.sleep(60000)
                result, cause, aborted = ok or err.name, err and err.cause, req.aborted
                return nil, err
            end)
            local log = with_log(function()
                local c = wire.connect(port)
                c:send(GET)
                wire.eventually("the handler to begin", function() return began end)
                leave(c)
                wire.eventually("the handler to end", function() return result end)
                wire.eventually("the connection to go", function()
                    return server:connections() == 0
                end)
            end)
            assert.equal("ECANCELED", result)
            assert.equal("the client has left", cause)
            assert.is_true(aborted)
            assert.equal("", log)
            assert.equal(200, wire.request((serve(function() return "x" end)), GET).status)
        end)
    end

    it("leaves a worker for the next request that nothing has happened to", function()
        local began = 0
        local port = serve(function(req)
            began = began + 1
            if req.path == "/slow" then return nil, select(2, timer.sleep(60000)) end
            assert(timer.sleep(1))
            return "fine"
        end)
        for i = 1, 20 do
            local c = wire.connect(port)
            c:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.eventually("the handler", function() return began == i * 2 - 1 end)
            c:close()
            assert.equal("fine", wire.request(port, GET).body)
        end
    end)

    it("is nothing to the handler where cancelOnAbort is false, but for req.aborted", function()
        local began, aborted
        local port = serve(function(req)
            began = true
            wire.eventually("the client to leave", function() return req.aborted end)
            aborted = task.current().cancelled
            return "x"
        end, { cancelOnAbort = false })
        local c = wire.connect(port)
        c:send(GET)
        wire.eventually("the handler", function() return began end)
        c:close()
        wire.eventually("the handler to see it", function() return aborted ~= nil end)
        assert.is_false(aborted)
    end)

    it("is an error to who answers him, in whatever way", function()
        local ways = {
            ["/finish"] = function(res) return res:finish("x") end,
            ["/large"] = function(res) return res:finish(("x"):rep(100000)) end,
            ["/write"] = function(res) return res:write("x") end,
            ["/flush"] = function(res) return res:flush() end,
            ["/send"] = function(res) return res:send(200, "x") end,
            ["/hints"] = function(res) return res:earlyHints { Link = "x" } end,
            ["/sse"] = function(res) return res:sse() end,
            ["/trailer"] = function(res)
                res:trailer("X", "1")
                return res:finish("x")
            end,
            ["/sendFile"] = function(res) return res:sendFile("README.md") end,
        }
        local GONE = { CLOSED = true, ECONNRESET = true, EPIPE = true }
        for path, answer in pairs(ways) do
            for _, compress in ipairs { false, true } do
                local began, name
                local port, server = serve(function(req, res)
                    began = true
                    wire.eventually("the client to leave", function() return req.aborted end)
                    res:informational(102) -- writing to him tells that his side is closed
                    wire.turn(3)
                    local ok, err = answer(res)
                    name = ok and "nothing" or err.name
                    return "x"
                end, { cancelOnAbort = false, compress = compress })
                local c = wire.connect(port)
                c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
                wire.eventually("the handler", function() return began end)
                c:reset()
                wire.eventually("its answer", function() return name end)
                assert.truthy(GONE[name], path .. (compress and ", compressed: " or ": ") .. name)
                wire.eventually("the connection to go", function()
                    return server:connections() == 0
                end)
            end
        end
    end)

    it("ends the tasks of a group that its handler waits for", function()
        local ended = 0
        local port = serve(function()
            return task.group(function(g)
                for _ = 1, 3 do
                    g:spawn(function()
                        local _, err = timer.sleep(60000)
                        if err.name == "ECANCELED" then ended = ended + 1 end
                        return nil, err
                    end)
                end
            end) and "x" or 500
        end)
        local c = wire.connect(port)
        c:send(GET)
        wire.turn(5)
        c:close()
        wire.eventually("the group to end", function() return ended == 3 end)
    end)

    it("is noticed while its body is unread", function()
        local result
        local port = serve(function()
            result = select(2, timer.sleep(60000)).name
        end)
        local c = wire.connect(port)
        c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" .. ("x"):rep(50000))
        wire.turn(5)
        c:close()
        wire.eventually("the handler to end", function() return result == "ECANCELED" end)
    end)

    it("is EOF to who reads its body", function()
        local result
        local port = serve(function(req)
            local _, err = req:body()
            result = err.name
            return nil, err
        end)
        local c = wire.connect(port)
        c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nxyz")
        wire.turn(5)
        c:close()
        wire.eventually("the handler to end", function() return result end)
        assert.equal("EOF", result)
    end)

    it("calls what was given to req:onClose, once, and not after an answer", function()
        local closed, began = {}, false
        local port = serve(function(req)
            req:onClose(function() table.insert(closed, req.path) end)
            if req.path == "/slow" then
                began = true
                timer.sleep(60000)
            end
            return "x"
        end)
        local c = wire.connect(port)
        c:send("GET /fast HTTP/1.1\r\nHost: a\r\n\r\n")
        c:response()
        c:close()
        c = wire.connect(port)
        c:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.eventually("the handler", function() return began end)
        wire.turn(3)
        c:close()
        wire.eventually("onClose", function() return #closed > 0 end)
        wire.turn(5)
        assert.same({ "/slow" }, closed)
    end)

    it("that shuts down its side with its request gets its answer", function()
        local port = serve(function() assert(timer.sleep(5)) return "x" end)
        local c = wire.connect(port)
        c:send(GET .. GET)
        c:shutdown()
        assert.equal("x", c:response().body)
        c:close()
    end)
end)

describe("handlerTimeout", function()
    it("ends a handler that never answers with 503, and says so in the log", function()
        local result
        local port = serve(function(req)
            if req.path == "/never" then
                local _, err = timer.sleep(60000)
                result = err.cause
                return nil, err
            end
            return "fine"
        end, { handlerTimeout = 30 })
        local c = wire.connect(port)
        local log = with_log(function()
            c:send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n" .. GET)
            assert.equal(503, c:response().status)
            assert.equal("fine", c:response().body)
        end)
        assert.equal("handlerTimeout", result)
        assert.truthy(log:find("GET /never took longer than handlerTimeout", 1, true))
        c:close()
    end)

    it("does so where the handler raises what it got, too", function()
        local port = serve(function() assert(timer.sleep(60000)) end, { handlerTimeout = 30 })
        with_log(function() assert.equal(503, wire.request(port, GET).status) end)
    end)

    it("does not count once the answer has begun, nor while one is fast enough", function()
        local port = serve(function(_, res)
            for i = 1, 10 do
                assert(res:write(tostring(i)))
                assert(timer.sleep(10))
            end
        end, { handlerTimeout = 40 })
        assert.equal("12345678910", wire.request(port, GET).body)
    end)
end)

describe("a handler", function()
    it("that answers twice, or after it has finished, gets an error and does no harm", function()
        local seen = {}
        local port = serve(function(_, res)
            res:send(200, "one")
            seen.send = select(2, res:send(200, "two")).name
            seen.write = select(2, res:write("x")).name
            seen.finish = select(2, res:finish()).name
            seen.json = select(2, res:json({})).name
            seen.header = select(2, res:setHeader("X", "1")).name
            seen.trailer = select(2, res:trailer("X", "1")).name
            seen.hints = select(2, res:earlyHints({ Link = "x" })).name
            seen.flush = select(2, res:flush()).name
            seen.sse = select(2, res:sse()).name
            return "three"
        end)
        local c = wire.connect(port)
        c:send(GET .. GET)
        assert.equal("one", c:response().body)
        assert.equal("one", c:response().body)
        c:close()
        for _, name in pairs(seen) do assert.equal("CLOSED", name) end
    end)

    it("that returns an error does not blame its client for what another one did", function()
        local errors = {
            ["/timeout"] = function() return select(2, sync.event():wait(1)) end,
            ["/deadline"] = function(req)
                return select(2, task.withTimeout(1, function() return req:body() end))
            end,
            ["/odd"] = function()
                local err = select(2, sync.event():wait(1))
                err.status = 1006
                return err
            end,
        }
        local port = serve(function(req) return nil, errors[req.path](req) end)
        for path in pairs(errors) do
            local log = with_log(function()
                assert.equal(500, wire.request(port, "POST " .. path ..
                    " HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").status)
            end)
            assert.truthy(log:find("POST " .. path .. " returned ETIMEDOUT", 1, true), log)
        end
    end)

    it("has its errors answered by onError, or by the server where that returns nothing", function()
        local got = {}
        local port = serve(function(req)
            if req.path == "/raise" then error("bad thing") end
            if req.path == "/nothing" then return nil end
            error("look")
        end, {
            onError = function(err, req, res, trace)
                table.insert(got, { req.path, tostring(err), trace ~= nil, res.status })
                if req.path == "/look" then return end
                if req.path == "/again" then error("worse") end
                return { error = "sorry" }
            end,
        })
        local function get(path)
            local res
            local log = with_log(function()
                res = wire.request(port, "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            end)
            return res, log
        end
        local res, log = get("/raise")
        assert.same({ 500, '{"error":"sorry"}', "" }, { res.status, res.body, log })
        res, log = get("/nothing")
        assert.same({ 500, '{"error":"sorry"}', "" }, { res.status, res.body, log })
        res, log = get("/look")
        assert.same({ 500, "Internal Server Error\n" }, { res.status, res.body })
        assert.truthy(log:find("look", 1, true))
        res, log = get("/again")
        assert.same({ 500, "Internal Server Error\n" }, { res.status, res.body })
        assert.truthy(log:find("worse", 1, true) and log:find("look", 1, true))
        assert.truthy(got[1][2]:find("bad thing", 1, true))
        assert.is_true(got[1][3])
        assert.same({ "/nothing", "returned without an answer", false, 500 }, got[2])
    end)
end)

describe("minBodyRate", function()
    it("lets nobody send a body drop by drop", function()
        local result
        local port = serve(function(req)
            local _, err = req:body()
            result = err and err.name or "whole"
            return nil, err
        end, { minBodyRate = 1000000 })
        local c = wire.connect(port)
        c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        local began = timer.now()
        while not result and timer.now() - began < 60000 do
            c:trySend("x")
            timer.sleep(100)
        end
        assert.equal("ETIMEDOUT", result)
        assert.is_true(timer.now() - began >= 4500)
        assert.equal(408, c:response().status)
        c:close()
    end)
end)

describe("the id of a request", function()
    it("is made, taken from the client, or from a trace", function()
        local port = serve(function(req) return req.id end)
        local function id(fields)
            local res = wire.request(port, "GET / HTTP/1.1\r\nHost: a\r\n" .. fields .. "\r\n")
            assert.equal(res.body, res.headers["x-request-id"])
            return res.body
        end
        local one, two = id(""), id("")
        assert.truthy(one:find("^%x+$") and #one == 32 and one ~= two)
        assert.equal("abc-1.2_3", id("X-Request-Id: abc-1.2_3\r\n"))
        assert.not_equal("a b", id("X-Request-Id: a b\r\n"))
        assert.equal(32, #id("X-Request-Id: " .. ("x"):rep(129) .. "\r\n"))
        assert.equal("0af7651916cd43dd8448eb211c80319c",
            id("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"))
        assert.not_equal(("0"):rep(32),
            id("traceparent: 00-" .. ("0"):rep(32) .. "-b7ad6b7169203331-01\r\n"))
    end)

    it("is in the log line and in the 500 of a handler that fails", function()
        local port = serve(function() error("bad") end)
        local res
        local log = with_log(function() res = wire.request(port, GET) end)
        assert.truthy(log:find("[" .. res.headers["x-request-id"] .. "]", 1, true))
    end)

    it("costs nothing where nobody reads it, and is none where it is switched off", function()
        local port = serve(function() return "x" end)
        assert.is_nil(wire.request(port, GET).headers["x-request-id"])
        port = serve(function(req) return tostring(req.id) end, { requestId = false })
        local res = wire.request(port, GET)
        assert.same({ "nil" }, { res.body, res.headers["x-request-id"] })
    end)
end)
