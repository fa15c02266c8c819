package.path = "tests/support/?.lua;" .. package.path

local decoder = require "links.http.client.decoder"
local fs = require "fs"
local http = require "http"
local origin = require "origin"
local sockets = require "sockets"
local sync = require "sync"
local task = require "task"
local timer = require "timer"
local tools = require "tools"
local zlib = require "zlib"

local fails = tools.fails

local function chunked(...)
    local parts = { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" }
    for _, piece in ipairs { ... } do parts[#parts + 1] = ("%x\r\n%s\r\n"):format(#piece, piece) end
    return table.concat(parts) .. "0\r\n"
end

describe("http.client.response", function()
    local client

    before_each(function() client = sockets.keep(assert(http.createClient { maxPerHost = 1 })) end)
    after_each(sockets.close_all)

    -- The answer to a request of `bytes`.
    local function get(bytes, options)
        local url, seen = origin.serve(bytes)
        local res, err = client:get(url, options)
        return res, err, url, seen
    end

    local function stream(bytes, options)
        options = options or {}
        options.stream = true
        return assert(get(bytes, options))
    end

    describe("read", function()
        it("gives what is there, and at most so much", function()
            local res = stream(origin.answer("hello world"))
            assert.is_nil(res.body)
            assert.equal("hel", res:read(3))
            assert.equal("lo", res:read(2))
            assert.equal(" world", res:read())
            assert.is_nil(res:read())
            assert.is_nil(res:read())
            assert.equal(1, client:stats().idle)
        end)

        it("reads no faster than it is asked to", function()
            local sent = 0
            local url = origin.serve(function(socket)
                socket:write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                for _ = 1, 1000 do
                    if not socket:write(("x"):rep(100000)) then return end
                    sent = sent + 100000
                end
            end)
            local res = assert(client:get(url, { stream = true }))
            assert(res:read())
            local before = -1
            sockets.eventually(function()
                timer.sleep(20)
                local same = sent == before
                before = sent
                return same
            end)
            assert.is_true(sent < 30000000, "it has read " .. sent)
            res:close()
        end)

        it("reads a whole body that is there already", function()
            local res = assert(get(origin.answer("hello")))
            assert.equal("hello", res.body)
            assert.equal("he", res:read(2))
            assert.equal("llo", res:readAll())
            assert.is_nil(res:read())
            assert.equal("hello", res.body)
        end)

        it("refuses a second reader, and the first one goes on", function()
            local go = sync.event()
            local url = origin.serve(function(socket)
                socket:write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                go:wait()
                socket:write("ok")
            end)
            local res = assert(client:get(url, { stream = true }))
            local t = task.spawn(function() return res:read() end)
            task.yield()
            fails("EBUSY", res:read())
            go:set()
            assert.equal("ok", select(2, t:join()))
        end)

        it("is checked", function()
            local res = stream(origin.answer("hello"))
            tools.raises("n must be", function() res:read(0) end)
            tools.raises("max must be", function() res:readAll(-1) end)
            tools.raises("max must be", function() res:lines("x") end)
            tools.raises("max must be", function() res:sse(0) end)
            tools.raises("path must be", function() res:save() end)
            tools.raises("name must be", function() res:header() end)
            tools.raises("name must be", function() res:headerAll(1) end)
        end)
    end)

    describe("a body", function()
        it("ends where its framing says, and the connection goes on", function()
            for _, bytes in ipairs {
                origin.answer("hello"), chunked("hello") .. "\r\n", chunked("h", "ell", "o")
                    .. "\r\n",
            } do
                local res, _, url, seen = get(bytes)
                assert.equal("hello", res.body)
                assert.equal("hello", assert(client:get(url)).body)
                assert.equal(1, seen.connections)
            end
        end)

        it("ends with the connection where nothing else says", function()
            local url = origin.serve("HTTP/1.1 200 OK\r\n\r\nhello", { once = true })
            assert.equal("hello", assert(client:get(url)).body)
            assert.equal("hello", assert(client:get(url, { stream = true })):readAll())
            assert.same({ active = 0, idle = 0, waiting = 0, hosts = 0 }, client:stats())
        end)

        it("is not there after HEAD, 204 and 304", function()
            local url, seen = origin.serve(function(_, r)
                if r.method == "HEAD" then return "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" end
                return "HTTP/1.1 " .. r.target:sub(2) .. " X\r\nContent-Length: 9\r\n\r\n"
            end)
            assert.equal("", assert(client:head(url)).body)
            assert.equal(9, assert(client:head(url, { stream = true })).contentLength)
            assert.equal("", assert(client:get(url .. "/204")).body)
            assert.is_nil(assert(client:get(url .. "/304", { stream = true })):read())
            assert.equal(1, seen.connections)
        end)

        it("that is cut off is an error", function()
            for _, bytes in ipairs {
                "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            } do
                local url = origin.serve(bytes, { once = true })
                fails("EOF", client:get(url))
                local res = assert(client:get(url, { stream = true }))
                assert.equal("hello", res:read())
                fails("EOF", res:read())
                fails("EOF", res:read())
            end
        end)

        it("has a limit where it is read as a whole", function()
            local limited = { maxBodySize = 4 }
            fails("HTTP_BODY_TOO_LARGE", get(origin.answer("hello"), limited))
            fails("HTTP_BODY_TOO_LARGE", get(chunked("hel", "lo") .. "\r\n", limited))
            assert.equal("hell", assert(get(origin.answer("hell"), limited)).body)
            fails("HTTP_BODY_TOO_LARGE", stream(origin.answer("hello"), limited):readAll())
            assert.equal("hello", stream(origin.answer("hello"), limited):readAll(5))
            fails("HTTP_BODY_TOO_LARGE", stream(chunked("hello") .. "\r\n"):readAll(4))
            assert.equal("hello", stream(origin.answer("hello"), limited):read())
            assert.equal("", assert(get(origin.answer(""), { maxBodySize = 0 })).body)
        end)

        it("may have trailers", function()
            local res = assert(get(chunked("hello") .. "X-Sum: 7\r\nX-Sum:8\r\n\r\n"))
            assert.equal("hello", res.body)
            assert.equal("7, 8", res.trailers["X-Sum"])
            assert.is_nil(res.headers["x-sum"])
            assert.is_nil(assert(get(chunked("hello") .. "\r\n")).trailers)
        end)

        it("is refused where it is no body", function()
            fails("HTTP_BAD_FRAMING",
                get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"))
            fails("HTTP_BAD_FRAMING",
                get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX"))
        end)

        it("does not leave its end for the next request", function()
            local url, seen = origin.serve(origin.answer("hello") .. origin.answer("smuggled"))
            assert.equal("hello", assert(client:get(url)).body)
            assert.equal("hello", assert(client:get(url)).body)
            assert.equal(2, seen.connections)
        end)
    end)

    describe("compression", function()
        local text = ("0123456789abcdef"):rep(20000)

        local function coded(coding, bytes)
            return origin.answer(bytes, "Content-Encoding: " .. coding .. "\r\n")
        end

        it("is undone", function()
            local cases = {
                gzip = zlib.gzip(text), deflate = zlib.deflate(text), ["X-GZIP"] = zlib.gzip(text),
                ["gzip "] = zlib.gzip(text:sub(1, 1)) .. zlib.gzip(text:sub(2)),
                [" deflate"] = zlib.deflate(text, { raw = true }),
            }
            for coding, bytes in pairs(cases) do
                local res = assert(get(coded(coding, bytes)))
                assert.equal(text, res.body)
                assert.is_nil(res.contentLength)
                assert.equal(text, stream(coded(coding, bytes)):readAll())
            end
            assert.equal(text, assert(get(coded("identity", text))).body)
        end)

        it("lets others have their turn, though nothing comes out of it", function()
            local parts = { zlib.gzip(""):rep(20000) }
            local expected, turns, over = #parts[1] / 16384 - 1, 0, false
            local undoing = decoder.new(1, { stream = true })
            local other = task.spawn(function()
                while not over do
                    turns = turns + 1
                    task.yield()
                end
            end)
            assert.is_nil(undoing:read(function() return table.remove(parts) end))
            over = true
            other:join(20000)
            assert.is_true(turns >= expected, turns .. " turns of others")
        end)

        it("is undone byte by byte", function()
            for coding, bytes in pairs {
                gzip = zlib.gzip("hello"), deflate = zlib.deflate("hello"),
                ["deflate "] = zlib.deflate("hello", { raw = true }),
            } do
                local url = origin.serve(function(socket)
                    origin.drip(socket, coded(coding, bytes))
                end)
                assert.equal("hello", assert(client:get(url)).body)
            end
        end)

        it("is not asked for, and not undone, without the option", function()
            local bytes = zlib.gzip(text)
            local res, _, _, seen = get(coded("gzip", bytes), { decompress = false })
            assert.equal(bytes, res.body)
            assert.is_nil(seen[1].headers["accept-encoding"])
        end)

        it("of nothing is nothing", function()
            assert.equal("", assert(get(coded("gzip", ""))).body)
            assert.equal("", assert(get(chunked():gsub("OK\r\n", "OK\r\nContent-Encoding: gzip\r\n")
                .. "\r\n")).body)
        end)

        for name, coding in pairs { brotli = "br", zstd = "zstd" } do
            it("of " .. name .. " is undone where the library is there", function()
                local packed = zlib[name](text)
                if not packed then
                    fails("UNSUPPORTED", get(coded(coding, "x")))
                    return
                end
                assert.equal(text, assert(get(coded(coding, packed))).body)
                assert.equal(text, stream(coded(coding:upper(), packed)):readAll())
                fails("HTTP_DECOMPRESS", get(coded(coding, packed:sub(1, -2))))
                local bomb = zlib[name](("\0"):rep(20000000))
                fails("HTTP_BODY_TOO_LARGE", get(coded(coding, bomb)))
                local _, err = stream(coded(coding, bomb)):read()
                assert.equal("HTTP_BODY_TOO_LARGE", err.name)
            end)
        end

        it("that is damaged is an error", function()
            local bytes = zlib.gzip(text)
            fails("HTTP_DECOMPRESS", get(coded("gzip", bytes:sub(1, -5))))
            fails("HTTP_DECOMPRESS", get(coded("gzip", bytes:sub(1, 20) .. "x" .. bytes:sub(22))))
            fails("HTTP_DECOMPRESS", get(coded("gzip", "hello")))
            fails("HTTP_DECOMPRESS", get(coded("deflate", "\255")))
            fails("HTTP_DECOMPRESS", get(coded("gzip", bytes .. "x")))
            fails("UNSUPPORTED", get(coded("compress", "hello")))
            fails("UNSUPPORTED", get(coded("gzip, gzip", "hello")))
            assert.equal(0, client:stats().active)
        end)

        it("is no bomb", function()
            local bomb = zlib.gzip(("\0"):rep(20000000))
            assert.is_true(#bomb < 30000)
            fails("HTTP_BODY_TOO_LARGE", get(coded("gzip", bomb)))
            fails("HTTP_BODY_TOO_LARGE", stream(coded("gzip", bomb)):readAll())
            local res, total = stream(coded("gzip", bomb)), 0
            while true do
                local piece, err = res:read()
                assert.is_nil(err)
                if not piece then break end
                assert.is_true(#piece <= 5000000)
                total = total + #piece
            end
            assert.equal(20000000, total)
        end)
    end)

    describe("lines", function()
        local function lines(bytes, max)
            local list, next_line = {}, stream(bytes):lines(max)
            while true do
                local line, err = next_line()
                if not line then return list, err end
                list[#list + 1] = line
            end
        end

        it("end in LF or CR LF, and the last one needs none", function()
            assert.same({ "one", "two", "", "three" },
                (lines(origin.answer("one\ntwo\r\n\nthree"))))
            assert.same({ "one", "two" }, (lines(origin.answer("one\ntwo\n"))))
            assert.same({}, (lines(origin.answer(""))))
            assert.same({ "" }, (lines(origin.answer("\n"))))
            assert.same({ "one", "two" }, (lines(chunked("o", "ne\r", "\nt", "wo") .. "\r\n")))
        end)

        it("have a limit", function()
            local list, err = lines(origin.answer("one\nlonger\n"), 4)
            assert.same({ "one" }, list)
            assert.equal("EXCEED_BUF_SIZE", err.name)
            assert.same({ "four" }, (lines(origin.answer("four\n"), 4)))
        end)

        it("end with the error that ends the body", function()
            local url = origin.serve("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\none\ntwo",
                { once = true })
            local next_line = assert(client:get(url, { stream = true })):lines()
            assert.equal("one", next_line())
            fails("EOF", next_line())
        end)
    end)

    describe("sse", function()
        local function events(...)
            local list, next_event = {}, stream(chunked(...) .. "\r\n"):sse()
            for event in next_event do list[#list + 1] = event end
            return list
        end

        it("gives the events as the standard has them", function()
            local all = {
                "\239\187\191: a comment\ndata: one\n\n",
                "event: add\ndata:two\ndata:  three\nid: 7\nretry: 250\n\n",
                "data\n\nevent: none\n\nid\ndata: x\n\ndata: cut off",
            }
            local expected = {
                { event = "message", data = "one", id = "" },
                { event = "add", data = "two\n three", id = "7", retry = 250 },
                { event = "message", data = "", id = "7", retry = 250 },
                { event = "message", data = "x", id = "", retry = 250 },
            }
            assert.same(expected, events(unpack(all)))
            local text = table.concat(all)
            assert.same(expected, events(text))
            local bytes = {}
            for c in text:gmatch(".") do bytes[#bytes + 1] = c end
            assert.same(expected, events(unpack(bytes)))
            assert.same(expected, events((text:gsub("\n", "\r\n"))))
            assert.same(expected, events((text:gsub("\n", "\r"))))
        end)

        it("gives them when they come", function()
            local url = origin.serve(function(socket)
                socket:write("HTTP/1.1 200 OK\r\n\r\ndata: now\n\n")
                socket:readAll()
            end)
            local res = assert(client:get(url, { stream = true }))
            assert.equal("now", res:sse()().data)
            res:close()
        end)

        it("has a limit", function()
            local next_event = stream(chunked("data: 12345\ndata: 12345\n\n") .. "\r\n"):sse(11)
            fails("EXCEED_BUF_SIZE", next_event())
            next_event = stream(chunked("data: 12345") .. "\r\n"):sse(8)
            fails("EXCEED_BUF_SIZE", next_event())
        end)
    end)

    it("is read as JSON", function()
        assert.equal(2, assert(get(origin.answer('{"a":2}'))):json().a)
        assert.equal(2, stream(origin.answer('{"a":2}')):json().a)
        fails("PARSE", assert(get(origin.answer("{"))):json())
        fails("HTTP_BODY_TOO_LARGE", stream(origin.answer("[1]"), { maxBodySize = 2 }):json())
    end)

    describe("save", function()
        local path

        before_each(function() path = os.tmpname() end)
        after_each(function() os.remove(path) end)

        it("writes the body into a file that appears when it is complete", function()
            local body = ("x"):rep(300000)
            local res = stream(chunked(body, "y") .. "\r\n")
            assert.equal("xx", res:read(2))
            assert.equal(299999, res:save(path))
            assert.equal(299999, fs.stat(path).size)
            assert.is_false(fs.exists(path .. ".part"))
            assert.equal(1, assert(get(origin.answer("z"))):save(path))
            assert.equal("z", fs.readFile(path))
        end)

        it("leaves nothing behind where it fails", function()
            tools.write(path, "before")
            local url = origin.serve("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
                { once = true })
            fails("EOF", assert(client:get(url, { stream = true })):save(path))
            assert.equal("before", fs.readFile(path))
            assert.is_false(fs.exists(path .. ".part"))
            fails("ENOENT", stream(origin.answer("x")):save("/nonexistent/folder/file"))
            assert.equal(0, client:stats().active)
        end)
    end)

    describe("close", function()
        it("ends the answer and its connection", function()
            local res = stream(origin.answer("hello"))
            assert.equal("hel", res:read(3))
            assert.is_true(res:close())
            assert.is_true(res:close())
            fails("CLOSED", res:read())
            local url = origin.serve(function(socket)
                socket:write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
                socket:readAll()
            end)
            res = assert(client:get(url, { stream = true }))
            res:close()
            fails("CLOSED", res:read())
            fails("CLOSED", res:readAll())
            assert.equal(0, client:stats().active)
        end)
    end)
end)
