-- A links of its own for specs that look at a process from outside: its system calls, its limits,
-- its end.
local ffi = require "ffi"
local wire = require "wire"

ffi.cdef [[
int getpid(void);
int kill(int pid, int signal);
ssize_t readlink(const char *path, char *buffer, size_t size);
]]

local child = {}
local Child = {}
Child.__index = Child

local SIGTERM, SIGKILL = 15, 9

local function read(path)
    local file = io.open(path, "rb")
    if not file then return "" end
    local text = file:read("*a")
    file:close()
    return text
end

-- The program that runs this spec.
function child.program()
    local buffer = ffi.new("char[4096]")
    local n = ffi.C.readlink("/proc/self/exe", buffer, 4096)
    return n > 0 and ffi.string(buffer, n) or "./links"
end

-- The sanitizers' runtime must be the first library of a process, so nothing can be preloaded.
function child.isSanitized()
    return child.program():find("address", 1, true) ~= nil
end

-- kqueue over epoll costs system calls of its own, so they are not counted there.
function child.isEmulated()
    return jit.os == "Linux" and child.program():find("kqueue", 1, true) ~= nil
end

-- Starts `code`, which prints the port it serves. `before` is shell in front of the program:
-- variables, exec through another one. Waits for the port.
function child.start(code, before, setup)
    local base = os.tmpname()
    local self = setmetatable({ base = base, script = base .. ".lua" }, Child)
    local file = assert(io.open(self.script, "w"))
    file:write(code)
    file:close()
    local pipe = io.popen(("(%s exec %s '%s' %s) >%s.out 2>%s.err </dev/null & echo $!"):format(
        setup or "", before or "", child.program(), self.script, base, base))
    self.pid = tonumber(pipe:read("*l"))
    pipe:close()
    self.port = wire.eventually("the port of the child", function()
        local text = read(base .. ".out")
        return text:find("\n", 1, true) and tonumber(text:match("%d+")) or not self:isAlive() and -1
    end)
    return self
end

local TRACED = "read,recvfrom,recvmsg,write,writev,sendto,sendmsg,epoll_ctl,accept4"

-- Why the system calls of a child cannot be counted here, if only because nobody may trace; nil
-- where they can.
function child.cannotTrace()
    if jit.os ~= "Linux" or child.isSanitized()
        or os.execute("strace -f -o /dev/null true >/dev/null 2>&1") ~= 0 then
        return "needs strace"
    end
    return child.isEmulated() and "needs the system's own poll" or nil
end

-- As child.start, with its reads, writes and epoll_ctl written down: see Child:calls.
function child.traced(code)
    local trace = os.tmpname()
    -- -D: strace is the child of the server, so that the process that was started is the server.
    local self = child.start(code, "strace -D -f -qq -o " .. trace .. " -e trace=" .. TRACED)
    self.trace = trace
    return self
end

-- How often it has made which system call since the last connection came, waiting until it has sent
-- `writes` times.
function Child:calls(writes)
    return wire.eventually("the trace of " .. writes .. " writes", function()
        local counts, seen = {}, false
        for line in io.lines(self.trace) do
            local name = line:match("^%d+ +([%w_]+)%(")
            if name == "accept4" and not line:find("= -1", 1, true) then
                seen, counts = true, {}
            elseif seen and name then
                counts[name] = (counts[name] or 0) + 1
            end
        end
        return counts.sendto == writes and counts
    end)
end

function Child:isAlive()
    -- A child of the shell is reaped by init; until then it is a zombie.
    local state = read("/proc/" .. self.pid .. "/stat"):match("%) (%a)")
    return state ~= nil and state ~= "Z"
end

-- Ticks of CPU time so far.
function Child:ticks()
    local user, system = read("/proc/" .. self.pid .. "/stat"):match(
        "%) %a %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ (%d+) (%d+)")
    return tonumber(user) + tonumber(system)
end

function Child:output()
    return read(self.base .. ".out"), read(self.base .. ".err")
end

function Child:stop()
    if self:isAlive() then ffi.C.kill(self.pid, SIGTERM) end
    local ended = pcall(wire.eventually, "the end of the child", function()
        return not self:isAlive()
    end)
    if not ended then ffi.C.kill(self.pid, SIGKILL) end
    for _, suffix in ipairs { "", ".lua", ".out", ".err" } do os.remove(self.base .. suffix) end
    if self.trace then os.remove(self.trace) end
    return ended
end

return child
