-- What limit, lock and cache have in common: the dictionaries of this program's own, the clock all
-- its processes share, and how they tell one process from another.
local ffi = require "ffi"
local shared = require "links.shared"
local process = require "links.process"
local errors = require "links.errors"

ffi.cdef [[
typedef struct links_presence links_presence;
struct links_presence {
    int32_t slot;
    uint32_t serial;
};
int links_presence_enter(links_presence *me);
int links_presence_is_here(int slot, uint32_t serial);
]]
local C = ffi.C

local own = {}

--- What names this program: processes that run the same script are one.
function own.program()
    local script = arg and arg[0] or ""
    local path = script:sub(1, 1) == "/" and script or process.cwd() .. "/" .. script
    local hash = 0
    for i = 1, #path do hash = (hash * 31 + path:byte(i)) % 2 ^ 40 end
    return ("%010x"):format(hash)
end

--- The dictionary of this program for a purpose.
function own.open(purpose, size, options)
    return shared.open(("links.%s.%s"):format(purpose, own.program()), size, options)
end

--- Milliseconds on a clock that all processes of the machine share.
function own.clock()
    return tonumber(require("links.system").hrtime64()) / 1e6
end

local my_id

--- What names this process, and no other one before or after it; or nil and an error.
function own.id()
    if not my_id then
        local me = ffi.new("links_presence")
        local rc = C.links_presence_enter(me)
        if rc < 0 then return nil, errors.new(rc, "shared memory") end
        my_id = ("%d.%d"):format(me.slot, me.serial)
    end
    return my_id
end

local serial = 0

--- What names one task that waits, or has something, and no other; or nil and an error.
function own.token()
    local id, err = own.id()
    if not id then return nil, err end
    serial = serial + 1
    return id .. "/" .. serial
end

--- Whether the process of an id is there. This one must have an id.
function own.is_alive(id)
    local slot, their = id:match("^(%d+)%.(%d+)$")
    return slot ~= nil and C.links_presence_is_here(tonumber(slot), tonumber(their)) == 1
end

return own
