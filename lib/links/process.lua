--- The process and its children: starting programs and waiting for them, signals, failures that
--- nobody waits for, and the end.
---
--- Fields: `pid`, `ppid` (1 where the parent has gone), `argv` (the arguments of the program, an
--- array of strings), `env`, `title`, `shutdownTimeout`, and of clusters `workerId`, `workerCount`,
--- `isMaster`: see process.cluster.
---
--- `env` is the environment: `process.env.HOME`, `process.env.DEBUG = "1"`, or `= nil`, and
--- `for name, value in process.env() do`. Programs that are started get it as it is then.
---
--- `title` is what ps(1) shows; set it to a string. Not on macOS.
---
--- `shutdownTimeout` is how long the functions of process.onShutdown, and servers that finish, may
--- take together, in milliseconds: 10000 unless it is set.
---
--- **Children.** A child begins without any descriptor of this process but 0, 1 and 2, with no
--- signal caught or blocked, and with the limits of descriptors and stack that links was started
--- with. Signals that this process ignores stay ignored (nohup), but for SIGPIPE and SIGCHLD. While
--- a child of fork, exec or spawn runs, this process does not end by itself, unless the child is
--- `detached`. Children of fork and spawn that are not detached are asked to end (SIGTERM) when
--- this process ends, on Linux and FreeBSD even where it is killed; those of exec are not.
---
--- **The end.** SIGINT and SIGTERM, process.exit and process.quit run the functions of
--- process.onShutdown, while everything else goes on; then cancel all tasks and give them, and the
--- children, a second. On SIGTERM, servers of http and websocket finish meanwhile: they listen no
--- more, answer the requests that they have, and end their connections. A second SIGINT or SIGTERM
--- ends the process at once. So does the first where Lua does not come back to the loop within two
--- seconds.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local report = require "links.report"
local binding = require "links.process.ffi"
local names = require "links.process.names"
local start = require "links.process.start"
local Child = require "links.process.child"
local forever = require "links.process.forever"
local ipc = require "links.process.ipc"
local events = require "links.process.events"
local run = require "links.process.run"
local worker = require "links.process.worker"

local C, STDIO = binding.C, binding.STDIO
local new_error = errors.new

local process = {}

local INT_MAX = 2 ^ 31 - 1
local DAEMON = "LINKS_DAEMON"
local shutdown_timeout = 10000

for name, fn in pairs(require "links.process.messages") do process[name] = fn end
for name, fn in pairs(require "links.process.cluster") do process[name] = fn end
for name, fn in pairs(require "links.process.service") do process[name] = fn end
for name, fn in pairs(require "links.process.privileges") do process[name] = fn end
for name, fn in pairs(require "links.process.watchdog") do process[name] = fn end
ipc.inherit()

process.argv = argv or {}
process.pid = C.getpid()
process.workerId, process.workerCount = worker.id, worker.count
process.isMaster = worker.id == nil

local function result(rc, syscall, extra)
    if rc < 0 then return nil, new_error(rc, syscall, extra) end
    return true
end

-- --- Starting programs -------------------------------------------------------------------------

local PATH_MAX = 4096
local path_array = ffi.typeof("char[" .. PATH_MAX .. "]")

local function program()
    local path = path_array()
    local rc = C.links_process_program(path, PATH_MAX)
    if rc < 0 then return nil, new_error(rc, "fork") end
    return ffi.string(path)
end

local INHERIT = { STDIO.inherit, STDIO.inherit, STDIO.inherit }
local PIPES = { STDIO.pipe, STDIO.pipe, STDIO.pipe }

local FORK = "process.fork(options)"
local FORK_OPTIONS = start.known {
    file = { type = "string" },
    args = { type = "table|nil" },
    forever = { type = "boolean", default = false },
    maxRestarts = { type = "integer", min = 0, max = INT_MAX, default = 0 },
    title = { type = "string|nil" },
    ipc = { type = "boolean", default = false },
    chroot = { type = "string|nil" },
    timeout = false, killSignal = false, killTimeout = false,
    stdin = false, stdout = false, stderr = false,
}

--- Starts this same program on a Lua file, in a new process.
---
--- The child reads nothing (its standard input is /dev/null) and writes where this process does.
--- Its environment is that of this process and `env`.
---
--- @param options  table  file         string   the Lua file to run
---                        args         array    of strings, its arguments. Default: none
---                        uid          integer  the user to run as, or a name. Only root may
---                                              choose. Default: as this process
---                        gid          integer  the group, or a name. Default: the user's
---                        forever      boolean  start it again when it ends, however it does: after
---                                              10 ms, then twice as long each time up to 30 s, and
---                                              from 10 ms again once it has been up for a minute.
---                                              Each time is told by process.on("restart"), or
---                                              printed. Default: false
---                        maxRestarts  integer  how often at most; 0 is no limit. Default: 0
---                        cpu          integer  the one processor to run on, from 0. Default: any
---                        detached     boolean  leader of a session and a process group of its own:
---                                              it may outlive this process. Default: false
---                        env          table    name = value to set, name = false to leave out
---                        cleanEnv     boolean  begin with an empty environment. Default: false
---                        cwd          string   its working directory. Default: this one's
---                        chroot       string   the folder that is to be its root. Only root may
---                                              choose. `file` and `cwd` are looked up in there,
---                                              and so is everything later, such as
---                                              /etc/resolv.conf; the working directory is "/"
---                                              unless `cwd` is given. Default: as this process
---                        ipc          boolean  messages can be sent to it, and by it: see
---                                              process.messages. Default: false
---                        title        string   shown by ps(1) in the place of the program's name
--- @return integer        the process id; each restart has another one, see process.children
--- @return nil, err       ENOENT, EACCES, EISDIR  the file cannot be read, by that user
---                                (err.syscall "open"), or the folder not entered ("chdir",
---                                "chroot")
---                        EPERM   this user may not become that one, or not change its root
---                        EINVAL  there is no such user, group or processor; the id of an unknown
---                                user without a gid
---                        EMFILE, ENFILE  no descriptor is left
---                        EAGAIN, ENOMEM  no process is left, or no memory
---                        E2BIG   arguments and environment are too long
--- @raise                 an option of another type or out of bounds, or one that nobody knows
--- @usage local process = require "process"
--- local pid, err = process.fork({ file = "/no/such/file.lua" })
--- assert(pid == nil and err.name == "ENOENT")
function process.fork(options)
    check.type(FORK, "options", options, "table")
    local o = check.options(FORK, options, FORK_OPTIONS)
    start.check_text(FORK, "options.file", o.file, 1)
    start.check_args(FORK, o.args, 1)
    local path, err = program()
    if not path then return nil, err end
    -- To the program, a file that begins with a minus would be an option.
    local file = o.file:find("^-") and "./" .. o.file or o.file
    local name = o.title or ffi.string(C.links_process_argument(0))
    local args = { unpack(o.args or {}) }
    local what = start.describe(FORK, path, { name, file, unpack(args) }, o,
        { STDIO.null, STDIO.inherit, STDIO.inherit })
    if file == "" then return nil, new_error(errors.code("ENOENT"), "open", { address = file }) end
    if o.chroot then start.check_text(FORK, "options.chroot", o.chroot, 1) end
    what.readable, what.tied, what.ipc, what.chroot = file, true, o.ipc, o.chroot
    local handle, failure = start.now(what)
    if not handle then return nil, failure end
    if o.forever then forever.keep(handle, what, o.file, args, o.maxRestarts) end
    return handle.pid
end

--- Runs a shell command (`/bin/sh -c`) in a new process. It has this process's standard input,
--- output and error, and goes on when this process ends.
---
--- @param command  string  what the shell is to do
--- @return integer         the process id, of the shell
--- @return nil, err        EAGAIN, ENOMEM, EMFILE, ENFILE, E2BIG  as for process.fork
--- @raise                  `command` is not a string, or has a zero byte in it
--- @usage local process = require "process"
--- local pid = assert(process.exec("exit 4"))
--- assert(process.wait(pid).code == 4)
function process.exec(command)
    start.check_text("process.exec(command)", "command", command, 1)
    local what = start.describe("process.exec(command)", "/bin/sh", { "sh", "-c", command }, {},
        INHERIT)
    local handle, err = start.now(what)
    if not handle then return nil, err end
    return handle.pid
end

local SPAWN = "process.spawn(file[, args[, options]])"
local SPAWN_OPTIONS = start.known {}

--- Starts a program whose input and output are pipes to this process.
---
--- @param file     string  the program; without a slash it is looked for in PATH, that of `env`
--- @param args     array   of strings, its arguments. Default: none
--- @param options  table   stdin        "pipe", "null", "inherit" or a descriptor. Default: "pipe"
---                         stdout       the same
---                         stderr       the same, or "stdout": where that goes
---                         env          table    name = value to set, name = false to leave out
---                         cleanEnv     boolean  begin with an empty environment. Default: false
---                         cwd          string   its working directory. Default: this one's
---                         uid          integer  the user to run as, or a name. Only root may
---                                               choose
---                         gid          integer  the group, or a name. Default: the user's
---                         cpu          integer  the one processor to run on, from 0
---                         detached     boolean  as for process.fork. Default: false
---                         timeout      integer  milliseconds until it is ended; 0: no limit.
---                                               Default: 0
---                         killSignal   string   what ends it then. Default: "SIGTERM"
---                         killTimeout  integer  milliseconds until SIGKILL, where that does not.
---                                               Default: 5000
--- @return child           see the page process.child
--- @return nil, err        ENOENT   there is no such program (err.syscall "exec") or folder
---                                  ("chdir")
---                         EACCES   it may not be executed, or the folder not entered
---                         ENOEXEC  it is no program for this machine
---                         EBADF    a descriptor that is not open
---                         EPERM, EINVAL, EMFILE, ENFILE, EAGAIN, ENOMEM, E2BIG  as for
---                         process.fork
--- @raise                  an argument or an option of another type or out of bounds, a zero byte
---                         in an argument, an option or a signal that nobody knows
--- @usage local process = require "process"
--- local child = assert(process.spawn("tr", { "a-z", "A-Z" }))
--- child:write("hello\n")
--- child:closeStdin()
--- assert(child:readline() == "HELLO")
--- assert(child:wait().code == 0)
function process.spawn(file, args, options)
    check.type(SPAWN, "file", file, "string")
    start.check_args(SPAWN, args, 1)
    local o = check.options(SPAWN, options, SPAWN_OPTIONS)
    local what = start.describe(SPAWN, file, { file, unpack(args or {}) }, o, PIPES)
    what.tied = true
    local handle, pipes = start.now(what)
    if not handle then return nil, pipes end
    return Child.new(handle, pipes, file)
end

local RUN = "process.run(file[, args[, options]])"
local RUN_OPTIONS = start.known {
    input = { type = "string|nil" },
    maxBuffer = { type = "integer", min = 1, max = INT_MAX, default = 1048576 },
}

--- Runs a program to its end, and collects what it writes. Where the task is cancelled or a
--- deadline comes, the program is ended: by `killSignal`, and after `killTimeout` by SIGKILL.
---
--- It waits for the end of the program and of its output, as a shell's $(...) does: others that the
--- program leaves behind may have that output too.
---
--- @param file     string  as for process.spawn
--- @param args     array   as for process.spawn
--- @param options  table   as for process.spawn, and
---                         input      string   what the program reads from its standard input.
---                                             Default: nothing, /dev/null
---                         maxBuffer  integer  bytes of output and of errors, each; where there are
---                                             more the program is ended. Default: 1048576
--- @return table           code, signal, core, timedOut  as for child:wait
---                         stdout, stderr  strings; nil where that is no pipe
--- @return table, err      the same, as far as it came, and
---                         ETIMEDOUT  its `timeout` was over (timedOut is true)
---                         TOO_LARGE  it wrote more than `maxBuffer`
--- @return nil, err        ETIMEDOUT  a deadline of task.withTimeout came
---                         ECANCELED  this task was cancelled
---                         what process.spawn returns
--- @raise                  as for process.spawn
--- @wait
--- @usage local process = require "process"
--- local result = assert(process.run("sort", { "-n" }, { input = "10\n9\n" }))
--- assert(result.code == 0 and result.stdout == "9\n10\n" and result.stderr == "")
function process.run(file, args, options)
    check.type(RUN, "file", file, "string")
    start.check_args(RUN, args, 1)
    local o = check.options(RUN, options, RUN_OPTIONS)
    local input = o.input and STDIO.pipe or STDIO.null
    local what = start.describe(RUN, file, { file, unpack(args or {}) }, o,
        { input, STDIO.pipe, STDIO.pipe })
    if o.input and what.stdio[1] ~= STDIO.pipe then
        error(RUN .. ' options.input needs options.stdin to be "pipe"', 2)
    end
    what.tied = true
    local outcome, err = run(what, o.input, o.maxBuffer)
    return outcome, err
end

-- --- Children ----------------------------------------------------------------------------------

-- A handle of the child with that id.
local function find(signature, pid, syscall)
    check.integer(signature, "pid", pid, 1, INT_MAX, 2)
    local handle = C.links_child_find(pid)
    if handle == nil then return nil, new_error(errors.code("ECHILD"), syscall) end
    return ffi.gc(handle, C.links_child_free)
end

--- Waits for the end of a child, whoever started it. The statuses of the last 1024 that have ended
--- are kept, so it may have ended before, and be asked for twice.
---
--- @param pid  integer  as process.fork, process.exec and child.pid have it
--- @param ms   number   how long to wait at most, in milliseconds; 0 only looks. Default: as long
---                      as it takes
--- @return table        {code =, signal =, core =, timedOut =}, as for child:wait
--- @return nil, err     ECHILD     it is no child of this process, or ended long ago
---                      ETIMEDOUT  it runs still after `ms`, or a deadline of task.withTimeout came
---                      ECANCELED  this task was cancelled. The child goes on in either case
--- @raise               an argument of another type or out of bounds
--- @wait
--- @usage local process = require "process"
--- local pid = assert(process.exec("kill -KILL $$"))
--- assert(process.wait(pid).signal == "SIGKILL")
function process.wait(pid, ms)
    local handle, err = find("process.wait(pid[, ms])", pid, "wait")
    if not handle then return nil, err end
    local status, failure = Child.wait_for(handle, ms, "process.wait(pid[, ms])")
    return status, failure
end

--- Ends a child, and waits for its end: SIGTERM (its `killSignal`), and SIGKILL 5 seconds later
--- (its `killTimeout`). One that is kept running (`forever`) is not started again.
---
--- @param pid  integer  any id that the child had
--- @return table        its status as for child:wait; where it was between two starts that of the
---                      last one, without any where that could not be started
--- @return nil, err     ECHILD  it is no child of this process, or ended long ago
---                      ETIMEDOUT, ECANCELED  while waiting for its end, which comes all the same
--- @raise               `pid` is not a positive integer
--- @wait
--- @usage local process = require "process"
--- local pid = assert(process.exec("exec sleep 60"))
--- assert(process.stop(pid).signal == "SIGTERM")
function process.stop(pid)
    check.integer("process.stop(pid)", "pid", pid, 1, INT_MAX)
    local entry = forever.find(pid)
    local handle, err
    if entry then
        forever.forget(entry)
        handle = entry.handle
        if not handle then return {} end
    else
        handle, err = find("process.stop(pid)", pid, "stop")
        if not handle then return nil, err end
    end
    C.links_child_stop(handle)
    local status, failure = Child.wait_for(handle)
    return status, failure
end

--- The children of process.fork that are kept running (`forever`).
---
--- @return array   of tables: pid          of the one that runs, or ran last
---                            firstPid     what process.fork returned
---                            file, args   as they were given
---                            restarts     how often it has been started again
---                            maxRestarts  0: no limit
---                            reason       why it was: the status of the last one that ended, as
---                                         for child:wait, or the error of a start that failed; nil
---                                         before
---                            running      boolean
---                            delay        milliseconds of the pause that it is in, or nil
--- @usage local process = require "process"
--- for _, child in ipairs(process.children()) do print(child.pid, child.file, child.restarts) end
function process.children()
    return forever.list()
end

local function describe_reason(reason)
    if errors.is(reason) then return "could not be started: " .. tostring(reason) end
    if reason.signal then return "died of " .. reason.signal end
    return "ended with code " .. tostring(reason.code)
end

forever.report = function(child, delay)
    if events.emit("restart", child) then return end
    local next_step = delay and "starting it again in " .. delay .. " ms"
        or "it has been started again " .. child.restarts .. " times, and no more"
    report.write("warn", child.file .. " (" .. child.pid .. ") " .. describe_reason(child.reason) ..
        ": " .. next_step)
end

--- Sends a signal to a process.
---
--- @param pid     integer         as kill(2) has it: a process; 0 for one's own group, a negative
---                                number for the group of that number, -1 for everybody
--- @param signal  string|integer  "SIGTERM", "TERM", 15; 0 only asks whether it is there. Default:
---                                "SIGTERM"
--- @return true
--- @return nil, err               ESRCH  there is no such process
---                                EPERM  it is another user's
--- @raise                         a signal that nobody knows, an argument of another type
--- @usage local process = require "process"
--- assert(process.kill(process.pid, 0))
function process.kill(pid, signal)
    check.integer("process.kill(pid[, signal])", "pid", pid, -INT_MAX, INT_MAX)
    local signum = names.signal("process.kill(pid[, signal])", "signal", signal or "SIGTERM")
    return result(C.links_process_kill(pid, signum), "kill")
end

-- --- Events ------------------------------------------------------------------------------------

--- Calls a function on each event of the process.
---
--- "error": fn(err, task, traceback), for each failed task that nobody waits for. While there is
--- such a function the failure is not printed.
---
--- "SIGHUP", "SIGUSR1", ... : fn(name, number), when the process gets that signal, in a task of its
--- own. The signal's own action is off meanwhile; with "SIGTERM" and "SIGINT" that is the end of
--- the process, so let the function call process.exit. What comes several times before the function
--- has run may come as one. A caught signal does not keep the process alive.
---
--- "restart": fn(child), when a child that is kept running has died, or could not be started: what
--- process.children says of it. While there is such a function, nothing is printed.
---
--- "message": fn(from, value), for each message that process.send has sent to this process; see
--- process.messages. While there is such a function, this process goes on for as long as somebody
--- could send one. "disconnect": fn(from, err), when there will be no more from there; err is nil
--- where the other has ended, or ended it.
---
--- "shutdown": as process.onShutdown. "exit": fn(code, signal), after those, as the last thing
--- before all tasks are cancelled; one of the two is nil. It should not wait.
---
--- @param event  string    "error", "restart", "message", "disconnect", "shutdown", "exit", or a
---                         signal
--- @param fn     function  called in a task of its own; it may wait
--- @return true
--- @raise                  an unknown event, a signal that cannot be caught (SIGKILL, SIGSTOP,
---                         SIGSEGV, ...), an argument of another type
--- @usage local process, task = require "process", require "task"
--- local seen
--- local function note(err) seen = err end
--- process.on("error", note)
--- task.spawn(function() error({ name = "MINE" }) end)
--- require("timer").sleep(1)
--- process.off("error", note)
--- assert(seen.name == "MINE")
function process.on(event, fn)
    events.on("process.on(event, fn)", event, fn)
    ipc.listen()
    return true
end

-- The fields of links.core's stats that are public as they are.
local STATS = {
    "turns", "timers", "watchers", "handles", "tasks", "spawned", "failed", "resumes",
    "pooledCoroutines", "longestTurn", "longestHold",
}

--- What the loop and the scheduler have done: for who looks for what makes a server slow.
---
--- turns, resumes, spawned and failed (tasks) count from the start; timers (armed), watchers (of
--- sockets and pipes), handles (what keeps the process alive), tasks (not over) and
--- pooledCoroutines are as of now. longestTurn is the longest that one turn of the loop took, and
--- longestHold that one task ran without waiting, both in milliseconds since the last reset.
--- longestAt says where that task waited next, as "file:line"; nil: no task has run for a
--- millisecond.
---
--- lag is an array of { upTo = milliseconds, turns = count }: how many turns were busy for less
--- than `upTo`, and for no less than the entry before. The first goes up to 0.002 ms, and each
--- further one to twice as much; there are 24, and the last has all that took longer than 8 s.
---
--- @param options  table  reset: longestTurn, longestHold and longestAt begin anew. Default: false
--- @return table
--- @raise                 an unknown option
--- @usage local stats = require("process").stats()
--- assert(stats.tasks >= 1 and #stats.lag == 24)
function process.stats(options)
    options = check.options("process.stats([options])", options, {
        reset = { type = "boolean", default = false },
    })
    local raw, stats = core.stats(), { lag = {} }
    for _, name in ipairs(STATS) do stats[name] = raw[name] end
    stats.longestAt = raw.longestAt ~= "" and raw.longestAt or nil
    for i, turns in ipairs(raw.lag) do
        stats.lag[i] = { upTo = i < #raw.lag and 2 ^ i / 1000 or math.huge, turns = turns }
    end
    if options.reset then core.statsReset() end
    return stats
end

--- Ends what process.on began; a function that is not registered does no harm. With the last
--- function of a signal its own action comes back.
---
--- @param event  string    as for process.on
--- @param fn     function  the same function
--- @return true
--- @raise                  an unknown event, an argument of another type
--- @usage require("process").off("error", print)
function process.off(event, fn)
    events.off("process.off(event, fn)", event, fn)
    ipc.listen()
    return true
end

--- Calls the functions of an event; true if there was one. For links' own modules.
---
--- @param event  string   as for process.on
--- @param ...    any      for the functions
--- @return boolean        somebody listened
--- @usage assert(not require("process").emit("error"))
function process.emit(event, ...)
    return events.emit(event, ...)
end

--- Calls a function when the process is about to end: on SIGINT and SIGTERM (unless process.on has
--- them), process.exit and process.quit, and where nothing is left to do or the main program has
--- failed. All these functions run at the same time, each in a task of its own, and everything else
--- goes on: servers may finish what they have begun. After `process.shutdownTimeout` milliseconds
--- the process ends all the same.
---
--- @param fn  function  fn(reason): the name of the signal; "quit"; or "end", where nothing is left
---                      to do. It may wait
--- @return true
--- @raise               `fn` is not a function
--- @usage local process = require "process"
--- local script = [[require("process").onShutdown(function(reason) io.write(reason) end)]]
--- assert(process.run("./links", { "-e", script }).stdout == "end")
function process.onShutdown(fn)
    events.on("process.onShutdown(fn)", "shutdown", fn)
    return true
end

-- --- The end -----------------------------------------------------------------------------------

-- Nothing more of this task runs: it waits, and no cancel ends that. Where it cannot wait, below
-- table.sort say, it goes on to the end of this turn.
local function never_return(what)
    local deadline = core.shieldPush()
    C.links_ending_stay(1)
    pcall(core.park, nil, nil, what)
    C.links_ending_stay(-1)
    core.shieldPop(deadline)
end

local function check_not_ending(what)
    if C.links_ending_due() == 0 then return true end
    return nil, new_error(errors.code("SHUTTING_DOWN"), what)
end

--- Ends this process by a signal, after what process.onShutdown has asked for; the parent sees that
--- it died of that signal. It does not return.
---
--- @param signal  string|integer  one that ends processes. Default: "SIGTERM"
--- @return nil, err               SHUTTING_DOWN  the process is ending already: nothing has changed
--- @raise                         a signal that nobody knows, or that ends no process
--- @wait
--- @usage local process = require "process"
--- local child = assert(process.run("./links", { "-e", "require('process').exit('SIGINT')" }))
--- assert(child.signal == "SIGINT")
function process.exit(signal)
    local signum = names.signal("process.exit([signal])", "signal", signal or "SIGTERM")
    if C.links_signal_ends(signum) == 0 then
        error("process.exit([signal]) signal must be one that ends a process, not "
            .. tostring(signal), 2)
    end
    local ok, err = check_not_ending("exit")
    if not ok then return nil, err end
    C.links_ending_exit(signum)
    never_return("exit")
end

--- Ends this process with an exit code, after what process.onShutdown has asked for. It does not
--- return.
---
--- @param code  integer  0 to 255. Default: 0
--- @return nil, err      SHUTTING_DOWN  the process is ending already: nothing has changed
--- @raise                `code` is not such an integer
--- @wait
--- @usage local process = require "process"
--- local child = assert(process.run("./links", { "-e", "require('process').quit(3)" }))
--- assert(child.code == 3)
function process.quit(code)
    code = code == nil and 0 or code
    check.integer("process.quit([code])", "code", code, 0, 255)
    local ok, err = check_not_ending("quit")
    if not ok then return nil, err end
    C.links_ending_quit(code)
    never_return("quit")
end

--- Ends this process at once by SIGABRT, with a core file where the system leaves one. Nothing is
--- cleaned up.
---
--- @usage local process = require "process"
--- local child = assert(process.run("./links", { "-e", "require('process').abort()" }))
--- assert(child.signal == "SIGABRT")
function process.abort()
    io.stdout:flush()
    C.links_process_abort()
end

-- --- Where and who -----------------------------------------------------------------------------

--- The working directory.
---
--- @return string
--- @return nil, err  ENOENT  it has been removed
---                   EACCES  a folder above it cannot be read
--- @usage assert(require("process").cwd():sub(1, 1) == "/")
function process.cwd()
    local size = PATH_MAX
    while true do
        local path = ffi.new("char[?]", size) -- [?]: of 4096 or more
        local rc = C.links_process_cwd(path, size)
        if rc == 0 then return ffi.string(path) end
        if rc ~= -errors.code("ERANGE") or size >= 2 ^ 20 then
            return nil, new_error(rc, "getcwd")
        end
        size = size * 2
    end
end

--- Changes the working directory, of the whole process.
---
--- @param dir  string  where to
--- @return true
--- @return nil, err    ENOENT, ENOTDIR, EACCES, ENAMETOOLONG, ELOOP  it cannot be entered
--- @raise              `dir` is not a string, or has a zero byte in it
--- @usage local process = require "process"
--- assert(process.chdir(process.cwd()))
function process.chdir(dir)
    start.check_text("process.chdir(dir)", "dir", dir, 1)
    return result(C.links_process_chdir(dir), "chdir", { address = dir })
end

--- Makes a folder the root of this process, for good, and goes there. Only root may, and should
--- become another user then: process.setuid. What the process needs later, such as
--- /etc/resolv.conf, is looked up in there.
---
--- @param dir  string  the folder
--- @return true
--- @return nil, err    EPERM   this user may not
---                     ENOENT, ENOTDIR, EACCES, ENAMETOOLONG, ELOOP  it cannot be entered
--- @raise              `dir` is not a string, or has a zero byte in it
--- @usage local ok, err = require("process").chroot("/no/such/folder")
--- assert(not ok and (err.name == "ENOENT" or err.name == "EPERM"))
function process.chroot(dir)
    start.check_text("process.chroot(dir)", "dir", dir, 1)
    return result(C.links_process_chroot(dir), "chroot", { address = dir })
end

--- The permissions that files of this process begin without, and their setting.
---
--- @param mask  integer  0 to 511: tonumber("022", 8). Default: it stays as it is
--- @return integer       what it was
--- @raise                `mask` is not such an integer
--- @usage local process = require "process"
--- local before = process.umask(tonumber("077", 8))
--- assert(process.umask(before) == 63)
function process.umask(mask)
    if mask ~= nil then check.integer("process.umask([mask])", "mask", mask, 0, 511) end
    return C.links_process_umask(mask or -1)
end

--- How long this process has been running.
---
--- @return integer   seconds
--- @usage assert(require("process").uptime() >= 0)
function process.uptime()
    return C.links_process_uptime()
end

--- What memory this process has.
---
--- @return table   bytes: rss   in physical memory
---                        lua   in use by Lua
---                        heap  in use by everything in C; nil where the system does not tell
--- @usage assert(require("process").memoryUsage().rss > 0)
function process.memoryUsage()
    local rss, heap = ffi.new("double[1]"), ffi.new("double[1]")
    C.links_process_memory(rss, heap)
    return {
        rss = rss[0],
        lua = math.floor(collectgarbage("count") * 1024),
        heap = heap[0] >= 0 and heap[0] or nil,
    }
end

--- How long this process has computed.
---
--- @return table   {user =, sys =}: milliseconds, in its own code and in the system
--- @usage assert(require("process").cpuUsage().user >= 0)
function process.cpuUsage()
    local r = ffi.new("links_resources")
    C.links_process_resources(r)
    return { user = r.user, sys = r.sys }
end

--- What the system has counted of this process since its start, as getrusage(2) has it.
---
--- @return table  user, sys            milliseconds, in its own code and in the system
---                maxRss               bytes, the most that it has had in physical memory
---                minorFaults          pages that were given to it; majorFaults: from a device
---                reads, writes        of blocks, from and to a device
---                voluntarySwitches    to another process where it waited; involuntarySwitches:
---                                     where its time was over
--- @usage local usage = require("process").resourceUsage()
--- assert(usage.maxRss > 0 and usage.user >= 0)
function process.resourceUsage()
    local r = ffi.new("links_resources")
    C.links_process_resources(r)
    return {
        user = r.user, sys = r.sys, maxRss = r.max_rss,
        minorFaults = r.minor_faults, majorFaults = r.major_faults,
        reads = r.reads, writes = r.writes,
        voluntarySwitches = r.voluntary, involuntarySwitches = r.involuntary,
    }
end

local function to_id(signature, param, value)
    if value == nil then check.type(signature, param, value, "string|number", 2) end
    names.check_id(signature, param, value, 2)
end

--- Becomes another user, for good: root does so once it has opened what only root can. The further
--- groups become those of that user. Call process.setgid first; afterwards it is not allowed.
---
--- @param user  string|integer  a name or an id
--- @return true
--- @return nil, err             EPERM   this user may not
---                              EINVAL  there is no such user
--- @raise                       `user` is of another type or out of bounds
--- @usage local process, system = require "process", require "system"
--- assert(process.setuid(system.userInfo().uid))
function process.setuid(user)
    to_id("process.setuid(user)", "user", user)
    local ids, err = names.ids(user, type(user) == "number" and C.getegid() or nil)
    if err then return nil, err end
    if not ids then return true end
    return result(C.links_process_setuid(ids.uid, names.c_groups(ids)), "setuid")
end

--- Changes the group of this process, for good.
---
--- @param group  string|integer  a name or an id
--- @return true
--- @return nil, err              EPERM   this user may not
---                               EINVAL  there is no such group
--- @raise                        `group` is of another type or out of bounds
--- @usage local process, system = require "process", require "system"
--- assert(process.setgid(system.groupInfo().gid))
function process.setgid(group)
    to_id("process.setgid(group)", "group", group)
    local ids, err = names.ids(nil, group)
    if err then return nil, err end
    if not ids then return true end
    return result(C.links_process_setgid(ids.gid), "setgid")
end

-- --- Daemons -----------------------------------------------------------------------------------

local DAEMON_OPTIONS = {
    stdout = { type = "string", default = "null" },
    stderr = { type = "string", default = "null" },
    cwd = { type = "string|nil" },
}
local is_daemon = false

--- Goes on in the background: in a session of its own, with /dev/null for standard input and
--- output.
---
--- This starts the program once more, detached, and ends this process with code 0, without what
--- process.onShutdown has asked for. In the new one the script runs from its beginning, and there
--- this function returns true at once: so call it first, before process.cluster too, in whose
--- workers it does the same.
---
--- @param options  table  stdout  "null" or "inherit". Default: "null"
---                        stderr  "null" or "inherit". Default: "null"
---                        cwd     string, where to go. Default: the working directory
--- @return true           in the background
--- @return nil, err       UNSUPPORTED  the script was read from standard input
---                        what process.fork returns
--- @raise                 an option of another type, or one that nobody knows
--- @wait
--- @usage local process = require "process"
--- local script = "if require('process').daemon() then os.exit(0) end"
--- assert(process.run("./links", { "-e", script }).code == 0)
function process.daemon(options)
    local signature = "process.daemon([options])"
    local o = check.options(signature, options, DAEMON_OPTIONS)
    -- What takes the place of one that is, is one, and so are its workers.
    is_daemon = is_daemon or C.links_handover_wanted() ~= 0 or worker.id ~= nil
    if is_daemon then return true end
    if process.env[DAEMON] then
        process.env[DAEMON] = nil
        is_daemon = true
        return true
    end
    if core.fromStdin then return nil, new_error(errors.code("UNSUPPORTED"), "daemon") end
    local path, err = program()
    if not path then return nil, err end
    o.env, o.detached, o.stdin = { [DAEMON] = "1" }, true, "null"
    local what = start.describe(signature, path, start.command_line(), o, INHERIT)
    local handle, failure = start.now(what)
    if not handle then return nil, failure end
    io.stdout:flush()
    os.exit(0)
end

--- Writes the id of this process into a file, and locks that for as long as the process lives: so
--- one of several can be the only one. The file is removed when the process ends, unless a signal
--- ends it at once; what is left behind then is not locked, and no hindrance.
--- In a cluster it is an option of process.cluster: workers would find it locked by their master.
---
--- @param path  string  the file
--- @return true
--- @return nil, err     LOCKED  a process that lives has it (err.pid: its id, where it is written)
---                      EACCES, ENOENT, ELOOP, ENOSPC, ...  it cannot be written; a symbolic link
---                      is not followed
--- @raise               `path` is not a string, or has a zero byte in it
--- @usage local process = require "process"
--- local path = os.tmpname()
--- assert(process.pidFile(path))
--- assert(tonumber(io.open(path):read("*l")) == process.pid)
function process.pidFile(path)
    start.check_text("process.pidFile(path)", "path", path, 1)
    local owner = ffi.new("int[1]")
    local rc = C.links_process_pid_file(path, owner)
    local pid = owner[0] > 0 and owner[0] or nil
    return result(rc, "pidFile", { address = path, pid = pid })
end

-- --- Fields ------------------------------------------------------------------------------------

local ENV = "process.env"

process.env = setmetatable({}, {
    __name = "environment",
    __index = function(_, name)
        if type(name) ~= "string" or name:find("[=%z]") then return nil end
        local value = C.links_process_getenv(name)
        if value ~= nil then return ffi.string(value) end
    end,
    __newindex = function(_, name, value)
        if value == nil then value = false end
        start.check_variable(ENV, name, value, 1)
        C.links_process_setenv(name, value and tostring(value) or nil)
    end,
    __call = function()
        local list, i = start.environ(), 0
        return function()
            i = i + 1
            if list[i] then return list[i]:match("^([^=]*)=?(.*)$") end
        end
    end,
})

local title

local getters = {
    ppid = function() return C.links_process_ppid() end,
    title = function() return title or table.concat(start.command_line(), " ") end,
    shutdownTimeout = function() return shutdown_timeout end,
}

local setters = {
    title = function(value)
        check.type("process.title", "value", value, "string", 2)
        title = value:gsub("%z.*", "")
        C.links_process_set_title(title)
    end,
    shutdownTimeout = function(value)
        check.integer("process.shutdownTimeout", "value", value, 0, INT_MAX, 2)
        shutdown_timeout = value
        C.links_ending_timeout(value)
    end,
}

return setmetatable(process, {
    __index = function(_, name)
        local get = getters[name]
        if get then return get() end
    end,
    __newindex = function(t, name, value)
        local set = setters[name]
        if set then
            set(value)
        else
            rawset(t, name, value)
        end
    end,
})
