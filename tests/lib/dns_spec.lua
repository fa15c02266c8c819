package.path = "tests/support/?.lua;" .. package.path

local dns = require "dns"
local dns_server = require "dns_server"
local fixture = require "dns_fixture"
local process = require "process"
local program = require "program"
local sync = require "sync"
local task = require "task"
local timer = require "timer"
local tools = require "tools"

local rr = dns_server.rr
local serve, black_hole, configure = fixture.serve, fixture.black_hole,
    fixture.configure
local name_of = fixture.name_of

before_each(fixture.before)
after_each(fixture.after)

describe("dns.resolve4 and resolve6", function()
    it("return the addresses in the server's order", function()
        serve { ["a.test"] = {
            A = { rr("a.test", "A", 60, "192.0.2.7"), rr("a.test", "A", 60, "192.0.2.1") },
            AAAA = { rr("a.test", "AAAA", 60, "2001:db8::7") },
        } }
        assert.same({ "192.0.2.7", "192.0.2.1" }, dns.resolve4("a.test"))
        assert.same({ "2001:db8::7" }, dns.resolve6("A.Test"))
    end)

    it("return literal addresses as they are, without asking", function()
        local server = serve {}
        assert.same({ "192.0.2.1" }, dns.resolve4("192.0.2.1"))
        assert.same({ "2001:DB8::0:1" }, dns.resolve6("2001:DB8::0:1"))
        assert.equal("ARES_ENODATA", name_of(dns.resolve4("::1")))
        assert.equal("ARES_ENODATA", name_of(dns.resolve6("127.0.0.1")))
        assert.equal(0, server.count)
    end)

    it("know localhost and what is below it without asking", function()
        configure("", "search .\n")
        local server = serve {}
        assert.same({ "127.0.0.1" }, dns.resolve4("localhost"))
        assert.same({ "127.0.0.1" }, dns.resolve4("a.b.LOCALHOST."))
        assert.same({ "::1" }, dns.resolve6("x.localhost"))
        assert.equal(0, server.count)
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("notlocalhost")))
        assert.equal(1, server.count)
    end)

    it("return the TTL that is left where it is asked for", function()
        serve { ["a.test"] = { A = { rr("a.test", "A", 60, "192.0.2.7") } } }
        local list = dns.resolve4("a.test", { ttl = true })
        assert.same({ { address = "192.0.2.7", ttl = 60 } }, list)
        local begun = timer.now()
        timer.sleep(1100)
        local left = dns.resolve4("a.test", { ttl = true })[1].ttl
        assert.is_true(left <= 59 and left >= 58 - (timer.now() - begun) / 1000, left)
    end)

    it("follow aliases, in whatever order the records come", function()
        serve {
            ["www.test"] = { A = {
                rr("c.test", "A", 60, "192.0.2.3"),
                rr("other.test", "A", 60, "192.0.2.9"),
                rr("b.test", "CNAME", 5, "C.test"),
                rr("www.test", "CNAME", 60, "b.test"),
            } },
            ["loop.test"] = { A = { rr("loop.test", "CNAME", 60, "loop.test") } },
            ["end.test"] = { A = { rr("end.test", "CNAME", 60, "nowhere.test") } },
        }
        assert.same({ "192.0.2.3" }, dns.resolve4("www.test"))
        assert.equal("ARES_EBADRESP", name_of(dns.resolve4("loop.test")))
        assert.equal("ARES_ENODATA", name_of(dns.resolve4("end.test")))
    end)

    it("name the error that the server answers with", function()
        local codes = {
            ["form.test"] = { 1, "ARES_EFORMERR" }, ["fail.test"] = { 2, "ARES_ESERVFAIL" },
            ["none.test"] = { 3, "ARES_ENOTFOUND" }, ["imp.test"] = { 4, "ARES_ENOTIMP" },
            ["ref.test"] = { 5, "ARES_EREFUSED" }, ["odd.test"] = { 9, "ARES_ESERVFAIL" },
            ["empty.test"] = { 0, "ARES_ENODATA" },
        }
        serve(function(q) return { rcode = codes[q.name][1] } end)
        for host, expected in pairs(codes) do
            local list, err = dns.resolve4(host)
            assert.is_nil(list)
            assert.equal(expected[2], err.name)
            assert.equal(host, err.address)
            assert.equal(10000, err.code - err.code % 100)
        end
    end)

    it("name the error of what is no name, and ask nobody", function()
        local server = serve {}
        for _, host in ipairs { "", ".", "..", "a..b", ".a", "a b", "a\0b", "\0", "é.test", "a\n",
            "a,b",
            ("a"):rep(64) .. ".test", ("a"):rep(300), ("a."):rep(127) .. "bc", "fe80::1%lo",
                "[::1]", "a:53" } do
            assert.equal("ARES_EBADNAME", name_of(dns.resolve4(host)))
            assert.equal("ARES_EBADNAME", name_of(dns.resolve6(host)))
            assert.equal("ARES_EBADNAME", name_of(dns.lookup(host)))
        end
        assert.equal(0, server.count)
        -- The longest there is: 253 bytes.
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4(("a."):rep(126) .. "b")))
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4(("a"):rep(63) .. ".test.")))
    end)

    it("raise at the caller's line for wrong arguments", function()
        local cases = {
            { "host must be %[string%], not nothing", dns.resolve4 },
            { "host must be %[string%]", dns.resolve6, 1 },
            { "host must be %[string%]", dns.lookup, {} },
            { "type must be %[string%]", dns.resolve, "a" },
            { 'unknown type "MXX" %(did you mean "MX"%?%)', dns.resolve, "a", "MXX" },
            { "ip must be %[string%]", dns.reverse },
            { 'unknown option "tries_" %(did you mean "tries"%?%)', dns.resolve4, "a",
                { tries_ = 1 } },
            { "options.timeout must be %[integer%]", dns.resolve4, "a", { timeout = 0 } },
            { "options.servers%[1%] must be an address", dns.resolve4, "a",
                { servers = { "dns.test" } } },
            { "options.servers must be addresses", dns.resolve4, "a",
                { servers = { "1.2.3.4:0" } } },
            { "options.servers must be addresses", dns.resolve4, "a",
                { servers = { "1.2.3.4:65536" } } },
            { "options.servers must be addresses", dns.resolve4, "a", { servers = { "1:2" } } },
            { "options.servers must be addresses", dns.resolve4, "a", { servers = { "[::1" } } },
            { "options.servers must name a server", dns.resolve4, "a", { servers = {} } },
            { "options.servers%[2%] must be %[string%]", dns.resolve4, "a", { servers = { "::1",
                2 } } },
            { "8 servers at most", dns.setServers, { "::1", "::2", "::3", "::4", "::5", "::6",
                "::7", "::8", "::9" } },
            { "options.family must be 0, 4 or 6", dns.lookup, "a", { family = 5 } },
            { "options.family must be 0, 4 or 6", dns.lookup, "a", { family = 2 } },
            { "list must be %[table|string|nil%]", dns.setServers, 5 },
            { 'unknown option "host" %(did you mean "hosts"%?%)', dns.configure, { host = "x" } },
        }
        for _, case in ipairs(cases) do
            local ok, message = pcall(function()
                local _ = case[2](case[3], case[4]) -- the line to be blamed
            end)
            assert.is_false(ok)
            assert.truthy(message:find(case[1]), message)
            assert.truthy(message:find("dns_spec.lua:%d+: dns%."), message)
        end
    end)
end)

describe("the cache", function()
    it("keeps an answer for as long as its TTL says", function()
        local server = serve { ["a.test"] = { A = {
            rr("a.test", "A", 3600, "192.0.2.1"), rr("a.test", "A", 1, "192.0.2.2") } } }
        local before = dns.stats()
        for _ = 1, 3 do assert(dns.resolve4("a.test")) end
        assert(dns.resolve4("A.TEST."))
        assert.equal(1, server.count)
        local stats = dns.stats()
        assert.equal(3, stats.hits - before.hits)
        assert.equal(1, stats.misses - before.misses)
        assert.equal(1, stats.cached)
        timer.sleep(1050)
        assert(dns.resolve4("a.test"))
        assert.equal(2, server.count)
    end)

    it("does not keep what has a TTL of 0, or none that makes sense", function()
        local server = serve {
            ["zero.test"] = { A = { rr("zero.test", "A", 0, "192.0.2.1") } },
            ["huge.test"] = { A = { rr("huge.test", "A", 0xffffffff, "192.0.2.1") } },
        }
        for _ = 1, 2 do
            assert(dns.resolve4("zero.test"))
            assert(dns.resolve4("huge.test"))
        end
        assert.equal(4, server.count)
    end)

    it("keeps within the least and the most that is configured", function()
        local server = serve { ["a.test"] = { A = { rr("a.test", "A", 0, "192.0.2.1") } },
            ["b.test"] = { A = { rr("b.test", "A", 3600, "192.0.2.1") } } }
        dns.configure { minTtl = 10 }
        for _ = 1, 2 do assert(dns.resolve4("a.test")) end
        assert.equal(1, server.count)
        dns.configure { minTtl = 0, maxTtl = 1 }
        assert(dns.resolve4("b.test"))
        timer.sleep(1050)
        assert(dns.resolve4("b.test"))
        assert.equal(3, server.count)
    end)

    it("keeps that there is none for as long as the SOA record says", function()
        local zones = { soa = rr("test", "SOA", 60, "ns.test", "root.test", 1, 2, 3, 4, 1),
            ["a.test"] = { AAAA = {} } }
        local server = serve(zones)
        for _ = 1, 2 do
            assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("none.test")))
            assert.equal("ARES_ENODATA", name_of(dns.resolve4("a.test")))
        end
        assert.equal(2, server.count)
        timer.sleep(1050)
        assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("none.test")))
        assert.equal(3, server.count)
    end)

    it("keeps that there is none for no longer than maxNegativeTtl", function()
        local server = serve { soa = rr("test", "SOA", 60, "ns.test", "root.test", 1, 2, 3, 4, 60) }
        dns.configure { maxNegativeTtl = 0 }
        for _ = 1, 2 do assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("none.test"))) end
        assert.equal(2, server.count)
    end)

    it("does not keep that there is none without an SOA record, nor any failure", function()
        local server = serve(function(q) return { rcode = q.name == "none.test" and 3 or 2 } end)
        for _ = 1, 2 do
            assert.equal("ARES_ENOTFOUND", name_of(dns.resolve4("none.test")))
            assert.equal("ARES_ESERVFAIL", name_of(dns.resolve4("fail.test")))
        end
        assert.equal(4, server.count)
        assert.equal(0, dns.stats().cached)
    end)

    it("holds no more than is configured, and forgets what was not used longest", function()
        local server = serve(function(q) return { answer = { rr(q.name, "A", 60,
            "192.0.2.1") } } end)
        dns.configure { cacheSize = 2 }
        for _, host in ipairs { "a.test", "b.test", "a.test", "c.test",
            "a.test" } do assert(dns.resolve4(host)) end
        assert.equal(3, server.count)
        assert.equal(2, dns.stats().cached)
        assert(dns.resolve4("b.test"))
        assert.equal(4, server.count)
        dns.configure { cacheSize = 0 }
        assert.equal(0, dns.stats().cached)
        for _ = 1, 2 do assert(dns.resolve4("d.test")) end
        assert.equal(6, server.count)
    end)

    it("forgets a name, or all, when it is told to", function()
        serve(function(q) return { answer = { rr(q.name, "A", 60, "192.0.2.1") } } end)
        for _, host in ipairs { "a.test", "b.test", "c.test" } do assert(dns.resolve4(host)) end
        assert.equal(0, dns.clearCache("x.test"))
        assert.equal(1, dns.clearCache("A.test"))
        assert.equal(2, dns.clearCache())
        assert.equal(0, dns.stats().bytes)
    end)

    it("does not mix the answers of different servers", function()
        local one = serve(function(q) return { answer = { rr(q.name, "A", 60, "192.0.2.1") } } end)
        local two = serve(function(q) return { answer = { rr(q.name, "A", 60, "192.0.2.2") } } end)
        for _ = 1, 2 do
            assert.same({ "192.0.2.1" }, dns.resolve4("a.test", { servers = { one.address } }))
            assert.same({ "192.0.2.2" }, dns.resolve4("a.test", { servers = two.address }))
        end
        assert.equal(1, one.count)
        assert.equal(1, two.count)
    end)

    it("returns a table of its own to every caller", function()
        serve(function(q) return { answer = { rr(q.name, "A", 60, "192.0.2.1") } } end)
        dns.resolve4("a.test")[1] = "changed"
        assert.same({ "192.0.2.1" }, dns.resolve4("a.test"))
    end)
end)

describe("tasks that ask at the same time", function()
    it("share one query", function()
        local server = serve(function(q)
            timer.sleep(5)
            return { answer = { rr(q.name, "A", 60, "192.0.2.1") } }
        end)
        local results = assert(task.map({ 1, 2, 3, 4, 5 },
            function() return dns.resolve4("a.test") end,
            { concurrency = 5 }))
        assert.equal(5, #results)
        for _, list in ipairs(results) do assert.same({ "192.0.2.1" }, list) end
        assert.equal(1, server.count)
    end)

    it("leave at once when cancelled, and the query goes on for the others", function()
        local go = sync.event()
        local server = serve(function(q)
            go:wait()
            return { answer = { rr(q.name, "A", 60, "192.0.2.1") } }
        end)
        local first = task.spawn(dns.resolve4, "a.test")
        local second = task.spawn(dns.resolve4, "a.test")
        timer.sleep(5)
        first:cancel("why")
        local _, list, err = first:join()
        assert.is_nil(list)
        assert.equal("ECANCELED", err.name)
        assert.equal(1, dns.stats().pending)
        go:set()
        assert.same({ "192.0.2.1" }, select(2, second:join()))
        assert.equal(1, server.count)
    end)

    it("leave the answer in the cache when all have gone", function()
        local go = sync.event()
        local server = serve(function(q)
            go:wait()
            return { answer = { rr(q.name, "A", 60, "192.0.2.1") } }
        end)
        local list, err = task.withTimeout(5, dns.resolve4, "a.test")
        assert.is_nil(list)
        assert.equal("ETIMEDOUT", err.name)
        assert.is_true(err.deadline)
        assert.equal(1, dns.stats().pending)
        go:set()
        tools.eventually("the answer", function() return dns.stats().pending == 0 end)
        assert.same({ "192.0.2.1" }, dns.resolve4("a.test"))
        assert.equal(1, server.count)
    end)

    it("get a cancel and a deadline out of every call that waits", function()
        local hole = black_hole()
        local options = { servers = { hole } }
        local calls = {
            { dns.resolve4, "a.test", options },
            { dns.resolve6, "a.test", options },
            { dns.lookup, "a.test", options },
            { dns.lookup, "a.test", { servers = { hole }, family = 4 } },
            { dns.resolve, "a.test", "MX", options },
            { dns.reverse, "192.0.2.1", options },
        }
        for _, call in ipairs(calls) do
            local t = task.spawn(unpack(call))
            timer.sleep(1)
            t:cancel()
            local _, list, err = t:join()
            assert.is_nil(list)
            assert.equal("ECANCELED", err.name)
            list, err = task.withTimeout(3, unpack(call))
            assert.is_nil(list)
            assert.equal("ETIMEDOUT", err.name)
            assert.is_true(err.deadline)
        end
    end)

    it("do not keep the process running when they have left", function()
        local hole = black_hole()
        local ended = program.eval(([[local dns, task = require "dns", require "task"
            local _, err = task.withTimeout(20, dns.resolve4, "a.test",
                { servers = { "%s" }, timeout = 600000 })
            print(err.name)]]):format(hole))
        assert.equal("ETIMEDOUT\n", ended.out)
    end)

    it("do not delay a 1 ms timer, 1,000 of them against a server that never answers", function()
        local hole, socket = black_hole()
        local busiest, ticks, tasks = 0, 0, {}
        local function computed()
            local cpu = process.cpuUsage()
            return cpu.user + cpu.sys
        end
        local before = dns.stats().pending
        for i = 1, 1000 do
            tasks[i] = task.spawn(dns.resolve4, i .. ".test",
                { servers = { hole }, timeout = 300, tries = 2 })
        end
        timer.sleep(2)
        assert.equal(1000, dns.stats().pending - before)
        local begun = timer.now()
        while timer.now() - begun < 800 do
            local before_tick = computed()
            timer.sleep(1)
            -- Not by the clock: another process may hold the processor.
            busiest = math.max(busiest, computed() - before_tick)
            ticks = ticks + 1
        end
        for i = 1, 1000 do
            local _, list, err = tasks[i]:join()
            assert.is_nil(list)
            assert.equal("ARES_ETIMEOUT", err.name)
        end
        assert.equal(before, dns.stats().pending)
        assert.is_true(ticks > 20)
        assert.is_true(busiest < 100, "a timer was late by " .. busiest .. " ms of computing")
        socket:close()
    end)

    it("are refused by name when 10,000 questions are being asked", function()
        local hole = black_hole()
        -- How many are refused of ten more than that.
        local function refused()
            local tasks, full = {}, 0
            for i = 1, 10010 - dns.stats().pending do
                tasks[i] = task.spawn(dns.resolve4, i .. ".test",
                    { servers = { hole }, timeout = 2000, tries = 1 })
            end
            for i = 1, #tasks do
                local _, _, err = tasks[i]:join()
                assert.truthy(err.name == "FULL" or err.name == "ARES_ETIMEOUT", err.name)
                if err.name == "FULL" then full = full + 1 end
            end
            return full
        end
        -- On a busy machine the first may have had their time before the last are asked.
        local full
        for _ = 1, 4 do
            full = refused()
            if full == 10 then break end
        end
        assert.equal(10, full)
    end)
end)

describe("dns.lookup", function()
    it("returns the addresses of both families, and asks for both at once", function()
        local server = serve { ["a.test"] = { A = { rr("a.test", "A", 60, "127.0.0.2") },
            AAAA = { rr("a.test", "AAAA", 60, "2001:db8::1") } } }
        local list = assert(dns.lookup("a.test"))
        assert.equal(2, #list)
        local by_family = {}
        for _, one in ipairs(list) do by_family[one.family] = one.address end
        assert.same({ [4] = "127.0.0.2", [6] = "2001:db8::1" }, by_family)
        assert.same({ { address = "127.0.0.2", family = 4 } }, dns.lookup("a.test", { family = 4 }))
        assert.same({ { address = "2001:db8::1", family = 6 } }, dns.lookup("a.test",
            { family = 6 }))
        assert.equal(2, server.count)
        assert.equal(1, #assert(dns.lookup("a.test", { all = false })))
    end)

    it("is content with one family", function()
        serve { ["four.test"] = { A = { rr("four.test", "A", 60, "192.0.2.1") } },
            ["six.test"] = { AAAA = { rr("six.test", "AAAA", 60, "::1") } }, ["none.test"] = {} }
        assert.same({ { address = "192.0.2.1", family = 4 } }, dns.lookup("four.test"))
        assert.same({ { address = "::1", family = 6 } }, dns.lookup("six.test"))
        assert.equal("ARES_ENODATA", name_of(dns.lookup("none.test")))
        assert.equal("ARES_ENOTFOUND", name_of(dns.lookup("no-such.test")))
    end)

    it("does not wait long for a family that does not answer", function()
        serve(function(q)
            if q.type == "A" then return { answer = { rr(q.name, "A", 60, "192.0.2.1") } } end
        end)
        local begun = timer.now()
        assert.same({ { address = "192.0.2.1", family = 4 } }, dns.lookup("a.test",
            { timeout = 20000 }))
        local took = timer.now() - begun
        assert.is_true(took >= 240 and took < 15000, "took " .. took)
        -- Nor when the one that answers is in the cache already.
        begun = timer.now()
        assert.equal(1, #assert(dns.lookup("a.test", { timeout = 20000 })))
        assert.is_true(timer.now() - begun < 15000)
    end)

    it("keeps the servers' order within IPv4, and puts what cannot be reached last", function()
        local answer = { rr("a.test", "A", 60, "192.0.2.9"), rr("a.test", "A", 60, "192.0.2.1") }
        serve { ["a.test"] = { A = answer }, ["b.test"] = {
            A = { rr("b.test", "A", 60, "127.0.0.1") }, AAAA = { rr("b.test", "AAAA", 60,
                "3fff::1") } } }
        local list = assert(dns.lookup("a.test"))
        assert.equal("192.0.2.9", list[1].address)
        assert.equal("192.0.2.1", list[2].address)
    end)

    it("returns literal addresses as they are", function()
        assert.same({ { address = "192.0.2.1", family = 4 } }, dns.lookup("192.0.2.1"))
        assert.same({ { address = "::1", family = 6 } }, dns.lookup("::1"))
        assert.equal("ARES_ENODATA", name_of(dns.lookup("::1", { family = 4 })))
    end)
end)
