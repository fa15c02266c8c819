local zlib = require "zlib"
local task = require "task"

local function noise(n)
    local bytes, x = {}, 1
    for i = 1, n do
        x = (x * 69069 + 1) % 2 ^ 32
        bytes[i] = string.char(math.floor(x / 2 ^ 24))
    end
    return table.concat(bytes)
end

local PAIRS = { { "deflate", "inflate" }, { "gzip", "gunzip" } }
local SAMPLES = {
    "", "x", ("abc"):rep(10), noise(1000), ("x"):rep(65536), ("x"):rep(65537), noise(300000),
    ("0123456789"):rep(200000),
}

local function fails(name, value, err)
    assert.is_nil(value)
    assert.equal(name, err and err.name)
end

-- What the program of that name makes of the bytes.
local function through(command, data)
    local from, to = os.tmpname(), os.tmpname()
    local file = assert(io.open(from, "wb"))
    file:write(data)
    file:close()
    os.execute(command .. " <" .. from .. " >" .. to)
    file = assert(io.open(to, "rb"))
    local result = file:read("*a")
    file:close()
    os.remove(from)
    os.remove(to)
    return result
end

local function reads_each_flush(pack, unpack)
    for i = 1, 50 do
        assert.equal("piece " .. i, unpack:write(pack:write("piece " .. i) .. pack:flush()))
    end
    assert.equal("", unpack:write(pack:finish()))
    assert.equal("", unpack:finish())
end

describe("zlib", function()
    it("gives back what went in, small and large", function()
        for _, pair in ipairs(PAIRS) do
            for _, data in ipairs(SAMPLES) do
                local packed = assert(zlib[pair[1]](data))
                assert.truthy(zlib[pair[2]](packed) == data)
            end
        end
        assert.equal("raw", zlib.inflate(zlib.deflate("raw", { raw = true }), { raw = true }))
        assert.truthy(#zlib.deflate(("x"):rep(1000), { level = 0 }) > 1000)
        assert.truthy(#zlib.gzip(("x"):rep(5000), { level = 9 }) < 100)
    end)

    it("speaks with gzip", function()
        local data = ("hello gzip "):rep(20000)
        assert.truthy(through("gzip -dc", zlib.gzip(data)) == data)
        assert.truthy(zlib.gunzip(through("gzip -c", data)) == data)
    end)

    it("reads several members one after the other, and the zeros behind them", function()
        local two = zlib.gzip("one ") .. zlib.gzip("two")
        assert.equal("one two", zlib.gunzip(two))
        assert.equal("one two", zlib.gunzip(two .. ("\0"):rep(100)))
        local big = zlib.gzip(noise(100000)) .. zlib.gzip("end")
        assert.equal(100003, #zlib.gunzip(big))
    end)

    it("refuses what is damaged, cut off, or followed by something else", function()
        for _, pair in ipairs(PAIRS) do
            local packed, unpack_it = zlib[pair[1]](("hello "):rep(100)), zlib[pair[2]]
            for n = 0, #packed - 1 do fails("EOF", unpack_it(packed:sub(1, n))) end
            fails("PARSE", unpack_it(packed .. "x"))
            fails("PARSE", unpack_it("hello"))
            fails("PARSE", unpack_it(packed:sub(1, -2) .. string.char((packed:byte(-1) + 1) % 256)))
            local big = zlib[pair[1]](noise(200000))
            fails("EOF", unpack_it(big:sub(1, -2)))
            fails("PARSE", unpack_it(big .. "x"))
        end
    end)

    it("stops at the limit, also where a few bytes would become many", function()
        local bomb = zlib.gzip(("\0"):rep(50000000))
        assert.truthy(#bomb < 65536)
        fails("TOO_LARGE", zlib.gunzip(bomb, { maxSize = 49999999 }))
        assert.equal(50000000, #zlib.gunzip(bomb, { maxSize = 50000000 }))
        fails("TOO_LARGE", zlib.gunzip(zlib.gzip("ab"), { maxSize = 1 }))
        fails("TOO_LARGE", zlib.inflate(zlib.deflate(("\0"):rep(70000000))))
    end)

    it("streams: any cut gives the same", function()
        local data = noise(3000) .. ("abc"):rep(3000)
        for _, step in ipairs { 1, 7, 1000, 100000 } do
            local z, u, packed, got = zlib.stream("gzip"), zlib.stream("unzip"), {}, {}
            for i = 1, #data, step do
                packed[#packed + 1] = assert(z:write(data:sub(i, i + step - 1)))
            end
            packed[#packed + 1] = z:finish()
            packed = table.concat(packed)
            for i = 1, #packed, step do
                got[#got + 1] = assert(u:write(packed:sub(i, i + step - 1)))
            end
            got[#got + 1] = assert(u:finish())
            assert.truthy(table.concat(got) == data)
        end
    end)

    it("flushes what was put in, for the other side to read", function()
        local z, u = zlib.stream("deflateRaw"), zlib.stream("inflateRaw")
        for i = 1, 3 do
            assert.equal("line " .. i, u:write(z:write("line " .. i) .. assert(z:flush())))
        end
        assert.equal("end", u:finish(z:finish("end")))
        fails("CLOSED", z:write("x"))
        fails("CLOSED", z:finish())
    end)

    it("does not go on after a failure", function()
        local u = zlib.stream("gunzip")
        fails("PARSE", u:write("no gzip at all"))
        fails("CLOSED", u:write("x"))
        u = zlib.stream("inflate", { maxSize = 10 })
        fails("TOO_LARGE", u:write(zlib.deflate(("x"):rep(100))))
        fails("CLOSED", u:finish())
    end)

    it("keeps a second task out while a thread is at a piece", function()
        local z = zlib.stream("gzip")
        local t = task.spawn(function() return z:write(noise(500000)) end)
        task.yield()
        fails("EBUSY", z:write("x"))
        local ok, first = t:join()
        assert.truthy(ok and first)
        assert.equal(500000, #zlib.gunzip(first .. z:finish()))
    end)

    it("lets a cancelled task leave at once, and is of no use after that", function()
        local data, z = noise(4000000), zlib.stream("gzip", { level = 9 })
        local t = task.spawn(function() return z:write(data) end)
        task.yield()
        t:cancel()
        local _, value, err = t:join()
        fails("ECANCELED", value, err)
        fails("CLOSED", z:write("x"))
        value, err = task.withTimeout(1, zlib.gzip, data, { level = 9 })
        fails("ETIMEDOUT", value, err)
    end)

    it("sums up", function()
        assert.equal(0, zlib.crc32(""))
        assert.equal(0xcbf43926, zlib.crc32("6789", zlib.crc32("12345")))
        assert.equal(1, zlib.adler32(""))
        assert.equal(zlib.adler32("Wikipedia"), zlib.adler32("pedia", zlib.adler32("Wiki")))
    end)

    it("raises for wrong arguments, at the caller's line", function()
        local function raises(text, fn, ...)
            local args = { ... }
            local ok, message = pcall(function() fn(unpack(args)) end)
            assert.is_false(ok)
            assert.truthy(tostring(message):find("zlib_spec.lua:%d+: "), message)
            assert.truthy(tostring(message):find(text, 1, true), message)
        end
        raises("zlib.gzip(data[, options]) data must be [string]", zlib.gzip, {})
        raises('did you mean "level"', zlib.deflate, "", { levl = 1 })
        raises("options.level must be [integer] from 0 to 9", zlib.deflate, "", { level = 10 })
        raises('did you mean "gzip"', zlib.stream, "gzp")
        raises("zlib.crc32(data[, sum]) sum", zlib.crc32, "", -1)
    end)
end)

describe("zlib.brotli", function()
    -- Text that goes to a thread, and text that does not.
    local TEXTS = { "", "a", ("hello, brotli. "):rep(100), ("some text %d\n"):rep(60000) }

    local function brotli(...)
        local packed, err = zlib.brotli(...)
        if not packed then
            assert.equal("UNSUPPORTED", err.name)
            return nil
        end
        return packed
    end

    it("makes what unbrotli reads, of every size and level", function()
        if not brotli("") then return pending("needs libbrotlienc") end
        for _, text in ipairs(TEXTS) do
            for _, level in ipairs { 0, 5, 9 } do
                local packed = brotli(text, { level = level })
                assert.is_true(#text < 100 or #packed < #text / 3)
                assert.is_true(assert(zlib.unbrotli(packed)) == text)
            end
        end
    end)

    it("reads what others have made", function()
        local text, err = zlib.unbrotli("\11\2\128hello\3")
        if not text and err.name == "UNSUPPORTED" then return pending("needs libbrotlidec") end
        assert.equal("hello", text)
    end)

    it("says what is wrong with what it reads", function()
        local packed = brotli(TEXTS[3])
        if not packed then return pending("needs libbrotlienc") end
        fails("EOF", zlib.unbrotli(packed:sub(1, -2)))
        fails("EOF", zlib.unbrotli(""))
        fails("PARSE", zlib.unbrotli(packed .. "x"))
        fails("PARSE", zlib.unbrotli("\255\255\255\255"))
        fails("TOO_LARGE", zlib.unbrotli(packed, { maxSize = 100 }))
        assert.has_error(function() zlib.brotli("", { level = 12 }) end)
    end)

    it("lets what went into a stream be read after a flush", function()
        local pack, unpack = zlib.stream("brotli"), zlib.stream("unbrotli")
        if not pack or not unpack then return pending("needs libbrotlienc") end
        reads_each_flush(pack, unpack)
    end)
end)

describe("zlib.zstd", function()
    -- Text that goes to a thread, and text that does not.
    local TEXTS = { "", "a", ("hello, zstd. "):rep(100), ("some text %d\n"):rep(60000) }
    -- "hello", as the program zstd writes it, with a checksum.
    local HELLO = "\40\181\47\253\4\88\41\0\0hello\163\109\159\136"

    local function is_missing()
        local z = zlib.stream "zstd"
        if not z then pending("needs libzstd") end
        return not z
    end

    it("makes what unzstd reads, of every size and level", function()
        if is_missing() then return end
        for _, text in ipairs(TEXTS) do
            for _, level in ipairs { 1, 3, 19 } do
                local packed = assert(zlib.zstd(text, { level = level }))
                assert.is_true(#text < 100 or #packed < #text / 3)
                assert.is_true(assert(zlib.unzstd(packed)) == text)
            end
        end
    end)

    it("reads several frames one after the other, wherever they are cut", function()
        if is_missing() then return end
        local packed = assert(zlib.zstd("one ")) .. assert(zlib.zstd("two"))
        assert.equal("one two", zlib.unzstd(packed))
        for at = 1, #packed do
            local z = zlib.stream "unzstd"
            assert.equal("one two", z:write(packed:sub(1, at)) .. z:finish(packed:sub(at + 1)))
        end
    end)

    it("says what is wrong with what it reads", function()
        if is_missing() then return end
        local packed = assert(zlib.zstd(TEXTS[3]))
        fails("EOF", zlib.unzstd(packed:sub(1, -2)))
        fails("EOF", zlib.unzstd(""))
        fails("PARSE", zlib.unzstd(packed .. "junk"))
        fails("PARSE", zlib.unzstd("\255\255\255\255\255"))
        fails("PARSE", zlib.unzstd("\40\181\47\253\0\120\1\0\0")) -- a window of 32 MiB
        fails("TOO_LARGE", zlib.unzstd(packed, { maxSize = 100 }))
        assert.equal("hello", zlib.unzstd(HELLO))
        fails("PARSE", zlib.unzstd((HELLO:gsub("hello", "hallo"))))
        assert.has_error(function() zlib.zstd("", { level = 20 }) end)
    end)

    it("lets what went into a stream be read after a flush", function()
        if is_missing() then return end
        local pack, unpack = zlib.stream("zstd"), zlib.stream("unzstd")
        reads_each_flush(pack, unpack)
    end)
end)
