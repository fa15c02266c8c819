-- http.limit in a cluster: its workers count together.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local process = require "process"
local task = require "task"
local program = require "tools"

local SERVER = [[
local http, process = require "http", require "process"
assert(process.cluster { workers = 2, restartDelay = 1 })
local app = http.router()
local function answer() return process.workerId .. " " .. process.pid end
app:get("/who", answer)
app:get("/five", http.limit { rate = 5, per = 3600000 }, answer)
app:get("/seven", http.limit { rate = 7, per = 3600000 }, answer)
local server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
io.write("port ", server:address().port, "\n")
io.stdout:flush()
]]

describe("http.limit in a cluster", function()
    it("counts the requests of all workers together, one limit from the other", function()
        local script = os.tmpname()
        program.write(script, SERVER)
        local cluster = assert(process.spawn(program.LINKS, { script }, { stderr = "stdout" }))
        finally(function()
            cluster:kill("SIGTERM")
            if not cluster:wait(15000) then cluster:kill("SIGKILL") end
            cluster:wait(5000)
            os.remove(script)
        end)
        local port
        repeat port = assert(cluster:readline()):match("^port (%d+)") until port
        task.spawn(function() for _ in cluster:lines() do end end)

        local function ask(path)
            local res = http.get("http://127.0.0.1:" .. port .. path,
                { headers = { Connection = "close" }, timeout = 15000 })
            if not res then return nil end
            local id, pid = res.body:match("^(%d+) (%d+)$")
            return res.status, tonumber(id), tonumber(pid)
        end
        local function let_in(path, requests)
            local count = 0
            for _ = 1, requests do count = count + (ask(path) == 200 and 1 or 0) end
            return count
        end

        local pids = {}
        program.eventually("answers of both workers", function()
            local _, id, pid = ask("/who")
            if id then pids[id] = pid end
            return pids[0] and pids[1]
        end)
        assert.equal(5, let_in("/five", 20))
        assert.equal(3, let_in("/seven", 3))
        -- A new worker goes on with what was counted.
        assert(process.kill(pids[1], "SIGKILL"))
        program.eventually("another worker", function()
            local _, id, pid = ask("/who")
            return id == 1 and pid ~= pids[1]
        end)
        assert.equal(0, let_in("/five", 10))
        assert.equal(4, let_in("/seven", 20))
    end)
end)
