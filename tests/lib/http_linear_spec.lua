-- What strangers send must be read in a time that grows with its length, and not with the square of
-- it: a text of this length then takes milliseconds, and many seconds otherwise.
package.path = "tests/support/?.lua;" .. package.path

local fs = require "fs"
local http = require "http"
local origin = require "origin"
local sockets = require "sockets"
local zlib = require "zlib"

local LENGTH = 60000
local ENOUGH_S = 3 -- of the processor, which a busy machine does not take away

local blanks = (" "):rep(LENGTH)

local function is_quick(what, fn, ...)
    local began = os.clock()
    local result = fn(...)
    assert(os.clock() - began < ENOUGH_S, what .. " took too long")
    return result
end

describe("a request", function()
    local app = http.router()
    app:get("/cookies", function(req) return req.cookies.a or "none" end)
    app:get("/accepts", function(req) return req:accepts("html", "json") or "none" end)
    app:get("/negotiate", function(_, res) return res:negotiate { json = { 1 }, html = "<p>" } end)
    app:get("/fresh", function(req, res)
        res:setHeader("ETag", '"1"')
        return req:fresh() and "fresh" or "stale"
    end)
    app:get("/is", function(req) return req:is("json") or "none" end)
    app:get("/private", http.basicAuth { users = { ann = "secret" } }, function() return "in" end)
    app:get("/token", http.bearer { tokens = { ann = "secret" } }, function() return "in" end)
    app:post("/parts", function(req)
        local list = {}
        for part, err in req:parts { maxHeader = 65536 } do
            if err then return nil, err end
            list[#list + 1] = part.name
        end
        return table.concat(list, ",")
    end)

    local function body_of(method, path, headers, body)
        return (select(3, app:call(method, path, { headers = headers, body = body })))
    end

    it("with a field full of blanks is read as quickly as others of its length", function()
        for _, case in ipairs {
            { "/cookies", "cookie", "a=b" .. blanks .. "c; d=e", "b" .. blanks .. "c" },
            { "/cookies", "cookie", blanks .. "; a=1", "1" },
            { "/accepts", "accept", "text/html;" .. blanks .. "x" .. blanks .. "y", "html" },
            { "/accepts", "accept", blanks, "none" },
            { "/negotiate", "accept", "text/html;" .. blanks .. "q" .. blanks .. "z", "<p>" },
            { "/fresh", "if-none-match", "x" .. blanks .. "x", "stale" },
            { "/fresh", "if-none-match", ('"'):rep(LENGTH), "stale" },
            { "/fresh", "if-modified-since", blanks .. "x", "stale" },
            { "/is", "content-type", "text/html" .. blanks .. "x", "none" },
            { "/private", "authorization", "Basic x" .. blanks .. "y", "Unauthorized\n" },
            { "/token", "authorization", "Bearer x" .. blanks .. "y", "Unauthorized\n" },
        } do
            local path, name, value, expected = unpack(case)
            assert.equal(expected, is_quick(name, body_of, "GET", path, { [name] = value }))
        end
    end)

    it("with a part whose field is full of blanks is, too", function()
        local body = "--b\r\nContent-Disposition: form-data; name=one\r\nX: x" .. blanks
            .. "x\r\n\r\ntext\r\n--b--\r\n"
        assert.equal("one", is_quick("the part", body_of, "POST", "/parts",
            { ["content-type"] = "multipart/form-data; boundary=b" }, body))
    end)
end)

describe("an answer", function()
    after_each(sockets.close_all)

    it("with a field full of blanks is read as quickly as others of its length", function()
        local url = origin.serve(origin.answer("body", "X: x" .. blanks .. "x\r\n"))
        local res = assert(http.get(url))
        assert.equal("x" .. blanks .. "x", is_quick("the field", res.header, res, "x"))
        assert.equal("x" .. blanks .. "x", is_quick("the fields", res.headerAll, res, "x")[1])
    end)

    it("with a Location of any kind leads on, or is an error, as quickly", function()
        for location, expected in pairs {
            ["http://" .. ("1"):rep(LENGTH) .. '"'] = "HTTP_BAD_URL",
            ["http://" .. ("a"):rep(LENGTH) .. '"'] = "HTTP_BAD_URL",
            ["http://a:" .. ("1"):rep(LENGTH)] = "HTTP_BAD_URL",
            ["http://" .. ("a."):rep(LENGTH / 2) .. "%"] = "HTTP_BAD_URL",
            ["http://[" .. ("1.2.3.4:"):rep(LENGTH / 8) .. "1.2.3.4]"] = "HTTP_BAD_URL",
            ["/" .. ("?"):rep(LENGTH) .. '"'] = "HTTP_BAD_URL",
            ["/" .. ("?"):rep(LENGTH)] = "on",
            [("../"):rep(LENGTH / 3)] = "on",
        } do
            local url = origin.serve(function(_, r)
                if r.target ~= "/a" then return origin.answer("on") end
                return origin.answer("", "Location: " .. location .. "\r\n", "302 Found")
            end)
            assert.equal(expected, is_quick(location:sub(1, 20), function()
                local res, err = http.get(url .. "/a")
                return res and res.body or err.name
            end))
        end
    end)

    -- A few kilobytes on the wire.
    it("of very many lines is taken apart as quickly, compressed or whole", function()
        local text = zlib.gzip(("\n"):rep(500000))
        local url = origin.serve(origin.answer(text, "Content-Encoding: gzip\r\n"))
        local function count(stream, next_of)
            local res = assert(http.get(url, { stream = stream }))
            local n, next_one = 0, next_of(res)
            while next_one() do n = n + 1 end
            return n
        end
        local function lines(res) return res:lines() end
        local function bytes(res) return function() return res:read(1) end end
        for _, stream in ipairs { true, false } do
            for what, next_of in pairs { lines = lines, bytes = bytes } do
                assert.equal(500000, is_quick(what, count, stream, next_of))
            end
            assert.equal(0, is_quick("events", count, stream, function(res) return res:sse() end))
        end
    end)
end)

describe("a file", function()
    it("of very many lines is read as quickly as others of its length", function()
        local file = assert(fs.tempFile())
        finally(function()
            file:close()
            fs.remove(file.path)
        end)
        assert(file:write(("\n"):rep(1000000)))
        file:seek("set")
        local n = 0
        is_quick("the lines", function()
            for _ in file:lines() do n = n + 1 end
        end)
        assert.equal(1000000, n)
    end)
end)
