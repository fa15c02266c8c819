--- Clients of Redis: one object for a whole program, which makes its connections by itself.
---
--- Every command is a method by its name in small letters, with its arguments as they are written
--- in Redis's documentation: strings and numbers, 64-bit integers too. What it returns is the
--- reply, or `nil, err`; a value that is not there is nil without an error. In lists and tables it
--- is redis.null, since nil would leave a hole.
---
--- ```lua
--- client:set("key", "value", "EX", 60)
--- client:hgetall("user:1")          -- a table by field
--- client:command("BF.ADD", "f", 1)  -- commands of modules
--- ```
---
--- All tasks may use one client at once. Their commands share one connection, on which nobody waits
--- for the others' replies before sending: what is sent in one turn of the loop leaves in one
--- write. It is made when the first command needs it, and anew where it was lost. What has to have
--- a connection to itself gets one of a pool: commands that wait in the server (BLPOP, XREAD with
--- BLOCK, ...), client:use, and client:multi with `watch`.
---
--- Errors of every command, whose err.name is one of these:
---
--- - `WRONGTYPE`, `NOSCRIPT`, `OOM` and others: the first word of what the server says, with
---   err.code 0; `ERR` where that is no name. `WRONGPASS`, `NOAUTH`: it does not let us in
--- - `ETIMEDOUT`: no reply within `timeout`, the wait for a connection included; or a deadline came
---   (err.deadline). The command may have been carried out
--- - `ECANCELED`: this task was cancelled. The connection goes on, and drops the reply
--- - `POOL_FULL`: more than `maxWait` wait already. `POOL_TIMEOUT`: no connection came free
--- - `EOF`, `ECONNRESET`, `EPIPE`: the connection was lost, and this is none that is made again
--- - `ECONNREFUSED` and others of tcp.connect, unix.connect and tls.connect: there is none
--- - `PROTOCOL`: what came is no reply. `TOO_LARGE`: one beyond maxReplySize, maxReplyElements or
---   maxReplyDepth. The connection is closed
--- - `CLOSED`: the client is closed
---
--- Commands that only read are made again, up to `retries` times, where the connection was lost;
--- all others only where the server says that it has not carried them out (LOADING, MASTERDOWN,
--- READONLY, TRYAGAIN).
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local tcp_pools = require "links.tcp.pool"
local timer = require "links.timer"
local batch = require "links.redis.batch"
local commands = require "links.redis.commands"
local conns = require "links.redis.conn"
local extras = require "links.redis.extras"
local locks = require "links.redis.lock"
local open = require "links.redis.open"
local subscriptions = require "links.redis.subscription"

local now, park = core.now, core.park
local new_error = errors.new
local CLOSED, ETIMEDOUT, POOL_FULL = errors.code("CLOSED"), errors.code("ETIMEDOUT"),
    errors.code("POOL_FULL")
local READS = commands.reads

-- The server has not carried it out: it is starting, or no master, or not any more, or moving.
local NOT_DONE = { LOADING = true, MASTERDOWN = true, READONLY = true, TRYAGAIN = true }

local methods = {}
for name, method in pairs(extras) do methods[name] = method end

-- --- the connection that all share ------------------------------------------------------------

local function delay_of(self)
    local reconnect = self._o.reconnect
    local ms = math.min(reconnect.base * 2 ^ math.min(self._failures - 1, 20), reconnect.max)
    return ms * (0.75 + math.random() / 4) -- so that not all come at once
end

-- Closes the shared connection where nobody has used it for long.
local function watch(self)
    self._timer = false
    local line, idle = self._line, self._o.idleTimeout
    if not line or idle == 0 then return end
    local left = line.used + idle - now()
    if line.pending == 0 and left <= 0 then return line:close() end
    self._timer = timer.setTimeout(math.max(left, math.min(idle, 1000)), watch, self)
    self._timer:unref()
end

local function took(self, line)
    self._line = line
    line.shared = true
    self._failures = 0
    if self._connects > 0 then self._reconnects = self._reconnects + 1 end
    self._connects = self._connects + 1
    line.onlost = function()
        if self._line == line then self._line = false end
    end
    if not self._timer then watch(self) end
end

-- Makes the shared connection: a task of its own, so that it ends with none of those that wait.
local function connect(self)
    local left = self._next_at - now()
    if self._failures > 0 and left > 0 then timer.sleep(left) end
    local ok, line, err = pcall(open, self._o)
    if not ok then line, err = nil, new_error(CLOSED, "redis", { cause = line }) end
    self._connecting = false
    self._attempts = self._attempts + 1
    if line and self._closed then
        line:close()
    elseif line then
        took(self, line)
    else
        self._error = err
        self._failures = self._failures + 1
        self._next_at = now() + delay_of(self)
    end
    core.wakeAll(self._queue)
end

local function closed() return nil, new_error(CLOSED, "redis") end

local function full() return nil, new_error(POOL_FULL, "redis") end

-- The shared connection, for which the task waits for at most `left` ms (nil: as long as it takes).
local function shared(self, left)
    local until_ms = left and now() + left
    local first
    while true do
        if self._closed then return closed() end
        local line = self._line
        if line and line:fit(self._o.idleTimeout) then
            if line.pending >= self._o.maxWait then return full() end
            return line
        end
        if line then self._line = false end
        first = first or self._attempts
        if self._attempts - first > self._o.retries then return nil, self._error end
        if self._waiting >= self._o.maxWait then return full() end
        if not self._connecting then
            self._connecting = true
            core.spawn(connect, self)
        end
        self._waiting = self._waiting + 1
        local rest = until_ms and math.max(until_ms - now(), 0)
        local status = park(self._queue, rest, "redis connect")
        self._waiting = self._waiting - 1
        if status ~= 0 then return nil, new_error(status, "redis connect") end
    end
end

-- --- one connection for one task --------------------------------------------------------------

-- Gives it back; what was left in the middle of something is closed.
local function give_back(self, line)
    if line.pending > 0 or line.retired or line.demoted or line.leaves then line:close() end
    self._pool:put(line)
end

local function given(self, line, ok, ...)
    if not ok then line:close() end
    give_back(self, line)
    if not ok then error((...), 0) end
    return ...
end

-- fn(line) with a connection that nobody else has.
local function with_line(self, fn, ...)
    if self._closed then return closed() end
    local line, err = self._pool:get()
    if not line then return nil, err end
    return given(self, line, pcall(fn, line, ...))
end

-- --- commands ---------------------------------------------------------------------------------

local function send(line, bytes, count, ms, maps)
    local value, err = line:send(bytes, count, ms, maps)
    return value, err, line:flat()
end

-- The same, where `ms` (0: no limit) has been running since `began`.
local function send_within(line, bytes, count, ms, maps, began)
    if ms > 0 then ms = math.max(ms - (now() - began), 1) end
    return send(line, bytes, count, ms, maps)
end

-- One try, within `left` ms (0: no limit).
local function try(self, bytes, count, maps, left)
    local began = now()
    if not self._o.autoPipeline then
        return with_line(self, send_within, bytes, count, left, maps, began)
    end
    local line, err = shared(self, left > 0 and left or nil)
    if not line then return nil, err end
    return send_within(line, bytes, count, left, maps, began)
end

-- Whether the command may be made again, and after how long.
local function again_after(self, err, safe, tries)
    if self._closed or err.deadline then return nil end
    local wait_ms = math.min(self._o.reconnect.base * 2 ^ tries, self._o.reconnect.max)
    if err.code == 0 then
        return NOT_DONE[err.name] and wait_ms
    end
    local lost = err.name == "EOF" or err.name == "ECONNRESET" or err.name == "EPIPE"
    return lost and safe and 0 or nil
end

-- Sends, and sends again what may be; `safe` says that it changes nothing. Where it has been sent
-- already, that was at `began`, and `err` came of it.
local function exchange(self, bytes, count, maps, safe, began, err)
    local timeout, tries = self._o.timeout, 0
    local left = timeout
    began = began or now()
    while true do
        local value, flat
        if not err then
            value, err, flat = try(self, bytes, count, maps, left)
            if err == nil then return value, nil, flat end
        end
        local wait_ms = tries < self._o.retries and again_after(self, err, safe, tries)
        if not wait_ms then return nil, err end
        tries = tries + 1
        if wait_ms > 0 then
            local ok, failure = timer.sleep(wait_ms)
            if not ok then return nil, failure end
        end
        if timeout > 0 then
            left = timeout - (now() - began)
            if left <= 0 then return nil, new_error(ETIMEDOUT, "redis", { cause = err }) end
        end
        err = nil
    end
end

function methods:_run(word, bytes, maps)
    local line = self._line
    local failure, since
    -- As nearly always: the connection is there, and the command is done at the first try.
    if line and self._o.autoPipeline and line.pending < self._o.maxWait
        and line:fit(self._o.idleTimeout) then
        local value, err, began = line:send(bytes, 0, self._o.timeout, maps)
        if err == nil then return value end
        failure, since = err, began
    end
    local value, err = exchange(self, bytes, 0, maps, READS[word], since, failure)
    return value, err
end

local function send_blocking(line, self, bytes, ms)
    self._blocking[line] = true
    local value, err = line:send(bytes, 0, ms)
    self._blocking[line] = nil
    return value, err
end

-- What waits in the server gets a connection; a task that gives up takes it along.
function methods:_block(bytes, ms)
    local grace = self._o.timeout
    local value, err = with_line(self, send_blocking, self, bytes,
        ms > 0 and grace > 0 and ms + grace or 0)
    return value, err
end

--- Sends a command of any name: those of modules, or with a dot in it.
---
--- @param name  string         the command, "BF.ADD" say
--- @param ...   string|number  its arguments
--- @return any                 the reply; nil: there is none
--- @return nil, err            see above
--- @raise                      an argument of another type; a command that would change the shared
---                             connection (SELECT, WATCH, ...: client:use) or mix up replies
---                             (SUBSCRIBE: client:subscribe)
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local reply, err = client:command("PING")
--- assert(reply == "PONG" or err)
--- client:close()
function methods:command(name, ...)
    local value, err = commands.call(self, name, ...)
    return value, err
end

local PIPELINE = "client:pipeline(fn)"

--- Sends several commands in one write and waits for all replies.
---
--- @param fn  function  fn(p): p has the commands as methods, which return p. It must not wait for
---                      replies of its own
--- @return table        the replies by place; what failed has an error there, and what is not there
---                      redis.null
--- @return nil, err     no replies came: see above
--- @raise               `fn` is no function, or raised
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local replies, err = client:pipeline(function(p) p:incr("a") p:get("b") end)
--- assert(err or #replies == 2)
--- client:close()
function methods:pipeline(fn)
    check.type(PIPELINE, "fn", fn, "function")
    local replies, err = batch.pipeline(function(bytes, count, maps)
        return exchange(self, bytes, count, maps, false)
    end, fn)
    return replies, err
end

--- Carries out several commands as a transaction (MULTI and EXEC): all, or none.
---
--- Where a decision depends on what is there, name those keys in `watch`: `fn` gets a second
--- argument, a connection on which it reads them, and is called again where somebody has changed
--- one meanwhile.
---
--- @param fn       function  fn(tx[, conn]): tx has the commands as methods; they are carried out
---                           when it has returned
--- @param options  table     watch    nil  keys: an array of strings
---                           retries  3    how often `fn` is called again where a key has changed
--- @return table             the replies by place; what failed has an error there
--- @return nil, err          EXECABORT  a command was refused (err.cause), and none was carried out
---                           CONFLICT   a watched key was changed each time (err.code is 0)
---                           others     see above
--- @raise                    an argument or an option of another type, one nobody knows; what `fn`
---                           raised
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local results, err = client:multi(function(tx, conn)
---     local n = tonumber(conn:get("stock") or 0)
---     if n > 0 then tx:set("stock", n - 1) end
--- end, { watch = { "stock" } })
--- assert(results or err)
--- client:close()
function methods:multi(fn, options)
    options = conns.check_multi("client:multi(fn[, options])", fn, options)
    if options.watch then
        local results, err = self:use(function(conn) return conns.watched(conn, fn, options) end)
        return results, err
    end
    local results, err = batch.try(function(bytes, count)
        return exchange(self, bytes, count, nil, false)
    end, fn)
    return results, err
end

--- Gives a function a connection of its own, for what depends on the commands before: SELECT,
--- WATCH, CLIENT TRACKING. Afterwards it is used again, or closed where it was changed.
---
--- @param fn  function  fn(conn): conn has the commands, conn:pipeline and conn:multi; it is of no
---                      use any more when fn has returned
--- @return ...          what `fn` returned
--- @return nil, err     POOL_FULL, POOL_TIMEOUT  no connection came free
---                      CLOSED, ECANCELED, others  see above
--- @raise               `fn` is no function; what `fn` raised
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local size, err = client:use(function(conn)
---     conn:select(1)
---     return conn:dbsize()
--- end)
--- assert(size or err)
--- client:close()
function methods:use(fn)
    check.type("client:use(fn)", "fn", fn, "function")
    return with_line(self, function(line) return conns.lend(line, self._o, fn) end)
end

--- Makes a subscription to channels, on a connection of its own. When it returns, the server has
--- it: every message that is published from then on is read by sub:read.
---
--- @param ...  string  channels, one at least
--- @return sub         see redis.subscription
--- @return nil, err    NOPERM  this user may not read one of them
---                     others  as of commands
--- @raise              there is no channel, or one is no string
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local sub, err = client:subscribe("news")
--- if sub then
---     client:publish("news", "hello")
---     assert(sub:read(5000).message == "hello")
---     sub:close()
--- else
---     assert(err.name)
--- end
--- client:close()
function methods:subscribe(...)
    if self._closed then return closed() end
    return subscriptions.open("client:subscribe(channel, ...)", self._o, "SUBSCRIBE", ...)
end

--- The same for patterns: `news.*` with `?`, `*` and `[...]`.
---
--- @param ...  string  patterns, one at least
--- @return sub         see redis.subscription
--- @return nil, err    as client:subscribe
--- @raise              there is no pattern, or one is no string
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local sub, err = client:psubscribe("news.*")
--- if sub then sub:close() else assert(err.name) end
--- client:close()
function methods:psubscribe(...)
    if self._closed then return closed() end
    return subscriptions.open("client:psubscribe(pattern, ...)", self._o, "PSUBSCRIBE", ...)
end

--- The same for sharded channels, of Redis 7.
---
--- @param ...  string  channels, one at least
--- @return sub         see redis.subscription
--- @return nil, err    as client:subscribe; ERR where the server is older
--- @raise              there is no channel, or one is no string
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local sub, err = client:ssubscribe("news")
--- if sub then sub:close() else assert(err.name) end
--- client:close()
function methods:ssubscribe(...)
    if self._closed then return closed() end
    return subscriptions.open("client:ssubscribe(channel, ...)", self._o, "SSUBSCRIBE", ...)
end

local LOCK = "client:lock(key[, options])"

--- Takes a lock that processes on all machines see, waiting until it is free.
---
--- It is free again by itself after `ttl`, whatever became of who had it: so it keeps others from
--- doing work twice, and where that is not enough, send lock.fence, a number that grows with each
--- holder of this key, along with what you write, for the other side to refuse lower ones. It is a
--- lock on one server: what a fail-over loses, it loses.
---
--- @param key      string  the lock's key; the counter is at key .. ":fence"
--- @param options  table   ttl   10000  ms until it is free again: longer than the work takes (see
---                                      lock:extend)
---                         wait  5000   ms to wait at most; 0: not at all
--- @return lock            see redis.lock; .fence
--- @return nil, err        LOCKED  it was not free within `wait`
---                         others  see above
--- @raise                  an argument or an option of another type or out of bounds, or one that
---                         nobody knows
--- @wait
--- @usage local client = require("redis").createClient { timeout = 200 }
--- local lock, err = client:lock("jobs:nightly", { ttl = 60000, wait = 0 })
--- if lock then lock:release() else assert(err.name) end
--- client:close()
function methods:lock(key, options)
    local lock, err = locks.take(LOCK, self, key, options)
    return lock, err
end

--- How the client is.
---
--- @return table  connected (boolean), pending (commands without a reply on the shared connection),
---                waiting (tasks that wait for it), reconnects, failures (to connect, in a row),
---                and pool: size, total, idle, waiting
--- @usage local client = require("redis").createClient()
--- assert(client:stats().connected == false and client:stats().pool.size == 8)
--- client:close()
function methods:stats()
    local line = self._line
    return {
        connected = line and not line.broken or false,
        pending = line and line.pending or 0,
        waiting = self._waiting,
        reconnects = self._reconnects,
        failures = self._failures,
        pool = self._pool:stats(),
    }
end

--- Closes the client: those who wait get CLOSED, and so does everybody who uses it later. A
--- connection that client:use has given away is closed when it comes back; subscriptions go on.
--- Twice is harmless.
---
--- @return true
--- @usage require("redis").createClient():close()
function methods:close()
    self._closed = true
    if self._timer then self._timer:cancel() end
    self._timer = false
    if self._line then self._line:close() end
    self._line = false
    for line in pairs(self._blocking) do line:close() end
    self._pool:close()
    core.wakeAll(self._queue, -CLOSED)
    return true
end

local Client = { __index = commands.extend(methods), __name = "redis client" }

-- Private: of checked options.
local function new(o)
    local self = setmetatable({
        _o = o,
        _line = false, _connecting = false, _closed = false, _timer = false, _pinned = false,
        _queue = core.queue(),
        _blocking = setmetatable({}, { __mode = "k" }), -- connections of what waits in the server
        _waiting = 0, _attempts = 0, _failures = 0, _connects = 0, _reconnects = 0,
        _next_at = 0, _error = false,
    }, Client)
    self._pool = tcp_pools.new({
        size = o.poolSize, idleTimeout = o.idleTimeout, maxWait = o.maxWait,
        waitTimeout = o.timeout,
    }, function() return open(o) end, "redis")
    return self
end

return { new = new }
