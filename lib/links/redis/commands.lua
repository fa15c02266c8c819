-- Every command of Redis as a method: made when it is first called, of its name. What objects with
-- these methods have is _run(word, bytes, maps), and _block(bytes, ms) where one may wait in the
-- server; _pinned where the connection is one task's own.
local codec = require "links.redis.codec"

local encode, encode_any, raise = codec.encode, codec.encode_any, codec.raise

local commands = {}

local function set(text)
    local words = {}
    for word in text:gmatch("%S+") do words[word] = true end
    return words
end

-- Commands that change nothing, and so may be made again where nobody knows what came of them.
commands.reads = set [[
    GET MGET STRLEN GETRANGE SUBSTR LCS EXISTS TTL PTTL EXPIRETIME PEXPIRETIME TYPE KEYS SCAN DUMP
    HGET HMGET HGETALL HKEYS HVALS HLEN HEXISTS HSTRLEN HSCAN HRANDFIELD
    LRANGE LINDEX LLEN LPOS
    SMEMBERS SISMEMBER SMISMEMBER SCARD SRANDMEMBER SINTER SUNION SDIFF SINTERCARD SSCAN
    ZRANGE ZRANGEBYSCORE ZRANGEBYLEX ZREVRANGE ZREVRANGEBYSCORE ZREVRANGEBYLEX ZSCORE ZMSCORE ZRANK
    ZREVRANK ZCARD ZCOUNT ZLEXCOUNT ZSCAN ZINTER ZUNION ZDIFF ZINTERCARD ZRANDMEMBER
    GETBIT BITCOUNT BITPOS BITFIELD_RO PFCOUNT
    GEODIST GEOHASH GEOPOS GEOSEARCH GEORADIUS_RO GEORADIUSBYMEMBER_RO
    XRANGE XREVRANGE XLEN XINFO XPENDING
    DBSIZE PING ECHO TIME INFO RANDOMKEY OBJECT COMMAND LASTSAVE SORT_RO EVAL_RO EVALSHA_RO FCALL_RO
]]

-- What a connection would not be the same after, or replies would not be in order.
local INSTEAD = {
    SUBSCRIBE = "client:subscribe", PSUBSCRIBE = "client:psubscribe",
    SSUBSCRIBE = "client:ssubscribe", UNSUBSCRIBE = "sub:remove", PUNSUBSCRIBE = "sub:remove",
    SUNSUBSCRIBE = "sub:remove", MONITOR = "another program", SYNC = "another program",
    PSYNC = "another program", QUIT = "close", HELLO = "options.protocol", RESET = "close",
}

-- What a connection has to be a task's own for, and how it leaves the connection: "clean" again, to
-- be "dropped", or "watched" until it is clean again.
local STATE = {
    SELECT = "dropped", AUTH = "dropped", ASKING = "dropped", READONLY = "dropped",
    READWRITE = "dropped", WATCH = "watched", MULTI = "watched", EXEC = "clean", DISCARD = "clean",
    UNWATCH = "clean",
}

-- CLIENT has some of each kind.
local CLIENT = {
    REPLY = false, SETNAME = "dropped", TRACKING = "dropped", CACHING = "dropped",
    ["NO-EVICT"] = "dropped", ["NO-TOUCH"] = "dropped",
}

-- Those that may wait in the server: for how many milliseconds at most, 0 without an end; nil
-- where they do not wait.
local function seconds_at(place)
    return function(...)
        local seconds = tonumber((select(place, ...)))
        return seconds and seconds * 1000 or 0
    end
end

local function ms_at_end(...) return tonumber((select(-1, ...))) or 0 end

local function block_of_stream(...)
    for i = 1, select("#", ...) - 1 do
        local word, ms = select(i, ...)
        if type(word) == "string" then
            if word:upper() == "BLOCK" then return tonumber(ms) or 0 end
            if word:upper() == "STREAMS" then return nil end
        end
    end
end

local BLOCKING = {
    BLPOP = seconds_at(-1), BRPOP = seconds_at(-1), BLMOVE = seconds_at(-1),
    BRPOPLPUSH = seconds_at(-1), BZPOPMIN = seconds_at(-1), BZPOPMAX = seconds_at(-1),
    BLMPOP = seconds_at(1), BZMPOP = seconds_at(1), WAIT = ms_at_end, WAITAOF = ms_at_end,
    XREAD = block_of_stream, XREADGROUP = block_of_stream,
}

local function bytes_of(word, ...)
    return (encode(word, ...)) or encode_any(word, ...)
end

local function refuse(word, hint)
    return function()
        raise(("redis: %s is not for this object: use %s"):format(word, hint))
    end
end

-- Notes what the command does to the connection.
local function state(self, word, leaves)
    if not self._pinned then
        raise(("redis: %s changes the connection, which tasks share: use client:use"):format(word))
    end
    self:_note(leaves)
end

local function of_client(self, ...)
    local sub = ...
    local leaves = type(sub) == "string" and CLIENT[sub:upper()]
    if leaves == false then
        raise("redis: CLIENT REPLY would mix up replies and is not for this object")
    end
    if leaves then state(self, "CLIENT " .. sub:upper(), leaves) end
    local value, err = self:_run("CLIENT", bytes_of("CLIENT", ...))
    return value, err
end

local function of_state(word)
    return function(self, ...)
        state(self, word, STATE[word])
        local value, err = self:_run(word, bytes_of(word, ...))
        return value, err
    end
end

local function of_blocking(word)
    local time_of = BLOCKING[word]
    return function(self, ...)
        local bytes = bytes_of(word, ...)
        local ms = select("#", ...) > 0 and time_of(...)
        local value, err
        if ms then value, err = self:_block(bytes, ms) else value, err = self:_run(word, bytes) end
        return value, err
    end
end

local function of_config(self, ...)
    local sub = ...
    local value, err = self:_run("CONFIG", bytes_of("CONFIG", ...),
        type(sub) == "string" and sub:upper() == "GET")
    return value, err
end

local function make(word)
    if INSTEAD[word] then return refuse(word, INSTEAD[word]) end
    if STATE[word] then return of_state(word) end
    if BLOCKING[word] then return of_blocking(word) end
    if word == "CLIENT" then return of_client end
    if word == "CONFIG" then return of_config end
    local maps = word == "HGETALL"
    return function(self, ...)
        local bytes = encode(word, ...)
        if not bytes then bytes = encode_any(word, ...) end
        local value, err = self:_run(word, bytes, maps)
        return value, err
    end
end

local MADE_MAX = 512 -- names may come from outside
local made, made_count = {}, 0

-- The method of a command, "GET" say.
function commands.of(word)
    local method = made[word]
    if not method then
        method = make(word)
        if made_count < MADE_MAX then
            made[word] = method
            made_count = made_count + 1
        end
    end
    return method
end

-- self:command(name, ...), for who was called by the program.
function commands.call(self, name, ...)
    if type(name) ~= "string" then
        raise("redis: command(name, ...) name must be [string], not a " .. type(name))
    end
    local value, err = commands.of(name:upper())(self, ...)
    return value, err
end

-- Gives a table of methods those of all commands, by their names in small letters.
function commands.extend(methods)
    return setmetatable(methods, {
        __index = function(t, name)
            if type(name) ~= "string" or not name:find("^%l[%l%d_]*$") then return nil end
            local word = name:upper()
            local method = commands.of(word)
            if made[word] then rawset(t, name, method) end
            return method
        end,
    })
end

return commands
