-- What was read and has not been asked for yet. It is taken from the front, piece by piece and line
-- by line, in a time that grows with what is taken: what is left stays where it is.
--
-- The bytes are two fields of their owner: `_ahead`, "" where there are none, and `_at`, where the
-- first of them is. An owner begins with "" and 1.
local find, sub, byte, concat = string.find, string.sub, string.byte, table.concat

local ahead = {}

--- Gives an owner that has none, or whose bytes are of no use any more, these bytes.
function ahead.put(owner, text) owner._ahead, owner._at = text, 1 end

local put = ahead.put

local function go_on_at(owner, at)
    if at > #owner._ahead then return put(owner, "") end
    owner._at = at
end

--- How many bytes there are.
function ahead.count(owner) return #owner._ahead - owner._at + 1 end

--- Takes `n` bytes, or all where there are no more or `n` is nil; "" where there are none.
function ahead.take(owner, n)
    local text, from = owner._ahead, owner._at
    local to = n and math.min(from + n - 1, #text) or #text
    go_on_at(owner, to + 1)
    return sub(text, from, to)
end

-- Puts back what was taken of a line that cannot be given.
local function put_back(owner, parts)
    if not parts then return end
    parts[#parts + 1] = ahead.take(owner)
    put(owner, concat(parts))
end

-- The line that ends at `at`, and is longer by `parts`; nil where it is longer than `max`.
local function cut(owner, at, parts, max)
    local text = owner._ahead
    local line, last = sub(text, owner._at, at - 1), byte(text, at)
    if parts then line = concat(parts) .. line end
    if last == 10 and byte(line, -1) == 13 then line = sub(line, 1, -2) end
    if #line > max then return nil end
    go_on_at(owner, at + 1)
    return line, last
end

--- Takes a line. Where that fails nothing of it is taken.
---
--- @param owner  table       what has the bytes
--- @param ends   string      a pattern for the byte that ends a line; a CR before an LF is of the
---                           end, too
--- @param max    integer     bytes that a line may have without its end
--- @param more   function    piece, err = more(owner) reads on; nil at the end of the input
--- @return string, byte      the line, and the byte that ended it: nil where the input has ended
--- @return nil               there are no more
--- @return nil, err          what more() has said
--- @return nil, "too long"   it is longer than `max`
function ahead.line(owner, ends, max, more)
    local parts, size = nil, 0
    while true do
        local at = find(owner._ahead, ends, owner._at)
        local len = at and at - owner._at or ahead.count(owner)
        size = size + len
        local line, last
        if at and size <= max + 1 then -- 1: for the CR
            line, last = cut(owner, at, parts, max)
        end
        if line then return line, last end
        if at or size > max + 1 then
            put_back(owner, parts)
            return nil, "too long"
        end
        if len > 0 then
            parts = parts or {}
            parts[#parts + 1] = ahead.take(owner)
        end
        local piece, err = more(owner)
        if not piece then
            put_back(owner, parts)
            if err or size == 0 then return nil, err end
            if size > max then return nil, "too long" end
            return ahead.take(owner)
        end
        put(owner, piece)
    end
end

return ahead
