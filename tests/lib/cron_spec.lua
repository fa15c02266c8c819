package.path = "tests/support/?.lua;" .. package.path

local cron = require "links.cron"
local task = require "links.task"
local timer = require "links.timer"
local tools = require "tools"

local FORMAT = "%Y-%m-%d %H:%M:%S"

local function seconds(text)
    local year, month, day, hour, min, sec = text:match("(%d+)-(%d+)-(%d+) (%d+):(%d+):?(%d*)")
    return os.time { year = year, month = month, day = day, hour = hour, min = min,
                     sec = tonumber(sec) or 0 }
end

-- Waits until done() says so: on a busy machine that may be late.
local function eventually(done) tools.eventually("it", done) end

-- The next fitting minutes after a time.
local function after(expression, text, count)
    local plan = assert(cron.parse(expression))
    local time, found = seconds(text), {}
    for i = 1, count or 1 do
        time = cron.next(plan, time)
        if not time then return nil end
        found[i] = os.date(FORMAT, time):sub(1, 16)
    end
    return count and found or found[1]
end

describe("a cron expression", function()
    it("fits the next minute, never the one that goes on", function()
        assert.equal("2026-03-01 10:01", after("* * * * *", "2026-03-01 10:00:00"))
        assert.equal("2026-03-01 10:01", after("* * * * *", "2026-03-01 10:00:59"))
        assert.equal("2026-03-01 11:00", after("0 * * * *", "2026-03-01 10:00:00"))
    end)

    it("has numbers, lists, ranges and steps", function()
        assert.same({ "2026-03-01 10:15", "2026-03-01 10:30", "2026-03-01 10:45" },
            after("*/15 * * * *", "2026-03-01 10:00:00", 3))
        assert.same({ "2026-03-01 10:05", "2026-03-01 10:20", "2026-03-01 10:22" },
            after("5,20-23/2 * * * *", "2026-03-01 10:00:00", 3))
        assert.same({ "2026-03-01 10:50", "2026-03-01 10:55", "2026-03-01 11:50" },
            after("50/5 * * * *", "2026-03-01 10:00:00", 3))
    end)

    it("has names for months and days, and 7 for Sunday", function()
        assert.equal("2026-07-01 00:00", after("0 0 1 Jul *", "2026-03-01 10:00"))
        assert.equal("2026-03-02 09:30", after("30 9 * * mon-fri", "2026-02-28 10:00"))
        assert.equal("2026-03-08 00:00", after("0 0 * * 7", "2026-03-01 10:00"))
        assert.equal("2026-03-08 00:00", after("0 0 * * sun", "2026-03-01 10:00"))
        assert.equal("2026-03-07 00:00", after("0 0 * * 6-7", "2026-03-01 10:00"))
    end)

    it("takes either day where both are given, and both where one is free", function()
        assert.same({ "2026-03-06 00:00", "2026-03-13 00:00", "2026-03-15 00:00" },
            after("0 0 15 * fri", "2026-03-01 10:00", 3))
        assert.equal("2026-03-15 00:00", after("0 0 15 * *", "2026-03-01 10:00"))
    end)

    it("has shorthands", function()
        assert.equal("2026-03-01 11:00", after("@hourly", "2026-03-01 10:00"))
        assert.equal("2026-03-02 00:00", after("@daily", "2026-03-01 10:00"))
        assert.equal("2026-03-08 00:00", after("@weekly", "2026-03-01 10:00"))
        assert.equal("2026-04-01 00:00", after("@monthly", "2026-03-01 10:00"))
        assert.equal("2027-01-01 00:00", after("@Yearly", "2026-03-01 10:00"))
    end)

    it("finds leap days, and sees that some days never come", function()
        assert.equal("2028-02-29 00:00", after("0 0 29 2 *", "2026-03-01 10:00"))
        assert.is_nil(after("0 0 31 2 *", "2026-03-01 10:00"))
        assert.equal("2026-12-31 23:59", after("59 23 31 dec *", "2026-03-01 10:00"))
    end)

    it("that is wrong is refused, with what is wrong", function()
        for expression, message in pairs {
            [""] = "must have five fields",
            ["* * * *"] = "must have five fields",
            ["* * * * * *"] = "must have five fields",
            ["@often"] = "must have five fields",
            ["60 * * * *"] = '"60" is no minute %(0 to 59%)',
            ["* 24 * * *"] = '"24" is no hour',
            ["* * 0 * *"] = '"0" is no day of the month',
            ["* * * 13 *"] = '"13" is no month',
            ["* * * foo *"] = '"foo" is no month',
            ["* * * * 8"] = '"8" is no day of the week',
            ["*/0 * * * *"] = "the step of .* must be 1 or more",
            ["5-1 * * * *"] = '"5%-1" runs backwards',
            ["1,,2 * * * *"] = "empty place",
            [", * * * *"] = "empty place",
            ["-1 * * * *"] = '"%-1" is no minute',
            ["1.5 * * * *"] = "is no minute",
            ["*-5 * * * *"] = "is no minute",
            ["1/ * * * *"] = "is no minute",
            ["/2 * * * *"] = "is no minute",
            ["1e1 * * * *"] = "is no minute",
        } do
            local plan, err = cron.parse(expression)
            assert.is_nil(plan, expression)
            assert.matches(message, err)
        end
    end)
end)

describe("timer.cron", function()
    local real, time = cron.now, 0

    before_each(function()
        time = seconds("2026-03-01 10:00:00") - 0.001
        cron.now = function() return time end
    end)
    after_each(function() cron.now = real end)

    it("runs when the minute comes, and again", function()
        local runs = 0
        time = time + 60
        local job = timer.cron("* * * * *", function() runs = runs + 1 end)
        assert.is_true(job:armed())
        time = time + 0.001
        eventually(function() return runs == 1 end)
        time = time + 59.999
        timer.sleep(4)
        assert.equal(1, runs)
        job:cancel()
        assert.is_false(job:armed())
        assert.is_true(job:cancel())
    end)

    it("does not make up for what was missed", function()
        local runs = 0
        time = time + 60
        local job = timer.cron("* * * * *", function() runs = runs + 1 end)
        time = time + 86400
        eventually(function() return runs > 0 end)
        timer.sleep(4)
        assert.equal(1, runs)
        job:cancel()
    end)

    it("leaves out runs while the last one goes on, and goes on after errors", function()
        local process = require "links.process"
        local runs, errors = 0, 0
        local function note() errors = errors + 1 end
        process.on("error", note)
        -- Every look finds a minute that begins, and every timer is armed just before the next.
        local odd = false
        cron.now = function()
            odd = not odd
            time = time + (odd and 0.001 or 59.999)
            return time
        end
        local job = timer.cron("* * * * *", function()
            runs = runs + 1
            if runs < 3 then error("in a run") end
            timer.sleep(1e6)
        end)
        eventually(function() return runs == 3 end)
        timer.sleep(4)
        assert.equal(3, runs)
        assert.equal(2, errors)
        job:cancel()
        process.off("error", note)
        for _, t in ipairs(task.list()) do
            if t.waitsFor == "sleep" and t ~= task.current() then t:cancel() end
        end
        timer.sleep(0)
    end)

    it("is not stirred by a cancel in the turn in which it is due", function()
        time = time + 60
        local job = timer.cron("* * * * *", error)
        local busy = os.clock() + 0.003
        while os.clock() < busy do end
        timer.setTimeout(0, function() job:cancel() end)
        task.spawn(function() job:cancel() end)
        time = time + 0.001
        timer.sleep(4)
        assert.is_false(job:armed())
    end)

    it("may be cancelled by its own run, and unreferenced", function()
        local runs, job = 0, nil
        time = time + 60
        job = timer.cron("* * * * *", function()
            runs = runs + 1
            job:cancel()
        end)
        assert.equal(job, job:unref())
        assert.equal(job, job:ref())
        time = time + 0.001
        eventually(function() return runs == 1 end)
        assert.is_false(job:armed())
    end)

    it("raises at the caller's line for what is wrong", function()
        for _, case in ipairs {
            { 5, print }, { "* * * * *", 5 }, { "* * * * *", print, { cluster = "some" } },
            { "* * * * *", print, { clustr = "one" } }, { "61 * * * *", print },
            { "0 0 31 2 *", print },
        } do
            local ok, err = pcall(function()
                local job = timer.cron(case[1], case[2], case[3])
                return job
            end)
            assert.is_false(ok)
            assert.matches("cron_spec.lua:%d+: timer.cron%(expression, fn%[, options%]%)", err)
        end
        timer.cron("* * * * *", print, { cluster = "all" }):cancel()
    end)

    it("has the system's clock", function()
        local first, now, last = os.time(), real(), os.time()
        assert.is_true(first <= now)
        -- os.time leaves the fraction out, and its clock is behind by up to a tick of the kernel's.
        assert.is_true(now < last + 1.1)
    end)
end)
