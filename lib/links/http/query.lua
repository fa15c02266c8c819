--- The query of a request, and what else hangs on its address.
local ffi = require "ffi"
local check = require "links.check"
local codec = require "links.codec"
local binding = require "links.http.ffi"

local C, METHODS = binding.C, binding.METHODS
local ffi_string = ffi.string

local MAX_ARGS = 1000

local query, lazy = {}, {}

local out_len = ffi.new("int[1]")

-- Private: method and path as they came, for routers. Nothing is kept in the request: a fourth
-- and a fifth field would make its table grow.
function query:_target()
    local r = self._r
    if not r then return self.method, self.rawPath end
    local path = C.links_http_path(r, out_len)
    return METHODS[r.method], ffi_string(path, out_len[0])
end

-- The first value of each name; all of them, in order, are behind req:queryAll.
lazy.query = function(_, req)
    local first, all = {}, {}
    codec._eachArg(req.queryString, MAX_ARGS, function(name, value)
        if first[name] == nil then
            first[name], all[name] = value, { value }
        else
            table.insert(all[name], value)
        end
    end)
    rawset(req, "_queries", all)
    return first
end

-- Kept in the place of the route that knows them: another field would make the table grow.
lazy.params = function(_, req)
    local route = rawget(req, "_route")
    if not route then return {} end
    local params = route:_params(req)
    req._route = params
    return params, true
end

lazy.ctx = function() return {} end

--- All values of a name in the query, in order.
---
--- @param name  string  such as "tag" for "?tag=a&tag=b"
--- @return table        a list of strings; empty where there is none. Beyond 1000 arguments the
---                      query is not read
--- @raise               `name` is not a string
function query:queryAll(name)
    check.type("req:queryAll(name)", "name", name, "string")
    local _ = self.query
    local values = {}
    for i, value in ipairs(rawget(self, "_queries")[name] or {}) do values[i] = value end
    return values
end

return { request = query, lazy = lazy }
