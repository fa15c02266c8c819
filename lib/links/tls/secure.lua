--- TLS on a socket: methods of every socket, of TCP and Unix.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local binding = require "links.tls.ffi"
local contexts = require "links.tls.context"

local C, AGAIN, CERT = binding.C, binding.AGAIN, binding.CERT
local wait, new_error = core.wait, errors.new
local ffi_string = ffi.string

local out = ffi.new("const char *[1]")

local Socket = {}
local secure = { methods = Socket }

-- --- what can be seen --------------------------------------------------------------------------------

-- What a certificate says; nil for what is none.
function secure.certificate(pem)
    local about = { pem = pem }
    for name, what in pairs(CERT) do
        local n = C.links_cert_text(pem, #pem, what, out)
        if n == -errors.code("PARSE") then return nil end
        if n >= 0 then about[name] = ffi_string(out[0], n) end
    end
    local san = {}
    for line in (about.names or ""):gmatch("[^\n]+") do san[#san + 1] = line end
    about.san, about.names = san, nil
    return about
end

local function text(handle, what)
    local n = C.links_tls_text(handle, what, out)
    return n >= 0 and ffi_string(out[0], n) or nil
end

-- What there is to say of a connection.
function secure.info(handle)
    local pem = text(handle, binding.PEER)
    return {
        version = text(handle, binding.VERSION),
        cipher = text(handle, binding.CIPHER),
        alpn = text(handle, binding.ALPN),
        serverName = text(handle, binding.SERVER_NAME),
        resumed = text(handle, binding.RESUMED) ~= nil,
        authorized = text(handle, binding.AUTHORIZED) ~= nil,
        peer = pem and secure.certificate(pem) or nil,
    }
end

--- What the connection is encrypted by, and who the peer has shown to be.
---
--- @return table  version      "TLSv1.3" or "TLSv1.2"
---                cipher       such as "TLS_AES_256_GCM_SHA384"
---                alpn         the protocol that was agreed on; nil: none
---                serverName   the name that the client asked for; nil: none
---                resumed      whether an earlier session was taken up again
---                authorized   whether the peer has shown a certificate that is trusted
---                peer         nil where he has shown none; or his certificate: `subject`,
---                             `issuer`, `commonName`, `san` (an array, "DNS:example.com"),
---                             `notBefore`, `notAfter` ("2030-01-31T12:00:00Z"), `serial`,
---                             `fingerprint256` (hexadecimal), `pem`.
---                nil: the socket is not encrypted
--- @return nil, err    CLOSED  this side has closed the socket
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- assert(assert(tcp.connect(server:address().port)):tlsInfo() == nil)
--- server:close()
function Socket:tlsInfo()
    if self._h.closed == 1 then return nil, new_error(binding.CLOSED, "tls info") end
    local handle = C.links_tls_of(self._h)
    if handle == nil then return nil end
    return secure.info(handle)
end

-- --- the handshake -------------------------------------------------------------------------------------

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
    local info = socket:tlsInfo()
    local found = info and info.peer and info.peer.fingerprint256
    for _, want in ipairs(type(pin) == "table" and pin or { pin }) do
        if want:gsub(":", ""):lower() == found then return true end
    end
    return false
end

-- Begins TLS and waits for the end of the handshake. true, or nil, err and the socket is closed.
function secure.handshake(socket, ctx, host, pin)
    local rc = C.links_tls_start(socket._h, ctx._h, host)
    while rc == AGAIN do
        rc = wait()
        if rc == 0 then rc = C.links_tls_start(socket._h, ctx._h, host) end
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

-- The same for a socket that has just been connected to `host`, with checked options: the socket, or
-- nil, err.
function secure.connect(socket, o, host)
    local ctx, err = contexts.client(o)
    if not ctx then
        C.links_tcp_close(socket._h, 1)
        return nil, err
    end
    local ok
    ok, err = secure.handshake(socket, ctx, o.serverName or host, o.pin)
    if not ok then return nil, err end
    return socket
end

--- Goes on encrypted, as protocols do that begin in the open (STARTTLS). Nothing may have come that
--- was not read. Where it fails the socket is closed.
---
--- @param options  table    those of tls.createContext, and
---                          server      false  this side has the certificate
---                          serverName  nil    the name of the server, which its certificate must
---                                             have; a client has to give it, or checkHost = false
---                          context     nil    of tls.createContext, for many connections: then the
---                                             other options but serverName and pin are its own
---                          pin         nil    the SHA-256 of the certificate that the server must
---                                             have, or an array of them
--- @return true
--- @return nil, err         TLS_HANDSHAKE    the two sides do not understand each other
---                          TLS_CERT_VERIFY  the certificate is not trusted (err.message says why)
---                          TLS_HOSTNAME     it is for another name
---                          TLS_NO_ALPN      no protocol is spoken by both sides
---                          TLS_ALERT        the peer refused (err.message)
---                          TLS_CONFIG       a certificate, key or option is of no use
---                          PROTOCOL         bytes had come already
---                          ETIMEDOUT        the handshake took longer than handshakeTimeout
---                          EALREADY         it is encrypted already
---                          EBUSY, CLOSED, ECANCELED, ECONNRESET, ENOENT of a file
--- @raise                   an option of another type, or one that nobody knows; a client without
---                          serverName that is to check it
--- @wait
--- @usage local tcp = require "tcp"
--- local tls = require "tls"
--- local pair = tls.selfSigned("localhost")
--- local server = assert(tcp.createServer(0, function(socket)
---     socket:readline()
---     socket:write("go ahead\n")
---     socket:startTls { server = true, cert = pair.cert, key = pair.key }
---     socket:write("secret\n")
--- end))
--- local socket = assert(tcp.connect(server:address().port))
--- socket:write("STARTTLS\n")
--- assert(socket:readline() == "go ahead")
--- assert(socket:startTls { serverName = "localhost", ca = pair.cert })
--- assert(socket:readline() == "secret")
--- server:close()
function Socket:startTls(options)
    local signature = "socket:startTls(options)"
    local o = contexts.check(signature, options, 1)
    if not o.server and not o.serverName and o.checkHost and not o.insecure and
        not (o.context and not o.context._o.checkHost) then
        error(signature .. " options.serverName is missing: the name of the server", 2)
    end
    if self._h.closed == 1 then return nil, new_error(binding.CLOSED, "tls handshake") end
    local ctx, err
    if o.server then ctx, err = contexts.new(o) else ctx, err = contexts.client(o) end
    if not ctx then return nil, err end
    local ok
    ok, err = secure.handshake(self, ctx, o.serverName, o.pin)
    return ok, err
end

return secure
