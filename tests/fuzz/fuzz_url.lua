-- URLs: what url.parse finds, url.format puts together again, and resolving gives what is absolute
-- and stays as it is. The HTTP client, which takes the usual ones apart by itself, finds the same.
local target = require "links.http.client.target"
local url = require "url"

local BASES = { "http://a/b/c/d;p?q", "https://u:p@[::1]:8443/", "file:///x/y" }
local PARTS = { "scheme", "user", "host", "port", "path", "query", "fragment" }

local function same(a, b)
    for _, name in ipairs(PARTS) do assert(a[name] == b[name], name) end
end

local DEFAULT_PORTS = { http = 80, https = 443 }

local function check_target(data, parts)
    local to = target.parse(data)
    if not to or to.unix then return end
    local path = parts.path == "" and "/" or parts.path
    assert(to.scheme == parts.scheme and to.host == parts.host)
    assert(to.port == (parts.port or DEFAULT_PORTS[parts.scheme]))
    assert(to.path == (parts.query and path .. "?" .. parts.query or path))
    assert(to.user == parts.user and to.fragment == parts.fragment)
end

local function run(data)
    local parts, err = url.parse(data)
    assert(parts or err.name == "HTTP_BAD_URL")
    check_target(data, parts)
    if parts then
        assert(not parts.scheme or parts.scheme:find("^[%l][%l%d+.-]*$"))
        assert(not parts.host or not parts.host:find("[/?#@%s\\]"))
        assert(not parts.port or parts.port <= 65535 and parts.port % 1 == 0)
        assert(not parts.path:find("[?#%s]"))
        local text = url.format(parts)
        if text then same(parts, assert(url.parse(text))) end
    end
    for _, base in ipairs(BASES) do
        local absolute, why = url.resolve(base, data)
        assert(absolute or why.name == "HTTP_BAD_URL")
        if absolute then
            local again = assert(url.parse(absolute))
            assert(again.scheme)
            -- An empty reference leaves the path of the base as it is (RFC 3986, 5.2.2).
            assert(parts.path == "" or not again.path:find("^/")
                or not (again.path .. "/"):find("/%.%.?/"))
            assert(url.resolve(base, absolute) == absolute)
        end
    end
end

return {
    run = run,
    words = { "http://", "//", "/", "..", "/../", "./", ":", "@", "?", "#", "[::1]", "%2e", "%",
        ":80", "\\", " ", "https://", "http://a.b:8080/c?d" },
}
