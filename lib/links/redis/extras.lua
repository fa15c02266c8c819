--- What clients and connections of Redis can do beyond its commands: scripts, and going over all
--- keys. All of these are methods of both (redis.client, redis.conn).
local check = require "links.check"
local crypto = require "links.crypto"

local extras = {}

-- --- scripts ----------------------------------------------------------------------------------

local script = {}
local Script = { __index = script, __name = "redis script" }

--- Makes a script of Lua that runs in the server. It is sent once: later runs send its hash.
---
--- @param source  string  the script: KEYS, ARGV, redis.call
--- @return script         script:run([keys[, args]])
--- @raise                 `source` is no string
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local limit = client:script [[
---     local n = redis.call("INCR", KEYS[1])
---     if n == 1 then redis.call("PEXPIRE", KEYS[1], ARGV[1]) end
---     return n
--- ]]
--- local n, err = limit:run({ "visits" }, { 60000 })
--- assert(n or err)
--- client:close()
function extras:script(source)
    check.type("client:script(source)", "source", source, "string")
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
    local list = {}
    for i, key in ipairs(keys or {}) do list[i] = key end
    local count = #list
    for i, value in ipairs(args or {}) do list[count + i] = value end
    local client = self._client
    local value, err = client:evalsha(self.sha1, count, unpack(list))
    if err and err.name == "NOSCRIPT" then
        value, err = client:eval(self._source, count, unpack(list))
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

return extras
