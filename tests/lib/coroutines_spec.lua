package.path = "tests/support/?.lua;" .. package.path
local reference = require "reference"
local task = require "links.task"
local timer = require "links.timer"

local function same_as_plain_lua(snippets)
    for _, snippet in ipairs(snippets) do
        local plain, links = reference.compare(snippet)
        assert.equal(plain, links, snippet)
    end
end

describe("coroutine.*, as in plain Lua", function()
    it("resume passes values in and out, and errors as values", function()
        same_as_plain_lua {
            [[local co = coroutine.create(function(a, b)
                local c = coroutine.yield(a + b) error("x" .. c) end)
              return show(coroutine.resume(co, 1, 2)) .. show(coroutine.resume(co, "q"))
                .. show(coroutine.resume(co)) .. coroutine.status(co)]],
            [[local co = coroutine.create(function(...) return select("#", ...), ... end)
              return show(coroutine.resume(co, nil, nil))]],
            [[local co = coroutine.create(function()
                return select("#", coroutine.yield(nil, nil)) end)
              return show(coroutine.resume(co)) .. show(coroutine.resume(co, nil, nil, nil))]],
            [[local co = coroutine.create(function() error({}) end)
              return show(coroutine.resume(co))]],
            [[local co = coroutine.create(function() error() end)
              return show(coroutine.resume(co))]],
            [[local co = coroutine.create(function()
                pcall(function() coroutine.yield(1) end) return 2 end)
              return show(coroutine.resume(co)) .. show(coroutine.resume(co))]],
        }
    end)

    it("resume refuses the dead, the running and the normal", function()
        same_as_plain_lua {
            [[local co co = coroutine.create(function() return coroutine.resume(co) end)
              return show(coroutine.resume(co)) .. show(coroutine.resume(co))]],
            [[local co co = coroutine.create(function()
                local inner = coroutine.create(function()
                    return coroutine.status(co), coroutine.resume(co) end)
                return coroutine.resume(inner) end)
              return show(coroutine.resume(co))]],
        }
    end)

    it("wrap raises with the position of its caller", function()
        same_as_plain_lua {
            "local f = coroutine.wrap(function() error('boom') end) return show(pcall(f))",
            "local f = coroutine.wrap(function() error('boom') end)\nreturn show(pcall(function()\n"
                .. " local x = f() return x end))",
            "local f = coroutine.wrap(function() error('boom', 0) end)\n"
                .. "return show(pcall(function()\n local x = f() return x end))",
            "local f = coroutine.wrap(function() error({}) end) return show(pcall(f))",
            "local f = coroutine.wrap(function() error(nil) end) return show(pcall(f))",
            "local f = coroutine.wrap(function() error(5) end) return show(pcall(f))",
            "local f = coroutine.wrap(function() return 1, nil end)"
                .. " return show(f()) .. show(pcall(f))",
            "local f f = coroutine.wrap(function() return f() end) return show(pcall(f))",
            "local s = '' for i in coroutine.wrap(function()"
                .. " for i = 1, 3 do coroutine.yield(i) end end) do s = s .. i end return s",
        }
    end)

    it("status and running tell what plain Lua tells", function()
        same_as_plain_lua {
            [[local co co = coroutine.create(function() return coroutine.status(co) end)
              local before = coroutine.status(co)
              return before .. show(coroutine.resume(co)) .. coroutine.status(co)]],
            [[local co co = coroutine.create(function() return coroutine.running() == co end)
              return show(coroutine.resume(co))]],
            [[local co = coroutine.create(function() return coroutine.isyieldable() end)
              return show(coroutine.resume(co))]],
        }
    end)

    it("bad arguments raise at the caller's line", function()
        same_as_plain_lua {
            "return show(pcall(function() local x = coroutine.resume(5) end))",
            "return show(pcall(function() local x = coroutine.status(5) end))",
            "return show(pcall(function() local x = coroutine.wrap(5) end))",
            "return show(pcall(function() local x = coroutine.wrap() end))",
            "return show(pcall(function() local x = coroutine.create(5) end))",
        }
    end)

    it("yield across a C function raises, and the coroutine can go on", function()
        same_as_plain_lua {
            [[local co = coroutine.create(function()
                local ok, err = pcall(function()
                    table.sort({ 2, 1 }, function() coroutine.yield() end) end)
                return ok, err, coroutine.yield(7) end)
              return show(coroutine.resume(co)) .. show(coroutine.resume(co, 8))]],
        }
    end)

    it("a coroutine may be collected while it is suspended", function()
        for _ = 1, 1000 do coroutine.wrap(function() coroutine.yield() end)() end
        collectgarbage()
    end)
end)

describe("the bottom of a task", function()
    it("is no coroutine to yield from: an error that pcall catches", function()
        local function try()
            local ok, err = pcall(function() coroutine.yield(1) end)
            local direct = select(2, pcall(coroutine.yield, 1))
            return ok, err, direct, coroutine.isyieldable()
        end
        local _, ok, err, direct, yieldable = task.spawn(try):join()
        assert.is_false(ok)
        assert.matches("coroutines_spec.lua:%d+: attempt to yield from outside a coroutine", err)
        assert.matches("attempt to yield from outside a coroutine", direct)
        assert.is_false(yieldable)
    end)

    it("cannot be resumed by anybody but the scheduler", function()
        local co
        local t = task.spawn(function()
            co = coroutine.running()
            return timer.sleep(60000)
        end)
        timer.sleep(0)
        assert.equal("normal", coroutine.status(co))
        for _ = 1, 3 do
            local ok, err = coroutine.resume(co)
            assert.is_false(ok)
            assert.equal("cannot resume non-suspended coroutine", err)
        end
        t:cancel()
        local _, slept, err = t:join()
        assert.is_nil(slept)
        assert.equal("ECANCELED", err.name)
    end)
end)

describe("a wait in the program's own coroutine", function()
    it("keeps the program's yields apart from the scheduler's", function()
        local function numbers()
            for i = 1, 3 do
                timer.sleep(0)
                coroutine.yield(i)
                timer.sleep(0)
            end
            return "end"
        end
        local co = coroutine.create(numbers)
        local got = {}
        while coroutine.status(co) ~= "dead" do got[#got + 1] = { coroutine.resume(co) } end
        assert.same({ { true, 1 }, { true, 2 }, { true, 3 }, { true, "end" } }, got)
    end)

    it("leaves it normal, and busy, for every other task", function()
        local co = coroutine.create(function() return timer.sleep(3) end)
        local t = task.spawn(function() return coroutine.resume(co) end)
        timer.sleep(0)
        assert.equal("normal", coroutine.status(co))
        assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
        assert.is_false(pcall(coroutine.wrap(function() assert(coroutine.resume(co)) end)))
        assert.same({ true, true, true }, { t:join() })
        assert.equal("dead", coroutine.status(co))
    end)

    it("lets a generator be shared by tasks, one after the other", function()
        local generator = coroutine.wrap(function()
            for i = 1, 10 do
                timer.sleep(0)
                coroutine.yield(i)
            end
        end)
        local sum = 0
        for _ = 1, 10 do
            task.spawn(function() sum = sum + generator() end):join()
        end
        assert.equal(55, sum)
    end)

    it("hands values over through every level", function()
        local ch = require("links.sync").channel()
        local nested = coroutine.wrap(function()
            return coroutine.wrap(function()
                return coroutine.wrap(function()
                    local value = ch:receive()
                    return value, ch:send("back")
                end)()
            end)()
        end)
        local t = task.spawn(nested)
        timer.sleep(0)
        ch:send("there")
        assert.equal("back", ch:receive())
        assert.same({ true, "there", true }, { t:join() })
    end)

    it("raises its errors where it stands, and the coroutine dies of them alone", function()
        local co = coroutine.create(function()
            timer.sleep(0)
            error("inside")
        end)
        local ok, err = coroutine.resume(co)
        assert.is_false(ok)
        assert.matches("coroutines_spec.lua:%d+: inside", err)
        assert.matches("in function <[^>]*coroutines_spec", debug.traceback(co))
    end)

    it("works 190 levels deep; deeper is a C stack overflow, as in Lua 5.1", function()
        local function nest(depth)
            if depth == 0 then return timer.sleep(0) end
            return coroutine.wrap(nest)(depth - 1)
        end
        assert.is_true(nest(180))
        local ok, err = pcall(nest, 250)
        assert.is_false(ok)
        assert.matches("C stack overflow", err)
        assert.is_true(nest(180))
    end)
end)
