-- What links itself has to tell of: failures that nobody waits for, errors of handlers. It goes to
-- stderr, and where the program has loaded the module log, through its default logger.
local core = require "links.core"

local report = {}

-- There is one process, even where the module is loaded anew (busted does that for each file).
local state = core.reportState or {}
core.reportState = state

local function print_to_stderr(text)
    -- At once: other workers write there, too.
    io.stderr:write("links: " .. text .. "\n")
end

--- Tells of something.
---
--- @param level  string  "warn" or "error"
--- @param text   string  a message, and perhaps a line end and a traceback behind it
function report.write(level, text)
    if not state.log then return print_to_stderr(text) end
    local ok, err = pcall(state.log, level, text)
    if ok then return end
    print_to_stderr(text .. "\n(it could not be logged: " .. tostring(err) .. ")")
end

--- The same for the last words of a program: who has started it is to see them on stderr, too.
function report.last_words(text)
    io.stdout:flush()
    if not state.log then return print_to_stderr(text) end
    local ok, seen = pcall(state.log, "fatal", text)
    if not ok or not seen then print_to_stderr(text) end
end

--- What an error says. An error is any value; one that cannot be printed says so.
---
--- @param err  any
--- @return string
function report.describe(err)
    if type(err) == "table" and not debug.getmetatable(err) then
        return "(error object is a table value)"
    end
    local ok, text = pcall(tostring, err)
    return ok and type(text) == "string" and text or "(error object cannot be printed)"
end

--- For xpcall: what an error says, and where it was raised.
function report.trace(err)
    return debug.traceback(report.describe(err), 2)
end

--- Sends what is told to fn(level, text) -> whether it goes to stderr.
function report.install(fn)
    state.log = fn
end

return report
