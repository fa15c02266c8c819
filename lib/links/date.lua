--- Dates as texts, and back: those of HTTP, ISO 8601 (RFC 3339), and any other.
---
--- A time is a number of milliseconds since 1970-01-01T00:00:00Z, as everywhere in links; it may be
--- negative. Texts without a zone are UTC.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"

ffi.cdef [[
typedef struct links_date_timespec { long sec; long nsec; } links_date_timespec;
int clock_gettime(int clock, links_date_timespec *time);
]]
local C = ffi.C

local date = {}

local floor, format = math.floor, string.format

local CLOCK_REALTIME = 0
local DAY_MS = 86400000
-- Years 0000 to 9999: what the four digits of these texts can say.
local MIN_MS, MAX_MS = -62167219200000, 253402300799999

local DAYS = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" }
local MONTHS = {
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
}
local MONTH_DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
local SHORT_DAYS, SHORT_MONTHS, month_of, is_day = {}, {}, {}, {}
for i, name in ipairs(DAYS) do
    SHORT_DAYS[i] = name:sub(1, 3)
    is_day[name], is_day[SHORT_DAYS[i]] = "long", "short"
end
for i, name in ipairs(MONTHS) do
    SHORT_MONTHS[i] = name:sub(1, 3)
    month_of[SHORT_MONTHS[i]] = i
end

local out_time = ffi.new("links_date_timespec")

local function now()
    C.clock_gettime(CLOCK_REALTIME, out_time)
    return tonumber(out_time.sec) * 1000 + floor(tonumber(out_time.nsec) / 1000000)
end

-- Days since 1970-01-01 of a day in the Gregorian calendar. A year begins in March here, so that
-- the leap day is its last; 400 years are 146097 days.
local function days_of(year, month, day)
    if month <= 2 then year = year - 1 end
    local era = floor(year / 400)
    local in_era = year - era * 400
    local in_year = floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
    return era * 146097 + in_era * 365 + floor(in_era / 4) - floor(in_era / 100) + in_year - 719468
end

-- The inverse: year, month, day.
local function day_of(days)
    local shifted = days + 719468
    local era = floor(shifted / 146097)
    local in_era = shifted - era * 146097
    local years = floor((in_era - floor(in_era / 1460) + floor(in_era / 36524)
        - floor(in_era / 146096)) / 365)
    local in_year = in_era - (365 * years + floor(years / 4) - floor(years / 100))
    local month = floor((5 * in_year + 2) / 153)
    local day = in_year - floor((153 * month + 2) / 5) + 1
    month = month + (month < 10 and 3 or -9)
    return years + era * 400 + (month <= 2 and 1 or 0), month, day
end

local function is_leap(year)
    return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end

-- The fields of a time, in UTC.
local function fields_of(ms)
    local days = floor(ms / DAY_MS)
    local rest = ms - days * DAY_MS
    local year, month, day = day_of(days)
    return {
        days = days, year = year, month = month, day = day, weekday = (days + 4) % 7,
        yearday = days - days_of(year, 1, 1), hour = floor(rest / 3600000),
        min = floor(rest / 60000) % 60, sec = floor(rest / 1000) % 60, ms = floor(rest % 1000),
    }
end

-- The time of such fields, or nil where there is no such day or hour. A leap second is the first of
-- the next minute.
local function time_of(year, month, day, hour, min, sec, ms)
    if month < 1 or month > 12 or hour > 23 or min > 59 or sec > 60 then return nil end
    local last = month == 2 and is_leap(year) and 29 or MONTH_DAYS[month]
    if day < 1 or day > last then return nil end
    local days = days_of(year, month, day)
    return days * DAY_MS + hour * 3600000 + min * 60000 + sec * 1000 + (ms or 0)
end

local function check_time(signature, name, t)
    if t == nil then return now() end
    if type(t) == "number" and t >= MIN_MS and t <= MAX_MS then return t end
    check.type(signature, name, t, "number|nil", 2)
    error(signature .. " " .. name .. " must be milliseconds within the years 0 to 9999", 3)
end

local function malformed(what, s)
    local shown = ("%q"):format(s:sub(1, 60)):gsub("[%c\127-\255]", "?")
    return nil, errors.new(errors.code("PARSE"), what, { message = "not a date: " .. shown })
end

-- --- HTTP ---------------------------------------------------------------------------------------

local last_second, last_text

--- A date as HTTP has it (IMF-fixdate; RFC 9110, 5.6.7).
---
--- @param t  number  the time in milliseconds. Default: now
--- @return string    such as "Sun, 06 Nov 1994 08:49:37 GMT"
--- @raise            `t` is not a number, or beyond the years 0 to 9999
--- @usage assert(require("date").http(784111777000) == "Sun, 06 Nov 1994 08:49:37 GMT")
function date.http(t)
    t = check_time("date.http([t])", "t", t)
    local second = floor(t / 1000)
    -- Most are asked for within one second: those of now, those of one file.
    if second == last_second then return last_text end
    local f = fields_of(second * 1000)
    last_text = format("%s, %02d %s %04d %02d:%02d:%02d GMT", SHORT_DAYS[f.weekday + 1], f.day,
        SHORT_MONTHS[f.month], f.year, f.hour, f.min, f.sec)
    last_second = second
    return last_text
end

-- Two digits mean the year of the past that ends in them, where they would be more than 50 years
-- ahead.
local function full_year(two)
    local year = fields_of(now()).year
    local guess = year - year % 100 + two
    if guess > year + 50 then guess = guess - 100 end
    return guess
end

local IMF = "^(%a%a%a), (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$"
local RFC850 = "^(%a+), (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d) GMT$"
local ASCTIME = "^(%a%a%a) (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$"

--- Reads a date of HTTP, in each of the three forms that a recipient must know (RFC 9110, 5.6.7).
---
--- @param s  string  such as "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT" or
---                   "Sun Nov  6 08:49:37 1994"
--- @return number    the time in milliseconds
--- @return nil, err  PARSE  it is none of them, or there is no such day
--- @raise            `s` is not a string
--- @usage assert(require("date").parseHttp("Sunday, 06-Nov-94 08:49:37 GMT") == 784111777000)
function date.parseHttp(s)
    check.type("date.parseHttp(s)", "s", s, "string")
    local wday, day, month, year, hour, min, sec = s:match(IMF)
    local kind = "short"
    if not wday then
        wday, day, month, year, hour, min, sec = s:match(RFC850)
        kind = "long"
        if wday then year = full_year(tonumber(year)) end
    end
    if not wday then
        wday, month, day, hour, min, sec, year = s:match(ASCTIME)
        kind = "short"
    end
    month = month_of[month]
    local ms = month and is_day[wday] == kind and time_of(tonumber(year), month, tonumber(day),
        tonumber(hour), tonumber(min), tonumber(sec))
    if not ms then return malformed("http date", s) end
    return ms
end

-- --- ISO 8601 -----------------------------------------------------------------------------------

--- A date as ISO 8601 and RFC 3339 have it, in UTC.
---
--- @param ms  number  the time in milliseconds. Default: now
--- @return string     such as "1994-11-06T08:49:37.000Z"
--- @raise             `ms` is not a number, or beyond the years 0 to 9999
--- @usage assert(require("date").iso(784111777042) == "1994-11-06T08:49:37.042Z")
function date.iso(ms)
    local f = fields_of(check_time("date.iso([ms])", "ms", ms))
    return format("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", f.year, f.month, f.day, f.hour, f.min,
        f.sec, f.ms)
end

-- Minutes east of Greenwich; nil for what is no zone.
local function parse_zone(s)
    if s == "" or s == "Z" or s == "z" then return 0 end
    local sign, hours, minutes = s:match("^([+-])(%d%d):?(%d%d)$")
    if not sign then
        sign, hours = s:match("^([+-])(%d%d)$")
        minutes = "00"
    end
    if not sign or tonumber(hours) > 23 or tonumber(minutes) > 59 then return nil end
    local offset = tonumber(hours) * 60 + tonumber(minutes)
    return sign == "-" and -offset or offset
end

--- Reads a date of ISO 8601: a day, or a day and a time, with or without seconds, their fraction
--- and a zone.
---
--- @param s  string  such as "1994-11-06", "1994-11-06T08:49Z", "1994-11-06 09:49:37.042+01:00"
--- @return number    the time in milliseconds; more digits than three are cut off
--- @return nil, err  PARSE  it is none of them, or there is no such day, hour or zone
--- @raise            `s` is not a string
--- @usage assert(require("date").parseIso("1994-11-06T09:49:37+01:00") == 784111777000)
function date.parseIso(s)
    check.type("date.parseIso(s)", "s", s, "string")
    local year, month, day, rest = s:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
    if not year then return malformed("iso date", s) end
    local hour, min, sec, fraction, zone = 0, 0, 0, "", ""
    if rest ~= "" then
        hour, min, rest = rest:match("^[Tt ](%d%d):(%d%d)(.*)$")
        if not hour then return malformed("iso date", s) end
        local seconds, after = rest:match("^:(%d%d)(.*)$")
        if seconds then sec, rest = seconds, after end
        local digits
        digits, after = rest:match("^[.,](%d+)(.*)$")
        if seconds and digits then fraction, rest = digits, after end
        zone = rest
    end
    local offset = parse_zone(zone)
    local ms = offset and time_of(tonumber(year), tonumber(month), tonumber(day), tonumber(hour),
        tonumber(min), tonumber(sec), tonumber((fraction .. "000"):sub(1, 3)))
    if not ms then return malformed("iso date", s) end
    return ms - offset * 60000
end

-- --- any other ----------------------------------------------------------------------------------

-- Year and number of the week by ISO 8601: the week of a day is that of its Thursday.
local function iso_week(f)
    local thursday = f.days - (f.weekday + 6) % 7 + 3
    local year = day_of(thursday)
    return year, floor((thursday - days_of(year, 1, 1)) / 7) + 1
end

local function zone_text(offset, separator)
    local minutes = math.abs(offset)
    return format("%s%02d%s%02d", offset < 0 and "-" or "+", floor(minutes / 60), separator,
        minutes % 60)
end

local directives
directives = {
    a = function(f) return SHORT_DAYS[f.weekday + 1] end,
    A = function(f) return DAYS[f.weekday + 1] end,
    b = function(f) return SHORT_MONTHS[f.month] end,
    B = function(f) return MONTHS[f.month] end,
    d = function(f) return format("%02d", f.day) end,
    D = function(f) return format("%02d/%02d/%02d", f.month, f.day, f.year % 100) end,
    e = function(f) return format("%2d", f.day) end,
    F = function(f) return format("%04d-%02d-%02d", f.year, f.month, f.day) end,
    G = function(f) return format("%04d", (iso_week(f))) end,
    H = function(f) return format("%02d", f.hour) end,
    I = function(f) return format("%02d", (f.hour + 11) % 12 + 1) end,
    j = function(f) return format("%03d", f.yearday + 1) end,
    L = function(f) return format("%03d", f.ms) end,
    m = function(f) return format("%02d", f.month) end,
    M = function(f) return format("%02d", f.min) end,
    n = function() return "\n" end,
    p = function(f) return f.hour < 12 and "AM" or "PM" end,
    R = function(f) return format("%02d:%02d", f.hour, f.min) end,
    s = function(f) return format("%d", floor(f.time / 1000)) end,
    S = function(f) return format("%02d", f.sec) end,
    t = function() return "\t" end,
    T = function(f) return format("%02d:%02d:%02d", f.hour, f.min, f.sec) end,
    u = function(f) return tostring((f.weekday + 6) % 7 + 1) end,
    V = function(f) return format("%02d", (select(2, iso_week(f)))) end,
    w = function(f) return tostring(f.weekday) end,
    y = function(f) return format("%02d", f.year % 100) end,
    Y = function(f) return format("%04d", f.year) end,
    z = function(f) return zone_text(f.offset, "") end,
    Z = function(f) return f.offset == 0 and "UTC" or zone_text(f.offset, ":") end,
    ["%"] = function() return "%" end,
}

-- What the system's zone is at a time, in minutes east of Greenwich.
local function local_offset(ms)
    local d = os.date("*t", floor(ms / 1000))
    local as_utc = time_of(d.year, d.month, d.day, d.hour, d.min, d.sec)
    return floor((as_utc - floor(ms / 1000) * 1000) / 60000)
end

local FORMAT = "date.format(fmt[, t[, tz]])"

local function offset_of(tz, t)
    if tz == nil or tz == "utc" then return 0 end
    if tz == "local" then return local_offset(t) end
    if type(tz) == "number" then
        check.integer(FORMAT, "tz", tz, -1439, 1439, 2)
        return tz
    end
    check.type(FORMAT, "tz", tz, "string|number|nil", 2)
    local offset = tz ~= "" and parse_zone(tz)
    if offset then return offset end
    error(FORMAT .. ' tz must be "utc", "local", such as "+02:00", or minutes', 3)
end

--- Writes a date in a form of one's own, in English whatever the locale.
---
--- @param fmt  string         the text, with %a %A %b %B (names of day and month, short and long)
---                            %d %e %m %y %Y %j
---                            %H %I %M %S %L (milliseconds) %p %s (seconds since 1970) %z %Z (zone)
---                            %u %w (day of
---                            the week) %G %V (year and week by ISO 8601) %D %F %R %T (as strftime)
---                            %n %t %%
--- @param t    number         the time in milliseconds. Default: now
--- @param tz   string|number  "utc", "local", an offset such as "+02:00", or minutes east. Default:
---                            "utc"
--- @return string             the date
--- @raise                     an argument of another type; a letter after % that nobody knows; no
---                            such zone
--- @usage local text = require("date").format("%A, %d %B %Y, %H:%M %z", 784111777000, "+01:00")
--- assert(text == "Sunday, 06 November 1994, 09:49 +0100")
function date.format(fmt, t, tz)
    check.type(FORMAT, "fmt", fmt, "string")
    t = check_time(FORMAT, "t", t)
    local offset = offset_of(tz, t)
    local f = fields_of(t + offset * 60000)
    f.time, f.offset = t, offset
    local at, pieces = 1, {}
    while true do
        local percent = fmt:find("%", at, true)
        pieces[#pieces + 1] = fmt:sub(at, (percent or 0) - 1)
        if not percent then return table.concat(pieces) end
        local letter = fmt:sub(percent + 1, percent + 1)
        local make = directives[letter]
        if not make then error(FORMAT .. ' fmt has "%' .. letter .. '", which nobody knows', 2) end
        pieces[#pieces + 1] = make(f)
        at = percent + 2
    end
end

return date
