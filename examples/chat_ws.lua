-- A chat over WebSockets, with its page: rooms, names, and who is there.
--
--   links examples/chat_ws.lua [port]        and then http://127.0.0.1:7003/#lobby in two windows
--   links examples/chat_ws.lua 7003 cert.pem the same over TLS: https://localhost:7003/#lobby, with
--                                            a certificate of its own making, which it leaves in
--                                            that file for clients to trust
local fs = require "fs"
local http = require "http"
local json = require "json"
local tls = require "tls"
local websocket = require "websocket"

local port, cert_path = tonumber(arg[1] or os.getenv("PORT") or 7003), arg[2]

local PAGE = [[
<!doctype html><meta charset="utf-8"><title>chat</title>
<style>body { font: 16px sans-serif; max-width: 40em; margin: 2em auto } #log { height: 60vh;
overflow: auto; border: 1px solid #ccc; padding: .5em } input { width: 100%; box-sizing: border-box }
</style>
<div id="log"></div><form><input id="text" placeholder="say something" autocomplete="off"></form>
<script>
const room = location.hash.slice(1) || "lobby"
const name = new URLSearchParams(location.search).get("name") || prompt("Your name?") || "somebody"
const scheme = location.protocol == "https:" ? "wss" : "ws"
const ws = new WebSocket(`${scheme}://${location.host}/chat/${room}?name=${encodeURIComponent(name)}`)
const log = document.getElementById("log"), text = document.getElementById("text")
ws.onmessage = event => {
    const m = JSON.parse(event.data), line = document.createElement("div")
    line.textContent = m.text ? `${m.from}: ${m.text}` : `${m.from} ${m.what} (${m.people} here)`
    log.append(line)
    line.scrollIntoView()
}
ws.onclose = event => log.append(`closed: ${event.code} ${event.reason}`)
document.forms[0].onsubmit = event => {
    event.preventDefault()
    if (text.value) ws.send(text.value)
    text.value = ""
}
</script>
]]

local function tell(ws, message)
    message.from = ws.data.name
    websocket.publish(ws.data.topic, json.encode(message))
end

local app = http.router()

app:get("/", function(_, res)
    res:setHeader("Content-Type", "text/html; charset=utf-8")
    return PAGE
end)

-- Functions, not a loop: whoever says nothing costs no task.
app:ws("/chat/:room<[%w_-]+>", {
    upgrade = function(req)
        local name = req.query.name
        if not name or name == "" or #name > 40 then return 400, "a name, please\n" end
    end,
    open = function(ws)
        ws.data.name, ws.data.topic = ws.req.query.name, "chat:" .. ws.req.params.room
        ws:subscribe(ws.data.topic)
        tell(ws, { what = "has come", people = websocket.count(ws.data.topic) })
    end,
    message = function(ws, text, kind)
        if kind ~= "text" then return ws:close(1003, "text, please") end
        tell(ws, { text = text })
    end,
    close = function(ws)
        tell(ws, { what = "has left", people = websocket.count(ws.data.topic) })
    end,
}, { origins = "same", maxMessageSize = 2000, maxMessageRate = 20, maxPerIp = 100 })

local pair = cert_path and tls.selfSigned { "localhost", "127.0.0.1" }
if pair then assert(fs.writeFile(cert_path, pair.cert)) end

local server, err = http.createServer(port, app, { host = "127.0.0.1", tls = pair })
if not server then error(err, 0) end
print(("chat on %s:%d/"):format(pair and "https://localhost" or "http://127.0.0.1",
    server:address().port))
io.stdout:flush()
