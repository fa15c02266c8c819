--- A child of process.spawn: its pipes, its end. Fields: `pid`, and `file`, what it was started as.
---
--- Reading and writing wait, and go by the deadline and the cancellation of the task that calls
--- them; neither ends the child. A child that is dropped goes on too: its pipes are closed, and it
--- is reaped when it ends. Two tasks may read and write at the same time; a second reader of the
--- same pipe, or a second writer, gets EBUSY.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.process.ffi"
local names = require "links.process.names"
local task = require "links.task"

local C, AGAIN, EOF, LONGEST = binding.C, binding.AGAIN, binding.EOF, binding.LONGEST
local wait, new_error = core.wait, errors.new

local EBUSY, ETIMEDOUT = -errors.code("EBUSY"), -errors.code("ETIMEDOUT")
local MAX_READ = 2 ^ 31 - 1
local LONGEST_MS = 2 ^ 40
local ALL = 1048576

local methods = {}
local Child = { __index = methods, __name = "child" }

function Child.__tostring(self)
    return "child " .. self.pid .. " (" .. self.file .. ")"
end

local out_data = ffi.new("const char *[1]")
local out_len = ffi.new("size_t[1]")

-- --- Pipes -------------------------------------------------------------------------------------

-- A pipe is {handle =, user =}: `user` is the task that reads or writes it in several steps.
local function claim(pipe)
    local me = core.current()
    if pipe.user and pipe.user ~= me and not core.finished(pipe.user) then return false end
    pipe.user = me
    return true
end

local function refuse(what)
    return nil, new_error(binding.CLOSED, what)
end

-- One piece of 1 to `max` bytes, or nil and the code.
local function read_piece(handle, max)
    local n = C.links_pipe_read(handle, max, out_data)
    while n == AGAIN do
        local status = wait()
        n = status ~= 0 and status or C.links_pipe_read(handle, max, out_data)
    end
    if n < 0 then return nil, n end
    return ffi.string(out_data[0], n), nil
end

-- Exactly n bytes, or what had come and an error.
local function read_exactly(pipe, n, what)
    local pieces, left = {}, n
    while left > 0 do
        local piece, code = read_piece(pipe.handle, left)
        if not piece then
            return table.concat(pieces), new_error(code, what)
        end
        pieces[#pieces + 1] = piece
        left = left - #piece
    end
    return table.concat(pieces)
end

local function finish_read(pipe, data, err)
    pipe.user = nil
    if err and data == "" then data = nil end
    return data, err
end

local function read(signature, pipe, n, what)
    if n ~= nil then check.integer(signature, "n", n, 1, MAX_READ, 2) end
    if not pipe then return refuse(what) end
    if not claim(pipe) then return nil, new_error(EBUSY, what) end
    if n then return finish_read(pipe, read_exactly(pipe, n, what)) end
    local piece, code = read_piece(pipe.handle, LONGEST)
    return finish_read(pipe, piece, code and new_error(code, what))
end

local function next_line(handle, keep, what)
    local n = C.links_pipe_line(handle, out_data, out_len)
    while n == AGAIN do
        local status = wait()
        n = status ~= 0 and status or C.links_pipe_line(handle, out_data, out_len)
    end
    if n < 0 then
        local rest = n == EOF and ffi.string(out_data[0], out_len[0]) or ""
        return rest, new_error(n, what)
    end
    local line = ffi.string(out_data[0], n)
    if keep then return line end
    return (line:gsub("\r?\n$", ""))
end

local function readline(pipe, keep, what)
    if not pipe then return refuse(what) end
    if not claim(pipe) then return nil, new_error(EBUSY, what) end
    return finish_read(pipe, next_line(pipe.handle, keep, what))
end

-- Private: reads to the end of a pipe, `max` bytes at most. Returns what came, and an error unless
-- it was the end. For process.run too.
function Child.drain(pipe, max, what)
    local pieces, size = {}, 0
    while true do
        local piece, code = read_piece(pipe.handle, LONGEST)
        if not piece then
            return table.concat(pieces), code ~= EOF and new_error(code, what) or nil
        end
        size = size + #piece
        if size > max then
            pieces[#pieces + 1] = piece:sub(1, max - size - 1)
            return table.concat(pieces), new_error(binding.TOO_LARGE, what)
        end
        pieces[#pieces + 1] = piece
    end
end

-- Private: writes all of it. Returns the number of bytes, or nil, err, where err.partial is how
-- many had gone.
function Child.write(handle, data, what)
    local sent = 0
    while sent < #data do
        local n = C.links_pipe_write(handle, ffi.cast("const char *", data) + sent, #data - sent)
        if n == AGAIN then
            n = wait()
        end
        if n < 0 then return nil, new_error(n, what, { partial = sent }) end
        sent = sent + n
    end
    return sent
end

-- --- Methods -----------------------------------------------------------------------------------

--- Writes to the child's standard input, and waits while the pipe is full (64 KiB, as a rule).
---
--- @param data  string|array  bytes, or an array of strings that go out one after the other
--- @return integer            how many bytes were written: all
--- @return nil, err           EPIPE      the child has closed its standard input, or has ended
---                            CLOSED     it was closed on this side, or was never a pipe
---                            EBUSY      another task is writing
---                            ETIMEDOUT  a deadline of task.withTimeout came
---                            ECANCELED  this task was cancelled
---                            Then err.partial is how many bytes went before
--- @raise                     `data` is of another type
--- @wait
--- @usage local process = require "process"
--- local child = assert(process.spawn("cat"))
--- assert(child:write({ "one ", "two" }) == 7)
--- child:closeStdin()
--- assert(child:readAll() == "one two")
function methods:write(data)
    check.type("child:write(data)", "data", data, "string|table")
    if type(data) == "table" then data = table.concat(data) end
    local pipe = self.stdin
    if not pipe then return refuse("child write") end
    if not claim(pipe) then return nil, new_error(EBUSY, "child write") end
    local n, err = Child.write(pipe.handle, data, "child write")
    pipe.user = nil
    return n, err
end

--- Closes the child's standard input: the child reads an end of file. Twice is harmless.
---
--- @return true
--- @usage local child = assert(require("process").spawn("cat"))
--- child:closeStdin()
--- assert(child:wait().code == 0)
function methods:closeStdin()
    if self.stdin then
        C.links_pipe_close(self.stdin.handle)
        self.stdin = false
    end
    return true
end

--- Closes the pipes to and from the child, which goes on, though writing may end it: by SIGPIPE. A
--- child that nobody refers to is closed too, but only when the garbage is collected.
---
--- @return true
--- @usage local child = assert(require("process").spawn("cat"))
--- child:close()
--- assert(child:wait().code == 0)
function methods:close()
    self:closeStdin()
    if self.stdout then C.links_pipe_close(self.stdout.handle) end
    if self.stderr then C.links_pipe_close(self.stderr.handle) end
    self.stdout, self.stderr = false, false
    return true
end

--- Reads from the child's standard output.
---
--- @param n  integer   how many bytes, all of them. Default: what is there, once something is
--- @return string      the bytes; with `n` and an error, what had come before
--- @return nil, err    EOF        the child, and all who have its output, have closed it
---                     CLOSED     the output is no pipe
---                     EBUSY      another task is reading it
---                     ETIMEDOUT  a deadline of task.withTimeout came
---                     ECANCELED  this task was cancelled
--- @raise              `n` is not an integer from 1 to 2147483647
--- @wait
--- @usage local child = assert(require("process").spawn("echo", { "hello" }))
--- assert(child:read(4) == "hell" and child:read() == "o\n")
function methods:read(n)
    local data, err = read("child:read([n])", self.stdout, n, "child read")
    return data, err
end

--- Reads a line from the child's standard output, up to LF or CR LF. The last one may lack its end:
--- then it comes together with EOF.
---
--- @param keep  boolean  keep the end of the line. Default: false
--- @return string        the line
--- @return nil, err      EXCEED_BUF_SIZE  it is longer than 65536 bytes; child:read gets them
---                       EOF, CLOSED, EBUSY, ETIMEDOUT, ECANCELED as for child:read
--- @wait
--- @usage local child = assert(require("process").spawn("printf", { "a\\nb" }))
--- assert(child:readline() == "a")
--- local last, err = child:readline()
--- assert(last == "b" and err.name == "EOF")
function methods:readline(keep)
    return readline(self.stdout, keep, "child readline")
end

--- Iterates over the lines of the child's standard output. It ends with the last line, and with the
--- first error, which is then the second value of the iterator.
---
--- @return function   for `for line in child:lines() do`: it returns what child:readline does
--- @wait
--- @usage local child = assert(require("process").spawn("printf", { "a\\nb\\n" }))
--- local all = {}
--- for line in child:lines() do all[#all + 1] = line end
--- assert(#all == 2)
function methods:lines()
    return function()
        local line, err = self:readline()
        return line, err
    end
end

--- child:read for the child's standard error.
---
--- @param n  integer   as for child:read
--- @return string      as for child:read
--- @return nil, err    as for child:read
--- @raise              as for child:read
--- @wait
--- @usage local child = assert(require("process").spawn("sh", { "-c", "echo no >&2" }))
--- assert(child:readError() == "no\n")
function methods:readError(n)
    local data, err = read("child:readError([n])", self.stderr, n, "child readError")
    return data, err
end

--- child:readline for the child's standard error.
---
--- @param keep  boolean  as for child:readline
--- @return string        as for child:readline
--- @return nil, err      as for child:readline
--- @wait
--- @usage local child = assert(require("process").spawn("sh", { "-c", "echo no >&2" }))
--- assert(child:readErrorLine() == "no")
function methods:readErrorLine(keep)
    return readline(self.stderr, keep, "child readErrorLine")
end

--- Reads all that the child still writes, on its standard output and its standard error, until both
--- have been closed.
---
--- @param max  integer      bytes of each at most. Default: 1048576
--- @return string, nil, string  standard output; no error; standard error (nil where that is no
---                              pipe)
--- @return string, err, string  what had come (nil: nothing), and
---                          TOO_LARGE  there is more than `max`; the pipe has not been read to its
---                                     end
---                          CLOSED     neither is a pipe
---                          EBUSY      another task is reading
---                          ETIMEDOUT  a deadline of task.withTimeout came
---                          ECANCELED  this task was cancelled
--- @raise                   `max` is not a positive integer
--- @wait
--- @usage local child = assert(require("process").spawn("sh", { "-c", "echo out; echo err >&2" }))
--- local out, err, errors = child:readAll()
--- assert(out == "out\n" and not err and errors == "err\n")
function methods:readAll(max)
    max = max == nil and ALL or max
    check.integer("child:readAll([max])", "max", max, 1, MAX_READ)
    local stdout, stderr = self.stdout, self.stderr
    local what = "child readAll"
    if not stdout and not stderr then return refuse(what) end
    if stdout and not claim(stdout) then return nil, new_error(EBUSY, what) end
    if stderr and not claim(stderr) then return nil, new_error(EBUSY, what) end
    local texts = {}
    local function collect(group, pipe)
        group:spawn(function()
            local err
            pipe.user = core.current()
            texts[pipe], err = Child.drain(pipe, max, what)
            if err then error(err, 0) end
        end)
    end
    local _, err = task.group(function(group)
        if stderr then collect(group, stderr) end
        if stdout then collect(group, stdout) end
    end)
    if stdout then stdout.user = nil end
    if stderr then stderr.user = nil end
    local out = texts[stdout]
    if err and out == "" then out = nil end
    return out, err, texts[stderr]
end

-- Private: waits for the end of a handle's child.
function Child.wait_for(handle, ms, signature, level)
    check.timeout(signature, "ms", ms, (level or 1) + 1)
    if ms == 0 and handle.ended == 0 then return nil, new_error(ETIMEDOUT, "wait") end
    local status = C.links_child_wait(handle, math.min(ms or 0, LONGEST_MS))
    if status == AGAIN then status = wait() end
    if status ~= 0 then return nil, new_error(status, "wait") end
    local signum = handle.signal
    return {
        code = handle.code >= 0 and handle.code or nil,
        signal = signum ~= 0 and names.signal_name(signum) or nil,
        core = handle.core ~= 0 or nil,
        timedOut = handle.timed_out ~= 0 or nil,
    }
end

--- Waits for the end of the child; after it, returns at once, as often as it is asked. Output that
--- nobody reads fills the pipe and keeps a child from ending.
---
--- @param ms  number   how long to wait at most, in milliseconds; 0 only looks. Default: as long as
---                     it takes
--- @return table       code      integer, of its exit; nil where it died of a signal
---                     signal    string, the name of what it died of; nil where it has exited
---                     core      true where it left a core file
---                     timedOut  true where it was ended because its `timeout` was over
--- @return nil, err    ETIMEDOUT  it runs still after `ms`, or a deadline of task.withTimeout came
---                     ECANCELED  this task was cancelled. The child goes on in either case
--- @raise              `ms` is not a number of milliseconds
--- @wait
--- @usage local child = assert(require("process").spawn("sh", { "-c", "exit 3" }))
--- assert(child:wait().code == 3)
function methods:wait(ms)
    local status, err = Child.wait_for(self.handle, ms, "child:wait([ms])")
    return status, err
end

--- Sends the child a signal. One that has ended gets none, nor does a process that has its id now.
---
--- @param signal  string|integer  such as "SIGHUP". Default: "SIGTERM"
--- @return true
--- @return nil, err               ESRCH  the child has ended
---                                EPERM  it has become another user's
--- @raise                         a signal that nobody knows
--- @usage local child = assert(require("process").spawn("sleep", { "60" }))
--- assert(child:kill("SIGINT"))
--- assert(child:wait().signal == "SIGINT")
function methods:kill(signal)
    local signum = names.signal("child:kill([signal])", "signal", signal or "SIGTERM")
    local rc = C.links_child_kill(self.handle, signum)
    if rc < 0 then return nil, new_error(rc, "kill") end
    return true
end

local function wrap(handle)
    return handle and { handle = handle }
end

-- Private: makes a child of what start.now has returned.
function Child.new(handle, pipes, file)
    return setmetatable({
        handle = handle,
        pid = handle.pid,
        file = file,
        stdin = wrap(pipes[1]),
        stdout = wrap(pipes[2]),
        stderr = wrap(pipes[3]),
    }, Child)
end

return Child
