-- For specs that run programs: links itself above all.
local ffi = require "ffi"
local process = require "process"
local timer = require "timer"

local PATIENCE_MS = 20000

local program = {}

-- The program that runs this spec.
program.LINKS = ffi.string(ffi.C.links_process_argument(0))

function program.is_root()
    return ffi.C.geteuid() == 0
end

-- The standard output of a program, without the white space at its end.
function program.output(...)
    local result = assert(process.run(...))
    return (result.stdout:gsub("%s+$", ""))
end

function program.read(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
end

function program.write(path, text)
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
end

-- Waits until fn() is true, and returns that; fails with `what` where it takes too long.
function program.eventually(what, fn)
    local give_up = timer.now() + PATIENCE_MS
    while true do
        local value = fn()
        if value then return value end
        assert(timer.now() < give_up, "waited too long for " .. what)
        assert(timer.sleep(2))
    end
end

-- Whether a process has ended. The child of one that was killed is a zombie until its new parent
-- looks, which not every first process of a container does.
function program.has_ended(pid)
    if not process.kill(pid, 0) then return true end
    local stat = io.open("/proc/" .. pid .. "/stat")
    local state = stat and (stat:read("*a") or ""):match("%) (%a)")
    if stat then stat:close() end
    return state == "Z"
end

-- Asserts that `fn` can be done within `ms`: on a busy machine not each time, but once of five.
function program.within(ms, fn)
    for i = 1, 5 do
        local begun = timer.now()
        fn()
        if timer.now() - begun < ms then return end
        assert(i < 5, "it always takes " .. ms .. " ms or more")
    end
end

-- Asserts that `fn` raises an error that matches, and blames the file that calls this.
function program.raises(pattern, fn, ...)
    local file = debug.getinfo(2, "S").short_src
    local ok, message = pcall(fn, ...)
    assert(not ok, "nothing was raised")
    assert(tostring(message):find(pattern), "raised: " .. tostring(message))
    local place = tostring(message):sub(1, #file)
    assert(place == file, "blamed " .. tostring(message) .. ", not " .. file)
end

-- Asserts that `nil, err` with that name has come, and returns err.
function program.fails(name, value, err)
    assert(value == nil, "it went well")
    assert(err.name == name, "it failed with " .. tostring(err) .. ", not with " .. name)
    return err
end

return program
