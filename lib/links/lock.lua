--- Locks between the processes of a program: of all that wait for a key, one goes on.
---
--- A lock is free again when it is released, when its time is up, and when the process that holds
--- it has ended, however it ended. Who waits is woken when that happens, in the order of coming.
local check = require "links.check"
local errors = require "links.errors"
local timer = require "links.timer"
local bell = require "links.shared.bell"
local own = require "links.shared.own"

local new_error = errors.new

local lock = {}

local LOCKED, NOT_FOUND = errors.code("LOCKED"), errors.code("NOT_FOUND")
local TOO_LARGE, ETIMEDOUT = errors.code("TOO_LARGE"), -errors.code("ETIMEDOUT")
local MAX_KEY = 1024
-- A waiter looks by himself so often: for an owner that has died, or a datagram that was lost.
local LOOK_MS = 100
-- So many wait for a key in order. Further ones only look: those who have given up stay in the
-- queue until it is their turn, and must not fill the memory of all locks.
local QUEUE_MAX = 256

local OPTIONS = {
    ttl = { default = 30000, type = "number" },
    wait = { default = 5000, type = "timeout" },
    dict = { type = "table" },
}

local Lock = {}
Lock.__index = Lock
Lock.__name = "lock"

local serial = 0

local function new_token()
    local id, err = own.id()
    if not id then return nil, err end
    serial = serial + 1
    return id .. "/" .. serial
end

-- Wakes who has waited longest.
local function wake_next(dict, key)
    local entry = dict:pop("w:" .. key)
    if type(entry) ~= "string" then return end
    local port, token = entry:match("^(%d+):(.*)$")
    if port then bell.ring(tonumber(port), token, dict.name .. "\n" .. key) end
end

-- By name: what wakes a process tells only this.
local dicts = setmetatable({}, { __mode = "v" })

bell.onUnclaimed(function(_, rest)
    local name, key = rest:match("^([^\n]*)\n(.*)$")
    -- Who was woken has gone meanwhile: it is the next one's turn.
    if name and dicts[name] then wake_next(dicts[name], key) end
end)

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

-- Waits in the queue of the key until it is this one's turn: true, or nil and an error.
local function wait_for(dict, key, token, o)
    local give_up = timer.now() + o.wait
    local port, err = bell.enter(token)
    if not port then return nil, err end
    local entry, side, taken = port .. ":" .. token, "right", nil
    local status = 0
    while true do
        -- Whoever wakes this one has taken it out of the queue.
        if status == 0 and dict:len("w:" .. key) < QUEUE_MAX then
            local queued, problem = dict:push("w:" .. key, entry, side)
            if not queued then
                err = problem
                break
            end
            side = "left"
        end
        -- It may have been released just before this one was in the queue.
        taken, err = take(dict, key, token, o.ttl)
        if taken or err then break end
        local left = give_up - timer.now()
        if left <= 0 then
            taken, err = nil, new_error(LOCKED, "lock")
            break
        end
        status = bell.wait(token, math.min(left, LOOK_MS, dict:ttl("l:" .. key) or 1))
        if status ~= 0 and status ~= ETIMEDOUT then
            taken, err = nil, new_error(status, "lock")
            break
        end
        bell.again(token)
    end
    bell.leave(token)
    return taken, err
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
    dicts[dict.name] = dict
    local token, no_token = new_token()
    if not token then return nil, no_token end
    local taken, err = take(dict, key, token, o.ttl)
    if not taken and not err and o.wait > 0 then taken, err = wait_for(dict, key, token, o) end
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
    wake_next(self.dict, self.key)
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
