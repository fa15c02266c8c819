--- Caches: one of this process alone, and one of several levels that all processes share.
---
--- `cache.lru` is a table that forgets what was not used for longest. `cache.new` keeps what a
--- loader function returns, in this process and in shared memory: of all that want a key which is
--- in neither, in all processes, one calls the loader and the others wait for what it finds.
local json_null = require "links.null"
local check = require "links.check"
local core = require "links.core"
local errors = require "links.errors"
local lock = require "links.lock"
local own = require "links.shared.own"
local timer = require "links.timer"

local new_error = errors.new

local cache = {}

local TOO_LARGE, LOCKED = errors.code("TOO_LARGE"), errors.code("LOCKED")
local ETIMEDOUT = errors.code("ETIMEDOUT")
-- A key and what stands before it must be a key of a dictionary, and of a lock.
local MAX_KEY = 900
-- What tells the other processes that a key has changed: a number for each of so many groups.
local GENERATIONS = 256
local DICT_SIZE = 2 ^ 24
local WEAK = { __mode = "k" }

-- What is counted of the caches of a name in this process, for links.metrics: values found in this
-- process and in shared memory, not found, and given though they had expired.
local counted = {}

-- Private: by name.
cache._counted = counted

local function count_for(name, made)
    local counts = counted[name]
    if not counts then
        counts = { near = 0, far = 0, missed = 0, stale = 0, all = setmetatable({}, WEAK) }
        counted[name] = counts
    end
    counts.all[made] = true
    return counts
end

-- --- the cache of one process -------------------------------------------------------------------

local function check_name(signature, what, name)
    if name == "" or #name > 64 then
        error(signature .. " " .. what .. " must have 1 to 64 bytes", 3)
    end
end

local Lru = {}
Lru.__index = Lru
Lru.__name = "lru cache"

--- A cache of this process: it holds so many values of any kind, and forgets the one that was not
--- used for longest when one more comes. A get or a set costs the same however large it is.
---
--- @param size     integer  how many
--- @param options  table    ttl   0    ms until a value expires; 0: never
---                          name  nil  by which the metrics count it, 1 to 64 bytes; nil: they do
---                                     not
--- @return cache
--- @raise                   an argument of another type; an unknown option
--- @usage local users = require("cache").lru(2)
--- users:set("a", 1)
--- users:set("b", 2)
--- users:get("a")
--- users:set("c", 3)
--- assert(users:get("a") == 1 and users:get("b") == nil)
function cache.lru(size, options)
    local signature = "cache.lru(size[, options])"
    check.integer(signature, "size", size, 1, 2 ^ 26)
    local o = check.options(signature, options, {
        ttl = { default = 0, type = "timeout" }, name = { type = "string" },
    })
    if o.name then check_name(signature, "options.name", o.name) end
    -- A ring: `newer` and `older` by place; place 0 is between the newest and the oldest.
    local made = setmetatable({
        size = size, ttl = o.ttl, count = 0, free = {},
        places = {}, keys = {}, values = {}, expires = {},
        newer = { [0] = 0 }, older = { [0] = 0 },
    }, Lru)
    if o.name then made.counts = count_for(o.name, made) end
    return made
end

local function unlink(self, place)
    local newer, older = self.newer[place], self.older[place]
    self.older[newer], self.newer[older] = older, newer
end

local function link(self, place)
    local first = self.older[0]
    self.newer[place], self.older[place] = 0, first
    self.newer[first], self.older[0] = place, place
end

local function drop(self, place)
    unlink(self, place)
    self.places[self.keys[place]] = nil
    self.keys[place], self.values[place], self.expires[place] = nil, nil, nil
    self.count = self.count - 1
    self.free[#self.free + 1] = place
end

--- Reads a value.
---
--- @param key  any  of the table
--- @return any       the value; nil where there is none or it has expired
--- @usage assert(require("cache").lru(10):get("a") == nil)
function Lru:get(key)
    local place, counts = self.places[key], self.counts
    local expires = place and self.expires[place]
    if expires and expires <= timer.now() then
        drop(self, place)
        place = nil
    end
    if not place then
        if counts then counts.missed = counts.missed + 1 end
        return nil
    end
    if counts then counts.near = counts.near + 1 end
    if self.older[0] ~= place then
        unlink(self, place)
        link(self, place)
    end
    return self.values[place]
end

--- Writes a value.
---
--- @param key    any      but nil and NaN
--- @param value  any      nil to forget the key
--- @param ttl    number   ms until it expires; 0: never. Default: the cache's
--- @raise                 the key is nil or NaN; a ttl that is no number of milliseconds
--- @usage local c = require("cache").lru(10)
--- c:set("a", 1, 5000)
--- assert(c:get("a") == 1)
function Lru:set(key, value, ttl)
    if key == nil or key ~= key then
        error("cache:set(key, value[, ttl]) key must not be nil", 2)
    end
    check.timeout("cache:set(key, value[, ttl])", "ttl", ttl)
    local place = self.places[key]
    if value == nil then
        if place then drop(self, place) end
        return
    end
    if place then
        unlink(self, place)
    else
        if self.count == self.size then drop(self, self.newer[0]) end
        place = table.remove(self.free) or self.count + 1
        self.count = self.count + 1
        self.places[key], self.keys[place] = place, key
    end
    link(self, place)
    ttl = ttl or self.ttl
    self.values[place] = value
    self.expires[place] = ttl > 0 and timer.now() + ttl or nil
end

--- Forgets a key.
---
--- @param key  any  of the table
--- @return boolean   whether it was there
--- @usage assert(not require("cache").lru(10):delete("a"))
function Lru:delete(key)
    local place = self.places[key]
    if not place then return false end
    drop(self, place)
    return true
end

-- --- the cache of all processes -----------------------------------------------------------------

local Cache = {}
Cache.__index = Cache
Cache.__name = "cache"

local OPTIONS = {
    dict = { type = "table" },
    lruSize = { default = 1000, type = "integer", min = 1, max = 2 ^ 26 },
    ttl = { default = 30000, type = "timeout" },
    negativeTtl = { default = 5000, type = "timeout" },
    staleTtl = { default = 0, type = "timeout" },
    lockTimeout = { default = 5000, type = "timeout" },
}

--- A cache of two levels with a loader behind: in this process, in shared memory.
---
--- @param name     string  of the cache, 1 to 64 bytes: caches of one name share what they hold
--- @param options  table   dict         nil    the dictionary for the second level. Default: one of
---                                             16 MiB of the program's own
---                         lruSize      1000   how many values this process keeps
---                         ttl          30000  ms that a value lives; 0: for ever
---                         negativeTtl  5000   ms that "there is none" lives
---                         staleTtl     0      ms for which a value that has expired is returned
---                                             where the loader fails
---                         lockTimeout  5000   ms to wait for another process's loader
--- @return cache
--- @return nil, err        what shared.open says, where no dictionary is given
--- @raise                  an argument of another type; an unknown option
--- @usage local cache = require "cache"
--- local users = assert(cache.new("example-users", { ttl = 60000 }))
--- local function load(id) return { id = id, name = "Ada" } end
--- assert(users:get("1", load).name == "Ada")
--- local user, err, level = users:get("1", load)
--- assert(user.name == "Ada" and not err and level == 1)
function cache.new(name, options)
    local signature = "cache.new(name[, options])"
    check.type(signature, "name", name, "string")
    check_name(signature, "name", name)
    local o = check.options(signature, options, OPTIONS)
    local dict, err = o.dict, nil
    if not dict then dict, err = own.open("cache", DICT_SIZE) end
    if not dict then return nil, err end
    local made = setmetatable({
        name = name, dict = dict, options = o, near = cache.lru(o.lruSize),
        epoch_key = "e:" .. name, flights = {},
    }, Cache)
    made.counts = count_for(name, made)
    return made
end

local function group_of(key)
    local hash = 5381
    for i = math.max(1, #key - 15), #key do hash = (hash * 33 + key:byte(i)) % 2 ^ 32 end
    return hash % GENERATIONS
end

-- A number that others change. It begins where no earlier one can have been: what was evicted and
-- begins anew is not to look like what it was.
local function number_of(dict, name)
    return dict:get(name) or dict:incr(name, 0, math.floor(own.clock() * 1000)) or 0
end

local function change(dict, name)
    return dict:incr(name, 1, math.floor(own.clock() * 1000))
end

-- Where a key's value is, the number of its group, and what says that it is being loaded.
local function names_of(self, key)
    local epoch = number_of(self.dict, self.epoch_key)
    if epoch ~= self.epoch then
        self.epoch, self.prefix = epoch, ("%s:%d:"):format(self.name, epoch)
    end
    local prefix = self.prefix
    return "k:" .. prefix .. key, "g:" .. prefix .. group_of(key), "f:" .. prefix .. key
end

-- The value of a group's number is read before the value is: should another process write in
-- between, what is kept here is out of date at once.
local function keep_near(self, name, generation, value, ttl)
    if ttl == 0 and self.options.ttl > 0 then return end
    self.near:set(name, { value = value, generation = generation }, ttl)
end

-- What this process knows; nil where it has to look further.
local function look_near(self, name, generation)
    local entry = self.near:get(name)
    if entry and entry.generation == generation then return entry end
end

-- Of shared memory: found, value, ms that are left (0: for ever).
local function look_far(self, name)
    local dict = self.dict
    local value = dict:get(name)
    if value == nil then return false end
    local left = dict:ttl(name) or 1
    if left > 0 then
        left = left - self.options.staleTtl
        if left <= 0 then return false, value end
    end
    return true, value, left
end

local function keep_far(self, name, value, ttl)
    local life = ttl > 0 and ttl + self.options.staleTtl or 0
    return self.dict:set(name, value, life)
end

-- What others have, and what is being loaded, is out of date.
local function forget(self, name, generation_name, flight)
    self.dict:delete(flight)
    self.dict:delete(name)
    change(self.dict, generation_name)
end

local function given(value)
    if value == json_null then return nil end
    return value
end

-- What there is where the loader has failed: a value that has expired, or none.
local function make_do(self, name, err)
    local _, stale = look_far(self, name)
    if stale == nil then return nil, err, 3 end
    self.counts.stale = self.counts.stale + 1
    return given(stale), err, 4
end

-- Those who waited for this are not to try the same one after the other.
local function tell_failure(self, name, err)
    local dict, life = self.dict, self.options.lockTimeout
    local about = { at = own.clock(), error = err }
    if life > 0 and not dict:set("x:" .. name, about, life) then
        about.error = tostring(err)
        dict:set("x:" .. name, about, life)
    end
end

local function failure_since(self, name, began)
    local about = self.dict:get("x:" .. name)
    if about and about.at >= began then return errors.revive(about.error) end
end

local function load(self, key, loader, ttl, name, generation_name, flight)
    local dict = self.dict
    local generation = number_of(dict, generation_name)
    -- It is gone afterwards where the key was written or forgotten meanwhile: then what the loader
    -- has found may be older than that.
    local marked = dict:set(flight, true, self.options.lockTimeout * 2)
    local ok, value, err, own_ttl = pcall(loader, key)
    if not ok or value == nil and err ~= nil then dict:delete(flight) end
    if not ok then error(value, 0) end
    if value == nil and err ~= nil then
        tell_failure(self, name, err)
        return make_do(self, name, err)
    end
    local life = own_ttl or ttl
    if value == nil then value, life = json_null, own_ttl or self.options.negativeTtl end
    local kept, problem = keep_far(self, name, value, life)
    if marked and not dict:delete(flight) then
        forget(self, name, generation_name, flight)
    else
        keep_near(self, name, generation, value, life)
    end
    return given(value), not kept and problem or nil, 3
end

-- One process loads; the others look again when it is done.
local function load_once(self, name, key, loader, ttl, generation_name, flight)
    local began = own.clock()
    local held, err = lock.acquire("cache:" .. name, {
        wait = self.options.lockTimeout, ttl = math.max(self.options.lockTimeout, 1) * 2,
    })
    if not held then return make_do(self, name, err) end
    local generation = number_of(self.dict, generation_name)
    local found, value, left = look_far(self, name)
    if found then
        held:release()
        keep_near(self, name, generation, value, left)
        self.counts.far = self.counts.far + 1
        return given(value), nil, 2
    end
    self.counts.missed = self.counts.missed + 1
    local failure = failure_since(self, name, began)
    if failure then
        held:release()
        return make_do(self, name, failure)
    end
    local ok, result, problem, level = pcall(load, self, key, loader, ttl, name, generation_name,
        flight)
    held:release()
    if not ok then error(result, 0) end
    return result, problem, level
end

-- A task that was cancelled, or had no more time, says nothing of the value to the others.
local function is_own(err)
    return type(err) == "table" and (err.name == "ECANCELED" or err.deadline) and true or false
end

-- The first task of this process that wants a key goes and gets it; the others get what it got.
local function get_together(self, name, ...)
    local there = self.flights[name]
    while there do
        local status = core.park(there.queue, self.options.lockTimeout, "cache")
        if status == -ETIMEDOUT then return make_do(self, name, new_error(LOCKED, "cache")) end
        if status ~= 0 then return make_do(self, name, new_error(status, "cache")) end
        if there.over then
            self.counts.missed = self.counts.missed + 1
            return there.value, there.err, there.level
        end
        there = self.flights[name]
    end
    there = { queue = core.queue() }
    self.flights[name] = there
    local ok, value, err, level = pcall(load_once, self, name, ...)
    self.flights[name] = nil
    there.over = ok and not is_own(err)
    there.value, there.err, there.level = value, err, level
    core.wakeAll(there.queue)
    if not ok then error(value, 0) end
    return value, err, level
end

local function check_key(signature, key)
    check.type(signature, "key", key, "string", 2)
end

--- Reads a value, loading it where it is not there.
---
--- A table that comes from level 1 is the same one each time: whoever changes it changes it for all
--- of this process.
---
--- @param key      string    up to 900 bytes
--- @param loader   function  called as loader(key) where the key is in no level; returns the value,
---                           or nil for "there is none", or nil, err, or value, nil, ttl for
---                           another time of life. May wait. Default: nil, nothing is loaded
--- @param options  table     ttl  ms that what is loaded now lives. Default: the cache's
--- @return any, err, integer  the value, nil where there is none; what the loader said went wrong,
---                           or LOCKED where another process loads for too long, or TYPE or
---                           TOO_LARGE for a value that cannot be shared; and where it comes from:
---                           1 this process, 2 shared memory, 3 the loader, 4 expired, since the
---                           loader has failed
--- @raise                    what the loader raises; an argument of another type
--- @wait
--- @usage local cache = assert(require("cache").new("example-get"))
--- local value, err, level = cache:get("a", function(key) return key .. "!" end)
--- assert(value == "a!" and not err and level)
function Cache:get(key, loader, options)
    local signature = "cache:get(key[, loader, options])"
    check_key(signature, key)
    check.type(signature, "loader", loader, "function|nil")
    local ttl = self.options.ttl
    if options then
        ttl = check.options(signature, options, { ttl = { default = ttl, type = "timeout" } }).ttl
    end
    if #key > MAX_KEY then return nil, new_error(TOO_LARGE, "cache") end
    local name, generation_name, flight = names_of(self, key)
    local generation, counts = number_of(self.dict, generation_name), self.counts
    local entry = look_near(self, name, generation)
    if entry then
        counts.near = counts.near + 1
        return given(entry.value), nil, 1
    end
    local found, value, left = look_far(self, name)
    if found then
        counts.far = counts.far + 1
        keep_near(self, name, generation, value, left)
        return given(value), nil, 2
    end
    if loader then
        return get_together(self, name, key, loader, ttl, generation_name, flight)
    end
    counts.missed = counts.missed + 1
    return nil
end

--- Writes a value in all levels; the other processes see it at once.
---
--- @param key      string  up to 900 bytes
--- @param value    any     as of dict:set; nil for "there is none"
--- @param options  table   ttl  ms that it lives. Default: the cache's ttl, or its negativeTtl
--- @return true
--- @return nil, err        TYPE, TOO_LARGE, FULL as dict:set
--- @raise                  an argument of another type
--- @usage local cache = assert(require("cache").new("example-set"))
--- assert(cache:set("a", 1))
--- assert(cache:peek("a") == 1)
function Cache:set(key, value, options)
    local signature = "cache:set(key, value[, options])"
    check_key(signature, key)
    local default = value == nil and self.options.negativeTtl or self.options.ttl
    local o = check.options(signature, options, { ttl = { default = default, type = "timeout" } })
    if #key > MAX_KEY then return nil, new_error(TOO_LARGE, "cache") end
    if value == nil then value = json_null end
    local name, generation_name, flight = names_of(self, key)
    local before = number_of(self.dict, generation_name)
    self.dict:delete(flight)
    local ok, err = keep_far(self, name, value, o.ttl)
    if not ok then return nil, err end
    local generation = change(self.dict, generation_name)
    -- Otherwise another process has written at the same time, and its value may be the one.
    if generation == before + 1 then keep_near(self, name, generation, value, o.ttl) end
    return true
end

--- Forgets a key, in all levels of all processes.
---
--- @param key  string  up to 900 bytes
--- @raise               the key is not a string
--- @usage local cache = assert(require("cache").new("example-delete"))
--- cache:set("a", 1)
--- cache:delete("a")
--- assert(cache:peek("a") == nil)
function Cache:delete(key)
    check_key("cache:delete(key)", key)
    local name, generation_name, flight = names_of(self, key)
    self.near:delete(name)
    forget(self, name, generation_name, flight)
end

--- Forgets everything, in all levels of all processes.
---
--- @usage local cache = assert(require("cache").new("example-purge"))
--- cache:set("a", 1)
--- cache:purge()
--- assert(cache:peek("a") == nil)
function Cache:purge()
    -- What was kept under the last epoch is found by nobody, and makes room when it is needed.
    change(self.dict, self.epoch_key)
    self.near = cache.lru(self.options.lruSize)
end

--- Reads a value without loading it.
---
--- @param key  string  up to 900 bytes
--- @return any, integer  the value and its level, 1 or 2; nil where there is none, or where it is
---                     known that there is none: with a level then
--- @raise               the key is not a string
--- @usage assert(require("cache").new("example-peek"):peek("a") == nil)
function Cache:peek(key)
    check_key("cache:peek(key)", key)
    local name, generation_name = names_of(self, key)
    local entry = look_near(self, name, number_of(self.dict, generation_name))
    if entry then return given(entry.value), 1 end
    local found, value = look_far(self, name)
    if found then return given(value), 2 end
    return nil
end

return cache
