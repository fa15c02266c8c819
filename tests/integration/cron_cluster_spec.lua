-- timer.cron in a cluster: each time in one worker, whichever is there.
package.path = "tests/support/?.lua;" .. package.path

local process = require "process"
local task = require "task"
local program = require "tools"

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

describe("timer.cron in a cluster", function()
    it("runs each time in one worker, and goes on when one is killed", function()
        local script = os.tmpname()
        program.write(script, SERVER)
        local cluster = assert(process.spawn(program.LINKS, { script }, { stderr = "inherit" }))
        finally(function()
            cluster:kill("SIGTERM")
            if not cluster:wait(15000) then cluster:kill("SIGKILL") end
            cluster:wait(5000)
            os.remove(script)
        end)
        local ran, twice, runs, pid = {}, nil, 0, nil
        task.spawn(function()
            for line in cluster:lines() do
                local kind, id, due = line:match("^(%a+)\t(%d+)\t?(%d*)$")
                if kind == "run" then
                    if ran[due] then twice = line end
                    ran[due], runs = id, runs + 1
                elseif kind == "pid" then
                    pid = tonumber(id)
                end
            end
        end)
        program.eventually("a hundred runs", function() return pid and runs >= 100 end)
        local first = pid
        assert(process.kill(first, "SIGKILL"))
        local before = runs
        program.eventually("runs without the first worker", function()
            return runs >= before + 100
        end)
        program.eventually("its replacement", function() return pid ~= first end)
        assert.is_nil(twice)
    end)
end)
