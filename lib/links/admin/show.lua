-- The answers of processes as text for people: tables, lists, stacks.
local show = {}

-- --- Tables -------------------------------------------------------------------------------------

local function width_of(rows, column)
    local width = 0
    for _, row in ipairs(rows) do width = math.max(width, #tostring(row[column] or "-")) end
    return width
end

--- Columns side by side: `rows` of values, the first one of names; numbers stand to the right.
function show.columns(rows)
    local out, n = {}, #rows[1]
    local widths, right = {}, {}
    for column = 1, n do
        widths[column] = width_of(rows, column)
        right[column] = rows[2] ~= nil
        for i = 2, #rows do
            local value = rows[i][column]
            if value ~= nil and not tostring(value):find("^[%d.]+%a?%%?$") then
                right[column] = false
            end
        end
    end
    for _, row in ipairs(rows) do
        local cells = {}
        for column = 1, n do
            local text = row[column] == nil and "-" or tostring(row[column])
            local pad = (" "):rep(widths[column] - #text)
            cells[column] = right[column] and pad .. text or text .. pad
        end
        out[#out + 1] = (table.concat(cells, "  "):gsub("%s+$", "")) .. "\n"
    end
    return table.concat(out)
end

--- Bytes as people read them: "12M".
function show.bytes(n)
    for _, unit in ipairs { "", "K", "M", "G" } do
        if n < 1024 or unit == "G" then
            return unit == "" and ("%d"):format(n)
                or (n < 10 and "%.1f%s" or "%.0f%s"):format(n, unit)
        end
        n = n / 1024
    end
end

--- Milliseconds as people read them: "1.5s".
function show.ms(ms)
    if ms < 1000 then return ("%.0fms"):format(ms) end
    if ms < 60000 then return ("%.1fs"):format(ms / 1000) end
    if ms < 3600000 then return ("%.0fm"):format(ms / 60000) end
    return ("%.0fh"):format(ms / 3600000)
end

--- The name of a process: "worker 0", "master", "process" by itself.
function show.who(who)
    if who == nil then return "process" end
    return type(who) == "number" and "worker " .. who or who
end

-- --- Commands -----------------------------------------------------------------------------------

local function task_rows(value)
    local rows = { { "id", "name", "status", "waits for", "since" } }
    for _, t in ipairs(value.tasks) do
        rows[#rows + 1] = { t.id, t.name, t.cancelled and t.status .. ", cancelled" or t.status,
            t.waitsFor, t.ms and show.ms(t.ms) }
    end
    return rows
end

local function more_of(value)
    return value.more and "and " .. value.more .. " more\n" or ""
end

local views = {}

function views.tasks(value)
    if #value.tasks == 0 then return "no other task\n" end
    return show.columns(task_rows(value)) .. more_of(value)
end

function views.stacks(value)
    local out = {}
    for _, t in ipairs(value.tasks) do
        out[#out + 1] = ("task %d%s: %s%s\n%s\n"):format(t.id,
            t.name and " (" .. t.name .. ")" or "", t.status,
            t.waitsFor and " for " .. t.waitsFor .. ", " .. show.ms(t.ms) or "",
            ((t.stack or ""):gsub("^stack traceback:\n?", "")))
    end
    return #out == 0 and "no such task\n" or table.concat(out, "\n") .. more_of(value)
end

-- An array of tables with the same fields, by columns.
local function list_view(field, names)
    return function(value)
        local rows = { names }
        for _, entry in ipairs(value[field]) do
            local row = {}
            for i, name in ipairs(names) do row[i] = entry[name] end
            rows[#rows + 1] = row
        end
        return #rows == 1 and "none\n" or show.columns(rows)
    end
end

views.conns = list_view("servers", {
    "server", "connections", "idle", "reading", "writing", "upgraded", "queued", "accepted",
    "requests", "bytesIn", "bytesOut",
})
views.pools = list_view("pools", { "kind", "active", "total", "idle", "waiting", "size" })
views.dicts = list_view("dicts", {
    "name", "capacity", "free", "items", "hits", "misses", "evictions",
})

views["log-tail"] = function(value)
    return #value.lines == 0 and "" or table.concat(value.lines, "\n") .. "\n"
end

local function plain(value)
    local names, out = {}, {}
    for name in pairs(value) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        if type(value[name]) ~= "table" then
            out[#out + 1] = name .. " " .. tostring(value[name]) .. "\n"
        end
    end
    return table.concat(out)
end

--- The samples of all processes as folded stacks: a line each, the most frequent first.
function show.folded(list)
    local sums, stacks = {}, {}
    for _, entry in ipairs(list) do
        for stack, n in pairs(entry.value and entry.value.stacks or {}) do
            if not sums[stack] then stacks[#stacks + 1] = stack end
            sums[stack] = (sums[stack] or 0) + n
        end
    end
    table.sort(stacks, function(a, b)
        if sums[a] ~= sums[b] then return sums[a] > sums[b] end
        return a < b
    end)
    local out = {}
    for i, stack in ipairs(stacks) do out[i] = stack .. " " .. sums[stack] .. "\n" end
    return table.concat(out)
end

--- What the processes say, each under its name where there are several.
function show.text(command, list)
    if command == "profile" then return show.folded(list) end
    local view, out = views[command] or plain, {}
    for _, entry in ipairs(list) do
        if entry.who ~= nil then out[#out + 1] = show.who(entry.who) .. ":\n" end
        out[#out + 1] = entry.wrong and "error: " .. entry.wrong .. "\n" or view(entry.value)
    end
    return table.concat(out)
end

return show
