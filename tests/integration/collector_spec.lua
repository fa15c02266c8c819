-- How often Lua's collector comes round.
package.path = "tests/support/?.lua;" .. package.path
local program = require "program"

-- How often it does while 64 MiB of garbage are made, after `code` has run. The garbage is made of
-- strings, each another, so that the compiler leaves none out.
local function cycles(code)
    local result = program.eval(code .. [[
        local core = require "links.core"
        collectgarbage()
        local before, piece = core.gcCycles(), ("x"):rep(1000)
        for i = 1, 65536 do piece = i .. piece:sub(1, 1000) end
        print(core.gcCycles() - before)
    ]])
    assert.equal(0, result.code, result.err)
    return tonumber(result.out)
end

describe("the collector", function()
    it("lets a small heap grow to some MiB before it goes through it", function()
        local n = cycles ""
        assert.is_true(n >= 12 and n <= 24, "came round " .. n .. " times")
    end)

    it("lets a large one grow by what is alive, as LuaJIT does", function()
        local n = cycles "kept = {} for i = 1, 16000 do kept[i] = i .. ('y'):rep(2000) end"
        assert.is_true(n >= 1 and n <= 4, "came round " .. n .. " times")
    end)

    it("comes round as the program says that it should", function()
        assert.is_true(cycles "collectgarbage('setpause', 200) collectgarbage()" > 40)
    end)
end)
