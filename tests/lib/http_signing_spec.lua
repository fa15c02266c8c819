package.path = "tests/support/?.lua;" .. package.path

local crypto = require "crypto"
local http = require "http"
local process = require "process"
local serving = require "serving"
local tools = require "tools"
local wire = require "wire"

local OLD, NEW, OTHER = ("o"):rep(16), ("n"):rep(16), ("x"):rep(32)

after_each(serving.close_all)

-- What the browser would send back of a cookie that was set with these options.
local function set(name, value, options)
    local app = http.router()
    app:get("/", function(_, res)
        res:cookie(name, value, options)
        return "x"
    end)
    local _, headers = app:call("GET", "/")
    return headers["set-cookie"]:match("^[^=]+=([^;]*)")
end

local function read(method, name, text, secret)
    local app, value = http.router(), nil
    app:get("/", function(req)
        value = req[method](req, name, secret)
        return "x"
    end)
    app:call("GET", "/", { headers = { cookie = name .. "=" .. text } })
    return value
end

describe("a signed cookie", function()
    it("can be read by all and made by who has the secret", function()
        local text = set("user", "7.5", { sign = NEW })
        assert.equal("7.5.", text:sub(1, 4))
        assert.equal("7.5", read("signedCookie", "user", text, NEW))
        assert.is_nil(read("signedCookie", "user", text, OTHER))
        assert.is_nil(read("signedCookie", "user", "7.5", NEW))
        assert.is_nil(read("signedCookie", "user", "", NEW))
        assert.is_nil(read("signedCookie", "user", "8.5" .. text:sub(4), NEW))
        assert.is_nil(read("signedCookie", "admin", text, NEW))
        for i = 1, #text do
            local changed = text:sub(1, i - 1) .. (text:sub(i, i) == "A" and "B" or "A")
                .. text:sub(i + 1)
            local value = read("signedCookie", "user", changed, NEW)
            -- The last of the 43 letters has two bits that mean nothing.
            assert.is_true(value == nil or i == #text)
        end
    end)

    it("is believed by each of several secrets, and made by the first", function()
        local old = set("user", "7", { sign = OLD })
        assert.equal("7", read("signedCookie", "user", old, { NEW, OLD }))
        assert.is_nil(read("signedCookie", "user", old, { NEW }))
        assert.equal(set("user", "7", { sign = NEW }), set("user", "7", { sign = { NEW, OLD } }))
    end)
end)

describe("an encrypted cookie", function()
    it("can be read by nobody else, and may hold any bytes", function()
        local secret = "any; bytes, \0\255 \r\n"
        local text = set("sid", secret, { encrypt = { NEW, OLD } })
        assert.truthy(text:find("^[%w_-]+$"))
        assert.not_equal(text, set("sid", secret, { encrypt = NEW }))
        assert.equal(secret, read("encryptedCookie", "sid", text, { OTHER, NEW }))
        assert.is_nil(read("encryptedCookie", "sid", text, OLD))
        assert.is_nil(read("encryptedCookie", "other", text, NEW))
        assert.is_nil(read("encryptedCookie", "sid", text:sub(1, -3), NEW))
        for _, junk in ipairs { "", "A", "AAAA", "***", ("A"):rep(100) } do
            assert.is_nil(read("encryptedCookie", "sid", junk, NEW))
        end
        -- What was signed is not what was encrypted, by the same secret.
        assert.is_nil(read("signedCookie", "sid", text, NEW))
    end)
end)

describe("the cookieSecret of a server", function()
    it("is that of cookies that name none", function()
        local port = serving.serve(function(req, res)
            local n = tonumber(req:signedCookie("n") or 0) + 1
            local seen = req:encryptedCookie("seen") or ""
            res:cookie("n", tostring(n), { sign = true })
            res:cookie("seen", seen .. n, { encrypt = true })
            return n .. " " .. seen
        end, { cookieSecret = { crypto.randomBytes(32), OLD } })
        local jar, bodies = "", {}
        for i = 1, 3 do
            local c = wire.connect(port)
            c:send("GET / HTTP/1.1\r\nHost: a\r\n" .. jar .. "\r\n")
            local head = c:await(function(b) return b:find("\r\n\r\n", 1, true) and b end)
            bodies[i] = c:response().body
            c:close()
            jar = "Cookie: "
            for pair in head:gmatch("Set%-Cookie: ([^;]+)") do jar = jar .. pair .. "; " end
            jar = jar:sub(1, -3) .. "\r\n"
        end
        assert.same({ "1 ", "2 1", "3 12" }, bodies)
    end)

    it("is missed at the line that needs it, and must be a secret", function()
        for _, options in ipairs { { sign = true }, { encrypt = true }, { sign = "short" },
            { sign = {} }, { sign = OLD, encrypt = OLD } } do
            local ok, err = pcall(set, "a", "b", options)
            assert.is_false(ok)
            assert.truthy(tostring(err):find("http_signing_spec", 1, true), err)
        end
        assert.is_false((pcall(read, "signedCookie", "a", "b")))
        for _, secret in ipairs { "short", {}, { OLD, "short" } } do
            local ok, err = pcall(function()
                assert(http.createServer(0, function() end, { cookieSecret = secret }))
            end)
            assert.is_false(ok)
            assert.truthy(err:find("http_signing_spec", 1, true), err)
        end
    end)

    it("does not keep the process going where it was none", function()
        local result = assert(process.run(tools.LINKS, { "-e", [[
            print(pcall(require("http").createServer, 0, print, { cookieSecret = "short" }))]] },
            { timeout = 30000 }))
        assert.equal(0, result.code)
        assert.matches("^false\t.*must be 16 bytes or more", result.stdout)
    end)
end)
