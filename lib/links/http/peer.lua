-- Who has sent a request, and to whom: by the connection it came on, or, where that is a proxy
-- that the server trusts, by what the proxy says.
--
-- A proxy sets one kind of field and passes on what its client has put into the other. So the one
-- that is not the proxy's is never looked at, not even where the proxy's is missing.
local ffi = require "ffi"
local binding = require "links.http.ffi"
local servers = require "links.http.servers"
local codec = require "links.codec"
local random_bytes = require "links.http.random"

local C = binding.C
local lazy = {}

local MAX_HOPS = 64
local place = ffi.new("links_http_place")

local function text_of(at)
    if at.family == 0 then return "unix:" end
    return ffi.string(at.text, at.len)
end

-- The elements of a list, in which a quoted comma ends nothing.
local function elements_of(list)
    local elements, from, quoted = {}, 1, false
    for at, char in list:gmatch '()([",])' do
        if char == '"' then
            quoted = not quoted
        elseif not quoted then
            elements[#elements + 1] = list:sub(from, at - 1)
            from = at + 1
        end
    end
    elements[#elements + 1] = list:sub(from)
    return elements
end

-- 'for="[2001:db8::1]:80";proto=https' (RFC 7239, 4) as a table.
local function pairs_of(element)
    local found, at = {}, 1
    while true do
        local name, start = element:match("^[%s;]*([%w-]+)=()", at)
        if not name then return found end
        local value, stop = element:match('^"([^"\\]*)"()', start)
        if not value then value, stop = element:match('^([^;%s"]*)()', start) end
        found[name:lower()] = value
        at = stop
    end
end

-- Who passed the request on, the nearest last.
local function by_forwarded(req)
    local hops = {}
    for i, element in ipairs(elements_of(req:header("forwarded") or "")) do
        local hop = pairs_of(element)
        hops[i] = { node = hop["for"], scheme = hop.proto, host = hop.host }
    end
    return hops
end

local function list_of(req, name)
    local values = {}
    for value in (req:header(name) or ""):gmatch("[^,]+") do
        values[#values + 1] = value:match("^%s*(.-)%s*$")
    end
    return values
end

-- Protocol and host are often one for a whole chain: then they are what the nearest has said.
local function by_x_forwarded(req)
    local hops = {}
    local schemes, hosts = list_of(req, "x-forwarded-proto"), list_of(req, "x-forwarded-host")
    local nodes = list_of(req, "x-forwarded-for")
    for i, node in ipairs(nodes) do
        hops[i] = {
            node = node, scheme = #schemes == #nodes and schemes[i] or schemes[#schemes],
            host = #hosts == #nodes and hosts[i] or hosts[#hosts],
        }
    end
    if #hops == 0 then hops[1] = { scheme = schemes[#schemes], host = hosts[#hosts] } end
    return hops
end

-- "192.0.2.1", "192.0.2.1:80", "2001:db8::1" or "[2001:db8::1]:80": address and port; nil for what
-- is none ("unknown", "_hidden").
local function parse_node(server, node)
    local address, port = node, nil
    if node:sub(1, 1) == "[" then
        address, port = node:match("^%[([%x:.]+)%]:?(%d*)$")
    elseif select(2, node:gsub(":", "")) == 1 then
        address, port = node:match("^([%d.]+):(%d+)$")
    end
    if not address or C.links_http_trusts(server._h, address) < 0 then return nil end
    return address, tonumber(port)
end

-- Goes from the nearest hop outwards for as long as each is trusted.
local function find_client(r, req, server)
    C.links_http_peer(r, place)
    local found = { address = text_of(place), port = place.family ~= 0 and place.port or nil }
    local trust = server and server._trust
    if not trust or C.links_http_trusts(server._h, found.address) ~= 1 then return found end
    local hops = trust == "Forwarded" and by_forwarded(req) or by_x_forwarded(req)
    for i = #hops, math.max(1, #hops - MAX_HOPS), -1 do
        local hop = hops[i]
        found.scheme, found.host = hop.scheme or found.scheme, hop.host or found.host
        local address, port = parse_node(server, hop.node or "")
        if not address then break end
        found.address, found.port = address, port
        if C.links_http_trusts(server._h, address) == 0 then break end
    end
    return found
end

local function valid_host(host)
    return host and #host <= 255 and host:find("^[%w%-._~%%!$&'()*+,;=:%[%]]+$") and host or nil
end

local function client_of(r, req)
    local found = find_client(r, req, servers.of(req._h))
    local scheme = found.scheme and found.scheme:lower()
    rawset(req, "remoteAddress", found.address)
    rawset(req, "remotePort", found.port)
    if scheme ~= "https" and scheme ~= "http" then
        scheme = C.links_http_tls(r) ~= nil and "https" or "http"
    end
    rawset(req, "scheme", scheme)
    rawset(req, "host", valid_host(found.host) or req:header("host"))
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
        prefix, counter = codec.hex.encode(random_bytes(12)), 0
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
