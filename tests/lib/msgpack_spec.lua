local json = require "json"
local msgpack = require "msgpack"

local function hex(s) return (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

local function bytes(text)
    return (text:gsub("%x%x", function(x) return string.char(tonumber(x, 16)) end))
end

describe("msgpack", function()
    it("writes the shortest form of the specification, and reads it", function()
        for _, case in ipairs {
            { 0, "00" }, { 127, "7f" }, { 128, "cc80" }, { 255, "ccff" }, { 256, "cd0100" },
            { 65535, "cdffff" }, { 65536, "ce00010000" }, { 4294967295, "ceffffffff" },
            { 4294967296, "cf0000000100000000" }, { 2 ^ 53, "cf0020000000000000" },
            { -1, "ff" }, { -32, "e0" }, { -33, "d0df" }, { -128, "d080" }, { -129, "d1ff7f" },
            { -32768, "d18000" }, { -32769, "d2ffff7fff" }, { -2147483648, "d280000000" },
            { -2147483649, "d3ffffffff7fffffff" }, { 1.5, "cb3ff8000000000000" },
            { 1e300, "cb7e37e43c8800759c" }, { math.huge, "cb7ff0000000000000" },
            { true, "c3" }, { false, "c2" }, { "", "a0" }, { "a", "a161" }, { "\255", "c401ff" },
        } do
            assert.equal(case[2], hex(msgpack.encode(case[1])), tostring(case[1]))
            assert.equal(case[1], (msgpack.decode(bytes(case[2]))), case[2])
        end
        assert.equal("c0", hex(msgpack.encode(nil)))
        assert.equal("c0", hex(msgpack.encode(json.null)))
        assert.is_nil((msgpack.decode("\192")))
        assert.equal("cb8000000000000000", hex(msgpack.encode(-0.0)))
        local nan = msgpack.decode(msgpack.encode(0 / 0))
        assert.is_true(nan ~= nan)
    end)

    it("has the lengths of strings, arrays and maps in every form", function()
        for n, prefix in pairs {
            [31] = "bf", [32] = "d920", [255] = "d9ff", [256] = "da0100", [65536] = "db00010000",
        } do
            local text = ("x"):rep(n)
            local data = msgpack.encode(text)
            assert.equal(prefix, hex(data:sub(1, -n - 1)))
            assert.equal(text, (msgpack.decode(data)))
        end
        for n, prefix in pairs {
            [0] = "90", [15] = "9f", [16] = "dc0010", [65536] = "dd00010000",
        } do
            local list = {}
            for i = 1, n do list[i] = i % 100 end
            local data = msgpack.encode(list)
            assert.equal(prefix, hex(data:sub(1, #prefix / 2)))
            assert.same(list, (msgpack.decode(data)))
        end
        for n, prefix in pairs { [15] = "8f", [16] = "de0010", [65536] = "df00010000" } do
            local map = {}
            for i = 1, n do map["k" .. i] = i end
            local data = msgpack.encode(map)
            assert.equal(prefix, hex(data:sub(1, #prefix / 2)))
            assert.same(map, (msgpack.decode(data)))
        end
        assert.equal("80", hex(msgpack.encode(json.object{})))
    end)

    it("keeps 64 bits, and reads the single precision that it does not write", function()
        assert.equal("cfffffffffffffffff", hex(msgpack.encode(0xffffffffffffffffULL)))
        assert.equal("d38000000000000000", hex(msgpack.encode(-0x8000000000000000LL)))
        assert.is_true(0xffffffffffffffffULL == msgpack.decode(bytes "cfffffffffffffffff"))
        assert.is_true(-0x8000000000000000LL == msgpack.decode(bytes "d38000000000000000"))
        assert.equal(5, (msgpack.decode(bytes "cf0000000000000005")))
        assert.equal(-2, (msgpack.decode(bytes "d3fffffffffffffffe")))
        assert.equal(1.5, (msgpack.decode(bytes "ca3fc00000")))
    end)

    it("takes values one behind the other, and nil inside of tables as null", function()
        local data = msgpack.encode{ a = { 1, json.null, { b = "x" } } } .. msgpack.encode(7)
        local value, at = msgpack.decode(data)
        assert.same({ a = { 1, json.null, { b = "x" } } }, value)
        assert.same({ 7, #data + 1 }, { msgpack.decode(data, at) })
    end)

    it("is EOF for what is cut anywhere, however much it announces", function()
        local data = msgpack.encode{ list = { 1, 300, 70000, -5, 1.5 }, text = ("y"):rep(300),
            raw = "\255\254", yes = true }
        for n = 0, #data - 1 do
            local value, err = msgpack.decode(data:sub(1, n))
            assert.is_nil(value)
            assert.equal("EOF", err.name, n)
        end
        for _, huge in ipairs { "ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff00" } do
            assert.equal("EOF", select(2, msgpack.decode(bytes(huge))).name)
        end
    end)

    it("is PARSE for extensions, a key that is nil, and what is nested too deep", function()
        for _, bad in ipairs { "c1", "d40100", "c7000a", "81c000", ("91"):rep(200) .. "00" } do
            assert.equal("PARSE", select(2, msgpack.decode(bytes(bad))).name, bad)
        end
    end)

    it("raises for what cannot be written", function()
        local loop = {}
        loop[1] = loop
        for _, bad in ipairs { print, coroutine.create(print), loop, { { io.stdout } } } do
            local ok, message = pcall(msgpack.encode, bad)
            assert.is_false(ok)
            assert.truthy(message:find("msgpack.encode(value)", 1, true))
        end
        assert.has_error(function() msgpack.decode(5) end)
    end)
end)
