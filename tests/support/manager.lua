-- Sockets as a service manager makes them: bound here, by system calls, for a program that is
-- started with them; and the one that it hears from programs by. Linux and the BSDs.
local ffi = require "ffi"
local process = require "process"
local program = require "tools"

ffi.cdef [[
int socket(int domain, int type, int protocol);
int bind(int fd, const void *address, unsigned len);
int listen(int fd, int backlog);
int getsockname(int fd, void *address, unsigned *len);
ptrdiff_t recv(int fd, void *data, size_t len, int flags);
int close(int fd);
]]
local C = ffi.C

local manager = {}

local IS_BSD = jit.os ~= "Linux"
local AF_UNIX, AF_INET, AF_INET6 = 1, 2, IS_BSD and 28 or 10
local STREAM, DATAGRAM = 1, 2
local DONTWAIT = IS_BSD and 0x80 or 0x40

-- The family as it stands at the beginning of an address.
local function begin(family, rest)
    if IS_BSD then return string.char(#rest + 2, family) .. rest end
    return string.char(family % 256, 0) .. rest
end

local function bound(family, type, address)
    local fd = C.socket(family, type, 0)
    assert(fd >= 0, "no socket")
    assert(C.bind(fd, address, #address) == 0, "the address cannot be had")
    return fd
end

local function port_of(fd)
    local name, len = ffi.new("uint8_t[128]"), ffi.new("unsigned[1]", 128)
    assert(C.getsockname(fd, name, len) == 0)
    return name[2] * 256 + name[3]
end

local LOOPBACK = "\127\0\0\1" .. ("\0"):rep(8)

-- A socket that listens on 127.0.0.1, or one for datagrams there: its descriptor and port.
function manager.tcp()
    local fd = bound(AF_INET, STREAM, begin(AF_INET, "\0\0" .. LOOPBACK))
    assert(C.listen(fd, 100) == 0)
    return fd, port_of(fd)
end

function manager.udp()
    local fd = bound(AF_INET, DATAGRAM, begin(AF_INET, "\0\0" .. LOOPBACK))
    return fd, port_of(fd)
end

-- One that listens on all addresses of IPv6, and of IPv4.
function manager.tcp6()
    local fd = bound(AF_INET6, STREAM, begin(AF_INET6, ("\0"):rep(26)))
    assert(C.listen(fd, 100) == 0)
    return fd, port_of(fd)
end

local function unix_address(path)
    return begin(AF_UNIX, (path:gsub("^@", "\0")) .. (path:find("^@") and "" or "\0"))
end

function manager.unix(path)
    local fd = bound(AF_UNIX, STREAM, unix_address(path))
    assert(C.listen(fd, 100) == 0)
    return fd
end

-- A port that no socket of datagrams on 127.0.0.1 has just now.
function manager.free_udp_port()
    local fd, port = manager.udp()
    C.close(fd)
    return port
end

manager.close = C.close

-- Starts a program by its arguments with up to two descriptors as its 3 and 4, and as LISTEN_FDS
-- says unless `env` has it; its standard output goes where its errors do.
function manager.launch(fds, names, arguments, env)
    env = env or {}
    env.LISTEN_FDS = env.LISTEN_FDS or tostring(#fds)
    env.LISTEN_FDNAMES = names
    local set = env.LISTEN_PID and "" or "LISTEN_PID=$$ "
    local shell = ("exec 3<&0%s 0</dev/null 1>&2; %sexec \"$0\" \"$@\""):format(
        fds[2] and " 4<&1" or "", set == "" and "" or "export " .. set .. "; ")
    if #fds == 0 then shell = shell:gsub("3<&0 ", "") end
    return assert(process.spawn("/bin/sh", { "-c", shell, program.LINKS, unpack(arguments) },
        { stdin = fds[1] or "null", stdout = fds[2] or "null", env = env }))
end

-- A service manager's ear at a path: an object with take(), which returns the next datagram or nil.
function manager.ear(path)
    local fd = bound(AF_UNIX, DATAGRAM, unix_address(path))
    local buffer = ffi.new("char[4096]")
    return {
        take = function()
            local n = C.recv(fd, buffer, 4096, DONTWAIT)
            return n >= 0 and ffi.string(buffer, n) or nil
        end,
        close = function() C.close(fd) end,
    }
end

return manager
