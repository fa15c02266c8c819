-- Where lines go: what `to` says, made into sinks of C. A place that several loggers write to is
-- one sink. Functions are sinks whose lines are taken by a task.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local binding = require "links.log.ffi"
require "links.process.ffi" -- declares links_ending_due

local C, AGAIN = binding.C, binding.AGAIN

local sinks = {}

local CLOSED = -errors.code("CLOSED")
local SYSLOG_PORT = 514
local SYSLOG_SOCKET, JOURNAL_SOCKET = "/dev/log", "/run/systemd/journal/socket"
-- For functions to be given what is left at the end of the process.
local LAST_MS = 1000

-- There is one process, even where the module is loaded anew (busted does that for each file).
local state = core.logSinks or {
    shared = setmetatable({}, { __mode = "v" }), -- by place
    files = setmetatable({}, { __mode = "k" }), -- box -> the signal that reopens it
    functions = setmetatable({}, { __mode = "k" }), -- boxes
    signals = {}, -- those that are caught
}
core.logSinks = state

-- In the local values of the task that runs a function, and so of all that it starts: what these
-- log does not go to functions, which would never come to an end.
sinks.MARK = state

-- --- places -------------------------------------------------------------------------------------

local function host_and_port(rest, default)
    local host, port = rest:match("^%[([%x:.]+)%]:?(%d*)$")
    if not host then host, port = rest:match("^([^:/]+):?(%d*)$") end
    port = port and (port == "" and default or tonumber(port))
    if host and port and port > 0 and port < 65536 then return host, port end
end

-- kind, path or host, port, whether it is syslog or journald, or nil: no such place.
local function parse(to)
    if to == "stderr" then return binding.FD, nil, 2 end
    if to == "stdout" then return binding.FD, nil, 1 end
    if to == "syslog" then return binding.DGRAM, SYSLOG_SOCKET, 0, "syslog" end
    if to == "journald" then return binding.DGRAM, JOURNAL_SOCKET, 0, "journald" end
    local scheme, rest = to:match("^(%a+)://(.*)$")
    if scheme == "tcp" or scheme == "udp" or scheme == "syslog" then
        local host, port = host_and_port(rest, scheme == "syslog" and SYSLOG_PORT)
        if not host then return nil end
        if scheme == "tcp" then return binding.TCP, host, port end
        return binding.UDP, host, port, scheme == "syslog" and "syslog" or nil
    end
    scheme, rest = to:match("^(%a+):(/.+)$")
    if scheme == "unix" then return binding.STREAM, rest, 0 end
    if scheme == "syslog" then return binding.DGRAM, rest, 0, "syslog" end
    if scheme == "journald" then return binding.DGRAM, rest, 0, "journald" end
    if to == "" or to:find("%z") then return nil end
    return binding.FILE, to, 0
end

--- Raises where `to` names no place; returns what is there: "syslog", "journald" or nil.
function sinks.check(signature, to, level)
    if type(to) == "function" then return nil end
    if type(to) ~= "string" then
        error(signature .. " options.to must be [string|function|table], not a " .. type(to),
            level + 2)
    end
    local kind, _, _, protocol = parse(to)
    if not kind then
        error(signature .. ' options.to names no place to log to: "' .. to:sub(1, 100) .. '"',
            level + 2)
    end
    return protocol
end

-- --- functions ----------------------------------------------------------------------------------

local out_data = ffi.new("const char *[1]")

-- Failures of a function are told of where they do not come back to it.
local function complain(box, err)
    local now = core.now()
    if box.complained and now - box.complained < 1000 then return end
    box.complained = now
    local ok, text = pcall(tostring, err)
    io.stderr:write("links: log: a function that takes lines failed: ",
        ok and tostring(text) or "?", "\n")
end

local function deliver(box, fn, sink)
    local n = C.links_log_take(sink, out_data)
    while n >= 0 do
        local line, level = ffi.string(out_data[0], n), sink.level
        box.busy = true
        local ok, err = pcall(fn, line, level)
        box.busy = false
        if not ok then
            C.links_log_lost(sink)
            complain(box, err)
        end
        n = C.links_log_take(sink, out_data)
    end
    return n
end

local function pump(box, fn, sink)
    core.env(core.current()).locals = { [sinks.MARK] = true }
    core.bequeath(core.current(), true)
    local status = 0
    while status == 0 do
        status = deliver(box, fn, sink)
        if status == AGAIN then status = core.wait() end
    end
    -- Cancelled, by somebody who meant all tasks: the lines that come are to be taken all the same.
    if status ~= CLOSED and C.links_ending_due() == 0 then
        core.spawn(pump, box, fn, sink)
    else
        C.links_log_free_sink(ffi.gc(sink, nil))
    end
end

local function is_done(box)
    return C.links_log_left(box.sink) == 0 and not box.busy
end

-- Waits until the function has been given everything: true, or false after `ms`.
local function await_function(box, ms)
    local timer = require "links.timer"
    local give_up = timer.now() + ms
    while not is_done(box) do
        if timer.now() >= give_up or not timer.sleep(1) then return false end
    end
    return true
end

local function start_function(box, fn)
    C.links_log_retain(box.sink)
    -- A handle of its own, with a finalizer: at the end of the process tasks are dropped where they
    -- stand. ffi.cast to the same type would give back the same handle.
    local sink = ffi.gc(ffi.new("links_log_sink *[1]", box.sink)[0], C.links_log_free_sink)
    core.spawn(pump, box, fn, sink)
    if next(state.functions) == nil then
        require("links.process").on("exit", function()
            for each in pairs(state.functions) do await_function(each, LAST_MS) end
        end)
    end
    state.functions[box] = true
end

-- --- opening ------------------------------------------------------------------------------------

local function reopen_on(box, signal)
    state.files[box] = signal
    if state.signals[signal] then return end
    state.signals[signal] = true
    require("links.process").on(signal, function()
        for each, its in pairs(state.files) do
            if its == signal then C.links_log_reopen(each.sink) end
        end
    end)
end

local PERIODS = { hour = 104, day = 100, week = 119 }

local function to_c(o, kind, path, port)
    local c = ffi.new("links_log_options")
    c.kind, c.path, c.port = kind, path, port
    c.format, c.flags = o.format, o.flags
    c.buffer_size, c.flush_interval = o.bufferSize, o.flushInterval
    c.sync, c.block = o.sync and 1 or 0, o.onFull == "block" and 1 or 0
    c.mode = o.mode
    local rotate = o.rotate
    if rotate then
        c.rotate_size = rotate.size or 0
        c.rotate_every = rotate.every and PERIODS[rotate.every] or 0
        c.keep, c.compress = rotate.keep, rotate.compress and 1 or 0
    end
    return c
end

local out_sink = ffi.new("links_log_sink *[1]")

-- The sink of a place, as { sink = }; `o` are the options of log.new, checked, with `format` and
-- `flags` as C knows them. nil, err for a file that cannot be opened.
function sinks.open(to, o)
    local kind, path, port = binding.QUEUE, nil, 0
    if type(to) == "string" then kind, path, port = parse(to) end
    local key = type(to) == "string" and to .. (o.sync and "\n" or "")
    local box = key and state.shared[key]
    if box then return box end
    local options = to_c(o, kind, path, port)
    local rc = C.links_log_open_sink(out_sink, options)
    if rc < 0 then return nil, errors.new(rc, "open", { path = path }) end
    box = { sink = ffi.gc(out_sink[0], C.links_log_free_sink), to = to }
    if key then
        state.shared[key] = box
    else
        box.is_function = true
        start_function(box, to)
    end
    if kind == binding.FILE and o.reopenOn then reopen_on(box, o.reopenOn) end
    return box
end

-- --- flushing -----------------------------------------------------------------------------------

-- Waits until what is there has been written: true; or nil, err.
function sinks.flush(box, ms)
    if box.is_function then
        if await_function(box, ms) then return true end
        return nil, errors.new(errors.code("ETIMEDOUT"), "log flush")
    end
    local timer = require "links.timer"
    local ticket, give_up = ffi.new("double[1]"), timer.now() + ms
    while true do
        local left = give_up - timer.now()
        local status = -errors.code("ETIMEDOUT")
        if left > 0 then
            status = C.links_log_flush(box.sink, ticket, left)
            if status == 0 then return true end
            if status == AGAIN then status = core.wait() end
        end
        if status ~= 0 then return nil, errors.new(status, "log flush") end
    end
end

--- What has become of its lines.
function sinks.stats(box)
    local sink = box.sink
    C.links_log_stats(sink)
    return {
        lines = sink.lines, dropped = sink.dropped, bytes = sink.bytes,
        error = sink.error ~= 0 and ffi.string(C.links_err_name(sink.error)) or nil,
    }
end

return sinks
