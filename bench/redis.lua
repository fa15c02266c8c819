-- links redis.lua SOCKET COUNT TASKS: gets a value that often, by a client that all tasks share,
-- and prints the CPU time of one command in microseconds, after as many to warm up.
local process, redis, task = require "process", require "redis", require "task"

local path, count, tasks = arg[1], tonumber(arg[2]), tonumber(arg[3])
local client = redis.createClient { path = path }
assert(client:set("key", "hello, world!"))

local function get(n)
    for _ = 1, n do assert(#client:get("key") == 13) end
    return true
end

local function run()
    local list = {}
    for i = 1, tasks do list[i] = function() return get(count / tasks) end end
    assert(task.all(list))
end

run()
local before = process.cpuUsage()
run()
local after = process.cpuUsage()
print((after.user + after.sys - before.user - before.sys) * 1000 / count)
client:close()
