-- The protocol of Redis, which C reads and writes (src/lua/redis.h), and what is left of it to Lua:
-- the server's errors, 64-bit integers, and saying which argument cannot be sent.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"

local encode = core.redisCommand

local codec = { MORE = 0, REPLY = 1, ERROR = 2, PUSH = 3, read = core.redisRead, encode = encode }

local INT64 = { auto = 0, number = 1, string = 2 }
local INTEGERS = { [tonumber(ffi.typeof("int64_t"))] = true,
    [tonumber(ffi.typeof("uint64_t"))] = true }

-- What the server said is wrong: its first word is the name, if it is one.
function codec.failure(text)
    local name, message = text:match("^(%u[%u%d_]*) (.+)$")
    return errors.new(0, nil, { name = name or "ERR", message = message or text, module = "redis" })
end

local function to_int64(text)
    local negative, n = text:byte() == 45, 0LL
    for digit in text:gmatch("%d") do n = n * 10 - tonumber(digit) end -- below 0 there is one more
    return negative and n or -n
end

-- Reads replies, by codec.read; `o` has the limits (lib/links/redis/options.lua).
function codec.reader(o)
    return core.redisReader(o.maxReplySize, o.maxReplyElements, o.maxReplyDepth, INT64[o.int64],
        codec.failure, to_int64, o.hashReplies == "list")
end

local function text_of(value)
    if type(value) ~= "cdata" or not INTEGERS[tonumber(ffi.typeof(value))] then return nil end
    return (tostring(value):gsub("U?LL$", ""))
end

-- Raises what the program got wrong, at its own line: a command has come by several functions.
function codec.raise(text)
    local level = 2
    local info = debug.getinfo(level, "S")
    while info and (info.what == "C" or info.source:sub(1, 7) == "=links/") do
        level = level + 1
        info = debug.getinfo(level, "S")
    end
    error(text, level)
end

local PIECE = 1000 -- of what is put on the stack at once: a list may be longer than that can be

-- The bytes of a command, the first `n` of a list. Integers of 64 bits are sent as what they are;
-- what else is no string and no number is raised.
function codec.encode_list(list, n)
    for i = 1, n do
        local value = list[i]
        if type(value) ~= "string" and type(value) ~= "number" then
            list[i] = text_of(value)
            if not list[i] then
                local is = value == nil and "nothing" or "a " .. type(value)
                codec.raise(("redis: argument %d of %s must be [string|number], not %s"):format(
                    i - 1, tostring(list[1]), is))
            end
        end
    end
    if n <= PIECE then return (encode(unpack(list, 1, n))) end
    local parts = { "*" .. n .. "\r\n" }
    for i = 1, n, PIECE do
        local bytes = encode(unpack(list, i, math.min(i + PIECE - 1, n)))
        parts[#parts + 1] = bytes:sub(bytes:find("\n", 1, true) + 1)
    end
    return table.concat(parts)
end

-- The same of arguments.
function codec.encode_any(...)
    return codec.encode_list({ ... }, select("#", ...))
end

return codec
