-- Servers for the specs of redis: a real one in a folder of its own, and one whose replies the spec
-- writes itself.
local fs = require "fs"
local process = require "process"
local redis = require "redis"
local sockets = require "sockets"
local tools = require "tools"

local server = {}

server.there = os.execute("command -v redis-server >/dev/null 2>&1") == 0

-- Starts redis-server on a Unix socket, with further arguments. `path` is that of the socket.
function server.start(...)
    local folder = assert(fs.tempDir())
    local path = folder .. "/socket"
    local child = assert(process.spawn("redis-server", {
        "--port", "0", "--unixsocket", path, "--dir", folder, "--save", "", "--appendonly", "no",
        "--logfile", folder .. "/log", ...,
    }, { stdin = "null", stdout = "null", stderr = "null" }))
    local self = { path = path, folder = folder }
    function self.stop()
        child:kill("SIGKILL")
        child:wait(20000)
        fs.remove(folder, { recursive = true })
    end
    tools.eventually("redis-server", function()
        local conn = redis.connect(nil, nil, { path = path })
        return conn and conn:close()
    end)
    return self
end

-- The next command that a client sends, as an array; nil at the end.
function server.command(socket)
    local line = socket:readline()
    local count = line and tonumber(line:match("^%*(%d+)$"))
    if not count then return nil end
    local list = {}
    for i = 1, count do
        local size = tonumber((socket:readline() or ""):match("^%$(%d+)$"))
        local text = size and socket:read(size + 2)
        if not text then return nil end
        list[i] = text:sub(1, -3)
    end
    return list
end

-- Answers what a client says first.
function server.greet(socket)
    for _ = 1, 2 do
        if not server.command(socket) then return false end
        socket:write("+OK\r\n")
    end
    return true
end

-- A server that calls onconnect(socket, n) when it has greeted; the port, and its connections.
function server.fake(onconnect)
    local n, open = 0, {}
    local port = sockets.serve(function(socket)
        n = n + 1
        open[n] = socket
        if server.greet(socket) then onconnect(socket, n) end
    end)
    return port, open
end

-- A server that answers each command by answer(command, socket, n); nil closes the connection.
function server.answering(answer)
    return server.fake(function(socket, n)
        for command in function() return server.command(socket) end do
            local text = answer(command, socket, n)
            if not text then return end
            socket:write(text)
        end
    end)
end

return server
