-- What request and response can do above their transport: query, cookies, negotiation, bodies.
local http = require "http"
local json = require "json"

-- Calls a handler; returns what it made of the request, and the response.
local function ask(handler, url, options)
    local app, result = http.router(), nil
    app:all("/*path", function(req, res)
        result = { handler(req, res) }
        if not res.headersSent then return 200, "" end
    end)
    local status, headers,
        body = app:call(options and options.body and "POST" or "GET", url or "/", options)
    return result, status, headers, body
end

local function with_type(kind, body)
    return { headers = { ["content-type"] = kind }, body = body }
end

local function raises(expected, fn)
    local ok, err = pcall(ask, fn)
    assert.is_false(ok)
    assert.truthy(tostring(err):find(expected, 1, true), tostring(err))
end

describe("req.query", function()
    it("has the first of each name, and queryAll all of them", function()
        local seen = ask(function(req)
            return req.query.a, req.query["b c"], req.query.none, req:queryAll "a",
                req:queryAll "none"
        end, "/?a=1&a=2+3&b%20c=x&=&a")
        assert.same({ "1", "x", nil, { "1", "2 3", "" }, {} }, seen)
    end)

    it("does not read more than 1000 arguments", function()
        local seen = ask(function(req) return #req:queryAll "a", req.query.b end,
            "/?" .. ("a=1&"):rep(1000) .. "b=2")
        assert.same({ 1000, nil }, seen)
    end)
end)

describe("req.cookies", function()
    it("reads what browsers send, and what they do not", function()
        local function cookies(text)
            return ask(function(req) return req.cookies end, "/",
                { headers = { cookie = text } })[1]
        end
        assert.same({}, cookies(nil))
        assert.same({ a = "1", b = "2=3", c = "" }, cookies("a=1; b=2=3;c="))
        assert.same({ a = "x y" }, cookies('a="x y"; bad; =none; '))
        assert.same({ a = "first" }, cookies("a=first; a=second"))
        assert.same({ a = "1", b = "2" }, cookies({ "a=1", "b=2" }))
    end)
end)

describe("res:cookie", function()
    it("sets cookies that are safe unless told otherwise", function()
        local _, _, headers = ask(function(_, res)
            assert(res:cookie("a", "1"))
            assert(res:cookie("b", "2", {
                path = "/x", domain = "a.example", maxAge = 59001, expires = 784111777000,
                secure = true,
                httpOnly = false, sameSite = "Strict",
            }))
            assert(res:cookie("__Host-c", "3"))
            assert(res:cookie("d", "4", { sameSite = "None" }))
            assert(res:clearCookie("e", { path = "/x" }))
        end)
        assert.same({
            "a=1; Path=/; HttpOnly; SameSite=Lax",
            "b=2; Path=/x; Domain=a.example; Max-Age=60; Expires=Sun, 06 Nov 1994 08:49:37 GMT; "
                .. "Secure; SameSite=Strict",
            "__Host-c=3; Path=/; Secure; HttpOnly; SameSite=Lax",
            "d=4; Path=/; Secure; HttpOnly; SameSite=None",
            "e=; Path=/x; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax",
        }, headers["set-cookie"])
    end)

    it("raises for what browsers would drop, at the caller's line", function()
        raises("http_bodies_spec.lua:", function(_, res) res:cookie("a b", "1") end)
        raises("name must be", function(_, res) res:cookie("", "1") end)
        raises("value has", function(_, res) res:cookie("a", "1; Path=/") end)
        raises("value has", function(_, res) res:cookie("a", "1\r\nX: y") end)
        raises("options.path has", function(_, res) res:cookie("a", "1", { path = "/;x" }) end)
        raises("__Host-a must have",
            function(_, res) res:cookie("__Host-a", "1", { path = "/x" }) end)
        raises("must be secure",
            function(_, res) res:cookie("__Secure-a", "1", { secure = false }) end)
        raises("needs a secure", function(_, res)
            res:cookie("a", "1", { sameSite = "None", secure = false })
        end)
        raises("sameSite must be", function(_, res) res:cookie("a", "1", { sameSite = "lax" }) end)
        raises("longer than 4096", function(_, res) res:cookie("a", ("x"):rep(4096)) end)
        raises("needs a secret", function(_, res) res:cookie("a", "1", { sign = true }) end)
        raises('did you mean "maxAge"', function(_, res) res:cookie("a", "1", { maxage = 1 }) end)
    end)
end)

describe("req:accepts", function()
    local function accepts(accept, ...)
        local types = { ... }
        return ask(function(req) return req:accepts(unpack(types)) end, "/",
            { headers = { accept = accept } })[1]
    end

    it("goes by quality, then by what is more particular, then by order", function()
        assert.equal("json", accepts(nil, "json", "html"))
        assert.equal("json", accepts("*/*", "json", "html"))
        assert.equal("html", accepts("text/html, application/json;q=0.9", "json", "html"))
        assert.equal("html", accepts("text/html,application/xhtml+xml,*/*;q=0.8", "json", "html"))
        assert.equal("json", accepts("text/*;q=0.5, application/json", "html", "json"))
        assert.equal("text", accepts("text/*, text/html;q=0.1", "html", "text"))
        assert.equal("image/png", accepts("IMAGE/PNG", "image/png"))
        assert.is_nil(accepts("text/html", "json"))
        assert.is_nil(accepts("application/json;q=0", "json"))
        assert.is_nil(accepts("", "json"))
        assert.is_nil(accepts("rubbish;;;=,/", "json"))
        assert.is_nil(accepts(nil))
    end)

    it("raises for names that are no type", function()
        raises("no media type", function(req) req:accepts("jason") end)
    end)
end)

describe("res:negotiate", function()
    local function answer(accept, forms, vary)
        local app = http.router()
        app:get("/", function(_, res)
            if vary then res:setHeader("Vary", vary) end
            return res:negotiate(forms)
        end)
        local status, headers, body = app:call("GET", "/", { headers = { accept = accept } })
        return { status, headers["content-type"], body, headers.vary }
    end

    it("answers in the form that the client likes best, and tells caches", function()
        local forms = { json = { 1 }, html = "<p>", text = function() return 201, "one" end }
        assert.same({ 200, "application/json", "[1]", "Accept" },
            answer("application/json", forms))
        assert.same({ 200, "text/html; charset=utf-8", "<p>", "Accept" },
            answer("application/json;q=0.5, text/html", forms))
        assert.same({ 201, "text/plain; charset=utf-8", "one", "Accept" },
            answer("text/plain", forms))
        assert.equal("Origin, Accept", answer("*/*", forms, "Origin")[4])
        assert.equal("accept, Origin", answer("*/*", forms, "accept, Origin")[4])
    end)

    it("has a default, and 406 for who likes none", function()
        assert.equal("<p>", answer(nil, { json = {}, html = "<p>" })[3])
        assert.equal("{}", answer(nil, { json = {}, html = "<p>", default = "json" })[3])
        assert.equal("{}", answer("*/*", { json = {}, html = "<p>", default = "json" })[3])
        local none = answer("image/png", { json = {}, html = "<p>" })
        assert.same({ 406, "Accept" }, { none[1], none[4] })
        raises("must have a type", function(_, res) res:negotiate {} end)
        raises("must have a type",
            function(_, res) res:negotiate { json = 1, default = "html" } end)
        raises("no media type", function(_, res) res:negotiate { jason = 1 } end)
    end)
end)

describe("req:fresh", function()
    local function fresh(set, headers, options)
        options = options or {}
        options.headers = headers
        return ask(function(req, res)
            for name, value in pairs(set) do res:setHeader(name, value) end
            return req:fresh()
        end, "/", options)[1]
    end
    local OLD, NEW = "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"

    it("goes by the tag, and only without one by the date", function()
        assert.is_false(fresh({ ETag = '"a"' }, {}))
        assert.is_true(fresh({ ETag = '"a"' }, { ["if-none-match"] = '"b", W/"a"' }))
        assert.is_true(fresh({ ETag = 'W/"a"' }, { ["if-none-match"] = '"a"' }))
        assert.is_true(fresh({ ETag = '"a"' }, { ["if-none-match"] = "*" }))
        assert.is_false(fresh({ ETag = '"a"' }, { ["if-none-match"] = '"A", a' }))
        assert.is_false(fresh({}, { ["if-none-match"] = '"a"' }))
        assert.is_true(fresh({ ["Last-Modified"] = OLD }, { ["if-modified-since"] = OLD }))
        assert.is_true(fresh({ ["Last-Modified"] = OLD }, { ["if-modified-since"] = NEW }))
        assert.is_false(fresh({ ["Last-Modified"] = NEW }, { ["if-modified-since"] = OLD }))
        assert.is_false(fresh({ ["Last-Modified"] = OLD }, { ["if-modified-since"] = "rubbish" }))
        assert.is_false(fresh({ ["Last-Modified"] = OLD, ETag = '"a"' },
            { ["if-modified-since"] = OLD, ["if-none-match"] = '"b"' }))
    end)

    it("is not so for other methods, nor for who demands a new copy", function()
        local set, have = { ETag = '"a"' }, { ["if-none-match"] = '"a"' }
        assert.is_false(fresh(set, have, { body = "x" }))
        have["cache-control"] = "No-Cache"
        assert.is_false(fresh(set, have))
    end)
end)

describe("req:is", function()
    it("compares the type of the body, without its parameters", function()
        local function is(kind, ...)
            local types = { ... }
            return ask(function(req) return req:is(unpack(types)) end, "/", with_type(kind, "x"))[1]
        end
        assert.equal("json", is("application/json; charset=utf-8", "html", "json"))
        assert.equal("text/*", is("Text/HTML", "json", "text/*"))
        assert.equal("*/*+json", is("application/problem+json", "*/*+json"))
        assert.is_nil(is("application/json", "*/*+json"))
        assert.is_nil(is("application/jsonx", "json"))
        assert.is_nil(is(nil, "json"))
    end)
end)

describe("req:json", function()
    local function read(options, max)
        return ask(function(req) return req:json(max) end, "/", options)
    end

    it("reads JSON, of each type that is some", function()
        assert.same({ { a = 1 } }, read(with_type("application/json", '{"a":1}')))
        assert.same({ { 1 } }, read(with_type("application/vnd.api+json; charset=UTF-8", "[1]")))
        assert.equal(json.null, read(with_type("application/json", "null"))[1])
        assert.equal(false, read(with_type("application/json", "false"))[1])
    end)

    it("says what is wrong, with the status for the client", function()
        local function fails(name, status, options, max)
            local value, err = unpack(read(options, max), 1, 2)
            assert.is_nil(value)
            assert.same({ name, status }, { err.name, err.status })
            local app = http.router()
            app:post("/", function(req) return req:json(max) end)
            assert.equal(status, (app:call("POST", "/", options)))
        end
        fails("UNSUPPORTED", 415, with_type("text/plain", "{}"))
        fails("UNSUPPORTED", 415, { body = "{}" })
        fails("UNSUPPORTED", 415, with_type("application/json; charset=latin1", "{}"))
        fails("PARSE", 400, with_type("application/json", "{"))
        fails("PARSE", 400, with_type("application/json", ""))
        fails("HTTP_BODY_TOO_LARGE", 413, with_type("application/json", "[1,2,3]"), 3)
    end)
end)

describe("req:form", function()
    it("reads fields, and says what is wrong", function()
        local function read(options)
            return unpack(ask(function(req) return req:form() end, "/", options), 1, 2)
        end
        local FORM = "application/x-www-form-urlencoded"
        assert.same({ a = "1 2", b = { "x", "y" } }, (read(with_type(FORM, "a=1+2&b=x&b=y"))))
        assert.same({}, (read(with_type(FORM, ""))))
        local _, err = read(with_type("text/plain", "a=1"))
        assert.same({ "UNSUPPORTED", 415 }, { err.name, err.status })
        local value
        value, err = read(with_type(FORM, ("a=1&"):rep(1001)))
        assert.is_nil(value)
        assert.same({ "TOO_LARGE", 413 }, { err.name, err.status })
    end)
end)

describe("res", function()
    it("answers with JSON, HTML and text, each with its type", function()
        local function of(handler)
            local _, status, headers, body = ask(handler)
            return { status, headers["content-type"], body }
        end
        assert.same({ 201, "application/json", '{"a":[]}' },
            of(function(_, res) return res:json({ a = json.array() }, 201) end))
        assert.same({ 200, "text/html; charset=utf-8", "<p>" },
            of(function(_, res) return res:html("<p>") end))
        assert.same({ 404, "text/plain; charset=utf-8", "no" },
            of(function(_, res) return res:text("no", 404) end))
        assert.same({ 200, "application/problem+json", "{}" }, of(function(_, res)
            res:setHeader("Content-Type", "application/problem+json")
            return res:json({})
        end))
        raises("cannot encode a function", function(_, res) res:json({ print }) end)
        raises("html must be", function(_, res) res:html(1) end)
    end)

    it("redirects, but not to what could end the line", function()
        local function of(...)
            local arguments = { ... }
            local _, status,
                headers = ask(function(_, res) return res:redirect(unpack(arguments)) end)
            return { status, headers.location }
        end
        assert.same({ 302, "/a?b" }, of("/a?b"))
        assert.same({ 308, "https://a.example/" }, of("https://a.example/", 308))
        raises("url is empty", function(_, res) res:redirect("/a\r\nX: y") end)
        raises("url is empty", function(_, res) res:redirect("/a b") end)
        raises("url is empty", function(_, res) res:redirect("/\\evil.example") end)
        raises("url is empty", function(_, res) res:redirect("") end)
        raises("status must be", function(_, res) res:redirect("/", 200) end)
    end)
end)
