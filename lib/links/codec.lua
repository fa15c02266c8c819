--- Text in another form: base64, hexadecimal, what URLs and forms escape, HTML.
---
--- Encoding cannot fail. Decoding what somebody else has written can: then it returns `nil, err`,
--- and the message says at which byte.
---
--- `codec.msgpack` is the module msgpack.
local ffi = require "ffi"
local bit = require "bit"
local check = require "links.check"
local errors = require "links.errors"
local room = require "links.scratch"

local band, bor, lshift, rshift = bit.band, bit.bor, bit.lshift, bit.rshift
local byte, char, find, sub = string.byte, string.char, string.find, string.sub
local cast, ffi_string = ffi.cast, ffi.string

local codec = {}

local PARSE, TOO_LARGE = errors.code("PARSE"), errors.code("TOO_LARGE")
local MAX_ARGS = 1000

local bytes = ffi.typeof("const uint8_t *")

local function malformed(what, message, at)
    return nil, errors.new(PARSE, what, { message = message .. " at byte " .. at })
end

-- --- base64 -------------------------------------------------------------------------------------

local STANDARD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local NO_DIGIT = 255

-- Both directions of an alphabet. Letters are found by number, twelve bits at a time as a pair.
local function alphabet(letters)
    local first, second = ffi.new("uint8_t[4096]"), ffi.new("uint8_t[4096]")
    for i = 0, 4095 do
        first[i] = byte(letters, rshift(i, 6) + 1)
        second[i] = byte(letters, band(i, 63) + 1)
    end
    local digits = ffi.new("uint8_t[256]")
    ffi.fill(digits, 256, NO_DIGIT)
    for i = 1, 64 do digits[byte(letters, i)] = i - 1 end
    return { first = first, second = second, digits = digits }
end

local function encode64(s, letters, pad)
    local first, second = letters.first, letters.second
    local len = #s
    local from, to = cast(bytes, s), room(math.ceil(len / 3) * 4)
    local at = 0
    for i = 0, len - 3, 3 do
        local group = bor(lshift(from[i], 16), lshift(from[i + 1], 8), from[i + 2])
        local high, low = rshift(group, 12), band(group, 4095)
        to[at], to[at + 1] = first[high], second[high]
        to[at + 2], to[at + 3] = first[low], second[low]
        at = at + 4
    end
    local left = len % 3
    if left > 0 then
        local group = lshift(from[len - left], 16)
        if left == 2 then group = bor(group, lshift(from[len - 1], 8)) end
        local high, low = rshift(group, 12), band(group, 4095)
        to[at], to[at + 1] = first[high], second[high]
        at = at + 2
        if left == 2 then
            to[at] = first[low]
            at = at + 1
        end
        for _ = 1, pad and 3 - left or 0 do
            to[at] = 61
            at = at + 1
        end
    end
    return ffi_string(to, at)
end

-- The first byte of `from` that is no digit, counted from 1.
local function first_bad(from, len, digits)
    for i = 0, len - 1 do
        if digits[from[i]] == NO_DIGIT then return i + 1 end
    end
    return len + 1
end

local function decode64(s, what, letters, pad)
    local digits = letters.digits
    local from, len = cast(bytes, s), #s
    local whole = len
    if len > 0 and len % 4 == 0 and from[len - 1] == 61 then
        len = len - (from[len - 2] == 61 and 2 or 1)
    end
    local left = len % 4
    if left == 1 or (pad and whole % 4 ~= 0) then
        local bad = first_bad(from, len, digits)
        if bad <= len then return malformed(what, "not a letter of its alphabet", bad) end
        return malformed(what, "it ends too early", whole + 1)
    end
    local to, at, wrong = room(len), 0, 0
    for i = 0, len - left - 4, 4 do
        local a, b = digits[from[i]], digits[from[i + 1]]
        local c, d = digits[from[i + 2]], digits[from[i + 3]]
        wrong = bor(wrong, a, b, c, d)
        local group = bor(lshift(a, 18), lshift(b, 12), lshift(c, 6), d)
        to[at], to[at + 1], to[at + 2] = rshift(group, 16), rshift(group, 8), group
        at = at + 3
    end
    if left > 0 then
        local a, b = digits[from[len - left]], digits[from[len - left + 1]]
        local c = left == 3 and digits[from[len - 1]] or 0
        wrong = bor(wrong, a, b, c)
        -- The bits that no byte takes are zero: two texts are never one value (RFC 4648, 3.5).
        if band(wrong, 128) == 0 and band(left == 3 and c or b, left == 3 and 3 or 15) ~= 0 then
            return malformed(what, "its last bits are not zero", len)
        end
        local group = bor(lshift(a, 18), lshift(b, 12), lshift(c, 6))
        to[at], to[at + 1] = rshift(group, 16), rshift(group, 8)
        at = at + left - 1
    end
    -- A digit is below 64; what is none has the highest bit.
    if band(wrong, 128) ~= 0 then
        return malformed(what, "not a letter of its alphabet", first_bad(from, len, digits))
    end
    return ffi_string(to, at)
end

local standard, for_urls = alphabet(STANDARD), alphabet(URL)

--- Base64 with the letters + and / (RFC 4648, 4): `codec.base64.encode`, `codec.base64.decode`.
codec.base64 = {}

--- Encodes bytes, with padding.
---
--- @param s  string  any bytes
--- @return string    the base64 text
--- @raise            `s` is not a string
--- @usage assert(require("codec").base64.encode("links") == "bGlua3M=")
function codec.base64.encode(s)
    if type(s) ~= "string" then check.type("codec.base64.encode(s)", "s", s, "string") end
    return encode64(s, standard, true)
end

--- Decodes a text that is base64 from its first to its last byte: no line ends, padding as it
--- should be.
---
--- @param s  string  the base64 text
--- @return string    the bytes
--- @return nil, err  PARSE  a byte that is not of the alphabet, an end that cannot be
--- @raise            `s` is not a string
--- @usage assert(require("codec").base64.decode("bGlua3M=") == "links")
function codec.base64.decode(s)
    if type(s) ~= "string" then check.type("codec.base64.decode(s)", "s", s, "string") end
    return decode64(s, "base64", standard, true)
end

--- Base64 with the letters - and _, for URLs, file names and tokens (RFC 4648, 5).
codec.base64url = {}

--- Encodes bytes, without padding.
---
--- @param s  string  any bytes
--- @return string    the base64url text
--- @raise            `s` is not a string
--- @usage assert(require("codec").base64url.encode("\255\254?") == "__4_")
function codec.base64url.encode(s)
    if type(s) ~= "string" then check.type("codec.base64url.encode(s)", "s", s, "string") end
    return encode64(s, for_urls, false)
end

--- Decodes base64url, with or without padding.
---
--- @param s  string  the base64url text
--- @return string    the bytes
--- @return nil, err  PARSE  a byte that is not of the alphabet, an end that cannot be
--- @raise            `s` is not a string
--- @usage assert(require("codec").base64url.decode("__4_") == "\255\254?")
function codec.base64url.decode(s)
    if type(s) ~= "string" then check.type("codec.base64url.decode(s)", "s", s, "string") end
    return decode64(s, "base64url", for_urls, false)
end

-- --- hexadecimal --------------------------------------------------------------------------------

local HEX = ffi.new("uint8_t[16]", { byte("0123456789abcdef", 1, -1) })
local hex_digits = ffi.new("uint8_t[256]")
ffi.fill(hex_digits, 256, NO_DIGIT)
for i = 0, 15 do
    hex_digits[HEX[i]] = i
    hex_digits[byte(char(HEX[i]):upper())] = i
end

--- Hexadecimal: two digits for each byte.
codec.hex = {}

--- Encodes bytes.
---
--- @param s  string  any bytes
--- @return string    twice as many digits, 0-9 and a-f
--- @raise            `s` is not a string
--- @usage assert(require("codec").hex.encode("\1\255") == "01ff")
function codec.hex.encode(s)
    if type(s) ~= "string" then check.type("codec.hex.encode(s)", "s", s, "string") end
    local len = #s
    local from, to = cast(bytes, s), room(len * 2)
    for i = 0, len - 1 do
        local b = from[i]
        to[2 * i], to[2 * i + 1] = HEX[rshift(b, 4)], HEX[band(b, 15)]
    end
    return ffi_string(to, len * 2)
end

--- Decodes hexadecimal digits of either case.
---
--- @param s  string  the digits
--- @return string    the bytes
--- @return nil, err  PARSE  a byte that is no digit, an odd number of digits
--- @raise            `s` is not a string
--- @usage assert(require("codec").hex.decode("01FF") == "\1\255")
function codec.hex.decode(s)
    if type(s) ~= "string" then check.type("codec.hex.decode(s)", "s", s, "string") end
    local from, len = cast(bytes, s), #s
    local to, wrong = room(len), 0
    for i = 0, len - 2, 2 do
        local a, b = hex_digits[from[i]], hex_digits[from[i + 1]]
        wrong = bor(wrong, a, b)
        to[i / 2] = bor(lshift(a, 4), b)
    end
    if band(wrong, 128) ~= 0 or (len % 2 == 1 and hex_digits[from[len - 1]] == NO_DIGIT) then
        return malformed("hex", "not a hexadecimal digit", first_bad(from, len, hex_digits))
    end
    if len % 2 == 1 then return malformed("hex", "half a byte", len) end
    return ffi_string(to, len / 2)
end

-- --- URLs and forms -----------------------------------------------------------------------------

-- What need not be escaped anywhere in a URL (RFC 3986, 2.3).
local unreserved = ffi.new("uint8_t[256]")
for i = 0, 255 do
    unreserved[i] = find(char(i), "^[%w%-._~]$") and 1 or 0
end
local UPPER_HEX = ffi.new("uint8_t[16]", { byte("0123456789ABCDEF", 1, -1) })

-- With `plus`, a space becomes "+", as in a form.
local function escape(s, plus)
    local from, len = cast(bytes, s), #s
    local i = 0
    while i < len and unreserved[from[i]] == 1 do i = i + 1 end
    if i == len then return s end
    local to, at = room(len * 3), i
    ffi.copy(to, from, i)
    for k = i, len - 1 do
        local b = from[k]
        if unreserved[b] == 1 then
            to[at] = b
            at = at + 1
        elseif plus and b == 32 then
            to[at] = 43
            at = at + 1
        else
            to[at], to[at + 1], to[at + 2] = 37, UPPER_HEX[rshift(b, 4)], UPPER_HEX[band(b, 15)]
            at = at + 3
        end
    end
    return ffi_string(to, at)
end

local function unescape(s, plus)
    if not find(s, "%", 1, true) and not (plus and find(s, "+", 1, true)) then return s end
    local from, len = cast(bytes, s), #s
    local to, at, i = room(len), 0, 0
    while i < len do
        local b = from[i]
        if b == 37 and i + 2 < len then
            local high, low = hex_digits[from[i + 1]], hex_digits[from[i + 2]]
            if bor(high, low) < 16 then
                b = bor(lshift(high, 4), low)
                i = i + 2
            end
        elseif plus and b == 43 then
            b = 32
        end
        to[at] = b
        at, i = at + 1, i + 1
    end
    return ffi_string(to, at)
end

--- Escapes a text so that it can stand anywhere in a URL: everything but letters, digits and `-._~`
--- becomes %XX.
---
--- @param s  string  any bytes
--- @return string    the escaped text
--- @raise            `s` is not a string
--- @usage assert(require("codec").escapeUri("a b/c") == "a%20b%2Fc")
function codec.escapeUri(s)
    if type(s) ~= "string" then check.type("codec.escapeUri(s)", "s", s, "string") end
    return escape(s, false)
end

--- Puts the bytes back that were escaped as %XX. A % that two hexadecimal digits do not follow
--- stays; so does +, which is a space only in forms (see codec.decodeArgs).
---
--- @param s  string  a part of a URL
--- @return string    its bytes
--- @raise            `s` is not a string
--- @usage assert(require("codec").unescapeUri("a%20b%2Fc") == "a b/c")
function codec.unescapeUri(s)
    if type(s) ~= "string" then check.type("codec.unescapeUri(s)", "s", s, "string") end
    return unescape(s, false)
end

local ENCODE_ARGS = "codec.encodeArgs(args)"

local function add_arg(list, name, value, kinds)
    local kind = type(value)
    if value == true then
        list[#list + 1] = name
    elseif kind == "string" then
        list[#list + 1] = name .. "=" .. escape(value, true)
    elseif kind == "number" then
        list[#list + 1] = name .. "=" .. escape(tostring(value), true)
    elseif value ~= false then
        check.type(ENCODE_ARGS, "value", value, kinds, 2)
    end
end

--- Makes a query, or the body of a form, of names and values: application/x-www-form-urlencoded.
--- Names are in the order of their bytes, so equal tables make equal texts.
---
--- @param args  table  name = string or number; a list of those is a name that repeats; true is a
---                     name
---                     without a value; false is left out
--- @return string      such as "page=2&q=a+b"
--- @raise              `args` is not a table, or a value in it is none of these
--- @usage local codec = require "codec"
--- assert(codec.encodeArgs{ q = "a b", page = 2, tag = { "x", "y" } } ==
--- "page=2&q=a+b&tag=x&tag=y")
function codec.encodeArgs(args)
    check.type(ENCODE_ARGS, "args", args, "table")
    local names, list = {}, {}
    for name in pairs(args) do
        if type(name) ~= "string" and type(name) ~= "number" then
            check.type(ENCODE_ARGS, "name", name, "string|number")
        end
        names[#names + 1] = name
    end
    table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
    for _, name in ipairs(names) do
        local value, escaped = args[name], escape(tostring(name), true)
        if type(value) == "table" then
            for i = 1, #value do add_arg(list, escaped, value[i], "string|number|boolean") end
        else
            add_arg(list, escaped, value, "string|number|boolean|table")
        end
    end
    return table.concat(list, "&")
end

-- Calls add(name, value) for each argument of `s`; false once there are more than `max`.
local function each_arg(s, max, add)
    local at, len, n, equals = 1, #s, 0, 0
    while at <= len do
        local stop = find(s, "&", at, true) or len + 1
        if stop > at then
            n = n + 1
            if n > max then return false end
            if equals < at then equals = find(s, "=", at, true) or len + 1 end
            if equals < stop then
                local value = unescape(sub(s, equals + 1, stop - 1), true)
                add(unescape(sub(s, at, equals - 1), true), value)
            else
                add(unescape(sub(s, at, stop - 1), true), "")
            end
        end
        at = stop + 1
    end
    return true
end

-- What comes again is a list.
local function collect_arg(args, name, value)
    local before = args[name]
    if before == nil then
        args[name] = value
    elseif type(before) == "table" then
        before[#before + 1] = value
    else
        args[name] = { before, value }
    end
end

--- Reads a query, or the body of a form.
---
--- @param s    string   such as "q=a+b&page=2"
--- @param max  integer  arguments at most. Default: 1000
--- @return table        name = string; a list of strings for a name that repeats; "" for a name
---                      without a value
--- @return data, err    TOO_LARGE  there are more than `max`; `data` has the first of them
--- @raise               `s` is not a string, or `max` no positive integer
--- @usage local args = require("codec").decodeArgs("q=a+b&tag=x&tag=y&flag")
--- assert(args.q == "a b" and args.tag[2] == "y" and args.flag == "")
function codec.decodeArgs(s, max)
    local signature = "codec.decodeArgs(s[, max])"
    if type(s) ~= "string" then check.type(signature, "s", s, "string") end
    if max ~= nil then check.integer(signature, "max", max, 1, 2 ^ 31) end
    max = max or MAX_ARGS
    local args = {}
    local all = each_arg(s, max, function(name, value) collect_arg(args, name, value) end)
    if all then return args end
    local message = "more than " .. max .. " arguments"
    return args, errors.new(TOO_LARGE, "arguments", { message = message })
end

-- Private: the arguments in order, for what keeps repeats in another way; and this way, for others.
codec._eachArg, codec._addArg = each_arg, collect_arg

-- --- HTML ---------------------------------------------------------------------------------------

local ENTITIES = {
    ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;",
}
local NAMED = { amp = "&", lt = "<", gt = ">", quot = '"', apos = "'", nbsp = "\194\160" }

--- Escapes a text so that it can stand in HTML, in quoted attributes too.
---
--- @param s  string  any text
--- @return string    with `& < > " '` escaped
--- @raise            `s` is not a string
--- @usage assert(require("codec").escapeHtml("<b> & 'c'") == "&lt;b&gt; &amp; &#39;c&#39;")
function codec.escapeHtml(s)
    if type(s) ~= "string" then check.type("codec.escapeHtml(s)", "s", s, "string") end
    if not find(s, "[&<>\"']") then return s end
    return (s:gsub("[&<>\"']", ENTITIES))
end

-- A code point as UTF-8; nil for what is none.
local function utf8_of(code)
    if code == 0 or code > 0x10ffff or (code >= 0xd800 and code <= 0xdfff) then return nil end
    if code < 0x80 then return char(code) end
    if code < 0x800 then return char(0xc0 + rshift(code, 6), 0x80 + band(code, 63)) end
    if code < 0x10000 then
        return char(0xe0 + rshift(code, 12), 0x80 + band(rshift(code, 6), 63),
            0x80 + band(code, 63))
    end
    return char(0xf0 + rshift(code, 18), 0x80 + band(rshift(code, 12), 63),
        0x80 + band(rshift(code, 6), 63), 0x80 + band(code, 63))
end

local function entity(name)
    local hex, decimal = name:match("^#[xX](%x+)$"), name:match("^#(%d+)$")
    if hex then return #hex <= 8 and utf8_of(tonumber(hex, 16)) or nil end
    if decimal then return #decimal <= 10 and utf8_of(tonumber(decimal)) or nil end
    return NAMED[name]
end

--- Undoes codec.escapeHtml. It knows `&amp; &lt; &gt; &quot; &apos; &nbsp;` and numbers, such as
--- `&#8364;` and `&#x20ac;`; everything else stays.
---
--- @param s  string  a text with entities
--- @return string    the text, in UTF-8
--- @raise            `s` is not a string
--- @usage assert(require("codec").unescapeHtml("&lt;b&gt; &#x20AC;") == "<b> €")
function codec.unescapeHtml(s)
    if type(s) ~= "string" then check.type("codec.unescapeHtml(s)", "s", s, "string") end
    if not find(s, "&", 1, true) then return s end
    return (s:gsub("&(#?%w+);", entity))
end

-- --- UTF-8 --------------------------------------------------------------------------------------

-- The length of the sequence at from[i], or 0. Surrogates, overlong forms and what is beyond
-- U+10FFFF are none (RFC 3629, 4).
local function sequence(from, i, len)
    local a = from[i]
    if a < 0xc2 or a > 0xf4 then return 0 end
    local size = a < 0xe0 and 2 or a < 0xf0 and 3 or 4
    if i + size > len then return 0 end
    local low = a == 0xe0 and 0xa0 or a == 0xf0 and 0x90 or 0x80
    local high = a == 0xed and 0x9f or a == 0xf4 and 0x8f or 0xbf
    if from[i + 1] < low or from[i + 1] > high then return 0 end
    for k = i + 2, i + size - 1 do
        if band(from[k], 0xc0) ~= 0x80 then return 0 end
    end
    return size
end

--- Whether a text is valid UTF-8.
---
--- @param s  string        any bytes
--- @return boolean         it is
--- @return integer         where it is not: the first byte of the sequence that is wrong
--- @raise                  `s` is not a string
--- @usage local valid, at = require("codec").utf8valid("ab\255")
--- assert(not valid and at == 3)
function codec.utf8valid(s)
    if type(s) ~= "string" then check.type("codec.utf8valid(s)", "s", s, "string") end
    local from, len = cast(bytes, s), #s
    local i = 0
    while i < len do
        if from[i] < 0x80 then
            i = i + 1
        else
            local size = sequence(from, i, len)
            if size == 0 then return false, i + 1 end
            i = i + size
        end
    end
    return true
end

-- Loaded when it is first asked for.
setmetatable(codec, { __index = function(_, name)
    if name ~= "msgpack" then return nil end
    codec.msgpack = require "links.msgpack"
    return codec.msgpack
end })

return codec
