--- URLs: taken apart, put together, resolved against each other, as RFC 3986 has it.
---
--- What is no URL is `nil, err` with the name HTTP_BAD_URL, whose message says what is wrong with
--- it. Nothing is repaired: a space, a letter outside of ASCII, half an escape are errors, since
--- others that read the same text would repair it in another way.
local check = require "links.check"
local codec = require "links.codec"
local errors = require "links.errors"

local url = {}

local BAD_URL = errors.code("HTTP_BAD_URL")
local MAX_LEN = 65536
local IPV6_LEN = 45 -- eight groups of four digits, the last two as an IPv4 address

local function bad(message)
    return nil, errors.new(BAD_URL, "url", { message = message })
end

-- Characters by where they may stand (RFC 3986, appendix A), as sets of a Lua pattern.
local UNRESERVED, SUB_DELIMS = "%w%-._~", "!$&'()*+,;="
local NOT_IN = {
    user = "[^" .. UNRESERVED .. SUB_DELIMS .. ":%%]",
    host = "[^" .. UNRESERVED .. SUB_DELIMS .. "%%]",
    path = "[^" .. UNRESERVED .. SUB_DELIMS .. ":@/%%]",
    query = "[^" .. UNRESERVED .. SUB_DELIMS .. ":@/?%%]",
    fragment = "[^" .. UNRESERVED .. SUB_DELIMS .. ":@/?%%]",
}

local function shown(c)
    local b = c:byte()
    return b > 32 and b < 127 and '"' .. c .. '"' or ("byte 0x%02x"):format(b)
end

-- A message, or nil where the part is well-formed.
local function fault(name, value)
    local at = value:find(NOT_IN[name])
    if at then return shown(value:sub(at, at)) .. " cannot stand in the " .. name .. " of a URL" end
    if value:find("%", 1, true) and value:gsub("%%%x%x", ""):find("%", 1, true) then
        return 'a "%" in the ' .. name .. " is not followed by two hexadecimal digits"
    end
end

local function is_ipv4(s)
    local parts = { s:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$") }
    for _, part in ipairs(parts) do
        if tonumber(part) > 255 or (#part > 1 and part:sub(1, 1) == "0") then return false end
    end
    return #parts == 4
end

-- How many 16-bit groups a list of groups has; nil if it is none. An IPv4 address may be its end.
local function count_groups(s, is_end)
    if s == "" then return 0 end
    local n = 0
    for group, separator in (s .. ":"):gmatch("([^:]*)(:)") do
        n = n + #separator
        if is_end and group:find(".", 1, true) then
            if not is_ipv4(group) or not s:find(group .. "$") then return nil end
            n = n + 1
        elseif not group:find("^%x%x?%x?%x?$") then
            return nil
        end
    end
    return n
end

local function is_ipv6(s)
    if #s > IPV6_LEN then return false end
    local left, right = s:match("^(.-)::(.*)$")
    if not left then return count_groups(s, true) == 8 end
    local a, b = count_groups(left, false), count_groups(right, true)
    return a ~= nil and b ~= nil and a + b <= 7
end

-- Splits an authority; the fields go into `parts`. Returns a message where it is none.
local function parse_authority(parts, authority)
    -- The last @: one before it would be an error of the user's name, and not the host of a
    -- phisher.
    local user, rest = authority:match("^(.*)@([^@]*)$")
    local host, port = (rest or authority):match("^(%[.*%])(.*)$")
    if host then
        host = host:sub(2, -2)
        if not is_ipv6(host) then
            return "the host in brackets is no IPv6 address"
        end
    else
        host, port = (rest or authority):match("^([^:]*)(.*)$")
        local message = fault("host", host)
        if message then return message end
        if host:find("^[%d.]+$") and host:find("^%d+%.%d+%.%d+%.%d+$") and not is_ipv4(host) then
            return "the host looks like an IPv4 address, and is none"
        end
    end
    if user then
        local message = fault("user", user)
        if message then return message end
    end
    if port ~= "" and not port:find("^:%d*$") then return "the port is not a number" end
    local number = tonumber(port:sub(2))
    if number and number > 65535 then return "the port is larger than 65535" end
    parts.user, parts.host, parts.port = user, host:lower(), number
end

local function parse(s)
    if #s > MAX_LEN then return bad("it is longer than " .. MAX_LEN .. " bytes") end
    local parts = {}
    local rest = s
    local scheme, after = rest:match("^([^:/?#]*):(.*)$")
    if scheme then
        if not scheme:find("^%a[%w+.-]*$") then
            return bad(scheme == "" and "the scheme is empty" or "the scheme is malformed")
        end
        parts.scheme, rest = scheme:lower(), after
    end
    local before, fragment = rest:match("^([^#]*)#(.*)$")
    if before then parts.fragment, rest = fragment, before end
    local query
    before, query = rest:match("^([^?]*)%?(.*)$")
    if before then parts.query, rest = query, before end
    local authority, path = rest:match("^//([^/]*)(.*)$")
    if authority then
        local message = parse_authority(parts, authority)
        if message then return bad(message) end
        rest = path
    end
    parts.path = rest
    for _, name in ipairs { "path", "query", "fragment" } do
        local message = parts[name] and fault(name, parts[name])
        if message then return bad(message) end
    end
    return parts
end

-- RFC 3986, 5.2.4, on segments instead of a buffer.
local function remove_dots(path)
    if not path:find(".", 1, true) then return path end
    local is_absolute = path:sub(1, 1) == "/"
    local out, depth, is_folder = {}, 0, false
    for segment in ((is_absolute and path:sub(2) or path) .. "/"):gmatch("([^/]*)/") do
        is_folder = segment == "." or segment == ".."
        if segment == ".." then
            if depth > 0 then
                out[depth] = nil
                depth = depth - 1
            end
        elseif segment ~= "." then
            depth = depth + 1
            out[depth] = segment
        end
    end
    if is_folder then out[depth + 1] = "" end
    return (is_absolute and "/" or "") .. table.concat(out, "/")
end

-- RFC 3986, 5.2.3.
local function merge(base, path)
    if base.host and base.path == "" then return "/" .. path end
    return (base.path:match("^(.*/)") or "") .. path
end

-- RFC 3986, 5.2.2.
local function transform(base, ref)
    local to = { fragment = ref.fragment }
    if ref.scheme or ref.host then
        to.scheme = ref.scheme or base.scheme
        to.user, to.host, to.port = ref.user, ref.host, ref.port
        to.path, to.query = remove_dots(ref.path), ref.query
        return to
    end
    to.scheme, to.user, to.host, to.port = base.scheme, base.user, base.host, base.port
    if ref.path == "" then
        to.path, to.query = base.path, ref.query or base.query
    else
        local path = ref.path:sub(1, 1) == "/" and ref.path or merge(base, ref.path)
        to.path, to.query = remove_dots(path), ref.query
    end
    return to
end

local function resolve(base, ref)
    local from, err = parse(base)
    if not from then return nil, err end
    if not from.scheme then return bad("the base has no scheme") end
    local to
    to, err = parse(ref)
    if not to then return nil, err end
    return transform(from, to)
end

--- Takes a URL apart, or a reference such as "../img?x".
---
--- @param s     string  the URL
--- @param base  string  a URL that `s` is relative to. Default: none; then `s` stays as it is
--- @return table        the parts that it has, as they stand, still escaped: scheme and host (in
---                      small letters; an
---                      IPv6 address without its brackets), user ("name:password"), port (an
---                      integer), path
---                      (always there, maybe ""), query (without "?"), fragment (without "#")
--- @return nil, err     HTTP_BAD_URL  it is no URL, or longer than 65536 bytes; err.message says
---                                    why
--- @raise               an argument is not a string
--- @usage local parts = assert(require("url").parse("http://Example.org:8080/a?b#c"))
--- assert(parts.scheme == "http" and parts.host == "example.org" and parts.port == 8080)
--- assert(parts.path == "/a" and parts.query == "b" and parts.fragment == "c")
function url.parse(s, base)
    local signature = "url.parse(s[, base])"
    check.type(signature, "s", s, "string")
    check.type(signature, "base", base, "string|nil")
    if base then return resolve(base, s) end
    return parse(s)
end

local FORMAT = "url.format(parts)"
local FIELDS = {
    scheme = "string", user = "string", host = "string", path = "string",
    query = "string|table", fragment = "string", port = "integer",
}

local function check_parts(parts)
    check.type(FORMAT, "parts", parts, "table", 2)
    for name, value in pairs(parts) do
        local kind = FIELDS[name]
        if not kind then
            local near = type(name) == "string" and check.nearest(name, FIELDS)
            error(FORMAT .. ' unknown part "' .. tostring(name) .. '"'
                .. (near and ' (did you mean "' .. near .. '"?)' or ""), 3)
        elseif kind == "integer" then
            check.integer(FORMAT, "parts." .. name, value, 0, 65535, 2)
        else
            check.type(FORMAT, "parts." .. name, value, kind, 2)
        end
    end
end

local function authority_of(parts)
    if not parts.host then return "" end
    local host = parts.host
    if host:find(":", 1, true) then host = "[" .. host .. "]" end
    return "//" .. (parts.user and parts.user .. "@" or "") .. host
        .. (parts.port and ":" .. parts.port or "")
end

-- What the pieces mean must be what the whole is read as.
local function same(a, b)
    for name in pairs(FIELDS) do
        if a[name] ~= b[name] then return false end
    end
    return true
end

--- Puts a URL together. What is not escaped as it should be is an error: see codec.escapeUri.
---
--- @param parts  table  as url.parse returns them; the query may be a table of arguments, as for
---                      codec.encodeArgs
--- @return string       the URL
--- @return nil, err     HTTP_BAD_URL  the parts are those of no URL
--- @raise               a part is of another type, or one that nobody knows
--- @usage local url = require "url"
--- assert(url.format{ scheme = "http", host = "::1", port = 80, path = "/", query = { q = "a b" } }
---     == "http://[::1]:80/?q=a+b")
function url.format(parts)
    check_parts(parts)
    local query = parts.query
    if type(query) == "table" then query = codec.encodeArgs(query) end
    if not parts.host and (parts.user or parts.port) then
        return bad("a user or a port needs a host")
    end
    local s = (parts.scheme and parts.scheme .. ":" or "") .. authority_of(parts)
        .. (parts.path or "") .. (query and "?" .. query or "")
        .. (parts.fragment and "#" .. parts.fragment or "")
    local read, err = parse(s)
    if not read then return nil, err end
    local given = {
        scheme = parts.scheme and parts.scheme:lower(), user = parts.user,
        host = parts.host and parts.host:lower(), port = parts.port,
        path = parts.path or "", query = query, fragment = parts.fragment,
    }
    if not same(read, given) then
        return bad("its parts would be read as others: " .. s:sub(1, 200))
    end
    return s
end

--- Resolves a reference, such as that of a link or a Location, against the URL that it stands in.
---
--- @param base  string  an absolute URL
--- @param ref   string  the reference
--- @return string       the absolute URL
--- @return nil, err     HTTP_BAD_URL  one of them is no URL, or the base has no scheme
--- @raise               an argument is not a string
--- @usage assert(require("url").resolve("http://a/b/c/d?q", "../g") == "http://a/b/g")
function url.resolve(base, ref)
    local signature = "url.resolve(base, ref)"
    check.type(signature, "base", base, "string")
    check.type(signature, "ref", ref, "string")
    local parts, err = resolve(base, ref)
    if not parts then return nil, err end
    return url.format(parts)
end

return url
