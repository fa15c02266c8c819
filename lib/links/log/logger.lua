--- Loggers, as `log.new` makes them: a name, a level, fields that each line gets, and the places
--- that the lines go to. `log.info` and its like are those of the default logger.
---
--- The functions that log take a message and perhaps fields: `logger:info("saved", {id = 7})`; or a
--- message with places for values, as string.format has them: `logger:info("took %d ms", 12)`, and
--- the fields come last then. Both are put together only where the level is on. They return nothing
--- and never fail: what cannot be written is dropped and counted.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local binding = require "links.log.ffi"
local encode = require "links.log.encode"
local levels = require "links.log.levels"
local sinks = require "links.log.sinks"

local C, AGAIN, LEVELS = binding.C, binding.AGAIN, binding.LEVELS
local TEXT, JSON = binding.TEXT, binding.JSON
local DEBUG, INFO, WARN, ERROR, FATAL = 0, 1, 2, 3, 4
local type, select = type, select
local put_fields, put_field = encode.fields, encode.field
local start, send = C.links_log_start, C.links_log_send

local methods = {}
local Logger = { __index = methods, __name = "logger" }

function Logger.__tostring(self)
    return "logger" .. (self._name and ": " .. self._name or "")
end

-- --- lines --------------------------------------------------------------------------------------

-- Usually the one that there is. Another is made for who logs while a line is put together: a
-- finalizer, a __tostring, another task while this one waits for room.
local spare

local function take_line()
    local line = spare
    spare = nil
    return line or ffi.gc(C.links_log_line_new(), C.links_log_line_free)
end

local function piece_of(self, line, format)
    local piece = self._pieces[format]
    if not piece then
        piece = encode.piece(line, format, self._fields, self._secret)
        self._pieces[format] = piece
    end
    return piece
end

-- Values that say something by themselves: strings, numbers and booleans.
local function put_locals(self, line, values, fields)
    for key, value in next, values do
        local kind = type(value)
        if (kind == "string" or kind == "number" or kind == "boolean") and type(key) == "string"
            and not (fields and fields[key] ~= nil) then
            put_field(line, key, value, self._secret)
        end
    end
end

-- The logger's own fields, but for those that the call has too.
local function put_own(self, line, fields)
    for key, value in next, self._fields do
        if fields[key] == nil then put_field(line, key, value, self._secret) end
    end
end

local function overlap(keys, fields)
    for i = 1, #keys do
        if fields[keys[i]] ~= nil then return true end
    end
end

-- The code that logs, which is not links' own.
local function caller()
    for level = 3, 20 do
        local info = debug.getinfo(level, "Sl")
        if not info then return nil end
        if info.currentline > 0 and info.source:sub(1, 7) ~= "=links/" then
            return info.short_src .. ":" .. info.currentline
        end
    end
end

local function locals_of(self)
    return self._locals and C.links_log_has_locals() == 1 and core.env(core.current()).locals or nil
end

local function build(self, line, output, level, message, fields, at)
    local name = self._name or ""
    local marked = start(line, output.how + level, name, #name, message, #message)
    local keys = self._keys
    if keys then
        if fields and overlap(keys, fields) then
            put_own(self, line, fields)
        else
            -- It is made on a line too: not on the one that has begun.
            local piece = self._pieces[output.format]
            C.links_log_raw(line, piece, #piece)
        end
    end
    if marked == 1 then
        local values = locals_of(self)
        if values then put_locals(self, line, values, fields) end
    end
    if fields then put_fields(line, fields, self._secret) end
    if at then put_field(line, "caller", at) end
end

-- A line that the program's function makes.
local function build_by(self, line, output, level, message, fields, at)
    local all = {}
    for _, some in ipairs { self._fields or {}, locals_of(self) or {}, fields or {} } do
        for key, value in pairs(some) do
            all[key] = self._secret and self._secret[key] and "[redacted]" or value
        end
    end
    local ok, text = pcall(output.make, {
        time = require("links.system").now(), level = levels.name(level), name = self._name,
        message = message, fields = all, caller = at,
    })
    if not ok or type(text) ~= "string" then
        text = message .. " (the format function failed: " .. encode.text_of(text) .. ")"
    end
    C.links_log_piece(line, TEXT)
    C.links_log_text(line, text, #text)
end

-- Hands the line over; where the buffer is full and the task may wait, after a wait.
local function put(output, line, level, is_new)
    local sink = output.box.sink
    local rc
    if is_new then
        rc = send(sink, line, output.how + level)
    else
        rc = C.links_log_put(sink, line, level, 1)
    end
    while rc == AGAIN do
        local status = core.wait()
        rc = C.links_log_put(sink, line, level, status == 0 and 1 or 0)
    end
end

-- A task that a function of a log runs in has a mark, and what it logs does not go to functions.
local function is_for(self, output, level)
    if level < output.level then return false end
    if not output.box.is_function then return true end
    local values = locals_of(self)
    return not (values and values[sinks.MARK])
end

local function emit_to_all(self, level, message, fields, at)
    local line, built = take_line(), nil
    local keys, outputs = self._keys, self._outputs
    for i = 1, #outputs do
        local output = outputs[i]
        if is_for(self, output, level) then
            local is_new = not built or output.alike ~= built
            if is_new then
                if keys and not output.make then piece_of(self, line, output.format) end
                local make = output.make and build_by or build
                make(self, line, output, level, message, fields, at)
                built = output.alike
            end
            put(output, line, level, is_new)
        end
    end
    spare = line
end

-- --- repeated messages --------------------------------------------------------------------------

local emit_now

-- The end of an interval: says how often what was held back has come.
local function tell_repeated(self, rate)
    local counts = rate.counts
    rate.counts, rate.timer = {}, nil
    for _, entry in pairs(counts) do
        if entry.n > rate.burst then
            emit_now(self, entry.level, entry.message, { repeated = entry.n - rate.burst })
        end
    end
end

-- Whether the line is one of the first ones of the interval. Messages are told apart as they stand
-- in the program, before values are put in.
local function is_wanted(self, rate, level, message)
    local key = level .. message
    local entry = rate.counts[key]
    if not rate.timer then
        rate.timer = require("links.timer").setTimeout(rate.interval, tell_repeated, self, rate)
        rate.timer:unref()
    end
    if not entry then
        rate.size = (rate.timer == rate.of and rate.size or 0) + 1
        rate.of = rate.timer
        if rate.size > 10000 then return true end
        entry = { n = 0, level = level, message = message }
        rate.counts[key] = entry
    end
    entry.n = entry.n + 1
    return entry.n <= rate.burst
end

-- --- logging ------------------------------------------------------------------------------------

function emit_now(self, level, message, fields)
    return emit_to_all(self, level, message, fields, self._caller and caller())
end

local function emit(self, level, message, ...)
    local rate = self._rate
    if rate and not is_wanted(self, rate, level, encode.text_of(message)) then return end
    if self._open then self:_open() end
    local n, fields = select("#", ...), ...
    if type(message) == "string" and (n == 0 or n == 1 and type(fields) == "table"
        and getmetatable(fields) == nil) then
        emit_now(self, level, message, fields)
    else
        emit_now(self, level, encode.arguments(message, ...))
    end
end

--- Logs at the level "debug", which is off unless somebody turns it on.
---
--- @param message  string  what has happened; with places for values as string.format has them
---                         where some follow. What is no string is made one by tostring
--- @param ...      any     the values; last of all, a table of fields: name = value. Values are
---                         strings, numbers, booleans, tables of them, and anything that tostring
---                         makes a string of
--- @usage local log = require "log"
--- local logger = log.new { to = function() end, level = "debug" }
--- logger:debug("took %d ms", 12, { path = "/" })
function methods:debug(message, ...)
    if self._level > DEBUG then return end
    emit(self, DEBUG, message, ...)
end

--- Logs at the level "info". As logger:debug.
function methods:info(message, ...)
    if self._level > INFO then return end
    emit(self, INFO, message, ...)
end

--- Logs at the level "warn". As logger:debug.
function methods:warn(message, ...)
    if self._level > WARN then return end
    emit(self, WARN, message, ...)
end

--- Logs at the level "error": the line is written at once, and does not wait for others. As
--- logger:debug.
function methods:error(message, ...)
    if self._level > ERROR then return end
    emit(self, ERROR, message, ...)
end

--- Logs at the level "fatal", for what ends the program; it does not end it. The line is written
--- at once. As logger:debug.
function methods:fatal(message, ...)
    if self._level > FATAL then return end
    emit(self, FATAL, message, ...)
end

--- Whether lines of a level are logged, for who has to do something for them.
---
--- @param level  string  "debug", "info", "warn", "error" or "fatal"
--- @return boolean
--- @raise                there is no such level
--- @usage local log = require "log"
--- assert(not log.new { to = function() end }:enabled("debug"))
function methods:enabled(level)
    return levels.number("logger:enabled(level)", "level", level, 1) >= self._level
end

-- --- loggers ------------------------------------------------------------------------------------

-- Its fields, those of the one it is a child of included.
local function set_fields(self, inherited, fields)
    local all, keys = {}, {}
    for key, value in pairs(inherited or {}) do all[key] = value end
    for key, value in pairs(fields or {}) do all[key] = value end
    for key in pairs(all) do keys[#keys + 1] = key end
    self._fields = all
    self._keys = #keys > 0 and keys or nil
    self._pieces = {}
end

--- A logger that writes to the same places, and gives its lines further fields.
---
--- @param fields  table    name = value; `name` says the child's name too, where it is a string
--- @return logger          its level is that of its parent, until it is set
--- @raise                  `fields` is not a table
--- @usage local log = require "log"
--- local lines = {}
--- local logger = log.new { to = function(line) lines[#lines + 1] = line end, format = "json" }
--- logger:child { room = "a" }:info("joined")
--- logger:flush()
--- assert(lines[1]:find('"room":"a"', 1, true))
function methods:child(fields)
    check.type("logger:child(fields)", "fields", fields, "table")
    local child, own = {}, {}
    for key, value in pairs(self) do child[key] = value end
    for key, value in pairs(fields) do own[key] = value end
    if type(own.name) == "string" then
        child._name = own.name
        own.name = nil
    end
    set_fields(child, self._fields, own)
    child._parent = self
    setmetatable(child, Logger)
    levels.add(child, nil)
    return child
end

--- Sets the level of this logger, and of its children that have none of their own.
---
--- @param level  string  "debug", "info", "warn", "error", "fatal" or "off"; nil: that of
---                       log.setLevel again
--- @raise                there is no such level
--- @usage local log = require "log"
--- local logger = log.new { to = function() end }
--- logger:setLevel("warn")
--- assert(not logger:enabled("info"))
function methods:setLevel(level)
    if level ~= nil then
        level = levels.number("logger:setLevel(level)", "level", level, 1)
    end
    levels.set(self, level)
end

local function each_box(self)
    if self._open then self:_open() end
    local boxes, seen = {}, {}
    for _, output in ipairs(self._outputs) do
        if not seen[output.box] then boxes[#boxes + 1] = output.box end
        seen[output.box] = true
    end
    return ipairs(boxes)
end

--- Opens the logger's files anew, once what has been logged so far is written to the old ones: for
--- who has moved them. A file that cannot be opened goes on as it is, and is tried again every
--- second. A file that was moved or removed is noticed within a second in any case.
---
--- @usage local log = require "log"
--- log.new { to = function() end }:reopen()
function methods:reopen()
    for _, box in each_box(self) do C.links_log_reopen(box.sink) end
end

--- Waits until everything that was logged has been written.
---
--- @param ms  number    how long to wait at most. Default: 1000
--- @return true
--- @return nil, err     ETIMEDOUT  a reader is too slow
---                      ECANCELED  this task was cancelled
---                      ENOSPC     and others: what the system says of the write
--- @raise               `ms` is not a number of milliseconds
--- @wait
--- @usage local log = require "log"
--- assert(log.new { to = function() end }:flush())
function methods:flush(ms)
    check.timeout("logger:flush([ms])", "ms", ms)
    local failed
    for _, box in each_box(self) do
        local ok, err = sinks.flush(box, ms or 1000)
        if not ok then failed = err end
    end
    if failed then return nil, failed end
    return true
end

--- What has become of the lines, over all places of the logger and all loggers that share them.
---
--- @return table  lines    taken to be written
---                dropped  lost, because a buffer was full or a function has failed
---                bytes    written
---                error    why the last write failed: such as "ENOSPC"; nil while all is well
--- @usage local log = require "log"
--- assert(log.new { to = function() end }:stats().dropped == 0)
function methods:stats()
    local stats = { lines = 0, dropped = 0, bytes = 0 }
    for _, box in each_box(self) do
        local some = sinks.stats(box)
        for _, key in ipairs { "lines", "dropped", "bytes" } do
            stats[key] = stats[key] + some[key]
        end
        stats.error = stats.error or some.error
    end
    return stats
end

-- --- making them --------------------------------------------------------------------------------

local logger = { methods = methods, emit = emit, LEVELS = LEVELS, JSON = JSON }

--- Makes one of checked options. `open(self)` makes its outputs when they are first needed; nil:
--- they are there.
function logger.new(o, outputs, open)
    local self = {
        _name = o.name, _outputs = outputs, _open = open, _locals = o.locals,
        _caller = o.caller, _secret = encode.redaction(o.redact),
        _rate = o.rateLimit and {
            burst = o.rateLimit.burst, interval = o.rateLimit.interval, counts = {},
        } or false,
    }
    set_fields(self, nil, o.fields)
    -- Found at once, where each look-up costs as much as a level that is off.
    for _, name in ipairs { "debug", "info", "warn", "error", "fatal" } do
        self[name] = methods[name]
    end
    setmetatable(self, Logger)
    levels.add(self, o.level and LEVELS[o.level])
    return self
end

return logger
