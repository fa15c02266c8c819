-- Finalizers of programs: what they may do, and that none of it can hang or end the process.
package.path = "tests/support/?.lua;" .. package.path
local program = require "program"

local function output(code)
    local result = program.eval(code)
    assert.equal(0, result.code, result.err .. tostring(result.signal))
    return result.out, result.err
end

-- A loop that has been compiled for a table of numbers, and so leaves its trace for one of strings.
-- Where LuaJIT runs a finalizer, leaving a trace of pairs may lead to its beginning again.
local compiled_pairs = [[
    local function sum(t)
        local n = 0
        for _, v in pairs(t) do n = n + (type(v) == "number" and v or 1) end
        return n
    end
    local numbers, strings = {}, {}
    for i = 1, 100 do numbers[i], strings[i] = i, "x" end
    for _ = 1, 200 do sum(numbers) end
]]

describe("a finalizer", function()
    it("may go through a table in a loop that was compiled for others", function()
        assert.equal("150\n", output(compiled_pairs .. [[
            local ffi = require "ffi"
            ffi.cdef "typedef struct { int x; } thing;"
            local ran = 0
            local function finalizer() sum(strings) ran = ran + 1 end
            local thing = ffi.metatype("thing", { __gc = finalizer })
            local function make()
                for _ = 1, 50 do
                    getmetatable(newproxy(true)).__gc = finalizer
                    ffi.gc(ffi.new("int[1]"), finalizer)
                    thing()
                end
            end
            make()
            collectgarbage()
            collectgarbage()
            print(ran)
        ]]))
    end)

    it("may do so at the end of the program too", function()
        assert.equal("100\n", output(compiled_pairs .. [[
            at_end = newproxy(true)
            getmetatable(at_end).__gc = function() print(sum(strings)) end
        ]]))
    end)

    it("may do so where the collector interrupts a compiled loop", function()
        assert.equal("true\n", output(compiled_pairs .. [[
            local ran, made = 0, 0
            local function finalizer() sum(strings) ran = ran + 1 end
            local kept
            while ran < 2000 and made < 1e6 do
                made = made + 1
                getmetatable(newproxy(true)).__gc = finalizer
                kept = { made }
            end
            print(ran >= 2000 and kept[1] == made)
        ]]))
    end)

    it("runs once for each object, whichever coroutine the collector interrupts", function()
        assert.equal("true\n", output(compiled_pairs .. [[
            local ffi, task, timer = require "ffi", require "task", require "timer"
            local made, ran = 0, 0
            local function finalizer()
                sum(strings)
                ran = ran + 1
            end
            local function make()
                made = made + 1
                ffi.gc(ffi.new("int[4]"), finalizer)
            end
            local tasks = {}
            for w = 1, 10 do
                tasks[w] = task.spawn(function()
                    local generator = coroutine.wrap(function()
                        for i = 1, 1000 do
                            make()
                            if i % 100 == 0 then coroutine.yield(timer.sleep(0)) end
                        end
                    end)
                    while generator() do
                        pcall(table.sort, { 3, 1, 2 }, function(a, b) make() return a < b end)
                    end
                end)
            end
            for w = 1, 10 do assert(tasks[w]:join()) end
            collectgarbage()
            collectgarbage()
            print(ran == made and made > 10000)
        ]]))
    end)

    it("takes nothing from a function of links that the collector interrupts", function()
        assert.equal("0 true\n", output [=[
            local json, codec, crypto = require "json", require "codec", require "crypto"
            local text, key = '{"list":["' .. ("a"):rep(50) .. '",[1],[2],[3]]}', ("k"):rep(99)
            local ran, wrong = 0, 0
            local function finalizer()
                json.decode '["theirs"]'
                codec.hex.encode "theirs"
                crypto.hash("sha256", "theirs")
                ran = ran + 1
            end
            local hex, hash = codec.hex.encode(key), crypto.hash("sha256", key)
            jit.off()
            collectgarbage("setpause", 100)
            for _ = 1, 30000 do
                for _ = 1, 2 do getmetatable(newproxy(true)).__gc = finalizer end
                local value = json.decode(text)
                if #value.list ~= 4 or value.list[4][1] ~= 3 then wrong = wrong + 1 end
                if codec.hex.encode(key) ~= hex then wrong = wrong + 1 end
                if crypto.hash("sha256", key) ~= hash then wrong = wrong + 1 end
            end
            print(wrong .. " " .. tostring(ran > 10000))
        ]=])
    end)

    it("runs where a task waits in links", function()
        assert.equal("due woken\n", output [==[
            local core, timer = require "links.core", require "timer"
            local library = load([=[
                local core, due, sleep = ...
                core.interrupt(due)
                for i = 1, 1e4 do local _ = core[i] end
                sleep(1)
            ]=], "=links/x")
            library(core, function() io.write "due " end, timer.sleep)
            print "woken"
        ]==])
    end)

    it("is not lost among very many", function()
        assert.equal("100000 200000 300000\n", output [[
            local ffi = require "ffi"
            local n, seen = 0, {}
            local function finalizer() n = n + 1 end
            for round = 1, 3 do
                for _ = 1, 100000 do ffi.gc(ffi.new("int[1]"), finalizer) end
                collectgarbage()
                collectgarbage()
                seen[round] = n
            end
            print(table.concat(seen, " "))
        ]])
    end)

    it("has run when collectgarbage returns, in the order of the collector", function()
        assert.equal("3 2 1\n", output [[
            local order = {}
            local function make(i)
                getmetatable(newproxy(true)).__gc = function() order[#order + 1] = i end
            end
            for i = 1, 3 do make(i) end
            collectgarbage()
            print(table.concat(order, " "))
        ]])
    end)

    it("runs where debug.setmetatable gave it, and where it is no function says so", function()
        local out, err = output [[
            local ffi = require "ffi"
            local function make()
                debug.setmetatable(newproxy(), { __gc = function() error "given later" end })
                ffi.gc(ffi.new("int[1]"), "not to be called")
                ffi.gc(ffi.new("int[1]"), setmetatable({}, { __call = function() print "called" end }))
                ffi.gc(ffi.gc(ffi.new("int[1]"), function() print "never" end), nil)
            end
            make()
            collectgarbage()
            collectgarbage()
            print(pcall(ffi.gc, ffi.new("int[1]")))
        ]]
        assert.matches("^called\nfalse\t[^\n]*bad argument", out)
        assert.matches("error in a finalizer: [^\n]*given later", err)
        assert.matches("error in a finalizer: attempt to call a string", err)
    end)

    it("leaves the hooks of the program as they are, and hides no line from them", function()
        assert.equal("true\ttrue\t10000\n", output [[
            jit.off()
            collectgarbage("setpause", 100) -- from the next time on: all the time
            collectgarbage()
            local seen, ran = {}, 0
            local function make()
                getmetatable(newproxy(true)).__gc = function() ran = ran + 1 end
            end
            local function hook(_, line) seen[line] = (seen[line] or 0) + 1 end
            local here = debug.getinfo(1, "l").currentline
            debug.sethook(hook, "l")
            for i = 1, 10000 do
                local kept = { i }
                make(kept)
            end
            debug.sethook(hook, "l")
            print(debug.gethook() == hook, ran > 100, seen[here + 3])
        ]])
    end)

    it("keeps no count hook of the program from coming", function()
        assert.equal("true\ttrue\n", output [[
            jit.off()
            collectgarbage("setpause", 100)
            collectgarbage()
            local counts, ran = 0, 0
            local function make()
                getmetatable(newproxy(true)).__gc = function() ran = ran + 1 end
            end
            debug.sethook(function() counts = counts + 1 end, "", 5000)
            for i = 1, 20000 do make(i) end
            debug.sethook()
            print(ran > 1000, counts > 20)
        ]])
    end)

    -- What the library does where ffi.gc does not tell where it keeps the finalizers.
    local secretive = [=[
        local ffi = require "ffi"
        local function stock(fn, name)
            for i = 1, 9 do
                local upvalue, value = debug.getupvalue(fn, i)
                if upvalue == name then return value end
            end
            error(name)
        end
        ffi.gc, ffi.metatype = stock(ffi.gc, "stock_gc"), stock(ffi.metatype, "stock_metatype")
        newproxy = stock(newproxy, "stock_newproxy")
        debug.setmetatable = stock(debug.setmetatable, "stock_setmetatable")
        local getfenv = debug.getfenv
        debug.getfenv = function() return {} end
        package.loaded["links.finalizers"] = nil
        require("links.finalizers").install()
        debug.getfenv = getfenv
    ]=]

    it("may use what the library has when the program ends, whatever comes first", function()
        local code = [=[
            local ffi, json, codec, crypto, shared = require "ffi", require "json",
                require "codec", require "crypto", require "shared"
            local dict = assert(shared.open("spec-end-" .. require("process").pid, 65536))
            local hasher = crypto.hasher("sha256")
            local ran = 0
            local function finalizer()
                assert(json.decode('{"list":["' .. ("a"):rep(5000) .. '",[1],[2]]}').list[3][1] == 2)
                assert(codec.hex.encode "abc" == "616263")
                assert(#crypto.hash("sha256", "x") > 0)
                hasher:update("x")
                assert(dict:incr("n", 1, 0))
                assert(json.encode { "x" } == '["x"]')
                ran = ran + 1
                if ran % 50 == 0 then io.write(ran, " ", dict:get("n"), "\n") end
            end
            kept = {}
            for i = 1, 50 do
                kept[i] = newproxy(true)
                getmetatable(kept[i]).__gc = finalizer
                kept[-i] = ffi.gc(ffi.new("int[1]"), finalizer)
            end
            ffi.cdef "typedef struct { int x; } ending_thing; void *malloc(size_t); void free(void *);"
            local thing = ffi.metatype("ending_thing", { __gc = finalizer })
            for i = 101, 150 do kept[i] = thing() end
            for i = 151, 160 do kept[i] = ffi.gc(ffi.C.malloc(10), ffi.C.free) end
        ]=]
        for _, before in ipairs { "", secretive } do
            local out, err = output(before .. code)
            assert.equal("50 50\n100 100\n150 150\n", out)
            assert.equal("", err)
        end
    end)

    it("may be in the middle of anything when the program ends", function()
        local result = program.eval(compiled_pairs .. [[
            local function make()
                getmetatable(newproxy(true)).__gc = function() sum(strings) make() end
            end
            for _ = 1, 100 do make() end
            collectgarbage()
            os.exit(7)
        ]])
        assert.equal(7, result.code)
    end)
end)
