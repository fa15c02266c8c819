-- A DNS server for the specs, in the same process: it answers what its table of zones says, or what
-- a function of the spec does with the question, byte by byte.
local ffi = require "ffi"
local bit = require "bit"
local task = require "links.task"
local timer = require "links.timer"
local udp = require "links.udp"

-- The TCP half: two calls that wire.lua does not have.
ffi.cdef [[
typedef struct dns_address { uint16_t family; uint16_t port; uint8_t ip[4]; uint8_t zero[8]; } dns_address;
int socket(int domain, int type, int protocol);
int bind(int fd, const dns_address *address, unsigned len);
int listen(int fd, int backlog);
int accept4(int fd, void *address, void *len, int flags);
int close(int fd);
ssize_t send(int fd, const void *data, size_t len, int flags);
ssize_t recv(int fd, void *data, size_t len, int flags);
]]
local C = ffi.C

local TYPES = { A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, HINFO = 13, MX = 15, TXT = 16,
    AAAA = 28, SRV = 33, NAPTR = 35, OPT = 41, ANY = 255, CAA = 257 }
local NAMES = {}
for name, number in pairs(TYPES) do NAMES[number] = name end

local dns_server = { TYPES = TYPES }

local function u16(n) return string.char(bit.rshift(n, 8) % 256, n % 256) end
local function u32(n) return u16(math.floor(n / 65536)) .. u16(n % 65536) end

-- A name on the wire, not compressed.
local function name(text)
    local out = {}
    for label in text:gmatch("[^.]+") do out[#out + 1] = string.char(#label) .. label end
    return table.concat(out) .. "\0"
end

local function string_of(s) return string.char(#s) .. s end

local function address4(s)
    local a, b, c, d = s:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    return string.char(a, b, c, d)
end

local function address6(s)
    local bytes = ffi.new("uint8_t[16]")
    local head, tail = s:match("^(.-)::(.*)$")
    local function put(text, at)
        for group in text:gmatch("%x+") do
            local n = tonumber(group, 16)
            bytes[at], bytes[at + 1] = bit.rshift(n, 8), n % 256
            at = at + 2
        end
    end
    put(head or s, 0)
    if tail then put(tail, 16 - 2 * select(2, tail:gsub("%x+", ""))) end
    return ffi.string(bytes, 16)
end

-- The data of a record: one function per type.
local data = {
    A = address4,
    AAAA = address6,
    NS = name,
    CNAME = name,
    PTR = name,
    MX = function(priority, host) return u16(priority) .. name(host) end,
    SRV = function(priority, weight, port, host)
        return u16(priority) .. u16(weight) .. u16(port) .. name(host)
    end,
    TXT = function(...)
        local out = {}
        for i, s in ipairs { ... } do out[i] = string_of(s) end
        return table.concat(out)
    end,
    SOA = function(primary, mailbox, serial, refresh, retry, expire, minimum)
        return name(primary) .. name(mailbox) .. u32(serial) .. u32(refresh) .. u32(retry) ..
            u32(expire) .. u32(minimum)
    end,
    CAA = function(flags, tag, value) return string.char(flags) .. string_of(tag) .. value end,
    NAPTR = function(order, preference, flags, service, regexp, replacement)
        return u16(order) .. u16(preference) .. string_of(flags) .. string_of(service) ..
            string_of(regexp) .. name(replacement)
    end,
    HINFO = function(cpu, os) return string_of(cpu) .. string_of(os) end,
}

-- A record: rr("a.test", "MX", 60, 10, "mail.test").
function dns_server.rr(owner, type_name, ttl, ...)
    local bytes = data[type_name](...)
    return name(owner) .. u16(TYPES[type_name]) .. u16(1) .. u32(ttl) .. u16(#bytes) .. bytes
end

-- A record whose data is given byte by byte.
function dns_server.raw(owner, type_name, ttl, bytes)
    return name(owner) .. u16(TYPES[type_name]) .. u16(1) .. u32(ttl) .. u16(#bytes) .. bytes
end

local function parse(packet)
    local labels, at = {}, 13
    while packet:byte(at) ~= 0 do
        local n = packet:byte(at)
        labels[#labels + 1] = packet:sub(at + 1, at + n)
        at = at + 1 + n
    end
    local number = packet:byte(at + 1) * 256 + packet:byte(at + 2)
    local sent = table.concat(labels, ".")
    return {
        id = packet:sub(1, 2),
        question = packet:sub(13, at + 4),
        sent = sent,
        name = sent:lower(),
        type = NAMES[number] or number,
        edns = packet:byte(12) == 1,
    }
end

-- A reply: answer and authority are arrays of records; rcode, truncated, question (other bytes).
function dns_server.reply(q, r)
    local flags = 0x8180 + (r.truncated and 0x200 or 0) + (r.rcode or 0)
    local answer, authority, additional = r.answer or {}, r.authority or {}, r.additional or {}
    return q.id .. u16(flags) .. u16(1) .. u16(#answer) .. u16(#authority) .. u16(#additional) ..
        (r.question or q.question) .. table.concat(answer) .. table.concat(authority) ..
        table.concat(additional)
end

local Server = {}
Server.__index = Server

-- What the zones say: {["a.test"] = {A = {...records}}}. A name that is not there is NXDOMAIN.
local function from_zones(zones, q)
    local soa = zones.soa and { zones.soa }
    local here = zones[q.name]
    if not here then return { rcode = 3, authority = soa } end
    local records = here[q.type] or here.CNAME
    return { answer = records, authority = not records and soa or nil }
end

function Server:handle(packet, transport, peer)
    local q = parse(packet)
    q.transport = transport
    q.peer = peer
    self.log[#self.log + 1] = q
    self.count = self.count + 1
    local r = self.zones
    if type(r) == "function" then r = r(q, self) else r = from_zones(r, q) end
    if type(r) == "table" then r = dns_server.reply(q, r) end
    return r
end

function Server:serve_udp()
    local socket = self.udp
    while socket do
        local packet, err, peer = socket:recv()
        if err then return end
        local reply = self:handle(packet, "udp", peer)
        if reply then socket:send(reply, peer.port, peer.address) end
    end
end

local SOCK_STREAM, SOCK_FLAGS, MSG_NOSIGNAL = 1, 0x80800, 0x4000 -- non-blocking, close-on-exec

-- A listening socket; nil where somebody has the port.
local function listen(port)
    local fd = C.socket(2, SOCK_STREAM + SOCK_FLAGS, 0)
    local at = ffi.new("dns_address")
    at.family = 2
    at.port = bit.bor(bit.lshift(bit.band(port, 255), 8), bit.rshift(port, 8))
    at.ip = { 127, 0, 0, 1 }
    if C.bind(fd, at, ffi.sizeof(at)) == 0 and C.listen(fd, 16) == 0 then return fd end
    C.close(fd)
end

local buffer = ffi.new("char[65536]")

-- One connection: queries with their length before them, until the end.
function Server:serve_stream(fd)
    local got = ""
    while self.udp do
        local n = tonumber(C.recv(fd, buffer, 65536, 0))
        if n == 0 then break end
        if n > 0 then
            got = got .. ffi.string(buffer, n)
            local len = #got >= 2 and got:byte(1) * 256 + got:byte(2)
            while len and #got >= 2 + len do
                local reply = self:handle(got:sub(3, 2 + len), "tcp")
                if reply == false then break end
                if reply then
                    reply = u16(#reply) .. reply
                    -- In two pieces: the length, and later what it is the length of.
                    local at = self.split or #reply
                    C.send(fd, reply:sub(1, at), at, MSG_NOSIGNAL)
                    if at < #reply then
                        timer.sleep(2)
                        C.send(fd, reply:sub(at + 1), #reply - at, MSG_NOSIGNAL)
                    end
                end
                got = got:sub(3 + len)
                len = #got >= 2 and got:byte(1) * 256 + got:byte(2)
            end
            if self.hangUp then break end
        else
            timer.sleep(1)
        end
    end
    C.close(fd)
end

function Server:serve_tcp()
    while self.udp do
        local fd = C.accept4(self.listener, nil, nil, SOCK_FLAGS)
        if fd >= 0 then
            task.spawn(self.serve_stream, self, fd)
        else
            timer.sleep(1)
        end
    end
    C.close(self.listener)
end

function Server:close()
    if not self.udp then return end
    self.udp:close()
    self.udp = nil
end

-- How many questions of a type have come.
function Server:asked(type_name)
    local n = 0
    for _, q in ipairs(self.log) do
        if q.type == type_name then n = n + 1 end
    end
    return n
end

-- Starts a server on a port of the system's choice. `zones` is a table as above, or a function
-- fn(question) that returns a table for dns_server.reply, bytes, or nothing. options: tcp.
function dns_server.start(zones, options)
    local self = setmetatable({ zones = zones, log = {}, count = 0 }, Server)
    local tcp = options and options.tcp
    repeat
        if self.udp then self.udp:close() end
        self.udp = assert(udp.createSocket(0, "127.0.0.1"))
        self.port = self.udp:localAddress().port
        self.listener = tcp and listen(self.port)
    until self.listener or not tcp
    self.address = "127.0.0.1:" .. self.port
    task.spawn(self.serve_udp, self)
    if tcp then task.spawn(self.serve_tcp, self) end
    return self
end

return dns_server
