--- Writing to sockets, of TCP and Unix: bytes, files, and what another socket gets.
---
--- Small writes of one turn of the loop leave together. Writes wait while the peer is slow. All of
--- these are methods of every socket.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.tcp.ffi"
local call = require "links.tcp.call"
local proxy = require "links.tcp.proxy"

local C, AGAIN, CLOSED = binding.C, binding.AGAIN, binding.CLOSED
local EINVAL, ETIMEDOUT = -errors.code("EINVAL"), -errors.code("ETIMEDOUT")
local fast_write = core.fast.tcpWrite
local wait, new_error = core.wait, errors.new
local type = type

local INT_MAX = 2 ^ 31 - 1
local PIECES = 64 -- of one writev

-- Of a fixed size each (docs/architecture.md, "Errors and memory"): where a trace in which nothing
-- was written was left because there was something, LuaJIT made a links_tcp_bytes[?] without room,
-- and the length of the piece was written over the object behind it.
local one_piece = ffi.typeof("links_tcp_bytes[1]")
local many_pieces = ffi.typeof("links_tcp_bytes[" .. PIECES .. "]")
local pointer = ffi.new("const void *[1]") -- only to see what can be one
local bytes = ffi.typeof("const char *")
local handle_type = ffi.typeof("links_tcp *")
local server_type = ffi.typeof("links_tcp_server *")

local Socket = {}

local function write_failed(handle, status, done, what)
    C.links_tcp_write_over(handle)
    return nil, new_error(status, what, { partial = done })
end

-- Writes `len` bytes at `at`, which `anchor` keeps alive.
local function write_bytes(handle, at, len, anchor, done)
    local piece = one_piece()
    while done < len do
        piece[0].data, piece[0].len = at + done, len - done
        local n = call(C.links_tcp_writev, 1, handle, piece, 1)
        if n < 0 then return write_failed(handle, n, done, "tcp write") end
        done = done + n
    end
    return len, nil, anchor
end

-- The pieces that are left, at most 64, from the `from`th on, of which `skip` bytes have gone.
local function fill(pieces, list, from, skip)
    local count = 0
    for i = from, #list do
        if count == PIECES then break end
        local text = list[i]
        pieces[count].data, pieces[count].len = ffi.cast(bytes, text) + skip, #text - skip
        skip = 0
        count = count + 1
    end
    return count
end

local function write_list(handle, list)
    local pieces = many_pieces()
    local from, skip, done = 1, 0, 0
    while from <= #list do
        local n = call(C.links_tcp_writev, 1, handle, pieces, fill(pieces, list, from, skip))
        if n < 0 then return write_failed(handle, n, done, "tcp write") end
        done = done + n
        skip = skip + n
        while from <= #list and skip >= #list[from] do
            skip = skip - #list[from]
            from = from + 1
        end
    end
    return done
end

-- A copy: somebody else may change the caller's table while this one waits.
local function strings_of(data)
    local list = {}
    for i = 1, #data do
        local piece = data[i]
        if type(piece) == "number" then piece = tostring(piece) end
        if type(piece) ~= "string" then
            error("socket:write(data) data[" .. i .. "] must be a string, not a " .. type(piece), 4)
        end
        list[i] = piece
    end
    return list
end

local function write_other(self, data, len)
    local handle = self._h
    if type(data) == "table" then
        local list = strings_of(data)
        if #list == 0 then list[1] = "" end
        return write_list(handle, list)
    end
    if type(data) == "number" then return self:write(tostring(data)) end
    local signature = "socket:write(data[, n])"
    if type(data) == "userdata" then
        -- A string.buffer of LuaJIT's; it may change while this waits.
        local ok, text = pcall(function() return data:tostring() end)
        if ok and type(text) == "string" then return self:write(text) end
    end
    check.type(signature, "data", data, "string|number|table|cdata", 2)
    check.integer(signature, "n", len, 0, INT_MAX, 2)
    -- A number is no pointer, and is not to be made one.
    if not pcall(function() pointer[0] = data end) then
        error(signature .. " data must be an array or a pointer, not " .. tostring(data), 3)
    end
    return write_bytes(handle, ffi.cast(bytes, data), len, data, 0)
end

local function write_rest(handle, data, answer)
    local done = 0
    while true do
        if answer > 0 then
            done = done + answer
        elseif answer < 0 and (answer ~= ETIMEDOUT or C.links_tcp_expired(handle, 1) == 1) then
            return write_failed(handle, answer, done, "tcp write")
        end
        -- Large: from here on from where it lies.
        if done > 0 then return write_bytes(handle, ffi.cast(bytes, data), #data, data, done) end
        answer = fast_write(handle, data)
        if answer == #data then return answer end
    end
end

--- Writes all of it, waiting while the peer is slower than we are. Small writes of one turn of the
--- loop leave together in one system call; an array goes out by writev, without being joined. Tasks
--- that write at the same time take turns: what each of them writes goes out whole.
---
--- @param data  string|table|number|cdata  the bytes, or an array of strings; a string.buffer too
--- @param n     integer  with a cdata only: how many bytes at it; it must stay until this returns
--- @return integer   how many bytes that was: all
--- @return nil, err  err.partial says how many the system or our buffer had taken
---                   EPIPE       the peer has closed, or this side has by socket:shutdown
---                   ECONNRESET  the peer broke the connection off
---                   ETIMEDOUT   the peer took nothing within the socket's timeout
---                   EBUSY       another socket is piped into this one
---                   CLOSED      this side has closed the socket
---                   ECANCELED   this task was cancelled
--- @raise            `data` is of another type, or an array with something else than strings in it
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:write { "hel", "lo" } end))
--- assert(assert(tcp.connect(server:address().port)):read(5) == "hello")
--- server:close()
function Socket:write(data, n)
    if type(data) ~= "string" then
        local done, err = write_other(self, data, n)
        return done, err
    end
    local handle = self._h
    local done = fast_write(handle, data)
    if done == #data then return done end
    local err
    done, err = write_rest(handle, data, done)
    return done, err
end

--- Waits until the system has taken everything that was written, which otherwise goes out in the
--- background: a process that ends does not wait for that.
---
--- @return true
--- @return nil, err  as socket:write
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:readAll() end))
--- local socket = assert(tcp.connect(server:address().port))
--- socket:write("hello")
--- assert(socket:flush())
--- server:close()
function Socket:flush()
    local handle = self._h
    local rc = call(C.links_tcp_flush, 1, handle)
    C.links_tcp_write_over(handle)
    if rc < 0 then return nil, new_error(rc, "tcp flush") end
    return true
end

--- Runs a function that writes, and keeps what it writes (up to 65536 bytes) until it returns,
--- although it may wait: so it leaves in as few pieces as possible. Without this, that holds for
--- each turn of the loop.
---
--- @param fn  function  fn(socket)
--- @return ...          what `fn` returned
--- @raise               what `fn` raised
--- @usage local tcp, timer = require "tcp", require "timer"
--- local server = assert(tcp.createServer(0, function(socket)
---     socket:cork(function() socket:write("a") timer.sleep(1) socket:write("b") end)
--- end))
--- assert(assert(tcp.connect(server:address().port)):readSome() == "ab")
--- server:close()
function Socket:cork(fn)
    check.type("socket:cork(fn)", "fn", fn, "function")
    local handle = self._h
    self._corks = (self._corks or 0) + 1
    C.links_tcp_cork(handle, 1)
    local function uncork(ok, ...)
        self._corks = self._corks - 1
        if self._corks == 0 then C.links_tcp_cork(handle, 0) end
        if not ok then error((...), 0) end
        return ...
    end
    return uncork(pcall(fn, self))
end

local function send_file(handle, fd, offset, length)
    local done = 0
    while done < length do
        local n = call(C.links_tcp_send_file, 1, handle, fd, offset + done, length - done)
        if n < 0 then return write_failed(handle, n, done, "tcp sendFile") end
        if n == 0 then break end
        done = done + n
    end
    C.links_tcp_write_over(handle)
    return done
end

--- Sends a file, or a part of it, without bringing it into the process where the system can do
--- that.
---
--- @param file    string|integer  a path, or a descriptor, which stays open and whose position does
---                                not matter
--- @param offset  integer         where to begin. Default: 0
--- @param length  integer         how many bytes. Default: up to the end of the file as it is now
--- @return integer   how many bytes were sent: fewer than `length` where the file ended
--- @return nil, err  as socket:write, and
---                   ENOENT, EACCES  the file cannot be opened
---                   EINVAL          it is no regular file
---                   EISDIR          it is a directory
--- @raise            an argument of another type or negative
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:sendFile("README.md", 0, 7)
---     end))
--- assert(assert(tcp.connect(server:address().port)):readAll() == "# links")
--- server:close()
function Socket:sendFile(file, offset, length)
    local signature = "socket:sendFile(file[, offset, length])"
    check.type(signature, "file", file, "string|number")
    offset = offset == nil and 0 or offset
    check.integer(signature, "offset", offset, 0, 2 ^ 53)
    if length ~= nil then check.integer(signature, "length", length, 0, 2 ^ 53) end
    local handle = self._h
    if handle.closed == 1 then return nil, new_error(CLOSED, "tcp sendFile") end
    local size = ffi.new("double[1]")
    local fd = file
    if type(file) == "string" then
        if file:find("\0", 1, true) then return nil, new_error(EINVAL, "open") end
        fd = C.links_tcp_open_file(file, size)
        if fd < 0 then return nil, new_error(fd, "open", { path = file }) end
    else
        check.integer(signature, "file", file, 0, INT_MAX)
        local rc = C.links_tcp_file_size(fd, size)
        if rc < 0 then return nil, new_error(rc, "fstat") end
    end
    local rest = math.max(size[0] - offset, 0)
    local ok, done, err = pcall(send_file, handle, fd, offset, math.min(length or rest, rest))
    if fd ~= file then C.links_tcp_close_fd(fd) end
    if not ok then error(done, 0) end
    return done, err
end

-- --- Descriptors -------------------------------------------------------------------------------

-- The number behind what can be sent; nil and an error for what is closed.
local function descriptor_of(signature, what)
    if type(what) == "table" then
        local handle, fd = rawget(what, "_h"), nil
        if ffi.istype(handle_type, handle) then
            fd = C.links_tcp_fd(handle)
        elseif ffi.istype(server_type, handle) then
            fd = C.links_tcp_server_fd(handle)
        end
        if fd and fd < 0 then return nil, new_error(fd, "sendFd") end
        if fd then return fd end
    end
    if type(what) == "table" then error(signature .. " what must be a socket or a server", 3) end
    check.integer(signature, "what", what, 0, INT_MAX, 2)
    return what
end

--- Sends a descriptor over a Unix socket, along with some bytes: the process at the other end gets
--- one of its own for the same open file, and this one stays as it is. Of a socket, the bytes that
--- have been read and not been asked for do not go with it.
---
--- @param what  socket|server|integer  what to send: a socket, a server, or a descriptor
--- @param data  string   the bytes it comes with, at least one: who has read them can have it by
---                       socket:receiveFd
--- @return integer       how many bytes that was: all
--- @return nil, err      as socket:write, and
---                       ENOTSUP  this is no Unix socket, or one of the two speaks TLS
---                       EBADF    the descriptor is not open
---                       CLOSED   this socket or `what` is closed
--- @raise                `what` is none of these, `data` is no string, or empty
--- @wait
--- @usage local unix = require "unix"
--- local server = assert(unix.createServer("@links-send-fd", function(socket)
---     socket:sendFd(socket, "yourself")
--- end))
--- local client = assert(unix.connect("@links-send-fd", { passFds = true }))
--- assert(client:read(8) == "yourself")
--- unix.closeFd(assert(client:receiveFd()))
--- server:close()
function Socket:sendFd(what, data)
    local signature = "socket:sendFd(what, data)"
    local fd, err = descriptor_of(signature, what)
    check.type(signature, "data", data, "string")
    if data == "" then error(signature .. " data must have a byte at least", 2) end
    if not fd then return nil, err end
    local handle = self._h
    local n = call(C.links_tcp_send_fd, 1, handle, fd, data, #data)
    if n < 0 then return write_failed(handle, n, 0, "tcp sendFd") end
    C.links_tcp_write_over(handle)
    local done, failure = n, nil
    if n < #data then
        done, failure = write_bytes(handle, ffi.cast(bytes, data), #data, data, n)
    end
    return done, failure
end

-- --- From one socket to another ---------------------------------------------------------------

local PIPE_OPTIONS = {
    splice = { default = true, type = "boolean" },
    oneWay = { default = false, type = "boolean" },
    proxyHeader = { default = 0, type = "integer", min = 0, max = 2 },
}

local function start_relay(from, to, splice)
    local out = ffi.new("links_tcp_relay *[1]")
    local rc = C.links_tcp_relay_start(out, from, to, splice and 1 or 0)
    if rc < 0 then return nil, rc end
    return ffi.gc(out[0], C.links_tcp_relay_free)
end

local function free_relay(relay)
    if relay then C.links_tcp_relay_free(ffi.gc(relay, nil)) end
end

local function await_relay(relay, handle)
    while true do
        local rc = C.links_tcp_relay_wait(relay)
        if rc ~= AGAIN then return rc end
        local status = wait()
        if status == ETIMEDOUT and C.links_tcp_expired(handle, 0) == 0 then status = 0 end
        if status ~= 0 then return status end
    end
end

--- Moves everything between two sockets until both have ended, or one fails. An end of file on one
--- side is passed on as a half-close of the other, so each direction ends by itself. It goes on in
--- C without this task, and large flows are not even copied (splice, on Linux). Neither socket is
--- closed.
---
--- @param other    socket  the other one
--- @param options  table   splice  true   let the system move large flows, where it can
---                         oneWay  false  only from this socket to the other
---                         proxyHeader  0  1 or 2: first tell the other side who this socket's
---                                        peer is, by a PROXY header of that version
--- @return table           {sent = bytes from here to the other, received = bytes from the other to
---                         here}
--- @return data, err       the same, and
---                         ETIMEDOUT   nothing moved within this socket's timeout
---                         EBUSY       a task reads or writes one of the sockets
---                         ECONNRESET  and others of socket:read and socket:write, of either socket
---                         CLOSED      one of the sockets was closed here
---                         ECANCELED   this task was cancelled
--- @raise                  `other` is no socket or this one; an option of another type
--- @wait
--- @usage local tcp = require "tcp"
--- local target = assert(tcp.createServer(0, function(socket)
---     socket:write(socket:readAll():upper()) end))
--- local proxy = assert(tcp.createServer(0, function(socket)
---     socket:pipe(assert(tcp.connect(target:address().port)))
--- end))
--- local socket = assert(tcp.connect(proxy:address().port))
--- socket:write("hello")
--- socket:shutdown()
--- assert(socket:readAll() == "HELLO")
--- proxy:close()
--- target:close()
function Socket:pipe(other, options)
    local signature = "socket:pipe(other[, options])"
    if other == self or type(other) ~= "table" or not ffi.istype(handle_type, other._h) then
        error(signature .. " other must be another [socket]", 2)
    end
    options = check.options(signature, options, PIPE_OPTIONS)
    local here, there = self._h, other._h
    local forth, back, rc
    if options.proxyHeader > 0 then
        local header, err = proxy.bytes { version = options.proxyHeader, socket = self }
        if header then header, err = other:write(header) end
        if not header then return { sent = 0, received = 0 }, err end
    end
    forth, rc = start_relay(here, there, options.splice)
    if forth and not options.oneWay then back, rc = start_relay(there, here, options.splice) end
    if forth and (back or options.oneWay) then
        rc = await_relay(forth, here)
        if rc == 0 and back then rc = await_relay(back, here) end
    end
    local moved = { sent = forth and forth.bytes or 0, received = back and back.bytes or 0 }
    free_relay(forth)
    free_relay(back)
    if rc == 0 then return moved end
    return moved, new_error(rc, "tcp pipe")
end

return Socket
