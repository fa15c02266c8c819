-- The servers of http.sh and memory.sh beside hello: links app.lua NAME, one of `handlers`.
-- Prints its port.
local http = require "http"

local PIECE = ("x"):rep(65536)

local function greet(res)
    res:setHeader("Content-Type", "text/plain")
    return "Hello, World!"
end

local handlers = {}

function handlers.json()
    return { message = "Hello, World!", id = 42, tags = { "a", "b", "c" }, ok = true }
end

function handlers.unrouted(_, res) return greet(res) end

function handlers.post(req) return tostring(#assert(req:body())) end

-- GET /N: N MiB, at the client's pace.
function handlers.stream(req, res)
    for _ = 1, tonumber(req.path:sub(2)) * 16 do assert(res:write(PIECE)) end
    return res:finish()
end

-- A thousand routes, of which one is asked for; its parameter is read, or it is not.
local function with_routes(handler)
    local app = http.router()
    local function other() return 404 end
    for i = 1, 333 do
        app:get("/group" .. i .. "/list", other)
        app:get("/group" .. i .. "/:id", other)
        app:post("/group" .. i .. "/:id/parts", other)
    end
    app:get("/user/:id", handler)
    return app
end

local routed = {}

function routed.routed(req, res) return req.params.id == "1234" and greet(res) or 404 end

function routed.matched(_, res) return greet(res) end

local name = arg[1]
local handler = handlers[name] or with_routes(routed[name])
local server = assert(http.createServer(0, handler, {host = "127.0.0.1"}))
print(server:address().port)
io.stdout:flush()
