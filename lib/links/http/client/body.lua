-- Bodies of requests, of whatever they are made: a string, a list of strings, a function that gives
-- the next piece, a file, a socket, or anything else that can be read.
--
-- A body has `type` (its Content-Type, or nil), `length` (nil: not known beforehand), `data` where
-- it is a string, and otherwise open(), which returns a function that gives the next piece, nil at
-- the end, or nil and an error. One that can be sent again has `again`.
local check = require "links.check"
local codec = require "links.codec"
local errors = require "links.errors"

local body = {}

local TOO_LARGE, EOF = errors.code("TOO_LARGE"), errors.code("EOF")
local PIECE = 65536
local HINT = " body must be a string, a list of strings, a function, a file, a socket or {path =};"
    .. " for JSON and forms there are options.json and options.form"

local function of_list(list)
    local length = 0
    for i = 1, #list do length = length + #list[i] end
    return {
        length = length, again = true,
        open = function()
            local i = 0
            return function()
                i = i + 1
                return list[i]
            end
        end,
    }
end

local function of_function(fn)
    return { open = function() return fn end }
end

local function of_file(file, length, start)
    return {
        length = length, again = start ~= nil,
        open = function()
            if start then
                local ok, err = file:seek("set", start)
                if not ok then return nil, err end
            end
            return function() return file:read(PIECE) end
        end,
    }
end

-- The rest of an open file.
local function of_open_file(file)
    local st, err = file:stat()
    if not st then return nil, err end
    local at = file:seek("cur")
    local is_plain = st.type == "file" and at
    return of_file(file, is_plain and math.max(st.size - at, 0) or nil, is_plain and at or nil)
end

local function of_path(path)
    local fs = require "links.fs"
    local st, err = fs.stat(path)
    if not st then return nil, err end
    local made = { length = st.type == "file" and st.size or nil, again = true }
    local file
    function made.close()
        if file then file:close() end
        file = nil
    end
    function made.open()
        made.close()
        local failure
        file, failure = fs.open(path)
        if not file then return nil, failure end
        return function() return file:read(PIECE) end
    end
    return made
end

local function is_end(err) return err and err.name == "EOF" end

local function of_socket(socket)
    return {
        open = function()
            return function()
                local piece, err = socket:readSome()
                if is_end(err) then return nil end
                return piece, err
            end
        end,
    }
end

-- A request of the server, the answer to another request, a part of a form.
local function of_reader(reader)
    return {
        length = type(reader.contentLength) == "number" and reader.contentLength or nil,
        open = function()
            return function() return reader:read(PIECE) end
        end,
    }
end

local function of_table(signature, value, level)
    if type(value.readSome) == "function" then return of_socket(value) end
    if type(value.read) == "function" then
        if type(value.seek) == "function" and type(value.stat) == "function" then
            return of_open_file(value)
        end
        return of_reader(value)
    end
    if type(value.path) == "string" and next(value) == "path" and next(value, "path") == nil then
        return of_path(value.path)
    end
    local list = {}
    for key, piece in pairs(value) do
        if type(key) ~= "number" or type(piece) ~= "string" then
            error(signature .. HINT, level + 2)
        end
    end
    for i, piece in ipairs(value) do list[i] = piece end
    return of_list(list)
end

local function of_value(signature, value, level)
    local kind = type(value)
    if kind == "string" then return { data = value, length = #value, again = true } end
    if kind == "function" then return of_function(value) end
    if kind == "table" then
        local made, err = of_table(signature, value, level + 1)
        return made, err
    end
    check.type(signature, "body", value, "string|table|function|nil", level + 1)
end

-- The body of a request by its argument and its options: one of them at most. nil: there is none;
-- nil and an error where it cannot be had.
function body.make(signature, value, given, level)
    local json, form = given.json, given.form
    local count = (value ~= nil and 1 or 0) + (json ~= nil and 1 or 0) + (form ~= nil and 1 or 0)
    if count == 0 then return nil end
    if count > 1 then
        error(signature .. " there can be one of body, options.json and options.form", level + 2)
    end
    if json ~= nil then
        local text, err = require("links.json").encode(json)
        if not text then return nil, err end
        return { data = text, length = #text, again = true, type = "application/json" }
    end
    if form ~= nil then
        local text = codec.encodeArgs(form)
        return {
            data = text, length = #text, again = true, type = "application/x-www-form-urlencoded",
        }
    end
    local made, err = of_value(signature, value, level + 1)
    return made, err
end

local function failure(code, message)
    return nil, errors.new(code, "http", { message = message })
end

local function write_piece(socket, piece, chunked)
    if not chunked then return socket:write(piece) end
    return socket:write { ("%x\r\n"):format(#piece), piece, "\r\n" }
end

-- Writes a body piece by piece: true, or nil and an error. `plan` says how (head.lua).
function body.write(socket, made, plan, on_progress)
    if made.data then return socket:write(made.data) end
    local next_piece, err = made.open()
    if not next_piece then return nil, err, true end
    local length, sent = plan.length, 0
    while true do
        local piece
        piece, err = next_piece()
        if err then return nil, err, true end
        if piece == nil then break end
        if type(piece) ~= "string" then
            error("http: the body of a request must give strings, not a " .. type(piece), 0)
        end
        sent = sent + #piece
        if length and sent > length then
            local _, over = failure(TOO_LARGE, "the body is longer than its Content-Length")
            return nil, over, true
        end
        if piece ~= "" then
            local ok
            ok, err = write_piece(socket, piece, plan.chunked)
            if not ok then return nil, err end
        end
        if on_progress then on_progress(sent, length) end
    end
    if length and sent < length then
        local _, short = failure(EOF, "the body is shorter than its Content-Length")
        return nil, short, true
    end
    if plan.chunked then return socket:write("0\r\n\r\n") end
    return true
end

return body
