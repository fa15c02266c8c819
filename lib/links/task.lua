--- Tasks: what runs at the same time, how it is waited for, cancelled, and kept within a deadline.
---
--- A task is a coroutine that the scheduler runs. Its code reads as if it were alone: what waits,
--- parks the task and lets the others run. All tasks of a process share one thread, so nothing
--- happens between two waits.
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local reports = require "links.report"

local task = {}

local Task = core.taskMeta
Task.__name = "task"
local methods = {}

local ECANCELED, REFUSED = errors.code("ECANCELED"), -20017
local core_spawn, core_own = core.spawn, core.own
local core_finished, core_result = core.finished, core.result
local core_join_wait, core_info, core_env = core.joinWait, core.info, core.env

local function pack(...)
    return { n = select("#", ...), ... }
end

--- Starts a task.
---
--- It begins to run when the task that runs now waits next. A failure that nobody waits for (see
--- task:join) is printed with its traceback, and the process goes on; process.on("error") changes
--- that.
---
--- @param fn   function  what to run
--- @param ...  any       its arguments
--- @return task          :join() :cancel() .status .name .id .locals
--- @raise                `fn` is not a function
--- @usage local task = require "task"
--- local t = task.spawn(function(a, b) return a + b end, 1, 2)
--- local ok, sum = t:join()
--- assert(ok and sum == 3)
function task.spawn(fn, ...)
    if type(fn) ~= "function" then check.type("task.spawn(fn, ...)", "fn", fn, "function") end
    return core_spawn(fn, ...)
end

--- The task that runs now.
---
--- @return task   nil in a finalizer, which is no task's
--- @usage assert(require("task").current().status == "running")
function task.current()
    return core.current()
end

--- Lets everything else that is ready run first, I/O included.
---
--- @return true
--- @return nil, err    ECANCELED  this task was cancelled
---                     ETIMEDOUT  a deadline around this has passed (task.withTimeout)
--- @wait
--- @usage assert(require("task").yield())
function task.yield()
    local status = core.yield()
    if status == 0 then return true end
    return nil, errors.new(status, "yield")
end

--- All tasks that are not over.
---
--- @return array   of tasks
--- @usage assert(#require("task").list() >= 1)
function task.list()
    return core.tasks()
end

--- Waits until a task is over.
---
--- @param ms  number   how long to wait at most, in milliseconds. Default: as long as it takes
--- @return true, ...   what the task's function returned
--- @return false, err  the value with which it failed (for a cancelled one usually ECANCELED)
--- @return nil, err    the wait itself ended first:
---                     ETIMEDOUT  it is not over after `ms`, or a deadline of task.withTimeout came
---                     ECANCELED  this task (not the joined one) was cancelled
--- @raise              a task that joins itself; `ms` is not a number of milliseconds
--- @wait
--- @usage local task = require "task"
--- local ok, err = task.spawn(error, "no"):join()
--- assert(ok == false and err == "no")
function methods:join(ms)
    if not core_finished(self) then
        check.timeout("task:join([ms])", "ms", ms)
        if self == core.current() then error("task:join([ms]) a task cannot join itself", 2) end
        if ms == 0 then return nil, errors.new(errors.code("ETIMEDOUT"), "join") end
        local status = core_join_wait(self, ms)
        if status ~= 0 then return nil, errors.new(status, "join") end
    end
    return core_result(self)
end

--- Cancels a task: the wait it is in, and every later one, returns `nil, ECANCELED` (within
--- task.shield: those after it). One that has not begun never runs. Any task may cancel any other,
--- twice too, and itself; one that is over stays as it is.
---
--- @param reason  any   becomes err.cause. Default: nil
--- @return boolean      false: the task was over or cancelled already
--- @usage local task, timer = require "task", require "timer"
--- local t = task.spawn(function() return timer.sleep(1000) end)
--- timer.sleep(1)
--- assert(t:cancel("enough"))
--- local _, slept, err = t:join()
--- assert(slept == nil and err.name == "ECANCELED" and err.cause == "enough")
function methods:cancel(reason)
    local _, _, _, _, cancelled = core_info(self)
    if cancelled or core_finished(self) then return false end
    local env = core_env(self)
    env.reason = errors.new(ECANCELED, nil, { cause = reason })
    local on_cancel = env.on_cancel
    core.cancel(self)
    for _, handle in ipairs(on_cancel or {}) do
        if handle.fn then core_spawn(handle.fn, env.reason) end
    end
    return true
end

--- Where a task that is not over stands.
---
--- @return string   a traceback; nil for a task that is over
--- @usage assert(require("task").current():traceback())
function methods:traceback()
    return core.traceback(self)
end

local function state(t)
    local is, _, _, _, cancelled = core_info(t)
    if is == "failed" and cancelled then
        local err = core_env(t).error
        if err == nil or (errors.is(err) and err.code == ECANCELED) then return "cancelled" end
    end
    return is
end

local function locals(t)
    local env = core_env(t)
    if not env.locals then
        env.locals = {}
        core.bequeath(t, true)
    end
    return env.locals
end

-- status: "ready", "running", "waiting", "done", "failed" or "cancelled". waitsFor: what a waiting
-- one waits for. locals, and ["local"], since `local` is a keyword: a table of values that its
-- children begin with a copy of.
local fields = {
    status = state,
    ["local"] = locals,
    locals = locals,
    id = function(t) return (select(4, core_info(t))) end,
    waitsFor = function(t) return (select(2, core_info(t))) end,
    waitsSince = function(t)
        local _, what, ms = core_info(t)
        return what and ms
    end,
    cancelled = function(t) return (select(5, core_info(t))) end,
    name = function(t) return core_env(t).name end,
}

function Task.__index(t, key)
    local method = methods[key]
    if method then return method end
    local field = fields[key]
    if field then return field(t) end
end

function Task.__newindex(t, key, value)
    if key ~= "name" then error("task." .. tostring(key) .. " cannot be set (only name can)", 2) end
    check.type("task.name", "name", value, "string|nil")
    core_env(t).name = value
end

function Task.__tostring(t)
    local name = t.name
    return "task " .. t.id .. (name and " (" .. name .. ")" or "")
end

-- --- Cleaning up ------------------------------------------------------------------------------

local function shield_over(deadline, scope, ok, ...)
    core.shieldPop(deadline, scope)
    if not ok then error((...), 0) end
    return ...
end

--- Runs a section that neither a cancel nor a deadline from outside cuts short, such as giving
--- something back. They apply again after it.
---
--- @param fn   function  what to run
--- @param ...  any       its arguments
--- @return ...           what `fn` returned
--- @raise                what `fn` raised; `fn` is not a function
--- @usage local task, timer = require "task", require "timer"
--- local t = task.spawn(function() return task.shield(timer.sleep, 5) end)
--- timer.sleep(1)
--- t:cancel()
--- local _, slept = t:join()
--- assert(slept == true)
function task.shield(fn, ...)
    check.type("task.shield(fn, ...)", "fn", fn, "function")
    local deadline, scope = core.shieldPush()
    return shield_over(deadline, scope, pcall(fn, ...))
end

local Handle = {}
Handle.__index = Handle

--- Takes back what task.onCancel began.
---
--- @return true
--- @usage local task = require "task"
--- local handle = task.onCancel(print)
--- handle:remove()
function Handle:remove()
    self.fn = nil
    return true
end

--- Runs a function, in a task of its own, when the task that runs now is cancelled.
---
--- @param fn  function  fn(err): err is the ECANCELED error, err.cause the reason
--- @return handle       :remove()
--- @raise               `fn` is not a function; there is no task, in a finalizer
--- @usage local task, timer = require "task", require "timer"
--- local why
--- local t = task.spawn(function()
---     task.onCancel(function(err) why = err.cause end)
---     timer.sleep(1000)
--- end)
--- timer.sleep(1)
--- t:cancel("tired")
--- timer.sleep(1)
--- assert(why == "tired")
function task.onCancel(fn)
    check.type("task.onCancel(fn)", "fn", fn, "function")
    local me = core.current() or error("task.onCancel(fn) a finalizer is not a task's", 2)
    local env = core_env(me)
    env.on_cancel = env.on_cancel or {}
    local handle = setmetatable({ fn = fn }, Handle)
    for i = #env.on_cancel, 1, -1 do
        if not env.on_cancel[i].fn then table.remove(env.on_cancel, i) end
    end
    table.insert(env.on_cancel, handle)
    return handle
end

-- --- Deadlines --------------------------------------------------------------------------------

local function timeout_over(outer, outer_cut, scope, ok, ...)
    local cut = core.deadlinePop(outer, outer_cut, scope)
    if cut then
        local err = errors.new(-20016, "task.withTimeout")
        if ok then
            err.partial = pack(...)
        elseif not (errors.is((...)) and (...).deadline) then
            error((...), 0)
        end
        return nil, err
    end
    if not ok then error((...), 0) end
    return ...
end

--- Runs a function within one deadline: every wait inside, of any kind, ends with `nil, ETIMEDOUT`
--- (err.deadline is true) once `ms` have gone by. Deadlines nest; the nearest counts.
---
--- @param ms   number    milliseconds, 0 to 2147483647
--- @param fn   function  what to run
--- @param ...  any       its arguments
--- @return ...           what `fn` returned, if no wait in it was cut short
--- @return nil, err      ETIMEDOUT  the deadline cut a wait short; err.partial holds what `fn`
---                                  returned all the same
--- @raise                what `fn` raised; `ms` or `fn` is of another type
--- @wait
--- @usage local task, timer = require "task", require "timer"
--- local slept, err = task.withTimeout(2, timer.sleep, 1000)
--- assert(slept == nil and err.name == "ETIMEDOUT" and err.deadline)
function task.withTimeout(ms, fn, ...)
    if type(ms) ~= "number" or not (ms >= 0 and ms < 2 ^ 31) then
        check.integer("task.withTimeout(ms, fn, ...)", "ms", ms, 0, 2 ^ 31 - 1)
    end
    check.type("task.withTimeout(ms, fn, ...)", "fn", fn, "function")
    local outer, outer_cut, scope = core.deadlinePush(ms)
    return timeout_over(outer, outer_cut, scope, pcall(fn, ...))
end

-- --- Groups -----------------------------------------------------------------------------------

local Group = {}
Group.__index = Group

-- The first failure is the group's, and ends the others.
local function fail(group, err)
    if group.failed ~= nil then return end
    group.failed = err == nil and errors.new(ECANCELED) or err
    group:cancel(err)
end

local function note(group, n, ok, ...)
    if ok then
        group.results[n] = (...)
        return ...
    end
    fail(group, (...))
    error((...), 0)
end

--- Starts a task of the group.
---
--- @param fn   function  what to run
--- @param ...  any       its arguments
--- @return task
--- @raise                `fn` is not a function; the group is over
--- @usage local task = require "task"
--- local results = task.group(function(g) g:spawn(function() return 7 end) end)
--- assert(results[1] == 7)
function Group:spawn(fn, ...)
    check.type("group:spawn(fn, ...)", "fn", fn, "function")
    if self.over then error("group:spawn(fn, ...) the group is over", 2) end
    local n = #self.tasks + 1
    local t = core_spawn(function(...)
        return note(self, n, pcall(fn, ...))
    end, ...)
    core_own(t)
    self.tasks[n] = t
    if self.failed ~= nil then t:cancel(self.failed) end
    return t
end

--- Cancels all tasks of the group, but for the one that calls it.
---
--- @param reason  any   as for task:cancel. Default: nil
--- @return true
--- @usage local task = require "task"
--- task.group(function(g) g:cancel() end)
function Group:cancel(reason)
    local me = core.current()
    for _, t in ipairs(self.tasks) do
        if t ~= me then t:cancel(reason) end
    end
    return true
end

-- Returns when every child has ended, whatever comes from outside meanwhile: a cancel or a deadline
-- is passed on to the children, and their end is still waited for.
local function drain(group)
    local i, cut = 1, nil
    while i <= #group.tasks do
        local t = group.tasks[i]
        if core_finished(t) then
            -- A task that somebody else cancelled before it began has told nobody.
            local ok, err = core_result(t)
            if not ok and group.failed == nil then group.failed = err end
            i = i + 1
        else
            local deadline, scope
            if cut then deadline, scope = core.shieldPush() end
            local status = core_join_wait(t)
            if cut then core.shieldPop(deadline, scope) end
            if status == REFUSED then group:cancel() end
            if status ~= 0 then
                cut = true
                fail(group, errors.new(status, "task.group"))
            end
        end
    end
    group.over = true
end

local function new_group()
    -- Its tasks would outlive it.
    if not core.current() then error("cannot yield inside a finalizer", 3) end
    return setmetatable({ tasks = {}, results = {} }, Group)
end

--- Runs a scope that is left only when all tasks begun in it have ended. The first failure, in the
--- scope or in a task, cancels the rest; so does a cancel or a deadline from outside.
---
--- @param fn  function  fn(group): starts tasks with group:spawn(fn, ...)
--- @return array        the first result of each task, in the order of their start
--- @return nil, err     what the first failed task, or `fn`, raised; ECANCELED, ETIMEDOUT from
---                      outside
--- @raise               `fn` is not a function
--- @wait
--- @usage local task, timer = require "task", require "timer"
--- local results, err = task.group(function(g)
---     g:spawn(timer.sleep, 1000)
---     g:spawn(error, "failed")
--- end)
--- assert(results == nil and err == "failed")
function task.group(fn)
    check.type("task.group(fn)", "fn", fn, "function")
    local group = new_group()
    local ok, err = pcall(fn, group)
    if not ok then fail(group, err) end
    drain(group)
    if group.failed ~= nil then return nil, group.failed end
    return group.results
end

-- Waits for a task that runs already on behalf of a list of functions: it ends with them.
local function joined(ok, ...)
    if ok then return ... end
    error((...), 0)
end

local function joiner(t)
    return function()
        local handle = task.onCancel(function(err) t:cancel(err.cause) end)
        local result = pack(t:join())
        handle:remove()
        return joined(unpack(result, 1, result.n))
    end
end

-- A list of functions, and of tasks that run already, as a list of functions.
local function functions_of(signature, list)
    check.type(signature, "list", list, "table", 2)
    local fns = {}
    for i, item in ipairs(list) do
        if getmetatable(item) == Task then
            if item == core.current() then
                error(signature .. " list[" .. i .. "] is the task that calls", 3)
            end
            fns[i] = joiner(item)
        else
            check.type(signature, "list[" .. i .. "]", item, "function", 2)
            fns[i] = item
        end
    end
    return fns
end

--- Runs functions side by side, and waits for all.
---
--- @param list  array   functions; tasks that run already may stand among them
--- @return array        the first result of each, in the order of the list
--- @return nil, err     what the first to fail raised; the others are cancelled, and have ended
--- @raise               `list` is not an array of functions and tasks
--- @wait
--- @usage local task = require "task"
--- local r = task.all { function() return 1 end, function() return 2 end }
--- assert(r[1] == 1 and r[2] == 2)
function task.all(list)
    local group = new_group()
    for _, fn in ipairs(functions_of("task.all(list)", list)) do group:spawn(fn) end
    drain(group)
    if group.failed ~= nil then return nil, group.failed end
    return group.results
end

-- Runs the functions until one ends, or, where it must be a success, until one succeeds.
local function first(signature, fns, wants_success)
    if #fns == 0 then return nil, errors.new(errors.code("EINVAL"), signature) end
    local answer, open, group = nil, #fns, new_group()
    local function settle(ok, ...)
        open = open - 1
        if answer or (wants_success and not ok and open > 0) then return end
        answer = pack(ok, ...)
        group:cancel("another was first")
    end
    for _, fn in ipairs(fns) do
        group:spawn(function() settle(pcall(fn)) end)
    end
    drain(group)
    if not answer then return nil, group.failed end
    if answer[1] then return unpack(answer, 2, answer.n) end
    return nil, answer[2]
end

--- Runs functions side by side; the first to end, well or badly, is the answer. The others are
--- cancelled, and have ended when this returns.
---
--- @param list  array   functions; tasks that run already may stand among them
--- @return ...          what the first returned
--- @return nil, err     what the first raised; EINVAL for an empty list
--- @raise               `list` is not an array of functions and tasks
--- @wait
--- @usage local task, timer = require "task", require "timer"
--- assert(task.race { function() timer.sleep(100) return "slow" end, function() return "fast" end }
--- == "fast")
function task.race(list)
    return first("task.race(list)", functions_of("task.race(list)", list), false)
end

--- Runs functions side by side; the first that does not fail is the answer. The others are
--- cancelled, and have ended when this returns.
---
--- @param list  array   functions; tasks that run already may stand among them
--- @return ...          what the first successful one returned
--- @return nil, err     all failed: what the last one raised; EINVAL for an empty list
--- @raise               `list` is not an array of functions and tasks
--- @wait
--- @usage local task = require "task"
--- assert(task.any { function() error("no") end, function() return "yes" end } == "yes")
function task.any(list)
    return first("task.any(list)", functions_of("task.any(list)", list), true)
end

--- Calls a function for each item of a list, several at a time.
---
--- @param list     array     the items
--- @param fn       function  fn(item, index) -> result
--- @param options  table     concurrency: how many at a time, 1 to 65535. Default: 8
--- @return array             the results, in the order of the list
--- @return nil, err          what the first failed call raised; the others are cancelled, and have
---                           ended
--- @raise                    an argument of another type, an unknown option
--- @wait
--- @usage local task = require "task"
--- local squares = task.map({ 1, 2, 3 }, function(n) return n * n end, { concurrency = 2 })
--- assert(squares[3] == 9)
function task.map(list, fn, options)
    local signature = "task.map(list, fn[, options])"
    check.type(signature, "list", list, "table")
    check.type(signature, "fn", fn, "function")
    options = check.options(signature, options, {
        concurrency = { default = 8, type = "integer", min = 1, max = 65535 },
    })
    local results, nexti, group = {}, 0, new_group()
    local function work()
        while nexti < #list do
            nexti = nexti + 1
            local i = nexti
            results[i] = fn(list[i], i)
        end
    end
    for _ = 1, math.min(options.concurrency, #list) do group:spawn(work) end
    drain(group)
    if group.failed ~= nil then return nil, group.failed end
    return results
end

-- --- Failures that nobody waits for -----------------------------------------------------------

local main

local function cancel_all()
    for _, t in ipairs(core.tasks()) do
        core_own(t) -- nobody needs to hear of a task that fails because all is ending
        t:cancel("the process is ending")
    end
end

-- Where the program was, for an error of the world: its own line, without the way there.
local function place(traceback)
    for where in (traceback or ""):gmatch("\n\t([^\n]-:%d+):") do
        if where:sub(1, 6) ~= "links/" then return where .. ": " end
    end
    return ""
end

-- A bug shows how the program came to it; what the world did is one line.
local function end_program(env)
    if errors.is(env.error) then
        reports.last_words(place(env.traceback) .. reports.describe(env.error))
        return core.exit(1)
    end
    -- What lies below the main program is links' own, and no news; nor is the name that it has
    -- there.
    local traceback = (env.traceback or ""):gsub("\n\tlinks/boot%.lua.*", "")
    traceback = traceback:gsub(": in function 'chunk'$", ": in main chunk")
    reports.last_words(reports.describe(env.error) .. "\n" .. traceback)
    core.exit(1)
end

local function report(t)
    local env = core_env(t)
    if t == main then return end_program(env) end
    if state(t) == "cancelled" then return end
    local ok, heard = pcall(require("links.process").emit, "error", env.error, t, env.traceback)
    if ok and heard then return end
    reports.write("error", tostring(t) .. " failed: " .. reports.describe(env.error) .. "\n" ..
        (env.traceback or ""))
    if not ok then
        reports.write("error", 'process.on("error") failed: ' .. reports.describe(heard))
    end
end

--- Prints failures that nobody waits for, and cancels all tasks when the process is told to end.
--- The program's main task calls it; its own failure ends the program.
function task.reportFailures()
    main = core.current()
    core.loud(main)
    core.onReport(report)
    core.onEnd(cancel_all)
end

return task
