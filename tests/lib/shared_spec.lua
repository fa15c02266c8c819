package.path = "tests/support/?.lua;" .. package.path
local process = require "process"
local program = require "program"
local shared = require "shared"
local task = require "task"
local timer = require "timer"

local serial = 0

local function new(size, options)
    serial = serial + 1
    local name = "spec-" .. process.pid .. "-" .. serial
    return assert(shared.open(name, size or 2 ^ 20, options)), name
end

local function fails(name, value, err)
    assert.is_nil(value)
    assert.equal(name, err and err.name)
    return err.message
end

describe("shared.open", function()
    it("gives the same dictionary for the same name, here and in another process", function()
        local dict, name = new()
        assert.equal(dict, shared.open(name, 2 ^ 20))
        dict:set("from here", { "hello" })
        local result = program.eval(([[
            local dict = assert(require("shared").open(%q, 2 ^ 20))
            print(dict:get("from here")[1])
            dict:set("from there", 5)
        ]]):format(name))
        assert.equal("hello\n", result.out .. result.err)
        assert.equal(5, dict:get("from there"))
    end)

    it("tells another size and another evict", function()
        local _, name = new()
        local _, err = shared.open(name, 2 ^ 21)
        assert.matches("^EXISTS: shared memory exists with 1048576 bytes, not 2097152 ",
            tostring(err))
        _, err = shared.open(name, 2 ^ 20, { evict = "none" })
        assert.matches("^EXISTS: shared memory exists with another evict ", tostring(err))
        local result = program.eval(([[
            local dict, err = require("shared").open(%q, 2 ^ 21)
            print(dict, err)
            print(select(2, require("shared").open(%q, 2 ^ 20, { evict = "none" })))
        ]]):format(name, name))
        assert.matches("^nil\tEXISTS: shared memory exists with 1048576 bytes, not 2097152 .-\n"
            .. "EXISTS: shared memory exists with another evict", result.out)
    end)

    it("leaves nothing behind, however the last process ends by itself", function()
        local name = "left-" .. process.pid
        local held = assert(shared.open(name, 2 ^ 20))
        local list = assert(process.run("sh", { "-c", "ls -d /dev/shm/links*-" .. name })).stdout
        if list == "" then return pending("there is no /dev/shm") end
        local path = list:match("^(.*)\n$")
        for i, ending in ipairs { "", "os.exit(3)", "os.exit(3, true)", "error 'x'",
            "require('process').quit(3)" } do
            local other = name .. "-end" .. i
            local result = program.eval(([[
                held = { assert(require("shared").open(%q, 2 ^ 20)),
                    assert(require("shared").open(%q, 2 ^ 20)) }
                io.write(tostring(io.open(%q) ~= nil))
                %s
            ]]):format(name, other, path .. "-end" .. i, ending))
            assert.equal("true", result.out)
            assert.is_nil(io.open(path .. "-end" .. i), ending)
            assert.truthy(io.open(path), "others have it open")
        end
        assert(held:set("key", 1))
    end)

    it("keeps a dictionary in a file when its last process ends", function()
        local path = os.tmpname()
        os.remove(path)
        local code = [[
            local dict = assert(require("shared").open("kept", 2 ^ 20, { file = %q }))
            print(dict:incr("n", 1, 0), dict:get("t") and dict:get("t").a, dict:ttl("t"))
            dict:set("t", { a = 1 }, 100000)
        ]]
        assert.equal("1\tnil\tnil\n", program.eval(code:format(path)).out)
        local out = program.eval(code:format(path)).out
        os.remove(path)
        assert.matches("^2\t1\t%d+\n$", out)
        assert.is_true(tonumber(out:match("%d+\n")) > 50000)
    end)

    it("says of a file that it is no dictionary", function()
        local path = os.tmpname()
        local file = io.open(path, "w")
        file:write(("x"):rep(2 ^ 20))
        file:close()
        fails("PARSE", shared.open("x", 2 ^ 20, { file = path }))
        os.remove(path)
        fails("EACCES", shared.open("x", 2 ^ 20, { file = "/dev/null" }))
        fails("ENOENT", shared.open("x", 2 ^ 20, { file = "/nowhere/at/all" }))
        fails("EISDIR", shared.open("x", 2 ^ 20, { file = "/tmp" }))
    end)

    it("says that there is not so much room", function()
        local name = "spec-too-large-" .. require("process").pid
        local _, err = shared.open(name, 2 ^ 46)
        assert.is_true(err.name == "ENOSPC" or err.name == "ENOMEM" or err.name == "EFBIG")
        assert.truthy(shared.open(name, 2 ^ 16))
    end)

    it("raises what is wrong with its arguments", function()
        for _, case in ipairs {
            { "name must be [string]", 5, 65536 },
            { 'name must be 1 to 64 letters', "", 65536 },
            { 'name must be 1 to 64 letters', "../x", 65536 },
            { 'name must be 1 to 64 letters', ("x"):rep(65), 65536 },
            { "size must be [integer]", "x", 65535 },
            { "size must be [integer]", "x", "1m" },
            { 'options.evict must be "lru" or "none"', "x", 65536, { evict = "lfu" } },
            { "options.shards", "x", 65536, { shards = 0 } },
            { 'unknown option "shard" (did you mean "shards"?)', "x", 65536, { shard = 2 } },
        } do
            local ok, message = pcall(shared.open, unpack(case, 2))
            assert.is_false(ok)
            assert.truthy(message:find(case[1], 1, true), message)
        end
    end)
end)

describe("a shared dictionary", function()
    it("keeps strings, numbers, booleans, 64-bit integers and tables as they are", function()
        local dict = new()
        for _, value in ipairs {
            "", "text", ("x"):rep(5000), "\0\255", 0, -1.5, 2 ^ 60, 1 / 0, true, false,
            9223372036854775807LL, -1LL, 18446744073709551615ULL,
        } do
            assert.is_true(dict:set("key", value))
            assert.equal(value, dict:get("key"))
            assert.equal(type(value), type(dict:get("key")))
        end
        dict:set("key", { 1, "a", { b = true, c = 5LL }, [0.5] = "x" })
        assert.same({ 1, "a", { b = true, c = 5LL }, [0.5] = "x" }, dict:get("key"))
        assert.is_nil(dict:get("other"))
    end)

    it("takes keys of any bytes up to 65535", function()
        local dict = new(2 ^ 22)
        for _, len in ipairs { 0, 1, 8, 9, 63, 64, 65, 300, 65535 } do
            local key = ("k"):rep(len)
            assert(dict:set(key, len))
            assert.equal(len, dict:get(key))
        end
        local message = fails("TOO_LARGE", dict:set(("k"):rep(65536), 1))
        assert.equal("the key is longer than 65535 bytes", message)
        assert.equal(message, fails("TOO_LARGE", dict:incr(("k"):rep(65536), 1, 0)))
        assert.equal(message, fails("TOO_LARGE", dict:push(("k"):rep(65536), 1)))
        assert.is_nil(dict:get(("k"):rep(65536)))
        assert.is_true(dict:delete(("k"):rep(65535)))
    end)

    it("says of what it cannot keep why", function()
        local dict = new()
        assert.equal("a function cannot be kept", fails("TYPE", dict:set("k", print)))
        assert.matches("function", fails("TYPE", dict:set("k", { print })))
        local loop = {}
        loop[1] = loop
        fails("TYPE", dict:set("k", loop))
        fails("TYPE", dict:push("k", coroutine.create(print)))
        fails("TOO_LARGE", dict:set("k", ("x"):rep(2 ^ 20)))
        assert.is_nil(dict:get("k"))
        assert.has_error(function() dict:set("k", nil) end)
        assert.has_error(function() dict:set(1, 1) end)
        assert.has_error(function() dict:set("k", 1, -1) end)
        assert.has_error(function() dict:set("k", 1, 0 / 0) end)
    end)

    it("adds, replaces and deletes only where it is asked to", function()
        local dict = new()
        fails("NOT_FOUND", dict:replace("k", 1))
        assert.is_true(dict:add("k", 1))
        fails("EXISTS", dict:add("k", 2))
        assert.is_true(dict:replace("k", "two"))
        assert.equal("two", dict:get("k"))
        assert.is_true(dict:delete("k"))
        assert.is_false(dict:delete("k"))
    end)

    it("counts", function()
        local dict = new()
        fails("NOT_FOUND", dict:incr("n"))
        assert.equal(12, dict:incr("n", 2, 10))
        assert.equal(13, dict:incr("n"))
        assert.equal(12.5, dict:incr("n", -0.5, 100))
        dict:set("s", "text")
        fails("TYPE", dict:incr("s"))
        assert.equal(1, dict:incr("t", 1, 0, 60000))
        assert.is_true(dict:ttl("t") > 0 and dict:ttl("t") <= 60000)
    end)

    it("forgets what has lived long enough, and tells of it as stale", function()
        local dict = new()
        dict:set("k", "v", 60000)
        dict:set("long", "v", 100000)
        assert.is_true(dict:ttl("k") > 0 and dict:ttl("k") <= 60000)
        dict:set("k", "v", 5)
        assert.equal(0, (dict:set("for ever", 1) and dict:ttl("for ever")))
        timer.sleep(10)
        assert.is_nil(dict:get("k"))
        assert.is_nil(dict:ttl("k"))
        assert.is_false(dict:expire("k", 1000))
        assert.is_false(dict:delete("not there"))
        assert.same({ "v", true }, { dict:getStale("k") })
        assert.same({ "v", false }, { dict:getStale("long") })
        fails("NOT_FOUND", dict:replace("k", 1))
        assert.equal(1, dict:incr("k", 1, 0))
        assert.is_true(dict:expire("long", 1))
        timer.sleep(5)
        assert.equal(1, dict:flushExpired())
        assert.is_nil((dict:getStale("long")))
        assert.is_true(dict:expire("k", 0))
    end)

    it("compares and sets", function()
        local dict = new()
        assert.is_true(dict:cas("k", nil, "a"))
        assert.same({ false, "a" }, { dict:cas("k", nil, "b") })
        assert.is_true(dict:cas("k", "a", 5LL))
        assert.is_true(dict:cas("k", 5LL, { 1 }))
        assert.is_false((dict:cas("k", 1, 2)))
        assert.has_error(function() dict:cas("k", {}, 1) end)
        dict:set("k", 1, 60000)
        assert.is_true(dict:cas("k", 1, "2"))
        assert.is_true(dict:ttl("k") > 1000)
        assert.is_true(dict:cas("k", "2", nil))
        assert.is_nil(dict:get("k"))
        dict:push("l", 1)
        fails("TYPE", dict:cas("l", 1, 2))
    end)

    it("gives the value that was there for the one that is written", function()
        local dict = new()
        assert.is_nil(dict:getset("k", { 1 }))
        assert.same({ 1 }, dict:getset("k", "two", 60000))
        assert.equal("two", dict:get("k"))
        assert.is_true(dict:ttl("k") > 1000)
        assert.equal("two", dict:getset("k", 3))
        assert.equal(0, dict:ttl("k"))
        fails("TYPE", dict:getset("k", print))
        fails("TOO_LARGE", dict:getset(("k"):rep(65536), 1))
        assert.has_error(function() dict:getset("k", nil) end)
        assert.equal(3, dict:get("k"))
        dict:push("l", 1)
        fails("TYPE", dict:getset("l", 1))
    end)

    it("updates by a function, which is called again where another one was faster", function()
        local dict = new()
        local calls = 0
        local result = dict:update("k", function(value)
            calls = calls + 1
            if calls == 1 then dict:set("k", 100) end
            if calls == 2 then dict:delete("k") end
            return (value or 0) + 1
        end)
        assert.equal(3, calls)
        assert.equal(1, result)
        assert.equal(1, dict:get("k"))
        assert.is_nil(dict:update("k", function() end))
        assert.is_nil(dict:get("k"))
        fails("TYPE", dict:update("k", function() return print end))
        assert.has_error(function() dict:update("k", function() error("mine") end) end)
        local tasks = {}
        for i = 1, 10 do
            tasks[i] = task.spawn(function()
                for _ = 1, 20 do
                    dict:update("n", function(n)
                        timer.sleep(0)
                        return (n or 0) + 1
                    end)
                end
            end)
        end
        for i = 1, 10 do tasks[i]:join() end
        assert.equal(200, dict:get("n"))
    end)

    it("has lists, from both ends", function()
        local dict = new(2 ^ 20, { shards = 1 })
        assert.equal(1, dict:push("l", "b"))
        assert.equal(2, dict:push("l", { 3 }))
        assert.equal(3, dict:push("l", 1, "left"))
        assert.equal(3, dict:len("l"))
        fails("TYPE", dict:get("l"))
        fails("TYPE", dict:getStale("l"))
        fails("TYPE", dict:incr("l"))
        assert.same({ 3 }, dict:pop("l", "right"))
        assert.equal(1, dict:pop("l"))
        assert.equal("b", dict:pop("l", "left"))
        assert.is_nil(dict:pop("l"))
        assert.equal(0, dict:len("l"))
        dict:set("s", 1)
        fails("TYPE", dict:push("s", 1))
        fails("TYPE", dict:pop("s"))
        fails("TYPE", dict:len("s"))
        assert.has_error(function() dict:push("l", 1, "middle") end)
        assert.has_error(function() dict:push("l", nil) end)
        for i = 1, 1000 do assert(dict:push("q", ("x"):rep(i % 300))) end
        for i = 1, 1000 do assert.equal(i % 300, #dict:pop("q")) end
    end)

    it("lists its keys and empties itself", function()
        local dict = new()
        for i = 1, 100 do dict:set("k" .. i, i) end
        local keys = dict:keys()
        table.sort(keys)
        assert.equal(100, #keys)
        assert.equal("k1", keys[1])
        assert.equal(10, #dict:keys(10))
        assert.equal(100, dict:flush())
        assert.same({}, dict:keys())
    end)

    it("is full where nothing may be evicted", function()
        local dict = new(2 ^ 16, { evict = "none" })
        local n, err = 0
        repeat
            n = n + 1
            local ok
            ok, err = dict:set("k" .. n, n)
        until not ok or n > 1e5
        assert.equal("FULL", err.name)
        assert.is_true(n > 300)
        fails("FULL", dict:push("l", 1))
        assert.equal(0, dict:len("l"))
        assert.is_true(dict:set("k1", "another"))
        local stats = dict:stats()
        assert.equal(n - 1, stats.items)
        assert.equal(0, stats.evictions)
    end)

    it("counts hits, misses and evictions", function()
        local dict = new(2 ^ 16)
        for i = 1, 1000 do assert(dict:set("k" .. i, i)) end
        assert.equal(1000, dict:get("k1000"))
        assert.is_nil(dict:get("k1"))
        fails("FULL", dict:setSafe("one more", 1))
        local stats = dict:stats()
        assert.equal(1, stats.hits)
        assert.equal(1, stats.misses)
        assert.equal(1000, stats.items + stats.evictions)
        assert.is_true(stats.free < stats.capacity)
    end)
end)
