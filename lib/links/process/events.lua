-- What happens to the process: signals, failures that nobody waits for, restarts, its end; and who
-- wants to know.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local report = require "links.report"
local sync = require "links.sync"
local binding = require "links.process.ffi"
local names = require "links.process.names"

local C, AGAIN = binding.C, binding.AGAIN

local events = {}

-- There is one process, even where the module is loaded anew (busted does that for each file).
local state = core.processEvents or {
    -- event -> array of functions; signals are added as they are asked for
    handlers = {
        error = {}, shutdown = {}, exit = {}, restart = {}, message = {}, disconnect = {},
    },
    -- number -> name, of the signals that are caught
    caught = {},
    pump = nil, -- the task that takes signals
    runner = nil, -- the task that waits for the end
}
core.processEvents = state
local handlers, caught = state.handlers, state.caught

local function list_of(signature, event)
    if handlers[event] then return handlers[event], event end
    local signum = event:find("^SIG") and not event:find("%z") and C.links_signal_number(event) or 0
    if signum == 0 then
        local near = check.nearest(event, handlers)
        local hint = near and ' (did you mean "' .. near .. '"?)' or ""
        error(signature .. ' unknown event "' .. event .. '"' .. hint, 4)
    end
    event = names.signal_name(signum) -- SIGCLD is SIGCHLD
    handlers[event] = handlers[event] or {}
    return handlers[event], event
end

-- --- Signals -----------------------------------------------------------------------------------

-- Starts a task for each function that wants the signal; none of them can keep the next one
-- waiting.
local function deliver(signum)
    local name = caught[signum]
    events.start(name, name, signum)
end

local function pump_signals()
    while true do
        local signum = C.links_signal_next()
        if signum == AGAIN then
            local status = core.wait()
            if status ~= 0 then break end
        elseif signum < 0 then
            break
        else
            deliver(signum)
        end
    end
    -- Cancelled, by somebody who meant all tasks.
    if C.links_ending_due() == 0 then state.pump = core.spawn(pump_signals) end
end

local function watch_signal(signature, event, on)
    local signum = C.links_signal_number(event)
    if signum == 0 or (caught[signum] ~= nil) == on then return end
    if C.links_signal_watch(signum, on and 1 or 0) < 0 then
        error(signature .. " " .. event .. " cannot be caught", 4)
    end
    caught[signum] = on and event or nil
    if on and not state.pump then state.pump = core.spawn(pump_signals) end
end

-- --- The end -----------------------------------------------------------------------------------

local out_code = ffi.new("int[1]")

local function reason_of_end()
    local signum = C.links_ending_reason(out_code)
    if signum > 0 then return names.signal_name(signum), nil, names.signal_name(signum) end
    return signum < 0 and "quit" or "end", out_code[0], nil
end

-- Runs what wants to know of the end side by side, and is back when all of it has ended.
local function run_hooks(reason)
    local group = sync.waitGroup()
    for _, fn in ipairs(events.listeners("shutdown")) do
        group:add(1)
        core.spawn(function()
            local ok, err = xpcall(fn, function(err)
                return type(err) == "string" and debug.traceback(err, 2) or err
            end, reason)
            group:done()
            if not ok then error(err, 0) end
        end)
    end
    group:wait()
end

local function run_end()
    core.shieldPush() -- for good: only the process's end ends this task
    local rc = C.links_ending_wait()
    if rc == AGAIN then core.wait() end
    local reason, code, signal = reason_of_end()
    run_hooks(reason)
    for _, fn in ipairs(events.listeners("exit")) do
        local ok, err = pcall(fn, code, signal)
        if not ok then report.write("error", 'process.on("exit"): ' .. tostring(err)) end
    end
    C.links_ending_done()
end

local function want_end()
    if state.runner then return end
    C.links_ending_runner()
    state.runner = core.spawn(run_end)
end

-- --- All of them -------------------------------------------------------------------------------

--- Adds a function to an event; `signature` is that of the public function that was called.
function events.on(signature, event, fn)
    check.type(signature, "event", event, "string", 2)
    check.type(signature, "fn", fn, "function", 2)
    local list
    list, event = list_of(signature, event)
    watch_signal(signature, event, true)
    if event == "shutdown" or event == "exit" then want_end() end
    table.insert(list, fn)
end

--- Takes it out.
function events.off(signature, event, fn)
    check.type(signature, "event", event, "string", 2)
    check.type(signature, "fn", fn, "function", 2)
    local list
    list, event = list_of(signature, event)
    for i = #list, 1, -1 do
        if list[i] == fn then table.remove(list, i) end
    end
    if #list == 0 then watch_signal(signature, event, false) end
end

--- A copy of an event's functions.
function events.listeners(event)
    return { unpack(handlers[event] or {}) }
end

--- Calls the functions of an event, each in a task of its own.
function events.start(event, ...)
    for _, fn in ipairs(events.listeners(event)) do core.spawn(fn, ...) end
end

--- Calls the functions of an event, in the task that runs; true if there was one.
function events.emit(event, ...)
    local list = events.listeners(event)
    for _, fn in ipairs(list) do fn(...) end
    return #list > 0
end

return events
