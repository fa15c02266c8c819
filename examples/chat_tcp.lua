-- A chat over TCP: the first line of a connection is a name, each later one goes to all others.
--
--   links examples/chat_tcp.lua [port]        and then, in several terminals: nc 127.0.0.1 7001
local sync = require "sync"
local task = require "task"
local tcp = require "tcp"

local port = tonumber(arg[1] or os.getenv("PORT") or 7001)
local QUEUE = 100 -- lines that may wait for somebody who reads slowly; he then has to leave

local people = {} -- socket -> the channel of lines for it

local function tell(line, except)
    for socket, lines in pairs(people) do
        -- A send that would have to wait answers ETIMEDOUT at once.
        if socket ~= except and not lines:send(line, 0) then socket:close(true) end
    end
end

-- Writes what the others say, at the pace of this one.
local function deliver(socket, lines)
    for line in function() return (lines:receive()) end do
        if not socket:write(line .. "\n") then return end
    end
end

local server = assert(tcp.createServer(port, function(socket)
    socket:write("Your name?\n")
    local name = socket:readline()
    if not name or name == "" then return end
    local lines = sync.channel(QUEUE)
    people[socket] = lines
    task.spawn(deliver, socket, lines)
    tell(name .. " has come", socket)
    for line in socket:lines() do tell(name .. ": " .. line, socket) end
    people[socket] = nil
    lines:close()
    tell(name .. " has left")
end, { host = "127.0.0.1" }))

local at = server:address()
print(("chat on %s:%d"):format(at.address, at.port))
io.stdout:flush()
