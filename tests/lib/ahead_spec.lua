local ahead = require "links.ahead"

-- An owner, and what reads on: the pieces in turn, then nil and `err`.
local function input(first, pieces, err)
    local owner, i = { _ahead = "", _at = 1 }, 0
    ahead.put(owner, first)
    return owner, function(of)
        assert.equal(owner, of)
        i = i + 1
        if pieces[i] then return pieces[i] end
        return nil, err
    end
end

local function lines(max, ends, first, ...)
    local owner, more = input(first, { ... })
    local list = {}
    while true do
        local line, why = ahead.line(owner, ends, max, more)
        if not line then return list, why, owner end
        list[#list + 1] = line
    end
end

describe("bytes that were read ahead", function()
    it("are taken from the front, as many as were asked for or as there are", function()
        local owner = input("abcdef", {})
        assert.equal(6, ahead.count(owner))
        assert.equal("ab", ahead.take(owner, 2))
        assert.equal(4, ahead.count(owner))
        assert.equal("cde", ahead.take(owner, 3))
        assert.equal("f", ahead.take(owner, 9))
        assert.equal("", owner._ahead)
        assert.equal(0, ahead.count(owner))
        assert.equal("", ahead.take(owner, 1))
        ahead.put(owner, "gh")
        assert.equal("g", ahead.take(owner, 1))
        assert.equal("h", ahead.take(owner))
        assert.equal("", owner._ahead)
    end)

    it("are lines, wherever the pieces end", function()
        local text = "one\ntwo\r\n\nthr\ree\n\r\nx"
        local expected = { "one", "two", "", "thr\ree", "", "x" }
        assert.same(expected, (lines(9, "\n", text)))
        for at = 1, #text do
            assert.same(expected, (lines(9, "\n", text:sub(1, at), text:sub(at + 1))))
        end
        local bytes = {}
        for byte in text:gmatch(".") do bytes[#bytes + 1] = byte end
        assert.same(expected, (lines(9, "\n", "", unpack(bytes))))
        assert.same({ "one", "two", "", "", "thr", "ee", "", "", "x" }, (lines(9, "[\r\n]", text)))
    end)

    it("are lines of the limit and no longer, without their ends", function()
        assert.same({ "four", "4444", "last" }, (lines(4, "\n", "four\r\n4444\nl", "ast")))
        for _, text in ipairs { "five5\n", "five5\r\n", "five5", "sixsix\n", "sixsix" } do
            for at = 0, #text do
                local list, why, owner = lines(4, "\n", "a\n" .. text:sub(1, at), text:sub(at + 1))
                assert.same({ "a" }, list)
                assert.equal("too long", why)
                -- What was too long for this one is there for another.
                local left = ahead.take(owner)
                assert.is_true(#left > 4)
                assert.equal(text:sub(1, #left), left)
            end
        end
    end)

    it("stay where reading on fails", function()
        local owner, more = input("a\nb", { "c" }, "ECANCELED")
        assert.equal("a", (ahead.line(owner, "\n", 9, more)))
        local line, err = ahead.line(owner, "\n", 9, more)
        assert.is_nil(line)
        assert.equal("ECANCELED", err)
        assert.equal("bc", ahead.take(owner))
    end)
end)
