--- TLS on a socket: methods of every socket, of TCP and Unix.
local errors = require "links.errors"
local binding = require "links.tls.ffi"
local contexts = require "links.tls.context"
local handshake = require "links.tls.handshake"
local inspect = require "links.tls.inspect"

local C = binding.C
local new_error = errors.new

local Socket = {}

--- What the connection is encrypted by, and who the peer has shown to be.
---
--- @return table  version      "TLSv1.3" or "TLSv1.2"
---                cipher       such as "TLS_AES_256_GCM_SHA384"
---                alpn         the protocol that was agreed on; nil: none
---                serverName   the name that the client asked for; nil: none
---                resumed      whether an earlier session was taken up again
---                authorized   whether the peer has shown a certificate that is trusted
---                ktls         whether the kernel encrypts what is written (see tls.createContext)
---                peer         nil where he has shown none; or his certificate: `subject`,
---                             `issuer`, `commonName`, `san` (an array, "DNS:example.com"),
---                             `notBefore`, `notAfter` ("2030-01-31T12:00:00Z"), `serial`,
---                             `fingerprint256` (hexadecimal), `pem`
---                chain        the certificates that came behind it, an array of texts in PEM, for
---                             tls.certificate; none came where the session was resumed
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
    return inspect.info(handle)
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
    ok, err = handshake.run(self, ctx, o.serverName, o.pin)
    return ok, err
end

return Socket
