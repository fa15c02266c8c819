package.path = "tests/support/?.lua;" .. package.path

local dns = require "dns"
local dns_server = require "dns_server"
local fixture = require "dns_fixture"

local rr, raw = dns_server.rr, dns_server.raw
local serve, configure, name_of = fixture.serve, fixture.configure,
    fixture.name_of

before_each(fixture.before)
after_each(fixture.after)

describe("dns.resolve", function()
    it("returns the records of each type, with their TTL", function()
        serve { ["a.test"] = {
            A = { rr("a.test", "A", 60, "192.0.2.1") },
            AAAA = { rr("a.test", "AAAA", 61, "2001:db8::1") },
            NS = { rr("a.test", "NS", 62, "ns1.test"), rr("a.test", "NS", 63, "ns2.test") },
            CNAME = { rr("a.test", "CNAME", 64, "b.test") },
            MX = { rr("a.test", "MX", 65, 10, "Mail.test"), rr("a.test", "MX", 65, 20,
                "mail2.test") },
            TXT = { rr("a.test", "TXT", 66, "v=spf1", " -all"), rr("a.test", "TXT", 66, "",
                "\0\255") },
            SRV = { rr("a.test", "SRV", 67, 1, 2, 8080, "host.test") },
            SOA = { rr("a.test", "SOA", 68, "ns.test", "a.b.test", 4294967295, 2, 3, 4, 5) },
            PTR = { rr("a.test", "PTR", 69, "p.test") },
            CAA = { rr("a.test", "CAA", 70, 128, "issue", "ca.test"), rr("a.test", "CAA", 70, 0,
                "iodef", "x") },
            NAPTR = { rr("a.test", "NAPTR", 71, 1, 2, "U", "E2U+sip", "!^.*$!sip:a@b!", "r.test") },
            ANY = { rr("a.test", "A", 60, "192.0.2.1"), rr("a.test", "MX", 5, 1, "m.test"),
                rr("a.test", "HINFO", 6, "x", "y") },
        } }
        local function all(type) return assert(dns.resolve("a.test", type)) end
        assert.same({ { type = "A", address = "192.0.2.1", ttl = 60 } }, all "A")
        assert.same({ { type = "AAAA", address = "2001:db8::1", ttl = 61 } }, all "aaaa")
        assert.same({ { type = "NS", name = "ns1.test", ttl = 62 }, { type = "NS",
            name = "ns2.test", ttl = 63 } },
            all "NS")
        assert.same({ { type = "CNAME", name = "b.test", ttl = 64 } }, all "CNAME")
        assert.same({ { type = "MX", exchange = "mail.test", priority = 10, ttl = 65 },
            { type = "MX", exchange = "mail2.test", priority = 20, ttl = 65 } }, all "MX")
        assert.same({ { type = "TXT", "v=spf1", " -all", text = "v=spf1 -all", ttl = 66 },
            { type = "TXT", "", "\0\255", text = "\0\255", ttl = 66 } }, all "TXT")
        assert.same({ { type = "SRV", name = "host.test", port = 8080, priority = 1, weight = 2,
            ttl = 67 } },
            all "SRV")
        assert.same({ { type = "SOA", nsname = "ns.test", hostmaster = "a.b.test",
            serial = 4294967295,
            refresh = 2, retry = 3, expire = 4, minttl = 5, ttl = 68 } }, all "SOA")
        assert.same({ { type = "PTR", name = "p.test", ttl = 69 } }, all "PTR")
        assert.same({ { type = "CAA", flags = 128, critical = true, tag = "issue",
            value = "ca.test", ttl = 70 },
            { type = "CAA", flags = 0, critical = false, tag = "iodef", value = "x", ttl = 70 } },
                all "CAA")
        assert.same({ { type = "NAPTR", order = 1, preference = 2, flags = "U", service = "E2U+sip",
            regexp = "!^.*$!sip:a@b!", replacement = "r.test", ttl = 71 } }, all "NAPTR")
        assert.same({ { type = "A", address = "192.0.2.1", ttl = 60 },
            { type = "MX", exchange = "m.test", priority = 1, ttl = 5 },
            { type = "TYPE13", data = "\1x\1y", ttl = 6 } }, all "ANY")
    end)

    it("asks the DNS and nobody else", function()
        configure("192.0.2.9 a.test\n", "search one.test\n")
        local server = serve { ["a.test"] = { A = { rr("a.test", "A", 60, "192.0.2.1") } } }
        assert.equal("192.0.2.1", dns.resolve("a.test", "A")[1].address)
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve("b", "A")))
        assert.equal(2, server.count)
        assert.equal("resolve A", select(2, dns.resolve("b", "A")).syscall)
    end)

    it("knows the root, and names that hosts do not have", function()
        local server = serve(function(q) return { answer = { rr(q.name, "NS", 60,
            "ns.test") } } end)
        assert.equal("ns.test", assert(dns.resolve(".", "NS"))[1].name)
        assert.equal("", server.log[1].name)
        for _, name in ipairs { "_sip._tcp.test", "*.test", "0/25.2.0.192.in-addr.arpa" } do
            assert.equal("ns.test", assert(dns.resolve(name, "NS"))[1].name)
        end
    end)

    it("escapes what names usually do not have", function()
        serve { ["a.test"] = { NS = { raw("a.test", "NS", 60, "\6a.b\\ \0\4test\0") } } }
        assert.equal([[a\.b\\\032\000.test]], dns.resolve("a.test", "NS")[1].name)
    end)

    it("understands compressed names", function()
        serve { ["a.test"] = { MX = { raw("a.test", "MX", 60, "\0\1\4mail\192\14") } } }
        assert.equal("mail.test", dns.resolve("a.test", "MX")[1].exchange)
    end)
end)

describe("dns.reverse", function()
    it("returns the names of an address", function()
        local server = serve {
            ["1.2.0.192.in-addr.arpa"] = { PTR = { rr("1.2.0.192.in-addr.arpa", "PTR", 60,
                "a.test"),
                rr("1.2.0.192.in-addr.arpa", "PTR", 60, "b.test") } },
        }
        assert.same({ "a.test", "b.test" }, dns.reverse("192.0.2.1"))
        assert.equal("ARES_ENOTFOUND", name_of(dns.reverse("2001:db8::567:89ab")))
        assert.equal("b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            server.log[2].name)
    end)

    it("looks into the hosts file first, and knows the loopback addresses", function()
        configure("192.0.2.1 a.test b.test\n192.0.2.2 c.test\n192.0.2.1 d.test\n", "")
        local server = serve {}
        assert.same({ "a.test", "b.test", "d.test" }, dns.reverse("192.0.2.1"))
        assert.same({ "localhost" }, dns.reverse("127.0.0.5"))
        assert.same({ "localhost" }, dns.reverse("::1"))
        assert.equal(0, server.count)
    end)

    it("names the error of what is no address", function()
        for _, ip in ipairs { "", "a.test", "1.2.3", "1.2.3.4.5", "1.2.3.4\0", "::1%lo", ":::" } do
            assert.equal("EINVAL", name_of(dns.reverse(ip)))
        end
    end)

    it("returns no name that a host could not have", function()
        serve(function(q)
            return { answer = { raw(q.name, "PTR", 60, "\9<script>;\0"), raw(q.name, "PTR", 60,
                "\4test\0") } }
        end)
        assert.same({ "test" }, dns.reverse("192.0.2.1"))
        serve(function(q) return { answer = { raw(q.name, "PTR", 60, "\2$(\0") } } end)
        assert.equal("ARES_EBADRESP", name_of(dns.reverse("192.0.2.1")))
    end)
end)
