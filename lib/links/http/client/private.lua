-- Which addresses are nobody's business outside: of this machine, of its networks, of the services
-- that clouds have for their guests (169.254.169.254), and those that mean no single host.
local private = {}

-- First address and length of the prefix (RFC 6890 and its registry).
local V4 = {
    { "0.0.0.0", 8 }, { "10.0.0.0", 8 }, { "100.64.0.0", 10 }, { "127.0.0.0", 8 },
    { "169.254.0.0", 16 }, { "172.16.0.0", 12 }, { "192.0.0.0", 24 }, { "192.0.2.0", 24 },
    { "192.88.99.0", 24 }, { "192.168.0.0", 16 }, { "198.18.0.0", 15 }, { "198.51.100.0", 24 },
    { "203.0.113.0", 24 }, { "224.0.0.0", 4 }, { "240.0.0.0", 4 },
}

local function number_of(address)
    local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    if not a then return nil end
    return ((a * 256 + b) * 256 + c) * 256 + d
end

for _, entry in ipairs(V4) do
    local size = 2 ^ (32 - entry[2])
    entry.from = number_of(entry[1])
    entry.to = entry.from + size - 1
end

local function is_private4(n)
    for _, entry in ipairs(V4) do
        if n >= entry.from and n <= entry.to then return true end
    end
    return false
end

-- The eight groups of an IPv6 address.
local function groups_of(address)
    address = address:gsub("%%.*$", "")
    local v4 = address:match("[%d.]+$")
    if v4 and v4:find(".", 1, true) then
        local n = number_of(v4)
        address = address:sub(1, -#v4 - 1) .. ("%x:%x"):format(math.floor(n / 65536), n % 65536)
    end
    local left, right = address:match("^(.-)::(.*)$")
    local head, tail = {}, {}
    for group in (left or address):gmatch("%x+") do head[#head + 1] = tonumber(group, 16) end
    for group in (right or ""):gmatch("%x+") do tail[#tail + 1] = tonumber(group, 16) end
    while #head + #tail < 8 do head[#head + 1] = 0 end
    for _, group in ipairs(tail) do head[#head + 1] = group end
    return head
end

local function all_zero(g, from, to)
    for i = from, to do
        if g[i] ~= 0 then return false end
    end
    return true
end

-- An address of IPv4 within one of IPv6: mapped, compatible, translated (RFC 6052), 6to4.
local function inner4(g)
    if all_zero(g, 1, 5) and (g[6] == 0xffff or g[6] == 0) then return g[7] * 65536 + g[8] end
    if all_zero(g, 1, 4) and g[5] == 0xffff and g[6] == 0 then return g[7] * 65536 + g[8] end
    if g[1] == 0x64 and g[2] == 0xff9b then return g[7] * 65536 + g[8] end
    if g[1] == 0x2002 then return g[2] * 65536 + g[3] end
end

-- Only 2000::/3 is the world's, and not all of that.
local function is_private6(g)
    local n = inner4(g)
    if n then return is_private4(n) end
    if g[1] < 0x2000 or g[1] > 0x3fff then return true end
    if g[1] == 0x2001 and (g[2] < 0x200 or g[2] == 0xdb8) then return true end
    return g[1] == 0x3fff and g[2] < 0x1000
end

-- Whether an address, numeric and of either family, is one of those.
function private.is(address)
    local n = number_of(address)
    if n then return is_private4(n) end
    return is_private6(groups_of(address))
end

return private
