package.path = "tests/support/?.lua;" .. package.path
local program = require "program"

local function run(code, ...)
    local arguments = { ... }
    table.insert(arguments, "-e")
    table.insert(arguments, code)
    return program.run(arguments)
end

describe("the guard on globals", function()
    it("reports the first write to each undeclared global in a function, with traceback", function()
        local result = run [[
            local function handler() leaked = 1 leaked = nil leaked = 2 other = 3 end
            handler()
            handler()
            print(leaked, other)
        ]]
        assert.equal(0, result.code)
        assert.equal("2\t3\n", result.out)
        assert.equal(1, select(2, result.err:gsub("global 'leaked' is written", "")))
        assert.equal(1, select(2, result.err:gsub("global 'other' is written", "")))
        assert.matches("command line%):1: in function 'handler'", result.err)
    end)

    it("lets the top of a file declare globals, with nil too", function()
        local result = run [[
            declared, later = 1, nil
            local function f() declared = 2 later = 3 end
            f()
            print(declared, later)
        ]]
        assert.same({ "2\t3\n", "", 0 }, { result.out, result.err, result.code })
    end)

    it("lets modules declare theirs, with module() too", function()
        local result = run [[
            package.preload.old = function(name)
                module(name, package.seeall)
                function f() x = 1 end
            end
            print(require("old").f(), old.x)
        ]]
        assert.same({ "\t1\n", "" }, { result.out:gsub("^nil", ""), result.err })
    end)

    it("raises with --strict, each time, at the line that writes", function()
        local result = run([[
            local function f() leaked = 1 end
            for i = 1, 2 do print(pcall(f)) end
            print(rawget(_G, "leaked"))
        ]], "--strict")
        assert.equal(2, select(2, result.out:gsub("line%):1: global 'leaked' is written", "")))
        assert.matches("nil\n$", result.out)
    end)

    it("takes names of every kind", function()
        local result = run [[
            local function f()
                _G[1] = 1
                _G[{}] = 1
                _G[setmetatable({}, { __tostring = function() error("x") end })] = 1
                print(pcall(function() _G[nil] = 1 end))
            end
            f()
            print(_G[1])
        ]]
        assert.equal(0, result.code)
        assert.matches("global '1' is written", result.err)
        assert.matches("global '%?' is written", result.err)
        assert.matches("false\t[^\n]*nil", result.out)
    end)

    it("leaves a program alone that puts its own metatable on the globals", function()
        local result = run [[
            setmetatable(_G, { __index = function(_, k) return "default " .. k end })
            local function f() fresh = 1 end
            f()
            print(fresh, missing)
        ]]
        assert.same({ "1\tdefault missing\n", "" }, { result.out, result.err })
    end)
end)
