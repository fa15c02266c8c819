-- The example site, over the wire and in a browser.
package.path = "tests/support/?.lua;" .. package.path

local browser = require "browser"
local child = require "child"
local json = require "json"
local program = require "program"
local wire = require "wire"
local zlib = require "zlib"

-- A picture of one pixel.
local PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    .. "hgGAWjR9awAAAABJRU5ErkJggg=="

local site, port

local function start()
    site = program.start({ "-e", [[
        local env = os.getenv
        rawset(os, "getenv", function(name) return name == "PORT" and "0" or env(name) end)
        arg[0] = "examples/demo.lua"
        dofile "examples/demo.lua"
    ]] })
    site:expect("ctrl-C")
    port = tonumber(site.out:match("127%.0%.0%.1:(%d+)/"))
end

before_each(start)

after_each(function()
    site:kill("TERM")
    site:wait()
end)

local function get(path, fields)
    return wire.request(port, "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n" .. (fields or "")
        .. "\r\n")
end

local function post(path, kind, body)
    return wire.request(port, ("POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\n"
        .. "Content-Length: %d\r\n\r\n%s"):format(path, kind, #body, body))
end

local function form(fields)
    local parts = {}
    for name, value in pairs(fields) do
        local more = name == "image" and '; filename="a.png"\r\nContent-Type: image/png' or ""
        parts[#parts + 1] = ('--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n')
            :format(name, more, value)
    end
    return post("/notes", "multipart/form-data; boundary=b", table.concat(parts) .. "--b--\r\n")
end

describe("examples/demo.lua", function()
    it("serves pages, files, and what is in them, compressed", function()
        for path, text in pairs {
            ["/"] = "GET / HTTP/1.1", ["/notes"] = "Nobody has left one yet",
            ["/live"] = "A response in pieces",
            ["/assets/demo.js"] = "EventSource",
        } do
            local res = get(path)
            assert.equal(200, res.status, path)
            assert.truthy(res.body:find(text, 1, true), path)
        end
        local res = get("/assets/demo.css", "Accept-Encoding: gzip\r\n")
        assert.equal("text/css; charset=utf-8", res.headers["content-type"])
        res = get("/", "Accept-Encoding: gzip\r\n")
        assert.truthy(zlib.gunzip(res.body):find("</html>", 1, true))
        assert.truthy(res.headers["content-security-policy"])
        res = get("/none")
        assert.equal(404, res.status)
        assert.truthy(res.body:find("Nothing here", 1, true))
        assert.equal(405, post("/", "text/plain", "").status)
    end)

    it("takes notes by its form and by its API, and shows them as text", function()
        local picture = require("codec").base64.decode(PIXEL)
        local res = form { author = "Ann", text = "<b>bold</b>", image = picture }
        assert.same({ 303, "/notes" }, { res.status, res.headers.location })
        assert.truthy(get("/notes").body:find("&lt;b&gt;bold&lt;/b&gt;", 1, true))
        res = get("/notes/1/image")
        assert.same({ "image/png", picture }, { res.headers["content-type"], res.body })
        assert.equal(404, get("/notes/2/image").status)

        res = post("/api/notes", "application/json", '{"author": "Bob", "text": "hi"}')
        assert.equal(201, res.status)
        local notes = json.decode(get("/api/notes").body).notes
        assert.same({ "Bob", "Ann" }, { notes[1].author, notes[2].author })
        assert.equal(422, form({ author = "", text = "x" }).status)
        assert.equal(422, form({ author = "a", text = "x", image = ("x"):rep(600000) }).status)
        assert.equal(422, post("/api/notes", "application/json", "7").status)
        assert.equal(400, post("/api/notes", "application/json", "{").status)
        assert.equal(415, post("/api/notes", "text/plain", "{}").status)
    end)

    it("streams, and sends events", function()
        assert.equal(10, select(2, get("/stream").body:gsub("line %d+ of 10\n", "")))
        local c = wire.connect(port)
        c:send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        assert(c:await(function(b) return select(2, b:gsub("event: stats\n", "")) >= 2 end))
        c:close()
    end)

    it("works in a browser", function()
        if not browser.program() then return pending("needs chromium") end
        if child.isSanitized() or child.isEmulated() then return pending("once is enough") end
        local page = browser.start()
        local ok, err = pcall(function()
            local url = "http://127.0.0.1:" .. port
            page:open(url .. "/")
            page:eval("window.faults = 0; addEventListener('error', () => window.faults++)")
            page:eval("document.getElementById('post').click()")
            page:await("document.getElementById('echo').textContent.includes('comes back')")
            -- The style sheet and the picture have come.
            assert.equal("rgb", page:eval(
                "getComputedStyle(document.querySelector('button')).backgroundColor"):sub(1, 3))
            assert.is_true(page:eval("document.querySelector('.brand img').naturalWidth > 0"))
            assert.is_true(page:eval(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"))

            page:open(url .. "/live")
            page:await("Number(document.querySelector('#stats dd').textContent) >= 1")
            page:eval("document.getElementById('start').click()")
            page:await("document.getElementById('stream').textContent.includes('line 10 of 10')")

            page:open(url .. "/notes")
            page:eval(([[(() => {
                document.querySelector("[name=author]").value = "Ann"
                document.querySelector("[name=text]").value = "<i>from the browser</i>"
                const bytes = Uint8Array.from(atob("%s"), c => c.charCodeAt(0))
                const files = new DataTransfer()
                files.items.add(new File([bytes], "dot.png", { type: "image/png" }))
                document.querySelector("[type=file]").files = files.files
                document.querySelector("form button").click()
            })()]]):format(PIXEL))
            page:await("document.querySelector('.notes li p')?.textContent"
                .. " === '<i>from the browser</i>'")
            page:await("document.querySelector('.notes img').naturalWidth === 1")
            assert.is_true(#page:screenshot() > 10000)
        end)
        page:stop()
        assert(ok, err)
    end)
end)
