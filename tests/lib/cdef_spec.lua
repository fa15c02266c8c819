package.path = "tests/support/?.lua;" .. package.path

local declarations = require "declarations"

local read = declarations.read
local ERRORS = "src/base/err.h"

local BINDINGS = {
    ["lib/links/tls/ffi.lua"] = "src/modules/tls/tls.h",
    ["lib/links/crypto/ffi.lua"] = "src/modules/crypto/crypto.h",
    ["lib/links/dns/ffi.lua"] = "src/modules/dns/dns.h",
    ["lib/links/fs/ffi.lua"] = "src/modules/fs/fs.h",
    ["lib/links/http/client/ffi.lua"] = "src/modules/http/reply.h",
    ["lib/links/http/ffi.lua"] = "src/modules/http/http.h",
    ["lib/links/http/static.lua"] = "src/modules/http/files.h",
    ["lib/links/shared/queue.lua"] = "src/modules/shared/queue.h",
    ["lib/links/shared/own.lua"] = "src/modules/shared/presence.h",
    ["lib/links/metrics/ffi.lua"] = "src/modules/metrics/metrics.h",
    ["lib/links/log/ffi.lua"] = "src/modules/log/log.h",
    ["lib/links/log/access.lua"] = "src/modules/http/access.h",
    ["lib/links/shared.lua"] = "src/modules/shared/dict.h",
    ["lib/links/http/tree.lua"] = "src/modules/http/routes.h",
    ["lib/links/process/ffi.lua"] = "src/modules/process/process.h",
    ["lib/links/process/notify.lua"] = "src/modules/process/notify.h",
    ["lib/links/system.lua"] = "src/modules/system/system.h",
    ["lib/links/tcp/ffi.lua"] = "src/modules/net/tcp.h",
    ["lib/links/udp.lua"] = "src/modules/net/udp.h",
    ["lib/links/websocket/ffi.lua"] = "src/modules/websocket/websocket.h",
    ["lib/links/zlib.lua"] = "src/modules/zlib/zstream.h",
}

describe("the declarations of C in Lua", function()
    for lua, header in pairs(BINDINGS) do
        it("in " .. lua .. " are those of " .. header, function()
            local wanted, found = declarations.both(lua, header)
            assert.is_true(#wanted >= 3)
            assert.same(wanted, found)
        end)
    end

    it("have the codes of their C units", function()
        for module, headers in pairs {
            ["links.tcp.ffi"] = { ERRORS },
            ["links.process.ffi"] = { ERRORS },
            ["links.http.client.ffi"] = { "src/modules/http/reply.h" },
            ["links.http.ffi"] = { ERRORS, "src/modules/http/http.h" },
            ["links.dns.ffi"] = { ERRORS, "src/modules/dns/message.h" },
        } do
            for name, value in pairs(require(module)) do
                if type(value) == "number" and name ~= "LONGEST" then
                    local code
                    for _, prefix in ipairs { "LINKS_", "LINKS_HTTP_", "LINKS_REPLY_", "DNS_" } do
                        code = code or declarations.constant(prefix .. name, unpack(headers))
                    end
                    assert.equal(code, value, module .. " " .. name)
                end
            end
        end
        for name, value in pairs(require("links.dns.records").types) do
            assert.equal(declarations.constant("DNS_" .. name, "src/modules/dns/message.h"), value,
                name)
        end
    end)

    it("have the codes and the events of websocket", function()
        local binding = require "links.websocket.ffi"
        for _, name in ipairs { "AGAIN", "CLOSED", "FULL" } do
            assert.equal(declarations.constant("LINKS_" .. name, ERRORS), binding[name])
        end
        local events = read("src/modules/websocket/websocket.h"):match(
            "enum {(%s*LINKS_WS_OPEN.-)};")
        local number = 0
        for name in events:gmatch("LINKS_WS_(%u+)") do
            number = number + 1
            assert.equal(number, binding[name], name)
        end
    end)

    it("have the numbers of the operations of fs", function()
        local names = {}
        local kinds = read("src/modules/fs/fs.h"):match("enum {(.-)};")
        for name in kinds:gmatch("LINKS_FS_([%u_]+),") do
            names[#names + 1] = name:gsub("_", ""):lower()
        end
        names[#names] = nil -- the end
        local text, known = read("lib/links/fs/ffi.lua"):match("ipairs {(.-)} do"), {}
        for name in text:gmatch('"(%a+)"') do known[#known + 1] = name:lower() end
        assert.same(names, known)
    end)
end)
