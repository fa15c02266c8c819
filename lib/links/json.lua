--- JSON: Lua values as text, and back, without loss.
---
--- It behaves as lua-cjson does, and tells more apart: an array that was decoded is an array when
--- it is encoded again, an empty one too; null is `json.null`, which is also lua-cjson's; integers
--- beyond 2^53 keep all their digits, and every number is read as what it was when it was written.
---
--- What becomes an array: a table that `json.array` or json.decode has marked; and one that has
--- only the keys 1 to n, where up to half of them may be missing. Any other is an object.
--- Strings are taken as they are; what is not UTF-8 stays so (see codec.utf8valid).
local ffi = require "ffi"
local new_table = require "table.new"
local check = require "links.check"
local core = require "links.core"
local errors = require "links.errors"
local null = require "links.null"

ffi.cdef [[
typedef struct links_json_node {
    int32_t kind;
    uint32_t len;
    union {
        double number;
        const char *text;
    };
} links_json_node;
typedef struct links_json {
    const links_json_node *nodes;
    const char *message;
    double at;
} links_json;
links_json *links_json_new(void);
void links_json_free(links_json *json);
int links_json_parse(links_json *json, const char *text, size_t len, int max_depth,
                               int flags);
typedef struct links_json_text {
    const char *data;
} links_json_text;
int links_json_write(links_json_text *out);
void links_json_drop(links_json_text *out);
]]
local C = ffi.C

local json = {}

local NULL, FALSE, TRUE, NUMBER, INTEGER, DECIMAL, STRING, ARRAY = 0, 1, 2, 3, 4, 5, 6, 7
local COMMENTS = 1
local DEFAULT_DEPTH, MAX_DEPTH = 128, 1000
local TYPE, TOO_LARGE = errors.code("TYPE"), errors.code("TOO_LARGE")

local ffi_string, istype = ffi.string, ffi.istype
local format, rawget, next, type, tonumber = string.format, rawget, next, type, tonumber
local getmetatable, setmetatable = getmetatable, setmetatable
local int64, uint64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")

--- The metatable of arrays, to be compared with.
json.arrayMeta = { __name = "json array" }

local array_meta = json.arrayMeta
local object_meta, raw_meta = { __name = "json object" }, { __name = "json text" }

--- JSON's null, which is not nil: a table can hold it. It prints as "null".
json.null = null

-- --- encoding -----------------------------------------------------------------------------------

-- The walk is in C (src/lua/json_encode.c); here is what it cannot do.

-- The flags of its options.
local EMPTY_IS_ARRAY, NAN_IS_ERROR, INT64_IS_STRING, SORT_KEYS = 1, 2, 4, 8

-- A number too large or too small to be written out, with the fewest digits that are read as it.
local function digits_of(n)
    for precision = 14, 16 do
        local s = format("%." .. precision .. "g", n)
        if tonumber(s) == n then return s end
    end
    return format("%.17g", n)
end

-- The text of a number or a cdata; nil and a message for what has none.
local function odd_text(value, int64_is_string)
    if type(value) == "number" then return digits_of(value) end
    if value == nil then return "null" end
    if not istype(int64, value) and not istype(uint64, value) then
        return nil, "cannot encode a value of the type " .. tostring(ffi.typeof(value))
    end
    local digits = tostring(value):gsub("U?LL$", "")
    return int64_is_string and '"' .. digits .. '"' or digits
end

local function by_text(a, b) return tostring(a) < tostring(b) end

local function sorted_keys(t)
    local keys, n = {}, 0
    for key in next, t do
        -- Cannot be sorted, and is refused.
        if type(key) ~= "string" and type(key) ~= "number" then return { key } end
        n = n + 1
        keys[n] = key
    end
    table.sort(keys, by_text)
    return keys
end

local held, place, write =
    core.jsonEncoder(array_meta, object_meta, raw_meta, odd_text, sorted_keys)
local written = ffi.cast("links_json_text *", held)

-- private: where the text of json._write is, until its next call; json.encode leaves it alone.
json._text = written

-- private: writes what a busy server answers, without a string made of it and without leaving
-- compiled code. The length of the text; -1 where json.encode is to be asked, which knows why.
function json._write(value)
    place[1] = value
    local len = C.links_json_write(written)
    -- LuaJIT leaves a store out where another follows before a guard, and takes no call for one.
    if len < 0 then return -1 end
    return len
end

-- private: what json._write has written, as a string, for texts that are long: their memory goes.
function json._take(len)
    local text = ffi_string(written.data, len)
    C.links_json_drop(written)
    return text
end

local ENCODE = "json.encode(value[, options])"
local ENCODE_OPTIONS = {
    pretty = { default = false, type = "boolean|string" },
    sortKeys = { default = false, type = "boolean" },
    emptyTable = { default = "object", type = "string" },
    nan = { default = "null", type = "string" },
    int64 = { default = "number", type = "string" },
    maxDepth = { default = DEFAULT_DEPTH, type = "integer", min = 1, max = MAX_DEPTH },
}

local function one_of(signature, options, name, ...)
    for i = 1, select("#", ...) do
        if options[name] == select(i, ...) then return end
    end
    local choice = table.concat({ ... }, '" or "')
    error(signature .. " options." .. name .. ' must be "' .. choice .. '"', 4)
end

-- The flags, the most levels and the indentation, as `write` takes them.
local function encode_options(options)
    options = check.options(ENCODE, options, ENCODE_OPTIONS, 2)
    one_of(ENCODE, options, "emptyTable", "object", "array")
    one_of(ENCODE, options, "nan", "null", "error")
    one_of(ENCODE, options, "int64", "number", "string")
    local indent = options.pretty
    if indent == true then indent = "  " end
    if indent and indent:find("[^ \t]") then
        error(ENCODE .. " options.pretty must be true, or spaces and tabs", 3)
    end
    local flags = (options.emptyTable == "array" and EMPTY_IS_ARRAY or 0)
        + (options.nan == "error" and NAN_IS_ERROR or 0)
        + (options.int64 == "string" and INT64_IS_STRING or 0)
        + (options.sortKeys and SORT_KEYS or 0)
    return flags, options.maxDepth, indent or nil
end

--- Makes a text of a value.
---
--- @param value    any    a string, number, boolean, table, nil, json.null, or a 64-bit integer of
---                        the FFI
--- @param options  table  pretty      false     line breaks; true for two spaces a level, or the
---                                              spaces or tabs to use
---                        sortKeys    false     members in the order of their names
---                        emptyTable  "object"  what {} is, where nothing marks it; or "array"
---                        nan         "null"    what becomes of a number that JSON does not have;
---                                              or
---                                              "error"
---                        int64       "number"  how 64-bit integers are written; or "string"
---                        maxDepth    128       tables within tables; up to 1000
--- @return string         the text
--- @return nil, err       TYPE  a value that JSON does not have, such as a function, a sparse
---                              array,
---                              a table that is in itself; err.message says where
---                        TOO_LARGE  the text would be longer than 2 GiB
--- @raise                 an option of another type, or one that nobody knows
--- @usage local json = require "json"
--- assert(json.encode({ 1, "a", json.null, {} }) == '[1,"a",null,{}]')
--- assert(json.encode({ b = 1, a = json.array {} }, { sortKeys = true }) == '{"a":[],"b":1}')
function json.encode(value, options)
    local text, fault, too_large
    if options == nil then
        text, fault, too_large = write(value, 0, DEFAULT_DEPTH)
    else
        text, fault, too_large = write(value, encode_options(options))
    end
    if text then return text end
    return nil, errors.new(too_large and TOO_LARGE or TYPE, "json", { message = fault })
end

-- --- decoding -----------------------------------------------------------------------------------

local reader = ffi.gc(C.links_json_new(), C.links_json_free)

local function integer_of(s, how)
    if how == "number" then return tonumber(s) end
    local negative = s:byte() == 45
    local digits = negative and s:sub(2) or s
    -- 2^53: one more is the first that a number cannot hold.
    if #digits < 16 or (#digits == 16 and digits <= "9007199254740992") then return tonumber(s) end
    if how == "string" then return s end
    -- Texts of equal length compare as their numbers do.
    if #digits > 20 or (#digits == 20 and digits > "18446744073709551615") then
        return tonumber(s)
    end
    local value = uint64(0)
    for i = 1, #digits do value = value * 10 + (digits:byte(i) - 48) end
    local fits = #digits < 19 or (#digits == 19 and digits <= "9223372036854775807")
    if negative then
        if fits then return -ffi.cast(int64, value) end
        if digits == "9223372036854775808" then return ffi.cast(int64, value) end
        return tonumber(s)
    end
    return fits and ffi.cast(int64, value) or value
end

local function new_container(kind, len)
    if kind == ARRAY then return setmetatable(new_table(len, 0), array_meta) end
    -- An empty object must not become an array where empty tables are arrays.
    if len == 0 then return setmetatable({}, object_meta) end
    return new_table(0, len)
end

-- Makes the value of the nodes; nil and a name where that name is twice in an object, and it may
-- not.
local function build(nodes, options)
    local null_value, unique, how = options.null_value, options.unique, options.int64
    local stack, top = nil, 0
    -- The container that is being filled: how much is missing, and whether it is an object.
    local root, t, left, index, is_object = nil, nil, 0, 0, false
    local i = 0
    while true do
        local key
        if is_object then
            local name = nodes[i]
            key = ffi_string(name.text, name.len)
            i = i + 1
            if unique and rawget(t, key) ~= nil then return nil, key end
        end
        local node = nodes[i]
        local kind = node.kind
        local value, len = nil, 0
        i = i + 1
        if kind == STRING then
            value = ffi_string(node.text, node.len)
        elseif kind == NUMBER then
            value = node.number
        elseif kind >= ARRAY then
            len = node.len
            value = new_container(kind, len)
        elseif kind == TRUE then
            value = true
        elseif kind == FALSE then
            value = false
        elseif kind == NULL then
            value = null_value
        elseif kind == INTEGER then
            value = integer_of(ffi_string(node.text, node.len), how)
        elseif kind == DECIMAL then
            value = tonumber(ffi_string(node.text, node.len))
        end
        if t then
            left = left - 1
            if is_object then
                t[key] = value
            else
                index = index + 1
                t[index] = value
            end
        else
            root = value
        end
        if len > 0 then
            if t then
                if not stack then stack = {} end
                stack[top + 1], stack[top + 2] = t, left
                stack[top + 3], stack[top + 4] = index, is_object
                top = top + 4
            end
            t, left, index, is_object = value, len, 0, kind ~= ARRAY
        else
            while left == 0 do
                if top == 0 then return root end
                top = top - 4
                t, left = stack[top + 1], stack[top + 2]
                index, is_object = stack[top + 3], stack[top + 4]
            end
        end
    end
end

local DECODE = "json.decode(s[, options])"
local DECODE_OPTIONS = {
    null = { type = "string|userdata" },
    int64 = { default = "auto", type = "string" },
    maxDepth = { default = DEFAULT_DEPTH, type = "integer", min = 1, max = MAX_DEPTH },
    duplicate = { default = "last", type = "string" },
    comments = { default = false, type = "boolean" },
}
local DECODE_DEFAULTS = {
    null_value = null, int64 = "auto", maxDepth = DEFAULT_DEPTH, unique = false, flags = 0,
}

local function decode_options(options, signature)
    if options == nil then return DECODE_DEFAULTS end
    check.type(signature, "options", options, "table", 2)
    if options.null ~= nil and options.null ~= null and options.null ~= "nil" then
        error(signature .. ' options.null must be json.null or "nil"', 3)
    end
    local known = check.options(signature, options, DECODE_OPTIONS, 2)
    one_of(signature, known, "int64", "auto", "number", "string")
    one_of(signature, known, "duplicate", "last", "error")
    known.unique = known.duplicate == "error"
    known.flags = known.comments and COMMENTS or 0
    if known.null ~= "nil" then known.null_value = null end
    return known
end

local function decode(s, options)
    local n = C.links_json_parse(reader, s, #s, options.maxDepth, options.flags)
    if n < 0 then
        local message = ffi_string(reader.message) .. format(" at byte %d", reader.at + 1)
        return nil, errors.new(n, "json", { message = message })
    end
    local value, twice = build(reader.nodes, options)
    if twice then
        local message = format("the name %q is twice in an object", twice:sub(1, 60))
        return nil, errors.new(errors.code("PARSE"), "json", { message = message })
    end
    return value
end

--- Reads a text.
---
--- Arrays carry the mark of json.array, and empty objects that of json.object, so that they are
--- encoded as what they were.
---
--- @param s        string  the text, and nothing else but white space
--- @param options  table   null       json.null  what null becomes; "nil" leaves it out
---                         int64      "auto"     integers beyond 2^53: 64-bit integers of the FFI
---                                               where they
---                                               fit, else numbers; "number": always numbers;
---                                               "string": their digits
---                         maxDepth   128        arrays and objects within each other; up to 1000
---                         duplicate  "last"     which member counts of several with one name; or
---                                               "error"
---                         comments   false      allow comments of C and C++
--- @return any             the value; nil for "null" with null = "nil"
--- @return nil, err        PARSE      it is not JSON; err.message says what, and at which byte
---                         TOO_LARGE  it is nested deeper than maxDepth, or 2 GiB
--- @raise                  `s` is not a string; an option of another type, or one that nobody knows
--- @usage local json = require "json"
--- local t = assert(json.decode('{"list": [1, 2, null], "none": []}'))
--- assert(t.list[2] == 2 and t.list[3] == json.null)
--- assert(json.encode(t.none) == "[]")
function json.decode(s, options)
    if type(s) ~= "string" then check.type(DECODE, "s", s, "string") end
    return decode(s, decode_options(options, DECODE))
end

-- --- marks --------------------------------------------------------------------------------------

--- Marks a table: it is encoded as an array, even when it is empty.
---
--- @param t  table  with the keys 1 to n. Default: a new one
--- @return table    `t`
--- @raise           `t` is not a table
--- @usage local json = require "json"
--- assert(json.encode(json.array {}) == "[]")
function json.array(t)
    check.type("json.array([t])", "t", t, "table|nil")
    return setmetatable(t or {}, array_meta)
end

--- Marks a table: it is encoded as an object, even where its keys are 1 to n.
---
--- @param t  table  any. Default: a new one
--- @return table    `t`
--- @raise           `t` is not a table
--- @usage local json = require "json"
--- assert(json.encode(json.object { "a" }) == '{"1":"a"}')
function json.object(t)
    check.type("json.object([t])", "t", t, "table|nil")
    return setmetatable(t or {}, object_meta)
end

--- Whether a value would be encoded as an array.
---
--- @param value  any
--- @return boolean   it is a table with the mark of json.array, or without a mark and with the keys
---                   1 to n only
--- @usage local json = require "json"
--- assert(json.isArray { 1, 2 } and json.isArray(json.array()) and not json.isArray {})
function json.isArray(value)
    if type(value) ~= "table" then return false end
    local meta = getmetatable(value)
    if meta == array_meta then return true end
    return meta ~= object_meta and meta ~= raw_meta and (core.jsonLength(value) or 0) > 0
end

--- Makes a value that is written as it stands: JSON that has been encoded before. Nobody checks it.
---
--- @param s  string  the JSON
--- @return table     a value for json.encode
--- @raise            `s` is not a string
--- @usage local json = require "json"
--- assert(json.encode { data = json.raw '{"a":1}' } == '{"data":{"a":1}}')
function json.raw(s)
    check.type("json.raw(s)", "s", s, "string")
    return setmetatable({ s }, raw_meta)
end

-- --- lines --------------------------------------------------------------------------------------

local LINES = "json.lines(reader[, options])"

-- A function that returns the next piece of the text, whatever the reader is.
local function pieces_of(from)
    if type(from) == "string" then
        return function()
            local piece = from
            from = nil
            return piece
        end
    end
    if type(from) == "function" then return from end
    return function() return from:read() end
end

--- Goes through a text with a value on each line (NDJSON). Empty lines are passed over.
---
--- @param from     string|function|table  the text; or a function that returns the next piece of it
---                                        and nil at its
---                                        end; or an object with such a method `read`, such as a
---                                        request
--- @param options  table                  as json.decode; and maxLine, the bytes of a line at most.
---                                        Default: 1048576
--- @return function                       an iterator: number of the line, value, err. A line that
---                                        is not JSON has
---                                        a nil value and an err, and the next one follows; after
---                                        an error of the
---                                        reader, or a line that is too long, nothing follows
--- @raise                                 an argument of another type, an option that nobody knows
--- @usage local json = require "json"
--- local sum = 0
--- for _, value, err in json.lines('{"n":1}\n{"n":2}\n') do
---     sum = sum + assert(value, err).n
--- end
--- assert(sum == 3)
function json.lines(from, options)
    check.type(LINES, "from", from, "string|function|table")
    local max_line, rest_options = 1048576, nil
    if options ~= nil then
        check.type(LINES, "options", options, "table")
        rest_options = {}
        for name, value in pairs(options) do rest_options[name] = value end
        if options.maxLine ~= nil then
            check.integer(LINES, "options.maxLine", options.maxLine, 1, 2 ^ 31 - 1)
            max_line, rest_options.maxLine = options.maxLine, nil
        end
    end
    local known = decode_options(rest_options, LINES)
    local next_piece = pieces_of(from)
    local pending, at, number, ended = "", 1, 0, false

    -- The next line without its end, or nil, err.
    local function next_line()
        while true do
            local stop = pending:find("\n", at, true)
            if stop and stop - at <= max_line then
                local line = pending:sub(at, stop - 1)
                at = stop + 1
                return line
            end
            if stop or #pending - at >= max_line then
                ended = true
                local message = "a line is longer than " .. max_line .. " bytes"
                return nil, errors.new(TOO_LARGE, "json", { message = message })
            end
            local piece, err = next_piece()
            if not piece then
                ended = true
                if err then return nil, err end
                return pending:sub(at)
            end
            pending, at = pending:sub(at) .. piece, 1
        end
    end

    return function()
        while not ended do
            local line, err = next_line()
            number = number + 1
            if err then return number, nil, err end
            if line:find("%S") then return number, decode(line, known) end
        end
    end
end

return json
