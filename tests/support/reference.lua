-- A second VM in this process, as LuaJIT makes it: what plain Lua does, to compare links with.
local ffi = require "ffi"

ffi.cdef [[
typedef struct lua_State lua_State;
lua_State *luaL_newstate(void);
void luaL_openlibs(lua_State *L);
int luaL_loadbuffer(lua_State *L, const char *text, size_t size, const char *name);
int lua_pcall(lua_State *L, int nargs, int nresults, int handler);
const char *lua_tolstring(lua_State *L, int index, size_t *size);
void lua_close(lua_State *L);
]]
local C = ffi.C

local reference = {}

-- Snippets return one string; show() makes one of any values.
local PRELUDE = [[local function show(...)
    local t = {}
    for i = 1, select("#", ...) do
        local v = select(i, ...)
        local kind = type(v)
        t[i] = (kind == "string" or kind == "number") and v
            or (kind == "boolean" or kind == "nil") and tostring(v) or kind
    end
    return table.concat(t, "|")
end ]]

local function plain(code)
    local L = C.luaL_newstate()
    C.luaL_openlibs(L)
    local rc = C.luaL_loadbuffer(L, code, #code, "=snippet")
    if rc == 0 then rc = C.lua_pcall(L, 0, 1, 0) end
    local text = C.lua_tolstring(L, -1, nil)
    local result = rc .. ":" .. (text == nil and "nothing" or ffi.string(text))
    C.lua_close(L)
    return result
end
jit.off(plain)

-- What plain Lua makes of a snippet, and what links does.
function reference.compare(snippet)
    local code = PRELUDE .. snippet
    local chunk, message = loadstring(code, "=snippet")
    local loaders, preload = package.loaders, package.preload
    local path, cpath = package.path, package.cpath
    local ok, result = false, message
    if chunk then ok, result = pcall(chunk) end
    package.loaders, package.preload = loaders, preload
    package.path, package.cpath = path, cpath
    return plain(code), (ok and "0:" or "2:") .. tostring(result)
end

return reference
