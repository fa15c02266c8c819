-- An error in a finalizer is a bug of the program's, and no reason to end it: LuaJIT would raise it
-- wherever the collector happens to be at work, in a compiled trace or between two turns of the
-- loop too, where nothing can catch it. So finalizers that are Lua functions run within pcall, and
-- their errors are printed. No task runs in them: they may start tasks, but not wait.
local ffi = require "ffi"
local core = require "links.core"

local finalizers = {}

local function report(err)
    local ok, text = pcall(tostring, err)
    text = ok and type(text) == "string" and text or "(error object cannot be printed)"
    io.stderr:write(debug.traceback("links: error in a finalizer: " .. text, 2), "\n")
end

-- finalizer -> the same, guarded. An entry goes when no object has the guarded one any more.
local guarded = setmetatable({}, { __mode = "v" })

local function guard(fn)
    if type(fn) ~= "function" then return fn end
    local known = guarded[fn]
    if not known then
        known = function(object)
            local interrupted = core.leaveTask()
            xpcall(fn, report, object)
            core.enterTask(interrupted)
        end
        guarded[fn] = known
        guarded[known] = known
    end
    return known
end

-- What newproxy's metatables have for a metatable: it sees the finalizer come.
local watching = {
    __newindex = function(metatable, key, value)
        rawset(metatable, key, key == "__gc" and guard(value) or value)
    end,
}

local stock_gc, stock_metatype, stock_newproxy = ffi.gc, ffi.metatype, newproxy

local function gc(object, fn)
    if type(fn) == "function" then fn = guard(fn) end
    return stock_gc(object, fn)
end

local function metatype(ctype, metatable)
    if type(metatable) == "table" then metatable.__gc = guard(metatable.__gc) end
    return stock_metatype(ctype, metatable)
end

local function new_proxy(...)
    local proxy = stock_newproxy(...)
    if (...) == true then setmetatable(debug.getmetatable(proxy), watching) end
    return proxy
end

--- Replaces ffi.gc, ffi.metatype and newproxy. To be called once, before any program runs.
function finalizers.install()
    ffi.gc, ffi.metatype, _G.newproxy = gc, metatype, new_proxy
end

return finalizers
