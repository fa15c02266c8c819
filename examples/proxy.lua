-- A TCP proxy: passes each connection on to another server, and says how much went each way.
--
--   links examples/proxy.lua <port> [host:]port
--   links examples/proxy.lua 7002 127.0.0.1:7000
local tcp = require "tcp"

local port = tonumber(arg[1])
local host, target = (arg[2] or ""):match("^(.-):?(%d+)$")
if not port or not target then
    io.stderr:write("usage: links examples/proxy.lua <port> [host:]port\n")
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
    local moved, failure = client:pipe(upstream)
    upstream:close()
    log(client, moved.sent, moved.received, failure or "ok")
end, { host = "127.0.0.1" }))

local at = server:address()
print(("proxy on %s:%d to %s:%s"):format(at.address, at.port, host, target))
io.stdout:flush()
