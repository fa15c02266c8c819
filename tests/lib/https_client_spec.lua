package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local https = require "https"
local origin = require "origin"
local sockets = require "sockets"
local timer = require "timer"
local tls = require "tls"
local tools = require "tools"

local fails = tools.fails

describe("the client of https", function()
    local pair, server, url, client

    setup(function() pair = tls.selfSigned("localhost") end)

    before_each(function()
        server = sockets.keep(assert(https.createServer(0, function(req, res)
            if req.path == "/echo" then return req:body() end
            if req.path == "/down" then return res:redirect(req.queryString, 302) end
            if req.path == "/stream" then
                for _ = 1, 50 do assert(res:write(("x"):rep(20000))) end
                return res:finish()
            end
            return req.scheme
        end, { host = "127.0.0.1", cert = pair.cert, key = pair.key, maxBodySize = 10000000 })))
        url = "https://localhost:" .. server:address().port
        client = sockets.keep(assert(http.createClient { tls = { ca = pair.cert } }))
    end)

    after_each(function()
        sockets.close_all()
        assert.equal(0, client:stats().active)
    end)

    it("asks over TLS, and again over the same connection", function()
        local first, second = assert(client:get(url)), assert(client:get(url))
        assert.equal("https", first.body)
        assert.equal(url .. "/", first.url)
        assert.is_true(first.timing.tls > 0)
        assert.equal(0, second.timing.tls)
        timer.sleep(5)
        assert(client:post(url .. "/echo", "x"))
        assert.equal(1, server:stats().accepted)
        assert.equal("https", assert(https.get(url, { tls = { ca = pair.cert } })).body)
    end)

    it("moves bodies of every size both ways", function()
        for _, size in ipairs { 0, 1, 16384, 16385, 3000000 } do
            local body = ("0123456789"):rep(math.ceil(size / 10)):sub(1, size)
            assert.equal(body, assert(client:post(url .. "/echo", body)).body)
            local sent = false
            assert.equal(body, assert(client:put(url .. "/echo", function()
                local piece = not sent and body or nil
                sent = true
                return piece
            end)).body)
        end
        assert.equal(1000000, #assert(client:get(url .. "/stream", { stream = true })):readAll())
        assert.equal(413, assert(client:post(url .. "/echo", ("x"):rep(12000000))).status)
    end)

    it("trusts nobody without a reason", function()
        fails("TLS_CERT_VERIFY", http.get(url))
        local port = url:match("%d+$")
        fails("TLS_HOSTNAME", client:get("https://127.0.0.1:" .. port))
        fails("TLS_HOSTNAME", client:get("https://other.test:" .. port, {
            resolve = { ["other.test"] = "127.0.0.1" },
        }))
        assert.equal("https", assert(http.get(url, { tls = { insecure = true } })).body)
    end)

    it("does not share connections between what is trusted and what is not", function()
        client = sockets.keep(assert(http.createClient()))
        assert(client:get(url, { tls = { insecure = true } }))
        assert.equal(1, client:stats().idle)
        fails("TLS_CERT_VERIFY", client:get(url))
        assert(client:get(url, { tls = { ca = pair.cert } }))
        assert.equal(2, client:stats().idle)
    end)

    it("follows no redirect to http unless it may", function()
        local plain = origin.serve(origin.answer("plain"))
        fails("UNSUPPORTED", client:get(url .. "/down?" .. plain))
        assert.equal("plain", assert(client:get(url .. "/down?" .. plain, {
            allowDowngrade = true,
        })).body)
    end)

    it("ends a handshake that nobody answers", function()
        local port = sockets.serve(function(socket) socket:readAll() end)
        local err = fails("ETIMEDOUT", client:get("https://localhost:" .. port,
            { tlsTimeout = 30 }))
        assert.equal("tls", err.timeout)
        local _, stopped = sockets.cancelled(function()
            return client:get("https://localhost:" .. port)
        end)
        assert.equal("ECANCELED", stopped.name)
    end)

    it("says so where the other side speaks no TLS", function()
        local plain = origin.serve(origin.answer("x"))
        local res, err = client:get((plain:gsub("^http:", "https:")), { timeout = 2000 })
        assert.is_nil(res)
        assert.truthy(err.name)
    end)

    it("downloads and uploads", function()
        local path = os.tmpname()
        assert.equal(1000000, assert(client:download(url .. "/stream", path)).bytes)
        os.remove(path)
        assert.truthy(assert(client:upload(url .. "/echo", "README.md")).body:find("# links", 1,
            true))
    end)
end)
