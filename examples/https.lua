-- HTTPS with a certificate of its own making, which it leaves in a file for its clients to trust:
--
--   ./links examples/https.lua 8443 cert.pem
--   curl --cacert cert.pem https://localhost:8443/
--
-- A server that people use has one of an authority: cert = "fullchain.pem", key = "privkey.pem".
-- The files are watched, so the certificate that comes after it is served without a restart.
local fs = require "fs"
local https = require "https"
local tls = require "tls"

local port, path = tonumber(arg[1] or 8443), arg[2] or "cert.pem"
local pair = tls.selfSigned { "localhost", "127.0.0.1", "::1" }
assert(fs.writeFile(path, pair.cert))

local server = assert(https.createServer(port, function(req)
    return ("hello over %s, %s\n"):format(req.tls.version, req.tls.cipher)
end, { cert = pair.cert, key = pair.key, plainHttp = "redirect" }))

print("https://localhost:" .. server:address().port .. "/")
io.stdout:flush()
