--- Giving up the rights of root. These are functions of the module `process`.
---
--- A cluster needs none of this: its master opens the ports, and the workers run as the options
--- `uid`, `gid`, `groups`, `chroot`, `capabilities` and `noNewPrivs` of process.cluster say. A
--- program of one process that was started by root opens its ports first, and calls
--- process.dropPrivileges then.
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.process.ffi"
local names = require "links.process.names"
local start = require "links.process.start"

local C = binding.C

local process = {}

local DROP = "process.dropPrivileges(options)"
local OPTIONS = {
    uid = { type = "string|number|nil" },
    gid = { type = "string|number|nil" },
    groups = { type = "table|nil" },
    chroot = { type = "string|nil" },
    capabilities = { type = "table|nil" },
    noNewPrivs = { type = "boolean", default = false },
}

-- In the order in which each step is allowed still.
local function drop(o, ids)
    local rc = 0
    if o.chroot then
        rc = C.links_process_chroot(o.chroot)
        if rc < 0 then return rc, "chroot", o.chroot end
    end
    local capabilities = names.capabilities(o.capabilities)
    if capabilities then rc = C.links_process_keep_capabilities() end
    if rc < 0 then return rc, "capabilities" end
    if ids then
        rc = C.links_process_setgid(ids.gid)
        if rc < 0 then return rc, "setgid" end
        rc = C.links_process_setuid(ids.uid, names.c_groups(ids))
        if rc < 0 then return rc, "setuid" end
    end
    if capabilities then rc = C.links_process_set_capabilities(capabilities) end
    if rc < 0 then return rc, "capabilities" end
    if o.noNewPrivs then rc = C.links_process_no_new_privs() end
    if rc < 0 then return rc, "no_new_privs" end
    -- Whoever calls this does not mean to stay root.
    if C.geteuid() == 0 then return -errors.code("EPERM"), "dropPrivileges" end
    return 0
end

--- Becomes another user, for good, in the right order: the root folder, the groups, the user. Names
--- are looked up before. A process that is root and says no `uid`, or root's, is refused: it is no
--- mistake to go on with.
---
--- Where it fails, some of it may have been done: end the program then.
---
--- @param options  table  uid         integer  the user, or a name. Default: the one that runs this
---                        gid         integer  the group, or a name. Default: the user's
---                        groups      array    of names and ids: the further groups. Default: the
---                                             user's
---                        chroot      string   the folder that is to be the root from now on, for
---                                             all that is looked up later, such as
---                                             /etc/resolv.conf. Only root may. Default: none
---                        capabilities  array  of names such as "NET_BIND_SERVICE": rights of root
---                                             that stay, of the loop's thread and those it starts
---                                             from now on, for what it does with sockets say. No
---                                             program that is started gets them. They are for
---                                             another user, `uid`. Linux. Default: none
---                        noNewPrivs  boolean  no program that is started from now on gets more
---                                             rights than this one, by a setuid bit say (Linux,
---                                             FreeBSD 14). Default: false
--- @return true
--- @return nil, err       EPERM    this user may not become that one or change its root, or would
---                                 be root still
---                        EINVAL   there is no such user or group; the id of an unknown user
---                                 without a gid
---                        ENOENT, ENOTDIR, EACCES  the folder cannot be entered
---                        ENOTSUP  `noNewPrivs` or `capabilities` where the system has no such
---                                 thing
--- @raise                 an option of another type or out of bounds, or one that nobody knows
--- @usage local process = require "process"
--- local ok, err = process.dropPrivileges({ uid = "no such user" })
--- assert(not ok and err.name == "EINVAL")
function process.dropPrivileges(options)
    check.type(DROP, "options", options, "table")
    local o = check.options(DROP, options, OPTIONS)
    names.check_id(DROP, "options.uid", o.uid)
    names.check_id(DROP, "options.gid", o.gid)
    names.check_groups(DROP, "options.groups", o.groups)
    names.check_capabilities(DROP, o.capabilities, o.uid)
    if o.chroot then start.check_text(DROP, "options.chroot", o.chroot, 1) end
    local ids, err = names.ids(o.uid, o.gid, o.groups)
    if err then return nil, err end
    local rc, what, address = drop(o, ids)
    if rc < 0 then return nil, errors.new(rc, what, { address = address }) end
    return true
end

return process
