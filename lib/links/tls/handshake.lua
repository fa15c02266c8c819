-- The handshake: from a socket that is connected to one that is encrypted.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local binding = require "links.tls.ffi"
local contexts = require "links.tls.context"
local inspect = require "links.tls.inspect"

local C, AGAIN = binding.C, binding.AGAIN
local wait, new_error = core.wait, errors.new
local ffi_string = ffi.string

local handshake = {}

local function failure(socket, status, what, host)
    local handle = socket._h.closed == 0 and C.links_tls_of(socket._h) or nil
    local reason = handle ~= nil and ffi_string(C.links_tls_reason(handle)) or ""
    local extra = { address = host }
    local name = new_error(status).name
    if reason ~= "" and name:find("^TLS_") then extra.message = reason end
    C.links_tcp_close(socket._h, 0)
    return nil, new_error(status, what, extra)
end

local function pinned(socket, pin)
    local peer = inspect.info(C.links_tls_of(socket._h)).peer
    local found = peer and peer.fingerprint256
    for _, want in ipairs(type(pin) == "table" and pin or { pin }) do
        if want:gsub(":", ""):lower() == found then return true end
    end
    return false
end

-- Begins TLS and waits for the end of the handshake. true, or nil, err and the socket is closed.
function handshake.run(socket, ctx, host, pin, after_proxy)
    after_proxy = after_proxy and 1 or 0
    local rc = C.links_tls_start(socket._h, ctx._h, host, after_proxy)
    while rc == AGAIN do
        rc = wait()
        if rc == 0 then rc = C.links_tls_start(socket._h, ctx._h, host, after_proxy) end
    end
    if rc == 0 then rc = C.links_tls_handshake(socket._h) end
    while rc == AGAIN do
        rc = wait()
        if rc == 0 then rc = C.links_tls_handshake(socket._h) end
    end
    if rc < 0 then return failure(socket, rc, "tls handshake", host) end
    if pin and not pinned(socket, pin) then
        C.links_tcp_close(socket._h, 1)
        return nil, new_error(errors.code("TLS_CERT_VERIFY"), "tls handshake",
            { address = host, message = "the peer's certificate is not the one that was pinned" })
    end
    return true
end

-- The same for a socket that has just been connected to `host`, with checked options: the socket,
-- or nil, err.
function handshake.connect(socket, o, host)
    local ctx, err = contexts.client(o)
    if not ctx then
        C.links_tcp_close(socket._h, 1)
        return nil, err
    end
    local ok
    ok, err = handshake.run(socket, ctx, o.serverName or host, o.pin)
    if not ok then return nil, err end
    return socket
end

return handshake
