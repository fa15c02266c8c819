--- Health: what a load balancer asks before it sends anybody here.
---
--- `http.health` makes middleware that answers two paths. `/healthz` is 200 for as long as the
--- process runs: whoever gets no answer starts it anew. `/readyz` is 200 while it is to be given
--- requests, and 503 where one of the checks fails, and as soon as the process is told to end: by
--- SIGTERM, by a reload of its cluster, by process.quit. What is asked is still answered then.
local core = require "links.core"
local check = require "links.check"
local json = require "links.json"
local report = require "links.report"
local task = require "links.task"
local binding = require "links.process.ffi"

local C = binding.C

local health = {}

local HEALTH = "http.health([options])"
local INT_MAX = 2 ^ 31 - 1

local OPTIONS = {
    checks = { type = "table", default = {} },
    timeout = { type = "integer", min = 1, max = INT_MAX, default = 2000 },
    maxAge = { type = "integer", min = 0, max = INT_MAX, default = 1000 },
    live = { type = "string", default = "/healthz" },
    ready = { type = "string", default = "/readyz" },
}

-- --- The checks ---------------------------------------------------------------------------------

-- What a check says: "ok", "failed" or "timeout", and why.
local function outcome(began, ms, ok, value, err)
    if ok and value then return "ok" end
    local why = ok and err or value
    if type(why) == "table" and why.name == "ETIMEDOUT" and core.now() - began >= ms then
        return "timeout", "it took longer than " .. ms .. " ms"
    end
    if ok and value == nil and err == nil then return "failed", "it returned nothing" end
    return "failed", tostring(why)
end

-- The timeout holds for its waits only, and not for what it spawns or shields: so it has a task of
-- its own, which nobody waits for any longer than that.
local function run_one(fn, ms)
    local began = core.now()
    local t = task.spawn(function() return task.withTimeout(ms, fn) end)
    core.own(t)
    local ok, value, err = t:join(ms)
    if ok == nil then
        t:cancel("the check's time is up")
        return outcome(began, ms, false, value)
    end
    return outcome(began, ms, ok, value, err)
end

local function tell(self, name, how, why)
    if self.before[name] == how then return end
    if how ~= "ok" then
        report.write("warn", "http.health: the check " .. name .. " " .. (how == "failed"
            and "has failed" or "has timed out") .. ": " .. why)
    elseif self.before[name] then
        report.write("warn", "http.health: the check " .. name .. " is well again")
    end
    self.before[name] = how
end

local function run_all(self)
    local results, left = {}, #self.names
    for _, name in ipairs(self.names) do
        core.spawn(function()
            local how, why = run_one(self.checks[name], self.timeout)
            results[name] = how
            tell(self, name, how, why)
            left = left - 1
            if left == 0 then
                self.results, self.at, self.running = results, core.now(), false
                core.wakeAll(self.queue)
            end
        end)
    end
end

-- The outcomes, by name. There is one round at a time, which all who ask meanwhile wait for.
local function outcomes_of(self)
    if #self.names == 0 then return {} end
    if self.at and core.now() - self.at < self.maxAge then return self.results end
    if not self.running then
        self.running = true
        run_all(self)
    end
    while self.running do
        local status = core.park(self.queue, nil, "health checks")
        if status ~= 0 then return nil end
    end
    return self.results
end

-- --- The answers --------------------------------------------------------------------------------

local function answer(res, status, value)
    res:setHeader("Content-Type", "application/json")
    res:setHeader("Cache-Control", "no-store")
    return status, json.encode(value, { sortKeys = true }) .. "\n"
end

local function answer_ready(round, res)
    if C.links_ending_due() ~= 0 then return answer(res, 503, { status = "draining" }) end
    local results = outcomes_of(round)
    if not results then return answer(res, 503, { status = "failed" }) end
    if C.links_ending_due() ~= 0 then return answer(res, 503, { status = "draining" }) end
    local status = "ok"
    for _, how in pairs(results) do
        if how ~= "ok" then status = "failed" end
    end
    local about = { status = status, checks = next(results) and results or nil }
    return answer(res, status == "ok" and 200 or 503, about)
end

local function check_path(name, path)
    if path:sub(1, 1) ~= "/" then
        error(HEALTH .. " options." .. name .. ' must begin with "/", not "' .. path:sub(1, 40)
            .. '"', 3)
    end
end

--- Answers `/healthz` and `/readyz`, for GET and HEAD; everything else goes on.
---
--- The answer is JSON: `{"status":"ok"}`, where there are checks with the outcome of each:
--- `{"checks":{"db":"failed"},"status":"failed"}`; the status is "ok", "failed" or "draining", a
--- check's "ok", "failed" or "timeout". Why one has failed is in the log, when it begins to.
---
--- @param options  table  checks   {}          functions by name: one that returns something but
---                                             nil and false is well. They may wait, and run side
---                                             by side
---                        timeout  2000        ms that each has; it is cancelled then
---                        maxAge   1000        ms for which their outcome is good for others who
---                                             ask; those who ask meanwhile wait for the same
---                        live     "/healthz"  the path that says that the process runs
---                        ready    "/readyz"   the path that says that it is to be given requests
--- @return function       middleware, for router:use
--- @raise                 an option of another type or out of bounds, or one that nobody knows; a
---                        check that is no function
--- @usage local http = require "http"
--- local app = http.router()
--- app:use(http.health { checks = { disk = function() return true end } })
--- local status, _, body = app:call("GET", "/readyz")
--- assert(status == 200 and body == '{"checks":{"disk":"ok"},"status":"ok"}\n')
--- assert(app:call("GET", "/healthz") == 200)
function health.health(options)
    local o = check.options(HEALTH, options, OPTIONS)
    check_path("live", o.live)
    check_path("ready", o.ready)
    local names, checks = {}, {}
    for name, fn in pairs(o.checks) do
        check.type(HEALTH, "the name of a check", name, "string")
        check.type(HEALTH, "options.checks." .. name, fn, "function")
        names[#names + 1], checks[name] = name, fn
    end
    local round = {
        names = names, checks = checks, timeout = o.timeout, maxAge = o.maxAge,
        before = {}, queue = core.queue(),
    }
    local live, ready = o.live, o.ready
    return function(req, res, next_)
        local path = req.path
        if (path ~= live and path ~= ready) or (req.method ~= "GET" and req.method ~= "HEAD") then
            return next_()
        end
        if path == live then return answer(res, 200, { status = "ok" }) end
        return answer_ready(round, res)
    end
end

return health
