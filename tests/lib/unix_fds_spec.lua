package.path = "tests/support/?.lua;" .. package.path

local ffi = require "ffi"
local process = require "process"
local sockets = require "sockets"
local sync = require "sync"
local task = require "task"
local tcp = require "tcp"
local tools = require "tools"
local unix = require "unix"

local keep, raises = sockets.keep, tools.raises
local C = ffi.C

ffi.cdef [[
int socketpair(int domain, int type, int protocol, int *fds);
]]

after_each(sockets.close_all)

-- Two ends of a Unix socket.
local function pair(options)
    local path, accepted = os.tmpname(), sync.channel(1)
    os.remove(path)
    keep(assert(unix.createServer(path, function(s) accepted:send(s:detach()) end, options)))
    local client = keep(assert(unix.connect(path, options)))
    return client, keep(assert(accepted:receive(20000)))
end

local function open_fds()
    return tonumber(tools.output("sh", { "-c", "ls /proc/" .. process.pid .. "/fd | wc -l" }))
end

describe("socket:sendFd and socket:receiveFd", function()
    it("move a connection to whoever is at the other end", function()
        local a, b = pair { passFds = true }
        local client, ours = sockets.pair()
        assert.equal(9, a:sendFd(ours, "one fd is"))
        ours:close()
        local fd = assert(b:receiveFd())
        assert.equal("one fd is", b:read(9))
        local adopted = keep(assert(tcp.adopt(fd, { timeout = 5000 })))
        assert.equal(client:localAddress().port, adopted:remoteAddress().port)
        assert.is_true(adopted:getOption("nodelay"))
        client:write("hello\n")
        assert.equal("hello", adopted:readline())
        adopted:write("bye\n")
        assert.equal("bye", client:readline())
    end)

    it("move a server, which goes on listening where it was", function()
        local a, b = pair { passFds = true }
        local port, server = sockets.serve(function(s) s:write("old") end)
        assert(a:sendFd(server, "x"))
        server:close()
        local heir = keep(assert(tcp.createServer(0, function(s) s:write("new") end,
            { fd = assert(b:receiveFd()) })))
        assert.equal(port, heir:address().port)
        assert.equal("new", assert(tcp.connect(port)):readAll())
    end)

    it("keep the order of bytes and descriptors, however they are read", function()
        local a, b = pair { passFds = true }
        for i = 1, 5 do
            a:write("line " .. i .. "\n")
            assert(a:sendFd(0, "with " .. i .. "\n"))
        end
        a:shutdown()
        for i = 1, 5 do
            assert.equal("line " .. i, b:readline())
            assert.equal("with " .. i, b:readline())
            assert(unix.closeFd(assert(b:receiveFd())))
        end
        local fd, err = b:receiveFd()
        assert.is_nil(fd)
        assert.equal("EOF", err.name)
    end)

    it("send what is more than the system takes at once", function()
        local a, b = pair { passFds = true }
        local big = ("x"):rep(3000000)
        local sending = task.spawn(function() return a:sendFd(0, big) end)
        assert.equal(#big, #b:read(#big))
        assert(unix.closeFd(assert(b:receiveFd())))
        assert.same({ true, #big }, { sending:join(20000) })
    end)

    it("keep 64 at most, and leave none behind", function()
        local before = open_fds()
        local a, b = pair { passFds = true }
        for _ = 1, 100 do assert(a:sendFd(0, "x")) end
        assert.equal(100, #b:read(100))
        for _ = 1, 60 do unix.closeFd(assert(b:receiveFd())) end
        sockets.close_all()
        sockets.eventually(function() return open_fds() <= before end)
    end)

    it("say when the buffer is full of bytes that come before", function()
        local a, b = pair { passFds = true, readBufferSize = 1 }
        a:write(("x"):rep(1024))
        a:sendFd(0, "y")
        local _, err = b:receiveFd()
        assert.equal("EXCEED_BUF_SIZE", err.name)
        assert.equal(1025, #b:read(1025))
        unix.closeFd(assert(b:receiveFd()))
    end)

    it("wait for one, and end with a timeout, a cancel, a deadline or a close", function()
        local _, b = pair { passFds = true, timeout = 5 }
        local fd, err = b:receiveFd()
        assert.is_nil(fd)
        assert.equal("ETIMEDOUT", err.name)
        b:setTimeout(0)
        fd, err = sockets.cancelled(function() return b:receiveFd() end)
        assert.is_nil(fd)
        assert.equal("ECANCELED", err.name)
        fd, err = task.withTimeout(5, b.receiveFd, b)
        assert.is_nil(fd)
        assert.is_true(err.deadline)
        local waiting = task.spawn(function() return select(2, b:receiveFd()) end)
        sockets.eventually(function() return waiting.status == "waiting" end)
        assert.equal("EBUSY", select(2, b:read(1)).name)
        b:close()
        assert.equal("CLOSED", select(2, waiting:join(20000)).name)
        assert.equal("CLOSED", select(2, b:receiveFd()).name)
    end)

    it("need an open descriptor, a Unix socket and the option", function()
        local a, b = pair()
        local _, err = a:sendFd(999999, "x")
        assert.equal("EBADF", err.name)
        a:sendFd(0, "x")
        _, err = b:receiveFd()
        assert.equal("UNSUPPORTED", err.name)
        assert.equal("x", b:read(1))
        local client, ours = sockets.pair()
        _, err = client:sendFd(0, "x")
        assert.equal("ENOTSUP", err.name)
        ours:close()
        _, err = a:sendFd(ours, "x")
        assert.equal("CLOSED", err.name)
        a:close()
        _, err = a:sendFd(0, "x")
        assert.equal("CLOSED", err.name)
        raises("data must have a byte at least", function() b:sendFd(0, "") end)
        raises("what must be a socket or a server", function() b:sendFd({}, "x") end)
        raises("what must be %[integer%] from 0", function() b:sendFd(-1, "x") end)
        raises("data must be %[string%], not nothing", function() b:sendFd(0) end)
    end)

    it("hand no socket over that speaks TLS, whose state would not go with it", function()
        local tls = require "tls"
        local made = tls.selfSigned()
        local server = keep(assert(tls.createServer(0, function(s) s:readAll() end,
            { host = "127.0.0.1", cert = made.cert, key = made.key })))
        local port = server:address().port
        local secure = keep(assert(tls.connect(port, "127.0.0.1", { ca = made.cert })))
        local a = pair { passFds = true }
        assert.equal("ENOTSUP", select(2, a:sendFd(secure, "x")).name)
    end)

    it("park while the peer is slow", function()
        local a, b = pair { passFds = true }
        sockets.stuff(a)
        a:setTimeout(5)
        local _, err = a:sendFd(0, "x")
        assert.equal("ETIMEDOUT", err.name)
        a:setTimeout(0)
        _, err = sockets.cancelled(function() return a:sendFd(0, "x") end)
        assert.equal("ECANCELED", err.name)
        b:close()
    end)
end)

describe("tcp.adopt", function()
    it("leaves what is no connected stream socket to its owner", function()
        local fds = ffi.new("int[2]")
        assert.equal("ENOTSOCK", tools.fails("ENOTSOCK", tcp.adopt(0)).name)
        tools.fails("EBADF", tcp.adopt(999999))
        assert.equal(0, C.socketpair(1, 2, 0, fds)) -- AF_UNIX, SOCK_DGRAM
        tools.fails("EPROTOTYPE", tcp.adopt(fds[0]))
        tools.fails("EPROTOTYPE", tcp.createServer(0, print, { fd = fds[0] }))
        tools.fails("EBADF", tcp.createServer(0, print, { fd = 999999 }))
        for i = 0, 1 do assert(unix.closeFd(fds[i])) end
        local a, b = pair { passFds = true }
        local _, server = sockets.serve(print)
        a:sendFd(server, "x")
        local fd = assert(b:receiveFd())
        tools.fails("ENOTCONN", tcp.adopt(fd))
        assert(unix.closeFd(fd))
        raises("fd must be %[integer%] from 0", function() tcp.adopt("3") end)
        raises('unknown option "tiemout"', function() tcp.adopt(3, { tiemout = 1 }) end)
    end)

    it("makes a Unix socket of one that is that", function()
        local fds = ffi.new("int[2]")
        assert.equal(0, C.socketpair(1, 1, 0, fds))
        local a = keep(assert(tcp.adopt(fds[0], { passFds = true })))
        local b = keep(assert(tcp.adopt(fds[1], { passFds = true })))
        assert.same({ family = "unix", path = "" }, a:remoteAddress())
        assert.equal(process.pid, b:peerCredentials().pid)
        a:sendFd(a, "me")
        assert.equal("me", b:read(2))
        unix.closeFd(assert(b:receiveFd()))
    end)
end)

describe("unix.createServer", function()
    local function stat(path, format)
        return tools.output("stat", { "-c", format, path })
    end

    it("lets its user and group connect, unless it is told otherwise", function()
        local path = os.tmpname()
        os.remove(path)
        local before = process.umask(tonumber("077", 8))
        keep(assert(unix.createServer(path, print)))
        process.umask(before)
        assert.equal("660", stat(path, "%a"))
    end)

    it("gives the file to an owner and a group, by name and by id", function()
        if not tools.is_root() then return pending("only root may give files away") end
        for _, owner in ipairs { "daemon", 1 } do
            local path = os.tmpname()
            os.remove(path)
            keep(assert(unix.createServer(path, print, { owner = owner, group = owner,
                mode = tonumber("600", 8) })))
            assert.equal("daemon daemon 600", stat(path, "%U %G %a"))
        end
    end)

    it("says which owner or group there is not", function()
        local path = os.tmpname()
        os.remove(path)
        for _, kind in ipairs { "owner", "group" } do
            local err = tools.fails("EINVAL",
                unix.createServer(path, print, { [kind] = "no-such-name" }))
            assert.truthy(tostring(err):find("there is no %a+ no%-such%-name"))
            raises("options." .. kind .. " is for a file",
                function() unix.createServer("@x", print, { [kind] = 1 }) end)
            raises("options." .. kind .. " must be %[integer%]",
                function() unix.createServer(path, print, { [kind] = -5 }) end)
            raises("options." .. kind .. " must be %[string|number%]",
                function() unix.createServer(path, print, { [kind] = true }) end)
        end
    end)
end)

describe("fast open", function()
    it("is asked of the system, and connections are as ever where it is off", function()
        local port = sockets.serve(function(s) s:write(s:readline():upper()) end, { fastOpen = 16 })
        for _ = 1, 3 do
            local socket = assert(tcp.connect(port, "127.0.0.1", { fastOpen = true }))
            socket:write("hello\n")
            assert.equal("HELLO", socket:readAll())
            socket:close()
        end
        if jit.os == "Linux" then
            local client = sockets.pair(nil, { fastOpen = true })
            assert.is_true(client:getOption("fastOpen"))
            assert.is_false(sockets.pair():getOption("fastOpen"))
        end
    end)

    it("tells of nobody who listens when it connects or writes first", function()
        local port, server = sockets.serve(print)
        server:close()
        local socket, err = tcp.connect(port, "127.0.0.1", { fastOpen = true })
        if socket then err = select(2, socket:write("x")) end
        assert.equal("ECONNREFUSED", err.name)
        raises("options.fastOpen must be %[boolean%]",
            function() tcp.connect(1, nil, { fastOpen = 1 }) end)
        raises("options.fastOpen must be %[integer%] from 0 to 65535",
            function() tcp.createServer(0, print, { fastOpen = -1 }) end)
    end)
end)
