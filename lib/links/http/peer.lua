-- Who has sent a request, and to whom: by the connection it came on, or, where that is a proxy
-- that the server trusts, by what the proxy says (src/modules/http/forwarded.c).
local ffi = require "ffi"
local binding = require "links.http.ffi"
local servers = require "links.http.servers"
local codec = require "links.codec"

local C = binding.C
local lazy = {}

local place = ffi.new("links_http_place")
local client = ffi.new("links_http_client")

local function text_of(at)
    if at.family == 0 then return "unix:" end
    return ffi.string(at.text, at.len)
end

local function valid_host(host)
    return host and #host <= 255 and host:find("^[%w%-._~%%!$&'()*+,;=:%[%]]+$") and host or nil
end

local function said(data, len) return data ~= nil and ffi.string(data, len) or nil end

local function client_of(r, req)
    C.links_http_client_of(r, client)
    local at = client.place
    local scheme = said(client.scheme, client.scheme_len)
    scheme = scheme and scheme:lower()
    rawset(req, "remoteAddress", text_of(at))
    rawset(req, "remotePort", at.port ~= 0 and at.port or nil)
    if scheme ~= "https" and scheme ~= "http" then
        scheme = C.links_http_tls(r) ~= nil and "https" or "http"
    end
    rawset(req, "scheme", scheme)
    rawset(req, "host", valid_host(said(client.host, client.host_len)) or req:header("host"))
end

for _, name in ipairs { "remoteAddress", "remotePort", "scheme", "host" } do
    lazy[name] = function(r, req)
        if r == nil then
            return name == "scheme" and "http" or name == "host" and req:header("host") or nil
        end
        client_of(r, req)
        return rawget(req, name)
    end
end

function lazy.localAddress(r)
    if r == nil then return "127.0.0.1" end
    C.links_http_local(r, place)
    return text_of(place)
end

function lazy.localPort(r)
    if r == nil then return 0 end
    C.links_http_local(r, place)
    return place.family ~= 0 and place.port or nil
end

-- The two ends of a connection, whatever proxies say of it.
local function ends(remote, here)
    local is_unix = remote.family == 0
    return {
        family = is_unix and "unix" or remote.family,
        remoteAddress = text_of(remote), remotePort = not is_unix and remote.port or nil,
        localAddress = text_of(here), localPort = not is_unix and here.port or nil,
    }
end

local other_place = ffi.new("links_http_place")

-- A request that router:call has made up came on none.
function lazy.socket(r)
    if r == nil then return nil end
    C.links_http_peer(r, other_place)
    C.links_http_local(r, place)
    return ends(other_place, place)
end

function lazy.startTime(r)
    local age = r ~= nil and C.links_http_age(r) or 0
    return require("links.system").now() - age
end

function lazy.server(_, req) return servers.of(req._h) end

-- --- ids ----------------------------------------------------------------------------------------

-- Random for the process, and counted within it: unique, and cheap. It is no secret.
local prefix, counter

local function new_id()
    if not prefix or counter == 0xffffffff then
        prefix, counter = codec.hex.encode(require("links.crypto").randomBytes(12)), 0
    end
    counter = counter + 1
    return prefix .. ("%08x"):format(counter)
end

-- The id that a request has brought along: its own field, or the trace that it is part of (W3C
-- Trace Context, 3.2).
local function given_id(req)
    local id = req:header("x-request-id")
    if id and #id <= 128 and id:find("^[%w%-._]+$") then return id end
    local trace = (req:header("traceparent") or ""):match("^%x%x%-(%x+)%-%x+%-%x%x")
    if trace and #trace == 32 and trace:find("[^0]") then return trace:lower() end
end

-- Whoever reads it wants to find the request again: the client gets it, too.
function lazy.id(r, req)
    local server = servers.of(req._h)
    if server and not server._requestId then return nil end
    local id = given_id(req) or new_id()
    if r ~= nil and r.sent == 0 then
        C.links_http_set(r, binding.SET, "X-Request-Id", 12, id, #id)
    end
    return id
end

return { lazy = lazy, ends = ends, new_id = new_id }
