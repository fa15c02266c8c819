--- Queues that processes share: what one pushes another one pops, whoever comes first.
---
--- Whoever opens a name gets the same queue, as with the dictionaries of shared, and it takes the
--- same values. It lives in memory, as long as one process has it open; one process alone may use
--- it too.
---
--- The items of a queue come out in the order in which they were pushed, each of them once. Who
--- waits is woken; of several processes the one that has waited longest. A process may be killed at
--- any moment: an item was pushed whole or not at all, and nobody waits for ever because of that (a
--- second at most, where it was killed after it was woken). What a process had popped when it was
--- killed is gone with it: who cannot have that keeps a note elsewhere until the work is done.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local values = require "links.shared.values"

ffi.cdef [[
typedef struct links_queue links_queue;
struct links_queue {
    const char *data;
    size_t len;
    double number;
};
links_queue *links_queue_open(const char *name, size_t name_len, double *size, int *rc);
void links_queue_free(links_queue *q);
int links_queue_push(links_queue *q, int type, const char *data, size_t len,
                               double number, double timeout_ms);
int links_queue_pop(links_queue *q, double timeout_ms);
void links_queue_stats(links_queue *q, double out[5]);
double links_queue_flush(links_queue *q);
]]
local C, AGAIN = ffi.C, -19999
local wait, new_error = core.wait, errors.new

local shared = {}

local MIN_SIZE, LONGEST_MS = 65536, 2 ^ 40
local EXISTS, FULL = errors.code("EXISTS"), errors.code("FULL")
local ETIMEDOUT = -errors.code("ETIMEDOUT")

local Queue = {}
Queue.__index = Queue
Queue.__name = "shared queue"

-- Those of this process, by name: open twice is the same.
local opened = setmetatable({}, { __mode = "v" })

--- Opens the queue of a name; makes it if nobody has. A dictionary may have the same name.
---
--- @param name  string   1 to 64 letters, digits, ".", "_" and "-"
--- @param size  integer  bytes of memory, 65536 or more; the queue takes some 8 KiB of them, and an
---                       item 8 and its bytes, rounded up to 8
--- @return queue
--- @return nil, err      EXISTS  it is there in another size
---                       EACCES  it is another user's
---                       ENOSPC  there is not so much room
---                       EMFILE, ENOMEM and others of open, mmap
--- @raise                an argument of another type or out of bounds
--- @usage local shared = require "shared"
--- local jobs = assert(shared.queue("example-jobs", 2^20))
--- jobs:push({ kind = "mail", to = "somebody@example.com" })
--- assert(jobs:pop().kind == "mail")
function shared.queue(name, size)
    local signature = "shared.queue(name, size)"
    values.check_name(signature, name)
    check.integer(signature, "size", size, MIN_SIZE, 2 ^ 46)
    local known = opened[name]
    if known then
        if known.size == size then return known end
        return nil, values.taken("the queue", name, known.size, size)
    end
    local found, rc = ffi.new("double[1]", size), ffi.new("int[1]")
    local handle = C.links_queue_open(name, #name, found, rc)
    if handle == nil then
        if rc[0] == -EXISTS then
            return nil, values.taken("the queue", name, found[0], size)
        end
        return nil, new_error(rc[0], "open", { path = name })
    end
    local queue = setmetatable({
        handle = ffi.gc(handle, C.links_queue_free), name = name, size = size,
    }, Queue)
    opened[name] = queue
    return queue
end

-- For C, 0 is as long as it takes.
local function timeout_of(ms)
    return ms == nil and 0 or ms == 0 and -1 or math.ceil(math.min(ms, LONGEST_MS))
end

local function time_left(until_ms)
    return until_ms and math.max(1, math.ceil(math.min(until_ms - core.now(), LONGEST_MS))) or 0
end

--- Puts a value at the end. While there is no room it waits.
---
--- @param value  any     a string, number, boolean, 64-bit integer, or a table of these
--- @param ms     number  how long to wait at most, in milliseconds; 0: not at all. Default: as long
---                       as it takes
--- @return true
--- @return nil, err      FULL       there was no room within `ms`
---                       TOO_LARGE  the value is larger than the queue
---                       TYPE       the value cannot be kept: a function, a task, a table that
---                                  contains itself
---                       ETIMEDOUT  a deadline came
---                       ECANCELED  this task was cancelled; nothing was pushed
---                       EMFILE     no descriptor is left to wait with
--- @raise                the value is nil; `ms` is not a number of milliseconds
--- @wait
--- @usage local queue = assert(require("shared").queue("example-push", 65536))
--- local _, err
--- repeat _, err = queue:push(("x"):rep(1000), 0) until err
--- assert(err.name == "FULL")
--- queue:flush()
function Queue:push(value, ms)
    local signature = "queue:push(value[, ms])"
    if value == nil then error(signature .. " value must not be nil", 2) end
    check.timeout(signature, "ms", ms)
    local kind, bytes, number = values.split(value, "push")
    if not kind then return nil, bytes end
    local handle, until_ms = self.handle, ms and core.now() + ms
    local rc = C.links_queue_push(handle, kind, bytes, #bytes, number, timeout_of(ms))
    while rc == AGAIN do
        rc = wait()
        if rc == 0 then
            rc = C.links_queue_push(handle, kind, bytes, #bytes, number, time_left(until_ms))
        elseif rc == ETIMEDOUT then
            rc = FULL
        end
    end
    if rc == 0 then return true end
    return nil, new_error(rc, "push")
end

--- Takes the first value. While there is none it waits.
---
--- @param ms  number  how long to wait at most, in milliseconds; 0: not at all. Default: as long as
---                    it takes
--- @return any        the value
--- @return nil, err   ETIMEDOUT  none came within `ms`, or a deadline came
---                    ECANCELED  this task was cancelled; nothing was taken
---                    EMFILE     no descriptor is left to wait with
--- @raise             `ms` is not a number of milliseconds
--- @wait
--- @usage local queue = assert(require("shared").queue("example-queue-pop", 65536))
--- require("task").spawn(function() queue:push("hello") end)
--- assert(queue:pop(1000) == "hello")
--- assert(select(2, queue:pop(0)).name == "ETIMEDOUT")
function Queue:pop(ms)
    check.timeout("queue:pop([ms])", "ms", ms)
    local handle, until_ms = self.handle, ms and core.now() + ms
    local rc = C.links_queue_pop(handle, timeout_of(ms))
    while rc == AGAIN do
        rc = wait()
        if rc == 0 then rc = C.links_queue_pop(handle, time_left(until_ms)) end
    end
    if rc > 0 then return values.decode(rc, handle) end
    return nil, new_error(rc, "pop")
end

--- Removes everything.
---
--- @return integer  how many items there were
--- @usage local queue = assert(require("shared").queue("example-queue-flush", 65536))
--- queue:push(1)
--- assert(queue:flush() == 1)
function Queue:flush()
    return C.links_queue_flush(self.handle)
end

--- Numbers of the queue, of all processes together.
---
--- @return table  items; capacity and free, in bytes; recoveries, how often a process has died
---                while it pushed or popped; pushed, how many items so far, less one at most for
---                each of these
--- @usage local queue = assert(require("shared").queue("example-queue-stats", 65536))
--- queue:flush()
--- queue:push("1234567890")
--- local stats = queue:stats()
--- assert(stats.items == 1 and stats.free == stats.capacity - 8 - 16)
--- queue:flush()
function Queue:stats()
    local out = ffi.new("double[5]")
    C.links_queue_stats(self.handle, out)
    return {
        items = out[0], free = out[1], capacity = out[2], pushed = out[3], recoveries = out[4],
    }
end

return shared
