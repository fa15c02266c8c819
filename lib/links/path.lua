--- Paths as text: nothing here looks at the file system.
---
--- A path is a string with "/" between its parts, as POSIX has it. A "\" is a character like any
--- other.
local check = require "links.check"

local path = {}

local function check_path(signature, name, value)
    if type(value) ~= "string" then check.type(signature, name, value, "string", 2) end
end

-- The parts of a path without those that are empty or ".", each ".." having taken the one before it
-- away.
local function parts_of(text, absolute)
    local parts = {}
    for part in text:gmatch("[^/]+") do
        local last = parts[#parts]
        if part == ".." then
            if last and last ~= ".." then
                parts[#parts] = nil
            elseif not absolute then
                parts[#parts + 1] = part
            end
        elseif part ~= "." then
            parts[#parts + 1] = part
        end
    end
    return parts
end

local function normalize(text)
    if text == "" then return "." end
    local absolute = text:byte() == 47
    local result = table.concat(parts_of(text, absolute), "/")
    if result ~= "" and text:byte(-1) == 47 then result = result .. "/" end
    if absolute then return "/" .. result end
    return result == "" and (text:byte(-1) == 47 and "./" or ".") or result
end

--- Whether a path begins at the root.
---
--- @param p  string   the path
--- @return boolean
--- @raise             `p` is not a string
--- @usage local path = require "path"
--- assert(path.isAbsolute("/etc") and not path.isAbsolute("etc"))
function path.isAbsolute(p)
    check_path("path.isAbsolute(p)", "p", p)
    return p:byte() == 47
end

--- The same path without ".", without ".." where that has something to take away, and without
--- doubled slashes. A slash at its end stays. That ".." leads back where it came from is true of
--- names, not of links: see fs.realpath.
---
--- @param p  string  the path
--- @return string    never empty: "." at least
--- @raise            `p` is not a string
--- @usage assert(require("path").normalize("/a/./b//../c/") == "/a/c/")
function path.normalize(p)
    check_path("path.normalize(p)", "p", p)
    return normalize(p)
end

--- One path after the other, with a slash between them, and normalized. Empty ones count for
--- nothing; a slash at the beginning of a later one does not go back to the root.
---
--- @param ...  string  the paths
--- @return string      "." for none
--- @raise              an argument is not a string
--- @usage assert(require("path").join("/srv", "www/", "../data") == "/srv/data")
function path.join(...)
    local given = {}
    for i = 1, select("#", ...) do
        local part = select(i, ...)
        check_path("path.join(...)", "argument " .. i, part)
        if part ~= "" then given[#given + 1] = part end
    end
    return normalize(table.concat(given, "/"))
end

local function current_folder()
    local cwd = require("links.fs.ffi").cwd()
    if not cwd then error("path.resolve(...) the current directory has been removed", 3) end
    return cwd
end

--- The absolute path that these lead to, each taken from where the one before it has led, the first
--- from the current directory. No slash at its end.
---
--- @param ...  string  the paths
--- @return string      an absolute path
--- @raise              an argument is not a string; a relative path, and the current directory is
---                     gone
--- @usage local path = require "path"
--- assert(path.resolve("/srv", "www", "../x") == "/srv/x")
--- assert(path.resolve("/srv", "/tmp") == "/tmp")
function path.resolve(...)
    local whole = ""
    for i = select("#", ...), 1, -1 do
        local part = select(i, ...)
        check_path("path.resolve(...)", "argument " .. i, part)
        if part ~= "" and whole:byte() ~= 47 then
            whole = part .. (whole == "" and "" or "/" .. whole)
        end
    end
    if whole:byte() ~= 47 then whole = current_folder() .. "/" .. whole end
    return "/" .. table.concat(parts_of(whole, true), "/")
end

--- The way from one path to another. Both are resolved first.
---
--- @param from  string  a folder
--- @param to    string  where to
--- @return string       a relative path; "" where both are the same
--- @raise               an argument is not a string
--- @usage assert(require("path").relative("/srv/www/a", "/srv/data/b") == "../../data/b")
function path.relative(from, to)
    check_path("path.relative(from, to)", "from", from)
    check_path("path.relative(from, to)", "to", to)
    local a, b = parts_of(path.resolve(from), true), parts_of(path.resolve(to), true)
    local same = 0
    while a[same + 1] and a[same + 1] == b[same + 1] do same = same + 1 end
    local way = {}
    for _ = same + 1, #a do way[#way + 1] = ".." end
    for i = same + 1, #b do way[#way + 1] = b[i] end
    return table.concat(way, "/")
end

-- Without the slashes at its end, but for the one that is all of it.
local function trim(text)
    return text:match("^(.-[^/])/*$") or (text:byte() == 47 and "/" or "")
end

--- The path without its last part.
---
--- @param p  string  the path
--- @return string    "." where there is only one part, "/" for what stands right below the root
--- @raise            `p` is not a string
--- @usage local path = require "path"
--- assert(path.dirname("/srv/www/") == "/srv" and path.dirname("file") == ".")
function path.dirname(p)
    check_path("path.dirname(p)", "p", p)
    local folder = trim(p):match("^(.*)/[^/]*$")
    if not folder then return "." end
    return trim(folder) ~= "" and trim(folder) or "/"
end

--- The last part of a path.
---
--- @param p       string  the path
--- @param suffix  string  taken off its end, if it is there and not all of it. Default: ""
--- @return string         "" for "" and "/"
--- @raise                 an argument is not a string
--- @usage assert(require("path").basename("/srv/page.html", ".html") == "page")
function path.basename(p, suffix)
    check_path("path.basename(p[, suffix])", "p", p)
    local name = trim(p):match("[^/]*$")
    if suffix ~= nil then
        check_path("path.basename(p[, suffix])", "suffix", suffix)
        if suffix ~= "" and #name > #suffix and name:sub(-#suffix) == suffix then
            name = name:sub(1, -#suffix - 1)
        end
    end
    return name
end

--- The last dot of the last part, and what follows.
---
--- @param p  string  the path
--- @return string    such as ".gz"; "" where there is none, and for a name that begins with its
---                   only dot
--- @raise            `p` is not a string
--- @usage local path = require "path"
--- assert(path.extname("a.tar.gz") == ".gz" and path.extname(".profile") == "")
function path.extname(p)
    check_path("path.extname(p)", "p", p)
    local name = trim(p):match("[^/]*$")
    if name == ".." then return "" end
    return name:match("^.+(%.[^.]*)$") or ""
end

return path
