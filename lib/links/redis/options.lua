-- The options of redis.createClient and redis.connect: what they may be, and what a URL says.
local check = require "links.check"
local codec = require "links.codec"
local url = require "links.url"

local options = {}

local INT_MAX = 2 ^ 31 - 1

local function integer(default, min, max)
    return { default = default, type = "integer", min = min, max = max or INT_MAX }
end

-- Of a connection.
local CONNECT = {
    path = { type = "string" },
    db = integer(0, 0),
    username = { type = "string" },
    password = { type = "string" },
    name = { type = "string" },
    tls = { type = "table" },
    protocol = integer(3, 2, 3),
    connectTimeout = integer(5000, 0),
    timeout = integer(5000, 0),
    int64 = { default = "auto", type = "string" },
    hashReplies = { default = "map", type = "string" },
    maxReplySize = integer(67108864, 64),
    maxReplyElements = integer(4194304, 1),
    maxReplyDepth = integer(32, 0, 64),
}

-- And of a client, which makes them.
local CLIENT = {
    url = { type = "string" },
    port = integer(6379, 1, 65535),
    host = { default = "127.0.0.1", type = "string" },
    poolSize = integer(8, 1, 65535),
    idleTimeout = integer(60000, 0),
    maxWait = integer(1024, 1),
    autoPipeline = { default = true, type = "boolean" },
    retries = integer(1, 0, 1000),
    reconnect = { type = "table" },
    sentinels = { type = "table" },
    master = { type = "string" },
    pingInterval = integer(30000, 0),
    readFrom = { default = "master", type = "string" },
}
for name, about in pairs(CONNECT) do CLIENT[name] = about end

local RECONNECT = { base = integer(50, 1), max = integer(2000, 1) }

local WORDS = {
    int64 = { auto = true, number = true, string = true },
    hashReplies = { map = true, list = true },
    readFrom = { master = true },
}

local function check_words(signature, o, level)
    for name, words in pairs(WORDS) do
        if o[name] and not words[o[name]] then
            local known = {}
            for word in pairs(words) do known[#known + 1] = '"' .. word .. '"' end
            table.sort(known)
            error(("%s options.%s must be %s, not %q"):format(signature, name,
                table.concat(known, " or "), o[name]), level + 2)
        end
    end
end

local function split_user(user)
    local name, password = user:match("^([^:]*):(.*)$")
    name = codec.unescapeUri(name or user)
    return name ~= "" and name or nil, password and codec.unescapeUri(password)
end

local function read_unix(parts, found)
    found.path = codec.unescapeUri(parts.path)
    return found.path ~= "" and found.path ~= "/"
end

local function read_tcp(parts, found)
    found.host, found.port = parts.host ~= "" and parts.host or nil, parts.port
    if parts.path ~= "" and parts.path ~= "/" then
        found.db = tonumber(parts.path:match("^/(%d+)$"))
        return found.db ~= nil
    end
    return true
end

-- redis://user:password@host:port/db, rediss:// for TLS, unix:///path of a socket.
local READERS = { redis = read_tcp, rediss = read_tcp, unix = read_unix }

local function read_url(signature, text, level)
    local parts = url.parse(text)
    local found = {}
    local reader = parts and READERS[parts.scheme]
    if not reader or parts.query or parts.fragment or not reader(parts, found) then
        -- Without the text: there is a password in it.
        error(signature .. " options.url must be redis://[user:password@]host[:port][/db], "
            .. "rediss:// for TLS, or unix:///path", level + 2)
    end
    if parts.scheme == "rediss" then found.tls = {} end
    if parts.user then found.username, found.password = split_user(parts.user) end
    return found
end

local function check_tls(signature, o, level)
    if not o.tls then return end
    if o.path then error(signature .. " options.tls is not for a Unix socket", level + 2) end
    require("links.tls.context").check(signature .. " options.tls:", o.tls, level + 1)
end

local function check_all(signature, o, known, level)
    o = check.options(signature, o, known, level + 1)
    check_words(signature, o, level + 1)
    check_tls(signature, o, level + 1)
    if o.username and not o.password then
        error(signature .. " options.username needs options.password", level + 2)
    end
    return o
end

local SENTINEL_PORT = 26379

-- A list of { host, port } of one's own: the order changes.
local function check_sentinels(signature, o, given, level)
    if not o.sentinels and not o.master then return end
    local list = {}
    for i, sentinel in ipairs(o.sentinels or {}) do
        local label = "options.sentinels[" .. i .. "]"
        check.type(signature, label, sentinel, "table", level + 1)
        check.type(signature, label .. "[1]", sentinel[1], "string", level + 1)
        local port = sentinel[2] == nil and SENTINEL_PORT or sentinel[2]
        check.integer(signature, label .. "[2]", port, 1, 65535, level + 1)
        list[i] = { sentinel[1], port }
    end
    if not o.master or #list == 0 then
        error(signature .. " options.sentinels and options.master need each other", level + 2)
    end
    if o.path or given.host or given.port then
        error(signature .. " options.sentinels tell host and port: neither is to be given",
            level + 2)
    end
    o.sentinels = list
end

-- Those of redis.connect.
function options.connect(signature, port, host, given, level)
    local o = check_all(signature, given, CONNECT, level + 1)
    if not o.path then check.integer(signature, "port", port, 1, 65535, level + 1) end
    check.type(signature, "host", host, "string|nil", level + 1)
    o.port, o.host = port, host or "127.0.0.1"
    return o
end

-- Those of redis.createClient. What is given beside a URL goes before what it says.
function options.client(signature, given, level)
    local all = {}
    check.type(signature, "options", given, "table|nil", level + 1)
    if given and given.url ~= nil then
        check.type(signature, "options.url", given.url, "string", level + 1)
        all = read_url(signature, given.url, level + 1)
    end
    for name, value in pairs(given or {}) do all[name] = value end
    local o = check_all(signature, all, CLIENT, level + 1)
    check_sentinels(signature, o, all, level + 1)
    o.reconnect = check.options(signature .. " options.reconnect:", o.reconnect, RECONNECT,
        level + 1)
    return o
end

return options
