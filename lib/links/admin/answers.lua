-- What a process says of itself when its admin socket, or that of its cluster, is asked. Each
-- command is a function of its arguments that returns a table, or nil and a message; it runs in a
-- task.
local core = require "links.core"
local errors = require "links.errors"
local ipc = require "links.process.ipc"
local listening = require "links.listening"
local pools = require "links.pools"

local answers = {}

local TASKS_MAX = 1000 -- told of at once

local commands = {}

-- --- Tasks --------------------------------------------------------------------------------------

local function about_task(t, with_stack)
    local state, what, ms, id, cancelled = core.info(t)
    return {
        id = id, name = t.name, status = state, waitsFor = what, ms = what and ms or nil,
        cancelled = cancelled or nil, stack = with_stack and core.traceback(t) or nil,
    }
end

local function tasks(with_stack, id)
    local list, more = {}, 0
    local me = core.current()
    for _, t in ipairs(core.tasks()) do
        local wanted = t ~= me
        if wanted and id then wanted = select(4, core.info(t)) == id end
        if wanted and #list < TASKS_MAX then
            list[#list + 1] = about_task(t, with_stack)
        elseif wanted then
            more = more + 1
        end
    end
    table.sort(list, function(a, b) return a.id < b.id end)
    return { tasks = list, more = more > 0 and more or nil }
end

local function task_id(args)
    if not args[1] then return nil end
    local id = tonumber(args[1])
    if not id or id % 1 ~= 0 or id < 1 then return nil, "not a task's number: " .. args[1] end
    return id
end

function commands.tasks()
    return tasks(false)
end

function commands.stacks(args)
    local id, wrong = task_id(args)
    if wrong then return nil, wrong end
    return tasks(true, id)
end

-- --- What there is ------------------------------------------------------------------------------

local function each_server(fn)
    for _, server in ipairs(listening.servers()) do
        local ok, stats = pcall(server.stats, server)
        if ok then fn(server, stats) end
    end
end

-- How this process does, in numbers that two looks can be compared by.
function commands.stats()
    local process = require "links.process"
    local cpu, memory, stats = process.cpuUsage(), process.memoryUsage(), core.stats()
    local connections, requests, accepted = 0, 0, 0
    each_server(function(_, server)
        connections = connections + server.connections
        requests = requests + (server.requests or 0)
        accepted = accepted + server.accepted
    end)
    return {
        pid = process.pid, title = process.title, uptime = process.uptime(),
        time = require("links.system").hrtime() / 1e6,
        cpu = cpu.user + cpu.sys, rss = memory.rss, lua = memory.lua,
        connections = connections, requests = requests, accepted = accepted, tasks = stats.tasks,
        turns = stats.turns, busy = stats.busy, lag = stats.lag,
        longestTurn = stats.longestTurn, longestHold = stats.longestHold,
        longestAt = stats.longestAt ~= "" and stats.longestAt or nil,
    }
end

function commands.conns()
    local list = {}
    each_server(function(server, stats)
        local entry = { server = tostring(server) }
        for _, name in ipairs {
            "connections", "idle", "reading", "writing", "upgraded", "queued", "accepted",
            "refused", "requests", "rejected", "bytesIn", "bytesOut",
        } do
            entry[name] = stats[name]
        end
        list[#list + 1] = entry
    end)
    table.sort(list, function(a, b) return a.server < b.server end)
    return { servers = list }
end

function commands.pools()
    local list = {}
    for kind, all in pairs(pools.kinds()) do
        for pool in pairs(all) do
            local stats = pool:stats()
            stats.kind = kind
            list[#list + 1] = stats
        end
    end
    return { pools = list }
end

function commands.timers()
    local stats = core.stats()
    return { timers = stats.timers, watchers = stats.watchers, handles = stats.handles }
end

function commands.dicts()
    local shared = package.loaded["links.shared"]
    local list = {}
    for id, dict in pairs(shared and shared._opened or {}) do
        local stats = dict:stats()
        stats.name = (id:gsub("^%z", ""))
        list[#list + 1] = stats
    end
    table.sort(list, function(a, b) return a.name < b.name end)
    return { dicts = list }
end

function commands.heap()
    local memory = require("links.process").memoryUsage()
    return { rss = memory.rss, lua = memory.lua, heap = memory.heap }
end

function commands.gc()
    local before = collectgarbage("count") * 1024
    collectgarbage()
    collectgarbage() -- what finalizers have let go of
    return { before = math.floor(before), after = math.floor(collectgarbage("count") * 1024) }
end

-- --- Logs ---------------------------------------------------------------------------------------

commands["log-level"] = function(args)
    local log = require "links.log"
    local level, module = args[#args], args[2] and args[1]
    if not level then return nil, "log-level [MODULE] LEVEL" end
    local ok, message = pcall(log.setLevel, level, module)
    if not ok then return nil, (tostring(message):gsub("^.-log%.setLevel%b() ", "")) end
    return { level = level, module = module }
end

commands["log-tail"] = function(args)
    local n = tonumber(args[1] or 20)
    if not n or n % 1 ~= 0 or n < 1 or n > 10000 then return nil, "log-tail [LINES], 1 to 10000" end
    return { lines = require("links.log").tail(n) }
end

-- --- Profiles -----------------------------------------------------------------------------------

local ETIMEDOUT = -errors.code("ETIMEDOUT")
local stop, sampler = core.queue(), nil -- who samples, and for whom

-- The samples of so many milliseconds, by stack; the third argument is for whom.
function commands.profile(args)
    local ms, interval = tonumber(args[1]), tonumber(args[2])
    if not core.profileStart(interval) then
        return nil, "somebody else is sampling this process"
    end
    sampler = args[3]
    local began = core.now()
    local status = core.park(stop, ms, "samples")
    local stacks, lost = core.profileStop()
    if status ~= 0 and status ~= ETIMEDOUT then
        return nil, tostring(errors.new(status, "profile"))
    end
    return { stacks = stacks, lost = lost, ms = core.now() - began }
end

-- The one that is under way ends now, with what it has; or only that of this client.
commands["profile-stop"] = function(args)
    if not args[1] or args[1] == sampler then core.wakeAll(stop) end
    return {}
end

-- --- For all processes --------------------------------------------------------------------------

local function run(request)
    local command = commands[request.command]
    local ok, value, wrong = pcall(command, request.args)
    if not ok then return { wrong = tostring(value) } end
    return { value = value, wrong = wrong }
end

--- Somebody else of the cluster asks.
function answers.serve(request)
    if request.listen ~= nil then
        local _, err = require("links.admin")._begin(request.listen or nil, request.mode)
        return { wrong = err and tostring(err), err = err and {
            code = err.code, name = err.name, message = err.message,
        } }
    end
    return run(request)
end

answers.commands = commands

local WRONG = {
    ETIMEDOUT = "no answer: it is held, or stopped",
    ESRCH = "it does not serve yet, or is being replaced",
    EPIPE = "it has just ended",
}

local function order_of(who)
    return type(who) == "number" and who or -1
end

--- Asks all processes of the cluster, or one: an array of {who =, value =} or {who =, wrong =},
--- where `who` is a worker's number or "master", and nil in a process by itself.
function answers.collect(request, whom, ms)
    local mine = require("links.process").workerId
    if mine == nil and ipc.workers() > 0 then mine = "master" end
    local list, left, done = {}, 0, core.queue()
    local function ask(who, fn)
        left = left + 1
        core.spawn(function()
            local ok, answer, err = pcall(fn)
            answer = ok and answer or { wrong = tostring(ok and err or answer) }
            answer.who = who
            list[#list + 1] = answer
            left = left - 1
            if left == 0 then core.wakeAll(done) end
        end)
    end
    if whom == nil or whom == mine then ask(mine, function() return run(request) end) end
    for _, other in ipairs(ipc.others()) do
        if whom == nil or whom == other then
            ask(other, function()
                local answer, err = ipc.ask(other, "admin", request, ms)
                local wrong = err and (WRONG[err.name] or tostring(err))
                return answer or { wrong = wrong }
            end)
        end
    end
    while left > 0 do
        if core.park(done, nil, "admin answers") ~= 0 then break end
    end
    table.sort(list, function(a, b) return order_of(a.who) < order_of(b.who) end)
    return list
end

return answers
