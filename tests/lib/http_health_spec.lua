package.path = "tests/support/?.lua;" .. package.path
local http = require "http"
local task = require "task"
local timer = require "timer"
local report = require "links.report"
local program = require "tools"

local eventually = program.eventually

local function app_of(options)
    local app = http.router()
    app:use(http.health(options))
    app:get("/", function() return "hello" end)
    app:post("/readyz", function() return "posted" end)
    return app
end

local said, write

before_each(function()
    said, write = {}, report.write
    report.write = function(_, text) said[#said + 1] = text end
end)

after_each(function() report.write = write end)

describe("http.health", function()
    it("answers two paths, for GET and HEAD, and lets everything else go on", function()
        local app = app_of()
        for _, path in ipairs { "/healthz", "/readyz" } do
            local status, headers, body = app:call("GET", path)
            assert.equal(200, status)
            assert.equal('{"status":"ok"}\n', body)
            assert.equal("application/json", headers["content-type"])
            assert.equal("no-store", headers["cache-control"])
            assert.equal(200, (app:call("HEAD", path)))
        end
        assert.equal("hello", (select(3, app:call("GET", "/"))))
        assert.equal("posted", (select(3, app:call("POST", "/readyz"))))
        assert.equal(404, (app:call("GET", "/healthz/x")))
    end)

    it("has other paths where one wants them", function()
        local app = app_of { live = "/live", ready = "/ready" }
        assert.equal(200, (app:call("GET", "/live")))
        assert.equal(200, (app:call("GET", "/ready")))
        assert.equal(404, (app:call("GET", "/healthz")))
    end)

    it("is 503 where a check fails, in any way, and says which", function()
        local app = app_of { maxAge = 0, checks = {
            well = function() return "fine" end,
            none = function() end,
            no = function() return false end,
            failed = function() return nil, "no connection" end,
            raised = function() error("bug") end,
        } }
        local status, _, body = app:call("GET", "/readyz")
        assert.equal(503, status)
        assert.equal('{"checks":{"failed":"failed","no":"failed","none":"failed",'
            .. '"raised":"failed","well":"ok"},"status":"failed"}\n', body)
        assert.equal(200, (app:call("GET", "/healthz")))
        table.sort(said)
        assert.equal(4, #said)
        assert.matches("^http.health: the check failed has failed: no connection", said[1])
        assert.matches("^http.health: the check none has failed: it returned nothing", said[3])
        app:call("GET", "/readyz")
        assert.equal(4, #said)
    end)

    it("says when a check is well again", function()
        local well = false
        local app = app_of { maxAge = 0, checks = { db = function() return well end } }
        assert.equal(503, (app:call("GET", "/readyz")))
        well = true
        assert.equal(200, (app:call("GET", "/readyz")))
        assert.equal("http.health: the check db is well again", said[2])
        assert.equal(2, #said)
    end)

    it("cancels a check that takes too long, even one that will not hear of it", function()
        local cancelled
        local app = app_of { timeout = 20, maxAge = 0, checks = {
            slow = function()
                local ok, err = timer.sleep(60000)
                cancelled = err.name
                return ok, err
            end,
            stubborn = function()
                task.shield(timer.sleep, 200)
                return true
            end,
            well = function() return true end,
        } }
        local status, _, body = app:call("GET", "/readyz")
        assert.equal(503, status)
        assert.equal('{"checks":{"slow":"timeout","stubborn":"timeout","well":"ok"},'
            .. '"status":"failed"}\n', body)
        eventually("the end of the slow one", function() return cancelled end)
        assert.is_true(cancelled == "ETIMEDOUT" or cancelled == "ECANCELED")
    end)

    it("runs the checks once for all who ask meanwhile, and for a while after", function()
        local n, go = 0, false
        local app = app_of { maxAge = 60000, checks = { db = function()
            n = n + 1
            while not go do timer.sleep(1) end
            return true
        end } }
        local tasks = {}
        for i = 1, 5 do
            tasks[i] = task.spawn(function() return (app:call("GET", "/readyz")) end)
        end
        timer.sleep(1)
        go = true
        for i = 1, 5 do assert.equal(200, select(2, tasks[i]:join())) end
        assert.equal(200, (app:call("GET", "/readyz")))
        assert.equal(1, n)
    end)

    it("does not end the round with one who asks and leaves", function()
        local go = false
        local app = app_of { maxAge = 60000, checks = { db = function()
            while not go do timer.sleep(1) end
            return true
        end } }
        local first = task.spawn(function() return (app:call("GET", "/readyz")) end)
        local second = task.spawn(function() return (app:call("GET", "/readyz")) end)
        timer.sleep(1)
        first:cancel()
        first:join()
        go = true
        assert.equal(200, select(2, second:join()))
    end)

    it("wants checks that are functions, and paths", function()
        for options, message in pairs {
            [{ checks = { db = 1 } }] = "options.checks.db must be %[function%]",
            [{ checks = { function() end } }] = "the name of a check must be %[string%]",
            [{ live = "x" }] = 'options.live must begin with "/", not "x"',
            [{ timeout = 0 }] = "options.timeout must be %[integer%]",
            [{ maxAge = -1 }] = "options.maxAge must be %[integer%]",
            [{ check = {} }] = 'did you mean "checks"',
        } do
            local ok, text = pcall(function() local m = http.health(options) return m end)
            assert.is_false(ok)
            assert.matches(message, text)
            assert.matches("http_health_spec", text)
        end
    end)
end)
