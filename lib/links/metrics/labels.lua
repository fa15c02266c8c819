-- Labels as Prometheus writes them, whoever counts by them.
local codec = require "links.codec"

local ESCAPES = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }

local function escaped(value)
    local text = tostring(value)
    if text:find('[\\"\n]') then text = text:gsub('[\\"\n]', ESCAPES) end
    if text:find("[\128-\255]") and not codec.utf8valid(text) then
        text = text:gsub("[\128-\255]", "?")
    end
    return text
end

--- The labels as they are written out: a="1",b="2".
return function(names, values)
    local parts = {}
    for i, name in ipairs(names) do parts[i] = name .. '="' .. escaped(values[i]) .. '"' end
    return table.concat(parts, ",")
end
