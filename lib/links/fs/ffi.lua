-- The C side of fs, as src/modules/fs/fs.h declares it, and how an operation is carried out: begun,
-- waited for, and let go of, whichever way the wait ended.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"

ffi.cdef [[
typedef struct links_fs_file {
    double at;
    int32_t closed;
    int32_t seekable;
} links_fs_file;
typedef struct links_fs_args {
    const char *path, *path2, *data;
    size_t path_len, path2_len, data_len;
    links_fs_file *file;
    double max, offset;
    double a, b;
    int flags, mode;
} links_fs_args;
typedef struct links_fs_stat {
    double size, atime, mtime, ctime;
    double ino, dev, nlink, uid, gid;
    int32_t mode;
    int32_t type;
} links_fs_stat;
typedef struct links_fs_op {
    const char *syscall;
    const char *data;
    size_t len;
    double value;
    links_fs_stat stat;
} links_fs_op;
int links_fs_start(links_fs_op **op, int kind, const links_fs_args *args);
int links_fs_result(links_fs_op *op);
void links_fs_free(links_fs_op *op);
links_fs_file *links_fs_take_file(links_fs_op *op);
void links_fs_file_free(links_fs_file *file);
char *getcwd(char *text, size_t size);
]]

local C, AGAIN = ffi.C, -19999
local wait, new_error = core.wait, errors.new

local binding = { C = C }

-- The kinds of operations, in the order of fs.h.
local KINDS = {}
for i, name in ipairs {
    "readFile", "writeFile", "open", "tempFile", "tempDir", "read", "write", "sync", "truncate",
    "fstat", "close", "stat", "lstat", "mkdir", "readdir", "remove", "rename", "copy", "symlink",
    "readlink", "realpath", "chmod", "chown", "utime",
} do
    KINDS[name] = i - 1
end

-- Flags of open and writeFile.
binding.READ, binding.WRITE, binding.CREATE, binding.TRUNCATE = 1, 2, 4, 8
binding.APPEND, binding.EXCLUSIVE, binding.ATOMIC = 16, 32, 64

local TYPES = {
    f = "file", d = "directory", l = "symlink", p = "fifo", s = "socket", c = "char", b = "block",
    ["?"] = "unknown",
}
binding.TYPES = TYPES

local out = ffi.new("links_fs_op *[1]")

-- Fresh arguments for one call; C copies what they point to.
function binding.args()
    local a = ffi.new("links_fs_args")
    a.offset, a.mode = -1, -1
    return a
end

local function failed(rc, name, op, path)
    local syscall = name
    if op and op.syscall ~= nil then syscall = ffi.string(op.syscall) end
    return new_error(rc, syscall, { path = path })
end

-- Carries an operation out. Returns what `take(op)` makes of its result, which must not keep a
-- pointer; `path` is for the error.
function binding.run(name, args, path, take)
    local rc = C.links_fs_start(out, KINDS[name], args)
    if rc < 0 then return nil, failed(rc, name, nil, path) end
    local op = ffi.gc(out[0], C.links_fs_free)
    local status, value, err = 0, true, nil
    rc = C.links_fs_result(op)
    while rc == AGAIN and status == 0 do
        status = wait()
        if status == 0 then rc = C.links_fs_result(op) end
    end
    if status ~= 0 then
        -- A thread may still be at it: this task looks at it no more.
        value, err = nil, failed(status, name, nil, path)
    elseif rc < 0 then
        value, err = nil, failed(rc, name, op, path)
    elseif take then
        value = take(op)
    end
    C.links_fs_free(ffi.gc(op, nil))
    return value, err
end

function binding.data(op) return ffi.string(op.data, op.len) end

function binding.number(op) return op.value end

function binding.stat(op)
    local s = op.stat
    return {
        type = TYPES[string.char(s.type)], size = s.size, mode = s.mode,
        mtime = s.mtime, atime = s.atime, ctime = s.ctime,
        ino = s.ino, dev = s.dev, nlink = s.nlink, uid = s.uid, gid = s.gid,
    }
end

-- The current directory; nil where it is gone.
function binding.cwd()
    local text = ffi.new("char[4096]")
    if C.getcwd(text, 4096) == nil then return nil end
    return ffi.string(text)
end

return binding
