package.path = "tests/support/?.lua;" .. package.path

local crypto = require "crypto"
local fs = require "fs"
local http = require "http"
local origin = require "origin"
local sockets = require "sockets"
local task = require "task"
local timer = require "timer"
local tools = require "tools"

local fails, raises = tools.fails, tools.raises

describe("http.upload", function()
    local server, url, got, folder

    before_each(function()
        folder = assert(fs.tempDir())
        server = sockets.keep(assert(http.createServer(0, function(req)
            local fields, files, err = req:files()
            if err then return 400, tostring(err) end
            got = { fields = fields, files = files, length = req.contentLength }
            for _, file in ipairs(files) do file.content = file:body() end
            return "thanks"
        end, { host = "127.0.0.1", maxBodySize = 50000000 })))
        url = "http://127.0.0.1:" .. server:address().port
    end)

    after_each(function()
        sockets.close_all()
        fs.remove(folder, { recursive = true })
    end)

    it("sends fields and files", function()
        local path, body = folder .. "/photo.png", crypto.randomBytes(300000)
        tools.write(path, body)
        local res = assert(http.upload(url, {
            title = "A title", n = 7, tags = { "x", "y" }, empty = "",
            photo = { path = path },
            files = { { path = path, filename = "a.txt" }, { data = "hello", type = "x/y" } },
        }))
        assert.equal("thanks", res.body)
        assert.same({ title = "A title", n = "7", tags = { "x", "y" }, empty = "" }, got.fields)
        local files = got.files
        assert.equal(3, #files)
        assert.same({ "files", "a.txt", "text/plain; charset=utf-8" },
            { files[1].name, files[1].filename, files[1].type })
        assert.same({ "files", "files", "x/y", "hello" },
            { files[2].name, files[2].filename, files[2].type, files[2].content })
        assert.same({ "photo", "photo.png", "image/png" },
            { files[3].name, files[3].filename, files[3].type })
        assert.is_true(files[3].content == body and files[1].content == body)
        assert.is_true(got.length > 600000)
    end)

    it("sends one file for a path", function()
        assert(http.upload(url, "README.md"))
        assert.equal("file", got.files[1].name)
        assert.equal("README.md", got.files[1].filename)
        assert.equal(tools.read("README.md"), got.files[1].content)
        assert(http.upload(url, {}))
        assert.same({}, got.fields)
    end)

    it("lets no name break out of its place", function()
        assert(http.upload(url, { ['a"\r\nb'] = { data = "x", filename = 'c"\r\nX: y' } }))
        assert.equal(1, #got.files)
        assert.equal('c"\r\nX: y', got.files[1].filename) -- escaped, and undone
        raises("control character", function()
            local _ = http.upload(url, { a = { data = "x", type = "x\r\nX: y" } })
        end)
    end)

    it("tells how far it is", function()
        local path, last, total = folder .. "/big", 0, nil
        tools.write(path, ("x"):rep(200000))
        assert(http.upload(url, path, {
            onProgress = function(sent, all)
                assert.is_true(sent > last)
                last, total = sent, all
            end,
        }))
        assert.equal(total, last)
        assert.equal(got.length, total)
    end)

    it("is made by a client, too, and sent again where it has to be", function()
        local there, seen = origin.serve(function(_, r)
            if r.target == "/a" then
                return origin.answer("", "Location: /b\r\n", "307 Moved")
            end
            return origin.answer(tostring(#r.body))
        end)
        local client = sockets.keep(assert(http.createClient { baseUrl = there }))
        local res = assert(client:upload("/a", "README.md"))
        assert.equal(seen[2].headers["content-length"], res.body)
        assert.equal(seen[1].body, seen[2].body)
    end)

    it("fails where a file cannot be read", function()
        fails("ENOENT", http.upload(url, folder .. "/none"))
        fails("EINVAL", http.upload(url, folder))
        local path = folder .. "/shrinks"
        tools.write(path, ("x"):rep(3000000))
        local err = fails("EIO", http.upload(url, path, {
            onProgress = function(sent)
                if sent > 200000 then tools.write(path, "") end
            end,
        }))
        assert.equal(path, err.path)
    end)

    it("is checked", function()
        raises("parts must be", function() local _ = http.upload(url, 7) end)
        raises("parts must have names", function() local _ = http.upload(url, { "x" }) end)
        raises("parts.a must be", function() local _ = http.upload(url, { a = true }) end)
        raises("parts.a must have either", function() local _ = http.upload(url,
            { a = { type = "x" } }) end)
        raises("parts.a has path or data", function()
            local _ = http.upload(url, { a = { path = "x", name = "y" } })
        end)
        raises("parts.a.path must be", function() local _ = http.upload(url,
            { a = { path = 7 } }) end)
    end)
end)

describe("http.download", function()
    local folder, path
    local body = crypto.randomBytes(500000)
    local sum = crypto.hash("sha256", body)

    before_each(function()
        folder = assert(fs.tempDir())
        path = folder .. "/file"
    end)

    after_each(function()
        sockets.close_all()
        fs.remove(folder, { recursive = true })
    end)

    local function names()
        local list = {}
        for _, entry in ipairs(assert(fs.readdir(folder))) do
            list[#list + 1] = type(entry) == "table" and entry.name or entry
        end
        table.sort(list)
        return table.concat(list, " ")
    end

    -- Serves the body with ranges and a tag, but breaks off `cuts` times: after so many bytes each.
    local function serve(cuts, tag, modified)
        cuts = cuts or {}
        return origin.serve(function(socket, r, n)
            local from = tonumber((r.headers.range or ""):match("^bytes=(%d+)%-$"))
            local same = r.headers["if-range"] == tag or r.headers["if-range"] == modified
            local fields = (tag and "ETag: " .. tag .. "\r\n" or "") ..
                (modified and "Last-Modified: " .. modified ..
                    "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" or "")
            local rest, status = body, "200 OK"
            if from and same and from >= #body then
                return origin.answer("", "Content-Range: bytes */" .. #body .. "\r\n", "416 No")
            elseif from and same then
                rest, status = body:sub(from + 1), "206 Partial Content"
                fields = fields .. ("Content-Range: bytes %d-%d/%d\r\n"):format(from, #body - 1,
                    #body)
            end
            local bytes = origin.answer(rest, fields, status)
            if not cuts[n] then return bytes end
            socket:write(bytes:sub(1, #bytes - #rest + cuts[n]))
            socket:close()
        end)
    end

    it("writes a file that appears when it is complete", function()
        local url, seen = serve()
        local during
        local done = assert(http.download(url, path, {
            sha256 = sum:upper(), onProgress = function() during = during or names() end,
        }))
        assert.same({ bytes = #body, path = path, resumed = false }, done)
        assert.is_true(fs.readFile(path) == body)
        assert.equal("file.part", during)
        assert.equal("file", names())
        assert.equal("identity", seen[1].headers["accept-encoding"])
        assert.is_nil(seen[1].headers.range)
    end)

    it("goes on where the last one broke off", function()
        for _, case in ipairs { { '"v1"' }, { nil, "Sun, 06 Nov 1994 08:00:00 GMT" } } do
            local url, seen = serve({ 100000, 50000 }, case[1], case[2])
            fails("EOF", http.download(url, path, { sha256 = sum }))
            assert.equal("file.part file.part.info", names())
            fails("EOF", http.download(url, path, { sha256 = sum }))
            local last, total
            local done = assert(http.download(url, path, {
                sha256 = sum, onProgress = function(n, all) last, total = n, all end,
            }))
            assert.same({ bytes = #body, path = path, resumed = 150000 }, done)
            assert.equal(#body, last)
            assert.equal(#body, total)
            assert.is_true(fs.readFile(path) == body)
            assert.equal("file", names())
            assert.equal("bytes=150000-", seen[3].headers.range)
            assert.equal(case[1] or case[2], seen[3].headers["if-range"])
            os.remove(path)
        end
    end)

    it("begins anew where the file is another one by now", function()
        local url = serve({ 100000 }, '"v1"')
        fails("EOF", http.download(url, path))
        local port = url:match("%d+$")
        sockets.close_all()
        tools.write(path .. ".part.info", url .. "\n\"v0\"\n")
        local again, seen = serve(nil, '"v1"')
        tools.write(path .. ".part.info", again .. "\n\"v0\"\n")
        local done = assert(http.download(again, path, { sha256 = sum }))
        assert.is_false(done.resumed)
        assert.equal('"v0"', seen[1].headers["if-range"])
        assert.truthy(port)
    end)

    it("begins anew where what is there is of another URL, or cannot be told", function()
        local url, seen = serve({ 100000, nil, 100000 }, '"v1"')
        fails("EOF", http.download(url .. "/one", path))
        assert(http.download(url .. "/two", path, { sha256 = sum }))
        assert.is_nil(seen[2].headers.range)
        fails("EOF", http.download(url, path .. "2"))
        os.remove(path .. "2.part.info")
        assert(http.download(url, path .. "2", { sha256 = sum }))
        assert.is_nil(seen[4].headers.range)
        -- A tag that does not tell every byte is of no use.
        url, seen = serve({ 100000 }, 'W/"v1"')
        fails("EOF", http.download(url, path .. "3"))
        assert.equal("file file2", names())
        assert(http.download(url, path .. "3"))
        assert.is_nil(seen[2].headers.range)
    end)

    it("ends what had come whole, and had no name yet", function()
        local url = serve(nil, '"v1"')
        tools.write(path .. ".part", body)
        tools.write(path .. ".part.info", url .. "\n\"v1\"\n")
        local done = assert(http.download(url, path, { sha256 = sum }))
        assert.same({ bytes = #body, path = path, resumed = #body }, done)
        tools.write(path .. ".part", body .. "more")
        tools.write(path .. ".part.info", url .. "\n\"v1\"\n")
        done = assert(http.download(url, path, { sha256 = sum }))
        assert.is_false(done.resumed)
        assert.is_true(fs.readFile(path) == body)
    end)

    it("leaves nothing behind without the option", function()
        local url = serve({ 100000 }, '"v1"')
        fails("EOF", http.download(url, path, { resume = false }))
        assert.equal("", names())
        assert(http.download(url, path, { resume = false }))
    end)

    it("keeps the file that was there where it fails", function()
        tools.write(path, "before")
        local url = serve({ 100000 })
        fails("EOF", http.download(url, path))
        fails("HTTP_BAD_CHECKSUM", http.download(url, path, { sha256 = ("0"):rep(64) }))
        fails("HTTP_BAD_STATUS", http.download((origin.serve(origin.answer("", "", "404 No"))),
            path))
        fails("ECONNREFUSED", http.download("http://127.0.0.1:1/", path))
        assert.equal("before", fs.readFile(path))
        assert.equal("file", names())
        fails("ENOENT", http.download(url, folder .. "/none/file"))
    end)

    it("does not trust the server with the place", function()
        local url = origin.serve(function(_, r)
            return r.headers.range
                and origin.answer("x", 'ETag: "v1"\r\nContent-Range: bytes 0-0/1\r\n', "206 Part")
                or origin.answer("x", "Content-Range: bytes 5-5/6\r\n", "206 Part")
        end)
        fails("HTTP_BAD_STATUS", http.download(url, path))
        tools.write(path .. ".part", "abc")
        tools.write(path .. ".part.info", url .. "\n\"v1\"\n")
        fails("PROTOCOL", http.download(url, path))
    end)

    it("is not made twice at a time into one file", function()
        local url = origin.serve(function()
            timer.sleep(30)
            return origin.answer("x")
        end)
        local first = task.spawn(http.download, url, path)
        task.yield()
        fails("EBUSY", http.download(url, path))
        assert.equal(1, select(2, first:join()).bytes)
        assert(http.download(url, path))
    end)

    it("is not decompressed, and has no limit of size", function()
        local url = origin.serve(origin.answer("packed", "Content-Encoding: gzip\r\n"))
        assert(http.download(url, path, { maxBodySize = 1 }))
        assert.equal("packed", fs.readFile(path))
    end)

    it("can be cancelled, and goes on later", function()
        local slow = true
        local url, seen = origin.serve(function(socket, r)
            local from = tonumber((r.headers.range or ""):match("%d+")) or 0
            if slow then
                socket:write("HTTP/1.1 200 OK\r\nETag: \"v\"\r\nContent-Length: 6\r\n\r\nabc")
                return socket:readAll() and nil
            end
            return origin.answer(("abcdef"):sub(from + 1),
                ("Content-Range: bytes %d-5/6\r\n"):format(from), "206 Part")
        end)
        local t = task.spawn(http.download, url, path)
        sockets.eventually(function()
            local st = fs.stat(path .. ".part")
            return st and st.size == 3
        end)
        t:cancel()
        assert.equal("ECANCELED", select(3, t:join()).name)
        slow = false
        assert.equal(3, assert(http.download(url, path)).resumed)
        assert.equal("abcdef", fs.readFile(path))
        assert.equal("bytes=3-", seen[2].headers.range)
    end)

    it("raises what onProgress raises, and tidies up", function()
        local url = serve()
        assert.has_error(function()
            http.download(url, path, { onProgress = function() error("mine", 0) end })
        end, "mine")
        assert.equal("", names())
    end)

    it("is checked", function()
        raises("path must be", function() local _ = http.download("http://a") end)
        raises("sha256 must be 64", function() local _ = http.download("http://a", path,
            { sha256 = "x" }) end)
        raises("resume must be", function() local _ = http.download("http://a", path,
            { resume = 1 }) end)
    end)
end)
