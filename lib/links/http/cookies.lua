--- Cookies: those of the request (RFC 6265), and those that a response sets.
local check = require "links.check"
local signing = require "links.http.signing"
local trim = require("links.http.fieldmap").trim

local cookies, request, lazy = {}, {}, {}

local MAX_COOKIES = 200
-- What browsers keep of one cookie: name, value and attributes.
local MAX_SIZE = 4096

-- The first of a name counts: that with the longest path, which browsers send first (RFC 6265,
-- 5.4).
lazy.cookies = function(_, req)
    local found, n = {}, 0
    for pair in (req:header("cookie") or ""):gmatch("[^;]+") do
        local name, value = pair:match("^%s*([^=%s]+)%s*=(.*)$")
        if name then
            value = trim(value)
            n = n + 1
            if n > MAX_COOKIES then break end
            if found[name] == nil then found[name] = value:match('^"(.*)"$') or value end
        end
    end
    return found
end

local COOKIE = "res:cookie(name, value[, options])"
local OPTIONS = {
    path = { default = "/", type = "string" },
    domain = { type = "string" },
    maxAge = { type = "integer", min = 0, max = 2 ^ 53 },
    expires = { type = "integer", min = 0, max = 253402300799999 },
    secure = { default = "auto", type = "boolean|string" },
    httpOnly = { default = true, type = "boolean" },
    sameSite = { default = "Lax", type = "string|boolean" },
    partitioned = { default = false, type = "boolean" },
    sign = { default = false, type = "boolean|string|table" },
    encrypt = { default = false, type = "boolean|string|table" },
}

local SAME_SITE = { Lax = true, Strict = true, None = true }

local function refuse(signature, message)
    error(signature .. " " .. message, 4)
end

-- What the prefix of a name promises to the server must hold, or browsers drop the cookie
-- (RFC 6265bis, 4.1.3).
local function check_prefix(signature, name, options)
    local prefix = name:lower():match("^__(%a+)%-")
    if prefix ~= "secure" and prefix ~= "host" then return end
    if options.secure == false then refuse(signature, name .. " must be secure") end
    options.secure = true
    if prefix == "host" and (options.path ~= "/" or options.domain) then
        refuse(signature, name .. ' must have the path "/" and no domain')
    end
end

local function check_cookie(signature, name, value, options)
    if type(name) ~= "string" or name == "" or name:find("[^%w!#$%%&'*+.^_`|~-]") then
        refuse(signature, "name must be letters, digits and !#$%&'*+-.^_`|~")
    end
    check.type(signature, "value", value, "string", 3)
    if value:find('[%c%s",;\\\127-\255]') then
        refuse(signature, "value has characters that no cookie can have: see codec.escapeUri")
    end
    for _, key in ipairs { "path", "domain" } do
        if options[key] and options[key]:find("[%c;\127-\255]") then
            refuse(signature, "options." .. key .. " has characters that it cannot have")
        end
    end
    local same_site = options.sameSite
    if same_site and not SAME_SITE[same_site] then
        refuse(signature, 'options.sameSite must be "Lax", "Strict", "None" or false')
    end
    if type(options.secure) == "string" and options.secure ~= "auto" then
        refuse(signature, 'options.secure must be true, false or "auto"')
    end
    check_prefix(signature, name, options)
    if same_site == "None" and options.secure == false then
        refuse(signature, 'options.sameSite = "None" needs a secure cookie')
    end
end

local function is_secure(res, options)
    if options.secure ~= "auto" then return options.secure end
    return options.sameSite == "None" or options.partitioned or res:_isSecure()
end

-- The secrets to use: those that are given, or the server's. `level` is that of check.type.
local function secrets_of(owner, signature, name, given, level)
    local secrets = given
    if given == nil or given == true then
        local server = owner:_server()
        secrets = server and server._cookieSecrets
        if not secrets then
            error(signature .. " " .. name .. " needs a secret: give one, or give the server"
                .. " options.cookieSecret", level + 2)
        end
        return secrets
    end
    secrets = signing.secrets(signature, name, secrets, level + 1)
    return secrets
end

local function protect(res, signature, name, value, options)
    if not options.sign and not options.encrypt then return value end
    check.type(signature, "name", name, "string", 2)
    check.type(signature, "value", value, "string", 2)
    if options.sign and options.encrypt then
        error(signature .. " options.sign and options.encrypt are one or the other", 3)
    end
    if options.sign then
        local secrets = secrets_of(res, signature, "options.sign", options.sign, 2)
        return signing.sign(secrets, name, value)
    end
    local secrets = secrets_of(res, signature, "options.encrypt", options.encrypt, 2)
    return signing.encrypt(secrets, name, value)
end

local function set_cookie(res, signature, name, value, options)
    options = check.options(signature, options, OPTIONS, 2)
    value = protect(res, signature, name, value, options)
    check_cookie(signature, name, value, options)
    local list = { name .. "=" .. value }
    local function put(text) list[#list + 1] = text end
    if options.path ~= "" then put("Path=" .. options.path) end
    if options.domain then put("Domain=" .. options.domain) end
    if options.maxAge then put(("Max-Age=%d"):format(math.ceil(options.maxAge / 1000))) end
    if options.expires then put("Expires=" .. require("links.date").http(options.expires)) end
    if is_secure(res, options) then put("Secure") end
    if options.httpOnly then put("HttpOnly") end
    if options.sameSite then put("SameSite=" .. options.sameSite) end
    if options.partitioned then put("Partitioned") end
    local text = table.concat(list, "; ")
    if #text > MAX_SIZE then
        refuse(signature,
            "the cookie is longer than " .. MAX_SIZE .. " bytes, and browsers would drop it")
    end
    return res:addHeader("Set-Cookie", text)
end

--- Sets a cookie.
---
--- @param name     string  letters, digits and !#$%&'*+-.^_`|~
--- @param value    string  printable ASCII without space, comma, semicolon, quote and backslash
--- @param options  table   path         "/"     "" for the path of the request
---                         domain       nil     the host of the request only
---                         maxAge       nil     ms, rounded up to seconds; nil: the browser's life
---                         expires      nil     ms since 1970
---                         secure       "auto"  only over TLS: true, false, or as this request came
---                         httpOnly     true    scripts do not see it
---                         sameSite     "Lax"   or "Strict", "None", false
---                         partitioned  false   one for each site that embeds this one
---                         sign         false   so that nobody else can have made it: true, by the
---                                              server's cookieSecret; or a secret, or a list of
---                                              them; read it by req:signedCookie
---                         encrypt      false   so that nobody else can read it either, as sign;
---                                              the value may be any bytes then; read it by
---                                              req:encryptedCookie
--- @return true
--- @return nil, err        as res:setHeader
--- @raise                  what no browser would take: other characters, more than 4096 bytes, a
---                         name with
---                         the prefix __Host- or __Secure- without what that promises; a
---                         secret of less than 16 bytes, or none
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function(req, res)
---     local user = req:signedCookie("user") or "7"
---     res:cookie("user", user, { sign = true, maxAge = 86400000 })
---     return "hello, " .. user
--- end, { cookieSecret = { "the new secret, 16 bytes", "the one before that" } }))
--- server:close()
function cookies:cookie(name, value, options)
    return set_cookie(self, COOKIE, name, value, options)
end

--- Makes the browser forget a cookie.
---
--- @param name     string  as it was set
--- @param options  table   path and domain, where the cookie was set with others than those of
---                         res:cookie
--- @return true
--- @return nil, err        as res:setHeader
--- @raise                  as res:cookie
function cookies:clearCookie(name, options)
    local known = { maxAge = 0, expires = 0 }
    for key, value in pairs(options or {}) do known[key] = value end
    return set_cookie(self, "res:clearCookie(name[, options])", name, "", known)
end

local SIGNED = "req:signedCookie(name[, secret])"

--- The value of a cookie that was set with `sign`.
---
--- @param name    string        as it was set
--- @param secret  string|table  the secret, or a list of them, each of which will do: put a new one
---                              first, and take the old one away when its cookies have run out.
---                              Default: the server's cookieSecret
--- @return string               the value; nil: there is no such cookie, or none of the secrets
---                              has signed it. How old it is, it does not say: who has a signed
---                              cookie can send it for ever
--- @raise                       an argument of another type; there is no secret, or it is shorter
---                              than 16 bytes
function request:signedCookie(name, secret)
    check.type(SIGNED, "name", name, "string")
    local secrets = secrets_of(self, SIGNED, "secret", secret, 1)
    local text = self.cookies[name]
    return text and signing.verify(secrets, name, text)
end

local ENCRYPTED = "req:encryptedCookie(name[, secret])"

--- The value of a cookie that was set with `encrypt`.
---
--- @param name    string        as it was set
--- @param secret  string|table  as for req:signedCookie
--- @return string               the value; nil: there is no such cookie, or none of the secrets
---                              has encrypted it
--- @raise                       as req:signedCookie
function request:encryptedCookie(name, secret)
    check.type(ENCRYPTED, "name", name, "string")
    local secrets = secrets_of(self, ENCRYPTED, "secret", secret, 1)
    local text = self.cookies[name]
    return text and signing.decrypt(secrets, name, text)
end

return { request = request, response = cookies, lazy = lazy }
