--- Connections to Redis that are one task's: of redis.connect, and of client:use while its function
--- runs.
---
--- They have every command as a method, as clients have (redis.client), and those that change the
--- connection: SELECT, WATCH and MULTI among them. Nothing is made again: where the connection is
--- lost, every later call returns the error.
local check = require "links.check"
local errors = require "links.errors"
local batch = require "links.redis.batch"
local commands = require "links.redis.commands"
local extras = require "links.redis.extras"

local CLOSED = errors.code("CLOSED")

local methods = {}
for name, method in pairs(extras) do methods[name] = method end

local function line_of(self)
    local line = self._line
    if line then return line end
    return nil, errors.new(CLOSED, "redis")
end

local function exchange(self, bytes, count, maps, timeout)
    local line, err = line_of(self)
    if not line then return nil, err end
    local value
    value, err = line:send(bytes, count, timeout, maps)
    return value, err, line:flat()
end

function methods:_run(_, bytes, maps)
    local value, err = exchange(self, bytes, 0, maps, self._timeout)
    return value, err
end

function methods:_block(bytes, ms)
    local grace = self._timeout
    local value, err = exchange(self, bytes, 0, nil, ms > 0 and grace > 0 and ms + grace or 0)
    -- Nobody may get what the server hands out to who has left.
    if err and err.code ~= 0 and self._line then self._line:close() end
    return value, err
end

-- What the command leaves the connection as.
function methods:_note(leaves)
    local line = self._line
    if not line or line.leaves == "dropped" then return end
    line.leaves = leaves ~= "clean" and leaves or nil
end

--- Sends a command of any name.
---
--- @param name  string         the command
--- @param ...   string|number  its arguments
--- @return any                 the reply; nil: there is none
--- @return nil, err            as of client:command
--- @raise                      as of client:command
--- @wait
--- @usage local conn, err = require("redis").connect(6379, "127.0.0.1", { connectTimeout = 200 })
--- if conn then assert(conn:command("PING") == "PONG") else assert(err.name) end
function methods:command(name, ...)
    local value, err = commands.call(self, name, ...)
    return value, err
end

--- Sends several commands in one write and waits for all replies.
---
--- @param fn  function  as of client:pipeline
--- @return table        the replies by place
--- @return nil, err     as of client:pipeline
--- @raise               `fn` is no function, or raised
--- @wait
--- @usage local conn, err = require("redis").connect(6379, "127.0.0.1", { connectTimeout = 200 })
--- local replies = conn and conn:pipeline(function(p) p:ping() p:time() end)
--- assert(err or #replies == 2)
function methods:pipeline(fn)
    check.type("conn:pipeline(fn)", "fn", fn, "function")
    local replies, err = batch.pipeline(function(bytes, count, maps)
        return exchange(self, bytes, count, maps, self._timeout)
    end, fn)
    return replies, err
end

local MULTI_OPTIONS = {
    watch = { type = "table" },
    retries = { default = 3, type = "integer", min = 0, max = 2 ^ 31 - 1 },
}

local function check_multi(signature, fn, options)
    check.type(signature, "fn", fn, "function", 2)
    options = check.options(signature, options, MULTI_OPTIONS, 2)
    for i, key in ipairs(options.watch or {}) do
        check.type(signature, "options.watch[" .. i .. "]", key, "string|number", 2)
    end
    if options.watch and not options.watch[1] then options.watch = nil end
    return options
end

local function watched(self, fn, options)
    for _ = 0, options.retries do
        local ok, err = self:watch(unpack(options.watch))
        if not ok then return nil, err end
        local results, failure, nothing = batch.try(function(bytes, count)
            self:_note("clean")
            return exchange(self, bytes, count, nil, self._timeout)
        end, fn, self)
        if nothing then
            ok, err = self:unwatch()
            return ok and results, err
        end
        if results ~= false then return results, failure end
    end
    return batch.conflict(options.retries + 1)
end

--- Carries out several commands as a transaction.
---
--- @param fn       function  fn(tx[, conn]), as of client:multi
--- @param options  table     watch    nil  keys: an array of strings
---                           retries  3    how often `fn` is called again where a key has changed
--- @return table             the replies by place
--- @return nil, err          as of client:multi
--- @raise                    as of client:multi
--- @wait
--- @usage local conn, err = require("redis").connect(6379, "127.0.0.1", { connectTimeout = 200 })
--- local results = conn and conn:multi(function(tx) tx:incr("a") tx:incr("b") end)
--- assert(err or #results == 2)
function methods:multi(fn, options)
    options = check_multi("conn:multi(fn[, options])", fn, options)
    if options.watch then return watched(self, fn, options) end
    local results, err = batch.try(function(bytes, count)
        return exchange(self, bytes, count, nil, self._timeout)
    end, fn)
    return results, err
end

--- Closes the connection; tasks that wait for replies get CLOSED. Twice is harmless.
---
--- @return true
--- @usage local conn = require("redis").connect(6379, "127.0.0.1", { connectTimeout = 200 })
--- if conn then conn:close() end
function methods:close()
    if self._line then self._line:close() end
    return true
end

local Conn = { __index = commands.extend(methods), __name = "redis connection" }

-- Private: the connection on a line.
local function new(line, o)
    return setmetatable({ _line = line, _timeout = o.timeout, _pinned = true }, Conn)
end

local function taken_back(conn, ok, ...)
    conn._line = false
    if not ok then error((...), 0) end
    return ...
end

-- Private: fn(conn), whose line is its own for that long.
local function lend(line, o, fn)
    local conn = new(line, o)
    return taken_back(conn, pcall(fn, conn))
end

return { new = new, lend = lend, check_multi = check_multi, watched = watched }
