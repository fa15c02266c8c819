--- The watchdog: a task that holds the loop is told of, with its traceback, while it does. This is
--- a function of the module `process`.
---
--- All tasks share one thread. One that computes for a second, or calls what blocks (os.execute,
--- io.popen, a C library that waits by itself), keeps every client waiting for that second; the
--- line in the log says where it was:
---
---     task 7 has held the loop for 152 ms
---     stack traceback:
---             /srv/app/report.lua:31: in function 'render'
---             /srv/app/app.lua:12: in function </srv/app/app.lua:10>
---
--- It is of the level "warn", and on stderr where the program has not loaded `log`. A task that
--- goes on is told of again when it has taken ten times as long; the same place once in ten
--- seconds.
---
--- A program can also have what takes far too long ended: by an error in the task, or by the end of
--- the process, which a cluster answers with another worker. Both are told of first, with the
--- traceback and the level "error".
local check = require "links.check"
local errors = require "links.errors"
local watchdog = require "links.watchdog"

local process = {}

local WATCHDOG = "process.watchdog([ms|options])"
local LIMIT = { type = "integer", min = 0, max = watchdog.MAX }
local KNOWN = { slow = LIMIT, abort = LIMIT, kill = LIMIT }

--- Sets how long a task may hold the loop: before that is told of, and before it is ended.
---
--- Without this, a program is watched from when it listens, with the limit that LINKS_WATCHDOG in
--- its environment says, or 100 ms; a program that serves nobody may compute. Who calls this is
--- watched from then on. What is not given stays as it is.
---
--- Loops that LuaJIT has compiled are seen as well; what is paid for it is a test in each line of
--- the program that is compiled, and next to nothing in links' own. Within a call of C the
--- traceback is taken when that returns; a system call in it may have ended early, with EINTR.
--- While the program uses LuaJIT's profiler (jit.profile, jit.p) or a hook that counts
--- instructions, it is not told of and gets no error.
---
--- **abort**: the error is a string, with the line where the task was, and like any other: a pcall
--- around that line catches it, and it comes again when the task has held the loop for as long
--- once more; in a handler of http it makes a 500. It is raised in the program's code only: of a
--- function of links, and of a call of C, when it returns.
---
--- **kill**: the process ends by SIGABRT, what it has logged is written out, and a core is dumped
--- where the system is told to (ulimit -c). Hooks of the end do not run. A task that cannot be
--- asked where it is, within a call of C that does not return, has a second more; its number is on
--- stderr then. Where SIGABRT does not end the process, SIGKILL does two seconds later.
---
--- @param limits  integer  milliseconds, up to 3600000, as `slow`; or a table of such:
---                         slow   before it is told of; 0: never
---                         abort  before an error is raised in the task; 0: never, as at first
---                         kill   before the process ends; 0: never, as at first.
---                         Default: they stay as they are
--- @return integer         what `slow` was; 0 while nothing is told of
--- @return table           for a table: what all of them were
--- @return nil, err        EAGAIN  there are too many threads
--- @raise                  a limit is no such number, or there is none of that name
--- @usage local process = require "process"
--- process.watchdog(250)
--- assert(process.watchdog() == 250)
--- process.watchdog { abort = 5000, kill = 60000 }
--- local was = process.watchdog { slow = 0, abort = 0, kill = 0 }
--- assert(was.slow == 250 and was.abort == 5000 and was.kill == 60000)
function process.watchdog(limits)
    local all = type(limits) == "table"
    if all then
        check.given(WATCHDOG, limits, KNOWN)
    elseif limits ~= nil then
        check.integer(WATCHDOG, "ms", limits, 0, watchdog.MAX)
    end
    local were, rc = watchdog.set(all and limits or { slow = limits })
    if not were then return nil, errors.new(rc, "watchdog") end
    return all and were or were.slow
end

return process
