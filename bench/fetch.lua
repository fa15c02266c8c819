-- links fetch.lua URL COUNT TASKS: makes requests over kept connections, and prints the CPU time of
-- one in microseconds, after as many to warm up.
local http, process, task = require "http", require "process", require "task"

local url, count, tasks = arg[1], tonumber(arg[2]), tonumber(arg[3])

local function get(n)
    for _ = 1, n do
        local res = assert(http.get(url))
        assert(#res.body == 13)
    end
end

local function run()
    local list = {}
    for i = 1, tasks do list[i] = function() get(count / tasks) return true end end
    assert(task.all(list))
end

run()
local before = process.cpuUsage()
run()
local after = process.cpuUsage()
print((after.user + after.sys - before.user - before.sys) * 1000 / count)
