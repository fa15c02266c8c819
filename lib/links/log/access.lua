--- Access logs: a line for each request, when it is over. Made by `log.access` for the option
--- accessLog of http.createServer, and for routes by http.accessLog.
---
--- The format is "combined" or "common", as Apache and nginx have them, "json", or a text with
--- variables, written $name or ${name} ($$ is a dollar sign): remoteAddress and remotePort (of the
--- client that a trusted proxy tells of, as req.remoteAddress), remoteUser (of basic
--- authentication), localPort, time (local, as in "combined"), timeIso, msec, method, url, path,
--- query, version, status, bytes (of the body), bytesSent (with the head), bytesReceived (of the
--- request's body), duration (ms, from the complete head to the end of the answer), host, referer,
--- userAgent, requestId (see http.requestId), aborted ("aborted" or "-": the client left, or the
--- answer was broken off), header.NAME and responseHeader.NAME (such as header.accept; cookies and
--- authorization are left out), and note.NAME (see req:note). What is not there is "-".
---
--- A client that leaves before it is answered has the status 499. What clients have sent is
--- escaped. C puts the lines together; where a function is to decide about a line, it does so in a
--- task of its own after the answer.
local ffi = require "ffi"
local check = require "links.check"
local choice = require "links.log.choice"
local json = require "links.json"
local binding = require "links.log.ffi"
local sinks = require "links.log.sinks"
require "links.http.ffi" -- declares links_http_req

ffi.cdef [[
typedef struct links_http_access_options {
    const char *format;
    int records;
    double sample;
    int min_status;
    double min_duration;
} links_http_access_options;
typedef struct links_http_access links_http_access;
int links_http_access_new(links_http_access **access,
                                    const links_http_access_options *options, links_log_sink *sink,
                                    int *at);
void links_http_access_free(links_http_access *access);
void links_http_access_server(links_http_server *server, links_http_access *access);
void links_http_access_request(links_http_req *r, links_http_access *access);
int links_http_note(links_http_req *r, const char *name, size_t name_len,
                              const char *value, size_t value_len, int is_number);
]]

local C, JSON, TEXT = binding.C, binding.JSON, binding.TEXT

local access = {}

local methods = {}
local Access = { __index = methods, __name = "access log" }

local COMMON = '$remoteAddress - $remoteUser [$time] "$method $url HTTP/$version" $status $bytes'
local FORMATS = { common = COMMON, combined = COMMON .. ' "$referer" "$userAgent"' }

local OPTIONS = {
    format = { default = "combined", type = "string|function" },
    to = { default = "stderr", type = "string|function" },
    sample = { default = 1, type = "number" },
    skip = { type = "function|nil" },
    minStatus = { default = 0, type = "integer", min = 0, max = 999 },
    minDuration = { default = 0, type = "number" },
    bufferSize = { default = 262144, type = "integer", min = 4096, max = 2 ^ 30 },
    flushInterval = { default = 1000, type = "integer", min = 0, max = 2 ^ 31 - 1 },
    rotate = { type = "table|nil" },
    reopenOn = { default = "SIGUSR1", type = "string|boolean" },
    mode = { default = tonumber("640", 8), type = "integer", min = 0, max = 511 },
}

local function open_sink(signature, o, level)
    local protocol = sinks.check(signature, o.to, level + 1)
    local format = o.format == "json" and JSON or TEXT
    if protocol == "journald" then format = binding.JOURNAL end
    local flags = protocol == "syslog" and binding.SYSLOG or 0
    local box, err = sinks.open(o.to, {
        format = format, flags = flags, bufferSize = o.bufferSize,
        flushInterval = o.flushInterval, onFull = "drop", sync = false, rotate = o.rotate,
        reopenOn = o.reopenOn, mode = o.mode,
    })
    if not box then return nil, nil, err end
    return box, protocol
end

-- What a function makes of a line: `shown` is what it would be.
local function decide(o, shown, record)
    if o.skip and o.skip(record) then return nil end
    if type(o.format) ~= "function" then return shown end
    local line = o.format(record)
    if type(line) ~= "string" then
        error("the format of an access log must return a string, not a " .. type(line), 0)
    end
    return line
end

-- A sink in front of the other, whose lines a function changes or leaves out. They have what is to
-- be written, a tab, and the record that the function gets.
local function filter(o, box, protocol)
    local line = ffi.gc(C.links_log_line_new(), C.links_log_line_free)
    local format = protocol == "journald" and binding.JOURNAL or TEXT
    local flags = protocol == "syslog" and binding.SYSLOG or 0
    return sinks.open(function(text)
        local shown, record = text:match("^([^\t]*)\t(.*)$")
        if o.format == "json" then shown = record end
        shown = decide(o, shown, json.decode(record))
        if not shown then return end
        if protocol then
            C.links_log_begin(line, format, flags, binding.LEVELS.info, "", 0, shown, #shown)
        else
            C.links_log_piece(line, TEXT)
            C.links_log_text(line, shown, #shown)
        end
        C.links_log_end(line, 0)
        C.links_log_put(box.sink, line, binding.LEVELS.info, 0)
    end, {
        format = TEXT, flags = 0, bufferSize = o.bufferSize, flushInterval = 0, onFull = "drop",
        mode = 0,
    })
end

local out_access, out_at = ffi.new("links_http_access *[1]"), ffi.new("int[1]")

local function make(signature, o, sink, filtered, level)
    local c = ffi.new("links_http_access_options")
    local template = FORMATS[o.format] or o.format
    if template == "json" then template = filtered and "" or nil end
    if type(template) == "function" then template = "" end
    c.format, c.records = template, filtered and 1 or 0
    c.sample, c.min_status, c.min_duration = o.sample, o.minStatus, o.minDuration
    if C.links_http_access_new(out_access, c, sink, out_at) < 0 then
        error(signature .. " options.format has no such variable: " ..
            template:sub(out_at[0] + 1, out_at[0] + 40), level + 2)
    end
    return ffi.gc(out_access[0], C.links_http_access_free)
end

-- Private: an access log of what the option accessLog may be; `level` is for errors.
function access._of(signature, options, level)
    if getmetatable(options) == Access then return options end
    if options == true then options = {} end
    if type(options) == "string" then options = { to = options } end
    local o = check.options(signature, options, OPTIONS, level + 1)
    if not (o.sample >= 0 and o.sample <= 1) then
        error(signature .. " options.sample must be [number] from 0 to 1", level + 2)
    end
    if o.rotate then o.rotate = choice.rotation(signature, o.rotate, level + 1) end
    o.reopenOn = choice.signal(signature, o.reopenOn, level + 1)
    local box, protocol, err = open_sink(signature, o, level + 1)
    if not box then return nil, err end
    local self, sink = { _box = box }, box.sink
    local filtered = o.skip or type(o.format) == "function" or protocol
    if filtered then
        self._filter = assert(filter(o, box, protocol))
        sink = self._filter.sink
    end
    self._h = make(signature, o, sink, filtered, level + 1)
    return setmetatable(self, Access)
end

--- Makes an access log; `log.access` is this.
---
--- @param options  table  format         "combined"  see above; or function(record) -> string, and
---                                                   the record has what the JSON has
---                        to             "stderr"    one place of those that log.new knows
---                        sample         1           the share of the requests that are logged
---                        skip           nil         function(record) -> true for what is not to be
---                                                   logged
---                        minStatus      0           only answers with that status or more
---                        minDuration    0           only what took that many ms or more
---                        bufferSize     262144      bytes of lines that wait
---                        flushInterval, rotate, reopenOn, mode  as those of log.new
--- @return access log     :flush() :reopen() :stats()
--- @return nil, err       as log.new
--- @raise                 an option of another type or out of bounds, or one that nobody knows; a
---                        variable that there is not
--- @usage local log, http = require "log", require "http"
--- local lines = {}
--- local access = assert(log.access {
---     format = "$method $path $status $duration ms",
---     to = function(line) lines[#lines + 1] = line end,
--- })
--- local function hello() return "hello" end
--- local server = assert(http.createServer(0, hello, { accessLog = access }))
--- server:close()
function access.new(options)
    -- No tail call, which would leave nothing of this function to count in `level`.
    local log, err = access._of("log.access(options)", options, 1)
    return log, err
end

-- Private: has C log the requests of a server.
function methods:_attach(server_handle)
    C.links_http_access_server(server_handle, self._h)
end

-- Private: has C log one request.
function methods:_log(r)
    C.links_http_access_request(r, self._h)
end

--- Waits until everything that was logged has been written. As logger:flush.
---
--- @param ms  number   how long to wait at most. Default: 1000
--- @return true
--- @return nil, err    as logger:flush
--- @raise              `ms` is not a number of milliseconds
--- @wait
function methods:flush(ms)
    check.timeout("access:flush([ms])", "ms", ms)
    if self._filter then
        local ok, err = sinks.flush(self._filter, ms or 1000)
        if not ok then return nil, err end
    end
    return sinks.flush(self._box, ms or 1000)
end

--- Opens its file anew. As logger:reopen.
function methods:reopen()
    C.links_log_reopen(self._box.sink)
end

--- What has become of its lines. As logger:stats; `dropped` counts also those that a function has
--- not been given.
---
--- @return table
function methods:stats()
    local stats = sinks.stats(self._box)
    if self._filter then stats.dropped = stats.dropped + sinks.stats(self._filter).dropped end
    return stats
end

return access
