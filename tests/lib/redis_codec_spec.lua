local codec = require "links.redis.codec"
local errors = require "links.errors"
local null = require "links.null"

local LIMITS = { maxReplySize = 1000, maxReplyElements = 100, maxReplyDepth = 4, int64 = "auto" }

local function reader(changed)
    local o = {}
    for name, value in pairs(LIMITS) do o[name] = value end
    for name, value in pairs(changed or {}) do o[name] = value end
    return codec.reader(o)
end

-- The one reply that the bytes are, read whole and byte by byte.
local function read(bytes, changed)
    local kind, value = codec.read(reader(changed), bytes)
    local slow = reader(changed)
    for i = 1, #bytes do
        local slow_kind, slow_value = codec.read(slow, bytes:sub(i, i))
        if i < #bytes and slow_kind >= 0 then assert.equal(codec.MORE, slow_kind) end
        if slow_kind ~= codec.MORE then
            assert.equal(kind, slow_kind)
            assert.same(value, slow_value)
            break
        end
    end
    return value, kind
end

describe("replies of Redis", function()
    it("become the values of Lua that they mean", function()
        for _, case in ipairs {
            { "+OK\r\n", "OK" }, { "$5\r\na\r\n\0b\r\n", "a\r\n\0b" }, { "$0\r\n\r\n", "" },
            { ":-7\r\n", -7 }, { "#t\r\n", true }, { "#f\r\n", false }, { ",1.5e2\r\n", 150 },
            { ",-inf\r\n", -math.huge }, { ",inf\r\n", math.huge },
            { "(123456789012345678901234567890\r\n", "123456789012345678901234567890" },
            { "=8\r\ntxt:text\r\n", "text" }, { "*2\r\n:1\r\n+a\r\n", { 1, "a" } },
            { "*0\r\n", {} }, { "~2\r\n:1\r\n:2\r\n", { 1, 2 } },
            { "%2\r\n+a\r\n:1\r\n:2\r\n*1\r\n#t\r\n", { a = 1, [2] = { true } } },
            { "|1\r\n+ttl\r\n:3\r\n+v\r\n", "v" },
            { "*2\r\n|1\r\n+ttl\r\n:3\r\n+v\r\n+w\r\n", { "v", "w" } },
            { "%1\r\n,nan\r\n:1\r\n", { nan = 1 } },
        } do
            local value, kind = read(case[1])
            assert.same(case[2], value)
            assert.equal(codec.REPLY, kind)
        end
        local _, nan = codec.read(reader(), ",nan\r\n")
        assert.is_true(nan ~= nan)
    end)

    it("are nil for null at the top, and null within", function()
        for _, bytes in ipairs { "$-1\r\n", "*-1\r\n", "_\r\n" } do
            local value, kind = read(bytes)
            assert.is_nil(value)
            assert.equal(codec.REPLY, kind)
            assert.same({ null, { null } }, (read("*2\r\n" .. bytes .. "*1\r\n" .. bytes)))
        end
    end)

    it("keep every digit of 64 bits", function()
        for text, value in pairs {
            ["9007199254740992"] = 2 ^ 53, ["-9007199254740992"] = -2 ^ 53,
            ["9007199254740993"] = 9007199254740993LL, ["-9007199254740993"] = -9007199254740993LL,
            ["9223372036854775807"] = 9223372036854775807LL,
            ["-9223372036854775808"] = -9223372036854775807LL - 1,
        } do
            local got = read(":" .. text .. "\r\n")
            assert.equal(type(value), type(got), text)
            assert.is_true(got == value, text)
        end
        assert.equal("9007199254740993", (read(":9007199254740993\r\n", { int64 = "string" })))
        assert.equal(2 ^ 53, (read(":9007199254740993\r\n", { int64 = "number" })))
    end)

    it("are errors with the server's word as their name, wherever they stand", function()
        local err, kind = read("-WRONGTYPE not that\r\n")
        assert.equal(codec.ERROR, kind)
        assert.is_true(errors.is(err))
        assert.same({ "WRONGTYPE", "not that", 0 }, { err.name, err.message, err.code })
        assert.equal("WRONGTYPE: not that", tostring(err))
        assert.equal("ERR", (read("-it is not so\r\n")).name)
        assert.equal("SYNTAX", (read("!9\r\nSYNTAX no\r\n")).name)
        err, kind = read("|1\r\n+a\r\n+b\r\n-BUSY wait\r\n")
        assert.same({ "BUSY", codec.ERROR }, { err.name, kind })
        local list
        list, kind = read("*2\r\n-NOPERM no\r\n:1\r\n")
        assert.same({ codec.REPLY, "NOPERM", 1 }, { kind, list[1].name, list[2] })
    end)

    it("are told from what the server pushes", function()
        local value, kind = read(">2\r\n+message\r\n+x\r\n")
        assert.same({ "message", "x" }, value)
        assert.equal(codec.PUSH, kind)
    end)

    it("come one after the other, however they were packed", function()
        local r = reader()
        assert.equal(codec.MORE, (codec.read(r)))
        local kind, value = codec.read(r, "+a\r\n+b\r\n*1\r\n$")
        assert.same({ codec.REPLY, "a" }, { kind, value })
        assert.same({ codec.REPLY, "b" }, { codec.read(r) })
        assert.equal(codec.MORE, (codec.read(r)))
        assert.same({ codec.REPLY, { "xy" } }, { codec.read(r, "2\r\nxy\r\n") })
        assert.equal(codec.MORE, (codec.read(r)))
    end)

    it("that are none are PROTOCOL, and TOO_LARGE those beyond the limits", function()
        for _, bytes in ipairs { "HTTP/1.1 400 Bad\r\n", ":1x\r\n", "$1\r\nabc", "*1\r\n>1\r\n" } do
            local why, code = read(bytes)
            assert.equal(-errors.code("PROTOCOL"), code)
            assert.is_string(why)
        end
        for _, bytes in ipairs { "$1001\r\n", "*101\r\n", ("*1\r\n"):rep(5) } do
            local why, code = read(bytes)
            assert.equal(-errors.code("TOO_LARGE"), code)
            assert.is_string(why)
        end
    end)

    it("give the memory of a large one back, and hold what is not whole", function()
        local r = reader { maxReplySize = 4e6 }
        local big = ("x"):rep(3e6)
        assert.equal(codec.MORE, (codec.read(r, "$3000000\r\n" .. big:sub(1, 1e6))))
        assert.equal(codec.MORE, (codec.read(r, big:sub(1e6 + 1))))
        local kind, value = codec.read(r, "\r\n")
        assert.is_true(kind == codec.REPLY and value == big)
        assert.same({ codec.REPLY, 1 }, { codec.read(r, ":1\r\n") })
    end)
end)

describe("commands for Redis", function()
    it("are written as arrays of strings, whatever bytes are in them", function()
        assert.equal("*3\r\n$3\r\nSET\r\n$2\r\na\0\r\n$2\r\n\r\n\r\n",
            (codec.encode("SET", "a\0", "\r\n")))
        assert.equal("*2\r\n$1\r\nX\r\n$0\r\n\r\n", (codec.encode("X", "")))
        local big = ("y"):rep(100000)
        assert.is_true("*2\r\n$1\r\nX\r\n$100000\r\n" .. big .. "\r\n" == codec.encode("X", big))
        local many = {}
        for i = 1, 500 do many[i] = "item" .. i end
        assert.is_true("*500\r\n$5\r\nitem1\r\n" == codec.encode(unpack(many)):sub(1, 17))
    end)

    it("have numbers with every digit that they need", function()
        for text, number in pairs {
            ["0"] = 0, ["-12"] = -12, ["1.5"] = 1.5, ["0.1"] = 0.1, ["9007199254740992"] = 2 ^ 53,
            ["1e+300"] = 1e300, inf = math.huge, ["-inf"] = -math.huge,
        } do
            local sent = codec.encode("X", number):match("\r\n([^\r]*)\r\n$")
            assert.is_true(sent == text or tonumber(sent) == number, text)
        end
        assert.equal("*2\r\n$1\r\nX\r\n$19\r\n9223372036854775807\r\n",
            (codec.encode_any("X", 9223372036854775807LL)))
        assert.equal("*2\r\n$1\r\nX\r\n$20\r\n18446744073709551615\r\n",
            (codec.encode_any("X", 18446744073709551615ULL)))
    end)

    it("take nothing else", function()
        for _, value in ipairs { {}, true, print, null, require("ffi").new("int[1]") } do
            assert.same({ nil, 2 }, { codec.encode("X", value) })
            local ok, message = pcall(codec.encode_any, "X", value)
            assert.is_false(ok)
            assert.matches("argument 1 of X must be %[string|number%]", message)
        end
        assert.is_false(pcall(codec.encode_any, "X", nil))
    end)
end)
