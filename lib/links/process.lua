--- The process: its arguments, and what it does about failures.
local ffi = require "ffi"
local check = require "links.check"

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
