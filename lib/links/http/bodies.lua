--- Bodies that mean something: JSON and forms of a request; JSON, HTML, text and redirects of a
--- response.
local check = require "links.check"
local codec = require "links.codec"
local errors = require "links.errors"

local json -- loaded for the first that needs it

local request, response = {}, {}

local MAX_FIELDS = 1000

local function failure(name, what, message, status)
    return nil, errors.new(errors.code(name), what, { message = message, status = status })
end

-- The charset of a Content-Type; UTF-8 where it says nothing.
local function is_utf8(req)
    local charset = (req:header("content-type") or ""):lower():match(';%s*charset="?([^%s;"]+)')
    return not charset or charset == "utf-8" or charset == "utf8" or charset == "us-ascii"
end

local function read_text(req, what, max, ...)
    local length = req.contentLength
    if length ~= 0 and not req:is(...) then
        return failure("UNSUPPORTED", what, "the body is not of the type " .. (...), 415)
    end
    if not is_utf8(req) then return failure("UNSUPPORTED", what, "the body is not in UTF-8",
        415) end
    return req:body(max)
end

--- Reads the body as JSON.
---
--- @param max  integer  bytes at most. Default: the server's maxBodySize
--- @return any          the value, as json.decode
--- @return nil, err     UNSUPPORTED  its Content-Type is not JSON, or another charset than UTF-8
---                                   (err.status 415)
---                      PARSE        it is not JSON, or there is none (err.status 400)
---                      otherwise as req:body
--- @raise               `max` is not an integer, or the request is over
--- @wait
function request:json(max)
    local text, err = read_text(self, "http json", max, "application/json", "*/*+json")
    if not text then return nil, err end
    local value
    json = json or require "links.json"
    value, err = json.decode(text)
    if err then err.status = 400 end
    return value, err
end

--- Reads the body as a form: application/x-www-form-urlencoded.
---
--- @param max  integer  bytes at most. Default: the server's maxBodySize
--- @return table        as codec.decodeArgs
--- @return nil, err     UNSUPPORTED  its Content-Type is another, or another charset than UTF-8
---                                   (err.status 415)
---                      TOO_LARGE    there are more than 1000 fields (err.status 413)
---                      otherwise as req:body
--- @raise               `max` is not an integer, or the request is over
--- @wait
function request:form(max)
    local text, err = read_text(self, "http form", max, "application/x-www-form-urlencoded")
    if not text then return nil, err end
    local args
    args, err = codec.decodeArgs(text, MAX_FIELDS)
    if err then
        err.status = 413
        return nil, err
    end
    return args
end

local function finish_as(res, kind, text, status)
    if status ~= nil then res.status = status end
    if not res:getHeader("content-type") then
        local ok, err = res:setHeader("Content-Type", kind)
        if not ok then return nil, err end
    end
    return res:finish(text)
end

--- Answers with a value as JSON. A Content-Type that was set stays.
---
--- @param value   any      as json.encode
--- @param status  integer  Default: res.status
--- @return true
--- @return nil, err        as res:finish
--- @raise                  a value that JSON does not have
--- @wait
function response:json(value, status)
    json = json or require "links.json"
    local text, err = json.encode(value)
    if not text then error("res:json(value[, status]) " .. err.message, 2) end
    return finish_as(self, "application/json", text, status)
end

--- Answers with HTML, in UTF-8.
---
--- @param html    string   the page
--- @param status  integer  Default: res.status
--- @return true
--- @return nil, err        as res:finish
--- @raise                  `html` is not a string
--- @wait
function response:html(html, status)
    check.type("res:html(html[, status])", "html", html, "string")
    return finish_as(self, "text/html; charset=utf-8", html, status)
end

--- Answers with plain text, in UTF-8.
---
--- @param text    string   the text
--- @param status  integer  Default: res.status
--- @return true
--- @return nil, err        as res:finish
--- @raise                  `text` is not a string
--- @wait
function response:text(text, status)
    check.type("res:text(text[, status])", "text", text, "string")
    return finish_as(self, "text/plain; charset=utf-8", text, status)
end

--- Sends the client to another address. What is in it as somebody else has written it must be
--- checked before:
--- "//elsewhere.example" is an address, too.
---
--- @param url     string   absolute, or relative to that of the request; escaped as it should be
--- @param status  integer  301, 302, 303, 307 or 308. Default: 302
--- @return true
--- @return nil, err        as res:finish
--- @raise                  an argument of another type; an address with spaces or control
---                         characters
--- @wait
function response:redirect(url, status)
    local signature = "res:redirect(url[, status])"
    check.type(signature, "url", url, "string")
    if status == nil then status = 302 end
    if status ~= 301 and status ~= 302 and status ~= 303 and status ~= 307 and status ~= 308 then
        error(signature .. " status must be 301, 302, 303, 307 or 308", 2)
    end
    if url == "" or url:find("[%c \127\\]") then
        error(signature .. " url is empty, or has spaces, backslashes or control characters", 2)
    end
    local ok, err = self:setHeader("Location", url)
    if not ok then return nil, err end
    self.status = status
    return self:finish("")
end

return { request = request, response = response }
