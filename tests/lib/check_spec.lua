local check = require "links.check"

local function message(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return err
end

describe("check", function()
    it("type accepts each of the types, and names them where it does not", function()
        for _, value in ipairs { "s", 5 } do check.type("f(x)", "x", value, "string|number") end
        check.type("f(x)", "x", nil, "string|nil")
        assert.matches('f%(x%) x must be %[string%], not 5',
            message(check.type, "f(x)", "x", 5, "string"))
        assert.matches('not "text"', message(check.type, "f(x)", "x", "text", "number"))
        assert.matches('not nothing', message(check.type, "f(x)", "x", nil, "number"))
        assert.matches('not a table', message(check.type, "f(x)", "x", {}, "number"))
        local long = message(check.type, "f(x)", "x", ("y"):rep(1e6), "number")
        assert.is_true(#long < 200)
    end)

    it("blames the line of who called the public function", function()
        local function public(x) check.type("public(x)", "x", x, "string") end
        local line = debug.getinfo(1, "l").currentline + 1
        local err = message(function() public(5) end)
        assert.matches("check_spec.lua:" .. line .. ": public", err)
    end)

    it("integer keeps within its bounds, and to whole numbers", function()
        for _, value in ipairs { 0, 5, 65535 } do check.integer("f(x)", "x", value, 0, 65535) end
        for _, value in ipairs { -1, 65536, 1.5, "5", {}, 0 / 0, 1 / 0, -1 / 0, false } do
            assert.matches("x must be %[integer%] from 0 to 65535",
                message(check.integer, "f(x)", "x", value, 0, 65535))
        end
        assert.is_false(pcall(check.integer, "f(x)", "x", nil, 0, 1))
    end)

    it("timeout accepts nil and milliseconds", function()
        for _, value in ipairs { 0, 0.5, 1e9, math.huge } do check.timeout("f(x)", "x", value) end
        check.timeout("f(x)", "x", nil)
        for _, value in ipairs { -1, "1", {}, 0 / 0, false } do
            assert.is_false(pcall(check.timeout, "f(x)", "x", value))
        end
    end)

    it("options fills in defaults, and leaves the caller's table alone", function()
        local known = {
            a = { type = "integer", default = 1, min = 0, max = 9 },
            b = { type = "boolean|string", default = false },
            c = { type = "timeout" },
        }
        local given = { b = "x" }
        assert.same({ a = 1, b = "x" }, check.options("f([o])", given, known))
        assert.same({ b = "x" }, given)
        assert.same({ a = 1, b = false }, check.options("f([o])", nil, known))
        for _, bad in ipairs {
            { { a = 10 }, "options.a must be %[integer%] from 0 to 9" },
            { { a = "1" }, "options.a must be" },
            { { b = 5 }, "options.b must be" },
            { { c = -1 }, "options.c must be" },
            { { aa = 1 }, 'unknown option "aa" %(did you mean "a"%?%)' },
            { { nothing_like_it = 1 }, 'unknown option "nothing_like_it"$' },
            { { [5] = 1 }, 'unknown option "5"' },
            { { [print] = 1 }, "unknown option" },
            { 5, "options must be %[table|nil%]" },
        } do
            assert.matches(bad[2], message(check.options, "f([o])", bad[1], known))
        end
    end)

    it("nearest finds a misspelt word, and nothing for another word", function()
        local words = { backlog = 1, timeout = 1, host = 1 }
        assert.equal("backlog", check.nearest("bakclog", words))
        assert.equal("timeout", check.nearest("timeOut", words))
        assert.is_nil(check.nearest("completely", words))
        assert.is_nil(check.nearest("x", {}))
        assert.is_nil(check.nearest("", { abcd = 1 }))
    end)
end)
