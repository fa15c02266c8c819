local codec = require "codec"

-- Random, and the same in each run.
local function random_bytes(n, low, high)
    local letters = {}
    for i = 1, n do letters[i] = string.char(math.random(low or 0, high or 255)) end
    return table.concat(letters)
end

local function fails(fn, ...)
    local value, err = fn(...)
    assert.is_nil(value)
    assert.equal("PARSE", err.name)
    return err.message
end

describe("codec.base64", function()
    it("encodes and decodes the vectors of RFC 4648", function()
        local vectors = {
            [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=",
            foobar = "Zm9vYmFy",
        }
        for plain, encoded in pairs(vectors) do
            assert.equal(encoded, codec.base64.encode(plain))
            assert.equal(plain, codec.base64.decode(encoded))
            assert.equal((encoded:gsub("=", "")), codec.base64url.encode(plain))
            assert.equal(plain, codec.base64url.decode(encoded))
            assert.equal(plain, codec.base64url.decode((encoded:gsub("=", ""))))
        end
    end)

    it("round-trips random bytes of every length", function()
        math.randomseed(1)
        for n = 0, 300 do
            local s = random_bytes(n)
            assert.equal(s, codec.base64.decode(codec.base64.encode(s)))
            assert.equal(s, codec.base64url.decode(codec.base64url.encode(s)))
            assert.is_nil(codec.base64url.encode(s):find("[^%w_-]"))
        end
    end)

    it("round-trips a value larger than what it keeps room for", function()
        local s = random_bytes(1000):rep(2000)
        assert.equal(s, codec.base64.decode(codec.base64.encode(s)))
        assert.equal(s, codec.hex.decode(codec.hex.encode(s)))
    end)

    it("names the byte that is wrong", function()
        assert.equal("not a letter of its alphabet at byte 3", fails(codec.base64.decode, "Zm*v"))
        assert.equal("not a letter of its alphabet at byte 1", fails(codec.base64.decode, "-m9v"))
        assert.equal("not a letter of its alphabet at byte 2", fails(codec.base64url.decode, "Z+"))
        assert.equal("not a letter of its alphabet at byte 5", fails(codec.base64.decode,
            "Zm9v\nZm9v"))
        assert.equal("it ends too early at byte 4", fails(codec.base64.decode, "Zm8"))
        assert.equal("it ends too early at byte 6", fails(codec.base64url.decode, "Zm9vY"))
    end)

    it("refuses padding in the wrong place, and bits that no byte takes", function()
        for _, s in ipairs { "=", "==", "====", "Z===", "Zg=g", "Zg==Zg==", "=Zg=", "Zg=" } do
            fails(codec.base64.decode, s)
        end
        assert.equal("its last bits are not zero at byte 2", fails(codec.base64.decode, "Zh=="))
        assert.equal("its last bits are not zero at byte 3", fails(codec.base64.decode, "Zm9="))
    end)

    it("never decodes one value from two texts", function()
        math.randomseed(2)
        for _ = 1, 20000 do
            local s = random_bytes(math.random(0, 9), 40, 125)
            local value = codec.base64.decode(s)
            if value then assert.equal(s, codec.base64.encode(value)) end
        end
    end)

    it("raises for what is no string", function()
        assert.has_error(function() codec.base64.encode(1) end)
        assert.has_error(function() codec.base64url.decode(nil) end)
    end)
end)

describe("codec.hex", function()
    it("round-trips random bytes and takes both cases", function()
        for n = 0, 100 do
            local s = random_bytes(n)
            assert.equal(s, codec.hex.decode(codec.hex.encode(s)))
            assert.equal(s, codec.hex.decode(codec.hex.encode(s):upper()))
        end
    end)

    it("names the byte that is wrong", function()
        assert.equal("half a byte at byte 3", fails(codec.hex.decode, "abc"))
        assert.equal("not a hexadecimal digit at byte 2", fails(codec.hex.decode, "ag"))
        assert.equal("not a hexadecimal digit at byte 3", fails(codec.hex.decode, "ab "))
    end)
end)

describe("codec.escapeUri", function()
    it("keeps letters, digits and -._~ and escapes every other byte", function()
        for b = 0, 255 do
            local c = string.char(b)
            local kept = c:find("^[A-Za-z0-9._~-]$")
            assert.equal(kept and c or ("%%%02X"):format(b), codec.escapeUri(c))
        end
    end)

    it("is undone by unescapeUri", function()
        for n = 0, 200 do
            local s = random_bytes(n)
            assert.equal(s, codec.unescapeUri(codec.escapeUri(s)))
        end
    end)

    it("leaves half an escape and + as they are", function()
        assert.equal("%", codec.unescapeUri("%"))
        assert.equal("%4", codec.unescapeUri("%4"))
        assert.equal("%4gA%", codec.unescapeUri("%4g%41%"))
        assert.equal("a+b c", codec.unescapeUri("a+b%20c"))
        assert.equal("%41", codec.unescapeUri("%2541"))
    end)
end)

describe("codec.encodeArgs", function()
    it("writes numbers, lists, names without a value, in the order of the names", function()
        assert.equal("", codec.encodeArgs {})
        assert.equal("a=1.5&b=x&b=y&c&e=", codec.encodeArgs {
            c = true, b = { "x", "y" }, a = 1.5, d = false, e = "",
        })
        assert.equal("%26=%3D+%2B", codec.encodeArgs { ["&"] = "= +" })
    end)

    it("round-trips random tables", function()
        math.randomseed(3)
        for _ = 1, 500 do
            local args = {}
            for _ = 1, math.random(0, 5) do
                local value = random_bytes(math.random(0, 6))
                if math.random(3) == 1 then value = { value, random_bytes(2) } end
                args["n" .. random_bytes(math.random(0, 3))] = value
            end
            assert.same(args, codec.decodeArgs(codec.encodeArgs(args)))
        end
    end)

    it("raises for values that no form can hold", function()
        assert.has_error(function() codec.encodeArgs { a = print } end)
        assert.has_error(function() codec.encodeArgs { a = { {} } } end)
        assert.has_error(function() codec.encodeArgs { [true] = "x" } end)
    end)
end)

describe("codec.decodeArgs", function()
    it("reads what browsers send, and what they do not", function()
        assert.same({}, codec.decodeArgs(""))
        assert.same({}, codec.decodeArgs("&&&"))
        assert.same({ a = "1", b = "" }, codec.decodeArgs("&a=1&&b"))
        assert.same({ a = "b=c" }, codec.decodeArgs("a=b=c"))
        assert.same({ [""] = "x" }, codec.decodeArgs("=x"))
        assert.same({ a = { "1", "2", "3" } }, codec.decodeArgs("a=1&a=2&a=3"))
        assert.same({ ["a b"] = "c d" }, codec.decodeArgs("a+b=c%20d"))
        assert.same({ a = "%zz%" }, codec.decodeArgs("a=%zz%"))
    end)

    it("stops at the limit, and says so", function()
        local args, err = codec.decodeArgs("a=1&b=2&c=3", 2)
        assert.same({ a = "1", b = "2" }, args)
        assert.equal("TOO_LARGE", err.name)
        assert.is_nil(select(2, codec.decodeArgs("a=1&b=2", 2)))
        assert.equal("TOO_LARGE", select(2, codec.decodeArgs(("a&"):rep(1001))).name)
        assert.is_nil(select(2, codec.decodeArgs(("a&"):rep(1000))))
    end)

    it("survives any bytes", function()
        math.randomseed(4)
        for _ = 1, 2000 do
            local args = codec.decodeArgs(random_bytes(math.random(0, 30), 32, 64))
            for name, value in pairs(args) do
                assert.equal("string", type(name))
                assert.truthy(type(value) == "string" or #value > 1)
            end
        end
    end)
end)

describe("codec.escapeHtml", function()
    it("escapes what ends a text or an attribute, and is undone by unescapeHtml", function()
        local s = [[<a href="x" title='y'>&amp;</a>]]
        assert.is_nil(codec.escapeHtml(s):find("[<>\"']"))
        assert.equal(s, codec.unescapeHtml(codec.escapeHtml(s)))
        assert.equal("plain", codec.escapeHtml("plain"))
    end)

    it("leaves entities that it does not know, and code points that are none", function()
        assert.equal("&foo; &#0; &#xD800; &#x110000; &#99999999999; & &;",
            codec.unescapeHtml("&foo; &#0; &#xD800; &#x110000; &#99999999999; & &;"))
        assert.equal("A\194\162\226\130\172\240\159\152\128",
            codec.unescapeHtml("&#65;&#xa2;&#8364;&#x1F600;"))
        assert.equal("&lt;", codec.unescapeHtml("&amp;lt;"))
    end)
end)

describe("codec.msgpack", function()
    it("is the module msgpack", function()
        assert.equal(require "msgpack", codec.msgpack)
        assert.is_nil(codec.other)
    end)
end)

describe("codec.utf8valid", function()
    it("takes every length, at its first and its last code point", function()
        for _, s in ipairs {
            "", "a", "\0", "\194\128", "\223\191", "\224\160\128", "\237\159\191", "\238\128\128",
            "\239\191\191", "\240\144\128\128", "\244\143\191\191",
        } do
            assert.is_true(codec.utf8valid("x" .. s .. "y"))
        end
    end)

    it("finds overlong forms, surrogates, what is too large and what ends too early", function()
        for _, s in ipairs {
            "\128", "\191", "\192\128", "\193\191", "\224\159\191", "\237\160\128", "\237\191\191",
            "\240\143\191\191", "\244\144\128\128", "\245\128\128\128", "\255", "\194", "\226\130",
            "\240\159\152", "\226\40\161", "\194\194\128",
        } do
            local valid, at = codec.utf8valid("ab" .. s)
            assert.is_false(valid)
            assert.equal(3, at)
        end
    end)
end)

describe("querystring", function()
    local querystring = require "querystring"

    it("parses and stringifies with separators of one's own", function()
        local s = querystring.stringify({ a = "1;2", b = { "x:y", "&=" } }, ";", ":")
        assert.equal("a:1%3B2;b:x%3Ay;b:%26%3D", s)
        assert.same({ a = "1;2", b = { "x:y", "&=" } }, querystring.parse(s, ";", ":"))
        assert.same({ a = "1", b = "" }, querystring.parse("a==1&b", nil, "=="))
    end)

    it("has a limit, and says that it was reached", function()
        local args, err = querystring.parse("a&b&c", nil, nil, { maxKeys = 2 })
        assert.same({ a = "", b = "" }, args)
        assert.equal("TOO_LARGE", err.name)
    end)

    it("raises for empty separators and unknown options", function()
        assert.has_error(function() querystring.parse("a", "") end)
        assert.has_error(function() querystring.parse("a", nil, nil, { maxkeys = 1 }) end)
    end)
end)
