local errors = require "links.errors"

describe("an error", function()
    it("has code, name and message, for a code of either sign", function()
        for _, code in ipairs { errors.code("ETIMEDOUT"), -errors.code("ETIMEDOUT") } do
            local err = errors.new(code)
            assert.equal("ETIMEDOUT", err.name)
            assert.equal(errors.code("ETIMEDOUT"), err.code)
            assert.is_string(err.message)
        end
        assert.equal("EUNKNOWN", errors.new(9999).name)
        assert.equal(20002, errors.code("CLOSED"))
        assert.is_nil(errors.code("NOSUCH"))
    end)

    it("reads well, with its place", function()
        local code = errors.code("ECONNREFUSED")
        assert.matches("^ECONNREFUSED: [%a ]+$", tostring(errors.new(code)))
        local extra = { address = "127.0.0.1", port = 80 }
        assert.matches(" %(connect 127.0.0.1:80%)$", tostring(errors.new(code, "connect", extra)))
        extra = { address = "::1", port = 80 }
        assert.matches(" %(connect %[::1%]:80%)$", tostring(errors.new(code, "connect", extra)))
        assert.matches(" %(connect%)$", tostring(errors.new(code, "connect")))
        assert.matches(" %(/tmp/x%)$", tostring(errors.new(code, nil, { address = "/tmp/x" })))
    end)

    it("joins strings, survives error and pcall, and is known again", function()
        local err = errors.new(errors.code("EOF"))
        assert.matches("^failed: EOF", "failed: " .. err)
        assert.matches("EOF[^!]*!$", err .. "!")
        assert.equal(err, select(2, pcall(error, err)))
        assert.is_true(errors.is(err))
        for _, other in ipairs { "EOF", {}, 5, setmetatable({}, {}) } do
            assert.is_false(errors.is(other))
        end
    end)

    it("of a deadline is ETIMEDOUT with deadline set", function()
        local err = errors.new(-20016, "read")
        assert.equal("ETIMEDOUT", err.name)
        assert.equal(errors.code("ETIMEDOUT"), err.code)
        assert.is_true(err.deadline)
        assert.matches("deadline", tostring(err))
    end)

    it("keeps the fields it is given, name and message too", function()
        local err = errors.new(0, nil, { code = 1062, name = "ER_DUP_ENTRY", message = "twice" })
        assert.equal("ER_DUP_ENTRY: twice", tostring(err))
        assert.equal(1062, err.code)
    end)

    it("names differ, and each name leads back to its code", function()
        local n = 0
        for name, code in pairs(errors.codes) do
            n = n + 1
            assert.equal(name, errors.new(code).name)
        end
        assert.is_true(n > 50)
    end)
end)
