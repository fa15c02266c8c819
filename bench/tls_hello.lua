-- hello.lua over TLS; with a folder behind certificate and key it serves files. Prints its port.

local http = require "http"

local cert, key, folder = arg[1], arg[2], arg[3]

local function hello(_, res)
    res:setHeader("Content-Type", "text/plain")
    return "Hello, World!"
end

local server = assert(http.createServer(0, folder and http.static(folder) or hello,
    {host = "127.0.0.1", tls = {cert = cert, key = key, minVersion = "1.3"}}))

print(server:address().port)
io.stdout:flush()
