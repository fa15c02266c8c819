--- Unix sockets: servers and connections by a path of the file system, or by an abstract name
--- (Linux).
---
--- Everything else is as with TCP: see tcp, tcp.socket and tcp.server. socket:peerCredentials says
--- who the peer is.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local listening = require "links.listening"
local timer = require "links.timer"
local binding = require "links.tcp.ffi"
local connections = require "links.tcp.connect"
local servers = require "links.tcp.server"
local sockets = require "links.tcp.socket"

local C = binding.C

local unix = {}

local INT_MAX = 2 ^ 31 - 1
local RETRY_MS = 10 -- while the server's queue is full
local EAGAIN, ETIMEDOUT = -errors.code("EAGAIN"), -errors.code("ETIMEDOUT")

local SERVER_OPTIONS = {
    mode = { type = "integer", min = 0, max = 511 },
    unlink = { default = true, type = "boolean" },
    backlog = { default = 511, type = "integer", min = 1, max = 65535, c = "backlog" },
    timeout = { default = 0, type = "integer", min = 0, max = INT_MAX, c = "timeout" },
    readBufferSize = { default = 16, type = "integer", min = 1, max = 1024 },
    maxConnections = {
        default = 65535, type = "integer", min = 1, max = INT_MAX, c = "max_connections",
    },
    proxyProtocol = { default = false, type = "boolean", c = "proxy_protocol" },
}

local CONNECT_OPTIONS = {
    timeout = { default = 0, type = "integer", min = 0, max = INT_MAX, c = "timeout" },
    readBufferSize = { default = 16, type = "integer", min = 1, max = 1024 },
    connectTimeout = { default = 10000, type = "integer", min = 0, max = INT_MAX },
}

local function to_c(options, known)
    local o = ffi.new("links_tcp_options")
    for name, about in pairs(known) do
        local value = options[name]
        if type(value) == "boolean" then value = value and 1 or 0 end
        if about.c then o[about.c] = value end
    end
    o.read_buffer_size = options.readBufferSize * 1024
    return o
end

local SERVER = "unix.createServer(path, onconnect[, options])"

--- Starts a server on a path, or on an abstract name: "@name". It keeps the process going until it
--- is closed.
---
--- @param path       string    up to 107 bytes (103 on the BSDs)
--- @param onconnect  function  onconnect(socket, server), as of tcp.createServer
--- @param options    table     mode            nil     of the file, such as tonumber("660", 8);
---                                                     nil: by the umask
---                             unlink          true    a socket file on which nobody listens any
---                                                     more is replaced, and
---                                                     the file is removed when the server is
---                                                     closed
---                             backlog         511     connections the system queues for us
---                             timeout         0       ms of inactivity on accepted sockets; 0:
---                                                     none
---                             readBufferSize  16      KiB of input kept per connection, 1 to 1024:
---                                                     a limit
---                             maxConnections  65535   at once; beyond, they wait in the backlog
---                             proxyProtocol   false   as of tcp.createServer
--- @return server              as of tcp.createServer; its address is {family = "unix", path =
---                             string}
--- @return nil, err            EADDRINUSE    somebody listens there, or the file is no socket
---                             ENAMETOOLONG  the path is too long
---                             EINVAL        it is empty or has a NUL in it
---                             ENOENT, EACCES  the file cannot be made
---                             UNSUPPORTED   an abstract name where there are none
--- @raise                      an argument or an option of another type or out of bounds, or one
---                             that nobody knows
--- @usage local unix = require "unix"
--- local path = os.tmpname()
--- os.remove(path)
--- local server = assert(unix.createServer(path, function(socket) socket:write("hello") end))
--- assert(assert(unix.connect(path)):readAll() == "hello")
--- server:close()
function unix.createServer(path, onconnect, options)
    check.type(SERVER, "path", path, "string")
    check.type(SERVER, "onconnect", onconnect, "function")
    options = check.options(SERVER, options, SERVER_OPTIONS)
    local out = ffi.new("links_tcp_server *[1]")
    local mode, unlink = options.mode or -1, options.unlink and 1 or 0
    local o = to_c(options, SERVER_OPTIONS)
    local rc = C.links_unix_listen(out, path, #path, mode, unlink, o)
    if rc < 0 then return listening.failed(errors.new(rc, "listen", { address = path })) end
    listening.began()
    local info = { module = "unix", proxy = options.proxyProtocol, path = path }
    return servers.start(out[0], onconnect, info)
end

local CONNECT = "unix.connect(path[, options])"

--- Connects to a server on this machine. Where its queue is full, it tries again until there is
--- room.
---
--- @param path     string  of its socket file, or "@name"
--- @param options  table   timeout         0      ms of inactivity; 0: none
---                         readBufferSize  16     KiB of input that is kept, 1 to 1024: a limit
---                         connectTimeout  10000  ms to be connected within; 0: no limit
--- @return socket
--- @return nil, err        ENOENT        there is no such file
---                         ECONNREFUSED  nobody listens there
---                         EACCES        the file's mode does not allow it
---                         ETIMEDOUT     the server's queue was full for all of `connectTimeout`
---                         ENAMETOOLONG, EINVAL, UNSUPPORTED  as unix.createServer
---                         ECANCELED     this task was cancelled
--- @raise                  an argument or an option of another type or out of bounds, or one that
---                         nobody knows
--- @wait
--- @usage local unix = require "unix"
--- local server = assert(unix.createServer("@links-example", function(socket) socket:write("hello")
---     end))
--- assert(assert(unix.connect("@links-example")):readAll() == "hello")
--- server:close()
function unix.connect(path, options)
    check.type(CONNECT, "path", path, "string")
    options = check.options(CONNECT, options, CONNECT_OPTIONS)
    local o = to_c(options, CONNECT_OPTIONS)
    local began, timeout = core.now(), options.connectTimeout
    local function open(out) return C.links_unix_connect(out, path, #path, o) end
    while true do
        local pointer, status = connections.attempt(open, timeout)
        if pointer then return sockets.own(pointer) end
        if status == EAGAIN and timeout > 0 and core.now() - began >= timeout then
            status = ETIMEDOUT
        end
        if status ~= EAGAIN then return nil, errors.new(status, "connect", { address = path }) end
        local ok, err = timer.sleep(RETRY_MS)
        if not ok then return nil, err end
    end
end

return unix
