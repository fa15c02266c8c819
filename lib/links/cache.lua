--- Caches: one of this process alone, and one of several levels that all processes share.
---
--- `cache.lru` is a table that forgets what was not used for longest. `cache.new` keeps what a
--- loader function returns, in this process and in shared memory: of all that want a key which is
--- in neither, in all processes, one calls the loader and the others wait for what it finds.
local json_null = require "links.null"
local check = require "links.check"
local errors = require "links.errors"
local lock = require "links.lock"
local own = require "links.shared.own"
local timer = require "links.timer"

local new_error = errors.new

local cache = {}

local TOO_LARGE = errors.code("TOO_LARGE")
-- A key and what stands before it must be a key of a dictionary, and of a lock.
local MAX_KEY = 900
-- What tells the other processes that a key has changed: a number for each of so many groups.
local GENERATIONS = 256
local DICT_SIZE = 2 ^ 24

-- --- the cache of one process -------------------------------------------------------------------

local Lru = {}
Lru.__index = Lru
Lru.__name = "lru cache"

--- A cache of this process: it holds so many values of any kind, and forgets the one that was not
--- used for longest when one more comes. A get or a set costs the same however large it is.
---
--- @param size     integer  how many
--- @param options  table    ttl  0  ms until a value expires; 0: never
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
    local o = check.options(signature, options, { ttl = { default = 0, type = "timeout" } })
    -- A ring: `newer` and `older` by place; place 0 is between the newest and the oldest.
    return setmetatable({
        size = size, ttl = o.ttl, count = 0, free = {},
        places = {}, keys = {}, values = {}, expires = {},
        newer = { [0] = 0 }, older = { [0] = 0 },
    }, Lru)
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
    local place = self.places[key]
    if not place then return nil end
    local expires = self.expires[place]
    if expires and expires <= timer.now() then
        drop(self, place)
        return nil
    end
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
    if name == "" or #name > 64 then error(signature .. " name must have 1 to 64 bytes", 2) end
    local o = check.options(signature, options, OPTIONS)
    local dict, err = o.dict, nil
    if not dict then dict, err = own.open("cache", DICT_SIZE) end
    if not dict then return nil, err end
    return setmetatable({
        name = name, dict = dict, options = o, near = cache.lru(o.lruSize),
        epoch_key = "e:" .. name,
    }, Cache)
end

local function group_of(key)
    local hash = 5381
    for i = math.max(1, #key - 15), #key do hash = (hash * 33 + key:byte(i)) % 2 ^ 32 end
    return hash % GENERATIONS
end

local function names_of(self, key)
    local epoch = self.dict:get(self.epoch_key) or 0
    local prefix = self.name .. ":" .. epoch .. ":"
    return "k:" .. prefix .. key, "g:" .. prefix .. group_of(key)
end

-- What this process knows; nil where it has to look further.
local function look_near(self, name, generation_name)
    local entry = self.near:get(name)
    if entry and entry.generation == (self.dict:get(generation_name) or 0) then return entry end
end

local function keep_near(self, name, generation_name, value, ttl)
    if ttl == 0 and self.options.ttl > 0 then return end
    self.near:set(name, { value = value, generation = self.dict:get(generation_name) or 0 }, ttl)
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

local function given(value)
    if value == json_null then return nil end
    return value
end

local function load(self, key, loader, ttl, name, generation_name)
    local ok, value, err, own_ttl = pcall(loader, key)
    if not ok then error(value, 0) end
    if value == nil and err ~= nil then
        local _, stale = look_far(self, name)
        if stale ~= nil then return given(stale), err, 4 end
        return nil, err, 3
    end
    local life = own_ttl or ttl
    if value == nil then value, life = json_null, own_ttl or self.options.negativeTtl end
    local kept, problem = keep_far(self, name, value, life)
    keep_near(self, name, generation_name, value, life)
    return given(value), not kept and problem or nil, 3
end

-- One task of this process, and of the others, loads; the others look again when it is done.
local function load_once(self, key, loader, ttl, name, generation_name)
    local held, err = lock.acquire("cache:" .. name, {
        wait = self.options.lockTimeout, ttl = math.max(self.options.lockTimeout, 1) * 2,
    })
    if not held then
        local _, stale = look_far(self, name)
        if stale ~= nil then return given(stale), err, 4 end
        return nil, err, 3
    end
    local found, value, left = look_far(self, name)
    if found then
        held:release()
        keep_near(self, name, generation_name, value, left)
        return given(value), nil, 2
    end
    local ok, result, problem, level = pcall(load, self, key, loader, ttl, name, generation_name)
    held:release()
    if not ok then error(result, 0) end
    return result, problem, level
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
    local name, generation_name = names_of(self, key)
    local entry = look_near(self, name, generation_name)
    if entry then return given(entry.value), nil, 1 end
    local found, value, left = look_far(self, name)
    if found then
        keep_near(self, name, generation_name, value, left)
        return given(value), nil, 2
    end
    if not loader then return nil end
    return load_once(self, key, loader, ttl, name, generation_name)
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
    local name, generation_name = names_of(self, key)
    local ok, err = keep_far(self, name, value, o.ttl)
    if not ok then return nil, err end
    self.dict:incr(generation_name, 1, 0)
    keep_near(self, name, generation_name, value, o.ttl)
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
    local name, generation_name = names_of(self, key)
    self.near:delete(name)
    self.dict:delete(name)
    self.dict:incr(generation_name, 1, 0)
end

--- Forgets everything, in all levels of all processes.
---
--- @usage local cache = assert(require("cache").new("example-purge"))
--- cache:set("a", 1)
--- cache:purge()
--- assert(cache:peek("a") == nil)
function Cache:purge()
    -- What was kept under the last epoch is found by nobody, and makes room when it is needed.
    self.dict:incr(self.epoch_key, 1, 0)
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
    local entry = look_near(self, name, generation_name)
    if entry then return given(entry.value), 1 end
    local found, value = look_far(self, name)
    if found then return given(value), 2 end
    return nil
end

return cache
