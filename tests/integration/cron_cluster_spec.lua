-- timer.cron in a cluster: each time in one worker, whichever is there.
package.path = "tests/support/?.lua;" .. package.path

local process = require "process"
local clusters = require "clusters"
local eventually = require("tools").eventually

-- Each worker has a clock of its own: whenever it looks, the next minute has just begun. It runs
-- through the same minutes as the others do, at its own pace, and tells of those in which its job
-- has run.
local SERVER = [[
local process, timer = require "process", require "timer"
local cron = require "links.cron"
assert(process.cluster { workers = 2, restartDelay = 1 })
local time, odd = os.time { year = 2026, month = 3, day = 1, hour = 10 } - 0.001, false
cron.now = function()
    odd = not odd
    time = time + (odd and 0.001 or 59.999)
    return time
end
timer.cron("* * * * *", function(due)
    print("run", process.workerId, due)
    io.stdout:flush()
    if due % 7 == 0 then timer.sleep(3) end
end)
process.ready()
if process.workerId == 0 then print("pid", process.pid) io.stdout:flush() end
timer.sleep(1e9)
]]

before_each(clusters.before)
after_each(clusters.after)

-- What the workers have printed: how many runs, one that was there twice, and the first worker.
local function read(cluster)
    local ran, runs, twice, pid = {}, 0, nil, nil
    for kind, id, due in cluster.text:gmatch("(%a+)\t(%d+)\t?(%d*)\n") do
        if kind == "run" then
            if ran[due] then twice = due end
            ran[due], runs = id, runs + 1
        elseif kind == "pid" then
            pid = tonumber(id)
        end
    end
    return runs, twice, pid
end

describe("timer.cron in a cluster", function()
    it("runs each time in one worker, and goes on when one is killed", function()
        local cluster = clusters.start(SERVER)
        clusters.await(cluster)
        local first, before
        eventually("a hundred runs", function()
            local runs, _, pid = read(cluster)
            before, first = runs, pid
            return first and before >= 100
        end)
        assert(process.kill(first, "SIGKILL"))
        eventually("runs without the first worker, and its replacement", function()
            local runs, twice, pid = read(cluster)
            assert.is_nil(twice)
            return runs >= before + 100 and pid ~= first
        end)
    end)
end)
