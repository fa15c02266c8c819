-- Starting a program: from what Lua gives to what C takes.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.process.ffi"
local ipc = require "links.process.ipc"
local names = require "links.process.names"

local C, STDIO = binding.C, binding.STDIO

local start = {}

local MAX_MS = 2 ^ 31 - 1
local IPC_FD = 3 -- as src/modules/process/spawn.h has it

-- What all ways to start a program know.
start.COMMON = {
    env = { type = "table|nil" },
    cleanEnv = { type = "boolean", default = false },
    cwd = { type = "string|nil" },
    uid = { type = "string|number|nil" },
    gid = { type = "string|number|nil" },
    cpu = { type = "integer", min = 0, max = 65535 },
    detached = { type = "boolean", default = false },
    timeout = { type = "integer", min = 0, max = MAX_MS, default = 0 },
    killSignal = { type = "string|number", default = "SIGTERM" },
    killTimeout = { type = "integer", min = 1, max = MAX_MS, default = 5000 },
    stdin = { type = "string|number" },
    stdout = { type = "string|number" },
    stderr = { type = "string|number" },
}

--- The options above and some more, for check.options.
function start.known(more)
    local known = {}
    for name, about in pairs(start.COMMON) do known[name] = about end
    for name, about in pairs(more) do known[name] = about or nil end
    return known
end

--- Raises unless `value` is a string that C sees as a whole.
function start.check_text(signature, param, value, level)
    check.type(signature, param, value, "string", level + 1)
    if value:find("%z") then
        error(signature .. " " .. param .. " must not have a zero byte in it", level + 2)
    end
end

--- Raises unless `args` is nil or an array of strings and numbers without zero bytes.
function start.check_args(signature, args, level)
    check.type(signature, "args", args, "table|nil", level + 1)
    for i, value in ipairs(args or {}) do
        if type(value) ~= "number" then
            start.check_text(signature, "args[" .. i .. "]", value, level + 1)
        end
    end
end

--- Every variable of this process's environment: an array of "NAME=value".
function start.environ()
    local list, i = {}, 0
    while true do
        local pair = C.links_process_environ(i)
        if pair == nil then return list end
        i = i + 1
        list[i] = ffi.string(pair)
    end
end

--- The command line of this process: an array of strings.
function start.command_line()
    local list = {}
    while C.links_process_argument(#list) ~= nil do
        list[#list + 1] = ffi.string(C.links_process_argument(#list))
    end
    return list
end

--- Raises unless the name and the value could stand in an environment; `false` is for no value.
function start.check_variable(signature, name, value, level)
    if type(name) ~= "string" or name == "" or name:find("[=%z]") then
        error(signature .. " the name of a variable must be a string without = and zero bytes, not "
            .. tostring(name), level + 2)
    end
    if value == false or type(value) == "number" then return end
    start.check_text(signature, name, value, level + 1)
end

-- The environment of a child as an array, and its PATH.
local function environment(changes, clean)
    local list, path = {}, nil
    for _, pair in ipairs(clean and {} or start.environ()) do
        local name = pair:match("^[^=]*")
        if changes[name] == nil then
            table.insert(list, pair)
            if name == "PATH" then path = pair:sub(6) end
        end
    end
    for name, value in pairs(changes) do
        if value ~= false then table.insert(list, name .. "=" .. value) end
    end
    if changes.PATH ~= nil then path = changes.PATH or nil end
    return list, path
end

-- An array of strings for C; `list` must live as long.
local function strings(list)
    local array = ffi.new("const char *[?]", #list + 1) -- [?]: of a length that no trace knows
    for i, value in ipairs(list) do
        list[i] = tostring(value)
        array[i - 1] = list[i]
    end
    return array
end

local function stdio(signature, options, name, default)
    local value = options[name]
    if value == nil then return default end
    if type(value) == "number" then
        check.integer(signature, "options." .. name, value, 0, 2 ^ 31 - 1, 3)
        return value
    end
    if STDIO[value] and (value ~= "stdout" or name == "stderr") then return STDIO[value] end
    error(signature .. " options." .. name .. ' must be "pipe", "null", "inherit"'
        .. (name == "stderr" and ', "stdout"' or "")
        .. ' or a descriptor, not "' .. value .. '"', 4)
end

--- Checks what is given to start a program, and keeps a copy of it: a description for start.now.
--- `options` has been through check.options; `defaults` are the three of stdio, as C has them.
function start.describe(signature, file, argv, options, defaults, level)
    level = (level or 1) + 1
    start.check_text(signature, "file", file, level)
    if options.cwd then start.check_text(signature, "options.cwd", options.cwd, level) end
    names.check_id(signature, "options.uid", options.uid, level)
    names.check_id(signature, "options.gid", options.gid, level)
    local changes = {}
    for name, value in pairs(options.env or {}) do
        start.check_variable(signature, name, value, level)
        changes[name] = value
    end
    return {
        file = file,
        argv = argv,
        changes = changes,
        clean = options.cleanEnv,
        cwd = options.cwd,
        uid = options.uid,
        gid = options.gid,
        cpu = options.cpu or -1,
        detached = options.detached,
        timeout = options.timeout or 0,
        kill_signal = names.signal(signature, "options.killSignal", options.killSignal or "SIGTERM",
            level),
        kill_timeout = options.killTimeout or 5000,
        stdio = {
            stdio(signature, options, "stdin", defaults[1]),
            stdio(signature, options, "stdout", defaults[2]),
            stdio(signature, options, "stderr", defaults[3]),
        },
    }
end

-- What a child that enters a root of its own is told by: see spawn_enter.
local function enter(env, what, ids)
    local list = { "LINKS_ENTER_ROOT=" .. what.chroot }
    if what.readable then table.insert(list, "LINKS_ENTER_FILE=" .. what.readable) end
    if what.cwd then table.insert(list, "LINKS_ENTER_CWD=" .. what.cwd) end
    local numbers = { what.tied and not what.detached and C.getpid() or 0 }
    if ids then
        table.insert(numbers, ids.uid)
        table.insert(numbers, ids.gid)
        for _, group in ipairs(ids.groups) do table.insert(numbers, group) end
    end
    for i, id in ipairs(numbers) do numbers[i] = ("%d"):format(id) end
    table.insert(list, "LINKS_ENTER_IDS=" .. table.concat(numbers, " "))
    for _, pair in ipairs(list) do table.insert(env, pair) end
end

local out_child = ffi.new("links_child *[1]")
local out_step = ffi.new("const char *[1]")

-- Not in the caller's hands: where C failed the handle is NULL.
local function own(pointer, free)
    if pointer ~= nil then return ffi.gc(pointer, free) end
end

--- Starts what start.describe has described. Returns the handle and the three pipes, those that
--- there are; or nil and an error. For a master's heir: the handle, and our end of the way to it.
function start.now(what)
    local ids, err = names.ids(what.uid, what.gid, what.groups)
    if err then return nil, err end
    local env, path = environment(what.changes, what.clean)
    if what.ipc then table.insert(env, "LINKS_IPC=" .. IPC_FD) end
    if what.heir then table.insert(env, "LINKS_UPGRADE=" .. IPC_FD) end
    if what.chroot then enter(env, what, ids) end
    if what.capabilities then
        table.insert(env, ("LINKS_CAPABILITIES=%x"):format(what.capabilities))
    end
    local argv = { unpack(what.argv) }
    local c_argv, c_env = strings(argv), strings(env)
    local o = ffi.new("links_spawn_options", {
        file = what.file, path = path, argv = c_argv, env = c_env, cwd = what.cwd,
        readable = what.readable, stdio = what.stdio, cpu = what.cpu,
        detached = what.detached, tied = what.tied and not what.detached,
        ipc = what.ipc or what.heir, enters = what.chroot ~= nil,
        no_new_privs = what.no_new_privs, capabilities = what.capabilities or 0,
        kill_signal = what.kill_signal, timeout = what.timeout, kill_timeout = what.kill_timeout,
    })
    local groups
    if ids then
        groups, o.ngroups = names.c_groups(ids)
        o.set_ids, o.uid, o.gid, o.groups = 1, ids.uid, ids.gid, groups
    end
    local pipes, channel = ffi.new("links_pipe *[3]"), ffi.new("int[1]", -1)
    local rc = C.links_spawn(out_child, pipes, channel, o, out_step)
    -- What C has read through pointers is alive up to here.
    if rc < 0 then
        local step = ffi.string(out_step[0])
        local places = {
            chroot = what.chroot, exec = what.file, open = what.readable, chdir = what.cwd,
        }
        return nil, errors.new(rc, step, { address = places[step] }), c_argv, c_env, groups
    end
    local handle = ffi.gc(out_child[0], C.links_child_free)
    if what.heir then return handle, channel[0] end
    if what.ipc then
        local attached, failure = ipc.attach(handle.pid, channel[0], what.worker)
        if not attached then
            C.links_child_stop(handle)
            return nil, failure
        end
    end
    return handle, {
        own(pipes[0], C.links_pipe_free) or false,
        own(pipes[1], C.links_pipe_free) or false,
        own(pipes[2], C.links_pipe_free) or false,
    }
end

return start
