-- Runs busted on the interpreter that runs this file: `links tests/busted.lua tests/lib`.
-- Prints TAP, each test announced by file, line and name before it runs, so that a crash or a hang
-- names its test.
local arguments = {[0] = arg[0], "-v", "-o", "TAP", "--pattern=_spec", "--lazy"}
for i = 1, #arg do
    arguments[#arguments + 1] = arg[i]
end
arg = arguments

io.stdout:setvbuf("line")
require "busted.runner"({standalone = false})
