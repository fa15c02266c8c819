-- Signals and users by name: what functions of the module are given, as C wants it.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local system = require "links.system"
local binding = require "links.process.ffi"

local C = binding.C

local names = {}

local EINVAL = errors.code("EINVAL")
local MAX_ID = 2 ^ 32 - 2

local function known_signals()
    local known = {}
    for signum = 1, 64 do
        local name = C.links_signal_name(signum)
        if name ~= nil then known[ffi.string(name)] = signum end
    end
    return known
end

--- The number of a signal that is given by number or name ("SIGTERM", "TERM").
function names.signal(signature, param, value, level)
    level = (level or 1) + 1
    if type(value) == "string" then
        local signum = C.links_signal_number(value)
        if signum == 0 then signum = C.links_signal_number("SIG" .. value) end
        if signum ~= 0 and not value:find("%z") then return signum end
        local near = check.nearest(value, known_signals())
        local hint = near and ' (did you mean "' .. near .. '"?)' or ""
        error(signature .. " " .. param .. ' is an unknown signal: "' .. value .. '"' .. hint,
            level + 1)
    end
    if type(value) ~= "number" then check.type(signature, param, value, "string|number", level) end
    check.integer(signature, param, value, 0, 64, level)
    return value
end

--- The name of a number; "SIG" and the number for one that has none.
function names.signal_name(signum)
    local name = C.links_signal_name(signum)
    return name ~= nil and ffi.string(name) or "SIG" .. signum
end

local function no_such(kind, who, syscall)
    return errors.new(EINVAL, syscall, { message = "there is no " .. kind .. " " .. tostring(who) })
end

--- Raises unless `value` is nil, a name or an id.
function names.check_id(signature, param, value, level)
    level = (level or 1) + 1
    check.type(signature, param, value, "string|number|nil", level)
    if type(value) == "number" then check.integer(signature, param, value, 0, MAX_ID, level) end
end

--- The user and group ids that a process is to take on: {uid =, gid =, groups = array}; nil and no
--- error where it keeps its own. Root's group and further groups never stay with another user.
function names.ids(uid, gid)
    if uid == nil and gid == nil then return nil end
    local group, user, err
    if type(gid) == "string" then
        group, err = system.groupInfo(gid)
        if not group then
            return nil, err.name == "NOT_FOUND" and no_such("group", gid, "setgid") or err
        end
        gid = group.gid
    end
    if uid ~= nil then
        user, err = system.userInfo(uid)
        if not user and (err.name ~= "NOT_FOUND" or type(uid) == "string" or gid == nil) then
            return nil, err.name == "NOT_FOUND" and no_such("user", uid, "setuid") or err
        end
    end
    local me = C.geteuid()
    local ids = { uid = user and user.uid or uid or me, gid = gid or user.gid, groups = {} }
    if me ~= 0 and ids.uid == me and ids.gid == C.getegid() then return nil end
    ids.groups[1] = ids.gid
    for _, other in ipairs(user and user.groups or {}) do
        if other ~= ids.gid and not (gid and other == user.gid) then
            table.insert(ids.groups, other)
        end
    end
    return ids
end

return names
