package.path = "tests/support/?.lua;" .. package.path

local sockets = require "sockets"
local task = require "task"
local tcp = require "tcp"
local timer = require "timer"
local tools = require "tools"

local raises = tools.says
local serve, keep = sockets.serve, sockets.keep

after_each(sockets.close_all)

local function echo(socket)
    for line in socket:lines() do socket:write(line .. "\n") end
end

local function pool_of(options, onconnect)
    local port, server = serve(onconnect or echo)
    return keep(tcp.createPool(port, "127.0.0.1", options)), server
end

describe("tcp.createPool", function()
    it("hands out the connection that was used last", function()
        local pool = pool_of()
        local a, b = assert(pool:get()), assert(pool:get())
        assert.are_not.equal(a, b)
        assert.is_true(pool:put(a))
        assert.is_true(pool:put(b))
        assert.equal(b, pool:get())
        assert.equal(a, pool:get())
        assert.same({ size = 10, total = 2, idle = 0, waiting = 0 }, pool:stats())
    end)

    it("makes no more than size, and serves who waits in turn", function()
        local pool = pool_of { size = 1 }
        local socket = assert(pool:get())
        local order = {}
        for i = 1, 3 do
            task.spawn(function()
                local mine = assert(pool:get())
                order[#order + 1] = i
                assert.equal(socket, mine)
                timer.sleep(1)
                pool:put(mine)
            end)
        end
        sockets.eventually(function() return pool:stats().waiting == 3 end)
        pool:put(socket)
        sockets.eventually(function() return #order == 3 and pool:stats().idle == 1 end)
        assert.same({ 1, 2, 3 }, order)
    end)

    it("makes a new one for who waits when a bad one comes back", function()
        local pool = pool_of { size = 1 }
        local socket = assert(pool:get())
        local waiter = task.spawn(function() return pool:get() end)
        sockets.eventually(function() return pool:stats().waiting == 1 end)
        socket:close()
        assert.is_false(pool:put(socket))
        local _, fresh = waiter:join(20000)
        assert.are_not.equal(socket, fresh)
        assert.equal(1, pool:stats().total)
    end)

    it("lets tasks wait up to waitTimeout, and no more of them than maxWait", function()
        local pool = pool_of { size = 1, maxWait = 1, waitTimeout = 60000 }
        local held = assert(pool:get())
        local first = task.spawn(function() return pool:get() end)
        sockets.eventually(function() return pool:stats().waiting == 1 end)
        local socket, err = pool:get()
        assert.is_nil(socket)
        assert.equal("POOL_FULL", err.name)
        pool:put(held)
        assert.same({ true, held }, { first:join(20000) })

        pool = pool_of { size = 1, waitTimeout = 20 }
        held = assert(pool:get())
        socket, err = pool:get()
        assert.is_nil(socket)
        assert.equal("POOL_TIMEOUT", err.name)
        pool:put(held)
        assert.equal(held, pool:get())
    end)

    it("can be cancelled and cut short while it waits", function()
        local pool = pool_of { size = 1 }
        local held = assert(pool:get())
        local socket, err = sockets.cancelled(function() return pool:get() end)
        assert.is_nil(socket)
        assert.equal("ECANCELED", err.name)
        socket, err = task.withTimeout(10, pool.get, pool)
        assert.is_nil(socket)
        assert.is_true(err.deadline)
        assert.equal(0, pool:stats().waiting)
        assert.is_true(pool:put(held))
    end)

    it("drops idle connections that the peer has closed or written to", function()
        local accepted = {}
        local pool = pool_of(nil, function(socket)
            accepted[#accepted + 1] = socket
            socket:readAll()
        end)
        local first = assert(pool:get())
        sockets.eventually(function() return accepted[1] end)
        pool:put(first)
        accepted[1]:close()
        timer.sleep(2)
        local second = assert(pool:get())
        assert.are_not.equal(first, second)
        assert.is_true(first.closed)
        sockets.eventually(function() return accepted[2] end)
        accepted[2]:write("unasked")
        timer.sleep(2)
        assert.is_false(pool:put(second))
    end)

    it("asks check of idle connections, which may wait", function()
        local verdict, asked = true, 0
        local pool = pool_of {
            check = function(socket)
                asked = asked + 1
                socket:write("ping\n")
                return socket:readline() == "ping" and verdict
            end,
        }
        local first = assert(pool:get())
        assert.equal(0, asked)
        pool:put(first)
        assert.equal(first, pool:get())
        assert.equal(1, asked)
        pool:put(first)
        verdict = false
        local second = assert(pool:get())
        assert.are_not.equal(first, second)
        assert.is_true(first.closed)
    end)

    it("closes connections that are idle for too long", function()
        local pool, server = pool_of { idleTimeout = 15 }
        local a, b = assert(pool:get()), assert(pool:get())
        pool:put(a)
        timer.sleep(5)
        pool:put(b)
        sockets.eventually(function() return pool:stats().total == 0 end)
        assert.is_true(a.closed and b.closed)
        sockets.eventually(function() return server:connections() == 0 end)
    end)

    it("returns the error of a connection that cannot be made, and has room again", function()
        local port, server = serve(echo)
        server:close()
        local pool = keep(tcp.createPool(port, "127.0.0.1", { size = 1 }))
        for _ = 1, 2 do
            local socket, err = pool:get()
            assert.is_nil(socket)
            assert.equal("ECONNREFUSED", err.name)
        end
        assert.equal(0, pool:stats().total)
    end)

    it("is closed with its idle connections, and later with the others", function()
        local pool = pool_of { size = 2 }
        local idle, used = assert(pool:get()), assert(pool:get())
        pool:put(idle)
        local waiter
        local full = pool_of { size = 1 }
        assert(full:get())
        waiter = task.spawn(function() return full:get() end)
        sockets.eventually(function() return full:stats().waiting == 1 end)
        assert.is_true(full:close())
        local _, none, err = waiter:join(20000)
        assert.is_nil(none)
        assert.equal("CLOSED", err.name)

        assert.is_true(pool:close())
        assert.is_true(pool:close())
        assert.is_true(idle.closed)
        assert.is_false(used.closed)
        assert.is_false(pool:put(used))
        assert.is_true(used.closed)
        _, err = pool:get()
        assert.equal("CLOSED", err.name)
    end)

    it("passes options on to tcp.connect", function()
        local pool = pool_of { connect = { nodelay = false } }
        assert.is_false(assert(pool:get()):getOption("nodelay"))
    end)

    it("raises for what the caller got wrong", function()
        raises("tcp.createPool(port[, host, options]) port", tcp.createPool, -1)
        raises("options.size", tcp.createPool, 1, nil, { size = 0 })
        raises('unknown option "sise" (did you mean "size"?)', tcp.createPool, 1, nil, { sise = 1 })
        raises('unknown option "nodelai"', tcp.createPool, 1, nil, { connect = { nodelai = true } })
        local pool = pool_of()
        local socket = assert(pool:get())
        pool:put(socket)
        raises("is not one that was taken from this pool", pool.put, pool, socket)
        raises("is not one that was taken from this pool", pool.put, pool, {})
    end)
end)
