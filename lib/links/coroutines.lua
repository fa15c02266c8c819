-- A task may wait inside the coroutines that it makes itself. A wait yields the private value WAIT;
-- coroutine.resume and coroutine.wrap pass it on to the scheduler, and what comes back for it down
-- to the coroutine that waits, while every other yield is the program's own.
local core = require "links.core"

local WAIT, wait = core.WAIT, core.wait
local stock_resume, stock_create = coroutine.resume, coroutine.create
local stock_status, stock_isyieldable = coroutine.status, coroutine.isyieldable
local core_running = core.running

-- Each coroutine that resumes another one stands on the C stack; Lua 5.1 has the same limit.
local MAX_DEPTH = 195

local coroutines = {}

-- Those that the program must not resume: "wait" for its coroutines that are waiting now, which for
-- the rest of the program are busy, not suspended, and "own" for the tasks' own.
local busy = setmetatable({}, { __mode = "k" })

-- How many coroutines resume each other now. Who waits is not on the stack, and not counted.
local depth = 0


local pass

local function go_on(co, ...)
    busy[co] = nil
    depth = depth + 1
    return pass(co, stock_resume(co, ...))
end

-- What a wait offers goes up with WAIT, and what is handed to it comes down with its status: see
-- core.park. A wait that cannot be (below table.sort, say) is
-- answered by a status too, of which the code that waits makes an error.
function pass(co, ok, first, ...)
    depth = depth - 1
    if first ~= WAIT or not ok then return ok, first, ... end
    busy[co] = "wait"
    return go_on(co, wait(...))
end

local function check_coroutine(name, co)
    if type(co) ~= "thread" then
        error("bad argument #1 to '" .. name .. "' (coroutine expected)", 3)
    end
end

local function resume(co, ...)
    if busy[co] then return false, "cannot resume non-suspended coroutine" end
    if type(co) ~= "thread" then check_coroutine("resume", co) end
    if depth >= MAX_DEPTH then return false, "C stack overflow" end
    depth = depth + 1
    return pass(co, stock_resume(co, ...))
end

local function wrapped_result(ok, first, ...)
    if ok then return first, ... end
    if type(first) == "string" then error(first, 2) end
    error(first, 0)
end

local function wrap(fn)
    if type(fn) ~= "function" then
        error("bad argument #1 to 'wrap' (function expected, got "
            .. (fn == nil and "no value" or type(fn)) .. ")", 2)
    end
    local co = stock_create(fn)
    return function(...)
        return wrapped_result(resume(co, ...))
    end
end

local function status(co)
    if type(co) ~= "thread" then check_coroutine("status", co) end
    local is = stock_status(co)
    return is == "suspended" and busy[co] and "normal" or is
end

-- The main program is no coroutine, as it is in plain Lua.
local function running()
    local co, own = core_running()
    if co == coroutines.main then return nil end
    if own then busy[co] = "own" end
    return co
end

local function isyieldable()
    local _, own = core_running()
    return not own and stock_isyieldable()
end

--- Replaces the functions of `coroutine`. To be called once, in the main task.
function coroutines.install()
    coroutines.main = core_running()
    coroutine.resume, coroutine.wrap, coroutine.status = resume, wrap, status
    coroutine.running, coroutine.isyieldable = running, isyieldable
    coroutine.yield = core.userYield
end

return coroutines
