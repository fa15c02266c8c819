-- The server of the benchmarks: hello world as an application would write it. Prints its port.

local http = require "http"

local server = assert(http.createServer(0, function(_, res)
    res:setHeader("Content-Type", "text/plain")
    return "Hello, World!"
end, {host = "127.0.0.1"}))

print(server:address().port)
io.stdout:flush()
