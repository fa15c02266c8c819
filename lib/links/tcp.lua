--- TCP: servers and connections whose code reads as if it were alone.
---
--- Each connection of a server is served by a task of its own. A read waits until it has what was
--- asked for, a write while the peer is slow, and the others go on meanwhile. Sockets are described
--- in tcp.socket, servers in tcp.server, pools in tcp.pool.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local listening = require "links.listening"
local binding = require "links.tcp.ffi"
local connections = require "links.tcp.connect"
local pools = require "links.tcp.pool"
local proxy = require "links.tcp.proxy"
local servers = require "links.tcp.server"
local sockets = require "links.tcp.socket"

local C = binding.C

local tcp = {}

local INT_MAX = 2 ^ 31 - 1

-- Names, defaults and bounds of the options; those of C have the name that C knows them by.
local SERVER_OPTIONS = {
    family = { default = 4, type = "integer", min = 4, max = 6 },
    host = { type = "string" },
    timeout = { default = 0, type = "integer", min = 0, max = INT_MAX, c = "timeout" },
    nodelay = { default = true, type = "boolean", c = "nodelay" },
    keepalive = { default = true, type = "boolean", c = "keepalive" },
    keepidle = { default = 0, type = "integer", min = 0, max = 32767, c = "keepidle" },
    backlog = { default = 511, type = "integer", min = 1, max = 65535, c = "backlog" },
    reuseport = { default = true, type = "boolean", c = "reuseport" },
    readBufferSize = { default = 16, type = "integer", min = 1, max = 1024 },
    maxConnections = {
        default = 65535, type = "integer", min = 1, max = INT_MAX, c = "max_connections",
    },
    v6only = { default = false, type = "boolean", c = "v6only" },
    deferAccept = { default = 0, type = "integer", min = 0, max = 32767, c = "defer_accept" },
    proxyProtocol = { default = false, type = "boolean", c = "proxy_protocol" },
    fastOpen = { default = 0, type = "integer", min = 0, max = 65535, c = "fast_open" },
    fd = { type = "integer", min = 0, max = INT_MAX },
}

local CONNECT_OPTIONS = {
    family = { default = 4, type = "integer", min = 0, max = 6 },
    timeout = { default = 0, type = "integer", min = 0, max = INT_MAX, c = "timeout" },
    nodelay = { default = true, type = "boolean", c = "nodelay" },
    keepalive = { default = true, type = "boolean", c = "keepalive" },
    keepidle = { default = 0, type = "integer", min = 0, max = 32767, c = "keepidle" },
    readBufferSize = { default = 16, type = "integer", min = 1, max = 1024 },
    localAddress = { type = "string" },
    localPort = { default = 0, type = "integer", min = 0, max = 65535, c = "local_port" },
    connectTimeout = { default = 10000, type = "integer", min = 0, max = INT_MAX },
    happyEyeballs = { default = true, type = "boolean" },
    fastOpen = { default = false, type = "boolean", c = "fast_open" },
    proxyHeader = { type = "table" },
    tls = { type = "table" },
}

local ADOPT_OPTIONS = {
    timeout = { default = 0, type = "integer", min = 0, max = INT_MAX, c = "timeout" },
    nodelay = { default = true, type = "boolean", c = "nodelay" },
    keepalive = { default = true, type = "boolean", c = "keepalive" },
    keepidle = { default = 0, type = "integer", min = 0, max = 32767, c = "keepidle" },
    readBufferSize = { default = 16, type = "integer", min = 1, max = 1024 },
    passFds = { default = false, type = "boolean", c = "pass_fds" },
}

-- The caller keeps `options` for as long as C may look at it: its strings are not copied here.
local function to_c(options, known)
    local o = ffi.new("links_tcp_options")
    for name, about in pairs(known) do
        local value = options[name]
        if type(value) == "boolean" then value = value and 1 or 0 end
        if about.c then o[about.c] = value end
    end
    o.read_buffer_size = options.readBufferSize * 1024
    if options.localAddress then o.local_address = options.localAddress end
    return o
end

local SERVER = "tcp.createServer(port, onconnect[, options])"

--- Starts a server. It keeps the process going until it is closed.
---
--- `onconnect(socket, server)` runs in a task of its own for each connection. The socket is closed
--- when it returns, unless it has called socket:detach. An error in it is printed with its
--- traceback, and ends that connection only.
---
--- @param port       integer   0 to 65535; 0: any free one
--- @param onconnect  function  onconnect(socket, server)
--- @param options    table     family          4          4 or 6
---                             host            "0.0.0.0"  numeric address to listen on ("::" for
---                                                        family 6); "fd:name" for a socket of
---                                                        the service manager: process.service
---                             timeout         0          ms of inactivity on accepted sockets; 0:
---                                                        none
---                             nodelay         true       TCP_NODELAY on accepted sockets
---                             keepalive       true       SO_KEEPALIVE on accepted sockets
---                             keepidle        0          seconds before the first probe; 0: the
---                                                        system's
---                             backlog         511        connections the system queues for us
---                             reuseport       true       other processes (of this user) may listen
---                                                        on the port too
---                             readBufferSize  16         KiB of input kept per connection, 1 to
---                                                        1024: a limit
---                             maxConnections  65535      at once; beyond, they wait in the backlog
---                             v6only          false      an IPv6 address does not take IPv4
---                             deferAccept     0          seconds a connection may stay with the
---                                                        system until it sends
---                                                        something (Linux)
---                             proxyProtocol   false      connections begin with a PROXY header,
---                                                        version 1 or 2, which
---                                                        tells the client's address; others are
---                                                        broken off
---                             fastOpen        0          connections that may wait with data in
---                                                        their SYN (TCP_FASTOPEN, RFC 7413); 0:
---                                                        none. The system must allow it
---                             fd              nil        a descriptor to listen on instead of a
---                                                        port: a bound stream socket, which is
---                                                        the server's from then on. `port`,
---                                                        `host` and `family` do not matter then
--- @return server              :address() :connections() :stats() :pause() :resume() :close([ms])
--- @return nil, err            EADDRINUSE     the port is taken
---                             EADDRNOTAVAIL  the address is not of this machine
---                             EACCES         the port is for root only
---                             EINVAL         the host is no numeric address
---                             EMFILE         no descriptor is left
---                             EBADF, ENOTSOCK, EPROTOTYPE  of `fd`: not open, no socket, one of
---                                            another kind
--- @raise                      an argument or an option of another type or out of bounds, or one
---                             that nobody knows
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket)
---     for line in socket:lines() do socket:write(line .. "\n") end
--- end))
--- local socket = assert(tcp.connect(server:address().port))
--- socket:write("hello\n")
--- assert(socket:readline() == "hello")
--- socket:close()
--- server:close()
function tcp.createServer(port, onconnect, options)
    local server, err = tcp._listen(SERVER, port, onconnect, options, { module = "tcp" })
    return server, err
end

-- Private: for tls too, whose signature it has then. `info` as for servers.start.
function tcp._listen(signature, port, onconnect, options, info)
    check.integer(signature, "port", port, 0, 65535, 2)
    check.type(signature, "onconnect", onconnect, "function", 2)
    options = check.options(signature, options, SERVER_OPTIONS, 2)
    if options.family == 5 then error(signature .. " options.family must be 4 or 6, not 5", 3) end
    local host = options.host or (options.family == 6 and "::" or "0.0.0.0")
    local out = ffi.new("links_tcp_server *[1]")
    local rc
    local o = to_c(options, SERVER_OPTIONS)
    if options.fd then
        rc = C.links_tcp_listen_fd(out, options.fd, o)
        host, port = nil, nil
    elseif host:find("\0", 1, true) then
        rc = -errors.code("EINVAL")
    else
        rc = C.links_tcp_listen(out, host, port, o)
    end
    if rc < 0 then
        return listening.failed(errors.new(rc, "listen", { address = host, port = port }))
    end
    listening.began()
    info.proxy = options.proxyProtocol
    return servers.start(out[0], onconnect, info)
end

local CONNECT = "tcp.connect(port[, host, options])"

local function check_connect(signature, port, host, options, level)
    check.integer(signature, "port", port, 1, 65535, level + 1)
    check.type(signature, "host", host, "string|nil", level + 1)
    options = check.options(signature, options, CONNECT_OPTIONS, level + 1)
    local family = options.family
    if family ~= 0 and family ~= 4 and family ~= 6 then
        error(signature .. " options.family must be 0, 4 or 6, not " .. family, level + 2)
    end
    local from = options.localAddress
    if from and C.links_tcp_is_ip(from, #from) == 0 then
        error(signature .. ' options.localAddress must be a numeric address, not "' .. from .. '"',
            level + 2)
    end
    if options.tls then
        options.tls = require("links.tls.context").check(signature .. " options.tls:", options.tls,
            level + 1)
    end
    options.proxyHeader = proxy.check(signature, options.proxyHeader, level + 1)
    return host or (family == 6 and "::1" or "127.0.0.1"), options
end

local function connect(port, host, options)
    local o = to_c(options, CONNECT_OPTIONS)
    local pointer, err = connections.open(port, host, options, o)
    if not pointer then return nil, err end
    local socket, failure = proxy.send(sockets.own(pointer), options.proxyHeader)
    if socket and options.tls then
        return require("links.tls.handshake").connect(socket, options.tls, host)
    end
    return socket, failure
end

--- Connects to a server. All addresses of a name are tried: the next one begins when one has failed
--- or has not answered within 250 ms, the first to answer wins, the others are closed (Happy
--- Eyeballs, RFC 8305).
---
--- @param port     integer  1 to 65535
--- @param host     string   a name or a numeric address. Default: "127.0.0.1" ("::1" for family 6)
--- @param options  table    family          4      4 or 6; 0: addresses of both, taking turns
---                          timeout         0      ms of inactivity; 0: none
---                          nodelay         true   TCP_NODELAY
---                          keepalive       true   SO_KEEPALIVE
---                          keepidle        0      seconds before the first probe; 0: the system's
---                          readBufferSize  16     KiB of input that is kept, 1 to 1024: a limit
---                          localAddress    nil    numeric address to connect from
---                          localPort       0      port to connect from; 0: any
---                          connectTimeout  10000  ms for all of it, look-up included; 0: the
---                                                 system's
---                          happyEyeballs   true   false: the next address only when one has failed
---                          fastOpen        false  the first write may go with the SYN, where the
---                                                 system can (TCP_FASTOPEN_CONNECT of Linux): it
---                                                 tells of a failure to connect then, and so the
---                                                 client must be the one to speak first
---                          proxyHeader     nil    tell the server of a client by a header of the
---                                                 PROXY protocol: a socket (of that client), or
---                                                 {version = 2, socket = socket} or {version = 2,
---                                                 source = {address =, port =}, destination =
---                                                 {address =, port =}}, version 1 or 2; without
---                                                 both, that there is none
---                          tls             nil    those of tls.createContext: the connection is
---                                                 encrypted, as by tls.connect
--- @return socket
--- @return nil, err         ECONNREFUSED  nobody listens there (err.address, err.port: the last
---                                        that was tried)
---                          ETIMEDOUT     nobody answered within `connectTimeout`
---                          ENETUNREACH, EHOSTUNREACH  there is no way there
---                          EADDRNOTAVAIL, EADDRINUSE  localAddress or localPort cannot be had
---                          EMFILE        no descriptor is left
---                          ARES_ENOTFOUND and others  what dns.lookup says of the name
---                          ECANCELED     this task was cancelled
--- @raise                   an argument or an option of another type or out of bounds, or one that
---                          nobody knows
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write("hello") end))
--- local socket = assert(tcp.connect(server:address().port, "127.0.0.1", { timeout = 5000 }))
--- assert(socket:read(5) == "hello")
--- server:close()
function tcp.connect(port, host, options)
    host, options = check_connect(CONNECT, port, host, options, 1)
    local socket, err = connect(port, host, options)
    return socket, err
end

-- Private: the same as a part of another function, whose `signature` is.
function tcp._connect(signature, port, host, options)
    host, options = check_connect(signature, port, host, options, 2)
    local socket, err = connect(port, host, options)
    return socket, err
end

local ADOPT = "tcp.adopt(fd[, options])"

--- Makes a socket of a connected descriptor, of TCP or a Unix socket: one that was inherited, or
--- that has come by socket:receiveFd.
---
--- @param fd       integer  the descriptor, which is the socket's from then on
--- @param options  table    timeout         0      ms of inactivity; 0: none
---                          nodelay         true   TCP_NODELAY, of TCP
---                          keepalive       true   SO_KEEPALIVE, of TCP
---                          keepidle        0      seconds before the first probe; 0: the system's
---                          readBufferSize  16     KiB of input that is kept, 1 to 1024: a limit
---                          passFds         false  as of unix.connect
--- @return socket
--- @return nil, err         EBADF       it is not open. With an error it stays the caller's
---                          ENOTSOCK    it is no socket
---                          EPROTOTYPE  it is no stream socket
---                          ENOTCONN    it is not connected
---                          EMFILE      no descriptor is left
--- @raise                   an argument or an option of another type or out of bounds, or one that
---                          nobody knows
--- @usage local tcp = require "tcp"
--- local socket, err = tcp.adopt(999999)
--- assert(socket == nil and err.name == "EBADF")
function tcp.adopt(fd, options)
    check.integer(ADOPT, "fd", fd, 0, INT_MAX)
    options = check.options(ADOPT, options, ADOPT_OPTIONS)
    local out = ffi.new("links_tcp *[1]")
    local rc = C.links_tcp_adopt(out, fd, to_c(options, ADOPT_OPTIONS))
    if rc < 0 then return nil, errors.new(rc, "adopt") end
    return sockets.own(out[0])
end

--- Whether a text is a numeric address.
---
--- @param address  string  what to look at
--- @return integer         4, 6, or 0 for what is none
--- @raise                  `address` is no string
--- @usage local tcp = require "tcp"
--- assert(tcp.isIP("127.0.0.1") == 4 and tcp.isIP("::1") == 6 and tcp.isIP("localhost") == 0)
function tcp.isIP(address)
    check.type("tcp.isIP(address)", "address", address, "string")
    return C.links_tcp_is_ip(address, #address)
end

local POOL_OPTIONS = {
    size = { default = 10, type = "integer", min = 1, max = 65535 },
    idleTimeout = { default = 60000, type = "integer", min = 0, max = INT_MAX },
    maxWait = { default = 100, type = "integer", min = 0, max = INT_MAX },
    waitTimeout = { default = 5000, type = "integer", min = 0, max = INT_MAX },
    check = { type = "function" },
    connect = { type = "table" },
}

--- Makes a pool of connections to one server. It connects when the first one is taken.
---
--- @param port     integer  1 to 65535
--- @param host     string   as for tcp.connect. Default: "127.0.0.1"
--- @param options  table    size         10     connections at most, in use or idle
---                          idleTimeout  60000  ms after which an idle one is closed; 0: never
---                          maxWait      100    tasks that may wait for one at most
---                          waitTimeout  5000   ms that a task waits at most; 0: as long as it
---                                              takes
---                          check        nil    check(socket): true where an idle one is fit for
---                                              use; it may wait
---                          connect      nil    options of tcp.connect
--- @return pool             :get() :put(socket) :stats() :close()
--- @raise                   an argument or an option of another type or out of bounds, or one that
---                          nobody knows
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket)
---     for line in socket:lines() do socket:write(line:upper() .. "\n") end
--- end))
--- local pool = tcp.createPool(server:address().port, "127.0.0.1", { size = 2 })
--- local socket = assert(pool:get())
--- socket:write("hello\n")
--- assert(socket:readline() == "HELLO")
--- pool:put(socket)
--- pool:close()
--- server:close()
function tcp.createPool(port, host, options)
    local signature = "tcp.createPool(port[, host, options])"
    check.integer(signature, "port", port, 1, 65535)
    check.type(signature, "host", host, "string|nil")
    options = check.options(signature, options, POOL_OPTIONS)
    local about
    host, about = check_connect(CONNECT, port, host, options.connect, 1)
    return pools.new(options, function() return connect(port, host, about) end)
end

return tcp
