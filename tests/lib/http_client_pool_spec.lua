package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local origin = require "origin"
local process = require "process"
local sockets = require "sockets"
local sync = require "sync"
local task = require "task"
local timer = require "timer"
local tools = require "tools"

local fails = tools.fails

describe("the connections of a client", function()
    local function new(options) return sockets.keep(assert(http.createClient(options))) end

    after_each(sockets.close_all)

    it("are used again by the next request", function()
        local client = new()
        local url, seen = origin.serve(origin.answer("x"))
        for _ = 1, 5 do assert(client:get(url)) end
        assert(client:post(url, "x"))
        assert.equal(1, seen.connections)
        assert.same({ active = 0, idle = 1, waiting = 0, hosts = 1 }, client:stats())
    end)

    it("are one pool for all tasks", function()
        local url, seen = origin.serve(origin.answer("x"))
        for _ = 1, 3 do assert(select(2, task.spawn(http.get, url):join())) end
        assert.equal(1, seen.connections)
    end)

    it("are not shared between hosts, ports and sockets", function()
        local client = new()
        local url, seen = origin.serve(origin.answer("x"))
        local other, seen_too = origin.serve(origin.answer("x"))
        assert(client:get(url))
        assert(client:get(other))
        assert(client:get((url:gsub("127.0.0.1", "localhost"))))
        assert.equal(2, seen.connections)
        assert.equal(1, seen_too.connections)
        assert.equal(3, client:stats().hosts)
    end)

    it("are no more to one server than maxPerHost, and the others wait their turn", function()
        local client = new { maxPerHost = 2 }
        local now, most, order = 0, 0, {}
        local url, seen = origin.serve(function(_, r)
            now = now + 1
            most = math.max(most, now)
            order[#order + 1] = r.target
            timer.sleep(5)
            now = now - 1
            return origin.answer("x")
        end)
        local tasks = {}
        for i = 1, 8 do
            tasks[i] = task.spawn(function() return assert(client:get(url .. "/" .. i)) end)
        end
        task.yield()
        task.yield()
        for _, t in ipairs(tasks) do assert.is_true((t:join())) end
        assert.equal(2, most)
        assert.equal(2, seen.connections)
        assert.equal("/8", order[8])
    end)

    it("are waited for by so many tasks, and so long", function()
        local client = new { maxPerHost = 1, maxWait = 1 }
        local url = origin.serve(function(socket) socket:readAll() end)
        local first = task.spawn(function() return client:get(url) end)
        sockets.eventually(function() return client:stats().active == 1 end)
        local second = task.spawn(function() return client:get(url) end)
        sockets.eventually(function() return client:stats().waiting == 1 end)
        fails("POOL_FULL", client:get(url))
        second:cancel()
        assert.equal("ECANCELED", select(3, second:join()).name)
        fails("POOL_TIMEOUT", client:get(url, { timeout = 50 }))
        local _, stopped = sockets.cancelled(function() return client:get(url) end)
        assert.equal("ECANCELED", stopped.name)
        first:cancel()
        first:join()
        assert.same({ active = 0, idle = 0, waiting = 0, hosts = 0 }, client:stats())
    end)

    it("come free for those who wait, whatever ends the one before", function()
        local client, go = new { maxPerHost = 1 }, nil
        local url = origin.serve(function(socket, r)
            if r.target == "/wait" then return socket:readAll() and nil end
            go:wait()
            if r.target == "/reset" then return socket:close(true) and nil end
            if r.target == "/close" then return origin.answer("x", "Connection: close\r\n") end
            return origin.answer("x")
        end)
        for _, how in ipairs { "/reset", "/close", "/fine", "/wait" } do
            go = sync.event()
            local first = task.spawn(function() return client:get(url .. how) end)
            sockets.eventually(function()
                return client:stats().active == 1 or first.status == "done"
            end)
            local second = task.spawn(function() return client:get(url .. "/second") end)
            sockets.eventually(function() return client:stats().waiting == 1 end)
            go:set()
            if how == "/wait" then first:cancel() end
            assert.equal("x", select(2, assert(second:join(20000))).body)
            first:join(20000)
        end
    end)

    it("that cannot be made let the next one try", function()
        local client = new { maxPerHost = 1 }
        for _ = 1, 3 do fails("ECONNREFUSED", client:get("http://127.0.0.1:1/")) end
        assert.same({ active = 0, idle = 0, waiting = 0, hosts = 0 }, client:stats())
    end)

    it("are closed when they have been idle for too long", function()
        local client = new { poolIdleTimeout = 20 }
        local url = origin.serve(origin.answer("x"))
        assert(client:get(url))
        assert.equal(1, client:stats().idle)
        sockets.eventually(function() return client:stats().idle == 0 end)
        assert.equal(0, client:stats().hosts)
    end)

    it("are closed before the server does, where it says when", function()
        local client = new()
        local url, seen = origin.serve(origin.answer("x", "Keep-Alive: timeout=0\r\n"))
        assert(client:get(url))
        assert(client:get(url))
        assert.equal(2, seen.connections)
    end)

    it("are kept as many as maxIdle says, and none where it is 0", function()
        local url = origin.serve(origin.answer("x"))
        local other, seen = origin.serve(origin.answer("x"))
        local client = new { maxIdle = 1 }
        assert(client:get(url))
        assert(client:get(other))
        assert.same({ active = 0, idle = 1, waiting = 0, hosts = 1 }, client:stats())
        assert(client:get(other))
        assert.equal(1, seen.connections)
        for _, options in ipairs { { maxIdle = 0 }, { poolIdleTimeout = 0 } } do
            client = new(options)
            assert(client:get(url))
            assert.equal(0, client:stats().idle)
        end
    end)

    it("are closed when the client is, and whoever waits is told", function()
        local client, go = new { maxPerHost = 1 }, sync.event()
        local url = origin.serve(function()
            go:wait()
            return origin.answer("x")
        end)
        local first = task.spawn(function() return client:get(url) end)
        sockets.eventually(function() return client:stats().active == 1 end)
        local second = task.spawn(function() return client:get(url) end)
        sockets.eventually(function() return client:stats().waiting == 1 end)
        client:close()
        assert.equal("CLOSED", select(3, second:join()).name)
        go:set()
        assert.equal("x", select(2, first:join()).body)
        assert.same({ active = 0, idle = 0, waiting = 0, hosts = 0 }, client:stats())
    end)

    it("that somebody forgot to close are counted no more once they are collected", function()
        local client = new { maxPerHost = 1 }
        local url = origin.serve(function(socket)
            socket:write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
            socket:readAll()
        end)
        local function forget() assert(client:get(url, { stream = true })) end
        forget()
        -- What the compiler, or the stack, still holds goes after a while.
        sockets.eventually(function()
            collectgarbage()
            return client:stats().active == 0
        end)
        assert(client:get(url, { stream = true })):close()
    end)

    describe("that the server has closed", function()
        it("are seen to be, and not used", function()
            local client = new()
            local url, seen = origin.serve(origin.answer("x"), { once = true })
            for _ = 1, 3 do
                assert(client:post(url, "x"))
                timer.sleep(5)
            end
            assert.equal(3, seen.connections)
        end)

        it("leave their place to one that is used again", function()
            local client = new()
            local url, seen = origin.serve(function(socket, request)
                if request.target ~= "/last" then return origin.answer("x") end
                socket:write(origin.answer("x"))
                socket:close()
            end)
            assert(client:get(url .. "/last"))
            for _ = 1, 3 do assert(client:post(url, "x")) end
            assert.equal(2, seen.connections)
            assert.same({ active = 0, idle = 1, waiting = 0, hosts = 1 }, client:stats())
        end)

        it("are replaced once, for what may be done twice", function()
            local client = new()
            local drop = false
            local url, seen = origin.serve(function(socket)
                if drop then
                    drop = false
                    socket:close(true)
                    return
                end
                return origin.answer("x")
            end)
            for _, method in ipairs { "GET", "PUT", "DELETE", "OPTIONS", "HEAD" } do
                drop = false
                assert(client:get(url))
                drop = true
                assert.is_truthy(client:request {
                    method = method, url = url, body = method == "PUT" and "x" or nil,
                        timeout = 20000,
                    headerTimeout = method == "HEAD" and 50 or 20000,
                } or method == "HEAD")
                assert.is_false(drop)
            end
            assert.is_true(#seen >= 14)
        end)

        it("are an error for what may not", function()
            local client = new()
            local drop = false
            local url, seen = origin.serve(function(socket)
                if drop then return socket:close(true) and nil end
                return origin.answer("x")
            end)
            assert(client:get(url))
            drop = true
            local before = #seen
            local res, err = client:post(url, "x")
            assert.is_nil(res)
            assert.is_true(err.name == "ECONNRESET" or err.name == "EOF")
            assert.equal(before + 1, #seen)
            drop = false
            assert(client:get(url))
            drop = true
            -- Once, and no more.
            res, err = client:get(url)
            assert.is_nil(res)
            assert.is_true(err.name == "ECONNRESET" or err.name == "EOF")
            assert.equal(before + 4, #seen)
        end)

        it("are an error where a part of the answer had come", function()
            local client = new()
            local partial = false
            local url, seen = origin.serve(function(socket)
                if not partial then return origin.answer("x") end
                socket:write("HTTP/1.1 2")
                socket:close()
            end)
            assert(client:get(url))
            partial = true
            fails("EOF", client:get(url))
            assert.equal(2, #seen)
        end)
    end)

    it("are given up where the system has no descriptor left", function()
        local url = origin.serve(origin.answer("x"))
        local others = {}
        for i = 1, 3 do others[i] = origin.serve(origin.answer("x")) end
        -- In a process of its own: there is one descriptor for connections.
        local result = assert(process.run(tools.LINKS, { "-e", ([[
            local http, system, ffi = require "http", require "system", require "ffi"
            ffi.cdef "int dup(int); int close(int);"
            assert(http.get(%q))
            assert(system.limits("nofile", 64, 64))
            while true do
                local fd = ffi.C.dup(1)
                if fd < 0 then break end
            end
            for _, url in ipairs { %q, %q, %q } do
                local res = assert(http.get(url))
                assert(res.body == "x")
            end
            local held = assert(http.get(%q, { stream = true, method = nil }))
            io.write("went well")
        ]]):format(url, others[1], others[2], others[3], url) }, { timeout = 60000 }))
        assert.equal("", result.stderr)
        assert.equal("went well", result.stdout)
    end)
end)
