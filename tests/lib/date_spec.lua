local date = require "date"

local T = 784111777000

local function rejects(fn, s)
    local t, err = fn(s)
    assert.is_nil(t, "accepted " .. s)
    assert.equal("PARSE", err.name)
    assert.truthy(tostring(err):find("not a date", 1, true))
end

describe("date.http", function()
    it("writes and reads the dates of RFC 9110", function()
        assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", date.http(T))
        assert.equal("Thu, 01 Jan 1970 00:00:00 GMT", date.http(0))
        assert.equal("Wed, 31 Dec 1969 23:59:59 GMT", date.http(-1))
        assert.equal(T, date.parseHttp("Sun, 06 Nov 1994 08:49:37 GMT"))
        assert.equal(T, date.parseHttp("Sunday, 06-Nov-94 08:49:37 GMT"))
        assert.equal(T, date.parseHttp("Sun Nov  6 08:49:37 1994"))
    end)

    it("is now where no time is given", function()
        local before = math.floor(os.time()) * 1000
        local t = date.parseHttp(date.http())
        assert.truthy(t >= before and t <= before + 10000)
    end)

    it("agrees with the C library over four centuries", function()
        math.randomseed(6)
        for _ = 1, 5000 do
            local t = math.random(-4000000000, 8000000000)
            local text = date.http(t * 1000 + math.random(0, 999))
            assert.equal(os.date("!%a, %d %b %Y %H:%M:%S GMT", t), text)
            assert.equal(t * 1000, date.parseHttp(text))
        end
    end)

    it("takes two digits of a year as the past where they are more than 50 years ahead", function()
        local year = tonumber(os.date("!%Y"))
        for ahead, expected in pairs { [50] = year + 50, [51] = year - 49 } do
            local text = ("Monday, 01-Jan-%02d 00:00:00 GMT"):format((year + ahead) % 100)
            assert.equal(("%04d-01-01T00:00:00.000Z"):format(expected),
                date.iso(date.parseHttp(text)))
        end
    end)

    it("reads a leap second as the second after it", function()
        assert.equal(date.parseHttp("Fri, 01 Jan 1999 00:00:00 GMT"),
            date.parseHttp("Thu, 31 Dec 1998 23:59:60 GMT"))
    end)

    it("rejects what is no date, and days that do not exist", function()
        for _, s in ipairs {
            "", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT", "Xyz, 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 1900 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT", " Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 GMT\0", "Sun, 06 Foo 1994 08:49:37 GMT",
        } do
            rejects(date.parseHttp, s)
        end
    end)

    it("raises for years that four digits cannot say", function()
        assert.has_error(function() date.http(253402300800000) end)
        assert.has_error(function() date.http(0 / 0) end)
        assert.has_error(function() date.http("now") end)
    end)
end)

describe("date.iso", function()
    it("writes milliseconds and reads them back", function()
        assert.equal("1994-11-06T08:49:37.042Z", date.iso(T + 42))
        math.randomseed(7)
        for _ = 1, 5000 do
            local t = math.random(-62167219200, 253402300799) * 1000 + math.random(0, 999)
            assert.equal(t, date.parseIso(date.iso(t)))
        end
    end)

    it("reads days, times without seconds, fractions and zones", function()
        local examples = {
            ["1994-11-06"] = T - 31777000, ["1994-11-06T08:49"] = T - 37000,
            ["1994-11-06T08:49Z"] = T - 37000,
            ["1994-11-06t08:49:37z"] = T, ["1994-11-06 08:49:37"] = T,
            ["1994-11-06T09:49:37+01:00"] = T,
            ["1994-11-06T02:19:37-0630"] = T, ["1994-11-06T10:49:37+02"] = T,
            ["1994-11-06T08:49:37.5Z"] = T + 500, ["1994-11-06T08:49:37,123999Z"] = T + 123,
            ["2000-02-29"] = 951782400000, ["0000-01-01"] = -62167219200000,
        }
        for s, expected in pairs(examples) do assert.equal(expected, date.parseIso(s)) end
    end)

    it("rejects what is no date", function()
        for _, s in ipairs {
            "", "1994", "1994-11", "94-11-06", "1994-13-06", "1994-11-31", "1900-02-29",
            "1994-11-06T", "1994-11-06T08",
            "1994-11-06T24:00", "1994-11-06T08:49:37.", "1994-11-06T08:49.5",
            "1994-11-06T08:49+24:00",
            "1994-11-06T08:49+1", "1994-11-06X08:49", "1994-11-06T08:49:37Zx", "1994-11-06Z",
        } do
            rejects(date.parseIso, s)
        end
    end)
end)

describe("date.format", function()
    it("agrees with strftime in UTC", function()
        local fmt = "%a|%A|%b|%B|%d|%D|%e|%F|%G|%H|%I|%j|%m|%M|%n|%p|%R|%S|%t|%T|%u|%V|%w|%y|%Y|%%"
        math.randomseed(8)
        for _ = 1, 3000 do
            local t = math.random(-4000000000, 8000000000)
            assert.equal(os.date("!" .. fmt, t), date.format(fmt, t * 1000))
        end
    end)

    it("takes the system's zone, an offset, or minutes", function()
        assert.equal("09:49 +0100", date.format("%H:%M %z", T, "+01:00"))
        assert.equal("02:19 -0630 -06:30", date.format("%H:%M %z %Z", T, -390))
        assert.equal("08:49 UTC", date.format("%H:%M %Z", T))
        assert.equal(os.date("%Y-%m-%d %H:%M:%S", T / 1000), date.format("%F %T", T, "local"))
        assert.equal("784111777 042", date.format("%s %L", T + 42, 60))
    end)

    it("raises for directives and zones that nobody knows", function()
        assert.has_error(function() date.format("%Q") end)
        assert.has_error(function() date.format("100%") end)
        assert.has_error(function() date.format("%Y", T, "Mars") end)
        assert.has_error(function() date.format("%Y", T, 1440) end)
    end)
end)
