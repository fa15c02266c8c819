-- A client for the specs that speaks bytes: it sends exactly what it is told to, and tells exactly
-- what came back. Its sockets do not block, and while it waits the loop turns, so that the server
-- may be in the same process.
local ffi = require "ffi"
local timer = require "links.timer"

ffi.cdef [[
typedef struct wire_address {
    uint16_t family, port;
    uint8_t ip[4], zero[8];
} wire_address;
int socket(int domain, int type, int protocol);
int connect(int fd, const wire_address *address, unsigned len);
int setsockopt(int fd, int level, int name, const void *value, unsigned len);
int shutdown(int fd, int how);
int close(int fd);
ssize_t send(int fd, const void *data, size_t len, int flags);
ssize_t recv(int fd, void *data, size_t len, int flags);
]]
local C = ffi.C

local AF_INET, SOCK_STREAM, SOCK_CLOEXEC = 2, 1, 0x80000
local SOL_SOCKET, SO_RCVBUF, SO_LINGER, IPPROTO_TCP, TCP_NODELAY = 1, 8, 13, 6, 1
local MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR = 0x40, 0x4000, 1
local EAGAIN = 11
local PATIENCE_MS = 20000

local wire = {}
local Client = {}
Client.__index = Client

local function option(fd, level, name, ...)
    local value = ffi.new("int[2]", ...)
    assert(C.setsockopt(fd, level, name, value, 4 * select("#", ...)) == 0)
end

-- Connects to a port of this machine. options: receiveBuffer, in bytes, for a client that is slow.
function wire.connect(port, options)
    local fd = C.socket(AF_INET, SOCK_STREAM + SOCK_CLOEXEC, 0)
    assert(fd >= 0, "socket failed")
    option(fd, IPPROTO_TCP, TCP_NODELAY, 1)
    if options and options.receiveBuffer then
        option(fd, SOL_SOCKET, SO_RCVBUF, options.receiveBuffer)
    end
    local address = ffi.new("wire_address")
    address.family = AF_INET
    address.port = bit.bor(bit.lshift(bit.band(port, 255), 8), bit.rshift(port, 8))
    address.ip = { 127, 0, 0, 1 }
    -- The system completes a connection to a listening socket of its own at once.
    if C.connect(fd, address, ffi.sizeof(address)) ~= 0 then
        local errno = ffi.errno()
        C.close(fd)
        return nil, errno
    end
    return setmetatable({ fd = fd, buffer = "" }, Client)
end

-- Lets the loop look at its sockets, so that what was sent has been read.
function wire.turn(n)
    for _ = 1, n or 2 do assert(timer.sleep(0)) end
end

-- Waits until fn() is true; fails with `what` where it takes too long.
function wire.eventually(what, fn)
    local give_up = timer.now() + PATIENCE_MS
    while true do
        local value = fn()
        if value then return value end
        assert(timer.now() < give_up, "waited too long for " .. what)
        assert(timer.sleep(timer.now() + PATIENCE_MS - give_up > 20 and 1 or 0))
    end
end

function Client:send(data)
    local at, left = ffi.cast("const char *", data), #data
    while left > 0 do
        local n = tonumber(C.send(self.fd, at, left, MSG_DONTWAIT + MSG_NOSIGNAL))
        if n > 0 then
            at, left = at + n, left - n
        elseif ffi.errno() == EAGAIN then
            assert(timer.sleep(0))
        else
            return nil, ffi.errno()
        end
    end
    return true
end

-- Sends what the system takes now, and returns how much that was.
function Client:trySend(data)
    return math.max(0, tonumber(C.send(self.fd, data, #data, MSG_DONTWAIT + MSG_NOSIGNAL)))
end

local bytes = ffi.new("char[65536]")

-- Takes what has come: its length, 0 at the end, nil when nothing is there, nil, errno.
function Client:take(max)
    local n = tonumber(C.recv(self.fd, bytes, math.min(max or 65536, 65536), MSG_DONTWAIT))
    if n > 0 then self.buffer = self.buffer .. ffi.string(bytes, n) end
    if n >= 0 then return n end
    local errno = ffi.errno()
    if errno == EAGAIN then return nil end
    return nil, errno
end

-- Reads until the buffer has what fn(buffer) finds. Returns what it returned; nil, "eof" or errno
-- before.
function Client:await(fn)
    local result
    local failure
    wire.eventually("bytes from the server; there are " .. ("%q"):format(self.buffer:sub(1, 200)),
        function()
        result = fn(self.buffer)
        if result then return true end
        local n, errno = self:take()
        failure = n == 0 and "eof" or errno
        return failure
    end)
    if result then return result end
    return nil, failure
end

-- Everything until the server closes: the bytes and "eof" or an errno.
function Client:rest()
    local _, failure = self:await(function() return false end)
    local data = self.buffer
    self.buffer = ""
    return data, failure
end

local function parse_head(head)
    local response = { headers = {}, names = {} }
    response.version, response.status, response.reason =
        head:match("^HTTP/(%d%.%d) (%d%d%d) ([^\r\n]*)\r\n")
    assert(response.version, "not a status line: " .. ("%q"):format(head:sub(1, 100)))
    response.status = tonumber(response.status)
    for name, value in head:gmatch("\r\n([^:\r\n]+): ([^\r\n]*)") do
        name = name:lower()
        assert(not response.headers[name] or name == "set-cookie", "repeated field " .. name)
        response.headers[name] = value
        response.names[#response.names + 1] = name
    end
    return response
end

function Client:need(n)
    assert(self:await(function(buffer) return #buffer >= n end))
    local data = self.buffer:sub(1, n)
    self.buffer = self.buffer:sub(n + 1)
    return data
end

function Client:line()
    local last = assert(self:await(function(buffer) return select(2,
        buffer:find("\r\n", 1, true)) end))
    return self:need(last):sub(1, -3)
end

function Client:chunks()
    local body = {}
    while true do
        local size = tonumber(self:line(), 16)
        if size == 0 then break end
        body[#body + 1] = self:need(size)
        assert(self:need(2) == "\r\n", "a chunk does not end in CR LF")
    end
    assert(self:line() == "")
    return table.concat(body)
end

-- The next response; `method` for one to HEAD. nil and "eof" or an errno where there is none.
function Client:response(method)
    local last, failure = self:await(function(buffer) return select(2,
        buffer:find("\r\n\r\n", 1, true)) end)
    if not last then return nil, failure end
    local response = parse_head(self:need(last))
    local status, headers = response.status, response.headers
    if method == "HEAD" or status < 200 or status == 204 or status == 304 then
        response.body = ""
    elseif headers["transfer-encoding"] then
        response.body = self:chunks()
    elseif headers["content-length"] then
        response.body = self:need(tonumber(headers["content-length"]))
    else
        response.body = self:rest()
    end
    return response
end

function Client:isClosed()
    local data, failure = self:rest()
    assert(data == "", "more came before the end: " .. ("%q"):format(data:sub(1, 100)))
    return failure == "eof" or failure ~= nil
end

function Client:shutdown()
    C.shutdown(self.fd, SHUT_WR)
end

function Client:close()
    if self.fd >= 0 then C.close(self.fd) end
    self.fd = -1
end

function Client:reset()
    option(self.fd, SOL_SOCKET, SO_LINGER, 1, 0)
    self:close()
end

-- One request on a connection of its own; the response. Fails where there is none.
function wire.request(port, data, method)
    local c = assert(wire.connect(port))
    assert(c:send(data))
    local response = assert(c:response(method))
    c:close()
    return response
end

return wire
