package.path = "tests/support/?.lua;" .. package.path
local process = require "process"
local program = require "tools"

local LINKS = program.LINKS

describe("examples/supervisor.lua", function()
    local folder, good, bad

    before_each(function()
        folder = os.tmpname()
        os.remove(folder)
        os.execute("mkdir " .. folder)
        good, bad = folder .. "/good.lua", folder .. "/bad.lua"
        program.write(good, "require('timer').sleep(60000)")
        program.write(bad, "require('timer').sleep(20) os.exit(3)")
    end)

    after_each(function() os.execute("rm -r " .. folder) end)

    local function start(...)
        return assert(process.spawn(LINKS, { "examples/supervisor.lua", ... },
            { env = { PIDFILE = folder .. "/pid" }, stderr = "stdout" }))
    end

    -- Reads lines until one matches, and returns what it captures.
    local function expect(child, pattern)
        for line in child:lines() do
            local found = line:match(pattern)
            if found then return found end
        end
        error("no line matches " .. pattern)
    end

    it("keeps its workers running, and takes them along", function()
        local child = start(good, bad)
        local pid = tonumber(expect(child, "good.lua runs as (%d+)"))
        assert.equal(child.pid .. "\n", program.read(folder .. "/pid"))
        expect(child, "bad.lua %(%d+%) has died: 3; it is started again in 10 ms")
        expect(child, "bad.lua %(%d+%) has died: 3; it is started again in 20 ms")
        child:kill("SIGUSR1")
        expect(child, "good.lua: " .. pid .. ", running, started again 0 times")
        child:kill("SIGHUP")
        expect(child, "good.lua has ended: (SIGTERM)")
        local second = tonumber(expect(child, "good.lua runs as (%d+)"))
        assert.not_equal(pid, second)
        child:kill("SIGTERM")
        expect(child, "(SIGTERM): ending")
        assert.same({ signal = "SIGTERM" }, child:wait(20000))
        program.eventually("its end", function() return program.has_ended(second) end)
        assert.is_nil(io.open(folder .. "/pid"))
    end)

    it("says what is wrong, and ends", function()
        local child = start()
        expect(child, "^usage")
        assert.same({ code = 2 }, child:wait())
        child = start(folder .. "/missing.lua")
        expect(child, "missing.lua cannot be started: ENOENT")
        assert.same({ code = 1 }, child:wait())
        local first = start(good)
        expect(first, "good.lua runs as")
        local second = start(good)
        expect(second, "LOCKED")
        assert.same({ code = 1 }, second:wait())
        first:kill()
        first:wait()
    end)
end)

describe("examples/jobs.lua", function()
    it("counts primes with a process for each processor, and ends", function()
        for limit, count in pairs { [10] = 4, [20000] = 2262 } do
            local result = assert(process.run(LINKS, { "examples/jobs.lua", tostring(limit) }))
            assert.same({ code = 0, stderr = "", stdout = ("%d primes below %d, counted by %d "
                .. "processes\n"):format(count, limit, require("system").cpuCount()) }, result)
        end
    end)

    it("says how it is used", function()
        local result = assert(process.run(LINKS, { "examples/jobs.lua", "x" }))
        assert.equal(2, result.code)
        assert.truthy(result.stderr:find("^usage:"))
    end)
end)
