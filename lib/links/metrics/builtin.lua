-- What links itself measures. Requests are counted by C as they come (src/modules/http/measure.c);
-- all the rest is looked up when somebody asks: each process for itself, since it alone may write
-- its numbers, and all at the same time.
local ffi = require "ffi"
local core = require "links.core"
local binding = require "links.metrics.ffi"
local family = require "links.metrics.family"
local http = require "links.http.ffi"
local ipc = require "links.process.ipc"
local listening = require "links.listening"
local log = require "links.log.ffi"
local write_labels = require "links.metrics.labels"
local pools = require "links.pools"
local process_ffi = require "links.process.ffi"
local report = require "links.report"
local tls = require "links.tls.ffi"

local COUNTER, SUM, HISTOGRAM = binding.COUNTER, binding.SUM, binding.HISTOGRAM

local ASK_MS = 250 -- for the other workers; then what they have told before is taken
local SERIES_MAX = 10000

local builtin = {}

-- For the process, not for this load of the module.
local state = core.metricsBuiltin or {
    cells = {}, -- name and labels -> cells
    bases = {}, -- the same -> what the process before us in this memory had counted
    seen = setmetatable({}, { __mode = "k" }), -- server -> what was counted of it
    functions = {}, -- of the program's
}
core.metricsBuiltin = state

-- --- Setting ------------------------------------------------------------------------------------

local function me()
    local process = require "links.process"
    if process.workerId then return tostring(process.workerId) end
    return ipc.workers() > 0 and "master" or nil
end

local function cells_of(kind, name, help, labels, bounds)
    local names, values = {}, {}
    for _, pair in ipairs(labels) do
        names[#names + 1], values[#values + 1] = pair[1], pair[2]
    end
    local text = write_labels(names, values)
    local key = name .. "\0" .. text
    local cells = state.cells[key]
    if cells then return cells, key end
    cells = family.get({
        kind = kind, name = name, help = help, labels = names, bounds = bounds or {},
        max = SERIES_MAX,
    }):cells(text)
    state.cells[key] = cells
    state.bases[key] = cells[0]
    return cells, key
end

local worker_label

local function with_worker(label, value)
    local labels = {}
    if label then labels[1] = { label, value } end
    if worker_label then labels[#labels + 1] = { "worker", worker_label } end
    return labels
end

-- Of this process, with its worker's number.
local function gauge(name, help, value, label, of)
    cells_of(SUM, name, help, with_worker(label, of))[0] = value
end

-- A number that only grows while the process is there.
local function counter(name, help, value, label, of)
    local cells, key = cells_of(COUNTER, name, help, with_worker(label, of))
    cells[0] = state.bases[key] + value
end

-- --- What there is ------------------------------------------------------------------------------

local function process_metrics()
    local process, system = require "links.process", require "links.system"
    local cpu, memory = process.cpuUsage(), process.memoryUsage()
    counter("process_cpu_seconds_total", "Processor time, user and system.",
        (cpu.user + cpu.sys) / 1000)
    gauge("process_resident_memory_bytes", "Physical memory.", memory.rss)
    local fds = process_ffi.C.links_process_fds()
    if fds >= 0 then gauge("process_open_fds", "Open descriptors.", fds) end
    local limit = system.limits("nofile")
    if limit then gauge("process_max_fds", "How many there may be.", limit.soft) end
    state.started = state.started or system.now() / 1000 - process.uptime()
    gauge("process_start_time_seconds", "When it was started.", state.started)
end

-- The loop's buckets are powers of two of a microsecond; these are enough of them.
local TURN_BUCKETS = { 7, 10, 13, 14, 15, 16, 17, 18, 19, 20, 22 }
local TURN_BOUNDS = {}
for i, power in ipairs(TURN_BUCKETS) do TURN_BOUNDS[i] = 2 ^ power / 1e6 end

local function turn_histogram(stats)
    local cells, key = cells_of(HISTOGRAM, "links_loop_turn_seconds",
        "For how long turns of the loop were busy.", with_worker(), TURN_BOUNDS)
    local n = #TURN_BOUNDS + 2
    state.turns = state.turns or {}
    local bases = state.turns[key]
    if not bases then
        bases = {}
        for i = 0, n - 1 do bases[i] = cells[i] end
        state.turns[key] = bases
    end
    local sums, at = {}, 0
    for i = 0, n - 2 do sums[i] = 0 end
    for power, turns in ipairs(stats.lag) do
        while TURN_BUCKETS[at + 1] and power > TURN_BUCKETS[at + 1] do at = at + 1 end
        sums[at] = sums[at] + turns
    end
    for i = 0, n - 2 do cells[i] = bases[i] + sums[i] end
    cells[n - 1] = bases[n - 1] + stats.busy / 1000
end

local function loop_metrics()
    local stats = core.stats()
    counter("links_loop_turns_total", "Turns of the loop.", stats.turns)
    counter("links_loop_busy_seconds_total", "How long they were busy.", stats.busy / 1000)
    turn_histogram(stats)
    gauge("links_tasks", "Tasks that are not over.", stats.tasks)
    counter("links_tasks_started_total", "Tasks that were started.", stats.spawned)
    counter("links_tasks_failed_total", "Tasks that ended by an error.", stats.failed)
    counter("links_task_resumes_total", "How often a task went on.", stats.resumes)
    gauge("links_timers", "Timers that are armed.", stats.timers)
    gauge("links_watchers", "Descriptors that are watched.", stats.watchers)
    gauge("links_lua_memory_bytes", "Memory of Lua's objects.", collectgarbage("count") * 1024)
    counter("links_gc_cycles_total", "How often Lua's collector has come round.", core.gcCycles())
end

-- How many connections have come to all servers of a kind, those that are gone included.
local function accepted(kind, server, n)
    state[kind] = (state[kind] or 0) + n - (state.seen[server] or 0)
    state.seen[server] = n
end

local STATES = { "idle", "reading", "writing", "upgraded" }

local function http_metrics()
    local sums = { busy = 0 }
    for _, name in ipairs(STATES) do sums[name] = 0 end
    for _, server in ipairs(listening.servers()) do
        if server._h and server.stats and server._served then
            local stats = server:stats()
            local rest = stats.connections
            for _, name in ipairs(STATES) do
                sums[name] = sums[name] + stats[name]
                rest = rest - stats[name]
            end
            sums.busy = sums.busy + math.max(rest, 0)
            accepted("http", server, stats.accepted)
        end
    end
    for name, n in pairs(sums) do
        gauge("links_http_connections", "Connections of HTTP servers.", n, "state", name)
    end
    counter("links_http_accepted_total", "Connections that came.", state.http or 0)
end

local function tcp_metrics()
    local connections = 0
    for _, server in ipairs(listening.servers()) do
        if server.stats and not server._served then
            local stats = server:stats()
            connections = connections + stats.connections
            accepted("tcp", server, stats.accepted)
        end
    end
    gauge("links_tcp_connections", "Connections of TCP servers.", connections)
    counter("links_tcp_accepted_total", "Connections that came to them.", state.tcp or 0)
end

local totals = ffi.new("double[3]")

local function tls_metrics()
    tls.C.links_tls_totals(totals)
    local name, help = "links_tls_handshakes_total", "TLS handshakes."
    counter(name, help, totals[0] - totals[1], "result", "full")
    counter(name, help, totals[1], "result", "resumed")
    counter(name, help, totals[2], "result", "failed")
end

local function dns_metrics()
    local dns = package.loaded["links.dns"]
    if not dns then return end
    local stats = dns.stats()
    counter("links_dns_queries_total", "Queries to DNS servers.", stats.queries)
    counter("links_dns_timeouts_total", "Those that nobody answered.", stats.timeouts)
    counter("links_dns_failures_total", "Questions without an answer.", stats.failures)
    counter("links_dns_cache_hits_total", "Questions that the cache answered.", stats.hits)
    counter("links_dns_cache_misses_total", "Questions that it did not.", stats.misses)
end

local function pool_metrics()
    for kind, all in pairs(pools.kinds()) do
        local idle, busy, waiting = 0, 0, 0
        for pool in pairs(all) do
            local stats = pool:stats()
            idle = idle + stats.idle
            busy = busy + (stats.active or stats.total - stats.idle)
            waiting = waiting + stats.waiting
        end
        local function set(name, help, value, of)
            local labels = with_worker("pool", kind)
            if of then table.insert(labels, 2, { "state", of }) end
            cells_of(SUM, name, help, labels)[0] = value
        end
        set("links_pool_connections", "Connections in pools.", idle, "idle")
        set("links_pool_connections", "Connections in pools.", busy, "busy")
        set("links_pool_waiting", "Tasks that wait for one.", waiting)
    end
end

local function cluster_metrics()
    local counts = core.clusterCounts
    if not counts then return end
    gauge("links_cluster_workers", "Workers that are there.", counts.workers())
    counter("links_cluster_restarts_total", "Workers that were replaced because they had ended.",
        counts.restarts)
    counter("links_cluster_reloads_total", "Reloads.", counts.reloads, "result", "done")
    counter("links_cluster_reloads_total", "Reloads.", counts.failed, "result", "failed")
end

local bus = ffi.new("double[5]")

local function websocket_metrics()
    local websocket = package.loaded["links.websocket"] and require "links.websocket.ffi"
    if not websocket then return end
    local counts = websocket.C.links_ws_counted()
    gauge("links_websocket_connections", "WebSockets.", counts.connections)
    counter("links_websocket_opened_total", "WebSockets that were opened.", counts.opened)
    counter("links_websocket_received_messages_total", "Messages that came.", counts.received)
    counter("links_websocket_sent_messages_total", "Messages to send, to each receiver.",
        counts.sent)
    counter("links_websocket_received_bytes_total", "Bytes of frames that came.",
        counts.received_bytes)
    counter("links_websocket_sent_bytes_total", "Bytes of frames to send.", counts.sent_bytes)
    websocket.C.links_ws_bus_stats(bus)
    local name, help = "links_websocket_dropped_total", "Messages that were not sent."
    counter(name, help, counts.dropped, "by", "connection")
    counter(name, help, bus[2], "by", "worker")
    gauge("links_websocket_topics", "Topics that somebody is subscribed to.", counts.topics)
    gauge("links_websocket_subscriptions", "Subscriptions.", counts.subscriptions)
end

-- Sets the numbers of one cache, or of those with one name.
local function cache_counts(name, counts)
    local function set(metric, help, value, level)
        local labels = with_worker("cache", name)
        if level then table.insert(labels, 2, { "level", level }) end
        local cells, key = cells_of(COUNTER, metric, help, labels)
        cells[0] = state.bases[key] + value
    end
    local entries = 0
    for made in pairs(counts.all) do entries = entries + (made.near or made).count end
    local hits = "links_cache_hits_total"
    set(hits, "Values that a cache had.", counts.near, "process")
    set(hits, "Values that a cache had.", counts.far, "shared")
    set("links_cache_misses_total", "Values that it did not have.", counts.missed)
    set("links_cache_stale_total", "Expired values that it gave.", counts.stale)
    gauge("links_cache_entries", "Values in the process.", entries, "cache", name)
end

local function cache_metrics()
    local cache = package.loaded["links.cache"]
    for name, counts in pairs(cache and cache._counted or {}) do cache_counts(name, counts) end
end

-- What all processes see alike: it is the same whoever says it.
local function same(name, help, value, labels)
    cells_of(binding.MAX, name, help, labels)[0] = value
end

local dict_counts = ffi.new("double[3]")

local function shared_metrics()
    local shared = package.loaded["links.shared"]
    for _, dict in pairs(shared and shared._opened or {}) do
        local stats, name = dict:stats(), dict.name
        local bytes = "links_shared_bytes"
        same("links_shared_items", "Keys of a shared dictionary.", stats.items, {{ "dict", name }})
        same(bytes, "Its memory.", stats.free, {{ "dict", name }, { "state", "free" }})
        same(bytes, "Its memory.", stats.capacity - stats.free,
            {{ "dict", name }, { "state", "used" }})
        ffi.C.links_dict_counts(dict.handle, dict_counts)
        counter("links_shared_hits_total", "Keys that were found.", dict_counts[0], "dict", name)
        counter("links_shared_misses_total", "Keys that were not.", dict_counts[1], "dict", name)
        counter("links_shared_evictions_total", "Keys that made room for others.", dict_counts[2],
            "dict", name)
    end
end

local PARTS = {
    process_metrics, loop_metrics, http_metrics, tcp_metrics, tls_metrics, dns_metrics,
    pool_metrics, cluster_metrics, websocket_metrics, cache_metrics, shared_metrics,
    function()
        counter("links_log_dropped_total", "Lines that no log could take.",
            log.C.links_log_dropped())
    end,
}

-- --- Requests -----------------------------------------------------------------------------------

local DURATIONS = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }

-- In these the worker makes no difference.
local function measure_http()
    local statuses = family.get {
        kind = COUNTER, name = "links_http_requests_total", labels = { "status" }, bounds = {},
        help = "Requests to HTTP servers, by the status of their answer.", max = 600,
    }
    local durations = family.get {
        kind = HISTOGRAM, name = "links_http_request_seconds", labels = {}, bounds = DURATIONS,
        help = "From the end of a request's head to the end of its answer.", max = 1000,
    }
    http.C.links_http_measure(statuses.place, durations.place,
        (cells_of(SUM, "links_http_requests_in_flight", "Requests that are under way.", {})),
        (cells_of(COUNTER, "links_http_received_bytes_total", "Bytes of requests.", {})),
        (cells_of(COUNTER, "links_http_sent_bytes_total", "Bytes of answers.", {})),
        durations.bounds_c, #DURATIONS)
end

--- Begins to measure. Once is enough.
function builtin.begin()
    if state.begun then return end
    state.begun = true
    worker_label = me()
    measure_http()
end

-- --- Collecting ---------------------------------------------------------------------------------

local function publish()
    builtin.begin()
    worker_label = me()
    for _, part in ipairs(PARTS) do part() end
    for _, entry in ipairs(state.functions) do
        local ok, err = pcall(entry.fn)
        if not ok then
            report.write("error", "metrics.onCollect(fn) " .. tostring(err))
        end
    end
end

--- Somebody else asks us to bring our numbers up to date: links.process.ipc.
function builtin.serve()
    publish()
    return true
end

--- Brings the numbers of all workers up to date, as far as they answer.
function builtin.collect()
    local others = ipc.others()
    local left, all = #others, core.queue()
    for _, other in ipairs(others) do
        core.spawn(function()
            pcall(ipc.ask, other, "metrics", nil, ASK_MS)
            left = left - 1
            if left == 0 then core.wakeAll(all) end
        end)
    end
    publish()
    while left > 0 do
        if core.park(all, ASK_MS, "metrics of other workers") ~= 0 then return end
    end
end

--- Adds a function of the program's; returns what takes it back.
function builtin.on_collect(fn)
    local entry = { fn = fn }
    table.insert(state.functions, entry)
    return function()
        for i, one in ipairs(state.functions) do
            if one == entry then return table.remove(state.functions, i) and nil end
        end
    end
end

return builtin
