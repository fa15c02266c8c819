--- TLS 1.2 and 1.3 on OpenSSL: servers and connections that are encrypted, and are otherwise those
--- of tcp.
---
--- Clients verify: the certificate must be trusted by the system (or by `ca`) and be for the name
--- that was asked for. Files of certificates are watched: a new one is served within a second, and
--- one that cannot be used is reported while the old one is kept. What a connection is encrypted by
--- tells socket:tlsInfo, described in tls.secure with socket:startTls.
---
--- Where SSLKEYLOGFILE is set in the environment, the keys of all connections are appended to that
--- file, for Wireshark.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local tcp = require "links.tcp"
local binding = require "links.tls.ffi"
local contexts = require "links.tls.context"
local handshake = require "links.tls.handshake"
local inspect = require "links.tls.inspect"
local tls_servers = require "links.tls.server"

local C = binding.C

local tls = {}

--- Makes a context: certificates, and what is trusted, for many connections. Relative paths are
--- those of the working directory.
---
--- @param options  table  server          false     it is for servers
---                        cert            nil       path or text in PEM, the certificate first and
---                                                  its chain behind it; an array: one of each
---                                                  type (EC and RSA)
---                        key             nil       path or text in PEM; nil: it stands in `cert`
---                        passphrase      nil       of the key
---                        ca              "system"  what is trusted: "system", path, text or an
---                                                  array; servers trust nobody but for this
---                        crl             nil       lists of certificates that are revoked: path,
---                                                  text or an array; each issuer needs one then
---                        alpn            nil       protocols, the best first: {"http/1.1"}
---                        minVersion      "1.2"     or "1.3"
---                        maxVersion      "1.3"     or "1.2"
---                        ciphers         nil       of TLS 1.2, as OpenSSL names them. Default:
---                                                  with forward secrecy, authenticated
---                        cipherSuites    nil       of TLS 1.3
---                        curves          nil       such as "X25519:P-256"
---                        clientAuth      "none"    of servers: "request" or "require" the client's
---                                                  certificate, which must be trusted by `ca`
---                        verifyDepth     9         certificates between the peer's and a trusted
---                        insecure        false     clients: trust anybody; says so once, as a
---                                                  warning
---                        checkHost       true      clients: false: the certificate may be for
---                                                  another name
---                        sessionTickets  true      servers: clients come back without a whole
---                                                  handshake, while the certificate is the same;
---                                                  false: sessions are kept here
---                        ticketKeys      "shared"  a secret of the process's own, which its
---                                                  workers are given (LINKS_TICKET_SECRET, 64
---                                                  hexadecimal digits, in their environment); or
---                                                  a secret of 32 bytes or more, for several
---                                                  machines. The keys made of it change every 12
---                                                  hours
---                        watch           true      look for other contents of the files, every 400
---                                                  ms
---                        ktls            "auto"    the kernel encrypts what is written, where it
---                                                  has TLS 1.3 and the cipher, so that files do
---                                                  not pass through the process; elsewhere nothing
---                                                  changes. "auto": of servers; true: of clients
---                                                  too; false: never. Linux, with the module tls
---                                                  loaded. A peer that asks for new keys then, as
---                                                  none does in the first 100 GB, is broken off
---                        handshakeTimeout 10000    ms; 0: none
---                        sni             nil       other certificates by name: {["*.example.com"]
---                                                  = {cert =, key =}}, with other options if need
---                                                  be, or contexts; what they do not say is as
---                                                  here
---                        onServerName    nil       onServerName(name, from) for names that `sni`
---                                                  does not have: a context, nil for this one, or
---                                                  false to refuse; it may wait, the handshake
---                                                  does too. `from` has remoteAddress and
---                                                  remotePort
---                        rejectUnauthorized, requestCert  nil  Node.js's names
--- @return context        :stats() -> {handshakes, resumed, failed}
--- @return nil, err       TLS_CONFIG  a certificate, key or option is of no use (err.message)
---                        ENOENT, EACCES and others of a file
--- @raise                 an option of another type, or one that nobody knows
--- @wait
--- @usage local tls = require "tls"
--- local pair = tls.selfSigned("localhost")
--- local ctx = assert(tls.createContext { server = true, cert = pair.cert, key = pair.key })
--- local none, err = tls.createContext { server = true, cert = "nonsense -----BEGIN" }
--- assert(ctx and not none and err.name == "TLS_CONFIG")
function tls.createContext(options)
    local o = contexts.check("tls.createContext(options)", options)
    local ctx, err = contexts.new(o)
    return ctx, err
end

--- Starts a server, as tcp.createServer does. `onconnect` runs when the handshake is over.
---
--- @param port       integer   as for tcp.createServer
--- @param onconnect  function  onconnect(socket, server)
--- @param options    table     those of tcp.createServer and tls.createContext, and
---                             onError  nil  onError(err, socket) for connections whose handshake
---                                           has failed. Default: a warning tells how many have,
---                                           and of the last one why, once a minute at most; not
---                                           of clients that just leave, or say nothing
--- @return server              as of tcp.createServer, and :setTls(options), for the connections
---                             that come from then on: those of tls.createContext, and what they
---                             do not say stays as it was. It answers as tls.createContext does;
---                             where it fails all is as before
--- @return nil, err            as tcp.createServer and tls.createContext
--- @raise                      an argument or an option of another type, or one that nobody knows
--- @wait
--- @usage local tls = require "tls"
--- local pair = tls.selfSigned("localhost")
--- local server = assert(tls.createServer(0, function(socket)
---     for line in socket:lines() do socket:write(line:upper() .. "\n") end
--- end, { cert = pair.cert, key = pair.key }))
--- local port = server:address().port
--- local socket = assert(tls.connect(port, "localhost", { ca = pair.cert }))
--- socket:write("hello\n")
--- assert(socket:readline() == "HELLO")
--- socket:close()
--- server:close()
function tls.createServer(port, onconnect, options)
    local signature = "tls.createServer(port, onconnect, options)"
    check.type(signature, "onconnect", onconnect, "function")
    check.type(signature, "options", options, "table")
    local own, others = tls_servers.split(options)
    local on_error = others.onError
    check.type(signature, "options.onError", on_error, "function|nil")
    others.onError = nil
    local ctx, err = tls_servers.context(signature, own, 1)
    if not ctx then return nil, err end
    local server
    server, err = tcp._listen(signature, port, onconnect, others, {
        module = "tls",
        handshake = function(socket)
            local ok, failed = handshake.run(socket, ctx, nil, nil, others.proxyProtocol)
            if not ok and on_error then on_error(failed, socket) end
            return ok
        end,
    })
    if not server then
        if not own.context then ctx:stop() end
        return nil, err
    end
    if not on_error then tls_servers.tell_failures(ctx) end
    return tls_servers.own(server, ctx, own.context ~= nil)
end

--- Connects to a server that speaks TLS.
---
--- @param port     integer  as for tcp.connect
--- @param host     string   as for tcp.connect; what the server's certificate must be for
--- @param options  table    those of tcp.connect and tls.createContext, and
---                          serverName  host  what it must be for instead
---                          context     nil   of tls.createContext, for many connections: then the
---                                            other options of TLS but serverName and pin are its
---                                            own
---                          pin         nil   the SHA-256 of the certificate it must be, or an
---                                            array of them
--- @return socket
--- @return nil, err         as tcp.connect and socket:startTls
--- @raise                   an argument or an option of another type, or one that nobody knows
--- @wait
--- @usage local tls = require "tls"
--- local pair = tls.selfSigned("localhost")
--- local server = assert(tls.createServer(0, function() end, pair))
--- local none, err = tls.connect(server:address().port, "localhost")
--- assert(not none and err.name == "TLS_CERT_VERIFY")
--- server:close()
function tls.connect(port, host, options)
    local signature = "tls.connect(port, host[, options])"
    check.type(signature, "host", host, "string|nil")
    check.type(signature, "options", options, "table|nil")
    local own, others = tls_servers.split(options)
    own.server = nil
    local o = contexts.check(signature, own)
    -- Files that cannot be read are told of before anybody is called.
    local ctx, err = contexts.client(o)
    if not ctx then return nil, err end
    o.context = ctx
    local socket
    socket, err = tcp._connect(signature, port, host, others)
    if not socket then return nil, err end
    socket, err = handshake.connect(socket, o, host or "localhost")
    return socket, err
end

--- Makes a certificate that nobody trusts yet, and its key (EC, P-256): for trying things out, for
--- tests, and for servers whose clients know them by its fingerprint.
---
--- @param names    string|table  a name or a numeric address, or several. Default: {"localhost",
---                               "127.0.0.1", "::1"}
--- @param options  table         days  365  that it is valid for
--- @return table                 {cert =, key =}, texts in PEM, which are options of a server
--- @raise                        a name that no certificate can have
--- @usage local tls = require "tls"
--- assert(tls.certificate(tls.selfSigned("example.com").cert).san[1] == "DNS:example.com")
function tls.selfSigned(names, options)
    local signature = "tls.selfSigned([names, options])"
    check.type(signature, "names", names, "string|table|nil")
    local o = check.options(signature, options, {
        days = { default = 365, type = "integer", min = 1, max = 36500 },
    })
    if type(names) == "string" then names = { names } end
    local list = table.concat(names or { "localhost", "127.0.0.1", "::1" }, "\n")
    local out = ffi.new("const char *[1]")
    local n = C.links_cert_make(list, o.days, out)
    if n < 0 or list == "" or list:find("\0", 1, true) then
        error(signature .. " a certificate cannot be for " .. ("%q"):format(list), 2)
    end
    local text = ffi.string(out[0], n)
    local key, cert = text:match("^(.-%-%-%-%-%-END PRIVATE KEY%-%-%-%-%-\n)(.*)$")
    return { cert = cert, key = key }
end

--- What a certificate says.
---
--- @param pem  string  a certificate in PEM; only the first is looked at
--- @return table       as `peer` of socket:tlsInfo
--- @return nil, err    PARSE  there is no certificate in it
--- @raise              `pem` is no string
--- @usage local tls = require "tls"
--- local about = tls.certificate(tls.selfSigned("localhost").cert)
--- assert(about.subject == "CN=localhost" and about.notAfter > about.notBefore)
function tls.certificate(pem)
    check.type("tls.certificate(pem)", "pem", pem, "string")
    local about = inspect.certificate(pem)
    if about then return about end
    return nil, errors.new(errors.code("PARSE"), "certificate")
end

return tls
