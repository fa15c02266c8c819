--- Memory that processes share: dictionaries that every worker of a machine sees.
---
--- Whoever opens a name gets the same dictionary, as long as one process has it open; it belongs to
--- the user, so programs of one user that use the same name share it too. When the last process
--- ends, however it ends, the dictionary is gone, unless it lives in a file. What is opened before
--- process.cluster, by workers of the master's user, the master has open too: it outlives them all.
---
--- A value is a string, a number, a boolean, a 64-bit integer, or a table of such values (a copy:
--- changing the table that was read changes nothing). A small hash or a ranking is a table that
--- dict:update changes, at once for everybody. A process may be killed while it writes: the
--- others find the old value or the new one, never half of each and never a lock that is stuck.
---
--- Nothing here waits for the network or the disk. A lock is held for less than a microsecond or so
--- at a time; there is one for each of `shards` parts.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local values = require "links.shared.values"

ffi.cdef [[
typedef struct links_dict links_dict;
struct links_dict {
    const char *data;
    size_t len;
    double number;
    double version;
    double ttl;
    int32_t expired;
};
links_dict *links_dict_open(const char *name, size_t name_len, const char *file,
                                      size_t file_len, double *size, int shards, int evict,
                                      int *rc);
void links_dict_free(links_dict *d);
int links_dict_get(links_dict *d, const char *key, size_t key_len, int stale);
int links_dict_put(links_dict *d, const char *key, size_t key_len, int type,
                             const char *data, size_t len, double number, double ttl, int mode,
                             double version);
int links_dict_delete(links_dict *d, const char *key, size_t key_len, double version);
int links_dict_incr(links_dict *d, const char *key, size_t key_len, double by,
                              int has_init, double init, double ttl);
int links_dict_rate(links_dict *d, const char *key, size_t key_len, double interval,
                              double burst, double cost);
int links_dict_ttl(links_dict *d, const char *key, size_t key_len);
int links_dict_expire(links_dict *d, const char *key, size_t key_len, double ttl);
int links_dict_push(links_dict *d, const char *key, size_t key_len, int type,
                              const char *data, size_t len, double number, int left);
int links_dict_pop(links_dict *d, const char *key, size_t key_len, int left);
int links_dict_len(links_dict *d, const char *key, size_t key_len);
int links_dict_keys(links_dict *d, int max);
double links_dict_flush(links_dict *d, int only_expired);
void links_dict_stats(links_dict *d, double out[7]);
void links_dict_counts(const links_dict *d, double out[3]);
]]
local C = ffi.C
local new_error = errors.new

local shared = {}

local NUMBER, STRING, TRUE, FALSE = values.NUMBER, values.STRING, values.TRUE, values.FALSE
local LIST = 2
local SET, SET_SAFE, ADD, REPLACE, SAME_VERSION = 0, 1, 2, 3, 4
local MAX_KEY, KEYS_MAX, MIN_SIZE = 65535, 2 ^ 20, 65536
local LIFE_MAX = 2 ^ 50
local TYPE, TOO_LARGE, NOT_FOUND = errors.code("TYPE"), errors.code("TOO_LARGE"),
    errors.code("NOT_FOUND")
local EXISTS = errors.code("EXISTS")

local encode, decode = values.encode, values.decode
local ffi_string = ffi.string

local Dict = {}
Dict.__index = Dict
Dict.__name = "shared dictionary"

local function check_key(signature, key)
    if type(key) ~= "string" then check.type(signature, "key", key, "string", 2) end
end

local function check_ttl(signature, ttl)
    if ttl ~= nil and not (type(ttl) == "number" and ttl >= 0 and ttl <= LIFE_MAX) then
        error(signature .. " ttl must be [number] of milliseconds, 0 or more", 3)
    end
end

local function key_too_long(what)
    return new_error(TOO_LARGE, what, { message = "the key is longer than 65535 bytes" })
end

local function put(handle, what, key, value, ttl, mode, version)
    if #key > MAX_KEY then return nil, key_too_long(what) end
    local rc
    local kind = type(value)
    if kind == "string" then
        rc = C.links_dict_put(handle, key, #key, STRING, value, #value, 0, ttl or 0, mode,
            version or 0)
    elseif kind == "number" then
        rc = C.links_dict_put(handle, key, #key, NUMBER, nil, 0, value, ttl or 0, mode,
            version or 0)
    elseif kind == "boolean" then
        rc = C.links_dict_put(handle, key, #key, value and TRUE or FALSE, nil, 0, 0, ttl or 0, mode,
            version or 0)
    else
        local code, bytes = encode(value, what)
        if not code then return nil, bytes end
        rc = C.links_dict_put(handle, key, #key, code, bytes, #bytes, 0, ttl or 0, mode,
            version or 0)
    end
    if rc == 0 then return true end
    return nil, new_error(rc, what)
end

local function no_value(signature, value)
    if value == nil then error(signature .. " value must not be nil (use delete)", 3) end
end

-- --- opening ------------------------------------------------------------------------------------

local OPTIONS = {
    evict = { default = "lru", type = "string" },
    file = { type = "string" },
    shards = { default = 16, type = "integer", min = 1, max = 256 },
}

-- Those of this process, by name or path: open twice is the same.
local opened = setmetatable({}, { __mode = "v" })

-- Private: for who looks at the process.
shared._opened = opened

--- Opens the dictionary of a name; makes it if nobody has.
---
--- @param name     string   1 to 64 letters, digits, ".", "_" and "-"
--- @param size     integer  bytes of memory, at least 65536; what an entry takes is told at
---                          dict:stats
--- @param options  table    evict   "lru"  what was not used for longest makes room for the new;
---                                         "none": FULL then
---                          file    nil    a path: it is kept in this file, which survives
---                                         restarts
---                          shards  16     parts with a lock of their own (fewer where one would
---                                         be smaller than 32768 bytes); no value can be larger
---                                         than one of them
--- @return dict
--- @return nil, err         EXISTS  it is there in another size or with another `evict`
---                          EACCES  it is another user's, or no plain file
---                          PARSE   the file is no dictionary, or one of another version
---                          ENOSPC  there is not so much room
---                          EMFILE, ENOMEM and others of open, mmap
--- @raise                   an argument of another type or out of bounds; an unknown option
--- @usage local shared = require "shared"
--- local hits = assert(shared.open("example-hits", 2^20))
--- hits:incr("/", 1, 0)
--- assert(hits:get("/") == 1)
--- hits:flush()
function shared.open(name, size, options)
    local signature = "shared.open(name, size[, options])"
    values.check_name(signature, name)
    check.integer(signature, "size", size, MIN_SIZE, 2 ^ 46)
    local o = check.options(signature, options, OPTIONS)
    if o.evict ~= "lru" and o.evict ~= "none" then
        error(signature .. ' options.evict must be "lru" or "none", not "' .. o.evict .. '"', 2)
    end
    local id = o.file or "\0" .. name
    local known = opened[id]
    if known then
        if known.size == size and known.evict == o.evict then return known end
        return nil, values.taken("shared memory", o.file or name, known.size, size)
    end
    local found, rc = ffi.new("double[1]", size), ffi.new("int[1]")
    local file = o.file or ""
    local handle = C.links_dict_open(name, #name, file, #file, found, o.shards,
        o.evict == "lru" and 1 or 0, rc)
    if handle == nil then
        if rc[0] == -EXISTS then
            return nil, values.taken("shared memory", o.file or name, found[0], size)
        end
        return nil, new_error(rc[0], "open", { path = o.file or name })
    end
    local dict = setmetatable({
        handle = ffi.gc(handle, C.links_dict_free), name = name, size = size, evict = o.evict,
    }, Dict)
    opened[id] = dict
    return dict
end

-- --- values by key ------------------------------------------------------------------------------

--- Reads a value.
---
--- @param key  string  up to 65535 bytes
--- @return any          the value; nil where there is none, or where it has expired
--- @return nil, err     TYPE  it is a list
--- @raise               the key is not a string
--- @usage local d = assert(require("shared").open("example-get", 65536))
--- d:set("a", { 1, 2 })
--- assert(d:get("a")[2] == 2 and d:get("b") == nil)
function Dict:get(key)
    check_key("dict:get(key)", key)
    local handle = self.handle
    local kind = C.links_dict_get(handle, key, #key, 0)
    if kind == STRING then return ffi_string(handle.data, handle.len) end
    if kind < 0 then return nil end
    if kind == LIST then return nil, new_error(TYPE, "get", { message = "it is a list" }) end
    return decode(kind, handle)
end

--- Reads a value that may have expired but is still in memory: better than none, where the new one
--- cannot be had.
---
--- @param key  string  up to 65535 bytes
--- @return any, boolean  the value, and whether it has expired; nil where there is none
--- @return nil, err     TYPE  it is a list
--- @raise               the key is not a string
--- @usage local d = assert(require("shared").open("example-stale", 65536))
--- d:set("a", "old", 1)
--- require("timer").sleep(3)
--- local value, expired = d:getStale("a")
--- assert(value == "old" and expired and d:get("a") == nil)
function Dict:getStale(key)
    check_key("dict:getStale(key)", key)
    local handle = self.handle
    local kind = C.links_dict_get(handle, key, #key, 1)
    if kind < 0 then return nil end
    if kind == LIST then return nil, new_error(TYPE, "getStale", { message = "it is a list" }) end
    return decode(kind, handle), handle.expired ~= 0
end

local function putter(name, mode)
    local signature = "dict:" .. name .. "(key, value[, ttl])"
    return function(self, key, value, ttl)
        check_key(signature, key)
        no_value(signature, value)
        if ttl then check_ttl(signature, ttl) end
        return put(self.handle, name, key, value, ttl, mode)
    end
end

--- Writes a value, whether the key is there or not.
---
--- @param key    string   up to 65535 bytes
--- @param value  any      a string, number, boolean, 64-bit integer, or a table of these
--- @param ttl    number   milliseconds until it expires. Default: 0, never
--- @return true
--- @return nil, err       FULL       there is no room, and nothing may be evicted
---                        TOO_LARGE  the value is larger than a shard, or the key too long
---                        TYPE       the value cannot be kept: a function, a task, a table that
---                                   contains itself
--- @raise                 the key is not a string; the value is nil; a bad ttl
--- @usage local d = assert(require("shared").open("example-set", 65536))
--- assert(d:set("a", 1, 1000))
--- assert(d:ttl("a") <= 1000)
Dict.set = putter("set", SET)

--- Writes a value like dict:set, but never evicts another one for it.
---
--- @param key    string   as of dict:set
--- @param value  any      as of dict:set
--- @param ttl    number   milliseconds until it expires. Default: 0, never
--- @return true
--- @return nil, err       FULL  there is no room; and what dict:set says
--- @raise                 as dict:set
--- @usage local d = assert(require("shared").open("example-safe", 65536))
--- assert(d:setSafe("a", "kept"))
Dict.setSafe = putter("setSafe", SET_SAFE)

--- Writes a value only where there is none.
---
--- @param key    string   as of dict:set
--- @param value  any      as of dict:set
--- @param ttl    number   milliseconds until it expires. Default: 0, never
--- @return true
--- @return nil, err       EXISTS  there is one; and what dict:set says
--- @raise                 as dict:set
--- @usage local d = assert(require("shared").open("example-add", 65536))
--- d:add("a", 1)
--- local added, err = d:add("a", 2)
--- assert(not added and err.name == "EXISTS" and d:get("a") == 1)
Dict.add = putter("add", ADD)

--- Writes a value only where there is one.
---
--- @param key    string   as of dict:set
--- @param value  any      as of dict:set
--- @param ttl    number   milliseconds until it expires. Default: 0, never
--- @return true
--- @return nil, err       NOT_FOUND  there is none; and what dict:set says
--- @raise                 as dict:set
--- @usage local d = assert(require("shared").open("example-replace", 65536))
--- assert(not d:replace("not there", 1))
Dict.replace = putter("replace", REPLACE)

--- Removes a key, a list too.
---
--- @param key  string  up to 65535 bytes
--- @return boolean      whether it was there
--- @raise               the key is not a string
--- @usage local d = assert(require("shared").open("example-delete", 65536))
--- d:set("a", 1)
--- assert(d:delete("a") and not d:delete("a"))
function Dict:delete(key)
    check_key("dict:delete(key)", key)
    return C.links_dict_delete(self.handle, key, #key, 0) == 0
end

--- Adds to a number, at once for everybody: no addition is lost. The time of life of a key that is
--- there stays as it is.
---
--- @param key   string  up to 65535 bytes
--- @param n     number  what to add. Default: 1
--- @param init  number  what a key that is not there begins with. Default: nil, an error then
--- @param ttl   number  milliseconds that a key lives which is made by this. Default: 0, for ever
--- @return number       the sum
--- @return nil, err     NOT_FOUND  the key is not there, and there is no `init`
---                      TYPE       its value is not a number
---                      FULL       there is no room for it
---                      TOO_LARGE  the key is too long
--- @raise               an argument of another type
--- @usage local d = assert(require("shared").open("example-incr", 65536))
--- d:delete("n")
--- assert(d:incr("n", 2, 10) == 12 and d:incr("n") == 13)
function Dict:incr(key, n, init, ttl)
    local signature = "dict:incr(key[, n, init, ttl])"
    check_key(signature, key)
    if n ~= nil then check.type(signature, "n", n, "number") end
    check.type(signature, "init", init, "number|nil")
    check_ttl(signature, ttl)
    if #key > MAX_KEY then return nil, key_too_long("incr") end
    local handle = self.handle
    local rc = C.links_dict_incr(handle, key, #key, n or 1, init and 1 or 0, init or 0, ttl or 0)
    if rc == 0 then return handle.number end
    return nil, new_error(rc, "incr")
end

-- The value of a key and its version; nil and 0 where there is none.
local function versioned(handle, key)
    local kind = C.links_dict_get(handle, key, #key, 0)
    if kind < 0 then return nil, 0 end
    local version = handle.version
    if kind == LIST then return nil, version, true end
    return decode(kind, handle), version
end

-- Puts what follows from what was read, nil to delete. False where somebody was faster.
local function put_version(handle, what, key, value, ttl, version)
    if value == nil then
        if version == 0 then return true end
        local rc = C.links_dict_delete(handle, key, #key, version)
        return rc == 0 or rc == -NOT_FOUND
    end
    local mode = version == 0 and ADD or SAME_VERSION
    local ok, err = put(handle, what, key, value, ttl, mode, version)
    if ok then return true end
    if err.name == "EXISTS" then return false end
    return nil, err
end

-- What of its life a key has left, as a ttl.
local function life_left(handle, key)
    if C.links_dict_ttl(handle, key, #key) ~= 0 or handle.ttl < 0 then return 0 end
    return math.max(handle.ttl, 1)
end

--- Compares and sets: writes `new` if the value is `old` now.
---
--- @param key  string  up to 65535 bytes
--- @param old  any     what it must be: a string, number, boolean or 64-bit integer; nil: not there
--- @param new  any     as of dict:set; nil to delete it
--- @param ttl  number  milliseconds until it expires; 0: never. Default: what is left of its life
--- @return true
--- @return false, any   it is something else: what it is
--- @return nil, err     FULL, TOO_LARGE, TYPE as dict:set; TYPE too where it is a list
--- @raise               the key is not a string; `old` is a table, which nothing is equal to
--- @usage local d = assert(require("shared").open("example-cas", 65536))
--- d:set("state", "idle")
--- assert(d:cas("state", "idle", "busy"))
--- local changed, is = d:cas("state", "idle", "busy")
--- assert(changed == false and is == "busy")
function Dict:cas(key, old, new, ttl)
    local signature = "dict:cas(key, old, new[, ttl])"
    check_key(signature, key)
    check_ttl(signature, ttl)
    check.type(signature, "old", old, "string|number|boolean|cdata|nil")
    local handle = self.handle
    while true do
        local value, version, is_list = versioned(handle, key)
        if is_list then return nil, new_error(TYPE, "cas", { message = "it is a list" }) end
        if value ~= old then return false, value end
        local left = ttl or (version ~= 0 and life_left(handle, key) or 0)
        local ok, err = put_version(handle, "cas", key, new, left, version)
        if ok then return true end
        if err then return nil, err end
    end
end

--- Writes a value and returns the one that was there: of all who do so at a time, each gets another
--- one.
---
--- @param key    string   up to 65535 bytes
--- @param value  any      as of dict:set
--- @param ttl    number   milliseconds until it expires. Default: 0, never
--- @return any            the value that was there; nil where there was none
--- @return nil, err       FULL, TOO_LARGE, TYPE as dict:set; TYPE too where it is a list
--- @raise                 as dict:set
--- @usage local d = assert(require("shared").open("example-getset", 65536))
--- d:set("leader", "a")
--- assert(d:getset("leader", "b") == "a" and d:get("leader") == "b")
function Dict:getset(key, value, ttl)
    local signature = "dict:getset(key, value[, ttl])"
    check_key(signature, key)
    no_value(signature, value)
    check_ttl(signature, ttl)
    local handle = self.handle
    while true do
        local old, version, is_list = versioned(handle, key)
        if is_list then return nil, new_error(TYPE, "getset", { message = "it is a list" }) end
        local ok, err = put_version(handle, "getset", key, value, ttl or 0, version)
        if ok then return old end
        if err then return nil, err end
    end
end

--- Changes a value by a function, so that no change of another task or process is lost between: the
--- function is called again with the new value where somebody was faster. The key keeps its time of
--- life.
---
--- @param key  string    up to 65535 bytes
--- @param fn   function  gets the value (nil where there is none) and returns the new one, nil to
---                       delete it. It should do nothing else, for it may be called several times
--- @param ttl  number    milliseconds until the new value expires; 0: never. Default: what is left
---                       of the old one's life
--- @return any           the new value
--- @return nil, err      FULL, TOO_LARGE, TYPE as dict:set; TYPE too where it is a list
--- @raise                an argument of another type; what `fn` raises
--- @usage local d = assert(require("shared").open("example-update", 65536))
--- local function visit(user)
---     user = user or { visits = 0 }
---     user.visits = user.visits + 1
---     return user
--- end
--- d:delete("user:1")
--- d:update("user:1", visit)
--- assert(d:update("user:1", visit).visits == 2)
function Dict:update(key, fn, ttl)
    check_key("dict:update(key, fn[, ttl])", key)
    check.type("dict:update(key, fn[, ttl])", "fn", fn, "function")
    check_ttl("dict:update(key, fn[, ttl])", ttl)
    local handle = self.handle
    while true do
        local value, version, is_list = versioned(handle, key)
        if is_list then return nil, new_error(TYPE, "update", { message = "it is a list" }) end
        local left = ttl or (version ~= 0 and life_left(handle, key) or 0)
        local new = fn(value)
        local ok, err = put_version(handle, "update", key, new, left, version)
        if ok then return new end
        if err then return nil, err end
    end
end

--- How long a key has to live.
---
--- @param key  string  up to 65535 bytes
--- @return number       milliseconds; 0: it never expires; nil: it is not there
--- @raise               the key is not a string
--- @usage local d = assert(require("shared").open("example-ttl", 65536))
--- d:set("a", 1)
--- assert(d:ttl("a") == 0 and d:ttl("not there") == nil)
function Dict:ttl(key)
    check_key("dict:ttl(key)", key)
    if C.links_dict_ttl(self.handle, key, #key) ~= 0 then return nil end
    return self.handle.ttl < 0 and 0 or math.max(self.handle.ttl, 1)
end

--- Gives a key another time to live.
---
--- @param key  string  up to 65535 bytes
--- @param ms   number  milliseconds from now; 0: for ever
--- @return boolean      whether it is there
--- @raise               an argument of another type
--- @usage local d = assert(require("shared").open("example-expire", 65536))
--- d:set("a", 1)
--- assert(d:expire("a", 5000) and not d:expire("not there", 1))
function Dict:expire(key, ms)
    check_key("dict:expire(key, ms)", key)
    check.type("dict:expire(key, ms)", "ms", ms, "number")
    check_ttl("dict:expire(key, ms)", ms)
    return C.links_dict_expire(self.handle, key, #key, ms) == 0
end

-- --- lists --------------------------------------------------------------------------------------

local SIDES = { left = 1, right = 0 }

local function side_of(signature, side, default)
    local left = SIDES[side or default]
    if left then return left end
    error(signature .. ' side must be "left" or "right", not "' .. tostring(side) .. '"', 3)
end

--- Puts a value at an end of a list, which is made where there is none.
---
--- @param key    string  up to 65535 bytes
--- @param value  any     as of dict:set
--- @param side   string  "left" or "right". Default: "right"
--- @return integer       how many the list has now
--- @return nil, err      TYPE  the key has a value that is no list; FULL, TOO_LARGE as dict:set
--- @raise                an argument of another type; the value is nil
--- @usage local d = assert(require("shared").open("example-push", 65536))
--- d:delete("jobs")
--- d:push("jobs", { id = 1 })
--- assert(d:push("jobs", { id = 2 }) == 2)
--- assert(d:pop("jobs").id == 1)
function Dict:push(key, value, side)
    local signature = "dict:push(key, value[, side])"
    check_key(signature, key)
    no_value(signature, value)
    local left = side_of(signature, side, "right")
    if #key > MAX_KEY then return nil, key_too_long("push") end
    local code, bytes, number = values.split(value, "push")
    if not code then return nil, bytes end
    local handle = self.handle
    local rc = C.links_dict_push(handle, key, #key, code, bytes, #bytes, number, left)
    if rc == 0 then return handle.number end
    return nil, new_error(rc, "push")
end

--- Takes a value from an end of a list; the last one takes the list with it.
---
--- @param key   string  up to 65535 bytes
--- @param side  string  "left" or "right". Default: "left"
--- @return any          the value; nil where there is none
--- @return nil, err     TYPE  the key has a value that is no list
--- @raise               an argument of another type
--- @usage local d = assert(require("shared").open("example-pop", 65536))
--- assert(d:pop("not there") == nil)
function Dict:pop(key, side)
    check_key("dict:pop(key[, side])", key)
    local left = side_of("dict:pop(key[, side])", side, "left")
    local handle = self.handle
    local kind = C.links_dict_pop(handle, key, #key, left)
    if kind == -NOT_FOUND then return nil end
    if kind < 0 then return nil, new_error(kind, "pop") end
    return decode(kind, handle)
end

--- How many values a list has.
---
--- @param key  string  up to 65535 bytes
--- @return integer      0 where there is no list
--- @return nil, err     TYPE  the key has a value that is no list
--- @raise               the key is not a string
--- @usage local d = assert(require("shared").open("example-len", 65536))
--- assert(d:len("not there") == 0)
function Dict:len(key)
    check_key("dict:len(key)", key)
    local rc = C.links_dict_len(self.handle, key, #key)
    if rc ~= 0 then return nil, new_error(rc, "len") end
    return self.handle.number
end

-- --- the whole ----------------------------------------------------------------------------------

--- The keys that are there, in no order. It looks at every entry: not for every request.
---
--- @param max  integer  at most so many, up to 1048576. Default: 1024
--- @return table        an array of strings
--- @raise               `max` is no such number
--- @usage local d = assert(require("shared").open("example-keys", 65536))
--- d:flush()
--- d:set("a", 1)
--- assert(d:keys()[1] == "a")
function Dict:keys(max)
    if max ~= nil then check.integer("dict:keys([max])", "max", max, 1, KEYS_MAX) end
    local handle = self.handle
    local count = C.links_dict_keys(handle, max or 1024)
    local keys, at = {}, handle.data
    local len = ffi.new("uint32_t[1]")
    for i = 1, count do
        ffi.copy(len, at, 4)
        keys[i] = ffi_string(at + 4, len[0])
        at = at + 4 + len[0]
    end
    return keys
end

--- Removes everything.
---
--- @return integer  how many entries there were
--- @usage local d = assert(require("shared").open("example-flush", 65536))
--- d:set("a", 1)
--- d:flush()
--- assert(d:stats().items == 0)
function Dict:flush()
    return C.links_dict_flush(self.handle, 0)
end

--- Removes what has expired. That happens by and by, and where room is needed, anyway.
---
--- @return integer  how many entries
--- @usage local d = assert(require("shared").open("example-expired", 65536))
--- assert(d:flushExpired() == 0)
function Dict:flushExpired()
    return C.links_dict_flush(self.handle, 1)
end

--- Numbers of the dictionary, of all processes together. An entry takes 128 bytes, which hold key
--- and value up to 64 bytes, and another 128 for each 120 bytes more.
---
--- @return table  capacity, free (bytes), items, hits, misses, evictions, and recoveries: how often
---                a process has died while it was writing
--- @usage local d = assert(require("shared").open("example-stats", 65536))
--- assert(d:stats().free <= d:stats().capacity)
function Dict:stats()
    local out = ffi.new("double[7]")
    C.links_dict_stats(self.handle, out)
    return {
        capacity = out[0], free = out[1], items = out[2], hits = out[3], misses = out[4],
        evictions = out[5], recoveries = out[6],
    }
end

shared.queue = require("links.shared.queue").queue

return shared
