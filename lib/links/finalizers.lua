-- An error in a finalizer is a bug of the program's, and no reason to end it: LuaJIT would raise it
-- wherever the collector happens to be at work, in a compiled trace or between two turns of the
-- loop too, where nothing can catch it. So finalizers that are Lua functions run within pcall, and
-- their errors are printed. No task runs in them: they may start tasks, but not wait.
--
-- Nor do they run within the collector, where LuaJIT may not come back from them: all that happens
-- there is that object and finalizer are noted. See src/lua/finalizers.h.
local ffi = require "ffi"
local core = require "links.core"
local report = require "links.report"

ffi.cdef [[
void links_finalize_later(void (*release)(void *), void *handle);
]]

local finalizers = {}

local function tell(err)
    local ok, text = pcall(tostring, err)
    text = ok and type(text) == "string" and text or "(error object cannot be printed)"
    report.write("error", debug.traceback("error in a finalizer: " .. text, 2))
end

-- What is to be run, in the order in which the collector came to it.
local objects, functions, first, last = {}, {}, 1, 0

local function run_noted()
    local interrupted = core.leaveTask()
    while first <= last do
        local object, fn = objects[first], functions[first]
        objects[first], functions[first] = nil, nil
        first = first + 1
        xpcall(fn, tell, object)
    end
    first, last = 1, 0
    core.enterTask(interrupted)
end

-- Compiled, its loop would end by the exit of a trace, where the collector may be at work too: what
-- it notes between the end of the loop and the line behind it would be lost.
jit.off(run_noted)

-- finalizer -> the same, guarded. An entry goes when no object has the guarded one any more.
local guarded = setmetatable({}, { __mode = "v" })

local function guard(fn)
    if fn == nil or type(fn) == "cdata" then return fn end -- nothing, or a function of C
    local known = guarded[fn]
    if not known then
        known = function(object)
            last = last + 1
            objects[last], functions[last] = object, fn
            if not core.interrupt(run_noted) then run_noted() end
        end
        guarded[fn] = known
        guarded[known] = known
    end
    return known
end

local function guard_in(metatable)
    if type(metatable) ~= "table" then return end
    rawset(metatable, "__gc", guard(rawget(metatable, "__gc")))
end

-- What newproxy's metatables have for a metatable: it sees the finalizer come.
local watching = {
    __newindex = function(metatable, key, value)
        rawset(metatable, key, key == "__gc" and guard(value) or value)
    end,
}

local stock_gc, stock_metatype, stock_newproxy = ffi.gc, ffi.metatype, newproxy
local stock_setmetatable = debug.setmetatable

-- LuaJIT's own table, object -> finalizer: the environment of its ffi.gc, as far as that holds.
local function table_of_luajit()
    local known, probe = debug.getfenv(stock_gc), ffi.new("int[1]")
    stock_gc(probe, finalizers.install)
    local found = rawget(known, probe) == finalizers.install
    stock_gc(probe, nil)
    return found and known or nil
end

-- Objects and their finalizers, of which only the functions of C matter.
local handles

local function gc(object, ...)
    if select("#", ...) == 0 then return stock_gc(object) end -- which says what is missing
    return stock_gc(object, guard((...)))
end

-- The same, where LuaJIT's table is not to be found.
local function gc_and_note(object, ...)
    handles[object] = (...)
    return gc(object, ...)
end

-- When the program ends, finalizers of its own may still use what the library has, in whatever
-- order they come: the library's handles are let go of after them. What C the program has brought
-- along is gone by then, and so is what lies in Lua's memory.
local function keep_handles()
    for object, fn in pairs(handles) do
        if type(fn) == "cdata"
            and tostring(ffi.typeof(object)):find("^ctype<struct links_[%w_]+ %*>$") then
            stock_gc(object, nil)
            ffi.C.links_finalize_later(ffi.cast("void (*)(void *)", fn), object)
        end
    end
end

local function metatype(ctype, metatable)
    guard_in(metatable)
    return stock_metatype(ctype, metatable)
end

local function new_proxy(...)
    local proxy = stock_newproxy(...)
    if (...) == true then setmetatable(debug.getmetatable(proxy), watching) end
    return proxy
end

local function set_metatable(...)
    if type((...)) == "userdata" then guard_in((select(2, ...))) end
    return stock_setmetatable(...)
end

--- Replaces ffi.gc, ffi.metatype, newproxy and debug.setmetatable. To be called once, before any
--- program runs.
function finalizers.install()
    handles = table_of_luajit()
    ffi.gc, ffi.metatype, _G.newproxy = handles and gc or gc_and_note, metatype, new_proxy
    handles = handles or setmetatable({}, { __mode = "k" })
    debug.setmetatable = set_metatable
    core.finalizeLast(keep_handles)
end

return finalizers
