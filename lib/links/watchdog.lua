-- The watchdog: a task that holds the loop for too long is told of, with the place where it is,
-- while it does. It watches from when the program listens: what has nobody to serve may compute.
local core = require "links.core"
local report = require "links.report"

local watchdog = { DEFAULT = 100, MAX = 3600000 }

local SAME_PLACE_MS = 10000 -- between two reports of one place
local PLACES_MAX = 256

-- For the process, not for this load of the module.
local state = core.watchdogState or {
    ms = nil, -- as it was set; nil: by default
    on = 0, -- what is in effect
    places = {}, nplaces = 0, -- place -> {at =, more =}: when it was told of last
}
core.watchdogState = state

-- The innermost line that is not links' own, for what comes again.
local function place_of(traceback)
    for where in traceback:gmatch("\n\t([^\n]-:%d+):") do
        if where:sub(1, 6) ~= "links/" then return where end
    end
    return "?"
end

-- How often this place was kept quiet about; nil: it still is.
local function may_tell(place, held)
    local now = require("links.system").hrtime() / 1e6
    local known = state.places[place]
    -- One that goes on is told of again.
    if known and now - known.at < SAME_PLACE_MS and held < 10 * state.on then
        known.more = known.more + 1
        return nil
    end
    if not known then
        if state.nplaces >= PLACES_MAX then state.places, state.nplaces = {}, 0 end
        state.nplaces = state.nplaces + 1
        known = { more = 0 }
        state.places[place] = known
    end
    local more = known.more
    known.at, known.more = now, 0
    return more
end

local function tell(t, ms, traceback, outer)
    -- What lies below a handler is links' own, and no news.
    local function cut(text)
        return (text:gsub("\n\tlinks/[^\n]*: in function <links/[^\n]*>$", "")
            :gsub("\n\t%[C%]: in function 'xpcall'\n\tlinks/.*$", "")
            :gsub("\n\tlinks/boot%.lua.*$", ""))
    end
    local more = may_tell(place_of(traceback), ms)
    if not more then return end
    local text = ("%s has held the loop for %d ms%s\n%s"):format(tostring(t), ms,
        more > 0 and ", and so have " .. more .. " others since this was last told" or "",
        cut(traceback))
    if outer then text = text .. "\n" .. cut(outer):gsub("^stack traceback:", "resumed by:") end
    report.write("warn", text)
end

-- There is one profiler, and the watchdog needs it too: who wants it for himself gets it.
local function lend_profiler()
    if state.lends then return end
    state.lends = true
    local ok, profile = pcall(require, "jit.profile")
    if not ok then return end
    local start, stop = profile.start, profile.stop
    function profile.start(...)
        core.profileLend(true)
        return start(...)
    end
    function profile.stop(...)
        stop(...)
        core.profileLend(false)
    end
end

local function apply(ms)
    if ms == state.on then return 0 end
    lend_profiler()
    local rc = core.watchdog(ms, tell)
    state.on = rc == 0 and ms or 0
    return rc
end

--- Sets the limit in milliseconds, 0 for none, from now on; nil only asks. Returns what it was, or
--- nil and a code.
function watchdog.set(ms)
    local before = state.on
    if ms then
        state.ms = ms
        local rc = apply(ms)
        if rc ~= 0 then return nil, rc end
    end
    return before
end

local function from_environment()
    local text = os.getenv("LINKS_WATCHDOG")
    if not text or text == "" then return nil end
    local ms = tonumber(text)
    if ms and ms % 1 == 0 and ms >= 0 and ms <= watchdog.MAX then return ms end
    report.write("warn", "LINKS_WATCHDOG must be a number of milliseconds, 0 to "
        .. watchdog.MAX .. ", not " .. text)
end

--- The program listens: begins to watch, where it has not said anything else.
function watchdog.begin()
    if state.begun or state.ms then return end
    state.begun = true
    apply(from_environment() or watchdog.DEFAULT)
end

return watchdog
