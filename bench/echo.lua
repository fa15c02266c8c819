-- The server of tcp.sh: sends back what comes, 64 bytes at a time. Prints its port.
local tcp = require "tcp"

local server = assert(tcp.createServer(0, function(socket)
    while true do
        local data, err = socket:read(64)
        if err then break end
        socket:write(data)
    end
end, { host = "127.0.0.1" }))

print(server:address().port)
io.stdout:flush()
