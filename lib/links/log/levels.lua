-- Which lines are logged: a level for all, for each name, for a single logger. What was said last
-- of a logger holds; a logger of which nothing was said has the level of the one it is a child of.
local check = require "links.check"
local LEVELS = require("links.log.ffi").LEVELS

local levels = {}

local default = LEVELS.info
local by_name = {}
local loggers = setmetatable({}, { __mode = "k" })

--- The number of a level by its name.
function levels.number(signature, name, value, level)
    local number = LEVELS[value]
    if number then return number end
    check.type(signature, name, value, "string", level + 1)
    local near = check.nearest(value, LEVELS)
    error(signature .. " " .. name .. ' must be "debug", "info", "warn", "error", "fatal" or "off"'
        .. (near and ' (did you mean "' .. near .. '"?)' or ""), level + 2)
end

local NAMES = {}
for name, number in pairs(LEVELS) do NAMES[number] = name end

function levels.name(number) return NAMES[number] end

-- The level of "db.pool" is that of "db" where it has none.
local function of_name(name)
    while name do
        if by_name[name] then return by_name[name] end
        name = name:match("^(.*)%.[^.]*$")
    end
end

local function resolve(logger)
    local level = logger._own or of_name(logger._name)
    if level then return level end
    if logger._parent then return resolve(logger._parent) end
    return default
end

local function resolve_all()
    for logger in pairs(loggers) do logger._level = resolve(logger) end
end

--- Makes a logger known, whose own level is `own` or nil.
function levels.add(logger, own)
    -- What was said of its name is newer than what its code says.
    logger._own = not (logger._name and by_name[logger._name]) and own or nil
    loggers[logger] = true
    logger._level = resolve(logger)
end

--- Sets the level of a logger alone; nil: it has none of its own.
function levels.set(logger, level)
    logger._own = level
    resolve_all()
end

local function is_below(name, prefix)
    return name == prefix or (name and name:sub(1, #prefix + 1) == prefix .. ".")
end

--- Sets the level of all loggers of a name, those to come included.
function levels.set_name(name, level)
    by_name[name] = level
    for logger in pairs(loggers) do
        if is_below(logger._name, name) then logger._own = nil end
    end
    resolve_all()
end

--- Sets the level of those that have none.
function levels.set_default(level)
    default = level
    resolve_all()
end

return levels
