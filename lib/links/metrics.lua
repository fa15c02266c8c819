--- Metrics: what a program counts and measures, for Prometheus and what reads its format.
---
--- `metrics.handler()` answers with all of them, those of links itself among them. In a cluster any
--- worker answers for all: counters and histograms are added up, gauges as they ask for it. They
--- are in memory that the workers share, each with a part of its own: an `inc` is an addition to a
--- number, without a lock, and what a worker has counted stays when it is killed or replaced.
---
--- Names and labels are as Prometheus wants them: units are seconds and bytes, and the name of a
--- counter ends in `_total`, which is added where it is missing.
---
--- A metric with labels has a series for each combination of their values, and those are not to
--- come from a client: paths, user agents, ids. Beyond `maxSeries` of them, label values are
--- counted in `links_metrics_refused_series_total` only. There is room for some 8000 series of one
--- number in a process.
---
--- What links measures (a label `worker` says of whom, in a cluster):
---
--- - the process, by the usual names: `process_cpu_seconds_total`, `process_resident_memory_bytes`,
---   `process_open_fds`, `process_max_fds`, `process_start_time_seconds`
--- - turns of the loop; while one is busy everything else waits: `links_loop_turns_total`,
---   `links_loop_busy_seconds_total`, `links_loop_turn_seconds` (a histogram)
--- - tasks, armed timers and watched descriptors: `links_tasks`, `links_tasks_started_total`,
---   `links_tasks_failed_total`, `links_task_resumes_total`, `links_timers`, `links_watchers`
--- - Lua's memory, and how often its collector has come round: `links_lua_memory_bytes`,
---   `links_gc_cycles_total`
--- - requests to all HTTP servers, heads and bodies, since the program has loaded this module:
---   `links_http_requests_total` (by `status`; 499 is a client who left),
---   `links_http_request_seconds` (a histogram), `links_http_requests_in_flight`,
---   `links_http_received_bytes_total`, `links_http_sent_bytes_total`. Where a router has found the
---   route, the first two are by `method` and `route` too: those that the program has written,
---   "GET" (for HEAD as well; "*" for all) and "/user/:id", never a path that a client has sent. So
---   the first 1000 routes that are asked for are counted; the requests of further ones are among
---   those that have no route, which have neither label
--- - their connections: `links_http_connections` (by `state`), `links_http_accepted_total`; and of
---   TCP servers: `links_tcp_connections`, `links_tcp_accepted_total`
--- - WebSockets, of servers and clients: `links_websocket_connections`,
---   `links_websocket_opened_total`, messages (`links_websocket_received_messages_total`,
---   `links_websocket_sent_messages_total`: a published one for each receiver), bytes of frames
---   (`links_websocket_received_bytes_total`, `links_websocket_sent_bytes_total`),
---   `links_websocket_dropped_total` (by `by`: a connection that had too much to send, a worker
---   whose inbox was full), `links_websocket_topics`, `links_websocket_subscriptions`
--- - caches of cache.new, and of cache.lru that have a name: `links_cache_hits_total` (by `cache`
---   and `level`: process, shared), `links_cache_misses_total`, `links_cache_stale_total`,
---   `links_cache_entries`: the values in the process
--- - shared dictionaries that are open, by `dict`: `links_shared_items`, `links_shared_bytes` (by
---   `state`: used, free), `links_shared_hits_total`, `links_shared_misses_total`,
---   `links_shared_evictions_total`
--- - TLS handshakes, as server and as client: `links_tls_handshakes_total` (by `result`: full,
---   resumed, failed)
--- - look-ups: `links_dns_queries_total`, `links_dns_timeouts_total`, `links_dns_failures_total`,
---   `links_dns_cache_hits_total`, `links_dns_cache_misses_total`
--- - pools of connections, and tasks that wait for one: `links_pool_connections` (by `pool`, tcp,
---   http or redis, and `state`), `links_pool_waiting`
--- - lines that a log could not take: `links_log_dropped_total`
--- - what the master has done: `links_cluster_workers`, `links_cluster_restarts_total`,
---   `links_cluster_reloads_total` (by `result`)
--- - what there was no room for: `links_metrics_refused_series_total` (by `metric`)
local check = require "links.check"
local binding = require "links.metrics.ffi"
local builtin = require "links.metrics.builtin"
local family = require "links.metrics.family"
local write_labels = require "links.metrics.labels"
local system = require "links.system"

local C = binding.C

local metrics = {}

local COUNTER = "metrics.counter(name[, options])"
local GAUGE = "metrics.gauge(name[, options])"
local HISTOGRAM = "metrics.histogram(name[, options])"

local NAME_MAX, HELP_MAX, LABELS_MAX, BUCKETS_MAX = 200, 1000, 16, 64
local BUCKETS = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }

-- --- What is given -----------------------------------------------------------------------------

local function check_name(signature, name)
    check.type(signature, "name", name, "string", 3)
    if not name:find("^[%a_:][%w_:]*$") or #name > NAME_MAX then
        error(signature .. " name must be 1 to " .. NAME_MAX
            .. ' letters, digits, "_" and ":", and not begin with a digit, not "'
            .. name:sub(1, 80) .. '"', 4)
    end
end

local function check_labels(signature, labels, reserved)
    if #labels > LABELS_MAX then
        error(signature .. " options.labels has more than " .. LABELS_MAX .. " names", 4)
    end
    local seen = {}
    for i, label in ipairs(labels) do
        check.type(signature, "options.labels[" .. i .. "]", label, "string", 3)
        if not label:find("^[%a_][%w_]*$") or label:find("^__") or #label > NAME_MAX
            or label == reserved or seen[label] then
            error(signature .. " options.labels[" .. i .. '] must be letters, digits and "_", once,'
                .. ' not "' .. label:sub(1, 80) .. '"', 4)
        end
        seen[label] = true
    end
end

local function check_buckets(buckets)
    if #buckets < 1 or #buckets > BUCKETS_MAX then
        error(HISTOGRAM .. " options.buckets must have 1 to " .. BUCKETS_MAX .. " numbers", 3)
    end
    for i, bound in ipairs(buckets) do
        check.type(HISTOGRAM, "options.buckets[" .. i .. "]", bound, "number", 2)
        if bound ~= bound or math.abs(bound) == math.huge
            or (i > 1 and bound <= buckets[i - 1]) then
            error(HISTOGRAM .. " options.buckets must be numbers, each greater than the one before",
                3)
        end
    end
end

-- --- Series and metrics -------------------------------------------------------------------------

-- The methods of a series; a metric without labels is one itself.
local Counter, Gauge, Histogram = {}, {}, {}

local METHODS = {
    [binding.COUNTER] = Counter, [binding.SUM] = Gauge, [binding.MAX] = Gauge,
    [binding.MIN] = Gauge, [binding.HISTOGRAM] = Histogram,
}

local function same_list(a, b)
    return table.concat(a, "\0") == table.concat(b, "\0")
end

local function make(signature, about)
    local known, new = family.get(about)
    if not new and (known.kind ~= about.kind or not same_list(known.labels, about.labels)
        or not same_list(known.bounds, about.bounds)) then
        error(signature .. ' there is another metric "' .. about.name .. '"', 2)
    end
    local methods = METHODS[about.kind]
    if known.metric and getmetatable(known.metric) == methods then return known.metric end
    local metric = setmetatable({ _family = known, _series = {}, _by_value = {} }, methods)
    metric._bounds, metric._n = known.bounds_c, #known.bounds
    if #known.labels == 0 then
        known.single = known.single or known:cells("")
        metric._cell = known.single
    end
    -- The series by their labels stay where the module is loaded anew.
    known.cells_of = known.cells_of or {}
    known.metric = metric
    return metric
end

local LABELS = "metric:labels(...)"

local function values_of(names, ...)
    local values, n = { ... }, select("#", ...)
    if n == 1 and type(values[1]) == "table" then
        local given, unknown = values[1], {}
        for name in pairs(given) do unknown[name] = true end
        values, n = {}, #names
        for i, name in ipairs(names) do
            values[i], unknown[name] = given[name], nil
        end
        if next(unknown) ~= nil then
            error(LABELS .. " unknown label " .. tostring(next(unknown)), 4)
        end
    end
    if n ~= #names then
        error(LABELS .. " needs " .. #names .. " values (" .. table.concat(names, ", ") .. "), not "
            .. n, 4)
    end
    for i = 1, n do check.type(LABELS, names[i], values[i], "string|number|boolean", 3) end
    return values
end

local find_series

-- Of a metric: the series of these values, made when it is first asked for.
local function series_of(self, value, ...)
    -- One label is the usual case.
    local series = select("#", ...) == 0 and self._by_value[value]
    if series then return series end
    series = find_series(self, value, ...)
    if self._series[series._text] and type(value) == "string" and select("#", ...) == 0 then
        self._by_value[value] = series
    end
    return series
end

function find_series(self, ...)
    local known = self._family
    local names = known.labels
    if #names == 0 then error(LABELS .. " this metric has no labels", 3) end
    local text = write_labels(names, values_of(names, ...))
    local series = self._series[text]
    if series then return series end
    local cells = known.cells_of[text]
    if not cells then
        local before = known.n
        cells = known:cells(text)
        if known.n == before then
            -- One for all that are refused, or a client could fill the memory.
            return setmetatable({
                _cell = cells, _bounds = self._bounds, _n = self._n, _text = text,
            }, getmetatable(self))
        end
        known.cells_of[text] = cells
    end
    series = setmetatable({ _cell = cells, _bounds = self._bounds, _n = self._n, _text = text },
        getmetatable(self))
    self._series[text] = series
    return series
end

local function no_cell(self, signature)
    if getmetatable(self) and self._family then
        error(signature .. " this metric has labels: say which, metric:labels(...)", 3)
    end
    error(signature .. " is a method: call it with a colon", 3)
end

local function wrong_number(signature, name, value, least)
    check.type(signature, name, value, "number", 2)
    error(signature .. " " .. name .. " must be " .. (least and "0 or more" or "a number")
        .. ", not " .. tostring(value), 3)
end

-- --- Counters -----------------------------------------------------------------------------------

Counter.__index = Counter

--- Counts.
---
--- @param n  number  how much, 0 or more. Default: 1
--- @raise            `n` is no such number; the metric has labels
--- @usage local metrics = require "metrics"
--- metrics.counter("example_cups_total"):inc(2)
function Counter:inc(n)
    local cell = self._cell
    if not cell then no_cell(self, "counter:inc([n])") end
    if n == nil then
        cell[0] = cell[0] + 1
        return
    end
    if type(n) ~= "number" or not (n >= 0 and n < math.huge) then
        wrong_number("counter:inc([n])", "n", n, 0)
    end
    cell[0] = cell[0] + n
end

--- The series of a metric that has labels: it has the metric's other methods. Who needs one often
--- keeps it.
---
--- @param ...  string  the values, in the order of `options.labels`; numbers and booleans too. Or
---                     one table of them by their names
--- @return series
--- @raise              too few or too many values; one of another type; the metric has no labels
--- @usage local metrics = require "metrics"
--- local drinks = metrics.counter("example_drinks_total", { labels = { "kind", "hot" } })
--- drinks:labels("tea", true):inc()
--- drinks:labels({ kind = "milk", hot = false }):inc(2)
Counter.labels = series_of

--- What this process has counted so far; in a cluster, with that of the worker before it.
---
--- @return number
--- @usage local metrics = require "metrics"
--- local cups = metrics.counter("example_cups_total")
--- local before = cups:get()
--- cups:inc()
--- assert(cups:get() == before + 1)
function Counter:get()
    return (self._cell or no_cell(self, "counter:get()"))[0]
end

-- --- Gauges -------------------------------------------------------------------------------------

Gauge.__index = Gauge
Gauge.labels = series_of

--- Says how much there is.
---
--- @param value  number  how much
--- @raise                `value` is no number; the metric has labels
--- @usage require("metrics").gauge("example_temperature_celsius"):set(21.5)
function Gauge:set(value)
    local cell = self._cell
    if not cell then no_cell(self, "gauge:set(value)") end
    if type(value) ~= "number" then wrong_number("gauge:set(value)", "value", value) end
    cell[0] = value
end

local function adder(signature, sign)
    return function(self, n)
        local cell = self._cell
        if not cell then no_cell(self, signature) end
        n = n == nil and 1 or n
        if type(n) ~= "number" then wrong_number(signature, "n", n) end
        cell[0] = cell[0] + sign * n
    end
end

--- There is more.
---
--- @param n  number  by how much. Default: 1
--- @raise            `n` is no number; the metric has labels
--- @usage require("metrics").gauge("example_guests"):inc()
Gauge.inc = adder("gauge:inc([n])", 1)

--- There is less.
---
--- @param n  number  by how much. Default: 1
--- @raise            `n` is no number; the metric has labels
--- @usage require("metrics").gauge("example_guests"):dec()
Gauge.dec = adder("gauge:dec([n])", -1)

--- What this process has set.
---
--- @return number
--- @usage local metrics = require "metrics"
--- metrics.gauge("example_temperature_celsius"):set(20)
--- assert(metrics.gauge("example_temperature_celsius"):get() == 20)
function Gauge:get()
    return (self._cell or no_cell(self, "gauge:get()"))[0]
end

-- --- Histograms ---------------------------------------------------------------------------------

Histogram.__index = Histogram
Histogram.labels = series_of

--- Adds a value.
---
--- @param value  number  seconds, bytes, ...
--- @raise                `value` is no number; the metric has labels
--- @usage require("metrics").histogram("example_brewing_seconds"):observe(0.2)
function Histogram:observe(value)
    local cell = self._cell
    if not cell then no_cell(self, "histogram:observe(value)") end
    if type(value) ~= "number" or value ~= value then
        wrong_number("histogram:observe(value)", "value", value)
    end
    C.links_metrics_observe(cell, self._bounds, self._n, value)
end

local function timed(self, began, ok, ...)
    self:observe((system.hrtime() - began) / 1e9)
    if not ok then error((...), 0) end
    return ...
end

--- Calls a function and adds the seconds that it took, its waits included, however it ends.
---
--- @param fn   function  what to call
--- @param ...  any       its arguments
--- @return ...           what it returned
--- @raise                what it raised; `fn` is no function; the metric has labels
--- @wait
--- @usage local metrics, timer = require "metrics", require "timer"
--- local brewing = metrics.histogram("example_brewing_seconds")
--- assert(brewing:time(timer.sleep, 2) == true)
function Histogram:time(fn, ...)
    check.type("histogram:time(fn, ...)", "fn", fn, "function")
    if not self._cell then no_cell(self, "histogram:time(fn, ...)") end
    return timed(self, system.hrtime(), pcall(fn, ...))
end

-- --- The module ---------------------------------------------------------------------------------

local function options_of(signature, name, options, known, reserved)
    check_name(signature, name)
    known.help = { type = "string", default = "" }
    known.labels = { type = "table", default = {} }
    known.maxSeries = { type = "integer", min = 1, max = 100000, default = 1000 }
    local o = check.options(signature, options, known, 2)
    check_labels(signature, o.labels, reserved)
    local labels = {}
    for i, label in ipairs(o.labels) do labels[i] = label end
    return o, { name = name, help = o.help:sub(1, HELP_MAX), labels = labels, bounds = {},
        max = o.maxSeries }
end

--- Makes a counter: what only grows. The same name gives the same counter.
---
--- @param name     string  letters, digits, "_" and ":", up to 200; `_total` is added where the
---                         name does not end so
--- @param options  table   help       ""    what it is, one line of up to 1000 bytes
---                         labels     {}    names of labels, up to 16
---                         maxSeries  1000  combinations of their values that are counted apart
--- @return counter         :inc() :labels() :get()
--- @raise                  an argument of another type or out of bounds, an unknown option; there
---                         is a metric of that name of another kind or with other labels
--- @usage local metrics = require "metrics"
--- local orders = metrics.counter("example_orders_total", { labels = { "size" } })
--- orders:labels("small"):inc()
--- assert(orders:labels("small"):get() >= 1)
function metrics.counter(name, options)
    local _, about = options_of(COUNTER, name, options, {})
    if not about.name:find("_total$") then about.name = about.name .. "_total" end
    about.kind = binding.COUNTER
    return make(COUNTER, about)
end

local MERGES = { sum = binding.SUM, max = binding.MAX, min = binding.MIN }

--- Makes a gauge: what goes up and down. The same name gives the same gauge.
---
--- @param name     string  letters, digits, "_" and ":", up to 200
--- @param options  table   help, labels, maxSeries as for metrics.counter
---                         merge  "sum"  what the workers of a cluster have together: "sum", "max"
---                                       or "min"; that of a worker is gone with it
--- @return gauge           :set() :inc() :dec() :labels() :get()
--- @raise                  as metrics.counter; an unknown `merge`
--- @usage local metrics = require "metrics"
--- metrics.gauge("example_queue_length", { merge = "max", help = "Guests who wait." }):set(3)
function metrics.gauge(name, options)
    local o, about = options_of(GAUGE, name, options,
        { merge = { type = "string", default = "sum" } })
    about.kind = MERGES[o.merge]
    if not about.kind then
        error(GAUGE .. ' options.merge must be "sum", "max" or "min", not "' .. o.merge .. '"', 2)
    end
    return make(GAUGE, about)
end

--- Makes a histogram: how many values there were up to each of some bounds, and their sum. The same
--- name gives the same histogram.
---
--- @param name     string  letters, digits, "_" and ":", up to 200
--- @param options  table   help, labels, maxSeries as for metrics.counter; "le" is no label
---                         buckets  the upper bounds, up to 64. Default: 0.001, 0.0025, 0.005,
---                                  0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, for seconds
--- @return histogram       :observe() :time() :labels()
--- @raise                  as metrics.counter; bounds that do not increase
--- @usage local metrics = require "metrics"
--- local sizes = metrics.histogram("example_upload_bytes", { buckets = { 1000, 100000, 1e7 } })
--- sizes:observe(512)
function metrics.histogram(name, options)
    local o, about = options_of(HISTOGRAM, name, options,
        { buckets = { type = "table", default = BUCKETS } }, "le")
    check_buckets(o.buckets)
    for i, bound in ipairs(o.buckets) do about.bounds[i] = bound end
    about.kind = binding.HISTOGRAM
    return make(HISTOGRAM, about)
end

--- Calls a function each time that somebody asks for the metrics, in every worker, for gauges that
--- are looked up then. It is not to take long: who asks waits 250 ms for the other workers, and
--- then takes what they had set before. What it raises is printed.
---
--- @param fn  function  fn()
--- @return function     takes that back when it is called
--- @raise               `fn` is no function
--- @usage local metrics = require "metrics"
--- local free = metrics.gauge("example_free_bytes")
--- local stop = metrics.onCollect(function() free:set(require("system").meminfo().free) end)
--- assert(metrics.text():find("example_free_bytes", 1, true))
--- stop()
function metrics.onCollect(fn)
    check.type("metrics.onCollect(fn)", "fn", fn, "function")
    return builtin.on_collect(fn)
end

local FORMATS = { prometheus = true, openmetrics = true }

--- All metrics as text; in a cluster those of all workers.
---
--- @param format  string  "prometheus" (the text format, version 0.0.4) or "openmetrics" (1.0.0).
---                        Default: "prometheus"
--- @return string
--- @raise                 another format
--- @wait
--- @usage local metrics = require "metrics"
--- metrics.counter("example_cups_total"):inc()
--- assert(metrics.text():find("\nexample_cups_total %d"))
function metrics.text(format)
    if format ~= nil and not FORMATS[format] then
        error('metrics.text([format]) format must be "prometheus" or "openmetrics"', 2)
    end
    builtin.collect()
    return require("links.metrics.text").render(format == "openmetrics")
end

local TYPES = {
    [true] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
    [false] = "text/plain; version=0.0.4; charset=utf-8",
}

--- Makes a handler that answers with all metrics; in a cluster with those of all workers, whichever
--- is asked. In OpenMetrics where the client prefers that (by Accept), as Prometheus does.
---
--- Metrics tell much of a program: serve them where only those come who may see them.
---
--- @return function   a handler, for router:get
--- @usage local http, metrics = require "http", require "metrics"
--- local app = http.router()
--- app:get("/metrics", metrics.handler())
--- local status, _, body = app:call("GET", "/metrics")
--- assert(status == 200 and body:find("process_cpu_seconds_total", 1, true))
function metrics.handler()
    return function(req, res)
        local open = (req:header("accept") or ""):find("application/openmetrics-text", 1, true)
        res:setHeader("Content-Type", TYPES[open ~= nil])
        res:setHeader("Cache-Control", "no-store")
        return metrics.text(open and "openmetrics" or "prometheus")
    end
end

builtin.begin()

return metrics
