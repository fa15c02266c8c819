-- Limits of requests in a cluster: its workers count together.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local process = require "process"
local task = require "task"
local clusters = require "clusters"
local eventually = require("tools").eventually

local SERVER = [[
local http, process, timer = require "http", require "process", require "timer"
assert(process.cluster { workers = 2, restartDelay = 1 })
local app = http.router()
local function answer() return process.workerId .. " " .. process.pid end
app:get("/who", answer)
app:get("/five", http.limit { rate = 5, per = 3600000 }, answer)
app:get("/seven", http.limit { rate = 7, per = 3600000 }, answer)
local one = http.concurrency(1)
app:get("/one", one, answer)
app:get("/hold", one, function()
    print("held by", process.pid)
    io.stdout:flush()
    timer.sleep(1e9)
end)
app:get("/next", http.concurrency(1, { queue = 1, wait = 20000 }), function(req)
    local file = req.query.until_gone
    if file then
        print("next is held by", process.pid)
        io.stdout:flush()
        repeat
            timer.sleep(1)
            local open = io.open(file)
            if open then open:close() end
        until not open
    end
    return answer()
end)
local server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
io.write("port ", server:address().port, "\n")
io.stdout:flush()
]]

before_each(clusters.before)
after_each(clusters.after)

local cluster, port

local function start()
    cluster = clusters.start(SERVER)
    port = clusters.port_of(cluster)
end

-- The status, and the worker and its process.
local function ask(path)
    local res = http.get("http://127.0.0.1:" .. port .. path,
        { headers = { Connection = "close" }, timeout = 30000 })
    if not res then return nil end
    local id, pid = res.body:match("^(%d+) (%d+)$")
    return res.status, tonumber(id), tonumber(pid)
end

local function pids_of_both()
    local pids = {}
    eventually("answers of both workers", function()
        local _, id, pid = ask("/who")
        if id then pids[id] = pid end
        return pids[0] and pids[1]
    end)
    return pids
end

describe("http.limit in a cluster", function()
    it("counts the requests of all workers together, one limit from the other", function()
        start()
        local function let_in(path, requests)
            local count = 0
            for _ = 1, requests do count = count + (ask(path) == 200 and 1 or 0) end
            return count
        end
        local pids = pids_of_both()
        assert.equal(5, let_in("/five", 20))
        assert.equal(3, let_in("/seven", 3))
        -- A new worker goes on with what was counted.
        assert(process.kill(pids[1], "SIGKILL"))
        eventually("another worker", function()
            local _, id, pid = ask("/who")
            return id == 1 and pid ~= pids[1]
        end)
        assert.equal(0, let_in("/five", 10))
        assert.equal(4, let_in("/seven", 20))
    end)
end)

describe("http.concurrency in a cluster", function()
    it("lets so many in, in all workers together, until one leaves or dies", function()
        start()
        pids_of_both()
        local held = task.spawn(ask, "/hold")
        local holder = tonumber(clusters.prints(cluster, "held by%s+(%d+)\n"))
        for _ = 1, 20 do assert.equal(503, (ask("/one"))) end
        assert(process.kill(holder, "SIGKILL"))
        held:join()
        eventually("the place of the worker that has died", function()
            return ask("/one") == 200
        end)
    end)

    -- One request holds the place while four others come, wherever the system sends them: the
    -- process of the first, and those of the others that were let in then.
    local function round()
        local file = clusters.folder .. "/held"
        assert(io.open(file, "w")):close()
        cluster.text = ""
        local first = task.spawn(ask, "/next?until_gone=" .. file)
        local holder = tonumber(clusters.prints(cluster, "next is held by%s+(%d+)\n"))
        local others, pids = {}, {}
        for i = 1, 4 do
            others[i] = task.spawn(ask, "/next")
            others[i]:join(20)
        end
        os.remove(file)
        assert.equal(200, (select(2, first:join())))
        for i, other in ipairs(others) do
            local _, status, _, pid = other:join()
            assert.is_true(status == 200 or status == 503)
            if status == 200 then pids[i] = pid end
        end
        return holder, pids
    end

    it("lets in who waits in another worker", function()
        start()
        pids_of_both()
        eventually("one that was let in there", function()
            local holder, pids = round()
            for _, pid in pairs(pids) do
                if pid ~= holder then return true end
            end
        end)
    end)
end)
