--- multipart/form-data (RFC 7578, RFC 2046): the parts of a body, read as they come. What is in
--- memory is never more than a piece of the body and a header block, however large the parts are.
local check = require "links.check"
local codec = require "links.codec"
local errors = require "links.errors"
local fieldmap = require "links.http.fieldmap"

local multipart, request = {}, {}

local PIECE = 65536
local EPILOGUE_MAX = 65536

local function failure(name, message, status)
    return errors.new(errors.code(name), "http multipart", { message = message, status = status })
end

-- The boundary of a Content-Type; nil and an error.
local function boundary_of(kind)
    if not kind or not kind:lower():find("^%s*multipart/form%-data%s*;") then
        return nil, failure("UNSUPPORTED", "the body is not of the type multipart/form-data", 415)
    end
    local parameter = kind:match("[;%s][bB][oO][uU][nN][dD][aA][rR][yY]=(.*)$") or ""
    local boundary = parameter:match('^"([^"]*)"') or parameter:match("^[^;%s]*")
    if #boundary < 1 or #boundary > 70 or boundary:find("[^%w'()+_,%-./:=? ]") then
        return nil, failure("PARSE", "the boundary of the body is missing or malformed", 400)
    end
    return boundary
end

-- --- the reader ---------------------------------------------------------------------------------

local Reader = {}
Reader.__index = Reader

-- Once something is wrong, it stays wrong.
local function fail(reader, err)
    reader.err = reader.err or err
    return nil, reader.err
end

-- Adds a piece of the body to what is pending, which begins at reader.at.
local function fill(reader)
    if reader.err then return nil, reader.err end
    local piece, err = reader.req:read(PIECE)
    if not piece then
        return fail(reader, err or failure("PARSE", "the body ends too early", 400))
    end
    reader.pending, reader.at = reader.pending:sub(reader.at) .. piece, 1
    return true
end

-- Content of the part: 1 to `max` bytes; "" at its end; nil, err. Of what is pending, `safe` bytes
-- are known to be content, and behind them is the delimiter, if it was `found`.
local function read_content(reader, max)
    while reader.safe == 0 do
        if reader.at_boundary then return "" end
        if reader.found then
            reader.at = reader.at + #reader.delimiter
            reader.found, reader.at_boundary = false, true
            return ""
        end
        local first = reader.pending:find(reader.delimiter, reader.at, true)
        if first then
            reader.safe, reader.found = first - reader.at, true
        else
            -- The end of what is pending may be the beginning of the delimiter.
            local len = #reader.pending - reader.at + 1
            reader.safe = math.max(len - #reader.delimiter + 1, 0)
            if reader.safe == 0 then
                local ok, err = fill(reader)
                if not ok then return nil, err end
            end
        end
    end
    local at, len = reader.at, math.min(reader.safe, max)
    reader.at, reader.safe = at + len, reader.safe - len
    return reader.pending:sub(at, at + len - 1)
end

-- A line behind the boundary, without its end; nil, err beyond `max` bytes.
local function read_line(reader, max)
    while true do
        local stop = reader.pending:find("\r\n", reader.at, true)
        local len = (stop or #reader.pending) - reader.at
        if stop and len <= max then
            local line = reader.pending:sub(reader.at, stop - 1)
            reader.at = stop + 2
            return line
        end
        if len > max then
            return fail(reader, failure("TOO_LARGE", "the header of a part is too large", 413))
        end
        local ok, err = fill(reader)
        if not ok then return nil, err end
    end
end

-- What is behind the last boundary says nothing; a client that goes on for long is not waited for.
local function skip_epilogue(reader)
    local total = #reader.pending - reader.at + 1
    while total <= EPILOGUE_MAX do
        local piece, err = reader.req:read(PIECE)
        if err then return fail(reader, err) end
        if not piece then return true end
        total = total + #piece
    end
    return fail(reader, failure("TOO_LARGE", "too much follows the last part", 413))
end

-- A parameter of Content-Disposition. Browsers write a quote as %22, a line end as %0D%0A, others
-- put a backslash before a quote.
local function parameter_of(disposition, name)
    local at = disposition:lower():find("[;%s]" .. name .. "=")
    if not at then return nil end
    local rest = disposition:sub(at + #name + 2)
    if rest:sub(1, 1) ~= '"' then return (rest:match("^[^;%s]*")) end
    local out, i = {}, 2
    while true do
        local stop = rest:find('["\\]', i)
        if not stop then return nil end
        out[#out + 1] = rest:sub(i, stop - 1)
        if rest:sub(stop, stop) == '"' then break end
        if rest:sub(stop + 1, stop + 1) == '"' then stop = stop + 1 end
        out[#out + 1] = rest:sub(stop, stop)
        i = stop + 1
    end
    return (table.concat(out):gsub("%%22", '"'):gsub("%%0[dD]", "\r"):gsub("%%0[aA]", "\n"))
end

-- --- parts --------------------------------------------------------------------------------------

local Part = { __name = "http part" }
Part.__index = Part

local function read_headers(reader)
    local headers, room = {}, reader.max_header
    while true do
        local line, err = read_line(reader, room)
        if not line then return nil, err end
        if line == "" then return headers end
        room = room - #line - 2
        local name, value = line:match("^([%w!#$%%&'*+.^_`|~-]+):(.*)$")
        if not name or value:find("[%z\1-\8\10-\31\127]") then
            return fail(reader, failure("PARSE", "the header of a part is malformed", 400))
        end
        name = name:lower()
        if headers[name] then
            return fail(reader, failure("PARSE", "a part has a field twice: " .. name, 400))
        end
        headers[name] = fieldmap.trim(value)
    end
end

local function new_part(reader, headers)
    local disposition = headers["content-disposition"] or ""
    if not disposition:lower():find("^form%-data%f[;%z]") then
        return fail(reader, failure("PARSE", "a part is no field of a form", 400))
    end
    local name = parameter_of(disposition, "name")
    if not name then return fail(reader, failure("PARSE", "a part has no name", 400)) end
    local filename = parameter_of(disposition, "filename")
    return setmetatable({
        name = name, headers = headers, type = headers["content-type"] or "text/plain",
        -- What comes before the last slash is the client's folder, and nobody else's business.
        filename = filename and filename:gsub("%z", ""):match("[^/\\]*$"),
        _reader = reader, _size = 0,
    }, Part)
end

-- The next part; nil at the end; nil, err.
local function next_part(reader)
    if reader.err then return nil, reader.err end
    if reader.done then return nil end
    repeat
        local piece, err = read_content(reader, PIECE)
        if not piece then return nil, err end
        if reader.part then
            -- What nobody reads counts, too.
            local ok
            ok, err = reader.part:_count(#piece)
            if not ok then return nil, err end
        end
    until piece == ""
    reader.part = nil
    -- White space may follow a boundary (RFC 2046, 5.1.1).
    while #reader.pending < reader.at + 1 do
        local ok, err = fill(reader)
        if not ok then return nil, err end
    end
    if reader.pending:sub(reader.at, reader.at + 1) == "--" then
        reader.done = true
        local ok, err = skip_epilogue(reader)
        if not ok then return nil, err end
        return nil
    end
    local line, err = read_line(reader, 128)
    if not line then return nil, err end
    if line:find("[^ \t]") then
        return fail(reader, failure("PARSE", "something follows a boundary", 400))
    end
    reader.count = reader.count + 1
    if reader.count > reader.max_parts then
        return fail(reader, failure("TOO_LARGE", "more than " .. reader.max_parts .. " parts", 413))
    end
    local headers
    headers, err = read_headers(reader)
    if not headers then return nil, err end
    reader.at_boundary = false
    reader.part, err = new_part(reader, headers)
    return reader.part, err
end

-- Adds to the size of a part, which has a limit.
function Part:_count(n)
    self._size = self._size + n
    if self._size <= self._reader.max_part_size then return true end
    return fail(self._reader, failure("TOO_LARGE", "a part is larger than "
        .. self._reader.max_part_size .. " bytes", 413))
end

--- Reads some of the content of a part.
---
--- @param n  integer  bytes at most. Default: 65536
--- @return string     1 to `n` bytes; nil without an error at its end, and once the next part has
---                    been
---                    asked for
--- @return nil, err   as req:read and req:parts
--- @raise             `n` is not a positive integer
--- @wait
function Part:read(n)
    if n ~= nil then check.integer("part:read([n])", "n", n, 1, 2 ^ 30) end
    local reader = self._reader
    if reader.part ~= self then return nil end
    if reader.err then return nil, reader.err end
    local piece, err = read_content(reader, n or PIECE)
    if not piece then return nil, err end
    if piece == "" then return nil end
    local ok
    ok, err = self:_count(#piece)
    if not ok then return nil, err end
    return piece
end

--- Reads the rest of the content of a part.
---
--- @param max  integer  bytes at most. Default: maxPartSize of req:parts
--- @return string       the content
--- @return nil, err     TOO_LARGE  it is more than `max`
---                      otherwise as part:read
--- @raise               `max` is not an integer
--- @wait
function Part:body(max)
    if max ~= nil then check.integer("part:body([max])", "max", max, 0, 2 ^ 53) end
    local pieces, total = {}, 0
    while true do
        local piece, err = self:read()
        if err then return nil, err end
        if not piece then return table.concat(pieces) end
        total = total + #piece
        if max and total > max then
            return fail(self._reader, failure("TOO_LARGE", "a part is larger than " .. max
                .. " bytes", 413))
        end
        pieces[#pieces + 1] = piece
    end
end

-- Copies what read() returns into a file; the number of bytes, or nil, err, without a file.
local function save(path, read)
    local fs = require "links.fs"
    local file, err = fs.open(path, "wx")
    if not file then return nil, err end
    local total = 0
    while true do
        local piece
        piece, err = read()
        if not piece then break end
        local ok
        ok, err = file:write(piece)
        if not ok then break end
        total = total + #piece
    end
    file:close()
    if not err then return total end
    fs.remove(path)
    return nil, err
end

--- Writes the rest of the content of a part into a new file.
---
--- @param path  string  the file; never a name that the client has chosen
--- @return integer      its size
--- @return nil, err     EEXIST  it is there already
---                      otherwise as fs.open and part:read; there is no file then
--- @raise               `path` is not a string
--- @wait
function Part:save(path)
    check.type("part:save(path)", "path", path, "string")
    return save(path, function() return self:read() end)
end

local LIMITS = {
    maxParts = { default = 100, type = "integer", min = 1, max = 1000000 },
    maxPartSize = { default = 10485760, type = "integer", min = 0, max = 2 ^ 53 },
    maxHeader = { default = 4096, type = "integer", min = 64, max = 65536 },
}

local function new_reader(req, options)
    local boundary, err = boundary_of(req:header("content-type"))
    return setmetatable({
        req = req, err = err, delimiter = "\r\n--" .. (boundary or ""), count = 0,
        -- So that the first boundary, at the very beginning, is one like the others.
        pending = "\r\n", at = 1, safe = 0, found = false, at_boundary = false,
        max_parts = options.maxParts, max_part_size = options.maxPartSize,
        max_header = options.maxHeader, done = false,
    }, Reader)
end

--- Goes through the parts of a form with files (multipart/form-data), as they come.
---
--- Each part has `name`, `filename` (nil for a field; without folders), `type`, `headers` (by names
--- in small letters), and :read, :body and :save. What is not read of a part is passed over.
---
--- @param options  table  maxParts     100       parts
---                        maxPartSize  10485760  bytes of a part
---                        maxHeader    4096      bytes of the header of a part
--- @return function       an iterator: part, err. Where it cannot go on, part is false and err says
---                        why, with
---                        err.status for the client:
---                        UNSUPPORTED (415), PARSE (400), TOO_LARGE (413), and those of req:read
--- @raise                 an option of another type, or one that nobody knows
--- @wait
function request:parts(options)
    options = check.options("req:parts([options])", options, LIMITS)
    local reader, ended = new_reader(self, options), false
    return function()
        if ended then return nil end
        local part, err = next_part(reader)
        if part then return part end
        ended = true
        if err then return false, err end
    end
end

-- --- files --------------------------------------------------------------------------------------

local File = { __name = "http file" }
File.__index = File

--- Reads some of a file, from where the last read ended.
---
--- @param n  integer  bytes at most. Default: 65536
--- @return string     1 to `n` bytes; nil at its end
--- @return nil, err   as file:read of fs
--- @wait
function File:read(n)
    if n ~= nil then check.integer("file:read([n])", "n", n, 1, 2 ^ 30) end
    local at = self._at
    local piece, err
    if self._file then
        piece, err = self._file:read(n or PIECE, at)
    else
        piece = self._data:sub(at + 1, at + (n or PIECE))
        if piece == "" then piece = nil end
    end
    if piece then self._at = at + #piece end
    return piece, err
end

--- All of a file.
---
--- @return string    what is in it
--- @return nil, err  as file:read of fs
--- @wait
function File:body()
    if self._data then return self._data end
    local pieces = {}
    self._at = 0
    while true do
        local piece, err = self:read()
        if err then return nil, err end
        if not piece then return table.concat(pieces) end
        pieces[#pieces + 1] = piece
    end
end

--- Writes all of it into a new file.
---
--- @param path  string  the file; never a name that the client has chosen
--- @return integer      its size
--- @return nil, err     as part:save
--- @wait
function File:save(path)
    check.type("file:save(path)", "path", path, "string")
    self._at = 0
    return save(path, function() return self:read() end)
end

-- A file that has no name any more: it is gone when nobody has it open, whatever becomes of us.
local function open_spool(dir)
    local fs = require "links.fs"
    local file, err = fs.tempFile { dir = dir, prefix = "links-upload-" }
    if not file then return nil, err end
    local ok
    ok, err = fs.remove(file.path)
    if not ok then
        file:close()
        return nil, err
    end
    return file
end

-- Takes the content of a part into `file`, where it grows beyond `memory` bytes into a spool.
local function fill_file(file, part, memory, dir)
    local pieces = {}
    while true do
        local piece, err = part:read()
        if err then return nil, err end
        if not piece then break end
        file.size = file.size + #piece
        pieces[#pieces + 1] = piece
        if file.size > memory then
            if not file._file then
                file._file, err = open_spool(dir)
                if not file._file then return nil, err end
            end
            local ok
            ok, err = file._file:write(table.concat(pieces))
            if not ok then return nil, err end
            pieces = {}
        end
    end
    if not file._file then file._data = table.concat(pieces) end
    return true
end

local function new_file(part)
    return setmetatable({
        name = part.name, filename = part.filename, type = part.type, size = 0, _at = 0,
    }, File)
end

-- Nobody gets files of a form that is wrong: the disk has its room back at once.
local function give_up(files, err)
    for _, file in ipairs(files) do
        if file._file then file._file:close() end
    end
    return nil, nil, err
end

local FILES_OPTIONS = {
    dir = { type = "string" },
    memory = { default = 65536, type = "integer", min = 0, max = 2 ^ 30 },
    maxField = { default = 65536, type = "integer", min = 0, max = 2 ^ 30 },
}
for name, about in pairs(LIMITS) do FILES_OPTIONS[name] = about end

--- Reads a form with files (multipart/form-data) as a whole. Files larger than `memory` are kept on
--- disk, under no name: they are gone with the last that has them open, and cannot be left behind.
---
--- @param options  table  dir          $TMPDIR or "/tmp"  where large files are kept
---                        memory       65536     bytes of a file in memory
---                        maxField     65536     bytes of a field that is no file
---                        maxParts, maxPartSize, maxHeader  as req:parts
--- @return table          the fields: name = string, or a list for a name that repeats
--- @return table          the files, in order: name, filename, type, size, :read :body :save
--- @return nil, nil, err  as the iterator of req:parts
--- @raise                 an option of another type, or one that nobody knows
--- @wait
function request:files(options)
    options = check.options("req:files([options])", options, FILES_OPTIONS)
    local reader = new_reader(self, options)
    local fields, files = {}, {}
    while true do
        local part, err = next_part(reader)
        if err then return give_up(files, err) end
        if not part then return fields, files end
        if part.filename then
            local ok
            files[#files + 1] = new_file(part)
            ok, err = fill_file(files[#files], part, options.memory, options.dir)
            if not ok then return give_up(files, err) end
        else
            local value
            value, err = part:body(options.maxField)
            if not value then return give_up(files, err) end
            codec._addArg(fields, part.name, value)
        end
    end
end

multipart.request = request

return multipart
