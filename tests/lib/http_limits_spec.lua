local http = require "http"
local limit = require "limit"
local sync = require "sync"
local task = require "task"
local timer = require "timer"

-- An application whose GET / has this middleware; handler may be nil.
local function with(middleware, handler)
    local app = http.router()
    app:get("/", middleware, handler or function() return "in" end)
    return app
end

local function call(app, who)
    return app:call("GET", "/", { headers = { ["x-who"] = who } })
end

local function who(req) return req.headers["x-who"] end

describe("http.limit", function()
    it("lets a burst through, and says when there is more", function()
        local app = with(http.limit { rate = 2, per = 120000, burst = 3, by = who })
        for remaining = 2, 0, -1 do
            local status, headers = call(app, "a")
            assert.same({ 200, "3", tostring(remaining) },
                { status, headers["ratelimit-limit"], headers["ratelimit-remaining"] })
        end
        local status, headers = call(app, "a")
        assert.same({ 429, "60", "0" }, { status, headers["retry-after"],
            headers["ratelimit-remaining"] })
        assert.equal(200, (call(app, "b")))
    end)

    it("lets one more in after its time", function()
        local app = with(http.limit { rate = 1, per = 50, by = who })
        assert.equal(200, (call(app, "a")))
        local began = timer.now()
        while call(app, "a") == 429 do timer.sleep(1) end
        assert.is_true(timer.now() - began >= 45)
    end)

    it("gives no more over a time than its rate, however the requests come", function()
        local app = with(http.limit { rate = 20, per = 200, burst = 1, headers = false })
        local began, let_in = timer.now(), 0
        while timer.now() - began < 200 or let_in < 5 do
            local status, headers = call(app)
            if status == 200 then let_in = let_in + 1 end
            assert.is_nil(headers["ratelimit-limit"])
            assert(timer.now() - began < 20000, "not 5 in 20 seconds")
            timer.sleep(1)
        end
        local most = (timer.now() - began) / 10 + 1
        assert.is_true(let_in <= most, "let in " .. let_in .. " of " .. most)
    end)

    it("may count all together, per route, and answer in its own way", function()
        local app = http.router()
        local limited = http.limit {
            rate = 1, per = 60000, by = function() end,
            onLimit = function(_, res, about)
                res.status = 420
                return { later = about.retryAfter > 50000 }
            end,
        }
        app:get("/a", limited, function() return "a" end)
        app:get("/b", limited, function() return "b" end)
        app:get("/free", function() return "free" end)
        assert.equal(200, (app:call("GET", "/a")))
        local status, _, body = app:call("GET", "/b")
        assert.same({ 420, '{"later":true}' }, { status, body })
        assert.equal(200, (app:call("GET", "/free")))
    end)

    it("forgets those who have not come for longest", function()
        local app = with(http.limit { rate = 1, per = 60000, by = who, maxKeys = 4 })
        assert.equal(200, (call(app, "first")))
        assert.equal(429, (call(app, "first")))
        for i = 1, 2000 do assert.equal(200, (call(app, "other" .. i))) end
        assert.equal(200, (call(app, "first")))
        assert.equal(429, (call(app, "other2000")))
    end)

    it("counts for itself, each of them, where it has no name", function()
        local options = { rate = 1, per = 60000, by = who }
        local one, other = with(http.limit(options)), with(http.limit(options))
        assert.equal(200, (call(one, "a")))
        assert.equal(200, (call(other, "a")))
        assert.equal(429, (call(one, "a")))
    end)

    it("counts in the dictionary that processes share where it has a name", function()
        local name = "spec " .. timer.now()
        local options = { rate = 2, per = 60000, name = name, by = who }
        local one, other = with(assert(http.limit(options))), with(assert(http.limit(options)))
        local function ask(app)
            local status, headers = call(app, "a")
            return { status, headers["ratelimit-remaining"], headers["retry-after"] }
        end
        assert.same({ 200, "1" }, ask(one))
        assert.same({ 200, "0" }, ask(other))
        assert.same({ 429, "0", "30" }, ask(other))
        assert.same({ 429, "0", "30" }, ask(one))
        assert.equal(200, (call(one, "b")))
        local same = assert(limit.rate(name, { rate = 2, per = 60000, burst = 2 }))
        assert.is_false((same:check "a"))
    end)

    it("raises for options that are wrong, at the caller's line", function()
        for _, options in ipairs { {}, { rate = 0 }, { rate = 1, name = "" },
            { rate = 1, onLimit = 200 }, { rate = 1, rates = 2 }, { rate = 1.5 } } do
            local ok, err = pcall(http.limit, options)
            assert.is_false(ok)
            assert.truthy(err:find("http.limit(options)", 1, true), err)
        end
        assert.has_error(function() http.limit() end)
    end)
end)

describe("http.concurrency", function()
    -- Calls the application in so many tasks, and gives the statuses in the order they ended.
    local function calls(app, n, name)
        local statuses = {}
        local tasks = {}
        for i = 1, n do
            tasks[i] = task.spawn(function() table.insert(statuses, (call(app, name))) end)
        end
        return statuses, tasks
    end

    it("lets so many in at once, and others when they leave", function()
        local gate, inside, most = sync.event(), 0, 0
        local app = with(http.concurrency(2, { queue = 2 }), function()
            inside = inside + 1
            most = math.max(most, inside)
            gate:wait()
            inside = inside - 1
            return "in"
        end)
        local statuses, tasks = calls(app, 6)
        timer.sleep(5)
        assert.same({ 503, 503 }, statuses)
        gate:set()
        for _, t in ipairs(tasks) do t:join() end
        assert.same({ 503, 503, 200, 200, 200, 200 }, statuses)
        assert.equal(2, most)
        assert.equal(200, (call(app)))
    end)

    it("does not let them wait for longer than they may", function()
        local gate = sync.event()
        local app = with(http.concurrency(1, { queue = 5, wait = 10, onLimit = 429 }),
            function() gate:wait() return "in" end)
        local statuses, tasks = calls(app, 3)
        timer.sleep(50)
        assert.same({ 429, 429 }, statuses)
        gate:set()
        for _, t in ipairs(tasks) do t:join() end
        assert.equal(200, statuses[3])
    end)

    it("counts each for itself, and lets go where a handler raises or is cancelled", function()
        local fail = true
        local app = with(http.concurrency(1, { by = who }), function()
            if fail then error("bad") end
            assert(timer.sleep(10000))
        end)
        for _ = 1, 3 do
            local ok, err = pcall(call, app, "a")
            assert.is_false(ok)
            assert.truthy(tostring(err):find("bad", 1, true))
        end
        fail = false
        local t = task.spawn(call, app, "a")
        timer.sleep(1)
        assert.equal(503, (call(app, "a")))
        local other = task.spawn(call, app, "b")
        timer.sleep(1)
        assert.equal("waiting", other.status)
        for _, one in ipairs { t, other } do
            one:cancel()
            one:join()
        end
        fail = true
        assert.is_false((pcall(call, app, "a")))
    end)
end)
