package.path = "tests/support/?.lua;" .. package.path

local ffi = require "ffi"
local sockets = require "sockets"
local task = require "task"
local timer = require "timer"
local tools = require "tools"
local unix = require "unix"

local raises = tools.says
local keep = sockets.keep

local function new_path()
    local path = os.tmpname()
    os.remove(path)
    return path
end

local function exists(path)
    local pipe = io.popen("test -e '" .. path .. "' && echo yes")
    local answer = pipe:read("*a")
    pipe:close()
    return answer ~= ""
end

local function serve(onconnect, options, path)
    path = path or new_path()
    return path, keep(assert(unix.createServer(path, onconnect, options)))
end

after_each(sockets.close_all)

describe("unix.createServer", function()
    it("serves connections as tcp does", function()
        local path, server = serve(function(socket)
            for line in socket:lines() do socket:write(line:upper() .. "\n") end
        end)
        local client = keep(assert(unix.connect(path)))
        client:write("hello\n")
        assert.equal("HELLO", client:readline())
        assert.equal(1, server:connections())
        assert.same({ family = "unix", path = path }, server:address())
        assert.same({ family = "unix", path = path }, client:remoteAddress())
        assert.equal("server: unix:" .. path, tostring(server))
        client:shutdown()
        assert.equal("", client:readAll())
    end)

    it("removes its file when it is closed", function()
        local path, server = serve(function() end)
        assert.is_true(exists(path))
        server:close()
        assert.is_false(exists(path))
    end)

    it("leaves a file that is not its own any more", function()
        local path, server = serve(function() end)
        os.remove(path)
        local file = assert(io.open(path, "w"))
        file:close()
        server:close()
        assert.is_true(exists(path))
        os.remove(path)
    end)

    it("sets the mode of the file", function()
        local path = serve(function() end, { mode = tonumber("600", 8) })
        local pipe = io.popen("stat -c %a '" .. path .. "'")
        assert.equal("600\n", pipe:read("*a"))
        pipe:close()
    end)

    it("replaces a stale socket file, and no other", function()
        local path, server = serve(function() end, { unlink = false })
        server:close()
        assert.is_true(exists(path))
        local _, err = unix.connect(path)
        assert.equal("ECONNREFUSED", err.name)
        _, err = unix.createServer(path, function() end, { unlink = false })
        assert.equal("EADDRINUSE", err.name)
        serve(function(socket) socket:write("new") end, nil, path)
        assert.equal("new", assert(unix.connect(path)):readAll())
        _, err = unix.createServer(path, function() end)
        assert.equal("EADDRINUSE", err.name)
        assert.equal(path, err.address)

        local plain = os.tmpname()
        _, err = unix.createServer(plain, function() end)
        assert.equal("EADDRINUSE", err.name)
        assert.is_true(exists(plain))
        os.remove(plain)
    end)

    it("says what is wrong with a path", function()
        for name, path in pairs { ENAMETOOLONG = "/tmp/" .. ("x"):rep(200), EINVAL = "",
            ENOENT = "/no/such/folder/s" } do
            local server, err = unix.createServer(path, function() end)
            assert.is_nil(server)
            assert.equal(name, err.name)
        end
        local _, err = unix.createServer("/tmp/a\0b", function() end)
        assert.equal("EINVAL", err.name)
        _, err = unix.connect("@" .. ("x"):rep(200))
        assert.equal("ENAMETOOLONG", err.name)
    end)

    it("applies its options", function()
        local given
        local path, server = serve(function(socket)
            given = { socket:read(1) }
            given[3] = { socket:readline() }
        end, { timeout = 10, readBufferSize = 1, maxConnections = 1, backlog = 5 })
        local client = keep(assert(unix.connect(path)))
        sockets.eventually(function() return given and given[3] end)
        assert.is_nil(given[1])
        assert.equal("ETIMEDOUT", given[2].name)
        assert.equal("ETIMEDOUT", given[3][2].name)
        client:close()
        sockets.eventually(function() return server:connections() == 0 end)
    end)

    it("raises for what the caller got wrong", function()
        raises("unix.createServer(path, onconnect[, options]) path must be [string]",
            unix.createServer, 5)
        raises("onconnect must be [function]", unix.createServer, "@x")
        raises("options.mode must be [integer] from 0 to 511", unix.createServer, "@x", print,
            { mode = 512 })
        raises('unknown option "unlnk" (did you mean "unlink"?)', unix.createServer, "@x", print,
            { unlnk = true })
        raises("options.backlog", unix.createServer, "@x", print, { backlog = 0 })
        raises("unix.connect(path[, options]) path must be [string]", unix.connect)
        raises("options.connectTimeout", unix.connect, "@x", { connectTimeout = -1 })
        raises("tests/lib/unix_spec.lua:", function() unix.connect() end)
    end)

    it("listens on abstract names", function()
        local name = "@links-spec-" .. require("process").pid
        local _, server = serve(function(socket) socket:write("abstract") end, nil, name)
        local client = keep(assert(unix.connect(name)))
        assert.same({ family = "unix", path = name }, client:remoteAddress())
        assert.equal("abstract", client:readAll())
        server:close()
        local _, err = unix.connect(name)
        assert.equal("ECONNREFUSED", err.name)
    end)
end)

describe("unix.connect", function()
    it("names what is not there", function()
        local socket, err = unix.connect("/no/such/socket")
        assert.is_nil(socket)
        assert.equal("ENOENT", err.name)
        assert.equal("ENOENT: no such file or directory (connect /no/such/socket)", tostring(err))
    end)

    it("waits while the server's queue is full, up to connectTimeout", function()
        local path, server = serve(function(socket) socket:write("x") end, { backlog = 1 })
        server:pause()
        local _, err
        for _ = 1, 4 do
            local socket
            socket, err = unix.connect(path, { connectTimeout = 30 })
            if not socket then break end
            keep(socket)
        end
        assert.equal("ETIMEDOUT", err.name)
        _, err = sockets.cancelled(function() return unix.connect(path) end)
        assert.equal("ECANCELED", err.name)
        _, err = task.withTimeout(20, unix.connect, path)
        assert.is_true(err.deadline)
        timer.setTimeout(20, function() server:resume() end)
        assert.equal("x", assert(unix.connect(path)):readAll())
    end)
end)

describe("a unix socket", function()
    it("knows who is at the other end", function()
        ffi.cdef "int getuid(void); int getgid(void); int getpid(void);"
        local seen
        local path = serve(function(socket)
            seen = assert(socket:peerCredentials())
            socket:write("x")
        end)
        local client = assert(unix.connect(path))
        local there = assert(client:peerCredentials())
        client:readAll()
        assert.same({ uid = ffi.C.getuid(), gid = ffi.C.getgid(), pid = ffi.C.getpid() }, seen)
        assert.equal(ffi.C.getuid(), there.uid)
        local tcp_client = sockets.pair()
        local who, err = tcp_client:peerCredentials()
        assert.is_nil(who)
        assert.equal("ENOTCONN", err.name)
    end)

    it("refuses the options of TCP", function()
        local path = serve(function(socket) socket:readAll() end)
        local client = keep(assert(unix.connect(path)))
        assert.equal("ENOTSUP", client:setNodelay().name)
        assert.is_true(client:setOption("sndbuf", 65536))
    end)

    it("is piped to TCP", function()
        local path = serve(function(socket) socket:write(socket:readAll():upper()) end)
        local client, peer = sockets.pair()
        local inner = keep(assert(unix.connect(path)))
        local piping = task.spawn(function() return peer:pipe(inner) end)
        client:write("through")
        client:shutdown()
        assert.equal("THROUGH", client:read(7))
        local _, moved, err = piping:join(20000)
        assert.is_nil(err)
        assert.same({ sent = 7, received = 7 }, moved)
    end)
end)
