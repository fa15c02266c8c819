-- Programs and libraries that know nothing of links run on it as on plain LuaJIT.
package.path = "tests/support/?.lua;" .. package.path
local program = require "program"

local function output(code)
    local result = program.eval(code)
    assert.same({ 0, "" }, { result.code, result.err })
    return result.out
end

describe("as on plain LuaJIT,", function()
    it("busted runs a spec of its own and counts it", function()
        program.with_file([[
            describe("a", function()
                it("passes", function() assert.equal(1, 1) end)
                it("fails", function() assert.equal(1, 2) end)
                pending("waits")
            end)
        ]], function(path)
            -- It takes no file that is not called so.
            path = path .. ".lua"
            assert(os.rename(path:sub(1, -5), path))
            local result = program.run {
                "-e", "arg = { [0] = 'busted', '-o', 'TAP', '-p', '.', '" .. path .. "' }"
                    .. " require('busted.runner') { standalone = false }",
            }
            os.remove(path)
            assert.equal(1, result.code)
            assert.matches("1%.%.%d", result.out)
            assert.equal(1, select(2, result.out:gsub("\nnot ok", "")))
        end)
    end)

    it("luacheck checks the library of links", function()
        local result = program.run {
            "-e", "arg = { [0] = 'luacheck', '-q', 'lib/links/task.lua', 'lib/links/sync.lua' }"
                .. " require 'luacheck.main'",
        }
        assert.equal(0, result.code)
        assert.matches("0 warnings", (result.out:gsub("\27%[[%d;]*m", "")))
    end)

    it("cjson encodes, decodes and raises", function()
        assert.equal('[1,"x",null,{"k":true}]\ttrue\n', output [[
            local cjson = require "cjson"
            local text = '[1,"x",null,{"k":true}]'
            print(cjson.encode(cjson.decode(text)), not pcall(cjson.decode, "{"))
        ]])
    end)

    it("lpeg and re match, with captures that call back", function()
        assert.equal("2024-01-02\t3\thELLo\n", output [[
            local lpeg, re = require "lpeg", require "re"
            local date = re.compile "{ %d^4 '-' %d^2 '-' %d^2 }"
            local count = lpeg.Cf(lpeg.Cc(0) * (lpeg.P(1) * lpeg.Cc(1)) ^ 0,
                function(a, b) return a + b end)
            print(date:match("2024-01-02"), count:match("abc"), re.gsub("hello", "[el]", string.upper))
        ]])
    end)

    it("lfs walks directories with its iterators, also around waits", function()
        assert.equal("true\n", output [[
            local lfs, timer = require "lfs", require "timer"
            local n = 0
            for name in lfs.dir("/") do
                n = n + 1
                assert(timer.sleep(0) and name)
            end
            print(n > 5)
        ]])
    end)

    it("the standard library's files, patterns and os functions do what they do", function()
        assert.equal("line 1|line 2\t2\t1.50\t12\n", output [[
            local path = os.tmpname()
            local f = assert(io.open(path, "w"))
            f:write("line 1\nline 2\n")
            f:close()
            local lines = {}
            for line in io.lines(path) do lines[#lines + 1] = line end
            os.remove(path)
            print(table.concat(lines, "|"), select(2, ("aXbX"):gsub("X", "")), ("%.2f"):format(1.5),
                tonumber(os.date("!%H", 43200)))
        ]])
    end)

    it("debug.sethook, traceback and getinfo work in tasks", function()
        assert.equal("true\ttrue\ttrue\n", output [[
            jit.off()
            local lines = 0
            local t = require("task").spawn(function()
                debug.sethook(function() lines = lines + 1 end, "l")
                local x = 1
                require("timer").sleep(1)
                x = x + 1
                debug.sethook()
                return debug.traceback("here"):match("here") ~= nil,
                    debug.getinfo(1, "l").currentline > 0
            end)
            local _, a, b = t:join()
            print(lines > 2, a, b)
        ]])
    end)

    it("an uncaught error in a hook or a waiting hook cannot hurt the process", function()
        assert.equal("false\tfalse\ttrue\n", output [[
            jit.off()
            local timer = require "timer"
            local function hooked(fn)
                local ok = pcall(function()
                    debug.sethook(function() debug.sethook() fn() end, "", 1)
                    local x = 1
                    return x + 1
                end)
                debug.sethook()
                return ok
            end
            print(hooked(function() error("in a hook") end), hooked(function() timer.sleep(1) end),
                (timer.sleep(1)))
        ]])
    end)
end)
