-- The server of the benchmarks: hello world as an application would write it. Prints its port.
-- hello.lua FILE logs each request to that file, in the format "combined".

local http = require "http"

local server = assert(http.createServer(0, function(_, res)
    res:setHeader("Content-Type", "text/plain")
    return "Hello, World!"
end, {host = "127.0.0.1", accessLog = arg[1]}))

print(server:address().port)
io.stdout:flush()
