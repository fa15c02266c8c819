-- The API that was specified, name by name: every function, what it returns, and the defaults.
package.path = "tests/support/?.lua;" .. package.path

local ffi = require "ffi"
local dns = require "dns"
local process = require "process"
local sockets = require "sockets"
local system = require "system"
local tcp = require "tcp"
local timer = require "timer"
local tools = require "tools"

local LINKS, output = tools.LINKS, tools.output

after_each(sockets.close_all)

local function is_integer(value)
    return type(value) == "number" and value % 1 == 0
end

-- The names of a table's fields, in order.
local function names(t)
    local list = {}
    for name in pairs(t) do list[#list + 1] = name end
    table.sort(list)
    return table.concat(list, " ")
end

describe("the specified modules", function()
    it("are reached by their names, with and without links.", function()
        for _, name in ipairs { "system", "process", "dns", "tcp" } do
            assert.equal(require(name), require("links." .. name))
        end
    end)

    it("have every function that is specified", function()
        for module, functions in pairs {
            system = "cpuinfo meminfo loadavg hrtime uptime",
            process = "fork exec cwd exit abort kill uptime",
            dns = "resolve4 resolve6",
            tcp = "createServer connect isIP",
        } do
            for name in functions:gmatch("%S+") do
                assert.is_function(require(module)[name], module .. "." .. name)
            end
        end
    end)

    it("have every method that is specified", function()
        local client, peer, server = sockets.pair()
        for name in ("address connections close"):gmatch("%S+") do
            assert.is_function(server[name], name)
        end
        for name in ("read readline write localAddress remoteAddress setTimeout setNodelay "
            .. "setKeepalive end close detach shutdown"):gmatch("%S+") do
            assert.is_function(client[name], name)
            assert.is_function(peer[name], name)
        end
    end)

    it("have what was added to them", function()
        for module, functions in pairs {
            system = "hrtime64 now time hostname cpuCount networkInterfaces userInfo limits",
            process = "spawn run wait on off onShutdown send receive request onRequest quit daemon "
                .. "chdir umask setuid setgid memoryUsage cpuUsage chroot pidFile",
            dns = "resolve lookup reverse setServers getServers clearCache stats",
            tcp = "createPool",
            unix = "createServer connect",
            udp = "createSocket",
        } do
            for name in functions:gmatch("%S+") do
                assert.is_function(require(module)[name], module .. "." .. name)
            end
        end
        local client, _, server = sockets.pair()
        for name in ("readSome readAll readUntil lines peek readInto setTimeouts setOption "
            .. "getOption sendFile pipe cork"):gmatch("%S+") do
            assert.is_function(client[name], name)
        end
        for name in ("pause resume stats"):gmatch("%S+") do
            assert.is_function(server[name], name)
        end
        local udp = sockets.keep(assert(require("udp").createSocket()))
        for name in ("recv send connect addMembership close"):gmatch("%S+") do
            assert.is_function(udp[name], name)
        end
        for _, field in ipairs { "type", "release", "endian", "arch", "pageSize" } do
            assert.is_not_nil(system[field], field)
        end
        for _, field in ipairs { "pid", "ppid", "argv", "env", "title" } do
            assert.is_not_nil(process[field], field)
        end
    end)
end)

describe("the specified results", function()
    it("of system are as they are specified", function()
        local cpus = system.cpuinfo()
        for _, cpu in ipairs(cpus) do
            assert.equal("model speed times", names(cpu))
            assert.equal("idle irq nice sys user", names(cpu.times))
            assert.is_string(cpu.model)
            assert.is_true(is_integer(cpu.speed))
            for _, ms in pairs(cpu.times) do assert.is_true(is_integer(ms)) end
        end
        local memory, load = system.meminfo(), system.loadavg()
        assert.is_true(is_integer(memory.total) and is_integer(memory.free))
        assert.is_true(is_integer(memory.available) and is_integer(memory.rss))
        assert.is_true(memory.limit <= memory.total)
        assert.equal(3, #load)
        for i = 1, 3 do assert.is_number(load[i]) end
        assert.is_true(is_integer(system.hrtime()))
        assert.is_true(ffi.istype("int64_t", system.hrtime64()))
        assert.is_number(system.uptime())
    end)

    it("of process are as they are specified", function()
        assert.is_true(is_integer(process.uptime()))
        assert.is_string(process.cwd())
        assert.is_true(process.kill(process.pid, 0))
        for call, signal in pairs {
            ["exit()"] = "SIGTERM", ["exit('SIGINT')"] = "SIGINT", ["abort()"] = "SIGABRT",
            ["kill(require('process').pid)"] = "SIGTERM",
        } do
            local code = "require('process')." .. call .. " require('timer').sleep(60000)"
            assert.equal(signal, process.run(LINKS, { "-e", code }).signal, call)
        end
        assert.equal("SIGQUIT", process.run(LINKS, { "-e",
            "require('process').kill(require('process').pid, 'QUIT')" }).signal)
    end)

    it("of tcp are as they are specified", function()
        local client, peer, server = sockets.pair()
        for _, at in ipairs { server:address(), client:localAddress(), client:remoteAddress() } do
            assert.equal("address family port", names(at))
            assert.equal(4, at.family)
            assert.is_true(is_integer(at.port))
        end
        assert.equal(1, server:connections())
        assert.equal(3, client:write("a\r\n"))
        assert.equal("a", peer:readline())
        assert.equal(2, client:write { "b", "\n" })
        assert.equal("b\n", peer:readline(true))
        assert.is_nil(client:setNodelay())
        assert.is_nil(client:setNodelay(false))
        assert.is_nil(client:setKeepalive())
        assert.is_nil(client:setKeepalive(true, 7))
        assert.is_nil(client["end"](client))
        client:close()
        for _, call in ipairs { client.setNodelay, client.setKeepalive, client["end"] } do
            assert.equal("CLOSED", call(client).name)
        end
        assert.same({ 4, 6, 0 }, { tcp.isIP("127.0.0.1"), tcp.isIP("::1"), tcp.isIP("x") })
    end)

    it("of failures are nil and an error with a code, a name and a message", function()
        local free = sockets.keep(assert(tcp.createServer(0, print)))
        local port = free:address().port
        free:close()
        for _, call in ipairs {
            function() return tcp.connect(port) end,
            function() return tcp.connect(port, "no such host") end,
            function() return tcp.createServer(port, print, { host = "192.0.2.1" }) end,
            function() return dns.resolve4("a..b") end,
            function() return dns.resolve6("a..b") end,
            function() return process.fork { file = "/no/such/file" } end,
            function() return process.kill(2 ^ 31 - 1) end,
        } do
            local value, err = call()
            assert.is_nil(value)
            assert.is_true(is_integer(err.code))
            assert.is_string(err.name)
            assert.is_string(err.message)
            assert.truthy(tostring(err):find("^" .. err.name .. ": "))
        end
    end)
end)

describe("the specified defaults", function()
    it("of tcp.createServer hold", function()
        local server = sockets.keep(assert(tcp.createServer(0, function(socket, its_server)
            socket:write(("%s %s %d\n"):format(tostring(socket:getOption("nodelay")),
                tostring(socket:getOption("keepalive")), socket:getOption("keepidle")))
            assert(its_server)
            local _, err = socket:readline()
            socket:write(err.name .. "\n")
            socket:readAll()
        end)))
        local at = server:address()
        assert.same({ 4, "0.0.0.0" }, { at.family, at.address })
        -- The port may be shared, the system's own time before a probe stays, no time ends a read.
        sockets.keep(assert(tcp.createServer(at.port, print, { host = "127.0.0.1" }))):close()
        local client = sockets.keep(assert(tcp.connect(at.port)))
        assert.equal("127.0.0.1", client:remoteAddress().address)
        local idle = jit.os == "Linux" and tonumber(output("cat",
            { "/proc/sys/net/ipv4/tcp_keepalive_time" })) or client:getOption("keepidle")
        assert.equal("true true " .. idle, client:readline())
        timer.sleep(50)
        -- 16 KiB: a line of that with its end fits, one more byte does not.
        client:write(("x"):rep(16384))
        assert.equal("EXCEED_BUF_SIZE", client:readline())
        client:close()
        if jit.os == "Linux" and os.execute("command -v ss >/dev/null 2>&1") == 0 then
            local line = output("ss", { "-Hltn", "sport = :" .. at.port })
            local most = tonumber(tools.read("/proc/sys/net/core/somaxconn"))
            assert.equal(math.min(511, most), tonumber(line:match("LISTEN%s+%d+%s+(%d+)")))
        end
    end)

    it("of tcp.connect hold", function()
        local port = sockets.serve(function(socket)
            socket:write(("x"):rep(16384))
            socket:readAll()
        end)
        local client = sockets.keep(assert(tcp.connect(port)))
        assert.same({ true, true }, { client:getOption("nodelay"), client:getOption("keepalive") })
        assert.equal("EXCEED_BUF_SIZE", select(2, client:readline()).name)
        tools.raises("port must be %[integer%] from 1 to 65535", function() tcp.connect(0) end)
        if not tools.has_ipv6 then return end
        local six = sockets.keep(assert(tcp.createServer(0, print, { family = 6 })))
        assert.equal("::", six:address().address)
        local other = sockets.keep(assert(tcp.connect(six:address().port, nil, { family = 6 })))
        assert.equal("::1", other:remoteAddress().address)
    end)

    it("of the bounds of readBufferSize, 1 and 1024, hold", function()
        for _, size in ipairs { 0, 1025, 1.5, "16" } do
            tools.raises("options.readBufferSize must be %[integer%] from 1 to 1024",
                function() tcp.createServer(0, print, { readBufferSize = size }) end)
            tools.raises("options.readBufferSize must be %[integer%] from 1 to 1024",
                function() tcp.connect(1, nil, { readBufferSize = size }) end)
        end
        for _, size in ipairs { 1, 1024 } do
            local client, peer = sockets.pair({ readBufferSize = size })
            client:write(("x"):rep(size * 1024 - 1) .. "\n")
            assert.equal(size * 1024 - 1, #peer:readline())
        end
    end)
end)

describe("names", function()
    it("resolve as getent has them", function()
        if os.execute("command -v getent >/dev/null 2>&1") ~= 0 then
            return pending("there is no getent")
        end
        -- The files alone: the system may ask services that know this machine by name.
        for _, name in ipairs { "localhost", system.hostname() } do
            local expected, seen = {}, {}
            local listed = assert(process.run("getent", { "-s", "files", "ahostsv4", name })).stdout
            if listed == "" then break end
            for address in listed:gmatch("(%S+)%s+STREAM") do
                if not seen[address] then expected[#expected + 1] = address end
                seen[address] = true
            end
            local code = ([[print(table.concat(require("dns").resolve4(%q) or {}, " "))]]):format(
                name)
            assert.equal(table.concat(expected, " "), output(LINKS, { "-e", code }))
        end
    end)
end)

describe("one script", function()
    it("serves HTTP, TCP, UDP and a Unix socket side by side", function()
        local http, udp, unix = require "http", require "udp", require "unix"
        local web = sockets.keep(assert(http.createServer(0, function() return "http" end,
            { host = "127.0.0.1" })))
        local port = sockets.serve(function(socket) socket:write("tcp") end)
        local path = os.tmpname()
        os.remove(path)
        sockets.keep(assert(unix.createServer(path, function(socket) socket:write("unix") end)))
        local datagrams = sockets.keep(assert(udp.createSocket(0, "127.0.0.1")))
        local client = sockets.keep(assert(tcp.connect(web:address().port)))
        client:write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert.truthy(client:readAll():find("\r\n\r\nhttp$"))
        assert.equal("tcp", assert(tcp.connect(port)):readAll())
        assert.equal("unix", assert(unix.connect(path)):readAll())
        datagrams:send("udp", datagrams:localAddress().port, "127.0.0.1")
        assert.equal("udp", (datagrams:recv(20000)))
    end)
end)
