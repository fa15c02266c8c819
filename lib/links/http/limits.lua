--- Middleware that keeps requests within limits: how many in a time, and how many at once, for all
--- clients or for each. Each process counts for itself, but for what `name` of http.limit makes one
--- count of all workers of a cluster.
local check = require "links.check"
local core = require "links.core"
local sync = require "links.sync"

local limits = {}

local INT_MAX = 2 ^ 31 - 1

local function key_of(by, req)
    local key = by(req)
    return key ~= nil and key or ""
end

local function remote_address(req) return req.remoteAddress end

-- What answers where a limit is reached.
local function answer(on_limit, req, res, about)
    res:setHeader("Retry-After", ("%d"):format(math.max(1, math.ceil(about.retryAfter / 1000))))
    if type(on_limit) == "function" then return on_limit(req, res, about) end
    return on_limit
end

local function check_on_limit(signature, on_limit)
    if type(on_limit) == "number" then
        check.integer(signature, "options.onLimit", on_limit, 400, 599, 2)
    end
end

local LIMIT = "http.limit(options)"
local LIMIT_OPTIONS = {
    rate = { type = "integer", min = 1, max = INT_MAX },
    per = { default = 1000, type = "integer", min = 1, max = INT_MAX },
    burst = { type = "integer", min = 1, max = INT_MAX },
    by = { default = remote_address, type = "function" },
    onLimit = { default = 429, type = "number|function" },
    headers = { default = true, type = "boolean" },
    maxKeys = { default = 100000, type = "integer", min = 1, max = 10000000 },
    name = { type = "string" },
}

-- For each key, the time at which it would have used up what it was given (the theoretical arrival
-- time of GCRA): one number, whatever the rate. Keys that nobody asks for go out with the older of
-- two tables.
local function new_store(max_keys)
    local young, old, count = {}, {}, 0
    local store = {}
    function store.get(key) return young[key] or old[key] end
    function store.put(key, time)
        if young[key] == nil then
            if count >= max_keys / 2 then young, old, count = {}, young, 0 end
            count = count + 1
        end
        young[key] = time
    end
    return store
end

-- What takes one from a key, as limit:check does, for this process alone.
local function own_rate(options, burst)
    local interval = options.per / options.rate
    local window = interval * burst
    local store = new_store(options.maxKeys)
    return function(key)
        local now = core.now()
        local used_up = math.max(store.get(key) or now, now) + interval
        local over = used_up - now - window
        if over > 1e-6 then
            return false, { remaining = 0, retryAfter = over }
        end
        store.put(key, used_up)
        return true, {
            remaining = math.floor((window - used_up + now) / interval), retryAfter = 0,
            reset = used_up - now,
        }
    end
end

-- The same for all processes of the program.
local function shared_rate(options, burst)
    local rate, err = require("links.limit").rate(options.name,
        { rate = options.rate, per = options.per, burst = burst })
    if not rate then return nil, err end
    return function(key) return rate:check(tostring(key)) end
end

--- Lets a client make so many requests in a time; beyond that they are answered 429 with
--- Retry-After. They flow evenly (GCRA): who has been idle may send `burst` at once, and then one
--- every `per` / `rate` ms.
---
--- @param options  table  rate     needed  requests
---                        per      1000    in so many ms
---                        burst    rate    at once
---                        by       the address of the client  function(req): whose limit it is; a
---                                         string, the same for all to count them together; it may
---                                         wait
---                        onLimit  429     the status; or a function(req, res, {retryAfter = ms})
---                                         that answers
---                        headers  true    tell by RateLimit-Limit, -Remaining and -Reset (s)
---                        maxKeys  100000  clients that are remembered; beyond, those are forgotten
---                                         that have not come for longest
---                        name     nil     counts for all processes of the program together, and
---                                         for all limits of that name, as limit.rate does (which
---                                         has a limit of its own for what it remembers)
--- @return function       middleware; made twice it counts twice, unless it has a name; used on
---                        several routes it counts them together
--- @return nil, err       with a name: what limit.rate says
--- @raise                 an option of another type or out of bounds, or one that nobody knows
--- @usage local http = require "http"
--- local app = http.router()
--- app:post("/login", http.limit{ rate = 2, per = 60000 }, function() return "welcome" end)
--- assert(app:call("POST", "/login") == 200 and app:call("POST", "/login") == 200)
--- assert(app:call("POST", "/login") == 429)
function limits.limit(options)
    check.type(LIMIT, "options", options, "table")
    options = check.options(LIMIT, options, LIMIT_OPTIONS)
    check.integer(LIMIT, "options.rate", options.rate, 1, INT_MAX)
    check_on_limit(LIMIT, options.onLimit)
    local name = options.name
    if name and (name == "" or #name > 64) then
        error(LIMIT .. " options.name must have 1 to 64 bytes", 2)
    end
    local by, headers = options.by, options.headers
    local burst = options.burst or options.rate
    local take, fault = (name and shared_rate or own_rate)(options, burst)
    if not take then return nil, fault end
    local limit_text = ("%d"):format(burst)

    return function(req, res, next)
        local ok, state = take(key_of(by, req))
        if ok == nil then return nil, state end
        if headers then
            res:setHeader("RateLimit-Limit", limit_text)
            res:setHeader("RateLimit-Remaining", ("%d"):format(state.remaining))
            local reset = ok and state.reset or state.retryAfter
            res:setHeader("RateLimit-Reset", ("%d"):format(math.ceil(reset / 1000)))
        end
        if ok then return next() end
        return answer(options.onLimit, req, res, { retryAfter = state.retryAfter })
    end
end

local CONCURRENCY = "http.concurrency(max[, options])"
local CONCURRENCY_OPTIONS = {
    by = { type = "function" },
    queue = { default = 0, type = "integer", min = 0, max = INT_MAX },
    wait = { default = 5000, type = "integer", min = 1, max = INT_MAX },
    onLimit = { default = 503, type = "number|function" },
}

--- Lets so many requests be at work at once. Others wait in a queue, where there is room for them,
--- or are answered 503 with Retry-After.
---
--- @param max      integer  requests at once
--- @param options  table    by       nil   function(req): whose limit it is, such as the user's;
---                                         nil: one for all
---                          queue    0     requests that may wait
---                          wait     5000  ms that they do at most
---                          onLimit  503   the status; or a function(req, res, {retryAfter = ms})
---                                         that answers
--- @return function         middleware; used on several routes it counts them together
--- @raise                   an argument or an option of another type or out of bounds, or an option
---                          that nobody knows
--- @usage local http = require "http"
--- local app = http.router()
--- app:get("/report", http.concurrency(2, { queue = 10 }), function() return "done" end)
--- assert(app:call("GET", "/report") == 200)
function limits.concurrency(max, options)
    check.integer(CONCURRENCY, "max", max, 1, INT_MAX)
    options = check.options(CONCURRENCY, options, CONCURRENCY_OPTIONS)
    check_on_limit(CONCURRENCY, options.onLimit)
    local by = options.by
    local entries = {}

    local function leave(key, entry)
        entry.inside = entry.inside - 1
        if entry.inside == 0 then entries[key] = nil end
    end

    local function finish(key, entry, ok, ...)
        entry.gate:release()
        leave(key, entry)
        if not ok then error(..., 0) end
        return ...
    end

    return function(req, res, next)
        local key = by and key_of(by, req) or ""
        local entry = entries[key]
        if not entry then
            entry = { inside = 0, gate = sync.semaphore(max) }
            entries[key] = entry
        end
        if entry.inside >= max + options.queue then
            return answer(options.onLimit, req, res, { retryAfter = options.wait })
        end
        entry.inside = entry.inside + 1
        local ok, err = entry.gate:acquire(options.wait)
        if ok then return finish(key, entry, pcall(next)) end
        leave(key, entry)
        if err.name ~= "ETIMEDOUT" or err.deadline then return nil, err end
        return answer(options.onLimit, req, res, { retryAfter = options.wait })
    end
end

return limits
