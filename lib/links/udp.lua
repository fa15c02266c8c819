--- Datagrams: UDP sockets, connected or not, multicast and broadcast.
---
--- A datagram comes whole or not at all. It has 65,507 bytes at most over IPv4 (65,527 over IPv6),
--- and gets through unfragmented nearly everywhere up to 1,232. What comes while nobody reads waits
--- in the system's buffer (option recvBuffer), and is dropped where that is full. A socket reads up
--- to 32 datagrams with one system call and hands them out one by one; on Linux a run of datagrams
--- of one size from one sender counts as one of those (UDP_GRO).
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"

ffi.cdef [[
typedef struct links_udp_options {
    int family;
    int reuseport, broadcast, v6only;
    int multicast_ttl, multicast_loop;
    int recv_buffer, send_buffer;
} links_udp_options;
typedef struct links_udp links_udp;
typedef struct links_udp_packet {
    const char *data;
    uint32_t len;
    int32_t port;
    char address[46];
} links_udp_packet;
typedef struct links_udp_message {
    const char *data;
    uint32_t len;
    int32_t port;
    const char *host;
} links_udp_message;
int links_udp_open(links_udp **socket, const char *host, int port,
                             const links_udp_options *options);
int links_udp_recv(links_udp *socket, links_udp_packet *packet, double timeout_ms);
int links_udp_send(links_udp *socket, const char *data, size_t len, const char *host,
                             int port);
int links_udp_send_many(links_udp *socket, const links_udp_message *messages, int count);
int links_udp_connect(links_udp *socket, const char *host, int port);
int links_udp_membership(links_udp *socket, int join, const char *group,
                                   const char *interface);
int links_udp_address(links_udp *socket, int peer, char *text, int *port);
void links_udp_close(links_udp *socket);
void links_udp_free(links_udp *socket);
]]
local C, AGAIN = ffi.C, -19999
local wait = core.wait

local udp = {}

local INT_MAX = 2 ^ 31 - 1
local SEND_BATCH = 64
local message_batch = ffi.typeof("links_udp_message[" .. SEND_BATCH .. "]")
local LONGEST_MS = 2 ^ 40
local EINVAL = -errors.code("EINVAL")

local methods = {}
local Socket = { __index = methods, __name = "udp socket" }

local SIGNATURE = "udp.createSocket([port[, host[, options]]])"
local OPTIONS = {
    family = { type = "integer", min = 4, max = 6 },
    reuseport = { type = "boolean", default = false },
    broadcast = { type = "boolean", default = false },
    v6only = { type = "boolean", default = true },
    multicastTtl = { type = "integer", min = 0, max = 255, default = 1 },
    multicastLoop = { type = "boolean", default = true },
    recvBuffer = { type = "integer", min = 1, max = INT_MAX },
    sendBuffer = { type = "integer", min = 1, max = INT_MAX },
}

local function bit(on)
    return on and 1 or 0
end

-- The numeric address of a host in the family; or nil and an error.
local function numeric(host, family)
    local list, err = require("links.dns").lookup(host, { family = family, all = false })
    return list and list[1].address, err
end

--- Opens a socket.
---
--- @param port     integer  to bind to. Default: 0, one that the system chooses
--- @param host     string   address or name to bind to; "fd:name" for a socket of the service
---                          manager (process.service). Default: all, "0.0.0.0" or "::"
--- @param options  table    default:
---                          family         4      or 6; that of `host` where it is an address
---                          reuseport      false  several sockets may have the port
---                          broadcast      false  it may send to broadcast addresses
---                          v6only         true   false: with IPv6 it takes IPv4, too
---                          multicastTtl   1      routers for multicast to pass, 0 to 255
---                          multicastLoop  true   this host gets its own multicast datagrams
---                          recvBuffer     nil    bytes in the system; nil: its default
---                          sendBuffer     nil    the same, for sending
--- @return socket           :recv() :send() :sendMany() :connect() :close() ...
--- @return nil, err         EADDRINUSE     the port is taken
---                          EADDRNOTAVAIL  the address is not of this host
---                          EACCES         the port is for root only
---                          EMFILE         no descriptor is left
---                          and what dns.lookup answers for a host that is a name
--- @raise                   an argument or option of another type or out of bounds
--- @wait
--- @usage local udp = require "udp"
--- local a = assert(udp.createSocket(0, "127.0.0.1"))
--- local b = assert(udp.createSocket(0, "127.0.0.1"))
--- assert(a:send("hello", b:localAddress().port, "127.0.0.1"))
--- local data, err, peer = b:recv(1000)
--- assert(data == "hello" and not err and peer.port == a:localAddress().port)
--- a:close()
--- b:close()
function udp.createSocket(port, host, options)
    port = port or 0
    check.integer(SIGNATURE, "port", port, 0, 65535)
    check.type(SIGNATURE, "host", host, "string|nil")
    local o = check.options(SIGNATURE, options, OPTIONS)
    if o.family == 5 then error(SIGNATURE .. " options.family must be 4 or 6", 2) end
    local family = o.family or (host and host:find(":", 1, true) and 6) or 4
    host = host or (family == 6 and "::" or "0.0.0.0")
    local address = host
    if not host:find("^fd:") then
        local found, err = numeric(host, family)
        if not found then return nil, err end
        address = found
    end
    if address:find("\0", 1, true) then return nil, errors.new(EINVAL, "bind") end
    local out = ffi.new("links_udp *[1]")
    local rc = C.links_udp_open(out, address, port, ffi.new("links_udp_options", family,
        bit(o.reuseport), bit(o.broadcast), bit(o.v6only), o.multicastTtl, bit(o.multicastLoop),
        o.recvBuffer or 0, o.sendBuffer or 0))
    if rc < 0 then return nil, errors.new(rc, "bind", { address = address, port = port }) end
    return setmetatable({
        _h = ffi.gc(out[0], C.links_udp_free),
        _family = rc,
        _packet = ffi.new("links_udp_packet"),
    }, Socket)
end

local function address_of(self, peer)
    local text, port = ffi.new("char[46]"), ffi.new("int[1]")
    local family = C.links_udp_address(self._h, peer, text, port)
    if family < 0 then
        return nil, errors.new(family, peer == 1 and "getpeername" or "getsockname")
    end
    return { family = family, port = port[0], address = ffi.string(text) }
end

function Socket.__tostring(self)
    local at = address_of(self, 0)
    if not at then return "udp socket: closed" end
    local host = at.family == 6 and "[" .. at.address .. "]" or at.address
    return "udp socket: " .. host .. ":" .. at.port
end

--- The address that the socket is bound to.
---
--- @return table       {family = 4 or 6, port = integer, address = string}
--- @return nil, err    CLOSED  the socket is closed
--- @usage local udp = require "udp"
--- local sock = assert(udp.createSocket(0, "127.0.0.1"))
--- assert(sock:localAddress().port > 0)
--- sock:close()
function methods:localAddress()
    return address_of(self, 0)
end

--- The address that the socket is connected to.
---
--- @return table       {family = 4 or 6, port = integer, address = string}
--- @return nil, err    ENOTCONN  it is not connected
---                     CLOSED    the socket is closed
--- @usage local udp = require "udp"
--- local sock = assert(udp.createSocket(0, "127.0.0.1"))
--- assert(select(2, sock:remoteAddress()).name == "ENOTCONN")
--- sock:close()
function methods:remoteAddress()
    return address_of(self, 1)
end

--- Waits for a datagram.
---
--- @param ms  number          how long to wait at most, in milliseconds; 0: not at all.
---                            Default: as long as it takes
--- @return string, nil, table the datagram, and who sent it: {address = string, port = integer}
--- @return nil, err           ETIMEDOUT     none came within `ms`, or a deadline came
---                            ECANCELED     this task was cancelled
---                            EBUSY         another task is waiting for one
---                            ECONNREFUSED  of a connected socket: nobody listens at the peer
---                            CLOSED        the socket is closed
--- @raise                     `ms` is not a number of milliseconds
--- @wait
--- @usage local udp = require "udp"
--- local sock = assert(udp.createSocket(0, "127.0.0.1"))
--- local data, err = sock:recv(1)
--- assert(data == nil and err.name == "ETIMEDOUT")
--- sock:close()
function methods:recv(ms)
    local handle, packet = self._h, self._packet
    local until_ms
    if ms ~= nil then
        check.timeout("socket:recv([ms])", "ms", ms)
        until_ms = core.now() + ms
        -- For C, 0 is as long as it takes.
        ms = ms == 0 and -1 or math.ceil(math.min(ms, LONGEST_MS))
    end
    local rc = C.links_udp_recv(handle, packet, ms or 0)
    while rc == AGAIN do
        rc = wait()
        if rc == 0 then
            -- Woken, and somebody else was faster, or the datagram was a broken one.
            if until_ms then
                ms = math.max(1, math.ceil(math.min(until_ms - core.now(), LONGEST_MS)))
            end
            rc = C.links_udp_recv(handle, packet, ms or 0)
        end
    end
    if rc < 0 then return nil, errors.new(rc, "recv") end
    return ffi.string(packet.data, packet.len), nil,
        { address = ffi.string(packet.address), port = packet.port }
end

local SEND_SIGNATURE = "socket:send(data[, port, host])"

local function check_target(signature, port, host, level)
    check.integer(signature, "port", port, 1, 65535, level + 1)
    check.type(signature, "host", host, "string", level + 1)
end

local function send_error(self, rc, port, host)
    return errors.new(rc, "send", { address = host, port = port })
end

--- Sends a datagram.
---
--- It goes to the system at once; that it has gone is not that it arrives.
---
--- @param data  string   the bytes
--- @param port  integer  of the receiver. Default, on a connected socket: the peer's
--- @param host  string   address or name of the receiver; a name is looked up by dns.lookup
--- @return true
--- @return nil, err      EMSGSIZE      it is too long
---                       EDESTADDRREQ  there is no receiver, and the socket is not connected
---                       EACCES        a broadcast address, without the option `broadcast`
---                       EAFNOSUPPORT  the address is of another family than the socket
---                       ECONNREFUSED  of a connected socket: an earlier one found nobody
---                       ENETUNREACH, EHOSTUNREACH  there is no way to it
---                       ETIMEDOUT     the system had no room until a deadline came
---                       ECANCELED     this task was cancelled while the system had no room
---                       CLOSED        the socket is closed
---                       and what dns.lookup answers for a host that is a name
--- @raise                an argument of another type
--- @wait
--- @usage local udp = require "udp"
--- local sock = assert(udp.createSocket())
--- assert(sock:send("nobody reads this", 9, "127.0.0.1"))
--- sock:close()
function methods:send(data, port, host)
    if type(data) ~= "string" then check.type(SEND_SIGNATURE, "data", data, "string") end
    if port ~= nil or host ~= nil then check_target(SEND_SIGNATURE, port, host, 1) end
    local handle = self._h
    local rc = C.links_udp_send(handle, data, #data, host, port or 0)
    if rc == EINVAL and host then
        local address, err = numeric(host, self._family)
        if not address then return nil, err end
        host = address
        rc = C.links_udp_send(handle, data, #data, host, port)
    end
    while rc == AGAIN do
        rc = wait()
        if rc == 0 then rc = C.links_udp_send(handle, data, #data, host, port or 0) end
    end
    if rc < 0 then return nil, send_error(self, rc, port, host) end
    return true
end

local MANY_SIGNATURE = "socket:sendMany(list)"

--- Sends many datagrams, up to 64 with one system call. On Linux those of one size to one receiver
--- that follow each other go through the system as one piece (UDP_SEGMENT), which is fastest.
---
--- @param list  array   of {data, port, host}; on a connected socket {data}. A host is an address
--- @return integer      how many have gone: all
--- @return integer, err how many have gone before one failed: as socket:send; EINVAL for
---                      a host that is no address
--- @raise               not such a list
--- @wait
--- @usage local udp = require "udp"
--- local sock = assert(udp.createSocket())
--- assert(sock:sendMany { { "one", 9, "127.0.0.1" }, { "two", 9, "127.0.0.1" } } == 2)
--- sock:close()
function methods:sendMany(list)
    check.type(MANY_SIGNATURE, "list", list, "table")
    for i, m in ipairs(list) do
        check.type(MANY_SIGNATURE, "list[" .. i .. "]", m, "table")
        check.type(MANY_SIGNATURE, "list[" .. i .. "][1]", m[1], "string")
        if m[2] ~= nil or m[3] ~= nil then check_target(MANY_SIGNATURE, m[2], m[3], 1) end
    end
    local handle, sent = self._h, 0
    local batch = message_batch()
    while sent < #list do
        local n = math.min(#list - sent, SEND_BATCH)
        for i = 1, n do
            local m, to = list[sent + i], batch[i - 1]
            to.data, to.len = m[1], #m[1]
            to.port, to.host = m[2] or 0, m[3]
        end
        local rc = C.links_udp_send_many(handle, batch, n)
        if rc == AGAIN then rc = wait() end
        if rc < 0 then
            local m = list[sent + 1]
            return sent, send_error(self, rc, m[2], m[3])
        end
        sent = sent + rc
    end
    return sent
end

--- Connects the socket: datagrams go to the peer where a send names nobody, and come from nobody
--- else.
---
--- @param port  integer  of the peer
--- @param host  string   its address or name
--- @return true
--- @return nil, err      ENETUNREACH   there is no way to it
---                       EAFNOSUPPORT  the address is of another family than the socket
---                       CLOSED        the socket is closed
---                       and what dns.lookup answers for a host that is a name
--- @raise                an argument of another type
--- @wait
--- @usage local udp = require "udp"
--- local sock = assert(udp.createSocket(0, "127.0.0.1"))
--- assert(sock:connect(9, "127.0.0.1"))
--- assert(sock:remoteAddress().port == 9)
--- sock:close()
function methods:connect(port, host)
    check_target("socket:connect(port, host)", port, host, 1)
    local handle = self._h
    local address, err = numeric(host, self._family)
    if not address then return nil, err end
    local rc = C.links_udp_connect(handle, address, port)
    if rc < 0 then return nil, errors.new(rc, "connect", { address = address, port = port }) end
    return true
end

local function membership(self, join, group, interface)
    local rc = C.links_udp_membership(self._h, join, group, interface)
    if rc < 0 then
        local what = join == 1 and "addMembership" or "dropMembership"
        return nil, errors.new(rc, what, { address = group })
    end
    return true
end

--- Joins a multicast group: its datagrams come to this socket, too.
---
--- @param group  string  the group's address
--- @param iface  string  name of the interface to listen on or, in IPv4, its address.
---                       Default: the system's choice
--- @return true
--- @return nil, err      EINVAL      this is no group
---                       EADDRINUSE  it is a member already
---                       ENODEV      there is no such interface, or none that could do it
---                       CLOSED      the socket is closed
--- @raise                an argument of another type
--- @usage local udp = require "udp"
--- local sock = assert(udp.createSocket())
--- local ok, err = sock:addMembership("192.0.2.1")
--- assert(not ok and err.name == "EINVAL")
--- sock:close()
function methods:addMembership(group, iface)
    check.type("socket:addMembership(group[, iface])", "group", group, "string")
    check.type("socket:addMembership(group[, iface])", "iface", iface, "string|nil")
    return membership(self, 1, group, iface)
end

--- Leaves a multicast group.
---
--- @param group  string  the group's address
--- @param iface  string  as for socket:addMembership
--- @return true
--- @return nil, err      EADDRNOTAVAIL  it is no member
---                       otherwise as socket:addMembership
--- @raise                an argument of another type
--- @usage local udp = require "udp"
--- local sock = assert(udp.createSocket())
--- assert(not sock:dropMembership("239.255.0.1"))
--- sock:close()
function methods:dropMembership(group, iface)
    check.type("socket:dropMembership(group[, iface])", "group", group, "string")
    check.type("socket:dropMembership(group[, iface])", "iface", iface, "string|nil")
    return membership(self, 0, group, iface)
end

--- Closes the socket; who waits for it gets CLOSED. Closing twice is harmless.
---
--- @return true
--- @usage local udp = require "udp"
--- local sock = assert(udp.createSocket())
--- sock:close()
--- assert(select(2, sock:recv()).name == "CLOSED")
function methods:close()
    C.links_udp_close(self._h)
    return true
end

return udp
