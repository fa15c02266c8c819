--- The machine and its system: processors, memory, load, clocks, users, limits, interfaces.
---
--- Nothing here waits. Sizes are bytes, times milliseconds, unless it says otherwise. Besides the
--- functions there are fields: `type` ("Linux", "FreeBSD", ...), `release` and `version` of the
--- kernel, `arch` ("x86_64", "aarch64", ...: what `uname -m` says), `endian` ("LE" or "BE") and
--- `pageSize`.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"

ffi.cdef [[
typedef struct links_cpu {
    char model[64];
    double speed;
    double user, nice, sys, idle, irq;
} links_cpu;
typedef struct links_memory {
    double total, free, available;
    double swap_total, swap_free;
    double rss;
    double limit;
} links_memory;
typedef struct links_system_names {
    char type[65], release[65], version[65], arch[65];
} links_system_names;
typedef struct links_user {
    double uid, gid;
    const char *name, *home, *shell;
    const uint32_t *groups;
    int ngroups;
} links_user;
typedef struct links_group {
    double gid;
    const char *name;
    char **members;
} links_group;
typedef struct links_interface {
    char name[32];
    char address[46], netmask[46], mac[18];
    int32_t family;
    int32_t internal;
    int32_t prefix;
    uint32_t scope;
} links_interface;
int links_system_cpus(links_cpu *cpus, int max);
int links_system_memory(links_memory *memory);
int links_system_load(double load[3]);
int64_t links_system_hrtime64(void);
double links_system_hrtime(void);
double links_system_wall_ms(void);
double links_system_turn_ms(void);
double links_system_uptime(void);
int links_system_cpu_count(void);
int links_system_page_size(void);
void links_system_names_get(links_system_names *names);
int links_system_hostname(char *name, int size);
int links_system_user(links_user *user, const char *name, double uid);
int links_system_group(links_group *group, const char *name, double gid);
const char *links_system_limit_name(int index);
int links_system_limit_get(int index, double *soft, double *hard);
int links_system_limit_set(int index, double soft, double hard);
int links_system_interfaces(links_interface *interfaces, int max);
]]
local C = ffi.C
local text = ffi.string

local system = {}

do
    local names = ffi.new("links_system_names")
    C.links_system_names_get(names)
    system.type = text(names.type)
    system.release = text(names.release)
    system.version = text(names.version)
    system.arch = text(names.arch)
    system.endian = ffi.abi("le") and "LE" or "BE"
    system.pageSize = C.links_system_page_size()
end

-- Calls a function that fills in an array and says how many there are, until the array is long
-- enough: processors and interfaces come and go.
local function list(fn, kind)
    local room = 16
    while true do
        local items = ffi.new(kind, room)
        local n = fn(items, room)
        if n <= room then return n, items end
        room = n + 8
    end
end

-- --- The machine -------------------------------------------------------------------------------

--- The processors that are on line.
---
--- @return array     for each: model  string, what the maker calls it ("unknown" where nobody says)
---                             speed  integer, MHz (0: unknown)
---                             times  {user =, nice =, sys =, idle =, irq =}, integers: what it has
---                                    done since the system started, in milliseconds
--- @return nil, err  the system does not tell
--- @usage local system = require "system"
--- local cpu = system.cpuinfo()[1]
--- print(cpu.model, cpu.speed, cpu.times.idle)
function system.cpuinfo()
    local n, cpus = list(C.links_system_cpus, "links_cpu[?]") -- [?]: of 16 or more
    if n < 0 then return nil, errors.new(n, "cpuinfo") end
    local result = {}
    for i = 0, n - 1 do
        local cpu = cpus[i]
        result[i + 1] = {
            model = text(cpu.model),
            speed = math.floor(cpu.speed + 0.5),
            times = {
                user = cpu.user, nice = cpu.nice, sys = cpu.sys, idle = cpu.idle, irq = cpu.irq,
            },
        }
    end
    return result
end

--- How much memory there is.
---
--- @return table     total      of the machine
---                   free       used for nothing at all
---                   available  what programs can have before the machine swaps, or this process
---                              reaches its limit
---                   limit      the most that this process and its kin may have: that of their
---                              control group (version 1 or 2) where there is one, else total
---                   rss        what this process has
---                   swap       {total =, free =}
--- @return nil, err  the system does not tell
--- @usage local system = require "system"
--- local m = system.meminfo()
--- assert(m.free <= m.total and m.rss <= m.total and m.limit <= m.total)
function system.meminfo()
    local m = ffi.new("links_memory")
    local rc = C.links_system_memory(m)
    if rc < 0 then return nil, errors.new(rc, "meminfo") end
    return {
        total = m.total,
        free = m.free,
        available = m.available,
        limit = m.limit,
        rss = m.rss,
        swap = { total = m.swap_total, free = m.swap_free },
    }
end

--- How many processes wanted a processor, on average, in the last 1, 5 and 15 minutes.
---
--- @return array     three numbers
--- @return nil, err  UNSUPPORTED  the system does not tell
--- @usage local system = require "system"
--- print(unpack(system.loadavg()))
function system.loadavg()
    local load = ffi.new("double[3]")
    local rc = C.links_system_load(load)
    if rc < 0 then return nil, errors.new(rc, "loadavg") end
    return { load[0], load[1], load[2] }
end

--- How long the system has been up.
---
--- @return number    seconds
--- @return nil, err  the system does not tell
--- @usage assert(require("system").uptime() > 0)
function system.uptime()
    local up = C.links_system_uptime()
    if up < 0 then return nil, errors.new(up, "uptime") end
    return up
end

--- How many processors this process can keep busy: those that its affinity allows, or fewer where
--- its control group (version 1 or 2) has a quota, which is rounded up. As many workers are right.
---
--- @return integer   1 or more
--- @usage assert(require("system").cpuCount() >= 1)
function system.cpuCount()
    return C.links_system_cpu_count()
end

--- The machine's name.
---
--- @return string
--- @return nil, err  ENAMETOOLONG  it has more than 255 bytes
--- @usage print(require("system").hostname())
function system.hostname()
    local name = ffi.new("char[256]")
    local rc = C.links_system_hostname(name, 256)
    if rc < 0 then return nil, errors.new(rc, "hostname") end
    return text(name)
end

--- The addresses of the network interfaces that are up.
---
--- @return table     by name, for each an array of
---                   {address =, family = 4 or 6, netmask =, cidr = "127.0.0.1/8", mac =,
---                   internal = boolean, scope =}: `internal` of a loopback interface, `scope` of
---                   an IPv6 address that is valid on one link only
--- @return nil, err  EMFILE, ENOMEM  the system could not be asked
--- @usage local system = require "system"
--- for name, addresses in pairs(system.networkInterfaces()) do
---     for _, a in ipairs(addresses) do print(name, a.family, a.address) end
--- end
function system.networkInterfaces()
    -- [?]: of 16 or more
    local n, items = list(C.links_system_interfaces, "links_interface[?]")
    if n < 0 then return nil, errors.new(n, "networkInterfaces") end
    local result = {}
    for i = 0, n - 1 do
        local item = items[i]
        local name, address = text(item.name), text(item.address)
        result[name] = result[name] or {}
        table.insert(result[name], {
            address = address,
            family = item.family,
            netmask = text(item.netmask),
            cidr = address .. "/" .. item.prefix,
            mac = text(item.mac),
            internal = item.internal ~= 0,
            scope = item.scope ~= 0 and item.scope or nil,
        })
    end
    return result
end

-- --- Clocks ------------------------------------------------------------------------------------

--- A clock that never goes back, in nanoseconds. It is the same for all processes of the machine.
--- As a number of Lua it is exact until the system has been up for 104 days; hrtime64 always is.
---
--- @return number   an integer
--- @usage local system = require "system"
--- local begun = system.hrtime()
--- assert(system.hrtime() >= begun)
function system.hrtime()
    return C.links_system_hrtime()
end

--- The same clock, exact.
---
--- @return int64_t   a number of LuaJIT's FFI
--- @usage local system = require "system"
--- local begun = system.hrtime64()
--- print(tonumber(system.hrtime64() - begun))
function system.hrtime64()
    return C.links_system_hrtime64()
end

--- The wall clock. It is read once for each turn of the loop, so this is cheap, and the same for
--- all that a turn does. It may be set back: measure with timer.now or system.hrtime.
---
--- @return number   milliseconds since 1970, an integer
--- @usage local system = require "system"
--- assert(math.abs(system.now() / 1000 - system.time()) < 60)
function system.now()
    return C.links_system_turn_ms()
end

--- The wall clock, read now.
---
--- @return integer   seconds since 1970
--- @usage assert(require("system").time() > 1e9)
function system.time()
    return math.floor(C.links_system_wall_ms() / 1000)
end

-- --- What the rock "luasystem" has under this name: busted, for one, requires it ----------------

--- The wall clock as the rock luasystem has it, so that programs written for that `system` run.
---
--- @return number   seconds since 1970, with a fraction
--- @usage assert(math.abs(require("system").gettime() - os.time()) < 2)
function system.gettime()
    return C.links_system_wall_ms() / 1000
end

--- The monotonic clock as luasystem has it.
---
--- @return number   seconds, with a fraction
--- @usage local system = require "system"
--- assert(math.abs(system.monotime() - system.hrtime() / 1e9) < 1)
function system.monotime()
    return C.links_system_hrtime() / 1e9
end

--- Waits, as luasystem has it: in seconds. The other tasks go on.
---
--- @param seconds  number  0 to 2147483
--- @return true
--- @return nil, err        as timer.sleep
--- @raise                  `seconds` is no such number
--- @wait
--- @usage assert(require("system").sleep(0.001))
function system.sleep(seconds)
    if type(seconds) ~= "number" or not (seconds >= 0 and seconds <= 2147483) then
        check.integer("system.sleep(seconds)", "seconds", seconds, 0, 2147483)
    end
    local ok, err = require("links.timer").sleep(seconds * 1000)
    return ok, err
end

local DAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local MONTHS = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
}
local dated, date

--- A time as HTTP writes it (RFC 9110, 5.6.7). The last answer is kept, so asking again within a
--- second costs nothing.
---
--- @param time  integer  seconds since 1970, 0 to 253402300799. Default: now
--- @return string        such as "Sun, 06 Nov 1994 08:49:37 GMT"
--- @raise                `time` is no such integer
--- @usage assert(require("system").httpDate(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT")
function system.httpDate(time)
    if time == nil then time = system.time() end
    if time == dated then return date end
    check.integer("system.httpDate([time])", "time", time, 0, 253402300799)
    local t = os.date("!*t", time)
    dated = time
    -- Not os.date's own names of days and months, which the locale may translate.
    date = ("%s, %02d %s %04d %02d:%02d:%02d GMT"):format(DAYS[t.wday], t.day, MONTHS[t.month],
        t.year, t.hour, t.min, t.sec)
    return date
end

-- --- Users, limits -----------------------------------------------------------------------------

ffi.cdef "uint32_t geteuid(void); uint32_t getegid(void);"

-- A name or a number for C; nil is the number `default`.
local function name_or_id(signature, param, value, default)
    check.type(signature, param, value, "string|number|nil", 2)
    if type(value) == "string" then
        -- C would see a shorter name, and perhaps that of somebody else.
        return value:find("%z") and "" or value, 0
    end
    return nil, value or default
end

--- A user, as the system's user database has it. That database may be a slow one, on the network.
---
--- @param who  string|integer  a name or an id. Default: the user that this process acts as
--- @return table               {name =, uid =, gid =, home =, shell =, groups =}: `groups` is an
---                             array of the ids of all groups that the user is in, `gid` among them
--- @return nil, err            NOT_FOUND  there is no such user
---                             EIO, EMFILE, ENFILE, ENOMEM  the database cannot be read
--- @raise                      `who` is of another type
--- @usage local system = require "system"
--- local root = assert(system.userInfo(0))
--- assert(system.userInfo(root.name).uid == 0)
function system.userInfo(who)
    local name, uid = name_or_id("system.userInfo([who])", "who", who, C.geteuid())
    local user = ffi.new("links_user")
    local rc = C.links_system_user(user, name, uid)
    if rc < 0 then
        return nil, errors.new(rc, "userInfo", { address = tostring(who or uid) })
    end
    local groups = {}
    for i = 0, user.ngroups - 1 do groups[i + 1] = user.groups[i] end
    return {
        name = text(user.name),
        uid = user.uid,
        gid = user.gid,
        home = text(user.home),
        shell = text(user.shell),
        groups = groups,
    }
end

--- A group, as the system's group database has it.
---
--- @param which  string|integer  a name or an id. Default: the group that this process acts as
--- @return table                 {name =, gid =, members =}: `members` are the names of those users
---                               who are in it besides those whose primary group it is
--- @return nil, err              NOT_FOUND  there is no such group
---                               EIO, EMFILE, ENFILE, ENOMEM  the database cannot be read
--- @raise                        `which` is of another type
--- @usage local system = require "system"
--- local group = assert(system.groupInfo(0))
--- assert(system.groupInfo(group.name).gid == 0)
function system.groupInfo(which)
    local name, gid = name_or_id("system.groupInfo([which])", "which", which, C.getegid())
    local group = ffi.new("links_group")
    local rc = C.links_system_group(group, name, gid)
    if rc < 0 then
        return nil, errors.new(rc, "groupInfo", { address = tostring(which or gid) })
    end
    local members, i = {}, 0
    while group.members[i] ~= nil do
        members[i + 1] = text(group.members[i])
        i = i + 1
    end
    return { name = text(group.name), gid = group.gid, members = members }
end

local LIMITS = {}
while C.links_system_limit_name(#LIMITS) ~= nil do
    LIMITS[#LIMITS + 1] = text(C.links_system_limit_name(#LIMITS))
end
local limit_index = {}
for i, name in ipairs(LIMITS) do limit_index[name] = i - 1 end

local out_soft, out_hard = ffi.new("double[1]"), ffi.new("double[1]")

local function get_limit(index)
    local rc = C.links_system_limit_get(index, out_soft, out_hard)
    if rc < 0 then return nil, errors.new(rc, "getrlimit") end
    return { soft = out_soft[0], hard = out_hard[0] }
end

local SIGNATURE = "system.limits([name[, soft[, hard]]])"

local function check_limit(name, value)
    if type(value) == "number" and (value == math.huge or (value >= 0 and value % 1 == 0)) then
        return
    end
    error(SIGNATURE .. " " .. name .. " must be [integer], 0 or more, or math.huge", 3)
end

--- The limits of this process and of those that it starts, and their setting. math.huge is no
--- limit.
---
--- links raises its soft limits of "nofile", to the hard one, and of "stack", to 96 MiB, when it
--- starts; the programs that it starts get those that links was started with.
---
--- @param name  string   "nofile" (descriptors), "core", "cpu" (seconds), "data", "fsize", "stack",
---                       and what else the system has: "as", "memlock", "nproc", ...
--- @param soft  integer  the limit to set. Default: it is not set
--- @param hard  integer  what it may be raised to; only root can raise this. Default: as it is
--- @return table         with a name {soft =, hard =}; without one, such tables by name
--- @return true          when it was set
--- @return nil, err      EPERM   not for this user
---                       EINVAL  `soft` is above `hard`
--- @raise                a limit that nobody knows, or an argument of another type
--- @usage local system = require "system"
--- local files = system.limits("nofile")
--- assert(system.limits("nofile", files.soft, files.hard))
function system.limits(name, soft, hard)
    if name == nil and soft == nil then
        local all = {}
        for index, known in ipairs(LIMITS) do all[known] = get_limit(index - 1) end
        return all
    end
    check.type(SIGNATURE, "name", name, "string")
    local index = limit_index[name]
    if not index then
        local near = check.nearest(name, limit_index)
        local hint = near and ' (did you mean "' .. near .. '"?)' or ""
        error(SIGNATURE .. ' unknown limit "' .. name .. '"' .. hint, 2)
    end
    local now, err = get_limit(index)
    if not now or soft == nil then return now, err end
    check_limit("soft", soft)
    if hard ~= nil then check_limit("hard", hard) end
    local rc = C.links_system_limit_set(index, soft, hard or now.hard)
    if rc < 0 then return nil, errors.new(rc, "setrlimit") end
    return true
end

return system
