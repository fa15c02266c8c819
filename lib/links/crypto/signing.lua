-- Keys and ways to sign, for crypto.sign and crypto.jwt.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local algs = require "links.crypto.algs"
local C = require "links.crypto.ffi"

local signing = {}

local TYPE = -errors.code("TYPE")
local ED25519, ECDSA, ECDSA_RAW, RSA, RSA_PSS = 0, 1, 2, 3, 4
local KINDS = { [1] = "rsa", [2] = "ec", [3] = "ed25519" }
local KEYS_KEPT = 64

-- --- ways to sign ---------------------------------------------------------------------------

local WAYS = { ed25519 = { how = ED25519, kind = "ed25519" } }
WAYS.EdDSA = WAYS.ed25519
for _, bits in ipairs { "256", "384", "512" } do
    local hash = "sha" .. bits
    WAYS["ecdsa-" .. hash] = { how = ECDSA, hash = hash, kind = "ec" }
    WAYS["ES" .. bits] = { how = ECDSA_RAW, hash = hash, kind = "ec" }
    WAYS["rsa-" .. hash] = { how = RSA, hash = hash, kind = "rsa" }
    WAYS["RS" .. bits] = WAYS["rsa-" .. hash]
    WAYS["rsa-pss-" .. hash] = { how = RSA_PSS, hash = hash, kind = "rsa" }
    WAYS["PS" .. bits] = WAYS["rsa-pss-" .. hash]
end

-- What a way is; raises for one that nobody knows, and blames the caller of the public function.
function signing.way(signature, alg)
    check.type(signature, "alg", alg, "string", 2)
    local way = WAYS[alg]
    if not way then
        local near = check.nearest(alg, WAYS)
        error(("%s unknown alg %q%s"):format(signature, alg,
            near and (' (did you mean "' .. near .. '"?)') or ""), 3)
    end
    if way.hash and not way.number then way.number = algs.number(signature, way.hash, 2) end
    return way
end

-- --- keys -----------------------------------------------------------------------------------

local Key = { __name = "key" }
Key.__index = Key
signing.Key = Key

-- What is secret must not get into a log.
function Key:__tostring()
    return ("key: %s, %d bits, %s"):format(self.type, self.bits,
        self.private and "private" or "public")
end

local function wrap(handle)
    return setmetatable({
        _h = handle, type = KINDS[handle.kind] or "other", bits = handle.bits,
        private = handle.is_private == 1,
    }, Key)
end

local key_out = ffi.new("links_key *[1]")

function signing.read(pem, passphrase)
    local rc = C.links_key_read(key_out, pem, #pem, passphrase)
    if rc == 0 then return wrap(ffi.gc(key_out[0], C.links_key_free)) end
    return nil, errors.new(rc, "key", { message = passphrase and
        "no key in PEM, or another passphrase" or "no key in PEM" })
end

-- Those that came as texts: reading one takes longer than signing by it.
local kept, nkept = {}, 0

-- A key, or the one in a text; raises for anything else.
function signing.key(signature, key)
    if getmetatable(key) == Key then return key end
    if type(key) ~= "string" then check.type(signature, "key", key, "string|table", 2) end
    if type(key) == "table" then
        error(signature .. " key must be a text in PEM, or of crypto.key", 3)
    end
    if kept[key] then return kept[key] end
    local found, err = signing.read(key)
    if not found then return nil, err end
    if nkept == KEYS_KEPT then kept, nkept = {}, 0 end
    kept[key], nkept = found, nkept + 1
    return found
end

-- --- signing --------------------------------------------------------------------------------

local out = ffi.new("uint8_t[2048]")

local function misfit(rc, alg, key)
    if rc ~= TYPE then return nil, errors.new(rc, "sign") end
    return nil, errors.new(rc, "sign", { message = ("%q does not go with the %s"):format(alg,
        tostring(key)) })
end

function signing.sign(alg, way, key, data)
    local n = C.links_key_sign(key._h, way.how, way.number or 0, data, #data, out)
    if n < 0 then return misfit(n, alg, key) end
    return ffi.string(out, n)
end

function signing.verify(alg, way, key, data, signature)
    local rc = C.links_key_verify(key._h, way.how, way.number or 0, data, #data, signature,
        #signature)
    if rc < 0 then return misfit(rc, alg, key) end
    return rc == 1
end

return signing
