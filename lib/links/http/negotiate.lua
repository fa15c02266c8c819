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
        local kind, subtype, rest = item:match("^%s*([^%s/;]+)/([^%s/;]+)%s*(.-)%s*$")
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

--- Which of several types the client likes best, by its Accept field. Without that, the first.
---
--- @param ...  string  media types, or "json", "html", "text", "xml", "css", "js", "form",
---                     "multipart",
---                     "bin", "png", "jpeg", "gif", "webp", "svg"; the first of equals wins
--- @return string      one of them, as it was given; nil where the client takes none
--- @raise              a name that is no type
function negotiate:accepts(...)
    local signature = "req:accepts(type, ...)"
    local accept = self:header("accept")
    local ranges = accept and ranges_of(accept)
    local best, best_q = nil, 0
    for i = 1, select("#", ...) do
        local name = select(i, ...)
        local full = full_type(signature, name)
        local q = ranges and quality(ranges, full) or ranges == nil and 1 or 0
        if q > best_q then best, best_q = name, q end
    end
    return best
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
end

return { request = negotiate }
