-- Starts programs as a user does, and tells what they have printed and how they ended. While it
-- waits, the loop turns.
local ffi = require "ffi"
local bit = require "bit"
local timer = require "links.timer"

ffi.cdef [[
typedef struct program_poll { int fd; short events, revents; } program_poll;
int pipe2(int fds[2], int flags);
int posix_spawn(int *pid, const char *path, const void *actions, const void *attributes,
                const char *const argv[], const char *const envp[]);
int posix_spawn_file_actions_init(void *actions);
int posix_spawn_file_actions_destroy(void *actions);
int posix_spawn_file_actions_adddup2(void *actions, int fd, int to);
int posix_spawnattr_init(void *attributes);
int posix_spawnattr_setflags(void *attributes, short flags);
int posix_spawnattr_setsigdefault(void *attributes, const void *set);
int sigfillset(void *set);
int kill(int pid, int signum);
int waitpid(int pid, int *status, int options);
int close(int fd);
ssize_t read(int fd, void *data, size_t len);
ssize_t write(int fd, const void *data, size_t len);
ssize_t readlink(const char *path, char *target, size_t len);
extern char **environ;
]]
local C = ffi.C

local O_CLOEXEC, WNOHANG, SETSIGDEF, EAGAIN = 0x80000, 1, 4, 11
local O_NONBLOCK = 0x800
local PATIENCE_MS = 60000

local program = {}

local function own_path()
    local target = ffi.new("char[4096]")
    local n = C.readlink("/proc/self/exe", target, 4096)
    if n > 0 then return ffi.string(target, n) end
    local first = 0
    while arg[first - 1] do first = first - 1 end
    return arg[first]
end

-- The links program that runs the specs.
program.path = own_path()

-- AddressSanitizer needs more addresses than `ulimit -v` leaves it.
program.sanitized = pcall(function()
    ffi.cdef "void __asan_init(void);"
    return C.__asan_init
end)

program.signals = { HUP = 1, INT = 2, KILL = 9, ALRM = 14, PIPE = 13, TERM = 15 }

local Process = {}
Process.__index = Process

local function pipe(flags)
    local fds = ffi.new("int[2]")
    assert(C.pipe2(fds, bit.bor(O_CLOEXEC, flags or 0)) == 0, "pipe2 failed")
    return fds[0], fds[1]
end

local function strings(list)
    local array = ffi.new("const char *[?]", #list + 1) -- [?]: of a length that no trace knows
    for i, text in ipairs(list) do array[i - 1] = text end
    array[#list] = nil
    return array
end

-- Starts a program. options: path (of the program; default: links itself), env (array of
-- "NAME=value"; default: as here), stdin (a string; default: nothing to read).
function program.start(arguments, options)
    options = options or {}
    local path = options.path or program.path
    local argv = { path, unpack(arguments) }
    local in_read, in_write = pipe()
    local out_read, out_write = pipe(O_NONBLOCK)
    local err_read, err_write = pipe(O_NONBLOCK)
    local actions, attributes = ffi.new("char[512]"), ffi.new("char[1024]")
    local all = ffi.new("char[256]")
    C.posix_spawn_file_actions_init(actions)
    C.posix_spawn_file_actions_adddup2(actions, in_read, 0)
    C.posix_spawn_file_actions_adddup2(actions, out_write, 1)
    C.posix_spawn_file_actions_adddup2(actions, err_write, 2)
    C.posix_spawnattr_init(attributes)
    C.posix_spawnattr_setflags(attributes, SETSIGDEF)
    C.sigfillset(all)
    C.posix_spawnattr_setsigdefault(attributes, all)
    local pid = ffi.new("int[1]")
    local env = options.env and strings(options.env) or ffi.cast("const char *const *", C.environ)
    local rc = C.posix_spawn(pid, path, actions, attributes, strings(argv), env)
    C.posix_spawn_file_actions_destroy(actions)
    C.close(in_read)
    C.close(out_write)
    C.close(err_write)
    assert(rc == 0, "cannot start " .. path)
    local text = options.stdin or ""
    if #text > 0 then assert(C.write(in_write, text, #text) == #text) end
    C.close(in_write)
    local fds = { out = out_read, err = err_read }
    return setmetatable({ pid = pid[0], fds = fds, out = "", err = "" }, Process)
end

local chunk = ffi.new("char[65536]")

-- Takes what has come on one stream, and at most what a pipe holds: a program that writes without
-- end must not keep the caller here. False once the stream has ended.
function Process:take(name)
    local fd = self.fds[name]
    if not fd then return false end
    for _ = 1, 16 do
        local n = C.read(fd, chunk, 65536)
        if n > 0 then
            self[name] = self[name] .. ffi.string(chunk, n)
        elseif n < 0 and ffi.errno() == EAGAIN then
            return true
        else
            C.close(fd)
            self.fds[name] = nil
            return false
        end
    end
    return true
end

-- Waits until `done()` says so; kills the program where it takes too long.
local function patiently(self, what, done)
    local give_up = timer.now() + PATIENCE_MS
    while true do
        self:take("out")
        self:take("err")
        if done() then return end
        if timer.now() > give_up then
            C.kill(self.pid, program.signals.KILL)
            error("waited too long until " .. what .. "; it printed " .. self.out .. self.err, 3)
        end
        timer.sleep(1)
    end
end

-- Waits until a text stands in what the program has printed on stdout.
function Process:expect(text)
    patiently(self, "it prints " .. text, function()
        return self.out:find(text, 1, true) or not self.fds.out
    end)
    assert(self.out:find(text, 1, true), "it has ended, and printed " .. self.out .. self.err)
end

-- Stops reading one of its streams.
function Process:hang_up(name)
    C.close(self.fds[name])
    self.fds[name] = nil
end

function Process:kill(name)
    assert(C.kill(self.pid, program.signals[name]) == 0)
end

-- Waits for its end. Returns a table: code or signal, out, err.
function Process:wait()
    local status = ffi.new("int[1]")
    patiently(self, "it ends", function()
        return C.waitpid(self.pid, status, WNOHANG) == self.pid
    end)
    self:take("out")
    self:take("err")
    for _, name in ipairs { "out", "err" } do
        if self.fds[name] then self:hang_up(name) end
    end
    local signum = bit.band(status[0], 0x7f)
    local name
    for known, number in pairs(program.signals) do
        if number == signum then name = known end
    end
    return {
        out = self.out,
        err = self.err,
        code = signum == 0 and bit.band(bit.rshift(status[0], 8), 0xff) or nil,
        signal = signum ~= 0 and (name or signum) or nil,
    }
end

-- Starts a program and waits for its end.
function program.run(arguments, options)
    return program.start(arguments, options):wait()
end

-- Runs Lua code as a script would run: `links -e code`.
function program.eval(code, options)
    return program.run({ "-e", code }, options)
end

-- Runs a command of the shell, in which $LINKS is the program.
function program.shell(command)
    local whole = "LINKS='" .. program.path .. "'; " .. command
    return program.run({ "-c", whole }, { path = "/bin/sh" })
end

-- A new file, which is removed at the end of `fn(path)`.
function program.with_file(text, fn)
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    local ok, err = pcall(fn, path)
    os.remove(path)
    if not ok then error(err, 0) end
end

return program
