--- Cryptography: hashes, message authentication, random values, keys from passwords, authenticated
--- encryption, signatures and web tokens, by OpenSSL.
---
--- Hashes: "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3-256", "sha3-512",
--- "blake2b512", "blake2s256". The first two are broken for signatures and passwords, and are here
--- for protocols that are made of them.
---
--- Keys from passwords are described in crypto.keys, encryption in crypto.seal, signatures in
--- crypto.sign, web tokens in crypto.jwt; they are functions of this module.
local ffi = require "ffi"
local check = require "links.check"
local codec = require "links.codec"
local errors = require "links.errors"
local room = require "links.scratch"
local algs = require "links.crypto.algs"
local C = require "links.crypto.ffi"

local ffi_string = ffi.string
local type = type

local crypto = {}

local RANDOM_MAX = 2 ^ 20
local UNSUPPORTED = errors.code("UNSUPPORTED")
local ALGS, alg_of = algs.numbers, algs.number

local digest = ffi.new("uint8_t[64]")

local ENCODINGS = {
    raw = function(s) return s end,
    hex = codec.hex.encode,
    base64 = codec.base64.encode,
    base64url = codec.base64url.encode,
}

local function encoder(signature, encoding)
    local encode = ENCODINGS[encoding or "hex"]
    if encode then return encode end
    error(signature .. ' encoding must be "hex", "base64", "base64url" or "raw"', 3)
end

-- What C answers after the arguments have been checked is a length.
local function finish(n, encode)
    if n < 0 then error(errors.new(n, "crypto"), 3) end
    return encode(ffi_string(digest, n))
end

local HASH = "crypto.hash(alg, data[, encoding])"

--- Hashes a text at once: 64 KiB in about 0.1 ms. What is larger than the memory comes in pieces:
--- crypto.hasher.
---
--- @param alg       string  "sha256" and others: see above
--- @param data      string  the bytes
--- @param encoding  string  "hex", "base64", "base64url" or "raw". Default: "hex"
--- @return string           the digest
--- @raise                   an argument of another type; a hash or an encoding that nobody knows
--- @usage local crypto = require "crypto"
--- assert(crypto.hash("sha1", "abc") == "a9993e364706816aba3e25717850c26c9cd0d89d")
function crypto.hash(alg, data, encoding)
    local number = ALGS[alg]
    if not number or number < 0 then number = alg_of(HASH, alg, 1) end
    if type(data) ~= "string" then check.type(HASH, "data", data, "string") end
    local encode = encoder(HASH, encoding)
    return (finish(C.links_crypto_hash(number, data, #data, digest), encode))
end

local HMAC = "crypto.hmac(alg, key, data[, encoding])"

--- Authenticates a text by a key (HMAC, RFC 2104).
---
--- @param alg       string  the hash in it: "sha256" and others
--- @param key       string  the key, of any length
--- @param data      string  the bytes
--- @param encoding  string  as for crypto.hash. Default: "hex"
--- @return string           the code; compare it by crypto.equal
--- @raise                   as for crypto.hash
--- @usage local crypto = require "crypto"
--- local code = crypto.hmac("md5", "Jefe", "what do ya want for nothing?")
--- assert(code == "750c783e6ab0b503eaa86e310a5db738")
function crypto.hmac(alg, key, data, encoding)
    local number = ALGS[alg]
    if not number or number < 0 then number = alg_of(HMAC, alg, 1) end
    if type(key) ~= "string" then check.type(HMAC, "key", key, "string") end
    if type(data) ~= "string" then check.type(HMAC, "data", data, "string") end
    local encode = encoder(HMAC, encoding)
    return (finish(C.links_crypto_hmac(number, key, #key, data, #data, digest), encode))
end

local Hasher = { __name = "hasher" }
Hasher.__index = Hasher

--- Hashes what comes in pieces.
---
--- @param alg  string  "sha256" and others
--- @param key  string  with it the result is an HMAC. Default: nil
--- @return hasher      :update(data) :final([encoding])
--- @raise              an argument of another type; a hash that nobody knows
--- @usage local crypto = require "crypto"
--- local h = crypto.hasher("sha256"):update("hello "):update("world")
--- assert(h:final() == crypto.hash("sha256", "hello world"))
function crypto.hasher(alg, key)
    local signature = "crypto.hasher(alg[, key])"
    local number = alg_of(signature, alg, 1)
    check.type(signature, "key", key, "string|nil")
    local handle = C.links_hasher_new(number, key, key and #key or 0)
    if handle == nil then error(errors.new(UNSUPPORTED, "crypto"), 2) end
    return setmetatable({ _h = ffi.gc(handle, C.links_hasher_free) }, Hasher)
end

--- Puts a piece in.
---
--- @param data  string  the piece
--- @return hasher       itself
--- @raise               `data` is no string; the digest has been given already
function Hasher:update(data)
    check.type("hasher:update(data)", "data", data, "string")
    if C.links_hasher_update(self._h, data, #data) < 0 then
        error("hasher:update(data) its digest has been given already", 2)
    end
    return self
end

--- Gives the digest, once.
---
--- @param encoding  string  as for crypto.hash. Default: "hex"
--- @return string           the digest
--- @raise                   an encoding that nobody knows; the digest has been given already
function Hasher:final(encoding)
    local encode = encoder("hasher:final([encoding])", encoding)
    local n = C.links_hasher_final(self._h, digest)
    if n < 0 then error("hasher:final([encoding]) the digest has been given already", 2) end
    return encode(ffi_string(digest, n))
end

--- The checksum CRC-32, as zlib.crc32: it finds accidents, not attackers.
---
--- @param data  string   the bytes
--- @param sum   integer  of what comes before them. Default: 0
--- @return integer
--- @raise                an argument of another type
--- @usage assert(require("crypto").crc32("123456789") == 0xcbf43926)
function crypto.crc32(data, sum)
    local signature = "crypto.crc32(data[, sum])"
    check.type(signature, "data", data, "string")
    if sum ~= nil then check.integer(signature, "sum", sum, 0, 2 ^ 32 - 1) end
    return require("links.zlib").crc32(data, sum)
end

--- Random bytes fit for keys.
---
--- @param n  integer  how many, 0 to 1048576
--- @return string     the bytes
--- @raise             `n` is no such integer; the system has no random bytes (EIO)
--- @usage local crypto = require "crypto"
--- assert(#crypto.randomBytes(16) == 16 and crypto.randomBytes(16) ~= crypto.randomBytes(16))
function crypto.randomBytes(n)
    check.integer("crypto.randomBytes(n)", "n", n, 0, RANDOM_MAX)
    local out = n <= 64 and digest or room(n)
    local rc = C.links_crypto_random(out, n)
    if rc < 0 then error(errors.new(rc, "random"), 2) end
    return ffi_string(out, n)
end

--- A new identifier (RFC 9562): of version 4 nothing but random, of version 7 in the order in which
--- they were made, which databases like.
---
--- @param version  integer  4 or 7. Default: 4
--- @return string           36 characters, such as "0190163d-8694-739b-aea5-966c26f8ad91"
--- @raise                   another version; the system has no random bytes (EIO)
--- @usage local crypto = require "crypto"
--- assert(crypto.uuid():match("^%x+%-%x+%-4%x+%-%x+%-%x+$"))
--- assert(crypto.uuid(7) < crypto.uuid(7))
function crypto.uuid(version)
    if version == nil then version = 4 end
    if version ~= 4 and version ~= 7 then
        error("crypto.uuid([version]) version must be 4 or 7", 2)
    end
    local rc = C.links_crypto_uuid(version, ffi.cast("char *", digest))
    if rc < 0 then error(errors.new(rc, "random"), 2) end
    return ffi_string(digest, 36)
end

--- Whether two texts are the same, in a time that does not tell how much of them is: what a secret
--- must be compared by. Their lengths are not secret.
---
--- @param a  string
--- @param b  string
--- @return boolean
--- @raise           one of them is no string
--- @usage local crypto = require "crypto"
--- assert(crypto.equal("secret", "secret") and not crypto.equal("secret", "sEcret"))
function crypto.equal(a, b)
    if type(a) ~= "string" then check.type("crypto.equal(a, b)", "a", a, "string") end
    if type(b) ~= "string" then check.type("crypto.equal(a, b)", "b", b, "string") end
    return #a == #b and C.links_crypto_equal(a, b, #a) == 1
end

--- What a certificate says, as tls.certificate.
---
--- @param pem  string  a certificate in PEM; only the first is looked at
--- @return table       subject, issuer, commonName, san, notBefore, notAfter, serial,
---                     fingerprint256, pem
--- @return nil, err    PARSE  there is no certificate in it
--- @raise              `pem` is no string
--- @usage local crypto = require "crypto"
--- local none, err = crypto.x509("no certificate")
--- assert(not none and err.name == "PARSE")
function crypto.x509(pem)
    check.type("crypto.x509(pem)", "pem", pem, "string")
    local about, err = require("links.tls").certificate(pem)
    return about, err
end

for _, part in ipairs { "keys", "seal", "sign", "jwt" } do
    for name, fn in pairs(require("links.crypto." .. part)) do crypto[name] = fn end
end

return crypto
