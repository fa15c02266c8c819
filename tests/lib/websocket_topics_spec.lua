package.path = "tests/support/?.lua;" .. package.path

local tools = require "tools"
local websocket = require "websocket"
local wire = require "wire"

local raises = tools.blames
local server

local function serve(handler, options)
    options = options or {}
    options.host = "127.0.0.1"
    server = assert(websocket.createServer(0, handler, options))
end

local function dial(options)
    return assert(websocket.connect("ws://127.0.0.1:" .. server:address().port, options))
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
        raises("255 bytes", ends[1].publish, ends[1], ("x"):rep(256), "x")
        raises("data must be", ends[1].publish, ends[1], "t0")
        raises("255 bytes", websocket.publish, ("x"):rep(256), "x")
        raises("data must be", websocket.publish, "t0")
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

describe("members of topics", function()
    local ends, events

    local function client(...)
        local before = #ends
        local ws = dial()
        wire.eventually("an end", function() return ends[before + 1] end)
        for i = 1, select("#", ...), 2 do
            ends[before + 1]:subscribe(select(i, ...), (select(i + 1, ...)) or nil)
        end
        return ws, ends[before + 1]
    end

    -- Once more, for what is told last of the things before.
    local function told(count)
        wire.eventually(count .. " events", function() return #events >= count end)
        return events
    end

    local function note(event)
        return function(m)
            events[#events + 1] = event .. " " .. m.topic .. " " .. tostring(m.member)
        end
    end

    before_each(function()
        ends, events = {}, {}
        serve({ open = function(ws) ends[#ends + 1] = ws end })
    end)

    it("are a list, by the topic's name or by a pattern", function()
        assert.same({}, websocket.members("room.1"))
        local _, ann = client("room.1", "ann", "room.2", '{"name":"ann"}')
        local _, bob = client("room.1", false)
        assert.is_true(ann:subscribe("room.1", "somebody else"))
        local list = websocket.members("room.1")
        table.sort(list, function(a, b) return a.id < b.id end)
        assert.same({
            { topic = "room.1", id = ann.id, member = "ann" }, { topic = "room.1", id = bob.id },
        }, list)
        assert.same({ { topic = "room.2", id = ann.id, member = '{"name":"ann"}' } },
            websocket.members("room.2"))
        assert.equal(3, #websocket.members("room.*"))
        assert.equal(3, #websocket.members("*"))
        assert.same({}, websocket.members("room."))
        ann:unsubscribe("room.1")
        assert.equal(1, #websocket.members("room.1"))
    end)

    it("of any number are listed as they are", function()
        local _, ws = client()
        local name = ("x"):rep(1024)
        for i = 1, 1024 do assert.is_true(ws:subscribe(i .. "." .. name:sub(1, 200), name)) end
        local list = websocket.members("*")
        assert.equal(1024, #list)
        for _, m in ipairs(list) do assert.equal(name, m.member) end
    end)

    it("are told of when they come and go", function()
        local _, early = client("room", "early")
        local join, leave = note("join"), note("leave")
        assert.is_true(websocket.on("join", "room", join))
        assert.is_true(websocket.on("leave", "room", leave))
        local ws = client("room", "ann", "other", "ann")
        assert.same({ "join room ann" }, told(1))
        early:unsubscribe("room")
        ws:close()
        assert.same({ "join room ann", "leave room early", "leave room ann" }, told(3))
        assert.is_true(websocket.off("join", "room", join))
        assert.is_false(websocket.off("join", "room", join))
        early:subscribe("room", "again")
        early:unsubscribe("room")
        assert.equal("leave room again", told(4)[4])
        assert.is_true(websocket.off("leave", "room", leave))
        early:subscribe("room")
        assert.equal(4, #events)
    end)

    it("of a pattern are told of, and to each who asked, a failing one among them", function()
        local function fails() error("no") end
        local first, second = note("first"), note("second")
        for _, fn in ipairs { first, fails, second } do
            assert.is_true(websocket.on("join", "room.*", fn))
        end
        local said
        local report = require "links.report"
        report.install(function(_, text)
            said = text
            return true
        end)
        client("room.7", "ann", "room", "no")
        assert.same({ "first room.7 ann", "second room.7 ann" }, told(2))
        report.install(nil)
        assert.is_truthy(said:find("websocket: error in on(join): ", 1, true), said)
        for _, fn in ipairs { first, fails, second } do websocket.off("join", "room.*", fn) end
    end)

    it("are asked for by what is right", function()
        raises("websocket.members(topic) topic must be [string]", websocket.members, 1)
        raises('event must be "join" or "leave", not "come"', websocket.on, "come", "x", print)
        raises("fn must be [function], not nothing", websocket.on, "join", "x")
        raises("topic must be [string]", websocket.on, "join", 1, print)
        raises("topic must be 255 bytes at most", websocket.off, "join", ("x"):rep(256), print)
        local _, ws = client()
        raises("member must be a [string] of up to 1024 bytes, not 1025", ws.subscribe, ws, "x",
            ("x"):rep(1025))
        raises("member must be a [string] of up to 1024 bytes, not number", ws.subscribe, ws, "x",
            1)
    end)
end)
