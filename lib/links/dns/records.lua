-- Records as Lua tables, by type. What the texts and numbers of each are is said in message.c.
local ffi = require "ffi"

local records = {}

--- The types that dns.resolve knows, by name.
records.types = {
    A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, MX = 15, TXT = 16, AAAA = 28, SRV = 33, NAPTR = 35,
    ANY = 255, CAA = 257,
}

local names = {}
for name, number in pairs(records.types) do names[number] = name end

local function text(r, i)
    return ffi.string(r.text[i], r.len[i])
end

local function address(r, to)
    to.address = text(r, 0)
end

local function name(r, to)
    to.name = text(r, 0)
end

local makers = {
    A = address,
    AAAA = address,
    NS = name,
    CNAME = name,
    PTR = name,
    MX = function(r, to)
        to.priority, to.exchange = r.number[0], text(r, 0)
    end,
    SRV = function(r, to)
        to.priority, to.weight, to.port = r.number[0], r.number[1], r.number[2]
        to.name = text(r, 0)
    end,
    SOA = function(r, to)
        to.nsname, to.hostmaster = text(r, 0), text(r, 1)
        to.serial, to.refresh, to.retry = r.number[0], r.number[1], r.number[2]
        to.expire, to.minttl = r.number[3], r.number[4]
    end,
    TXT = function(r, to)
        local data, at = text(r, 0), 1
        while at <= #data do
            local len = data:byte(at)
            to[#to + 1] = data:sub(at + 1, at + len)
            at = at + 1 + len
        end
        to.text = table.concat(to)
    end,
    CAA = function(r, to)
        to.flags, to.critical = r.number[0], r.number[0] >= 128
        to.tag, to.value = text(r, 0), text(r, 1)
    end,
    NAPTR = function(r, to)
        to.order, to.preference = r.number[0], r.number[1]
        to.flags, to.service, to.regexp = text(r, 0), text(r, 1), text(r, 2)
        to.replacement = text(r, 3)
    end,
}

local function unknown(r, to)
    to.data = text(r, 0)
end

-- All records of an answer that came `age` seconds ago.
function records.all(answer, age)
    local list = {}
    for i = 0, answer.count - 1 do
        local r = answer.records[i]
        local type_name = names[r.type] or "TYPE" .. r.type
        local record = { type = type_name, ttl = math.max(0, math.ceil(r.ttl - age)) };
        (makers[type_name] or unknown)(r, record)
        list[i + 1] = record
    end
    return list
end

return records
