-- What the request and the response of every transport can do besides: the methods that are written
-- in terms of the others, and know neither C nor a socket.
local extend = {}

local PARTS = { "query", "cookies", "negotiate", "bodies", "sendfile", "peer", "note" }

-- What few programs call is loaded by the first call: compiling it would take 0.5 ms of each start.
local LATE = {
    multipart = { request = { "parts", "files" } },
    sse = { response = { "sse" } },
}

local function install_late(kind, methods, name, key)
    methods[key] = function(...)
        methods[key] = require("links.http." .. name)[kind][key]
        return methods[key](...)
    end
end

local function install(kind, methods, lazy)
    for _, name in ipairs(PARTS) do
        local part = require("links.http." .. name)
        for key, fn in pairs(part[kind] or {}) do methods[key] = fn end
        for key, fn in pairs(lazy and part.lazy or {}) do lazy[key] = fn end
    end
    for name, part in pairs(LATE) do
        for _, key in ipairs(part[kind] or {}) do install_late(kind, methods, name, key) end
    end
end

--- Adds the methods, and the fields that are made when they are first read, as make(r, req).
function extend.request(methods, lazy)
    install("request", methods, lazy)
end

--- Adds the methods.
function extend.response(methods)
    install("response", methods)
end

return extend
