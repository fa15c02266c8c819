--- Files and folders. The file system may be slow, so every operation is made on a thread of the
--- pool while the task waits and the others run.
---
--- What fails is `nil, err`, with the path and the system's call in `err.path` and `err.syscall`.
--- Every function may also return ECANCELED (its task was cancelled), ETIMEDOUT (the deadline
--- around it) and POOL_FULL (65536 operations wait already). A cancelled task leaves at once: an
--- operation that has not begun never will, and one that has begun goes to its end unseen, with
--- nothing left behind in memory.
---
--- LINKS_THREADS (default 4) operations run at a time. One that the system keeps waiting, such as
--- opening a pipe that nobody writes to, keeps its thread too.
local ffi = require "ffi"
local check = require "links.check"
local binding = require "links.fs.ffi"
local File = require "links.fs.file"

local C, run = binding.C, binding.run
local bor = bit.bor

local SIZE_MAX = 2 ^ 53
local READ_MAX = 2 ^ 28
local ENTRIES_MAX = 1000000

local fs = {}

-- The arguments for one path, or two.
local function path_args(signature, path, path2, name, name2)
    if type(path) ~= "string" then check.type(signature, name or "path", path, "string", 2) end
    local args = binding.args()
    args.path, args.path_len = path, #path
    if name2 then
        if type(path2) ~= "string" then check.type(signature, name2, path2, "string", 2) end
        args.path2, args.path2_len = path2, #path2
    end
    return args
end

local function check_mode(signature, mode, level)
    if mode ~= nil then check.integer(signature, "mode", mode, 0, 4095, (level or 1) + 1) end
    return mode or -1
end

local MODES = {
    r = binding.READ,
    ["r+"] = bor(binding.READ, binding.WRITE),
    w = bor(binding.WRITE, binding.CREATE, binding.TRUNCATE),
    ["w+"] = bor(binding.READ, binding.WRITE, binding.CREATE, binding.TRUNCATE),
    a = bor(binding.WRITE, binding.CREATE, binding.APPEND),
    ["a+"] = bor(binding.READ, binding.WRITE, binding.CREATE, binding.APPEND),
}

-- "w", "wx", "rb+" and so on as flags.
local function flags_of(signature, name, mode)
    check.type(signature, name, mode, "string", 2)
    local plain, exclusive = mode:gsub("b", ""):gsub("x", "")
    local flags = MODES[plain]
    if not flags or exclusive > 1 or (exclusive == 1 and plain:sub(1, 1) == "r") then
        error(('%s %s must be "r", "w" or "a", and "+", "b" or "x" may follow, not "%s"')
            :format(signature, name, mode), 3)
    end
    return exclusive == 1 and bor(flags, binding.EXCLUSIVE) or flags
end

--- Reads a whole file.
---
--- @param path     string  the file
--- @param options  table   max  268435456  bytes; a larger file is an error
--- @return string          what is in it
--- @return nil, err        ENOENT     there is no such file
---                         EISDIR     it is a folder
---                         EACCES     it may not be read
---                         TOO_LARGE  it has more than `max` bytes
--- @raise                  an argument of another type; an unknown option
--- @wait
--- @usage local fs = require "fs"
--- assert(#assert(fs.readFile("README.md")) > 100)
--- local text, err = fs.readFile("no such file")
--- assert(not text and err.name == "ENOENT")
function fs.readFile(path, options)
    local signature = "fs.readFile(path[, options])"
    local o = check.options(signature, options,
        { max = { default = READ_MAX, type = "integer", min = 0, max = 2 ^ 31 - 2 } })
    local args = path_args(signature, path)
    args.max, args.flags = o.max, binding.READ
    return run("readFile", args, path, binding.data)
end

local WRITE_OPTIONS = {
    mode = { type = "integer", min = 0, max = 4095 },
    atomic = { default = false, type = "boolean" },
    flag = { default = "w", type = "string" },
}

local function write_file(signature, path, data, o, flag)
    local args = path_args(signature, path, nil, nil, nil)
    args.data, args.data_len = data, #data
    args.mode = o.mode or -1
    args.flags = flags_of(signature, "options.flag", flag)
    if o.atomic then args.flags = bor(args.flags, binding.ATOMIC) end
    return run("writeFile", args, path)
end

--- Writes a whole file.
---
--- An atomic one is written beside the old one, brought to the disk, and then takes its place:
--- whoever reads finds the old file or the new one, whole, even after a power failure. It keeps the
--- permissions of the old one.
---
--- @param path     string  the file; made if it is not there
--- @param data     string  what shall be in it
--- @param options  table   mode    0666 less the umask  permissions of a new file
---                         atomic  false                all or nothing
---                         flag    "w"                  as the mode of fs.open: "wx" for a new file
---                                                      only, "a" to append
--- @return true
--- @return nil, err        ENOENT  its folder is not there
---                         EACCES  it may not be written
---                         EEXIST  it is there, and the flag is "wx"
---                         ENOSPC  no room: some of it may have been written, unless it is atomic
--- @raise                  an argument of another type; an unknown option; an atomic write with
---                         another flag than "w"
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.writeFile(dir .. "/a", "hello", { atomic = true }))
--- assert(fs.readFile(dir .. "/a") == "hello")
--- fs.remove(dir, { recursive = true })
function fs.writeFile(path, data, options)
    local signature = "fs.writeFile(path, data[, options])"
    local o = check.options(signature, options, WRITE_OPTIONS)
    check.type(signature, "path", path, "string")
    check.type(signature, "data", data, "string")
    if o.flag:find("^r") then error(signature .. " options.flag must be for writing", 2) end
    if o.atomic and o.flag ~= "w" then
        error(signature .. ' options.atomic goes with the flag "w" only', 2)
    end
    return write_file(signature, path, data, o, o.flag)
end

--- Adds to the end of a file. What several tasks or processes add is not mixed up.
---
--- @param path     string  the file; made if it is not there
--- @param data     string  what to add
--- @param options  table   mode  0666 less the umask  permissions of a new file
--- @return true
--- @return nil, err        as fs.writeFile
--- @raise                  as fs.writeFile
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.appendFile(dir .. "/a", "1") and fs.appendFile(dir .. "/a", "2"))
--- assert(fs.readFile(dir .. "/a") == "12")
--- fs.remove(dir, { recursive = true })
function fs.appendFile(path, data, options)
    local signature = "fs.appendFile(path, data[, options])"
    local o = check.options(signature, options, { mode = WRITE_OPTIONS.mode })
    check.type(signature, "path", path, "string")
    check.type(signature, "data", data, "string")
    return write_file(signature, path, data, o, "a")
end

--- Opens a file.
---
--- @param path  string   the file
--- @param mode  string   "r": to read; "w": to write, anew; "a": to write at its end; "r+", "w+",
---                       "a+": and to do the other too. An "x" after "w" or "a": only if it is not
---                       there yet. Default: "r"
--- @param perm  integer  permissions of a new file. Default: 0666 less the umask
--- @return file          :read :write :seek :stat :sync :truncate :close :lines; its path is
---                       file.path
--- @return nil, err      ENOENT  there is no such file
---                       EISDIR  it is a folder
---                       EACCES  it may not be opened so
---                       EEXIST  it is there, and the mode has an "x"
---                       EMFILE  no descriptor is left
--- @raise                an argument of another type; another mode
--- @wait
--- @usage local fs = require "fs"
--- local f = assert(fs.open("README.md"))
--- local line = f:lines()()
--- assert(f:close())
function fs.open(path, mode, perm)
    local signature = "fs.open(path[, mode[, perm]])"
    local args = path_args(signature, path)
    args.flags = flags_of(signature, "mode", mode == nil and "r" or mode)
    args.mode = check_mode(signature, perm)
    local handle, err = run("open", args, path, C.links_fs_take_file)
    if not handle then return nil, err end
    return File.wrap(handle, path)
end

--- What the system knows of a file, a folder, or what a link points to.
---
--- @param path  string  the path
--- @return table        type   "file", "directory", "symlink", "fifo", "socket", "char" or "block"
---                      size   bytes
---                      mode   permissions
---                      mtime  when it was last written; atime: read; ctime: changed in any way; ms
---                             since 1970
---                      uid    its owner; gid: its group
---                      ino    its number; dev: that of its device; nlink: how many names it has
--- @return nil, err     ENOENT   there is nothing
---                      EACCES   a folder on the way may not be searched
---                      ENOTDIR  a part of the way is no folder
--- @raise               `path` is not a string
--- @wait
--- @usage local st = assert(require("fs").stat("README.md"))
--- assert(st.type == "file" and st.size > 0)
function fs.stat(path)
    return run("stat", path_args("fs.stat(path)", path), path, binding.stat)
end

--- As fs.stat, but of a link itself.
---
--- @param path  string  the path
--- @return table        as fs.stat
--- @return nil, err     as fs.stat
--- @raise               `path` is not a string
--- @wait
--- @usage assert(require("fs").lstat("README.md").type == "file")
function fs.lstat(path)
    return run("lstat", path_args("fs.lstat(path)", path), path, binding.stat)
end

--- Whether there is anything of that name. A link that points nowhere is nothing.
---
--- @param path  string  the path
--- @return boolean
--- @return nil, err     what fs.stat says, but for ENOENT and ENOTDIR
--- @raise               `path` is not a string
--- @wait
--- @usage assert(require("fs").exists("README.md"))
function fs.exists(path)
    local st, err = run("stat", path_args("fs.exists(path)", path), path, binding.number)
    if st then return true end
    if err.name == "ENOENT" or err.name == "ENOTDIR" then return false end
    return nil, err
end

--- Makes a folder.
---
--- @param path     string  the folder
--- @param options  table   recursive  false                make those above it too; one that is
---                                                         there already is fine
---                         mode       0777 less the umask  permissions
--- @return true
--- @return nil, err        EEXIST  there is something of that name
---                         ENOENT  the folder above it is not there
---                         EACCES  it may not be made there
--- @raise                  an argument of another type; an unknown option
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.mkdir(dir .. "/a/b/c", { recursive = true }))
--- fs.remove(dir, { recursive = true })
function fs.mkdir(path, options)
    local signature = "fs.mkdir(path[, options])"
    local o = check.options(signature, options,
        { recursive = { default = false, type = "boolean" }, mode = WRITE_OPTIONS.mode })
    local args = path_args(signature, path)
    args.flags, args.mode = o.recursive and 1 or 0, o.mode or -1
    return run("mkdir", args, path)
end

-- Names, and for each its type.
local function take_entries(op)
    local names, types, at = {}, {}, op.data
    local stop = at + op.len
    while at < stop do
        local name = ffi.string(at + 1)
        names[#names + 1] = name
        types[#types + 1] = binding.TYPES[string.char(at[0])]
        at = at + #name + 2
    end
    return { names, types }
end

local function read_folder(signature, path, max)
    local args = path_args(signature, path)
    args.max = max
    local found, err = run("readdir", args, path, take_entries)
    if not found then return nil, err end
    return found[1], found[2]
end

--- What is in a folder, sorted by bytes, without "." and "..".
---
--- @param path     string  the folder
--- @param options  table   max  1000000  entries; more are an error
--- @return table           the names
--- @return table           their types, in the same order; as st.type of fs.lstat
--- @return nil, err        ENOENT     there is no such folder
---                         ENOTDIR    it is none
---                         EACCES     it may not be read
---                         TOO_LARGE  it has more than `max` entries
--- @raise                  an argument of another type; an unknown option
--- @wait
--- @usage local names, types = assert(require("fs").readdir("."))
--- assert(#names == #types)
function fs.readdir(path, options)
    local signature = "fs.readdir(path[, options])"
    local o = check.options(signature, options,
        { max = { default = ENTRIES_MAX, type = "integer", min = 0, max = 2 ^ 31 } })
    return read_folder(signature, path, o.max)
end

--- Everything below a folder: each folder before what is in it, sorted, links not followed.
---
--- @param path     string  the folder
--- @param options  table   depth  256  how many folders deep
--- @return function        path, type, err = next(): the path begins with the one given. A folder
---                         that cannot be read comes with an error, and the walk goes on; not so
---                         where the task was cancelled
--- @raise                  an argument of another type; an unknown option
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- fs.mkdir(dir .. "/a/b", { recursive = true })
--- local seen = {}
--- for path, type in fs.walk(dir) do seen[#seen + 1] = type .. " " .. path:sub(#dir + 2) end
--- assert(table.concat(seen, ", ") == "directory a, directory a/b")
--- fs.remove(dir, { recursive = true })
function fs.walk(path, options)
    local signature = "fs.walk(path[, options])"
    check.type(signature, "path", path, "string")
    local o = check.options(signature, options,
        { depth = { default = 256, type = "integer", min = 1, max = 10000 } })
    -- One element for each folder on the way: what is in it, and how far we are. The next folder to
    -- read is `enter`.
    local stack, enter, ended = {}, path, false
    local function open_folder()
        local folder = enter
        enter = nil
        local names, types = read_folder(signature, folder, ENTRIES_MAX)
        if names then
            local prefix = folder:gsub("/*$", "") .. "/"
            stack[#stack + 1] = { names = names, types = types, i = 0, prefix = prefix }
            return nil
        end
        ended = types.name == "ECANCELED" or types.deadline or false
        return folder, types
    end
    return function()
        while not ended do
            if enter then
                local folder, err = open_folder()
                if folder then return folder, "directory", err end
            end
            local top = stack[#stack]
            if not top then return nil end
            top.i = top.i + 1
            local name = top.names[top.i]
            if name then
                local kind = top.types[top.i]
                if kind == "directory" and #stack < o.depth then enter = top.prefix .. name end
                return top.prefix .. name, kind
            end
            stack[#stack] = nil
        end
    end
end

--- Removes a file, a link, or a folder.
---
--- @param path     string  what to remove; of a link, the link
--- @param options  table   recursive  false  a folder with all that is in it, 256 folders deep at
---                                           most. Links are removed and never followed
--- @return true
--- @return nil, err        ENOENT     there is nothing
---                         ENOTEMPTY  a folder with something in it
---                         EACCES     it may not be removed
---                         TOO_LARGE  folders lie too deep in one another
--- @raise                  an argument of another type; an unknown option
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.remove(dir, { recursive = true }))
function fs.remove(path, options)
    local signature = "fs.remove(path[, options])"
    local o = check.options(signature, options,
        { recursive = { default = false, type = "boolean" } })
    local args = path_args(signature, path)
    args.flags = o.recursive and 1 or 0
    return run("remove", args, path)
end

--- Gives a file or a folder another name, in place of a file that has it.
---
--- @param from  string  what it is called
--- @param to    string  what it shall be called, on the same file system
--- @return true
--- @return nil, err     ENOENT  there is no such file
---                      EXDEV   the new name is on another file system: copy and remove
---                      EACCES  a folder may not be written
--- @raise               an argument of another type
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- fs.writeFile(dir .. "/a", "")
--- assert(fs.rename(dir .. "/a", dir .. "/b"))
--- fs.remove(dir, { recursive = true })
function fs.rename(from, to)
    return run("rename", path_args("fs.rename(from, to)", from, to, "from", "to"), from)
end

--- Copies a file. Where that fails, or the task is cancelled, a target that was not there before is
--- removed again.
---
--- @param from     string   the file
--- @param to       string   its copy
--- @param options  table    overwrite  true                a file that is there
---                          mode       as the file has it  permissions of a new one, less the umask
--- @return integer          how many bytes
--- @return nil, err         ENOENT  there is no such file
---                          EISDIR  it is a folder, or `to` is
---                          EEXIST  `to` is there and not to be overwritten
---                          EINVAL  both are the same file
---                          ENOSPC  no room
--- @raise                   an argument of another type; an unknown option
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.copy("README.md", dir .. "/copy") > 0)
--- fs.remove(dir, { recursive = true })
function fs.copy(from, to, options)
    local signature = "fs.copy(from, to[, options])"
    local o = check.options(signature, options,
        { overwrite = { default = true, type = "boolean" }, mode = WRITE_OPTIONS.mode })
    local args = path_args(signature, from, to, "from", "to")
    args.flags, args.mode = o.overwrite and 0 or 1, o.mode or -1
    return run("copy", args, from, binding.number)
end

--- Makes a symbolic link.
---
--- @param target  string  what it points to: kept as it is, and looked up from where the link is
--- @param path    string  the link
--- @return true
--- @return nil, err       EEXIST  there is something of that name
---                        EACCES  it may not be made there
--- @raise                 an argument of another type
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.symlink("nowhere", dir .. "/link") and fs.readlink(dir .. "/link") == "nowhere")
--- fs.remove(dir, { recursive = true })
function fs.symlink(target, path)
    local args = path_args("fs.symlink(target, path)", target, path, "target", "path")
    return run("symlink", args, path)
end

--- What a symbolic link points to.
---
--- @param path  string  the link
--- @return string       as it was made
--- @return nil, err     EINVAL  it is no link
---                      ENOENT  there is nothing
--- @raise               `path` is not a string
--- @wait
function fs.readlink(path)
    return run("readlink", path_args("fs.readlink(path)", path), path, binding.data)
end

--- The absolute path without links, "." and "..".
---
--- @param path  string  something that is there
--- @return string
--- @return nil, err     ENOENT  there is nothing
---                      ELOOP   links point to each other
--- @raise               `path` is not a string
--- @wait
--- @usage assert(require("fs").realpath("."):sub(1, 1) == "/")
function fs.realpath(path)
    return run("realpath", path_args("fs.realpath(path)", path), path, binding.data)
end

--- Changes permissions.
---
--- @param path  string   the file or folder
--- @param mode  integer  such as tonumber("644", 8)
--- @return true
--- @return nil, err      EPERM   it is another user's
---                       ENOENT  there is nothing
--- @raise                an argument of another type
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.chmod(dir, tonumber("750", 8)))
--- fs.remove(dir)
function fs.chmod(path, mode)
    local signature = "fs.chmod(path, mode)"
    local args = path_args(signature, path)
    check.integer(signature, "mode", mode, 0, 4095)
    args.mode = mode
    return run("chmod", args, path)
end

--- Gives a file to another user and group.
---
--- @param path  string   the file or folder
--- @param uid   integer  the user; -1: as it is
--- @param gid   integer  the group; -1: as it is
--- @return true
--- @return nil, err      EPERM   it takes root
---                       ENOENT  there is nothing
--- @raise                an argument of another type
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.chown(dir, -1, -1))
--- fs.remove(dir)
function fs.chown(path, uid, gid)
    local signature = "fs.chown(path, uid, gid)"
    local args = path_args(signature, path)
    check.integer(signature, "uid", uid, -1, 2 ^ 32 - 2)
    check.integer(signature, "gid", gid, -1, 2 ^ 32 - 2)
    args.a, args.b = uid, gid
    return run("chown", args, path)
end

--- Sets the times of a file.
---
--- @param path   string  the file or folder
--- @param atime  number  when it was last read, in ms since 1970
--- @param mtime  number  when it was last written
--- @return true
--- @return nil, err      EPERM   it is another user's
---                       ENOENT  there is nothing
--- @raise                an argument of another type
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.utime(dir, 0, 1000) and fs.stat(dir).mtime == 1000)
--- fs.remove(dir)
function fs.utime(path, atime, mtime)
    local signature = "fs.utime(path, atime, mtime)"
    local args = path_args(signature, path)
    for name, value in pairs { atime = atime or false, mtime = mtime or false } do
        check.type(signature, name, value, "number")
        if value ~= value or math.abs(value) > SIZE_MAX then
            error(signature .. " " .. name .. " is out of bounds", 2)
        end
    end
    args.a, args.b = atime, mtime
    return run("utime", args, path)
end

local TEMP_OPTIONS = { dir = { type = "string" }, prefix = { default = "links-", type = "string" } }

local function temp_args(signature, options)
    local o = check.options(signature, options, TEMP_OPTIONS, 2)
    if o.prefix:find("/", 1, true) then
        error(signature .. ' options.prefix must have no "/"', 3)
    end
    local start = (o.dir or os.getenv("TMPDIR") or "/tmp") .. "/" .. o.prefix
    return path_args(signature, start), start
end

--- Makes a new file that nobody else can open, and opens it. It is yours to remove.
---
--- @param options  table  dir     $TMPDIR or "/tmp"  the folder
---                        prefix  "links-"           what its name begins with
--- @return file           as of fs.open with "w+"; its path is file.path
--- @return nil, err       ENOENT  the folder is not there
---                        EACCES  it may not be written
--- @raise                 an argument of another type; an unknown option
--- @wait
--- @usage local fs = require "fs"
--- local f = assert(fs.tempFile())
--- f:close()
--- assert(fs.remove(f.path))
function fs.tempFile(options)
    local args, start = temp_args("fs.tempFile([options])", options)
    local made, err = run("tempFile", args, start, function(op)
        return { C.links_fs_take_file(op), binding.data(op) }
    end)
    if not made then return nil, err end
    return File.wrap(made[1], made[2])
end

--- Makes a new folder that nobody else can look into. It is yours to remove.
---
--- @param options  table  as fs.tempFile
--- @return string         its path
--- @return nil, err       as fs.tempFile
--- @raise                 as fs.tempFile
--- @wait
--- @usage local fs = require "fs"
--- local dir = assert(fs.tempDir())
--- assert(fs.remove(dir))
function fs.tempDir(options)
    local args, start = temp_args("fs.tempDir([options])", options)
    return run("tempDir", args, start, binding.data)
end

return fs
