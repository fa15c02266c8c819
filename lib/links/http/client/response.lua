--- The answer to a request, as http.get and the others return it.
---
--- Fields: `status`, `reason`, `headers` (by name, in any case; repeated ones joined by ", "),
--- `body` (a string; nil with the option stream), `url` (where it came from in the end),
--- `redirects` (a list of the URLs that led there), `version` ("1.1"), `protocol` ("http/1.1"),
--- `contentLength` (nil where it is not known, or not what the body has once decompressed),
--- `trailers` (once the body has been read), `remoteAddress`, `remotePort`, and `timing`:
--- milliseconds for `dns`, `connect` and `tls` (0 on a connection that was there already), until
--- the head of the answer (`ttfb`) and until its end (`total`).
---
--- With the option stream the body is still to be read, by the methods below: as fast as the
--- program asks for it, and no faster. Read it to its end or close it: its connection waits for
--- that.
local ffi = require "ffi"
local core = require "links.core"
local ahead = require "links.ahead"
local check = require "links.check"
local errors = require "links.errors"
local fieldmap = require "links.http.fieldmap"
local binding = require "links.http.client.ffi"
local clock = require "links.http.client.clock"
local decoder = require "links.http.client.decoder"
local exchange = require "links.http.client.exchange"

local NONE, LENGTH = binding.NONE, binding.LENGTH
local CHUNKED, CLOSE = binding.CHUNKED, binding.CLOSE
local fast_body = core.fast.httpReplyBody
local now, new_error = core.now, errors.new
local sub, concat = string.sub, table.concat

local EOF, TOO_LARGE, CLOSED = errors.code("EOF"), errors.code("HTTP_BODY_TOO_LARGE"),
    errors.code("CLOSED")
local ETIMEDOUT, EBUSY = errors.code("ETIMEDOUT"), errors.code("EBUSY")
local PIECE = 65536
local LINE_MAX = 1048576
local DISCARD_MS = 250

local methods = {}
local Response = { __name = "http response" }

-- --- the head --------------------------------------------------------------------------------

-- The head has been checked: each line is a name, a colon, a value.
local function each_field(head, fn)
    for name, value in head:gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)\r\n") do
        fn(name:lower(), fieldmap.trim(value))
    end
end

local function fields_of(text)
    local fields = fieldmap.new()
    each_field(text, function(name, value) fieldmap.add(fields, name, value) end)
    return fields
end

-- What is made when it is first asked for.
local lazy = {}

-- The fields as they were sent.
local function field_lines(res)
    return sub(res._data, res._data:find("\n", 1, true) + 1, res._head_len)
end

-- private: the fields by name.
function lazy.headers(res) return fields_of(field_lines(res)) end

-- private: the text behind the status.
function lazy.reason(res) return res._data:match("^HTTP/1%.%d %d%d%d ?([^\r]*)") end

-- private: the URLs that led here.
function lazy.redirects() return {} end

-- private: the times by name.
function lazy.timing(res)
    local made, from = res._made, res._from
    return {
        dns = made and made.dns or 0, connect = made and made.connect or 0,
        tls = made and made.tls or 0,
        ttfb = res._first - from, total = res._ended and res._ended - from or nil,
    }
end

function Response.__index(res, key)
    local method = methods[key]
    if method then return method end
    local make = lazy[key]
    if not make then return nil end
    local value = make(res)
    -- The total is not known before the end.
    if key ~= "timing" or res._ended then rawset(res, key, value) end
    return value
end

function Response.__tostring(res)
    return "http response: " .. res.status .. " " .. res.reason .. " of " .. res.url
end

--- The value of a header field, whatever the case of its name.
---
--- @param name  string  such as "content-type"
--- @return string       its value; repeated fields are joined by ", "; nil where there is none
--- @raise               `name` is not a string
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function() return "hello" end))
--- local res = assert(http.get("http://127.0.0.1:" .. server:address().port))
--- assert(res:header("Content-Type") == "text/plain; charset=utf-8")
--- server:close()
function methods:header(name)
    check.type("res:header(name)", "name", name, "string")
    return self.headers[name]
end

--- All values of a header field, one for each time it was sent: Set-Cookie above all.
---
--- @param name  string  such as "set-cookie"
--- @return table        the values in order; empty where there is none
--- @raise               `name` is not a string
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req, res)
---     res:setHeader("set-cookie", { "a=1", "b=2" })
---     return "hello"
--- end))
--- local res = assert(http.get("http://127.0.0.1:" .. server:address().port))
--- assert(res:headerAll("set-cookie")[2] == "b=2")
--- server:close()
function methods:headerAll(name)
    check.type("res:headerAll(name)", "name", name, "string")
    local values, wanted = {}, name:lower()
    each_field(field_lines(self), function(key, value)
        if key == wanted then values[#values + 1] = value end
    end)
    return values
end

-- --- the body as it comes --------------------------------------------------------------------

local function stamp(res)
    res._ended = clock()
end

-- The connection is of no use any more.
local function abandon(res, reset)
    local conn, writer = res._conn, res._writer
    if not conn then return end
    res._conn, res._writer = false, false
    stamp(res)
    if writer then exchange.end_writer(writer) end
    res._pool:drop(conn, reset)
end

-- The body has been read to its end: the next request may have the connection, unless something is
-- left on it, or the request has not gone out as a whole.
local function complete(res)
    local conn, writer = res._conn, res._writer
    res._conn, res._writer = false, false
    stamp(res)
    if res._keep and conn.more > 0 then
        conn.rest, res._rest = res._rest, "" -- it is of the next answer: see pipeline.lua
        return
    end
    local whole = not writer or exchange.end_writer(writer)
    if res._keep and whole and res._rest == "" then
        res._pool:release(conn, res._o)
    else
        res._pool:drop(conn)
    end
end

local function fail(res, err)
    if err.code == EBUSY then return nil, err end -- another task reads, and goes on
    if err.code == EOF then
        err = new_error(EOF, "http", { message = "the connection ended before the body" })
    elseif err.code == ETIMEDOUT and not err.deadline then
        err = exchange.timed_out("idle", res._o.idleTimeout, "nothing came")
    end
    res._err = err
    abandon(res, true)
    return nil, err
end

-- More bytes of the connection.
local function fetch(res, max)
    local conn, idle_ms = res._conn, res._idle_ms or res._o.idleTimeout
    exchange.set_timeouts(conn, idle_ms, idle_ms)
    return conn.socket:readSome(max)
end

local raw = {}

raw[NONE] = function(res)
    complete(res)
    return nil
end

raw[LENGTH] = function(res)
    local left, rest = res._left, res._rest
    if left == 0 then
        complete(res)
        return nil
    end
    local piece, err
    if rest ~= "" then
        piece = #rest > left and sub(rest, 1, left) or rest
        res._rest = sub(rest, #piece + 1)
    else
        piece, err = fetch(res, left < PIECE and left or PIECE)
        if not piece then return fail(res, err) end
    end
    res._left = left - #piece
    if res._left == 0 then complete(res) end
    return piece
end

local function take_trailers(res, reply)
    if reply.trailers_len > 2 then
        res.trailers = fields_of(ffi.string(reply.trailers, reply.trailers_len))
    end
end

raw[CHUNKED] = function(res)
    local reply = res._conn.reply
    while true do
        local data, err = res._rest
        if data == "" then
            data, err = fetch(res, PIECE)
            if not data then return fail(res, err) end
        end
        local piece = fast_body(reply, data)
        if type(piece) == "number" then return fail(res, new_error(piece, "http")) end
        res._rest = reply.used < #data and sub(data, reply.used + 1) or ""
        if reply.done == 1 then
            take_trailers(res, reply)
            complete(res)
            return piece ~= "" and piece or nil
        end
        if piece ~= "" then return piece end
    end
end

raw[CLOSE] = function(res)
    local rest = res._rest
    if rest ~= "" then
        res._rest = ""
        return rest
    end
    local piece, err = fetch(res, PIECE)
    if piece then return piece end
    if err.code ~= EOF then return fail(res, err) end
    complete(res)
    return nil
end

-- The next bytes as they were sent; nil at the end; nil and an error.
local function next_raw(res)
    if res._err then return nil, res._err end
    if not res._conn then return nil end
    return raw[res._framing](res)
end

-- The same, decoded.
local function next_piece(res)
    local z = res._decoder
    if not z then return next_raw(res) end
    local piece, err = z:read(next_raw, res)
    if err and not res._err then
        res._err = err
        abandon(res, true)
    end
    return piece, err
end

-- Within what is left of the time for the whole request.
local function within(res, fn, ...)
    local deadline = res._deadline
    if not deadline or not (res._conn or res._decoder) then return fn(res, ...) end
    local outer, outer_cut, scope = core.deadlinePush(math.max(deadline - now(), 0))
    local ok, value, err = pcall(fn, res, ...)
    local cut = core.deadlinePop(outer, outer_cut, scope)
    if not ok then
        abandon(res, true)
        error(value, 0)
    end
    if err and err.deadline and cut and now() > deadline - 1 then
        err = exchange.timed_out("total", res._o.timeout, "the body did not come")
        res._err = err
    end
    return value, err
end

local function read_on(res)
    local piece, err = within(res, next_piece)
    return piece, err
end

--- Reads some of the body: what is there, waiting until there is something.
---
--- @param n  integer  bytes at most, 1 or more. Default: as many as there are
--- @return string     1 to `n` bytes; nil at the end of the body
--- @return nil, err   EOF                   the connection ended before the body did
---                    ETIMEDOUT             nothing came within idleTimeout, or the request took
---                                          longer than timeout (err.timeout: "idle" or "total")
---                    HTTP_BAD_FRAMING      its chunks are malformed
---                    HTTP_DECOMPRESS       it cannot be decompressed
---                    ECONNRESET and others  as socket:read
---                    CLOSED                the answer was closed here
---                    EBUSY                 another task reads it
---                    ECANCELED             this task was cancelled
--- @raise             `n` is no such integer
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function() return "hello" end))
--- local res = assert(http.get("http://127.0.0.1:" .. server:address().port, { stream = true }))
--- assert(res:read(4) == "hell" and res:read() == "o" and res:read() == nil)
--- server:close()
function methods:read(n)
    if n ~= nil then check.integer("res:read([n])", "n", n, 1, 2 ^ 53) end
    if self._ahead ~= "" then return ahead.take(self, n) end
    local piece, err = read_on(self)
    if not piece or not n or #piece <= n then return piece, err end
    ahead.put(self, piece)
    return ahead.take(self, n)
end

local function read_all(res, max)
    local total = ahead.count(res)
    local parts = { ahead.take(res) }
    while true do
        if total > max then
            local err = new_error(TOO_LARGE, "http", {
                message = "the body is larger than " .. max .. " bytes",
            })
            res._err = err
            abandon(res, true)
            return nil, err
        end
        local piece, err = next_piece(res)
        if err then return nil, err end
        if not piece then return concat(parts) end
        parts[#parts + 1] = piece
        total = total + #piece
    end
end

--- Reads all that is left of the body.
---
--- @param max  integer  bytes at most. Default: maxBodySize of the request
--- @return string       the body, or its rest; "" where nothing is left
--- @return nil, err     HTTP_BODY_TOO_LARGE  it is larger, compressed or not
---                      otherwise as res:read
--- @raise               `max` is no such integer
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function() return "hello" end))
--- local res = assert(http.get("http://127.0.0.1:" .. server:address().port, { stream = true }))
--- assert(res:readAll() == "hello")
--- server:close()
function methods:readAll(max)
    if max ~= nil then check.integer("res:readAll([max])", "max", max, 0, 2 ^ 31 - 4096) end
    local text, err = within(self, read_all, max or self._o.maxBodySize)
    return text, err
end

--- Reads the body as JSON.
---
--- @return any       the value, as json.decode
--- @return nil, err  PARSE  it is not JSON
---                   otherwise as res:readAll
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function() return { 1, 2 } end))
--- local res = assert(http.get("http://127.0.0.1:" .. server:address().port))
--- assert(res:json()[2] == 2)
--- server:close()
function methods:json()
    local text, err = self.body
    if not text then
        text, err = self:readAll()
        if not text then return nil, err end
    end
    local value
    value, err = require("links.json").decode(text)
    return value, err
end

--- The lines of the body, for a loop, without their ends (LF or CR LF). The last one needs none.
---
--- @param max  integer  bytes that a line may have. Default: 1048576
--- @return function     line, err = next(): nil at the end; nil, err for a failure: EXCEED_BUF_SIZE
---                      for a longer line, and what res:read says
--- @raise               `max` is no such integer
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function() return "one\r\ntwo" end))
--- local res = assert(http.get("http://127.0.0.1:" .. server:address().port, { stream = true }))
--- local lines = {}
--- for line in res:lines() do lines[#lines + 1] = line end
--- assert(lines[1] == "one" and lines[2] == "two")
--- server:close()
function methods:lines(max)
    if max ~= nil then check.integer("res:lines([max])", "max", max, 1, 2 ^ 31 - 4096) end
    max = max or LINE_MAX
    return function()
        local line, err = ahead.line(self, "\n", max, read_on)
        if line then return line end
        if err == "too long" then err = new_error(errors.code("EXCEED_BUF_SIZE"), "http") end
        return nil, err
    end
end

--- The events of a stream of events (text/event-stream), for a loop, as they come.
---
--- A stream that goes on for long wants the option timeout = 0, and an idleTimeout that is longer
--- than its silences.
---
--- @param max  integer  bytes that a line, and the data of an event, may have. Default: 1048576
--- @return function     event, err = next(): {event = string ("message" unless told), data =
---                      string, id = string (the last one told; "" where none was), retry = integer
---                      (ms; the last one told; nil where none was)}; nil at the end; nil, err for
---                      a failure, as res:lines
--- @raise               `max` is no such integer
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req, res)
---     res:setHeader("content-type", "text/event-stream")
---     return "id: 7\ndata: hello\ndata: world\n\n"
--- end))
--- local res = assert(http.get("http://127.0.0.1:" .. server:address().port, { stream = true }))
--- for event in res:sse() do assert(event.data == "hello\nworld" and event.id == "7") end
--- server:close()
function methods:sse(max)
    if max ~= nil then check.integer("res:sse([max])", "max", max, 1, 2 ^ 31 - 4096) end
    return require("links.http.client.sse").events(self, max or LINE_MAX, read_on)
end

--- Writes what is left of the body into a file: under another name first, which becomes `path` once
--- everything is there.
---
--- @param path  string  the file; one that is there is replaced
--- @return integer      how many bytes
--- @return nil, err     as res:read, and as fs.open and file:write; nothing is left of the file
---                      then
--- @raise               `path` is not a string
--- @wait
--- @usage local http, fs = require "http", require "fs"
--- local server = assert(http.createServer(8080, function() return "hello" end))
--- local res = assert(http.get("http://127.0.0.1:" .. server:address().port, { stream = true }))
--- local path = os.tmpname()
--- assert(res:save(path) == 5 and fs.readFile(path) == "hello")
--- os.remove(path)
--- server:close()
function methods:save(path)
    check.type("res:save(path)", "path", path, "string")
    local total, err = require("links.http.client.download").save(self, path)
    return total, err
end

--- Ends the answer: what has not been read is not read any more, and its connection is closed. One
--- that was read to its end has given its connection back; closing it is harmless.
---
--- @return true
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function() return "hello" end))
--- local res = assert(http.get("http://127.0.0.1:" .. server:address().port, { stream = true }))
--- res:close()
--- local _, err = res:read()
--- assert(err.name == "CLOSED")
--- server:close()
function methods:close()
    if self._conn or self._ahead ~= "" then
        self._err = new_error(CLOSED, "http")
        ahead.put(self, "")
        abandon(self, true)
    end
    return true
end

-- --- for the client --------------------------------------------------------------------------

local response = { Response = Response }

-- private: an answer whose head has been read. `data` is all that has come, `n` the length of the
-- head. Its body is nil once it is known to be streamed.
function response.new(call, conn, data, n, writer)
    local reply, plan = conn.reply, call.plan
    local framing = plan.method == "HEAD" and NONE or reply.framing
    local keep = reply.keep_alive == 1 and framing ~= CLOSE and reply.status ~= 101
        and not plan.close and not plan.unsent
    local length = reply.content_length
    -- All fields that it will have, so that the table does not grow.
    local res = setmetatable({
        status = reply.status,
        version = reply.minor == 1 and "1.1" or "1.0",
        protocol = reply.minor == 1 and "http/1.1" or "http/1.0",
        contentLength = length >= 0 and length or nil,
        remoteAddress = conn.address, remotePort = conn.port,
        url = "", body = "",
        _data = data, _head_len = n,
        _conn = conn, _pool = call.pool, _o = call.o, _writer = writer or false, _keep = keep,
        _framing = framing, _left = length, _rest = sub(data, n + 1), _ahead = "", _at = 1,
        _decoder = false, _deadline = false, _err = false, _idle_ms = false, _whole = false,
        _made = call.timing, _from = call.from, _first = call.first, _ended = false,
    }, Response)
    if call.redirects then res.redirects = call.redirects end
    local coding = reply.coding
    if coding ~= 0 and framing ~= NONE and call.o.decompress then
        res._decoder = decoder.new(coding, call.o)
        res.contentLength = nil
    end
    if framing == NONE or (framing == LENGTH and length == 0) then complete(res) end
    return res
end

-- private: reads the whole body into res.body: true, or nil and an error.
function response.collect(res)
    if res._whole then return true end
    local max = res._o.maxBodySize
    if res._framing == LENGTH and res._left > max and res._conn then
        res._left = 0
        return fail(res, new_error(TOO_LARGE, "http", {
            message = ("the body has %.0f bytes, more than %d"):format(res.contentLength, max),
        }))
    end
    local text, err = read_all(res, max)
    if not text then return nil, err end
    res.body, res._whole = text, true
    ahead.put(res, text)
    return true
end

-- private: throws a short rest away, so that the connection can be used again; one that is long, or
-- does not come soon, together with the connection.
function response.discard(res, max)
    local left, ends = max, now() + DISCARD_MS
    local is_long = res._framing == CLOSE or (res._framing == LENGTH and res._left > max)
    if is_long then left = 0 end
    while res._conn and left > 0 and now() < ends do
        res._idle_ms = math.ceil(ends - now())
        local piece, err = next_raw(res)
        if err or not piece then break end
        left = left - #piece
    end
    abandon(res)
end

return response
