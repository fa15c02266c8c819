--- An open file, as fs.open and fs.tempFile give it.
---
--- Reads and writes begin where the last one ended. One task at a time may do that: a second one
--- gets EBUSY. Those that say where they begin go side by side. A task that is cancelled leaves at
--- once; what it has asked the system for may still happen then, and does not move the place of the
--- next read or write.
local ffi = require "ffi"
local ahead = require "links.ahead"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.fs.ffi"

local C, run = binding.C, binding.run

local READ_SIZE = 65536
local SIZE_MAX, OFFSET_MAX = 2 ^ 30, 2 ^ 53
local LINE_MAX = 1048576

local methods = {}
local File = { __index = methods, __name = "file" }

function File.__tostring(file)
    return "file: " .. file.path .. (file._h.closed == 1 and " (closed)" or "")
end

local function file_args(file)
    local args = binding.args()
    args.file = file._h
    return args
end

local function failed(file, name, syscall)
    return nil, errors.new(errors.code(name), syscall, { path = file.path })
end

-- The lines of a file are read ahead: what was not asked for yet is given back first.
local function drop_ahead(file)
    if file._ahead ~= "" then
        file._h.at = file._h.at - ahead.count(file)
        ahead.put(file, "")
    end
end

--- Reads some of the file.
---
--- @param n       integer  bytes at most, up to 2^30. Default: 65536
--- @param offset  integer  where to begin, and the next read still begins where it would have.
---                         Default: where the last one ended
--- @return string          1 to `n` bytes; nil without an error at the end of the file
--- @return nil, err        EBUSY      another task reads or writes
---                         CLOSED     the file is closed
---                         ESPIPE     an offset in what has no places, such as a pipe
---                         EBADF      it was not opened for reading
---                         ECANCELED  this task was cancelled
--- @raise                  an argument that is no such number
--- @wait
--- @usage local fs = require "fs"
--- local f = assert(fs.open("README.md"))
--- assert(#f:read(10) == 10 and #f:read(3, 100) == 3)
--- f:close()
function methods:read(n, offset)
    local signature = "file:read([n[, offset]])"
    if n ~= nil then check.integer(signature, "n", n, 1, SIZE_MAX) end
    local args = file_args(self)
    args.max = n or READ_SIZE
    if offset ~= nil then
        check.integer(signature, "offset", offset, 0, OFFSET_MAX)
        args.offset = offset
    elseif self._ahead ~= "" and self._h.closed == 0 then
        return ahead.take(self, args.max)
    end
    local data, err = run("read", args, self.path, binding.data)
    if data == "" then return nil end
    return data, err
end

--- Writes all of the data.
---
--- @param data    string   the bytes; they are copied
--- @param offset  integer  as in file:read. A file opened with "a" is written at its end all the
---                         same where the system does so (Linux). Default: where the last read or
---                         write ended
--- @return integer         how many bytes: all of them
--- @return nil, err        ENOSPC     no room
---                         EBADF      it was not opened for writing
---                         otherwise as file:read; some of the data may have been written
--- @raise                  an argument of another type
--- @wait
--- @usage local fs = require "fs"
--- local f = assert(fs.tempFile())
--- assert(f:write("hello") == 5)
--- f:close()
--- fs.remove(f.path)
function methods:write(data, offset)
    local signature = "file:write(data[, offset])"
    check.type(signature, "data", data, "string")
    local args = file_args(self)
    args.data, args.data_len = data, #data
    if offset ~= nil then
        check.integer(signature, "offset", offset, 0, OFFSET_MAX)
        args.offset = offset
    else
        drop_ahead(self)
    end
    return run("write", args, self.path, binding.number)
end

--- Moves the place of the next read or write.
---
--- @param whence  string   "set": from the beginning; "cur": from where it is; "end": from the end.
---                         Default: "cur"
--- @param offset  integer  bytes from there. Default: 0
--- @return integer         the place, in bytes from the beginning
--- @return nil, err        EINVAL  before the beginning
---                         ESPIPE  it has no places
---                         CLOSED  the file is closed
--- @raise                  another `whence`, or an offset that is no integer
--- @wait
--- @usage local fs = require "fs"
--- local f = assert(fs.open("README.md"))
--- assert(f:seek("end", -1) > 0 and f:seek("set") == 0)
--- f:close()
function methods:seek(whence, offset)
    local signature = "file:seek([whence[, offset]])"
    whence, offset = whence or "cur", offset or 0
    if whence ~= "set" and whence ~= "cur" and whence ~= "end" then
        error(signature .. ' whence must be "set", "cur" or "end"', 2)
    end
    check.integer(signature, "offset", offset, -OFFSET_MAX, OFFSET_MAX)
    local handle = self._h
    if handle.closed == 1 then return failed(self, "CLOSED", "seek") end
    if handle.seekable == 0 then return failed(self, "ESPIPE", "seek") end
    drop_ahead(self)
    local from = whence == "cur" and handle.at or 0
    if whence == "end" then
        local st, err = self:stat()
        if not st then return nil, err end
        from = st.size
    end
    if from + offset < 0 then return failed(self, "EINVAL", "seek") end
    handle.at = from + offset
    return handle.at
end

--- What fs.stat tells of a path, of the open file.
---
--- @return table     as fs.stat
--- @return nil, err  CLOSED  the file is closed
--- @wait
--- @usage local fs = require "fs"
--- local f = assert(fs.open("README.md"))
--- assert(f:stat().type == "file")
--- f:close()
function methods:stat()
    return run("fstat", file_args(self), self.path, binding.stat)
end

--- Waits until what was written has reached the disk.
---
--- @param dataOnly  boolean  the bytes and the size, not the times. Default: false
--- @return true
--- @return nil, err          EIO     the disk failed
---                           CLOSED  the file is closed
--- @wait
--- @usage local fs = require "fs"
--- local f = assert(fs.tempFile())
--- assert(f:write("hello") and f:sync())
--- f:close()
--- fs.remove(f.path)
function methods:sync(dataOnly)
    local args = file_args(self)
    args.flags = dataOnly and 1 or 0
    return run("sync", args, self.path)
end

--- Cuts the file off, or fills it up with zero bytes.
---
--- @param size  integer  the size it shall have. Default: 0
--- @return true
--- @return nil, err      EINVAL  it was not opened for writing
---                       CLOSED  the file is closed
--- @raise                `size` is no such number
--- @wait
--- @usage local fs = require "fs"
--- local f = assert(fs.tempFile())
--- assert(f:truncate(10) and f:stat().size == 10)
--- f:close()
--- fs.remove(f.path)
function methods:truncate(size)
    check.integer("file:truncate([size])", "size", size or 0, 0, OFFSET_MAX)
    local args = file_args(self)
    args.offset = size or 0
    return run("truncate", args, self.path)
end

--- Closes the file. Once is enough, twice does no harm, and a file that nobody refers to any more
--- is closed too.
---
--- @return true
--- @return nil, err  EIO     the system could not write what it had kept (ENOSPC, EDQUOT on file
---                           systems of a network)
--- @wait
--- @usage local fs = require "fs"
--- local f = assert(fs.open("README.md"))
--- assert(f:close() and f:close())
function methods:close()
    if self._h.closed == 1 then return true end
    ahead.put(self, "")
    return run("close", file_args(self), self.path)
end

local function read_on(file) return file:read() end

--- The lines from here on, one for each round of a `for`, without their ends (LF or CR LF). The
--- last one needs none.
---
--- @param max  integer  bytes that a line may have. Default: 1048576
--- @return function     line, err = next(): nil at the end; nil, err for a failure: EXCEED_BUF_SIZE
---                      for a longer line, and what file:read says
--- @raise               `max` is no such number
--- @wait
--- @usage local fs = require "fs"
--- local f, n = assert(fs.open("README.md")), 0
--- for line in f:lines() do n = n + 1 end
--- assert(n > 1)
--- f:close()
function methods:lines(max)
    check.integer("file:lines([max])", "max", max or LINE_MAX, 1, SIZE_MAX)
    max = max or LINE_MAX
    return function()
        local line, err = ahead.line(self, "\n", max, read_on)
        if line then return line end
        if err == "too long" then return failed(self, "EXCEED_BUF_SIZE", "read") end
        return nil, err
    end
end

-- private: makes the object of a handle that C has opened.
function File.wrap(handle, path)
    local h = ffi.gc(handle, C.links_fs_file_free)
    return setmetatable({ _h = h, _ahead = "", _at = 1, path = path }, File)
end

return File
