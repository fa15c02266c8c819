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
local names = require "links.process.names"
local system = require "links.system"
local timer = require "links.timer"
local binding = require "links.tcp.ffi"
local connections = require "links.tcp.connect"
local proxy = require "links.tcp.proxy"
local servers = require "links.tcp.server"
local sockets = require "links.tcp.socket"

local C = binding.C

local unix = {}

local INT_MAX = 2 ^ 31 - 1
local RETRY_MS = 10 -- while the server's queue is full
local EAGAIN, ETIMEDOUT = -errors.code("EAGAIN"), -errors.code("ETIMEDOUT")
local EINVAL = errors.code("EINVAL")

local SERVER_OPTIONS = {
    mode = { default = tonumber("660", 8), type = "integer", min = 0, max = 511 },
    owner = { type = "string|number" },
    group = { type = "string|number" },
    unlink = { default = true, type = "boolean" },
    backlog = { default = 511, type = "integer", min = 1, max = 65535, c = "backlog" },
    timeout = { default = 0, type = "integer", min = 0, max = INT_MAX, c = "timeout" },
    readBufferSize = { default = 16, type = "integer", min = 1, max = 1024 },
    maxConnections = {
        default = 65535, type = "integer", min = 1, max = INT_MAX, c = "max_connections",
    },
    proxyProtocol = { default = false, type = "boolean", c = "proxy_protocol" },
    passFds = { default = false, type = "boolean", c = "pass_fds" },
}

local CONNECT_OPTIONS = {
    timeout = { default = 0, type = "integer", min = 0, max = INT_MAX, c = "timeout" },
    readBufferSize = { default = 16, type = "integer", min = 1, max = 1024 },
    connectTimeout = { default = 10000, type = "integer", min = 0, max = INT_MAX },
    passFds = { default = false, type = "boolean", c = "pass_fds" },
    proxyHeader = { type = "table" },
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

local function no_such(err, kind, name)
    if err.name ~= "NOT_FOUND" then return err end
    return errors.new(EINVAL, "chown", { message = "there is no " .. kind .. " " .. name })
end

local SERVER = "unix.createServer(path, onconnect[, options])"

-- The ids that the file is to have, -1 for those that stay as they come.
local function owner_of(path, options)
    local owner, group = options.owner, options.group
    if path:sub(1, 1) == "@" and (owner or group) then
        error(SERVER .. " options." .. (owner and "owner" or "group")
            .. " is for a file: an abstract name has none", 3)
    end
    local user, err, found
    if type(owner) == "string" then
        user, err = system.userInfo(owner)
        if not user then return nil, nil, no_such(err, "user", owner) end
        owner = user.uid
    end
    if type(group) == "string" then
        found, err = system.groupInfo(group)
        if not found then return nil, nil, no_such(err, "group", group) end
        group = found.gid
    end
    return owner or -1, group or -1
end

--- Starts a server on a path, or on an abstract name: "@name". It keeps the process going until it
--- is closed.
---
--- @param path       string    up to 107 bytes (103 on the BSDs)
--- @param onconnect  function  onconnect(socket, server), as of tcp.createServer
--- @param options    table     mode            432     of the file, tonumber("660", 8): who may
---                                                     write to it may connect
---                             owner           nil     of the file: a user's id or name. Only root
---                                                     may choose
---                             group           nil     of the file: a group's id or name. One's
---                                                     own, unless one is root
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
---                             passFds         false   descriptors that clients send are kept for
---                                                     socket:receiveFd; else the system closes
---                                                     them
--- @return server              as of tcp.createServer; its address is {family = "unix", path =
---                             string}
--- @return nil, err            EADDRINUSE    somebody listens there, or the file is no socket
---                             ENAMETOOLONG  the path is too long
---                             EINVAL        it is empty or has a NUL in it
---                             ENOENT, EACCES  the file cannot be made
---                             EPERM         this user may not give it to that owner or group
---                             EINVAL        there is no such user or group
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
    names.check_id(SERVER, "options.owner", options.owner)
    names.check_id(SERVER, "options.group", options.group)
    local uid, gid, err = owner_of(path, options)
    if err then return nil, err end
    local out = ffi.new("links_tcp_server *[1]")
    local file = ffi.new("links_unix_options", options.mode, options.unlink and 1 or 0, uid, gid)
    local rc = C.links_unix_listen(out, path, #path, file, to_c(options, SERVER_OPTIONS))
    if rc < 0 then return listening.failed(errors.new(rc, "listen", { address = path })) end
    listening.began()
    local info = { module = "unix", proxy = options.proxyProtocol, path = path }
    return servers.start(out[0], onconnect, info)
end

-- Private: a server of links' own, which is none of the program's and does not keep it going.
function unix._aside(path, onconnect, options)
    local out = ffi.new("links_tcp_server *[1]")
    local file = ffi.new("links_unix_options", options.mode, 1, -1, -1)
    options = check.options(SERVER, options, SERVER_OPTIONS)
    local rc = C.links_unix_listen(out, path, #path, file, to_c(options, SERVER_OPTIONS))
    if rc < 0 then return nil, errors.new(rc, "listen", { address = path }) end
    return servers.start(out[0], onconnect, { module = "admin", path = path, aside = true })
end

local CONNECT = "unix.connect(path[, options])"

--- Connects to a server on this machine. Where its queue is full, it tries again until there is
--- room.
---
--- @param path     string  of its socket file, or "@name"
--- @param options  table   timeout         0      ms of inactivity; 0: none
---                         readBufferSize  16     KiB of input that is kept, 1 to 1024: a limit
---                         connectTimeout  10000  ms to be connected within; 0: no limit
---                         passFds         false  as of unix.createServer
---                         proxyHeader     nil    as of tcp.connect
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
    local header = proxy.check(CONNECT, options.proxyHeader)
    local o = to_c(options, CONNECT_OPTIONS)
    local began, timeout = core.now(), options.connectTimeout
    local function open(out) return C.links_unix_connect(out, path, #path, o) end
    while true do
        local pointer, status = connections.attempt(open, timeout)
        if pointer then
            local socket, failure = proxy.send(sockets.own(pointer), header)
            return socket, failure
        end
        if status == EAGAIN and timeout > 0 and core.now() - began >= timeout then
            status = ETIMEDOUT
        end
        if status ~= EAGAIN then return nil, errors.new(status, "connect", { address = path }) end
        local ok, err = timer.sleep(RETRY_MS)
        if not ok then return nil, err end
    end
end

--- Closes a descriptor that nobody else closes: one of socket:receiveFd.
---
--- @param fd  integer  the descriptor
--- @return true
--- @return nil, err    EBADF  it is not open
--- @raise              `fd` is no such integer
--- @usage local _, err = require("unix").closeFd(999999)
--- assert(err.name == "EBADF")
function unix.closeFd(fd)
    check.integer("unix.closeFd(fd)", "fd", fd, 0, INT_MAX)
    local rc = C.links_tcp_close_fd(fd)
    if rc < 0 then return nil, errors.new(rc, "close") end
    return true
end

return unix
