-- Forms with files (multipart/form-data, RFC 7578) as the body of a request. Their length is known
-- before the first byte is sent; files are read while they are sent.
local codec = require "links.codec"
local crypto = require "links.crypto"
local errors = require "links.errors"
local mime = require "links.http.mime"

local form = {}

local EINVAL, EIO = errors.code("EINVAL"), errors.code("EIO")
local PIECE = 65536
local HINT = " must be a string, a number, {path =}, {data =} or a list of those"

-- As browsers write names (HTML, 4.10.21.8): what would end the quotes or the line is escaped.
local ESCAPES = { ['"'] = "%22", ["\r"] = "%0D", ["\n"] = "%0A" }

local function quoted(name) return '"' .. name:gsub('["\r\n]', ESCAPES) .. '"' end

local function text_of(value)
    return type(value) == "number" and tostring(value) or value
end

local FILE_FIELDS = { path = true, data = true, filename = true, type = true }

-- A file, or what is to look like one.
local function check_file(signature, name, value, level)
    for key, item in pairs(value) do
        if not FILE_FIELDS[key] then
            error(signature .. " parts." .. name .. " has path or data, filename and type, not " ..
                tostring(key), level + 2)
        end
        if type(item) ~= "string" then
            error(signature .. " parts." .. name .. "." .. key .. " must be a string", level + 2)
        end
    end
    if (value.path == nil) == (value.data == nil) then
        error(signature .. " parts." .. name .. " must have either path or data", level + 2)
    end
    if value.type and value.type:find("[%z\1-\31\127]") then
        error(signature .. " parts." .. name .. ".type has a control character in it", level + 2)
    end
end

local function add_value(list, signature, name, value, level)
    local kind = type(value)
    if kind == "string" or kind == "number" then
        list[#list + 1] = { name = name, data = text_of(value) }
    elseif kind == "table" then
        check_file(signature, name, value, level + 1)
        local filename = value.filename or (value.path and value.path:match("[^/]*$"))
        local extension = (filename or ""):match("%.([%w]+)$")
        list[#list + 1] = {
            name = name, path = value.path, data = value.data, filename = filename or name,
            type = value.type or mime[(extension or ""):lower()] or mime[""],
        }
    else
        error(signature .. " parts." .. name .. HINT, level + 2)
    end
end

-- The fields as a list, in the order of their names.
local function list_of(signature, parts, level)
    if type(parts) == "string" then parts = { file = { path = parts } } end
    local names, list = {}, {}
    for name in pairs(parts) do
        if type(name) ~= "string" then
            error(signature .. " parts must have names as keys, not " .. tostring(name), level + 2)
        end
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local value = parts[name]
        local several = type(value) == "table" and (value[1] ~= nil or next(value) == nil)
        for _, item in ipairs(several and value or { value }) do
            add_value(list, signature, name, item, level + 1)
        end
    end
    return list
end

local function head_of(part, boundary)
    local text = "--" .. boundary .. "\r\nContent-Disposition: form-data; name="
        .. quoted(part.name)
    if part.filename then
        text = text .. "; filename=" .. quoted(part.filename) .. "\r\nContent-Type: " .. part.type
    end
    return text .. "\r\n\r\n"
end

-- Nobody may guess it, or a field could pretend to be several.
local function new_boundary()
    return "links-" .. codec.hex.encode(crypto.randomBytes(16))
end

-- The sizes of the files: true, or nil and an error.
local function measure(list)
    local fs = require "links.fs"
    for _, part in ipairs(list) do
        if part.path then
            local st, err = fs.stat(part.path)
            if not st then return nil, err end
            if st.type ~= "file" then
                return nil, errors.new(EINVAL, "open", {
                    path = part.path, message = "it is no regular file",
                })
            end
            part.size = st.size
        else
            part.size = #part.data
        end
    end
    return true
end

local function changed(part)
    return nil, errors.new(EIO, "read", {
        path = part.path, message = "the file has become shorter while it was sent",
    })
end

-- The content of a part: a function that gives the next piece, nil at the end.
local function open_part(part)
    if not part.path then
        local data = part.data
        return function()
            local piece = data
            data = nil
            return piece
        end
    end
    local file, err = require("links.fs").open(part.path)
    if not file then return nil, err end
    local left = part.size
    return function()
        if left == 0 then return nil end
        local piece, failure = file:read(math.min(left, PIECE))
        if failure then return nil, failure end
        if not piece then return changed(part) end
        left = left - #piece
        return piece
    end, nil, file
end

-- All of it: a function that gives the next piece, and one that lets go of the open file.
local function open_all(list, boundary)
    local i, content, file = 0, nil, nil
    local function close()
        if file then file:close() end
        file = nil
    end
    local function next_piece()
        if content then
            local piece, err = content()
            if piece or err then return piece, err end
            content = nil
            close()
            return "\r\n"
        end
        i = i + 1
        local part = list[i]
        if part then
            local err
            content, err, file = open_part(part)
            if not content then return nil, err end
            return head_of(part, boundary)
        end
        if i == #list + 1 then return "--" .. boundary .. "--\r\n" end
    end
    return next_piece, close
end

-- The body of a request, of the parts that http.upload is given; nil and an error. Waits.
function form.make(signature, parts, level)
    local list = list_of(signature, parts, level + 1)
    local ok, err = measure(list)
    if not ok then return nil, err end
    local boundary, length = new_boundary(), 0
    for _, part in ipairs(list) do
        length = length + #head_of(part, boundary) + part.size + 2
    end
    length = length + #boundary + 6
    local made = {
        type = "multipart/form-data; boundary=" .. boundary, length = length, again = true,
    }
    function made.open()
        local next_piece
        if made.close then made.close() end
        next_piece, made.close = open_all(list, boundary)
        return next_piece
    end
    return made
end

return form
