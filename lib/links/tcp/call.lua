-- Calls of the FFI that may park.
local core = require "links.core"
local errors = require "links.errors"
local binding = require "links.tcp.ffi"

local C, AGAIN = binding.C, binding.AGAIN
local wait = core.wait
local ETIMEDOUT = -errors.code("ETIMEDOUT")

-- Makes the call until it has an answer, or its wait has ended with a failure. A timeout of a
-- socket on which something has moved meanwhile (see links_tcp_expired) is none.
local function call(fn, writing, handle, ...)
    while true do
        local n = fn(handle, ...)
        if n ~= AGAIN then return n end
        local status = wait()
        if status == ETIMEDOUT and C.links_tcp_expired(handle, writing) == 0 then status = 0 end
        if status ~= 0 then return status end
    end
end

return call
