-- The pools of connections that there are, for who looks at the process.
local pools = {}

local kinds = {}

--- Notes a pool, which has a method stats(), for as long as somebody has it; and returns it.
function pools.add(kind, pool)
    kinds[kind] = kinds[kind] or setmetatable({}, { __mode = "k" })
    kinds[kind][pool] = true
    return pool
end

--- All of a kind, as of pairs.
function pools.of(kind)
    return kinds[kind] or {}
end

--- The kinds, as of pairs.
function pools.kinds()
    return kinds
end

return pools
