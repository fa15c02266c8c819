-- Certificates for the specs, made by the openssl command: an authority, what it has signed, and
-- its list of what is revoked.
local fs = require "fs"
local process = require "process"

local certs = {}

local CONFIG = [[
[ca]
default_ca = own
[own]
dir = %s
database = $dir/index
new_certs_dir = $dir
serial = $dir/serial
crlnumber = $dir/crlnumber
default_md = sha256
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = name
prompt = no
[name]
CN = unused
]]

function certs.available()
    local done = process.run("openssl", { "version" })
    return done and done.code == 0
end

-- Runs the command in a folder: what it prints.
function certs.openssl(dir, ...)
    local done = assert(process.run("openssl", { ... }, { cwd = dir }))
    assert(done.code == 0, done.stderr)
    return done.stdout
end

local openssl = certs.openssl

local Authority = {}
Authority.__index = Authority

local function read(dir, name) return assert(fs.readFile(dir .. "/" .. name)) end

-- An authority makes its own certificate...
local function begin(dir, name)
    openssl(dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=" .. name,
        "-addext", "keyUsage=critical,keyCertSign,cRLSign")
end

-- ... or gets it from another one.
local function begin_by(dir, name, parent)
    local own = parent:issue(name, { extension = "basicConstraints=critical,CA:TRUE" })
    assert(fs.writeFile(dir .. "/ca.pem", own.cert))
    assert(fs.writeFile(dir .. "/ca.key", own.key))
end

-- An authority with its own folder, by itself or below another one; :close() removes it.
function certs.authority(name, parent)
    local dir = assert(fs.tempDir())
    local self = setmetatable({ dir = dir, count = 0 }, Authority)
    assert(fs.writeFile(dir .. "/config", CONFIG:format(dir)))
    assert(fs.writeFile(dir .. "/index", ""))
    assert(fs.writeFile(dir .. "/serial", "1000\n"))
    assert(fs.writeFile(dir .. "/crlnumber", "01\n"))
    if parent then begin_by(dir, name, parent) else begin(dir, name) end
    self.cert = read(dir, "ca.pem")
    return self
end

-- A certificate and its key, in PEM. options: san, from and to ("20200101000000Z"), type ("rsa"),
-- extension.
function Authority:issue(name, options)
    options = options or {}
    self.count = self.count + 1
    local file = "c" .. self.count
    local kind = options.type == "rsa" and { "rsa:2048" }
        or { "ec", "-pkeyopt", "ec_paramgen_curve:P-256" }
    if options.extension then
        kind[#kind + 1] = "-addext"
        kind[#kind + 1] = options.extension
    end
    openssl(self.dir, "req", "-new", "-nodes", "-keyout", file .. ".key", "-out", file .. ".csr",
        "-subj", "/CN=" .. name, "-addext", "subjectAltName=" .. (options.san or "DNS:" .. name),
        "-newkey", unpack(kind))
    local dates = options.from and { "-startdate", options.from, "-enddate", options.to }
        or { "-days", "20" }
    openssl(self.dir, "ca", "-batch", "-notext", "-config", "config", "-cert", "ca.pem",
        "-keyfile", "ca.key", "-in", file .. ".csr", "-out", file .. ".pem", unpack(dates))
    return {
        cert = read(self.dir, file .. ".pem"), key = read(self.dir, file .. ".key"),
        file = self.dir .. "/" .. file,
    }
end

function Authority:revoke(pair)
    openssl(self.dir, "ca", "-config", "config", "-cert", "ca.pem", "-keyfile", "ca.key",
        "-revoke", pair.file .. ".pem")
end

-- The list of what is revoked, in PEM.
function Authority:crl()
    openssl(self.dir, "ca", "-config", "config", "-cert", "ca.pem", "-keyfile", "ca.key",
        "-gencrl", "-out", "crl.pem")
    return read(self.dir, "crl.pem")
end

function Authority:close()
    fs.remove(self.dir, { recursive = true })
end

return certs
