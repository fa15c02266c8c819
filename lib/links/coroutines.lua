-- A task may wait inside the coroutines that it makes itself. A wait yields the private value WAIT;
-- coroutine.resume and coroutine.wrap pass it on to the scheduler, and what comes back for it down
-- to the coroutine that waits, while every other yield is the program's own.
local core = require "links.core"
local errors = require "links.errors"

local WAIT, wait = core.WAIT, core.wait
local resume, status = coroutine.resume, coroutine.status
local create, running = coroutine.create, coroutine.running

local coroutines = {}

-- Those that are waiting now: for the rest of the program they are busy, not suspended.
local waiting = setmetatable({}, { __mode = "k" })

-- Yields on behalf of `co`. Where this cannot be done (below table.sort, say), the error is raised
-- where it belongs: in `co`, at the call that waits, by errors.new.
local function wait_for(co)
    local ok, code, value = pcall(wait)
    if ok then return resume(co, code, value) end
    return resume(co, errors.refuse(code))
end

local pass

local function go_on(co, ...)
    waiting[co] = nil
    return pass(co, ...)
end

-- `value` travels with the code: see core.park.
function pass(co, ok, first, ...)
    if first ~= WAIT or not ok then return ok, first, ... end
    waiting[co] = true
    return go_on(co, wait_for(co))
end

local function resume_waiting(co, ...)
    if waiting[co] then return false, "cannot resume non-suspended coroutine" end
    return pass(co, resume(co, ...))
end

local function wrapped_result(ok, first, ...)
    if ok then return first, ... end
    if type(first) == "string" then error(first, 3) end
    error(first, 0)
end

local function wrap(fn)
    local co = create(fn)
    return function(...)
        return wrapped_result(resume_waiting(co, ...))
    end
end

local function status_waiting(co)
    local is = status(co)
    return is == "suspended" and waiting[co] and "normal" or is
end

-- The main program is no coroutine, as it is in plain Lua.
local function running_unless_main()
    local co = running()
    if co ~= coroutines.main then return co end
end

--- Replaces coroutine.resume, wrap, status and running. To be called once, in the main task.
function coroutines.install()
    coroutines.main = running()
    coroutine.resume = resume_waiting
    coroutine.wrap = wrap
    coroutine.status = status_waiting
    coroutine.running = running_unless_main
end

return coroutines
