--- What clients and connections of Redis can do beyond its commands: scripts, going over all keys,
--- and reading streams. All of these are methods of both (redis.client, redis.conn).
local check = require "links.check"
local crypto = require "links.crypto"
local codec = require "links.redis.codec"

local extras = {}

-- --- scripts ----------------------------------------------------------------------------------

local script = {}
local Script = { __index = script, __name = "redis script" }

-- What client:script would be as a command; none of these words is a script.
local SUBCOMMANDS = { DEBUG = true, EXISTS = true, FLUSH = true, HELP = true, KILL = true,
    LOAD = true }

--- Makes a script of Lua that runs in the server. It is sent once: later runs send its hash. The
--- command SCRIPT itself is `client:command("SCRIPT", "FLUSH")`.
---
--- @param source  string  the script: KEYS, ARGV, redis.call
--- @return script         script:run([keys[, args]])
--- @raise                 `source` is no string, or a subcommand of SCRIPT, or not alone
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local limit = client:script [[
---     local n = redis.call("INCR", KEYS[1])
---     if n == 1 then redis.call("PEXPIRE", KEYS[1], ARGV[1]) end
---     return n
--- ]]
--- local n, err = limit:run({ "visits" }, { 60000 })
--- assert(n or err)
--- client:close()
function extras:script(source, ...)
    check.type("client:script(source)", "source", source, "string")
    if select("#", ...) > 0 or SUBCOMMANDS[source:upper()] then
        error('client:script(source) makes a script: the command is client:command("SCRIPT", ...)',
            2)
    end
    return setmetatable({
        _client = self, _source = source, sha1 = crypto.hash("sha1", source),
    }, Script)
end

local RUN = "script:run([keys, args])"

--- Runs the script, with EVALSHA, and with EVAL where the server has not got it yet.
---
--- @param keys  table  the keys that it works on, an array. Default: none
--- @param args  table  its other arguments, an array of strings and numbers. Default: none
--- @return any         what the script returned
--- @return nil, err    as of commands; what the script raised is an `ERR`
--- @raise              `keys` or `args` is no table, or has something else in it
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local sum, err = client:script("return ARGV[1] + ARGV[2]"):run({}, { 2, 3 })
--- assert(sum == 5 or err)
--- client:close()
function script:run(keys, args)
    check.type(RUN, "keys", keys, "table|nil")
    check.type(RUN, "args", args, "table|nil")
    local list = { "EVALSHA", self.sha1, 0 }
    for _, key in ipairs(keys or {}) do list[#list + 1] = key end
    list[3] = #list - 3
    for _, value in ipairs(args or {}) do list[#list + 1] = value end
    local client = self._client
    local value, err = client:_run("EVALSHA", codec.encode_list(list, #list))
    if err and err.name == "NOSCRIPT" then
        list[1], list[2] = "EVAL", self._source
        value, err = client:_run("EVAL", codec.encode_list(list, #list))
    end
    return value, err
end

-- --- all keys ---------------------------------------------------------------------------------

local SCAN_OPTIONS = {
    match = { type = "string" },
    count = { type = "integer", min = 1, max = 2 ^ 31 - 1 },
    type = { type = "string" },
}

--- All keys, for a loop, by SCAN: a piece at a time, without holding the server up. Keys that come
--- and go meanwhile may be there or not, and one may come twice, as SCAN has it. The loop ends
--- with the last key, and with the first error, which is then the second value of the iterator.
---
--- @param options  table  match  nil  a pattern: "user:*"
---                        count  nil  how many the server looks at for a piece. Default: the
---                                    server's, 10
---                        type   nil  only keys of this type: "string", "hash", ...
--- @return function       each call returns a key; nil at the end; nil and an error
--- @raise                 an option of another type or out of bounds, or one that nobody knows
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- for key in client:scanEach { match = "user:*", count = 100 } do print(key) end
--- client:close()
function extras:scanEach(options)
    local o = check.options("client:scanEach([options])", options, SCAN_OPTIONS)
    local more = {}
    for _, name in ipairs { "match", "count", "type" } do
        if o[name] then
            more[#more + 1] = name:upper()
            more[#more + 1] = o[name]
        end
    end
    local cursor, keys, i = "0", {}, 0
    local begun = false
    return function()
        while i >= #keys do
            if begun and cursor == "0" then return nil end
            local reply, err = self:scan(cursor, unpack(more))
            if not reply then return nil, err end
            begun, cursor, keys, i = true, reply[1], reply[2], 0
        end
        i = i + 1
        return keys[i]
    end
end

-- --- streams ----------------------------------------------------------------------------------

local STREAM = "client:stream(key, group, consumer[, options])"
local STREAM_OPTIONS = {
    count = { default = 10, type = "integer", min = 1, max = 2 ^ 31 - 1 },
    block = { default = 0, type = "integer", min = 0, max = 2 ^ 31 - 1 },
}

-- The entries of the one stream that was asked for, as RESP2 or RESP3 have them.
local function entries_of(reply, key)
    if type(reply) ~= "table" then return {} end
    return reply[key] or reply[1] and reply[1][2] or reply[2] or {}
end

-- Its fields; an entry that was deleted before it was acknowledged has none.
local function fields_of(entry)
    local list, fields = entry[2], {}
    if type(list) ~= "table" then return fields end
    for i = 1, #list - 1, 2 do fields[list[i]] = list[i + 1] end
    return fields
end

local function make_group(client, key, group)
    local ok, err = client:xgroup("CREATE", key, group, "0", "MKSTREAM")
    if ok or err.name == "BUSYGROUP" then return true end
    return nil, err
end

--- Reads a stream as one of a group of consumers (XREADGROUP), for a loop. The group is made where
--- there is none, from the stream's beginning.
---
--- First come the entries that this consumer had got and not acknowledged, as when it died; then
--- new ones, each for one consumer of the group. An entry is acknowledged when the loop asks for
--- the next one: leave the loop by break or an error, and it will come again. So each is worked on
--- once at least. The loop ends where nothing came for `block`, and with the first error, which is
--- then the second value of the iterator.
---
--- @param key       string  the stream
--- @param group     string  the group's name
--- @param consumer  string  a name of this consumer that it has after a restart, too
--- @param options   table   count  10  entries that are got at a time
---                          block  0   ms to wait for new ones; 0: as long as it takes
--- @return function         each call returns the id and a table of the fields; nil at the end; nil
---                          and an error
--- @raise                   an argument or an option of another type or out of bounds, or one that
---                          nobody knows
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- client:xadd("jobs", "*", "to", "ann")
--- for id, job in client:stream("jobs", "mailers", "mailer-1", { block = 1 }) do
---     print(id, job.to)
--- end
--- client:close()
function extras:stream(key, group, consumer, options)
    check.type(STREAM, "key", key, "string")
    check.type(STREAM, "group", group, "string")
    check.type(STREAM, "consumer", consumer, "string")
    local o = check.options(STREAM, options, STREAM_OPTIONS)
    local entries, i, from, made, last = {}, 0, "0", false, nil

    -- The next piece: of what is old until there is no more, then of what is new.
    local function fetch()
        local reply, err
        if from == ">" then
            reply, err = self:xreadgroup("GROUP", group, consumer, "COUNT", o.count, "BLOCK",
                o.block, "STREAMS", key, from)
        else
            reply, err = self:xreadgroup("GROUP", group, consumer, "COUNT", o.count, "STREAMS", key,
                from)
        end
        if err then return nil, err end
        entries, i = entries_of(reply, key), 0
        return true
    end

    return function()
        local ok, err = true, nil
        if not made then ok, err = make_group(self, key, group) end
        made = made or ok
        if ok and last then ok, err = self:xack(key, group, last) end
        if not ok then return nil, err end
        last = nil
        while i >= #entries do
            local old = from ~= ">"
            ok, err = fetch()
            if not ok then return nil, err end
            if #entries == 0 and not old then return nil end
            from = old and #entries > 0 and entries[#entries][1] or ">"
        end
        i = i + 1
        last = entries[i][1]
        return last, fields_of(entries[i])
    end
end

return extras
