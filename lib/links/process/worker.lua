-- A worker of a cluster: what it does besides its program. It tells its master when it listens,
-- when it should be replaced, and lets its servers finish at its end.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local listening = require "links.listening"
local binding = require "links.process.ffi"
local crash = require "links.process.crash"
local ipc = require "links.process.ipc"

local C = binding.C

local worker = {
    -- What is told to the master.
    READY = 1,
    RECYCLE = 2,
    LEAVING = 3,
    -- Milliseconds between two looks at the limits, and until a master that has not found a
    -- replacement is asked again.
    LOOK = 250,
    AGAIN = 10000,
}

-- Written by worker.settings, which see.
local SETTINGS = "^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%x+) (.*)$"

--- What a master tells a worker at its start, as one line.
---
--- @param id  integer      its number
--- @param master  Master   slots, options, generation (which counts the reloads), and cluster: what
---                         names that, and stays through upgrades, hexadecimal digits
--- @return string
function worker.settings(id, master)
    local o = master.options
    return ("%d %d %d %d %.0f %d %s %s"):format(id, #master.slots, o.shutdownTimeout,
        o.maxRequests, o.maxMemory, master.generation, master.cluster, o.title)
end

--- What ps(1) shows of a worker.
function worker.title_of(title, id) return title .. ": worker " .. id end

local function read_settings()
    local text = C.links_worker_settings()
    if text == nil then return end
    local id, count, timeout, requests, memory, generation, cluster, title =
        ffi.string(text):match(SETTINGS)
    worker.id, worker.count = tonumber(id), tonumber(count)
    worker.timeout, worker.cluster, worker.title = tonumber(timeout), cluster, title
    worker.generation = tonumber(generation)
    worker.max_requests, worker.max_memory = tonumber(requests), tonumber(memory)
    ipc.join(worker.count)
end

read_settings()

--- Tells the master that this worker serves. Once is enough.
---
--- @return true
--- @return nil, err  ENOTCONN, EPIPE  the master has gone
function worker.ready()
    if worker.is_ready then return true end
    local rc = C.links_worker_tell(worker.READY)
    if rc < 0 then return nil, errors.new(rc, "ready") end
    worker.is_ready = true
    return true
end

-- The program may have several servers, or fail on its next line: so this waits for its first wait.
local function on_listening()
    if worker.is_ready or worker.is_told then return end
    worker.is_told = true
    core.spawn(function()
        core.yield()
        -- One that has failed closes its servers still.
        if C.links_ending_due() == 0 then worker.ready() end
    end)
end

local function drain(reason)
    -- Where that was not the master, it knows now.
    if reason:find("^SIG") then C.links_worker_tell(worker.LEAVING) end
    listening.finish(listening.servers(), "_drain", worker.timeout)
end

local function requests_so_far()
    local sum = 0
    for _, server in ipairs(listening.servers()) do
        sum = sum + (server._served and server:_served() or 0)
    end
    return sum
end

local function is_worn(process)
    if worker.max_requests > 0 and requests_so_far() >= worker.max_requests then return true end
    return worker.max_memory > 0 and process.memoryUsage().rss >= worker.max_memory
end

local function watch_limits(process)
    if worker.max_requests == 0 and worker.max_memory == 0 then return end
    local told = -worker.AGAIN
    local timer = require("links.timer").setInterval(worker.LOOK, function()
        if core.now() - told < worker.AGAIN or not is_worn(process) then return end
        told = core.now()
        C.links_worker_tell(worker.RECYCLE)
    end)
    timer:unref()
end

local function ignore() end

--- Begins what a worker does: before its program runs.
function worker.begin()
    local process = require "links.process"
    process.title = worker.title_of(worker.title, worker.id)
    process.shutdownTimeout = worker.timeout
    -- The terminal sends these to all processes; the master says what is to be done.
    for _, name in ipairs { "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2" } do
        process.on(name, ignore)
    end
    process.onShutdown(drain)
    listening.drains = true
    process.on("disconnect", function(from)
        if from == "master" then process.exit("SIGTERM") end
    end)
    listening.notice = on_listening
    crash.begin()
    watch_limits(process)
end

return worker
