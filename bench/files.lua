local http = require "http"
local server = assert(http.createServer(0, http.static(arg[1]), {host = "127.0.0.1"}))
io.write(server:address().port, "\n")
io.flush()
