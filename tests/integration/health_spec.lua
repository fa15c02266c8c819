-- /readyz while a process ends: 503 as soon as it does, and what is asked is answered all the same.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local process = require "process"
local task = require "task"
local tcp = require "tcp"
local program = require "tools"

local eventually = program.eventually

local SERVER = [[
local http, timer = require "http", require "timer"
CLUSTER
local app = http.router()
app:use(http.health())
app:get("/slow", function()
    print("slow begins")
    io.stdout:flush()
    -- What a client would get at the same time.
    local status, body, _
    repeat
        timer.sleep(1)
        status, _, body = app:call("GET", "/readyz")
    until status ~= 200
    return status .. " " .. body
end)
app:get("/hold", function(req)
    print("hold begins")
    io.stdout:flush()
    repeat
        timer.sleep(1)
        local file = io.open(req.query.until_gone)
        if file then file:close() end
    until not file
    return "held"
end)
local server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
io.write("port ", server:address().port, "\n")
io.stdout:flush()
]]

local script, child, text

local function start(cluster)
    script = os.tmpname()
    program.write(script, (SERVER:gsub("CLUSTER", cluster)))
    child = assert(process.spawn(program.LINKS, { script }, { stderr = "stdout" }))
    text = ""
    local running = child
    task.spawn(function()
        for line in running:lines() do text = text .. line .. "\n" end
    end)
    return tonumber(eventually("the port", function() return text:match("port (%d+)\n") end))
end

after_each(function()
    child:kill("SIGTERM")
    if not child:wait(15000) then child:kill("SIGKILL") end
    child:wait(5000)
    os.remove(script)
end)

-- A request that is under way when the end begins looks what /readyz says, until it says no.
local function check_drain(port, signal)
    local ready = assert(http.get("http://127.0.0.1:" .. port .. "/readyz"))
    assert.equal(200, ready.status)
    local res, err
    local waiting = task.spawn(function()
        res, err = http.get("http://127.0.0.1:" .. port .. "/slow", { timeout = 20000 })
    end)
    eventually("the slow request", function() return text:find("slow begins") end)
    child:kill(signal)
    waiting:join()
    assert(res, err)
    assert.equal(200, res.status)
    assert.equal('503 {"status":"draining"}\n', res.body)
end

describe("/readyz", function()
    it("is 503 as soon as the process is told to end", function()
        check_drain(start(""), "SIGTERM")
    end)

    it("is 503 in the workers of a cluster that ends", function()
        check_drain(start("assert(require('process').cluster { workers = 1 })"), "SIGTERM")
    end)

    it("is not asked by new connections for as long as a cluster takes to end", function()
        local port = start("assert(require('process').cluster { workers = 1 })")
        local go_on, res, err = os.tmpname(), nil, nil
        local waiting = task.spawn(function()
            res, err = http.get("http://127.0.0.1:" .. port .. "/hold?until_gone=" .. go_on,
                { timeout = 20000 })
        end)
        eventually("the request", function() return text:find("hold begins") end)
        child:kill("SIGTERM")
        eventually("a refused connection", function()
            local socket, why = tcp.connect(port, "127.0.0.1")
            if socket then socket:close() end
            return not socket and why.name == "ECONNREFUSED"
        end)
        assert.is_nil(res)
        os.remove(go_on)
        waiting:join()
        assert(res, err)
        assert.equal("held", res.body)
    end)

    it("is 503 in the workers that a reload replaces", function()
        check_drain(start("assert(require('process').cluster { workers = 1 })"), "SIGHUP")
    end)
end)
