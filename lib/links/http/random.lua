-- Bytes that nobody can guess, from the system.
local ffi = require "ffi"

ffi.cdef [[
int getentropy(void *buffer, size_t length);
]]
local C = ffi.C

--- Up to 256 random bytes.
return function(n)
    local block = ffi.new("uint8_t[?]", n)
    if C.getentropy(block, n) ~= 0 then error("http: the system has no random numbers", 0) end
    return ffi.string(block, n)
end
