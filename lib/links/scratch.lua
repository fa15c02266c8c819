-- Room for a result that C writes and that is made a string at once. Nothing waits in between, so
-- one is enough for all; what a very large result needed is not kept.
local ffi = require "ffi"

local KEPT = 1048576
local scratch, scratch_len = ffi.new("uint8_t[4096]"), 4096

--- An array of at least `len` bytes, with whatever is in it; good until the next call of this.
return function(len)
    if len > scratch_len then
        -- [?]: of more than 4096 bytes
        if len > KEPT then return ffi.new("uint8_t[?]", len) end
        scratch_len = math.min(len * 2, KEPT)
        -- [?]: of more than 4096 bytes
        scratch = ffi.new("uint8_t[?]", scratch_len)
    end
    return scratch
end
