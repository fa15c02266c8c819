local http = require "http"

local function status_of(app, method, path, options)
    return (app:call(method, path, options))
end

local function body_of(app, path, options)
    local _, _, body = app:call("GET", path, options)
    return body
end

local function says(text)
    return function() return text end
end

-- Answers with the parameters, in the order of their names.
local function tells(name)
    return function(req)
        local list = {}
        for key, value in pairs(req.params) do list[#list + 1] = key .. "=" .. value end
        table.sort(list)
        return name .. " " .. table.concat(list, " ")
    end
end

local function message_of(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return tostring(err)
end

describe("a router", function()
    it("prefers what is written out, then patterns, then parameters, then the rest", function()
        local app = http.router()
        app:get("/*rest", tells "rest")
        app:get("/a/:x", tells "param")
        app:get("/a/:n<%d+>", tells "digits")
        app:get("/a/:w<[a-f]+>", tells "letters")
        app:get("/a/b", tells "static")
        assert.equal("static ", body_of(app, "/a/b"))
        assert.equal("digits n=12", body_of(app, "/a/12"))
        assert.equal("letters w=cafe", body_of(app, "/a/cafe"))
        assert.equal("param x=12z", body_of(app, "/a/12z"))
        assert.equal("rest rest=a", body_of(app, "/a"))
        assert.equal("rest rest=a/b/c", body_of(app, "/a/b/c"))
        assert.equal("rest rest=", body_of(app, "/"))
    end)

    it("tries the next choice where one leads nowhere", function()
        local app = http.router()
        app:get("/a/b/c", tells "abc")
        app:get("/:x/b/d", tells "xbd")
        app:get("/:x/:y/e", tells "xye")
        app:get("/a/*rest", tells "rest")
        assert.equal("abc ", body_of(app, "/a/b/c"))
        assert.equal("rest rest=b/d", body_of(app, "/a/b/d"))
        assert.equal("xbd x=z", body_of(app, "/z/b/d"))
        assert.equal("xye x=z y=b", body_of(app, "/z/b/e"))
        assert.equal(404, status_of(app, "GET", "/z/b/f"))
    end)

    it("finds each of 10,000 routes, and does so by the length of the path", function()
        local app = http.router()
        for i = 1, 5000 do
            app:get("/static/r" .. i .. "/end", says("s" .. i))
            app:get("/param/r" .. i .. "/:id/end", says("p" .. i))
        end
        for i = 1, 5000, 7 do
            assert.equal("s" .. i, body_of(app, "/static/r" .. i .. "/end"))
            assert.equal("p" .. i, body_of(app, "/param/r" .. i .. "/x/end"))
        end
        assert.equal(404, status_of(app, "GET", "/static/r5001/end"))
    end)

    it("reports two routes for the same when the second is added, at the caller's line", function()
        local app = http.router()
        app:get("/user/:id", says "")
        local message = message_of(function() app:get("/user/:name", says "") end)
        assert.truthy(message:find("http_router_spec.lua:", 1, true))
        assert.truthy(message:find("GET /user/:name conflicts with GET /user/:id", 1, true))
        app:get("/user/:id<%d+>", says "")
        message_of(function() app:get("/user/:n<%d+>", says "") end)
        app:get("/user/:id<%x+>", says "")
        app:post("/user/:name", says "")
        app:get("/user/:name/posts", says "")
        message_of(function() app:get("/user/:id/", says "") end)
        app:all("/user/:any", says "")
        message_of(function() app:all("/user/:other", says "") end)
        app:head("/user/:id", says "")
        message_of(function() app:head("/user/:id", says "") end)
        assert.equal(7, #app:routes())
    end)

    it("says what is wrong with a path", function()
        local app = http.router()
        for path, expected in pairs {
            ["a"] = 'does not begin with "/"', [""] = 'does not begin with "/"',
            ["//"] = "empty segment",
            ["/a//b"] = "empty segment", ["/:"] = "without a name", ["/:1"] = "without a name",
            ["/:a<%d+"] = "not closed", ["/:a.b"] = "whole segment",
            ["/:a/:a"] = "two parameters a",
            ["/*"] = "needs a name", ["/*a/b"] = "nothing may follow it",
            ["/:a<[>"] = "the pattern of :a",
            ["/a/../b"] = "no request can have", ["/a\\b"] = "no request can have",
        } do
            local message = message_of(function() app:get(path, says "") end)
            assert.truthy(message:find(expected, 1, true), path .. ": " .. message)
        end
        assert.truthy(message_of(function() app:get("/") end):find("handler must be [function]", 1,
            true))
        assert.truthy(message_of(function() app:get("/", 1,
            says "") end):find("middleware must be", 1, true))
        message_of(function() app:get(nil, says "") end)
        message_of(function() http.router { strict = true } end)
        assert.equal(0, #app:routes())
    end)

    it("takes a pattern that has slashes and angle brackets in it", function()
        local app = http.router()
        app:get("/t/:v<<[^/]+>>/x", tells "tag")
        assert.equal("tag v=<b>", body_of(app, "/t/%3Cb%3E/x"))
        assert.equal(404, status_of(app, "GET", "/t/b/x"))
    end)

    it("treats /a and /a/ as one path, or as two where it is strict", function()
        local app, strict = http.router(), http.router { strictSlash = true }
        app:get("/a", says "a")
        app:get("/p/:x", tells "p")
        assert.equal("a", body_of(app, "/a/"))
        assert.equal("p x=1", body_of(app, "/p/1/"))
        assert.equal(404, status_of(app, "GET", "/a//"))
        strict:get("/a", says "a")
        strict:get("/a/", says "a/")
        strict:get("/b/", says "b/")
        strict:get("/", says "/")
        strict:get("/r/*rest", tells "r")
        assert.equal("a", body_of(strict, "/a"))
        assert.equal("a/", body_of(strict, "/a/"))
        assert.equal(404, status_of(strict, "GET", "/b"))
        assert.equal("/", body_of(strict, "/"))
        assert.equal(404, status_of(strict, "GET", "/r"))
        assert.equal("r rest=", body_of(strict, "/r/"))
        assert.equal("r rest=x/", body_of(strict, "/r/x/"))
    end)

    it("goes by the case of letters, unless told not to", function()
        local app, loose = http.router(), http.router { caseSensitive = false }
        app:get("/User", says "u")
        loose:get("/User/:Name", tells "u")
        assert.equal(404, status_of(app, "GET", "/user"))
        assert.equal("u Name=Bob", body_of(loose, "/uSER/Bob"))
        message_of(function() loose:get("/USER/:x", says "") end)
    end)
end)

describe("the path of a request", function()
    local app = http.router()
    app:get("/p/:x/e", tells "p")
    app:get("/files/*rest", tells "f")
    app:get("/caf\195\169/a b", says "coffee")
    app:get("/v1/x:cancel", says "colon")

    it("is decoded once, segment by segment", function()
        assert.equal("p x=a/b", body_of(app, "/p/a%2Fb/e"))
        assert.equal("p x=%2F", body_of(app, "/p/%252F/e"))
        assert.equal("p x=a+b c", body_of(app, "/p/a+b%20c/e"))
        assert.equal("coffee", body_of(app, "/caf%C3%A9/a%20b"))
        assert.equal("coffee", body_of(app, "/%63af%c3%a9/a%20b"))
        assert.equal("colon", body_of(app, "/v1/x:cancel"))
        assert.equal("colon", body_of(app, "/v1/x%3Acancel?a=/../"))
        assert.equal("f rest=a/b c/", body_of(app, "/files/a/b%20c/"))
        assert.equal("f rest=..a/.b/...", body_of(app, "/files/..a/.b/..."))
    end)

    it("is refused where it leaves its place, however that is written", function()
        for _, path in ipairs {
            "/files/..", "/files/../x", "/files/./x", "/files/%2e%2e/x", "/files/.%2E/x",
            "/files/%2e",
            "/files/..%2fx", "/files/x%2f..", "/files/x%2F%2e%2e%2Fy", "/files/..\\x",
            "/files/..%5cx",
            "/files/a%5Cb", "/files/a\\b", "/files/a%00b", "/files/%", "/files/%4", "/files/%zz",
            "/files/%4g", "/p/../e", "/p/%2e%2e/e", "/../etc/passwd", "/..", "x", "",
        } do
            assert.equal(400, status_of(app, "GET", path), path)
        end
    end)

    it("is not found where a segment is empty", function()
        for _,
            path in ipairs { "//", "/files//a", "//files/a", "/p//e", "/p/e//",
                "//evil.example/" } do
            assert.equal(404, status_of(app, "GET", path), path)
        end
        assert.equal(404, status_of(app, "GET", ("/a"):rep(129)))
    end)

    it("never makes the router raise, whatever it is", function()
        math.randomseed(1)
        local letters = "/.%25eEfF\\\0ab*:<>"
        for _ = 1, 20000 do
            local path = {}
            for i = 1, math.random(0, 12) do
                local at = math.random(#letters)
                path[i] = letters:sub(at, at)
            end
            local status, _, body = app:call("GET", "/files/" .. table.concat(path))
            assert.truthy(status == 200 or status == 400 or status == 404)
            if status == 200 then
                for part in (body:match("rest=(.*)$") .. "/"):gmatch("([^/\\]*)[/\\]") do
                    assert.truthy(part ~= ".." and part ~= "." and not part:find("%z"))
                end
            end
        end
    end)
end)

describe("methods", function()
    it("have each their own routes, and all for the others", function()
        local app = http.router()
        for _, name in ipairs { "get", "post", "put", "patch", "delete" } do
            app[name](app, "/x", says(name))
        end
        app:all("/x", function(req) return "all " .. req.method end)
        app:all("/y/:id", says "y")
        app:route { method = { "REPORT", "PROPFIND" }, path = "/x", handler = says "dav" }
        for method, expected in pairs {
            GET = "get", POST = "post", PUT = "put", PATCH = "patch", DELETE = "delete",
            PURGE = "all PURGE", OPTIONS = "all OPTIONS", REPORT = "dav", PROPFIND = "dav",
        } do
            local status, _, body = app:call(method, "/x")
            assert.same({ 200, expected }, { status, body })
        end
        assert.equal("y", select(3, app:call("DELETE", "/y/1")))
        assert.equal("y", select(3, app:call("REPORT", "/y/1")))
    end)

    it("answer HEAD from GET, without the body", function()
        local app = http.router()
        app:get("/a", says "hello")
        app:all("/*rest", says "anything")
        app:get("/b", says "b")
        app:head("/b", function(_, res) res:setHeader("X-Own", "yes") return "" end)
        local status, headers, body = app:call("HEAD", "/a")
        assert.same({ 200, "5", "" }, { status, headers["content-length"], body })
        assert.equal("yes", select(2, app:call("HEAD", "/b"))["x-own"])
        assert.is_nil(select(2, app:call("GET", "/b"))["x-own"])
    end)

    it("that a path does not have are 405 with Allow, and OPTIONS tells them", function()
        local app = http.router()
        app:get("/a/:x<%d+>", says "")
        app:post("/a/:x", says "")
        app:delete("/b", says "")
        local status, headers = app:call("PUT", "/a/1")
        assert.same({ 405, "GET, HEAD, OPTIONS, POST" }, { status, headers.allow })
        status, headers = app:call("GET", "/a/x")
        assert.same({ 405, "OPTIONS, POST" }, { status, headers.allow })
        local body
        status, headers, body = app:call("OPTIONS", "/b/")
        assert.same({ 204, "DELETE, OPTIONS", "" }, { status, headers.allow, body })
        assert.equal(404, status_of(app, "OPTIONS", "/c"))
        assert.equal(204, status_of(app, "OPTIONS", "*"))
        assert.equal(400, status_of(app, "PUT", "/a/.."))
    end)
end)

describe("middleware", function()
    it("runs as an onion, in the order in which it was added, around every answer", function()
        local app, log = http.router(), {}
        local function layer(name)
            return function(_, _, next)
                log[#log + 1] = "+" .. name
                local a, b, c = next()
                log[#log + 1] = "-" .. name
                return a, b, c
            end
        end
        local function ran()
            local text = table.concat(log, " ")
            log = {}
            return text
        end
        app:get("/", layer "c", layer "d", function() log[#log + 1] = "handler" return "x" end)
        app:use(layer "a")
        app:use(layer "b")
        assert.equal("x", body_of(app, "/"))
        assert.equal("+a +b +c +d handler -d -c -b -a", ran())
        assert.equal(404, status_of(app, "GET", "/none"))
        assert.equal("+a +b -b -a", ran())
        assert.equal(405, status_of(app, "PUT", "/"))
        assert.equal("+a +b -b -a", ran())
        app:use(layer "e")
        app:call("GET", "/")
        assert.equal("+a +b +e +c +d handler -d -c -e -b -a", ran())
    end)

    it("hands on the answer where it returns nothing, and replaces it where it does", function()
        local app = http.router()
        app:use(function(_, res, next) next() res:setHeader("X-After", "1") end)
        app:get("/a", says "a")
        app:get("/b", function(_, _, next) next() return 201, "B" end, says "b")
        app:get("/c", function() return 403 end, says "c")
        local _, headers, body = app:call("GET", "/a")
        assert.same({ "a", "1" }, { body, headers["x-after"] })
        assert.same({ 201, "B" }, { app:call("GET", "/b"), (select(3, app:call("GET", "/b"))) })
        assert.equal(403, status_of(app, "GET", "/c"))
    end)

    it("must not run what comes after it twice", function()
        local app = http.router()
        app:get("/", function(_, _, next) next() next() end, says "")
        assert.truthy(message_of(app.call, app, "GET", "/"):find("called next() twice", 1, true))
    end)

    it("runs below its prefix only, which ends with a segment", function()
        local app = http.router()
        app:use("/admin", function() return 401 end)
        app:get("/admin", says "")
        app:get("/admin/x", says "")
        app:get("/administrator", says "ok")
        app:get("/:any/x", says "any")
        app:get("/all/*rest", says "")
        assert.equal(401, status_of(app, "GET", "/admin"))
        assert.equal(401, status_of(app, "GET", "/admin/x"))
        assert.equal(401, status_of(app, "GET", "/admin/none"))
        assert.equal(401, status_of(app, "GET", "/%61dmin/none"))
        assert.equal(200, status_of(app, "GET", "/administrator"))
        assert.equal(404, status_of(app, "GET", "/none"))
        app:get("/:any/y", says "any")
        assert.equal(401, status_of(app, "GET", "/admin/y"))
        assert.equal(200, status_of(app, "GET", "/other/y"))
        message_of(function() app:use("/:x", says "") end)
        message_of(function() app:use("x", says "") end)
        message_of(function() app:use("/x") end)
    end)

    it("has hooks before and after each handler", function()
        local app, log = http.router(), {}
        app:before(function(req) log[#log + 1] = "before " .. req.rawPath end)
        app:before(function(req) if req.rawPath == "/stop" then return 403, "stopped" end end)
        app:after(function(_, _, status) log[#log + 1] = "after " .. tostring(status) end)
        app:after(function(req, _, ...)
            if req.rawPath == "/twice" then return (...) .. (...) end
        end)
        app:get("/twice", says "x")
        app:get("/stop", function() error("must not run") end)
        assert.equal("xx", body_of(app, "/twice"))
        assert.equal("stopped", body_of(app, "/stop"))
        assert.same({ "before /twice", "after x", "before /stop", "after 403" }, log)
    end)
end)

describe("errors", function()
    it("go to onError, with a traceback where they were raised", function()
        local app, seen = http.router(), nil
        app:onError(function(err, req, _, traceback)
            seen = { err, req.rawPath, traceback }
            return 500, "sorry"
        end)
        app:get("/raise", function() error({ code = 7 }) end)
        app:get("/return", function(req) return req:json() end)
        app:use("/mw", function() error("in middleware", 0) end)
        assert.same({ 500, "sorry" }, { (app:call("GET", "/raise")), body_of(app, "/raise") })
        assert.equal(7, seen[1].code)
        assert.truthy(seen[3]:find("http_router_spec.lua", 1, true))
        assert.equal("sorry", body_of(app, "/return"))
        assert.equal("PARSE", seen[1].name)
        assert.is_nil(seen[3])
        assert.equal("sorry", body_of(app, "/mw"))
        assert.same({ "in middleware", "/mw" }, { seen[1], seen[2] })
    end)

    it("go on to the server where onError returns nothing, or there is none", function()
        local app = http.router()
        app:get("/", function() error("boom", 0) end)
        app:get("/value", function(req) return req:json() end)
        assert.equal("boom", message_of(app.call, app, "GET", "/"))
        assert.equal(400, status_of(app, "GET", "/value"))
        app:onError(function() end)
        assert.equal("boom", message_of(app.call, app, "GET", "/"))
        assert.equal(400, status_of(app, "GET", "/value"))
    end)

    it("have an answer of their own where no route matches", function()
        local app = http.router()
        app:notFound(function(req) return "no " .. req.path end)
        local status, _, body = app:call("GET", "/a%20b")
        assert.same({ 404, "no /a b" }, { status, body })
        assert.equal(400, status_of(app, "GET", "/.."))
    end)
end)

describe("router:mount", function()
    it("adds the routes of another router, those that come later too", function()
        local app, api, deep = http.router(), http.router(), http.router()
        api:get("/", says "api")
        api:get("/user/:id", tells "user")
        app:mount("/api/:version", api)
        api:mount("/deep", deep)
        deep:get("/x", tells "deep")
        api:get("/later", says "later")
        assert.equal("api", body_of(app, "/api/v1"))
        assert.equal("api", body_of(app, "/api/v1/"))
        assert.equal("user id=7 version=v1", body_of(app, "/api/v1/user/7"))
        assert.equal("later", body_of(app, "/api/v1/later"))
        assert.equal("deep version=2", body_of(app, "/api/2/deep/x"))
        local paths = {}
        for i, route in ipairs(app:routes()) do paths[i] = route.path end
        assert.same({ "/api/:version", "/api/:version/user/:id", "/api/:version/deep/x",
            "/api/:version/later" }, paths)
    end)

    it("runs middleware, hooks and handlers of errors of the inner within the outer", function()
        local app, api = http.router(), http.router()
        app:mount("/api", api)
        local function layer(name)
            return function(_, _, next)
                local status, body = next()
                return status, name .. "(" .. tostring(body) .. ")"
            end
        end
        app:use(layer "app")
        api:use(layer "api")
        api:use("/only", layer "only")
        api:get("/x", function() return 200, "x" end)
        api:get("/only/x", function() return 200, "x" end)
        api:get("/bad", function() error("bad", 0) end)
        app:get("/x", function() return 200, "x" end)
        api:onError(function(err) return 500, "caught " .. err end)
        api:notFound(function() return 404, "api has none" end)
        assert.equal("app(api(x))", body_of(app, "/api/x"))
        assert.equal("app(x)", body_of(app, "/x"))
        assert.equal("app(api(only(x)))", body_of(app, "/api/only/x"))
        assert.equal("app(caught bad)", body_of(app, "/api/bad"))
        assert.equal("app(api(api has none))", body_of(app, "/api/none"))
        assert.equal("app(nil)", body_of(app, "/apinone"))
        assert.equal("api(x)", body_of(api, "/x"))
    end)

    it("refuses a conflict, and changes nothing by that", function()
        local app, one, two = http.router(), http.router(), http.router()
        app:get("/a/x", says "app")
        one:get("/x", says "one")
        message_of(function() app:mount("/a", one) end)
        assert.equal(1, #app:routes())
        app:mount("/b", two)
        app:get("/b/y", says "app")
        local message = message_of(function() two:get("/y", says "two") end)
        assert.truthy(message:find("GET /b/y conflicts with GET /b/y", 1, true))
        assert.equal(0, #two:routes())
        message_of(function() two:mount("/c", app) end)
        message_of(function() app:mount("/c", app) end)
        message_of(function() app:mount("/c", says "") end)
        message_of(function() app:mount("/c/*rest", one) end)
    end)
end)

describe("router:host", function()
    it("gives the requests for a host to another router", function()
        local app, www, any = http.router(), http.router(), http.router()
        app:get("/", says "app")
        www:get("/", says "www")
        any:get("/", says "any")
        app:host("www.Example.com", www)
        app:host("*.example.com", any)
        app:use(function(_, res, next) res:setHeader("X-App", "1") return next() end)
        for host, expected in pairs {
            ["www.example.com"] = "www", ["WWW.example.COM:8080"] = "www",
            ["www.example.com."] = "www",
            ["a.example.com"] = "any", ["a.b.example.com"] = "any", ["example.com"] = "app",
            ["evilexample.com"] = "app",
        } do
            local _, headers, body = app:call("GET", "/", { headers = { host = host } })
            assert.same({ expected, "1" }, { body, headers["x-app"] }, host)
        end
        message_of(function() app:host("www.example.com", any) end)
        message_of(function() app:host("*.example.com", any) end)
        message_of(function() app:host("a b", any) end)
        message_of(function() app:host("x", app) end)
    end)
end)

describe("router:url", function()
    it("makes the path of a route, which leads to that route", function()
        local app, sub = http.router(), http.router()
        app:route { path = "/u/:id<%d+>/:name", name = "user", handler = tells "user" }
        app:route { path = "/f/*rest", name = "file", handler = tells "file" }
        sub:route { path = "/a b/", name = "sub", handler = says "sub" }
        app:mount("/m/:x", sub)
        assert.equal("/u/7/a%2Fb%20c", app:url("user", { id = 7, name = "a/b c" }))
        assert.equal("user id=7 name=a/b c",
            body_of(app, app:url("user", { id = 7, name = "a/b c" })))
        assert.equal("/f/a/b%20c/?q=1&q=2", app:url("file", { rest = "a/b c/" }, { q = { 1, 2 } }))
        assert.equal("/m/1/a%20b/", app:url("sub", { x = 1 }))
        assert.equal("/f/", app:url("file", { rest = "" }, {}))
    end)

    it("raises for names and parameters that cannot be", function()
        local app = http.router()
        app:route { path = "/u/:id<%d+>", name = "user", handler = says "" }
        assert.truthy(message_of(app.url, app, "usr"):find('did you mean "user"?', 1, true))
        assert.truthy(message_of(app.url, app, "user"):find("params.id must be", 1, true))
        assert.truthy(message_of(app.url, app, "user", { id = "x" }):find('cannot be "x"', 1, true))
        message_of(function() app:route { path = "/v", name = "user", handler = says "" } end)
        message_of(function() app:route { path = "/v", hander = says "" } end)
        message_of(function() app:route { path = "/v", method = "get", handler = says "" } end)
        message_of(function() app:route { path = "/v", method = {}, handler = says "" } end)
        message_of(function() app:route { handler = says "" } end)
    end)
end)

describe("router:routes", function()
    it("tells what there is, with the program's own data", function()
        local app, meta = http.router(), { summary = "one user" }
        app:route { method = "GET", path = "/u/:id", name = "user", meta = meta, handler = says "" }
        app:all("/x", says "")
        assert.same({
            { method = "GET", path = "/u/:id", name = "user", meta = meta },
            { method = "*", path = "/x" },
        }, app:routes())
        assert.equal(meta, app:routes()[1].meta)
    end)
end)

describe("router:call", function()
    it("gives the handler a request with everything in it", function()
        local app, seen = http.router(), nil
        app:post("/a%20b/:id", function(req)
            seen = {
                req.method, req.url, req.path, req.rawPath, req.queryString, req.query.q,
                    req.headers["X-One"],
                req:header("x-list"), req:headerAll("X-List"), req.contentLength, req.params.id,
                req.remoteAddress, req.version, req.headers.host, req.cookies.c,
            }
            return req:body()
        end)
        local status, _, body = app:call("POST", "/a%20b/1?q=x", {
            headers = { ["X-one"] = 1, ["x-list"] = { "a", "b" }, Cookie = "c=d" }, body = "hello",
        })
        assert.same({ 200, "hello" }, { status, body })
        assert.same({
            "POST", "/a%20b/1?q=x", "/a b/1", "/a%20b/1", "q=x", "x", "1", "a, b", { "a", "b" }, 5,
            "1",
            "127.0.0.1", "1.1", "localhost", "d",
        }, seen)
    end)

    it("has bodies in pieces, and limits", function()
        local app = http.router()
        app:post("/read", function(req)
            local pieces = {}
            for piece in function() return (req:read(2)) end do pieces[#pieces + 1] = piece end
            return table.concat(pieces, "|")
        end)
        app:post("/max", function(req) return req:body(3) end)
        local n = 0
        local function pieces()
            n = n + 1
            return ({ "abc", "", "de" })[n]
        end
        assert.equal("ab|c|de", select(3, app:call("POST", "/read", { body = pieces })))
        assert.equal(413, status_of(app, "POST", "/max", { body = "abcd" }))
        assert.equal(200, status_of(app, "POST", "/max", { body = "abc" }))
    end)

    it("takes all that a handler may answer with", function()
        local app = http.router()
        local answers = {
            ["/table"] = function() return 201, { a = 1 } end,
            ["/list"] = function() return 200, "x", { ["X-A"] = { "1", "2" }, ["X-B"] = 3 } end,
            ["/pieces"] = function()
                local n = 0
                return function() n = n + 1 return n < 3 and "p" .. n or nil end
            end,
            ["/res"] = function(_, res)
                res.status = 202
                assert(res:write("a"))
                assert.truthy(res.headersSent)
                assert.equal("HTTP_HEADERS_SENT", select(2, res:setHeader("X", "y")).name)
                assert(res:finish("b"))
                assert.equal("CLOSED", select(2, res:write("c")).name)
            end,
            ["/send"] = function(_, res) return res:send(203, "s", { ["X-S"] = "1" }) end,
            ["/status"] = function() return 404 end,
        }
        for path, handler in pairs(answers) do app:get(path, handler) end
        local _, headers = app:call("GET", "/list")
        assert.same({ "1", "2" }, headers["X-A"])
        assert.equal("3", headers["x-b"])
        local function both(path)
            local status, _, body = app:call("GET", path)
            return { status, body }
        end
        assert.same({ 201, '{"a":1}' }, both("/table"))
        assert.same({ 200, "p1p2" }, both("/pieces"))
        assert.same({ 202, "ab" }, both("/res"))
        assert.same({ 203, "s" }, both("/send"))
        assert.same({ 404, "Not Found\n" }, both("/status"))
        app:get("/nothing", function() end)
        assert.truthy(message_of(app.call, app, "GET", "/nothing"):find("without an answer", 1,
            true))
        app:get("/header", function(_, res) res:setHeader("X", "a\r\nb: c") end)
        assert.truthy(message_of(app.call, app, "GET", "/header"):find("not a valid header", 1,
            true))
    end)
end)
