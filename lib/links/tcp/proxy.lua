-- The header of the PROXY protocol that tells a server behind us who its client is: what
-- `proxyHeader` may be, and the bytes of it.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.tcp.ffi"

local C = binding.C

local proxy = {}

local EINVAL = -errors.code("EINVAL")
local header = ffi.typeof("char[107]")
local socket_type = ffi.typeof("links_tcp *")

local KNOWN = {
    version = { type = "integer", default = 2, min = 1, max = 2 },
    socket = { type = "table" },
    source = { type = "table" },
    destination = { type = "table" },
}

local function is_socket(value)
    return type(value) == "table" and ffi.istype(socket_type, rawget(value, "_h"))
end

local function check_address(signature, name, at, level)
    local valid = type(at) == "table" and type(at.address) == "string"
        and C.links_tcp_is_ip(at.address, #at.address) ~= 0
    if not valid then
        error(signature .. " options.proxyHeader." .. name
            .. " must have a numeric address, as socket:remoteAddress has it", level + 2)
    end
    local port = "options.proxyHeader." .. name .. ".port"
    check.integer(signature, port, at.port, 0, 65535, level + 1)
end

--- Raises unless it is nil, a socket, or a table of `version` and either `socket`, or `source` and
--- `destination`, or none of them. Returns that table.
function proxy.check(signature, option, level)
    level = (level or 1) + 1
    if option == nil then return nil end
    if is_socket(option) then return { version = 2, socket = option } end
    if type(option) ~= "table" then
        error(signature .. " options.proxyHeader must be a [socket] or a [table], not a "
            .. type(option), level + 1)
    end
    local o = check.options(signature, option, KNOWN, level)
    if o.socket and not is_socket(o.socket) then
        error(signature .. " options.proxyHeader.socket must be a [socket]", level + 1)
    end
    if (o.source == nil) ~= (o.destination == nil) or (o.source and o.socket) then
        error(signature .. " options.proxyHeader must have a socket, or a source and a destination",
            level + 1)
    end
    if o.source then
        check_address(signature, "source", o.source, level)
        check_address(signature, "destination", o.destination, level)
    end
    return o
end

--- The bytes, or nil and an error where the socket that they are to tell of is closed. Of a client
--- over a Unix socket there is no address to tell.
function proxy.bytes(o)
    local source, destination = o.source, o.destination
    if o.socket then
        local err
        source, err = o.socket:remoteAddress()
        if not err then destination, err = o.socket:localAddress() end
        if err then return nil, err end
        if not source.address then source = nil end
    end
    local out = header()
    local n
    if source then
        n = C.links_tcp_proxy_header(out, o.version, source.address, source.port,
            destination.address, destination.port)
    else
        n = C.links_tcp_proxy_header(out, o.version, nil, 0, nil, 0)
    end
    if n < 0 then return nil, errors.new(EINVAL, "proxy header") end
    return ffi.string(out, n)
end

--- Makes it the first bytes of a connection. Returns the socket, or nil and an error, and the
--- socket is closed.
function proxy.send(socket, o)
    if not o then return socket end
    local bytes, err = proxy.bytes(o)
    if bytes then bytes, err = socket:write(bytes) end
    if bytes then return socket end
    socket:close()
    return nil, err
end

return proxy
