-- What a handler has its request's line in the access log say.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"

local C = ffi.C

local methods, access = {}, nil

--- Has the line of this request in the access log say something: times of databases and other
--- servers, who the user is. JSON has it as a member, other formats as $note.NAME.
---
--- @param name   string         1 to 64 letters, digits, - and _
--- @param value  string|number  of several of a name, the last
--- @return true
--- @return nil, err             FULL    the notes of a request are 2048 bytes at most
---                              CLOSED  the request is over
--- @raise                       an argument of another type
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function(req)
---     req:note("db", 1.5)
---     return "hello"
--- end, { accessLog = { format = "$url $note.db", to = function() end } }))
--- server:close()
function methods:note(name, value)
    local signature = "req:note(name, value)"
    check.type(signature, "name", name, "string")
    check.type(signature, "value", value, "string|number")
    if #name > 64 or not name:find("^[%w_-]+$") then
        error(signature .. " name must be 1 to 64 letters, digits, - and _", 2)
    end
    local is_number = type(value) == "number" and value > -math.huge and value < math.huge
    local text = tostring(value)
    text = text:gsub("%z", " ")
    local r = self._r
    if not r then return true end -- of router:call
    if C.links_http_is_live(self._h, self._key) == 0 then
        return nil, errors.new(errors.code("CLOSED"), "http note")
    end
    access = access or require "links.log.access" -- declares links_http_note
    local rc = C.links_http_note(r, name, #name, text, #text, is_number and 1 or 0)
    if rc == 0 then return true end
    return nil, errors.new(rc, "http note")
end

return { request = methods }
