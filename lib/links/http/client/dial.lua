-- From a target to a connected socket: the one place where a scheme becomes a connection. What is
-- returned has the methods of tcp.socket, whatever lies under it.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local addresses_of = require "links.tcp.connect"
local sockets = require "links.tcp.socket"
local unix = require "links.unix"
local clock = require "links.http.client.clock"
local private = require "links.http.client.private"

local C = ffi.C
local dial = {}

local READ_BUFFER = 65536
local HTTP = { "http/1.1" }
local EACCES = errors.code("EACCES")

local function refused(host)
    return nil, errors.new(EACCES, "connect", {
        address = host, message = "its address is private, and options.denyPrivate is set",
    })
end

-- The addresses that options.resolve has for the host, or those of its name.
local function find(to, o, family)
    local known = o.resolve and o.resolve[to.host]
    if not known then
        return addresses_of.find(to.port, to.host, family, o.connectTimeout)
    end
    local list = {}
    for _, address in ipairs(type(known) == "table" and known or { known }) do
        local is = C.links_tcp_is_ip(address, #address)
        if is == 0 then
            return nil, errors.new(errors.code("EINVAL"), "connect", {
                address = address, message = "options.resolve must have numeric addresses",
            })
        end
        list[#list + 1] = { address = address, family = is }
    end
    return list
end

-- Those that may be connected to. Only they are, so a name that means another address a moment
-- later helps nobody.
local function allowed(list, o)
    if not o.denyPrivate then return list end
    local public = {}
    for _, entry in ipairs(list) do
        if not private.is(entry.address) then public[#public + 1] = entry end
    end
    return public
end

local tcp_options

local function options_of_c()
    if not tcp_options then
        tcp_options = ffi.new("links_tcp_options")
        tcp_options.nodelay, tcp_options.keepalive = 1, 1
        tcp_options.read_buffer_size = READ_BUFFER
    end
    return tcp_options
end

local function open_tcp(to, o, timing)
    local began, from = core.now(), clock()
    local list, err = find(to, o, 0)
    if not list then return nil, err end
    list = allowed(list, o)
    if #list == 0 then return refused(to.host) end
    local found = clock()
    timing.dns = found - from
    local about = { connectTimeout = o.connectTimeout, happyEyeballs = true }
    local pointer
    pointer, err = addresses_of.reach(to.port, list, about, options_of_c(), began)
    timing.connect = clock() - found
    if not pointer then return nil, err end
    return sockets.own(pointer)
end

local function open_unix(to, o, timing)
    if o.denyPrivate then return refused(to.unix) end
    local from = clock()
    local socket, err = unix.connect(to.unix, {
        connectTimeout = o.connectTimeout, readBufferSize = READ_BUFFER / 1024,
    })
    timing.dns, timing.connect = 0, clock() - from
    return socket, err
end

-- What tells connections with different options of TLS apart.
function dial.identity(options) return require("links.tls.context").identity(options) end

-- Puts the connection under TLS.
local function secure(socket, to, o, timing)
    local contexts, own = require "links.tls.context", { alpn = HTTP }
    for name, value in pairs(o.tls or {}) do own[name] = value end
    if own.handshakeTimeout == nil then own.handshakeTimeout = o.tlsTimeout end
    local from = clock()
    local secured, err = require("links.tls.handshake").connect(socket,
        contexts.check("http options.tls:", own), to.host)
    timing.tls = clock() - from
    if secured then return secured end
    if err.name == "ETIMEDOUT" and not err.deadline then err.timeout = "tls" end
    return nil, err
end

-- A connected socket, or nil and an error; the milliseconds that it took go into `timing`. Waits.
function dial.open(to, o, timing)
    local make = to.unix and open_unix or open_tcp
    local socket, err = make(to, o, timing)
    if not socket then
        if err.name == "ETIMEDOUT" and not err.deadline then err.timeout = "connect" end
        return nil, err
    end
    if to.scheme ~= "https" then return socket end
    return secure(socket, to, o, timing)
end

return dial
