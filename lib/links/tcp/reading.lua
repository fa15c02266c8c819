--- Reading from sockets, of TCP and Unix.
---
--- What had come before a read failed is returned with the error, `data, err`: so test `err`. One
--- task may read while others write; a second reader at the same time gets EBUSY. All of these are
--- methods of every socket.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.tcp.ffi"
local call = require "links.tcp.call"

local C = binding.C
local TOO_LARGE, EXCEED_BUF_SIZE, EOF = binding.TOO_LARGE, binding.EXCEED_BUF_SIZE, binding.EOF
local EINVAL, ETIMEDOUT = -errors.code("EINVAL"), -errors.code("ETIMEDOUT")
local fast_read, fast_some = core.fast.tcpRead, core.fast.tcpReadSome
local fast_line, fast_take = core.fast.tcpReadLine, core.fast.tcpTake
local new_error = errors.new
local type, concat, ffi_string = type, table.concat, ffi.string

local INT_MAX = 2 ^ 31 - 1
local STRING_MAX = 0x7fffff00 -- LuaJIT's limit for a string
local READ_ALL_MAX = 16777216
local UNTIL_MAX = 67108864

local pointer = ffi.new("void *[1]") -- only to see what can be one
local out_data = ffi.new("const char *[1]")

local Socket = {}

-- A call of a fast function has answered: a string, a failure, or the status of the wait that it
-- was in. Makes it again until there is a string or a failure.
local function await(fast, handle, arg, answer)
    while true do
        if answer == ETIMEDOUT then
            if C.links_tcp_expired(handle, 0) == 1 then return answer end
        elseif answer ~= 0 then
            return answer
        end
        answer = fast(handle, arg)
    end
end

-- What a read that failed has to give back: data or nil, and the error.
local function failed(handle, max, status, what)
    local data = fast_take(handle, max)
    return data ~= 0 and data or nil, new_error(status, what)
end

-- More than the buffer holds comes in pieces. What the peer has only announced takes no memory.
local function read_pieces(handle, n)
    local parts, left = {}, n
    while left > 0 do
        local piece = await(fast_some, handle, left, 0)
        if type(piece) ~= "string" then
            -- Nothing is left in the buffer: every piece took all of it.
            return parts[1] and concat(parts) or nil, new_error(piece, "tcp read")
        end
        parts[#parts + 1] = piece
        left = left - #piece
    end
    return concat(parts)
end

local function read_slowly(self, handle, n, answer)
    answer = await(fast_read, handle, n, answer)
    if type(answer) == "string" then return answer end
    if answer == EINVAL and (type(n) ~= "number" or n % 1 ~= 0 or n < 0 or n > STRING_MAX) then
        if n == "a" or n == "*a" then return self:readAll() end
        check.integer("socket:read(n)", "n", n, 0, STRING_MAX, 2)
    end
    if answer == TOO_LARGE then
        check.integer("socket:read(n)", "n", n, 0, STRING_MAX, 2)
        return read_pieces(handle, n)
    end
    return failed(handle, n, answer, "tcp read")
end

--- Reads exactly `n` bytes, waiting until they have come. `n` may be more than the read buffer's
--- size.
---
--- @param n  integer|string  0 to 2147483392; "a" reads all until the peer closes, as
---                           socket:readAll does
--- @return string            `n` bytes
--- @return data, err         what had come of them, or nil, and
---                           EOF         the peer closed
---                           ETIMEDOUT   nothing came and nothing went within the socket's timeout;
---                                       it stays usable
---                           ECONNRESET  the peer broke the connection off
---                           EBUSY       another task reads this socket
---                           CLOSED      this side has closed it
---                           ECANCELED   this task was cancelled
--- @raise                    `n` is no such number
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write("hello") end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(socket:read(4) == "hell")
--- local rest, err = socket:read(4)
--- assert(rest == "o" and err.name == "EOF")
--- server:close()
function Socket:read(n)
    local handle = self._h
    local data = fast_read(handle, n)
    while data == 0 do data = fast_read(handle, n) end
    if type(data) == "string" then return data end
    local rest, err = read_slowly(self, handle, n, data)
    return rest, err
end

--- Reads what is there, waiting until there is at least one byte.
---
--- @param max  integer  bytes at most; also never more than the read buffer's size. Default: the
---                      buffer's size
--- @return string       1 to `max` bytes
--- @return nil, err     as socket:read
--- @raise               `max` is not a positive integer
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write("hello") end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(#socket:readSome() > 0)
--- server:close()
function Socket:readSome(max)
    local handle = self._h
    if max == nil then max = INT_MAX end
    local data = fast_some(handle, max)
    if type(data) == "string" then return data end
    data = await(fast_some, handle, max, data)
    if type(data) == "string" then return data end
    if data == EINVAL then check.integer("socket:readSome([max])", "max", max, 1, 2 ^ 53) end
    return nil, new_error(data, "tcp read")
end

--- Reads a line. It ends with LF or CR LF, which is not part of what is returned.
---
--- @param keep  boolean  return the line with its end. Default: false
--- @return string        the line
--- @return data, err     the beginning of a line that has no end, or nil, and an error as of
---                       socket:read; or nil and
---                       EXCEED_BUF_SIZE  the line with its end is longer than the read buffer; its
---                                        bytes can still be read
--- @raise                `keep` is no boolean
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write("one\r\ntwo\n") end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(socket:readline() == "one")
--- assert(socket:readline(true) == "two\n")
--- server:close()
function Socket:readline(keep)
    local handle = self._h
    local arg = keep and 1 or 0
    if keep and keep ~= true then
        check.type("socket:readline([keep])", "keep", keep, "boolean|nil")
    end
    local line = fast_line(handle, arg)
    while line == 0 do line = fast_line(handle, arg) end
    if type(line) == "string" then return line end
    line = await(fast_line, handle, arg, line)
    if type(line) == "string" then return line end
    if line == EXCEED_BUF_SIZE then return nil, new_error(line, "tcp readline") end
    local data, err = failed(handle, INT_MAX, line, "tcp readline")
    return data, err
end

--- The lines that are still to come, for a loop. It ends with the last line, whether that had an
--- end or not, and with the first error, which is then the second value of the iterator.
---
--- @return function   each call returns what socket:readline does
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write("one\ntwo") end))
--- local socket = assert(tcp.connect(server:address().port))
--- local got = {}
--- for line in socket:lines() do got[#got + 1] = line end
--- assert(got[1] == "one" and got[2] == "two")
--- server:close()
function Socket:lines()
    return function()
        local line, err = self:readline()
        return line, err
    end
end

local UNTIL_OPTIONS = {
    max = { type = "integer", min = 1, max = UNTIL_MAX },
    keep = { default = false, type = "boolean" },
}

--- Reads up to a separator, which is not part of what is returned.
---
--- @param sep      string  1 to 255 bytes, as they stand: no pattern
--- @param options  table   max   the read buffer's size  bytes at most, with the separator; up to
---                                                       67108864
---                         keep  false                   return the separator too
--- @return string          what stood before the separator
--- @return data, err       what had come, or nil, and an error as of socket:read; or nil and
---                         EXCEED_BUF_SIZE  there is no separator within `max`; the bytes can still
---                                          be read
--- @raise                  an argument or option of another type or out of bounds
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write("head\0\0body") end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(socket:readUntil("\0\0") == "head")
--- server:close()
function Socket:readUntil(sep, options)
    local signature = "socket:readUntil(sep[, options])"
    local handle = self._h
    check.type(signature, "sep", sep, "string")
    if #sep < 1 or #sep > 255 then error(signature .. " sep must be 1 to 255 bytes", 2) end
    local max, keep = handle.read_buffer_size, 0
    if options ~= nil then
        options = check.options(signature, options, UNTIL_OPTIONS)
        max, keep = options.max or max, options.keep and 1 or 0
    end
    local n = call(C.links_tcp_read_until, 0, handle, sep, #sep, max, keep, out_data)
    if n >= 0 then return ffi_string(out_data[0], n) end
    if n == EXCEED_BUF_SIZE then return nil, new_error(n, "tcp readUntil") end
    local data, err = failed(handle, INT_MAX, n, "tcp readUntil")
    return data, err
end

--- Reads everything until the peer closes.
---
--- @param max  integer   bytes at most, up to 2147483392. Default: 16777216
--- @return string        all of it, "" where nothing came; the end of file is no error here
--- @return data, err     what had come, or nil, and an error as of socket:read; or the first `max`
---                       bytes and
---                       TOO_LARGE  more than `max` bytes came; the rest can still be read
--- @raise                `max` is no such integer
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write("hello") end))
--- assert(assert(tcp.connect(server:address().port)):readAll() == "hello")
--- server:close()
function Socket:readAll(max)
    local handle = self._h
    max = max == nil and READ_ALL_MAX or max
    check.integer("socket:readAll([max])", "max", max, 1, STRING_MAX)
    local parts, left = {}, max
    while left > 0 do
        local piece = await(fast_some, handle, left, 0)
        if piece == EOF then return concat(parts) end
        if type(piece) ~= "string" then
            return parts[1] and concat(parts) or nil, new_error(piece, "tcp readAll")
        end
        parts[#parts + 1] = piece
        left = left - #piece
    end
    -- Exactly `max` bytes, or more?
    local n = call(C.links_tcp_peek, 0, handle, 1, out_data)
    if n == EOF then return concat(parts) end
    return concat(parts), new_error(n == 1 and TOO_LARGE or n, "tcp readAll")
end

--- Waits until `n` bytes have come and returns them without taking them.
---
--- @param n  integer  1 up to the read buffer's size
--- @return string     the next `n` bytes
--- @return nil, err   as socket:read; what has come stays there
---                    EXCEED_BUF_SIZE  `n` is more than the read buffer's size
--- @raise             `n` is not a positive integer
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write("hello") end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(socket:peek(2) == "he" and socket:read(5) == "hello")
--- server:close()
function Socket:peek(n)
    local handle = self._h
    check.integer("socket:peek(n)", "n", n, 1, INT_MAX)
    local rc = call(C.links_tcp_peek, 0, handle, n, out_data)
    if rc >= 0 then return ffi_string(out_data[0], rc) end
    fast_take(handle, 0)
    return nil, new_error(rc, "tcp peek")
end

--- Reads into memory of the caller's, straight from the system where nothing is buffered.
---
--- @param buffer  cdata    an array or a pointer to at least `n` bytes; it must stay until this
---                         returns
--- @param n       integer  bytes at most, 1 to 2147483647
--- @return integer         how many came, at least 1
--- @return nil, err        as socket:read
--- @raise                  `buffer` is no cdata, `n` is no such integer
--- @wait
--- @usage local tcp, ffi = require "tcp", require "ffi"
--- local server = assert(tcp.createServer(0, function(socket) socket:write("hello") end))
--- local socket = assert(tcp.connect(server:address().port))
--- local buffer = ffi.new("char[512]")
--- local n = assert(socket:readInto(buffer, 512))
--- assert(ffi.string(buffer, n) == ("hello"):sub(1, n))
--- server:close()
function Socket:readInto(buffer, n)
    local handle = self._h
    local signature = "socket:readInto(buffer, n)"
    check.type(signature, "buffer", buffer, "cdata")
    check.integer(signature, "n", n, 1, INT_MAX)
    if not pcall(function() pointer[0] = buffer end) then
        error(signature .. " buffer must be an array or a pointer, not " .. tostring(buffer), 2)
    end
    local got = call(C.links_tcp_read_into, 0, handle, buffer, n)
    if got > 0 then return got end
    fast_take(handle, 0)
    return nil, new_error(got, "tcp read")
end

--- Takes a descriptor that has come over a Unix socket. It waits for one where none has come; the
--- bytes that come with it stay to be read. The socket must have been made with the option
--- `passFds`; it keeps 64 of them at most, and closes what comes beyond, and what is left when it
--- is closed.
---
--- @return integer   the descriptor, close-on-exec: for tcp.adopt, the option `fd` of
---                   tcp.createServer, the stdio of process.spawn, or unix.closeFd
--- @return nil, err  as socket:read, and
---                   EXCEED_BUF_SIZE  the read buffer is full of bytes that come before it
---                   UNSUPPORTED      the socket was made without `passFds`
--- @wait
--- @usage local unix = require "unix"
--- local server = assert(unix.createServer("@links-receive-fd", function(socket)
---     socket:sendFd(0, "stdin")
--- end))
--- local client = assert(unix.connect("@links-receive-fd", { passFds = true }))
--- assert(unix.closeFd(assert(client:receiveFd())))
--- assert(client:readAll() == "stdin")
--- server:close()
function Socket:receiveFd()
    local fd = call(C.links_tcp_receive_fd, 0, self._h)
    if fd >= 0 then return fd end
    fast_take(self._h, 0)
    return nil, new_error(fd, "tcp receiveFd")
end

return Socket
