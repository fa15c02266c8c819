-- The example site, over the wire and in a browser.
package.path = "tests/support/?.lua;" .. package.path

local browser = require "browser"
local child = require "child"
local codec = require "codec"
local json = require "json"
local program = require "program"
local wire = require "wire"
local zlib = require "zlib"

-- A picture of one pixel.
local PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    .. "hgGAWjR9awAAAABJRU5ErkJggg=="

-- More than a picture may have, but little more: who sends much more may find the connection closed
-- before he has read the answer.
local LARGE = 4 * 2 ^ 20 + 300000

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

local function form(fields, kind)
    local parts = {}
    for name, value in pairs(fields) do
        local more = name == "image" and '; filename="a.png"\r\nContent-Type: '
            .. (kind or "image/png") or ""
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
        local picture = codec.base64.decode(PIXEL)
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
        res = form { author = "", text = "kept" }
        assert.truthy(res.body:find("A name of 1 to 40 letters", 1, true))
        assert.truthy(res.body:find("kept</textarea>", 1, true))
        res = form { author = "a", text = "x", image = ("x"):rep(LARGE) }
        assert.equal(422, res.status)
        assert.truthy(res.body:find("larger than 4 MiB", 1, true))
        assert.equal(422, form({ author = "a", text = "x", image = "GIF" }, "text/plain").status)
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

    describe("in a browser", function()
        local page, url

        local function on_page(test)
            return function()
                if not browser.program() then return pending("needs chromium") end
                if child.isSanitized() or child.isEmulated() then
                    return pending("once is enough")
                end
                page, url = browser.start(), "http://127.0.0.1:" .. port
                test()
            end
        end

        after_each(function()
            if page then page:stop() end
            page = nil
        end)

        -- Leaves a note with a picture of so many bytes, or the one of a pixel.
        local function leave_note(text, size)
            page:eval(([[(() => {
                document.querySelector("[name=author]").value = "Ann"
                document.querySelector("[name=text]").value = %s
                const bytes = %s
                const files = new DataTransfer()
                files.items.add(new File([bytes], "dot.png", { type: "image/png" }))
                const image = document.querySelector("[type=file]")
                image.files = files.files
                image.dispatchEvent(new Event("change"))
                document.querySelector("form button").click()
            })()]]):format(json.encode(text), size and "new Uint8Array(" .. size .. ")"
                or 'Uint8Array.from(atob("' .. PIXEL .. '"), c => c.charCodeAt(0))'))
        end

        it("does what it shows", on_page(function()
            page:open(url .. "/")
            page:eval("document.getElementById('post').click()")
            page:await("document.getElementById('echo').textContent.includes('comes back')")
            page:open(url .. "/live")
            page:await("Number(document.querySelector('#stats dd').textContent) >= 1")
            page:eval("document.getElementById('start').click()")
            page:await("document.getElementById('stream').textContent.includes('line 10 of 10')")
            assert.equal(url .. "/live", page:eval("location.href"))

            page:open(url .. "/notes")
            leave_note("<i>from the browser</i>")
            page:await("document.querySelector('.notes li p')?.textContent"
                .. " === '<i>from the browser</i>'")
            page:await("document.querySelector('.notes img').naturalWidth === 1")
            leave_note("too large", LARGE)
            page:await("document.querySelector('[type=file]').validationMessage.includes('4 MiB')")
            assert.equal(1, page:eval("document.querySelectorAll('.notes li').length"))
            assert.same({}, page.faults)
        end))

        it("works without scripts, and says what is wrong with a note", on_page(function()
            page:showAs(1000, { scripts = false })
            page:open(url .. "/")
            page:eval("document.getElementById('post').click()")
            page:await("location.pathname === '/echo'"
                .. " && document.body.textContent.includes('comes back')")
            page:open(url .. "/live")
            assert.is_true(page:eval("Number(document.querySelector('#stats dd').textContent)") > 0)
            page:eval("document.getElementById('start').click()")
            page:await("location.pathname === '/stream'"
                .. " && document.body.textContent.includes('line 2 of 10')")
            page:open(url .. "/notes")
            leave_note("too large", LARGE)
            page:await("document.querySelector('.error')?.textContent.includes('4 MiB')")
            leave_note("small")
            page:await("document.querySelector('.notes li p')?.textContent === 'small'")
        end))

        it("fits phones and desktops, and can be read in the light and in the dark",
            on_page(function()
            -- The least contrast of text with what is behind it (WCAG 2, 1.4.3), where the browser
            -- blends the colours and the opacity of each element into pixels of a canvas.
            local look = [[(() => {
                const brush = document.createElement("canvas").getContext("2d")
                const mix = (colour, opacity) => {
                    brush.globalAlpha = opacity
                    brush.fillStyle = colour
                    brush.fillRect(0, 0, 1, 1)
                }
                const light = () => [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3).map(c =>
                    (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
                    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0.05)
                const probe = document.body.appendChild(document.createElement("i"))
                probe.style.backgroundColor = "Canvas"
                const canvas = getComputedStyle(probe).backgroundColor
                probe.remove()
                let worst = 99
                for (const element of document.querySelectorAll("body *")) {
                    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim())
                    if (!own && element.tagName !== "TEXTAREA") continue
                    const above = []
                    for (let e = element; e; e = e.parentElement) above.unshift(getComputedStyle(e))
                    mix(canvas, 1)
                    for (const style of above) mix(style.backgroundColor, 1)
                    const behind = light()
                    mix(above.at(-1).color, above.reduce((all, s) => all * s.opacity, 1))
                    const text = light()
                    worst = Math.min(worst, Math.max(text, behind) / Math.min(text, behind))
                }
                return { worst, canvas, wide: document.documentElement.scrollWidth > innerWidth,
                    broken: [...document.images].some(i => i.naturalWidth === 0) }
            })()]]
            local canvases = {}
            form { author = "Ann", text = "a note", image = codec.base64.decode(PIXEL) }
            for _, how in ipairs { { 1200 }, { 360, phone = true }, { 1200, dark = true },
                { 360, phone = true, dark = true } } do
                page:showAs(how[1], how)
                for _, path in ipairs { "/", "/notes", "/live", "/none" } do
                    page:open(url .. path)
                    local seen = page:eval(look)
                    canvases[seen.canvas] = true
                    assert.same({ false, false }, { seen.wide, seen.broken }, path)
                    assert(seen.worst >= 4.5, path .. " has text of the contrast " .. seen.worst)
                end
            end
            assert.is_truthy(next(canvases, (next(canvases)))) -- it was dark, and it was not
        end))
    end)
end)
