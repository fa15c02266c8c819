-- The options of http.createServer: what is refused, and what holds where none are given.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local serving = require "serving"
local wire = require "wire"

local serve = serving.serve

after_each(serving.close_all)

local function answer() return "" end

local function integers(min, max) return { min - 1, max + 1, min + 0.5, "1", true } end

local INT_MAX = 2 ^ 31 - 1
local TIME = integers(0, INT_MAX)
local FLAG = { 0, 1, "yes" }

-- Values that are refused.
local BAD = {
    host = { 1, true }, family = { 3, 5, 7, "4" }, backlog = integers(1, 65535),
    reuseport = FLAG, nodelay = FLAG, v6only = FLAG, dateHeader = FLAG, cancelOnAbort = FLAG,
    proxyProtocol = FLAG, requestId = FLAG,
    maxConnections = integers(1, INT_MAX), maxPipelined = integers(1, 65535),
    maxRequestsPerConnection = integers(0, INT_MAX),
    maxRequestLine = integers(64, 1048576), maxHeaderSize = integers(64, 1048576),
    maxHeaders = integers(1, 10000), maxBodySize = { -1, 2 ^ 54, 0.5, "1", 0 / 0, 1 / 0 },
    highWaterMark = integers(1, 2 ^ 30),
    headerTimeout = TIME, bodyTimeout = TIME, keepAliveTimeout = TIME, writeTimeout = TIME,
    handlerTimeout = TIME, minBodyRate = TIME,
    trustedProxies = { true, "10.0.0.1", { "10.0.0.0/33" }, { "::1", header = "Via" }, { 1 } },
    compress = { 1, "gzip" }, cookieSecret = { 1, "too short", { "too short" } },
    onError = { 1, "x" }, onConnection = { 1, "x" },
    serverHeader = { 1, "a\r\nb", ("x"):rep(129) }, accessLog = { 1 },
    tls = { 1, "cert.pem" }, plainHttp = { 1, "deny" },
}

-- The least and the most that is taken.
local GOOD = {
    backlog = { 1, 65535 }, maxConnections = { 1, INT_MAX }, maxPipelined = { 1, 65535 },
    maxRequestsPerConnection = { 0, INT_MAX }, maxRequestLine = { 64, 1048576 },
    maxHeaderSize = { 64, 1048576 }, maxHeaders = { 1, 10000 }, maxBodySize = { 0, 2 ^ 53 },
    highWaterMark = { 1, 2 ^ 30 }, headerTimeout = { 0, INT_MAX }, bodyTimeout = { 0, INT_MAX },
    keepAliveTimeout = { 0, INT_MAX }, writeTimeout = { 0, INT_MAX },
    handlerTimeout = { 0, INT_MAX }, minBodyRate = { 0, INT_MAX },
    serverHeader = { true, false, ("x"):rep(128) }, plainHttp = { "refuse", "redirect", "serve" },
}

describe("an option of http.createServer", function()
    for name, values in pairs(BAD) do
        it("raises where it is wrong, by its name and at the caller's line: " .. name, function()
            for _, value in ipairs(values) do
                local ok, err = pcall(function()
                    local server = http.createServer(0, answer, { [name] = value })
                    server:close(0)
                end)
                local what = name .. " = " .. tostring(value) .. ": " .. tostring(err)
                assert.is_false(ok, what)
                assert.truthy(err:find("http_options_spec.lua:%d+: http.createServer"), what)
                assert.truthy(err:find("options." .. name, 1, true), what)
            end
        end)
    end

    it("may be the least and the most, and the server serves", function()
        for name, values in pairs(GOOD) do
            for _, value in ipairs(values) do
                local port = serve(answer, { [name] = value })
                assert.equal(200, wire.request(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").status,
                    name .. " = " .. tostring(value))
            end
        end
    end)
end)

describe("a server without options", function()
    local port

    before_each(function()
        port = serve(function(req)
            local body, err = req:body()
            if not body then return nil, err end
            return tostring(#body)
        end)
    end)

    local function status(head, body)
        return wire.request(port, head .. "\r\n\r\n" .. (body or "")).status
    end

    it("takes a request line of 8192 bytes", function()
        local room = 8192 - #"GET / HTTP/1.1"
        for more = 0, 1 do
            assert.equal(more == 0 and 200 or 414,
                status("GET /" .. ("x"):rep(room + more) .. " HTTP/1.1\r\nHost: a"))
        end
        -- ... and does not wait for the end of a head that begins with a longer one.
        assert.equal(414, wire.request(port,
            "GET /" .. ("x"):rep(room + 1) .. " HTTP/1.1\r\nHo").status)
    end)

    it("takes fields of 16384 bytes", function()
        local room = 16384 - #"Host: a\r\nX: \r\n\r\n"
        for more = 0, 1 do
            assert.equal(more == 0 and 200 or 431,
                status("GET / HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(room + more)))
        end
    end)

    it("takes 100 fields", function()
        for more = 0, 1 do
            assert.equal(more == 0 and 200 or 431,
                status("GET / HTTP/1.1\r\nHost: a" .. ("\r\nX: x"):rep(99 + more)))
        end
    end)

    it("takes a body of a MiB, by length and in chunks", function()
        local body = ("x"):rep(1048576)
        local post = "POST / HTTP/1.1\r\nHost: a\r\n"
        assert.equal(200, status(post .. "Content-Length: 1048576", body))
        assert.equal(413, status(post .. "Content-Length: 1048577"))
        local chunked = post .. "Transfer-Encoding: chunked"
        assert.equal(200, status(chunked, "100000\r\n" .. body .. "\r\n0\r\n\r\n"))
        assert.equal(413, status(chunked, "100000\r\n" .. body .. "\r\n1\r\nx\r\n0\r\n\r\n"))
    end)
end)
