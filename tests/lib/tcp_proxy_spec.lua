package.path = "tests/support/?.lua;" .. package.path

local sockets = require "sockets"
local sync = require "sync"
local task = require "task"
local tcp = require "tcp"
local tools = require "tools"
local unix = require "unix"

local keep, pair, raises = sockets.keep, sockets.pair, tools.raises

after_each(sockets.close_all)

-- A server that answers with who it thinks its client is, and then with what it reads.
local function behind()
    return (sockets.serve(function(socket)
        local from, to = socket:remoteAddress(), socket:localAddress()
        socket:write(("%s %d %s %d\n"):format(from.address, from.port, to.address, to.port))
        socket:write(socket:readAll() or "")
    end, { proxyProtocol = true }))
end

-- What a plain server reads of a connection that is made with that header.
local function raw(header)
    local port = sockets.serve(function(socket)
        socket:write((socket:readAll():gsub("\r\n", "|")))
    end)
    local socket = assert(tcp.connect(port, "127.0.0.1", { proxyHeader = header }))
    socket:shutdown()
    local text = socket:readAll()
    socket:close()
    return text
end

local SOURCE = { address = "192.0.2.1", port = 5 }
local DESTINATION = { address = "192.0.2.9", port = 80 }

describe("a PROXY header of tcp.connect", function()
    it("tells of the addresses that it is given, in both versions", function()
        for version = 1, 2 do
            local socket = keep(assert(tcp.connect(behind(), "127.0.0.1", {
                proxyHeader = { version = version, source = SOURCE, destination = DESTINATION },
            })))
            socket:write("hello")
            socket:shutdown()
            assert.equal("192.0.2.1 5 192.0.2.9 80", socket:readline())
            assert.equal("hello", socket:readAll())
        end
    end)

    it("tells of the peer of a socket", function()
        local client, ours = pair()
        local at = client:localAddress()
        for _, header in ipairs { ours, { version = 1, socket = ours } } do
            local options = { proxyHeader = header }
            local socket = keep(assert(tcp.connect(behind(), "127.0.0.1", options)))
            assert.equal(("127.0.0.1 %d 127.0.0.1 %d"):format(at.port, ours:localAddress().port),
                socket:readline())
        end
    end)

    it("is of version 2 where nobody says which", function()
        local header = raw({ source = SOURCE, destination = DESTINATION })
        assert.equal("||\0|QUIT\n\33\17\0\12", header:sub(1, 13))
    end)

    it("says that there is no client where it is given none", function()
        assert.equal("PROXY UNKNOWN|", raw({ version = 1 }))
        assert.equal(" \0\0\0", raw({ version = 2 }):sub(-4))
        local socket = keep(assert(tcp.connect(behind(), "127.0.0.1", { proxyHeader = {} })))
        assert.equal("127.0.0.1 " .. socket:localAddress().port, socket:readline():match("%S+ %S+"))
    end)

    it("has no address to tell of a client over a Unix socket", function()
        local path = os.tmpname()
        os.remove(path)
        local header
        keep(assert(unix.createServer(path, function(socket)
            header = raw({ version = 1, socket = socket })
        end)))
        assert(unix.connect(path)):readAll()
        assert.equal("PROXY UNKNOWN|", header)
    end)

    it("is an error where its socket is closed", function()
        local client = pair()
        client:close()
        local socket, err = tcp.connect(behind(), "127.0.0.1", { proxyHeader = client })
        assert.is_nil(socket)
        assert.equal("CLOSED", err.name)
    end)

    it("goes over a Unix socket too", function()
        local path = os.tmpname()
        os.remove(path)
        keep(assert(unix.createServer(path, function(socket)
            socket:write(socket:remoteAddress().address)
        end, { proxyProtocol = true })))
        local socket = assert(unix.connect(path, {
            proxyHeader = { source = SOURCE, destination = DESTINATION },
        }))
        assert.equal("192.0.2.1", socket:readAll())
    end)

    it("comes before TLS begins", function()
        local tls = require "tls"
        local made = tls.selfSigned()
        local seen
        local server = keep(assert(tls.createServer(0, function(socket)
            seen = socket:remoteAddress()
            socket:write("hello")
        end, { host = "127.0.0.1", cert = made.cert, key = made.key, proxyProtocol = true })))
        local socket = keep(assert(tcp.connect(server:address().port, "127.0.0.1", {
            tls = { ca = made.cert, serverName = "localhost" },
            proxyHeader = {
                source = { address = "192.0.2.7", port = 7 },
                destination = { address = "192.0.2.8", port = 8 },
            },
        })))
        assert.equal("hello", socket:read(5))
        assert.same({ family = 4, address = "192.0.2.7", port = 7 }, seen)
    end)

    it("raises for what is no such thing", function()
        local function try(header)
            return function() tcp.connect(1, "127.0.0.1", { proxyHeader = header }) end
        end
        raises("options.proxyHeader must be %[table%], not 1", try(1))
        raises('unknown option "verson" %(did you mean "version"%?%)', try({ verson = 1 }))
        raises("options.version must be %[integer%] from 1 to 2, not 3", try({ version = 3 }))
        raises("options.proxyHeader.socket must be a %[socket%]", try({ socket = {} }))
        raises("must have a socket, or a source and a destination", try({ source = SOURCE }))
        raises("options.proxyHeader.source must have a numeric address", try({
            source = { address = "example.com", port = 1 }, destination = DESTINATION,
        }))
        raises("options.proxyHeader.destination.port must be %[integer%]", try({
            source = SOURCE, destination = { address = "::1", port = 65536 },
        }))
        raises("options.proxyHeader must be %[table%]",
            function() unix.connect("@x", { proxyHeader = "v1" }) end)
    end)
end)

describe("a PROXY header of socket:pipe", function()
    it("tells the other side who the client is, in both versions", function()
        for version = 1, 2 do
            local target, moved = behind(), sync.channel(1)
            local port = sockets.serve(function(socket)
                local up = assert(tcp.connect(target))
                moved:send(socket:pipe(up, { proxyHeader = version }))
                up:close()
            end)
            local client = keep(assert(tcp.connect(port)))
            client:write("hello")
            client:shutdown()
            local line = client:readline()
            assert.equal(("127.0.0.1 %d 127.0.0.1 %d"):format(client:localAddress().port, port),
                line)
            assert.equal("hello", client:readAll())
            assert.same({ sent = 5, received = #line + 6 }, moved:receive(20000))
        end
    end)

    it("is an error where the other side is piped into already", function()
        local _, a = pair()
        local _, b = pair()
        local _, c = pair()
        local piping = task.spawn(function() return a:pipe(b, { oneWay = true }) end)
        task.yield()
        local moved, err = c:pipe(b, { proxyHeader = 1 })
        assert.same({ sent = 0, received = 0 }, moved)
        assert.equal("EBUSY", err.name)
        piping:cancel()
        raises("options.proxyHeader must be %[integer%] from 0 to 2",
            function() c:pipe(b, { proxyHeader = 3 }) end)
    end)
end)
