--- Pools of connections to one server, as tcp.createPool makes them: connections are kept for the
--- next one who needs one, and there are never more than `size`.
local core = require "links.core"
local binding = require "links.tcp.ffi"
local errors = require "links.errors"
local pools = require "links.pools"
local timer = require "links.timer"

local C = binding.C
local new_error = errors.new

local ETIMEDOUT, CLOSED = -errors.code("ETIMEDOUT"), -errors.code("CLOSED")
local POOL_FULL, POOL_TIMEOUT = -errors.code("POOL_FULL"), -errors.code("POOL_TIMEOUT")

local methods = {}
local Pool = { __index = methods, __name = "pool" }

-- A connection is gone: whoever waits longest may make one in its place.
local function gone(self)
    self._total = self._total - 1
    core.wakeOne(self._queue, false)
end

local function drop(self, socket)
    socket:close()
    gone(self)
end

-- Closes what has been idle for too long, and comes back for the rest.
local function sweep(self)
    self._timer = nil
    local idle, limit = self._idle, core.now() - self._options.idleTimeout
    while idle[1] and idle[1].since <= limit do
        drop(self, table.remove(idle, 1).socket)
    end
    if idle[1] then self:_watch() end
end

-- Idle connections keep no process going.
function methods:_watch()
    if self._timer or self._options.idleTimeout == 0 or not self._idle[1] then return end
    local left = self._idle[1].since + self._options.idleTimeout - core.now()
    self._timer = timer.setTimeout(math.max(left, 1), sweep, self)
    self._timer:unref()
end

local function healthy(self, socket)
    if C.links_tcp_quiet(socket._h) == 0 then return false end
    local test = self._options.check
    return not test or test(socket) == true
end

-- The connection that was used last: the others may become old enough to be closed.
local function take_idle(self)
    while true do
        local entry = table.remove(self._idle)
        if not entry then return nil end
        -- `check` may wait: meanwhile this one is nobody's.
        if healthy(self, entry.socket) then return entry.socket end
        drop(self, entry.socket)
    end
end

local function connect_new(self)
    self._total = self._total + 1
    local socket, err = self._connect()
    if not socket then
        gone(self)
        return nil, err
    end
    return socket
end

local function wait_for_one(self)
    if self._waiting >= self._options.maxWait then return nil, new_error(POOL_FULL, "pool get") end
    local timeout = self._options.waitTimeout
    self._waiting = self._waiting + 1
    local status, socket = core.park(self._queue, timeout > 0 and timeout or nil, "pool get")
    self._waiting = self._waiting - 1
    if status == ETIMEDOUT then status = POOL_TIMEOUT end
    if status ~= 0 then return nil, new_error(status, "pool get") end
    return socket
end

--- Takes a connection: one that is idle and healthy, else a new one, else the first that somebody
--- puts back. Whoever has waited longest is served first.
---
--- An idle connection is healthy when the peer has sent nothing and not closed, and `check(socket)`
--- returns true.
---
--- @return socket    to be given back by pool:put
--- @return nil, err  POOL_FULL     all connections are in use, and `maxWait` tasks wait
---                   POOL_TIMEOUT  none was put back within `waitTimeout`
---                   CLOSED        the pool is closed
---                   ECANCELED     this task was cancelled
---                   others        as tcp.connect
--- @wait
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:readAll() end))
--- local pool = tcp.createPool(server:address().port)
--- local socket = assert(pool:get())
--- pool:put(socket)
--- assert(pool:get() == socket)
--- pool:put(socket)
--- pool:close()
--- server:close()
function methods:get()
    while true do
        if self._closed then return nil, new_error(CLOSED, "pool get") end
        local socket, err = take_idle(self), nil
        if not socket then
            local make = self._total < self._options.size and connect_new or wait_for_one
            socket, err = make(self)
        end
        if err then return nil, err end
        if socket and self._closed then
            drop(self, socket)
        elseif socket then
            self._out[socket] = true
            return socket
        end
    end
end

--- Gives a connection back. One that is closed, or on which something has come that nobody read, is
--- dropped.
---
--- @param socket  socket  of pool:get
--- @return boolean        it was kept
--- @raise                 the socket is not one that was taken from this pool
--- @usage local tcp = require "tcp"
--- local server = assert(tcp.createServer(0, function(socket) socket:readAll() end))
--- local pool = tcp.createPool(server:address().port)
--- local socket = assert(pool:get())
--- socket:close()
--- assert(pool:put(socket) == false)
--- pool:close()
--- server:close()
function methods:put(socket)
    if not self._out[socket] then
        error("pool:put(socket) the socket is not one that was taken from this pool", 2)
    end
    self._out[socket] = nil
    if self._closed or C.links_tcp_quiet(socket._h) == 0 then
        drop(self, socket)
        return false
    end
    if core.wakeOne(self._queue, socket) then return true end
    table.insert(self._idle, { socket = socket, since = core.now() })
    self:_watch()
    return true
end

--- How the pool is.
---
--- @return table  size, total (connections there are), idle, waiting (tasks)
--- @usage local pool = require("tcp").createPool(80, "127.0.0.1", { size = 4 })
--- assert(pool:stats().size == 4 and pool:stats().total == 0)
--- pool:close()
function methods:stats()
    return {
        size = self._options.size,
        total = self._total,
        idle = #self._idle,
        waiting = self._waiting,
    }
end

--- Closes the idle connections; the others when they are put back. Tasks that wait get CLOSED.
--- Twice is harmless.
---
--- @return true
--- @usage require("tcp").createPool(80):close()
function methods:close()
    self._closed = true
    if self._timer then self._timer:cancel() end
    self._timer = nil
    local idle = self._idle
    self._idle = {}
    for _, entry in ipairs(idle) do
        entry.socket:close()
        self._total = self._total - 1
    end
    core.wakeAll(self._queue, CLOSED)
    return true
end

-- Private: `make` connects; `kind` is what the pool is seen as.
local function new(options, make, kind)
    return pools.add(kind or "tcp", setmetatable({
        _options = options,
        _connect = make,
        _queue = core.queue(),
        _idle = {},
        _out = setmetatable({}, { __mode = "k" }),
        _total = 0,
        _waiting = 0,
        _closed = false,
    }, Pool))
end

return { new = new }
