-- The options of requests and of clients: names, defaults, bounds.
local check = require "links.check"

local options = {}

local INT_MAX = 2 ^ 31 - 1

local function ms(default)
    return { default = default, type = "integer", min = 0, max = INT_MAX }
end

options.REQUEST = {
    headers = { type = "table" },
    query = { type = "table" },
    json = { type = "any" },
    form = { type = "table" },
    auth = { type = "string|table" },
    timeout = ms(30000),
    connectTimeout = ms(5000),
    tlsTimeout = ms(5000),
    headerTimeout = ms(30000),
    idleTimeout = ms(30000),
    maxBodySize = { default = 10485760, type = "integer", min = 0, max = 2 ^ 31 - 4096 },
    stream = { default = false, type = "boolean" },
    redirects = { default = 10, type = "integer", min = 0, max = 100 },
    allowDowngrade = { default = false, type = "boolean" },
    decompress = { default = true, type = "boolean" },
    keepAlive = { default = true, type = "boolean" },
    retries = { default = 0, type = "integer", min = 0, max = 100 },
    retryOn = { default = { "ECONNRESET", 502, 503, 504 }, type = "table" },
    backoff = { default = { base = 100, max = 5000 }, type = "table" },
    resolve = { type = "table" },
    denyPrivate = { default = false, type = "boolean" },
    unix = { type = "string" },
    tls = { type = "table" },
    expectStatus = { type = "number|table" },
    onProgress = { type = "function" },
}

options.CLIENT = {
    baseUrl = { type = "string" },
    maxPerHost = { default = 32, type = "integer", min = 1, max = 65535 },
    maxIdle = { default = 64, type = "integer", min = 0, max = 65535 },
    poolIdleTimeout = ms(60000),
    maxWait = { default = 256, type = "integer", min = 0, max = INT_MAX },
}
for name, about in pairs(options.REQUEST) do options.CLIENT[name] = about end

-- Of http.request: what other functions take as arguments, too.
options.WHOLE = { method = { type = "string" }, url = { type = "string" }, body = { type = "any" } }
for name, about in pairs(options.REQUEST) do options.WHOLE[name] = about end

-- Checks what a type does not say.
local function check_values(signature, given, level)
    local backoff = given.backoff
    for name, value in pairs(backoff or {}) do
        if name ~= "base" and name ~= "max" then
            error(signature .. " options.backoff has base and max, not " .. tostring(name),
                level + 1)
        end
        check.integer(signature, "options.backoff." .. name, value, 0, INT_MAX, level)
    end
    if given.tls then
        require("links.tls.context").check(signature .. " options.tls:", given.tls, level)
    end
    for host, address in pairs(given.resolve or {}) do
        check.type(signature, "options.resolve", host, "string", level)
        check.type(signature, "options.resolve." .. host, address, "string|table", level)
    end
end

-- Checks what the caller gave: nothing is returned, the caller's table stays as it is.
function options.check(signature, given, known, level)
    check.given(signature, given, known, level + 1)
    if given and (given.backoff or given.resolve or given.tls) then
        check_values(signature, given, level + 2)
    end
end

-- The defaults of a client: those above, and over them what it was made with.
function options.defaults(given)
    local all = {}
    for name, about in pairs(options.CLIENT) do all[name] = about.default end
    for name, value in pairs(given or {}) do all[name] = value end
    return all
end

return options
