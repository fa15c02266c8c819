-- What is published in one worker of a cluster, seen from the connections of all of them.
package.path = "tests/support/?.lua;" .. package.path

local json = require "json"
local process = require "process"
local task = require "task"
local websocket = require "websocket"
local program = require "tools"

local eventually = program.eventually

-- Each connection says what is to be done, and gets an answer that begins with ">".
local SERVER = [[
local http, json, process, websocket =
    require "http", require "json", require "process", require "websocket"
assert(process.cluster { workers = 2, restartDelay = 1 })
local commands = {}
function commands.sub(ws, topic, member)
    return ws:subscribe(topic, member ~= "" and member or nil)
end
function commands.members(_, topic)
    local list = assert(websocket.members(topic))
    for i, m in ipairs(list) do
        list[i] = ("%d %s %s"):format(m.worker, m.topic, tostring(m.member))
    end
    table.sort(list)
    return list
end
function commands.late(_, topic)
    local list, err = websocket.members(topic)
    return list, err
end
function commands.watch(ws, topic)
    for _, event in ipairs { "join", "leave" } do
        assert(websocket.on(event, topic, function(m)
            ws:write(("%s %d %s %s"):format(event, m.worker, m.topic, tostring(m.member)))
        end))
    end
    return true
end
function commands.hold(_, _, ms)
    local until_ms = require("system").hrtime() + ms * 1e6
    while require("system").hrtime() < until_ms do end
    return true
end
function commands.unsub(ws, topic) return ws:unsubscribe(topic) end
function commands.pub(_, topic, data) return websocket.publish(topic, data) end
function commands.here(_, topic, data)
    return websocket.publish(topic, data, { scope = "worker" })
end
function commands.others(ws, topic, data) return ws:publish(topic, data) end
function commands.count(_, topic) return websocket.count(topic) end
function commands.stats() return websocket.stats() end
function commands.who() return { process.workerId, process.pid } end
function commands.burst(_, topic, data)
    local count, size = data:match("(%d+) (%d+)")
    local sum = 0
    for i = 1, count do
        sum = sum + assert(websocket.publish(topic, i .. ":" .. ("x"):rep(size)))
    end
    return sum
end
local app = http.router()
app:ws("/", function(ws)
    for text in function() return (ws:read()) end do
        local name, topic, data = text:match("^(%S+) ?(%S*) ?(.*)$")
        local answer, err = commands[name](ws, topic, data)
        ws:write(">" .. json.encode(err and { err = err.name } or { answer }))
    end
end, { maxMessageSize = 4194304, maxBuffered = 33554432 })
local server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
io.write("port ", server:address().port, "\n")
io.stdout:flush()
]]

local folder, script, clusters, sockets

before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder) == 0)
    script, clusters, sockets = folder .. "/app.lua", {}, {}
    program.write(script, SERVER)
end)

after_each(function()
    for _, ws in ipairs(sockets) do ws:close() end
    for _, cluster in ipairs(clusters) do
        cluster:kill("SIGTERM")
        if not cluster:wait(15000) then cluster:kill("SIGKILL") end
        cluster:wait(5000)
    end
    assert(os.execute("rm -r " .. folder) == 0)
end)

local function start()
    local cluster = assert(process.spawn(program.LINKS, { script }, { stderr = "stdout" }))
    clusters[#clusters + 1] = cluster
    local port
    repeat
        local line = assert(cluster:readline())
        port = line:match("^port (%d+)")
    until port
    task.spawn(function() for _ in cluster:lines() do end end)
    return tonumber(port)
end

local Client = {}
Client.__index = Client

-- The next message that is no answer.
function Client:read(ms)
    if #self.messages > 0 then return table.remove(self.messages, 1) end
    return self.ws:read(ms or 20000)
end

-- What the server answers to a command.
function Client:ask(command)
    assert(self.ws:write(command))
    while true do
        local text = assert(self.ws:read(20000))
        if text:sub(1, 1) == ">" then
            local answer = json.decode(text:sub(2))
            return answer[1], answer.err
        end
        table.insert(self.messages, text)
    end
end

local function connect(port)
    local ws, err = websocket.connect("ws://127.0.0.1:" .. port .. "/",
        { maxMessageSize = 4194304, timeout = 20000 })
    if not ws then return nil, err end
    sockets[#sockets + 1] = ws
    local self = setmetatable({ ws = ws, messages = {} }, Client)
    local who = self:ask("who")
    self.id, self.pid = who[1], who[2]
    return self
end

-- A connection to each of both workers.
local function both(port)
    local found = {}
    eventually("connections to both workers", function()
        local client = connect(port)
        if client then found[client.id] = client end
        return found[0] and found[1]
    end)
    return found[0], found[1]
end

local function is_stopped(pid)
    local stat = io.open("/proc/" .. pid .. "/stat")
    if not stat then return true end
    local state = stat:read("*a"):match("%) (%a)")
    stat:close()
    return state == "T"
end

describe("websocket.publish in a cluster", function()
    it("reaches the connections of all workers, in the order of publishing", function()
        local a, b = both(start())
        a:ask("sub news")
        b:ask("sub news")
        assert.equal(2, a:ask("pub news hello"))
        assert.equal("hello", a:read())
        assert.equal("hello", b:read())
        assert.equal(2000, a:ask("burst news 1000 100"))
        for i = 1, 1000 do assert.equal(i, tonumber(b:read():match("^%d+"))) end
        assert.same({ workers = 1, sent = 1001, refused = 0, received = 0, lost = 0 },
            a:ask("stats"))
        assert.same({ workers = 1, sent = 0, refused = 0, received = 1001, lost = 0 },
            b:ask("stats"))
    end)

    it("counts all workers' subscriptions", function()
        local port = start()
        local a, b = both(port)
        assert.equal(0, a:ask("count t"))
        a:ask("sub t")
        b:ask("sub t")
        b:ask("sub t")
        b:ask("sub other")
        assert.equal(2, a:ask("count t"))
        assert.equal(2, b:ask("count t"))
        assert.equal(1, a:ask("count other"))
        b:ask("unsub t")
        assert.equal(1, a:ask("count t"))
        b.ws:close()
        eventually("the end of a connection", function() return a:ask("count other") == 0 end)
    end)

    it("disturbs no worker that has no subscription for it", function()
        local a, b = both(start())
        a:ask("sub mine")
        b:ask("sub yours")
        assert.equal(1, a:ask("pub mine x"))
        assert.equal(0, a:ask("pub nobodys x"))
        assert.equal(0, a:ask("stats").sent)
        assert.equal(0, b:ask("stats").received)
        b:ask("unsub yours")
        assert.equal(0, a:ask("pub yours x"))
        assert.equal(0, a:ask("stats").sent)
    end)

    it("matches patterns of other workers", function()
        local a, b = both(start())
        b:ask("sub room.*")
        b:ask("sub *")
        b:ask("sub room.1")
        assert.equal(1, a:ask("count room.*"))
        -- Three subscriptions of one connection, which gets it once.
        assert.equal(3, a:ask("pub room.1 one"))
        assert.equal("one", b:read())
        assert.equal(1, a:ask("pub roo two"))
        assert.equal("two", b:read())
        assert.equal(2, a:ask("pub room. three"))
        assert.equal("three", b:read())
        assert.equal(2, a:ask("pub room.* four"))
        assert.equal("four", b:read())
        b:ask("unsub *")
        assert.equal(0, a:ask("pub roo five"))
        assert.equal(1, a:ask("pub room.2 six"))
        assert.equal("six", b:read())
    end)

    it("stays in the worker with that scope, and leaves its own connection out", function()
        local a, b = both(start())
        a:ask("sub t")
        b:ask("sub t")
        assert.equal(1, a:ask("here t x"))
        assert.equal("x", a:read())
        assert.equal(1, a:ask("others t y"))
        assert.equal("y", b:read())
        assert.same({}, a.messages)
        assert.same({}, b.messages)
    end)

    it("takes messages up to what an inbox takes, and says so beyond", function()
        local a, b = both(start())
        b:ask("sub t")
        local large = ("x"):rep(1536 * 1024)
        assert.equal(1, a:ask("pub t " .. large))
        assert.equal(large, b:read())
        local n, err = a:ask("pub t " .. large .. "x")
        assert.is_nil(n)
        assert.equal("TOO_LARGE", err)
    end)

    it("forgets a worker that was killed, and reaches the one after it", function()
        local port = start()
        local a, b = both(port)
        a:ask("sub t")
        b:ask("sub t")
        assert.equal(2, a:ask("count t"))
        assert(process.kill(b.pid, "SIGKILL"))
        eventually("the end of a worker", function() return a:ask("count t") == 1 end)
        assert.equal(1, a:ask("pub t x"))
        assert.equal("x", a:read())
        local c
        eventually("another worker", function()
            c = connect(port)
            return c and c.id == b.id and c.pid ~= b.pid
        end)
        c:ask("sub t")
        assert.equal(2, a:ask("count t"))
        assert.equal(2, a:ask("pub t y"))
        assert.equal("y", c:read())
        assert.equal(2, c:ask("pub t z"))
        assert.equal("y", a:read())
        assert.equal("z", a:read())
    end)

    it("waits for nobody who is stopped, and counts what he loses", function()
        local a, b = both(start())
        a:ask("sub t")
        b:ask("sub t")
        assert(process.kill(b.pid, "SIGSTOP"))
        eventually("the worker to stop", function() return is_stopped(b.pid) end)
        -- 4 MiB, of which half find room.
        local receivers = a:ask("burst t 400 10000")
        for i = 1, 400 do assert.equal(i, tonumber(a:read():match("^%d+"))) end
        local stats = a:ask("stats")
        assert.equal(400, stats.sent + stats.refused)
        assert.equal(400 + stats.sent, receivers)
        assert.is_true(stats.sent >= 200 and stats.sent < 220, tostring(stats.sent))
        assert(process.kill(b.pid, "SIGCONT"))
        for i = 1, stats.sent do assert.equal(i, tonumber(b:read():match("^%d+"))) end
        assert.equal(2, a:ask("pub t last"))
        assert.equal("last", b:read())
        assert.equal(stats.refused, b:ask("stats").lost)
    end)

    it("keeps two clusters of one program apart", function()
        local a, b = both(start())
        local other = connect(start())
        a:ask("sub t")
        b:ask("sub t")
        other:ask("sub t")
        assert.equal(2, a:ask("count t"))
        assert.equal(1, other:ask("count t"))
        assert.equal(1, other:ask("pub t x"))
        assert.equal(2, b:ask("pub t y"))
        assert.equal("y", a:read())
        assert.equal("x", other:read())
        assert.same({}, other.messages)
    end)
end)

describe("members of topics in a cluster", function()
    it("are those of all workers", function()
        local a, b = both(start())
        assert.same({}, a:ask("members room"))
        a:ask("sub room ann")
        b:ask("sub room bob")
        b:ask("sub room.2 bob")
        for _, client in ipairs { a, b } do
            assert.same({ "0 room ann", "1 room bob" }, client:ask("members room"))
            assert.same({ "0 room ann", "1 room bob", "1 room.2 bob" }, client:ask("members *"))
        end
        b:ask("unsub room")
        assert.same({ "0 room ann" }, a:ask("members room"))
    end)

    it("are many, and those of a worker that has something to do", function()
        local a, b = both(start())
        local name = ("x"):rep(1000)
        for i = 1, 700 do b:ask("sub t." .. i .. " " .. name) end
        assert(b.ws:write("hold t 200"))
        local list = a:ask("members t.*")
        assert.equal(700, #list)
        for i = 1, 700 do assert.equal(name, list[i]:match("(%S+)$")) end
    end)

    it("of a worker that does not answer are left out, and that is said", function()
        local a, b = both(start())
        a:ask("sub room ann")
        b:ask("sub room bob")
        assert(process.kill(b.pid, "SIGSTOP"))
        eventually("the worker to stop", function() return is_stopped(b.pid) end)
        local _, err = a:ask("late room")
        assert.equal("ETIMEDOUT", err)
        assert(process.kill(b.pid, "SIGCONT"))
        assert.same({ "0 room ann", "1 room bob" }, a:ask("members room"))
    end)

    it("are told of in whichever worker they come and go", function()
        local a, b = both(start())
        b:ask("sub room early")
        a:ask("watch room")
        b:ask("sub room.2 nobody")
        b:ask("sub room second")
        b:ask("unsub room")
        b:ask("sub room bob")
        assert.equal("leave 1 room early", a:read())
        assert.equal("join 1 room bob", a:read())
        a:ask("sub room ann")
        assert.equal("join 0 room ann", a:read())
        b.ws:close()
        assert.equal("leave 1 room bob", a:read())
    end)

    it("of a worker that was killed have left", function()
        local a, b = both(start())
        a:ask("watch room.*")
        b:ask("sub room.1 bob")
        b:ask("sub room.2 bob")
        assert.equal("join 1 room.1 bob", a:read())
        assert.equal("join 1 room.2 bob", a:read())
        assert(process.kill(b.pid, "SIGKILL"))
        local left = { (a:read()), (a:read()) }
        table.sort(left)
        assert.same({ "leave 1 room.1 bob", "leave 1 room.2 bob" }, left)
        assert.same({}, a:ask("members room.*"))
    end)

    it("are known even where word of them was lost", function()
        local a, b = both(start())
        a:ask("watch room")
        a:ask("sub t")
        assert(process.kill(a.pid, "SIGSTOP"))
        eventually("the worker to stop", function() return is_stopped(a.pid) end)
        -- More than the inbox takes, and the change behind it.
        b:ask("burst t 400 10000")
        b:ask("sub room bob")
        assert(process.kill(a.pid, "SIGCONT"))
        local text = a:read()
        while text:find("^%d+:") do text = a:read() end
        assert.equal("join 1 room bob", text)
    end)
end)
