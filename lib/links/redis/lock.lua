--- Locks of client:lock. A lock is a key that only its holder's random token can remove; what
--- compares and acts runs as a script, so nothing comes between.
local core = require "links.core"
local check = require "links.check"
local crypto = require "links.crypto"
local errors = require "links.errors"
local timer = require "links.timer"

local now, new_error = core.now, errors.new
local LOCKED, NOT_FOUND = errors.code("LOCKED"), errors.code("NOT_FOUND")

local FIRST_MS, LONGEST_MS = 5, 200 -- between two tries

local OPTIONS = {
    ttl = { default = 10000, type = "integer", min = 1, max = 2 ^ 40 },
    wait = { default = 5000, type = "integer", min = 0, max = 2 ^ 31 - 1 },
}

local TAKE = [[
if redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) then
    return redis.call("INCR", KEYS[2])
end
return 0]]

local RELEASE = [[
if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0]]

local EXTEND = [[
if redis.call("GET", KEYS[1]) == ARGV[1] then
    return redis.call("PEXPIRE", KEYS[1], ARGV[2])
end
return 0]]

local methods = {}
local Lock = { __index = methods, __name = "redis lock" }

-- Tries until it is free, or `wait` ms are over.
local function take_in_time(client, key, token, o)
    local script, until_ms, pause = client:script(TAKE), now() + o.wait, FIRST_MS
    while true do
        local fence, err = script:run({ key, key .. ":fence" }, { token, o.ttl })
        if not fence then return nil, err end
        if fence ~= 0 then return fence end
        local left = until_ms - now()
        if left <= 0 then return nil, new_error(LOCKED, "redis lock") end
        local ok, failure = timer.sleep(math.min(pause * (0.5 + math.random() / 2), left))
        if not ok then return nil, failure end
        pause = math.min(pause * 2, LONGEST_MS)
    end
end

-- Private: client:lock, whose signature it has.
local function take(signature, client, key, options)
    check.type(signature, "key", key, "string", 2)
    local o = check.options(signature, options, OPTIONS, 2)
    local token = crypto.randomBytes(16)
    local fence, err = take_in_time(client, key, token, o)
    if not fence then
        -- Cancelled, or timed out, with the try under way: it may have been taken all the same.
        if err.code ~= 0 and err.name ~= "LOCKED" then
            core.spawn(function() client:script(RELEASE):run({ key }, { token }) end)
        end
        return nil, err
    end
    return setmetatable({ _client = client, key = key, _token = token, fence = fence }, Lock)
end

local function carry_out(self, script, ...)
    local done, err = self._client:script(script):run({ self.key }, { self._token, ... })
    if not done then return nil, err end
    if done == 0 then return nil, new_error(NOT_FOUND, "redis lock") end
    return true
end

--- Gives the lock back.
---
--- @return true
--- @return nil, err  NOT_FOUND  it was given back already, or its time was up: what was done
---                              since then was done without it
---                   others     as of commands
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local lock = client:lock("example")
--- if lock then assert(lock:release()) end
--- client:close()
function methods:release()
    return carry_out(self, RELEASE)
end

--- Gives it more time.
---
--- @param ms  integer  milliseconds from now, 1 or more. Default: 10000
--- @return true
--- @return nil, err    NOT_FOUND  it is this one's no more
---                     others     as of commands
--- @raise              `ms` is no such integer
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local lock = client:lock("example")
--- if lock then
---     assert(lock:extend(30000))
---     lock:release()
--- end
--- client:close()
function methods:extend(ms)
    ms = ms == nil and OPTIONS.ttl.default or ms
    check.integer("lock:extend([ms])", "ms", ms, 1, 2 ^ 40)
    return carry_out(self, EXTEND, ms)
end

return { take = take }
