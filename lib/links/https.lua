--- HTTPS: the servers of http over TLS, and its clients.
---
--- Everything is as in http; the options of TLS (tls.createContext) stand among the others.
local http = require "links.http"
local servers = require "links.tls.server"

local https = {}

--- Starts a server, as http.createServer does, that speaks TLS. A request tells by `req.tls` what
--- it came by, as socket:tlsInfo does, and by `req.scheme` that it is "https". Of handshakes that
--- fail a warning tells, as in tls.createServer without `onError`.
---
--- @param port     integer|table  as for http.createServer
--- @param handler  function       as for http.createServer
--- @param options  table          those of http.createServer and tls.createContext, `cert` and
---                                `key` above all. Default of alpn: {"http/1.1"}
--- @return server                 as of http.createServer, and :setTls(options), as of
---                                tls.createServer; `server.tls` is its context
--- @return nil, err               as http.createServer and tls.createContext
--- @raise                         an argument or an option of another type or out of bounds, or one
---                                that nobody knows
--- @wait
--- @usage local https = require "https"
--- local tls = require "tls"
--- local pair = tls.selfSigned("localhost")
--- local server = assert(https.createServer(0, function(req)
---     return req.scheme .. " by " .. req.tls.version
--- end, { host = "127.0.0.1", cert = pair.cert, key = pair.key }))
--- local socket = assert(tls.connect(server:address().port, "localhost", { ca = pair.cert }))
--- socket:write("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
--- assert(socket:readAll():find("https by TLSv1.3", 1, true))
--- server:close()
function https.createServer(port, handler, options)
    require("links.check").type("https.createServer(port, handler, options)", "options", options,
        "table")
    local own, others = servers.split(options)
    if own.alpn == nil then own.alpn = { "http/1.1" } end
    others.tls = own
    return http.createServer(port, handler, others)
end

--- A middleware for routes that are only for clients with a certificate. The server has clientAuth
--- = "request" and `ca`: who comes without one may see the other routes.
---
--- @param accept  function  accept(peer, req) of the certificate, as req.tls.peer: nil or false
---                          refuses. Default: any that is trusted
--- @return function         middleware; others get 403
--- @raise                   `accept` is no function
--- @usage local http, https = require "http", require "https"
--- local app = http.router()
--- app:get("/", function() return "for all" end)
--- app:get("/admin", https.clientCert(function(peer) return peer.commonName == "ann" end),
---     function(req) return "hello " .. req.tls.peer.commonName end)
--- assert(app:call("GET", "/admin") == 403)
function https.clientCert(accept)
    require("links.check").type("https.clientCert([accept])", "accept", accept, "function|nil")
    return function(req, _, next)
        local about = req.tls
        if not about or not about.authorized then return 403 end
        if accept and not accept(about.peer, req) then return 403 end
        return next()
    end
end

-- The clients of http know by the URL that they have to speak TLS.
setmetatable(https, { __index = function(_, name) return http[name] end })

return https
