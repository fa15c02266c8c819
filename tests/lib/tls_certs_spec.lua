package.path = "tests/support/?.lua;" .. package.path

local certs = require "certs"
local fs = require "fs"
local http = require "http"
local https = require "https"
local process = require "process"
local sockets = require "sockets"
local sync = require "sync"
local tls = require "tls"
local tools = require "tools"

local keep, fails = sockets.keep, tools.fails

if not certs.available() then
    describe("certificates", function()
        it("are verified", function() pending("openssl is not installed") end)
    end)
    return
end

local ca = certs.authority("links test authority")
local stranger = certs.authority("another authority")
local good = ca:issue("example.com", { san = "DNS:example.com,DNS:*.example.org,IP:127.0.0.1" })

teardown(function()
    ca:close()
    stranger:close()
end)

after_each(sockets.close_all)

local function with(options, more)
    local all = {}
    for name, value in pairs(options) do all[name] = value end
    for name, value in pairs(more or {}) do all[name] = value end
    return all
end

local function serve(pair, options, onconnect)
    local server = assert(tls.createServer(0, onconnect or function(socket)
        socket:write((socket:tlsInfo().serverName or "nobody") .. "\n")
    end, with({ host = "127.0.0.1", cert = pair.cert, key = pair.key }, options)))
    keep { close = function() server:close(0) end }
    return server:address().port, server
end

local function connect(port, name, options)
    local socket, err = tls.connect(port, "127.0.0.1",
        with({ ca = ca.cert, serverName = name }, options))
    if socket then keep(socket) end
    return socket, err
end

-- By a client who comes back with the session of the time before.
local function served(port, name)
    local socket = assert(connect(port, name))
    assert.equal(name .. "\n", socket:readAll())
    return socket:tlsInfo().peer
end

describe("a server's certificate", function()
    it("is good for the names and addresses it has, and for nothing else", function()
        local port = serve(good)
        for _, name in ipairs { "example.com", "EXAMPLE.com", "www.example.org", "127.0.0.1" } do
            assert.equal("example.com", assert(connect(port, name)):tlsInfo().peer.commonName)
        end
        for _, name in ipairs {
            "example.net", "www.example.com", "example.org", "a.b.example.org", "127.0.0.2", "::1",
            "example.com.evil.net",
        } do
            fails("TLS_HOSTNAME", connect(port, name))
        end
        assert(connect(port, "example.net", { checkHost = false }))
    end)

    it("must be of somebody who is trusted", function()
        local port = serve(stranger:issue("example.com"))
        local err = fails("TLS_CERT_VERIFY", connect(port, "example.com"))
        assert.truthy(err.message:find("local issuer", 1, true), err.message)
        assert(connect(port, "example.com", { ca = { ca.cert, stranger.cert } }))
        fails("TLS_CERT_VERIFY", tls.connect(port, "127.0.0.1", { serverName = "example.com" }))
        local own = tls.selfSigned("example.com")
        err = fails("TLS_CERT_VERIFY", connect(serve(own), "example.com"))
        assert.equal("self-signed certificate", err.message)
    end)

    it("must come with its chain, and be no further from who is trusted than it may", function()
        local middle = certs.authority("links test middle", ca)
        local leaf = middle:issue("example.com")
        middle:close()
        local err = fails("TLS_CERT_VERIFY", connect(serve(leaf), "example.com"))
        assert.equal("unable to get local issuer certificate", err.message)
        local port = serve { cert = leaf.cert .. middle.cert, key = leaf.key }
        assert(connect(port, "example.com", { verifyDepth = 1 }))
        err = fails("TLS_CERT_VERIFY", connect(port, "example.com", { verifyDepth = 0 }))
        assert.equal("certificate chain too long", err.message)
    end)

    it("must not have expired, and must have begun", function()
        local old = ca:issue("example.com", { from = "20200101000000Z", to = "20210101000000Z" })
        local err = fails("TLS_CERT_VERIFY", connect(serve(old), "example.com"))
        assert.equal("certificate has expired", err.message)
        local new = ca:issue("example.com", { from = "20900101000000Z", to = "20910101000000Z" })
        err = fails("TLS_CERT_VERIFY", connect(serve(new), "example.com"))
        assert.equal("certificate is not yet valid", err.message)
    end)

    it("must not be revoked, where there is a list", function()
        local bad = ca:issue("example.com")
        local port = serve(bad)
        assert(connect(port, "example.com", { crl = ca:crl() }))
        ca:revoke(bad)
        local err = fails("TLS_CERT_VERIFY", connect(port, "example.com", { crl = ca:crl() }))
        assert.equal("certificate revoked", err.message)
        assert(connect(serve(good), "example.com", { crl = ca:crl() }))
    end)

    it("may be on a list that is one context's and nobody else's", function()
        local bundle, list = os.tmpname(), os.tmpname()
        assert(fs.writeFile(bundle, ca.cert .. stranger.cert))
        assert(fs.writeFile(list, ca:crl()))
        local script = [[
            local tls = require "tls"
            local function try(port, options)
                options.serverName = "example.com"
                local socket, err = tls.connect(port, "127.0.0.1", options)
                print(socket and "trusted" or err)
            end
            try(%d, { crl = %q })
            try(%d, {})
            try(%d, { crl = %q })
        ]]
        local other = serve(stranger:issue("example.com"))
        local done = assert(process.run(tools.LINKS, { "-e",
            script:format(serve(good), list, other, other, list) },
            { env = { SSL_CERT_FILE = bundle } }))
        os.remove(bundle)
        os.remove(list)
        local first, second, third = done.stdout:match("^(.-)\n(.-)\n(.-)\n$")
        assert.same({ "trusted", "trusted" }, { first, second }, done.stderr)
        assert.truthy(third:find("unable to get certificate CRL", 1, true), third)
    end)

    it("may be pinned", function()
        local port = serve(good)
        local pin = tls.certificate(good.cert).fingerprint256
        assert(connect(port, "example.com", { pin = pin:upper():gsub("..", "%0:", 31) }))
        assert(connect(port, "example.com", { pin = { ("00"):rep(32), pin } }))
        fails("TLS_CERT_VERIFY", connect(port, "example.com", { pin = ("00"):rep(32) }))
    end)

    it("may be one of each type", function()
        local rsa = ca:issue("example.com", { type = "rsa" })
        local port = serve({ cert = { good.cert, rsa.cert }, key = { good.key, rsa.key } },
            { maxVersion = "1.2" })
        local ec = assert(connect(port, "example.com",
            { ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }))
        assert.truthy(ec:tlsInfo().cipher:find("ECDSA", 1, true))
        local other = assert(connect(port, "example.com",
            { ciphers = "ECDHE-RSA-AES128-GCM-SHA256" }))
        assert.truthy(other:tlsInfo().cipher:find("ECDHE-RSA", 1, true))
    end)

    it("is verified by what the system trusts, where nothing else is said", function()
        local bundle = os.tmpname()
        assert(fs.writeFile(bundle, ca.cert))
        local port = serve(good)
        local script = ("print(require'tls'.connect(%d, '127.0.0.1'))"):format(port)
        local function run(env)
            return assert(process.run(tools.LINKS, { "-e", script }, { env = env })).stdout
        end
        assert.truthy(run({ SSL_CERT_FILE = bundle }):find("^socket: "))
        assert.truthy(run({ SSL_CERT_FILE = "/dev/null" }):find("TLS_", 1, true))
        os.remove(bundle)
    end)
end)

describe("server names", function()
    local www = ca:issue("www.example.com")
    local any = ca:issue("any", { san = "DNS:*.example.net" })

    it("choose the certificate", function()
        local port = serve(good, { sni = {
            ["www.example.com"] = { cert = www.cert, key = www.key },
            ["*.Example.net"] = { cert = any.cert, key = any.key },
        } })
        assert.equal("www.example.com", served(port, "www.example.com").commonName)
        assert.equal("any", served(port, "a.example.net").commonName)
        assert.equal("example.com", served(port, "example.com").commonName)
        assert.equal("example.com", assert(connect(port, "127.0.0.1")):tlsInfo().peer.commonName)
        fails("TLS_HOSTNAME", connect(port, "a.b.example.net"))
        fails("TLS_HOSTNAME", connect(port, "example.net"))
    end)

    it("have options of their own, and what these do not say is as the server has it", function()
        local ctx = assert(tls.createContext { server = true, cert = any.cert, key = any.key,
            maxVersion = "1.2" })
        local port = serve(good, { alpn = { "a" }, sni = {
            ["www.example.com"] = { cert = www.cert .. www.key, minVersion = "1.3",
                alpn = { "b" } },
            ["*.example.net"] = ctx,
            ["a.example.org"] = { curves = "P-384" },
        }, maxVersion = "1.3" })
        local function agreed(name, options)
            local socket = assert(connect(port, name, with({ alpn = { "b", "a" } }, options)))
            local info = socket:tlsInfo()
            return info.version .. " " .. tostring(info.alpn)
        end
        assert.equal("TLSv1.3 b", agreed("www.example.com"))
        fails("TLS_ALERT", connect(port, "www.example.com", { maxVersion = "1.2" }))
        assert.equal("TLSv1.2 a", agreed("example.com", { maxVersion = "1.2" }))
        assert.equal("TLSv1.2 nil", agreed("a.example.net"))
        assert.equal("TLSv1.3 a", agreed("a.example.org", { curves = "P-384" }))
        fails("TLS_ALERT", connect(port, "a.example.org", { curves = "X25519" }))
        assert.equal("TLSv1.3 a", agreed("b.example.org", { curves = "X25519" }))
    end)

    it("have options that are checked as the server's are", function()
        for text, sni in pairs {
            ['options.sni["a"]: unknown option "crt" (did you mean "cert"?)'] = {
                a = { crt = "" },
            },
            ['options.sni["a"]: options.minVersion must be'] = { a = { minVersion = "1.1" } },
            ['options.sni["a"] must be [table], not "cert.pem"'] = { a = "cert.pem" },
            ['options.sni["1"]'] = { { cert = "" } },
        } do
            tools.blames(text, tls.createContext, { sni = sni })
        end
    end)

    it("are looked up by a function that may wait, while others go on", function()
        local asked, gate = {}, sync.event()
        local ctx = assert(tls.createContext { server = true, cert = www.cert, key = www.key })
        local port = serve(good, { onServerName = function(name)
            asked[#asked + 1] = name
            if name == "www.example.com" then
                gate:wait(20000)
                return ctx
            end
            if name == "refused.example.com" then return false end
            if name == "broken.example.com" then error("cannot look it up") end
        end })
        local slow = require("task").spawn(served, port, "www.example.com")
        assert.equal("example.com", served(port, "example.com").commonName)
        fails("TLS_ALERT", connect(port, "refused.example.com"))
        local log = sockets.with_log(function()
            fails("TLS_ALERT", connect(port, "broken.example.com"))
        end)
        assert.truthy(log:find("cannot look it up", 1, true))
        assert(connect(port, "127.0.0.1"))
        gate:set()
        local _, peer = slow:join()
        assert.equal("www.example.com", peer.commonName)
        table.sort(asked)
        assert.same({ "broken.example.com", "example.com", "refused.example.com",
            "www.example.com" }, asked)
    end)

    it("are looked up with a word about who asks", function()
        local from
        local port = serve(good, { onServerName = function(_, asker) from = asker end })
        local socket = assert(connect(port, "example.com"))
        assert.same({ remoteAddress = "127.0.0.1", remotePort = socket:localAddress().port }, from)
    end)

    it("of a client that leaves meanwhile harm nobody", function()
        local gate = sync.event()
        local port, server = serve(good, { handshakeTimeout = 100,
            onServerName = function() gate:wait(20000) end })
        fails("ETIMEDOUT", connect(port, "example.com", { handshakeTimeout = 20 }))
        sockets.eventually(function() return server.tls:stats().failed == 1 end)
        gate:set()
        assert(server:setTls { handshakeTimeout = 10000 })
        assert(connect(port, "example.com"))
    end)
end)

describe("a client's certificate", function()
    local alice = ca:issue("alice", { san = "email:alice@example.com" })
    local mallory = stranger:issue("alice")

    local function who(options)
        local seen = sync.channel(8)
        local port = serve(good, with({ ca = ca.cert, onError = function(err) seen:send(err) end },
            options), function(socket)
            local peer = socket:tlsInfo().peer
            seen:send(peer and peer.commonName or "nobody")
        end)
        return function(pair)
            local socket, err = connect(port, "example.com", pair and
                { cert = pair.cert, key = pair.key })
            local got = assert(seen:receive(20000))
            if socket then
                local _, late = socket:read(1)
                err = late
            end
            return type(got) == "table" and got.name or got, err
        end
    end

    it("may be asked for", function()
        local ask = who { clientAuth = "request" }
        assert.equal("alice", (ask(alice)))
        assert.equal("nobody", (ask()))
        assert.equal("TLS_CERT_VERIFY", (ask(mallory)))
    end)

    it("is asked for by Node.js's names too", function()
        local ask = who { requestCert = true, rejectUnauthorized = false }
        assert.equal("nobody", (ask()))
        ask = who { requestCert = true }
        assert.equal("alice", (ask(alice)))
        assert.equal("TLS_HANDSHAKE", (ask()))
    end)

    it("may be required, and revoked", function()
        local eve = ca:issue("eve")
        local ask = who { clientAuth = "require" }
        assert.equal("alice", (ask(alice)))
        local got, err = ask()
        assert.equal("TLS_HANDSHAKE", got)
        assert.equal("TLS_ALERT", err.name)
        got, err = ask(mallory)
        assert.equal("TLS_CERT_VERIFY", got)
        assert.equal("TLS_ALERT", err.name)
        assert.equal("eve", (ask(eve)))
        ca:revoke(eve)
        ask = who { clientAuth = "require", crl = ca:crl() }
        assert.equal("TLS_CERT_VERIFY", (ask(eve)))
        assert.equal("alice", (ask(alice)))
    end)

    it("may be for some routes only", function()
        local app = http.router()
        app:get("/", function() return "all" end)
        app:get("/any", https.clientCert(), function(req) return req.tls.peer.commonName end)
        app:get("/alice", https.clientCert(function(peer, req)
            return req.path == "/alice" and peer.commonName == "alice"
        end), function() return "secret" end)
        local server = assert(https.createServer(0, app, { host = "127.0.0.1", cert = good.cert,
            key = good.key, ca = ca.cert, clientAuth = "request" }))
        local function get(path, pair)
            local res = assert(https.get("https://127.0.0.1:" .. server:address().port .. path, {
                tls = { ca = ca.cert, cert = pair and pair.cert, key = pair and pair.key },
            }))
            return res.status == 200 and res.body or res.status
        end
        local bob = ca:issue("bob")
        assert.same({ "all", 403, 403 }, { get("/"), get("/any"), get("/alice") })
        assert.same({ "bob", 403 }, { get("/any", bob), get("/alice", bob) })
        assert.same({ "alice", "secret" }, { get("/any", alice), get("/alice", alice) })
        server:close()
    end)

    it("comes with the chain behind it", function()
        local seen = sync.channel(1)
        local port = serve({ cert = good.cert .. ca.cert, key = good.key },
            { ca = ca.cert, clientAuth = "request" }, function(socket)
                seen:send(socket:tlsInfo())
            end)
        local info = assert(connect(port, "example.com", { cert = alice.cert .. ca.cert,
            key = alice.key })):tlsInfo()
        assert.equal(1, #info.chain)
        assert.equal("CN=links test authority", tls.certificate(info.chain[1]).subject)
        assert.same(info.chain, assert(seen:receive(10000)).chain)
    end)

    it("says who it is", function()
        local about = tls.certificate(alice.cert)
        assert.equal("CN=alice", about.subject)
        assert.equal("CN=links test authority", about.issuer)
        assert.same({ "email:alice@example.com" }, about.san)
        assert.truthy(about.notAfter:match("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$"))
        fails("PARSE", tls.certificate("no certificate"))
    end)
end)

describe("sessions", function()
    local function client(port, ...)
        local done = assert(process.run("openssl", { "s_client", "-connect", "127.0.0.1:" .. port,
            "-quiet", "-servername", "example.com", ... }, { stdin = "null" }))
        return done.stdout .. done.stderr
    end

    local function resumed(first, second, ...)
        local path = os.tmpname()
        local counts = {}
        local function port_of(options)
            local port, server = serve(good, options, function(socket) socket:write("x") end)
            counts[#counts + 1] = server
            return port
        end
        local from = port_of(first)
        client(from, "-sess_out", path, ...)
        local to = second and port_of(second) or from
        client(to, "-sess_in", path, ...)
        os.remove(path)
        return counts[#counts].tls:stats().resumed == 1
    end

    it("are taken up again by a ticket, in TLS 1.2 and 1.3", function()
        assert.is_true(resumed({}, nil, "-tls1_3"))
        assert.is_true(resumed({}, nil, "-tls1_2"))
    end)

    it("are taken up without tickets too, and are kept here then", function()
        assert.is_true(resumed({ sessionTickets = false }, nil, "-tls1_2"))
    end)

    it("are taken up by another server of the same program or secret", function()
        assert.is_true(resumed({}, {}, "-tls1_3"))
        local secret = ("k"):rep(32)
        assert.is_true(resumed({ ticketKeys = secret }, { ticketKeys = secret }, "-tls1_3"))
        assert.is_false(resumed({ ticketKeys = secret }, { ticketKeys = ("j"):rep(32) }, "-tls1_3"))
    end)

    it("are not taken up by a server with another certificate", function()
        local other = ca:issue("example.com")
        for _, version in ipairs { "-tls1_2", "-tls1_3" } do
            assert.is_false(resumed({}, { cert = other.cert, key = other.key }, version))
        end
    end)

    it("are not taken up where more is asked of the client", function()
        assert.is_false(resumed({}, { clientAuth = "request", ca = ca.cert }, "-tls1_3"))
    end)
end)

describe("files of certificates", function()
    local dir, cert, key

    before_each(function()
        dir = assert(fs.tempDir())
        cert, key = dir .. "/cert.pem", dir .. "/key.pem"
        assert(fs.writeFile(cert, good.cert))
        assert(fs.writeFile(key, good.key))
    end)

    after_each(function() fs.remove(dir, { recursive = true }) end)

    it("are served anew within a second when they have changed", function()
        local port = serve({ cert = cert, key = key })
        local before = assert(connect(port, "example.com"))
        assert.equal(tls.certificate(good.cert).serial, before:tlsInfo().peer.serial)
        local new = ca:issue("example.com")
        local serial = tls.certificate(new.cert).serial
        assert(fs.writeFile(cert .. ".new", new.cert))
        assert(fs.writeFile(key, new.key))
        assert(fs.rename(cert .. ".new", cert))
        sockets.with_log(function()
            sockets.eventually(function() return served(port, "example.com").serial == serial end)
        end)
        assert.equal("example.com\n", before:readAll())
    end)

    it("that cannot be used are reported, and the old ones kept", function()
        local port, server = serve({ cert = cert, key = key })
        local log = sockets.with_log(function(so_far)
            assert(fs.writeFile(cert, "-----BEGIN CERTIFICATE-----\nnonsense\n"))
            sockets.eventually(function() return so_far():find("kept", 1, true) end)
        end)
        assert.truthy(log:find("TLS_CONFIG", 1, true), log)
        assert.truthy(log:find("kept", 1, true))
        assert.equal(tls.certificate(good.cert).serial, served(port, "example.com").serial)
        local ok, err = server:setTls { cert = cert, key = key }
        fails("TLS_CONFIG", ok, err)
        local own = ca:issue("example.com")
        assert(server:setTls { cert = own.cert, key = own.key })
        assert.equal(tls.certificate(own.cert).serial, served(port, "example.com").serial)
    end)

    it("are not all that setTls changes, and what it does not say stays", function()
        local function nobody() return nil end
        local port, server = serve(good, { clientAuth = "require", ca = ca.cert, alpn = { "a" } },
            function(socket) socket:write(socket:tlsInfo().alpn or "none") end)
        local function heard(options)
            local socket, err = connect(port, "www.example.com", with({ alpn = { "a" } }, options))
            if not socket then return err.name end
            local text
            text, err = socket:readAll()
            return err and err.name or text
        end
        local www = ca:issue("www.example.com")
        local alice = ca:issue("alice")
        local shown = { cert = alice.cert, key = alice.key }
        assert.equal("TLS_HOSTNAME", heard(shown))
        assert(server:setTls { cert = www.cert .. www.key })
        assert.equal("TLS_ALERT", heard {})
        assert.equal("a", heard(shown))
        local asked
        local function ask(name) asked = name end
        assert(server:setTls { clientAuth = "none", onServerName = ask })
        assert.equal("a", heard {})
        assert.equal("www.example.com", asked)
        asked = nil
        assert(server:setTls { onServerName = nobody })
        assert.equal("a", heard {})
        assert.is_nil(asked)
        assert.has_error(function() server:setTls() end)
    end)
end)

describe("SSLKEYLOGFILE", function()
    it("gets the keys of all connections", function()
        local path = os.tmpname()
        local port = serve(good)
        local script = "print(require'tls'.connect(" .. port .. ", nil, {insecure=true}))"
        assert(process.run(tools.LINKS, { "-e", script }, { env = { SSLKEYLOGFILE = path } }))
        local text = assert(fs.readFile(path))
        assert.truthy(text:find("CLIENT_TRAFFIC_SECRET_0 %x+ %x+\n"))
        os.remove(path)
    end)
end)
