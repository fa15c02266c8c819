--- What callers got wrong: raised at their own line, with the signature of the function they
--- called.
local check = {}

local function fail(level, ...)
    error(table.concat({ ... }), level + 2)
end

local function describe(value)
    if type(value) == "string" then return '"' .. value:sub(1, 40) .. '"' end
    if value == nil then return "nothing" end
    return type(value) == "number" and tostring(value) or "a " .. type(value)
end

--- Raises unless `value` is of one of the types, given as "string" or "string|function".
---
--- @param signature  string   of the public function: "http.get(url[, options])"
--- @param name       string   of the parameter
--- @param value      any      what was given
--- @param types      string   what it may be
--- @param level      integer  how far up the caller to blame is; 1 is whoever called the public
---                            function. Default: 1
--- @raise                     `value` is of another type
--- @usage require("links.check").type("f(x)", "x", "text", "string|number")
function check.type(signature, name, value, types, level)
    local is = type(value)
    if is == types then return end
    for want in types:gmatch("[^|]+") do
        if is == want then return end
    end
    fail((level or 1) + 1, signature, " ", name, " must be [", types, "], not ", describe(value))
end

--- Raises unless `value` is a whole number within bounds.
---
--- @param signature  string   of the public function
--- @param name       string   of the parameter
--- @param value      any      what was given
--- @param min        integer  the least
--- @param max        integer  the most
--- @param level      integer  as in check.type. Default: 1
--- @raise                     `value` is not a whole number from `min` to `max`
--- @usage require("links.check").integer("f(port)", "port", 80, 0, 65535)
function check.integer(signature, name, value, min, max, level)
    if type(value) == "number" and value % 1 == 0 and value >= min and value <= max then return end
    fail((level or 1) + 1, signature, " ", name, " must be [integer] from ", tostring(min),
        " to ", tostring(max),
        ", not ", describe(value))
end

--- Raises unless `value` is nil or a number of milliseconds, 0 or more.
---
--- @param signature  string   of the public function
--- @param name       string   of the parameter
--- @param value      any      what was given
--- @param level      integer  as in check.type. Default: 1
--- @raise                     `value` is no such number
--- @usage require("links.check").timeout("f([ms])", "ms", nil)
function check.timeout(signature, name, value, level)
    if value == nil or (type(value) == "number" and value >= 0) then return end
    fail((level or 1) + 1, signature, " ", name, " must be [number] of milliseconds, 0 or more,",
        " not ", describe(value))
end

-- Levenshtein's distance, for words of a few letters.
local function distance(a, b)
    local row = {}
    for j = 0, #b do row[j] = j end
    for i = 1, #a do
        local diagonal = row[0]
        row[0] = i
        for j = 1, #b do
            local cost = a:byte(i) == b:byte(j) and 0 or 1
            diagonal, row[j] = row[j], math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
        end
    end
    return row[#b]
end

--- The word of `words` (a table, by key) that is nearest to `word`, or nil if none is near.
---
--- @param word   string  as it was written
--- @param words  table   the known words are its keys
--- @return string        the nearest, or nil
--- @usage assert(require("links.check").nearest("bakclog", { backlog = true }) == "backlog")
function check.nearest(word, words)
    local best, best_distance = nil, math.max(2, math.floor(#word / 3)) + 1
    for known in pairs(words) do
        local d = type(known) == "string" and distance(word:lower(), known:lower()) or best_distance
        if d < best_distance or (d == best_distance and best and known < best) then
            best, best_distance = known, d
        end
    end
    return best
end

-- What is wrong with one option is raised for the caller at `level`.
local function check_option(signature, name, value, known, level)
    local about = known[name]
    if not about then
        local near = type(name) == "string" and check.nearest(name, known)
        fail(level + 1, signature, ' unknown option "', tostring(name), '"',
            near and ' (did you mean "' .. near .. '"?)' or "")
    end
    local label = "options." .. name
    if about.type == "integer" then
        check.integer(signature, label, value, about.min or 0, about.max or 2 ^ 53, level + 1)
    elseif about.type == "timeout" then
        check.timeout(signature, label, value, level + 1)
    elseif about.type ~= "any" then
        check.type(signature, label, value, about.type, level + 1)
    end
end

--- Checks an options table against what is known, and leaves the defaults to the caller.
---
--- @param signature  string   of the public function
--- @param options    table    as the caller gave it, or nil
--- @param known      table    as of check.options; a type "any" is not checked
--- @param level      integer  as in check.type. Default: 1
--- @raise                     as check.options
--- @usage local known = { backlog = { type = "integer", min = 1, max = 65535 } }
--- require("links.check").given("f([options])", { backlog = 5 }, known)
function check.given(signature, options, known, level)
    level = (level or 1) + 1
    check.type(signature, "options", options, "table|nil", level)
    for name, value in pairs(options or {}) do
        check_option(signature, name, value, known, level)
    end
end

--- Checks an options table against what is known and fills in the defaults.
---
--- @param signature  string   of the public function
--- @param options    table    as the caller gave it, or nil
--- @param known      table    name = { default = value, type = "integer|boolean|...", min =, max =
---                            }; a type "integer" has bounds, a type "timeout" is in milliseconds
--- @param level      integer  as in check.type. Default: 1
--- @return table              a new table: every known option with its value
--- @raise                     an option that nobody knows, or a value of another type or out of
---                            bounds
--- @usage local known = { backlog = { default = 511, type = "integer", min = 1, max = 65535 } }
--- local o = require("links.check").options("f([options])", {}, known)
--- assert(o.backlog == 511)
function check.options(signature, options, known, level)
    level = (level or 1) + 1
    check.type(signature, "options", options, "table|nil", level)
    local result = {}
    for name, about in pairs(known) do result[name] = about.default end
    for name, value in pairs(options or {}) do
        check_option(signature, name, value, known, level)
        result[name] = value
    end
    return result
end

return check
