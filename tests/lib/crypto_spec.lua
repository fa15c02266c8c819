package.path = "tests/support/?.lua;" .. package.path

local crypto = require "crypto"
local codec = require "codec"
local task = require "task"
local tools = require "tools"

local unhex, hex = codec.hex.decode, codec.hex.encode

local fails, raises = tools.fails, tools.blames

describe("crypto.hash", function()
    it("gives the digests of the standards", function()
        for alg, digest in pairs {
            md5 = "900150983cd24fb0d6963f7d28e17f72",
            sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d",
            sha224 = "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
            sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            sha384 = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                .. "8086072ba1e7cc2358baeca134c825a7",
            sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                .. "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ["sha3-256"] = "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
            ["sha3-512"] = "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e"
                .. "10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
            blake2b512 = "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
                .. "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
            blake2s256 = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982",
        } do
            assert.equal(digest, crypto.hash(alg, "abc"))
            assert.equal(digest, crypto.hasher(alg):update("a"):update(""):update("bc"):final())
        end
    end)

    it("gives the digest in the form that was asked for", function()
        assert.equal("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
            crypto.hash("sha256", "abc", "base64"))
        assert.equal("ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0",
            crypto.hash("sha256", "abc", "base64url"))
        assert.equal(crypto.hash("md5", ""), hex(crypto.hash("md5", "", "raw")))
        -- RFC 6455, 1.3: what the handshake of a websocket needs.
        assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", crypto.hash("sha1",
            "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11", "base64"))
    end)

    it("takes any bytes, and more than a memory page of them", function()
        assert.equal("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            crypto.hash("sha256", ("a"):rep(1000000)))
        assert.is_false(crypto.hash("sha1", "a\0b") == crypto.hash("sha1", "a\0c"))
    end)

    it("gives a digest in pieces once only", function()
        local h = crypto.hasher("sha256")
        h:final()
        raises("has been given already", h.update, h, "x")
        raises("has been given already", h.final, h)
    end)

    it("raises for wrong arguments, at the caller's line", function()
        raises('unknown hash "sha25" (did you mean "sha256"?)', crypto.hash, "sha25", "")
        raises("alg must be [string]", crypto.hash, nil, "")
        raises("data must be [string]", crypto.hash, "md5", nil)
        raises("encoding must be", crypto.hash, "md5", "", "hexadecimal")
        raises("unknown hash", crypto.hasher, "md6")
        raises("key must be [string]", crypto.hmac, "md5", nil, "")
    end)
end)

describe("crypto.hmac", function()
    it("gives the codes of RFC 2202 and RFC 4231", function()
        assert.equal("9294727a3638bb1c13f48ef8158bfc9d",
            crypto.hmac("md5", ("\11"):rep(16), "Hi There"))
        assert.equal("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            crypto.hmac("sha1", "Jefe", "what do ya want for nothing?"))
        assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            crypto.hmac("sha256", "Jefe", "what do ya want for nothing?"))
        assert.equal("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            crypto.hmac("sha256", ("\170"):rep(131),
                "Test Using Larger Than Block-Size Key - Hash Key First"))
    end)

    it("does not remember the key before", function()
        local empty = crypto.hmac("sha256", "", "x")
        crypto.hmac("sha256", "another", "x")
        assert.equal(empty, crypto.hmac("sha256", "", "x"))
        assert.equal("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad",
            crypto.hmac("sha256", "", ""))
    end)

    it("comes in pieces too, several at a time", function()
        local a, b = crypto.hasher("sha1", "Jefe"), crypto.hasher("sha1", "other")
        a:update("what do ya ")
        b:update("what do ya ")
        assert.equal("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            a:update("want for nothing?"):final())
        assert.equal(crypto.hmac("sha1", "other", "what do ya "), b:final())
    end)
end)

describe("crypto's random values", function()
    it("have the length that was asked for and are never the same", function()
        local seen = {}
        for _, n in ipairs { 0, 1, 16, 64, 65, 5000, 1048576 } do
            assert.equal(n, #crypto.randomBytes(n))
        end
        for _ = 1, 1000 do
            local bytes = crypto.randomBytes(16)
            assert.is_nil(seen[bytes])
            seen[bytes] = true
        end
        raises("from 0 to 1048576", crypto.randomBytes, -1)
        raises("from 0 to 1048576", crypto.randomBytes, 1.5)
    end)

    it("make identifiers of version 4 and 7", function()
        local form = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-(%x)%x%x%x%-([89ab])%x%x%x%-" ..
            ("%x"):rep(12) .. "$"
        assert.equal("4", crypto.uuid():match(form))
        assert.equal("7", crypto.uuid(7):match(form))
        local before = math.floor(require("system").now and require("system").now()
            or os.time() * 1000)
        local id = crypto.uuid(7)
        local ms = tonumber((id:sub(1, 8) .. id:sub(10, 13)), 16)
        assert.truthy(ms >= before - 1000 and ms <= before + 10000)
        raises("must be 4 or 7", crypto.uuid, 1)
    end)

    it("of version 7 grow, however many are made in a millisecond", function()
        local last = crypto.uuid(7)
        for _ = 1, 20000 do
            local id = crypto.uuid(7)
            assert.truthy(last < id)
            last = id
        end
    end)

    it("are different in another process", function()
        local pid_bytes = crypto.randomBytes(8)
        local out = io.popen("./links -e 'io.write(require(\"crypto\").randomBytes(8))'")
        local other = out:read("*a")
        out:close()
        assert.equal(8, #other)
        assert.is_false(other == pid_bytes)
    end)
end)

describe("crypto.x509", function()
    it("tells what a certificate says", function()
        local about = assert(crypto.x509(require("tls").selfSigned("example.com").cert))
        assert.equal("CN=example.com", about.subject)
        assert.same({ "DNS:example.com" }, about.san)
        fails("PARSE", crypto.x509(""))
        raises("pem must be [string]", crypto.x509, nil)
    end)
end)

describe("crypto.equal", function()
    it("compares", function()
        assert.is_true(crypto.equal("", ""))
        assert.is_true(crypto.equal("a\0b", "a\0b"))
        assert.is_false(crypto.equal("a\0b", "a\0c"))
        assert.is_false(crypto.equal("a", "ab"))
        raises("b must be [string]", crypto.equal, "a", nil)
    end)
end)

describe("crypto's keys", function()
    it("are those of RFC 6070, RFC 7914 and RFC 5869", function()
        local o = { hash = "sha1", length = 20 }
        o.iterations = 1
        assert.equal("0c60c80f961f0e71f3a9b524af6012062fe037a6",
            hex(crypto.pbkdf2("password", "salt", o)))
        o.iterations = 4096
        assert.equal("4b007901b765489abead49d926f721d065a429c1",
            hex(crypto.pbkdf2("password", "salt", o)))
        assert.equal("77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
            .. "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906",
            hex(crypto.scrypt("", "", { N = 16, r = 1, p = 1, length = 64 })))
        assert.equal("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
            .. "34007208d5b887185865", hex(crypto.hkdf("sha256", ("\11"):rep(22), 42,
                unhex("000102030405060708090a0b0c"), unhex("f0f1f2f3f4f5f6f7f8f9"))))
    end)

    it("are made on a thread, while others go on", function()
        local ticks = 0
        local other = task.spawn(function()
            while require("timer").sleep(1) do ticks = ticks + 1 end
        end)
        -- Once more where the machine gave this thread no time meanwhile.
        for _ = 1, 20 do
            ticks = 0
            assert(crypto.pbkdf2("password", "salt", { iterations = 200000 }))
            if ticks > 2 then break end
        end
        other:cancel()
        assert.truthy(ticks > 2)
    end)

    it("leave a cancelled task go at once", function()
        local t = task.spawn(crypto.pbkdf2, "password", "salt", { iterations = 1000000 })
        task.yield()
        t:cancel()
        local _, value, err = t:join()
        fails("ECANCELED", value, err)
        fails("ETIMEDOUT", task.withTimeout(1, crypto.pbkdf2, "p", "s", { iterations = 1000000 }))
    end)

    it("of passwords are stored with all that verifying needs", function()
        local stored = assert(crypto.hashPassword("pässword"))
        assert.truthy(stored:find("^%$argon2id%$v=19%$m=19456,t=2,p=1%$") or
            stored:find("^%$scrypt%$ln=17,r=8,p=1%$"))
        local ok, weak = crypto.verifyPassword("pässword", stored)
        assert.is_true(ok)
        assert.is_false(weak)
        assert.is_false((crypto.verifyPassword("password", stored)))
        -- Another program's, of RFC 7914's third vector.
        local salt = codec.base64.encode("NaCl"):gsub("=", "")
        local key = crypto.scrypt("password", "NaCl", { N = 1024, p = 16, length = 64 })
        local other = "$scrypt$ln=10,r=8,p=16$" .. salt .. "$" ..
            codec.base64.encode(key):gsub("=", "")
        ok, weak = crypto.verifyPassword("password", other)
        assert.is_true(ok)
        assert.is_true(weak)
    end)

    it("of passwords that a stranger has stored have limits", function()
        for _, encoded in ipairs {
            "", "x", "$scrypt$", "$scrypt$ln=99,r=8,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ",
            "$scrypt$ln=24,r=1024,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ",
            "$scrypt$ln=10,r=8,p=1$c2Fs!HNhbHQ$c2FsdHNhbHQ", "$md5$a$b",
            "$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ",
        } do
            fails("PARSE", crypto.verifyPassword("x", encoded))
        end
    end)

    it("raise for wrong arguments", function()
        raises("did you mean", crypto.pbkdf2, "", "", { iteration = 1 })
        raises("power of two", crypto.scrypt, "", "", { N = 1000 })
        raises("more than a gigabyte", crypto.scrypt, "", "", { N = 2 ^ 24 })
        raises("length must be", crypto.hkdf, "sha256", "", 0)
        raises("salt must be [string]", crypto.pbkdf2, "", nil)
    end)
end)

describe("crypto's encryption", function()
    it("gives what the standards say", function()
        -- McGrew and Viega's test case 16; RFC 8439, 2.8.2.
        local aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
        local plain = unhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            .. "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39")
        local key = unhex(("feffe9928665731c6d6a8f9467308308"):rep(2))
        local nonce = unhex("cafebabefacedbaddecaf888")
        local box = crypto.encrypt("aes-256-gcm", key, nonce, plain, aad)
        assert.equal("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
            .. "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
            .. "76fc6ece0f4e1768cddf8853bb2d551b", hex(box))
        local text = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip "
            .. "for the future, sunscreen would be it."
        local from = {}
        for i = 0, 31 do from[#from + 1] = string.char(0x80 + i) end
        box = crypto.encrypt("chacha20-poly1305", table.concat(from),
            unhex("070000004041424344454647"), text, unhex("50515253c0c1c2c3c4c5c6c7"))
        assert.equal("1ae10b594f09e26a7e902ecbd0600691", hex(box:sub(-16)))
        assert.equal(text, crypto.decrypt("chacha20-poly1305", table.concat(from),
            unhex("070000004041424344454647"), box, unhex("50515253c0c1c2c3c4c5c6c7")))
    end)

    it("opens what it has sealed, and nothing else", function()
        for _, cipher in ipairs { "aes-256-gcm", "chacha20-poly1305", "aes-128-gcm" } do
            local key = crypto.randomBytes(cipher == "aes-128-gcm" and 16 or 32)
            local box = crypto.seal(key, "attack at dawn", "user 7", cipher)
            assert.equal(#"attack at dawn" + 29, #box)
            assert.equal("attack at dawn", crypto.open(key, box, "user 7"))
            fails("EBADMSG", crypto.open(key, box, "user 8"))
            fails("EBADMSG", crypto.open(key, box))
            fails("EBADMSG", crypto.open(crypto.randomBytes(#key), box, "user 7"))
            for i = 1, #box do
                local byte = string.char((box:byte(i) + 1) % 256)
                fails("EBADMSG", crypto.open(key, box:sub(1, i - 1) .. byte .. box:sub(i + 1),
                    "user 7"))
                fails("EBADMSG", crypto.open(key, box:sub(1, i - 1), "user 7"))
            end
        end
    end)

    it("seals nothing, and much", function()
        local key = crypto.randomBytes(32)
        assert.equal("", crypto.open(key, crypto.seal(key, "")))
        local much = ("0123456789"):rep(500000)
        assert.truthy(crypto.open(key, crypto.seal(key, much)) == much)
        assert.is_false(crypto.seal(key, "x") == crypto.seal(key, "x"))
    end)

    it("raises for wrong arguments", function()
        raises("key must have 32 bytes, not 3", crypto.seal, "abc", "")
        raises('did you mean "aes-256-gcm"', crypto.seal, ("x"):rep(32), "", "", "aes-256-gmc")
        raises("nonce must have 12 bytes", crypto.encrypt, "aes-128-gcm", ("x"):rep(16), "", "")
        raises("box must be [string]", crypto.open, "", nil)
    end)
end)
