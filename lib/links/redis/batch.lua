-- Commands that are collected and leave in one write: pipelines and transactions.
local errors = require "links.errors"
local null = require "links.null"
local codec = require "links.redis.codec"
local commands = require "links.redis.commands"
local lines = require "links.redis.line"

local batch = {}

-- What a pipeline's function gets: the commands as methods, which note what they are called for.
local methods = {}

function methods:_run(_, bytes, maps)
    local n = #self._list + 1
    self._list[n] = bytes
    if maps then self._maps[n] = true end
    return self
end

function methods:_block()
    codec.raise("redis: what may wait in the server is not for a pipeline")
end

function methods:command(name, ...)
    return commands.call(self, name, ...)
end

local Batch = { __index = commands.extend(methods), __name = "pipeline" }

local function collect(fn, ...)
    local self = setmetatable({ _list = {}, _maps = {}, _pinned = false }, Batch)
    fn(self, ...)
    return self._list, self._maps
end

-- The replies of what `fn` asks for; `exchange(bytes, count, maps)` sends it.
function batch.pipeline(exchange, fn)
    local list, maps = collect(fn)
    if #list == 0 then return {} end
    return exchange(table.concat(list), #list, maps)
end

local function first_error(list)
    for i = 1, #list do
        if errors.is(list[i]) then return list[i] end
    end
end

-- What EXEC has answered: the results; nil and an error; or false where a watched key had changed.
local function results_of(list, maps, flat)
    local results = list[#list]
    if errors.is(results) then
        local cause = first_error(list)
        -- Where MULTI itself was refused there is nothing that EXEC could say of it.
        if errors.is(list[1]) then return nil, list[1] end
        if cause ~= results then results.cause = cause end
        return nil, results
    end
    if results == null then return false end
    if not flat then return results end
    for place in pairs(maps) do results[place] = lines.to_map(results[place]) end
    return results
end

local MULTI, EXEC = "*1\r\n$5\r\nMULTI\r\n", "*1\r\n$4\r\nEXEC\r\n"

-- One try of a transaction: results, or false, or nil and an error. `exchange` as above; third it
-- returns whether maps are to be made of lists.
function batch.try(exchange, fn, ...)
    local list, maps = collect(fn, ...)
    if #list == 0 then return {}, nil, true end
    local replies, err, flat = exchange(MULTI .. table.concat(list) .. EXEC, #list + 2)
    if not replies then return nil, err end
    return results_of(replies, maps, flat)
end

-- A watched key was changed by others, each time.
function batch.conflict(tries)
    return nil, errors.new(0, nil, {
        name = "CONFLICT", module = "redis",
        message = "a watched key was changed meanwhile, " .. tries .. " times",
    })
end

return batch
