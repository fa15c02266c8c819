package.path = "tests/support/?.lua;" .. package.path
local ffi = require "ffi"
local process = require "process"
local program = require "tools"
local system = require "system"
local timer = require "timer"

local LINKS, output, read, raises = program.LINKS, program.output, program.read, program.raises
local is_linux = system.type == "Linux"

local function on_linux(name, fn)
    it(name, function()
        if not is_linux then return pending("reads /proc") end
        fn()
    end)
end

describe("system", function()
    it("is the system that uname and getconf tell of", function()
        assert.equal(output("uname", { "-s" }), system.type)
        assert.equal(output("uname", { "-r" }), system.release)
        assert.equal(output("uname", { "-m" }), system.arch)
        assert.equal(output("uname", { "-n" }), system.hostname())
        assert.equal(tonumber(output("getconf", { "PAGESIZE" })), system.pageSize)
        assert.equal(ffi.abi("le") and "LE" or "BE", system.endian)
    end)

    it("has one row for each processor on line, in integers", function()
        local cpus = system.cpuinfo()
        assert.equal(tonumber(output("getconf", { "_NPROCESSORS_ONLN" })), #cpus)
        for _, cpu in ipairs(cpus) do
            assert.is_string(cpu.model)
            assert.is_true(#cpu.model > 0 and #cpu.model < 64)
            assert.equal(0, cpu.speed % 1)
            local names = 0
            for name, ms in pairs(cpu.times) do
                names = names + 1
                assert.truthy(({ user = 1, nice = 1, sys = 1, idle = 1, irq = 1 })[name])
                assert.is_true(ms >= 0 and ms % 1 == 0)
            end
            assert.equal(5, names)
        end
    end)

    on_linux("counts a processor's time as /proc/stat does", function()
        local row
        for line in read("/proc/stat"):gmatch("[^\n]+") do
            row = row or line:match("^cpu0 (.*)")
        end
        local user, nice, sys = row:match("(%d+) (%d+) (%d+)")
        local ms = 1000 / tonumber(output("getconf", { "CLK_TCK" }))
        local times = system.cpuinfo()[1].times
        assert.is_true(math.abs(times.user - user * ms) < 2000)
        assert.is_true(math.abs(times.nice - nice * ms) < 2000)
        assert.is_true(math.abs(times.sys - sys * ms) < 2000)
    end)

    on_linux("knows the memory that /proc/meminfo knows", function()
        local memory = system.meminfo()
        local text = read("/proc/meminfo")
        assert.equal(text:match("MemTotal:%s*(%d+)") * 1024, memory.total)
        assert.equal(text:match("SwapTotal:%s*(%d+)") * 1024, memory.swap.total)
        assert.is_true(memory.free > 0 and memory.free <= memory.total)
        assert.is_true(memory.available > 0 and memory.available <= memory.total)
        assert.is_true(memory.limit > 0 and memory.limit <= memory.total)
        assert.is_true(memory.swap.free <= memory.swap.total)
        local resident = read("/proc/self/statm"):match("^%d+ (%d+)") * system.pageSize
        assert.is_true(math.abs(memory.rss - resident) < 16 * 2 ^ 20)
    end)

    on_linux("knows the load and how long the system is up", function()
        -- It may be computed anew between the two.
        program.eventually("the same load", function()
            local load = system.loadavg()
            assert.equal(3, #load)
            local one = tonumber(read("/proc/loadavg"):match("^%S+"))
            return math.abs(load[1] - one) < 0.5
        end)
        assert.is_true(math.abs(system.uptime() - read("/proc/uptime"):match("^%S+")) < 2)
    end)

    it("counts the processors that its affinity allows", function()
        local n = system.cpuCount()
        assert.is_true(n >= 1 and n <= #system.cpuinfo() and n % 1 == 0)
        if not is_linux then return end
        local script = "print(require('system').cpuCount())"
        local result = assert(process.run(LINKS, { "-e", script },
            { cpu = program.a_processor() }))
        assert.equal("1\n", result.stdout)
    end)

    describe("clocks", function()
        it("has a monotonic one in nanoseconds, exact as an int64", function()
            local a, b = system.hrtime64(), system.hrtime64()
            assert.equal("cdata", type(a))
            assert.is_true(ffi.istype("int64_t", a))
            assert.is_true(b >= a)
            local number = system.hrtime()
            assert.equal("number", type(number))
            assert.equal(0, number % 1)
            assert.is_true(number >= tonumber(b) and number - tonumber(b) < 60e9)
            timer.sleep(5)
            assert.is_true(system.hrtime() - number >= 5e6)
        end)

        it("has the same monotonic one in all processes", function()
            local script = "print(('%.0f'):format(require('system').hrtime()))"
            local before = system.hrtime()
            local theirs = tonumber(output(LINKS, { "-e", script }))
            assert.is_true(theirs > before and theirs < system.hrtime())
        end)

        it("reads the wall clock once a turn for now, and each time for time", function()
            local now = system.now()
            assert.is_true(math.abs(now / 1000 - os.time()) < 2)
            assert.equal(0, now % 1)
            local begun = system.hrtime()
            while system.hrtime() - begun < 3e6 do end
            assert.equal(now, system.now())
            timer.sleep(3)
            assert.is_true(system.now() > now)
            assert.is_true(math.abs(system.time() - os.time()) <= 1)
            assert.equal(0, system.time() % 1)
        end)

        it("has those of the rock luasystem", function()
            assert.is_true(math.abs(system.gettime() - os.time()) < 2)
            local begun = system.monotime()
            assert.is_true(system.sleep(0.002))
            assert.is_true(system.monotime() - begun >= 0.002)
            raises("seconds must be", function() system.sleep("1") end)
        end)

        it("writes a time as HTTP does, whatever the locale", function()
            assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", system.httpDate(784111777))
            assert.equal("Thu, 01 Jan 1970 00:00:00 GMT", system.httpDate(0))
            assert.equal("Fri, 31 Dec 9999 23:59:59 GMT", system.httpDate(253402300799))
            local form = "^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$"
            assert.truthy(system.httpDate():find(form))
            program.eventually("twice the same second", function()
                return system.httpDate() == system.httpDate()
            end)
            for _, bad in ipairs { -1, 1.5, 253402300800, "now", 0 / 0 } do
                raises("%[integer%]", function() system.httpDate(bad) end)
            end
        end)
    end)

    describe("networkInterfaces", function()
        it("has the loopback interface, and says so", function()
            local found
            for name, addresses in pairs(system.networkInterfaces()) do
                assert.is_string(name)
                for _, a in ipairs(addresses) do
                    assert.truthy(a.family == 4 or a.family == 6)
                    assert.truthy(a.mac:find("^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$"))
                    assert.truthy(a.cidr:find(a.address, 1, true))
                    if a.address == "127.0.0.1" then found = a end
                end
            end
            assert.is_true(found.internal)
            assert.equal(4, found.family)
            assert.equal("255.0.0.0", found.netmask)
            assert.equal("127.0.0.1/8", found.cidr)
        end)

        on_linux("has the hardware addresses of /sys", function()
            for name, addresses in pairs(system.networkInterfaces()) do
                local file = io.open("/sys/class/net/" .. name .. "/address")
                if file then
                    assert.equal(file:read("*l"), addresses[1].mac)
                    file:close()
                end
            end
        end)
    end)

    describe("users", function()
        it("finds the user that runs it, as id does", function()
            local me = system.userInfo()
            assert.equal(output("id", { "-un" }), me.name)
            assert.equal(tonumber(output("id", { "-u" })), me.uid)
            assert.equal(tonumber(output("id", { "-g" })), me.gid)
            assert.equal("/", me.home:sub(1, 1))
            assert.is_string(me.shell)
        end)

        it("finds a user by name and by id, with all groups", function()
            local root = assert(system.userInfo("root"))
            assert.equal(0, root.uid)
            assert.same(root, system.userInfo(0))
            local groups = {}
            for _, gid in ipairs(root.groups) do groups[gid] = true end
            for gid in output("id", { "-G", "root" }):gmatch("%d+") do
                assert.is_true(groups[tonumber(gid)])
            end
        end)

        it("answers NOT_FOUND for who is not there", function()
            local nobody = { "nobody-of-that-name", "", "root\0", 4294967290, -1, 0.5, 1e300 }
            for _, who in ipairs(nobody) do
                local user, err = system.userInfo(who)
                assert.is_nil(user)
                assert.equal("NOT_FOUND", err.name)
                local group, failure = system.groupInfo(who)
                assert.is_nil(group)
                assert.equal("NOT_FOUND", failure.name)
            end
            raises("who must be", function() system.userInfo({}) end)
            raises("which must be", function() system.groupInfo(true) end)
        end)

        it("finds a group, and who is in it", function()
            local group = assert(system.groupInfo())
            assert.equal(output("id", { "-gn" }), group.name)
            assert.same(group, system.groupInfo(group.gid))
            for line in read("/etc/group"):gmatch("[^\n]+") do
                local name, gid, members = line:match("^([^:]+):[^:]*:(%d+):(.*)$")
                local found = assert(system.groupInfo(name))
                assert.equal(tonumber(gid), found.gid)
                assert.equal(members, table.concat(found.members, ","))
            end
        end)
    end)

    describe("limits", function()
        it("are those of the shell's ulimit", function()
            local script = [[ulimit -Sf 100000; exec "$0" -e 'print(
                require("system").limits("fsize").soft)']]
            assert.equal(tostring(100000 * 512), output("sh", { "-c", script, LINKS }))
            local all = system.limits()
            for name, limit in pairs(all) do
                assert.same(limit, system.limits(name))
                assert.is_true(limit.soft <= limit.hard)
            end
            assert.truthy(all.nofile and all.core and all.stack and all.cpu and all.fsize)
            assert.equal(output("sh", { "-c", "ulimit -Hn" }):gsub("unlimited", "inf"),
                ("%.0f"):format(all.nofile.hard))
        end)

        it("are set, soft alone or both", function()
            local before = system.limits("core")
            assert.is_true(system.limits("core", 0))
            assert.same({ soft = 0, hard = before.hard }, system.limits("core"))
            assert.is_true(system.limits("core", before.soft, before.hard))
            assert.same(before, system.limits("core"))
        end)

        it("go to the children, but for those that links raises for itself", function()
            assert.equal(system.limits("nofile").hard, system.limits("nofile").soft)
            local stack = system.limits("stack")
            assert.is_true(stack.soft >= math.min(96 * 2 ^ 20, stack.hard))
            assert.equal(output("sh", { "-c", 'ulimit -Ss 4321; "$0" -e "$1"', LINKS,
                "print(require('process').run('sh', {'-c', 'ulimit -Ss'}).stdout)" }), "4321")
            local script = [[ulimit -Sn 77; "$0" -e '
                local process = require "process"
                print(process.run("sh", {"-c", "ulimit -Sn"}).stdout)
                require("system").limits("nofile", 99)
                print(process.run("sh", {"-c", "ulimit -Sn"}).stdout)']]
            assert.equal("77\n\n99", output("sh", { "-c", script, LINKS }))
        end)

        it("answer what the system refuses, and raise what is wrong", function()
            local ok, err = system.limits("nofile", 100, 50)
            assert.is_nil(ok)
            assert.equal("EINVAL", err.name)
            local unknown = "unknown limit \"nofiles\" %(did you mean \"nofile\"%?%)"
            raises(unknown, function() system.limits("nofiles") end)
            raises("name must be", function() system.limits(1) end)
            raises("name must be", function() system.limits(nil, 1) end)
            for _, bad in ipairs { -1, 1.5, "many", 0 / 0 } do
                raises("soft must be", function() system.limits("core", bad) end)
                raises("hard must be", function() system.limits("core", 0, bad) end)
            end
        end)
    end)
end)
