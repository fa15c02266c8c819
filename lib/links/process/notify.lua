-- What this process tells its service manager (systemd, or who else has set NOTIFY_SOCKET): when it
-- serves, reloads and ends, that it is alive, and which process it is. A worker tells nothing: its
-- master does.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local listening = require "links.listening"
local report = require "links.report"
local binding = require "links.process.ffi"

ffi.cdef [[
const char *links_notify_socket(void);
double links_notify_watchdog(void);
int links_notify(const char *text, size_t len, int insists);
]]
local C = binding.C

local notify = {}

-- Twice in the time that the watchdog gives us, as sd_watchdog_enabled(3) recommends.
local WATCHDOG_SHARE = 2

local is_ready, has_failed, is_silent = false, false, false

--- Sends assignments: a string such as "READY=1\nSTATUS=serving".
---
--- @param text  string
--- @param is_idle  boolean  it need not arrive
--- @return true
--- @return nil, err
function notify.send(text, is_idle)
    local rc = C.links_notify(text, #text, is_idle and 0 or 1)
    if rc == 0 then return true end
    return nil, errors.new(rc, "notify")
end

-- Says once where that fails: a unit whose manager does not hear of it is killed by and by.
local function tell(...)
    if is_silent or C.links_notify_socket() == nil then return end
    local ok, err = notify.send(table.concat({ ... }, "\n"))
    if ok or has_failed then return end
    has_failed = true
    report.write("warn", "the service manager at NOTIFY_SOCKET was not told: " .. tostring(err))
end

--- It serves. `status` is for people.
function notify.ready(status)
    is_ready = true
    if status then tell("READY=1", "STATUS=" .. status) else tell("READY=1") end
end

--- The same, once.
function notify.ready_once()
    if not is_ready then notify.ready() end
end

--- It begins to reload: notify.ready ends that.
function notify.reloading()
    local usec = require("links.system").hrtime64() / 1000
    tell("RELOADING=1", "MONOTONIC_USEC=" .. tostring(usec):match("%d+"), "STATUS=reloading")
end

--- What it does, for people.
function notify.status(text)
    tell("STATUS=" .. text)
end

--- That process is the one to look after from now on, and the one that says the rest.
function notify.main_pid(pid)
    local is_us = pid == C.getpid()
    if is_us then is_silent = false end
    tell("MAINPID=" .. pid)
    is_silent = not is_us
end

--- What a process needs in its environment that is to tell all this in our place.
---
--- @return table  name = value
function notify.environment()
    local path, usec = C.links_notify_socket(), C.links_notify_watchdog()
    return {
        NOTIFY_SOCKET = path ~= nil and ffi.string(path) or nil,
        WATCHDOG_USEC = path ~= nil and usec > 0 and ("%.0f"):format(usec) or nil,
    }
end

local function watch()
    local usec = C.links_notify_watchdog()
    if usec == 0 then return end
    local ms = math.max(1, math.floor(usec / 1000 / WATCHDOG_SHARE))
    require("links.timer").setInterval(ms, function()
        if not is_silent then notify.send("WATCHDOG=1", true) end
    end):unref()
end

--- Begins with it, where somebody wants to hear: before the program runs.
function notify.begin()
    if C.links_notify_socket() == nil then return end
    is_silent = C.links_handover_wanted() ~= 0 -- until another process lets go
    local process = require "links.process"
    listening.notice = function()
        listening.notice = nil
        -- The program may have several servers, or fail on its next line, and then it is ending.
        core.spawn(function()
            core.yield()
            if C.links_ending_due() == 0 then notify.ready_once() end
        end)
    end
    process.onShutdown(function() tell("STOPPING=1", "STATUS=ending") end)
    watch()
end

return notify
