-- What a handler returns, read as an answer: the same for the requests of clients and for those
-- that router:call makes up.
local ffi = require "ffi"
local errors = require "links.errors"
local binding = require "links.http.ffi"

local C = binding.C

local answers = {}

-- What a client is to be told whose request could not be read.
local STATUS_OF = {
    HTTP_BODY_TOO_LARGE = 413,
    HTTP_BAD_FRAMING = 400,
    EOF = 400,
    ETIMEDOUT = 408,
}

--- Notes in an error of reading a request what the answer is where the handler returns it. The same
--- error of another connection, such as a database's, is not the client's fault.
function answers.of_request(err)
    if not err.deadline then err.status = STATUS_OF[err.name] end
    return err
end

-- What is wrong with a handler that returned nothing and had not answered before.
answers.NONE = "returned without an answer"

--- The body of an answer that has none of its own, such as "Not Found\n".
function answers.phrase(status)
    return ffi.string(C.links_http_reason(status)) .. "\n"
end

local json -- loaded for the first that needs it

local function encode(value)
    json = json or require "links.json"
    local text, err = json.encode(value)
    if not text then error("http: a handler returned a table: " .. err.message, 0) end
    return text
end

--- Reads what a handler has returned.
---
--- @param status  integer  of the response as it is
--- @param a       any      with b and c: what the handler returned
--- @return integer, string|function, table, string
---                         the status; the body; the header fields, nil: none; the type of the
---                         body where the handler did not give it as text, else nil
--- @return nil, problem    answers.NONE, or the error that it returned
--- @raise                  what is no answer
function answers.read(status, a, b, c)
    if a == nil and errors.is(b) then
        local of_error = tonumber(b.status)
        if not of_error or of_error < 400 or of_error > 599 then return nil, b end
        return of_error, answers.phrase(of_error)
    end
    local body, headers = a, b
    if type(a) == "number" then
        status, body, headers = a, b, c
        if body == nil then body = status >= 400 and answers.phrase(status) or "" end
    elseif a == nil then
        if status == 200 then return nil, answers.NONE end
        body = ""
    end
    if headers ~= nil and type(headers) ~= "table" then
        error("http: the headers that a handler returns must be a table, not a " ..
            type(headers), 0)
    end
    if type(body) == "string" or type(body) == "function" then return status, body, headers end
    if type(body) == "table" then return status, encode(body), headers, "application/json" end
    error("http: a handler must return a string, a status, a table or a function, not a " ..
        type(body), 0)
end

return answers
