--- Time: sleeping, and functions that run later.
---
--- Times are milliseconds on a monotonic clock: setting the wall clock fires nothing. A timer never
--- fires early; how late it may be depends on what else the process computes.
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"

local timer = {}

local MAX_MS = 2 ^ 31 - 1
local ETIMEDOUT = -errors.code("ETIMEDOUT")

local park, yield, new_error = core.park, core.yield, errors.new

local function check_delay(signature, value)
    if type(value) ~= "number" or not (value >= 0 and value <= MAX_MS) then
        check.integer(signature, "ms", value, 0, MAX_MS, 2)
    end
end

--- Waits.
---
--- @param ms  number   milliseconds, 0 to 2147483647. 0 lets everything else that is ready run
---                     first, I/O included
--- @return true        the time is over
--- @return nil, err    ECANCELED  this task was cancelled
---                     ETIMEDOUT  a deadline of task.withTimeout came first (err.deadline is true)
--- @raise              `ms` is not a number in that range
--- @wait
--- @usage local timer = require "timer"
--- assert(timer.sleep(1))
function timer.sleep(ms)
    check_delay("timer.sleep(ms)", ms)
    local status
    if ms == 0 then
        status = yield()
    else
        status = park(nil, ms, "sleep")
    end
    if status == 0 or status == ETIMEDOUT then return true end
    return nil, new_error(status, "sleep")
end

--- The time of this turn of the loop, on a monotonic clock whose zero means nothing.
---
--- @return number   milliseconds, with a fraction
--- @usage local timer = require "timer"
--- local begun = timer.now()
--- timer.sleep(2)
--- assert(timer.now() - begun >= 2)
function timer.now()
    return core.now()
end

local Timer = core.timerMeta
Timer.__index = {}
Timer.__name = "timer"

--- Disarms a timer; one that has fired, or was cancelled before, stays as it is. A run that is due,
--- but has not begun, is left out; one that goes on is not touched.
---
--- @return true
--- @usage local timer = require "timer"
--- local t = timer.setTimeout(1000, print)
--- t:cancel()
function Timer.__index:cancel()
    core.timerStop(self)
    return true
end

--- Lets the timer keep the process alive while it is armed, as every timer does at first.
---
--- @return timer   itself
--- @usage local timer = require "timer"
--- timer.setTimeout(1, function() end):unref():ref()
function Timer.__index:ref()
    core.timerRef(self, true)
    return self
end

--- Lets the process end although the timer is armed.
---
--- @return timer   itself
--- @usage local timer = require "timer"
--- timer.setInterval(60000, function() end):unref()
function Timer.__index:unref()
    core.timerRef(self, false)
    return self
end

--- Whether the timer will fire.
---
--- @return boolean
--- @usage local timer = require "timer"
--- local t = timer.setTimeout(1000, print)
--- assert(t:armed())
--- t:cancel()
--- assert(not t:armed())
function Timer.__index:armed()
    return core.timerArmed(self)
end

--- Runs a function once, later, in a task of its own.
---
--- @param ms   number    milliseconds, 0 to 2147483647
--- @param fn   function  what to run; it may wait
--- @param ...  any       its arguments
--- @return timer         :cancel() :ref() :unref() :armed()
--- @raise                `ms` or `fn` is of another type
--- @usage local timer = require "timer"
--- timer.setTimeout(1, function(greeting) assert(greeting == "hello") end, "hello")
function timer.setTimeout(ms, fn, ...)
    check_delay("timer.setTimeout(ms, fn, ...)", ms)
    check.type("timer.setTimeout(ms, fn, ...)", "fn", fn, "function")
    return core.timerStart(ms, 0, false, fn, ...)
end

local INTERVAL = "timer.setInterval(ms|options, fn, ...)"
local INTERVAL_OPTIONS = {
    interval = { type = "number" },
    overlap = { type = "string", default = "skip" },
}

--- Runs a function again and again, each time in a task of its own.
---
--- A run that is due while the last one goes on is left out (overlap "skip"), or begins beside it
--- ("allow"). Runs that were missed because the process was busy are not made up for.
---
--- @param ms   number    milliseconds from 1 to 2147483647; or a table: { interval = ms, overlap =
---                       "skip" or "allow" }
--- @param fn   function  what to run; it may wait
--- @param ...  any       its arguments
--- @return timer         :cancel() :ref() :unref() :armed()
--- @raise                `ms` or `fn` is of another type; an unknown option
--- @usage local timer = require "timer"
--- local n = 0
--- local t
--- t = timer.setInterval(1, function() n = n + 1; if n == 2 then t:cancel() end end)
--- while t:armed() do timer.sleep(1) end
--- assert(n == 2)
function timer.setInterval(ms, fn, ...)
    local overlap = "skip"
    if type(ms) == "table" then
        local options = check.options(INTERVAL, ms, INTERVAL_OPTIONS)
        ms, overlap = options.interval, options.overlap
        if overlap ~= "skip" and overlap ~= "allow" then
            error(INTERVAL .. ' options.overlap must be "skip" or "allow"', 2)
        end
    end
    if type(ms) ~= "number" or not (ms >= 1 and ms <= MAX_MS) then
        check.integer(INTERVAL, "ms", ms, 1, MAX_MS)
    end
    check.type(INTERVAL, "fn", fn, "function")
    return core.timerStart(ms, math.ceil(ms), overlap == "allow", fn, ...)
end

local CRON = "timer.cron(expression, fn[, options])"
local CRON_OPTIONS = {
    cluster = { type = "string", default = "one" },
}

--- Runs a function at the minutes that an expression names, each time in a task of its own.
---
--- The expression has the five fields of crontab, in local time: minute (0 to 59), hour (0 to
--- 23), day of the month (1 to 31), month (1 to 12 or jan to dec), day of the week (0 to 7 or sun
--- to sat; 0 and 7 are Sunday). A field is `*`, a number, a range `1-5`, each of these with a step
--- behind it (`*/15`, `8-18/2`), or a list of such (`1,15,20-25`). Where both days are given,
--- either will do. `@yearly`, `@monthly`, `@weekly`, `@daily` and `@hourly` are short for the
--- first minute of theirs.
---
--- A run that is due while the last one goes on is left out, and so are those that were missed
--- while the process was busy. One that the clock's change in autumn repeats comes twice.
---
--- @param expression  string    such as "*/5 * * * *"
--- @param fn          function  what to run: fn(due), the time it is run for, in seconds since
---                              1970; it may wait
--- @param options     table     cluster: "one" runs it in one worker of process.cluster, whichever
---                              comes first, and not in any of them while the last run goes on; a
---                              run is lost only if its worker is killed at it. "all" runs it in
---                              each. Without a cluster it makes no difference. Default: "one"
--- @return timer                :cancel() :ref() :unref() :armed()
--- @raise                       the expression is wrong (the error says where) or no date ever fits
---                              it; an argument of another type, an unknown option
--- @usage local timer = require "timer"
--- local job = timer.cron("*/5 8-18 * * mon-fri", function() print("tick") end)
--- job:cancel()
function timer.cron(expression, fn, options)
    check.type(CRON, "expression", expression, "string")
    check.type(CRON, "fn", fn, "function")
    options = check.options(CRON, options, CRON_OPTIONS)
    if options.cluster ~= "one" and options.cluster ~= "all" then
        error(CRON .. ' options.cluster must be "one" or "all"', 2)
    end
    local cron = require "links.cron"
    local plan, err = cron.parse(expression)
    if not plan then error(CRON .. " expression: " .. err, 2) end
    local in_cluster = options.cluster == "one" and require("links.process").workerId
    if in_cluster then fn = require("links.shared.once").wrap(expression, fn) end
    local job = cron.start(plan, fn)
    if not job:armed() then error(CRON .. " expression: no date ever fits it", 2) end
    return job
end

local function run_over(t, ok, err)
    core.timerIdle(t)
    if not ok then error(err, 0) end
end

local function run(t, fn, ...)
    if core.timerBegin(t) then return fn(...) end
end

core.onTimer(run, function(t, fn, ...)
    if not core.timerBegin(t) then return end
    run_over(t, xpcall(fn, function(err)
        return type(err) == "string" and debug.traceback(err, 2) or err
    end, ...))
end)

return timer
