package.path = "tests/support/?.lua;" .. package.path

local dns = require "dns"
local dns_server = require "dns_server"
local fixture = require "dns_fixture"
local program = require "program"
local timer = require "timer"

local rr = dns_server.rr
local serve, black_hole, nobody, configure = fixture.serve, fixture.black_hole, fixture.nobody,
    fixture.configure
local name_of, temporary, write_file = fixture.name_of, fixture.temporary, fixture.write_file

before_each(fixture.before)
after_each(fixture.after)

describe("resolv.conf", function()
    local function asked_of(server)
        local list = {}
        for i, q in ipairs(server.log) do list[i] = q.name end
        server.log = {}
        return list
    end

    it("has domains to search, for names with fewer dots than ndots first", function()
        configure("", "search one.test two.test\n")
        local server = serve { ["h.two.test"] = { A = { rr("h.two.test", "A", 60, "192.0.2.1") } },
            ["x.y.one.test"] = { A = { rr("x.y.one.test", "A", 60, "192.0.2.2") } } }
        assert.same({ "192.0.2.1" }, dns.resolve4("h"))
        assert.same({ "h.one.test", "h.two.test" }, asked_of(server))
        assert.same({ "192.0.2.2" }, dns.resolve4("x.y"))
        assert.same({ "x.y", "x.y.one.test" }, asked_of(server))
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("none")))
        assert.same({ "none.one.test", "none.two.test", "none" }, asked_of(server))
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("h.")))
        assert.same({ "h" }, asked_of(server))
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve("h", "A")))
        assert.same({ "h" }, asked_of(server))
        assert.same({ { address = "192.0.2.1", family = 4 } }, dns.lookup("h", { family = 4 }))
    end)

    it("says by ndots which names are tried as they are first", function()
        configure("", "options ndots:3\nsearch one.test\n")
        local server = serve {}
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("a.b.c")))
        assert.same({ "a.b.c.one.test", "a.b.c" }, asked_of(server))
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("a.b.c.d")))
        assert.same({ "a.b.c.d", "a.b.c.d.one.test" }, asked_of(server))
    end)

    it("is searched on after a name without such a record, and that is what is said in the end",
        function()
        configure("", "search one.test two.test\n")
        local server = serve { ["h.one.test"] = { AAAA = {} } }
        assert.equal("ARES_ENODATA", name_of(dns.resolve4("h")))
        assert.equal(3, #asked_of(server))
    end)

    it("is not searched on when nobody answers", function()
        configure("", "search one.test two.test\noptions timeout:1 attempts:1\n")
        dns.setServers { nobody() }
        local before = dns.stats().failures
        assert.equal("ARES_ECONNREFUSED", name_of(dns.resolve4("h")))
        assert.equal(1, dns.stats().failures - before)
    end)

    it("passes over a search domain that makes the name too long", function()
        configure("", "search " .. ("d"):rep(60) .. "." .. ("e"):rep(60) .. "\n")
        local server = serve {}
        local host = ("a."):rep(100) .. "b"
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4(host)))
        assert.same({ host }, asked_of(server))
    end)

    it("says how long to wait, how often to ask, and whether servers take turns", function()
        configure("", "options timeout:1 attempts:1\n")
        local hole, socket = black_hole()
        dns.setServers { hole }
        local begun = timer.now()
        assert.equal("ARES_ETIMEOUT", name_of(dns.resolve4("a.test")))
        local took = timer.now() - begun
        assert.is_true(took >= 990 and took < 20000, "took " .. took)
        assert.truthy(socket:recv(0))
        assert.is_nil(socket:recv(0))
    end)

    it("is read again when it changes, and so is the hosts file", function()
        local hosts, conf = temporary("192.0.2.1 a.test\n"), temporary("nameserver 192.0.2.1\n")
        dns.configure { hosts = hosts, resolvConf = conf }
        assert.same({ "192.0.2.1" }, dns.resolve4("a.test"))
        assert.same({ "192.0.2.1" }, dns.getServers())
        write_file(hosts, "192.0.2.22 a.test b.test\n")
        write_file(conf, "nameserver 192.0.2.22\n")
        timer.sleep(1010)
        assert.same({ "192.0.2.22" }, dns.resolve4("a.test"))
        assert.same({ "192.0.2.22" }, dns.resolve4("b.test"))
        assert.same({ "192.0.2.22" }, dns.getServers())
        os.remove(hosts)
        os.remove(conf)
        timer.sleep(1010)
        assert.same({ "127.0.0.1" }, dns.getServers())
        dns.setServers { nobody() }
        assert.equal("ARES_ECONNREFUSED", name_of(dns.resolve4("a.test")))
    end)

    it("and hosts may be named by the environment", function()
        local hosts, conf = temporary("192.0.2.1 a.test\n"), temporary("nameserver 192.0.2.5\n")
        local ended = program.eval([[local dns = require "dns"
            print(dns.resolve4("a.test")[1], dns.getServers()[1])]],
            { env = { "LINKS_HOSTS=" .. hosts, "LINKS_RESOLV_CONF=" .. conf } })
        assert.equal("192.0.2.1\t192.0.2.5\n", ended.out)
    end)
end)

describe("the hosts file", function()
    it("comes before the DNS, with all lines of a name, in their order", function()
        configure([[
# a comment
192.0.2.1   a.test  alias   # another
192.0.2.2	b.test a.test
2001:db8::1 A.TEST.
bad.address x.test
192.0.2.1 a.test
192.0.2.3
::ffff:192.0.2.9 mapped.test
::1 six.test
]], "search .\n")
        local server = serve {}
        assert.same({ "192.0.2.1", "192.0.2.2" }, dns.resolve4("a.test"))
        assert.same({ "192.0.2.1" }, dns.resolve4("ALIAS"))
        assert.same({ "2001:db8::1" }, dns.resolve6("a.test"))
        assert.same({ "192.0.2.9" }, dns.resolve4("mapped.test"))
        assert.same({ "127.0.0.1" }, dns.resolve4("six.test"))
        assert.equal(3, #assert(dns.lookup("a.test")))
        assert.equal(0, server.count)
        -- What it does not have of a family is asked for.
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve6("b.test")))
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("x.test")))
        assert.equal(2, server.count)
    end)

    it("may be large", function()
        local lines = {}
        for i = 1, 50000 do lines[i] = ("192.0.%d.%d host%d.test\n"):format(i / 256 % 256, i % 256,
            i) end
        configure(table.concat(lines), "search .\n")
        local server = serve {}
        assert.same({ "192.0.195.80" }, dns.resolve4("host50000.test"))
        assert.same({ "192.0.0.1" }, dns.resolve4("host1.test"))
        assert.equal(0, server.count)
    end)

    it("may be anything but a file", function()
        dns.configure { hosts = "/", resolvConf = "/dev/zero" }
        assert.same({ "127.0.0.1" }, dns.resolve4("localhost"))
        assert.same({ "127.0.0.1" }, dns.getServers())
    end)
end)
