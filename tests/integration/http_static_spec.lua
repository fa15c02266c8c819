-- Files as answers, as they come over the wire.
package.path = "tests/support/?.lua;" .. package.path

local date = require "date"
local fs = require "fs"
local http = require "http"
local timer = require "timer"
local wire = require "wire"
local zlib = require "zlib"

local servers, dir = {}, nil

local function serve(handler, options)
    options = options or {}
    options.host = "127.0.0.1"
    local server = assert(http.createServer(0, handler, options))
    servers[#servers + 1] = server
    return server:address().port, server
end

local function static(options) return (serve(http.static(dir .. "/root", options))) end

local function request(path, fields, method)
    local lines = {}
    for name, value in pairs(fields or {}) do lines[#lines + 1] = name .. ": " .. value
        .. "\r\n" end
    return ("%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(method or "GET", path,
        table.concat(lines))
end

local function get(port, path, fields, method)
    return wire.request(port, request(path, fields, method), method)
end

local function write(name, data) assert(fs.writeFile(dir .. "/" .. name, data)) end

local MTIME = 1700000000
local STAMP = "Tue, 14 Nov 2023 22:13:20 GMT"
local HUGE = 2 ^ 28 -- more than any socket takes; a hole, that takes no room on the disk
local BIG

before_each(function()
    dir = assert(fs.tempDir())
    for _, name in ipairs { "root/sub/empty", "root/.hidden", "outside" } do
        assert(fs.mkdir(dir .. "/" .. name, { recursive = true }))
    end
    write("root/ten.txt", "0123456789")
    write("root/index.html", "<h1>index</h1>")
    write("root/sub/page.html", "page")
    write("root/.secret", "secret")
    write("root/.hidden/file", "secret")
    write("root/empty", "")
    write("outside/secret", "secret")
    local pieces = {}
    for i = 1, 120000 do pieces[i] = ("%08d "):format(i) end
    BIG = table.concat(pieces)
    write("root/big.bin", BIG)
    assert(fs.utime(dir .. "/root/ten.txt", MTIME * 1000, MTIME * 1000))
end)

after_each(function()
    for _, server in ipairs(servers) do server:close(0) end
    servers = {}
    fs.remove(dir, { recursive = true })
end)

describe("http.static", function()
    it("sends files with their type, length and validators", function()
        local port = static { maxAge = 60, immutable = true }
        for _ = 1, 2 do -- from the disk, and from the cache
            local res = get(port, "/ten.txt")
            assert.equal(200, res.status)
            assert.equal("0123456789", res.body)
            assert.equal("text/plain; charset=utf-8", res.headers["content-type"])
            assert.equal("10", res.headers["content-length"])
            assert.equal(STAMP, res.headers["last-modified"])
            assert.equal("bytes", res.headers["accept-ranges"])
            assert.equal("public, max-age=60, immutable", res.headers["cache-control"])
            assert.truthy(res.headers.etag:find('^"[%x]+%-a"$'))
            assert.is_nil(res.headers.vary)
        end
        assert.equal("", get(port, "/empty").body)
        assert.equal("application/octet-stream", get(port, "/empty").headers["content-type"])
    end)

    it("sends large files straight from the file, whole and in order, also pipelined", function()
        local port = static()
        local c = wire.connect(port)
        c:send(request("/big.bin") .. request("/ten.txt") .. request("/big.bin") .. request("/"))
        assert.truthy(c:response().body == BIG)
        assert.equal("0123456789", c:response().body)
        assert.truthy(c:response().body == BIG)
        assert.equal("<h1>index</h1>", c:response().body)
        c:close()
    end)

    it("sends large files to a slow reader, holding back only him", function()
        local port, server = serve(http.static(dir .. "/root"))
        local slow = wire.connect(port, { receiveBuffer = 4096 })
        slow:send(request("/big.bin") .. request("/big.bin"))
        wire.eventually("the first request", function() return server:stats().requests >= 1 end)
        for _ = 1, 20 do assert.equal(200, get(port, "/ten.txt").status) end
        assert.truthy(slow:response().body == BIG)
        assert.truthy(slow:response().body == BIG)
        slow:close()
    end)

    it("gives up a file when the client leaves, and serves on", function()
        local port, server = serve(http.static(dir .. "/root"))
        for i = 1, 5 do
            local c = wire.connect(port, { receiveBuffer = 4096 })
            c:send(request("/big.bin"))
            c:need(1000)
            if i % 2 == 0 then c:reset() else c:close() end
        end
        wire.eventually("their end", function() return server:connections() == 0 end)
        assert.equal(200, get(port, "/ten.txt").status)
    end)

    it("answers HEAD with the head alone", function()
        local port = static()
        for path, size in pairs { ["/ten.txt"] = 10, ["/big.bin"] = #BIG } do
            local c = wire.connect(port)
            c:send(request(path, {}, "HEAD") .. request("/ten.txt"))
            assert.equal(tostring(size), c:response("HEAD").headers["content-length"])
            assert.equal("0123456789", c:response().body)
            c:close()
        end
    end)

    it("refuses other methods, and says which there are", function()
        local port = static()
        local res = get(port, "/ten.txt", {}, "DELETE")
        assert.same({ 405, "GET, HEAD" }, { res.status, res.headers.allow })
    end)

    it("answers for folders: the index, a redirect to the slash, 404, a list", function()
        local port, listing = static(), static { listing = true }
        assert.equal("<h1>index</h1>", get(port, "/").body)
        local res = get(port, "/sub?a=b")
        assert.same({ 301, "/sub/?a=b" }, { res.status, res.headers.location })
        assert.equal("/sub/", get(port, "//sub").headers.location)
        assert.equal(404, get(port, "/sub/").status)
        assert.equal(404, get(port, "/ten.txt/").status)
        write("root/sub/a&<b>\".txt", "")
        write("root/sub/.dot", "")
        res = get(listing, "/sub/")
        assert.equal(200, res.status)
        assert.truthy(res.body:find('href="./empty/"', 1, true))
        assert.truthy(res.body:find('href="./a%26%3Cb%3E%22.txt">a&amp;&lt;b&gt;&quot;.txt<', 1,
            true))
        assert.falsy(res.body:find(".dot", 1, true))
        assert.equal(404, get(static { index = false }, "/").status)
        assert.equal("0123456789", get(static { index = "ten.txt" }, "/").body)
    end)

    it("sends nothing from outside the folder", function()
        assert(fs.symlink("../outside", dir .. "/root/out"))
        assert(fs.symlink(dir .. "/outside/secret", dir .. "/root/absolute"))
        assert(fs.symlink("../outside/secret", dir .. "/root/link.txt"))
        assert(os.execute("mkfifo " .. dir .. "/root/fifo") == 0)
        local port = static { dotfiles = true, listing = true }
        for _, path in ipairs {
            "/../outside/secret", "/sub/../../outside/secret", "/..", "/../",
            "/%2e%2e/outside/secret",
            "/.%2e/outside/secret", "/..%2foutside/secret", "/..%2Foutside%2Fsecret",
            "/sub/..%5c..",
            "/..\\outside\\secret", "/ten.txt%00", "/ten.txt%00.html", "/%", "/%2", "/%zz",
            "/%c0%ae%c0%ae/",
            "/out/secret", "/out/", "/absolute", "/link.txt", "/fifo", "//etc/passwd", "/./ten.txt",
            "/" .. ("x"):rep(300), "/" .. ("a/"):rep(1500),
        } do
            local res = get(port, path)
            assert.equal(404, res.status, path)
            assert.falsy(res.body:find("secret", 1, true), path)
        end
    end)

    it("treats links as it is told to", function()
        assert(fs.symlink("ten.txt", dir .. "/root/inside"))
        assert(fs.symlink("../outside/secret", dir .. "/root/outside"))
        local function both(options)
            local port = static(options)
            local app = http.router():static("/", dir .. "/root", options)
            local seen = { get(port, "/inside").status, get(port, "/outside").status }
            -- As for requests that no client has sent.
            assert.same(seen, { (app:call("GET", "/inside")), (app:call("GET", "/outside")) })
            return seen
        end
        assert.same({ 200, 404 }, both {})
        assert.same({ 404, 404 }, both { symlinks = "none" })
        assert.same({ 200, 200 }, both { symlinks = "follow" })
    end)

    it("keeps what begins with a dot to itself, unless told otherwise", function()
        local port = static()
        assert.equal(404, get(port, "/.secret").status)
        assert.equal(404, get(port, "/%2esecret").status)
        assert.equal(404, get(port, "/.hidden/file").status)
        assert.equal("secret", get(static { dotfiles = true }, "/.hidden/file").body)
    end)

    it("says no to what it may not read", function()
        write("root/locked", "x")
        assert(fs.chmod(dir .. "/root/locked", 0))
        local port = static()
        local status = get(port, "/locked").status
        -- root may read everything
        assert.truthy(status == 403 or (status == 200 and io.open(dir .. "/root/locked")))
    end)

    it("decodes the path once", function()
        write("root/a b%20c.txt", "odd")
        local port = static()
        assert.equal("odd", get(port, "/a%20b%2520c.txt").body)
        assert.equal("0123456789", get(port, "/%74en.txt?x=/../y").body)
        assert.equal("page", get(port, "//sub///page.html").body)
    end)

    it("answers conditions by 304 and 412", function()
        local port = static()
        local etag = get(port, "/ten.txt").headers.etag
        local before, after = date.http((MTIME - 1) * 1000), date.http((MTIME + 1) * 1000)
        for i, case in ipairs {
            { 304, { ["If-None-Match"] = etag } },
            { 304, { ["If-None-Match"] = '"x", W/' .. etag } },
            { 304, { ["If-None-Match"] = "*" } },
            { 200, { ["If-None-Match"] = '"x"' } },
            { 200, { ["If-None-Match"] = '"x"', ["If-Modified-Since"] = after } },
            { 304, { ["If-Modified-Since"] = STAMP } },
            { 304, { ["If-Modified-Since"] = after } },
            { 200, { ["If-Modified-Since"] = before } },
            { 200, { ["If-Modified-Since"] = "yesterday" } },
            { 200, { ["If-Match"] = etag } },
            { 200, { ["If-Match"] = "*" } },
            { 412, { ["If-Match"] = "W/" .. etag } },
            { 412, { ["If-Match"] = '"x"' } },
            { 412, { ["If-Match"] = '"x"', ["If-Unmodified-Since"] = after } },
            { 200, { ["If-Unmodified-Since"] = STAMP } },
            { 412, { ["If-Unmodified-Since"] = before } },
            { 412, { ["If-Unmodified-Since"] = before, ["If-None-Match"] = etag } },
            { 304, { ["If-None-Match"] = etag, Range = "bytes=0-1" } },
        } do
            for _, method in ipairs { "GET", "HEAD" } do
                local res = get(port, "/ten.txt", case[2], method)
                assert.equal(case[1], res.status, "case " .. i)
                if res.status == 304 then
                    assert.equal(etag, res.headers.etag)
                    assert.is_nil(res.headers["content-type"])
                    assert.is_nil(res.headers["content-length"])
                end
            end
        end
    end)

    it("answers one range by 206, of files in memory and on the disk", function()
        local port = static()
        for path, data in pairs { ["/ten.txt"] = "0123456789", ["/big.bin"] = BIG } do
            local size = #data
            for range, part in pairs {
                ["0-0"] = { 0, 0 }, ["2-4"] = { 2, 4 }, ["5-"] = { 5, size - 1 },
                ["-3"] = { size - 3, size - 1 }, ["0-99999999"] = { 0, size - 1 },
            } do
                local res = get(port, path, { Range = "bytes=" .. range })
                assert.equal(206, res.status)
                assert.truthy(res.body == data:sub(part[1] + 1, part[2] + 1))
                assert.equal(("bytes %d-%d/%d"):format(part[1], part[2], size),
                    res.headers["content-range"])
            end
            local res = get(port, path, { Range = "bytes=" .. size .. "-" })
            assert.same({ 416, "bytes */" .. size }, { res.status, res.headers["content-range"] })
            assert.is_nil(res.headers.etag)
            res = get(port, path, { Range = "bytes=5-4" })
            assert.same({ 200, size }, { res.status, #res.body })
            assert.equal(200, get(port, path, { Range = "bytes=0-1" }, "HEAD").status)
        end
        assert.equal(416, get(port, "/empty", { Range = "bytes=0-" }).status)
        assert.equal(200, get(static { ranges = false }, "/ten.txt", {
            Range = "bytes=0-1" }).status)
    end)

    it("answers several ranges by parts, in the order asked for", function()
        local port = static()
        for path, data in pairs { ["/ten.txt"] = "0123456789", ["/big.bin"] = BIG } do
            local res = get(port, path, { Range = "bytes=7-8, 0-1,-1" })
            assert.equal(206, res.status)
            assert.is_nil(res.headers["content-range"])
            local boundary = res.headers["content-type"]
                :match("^multipart/byteranges; boundary=(.+)$")
            local kind = path == "/ten.txt" and "text/plain; charset=utf-8"
                or "application/octet-stream"
            local expected = ""
            for _, part in ipairs { { 7, 8 }, { 0, 1 }, { #data - 1, #data - 1 } } do
                local range = ("bytes %d-%d/%d"):format(part[1], part[2], #data)
                expected = expected .. "\r\n--" .. boundary .. "\r\nContent-Type: " .. kind
                    .. "\r\nContent-Range: " .. range .. "\r\n\r\n"
                    .. data:sub(part[1] + 1, part[2] + 1)
            end
            assert.equal(expected .. "\r\n--" .. boundary .. "--\r\n", res.body)
        end
        local many = {}
        for i = 1, 17 do many[i] = i .. "-" .. i end
        assert.equal(200, get(port, "/big.bin", { Range = "bytes=" .. table.concat(many,
            ",") }).status)
        assert.equal(200, get(port, "/ten.txt", { Range = "bytes=0-8,1-9" }).status)
        assert.equal(206, get(port, "/ten.txt", { Range = "bytes=0-1,50-60" }).status)
    end)

    it("sends the whole where If-Range says that the parts are of something else", function()
        local port = static()
        local etag = get(port, "/ten.txt").headers.etag
        for value, status in pairs {
            [etag] = 206, ["W/" .. etag] = 200, ['"x"'] = 200, [STAMP] = 206,
            [date.http((MTIME + 1) * 1000)] = 200, nonsense = 200,
        } do
            local res = get(port, "/ten.txt", { Range = "bytes=0-1", ["If-Range"] = value })
            assert.equal(status, res.status, value)
        end
    end)

    it("sends the compressed sibling to who accepts it", function()
        write("root/page.js", "plain")
        write("root/page.js.gz", zlib.gzip("plain"))
        write("root/page.js.br", "(as brotli)")
        local port = static()
        for accept, coding in pairs {
            gzip = "gzip", br = "br", ["gzip, br"] = "br", ["gzip;q=1, br;q=0.5"] = "gzip",
            ["*"] = "br", ["gzip;q=0"] = false, ["br;q=0, *"] = "gzip", deflate = false,
            ["identity, gzip;q=0.5"] = false, ["GZIP"] = "gzip",
            ["identity;q=0.1, br;q=0.2"] = "br",
        } do
            local res = get(port, "/page.js", { ["Accept-Encoding"] = accept })
            assert.equal(coding or nil, res.headers["content-encoding"], accept)
            assert.equal("Accept-Encoding", res.headers.vary)
            assert.equal("text/javascript; charset=utf-8", res.headers["content-type"])
        end
        local plain, packed = get(port, "/page.js"), get(port, "/page.js", {
            ["Accept-Encoding"] = "gzip" })
        assert.equal("plain", plain.body)
        assert.equal("plain", zlib.gunzip(packed.body))
        assert.are_not.equal(plain.headers.etag, packed.headers.etag)
        local again = get(port, "/page.js",
            { ["Accept-Encoding"] = "gzip", ["If-None-Match"] = packed.headers.etag })
        assert.same({ 304, "Accept-Encoding" }, { again.status, again.headers.vary })
        assert.equal("plain", get(static { precompressed = false }, "/page.js",
            { ["Accept-Encoding"] = "gzip" }).body)
    end)

    it("sends siblings of Zstandard where it is told that there are some", function()
        write("root/site.css", "plain")
        write("root/site.css.zst", "(as zstd)")
        write("root/site.css.gz", zlib.gzip("plain"))
        write("root/site.css.br", "(as brotli)")
        local port = static { precompressed = { "gz", "zst", "br" } }
        for accept, coding in pairs {
            zstd = "zstd", ["gzip, zstd"] = "zstd", ["zstd, br"] = "br", zst = false,
            ["zstd;q=0, gzip"] = "gzip", ["br;q=0.9, zstd"] = "zstd",
        } do
            local res = get(port, "/site.css", { ["Accept-Encoding"] = accept })
            assert.equal(coding or nil, res.headers["content-encoding"], accept)
        end
        assert.equal("(as zstd)", get(port, "/site.css", { ["Accept-Encoding"] = "zstd" }).body)
        local res = get(static(), "/site.css", { ["Accept-Encoding"] = "zstd" })
        assert.same({ "plain", "Accept-Encoding" }, { res.body, res.headers.vary })
        write("root/only.css", "plain")
        write("root/only.css.zst", "(as zstd)")
        assert.equal("Accept-Encoding", get(port, "/only.css").headers.vary)
    end)

    it("notices that a file has changed, has gone, or has come", function()
        local port = static { cacheCheck = 0 }
        assert.equal(404, get(port, "/new").status)
        write("root/new", "one")
        local first = get(port, "/new")
        assert.equal("one", first.body)
        write("root/new", "second")
        local second = get(port, "/new", { ["If-None-Match"] = first.headers.etag })
        assert.same({ 200, "second" }, { second.status, second.body })
        write("root/new.gz", "packed")
        assert.equal("packed", get(port, "/new", { ["Accept-Encoding"] = "gzip" }).body)
        assert(fs.remove(dir .. "/root/new"))
        assert.equal(404, get(port, "/new").status)
        assert(fs.rename(dir .. "/root", dir .. "/old"))
        assert.equal(404, get(port, "/ten.txt").status)
        assert(fs.rename(dir .. "/old", dir .. "/root"))
        assert.equal(200, get(port, "/ten.txt").status)
    end)

    it("does not look again before cacheCheck has passed", function()
        local port = static { cacheCheck = 60000 }
        assert.equal("0123456789", get(port, "/ten.txt").body)
        write("root/ten.txt", "changed")
        assert.equal("0123456789", get(port, "/ten.txt").body)
    end)

    it("works without a cache, and with one that is too small", function()
        for _, options in ipairs { { cacheFiles = 0 }, { cacheFiles = 1 }, {
            cacheFileSize = 0 } } do
            local port = static(options)
            for i = 1, 40 do
                write("root/f" .. i, "file " .. i)
                assert.equal("file " .. i, get(port, "/f" .. i).body)
            end
            assert.equal("file 1", get(port, "/f1").body)
            assert.truthy(get(port, "/big.bin").body == BIG)
            assert.equal("", get(port, "/empty").body)
        end
    end)

    it("answers many at once who ask for the same file first", function()
        local port, clients = static { cacheCheck = 0 }, {}
        for i = 1, 50 do
            clients[i] = wire.connect(port)
            clients[i]:send(request(i % 2 == 0 and "/ten.txt" or "/none"))
        end
        for i = 1, 50 do
            assert.equal(i % 2 == 0 and 200 or 404, clients[i]:response().status)
            clients[i]:close()
        end
    end)

    it("breaks off where a file becomes shorter while it is sent", function()
        local port = static()
        local f = assert(fs.open(dir .. "/root/huge", "w"))
        assert(f:truncate(HUGE))
        local c = wire.connect(port)
        c:send(request("/huge"))
        c:need(1000)
        assert(f:truncate(10))
        f:close()
        assert.truthy(#c:rest() + 1000 < HUGE)
        c:close()
    end)

    it("takes a prefix off, hands on what it has not, and falls back", function()
        local handler = http.static(dir .. "/root", { prefix = "/assets/" })
        local port = serve(function(req, res)
            return handler(req, res, function() return 200, "next " .. req.path end)
        end)
        assert.equal("0123456789", get(port, "/assets/ten.txt").body)
        assert.equal("<h1>index</h1>", get(port, "/assets/").body)
        assert.equal("next /ten.txt", get(port, "/ten.txt").body)
        assert.equal("next /assetsten.txt", get(port, "/assetsten.txt").body)
        assert.equal("next /assets/none", get(port, "/assets/none").body)
        assert.equal("/assets/sub/", get(port, "/assets/sub").headers.location)
        assert.equal("next /assets/ten.txt", get(port, "/assets/ten.txt", {}, "PUT").body)
        local app = static { fallback = "index.html" }
        assert.equal("<h1>index</h1>", get(app, "/some/route").body)
        assert.equal("text/html; charset=utf-8", get(app, "/some/route").headers["content-type"])
        assert.equal(405, get(app, "/some/route", {}, "POST").status)
    end)

    it("leaves fields that a handler has set as they are", function()
        local handler = http.static(dir .. "/root")
        local port = serve(function(req, res)
            res:setHeader("content-type", "text/x-mine")
            res:setHeader("Cache-Control", "no-store")
            res:setHeader("X-One", "1")
            return handler(req, res)
        end)
        for _, path in ipairs { "/ten.txt", "/big.bin" } do
            local res = get(port, path)
            assert.same({ "text/x-mine", "no-store", "1" }, { res.headers["content-type"],
                res.headers["cache-control"], res.headers["x-one"] })
            assert.truthy(res.headers.etag)
        end
    end)

    it("knows types, and those it is told", function()
        local port = static { types = { TXT = "text/x-other", odd = "application/x-odd" } }
        write("root/a.odd", "")
        write("root/A.HTML", "")
        write("root/noext.", "")
        assert.equal("text/x-other", get(port, "/ten.txt").headers["content-type"])
        assert.equal("application/x-odd", get(port, "/a.odd").headers["content-type"])
        assert.equal("text/html; charset=utf-8", get(port, "/A.HTML").headers["content-type"])
        assert.equal("application/octet-stream", get(port, "/noext.").headers["content-type"])
    end)

    it("raises for wrong options, at the caller's line", function()
        for text, options in pairs {
            ['did you mean "maxAge"'] = { maxage = 1 },
            ["options.symlinks must be"] = { symlinks = "maybe" },
            ["options.index must be"] = { index = "../x" },
            ["options.precompressed must be"] = { precompressed = { "zip" } },
            ["options.types must be"] = { types = { html = "text/html\r\nX: y" } },
            ["options.maxAge must be"] = { maxAge = -1 },
        } do
            local ok, message = pcall(function() http.static(dir, options) end)
            assert.is_false(ok)
            assert.truthy(tostring(message):find("http_static_spec.lua:%d+: "), message)
            assert.truthy(tostring(message):find(text, 1, true), message)
        end
    end)
end)

describe("res:sendFile", function()
    local function send(path, options, status)
        return (serve(function(_, res)
            res.status = status or 200
            local ok, err = res:sendFile(path, options)
            if not ok then return 404, err.name end
        end))
    end

    it("sends any file, and only those below a root", function()
        assert.equal("0123456789", get(send(dir .. "/root/ten.txt"), "/").body)
        assert.equal("secret", get(send(dir .. "/root/../root/.secret"), "/").body)
        local root = { root = dir .. "/root" }
        assert.equal("0123456789", get(send("ten.txt", root), "/").body)
        assert.equal("0123456789", get(send("/ten.txt", root), "/").body)
        for _, path in ipairs { "../outside/secret", ".secret", "none", "a\0b", "ten.txt/" } do
            local res = get(send(path, root), "/")
            assert.same({ 404, "ENOENT" }, { res.status, res.body })
        end
        assert.equal("EISDIR", get(send(dir .. "/root/sub"), "/").body)
        assert.equal("UNSUPPORTED", get(send(dir .. "/root/ten.txt"), "/", {}, "POST").body)
    end)

    it("answers conditions and ranges, but not with another status", function()
        local port = send(dir .. "/root/ten.txt")
        local etag = get(port, "/").headers.etag
        assert.equal(304, get(port, "/", { ["If-None-Match"] = etag }).status)
        assert.equal("01", get(port, "/", { Range = "bytes=0-1" }).body)
        port = send(dir .. "/root/ten.txt", nil, 404)
        local res = get(port, "/", { ["If-None-Match"] = etag, Range = "bytes=0-1" })
        assert.same({ 404, "0123456789" }, { res.status, res.body })
    end)

    it("gives a name to save it by, and a type", function()
        local res = get(send(dir .. "/root/ten.txt", { download = true, type = "text/x-ten" }), "/")
        assert.equal('attachment; filename="ten.txt"', res.headers["content-disposition"])
        assert.equal("text/x-ten", res.headers["content-type"])
        res = get(send(dir .. "/root/ten.txt", { download = 'n\195\164"\r\n.txt' }), "/")
        assert.equal("attachment; filename=\"n_____.txt\"; filename*=UTF-8''n%C3%A4%22%0D%0A.txt",
            res.headers["content-disposition"])
        local attached = serve(function(_, response)
            assert(response:file(dir .. "/root/ten.txt", "digits"))
        end)
        res = get(attached, "/")
        assert.same({ 'attachment; filename="digits"', "0123456789" },
            { res.headers["content-disposition"], res.body })
        res = get(send(dir .. "/none", { download = true, type = "x/y" }), "/")
        assert.is_nil(res.headers["content-disposition"])
        assert.equal("text/plain; charset=utf-8", res.headers["content-type"])
    end)

    it("tells when the client has left, and answers nothing twice", function()
        local seen
        local port, server = serve(function(_, res)
            local ok, err = res:sendFile(dir .. "/root/huge")
            local again, err2 = res:sendFile(dir .. "/root/ten.txt")
            seen = { ok, err and err.name, again, err2.name }
        end)
        assert(fs.writeFile(dir .. "/root/huge", ""))
        local f = assert(fs.open(dir .. "/root/huge", "w"))
        assert(f:truncate(HUGE))
        local c = wire.connect(port, { receiveBuffer = 4096 })
        c:send(request("/"))
        c:need(100)
        c:reset()
        wire.eventually("the handler", function() return seen end)
        assert.is_nil(seen[1])
        assert.truthy(seen[2])
        assert.equal("CLOSED", seen[4])
        wire.eventually("the end", function() return server:connections() == 0 end)
        seen = nil
        assert(f:truncate(500000))
        f:close()
        assert.equal(500000, #get(port, "/").body)
        wire.eventually("the handler", function() return seen end)
        assert.same({ true, nil, nil, "CLOSED" }, { seen[1], seen[2], seen[3], seen[4] })
        timer.sleep(0)
    end)
end)

describe("router:static", function()
    local function serve_router(prefix, options)
        local app = http.router()
        app:static(prefix, dir .. "/root", options)
        app:notFound(function(req) return "nothing at " .. req.path end)
        return (serve(app)), app
    end

    it("serves a folder below a prefix, with its index and its slashes", function()
        local port = serve_router("/files")
        local res = get(port, "/files/ten.txt")
        assert.same({ 200, "0123456789" }, { res.status, res.body })
        assert.equal("<h1>index</h1>", get(port, "/files/").body)
        assert.equal("page", get(port, "/files/sub/page.html").body)
        for path, to in pairs { ["/files"] = "/files/", ["/files/sub?a=b"] = "/files/sub/?a=b" } do
            res = get(port, path)
            assert.same({ 301, to }, { res.status, res.headers.location })
        end
        assert.equal(304, get(port, "/files/ten.txt", { ["If-Modified-Since"] = STAMP }).status)
        assert.equal("234", get(port, "/files/ten.txt", { Range = "bytes=2-4" }).body)
    end)

    it("is not there where there is no file, and has its methods", function()
        local port = serve_router("/files")
        for _, path in ipairs { "/files/none", "/files/.secret", "/other", "/filesten.txt" } do
            local res = get(port, path)
            assert.same({ 404, "nothing at " .. path }, { res.status, res.body })
        end
        assert.equal(400, get(port, "/files/../ten.txt").status)
        assert.equal(400, get(port, "/files/%2e%2e/outside/secret").status)
        local res = get(port, "/files/ten.txt", nil, "POST")
        assert.same({ 405, "GET, HEAD, OPTIONS" }, { res.status, res.headers.allow })
        assert.equal("10", get(port, "/files/ten.txt", nil, "HEAD").headers["content-length"])
    end)

    it("may stand at the root, beside routes, and be mounted below a parameter", function()
        local port, app = serve_router("/", { fallback = "index.html" })
        app:get("/ten.txt", function() return "the route" end)
        assert.equal("the route", get(port, "/ten.txt").body)
        assert.equal("page", get(port, "/sub/page.html").body)
        assert.equal("<h1>index</h1>", get(port, "/").body)
        assert.equal("<h1>index</h1>", get(port, "/an/address/of/the/browser").body)

        local sub, outer = http.router(), http.router()
        sub:static("/a/b", dir .. "/root")
        outer:mount("/user/:id", sub)
        port = serve(outer)
        assert.equal("0123456789", get(port, "/user/7/a/b/ten.txt").body)
        assert.equal("page", get(port, "/user/%61%20b/a/b/sub/page.html").body)
        assert.equal("/user/7/a/b/", get(port, "/user/7/a/b").headers.location)
        assert.equal(404, get(port, "/user/7/a/ten.txt").status)
    end)

    it("answers router:call as it does over the wire", function()
        local _, app = serve_router("/files", { listing = true, index = false })
        local status, headers, body = app:call("GET", "/files/ten.txt")
        assert.same({ 200, "text/plain; charset=utf-8", "0123456789" },
            { status, headers["content-type"], body })
        assert.equal(404, (app:call("GET", "/files/none")))
        status, headers = app:call("GET", "/files")
        assert.same({ 301, "/files/" }, { status, headers.location })
        assert.truthy(select(3, app:call("GET", "/files/")):find("./ten.txt", 1, true))
        assert.equal(405, (app:call("PUT", "/files/ten.txt")))
    end)

    it("raises for a prefix or options that are wrong, and for a conflict", function()
        local app = http.router()
        for _, arguments in ipairs { { "files", "." }, { "/:id", "." }, { "/a" }, { "/a", ".", 1 },
            { "/a", ".", { indx = "x" } }, { "/a", ".", { symlinks = "x" } } } do
            local ok, err = pcall(app.static, app, unpack(arguments))
            assert.is_false(ok)
            assert.truthy(err:find("router:static(", 1, true), err)
        end
        app:static("/a", ".")
        assert.has_error(function() app:static("/a", "..") end)
    end)
end)
