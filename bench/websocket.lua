-- The server of websocket.sh; prints its port.
--
--     links bench/websocket.lua functions|loop|publish
--
-- functions and loop send back what comes. publish subscribes everybody to one topic; a message of
-- any of them is published to it, and the garbage of the connections is collected before.
local websocket = require "websocket"

local handlers = {
    functions = { message = function(ws, data, kind) ws:write(data, kind) end },
    loop = function(ws)
        while true do
            local data, err, kind = ws:read()
            if err then break end
            ws:write(data, kind)
        end
    end,
    publish = {
        open = function(ws) ws:subscribe("all") end,
        message = function(_, data, kind) websocket.publish("all", data, { kind = kind }) end,
    },
}

local server = assert(websocket.createServer(0, handlers[arg[1]], { host = "127.0.0.1" }))
print(server:address().port)
io.stdout:flush()
