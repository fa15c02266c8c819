-- What one worker of a cluster does for all: another one does it where that one ends before it is
-- done. There is no leader that could be missing: who holds the lock is it.
local lock = require "links.lock"
local own = require "links.shared.own"
local report = require "links.report"
local binding = require "links.process.ffi"
local worker = require "links.process.worker"

local SIZE = 65536
-- Until it is released, or its owner has gone.
local FOR_EVER = 2 ^ 39
local WAIT = 2 ^ 31 - 1

-- The program that these workers run: another one begins at a reload, or an upgrade.
local function run_of_program()
    return ("%d.%d"):format(binding.C.links_process_ppid(), worker.generation)
end

-- Calls fn() where nobody has, and notes that it has come to its end.
local function once(dict, key, fn)
    local run = run_of_program()
    if binding.C.links_ending_due() ~= 0 or dict:get(key) == run then return end
    local ok, trace = xpcall(fn, report.trace)
    -- What the end of this worker has cut short is another one's to do.
    if binding.C.links_ending_due() ~= 0 then return end
    if ok then return assert(dict:set(key, run)) end
    report.write("error", "process.lead: " .. trace)
end

--- Runs fn() in this task, where no other worker does or has done it: waits for that.
return function(name, fn)
    if not worker.id then return fn() end
    local key = ("%s %s"):format(worker.cluster, name)
    local dict = assert(own.open("lead", SIZE, { evict = "none" }))
    while true do
        local held, err = lock.acquire(key, { wait = WAIT, ttl = FOR_EVER, dict = dict })
        if held then
            once(dict, "d:" .. key, fn)
            held:release()
            return
        end
        if err.name == "ECANCELED" then return end
        if err.name ~= "LOCKED" then error(err, 0) end
    end
end
