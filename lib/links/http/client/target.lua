-- Where a request goes: from the text of a URL to the server to connect to, the Host field and the
-- request target. Everything that ends up in the head of a request is checked here, so that no URL
-- can break out of its line.
local codec = require "links.codec"
local errors = require "links.errors"
local url = require "links.url"

local target = {}

local BAD_URL = errors.code("HTTP_BAD_URL")
local PORTS = { http = 80, https = 443 }
local CACHED_LEN, CACHED_COUNT = 1024, 256

local function bad(message)
    return nil, errors.new(BAD_URL, "http", { message = message })
end

-- The usual URL; another one is left to url.parse, and to its messages. Nothing here goes over the
-- text twice, however it is made: Location is what a stranger says.
local function parts_of(text)
    local scheme, host, rest = text:match("^(https?)://([%w.-]+)(.*)$")
    if not scheme or host:find("^[%d.]+$") then return url.parse(text) end
    local port = ""
    if rest:byte() == 58 then port, rest = rest:match("^:(%d*)(.*)$") end
    if #port > 4 or rest:find("^[^/]") or rest:find("[^%w%-._~!$&'()*+,;=:@/?]") then
        return url.parse(text)
    end
    local path, query = rest:match("^([^?]*)%?(.*)$")
    return {
        scheme = scheme, host = host:lower(), port = tonumber(port), path = path or rest,
        query = query,
    }
end

local function new(parts, unix)
    local host, scheme = parts.host, parts.scheme
    local port = parts.port or PORTS[scheme]
    local shown = host:find(":", 1, true) and "[" .. host .. "]" or host
    local authority = port == PORTS[scheme] and shown or shown .. ":" .. port
    local path = parts.path == "" and "/" or parts.path
    if parts.query then path = path .. "?" .. parts.query end
    return {
        scheme = scheme, host = host, port = port, path = path, user = parts.user, unix = unix,
        fragment = parts.fragment, authority = authority,
        origin = scheme .. "://" .. authority,
        key = unix and "unix:" .. unix .. ":" .. scheme or scheme .. "://" .. shown .. ":" .. port,
        heads = {}, stream_heads = {},
    }
end

local function of_parts(parts, unix)
    if not parts.scheme then return bad("the URL has no scheme: http://...") end
    if not PORTS[parts.scheme] then
        return bad('the scheme is "' .. parts.scheme .. '", and neither http nor https')
    end
    if not parts.host or parts.host == "" then return bad("the URL has no host") end
    if parts.host:find("%", 1, true) then return bad("the host has a % in it") end
    if parts.port == 0 then return bad("the port is 0") end
    return new(parts, unix)
end

-- unix:/run/docker.sock:/v1/info
local function parse_unix(text)
    local socket, path = text:match("^unix:([^:]+):?(.*)$")
    if not socket then return bad("the path of the socket is missing: unix:/path:/target") end
    if socket:find("[%z\1-\31\127]") then return bad("a control character in the socket's path") end
    if path ~= "" and path:sub(1, 1) ~= "/" then
        return bad("what follows the socket's path must begin with /")
    end
    local parts, err = url.parse("http://localhost" .. path)
    if not parts then return nil, err end
    local to = new(parts, socket)
    to.origin = "unix:" .. socket .. ":"
    return to
end

local function parse(text)
    if text:find("^unix:") then return parse_unix(text) end
    local parts, err = parts_of(text)
    if not parts then return nil, err end
    return of_parts(parts)
end

-- Two generations: when the young one is full, it becomes the old one, which is forgotten.
local young, old, count = {}, {}, 0

local function remember(text, to)
    if #text > CACHED_LEN then return end
    if count >= CACHED_COUNT then young, old, count = {}, young, 0 end
    young[text] = to
    count = count + 1
end

-- The target that a URL means. Nobody may change it: it is shared.
function target.parse(text)
    local to = young[text]
    if to then return to end
    to = old[text]
    local err
    if not to then
        to, err = parse(text)
        if not to then return nil, err end
    end
    remember(text, to)
    return to
end

-- The same, of a URL that may be relative to another.
function target.resolve(base, text)
    if text:find("^%a[%w+.-]*:") then return target.parse(text) end
    local absolute, err = url.resolve(base, text)
    if not absolute then return nil, err end
    return target.parse(absolute)
end

local function copy(from)
    local to = {}
    for name, value in pairs(from) do to[name] = value end
    to.heads, to.stream_heads, to.url = {}, {}, nil
    return to
end

-- With arguments added to its query.
function target.with_query(from, args)
    local query = codec.encodeArgs(args)
    if query == "" then return from end
    local to = copy(from)
    to.path = from.path .. (from.path:find("?", 1, true) and "&" or "?") .. query
    return to
end

-- Reached by a Unix socket instead of by its host and port.
function target.with_unix(from, path)
    local to = copy(from)
    to.unix, to.key = path, "unix:" .. path .. ":" .. from.key
    return to
end

-- The URL, without a name and a password.
function target.url(to)
    to.url = to.origin .. to.path .. (to.fragment and "#" .. to.fragment or "")
    return to.url
end

-- Where a redirect leads to, or nil and an error.
function target.follow(from, location)
    local to, err
    if from.unix and not location:find("^%a[%w+.-]*:") and not location:find("^//") then
        -- The same socket: another path of it.
        local base = "http://" .. from.authority .. from.path
        to, err = target.resolve(base, location)
        if not to then return nil, err end
        to = copy(to)
        to.unix, to.key, to.origin = from.unix, from.key, from.origin
    else
        to, err = target.resolve(from.scheme .. "://" .. from.authority .. from.path, location)
        if not to then return nil, err end
        if to.unix then return bad("a redirect to a Unix socket") end
    end
    if from.fragment and not to.fragment then
        to = copy(to)
        to.fragment = from.fragment -- RFC 9110, 10.2.2
    end
    return to
end

return target
