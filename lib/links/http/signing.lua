-- Cookies that only the server can have made: signed, so that they can be read and not changed, or
-- encrypted. The name is part of what is signed, so that no cookie passes for another one.
local check = require "links.check"

local signing = {}

local MIN_SECRET = 16
local MAX_CACHED = 64

-- What is signed and what is encrypted have keys of their own, made of the secret.
local keys, nkeys = {}, 0

local function key_of(secret, purpose)
    local id = purpose .. "\0" .. secret
    local key = keys[id]
    if not key then
        if nkeys >= MAX_CACHED then keys, nkeys = {}, 0 end
        key = require("links.crypto").hkdf("sha256", secret, 32, "", "links cookie " .. purpose)
        keys[id], nkeys = key, nkeys + 1
    end
    return key
end

--- The secrets as a list, the first of which makes new cookies; nil for nil.
---
--- @param signature  string   of the public function
--- @param name       string   of the parameter
--- @param secrets    any      as the program gave them: a string, or a list of strings
--- @param level      integer  as in check.type
--- @raise                     they are of another type, or too short to be secrets
function signing.secrets(signature, name, secrets, level)
    if secrets == nil then return nil end
    check.type(signature, name, secrets, "string|table", level + 1)
    local list = type(secrets) == "table" and secrets or { secrets }
    if #list == 0 then error(signature .. " " .. name .. " is empty", level + 2) end
    for _, secret in ipairs(list) do
        check.type(signature, name, secret, "string", level + 1)
        if #secret < MIN_SECRET then
            error(signature .. " " .. name .. " must be " .. MIN_SECRET
                .. " bytes or more, such as crypto.randomBytes(32)", level + 2)
        end
    end
    return list
end

local function code_of(secret, name, value)
    return require("links.crypto").hmac("sha256", key_of(secret, "sign"), name .. "=" .. value,
        "base64url")
end

function signing.sign(secrets, name, value)
    return value .. "." .. code_of(secrets[1], name, value)
end

--- The value, or nil where none of the secrets has signed it.
function signing.verify(secrets, name, text)
    local value, code = text:match("^(.*)%.([%w_-]+)$")
    if not value then return nil end
    local equal = require("links.crypto").equal
    for _, secret in ipairs(secrets) do
        if equal(code, code_of(secret, name, value)) then return value end
    end
end

function signing.encrypt(secrets, name, value)
    local box = require("links.crypto").seal(key_of(secrets[1], "encrypt"), value, name)
    return require("links.codec").base64url.encode(box)
end

--- The value, or nil where none of the secrets has encrypted it.
function signing.decrypt(secrets, name, text)
    local box = require("links.codec").base64url.decode(text)
    if not box then return nil end
    for _, secret in ipairs(secrets) do
        local value = require("links.crypto").open(key_of(secret, "encrypt"), box, name)
        if value then return value end
    end
end

return signing
