package.path = "tests/support/?.lua;" .. package.path

local dns_server = require "dns_server"
local program = require "program"

local rr = dns_server.rr

describe("examples/resolve.lua", function()
    local server

    local function run(...)
        return program.run { "examples/resolve.lua", "@" .. server.address, ... }
    end

    before_each(function()
        server = dns_server.start {
            ["a.test"] = {
                A = { rr("a.test", "A", 60, "192.0.2.1"), rr("a.test", "A", 60, "192.0.2.2") },
                AAAA = {},
                MX = { rr("a.test", "MX", 300, 10, "mail.test") },
                TXT = { rr("a.test", "TXT", 5, "one", "two") },
            },
            ["1.2.0.192.in-addr.arpa"] = {
                PTR = { rr("1.2.0.192.in-addr.arpa", "PTR", 60, "a.test") },
            },
        }
    end)

    after_each(function() server:close() end)

    it("prints the addresses of a host", function()
        local ended = run "a.test."
        assert.equal("192.0.2.1\n192.0.2.2\n", ended.out)
        assert.equal(0, ended.code)
    end)

    it("prints the records of a type, and the names of an address", function()
        assert.truthy(run("a.test", "MX").out:find("^a%.test +300  MX +10 mail%.test\n$"))
        assert.truthy(run("a.test", "txt").out:find('^a%.test +5  TXT +"one" "two"\n$'))
        assert.equal("a.test\n", run("192.0.2.1").out)
    end)

    it("ends with a message and a code of 1 for what is not there or not understood", function()
        for _, words in ipairs { { "none.test." }, { "a..b" }, { "a.test", "NOPE" }, {},
            { "a", "b", "c" } } do
            local ended = run(unpack(words))
            assert.equal(1, ended.code)
            assert.equal("", ended.out)
            assert.truthy(ended.err:find("^resolve: [^\n]+\n$"), ended.err)
        end
    end)
end)
