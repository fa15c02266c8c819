package.path = "tests/support/?.lua;" .. package.path

local codec = require "codec"
local http = require "http"
local timer = require "timer"
local tools = require "tools"

local raises = tools.says

local function app_with(middleware, handler)
    local app = http.router()
    app:use(middleware)
    app:all("/*path", handler or function() return "hello" end)
    return app
end

describe("http.cors", function()
    local ORIGIN = "https://a.example"

    local function preflight(app, origin, headers)
        return app:call("OPTIONS", "/x", { headers = {
            origin = origin, ["access-control-request-method"] = "PUT",
            ["access-control-request-headers"] = headers,
        } })
    end

    it("answers what browsers ask before, and lets other OPTIONS through", function()
        local app = http.router()
        app:use(http.cors { maxAge = 60 })
        app:put("/x", function() return "put" end)
        local status, headers, body = preflight(app, ORIGIN, "x-one, x-two")
        assert.same({ 204, "" }, { status, body })
        assert.equal("*", headers["access-control-allow-origin"])
        assert.equal("GET, HEAD, PUT, PATCH, POST, DELETE", headers["access-control-allow-methods"])
        assert.equal("x-one, x-two", headers["access-control-allow-headers"])
        assert.equal("60", headers["access-control-max-age"])
        assert.equal("Access-Control-Request-Headers", headers.vary)
        status, headers = app:call("OPTIONS", "/x", { headers = { origin = ORIGIN } })
        assert.same({ 204, "OPTIONS, PUT" }, { status, headers.allow })
        assert.equal("*", headers["access-control-allow-origin"])
        status, headers = app:call("PUT", "/x")
        assert.same({ 200, nil }, { status, headers["access-control-allow-origin"] })
    end)

    it("lets in the origins that it was told, and tells caches that it depends", function()
        local app = app_with(http.cors {
            origin = { ORIGIN, "http://b.example:8080" }, credentials = true,
            expose = { "X-A", "X-B" },
            headers = "X-C", methods = { "GET" },
        })
        for origin, allowed in pairs {
            [ORIGIN] = true, ["http://b.example:8080"] = true, ["http://b.example"] = false,
            ["https://a.example.evil"] = false, ["https://xa.example"] = false, null = false,
        } do
            local _, headers = app:call("GET", "/", { headers = { origin = origin } })
            assert.equal(allowed and origin or nil, headers["access-control-allow-origin"])
            assert.equal(allowed and "true" or nil, headers["access-control-allow-credentials"])
            assert.equal(allowed and "X-A, X-B" or nil, headers["access-control-expose-headers"])
            assert.equal("Origin", headers.vary)
        end
        assert.equal("Origin", select(2, app:call("GET", "/")).vary)
        local _, headers = preflight(app, ORIGIN, "x-other")
        assert.equal("X-C", headers["access-control-allow-headers"])
        assert.equal("GET", headers["access-control-allow-methods"])
        local status
        status, headers = preflight(app, "https://evil.example")
        assert.is_nil(headers["access-control-allow-origin"])
        assert.equal(200, status)
    end)

    it("asks a function, and adds to a Vary that is there", function()
        local app = http.router()
        app:use(function(_, res, next) res:setHeader("Vary", "Accept") return next() end)
        app:use(http.cors { origin = function(origin) return origin:find("%.example$") end })
        app:get("/", function() return "" end)
        local _, headers = app:call("GET", "/", { headers = { origin = ORIGIN } })
        assert.same({ ORIGIN, "Accept, Origin" },
            { headers["access-control-allow-origin"], headers.vary })
        _, headers = app:call("GET", "/", { headers = { origin = "https://evil" } })
        assert.is_nil(headers["access-control-allow-origin"])
    end)

    it("raises for what would let everybody in, and for what is no origin", function()
        raises("needs a list of origins", http.cors, { credentials = true })
        raises("without a path", http.cors, { origin = "https://a.example/" })
        raises("without a path", http.cors, { origin = { "a.example" } })
        raises('did you mean "origin"', http.cors, { orgin = "*" })
        raises("control characters", http.cors, { headers = "a\r\nb" })
    end)
end)

describe("http.basicAuth", function()
    local function basic(text)
        return { headers = { authorization = "Basic " .. codec.base64.encode(text) } }
    end

    it("lets in who knows the password, and tells who that is", function()
        local app = app_with(http.basicAuth { realm = "here",
            users = { ann = "pass:word", bob = "" } },
            function(req) return req.user end)
        local status, headers = app:call("GET", "/")
        assert.same({ 401, 'Basic realm="here", charset="UTF-8"' },
            { status, headers["www-authenticate"] })
        assert.equal("ann", select(3, app:call("GET", "/", basic "ann:pass:word")))
        assert.equal("bob", select(3, app:call("GET", "/", basic "bob:")))
        for _, text in ipairs {
            "ann:pass", "ann:pass:wordd", "ann:pass:worD", "ann", "", ":", "eve:no such user",
            "bob:x",
            "ann:pass:wordpass:word",
        } do
            assert.equal(401, (app:call("GET", "/", basic(text))), text)
        end
        for _, value in ipairs { "Basic", "Basic !!!", "Bearer x", "basic", "Basic  " } do
            assert.equal(401, (app:call("GET", "/", { headers = { authorization = value } })))
        end
        local lower = { headers = { authorization = "basic " .. codec.base64.encode("bob:") } }
        assert.equal(200, (app:call("GET", "/", lower)))
    end)

    it("asks a function, which may wait", function()
        local app = app_with(http.basicAuth { check = function(user, password, req)
            assert(timer.sleep(1))
            return user == password and req.method == "GET"
        end })
        assert.equal(200, (app:call("GET", "/", basic "x:x")))
        assert.equal(401, (app:call("POST", "/", basic "x:x")))
        raises("needs options.check or options.users", http.basicAuth, {})
        raises("realm", http.basicAuth, { users = {}, realm = 'a"b' })
    end)
end)

describe("http.bearer", function()
    local function bearer(token)
        return { headers = { authorization = "Bearer " .. token } }
    end

    it("lets in who has a token", function()
        local app = app_with(http.bearer { tokens = { robot = "abc", other = "abd" } },
            function(req) return req.user end)
        assert.equal("robot", select(3, app:call("GET", "/", bearer "abc")))
        assert.equal("other", select(3, app:call("GET", "/", bearer "abd")))
        local status, headers = app:call("GET", "/", bearer "abe")
        assert.equal(401, status)
        assert.equal('Bearer realm="restricted", error="invalid_token"',
            headers["www-authenticate"])
        assert.equal('Bearer realm="restricted"',
            select(2, app:call("GET", "/"))["www-authenticate"])
        assert.equal(401, (app:call("GET", "/", bearer "abcabc")))
        assert.equal(401, (app:call("GET", "/", bearer "a b")))
    end)

    it("hands on what its function returns", function()
        local function verify(token) return token == "t" and { id = 7 } end
        local app = app_with(http.bearer { verify = verify },
            function(req) return { id = req.user.id } end)
        assert.equal('{"id":7}', select(3, app:call("GET", "/", bearer "t")))
        assert.equal(401, (app:call("GET", "/", bearer "u")))
        raises("needs options.verify or options.tokens", http.bearer, {})
        raises("empty token", http.bearer, { tokens = { a = "" } })
    end)
end)

describe("http.bodyLimit", function()
    it("refuses by the length that is said, and by the bytes that come", function()
        local function pieces()
            local n = 0
            return function()
                n = n + 1
                return n <= 3 and "12345" or nil
            end
        end
        local whole = app_with(http.bodyLimit(10), function(req) return req:body() end)
        assert.equal(200, (whole:call("POST", "/", { body = "1234567890" })))
        assert.equal(413, (whole:call("POST", "/", { body = "12345678901" })))
        assert.equal(413, (whole:call("POST", "/", { body = pieces() })))
        local in_pieces = app_with(http.bodyLimit(10), function(req)
            local total = 0
            while true do
                local piece, err = req:read(5)
                if err then return nil, err end
                if not piece then return tostring(total) end
                total = total + #piece
            end
        end)
        assert.equal(413, (in_pieces:call("POST", "/", { body = pieces() })))
        local narrower = app_with(http.bodyLimit(14), function(req) return req:body(12) end)
        assert.equal(413, (narrower:call("POST", "/", { body = pieces() })))
        raises("max must be", http.bodyLimit, -1)
    end)
end)

describe("http.timeout", function()
    it("answers 503 where a handler waits too long, and leaves others alone", function()
        local reached
        local app = app_with(http.timeout(10), function(req)
            if req.path == "/slow" then
                timer.sleep(10000)
                reached = true
            end
            if req.path == "/error" then error("mine", 0) end
            return 201, "done"
        end)
        local begun = timer.now()
        assert.equal(503, (app:call("GET", "/slow")))
        assert.truthy(timer.now() - begun < 5000)
        assert.is_true(reached)
        assert.equal(201, (app:call("GET", "/fast")))
        raises("mine", app.call, app, "GET", "/error")
        raises("ms must be", http.timeout, 0)
    end)

    it("raises where some of the response has gone out, so that nobody takes it for all", function()
        local app = app_with(http.timeout(5), function(_, res)
            res:write("some")
            timer.sleep(10000)
        end)
        raises("GET / took longer than 5 ms", app.call, app, "GET", "/")
    end)
end)

describe("http.secureHeaders", function()
    it("sets what keeps browsers from guessing, and lets a handler have its own", function()
        local app = app_with(http.secureHeaders { hsts = true }, function(req, res)
            if req.path == "/own" then res:setHeader("X-Frame-Options", "DENY") end
            return ""
        end)
        local _, headers = app:call("GET", "/")
        assert.equal("SAMEORIGIN", headers["x-frame-options"])
        assert.equal("nosniff", headers["x-content-type-options"])
        assert.equal("strict-origin-when-cross-origin", headers["referrer-policy"])
        assert.equal("same-origin", headers["cross-origin-opener-policy"])
        assert.equal("max-age=31536000", headers["strict-transport-security"])
        assert.equal("default-src 'self'", headers["content-security-policy"])
        assert.equal("DENY", select(2, app:call("GET", "/own"))["x-frame-options"])
    end)

    it("gives each request a nonce of its own", function()
        local app = app_with(http.secureHeaders { csp = {
            ["script-src"] = { "'self'", "'nonce'" }, ["upgrade-insecure-requests"] = "",
        } }, function(req) return req.ctx.nonce end)
        local seen = {}
        for _ = 1, 3 do
            local _, headers, nonce = app:call("GET", "/")
            assert.equal(24, #nonce)
            assert.equal("script-src 'self' 'nonce-" .. nonce .. "'; upgrade-insecure-requests",
                headers["content-security-policy"])
            assert.is_nil(seen[nonce])
            seen[nonce] = true
        end
    end)

    it("leaves out what is false, and raises for what cannot be", function()
        local app = app_with(http.secureHeaders {
            csp = false, frame = false, referrer = false, nosniff = false, crossOrigin = false,
        })
        local _, headers = app:call("GET", "/")
        assert.is_nil(headers["x-frame-options"] or headers["content-security-policy"])
        raises("csp must be", http.secureHeaders, { csp = { ["script-src"] = "a; b" } })
        raises("csp must be", http.secureHeaders, { csp = { Script = "a" } })
        raises("cannot be true", http.secureHeaders, { frame = true })
    end)
end)

describe("http.requestId", function()
    it("makes an id for each request, or takes that of the client where it may", function()
        local own, trusting = app_with(http.requestId()), app_with(http.requestId { trust = true })
        local seen = {}
        for _ = 1, 100 do
            local _, headers = own:call("GET", "/", { headers = { ["x-request-id"] = "mine" } })
            local id = headers["x-request-id"]
            assert.truthy(id:find("^%x+$") and #id == 32)
            assert.is_nil(seen[id])
            seen[id] = true
        end
        local function id_of(given)
            local _, headers = trusting:call("GET", "/", { headers = { ["x-request-id"] = given } })
            return headers["x-request-id"]
        end
        assert.equal("a-b_c.1", id_of "a-b_c.1")
        for _, bad in ipairs { "", "a b", "<script>", ("a"):rep(129) } do
            assert.not_equal(bad, id_of(bad))
        end
    end)
end)
