--- Servers of stream sockets, as tcp.createServer and unix.createServer make them.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local listening = require "links.listening"
local reports = require "links.report"
local binding = require "links.tcp.ffi"
local sockets = require "links.tcp.socket"

local C, AGAIN = binding.C, binding.AGAIN
local wait, spawn = core.wait, core.spawn
local fast_close = core.fast.tcpClose
local own = sockets.own
local rawget, xpcall = rawget, xpcall

local ETIMEDOUT = -errors.code("ETIMEDOUT")
local PROXY_TIMEOUT = 10000 -- ms for the PROXY header to come

local methods = {}
local Server = { __name = "server" }

function Server.__index(self, key)
    local method = methods[key]
    if method then return method end
    if key == "data" then
        local data = {}
        rawset(self, "data", data)
        return data
    end
end

function Server.__tostring(self)
    return "server: " .. sockets.place(self:address())
end

local function read_proxy_header(server, handle)
    local rc
    repeat
        rc = C.links_tcp_proxy(handle, PROXY_TIMEOUT)
        if rc == AGAIN then rc = wait() else break end
    until rc ~= 0
    if rc == 0 then return true end
    C.links_tcp_reject(server._h)
    return false
end

-- The life of a connection, in a task of its own.
local function serve(server, socket)
    local handle = socket._h
    if server._proxy and not read_proxy_header(server, handle) then
        C.links_tcp_close(handle, 1)
        return
    end
    if server._handshake and not server._handshake(socket) then return end
    local ok, message = xpcall(server._onconnect, reports.trace, socket, server)
    if not rawget(socket, "_detached") then fast_close(handle, 0) end
    if not ok then
        reports.write("error", server._module .. ": error in onconnect: " .. message)
    end
end

-- Takes connections for as long as there are any. The server lives as long as this does.
local function accept(self)
    local handle = self._h
    while true do
        local pointer = C.links_tcp_accept(handle)
        if pointer ~= nil then
            spawn(serve, self, own(pointer))
        else
            local status = handle.status
            if status == AGAIN then status = wait() end
            if status ~= 0 then break end
        end
    end
    C.links_tcp_stop(handle) -- where this task was cancelled
end

--- Where the server listens.
---
--- @return table  {family = 4 or 6, port = integer, address = string}; {family = "unix", path =
---                string}
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- assert(server:address().port > 0 and server:address().address == "0.0.0.0")
--- server:close()
function methods:address()
    if self._path then return { family = "unix", path = self._path } end
    local out = ffi.new("links_tcp_address")
    C.links_tcp_server_address(self._h, out)
    return sockets.to_address(out)
end

--- How many connections there are now.
---
--- @return integer
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- assert(server:connections() == 0)
--- server:close()
function methods:connections()
    return self._h.connections
end

--- Leaves new connections in the system's queue until server:resume. Those that are there go on.
---
--- @return true
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- server:pause()
--- server:resume()
--- server:close()
function methods:pause()
    C.links_tcp_pause(self._h, 1)
    return true
end

--- Takes connections again after server:pause.
---
--- @return true
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- server:resume()
--- server:close()
function methods:resume()
    C.links_tcp_pause(self._h, 0)
    return true
end

--- What the server has done.
---
--- @return table  connections  open now
---                accepted     since the start
---                refused      turned away for want of a descriptor
---                rejected     whose PROXY header was malformed, or did not come within 10 seconds
---                leaked       that nobody closed: the garbage collector did
---                listening    boolean
---                paused       boolean
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- assert(server:stats().accepted == 0 and server:stats().listening)
--- server:close()
function methods:stats()
    local h = self._h
    C.links_tcp_stats(h)
    return {
        connections = h.connections,
        accepted = h.accepted,
        refused = h.refused,
        rejected = h.rejected,
        leaked = h.leaked,
        listening = h.listening == 1,
        paused = h.paused == 1,
    }
end

--- Stops listening; connections go on. With `ms` it waits until they have ended, and breaks off
--- those that have not by then. Closing twice is harmless.
---
--- @param ms  number   how long to wait for the connections, in milliseconds; 0 breaks them off at
---                     once.
---                     Default: it does not wait, and breaks nothing off
--- @return true
--- @return nil, err    ETIMEDOUT  connections had to be broken off
---                     ECANCELED  this task was cancelled; connections go on
--- @raise              `ms` is not a number of milliseconds
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function() end))
--- assert(server:close(1000))
function methods:close(ms)
    check.timeout("server:close([ms])", "ms", ms)
    local handle = self._h
    C.links_tcp_stop(handle)
    if ms == nil or handle.connections == 0 then return true end
    local status = ETIMEDOUT
    if ms > 0 then
        status = C.links_tcp_drained(handle, math.min(math.ceil(ms), 2 ^ 40))
        if status == AGAIN then status = wait() end
    end
    if status == 0 then return true end
    if status == ETIMEDOUT then C.links_tcp_abort(handle) end
    return nil, errors.new(status, "server close")
end

-- Private: as close, when the process ends and another one goes on.
function methods:_drain(ms)
    return self:close(ms)
end

-- Private: makes a server of a pointer that listens. `info`: module, proxy, path; `aside` where it
-- is none of the program's, and does not keep it going.
local function start(pointer, onconnect, info)
    local self = setmetatable({
        _h = ffi.gc(pointer, C.links_tcp_server_free),
        _onconnect = onconnect,
        _module = info.module,
        _proxy = info.proxy or false, -- not nil, or each connection would ask __index
        _path = info.path,
        _handshake = info.handshake, -- closes the socket where it fails
    }, Server)
    if info.aside then
        C.links_tcp_server_unref(self._h)
    else
        listening.add(self)
    end
    spawn(accept, self)
    return self
end

return { start = start }
