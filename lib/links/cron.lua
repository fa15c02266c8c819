-- timer.cron: the five fields of an expression, as crontab has them, the next minute that they fit,
-- and the job that waits for it.
local ffi = require "ffi"
local core = require "links.core"

ffi.cdef [[
typedef struct links_cron_time { long seconds, nanoseconds; } links_cron_time;
int links_cron_clock(int clock, links_cron_time *time) __asm__("clock_gettime");
]]

local cron = {}

local MONTHS = {
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
}
local DAYS = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" }

local FIELDS = {
    { name = "minute", min = 0, max = 59 },
    { name = "hour", min = 0, max = 23 },
    { name = "day of the month", min = 1, max = 31 },
    { name = "month", min = 1, max = 12, names = MONTHS, first = 1 },
    { name = "day of the week", min = 0, max = 7, names = DAYS, first = 0 },
}

local SHORTHANDS = {
    ["@yearly"] = "0 0 1 1 *",
    ["@annually"] = "0 0 1 1 *",
    ["@monthly"] = "0 0 1 * *",
    ["@weekly"] = "0 0 * * 0",
    ["@daily"] = "0 0 * * *",
    ["@midnight"] = "0 0 * * *",
    ["@hourly"] = "0 * * * *",
}

-- A date that some expressions never meet (31 February) is looked for this far: the 29th of
-- February on a given weekday comes back within 40 years.
local MAX_YEARS = 40

local function number(field, text)
    for i, name in ipairs(field.names or {}) do
        if text:lower() == name then return i - 1 + field.first end
    end
    local n = text:match("^%d%d?$") and tonumber(text)
    if not n or n < field.min or n > field.max then
        return nil, ('"%s" is no %s (%d to %d)'):format(text, field.name, field.min, field.max)
    end
    return n
end

-- "*", "5", "5-9", "mon-fri", and each with "/2" behind it.
local function parse_item(field, item, set)
    local range, step = item:match("^([^/]+)/(%d+)$")
    range, step = range or item, tonumber(step or 1)
    if step < 1 then return nil, ('the step of "%s" must be 1 or more'):format(item) end
    local from, to, err
    local first, last = range:match("^(%w+)-(%w+)$")
    if range == "*" then
        from, to = field.min, field.max
    elseif first then
        from, err = number(field, first)
        if from then to, err = number(field, last) end
    else
        from, err = number(field, range)
        to = item ~= range and field.max or from
    end
    if err then return nil, err end
    if from > to then return nil, ('"%s" runs backwards'):format(item) end
    for value = from, to, step do set[value] = true end
    return true
end

local function parse_field(field, text)
    local set = { any = text:sub(1, 1) == "*" }
    if text:find("^,") or text:find(",$") or text:find(",,", 1, true) then
        return nil, ('"%s" has an empty place in its list'):format(text)
    end
    for item in text:gmatch("[^,]+") do
        local ok, err = parse_item(field, item, set)
        if not ok then return nil, err end
    end
    return set
end

-- Parses an expression. Returns a table for cron.next; or nil and what is wrong with it.
function cron.parse(expression)
    local texts = {}
    for text in (SHORTHANDS[expression:lower()] or expression):gmatch("%S+") do
        texts[#texts + 1] = text
    end
    if #texts ~= #FIELDS then
        return nil, "must have five fields (minute, hour, day, month, weekday), or be @hourly or so"
    end
    local sets = {}
    for i, field in ipairs(FIELDS) do
        local set, err = parse_field(field, texts[i])
        if not set then return nil, err end
        sets[i] = set
    end
    sets[5][0] = sets[5][0] or sets[5][7]
    return {
        minutes = sets[1], hours = sets[2], days = sets[3], months = sets[4], weekdays = sets[5],
    }
end

-- As crontab has it: where both are given, either day will do.
local function fits_day(plan, date)
    local day, weekday = plan.days[date.day], plan.weekdays[date.wday - 1]
    if plan.days.any or plan.weekdays.any then return day and weekday end
    return day or weekday
end

-- The beginning of a day of the date's year; month and day may overflow.
local function beginning(date, month, day)
    return os.time { year = date.year, month = month, day = day, hour = 0, min = 0, sec = 0 }
end

-- The first fitting minute after `now`, both in seconds as os.time has them; nil: there is none.
-- Hours that a change of the clocks leaves out do not fit; those it repeats fit twice.
function cron.next(plan, now)
    local time = now - now % 60 + 60
    local last_year = os.date("*t", now).year + MAX_YEARS
    while true do
        local date = os.date("*t", time)
        local jump
        if date.year > last_year then return nil end
        if not plan.months[date.month] then
            jump = beginning(date, date.month + 1, 1)
        elseif not fits_day(plan, date) then
            jump = beginning(date, date.month, date.day + 1)
        elseif not plan.hours[date.hour] then
            jump = time - date.min * 60 + 3600
        elseif not plan.minutes[date.min] then
            jump = time + 60
        else
            return time
        end
        -- Where midnight does not exist, the system may answer a time before.
        time = jump > time and jump or time + 60
    end
end

-- --- Jobs -------------------------------------------------------------------------------------

-- A longer wait is cut, so that a clock that was set, or a computer that slept, is noticed.
local LOOK_MS = 60000

local now = ffi.new("links_cron_time")

-- The time of day, in seconds with their fraction. The specs have a clock of their own.
function cron.now()
    ffi.C.links_cron_clock(0, now)
    return tonumber(now.seconds) + tonumber(now.nanoseconds) / 1e9
end

local Job = {}
Job.__index = Job

local function run(job, due)
    if job.busy then return end -- its last run goes on
    job.busy = true
    local ok, err = xpcall(job.fn, function(err)
        return type(err) == "string" and debug.traceback(err, 2) or err
    end, due)
    job.busy = false
    if not ok then error(err, 0) end
end

local arm

local function look(job)
    if not job.due then return end -- cancelled in the turn in which its timer fired
    local time, due = cron.now(), job.due
    local is_due = time >= due
    if is_due or time < job.looked then job.due = cron.next(job.plan, math.floor(time)) end
    job.looked = time
    arm(job)
    if is_due then run(job, due) end
end

function arm(job)
    job.armed_timer = nil
    if not job.due then return end
    local ms = math.max(1, math.min((job.due - cron.now()) * 1000, LOOK_MS))
    job.armed_timer = core.timerStart(ms, 0, false, look, job)
    if not job.refd then core.timerRef(job.armed_timer, false) end
end

-- Starts a job for a plan of cron.parse. It has the methods of a timer.
function cron.start(plan, fn)
    local job = setmetatable({ plan = plan, fn = fn, refd = true }, Job)
    job.looked = cron.now()
    job.due = cron.next(plan, math.floor(job.looked))
    arm(job)
    return job
end

function Job:cancel()
    if self.armed_timer then core.timerStop(self.armed_timer) end
    self.armed_timer, self.due = nil, nil
    return true
end

function Job:ref()
    self.refd = true
    if self.armed_timer then core.timerRef(self.armed_timer, true) end
    return self
end

function Job:unref()
    self.refd = false
    if self.armed_timer then core.timerRef(self.armed_timer, false) end
    return self
end

function Job:armed()
    return self.armed_timer ~= nil
end

return cron
