-- Random requests, in random pieces, at handlers that do all that they should not, by clients that
-- leave in the middle of it. Whatever happens, the server goes on serving; a build with sanitizers
-- says besides whether it has touched what was gone. `make soak` has LINKS_SOAK set, and takes its
-- time.
package.path = "tests/support/?.lua;" .. package.path

local child = require "child"
local task = require "task"
local timer = require "timer"
local wire = require "wire"

local CLIENTS, EACH = 12, os.getenv "LINKS_SOAK" and 2000 or 20

local SERVER = [[
local http, task, timer = require "http", require "task", require "timer"
local kept = {}

-- Everything that a program could still do with what it has kept.
local function misuse(req, res)
    for _, fn in ipairs {
        function() return req.url, req.headers.host, req.trailers, req.id, req.socket, req.ctx end,
        function() req:read(10) end, function() req:header("x") end,
        function() req:upgrade("x"):close() end, function() res:setHeader("X", "y") end,
        function() res:write("late") end, function() res:trailer("X", "y") end,
        function() res:earlyHints { Link = "x" } end, function() res:flush() end,
        function() res:cookie("a", "b") end, function() res:finish("late") end,
    } do pcall(fn) end
end

local function later(req, res)
    task.spawn(function()
        timer.sleep(math.random(0, 10))
        misuse(req, res)
    end)
end

local handlers = {
    function(req, res) later(req, res) return "x" end,
    function(req, res)
        later(req, res)
        timer.sleep(math.random(0, 10))
        return ("y"):rep(math.random(1, 100000))
    end,
    function(req) return req:body() end,
    function(req) req:read(3) return "some" end,
    function(_, res)
        res:write("a")
        timer.sleep(math.random(0, 5))
        res:write(("b"):rep(200000))
    end,
    function(_, res) res:trailer("X-T", "1") return res:finish("z") end,
    function(_, res) res:trailer("X-T", "1") timer.sleep(5) return "z" end,
    function() error("boom") end,
    function(_, res) res:write("x") error("boom") end,
    function() end,
    function(req, res)
        local socket, err = req:upgrade("x")
        if not socket then return nil, err end
        later(req, res)
        socket:write("hi")
        if math.random() < 0.5 then socket:readSome(5) end
        socket:close()
    end,
    function(_, res)
        local stream = res:sse { heartbeat = 1 }
        for i = 1, 5 do
            if not stream or not stream:send("e" .. i) then return end
            timer.sleep(1)
        end
    end,
    function() task.current():cancel() timer.sleep(5) return "c" end,
    function(req) req:onClose(function() end) timer.sleep(math.random(0, 30)) return "x" end,
    function(req) task.spawn(function() req:body() end) timer.sleep(0) return "two readers" end,
    function(_, res)
        task.spawn(function()
            for _ = 1, 50 do if not res:write(("w"):rep(30000)) then return end end
        end)
        timer.sleep(math.random(0, 3))
        return res:finish("end")
    end,
    function() timer.sleep(200) return "late" end,
    function(_, res) res:setHeader("Content-Length", 100000) res:write("short") end,
    function(_, res) res:setHeader("Content-Length", 10) return ("z"):rep(20) end,
    function(req, res)
        if kept.req then misuse(kept.req, kept.res) end
        kept.req, kept.res = req, res
        return { json = true }
    end,
}

local server
server = assert(http.createServer(0, function(req, res)
    if req.path == "/still" then return "here" end
    if req.path == "/others" then return tostring(server:connections() - 1) end
    return handlers[tonumber(req.path:sub(2)) % #handlers + 1](req, res)
end, {
    host = "127.0.0.1", handlerTimeout = 100, headerTimeout = 300, bodyTimeout = 50,
    keepAliveTimeout = 300, writeTimeout = 300, maxPipelined = 4, highWaterMark = 20000,
    maxRequestsPerConnection = 50, compress = { minLength = 10 },
    onError = function() if math.random() < 0.5 then return 500, "sorry" end end,
}))
print(server:address().port)
io.stdout:flush()
]]

local server

after_each(function()
    if server then assert(server:stop(), "the server did not end on SIGTERM") end
    server = nil
end)

local function chunks()
    local list = {}
    for i = 1, math.random(0, 6) do
        local size = math.random(1, 3000)
        list[i] = ("%x\r\n%s\r\n"):format(size, ("y"):rep(size))
    end
    local end_of_body = math.random() < 0.5 and "0\r\nA: b\r\n\r\n" or "0\r\n\r\n"
    local body = table.concat(list) .. end_of_body
    return math.random() < 0.2 and body:sub(1, math.random(0, #body)) or body
end

local FIELDS = {
    function() return "\r\n" end,
    function() return "Connection: upgrade\r\nUpgrade: x\r\n\r\ntail" end,
    function() return "Accept-Encoding: gzip\r\n\r\n" end,
    function() return "X: " .. ("v"):rep(math.random(18000)) .. "\r\n\r\n" end,
    function() return "Transfer-Encoding: chunked\r\n\r\n" .. chunks() end,
    function() return "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n" .. chunks() end,
    function()
        local length = math.random() < 0.2 and 400000 or math.random(0, 500)
        local body = ("x"):rep(math.random() < 0.7 and length or math.random(0, length))
        return "Content-Length: " .. length .. "\r\n\r\n" .. body
    end,
    function() return "Nonsense\r\n\r\n" end,
}

local METHODS = { "GET", "POST", "HEAD" }

local function request()
    local method, fields = METHODS[math.random(#METHODS)], FIELDS[math.random(#FIELDS)]
    return ("%s /%d HTTP/1.%d\r\nHost: a\r\n%s"):format(method, math.random(1000),
        math.random() < 0.1 and 0 or 1, fields())
end

-- One connection: it sends what the server takes, reads for a while, and leaves somehow.
local function visit()
    local c = wire.connect(server.port, math.random() < 0.3 and { receiveBuffer = 4096 } or nil)
    if not c then return end
    local data = {}
    for i = 1, math.random() < 0.3 and 20 or math.random(1, 3) do data[i] = request() end
    local left, step = table.concat(data), ({ 1, 100, 5000, 1000000 })[math.random(4)]
    local give_up = timer.now() + 200
    while left ~= "" and timer.now() < give_up do
        left = left:sub(c:trySend(left:sub(1, step)) + 1)
        timer.sleep(0)
        c:take()
        c.buffer = ""
    end
    if math.random() < 0.3 then c:shutdown() end
    give_up = timer.now() + math.random(0, 30)
    repeat
        local n, errno = c:take()
        c.buffer = ""
        timer.sleep(1)
    until n == 0 or errno or timer.now() > give_up
    if math.random() < 0.3 then c:reset() else c:close() end
end

describe("a server in a storm", function()
    it("goes on serving, and has no connection left when it is over", function()
        server = child.start(SERVER)
        task.group(function(group)
            for _ = 1, CLIENTS do
                group:spawn(function() for _ = 1, EACH do visit() end end)
            end
        end)
        local function ask(path)
            return wire.request(server.port, "GET " .. path
                .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").body
        end
        assert.equal("here", ask("/still"))
        wire.eventually("the connections to go", function()
            timer.sleep(10)
            return ask("/others") == "0"
        end)
    end)
end)
