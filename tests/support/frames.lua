-- Frames of WebSockets as bytes, for clients that say exactly what they are told to.
local bit = require "bit"
local wire = require "wire"

local frames = {}

frames.KEY = "dGhlIHNhbXBsZSBub25jZQ=="
frames.ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

local MASK = { 0x37, 0xfa, 0x21, 0x3d }

local function length(n, masked, long)
    local top = masked and 128 or 0
    if n < 126 and not long then return string.char(top + n) end
    if n < 65536 and long ~= 8 then
        return string.char(top + 126, bit.rshift(n, 8), bit.band(n, 255))
    end
    return string.char(top + 127, 0, 0, 0, 0, bit.rshift(n, 24), bit.band(bit.rshift(n, 16), 255),
        bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
end

function frames.mask(data)
    local out = {}
    for i = 1, #data do
        out[i] = string.char(bit.bxor(data:byte(i), MASK[(i - 1) % 4 + 1]))
    end
    return table.concat(out)
end

-- A frame of a client. options: fin = false, rsv = 1 to 7, masked = false, long = 2 or 8 (bytes of
-- the length).
function frames.frame(opcode, data, options)
    options = options or {}
    data = data or ""
    local first = (options.fin == false and 0 or 128) + (options.rsv or 0) * 16 + opcode
    local masked = options.masked ~= false
    local head = string.char(first) .. length(#data, masked, options.long)
    if not masked then return head .. data end
    return head .. string.char(unpack(MASK)) .. frames.mask(data)
end

function frames.close(status, reason)
    if not status then return frames.frame(8) end
    return frames.frame(8, string.char(bit.rshift(status, 8), bit.band(status, 255)) ..
        (reason or ""))
end

function frames.request(path, fields)
    return "GET " .. (path or "/") .. " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n" ..
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " .. frames.KEY ..
        "\r\n" .. (fields or "") .. "\r\n"
end

-- A connection that has shaken hands, and the answer.
function frames.connect(port, path, fields)
    local c = assert(wire.connect(port))
    assert(c:send(frames.request(path, fields)))
    local response = assert(c:response())
    assert(response.status == 101, "status " .. response.status)
    return c, response
end

-- The next frame of the server: {opcode =, data =, fin =, rsv =}; nil, "eof" or an errno.
function frames.next(c)
    local function have(n) return c:await(function(buffer) return #buffer >= n end) end
    local ok, failure = have(2)
    if not ok then return nil, failure end
    local a, b = c.buffer:byte(1, 2)
    assert(b < 128, "a server's frame is masked")
    local at, n = 2, b
    if b == 126 then
        assert(have(4))
        n, at = c.buffer:byte(3) * 256 + c.buffer:byte(4), 4
    elseif b == 127 then
        assert(have(10))
        n, at = 0, 10
        for i = 3, 10 do n = n * 256 + c.buffer:byte(i) end
    end
    assert(have(at + n))
    c:need(at)
    return { opcode = a % 16, fin = a >= 128, rsv = math.floor(a / 16) % 8, data = c:need(n) }
end

-- The status and the reason of the close that comes next, and that the server then closes.
function frames.closed(c)
    local frame, failure = frames.next(c)
    assert(frame, failure)
    assert(frame.opcode == 8, "not a close frame but " .. frame.opcode)
    local a, b = frame.data:byte(1, 2)
    local status = a and a * 256 + b
    local rest = c:rest()
    assert(rest == "", "something follows the close")
    return status, frame.data:sub(3)
end

return frames
