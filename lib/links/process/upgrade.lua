-- The change of a master to another program, without a pause: a new links and a new script.
--
-- The master starts the program once more, in a process that gets all listening sockets, and goes
-- on serving. When the workers of the new master serve, the old one is told so, tells the service
-- manager that the new one is in charge, and ends as by SIGTERM. Whatever goes wrong before that
-- ends the new one, and nothing else.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local report = require "links.report"
local binding = require "links.process.ffi"
local notify = require "links.process.notify"
local start = require "links.process.start"
local Child = require "links.process.child"

local C, AGAIN, STDIO = binding.C, binding.AGAIN, binding.STDIO

local upgrade = {}

local READY, GO, RELOAD = 1, 2, 3
local CLUSTER = "LINKS_CLUSTER"
local INHERIT = { STDIO.inherit, STDIO.inherit, STDIO.inherit }
local PATH_MAX = 4096
local path_array = ffi.typeof("char[" .. PATH_MAX .. "]")
-- Milliseconds for the new program to get to its workers, which have readyTimeout.
local BEGINNING = 5000
local NOT_FOUND = -errors.code("NOT_FOUND")

local function text_of(get, what)
    local path = path_array()
    local rc = get(path, PATH_MAX)
    if rc < 0 then return nil, errors.new(rc, what) end
    return ffi.string(path)
end

-- The next word that comes over the way, or nil and a code.
local function next_word(way)
    local word = C.links_handover_next(way)
    while word == AGAIN do
        local status = core.wait()
        word = status ~= 0 and status or C.links_handover_next(way)
    end
    if word < 0 then return nil, word end
    return word
end

local out_way = ffi.new("links_handover *[1]")

-- --- The new master ----------------------------------------------------------------------------

--- Takes the sockets of the master whose place this process is to take.
---
--- @return cdata     the way to it; nil: there is none
--- @return nil, err  they could not be taken
function upgrade.take()
    out_way[0] = nil
    local rc = C.links_handover_take(out_way)
    if rc == NOT_FOUND then return nil end
    local way = out_way[0] ~= nil and ffi.gc(out_way[0], C.links_handover_free) or nil
    core.isHeir = true
    if rc < 0 then return nil, errors.new(rc, "handover") end
    return way
end

--- What names the cluster of the master whose place this process takes: for all that its workers
--- share with those of the old one.
---
--- @return string  hexadecimal digits; nil: there is no such master, or it knows of no name
function upgrade.cluster()
    local name = os.getenv(CLUSTER)
    C.links_process_setenv(CLUSTER, nil)
    return core.isHeir and name and name:match("^%x+$")
end

--- Tells the old master that the workers serve, and waits until it lets go, or has gone.
---
--- @param way  cdata      of upgrade.take
--- @return boolean        false where this process is ending instead
--- @return boolean        the old one was asked to reload meanwhile
function upgrade.succeed(way)
    C.links_handover_tell(way, READY)
    local word = next_word(way)
    if not word and C.links_ending_due() ~= 0 then return false end
    -- One that was killed meanwhile had no time for its word.
    notify.main_pid(C.getpid())
    return true, word == RELOAD
end

-- --- The old one -------------------------------------------------------------------------------

--- What the program was started as: looked up before that can be replaced.
---
--- @return string
--- @return nil, err
function upgrade.program()
    return text_of(C.links_process_started_as, "upgrade")
end

--- The working directory that the program was started in.
---
--- @return string
--- @return nil, err
function upgrade.folder()
    return text_of(C.links_process_start_cwd, "getcwd")
end

-- Starts the new program: what is known of it, or nil and an error.
local function start_heir(master)
    local cwd, err = upgrade.folder()
    if not cwd then return nil, err end
    local env = notify.environment()
    env.LINKS_TICKET_SECRET, env[CLUSTER] = master.ticket_secret, master.cluster
    env.LINKS_ADMIN = core.adminState and core.adminState.environment
    local what = start.describe(master.signature, master.started_as, start.command_line(),
        { cwd = cwd, env = env }, INHERIT)
    what.heir = true
    local handle, fd = start.now(what)
    if not handle then return nil, fd end
    local heir = { handle = handle, pid = handle.pid, queue = core.queue(), began = core.now() }
    local rc = C.links_handover_give(out_way, fd)
    if rc < 0 then
        C.links_child_stop(handle)
        return nil, errors.new(rc, "handover")
    end
    heir.way = ffi.gc(out_way[0], C.links_handover_free)
    return heir
end

local function listen(heir)
    local word, code = next_word(heir.way)
    while word do
        if word == READY then heir.ready = true end
        core.wakeAll(heir.queue)
        word, code = next_word(heir.way)
    end
    heir.fault = code ~= binding.EOF and errors.new(code, "handover") or nil
    core.wakeAll(heir.queue)
end

local function watch(master, heir)
    local status = Child.wait_for(heir.handle)
    if not status then return end -- it has outlived this process
    heir.status = status
    core.wakeAll(heir.queue)
    core.wakeAll(master.ends)
end

-- Waits until its workers serve: true, or nil and why they do not.
local function await(master, heir)
    local limit = master.options.readyTimeout + BEGINNING
    while not heir.status and not heir.ready do
        if master.ending then return nil, "is not needed any more" end
        if heir.fault then return nil, "did not get the sockets: " .. tostring(heir.fault) end
        local left = heir.began + limit - core.now()
        if left <= 0 then return nil, "was not ready within " .. limit .. " ms" end
        core.park(heir.queue, left, "readiness of a new program")
    end
    if master.ending then return nil, "is not needed any more" end
    if heir.status then return nil, master.describe(heir.status) .. " before it was ready" end
    return true
end

-- Ends it, and waits for that.
local function stop(heir)
    C.links_child_stop(heir.handle)
    while not heir.status do
        if core.park(heir.queue, nil, "end of a new program") ~= 0 then return end
    end
end

-- The manager hears of the new one before that may speak. It may have died just now.
local function let_go(master, heir)
    notify.main_pid(heir.pid)
    if C.links_handover_tell(heir.way, master.again and RELOAD or GO) == 0 then return true end
    notify.main_pid(C.getpid())
    return nil, "has gone when it was ready"
end

local function begin(master)
    local rc = C.links_process_pid_files_aside(1)
    if rc < 0 then
        return nil, "the pid file cannot be moved: " .. tostring(errors.new(rc, "rename"))
    end
    local heir, err = start_heir(master)
    if not heir then return nil, "it could not be started: " .. tostring(err) end
    master.heir = heir
    core.spawn(listen, heir)
    core.spawn(watch, master, heir)
    local ok, why = await(master, heir)
    if ok then ok, why = let_go(master, heir) end
    if ok then return heir end
    stop(heir)
    return nil, "the new one (" .. heir.pid .. ") " .. why
end

local function roll_back(master, why)
    master.heir = nil
    C.links_process_pid_files_aside(0)
    if master.ending then return end
    notify.status("the upgrade has failed: " .. why)
    report.write("error", "cluster: the upgrade has failed, and this program goes on: " .. why)
end

--- Replaces the program by what is there now under its name. One that is asked for meanwhile is not
--- begun; a reload that is, comes next.
function upgrade.run(master)
    if master.ending then return end
    if master.upgrading then
        report.write("warn", "cluster: an upgrade is under way, and another one is not begun")
        return
    end
    if core.fromStdin then
        report.write("error", "cluster: there is no upgrade of a program from standard input")
        return
    end
    master.upgrading = true
    while master.reloading and not master.ending do
        if core.park(master.settled, nil, "end of a reload") ~= 0 then return end
    end
    local heir, why = begin(master)
    if heir then
        report.write("warn",
            "cluster: the new program (" .. heir.pid .. ") serves, and this one ends")
        master.has_heir = true
        C.links_cluster_own(0)
        return C.links_ending_quit(0)
    end
    roll_back(master, why)
    master.upgrading = false
    if master.again and not master.ending then
        master.again = false
        master:reload()
    end
end

return upgrade
