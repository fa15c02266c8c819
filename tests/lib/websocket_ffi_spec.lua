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

describe("links.websocket.ffi", function()
    local header = read("src/modules/websocket/websocket.h")

    it("declares what the header of the C unit declares", function()
        local declared = read("lib/links/websocket/ffi.lua"):match("ffi%.cdef %[%[(.-)%]%]")
        assert.equal(plain(header:match('#include "base/err.h"(.*)#endif')), plain(declared))
    end)

    it("has the codes and the events of the C unit", function()
        local binding = require "links.websocket.ffi"
        local codes = read("src/base/err.h")
        for _, name in ipairs { "AGAIN", "CLOSED", "FULL" } do
            assert.equal(tonumber(codes:match("LINKS_" .. name .. " = (%-?%d+)")), binding[name])
        end
        local events = header:match("enum {(%s*LINKS_WS_OPEN.-)};")
        local number = 0
        for name in events:gmatch("LINKS_WS_(%u+)") do
            number = number + 1
            assert.equal(number, binding[name], name)
        end
    end)
end)
