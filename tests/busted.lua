-- Runs busted on the interpreter that runs this file: `links tests/busted.lua tests/lib`.
-- Prints TAP, each test announced by file, line and name before it runs, so that a crash or a hang
-- names its test.
local arguments = {[0] = arg[0], "-v", "-o", "tests/support/tap.lua", "--pattern=_spec", "--lazy"}
for i = 1, #arg do
    arguments[#arguments + 1] = arg[i]
end
arg = arguments

io.stdout:setvbuf("line")

-- The watchdog is there, as it is wherever a program serves, and says nothing: how long something
-- takes on a busy machine, or under a sanitizer, is no matter of these tests.
local ffi = require "ffi"
ffi.cdef "int setenv(const char *name, const char *value, int overwrite);"
ffi.C.setenv("LINKS_WATCHDOG", "3600000", 1)

-- A program that dies of a signal, as some of them shall, leaves no core file in here.
require("system").limits("core", 0)

-- Called from C, busted ends a run that failed with os.exit; from a Lua file it would raise a bare
-- nil. A run that went well returns, and the process ends as any other: a spec that leaves a server
-- or a timer behind keeps it from ending, and the suite is stopped for that.
local ok, err = pcall(require "busted.runner", {standalone = false})
if not ok then
    error(err, 0)
end
