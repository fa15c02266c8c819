--- Keys from passwords and from other keys: functions of crypto. What makes a key of a password is
--- slow on purpose: it is done on a thread of the pool, and the task waits.
local ffi = require "ffi"
local check = require "links.check"
local codec = require "links.codec"
local core = require "links.core"
local errors = require "links.errors"
local room = require "links.scratch"
local algs = require "links.crypto.algs"
local C = require "links.crypto.ffi"

local crypto = {}

local AGAIN = -19999
local PBKDF2, SCRYPT, ARGON2ID = 0, 1, 2
local OUT_MAX = 1024

local encode64, decode64 = codec.base64.encode, codec.base64.decode

local PBKDF2_OPTIONS = {
    iterations = { default = 600000, type = "integer", min = 1, max = 2 ^ 31 - 1 },
    hash = { default = "sha256", type = "string" },
    length = { default = 32, type = "integer", min = 1, max = OUT_MAX },
}
local SCRYPT_OPTIONS = {
    N = { default = 16384, type = "integer", min = 2, max = 2 ^ 24 },
    r = { default = 8, type = "integer", min = 1, max = 1024 },
    p = { default = 1, type = "integer", min = 1, max = 1024 },
    length = { default = 32, type = "integer", min = 1, max = OUT_MAX },
}
local ARGON2_OPTIONS = {
    passes = { default = 2, type = "integer", min = 1, max = 1000 },
    memory = { default = 19456, type = "integer", min = 8, max = 4194304 },
    lanes = { default = 1, type = "integer", min = 1, max = 255 },
    length = { default = 32, type = "integer", min = 4, max = OUT_MAX },
}

-- Memory that one derivation may take: a parameter of somebody else's must not take all there is.
local SCRYPT_MEMORY_MAX = 2 ^ 30

-- Waits for a thread. `a` points into strings that the caller holds; C has copied them.
local function derive(kind, a, length, what)
    local out = ffi.new("links_kdf *[1]")
    a.out_len = length
    local rc = C.links_kdf_start(out, kind, a)
    if rc < 0 then return nil, errors.new(rc, what) end
    local handle = ffi.gc(out[0], C.links_kdf_free)
    local status = 0
    rc = C.links_kdf_result(handle)
    while rc == AGAIN and status == 0 do
        status = core.wait()
        if status == 0 then rc = C.links_kdf_result(handle) end
    end
    if status ~= 0 then rc = status end
    local key = rc == 0 and ffi.string(handle.out, length) or nil
    C.links_kdf_free(ffi.gc(handle, nil))
    if key then return key end
    return nil, errors.new(rc, what)
end

local function arguments(password, salt)
    local a = ffi.new("links_kdf_args")
    a.password, a.password_len, a.salt, a.salt_len = password, #password, salt, #salt
    return a
end

local function check_texts(signature, password, salt)
    check.type(signature, "password", password, "string", 2)
    check.type(signature, "salt", salt, "string", 2)
end

local function scrypt(password, salt, o)
    local a = arguments(password, salt)
    a.n, a.r, a.p = o.N, o.r, o.p
    return derive(SCRYPT, a, o.length, "scrypt")
end

local function argon2(password, salt, o)
    local a = arguments(password, salt)
    a.n, a.memory, a.p = o.passes, o.memory, o.lanes
    return derive(ARGON2ID, a, o.length, "argon2")
end

local function is_power_of_two(n) return math.frexp(n) == 0.5 end

-- --- what is stored of a password ----------------------------------------------------------

local function unpadded(s) return (encode64(s):gsub("=+$", "")) end

local function from64(s)
    return s and decode64(s .. ("="):rep(-#s % 4))
end

local STRONG = {
    argon2id = { passes = 2, memory = 19456, lanes = 1, length = 32 },
    scrypt = { N = 2 ^ 17, r = 8, p = 1, length = 32 },
}

local function best() return C.links_kdf_has(ARGON2ID) == 1 and "argon2id" or "scrypt" end

local function format(kind, o, salt, key)
    local how
    if kind == "argon2id" then
        how = ("v=19$m=%d,t=%d,p=%d"):format(o.memory, o.passes, o.lanes)
    else
        how = ("ln=%d,r=%d,p=%d"):format(math.log(o.N) / math.log(2) + 0.5, o.r, o.p)
    end
    return ("$%s$%s$%s$%s"):format(kind, how, unpadded(salt), unpadded(key))
end

local function within(known, o)
    for name, about in pairs(known) do
        local n = o[name]
        if not n or n < about.min or n > about.max then return false end
    end
    return true
end

-- What has been stored, in its parts: the kind, its parameters, salt, key. nil for what is none.
local function parse(encoded)
    local kind, rest = encoded:match("^%$(%w+)%$(.*)$")
    local o, salt, key = {}, nil, nil
    if kind == "argon2id" then
        o.memory, o.passes, o.lanes, salt, key =
            rest:match("^v=19%$m=(%d+),t=(%d+),p=(%d+)%$([^$]+)%$([^$]+)$")
        o.memory, o.passes, o.lanes = tonumber(o.memory), tonumber(o.passes), tonumber(o.lanes)
    elseif kind == "scrypt" then
        local ln
        ln, o.r, o.p, salt, key = rest:match("^ln=(%d+),r=(%d+),p=(%d+)%$([^$]+)%$([^$]+)$")
        o.N, o.r, o.p = ln and 2 ^ tonumber(ln), tonumber(o.r), tonumber(o.p)
    end
    salt, key = from64(salt), from64(key)
    if not salt or not key then return nil end
    o.length = #key
    if not within(kind == "scrypt" and SCRYPT_OPTIONS or ARGON2_OPTIONS, o) then return nil end
    if kind == "scrypt" and 128 * o.N * o.r > SCRYPT_MEMORY_MAX then return nil end
    return kind, o, salt, key
end

local DERIVE = { scrypt = scrypt, argon2id = argon2 }

--- A key from a password (PBKDF2, RFC 8018), made on a thread while the task waits.
---
--- @param password  string
--- @param salt      string  random and different for each password: crypto.randomBytes(16)
--- @param options   table   iterations  600000    each costs an attacker as much as you
---                          hash        "sha256"
---                          length      32        bytes of the key, 1 to 1024
--- @return string           the key, raw bytes
--- @return nil, err         POOL_FULL  no thread is free and too much waits
---                          ECANCELED  this task was cancelled
--- @raise                   an argument or an option of another type, out of bounds or unknown
--- @wait
--- @usage local crypto = require "crypto"
--- local key = crypto.pbkdf2("password", "salt", { iterations = 2 })
--- assert(require("codec").hex.encode(key):sub(1, 8) == "ae4d0c95")
function crypto.pbkdf2(password, salt, options)
    local signature = "crypto.pbkdf2(password, salt[, options])"
    check_texts(signature, password, salt)
    local o = check.options(signature, options, PBKDF2_OPTIONS)
    local a = arguments(password, salt)
    a.alg, a.n = algs.number(signature, o.hash, 1), o.iterations
    local key, err = derive(PBKDF2, a, o.length, "pbkdf2")
    return key, err
end

--- A key from a password that takes memory too (scrypt, RFC 7914), made on a thread.
---
--- @param password  string
--- @param salt      string  as for crypto.pbkdf2
--- @param options   table   N       16384  cost, a power of two; 128 * N * r bytes of memory are
---                                         taken, a gigabyte at most
---                          r       8      size of a block
---                          p       1      how often all of it is done
---                          length  32     bytes of the key, 1 to 1024
--- @return string           the key, raw bytes
--- @return nil, err         as crypto.pbkdf2
--- @raise                   as crypto.pbkdf2
--- @wait
--- @usage local crypto = require "crypto"
--- local key = crypto.scrypt("password", "NaCl", { N = 1024, r = 8, p = 16, length = 64 })
--- assert(key:byte(1) == 0xfd and key:byte(2) == 0xba and #key == 64)
function crypto.scrypt(password, salt, options)
    local signature = "crypto.scrypt(password, salt[, options])"
    check_texts(signature, password, salt)
    local o = check.options(signature, options, SCRYPT_OPTIONS)
    if not is_power_of_two(o.N) then
        error(signature .. " options.N must be a power of two", 2)
    end
    if 128 * o.N * o.r > SCRYPT_MEMORY_MAX then
        error(signature .. " options: 128 * N * r is more than a gigabyte", 2)
    end
    local key, err = scrypt(password, salt, o)
    return key, err
end

--- A key from a password by Argon2id (RFC 9106), made on a thread. OpenSSL has it since 3.2.
---
--- @param password  string
--- @param salt      string  as for crypto.pbkdf2, 8 bytes or more
--- @param options   table   passes  2      over the memory
---                          memory  19456  KiB of it
---                          lanes   1
---                          length  32     bytes of the key, 4 to 1024
--- @return string           the key, raw bytes
--- @return nil, err         UNSUPPORTED  OpenSSL here is too old
---                          and as crypto.pbkdf2
--- @raise                   as crypto.pbkdf2
--- @wait
--- @usage local key, err = require("crypto").argon2("password", "0123456789abcdef")
--- assert(key or err.name == "UNSUPPORTED")
function crypto.argon2(password, salt, options)
    local signature = "crypto.argon2(password, salt[, options])"
    check_texts(signature, password, salt)
    local o = check.options(signature, options, ARGON2_OPTIONS)
    if #salt < 8 then error(signature .. " salt must have 8 bytes or more", 2) end
    local key, err = argon2(password, salt, o)
    return key, err
end

--- What to store of a password: Argon2id where OpenSSL has it (3.2), else scrypt with N = 131072
--- (128 MiB for a third of a second), with a random salt and all its parameters.
---
--- @param password  string
--- @return string           "$argon2id$..." or "$scrypt$...", for crypto.verifyPassword
--- @return nil, err         as crypto.pbkdf2
--- @raise                   `password` is no string
--- @wait
--- @usage local crypto = require "crypto"
--- local stored = assert(crypto.hashPassword("open sesame"))
--- assert(crypto.verifyPassword("open sesame", stored))
function crypto.hashPassword(password)
    check.type("crypto.hashPassword(password)", "password", password, "string")
    local kind, salt = best(), require("links.crypto").randomBytes(16)
    local key, err = DERIVE[kind](password, salt, STRONG[kind])
    if not key then return nil, err end
    return format(kind, STRONG[kind], salt, key)
end

--- Whether a password is the one of which that was stored.
---
--- @param password  string
--- @param encoded   string  what crypto.hashPassword gave, or another program's
---                          "$argon2id$v=19$..." or "$scrypt$ln=..."
--- @return boolean          it is
--- @return boolean          it should be hashed anew: what was stored is weaker than what
---                          crypto.hashPassword makes today
--- @return nil, err         PARSE        nothing that can be verified; its parameters are beyond
---                                       the limits (a gigabyte of memory)
---                          UNSUPPORTED  it is of Argon2, and OpenSSL here is too old
---                          and as crypto.pbkdf2
--- @raise                   an argument is no string
--- @wait
--- @usage local crypto = require "crypto"
--- local ok, err = crypto.verifyPassword("secret", "nothing of the kind")
--- assert(not ok and err.name == "PARSE")
function crypto.verifyPassword(password, encoded)
    local signature = "crypto.verifyPassword(password, encoded)"
    check.type(signature, "password", password, "string")
    check.type(signature, "encoded", encoded, "string")
    local kind, o, salt, key = parse(encoded)
    if not kind then
        return nil, errors.new(errors.code("PARSE"), "verifyPassword",
            { message = "no password that crypto.hashPassword has made" })
    end
    local found, err = DERIVE[kind](password, salt, o)
    if not found then return nil, err end
    local weak = kind ~= best() or format(kind, o, salt, key) ~=
        format(kind, STRONG[kind], salt, key)
    return C.links_crypto_equal(found, key, #key) == 1, weak
end

--- Keys from a key that is random already (HKDF, RFC 5869), at once.
---
--- @param alg     string   the hash: "sha256" and others
--- @param key     string   the key there is; never a password
--- @param length  integer  bytes of the new one, 1 to 1024
--- @param salt    string   Default: ""
--- @param info    string   what the new key is for. Default: ""
--- @return string          raw bytes
--- @raise                  an argument of another type or out of bounds; a hash that nobody knows
--- @usage local crypto = require "crypto"
--- local key = crypto.randomBytes(32)
--- local a, b = crypto.hkdf("sha256", key, 32, "", "a"), crypto.hkdf("sha256", key, 32, "", "b")
--- assert(#a == 32 and a ~= b)
function crypto.hkdf(alg, key, length, salt, info)
    local signature = "crypto.hkdf(alg, key, length[, salt, info])"
    local number = algs.number(signature, alg, 1)
    check.type(signature, "key", key, "string")
    check.integer(signature, "length", length, 1, OUT_MAX)
    check.type(signature, "salt", salt, "string|nil")
    check.type(signature, "info", info, "string|nil")
    salt, info = salt or "", info or ""
    local out = room(length)
    local rc = C.links_crypto_hkdf(number, key, #key, salt, #salt, info, #info, out, length)
    if rc < 0 then error(errors.new(rc, "hkdf"), 2) end
    return ffi.string(out, length)
end

return crypto
