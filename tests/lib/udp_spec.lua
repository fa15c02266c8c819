package.path = "tests/support/?.lua;" .. package.path

local task = require "task"
local timer = require "timer"
local tools = require "tools"
local udp = require "udp"

local sockets = {}

local function open(...)
    local socket = assert(udp.createSocket(...))
    sockets[#sockets + 1] = socket
    return socket
end

local function pair()
    local a, b = open(0, "127.0.0.1"), open(0, "127.0.0.1")
    return a, b, a:localAddress().port, b:localAddress().port
end

after_each(function()
    for _, socket in ipairs(sockets) do socket:close() end
    sockets = {}
end)

local function name_of(...)
    local value, err = ...
    assert.is_nil(value)
    return err.name
end

describe("udp.createSocket", function()
    it("binds to a port of the system's choice on all addresses", function()
        local at = open():localAddress()
        assert.equal("0.0.0.0", at.address)
        assert.equal(4, at.family)
        assert.is_true(at.port > 0)
        if not tools.has_ipv6 then return end
        at = open(0, nil, { family = 6 }):localAddress()
        assert.equal("::", at.address)
        assert.equal(6, at.family)
    end)

    it("takes an address or a name", function()
        assert.equal("127.0.0.1", open(0, "localhost"):localAddress().address)
        if not tools.has_ipv6 then return end
        assert.equal("::1", open(0, "::1"):localAddress().address)
        assert.truthy(tostring(open(0, "::1")):find("^udp socket: %[::1%]:%d+$"))
    end)

    it("names the error of what the system refuses", function()
        local port = open(0, "127.0.0.1"):localAddress().port
        local socket, err = udp.createSocket(port, "127.0.0.1")
        assert.is_nil(socket)
        assert.equal("EADDRINUSE", err.name)
        assert.equal("bind", err.syscall)
        assert.equal(port, err.port)
        assert.equal("EADDRNOTAVAIL", name_of(udp.createSocket(0, "192.0.2.1")))
        assert.equal("ARES_ENODATA", name_of(udp.createSocket(0, "::1", { family = 4 })))
        assert.equal("ARES_EBADNAME", name_of(udp.createSocket(0, "not a name")))
    end)

    it("shares a port with reuseport", function()
        local port = open(0, "127.0.0.1", { reuseport = true }):localAddress().port
        assert.equal(port, open(port, "127.0.0.1", { reuseport = true }):localAddress().port)
    end)

    it("takes IPv4 on an IPv6 socket with v6only off", function()
        if not tools.has_ipv6 then return pending("needs IPv6") end
        local both = open(0, "::", { v6only = false })
        assert(open():send("x", both:localAddress().port, "127.0.0.1"))
        local data, err, peer = both:recv(20000)
        assert.equal("x", data)
        assert.is_nil(err)
        assert.equal("::ffff:127.0.0.1", peer.address)
    end)

    it("raises at the caller's line for wrong arguments", function()
        local socket = open()
        local cases = {
            { "port must be %[integer%]", udp.createSocket, "53" },
            { "port must be %[integer%] from 0 to 65535, not 65536", udp.createSocket, 65536 },
            { "port must be %[integer%]", udp.createSocket, -1 },
            { "host must be %[string|nil%]", udp.createSocket, 0, 1 },
            { "options.family must be 4 or 6", udp.createSocket, 0, nil, { family = 5 } },
            { 'unknown option "broadcats" %(did you mean "broadcast"%?%)', udp.createSocket, 0, nil,
                { broadcats = true } },
            { "data must be %[string%]", socket.send, socket, 1 },
            { "port must be %[integer%]", socket.send, socket, "x", nil, "::1" },
            { "port must be %[integer%] from 1", socket.send, socket, "x", 0, "::1" },
            { "host must be %[string%]", socket.send, socket, "x", 1 },
            { "list%[1%] must be %[table%]", socket.sendMany, socket, { "x" } },
            { "list%[2%]%[1%] must be %[string%]", socket.sendMany, socket, { { "x" }, {} } },
            { "ms must be %[number%]", socket.recv, socket, "1" },
            { "ms must be %[number%]", socket.recv, socket, -1 },
            { "port must be %[integer%]", socket.connect, socket },
            { "group must be %[string%]", socket.addMembership, socket },
            { "iface must be %[string|nil%]", socket.dropMembership, socket, "239.0.0.1", 1 },
        }
        for _, case in ipairs(cases) do
            local ok, message = pcall(function()
                local _ = case[2](case[3], case[4], case[5], case[6]) -- the line to be blamed
            end)
            assert.is_false(ok)
            assert.truthy(message:find(case[1]), message)
            assert.truthy(message:find("udp_spec.lua:%d+: "), message)
        end
    end)
end)

describe("a datagram", function()
    it("comes as it was sent, with who sent it", function()
        local a, b, a_port, b_port = pair()
        for _, data in ipairs { "hello", "", "\0\255", ("x"):rep(1232), ("y"):rep(65507) } do
            assert.is_true(a:send(data, b_port, "127.0.0.1"))
            local got, err, peer = b:recv(20000)
            assert.equal(data, got)
            assert.is_nil(err)
            assert.same({ address = "127.0.0.1", port = a_port }, peer)
        end
    end)

    it("goes over IPv6, and to a name", function()
        if not tools.has_ipv6 then return pending("needs IPv6") end
        local a, b = open(0, "::1"), open(0, "::1")
        local port = b:localAddress().port
        assert(a:send("one", port, "::1"))
        assert(a:send("two", port, "localhost"))
        assert.equal("one", (b:recv(20000)))
        assert.equal("two", (b:recv(20000)))
        assert.equal("ARES_EBADNAME", name_of(a:send("x", port, "a..b")))
        assert.equal("EAFNOSUPPORT", name_of(a:send("x", port, "127.0.0.1")))
    end)

    it("is handed out in order, also when many came before the first was read", function()
        local a, b, _, b_port = pair()
        for i = 1, 200 do assert(a:send("datagram " .. i, b_port, "127.0.0.1")) end
        for i = 1, 200 do assert.equal("datagram " .. i, (b:recv(20000))) end
        assert.equal("ETIMEDOUT", name_of(b:recv(0)))
    end)

    it("wakes the one who waits for it", function()
        local a, b, _, b_port = pair()
        local t = task.spawn(b.recv, b)
        timer.sleep(1)
        assert(a:send("late", b_port, "127.0.0.1"))
        assert.equal("late", select(2, t:join(20000)))
    end)

    it("that is too long is a named error, and so is one for nobody", function()
        local a, _, _, b_port = pair()
        assert.equal("EMSGSIZE", name_of(a:send(("x"):rep(65508), b_port, "127.0.0.1")))
        assert.equal("EDESTADDRREQ", name_of(a:send("x")))
        assert.equal("EACCES", name_of(a:send("x", 9, "255.255.255.255")))
    end)

    it("goes with 63 others in one call by sendMany", function()
        local a, b, _, b_port = pair()
        local list = {}
        for i = 1, 150 do list[i] = { "m" .. i, b_port, "127.0.0.1" } end
        assert.equal(150, (a:sendMany(list)))
        for i = 1, 150 do assert.equal("m" .. i, (b:recv(20000))) end
        assert.equal(0, (a:sendMany {}))
    end)

    it("keeps its bounds in a run of one size, which the system moves in one piece", function()
        local a, b, _, b_port = pair()
        for size, count in pairs { [1] = 60, [1200] = 60, [1472] = 60, [9000] = 10 } do
            local list = {}
            for i = 1, count do list[i] = { string.char(64 + i):rep(size), b_port, "127.0.0.1" } end
            list[#list + 1] = { "the end", b_port, "127.0.0.1" }
            list[#list + 1] = { "", b_port, "127.0.0.1" }
            assert.equal(#list, (a:sendMany(list)))
            for i = 1, #list do assert.is_true(list[i][1] == b:recv(20000)) end
        end
    end)

    it("that cannot go ends sendMany, which tells how many have gone", function()
        local a, b, _, b_port = pair()
        local sent, err = a:sendMany { { "one", b_port, "127.0.0.1" },
            { "two", b_port, "127.0.0.1" }, { "three", b_port, "not an address" },
            { "four", b_port, "127.0.0.1" } }
        assert.equal(2, sent)
        assert.equal("EINVAL", err.name)
        sent, err = a:sendMany { { ("x"):rep(70000), b_port, "127.0.0.1" } }
        assert.equal(0, sent)
        assert.equal("EMSGSIZE", err.name)
        assert.equal("one", (b:recv(20000)))
        assert.equal("two", (b:recv(20000)))
        assert.equal("ETIMEDOUT", name_of(b:recv(5)))
    end)
end)

describe("the system's buffers", function()
    it("hold as much as recvBuffer and sendBuffer say", function()
        if jit.os ~= "Linux" then return pending("its /proc tells") end
        -- It is doubled there, for what the system keeps with each datagram.
        local small = open(0, "127.0.0.1", { recvBuffer = 8192, sendBuffer = 8192 })
        local usual = open(0, "127.0.0.1")
        local sender = open(0, "127.0.0.1")
        local function kept(socket)
            local port, n = socket:localAddress().port, 0
            for _ = 1, 60 do sender:send(("x"):rep(1000), port, "127.0.0.1") end
            while socket:recv(0) do n = n + 1 end
            return n
        end
        assert.equal(60, kept(usual))
        assert.is_true(kept(small) < 30)
    end)
end)

describe("a broadcast", function()
    it("goes to everybody where the socket may send one, and is EACCES elsewhere", function()
        if jit.os ~= "Linux" then return pending("the loopback interface has no broadcast") end
        local hearer = open(0)
        local port = hearer:localAddress().port
        local quiet, loud = open(0), open(0, nil, { broadcast = true })
        assert.equal("EACCES", name_of(quiet:send("x", port, "127.255.255.255")))
        assert.is_true(loud:send("to all", port, "127.255.255.255"))
        assert.equal("to all", (hearer:recv(20000)))
    end)
end)

describe("socket:recv", function()
    it("ends after its timeout, and at once with one of 0", function()
        local socket = open(0, "127.0.0.1")
        local begun = timer.now()
        assert.equal("ETIMEDOUT", name_of(socket:recv(20)))
        local took = timer.now() - begun
        assert.is_true(took >= 19 and took < 20000, "took " .. took)
        assert.equal("ETIMEDOUT", name_of(socket:recv(0)))
    end)

    it("finds by a timeout of 0 what has come in this very turn", function()
        local a, b, _, b_port = pair()
        assert(a:send("now", b_port, "127.0.0.1"))
        assert.equal("now", (b:recv(0)))
    end)

    it("ends with a cancel and with a deadline", function()
        local a, b, _, b_port = pair()
        local t = task.spawn(b.recv, b)
        timer.sleep(1)
        t:cancel()
        local _, data, err = t:join()
        assert.is_nil(data)
        assert.equal("ECANCELED", err.name)
        data, err = task.withTimeout(5, b.recv, b)
        assert.is_nil(data)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(err.deadline)
        -- Nothing is lost by it.
        assert(a:send("still here", b_port, "127.0.0.1"))
        assert.equal("still here", (b:recv(20000)))
    end)

    it("answers EBUSY to a second reader", function()
        local socket = open(0, "127.0.0.1")
        local t = task.spawn(socket.recv, socket)
        timer.sleep(1)
        assert.equal("EBUSY", name_of(socket:recv(100)))
        t:cancel()
    end)
end)

describe("a connected socket", function()
    it("sends to its peer, and hears nobody else", function()
        local a, b, a_port, b_port = pair()
        assert.equal("ENOTCONN", name_of(a:remoteAddress()))
        assert(a:connect(b_port, "localhost"))
        assert.same({ family = 4, address = "127.0.0.1", port = b_port }, a:remoteAddress())
        assert(a:send("to the peer"))
        assert.equal("to the peer", (b:recv(20000)))
        assert(open(0, "127.0.0.1"):send("from another", a_port, "127.0.0.1"))
        assert(b:send("from the peer", a_port, "127.0.0.1"))
        assert.equal("from the peer", (a:recv(20000)))
    end)

    it("learns that nobody is there", function()
        local a, b, _, b_port = pair()
        assert(a:connect(b_port, "127.0.0.1"))
        b:close()
        assert(a:send("x"))
        assert.equal("ECONNREFUSED", name_of(a:recv(20000)))
        assert.equal("ETIMEDOUT", name_of(a:recv(1)))
    end)
end)

describe("a multicast group", function()
    it("is joined and left", function()
        local socket = open(0, nil, { multicastTtl = 0 })
        assert(socket:addMembership("239.255.77.1", "127.0.0.1"))
        assert.equal("EADDRINUSE", name_of(socket:addMembership("239.255.77.1", "127.0.0.1")))
        assert.is_true(socket:dropMembership("239.255.77.1", "127.0.0.1"))
        assert.equal("EADDRNOTAVAIL", name_of(socket:dropMembership("239.255.77.1", "127.0.0.1")))
    end)

    -- On an interface, given by its address.
    local function hears(address, loops)
        local member = open(0)
        local port = member:localAddress().port
        assert(member:addMembership("239.255.77.2", address))
        local sender = open(0, address, { multicastLoop = loops })
        if not sender:send("to the group", port, "239.255.77.2") then return nil end
        return (member:recv(loops and 5000 or 50)), member, sender, port
    end

    it("gets what is sent to it, until it is left", function()
        local heard, member, sender, port = hears("127.0.0.1", true)
        assert.equal("to the group", heard)
        assert(member:dropMembership("239.255.77.2", "127.0.0.1"))
        assert(sender:send("to who is left", port, "239.255.77.2"))
        assert.equal("ETIMEDOUT", name_of(member:recv(20)))
    end)

    it("hears this host too unless multicastLoop is off", function()
        for _, addresses in pairs(require("system").networkInterfaces()) do
            for _, at in ipairs(addresses) do
                if at.family == 4 and not at.internal and hears(at.address, true) then
                    assert.is_nil((hears(at.address, false)))
                    return
                end
            end
        end
        return pending("there is no interface but the loopback that carries multicast")
    end)

    it("is an address of one, on an interface that is there", function()
        local socket = open()
        assert.equal("EINVAL", name_of(socket:addMembership("192.0.2.1")))
        assert.equal("EINVAL", name_of(socket:addMembership("a.test")))
        assert.equal("EAFNOSUPPORT", name_of(socket:addMembership("ff02::1")))
        assert.equal("ENODEV", name_of(socket:addMembership("239.255.77.1", "no-such-device")))
        if not tools.has_ipv6 then return end
        local six = open(0, nil, { family = 6 })
        assert.equal("ENODEV", name_of(six:addMembership("ff02::1", "no-such-device")))
    end)
end)

describe("a closed socket", function()
    it("answers CLOSED to every call, and may be closed again", function()
        local socket = open(0, "127.0.0.1")
        assert.is_true(socket:close())
        assert.is_true(socket:close())
        assert.equal("CLOSED", name_of(socket:recv()))
        assert.equal("CLOSED", name_of(socket:send("x", 9, "127.0.0.1")))
        assert.equal("CLOSED", name_of(socket:connect(9, "127.0.0.1")))
        assert.equal("CLOSED", name_of(socket:localAddress()))
        assert.equal("CLOSED", name_of(socket:addMembership("239.255.77.1")))
        assert.equal("CLOSED", select(2, socket:sendMany { { "x", 9, "127.0.0.1" } }).name)
        assert.equal("udp socket: closed", tostring(socket))
    end)

    it("wakes the one who waits for it", function()
        local socket = open(0, "127.0.0.1")
        local t = task.spawn(socket.recv, socket)
        timer.sleep(1)
        socket:close()
        local _, data, err = t:join(20000)
        assert.is_nil(data)
        assert.equal("CLOSED", err.name)
    end)

    it("is what a collected one becomes", function()
        local port
        do
            local socket = assert(udp.createSocket(0, "127.0.0.1"))
            port = socket:localAddress().port
        end
        collectgarbage()
        collectgarbage()
        assert(open(port, "127.0.0.1"))
    end)
end)
