-- Work on all processors: starts one process for each, hands them jobs by messages, and adds up
-- what they answer. The jobs here count primes.
--
--   links examples/jobs.lua [limit]
local process = require "process"
local system = require "system"
local task = require "task"

local STEP = 5000

local function is_prime(n)
    for d = 2, math.sqrt(n) do
        if n % d == 0 then return false end
    end
    return n > 1
end

if arg[1] == "worker" then
    process.onRequest(function(job)
        local count = 0
        for n = job.from, job.to do count = count + (is_prime(n) and 1 or 0) end
        return count
    end)
    return -- it goes on for as long as somebody may ask
end

local limit = tonumber(arg[1] or 200000)
if not limit then
    io.stderr:write("usage: links examples/jobs.lua [limit]\n")
    os.exit(2)
end

local free, jobs = {}, {}
for i = 1, system.cpuCount() do
    free[i] = assert(process.fork { file = arg[0], args = { "worker" }, ipc = true })
end
local workers = #free
for from = 1, limit - 1, STEP do
    jobs[#jobs + 1] = { from = from, to = math.min(from + STEP, limit) - 1 }
end

local counts = assert(task.map(jobs, function(job)
    local worker = table.remove(free)
    local count = assert(process.request(worker, job))
    table.insert(free, worker)
    return count
end, { concurrency = workers }))

local total = 0
for _, count in ipairs(counts) do total = total + count end
print(("%d primes below %d, counted by %d processes"):format(total, limit, workers))
process.disconnect("*") -- nobody will ask any more, so they end
