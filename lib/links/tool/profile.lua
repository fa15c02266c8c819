-- links profile: samples a running program, and prints where it spends its time.
local process = require "links.process"
local client = require "links.tool.client"
local show = require "links.admin.show"

local USAGE = [[
usage: links profile [-t] [-i MS] [-w WORKER] PID|PATH [SECONDS]
  -t         a table of functions, and not the stacks (folded, as flame graphs want them)
  -i MS      a sample each MS of processor time, 1 to 1000. Default: 10
  -w WORKER  of this worker only, a number or "master"
  SECONDS    for how long, up to 3600. Default: 10. Ctrl-C ends it, with what there is so far
]]

local ROWS = 40

-- How many samples a function had at the top of the stack, and anywhere on it.
local function functions_of(folded)
    local own, all, names, sum = {}, {}, {}, 0
    for stack, n in folded:gmatch("([^\n]+) (%d+)\n") do
        n = tonumber(n)
        sum = sum + n
        local seen, last = {}, nil
        for frame in stack:gmatch("[^;]+") do
            last = frame
            if not seen[frame] then
                seen[frame] = true
                if not all[frame] then names[#names + 1] = frame end
                all[frame] = (all[frame] or 0) + n
            end
        end
        own[last] = (own[last] or 0) + n
    end
    table.sort(names, function(a, b)
        local x, y = own[a] or 0, own[b] or 0
        if x ~= y then return x > y end
        if all[a] ~= all[b] then return all[a] > all[b] end
        return a < b
    end)
    return names, own, all, sum
end

local function percent(n, sum)
    return ("%.1f%%"):format(100 * n / sum)
end

local function print_table(folded)
    local names, own, all, sum = functions_of(folded)
    local rows = { { "own", "all", "where" } }
    for i = 1, math.min(#names, ROWS) do
        local name = names[i]
        rows[#rows + 1] = { percent(own[name] or 0, sum), percent(all[name], sum), name }
    end
    io.stdout:write(sum, " samples\n", show.columns(rows))
end

-- Why there is nothing of some processes: one line; nil where all have answered.
local function silence_of(list)
    local silent = {}
    for _, entry in ipairs(list) do
        if entry.wrong then silent[#silent + 1] = show.who(entry.who) .. ": " .. entry.wrong end
    end
    return silent[1] and table.concat(silent, "; ")
end

return function(...)
    local known = { t = false, h = false, i = true, w = true }
    local options, rest = client.options("profile", USAGE, known, ...)
    if options.h then return io.stdout:write(USAGE) end
    if not rest[1] or rest[3] then return client.usage("profile", USAGE, "whom?") end
    local interval = client.number("profile", USAGE, options.i, 10, 1, 1000)
    local seconds = client.number("profile", USAGE, rest[2], 10, 0.001, 3600)
    local asked = client.connect("profile", rest[1])
    local whom = options.w and "@" .. options.w .. " " or ""
    process.on("SIGINT", function()
        client.connect("profile", rest[1]):ask(whom .. "profile-stop")
    end)
    local list = asked:ask_all(("%sprofile %g %d"):format(whom, seconds, interval),
        seconds * 1000 + 10000)
    local folded, silence = show.folded(list), silence_of(list)
    if folded == "" then
        return client.fail("profile",
            "no samples: " .. (silence or "it did not compute in that time"))
    end
    if silence then io.stderr:write("links profile: ", silence, "\n") end
    if options.t then return print_table(folded) end
    io.stdout:write(folded)
end
