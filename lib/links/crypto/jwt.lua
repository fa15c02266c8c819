--- JSON web tokens (RFC 7519), signed: functions of crypto.jwt. Anybody can read what is in one;
--- who has the key can tell that it is genuine.
---
--- Algorithms are "HS256", "HS384" and "HS512" by a secret, and those of JOSE in crypto.sign by a
--- pair of keys: "EdDSA", "ES256", "RS256", "PS256" and their kin. A token does not choose how it
--- is verified: the algorithm must be one that `algs` allows, or else one that the key is for.
--- "none" is never one.
local check = require "links.check"
local codec = require "links.codec"
local errors = require "links.errors"
local json = require "links.json"
local signing = require "links.crypto.signing"

local crypto = { jwt = {} }

local encode64, decode64 = codec.base64url.encode, codec.base64url.decode
local TOKEN_MAX = 65536

local ENCODE_OPTIONS = {
    header = { type = "table|nil" },
    expiresIn = { type = "timeout" },
}
local DECODE_OPTIONS = {
    algs = { type = "table|nil" },
    issuer = { type = "string|table|nil" },
    audience = { type = "string|table|nil" },
    subject = { type = "string|nil" },
    maxAge = { type = "timeout" },
    leeway = { default = 0, type = "timeout" },
    time = { type = "number|nil" },
}

-- The hashes of secrets, and how many bytes these must have (RFC 7518, 3.2).
local SECRETS = {
    HS256 = { hash = "sha256", bytes = 32 },
    HS384 = { hash = "sha384", bytes = 48 },
    HS512 = { hash = "sha512", bytes = 64 },
}

-- What a key is for where nobody says more.
local FITTING = {
    ed25519 = { "EdDSA" },
    ec = { [256] = { "ES256" }, [384] = { "ES384" }, [521] = { "ES512" } },
    rsa = { "RS256", "RS384", "RS512", "PS256", "PS384", "PS512" },
    secret = { "HS256", "HS384", "HS512" },
}

local function failure(name, message)
    return nil, errors.new(errors.code(name), "jwt", { message = message })
end

-- --- keys -----------------------------------------------------------------------------------

-- A secret as it is; what is a key of a pair as one.
local function key_of(signature, key)
    if type(key) == "string" and not key:find("-----BEGIN ", 1, true) then return key end
    return signing.key(signature, key)
end

local function is_joses(alg)
    return alg == "EdDSA" or (alg:find("^[ERP]S%d+$") ~= nil)
end

-- How `alg` signs: an entry of SECRETS, or a way; raises for what is none, blaming the caller.
local function way_of(signature, alg)
    check.type(signature, "alg", alg, "string", 2)
    if SECRETS[alg] then return SECRETS[alg] end
    if is_joses(alg) then return signing.way(signature, alg) end
    error(("%s alg must be one of JOSE, such as \"HS256\", \"ES256\" or \"EdDSA\", not %q")
        :format(signature, alg), 3)
end

local function check_secret(signature, alg, way, key, level)
    if #key < way.bytes then
        error(("%s a secret for %s must have %d bytes or more"):format(signature, alg, way.bytes),
            level + 2)
    end
end

local function hmac(way, secret, text)
    return require("links.crypto").hmac(way.hash, secret, text, "raw")
end

-- --- making one -------------------------------------------------------------------------------

local ENCODE = "crypto.jwt.encode(claims, key[, alg, options])"

local function now() return require("links.system").now() end

local function claims_of(claims, options)
    if not options.expiresIn then return claims end
    local all, seconds = {}, math.floor(now() / 1000)
    for name, value in pairs(claims) do all[name] = value end
    all.iat = all.iat or seconds
    all.exp = math.floor((now() + options.expiresIn) / 1000)
    return all
end

local function best_of(key)
    if type(key) == "string" then return "HS256" end
    local list = FITTING[key.type]
    return list and (list[key.bits] or list)[1]
end

--- Makes a token.
---
--- @param claims   table       what it says: iss, sub, aud, exp, nbf, iat (times in seconds since
---                             1970, as RFC 7519 has them), and whatever else
--- @param key      string|key  a secret of 32 bytes or more (48 for HS384, 64 for HS512), or a
---                             private key as crypto.sign takes it
--- @param alg      string      Default: HS256, or what the key is for
--- @param options  table       header     nil  more fields of the head: {kid = "2026-01"}
---                             expiresIn  nil  ms: sets exp, and iat where it is not there
--- @return string              the token
--- @return nil, err            PARSE  there is no key in the text
---                             TYPE   the key is public, or does not go with `alg`; a claim that
---                                    JSON does not have
--- @raise                      an argument of another type; an alg that nobody knows; a secret that
---                             is too short for it
--- @usage local crypto = require "crypto"
--- local secret = crypto.randomBytes(32)
--- local token = assert(crypto.jwt.encode({ sub = "ann" }, secret, "HS256", { expiresIn = 60000 }))
--- assert(crypto.jwt.decode(token, secret).sub == "ann")
function crypto.jwt.encode(claims, key, alg, options)
    check.type(ENCODE, "claims", claims, "table")
    local o = check.options(ENCODE, options, ENCODE_OPTIONS)
    local with, err = key_of(ENCODE, key)
    if not with then return nil, err end
    alg = alg or best_of(with)
    if not alg then return failure("TYPE", "no algorithm goes with the " .. tostring(with)) end
    local way = way_of(ENCODE, alg)
    if (way.bytes ~= nil) ~= (type(with) == "string") then
        return failure("TYPE", ("%q does not go with such a key"):format(alg))
    end
    local head = { typ = "JWT" }
    for name, value in pairs(o.header or {}) do head[name] = value end
    head.alg = alg
    local first, second
    first, err = json.encode(json.object(head))
    if first then second, err = json.encode(json.object(claims_of(claims, o))) end
    if not second then return nil, err end
    local text = encode64(first) .. "." .. encode64(second)
    local signature
    if way.bytes then
        check_secret(ENCODE, alg, way, with, 1)
        signature = hmac(way, with, text)
    else
        signature, err = signing.sign(alg, way, with, text)
        if not signature then return nil, err end
    end
    return text .. "." .. encode64(signature)
end

-- --- reading one ------------------------------------------------------------------------------

local DECODE = "crypto.jwt.decode(token, key[, options])"

local function object_of(part)
    local text = decode64(part)
    local value = text and not part:find("=", 1, true) and json.decode(text)
    if type(value) == "table" and not json.isArray(value) then return value end
    -- An empty object is an empty table, which might be an array too.
    return text == "{}" and {} or nil
end

local function is_one_of(list, value)
    for _, each in ipairs(list) do
        if each == value then return true end
    end
    return false
end

local function allowed(o, key, alg)
    if o.algs then return is_one_of(o.algs, alg) end
    local list = FITTING[type(key) == "string" and "secret" or key.type] or {}
    if type(key) ~= "string" then list = list[key.bits] or list end
    return is_one_of(list, alg)
end

-- The key for a token: what was given, or what a function or a table has for its head.
local function key_for(key, head)
    if type(key) == "function" then
        local found, err = key(head)
        if found == nil and err ~= nil then return nil, err end
        if found == nil then return failure("NOT_FOUND", "nobody has a key for the token") end
        key = found
    elseif type(key) == "table" and getmetatable(key) ~= signing.Key then
        key = type(head.kid) == "string" and key[head.kid] or nil
        if key == nil then return failure("NOT_FOUND", "no key has the token's kid") end
    end
    return key_of(DECODE, key)
end

local function verify(o, key, head, text, signature)
    local alg = head.alg
    if type(alg) ~= "string" or not allowed(o, key, alg) then
        return failure("UNSUPPORTED", ("the token's algorithm %q is not allowed")
            :format(tostring(alg)))
    end
    local way = way_of(DECODE, alg)
    local good, err
    if way.bytes then
        if type(key) ~= "string" then
            return failure("TYPE", ("%q does not go with such a key"):format(alg))
        end
        check_secret(DECODE, alg, way, key, 2)
        good = require("links.crypto").equal(hmac(way, key, text), signature)
    elseif type(key) == "string" then
        return failure("TYPE", ("%q does not go with a secret"):format(alg))
    else
        good, err = signing.verify(alg, way, key, text, signature)
    end
    if good == nil then return nil, err end
    if not good then return failure("EBADMSG", "not signed with this key, or changed since") end
    return true
end

-- A time that is none must not be taken for none.
local function time_of(claims, name)
    local value = claims[name]
    if value == nil then return nil end
    return type(value) == "number" and value == value and value * 1000 or false
end

local function check_times(claims, o)
    local at = o.time or now()
    local exp, nbf, iat = time_of(claims, "exp"), time_of(claims, "nbf"), time_of(claims, "iat")
    if exp == false or nbf == false or iat == false then
        return failure("JWT_CLAIM", "exp, nbf and iat must be numbers")
    end
    if exp and at >= exp + o.leeway then return failure("JWT_EXPIRED") end
    if nbf and at < nbf - o.leeway then return failure("JWT_EARLY") end
    if not o.maxAge then return true end
    if not iat then return failure("JWT_CLAIM", "iat is missing, and maxAge asks for it") end
    if at >= iat + o.maxAge + o.leeway then
        return failure("JWT_EXPIRED", "the token is older than maxAge")
    end
    return true
end

-- Whether a claim, a text or (aud) a list of them, has one of those that are wanted.
local function has_one(claim, wanted)
    for _, each in ipairs(type(wanted) == "table" and wanted or { wanted }) do
        if claim == each then return true end
        if type(claim) == "table" and is_one_of(claim, each) then return true end
    end
    return false
end

local function check_names(claims, o)
    for claim, wanted in pairs { iss = o.issuer, aud = o.audience, sub = o.subject } do
        local value = claims[claim]
        local may_be = claim == "aud" or type(value) ~= "table"
        if not may_be or not has_one(value, wanted) then
            return failure("JWT_CLAIM", claim .. " is not the one that is wanted")
        end
    end
    return true
end

--- Verifies a token and reads it.
---
--- @param token    string             the token, of 65536 bytes at most
--- @param key      string|key|table|function  the secret, or the public key as crypto.verify takes
---                                    it; a table of them by the token's `kid`; or key(head), which
---                                    returns one of these, and may wait
--- @param options  table  algs      nil  the algorithms that may be: {"ES256"}. Default: those that
---                                       the key is for
---                        issuer    nil  iss must be this, or one of these
---                        audience  nil  aud must be or have this, or one of these
---                        subject   nil  sub must be this
---                        maxAge    nil  ms since iat, which must be there
---                        leeway    0    ms that clocks may differ
---                        time      nil  ms since 1970, instead of now
--- @return table          the claims
--- @return table          the head
--- @return nil, err       PARSE        it is no token, or there is no key in the text
---                        EBADMSG      it was signed with another key, or changed since
---                        UNSUPPORTED  its algorithm is not allowed; it has an extension (crit)
---                        JWT_EXPIRED  exp has passed, or maxAge
---                        JWT_EARLY    nbf has not come yet
---                        JWT_CLAIM    iss, aud or sub is another one, or a time is no number
---                        NOT_FOUND    there is no key for it
---                        TYPE         the key does not go with its algorithm
---                        TOO_LARGE    it is longer than any token
--- @raise                 an argument of another type; a secret that is too short; an alg that
---                        nobody knows
--- @usage local crypto = require "crypto"
--- local pair = assert(crypto.generateKey("ed25519"))
--- local token = assert(crypto.jwt.encode({ aud = "shop" }, pair.privateKey))
--- local none, err = crypto.jwt.decode(token, pair.publicKey, { audience = "bank" })
--- assert(not none and err.name == "JWT_CLAIM")
function crypto.jwt.decode(token, key, options)
    check.type(DECODE, "token", token, "string")
    check.type(DECODE, "key", key, "string|table|function")
    local o = check.options(DECODE, options, DECODE_OPTIONS)
    for _, alg in ipairs(o.algs or {}) do way_of(DECODE, alg) end
    if #token > TOKEN_MAX then return failure("TOO_LARGE") end
    local first, second, third = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]*)$")
    local head = first and object_of(first)
    local signature = third and decode64(third)
    if not head or not signature then return failure("PARSE", "not a JSON web token") end
    if head.crit ~= nil then
        return failure("UNSUPPORTED", "the token has an extension (crit)") -- RFC 7515, 4.1.11
    end
    local with, err = key_for(key, head)
    if not with then return nil, err end
    local ok
    ok, err = verify(o, with, head, first .. "." .. second, signature)
    if not ok then return nil, err end
    local claims = object_of(second)
    if not claims then return failure("PARSE", "the token's claims are no JSON object") end
    ok, err = check_times(claims, o)
    if ok then ok, err = check_names(claims, o) end
    if not ok then return nil, err end
    return claims, head
end

return crypto
