-- What can be kept in shared memory: kinds of values, how they are bytes there, and under which
-- names.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local serial = require "links.serial"

local new_error = errors.new
local TYPE_ERROR, EXISTS = errors.code("TYPE"), errors.code("EXISTS")

-- As in src/modules/shared/dict.h, and beyond: 2 are the lists of dictionaries.
local NUMBER, STRING, TABLE, INT64, UINT64, TRUE, FALSE = 1, 3, 4, 5, 6, 7, 8

local int64, uint64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
local int64_box, uint64_box = ffi.typeof("int64_t[1]"), ffi.typeof("uint64_t[1]")
local int64_ptr, uint64_ptr = ffi.typeof("const int64_t *"), ffi.typeof("const uint64_t *")
local istype, cast, ffi_string = ffi.istype, ffi.cast, ffi.string

-- What is no simple value: its kind and a string. nil and an error for what cannot be kept.
local function encode(value, what)
    if type(value) == "cdata" then
        if istype(int64, value) then return INT64, ffi_string(int64_box(value), 8) end
        if istype(uint64, value) then return UINT64, ffi_string(uint64_box(value), 8) end
    elseif type(value) == "table" or type(value) == "userdata" then
        local ok, bytes = serial.encode(value)
        if ok then return TABLE, bytes end
        return nil, new_error(TYPE_ERROR, what, { message = tostring(bytes):gsub("^.-:%d+: ", "") })
    end
    return nil, new_error(TYPE_ERROR, what, { message = "a " .. type(value) .. " cannot be kept" })
end

-- Any value but nil: its kind, a string and a number, one of which it is. nil and an error.
local function split(value, what)
    local kind = type(value)
    if kind == "string" then return STRING, value, 0 end
    if kind == "number" then return NUMBER, "", value end
    if kind == "boolean" then return value and TRUE or FALSE, "", 0 end
    local code, bytes = encode(value, what)
    return code, bytes, 0
end

local function decode(kind, handle)
    if kind == NUMBER then return handle.number end
    if kind == STRING then return ffi_string(handle.data, handle.len) end
    if kind == TRUE then return true end
    if kind == FALSE then return false end
    if kind == TABLE then return serial.decode(ffi_string(handle.data, handle.len)) end
    if kind == INT64 then return cast(int64_ptr, handle.data)[0] end
    return cast(uint64_ptr, handle.data)[0]
end

local function check_name(signature, name)
    check.type(signature, "name", name, "string", 2)
    if not name:find("^[%w._-]+$") or #name > 64 then
        error(signature .. ' name must be 1 to 64 letters, digits, ".", "_" and "-", not "'
            .. name:sub(1, 80) .. '"', 3)
    end
end

-- The error where a name is that of something with so many bytes, or with another `evict`.
local function taken(what, path, there, size)
    local message = what .. " exists with another evict"
    if there ~= size then
        message = ("%s exists with %d bytes, not %d"):format(what, there, size)
    end
    return new_error(EXISTS, "open", { path = path, message = message })
end

return {
    NUMBER = NUMBER, STRING = STRING, TRUE = TRUE, FALSE = FALSE,
    encode = encode, split = split, decode = decode, check_name = check_name, taken = taken,
}
