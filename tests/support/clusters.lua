-- Clusters for specs: programs that are one, their clients, and what becomes of them.
local http = require "http"
local process = require "process"
local task = require "task"
local timer = require "timer"
local manager = require "manager"
local program = require "tools"

local eventually = program.eventually
local control = http.createClient()

local clusters = {
    -- Many rounds of what is short: `make soak` has LINKS_SOAK set, and takes its time.
    soak = os.getenv "LINKS_SOAK" ~= nil,
}

-- Of each kind, those with kept connections and the others.
clusters.CLIENTS = clusters.soak and 64 or 4

-- What each worker answers with; the path says what else is wanted.
local SERVER = [[
local http, process, timer = require "http", require "process", require "timer"
local version = "VERSION"
assert(process.cluster { OPTIONS })
local server = assert(http.createServer(PORT, function(req)
    if req.path == "/slow" then
        print("slow begins")
        io.stdout:flush()
        timer.sleep(400)
    end
    return process.workerId .. " " .. process.pid .. " " .. version
end, { host = "127.0.0.1" }))
io.write("port ", server:address().port, "\n")
io.stdout:flush()
]]

local list = {}

-- Before each test: a folder, and the place of a script in there.
function clusters.before()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder) == 0)
    clusters.folder, clusters.script, list = folder, folder .. "/app.lua", {}
end

local function end_of_process(pid)
    if program.has_ended(pid) then return end
    process.kill(pid, "SIGTERM")
    local ok = pcall(eventually, "the end of " .. pid, function() return program.has_ended(pid) end)
    if not ok then process.kill(pid, "SIGKILL") end
end

-- After each: ends what has been started, and what that was replaced by.
function clusters.after()
    for _, cluster in ipairs(list) do
        cluster.child:kill("SIGTERM")
        if not cluster.child:wait(20000) then cluster.child:kill("SIGKILL") end
        cluster.child:wait(20000)
        for pid in cluster.text:gmatch("the new program %((%d+)%)") do
            end_of_process(tonumber(pid))
        end
        cluster.is_over = true
        if cluster.listener then cluster.listener:join() end
    end
    assert(os.execute("rm -r " .. clusters.folder) == 0)
end

-- The text of the program that answers with its version.
function clusters.code(options, port, version)
    local values = { OPTIONS = options or "workers = 2", PORT = port or 0, VERSION = version or 1 }
    for name, value in pairs(values) do values[name] = tostring(value) end
    return (SERVER:gsub("%u%u%u%u+", values))
end

-- A new version of the program, at once: a worker that starts just then has the one or the other.
function clusters.rewrite(code)
    program.write(clusters.script .. ".new", code)
    assert(os.rename(clusters.script .. ".new", clusters.script))
end

-- Collects in .text what a child prints: its output, or with "readErrorLine" its errors.
function clusters.adopt(child, read)
    local self = { child = child, pid = child.pid, text = "" }
    self.reader = task.spawn(function()
        local line = child[read or "readline"](child)
        while line do
            self.text = self.text .. line .. "\n"
            line = child[read or "readline"](child)
        end
    end)
    list[#list + 1] = self
    return self
end

-- Notes in .serves when a cluster says that it does. All that it says is taken, or it would wait.
local function listen(self, ear)
    self.listener = task.spawn(function()
        while not self.is_over do
            local text = ear.take()
            if text and text:find("READY=1", 1, true) then self.serves = true end
            if not text then timer.sleep(2) end
        end
        ear.close()
    end)
end

-- Starts a program by a links.
function clusters.start_by(links, code, ...)
    if code then program.write(clusters.script, code) end
    local arguments = select("#", ...) > 0 and { ... } or { clusters.script }
    local path = clusters.folder .. "/notify" .. #list
    local ear = manager.ear(path)
    local self = clusters.adopt(assert(process.spawn(links, arguments,
        { stderr = "stdout", env = { NOTIFY_SOCKET = path } })))
    listen(self, ear)
    return self
end

function clusters.start(code, ...) return clusters.start_by(program.LINKS, code, ...) end

-- Waits until it has printed what matches: the first capture.
function clusters.prints(self, pattern)
    local ok, found = pcall(eventually, pattern, function() return self.text:match(pattern) end)
    return ok and found or error(found .. " in: " .. self.text, 2)
end

-- Waits until it serves: before, the end of a worker is that of the cluster.
function clusters.await(self)
    if self.listener then
        eventually("the cluster to serve", function() return self.serves end)
    end
end

-- The port that it serves, once it does.
function clusters.port_of(self)
    local port = tonumber(clusters.prints(self, "port (%d+)\n"))
    clusters.await(self)
    return port
end

-- One request, on a connection of its own unless `kept`: worker, pid and version.
function clusters.ask(port, path, kept, client)
    local res, err = (client or control):get("http://127.0.0.1:" .. port .. (path or "/"),
        { headers = not kept and { Connection = "close" } or nil, timeout = 20000 })
    if not res then return nil, err end
    local id, pid, version = res.body:match("^(%d+) (%d+) (%S+)$")
    return tonumber(id), tonumber(pid), version
end

-- Asks until all `n` workers have answered: pids by worker id, and the version.
function clusters.workers_of(port, n)
    local pids, count, version = {}, 0, nil
    eventually("answers of all workers", function()
        local id, pid, v = clusters.ask(port)
        assert(id, pid)
        if not pids[id] then count = count + 1 end
        pids[id], version = pid, v
        return count == n
    end)
    return pids, version
end

function clusters.end_of(self, ms)
    return assert(self.child:wait(ms or 20000))
end

-- Runs fn(port) under the load of clients with a connection for each request, and of as many with
-- connections that are kept; then all of them come to an end. How many requests there were, and the
-- errors of those that failed.
function clusters.under_load(cluster, fn)
    local port, stop = clusters.port_of(cluster), false
    local asked, failures, clients = 0, {}, {}
    local client = http.createClient { maxPerHost = 2 * clusters.CLIENTS }
    clusters.workers_of(port, 2)
    for i = 1, 2 * clusters.CLIENTS do
        clients[i] = task.spawn(function()
            while not stop do
                local id, err = clusters.ask(port, "/", i > clusters.CLIENTS, client)
                if not id then failures[#failures + 1] = err end
                asked = asked + 1
            end
        end)
    end
    local ok, err = pcall(fn, port)
    stop = true
    for _, one in ipairs(clients) do one:join() end
    client:close()
    assert(ok, err)
    return asked, failures
end

-- The descriptors that a process has; nil where the system does not tell.
function clusters.descriptors(pid)
    local pipe = io.popen("ls /proc/" .. pid .. "/fd 2>/dev/null | wc -l")
    local count = tonumber(pipe:read("*a"))
    pipe:close()
    return count and count > 0 and count or nil
end

-- The physical memory of a process in bytes; nil where the system does not tell.
function clusters.memory(pid)
    local file = io.open("/proc/" .. pid .. "/status")
    local kib = file and file:read("*a"):match("VmRSS:%s*(%d+) kB")
    if file then file:close() end
    return kib and kib * 1024
end

return clusters
