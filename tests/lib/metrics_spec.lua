package.path = "tests/support/?.lua;" .. package.path
local http = require "http"
local metrics = require "metrics"
local program = require "program"
local timer = require "timer"

local serial = 0
local function name(base)
    serial = serial + 1
    return "spec_" .. base .. "_" .. serial
end

local function value_of(text, series)
    return tonumber(text:match("\n" .. series:gsub("[^%w]", "%%%0") .. " (%S+)\n"))
end

local function fails(pattern, fn, ...)
    local ok, message = pcall(function(...)
        local value = fn(...)
        return value
    end, ...)
    assert.is_false(ok)
    assert.matches(pattern, message)
    assert.matches("metrics_spec", message)
end

describe("a counter", function()
    it("counts by one or by more, and its name ends in _total", function()
        local base = name("cups")
        local counter = metrics.counter(base, { help = "Cups \\ of\ntea." })
        counter:inc()
        counter:inc(2.5)
        counter:inc(0)
        assert.equal(3.5, counter:get())
        local text = metrics.text()
        assert.equal(3.5, value_of(text, base .. "_total"))
        assert.is_truthy(text:find("# HELP " .. base .. "_total Cups \\\\ of\\ntea.\n# TYPE "
            .. base .. "_total counter\n", 1, true))
    end)

    it("is the same by the same name, with and without _total", function()
        local base = name("cups")
        assert.equal(metrics.counter(base), metrics.counter(base .. "_total"))
        fails("there is another metric", metrics.counter, base, { labels = { "a" } })
        fails("there is another metric", metrics.gauge, base .. "_total")
    end)

    it("takes no negative number, nan, infinity or text", function()
        local counter = metrics.counter(name("cups"))
        for _, n in ipairs { -1, 0 / 0, math.huge } do
            fails("counter:inc%(%[n%]%) n must be 0 or more", counter.inc, counter, n)
        end
        fails("n must be %[number%]", counter.inc, counter, "1")
        assert.equal(0, counter:get())
    end)
end)

describe("a gauge", function()
    it("is set, and goes up and down", function()
        local base = name("guests")
        local gauge = metrics.gauge(base)
        gauge:set(5)
        gauge:inc()
        gauge:dec(3)
        gauge:inc(0.5)
        assert.equal(3.5, gauge:get())
        local text = metrics.text()
        assert.equal(3.5, value_of(text, base))
        assert.is_truthy(text:find("# TYPE " .. base .. " gauge\n", 1, true))
        for _, method in ipairs { "set", "inc", "dec" } do
            fails("%[number%]", gauge[method], gauge, "x")
        end
    end)

    it("may be anything that a number can be", function()
        local base = name("odd")
        local gauge = metrics.gauge(base)
        for value, text in pairs {
            [math.huge] = "+Inf", [-math.huge] = "-Inf", [1e300] = "1e+300", [0.1] = "0.1",
            [2 ^ 53] = "9007199254740992", [-7] = "-7", [1 / 3] = "0.33333333333333331",
        } do
            gauge:set(value)
            assert.equal(text, metrics.text():match("\n" .. base .. " (%S+)\n"))
        end
        gauge:set(0 / 0)
        assert.equal("NaN", metrics.text():match("\n" .. base .. " (%S+)\n"))
    end)

    it("is merged as it says", function()
        fails('options.merge must be "sum", "max" or "min", not "avg"', metrics.gauge, name("m"),
            { merge = "avg" })
        assert.is_truthy(metrics.gauge(name("m"), { merge = "min" }))
    end)
end)

describe("a histogram", function()
    it("counts values up to each bound, which belong to it, and their sum", function()
        local base = name("sizes")
        local histogram = metrics.histogram(base, { buckets = { -1, 0.5, 10 } })
        for _, v in ipairs { -5, -1, 0, 0.5, 0.6, 10, 11 } do histogram:observe(v) end
        local text = metrics.text()
        assert.equal(2, value_of(text, base .. '_bucket{le="-1.0"}'))
        assert.equal(4, value_of(text, base .. '_bucket{le="0.5"}'))
        assert.equal(6, value_of(text, base .. '_bucket{le="10.0"}'))
        assert.equal(7, value_of(text, base .. '_bucket{le="+Inf"}'))
        assert.equal(7, value_of(text, base .. "_count"))
        assert.near(16.1, value_of(text, base .. "_sum"), 1e-9)
        fails("value must be a number", histogram.observe, histogram, 0 / 0)
    end)

    it("takes the time of a function, its waits and its error included", function()
        local base = name("brewing_seconds")
        local histogram = metrics.histogram(base)
        assert.same({ true, nil }, { histogram:time(timer.sleep, 3) })
        assert.equal("no", select(2, pcall(histogram.time, histogram, error, "no")))
        local text = metrics.text()
        assert.equal(2, value_of(text, base .. "_count"))
        local sum = value_of(text, base .. "_sum")
        assert.is_true(sum >= 0.003 and sum < 20)
    end)

    it("wants bounds that increase, 1 to 64 of them, and no label le", function()
        local many = {}
        for i = 1, 65 do many[i] = i end
        for _, buckets in ipairs { {}, many } do
            fails("must have 1 to 64 numbers", metrics.histogram, name("h"), { buckets = buckets })
        end
        for _, buckets in ipairs { { 1, 1 }, { 2, 1 }, { 0 / 0 }, { math.huge } } do
            fails("each greater than", metrics.histogram, name("h"), { buckets = buckets })
        end
        fails("options.labels%[1%]", metrics.histogram, name("h"), { labels = { "le" } })
    end)
end)

describe("labels", function()
    it("make a series for each combination of values, which is written out", function()
        local base = name("drinks")
        local counter = metrics.counter(base, { labels = { "kind", "hot" } })
        counter:labels("tea", true):inc()
        counter:labels({ hot = false, kind = 'a "b" \\ c\nd' }):inc(2)
        counter:labels("tea", true):inc()
        local text = metrics.text()
        assert.equal(2, value_of(text, base .. '_total{kind="tea",hot="true"}'))
        assert.equal(2, value_of(text, base .. '_total{kind="a \\"b\\" \\\\ c\\nd",hot="false"}'))
    end)

    it("keep values apart that look alike in Lua's eyes only, and are one where they do not",
        function()
            local base = name("kinds")
            local counter = metrics.counter(base, { labels = { "kind" } })
            counter:labels(1):inc()
            counter:labels("1"):inc()
            counter:labels(true):inc()
            counter:labels("caf\233"):inc()
            local text = metrics.text()
            assert.equal(2, value_of(text, base .. '_total{kind="1"}'))
            assert.equal(1, value_of(text, base .. '_total{kind="true"}'))
            assert.equal(1, value_of(text, base .. '_total{kind="caf?"}'))
        end)

    it("must be as many as the metric has, and known", function()
        local counter = metrics.counter(name("drinks"), { labels = { "kind", "hot" } })
        fails("needs 2 values %(kind, hot%), not 1", counter.labels, counter, "tea")
        fails("needs 2 values", counter.labels, counter, "tea", 1, 2)
        fails("unknown label cold", counter.labels, counter, { kind = 1, cold = 3 })
        fails("hot must be", counter.labels, counter, { kind = 1 })
        fails("kind must be", counter.labels, counter, nil, 1)
        fails("this metric has labels", counter.inc, counter)
        fails("this metric has no labels", metrics.gauge(name("g")).labels,
            metrics.gauge(name("g")), 1)
    end)

    it("beyond the limit are counted and kept nowhere", function()
        local base = name("paths")
        local counter = metrics.counter(base, { labels = { "path" }, maxSeries = 3 })
        for i = 1, 10 do counter:labels("/" .. i):inc() end
        counter:labels("/2"):inc()
        local text = metrics.text()
        assert.equal(2, value_of(text, base .. '_total{path="/2"}'))
        assert.is_nil(value_of(text, base .. '_total{path="/4"}'))
        assert.equal(7, value_of(text,
            'links_metrics_refused_series_total{metric="' .. base .. '_total"}'))
    end)

    it("have names that Prometheus takes", function()
        for _, label in ipairs { "", "1a", "a-b", "__a", "a b", ("x"):rep(201) } do
            fails("options.labels%[1%]", metrics.gauge, name("g"), { labels = { label } })
        end
        fails("options.labels%[2%]", metrics.gauge, name("g"), { labels = { "a", "a" } })
        local many = {}
        for i = 1, 17 do many[i] = "l" .. i end
        fails("more than 16", metrics.gauge, name("g"), { labels = many })
    end)
end)

describe("the names of metrics", function()
    it("are those that Prometheus takes", function()
        for _, bad in ipairs { "", "1a", "a-b", "a b", ("x"):rep(201), "a\n" } do
            for _, kind in ipairs { "counter", "gauge", "histogram" } do
                fails("metrics." .. kind .. "%(name%[, options%]%) name must be", metrics[kind],
                    bad)
            end
        end
        fails("name must be %[string%]", metrics.counter, 5)
        fails("did you mean \"help\"", metrics.counter, name("c"), { hepl = "" })
        fails("options.maxSeries", metrics.counter, name("c"), { maxSeries = 0 })
    end)
end)

describe("metrics.text", function()
    it("has what links measures", function()
        local text = metrics.text()
        for _, series in ipairs {
            "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
            "links_loop_turns_total", "links_tasks", "links_lua_memory_bytes",
            "links_http_requests_in_flight", "links_log_dropped_total", "links_timers",
            'links_tls_handshakes_total{result="full"}', 'links_http_connections{state="idle"}',
        } do
            assert.is_truthy(value_of(text, series), series)
        end
        assert.is_true(value_of(text, "links_tasks") >= 1)
        assert.is_true(value_of(text, "process_open_fds") >= 3)
        assert.equal(value_of(text, "links_loop_turns_total"),
            value_of(text, "links_loop_turn_seconds_count"))
    end)

    it("counts the collector's cycles", function()
        local before = value_of(metrics.text(), "links_gc_cycles_total")
        for _ = 1, 4 do collectgarbage() end
        assert.is_true(value_of(metrics.text(), "links_gc_cycles_total") >= before + 2)
    end)

    it("is OpenMetrics where that is asked for", function()
        local base = name("cups")
        metrics.counter(base, { help = 'with "quotes"' }):inc()
        local text = metrics.text("openmetrics")
        assert.is_truthy(text:find("# HELP " .. base .. ' with \\"quotes\\"\n# TYPE ' .. base
            .. " counter\n" .. base .. "_total 1\n", 1, true))
        assert.equal("# EOF\n", text:sub(-6))
        fails('format must be "prometheus" or "openmetrics"', metrics.text, "json")
    end)

    it("calls the functions of onCollect, whose errors harm nobody", function()
        local gauge = metrics.gauge(name("looked_up"))
        local stop = metrics.onCollect(function() gauge:inc() end)
        local report = require "links.report"
        local said
        local write = report.write
        report.write = function(level, text) said = level .. " " .. text end
        local stop_bad = metrics.onCollect(function() error("no luck") end)
        metrics.text()
        report.write = write
        stop_bad()
        assert.matches("^error metrics.onCollect.*no luck", said)
        stop()
        metrics.text()
        assert.equal(1, gauge:get())
        fails("fn must be %[function%]", metrics.onCollect, 1)
    end)

    it("has thousands of series, and says so where there is no more room", function()
        local result = program.eval [[
            local metrics = require "metrics"
            local gauge = metrics.gauge("many", { labels = { "id" }, maxSeries = 100000 })
            metrics.counter("refused", { labels = { "id" }, maxSeries = 1 }):labels("a")
            metrics.counter("refused", { labels = { "id" }, maxSeries = 1 }):labels("b")
            metrics.counter("orders"):inc(7)
            for i = 1, 16400 do gauge:labels("some longer text " .. i):set(1) end
            metrics.counter("late"):inc()
            metrics.gauge("later", { labels = { "a" } }):labels("x"):set(1)
            local text = metrics.text()
            print((select(2, text:gsub("\nmany{", ""))))
            print(text:match('\nlinks_metrics_refused_series_total{metric="refused_total"} (%d+)'))
            print(text:match("\norders_total (%d+)"), text:find("late"))
        ]]
        local n = tonumber(result.out:match("^%d+"))
        assert.is_true(n > 4000 and n < 16400)
        assert.equal(n .. "\n1\n7\tnil\n", result.out .. result.err)
    end)
end)

describe("a server's requests", function()
    local function serve(handler)
        return assert(http.createServer(0, handler, { host = "127.0.0.1" }))
    end

    -- How much each series has grown, of what a second text says.
    local function growth(before)
        return function(text, series)
            return (value_of(text, series) or 0) - (value_of(before, series) or 0)
        end
    end

    it("are counted by route and status, with their bytes and their time", function()
        local app = http.router()
        app:get("/metrics", metrics.handler())
        app:get("/hello", function() return "hello" end)
        local server = serve(app)
        local url = "http://127.0.0.1:" .. server:address().port
        local grown = growth(metrics.text())
        for _ = 1, 3 do assert.equal("hello", assert(http.get(url .. "/hello")).body) end
        assert.equal(404, assert(http.get(url .. "/nothing")).status)
        local res = assert(http.get(url .. "/metrics"))
        assert.equal("text/plain; version=0.0.4; charset=utf-8", res.headers["content-type"])
        local text, route = res.body, 'method="GET",route="/hello"'
        assert.equal(3, grown(text, "links_http_requests_total{" .. route .. ',status="200"}'))
        assert.equal(1, grown(text, 'links_http_requests_total{status="404"}'))
        assert.equal(3, grown(text, "links_http_request_seconds_count{" .. route .. "}"))
        assert.equal(1, grown(text, "links_http_request_seconds_count"))
        assert.equal(1, grown(text, "links_http_requests_in_flight"))
        assert.is_true(grown(text, "links_http_sent_bytes_total") > 400)
        assert.is_true(grown(text, "links_http_received_bytes_total") > 200)
        assert.is_true(grown(text, "links_http_accepted_total") >= 1)
        res = assert(http.get(url .. "/metrics", { headers = {
            accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
        } }))
        assert.equal("application/openmetrics-text; version=1.0.0; charset=utf-8",
            res.headers["content-type"])
        assert.equal("# EOF\n", res.body:sub(-6))
        server:close()
        assert.equal(0, value_of(metrics.text(), "links_http_requests_in_flight"))
    end)

    it("are their route's whichever way it is found, and no client makes a label", function()
        local app, inner = http.router(), http.router()
        app:get("/user/:id", function() return 201 end)
        app:get("/word/:id<%a+>", function() return 201 end)
        app:all("/any", function() return 201 end)
        inner:get('/a"b/*rest', function() return 201 end)
        app:mount("/inner", inner)
        local server = serve(app)
        local url = "http://127.0.0.1:" .. server:address().port
        local before = metrics.text()
        local grown = growth(before)
        for _, path in ipairs {
            "/user/1", "/user/%41", "/user/2/", "/word/x", "/any", "/inner/a%22b/c/d",
            "/inner/a%22b/e", "/evil-1", "/evil-2/3",
        } do
            assert(http.get(url .. path))
        end
        assert(http.post(url .. "/any"))
        local text = metrics.text()
        for labels, n in pairs {
            ['method="GET",route="/user/:id",status="201"'] = 3,
            ['method="GET",route="/word/:id<%a+>",status="201"'] = 1,
            ['method="*",route="/any",status="201"'] = 2,
            ['method="GET",route="/inner/a\\"b/*rest",status="201"'] = 2,
            ['status="404"'] = 2,
        } do
            assert.equal(n, grown(text, "links_http_requests_total{" .. labels .. "}"), labels)
        end
        assert.is_nil(text:find("evil", 1, true))
        server:close()
    end)

    it("of more than a thousand routes are counted, the last ones without their route", function()
        local result = program.eval [[
            local http, metrics = require "http", require "metrics"
            local app = http.router()
            for i = 1, 1010 do app:get("/r" .. i, function() return "ok" end) end
            local server = http.createServer(0, app, { host = "127.0.0.1" })
            local url = "http://127.0.0.1:" .. server:address().port .. "/r"
            for _ = 1, 2 do
                for i = 1, 1010 do assert(http.get(url .. i)) end
            end
            local text = metrics.text()
            local routes, requests, rest = {}, 0, 0
            for labels, n in text:gmatch("\nlinks_http_requests_total{([^}]*)} (%d+)") do
                local route = labels:match('route="([^"]*)"')
                if route then routes[#routes + 1] = route else rest = rest + n end
                requests = requests + n
            end
            print(#routes, requests, rest)
            print(text:match("\nlinks_http_request_seconds_count (%d+)"))
            metrics.counter("of_the_program"):inc()
            print(metrics.text():match("\nof_the_program_total (%d+)"))
            server:close()
        ]]
        assert.equal("1000\t2020\t20\n20\n1\n", result.out .. result.err)
    end)

    it("that are refused, or whose client leaves, are counted too", function()
        local started
        local server = serve(function()
            started = true
            timer.sleep(20000)
        end)
        local tcp = require "tcp"
        local grown_in = growth(metrics.text())
        local function grown(series) return grown_in(metrics.text(), series) end
        local socket = assert(tcp.connect(server:address().port, "127.0.0.1"))
        assert(socket:write("GET / HTTP/1.1\r\n\r\n"))
        assert.matches("^HTTP/1.1 400", (socket:readAll()))
        assert.equal(1, grown('links_http_requests_total{status="400"}'))
        socket = assert(tcp.connect(server:address().port, "127.0.0.1"))
        assert(socket:write("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
        local give_up = timer.now() + 10000
        while not started and timer.now() < give_up do timer.sleep(1) end
        assert.equal(1, grown("links_http_requests_in_flight"))
        socket:close(true)
        while grown('links_http_requests_total{status="499"}') == 0 and timer.now() < give_up do
            timer.sleep(1)
        end
        assert.equal(1, grown('links_http_requests_total{status="499"}'))
        assert.equal(0, grown("links_http_requests_in_flight"))
        server:close(0)
    end)
end)

describe("the metrics of other parts", function()
    it("are those of WebSockets: connections, messages, bytes, topics, what was dropped", function()
        local result = program.eval [[
            local metrics, timer = require "metrics", require "timer"
            local websocket = require "websocket"
            local server = assert(websocket.createServer(0, function(ws)
                ws:subscribe("news")
                ws:subscribe("sport")
                for message in function() return (ws:read()) end do ws:write(message) end
            end, { host = "127.0.0.1", maxBuffered = 100, onOverflow = "dropNew" }))
            local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
            for _ = 1, 3 do
                ws:write("hello")
                assert(ws:read() == "hello")
            end
            websocket.publish("news", ("x"):rep(60))
            websocket.publish("news", ("x"):rep(60))
            assert(ws:read():len() == 60)
            local function show(...)
                local text, out = metrics.text(), {}
                for i, name in ipairs { ... } do
                    name = "\nlinks_websocket_" .. name:gsub("%p", "%%%0") .. " (%S+)\n"
                    out[i] = text:match(name) or "nothing"
                end
                return table.concat(out, " ")
            end
            print(show("connections", "opened_total", "topics", "subscriptions"))
            print(show("received_messages_total", "sent_messages_total",
                'dropped_total{by="connection"}', "received_bytes_total", "sent_bytes_total"))
            ws:close()
            local give_up, now = timer.now() + 10000, nil
            repeat
                timer.sleep(1)
                now = show("connections", "topics", "subscriptions")
            until now == "0 0 0" or timer.now() > give_up
            print(now)
            server:close(0)
        ]]
        -- Both ends are in this process. A frame has a head of 2 bytes, a client's one of 6.
        local bytes = 3 * (7 + 11) + 62
        assert.equal(("2 2 2 2\n7 7 1 %d %d\n0 0 0\n"):format(bytes, bytes),
            result.out .. result.err)
    end)

    it("are those of caches and of shared memory", function()
        local result = program.eval [[
            local cache, metrics, shared = require "cache", require "metrics", require "shared"
            local dict = assert(shared.open("spec-metrics-" .. require("process").pid, 2^20))
            local near = cache.lru(10, { name = "near" })
            near:set("a", 1)
            near:get("a")
            near:get("b")
            local users = assert(cache.new("users", { dict = dict, staleTtl = 1e6 }))
            for _ = 1, 3 do users:get("1", function() return "Ada" end) end
            assert(cache.new("users", { dict = dict }):get("1") == "Ada")
            users:get("2", function() return "Bo", nil, 1 end)
            require("timer").sleep(5)
            assert(select(3, users:get("2", function() return nil, "no" end)) == 4)
            dict:flush()
            dict:set("key", ("x"):rep(300))
            local text = metrics.text()
            local function value(name)
                return text:match("\nlinks_" .. name:gsub("%p", "%%%0") .. " (%S+)\n") or "nothing"
            end
            print(value('cache_hits_total{cache="near",level="process"}'),
                value('cache_misses_total{cache="near"}'), value('cache_entries{cache="near"}'))
            print(value('cache_hits_total{cache="users",level="process"}'),
                value('cache_hits_total{cache="users",level="shared"}'),
                value('cache_misses_total{cache="users"}'),
                value('cache_stale_total{cache="users"}'))
            local of = '{dict="' .. dict.name .. '"'
            print(value("shared_items" .. of .. "}"), value("shared_bytes" .. of .. ',state="used"}'),
                tonumber(value("shared_hits_total" .. of .. "}")) > 0,
                tonumber(value("shared_misses_total" .. of .. "}")) > 0,
                value("shared_evictions_total" .. of .. "}"))
        ]]
        assert.equal("1\t1\t1\n2\t1\t3\t1\n1\t384\ttrue\ttrue\t0\n",
            result.out .. result.err)
    end)
end)
