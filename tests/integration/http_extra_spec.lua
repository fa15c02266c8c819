-- What few requests and answers have: a table, trailers, informational responses, events,
-- compression for a whole server; and what the server counts.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local serving = require "serving"
local sync = require "sync"
local task = require "task"
local timer = require "timer"
local program = require "program"
local wire = require "wire"
local zlib = require "zlib"

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
local serve, with_log = serving.serve, serving.with_log

after_each(serving.close_all)

local function post_chunked(fields, body)
    return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" .. fields .. "\r\n"
        .. body
end

describe("a table that a handler returns", function()
    it("is answered as JSON, with a type where it has none", function()
        local answers = {
            ["/one"] = function() return { a = { 1, "x" } } end,
            ["/typed"] = function(_, res)
                res:setHeader("content-type", "application/problem+json")
                return {}
            end,
            ["/late"] = function(_, res)
                res.status = 404
                return {}
            end,
            ["/headed"] = function() return { 1 }, { ["X-One"] = "1" } end,
            ["/large"] = function() return { ("x"):rep(100000) } end,
            ["/bad"] = function() return { print } end,
        }
        local port = serve(function(req, res) return answers[req.path](req, res) end)
        local function ask(path)
            local res = wire.request(port, "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            return { res.status, res.headers["content-type"], res.headers["content-length"],
                res.body }
        end
        local JSON = "application/json"
        for _ = 1, 100 do
            assert.same({ 200, JSON, "13", '{"a":[1,"x"]}' }, ask("/one"))
        end
        assert.same({ 200, "application/problem+json", "2", "{}" }, ask("/typed"))
        assert.same({ 404, JSON, "2", "{}" }, ask("/late"))
        assert.same({ 200, JSON, "3", "[1]" }, ask("/headed"))
        assert.same({ 200, JSON, "100004", '["' .. ("x"):rep(100000) .. '"]' }, ask("/large"))
        local log = with_log(function()
            assert.same({ 500, "text/plain; charset=utf-8", "22", "Internal Server Error\n" },
                ask("/bad"))
        end)
        assert.truthy(log:find("a handler returned a table: cannot encode a function, at [1]", 1,
            true))
    end)

    it("is answered as it was when the handler returned it", function()
        local state = { n = 0 }
        local port = serve(function()
            state.n = state.n + 1
            return state
        end)
        local client = wire.connect(port)
        for last = 30, 3000, 30 do
            client:send(GET:rep(30))
            for n = last - 29, last do
                assert.equal('{"n":' .. n .. "}", client:response().body)
            end
        end
        client:close()
    end)
end)

describe("the trailers of a request", function()
    local BODY = "5\r\nhello\r\n0\r\nX-Sum: 1 2 \r\nX-More:a\r\nx-more: b\r\nX-Empty:\r\n\r\n"

    it("are there once the body has been read, and not before, however they are split", function()
        local port = serve(function(req)
            local before = next(req.trailers)
            local body = req:body()
            local t = req.trailers
            local list = { before, body, t["X-Sum"], t["x-more"], t["x-empty"], t.none,
                req.headers["x-sum"] }
            for i = 1, 7 do list[i] = tostring(list[i]) end
            return table.concat(list, "|")
        end)
        local request = post_chunked("", BODY)
        for at = #request - #BODY, #request do
            local c = wire.connect(port)
            c:send(request:sub(1, at))
            wire.turn()
            c:send(request:sub(at + 1) .. GET)
            assert.equal("nil|hello|1 2|a, b||nil|nil", c:response().body)
            assert.equal("nil||nil|nil|nil|nil|nil", c:response().body)
            c:close()
        end
    end)

    it("that nobody reads do not harm the next request", function()
        local port = serve(function() return "x" end)
        local c = wire.connect(port)
        for _ = 1, 3 do c:send(post_chunked("", BODY)) end
        for _ = 1, 3 do assert.equal("x", c:response().body) end
        c:close()
    end)

    it("are refused where they are malformed or too many", function()
        local port = serve(function(req)
            local _, err = req:body()
            return nil, err
        end)
        for _, trailers in ipairs { "X Y: 1\r\n", ": 1\r\n", "X: \1\r\n", " folded\r\n",
            ("X: 0123456789\r\n"):rep(1000) } do
            local res = wire.request(port, post_chunked("", "0\r\n" .. trailers .. "\r\n"))
            assert.equal(400, res.status)
        end
    end)
end)

describe("res:trailer", function()
    it("sends fields behind the body, announced where there was time for that", function()
        local port = serve(function(req, res)
            if req.path == "/early" then
                res:trailer("X-Sum", 7)
                return "hello"
            end
            res:write("hel")
            res:trailer("X-Late", "1")
            res:trailer("X-Late", "2")
            return res:finish("lo")
        end)
        local function raw(path, version)
            local c = wire.connect(port)
            c:send("GET " .. path .. " HTTP/" .. version
                .. "\r\nHost: a\r\nConnection: close\r\n\r\n")
            local text = c:rest()
            c:close()
            return text
        end
        local early = raw("/early", "1.1")
        assert.truthy(early:find("\r\nTrailer: X-Sum\r\n", 1, true))
        assert.truthy(early:find("5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n", 1, true))
        assert.truthy(raw("/late", "1.1"):find("2\r\nlo\r\n0\r\nX-Late: 1\r\nX-Late: 2\r\n\r\n", 1,
            true))
        assert.equal("hello", raw("/early", "1.0"):match("\r\n\r\n(.*)$"))
    end)

    it("raises for what belongs into the head, or could end the line", function()
        local messages = {}
        local port = serve(function(_, res)
            for _, field in ipairs { { "Content-Length", "1" }, { "Transfer-Encoding", "x" },
                { "Set-Cookie", "a=b" }, { "X", "a\r\nb" }, { "X Y", "a" } } do
                local ok, err = pcall(res.trailer, res, field[1], field[2])
                assert.is_false(ok)
                messages[#messages + 1] = err
            end
            return "x"
        end)
        local res = wire.request(port, GET)
        assert.equal("1", res.headers["content-length"])
        assert.equal(5, #messages)
    end)
end)

describe("informational responses", function()
    it("go before the answer, and not to HTTP/1.0", function()
        local port = serve(function(_, res)
            res:setHeader("X-Own", "1")
            assert(res:earlyHints { Link = { "</a.css>; rel=preload", "</b.js>; rel=preload" } })
            assert(res:informational(102))
            res:write("x")
            assert.equal("HTTP_HEADERS_SENT", select(2, res:earlyHints { Link = "x" }).name)
        end)
        local c = wire.connect(port)
        c:send(GET)
        local data = c:await(function(b) return b:find("0\r\n\r\n", 1, true) and b end)
        assert.equal("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n" ..
            "Link: </b.js>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n",
            data:sub(1, #data:match("^(.-200 OK\r\n)")))
        assert.is_nil(data:match("^(.-)HTTP/1.1 200"):find("X-Own", 1, true))
        c:close()
        c = wire.connect(port)
        c:send("GET / HTTP/1.0\r\n\r\n")
        assert.truthy(c:rest():find("^HTTP/1.1 200 OK"))
        c:close()
    end)

    it("raise for a status that is none, and for fields that cannot be", function()
        local port = serve(function(_, res)
            assert.is_false((pcall(res.informational, res, 101)))
            assert.is_false((pcall(res.informational, res, 200)))
            assert.is_false((pcall(res.earlyHints, res, { Link = "a\r\nb" })))
            assert.is_false((pcall(res.earlyHints, res, { ["Content-Length"] = "1" })))
            return "x"
        end)
        assert.equal("x", wire.request(port, GET).body)
    end)
end)

describe("res:flush", function()
    it("returns when the system has taken what was written", function()
        local flushed = false
        local port = serve(function(_, res)
            assert(res:flush())
            res:write(("x"):rep(60000))
            assert(res:flush())
            flushed = true
            for _ = 1, 100 do res:write(("x"):rep(60000)) end
        end)
        local c = wire.connect(port, { receiveBuffer = 4096 })
        c:send(GET)
        assert(c:await(function(b) return b:find("\r\n\r\n", 1, true) end))
        wire.eventually("the flush", function() c:take() return flushed end)
        c:close()
    end)
end)

describe("res:sse", function()
    local function head_and_rest(c)
        local text = c:await(function(b) return b:find("\r\n\r\n", 1, true) and b end)
        return text
    end

    it("sends events as EventSource reads them", function()
        local seen
        local port = serve(function(_, res)
            local stream = assert(res:sse())
            seen = stream.lastEventId
            assert(stream:send("plain"))
            assert(stream:send { event = "tick", id = 7, retry = 3000, data = "two\r\nlines" })
            assert(stream:send { data = { n = 1 } })
            assert(stream:send { id = "only" })
            assert(stream:comment("not for you"))
            assert(stream:close())
            assert(stream:close())
            assert.equal("CLOSED", select(2, stream:send("late")).name)
        end)
        local res = wire.request(port,
            "GET / HTTP/1.1\r\nHost: a\r\nLast-Event-ID: 6\r\n\r\n")
        assert.same({ "text/event-stream", "no-cache" },
            { res.headers["content-type"], res.headers["cache-control"] })
        assert.equal("data: plain\n\nevent: tick\nid: 7\nretry: 3000\ndata: two\ndata: lines\n\n" ..
            'data: {"n":1}\n\nid: only\n\n: not for you\n\n', res.body)
        assert.equal("6", seen)
    end)

    it("sends a comment where nothing else is sent, and none where it is", function()
        local go = sync.event()
        local port = serve(function(_, res)
            local stream = assert(res:sse { heartbeat = 20 })
            go:wait()
            stream:close()
        end)
        local c = wire.connect(port)
        c:send(GET)
        assert(c:await(function(b) return b:find(":\n\n.*:\n\n") end))
        go:set()
        assert(c:await(function(b) return b:find("0\r\n\r\n", 1, true) end))
        c:close()
    end)

    it("ends when the client leaves, however the program waits", function()
        local results = {}
        local port, server = serve(function(req, res)
            local stream = assert(res:sse { heartbeat = 10 })
            local ok, err
            if req.path == "/send" then
                repeat
                    ok, err = stream:send(("x"):rep(1000))
                    if ok then ok, err = timer.sleep(1) end
                until not ok
            else
                ok, err = timer.sleep(60000)
            end
            results[req.path] = ok or err.name
            return nil, err
        end)
        for _, path in ipairs { "/send", "/wait" } do
            local c = wire.connect(port)
            c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            head_and_rest(c)
            c:close()
            wire.eventually(path, function() return results[path] end)
            assert.equal("ECANCELED", results[path])
        end
        wire.eventually("connections to go", function() return server:connections() == 0 end)
    end)

    it("does not keep a process whose streams have ended", function()
        for _, ending in ipairs { "stream:close()", "", "return nil, 'gone'" } do
            local result = program.eval(([[
                local http = require "http"
                local server = assert(http.createServer(0, function(_, res)
                    local stream = assert(res:sse { heartbeat = 3600000 })
                    assert(stream:send "one")
                    %s
                end))
                local res = assert(http.get("http://127.0.0.1:" .. server:address().port))
                io.write(res.body)
                server:close()
            ]]):format(ending))
            assert.equal("data: one\n\n", result.out, ending .. result.err)
        end
    end)

    it("keeps events whole that several tasks send", function()
        local long = ("y"):rep(200000)
        local port = serve(function(_, res)
            local stream = assert(res:sse { heartbeat = 1 })
            task.group(function(g)
                for i = 1, 4 do
                    g:spawn(function() return assert(stream:send(i .. long)) end)
                end
            end)
            stream:close()
        end)
        local c = wire.connect(port, { receiveBuffer = 4096 })
        c:send(GET)
        local body = c:response().body:gsub(":\n\n", "")
        c:close()
        local events = {}
        for event in body:gmatch("data: (.-)\n\n") do
            events[event:sub(1, 1)] = #event
        end
        assert.same({ ["1"] = 200001, ["2"] = 200001, ["3"] = 200001, ["4"] = 200001 }, events)
    end)

    it("raises for what would end an event", function()
        local port = serve(function(_, res)
            local stream = assert(res:sse())
            for _, event in ipairs { { event = "a\nb" }, { id = "a\r" }, { retry = -1 },
                { dta = "x" }, true } do
                local ok, err = pcall(stream.send, stream, event)
                assert.is_false(ok)
                assert.truthy(tostring(err):find("stream:send(event)", 1, true))
            end
            stream:close()
        end)
        assert.equal("", wire.request(port, GET).body)
    end)

    it("is flushed through compression", function()
        local go = sync.event()
        local port = serve(function(_, res)
            local stream = assert(res:sse())
            stream:send("first")
            go:wait()
            stream:close()
        end, { compress = true })
        local c = wire.connect(port)
        c:send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        local gunzip, text = zlib.stream("gunzip"), ""
        assert(c:await(function(b) return b:find("\r\n\r\n", 1, true) end))
        c:need(select(2, c.buffer:find("\r\n\r\n", 1, true)))
        while not text:find("data: first\n\n", 1, true) do
            local chunk = c:need(tonumber(c:line(), 16))
            c:need(2)
            text = text .. gunzip:write(chunk)
        end
        go:set()
        c:close()
    end)
end)

describe("the compress option", function()
    it("compresses for the whole server, errors and routers included", function()
        local app = http.router()
        app:get("/", function() return ("hello "):rep(1000) end)
        local port = serve(app, { compress = { minLength = 10 } })
        local res = wire.request(port, "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        assert.equal("gzip", res.headers["content-encoding"])
        assert.equal(("hello "):rep(1000), zlib.gunzip(res.body))
        assert.is_nil(wire.request(port, GET).headers["content-encoding"])
        assert.has_error(function() http.createServer(0, app, { compress = { level = 99 } }) end)
    end)
end)

describe("methods that are not for an origin server", function()
    it("are refused, and OPTIONS * is answered by a router", function()
        local app = http.router()
        app:get("/", function() return "x" end)
        local port = serve(app)
        local res = wire.request(port, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.same({ 204, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" },
            { res.status, res.headers.allow })
        for line, status in pairs {
            ["TRACE / "] = 405, ["CONNECT a:80 "] = 405, ["BREW / "] = 501,
        } do
            res = wire.request(port, line .. "HTTP/1.1\r\nHost: a\r\n\r\n")
            assert.same({ status, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" },
                { res.status, res.headers.allow })
        end
    end)
end)

describe("server:stats", function()
    it("counts connections by what they do, bytes, and answers by status", function()
        local gate = sync.event()
        local port, server = serve(function(req, res)
            if req.path == "/body" then return req:body() end
            if req.path == "/stream" then res:write("x") end
            if req.path ~= "/" then gate:wait() end
            if req.path == "/bad" then return 404 end
            return req.path ~= "/stream" and "hello" or nil
        end)
        local function begin(text)
            local c = wire.connect(port)
            c:send(text)
            return c
        end
        local head = " HTTP/1.1\r\nHost: a\r\n"
        local clients = {
            begin(GET), begin("GET / HT"),
            begin("POST /body" .. head .. "Content-Length: 5\r\n\r\nab"),
            begin("GET /stream" .. head .. "\r\n"), begin("GET /bad" .. head .. "\r\n"),
        }
        clients[1]:response()
        wire.turn(5)
        local s = server:stats()
        assert.same({ 5, 1, 2, 1 }, { s.connections, s.idle, s.reading, s.writing })
        gate:set()
        clients[5]:response()
        local bad = begin("GET / HTTP/1.1\r\n\r\n")
        bad:response()
        clients[3]:send("cde")
        clients[3]:response()
        clients[4]:response()
        s = server:stats()
        assert.same({ ["2xx"] = 3, ["3xx"] = 0, ["4xx"] = 2, ["5xx"] = 0 }, s.statuses)
        assert.equal(1, s.rejected)
        assert.equal(#GET + 8 + #("POST /body" .. head .. "Content-Length: 5\r\n\r\nabcde")
            + #("GET /stream" .. head .. "\r\n") + #("GET /bad" .. head .. "\r\n")
            + #"GET / HTTP/1.1\r\n\r\n", s.bytesIn)
        assert.is_true(s.bytesOut > 500 and s.bytesOut < 1500)
        for _, c in ipairs(clients) do c:close() end
        bad:close()
    end)
end)

describe("HEAD", function()
    it("has its body read, so that nothing of that is taken for a request", function()
        local port = serve(function(req) return req.method end)
        local c = wire.connect(port)
        c:send("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. #GET .. "\r\n\r\n")
        c:send(GET .. GET)
        local res = c:response("HEAD")
        assert.same({ 200, "4" }, { res.status, res.headers["content-length"] })
        assert.equal("GET", c:response().body)
        c:shutdown()
        assert.is_true(c:isClosed())
        c:close()
    end)
end)

describe("the length of an answer", function()
    it("is that of the body that is given at once, whatever the handler has set", function()
        local body
        local port = serve(function(req, res)
            res:setHeader("Content-Length", 7)
            if req.path == "/finish" then return assert(res:finish(body)) end
            return body
        end)
        for _, size in ipairs { 0, 5, 7, 9, 70000 } do
            body = ("x"):rep(size)
            local c = wire.connect(port)
            for _, path in ipairs { "/", "/finish", "/" } do
                c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
                local res = c:response()
                assert.same({ tostring(size), size }, { res.headers["content-length"], #res.body })
            end
            c:close()
        end
    end)

    it("is what the handler has set where there is no body to count", function()
        local port = serve(function(req, res)
            res:setHeader("content-length", 7)
            if req.path == "/304" then return 304 end
            return ""
        end)
        assert.equal("7", wire.request(port, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            "HEAD").headers["content-length"])
        assert.equal("7", wire.request(port,
            "GET /304 HTTP/1.1\r\nHost: a\r\n\r\n").headers["content-length"])
    end)

    it("is none for 204 and for 101, which have no body", function()
        local port = serve(function(req, res)
            res:setHeader("Content-Length", 7)
            if req.path == "/upgrade" then return req:upgrade("x"):close() end
            if req.path == "/return" then return 204 end
            res.status = 204
            return res:finish()
        end)
        for _, path in ipairs { "/return", "/finish", "/upgrade" } do
            local res = wire.request(port, "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n" ..
                "Connection: upgrade\r\nUpgrade: x\r\n\r\n")
            assert.equal(path == "/upgrade" and 101 or 204, res.status)
            assert.is_nil(res.headers["content-length"])
        end
    end)
end)

describe("keepAliveTimeout", function()
    it("begins when the client has all of his answer, however slowly he takes it", function()
        local size, answered = 16777216, false
        local port, server = serve(function(_, res)
            assert(res:finish(("x"):rep(size)))
            answered = true
        end, { keepAliveTimeout = 20, highWaterMark = size })
        local c = wire.connect(port)
        c:send(GET)
        wire.eventually("the handler to be done", function() return answered end)
        timer.sleep(200) -- more than the systems' buffers hold is still to come
        assert.equal(1, server:connections())
        local total = 0
        wire.eventually("the end of the connection", function()
            local n, errno = c:take()
            total, c.buffer = total + (n or 0), ""
            return n == 0 or errno
        end)
        assert.is_true(total > size, "only " .. total .. " bytes have come")
        c:close()
    end)
end)

describe("the limits of a head", function()
    it("are each server's own, where there are several in a process", function()
        local function size(req) return tostring(#req.headers.x) end
        local large = serve(size, { maxHeaderSize = 600000 })
        local small = serve(size, { maxHeaderSize = 100000 })
        local function ask(port, n)
            return wire.request(port, "GET / HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(n) ..
                "\r\n\r\n")
        end
        assert.equal("500000", ask(large, 500000).body)
        assert.equal("90000", ask(small, 90000).body)
        assert.equal(431, ask(small, 100000).status)
    end)
end)

describe("the fields of every answer", function()
    local function fields(options)
        local headers = wire.request(serve(function() return "x" end, options), GET).headers
        return headers.server, headers.date
    end

    it("are Server and Date, which can be changed and left out", function()
        local server, date = fields {}
        assert.equal("links", server)
        assert.is_true(math.abs(require("date").parseHttp(date) - os.time() * 1000) <= 20000)
        assert.equal("mine/1.0", (fields { serverHeader = "mine/1.0" }))
        assert.same({}, { fields { serverHeader = false, dateHeader = false } })
        assert.has_error(function() fields { serverHeader = "a\r\nB: c" } end)
    end)
end)

describe("req", function()
    it("knows its server, when it came, and a table of its own", function()
        local seen
        local port, server = serve(function(req)
            timer.sleep(20)
            seen = { req.server, req.startTime, require("system").now(), req.ctx, req.localAddress }
            return "x"
        end)
        with_log(function() wire.request(port, GET) end)
        assert.equal(server, seen[1])
        assert.is_true(seen[3] - seen[2] >= 15 and seen[3] - seen[2] < 60000)
        assert.same({}, seen[4])
        assert.equal("127.0.0.1", seen[5])
    end)
end)
