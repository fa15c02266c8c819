-- A small JSON API: a router with middleware, parameters, an error handler and routes of a router
-- within. PORT=... chooses another port than 8080.
--
--   curl -i localhost:8080/api/notes
--   curl -i localhost:8080/api/notes -H 'content-type: application/json' -d '{"text":"buy milk"}'
--   curl -i localhost:8080/api/notes/1
--   curl -i -X DELETE localhost:8080/api/notes/1 -H 'authorization: Bearer let-me'
local http = require "http"
local json = require "json"

local notes, last = {}, 0

local api = http.router()

api:get("/notes", function()
    local list = json.array()
    for id = 1, last do list[#list + 1] = notes[id] end
    return list
end)

api:post("/notes", http.bodyLimit(4096), function(req)
    local note, err = req:json()
    if err then return nil, err end
    if type(note) ~= "table" or type(note.text) ~= "string" then
        return 422, { error = "text is missing" }
    end
    last = last + 1
    notes[last] = { id = last, text = note.text }
    return 201, notes[last], { Location = "/api/notes/" .. last }
end)

api:get("/notes/:id<%d+>", function(req)
    return notes[tonumber(req.params.id)] or 404
end)

api:delete("/notes/:id<%d+>", http.bearer { tokens = { me = "let-me" } }, function(req)
    local id = tonumber(req.params.id)
    if not notes[id] then return 404 end
    notes[id] = nil
    return 204
end)

api:notFound(function() return 404, { error = "there is nothing at this address" } end)

local app = http.router()

app:use(http.requestId())
app:use(http.secureHeaders())
app:mount("/api", api)
app:get("/", function(_, res) return res:redirect("/api/notes") end)

-- A test calls the router without a server: tests/lib/example_router_spec.lua.
if not rawget(_G, "TESTING") then
    local port = tonumber(os.getenv "PORT" or 8080)
    local server = assert(http.createServer(port, app, { host = "127.0.0.1" }))
    print("listening on http://127.0.0.1:" .. server:address().port .. "/")
end

return app
