package.path = "tests/support/?.lua;" .. package.path

local json = require "json"
local log = require "log"
local task = require "task"
local timer = require "timer"
local sync = require "sync"
local tools = require "tools"

-- What links itself has to tell goes to stderr again, where the specs after this one look for it.
teardown(function() require("links.report").install(nil) end)

-- A logger whose lines come into a table; `flush` it before they are looked at.
local function collecting(options)
    local lines = {}
    options = options or {}
    options.to = function(line) lines[#lines + 1] = line end
    return assert(log.new(options)), lines
end

local function record(options, fn)
    options.format = "json"
    local logger, lines = collecting(options)
    fn(logger)
    assert(logger:flush())
    return json.decode(lines[1]), lines
end

local function text(fn, options)
    local logger, lines = collecting(options)
    fn(logger)
    assert(logger:flush())
    return lines[1] and lines[1]:sub(26), lines
end

describe("a line of the log", function()
    it("has a time, a level, a name, a message and fields", function()
        local r = record({ name = "db", fields = { shard = 3 } }, function(logger)
            logger:warn("it is late", { ms = 12.5, tags = { "a", "b" }, ok = true })
        end)
        assert.truthy(r.time:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$"))
        r.time = nil
        assert.same({
            level = "warn", name = "db", message = "it is late", shard = 3, ms = 12.5,
            tags = { "a", "b" }, ok = true,
        }, r)
    end)

    it("has all fields, however many", function()
        for n = 0, 12 do
            local fields, seen = {}, {}
            for i = 1, n do fields["f" .. i] = i % 2 == 0 and i or "v" .. i end
            local r = record({}, function(l) l:info("m", fields) end)
            for key, value in pairs(r) do seen[key] = key:find("^f%d") and value or nil end
            assert.same(fields, seen)
        end
    end)

    it("is put together as string.format does, with the fields last", function()
        local r = record({}, function(logger) logger:info("%s took %d ms", "x", 5, { a = 1 }) end)
        assert.equal("x took 5 ms", r.message)
        assert.equal(1, r.a)
        assert.equal("50% of it", record({}, function(l) l:info("50% of it") end).message)
        assert.equal("50% {} a 1", record({}, function(l) l:info("50% {}", "a", 1) end).message)
        assert.equal("nil true", record({}, function(l) l:info("%s %s", nil, true) end).message)
    end)

    it("takes any value for a message", function()
        local err = require("links.errors").new(2, "open", { path = "/x" })
        assert.equal("ENOENT: no such file or directory (open /x)",
            record({}, function(l) l:error(err) end).message)
        assert.equal("nil", record({}, function(l) l:error(nil) end).message)
        local evil = setmetatable({}, { __tostring = function() error("no") end })
        assert.truthy(record({}, function(l) l:error(evil) end).message)
        assert.truthy(record({}, function(l) l:info("x", { evil = evil }) end).evil)
    end)

    it("cannot be ended or begun by what is in it", function()
        local line = text(function(l)
            l:info("a\r\n2026 FATAL b\27[2J", { ["k\n"] = "v\n\194\155x" })
        end)
        assert.equal("INFO  a\\r\\n2026 FATAL b\\x1b[2J k_=\"v\\n\\u{9b}x\"", line)
    end)

    it("has fields of its own, which those of the call do not hide", function()
        local r = record({ name = "n" }, function(l)
            l:info("m", { message = "x", level = 1, time = 2, name = 3 })
        end)
        assert.same({ "m", "info", "n", "x", 1, 2, 3 },
            { r.message, r.level, r.name, r.message_, r.level_, r.time_, r.name_ })
    end)

    it("ends where a table is in itself, or is without end", function()
        local t = { a = 1 }
        t.t = t
        assert.equal("[circular]", record({}, function(l) l:info("m", { t = t }) end).t.t)
        local deep = {}
        local at = deep
        for _ = 1, 100 do
            at.d = {}
            at = at.d
        end
        assert.truthy(record({}, function(l) l:info("m", { deep = deep }) end).deep)
        local big = {}
        for i = 1, 100000 do big[i] = big end
        assert.truthy(record({}, function(l) l:info("m", { big = big }) end).big)
        local endless = setmetatable({}, { __index = function() return "x" end })
        assert.truthy(record({}, function(l) l:info("m", { e = endless }) end).e)
    end)

    it("is cut where it is gigantic, and says so", function()
        local r, lines = record({}, function(l)
            l:info(("x"):rep(1e6), { a = ("\n"):rep(1e6), b = 1, c = 2 })
        end)
        assert.equal(true, r.truncated)
        assert.truthy(#lines[1] <= 33280)
    end)

    it("leaves out what is secret, at any depth and in any spelling", function()
        local r = record({}, function(l)
            l:info("m", {
                Password = "x", headers = { ["Set-Cookie"] = "x", { authorization = "x" } },
                accessToken = "x", user = "u",
            })
        end)
        local hidden = "[redacted]"
        assert.same({ hidden, hidden, hidden, hidden, "u" }, {
            r.Password, r.headers["Set-Cookie"], r.headers["1"].authorization, r.accessToken,
            r.user,
        })
        r = record({ redact = { "iban" } }, function(l)
            l:info("m", { IBAN = "x", password = "y" })
        end)
        assert.same({ hidden, "y" }, { r.IBAN, r.password })
        assert.equal("y", record({ redact = false }, function(l)
            l:info("m", { password = "y" })
        end).password)
    end)

    -- C makes most lines by itself, where there is one place to log to; Lua makes the others.
    it("is the same whoever puts it together", function()
        local tostringed = setmetatable({}, { __tostring = function() return "shown" end })
        local cases = {
            {}, { { a = 1 } }, { { time = 1, level = "x", name = true, message = "m" } },
            { { password = "x", Cookie = "y", user = "u" } }, { { shard = 9 } },
            { { text = 'a "b"\n\27[0m', n = 0.1, yes = true, no = false } },
            { { list = { 1, "b", { c = 2 } } } }, { { "positional", [7.5] = "x" } },
            { { t = tostringed } }, { tostringed }, { { [true] = 1 } }, { "%d", 3 }, { nil },
            { { long = ("x"):rep(20000) } }, { { [("k"):rep(100)] = 1 } },
            { setmetatable({ a = 1 }, { __index = { b = 2 } }) }, { { n = 2 ^ 53, m = -0.0 } },
        }
        local function lines_of(options, places)
            local lines = {}
            local function keep(line) lines[#lines + 1] = (line:gsub("20%d%d%-[%d:.T-]*Z", "")) end
            options.to = places == 1 and keep or { keep, function() end }
            local logger = assert(log.new(options))
            for i = 1, 2 do -- the second time it is known what is secret
                for _, case in ipairs(cases) do
                    logger:info("message " .. i, unpack(case, 1, math.max(#case, 1)))
                    logger:warn("message", unpack(case))
                end
            end
            assert(logger:flush(10000))
            return lines
        end
        for _, options in ipairs {
            { format = "text" }, { format = "json" }, { format = "json", redact = false },
            { format = "text", name = "db", fields = { shard = 3, app = "x" } },
            { format = "json", redact = { "user" }, fields = { app = "x" } },
            { format = "text", locals = false },
        } do
            local function compare()
                local one = lines_of(options, 1)
                assert.equal(4 * #cases, #one)
                assert.same(lines_of(options, 2), one)
            end
            compare()
            assert(task.spawn(function()
                local locals = task.current().locals
                locals.requestId, locals.token, locals.a, locals.thing = "r1", "t", "own", {}
                compare()
            end):join())
        end
    end)

    it("has the local values of its task, but for tables", function()
        local r
        task.spawn(function()
            task.current().locals.requestId = "r1"
            task.current().locals.user = { name = "u" }
            task.current().locals.token = "t"
            task.spawn(function()
                r = record({}, function(l) l:info("m", { requestId = nil }) end)
            end):join()
        end):join()
        assert.equal("r1", r.requestId)
        assert.equal("[redacted]", r.token)
        assert.is_nil(r.user)
        task.spawn(function()
            task.current().locals.requestId = "r1"
            r = record({}, function(l) l:info("m", { requestId = "r2" }) end)
        end):join()
        assert.equal("r2", r.requestId)
        task.spawn(function()
            task.current().locals.requestId = "r1"
            r = record({ locals = false }, function(l) l:info("m") end)
        end):join()
        assert.is_nil(r.requestId)
    end)

    it("can say who logs it", function()
        local r = record({ caller = true }, function(l) l:info("m") end)
        assert.truthy(r.caller:find("log_spec.lua:%d+$"))
    end)

    it("is made by a function of the program where it wants that", function()
        local seen
        local line = text(function(l)
            l:info("hello\n", { a = 1, password = "x" })
        end, { name = "n", format = function(r)
            seen = r
            return "0000000000000000000000000 " .. r.message .. "!"
        end })
        assert.equal(" hello\\n!", line)
        assert.same({ "info", "n", 1, "[redacted]" },
            { seen.level, seen.name, seen.fields.a, seen.fields.password })
        local _, lines = text(function(l) l:info("kept") end,
            { format = function() error("no") end })
        assert.truthy(lines[1]:find("kept", 1, true))
    end)
end)

describe("levels of the log", function()
    after_each(function() log.setLevel("info") end)

    it("leave out what is below them", function()
        local logger, lines = collecting { level = "warn" }
        for _, level in ipairs { "debug", "info", "warn", "error", "fatal" } do
            logger[level](logger, level)
        end
        logger:flush()
        assert.equal(3, #lines)
        logger:setLevel("off")
        logger:fatal("x")
        logger:flush()
        assert.equal(3, #lines)
    end)

    it("change while the program runs, by module", function()
        local db, db_lines = collecting { name = "spec.db", level = "warn" }
        local other = collecting { name = "spec.dbase" }
        local pool = log.new { name = "spec.db.pool", to = print }
        log.setLevel("debug", "spec.db")
        assert.same({ true, true, false },
            { db:enabled("debug"), pool:enabled("debug"), other:enabled("debug") })
        db:debug("seen")
        db:flush()
        assert.equal(1, #db_lines)
        -- Those made later too, whatever their code says.
        assert.truthy(log.new({ name = "spec.db", level = "error", to = print }):enabled("debug"))
        log.setLevel("error", "spec.db")
        assert.same({ false, false }, { db:enabled("warn"), pool:enabled("warn") })
        db:setLevel("debug")
        assert.truthy(db:enabled("debug"))
    end)

    it("are those of the parent until they are set", function()
        local logger = collecting()
        local child = logger:child { a = 1 }
        logger:setLevel("error")
        assert.falsy(child:enabled("warn"))
        child:setLevel("debug")
        assert.same({ true, false }, { child:enabled("debug"), logger:enabled("warn") })
        logger:setLevel(nil)
        log.setLevel("debug")
        assert.truthy(logger:enabled("debug"))
    end)

    it("of the default logger are what was said last", function()
        local lines = {}
        local function to(line) lines[#lines + 1] = line end
        assert(log.configure { level = "warn", to = to })
        log.info("below")
        log.setLevel("debug")
        log.debug("on")
        assert(log.configure { level = "error", to = to })
        log.warn("below again")
        log.error("at it")
        log.flush()
        log.setLevel("info")
        assert(log.configure {})
        assert.equal(2, #lines)
    end)

    it("are known by name", function()
        assert.has_error(function() log.setLevel("wran") end,
            'log.setLevel(level[, module]) level must be "debug", "info", "warn", "error", ' ..
                '"fatal" or "off" (did you mean "warn"?)')
        tools.blames("level", log.setLevel, "wran")
        tools.blames("level", log.new, { level = 3 })
        tools.blames("level", log.new, { level = "wran" })
        local logger = collecting()
        tools.blames("level", logger.setLevel, logger, "wran")
        tools.blames("level", logger.enabled, logger, "wran")
    end)
end)

describe("a logger", function()
    it("gives its children its fields", function()
        local logger, lines = collecting { fields = { a = 1, b = 1 }, format = "json" }
        logger:child({ b = 2, name = "kid" }):child({ c = 3 }):info("m", { c = 4 })
        logger:flush()
        local r = json.decode(lines[1])
        assert.same({ 1, 2, 4, "kid" }, { r.a, r.b, r.c, r.name })
    end)

    it("that is the default one keeps nothing of what it was before", function()
        local lines = {}
        local function keep(line) lines[#lines + 1] = line:sub(26) end
        assert(log.configure { to = keep, name = "old", fields = { a = 1 } })
        log.info("m", { password = "p" })
        assert(log.flush(10000))
        assert(log.configure { to = keep, redact = false })
        log.info("m", { password = "p" })
        assert(log.flush(10000))
        assert(log.configure {})
        assert.same({ "INFO  old: m a=1 password=\"[redacted]\"", "INFO  m password=p" }, lines)
    end)

    it("writes to several places, each in its own way", function()
        local one, two = {}, {}
        local logger = assert(log.new { format = "json", to = {
            function(line) one[#one + 1] = line end,
            { to = function(line) two[#two + 1] = line end, format = "text", level = "error" },
        } })
        logger:info("a")
        logger:error("b")
        logger:flush()
        assert.equal(2, #one)
        assert.equal("b", json.decode(one[2]).message)
        assert.same({ 1, "ERROR b" }, { #two, two[1]:sub(26) })
    end)

    it("tells apart what it is given wrongly", function()
        for _, options in ipairs {
            { to = 1 }, { to = "" }, { to = "tcp://x" }, { to = {} }, { to = { { to = {} } } },
            { format = "xml" }, { onFull = "wait" }, { rotate = {} }, { rotate = { size = "1X" } },
            { rotate = { every = "year" } }, { bufferSize = 1 }, { colour = true },
            { rateLimit = { burst = 0 } }, { redact = { 1 } }, { facility = "mine" },
            { to = { { to = "stderr", name = "x" } } }, { reopenOn = "SIGNOTHING" },
            { reopenOn = "SIGKILL" }, { reopenOn = "exit" },
        } do
            tools.blames("log.new(options)", log.new, options)
            tools.blames("log.configure(options)", log.configure, options)
        end
    end)

    it("says which file cannot be opened", function()
        local logger, err = log.new { to = "/nonexistent/x.log" }
        assert.is_nil(logger)
        assert.same({ "ENOENT", "/nonexistent/x.log" }, { err.name, err.path })
    end)

    it("says once in an interval what is repeated", function()
        local logger, lines = collecting { rateLimit = { burst = 2, interval = 300 } }
        for i = 1, 10 do logger:info("again %d", i) end
        logger:info("other")
        tools.eventually("the fourth line", function()
            logger:flush()
            return #lines >= 4
        end)
        assert.same({ "INFO  again 1", "INFO  again 2", "INFO  other" },
            { lines[1]:sub(26), lines[2]:sub(26), lines[3]:sub(26) })
        assert.equal('INFO  again %d repeated=8', lines[4]:sub(26))
    end)

    it("remembers the last lines", function()
        local logger = collecting()
        for i = 1, 5 do logger:info("tail %d", i) end
        local last = log.tail(2)
        assert.same({ 2, "INFO  tail 4", "INFO  tail 5" },
            { #last, last[1]:sub(26), last[2]:sub(26) })
        assert.truthy(#log.tail() <= 100)
    end)
end)

describe("a function that takes lines", function()
    it("runs in a task of its own, and may wait", function()
        local seen = {}
        local logger = log.new { to = function(line, level)
            timer.sleep(1)
            seen[#seen + 1] = { line:sub(26), level }
        end }
        logger:info("a")
        logger:error("b")
        assert.equal(0, #seen)
        assert.truthy(logger:flush())
        assert.same({ { "INFO  a", 1 }, { "ERROR b", 3 } }, seen)
    end)

    it("is not called for what it logs itself", function()
        local n, logger = 0, nil
        logger = log.new { to = function()
            n = n + 1
            logger:info("from within")
            task.spawn(function() logger:info("from a task of it") end):join()
        end }
        logger:info("a")
        logger:flush()
        assert.equal(1, n)
    end)

    it("loses a line where it fails, and gets the next", function()
        local stderr, said = io.stderr, nil
        local seen = {}
        local logger = log.new { to = function(line)
            if line:find("bad") then error("no") end
            seen[#seen + 1] = line
        end }
        -- luacheck: ignore 122
        io.stderr = { write = function(_, ...) said = table.concat { ... } end }
        logger:info("bad")
        logger:info("good")
        logger:flush()
        io.stderr = stderr
        assert.equal(1, #seen)
        assert.equal(1, logger:stats().dropped)
        assert.truthy(said:find("links: log: a function that takes lines failed: ", 1, true))
    end)

    it("goes on where its task is cancelled", function()
        local logger, lines = collecting()
        logger:info("a")
        logger:flush()
        for _, t in ipairs(task.list()) do
            if t.waitsFor == "log lines" then t:cancel() end
        end
        timer.sleep(1)
        logger:info("b")
        assert.truthy(logger:flush())
        assert.equal(2, #lines)
    end)

    it("is told how many lines it has missed", function()
        local gate, lines = sync.event(), {}
        local logger = log.new { bufferSize = 4096, to = function(line)
            lines[#lines + 1] = line
            gate:wait(20000)
        end }
        for i = 1, 1000 do logger:info("line %d", i) end
        local dropped = logger:stats().dropped
        assert.truthy(dropped > 800)
        gate:set()
        assert.truthy(logger:flush(5000))
        assert.equal(1000 - dropped + 1, #lines)
        assert.truthy(lines[#lines]:find("dropped=" .. dropped, 1, true))
    end)

    it("makes tasks wait that log to it, where they want that", function()
        local lines = {}
        local logger = log.new { bufferSize = 4096, onFull = "block", to = function(line)
            timer.sleep(0)
            lines[#lines + 1] = line
        end }
        local t = task.spawn(function()
            for i = 1, 500 do logger:info("line %d", i) end
        end)
        assert.truthy(t:join(20000))
        assert.truthy(logger:flush(20000))
        assert.same({ 500, 0 }, { #lines, logger:stats().dropped })
        -- Who has been cancelled does not wait.
        local ended
        local cancelled = task.spawn(function()
            task.current():cancel()
            for i = 1, 500 do logger:info("line %d", i) end
            ended = true
        end)
        cancelled:join()
        assert.truthy(ended)
        assert.truthy(logger:stats().dropped > 0)
    end)
end)

describe("who logs", function()
    it("may be a finalizer", function()
        local logger, lines = collecting { bufferSize = 1048576 }
        for i = 1, 100 do
            local proxy = newproxy(true)
            getmetatable(proxy).__gc = function() logger:info("collected", { i = i }) end
        end
        for i = 1, 2000 do logger:info("line %d", i, { t = { i } }) end
        collectgarbage()
        logger:flush(10000)
        local collected = 0
        for _, line in ipairs(lines) do
            if line:sub(26, 41) == "INFO  collected " then collected = collected + 1 end
        end
        assert.truthy(collected > 90)
    end)

    it("may log while a line is put together, and wait meanwhile", function()
        local logger, lines = collecting()
        local value = setmetatable({}, { __tostring = function()
            logger:info("inner")
            timer.sleep(1)
            return "value"
        end })
        local t = task.spawn(function() logger:info("outer", { value = value }) end)
        timer.sleep(0)
        logger:info("other")
        t:join()
        logger:flush()
        table.sort(lines, function(a, b) return a:sub(26) < b:sub(26) end)
        assert.same({ "INFO  inner", "INFO  other", "INFO  outer value=value" },
            { lines[1]:sub(26), lines[2]:sub(26), lines[3]:sub(26) })
    end)
end)
