package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local origin = require "origin"
local process = require "process"
local sockets = require "sockets"
local task = require "task"
local tcp = require "tcp"
local timer = require "timer"
local tools = require "tools"
local unix = require "unix"
local zlib = require "zlib"

local ENCODINGS = "gzip, deflate" .. (zlib.stream "unbrotli" and ", br" or "")
    .. (zlib.stream "unzstd" and ", zstd" or "")
local fails, raises = tools.fails, tools.raises

describe("http.client", function()
    local client

    before_each(function() client = sockets.keep(assert(http.createClient())) end)
    after_each(sockets.close_all)

    describe("a request", function()
        it("has the line and the fields that it needs, and no others", function()
            local url, seen = origin.serve(origin.answer("x"))
            assert.equal("x", assert(http.get(url .. "/a?b=c")).body)
            assert.equal("GET /a?b=c HTTP/1.1\r\nHost: " .. url:sub(8)
                .. "\r\nUser-Agent: links\r\n" ..
                "Accept: */*\r\nAccept-Encoding: " .. ENCODINGS .. "\r\n\r\n", seen[1].head)
            assert(http.get(url, { stream = true })):close()
            assert.equal("gzip, deflate", seen[2].headers["accept-encoding"])
        end)

        it("is made by the function of its method", function()
            local url, seen = origin.serve(function(_, r)
                return r.method == "HEAD" and "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
                    or origin.answer(r.method)
            end)
            for _, from in ipairs { http, client } do
                for _, name in ipairs { "get", "delete", "options" } do
                    assert.equal(name:upper(), assert(from[name](from == client and client or url,
                        from == client and url or nil)).body)
                end
            end
            for _, name in ipairs { "post", "put", "patch" } do
                assert.equal(name:upper(), assert(http[name](url, "body")).body)
                assert.equal("body", seen[#seen].body)
                assert.equal(name:upper(), assert(client[name](client, url, "body")).body)
            end
            local res = assert(http.head(url))
            assert.equal(7, res.contentLength)
            assert.equal("", res.body)
            assert.equal("PURGE", assert(http.request { method = "purge", url = url }).body)
            assert.equal("PUT", assert(client:request { method = "PUT", url = url,
                body = "x" }).body)
            assert.equal("x", seen[#seen].body)
        end)

        it("has the headers of its options", function()
            local url, seen = origin.serve(origin.answer("x"))
            assert(http.get(url, {
                headers = {
                    ["X-One"] = "1", ["x-number"] = 7, ["X-List"] = { "a", "b" },
                        Accept = "text/plain",
                    ["user-agent"] = false, Host = "elsewhere:80", ["X-Empty"] = "",
                    ["X-Tab"] = "a\tb\200",
                },
            }))
            local headers = seen[1].headers
            assert.equal("1", headers["x-one"])
            assert.equal("7", headers["x-number"])
            assert.truthy(seen[1].head:find("X-List: a\r\nX-List: b\r\n", 1, true))
            assert.equal("text/plain", headers.accept)
            assert.is_nil(headers["user-agent"])
            assert.equal("elsewhere:80", headers.host)
            assert.equal("", headers["x-empty"])
            assert.equal("a\tb\200", headers["x-tab"])
        end)

        it("adds a query to that of the URL", function()
            local url, seen = origin.serve(origin.answer("x"))
            assert(http.get(url, { query = { a = "1 2", b = { "x", "y" } } }))
            assert(http.get(url .. "/p?z=1#f", { query = { a = "&" } }))
            assert(http.get(url .. "/p", { query = {} }))
            assert.equal("/?a=1+2&b=x&b=y", seen[1].target)
            assert.equal("/p?z=1&a=%26", seen[2].target)
            assert.equal("/p", seen[3].target)
        end)

        it("sends JSON and forms", function()
            local url, seen = origin.serve(origin.answer("x"))
            assert(http.post(url, nil, { json = { a = { 1, 2 } } }))
            assert(http.post(url, nil, { form = { a = "b c", d = 1 } }))
            assert(http.delete(url, { json = false, headers = { ["content-type"] = "x/y" } }))
            assert.equal('{"a":[1,2]}', seen[1].body)
            assert.equal("application/json", seen[1].headers["content-type"])
            assert.equal("a=b+c&d=1", seen[2].body)
            assert.equal("application/x-www-form-urlencoded", seen[2].headers["content-type"])
            assert.equal("false", seen[3].body)
            assert.equal("x/y", seen[3].headers["content-type"])
            fails("TYPE", http.post(url, nil, { json = print }))
        end)

        it("identifies itself", function()
            local url, seen = origin.serve(origin.answer("x"))
            assert(http.get(url, { auth = { "Aladdin", "open sesame" } }))
            assert(http.get(url, { auth = { user = "a", pass = "b" } }))
            assert(http.get(url, { auth = "bearer abc.def" }))
            assert(http.get("http://us%41:p%3aw@" .. url:sub(8)))
            assert(http.get(url, { auth = { "a", "b" }, headers = { authorization = "own" } }))
            assert.equal("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", seen[1].headers.authorization)
            assert.equal("Basic YTpi", seen[2].headers.authorization)
            assert.equal("Bearer abc.def", seen[3].headers.authorization)
            assert.equal("Basic dXNBOnA6dw==", seen[4].headers.authorization)
            assert.equal("own", seen[5].headers.authorization)
            fails("HTTP_BAD_REQUEST", http.get(url, { auth = "abc" }))
            fails("HTTP_BAD_REQUEST", http.get(url, { auth = { "a:b", "c" } }))
            fails("HTTP_BAD_REQUEST", http.get(url, { auth = {} }))
            fails("HTTP_BAD_REQUEST", http.get(url, { auth = "bearer a\r\nX: y" }))
            assert.equal(5, #seen)
        end)

        it("does not tell the name and the password of its URL to the program", function()
            local url = origin.serve(origin.answer("x"))
            assert.equal(url .. "/", assert(http.get((url:gsub("//", "//a:b@")))).url)
        end)

        it("lets nothing that it is given break out of its place", function()
            local url, seen = origin.serve(origin.answer("x"))
            local tried = { "a\r\nX: y", "a\nX: y", "a\rX: y", "a\0b", "a\127", "\1",
                "\r\n\r\nGET /" }
            for _, bad in ipairs(tried) do
                fails("HTTP_BAD_REQUEST", http.get(url, { headers = { X = bad } }))
                fails("HTTP_BAD_REQUEST", http.get(url, { headers = { X = { "a", bad } } }))
                fails("HTTP_BAD_REQUEST", http.get(url, { headers = { [bad] = "x" } }))
                fails("HTTP_BAD_REQUEST", http.get(url, { headers = { Host = bad } }))
                fails("HTTP_BAD_REQUEST", http.get(url, { headers = { ["X" .. bad] = "x" } }))
                fails("HTTP_BAD_URL", http.get(url .. "/" .. bad))
                fails("HTTP_BAD_URL", http.get(url .. "/?" .. bad))
                fails("HTTP_BAD_URL", http.get("http://a" .. bad .. "/"))
                fails("HTTP_BAD_URL", http.get("unix:/tmp/" .. bad .. ":/"))
                fails("HTTP_BAD_URL", http.get("unix:/tmp/x:/" .. bad))
                fails("HTTP_BAD_REQUEST", http.request { method = "GET " .. bad, url = url })
                assert(http.get(url, { query = { [bad] = bad } }))
                assert.equal(2, select(2, seen[#seen].head:gsub("\r\nHost: ", "")) + 1)
            end
            for _, bad in ipairs { "", "a b", "a:", "(x)", "\200" } do
                fails("HTTP_BAD_REQUEST", http.get(url, { headers = { [bad] = "x" } }))
            end
            for _, bad in ipairs { "", "a b", "a/b", "a@b", "a,b\200" } do
                fails("HTTP_BAD_REQUEST", http.get(url, { headers = { host = bad } }))
            end
            for _, bad in ipairs { "GET /", "", "G\tT", "(" } do
                fails("HTTP_BAD_REQUEST", http.request { method = bad, url = url })
            end
            assert.equal(#tried, #seen)
        end)

        it("sets the fields of its framing itself", function()
            local url, seen = origin.serve(origin.answer("x"))
            for name, value in pairs {
                ["Transfer-Encoding"] = "chunked", ["transfer-encoding"] = "gzip",
                    Connection = "upgrade",
                ["Content-Length"] = "3", Expect = "200-ok",
            } do
                fails("HTTP_BAD_REQUEST", http.post(url, "four", { headers = { [name] = value } }))
            end
            fails("HTTP_BAD_REQUEST", http.get(url, { headers = { ["content-length"] = "3" } }))
            fails("HTTP_BAD_REQUEST", http.post(url, "x",
                { headers = { ["content-length"] = "+1" } }))
            fails("HTTP_BAD_REQUEST",
                http.post(url, "x", { headers = { ["content-length"] = { "1", "1" } } }))
            fails("UNSUPPORTED", http.request { method = "CONNECT", url = url })
            assert.equal(0, #seen)
            assert(http.post(url, "four", { headers = { ["content-length"] = 4 } }))
            assert.equal("four", seen[1].body)
            assert(http.post(url))
            assert.equal("0", seen[2].headers["content-length"])
        end)

        it("has a limit for its head", function()
            local url = origin.serve(origin.answer("x"))
            fails("HTTP_BAD_REQUEST", http.get(url, { headers = { x = ("y"):rep(70000) } }))
        end)

        it("closes its connection where it is told to", function()
            local url, seen = origin.serve(origin.answer("x"))
            assert(client:get(url, { keepAlive = false }))
            assert(client:get(url, { headers = { Connection = "close" } }))
            assert(client:get(url))
            assert.equal("close", seen[1].headers.connection)
            assert.equal("close", seen[2].headers.connection)
            assert.is_nil(seen[3].headers.connection)
            assert.equal(3, seen.connections)
        end)
    end)

    describe("an argument that is wrong", function()
        it("is raised at the line of the caller", function()
            local function get(...) return http.get(...) end
            raises("url must be %[string%]", function() local _ = http.get() end)
            raises("url must be %[string%]", function() local _ = client:get(7) end)
            raises('unknown option "timeot" %(did you mean "timeout"%?%)',
                function() local _ = http.get("http://a", { timeot = 1 }) end)
            raises("options.timeout must be %[integer%]",
                function() local _ = client:post("http://a", "", { timeout = -1 }) end)
            raises("options.headers must have names",
                function() local _ = http.get("http://a", { headers = { "x" } }) end)
            raises("options.headers.X must be",
                function() local _ = http.get("http://a", { headers = { X = true } }) end)
            raises("options.headers.X must be a list of strings",
                function() local _ = http.get("http://a", { headers = { X = { {} } } }) end)
            raises("body must be a string", function() local _ = http.post("http://a",
                { x = 1 }) end)
            raises("body must be %[", function() local _ = http.post("http://a", 7) end)
            raises("there can be one of body",
                function() local _ = http.post("http://a", "x", { json = 1 }) end)
            raises("options must be %[table%]", function() local _ = http.request("http://a") end)
            raises("url must be %[string%]",
                function() local _ = http.request { method = "GET" } end)
            raises("options.method must be",
                function() local _ = http.request { method = 7, url = "x" } end)
            raises("options.backoff has base and max",
                function() local _ = http.get("http://a", { backoff = { min = 1 } }) end)
            raises("options.resolve.x must be",
                function() local _ = http.get("http://a", { resolve = { x = 7 } }) end)
            raises("options.maxPerHost",
                function() local _ = http.createClient { maxPerHost = 0 } end)
            raises('unknown option "maxPerHost"',
                function() local _ = http.get("http://a", { maxPerHost = 1 }) end)
            assert.has_error(function() get() end)
        end)
    end)

    describe("a URL", function()
        it("must be one of http, https or a Unix socket", function()
            for _, url in ipairs {
                "", "/x", "example.org", "ftp://a/", "http:/a", "http://", "http:///x",
                    "http://a:0/",
                "http://a:70000/", "http://a b/", "http://[::1/", "http://1.2.3/../ ",
                    "http://%41/",
                "http://a/%zz", "http://300.1.1.1/", "unix:", "unix:/x:y", "mailto:a@b",
            } do
                fails("HTTP_BAD_URL", http.get(url))
            end
        end)

        it("may name IPv6 addresses and default ports", function()
            if not tools.has_ipv6 then return pending("needs IPv6") end
            local port = sockets.serve(function(socket)
                socket:write(origin.answer(origin.read(socket).headers.host))
            end, { family = 6, host = "::1" })
            local res = assert(http.get("http://[::1]:" .. port .. "/"))
            assert.equal("[::1]:" .. port, res.body)
            assert.equal("::1", res.remoteAddress)
            assert.equal(port, res.remotePort)
        end)

        it("may be that of a Unix socket", function()
            local path = os.tmpname()
            os.remove(path)
            local server = sockets.keep(assert(unix.createServer(path, function(socket)
                local r = origin.read(socket)
                socket:write(origin.answer(r.target .. " " .. r.headers.host))
            end)))
            local res = assert(http.get("unix:" .. path .. ":/v1/info?x=1"))
            assert.equal("/v1/info?x=1 localhost", res.body)
            assert.equal("unix:" .. path .. ":/v1/info?x=1", res.url)
            assert.equal("/ localhost", assert(http.get("unix:" .. path)).body)
            assert.equal("/y a:81", assert(http.get("http://a:81/y", { unix = path })).body)
            server:close()
            fails("ENOENT", http.get("unix:" .. path .. ":/"))
        end)

        it("needs TLS for https", function()
            local port = sockets.serve(function(socket) socket:readAll() end)
            local res, err = http.get("https://127.0.0.1:" .. port .. "/", { timeout = 1000 })
            assert.is_nil(res)
            assert.truthy(err.name)
        end)
    end)

    describe("a body", function()
        local url, seen

        before_each(function()
            url, seen = origin.serve(function(_, r) return origin.answer(tostring(#r.body)) end)
        end)

        it("is a string, of any size", function()
            for _, size in ipairs { 0, 1, 16384, 16385, 3000000 } do
                assert.equal(tostring(size), assert(http.post(url, ("x"):rep(size))).body)
                assert.equal(tostring(size), seen[#seen].headers["content-length"])
            end
            assert.equal(1, seen.connections)
        end)

        it("is a list of strings", function()
            assert(http.post(url, { "a", "", "bc" }))
            assert.equal("abc", seen[1].body)
            assert.equal("3", seen[1].headers["content-length"])
            assert(http.post(url, {}))
            assert.equal("0", seen[2].headers["content-length"])
        end)

        it("is what a function gives, in chunks", function()
            local n = 0
            assert(http.post(url, function()
                n = n + 1
                timer.sleep(1)
                return n < 4 and ("x"):rep(n) or n == 4 and "" or n == 5 and "end" or nil
            end))
            assert.equal("xxxxxxend", seen[1].body)
            assert.equal(4, seen[1].chunks)
            assert.equal("chunked", seen[1].headers["transfer-encoding"])
        end)

        it("has the length that was told of it", function()
            local function pieces(...)
                local list, i = { ... }, 0
                return function()
                    i = i + 1
                    return list[i]
                end
            end
            local told = { headers = { ["Content-Length"] = "5" } }
            assert(http.post(url, pieces("he", "llo"), told))
            assert.equal("hello", seen[1].body)
            assert.is_nil(seen[1].headers["transfer-encoding"])
            fails("EOF", http.post(url, pieces("he"), told))
            fails("TOO_LARGE", http.post(url, pieces("he", "llo!"), told))
            assert.equal(1, #seen)
        end)

        it("ends the request with the error of its function", function()
            local mine = require("links.errors").new(2, "mine")
            local res, err = http.post(url, function() return nil, mine end)
            assert.is_nil(res)
            assert.equal(mine, err)
            assert.has_error(function() http.post(url, function() error("mine", 0) end) end, "mine")
            assert.has_error(function() http.post(url, function() return 7 end) end)
            assert.equal(0, #seen)
            assert.equal("1", assert(http.post(url, "x")).body)
        end)

        it("is a file, from where it is", function()
            local path = os.tmpname()
            tools.write(path, ("0123456789"):rep(20000))
            local file = assert(require("fs").open(path))
            assert(file:seek("set", 5))
            assert(http.put(url, file))
            assert.equal("199995", seen[1].headers["content-length"])
            assert.equal("56789", seen[1].body:sub(1, 5))
            file:close()
            assert(http.put(url, { path = path }))
            assert.equal(200000, #seen[2].body)
            os.remove(path)
            fails("ENOENT", http.put(url, { path = path }))
            fails("CLOSED", http.put(url, file))
        end)

        it("is what comes of a socket, of a request or of an answer", function()
            local port = sockets.serve(function(socket) socket:write(("s"):rep(100000)) end)
            assert(http.post(url, assert(tcp.connect(port))))
            assert.equal(100000, #seen[1].body)
            local from = assert(http.get("http://127.0.0.1:" ..
                select(1, sockets.serve(function(socket)
                    origin.read(socket)
                    socket:write(origin.answer(("r"):rep(50000)))
                end)), { stream = true }))
            assert(http.post(url, from))
            assert.equal("50000", seen[2].headers["content-length"])
            local server = sockets.keep(assert(http.createServer(0, function(req)
                return assert(http.post(url, req)).body
            end, { host = "127.0.0.1" })))
            local res = assert(http.post("http://127.0.0.1:" .. server:address().port,
                ("q"):rep(70000)))
            assert.equal("70000", res.body)
        end)

        it("tells how far it is", function()
            local told = {}
            local function note(sent, total) told[#told + 1] = sent .. "/" .. tostring(total) end
            assert(http.post(url, { "ab", "cde" }, { onProgress = note }))
            assert(http.post(url, "x", { onProgress = note }))
            assert.same({ "2/5", "5/5", "1/1" }, told)
        end)
    end)

    describe("an answer", function()
        it("has its status, its fields and its body", function()
            local url = origin.serve("HTTP/1.1 404 Not  Here\r\nX-A: 1\r\nx-a:2\r\n" ..
                "Set-Cookie: a=1\r\nSet-Cookie: b=2, c\r\n" ..
                "X-Blank:  \t b \t\r\nContent-Length: 5\r\n\r\nhello")
            local res = assert(http.get(url))
            assert.equal(404, res.status)
            assert.equal("Not  Here", res.reason)
            assert.equal("1.1", res.version)
            assert.equal("http/1.1", res.protocol)
            assert.equal("1, 2", res.headers["X-A"])
            assert.equal("1, 2", res:header("x-A"))
            assert.same({ "a=1", "b=2, c" }, res:headerAll("set-cookie"))
            assert.same({}, res:headerAll("nothing"))
            assert.is_nil(res.headers.nothing)
            assert.equal("b", res.headers["x-blank"])
            assert.equal("hello", res.body)
            assert.equal(5, res.contentLength)
            assert.equal(url .. "/", res.url)
            assert.equal("127.0.0.1", res.remoteAddress)
            assert.same({}, res.redirects)
            assert.equal("http response: 404 Not  Here of " .. url .. "/", tostring(res))
        end)

        it("tells how long it took", function()
            local url = origin.serve(function()
                timer.sleep(20)
                return origin.answer("x")
            end)
            local first, second = assert(client:get(url)).timing, assert(client:get(url)).timing
            assert.is_true(first.connect > 0 and first.dns >= 0 and first.tls == 0)
            assert.is_true(first.ttfb >= 19 and first.total >= first.ttfb)
            assert.is_true(second.connect == 0 and second.ttfb >= 19)
        end)

        it("may be one of other statuses only where that is asked for", function()
            local url = origin.serve(origin.answer("no", "", "404 Not Found"))
            local err = fails("HTTP_BAD_STATUS", http.get(url, { expectStatus = 200 }))
            assert.equal(404, err.status)
            assert.equal("no", err.response.body)
            fails("HTTP_BAD_STATUS", http.get(url, { expectStatus = { 200, 201 }, stream = true }))
            assert.equal("no", assert(http.get(url, { expectStatus = { 200, 404 } })).body)
        end)
    end)

    describe("times", function()
        local function silent() return (origin.serve(function(socket) socket:readAll() end)) end

        it("end the whole call", function()
            local err = fails("ETIMEDOUT", http.get(silent(), { timeout = 30 }))
            assert.equal("total", err.timeout)
            assert.is_nil(err.deadline)
        end)

        it("end a call whose body drips", function()
            local url = origin.serve(function(socket)
                socket:write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ = 1, 1000 do
                    if not socket:write("x") or not timer.sleep(5) then return end
                end
            end, { once = true })
            assert.equal("total", fails("ETIMEDOUT", http.get(url, { timeout = 50 })).timeout)
            tools.steadily(100, function()
                local res = assert(http.get(url, { timeout = 200, stream = true }))
                local _, err
                repeat _, err = res:read() until err
                assert.equal("total", err.timeout)
                assert.equal("ETIMEDOUT", select(2, res:read()).name)
            end)
        end)

        it("end the wait for a head, even for one that drips", function()
            local err = fails("ETIMEDOUT", http.get(silent(), { headerTimeout = 30 }))
            assert.equal("header", err.timeout)
            local url = origin.serve(function(socket)
                for _ = 1, 1000 do
                    if not socket:write("HTTP/1.1 100 Continue\r\n\r\n") then return end
                    timer.sleep(5)
                end
            end, { once = true })
            err = fails("ETIMEDOUT", http.get(url, { headerTimeout = 50 }))
            assert.equal("header", err.timeout)
        end)

        it("end the wait for more of a body", function()
            local url = origin.serve(function(socket)
                socket:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                socket:readAll()
            end)
            assert.equal("idle", fails("ETIMEDOUT", http.get(url, { idleTimeout = 30 })).timeout)
            tools.steadily(50, function()
                local res = assert(http.get(url, { idleTimeout = 100, stream = true }))
                assert.equal("abc", res:read())
                assert.equal("idle", fails("ETIMEDOUT", res:read()).timeout)
            end)
        end)

        it("end connecting", function()
            local port = sockets.hanging("127.0.0.1")
            local err = fails("ETIMEDOUT",
                http.get("http://127.0.0.1:" .. port .. "/", { connectTimeout = 30 }))
            assert.equal("connect", err.timeout)
        end)

        it("end sending a body that the server does not take", function()
            local url = origin.serve(function() timer.sleep(10000) end, { noBody = true })
            local res, err = http.post(url, ("x"):rep(20000000), { idleTimeout = 50,
                headerTimeout = 60 })
            assert.is_nil(res)
            assert.equal("ETIMEDOUT", err.name)
        end)

        it("do not count a body that is being sent as waiting for the head", function()
            local url = origin.serve(origin.answer("x"))
            tools.steadily(50, function()
                local n = 0
                local res = assert(http.post(url, function()
                    n = n + 1
                    timer.sleep(30)
                    return n < 6 and "x" or nil
                end, { headerTimeout = 100 }))
                assert.equal("x", res.body)
            end)
        end)

        it("are those of a deadline around the call, too", function()
            local res, err = task.withTimeout(20, http.get, silent())
            assert.is_nil(res)
            assert.is_true(err.deadline)
        end)
    end)

    describe("a task that is cancelled", function()
        it("lets go of its connection, wherever it waits", function()
            local url, seen = origin.serve(function(socket, r)
                if r.target == "/body" then
                    socket:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                end
                socket:readAll()
            end, { noBody = true })
            client = sockets.keep(assert(http.createClient { maxPerHost = 1 }))
            for _, target in ipairs { "/head", "/body" } do
                local _, err = sockets.cancelled(function() return client:get(url .. target) end)
                assert.equal("ECANCELED", err.name)
                assert.same({ active = 0, idle = 0, waiting = 0, hosts = 0 }, client:stats())
            end
            local _, err = sockets.cancelled(function()
                return client:post(url .. "/head", function()
                    timer.sleep(10000)
                    return "x"
                end)
            end)
            assert.equal("ECANCELED", err.name)
            assert.same({ active = 0, idle = 0, waiting = 0, hosts = 0 }, client:stats())
            assert.equal(3, seen.connections)
            local port = sockets.hanging("127.0.0.1")
            _, err = sockets.cancelled(function() return client:get("http://127.0.0.1:"
                .. port) end)
            assert.equal("ECANCELED", err.name)
            assert.same({ active = 0, idle = 0, waiting = 0, hosts = 0 }, client:stats())
        end)
    end)

    describe("several at a time", function()
        it("come back in their order", function()
            local url = origin.serve(function(_, r)
                timer.sleep(r.target == "/1" and 20 or 1)
                return origin.answer(r.target)
            end)
            local results, failed = http.all { url .. "/1", { url = url .. "/2" }, url .. "/3" }
            assert.is_nil(failed)
            assert.equal("/1", results[1].body)
            assert.equal("/2", results[2].body)
            assert.equal("/3", results[3].body)
            assert.same({}, (http.all {}))
        end)

        it("are no more than the limit", function()
            local now, most = 0, 0
            local url = origin.serve(function()
                now = now + 1
                most = math.max(most, now)
                timer.sleep(5)
                now = now - 1
                return origin.answer("x")
            end)
            local requests = {}
            for i = 1, 10 do requests[i] = { url = url, method = "POST", body = "x" } end
            assert(client:all(requests, { concurrency = 3 }))
            assert.equal(3, most)
        end)

        it("fail one by one", function()
            local url = origin.serve(origin.answer("x"))
            local results, failed = http.all { url, "http://127.0.0.1:1/", "nothing" }
            assert.equal("x", results[1].body)
            assert.is_false(results[2])
            assert.equal("ECONNREFUSED", failed[2].name)
            assert.equal("HTTP_BAD_URL", failed[3].name)
            assert.is_nil(failed[1])
        end)

        it("are cancelled together", function()
            local url, seen = origin.serve(function(socket) socket:readAll() end)
            local results, err = sockets.cancelled(function()
                return client:all { url .. "/1", url .. "/2" }
            end)
            assert.is_nil(results)
            assert.equal("ECANCELED", err.name)
            assert.equal(0, client:stats().active)
            assert.is_true(#seen <= 2)
        end)

        it("go out on one connection before the first answer, where that is asked for", function()
            local most = 0
            local url, seen = origin.serve(function(socket, r, n)
                if n == 1 or n == 6 then
                    timer.sleep(5) -- the others are there by now
                    most = math.max(most, select(2, socket:peek(1)) and 0 or 1)
                end
                if r.target == "/moved" then
                    return origin.answer("", "Location: /1\r\n", "302 X")
                end
                return origin.answer(r.method == "HEAD" and "" or r.target)
            end)
            local requests = {}
            for i = 1, 10 do requests[i] = url .. "/" .. i end
            local results, failed = client:all(requests, { pipeline = 5, concurrency = 1 })
            assert.is_nil(failed)
            for i = 1, 10 do
                assert.equal("/" .. i, results[i].body)
                assert.equal(url .. "/" .. i, results[i].url)
                assert.is_true(results[i].timing.total >= results[i].timing.ttfb)
            end
            assert.equal(1, seen.connections)
            assert.equal(1, most)
            results, failed = client:all({
                url .. "/moved", { method = "POST", url = url .. "/p", body = "x" }, "nothing",
                { method = "HEAD", url = url .. "/h" }, { url = url .. "/s", stream = true },
                { url = url .. "/e", expectStatus = 201 }, url .. "/last",
            }, { pipeline = 8 })
            assert.equal("/1", results[1].body)
            assert.equal("/p", results[2].body)
            assert.equal("HTTP_BAD_URL", failed[3].name)
            assert.equal("", results[4].body)
            assert.equal("/s", results[5]:readAll())
            assert.equal("HTTP_BAD_STATUS", failed[6].name)
            assert.equal("/last", results[7].body)
            assert.equal(0, client:stats().active)
        end)

        it("are asked for again where a pipeline breaks", function()
            local url, seen = origin.serve(function(socket, r, n)
                if n == 3 then
                    socket:write(origin.answer(r.target, "Connection: close\r\n"))
                    return socket:close() and nil
                end
                if n == 5 then return socket:close(true) and nil end
                return origin.answer(r.target)
            end)
            local requests = {}
            for i = 1, 8 do requests[i] = url .. "/" .. i end
            local results, failed = client:all(requests, { pipeline = 8 })
            assert.is_nil(failed)
            for i = 1, 8 do assert.equal("/" .. i, results[i].body) end
            assert.is_true(seen.connections >= 2)
            local silent = origin.serve(function(socket) socket:readAll() end)
            results, failed = client:all({
                { url = silent, timeout = 30 }, { url = silent, timeout = 30 },
            }, { pipeline = 2 })
            assert.same({ false, false }, results)
            assert.equal("total", failed[2].timeout)
            assert.equal(0, client:stats().active)
        end)

        it("are checked before any of them begins", function()
            raises("requests%[2%] must be", function() local _ = http.all { "http://a", 7 } end)
            raises("unknown option", function() local _ = http.all { { url = "http://a",
                ulr = 1 } } end)
            raises("url must be", function() local _ = http.all { { method = "GET" } } end)
            raises("concurrency", function() local _ = http.all({}, { concurrency = 0 }) end)
        end)
    end)

    describe("a client", function()
        it("has options of its own, that each request may change", function()
            local url, seen = origin.serve(origin.answer("x"))
            client = sockets.keep(assert(http.createClient {
                baseUrl = url .. "/v1/", headers = { ["X-A"] = "1", ["X-B"] = "2" }, auth = { "a",
                    "b" },
            }))
            assert(client:get("items?x#y", { headers = { ["x-b"] = "3", ["X-A"] = false } }))
            assert.equal("/v1/items?x", seen[1].target)
            assert.is_nil(seen[1].headers["x-a"])
            assert.equal("3", seen[1].headers["x-b"])
            assert.equal("Basic YTpi", seen[1].headers.authorization)
            assert(client:get("/items"))
            assert.equal("/items", seen[2].target)
            assert.equal("1", seen[2].headers["x-a"])
        end)

        it("tells its secrets to the server of its base only", function()
            local url = origin.serve(origin.answer("x"))
            local other, seen = origin.serve(origin.answer("x"))
            client = sockets.keep(assert(http.createClient {
                baseUrl = url, headers = { Cookie = "a", ["X-A"] = "1" }, auth = "bearer t",
            }))
            assert(client:get(other))
            assert.is_nil(seen[1].headers.authorization)
            assert.is_nil(seen[1].headers.cookie)
            assert.equal("1", seen[1].headers["x-a"])
        end)

        it("refuses a base that is none", function()
            fails("HTTP_BAD_URL", http.createClient { baseUrl = "/x" })
            fails("HTTP_BAD_URL", http.createClient { baseUrl = "unix:/x:/" })
        end)

        it("makes no requests once it is closed", function()
            local url = origin.serve(origin.answer("x"))
            assert(client:get(url))
            client:close()
            client:close()
            fails("CLOSED", client:get(url))
        end)
    end)

    it("keeps no process going for its idle connections", function()
        local server = sockets.keep(assert(http.createServer(0, function() return "x" end)))
        local result = assert(process.run(tools.LINKS, { "-e", ([[
            local http = require "http"
            io.write(assert(http.get("http://127.0.0.1:%d/")).body)
        ]]):format(server:address().port) }, { timeout = 60000 }))
        assert.equal("x", result.stdout)
        assert.equal(0, result.code)
    end)
end)
