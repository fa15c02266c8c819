-- A TCP proxy: passes each connection on to another server, and says how much went each way. With
-- v1 or v2 it tells that server who the client is, by a header of the PROXY protocol.
--
--   links examples/proxy.lua <port> [host:]port [v1|v2]
--   links examples/proxy.lua 7002 127.0.0.1:7000
local tcp = require "tcp"

local port = tonumber(arg[1])
local host, target = (arg[2] or ""):match("^(.-):?(%d+)$")
local version = ({ v1 = 1, v2 = 2 })[arg[3]] or not arg[3] and 0
if not port or not target or not version then
    io.stderr:write("usage: links examples/proxy.lua <port> [host:]port [v1|v2]\n")
    os.exit(2)
end
if host == "" then host = "127.0.0.1" end

local function log(socket, ...)
    local from = socket:remoteAddress() or { address = "?", port = 0 }
    print(from.address .. ":" .. from.port, ...)
    io.stdout:flush()
end

local server = assert(tcp.createServer(port, function(client)
    local upstream, err = tcp.connect(tonumber(target), host)
    if not upstream then return log(client, err) end
    local moved, failure = client:pipe(upstream, { proxyHeader = version })
    upstream:close()
    log(client, moved.sent, moved.received, failure or "ok")
end, { host = "127.0.0.1" }))

local at = server:address()
print(("proxy on %s:%d to %s:%s"):format(at.address, at.port, host, target))
io.stdout:flush()
