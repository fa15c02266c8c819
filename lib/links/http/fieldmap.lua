-- The fields of a message by name: names in lower case, looked up in any case.
local fieldmap = {}

local Map = {}

function Map.__index(map, name)
    if type(name) ~= "string" then return nil end
    return rawget(map, name:lower())
end

--- An empty map.
function fieldmap.new()
    return setmetatable({}, Map)
end

--- A value without the blanks around it. "(.-)%s*$" would do the same, but with blanks within the
--- value in a time that grows with the square of their number.
---
--- @param value  string
--- @return string
function fieldmap.trim(value)
    local first = value:find("[^ \t]")
    return first and value:match("^.*[^ \t]", first) or ""
end

--- What a field says that comes twice: repeated fields are one list (RFC 9110, 5.3), and cookies
--- have a list of their own (RFC 6265, 5.4).
---
--- @param name    string  in lower case
--- @param before  string  what it said so far; nil: nothing
--- @param value   string  what it says now
--- @return string
function fieldmap.join(name, before, value)
    if not before then return value end
    return before .. (name == "cookie" and "; " or ", ") .. value
end

--- Adds a field to what the map has.
---
--- @param map    table
--- @param name   string  in any case
--- @param value  string
function fieldmap.add(map, name, value)
    name = name:lower()
    rawset(map, name, fieldmap.join(name, rawget(map, name), value))
end

return fieldmap
