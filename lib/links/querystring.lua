--- Queries under the names that luvit and Node.js have for them; `codec.encodeArgs` and
--- `codec.decodeArgs` are the same for the usual separators.
local check = require "links.check"
local codec = require "links.codec"
local errors = require "links.errors"

local querystring = {}

local PARSE = "querystring.parse(s[, sep[, eq[, options]]])"
local STRINGIFY = "querystring.stringify(args[, sep[, eq]])"
local OPTIONS = { maxKeys = { default = 1000, type = "integer", min = 1, max = 2 ^ 31 } }
local TOO_LARGE = errors.code("TOO_LARGE")

local function check_separators(signature, sep, eq)
    check.type(signature, "sep", sep, "string|nil", 2)
    check.type(signature, "eq", eq, "string|nil", 2)
    if sep == "" or eq == "" then error(signature .. " sep and eq must not be empty", 3) end
    return sep or "&", eq or "="
end

--- Reads a query.
---
--- @param s        string  such as "a=1&b=2"
--- @param sep      string  what is between two arguments. Default: "&"
--- @param eq       string  what is between name and value. Default: "="
--- @param options  table   maxKeys  1000  arguments at most
--- @return table           name = string; a list of strings for a name that repeats; "" for a name
---                         without a value
--- @return data, err       TOO_LARGE  there are more than maxKeys; `data` has the first of them
--- @raise                  an argument of another type, an option that nobody knows
--- @usage local args = require("querystring").parse("a:1;b:x+y", ";", ":")
--- assert(args.a == "1" and args.b == "x y")
function querystring.parse(s, sep, eq, options)
    check.type(PARSE, "s", s, "string")
    sep, eq = check_separators(PARSE, sep, eq)
    options = check.options(PARSE, options, OPTIONS)
    local args, at, n = {}, 1, 0
    while at <= #s do
        local first, last = s:find(sep, at, true)
        local piece = s:sub(at, (first or #s + 1) - 1)
        if piece ~= "" then
            n = n + 1
            if n > options.maxKeys then
                local message = "more than " .. options.maxKeys .. " arguments"
                return args, errors.new(TOO_LARGE, "arguments", { message = message })
            end
            local from, to = piece:find(eq, 1, true)
            local name = from and piece:sub(1, from - 1) or piece
            local value = from and querystring.urldecode(piece:sub(to + 1)) or ""
            codec._addArg(args, querystring.urldecode(name), value)
        end
        at = (last or #s) + 1
    end
    return args
end

--- Makes a query of names and values, in the order of the names.
---
--- @param args  table   name = string or number, or a list of those; true: a name without a value
--- @param sep   string  what is to be between two arguments. Default: "&"
--- @param eq    string  what is to be between name and value. Default: "="
--- @return string       such as "a=1&b=2"
--- @raise               an argument of another type
--- @usage assert(require("querystring").stringify({ b = 2, a = { "x", "y" } }) == "a=x&a=y&b=2")
function querystring.stringify(args, sep, eq)
    check.type(STRINGIFY, "args", args, "table")
    sep, eq = check_separators(STRINGIFY, sep, eq)
    -- What is escaped has neither of the two, so that the ones that separate can be told.
    local encoded = codec.encodeArgs(args)
    if sep == "&" and eq == "=" then return encoded end
    return (encoded:gsub("[&=]", { ["&"] = sep, ["="] = eq }))
end

--- Escapes a text as forms do: codec.escapeUri, but a space is "+".
---
--- @param s  string  any bytes
--- @return string    the escaped text
--- @raise            `s` is not a string
--- @usage assert(require("querystring").urlencode("a b&c") == "a+b%26c")
function querystring.urlencode(s)
    check.type("querystring.urlencode(s)", "s", s, "string")
    return (codec.escapeUri(s):gsub("%%20", "+"))
end

--- Undoes querystring.urlencode.
---
--- @param s  string  the escaped text
--- @return string    its bytes
--- @raise            `s` is not a string
--- @usage assert(require("querystring").urldecode("a+b%26c") == "a b&c")
function querystring.urldecode(s)
    check.type("querystring.urldecode(s)", "s", s, "string")
    return codec.unescapeUri((s:gsub("+", " ")))
end

return querystring
