-- Compressed answers, as they come over the wire.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local wire = require "wire"
local zlib = require "zlib"

local servers = {}
local TEXT = ("compress me, please. "):rep(500)

-- A server whose handler is behind the middleware.
local function serve(handler, options)
    local compress = http.compress(options)
    local server = assert(http.createServer(0, function(req, res)
        return compress(req, res, function() return handler(req, res) end)
    end, { host = "127.0.0.1" }))
    servers[#servers + 1] = server
    return server:address().port
end

local function get(port, accept, method)
    local field = accept == false and "" or "Accept-Encoding: " .. (accept or "gzip") .. "\r\n"
    return wire.request(port, (method or "GET") .. " / HTTP/1.1\r\nHost: a\r\n" .. field .. "\r\n",
        method)
end

after_each(function()
    for _, server in ipairs(servers) do server:close(0) end
    servers = {}
end)

describe("http.compress", function()
    it("compresses bodies, however they are given", function()
        for _, handler in ipairs {
            function() return TEXT end,
            function() return 200, TEXT end,
            function(_, res) res:finish(TEXT) end,
            function(_, res) res:send(200, TEXT) end,
            function(_, res)
                res:setHeader("Content-Length", #TEXT)
                res:finish(TEXT)
            end,
        } do
            local res = get(serve(handler))
            assert.equal("gzip", res.headers["content-encoding"])
            assert.equal("Accept-Encoding", res.headers.vary)
            assert.equal(tostring(#res.body), res.headers["content-length"])
            assert.truthy(#res.body < #TEXT / 10)
            assert.equal(TEXT, zlib.gunzip(res.body))
        end
        local big = TEXT:rep(50) -- on a thread
        assert.truthy(zlib.gunzip(get(serve(function() return big end)).body) == big)
    end)

    it("compresses for those who accept it, and tells caches that it depends", function()
        local port = serve(function() return TEXT end, { encodings = { "gzip" } })
        for accept, coded in pairs {
            gzip = true, ["gzip;q=0.001"] = true, ["*"] = true, ["br, x-gzip"] = true,
            ["gzip;q=0"] = false, ["*;q=0"] = false, identity = false, br = false, [""] = false,
        } do
            local res = get(port, accept)
            assert.equal(coded and "gzip" or nil, res.headers["content-encoding"], accept)
            assert.equal("Accept-Encoding", res.headers.vary)
            if not coded then assert.equal(TEXT, res.body) end
        end
        assert.equal(TEXT, get(port, false).body)
    end)

    it("takes the coding that the client likes best, of equals the first in its list", function()
        if not zlib.stream("brotli") then return pending("needs libbrotlienc") end
        local either = serve(function() return TEXT end)
        local brotli = serve(function() return TEXT end, { encodings = { "br", "gzip" } })
        for accept, want in pairs {
            ["gzip, br"] = { "gzip", "br" }, br = { "br", "br" }, ["*"] = { "gzip", "br" },
            ["gzip;q=0.5, br"] = { "br", "br" }, ["gzip, br;q=0.9"] = { "gzip", "gzip" },
            ["br;q=0, gzip"] = { "gzip", "gzip" },
        } do
            for i, port in ipairs { either, brotli } do
                local res = get(port, accept)
                assert.equal(want[i], res.headers["content-encoding"], accept)
                local text = want[i] == "br" and zlib.unbrotli(res.body) or zlib.gunzip(res.body)
                assert.equal(TEXT, text)
            end
        end
        local port = serve(function(_, res)
            res:write("a piece ")
            res:write(TEXT)
        end)
        assert.equal("a piece " .. TEXT, zlib.unbrotli(get(port, "br").body))
    end)

    it("speaks deflate and zstd where the program lists them", function()
        local undo = { deflate = zlib.inflate }
        if zlib.stream("zstd") then undo.zstd = zlib.unzstd end
        for coding, unpack in pairs(undo) do
            local whole = serve(function() return TEXT end, { encodings = { coding } })
            local res = get(whole, "gzip, br, zstd, deflate")
            assert.equal(coding, res.headers["content-encoding"])
            assert.equal(TEXT, unpack(res.body))
            local pieces = serve(function(_, response)
                response:write("a piece ")
                response:write(TEXT)
            end, { encodings = { coding } })
            assert.equal("a piece " .. TEXT, unpack(get(pieces, coding).body))
            assert.is_nil(get(whole, "gzip").headers["content-encoding"])
        end
    end)

    it("leaves alone what is short, coded, a part, or of another type", function()
        local function answer(status, body, headers)
            return get(serve(function() return status, body, headers end))
        end
        for _, case in ipairs {
            { 200, ("x"):rep(1023) },
            { 200, TEXT, { ["Content-Encoding"] = "br" } },
            { 200, TEXT, { ["Content-Type"] = "image/png" } },
            { 200, TEXT, { ["Cache-Control"] = "public, No-Transform" } },
            { 206, TEXT, { ["Content-Range"] = "bytes 0-1/2" } },
        } do
            local res = answer(case[1], case[2], case[3])
            assert.equal(case[2], res.body)
            assert.is_nil(res.headers.vary)
        end
        assert.equal("", answer(204, "").body)
        local res = answer(200, TEXT, { ["Content-Type"] = "application/ld+json; charset=utf-8" })
        assert.equal("gzip", res.headers["content-encoding"])
        local port = serve(function() return 200, "xxxx", { ["Content-Type"] = "a/b" } end,
            { types = { "a/*" }, minLength = 0 })
        assert.equal("xxxx", get(port).body) -- it would only become longer
    end)

    it("makes strong tags weak and adds to Vary", function()
        local res = get(serve(function()
            return 200, TEXT, { ETag = '"1"', Vary = "Accept-Encoding, Cookie" }
        end))
        assert.equal('W/"1"', res.headers.etag)
        assert.equal("Accept-Encoding, Cookie", res.headers.vary)
    end)

    it("answers HEAD as it would GET, without a body", function()
        local port = serve(function() return TEXT end)
        local res = get(port, "gzip", "HEAD")
        assert.equal("gzip", res.headers["content-encoding"])
        assert.equal(get(port).headers["content-length"], res.headers["content-length"])
    end)

    it("lets each piece of a stream be read as soon as it was written", function()
        local go_on = false
        local port = serve(function(_, res)
            res:setHeader("Content-Type", "text/event-stream")
            res:write("data: one\n\n")
            wire.eventually("the reader", function() return go_on end)
            res:write("data: two\n\n")
            res:finish("data: end\n\n")
        end)
        local c, unzip = wire.connect(port), zlib.stream("gunzip")
        c:send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        repeat until c:line() == "" -- the head
        local size = tonumber(c:line(), 16)
        assert.equal("data: one\n\n", unzip:write(c:need(size)))
        c:need(2)
        go_on = true
        local rest = c:chunks()
        assert.equal("data: two\n\ndata: end\n\n", unzip:write(rest) .. assert(unzip:finish()))
        c:close()
    end)

    it("streams what iterators give, with and without flushing", function()
        for _, flush in ipairs { true, false } do
            local port = serve(function()
                local i = 0
                return function()
                    i = i + 1
                    return i <= 100 and TEXT:sub(1, 200) or nil
                end
            end, { flush = flush })
            local res = get(port)
            assert.equal("chunked", res.headers["transfer-encoding"])
            assert.equal(TEXT:sub(1, 200):rep(100), zlib.gunzip(res.body))
            assert.equal(20000, #get(port, "identity").body)
        end
    end)

    it("drops a length that was set for a stream, and keeps to one that is short", function()
        local function pieces(n)
            return serve(function(_, res)
                res:setHeader("Content-Length", n)
                res:write(("x"):rep(n / 2))
                res:finish(("x"):rep(n / 2))
            end)
        end
        local res = get(pieces(2000))
        assert.is_nil(res.headers["content-length"])
        assert.equal(2000, #zlib.gunzip(res.body))
        res = get(pieces(1000))
        assert.equal("1000", res.headers["content-length"])
        assert.is_nil(res.headers["content-encoding"])
    end)

    it("answers an error as it is", function()
        local stderr = io.stderr
        io.stderr = { write = function() end }
        local res = get(serve(function() error("no") end))
        io.stderr = stderr
        assert.equal(500, res.status)
        assert.is_nil(res.headers["content-encoding"])
    end)

    it("raises for wrong options, at the caller's line", function()
        for text, options in pairs {
            ['did you mean "minLength"'] = { minlength = 1 },
            ["options.level must be"] = { level = 0 },
            ["options.types must be a list"] = { types = { "text" } },
            ["options.encodings must be a list"] = { encodings = { "compress" } },
        } do
            local ok, message = pcall(function() http.compress(options) end)
            assert.is_false(ok)
            assert.truthy(tostring(message):find("http_compress_spec.lua:%d+: "), message)
            assert.truthy(tostring(message):find(text, 1, true), message)
        end
    end)
end)
