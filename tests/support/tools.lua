-- For specs that run programs: links itself above all.
local ffi = require "ffi"
local process = require "process"
local system = require "system"
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

-- Asserts that `fn` can be done within `ms`: on a busy machine not each time, but once. What fn
-- returns is when it began, where its first part does not count.
function program.within(ms, fn)
    local give_up, tries = timer.now() + PATIENCE_MS, 0
    repeat
        local begun = timer.now()
        begun = fn() or begun
        if timer.now() - begun < ms then return end
        tries = tries + 1
    until tries >= 5 and timer.now() > give_up
    error("it always takes " .. ms .. " ms or more", 2)
end

-- Asserts what `fn` asserts, where that is only true as long as nothing holds this process up for
-- `ms`: where something did, it is done again.
function program.steadily(ms, fn)
    local give_up = timer.now() + PATIENCE_MS
    while true do
        local last, longest = system.hrtime(), 0
        local function look()
            local now = system.hrtime()
            last, longest = now, math.max(longest, (now - last) / 1e6)
        end
        local ticking = timer.setInterval(math.ceil(ms / 10), look)
        local ok, err = pcall(fn)
        ticking:cancel()
        look()
        if ok then return end
        if longest < ms or timer.now() > give_up then error(err, 0) end
    end
end

-- A copy of links in a folder that is opened to all: others cannot run what lies below a folder
-- that is root's alone, as /root is. Returns its path.
function program.copy_for_others(folder)
    local copy = folder .. "/links"
    os.execute(("cp '%s' '%s'; chmod 755 '%s' '%s'"):format(program.LINKS, copy, folder, copy))
    return copy
end

-- A processor that this process may run on.
function program.a_processor()
    local status = io.open("/proc/self/status")
    local first = status and status:read("*a"):match("Cpus_allowed_list:%s*(%d+)")
    if status then status:close() end
    return tonumber(first) or 0
end

-- Whether this machine has IPv6.
program.has_ipv6 = (function()
    local socket = require("udp").createSocket(0, "::1")
    if socket then socket:close() end
    return socket ~= nil
end)()

-- Asserts that `fn` raises an error that matches, and blames the file that calls this.
function program.raises(pattern, fn, ...)
    local file = debug.getinfo(2, "S").short_src
    local ok, message = pcall(fn, ...)
    assert(not ok, "nothing was raised")
    assert(tostring(message):find(pattern), "raised: " .. tostring(message))
    local place = tostring(message):sub(1, #file)
    assert(place == file, "blamed " .. tostring(message) .. ", not " .. file)
end

-- Asserts that `fn(...)` raises an error that has this text in it.
function program.says(text, fn, ...)
    local ok, message = pcall(fn, ...)
    assert(not ok, "nothing was raised")
    assert(tostring(message):find(text, 1, true), "raised: " .. tostring(message))
end

-- The same, and that it blames who has called fn.
function program.blames(text, fn, ...)
    local n, args, here = select("#", ...), { ... }, debug.getinfo(1, "S").short_src
    local ok, message = pcall(function() fn(unpack(args, 1, n)) end)
    assert(not ok, "nothing was raised")
    message = tostring(message)
    assert(message:find(here .. ":", 1, true) == 1, "blamed " .. message)
    assert(message:find(text, 1, true), "raised: " .. message)
end

-- Asserts that `nil, err` with that name has come, and returns err.
function program.fails(name, value, err)
    assert(value == nil, "it went well")
    assert(err.name == name, "it failed with " .. tostring(err) .. ", not with " .. name)
    return err
end

return program
