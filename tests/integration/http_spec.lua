package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local task = require "task"
local timer = require "timer"
local wire = require "wire"

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

local servers = {}

local function serve(handler, options)
    options = options or {}
    options.host = options.host or "127.0.0.1"
    local port = options.port or 0
    options.port = nil
    local server = assert(http.createServer(port, handler, options))
    servers[#servers + 1] = server
    return server:address().port, server
end

-- Runs fn with standard error going to a string, which it returns.
local function with_log(fn)
    local lines = {}
    local stderr = io.stderr
    rawset(io, "stderr", { write = function(_, ...) lines[#lines + 1] = table.concat({ ... }) end })
    local ok, err = pcall(fn)
    rawset(io, "stderr", stderr)
    assert(ok, err)
    return table.concat(lines)
end

after_each(function()
    for _, server in ipairs(servers) do server:close(0) end
    servers = {}
end)

describe("http.createServer", function()
    it("answers with the string that the handler returns", function()
        local port = serve(function() return "hello" end)
        local before = os.time()
        local res = wire.request(port, GET)
        local after = os.time()
        assert.equal(200, res.status)
        assert.equal("hello", res.body)
        assert.equal("5", res.headers["content-length"])
        assert.equal("text/plain; charset=utf-8", res.headers["content-type"])
        assert.equal("links", res.headers.server)
        local date = require("date").parseHttp(res.headers.date) / 1000
        -- os.time's clock is behind by up to a tick of the kernel's.
        assert.is_true(before <= date and date <= after + 1)
    end)

    it("answers with a status, a body and headers that the handler returns", function()
        local answers = {
            ["/status"] = function() return 404 end,
            ["/body"] = function() return 201, "made" end,
            ["/headers"] = function()
                return 200, "x", { ["X-One"] = "1", ["X-List"] = { "a" } }
            end,
            ["/pieces"] = function()
                local n = 0
                return function()
                    n = n + 1
                    return n <= 3 and "piece" .. n or nil
                end
            end,
            ["/set"] = function(_, res) res.status = 202 end,
        }
        local port = serve(function(req, res) return answers[req.path](req, res) end)
        local function get(path)
            return wire.request(port, "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        end
        assert.same({ 404, "Not Found\n" }, { get("/status").status, get("/status").body })
        assert.same({ 201, "made" }, { get("/body").status, get("/body").body })
        assert.equal("1", get("/headers").headers["x-one"])
        assert.equal("a", get("/headers").headers["x-list"])
        assert.equal("piece1piece2piece3", get("/pieces").body)
        assert.same({ 202, "" }, { get("/set").status, get("/set").body })
    end)

    it("gives the handler what the client has sent", function()
        local seen
        local port = serve(function(req)
            seen = {
                req.method, req.url, req.path, req.rawPath, req.queryString, req.version,
                req.headers.host, req.headers["X-Thing"], req.headers["x-tHING"],
                req:header("X-THING"), req.remoteAddress,
                req:headerAll("x-thing"), req:header("none"), req.contentLength,
            }
            return "ok"
        end)
        wire.request(port, "GET /a%20b/c?d=e&f HTTP/1.1\r\nHost: h:1\r\n" ..
            "X-Thing: one \r\nx-thing:\ttwo\r\n\r\n")
        assert.same({
            "GET", "/a%20b/c?d=e&f", "/a b/c", "/a%20b/c", "d=e&f", "1.1", "h:1", "one, two",
            "one, two", "one, two", "127.0.0.1", { "one", "two" }, nil, 0,
        }, seen)
    end)

    it("understands the absolute form of the target", function()
        local port = serve(function(req) return req.path .. " " .. req.queryString end)
        assert.equal("/x y", wire.request(port,
            "GET http://h/x?y HTTP/1.1\r\nHost: h\r\n\r\n").body)
        assert.equal("/ y", wire.request(port, "GET http://h?y HTTP/1.1\r\nHost: h\r\n\r\n").body)
        local other = "GET http://h/ HTTP/1.1\r\nHost: other\r\n\r\n"
        assert.equal(400, wire.request(port, other).status)
    end)

    it("returns EADDRINUSE with the address of a port that is taken", function()
        local port = serve(function() return "" end)
        local server, err = http.createServer(port, function() return "" end,
            { host = "127.0.0.1" })
        assert.is_nil(server)
        assert.equal("EADDRINUSE", err.name)
        assert.equal(port, err.port)
        assert.truthy(tostring(err):find("127.0.0.1:" .. port, 1, true))
    end)

    it("shares its port with those who ask for that, and is not in the way of them", function()
        local port = serve(function() return "" end)
        assert.equal(port, (serve(function() return "" end, { reuseport = true, port = port })))
    end)

    it("does not share its port when told so", function()
        local port = serve(function() return "" end, { reuseport = false })
        local server, err = http.createServer(port, function() return "" end,
            { host = "127.0.0.1", reuseport = true })
        assert.is_nil(server)
        assert.equal("EADDRINUSE", err.name)
    end)

    it("raises for arguments that are wrong, at the caller's line", function()
        local function message(...)
            local ok, err = pcall(http.createServer, ...)
            assert.is_false(ok)
            return err
        end
        local function f() return "" end
        for _, port in ipairs { -1, 65536, 1.5, "x", true } do
            assert.truthy(message(port, f):find("port must be [integer] from 0 to 65535", 1, true))
        end
        assert.truthy(message(0):find("handler must be [function]", 1, true))
        assert.truthy(message(0, f, { bakclog = 1 }):find('did you mean "backlog"?', 1, true))
        assert.truthy(message(0, f, { maxHeaders = "x" }):find("options.maxHeaders", 1, true))
        local _, err = pcall(function() http.createServer("x", f) end)
        assert.truthy(err:find("http_spec.lua:", 1, true))
        assert.equal("EINVAL", select(2, http.createServer(0, f, { host = "not an address" })).name)
    end)

    it("serves IPv6", function()
        if not require("tools").has_ipv6 then return pending("needs IPv6") end
        local server = assert(http.createServer({ port = 0, host = "::1" },
            function() return "" end))
        servers[#servers + 1] = server
        assert.same({ 6, "::1" }, { server:address().family, server:address().address })
    end)
end)

describe("an http handler's task", function()
    it("keeps what is local to it from the next request", function()
        local port = serve(function()
            local locals = task.current().locals
            local seen = tostring(locals.user)
            locals.user = "somebody"
            return seen
        end)
        for _ = 1, 5 do assert.equal("nil", wire.request(port, GET).body) end
    end)

    it("keeps its name and its cancellation from the next request", function()
        local port = serve(function()
            local me = task.current()
            local seen = tostring(me.name) .. " " .. tostring(me.cancelled)
            me.name = "used"
            me:cancel()
            return seen
        end)
        for _ = 1, 5 do assert.equal("nil false", wire.request(port, GET).body) end
    end)
end)

describe("an http connection", function()
    it("gets no more answers than it reads, however many it has asked for", function()
        local n, body = 1000, ("x"):rep(60000)
        local port, server = serve(function(req) return req.path .. body end)
        local c = wire.connect(port)
        local requests = {}
        for i = 1, n do requests[i] = "GET /" .. i .. " HTTP/1.1\r\nHost: a\r\n\r\n" end
        c:send(table.concat(requests))
        local seen
        wire.eventually("no more answers", function()
            local now = server:stats().requests
            local same = now > 0 and now == seen
            seen = now
            timer.sleep(20)
            return same
        end)
        -- The systems' buffers on both sides take some megabytes.
        assert.is_true(seen < n / 2)
        for i = 1, n do
            local got = c:response().body
            assert.equal("/" .. i, got:sub(1, #got - #body))
        end
        c:close()
    end)

    it("stays for the next request", function()
        local port, server = serve(function(req) return req.path end)
        local c = wire.connect(port)
        for i = 1, 5 do
            c:send("GET /" .. i .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            assert.equal("/" .. i, c:response().body)
        end
        assert.equal(1, server:connections())
        assert.equal(5, server:stats().requests)
        c:close()
        wire.eventually("the connection to go", function() return server:connections() == 0 end)
    end)

    it("answers pipelined requests in order although handlers finish out of order", function()
        local port = serve(function(req)
            local n = tonumber(req.path:match("%d+"))
            timer.sleep(n % 3)
            return tostring(n)
        end)
        local c = wire.connect(port)
        local batch = {}
        for i = 1, 40 do batch[i] = "GET /" .. i .. " HTTP/1.1\r\nHost: a\r\n\r\n" end
        c:send(table.concat(batch))
        for i = 1, 40 do assert.equal(tostring(i), c:response().body) end
        c:close()
    end)

    it("serves others while a handler waits", function()
        local release
        local port = serve(function(req)
            if req.path == "/slow" then
                wire.eventually("release", function() return release end)
            end
            return req.path
        end)
        local slow = {}
        for i = 1, 20 do
            slow[i] = wire.connect(port)
            slow[i]:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        end
        for _ = 1, 20 do assert.equal("/", wire.request(port, GET).body) end
        release = true
        for i = 1, 20 do
            assert.equal("/slow", slow[i]:response().body)
            slow[i]:close()
        end
    end)

    it("ends as the client asks, or as HTTP/1.0 does", function()
        local port = serve(function() return "x" end)
        local function ends(head)
            local c = wire.connect(port)
            c:send(head)
            local res = c:response()
            local connection = res.headers.connection
            local closed = connection == "close" and c:isClosed()
            c:close()
            return closed, connection
        end
        assert.same({ true, "close" },
            { ends("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") })
        assert.same({ true, "close" }, { ends("GET / HTTP/1.0\r\n\r\n") })
        assert.same({ false, "keep-alive" },
            { ends("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") })
        assert.is_nil((select(2, ends(GET))))
    end)

    it("answers one who has shut down his side", function()
        local port = serve(function() timer.sleep(1) return "x" end)
        local c = wire.connect(port)
        c:send(GET)
        c:shutdown()
        assert.equal("x", c:response().body)
        assert.truthy(c:isClosed())
        c:close()
    end)

    it("may reset at any time", function()
        local port, server = serve(function(req, res)
            req:body()
            for _ = 1, 50 do if not res:write(("x"):rep(10000)) then break end end
        end)
        for i = 1, 60 do
            local c = wire.connect(port)
            local request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n" ..
                ("x"):rep(20)
            c:send(request:sub(1, i * 2))
            wire.turn(i % 5)
            c:reset()
        end
        assert.equal(400, wire.request(port, "x y z\r\n\r\n").status >= 400 and 400)
        wire.eventually("all connections to go", function() return server:connections() == 0 end)
    end)

    it("is not closed under a handler when its client leaves", function()
        local result
        local port = serve(function(_, res)
            wire.turn(5)
            local ok, err
            repeat ok, err = res:write(("x"):rep(100000)) until not ok
            result = err.name
        end, { cancelOnAbort = false })
        local c = wire.connect(port)
        c:send(GET)
        wire.turn(3)
        c:reset()
        wire.eventually("the handler to see it", function() return result end)
        assert.truthy(result == "ECONNRESET" or result == "EPIPE" or result == "CLOSED")
    end)
end)

describe("an http request body", function()
    local function echo(options)
        return serve(function(req) return req:body() end, options)
    end

    it("comes by length and in chunks", function()
        local port = echo()
        assert.equal("hello", wire.request(port,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").body)
        assert.equal("hello world", wire.request(port,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" ..
            "5\r\nhello\r\n6;ext=\"a;b\"\r\n world\r\n0\r\nTrailer: x\r\n\r\n").body)
    end)

    it("may be large, and is read at the handler's pace", function()
        local port = echo { maxBodySize = 10000000 }
        local big = ("0123456789"):rep(300000)
        local c = wire.connect(port)
        local sent = task.spawn(function()
            return c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. #big .. "\r\n\r\n" ..
                big)
        end)
        local res = c:response()
        assert(sent:join())
        assert.equal(#big, #res.body)
        assert.is_true(big == res.body)
        c:close()
    end)

    it("is not read beyond what the handler asks for", function()
        local go
        local port = serve(function(req)
            wire.eventually("go", function() return go end)
            local total = 0
            for piece in function() return req:read(1000) end do
                assert(#piece <= 1000)
                total = total + #piece
            end
            return tostring(total)
        end, { maxBodySize = 2 ^ 40 })
        local c = wire.connect(port)
        c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
        local sent, idle, piece = 0, 0, ("x"):rep(100000)
        while idle < 20 do
            local n = c:trySend(piece)
            sent = sent + n
            idle = n == 0 and idle + 1 or 0
            wire.turn()
        end
        assert.is_true(sent < 15000000, "the server took " .. sent ..
            " bytes that nobody has asked for")
        go = true
        local left = 20000000 - sent
        local sender = task.spawn(function() return c:send(("x"):rep(left)) end)
        assert.equal("20000000", c:response().body)
        assert(sender:join())
        c:close()
    end)

    it("is refused with 413 when its length is over the limit", function()
        local called
        local port = serve(function() called = true return "" end, { maxBodySize = 10 })
        local res = wire.request(port, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
        assert.same({ 413, "close" }, { res.status, res.headers.connection })
        assert.is_nil(called)
    end)

    it("in chunks gives HTTP_BODY_TOO_LARGE over the limit, which a handler may return", function()
        local port = echo { maxBodySize = 10 }
        local res = wire.request(port,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" ..
                ("x"):rep(32) .. "\r\n0\r\n\r\n")
        assert.same({ 413, "close" }, { res.status, res.headers.connection })
    end)

    it("that is left unread does not harm the next request", function()
        local port = serve(function(req) return req.method end)
        local c = wire.connect(port)
        for _ = 1, 3 do
            c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /" ..
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" ..
                "5\r\nGET /\r\n0\r\n\r\n" .. GET)
            assert.same({ "POST", "POST", "GET" },
                { c:response().body, c:response().body, c:response().body })
        end
        -- ... and one that comes only after the answer is dropped as it comes.
        c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n")
        assert.equal("POST", c:response().body)
        c:send(("x"):rep(50000) .. GET)
        assert.equal("GET", c:response().body)
        c:close()
    end)

    it("that is large and unread ends the connection after the answer", function()
        local port = serve(function() return "no" end, { maxBodySize = 10000000 })
        local c = wire.connect(port)
        c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" .. ("x"):rep(100000))
        local res = c:response()
        assert.same({ "no", "close" }, { res.body, res.headers.connection })
        assert.truthy(c:isClosed())
        c:close()
    end)

    it("is asked for with 100 Continue by the first read", function()
        local port = serve(function(req) return req.path == "/read" and req:body() or "unread" end)
        local head = " HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        local c = wire.connect(port)
        c:send("POST /read" .. head)
        assert.equal(100, c:response().status)
        c:send("abc")
        assert.equal("abc", c:response().body)
        c:send("POST /unread" .. head)
        local res = c:response()
        assert.same({ 200, "unread", "close" }, { res.status, res.body, res.headers.connection })
        c:close()
    end)

    it("cannot be read by two tasks at once", function()
        local err
        local port = serve(function(req)
            local other = task.spawn(function() return req:body() end)
            wire.turn()
            err = select(2, req:read())
            local _, body = other:join()
            return body
        end)
        local c = wire.connect(port)
        c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        wire.eventually("the second reader", function() return err end)
        c:send("abc")
        assert.equal("abc", c:response().body)
        assert.equal("EBUSY", err.name)
        c:close()
    end)

    it("can be discarded", function()
        local port = serve(function(req) return tostring(req:discard()) .. tostring(req:read()) end)
        assert.equal("truenil", wire.request(port,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").body)
    end)
end)

describe("an http response", function()
    local function respond(handler, request, method)
        return wire.request(serve(handler), request or GET, method)
    end

    it("goes in chunks where the length is not known", function()
        local res = respond(function(_, res)
            assert(res:write("one "))
            assert.is_true(res.headersSent)
            assert(res:write("two"))
            assert(res:finish("!"))
        end)
        assert.same({ "chunked", nil, "one two!" },
            { res.headers["transfer-encoding"], res.headers["content-length"], res.body })
    end)

    it("ends with the connection for HTTP/1.0", function()
        local res = respond(function(_, res) res:write("one ") res:write("two") end,
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert.same({ nil, "close", "one two" },
            { res.headers["transfer-encoding"], res.headers.connection, res.body })
    end)

    it("has the length that was set, and no more", function()
        local err
        local res = respond(function(_, res)
            res:setHeader("Content-Length", 5)
            res:write("123")
            err = select(2, res:write("456"))
            res:write("45")
        end)
        assert.same({ "5", "12345", "TOO_LARGE" },
            { res.headers["content-length"], res.body, err.name })
    end)

    it("breaks off where less than the length that was set is written", function()
        local port = serve(function(_, res)
            res:setHeader("Content-Length", "5")
            res:write("123")
        end)
        local c = wire.connect(port)
        c:send(GET)
        local data, failure = c:rest()
        assert.equal("eof", failure)
        assert.equal("123", data:match("\r\n\r\n(.*)"))
        c:close()
    end)

    it("has no body to HEAD, and for 204 and 304, but the fields it would have", function()
        local port = serve(function(req)
            if req.path == "/204" then return 204, "nobody" end
            if req.path == "/304" then return 304, "nobody" end
            return "12345"
        end)
        local c = wire.connect(port)
        c:send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /204 HTTP/1.1\r\nHost: a\r\n\r\n" ..
            "GET /304 HTTP/1.1\r\nHost: a\r\n\r\n" .. GET)
        assert.equal("5", c:response("HEAD").headers["content-length"])
        assert.is_nil(c:response().headers["content-length"])
        assert.equal(304, c:response().status)
        assert.equal("12345", c:response().body)
        c:close()
    end)

    it("takes header fields and gives them back", function()
        local got = {}
        local res = respond(function(_, res)
            res:setHeader("X-A", "1")
            res:setHeader("x-a", "2")
            res:addHeader("Set-Cookie", "a=1")
            res:addHeader("Set-Cookie", "b=2")
            res:setHeader("X-Gone", "x")
            res:removeHeader("x-gone")
            res:setHeader("Server", "mine")
            res:setHeader("X-N", 5)
            got = { res:getHeader("X-A"), res:getHeader("set-cookie"), res:getHeader("X-Gone") }
            return "x"
        end)
        assert.same({ "2", { "a=1", "b=2" } }, got)
        assert.same({ "2", "mine", "5", nil },
            { res.headers["x-a"], res.headers.server, res.headers["x-n"], res.headers["x-gone"] })
    end)

    it("cannot be split by what a field is set to", function()
        local messages = {}
        local res = respond(function(_, res)
            for _, field in ipairs { { "X", "a\r\nY: b" }, { "X", "a\nb" }, { "X", "a\0b" },
                { "X: y", "b" }, { "", "x" },
                { "X\r\nY", "b" }, { "Transfer-Encoding", "chunked" },
                    { "Content-Length", "5, 5" } } do
                local ok, err = pcall(res.setHeader, res, field[1], field[2])
                messages[#messages + 1] = tostring(ok) .. (err:find("header field") and "" or err)
            end
            return "x"
        end)
        assert.equal("x", res.body)
        assert.is_nil(res.headers.y)
        assert.equal(("false"):rep(6), table.concat(messages, "", 1, 6))
        assert.truthy(messages[7]:find("^false.*set by links itself"))
        assert.equal(8, #messages)
    end)

    it("cannot be given twice", function()
        local results = {}
        local res = respond(function(req, res)
            res:send(201, "first", { ["X-A"] = "b" })
            results[1] = select(2, res:finish("second")).name
            results[2] = select(2, res:write("second")).name
            results[3] = select(2, res:send(200, "second")).name
            results[4] = select(2, res:setHeader("a", "b")).name
            local _, err = pcall(function() return req.method end)
            results[5] = err:match("the request is over")
            results[6] = res.headersSent
            return "third"
        end)
        assert.same({ 201, "first", "b" }, { res.status, res.body, res.headers["x-a"] })
        assert.same({ "CLOSED", "CLOSED", "CLOSED", "CLOSED", "the request is over", true },
            results)
    end)

    it("answers HTTP_HEADERS_SENT to what comes after the head", function()
        local names = {}
        respond(function(_, res)
            res:write("x")
            names[1] = select(2, res:setHeader("a", "b")).name
            names[2] = select(2, res:send(500, "")).name
            names[3] = select(2, res:removeHeader("a")).name
        end)
        assert.same({ "HTTP_HEADERS_SENT", "HTTP_HEADERS_SENT", "HTTP_HEADERS_SENT" }, names)
    end)

    it("waits for a slow client, and memory stays flat", function()
        local sent, done = 0, false
        local port = serve(function(_, res)
            local piece = ("x"):rep(65536)
            for _ = 1, 1600 do
                if not res:write(piece) then break end
                sent = sent + #piece
            end
            done = true
        end)
        local function rss()
            local found
            for line in io.lines("/proc/self/status") do
                found = found or line:match("^VmRSS:%s*(%d+)")
            end
            return tonumber(found)
        end
        collectgarbage()
        local before = rss()
        local c = wire.connect(port, { receiveBuffer = 16384 })
        c:send(GET)
        local last
        wire.eventually("the server to wait", function()
            local same = sent == last
            last = sent
            timer.sleep(5)
            return same and sent > 0
        end)
        assert.is_false(done)
        assert.is_true(sent < 20000000, sent .. " bytes were taken although nobody reads")
        local total, give_up = 0, timer.now() + 60000
        while timer.now() < give_up do
            local n, errno = c:take()
            total = total + (n or 0)
            c.buffer = c.buffer:sub(-8)
            if n == 0 or errno or c.buffer:find("0\r\n\r\n$") then break end
            if not n then timer.sleep(0) end
        end
        assert.is_true(done)
        assert.is_true(total > 1600 * 65536)
        collectgarbage()
        assert.is_true(rss() - before < 50000, "memory grew by " .. rss() - before .. " KiB")
        c:close()
    end)

    it("may be large in one piece", function()
        local big = ("0123456789"):rep(200000)
        assert.is_true(big == respond(function() return big end).body)
    end)
end)

describe("an http handler", function()
    it("that raises is a 500, a traceback in the log, and a live connection", function()
        local port = serve(function(req, res)
            res:setHeader("X-Staged", "1")
            if req.path == "/bad" then error("bad thing") end
            if req.path == "/table" then error({ "x" }) end
            return "fine"
        end)
        local c = wire.connect(port)
        local log = with_log(function()
            c:send("GET /bad HTTP/1.1\r\nHost: a\r\n\r\nGET /table HTTP/1.1\r\nHost: a\r\n\r\n" ..
                GET)
            local res = c:response()
            assert.same({ 500, "Internal Server Error\n", nil },
                { res.status, res.body, res.headers["x-staged"] })
            assert.equal(500, c:response().status)
            assert.equal("fine", c:response().body)
        end)
        assert.truthy(log:find("bad thing", 1, true))
        assert.truthy(log:find("GET /bad", 1, true))
        assert.truthy(log:find("stack traceback", 1, true))
        assert.truthy(log:find("http_spec.lua", 1, true))
        c:close()
    end)

    it("that raises in the middle of its answer ends the connection there", function()
        local port = serve(function(_, res)
            res:write("some")
            error("bad thing")
        end)
        local c = wire.connect(port)
        local data
        with_log(function()
            c:send(GET)
            data = c:rest()
        end)
        assert.truthy(data:find("4\r\nsome\r\n", 1, true))
        assert.is_nil(data:find("0\r\n\r\n", 1, true))
        c:close()
    end)

    it("that forgets to answer, or answers with nonsense, is a 500 that names the request",
        function()
        local port = serve(function(req)
            if req.path == "/true" then return true end
            if req.path == "/status" then return 42, "x" end
            if req.path == "/headers" then return 200, "x", "y" end
        end)
        local log = with_log(function()
            for _, path in ipairs { "/nothing", "/true", "/status", "/headers" } do
                assert.equal(500, wire.request(port,
                    "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n").status)
            end
        end)
        assert.truthy(log:find("GET /nothing returned without an answer", 1, true))
        assert.truthy(log:find("must return", 1, true))
    end)

    it("that cancels its own task leaves a server that serves", function()
        local port = serve(function(req)
            if req.path == "/cancel" then task.current():cancel() end
            return "x"
        end)
        for _ = 1, 5 do
            assert.equal("x", wire.request(port, "GET /cancel HTTP/1.1\r\nHost: a\r\n\r\n").body)
            assert.equal("x", wire.request(port, GET).body)
        end
    end)

    it("may keep the request beyond its answer without harm", function()
        local kept = {}
        local port = serve(function(req)
            kept[#kept + 1] = req
            return req.path
        end)
        local c = wire.connect(port)
        for _ = 1, 3 do
            c:send(GET)
            c:response()
        end
        c:close()
        assert.equal("/", kept[1].path) -- what was read while it lived
        for _, req in ipairs(kept) do
            assert.has_error(function() return req.url end,
                "http: the request is over: it has been answered")
            assert.has_error(function() return req:body() end)
        end
        assert.equal("http request (over)", tostring(kept[1]))
    end)
end)

describe("an http server's limits", function()
    local function status_of(port, data)
        local c = wire.connect(port)
        c:send(data)
        local res = c:response()
        local closed = c:isClosed()
        c:close()
        return res.status, res.headers.connection, closed
    end

    it("refuse a long request line, long fields and many fields", function()
        local port = serve(function() return "" end,
            { maxRequestLine = 100, maxHeaderSize = 200, maxHeaders = 5 })
        local head = " HTTP/1.1\r\nHost: a\r\n"
        assert.same({ 414, "close", true }, { status_of(port,
            "GET /" .. ("x"):rep(100) .. head .. "\r\n") })
        assert.same({ 414, "close", true }, { status_of(port, "GET /" .. ("x"):rep(1000)) })
        assert.same({ 431, "close", true }, { status_of(port,
            "GET /" .. head .. "X: " .. ("x"):rep(200) .. "\r\n\r\n") })
        assert.same({ 431, "close", true }, { status_of(port,
            "GET /" .. head .. "X: " .. ("x"):rep(200)) })
        assert.same({ 431, "close", true }, { status_of(port,
            "GET /" .. head .. ("X: x\r\n"):rep(5) .. "\r\n") })
        assert.equal(200, wire.request(port, "GET /" .. head .. ("X: x\r\n"):rep(4) ..
            "\r\n").status)
    end)

    it("let pass a head as large as they say", function()
        local port = serve(function(req) return tostring(#req.url) .. " " .. #req.headers.x end,
            { maxRequestLine = 30000, maxHeaderSize = 60000 })
        assert.equal("20001 50000", wire.request(port,
            "GET /" .. ("u"):rep(20000) .. " HTTP/1.1\r\nHost: a\r\nX: " ..
            ("x"):rep(50000) .. "\r\n\r\n").body)
    end)

    it("answer a head that does not come in time with 408, and close what is idle without a word",
        function()
        local port = serve(function() return "" end, { headerTimeout = 40, keepAliveTimeout = 30 })
        assert.same({ 408, "close", true }, { status_of(port, "GET / HT") })
        local c = wire.connect(port)
        assert.truthy(c:isClosed())
        c = wire.connect(port)
        c:send(GET)
        c:response()
        assert.truthy(c:isClosed())
        c:close()
    end)

    it("give ETIMEDOUT to the reader of a body that does not come", function()
        local name
        local port = serve(function(req)
            local body, err = req:body()
            name = err.name
            return body, err
        end, { bodyTimeout = 30 })
        local half = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"
        assert.equal(408, (status_of(port, half)))
        assert.equal("ETIMEDOUT", name)
    end)

    it("break off a client that does not read", function()
        local name
        local port, server = serve(function(_, res)
            local ok, err
            repeat ok, err = res:write(("x"):rep(100000)) until not ok
            name = err.name
        end, { writeTimeout = 50 })
        local c = wire.connect(port, { receiveBuffer = 4096 })
        c:send(GET)
        wire.eventually("the connection to be broken off", function()
            return name and server:connections() == 0
        end)
        assert.equal("ETIMEDOUT", name)
        c:close()
    end)

    it("stop accepting at maxConnections and start again on a close", function()
        local port, server = serve(function() return "x" end, { maxConnections = 2 })
        local clients = {}
        for i = 1, 4 do
            clients[i] = wire.connect(port)
            clients[i]:send(GET)
        end
        assert.equal("x", clients[1]:response().body)
        assert.equal("x", clients[2]:response().body)
        wire.turn(10)
        assert.is_nil(clients[3]:take())
        assert.equal(2, server:connections())
        clients[1]:close()
        assert.equal("x", clients[3]:response().body)
        clients[2]:close()
        assert.equal("x", clients[4]:response().body)
        clients[3]:close()
        clients[4]:close()
    end)

    it("keep one connection from taking a whole turn", function()
        local order = {}
        local port = serve(function(req)
            order[#order + 1] = req.path
            return ""
        end, { maxPipelined = 4 })
        local a, b = wire.connect(port), wire.connect(port)
        a:send(("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"):rep(40))
        b:send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ = 1, 40 do a:response() end
        b:response()
        local at
        for i, path in ipairs(order) do if path == "/b" then at = i end end
        assert.is_true(at <= 9, "/b came after " .. at)
        a:close()
        b:close()
    end)
end)

describe("server:close", function()
    it("closes what is idle at once, and others with their answer", function()
        local go
        local port, server = serve(function()
            wire.eventually("go", function() return go end)
            return "x"
        end)
        local idle, busy = wire.connect(port), wire.connect(port)
        busy:send(GET)
        wire.eventually("both connections", function() return server:connections() == 2 end)
        wire.turn()
        local closing = task.spawn(function() return server:close() end)
        assert.truthy(idle:isClosed())
        go = true
        local res = busy:response()
        assert.same({ "x", "close" }, { res.body, res.headers.connection })
        assert.same({ true, true }, { closing:join() })
        assert.is_nil((wire.connect(port)))
        assert.is_true(server:close())
        assert.equal(0, server:connections())
        idle:close()
        busy:close()
    end)

    it("breaks off what takes too long", function()
        local err
        local port, server = serve(function(req)
            err = select(2, req:read())
            return "x"
        end)
        local c = wire.connect(port)
        c:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        wire.eventually("the request", function() return server:stats().requests == 1 end)
        local ok, timeout = server:close(20)
        assert.same({ nil, "ETIMEDOUT" }, { ok, timeout.name })
        wire.eventually("the handler", function() return err end)
        assert.equal("CLOSED", err.name)
        assert.truthy(c:isClosed())
        c:close()
    end)
end)
