-- Fields of a line: Lua values into C's line, with what is secret left out. A line is bounded, and
-- so is the walk through a table, which may be in itself.
local ffi = require "ffi"
local check = require "links.check"
local null = require "links.null"
local binding = require "links.log.ffi"

local C = binding.C
local type, tostring, pcall, next, getmetatable = type, tostring, pcall, next, getmetatable
local istype = ffi.istype
local int64, uint64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")

local DEPTH_MAX, ITEMS_MAX = 8, 1000
local OBJECT, OBJECT_END, ARRAY, ARRAY_END = 123, 125, 91, 93
local REDACTED = "[redacted]"

local encode = {}

-- --- redaction ----------------------------------------------------------------------------------

local DEFAULT = {
    "password", "passwd", "passphrase", "secret", "token", "access_token", "refresh_token",
    "id_token", "api_key", "x-api-key", "private_key", "client_secret", "authorization",
    "proxy-authorization", "cookie", "set-cookie",
}
local NAMES_MAX = 1024

-- "Set-Cookie", "set_cookie" and "setCookie" are one name.
local function plain(name)
    return (name:lower():gsub("[-_ ]", ""))
end

-- The names to redact, as a table that answers for any name, and remembers what it has answered.
function encode.redaction(list)
    if not list then return nil end
    local secret, known = {}, 0
    for _, name in ipairs(list) do secret[plain(name)] = true end
    if next(secret) == nil then return nil end
    return setmetatable({}, { __index = function(names, name)
        local is = type(name) == "string" and secret[plain(name)] or false
        if known == NAMES_MAX then
            for each in next, names do names[each] = nil end
            known = 0
        end
        known = known + 1
        names[name] = is
        return is
    end })
end

encode.DEFAULT_REDACTION = DEFAULT

-- --- values -------------------------------------------------------------------------------------

-- What tostring says, whatever __tostring does.
local function text_of(value)
    local ok, text = pcall(tostring, value)
    return ok and type(text) == "string" and text or "(a " .. type(value) .. ")"
end

local put_value

local function put_name(line, key)
    if type(key) ~= "string" then key = text_of(key) end
    C.links_log_key(line, key, #key)
end

-- Whether it is an array by its keys: 1 to n.
local function is_array(t)
    local n = #t
    if n == 0 then return false end
    local key = next(t, n)
    return key == nil
end

local function put_items(line, t, secret, depth, path)
    local n = 0
    if is_array(t) then
        C.links_log_open(line, ARRAY)
        for i = 1, #t do
            n = n + 1
            if n > ITEMS_MAX or line.cut ~= 0 then break end
            put_value(line, t[i], secret, depth, path)
        end
        C.links_log_close(line, ARRAY_END)
        return
    end
    C.links_log_open(line, OBJECT)
    for key, value in next, t do
        n = n + 1
        if n > ITEMS_MAX or line.cut ~= 0 then break end
        put_name(line, key)
        if secret and secret[key] then value = REDACTED end
        put_value(line, value, secret, depth, path)
    end
    C.links_log_close(line, OBJECT_END)
end

local function put_string(line, s)
    C.links_log_string(line, s, #s)
end

local function put_table(line, t, secret, depth, path)
    local meta = getmetatable(t)
    if type(meta) == "table" and meta.__tostring then return put_string(line, text_of(t)) end
    if path and path[t] then return put_string(line, "[circular]") end
    if depth >= DEPTH_MAX then return put_string(line, "[too deep]") end
    path = path or {}
    path[t] = true
    put_items(line, t, secret, depth + 1, path)
    path[t] = nil
end

local function put_other(line, value)
    if type(value) == "cdata" and (istype(int64, value) or istype(uint64, value)) then
        local digits = tostring(value):gsub("U?LL$", "")
        C.links_log_word(line, digits, #digits)
    elseif value == null or value == nil then
        C.links_log_word(line, "null", 4)
    else
        put_string(line, text_of(value))
    end
end

function put_value(line, value, secret, depth, path)
    local kind = type(value)
    if kind == "string" then
        C.links_log_string(line, value, #value)
    elseif kind == "number" then
        C.links_log_number(line, value)
    elseif value == true then
        C.links_log_word(line, "true", 4)
    elseif value == false then
        C.links_log_word(line, "false", 5)
    elseif kind == "table" then
        put_table(line, value, secret, depth, path)
    else
        put_other(line, value)
    end
end

-- Where code runs interpreted, finding these in C costs as much as calling them.
local field_string, field_number = C.links_log_field_string, C.links_log_field_number

-- A field at the line's first level.
function encode.field(line, key, value, secret)
    if type(key) ~= "string" then key = text_of(key) end
    if secret and secret[key] then value = REDACTED end
    local kind = type(value)
    if kind == "string" then
        field_string(line, key, #key, value, #value)
    elseif kind == "number" then
        field_number(line, key, #key, value)
    else
        C.links_log_field(line, key, #key)
        put_value(line, value, secret, 0)
    end
end

local put_field = encode.field

local function put_one(line, key, value, secret)
    local kind = type(value)
    if type(key) ~= "string" or secret and secret[key] then
        put_field(line, key, value, secret)
    elseif kind == "string" then
        field_string(line, key, #key, value, #value)
    elseif kind == "number" then
        field_number(line, key, #key, value)
    else
        put_field(line, key, value, secret)
    end
end

-- All fields of a table. The first ones without a loop, which in the loop of who logs would keep
-- that from being compiled.
function encode.fields(line, fields, secret)
    local key, value = next(fields)
    if key == nil then return end
    put_one(line, key, value, secret)
    key, value = next(fields, key)
    if key == nil then return end
    put_one(line, key, value, secret)
    key, value = next(fields, key)
    if key == nil then return end
    put_one(line, key, value, secret)
    key, value = next(fields, key)
    if key == nil then return end
    put_one(line, key, value, secret)
    for other, its in next, fields, key do put_one(line, other, its, secret) end
end

-- The fields as a piece that is kept and added to many lines.
function encode.piece(line, format, fields, secret)
    C.links_log_piece(line, format)
    encode.fields(line, fields, secret)
    return ffi.string(line.data, line.len)
end

-- --- messages -----------------------------------------------------------------------------------

encode.text_of = text_of

-- Whether a last argument is the line's fields, and not a value of the message.
local function are_fields(value)
    if type(value) ~= "table" then return false end
    local meta = getmetatable(value)
    return not (type(meta) == "table" and meta.__tostring)
end

encode.are_fields = are_fields

-- The message and the fields of a call with arguments.
function encode.arguments(message, ...)
    local n, fields = select("#", ...), nil
    if type(message) ~= "string" then message = text_of(message) end
    local last = n > 0 and select(n, ...)
    if are_fields(last) then
        fields, n = last, n - 1
    end
    if n == 0 then return message, fields end
    local values = { ... }
    for i = 1, n do
        if type(values[i]) == "table" or values[i] == nil or type(values[i]) == "boolean" then
            values[i] = text_of(values[i])
        end
    end
    local ok, text = pcall(string.format, message, unpack(values, 1, n))
    if ok then return text, fields end
    -- Logging never fails: what does not fit the message is put behind it.
    for i = 1, n do values[i] = text_of(values[i]) end
    return message .. " " .. table.concat(values, " ", 1, n), fields
end

-- Raises where it is no list of names.
function encode.check_redaction(signature, list, level)
    if type(list) ~= "table" then return end
    for i = 1, #list do
        check.type(signature, "options.redact[" .. i .. "]", list[i], "string", level + 1)
    end
end

return encode
