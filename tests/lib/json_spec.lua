local ffi = require "ffi"
local json = require "json"

-- As assert.equal, which takes long to say yes: for the loops of thousands.
local function equal(expected, got, message)
    if expected ~= got then assert.equal(expected, got, message) end
end

local function rejects(s, options)
    local value, err = json.decode(s, options)
    assert.is_nil(value, "accepted " .. s)
    assert.truthy(err.name == "PARSE" or err.name == "TOO_LARGE")
    return err.message
end

local function refuses(value, options)
    local s, err = json.encode(value, options)
    assert.is_nil(s)
    assert.equal("TYPE", err.name)
    return err.message
end

-- Deep comparison that tells arrays from objects and -0 from 0.
local function same(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then
        return a == b and (a ~= 0 or 1 / a == 1 / b)
    end
    local array = json.arrayMeta
    if (getmetatable(a) == array) ~= (getmetatable(b) == array) then return false end
    for key, value in pairs(a) do
        if not same(value, b[key]) then return false end
    end
    for key in pairs(b) do
        if a[key] == nil then return false end
    end
    return true
end

describe("json.encode", function()
    it("writes each type", function()
        local examples = {
            { true, "true" }, { false, "false" }, { nil, "null" }, { json.null, "null" },
            { 0, "0" }, { -1.5, "-1.5" }, { 1e100, "1e+100" }, { "", '""' }, { "é", '"é"' },
            { {}, "{}" }, { { 1, { "a" } }, '[1,["a"]]' },
            { { a = { b = false } }, '{"a":{"b":false}}' },
            { json.array {}, "[]" }, { json.object { 1 }, '{"1":1}' },
            { json.raw " [1] ", " [1] " }, { -0.0, "-0" }, { ffi.new "void *", "null" },
            { { [1 / 0] = 1 }, '{"inf":1}' }, { { [1e-7] = 1 }, '{"1e-07":1}' },
            { { 1, nil, 3 }, "[1,null,3]" }, { { [2] = "b" }, '[null,"b"]' },
            { { [1.5] = 1 }, '{"1.5":1}' }, { { [-1] = 1 }, '{"-1":1}' },
            { 12345678901234567890ULL, "12345678901234567890" },
            { -9223372036854775807LL, "-9223372036854775807" },
        }
        for _, example in ipairs(examples) do
            assert.equal(example[2], json.encode(example[1]))
        end
    end)

    it("escapes what cannot stand in a string, wherever it stands in it", function()
        assert.equal([["\"\\\b\f\n\r\t\u0000\u001f]] .. "\127/\"",
            json.encode("\"\\\b\f\n\r\t\0\31\127/"))
        for before = 0, 20 do
            for code = 0, 127 do
                local s = ("x"):rep(before) .. string.char(code) .. "yz"
                assert.equal(s, json.decode(json.encode(s)))
                assert.equal(s, next(json.decode(json.encode { [s] = 1 })))
            end
        end
    end)

    it("writes numbers with the fewest digits that read as the same number", function()
        assert.equal("0.1", json.encode(0.1))
        assert.equal("0.30000000000000004", json.encode(0.1 + 0.2))
        assert.equal("9007199254740992", json.encode(2 ^ 53))
        assert.equal("100000000000000", json.encode(1e14))
        assert.equal("1000000000000000", json.encode(1e15))
        assert.equal("1e+20", json.encode(1e20))
        math.randomseed(1)
        for _ = 1, 20000 do
            local n = (math.random() - 0.5) * 10 ^ math.random(-300, 300)
            equal(n, json.decode(json.encode(n)))
            equal(math.floor(n), json.decode(json.encode(math.floor(n)), { int64 = "number" }))
        end
    end)

    it("writes no digit too many, whatever the size of the number", function()
        local function shortest(n)
            for precision = 14, 17 do
                local s = ("%." .. precision .. "g"):format(n)
                if tonumber(s) == n then return s end
            end
        end
        math.randomseed(4)
        for exponent = -20, 20 do
            for _ = 1, 200 do
                for _, n in ipairs {
                    math.random() * 10 ^ exponent,
                    math.random(0, 10 ^ math.random(1, 15)) * 10 ^ exponent,
                    math.random(0, 10 ^ math.random(1, 15)) / 10 ^ exponent,
                } do
                    if n % 1 ~= 0 then
                        -- Not each digit: of two that are as near LuaJITs take one or the other.
                        local s = json.encode(n)
                        equal(n, tonumber(s))
                        equal(#shortest(n), #s, s)
                        equal("-" .. s, json.encode(-n))
                    end
                end
            end
        end
    end)

    it("takes its options", function()
        assert.equal('{"a":1,"b":{"c":2}}', json.encode({ b = { c = 2 }, a = 1 },
            { sortKeys = true }))
        assert.equal("[]", json.encode({}, { emptyTable = "array" }))
        assert.equal("{}", json.encode(json.object {}, { emptyTable = "array" }))
        assert.equal('"7"', json.encode(7LL, { int64 = "string" }))
        assert.equal("[null,null]", json.encode { 0 / 0, math.huge })
        assert.equal("cannot encode inf, at x", refuses({ x = math.huge }, { nan = "error" }))
        assert.equal('{\n  "a": [\n    1,\n    2\n  ],\n  "b": {},\n  "c": []\n}',
            json.encode({ a = { 1, 2 }, b = {}, c = json.array() }, { pretty = true,
                sortKeys = true }))
        assert.equal('[\n\t1\n]', json.encode({ 1 }, { pretty = "\t" }))
        assert.equal('{"-1":2,"10":3,"a":1}', json.encode({ a = 1, [-1] = 2, [10] = 3 },
            { sortKeys = true }))
    end)

    it("sees what a table is, whatever its first key says", function()
        local late = {}
        for i = 9, 1, -1 do late[i] = i end -- kept in any order
        assert.equal("[1,2,3,4,5,6,7,8,9]", json.encode(late))
        assert.equal("[1,null,3]", json.encode { 1, nil, 3 })
        assert.equal("[[1,null,3],[]]", json.encode { { 1, nil, 3 }, json.array {} })
        local both = json.decode(json.encode { { 1, { 2, y = 3 }, x = 4 }, 5 })
        assert.same({ { ["1"] = 1, ["2"] = { ["1"] = 2, y = 3 }, x = 4 }, 5 }, both)
        assert.equal('{"0":1,"1":2}', json.encode({ [0] = 1, 2 }, { sortKeys = true }))
        assert.equal('{"1.5":1}', json.encode { [1.5] = 1 })
        assert.equal("[\n 1,\n [\n  2\n ]\n]", json.encode({ 1, { 2 } }, { pretty = " " }))
        assert.equal("cannot encode a sparse array", refuses { 1, [20] = 2 })
        assert.equal("cannot encode a function, at [2].x[1]", refuses { 1, { x = { print } } })
        assert.equal("cannot encode an array that has other keys than 1 to n",
            refuses(json.array { 1, 2, x = 3 }))
    end)

    it("says what cannot be encoded, and where it is", function()
        assert.equal("cannot encode a function, at a[2].b", refuses { a = { 1, { b = print } } })
        assert.equal("cannot encode a thread", refuses(coroutine.create(print)))
        assert.equal("cannot encode a userdata", refuses(io.stdout))
        assert.equal("cannot encode a sparse array, at x", refuses { x = { [11] = 1 } })
        assert.equal("cannot encode a boolean as the name of a member", refuses { [true] = 1 })
        assert.equal("cannot encode an array that has other keys than 1 to n",
            refuses(json.array { a = 1 }))
        assert.truthy(refuses(ffi.new("int[2]")):find("cannot encode a value of the type", 1, true))
        local cycle = {}
        cycle.me = cycle
        assert.truthy(refuses(cycle):find("more than 128 levels", 1, true))
        assert.equal("[[1]]", json.encode({ { 1 } }, { maxDepth = 2 }))
        refuses({ { { 1 } } }, { maxDepth = 2 })
        assert.equal("cannot encode a table as the name of a member, at a",
            refuses({ a = { [{}] = 1, b = 2 } }, { sortKeys = true }))
        assert.equal("cannot encode a nil as raw JSON", refuses(setmetatable({},
            getmetatable(json.raw ""))))
        -- Nothing of what failed is left.
        assert.equal("1", json.encode(1))
    end)

    it("shows the beginning of a path that is long", function()
        local value = print
        for _ = 1, 100 do value = { ["name\0x"] = { value } } end
        local path = ("name\0x[1]."):rep(100):sub(1, 200)
        assert.equal("cannot encode a function, at " .. path, refuses(value, { maxDepth = 200 }))
        local name = ("n"):rep(1000)
        assert.equal("cannot encode a function, at " .. name:sub(1, 200),
            refuses({ [name] = { print } }))
    end)

    it("goes as deep as it may, in a coroutine of any depth", function()
        local value, text = {}, "{}"
        for _ = 1, 999 do value, text = { a = value }, '{"a":' .. text .. "}" end
        local function within(n)
            if n == 0 then return json.encode(value, { maxDepth = 1000 }) end
            return (within(n - 1))
        end
        assert.equal(text, coroutine.wrap(within)(200))
        assert.truthy(refuses({ value }, { maxDepth = 1000 }):find("1000 levels", 1, true))
    end)

    it("may run within another, in a hook of what it calls", function()
        local inner = {}
        local value = { ("x"):rep(5000), 1LL, json.array { 2ULL, ("y"):rep(5000) } }
        local expected = json.encode(value)
        jit.off()
        debug.sethook(function() inner[#inner + 1] = json.encode { 1e-10, ("z"):rep(3000) } end,
            "", 1)
        local text = json.encode(value)
        debug.sethook()
        jit.on()
        assert.equal(expected, text)
        assert.truthy(#inner > 10)
        for _, s in ipairs(inner) do assert.equal('[1e-10,"' .. ("z"):rep(3000) .. '"]', s) end
    end)

    it("keeps nothing of a long text that a short one could show", function()
        local long = { ("\1"):rep(2000000) }
        for _ = 1, 3 do
            assert.equal(6 * 2000000 + 4, #json.encode(long))
            assert.equal('["a"]', json.encode { "a" })
        end
    end)

    it("raises for options that nobody knows", function()
        assert.has_error(function() json.encode(1, { prety = true }) end)
        assert.has_error(function() json.encode(1, { pretty = "x" }) end)
        assert.has_error(function() json.encode(1, { nan = "zero" }) end)
        assert.has_error(function() json.encode(1, { maxDepth = 1001 }) end)
    end)

    it("reads the tables themselves, and not what a metatable says of them", function()
        local t = setmetatable({ a = 1 }, { __index = function() error("asked") end })
        assert.equal('{"a":1}', json.encode(t))
        assert.equal('[1,null,2]', json.encode(setmetatable({ 1, nil, 2 }, getmetatable(t))))
    end)
end)

describe("json.decode", function()
    it("accepts what RFC 8259 allows", function()
        for _, s in ipairs {
            "[]", " [] ", "[\n]", "[null]", "[1,2]", "[[]   ]", '[""]', "{}", '{"":0}', '{"a":[]}',
            '{"a":1,"b":2}', "0", "-0", "123", "1e1", "1E+2", "1e-2", "0e1", "0.1", "-1.5e10",
            '"a"', "true",
            "false", '["\\u0060\\u012a\\u12AB"]', '["\\uD801\\udc37"]', '["\\uDBFF\\uDFFF"]',
            '["\\"\\\\\\/\\b\\f\\n\\r\\t"]', '["\127"]', '["a/*b*/c"]', "\t\n\r 1 \t\n\r",
            '{"a":{"b":[{"c":[[1,[2]],3]}]}}', "[1e400]", "[-1e-400]", "[0.000000000000000000001]",
        } do
            local value, err = json.decode(s)
            assert.is_nil(err, s)
            assert.truthy(value ~= nil, s)
        end
    end)

    it("rejects what RFC 8259 does not", function()
        for _, s in ipairs {
            "", " ", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[1,,2]", "[,]", "[1 2]",
            "[1]]", "[1}",
            '{"a"}', '{"a":}', '{"a":1,}', '{,}', '{"a" 1}', '{1:1}', "{a:1}", '{"a":1 "b":2}',
            '{"a":1]',
            "{'a':1}", "tru", "truee", "nul", "nulL", "True", "NaN", "[Infinity]", "[-Infinity]",
            "[nan]",
            "-", "+1", "01", "-01", "1.", ".5", "1.e1", "1e", "1e+", "0x1", "1_0", "--1", "1.2.3",
            "1e1.5",
            "[1]x", "1 2", "// c\n1", "/* c */1", '"', '"a', '"\\', '"\\"', '"\\x"', '"\\u12"',
            '"\\u12g4"',
            '"\\ud800"', '"\\ud800x"', '"\\ud800\\u0041"', '"\\udc00"', '"\\ud800\\ud800"',
            '"\\a"', '"\1"',
            '"\n"', '"\t"', '"a\0b"', '["\\\0"]', "\239\187\191[]", "[\0]", "\12[]", "[1\160]",
            "'a'", '{"a":"b"',
            '{"a"', '{"a":', '{"a', '["a",', '"\\uD834\\uDd', "*", "[1,*]", "a\229",
        } do
            rejects(s)
        end
    end)

    it("says at which byte it is wrong", function()
        assert.equal("it ends too early at byte 1", rejects(""))
        assert.equal('"," or "]" was expected at byte 4', rejects("[1 2]"))
        assert.equal("a value was expected at byte 4", rejects("[1,]"))
        assert.equal('":" was expected at byte 6', rejects('{"a" 1}'))
        assert.equal("something follows the value at byte 3", rejects("1 2"))
        assert.equal("there is no such escape at byte 3", rejects('"x\\q"'))
        assert.equal("a control character in a string must be escaped at byte 4", rejects('"ab\1"'))
        assert.equal("half of a surrogate pair at byte 4", rejects('"\\ud800"'))
    end)

    it("reads numbers to their last bit", function()
        local texts = {
            "0.1", "123456789012345.6", "2.2250738585072014e-308", "4.9e-324",
            "1.7976931348623157e308",
            "9007199254740993e0", "0.000001", "1e22", "1e23", "123e-25", "0.30000000000000004",
            "5e-1",
            "100000000000000000000000000000", "1" .. ("0"):rep(400), "0." .. ("0"):rep(400) .. "1",
            "1.00000000000000011102230246251565", "8.5e21", "999999999999999e22", "0.1e1",
        }
        for _, s in ipairs(texts) do
            assert.equal(tonumber(s), json.decode(s))
            assert.equal(-tonumber(s), json.decode("-" .. s))
        end
        assert.equal(-math.huge, 1 / json.decode("-0"))
        math.randomseed(2)
        for _ = 1, 20000 do
            local digits = math.random(1, 19)
            local s = ("%d.%se%d"):format(math.random(0, 99),
                ("%019d"):format(math.random(0, 2 ^ 50)):sub(-digits), math.random(-40, 40))
            assert.equal(tonumber(s), json.decode(s))
        end
    end)

    it("keeps all digits of integers, as far as there is a type for them", function()
        assert.equal("number", type(json.decode("9007199254740992")))
        local function cdata(s, kind)
            local value = json.decode(s)
            assert.equal(kind, tostring(ffi.typeof(value)))
            assert.equal(s, json.encode(value))
        end
        cdata("9007199254740993", "ctype<int64_t>")
        cdata("-9007199254740993", "ctype<int64_t>")
        cdata("9223372036854775807", "ctype<int64_t>")
        cdata("-9223372036854775808", "ctype<int64_t>")
        cdata("9223372036854775808", "ctype<uint64_t>")
        cdata("18446744073709551615", "ctype<uint64_t>")
        assert.equal(18446744073709551616, json.decode("18446744073709551616"))
        assert.equal(-9223372036854775809, json.decode("-9223372036854775809"))
        assert.equal("9007199254740993", json.decode("9007199254740993", { int64 = "string" }))
        assert.equal(2 ^ 53, json.decode("9007199254740993", { int64 = "number" }))
    end)

    it("tells empty arrays, empty objects and null apart, and so does encode", function()
        for _, s in ipairs {
            "[]", "{}", "[[],{},null]", '{"a":[]}', '{"a":{}}', '{"a":null}', "[null]",
            "[null,null,1]",
        } do
            assert.equal(s, json.encode(json.decode(s)))
            assert.equal(s, json.encode(json.decode(s), { emptyTable = "array" }))
        end
        assert.equal(json.null, json.decode("null"))
        assert.equal("null", tostring(json.null))
        assert.truthy(json.isArray(json.decode("[]")))
        assert.falsy(json.isArray(json.decode("{}")))
    end)

    it("takes its options", function()
        assert.is_nil((json.decode("null", { null = "nil" })))
        assert.is_nil(json.decode('{"a":null}', { null = "nil" }).a)
        assert.equal(2, json.decode('{"a":1,"a":2}').a)
        assert.equal('the name "a" is twice in an object',
            rejects('[{"a":1,"b":{"a":3},"a":2}]', { duplicate = "error" }))
        assert.same({ 1, 2 }, json.decode("/*a*/[1//b\n,/**/2]// c", { comments = true }))
        for _, s in ipairs { "/", "/*", "/* *", "1/", "[1/]", "/x/1" } do rejects(s,
            { comments = true }) end
        assert.has_error(function() json.decode("1", { nul = 1 }) end)
        assert.has_error(function() json.decode("1", { null = "x" }) end)
        assert.has_error(function() json.decode("1", { int64 = "x" }) end)
        assert.has_error(function() json.decode(1) end)
    end)

    it("has a limit for nesting", function()
        assert.truthy(json.decode(("["):rep(128) .. ("]"):rep(128)))
        local value, err = json.decode(("["):rep(129) .. ("]"):rep(129))
        assert.is_nil(value)
        assert.equal("TOO_LARGE", err.name)
        assert.truthy(json.decode(('{"a":'):rep(1000) .. "1" .. ("}"):rep(1000),
            { maxDepth = 1000 }))
        rejects(("["):rep(100000))
        rejects(('{"a":'):rep(100000))
    end)

    it("round-trips random values", function()
        math.randomseed(3)
        local function value(depth)
            local kind = math.random(depth > 4 and 5 or 7)
            if kind == 1 then return math.random(-1000, 1000) end
            if kind == 2 then return math.random() end
            if kind == 3 then return math.random(2) == 1 end
            if kind == 4 then return json.null end
            if kind == 5 then
                local letters = {}
                for i = 1, math.random(0, 20) do letters[i] = string.char(math.random(0, 255)) end
                return table.concat(letters)
            end
            local t = {}
            if kind == 6 then
                for i = 1, math.random(0, 5) do t[i] = value(depth + 1) end
                return json.array(t)
            end
            for i = 1, math.random(0, 5) do t["k" .. i .. "\"\n"] = value(depth + 1) end
            return t
        end
        for _ = 1, 500 do
            local v = value(0)
            assert.truthy(same(v, json.decode(json.encode(v))))
            assert.truthy(same(v, json.decode(json.encode(v, { pretty = true, sortKeys = true }))))
        end
    end)

    it("survives a text that is cut off or changed at any byte", function()
        local s = '{"a":[1,-2.5e3,"x\\u00e9\\n\\ud801\\udc37",true,null,{}],"b":{"c":"\\"",'
            .. '"d":12345678901234567890}}'
        assert.truthy(json.decode(s))
        for i = 0, #s - 1 do rejects(s:sub(1, i)) end
        for i = 1, #s do
            for _, c in ipairs { "\0", '"', "\\", "{", "]", ",", "9", "e", "\255" } do
                local value, err = json.decode(s:sub(1, i - 1) .. c .. s:sub(i + 1))
                assert.truthy(value ~= nil or err)
            end
        end
    end)

    it("reads a long text after a short one, and a short one after a long one", function()
        local long = "[" .. ("[1,\"\\n\"],"):rep(100000) .. "0]"
        for _ = 1, 3 do
            assert.equal(100001, #json.decode(long))
            assert.equal(1, json.decode("1"))
        end
    end)
end)

-- Values whose text is lua-cjson's too: that escapes "/" and 127, and writes 14 digits.
local function random(depth)
    local kind = math.random(depth > 4 and 5 or 8)
    if kind == 1 then return math.random(-2 ^ 40, 2 ^ 40) end
    if kind == 2 then return math.random(-10 ^ 9, 10 ^ 9) / 10 ^ math.random(0, 4) end
    if kind == 3 then return math.random(2) == 1 end
    if kind == 4 then return json.null end
    local t = {}
    if kind == 5 then
        for i = 1, math.random(0, 40) do
            local byte = math.random(0, 255)
            t[i] = (byte == 47 or byte == 127) and "é" or string.char(byte)
        end
        return table.concat(t)
    end
    if kind == 6 then
        for i = 1, math.random(1, 9) do
            if math.random(9) > 1 then t[i] = random(depth + 1) end
        end
        return t
    end
    for _ = 1, math.random(0, 6) do
        t[random(5)] = random(depth + 1)
    end
    for key in pairs(t) do
        if type(key) ~= "string" then t[key] = nil end
    end
    return t
end

-- A 64-bit integer is not read in place (src/lua/json_usual.c), nor is what it stands in.
describe("json.encode of tables read in place", function()
    local function assert_same_by_lua(value)
        assert.equal("[" .. json.encode(value) .. ",1]", json.encode { value, 1LL })
    end

    it("writes what it writes of those walked by Lua's interface", function()
        math.randomseed(7)
        for _ = 1, 3000 do assert_same_by_lua { random(0) } end
    end)

    it("sees no room that is free, and nothing that was taken out", function()
        local grown, emptied, roomy = {}, { a = 1, b = 2 }, require "table.new"(8, 8)
        for i = 1, 40 do
            grown[i] = i
            assert_same_by_lua(grown)
            assert_same_by_lua(emptied)
            emptied["k" .. i], emptied["k" .. i - 3] = i, nil
        end
        for i = 40, 1, -1 do
            grown[i] = nil
            assert_same_by_lua(grown)
        end
        emptied.a, emptied.b = nil, nil
        assert_same_by_lua(emptied)
        for _, key in ipairs { 3, "x", 1, 2 } do
            roomy[key] = true
            assert_same_by_lua(roomy)
        end
        assert_same_by_lua { [0] = 0, 1 }
        assert_same_by_lua { 1, 2, nil, nil, n = 4 }
    end)
end)

describe("lua-cjson", function()
    local found, cjson = pcall(require, "cjson")

    it("writes the same text", function()
        if not found then return pending("lua-cjson is not installed") end
        math.randomseed(5)
        for _ = 1, 3000 do
            local value = random(0)
            assert.equal(cjson.encode(value), json.encode(value))
        end
    end)

    it("reads what is written", function()
        if not found then return pending("lua-cjson is not installed") end
        math.randomseed(6)
        for _ = 1, 1000 do
            local value = random(0)
            local text = json.encode(value, { pretty = true })
            assert.same(cjson.decode(cjson.encode(value)), cjson.decode(text))
        end
    end)
end)

describe("json.isArray", function()
    it("goes by the mark, or by the keys", function()
        assert.is_true(json.isArray { 1 })
        assert.is_true(json.isArray(json.array()))
        for _, value in ipairs { {}, { a = 1 }, { 1, a = 1 }, json.object { 1 }, json.raw "[]",
            "x", 1 } do
            assert.is_false(json.isArray(value))
        end
    end)
end)

describe("json.lines", function()
    local function collect(...)
        local found = {}
        for number, value, err in json.lines(...) do
            found[#found + 1] = { number, value, err and err.name }
        end
        return found
    end

    it("reads a value from each line, however the text is cut", function()
        local s = '{"a":1}\r\n\n[2]\nnull\n"x"'
        for size = 1, #s do
            local at = 1
            local function read()
                if at > #s then return nil end
                at = at + size
                return s:sub(at - size, at - 1)
            end
            assert.same({ { 1, { a = 1 } }, { 3, { 2 } }, { 4, json.null }, { 5, "x" } },
                collect(read))
        end
        assert.same({ { 1, 1 }, { 2, 2 } }, collect({ read = coroutine.wrap(function()
            coroutine.yield("1\n")
            coroutine.yield("2\n")
        end) }))
    end)

    it("goes on after a line that is not JSON", function()
        assert.same({ { 1, 1 }, { 2, nil, "PARSE" }, { 3, 3 } }, collect("1\n{\n3\n"))
    end)

    it("ends with the error of its reader, and with a line that is too long", function()
        local function broken() return nil, { name = "ECONNRESET" } end
        assert.same({ { 1, nil, "ECONNRESET" } }, collect(broken))
        assert.same({ { 1, 12 }, { 2, nil, "TOO_LARGE" } }, collect("12\n123\n1", { maxLine = 2 }))
        local function endless() return "xxxxxxxx" end
        assert.same({ { 1, nil, "TOO_LARGE" } }, collect(endless, { maxLine = 100 }))
        assert.has_error(function() json.lines("1", { maxline = 2 }) end)
    end)
end)

-- What a server answers with: json.encode without a string, for what C can write alone.
describe("json._write", function()
    if json._write {} < 0 then
        return pending("this LuaJIT has its objects laid out otherwise (src/lua/objects.h)")
    end

    local function written(value)
        local len = json._write(value)
        return len >= 0 and ffi.string(json._text.data, len) or nil
    end

    it("writes what json.encode does, or leaves it to that", function()
        local deep = {}
        for _ = 1, 120 do deep = { deep } end
        for _, value in ipairs {
            { true }, { 1, 2.5, -0.0 }, { a = { b = {} } }, { ("x"):rep(70000), "\"\n" }, deep,
            { json.array {}, json.object {}, json.object { a = 1 }, json.array { 1 }, {} },
            { json.null, json.raw "[1]" }, setmetatable({ a = 1 }, { __index = { b = 2 } }),
        } do
            assert.equal(json.encode(value), written(value))
        end
        for _, value in ipairs {
            "text", 7, false,
            { 1, nil, 3 }, { [2] = 1 }, { [0] = 1 }, { 1, x = 1 }, { [1.5] = 1 }, { [true] = 1 },
            { 1 / 0 }, { 0 / 0 }, { 1e300 }, { 7LL }, { print }, { a = { 1, [20] = 2 } },
            json.array { x = 1 }, json.object { 1 }, setmetatable({ 7 }, getmetatable(json.raw "")),
            { deep, { { { { { { { { deep } } } } } } } } }, { ("x"):rep(2 ^ 20), print },
            { [1.5] = { x = 7LL } },
        } do
            assert.equal(-1, json._write(value))
        end
        assert.equal("[1]", written { 1 })
        local long = { ("x"):rep(2 ^ 20), { 7 } }
        assert.equal(json.encode(long), json._take(json._write(long)))
        assert.equal("[1]", written { 1 })
    end)

    it("sees a table as it is now, compiled too", function()
        local kept, other = { n = 0, list = { 0 } }, { "other" }
        local wrong = 0
        for i = 1, 20000 do
            kept.n = i
            kept.list[1] = -i
            local text = written(kept)
            if text ~= '{"n":' .. i .. ',"list":[-' .. i .. "]}"
                and text ~= '{"list":[-' .. i .. '],"n":' .. i .. "}" then
                wrong = wrong + 1
            end
            if i % 3 == 0 and written(other) ~= '["other"]' then wrong = wrong + 1 end
            if written { i, { i } } ~= "[" .. i .. ",[" .. i .. "]]" then wrong = wrong + 1 end
        end
        assert.equal(0, wrong)
    end)

    it("writes each of two, compiled, where nobody looks at the lengths", function()
        local first, second, texts = { 1 }, { 2 }, {}
        for i = 1, 1000 do
            json._write(first)
            local text = ffi.string(json._text.data, 3)
            json._write(second)
            texts[i] = text .. ffi.string(json._text.data, 3)
        end
        assert.equal(("[1][2]"):rep(1000), table.concat(texts))
    end)

    it("keeps its text while others encode, as finalizers may at any moment", function()
        local len = json._write { "mine" }
        local text = json._text.data
        getmetatable(newproxy(true)).__gc = function()
            json.encode { "theirs", ("x"):rep(2 ^ 20) }
        end
        collectgarbage()
        assert.equal('["theirs"]', json.encode { "theirs" })
        assert.equal('["mine"]', ffi.string(text, len))
        assert.equal(text, json._text.data)
    end)

    it("keeps nothing alive, and is not disturbed by the collector", function()
        local gone = setmetatable({}, { __mode = "k" })
        local function make()
            local value = { a = { "b" } }
            gone[value] = true
            assert(written(value))
        end
        make()
        collectgarbage()
        assert.is_nil(next(gone))
        collectgarbage("step", 0)
        for i = 1, 20000 do
            assert(written { i, { x = { tostring(i) } } }
                == "[" .. i .. ',{"x":["' .. i .. '"]}]')
        end
    end)
end)
