-- Where a server listens, and whom it takes its clients for.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local serving = require "serving"
local sync = require "sync"
local tcp = require "tcp"
local timer = require "timer"
local tools = require "tools"
local unix = require "unix"
local wire = require "wire"

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
local serve = serving.serve

after_each(serving.close_all)

local function keep(server)
    table.insert(serving.open, server)
    return server
end

local function path_of_socket()
    local path = os.tmpname()
    os.remove(path)
    return path
end

-- The body of the answer to a request on a socket of links' own.
local function ask(socket, text)
    assert(socket:write((text or GET):gsub("Host: a\r\n", "Host: a\r\nConnection: close\r\n")))
    local all = assert(socket:readAll())
    socket:close()
    return all:match("\r\n\r\n(.*)$")
end

local function exists(path)
    local file = io.popen("test -S '" .. path .. "' && echo yes")
    local yes = file:read("*a") ~= ""
    file:close()
    return yes
end

describe("a server at several places", function()
    it("answers at all of them, and tells which they are", function()
        if not tools.has_ipv6 then return pending("needs IPv6") end
        local path = path_of_socket()
        local server = keep(assert(http.createServer({
            { port = 0, host = "127.0.0.1" }, { port = 0, host = "::1" }, "unix:" .. path,
        }, function(req) return req.remoteAddress .. " " .. req.localAddress end)))
        local at = server:addresses()
        assert.same({ 4, 6, "unix" }, { at[1].family, at[2].family, at[3].family })
        assert.equal(path, at[3].path)
        assert.same(at[1], server:address())
        assert.equal("127.0.0.1 127.0.0.1", wire.request(at[1].port, GET).body)
        assert.equal("::1 ::1", ask(assert(tcp.connect(at[2].port, "::1", { family = 6 }))))
        assert.equal("unix: unix:", ask(assert(unix.connect(path))))
        assert.truthy(tostring(server):find("unix:" .. path, 1, true))
        assert.equal(3, server:stats().accepted)
        assert.is_true(server:close())
        assert.is_false(exists(path))
        assert.is_nil(wire.connect(at[1].port))
    end)

    it("listens at none of them where one fails", function()
        local taken = serve(function() return "" end)
        local path = path_of_socket()
        local server, err = http.createServer(
            { "unix:" .. path, { port = taken, host = "127.0.0.1" } }, function() return "" end)
        assert.same({ nil, "EADDRINUSE", taken }, { server, err.name, err.port })
        assert.is_false(exists(path))
    end)

    it("takes a place as a table, with the mode of a socket's file", function()
        local path = path_of_socket()
        keep(assert(http.createServer({ path = path, mode = tonumber("600", 8) },
            function() return "x" end)))
        local file = io.popen("stat -c %a '" .. path .. "'")
        assert.equal("600\n", file:read("*a"))
        file:close()
        local _, err = http.createServer("unix:" .. path, function() return "" end)
        assert.equal("EADDRINUSE", err.name)
    end)

    it("shares its limit of connections among them", function()
        local server = keep(assert(http.createServer({ { port = 0, host = "127.0.0.1" },
            { port = 0, host = "127.0.0.1" } }, function() return "x" end, { maxConnections = 1 })))
        local at = server:addresses()
        local first = wire.connect(at[1].port)
        first:send(GET)
        first:response()
        local second = wire.connect(at[2].port)
        second:send(GET)
        wire.turn(5)
        assert.equal(1, server:connections())
        first:close()
        assert.equal("x", second:response().body)
        second:close()
    end)

    it("goes by the family for its default host", function()
        local server = keep(assert(http.createServer(0, function() return "x" end, { family = 6 })))
        assert.same({ 6, "::" }, { server:address().family, server:address().address })
    end)

    it("raises for what is no place, at the caller's line", function()
        local function message(...)
            local ok, err = pcall(http.createServer, ...)
            assert.is_false(ok)
            assert.truthy(err:find("http.createServer(", 1, true), err)
            return err
        end
        local function f() return "" end
        assert.truthy(message("8080", f):find('not "8080"', 1, true))
        assert.truthy(message({ 0, "x" }, f):find("list of these", 1, true))
        assert.truthy(message({ path = "/x", port = 1 }, f):find("one or the other", 1, true))
        assert.truthy(message({ prot = 1 }, f):find("unknown field", 1, true))
        assert.truthy(message(0, f, { family = 5 }):find("4 or 6", 1, true))
        assert.truthy(message(0, f, { trustedProxies = { "10.0.0.0/33" } }):find("10.0.0.0/33", 1,
            true))
        assert.truthy(message(0, f, { trustedProxies = { "::1", header = "Via" } }):find("header",
            1, true))
        assert.truthy(message(0, f, { onError = 1 }):find("onError", 1, true))
    end)
end)

describe("onConnection", function()
    it("is asked about every connection before it is read, and may refuse it", function()
        local seen = {}
        local port, server = serve(function(req)
            assert.equal(req.remotePort, req.socket.remotePort)
            return req.socket.remoteAddress
        end, {
            onConnection = function(socket)
                table.insert(seen, socket)
                return #seen ~= 2
            end,
        })
        local first = wire.connect(port)
        first:send(GET .. GET)
        assert.equal("127.0.0.1", first:response().body)
        assert.equal("127.0.0.1", first:response().body)
        local second = wire.connect(port)
        second:send(GET)
        assert.is_true(second:isClosed())
        assert.equal("127.0.0.1", wire.request(port, GET).body)
        assert.equal(3, #seen)
        assert.same({ 4, "127.0.0.1", "127.0.0.1", port },
            { seen[1].family, seen[1].remoteAddress, seen[1].localAddress, seen[1].localPort })
        wire.turn(5)
        assert.same({ 1, 3 }, { server:connections(), server:stats().requests })
        first:close()
        second:close()
    end)

    it("may wait, each for itself, for headerTimeout at most", function()
        tools.steadily(50, function()
            local n = 0
            local log = serving.with_log(function()
                local port = serve(function() return "in" end, {
                    headerTimeout = 100,
                    onConnection = function()
                        n = n + 1
                        if n == 1 then timer.sleep(60000) end
                        timer.sleep(1)
                    end,
                })
                local first = wire.connect(port)
                first:send(GET)
                assert.equal("in", wire.request(port, GET).body)
                assert.is_true(first:isClosed())
                first:close()
            end)
            assert.truthy(log:find("onConnection: ETIMEDOUT", 1, true), log)
        end)
    end)

    it("that raises lets nobody in, and says so in the log", function()
        local log = serving.with_log(function()
            local port = serve(function() return "in" end,
                { onConnection = function() error("no list to look at") end })
            local c = wire.connect(port)
            c:send(GET)
            assert.is_true(c:isClosed())
            c:close()
        end)
        assert.truthy(log:find("error in onConnection: .-no list to look at\nstack traceback"), log)
    end)

    it("counts who waits for the limit of connections, and serves on after refusing", function()
        local admit, asked, decided = false, 0, sync.event()
        local port, server = serve(function() return "in" end, {
            maxConnections = 1,
            onConnection = function()
                asked = asked + 1
                decided:wait()
                return admit
            end,
        })
        local refused = { wire.connect(port), wire.connect(port), wire.connect(port) }
        wire.eventually("the first one", function() return asked > 0 end)
        wire.turn()
        assert.same({ 1, 1 }, { asked, server:connections() })
        decided:set()
        for _, c in ipairs(refused) do
            assert.is_true(c:isClosed())
            c:close()
        end
        admit = true
        assert.equal("in", wire.request(port, GET).body)
        assert.equal(4, asked)
    end)

    it("does not keep a server open that is closed meanwhile", function()
        local begun, ended, go = false, false, sync.event()
        local port, server = serve(function() return "in" end, {
            onConnection = function()
                begun = true
                go:wait()
                ended = true
            end,
        })
        local c = wire.connect(port)
        c:send(GET)
        wire.eventually("the connection", function() return begun end)
        assert.equal(1, server:connections())
        assert.is_true(server:close())
        assert.is_true(c:isClosed())
        c:close()
        go:set()
        wire.eventually("the end", function() return ended end)
        assert.equal(0, server:connections())
    end)
end)

describe("maxRequestsPerConnection", function()
    it("closes with the answer to the last one", function()
        local port = serve(function() return "x" end, { maxRequestsPerConnection = 3 })
        local c = wire.connect(port)
        c:send(GET:rep(5))
        assert.is_nil(c:response().headers.connection)
        assert.is_nil(c:response().headers.connection)
        assert.equal("close", c:response().headers.connection)
        assert.is_true(c:isClosed())
        c:close()
    end)
end)

-- What the handler makes of these fields.
local function seen_by(port, fields)
    return wire.request(port, "GET / HTTP/1.1\r\nHost: inner\r\n" .. fields .. "\r\n").body
end

local function tell(req)
    return ("%s %s %s %s"):format(req.remoteAddress, tostring(req.remotePort), req.scheme, req.host)
end

local function without_port(text) return (text:gsub("^127.0.0.1 %d+ ", "127.0.0.1 * ")) end

describe("what proxies say", function()
    it("is not believed of anybody by default", function()
        local port = serve(tell)
        assert.equal("127.0.0.1 * http inner", without_port(seen_by(port,
            "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n" ..
            "Forwarded: for=1.2.3.4;proto=https\r\n")))
    end)

    it("is believed of those that are trusted, from the nearest on", function()
        local port = serve(tell, { trustedProxies = { "loopback", "10.0.0.0/8", "2001:db8::/32" } })
        for _, case in ipairs {
            { "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n",
                "1.2.3.4 nil https outer" },
            -- What stands before the first one that nobody vouches for is the client's invention.
            { "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.1.2.3\r\n", "1.2.3.4 nil http inner" },
            { "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.2.3.4\r\n",
                "1.2.3.4 nil http inner" },
            { "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n", "10.0.0.1 nil http inner" },
            { "X-Forwarded-For: 1.2.3.4:567\r\n", "1.2.3.4 567 http inner" },
            { "X-Forwarded-For: [2002::1]:80, 2001:db8::7\r\n", "2002::1 80 http inner" },
            { "X-Forwarded-For: unknown, 10.0.0.9\r\n", "10.0.0.9 nil http inner" },
            { "X-Forwarded-For: 1.2.3.4, 999.1.1.1\r\n", "127.0.0.1 * http inner" },
            { "X-Forwarded-For: \r\n", "127.0.0.1 * http inner" },
            { "X-Forwarded-Proto: HTTPS\r\n", "127.0.0.1 * https inner" },
            { "X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a b\r\n", "127.0.0.1 * http inner" },
            { "X-Forwarded-For: 1.2.3.4, 10.0.0.1\r\nX-Forwarded-Proto: https, http\r\n",
                "1.2.3.4 nil https inner" },
            { "Forwarded: for=1.2.3.4;proto=https\r\n", "127.0.0.1 * http inner" },
        } do
            assert.equal(case[2], without_port(seen_by(port, case[1])), case[1])
        end
    end)

    it("may be said by Forwarded, and then by nothing else", function()
        local port = serve(tell, { trustedProxies = { "127.0.0.1", "10.0.0.0/8",
            header = "Forwarded" } })
        for _, case in ipairs {
            { "Forwarded: for=1.2.3.4;proto=https;host=outer\r\n", "1.2.3.4 nil https outer" },
            { 'Forwarded: for=6.6.6.6, For="[2001:db8::1]:47011"; PROTO=https, for=10.0.0.1\r\n',
                "2001:db8::1 47011 https inner" },
            { 'Forwarded: for="_hidden, for=6.6.6.6", for=1.2.3.4;by=x\r\n',
                "1.2.3.4 nil http inner" },
            { 'Forwarded: for="1.2.3.4\r\n', "127.0.0.1 * http inner" },
            { "X-Forwarded-For: 1.2.3.4\r\n", "127.0.0.1 * http inner" },
        } do
            assert.equal(case[2], without_port(seen_by(port, case[1])), case[1])
        end
    end)

    it("makes cookies secure where the client came by TLS", function()
        local port = serve(function(_, res)
            res:cookie("a", "b")
            return "x"
        end, { trustedProxies = { "loopback" } })
        local function cookie(fields)
            return wire.request(port, "GET / HTTP/1.1\r\nHost: a\r\n" .. fields .. "\r\n")
                .headers["set-cookie"]
        end
        assert.truthy(cookie("X-Forwarded-Proto: https\r\n"):find("; Secure", 1, true))
        assert.is_nil(cookie(""):find("Secure", 1, true))
    end)

    it("survives any bytes", function()
        local port = serve(tell, { trustedProxies = { "loopback", header = "Forwarded" } })
        local c = wire.connect(port)
        math.randomseed(7)
        local alphabet = 'for=proto;host,"[]:.\\ 1a'
        for _ = 1, 300 do
            local text = {}
            for i = 1, math.random(40) do
                local at = math.random(#alphabet)
                text[i] = alphabet:sub(at, at)
            end
            c:send("GET / HTTP/1.1\r\nHost: a\r\nForwarded: " .. table.concat(text) .. "\r\n\r\n")
            assert.equal(200, c:response().status, table.concat(text))
        end
        c:close()
    end)
end)

describe("the PROXY protocol", function()
    local V2 = "\r\n\r\n\0\r\nQUIT\n\33\17\0\12\1\2\3\4\5\6\7\8\0\80\1\187"

    it("tells who the client is, in both versions, however it is split", function()
        local port = serve(tell, { proxyProtocol = true })
        for header, want in pairs {
            ["PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n"] = "1.2.3.4 80 http a",
            ["PROXY TCP6 ::1 ::2 80 443\r\n"] = "::1 80 http a",
            [V2] = "1.2.3.4 80 http a",
            ["PROXY UNKNOWN\r\n"] = "127.0.0.1 * http a",
        } do
            for at = 1, #header do
                local c = wire.connect(port)
                c:send(header:sub(1, at))
                wire.turn()
                c:send(header:sub(at + 1) .. GET .. GET)
                assert.equal(want, (c:response().body:gsub("^127%S+ %d+", "127.0.0.1 *")))
                assert.equal(200, c:response().status)
                c:close()
            end
        end
    end)

    it("is demanded, and nothing else is taken for it", function()
        local port, server = serve(tell, { proxyProtocol = true, headerTimeout = 50 })
        for _, bytes in ipairs { GET, "PROXY TCP4 1.2.3.4\r\n", "PROXY " .. ("x"):rep(200), "" } do
            local c = wire.connect(port)
            c:send(bytes)
            assert.is_true(c:isClosed())
            c:close()
        end
        assert.equal(3, server:stats().rejected)
        assert.equal(0, server:stats().requests)
    end)
end)
