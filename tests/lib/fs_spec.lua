package.path = "tests/support/?.lua;" .. package.path

local fs = require "fs"
local process = require "process"
local task = require "task"
local timer = require "timer"
local tools = require "tools"

local dir

before_each(function() dir = assert(fs.tempDir()) end)
after_each(function() fs.remove(dir, { recursive = true }) end)

local function write(name, data) assert(fs.writeFile(dir .. "/" .. name, data)) end
local function read(name) return assert(fs.readFile(dir .. "/" .. name)) end

local function fails(name, syscall, value, err)
    assert.is_nil(value)
    assert.equal(name, err and err.name)
    if syscall then assert.equal(syscall, err.syscall) end
    return err
end

-- A pipe that nobody writes to: opening it keeps a thread until somebody does.
local function make_fifo(name)
    assert(os.execute("mkfifo " .. dir .. "/" .. name) == 0)
    return dir .. "/" .. name
end

-- Writes to the pipe, again and again, while fn runs: whoever opens it meanwhile, and be it late,
-- reads to an end.
local function feeding(path, fn)
    local feeder = assert(process.spawn("sh", { "-c", "while :; do echo hello > " .. path
        .. "; sleep 0.01; done" }, { stdin = "null", stdout = "null", stderr = "null" }))
    local ok, err = pcall(fn)
    feeder:kill("KILL")
    feeder:wait()
    if not ok then error(err, 0) end
end

describe("fs", function()
    it("reads and writes whole files, of any bytes and none", function()
        for _, data in ipairs { "", "x", "a\0b\r\n\255", ("0123456789"):rep(100000) } do
            write("f", data)
            assert.equal(data, read "f")
        end
        assert.same({ "f" }, (fs.readdir(dir)))
    end)

    it("says which call failed, on what", function()
        local err = fails("ENOENT", "open", fs.readFile(dir .. "/none"))
        assert.equal(dir .. "/none", err.path)
        assert.truthy(tostring(err):find("(open " .. dir .. "/none)", 1, true))
        fails("EISDIR", nil, fs.readFile(dir))
        fails("EISDIR", "open", fs.open(dir))
        fails("ENOENT", "open", fs.writeFile(dir .. "/a/b", ""))
        fails("ENOENT", "unlink", fs.remove(dir .. "/none"))
        fails("EINVAL", nil, fs.readFile(dir .. "/a\0b"))
        fails("EINVAL", nil, fs.rename(dir .. "/a", dir .. "/\0"))
        fails("ENAMETOOLONG", "open", fs.readFile(("x"):rep(5000)))
    end)

    it("does not read more than the maximum, be it said by the size or found out", function()
        write("f", ("x"):rep(100))
        assert.equal(100, #fs.readFile(dir .. "/f", { max = 100 }))
        fails("TOO_LARGE", "read", fs.readFile(dir .. "/f", { max = 99 }))
        assert.truthy(#assert(fs.readFile("/proc/self/maps")) > 100)
        fails("TOO_LARGE", "read", fs.readFile("/proc/self/maps", { max = 10 }))
    end)

    it("appends, and makes a new file only where that is asked for", function()
        assert(fs.appendFile(dir .. "/f", "1"))
        assert(fs.appendFile(dir .. "/f", "2"))
        assert.equal("12", read "f")
        fails("EEXIST", "open", fs.writeFile(dir .. "/f", "3", { flag = "wx" }))
        assert.equal("12", read "f")
        assert(fs.writeFile(dir .. "/g", "", { mode = tonumber("600", 8) }))
        assert.equal(tonumber("600", 8), fs.stat(dir .. "/g").mode)
    end)

    it("writes atomically: keeps the permissions, follows a link, leaves nothing behind", function()
        write("f", "old")
        assert(fs.chmod(dir .. "/f", tonumber("640", 8)))
        assert(fs.symlink("f", dir .. "/link"))
        assert(fs.writeFile(dir .. "/link", "new", { atomic = true }))
        assert.equal("new", read "f")
        assert.equal("symlink", fs.lstat(dir .. "/link").type)
        assert.equal(tonumber("640", 8), fs.stat(dir .. "/f").mode)
        assert(fs.writeFile(dir .. "/g", "made", { atomic = true }))
        assert.equal("made", read "g")
        fails("EISDIR", "rename", fs.writeFile(dir, "x", { atomic = true }))
        assert.same({ "f", "g", "link" }, (fs.readdir(dir)))
    end)

    it("reads and writes open files where they stand, or where it is told to", function()
        local f = assert(fs.open(dir .. "/f", "w+"))
        assert.equal(10, f:write("0123456789"))
        assert.is_nil(f:read())
        assert.equal(3, f:seek("set", 3))
        assert.equal("34", f:read(2))
        assert.equal("01", f:read(2, 0))
        assert.equal("5", f:read(1))
        assert.equal(2, f:write("xx", 0))
        assert.equal(1, f:write("y"))
        assert.equal("xx2345y789", read "f")
        assert.equal(9, f:seek("end", -1))
        assert.equal(8, f:seek("cur", -1))
        fails("EINVAL", "seek", f:seek("set", -1))
        assert(f:truncate(4))
        assert.equal(4, f:stat().size)
        assert(f:sync() and f:sync(true))
        assert(f:close() and f:close())
        fails("CLOSED", "read", f:read())
        fails("CLOSED", "write", f:write("x"))
        fails("CLOSED", "seek", f:seek())
        fails("CLOSED", "fstat", f:stat())
    end)

    it("opens as the mode says", function()
        fails("ENOENT", "open", fs.open(dir .. "/f"))
        fails("ENOENT", "open", fs.open(dir .. "/f", "r+"))
        local f = assert(fs.open(dir .. "/f", "ax"))
        assert(f:write("1") and f:write("2"))
        fails("EBADF", "read", f:read())
        f:close()
        fails("EEXIST", "open", fs.open(dir .. "/f", "wx"))
        f = assert(fs.open(dir .. "/f", "rb"))
        fails("EBADF", "write", f:write("x"))
        f:close()
        f = assert(fs.open(dir .. "/f", "a+"))
        assert.equal("12", f:read())
        assert(f:write("3"))
        assert.equal("123", f:read(10, 0))
        f:close()
        assert.is_false(pcall(fs.open, dir, "rw"))
        assert.is_false(pcall(fs.open, dir, "rx"))
    end)

    it("gives lines without their ends, and reads on behind them", function()
        write("f", "one\n\r\n\nthree\r\nlast")
        local f, got = assert(fs.open(dir .. "/f", "r+")), {}
        for line in f:lines() do got[#got + 1] = line end
        assert.same({ "one", "", "", "three", "last" }, got)
        f:seek("set")
        assert.equal("one", f:lines()())
        assert.equal(4, f:seek())
        assert.equal("\r\n\nt", f:read(4))
        f:seek("set")
        assert.equal("one", f:lines()())
        f:write("XX")
        assert.equal("one\nXX\nthree\r\nlast", read "f")
        f:seek("set")
        fails("EXCEED_BUF_SIZE", "read", f:lines(2)())
        f:close()
        write("long", ("x"):rep(200000) .. "\n" .. ("y"):rep(70000))
        f = assert(fs.open(dir .. "/long"))
        local next_line = f:lines()
        assert.equal(200000, #next_line())
        assert.equal(70000, #next_line())
        assert.is_nil(next_line())
        f:close()
    end)

    it("gives a second reader EBUSY, and lets those with an offset go side by side", function()
        write("f", "hello")
        local f = assert(fs.open(dir .. "/f"))
        local t = task.spawn(function() return f:read(1) end)
        local u = task.spawn(function() return f:read(1) end)
        local v = task.spawn(function() return f:read(1, 4) end)
        local _, first = t:join()
        local _, second, err = u:join()
        local _, third = v:join()
        assert.equal("h", first)
        fails("EBUSY", "read", second, err)
        assert.equal("o", third)
        f:close()
    end)

    it("closes a file when the operations that use it are over", function()
        write("f", "hello")
        local f = assert(fs.open(dir .. "/f"))
        local t = task.spawn(function() return f:read(5) end)
        task.yield()
        assert(f:close())
        local _, data = t:join()
        assert.equal("hello", data)
        fails("CLOSED", "read", f:read())
    end)

    it("tells what things are", function()
        write("f", "12345")
        assert(fs.symlink("f", dir .. "/link"))
        assert(fs.symlink("none", dir .. "/broken"))
        make_fifo "fifo"
        assert.equal("file", fs.stat(dir .. "/link").type)
        assert.equal("symlink", fs.lstat(dir .. "/link").type)
        assert.equal("fifo", fs.stat(dir .. "/fifo").type)
        assert.equal("directory", fs.stat(dir).type)
        assert.equal("char", fs.stat("/dev/null").type)
        assert.equal(5, fs.stat(dir .. "/f").size)
        assert.equal(fs.realpath(dir) .. "/f", fs.realpath(dir .. "/./link"))
        assert.equal("none", fs.readlink(dir .. "/broken"))
        fails("EINVAL", "readlink", fs.readlink(dir .. "/f"))
        fails("ENOENT", "realpath", fs.realpath(dir .. "/broken"))
        assert.is_true(fs.exists(dir .. "/f"))
        assert.is_false(fs.exists(dir .. "/broken"))
        assert.is_false(fs.exists(dir .. "/f/below"))
        assert(fs.utime(dir .. "/f", 1500, -1250.5))
        local st = fs.stat(dir .. "/f")
        assert.equal(1500, st.atime)
        assert.equal(-1250.5, st.mtime)
        assert(fs.chown(dir .. "/f", -1, -1))
    end)

    it("makes folders, with those above where asked", function()
        fails("ENOENT", "mkdir", fs.mkdir(dir .. "/a/b"))
        assert(fs.mkdir(dir .. "/a"))
        fails("EEXIST", "mkdir", fs.mkdir(dir .. "/a"))
        assert(fs.mkdir(dir .. "/a/b//c/", { recursive = true }))
        assert(fs.mkdir(dir .. "/a/b/c", { recursive = true }))
        write("f", "")
        fails("EEXIST", "mkdir", fs.mkdir(dir .. "/f", { recursive = true }))
        fails("ENOTDIR", "mkdir", fs.mkdir(dir .. "/f/a", { recursive = true }))
        assert(fs.mkdir(dir .. "/private", { mode = tonumber("700", 8) }))
        assert.equal(tonumber("700", 8), fs.stat(dir .. "/private").mode)
    end)

    it("lists folders sorted, with types, and not more than the maximum", function()
        assert.same({}, (fs.readdir(dir)))
        for _, name in ipairs { "b", "a", "B", "a b", ".x" } do write(name, "") end
        assert(fs.mkdir(dir .. "/d"))
        assert(fs.symlink("a", dir .. "/l"))
        local names, types = fs.readdir(dir)
        assert.same({ ".x", "B", "a", "a b", "b", "d", "l" }, names)
        assert.same({ "file", "file", "file", "file", "file", "directory", "symlink" }, types)
        fails("TOO_LARGE", "readdir", fs.readdir(dir, { max = 6 }))
        fails("ENOTDIR", "opendir", fs.readdir(dir .. "/a"))
    end)

    it("walks down, tells of what it cannot read, and does not follow links", function()
        assert(fs.mkdir(dir .. "/a/b", { recursive = true }))
        write("a/b/f", "")
        write("z", "")
        assert(fs.symlink("..", dir .. "/a/up"))
        local seen = {}
        for path, kind in fs.walk(dir) do seen[#seen + 1] = kind:sub(1, 1) .. path:sub(#dir + 1) end
        assert.same({ "d/a", "d/a/b", "f/a/b/f", "s/a/up", "f/z" }, seen)
        seen = {}
        for path in fs.walk(dir .. "/", { depth = 1 }) do seen[#seen + 1] = path:sub(#dir + 1) end
        assert.same({ "/a", "/z" }, seen)
        local path, kind, err = fs.walk(dir .. "/none")()
        assert.same({ dir .. "/none", "directory", "ENOENT" }, { path, kind, err.name })
    end)

    it("removes trees without following links out of them", function()
        assert(fs.mkdir(dir .. "/tree/a/b", { recursive = true }))
        assert(fs.mkdir(dir .. "/kept"))
        write("kept/f", "precious")
        assert(fs.symlink("../kept", dir .. "/tree/link"))
        for i = 1, 300 do write("tree/a/" .. i, "") end
        fails("ENOTEMPTY", "rmdir", fs.remove(dir .. "/tree"))
        assert(fs.remove(dir .. "/tree", { recursive = true }))
        assert.is_false(fs.exists(dir .. "/tree"))
        assert.equal("precious", read "kept/f")
        assert(fs.symlink("kept", dir .. "/link"))
        assert(fs.remove(dir .. "/link", { recursive = true }))
        assert.equal("precious", read "kept/f")
        assert(fs.remove(dir .. "/kept/f"))
        assert(fs.remove(dir .. "/kept"))
    end)

    it("does not go deeper than its limit", function()
        assert(fs.mkdir(dir .. "/d" .. ("/d"):rep(300), { recursive = true }))
        fails("TOO_LARGE", "remove", fs.remove(dir .. "/d", { recursive = true }))
        assert(fs.rename(dir .. "/d" .. ("/d"):rep(150), dir .. "/half"))
        assert(fs.remove(dir .. "/half", { recursive = true }))
    end)

    it("copies, also what says that it has no size", function()
        local data = ("x"):rep(3000000)
        write("f", data)
        assert(fs.chmod(dir .. "/f", tonumber("600", 8)))
        assert.equal(#data, fs.copy(dir .. "/f", dir .. "/g"))
        assert.truthy(read "g" == data)
        assert.equal(tonumber("600", 8), fs.stat(dir .. "/g").mode)
        write("short", "short")
        assert.equal(5, fs.copy(dir .. "/short", dir .. "/g"))
        assert.equal("short", read "g")
        fails("EEXIST", "open", fs.copy(dir .. "/f", dir .. "/g", { overwrite = false }))
        fails("EINVAL", "copy", fs.copy(dir .. "/g", dir .. "/../" .. dir:match("[^/]*$") .. "/g"))
        assert.equal("short", read "g")
        fails("EISDIR", "copy", fs.copy(dir, dir .. "/x"))
        assert.truthy(fs.copy("/proc/self/status", dir .. "/status") > 100)
    end)

    it("ends a copy that nobody waits for any more, and leaves nothing of it", function()
        local copy = task.spawn(fs.copy, "/dev/urandom", dir .. "/copy")
        local ends = timer.now() + 20000
        repeat
            local st = fs.stat(dir .. "/copy")
        until st and st.size > 0 or timer.now() > ends
        copy:cancel()
        repeat local there = fs.exists(dir .. "/copy") until not there or timer.now() > ends
        assert.is_false(fs.exists(dir .. "/copy"))
    end)

    it("renames over a file that is there", function()
        write("a", "a")
        write("b", "b")
        assert(fs.rename(dir .. "/a", dir .. "/b"))
        assert.equal("a", read "b")
        fails("ENOENT", "rename", fs.rename(dir .. "/a", dir .. "/b"))
    end)

    it("makes temporary files that nobody else can open", function()
        local f = assert(fs.tempFile { dir = dir, prefix = "t." })
        assert.equal(dir .. "/t.", f.path:sub(1, #dir + 3))
        assert.equal(tonumber("600", 8), f:stat().mode)
        f:close()
        fails("ENOENT", "mkostemp", fs.tempFile { dir = dir .. "/none" })
        assert.is_false(pcall(fs.tempFile, { prefix = "a/b" }))
    end)

    it("lets a task leave at once when it is cancelled or out of time", function()
        local path = make_fifo "fifo"
        local handles = process.stats().handles
        local t = task.spawn(function() return fs.readFile(path) end)
        timer.sleep(5)
        t:cancel()
        local _, value, err = t:join()
        fails("ECANCELED", nil, value, err)
        value, err = task.withTimeout(10, fs.open, path)
        fails("ETIMEDOUT", nil, value, err)
        assert.is_true(err.deadline)
        -- Let the two threads go: they read an end.
        feeding(path, function()
            tools.eventually("the end of what was left", function()
                return process.stats().handles <= handles + 1
            end)
        end)
    end)

    it("does not carry out what was cancelled before it began", function()
        local path = make_fifo "fifo"
        local blocked, threads = {}, tonumber(os.getenv "LINKS_THREADS") or 4
        for i = 1, threads do blocked[i] = task.spawn(function() return fs.readFile(path) end) end
        timer.sleep(5)
        local t = task.spawn(function() return fs.writeFile(dir .. "/never", "x") end)
        timer.sleep(1)
        t:cancel()
        t:join()
        feeding(path, function()
            for i = 1, threads do blocked[i]:join() end
        end)
        assert.is_false(fs.exists(dir .. "/never"))
    end)

    it("lets what the pool has no room for wait its turn", function()
        local tasks, n = {}, 3000
        for i = 1, n do tasks[i] = task.spawn(function() return fs.stat(dir) end) end
        for i = 1, n do
            local ok, st = tasks[i]:join()
            assert.truthy(ok and st and st.type == "directory")
        end
    end)

    it("raises for arguments of another type, at the caller's line", function()
        local function raises(text, fn, ...)
            local args = { ... }
            local ok, message = pcall(function() fn(unpack(args)) end)
            assert.is_false(ok)
            assert.truthy(tostring(message):find("fs_spec.lua:%d+: "), message)
            assert.truthy(tostring(message):find(text, 1, true), message)
        end
        raises("fs.readFile(path[, options]) path must be [string]", fs.readFile, 1)
        raises('did you mean "max"', fs.readFile, "x", { mx = 1 })
        raises("fs.writeFile(path, data[, options]) data must be [string]", fs.writeFile, "x")
        raises("fs.rename(from, to) to must be [string]", fs.rename, "x")
        raises("fs.chmod(path, mode) mode must be [integer]", fs.chmod, "x")
        raises("options.flag must be for writing", fs.writeFile, "x", "", { flag = "r" })
        raises("goes with the flag", fs.writeFile, "x", "", { flag = "a", atomic = true })
        raises("fs.utime(path, atime, mtime) mtime must be [number]", fs.utime, "x", 1)
    end)
end)
