-- The access log: what stands in it of requests that are answered, refused, broken off, and how
-- what clients send cannot forge a line.
package.path = "tests/support/?.lua;" .. package.path

local fs = require "fs"
local http = require "http"
local json = require "json"
local log = require "log"
local report = require "links.report"
local timer = require "timer"
local tools = require "tools"
local wire = require "wire"

-- What links itself has to tell goes to stderr again, where the specs after this one look for it.
teardown(function() require("links.report").install(nil) end)

local folder, path, server, access

local function lines()
    assert(access:flush(5000))
    local all = {}
    for line in (fs.readFile(path) or ""):gmatch("([^\n]*)\n") do all[#all + 1] = line end
    return all
end

-- Waits for as many lines as there are to be.
local function await_lines(n)
    return wire.eventually(n .. " lines", function()
        local all = lines()
        return #all >= n and all
    end)
end

local function serve(options, handler, proxies)
    options.to = options.to or path
    access = assert(log.access(options))
    server = assert(http.createServer(0, handler or function() return "hello" end, {
        host = "127.0.0.1", accessLog = access, maxBodySize = 1000, trustedProxies = proxies,
    }))
    return server:address().port
end

local function exchange(port, bytes)
    local client = assert(wire.connect(port))
    client:send(bytes)
    local answer = client:rest()
    client:close()
    return answer
end

local function get(target, fields)
    return "GET " .. target .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" ..
        (fields or "") .. "\r\n"
end

describe("the access log", function()
    before_each(function()
        folder = assert(fs.tempDir())
        path = folder .. "/access.log"
    end)
    after_each(function()
        if server then server:close(0) end
        server = nil
        fs.remove(folder, { recursive = true })
    end)

    it("has the combined format", function()
        local port = serve {}
        exchange(port, get("/a?b=c", "Referer: http://x/\r\nUser-Agent: me\r\n" ..
            "Authorization: Basic Ym9iOnB3\r\n"))
        assert.truthy(lines()[1]:find(
            '^127%.0%.0%.1 %- bob %[%d%d/%a%a%a/%d%d%d%d:%d%d:%d%d:%d%d [+-]%d%d%d%d%] ' ..
                '"GET /a%?b=c HTTP/1%.1" 200 5 "http://x/" "me"$'), lines()[1])
    end)

    it("has JSON", function()
        local port = serve({ format = "json" }, function(req, res)
            req:note("db", 1.5)
            req:note("who", "x\n\"y\"")
            timer.sleep(3)
            res:setHeader("X-Request-Id", "r1")
            return 404, "gone"
        end)
        exchange(port, get "/x")
        local r = json.decode(lines()[1])
        assert.truthy(r.duration >= 2 and r.duration < 60000)
        r.duration, r.time = nil, nil
        assert.same({
            remoteAddress = "127.0.0.1", method = "GET", url = "/x", version = "1.1",
            status = 404, bytes = 4, host = "a", requestId = "r1", db = 1.5, who = "x\n\"y\"",
        }, r)
    end)

    it("has the client that a trusted proxy tells of", function()
        local asked = "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 127.0.0.9\r\n"
        local format = { format = "$remoteAddress $remotePort" }
        local port = serve(format, nil, { "loopback" })
        exchange(port, get("/", asked))
        exchange(port, get("/", "X-Forwarded-For: [2001:db8::7]:99\r\n"))
        exchange(port, "GET / HTTP/1.1\r\n" .. asked .. "no field\r\n\r\n")
        local all = lines()
        assert.same({ "192.0.2.7 -", "2001:db8::7 99" }, { all[1], all[2] })
        -- Whoever sent a head that was refused may have written anything into it.
        assert.truthy(all[3]:find("^127%.0%.0%.1 %d+$"), all[3])
        server:close(0)
        exchange(serve({ format = "json" }, nil, { "loopback", header = "Forwarded" }),
            get("/", asked .. 'Forwarded: for="192.0.2.8:5"\r\n'))
        assert.equal("192.0.2.8", json.decode(lines()[4]).remoteAddress)
        server:close(0)
        exchange(serve(format), get("/", asked))
        assert.truthy(lines()[5]:find("^127%.0%.0%.1 %d+$"))
    end)

    it("has what a template asks for", function()
        local port = serve({ format = "$method ${path}x $query $status $bytes $bytesReceived " ..
            "$header.x-a $header.cookie $responseHeader.x-b $note.n $$ $localPort $aborted." },
            function(req, res)
                assert(req:body())
                res:setHeader("X-B", "b")
                req:note("n", 7)
                return "hello"
            end)
        exchange(port, "POST /p?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-A: 1\r\n" ..
            "Cookie: secret\r\nContent-Length: 3\r\n\r\nabc")
        assert.equal("POST /px q 200 5 3 1 [redacted] b 7 $ " .. port .. " -.", lines()[1])
    end)

    it("has no variable that nobody knows", function()
        for _, format in ipairs { "$nothing", "a $", "${method", "$header.", "$method.x" } do
            local ok, message = pcall(log.access, { format = format, to = path })
            assert.falsy(ok and format ~= "$method.x" and format ~= "$header.", format)
            if not ok then assert.truthy(message:find("options.format has no such variable")) end
        end
    end)

    it("has one line for each request, however its bytes come", function()
        local port = serve { format = "$method $url $status" }
        local bytes = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" ..
            "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" .. get "/3"
        for i = 1, #bytes - 1 do
            local client = assert(wire.connect(port))
            client:send(bytes:sub(1, i))
            wire.turn(1)
            client:send(bytes:sub(i + 1))
            client:rest()
            client:close()
        end
        local all = await_lines(3 * (#bytes - 1))
        assert.equal(3 * (#bytes - 1), #all)
        local counts = {}
        for _, line in ipairs(all) do counts[line] = (counts[line] or 0) + 1 end
        assert.same({
            ["GET /1 200"] = #bytes - 1, ["POST /2 200"] = #bytes - 1, ["GET /3 200"] = #bytes - 1,
        }, counts)
    end)

    it("cannot be forged by what clients send", function()
        local port = serve {}
        exchange(port, get("/", 'User-Agent: x" 200 1 "\128\194\155\226\128\174\tend\\\r\n'))
        local all = lines()
        assert.equal(1, #all)
        local agent = '"x\\" 200 1 \\"\\x80\\u{9b}\\u{202e}\\tend\\\\"'
        assert.truthy(all[1]:find(agent, 1, true), all[1])
    end)

    it("counts bodies of every kind", function()
        fs.writeFile(folder .. "/file.txt", ("x"):rep(3000))
        local port = serve({ format = "$method $url $status $bytes" }, function(req, res)
            if req.path == "/stream" then
                for _ = 1, 3 do res:write("abc") end
                return
            elseif req.path == "/file" then
                return res:sendFile(folder .. "/file.txt")
            elseif req.path == "/big" then
                return ("x"):rep(200000)
            elseif req.path == "/none" then
                return 204
            end
            return "hello"
        end)
        for _, target in ipairs { "/stream", "/file", "/big", "/none" } do
            exchange(port, get(target))
        end
        exchange(port, (get("/"):gsub("^GET", "HEAD")))
        exchange(port, get("/file", "Range: bytes=0-9\r\n"))
        assert.same({
            "GET /stream 200 9", "GET /file 200 3000", "GET /big 200 200000", "GET /none 204 0",
            "HEAD / 200 0", "GET /file 206 10",
        }, await_lines(6))
    end)

    it("has what was refused before a handler saw it", function()
        local port = serve { format = "$method $url $status" }
        exchange(port, "GET / HTTP/1.1\r\n\r\n")
        exchange(port, "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        assert.same({ "- - 400", "POST /big 413" }, await_lines(2))
    end)

    it("says that the client has left, or that the answer was broken off", function()
        local waiting
        local port = serve({ format = "$url $status $aborted" }, function(req, res)
            if req.path == "/broken" then
                res:setHeader("Content-Length", "100")
                res:write("x")
                return
            elseif req.path == "/raise" then
                res:write("x")
                error("no")
            end
            waiting = true
            timer.sleep(50)
            return "late"
        end)
        local client = assert(wire.connect(port))
        client:send(get "/left")
        wire.eventually("the handler", function() return waiting end)
        client:reset()
        await_lines(1)
        exchange(port, get "/broken")
        local told = {}
        report.install(function(_, text) told[#told + 1] = text end)
        exchange(port, get "/raise")
        report.install(nil)
        assert.equal(1, #told)
        local all = await_lines(3)
        assert.truthy(all[1]:find("^/left %d+ aborted$"), all[1])
        assert.same({ "/broken 200 aborted", "/raise 200 aborted" }, { all[2], all[3] })
    end)

    it("has a request whose connection is taken over", function()
        local port = serve({ format = "$url $status $aborted" }, function(req)
            assert(req:upgrade("echo")):close()
        end)
        exchange(port, "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n" ..
            "Upgrade: echo\r\n\r\n")
        assert.same({ "/up 101 -" }, await_lines(1))
    end)

    it("has a share of the requests, those that failed, those that took long", function()
        local handler = function(req)
            if req.path == "/slow" then timer.sleep(300) end
            return req.path == "/bad" and 500 or 200, "x"
        end
        local port = serve({ format = "$url", minStatus = 400 }, handler)
        for _, target in ipairs { "/", "/bad", "/slow" } do exchange(port, get(target)) end
        assert.same({ "/bad" }, lines())
        server:close(0)
        path = path .. ".2"
        port = serve({ format = "$url", minDuration = 250 }, handler)
        for _, target in ipairs { "/", "/bad", "/slow" } do exchange(port, get(target)) end
        assert.same({ "/slow" }, lines())
        server:close(0)
        path = path .. ".3"
        port = serve({ format = "$url", sample = 0.5 }, handler)
        local pipelined = ("GET / HTTP/1.1\r\nHost: a\r\n\r\n"):rep(999) .. get "/"
        exchange(port, pipelined)
        local n = #lines()
        assert.truthy(n > 350 and n < 650, n)
    end)

    it("leaves to a function what is logged, and how", function()
        local port = serve { skip = function(r) return r.url == "/health" end }
        for _, target in ipairs { "/health", "/a" } do exchange(port, get(target)) end
        local all = await_lines(1)
        assert.equal(1, #all)
        assert.truthy(all[1]:find('"GET /a HTTP/1.1" 200 5', 1, true))
        server:close(0)
        path = path .. ".2"
        port = serve { format = function(r) return "took\t" .. r.status .. "\n" .. r.url end }
        exchange(port, get "/a")
        assert.same({ "took\\t200\\n/a" }, await_lines(1))
        server:close(0)
        path = path .. ".3"
        port = serve { format = "json", skip = function(r) return r.status ~= 200 end }
        exchange(port, get "/a")
        assert.equal("/a", json.decode(await_lines(1)[1]).url)
    end)

    it("goes to a function that may do I/O", function()
        local seen = {}
        local port = serve { format = "$url", to = function(line)
            timer.sleep(1)
            seen[#seen + 1] = line
        end }
        exchange(port, get "/a")
        assert(access:flush())
        assert.same({ "/a" }, seen)
    end)

    it("is of some routes where it is a middleware", function()
        local mine = assert(log.access { format = "$url $status", to = path })
        access = mine
        local app = http.router()
        app:get("/plain", function() return "x" end)
        app:get("/logged", http.accessLog(mine), function() return "x" end)
        server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
        for _, target in ipairs { "/plain", "/logged" } do
            exchange(server:address().port, get(target))
        end
        assert.same({ "/logged 200" }, lines())
        assert.equal("x", select(3, app:call("GET", "/logged")))
    end)

    it("goes on while its disk is full", function()
        local port = serve { to = "/dev/full", bufferSize = 4096 }
        for _ = 1, 5 do
            exchange(port, ("GET / HTTP/1.1\r\nHost: a\r\n\r\n"):rep(50) .. get "/")
        end
        local ok, err = access:flush()
        assert.is_nil(ok)
        assert.equal("ENOSPC", err.name)
        assert.truthy(access:stats().dropped > 100)
        assert.truthy(exchange(port, get "/"):find("hello"))
    end)

    it("is refused where its options are wrong or its file cannot be", function()
        local function hello() return "hello" end
        for _, options in ipairs {
            { fromat = "x" }, { format = "$nothing" }, { sample = 2 }, { rotate = {} },
            { rotate = { size = "1X" } }, { to = "tcp://x" }, { skip = 1 },
            { reopenOn = "SIGNOTHING" },
        } do
            tools.blames("http.createServer(", http.createServer, 0, hello, { accessLog = options })
            tools.blames("http.accessLog(options)", http.accessLog, options)
            tools.blames("log.access(options)", log.access, options)
        end
        local refused, err = http.createServer(0, hello, { accessLog = "/nonexistent/x" })
        assert.is_nil(refused)
        assert.equal("ENOENT", err.name)
    end)
end)
