-- The servers by their handles: a request knows the handle that it came by, and only what is asked
-- for once in a while leads from there to the rest.
local ffi = require "ffi"

local servers = {}

local by_address = setmetatable({}, { __mode = "v" })

local function address_of(handle) return tonumber(ffi.cast("uintptr_t", handle)) end

function servers.add(handle, server)
    by_address[address_of(handle)] = server
end

--- The server of a handle; nil for a request that came by none.
function servers.of(handle)
    return handle and by_address[address_of(handle)]
end

return servers
