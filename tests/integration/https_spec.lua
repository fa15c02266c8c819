package.path = "tests/support/?.lua;" .. package.path

local fs = require "fs"
local http = require "http"
local https = require "https"
local process = require "process"
local program = require "program"
local sockets = require "sockets"
local task = require "task"
local tcp = require "tcp"
local timer = require "timer"
local tls = require "tls"
local tools = require "tools"

local keep, eventually = sockets.keep, sockets.eventually
local pair = tls.selfSigned()
local TRUST = { ca = pair.cert }

after_each(sockets.close_all)

local function serve(handler, options)
    local all = { host = "127.0.0.1", cert = pair.cert, key = pair.key }
    for name, value in pairs(options or {}) do all[name] = value end
    local server = assert(https.createServer(0, handler, all))
    keep { close = function() server:close(0) end }
    local port = server:address().port
    return "https://localhost:" .. port, port, server
end

local function raw(port)
    return keep(assert(tls.connect(port, "127.0.0.1", TRUST)))
end

local function get(path, ...)
    return ("GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"):format(path, table.concat({ ... }))
end

local function plain(port, text)
    local socket = keep(assert(tcp.connect(port)))
    socket:write(text)
    return socket:readAll()
end

describe("https", function()
    it("answers as http does, and tells by what it came", function()
        local base = serve(function(req)
            return { req.scheme, req.tls.version, req.tls.alpn or "", req.path, req.remoteAddress }
        end)
        local res = assert(https.get(base .. "/a", { tls = TRUST }))
        assert.same({ "https", "TLSv1.3", "http/1.1", "/a", "127.0.0.1" }, res:json())
        assert.equal(200, assert(https.head(base, { tls = TRUST })).status)
        local open = assert(http.createServer(0, function(req)
            return req.scheme .. tostring(req.tls)
        end))
        assert.equal("httpnil", assert(http.get("http://127.0.0.1:" .. open:address().port)).body)
        open:close(0)
    end)

    it("keeps connections, and answers what is pipelined in order", function()
        local _, port, server = serve(function(req) return req.path end)
        local socket = raw(port)
        socket:write(get("/1") .. get("/2") .. get("/3", "Connection: close\r\n"))
        local bodies = {}
        for body in socket:readAll():gmatch("\r\n\r\n(/%d)") do bodies[#bodies + 1] = body end
        assert.same({ "/1", "/2", "/3" }, bodies)
        assert.equal(1, server:stats().accepted)
    end)

    it("takes requests that come byte by byte", function()
        local _, port = serve(function(req) return req:body() end)
        local socket = raw(port)
        local text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
            .. "Connection: close\r\n\r\nhello"
        for i = 1, #text do
            socket:write(text:sub(i, i))
            task.yield()
        end
        assert.truthy(socket:readAll():find("\r\n\r\nhello$"))
    end)

    it("moves large bodies both ways", function()
        local big = ("0123456789abcdef"):rep(200000)
        local base = serve(function(req, res)
            local body = assert(req:body())
            if req.path == "/stream" then
                for i = 1, #body, 50000 do assert(res:write(body:sub(i, i + 49999))) end
                return res:finish()
            end
            return body
        end, { maxBodySize = 1e8 })
        for _, path in ipairs { "/", "/stream" } do
            local res = assert(https.post(base .. path, big, { tls = TRUST }))
            assert.truthy(res.body == big)
        end
    end)

    it("sends and takes files", function()
        local dir = assert(fs.tempDir())
        local data = ("file "):rep(300000)
        assert(fs.writeFile(dir .. "/f.bin", data))
        local base = serve(function(_, res) return res:sendFile(dir .. "/f.bin") end)
        local got = assert(https.download(base .. "/f.bin", dir .. "/copy", { tls = TRUST }))
        assert.equal(#data, got.bytes)
        assert.truthy(fs.readFile(dir .. "/copy") == data)
        local res = assert(https.get(base .. "/f.bin",
            { tls = TRUST, headers = { range = "bytes=5-9" } }))
        assert.equal(206, res.status)
        assert.equal("file ", res.body)
        fs.remove(dir, { recursive = true })
    end)

    it("holds a handler up whose client does not read", function()
        local done
        local _, port = serve(function(_, res)
            for _ = 1, 300 do
                if not res:write(("x"):rep(65536)) then break end
            end
            done = true
            return res:finish()
        end)
        local socket = raw(port)
        socket:write(get("/", "Connection: close\r\n"))
        timer.sleep(100)
        assert.is_nil(done)
        local body = socket:readAll(1e8)
        assert.truthy(#body > 19660800)
    end)

    it("breaks an answer off so that it is noticed", function()
        local base, port = serve(function(_, res)
            res:setHeader("content-length", "100")
            res:write("half of it")
            error("broken")
        end)
        sockets.with_log(function()
            local res, err = https.get(base, { tls = TRUST })
            assert.is_nil(res and res.body)
            assert.truthy(err)
            local socket = raw(port)
            socket:write(get("/"))
            local _, cut = socket:readAll()
            assert.equal("TLS_TRUNCATED", cut and cut.name)
        end)
    end)

    it("hands connections over, with what TLS has read of them", function()
        local _, port = serve(function(req)
            local socket = assert(req:upgrade("echo"))
            socket:write(socket:readline() .. "\n")
            socket:close()
        end)
        local socket = raw(port)
        socket:write(get("/", "Connection: upgrade\r\nUpgrade: echo\r\n") .. "early\n")
        local text = socket:readAll()
        assert.truthy(text:find("^HTTP/1.1 101 "), text)
        assert.truthy(text:find("\r\n\r\nearly\n$"), text)
    end)

    it("carries websockets, as loops and as callbacks, compressed too", function()
        local websocket = require "websocket"
        local echo = { message = function(ws, data, kind) ws:write(data, kind) end }
        local app = http.router()
        app:ws("/callbacks", echo)
        app:ws("/loop", function(ws)
            while true do
                local data, _, kind = ws:read()
                if not data then break end
                ws:write(data, kind)
            end
        end, { compress = true })
        local base = serve(app)
        for _, path in ipairs { "/loop", "/callbacks" } do
            local ws = assert(websocket.connect(base:gsub("^https", "wss") .. path,
                { tls = TRUST, compress = true }))
            for _, size in ipairs { 0, 5, 70000, 900000 } do
                local text = ("x"):rep(size)
                assert(ws:write(text))
                assert.truthy(assert(ws:read(20000)) == text)
            end
            ws:close()
        end
        local ws, err = websocket.connect((base:gsub("^https", "wss")))
        assert.is_nil(ws)
        assert.equal("TLS_CERT_VERIFY", err.name)
    end)

    it("tells websockets by what they came, whoever asks", function()
        local websocket = require "websocket"
        local function tell(ws)
            local peer = ws.req.tls.peer
            ws:write(ws.req.tls.version .. " " .. (peer and peer.commonName or "nobody"))
        end
        local app = http.router()
        app:ws("/callbacks", { open = tell })
        app:ws("/loop", tell)
        local base = serve(app, { clientAuth = "request", ca = pair.cert }):gsub("^https", "wss")
        for _, path in ipairs { "/loop", "/callbacks" } do
            local known = { ca = pair.cert, cert = pair.cert, key = pair.key }
            local ws = assert(websocket.connect(base .. path, { tls = known }))
            assert.equal("TLSv1.3 localhost", ws:read(20000))
            ws = assert(websocket.connect(base .. path, { tls = TRUST }))
            assert.equal("TLSv1.3 nobody", ws:read(20000))
        end
    end)

    it("serves others while some stall in the handshake, and closes those", function()
        tools.steadily(100, function()
            local base, port, server = serve(function() return "ok" end,
                { handshakeTimeout = 200 })
            local stalled = {}
            for i = 1, 20 do
                stalled[i] = keep(assert(tcp.connect(port)))
                stalled[i]:write("\22\3\1")
            end
            assert.equal("ok", assert(https.get(base, { tls = TRUST, keepAlive = false })).body)
            eventually(function() return server:connections() == 0 end)
            assert.equal(20, server.tls:stats().failed)
        end)
    end)

    it("tells plain clients that they are wrong here", function()
        local _, port = serve(function() return "secret" end)
        local text = plain(port, get("/"))
        assert.truthy(text:find("^HTTP/1.1 400 "), text)
        assert.is_nil(text:find("secret", 1, true))
    end)

    it("sends plain clients to https where that is asked for", function()
        local _, port = serve(function() return "secret" end, { plainHttp = "redirect" })
        local text = plain(port, "GET /a/b?c=d HTTP/1.1\r\nHost: localhost:" .. port .. "\r\n\r\n")
        assert.truthy(text:find("^HTTP/1.1 308 "), text)
        assert.truthy(text:find("\r\nLocation: https://localhost:" .. port .. "/a/b?c=d\r\n", 1,
            true), text)
        assert.truthy(plain(port, "GET / HTTP/1.0\r\n\r\n"):find("^HTTP/1.1 400 "))
        assert.truthy(plain(port, "nonsense\r\n\r\n") == "")
    end)

    it("serves plain clients too where that is asked for", function()
        local base, port = serve(function(req) return req.scheme end, { plainHttp = "serve" })
        assert.equal("https", assert(https.get(base, { tls = TRUST })).body)
        assert.equal("http", assert(http.get("http://127.0.0.1:" .. port)).body)
    end)

    it("comes behind a proxy's header, in one packet with it or not", function()
        local base, port = serve(function(req) return req.scheme .. " " .. req.remoteAddress end,
            { proxyProtocol = true, plainHttp = "serve" })
        local header = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n"
        local res = assert(process.run("curl", { "-sSk", "--haproxy-protocol", base }))
        if res.code == 0 then assert.equal("https 127.0.0.1", res.stdout) end
        for _, together in ipairs { true, false } do
            -- Puts the header before what the client says first.
            local middle = sockets.serve(function(client)
                local server = keep(assert(tcp.connect(port)))
                if not together then
                    server:write(header)
                    timer.sleep(5)
                end
                local first = client:readSome()
                server:write((together and header or "") .. first)
                server:pipe(client)
            end)
            local socket = raw(middle)
            socket:write(get("/", "Connection: close\r\n"))
            assert.truthy(socket:readAll():find("https 192.0.2.1", 1, true))
        end
        assert.truthy(plain(port, header .. get("/", "Connection: close\r\n"))
            :find("http 192.0.2.1", 1, true))
    end)

    it("fails by name where it cannot be trusted", function()
        local base = serve(function() return "" end)
        local res, err = https.get(base)
        assert.is_nil(res)
        assert.equal("TLS_CERT_VERIFY", err.name)
        res, err = https.get(base:gsub("localhost", "127.0.0.1"),
            { tls = { ca = pair.cert, serverName = "example.com" } })
        assert.is_nil(res)
        assert.equal("TLS_HOSTNAME", err.name)
        local silent = sockets.serve(function(socket) socket:readAll() end)
        res, err = https.get("https://127.0.0.1:" .. silent, { tlsTimeout = 20 })
        assert.is_nil(res)
        assert.equal("ETIMEDOUT", err.name)
        assert.equal("tls", err.timeout)
        local server, failed = https.createServer(0, function() end, { cert = pair.cert })
        assert.is_nil(server)
        assert.equal("TLS_CONFIG", failed.name)
    end)

    it("gives its memory back when connections are idle", function()
        local _, port, server = serve(function() return ("x"):rep(10000) end)
        local idle = {}
        for i = 1, 50 do
            idle[i] = raw(port)
            idle[i]:write(get("/"))
            assert.truthy(idle[i]:readSome())
        end
        assert.equal(50, server:connections())
        for i = 1, 50 do idle[i]:close() end
        eventually(function() return server:connections() == 0 end)
    end)
end)

describe("clients that fail in the handshake", function()
    it("are told of once, and by their reason; those that just leave are not", function()
        local result = program.eval [[
            local https, tcp, timer, tls = require "https", require "tcp", require "timer",
                require "tls"
            local pair, other = tls.selfSigned "localhost", tls.selfSigned "localhost"
            local server = assert(https.createServer(0, function() end,
                { host = "127.0.0.1", cert = pair.cert, key = pair.key }))
            local port, failed = server:address().port, 0
            local function fails()
                failed = failed + 1
                while server.tls:stats().failed < failed do timer.sleep(1) end
                timer.sleep(0) -- whoever is told has been told
            end
            local left = assert(tcp.connect(port, "127.0.0.1"))
            left:write "\22\3\1"
            left:close()
            fails()
            for _ = 1, 3 do
                assert(not tls.connect(port, "127.0.0.1", { ca = other.cert }))
                fails()
            end
            server:close(0)
        ]]
        assert.equal(0, result.code)
        assert.equal("links: a client has failed: TLS_ALERT: tlsv1 alert unknown ca "
            .. "(tls handshake 127.0.0.1)\n", result.err)
    end)
end)

describe("the example", function()
    it("serves https with a certificate that it has made", function()
        local path = os.tmpname()
        local child = assert(process.spawn(tools.LINKS, { "examples/https.lua", "0", path },
            { stdin = "null", stdout = "pipe", stderr = "inherit" }))
        local url = assert(child:readline())
        local res = assert(https.get(url, { tls = { ca = path } }))
        assert.truthy(res.body:find("^hello over TLSv1.3"))
        child:kill()
        child:wait()
        os.remove(path)
    end)
end)

describe("a server whose system calls fail", function()
    it("serves https all the same", function()
        if require("child").isSanitized() or process.run("uname").stdout ~= "Linux\n" then
            return pending("needs LD_PRELOAD")
        end
        local library, cert = os.tmpname(), os.tmpname()
        local built = process.run(os.getenv("CC") or "cc",
            { "-shared", "-fPIC", "-O1", "-o", library, "tests/fault/fault.c" })
        assert.equal(0, built.code, built.stderr)
        for _, fault in ipairs { "send=EINTR/2 recv=EINTR/2", "send=short/2", "send=short" } do
            local child = assert(process.spawn(tools.LINKS, { "examples/https.lua", "0", cert }, {
                env = { LD_PRELOAD = library, FAULT = fault },
                stdin = "null", stdout = "pipe", stderr = "inherit",
            }))
            local url = assert(child:readline())
            local trust = { ca = assert(fs.readFile(cert)) }
            for _ = 1, 5 do
                local res = assert(https.get(url, { tls = trust, keepAlive = false }))
                assert.truthy(res.body:find("^hello over TLSv1.3"))
            end
            local plainly = http.get((url:gsub("^https", "http")), { redirects = 0 })
            assert.equal(308, plainly and plainly.status)
            child:kill()
            child:wait()
        end
        os.remove(library)
        os.remove(cert)
    end)
end)

describe("clients of another make", function()
    local function has(name)
        local done = process.run(name, { name == "curl" and "--version" or "version" })
        return done and done.code == 0
    end

    it("speak https: curl", function()
        if not has("curl") then return pending("curl is not installed") end
        local path = os.tmpname()
        assert(fs.writeFile(path, pair.cert))
        local base = serve(function(req) return req.tls.version .. " " .. #req:body() end)
        for option, version in pairs { ["--tlsv1.3"] = "TLSv1.3", ["--tls-max"] = "TLSv1.2" } do
            local done = assert(process.run("curl", { "-sS", "--cacert", path, "--data-binary",
                "@" .. path, base, option, option == "--tls-max" and "1.2" or nil }))
            assert.equal(version .. " " .. #pair.cert, done.stdout, done.stderr)
        end
        local done = assert(process.run("curl", { "-sS", base }))
        -- It cannot verify; or there is nobody at all that the system trusts.
        assert.is_true(done.code == 60 or done.code == 77, done.stderr)
        os.remove(path)
    end)

    it("speak https: openssl s_client, and may not renegotiate", function()
        if not has("openssl") then return pending("openssl is not installed") end
        local _, port = serve(function(req) return req.tls.cipher end)
        local child = assert(process.spawn("openssl", { "s_client", "-quiet", "-tls1_2", "-connect",
            "127.0.0.1:" .. port }, { stdin = "pipe", stdout = "pipe", stderr = "pipe" }))
        child:write(get("/", "Connection: close\r\n"))
        local text = assert(child:readAll())
        assert.truthy(text:find("ECDHE-ECDSA", 1, true), text)
        child:wait()
        child = assert(process.spawn("openssl", { "s_client", "-tls1_2", "-connect",
            "127.0.0.1:" .. port }, { stdin = "pipe", stdout = "pipe", stderr = "stdout" }))
        child:write("R\n")
        text = assert(child:readAll())
        assert.truthy(text:find("renegotiation", 1, true), text)
        child:kill()
        child:wait()
    end)
end)
