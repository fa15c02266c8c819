-- The metrics of a cluster: one text for all workers, whichever is asked, and nothing of what was
-- counted is lost with a worker.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local process = require "process"
local task = require "task"
local clusters = require "clusters"
local program = require "tools"

local eventually = program.eventually
local cluster

local SERVER = [[
local http, metrics, process = require "http", require "metrics", require "process"
assert(process.cluster { workers = 2, USER })
local hits = metrics.counter("hits", { labels = { "who" } })
local level = metrics.gauge("level")
local highest = metrics.gauge("highest", { merge = "max" })
local lowest = metrics.gauge("lowest", { merge = "min" })
local sizes = metrics.histogram("sizes", { buckets = { 1, 10 } })
level:set(10 + process.workerId)
highest:set(process.workerId)
lowest:set(process.workerId)
metrics.onCollect(function() metrics.gauge("asked"):set(1) end)
local app = http.router()
app:get("/metrics", metrics.handler())
app:get("/hit", function()
    hits:labels("all"):inc()
    sizes:observe(process.workerId * 5)
    return process.workerId .. " " .. process.pid
end)
app:get("/hold", function()
    local t = os.clock()
    while os.clock() - t < 3 do end
end)
local server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
io.write("port ", server:address().port, "\n")
io.stdout:flush()
]]

before_each(clusters.before)
after_each(clusters.after)

local function start(user)
    local code = SERVER:gsub("USER", user or "")
    local links = user and program.copy_for_others(clusters.folder) or program.LINKS
    program.write(clusters.script, code)
    assert(os.execute("chmod 644 " .. clusters.script) == 0)
    cluster = clusters.start_by(links)
    return "http://127.0.0.1:" .. clusters.port_of(cluster)
end

local function get(url)
    return http.get(url, { headers = { Connection = "close" }, timeout = 15000 })
end

local function value_of(body, series)
    return tonumber(body:match("\n" .. series:gsub("[^%w]", "%%%0") .. " (%S+)\n"))
end

-- Asks until both workers have answered: how often, and their pids by id.
local function hit(url)
    local pids, n = {}, 0
    eventually("answers of both workers", function()
        local res = assert(get(url .. "/hit"))
        local id, pid = res.body:match("^(%d) (%d+)$")
        pids[tonumber(id)] = tonumber(pid)
        n = n + 1
        return pids[0] and pids[1]
    end)
    return n, pids
end

local function scrape(url)
    return assert(get(url .. "/metrics")).body
end

describe("the metrics of a cluster", function()
    it("are those of all workers, merged as each metric asks for it", function()
        local url = start()
        local n = hit(url)
        -- Workers cannot ask each other before the master knows that all of them serve.
        eventually("numbers of both workers", function()
            return value_of(scrape(url), "asked") == 2
        end)
        for _ = 1, 6 do
            local body = scrape(url)
            assert.equal(n, value_of(body, 'hits_total{who="all"}'))
            assert.equal(n, value_of(body, 'sizes_bucket{le="+Inf"}'))
            assert.equal(21, value_of(body, "level"))
            assert.equal(1, value_of(body, "highest"))
            assert.equal(0, value_of(body, "lowest"))
            assert.equal(2, value_of(body, "asked"))
            local route = 'method="GET",route="/hit"'
            assert.equal(n, value_of(body, "links_http_requests_total{" .. route
                .. ',status="200"}'))
            assert.equal(n, value_of(body, "links_http_request_seconds_count{" .. route .. "}"))
            for _, who in ipairs { "0", "1", "master" } do
                assert.is_true(value_of(body, 'process_resident_memory_bytes{worker="' .. who
                    .. '"}') > 1e6)
            end
            assert.equal(2, value_of(body, 'links_cluster_workers{worker="master"}'))
            assert.equal(0, value_of(body, 'links_cluster_restarts_total{worker="master"}'))
        end
    end)

    it("keep what a killed worker has counted, and go on counting", function()
        local url = start()
        local n, pids = hit(url)
        for round = 1, 3 do
            local before = pids[0]
            assert(process.kill(before, "SIGKILL"))
            eventually("another worker", function()
                local res = get(url .. "/hit")
                if not res then return false end
                n = n + 1
                local id, pid = res.body:match("^(%d) (%d+)$")
                pids[tonumber(id)] = tonumber(pid)
                return pids[0] ~= before
            end)
            eventually("the new worker's numbers", function()
                local body = scrape(url)
                assert.equal(n, value_of(body, 'hits_total{who="all"}'))
                return value_of(body, "level") == 21
                    and value_of(body, 'links_cluster_restarts_total{worker="master"}') == round
            end)
        end
    end)

    it("keep what was counted over a reload", function()
        local url = start()
        local n = hit(url)
        for round = 1, 2 do
            cluster.child:kill("SIGHUP")
            eventually("a reload", function()
                return value_of(scrape(url),
                    'links_cluster_reloads_total{result="done",worker="master"}') == round
            end)
            eventually("the end of the old workers", function()
                return value_of(scrape(url), "level") == 21
            end)
            local more = hit(url)
            n = n + more
            assert.equal(n, value_of(scrape(url), 'hits_total{who="all"}'))
        end
    end)

    it("are shared by workers of another user than the master's", function()
        if not program.is_root() then return pending("needs root") end
        local url = start('uid = "nobody"')
        local n = hit(url)
        eventually("numbers of the master", function()
            local body = scrape(url)
            assert.equal(n, value_of(body, 'hits_total{who="all"}'))
            return value_of(body, 'links_cluster_workers{worker="master"}') == 2
        end)
    end)

    it("come from a worker that cannot answer as it had told them before", function()
        local url = start()
        local n = hit(url)
        local held = task.spawn(get, url .. "/hold")
        -- One of the workers is held now; who reaches the other one gets both's numbers.
        local body
        eventually("an answer of the free worker", function()
            local res = http.get(url .. "/metrics",
                { headers = { Connection = "close" }, timeout = 2000 })
            body = res and res.body
            return body
        end)
        assert.equal(n, value_of(body, 'hits_total{who="all"}'))
        held:join()
    end)
end)
