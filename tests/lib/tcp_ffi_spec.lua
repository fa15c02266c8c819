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

describe("links.tcp.ffi", function()
    it("declares what the header of the C unit declares", function()
        local header = read("src/modules/net/tcp.h")
        local declared = read("lib/links/tcp/ffi.lua"):match("ffi%.cdef %[%[(.-)%]%]")
        header = header:match('#include "base/err.h"(.*)#endif')
        assert.equal(plain(header), plain(declared))
    end)

    it("has the codes of the C unit", function()
        local binding = require "links.tcp.ffi"
        local codes = read("src/base/err.h")
        for name, value in pairs(binding) do
            if name ~= "C" then
                local code = codes:match("LINKS_" .. name .. " = (%-?%d+)")
                assert.equal(tonumber(code), value, name)
            end
        end
    end)
end)
