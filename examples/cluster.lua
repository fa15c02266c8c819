-- A web server on all processors, which is reloaded without losing a request.
--
--   PIDFILE=app.pid links examples/cluster.lua [port [workers]]
--
--   curl localhost:8080/          # again and again: other workers answer
--   kill -HUP $(cat app.pid)      # new workers, of the program as it is then
--   kill -TERM $(cat app.pid)     # answers what was asked, and ends
local http = require "http"
local process = require "process"

local port, workers = tonumber(arg[1] or 8080), tonumber(arg[2]) or "auto"

local hits = 0
if process.isMaster then
    -- What is counted in one place only. The workers ask the master for it.
    process.onRequest(function()
        hits = hits + 1
        return hits
    end)
end

assert(process.cluster {
    workers = workers,
    pidFile = os.getenv "PIDFILE",
    title = "example",
})

-- Only the workers come here.
local server = assert(http.createServer(port, function()
    local all = process.request("master", "hit", 1000)
    return ("worker %d (%d): request %s of all\n"):format(process.workerId, process.pid,
        all or "?")
end))
if process.workerId == 0 then
    io.write("http://127.0.0.1:", server:address().port, "/\n")
    io.stdout:flush()
end
