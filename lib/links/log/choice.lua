-- What options of logs may be.
local check = require "links.check"

local choice = {}

local ROTATE = {
    size = { type = "string|number|nil" },
    every = { type = "string|nil" },
    keep = { default = 7, type = "integer", min = 1, max = 100000 },
    compress = { default = true, type = "boolean" },
}

--- Raises unless `known` has the value.
function choice.one_of(signature, name, value, known, level)
    if known[value] then return end
    local words = {}
    for word in pairs(known) do words[#words + 1] = '"' .. tostring(word) .. '"' end
    table.sort(words)
    error(signature .. " " .. name .. " must be " .. table.concat(words, ", "), level + 2)
end

local REOPEN_ON = "SIGUSR1"
local UNCATCHABLE = {
    SIGKILL = true, SIGSTOP = true, SIGSEGV = true, SIGBUS = true, SIGFPE = true, SIGILL = true,
}

--- The name of the signal that opens files anew; false: none.
function choice.signal(signature, value, level)
    if value == true or value == REOPEN_ON then return REOPEN_ON end
    if not value then return false end
    local names = require "links.process.names"
    local name = names.signal_name(names.signal(signature, "options.reopenOn", value, level + 1))
    if UNCATCHABLE[name] then
        error(signature .. " options.reopenOn cannot be caught: " .. name, level + 2)
    end
    return name
end

local UNITS = { [""] = 1, K = 2 ^ 10, M = 2 ^ 20, G = 2 ^ 30 }

local function bytes_of(signature, value, level)
    if type(value) == "string" then
        local digits, unit = value:match("^(%d+)([KMG]?)$")
        value = digits and tonumber(digits) * UNITS[unit]
    end
    if value and value >= 1 and value < 2 ^ 53 then return value end
    error(signature .. ' options.rotate.size must be a number of bytes, or a text such as "100M"',
        level + 2)
end

--- The options of a rotation, checked.
function choice.rotation(signature, rotate, level)
    rotate = check.options(signature .. " rotate:", rotate, ROTATE, level + 1)
    if rotate.size then rotate.size = bytes_of(signature, rotate.size, level + 1) end
    if rotate.every then
        choice.one_of(signature, "options.rotate.every", rotate.every,
            { hour = true, day = true, week = true }, level + 1)
    end
    if not rotate.size and not rotate.every then
        error(signature .. " options.rotate must have size or every", level + 2)
    end
    return rotate
end

return choice
