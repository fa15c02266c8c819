--- The process: its arguments, and what it does about failures.
local ffi = require "ffi"
local check = require "links.check"
local core = require "links.core"

ffi.cdef [[
int getpid(void);
]]

local process = {}

--- The arguments of the program: an array of strings.
process.argv = argv or {}

--- The id of this process.
process.pid = ffi.C.getpid()

-- event -> array of functions
local handlers = { error = {} }

local function check_event(signature, event, fn)
    check.type(signature, "event", event, "string", 2)
    check.type(signature, "fn", fn, "function", 2)
    if not handlers[event] then
        local near = check.nearest(event, handlers)
        local hint = near and ' (did you mean "' .. near .. '"?)' or ""
        error(signature .. ' unknown event "' .. event .. '"' .. hint, 3)
    end
end

--- Calls a function on each event of the process.
---
--- "error": fn(err, task, traceback), for each failed task that nobody waits for. While there is
--- such a function the failure is not printed.
---
--- @param event  string    "error"
--- @param fn     function  called in a task of its own; it may wait
--- @return true
--- @raise                  an unknown event, an argument of another type
--- @usage local process, task = require "process", require "task"
--- local seen
--- local function note(err) seen = err end
--- process.on("error", note)
--- task.spawn(function() error({ name = "MINE" }) end)
--- require("timer").sleep(1)
--- process.off("error", note)
--- assert(seen.name == "MINE")
function process.on(event, fn)
    check_event("process.on(event, fn)", event, fn)
    table.insert(handlers[event], fn)
    return true
end

-- The fields of links.core's stats that are public as they are.
local STATS = {
    "turns", "timers", "watchers", "handles", "tasks", "spawned", "failed", "resumes",
    "pooledCoroutines", "longestTurn", "longestHold",
}

--- What the loop and the scheduler have done: for who looks for what makes a server slow.
---
--- turns, resumes, spawned and failed (tasks) count from the start; timers (armed), watchers (of
--- sockets and pipes), handles (what keeps the process alive), tasks (not over) and
--- pooledCoroutines are as of now. longestTurn is the longest that one turn of the loop took, and longestHold that
--- one task ran without waiting, both in milliseconds since the last reset. longestAt says where
--- that task waited next, as "file:line"; nil: no task has run for a millisecond.
---
--- lag is an array of { upTo = milliseconds, turns = count }: how many turns were busy for less
--- than `upTo`, and for no less than the entry before. The first goes up to 0.002 ms, and each
--- further one to twice as much; there are 24, and the last has all that took longer than 8 s.
---
--- @param options  table  reset: longestTurn, longestHold and longestAt begin anew. Default: false
--- @return table
--- @raise                 an unknown option
--- @usage local stats = require("process").stats()
--- assert(stats.tasks >= 1 and #stats.lag == 24)
function process.stats(options)
    options = check.options("process.stats([options])", options, {
        reset = { type = "boolean", default = false },
    })
    local raw, stats = core.stats(), { lag = {} }
    for _, name in ipairs(STATS) do stats[name] = raw[name] end
    stats.longestAt = raw.longestAt ~= "" and raw.longestAt or nil
    for i, turns in ipairs(raw.lag) do
        stats.lag[i] = { upTo = i < #raw.lag and 2 ^ i / 1000 or math.huge, turns = turns }
    end
    if options.reset then core.statsReset() end
    return stats
end

--- Ends what process.on began; a function that is not registered does no harm.
---
--- @param event  string    as for process.on
--- @param fn     function  the same function
--- @return true
--- @raise                  an unknown event, an argument of another type
--- @usage require("process").off("error", print)
function process.off(event, fn)
    check_event("process.off(event, fn)", event, fn)
    for i = #handlers[event], 1, -1 do
        if handlers[event][i] == fn then table.remove(handlers[event], i) end
    end
    return true
end

--- Calls the functions of an event; true if there was one. For links' own modules.
---
--- @param event  string   as for process.on
--- @param ...    any      for the functions
--- @return boolean        somebody listened
--- @usage assert(not require("process").emit("error"))
function process.emit(event, ...)
    local list = { unpack(handlers[event]) }
    for _, fn in ipairs(list) do fn(...) end
    return #list > 0
end

return process
