package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local origin = require "origin"
local sockets = require "sockets"
local timer = require "timer"
local tools = require "tools"
local unix = require "unix"

local fails = tools.fails

local function redirect(status, location, body)
    return origin.answer(body or "", "Location: " .. location .. "\r\n", status .. " Moved")
end

describe("a redirect", function()
    local client

    before_each(function() client = sockets.keep(assert(http.createClient())) end)
    after_each(sockets.close_all)

    -- Answers /a with a redirect to `location`, everything else with what was asked.
    local function serve(status, location)
        local url, seen = origin.serve(function(_, r)
            if r.target == "/a" then return redirect(status, location, "moved") end
            return origin.answer(r.method .. " " .. r.target .. " " .. r.body)
        end)
        return url, seen
    end

    it("is followed, on the same connection", function()
        for _, status in ipairs { 301, 302, 303, 307, 308 } do
            local url, seen = serve(status, "/b?c#d")
            local res = assert(client:get(url .. "/a"))
            assert.equal("GET /b?c ", res.body)
            assert.equal(url .. "/b?c#d", res.url)
            assert.same({ url .. "/a" }, res.redirects)
            assert.equal(1, seen.connections)
        end
    end)

    it("is resolved against the URL that it comes from", function()
        for location, target in pairs {
            ["b"] = "/x/b", ["./b"] = "/x/b", ["../b"] = "/b", ["?q"] = "/x/a?q",
                ["//HOST/c"] = "/c",
        } do
            local port
            local url = origin.serve(function(_, r)
                if r.target == "/x/a" then
                    return redirect(302, (location:gsub("HOST", "127.0.0.1:" .. port)))
                end
                return origin.answer(r.target)
            end)
            port = url:match("%d+$")
            assert.equal(target, assert(client:get(url .. "/x/a")).body)
        end
    end)

    it("keeps the fragment of the URL that it comes from", function()
        local url = serve(302, "/b")
        assert.equal(url .. "/b#top", assert(client:get(url .. "/a#top")).url)
    end)

    it("makes GET of POST where it is 301, 302 or 303, and keeps method and body else", function()
        for status, expected in pairs {
            [301] = "GET /b ", [302] = "GET /b ", [303] = "GET /b ", [307] = "POST /b body",
            [308] = "POST /b body",
        } do
            local url, seen = serve(status, "/b")
            local res = assert(client:post(url .. "/a", "body",
                { headers = { ["Content-Type"] = "x/y" } }))
            assert.equal(expected, res.body)
            assert.equal(status >= 307 and "x/y" or nil, seen[2].headers["content-type"])
            assert.equal(status >= 307 and "4" or nil, seen[2].headers["content-length"])
        end
        for status, expected in pairs { [301] = "PUT /b body", [303] = "GET /b " } do
            assert.equal(expected, assert(client:put(serve(status, "/b") .. "/a", "body")).body)
        end
    end)

    it("keeps HEAD", function()
        local url, seen = origin.serve(function(_, r)
            if r.target == "/a" then
                return "HTTP/1.1 303 See Other\r\nLocation: /b\r\nContent-Length: 3\r\n\r\n"
            end
            return "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
        end)
        assert.equal(200, assert(client:head(url .. "/a")).status)
        assert.equal("HEAD", seen[2].method)
    end)

    it("sends large bodies and files again, and what cannot be sent again is an error", function()
        local big = ("x"):rep(100000)
        local url, seen = serve(307, "/b")
        assert.equal("POST /b " .. big, assert(client:post(url .. "/a", big)).body)
        local path = os.tmpname()
        tools.write(path, big)
        assert.equal("PUT /b " .. big, assert(client:put(url .. "/a", { path = path })).body)
        os.remove(path)
        local sent = false
        local before = #seen
        fails("UNSUPPORTED", client:post(url .. "/a", function()
            if sent then return nil end
            sent = true
            return "once"
        end))
        assert.equal(before + 1, #seen)
        assert.equal(0, client:stats().active)
    end)

    it("to another server takes no secrets along", function()
        local other, there = origin.serve(origin.answer("x"))
        for _, options in ipairs {
            { auth = { "a", "b" } }, { auth = "bearer x" },
            { headers = { Authorization = "x", COOKIE = "y", ["Proxy-Authorization"] = "z",
                Host = "h" } },
        } do
            local url, here = serve(307, other .. "/b")
            options.headers = options.headers or {}
            options.headers["X-Kept"] = "1"
            assert(client:get(url .. "/a", options))
            assert.truthy(here[1].headers.authorization)
            local headers = there[#there].headers
            assert.is_nil(headers.authorization)
            assert.is_nil(headers.cookie)
            assert.is_nil(headers["proxy-authorization"])
            assert.equal(other:sub(8), headers.host)
            assert.equal("1", headers["x-kept"])
        end
        local url = serve(302, other .. "/b")
        assert(client:get("http://user:word@" .. url:sub(8) .. "/a"))
        assert.is_nil(there[#there].headers.authorization)
    end)

    it("to the same server takes them along", function()
        local url, seen = serve(302, "/b")
        assert(client:get(url .. "/a", { auth = { "a", "b" }, headers = { Cookie = "c" } }))
        assert.equal("Basic YTpi", seen[2].headers.authorization)
        assert.equal("c", seen[2].headers.cookie)
    end)

    it("is an error after so many, and none where none is to be followed", function()
        local url, seen = origin.serve(function(_, r)
            return redirect(302, "/" .. tonumber(r.target:sub(2)) + 1, "moved")
        end)
        fails("HTTP_TOO_MANY_REDIRECTS", client:get(url .. "/1"))
        assert.equal(11, #seen)
        fails("HTTP_TOO_MANY_REDIRECTS", client:get(url .. "/1", { redirects = 2 }))
        assert.equal(14, #seen)
        local res = assert(client:get(url .. "/1", { redirects = 0 }))
        assert.equal(302, res.status)
        assert.equal("moved", res.body)
        assert.equal("/2", res.headers.location)
        assert.equal(0, client:stats().active)
    end)

    it("that leads nowhere is the answer, or an error", function()
        local function status(bytes)
            local url = origin.serve(bytes)
            return assert(client:get(url)).status
        end
        assert.equal(302, status(origin.answer("", "", "302 Found")))
        assert.equal(304, status("HTTP/1.1 304 X\r\nLocation: /b\r\n\r\n"))
        assert.equal(200, status(origin.answer("", "Location: /b\r\n")))
        for _, location in ipairs {
            "ftp://a/", "http://a b/", "unix:/run/docker.sock:/", "http://", "javascript:x",
                "/\200",
            "file:///etc/passwd",
        } do
            fails("HTTP_BAD_URL", client:get((serve(302, location)) .. "/a"))
        end
        assert.equal(0, client:stats().active)
    end)

    it("may come with a body of any kind", function()
        local other = origin.serve(origin.answer("x"))
        local large = ("x"):rep(1000000)
        for _, bytes in ipairs {
            redirect(302, other, large), "HTTP/1.1 302 X\r\nLocation: " .. other
                .. "\r\n\r\nno end",
            "HTTP/1.1 302 X\r\nLocation: " .. other ..
                "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        } do
            assert.equal("x", assert(client:get((origin.serve(bytes)))).body)
        end
        assert.equal(0, client:stats().active)
    end)

    it("is followed although its body drips", function()
        local url = origin.serve(function(socket, r)
            if r.target == "/on" then return origin.answer("on") end
            socket:write("HTTP/1.1 302 Found\r\nLocation: /on\r\nContent-Length: 60000\r\n\r\n")
            while socket:write("x") do timer.sleep(20) end
        end)
        assert.equal("on", assert(client:get(url)).body)
    end)

    it("of a Unix socket stays there where it is relative", function()
        local path = os.tmpname()
        os.remove(path)
        local other, there = origin.serve(origin.answer("elsewhere"))
        sockets.keep(assert(unix.createServer(path, function(socket)
            while true do
                local r = origin.read(socket)
                if not r then return end
                local to = ({ ["/a"] = "b?c", ["/x"] = other .. "/y" })[r.target]
                socket:write(to and redirect(302, to) or origin.answer(r.target))
            end
        end)))
        local res = assert(client:get("unix:" .. path .. ":/a"))
        assert.equal("/b?c", res.body)
        assert.equal("unix:" .. path .. ":/b?c", res.url)
        assert.same({ "unix:" .. path .. ":/a" }, res.redirects)
        res = assert(client:get("unix:" .. path .. ":/x", { auth = { "a", "b" } }))
        assert.equal("elsewhere", res.body)
        assert.is_nil(there[1].headers.authorization)
        -- The option says so of every request of the call.
        res = assert(client:get("http://a.test/a", { unix = path }))
        assert.equal("/b?c", res.body)
    end)

    it("counts against the time of the whole call", function()
        local url = origin.serve(function(_, r)
            timer.sleep(20)
            return redirect(302, "/" .. #r.target)
        end)
        assert.equal("total", fails("ETIMEDOUT", client:get(url, { timeout = 70,
            redirects = 100 })).timeout)
    end)
end)

describe("a retry", function()
    local client

    before_each(function()
        client = sockets.keep(assert(http.createClient { retries = 3, backoff = { base = 1,
            max = 2 } }))
    end)
    after_each(sockets.close_all)

    local function failing(times, answer)
        return origin.serve(function(socket, _, n)
            if n > times then return origin.answer("x") end
            if answer then return answer end
            socket:close(true)
        end)
    end

    it("is made after a failure that is listed, so often", function()
        local url, seen = failing(3, origin.answer("no", "", "503 No"))
        assert.equal("x", assert(client:get(url)).body)
        assert.equal(4, #seen)
        url, seen = failing(4, origin.answer("no", "", "503 No"))
        local res = assert(client:get(url))
        assert.equal(503, res.status)
        assert.equal("no", res.body)
        assert.equal(4, #seen)
        url, seen = failing(2)
        assert.equal("x", assert(client:get(url)).body)
        assert.equal(3, #seen)
    end)

    it("is not made of what may not be done twice, nor of other failures", function()
        local url, seen = failing(1, origin.answer("no", "", "503 No"))
        assert.equal(503, assert(client:post(url, "x")).status)
        assert.equal(1, #seen)
        url, seen = failing(1, origin.answer("no", "", "500 No"))
        assert.equal(500, assert(client:get(url)).status)
        assert.equal(1, #seen)
        url = failing(1, origin.answer("no", "", "500 No"))
        assert.equal(200, assert(client:get(url, { retryOn = { 500 } })).status)
        url = failing(1, origin.answer("no", "", "503 No"))
        assert.equal(503, assert(http.get(url)).status)
        fails("ECONNREFUSED", client:get("http://127.0.0.1:1"))
    end)

    it("heeds Retry-After, and the time of the whole call", function()
        local url = failing(1, origin.answer("no", "Retry-After: 1\r\n", "503 No"))
        local begun = timer.now()
        assert.equal(200, assert(client:get(url)).status)
        assert.is_true(timer.now() - begun >= 990)
        local other, seen = failing(1, origin.answer("no", "Retry-After: 100\r\n", "503 No"))
        assert.equal(503, assert(client:get(other, { timeout = 20000 })).status)
        assert.equal(1, #seen)
    end)
end)

describe("denyPrivate", function()
    after_each(sockets.close_all)

    it("refuses what is of this machine and of its networks", function()
        local url, seen = origin.serve(origin.answer("x"))
        local options = { denyPrivate = true, timeout = 20000 }
        fails("EACCES", http.get(url, options))
        fails("EACCES", http.get((url:gsub("127.0.0.1", "localhost")), options))
        fails("EACCES", http.get("http://a.test/", {
            denyPrivate = true, resolve = { ["a.test"] = { "10.0.0.1", "::1" } },
        }))
        fails("EACCES", http.get("unix:/tmp/x:/", options))
        assert(http.get(url))
        fails("EACCES", http.get(url, options)) -- although there is a connection
        assert.equal(1, #seen)
    end)

    it("knows which addresses those are", function()
        local private = require "links.http.client.private"
        for _, address in ipairs {
            "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255",
            "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.1",
            "198.18.0.1", "198.19.255.255", "224.0.0.1", "255.255.255.255", "203.0.113.1",
            "::", "::1", "fe80::1", "fc00::1", "fdff::1", "ff02::1", "::ffff:127.0.0.1",
            "::ffff:7f00:1", "::127.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "2001:db8::1",
            "fec0::1", "2001::1", "100::1", "fe80::1%eth0", "::ffff:0:127.0.0.1",
        } do
            assert.is_true(private.is(address), address)
        end
        for _, address in ipairs {
            "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "128.0.0.1",
            "172.15.255.255", "172.32.0.0", "192.167.255.255", "198.17.255.255", "198.20.0.0",
            "223.255.255.255", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1",
            "2002:101:101::", "64:ff9b::1.1.1.1",
        } do
            assert.is_false(private.is(address), address)
        end
    end)
end)

describe("resolve", function()
    after_each(sockets.close_all)

    it("is where a host is, instead of its address", function()
        local url, seen = origin.serve(origin.answer("x"))
        local there = "http://www.example.test:" .. url:match("%d+$")
        assert(http.get(there, { resolve = { ["www.example.test"] = "127.0.0.1" } }))
        assert.equal(there:sub(8), seen[1].headers.host)
        fails("EINVAL", http.get("http://other.test/",
            { resolve = { ["other.test"] = "localhost" } }))
    end)
end)
