-- TCP as the system and the user see it: system calls, how a process ends, and the examples.
package.path = "tests/support/?.lua;" .. package.path

local child = require "child"
local program = require "program"
local sync = require "sync"
local task = require "task"
local tcp = require "tcp"

local started = {}

local function start(arguments, options)
    local process = program.start(arguments, options)
    started[#started + 1] = process
    return process
end

-- Starts an example and returns the port that it prints.
local function example(name, ...)
    local process = start { "examples/" .. name .. ".lua", ... }
    process:expect("\n")
    return tonumber(process.out:match("127%.0%.0%.1:(%d+)")), process
end

local function stop(process)
    process:kill("TERM")
    return process:wait()
end

after_each(function()
    for _, process in ipairs(started) do
        if process.fds.out or process.fds.err then pcall(stop, process) end
    end
    started = {}
end)

describe("an echoed message", function()
    it("costs one read, one write and no epoll_ctl", function()
        if child.cannotTrace() then return pending(child.cannotTrace()) end
        local server = child.traced [[
            local tcp = require "tcp"
            local server = assert(tcp.createServer(0, function(socket)
                while true do
                    local data, err = socket:read(64)
                    if err then return end
                    socket:write(data)
                end
            end, { host = "127.0.0.1" }))
            print(server:address().port)
            io.stdout:flush()
        ]]
        local socket = assert(tcp.connect(server.port))
        local message = ("x"):rep(64)
        for _ = 1, 100 do
            assert(socket:write(message))
            assert.equal(message, socket:read(64))
        end
        local counts = server:calls(100)
        assert.equal(100, counts.recvfrom)
        assert.equal(1, counts.epoll_ctl) -- the connection's own registration
        assert.is_nil(counts.write or counts.writev or counts.sendmsg or counts.read
            or counts.recvmsg)
        socket:close()
        assert(server:stop())
    end)
end)

describe("a process", function()
    it("does not end before what it has written has gone", function()
        local got = sync.channel(1)
        local server = assert(tcp.createServer(0, function(socket)
            require("timer").sleep(50)
            got:send(#socket:readAll())
        end, { host = "127.0.0.1" }))
        local process = start { "-e", ([[
            local socket = assert(require("tcp").connect(%d))
            socket:setOption("sndbuf", 4096)
            for _ = 1, 4 do socket:write(("x"):rep(16000)) end
        ]]):format(server:address().port) }
        assert.equal(64000, got:receive(20000))
        assert.equal(0, process:wait().code)
        server:close()
    end)

    it("ends while sockets of all kinds are open", function()
        local port = example("echo", "0")
        local process = start { "-e", ([[
            local tcp, task = require "tcp", require "task"
            local server = assert(tcp.createServer(0, function(s) s:detach() s:read(1) end))
            local a, b = assert(tcp.connect(%d)), assert(tcp.connect(server:address().port))
            local stalled = assert(tcp.connect(server:address().port))
            task.spawn(function() stalled:write(("x"):rep(50000000)) end)
            task.spawn(function() a:pipe(b) end)
            assert(tcp.connect(server:address().port)):write("y")
            require("timer").sleep(10)
            print("ready")
            io.stdout:flush()
        ]]):format(port) }
        process:expect("ready")
        local ended = stop(process)
        assert.equal("TERM", ended.signal)
        assert.equal("", ended.err)
    end)

    it("ends by itself when its last server is closed", function()
        local ended = program.eval [[
            local tcp = require "tcp"
            local server = assert(tcp.createServer(0, function(s) s:write("bye") end))
            print(assert(tcp.connect(server:address().port)):readAll())
            server:close()
        ]]
        assert.equal("bye\n", ended.out)
        assert.equal("", ended.err)
        assert.equal(0, ended.code)
    end)
end)

describe("examples/echo.lua", function()
    it("sends back what it gets", function()
        local socket = assert(tcp.connect((example("echo", "0"))))
        socket:write("hello")
        assert.equal("hello", socket:read(5))
        socket:shutdown()
        assert.equal("", socket:readAll())
    end)
end)

describe("examples/chat_tcp.lua", function()
    it("tells everybody what the others say", function()
        local port = example("chat_tcp", "0")
        local function join(name)
            local socket = assert(tcp.connect(port, nil, { timeout = 20000 }))
            assert.equal("Your name?", socket:readline())
            socket:write(name .. "\n")
            return socket
        end
        local ann = join "ann"
        local bob = join "bob"
        assert.equal("bob has come", ann:readline())
        bob:write("hello\n")
        assert.equal("bob: hello", ann:readline())
        ann:write("hi, bob\n")
        assert.equal("ann: hi, bob", bob:readline())
        bob:close()
        assert.equal("bob has left", ann:readline())
        ann:close()
    end)
end)

describe("examples/proxy.lua", function()
    it("passes connections on and counts their bytes", function()
        local target = example("echo", "0")
        local port, process = example("proxy", "0", tostring(target))
        local socket = assert(tcp.connect(port))
        local text = ("x"):rep(3000000)
        local writer = task.spawn(function()
            socket:write(text)
            socket:shutdown()
        end)
        assert.equal(#text, #socket:readAll())
        writer:join()
        process:expect("3000000\t3000000\tok")
    end)

    it("tells the server who the client is", function()
        local server = assert(tcp.createServer(0, function(socket)
            socket:write(tostring(socket:remoteAddress().port))
        end, { host = "127.0.0.1", proxyProtocol = true }))
        for _, version in ipairs { "v1", "v2" } do
            local port = example("proxy", "0", tostring(server:address().port), version)
            local socket = assert(tcp.connect(port))
            assert.equal(tostring(socket:localAddress().port), socket:readAll())
            socket:close()
        end
        server:close()
    end)

    it("says how it is used, and why nobody answers", function()
        local ended = program.run { "examples/proxy.lua" }
        assert.equal(2, ended.code)
        assert.truthy(ended.err:find("usage:", 1, true))
        local server = assert(tcp.createServer(0, function() end, { host = "127.0.0.1" }))
        local closed = server:address().port
        server:close()
        local port, process = example("proxy", "0", "127.0.0.1:" .. closed)
        local _, err = assert(tcp.connect(port)):read(1)
        assert.equal("EOF", err.name)
        process:expect("ECONNREFUSED")
    end)
end)
