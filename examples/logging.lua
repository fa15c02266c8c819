-- Logs of a server: its own lines as text on stderr, with the id of the request that they belong
-- to, and an access log as JSON in a file that is rotated. PORT=... chooses another port than 8080,
-- ACCESS_LOG=... another file than access.log. SIGUSR2 turns debug lines on and off.
--
--   curl -i localhost:8080/slow
--   kill -USR2 <pid>
local http = require "http"
local log = require "log"
local process = require "process"
local task = require "task"
local timer = require "timer"

local db = log.child { name = "db" }

-- What takes its time. Nothing of the request is passed to it: its lines have the id all the same.
local function query(what)
    db:debug("asked for %s", what)
    timer.sleep(20)
    db:info("answered", { what = what, rows = 3, password = "never seen" })
end

local app = http.router()

app:use(http.requestId())
app:use(function(req, _, next)
    task.current().locals.requestId = req.id
    return next()
end)

app:get("/", function() return "hello\n" end)

app:get("/slow", function(req)
    local began = timer.now()
    query("the slow thing")
    req:note("db", timer.now() - began)
    return "done\n"
end)

app:get("/health", function() return "ok\n" end)

local debugging = false
process.on("SIGUSR2", function()
    debugging = not debugging
    log.setLevel(debugging and "debug" or "info")
end)

local access = assert(log.access {
    to = os.getenv "ACCESS_LOG" or "access.log",
    format = "json",
    skip = function(record) return record.url == "/health" end,
    rotate = { size = "10M", every = "day", keep = 14 },
})

local port = tonumber(os.getenv "PORT" or 8080)
local server = assert(http.createServer(port, app, { host = "127.0.0.1", accessLog = access }))
log.info("listening", { url = "http://127.0.0.1:" .. server:address().port .. "/" })
