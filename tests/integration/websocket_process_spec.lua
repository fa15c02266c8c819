-- WebSockets between processes: the example, peers of another make, system calls.
package.path = "tests/support/?.lua;" .. package.path

local browser = require "browser"
local child = require "child"
local fs = require "fs"
local json = require "json"
local program = require "program"
local tls = require "tls"
local websocket = require "websocket"
local wire = require "wire"

local started = {}

local function start(arguments)
    local process = program.start(arguments)
    started[#started + 1] = process
    process:expect("\n")
    return process, tonumber(process.out:match("(%d+)[/%s]*\n"))
end

after_each(function()
    for _, process in ipairs(started) do
        pcall(function()
            process:kill("TERM")
            process:wait()
        end)
    end
    started = {}
end)

local function hear(ws)
    local text, err = ws:read(20000)
    assert.truthy(text, tostring(err))
    return json.decode(text)
end

describe("examples/chat_ws.lua", function()
    it("has a page, and tells everybody in a room what the others say", function()
        local _, port = start { "examples/chat_ws.lua", "0" }
        local page = wire.request(port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert.equal("text/html; charset=utf-8", page.headers["content-type"])
        assert.truthy(page.body:find("new WebSocket", 1, true))
        local url = "ws://127.0.0.1:" .. port .. "/chat/"
        local ann = assert(websocket.connect(url .. "lobby?name=ann"))
        assert.same({ from = "ann", what = "has come", people = 1 }, hear(ann))
        local bob = assert(websocket.connect(url .. "lobby?name=bob"))
        assert.equal(2, hear(ann).people)
        hear(bob)
        local eve = assert(websocket.connect(url .. "other?name=eve"))
        hear(eve)
        bob:write("hello")
        assert.same({ from = "bob", text = "hello" }, hear(ann))
        assert.same({ from = "bob", text = "hello" }, hear(bob))
        bob:close()
        assert.same({ from = "bob", what = "has left", people = 1 }, hear(ann))
        eve:write("\0", "binary")
        assert.equal(1003, select(2, eve:read()).status)
        assert.equal(400, select(2, websocket.connect(url .. "lobby")).status)
        local _, err = websocket.connect(url .. "lobby?name=x", {
            headers = { Origin = "http://elsewhere.example" },
        })
        assert.equal(403, err.status)
    end)
end)

-- Runs a script of node with the module ws; false where there is none. Debian has its modules in a
-- folder that only its own node looks into.
local function node(script, ...)
    local command = "NODE_PATH=${NODE_PATH:-/usr/share/nodejs} node -e "
    if os.execute(command .. "'require(\"ws\")' >/dev/null 2>&1") ~= 0 then return false end
    return program.shell(("%s'%s' -- %s 2>&1"):format(command, script,
        table.concat({ ... }, " ")))
end

describe("the module ws of npm", function()
    local pair = tls.selfSigned { "localhost", "127.0.0.1" }

    local function echo(secure)
        local server = assert(websocket.createServer(0, { message = function(ws, data, kind)
            ws:write(data, kind)
        end }, { compress = { threshold = 10 }, host = "127.0.0.1", tls = secure and pair or nil }))
        return server, (secure and "wss" or "ws") .. "://localhost:" .. server:address().port
    end

    local SCRIPT = [[
        const WebSocket = require("ws")
        const ws = new WebSocket(process.argv[1], { family: 4,
            ca: require("fs").readFileSync(process.argv[3]),
            perMessageDeflate: process.argv[2] == "true" })
        const sent = ["hello", "k\u00f6stlich ".repeat(5000), "", Buffer.alloc(70000, 7)]
        let n = 0
        ws.on("open", () => { ws.ping(); sent.forEach(data => ws.send(data)) })
        ws.on("message", (data, binary) => {
            const want = Buffer.from(sent[n++])
            if (!want.equals(data) || binary != (n == 4)) throw new Error("echo " + n)
            if (n == 4) ws.close(4000, "done")
        })
        ws.on("close", code => console.log("closed " + code + " " + ws.extensions))
    ]]

    for _, secure in ipairs { false, true } do
        it("talks to the server, compressed and not" .. (secure and ", over TLS" or ""), function()
            local ca = os.tmpname()
            assert(fs.writeFile(ca, pair.cert))
            local server, url = echo(secure)
            local missing
            for _, deflate in ipairs { "true", "false" } do
                local result = node(SCRIPT, url, deflate, ca)
                missing = not result
                if missing then break end
                assert.matches("^closed 4000 ", result.out, nil, result.out)
                assert.equal(deflate == "true", result.out:find("permessage%-deflate") ~= nil)
            end
            server:close(0)
            os.remove(ca)
            if missing then return pending("needs node and its module ws") end
        end)
    end
end)

describe("a browser", function()
    it("chats over TLS with a client of ours", function()
        if not browser.program() then return pending("needs chromium") end
        if child.isSanitized() or child.isEmulated() then return pending("once is enough") end
        local path = os.tmpname()
        local _, port = start { "examples/chat_ws.lua", "0", path }
        local cert = assert(fs.readFile(path))
        os.remove(path)
        local ann = assert(websocket.connect("wss://localhost:" .. port .. "/chat/lobby?name=ann",
            { tls = { ca = cert } }))
        hear(ann)
        local page = browser.start(cert)
        local ok, err = pcall(function()
            page:open("https://localhost:" .. port .. "/?name=bob#lobby")
            assert.same({ from = "bob", what = "has come", people = 2 }, hear(ann))
            ann:write("h\195\169llo")
            page:await("document.getElementById('log').textContent.includes('ann: h')")
            page:eval("text.value = 'good day'; document.forms[0].requestSubmit()")
            assert.same({ from = "ann", text = "h\195\169llo" }, hear(ann))
            assert.same({ from = "bob", text = "good day" }, hear(ann))
            assert.equal("", page:eval("ws.extensions"))
            assert.equal("https:", page:eval("location.protocol"))
        end)
        page:stop()
        if not ok then error(err, 0) end
        assert.same({ from = "bob", what = "has left", people = 1 }, hear(ann))
    end)
end)

describe("an echoed message", function()
    it("costs one read, one write and no epoll_ctl", function()
        if child.cannotTrace() then return pending(child.cannotTrace()) end
        local server = child.traced [[
            local websocket = require "websocket"
            local server = assert(websocket.createServer(0, { message = function(ws, data, kind)
                ws:write(data, kind)
            end }, { host = "127.0.0.1" }))
            print(server:address().port)
            io.stdout:flush()
        ]]
        -- The first handshake loads what others find loaded; it is not counted.
        local first = assert(websocket.connect("ws://127.0.0.1:" .. server.port))
        local ws = assert(websocket.connect("ws://127.0.0.1:" .. server.port))
        for _ = 1, 100 do
            assert(ws:write("x"))
            assert.equal("x", ws:read())
        end
        local counts = server:calls(101)
        assert.equal(101, counts.recvfrom)
        assert.equal(1, counts.epoll_ctl) -- the connection's own registration
        assert.is_nil(counts.write or counts.writev or counts.sendmsg or counts.read
            or counts.recvmsg)
        first:close()
        ws:close()
        assert(server:stop())
    end)
end)

describe("a server whose system calls fail", function()
    local library, server

    setup(function()
        if jit.os ~= "Linux" or child.isSanitized() then return end
        library = os.tmpname()
        local cc = os.getenv("CC") or "cc"
        assert(os.execute(cc .. " -shared -fPIC -O1 -o " .. library .. " tests/fault/fault.c") == 0)
    end)

    teardown(function()
        if library then os.remove(library) end
    end)

    after_each(function()
        if server then server:stop() end
        server = nil
    end)

    local function begin(fault)
        server = child.start([[
            local websocket = require "websocket"
            local server = assert(websocket.createServer(0, {
                open = function(ws) ws:subscribe("all") end,
                message = function(ws, data, kind)
                    ws:write(data, kind)
                    websocket.publish("all", "to all")
                end,
            }, { host = "127.0.0.1" }))
            print(server:address().port)
            io.stdout:flush()
        ]], ("env LD_PRELOAD=%s FAULT='%s'"):format(library, fault))
        return "ws://127.0.0.1:" .. server.port
    end

    it("sends messages whole when writes fall short and calls are interrupted", function()
        if not library then return pending("needs LD_PRELOAD") end
        local url = begin "send=short/2 sendmsg=short/2 recv=EINTR/3"
        local ws = assert(websocket.connect(url))
        for _, n in ipairs { 5, 0, 300, 20000, 100000, 1 } do
            local data = ("x"):rep(n)
            assert(ws:write(data))
            assert.equal(data, ws:read(20000))
            assert.equal("to all", ws:read(20000))
        end
        ws:close(4000)
        assert.equal(4000, select(2, ws:read(20000)).status)
    end)

    it("loses only the connections whose calls fail", function()
        if not library then return pending("needs LD_PRELOAD") end
        local url = begin "recv=ECONNRESET/11 send=EPIPE/13 sendmsg=ECONNRESET/9"
        local served, lost = 0, 0
        for _ = 1, 60 do
            local ws, err = websocket.connect(url, { timeout = 20000 })
            if ws then
                ws:write("x")
                local data
                data, err = ws:read(20000)
                if data then
                    served = served + 1
                    ws:close()
                else
                    assert.equal("WS_CLOSED", err.name)
                    assert.equal(1006, err.status)
                end
            end
            if err then lost = lost + 1 end
        end
        assert.is_true(served >= 20, "served " .. served)
        assert.is_true(lost >= 5, "lost " .. lost)
        assert.is_true(server:isAlive())
    end)
end)
