--- Errors as values: what the world does wrong is returned as `nil, err`.
---
--- `err` is a table with `code` (integer), `name` (a word such as "ETIMEDOUT": test that) and
--- `message`, and where they are known `syscall`, `path`, `address`, `port`, `cause` and `partial`.
--- It reads well as a string, in `assert` too.
local ffi = require "ffi"
local core = require "links.core"

ffi.cdef [[
const char *links_err_name(int code);
const char *links_err_message(int code);
]]
local C = ffi.C

local errors = {}

local DEADLINE, REFUSED = -20016, -20017
local ETIMEDOUT, ECANCELED

local Error = {}
Error.__index = Error
Error.__name = "error"

local function place(err)
    local address = err.address or err.path
    if address and err.port then
        if address:find(":", 1, true) then address = "[" .. address .. "]" end
        address = address .. ":" .. err.port
    end
    if err.syscall and address then return " (" .. err.syscall .. " " .. address .. ")" end
    if err.syscall or address then return " (" .. (err.syscall or address) .. ")" end
    return ""
end

function Error.__tostring(err)
    return err.name .. ": " .. err.message .. place(err)
end

function Error.__concat(a, b)
    return tostring(a) .. tostring(b)
end

-- Name and message by code: an end of file is an error of each connection. Of codes that nobody
-- knows there are too many to keep.
local words = {}

local function words_of(code)
    local found = {
        name = ffi.string(C.links_err_name(code)), message = ffi.string(C.links_err_message(code)),
    }
    if found.name ~= "EUNKNOWN" then words[code] = found end
    return found
end

--- Makes an error of a code as C returns it.
---
--- @param code     integer  the code, of either sign: an errno, or one of links' own
--- @param syscall  string   what was being done, such as "connect". Default: nil
--- @param extra    table    further fields: address, port, cause, ... Default: nil
--- @return table            the error
--- @usage local err = require("links.errors").new(110, "connect")
--- assert(err.name == "ETIMEDOUT" and err.code == 110)
function errors.new(code, syscall, extra)
    if code == REFUSED then core.raiseRefusal() end
    local number = code < 0 and -code or code
    local deadline = number == -DEADLINE
    if deadline then number = ETIMEDOUT end
    local known = words[number] or words_of(number)
    local err = setmetatable({
        code = number, name = known.name, message = known.message, syscall = syscall,
    }, Error)
    if extra then
        for k, v in pairs(extra) do err[k] = v end
    end
    if deadline then
        err.deadline, err.message = true, words_of(DEADLINE).message
    end
    if number == ECANCELED then
        -- The reason that the canceller gave.
        local me = core.current()
        local reason = me and core.env(me).reason
        if reason then err.cause = reason.cause end
    end
    return err
end

-- Private: an error that has come as a plain table from another process, as one again.
function errors.revive(value)
    if type(value) == "table" and type(value.code) == "number" and value.name and value.message then
        return setmetatable(value, Error)
    end
    return value
end

--- Whether a value is an error of links.
---
--- @param value  any      what to look at
--- @return boolean        it was made by links.errors
--- @usage assert(not require("links.errors").is("a string"))
function errors.is(value)
    return getmetatable(value) == Error
end

--- The code of a name, without its sign; nil for a name nobody knows.
---
--- @param name  string   such as "ECANCELED"
--- @return integer       the code
--- @usage assert(require("links.errors").code("EOF") == 20001)
function errors.code(name)
    return errors.codes[name]
end

-- The codes by name: the system's own, which differ between systems, and those of links.
errors.codes = {}
for code = 1, 140 do
    local name = ffi.string(C.links_err_name(code))
    if name ~= "EUNKNOWN" then errors.codes[name] = code end
end
for _, range in ipairs {
    { 20001, 20015 }, { 21001, 21011 }, { 22001, 22007 }, { 23001, 23004 }, { 25001, 25003 },
} do
    for code = range[1], range[2] do
        errors.codes[ffi.string(C.links_err_name(code))] = code
    end
end
ETIMEDOUT, ECANCELED = errors.codes.ETIMEDOUT, errors.codes.ECANCELED

return errors
