-- The request that a connection began with, made of its head when it is first asked for: while
-- nobody asks, that is one string.
local ffi = require "ffi"
local memory = require "links.http.memory"
local binding = require "links.websocket.ffi"

local C = binding.C

local function fields_of(head)
    local fields = {}
    for name, value in head:gmatch("\r\n([^:\r\n]+):[ \t]*([^\r\n]-)[ \t]*%f[\r]") do
        name = name:lower()
        local list = fields[name] or {}
        fields[name] = list
        list[#list + 1] = value
    end
    return fields
end

return function(ws)
    local head = ws[3]
    local method, target = head:match("^%s*(%S+) (%S+)")
    local absolute = target:match("^%a[^/?]*://[^/?]*(.*)$")
    if absolute then target = absolute:sub(1, 1) == "/" and absolute or "/" .. absolute end
    local req = memory.request(method, target, fields_of(head))
    local text, port = ffi.new("char[46]"), ffi.new("int[1]")
    req.remoteAddress = ffi.string(text, C.links_ws_peer(ws[1], text, port))
    req.remotePort = port[0]
    req._tls = function()
        local tls = C.links_ws_tls(ws[1])
        return tls ~= nil and require("links.tls.inspect").info(tls) or nil
    end
    for key, value in pairs(ws[4] or {}) do req[key] = value end
    return req
end
