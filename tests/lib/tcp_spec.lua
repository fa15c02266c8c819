package.path = "tests/support/?.lua;" .. package.path

local ffi = require "ffi"
local sockets = require "sockets"
local sync = require "sync"
local task = require "task"
local tcp = require "tcp"
local timer = require "timer"
local tools = require "tools"

local raises = tools.says
local pair, serve, keep, eventually = sockets.pair, sockets.serve, sockets.keep, sockets.eventually

after_each(sockets.close_all)

describe("tcp.createServer", function()
    it("serves each connection in a task of its own", function()
        local port = serve(function(socket) socket:write(socket:read(1)) end)
        local a, b = assert(tcp.connect(port)), assert(tcp.connect(port))
        b:write("b")
        assert.equal("b", b:read(1))
        a:write("a")
        assert.equal("a", a:read(1))
    end)

    it("gives onconnect the socket and the server", function()
        local given
        local port, server = serve(function(_, who) given = who end)
        assert(tcp.connect(port)):readAll()
        assert.equal(server, given)
    end)

    it("listens on 0.0.0.0, and on :: for family 6", function()
        local four = keep(assert(tcp.createServer(0, function() end)))
        assert.same({ family = 4, port = four:address().port, address = "0.0.0.0" }, four:address())
        if not tools.has_ipv6 then return pending("needs IPv6") end
        local six = keep(assert(tcp.createServer(0, function(s) s:write("6") end, { family = 6 })))
        assert.same({ family = 6, port = six:address().port, address = "::" }, six:address())
        assert.equal("6", assert(tcp.connect(six:address().port, nil, { family = 6 })):readAll())
    end)

    it("takes IPv4 on an IPv6 address unless v6only", function()
        if not tools.has_ipv6 then return pending("needs IPv6") end
        local port = serve(function(s) s:write("x") end, { family = 6 })
        assert.equal("x", assert(tcp.connect(port, "127.0.0.1")):readAll())
        port = serve(function(s) s:write("x") end, { family = 6, v6only = true })
        local _, err = tcp.connect(port, "127.0.0.1")
        assert.equal("ECONNREFUSED", err.name)
    end)

    it("sets nodelay, keepalive and keepidle on what it accepts", function()
        local _, peer = pair()
        assert.is_true(peer:getOption("nodelay"))
        assert.is_true(peer:getOption("keepalive"))
        _, peer = pair { nodelay = false, keepalive = false }
        assert.is_false(peer:getOption("nodelay"))
        assert.is_false(peer:getOption("keepalive"))
        _, peer = pair { keepidle = 77 }
        assert.equal(77, peer:getOption("keepidle"))
    end)

    it("applies the timeout to what it accepts", function()
        local _, peer = pair { timeout = 10 }
        local data, err = peer:read(1)
        assert.is_nil(data)
        assert.equal("ETIMEDOUT", err.name)
    end)

    it("shares its port by default, and does not with reuseport = false", function()
        local port = serve(function() end)
        local other = keep(assert(tcp.createServer(port, function() end, { host = "127.0.0.1" })))
        assert.equal(port, other:address().port)
        port = serve(function() end, { reuseport = false })
        local _, err = tcp.createServer(port, function() end, { host = "127.0.0.1",
            reuseport = false })
        assert.equal("EADDRINUSE", err.name)
        assert.equal(port, err.port)
        assert.equal("EADDRINUSE: address already in use (listen 127.0.0.1:" .. port .. ")",
            tostring(err))
    end)

    it("says what is wrong with a host that is none of ours, or no address", function()
        local _, err = tcp.createServer(0, function() end, { host = "192.0.2.1" })
        assert.equal("EADDRNOTAVAIL", err.name)
        _, err = tcp.createServer(0, function() end, { host = "nonsense" })
        assert.equal("EINVAL", err.name)
        _, err = tcp.createServer(0, function() end, { host = "127.0.0.1\0" })
        assert.equal("EINVAL", err.name)
    end)

    it("raises at the caller's line for what he got wrong", function()
        local here = "tests/lib/tcp_spec.lua:"
        for _, port in ipairs { -1, 65536, "x", 1.5, 0 / 0 } do
            local signature = "tcp.createServer(port, onconnect[, options])"
            raises(signature .. " port must be [integer] from 0 to 65535", function()
                tcp.createServer(port, function() end)
            end)
            raises(here, function() tcp.createServer(port, function() end) end)
        end
        raises("onconnect must be [function]", function() tcp.createServer(0) end)
        raises('unknown option "backlogg" (did you mean "backlog"?)', function()
            tcp.createServer(0, function() end, { backlogg = 1 })
        end)
        for option, bad in pairs { family = 5, host = 1, timeout = -1, nodelay = 1, keepalive = 0,
            keepidle = -1,
            backlog = 0, reuseport = 1, readBufferSize = 0, maxConnections = 0, v6only = 1,
                deferAccept = -1,
            proxyProtocol = 1 } do
            raises("options." .. option, function() tcp.createServer(0, function() end,
                { [option] = bad }) end)
        end
        raises("options.readBufferSize", function() tcp.createServer(0, function() end,
            { readBufferSize = 1025 }) end)
    end)

    it("closes the socket when onconnect returns, with what was written", function()
        local port, server = serve(function(socket) socket:write(("x"):rep(1000000)) end)
        assert.equal(1000000, #assert(tcp.connect(port)):readAll())
        eventually(function() return server:connections() == 0 end)
    end)

    it("does not let unread input of the client take back what was written", function()
        local port = serve(function(socket)
            socket:read(1)
            socket:write(("y"):rep(300000))
        end)
        local client = assert(tcp.connect(port))
        client:write(("z"):rep(100000))
        timer.sleep(5)
        local all, err = client:readAll()
        assert.is_nil(err)
        assert.equal(300000, #all)
    end)

    it("keeps a detached socket open", function()
        local client, peer, server = pair()
        peer:write("still")
        assert.equal("still", client:read(5))
        assert.equal(1, server:connections())
        peer:close()
        assert.equal(0, server:connections())
    end)

    it("reports an error in onconnect with its traceback, and goes on", function()
        local port, server
        local log = sockets.with_log(function()
            port, server = serve(function(socket)
                if socket:read(1) == "!" then error("oh no") end
                socket:write("fine")
            end)
            local client = assert(tcp.connect(port))
            client:write("!")
            assert.equal("", client:readAll())
        end)
        assert.truthy(log:find("links: tcp: error in onconnect: tests/lib/tcp_spec.lua:%d+: oh no"),
            log)
        assert.truthy(log:find("stack traceback", 1, true))
        local client = assert(tcp.connect(port))
        client:write("?")
        assert.equal("fine", client:readAll())
        eventually(function() return server:connections() == 0 end)
    end)

    it("leaves connections with the system until they send something, with deferAccept", function()
        if jit.os ~= "Linux" then return pending("this system cannot") end
        local port, server = serve(function(socket) socket:write(socket:readline()) end,
            { deferAccept = 5 })
        local client = keep(assert(tcp.connect(port)))
        timer.sleep(30)
        assert.equal(0, server:stats().accepted)
        client:write("hello\n")
        assert.equal("hello", client:readAll())
        assert.equal(1, server:stats().accepted)
    end)

    it("pauses accepting at maxConnections and goes on below it", function()
        local served, held = 0, {}
        local port, server = serve(function(socket)
            served = served + 1
            held[#held + 1] = socket:detach()
            socket:write("in")
        end, { maxConnections = 2 })
        local clients = {}
        for i = 1, 3 do clients[i] = keep(assert(tcp.connect(port))) end
        assert.equal("in", clients[1]:read(2))
        assert.equal("in", clients[2]:read(2))
        clients[3]:setTimeout(20)
        local _, err = clients[3]:read(2)
        assert.equal("ETIMEDOUT", err.name)
        clients[3]:setTimeout(20000)
        assert.equal(2, server:connections())
        held[1]:close()
        assert.equal("in", clients[3]:read(2))
        assert.equal(3, served)
        for _, socket in ipairs(held) do socket:close() end
    end)

    it("turns clients away when no descriptor is left, and recovers", function()
        collectgarbage() -- what it closes later would be descriptors to take
        collectgarbage()
        local accepted = 0
        local port, server = serve(function(socket)
            accepted = accepted + 1
            socket:write("hello")
            socket:readAll()
        end)
        local files = {}
        for _ = 1, 4 do keep(assert(tcp.connect(port))) end
        eventually(function() return accepted == 4 end)
        ffi.cdef [[
            struct spec_rlimit { unsigned long cur, max; };
            int getrlimit(int, struct spec_rlimit *);
            int setrlimit(int, const struct spec_rlimit *);
            int dup(int);
            int close(int);
        ]]
        local before = ffi.new("struct spec_rlimit")
        ffi.C.getrlimit(7, before)
        -- Sockets that have connected before their server runs out.
        for _ = 5, 8 do
            local pointer = ffi.new("links_tcp *[1]")
            local options = ffi.new("links_tcp_options", { read_buffer_size = 1024 })
            assert(ffi.C.links_tcp_connect(pointer, "127.0.0.1", port, options) == 0)
            keep(require("links.tcp.socket").own(pointer[0]))
        end
        -- No more than are open now; the holes below are filled.
        local limit = ffi.C.dup(0) + 1
        ffi.C.close(limit - 1)
        ffi.C.setrlimit(7, ffi.new("struct spec_rlimit", { cur = limit, max = before.max }))
        repeat
            local file = io.open("/dev/null")
            files[#files + 1] = file
        until not file
        local ok, failure = pcall(function()
            eventually(function() return server:stats().refused == 4 end)
            local _, err = tcp.connect(port)
            assert.equal("EMFILE", err.name)
            _, err = tcp.createServer(0, function() end)
            assert.equal("EMFILE", err.name)
        end)
        ffi.C.setrlimit(7, before)
        for _, file in ipairs(files) do file:close() end
        assert(ok, failure)
        assert.equal("hello", assert(tcp.connect(port)):read(5))
        assert.equal(4, server:connections() - 1)
    end)

    it("closes what the garbage collector finds, and counts it", function()
        local client, server
        do
            local accepted = sync.channel(1)
            local port
            port, server = serve(function(socket)
                socket:detach()
                accepted:send(true)
            end)
            client = keep(assert(tcp.connect(port)))
            accepted:receive()
        end
        eventually(function()
            collectgarbage()
            return server:stats().leaked == 1
        end)
        assert.equal("", client:readAll())
        assert.equal(0, server:connections())
    end)
end)

describe("server", function()
    it("stops listening on close and lets connections go on", function()
        local client, peer, server = pair()
        assert.is_true(server:close())
        assert.is_true(server:close())
        assert.is_false(server:stats().listening)
        client:write("on")
        assert.equal("on", peer:read(2))
        local _, err = tcp.connect(server:address().port)
        assert.equal("ECONNREFUSED", err.name)
    end)

    it("waits for its connections on close(ms)", function()
        local client, peer, server = pair()
        timer.setTimeout(5, function() peer:close() end)
        assert.is_true(server:close(5000))
        assert.equal("", client:readAll())
    end)

    it("breaks off what is left after close(ms)", function()
        local client, peer, server = pair()
        local ok, err = server:close(5)
        assert.is_nil(ok)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(peer.closed)
        local _, read_err = client:read(1)
        assert.equal("ECONNRESET", read_err.name)
        client, _, server = pair()
        _, err = server:close(0)
        assert.equal("ETIMEDOUT", err.name)
        assert.equal(0, server:connections())
        client:close()
    end)

    it("can be cancelled while it waits in close, and connections go on", function()
        local client, peer, server = pair()
        local ok, err = sockets.cancelled(function() return server:close(5000) end)
        assert.is_nil(ok)
        assert.equal("ECANCELED", err.name)
        client:write("x")
        assert.equal("x", peer:read(1))
    end)

    it("leaves connections in the queue while paused", function()
        local port, server = serve(function(socket) socket:write("x") end)
        server:pause()
        assert.is_true(server:stats().paused)
        local client = keep(assert(tcp.connect(port, nil, { timeout = 20 })))
        local _, err = client:read(1)
        assert.equal("ETIMEDOUT", err.name)
        client:setTimeout(20000)
        server:resume()
        assert.equal("x", client:read(1))
    end)

    it("counts", function()
        local client, _, server = pair()
        local stats = server:stats()
        assert.equal(1, stats.connections)
        assert.equal(1, stats.accepted)
        assert.equal(0, stats.refused)
        assert.equal(0, stats.rejected)
        assert.equal(0, stats.leaked)
        assert.is_true(stats.listening)
        client:close()
    end)

    it("has a table for its user, and a name", function()
        local _, _, server = pair()
        server.data.x = 1
        assert.equal(1, server.data.x)
        assert.equal("server: 127.0.0.1:" .. server:address().port, tostring(server))
        raises("server:close([ms]) ms", server.close, server, -1)
    end)
end)

describe("tcp.connect", function()
    it("connects to the loopback address by default", function()
        local port = serve(function(socket) socket:write("x") end)
        assert.equal("x", assert(tcp.connect(port)):readAll())
        assert.equal("x", assert(tcp.connect(port, "localhost")):readAll())
    end)

    it("names who refused", function()
        local port, server = serve(function() end)
        server:close()
        local socket, err = tcp.connect(port, "127.0.0.1")
        assert.is_nil(socket)
        assert.equal("ECONNREFUSED", err.name)
        assert.equal("127.0.0.1", err.address)
        assert.equal(port, err.port)
        assert.equal("ECONNREFUSED: connection refused (connect 127.0.0.1:" .. port .. ")",
            tostring(err))
    end)

    it("sets its options", function()
        local client = pair(nil, { keepidle = 55 })
        assert.is_true(client:getOption("nodelay"))
        assert.is_true(client:getOption("keepalive"))
        assert.equal(55, client:getOption("keepidle"))
        client = pair(nil, { nodelay = false, keepalive = false, timeout = 5 })
        assert.is_false(client:getOption("nodelay"))
        assert.is_false(client:getOption("keepalive"))
        local _, err = client:read(1)
        assert.equal("ETIMEDOUT", err.name)
    end)

    it("connects from a local address and port", function()
        local client, peer = pair(nil, { localAddress = "127.0.0.2" })
        assert.equal("127.0.0.2", client:localAddress().address)
        assert.equal("127.0.0.2", peer:remoteAddress().address)
        local port = serve(function(socket) socket:readAll() end)
        client:close(true)
        peer:close()
        -- The system may have given a port that was just free to somebody else.
        local again, free
        for _ = 1, 10 do
            client, peer = pair(nil, { localAddress = "127.0.0.2" })
            free = client:localAddress().port
            client:close(true)
            peer:close()
            again = tcp.connect(port, "127.0.0.1", { localAddress = "127.0.0.2",
                localPort = free })
            if again then break end
        end
        assert.equal(free, keep(assert(again)):localAddress().port)
        local _, err = tcp.connect(port, "127.0.0.1", { localAddress = "192.0.2.7" })
        assert.equal("EADDRNOTAVAIL", err.name)
    end)

    it("gives up after connectTimeout", function()
        -- A listener whose queue is full lets connections wait.
        local _, server = serve(function() end, { backlog = 1 })
        server:pause()
        local port, err = server:address().port, nil
        for _ = 1, 8 do
            local socket
            socket, err = tcp.connect(port, "127.0.0.1", { connectTimeout = 20 })
            if not socket then break end
            keep(socket)
        end
        assert.equal("ETIMEDOUT", err.name)
        assert.equal(port, err.port)
        assert.is_nil(err.deadline)
    end)

    it("can be cancelled and cut short by a deadline", function()
        local _, server = serve(function() end, { backlog = 1 })
        server:pause()
        local port = server:address().port
        local socket, err
        repeat
            socket = tcp.connect(port, "127.0.0.1", { connectTimeout = 20 })
            if socket then keep(socket) end
        until not socket
        socket, err = sockets.cancelled(function() return tcp.connect(port, "127.0.0.1") end)
        assert.is_nil(socket)
        assert.equal("ECANCELED", err.name)
        socket, err = task.withTimeout(10, tcp.connect, port, "127.0.0.1")
        assert.is_nil(socket)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(err.deadline)
    end)

    it("raises for what the caller got wrong", function()
        for _, port in ipairs { -1, 65536, "x" } do
            raises("tcp.connect(port[, host, options]) port must be [integer]", tcp.connect, port)
        end
        raises("host must be [string|nil]", tcp.connect, 1, 5)
        raises('unknown option "timout" (did you mean "timeout"?)', tcp.connect, 1, nil,
            { timout = 1 })
        raises("options.localAddress must be a numeric address", tcp.connect, 1, nil,
            { localAddress = "x" })
        raises("options.family must be 0, 4 or 6", tcp.connect, 1, nil, { family = 5 })
        raises("options.readBufferSize", tcp.connect, 1, nil, { readBufferSize = 0 })
        raises("options.readBufferSize", tcp.connect, 1, nil, { readBufferSize = 1025 })
        raises("options.localPort", tcp.connect, 1, nil, { localPort = 65536 })
        raises("options.connectTimeout", tcp.connect, 1, nil, { connectTimeout = -1 })
        raises("options.happyEyeballs", tcp.connect, 1, nil, { happyEyeballs = 1 })
    end)
end)

describe("tcp.connect with several addresses", function()
    local dns

    before_each(function()
        dns = package.loaded["links.dns"]
    end)
    after_each(function()
        package.loaded["links.dns"] = dns
    end)

    local function resolve_to(addresses, asked)
        package.loaded["links.dns"] = {
            lookup = function(host, options)
                if asked then asked[#asked + 1] = { host, options.family } end
                return addresses
            end,
        }
    end

    local function ip(address) return { address = address, family = tcp.isIP(address) } end

    it("asks the resolver for the family", function()
        local port, asked = serve(function(s) s:write("x") end), {}
        resolve_to({ ip "127.0.0.1" }, asked)
        assert.equal("x", assert(tcp.connect(port, "a.test")):readAll())
        assert(tcp.connect(port, "a.test", { family = 0 }))
        assert.same({ { "a.test", 4 }, { "a.test", 0 } }, asked)
    end)

    it("returns the resolver's error", function()
        local failure = require("links.errors").new(10004, "lookup")
        package.loaded["links.dns"] = { lookup = function() return nil, failure end }
        local socket, err = tcp.connect(1, "nowhere.test")
        assert.is_nil(socket)
        assert.equal(failure, err)
        assert.equal("ARES_ENOTFOUND", err.name)
    end)

    it("returns an error for names that are none", function()
        for _, name in ipairs { "", "a\0b", ("x"):rep(300), "a..b", "\255\254" } do
            local socket, err = tcp.connect(1, name, { connectTimeout = 3000 })
            assert.is_nil(socket)
            assert.is_string(err.name)
        end
    end)

    it("gives up a look-up after connectTimeout", function()
        package.loaded["links.dns"] = { lookup = function()
            local ok, err = timer.sleep(5000)
            return ok and {}, err
        end }
        local _, err = tcp.connect(1, "slow.test", { connectTimeout = 20 })
        assert.equal("ETIMEDOUT", err.name)
        assert.is_nil(err.deadline)
        _, err = task.withTimeout(20, tcp.connect, 1, "slow.test")
        assert.is_true(err.deadline)
    end)

    it("says so when a name has no address", function()
        resolve_to {}
        local _, err = tcp.connect(1, "empty.test")
        assert.equal("EADDRNOTAVAIL", err.name)
    end)

    it("goes on with the next one at once when one refuses", function()
        -- If it waited the 250 ms that it gives to one that hangs, it would be 1750 ms.
        local port = serve(function(s) s:write("x") end, { host = "127.0.0.8" })
        local addresses = {}
        for i = 1, 8 do addresses[i] = ip("127.0.0." .. i) end
        resolve_to(addresses)
        tools.within(1500, function()
            assert.equal("x", assert(tcp.connect(port, "a.test")):readAll())
        end)
    end)

    it("returns the last error, with its address and port, when all refuse", function()
        local port, server = serve(function() end)
        server:close()
        for _, happy in ipairs { true, false } do
            resolve_to { ip "127.0.0.1", ip "127.0.0.2" }
            local _, err = tcp.connect(port, "a.test", { happyEyeballs = happy })
            assert.equal("ECONNREFUSED", err.name)
            assert.equal("127.0.0.2", err.address)
            assert.equal(port, err.port)
        end
    end)

    it("does not wait for one that hangs for more than 250 ms", function()
        local port = sockets.hanging("127.0.0.1")
        keep(assert(tcp.createServer(port, function(s) s:write("x") end, { host = "127.0.0.2" })))
        resolve_to { ip "127.0.0.1", ip "127.0.0.2" }
        tools.within(2000, function()
            local began = timer.now()
            assert.equal("x", assert(tcp.connect(port, "a.test")):readAll())
            assert.is_true(timer.now() - began >= 249)
        end)
    end)

    it("waits for each to fail with happyEyeballs = false", function()
        local port = sockets.hanging("127.0.0.1")
        keep(assert(tcp.createServer(port, function(s) s:write("x") end, { host = "127.0.0.2" })))
        resolve_to { ip "127.0.0.1", ip "127.0.0.2" }
        local _, err = tcp.connect(port, "a.test", { happyEyeballs = false, connectTimeout = 400 })
        assert.equal("ETIMEDOUT", err.name)
    end)

    it("can be cancelled, and leaves no attempt behind", function()
        local port = sockets.hanging("127.0.0.1")
        resolve_to { ip "127.0.0.1", ip "127.0.0.1" }
        local stats = require("links.core").stats
        -- What earlier tests have dropped goes when the collector finds it.
        for _ = 1, 2 do collectgarbage() end
        timer.sleep(1)
        local watchers = stats().watchers
        local _, err = sockets.cancelled(function() return tcp.connect(port, "a.test") end)
        assert.equal("ECANCELED", err.name)
        eventually(function() return stats().watchers <= watchers end)
        _, err = task.withTimeout(300, tcp.connect, port, "a.test")
        assert.is_true(err.deadline)
        eventually(function() return stats().watchers <= watchers end)
    end)

    it("lets the families take turns", function()
        if not tools.has_ipv6 then return pending("needs IPv6") end
        local port = serve(function(s) s:write("x") end, { host = "::1", family = 6,
            v6only = true })
        resolve_to { ip "127.0.0.1", ip "127.0.0.2", ip "::1" }
        assert.equal(6, assert(tcp.connect(port, "a.test", { family = 0 })):remoteAddress().family)
    end)
end)

describe("tcp.isIP", function()
    it("tells addresses from names", function()
        for text, is in pairs { ["127.0.0.1"] = 4, ["0.0.0.0"] = 4, ["::"] = 6, ["fe80::1"] = 6,
            ["::ffff:1.2.3.4"] = 6,
            ["localhost"] = 0, [""] = 0, ["1.2.3"] = 0, ["1.2.3.4 "] = 0, ["127.0.0.1\0x"] = 0,
                ["256.1.1.1"] = 0,
            [("1"):rep(300)] = 0 } do
            assert.equal(is, tcp.isIP(text), text)
        end
        raises("tcp.isIP(address) address must be [string]", tcp.isIP)
    end)
end)
