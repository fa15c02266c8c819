-- Paths of routes, and the tree in which they are found: one level for each segment of a path, one
-- tree for each method. What is written out goes before a parameter with a pattern, that before one
-- without, and that before the rest of a path; where a choice leads nowhere, the next one is tried.
--
-- Paths are matched as they came, segment by segment, and each segment is decoded once: an escaped
-- slash never separates anything, and nothing that was decoded is decoded again.
local ffi = require "ffi"
local codec = require "links.codec"
local binding = require "links.http.ffi"

ffi.cdef [[
size_t strspn(const char *s, const char *accept);
size_t strcspn(const char *s, const char *reject);
typedef struct links_http_routes links_http_routes;
typedef struct links_http_value {
    const char *data;
    int32_t len;
} links_http_value;
links_http_routes *links_http_routes_new(void);
void links_http_routes_free(links_http_routes *routes);
int links_http_routes_child(links_http_routes *routes, int node, int kind,
                                      const char *text, size_t len);
void links_http_routes_end(links_http_routes *routes, int node, int route);
void links_http_routes_hide(links_http_routes *routes, int node);
int links_http_routes_find(const links_http_routes *routes, links_http_req *r,
                                     links_http_value *values);
]]
local C = binding.C
local STATIC, PARAM, DIGITS, REST = 0, 1, 2, 3 -- as routes.h has them
local MAX_VALUES = 8

local byte, find, sub, lower = string.byte, string.find, string.sub, string.lower

local tree = {}

local SLASH, DOT = 47, 46
local MAX_SEGMENTS = 128

-- --- patterns -----------------------------------------------------------------------------------

local function is_digits(s)
    return C.strspn(s, "0123456789") == #s
end

-- A function that tells whether a segment is as the pattern wants it; nil and a message for a bad
-- one.
local function matcher(pattern)
    -- The usual one, without the pattern machine, which the compiler cannot look into.
    if pattern == "%d+" then return is_digits end
    local anchored = "^" .. pattern .. "$"
    local ok, message = pcall(find, "", anchored)
    if not ok then return nil, message:gsub("^.-: ", "") end
    return function(segment) return find(segment, anchored) ~= nil end
end

-- Reads ":name", ":name<pattern>" at `at`: the segment and where it ends; nil and a message.
local function parse_param(path, at)
    local name, stop = path:match("^:([%a_][%w_]*)()", at)
    if not name then return nil, 'a ":" begins a segment without a name' end
    local segment = { kind = "param", name = name }
    if sub(path, stop, stop) == "<" then
        -- A pattern may hold ">" and "/": its end is the first ">" at the end of a segment.
        local from = stop + 1
        repeat
            stop = find(path, ">", stop + 1, true)
            if not stop then return nil, 'the "<" of :' .. name .. " is not closed" end
        until stop == #path or byte(path, stop + 1) == SLASH
        segment.pattern = sub(path, from, stop - 1)
        local message
        segment.matches, message = matcher(segment.pattern)
        if message then return nil, "the pattern of :" .. name .. " is wrong: " .. message end
        stop = stop + 1
    end
    if stop <= #path and byte(path, stop) ~= SLASH then
        return nil, "the parameter :" .. name .. " must be a whole segment"
    end
    return segment, stop
end

local function parse_segment(path, at)
    local first = sub(path, at, at)
    if first == ":" then return parse_param(path, at) end
    if first == "*" then
        local name = path:match("^%*([%a_][%w_]*)$", at)
        if not name then return nil, '"*" needs a name, and nothing may follow it' end
        return { kind = "rest", name = name }, #path + 1
    end
    local stop = find(path, "/", at, true) or #path + 1
    local text = codec.unescapeUri(sub(path, at, stop - 1))
    if text == "" then return nil, "it has an empty segment" end
    if text == "." or text == ".." or find(text, "[%z\\/]") then
        return nil, "it has a segment that no request can have"
    end
    return { kind = "static", text = text }, stop
end

--- Reads the path of a route: "/user/:id<%d+>/*rest".
---
--- @param path  string   as the program has it
--- @return table         the segments, each with a kind (static, param, rest); .slash: it ends in
---                       "/"
--- @return nil, message  what is wrong with it
function tree.parse(path)
    if byte(path) ~= SLASH then return nil, 'it does not begin with "/"' end
    local segments, names, at = { slash = false }, {}, 2
    while at <= #path do
        local segment, stop = parse_segment(path, at)
        if not segment then return nil, stop end
        if segment.name then
            if names[segment.name] then return nil, "it has two parameters " .. segment.name end
            names[segment.name] = true
        end
        segments[#segments + 1] = segment
        at = stop + 1
        segments.slash = stop == #path
    end
    if #segments > MAX_SEGMENTS then
        return nil, "it has more than " .. MAX_SEGMENTS .. " segments"
    end
    return segments
end

-- --- what requests ask for ----------------------------------------------------------------------

-- Whether a part of a decoded segment, between slashes of either kind, is "." or "..".
local function has_dots(segment)
    if not find(segment, ".", 1, true) then return false end
    for part in (segment .. "/"):gmatch("([^/\\]*)[/\\]") do
        if part == "." or part == ".." then return true end
    end
    return false
end

local function decode(segment)
    if not find(segment, "%", 1, true) then return segment end
    if segment:gsub("%%%x%x", ""):find("%", 1, true) then return nil end
    return codec.unescapeUri(segment)
end

-- Splits a path into decoded segments; nil and a status for what no route is to see. "/a/" has an
-- empty segment at its end.
local function split(path, segments)
    if byte(path) ~= SLASH or find(path, "[%z\\]") then return nil, 400 end
    local escaped, dotted = find(path, "%", 1, true), find(path, "/.", 1, true)
    local n, at = 0, 2
    while true do
        local stop = find(path, "/", at, true)
        local segment = sub(path, at, (stop or 0) - 1)
        if segment == "" and stop then return nil, 404 end
        if escaped then
            segment = decode(segment)
            if not segment or find(segment, "[%z\\]") or has_dots(segment) then return nil, 400 end
        elseif dotted and byte(segment) == DOT and (segment == "." or segment == "..") then
            return nil, 400
        end
        n = n + 1
        if n > MAX_SEGMENTS then return nil, 404 end
        segments[n] = segment
        if not stop then return n end
        at = stop + 1
    end
end

--- Splits the path of a request into decoded segments.
---
--- @param path     string  as it came
--- @return table           the segments; the last is "" where the path ends in "/"
--- @return nil, status     400: an escape that is none, "..", a NUL or a backslash, however they
---                         are written; 404: an empty segment
function tree.split(path)
    local segments = {}
    local n, status = split(path, segments)
    if not n then return nil, status end
    return segments
end

-- --- the tree -----------------------------------------------------------------------------------

local Tree = {}
Tree.__index = Tree

--- An empty tree. options: strictSlash, caseSensitive.
function tree.new(options)
    return setmetatable({
        root = {},
        -- The nodes of paths without parameters, by the path as it is usually written.
        paths = {},
        -- The tree as C walks it, and the nodes by its numbers.
        routes = options.caseSensitive
            and ffi.gc(C.links_http_routes_new(), C.links_http_routes_free) or nil,
        nodes = {},
        strict = options.strictSlash,
        sensitive = options.caseSensitive,
    }, Tree)
end

local function param_node(node, segment, create)
    for _, param in ipairs(node.params or {}) do
        if param.pattern == segment.pattern then return param.node end
    end
    if not create then return nil end
    node.params = node.params or {}
    local param = { pattern = segment.pattern, matches = segment.matches, node = {} }
    -- The one without a pattern stays the last.
    local last = #node.params
    local place = last > 0 and not node.params[last].pattern and last or last + 1
    table.insert(node.params, segment.pattern and place or last + 1, param)
    return param.node
end

local function child_of(self, node, segment, create)
    if segment.kind == "param" then return param_node(node, segment, create) end
    if segment.kind == "rest" then
        if create and not node.rest then node.rest = {} end
        return node.rest
    end
    local text = self.sensitive and segment.text or lower(segment.text)
    local child = node.children and node.children[text]
    if not child and create then
        child = {}
        node.children = node.children or {}
        node.children[text] = child
    end
    return child
end

-- The node of a route, where it would be; nil where there is none and `create` is false.
local function place_of(self, segments, create)
    local node = self.root
    for _, segment in ipairs(segments) do
        node = child_of(self, node, segment, create)
        if not node then return nil end
    end
    if self.strict and (segments.slash or #segments == 0) then
        node = child_of(self, node, { kind = "static", text = "" }, create)
    end
    return node
end

-- The path of segments without parameters that need no escapes; nil for others.
local function plain_path(self, segments)
    local path = ""
    for _, segment in ipairs(segments) do
        local text = segment.text
        if not text or find(text, "[^%w%-._~!$&'()*+,;=:@]") then return nil end
        path = path .. "/" .. segment.text
    end
    return self.sensitive and path or lower(path)
end

--- The route that stands where one with these segments and this rank would be put.
function Tree:conflict(segments, rank)
    local node = place_of(self, segments, false)
    if node and node.leaf and node.rank == rank then return node.leaf end
end

-- Makes the way to a node known to C, which does without patterns and without a slash at the end.
local function insert_for_c(self, path, node)
    local routes, at, values = self.routes, 0, 0
    if not routes or #path == 0 or self.strict and path.slash then return end
    for _, segment in ipairs(path) do
        local kind = segment.kind == "rest" and REST or segment.kind == "param" and PARAM or STATIC
        if segment.pattern then
            if segment.pattern ~= "%d+" then
                C.links_http_routes_hide(routes, at)
                return
            end
            kind = DIGITS
        end
        if kind ~= STATIC then values = values + 1 end
        local text = segment.text or ""
        at = C.links_http_routes_child(routes, at, kind, text, #text)
    end
    if values > MAX_VALUES then return end
    C.links_http_routes_end(routes, at, node.leaf.number)
    self.nodes[at] = node
end

--- Puts a route in, unless one of a higher rank is there.
function Tree:insert(segments, route, rank)
    local node = place_of(self, segments, true)
    if node.rank and node.rank > rank then return end
    node.leaf, node.rank = route, rank
    insert_for_c(self, segments, node)
    local path = plain_path(self, segments)
    if not path then return end
    if self.strict then
        self.paths[(segments.slash or path == "") and path .. "/" or path] = node
    else
        if path ~= "" then self.paths[path] = node end
        self.paths[path .. "/"] = node
    end
end

-- Used again for each request: nothing waits here.
local segments, folded, values = {}, {}, {}
local is_strict = false

local function join_rest(i, n)
    if i == n then return segments[i] end
    return table.concat(segments, "/", i, n)
end

-- The leaf below `node` for the segments from `i` to `n`; `k` parameters have values.
local function walk(node, i, n, k)
    if i > n then
        if node.leaf then return node.leaf end
        if node.rest and not is_strict then
            values[k + 1] = ""
            return node.rest.leaf
        end
        return nil
    end
    local child = node.children and node.children[folded[i]]
    local leaf = child and walk(child, i + 1, n, k)
    if leaf then return leaf end
    local segment, params = segments[i], node.params
    if params and segment ~= "" then
        for j = 1, #params do
            local param = params[j]
            if not param.matches or param.matches(segment) then
                leaf = walk(param.node, i + 1, n, k + 1)
                if leaf then
                    values[k + 1] = segment
                    return leaf
                end
            end
        end
    end
    if node.rest then
        values[k + 1] = join_rest(i, n)
        return node.rest.leaf
    end
end

-- Whether a path has nothing in it that must be looked at twice: an escape, a backslash, a NUL, a
-- dot or a slash behind a slash.
local function is_simple(path)
    return C.strcspn(path, "%\\") == #path and byte(path) == SLASH
        and not find(path, "//", 1, true) and not find(path, "/.", 1, true)
end

-- The first way down the tree, which is the right one where it arrives: a function (node, path,
-- values) that returns the leaf, or nil where it takes more than that. It is written out level by
-- level, because a loop, or a function that is called more often than requests come, would be
-- compiled before the loop of the server is, and keep that from being compiled as one piece: 1.4 us
-- of a request.
local LEVELS = 8
local LEVEL = [[
    stop = find(path, "/", at, true) or len + 1
    segment = sub(path, at, stop - 1)
    child = node.children
    child = child and child[segment]
    if not child then
        params = node.params
        if not params then
            rest = node.rest
            if not rest then return nil end
            values[k + 1] = sub(path, at)
            return rest.leaf
        end
        param = params[1]
        matches = param.matches
        if matches and not matches(segment) then
            param = params[2]
            if not param then return nil end
            matches = param.matches
            if matches and not matches(segment) then return nil end
        end
        child, k = param.node, k + 1
        values[k] = segment
    end
    node = child
    if stop >= len then return stop > len and node.leaf or nil end
    at = stop + 1
]]
local walk_straight = assert(loadstring([[
    local find, sub = ...
    return function(node, path, values)
        local at, k, len = 2, 0, #path
        local stop, segment, child, params, param, matches, rest
        if len < 2 then return nil end
    ]] .. LEVEL:rep(LEVELS) .. [[
    end
]], "=links/http/tree.lua (levels)"))(find, sub)

local slices = ffi.new("links_http_value[" .. MAX_VALUES .. "]")

--- Finds the route of a request that can be found without looking twice: by C.
---
--- @param r  cdata  the request's pointer
--- @return route    its parameters, in order, are in tree.slices for the moment; nil where it takes
---                  Tree:find
function Tree:match(r)
    local routes = self.routes
    if not routes then return nil end
    local node = C.links_http_routes_find(routes, r, slices)
    if node >= 0 then return self.nodes[node].leaf end
end

--- Finds the route of a path that has parameters, or is written in an unusual way.
---
--- @param path  string  as it came
--- @return route        its parameters, in order, are in tree.values; nil where there is none
--- @return nil, status  400 or 404, as tree.split
function Tree:find(path)
    local leaf = self.sensitive and is_simple(path)
        and walk_straight(self.root, path, values)
    if leaf then return leaf end
    local n, status = split(path, segments)
    if not n then return nil, status end
    if self.sensitive then
        folded = segments
    else
        if folded == segments then folded = {} end
        for i = 1, n do folded[i] = lower(segments[i]) end
    end
    is_strict = self.strict
    local slash = segments[n] == "" and not is_strict
    leaf = walk(self.root, 1, slash and n - 1 or n, 0)
    -- The rest of a path keeps its last slash; nobody else sees it.
    if slash and leaf and leaf.keeps_slash then leaf = walk(self.root, 1, n, 0) end
    if leaf then return leaf end
    return nil, 404
end

tree.values, tree.slices = values, slices

return tree
