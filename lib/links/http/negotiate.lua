--- What the client sends, and what it would like to get (RFC 9110, 12.5.1).
local check = require "links.check"

local negotiate = {}

local SHORT = {
    json = "application/json", html = "text/html", text = "text/plain", xml = "application/xml",
    css = "text/css", js = "text/javascript", form = "application/x-www-form-urlencoded",
    multipart = "multipart/form-data", bin = "application/octet-stream", png = "image/png",
    jpeg = "image/jpeg", gif = "image/gif", webp = "image/webp", svg = "image/svg+xml",
}

local function full_type(signature, name)
    check.type(signature, "type", name, "string", 2)
    local full = name:find("/", 1, true) and name or SHORT[name]
    if not full then
        error(signature .. ' type "' .. name .. '" is no media type, and no short name of one', 3)
    end
    return full:lower()
end

-- The ranges of an Accept field: {type, subtype, q, how particular}.
local function ranges_of(accept)
    local ranges = {}
    for item in accept:lower():gmatch("[^,]+") do
        local kind, subtype, rest = item:match("^%s*([^%s/;]+)/([^%s/;]+)(.*)$")
        if kind then
            local q = rest:match(";%s*q=([%d.]+)")
            ranges[#ranges + 1] = {
                kind = kind, subtype = subtype, q = math.min(tonumber(q or 1) or 0, 1),
                rank = kind == "*" and 0 or subtype == "*" and 1 or 2,
            }
        end
        if #ranges == 64 then break end
    end
    return ranges
end

-- The most particular range that fits decides.
local function quality(ranges, full)
    local kind, subtype = full:match("^([^/]*)/([^;%s]*)")
    local q, rank = 0, -1
    for _, range in ipairs(ranges) do
        if range.rank > rank and (range.kind == "*" or range.kind == kind)
            and (range.subtype == "*" or range.subtype == subtype) then
            q, rank = range.q, range.rank
        end
    end
    return q
end

-- Which of the names is liked best, by an Accept field; of equals, the first.
local function best_of(accept, names, fulls)
    local ranges = accept and ranges_of(accept)
    local best, best_q = nil, 0
    for i, full in ipairs(fulls) do
        local q = ranges and quality(ranges, full) or ranges == nil and 1 or 0
        if q > best_q then best, best_q = names[i], q end
    end
    return best
end

--- Which of several types the client likes best, by its Accept field. Without that, the first.
---
--- @param ...  string  media types, or "json", "html", "text", "xml", "css", "js", "form",
---                     "multipart",
---                     "bin", "png", "jpeg", "gif", "webp", "svg"; the first of equals wins
--- @return string      one of them, as it was given; nil where the client takes none
--- @raise              a name that is no type
function negotiate:accepts(...)
    local signature = "req:accepts(type, ...)"
    local names, fulls = { ... }, {}
    for i = 1, select("#", ...) do fulls[i] = full_type(signature, names[i]) end
    return best_of(self:header("accept"), names, fulls)
end

--- Whether the body of the request is of a type, by its Content-Type.
---
--- @param ...  string  media types, also "text/*" and "*/*+json" (such as
---                     application/problem+json), or short
---                     names as for req:accepts
--- @return string      the first that fits, as it was given; nil where none does, or there is no
---                     Content-Type
--- @raise              a name that is no type
function negotiate:is(...)
    local signature = "req:is(type, ...)"
    local kind,
        subtype = (self:header("content-type") or ""):lower():match("^%s*([^%s/;]+)/([^%s;]+)")
    for i = 1, select("#", ...) do
        local name = select(i, ...)
        local want_kind, want = full_type(signature, name):match("^([^/]*)/(.*)$")
        if kind and (want_kind == "*" or want_kind == kind) then
            local suffix = want:match("^%*(%+.+)$")
            if want == "*" or want == subtype or suffix and subtype:sub(-#suffix) == suffix then
                return name
            end
        end
    end
    return nil
end

local function listed(tags, etag)
    etag = etag:gsub("^W/", "")
    if tags:find("^%s*%*%s*$") then return true end
    for tag in tags:gmatch('"[^"]*"') do
        if tag == etag then return true end
    end
    return false
end

--- Whether what the client has already is what it would get, so that 304 is the answer: by its
--- If-None-Match and the ETag that has been set on the response, or else by If-Modified-Since and
--- Last-Modified (RFC 9110, 13.1). For GET and HEAD only, and not where the client demands a new
--- copy (Cache-Control: no-cache).
---
--- @return boolean
--- @raise           the request is over
--- @usage local http = require "http"
--- local app = http.router()
--- app:get("/", function(req, res)
---     res:setHeader("ETag", '"1"')
---     if req:fresh() then return 304 end
---     return "hello"
--- end)
--- assert(app:call("GET", "/", { headers = { ["if-none-match"] = '"1"' } }) == 304)
function negotiate:fresh()
    if self.method ~= "GET" and self.method ~= "HEAD" then return false end
    if (self:header("cache-control") or ""):lower():find("no-cache", 1, true) then return false end
    local tags = self:header("if-none-match")
    if tags then
        local etag = self:_staged("ETag")
        return etag ~= nil and listed(tags, etag)
    end
    local since, modified = self:header("if-modified-since"), self:_staged("Last-Modified")
    if not since or not modified then return false end
    local date = require "links.date"
    local known, changed = date.parseHttp(since), date.parseHttp(modified)
    return known ~= nil and changed ~= nil and changed <= known
end

local response = {}

-- private: adds a name to Vary, unless it is there.
function response:_vary(name)
    local have = self:getHeader("vary")
    if type(have) == "table" then have = table.concat(have, ", ") end
    if not have then
        self:setHeader("Vary", name)
    elseif have ~= "*"
        and not (", " .. have:lower() .. ","):find(" " .. name:lower() .. ",", 1, true) then
        self:setHeader("Vary", have .. ", " .. name)
    end
end

--- Chooses the form of an answer by what the client likes best (RFC 9110, 12.5.1), sets its
--- Content-Type and Vary, and returns what the handler is to return: 406 where none of them will
--- do.
---
--- @param forms  table  type = value: types as for req:accepts; a value is what a handler may
---                      return as a body (a function: what it returns, called with nothing).
---                      `default` is the type for a client to which several are the same; without
---                      it the first by the alphabet
--- @return ...          to be returned by the handler
--- @raise               a name that is no type; no form at all
--- @usage local http = require "http"
--- local app = http.router()
--- app:get("/", function(req, res)
---     return res:negotiate{ json = { hello = "world" }, html = "<p>hello", default = "html" }
--- end)
--- local _, headers = app:call("GET", "/", { headers = { accept = "application/json" } })
--- assert(headers["content-type"] == "application/json")
function response:negotiate(forms)
    local signature = "res:negotiate(forms)"
    check.type(signature, "forms", forms, "table")
    local default, names, fulls = forms.default, {}, {}
    for name in pairs(forms) do
        if name ~= "default" then names[#names + 1] = name end
    end
    if #names == 0 or default ~= nil and forms[default] == nil then
        error(signature .. " forms must have a type, and that of its default", 2)
    end
    table.sort(names, function(a, b)
        if (a == default) ~= (b == default) then return a == default end
        return tostring(a) < tostring(b)
    end)
    for i, name in ipairs(names) do fulls[i] = full_type(signature, name) end
    local best = best_of(self:_requestHeader("accept"), names, fulls)
    self:_vary("Accept")
    if not best then return 406 end
    local kind = full_type(signature, best)
    if kind:find("^text/") and not kind:find(";", 1, true) then kind = kind .. "; charset=utf-8" end
    self:setHeader("Content-Type", kind)
    local form = forms[best]
    if type(form) == "function" then return form() end
    return form
end

return { request = negotiate, response = response }
