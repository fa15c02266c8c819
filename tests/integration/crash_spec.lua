-- What the master of a cluster says of a worker that has died: the request that it was serving, and
-- where its core file is.
package.path = "tests/support/?.lua;" .. package.path

local process = require "process"
local system = require "system"
local tcp = require "tcp"
local program = require "tools"
local clusters = require "clusters"
local crash = require "links.process.crash"

local prints, port_of = clusters.prints, clusters.port_of

local SERVER = [[
local ffi, http, process, timer = require "ffi", require "http", require "process", require "timer"
process.cluster { workers = 1, restartDelay = 1 }
ffi.cdef "int raise(int signum); void _exit(int code);"
local server = assert(http.createServer(0, function(req)
    print("> " .. req.path)
    io.stdout:flush()
    if req.path == "/wait" then timer.sleep(60000) end
    if req.path:find("^/die") then ffi.C.raise(9) end
    if req.path == "/exit" then ffi.C._exit(3) end
    if req.path == "/abort" then process.abort() end
    return "ok"
end, { host = "127.0.0.1" }))
io.write("port ", server:address().port, "\n")
io.stdout:flush()
]]

local cluster, port, sockets

before_each(function()
    clusters.before()
    sockets = {}
end)

after_each(function()
    for _, socket in ipairs(sockets) do socket:close() end
    clusters.after()
end)

local function start()
    cluster = clusters.start(SERVER)
    port = port_of(cluster)
end

-- Sends a request on a connection of its own, and waits until its handler has begun.
local function begin(method, target)
    local socket = assert(tcp.connect(port, "127.0.0.1"))
    sockets[#sockets + 1] = socket
    local _, before = cluster.text:gsub("\n> ", "")
    assert(socket:write(method .. " " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n"))
    program.eventually("the handler of " .. target, function()
        return select(2, cluster.text:gsub("\n> ", "")) > before
    end)
    return socket
end

local function literal(text) return (text:gsub("%p", "%%%0")) end

describe("the master of a worker that has died", function()
    it("tells what the task was serving that ran, and of the others", function()
        start()
        begin("GET", "/wait")
        begin("GET", "/wait")
        begin("DELETE", "/die/x?token=secret")
        prints(cluster, "worker 0 %(%d+%) was serving DELETE /die/x, for %d+ ms, when it died of "
            .. "SIGKILL; 2 more requests were under way\n")
        prints(cluster, "worker 0 %(%d+%) died of SIGKILL: starting another one")
        assert.is_nil(cluster.text:find("secret", 1, true))
    end)

    it("tells the latest that waited, where no task ran", function()
        start()
        local pid = tonumber(process.run("pgrep", { "-P", tostring(cluster.pid) }).stdout)
        begin("GET", "/wait")
        begin("POST", "/wait")
        begin("GET", "/one"):readline() -- answers leave when no task runs: that one waits now
        process.kill(pid, "SIGKILL")
        prints(cluster, "died of SIGKILL while POST /wait was under way, for %d+ ms; "
            .. "1 more request was under way\n")
    end)

    it("tells of an end by a program's own code", function()
        start()
        local socket = begin("GET", "/one")
        assert.equal("HTTP/1.1 200 OK", socket:readline())
        begin("GET", "/exit")
        prints(cluster, "was serving GET /exit, for %d+ ms, when it ended with code 3\n")
    end)

    it("tells the last one where all have been answered", function()
        start()
        local pid = tonumber(process.run("pgrep", { "-P", tostring(cluster.pid) }).stdout)
        for i = 1, 300 do
            local socket = begin("GET", "/" .. i)
            assert.equal("HTTP/1.1 200 OK", socket:readline())
        end
        process.kill(pid, "SIGKILL")
        prints(cluster, "died of SIGKILL %d+ ms after its last request, GET /300, "
            .. "which it had answered\n")
    end)

    it("escapes a path, and cuts one that is long", function()
        start()
        begin("GET", "/die\\\200" .. ("x"):rep(200))
        prints(cluster, literal("was serving GET /die\\x5c\\xc8" .. ("x"):rep(98) .. "..., for "))
    end)

    it("says nothing of one that ends as it was asked to", function()
        start()
        begin("GET", "/one"):readline()
        cluster.child:kill("SIGTERM")
        clusters.end_of(cluster)
        assert.is_nil(cluster.text:find("request", 1, true))
    end)

    it("says where the core file is", function()
        local pattern = crash.pattern()
        if not pattern or pattern:find("[|/]") then return pending("cores go elsewhere") end
        local links = program.LINKS
        if links:sub(1, 1) ~= "/" then links = process.cwd() .. "/" .. links end
        local shell = ("cd '%s'; ulimit -c unlimited; exec '%s' app.lua")
            :format(clusters.folder, links)
        cluster = clusters.start_by("/bin/sh", SERVER, "-c", shell)
        port = port_of(cluster)
        begin("GET", "/abort")
        prints(cluster, "was serving GET /abort, for %d+ ms, when it died of SIGABRT\n")
        local text = prints(cluster, "died of SIGABRT([^\n]*): starting another one")
        if text == "" then return pending("this system writes no core") end
        assert.is_truthy(io.open(text:match("^ %(core: (.*)%)$") or text), text)
    end)
end)

describe("the name of a core file", function()
    local about

    before_each(function()
        about = {
            pid = 4711, signal = "SIGSEGV", title = "app: worker 0", folder = clusters.folder,
        }
    end)

    local function there(name)
        program.write(clusters.folder .. "/" .. name, "")
        return "core: " .. clusters.folder .. "/" .. name
    end

    it("is made by the system's pattern", function()
        assert.equal(there("core"), crash.core(about, "core"))
        assert.equal(there("core.4711"), crash.core(about, "core.%p"))
        assert.equal(there("11-" .. system.hostname() .. "-%"), crash.core(about, "%s-%h-%%"))
        assert.equal(there("a-7-8"),
            crash.core({ ids = { uid = 7, gid = 8 }, folder = about.folder, signal = "SIGSEGV",
                title = "x" }, clusters.folder .. "/a-%u-%g"))
        local name = jit.os == "Linux" and "app: worker 0" or "links"
        assert.equal(there(name .. ".core"), crash.core(about, "%e.core"))
    end)

    it("is looked for at the time of the end", function()
        assert.equal(there("core." .. os.time() - 1), crash.core(about, "core.%t"))
    end)

    it("is the pattern where it is not there, and the program that takes cores", function()
        assert.equal("core dumped as core.%p", crash.core(about, "core.%p"))
        assert.equal("core dumped as core.%?", crash.core(about, "core.%?"))
        assert.equal("core given to /usr/lib/systemd/systemd-coredump",
            crash.core(about, "|/usr/lib/systemd/systemd-coredump %P %u"))
    end)
end)
