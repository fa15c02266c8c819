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
local check = require "links.check"
local errors = require "links.errors"
local watchdog = require "links.watchdog"

local process = {}

local WATCHDOG = "process.watchdog([ms])"

--- Sets how long a task may hold the loop before that is told of.
---
--- Without this, a program is watched from when it listens, with the limit that LINKS_WATCHDOG in
--- its environment says, or 100 ms; a program that serves nobody may compute. Who calls this is
--- watched from then on.
---
--- Loops that LuaJIT has compiled are seen as well; nothing that can be measured is paid for it.
--- Within a call of C the traceback is taken when that returns; a system call in it may have ended
--- early, with EINTR. While the program uses LuaJIT's profiler (jit.profile, jit.p) or a hook that
--- counts instructions, it is not watched.
---
--- @param ms  integer  milliseconds, up to 3600000; 0: it is not watched. Default: it stays as it
---                     is
--- @return integer     what it was; 0 while it is not watched
--- @return nil, err    EAGAIN  there are too many threads
--- @raise              `ms` is no such number
--- @usage local process = require "process"
--- process.watchdog(250)
--- assert(process.watchdog() == 250)
--- process.watchdog(0)
function process.watchdog(ms)
    if ms ~= nil then check.integer(WATCHDOG, "ms", ms, 0, watchdog.MAX) end
    local before, rc = watchdog.set(ms)
    if not before then return nil, errors.new(rc, "watchdog") end
    return before
end

return process
