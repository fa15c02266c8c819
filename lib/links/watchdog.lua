-- The watchdog: a task that holds the loop for too long is told of, with the place where it is,
-- while it does. It watches from when the program listens: what has nobody to serve may compute.
local core = require "links.core"
local report = require "links.report"

local watchdog = { DEFAULT = 100, MAX = 3600000 }

local SAME_PLACE_MS = 10000 -- between two reports of one place
local PLACES_MAX = 256

-- For the process, not for this load of the module.
local state = core.watchdogState or {
    slow = nil, -- as it was set; nil: by default
    abort = 0, kill = 0,
    begun = false, -- the program listens
    on = 0, -- what of `slow` is in effect
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

local ENDS = { abort = ": an error is raised in it", kill = ": the process ends" }

local function tell(t, ms, traceback, outer, fate)
    -- What lies below a handler is links' own, and no news.
    local function cut(text)
        return (text:gsub("\n\tlinks/[^\n]*: in function <links/[^\n]*>$", "")
            :gsub("\n\t%[C%]: in function 'xpcall'\n\tlinks/.*$", "")
            :gsub("\n\tlinks/boot%.lua.*$", ""))
    end
    local more = may_tell(place_of(traceback), ms)
    if not more and not fate then return end
    local text = ("%s has held the loop for %d ms%s\n%s"):format(tostring(t), ms, ENDS[fate]
        or more > 0 and ", and so have " .. more .. " others since this was last told" or "",
        cut(traceback))
    if outer then text = text .. "\n" .. cut(outer):gsub("^stack traceback:", "resumed by:") end
    if fate == "kill" then return report.last_words(text) end
    report.write(fate and "error" or "warn", text)
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

local function apply(slow)
    lend_profiler()
    local rc = core.watchdog(slow, state.abort, state.kill, tell)
    state.on = rc == 0 and slow or 0
    return rc
end

--- Sets limits in milliseconds, 0 for none, from now on: those of slow, abort and kill that are in
--- `limits`. Returns what they were, or nil and a code.
function watchdog.set(limits)
    local were = { slow = state.on, abort = state.abort, kill = state.kill }
    local slow = limits.slow or were.slow
    state.slow = limits.slow or state.slow
    state.abort, state.kill = limits.abort or were.abort, limits.kill or were.kill
    if slow ~= were.slow or state.abort ~= were.abort or state.kill ~= were.kill then
        local rc = apply(slow)
        if rc ~= 0 then return nil, rc end
    end
    return were
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
    if state.begun or state.slow then return end
    state.begun = true
    apply(from_environment() or watchdog.DEFAULT)
end

return watchdog
