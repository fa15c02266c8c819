-- The metrics of all processes as one text: Prometheus' format, or OpenMetrics.
local ffi = require "ffi"
local core = require "links.core"
local binding = require "links.metrics.ffi"

local C = binding.C
local COUNTER, MAX, MIN, HISTOGRAM = binding.COUNTER, binding.MAX, binding.MIN, binding.HISTOGRAM

local AT_ONCE = 2000 -- series between two looks at the rest of the world

local text = {}

local metric_ptr = ffi.typeof("const links_metric *")
local double_ptr = ffi.typeof("const double *")

-- --- Reading and merging ------------------------------------------------------------------------

local function bounds_of(metric)
    local list, bounds = {}, ffi.cast(double_ptr, metric.bytes)
    for i = 1, metric.nbounds do list[i] = bounds[i - 1] end
    return list
end

-- The family of a record among all; nil where another one, of another kind, has the name.
local function family_of(families, metric)
    local skip = metric.nbounds * 8
    local name = ffi.string(metric.bytes + skip, metric.len)
    local bounds = bounds_of(metric)
    local known = families[name]
    if not known then
        known = {
            name = name, kind = metric.kind, bounds = bounds, series = {}, order = {},
            help = ffi.string(metric.bytes + skip + metric.len, metric.help_len),
        }
        families[name] = known
        families[#families + 1] = known
    end
    if known.kind == metric.kind and table.concat(known.bounds, " ") == table.concat(bounds, " ")
    then
        return known
    end
end

local function merge_histogram(family, labels, cells)
    local n = #family.bounds + 2
    local sums = family.series[labels]
    if not sums then
        sums = {}
        for i = 1, n do sums[i] = 0 end
        family.series[labels] = sums
        table.insert(family.order, labels)
    end
    for i = 1, n do sums[i] = sums[i] + cells[i - 1] end
end

local function merge(family, labels, cells)
    if family.kind == HISTOGRAM then return merge_histogram(family, labels, cells) end
    local value, before = cells[0], family.series[labels]
    if not before then
        table.insert(family.order, labels)
    elseif family.kind == MAX then
        value = math.max(value, before)
    elseif family.kind == MIN then
        value = math.min(value, before)
    else
        value = value + before
    end
    family.series[labels] = value
end

-- What is counted stays when its process has gone; the rest goes with it.
local function stays(kind)
    return kind == COUNTER or kind == HISTOGRAM
end

local function read_slab(families, slab, breathe)
    local places, at = {}, slab.from
    while at < slab.to do
        local metric = ffi.cast(metric_ptr, slab.records + at)
        if metric.family == 0 then
            places[at] = family_of(families, metric)
        else
            local family = places[metric.family]
            if family and (slab.alive == 1 or stays(family.kind)) then
                merge(family, ffi.string(metric.bytes, metric.len), slab.cells + metric.cell)
            end
        end
        at = at + metric.size
        breathe()
    end
end

-- Those that are there come first: it is they who say what a name means.
local function read_all(breathe)
    local families, slabs = {}, {}
    local n = 0
    while true do
        local slab = ffi.new("links_slab")
        if C.links_metrics_slab(n, slab) == 0 then break end
        n = n + 1
        table.insert(slabs, slab.alive == 1 and 1 or #slabs + 1, slab)
    end
    for _, slab in ipairs(slabs) do read_slab(families, slab, breathe) end
    table.sort(families, function(a, b) return a.name < b.name end)
    return families
end

-- --- Writing ------------------------------------------------------------------------------------

local function number(value)
    if value ~= value then return "NaN" end
    if value == math.huge then return "+Inf" end
    if value == -math.huge then return "-Inf" end
    if value % 1 == 0 and math.abs(value) < 1e15 then return ("%d"):format(value) end
    local short = ("%.15g"):format(value)
    return tonumber(short) == value and short or ("%.17g"):format(value)
end

-- Of a bound: "1.0", as OpenMetrics wants it, in both formats, so that series are the same.
local function bound(value)
    local s = number(value)
    return s:find("^%-?%d+$") and s .. ".0" or s
end

local function write(out, name, labels, value)
    out[#out + 1] = name
    if labels ~= "" then out[#out + 1] = "{" .. labels .. "}" end
    out[#out + 1] = " " .. number(value) .. "\n"
end

local function write_histogram(out, family, labels)
    local cells, sum = family.series[labels], 0
    local before = labels ~= "" and labels .. "," or ""
    for i = 1, #family.bounds + 1 do
        sum = sum + cells[i]
        local le = family.bounds[i] and bound(family.bounds[i]) or "+Inf"
        write(out, family.name .. "_bucket", before .. 'le="' .. le .. '"', sum)
    end
    write(out, family.name .. "_sum", labels, cells[#cells])
    write(out, family.name .. "_count", labels, sum)
end

local TYPES = { [COUNTER] = "counter", [HISTOGRAM] = "histogram" }
local HELP_ESCAPES = { ["\\"] = "\\\\", ["\n"] = "\\n", ['"'] = '\\"' }

local function write_head(out, family, open)
    local name = family.name
    if open and family.kind == COUNTER then name = name:gsub("_total$", "") end
    if family.help ~= "" then
        local help = family.help:gsub(open and '[\\\n"]' or "[\\\n]", HELP_ESCAPES)
        out[#out + 1] = "# HELP " .. name .. " " .. help .. "\n"
    end
    out[#out + 1] = "# TYPE " .. name .. " " .. (TYPES[family.kind] or "gauge") .. "\n"
end

--- All metrics, as far as their processes have told.
---
--- @param open  boolean  as OpenMetrics
function text.render(open)
    local n = 0
    local function breathe()
        n = n + 1
        if n % AT_ONCE == 0 then core.yield() end
    end
    local out = {}
    for _, family in ipairs(read_all(breathe)) do
        if #family.order > 0 then
            write_head(out, family, open)
            table.sort(family.order)
            for _, labels in ipairs(family.order) do
                if family.kind == HISTOGRAM then
                    write_histogram(out, family, labels)
                else
                    write(out, family.name, labels, family.series[labels])
                end
                breathe()
            end
        end
    end
    if open then out[#out + 1] = "# EOF\n" end
    return table.concat(out)
end

return text
