--- Clusters: a master and its workers, which run the same program side by side, one for each
--- processor. All of these are functions of the module `process`.
---
--- The master owns the listening sockets: what the workers open by http, https, tcp, tls, unix and
--- websocket is lent to them, a socket for each on a port, and one for all on a path. It keeps them
--- open while a worker is replaced, so what is in their queues is not lost. With port 0 all workers
--- have the same port. A socket of UDP with a port is lent like one of TCP (one for each worker on
--- Linux, elsewhere one for all), so datagrams wait for who comes next too; it should not be
--- connected. One with port 0 is the worker's own. A worker's standard input is /dev/null.
---
--- A worker serves when it listens, or calls process.ready. One that ends is replaced: after
--- `restartDelay`, and twice as long each time, up to `restartDelayMax`; one that has served for a
--- second, or was killed by SIGKILL while it did, begins with `restartDelay` again. One that is at
--- a limit, `maxRequests` or `maxMemory`, within a second is replaced later and later, too.
---
--- Of one that was killed, died of a signal or ended with a code, the log says what request it was
--- serving - the one whose task ran, or else the latest that was under way - for how long, and
--- where its core file is:
---
---     worker 1 (4711) was serving GET /report, for 812 ms, when it died of SIGSEGV
---     worker 1 (4711) died of SIGSEGV (core: /srv/core.4711): starting another one in 10 ms
---
--- SIGHUP reloads: new workers are started, and when all of them serve the old ones end. Where one
--- of the new does not, the old ones stay, and the log says why. SIGTERM and SIGINT end the
--- cluster, SIGUSR1 goes on to the workers, whose logs open their files anew.
---
--- SIGUSR2 upgrades: the master starts the program that has its name now (a new links, a new
--- script, new options), where and with the arguments with which it was started itself, and gives
--- it all sockets. When the workers of that new master serve, the old one closes its sockets and
--- ends as by SIGTERM, with code 0. Where the new one cannot be started, ends, or does not serve
--- within `readyTimeout` and five seconds, it is ended, and the old one goes on as if nothing had
--- been: the log says why. Meanwhile the pid file is there with ".old" behind its name; a second
--- SIGUSR2 is refused, SIGHUP comes when it is over, SIGTERM ends both. With fewer workers than
--- before, who waits in the queues of those that are too many is turned away. A service manager
--- hears which process is the main one: see process.service.
---
--- A worker that is to end closes its servers: what has been asked is answered, a connection
--- without a request has a second for one more, WebSockets are closed by 1001. What is left after
--- `shutdownTimeout` is broken off. Workers end with their master, however that ends.
---
--- `process.workerId` is the number of a worker, 0 to `process.workerCount` - 1, which its
--- replacement has too; both are nil in other processes. `process.isMaster` is false in a worker.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local report = require "links.report"
local binding = require "links.process.ffi"
local names = require "links.process.names"
local notify = require "links.process.notify"
local start = require "links.process.start"
local upgrade = require "links.process.upgrade"
local worker = require "links.process.worker"
local Master = require "links.process.master"

local C = binding.C

local process = {}

local CLUSTER = "process.cluster([options])"
local LEAD, NAME_MAX = "process.lead(name, fn)", 255
local INT_MAX = 2 ^ 31 - 1
local WORKERS_MAX = 1024
local FINISH_MS = 5000 -- for the master, beyond its workers' shutdownTimeout

local OPTIONS = {
    file = { type = "string|nil" },
    args = { type = "table|nil" },
    workers = { type = "string|number", default = "auto" },
    cpuAffinity = { type = "boolean", default = false },
    uid = { type = "string|number|nil" },
    gid = { type = "string|number|nil" },
    groups = { type = "table|nil" },
    chroot = { type = "string|nil" },
    capabilities = { type = "table|nil" },
    noNewPrivs = { type = "boolean", default = false },
    refuseRoot = { type = "boolean", default = false },
    reload = { type = "string|boolean", default = "SIGHUP" },
    upgrade = { type = "string|boolean", default = "SIGUSR2" },
    shutdownTimeout = { type = "integer", min = 0, max = INT_MAX, default = 10000 },
    readyTimeout = { type = "integer", min = 1, max = INT_MAX, default = 10000 },
    restartDelay = { type = "integer", min = 0, max = INT_MAX, default = 10 },
    restartDelayMax = { type = "integer", min = 1, max = INT_MAX, default = 30000 },
    maxRequests = { type = "integer", min = 0, max = 2 ^ 53, default = 0 },
    maxMemory = { type = "integer", min = 0, max = 2 ^ 53, default = 0 },
    pidFile = { type = "string|nil" },
    title = { type = "string", default = "links" },
}

local function count_of(signature, workers)
    if workers == "auto" then return math.min(require("links.system").cpuCount(), WORKERS_MAX) end
    local count = tonumber(workers)
    if not count or count % 1 ~= 0 or count < 1 or count > WORKERS_MAX then
        error(signature .. " options.workers must be an integer from 1 to " .. WORKERS_MAX
            .. ', or "auto", not ' .. tostring(workers), 4)
    end
    return count
end

local function check_signals(signature, o, was_given)
    for _, name in ipairs { "reload", "upgrade" } do
        if o[name] == true then o[name] = OPTIONS[name].default end
        if o[name] then
            local signum = names.signal(signature, "options." .. name, o[name], 3)
            o[name] = names.signal_name(signum)
        end
    end
    if not o.reload or o.reload ~= o.upgrade then return end
    if was_given then
        error(signature .. " options.upgrade must be another signal than options.reload", 4)
    end
    o.upgrade = false
end

local function check_options(signature, options)
    local o = check.options(signature, options, OPTIONS, 2)
    o.workers = count_of(signature, o.workers)
    names.check_id(signature, "options.uid", o.uid, 2)
    names.check_id(signature, "options.gid", o.gid, 2)
    names.check_groups(signature, "options.groups", o.groups, 2)
    names.check_capabilities(signature, o.capabilities, o.uid, 2)
    if o.chroot then start.check_text(signature, "options.chroot", o.chroot, 2) end
    start.check_args(signature, o.args, 2)
    if o.file then start.check_text(signature, "options.file", o.file, 2) end
    start.check_text(signature, "options.title", o.title, 2)
    check_signals(signature, o, options and options.upgrade ~= nil)
    if o.restartDelay > o.restartDelayMax then o.restartDelayMax = o.restartDelay end
    return o
end

-- The processors that this process may use: an array.
local function processors()
    local list = {}
    local file = io.open("/proc/self/status")
    local text = file and file:read("*a") or ""
    if file then file:close() end
    for first, last in (text:match("Cpus_allowed_list:%s*(%S+)") or ""):gmatch("(%d+)%-?(%d*)") do
        for cpu = tonumber(first), tonumber(last) or tonumber(first) do list[#list + 1] = cpu end
    end
    for cpu = 1, list[1] and 0 or require("links.system").cpuCount() do list[cpu] = cpu - 1 end
    return list
end

local function program()
    local path = ffi.new("char[4096]")
    local rc = C.links_process_program(path, 4096)
    if rc < 0 then return nil, errors.new(rc, "cluster") end
    return ffi.string(path)
end

-- The command line of a worker: that of this process, or its file.
local function command_of_worker(o)
    if o.file then
        local file = o.file:find("^-") and "./" .. o.file or o.file
        return { ffi.string(C.links_process_argument(0)), file, unpack(o.args or {}) }
    end
    return start.command_line()
end

-- Whether workers may run as what they would.
local function check_user(o)
    local ids, err = names.ids(o.uid, o.gid, o.groups)
    if err then return nil, err end
    if not o.refuseRoot or (ids and ids.uid or C.geteuid()) ~= 0 then return true end
    return nil, errors.new(errors.code("EPERM"), "cluster",
        { message = "the workers would run as root" })
end

-- Where the main script runs once more: nil for here.
local function folder_of(o, public)
    local folder = upgrade.folder()
    return not o.file and folder ~= public.cwd() and folder or nil
end

-- The end of the master is that of the cluster. It never returns.
local function wait_for_the_end()
    core.shieldPush()
    C.links_ending_stay(1)
    pcall(core.park, nil, nil, "cluster")
    error("process.cluster: the process ends", 0)
end

local function take_signals(master, o, public)
    if o.reload then public.on(o.reload, function() master:reload() end) end
    if o.upgrade then public.on(o.upgrade, function() master:upgrade() end) end
    local usr1 = C.links_signal_number("SIGUSR1")
    if o.reload ~= "SIGUSR1" and o.upgrade ~= "SIGUSR1" then
        public.on("SIGUSR1", function() master:signal(usr1) end)
    end
    public.onShutdown(function() master:finish() end)
    public.shutdownTimeout = math.min(o.shutdownTimeout + FINISH_MS, INT_MAX)
    public.title = o.title .. ": master"
end

local running = false

--- Runs the program in workers. The master stays in here until it ends: what stands below runs in
--- the workers only.
---
--- The master ends with code 1, and says why, where the first workers do not come to serve.
---
--- @param options  table  file             string   the Lua file that the workers run. Default: the
---                                                  main script once more, in which this returns
---                                                  true at once
---                        args             array    of strings, for `file`. Default: none
---                        workers          integer  how many, up to 1024. Default: "auto": as many
---                                                  as system.cpuCount says
---                        cpuAffinity      boolean  each has a processor of its own, as far as
---                                                  there are. Default: false
---                        uid              integer  the user that the workers run as, or a name.
---                                                  Only root may choose. Ports below 1024 are no
---                                                  hindrance: the master opens them
---                        gid              integer  the group, or a name. Default: the user's
---                        groups           array    of names and ids: the workers' further groups.
---                                                  Default: the user's
---                        chroot           string   the folder that is the workers' root. The
---                                                  script and what it loads are looked up in
---                                                  there. Only root may choose. Default: none
---                        capabilities     array    of names such as "NET_BIND_SERVICE": rights of
---                                                  root that the workers have as that user, and no
---                                                  program that they start. Linux. Default: none
---                        noNewPrivs       boolean  no program that a worker starts gets more
---                                                  rights than it has, by a setuid bit say (Linux,
---                                                  FreeBSD 14). Default: false
---                        refuseRoot       boolean  the cluster does not start where its workers
---                                                  would be root. Default: false
---                        reload           string   the signal that reloads, or false. Default:
---                                                  "SIGHUP"
---                        upgrade          string   the signal at which another program takes the
---                                                  place of this one, or false. Default: "SIGUSR2"
---                        shutdownTimeout  integer  ms that a worker has for its end. Default:
---                                                  10000
---                        readyTimeout     integer  ms until a worker must serve. Default: 10000
---                        restartDelay     integer  ms until another one is started. Default: 10
---                        restartDelayMax  integer  ms, the longest. Default: 30000
---                        maxRequests      integer  requests after which a worker is replaced; it
---                                                  is looked at four times a second. 0: no limit.
---                                                  Default: 0
---                        maxMemory        integer  bytes of physical memory, the same. Default: 0
---                        pidFile          string   as process.pidFile, of the master. Default:
---                                                  none
---                        title            string   for ps(1): "links: master", "links: worker 0".
---                                                  Default: "links"
--- @return true           in a worker
--- @return nil, err       UNSUPPORTED  the script was read from standard input, and there is no
---                                     `file`
---                        EBUSY        this process is a master already
---                        EPERM        `refuseRoot`, and the workers would be root
---                        EINVAL       there is no such user or group
---                        EPROTO, EOF  the sockets of the program before this one, at an upgrade,
---                                     are another version's, or it has gone
---                        LOCKED, EACCES, ...  as process.pidFile
--- @raise                 an option of another type or out of bounds, or one that nobody knows
--- @wait
--- @usage local process = require "process"
--- local ok, message = pcall(process.cluster, { workers = 0 })
--- assert(not ok and message:find("options.workers must be", 1, true))
function process.cluster(options)
    local o = check_options(CLUSTER, options)
    if worker.id then return true end
    if running then return nil, errors.new(errors.code("EBUSY"), "cluster") end
    if core.fromStdin and not o.file then
        return nil, errors.new(errors.code("UNSUPPORTED"), "cluster")
    end
    local path, err = program()
    if not path then return nil, err end
    local ok, refused = check_user(o)
    if not ok then return nil, refused end
    local way, failure = upgrade.take()
    if failure then return nil, failure end
    local public = require "links.process"
    if o.pidFile then
        local locked, fault = public.pidFile(o.pidFile)
        if not locked then return nil, fault end
    end
    running = true
    local about = {
        signature = CLUSTER, program = path, argv = command_of_worker(o), options = o,
        cwd = folder_of(o, public),
        started_as = upgrade.program() or path,
    }
    local master = Master.new(about, o.cpuAffinity and processors() or nil)
    take_signals(master, o, public)
    local has_begun, why = master:begin(way)
    if not has_begun and C.links_ending_due() == 0 then
        report.last_words("the cluster has not started: " .. why)
        C.links_ending_quit(1)
    end
    wait_for_the_end()
end

--- Tells the master that this worker serves, where it does so without listening. Elsewhere it does
--- nothing.
---
--- @return true
--- @return nil, err  ENOTCONN, EPIPE  the master has gone
--- @usage assert(require("process").ready())
function process.ready()
    if not worker.id then
        notify.ready_once()
        return true
    end
    return worker.ready()
end

--- Runs a function in one of the workers of a cluster: what is to be done once and not by each,
--- such as to read a queue, or to bring a database up to date. Every worker calls this; one of them
--- runs the function, and where that worker ends before the function has, or the function fails,
--- another one does, which begins it anew. Where it has come to its end nobody runs it again, until
--- a reload or an upgrade: the new program runs its own, once the old one's has come to its end, or
--- its worker has.
---
--- Elsewhere than in a worker it is run at once.
---
--- @param name  string    what is to be done, up to 255 bytes
--- @param fn    function  is called without arguments, in a task of its own. An error in it is
---                        logged
--- @return task           the one that waits for its turn, and runs it
--- @raise                 an argument of another type
--- @usage local process = require "process"
--- local done
--- process.lead("migrate", function() done = true end):join()
--- assert(done)
function process.lead(name, fn)
    start.check_text(LEAD, "name", name, 1)
    if #name > NAME_MAX then error(LEAD .. " name must be 255 bytes at most", 2) end
    check.type(LEAD, "fn", fn, "function")
    return require("links.task").spawn(require "links.process.lead", name, fn)
end

-- Private: `links -w N`, before the script.
function process._command(workers)
    if not pcall(count_of, "links -w", workers) then
        return nil, "-w needs a number of workers from 1 to " .. WORKERS_MAX .. ", or auto"
    end
    local ok, err = process.cluster({ workers = workers })
    return ok, err and tostring(err)
end

return process
