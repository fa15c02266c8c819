package.path = "tests/support/?.lua;" .. package.path

local crypto = require "crypto"
local codec = require "codec"
local certs = require "certs"
local fs = require "fs"
local task = require "task"
local timer = require "timer"
local tls = require "tls"
local tools = require "tools"

local unhex = codec.hex.decode
local decode64, encode64 = codec.base64url.decode, codec.base64url.encode

local fails, raises = tools.fails, tools.blames

local function pem(kind, der)
    return ("-----BEGIN %s-----\n%s\n-----END %s-----\n"):format(kind,
        codec.base64.encode(der), kind)
end

-- A public key of the standards, which write it as bare numbers, as X.509 has it.
local function ed25519_public(x) return pem("PUBLIC KEY", unhex "302a300506032b6570032100" .. x) end

local function p256_public(x, y)
    return pem("PUBLIC KEY", unhex "3059301306072a8648ce3d020106082a8648ce3d03010703420004"
        .. x .. y)
end

local made = {}

-- One of each kind is enough.
local function pair_of(kind)
    made[kind] = made[kind] or assert(crypto.generateKey(kind))
    return made[kind]
end

local WAYS = {
    ed25519 = { "ed25519", "EdDSA" },
    ["p-256"] = { "ES256", "ecdsa-sha256", "ecdsa-sha384" },
    ["p-384"] = { "ES384", "ecdsa-sha384" },
    ["p-521"] = { "ES512", "ecdsa-sha512" },
    rsa = { "RS256", "rsa-sha384", "RS512", "PS256", "rsa-pss-sha384", "PS512" },
}

describe("crypto.sign", function()
    it("gives what RFC 8032, 7.1 says", function()
        for _, v in ipairs {
            { "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac"
                .. "c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b" },
            { "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290"
                .. "ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a" },
        } do
            local private = pem("PRIVATE KEY", unhex("302e020100300506032b657004220420" .. v[1]))
            assert.equal(v[4], crypto.sign("ed25519", private, unhex(v[3]), "hex"))
            local key = ed25519_public(unhex(v[2]))
            assert.is_true(crypto.verify("EdDSA", key, unhex(v[3]), unhex(v[4])))
            assert.equal(key, crypto.key(private):publicPem())
        end
    end)

    it("takes no RSA signature without its leading zero, as RFC 8017 (8.2.2) has it", function()
        local pair, n = pair_of("rsa"), 0
        local private = assert(crypto.key(pair.privateKey))
        local signature
        repeat
            n = n + 1
            signature = crypto.sign("RS256", private, "message " .. n)
        until signature:byte(1) == 0
        assert.is_true(crypto.verify("RS256", pair.publicKey, "message " .. n, signature))
        assert.is_false(crypto.verify("RS256", pair.publicKey, "message " .. n, signature:sub(2)))
    end)

    it("makes what the public key verifies, and nobody else's", function()
        for kind, ways in pairs(WAYS) do
            local pair = pair_of(kind)
            local private, public = assert(crypto.key(pair.privateKey)), crypto.key(pair.publicKey)
            assert.same({ true, false }, { private.private, public.private })
            for _, way in ipairs(ways) do
                local signature = assert(crypto.sign(way, private, "message"))
                assert.is_true(crypto.verify(way, public, "message", signature), way)
                assert.is_true(crypto.verify(way, pair.publicKey, "message", signature))
                assert.is_false(crypto.verify(way, public, "massage", signature))
                for _, at in ipairs { 1, #signature / 2, #signature } do
                    at = math.floor(at)
                    local byte = string.char((signature:byte(at) + 1) % 256)
                    assert.is_false(crypto.verify(way, public, "message",
                        signature:sub(1, at - 1) .. byte .. signature:sub(at + 1)))
                end
                assert.is_false(crypto.verify(way, public, "message", signature:sub(2)))
                assert.is_false(crypto.verify(way, public, "message", ""))
                assert.is_false(crypto.verify(way, public, "message", signature .. "\0"))
            end
        end
        assert.equal(64, #crypto.sign("ES256", pair_of("p-256").privateKey, ""))
        assert.equal(132, #crypto.sign("ES512", pair_of("p-521").privateKey, ""))
        local other = assert(crypto.generateKey("ed25519"))
        assert.is_false(crypto.verify("EdDSA", other.publicKey, "a",
            crypto.sign("EdDSA", pair_of("ed25519").privateKey, "a")))
    end)

    it("is for keys of its kind", function()
        local ec, rsa = pair_of("p-256"), pair_of("rsa")
        fails("TYPE", crypto.sign("ES256", ec.publicKey, "x"))
        fails("TYPE", crypto.sign("ES384", ec.privateKey, "x"))
        fails("TYPE", crypto.sign("RS256", ec.privateKey, "x"))
        fails("TYPE", crypto.sign("ed25519", rsa.privateKey, "x"))
        fails("TYPE", crypto.verify("ES256", rsa.publicKey, "x", ""))
        fails("PARSE", crypto.sign("ES256", "no key", "x"))
        fails("PARSE", crypto.sign("ES256", ec.privateKey:sub(1, 150), "x"))
        fails("PARSE", crypto.verify("ES256", "", "x", ""))
    end)

    it("takes a certificate for the public key", function()
        local pair = tls.selfSigned("localhost")
        local signature = assert(crypto.sign("ecdsa-sha256", pair.key, "x"))
        assert.is_true(crypto.verify("ecdsa-sha256", pair.cert, "x", signature))
    end)

    it("says no secret when it is shown", function()
        local key = crypto.key(pair_of("p-256").privateKey)
        assert.equal("key: ec, 256 bits, private", tostring(key))
        assert.equal(pair_of("p-256").privateKey, key:pem())
        assert.equal(pair_of("p-256").publicKey, key:publicPem())
    end)

    it("raises for wrong arguments", function()
        raises('did you mean "ES256"', crypto.sign, "ES265", "", "")
        raises("data must be [string]", crypto.sign, "ES256", "", nil)
        raises("key must be", crypto.sign, "ES256", {}, "")
        raises("key must be", crypto.verify, "ES256", nil, "", "")
        raises('encoding must be "raw"', crypto.sign, "ES256", "", "", "base46")
        raises('did you mean "ed25519"', crypto.generateKey, "ed25591")
        raises("pem must be [string]", crypto.key)
    end)
end)

describe("crypto.generateKey", function()
    it("works on a thread, and leaves a cancelled task go at once", function()
        local t = task.spawn(crypto.generateKey, "rsa-4096")
        task.yield()
        t:cancel()
        local _, value, err = t:join()
        fails("ECANCELED", value, err)
    end)
end)

describe("the openssl command", function()
    it("takes our signatures and keys, and we take its", function()
        if not certs.available() then return pending("needs openssl") end
        local dir = assert(fs.tempDir())
        local function openssl(...) return certs.openssl(dir, ...) end
        local function write(name, text) assert(fs.writeFile(dir .. "/" .. name, text)) end
        local pair = pair_of("rsa")
        write("data", "message")
        write("key", pair.privateKey)
        write("public", pair.publicKey)
        write("signature", crypto.sign("rsa-sha256", pair.privateKey, "message"))
        openssl("dgst", "-sha256", "-verify", "public", "-signature", "signature", "data")
        openssl("dgst", "-sha256", "-sign", "key", "-sigopt", "rsa_padding_mode:pss", "-sigopt",
            "rsa_pss_saltlen:digest", "-out", "pss", "data")
        assert.is_true(crypto.verify("PS256", pair.publicKey, "message",
            assert(fs.readFile(dir .. "/pss"))))
        write("ec", pair_of("p-256").privateKey)
        openssl("dgst", "-sha256", "-sign", "ec", "-out", "der", "data")
        assert.is_true(crypto.verify("ecdsa-sha256", pair_of("p-256").publicKey, "message",
            assert(fs.readFile(dir .. "/der"))))
        openssl("pkey", "-in", "ec", "-aes256", "-passout", "pass:open sesame", "-out", "locked")
        local locked = assert(fs.readFile(dir .. "/locked"))
        assert.is_true(assert(crypto.key(locked, "open sesame")).private)
        fails("PARSE", crypto.key(locked, "another"))
        fails("PARSE", crypto.key(locked))
        -- Of the same length as P-256, and of no standard here; and one that can be broken.
        openssl("ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "other")
        fails("TYPE", crypto.sign("ES256", assert(fs.readFile(dir .. "/other")), "x"))
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", "short")
        fails("TYPE", crypto.sign("RS256", assert(fs.readFile(dir .. "/short")), "x"))
        fs.remove(dir, { recursive = true })
    end)
end)

-- --- web tokens ---------------------------------------------------------------------------------

local jwt = crypto.jwt
local SECRET = ("s"):rep(32)

local function token_of(head, claims, secret)
    local text = encode64(head) .. "." .. encode64(claims)
    return text .. "." .. crypto.hmac("sha256", secret or SECRET, text, "base64url")
end

describe("crypto.jwt", function()
    it("reads the tokens of RFC 7515 and RFC 8037", function()
        local token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEz"
            .. "MDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
            .. "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        local secret = decode64("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS"
            .. "4hcgUuTwjAzZr1Z9CAow")
        fails("JWT_EXPIRED", jwt.decode(token, secret))
        local claims, head = assert(jwt.decode(token, secret, { time = 1300819379999 }))
        assert.equal("joe", claims.iss)
        assert.same({ typ = "JWT", alg = "HS256" }, head)
        fails("JWT_EXPIRED", jwt.decode(token, secret, { time = 1300819380000 }))
        assert(jwt.decode(token, secret, { time = 1300819380999, leeway = 1000 }))

        token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9l"
            .. "eGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfT"
            .. "jDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        local public = p256_public(decode64 "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            decode64 "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
        assert.equal("joe", assert(jwt.decode(token, public, { time = 0 })).iss)
        fails("EBADMSG", jwt.decode(token:sub(1, -2) .. "A", pair_of("p-256").publicKey))

        -- Its payload is a sentence, and no claims: the signature is looked at first.
        token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PP"
            .. "Ot7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        public = ed25519_public(decode64 "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
        fails("PARSE", jwt.decode(token, public))
        fails("EBADMSG", jwt.decode(token:gsub("RXh", "RXg"), public))
    end)

    it("are made and read with keys of every kind", function()
        for kind, alg in pairs {
            ed25519 = "EdDSA", ["p-256"] = "ES256", ["p-384"] = "ES384", ["p-521"] = "ES512",
            rsa = "RS256",
        } do
            local pair = pair_of(kind)
            local token = assert(jwt.encode({ sub = "ann", n = 1.5, list = { 1, 2 } },
                pair.privateKey))
            local claims, head = assert(jwt.decode(token, pair.publicKey, { subject = "ann" }))
            assert.same({ sub = "ann", n = 1.5, list = { 1, 2 } }, claims)
            assert.equal(alg, head.alg)
        end
        local pair = pair_of("rsa")
        assert(jwt.decode(assert(jwt.encode({}, pair.privateKey, "PS512")), pair.publicKey))
        local long = ("x"):rep(64)
        for _, alg in ipairs { "HS256", "HS384", "HS512" } do
            local token = assert(jwt.encode({ a = 1 }, long, alg))
            assert.equal(1, assert(jwt.decode(token, long)).a)
        end
    end)

    it("does not let a token choose how it is verified", function()
        local pair = pair_of("rsa")
        local forged = token_of('{"alg":"HS256"}', '{"sub":"root"}', pair.publicKey)
        fails("UNSUPPORTED", jwt.decode(forged, pair.publicKey))
        fails("TYPE", jwt.decode(forged, pair.publicKey, { algs = { "HS256", "RS256" } }))
        for _, alg in ipairs { "none", "None", "NONE", "", "ecdsa-sha256", "ed25519" } do
            local none = encode64('{"alg":"' .. alg .. '"}') .. "." .. encode64("{}") .. "."
            fails("UNSUPPORTED", jwt.decode(none, SECRET))
            fails("UNSUPPORTED", jwt.decode(none, pair.publicKey))
        end
        fails("UNSUPPORTED", jwt.decode(token_of('{}', '{}'), SECRET))
        fails("UNSUPPORTED", jwt.decode(token_of('{"alg":["HS256"]}', '{}'), SECRET))
        local token = assert(jwt.encode({}, SECRET))
        fails("UNSUPPORTED", jwt.decode(token, SECRET, { algs = { "HS512" } }))
        fails("TYPE", jwt.decode(assert(jwt.encode({}, pair.privateKey)), SECRET,
            { algs = { "RS256" } }))
        fails("UNSUPPORTED", jwt.decode(token_of('{"alg":"HS256","crit":["b64"]}', '{}'), SECRET))
    end)

    it("checks times and names, and that they are some", function()
        local function decode(claims, options)
            return jwt.decode(token_of('{"alg":"HS256"}', claims), SECRET, options)
        end
        fails("JWT_EARLY", decode('{"nbf":20}', { time = 19999 }))
        assert(decode('{"nbf":20}', { time = 20000 }))
        assert(decode('{"nbf":20}', { time = 19999, leeway = 1 }))
        for _, claims in ipairs { '{"exp":"20"}', '{"nbf":true}', '{"iat":[]}', '{"exp":null}' } do
            fails("JWT_CLAIM", decode(claims))
        end
        fails("JWT_EXPIRED", decode('{"iat":20}', { time = 21000, maxAge = 1000 }))
        assert(decode('{"iat":20}', { time = 20999, maxAge = 1000 }))
        fails("JWT_CLAIM", decode('{}', { maxAge = 1000 }))
        assert(decode('{"iss":"a"}', { issuer = { "b", "a" } }))
        assert(decode('{"aud":["x","y"]}', { audience = "y" }))
        assert(decode('{"aud":"y"}', { audience = { "y", "z" } }))
        for name, options in pairs {
            ['{"iss":"a"}'] = { issuer = "b" }, ['{"iss":["b"]}'] = { issuer = "b" },
            ['{"aud":["x"]}'] = { audience = "y" }, ['{}'] = { audience = "y" },
            ['{"sub":7}'] = { subject = "7" },
        } do
            fails("JWT_CLAIM", decode(name, options))
        end
        local token = assert(jwt.encode({ sub = "a" }, SECRET, nil, { expiresIn = 60000 }))
        local claims = assert(jwt.decode(token, SECRET, { maxAge = 60000 }))
        assert.is_true(claims.exp - claims.iat >= 60 and claims.exp - claims.iat <= 61)
        fails("JWT_EXPIRED", jwt.decode(token, SECRET, { leeway = 0, time = claims.exp * 1000 }))
    end)

    it("finds the key by the token's head", function()
        local pair = pair_of("p-256")
        local token = assert(jwt.encode({}, pair.privateKey, nil, { header = { kid = "b" } }))
        assert(jwt.decode(token, { a = SECRET, b = pair.publicKey }))
        fails("NOT_FOUND", jwt.decode(token, { a = SECRET }))
        assert(jwt.decode(token, function(head)
            timer.sleep(1)
            return head.kid == "b" and crypto.key(pair.publicKey) or nil
        end))
        fails("NOT_FOUND", jwt.decode(token, function() end))
        local eof = require("links.errors").new(20001)
        fails("EOF", jwt.decode(token, function() return nil, eof end))
        fails("NOT_FOUND", jwt.decode(assert(jwt.encode({}, SECRET)), { a = SECRET }))
    end)

    it("refuses what is no token", function()
        local good = assert(jwt.encode({ a = 1 }, SECRET))
        for _, text in ipairs {
            "", ".", "..", "a.b", "a.b.c", good .. ".", "." .. good, good .. "=", " " .. good,
            (good:gsub("%.", "..", 1)), encode64("[]") .. "." .. encode64("{}") .. ".",
            encode64("7") .. ".e30.e30", "e30", (good:gsub("%.[^.]*$", "")),
        } do
            local claims, err = jwt.decode(text, SECRET)
            assert.is_nil(claims, text)
            assert.equal("PARSE", err.name, text)
        end
        for at = 1, #good do
            local byte = good:sub(at, at) == "A" and "B" or "A"
            assert.is_nil((jwt.decode(good:sub(1, at - 1) .. byte .. good:sub(at + 1), SECRET)), at)
            assert.is_nil((jwt.decode(good:sub(1, at - 1), SECRET)))
        end
        fails("PARSE", jwt.decode(token_of('{"alg":"HS256"}', "[1]"), SECRET))
        fails("PARSE", jwt.decode(token_of('{"alg":"HS256"}', '"text"'), SECRET))
        fails("TOO_LARGE", jwt.decode(("x"):rep(65537), SECRET))
        assert.same({}, (assert(jwt.decode(token_of('{"alg":"HS256"}', "{}"), SECRET))))
    end)

    it("raises for wrong arguments, and secrets that can be guessed", function()
        raises("32 bytes or more", jwt.encode, {}, "secret")
        raises("64 bytes or more", jwt.encode, {}, SECRET, "HS512")
        raises("32 bytes or more", jwt.decode, token_of('{"alg":"HS256"}', "{}", "short"), "short")
        raises("alg must be one of JOSE", jwt.encode, {}, SECRET, "none")
        raises("claims must be [table]", jwt.encode, "x", SECRET)
        raises("unknown option", jwt.decode, "", SECRET, { alg = "HS256" })
        raises("key must be", jwt.decode, "", nil)
        raises("alg must be one of JOSE", jwt.decode, "", SECRET, { algs = { "none" } })
        fails("TYPE", jwt.encode({}, SECRET, "ES256"))
        fails("TYPE", jwt.encode({}, pair_of("p-256").privateKey, "HS256"))
        fails("TYPE", jwt.encode({}, pair_of("p-256").publicKey))
        fails("TYPE", jwt.encode({ f = print }, SECRET))
    end)
end)
