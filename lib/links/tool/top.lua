-- links top: how the processes of a running program do, again and again.
local ffi = require "ffi"
local client = require "links.tool.client"
local show = require "links.admin.show"
local timer = require "links.timer"

ffi.cdef "int isatty(int fd);"

local USAGE = [[
usage: links top [-n TIMES] [-d SECONDS] PID|PATH
  -n TIMES    so many tables, one below the other. Default: 1 where the output is no terminal;
              else until ctrl-C, each in the place of the one before
  -d SECONDS  from one look to the next, 0.1 to 3600. Default: 1
]]

-- The longest turn between two looks, by the buckets that have grown: up to how many ms.
local function lag_of(now, before)
    for i = #now.lag, 1, -1 do
        if now.lag[i] > (before.lag[i] or 0) then
            return i < #now.lag and "<" .. show.ms(math.max(2 ^ i / 1000, 1)) or "long"
        end
    end
    return "-"
end

local function rate(now, before, field, ms)
    return ("%.0f"):format(math.max(now[field] - before[field], 0) * 1000 / ms)
end

local function row_of(who, now, before)
    local ms = math.max(now.time - before.time, 1)
    return {
        who, now.pid, ("%.0f%%"):format((now.cpu - before.cpu) * 100 / ms), show.bytes(now.rss),
        show.bytes(now.lua), now.connections, rate(now, before, "requests", ms), now.tasks,
        ("%.0f%%"):format(math.min((now.busy - before.busy) * 100 / ms, 100)),
        lag_of(now, before), show.ms(now.uptime * 1000),
    }
end

local NAMES = {
    "process", "pid", "cpu", "memory", "lua", "conns", "req/s", "tasks", "busy", "turn", "up",
}

local function by_pid(list)
    local found = {}
    for _, entry in ipairs(list) do
        if entry.value then found[entry.value.pid] = entry.value end
    end
    return found
end

-- A process that is new has nothing to be compared with yet.
local function table_of(now, before)
    local rows, old, silent = { NAMES }, by_pid(before), {}
    for _, entry in ipairs(now) do
        local who, value = show.who(entry.who), entry.value
        if not value then
            silent[#silent + 1] = who .. ": " .. entry.wrong .. "\n"
        else
            rows[#rows + 1] = row_of(who, value, old[value.pid] or value)
        end
    end
    return show.columns(rows) .. table.concat(silent)
end

local function run(asked, times, delay, in_place)
    local before = asked:ask_all("stats")
    local n = 0
    while n < times do
        if not timer.sleep(delay * 1000) then return end
        local now = asked:ask_all("stats")
        n = n + 1
        local text = table_of(now, before)
        if in_place then
            io.stdout:write("\27[H\27[2J", asked.path, "  ", os.date("%H:%M:%S"), "\n\n", text)
        else
            io.stdout:write(n > 1 and "\n" or "", text)
        end
        io.stdout:flush()
        before = now
    end
end

return function(...)
    local options, rest = client.options("top", USAGE, { n = true, d = true, h = false }, ...)
    if options.h then return io.stdout:write(USAGE) end
    if not rest[1] or rest[2] then return client.usage("top", USAGE, "whom?") end
    local is_terminal = ffi.C.isatty(1) == 1
    local times = client.number("top", USAGE, options.n, is_terminal and math.huge or 1, 1, 1e9)
    local delay = client.number("top", USAGE, options.d, 1, 0.1, 3600)
    local asked = client.connect("top", rest[1])
    run(asked, times, delay, is_terminal and not options.n)
end
