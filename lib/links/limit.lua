--- Limits that all processes of a program share: how often, and how many at a time.
---
--- Where something is counted is a shared dictionary (see the page of shared): one of the program's
--- own, by the path of its script, unless another is given. It forgets what was not used for
--- longest when it is full, so a flood of different keys makes a limit forgetful and never the
--- program slow.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local own = require "links.shared.own"
local turns = require "links.shared.turns"

local C = ffi.C
local new_error = errors.new

local limit = {}

local FULL = errors.code("FULL")
local MAX_KEY = 65000

local Rate = {}
Rate.__index = Rate
Rate.__name = "rate limit"

local RATE_OPTIONS = {
    rate = { default = 10, type = "number" },
    per = { default = 1000, type = "number" },
    burst = { type = "number" },
    algorithm = { default = "gcra", type = "string" },
    dict = { type = "table" },
}

local function check_name(signature, name)
    check.type(signature, "name", name, "string", 2)
    if name == "" or #name > 64 then
        error(signature .. " name must have 1 to 64 bytes", 3)
    end
end

local function positive(signature, name, value)
    if not (value > 0 and value < 2 ^ 53) then
        error(signature .. " options." .. name .. " must be more than 0", 3)
    end
end

--- A limit of how often something may be done.
---
--- "gcra", the generic cell rate algorithm, spreads what is allowed evenly: one every per / rate
--- ms, and up to `burst` at once after a time of rest. "window" allows `rate` within any `per` ms,
--- by the counts of this window and, in part, of the last one.
---
--- @param name     string   of the limit: limits of one name share their counts
--- @param options  table    rate       10      so many
---                          per        1000    in so many ms
---                          burst      20      so many at once ("gcra" only)
---                          algorithm  "gcra"  or "window"
---                          dict       nil     the dictionary to count in
--- @return limit
--- @return nil, err         what shared.open says, where no dictionary is given
--- @raise                   an argument of another type or not above 0; an unknown option
--- @usage local limit = require "limit"
--- local logins = assert(limit.rate("example-login", { rate = 5, per = 60000, burst = 2 }))
--- assert(logins:check("192.0.2.1"))
--- assert(logins:check("192.0.2.1"))
--- local ok, state = logins:check("192.0.2.1")
--- assert(not ok and state.retryAfter > 10000)
function limit.rate(name, options)
    local signature = "limit.rate(name[, options])"
    check_name(signature, name)
    local o = check.options(signature, options, RATE_OPTIONS)
    if o.algorithm ~= "gcra" and o.algorithm ~= "window" then
        error(signature .. ' options.algorithm must be "gcra" or "window", not "'
            .. o.algorithm .. '"', 2)
    end
    if o.algorithm == "window" and o.burst then
        error(signature .. ' options.burst has no meaning with "window"', 2)
    end
    o.burst = o.burst or 20
    for _, key in ipairs { "rate", "per", "burst" } do positive(signature, key, o[key]) end
    local dict, err = o.dict, nil
    if not dict then dict, err = own.open("limit", 2 ^ 22) end
    if not dict then return nil, err end
    return setmetatable({
        dict = dict, prefix = "r:" .. name .. ":", rate = o.rate, per = o.per, burst = o.burst,
        windowed = o.algorithm == "window", interval = o.per / o.rate,
    }, Rate)
end

local function check_window(self, key, cost)
    local dict, per = self.dict, self.per
    local now = own.clock()
    local number = math.floor(now / per)
    local passed = now - number * per
    local this, last = key .. ":" .. number, key .. ":" .. number - 1
    local before = dict:get(last) or 0
    local weight = (per - passed) / per
    local counted, err = dict:incr(this, cost, 0, per * 2)
    if not counted then return nil, err end
    local used = counted + before * weight
    if used <= self.rate then
        return true, { remaining = math.floor(self.rate - used), retryAfter = 0,
            reset = per - passed }
    end
    dict:incr(this, -cost)
    if cost > self.rate then
        return false, { remaining = 0, retryAfter = math.huge, reset = per - passed }
    end
    -- When enough of the last window will have passed; or of this one, once it is the last.
    local over = used - self.rate
    local wait = before > 0 and over / before * per or math.huge
    if wait > per - passed then
        local kept = counted - cost
        wait = per - passed
        if kept + cost > self.rate and kept > 0 then
            wait = wait + math.min((kept + cost - self.rate) / kept, 1) * per
        end
    end
    return false, { remaining = 0, retryAfter = wait, reset = per - passed }
end

--- Takes from what a key may use, if enough is left.
---
--- @param key   string  whose: an address, a user
--- @param cost  number  how much; 0 takes nothing and tells. Default: 1
--- @return boolean, table  whether it may go on; and {remaining =, retryAfter =, reset =}: how
---                      many are left, after how many ms another try can succeed (math.huge where
---                      it costs more than there ever is), and after how many all is there again
--- @return nil, err     TOO_LARGE  the key is longer than 65000 bytes; or FULL
--- @raise               an argument of another type
--- @usage local limit = require("limit").rate("example-check", { rate = 10, burst = 20 })
--- local ok, state = limit:check("somebody")
--- assert(ok and state.remaining == 19)
function Rate:check(key, cost)
    if type(key) ~= "string" then check.type("limit:check(key[, cost])", "key", key, "string") end
    cost = cost or 1
    if not (type(cost) == "number" and cost >= 0) then
        error("limit:check(key[, cost]) cost must be [number], 0 or more", 2)
    end
    if #key > MAX_KEY then return nil, new_error(errors.code("TOO_LARGE"), "check") end
    key = self.prefix .. key
    if self.windowed then return check_window(self, key, cost) end
    local handle = self.dict.handle
    local rc = C.links_dict_rate(handle, key, #key, self.interval, self.burst, cost)
    if rc < 0 then return nil, new_error(rc, "check") end
    return rc == 1, {
        remaining = handle.number, reset = handle.version,
        retryAfter = cost <= self.burst and handle.ttl or math.huge,
    }
end

local Concurrency = {}
Concurrency.__index = Concurrency
Concurrency.__name = "concurrency limit"

--- A limit of how many do something at the same time, in all processes together. What a process had
--- entered leaves when the process ends, however it ends.
---
--- @param name     string   of the limit
--- @param max      integer  how many of one key
--- @param options  table    dict  nil  the dictionary to count in
--- @return limit
--- @return nil, err         what shared.open says, where no dictionary is given
--- @raise                   an argument of another type; an unknown option
--- @usage local reports = assert(require("limit").concurrency("example-reports", 1))
--- assert(reports:enter("user 1"))
--- local entered, err = reports:enter("user 1")
--- assert(not entered and err.name == "FULL")
--- reports:leave("user 1")
function limit.concurrency(name, max, options)
    local signature = "limit.concurrency(name, max[, options])"
    check_name(signature, name)
    check.integer(signature, "max", max, 1, 2 ^ 31)
    local o = check.options(signature, options, { dict = { type = "table" } })
    local dict, err = o.dict, nil
    if not dict then dict, err = own.open("limit", 2 ^ 22) end
    if not dict then return nil, err end
    return setmetatable({ dict = dict, prefix = "c:" .. name .. ":", max = max }, Concurrency)
end

local function sum(counts)
    local total = 0
    for _, count in pairs(counts) do total = total + count end
    return total
end

-- True; false where the most are in; nil and an error.
local function try_to_enter(self, key)
    local me, entered = own.id(), false
    local counts, err = self.dict:update(self.prefix .. key, function(counts)
        counts = counts or {}
        entered = sum(counts) < self.max
        if not entered then
            -- Those of processes that have ended are free again.
            for id in pairs(counts) do
                if not own.is_alive(id) then counts[id] = nil end
            end
            entered = sum(counts) < self.max
        end
        if entered then counts[me] = (counts[me] or 0) + 1 end
        return counts
    end)
    if not counts then return nil, err end
    return entered
end

--- Enters, if fewer than the most are in, or as soon as one leaves.
---
--- @param key  string  whose
--- @param ms   number  how long to wait for that, in milliseconds, those of all processes in the
---                     order of coming. Default: 0, not at all
--- @return true         call leave with the same key, once
--- @return nil, err     FULL       the most are in
---                      TOO_LARGE  the key is longer than 65000 bytes
---                      ETIMEDOUT  the deadline around it
---                      ECANCELED  this task was cancelled
--- @raise               an argument of another type
--- @wait
--- @usage local limit = require("limit").concurrency("example-enter", 5)
--- assert(limit:enter("a"))
--- limit:leave("a")
function Concurrency:enter(key, ms)
    check.type("limit:enter(key[, ms])", "key", key, "string")
    check.timeout("limit:enter(key[, ms])", "ms", ms)
    if #key > MAX_KEY then return nil, new_error(errors.code("TOO_LARGE"), "enter") end
    local entered, err = try_to_enter(self, key)
    if entered == false and ms and ms > 0 then
        entered, err = turns.wait(self.dict, self.prefix .. key, own.token(), ms,
            function() return try_to_enter(self, key) end, "limit")
    end
    if entered == false then
        return nil, new_error(FULL, "enter", { message = self.max .. " are in" })
    end
    return entered, err
end

--- Leaves what was entered.
---
--- @param key  string  as of enter
--- @raise               the key is not a string
--- @usage local limit = require("limit").concurrency("example-leave", 5)
--- limit:leave("nobody is in")
function Concurrency:leave(key)
    check.type("limit:leave(key)", "key", key, "string")
    local me = own.id()
    self.dict:update(self.prefix .. key, function(counts)
        if not counts or not counts[me] then return counts end
        counts[me] = counts[me] > 1 and counts[me] - 1 or nil
        return next(counts) and counts or nil
    end)
    turns.wake(self.dict, self.prefix .. key)
end

return limit
