--- Objects that tasks of one process wait for each other with: mutex, semaphore, event, condition,
--- channel, waitGroup, once, rwlock.
---
--- Who waits is served in the order of coming. Every wait takes a timeout in milliseconds, and ends
--- with ECANCELED when its task is cancelled: what was being handed over at that moment stays with
--- the object, or with the task, whole.
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"

local sync = {}

local new_queue, park = core.queue, core.park
local wake_one, wake_all, waiting = core.wakeOne, core.wakeAll, core.waiting
local give, get, take = core.give, core.get, core.take
local current, new_error = core.current, errors.new

local CLOSED, EPERM = errors.code("CLOSED"), errors.code("EPERM")

local function owner()
    return current() or error("a lock must be taken by a task, not in a finalizer", 3)
end

-- --- Mutex ------------------------------------------------------------------------------------

local Mutex = {}
Mutex.__index = Mutex

--- Makes a lock that one task holds at a time.
---
--- @return mutex   :lock() :unlock() :tryLock()
--- @usage local sync = require "sync"
--- local m = sync.mutex()
--- assert(m:lock())
--- m:unlock()
function sync.mutex()
    return setmetatable({ queue = new_queue() }, Mutex)
end

--- Takes the lock, waiting until it is free.
---
--- @param ms  number   how long to wait at most, in milliseconds. Default: as long as it takes
--- @return true
--- @return nil, err    ETIMEDOUT  it was not free within `ms`, or a deadline came
---                     ECANCELED  this task was cancelled
--- @raise              this task holds it already; `ms` is not a number of milliseconds
--- @wait
--- @usage local m = require("sync").mutex()
--- assert(m:lock(100))
function Mutex:lock(ms)
    if ms ~= nil then check.timeout("mutex:lock([ms])", "ms", ms) end
    local me = owner()
    if not self.owner then
        self.owner = me
        return true
    end
    if self.owner == me then error("mutex:lock([ms]) this task holds the lock already", 2) end
    local status = park(self.queue, ms, "mutex")
    if status ~= 0 then return nil, new_error(status, "mutex") end
    return true
end

--- Takes the lock if it is free.
---
--- @return boolean   it is this task's now
--- @usage assert(require("sync").mutex():tryLock())
function Mutex:tryLock()
    if self.owner then return false end
    self.owner = owner()
    return true
end

-- Hands over to a task that waits: it finds itself the owner when it runs.
local function hand_mutex(self)
    local next_owner = core.first(self.queue)
    self.owner = next_owner
    if next_owner then wake_one(self.queue) end
end

--- Gives the lock back, to the task that has waited longest.
---
--- @return true
--- @return nil, err   EPERM  this task does not hold it
--- @usage local m = require("sync").mutex()
--- m:lock()
--- assert(m:unlock())
--- local _, err = m:unlock()
--- assert(err.name == "EPERM")
function Mutex:unlock()
    if not self.owner or self.owner ~= current() then return nil, new_error(EPERM, "mutex") end
    hand_mutex(self)
    return true
end

local function unlocked(mutex, ok, ...)
    mutex:unlock()
    if not ok then error((...), 0) end
    return ...
end

--- Runs a function that holds a lock, and gives the lock back however it ends.
---
--- @param mutex  mutex     of sync.mutex
--- @param fn     function  what to run
--- @param ...    any       its arguments
--- @return ...             what `fn` returned
--- @return nil, err        ECANCELED, ETIMEDOUT  while waiting for the lock; `fn` did not run
--- @raise                  what `fn` raised; an argument of another type
--- @wait
--- @usage local sync = require "sync"
--- assert(sync.withLock(sync.mutex(), function() return 5 end) == 5)
function sync.withLock(mutex, fn, ...)
    if getmetatable(mutex) ~= Mutex then
        error("sync.withLock(mutex, fn, ...) mutex must be a [mutex]", 2)
    end
    check.type("sync.withLock(mutex, fn, ...)", "fn", fn, "function")
    local ok, err = mutex:lock()
    if not ok then return nil, err end
    return unlocked(mutex, pcall(fn, ...))
end

-- --- Semaphore --------------------------------------------------------------------------------

local Semaphore = {}
Semaphore.__index = Semaphore

--- Makes a number of permits that tasks take and give back.
---
--- @param n  integer   permits at first, 0 to 2^31-1. Default: 1
--- @return semaphore   :acquire() :tryAcquire() :release() .available
--- @raise              `n` is not such an integer
--- @usage local s = require("sync").semaphore(2)
--- assert(s:acquire())
--- s:release()
function sync.semaphore(n)
    n = n == nil and 1 or n
    check.integer("sync.semaphore([n])", "n", n, 0, 2 ^ 31 - 1)
    return setmetatable({ available = n, queue = new_queue() }, Semaphore)
end

--- Takes a permit, waiting until there is one.
---
--- @param ms  number   how long to wait at most, in milliseconds. Default: as long as it takes
--- @return true
--- @return nil, err    ETIMEDOUT  there was none within `ms`, or a deadline came
---                     ECANCELED  this task was cancelled
--- @raise              `ms` is not a number of milliseconds
--- @wait
--- @usage local s = require("sync").semaphore(0)
--- local ok, err = s:acquire(1)
--- assert(not ok and err.name == "ETIMEDOUT")
function Semaphore:acquire(ms)
    if ms ~= nil then check.timeout("semaphore:acquire([ms])", "ms", ms) end
    if self.available > 0 then
        self.available = self.available - 1
        return true
    end
    local status = park(self.queue, ms, "semaphore")
    if status ~= 0 then return nil, new_error(status, "semaphore") end
    return true
end

--- Takes a permit if there is one.
---
--- @return boolean   it was taken
--- @usage assert(require("sync").semaphore(1):tryAcquire())
function Semaphore:tryAcquire()
    if self.available == 0 then return false end
    self.available = self.available - 1
    return true
end

--- Gives permits back, or adds new ones.
---
--- @param n  integer   how many, 1 or more. Default: 1
--- @return true
--- @raise              `n` is not such an integer
--- @usage require("sync").semaphore(0):release(3)
function Semaphore:release(n)
    n = n == nil and 1 or n
    check.integer("semaphore:release([n])", "n", n, 1, 2 ^ 31 - 1)
    while n > 0 and wake_one(self.queue) do n = n - 1 end
    self.available = self.available + n
    return true
end

-- --- Event ------------------------------------------------------------------------------------

local Event = {}
Event.__index = Event

--- Makes a flag that tasks wait for.
---
--- @return event   :set() :reset() :wait() .isSet
--- @usage local e = require("sync").event()
--- e:set("value")
--- assert(e:wait() == "value")
function sync.event()
    return setmetatable({ isSet = false, queue = new_queue() }, Event)
end

--- Sets the flag: who waits goes on, and who waits later does not wait.
---
--- @param value  any   what wait returns. Default: true
--- @return true
--- @usage require("sync").event():set()
function Event:set(value)
    if value == nil then value = true end
    self.isSet, self.value = true, value
    wake_all(self.queue)
    return true
end

--- Clears the flag.
---
--- @return true
--- @usage require("sync").event():reset()
function Event:reset()
    self.isSet, self.value = false, nil
    return true
end

--- Waits until the flag is set.
---
--- @param ms  number   how long to wait at most, in milliseconds. Default: as long as it takes
--- @return any         the value it was set with
--- @return nil, err    ETIMEDOUT  it was not set within `ms`, or a deadline came
---                     ECANCELED  this task was cancelled
--- @raise              `ms` is not a number of milliseconds
--- @wait
--- @usage local _, err = require("sync").event():wait(1)
--- assert(err.name == "ETIMEDOUT")
function Event:wait(ms)
    if ms ~= nil then check.timeout("event:wait([ms])", "ms", ms) end
    if self.isSet then return self.value end
    local status = park(self.queue, ms, "event")
    if status ~= 0 then return nil, new_error(status, "event") end
    if not self.isSet then return true end -- reset again before this task ran
    return self.value
end

-- --- Condition --------------------------------------------------------------------------------

local Condition = {}
Condition.__index = Condition

--- Makes a place to wait for a change that somebody else will announce.
---
--- @return condition   :wait() :signal() :broadcast()
--- @usage local c = require("sync").condition()
--- assert(c:signal() == false)
function sync.condition()
    return setmetatable({ queue = new_queue() }, Condition)
end

--- Waits until signal or broadcast is called. With a mutex, which this task must hold, gives it
--- back while it waits and holds it again at the end, however the wait ended.
---
--- @param mutex  mutex    to give back meanwhile. Default: none
--- @param ms     number   how long to wait at most, in milliseconds. Default: as long as it takes
--- @return true
--- @return nil, err       ETIMEDOUT  nobody called within `ms`, or a deadline came
---                        ECANCELED  this task was cancelled
---                        EPERM      this task does not hold the mutex
--- @raise                 an argument of another type
--- @wait
--- @usage local c = require("sync").condition()
--- local _, err = c:wait(nil, 1)
--- assert(err.name == "ETIMEDOUT")
function Condition:wait(mutex, ms)
    if type(mutex) == "number" and ms == nil then mutex, ms = nil, mutex end
    if ms ~= nil then check.timeout("condition:wait([mutex][, ms])", "ms", ms) end
    if mutex ~= nil then
        if getmetatable(mutex) ~= Mutex then
            error("condition:wait([mutex][, ms]) mutex must be a [mutex]", 2)
        end
        local ok, err = mutex:unlock()
        if not ok then return nil, err end
    end
    local status = park(self.queue, ms, "condition")
    if mutex then
        local deadline, scope = core.shieldPush()
        mutex:lock()
        core.shieldPop(deadline, scope)
    end
    if status ~= 0 then return nil, new_error(status, "condition") end
    return true
end

--- Wakes the task that has waited longest.
---
--- @return boolean   there was one
--- @usage require("sync").condition():signal()
function Condition:signal()
    return wake_one(self.queue)
end

--- Wakes all that wait.
---
--- @return true
--- @usage require("sync").condition():broadcast()
function Condition:broadcast()
    wake_all(self.queue)
    return true
end

-- --- Channel ----------------------------------------------------------------------------------

local Channel = {}
Channel.__index = Channel

--- Makes a queue of values between tasks.
---
--- @param capacity  integer   values kept before send waits, 0 to 2^31-1. 0: send waits until
---                            somebody receives. Default: 0
--- @return channel            :send() :receive() :close() :values()
--- @raise                     `capacity` is not such an integer
--- @usage local ch = require("sync").channel(1)
--- ch:send("hello")
--- assert(ch:receive() == "hello")
function sync.channel(capacity)
    capacity = capacity == nil and 0 or capacity
    check.integer("sync.channel([capacity])", "capacity", capacity, 0, 2 ^ 31 - 1)
    return setmetatable({
        capacity = capacity,
        head = 1,
        count = 0,
        buffer = {},
        receivers = new_queue(),
        senders = new_queue(),
        closed = false,
    }, Channel)
end

local function push(self, value)
    self.buffer[self.head + self.count] = value
    self.count = self.count + 1
end

local function shift(self)
    local head = self.head
    local value = self.buffer[head]
    self.buffer[head] = nil
    self.count = self.count - 1
    self.head = self.count == 0 and 1 or head + 1
    return value
end

--- Sends a value.
---
--- @param value  any      not nil
--- @param ms     number   how long to wait at most for room, or without capacity for a receiver.
---                        Default: as long as it takes
--- @return true           the channel, or a receiver, has the value
--- @return nil, err       CLOSED     the channel is closed
---                        ETIMEDOUT  there was no room within `ms`, or a deadline came; nobody has
---                                   the value
---                        ECANCELED  this task was cancelled; nobody has the value
--- @raise                 `value` is nil; `ms` is not a number of milliseconds
--- @wait
--- @usage local ch = require("sync").channel()
--- local _, err = ch:send("nobody listens", 1)
--- assert(err.name == "ETIMEDOUT")
function Channel:send(value, ms)
    if value == nil then
        -- nil is what a closed channel reads as
        error("channel:send(value[, ms]) value must not be nil", 2)
    end
    if ms ~= nil then check.timeout("channel:send(value[, ms])", "ms", ms) end
    if self.closed then return nil, new_error(CLOSED, "channel send") end
    if self.count < self.capacity then
        if not wake_one(self.receivers, value) then push(self, value) end
        return true
    end
    local status = give(self.receivers, self.senders, ms, "channel send", value)
    if status == 0 then return true end
    return nil, new_error(status, "channel send")
end

--- Receives the next value, in the order of sending.
---
--- @param ms  number   how long to wait at most, in milliseconds. Default: as long as it takes
--- @return any         the value
--- @return nil, err    CLOSED     the channel is closed and everything sent was received
---                     ETIMEDOUT  nothing came within `ms`, or a deadline came
---                     ECANCELED  this task was cancelled
--- @raise              `ms` is not a number of milliseconds
--- @wait
--- @usage local sync, task = require "sync", require "task"
--- local ch = sync.channel()
--- task.spawn(function() ch:send(42) end)
--- assert(ch:receive() == 42)
function Channel:receive(ms)
    if ms ~= nil then check.timeout("channel:receive([ms])", "ms", ms) end
    local count = self.count
    if count > 0 then
        local value = shift(self)
        -- Only a full channel has senders that wait.
        if count == self.capacity then
            local offer = take(self.senders)
            if offer ~= nil then push(self, offer) end
        end
        return value
    end
    if self.closed then return nil, new_error(CLOSED, "channel receive") end
    local status, value = get(self.receivers, self.senders, ms, "channel receive")
    if status ~= 0 then return nil, new_error(status, "channel receive") end
    return value
end

--- Closes the channel: what was sent can still be received, senders get CLOSED. Closing twice is
--- harmless.
---
--- @return true
--- @usage local ch = require("sync").channel(1)
--- ch:send(1)
--- ch:close()
--- assert(ch:receive() == 1 and select(2, ch:receive()).name == "CLOSED")
function Channel:close()
    self.closed = true
    wake_all(self.receivers, -CLOSED)
    wake_all(self.senders, -CLOSED)
    return true
end

--- Iterates over what is received, until the channel is closed or this task is cancelled.
---
--- @return iterator
--- @wait
--- @usage local ch = require("sync").channel(2)
--- ch:send("a")
--- ch:close()
--- for value in ch:values() do assert(value == "a") end
function Channel:values()
    return function()
        return (self:receive())
    end
end

-- --- Wait group -------------------------------------------------------------------------------

local WaitGroup = {}
WaitGroup.__index = WaitGroup

--- Makes a count of things under way that tasks wait for.
---
--- @return waitGroup   :add() :done() :wait() .count
--- @usage local wg = require("sync").waitGroup()
--- wg:add(1)
--- wg:done()
--- assert(wg:wait())
function sync.waitGroup()
    return setmetatable({ count = 0, queue = new_queue() }, WaitGroup)
end

--- Adds to the count.
---
--- @param n  integer   may be negative. Default: 1
--- @return true
--- @raise              the count would be negative; `n` is not an integer
--- @usage require("sync").waitGroup():add(2)
function WaitGroup:add(n)
    n = n == nil and 1 or n
    check.integer("waitGroup:add([n])", "n", n, -2 ^ 31, 2 ^ 31)
    if self.count + n < 0 then error("waitGroup:add([n]) the count would be negative", 2) end
    self.count = self.count + n
    if self.count == 0 then wake_all(self.queue) end
    return true
end

--- Takes one off the count.
---
--- @return true
--- @raise        the count is 0
--- @usage local wg = require("sync").waitGroup()
--- wg:add()
--- wg:done()
function WaitGroup:done()
    if self.count == 0 then error("waitGroup:done() the count is 0 already", 2) end
    return self:add(-1)
end

--- Waits until the count is 0.
---
--- @param ms  number   how long to wait at most, in milliseconds. Default: as long as it takes
--- @return true
--- @return nil, err    ETIMEDOUT  it was not 0 within `ms`, or a deadline came
---                     ECANCELED  this task was cancelled
--- @raise              `ms` is not a number of milliseconds
--- @wait
--- @usage assert(require("sync").waitGroup():wait())
function WaitGroup:wait(ms)
    if ms ~= nil then check.timeout("waitGroup:wait([ms])", "ms", ms) end
    if self.count == 0 then return true end
    local status = park(self.queue, ms, "waitGroup")
    if status ~= 0 then return nil, new_error(status, "waitGroup") end
    return true
end

-- --- Once -------------------------------------------------------------------------------------

--- Makes a function that does its work once: later callers, and those that come while the first is
--- at it, get the same results. A run that raises does not count: who waited tries next.
---
--- @param fn  function   what to run
--- @return function      takes the arguments of the first call; returns what `fn` returned, or
---                       nil, err with ECANCELED or ETIMEDOUT while it waits for another's run
--- @raise                `fn` is not a function; the function made raises what `fn` raised
--- @usage local n = 0
--- local init = require("sync").once(function() n = n + 1 return n end)
--- assert(init() == 1 and init() == 1)
function sync.once(fn)
    check.type("sync.once(fn)", "fn", fn, "function")
    local mutex, results = sync.mutex(), nil
    local function run(ok, ...)
        if ok then results = { n = select("#", ...), ... } end
        return unlocked(mutex, ok, ...)
    end
    return function(...)
        if not results then
            local ok, err = mutex:lock()
            if not ok then return nil, err end
            if not results then return run(pcall(fn, ...)) end
            mutex:unlock()
        end
        return unpack(results, 1, results.n)
    end
end

-- --- Readers and writers ----------------------------------------------------------------------

local RwLock = {}
RwLock.__index = RwLock

--- Makes a lock that many readers share, or one writer holds. In the order of coming: a writer that
--- waits holds up the readers behind it, so neither side starves.
---
--- @return rwlock   :readLock() :writeLock() :unlock()
--- @usage local l = require("sync").rwlock()
--- l:readLock()
--- l:readLock()
--- l:unlock()
--- l:unlock()
--- assert(l:writeLock(1))
function sync.rwlock()
    return setmetatable({ readers = 0, writer = nil, queue = new_queue() }, RwLock)
end

-- Lets in who waits, as far as the order and the lock's state allow.
local function admit(self)
    while not self.writer do
        local waiter, wants = core.first(self.queue)
        if not waiter then return end
        if wants == "write" then
            if self.readers > 0 then return end
            self.writer = waiter
        else
            self.readers = self.readers + 1
        end
        wake_one(self.queue)
    end
end

local function rw_wait(self, wants, ms)
    local status = park(self.queue, ms, "rwlock", wants)
    if status == 0 then return true end
    admit(self) -- those behind this one may be able to go on now
    return nil, new_error(status, "rwlock")
end

--- Takes the lock to read, beside other readers.
---
--- @param ms  number   how long to wait at most, in milliseconds. Default: as long as it takes
--- @return true
--- @return nil, err    ETIMEDOUT  a writer held it for longer than `ms`, or a deadline came
---                     ECANCELED  this task was cancelled
--- @raise              this task holds it as the writer; `ms` is not a number of milliseconds
--- @wait
--- @usage assert(require("sync").rwlock():readLock())
function RwLock:readLock(ms)
    if ms ~= nil then check.timeout("rwlock:readLock([ms])", "ms", ms) end
    if self.writer and self.writer == current() then
        error("rwlock:readLock([ms]) this task holds the lock as its writer", 2)
    end
    if not self.writer and not waiting(self.queue) then
        self.readers = self.readers + 1
        return true
    end
    return rw_wait(self, "read", ms)
end

--- Takes the lock to write, alone.
---
--- @param ms  number   how long to wait at most, in milliseconds. Default: as long as it takes
--- @return true
--- @return nil, err    ETIMEDOUT  it was not free within `ms`, or a deadline came
---                     ECANCELED  this task was cancelled
--- @raise              this task holds it as the writer; `ms` is not a number of milliseconds
--- @wait
--- @usage assert(require("sync").rwlock():writeLock())
function RwLock:writeLock(ms)
    if ms ~= nil then check.timeout("rwlock:writeLock([ms])", "ms", ms) end
    local me = owner()
    if self.writer == me then
        error("rwlock:writeLock([ms]) this task holds the lock already", 2)
    end
    if not self.writer and self.readers == 0 and not waiting(self.queue) then
        self.writer = me
        return true
    end
    return rw_wait(self, "write", ms)
end

--- Gives back what this task holds: the writer's lock, or one reader's share.
---
--- @return true
--- @return nil, err   EPERM  nobody, or another writer, holds the lock
--- @usage local l = require("sync").rwlock()
--- local _, err = l:unlock()
--- assert(err.name == "EPERM")
function RwLock:unlock()
    if self.writer then
        if self.writer ~= current() then return nil, new_error(EPERM, "rwlock") end
        self.writer = nil
    elseif self.readers > 0 then
        self.readers = self.readers - 1
    else
        return nil, new_error(EPERM, "rwlock")
    end
    admit(self)
    return true
end

return sync
