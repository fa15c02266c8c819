-- Values as bytes and back, by LuaJIT's string.buffer; for what stays on this machine.
--
-- Not compiled: before its commit d5bbf9cd of 2023-08-12 LuaJIT writes the message of an error that
-- compiled code raises, as encode does for a function, over the frame of whoever called.
local buffer = require "string.buffer"

local serial = {}

-- true and the bytes; or false and why it has none.
function serial.encode(value)
    return pcall(buffer.encode, value)
end

-- The value; raises for what are no such bytes.
function serial.decode(bytes)
    return buffer.decode(bytes)
end

jit.off(serial.encode)
jit.off(serial.decode)

return serial
