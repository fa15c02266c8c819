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

--- Raises unless `groups` is nil or an array of names and ids.
function names.check_groups(signature, param, groups, level)
    level = (level or 1) + 1
    for i, group in ipairs(groups or {}) do
        names.check_id(signature, param .. "[" .. i .. "]", group, level)
    end
end

-- The numbers of capabilities(7), which are in the order of this list.
local CAPABILITIES, count = {}, 0
for name in ([[
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
]]):gmatch("%S+") do
    CAPABILITIES[name], count = count, count + 1
end

local function capability(name) return CAPABILITIES[(name:gsub("^CAP_", ""))] end

--- Raises unless `list` is nil or an array of the names of capabilities, with "CAP_" or without,
--- and there is a user that is to have them.
function names.check_capabilities(signature, list, uid, level)
    level = (level or 1) + 1
    for i, name in ipairs(list or {}) do
        local param = "options.capabilities[" .. i .. "]"
        check.type(signature, param, name, "string", level)
        if not capability(name) then
            local near = check.nearest((name:gsub("^CAP_", "")), CAPABILITIES)
            error(signature .. " " .. param .. ' must be the name of a capability, not "' .. name
                .. '"' .. (near and ' (did you mean "' .. near .. '"?)' or ""), level + 1)
        end
    end
    if list and list[1] and uid == nil then
        error(signature .. " options.capabilities are for another user: say options.uid", level + 1)
    end
end

--- As a number: bit n is for number n. nil for none.
function names.capabilities(list)
    local sum, seen = 0, {}
    for _, name in ipairs(list or {}) do
        local number = capability(name)
        if not seen[number] then sum = sum + 2 ^ number end
        seen[number] = true
    end
    return sum > 0 and sum or nil
end

-- The id of a group, or nil and an error.
local function group_id(gid, syscall)
    if type(gid) ~= "string" then return gid end
    local group, err = system.groupInfo(gid)
    if group then return group.gid end
    return nil, err.name == "NOT_FOUND" and no_such("group", gid, syscall) or err
end

-- The further groups that are asked for, behind the first one.
local function further_groups(ids, groups)
    for _, group in ipairs(groups) do
        local id, err = group_id(group, "setgroups")
        if not id then return nil, err end
        if id ~= ids.gid then table.insert(ids.groups, id) end
    end
    return ids
end

--- The groups of names.ids, for C: an array, and how many they are.
function names.c_groups(ids)
    return ffi.new("uint32_t[?]", #ids.groups, ids.groups), #ids.groups -- [?]: with values
end

--- The user and group ids that a process is to take on: {uid =, gid =, groups = array}; nil and no
--- error where it keeps its own. Root's group and further groups never stay with another user.
--- `groups` are those instead of the user's.
function names.ids(uid, gid, groups)
    if uid == nil and gid == nil and groups == nil then return nil end
    if groups and C.geteuid() ~= 0 then
        return nil, errors.new(errors.code("EPERM"), "setgroups")
    end
    local user, err
    gid, err = group_id(gid, "setgid")
    if err then return nil, err end
    if uid == nil and gid == nil then gid = C.getegid() end
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
    if groups then return further_groups(ids, groups) end
    for _, other in ipairs(user and user.groups or {}) do
        if other ~= ids.gid and not (gid and other == user.gid) then
            table.insert(ids.groups, other)
        end
    end
    return ids
end

return names
