-- A site to look at: pages, a form with an upload, a JSON API, events and a response in pieces, and
-- static files. `make demo` starts it; PORT=... chooses another port.
local http = require "http"
local codec = require "codec"
local path = require "path"
local timer = require "timer"

local ASSETS = path.join(path.dirname(path.resolve(arg[0])), "demo")
local MAX_NOTES, MAX_IMAGE = 20, 4 * 1024 * 1024
local ACCEPTED = "image/png,image/jpeg,image/gif,image/webp"
local IMAGES = {}
for kind in ACCEPTED:gmatch("[^,]+") do IMAGES[kind] = true end

-- --- pages --------------------------------------------------------------------------------------

local LAYOUT = [[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s</title>
<link rel="icon" href="/assets/mark.svg">
<link rel="stylesheet" href="/assets/demo.css">
</head>
<body>
<header>
<a class="brand" href="/"><img src="/assets/mark.svg" alt="" width="28" height="28">links</a>
<nav>%s</nav></header>
<main>
%s
</main>
<script src="/assets/demo.js" defer></script>
</body>
</html>
]]

local PAGES = { { "/", "Home" }, { "/notes", "Notes" }, { "/live", "Live" } }

local escape = codec.escapeHtml

local function page(req, title, body)
    local links = {}
    for i, item in ipairs(PAGES) do
        local here = item[1] == req.path and ' aria-current="page"' or ""
        links[i] = ('<a href="%s"%s>%s</a>'):format(item[1], here, item[2])
    end
    local html = LAYOUT:format(escape(title), table.concat(links), body)
    return 200, html, { ["Content-Type"] = "text/html; charset=utf-8" }
end

local function home(req)
    local rows = {}
    local function row(name, value)
        rows[#rows + 1] = ("<tr><th>%s</th><td>%s</td></tr>"):format(name, escape(value))
    end
    row("request", req.method .. " " .. req.url .. " HTTP/" .. req.version)
    row("from", req.remoteAddress .. ":" .. req.remotePort)
    row("browser", req.headers["user-agent"] or "unknown")
    row("id", req.id)
    return page(req, "links", [[
<h1>One Lua file serves this site</h1>
<p class="lead">Pages, a form with an upload, an API, events, static files: all of it is in
<code>examples/demo.lua</code>, and every handler reads as if it were the only one.</p>
<section><h2>This request</h2><table>]] .. table.concat(rows) .. [[</table></section>
<section><h2>An echo</h2>
<form id="say" method="post" action="/echo" enctype="text/plain">
<textarea name="text" rows="3" aria-label="Text to send">Whatever you POST comes back.</textarea>
<button id="post">Post</button></form><pre id="echo" aria-live="polite"></pre></section>
<section><h2>A whole program</h2>
<pre>local http = require "http"
http.createServer(8080, function(req) return "hello" end)</pre></section>]])
end

-- --- notes --------------------------------------------------------------------------------------

-- In memory, and the oldest go first: it is a demonstration.
local notes, last_id = {}, 0

local function add_note(author, text, image)
    author = (author or ""):match("^%s*(.-)%s*$")
    text = (text or ""):match("^%s*(.-)%s*$")
    if author == "" or #author > 40 then return nil, "A name of 1 to 40 letters is needed." end
    if text == "" or #text > 500 then return nil, "A text of 1 to 500 letters is needed." end
    last_id = last_id + 1
    local note = { id = last_id, author = author, text = text, image = image }
    table.insert(notes, 1, note)
    notes[MAX_NOTES + 1] = nil
    return note
end

local function notes_page(req, message, fields)
    local given = fields or {}
    local list = {}
    for i, note in ipairs(notes) do
        local image = note.image and ('<img src="/notes/%d/image" alt="">'):format(note.id) or ""
        list[i] = ("<li>%s<p>%s</p><footer>%s</footer></li>"):format(image, escape(note.text),
            escape(note.author))
    end
    return page(req, "Notes", ([[
<h1>Notes</h1>
%s
<form method="post" action="/notes" enctype="multipart/form-data">
<label>Name <input name="author" value="%s" required maxlength="40"></label>
<label>Text <textarea name="text" rows="3" required maxlength="500">%s</textarea></label>
<label>Picture, if you like
<input type="file" name="image" accept="%s" data-max="%d"></label>
<button>Leave a note</button>
</form>
<ul class="notes">%s</ul>]]):format(
        message and '<p class="error" role="alert">' .. escape(message) .. "</p>" or "",
        escape(given.author or ""), escape(given.text or ""), ACCEPTED, MAX_IMAGE,
        #list > 0 and table.concat(list) or '<li class="none">Nobody has left one yet.</li>'))
end

-- What the visitor has typed is still there.
local function refuse_note(req, message, fields)
    local _, html, headers = notes_page(req, message, fields)
    return 422, html, headers
end

local function post_note(req)
    local fields, files, err = req:files { maxPartSize = MAX_IMAGE }
    if not fields then
        if err.status ~= 413 then return nil, err end
        return refuse_note(req, "That picture is larger than 4 MiB.")
    end
    local image
    for _, file in ipairs(files) do
        if file.name == "image" and file.size > 0 then
            if not IMAGES[file.type] then
                return refuse_note(req, "That is no picture: PNG, JPEG, GIF or WebP.", fields)
            end
            image = { type = file.type, data = assert(file:body()) }
        end
    end
    local note, message = add_note(fields.author, fields.text, image)
    if not note then return refuse_note(req, message, fields) end
    return 303, "", { Location = "/notes" }
end

local function note_image(req)
    for _, note in ipairs(notes) do
        if tostring(note.id) == req.params.id and note.image then
            return 200, note.image.data, { ["Content-Type"] = note.image.type }
        end
    end
    return 404
end

local function list_notes()
    local list = {}
    for i, note in ipairs(notes) do
        list[i] = { id = note.id, author = note.author, text = note.text }
    end
    return { notes = require("json").array(list) }
end

local function create_note(req)
    local value, err = req:json()
    if err then return nil, err end
    if type(value) ~= "table" or type(value.author) ~= "string" or type(value.text) ~= "string" then
        return 422, { error = "author and text are needed" }
    end
    local note, message = add_note(value.author, value.text)
    if not note then return 422, { error = message } end
    return 201, { id = note.id }, { Location = "/api/notes/" .. note.id }
end

-- --- what goes on -------------------------------------------------------------------------------

local LIVE = [[
<h1>Live</h1>
<section><h2>Events</h2>
<p>What this server does, twice a second, by server-sent events.</p>
<dl id="stats"><div><dt>connections</dt><dd>%d</dd></div>
<div><dt>requests</dt><dd>%d</dd></div><div><dt>KiB sent</dt><dd>%d</dd></div></dl>
</section>
<section><h2>A response in pieces</h2>
<p>Ten lines, one every quarter of a second, from a loop with a sleep in it. Others are served
meanwhile.</p>
<pre>for i = 1, 10 do
    res:write("line " .. i .. " of 10\n")
    timer.sleep(250)
end</pre>
<form id="read" action="/stream"><button id="start">Start</button></form>
<pre id="stream" aria-live="polite"></pre></section>]]

local function live(req)
    local s = req.server:stats()
    return page(req, "Live", LIVE:format(s.connections, s.requests, s.bytesOut / 1024))
end

local function events(req, res)
    local stream = assert(res:sse())
    while true do
        local s = req.server:stats()
        local ok = stream:send { event = "stats", data = {
            connections = s.connections, requests = s.requests,
            ["KiB sent"] = math.floor(s.bytesOut / 1024),
        } }
        -- An error says that the client has left: there is nobody to go on for.
        if not ok or not timer.sleep(500) then return end
    end
end

local function pieces(_, res)
    res:setHeader("Content-Type", "text/plain; charset=utf-8")
    for i = 1, 10 do
        if not res:write("line " .. i .. " of 10\n") or not timer.sleep(250) then return end
    end
    res:finish()
end

local function echo(req)
    local body, err = req:body()
    if err then return nil, err end
    return 200, body, { ["Content-Type"] = "text/plain; charset=utf-8" }
end

-- --- the site -----------------------------------------------------------------------------------

local app = http.router()
app:use(http.secureHeaders { csp = { ["default-src"] = "'self'" } })
app:notFound(function(req)
    local _, html, headers = page(req, "Not found",
        '<h1>Nothing here</h1><p>There is no page at this address. <a href="/">Home</a></p>')
    return 404, html, headers
end)
app:get("/", home)
app:get("/notes", function(req) return notes_page(req) end)
app:post("/notes", post_note)
app:get("/notes/:id<%d+>/image", note_image)
app:get("/live", live)
app:get("/events", events)
app:get("/stream", pieces)
app:post("/echo", http.bodyLimit(65536), echo)
app:get("/api/notes", list_notes)
app:post("/api/notes", assert(http.limit { rate = 20, per = 10000 }), create_note)
app:static("/assets", ASSETS, { maxAge = 3600 })

local port = tonumber(os.getenv "PORT" or 8080)
local server, err = http.createServer(port, app, {
    host = "127.0.0.1", compress = true, maxBodySize = 4 * MAX_IMAGE,
})

if not server then
    io.stderr:write("cannot serve: ", tostring(err), "\n")
    if err.name == "EADDRINUSE" then
        io.stderr:write("try another port: PORT=8081 links examples/demo.lua\n")
    end
    os.exit(1)
end

local url = "http://127.0.0.1:" .. server:address().port
print("links serves " .. url .. "/   (ctrl-C ends it)")
print("")
print("  open it in a browser, or try")
print("  curl -i " .. url .. "/")
print("  curl -N " .. url .. "/stream              a response in pieces")
print("  curl -N " .. url .. "/events              events")
print("  curl -d 'hello' " .. url .. "/echo        a POST that comes back")
print("  curl --json '{\"author\": \"you\", \"text\": \"hi\"}' " .. url .. "/api/notes")
io.stdout:flush()
