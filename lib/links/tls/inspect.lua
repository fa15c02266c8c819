-- What there is to say of a certificate, and of a connection.
local ffi = require "ffi"
local errors = require "links.errors"
local binding = require "links.tls.ffi"

local C, CERT = binding.C, binding.CERT
local ffi_string = ffi.string
local PARSE = -errors.code("PARSE")

local out = ffi.new("const char *[1]")

local inspect = {}

-- What a certificate says; nil for what is none.
function inspect.certificate(pem)
    local about = { pem = pem }
    for name, what in pairs(CERT) do
        local n = C.links_cert_text(pem, #pem, what, out)
        if n == PARSE then return nil end
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

-- The certificates behind the peer's, each in PEM.
local function chain_of(handle)
    local list = {}
    for pem in (text(handle, binding.CHAIN) or ""):gmatch("%-+BEGIN.-%-+END[^\n]*\n") do
        list[#list + 1] = pem
    end
    return list
end

-- What there is to say of a connection.
function inspect.info(handle)
    local pem = text(handle, binding.PEER)
    return {
        version = text(handle, binding.VERSION),
        cipher = text(handle, binding.CIPHER),
        alpn = text(handle, binding.ALPN),
        serverName = text(handle, binding.SERVER_NAME),
        resumed = text(handle, binding.RESUMED) ~= nil,
        authorized = text(handle, binding.AUTHORIZED) ~= nil,
        ktls = text(handle, binding.KERNEL) ~= nil,
        peer = pem and inspect.certificate(pem) or nil,
        chain = pem and chain_of(handle) or nil,
    }
end

return inspect
