-- The connections of a client: kept when an answer has been read to its end, for the next request
-- to the same server. There are never more than maxPerHost to one server, and never more than
-- maxIdle that wait for work.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local pools = require "links.pools"
local task = require "links.task"
local tcp_ffi = require "links.tcp.ffi"
local timer = require "links.timer"
local binding = require "links.http.client.ffi"
local dial = require "links.http.client.dial"

local C, tcp = binding.C, tcp_ffi.C
local now, wake_one = core.now, core.wakeOne
local new_error = errors.new

local JUST_NOW_MS = 1
local POOL_FULL, CLOSED = errors.code("POOL_FULL"), errors.code("CLOSED")

local methods = {}
local Pool = { __index = methods }

-- What there is of one server.
local function origin_of(self, key)
    local origin = self._origins[key]
    if not origin then
        origin = {
            key = key, total = 0, waiting = 0, queue = core.queue(),
            -- To find those that somebody has forgotten to close: they are collected.
            alive = setmetatable({}, { __mode = "k" }),
        }
        self._origins[key] = origin
    end
    return origin
end

-- A connection is gone, or one could not be made: whoever waits longest may make another.
local function gone(self, origin)
    origin.total = origin.total - 1
    if wake_one(origin.queue, false) then return end
    if origin.total <= 0 and origin.waiting == 0 then self._origins[origin.key] = nil end
end

-- Closes a connection; twice is harmless.
function methods:drop(conn, reset)
    if conn.dropped then return end
    conn.dropped = true
    conn.socket:close(reset)
    conn.origin.alive[conn] = nil
    gone(self, conn.origin)
end

local function close_oldest(self)
    local conn = table.remove(self._idle, 1)
    if conn then self:drop(conn) end
    return conn ~= nil
end

-- Closes what has been idle for too long, and comes back for the rest.
local function sweep(self)
    self._timer = nil
    local idle, at = self._idle, now()
    for i = #idle, 1, -1 do
        if idle[i].expires <= at then self:drop(table.remove(idle, i)) end
    end
    self:_watch()
end

-- Idle connections keep no process going.
function methods:_watch()
    local first = math.huge
    for _, conn in ipairs(self._idle) do first = math.min(first, conn.expires) end
    if self._timer or first == math.huge then return end
    self._timer = timer.setTimeout(math.max(first - now(), 1), sweep, self)
    self._timer:unref()
end

-- Nothing has come on it since its last answer, not even its end. The system is not asked about one
-- that has just been used, if it does no harm to find out by using it.
local function is_fit(conn, at, may_repeat)
    if conn.expires <= at then return false end
    if may_repeat and at - conn.since < JUST_NOW_MS then return true end
    return tcp.links_tcp_quiet(conn.socket._h) == 1
end

-- The connection that was used last: the others may become old enough to be closed.
local function take_idle(self, origin, may_repeat)
    local idle = self._idle
    for i = #idle, 1, -1 do
        local conn = idle[i]
        if conn.origin == origin then
            table.remove(idle, i)
            if is_fit(conn, now(), may_repeat) then return conn end
            self:drop(conn)
        end
    end
end

-- Connections that were collected are counted no more.
local function recount(self, origin)
    local total = origin.dialing or 0
    for _ in pairs(origin.alive) do total = total + 1 end
    origin.total = math.min(origin.total, total)
    return origin.total
end

local function connect(self, origin, call)
    local to, o, timing = call.to, call.o, {}
    call.timing = timing
    self._origins[origin.key] = origin -- where it had lost its last connection, nobody knew it
    origin.total = origin.total + 1
    origin.dialing = (origin.dialing or 0) + 1
    local ok, socket, err = pcall(dial.open, to, o, timing)
    -- The system has no descriptor left, but we have some that nobody needs now.
    if ok and not socket and (err.name == "EMFILE" or err.name == "ENFILE")
        and close_oldest(self) and task.yield() then
        ok, socket, err = pcall(dial.open, to, o, timing)
    end
    origin.dialing = origin.dialing - 1
    if not ok or not socket then
        gone(self, origin)
        if not ok then error(socket, 0) end
        return nil, err
    end
    local conn = {
        socket = socket, origin = origin, uses = 0, rest = "", more = 0, read_ms = false,
            write_ms = false,
        reply = ffi.gc(C.links_http_reply_new(), C.links_http_reply_free),
    }
    local peer = socket:remoteAddress()
    if peer then conn.address, conn.port = peer.address or peer.path, peer.port end
    origin.alive[conn] = true
    return conn
end

local function wait_for_one(self, origin)
    if origin.waiting >= self._options.maxWait then
        return nil, new_error(POOL_FULL, "http", { address = origin.key })
    end
    origin.waiting = origin.waiting + 1
    local status, conn = core.park(origin.queue, nil, "http pool")
    origin.waiting = origin.waiting - 1
    if status == 0 then return conn end
    return nil, new_error(status, "http", { address = origin.key, pool = true })
end

-- A connection for a request: one that is idle, else a new one, else the first that comes free.
-- `fresh`: a new one in any case, where an idle one has turned out to be dead. `may_repeat`: the
-- request can be made again if the connection is dead. call.timing has the times of a new one.
-- Waits; nil and an error.
function methods:acquire(call, fresh, may_repeat)
    local to, o = call.to, call.o
    local key = o.denyPrivate and to.key .. " public" or to.key
    if o.tls then key = key .. " " .. dial.identity(o.tls) end
    local origin = origin_of(self, key)
    while true do
        if self._closed then return nil, new_error(CLOSED, "http", { address = to.key }) end
        local conn = take_idle(self, origin, may_repeat)
        if conn and fresh then
            self:drop(conn)
        elseif conn then
            return conn
        elseif origin.total < self._options.maxPerHost
            or recount(self, origin) < self._options.maxPerHost then
            return connect(self, origin, call)
        else
            local err
            conn, err = wait_for_one(self, origin)
            if err then return nil, err end
            if conn and (fresh or self._closed) then
                self:drop(conn)
            elseif conn then
                return conn
            end
        end
    end
end

-- Gives a connection back whose answer has been read to its end.
function methods:release(conn, o)
    local idle_ms = o.poolIdleTimeout
    if self._closed or idle_ms == 0 or self._options.maxIdle == 0 then return self:drop(conn) end
    local idle_s = conn.reply.idle_s
    -- The server closes after that long: rather not meet it.
    if idle_s >= 0 and idle_s * 1000 < idle_ms then idle_ms = math.max(idle_s * 1000 - 500, 0) end
    local at = now()
    conn.since, conn.expires = at, at + idle_ms
    conn.uses = conn.uses + 1
    if wake_one(conn.origin.queue, conn) then return end
    local idle = self._idle
    idle[#idle + 1] = conn
    if #idle > self._options.maxIdle then close_oldest(self) end
    if not self._timer then self:_watch() end
end

-- How many there are: active, idle, and tasks that wait.
function methods:stats()
    local active, waiting, origins = 0, 0, 0
    for _, origin in pairs(self._origins) do
        recount(self, origin)
        active = active + origin.total
        waiting = waiting + origin.waiting
        origins = origins + 1
    end
    return { active = active - #self._idle, idle = #self._idle, waiting = waiting, hosts = origins }
end

-- Closes what is idle now, and the others as they come back. Tasks that wait get CLOSED.
function methods:close()
    self._closed = true
    if self._timer then self._timer:cancel() end
    self._timer = nil
    while close_oldest(self) do end -- luacheck: ignore 542
    for _, origin in pairs(self._origins) do core.wakeAll(origin.queue, -CLOSED) end
end

local function new(options)
    return pools.add("http",
        setmetatable({ _options = options, _origins = {}, _idle = {}, _closed = false }, Pool))
end

return { new = new }
