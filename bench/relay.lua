-- The proxy of tcp.sh: links relay.lua copy|splice TARGET. Prints its port.
local tcp = require "tcp"

local how, target = arg[1], tonumber(arg[2])

local server = assert(tcp.createServer(0, function(client)
    local upstream = assert(tcp.connect(target))
    client:pipe(upstream, { splice = how == "splice" })
    upstream:close()
end, { host = "127.0.0.1" }))

print(server:address().port)
io.stdout:flush()
