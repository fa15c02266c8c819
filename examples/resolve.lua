-- Asks the DNS, as dig does: links examples/resolve.lua [@server[:port]] name [type]
--
--   links examples/resolve.lua example.com            what the system would connect to
--   links examples/resolve.lua example.com MX         records of a type
--   links examples/resolve.lua 192.0.2.1              the names of an address
--   links examples/resolve.lua @1.1.1.1 example.com A
local dns = require "dns"

local FIELDS = {
    A = { "address" }, AAAA = { "address" }, NS = { "name" }, CNAME = { "name" }, PTR = { "name" },
    MX = { "priority", "exchange" }, SRV = { "priority", "weight", "port", "name" },
    SOA = { "nsname", "hostmaster", "serial", "refresh", "retry", "expire", "minttl" },
    CAA = { "flags", "tag", "value" },
    NAPTR = { "order", "preference", "flags", "service", "regexp", "replacement" },
}

local function give_up(message)
    io.stderr:write("resolve: ", message, "\n")
    os.exit(1)
end

-- What stands after the type, as in a zone file.
local function describe(record)
    local words = {}
    for i, field in ipairs(FIELDS[record.type] or {}) do words[i] = tostring(record[field]) end
    for _, text in ipairs(record) do words[#words + 1] = ("%q"):format(text) end -- of TXT
    if #words == 0 then words[1] = ("%q"):format(record.data or "") end
    return table.concat(words, " ")
end

local function print_records(name, records)
    for _, record in ipairs(records) do
        print(("%-30s %6d  %-6s %s"):format(name, record.ttl, record.type, describe(record)))
    end
end

local function resolve(name, type, options)
    if type then
        print_records(name, assert(dns.resolve(name, type, options)))
    elseif name:find("^[%d.]+$") or name:find(":", 1, true) then
        for _, host in ipairs(assert(dns.reverse(name, options))) do print(host) end
    else
        for _, one in ipairs(assert(dns.lookup(name, options))) do print(one.address) end
    end
end

local words, options = {}, {}
for _, word in ipairs(arg) do
    if word:sub(1, 1) == "@" then
        options.servers = { word:sub(2) }
    else
        words[#words + 1] = word
    end
end
if #words < 1 or #words > 2 then give_up("usage: resolve.lua [@server[:port]] name [type]") end

local ok, err = pcall(resolve, words[1], words[2], options)
if not ok then give_up(tostring(err)) end
