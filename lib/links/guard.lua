-- Writing a global from inside a function is a bug in a server: two requests share it. The first
-- write to each undeclared name is reported with its traceback; with --strict it is an error. What
-- a file assigns outside of its functions is declared by that.
local report = require "links.report"

local guard = {}

local declared = {}

local function is_declaration()
    local info = debug.getinfo(3, "S")
    return not info or info.what == "main" or info.what == "C"
end

local function describe(name)
    local ok, text = pcall(tostring, name)
    return ok and text or "?"
end

local function on_new_global(globals, name, value)
    rawset(globals, name, value)
    if declared[name] then return end
    declared[name] = true
    if is_declaration() then return end
    local message = "global '" .. describe(name) .. "' is written but not declared"
        .. " (write local, or assign it at the top of a file)"
    if guard.strict then
        declared[name] = nil
        rawset(globals, name, nil)
        error(message, 2)
    end
    report.write("warn", debug.traceback(message, 2))
end

--- Puts the guard on the globals.
---
--- @param strict  boolean  raise an error instead of reporting
function guard.install(strict)
    guard.strict = strict
    if not getmetatable(_G) then
        setmetatable(_G, { __newindex = on_new_global })
    end
end

return guard
