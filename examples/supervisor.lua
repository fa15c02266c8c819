-- Keeps programs running: starts each Lua file that it is given as a process of its own, starts it
-- again when it dies, and takes all of them along when it ends.
--
--     links examples/supervisor.lua worker.lua web.lua
--
-- Ctrl-C or SIGTERM ends it and them; SIGHUP starts all of them anew; SIGUSR1 says how they are.
-- With PIDFILE in its environment it writes its process id into that file, which also sees to it
-- that there is only one of it.
local process = require "process"
local task = require "task"

local function say(...)
    io.stdout:write(os.date("%H:%M:%S "), string.format(...), "\n")
    io.stdout:flush()
end

if #process.argv == 0 then
    io.stderr:write("usage: links examples/supervisor.lua file.lua...\n")
    process.quit(2)
end

if process.env.PIDFILE then
    local ok, err = process.pidFile(process.env.PIDFILE)
    if not ok then
        io.stderr:write("supervisor: ", tostring(err), "\n")
        process.quit(1)
    end
end
process.title = "links: supervisor"

local workers = {} -- file -> the id that its first process had

local function start(file)
    local pid, err = process.fork { file = file, forever = true, title = "links: " .. file }
    if not pid then return say("%s cannot be started: %s", file, tostring(err)) end
    workers[file] = pid
    say("%s runs as %d", file, pid)
end

-- Stops all at the same time, each by SIGTERM and, if need be, by SIGKILL.
local function stop()
    local list = {}
    for file, pid in pairs(workers) do
        list[#list + 1] = function()
            local status = process.stop(pid)
            say("%s has ended: %s", file, status and (status.signal or status.code) or "?")
        end
    end
    workers = {}
    return task.all(list)
end

process.on("restart", function(child)
    local reason = child.reason
    say("%s (%d) has died: %s; it is started again in %d ms", child.file, child.pid,
        tostring(reason.signal or reason.code or reason), child.delay)
end)

process.on("SIGHUP", function()
    stop()
    for _, file in ipairs(process.argv) do start(file) end
end)

process.on("SIGUSR1", function()
    for _, child in ipairs(process.children()) do
        say("%s: %d, %s, started again %d times", child.file, child.pid,
            child.running and "running" or "waiting", child.restarts)
    end
end)

process.onShutdown(function(reason)
    say("%s: ending", reason)
    stop()
end)

for _, file in ipairs(process.argv) do start(file) end
if next(workers) == nil then process.quit(1) end

-- The workers keep this process alive.
