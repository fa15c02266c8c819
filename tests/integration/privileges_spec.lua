-- Giving up the rights of root: process.dropPrivileges, and the workers of a cluster. Most of it
-- needs root, and says so where it is not.
package.path = "tests/support/?.lua;" .. package.path

local process = require "process"
local program = require "tools"
local clusters = require "clusters"

local prints = clusters.prints
local NOBODY = 65534

local folder

before_each(function()
    clusters.before()
    folder = clusters.folder
end)

after_each(clusters.after)

local function run(code, env)
    return assert(process.run(program.LINKS, { "-e", code }, { env = env, timeout = 60000 }))
end

-- What a process says of itself: its ids, groups and whether programs may give it more.
local SAY = [[
local function say()
    local file = io.open("/proc/self/status")
    local text = file:read("*a")
    file:close()
    print("ids", text:match("Uid:\t(%d+\t%d+\t%d+)"), text:match("Gid:\t(%d+\t%d+\t%d+)"),
        text:match("Groups:%s*([%d ]-)%s*\n"), text:match("NoNewPrivs:\t(%d)"))
    io.stdout:flush()
end
]]
local CAPABILITIES = [[
local function capabilities()
    local file = io.open("/proc/self/status")
    local text = file:read("*a")
    file:close()
    print(text:match("CapPrm:\t(%x+)") .. " " .. text:match("CapEff:\t(%x+)") .. " "
        .. text:match("CapInh:\t(%x+)") .. " " .. text:match("CapAmb:\t(%x+)"))
    io.stdout:flush()
end
]]
local IDS = "ids\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n"

describe("process.dropPrivileges", function()
    it("gives up the user, all groups and what programs could bring back", function()
        if not program.is_root() then return pending("needs root") end
        if jit.os ~= "Linux" then return pending("needs /proc") end
        local result = run(SAY .. ([[
            local process = require "process"
            assert(require("tcp").createServer(0, function() end)):close()
            assert(process.dropPrivileges { uid = %d, gid = %d, groups = { 7, 8 },
                noNewPrivs = true })
            say()
            print(select(2, process.setuid(0)).name, select(2, process.setgid(0)).name)
        ]]):format(NOBODY, NOBODY))
        assert.equal(IDS:format(NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, "7 8 65534", "1")
            .. "EPERM\tEPERM\n", result.stdout, result.stderr)
    end)

    it("takes on a root folder before that", function()
        if not program.is_root() then return pending("needs root") end
        program.write(folder .. "/only", "here")
        os.execute(("chmod 755 '%s'; chmod 644 '%s/only'"):format(folder, folder))
        local result = run(([[
            local process = require "process"
            assert(process.dropPrivileges { uid = %d, gid = %d, chroot = %q })
            print(process.cwd(), io.open("/only"):read("*a"), io.open("/etc/passwd"))
        ]]):format(NOBODY, NOBODY, folder), { ASAN_OPTIONS = "detect_leaks=0" })
        -- A sanitizer's search for leaks would need /proc, and waits for it for ever.
        assert.equal("/\there\tnil", result.stdout:match("^[^\t]*\t[^\t]*\t%a*"), result.stderr)
    end)

    it("keeps the capabilities that are named, for itself alone", function()
        if not program.is_root() then return pending("needs root") end
        if jit.os ~= "Linux" then return pending("needs Linux") end
        local result = run(CAPABILITIES .. ([[
            local process, tcp = require "process", require "tcp"
            assert(process.dropPrivileges { uid = %d, gid = %d,
                capabilities = { "NET_BIND_SERVICE", "CAP_NET_RAW" } })
            capabilities()
            print(process.run("grep", { "Cap[PEA]", "/proc/self/status" }).stdout)
            print(select(2, process.setuid(0)).name)
        ]]):format(NOBODY, NOBODY))
        local none = "0000000000000000\n"
        assert.equal("0000000000002400 0000000000002400 0000000000000000 0000000000000000\n"
            .. "CapPrm:\t" .. none .. "CapEff:\t" .. none .. "CapAmb:\t" .. none .. "\nEPERM\n",
            result.stdout, result.stderr)
    end)

    it("knows capabilities by their names, and for whom they are", function()
        local function fails(message, capabilities, uid)
            program.raises(message, function()
                process.dropPrivileges({ capabilities = capabilities, uid = uid })
            end)
        end
        fails('capabilities%[2%] must be the name of a capability, not "NET_ROW" '
            .. '%(did you mean "NET_RAW"%?%)', { "NET_ADMIN", "NET_ROW" }, NOBODY)
        fails("capabilities%[1%] must be %[string%], not 10", { 10 }, NOBODY)
        fails("options.capabilities are for another user: say options.uid", { "NET_RAW" })
        if jit.os == "Linux" or not program.is_root() then return end
        local _, err = process.dropPrivileges({ capabilities = { "NET_RAW" }, uid = NOBODY })
        assert.equal("ENOTSUP", err.name)
    end)

    it("refuses to go on as root", function()
        if not program.is_root() then return pending("needs root") end
        local result = run([[
            local process = require "process"
            print(select(2, process.dropPrivileges({})).name)
            print(select(2, process.dropPrivileges({ uid = 0 })).name)
        ]])
        assert.equal("EPERM\nEPERM\n", result.stdout, result.stderr)
    end)

    it("is nothing for who has no rights to give up, and an error for who wants others", function()
        local code = [[
            local process = require "process"
            print(process.dropPrivileges({}))
            print(select(2, process.dropPrivileges({ uid = 0 })).name)
            print(select(2, process.dropPrivileges({ groups = { 0 } })).name)
            print(select(2, process.dropPrivileges({ chroot = "/" })).name)
        ]]
        if program.is_root() then
            local copy = program.copy_for_others(folder)
            local result = assert(process.run(copy, { "-e", code },
                { uid = NOBODY, gid = NOBODY, cwd = "/" }))
            assert.equal("true\nEPERM\nEPERM\nEPERM\n", result.stdout, result.stderr)
        else
            assert.equal("true\nEPERM\nEPERM\nEPERM\n", run(code).stdout)
        end
    end)

    it("says what is wrong with its options", function()
        for _, name in ipairs { "uid", "gid" } do
            local _, err = process.dropPrivileges({ [name] = "no-such-one" })
            assert.equal("EINVAL", err.name)
        end
        local _, err = process.dropPrivileges({ groups = { "no-such-group" } })
        assert.equal(program.is_root() and "EINVAL: there is no group no-such-group (setgroups)"
            or "EPERM: operation not permitted (setgroups)", tostring(err))
        program.raises("options.groups%[1%] must be", function()
            process.dropPrivileges({ groups = { {} } })
        end)
        program.raises("unknown option", function() process.dropPrivileges({ user = 1 }) end)
    end)
end)

describe("the workers of a cluster", function()
    it("have the user, the groups and the limits that they are to have", function()
        if not program.is_root() then return pending("needs root") end
        if jit.os ~= "Linux" then return pending("needs /proc") end
        local copy = program.copy_for_others(folder)
        local cluster = clusters.start_by(copy, SAY .. ([[
            local process = require "process"
            assert(process.cluster { workers = 1, uid = %d, gid = %d, groups = { 9 },
                noNewPrivs = true, refuseRoot = true })
            say()
            process.ready()
            require("timer").sleep(60000)
        ]]):format(NOBODY, NOBODY))
        prints(cluster, IDS:format(NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, "9 65534", "1"))
    end)

    it("have a root folder of their own, with sockets from outside of it", function()
        if not program.is_root() then return pending("needs root") end
        local root = folder .. "/root"
        os.execute(("mkdir '%s'; chmod 755 '%s' '%s'"):format(root, folder, root))
        local code = ([[
            local http, process = require "http", require "process"
            assert(process.cluster { workers = 1, uid = %d, gid = %d, chroot = %q })
            local server = assert(http.createServer(0, function() return process.cwd() end,
                { host = "127.0.0.1" }))
            print("port " .. server:address().port)
            io.stdout:flush()
        ]]):format(NOBODY, NOBODY, root)
        -- The script is read twice: by the master outside, and by the worker inside.
        program.write(folder .. "/app.lua", code)
        os.execute(("mkdir -p '%s%s'; cp '%s/app.lua' '%s%s/app.lua'"):format(root, folder, folder,
            root, folder))
        local cluster = clusters.start(nil, folder .. "/app.lua")
        local port = clusters.port_of(cluster)
        local res = assert(require("http").get("http://127.0.0.1:" .. port,
            { headers = { Connection = "close" } }))
        assert.equal("/", res.body)
    end)

    it("have the capabilities that are named, and those they start have not", function()
        if not program.is_root() then return pending("needs root") end
        if jit.os ~= "Linux" then return pending("needs Linux") end
        local copy = program.copy_for_others(folder)
        for _, chroot in ipairs { "nil", '"/"' } do
            local cluster = clusters.start_by(copy, CAPABILITIES .. ([[
                local process = require "process"
                assert(process.cluster { workers = 1, uid = %d, gid = %d, noNewPrivs = true,
                    chroot = %s, capabilities = { "NET_BIND_SERVICE" } })
                capabilities()
                print("child " .. process.run("grep", { "CapEff", "/proc/self/status" }).stdout)
                print("environment " .. tostring(process.env.LINKS_CAPABILITIES))
                io.stdout:flush()
                process.ready()
                require("timer").sleep(60000)
            ]]):format(NOBODY, NOBODY, chroot))
            prints(cluster, "environment nil\n")
            assert.equal("0000000000000400 0000000000000400 0000000000000000 0000000000000000\n"
                .. "child CapEff:\t0000000000000000\n\nenvironment nil\n", cluster.text)
        end
    end)

    it("are not root, where the program says so", function()
        local code = [[
            local _, err = require("process").cluster { workers = 1, refuseRoot = true }
            if not _ then print(err) os.exit(0) end
            print("a worker")
            io.stdout:flush()
            require("process").ready()
            require("timer").sleep(60000)
        ]]
        local cluster = clusters.start(code)
        prints(cluster, program.is_root() and "EPERM: the workers would run as root"
            or "a worker")
    end)

    it("do not start as a user who is not there", function()
        local cluster = clusters.start([[
            print(select(2, require("process").cluster { workers = 1, uid = "no-such-user" }))
            print(select(2, require("process").cluster { workers = 1, groups = { "nobody-s" } }))
        ]])
        prints(cluster, "EINVAL: there is no user no%-such%-user")
        prints(cluster, program.is_root() and "EINVAL: there is no group nobody%-s"
            or "EPERM: operation not permitted %(setgroups%)")
    end)
end)
