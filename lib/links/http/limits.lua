--- Middleware that keeps requests within limits: how many in a time, and how many at once, for all
--- clients or for each; in all workers of a cluster together.
local check = require "links.check"

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
    maxKeys = { type = "integer", min = 1, max = 10000000 },
    name = { type = "string" },
}

-- Bytes of a dictionary for a client that is remembered.
local KEY_SIZE, DICT_SIZE = 160, 65536

local made = 0

-- The name of a limit that has been given none. The workers of a cluster run the same program, so
-- the third limit is the third one in all of them; other processes are alone with theirs.
local function own_name()
    local process = require "links.process"
    local whose, err = process.ppid, nil
    if not process.workerId then whose, err = require("links.shared.own").id() end
    if not whose then return nil, err end
    made = made + 1
    return ("http%d@%s"):format(made, whose)
end

local function new_rate(options)
    local name, dict, fault = options.name, nil, nil
    if not name then name, fault = own_name() end
    if options.maxKeys and not fault then
        dict, fault = require("links.shared.own").open("limit." .. options.maxKeys,
            DICT_SIZE + options.maxKeys * KEY_SIZE)
    end
    if fault then return nil, fault end
    local rate, err = require("links.limit").rate(name, {
        rate = options.rate, per = options.per, burst = options.burst or options.rate, dict = dict,
    })
    return rate, err
end

local function new_gate(max, name)
    local fault
    if not name then name, fault = own_name() end
    if not name then return nil, fault end
    return require("links.limit").concurrency(name, max)
end

local function check_name(signature, name)
    if name and (name == "" or #name > 64) then
        error(signature .. " options.name must have 1 to 64 bytes", 3)
    end
end

--- Lets a client make so many requests in a time; beyond that they are answered 429 with
--- Retry-After. They flow evenly (GCRA): who has been idle may send `burst` at once, and then one
--- every `per` / `rate` ms. The workers of a cluster count together, and what they have counted
--- outlives a reload; in other processes each counts for itself, unless the limit has a name.
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
---                        maxKeys  nil     clients that are remembered by the limits with this
---                                         number, for which they take 160 bytes each; beyond,
---                                         those are forgotten that have not come for longest. nil:
---                                         all limits of the program together remember 30,000
---                        name     nil     counts for all processes of the program together, and
---                                         for all limits of that name, as limit.rate does
--- @return function       middleware; made twice it counts twice, unless it has a name; used on
---                        several routes it counts them together
--- @return nil, err       what limit.rate says, where there is no shared memory to be had
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
    check_name(LIMIT, options.name)
    local by, headers = options.by, options.headers
    local rate, fault = new_rate(options)
    if not rate then return nil, fault end
    local limit_text = ("%d"):format(options.burst or options.rate)

    return function(req, res, next)
        local ok, state = rate:check(tostring(key_of(by, req)))
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
    name = { type = "string" },
}

--- Lets so many requests be at work at once, in all workers of a cluster together; in other
--- processes each counts for itself, unless it has a name. Others wait, where there is room for
--- them, or are answered 503 with Retry-After. What a worker had let in leaves with it, however it
--- ends.
---
--- @param max      integer  requests at once
--- @param options  table    by       nil   function(req): whose limit it is, such as the user's;
---                                         nil: one for all
---                          queue    0     requests that may wait, in each process
---                          wait     5000  ms that they do at most
---                          onLimit  503   the status; or a function(req, res, {retryAfter = ms})
---                                         that answers
---                          name     nil   counts for all processes of the program together, and
---                                         for all limits of that name, as limit.concurrency does
--- @return function         middleware; used on several routes it counts them together
--- @return nil, err         what limit.concurrency says, where there is no shared memory to be had
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
    check_name(CONCURRENCY, options.name)
    local by, waiting = options.by, {}
    local gate, fault = new_gate(max, options.name)
    if not gate then return nil, fault end

    local function enter(key)
        local entered, err = gate:enter(key)
        local others = waiting[key] or 0
        if entered or err.name ~= "FULL" or others >= options.queue then return entered, err end
        waiting[key] = others + 1
        entered, err = gate:enter(key, options.wait)
        others = waiting[key] - 1
        waiting[key] = others > 0 and others or nil
        return entered, err
    end

    local function finish(key, ok, ...)
        gate:leave(key)
        if not ok then error(..., 0) end
        return ...
    end

    return function(req, res, next)
        local key = tostring(by and key_of(by, req) or "")
        local entered, err = enter(key)
        if entered then return finish(key, pcall(next)) end
        if err.name ~= "FULL" then return nil, err end
        return answer(options.onLimit, req, res, { retryAfter = options.wait })
    end
end

return limits
