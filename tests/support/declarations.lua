-- Compares what Lua declares for the FFI with the headers of the C units: `ffi.cdef` checks
-- nothing, so a line that only one side has changed would be a crash.
local declarations = {}

local function read(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
end

-- The declarations without comments, layout, constants and the macro of what Lua may call.
local function plain(text)
    text = text:gsub("/%*.-%*/", " "):gsub("LINKS_API ", ""):gsub("enum {.-};", "")
    text = text:gsub("#%a+[^\n]*", "")
    return (text:gsub("%s+", " "):gsub("%( ", "("):gsub("^ ", ""):gsub(" $", ""))
end

-- Declaration by declaration, those that are links' own: not what is of the C library, or for C
-- alone.
local function add(list, text)
    local depth, from = 0, 1
    for at, c in text:gmatch("()([{};])") do
        if c == ";" and depth == 0 then
            local line = text:sub(from, at):gsub("^ ", "")
            if line:find("links_", 1, true) then list[#list + 1] = line end
            from = at + 1
        elseif c ~= ";" then
            depth = depth + (c == "{" and 1 or -1)
        end
    end
end

-- What the header declares for Lua, and what the Lua file does: arrays that are to be the same.
function declarations.both(lua, header)
    local wanted, found = {}, {}
    add(wanted, plain(read(header)))
    for cdef in read(lua):gmatch("ffi%.cdef %[%[(.-)%]%]") do add(found, plain(cdef)) end
    return wanted, found
end

-- The value of a constant of a header, by its whole name.
function declarations.constant(name, ...)
    for _, header in ipairs { ... } do
        local value = read(header):match("%f[%w_]" .. name .. " = (%-?%d+)")
        if value then return tonumber(value) end
    end
end

declarations.read = read

return declarations
