package.path = "tests/support/?.lua;" .. package.path

local fs = require "fs"
local sockets = require "sockets"
local sync = require "sync"
local task = require "task"
local tcp = require "tcp"
local timer = require "timer"
local tls = require "tls"
local tools = require "tools"

local keep, eventually, fails = sockets.keep, sockets.eventually, tools.fails

after_each(sockets.close_all)

local pair = tls.selfSigned()
local TRUST = { ca = pair.cert }

local function with(options, more)
    local all = {}
    for name, value in pairs(options) do all[name] = value end
    for name, value in pairs(more or {}) do all[name] = value end
    return all
end

local function serve(onconnect, options)
    local server = assert(tls.createServer(0, onconnect,
        with({ host = "127.0.0.1", cert = pair.cert, key = pair.key }, options)))
    keep { close = function() server:close(0) end }
    return server:address().port, server
end

local function connect(port, options)
    local socket, err = tls.connect(port, "127.0.0.1", with(TRUST, options))
    if socket then keep(socket) end
    return socket, err
end

-- Both ends of a connection over TLS.
local function both(server_options, client_options)
    local accepted = sync.channel(1)
    local port = serve(function(socket) accepted:send(socket:detach()) end, server_options)
    local client = assert(connect(port, client_options))
    return client, keep(assert(accepted:receive(20000)))
end

-- A server whose handshakes fail, and a channel that gets the errors.
local function failing(options)
    local errors = sync.channel(16)
    local port, server = serve(function() end, with({
        onError = function(err) errors:send(err) end,
    }, options))
    return port, errors, server
end

-- Stands between two sides: relay(from, to, direction) moves the bytes.
local function between(port, relay)
    return (sockets.serve(function(client)
        local server = keep(assert(tcp.connect(port)))
        local back = task.spawn(relay, server, client, "back")
        relay(client, server, "forth")
        back:join()
    end))
end

describe("tls", function()
    it("encrypts what tcp sends in the open", function()
        local client, peer = both()
        client:write("hello\nworld\n")
        assert.equal("hello", peer:readline())
        assert.equal("world\n", peer:read(6))
        peer:write { "a", "b", ("c"):rep(3) }
        assert.equal("abccc", client:read(5))
        local info = client:tlsInfo()
        assert.equal("TLSv1.3", info.version)
        assert.truthy(info.cipher:find("^TLS_"))
        assert.is_true(info.authorized)
        assert.is_false(info.resumed)
        assert.equal("CN=localhost", info.peer.subject)
        assert.same({ "DNS:localhost", "IP:127.0.0.1", "IP:::1" }, info.peer.san)
        assert.equal(64, #info.peer.fingerprint256)
        assert.is_nil(peer:tlsInfo().peer)
        assert.is_nil(peer:tlsInfo().serverName)
    end)

    it("sends nothing in the open", function()
        local seen = {}
        local port = serve(function(socket)
            socket:readline()
            socket:write("the answer is secret\n")
        end)
        local middle = between(port, function(from, to)
            while true do
                local data = from:readSome()
                if not data then break end
                seen[#seen + 1] = data
                to:write(data)
            end
            to:shutdown()
        end)
        local client = connect(middle)
        client:write("the question is secret\n")
        assert.equal("the answer is secret\n", client:readAll())
        local all = table.concat(seen)
        assert.truthy(#all > 500)
        assert.is_nil(all:find("secret", 1, true))
    end)

    it("moves much in both directions at once, to a peer who is slow too", function()
        local data = {}
        for i = 1, 60000 do data[i] = ("%08d-%s\n"):format(i, ("x"):rep(i % 100)) end
        data = table.concat(data)
        local client, peer = both()
        local function echo()
            local sent = task.spawn(function() return peer:write(data) end)
            local got = peer:read(#data)
            assert(sent:join())
            return got
        end
        local t = task.spawn(echo)
        local writer = task.spawn(function() return client:write(data) end)
        timer.sleep(20) -- until both are stuck
        assert.truthy(client:read(#data) == data)
        local _, got = t:join()
        assert.truthy(got == data)
        local _, written = writer:join()
        assert.equal(#data, written)
    end)

    it("holds a writer up whose peer does not read, and no more than that", function()
        local client, peer = both()
        local err = sockets.stuff(client)
        assert.equal("ETIMEDOUT", err.name)
        local sent = client.bytesWritten
        assert.truthy(sent < 64 * 1048576)
        local drain = task.spawn(function() return #peer:readAll() end)
        client:close()
        local _, got = drain:join()
        assert.equal(sent, got)
    end)

    it("sends files", function()
        local path = os.tmpname()
        local data = ("0123456789abcdef"):rep(100000)
        assert(fs.writeFile(path, data))
        local client, peer = both()
        local t = task.spawn(function()
            client:write("head ")
            local sent = assert(client:sendFile(path))
            client:close()
            return sent
        end)
        assert.truthy(peer:readAll() == "head " .. data)
        local _, sent = t:join()
        assert.equal(#data, sent)
        os.remove(path)
    end)

    -- Sends a file between two texts; whether the kernel has encrypted them.
    local function with_ktls(ktls)
        local path, text = os.tmpname(), ("0123456789"):rep(300000)
        assert(fs.writeFile(path, text))
        local used
        local port = serve(function(socket)
            used = socket:tlsInfo().ktls
            socket:write("head")
            socket:sendFile(path)
            socket:write("tail")
            socket:shutdown()
            socket:read(1)
        end, { ktls = ktls })
        local socket = connect(port)
        local data, err = socket:readAll(10000000)
        os.remove(path)
        assert.is_nil(err)
        assert.truthy(data == "head" .. text .. "tail")
        assert.is_false(socket:tlsInfo().ktls)
        return used
    end

    it("does without the kernel's where that is asked for", function()
        assert.is_false(with_ktls(false))
    end)

    it("is the kernel's work where it has TLS", function()
        local used = with_ktls("auto")
        if not used then return pending("needs a kernel with TLS, and a libssl that uses it") end
    end)

    it("is piped from and to sockets in the open", function()
        local data = ("pipe "):rep(200000)
        local a, b = both()
        local c, d = sockets.pair()
        local t = task.spawn(function() return b:pipe(c) end)
        local u = task.spawn(function()
            a:write(data)
            return a:shutdown()
        end)
        assert.truthy(d:readAll() == data)
        d:write("back")
        d:close()
        assert.equal("back", a:readAll())
        assert(t:join())
        assert(u:join())
    end)

    it("tells the end from being cut off", function()
        local client, peer = both()
        peer:write("all of it")
        peer:close()
        assert.equal("all of it", client:readAll())
        local port = serve(function(socket) socket:write("not all of it") end)
        -- Keeps the last record back, which says that this is the end.
        local middle = between(port, function(from, to, direction)
            while true do
                local data = from:readSome()
                if not data then break end
                local last = direction == "back" and data:sub(-24, -20) == "\23\3\3\0\19"
                to:write(last and data:sub(1, -25) or data)
            end
            to:shutdown()
        end)
        client = assert(connect(middle))
        local data, err = client:readAll()
        assert.equal("TLS_TRUNCATED", err.name)
        assert.equal("not all of it", data)
    end)

    it("shuts one direction down", function()
        local client, peer = both()
        client:write("question")
        client:shutdown()
        assert.equal("question", peer:readAll())
        peer:write("answer")
        peer:close()
        assert.equal("answer", client:readAll())
    end)

    it("has timeouts and cancels as in the open", function()
        local client, peer = both()
        client:setTimeout(20)
        fails("ETIMEDOUT", client:read(1))
        client:setTimeout(0)
        fails("ECANCELED", sockets.cancelled(function() return client:read(1) end))
        peer:write("x")
        assert.equal("x", client:read(1))
        client:close()
        fails("CLOSED", client:read(1))
        fails("CLOSED", client:tlsInfo())
    end)

    it("works over Unix sockets", function()
        local unix = require "unix"
        local path = os.tmpname()
        os.remove(path)
        local server = assert(unix.createServer(path, function(socket)
            assert(socket:startTls { server = true, cert = pair.cert, key = pair.key })
            socket:write("over unix")
        end))
        local socket = keep(assert(unix.connect(path)))
        assert(socket:startTls { serverName = "localhost", ca = pair.cert })
        assert.equal("over unix", socket:readAll())
        server:close()
    end)
end)

describe("the handshake", function()
    it("may come one byte at a time, and everything after it", function()
        local port = serve(function(socket)
            socket:write(socket:readline() .. " came\n")
        end)
        local middle = between(port, function(from, to)
            while true do
                local data = from:readSome()
                if not data then break end
                for i = 1, #data do
                    if not to:write(data:sub(i, i)) then return end
                    task.yield()
                end
            end
            to:shutdown()
        end)
        for _, version in ipairs { "1.2", "1.3" } do
            local client = assert(connect(middle, { maxVersion = version }))
            client:write("hello\n")
            assert.equal("hello came", client:readline())
            assert.equal("TLSv" .. version, client:tlsInfo().version)
            client:close()
        end
    end)

    it("may be broken off after any of its flights", function()
        local port, _, server = failing()
        for n = 0, 1400, 97 do
            for _, direction in ipairs { "forth", "back" } do
                local middle = between(port, function(from, to, way)
                    local left = way == direction and n or 1e9
                    while true do
                        local data = from:readSome()
                        if not data then break end
                        data = data:sub(1, left)
                        left = left - #data
                        to:write(data)
                        if left == 0 then
                            from:close(true)
                            to:close(true)
                            break
                        end
                    end
                    to:close()
                end)
                local socket, err = connect(middle, { connectTimeout = 20000 })
                if socket then
                    local _, failed = socket:read(1)
                    assert.truthy(failed)
                    socket:close()
                else
                    assert.truthy(err.name == "TLS_HANDSHAKE" or err.name == "ECONNRESET"
                        or err.name == "EPIPE", tostring(err))
                end
            end
        end
        eventually(function() return server:connections() == 0 end)
    end)

    it("has a time of its own, and who stalls holds nobody up", function()
        tools.steadily(150, function()
            local port, errors = failing { handshakeTimeout = 300 }
            local silent = keep(assert(tcp.connect(port)))
            local half = keep(assert(tcp.connect(port)))
            half:write("\22\3\1\2\0\1\0")
            assert(connect(port)):close()
            fails("ETIMEDOUT", nil, errors:receive(20000))
            fails("ETIMEDOUT", nil, errors:receive(20000))
            assert.equal("", silent:readAll())
            assert.equal("", half:readAll())
        end)
    end)

    it("of a client has that time too", function()
        local port = sockets.serve(function(socket) socket:readAll() end)
        fails("ETIMEDOUT", connect(port, { handshakeTimeout = 20 }))
    end)

    it("can be cancelled", function()
        local port = sockets.serve(function(socket) socket:readAll() end)
        fails("ECANCELED", sockets.cancelled(function() return connect(port) end))
        fails("ETIMEDOUT", task.withTimeout(20, connect, port))
    end)

    it("fails for who speaks something else", function()
        local port, errors = failing()
        for text, reason in pairs {
            ["GET / HTTP/1.1\r\nHost: a\r\n\r\n"] = "http request",
            ["SSH-2.0-OpenSSH_9.2\r\n"] = "wrong version number",
            [("\0"):rep(100)] = "wrong version number",
            ["\22\3\1\255\255" .. ("x"):rep(100)] = "packet length too long",
        } do
            local socket = keep(assert(tcp.connect(port)))
            socket:write(text)
            local err = fails("TLS_HANDSHAKE", nil, errors:receive(20000))
            assert.equal(reason, err.message)
            assert.truthy(socket:readAll())
        end
        local open = sockets.serve(function(socket) socket:write("220 ready\r\n") end)
        fails("TLS_HANDSHAKE", connect(open))
    end)

    it("fails where the peer leaves", function()
        local port = sockets.serve(function(socket) socket:read(10) end)
        local _, err = connect(port)
        assert.truthy(err.name == "TLS_HANDSHAKE" or err.name == "ECONNRESET", tostring(err))
        local server, errors = failing()
        tcp.connect(server):close()
        fails("TLS_HANDSHAKE", nil, errors:receive(20000))
    end)

    it("agrees on a version, or fails", function()
        local port, errors = failing { minVersion = "1.3" }
        fails("TLS_ALERT", connect(port, { maxVersion = "1.2" }))
        fails("TLS_HANDSHAKE", nil, errors:receive(20000))
        local client = both({ maxVersion = "1.2" })
        assert.equal("TLSv1.2", client:tlsInfo().version)
    end)

    it("agrees on a protocol, or fails", function()
        local client, peer = both({ alpn = { "h2", "http/1.1" } }, { alpn = { "http/1.1", "h2" } })
        assert.equal("h2", client:tlsInfo().alpn)
        assert.equal("h2", peer:tlsInfo().alpn)
        client = both({ alpn = { "h2" } })
        assert.is_nil(client:tlsInfo().alpn)
        client = both(nil, { alpn = { "h2" } })
        assert.is_nil(client:tlsInfo().alpn)
        local port, errors = failing { alpn = { "h2" } }
        fails("TLS_NO_ALPN", connect(port, { alpn = { "http/1.1" } }))
        fails("TLS_NO_ALPN", nil, errors:receive(20000))
    end)

    it("takes the last session with a host up again, and no other", function()
        local ctx = assert(tls.createContext(TRUST))
        for _, version in ipairs { "1.2", "1.3" } do
            local port, server = serve(function(socket) socket:write("x") end,
                { maxVersion = version })
            local function resumed(options)
                local socket = assert(connect(port, options))
                assert.equal("x", socket:readAll())
                local info = socket:tlsInfo()
                assert.equal("CN=localhost", info.peer.subject)
                assert.is_true(info.authorized)
                socket:close()
                return info.resumed
            end
            local own = { context = ctx, serverName = version == "1.2" and "localhost" or "::1" }
            assert.is_false(resumed(own))
            assert.is_true(resumed(own))
            assert.is_true(resumed(own))
            assert.is_false(resumed { context = ctx, serverName = "127.0.0.1" })
            assert.is_false(resumed { minVersion = version, serverName = "localhost" })
            assert.equal(2, server.tls:stats().resumed)
            fails("TLS_HOSTNAME", connect(port, { context = ctx, serverName = "example.com" }))
            ctx = assert(tls.createContext(TRUST))
        end
    end)

    it("counts", function()
        local port, server = serve(function() end)
        connect(port)
        connect(port, { serverName = "example.com" })
        eventually(function() return server.tls:stats().handshakes == 1 end)
        eventually(function() return server.tls:stats().failed == 1 end)
    end)
end)

describe("socket:startTls", function()
    it("goes on encrypted in the middle of a protocol", function()
        local client, peer = sockets.pair()
        local t = task.spawn(function()
            assert(peer:readline() == "STARTTLS")
            peer:write("go ahead\n")
            assert(peer:startTls { server = true, cert = pair.cert, key = pair.key })
            peer:write(peer:readline() .. " encrypted\n")
        end)
        client:write("STARTTLS\n")
        assert.equal("go ahead", client:readline())
        assert(client:startTls { serverName = "localhost", ca = pair.cert })
        client:write("hello\n")
        assert.equal("hello encrypted", client:readline())
        assert(t:join())
        assert.equal("localhost", peer:tlsInfo().serverName)
        fails("EALREADY", client:startTls { serverName = "localhost", ca = pair.cert })
    end)

    it("refuses what was smuggled in before it", function()
        local client, peer = sockets.pair()
        client:write("STARTTLS\nMAIL FROM:<attacker>\n")
        assert.equal("STARTTLS", peer:readline())
        fails("PROTOCOL", peer:startTls { server = true, cert = pair.cert, key = pair.key })
        assert.is_true(peer.closed)
    end)

    it("is busy while somebody reads", function()
        local client = sockets.pair()
        task.spawn(client.read, client, 1)
        task.yield()
        fails("EBUSY", client:startTls { serverName = "localhost", ca = pair.cert })
    end)

    it("is an option of tcp.connect", function()
        local port = serve(function(socket) socket:write("hello") end)
        local socket = keep(assert(tcp.connect(port, "127.0.0.1", { tls = TRUST })))
        assert.equal("hello", socket:readAll())
        fails("TLS_CERT_VERIFY", tcp.connect(port, "127.0.0.1", { tls = {} }))
    end)

    it("raises where a client does not say whom it expects", function()
        local client = sockets.pair()
        local ok, message = pcall(client.startTls, client, {})
        assert.is_false(ok)
        assert.truthy(tostring(message):find("serverName is missing", 1, true))
    end)
end)

describe("the options of tls", function()
    it("are checked, at the caller's line", function()
        tools.blames('did you mean "cert"', tls.createContext, { certs = "" })
        tools.blames('minVersion must be "1.2" or "1.3", not "1.1"', tls.createContext,
            { minVersion = "1.1" })
        tools.blames("minVersion is higher", tls.createContext,
            { minVersion = "1.3", maxVersion = "1.2" })
        tools.blames("clientAuth must be", tls.createContext, { clientAuth = "maybe" })
        tools.blames("alpn[1]", tls.createContext, { alpn = { "" } })
        tools.blames('ktls must be "auto", true or false', tls.createContext, { ktls = "on" })
        tools.blames("ticketKeys", tls.createContext, { ticketKeys = "short" })
        tools.blames('unknown option "watched"', tls.createServer, 0, print,
            { cert = pair.cert, key = pair.key, watched = true })
        tools.blames("onconnect must be [function]", tls.createServer, 0, nil, {})
        tools.blames("a certificate cannot be for", tls.selfSigned, "a,b")
        tools.blames("options.context must be", tls.connect, 1, "a", { context = {} })
        tools.blames('tls.connect(port, host[, options]) unknown option "watched"', tls.connect, 1,
            "a", { watched = true })
        tools.blames("tls.connect(port, host[, options]) port must be", tls.connect, "1", "a")
    end)

    it("that are of no use are an error by name", function()
        local other = tls.selfSigned("other")
        for what, options in pairs {
            ["key does not belong to cert"] = { cert = pair.cert, key = other.key },
            ["cert"] = { cert = pair.cert:sub(1, 200), key = pair.key },
            ["key"] = { cert = pair.cert, key = pair.key:sub(1, 100) },
            ["ca"] = { cert = pair.cert, key = pair.key, ca = "-----BEGIN nothing" },
            ["crl"] = { cert = pair.cert, key = pair.key, crl = pair.cert },
            ["ca: "] = { cert = pair.cert, key = pair.key,
                ca = pair.cert .. pair.cert:sub(1, 200) },
            ["chain"] = { cert = pair.cert .. other.cert:sub(1, 200), key = pair.key },
            -- Nobody is asked for a passphrase on the terminal.
            ["cert: "] = { cert = pair.cert:gsub("\n", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: "
                .. "AES-256-CBC,00112233445566778899aabbccddeeff\n\n", 1), key = pair.key },
            ["ciphers"] = { cert = pair.cert, key = pair.key, ciphers = "nonsense" },
            ["ciphers of TLS 1.3"] = { cert = pair.cert, key = pair.key,
                cipherSuites = "nonsense" },
            ["curves"] = { cert = pair.cert, key = pair.key, curves = "nonsense" },
            ["a server needs cert and key"] = {},
        } do
            options.server = true
            local err = fails("TLS_CONFIG", tls.createContext(options))
            assert.truthy(err.message:find(what, 1, true), err.message)
        end
        fails("ENOENT", tls.createContext { server = true, cert = "no such file" })
        fails("TLS_CONFIG", tls.createServer(0, function() end, { cert = pair.key }))
    end)

    it("have aliases of Node.js", function()
        local port = serve(function(socket) socket:write("x") end)
        sockets.with_log(function()
            local socket = keep(assert(tls.connect(port, "127.0.0.1",
                { rejectUnauthorized = false })))
            assert.equal("x", socket:read(1))
            assert.is_false(socket:tlsInfo().authorized)
        end)
    end)

    it("choose the cipher of TLS 1.3", function()
        local name = "TLS_CHACHA20_POLY1305_SHA256"
        local client, peer = both({ cipherSuites = name })
        assert.same({ name, name }, { client:tlsInfo().cipher, peer:tlsInfo().cipher })
    end)

    it("come as a context that many connections share", function()
        local ctx = assert(tls.createContext(with(TRUST, { alpn = { "a" } })))
        local port = serve(function(socket) socket:write("x") end, { alpn = { "a" } })
        for _ = 1, 3 do
            local socket = keep(assert(tls.connect(port, "127.0.0.1", { context = ctx })))
            assert.equal("a", socket:tlsInfo().alpn)
        end
        assert.equal(3, ctx:stats().handshakes)
    end)

    it("take a passphrase for the key", function()
        if not require("certs").available() then return pending("openssl is not installed") end
        local path = os.tmpname()
        assert(fs.writeFile(path, pair.key))
        local encrypted = assert(require("process").run("openssl", { "pkcs8", "-topk8", "-in", path,
            "-passout", "pass:open sesame" })).stdout
        os.remove(path)
        assert.truthy(encrypted:find("ENCRYPTED", 1, true))
        assert(tls.createContext { server = true, cert = pair.cert, key = encrypted,
            passphrase = "open sesame" })
        fails("TLS_CONFIG", tls.createContext { server = true, cert = pair.cert, key = encrypted })
        fails("TLS_CONFIG", tls.createContext { server = true, cert = pair.cert, key = encrypted,
            passphrase = "wrong" })
    end)
end)
