local url = require "url"

local function rejects(s)
    local parts, err = url.parse(s)
    assert.is_nil(parts, "accepted " .. s)
    assert.equal("HTTP_BAD_URL", err.name)
    return err.message
end

describe("url.parse", function()
    it("takes the examples of RFC 3986 apart", function()
        assert.same({ scheme = "ftp", host = "ftp.is.co.za", path = "/rfc/rfc1808.txt" },
            url.parse("ftp://ftp.is.co.za/rfc/rfc1808.txt"))
        assert.same({ scheme = "ldap", host = "2001:db8::7", path = "/c=GB",
            query = "objectClass?one" },
            url.parse("ldap://[2001:db8::7]/c=GB?objectClass?one"))
        assert.same({ scheme = "mailto", path = "John.Doe@example.com" },
            url.parse("mailto:John.Doe@example.com"))
        assert.same({ scheme = "telnet", host = "192.0.2.16", port = 80, path = "/" },
            url.parse("telnet://192.0.2.16:80/"))
        assert.same({ scheme = "urn", path = "oasis:names:specification:docbook:dtd:xml:4.1.2" },
            url.parse("urn:oasis:names:specification:docbook:dtd:xml:4.1.2"))
        assert.same({ scheme = "foo", host = "example.com", port = 8042, path = "/over/there",
            query = "name=ferret", fragment = "nose" },
            url.parse("foo://example.com:8042/over/there?name=ferret#nose"))
    end)

    it("tells an empty part from one that is not there", function()
        assert.same({ path = "" }, url.parse(""))
        assert.same({ path = "", query = "" }, url.parse("?"))
        assert.same({ path = "", fragment = "" }, url.parse("#"))
        assert.same({ scheme = "file", host = "", path = "/etc" }, url.parse("file:///etc"))
        assert.same({ scheme = "http", host = "a", path = "" }, url.parse("http://a:"))
        assert.same({ scheme = "http", user = "", host = "a", path = "" }, url.parse("http://@a"))
    end)

    it("makes scheme and host small, and nothing else", function()
        assert.same({ scheme = "http", user = "U:P", host = "a.b", path = "/C", query = "D",
            fragment = "E" },
            url.parse("HTTP://U:P@A.B/C?D#E"))
    end)

    it("knows an IPv6 address from what only looks like one", function()
        for _, host in ipairs {
            "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1::8", "fe80::1:2", "::ffff:1.2.3.4",
            "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
        } do
            assert.equal(host, assert(url.parse("http://[" .. host .. "]/")).host)
        end
        for _, host in ipairs {
            "", ":", ":::", "1", "1:2", "1::2::3", "12345::", "g::", "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7",
            "1.2.3.4", "1.2.3.4::", "::1.2.3", "::256.1.1.1", "::1%25eth0", "1:2:3:4:5:6:7:8::",
            "::1.2.3.4:1",
        } do
            rejects("http://[" .. host .. "]/")
        end
    end)

    it("says what is wrong with a text that is no URL", function()
        assert.equal('byte 0x20 cannot stand in the path of a URL', rejects("http://a/b c"))
        assert.equal('byte 0x00 cannot stand in the query of a URL', rejects("http://a/?\0"))
        assert.equal('byte 0x0a cannot stand in the host of a URL', rejects("http://a\n/"))
        assert.equal('"<" cannot stand in the fragment of a URL', rejects("/#<"))
        assert.equal('"\\" cannot stand in the host of a URL', rejects("http://a\\b/"))
        assert.equal('a "%" in the path is not followed by two hexadecimal digits', rejects("/%4"))
        assert.equal("the port is not a number", rejects("http://a:b/"))
        assert.equal("the port is larger than 65535", rejects("http://a:65536/"))
        assert.equal("the scheme is empty", rejects(":x"))
        assert.equal("the scheme is malformed", rejects("1a:x"))
        assert.equal("the host looks like an IPv4 address, and is none",
            rejects("http://1.2.3.256/"))
        assert.truthy(rejects("/" .. ("a"):rep(65536)):find("longer than 65536", 1, true))
        rejects("http://a@b@c/")
        rejects("http://é/")
        rejects("http://[::1]x/")
        rejects("http://[::1/")
    end)

    it("resolves against a base, where one is given", function()
        assert.same({ scheme = "http", host = "a", port = 81, path = "/b/d", query = "e" },
            url.parse("d?e", "http://a:81/b/c?x#y"))
    end)
end)

describe("url.format", function()
    it("is the inverse of parse", function()
        for _, s in ipairs {
            "http://a", "http://u:p@a:8080/b/c?d=e#f", "//a/b", "/a?b", "a/b", "", "?", "#",
            "file:///x",
            "http://[::1]:80/", "mailto:a@b.c", "http://a/b%20c?d%26#%41", "urn:a:b", "http://@a",
        } do
            assert.equal(s, url.format(assert(url.parse(s))))
        end
    end)

    it("round-trips what random bytes can be parsed", function()
        math.randomseed(5)
        local alphabet = "ab1:/?#[]@!%4.-+;"
        local parsed = 0
        for _ = 1, 20000 do
            local letters = {}
            for i = 1, math.random(0, 14) do
                local at = math.random(#alphabet)
                letters[i] = alphabet:sub(at, at)
            end
            local parts = url.parse(table.concat(letters))
            if parts then
                parsed = parsed + 1
                local s = assert(url.format(parts))
                assert.same(parts, url.parse(s))
                assert.equal(s, url.format(url.parse(s)))
            end
        end
        assert.truthy(parsed > 1000)
    end)

    it("refuses parts that would be read as others", function()
        for _, parts in ipairs {
            { path = "//a" }, { path = "a:b" }, { path = "?" }, { host = "a", path = "b" },
            { host = "a/b", path = "" }, { host = "a", user = "x@y" }, { user = "x", path = "" },
            { port = 1 },
            { host = "a:1" }, { query = "a#b" }, { path = "a b" }, { scheme = "a b", path = "" },
        } do
            local s, err = url.format(parts)
            assert.is_nil(s)
            assert.equal("HTTP_BAD_URL", err.name)
        end
    end)

    it("raises for parts of another type and for those that nobody knows", function()
        assert.has_error(function() url.format { port = "80" } end)
        assert.has_error(function() url.format { hots = "a" } end)
        assert.has_error(function() url.format "x" end)
    end)
end)

describe("url.resolve", function()
    -- RFC 3986, 5.4.
    local examples = {
        ["g:h"] = "g:h", ["g"] = "http://a/b/c/g", ["./g"] = "http://a/b/c/g",
        ["g/"] = "http://a/b/c/g/",
        ["/g"] = "http://a/g", ["//g"] = "http://g", ["?y"] = "http://a/b/c/d;p?y",
        ["g?y"] = "http://a/b/c/g?y", ["#s"] = "http://a/b/c/d;p?q#s", ["g#s"] = "http://a/b/c/g#s",
        ["g?y#s"] = "http://a/b/c/g?y#s", [";x"] = "http://a/b/c/;x", ["g;x"] = "http://a/b/c/g;x",
        ["g;x?y#s"] = "http://a/b/c/g;x?y#s", [""] = "http://a/b/c/d;p?q", ["."] = "http://a/b/c/",
        ["./"] = "http://a/b/c/", [".."] = "http://a/b/", ["../"] = "http://a/b/",
        ["../g"] = "http://a/b/g",
        ["../.."] = "http://a/", ["../../"] = "http://a/", ["../../g"] = "http://a/g",
        ["../../../g"] = "http://a/g", ["../../../../g"] = "http://a/g", ["/./g"] = "http://a/g",
        ["/../g"] = "http://a/g", ["g."] = "http://a/b/c/g.", [".g"] = "http://a/b/c/.g",
        ["g.."] = "http://a/b/c/g..", ["..g"] = "http://a/b/c/..g", ["./../g"] = "http://a/b/g",
        ["./g/."] = "http://a/b/c/g/", ["g/./h"] = "http://a/b/c/g/h",
        ["g/../h"] = "http://a/b/c/h",
        ["g;x=1/./y"] = "http://a/b/c/g;x=1/y", ["g;x=1/../y"] = "http://a/b/c/y",
        ["g?y/./x"] = "http://a/b/c/g?y/./x", ["g?y/../x"] = "http://a/b/c/g?y/../x",
        ["g#s/./x"] = "http://a/b/c/g#s/./x", ["g#s/../x"] = "http://a/b/c/g#s/../x",
        ["http:g"] = "http:g",
    }
    for ref, expected in pairs(examples) do
        it("resolves " .. (ref == "" and "nothing" or ref) .. " as RFC 3986 does", function()
            assert.equal(expected, url.resolve("http://a/b/c/d;p?q", ref))
        end)
    end

    it("keeps a base without a path apart from what is added", function()
        assert.equal("http://a/b", url.resolve("http://a", "b"))
        assert.equal("http://a/b//c", url.resolve("http://a/b//d", "c"))
    end)

    it("returns HTTP_BAD_URL for a base that is not absolute", function()
        assert.equal("HTTP_BAD_URL", select(2, url.resolve("/a", "b")).name)
        assert.equal("HTTP_BAD_URL", select(2, url.resolve("http://a", "b c")).name)
    end)
end)
