-- A TCP echo server: sends back what it gets.
--
--   links examples/echo.lua [port]        and then: nc 127.0.0.1 7000
local tcp = require "tcp"

local port = tonumber(arg[1] or os.getenv("PORT") or 7000)

local server = assert(tcp.createServer(port, function(socket)
    local data = socket:readSome()
    while data do
        socket:write(data)
        data = socket:readSome()
    end
end, { host = "127.0.0.1" }))

local at = server:address()
print(("echo on %s:%d"):format(at.address, at.port))
io.stdout:flush()
