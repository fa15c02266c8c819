-- require, dofile and load in Lua: a module or a chunk may wait while it loads, and two tasks that
-- require one module at the same time load it once.
local core = require "links.core"
local errors = require "links.errors"

local stock_load = load

local loader = {}

-- The public modules that need no prefix, so that a package of the same name does not shadow them.
local PUBLIC = {}
for _, name in ipairs {
    "codec", "date", "dns", "http", "json", "process", "querystring", "sync", "system", "task",
    "tcp", "timer", "udp", "unix", "url",
} do
    if package.preload["links." .. name] then PUBLIC[name] = true end
end

-- name -> { task =, queue = }: modules being loaded now.
local loading = {}
-- task -> name: the module it waits for another task to load.
local awaited = {}

-- Whether waiting for `entry` would never end, because its task waits, in turn, for `me`.
local function is_circular(entry, me)
    while entry do
        if entry.task == me then return true end
        local name = awaited[entry.task]
        entry = name and loading[name]
    end
    return false
end

local function await(name, entry)
    local me = core.current()
    if is_circular(entry, me) then
        error("loop or previous error loading module '" .. name .. "'", 3)
    end
    awaited[me] = name
    local status = core.park(entry.queue, nil, "require")
    awaited[me] = nil
    if status ~= 0 then error(errors.new(status, "require " .. name), 3) end
end

local function find(name)
    local messages = {}
    for _, search in ipairs(package.loaders) do
        local found = search(name)
        if type(found) == "function" then return found end
        if type(found) == "string" then messages[#messages + 1] = found end
    end
    error("module '" .. name .. "' not found:" .. table.concat(messages), 3)
end

local function finish(name, ok, value)
    local entry = loading[name]
    loading[name] = nil
    core.wakeAll(entry.queue)
    if not ok then error(value, 0) end
    if value ~= nil then package.loaded[name] = value end
    if package.loaded[name] == nil then package.loaded[name] = true end
    return package.loaded[name]
end

-- A task that finds the module half loaded waits for the one that loads it, and then looks again:
-- had the load failed, this one tries for itself.
local function require_(name)
    if type(name) == "number" then name = tostring(name) end
    if type(name) ~= "string" then
        local got = name == nil and "no value" or type(name)
        error("bad argument #1 to 'require' (string expected, got " .. got .. ")", 2)
    end
    if PUBLIC[name] then name = "links." .. name end
    while true do
        local value, entry = package.loaded[name], loading[name]
        -- A module that registers itself early may be required by what it requires.
        if value and (not entry or entry.task == core.current()) then return value end
        if not entry then break end
        await(name, entry)
    end
    local load_module = find(name)
    loading[name] = { task = core.current(), queue = core.queue() }
    return finish(name, pcall(load_module, name))
end

local function dofile_(name)
    local chunk, message = loadfile(name)
    if not chunk then error(message, 0) end
    return chunk()
end

-- The reader is called from here and not from the parser, so that it may wait.
local function load_(chunk, name, ...)
    if type(chunk) ~= "function" then return stock_load(chunk, name, ...) end
    local pieces = {}
    while true do
        local piece = chunk()
        if piece == nil or piece == "" then break end
        if type(piece) ~= "string" then return nil, "reader function must return a string" end
        pieces[#pieces + 1] = piece
    end
    return stock_load(table.concat(pieces), name or "=(load)", ...)
end

--- Replaces require, dofile and load. To be called once, before any program runs.
function loader.install()
    require, dofile, load = require_, dofile_, load_
end

--- The modules that may be required without the prefix "links.".
loader.public = PUBLIC

return loader
