--- Names to addresses and back, and every other record of the DNS. The task that asks waits; the
--- process does not.
---
--- `resolve4`, `resolve6` and `lookup` find what the system's own look-up (`getent`) finds: the
--- hosts file first, then the DNS, with the servers, the search list and the times of resolv.conf;
--- both files are read again within a second of a change. `resolve` and `reverse` ask the DNS for
--- records. "localhost" and names below it are never asked for.
---
--- Answers are kept for as long as their TTL says, at most a day; that there is none, for as long
--- as the zone's SOA record says, at most 15 minutes (dns.configure changes these). The cache holds
--- 4,096 answers and 8 MiB at most. Tasks that ask the same question at the same time share one
--- query, which goes on when they leave.
---
--- LINKS_HOSTS and LINKS_RESOLV_CONF in the environment name other files than /etc/hosts and
--- /etc/resolv.conf.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.dns.ffi"
local records = require "links.dns.records"

local C, AGAIN = binding.C, binding.AGAIN
local A, AAAA, PTR = binding.A, binding.AAAA, binding.PTR
local ENODATA, ENOTFOUND, ESERVFAIL = binding.ENODATA, binding.ENOTFOUND, binding.ESERVFAIL
local EBADNAME = binding.EBADNAME
local wait = core.wait

local dns = {}

-- Once one family of addresses is there, the other one is waited for this long. (RFC 8305, 3, has
-- 50 ms, to connect soon; here it is about getting all.)
local OTHER_FAMILY_MS = 250
-- For how long the order of a set of addresses is taken to be the same: it depends on the network.
local ORDER_MS = 10000
local ORDERS_MAX = 256

local INT_MAX = 2 ^ 31 - 1
local ETIMEDOUT = errors.code("ETIMEDOUT")

-- --- Options ------------------------------------------------------------------------------------

local COMMON = {
    timeout = { type = "integer", min = 1, max = INT_MAX },
    tries = { type = "integer", min = 1, max = 100 },
    servers = { type = "table|string" },
}

local function with(more)
    for name, about in pairs(COMMON) do more[name] = about end
    return more
end

local RESOLVE_HOST = with { ttl = { type = "boolean", default = false } }
local RESOLVE = with {}
local LOOKUP = with {
    family = { type = "integer", min = 0, max = 6, default = 0 },
    all = { type = "boolean", default = true },
}

local DEFAULTS = { set = 0, timeout = 0, tries = 0, ttl = false, family = 0, all = true }

-- The number of a list of servers; or nil and an error. Raises for what is no such list, at the
-- line that is `level` calls up.
local function server_set(signature, label, list, level)
    if type(list) == "string" then list = { list } end
    label = signature .. " " .. label
    if #list == 0 then error(label .. " must name a server at least", level + 1) end
    for i, server in ipairs(list) do
        if type(server) ~= "string" then
            error(label .. "[" .. i .. "] must be [string], not a " .. type(server), level + 1)
        elseif server:find("[^%x%.:%[%]]") then
            error(label .. "[" .. i .. '] must be an address, with a port or without, not "' ..
                server .. '"', level + 1)
        end
    end
    local set = C.links_dns_servers(table.concat(list, ","))
    if set >= 0 then return set end
    local err = errors.new(set, "dns")
    if err.name == "EINVAL" then
        error(label .. ' must be addresses, with a port or without, not "' ..
            table.concat(list, ", ") .. '"', level + 1)
    elseif err.name == "E2BIG" then
        error(label .. " must be 8 servers at most", level + 1)
    end
    return nil, err
end

local function read_options(signature, options, known)
    if options == nil then return DEFAULTS end
    local o = check.options(signature, options, known, 2)
    o.set = 0
    o.timeout = o.timeout or 0
    o.tries = o.tries or 0
    if o.servers then
        local set, err = server_set(signature, "options.servers", o.servers, 3)
        if not set then return nil, err end
        o.set = set
    end
    return o
end

-- --- Asking -------------------------------------------------------------------------------------

local function new_error(status, what, name)
    return errors.new(status, what, { address = name })
end

local function new_ask()
    return ffi.gc(C.links_dns_ask_new(), C.links_dns_ask_free)
end

local function free_ask(ask)
    C.links_dns_ask_free(ffi.gc(ask, nil))
end

local function await(ask, want, ms)
    local rc = C.links_dns_ask_wait(ask, want, ms)
    while rc == AGAIN do
        local status = wait()
        rc = status ~= 0 and status or C.links_dns_ask_wait(ask, want, ms)
    end
    return rc
end

-- Adds an answer's addresses to the list. Returns the answer's status.
local function take(answer, list, family, ttl)
    if answer.status ~= 0 then return C.links_dns_status(answer) end
    local n = #list
    local age = ttl and C.links_dns_age(answer)
    for i = 0, answer.count - 1 do
        local r = answer.records[i]
        local address = ffi.string(r.text[0], r.len[0])
        if ttl then
            list[n + 1 + i] = { address = address, ttl = math.max(0, math.ceil(r.ttl - age)) }
        elseif family then
            list[n + 1 + i] = { address = address, family = r.type == AAAA and 6 or 4 }
        else
            list[n + 1 + i] = address
        end
    end
    return 0
end

-- Asks one question, and gives its answer to `use` before anything else can wait. Returns what that
-- returns; or nil and the status of a wait that was cut short.
local function ask_one(name, qtype, o, use, ...)
    local cached = C.links_dns_cached(o.set, name, #name, qtype)
    if cached ~= nil then return use(cached, ...) end
    local ask = new_ask()
    local rc = C.links_dns_ask_start(ask, o.set, name, #name, qtype, o.timeout, o.tries)
    if rc == 0 then rc = await(ask, 1, 0) end
    if rc ~= 0 then
        free_ask(ask)
        return nil, rc
    end
    local result = use(C.links_dns_ask_answer(ask, 0), ...)
    free_ask(ask)
    return result
end

-- The status of two answers together; nil stands for one that has not come.
local function both(a, b)
    if a == 0 or b == 0 then return 0 end
    if not a or not b then return a or b end
    if a == b or b == ENOTFOUND then return a end
    if a == ENOTFOUND or a == ENODATA then return b end
    return b == ENODATA and a or b
end

-- What has come of the questions of an ask: each answer is taken once, and its status noted.
local function take_new(ask, status, list)
    for k = 1, #ask do
        local i = ask[k]
        local answer = C.links_dns_ask_answer(ask.handle, k - 1)
        if answer ~= nil and not status[i] then status[i] = take(answer, list, true) end
    end
end

-- The families that the cache does not have: both are asked for at once, and when one is there, the
-- other one is not waited for much longer.
local function ask_missing(name, o, list, status6, status4)
    local status, ask = { status6, status4 }, { handle = new_ask() }
    local rc = 0
    for i = 1, 2 do
        if not status[i] and rc == 0 then
            ask[#ask + 1] = i
            rc = C.links_dns_ask_start(ask.handle, o.set, name, #name, i == 1 and AAAA or A,
                o.timeout, o.tries)
        end
    end
    if rc == 0 and #list == 0 then
        rc = await(ask.handle, 1, 0)
        take_new(ask, status, list)
    end
    if rc == 0 and not (status[1] and status[2]) then
        rc = await(ask.handle, #ask, #list > 0 and OTHER_FAMILY_MS or 0)
        if rc == -ETIMEDOUT then rc = 0 end
        take_new(ask, status, list)
    end
    free_ask(ask.handle)
    if rc ~= 0 then return nil, rc end
    return both(status[1], status[2])
end

-- Asks for both families, and adds to the list what has come.
local function ask_both(name, o, list)
    local status6, status4
    local cached = C.links_dns_cached(o.set, name, #name, AAAA)
    if cached ~= nil then status6 = take(cached, list, true) end
    cached = C.links_dns_cached(o.set, name, #name, A)
    if cached ~= nil then status4 = take(cached, list, true) end
    if status6 and status4 then return both(status6, status4) end
    return ask_missing(name, o, list, status6, status4)
end

-- --- Names as people write them -----------------------------------------------------------------

local generation, ndots, search = nil, 1, {}
local orders, orders_count, orders_until = {}, 0, 0

-- Looks whether the system's files have changed.
local function refresh()
    local now = C.links_dns_refresh()
    if now == generation then return end
    generation = now
    local conf = C.links_dns_conf_now()
    ndots, search = conf.ndots, {}
    for i = 0, conf.nsearch - 1 do search[i + 1] = ffi.string(C.links_dns_search(i)) end
    orders_until = 0
end

local function dots_in(host)
    local n = 0
    for i = 1, #host do
        if host:byte(i) == 46 then n = n + 1 end
    end
    return n
end

-- Calls ask(name, ...) with the name and what the search list makes of it, in the C library's
-- order, until one of them is there. Returns 0; or nil and why not.
local function try_names(host, ask, ...)
    if host:byte(-1) == 46 or #search == 0 then
        local status, rc = ask(host, ...)
        if status == 0 then return 0 end
        return nil, status or rc
    end
    local first = dots_in(host) >= ndots
    local found = ENOTFOUND
    for i = first and 0 or 1, first and #search or #search + 1 do
        local domain = search[i]
        local status, rc = ask(domain and host .. "." .. domain or host, ...)
        if status == 0 then return 0 end
        -- With a domain it may be too long; then there is no such name.
        if not status and not (domain and rc == EBADNAME) then return nil, rc end
        if status == ENODATA or (status == ESERVFAIL and found ~= ENODATA) then
            found = status
        elseif status and status ~= ENOTFOUND and status ~= ESERVFAIL then
            return nil, status -- nobody answers, and nobody would for the others
        end
    end
    return nil, found
end

local function ask_host(name, qtype, o, list)
    return ask_one(name, qtype, o, take, list, false, o.ttl)
end

local function resolve_host(what, family, host, o)
    refresh()
    local list = {}
    local here = C.links_dns_local(host, #host, family)
    local status, rc
    if here ~= nil then
        status = take(here, list, false, o.ttl)
    else
        status, rc = try_names(host, ask_host, family == 6 and AAAA or A, o, list)
    end
    if status == 0 then return list end
    return nil, new_error(rc or status, what, host)
end

local SIGNATURE4, SIGNATURE6 = "dns.resolve4(host[, options])", "dns.resolve6(host[, options])"

--- The IPv4 addresses of a host.
---
--- A literal address is returned as it is. Names are found as described above; resolv.conf's search
--- list applies, unless the name ends with a dot.
---
--- @param host     string   a name or an address
--- @param options  table    default:
---                          timeout  5000   ms that a server has to answer in, or resolv.conf's
---                          tries    2      times that each server is asked, or resolv.conf's
---                          servers  nil    up to 8 addresses such as "127.0.0.1:5353"
---                          ttl      false  return tables {address =, ttl = seconds left}
--- @return array            of addresses as strings, in the server's order
--- @return nil, err         ARES_ENOTFOUND     there is no such name
---                          ARES_ENODATA       it has no address of this family
---                          ARES_EBADNAME      this is no name: a part is empty or too long, or
---                                             a byte in it is none of a name's
---                          ARES_ESERVFAIL     the servers failed to find out
---                          ARES_EREFUSED      they refused to
---                          ARES_ETIMEOUT      none answered, `tries` times
---                          ARES_ECONNREFUSED  none could be reached
---                          ARES_EBADRESP      an answer was malformed
---                          FULL               10,000 questions are being asked already
---                          ETIMEDOUT          a deadline of task.withTimeout came
---                          ECANCELED          this task was cancelled
--- @raise                   an argument or option of another type; a server that is no address
--- @wait
--- @usage local dns = require "dns"
--- assert(dns.resolve4("localhost")[1] == "127.0.0.1")
--- assert(dns.resolve4("192.0.2.1")[1] == "192.0.2.1")
--- local _, err = dns.resolve4("not..a.name")
--- assert(err.name == "ARES_EBADNAME")
function dns.resolve4(host, options)
    if type(host) ~= "string" then check.type(SIGNATURE4, "host", host, "string") end
    local o, err = read_options(SIGNATURE4, options, RESOLVE_HOST)
    if not o then return nil, err end
    return resolve_host("resolve4", 4, host, o)
end

--- The IPv6 addresses of a host: as dns.resolve4.
---
--- @param host     string   a name or an address
--- @param options  table    as for dns.resolve4
--- @return array            of addresses as strings, in the server's order
--- @return nil, err         as for dns.resolve4
--- @raise                   an argument or option of another type; a server that is no address
--- @wait
--- @usage assert(require("dns").resolve6("::1")[1] == "::1")
function dns.resolve6(host, options)
    if type(host) ~= "string" then check.type(SIGNATURE6, "host", host, "string") end
    local o, err = read_options(SIGNATURE6, options, RESOLVE_HOST)
    if not o then return nil, err end
    return resolve_host("resolve6", 6, host, o)
end

-- --- Look-ups -----------------------------------------------------------------------------------

-- The places of the addresses in the order of RFC 6724. What it depends on is this host's routes,
-- which the system is asked for with four calls for each address: not every time.
local function order_of(list)
    local texts = {}
    for i = 1, math.min(#list, 64) do texts[i] = list[i].address end
    local key = table.concat(texts, " ")
    local now = core.now()
    if now >= orders_until or orders_count >= ORDERS_MAX then
        orders, orders_count, orders_until = {}, 0, now + ORDER_MS
    end
    local order = orders[key]
    if not order then
        local places = ffi.new("uint8_t[64]")
        order = {}
        for i = 1, C.links_dns_order(key, places) do order[i] = places[i - 1] + 1 end
        orders[key], orders_count = order, orders_count + 1
    end
    return order
end

local function sorted(list)
    if #list < 2 then return list end
    local has6 = false
    for i = 1, #list do has6 = has6 or list[i].family == 6 end
    if not has6 then return list end -- in the servers' order, which is to be kept
    local order, result = order_of(list), {}
    for i = 1, #order do result[i] = list[order[i]] end
    for i = #order + 1, #list do result[i] = list[i] end
    return result
end

local function ask_family(name, qtype, o, list)
    return ask_one(name, qtype, o, take, list, true)
end

local LOOKUP_SIGNATURE = "dns.lookup(host[, options])"

--- The addresses of a host, of both families, in the order in which to try them (RFC 6724).
---
--- Both families are asked for at once. When one is there, the other has another 250 ms.
---
--- @param host     string   a name or an address
--- @param options  table    default:
---                          family   0     4 or 6: only these; 0: both
---                          all      true  false: only the first one
---                          timeout, tries, servers: as for dns.resolve4
--- @return array            of {address = string, family = 4 or 6}
--- @return nil, err         as for dns.resolve4
--- @raise                   an argument or option of another type; a server that is no address
--- @wait
--- @usage local dns = require "dns"
--- local list = assert(dns.lookup("localhost", { family = 4 }))
--- assert(list[1].address == "127.0.0.1" and list[1].family == 4)
--- assert(dns.lookup("::1")[1].family == 6)
function dns.lookup(host, options)
    if type(host) ~= "string" then check.type(LOOKUP_SIGNATURE, "host", host, "string") end
    local o, err = read_options(LOOKUP_SIGNATURE, options, LOOKUP)
    if not o then return nil, err end
    if o.family % 2 ~= 0 or o.family == 2 then
        error(LOOKUP_SIGNATURE .. " options.family must be 0, 4 or 6", 2)
    end
    refresh()
    local family, list = o.family, {}
    local here = C.links_dns_local(host, #host, family)
    local status, rc
    if here ~= nil then
        status = take(here, list, true)
    elseif family == 0 then
        status, rc = try_names(host, ask_both, o, list)
    else
        status, rc = try_names(host, ask_family, family == 6 and AAAA or A, o, list)
    end
    if status ~= 0 then return nil, new_error(rc or status, "lookup", host) end
    list = sorted(list)
    return o.all and list or { list[1] }
end

-- --- Records ------------------------------------------------------------------------------------

local function take_records(answer)
    if answer.status ~= 0 then return C.links_dns_status(answer) end
    return records.all(answer, C.links_dns_age(answer))
end

local RESOLVE_SIGNATURE = "dns.resolve(name, type[, options])"

--- Records of the DNS. The hosts file and the search list have no part in this.
---
--- | type | fields |
--- |---|---|
--- | A, AAAA | address |
--- | NS, CNAME, PTR | name |
--- | MX | exchange, priority |
--- | SRV | name, port, priority, weight |
--- | TXT | the strings, 1 to n; text: all of them together |
--- | SOA | nsname, hostmaster, serial, refresh, retry, expire, minttl |
--- | CAA | tag, value, flags, critical |
--- | NAPTR | order, preference, flags, service, regexp, replacement |
--- | ANY | all that there are; of a type not named here: data, its bytes |
---
--- Each has `type` and `ttl`, the seconds that are left, as well. Names are in lower case; bytes
--- that names usually do not have stand in them as \ddd.
---
--- @param name     string   a name; "." is the root
--- @param type     string   as above, in either case
--- @param options  table    timeout, tries, servers: as for dns.resolve4
--- @return array            of records
--- @return nil, err         as for dns.resolve4
--- @raise                   an argument or option of another type; an unknown type; a server that
---                          is no address
--- @wait
--- @usage local dns = require "dns"
--- local list, err = dns.resolve("example.com", "MX", { servers = { "127.0.0.1:1" }, tries = 1 })
--- assert(list == nil and err.name:find("^ARES_"))
function dns.resolve(name, type, options)
    check.type(RESOLVE_SIGNATURE, "name", name, "string")
    check.type(RESOLVE_SIGNATURE, "type", type, "string")
    local number = records.types[type:upper()]
    if not number then
        local near = check.nearest(type, records.types)
        error(RESOLVE_SIGNATURE .. ' unknown type "' .. type:sub(1, 40) .. '"' ..
            (near and ' (did you mean "' .. near .. '"?)' or ""), 2)
    end
    local o, err = read_options(RESOLVE_SIGNATURE, options, RESOLVE)
    if not o then return nil, err end
    refresh()
    local list, rc = ask_one(name, number, o, take_records)
    if _G.type(list) == "table" then return list end
    return nil, new_error(rc or list, "resolve " .. type:upper(), name)
end

-- What may be a host's name (RFC 1123, and the underscore): a server may say anything.
local function is_host(name)
    return name:find("^[%w_][%w_%-%.]*$") ~= nil and not name:find(".-", 1, true)
end

local function names_of(list)
    local names = {}
    for _, record in ipairs(list) do
        if is_host(record.name) then names[#names + 1] = record.name end
    end
    return names
end

local REVERSE_SIGNATURE = "dns.reverse(ip[, options])"

--- The names of an address: of the hosts file, or else of the DNS.
---
--- @param ip       string   an IPv4 or IPv6 address
--- @param options  table    timeout, tries, servers: as for dns.resolve4
--- @return array            of names
--- @return nil, err         as for dns.resolve4; and
---                          EINVAL         `ip` is no address
---                          ARES_EBADRESP  none of the names could be a host's
--- @raise                   an argument or option of another type; a server that is no address
--- @wait
--- @usage assert(#require("dns").reverse("127.0.0.1") >= 1)
function dns.reverse(ip, options)
    check.type(REVERSE_SIGNATURE, "ip", ip, "string")
    local o, err = read_options(REVERSE_SIGNATURE, options, RESOLVE)
    if not o then return nil, err end
    local name = ffi.new("char[80]")
    local len = ip:find("\0", 1, true) and 0 or C.links_dns_arpa(ip, name)
    if len == 0 then return nil, new_error(errors.code("EINVAL"), "reverse", ip) end
    refresh()
    local here = C.links_dns_local_names(ip)
    if here ~= nil then return names_of(records.all(here, 0)) end
    local list, rc = ask_one(ffi.string(name, len), PTR, o, take_records)
    if type(list) ~= "table" then return nil, new_error(rc or list, "reverse", ip) end
    local names = names_of(list)
    if #names == 0 then return nil, new_error(binding.EBADRESP, "reverse", ip) end
    return names
end

-- --- Settings -----------------------------------------------------------------------------------

--- Sets the servers that are asked where a call names none, and forgets all answers.
---
--- @param list  array   of addresses such as "127.0.0.1", "127.0.0.1:5353", "[::1]:5353": 1 to 8.
---                      nil: those of resolv.conf
--- @return true
--- @return nil, err     FULL  1,024 lists of servers are in use
--- @raise               not such a list
--- @usage local dns = require "dns"
--- dns.setServers { "192.0.2.53", "192.0.2.54:5353" }
--- assert(dns.getServers()[2] == "192.0.2.54:5353")
--- dns.setServers(nil)
function dns.setServers(list)
    check.type("dns.setServers(list)", "list", list, "table|string|nil")
    if list == nil then
        C.links_dns_servers_default(0)
        return true
    end
    local set, err = server_set("dns.setServers(list)", "list", list, 2)
    if not set then return nil, err end
    C.links_dns_servers_default(set)
    return true
end

--- The servers that are asked where a call names none.
---
--- @return array   of strings, as for dns.setServers; a port of 53 is left out
--- @usage assert(#require("dns").getServers() >= 1)
function dns.getServers()
    refresh()
    local list = {}
    for server in ffi.string(C.links_dns_servers_text(0)):gmatch("[^,]+") do
        local host, port = server:match("^%[?(.-)%]?:(%d+)$")
        list[#list + 1] = port == "53" and host or server
    end
    return list
end

--- Forgets answers.
---
--- @param host  string   only those about this name. Default: all
--- @return integer       how many there were
--- @raise                `host` is not a string
--- @usage assert(require("dns").clearCache("example.com") >= 0)
function dns.clearCache(host)
    check.type("dns.clearCache([host])", "host", host, "string|nil")
    if not host then return C.links_dns_clear(nil, 0) end
    refresh()
    local n = C.links_dns_clear(host, #host)
    for _, domain in ipairs(search) do
        local name = host .. "." .. domain
        n = n + C.links_dns_clear(name, #name)
    end
    return n
end

--- What the resolver has done.
---
--- @return table   hits      questions that the cache answered
---                 misses    questions that it did not
---                 shared    questions that were being asked already
---                 queries   sent to servers, repeats included
---                 timeouts  of them, those that got no answer
---                 failures  questions for which no server had an answer
---                 cached    answers in the cache
---                 bytes     their size
---                 pending   questions that are being asked
--- @usage assert(require("dns").stats().pending == 0)
function dns.stats()
    local s = ffi.new("links_dns_stats")
    C.links_dns_stats_now(s)
    return {
        hits = s.hits,
        misses = s.misses,
        shared = s.shared,
        queries = s.queries,
        timeouts = s.timeouts,
        failures = s.failures,
        cached = s.cached,
        bytes = s.bytes,
        pending = s.pending,
    }
end

local CONFIGURE = {
    hosts = { type = "string" },
    resolvConf = { type = "string" },
    cacheSize = { type = "integer", default = -1, max = INT_MAX },
    minTtl = { type = "integer", default = -1, max = INT_MAX },
    maxTtl = { type = "integer", default = -1, max = INT_MAX },
    maxNegativeTtl = { type = "integer", default = -1, max = INT_MAX },
}

--- Changes how the resolver works, for the whole process. What is left out stays as it is.
---
--- @param options  table   default:
---                         hosts           "/etc/hosts"        the hosts file
---                         resolvConf      "/etc/resolv.conf"  the resolver's configuration
---                         cacheSize       4096                answers that are kept; 0: none
---                         minTtl          0                   s that an answer is kept at least
---                         maxTtl          86400               ... and at most
---                         maxNegativeTtl  900                 s that "no such" is kept at most
--- @return true
--- @raise                  an option of another type or out of bounds, or one that nobody knows
--- @usage require("dns").configure { cacheSize = 4096 }
function dns.configure(options)
    local o = check.options("dns.configure(options)", options, CONFIGURE)
    C.links_dns_setup_now(ffi.new("links_dns_setup", o.hosts, o.resolvConf, o.cacheSize, o.minTtl,
        o.maxTtl, o.maxNegativeTtl))
    return true
end

return dns
