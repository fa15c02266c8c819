local function read(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
end

-- The declarations without comments and layout.
local function plain(text)
    text = text:gsub("/%*.-%*/", " "):gsub("LINKS_API ", ""):gsub("enum {.-};", "")
    return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""))
end

local function check(header_path, lua_path)
    local header = read(header_path):match('#include "base/err.h"(.*)#endif')
    local declared = read(lua_path):match("ffi%.cdef %[%[(.-)%]%]")
    assert.equal(plain(header), plain(declared))
end

describe("the FFI declarations", function()
    it("of dns are those of the header of the C unit", function()
        check("src/modules/dns/dns.h", "lib/links/dns/ffi.lua")
    end)

    it("of udp are those of the header of the C unit", function()
        check("src/modules/net/udp.h", "lib/links/udp.lua")
    end)

    it("of dns have the codes and types of the C unit", function()
        local binding = require "links.dns.ffi"
        local message = read("src/modules/dns/message.h")
        local code = read("src/base/err.h"):match("LINKS_AGAIN = (%-?%d+)")
        assert.equal(tonumber(code), binding.AGAIN)
        for name, value in pairs(binding) do
            if name ~= "C" and name ~= "AGAIN" then
                assert.equal(tonumber(message:match("DNS_" .. name .. " = (%-?%d+)")), value, name)
            end
        end
        for name, value in pairs(require("links.dns.records").types) do
            assert.equal(tonumber(message:match("DNS_" .. name .. " = (%-?%d+)")), value, name)
        end
    end)
end)
