-- Drives the fuzz targets that are written in Lua: tests/fuzz/fuzz_<name>.lua, each of which
-- returns { run = function(data), words = list }. `run` raises where what it looks after does not
-- hold.
--
--   links tests/fuzz/lua.lua <name> replay <file>...        TAP, a line for each file
--   links tests/fuzz/lua.lua <name> <seconds> <folder>...   looks for new inputs, by changing those
--                                                           of the folders; one that fails is left
--                                                           in build/fuzz
local fs = require "fs"
local timer = require "timer"

local name, mode = arg[1], arg[2]
local target = dofile("tests/fuzz/fuzz_" .. name .. ".lua")

local function try(data)
    return xpcall(function() target.run(data) end, function(err)
        return debug.traceback(tostring(err), 2)
    end)
end

local function replay()
    local failed = false
    for i = 3, #arg do
        io.write("# ", arg[i], "\n")
        local ok, message = try(assert(fs.readFile(arg[i])))
        if not ok then
            io.write((message:gsub("([^\n]+)", "# %1")), "\n")
            failed = true
        end
        io.write(ok and "ok - " or "not ok - ", arg[i], "\n")
    end
    os.exit(failed and 1 or 0, true)
end

local function random_byte() return string.char(math.random(0, 255)) end

local changes = {
    function(data, at) return data:sub(1, at - 1) .. random_byte() .. data:sub(at + 1) end,
    function(data, at) return data:sub(1, at - 1) .. random_byte() .. data:sub(at) end,
    function(data, at) return data:sub(1, at - 1) .. data:sub(at + math.random(8)) end,
    function(data, at) return data:sub(1, at) end,
    function(data, at)
        local piece = data:sub(at, at + math.random(32))
        local to = math.random(#data + 1)
        return data:sub(1, to - 1) .. piece .. data:sub(to)
    end,
    function(data, at)
        local words = target.words
        return data:sub(1, at - 1) .. words[math.random(#words)] .. data:sub(at)
    end,
    function(data, at, inputs)
        local other = inputs[math.random(#inputs)]
        return data:sub(1, at - 1) .. other:sub(math.random(#other + 1))
    end,
}

local function change(data, inputs)
    for _ = 1, math.random(4) do
        data = changes[math.random(#changes)](data, math.random(#data + 1), inputs)
    end
    return data:sub(1, 65536)
end

local function search()
    local seconds, inputs, tried = tonumber(mode), { "" }, 0
    for i = 3, #arg do
        for _, file in ipairs(fs.readdir(arg[i]) or {}) do
            inputs[#inputs + 1] = assert(fs.readFile(arg[i] .. "/" .. file))
        end
    end
    math.randomseed(os.time())
    local began = timer.now()
    while timer.now() - began < seconds * 1000 do
        for _ = 1, 100 do
            local data = change(inputs[math.random(#inputs)], inputs)
            local ok, message = try(data)
            tried = tried + 1
            if not ok then
                local file = ("build/fuzz/crash-%s-%08x"):format(name, math.random(0, 2 ^ 31 - 1))
                assert(fs.writeFile(file, data))
                io.stderr:write(message, "\n", file, "\n")
                os.exit(1, true)
            end
        end
        timer.sleep(0)
    end
    print(("%s: %d inputs in %d s, none failed"):format(name, tried, seconds))
end

if mode == "replay" then replay() else search() end
