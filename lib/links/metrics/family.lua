-- A metric and its series, as this process has them: where their numbers are. What kind it is and
-- what it is asked for, is of links.metrics.
local ffi = require "ffi"
local core = require "links.core"
local binding = require "links.metrics.ffi"
local ipc = require "links.process.ipc"
local report = require "links.report"
local write_labels = require "links.metrics.labels"

local C = binding.C

local LABELS_MAX = 4096 -- bytes of a series' labels, as they are written out

local family = {}

-- There is one process, even where the module is loaded anew (busted does that for each file).
local state = core.metricsState or { families = {}, opened = false }
core.metricsState = state

local function open()
    if state.opened then return end
    state.opened = true
    local rc = C.links_metrics_open(ipc.workers())
    if rc == 0 then return end
    local err = require("links.errors").new(rc, "shared memory")
    report.write("warn", "metrics: this process counts by itself: " .. tostring(err))
end

-- --- Series -------------------------------------------------------------------------------------

local Family = {}
Family.__index = Family

-- For series that there is no room for: what is counted there is never seen.
local function nowhere(self)
    self.lost = self.lost or ffi.new("double[66]") -- of a histogram with 64 buckets
    return self.lost
end

--- The cells of the series with these labels, as links.metrics.labels writes them; made if
--- need be. Beyond the limit, or where the memory is full, they are counted and go nowhere.
function Family:cells(text)
    if self.n >= self.max or #text > LABELS_MAX or self.place < 0 then
        family.refused(self)
        return nowhere(self)
    end
    local cells = C.links_metrics_series(self.place, text, #text)
    if cells == nil then
        family.refused(self)
        return nowhere(self)
    end
    self.n = self.n + 1
    return cells
end

--- The metric of that name, and whether it is new. `about`: kind, name, help, labels, bounds,
--- max: how many series.
function family.get(about)
    open()
    local known = state.families[about.name]
    if known then return known, false end
    local n = #about.bounds
    -- [?]: with values
    about.bounds_c = ffi.new("double[?]", math.max(n, 1), about.bounds)
    about.place = C.links_metrics_family(about.kind, about.name, #about.name, about.help,
        #about.help, about.bounds_c, n)
    about.n = 0
    state.families[about.name] = setmetatable(about, Family)
    return about, true
end

local REFUSED = {
    kind = binding.COUNTER, name = "links_metrics_refused_series_total", labels = { "metric" },
    help = "Label values beyond the limit of a metric, or of the memory.", bounds = {}, max = 1000,
}

--- Counts what a metric had no series for.
function family.refused(of)
    local counter = family.get(REFUSED)
    if of == counter then return end
    counter.by_name = counter.by_name or {}
    local cells = counter.by_name[of.name]
    if not cells then
        cells = counter:cells(write_labels(REFUSED.labels, { of.name }))
        counter.by_name[of.name] = cells
    end
    cells[0] = cells[0] + 1
end

return family
