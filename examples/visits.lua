-- Counts the visits of pages in Redis, for however many processes serve them, and shows each visit
-- to all who watch. PORT=... chooses another port than 8080, REDIS=... another server.
--
--   links examples/visits.lua
--   curl localhost:8080/page/home
--   curl localhost:8080/top
--   curl -N localhost:8080/live          # then visit pages from another terminal
local http = require "http"
local json = require "json"
local redis = require "redis"

local VISITS_A_MINUTE = 100

local client = redis.createClient { url = os.getenv "REDIS" or "redis://127.0.0.1:6379" }

-- What happens in the server at once: nobody comes between the two commands.
local allow = client:script [[
    local n = redis.call("INCR", KEYS[1])
    if n == 1 then redis.call("EXPIRE", KEYS[1], 60) end
    return n <= tonumber(ARGV[1]) and 1 or 0
]]

local app = http.router()

app:get("/page/:name", function(req)
    local name, visitor = req.params.name, req.remoteAddress or "test"
    local allowed, err = allow:run({ "visits:of:" .. visitor }, { VISITS_A_MINUTE })
    if err then return 503, { error = err.name } end
    if allowed == 0 then return 429, { error = "too many visits" } end
    local replies = client:pipeline(function(p)
        p:zincrby("visits:pages", 1, name)
        p:publish("visits:live", json.encode { page = name })
    end)
    if not replies then return 503, { error = "Redis is gone" } end
    return { page = name, visits = tonumber(replies[1]) }
end)

app:get("/top", function()
    local names, err = client:zrevrange("visits:pages", 0, 9)
    if err then return 503, { error = err.name } end
    return json.array(names)
end)

-- Each who watches has a subscription, which goes on by itself when Redis is started anew.
app:get("/live", function(_, res)
    local sub, err = client:subscribe "visits:live"
    if not sub then return 503, { error = err.name } end
    local stream = assert(res:sse { heartbeat = 500 }) -- so we soon learn that one has left
    repeat
        local message = sub:read()
    until not message or not stream:send { data = message.message }
    sub:close()
end)

-- A test calls the router without a server: tests/lib/example_visits_spec.lua.
if not rawget(_G, "TESTING") then
    local port = tonumber(os.getenv "PORT" or 8080)
    local server = assert(http.createServer(port, app, { host = "127.0.0.1" }))
    print("listening on http://127.0.0.1:" .. server:address().port .. "/")
end

return app, client
