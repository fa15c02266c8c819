package.path = "tests/support/?.lua;" .. package.path

local websocket = require "websocket"
local wire = require "wire"

local server

local function serve(handler, options)
    options = options or {}
    options.host = "127.0.0.1"
    server = assert(websocket.createServer(0, handler, options))
end

local function dial(options)
    return assert(websocket.connect("ws://127.0.0.1:" .. server:address().port, options))
end

local function raises(pattern, fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    assert.truthy(tostring(message):find(pattern, 1, true), tostring(message))
end

after_each(function()
    server:close(0)
end)

describe("topics", function()
    local ends

    local function three(options)
        ends = {}
        serve({ open = function(ws) ends[#ends + 1] = ws end }, options)
        local clients = {}
        for i = 1, 3 do
            clients[i] = dial(options and { compress = options.compress })
            wire.eventually("an end", function() return ends[i] end)
        end
        return clients
    end

    it("reach who is subscribed, and not the publisher by ws:publish", function()
        local clients = three()
        for i = 1, 2 do assert.is_true(ends[i]:subscribe("news")) end
        assert.is_true(ends[1]:subscribe("news"))
        assert.equal(2, websocket.count("news"))
        assert.same({ "news" }, ends[1]:topics())
        assert.equal(2, websocket.publish("news", "to all"))
        assert.equal(1, ends[1]:publish("news", "to others", "binary"))
        assert.equal(2, ends[3]:publish("news", "from outside"))
        assert.equal("to all", clients[1]:read())
        assert.equal("from outside", clients[1]:read())
        assert.equal("to all", clients[2]:read())
        local data, _, kind = clients[2]:read()
        assert.same({ "to others", "binary" }, { data, kind })
        local _, err = clients[3]:read(10)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(ends[1]:unsubscribe("news"))
        assert.is_false(ends[1]:unsubscribe("news"))
        assert.equal(1, websocket.publish("news", "left"))
        ends[2]:close()
        assert.equal(0, websocket.count("news"))
        assert.equal(0, websocket.publish("news", "nobody"))
    end)

    it("by a name with * stand for all that begin so, once for each", function()
        local clients = three()
        ends[1]:subscribe("room:*")
        ends[1]:subscribe("room:1")
        ends[2]:subscribe("*")
        ends[3]:subscribe("room:2")
        assert.equal(2, websocket.publish("room:1", "one"))
        assert.equal(3, websocket.publish("room:2", "two"))
        assert.equal(1, websocket.publish("hall", "three"))
        assert.equal("one", clients[1]:read())
        assert.equal("two", clients[1]:read())
        for _, text in ipairs { "one", "two", "three" } do assert.equal(text, clients[2]:read()) end
        assert.equal("two", clients[3]:read())
    end)

    it("keep the order with what is written directly", function()
        local clients = three()
        ends[1]:subscribe("t")
        for i = 1, 50 do
            ends[1]:write("w" .. i)
            websocket.publish("t", "p" .. i)
        end
        for i = 1, 50 do
            assert.equal("w" .. i, clients[1]:read())
            assert.equal("p" .. i, clients[1]:read())
        end
    end)

    it("share a compressed frame, and a connection that cannot gets it plain", function()
        local clients = three{ compress = { threshold = 10 } }
        clients[3]:close()
        clients[3] = dial()
        wire.eventually("an end", function() return ends[4] end)
        ends[1]:subscribe("t")
        ends[2]:subscribe("t")
        ends[4]:subscribe("t")
        local text = ("again "):rep(1000)
        assert.equal(3, websocket.publish("t", text))
        for i = 1, 3 do assert.equal(text, clients[i]:read()) end
    end)

    it("end with the connection, of a client too", function()
        serve(function(ws) ws:read() end)
        local ws = dial()
        ws:subscribe("mine")
        assert.equal(1, websocket.publish("mine", "from the client"))
        ws:close()
        assert.equal(0, websocket.count("mine"))
        local _, err = ws:subscribe("mine")
        assert.equal("WS_CLOSED", err.name)
    end)

    it("have limits", function()
        local _ = three()
        raises("255 bytes", ends[1].subscribe, ends[1], ("x"):rep(256))
        for i = 1, 1024 do assert.is_true(ends[1]:subscribe("t" .. i)) end
        local ok, err = ends[1]:subscribe("one more")
        assert.is_nil(ok)
        assert.equal("FULL", err.name)
        local _, wrong = websocket.publish("t1", "\255")
        assert.equal("EILSEQ", wrong.name)
        assert.equal(1, websocket.publish("t1", "x", { scope = "machine" }))
        assert.equal(0, websocket.publish("t0", ("x"):rep(2 ^ 21), { scope = "worker" }))
        assert.has_error(function() websocket.publish("t1", "x", { scope = "world" }) end,
            "websocket.publish(topic, data[, options]) options.scope must be "
            .. '"machine" or "worker", not "world"')
        assert.has_error(function() websocket.count(("x"):rep(256)) end,
            "websocket.count(topic) topic must be 255 bytes at most")
        assert.same({ workers = 0, sent = 0, refused = 0, received = 0, lost = 0 },
            websocket.stats())
    end)
end)
