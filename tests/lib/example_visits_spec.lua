package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local json = require "json"
local process = require "process"
local servers = require "redis_server"
local sockets = require "sockets"

local run = servers.there and describe or pending

run("examples/visits.lua", function()
    local redis, app, client

    setup(function()
        redis = servers.start()
        process.env.REDIS = "unix://" .. redis.path
        rawset(_G, "TESTING", true)
        app, client = dofile("examples/visits.lua")
        rawset(_G, "TESTING", nil)
        process.env.REDIS = nil
    end)

    teardown(function()
        client:close()
        redis.stop()
    end)

    after_each(sockets.close_all)

    local function get(path)
        local status, _, body = app:call("GET", path)
        return { status, body }
    end

    it("counts visits, of a hundred a minute", function()
        for _ = 1, 3 do get("/page/home") end
        local status, _, body = app:call("GET", "/page/news")
        assert.equal(200, status)
        assert.same({ page = "news", visits = 1 }, json.decode(body))
        assert.same({ 200, '["home","news"]' }, get("/top"))
        for _ = 5, 100 do assert.equal(200, get("/page/home")[1]) end
        assert.equal(429, get("/page/home")[1])
        client:flushall()
    end)

    it("shows them to who watches", function()
        local server = sockets.keep(assert(http.createServer(0, app, { host = "127.0.0.1" })))
        local url = "http://127.0.0.1:" .. server:address().port
        local res = assert(http.get(url .. "/live", { stream = true }))
        assert.equal(200, assert(http.get(url .. "/page/home")).status)
        for line in res:lines() do
            if line ~= "" then
                assert.equal('data: {"page":"home"}', line)
                break
            end
        end
        res:close()
        -- The server learns that nobody watches any more when it writes.
        sockets.eventually(function() return client:publish("visits:live", "{}") == 0 end)
    end)
end)
