-- require, dofile and load in Lua: a module or a chunk may wait while it loads, and two tasks that
-- require one module at the same time load it once.
local core = require "links.core"
local errors = require "links.errors"

local stock_load = load

local loader = {}

-- The public modules that need no prefix, so that a package of the same name does not shadow them.
local PUBLIC = {}
for _, name in ipairs {
    "admin", "cache", "codec", "crypto", "date", "dns", "fs", "http", "https", "json", "limit",
    "lock", "log", "metrics", "msgpack", "path", "process", "querystring", "redis", "shared",
    "sync", "system", "task", "tcp", "timer", "tls", "udp", "unix", "url", "websocket", "zlib",
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
    local me = core.current() -- nil in a finalizer
    -- A task that is over has left the load in a coroutine that it dropped.
    if entry.task and core.finished(entry.task) then
        loading[name] = nil
        return
    end
    if is_circular(entry, me) then
        error("loop or previous error loading module '" .. name .. "'", 3)
    end
    if me then awaited[me] = name end
    local status = core.park(entry.queue, nil, "require")
    if me then awaited[me] = nil end
    if status ~= 0 then error(errors.new(status, "require " .. name), 3) end
end

local function find(name)
    local loaders, messages = package.loaders, {}
    if type(loaders) ~= "table" then error("'package.loaders' must be a table", 3) end
    for _, search in ipairs(loaders) do
        -- pcall, so that no loader's error begins with a position in this file
        local ok, found = pcall(search, name)
        if not ok then error(found, 0) end
        if type(found) == "function" then return found end
        if type(found) == "string" or type(found) == "number" then
            messages[#messages + 1] = found
        end
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
local function require_(...)
    local name = ...
    if type(name) == "number" then name = tostring(name) end
    if type(name) ~= "string" then
        local got = select("#", ...) == 0 and "no value" or type(name)
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
    -- Looking for it may have waited, and another task been faster.
    if loading[name] or package.loaded[name] then return require_(name) end
    loading[name] = { task = core.current(), queue = core.queue() }
    return finish(name, pcall(load_module, name))
end

local function dofile_(name)
    local chunk, message = loadfile(name)
    if not chunk then error(message, 0) end
    return chunk()
end

local function read_all(reader)
    local pieces = {}
    while true do
        local piece = reader()
        if piece == nil or piece == "" then return table.concat(pieces) end
        if type(piece) ~= "string" and type(piece) ~= "number" then
            error("reader function must return a string", 0)
        end
        pieces[#pieces + 1] = piece
    end
end

-- The reader is called from here and not from the parser, so that it may wait.
local function load_(...)
    local reader, name = ...
    if type(reader) ~= "function" then return stock_load(...) end
    local ok, text = pcall(read_all, reader)
    if not ok then return nil, text end
    return stock_load(text, name or "=(load)", select(3, ...))
end

--- Replaces require, dofile and load. To be called once, before any program runs.
function loader.install()
    require, dofile, load = require_, dofile_, load_
end

--- The modules that may be required without the prefix "links.".
loader.public = PUBLIC

return loader
