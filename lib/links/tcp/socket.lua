--- Sockets, of TCP and Unix: how they end, and what can be seen and set of them.
---
--- Reading is described in tcp.reading, writing in tcp.writing, encryption in tls.secure. Fields:
--- `bytesRead`, `bytesWritten`, `closed` (on this side), and `data`, a table for whatever the
--- program keeps with its socket.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.tcp.ffi"

local C, CLOSED, NOT_FOUND = binding.C, binding.CLOSED, binding.NOT_FOUND
local new_error, ffi_string = errors.new, ffi.string

local INT_MAX = 2 ^ 31 - 1

local methods = {}
for _, part in ipairs { "links.tcp.reading", "links.tcp.writing" } do
    for name, method in pairs(require(part)) do methods[name] = method end
end

-- TLS is loaded by who uses it.
for _, name in ipairs { "startTls", "tlsInfo" } do
    methods[name] = function(...)
        local secure = require "links.tls.secure"
        methods.startTls, methods.tlsInfo = secure.startTls, secure.tlsInfo
        return secure[name](...)
    end
end

local Socket = { __name = "socket" }

local fields = {
    bytesRead = function(handle) return handle.bytes_read end,
    bytesWritten = function(handle) return handle.bytes_written end,
    closed = function(handle) return handle.closed == 1 end,
}

function Socket.__index(self, key)
    local method = methods[key]
    if method then return method end
    local field = fields[key]
    if field then return field(self._h) end
    if key == "data" then
        local data = {}
        rawset(self, "data", data)
        return data
    end
end

local function to_address(out)
    local text = ffi_string(out.text, out.len)
    if out.family == 0 then return { family = "unix", path = text } end
    return { family = out.family, port = out.port, address = text }
end

local function place(at)
    if at.path then return "unix:" .. at.path end
    return (at.family == 6 and "[" .. at.address .. "]" or at.address) .. ":" .. at.port
end

function Socket.__tostring(self)
    local peer = not self.closed and self:remoteAddress()
    return "socket: " .. (peer and place(peer) or "closed")
end

-- --- Ending -----------------------------------------------------------------------------------

--- Closes the socket. What has been written still goes out, in the background, as long as the peer
--- takes some of it every 10 seconds. Everybody who waits on the socket gets CLOSED. Closing twice
--- is harmless.
---
--- @param reset  boolean  break the connection off: what has not gone out is dropped, the peer gets
---                        ECONNRESET.
---                        Default: false
--- @return true
--- @raise                 `reset` is no boolean
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:readAll() end))
--- local socket = assert(tcp.connect(server:address().port))
--- socket:close()
--- local _, err = socket:read(1)
--- assert(socket.closed and err.name == "CLOSED")
--- server:close()
function methods:close(reset)
    if reset ~= nil then check.type("socket:close([reset])", "reset", reset, "boolean") end
    C.links_tcp_close(self._h, reset and 1 or 0)
    return true
end

--- Half-closes: the peer reads an end of file after what was written, and this side can go on
--- reading. Also spelled `socket["end"](socket)`.
---
--- @return nil        it went well
--- @return err        an error: CLOSED, ENOTCONN, or the one that a write has met
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write(socket:readAll()) end))
--- local socket = assert(tcp.connect(server:address().port))
--- socket:write("hello")
--- assert(socket:shutdown() == nil)
--- assert(socket:readAll() == "hello")
--- server:close()
function methods:shutdown()
    local rc = C.links_tcp_shutdown(self._h)
    if rc < 0 then return new_error(rc, "tcp shutdown") end
end

methods["end"] = methods.shutdown

--- Keeps the socket open when `onconnect` returns, for whoever it was handed to. He has to close
--- it.
---
--- @return socket   this one
--- @usage local tcp = require "tcp"
--- local kept
--- local server = assert(tcp.createServer(0, function(socket)
---     kept = socket:detach()
---     socket:write("x")
--- end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(socket:read(1) == "x" and not kept.closed)
--- kept:close()
--- server:close()
function methods:detach()
    self._detached = true
    return self
end

--- A read that waits on this socket keeps the process going no more: see timer's t:unref.
---
--- @return socket   this one
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:readAll() end))
--- local socket = assert(tcp.connect(server:address().port))
--- socket:unref():ref()
--- socket:close()
--- server:close()
function methods:unref()
    C.links_tcp_ref(self._h, 0)
    return self
end

--- Takes socket:unref back.
---
--- @return socket   this one
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:readAll() end))
--- local socket = assert(tcp.connect(server:address().port))
--- socket:unref():ref()
--- socket:close()
--- server:close()
function methods:ref()
    C.links_tcp_ref(self._h, 1)
    return self
end

-- --- What can be seen and set -----------------------------------------------------------------

local function ask(self, fn, what)
    local out = ffi.new("links_tcp_address")
    local rc = fn(self._h, out)
    if rc < 0 then return nil, new_error(rc, what) end
    return to_address(out)
end

--- Where this side of the connection is. Behind a PROXY header: where the client had connected to.
---
--- @return table     {family = 4 or 6, port = integer, address = string}; {family = "unix", path =
---                   string}
--- @return nil, err  CLOSED    this side has closed the socket
---                   ENOTCONN  the connection is gone
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(socket:localAddress().address == "127.0.0.1")
--- server:close()
function methods:localAddress()
    return ask(self, C.links_tcp_local, "getsockname")
end

--- Where the peer is. Behind a PROXY header: the client it tells of.
---
--- @return table     as socket:localAddress
--- @return nil, err  as socket:localAddress
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(socket:remoteAddress().port == server:address().port)
--- server:close()
function methods:remoteAddress()
    return ask(self, C.links_tcp_remote, "getpeername")
end

--- Who is at the other end of a Unix socket, as the system knows it.
---
--- @return table     {uid = integer, gid = integer, pid = integer}; pid is nil where the system
---                   does not tell
--- @return nil, err  CLOSED    this side has closed the socket
---                   ENOTCONN  it is no Unix socket
--- @usage local unix = require "unix"
--- local path = os.tmpname()
--- os.remove(path)
--- local server = assert(unix.createServer(path, function(socket)
---     assert(socket:peerCredentials().uid) end))
--- assert(assert(unix.connect(path)):readAll() == "")
--- server:close()
function methods:peerCredentials()
    local out = ffi.new("int[3]")
    local rc = C.links_unix_credentials(self._h, out, out + 1, out + 2)
    if rc < 0 then return nil, new_error(rc, "peerCredentials") end
    return { uid = out[0], gid = out[1], pid = out[2] >= 0 and out[2] or nil }
end

--- Sets the time without a byte in either direction after which reads and writes that wait return
--- ETIMEDOUT. The socket stays usable. Waits that are under way keep the time that they began with.
---
--- @param ms  integer  milliseconds, 0 to 2147483647; 0: none
--- @return true
--- @return nil, err    CLOSED  this side has closed the socket
--- @raise              `ms` is no such integer
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:readAll() end))
--- local socket = assert(tcp.connect(server:address().port))
--- socket:setTimeout(5)
--- local _, err = socket:read(1)
--- assert(err.name == "ETIMEDOUT")
--- socket:close()
--- server:close()
function methods:setTimeout(ms)
    check.integer("socket:setTimeout(ms)", "ms", ms, 0, INT_MAX)
    if self._h.closed == 1 then return nil, new_error(CLOSED, "tcp setTimeout") end
    C.links_tcp_timeout(self._h, ms)
    return true
end

--- Sets a time for each direction alone: reads end when nothing has come for that long, writes when
--- nothing has gone.
---
--- @param connect  integer  milliseconds; for connections that are still to be made (tcp.connect
---                          has the option
---                          connectTimeout): without effect on this one, and checked all the same
--- @param read     integer  milliseconds; 0: none
--- @param write    integer  milliseconds; 0: none
--- @return true
--- @return nil, err         CLOSED  this side has closed the socket
--- @raise                   one of them is no integer from 0 to 2147483647
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:setTimeouts(0, 1000, 5000)
---     end))
--- assert(assert(tcp.connect(server:address().port)):readAll() == "")
--- server:close()
function methods:setTimeouts(connect, read, write)
    local signature = "socket:setTimeouts(connect, read, write)"
    check.integer(signature, "connect", connect, 0, INT_MAX)
    check.integer(signature, "read", read, 0, INT_MAX)
    check.integer(signature, "write", write, 0, INT_MAX)
    if self._h.closed == 1 then return nil, new_error(CLOSED, "tcp setTimeouts") end
    C.links_tcp_timeouts(self._h, read, write)
    return true
end

local OPTIONS = {
    sndbuf = true, rcvbuf = true, linger = true, reuseaddr = true, keepalive = true,
    keepidle = true,
    keepinterval = true, keepcount = true, nodelay = true, quickack = true, deferAccept = true,
    userTimeout = true, mark = true, tos = true, fastOpen = true,
}

local BOOLEAN = {
    reuseaddr = true, keepalive = true, nodelay = true, quickack = true, fastOpen = true,
}

local function check_option(signature, name)
    check.type(signature, "name", name, "string", 2)
    if OPTIONS[name] then return end
    local near = check.nearest(name, OPTIONS)
    local hint = near and ' (did you mean "' .. near .. '"?)' or ""
    error(signature .. ' unknown option "' .. name .. '"' .. hint, 3)
end

--- Sets an option of the system's socket.
---
--- Sizes are in bytes, times in seconds unless it says otherwise: `sndbuf`, `rcvbuf`; `linger` (how
--- long close may wait, -1: not); `reuseaddr`, `keepalive`, `nodelay`, `quickack` (booleans);
--- `keepidle`, `keepinterval`, `keepcount`; `deferAccept`; `userTimeout` (milliseconds that data
--- may stay unacknowledged); `mark`; `tos`; `fastOpen` (boolean; set by tcp.connect's option).
---
--- @param name   string           one of these
--- @param value  integer|boolean  what to set
--- @return true
--- @return nil, err               UNSUPPORTED  this system has no such option
---                                CLOSED       this side has closed the socket
---                                EINVAL, EPERM, ENOTSUP  the system refuses
--- @raise                         a name that nobody knows, a value of another type
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(socket:setOption("sndbuf", 65536))
--- assert(socket:getOption("sndbuf") >= 65536)
--- server:close()
function methods:setOption(name, value)
    local signature = "socket:setOption(name, value)"
    check_option(signature, name)
    if type(value) == "boolean" then value = value and 1 or 0 end
    check.integer(signature, "value", value, -1, INT_MAX)
    local rc = C.links_tcp_set(self._h, name, value)
    if rc < 0 then return nil, new_error(rc, "setsockopt " .. name) end
    return true
end

--- Reads an option of the system's socket: see socket:setOption.
---
--- @param name  string        one of those
--- @return integer|boolean    its value
--- @return nil, err           as socket:setOption
--- @raise                     a name that nobody knows
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- assert(assert(tcp.connect(server:address().port)):getOption("nodelay") == true)
--- server:close()
function methods:getOption(name)
    check_option("socket:getOption(name)", name)
    local out = ffi.new("int[1]")
    local rc = C.links_tcp_get(self._h, name, out)
    if rc < 0 then return nil, new_error(rc, "getsockopt " .. name) end
    if BOOLEAN[name] then return out[0] ~= 0 end
    return out[0]
end

local function set(self, name, value)
    local rc = C.links_tcp_set(self._h, name, value)
    if rc == NOT_FOUND then error("no option " .. name) end
    if rc < 0 then return new_error(rc, "setsockopt " .. name) end
end

--- Sends small pieces at once (no Nagle), or not.
---
--- @param enable  boolean  Default: true
--- @return nil             it went well
--- @return err             an error: CLOSED, or ENOTSUP on a Unix socket
--- @raise                  `enable` is no boolean
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- assert(assert(tcp.connect(server:address().port)):setNodelay(false) == nil)
--- server:close()
function methods:setNodelay(enable)
    if enable == nil then enable = true end
    check.type("socket:setNodelay([enable])", "enable", enable, "boolean")
    return set(self, "nodelay", enable and 1 or 0)
end

--- Lets the system probe a peer that is silent, or not.
---
--- @param enable  boolean  Default: true
--- @param idle    integer  seconds of silence before the first probe, 0 to 32767; 0: as it was.
---                         Default: 0
--- @return nil             it went well
--- @return err             an error: CLOSED, or what the system says
--- @raise                  an argument of another type or out of bounds
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- local socket = assert(tcp.connect(server:address().port))
--- assert(socket:setKeepalive(true, 60) == nil and socket:getOption("keepidle") == 60)
--- server:close()
function methods:setKeepalive(enable, idle)
    local signature = "socket:setKeepalive([enable, idle])"
    if enable == nil then enable = true end
    idle = idle == nil and 0 or idle
    check.type(signature, "enable", enable, "boolean")
    check.integer(signature, "idle", idle, 0, 32767)
    local err = set(self, "keepalive", enable and 1 or 0)
    if err == nil and enable and idle > 0 then err = set(self, "keepidle", idle) end
    return err
end

-- Private: a socket of a pointer that nobody owns yet.
local function own(pointer)
    return setmetatable({ _h = ffi.gc(pointer, C.links_tcp_free) }, Socket)
end

return { Socket = Socket, own = own, to_address = to_address, place = place }
