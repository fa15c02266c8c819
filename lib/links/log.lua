--- Logs that never block: lines are put together and handed to a thread, which writes them to
--- stderr, a file, syslog, journald, a socket or a function.
---
--- `log.info(message, fields)` and its like use the default logger, which writes text to stderr;
--- `log.configure` changes that. `log.new` makes others, with names, whose levels can be set one by
--- one. What a task has in its `locals` (strings, numbers, booleans) becomes a field of each line
--- that it and its children log.
---
--- A line is one line, whatever is in it: line ends, control characters, invalid UTF-8 and what
--- directs a terminal are escaped. Values of fields named like secrets are "[redacted]". A line has
--- 32768 bytes at most, a value 16384; what is longer is cut, and the field "truncated" says so.
---
--- Lines wait in a buffer. One that is full takes no more: they are dropped and counted, and a line
--- tells how many as soon as one gets through again. Once a program has loaded this module, what
--- links itself has to say (errors of tasks, of handlers) goes through the default logger too.
local ffi = require "ffi"
local check = require "links.check"
local choice = require "links.log.choice"
local report = require "links.report"
local binding = require "links.log.ffi"
local encode = require "links.log.encode"
local levels = require "links.log.levels"
local logger = require "links.log.logger"
local sinks = require "links.log.sinks"

local C, LEVELS = binding.C, binding.LEVELS
local TEXT, JSON, JOURNAL = binding.TEXT, binding.JSON, binding.JOURNAL
local emit = logger.emit

local log = {}

local INT_MAX = 2 ^ 31 - 1

local OPTIONS = {
    name = { type = "string|nil" },
    level = { type = "string|nil" },
    format = { default = "text", type = "string|function" },
    to = { default = "stderr", type = "string|function|table" },
    sync = { default = false, type = "boolean" },
    bufferSize = { default = 65536, type = "integer", min = 4096, max = 2 ^ 30 },
    flushInterval = { default = 1000, type = "integer", min = 0, max = INT_MAX },
    onFull = { default = "drop", type = "string" },
    rotate = { type = "table|nil" },
    reopenOn = { default = "SIGUSR1", type = "string|boolean" },
    mode = { default = tonumber("640", 8), type = "integer", min = 0, max = 511 },
    fields = { type = "table|nil" },
    locals = { default = true, type = "boolean" },
    redact = { default = encode.DEFAULT_REDACTION, type = "table|boolean" },
    rateLimit = { type = "table|nil" },
    caller = { default = false, type = "boolean" },
    color = { default = "auto", type = "string|boolean" },
    facility = { default = "user", type = "string" },
}

-- What a place of a list may have of its own.
local OF_A_PLACE = {
    "to", "format", "level", "sync", "bufferSize", "flushInterval", "onFull", "rotate", "reopenOn",
    "mode", "color",
}

local FORMATS = { text = true, json = true }

local RATE_LIMIT = {
    burst = { default = 10, type = "integer", min = 1, max = INT_MAX },
    interval = { default = 1000, type = "integer", min = 1, max = INT_MAX },
}

-- RFC 5424, 6.2.1
local FACILITIES = { user = 1, daemon = 3, auth = 4, cron = 9, authpriv = 10 }
for i = 0, 7 do FACILITIES["local" .. i] = 16 + i end

-- --- options ------------------------------------------------------------------------------------

local function check_place(signature, o, level)
    if type(o.format) == "string" then
        choice.one_of(signature, "options.format", o.format, FORMATS, level + 1)
    end
    choice.one_of(signature, "options.onFull", o.onFull, { drop = true, block = true }, level + 1)
    o.reopenOn = choice.signal(signature, o.reopenOn, level + 1)
    if type(o.color) == "string" then
        choice.one_of(signature, "options.color", o.color, { auto = true }, level + 1)
    end
    if o.rotate then o.rotate = choice.rotation(signature, o.rotate, level + 1) end
    if o.level then levels.number(signature, "options.level", o.level, level + 1) end
end

-- The options with what an entry of the list `to` says differently.
local function of_entry(signature, o, entry, level)
    local given = entry
    if type(entry) ~= "table" then given = { to = entry } end
    local known = {}
    for _, name in ipairs(OF_A_PLACE) do known[name] = OPTIONS[name] end
    check.options(signature .. " to:", given, known, level + 1)
    local own = {}
    for key, value in pairs(o) do own[key] = value end
    own.level = nil
    for key, value in pairs(given) do own[key] = value end
    if type(own.to) == "table" then
        error(signature .. " options.to must not have a list within a list", level + 2)
    end
    check_place(signature, own, level + 1)
    return own
end

local function places_of(signature, o, level)
    if type(o.to) ~= "table" then
        local own = of_entry(signature, o, o.to, level + 1)
        return { own }
    end
    local places = {}
    -- A single place may be a table too.
    local list = o.to.to ~= nil and { o.to } or o.to
    for i = 1, #list do places[i] = of_entry(signature, o, list[i], level + 1) end
    if #places == 0 then error(signature .. " options.to names no place", level + 2) end
    return places
end

-- --- outputs ------------------------------------------------------------------------------------

local function wants_color(o, box)
    if o.color ~= "auto" then return o.color end
    return box.sink.tty == 1 and not os.getenv "NO_COLOR" and os.getenv "TERM" ~= "dumb"
end

local function open_output(signature, o, level)
    local protocol = sinks.check(signature, o.to, level + 1)
    local format = o.format == "json" and JSON or TEXT
    if protocol == "journald" then format = JOURNAL end
    o.make = type(o.format) == "function" and o.format or nil
    local flags = protocol == "syslog" and binding.SYSLOG or 0
    local place = {}
    for key, value in pairs(o) do place[key] = value end
    place.format, place.flags = format, flags
    local box, err = sinks.open(o.to, place)
    if not box then return nil, err end
    if format == TEXT and flags == 0 and wants_color(o, box) then flags = binding.COLOR end
    return {
        box = box, format = format, how = (format * 8 + flags) * 16, make = o.make,
        level = o.level and LEVELS[o.level] or 0,
        -- Lines of outputs that are alike are put together once.
        alike = o.make or format * 8 + flags,
    }
end

local function identify(o)
    local program = (arg and arg[0] or "links"):match("([^/]+)$") or "links"
    C.links_log_identity(FACILITIES[o.facility], (program:gsub("%.lua$", "")))
end

-- The outputs of checked options into `outputs`: true; or nil, err.
local function open_all(signature, o, outputs, level)
    local opened = {}
    for i, place in ipairs(places_of(signature, o, level + 1)) do
        local output, err = open_output(signature, place, level + 1)
        if not output then return nil, err end
        opened[i] = output
    end
    -- One of them tells log.tail what the line is.
    opened[1].how = opened[1].how + binding.KEEP
    for i = 1, math.max(#outputs, #opened) do outputs[i] = opened[i] end
    return true
end

local function check_options(signature, options, level)
    local o = check.options(signature, options, OPTIONS, level + 1)
    if o.level then levels.number(signature, "options.level", o.level, level + 1) end
    choice.one_of(signature, "options.facility", o.facility, FACILITIES, level + 1)
    if o.rateLimit then
        o.rateLimit = check.options(signature .. " rateLimit:", o.rateLimit, RATE_LIMIT,
            level + 1)
    end
    if o.redact == true then o.redact = encode.DEFAULT_REDACTION end
    encode.check_redaction(signature, o.redact, level + 1)
    return o
end

-- --- the default logger -------------------------------------------------------------------------

local function open_default(self)
    self._open = nil
    if #self._outputs > 0 then return end
    local o = check.options("log.info(message)", nil, OPTIONS)
    identify(o)
    open_all("log.info(message)", o, self._outputs, 1)
end

local default = logger.new(check.options("log.info(message)", nil, OPTIONS), {}, open_default)

--- Logs at the level "debug", by the default logger. As logger:debug.
---
--- @param message  string  what has happened
--- @param ...      any     values for the places in it, and last of all a table of fields
--- @usage local log = require "log"
--- log.debug("the cache has %d entries", 12)
function log.debug(message, ...)
    if default._level > 0 then return end
    emit(default, 0, message, ...)
end

--- Logs at the level "info". As log.debug.
---
--- @usage local log = require "log"
--- log.info("listening", { port = 8080 })
function log.info(message, ...)
    if default._level > 1 then return end
    emit(default, 1, message, ...)
end

--- Logs at the level "warn". As log.debug.
function log.warn(message, ...)
    if default._level > 2 then return end
    emit(default, 2, message, ...)
end

--- Logs at the level "error", and has it written at once. As log.debug.
function log.error(message, ...)
    if default._level > 3 then return end
    emit(default, 3, message, ...)
end

--- Logs at the level "fatal", and has it written at once; the program goes on. As log.debug.
function log.fatal(message, ...)
    if default._level > 4 then return end
    emit(default, 4, message, ...)
end

-- --- loggers ------------------------------------------------------------------------------------

--- Makes a logger.
---
--- `to` is one of: "stderr", "stdout"; the path of a file; "syslog" (/dev/log), "syslog:/path",
--- "syslog://host:514" by UDP, all as RFC 5424 has it; "journald"; "tcp://host:port" and
--- "unix:/path", a stream of lines, connected again when it breaks; "udp://host:port", a datagram a
--- line; a function(line, level), which runs in a task of its own and may wait, and gets the level
--- as a number from 0 (debug) to 4 (fatal); or a list of these, where an entry may be a
--- table {to =, format =, level =, ...} with options of its own. Loggers that write to one place
--- share its
--- buffer, which has the options of the first.
---
--- Rotated files are called app.log.20260131-120000, and .gz where they are compressed. Processes
--- that write to one file may all rotate it: each line is in exactly one of the files.
---
--- @param options  table  name           nil        of the module: "db"; see log.setLevel
---                        level          "info"     or "debug", "warn", "error", "fatal", "off"
---                        format         "text"     or "json", or function(record) -> string, where
---                                                  record = {time = ms, level, name, message,
---                                                  fields}
---                        to             "stderr"   see above
---                        sync           false      each line is written by the call that logs it:
---                                                  the loop waits for the disk or the reader
---                        bufferSize     65536      bytes of lines that wait
---                        flushInterval  1000       ms that a line waits at most; 0: none waits.
---                                                  Errors never wait, nor what goes to a terminal
---                        onFull         "drop"     or "block": the task waits for room, where it
---                                                  can
---                        rotate         nil        of a file: {size = bytes or "100M", every =
---                                                  "hour", "day" or "week", keep = 7, compress =
---                                                  true}
---                        reopenOn       "SIGUSR1"  the signal that opens files anew; false: none
---                        mode           tonumber("640", 8)  of a new file
---                        fields         {}         of every line
---                        locals         true       the task's local values become fields
---                        redact         {...}      names of fields whose values are left out, at
---                                                  any depth, in any case, with - or _ or without;
---                                                  password, token, authorization, cookie and
---                                                  their kin where it is not given; false: none
---                        rateLimit      nil        {burst = 10, interval = 1000}: of a message at
---                                                  most `burst` in `interval` ms; a line says how
---                                                  often it came beyond that
---                        caller         false      a field says which line of the program logs
---                        color          "auto"     colours on a terminal, unless NO_COLOR is set
---                        facility       "user"     of syslog, for all loggers of the process
--- @return logger         see log.logger
--- @return nil, err       ENOENT  there is no such folder
---                        EACCES  the file may not be written
---                        ENXIO   the file is a named pipe that nobody reads
---                        EMFILE  there are 64 places open, or no descriptor is left
--- @raise                 an option of another type or out of bounds, or one that nobody knows
--- @usage local log = require "log"
--- local lines = {}
--- local logger = assert(log.new {
---     name = "db", format = "json", fields = { shard = 3 },
---     to = function(line) lines[#lines + 1] = line end,
--- })
--- logger:info("connected", { user = "app", password = "x" })
--- logger:flush()
--- assert(lines[1]:find('"shard":3', 1, true) and lines[1]:find("[redacted]", 1, true))
function log.new(options)
    local signature = "log.new(options)"
    local o = check_options(signature, options, 1)
    identify(o)
    local outputs = {}
    local ok, err = open_all(signature, o, outputs, 1)
    if not ok then return nil, err end
    return logger.new(o, outputs)
end

--- Changes the default logger, and its children with it.
---
--- @param options  table  as those of log.new
--- @return true
--- @return nil, err       as log.new; the logger is as it was then
--- @raise                 as log.new
--- @usage local log = require "log"
--- assert(log.configure { format = "json" })
--- assert(log.configure {})
function log.configure(options)
    local signature = "log.configure(options)"
    local o = check_options(signature, options, 1)
    identify(o)
    local ok, err = open_all(signature, o, default._outputs, 1)
    if not ok then return nil, err end
    local fresh = logger.new(o, default._outputs)
    for key, value in pairs(fresh) do default[key] = value end
    for _, key in ipairs { "_name", "_secret", "_keys", "_open" } do default[key] = fresh[key] end
    levels.set(default, o.level and LEVELS[o.level] or default._own)
    return true
end

--- Sets a level, from now on: of the default logger and of all others that have none of their own,
--- or of a module.
---
--- @param level   string  "debug", "info", "warn", "error", "fatal" or "off"
--- @param module  string  a logger's name: loggers of that name, and of names below it ("db.pool"
---                        is below "db"), those that are made later included. Default: all
--- @raise                 there is no such level; `module` is not a string
--- @usage local log = require "log"
--- local db = log.new { name = "db", to = function() end }
--- log.setLevel("debug", "db")
--- assert(db:enabled("debug"))
--- log.setLevel("info", "db")
function log.setLevel(level, module)
    local signature = "log.setLevel(level[, module])"
    local number = levels.number(signature, "level", level, 1)
    check.type(signature, "module", module, "string|nil")
    if module then
        levels.set_name(module, number)
    else
        levels.set(default, nil)
        levels.set_default(number)
    end
end

--- A logger with the places of the default one, and further fields. As logger:child.
---
--- @param fields  table  name = value; `name` is the child's name
--- @return logger
--- @raise                `fields` is not a table
--- @usage local log = require "log"
--- local db = log.child { name = "db" }
--- db:debug("not seen")
function log.child(fields)
    check.type("log.child(fields)", "fields", fields, "table")
    return default:child(fields)
end

--- Opens the files of the default logger anew. As logger:reopen.
function log.reopen()
    default:reopen()
end

--- Waits until the default logger has written everything. As logger:flush.
---
--- @param ms  number   how long to wait at most. Default: 1000
--- @return true
--- @return nil, err    as logger:flush
--- @raise              `ms` is not a number of milliseconds
--- @wait
--- @usage assert(require("log").flush())
function log.flush(ms)
    check.timeout("log.flush([ms])", "ms", ms)
    return default:flush(ms)
end

--- What has become of the default logger's lines. As logger:stats.
---
--- @return table
--- @usage assert(require("log").stats().dropped == 0)
function log.stats()
    return default:stats()
end

--- The last lines that this process has logged, by any logger, as they were written. Some 64 KiB of
--- them are kept.
---
--- @param n  integer  how many at most. Default: 100
--- @return array      of strings, the oldest first
--- @raise             `n` is not a positive integer
--- @usage local log = require "log"
--- local logger = log.new { to = function() end }
--- logger:info("remember me")
--- assert(log.tail(1)[1]:find("remember me", 1, true))
function log.tail(n)
    if n ~= nil then check.integer("log.tail([n])", "n", n, 1, INT_MAX) end
    local out = ffi.new("const char *[1]")
    local len, lines = C.links_log_tail(out), {}
    local text = ffi.string(out[0], len)
    for line in text:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
    n = n or 100
    if #lines <= n then return lines end
    return { unpack(lines, #lines - n + 1) }
end

--- Makes an access log, for the option accessLog of http.createServer. See http.accessLog.
log.access = require("links.log.access").new

-- --- what links itself has to say ---------------------------------------------------------------

-- A traceback becomes a field, so that the line stays one. True: somebody who looks at stderr sees
-- it.
report.install(function(level, text)
    local message, traceback = text:match("^(.-)\nstack traceback:\n(.*)$")
    if traceback then
        local frames = traceback:gsub("^%s+", ""):gsub("\n%s*", " < ")
        emit(default, LEVELS[level], message, { logger = "links", traceback = frames })
    else
        emit(default, LEVELS[level], text:match("^.*%S") or "", { logger = "links" })
    end
    for _, output in ipairs(default._outputs) do
        if output.box.to == "stderr" then return true end
    end
end)

return log
