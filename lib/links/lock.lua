--- Locks between the processes of a program: of all that wait for a key, one goes on.
---
--- A lock is free again when it is released, when its time is up, and when the process that holds
--- it has ended, however it ended. Who waits is woken when that happens, in the order of coming.
local check = require "links.check"
local errors = require "links.errors"
local own = require "links.shared.own"
local turns = require "links.shared.turns"

local new_error = errors.new

local lock = {}

local LOCKED, NOT_FOUND = errors.code("LOCKED"), errors.code("NOT_FOUND")
local TOO_LARGE = errors.code("TOO_LARGE")
local MAX_KEY = 1024

local OPTIONS = {
    ttl = { default = 30000, type = "number" },
    wait = { default = 5000, type = "timeout" },
    dict = { type = "table" },
}

local Lock = {}
Lock.__index = Lock
Lock.__name = "lock"

local function take(dict, key, token, ttl)
    local ok, err = dict:add("l:" .. key, token, ttl)
    if ok then return true end
    if err.name ~= "EXISTS" then return nil, err end
    local holder = dict:get("l:" .. key)
    if not holder then return dict:add("l:" .. key, token, ttl) and true or false end
    -- Of an owner that is no more.
    if not own.is_alive(holder:match("^[^/]*")) then
        return dict:cas("l:" .. key, holder, nil) == true
            and dict:add("l:" .. key, token, ttl) and true or false
    end
    return false
end

--- Takes the lock of a key, waiting until it is free.
---
--- @param key      string  1 to 1024 bytes
--- @param options  table   ttl   30000  ms until it is free again by itself: longer than the work
---                                      takes, even on a bad day (see lock:extend)
---                         wait  5000   ms to wait at most; 0: not at all
---                         dict  nil    the dictionary to keep it in, which must not evict.
---                                      Default: one of the program's own
--- @return lock
--- @return nil, err        LOCKED     it was not free within `wait`
---                         TOO_LARGE  the key is too long
---                         FULL       too many locks are held
---                         ETIMEDOUT  the deadline around it
---                         ECANCELED  this task was cancelled
--- @raise                  an argument of another type; an unknown option
--- @wait
--- @usage local lock = require "lock"
--- local l = assert(lock.acquire("example", { ttl = 5000 }))
--- local _, err = lock.acquire("example", { wait = 0 })
--- assert(err.name == "LOCKED")
--- assert(l:release())
function lock.acquire(key, options)
    local signature = "lock.acquire(key[, options])"
    check.type(signature, "key", key, "string")
    local o = check.options(signature, options, OPTIONS)
    if not (o.ttl > 0 and o.ttl < 2 ^ 40) then
        error(signature .. " options.ttl must be [number] of milliseconds, more than 0", 2)
    end
    if #key > MAX_KEY or key == "" then return nil, new_error(TOO_LARGE, "lock") end
    local dict, problem = o.dict, nil
    if not dict then dict, problem = own.open("lock", 2 ^ 20, { evict = "none" }) end
    if not dict then return nil, problem end
    local token, no_token = own.token()
    if not token then return nil, no_token end
    local taken, err = take(dict, key, token, o.ttl)
    if taken == false and o.wait > 0 then
        taken, err = turns.wait(dict, key, token, o.wait,
            function() return take(dict, key, token, o.ttl) end, "lock",
            function() return dict:ttl("l:" .. key) or 1 end)
    end
    if taken then return setmetatable({ dict = dict, key = key, token = token }, Lock) end
    return nil, err or new_error(LOCKED, "lock")
end

--- Gives the lock back.
---
--- @return true
--- @return nil, err  NOT_FOUND  it was given back already, or its time was up: what was done
---                              since then was done without it
--- @usage local l = assert(require("lock").acquire("example-release"))
--- assert(l:release())
--- assert(not l:release())
function Lock:release()
    local released = self.dict:cas("l:" .. self.key, self.token, nil)
    if not released then return nil, new_error(NOT_FOUND, "release") end
    turns.wake(self.dict, self.key)
    return true
end

--- Gives it more time.
---
--- @param ms  number  milliseconds from now. Default: 30000
--- @return true
--- @return nil, err   NOT_FOUND  it is this one's no more
--- @raise             `ms` is no such number
--- @usage local l = assert(require("lock").acquire("example-extend", { ttl = 100 }))
--- assert(l:extend(5000))
--- l:release()
function Lock:extend(ms)
    ms = ms or OPTIONS.ttl.default
    if not (type(ms) == "number" and ms > 0 and ms < 2 ^ 40) then
        error("lock:extend([ms]) ms must be [number] of milliseconds, more than 0", 2)
    end
    if self.dict:cas("l:" .. self.key, self.token, self.token, ms) then return true end
    return nil, new_error(NOT_FOUND, "extend")
end

local function released(held, ok, ...)
    held:release()
    if not ok then error((...), 0) end
    return ...
end

--- Runs a function that holds the lock, and gives it back however that ends.
---
--- @param key      string    as of lock.acquire
--- @param fn       function  what to run
--- @param options  table     as of lock.acquire
--- @return any               what `fn` returns
--- @return nil, err          as lock.acquire
--- @raise                    what `fn` raises; an argument of another type
--- @wait
--- @usage assert(require("lock").with("example-with", function() return 5 end) == 5)
function lock.with(key, fn, options)
    check.type("lock.with(key, fn[, options])", "fn", fn, "function")
    local held, err = lock.acquire(key, options)
    if not held then return nil, err end
    return released(held, pcall(fn))
end

return lock
