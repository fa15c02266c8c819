--- Middleware: what many programs want around their handlers. `http.cors` and the others make a
--- function for router:use, or for one route.
---
--- Options are checked when the function is made, and not when a request comes.
local check = require "links.check"
local codec = require "links.codec"
local errors = require "links.errors"
local answers = require "links.http.answers"
local peer = require "links.http.peer"

local middleware = {}

local INT_MAX = 2 ^ 31 - 1

local function list_of(signature, name, value)
    if value == nil then return nil end
    check.type(signature, "options." .. name, value, "string|table", 2)
    local text = type(value) == "table" and table.concat(value, ", ") or value
    if text:find("[%c]") then error(signature .. " options." .. name .. " has control characters",
        3) end
    return text
end

-- --- CORS ---------------------------------------------------------------------------------------

local CORS = "http.cors([options])"
local CORS_OPTIONS = {
    origin = { default = "*", type = "string|table|function" },
    methods = { default = "GET, HEAD, PUT, PATCH, POST, DELETE", type = "string|table" },
    headers = { type = "string|table" },
    expose = { type = "string|table" },
    credentials = { default = false, type = "boolean" },
    maxAge = { default = 600, type = "integer", min = 0, max = INT_MAX },
}

-- A function that returns the value of Access-Control-Allow-Origin for an origin, or nil.
local function origin_rule(options)
    local origin = options.origin
    if origin == "*" then
        if options.credentials then
            error(CORS .. ' options.credentials needs a list of origins: with "*", any site could'
                .. " read what its visitors may", 3)
        end
        return function() return "*" end
    end
    if type(origin) == "function" then
        return function(value, req) return origin(value, req) and value or nil end
    end
    local known = {}
    for _, one in ipairs(type(origin) == "table" and origin or { origin }) do
        if type(one) ~= "string" or not one:find("^%a[%w+.-]*://[^/%s]+$") then
            error(CORS .. ' options.origin must be such as "https://example.com", without a path',
                3)
        end
        known[one:lower()] = true
    end
    return function(value) return known[value:lower()] and value or nil end
end

--- Lets pages of other sites use this one (CORS), and answers the questions that browsers ask
--- before.
---
--- @param options  table  origin       "*"    which sites: a list of origins, or a function(origin,
---                                            req)
---                                            that returns true
---                        methods      "GET, HEAD, PUT, PATCH, POST, DELETE"
---                        headers      nil    which fields they may send; nil: those they ask for
---                        expose       nil    which fields of the response they may read
---                        credentials  false  with cookies; not with "*"
---                        maxAge       600  seconds that browsers remember the answer
--- @return function       middleware
--- @raise                 an option of another type, or one that nobody knows
--- @usage local http = require "http"
--- local app = http.router()
--- app:use(http.cors{ origin = { "https://example.com" } })
--- app:get("/", function() return "hello" end)
--- local _, headers = app:call("GET", "/", { headers = { origin = "https://example.com" } })
--- assert(headers["access-control-allow-origin"] == "https://example.com")
function middleware.cors(options)
    options = check.options(CORS, options, CORS_OPTIONS)
    local allow = origin_rule(options)
    local methods = list_of(CORS, "methods", options.methods)
    local headers = list_of(CORS, "headers", options.headers)
    local expose = list_of(CORS, "expose", options.expose)
    local age = ("%d"):format(options.maxAge)

    local function preflight(req, res)
        res:setHeader("Access-Control-Allow-Methods", methods)
        local asked = req:header("access-control-request-headers")
        if not headers then res:_vary("Access-Control-Request-Headers") end
        if headers or asked then res:setHeader("Access-Control-Allow-Headers", headers or asked) end
        res:setHeader("Access-Control-Max-Age", age)
        return 204, ""
    end

    return function(req, res, next)
        local origin = req:header("origin")
        local allowed = origin and allow(origin, req)
        -- Caches must know that the answer depends on who asks, also where nobody did.
        if options.origin ~= "*" then res:_vary("Origin") end
        if not allowed then return next() end
        res:setHeader("Access-Control-Allow-Origin", allowed)
        if options.credentials then res:setHeader("Access-Control-Allow-Credentials", "true") end
        if req.method == "OPTIONS" and req:header("access-control-request-method") then
            return preflight(req, res)
        end
        if expose then res:setHeader("Access-Control-Expose-Headers", expose) end
        return next()
    end
end

-- --- who it is ----------------------------------------------------------------------------------

-- What secrets are compared by, so that the time it takes tells nothing of them, nor their length.
local function digest_of(secret)
    return require("links.crypto").hash("sha256", secret, "raw")
end

-- The digests of a table of secrets, by its keys; nil where the program has given `fn` instead.
local function digests_of(signature, options, fn, name)
    local secrets = options[name]
    if (options[fn] == nil) == (secrets == nil) then
        error(signature .. " needs options." .. fn .. " or options." .. name, 3)
    end
    if not secrets then return nil end
    local digests = {}
    for key, secret in pairs(secrets) do
        check.type(signature, "options." .. name .. "." .. tostring(key), secret, "string", 2)
        digests[key] = digest_of(secret)
    end
    return digests
end

local function quoted(signature, realm)
    if realm:find('[%c"\\\127]') then
        error(signature .. " options.realm has quotes, backslashes or control characters", 3)
    end
    return 'realm="' .. realm .. '"'
end

local BASIC = "http.basicAuth(options)"
local BASIC_OPTIONS = {
    realm = { default = "restricted", type = "string" },
    check = { type = "function" },
    users = { type = "table" },
}

--- Asks for a name and a password (RFC 7617). Only for connections by TLS, or within one's own
--- network: both are readable to whoever sees the request.
---
--- The name is in `req.user` for what comes after.
---
--- @param options  table  realm  "restricted"  what browsers show
---                        check  nil           function(user, password, req): true lets the request
---                                             in; it may wait
---                        users  nil           in place of that: name = password
--- @return function       middleware
--- @raise                 neither or both of check and users; an option of another type
--- @usage local http = require "http"
--- local app = http.router()
--- app:use(http.basicAuth{ users = { ann = "secret" } })
--- app:get("/", function(req) return "hello, " .. req.user end)
--- assert(app:call("GET", "/") == 401)
function middleware.basicAuth(options)
    options = check.options(BASIC, options, BASIC_OPTIONS)
    local users, verify = digests_of(BASIC, options, "check", "users"), options.check
    local challenge = "Basic " .. quoted(BASIC, options.realm) .. ', charset="UTF-8"'
    if users then
        local crypto = require "links.crypto"
        local nobody = crypto.randomBytes(32)
        -- A name that nobody has takes as long as one that somebody has.
        function verify(user, password)
            return crypto.equal(digest_of(password), users[user] or nobody)
        end
    end
    return function(req, _, next)
        local scheme, token = (req:header("authorization") or ""):match("^(%a+) +(%S+)%s*$")
        local pair = scheme and scheme:lower() == "basic" and codec.base64.decode(token)
        local user, password = (pair or ""):match("^([^:]*):(.*)$")
        if user and verify(user, password, req) then
            req.user = user
            return next()
        end
        return 401, nil, { ["WWW-Authenticate"] = challenge }
    end
end

local BEARER = "http.bearer(options)"
local BEARER_OPTIONS = {
    realm = { default = "restricted", type = "string" },
    verify = { type = "function" },
    tokens = { type = "table" },
}

--- Asks for a token (RFC 6750), in the Authorization field only.
---
--- What `verify` returned, or the name of the token, is in `req.user` for what comes after.
---
--- @param options  table  realm   "restricted"  of the challenge
---                        verify  nil           function(token, req): what is to be req.user; nil
---                                              or false keeps the
---                                              request out; it may wait
---                        tokens  nil           in place of that: name = token
--- @return function       middleware
--- @raise                 neither or both of verify and tokens; an option of another type
--- @usage local http = require "http"
--- local app = http.router()
--- app:use(http.bearer{ tokens = { robot = "s3cret" } })
--- app:get("/", function(req) return req.user end)
--- assert(app:call("GET", "/", { headers = { authorization = "Bearer s3cret" } }) == 200)
function middleware.bearer(options)
    options = check.options(BEARER, options, BEARER_OPTIONS)
    local tokens, verify = digests_of(BEARER, options, "verify", "tokens"), options.verify
    local realm = quoted(BEARER, options.realm)
    if tokens then
        local names = {}
        for name, digest in pairs(tokens) do
            if options.tokens[name] == "" then
                error(BEARER .. " options.tokens has an empty token", 2)
            end
            names[digest] = name
        end
        function verify(token) return names[digest_of(token)] end
    end
    return function(req, _, next)
        local scheme,
            token = (req:header("authorization") or ""):match("^(%a+) +([%w%-._~+/]+=*)%s*$")
        if not scheme or scheme:lower() ~= "bearer" then
            return 401, nil, { ["WWW-Authenticate"] = "Bearer " .. realm }
        end
        local user = verify(token, req)
        if not user then
            return 401, nil,
                { ["WWW-Authenticate"] = "Bearer " .. realm .. ', error="invalid_token"' }
        end
        req.user = user
        return next()
    end
end

-- --- limits -------------------------------------------------------------------------------------

--- Limits the bodies of requests to less than the server does: 413 for those that say that they
--- are longer, and HTTP_BODY_TOO_LARGE where reading finds it out.
---
--- @param max  integer  bytes
--- @return function     middleware
--- @raise               `max` is not an integer
--- @usage local http = require "http"
--- local app = http.router()
--- app:post("/", http.bodyLimit(10), function(req) return req:body() end)
--- assert(app:call("POST", "/", { body = "more than ten bytes" }) == 413)
function middleware.bodyLimit(max)
    check.integer("http.bodyLimit(max)", "max", max, 0, 2 ^ 53)
    return function(req, _, next)
        local length = req.contentLength
        if length and length > max then return 413 end
        local read, body, total = req.read, req.body, 0
        function req.read(self, n)
            local piece, err = read(self, n)
            if not piece then return nil, err end
            total = total + #piece
            if total > max then
                return nil, answers.of_request(
                    errors.new(errors.code("HTTP_BODY_TOO_LARGE"), "http read"))
            end
            return piece
        end
        function req.body(self, n)
            return body(self, math.min(n or max, max - total))
        end
        return next()
    end
end

--- Answers 503 where what comes after has not answered within a time. Every wait in it ends then,
--- with ETIMEDOUT;
--- where some of the response has gone out, the connection is broken off.
---
--- @param ms  integer  milliseconds
--- @return function    middleware
--- @raise              `ms` is not a positive integer
--- @usage local http, timer = require "http", require "timer"
--- local app = http.router()
--- app:get("/", http.timeout(5), function() timer.sleep(1000) return "late" end)
--- assert(app:call("GET", "/") == 503)
function middleware.timeout(ms)
    check.integer("http.timeout(ms)", "ms", ms, 1, INT_MAX)
    local task = require "links.task"
    return function(req, res, next)
        local a, b, c = task.withTimeout(ms, next)
        if a ~= nil or not errors.is(b) or not b.deadline then return a, b, c end
        if res.headersSent then
            local what = req.method .. " " .. req.url
            error("http.timeout: " .. what .. " took longer than " .. ms .. " ms", 0)
        end
        return 503
    end
end

-- --- headers ------------------------------------------------------------------------------------

local SECURE = "http.secureHeaders([options])"
local SECURE_OPTIONS = {
    csp = { default = { ["default-src"] = "'self'" }, type = "table|string|boolean" },
    hsts = { default = false, type = "boolean|number" },
    frame = { default = "SAMEORIGIN", type = "string|boolean" },
    referrer = { default = "strict-origin-when-cross-origin", type = "string|boolean" },
    nosniff = { default = true, type = "boolean" },
    crossOrigin = { default = "same-origin", type = "string|boolean" },
}

-- The text of a policy: directives in the order of their names.
local function policy_of(csp)
    if type(csp) ~= "table" then return csp end
    local names, list = {}, {}
    for name in pairs(csp) do names[#names + 1] = name end
    table.sort(names)
    for i, name in ipairs(names) do
        local value = csp[name]
        if type(value) == "table" then value = table.concat(value, " ") end
        if type(name) ~= "string" or not name:find("^[%l-]+$") or type(value) ~= "string"
            or value:find("[%c;,]") then
            error(SECURE .. ' options.csp must be such as { ["script-src"] = "\'self\'" }', 3)
        end
        list[i] = value == "" and name or name .. " " .. value
    end
    return table.concat(list, "; ")
end

--- Sets the fields that keep browsers from guessing and from being used: Content-Security-Policy,
--- Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, Referrer-Policy and
--- Cross-Origin-Opener-Policy. A handler may set each of them in its own way.
---
--- Where the policy has `'nonce'`, each request gets a nonce of its own there, which is in
--- `req.ctx.nonce`.
---
--- @param options  table  csp          { ["default-src"] = "'self'" }  directives, each a string or
---                                                                     a list;
---                                     a string: the whole field; false: none
---                        hsts         false  ms that browsers must use TLS; true: a year
---                        frame        "SAMEORIGIN"  or "DENY"; false: none
---                        referrer     "strict-origin-when-cross-origin"  or false
---                        nosniff      true
---                        crossOrigin  "same-origin"  of the opener; or false
--- @return function       middleware
--- @raise                 an option of another type, or one that nobody knows
--- @usage local http = require "http"
--- local app = http.router()
--- app:use(http.secureHeaders{ csp = { ["script-src"] = { "'self'", "'nonce'" } } })
--- app:get("/", function(req) return "<script nonce=" .. req.ctx.nonce .. "></script>" end)
--- local _, headers = app:call("GET", "/")
--- assert(headers["content-security-policy"]:find("'nonce-", 1, true))
function middleware.secureHeaders(options)
    options = check.options(SECURE, options, SECURE_OPTIONS)
    local fields, policy = {}, policy_of(options.csp)
    local function field(name, value)
        if not value then return end
        if value == true or value:find("%c") then
            error(SECURE .. " " .. name .. " cannot be " .. tostring(value), 3)
        end
        fields[name] = value
    end
    field("X-Frame-Options", options.frame)
    field("Referrer-Policy", options.referrer)
    field("X-Content-Type-Options", options.nosniff and "nosniff")
    field("Cross-Origin-Opener-Policy", options.crossOrigin)
    local hsts = options.hsts == true and 31536000000 or options.hsts
    if hsts then field("Strict-Transport-Security", ("max-age=%d"):format(hsts / 1000)) end
    local has_nonce = policy and policy:find("'nonce'", 1, true)
    if not has_nonce then field("Content-Security-Policy", policy) end
    local random_bytes = has_nonce and require("links.crypto").randomBytes
    return function(req, res, next)
        for name, value in pairs(fields) do res:setHeader(name, value) end
        if has_nonce then
            local nonce = codec.base64.encode(random_bytes(16))
            req.ctx.nonce = nonce
            res:setHeader("Content-Security-Policy",
                (policy:gsub("'nonce'", "'nonce-" .. nonce .. "'")))
        end
        return next()
    end
end

--- Logs the requests that come by, whatever the server's own access log does.
---
--- @param options  table  as those of log.access, or an access log
--- @return function       middleware
--- @return nil, err       as log.access
--- @raise                 as log.access
--- @usage local http = require "http"
--- local app = http.router()
--- app:use("/api", http.accessLog { format = "json", to = function() end })
function middleware.accessLog(options)
    local access, err = require("links.log.access")._of("http.accessLog(options)", options, 1)
    if not access then return nil, err end
    return function(req, _, next)
        -- A call of the router has no connection, and no line.
        if req._r then access:_log(req._r) end
        return next()
    end
end

local REQUEST_ID = "http.requestId([options])"
local REQUEST_ID_OPTIONS = {
    header = { default = "X-Request-Id", type = "string" },
    trust = { default = false, type = "boolean" },
}

--- Gives each request an id, in `req.id` and in the response, so that it can be found in the logs.
--- A server does so by itself (see http.createServer, requestId) for the requests whose id is read;
--- this does it for all, under a name of one's own, and does not believe clients unless told to.
---
--- @param options  table  header  "X-Request-Id"  the field
---                        trust   false           take the id that the client has sent, where it is
---                                                1 to 128 letters,
---                                                digits and -._
--- @return function       middleware
--- @raise                 an option of another type, or one that nobody knows
--- @usage local http = require "http"
--- local app = http.router()
--- app:use(http.requestId())
--- app:get("/", function(req) return req.id end)
--- local _, headers, body = app:call("GET", "/")
--- assert(headers["x-request-id"] == body and #body == 32)
function middleware.requestId(options)
    options = check.options(REQUEST_ID, options, REQUEST_ID_OPTIONS)
    local name, trust = options.header, options.trust
    return function(req, res, next)
        local given = trust and req:header(name)
        local id = given and #given <= 128 and given:match("^[%w%-._]+$") or peer.new_id()
        req.id = id
        res:setHeader(name, id)
        return next()
    end
end

return middleware
