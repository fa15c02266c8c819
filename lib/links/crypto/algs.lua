-- The hashes of crypto by name.
local check = require "links.check"
local errors = require "links.errors"
local C = require "links.crypto.ffi"

local NOT_FOUND, UNSUPPORTED = -errors.code("NOT_FOUND"), -errors.code("UNSUPPORTED")

local algs = {}

-- The numbers of the hashes by name.
local ALGS = setmetatable({}, { __index = function(numbers, name)
    if type(name) ~= "string" then return nil end
    local alg = C.links_crypto_alg(name)
    if alg >= 0 then numbers[name] = alg end
    return alg
end })

local NAMES = {}
for _, name in ipairs {
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3-256", "sha3-512", "blake2b512",
    "blake2s256",
} do
    NAMES[name] = true
end

-- The number of a hash; raises for a name that nobody knows. `level` as in links.check.
function algs.number(signature, name, level)
    check.type(signature, "alg", name, "string", level + 1)
    local alg = ALGS[name]
    if alg >= 0 then return alg end
    local why = alg == UNSUPPORTED and "OpenSSL here does without the hash" or "unknown hash"
    local near = alg == NOT_FOUND and check.nearest(name, NAMES)
    error(("%s %s %q%s"):format(signature, why, name,
        near and (' (did you mean "' .. near .. '"?)') or ""), level + 2)
end

algs.numbers = ALGS

return algs
