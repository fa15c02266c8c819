-- Bodies into files: under another name until they are complete, and resumed where they broke off.
local date = require "links.date"
local errors = require "links.errors"
local fs = require "links.fs"
local task = require "links.task"
local start = require "links.http.client.start"

local download = {}

local codes = errors.codes
local READ = 65536
local INFO_MAX = 16384

-- Paths that are being written now: a second one would write into the same file.
local busy = {}

local function new_error(name, extra)
    return errors.new(codes[name], "http", extra)
end

-- Tidying up goes on although the task may be cancelled.
local function quietly(fn, ...)
    return task.shield(fn, ...)
end

local function locked(path, fn, ...)
    if busy[path] then
        return nil, new_error("EBUSY", { path = path, message = "another task writes this file" })
    end
    busy[path] = true
    local ok, result, err = pcall(fn, ...)
    busy[path] = nil
    if not ok then error(result, 0) end
    return result, err
end

-- Moves the body into the open file: true, or nil and an error.
local function pour(res, file, each)
    while true do
        local piece, err = res:read()
        if err then return nil, err end
        if not piece then return true end
        local n
        n, err = file:write(piece)
        if not n then return nil, err end
        each(piece)
    end
end

-- What was written is on the disk before it gets its name, or a crash could leave an empty file.
local function close_file(file, ok, err)
    if ok then ok, err = file:sync() end
    local closed, why = quietly(file.close, file)
    if ok and not closed then return nil, why end
    return ok, err
end

-- --- res:save --------------------------------------------------------------------------------

local function save(res, path)
    local part, total = path .. ".part", 0
    local file, err = fs.open(part, "w")
    if not file then
        res:close()
        return nil, err
    end
    local ok
    ok, err = pour(res, file, function(piece) total = total + #piece end)
    ok, err = close_file(file, ok, err)
    if ok then ok, err = fs.rename(part, path) end
    if ok then return total end
    res:close()
    quietly(fs.remove, part)
    return nil, err
end

-- private: what res:save does.
function download.save(res, path)
    local total, err = locked(path, save, res, path)
    return total, err
end

-- --- what is there already -------------------------------------------------------------------

-- A validator that tells every byte (RFC 9110, 13.1.5): a strong tag, or a date that is older than
-- the answer.
local function validator_of(res)
    local tag, modified = res.headers.etag, res.headers["last-modified"]
    if tag and tag:find('^"') then return tag end
    local changed = modified and date.parseHttp(modified)
    local sent = res.headers.date and date.parseHttp(res.headers.date)
    if changed and sent and sent - changed >= 1 then return modified end
end

-- How much is there of this URL, and by what the server knows whether it is still the same.
local function what_is_there(d)
    if not d.resume then return 0 end
    local text = fs.readFile(d.info, { max = INFO_MAX })
    local st = text and fs.stat(d.part)
    if not st or st.type ~= "file" then return 0 end
    local url, validator = text:match("^([^\n]*)\n([^\n]*)\n$")
    if url ~= d.url or st.size == 0 then return 0 end
    return st.size, validator
end

local function forget(d)
    quietly(fs.remove, d.part)
    quietly(fs.remove, d.info)
end

-- Writes down what tells the next download that it may go on with this one.
local function note(d, res, offset)
    if offset > 0 then -- it stands there already
        d.keeps = true
        return true
    end
    local validator = d.resume and validator_of(res)
    d.keeps = validator ~= nil and validator ~= false
    if not d.keeps then
        fs.remove(d.info)
        return true
    end
    return fs.writeFile(d.info, d.url .. "\n" .. validator .. "\n")
end

-- --- asking ----------------------------------------------------------------------------------

local function ask(d, offset, validator)
    local o = {}
    for name, value in pairs(d.given) do
        if name ~= "resume" and name ~= "sha256" and name ~= "onProgress" then o[name] = value end
    end
    o.stream, o.decompress, o.timeout = true, false, d.given.timeout or 0
    local headers = {}
    for name, value in pairs(d.given.headers or {}) do
        local key = name:lower()
        if key ~= "range" and key ~= "if-range" and key ~= "accept-encoding" then
            headers[name] = value
        end
    end
    -- Ranges are of the bytes that are sent, so these must be those of the file.
    headers["Accept-Encoding"] = "identity"
    if offset > 0 then
        headers.Range, headers["If-Range"] = ("bytes=%.0f-"):format(offset), validator
    end
    o.headers = headers
    return start.run(d.client, "GET", d.url, nil, o)
end

local function range_of(res)
    local from, total = (res.headers["content-range"] or ""):match("^bytes (%d+)%-%d+/(%S+)$")
    return tonumber(from), tonumber(total)
end

-- The answer that brings the file, or what is missing of it: the answer and where it begins; or
-- "complete"; nil and an error.
local function request(d)
    local offset, validator = what_is_there(d)
    local res, err = ask(d, offset, validator)
    if not res then return nil, err end
    if res.status == 416 and offset > 0 then
        res:close()
        local total = (res.headers["content-range"] or ""):match("^bytes %*/(%d+)$")
        if tonumber(total) == offset then return "complete", offset end
        forget(d)
        offset = 0
        res, err = ask(d, 0)
        if not res then return nil, err end
    end
    if res.status == 206 and offset > 0 then
        if range_of(res) ~= offset then
            res:close()
            return nil, new_error("PROTOCOL", { message = "another range than was asked for" })
        end
        return res, offset
    end
    if res.status == 200 then return res, 0 end
    res:close()
    return nil, new_error("HTTP_BAD_STATUS", {
        status = res.status, response = res,
        message = "the status is " .. res.status .. " " .. res.reason,
    })
end

-- --- the checksum ----------------------------------------------------------------------------

local function start_sum(d, offset)
    if not d.sha256 then return true end
    d.hasher = require("links.crypto").hasher("sha256")
    if offset == 0 then return true end
    local file, err = fs.open(d.part)
    if not file then return nil, err end
    while true do
        local piece
        piece, err = file:read(READ)
        if not piece then break end
        d.hasher:update(piece)
    end
    quietly(file.close, file)
    if err then return nil, err end
    return true
end

local function check_sum(d)
    if not d.sha256 then return true end
    local sum = d.hasher:final()
    if sum == d.sha256:lower() then return true end
    forget(d)
    return nil, new_error("HTTP_BAD_CHECKSUM", {
        path = d.path, message = "the checksum is " .. sum,
    })
end

-- --- all of it -------------------------------------------------------------------------------

local function receive(d, res, offset)
    local ok, err = note(d, res, offset)
    if not ok then return nil, err end
    local file
    file, err = fs.open(d.part, offset > 0 and "a" or "w")
    if not file then return nil, err end
    local total = res.contentLength and offset + res.contentLength or nil
    d.bytes = offset
    local function each(piece)
        d.bytes = d.bytes + #piece
        if d.hasher then d.hasher:update(piece) end
        if d.given.onProgress then d.given.onProgress(d.bytes, total) end
    end
    local done
    done, ok, err = pcall(pour, res, file, each)
    if not done then
        -- onProgress has raised.
        close_file(file, false)
        error(ok, 0)
    end
    return close_file(file, ok, err)
end

local function finish(d, resumed)
    local ok, err = check_sum(d)
    if not ok then return nil, err end
    ok, err = fs.rename(d.part, d.path)
    if not ok then return nil, err end
    quietly(fs.remove, d.info)
    return { bytes = d.bytes, path = d.path, resumed = resumed > 0 and resumed or false }
end

local function run(d)
    local res, offset = request(d)
    if not res then return nil, offset end
    local ok, err = start_sum(d, offset)
    if res == "complete" then
        d.bytes = offset
        if not ok then return nil, err end
        return finish(d, offset)
    end
    local done = true
    if ok then done, ok, err = pcall(receive, d, res, offset) end
    if done and ok then return finish(d, offset) end
    res:close()
    if not d.keeps then forget(d) end
    if not done then error(ok, 0) end
    return nil, err
end

-- private: what http.download does.
function download.run(client, url, path, given)
    local d = {
        client = client, url = url, path = path, part = path .. ".part",
        info = path .. ".part.info", given = given, sha256 = given.sha256,
        resume = given.resume ~= false, keeps = false,
    }
    local result, err = locked(path, run, d)
    return result, err
end

return download
