-- Milliseconds since some moment, for measuring.
local ffi = require "ffi"
require "links.system" -- declares it

local C = ffi.C

return function() return C.links_system_hrtime() / 1e6 end
