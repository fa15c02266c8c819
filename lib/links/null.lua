-- The value that stands for null, where nil would be a field that is not there: the light userdata
-- of address 0, as in lua-cjson, so that values of the two can be mixed. json.null, redis.null and
-- the others are this one.
--
-- Plain Lua cannot make it, but the decoder of string.buffer does (a byte 3 is its null).
local null = require("string.buffer").decode("\3")

-- One metatable serves all light userdata; only this one has a name.
local meta = debug.getmetatable(null) or {}

function meta.__tostring(value)
    if value == null then return "null" end
    return ("userdata: %p"):format(value)
end

debug.setmetatable(null, meta)

return null
