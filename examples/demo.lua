-- A server to look at: a page, a response that comes in pieces, and an echo. `make demo` starts it;
-- PORT=... chooses another port.
local http = require "http"
local timer = require "timer"

local PAGE = [[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>links</title>
<style>
  :root { color-scheme: light dark; --accent: #0a7d5c }
  body { font: 16px/1.6 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto;
    padding: 0 1.25rem }
  h1 { font-size: 2.5rem; letter-spacing: -.03em; margin: 0; color: var(--accent) }
  h2 { font-size: 1rem; margin: 2rem 0 .5rem; text-transform: uppercase; letter-spacing: .08em }
  pre, textarea { font: 14px/1.5 ui-monospace, monospace; background: #8881; padding: .75rem;
    border: 1px solid #8884; border-radius: .5rem; width: 100%%; box-sizing: border-box;
    overflow: auto; margin: 0 }
  pre:empty::before { content: "..."; opacity: .5 }
  button { font: inherit; margin: .5rem 0; padding: .3rem 1.1rem; border: 0; border-radius: .5rem;
    background: var(--accent); color: #fff; cursor: pointer }
  table { border-spacing: 0 } td { padding: 0 1.5rem 0 0; vertical-align: top }
</style>
</head>
<body>
<h1>links</h1>
<p>An HTTP server and network runtime on LuaJIT. This page is an ordinary Lua string; the file
that serves it is <code>examples/demo.lua</code>.</p>
<h2>This request</h2>
<table>%s</table>
<h2>A stream</h2>
<p>Ten lines, one every quarter of a second, from a loop with a sleep in it. Others are served
meanwhile.</p>
<button id="start">Start</button>
<pre id="stream"></pre>
<h2>An echo</h2>
<textarea id="text" rows="3">Whatever you POST comes back.</textarea>
<button id="post">Post</button>
<pre id="echo"></pre>
<script>
const $ = id => document.getElementById(id)
$("start").onclick = async () => {
  $("stream").textContent = ""
  const reader = (await fetch("/stream")).body.pipeThrough(new TextDecoderStream()).getReader()
  for (let r; !(r = await reader.read()).done;) $("stream").textContent += r.value
}
$("post").onclick = async () => {
  const r = await fetch("/echo", { method: "POST", body: $("text").value })
  $("echo").textContent = await r.text()
}
</script>
</body>
</html>
]]

local function escape(s)
    local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }
    return (s:gsub('[&<>"]', entities))
end

local function page(req)
    local rows = {}
    local function row(name, value)
        rows[#rows + 1] = ("<tr><td>%s</td><td><code>%s</code></td></tr>"):format(
            escape(name), escape(value))
    end
    row("request", req.method .. " " .. req.url .. " HTTP/" .. req.version)
    row("from", req.remoteAddress .. ":" .. req.remotePort)
    row("browser", req.headers["user-agent"] or "unknown")
    return 200, PAGE:format(table.concat(rows)), { ["Content-Type"] = "text/html; charset=utf-8" }
end

local function stream(_, res)
    res:setHeader("Content-Type", "text/plain; charset=utf-8")
    for i = 1, 10 do
        -- An error says that the client has left: there is nobody to go on for.
        if not res:write(("line %d of 10\n"):format(i)) then return end
        timer.sleep(250)
    end
    res:finish()
end

local function echo(req)
    if req.method ~= "POST" then return 405, "POST something here.\n", { Allow = "POST" } end
    local body, err = req:body()
    if err then return nil, err end
    local kind = req.headers["content-type"] or "application/octet-stream"
    return 200, body, { ["Content-Type"] = kind }
end

local routes = { ["/"] = page, ["/stream"] = stream, ["/echo"] = echo }

local port = tonumber(os.getenv "PORT" or 8080)
local server, err = http.createServer(port, function(req, res)
    local route = routes[req.path]
    if not route then return 404, "There is nothing at this address.\n" end
    return route(req, res)
end, { host = "127.0.0.1" })

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
print("  curl -d 'hello' " .. url .. "/echo        a POST that comes back")
io.stdout:flush()
