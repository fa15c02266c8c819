--- Signatures: functions of crypto. Who has the private key signs, whoever has the public one can
--- tell.
---
--- Ways to sign, the `alg` of these functions: "ed25519"; "ecdsa-sha256", "ecdsa-sha384" and
--- "ecdsa-sha512", in DER, as certificates and openssl have them; "rsa-sha256" and so on (PKCS #1
--- 1.5); "rsa-pss-sha256" and so on. Those of JOSE (RFC 7518, RFC 8037) are "EdDSA", "ES256",
--- "ES384", "ES512", which are ECDSA with its two numbers one behind the other, "RS256" and so on,
--- "PS256" and so on.
---
--- A key is a text in PEM (a certificate does for a public one), or what crypto.key has made of it.
--- Keys of RSA have 2048 bits or more, the curves are P-256, P-384 and P-521.
local ffi = require "ffi"
local check = require "links.check"
local codec = require "links.codec"
local core = require "links.core"
local errors = require "links.errors"
local C = require "links.crypto.ffi"
local signing = require "links.crypto.signing"

local crypto = {}

local AGAIN = -19999
local Key = signing.Key

--- Reads a key: the first one in a text.
---
--- @param pem         string  a private key in PEM, a public one, or a certificate
--- @param passphrase  string  of a private one that is encrypted. Default: nil
--- @return key                `type` ("rsa", "ec", "ed25519", "other"), `bits`, `private`, and
---                            :pem() -> the key in PEM, :publicPem() -> its public part
--- @return nil, err           PARSE  there is no key in it, or the passphrase is another
--- @raise                     an argument is no string
--- @usage local crypto = require "crypto"
--- local pair = assert(crypto.generateKey("ed25519"))
--- local key = assert(crypto.key(pair.privateKey))
--- assert(key.private and key:publicPem() == pair.publicKey)
function crypto.key(pem, passphrase)
    local signature = "crypto.key(pem[, passphrase])"
    check.type(signature, "pem", pem, "string")
    check.type(signature, "passphrase", passphrase, "string|nil")
    local key, err = signing.read(pem, passphrase)
    return key, err
end

local pem_out = ffi.new("const char *[1]")

local function pem_of(handle, is_private)
    local n = C.links_key_pem(handle, is_private and 1 or 0, pem_out)
    if n < 0 then error(errors.new(n, "key"), 3) end
    return ffi.string(pem_out[0], n)
end

--- The key in PEM, not encrypted.
---
--- @return string  a private key, where it is one
function Key:pem() return (pem_of(self._h, self.private)) end

--- Its public part in PEM.
---
--- @return string
function Key:publicPem() return (pem_of(self._h, false)) end

-- --- signing --------------------------------------------------------------------------------

local ENCODINGS = {
    raw = function(s) return s end,
    hex = codec.hex.encode,
    base64 = codec.base64.encode,
    base64url = codec.base64url.encode,
}

--- Signs a text. RSA takes some milliseconds for large keys, the others some ten microseconds.
---
--- @param alg       string      how: see above
--- @param key       string|key  the private key
--- @param data      string      what to sign
--- @param encoding  string      "raw", "hex", "base64" or "base64url". Default: "raw"
--- @return string               the signature
--- @return nil, err             PARSE  there is no key in the text
---                              TYPE   the key is a public one, too short, or of another kind than
---                                     `alg`
--- @raise                       an argument of another type; an alg or an encoding that nobody
---                              knows
--- @usage local crypto = require "crypto"
--- local pair = assert(crypto.generateKey("p-256"))
--- local signature = assert(crypto.sign("ES256", pair.privateKey, "attack at dawn"))
--- assert(crypto.verify("ES256", pair.publicKey, "attack at dawn", signature))
function crypto.sign(alg, key, data, encoding)
    local signature = "crypto.sign(alg, key, data[, encoding])"
    local way = signing.way(signature, alg)
    check.type(signature, "data", data, "string")
    local encode = ENCODINGS[encoding or "raw"]
    if not encode then
        error(signature .. ' encoding must be "raw", "hex", "base64" or "base64url"', 2)
    end
    local found, err = signing.key(signature, key)
    if not found then return nil, err end
    local made
    made, err = signing.sign(alg, way, found, data)
    if not made then return nil, err end
    return encode(made)
end

--- Whether a text was signed with the private key that belongs to this one.
---
--- @param alg        string      how: see above
--- @param key        string|key  the public key, or the private one
--- @param data       string      what was signed
--- @param signature  string      raw bytes
--- @return boolean               it was; false also for a signature that is none
--- @return nil, err              PARSE  there is no key in the text
---                               TYPE   the key is too short, or of another kind than `alg`
--- @raise                        an argument of another type; an alg that nobody knows
--- @usage local crypto = require "crypto"
--- local pair = assert(crypto.generateKey("ed25519"))
--- assert(crypto.verify("ed25519", pair.publicKey, "data", "no signature") == false)
function crypto.verify(alg, key, data, signature)
    local name = "crypto.verify(alg, key, data, signature)"
    local way = signing.way(name, alg)
    check.type(name, "data", data, "string")
    check.type(name, "signature", signature, "string")
    local found, err = signing.key(name, key)
    if not found then return nil, err end
    local good
    good, err = signing.verify(alg, way, found, data, signature)
    return good, err
end

-- --- making keys ----------------------------------------------------------------------------

local MADE = {
    ed25519 = { 3, 256 },
    ["p-256"] = { 2, 256 }, ["p-384"] = { 2, 384 }, ["p-521"] = { 2, 521 },
    rsa = { 1, 2048 }, ["rsa-2048"] = { 1, 2048 }, ["rsa-3072"] = { 1, 3072 },
    ["rsa-4096"] = { 1, 4096 },
}
MADE.ec = MADE["p-256"]

local function make(kind, bits)
    local keygen = ffi.new("links_keygen *[1]")
    local rc = C.links_keygen_start(keygen, kind, bits)
    if rc < 0 then return nil, errors.new(rc, "generateKey") end
    local handle = ffi.gc(keygen[0], C.links_keygen_free)
    local made = ffi.new("links_key *[1]")
    local status = 0
    rc = C.links_keygen_result(handle, made)
    while rc == AGAIN and status == 0 do
        status = core.wait()
        if status == 0 then rc = C.links_keygen_result(handle, made) end
    end
    C.links_keygen_free(ffi.gc(handle, nil))
    if status ~= 0 then rc = status end
    if rc < 0 then return nil, errors.new(rc, "generateKey") end
    return ffi.gc(made[0], C.links_key_free)
end

--- Makes a key, on a thread: one of RSA takes from a tenth of a second to some seconds.
---
--- @param kind  string  "ed25519"; "p-256" (also "ec"), "p-384", "p-521"; "rsa" (of 2048 bits),
---                      "rsa-3072", "rsa-4096"
--- @return table        {privateKey =, publicKey =}, texts in PEM
--- @return nil, err     POOL_FULL  too much waits for the threads already
---                      ECANCELED  the task was cancelled
---                      EIO        the system has no random bytes
--- @raise               another kind
--- @wait
--- @usage local pair = assert(require("crypto").generateKey("ed25519"))
--- assert(pair.privateKey:find("-----BEGIN PRIVATE KEY-----", 1, true))
function crypto.generateKey(kind)
    local signature = "crypto.generateKey(kind)"
    check.type(signature, "kind", kind, "string")
    local about = MADE[kind]
    if not about then
        local near = check.nearest(kind, MADE)
        error(("%s unknown kind %q%s"):format(signature, kind,
            near and (' (did you mean "' .. near .. '"?)') or ""), 2)
    end
    local handle, err = make(about[1], about[2])
    if not handle then return nil, err end
    return { privateKey = pem_of(handle, true), publicKey = pem_of(handle, false) }
end

return crypto
