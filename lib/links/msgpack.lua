--- MessagePack: values as bytes, smaller and faster to read than JSON; for games and between
--- programs (https://github.com/msgpack/msgpack/blob/master/spec.md).
---
--- Numbers without a fraction are integers. Strings are `str` where they are UTF-8, else `bin`;
--- both come back as strings. A table with the keys 1 to n is an array, any other a map; an empty
--- one is an array, unless json.object has marked it. nil is json.null inside of tables. Integers
--- beyond 2^53 come back as int64_t or uint64_t, which are also written as such.
local bit = require "bit"
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local json = require "links.json"
local null = require "links.null"

local band, rshift = bit.band, bit.rshift
local char, byte, sub = string.char, string.byte, string.sub
local type, floor, concat = type, math.floor, table.concat

local MAX_DEPTH = 100
local EXACT = 2 ^ 53
local OBJECT = getmetatable(json.object{})

local msgpack = {}

local int64, uint64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
local number_bytes = ffi.new("union { double number; float small; uint8_t bytes[8]; }")

-- The machine's order of bytes, turned to that of the network.
local function reversed(n)
    if ffi.abi("be") then return ffi.string(number_bytes.bytes, n) end
    local b = number_bytes.bytes
    for i = 0, n / 2 - 1 do b[i], b[n - 1 - i] = b[n - 1 - i], b[i] end
    return ffi.string(b, n)
end

-- --- writing ----------------------------------------------------------------------------------

local function u16(n) return char(rshift(n, 8), band(n, 255)) end

local function u32(n)
    return char(floor(n / 16777216) % 256, floor(n / 65536) % 256, floor(n / 256) % 256, n % 256)
end

-- 64 bits of a double without a fraction, or of an integer cdata; two's complement.
local function u64(n)
    local v = ffi.cast(uint64, n)
    return u32(tonumber(rshift(v, 32))) .. u32(tonumber(band(v, 0xffffffffULL)))
end

local function write_integer(n)
    if n >= 0 then
        if n < 128 then return char(n) end
        if n < 256 then return char(0xcc, n) end
        if n < 65536 then return "\205" .. u16(n) end
        if n < 4294967296 then return "\206" .. u32(n) end
        return "\207" .. u64(n)
    end
    if n >= -32 then return char(256 + n) end
    if n >= -128 then return char(0xd0, 256 + n) end
    if n >= -32768 then return "\209" .. u16(65536 + n) end
    if n >= -2147483648 then return "\210" .. u32(4294967296 + n) end
    return "\211" .. u64(ffi.cast(int64, n))
end

local function write_number(n)
    if n % 1 == 0 and n >= -EXACT and n <= EXACT and not (n == 0 and 1 / n < 0) then
        return write_integer(n)
    end
    number_bytes.number = n
    return "\203" .. reversed(8)
end

-- The head of something whose length may be given in one of three or four ways.
local function head(n, fix, fix_max, one, two, four)
    if n <= fix_max then return char(fix + n) end
    if n < 256 and one then return char(one, n) end
    if n < 65536 then return char(two) .. u16(n) end
    return char(four) .. u32(n)
end

local codec

local function write_string(s)
    codec = codec or require "links.codec"
    if codec.utf8valid(s) then return head(#s, 0xa0, 31, 0xd9, 0xda, 0xdb) .. s end
    return head(#s, 0, -1, 0xc4, 0xc5, 0xc6) .. s
end

local write

-- How many elements, and whether they are an array.
local function count(t)
    local n, length = 0, #t
    for key in pairs(t) do
        n = n + 1
        if type(key) ~= "number" or key < 1 or key > length or key % 1 ~= 0 then
            length = -1
        end
    end
    if n == 0 then return 0, getmetatable(t) ~= OBJECT end
    return n, n == length
end

local function write_table(out, t, depth)
    if depth > MAX_DEPTH then
        error("msgpack.encode(value): nested deeper than " .. MAX_DEPTH, 0)
    end
    local n, is_array = count(t)
    if is_array then
        out[#out + 1] = head(n, 0x90, 15, nil, 0xdc, 0xdd)
        for i = 1, n do write(out, t[i], depth + 1) end
        return
    end
    out[#out + 1] = head(n, 0x80, 15, nil, 0xde, 0xdf)
    for key, value in pairs(t) do
        write(out, key, depth + 1)
        write(out, value, depth + 1)
    end
end

function write(out, value, depth)
    local kind = type(value)
    if kind == "number" then
        out[#out + 1] = write_number(value)
    elseif kind == "string" then
        out[#out + 1] = write_string(value)
    elseif kind == "table" then
        write_table(out, value, depth)
    elseif kind == "boolean" then
        out[#out + 1] = value and "\195" or "\194"
    elseif value == nil or value == null then
        out[#out + 1] = "\192"
    elseif kind == "cdata" and ffi.istype(int64, value) then
        out[#out + 1] = "\211" .. u64(value)
    elseif kind == "cdata" and ffi.istype(uint64, value) then
        out[#out + 1] = "\207" .. u64(value)
    else
        error("msgpack.encode(value): a " .. kind .. " cannot be written", 0)
    end
end

--- Writes a value.
---
--- @param value  any   nil, booleans, numbers, strings, int64_t, uint64_t, and tables of these, 100
---                     deep at most
--- @return string      the bytes
--- @raise              something in it is none of these, or is nested too deep (a table in itself)
--- @usage local msgpack = require "msgpack"
--- assert(msgpack.encode({ 1, "a", true }) == "\147\1\161a\195")
--- assert(msgpack.decode(msgpack.encode{ x = 1.5, y = -2 }).y == -2)
function msgpack.encode(value)
    local out = {}
    local ok, message = pcall(write, out, value, 1)
    if not ok then error(message, 2) end
    return concat(out)
end

-- --- reading ----------------------------------------------------------------------------------

local PARSE, EOF = "PARSE", "EOF"

local function fail(name) error({ name = name }, 0) end

local function take(s, at, n)
    if at + n - 1 > #s then fail(EOF) end
    return sub(s, at, at + n - 1), at + n
end

local function unsigned(s, at, n)
    if at + n - 1 > #s then fail(EOF) end
    local value = 0
    for i = at, at + n - 1 do value = value * 256 + byte(s, i) end
    return value, at + n
end

local function signed(s, at, n)
    local value, after = unsigned(s, at, n)
    local half = 256 ^ n / 2
    return value >= half and value - 2 * half or value, after
end

-- 64 bits: a number where that is exact, else the cdata.
local function wide(s, at, kind)
    local high, middle = unsigned(s, at, 4)
    local low, after = unsigned(s, middle, 4)
    local value = ffi.cast(kind, uint64(high) * 4294967296ULL + uint64(low))
    local number = tonumber(value)
    if number >= -EXACT and number <= EXACT then return number, after end
    return value, after
end

local function real(s, at, n)
    local text, after = take(s, at, n)
    ffi.copy(number_bytes.bytes, text, n)
    reversed(n)
    return n == 8 and number_bytes.number or tonumber(number_bytes.small), after
end

local read

-- What is announced is not believed: each element takes a byte at least.
local function read_array(s, at, n, depth)
    if depth > MAX_DEPTH then fail(PARSE) end
    if n > #s - at + 1 then fail(EOF) end
    local t = {}
    for i = 1, n do
        local value
        value, at = read(s, at, depth + 1)
        t[i] = value == nil and null or value
    end
    return t, at
end

local function read_map(s, at, n, depth)
    if depth > MAX_DEPTH then fail(PARSE) end
    if n * 2 > #s - at + 1 then fail(EOF) end
    local t = {}
    for _ = 1, n do
        local key, value
        key, at = read(s, at, depth + 1)
        value, at = read(s, at, depth + 1)
        if key == nil or key ~= key then fail(PARSE) end
        t[key] = value == nil and null or value
    end
    return t, at
end

-- A length of `bytes` bytes, and what has it.
local function sized(fn, bytes)
    return function(s, at, depth)
        local n, after = unsigned(s, at, bytes)
        return fn(s, after, n, depth)
    end
end

local READERS = {
    [0xc0] = function(_, at) return nil, at end,
    [0xc2] = function(_, at) return false, at end,
    [0xc3] = function(_, at) return true, at end,
    [0xca] = function(s, at) return real(s, at, 4) end,
    [0xcb] = function(s, at) return real(s, at, 8) end,
    [0xcc] = function(s, at) return unsigned(s, at, 1) end,
    [0xcd] = function(s, at) return unsigned(s, at, 2) end,
    [0xce] = function(s, at) return unsigned(s, at, 4) end,
    [0xcf] = function(s, at) return wide(s, at, uint64) end,
    [0xd0] = function(s, at) return signed(s, at, 1) end,
    [0xd1] = function(s, at) return signed(s, at, 2) end,
    [0xd2] = function(s, at) return signed(s, at, 4) end,
    [0xd3] = function(s, at) return wide(s, at, int64) end,
    [0xdc] = sized(read_array, 2), [0xdd] = sized(read_array, 4),
    [0xde] = sized(read_map, 2), [0xdf] = sized(read_map, 4),
    [0xc4] = sized(take, 1), [0xc5] = sized(take, 2), [0xc6] = sized(take, 4),
    [0xd9] = sized(take, 1), [0xda] = sized(take, 2), [0xdb] = sized(take, 4),
}

function read(s, at, depth)
    local b = byte(s, at)
    if not b then fail(EOF) end
    at = at + 1
    if b < 0x80 then return b, at end
    if b >= 0xe0 then return b - 256, at end
    if b >= 0xa0 and b < 0xc0 then return take(s, at, b - 0xa0) end
    if b < 0x90 then return read_map(s, at, b - 0x80, depth) end
    if b < 0xa0 then return read_array(s, at, b - 0x90, depth) end
    local reader = READERS[b]
    if not reader then fail(PARSE) end
    return reader(s, at, depth)
end

--- Reads a value.
---
--- @param data  string   the bytes, of one value or of several behind each other
--- @param from  integer  where it begins. Default: 1
--- @return any           the value
--- @return integer       where the next one begins
--- @return nil, err      EOF    there are less bytes than the value has
---                       PARSE  they are no value, or one of an extension, or nested deeper than
---                              100
--- @raise                an argument of another type
--- @usage local msgpack = require "msgpack"
--- local value, at = msgpack.decode("\1\2", 2)
--- assert(value == 2 and at == 3)
--- local _, err = msgpack.decode("\146\1")
--- assert(err.name == "EOF")
function msgpack.decode(data, from)
    check.type("msgpack.decode(data[, from])", "data", data, "string")
    if from ~= nil then check.integer("msgpack.decode(data[, from])", "from", from, 1, 2 ^ 53) end
    local ok, value, at = pcall(read, data, from or 1, 1)
    if ok then return value, at end
    if type(value) ~= "table" or not value.name then error(value, 0) end
    return nil, errors.new(errors.code(value.name), "msgpack")
end

return msgpack
