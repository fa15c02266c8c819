package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local json = require "json"
local task = require "task"
local tcp = require "tcp"
local timer = require "timer"
local wire = require "wire"

local servers = {}

local function serve(handler)
    local server = assert(http.createServer(0, handler, { host = "127.0.0.1" }))
    servers[#servers + 1] = server
    return server:address().port
end

after_each(function()
    for _, server in ipairs(servers) do server:close(0) end
    servers = {}
end)

local function request(port, method, path, fields, body)
    local head = method .. " " .. path .. " HTTP/1.1\r\nHost: a.example\r\n" .. (fields or "")
    if body then head = head .. "Content-Length: " .. #body .. "\r\n" end
    return wire.request(port, head .. "\r\n" .. (body or ""))
end

describe("a router over the wire", function()
    it("answers as it does without a server", function()
        local app, api = http.router(), http.router()
        app:use(function(_, res, next) res:setHeader("X-Layer", "1") return next() end)
        app:mount("/api", api)
        api:get("/user/:id<%d+>", function(req) return { id = req.params.id, q = req.query.q } end)
        api:post("/json", function(req)
            local value, err = req:json()
            if err then return nil, err end
            return 201, value
        end)
        app:get("/files/*rest", function(req) return req.params.rest end)
        app:get("/cookie", function(req, res)
            res:cookie("seen", "1")
            res:cookie("two", "2")
            return req.cookies.sid or "none"
        end)
        app:get("/go", function(_, res) return res:redirect("/api") end)
        local port = serve(app)

        local JSON = "Content-Type: application/json\r\n"
        local cases = {
            { "GET", "/api/user/7?q=x" }, { "GET", "/api/user/x" }, { "PUT", "/api/user/7" },
            { "OPTIONS", "/api/user/7" }, { "GET", "/files/a%2Fb/c/" },
            { "GET", "/files/%2e%2e/x" },
            { "GET", "/files/.." }, { "GET", "//files" }, { "GET", "/go" }, { "GET", "/cookie" },
            { "POST", "/api/json", JSON, '{"a":[],"b":{}}' }, { "POST", "/api/json", JSON, "{" },
            { "POST", "/api/json", "", "{}" }, { "DELETE", "/none" },
        }
        for _, case in ipairs(cases) do
            local method, path, fields, body = unpack(case, 1, 4)
            local headers = { host = "a.example" }
            if fields == JSON then headers["content-type"] = "application/json" end
            local status, expected,
                text = app:call(method, path, { headers = headers, body = body })
            local res = request(port, method, path, fields, body)
            local name = method .. " " .. path
            assert.equal(status, res.status, name)
            assert.equal(text, res.body, name)
            for _,
                field in ipairs { "allow", "content-type", "location", "x-layer",
                    "content-length" } do
                assert.equal(expected[field], res.headers[field], name .. ": " .. field)
            end
        end
        assert.equal("abc", request(port, "GET", "/cookie", "Cookie: sid=abc; x=y\r\n").body)
    end)

    it("finds routes over the wire as without a server, however a path is written", function()
        for _, options in ipairs { {}, { strictSlash = true }, { caseSensitive = false } } do
            local app, inner = http.router(options), http.router(options)
            local function tell(name)
                return function(req)
                    local params = {}
                    for key, value in pairs(req.params) do
                        params[#params + 1] = key .. "=" .. value
                    end
                    table.sort(params)
                    return name .. " " .. table.concat(params, "&")
                end
            end
            app:get("/", tell("root"))
            app:get("/a", tell("a"))
            app:get("/a/b", tell("a/b"))
            app:get("/a/:x/c", tell("a/:x/c"))
            app:get("/a/:x", tell("a/:x"))
            app:get("/n/:n<%d+>", tell("digits"))
            app:get("/n/:n", tell("any"))
            app:get("/p/:p<%a+>", tell("letters"))
            app:get("/p/:p", tell("other"))
            app:get("/r/*rest", tell("rest"))
            app:get("/r/x/:y", tell("r/x/:y"))
            inner:get("/:key/:value", tell("inner"))
            app:mount("/in/:outer", inner)
            local port = serve(app)
            local paths = { "/", "", "/a", "/a/", "/A", "/a/b", "/a/b/", "/a/b/c", "/a/z/c",
                "/a/b/d", "/a/z", "/a/%7a", "/a/z%2fc", "/a/.", "/a/..", "/a/.z", "/a//c", "/n/12",
                "/n/12x", "/n/1%32", "/p/abc", "/p/12", "/r", "/r/", "/r/1", "/r/1/2", "/r/1/2/",
                "/r/x/1", "/r/x/1/2", "/r/x", "/r/.well/known", "/r/a/../b", "/r/a//b", "/in/1/2/3",
                "/in/1/2/3/4", "/n/12?q=/a", "/a\\b", "/none" }
            for _, path in ipairs(paths) do
                if path ~= "" then
                    local status, _, text = app:call("GET", path)
                    local res = request(port, "GET", path)
                    assert.equal(status, res.status, path)
                    assert.equal(text, res.body, path)
                end
            end
        end
    end)

    it("keeps a request's parameters apart from those of others meanwhile", function()
        local app = http.router()
        app:get("/one/:id/*rest", function(req)
            timer.sleep(20)
            local params = req.params
            params.more = "1"
            return params.id .. " " .. params.rest .. " " .. req.params.more
        end)
        app:get("/two/:id", function(req) return req.params.id end)
        local port = serve(app)
        local slow = task.spawn(function() return request(port, "GET", "/one/a/b/c").body end)
        for i = 1, 20 do
            assert.equal("x" .. i, request(port, "GET", "/two/x" .. i).body)
            timer.sleep(2)
        end
        local _, body = slow:join(20000)
        assert.equal("a b/c 1", body)
    end)

    it("has the parameters of the innermost of routers that call each other", function()
        local outer, inner = http.router(), http.router()
        inner:get("/x/:b", function(req) return tostring(req.params.a) .. req.params.b end)
        inner:get("/y/:b<%a+>", function(req) return tostring(req.params.a) .. req.params.b end)
        outer:get("/x/:a", function(req, res) return inner(req, res) end)
        outer:get("/y/:a", function(req, res)
            assert(req.params.a)
            return inner(req, res)
        end)
        local port = serve(outer)
        assert.equal("nil1", request(port, "GET", "/x/1").body)
        assert.equal("nilz", request(port, "GET", "/y/z").body)
        local swapped = http.router()
        swapped:get("/:a<%a+>/:c", function(req, res) return inner(req, res) end)
        assert.equal("nil1", request(serve(swapped), "GET", "/x/1").body)
    end)

    it("tells the parameters of a request that has become another protocol", function()
        local app, seen = http.router(), nil
        app:get("/raw/:room", function(req)
            local socket = assert(req:upgrade("shout"))
            seen = req.params.room
            socket:write("bye")
            socket:close()
        end)
        local port = serve(app)
        local socket = assert(tcp.connect(port))
        socket:write("GET /raw/one HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n" ..
            "Upgrade: shout\r\n\r\n")
        assert.truthy(socket:readAll():find("bye", 1, true))
        assert.equal("one", seen)
    end)

    it("takes a form with a file, in chunks", function()
        local app = http.router()
        app:post("/", function(req)
            local fields, files, err = req:files { memory = 10 }
            if err then return nil, err end
            return { title = fields.title, filename = files[1].filename, size = #files[1]:body() }
        end)
        local port = serve(app)
        local large = ("0123456789"):rep(10000)
        local body = '--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nhello\r\n'
            .. '--b\r\nContent-Disposition: form-data; name="f"; filename="/x/y"\r\n\r\n' .. large
            .. "\r\n--b--\r\n"
        local chunks = {}
        for at = 1, #body, 7777 do
            local piece = body:sub(at, at + 7776)
            chunks[#chunks + 1] = ("%x\r\n%s\r\n"):format(#piece, piece)
        end
        local res = request(port, "POST", "/", "Content-Type: multipart/form-data; boundary=b\r\n"
            .. "Transfer-Encoding: chunked\r\n\r\n" .. table.concat(chunks) .. "0\r\n")
        assert.equal(200, res.status)
        assert.same({ title = "hello", filename = "y", size = 100000 }, json.decode(res.body))
        res = request(port, "POST", "/", "Content-Type: multipart/form-data; boundary=b\r\n",
        "--b\r\n")
        assert.equal(400, res.status)
    end)

    it("sends HEAD what GET would have, but the body", function()
        local app = http.router()
        app:get("/", function() return "hello" end)
        local port = serve(app)
        local client = assert(wire.connect(port))
        client:send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
            .. "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        local text = client:rest()
        local _, count = text:gsub("Content%-Length: 5\r\n", "")
        assert.equal(2, count)
        assert.equal("hello", text:match("\r\n\r\n.-\r\n\r\n(.*)$"))
        client:close()
    end)

    it("makes errors a 500 for the client, or what onError answers", function()
        local app = http.router()
        app:get("/", function() error("secret", 0) end)
        app:onError(function(err, req) return 503, { error = err, path = req.path } end)
        local port = serve(app)
        local res = request(port, "GET", "/")
        assert.equal(503, res.status)
        assert.same({ error = "secret", path = "/" }, json.decode(res.body))
    end)

    it("is a handler that createServer takes, and other tables are not", function()
        assert.has_error(function() http.createServer(0, {}) end)
        assert.has_error(function() http.createServer(0, setmetatable({}, { __call = print })) end)
    end)
end)
