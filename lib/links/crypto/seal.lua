--- Authenticated encryption: functions of crypto. What was sealed can be opened only with the same
--- key, and only as it was: nobody can read it or change a bit of it.
---
--- A box is one byte for the cipher, a random nonce of 12 bytes, the encrypted bytes and a tag of
--- 16. With random nonces a key is good for 2^32 boxes; then it ought to be another.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local room = require "links.scratch"
local C = require "links.crypto.ffi"

local crypto = {}

local NONCE, TAG = 12, 16
local EBADMSG = -errors.code("EBADMSG")

-- What the first byte of a box says; the numbers stay.
local CIPHERS = { "aes-256-gcm", "chacha20-poly1305", "aes-128-gcm" }

local known = {}

local function cipher_of(signature, name, level)
    check.type(signature, "cipher", name, "string", level + 1)
    if known[name] then return known[name] end
    local key_len = ffi.new("int[1]")
    local number = C.links_aead_alg(name, key_len)
    if number < 0 then
        local names = {}
        for _, other in ipairs(CIPHERS) do names[other] = true end
        local near = check.nearest(name, names)
        error(("%s unknown cipher %q%s"):format(signature, name,
            near and (' (did you mean "' .. near .. '"?)') or ""), level + 2)
    end
    known[name] = { number = number, key_len = key_len[0] }
    for i, other in ipairs(CIPHERS) do
        if other == name then known[name].mark = i end
    end
    return known[name]
end

local function check_key(signature, cipher, key, level)
    check.type(signature, "key", key, "string", level + 1)
    if #key ~= cipher.key_len then
        error(("%s key must have %d bytes, not %d"):format(signature, cipher.key_len, #key),
            level + 2)
    end
end

local args = ffi.new("links_aead_args")

-- `data` is a string; the pointers are C's for this call only.
local function run(fn, cipher, key, nonce, data, from, len, aad, out)
    args.key, args.nonce = ffi.cast("const char *", key), ffi.cast("const char *", nonce)
    args.data, args.len = ffi.cast("const char *", data) + from, len
    args.aad, args.aad_len = ffi.cast("const char *", aad), #aad
    return fn(cipher.number, args, out)
end

local function encrypt(cipher, key, nonce, data, aad)
    local len = #data + TAG
    local out = room(len)
    local rc = run(C.links_aead_seal, cipher, key, nonce, data, 0, #data, aad, out)
    if rc < 0 then error(errors.new(rc, "encrypt"), 3) end
    return ffi.string(out, len)
end

local function decrypt(cipher, key, nonce, data, from, aad, what)
    local len = #data - from
    local out = room(len - TAG)
    local rc = run(C.links_aead_open, cipher, key, nonce, data, from, len, aad, out)
    if rc < 0 then
        return nil, errors.new(rc, what,
            { message = "not made with this key, or changed since" })
    end
    return ffi.string(out, len - TAG)
end

--- Encrypts, so that it is noticed when somebody changes it.
---
--- @param key        string  32 random bytes (16 for "aes-128-gcm")
--- @param plaintext  string  what to encrypt
--- @param aad        string  what is not encrypted, and has to be the same to open the box: for
---                           whom or what for it is. Default: ""
--- @param cipher     string  "aes-256-gcm", "chacha20-poly1305" (faster where the processor has no
---                           AES), "aes-128-gcm". Default: "aes-256-gcm"
--- @return string            the box, 29 bytes longer
--- @raise                    an argument of another type, a key of another length, a cipher that
---                           nobody knows
--- @usage local crypto = require "crypto"
--- local key = crypto.randomBytes(32)
--- local box = crypto.seal(key, "attack at dawn", "user 7")
--- assert(crypto.open(key, box, "user 7") == "attack at dawn")
function crypto.seal(key, plaintext, aad, cipher)
    local signature = "crypto.seal(key, plaintext[, aad, cipher])"
    local about = cipher_of(signature, cipher or CIPHERS[1], 1)
    check_key(signature, about, key, 1)
    check.type(signature, "plaintext", plaintext, "string")
    check.type(signature, "aad", aad, "string|nil")
    local nonce = require("links.crypto").randomBytes(NONCE)
    return string.char(about.mark) .. nonce .. encrypt(about, key, nonce, plaintext, aad or "")
end

--- Opens what crypto.seal made.
---
--- @param key  string  the key it was made with
--- @param box  string  the box
--- @param aad  string  as it was given to seal. Default: ""
--- @return string      what was sealed
--- @return nil, err    EBADMSG  another key or aad, or a box that was changed or is none
--- @raise              an argument of another type; a key whose length is wrong for the box
--- @usage local crypto = require "crypto"
--- local key = crypto.randomBytes(32)
--- local text, err = crypto.open(key, "no box")
--- assert(not text and err.name == "EBADMSG")
function crypto.open(key, box, aad)
    local signature = "crypto.open(key, box[, aad])"
    check.type(signature, "key", key, "string")
    check.type(signature, "box", box, "string")
    check.type(signature, "aad", aad, "string|nil")
    local name = CIPHERS[box:byte(1) or 0]
    local about = name and cipher_of(signature, name, 1)
    -- A box whose first byte was changed is no fault of the caller's.
    if not about or #box < 1 + NONCE + TAG or #key ~= about.key_len then
        return nil, errors.new(EBADMSG, "open", { message = "not a box made with this key" })
    end
    local text, err = decrypt(about, key, box:sub(2, 1 + NONCE), box, 1 + NONCE, aad or "", "open")
    return text, err
end

-- The arguments of the functions whose caller brings the nonce; returns the cipher.
local function check_all(signature, cipher, key, nonce, data, aad)
    local about = cipher_of(signature, cipher, 2)
    check_key(signature, about, key, 2)
    check.type(signature, "nonce", nonce, "string", 2)
    if #nonce ~= NONCE then error(signature .. " nonce must have 12 bytes", 3) end
    check.type(signature, "data", data, "string", 2)
    check.type(signature, "aad", aad, "string|nil", 2)
    return about
end

--- Encrypts with a nonce of the caller's, for protocols that say what it is. Two texts with one key
--- and one nonce give both away: crypto.seal takes care of that.
---
--- @param cipher  string  as for crypto.seal
--- @param key     string  as for crypto.seal
--- @param nonce   string  12 bytes, never the same twice
--- @param data    string  what to encrypt
--- @param aad     string  as for crypto.seal. Default: ""
--- @return string         the encrypted bytes, and a tag of 16
--- @raise                 an argument of another type, or whose length is wrong
--- @usage local crypto = require "crypto"
--- local key, nonce = ("k"):rep(32), ("n"):rep(12)
--- local data = crypto.encrypt("chacha20-poly1305", key, nonce, "hello")
--- assert(crypto.decrypt("chacha20-poly1305", key, nonce, data) == "hello")
function crypto.encrypt(cipher, key, nonce, data, aad)
    local signature = "crypto.encrypt(cipher, key, nonce, data[, aad])"
    local about = check_all(signature, cipher, key, nonce, data, aad)
    return (encrypt(about, key, nonce, data, aad or ""))
end

--- Decrypts what crypto.encrypt, or another program, made.
---
--- @param cipher  string  as for crypto.seal
--- @param key     string  the key
--- @param nonce   string  the nonce
--- @param data    string  the encrypted bytes and the tag
--- @param aad     string  Default: ""
--- @return string         what was encrypted
--- @return nil, err       EBADMSG  it was made with something else, or changed
--- @raise                 as crypto.encrypt
--- @usage local crypto = require "crypto"
--- local text, err = crypto.decrypt("aes-128-gcm", ("k"):rep(16), ("n"):rep(12), "")
--- assert(not text and err.name == "EBADMSG")
function crypto.decrypt(cipher, key, nonce, data, aad)
    local signature = "crypto.decrypt(cipher, key, nonce, data[, aad])"
    local about = check_all(signature, cipher, key, nonce, data, aad)
    local text, err = decrypt(about, key, nonce, data, 0, aad or "", "decrypt")
    return text, err
end

return crypto
