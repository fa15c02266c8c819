-- The head of a request. Every name and value is checked before it is written, so that nothing that
-- comes from elsewhere can end a line and begin another (RFC 9110, 5.5).
local codec = require "links.codec"
local errors = require "links.errors"
local decoder = require "links.http.client.decoder"

local head = {}

local BAD_REQUEST, UNSUPPORTED = errors.code("HTTP_BAD_REQUEST"), errors.code("UNSUPPORTED")
local HEAD_MAX = 65536

local type, find, lower, concat = type, string.find, string.lower, table.concat

local NOT_TOKEN = "[^!#$%%&'*+%-.^_`|~%w]"
local CONTROL = "[%z\1-\8\10-\31\127]"

local function bad(message)
    return nil, errors.new(BAD_REQUEST, "http", { message = message })
end

local function shown(text)
    return (("%q"):format(text):sub(1, 100):gsub("[%c\127-\255]", "?"))
end

-- Adds a field to `lines`; nil and an error for what cannot stand in a head.
local function add(lines, name, value)
    if type(value) == "number" then value = tostring(value) end
    if find(value, CONTROL) then
        return bad("a control character in the value of the header field " .. shown(name))
    end
    lines[#lines + 1] = name .. ": " .. value .. "\r\n"
    return true
end

local function check_value(signature, name, value)
    local kind = type(value)
    if kind == "table" then
        for i = 1, #value do
            local inner = type(value[i])
            if inner ~= "string" and inner ~= "number" then
                error(signature .. " options.headers." .. name .. " must be a list of strings", 0)
            end
        end
    elseif kind ~= "string" and kind ~= "number" and value ~= false then
        error(signature .. " options.headers." .. name ..
            " must be [string|number|table|false], not a " .. kind, 0)
    end
end

-- Checks the types of a table of fields, for the public functions to raise.
function head.check(signature, headers, level)
    for name, value in pairs(headers) do
        if type(name) ~= "string" then
            error(signature .. " options.headers must have names as keys, not " .. tostring(name),
                level + 2)
        end
        local ok, message = pcall(check_value, signature, name, value)
        if not ok then error(message, level + 2) end
    end
end

-- Fields that have a meaning for how the request is sent: name = fn(plan, value), which returns
-- whether the field is to be sent as it is, or nil and an error.
local special = {}

special["transfer-encoding"] = function()
    return bad("Transfer-Encoding is set by links itself")
end

function special.connection(plan, value)
    value = lower(value)
    if value ~= "close" and value ~= "keep-alive" then
        return bad("Connection can be close or keep-alive, not " .. shown(value))
    end
    if value == "close" then plan.close = true end
    return false
end

function special.host(plan, value)
    if value == "" or find(value, "[^%w!$%%&'*+%-.^_`|~(),;=:%[%]]") then
        return bad("a Host field cannot be " .. shown(value))
    end
    plan.host = value
    return false
end

special["content-length"] = function(plan, value)
    local length = find(value, "^%d+$") and #value <= 15 and tonumber(value)
    if not length or (plan.length and plan.length ~= length) then
        return bad("Content-Length " .. shown(value) .. " is not the length of the body")
    end
    plan.length = length
    return false
end

function special.expect(plan, value)
    if lower(value) ~= "100-continue" then return bad("Expect can only be 100-continue") end
    plan.expect = true
    return false
end

local function add_field(plan, lines, seen, name, value)
    if name == "" or find(name, NOT_TOKEN) then
        return bad("a header field cannot be called " .. shown(name))
    end
    local key = lower(name)
    if seen[key] then return true end
    if value == false then
        seen[key] = true
        return true
    end
    if type(value) == "table" then
        for i = 1, #value do
            if special[key] then return bad(name .. " cannot be a list") end
            local ok, err = add(lines, name, value[i])
            if not ok then return nil, err end
        end
        seen[key] = true
        return true
    end
    local handle = special[key]
    seen[key] = true
    if handle then
        local ok, err = handle(plan, tostring(value))
        if err then return nil, err end
        if not ok then return true end
    end
    return add(lines, name, value)
end

local function add_fields(plan, lines, seen, headers)
    for name, value in pairs(headers) do
        local ok, err = add_field(plan, lines, seen, name, value)
        if not ok then return nil, err end
    end
    return true
end

-- The value of Authorization for the option auth, or for the name and the password of a URL.
function head.authorization(auth, user)
    if type(auth) == "string" then
        local scheme, rest = auth:match("^(%a[%w-]*) +(%S.*)$")
        if not scheme then
            return bad('options.auth must be a table {user, password} or begin with "bearer "')
        end
        return scheme:sub(1, 1):upper() .. scheme:sub(2) .. " " .. rest
    end
    local name, password
    if auth then
        name, password = auth[1] or auth.user, auth[2] or auth.pass or ""
        if type(name) ~= "string" or type(password) ~= "string" then
            return bad("options.auth must be {user, password}")
        end
    else
        name, password = user:match("^([^:]*):?(.*)$")
        name, password = codec.unescapeUri(name), codec.unescapeUri(password)
    end
    if name:find(":", 1, true) then return bad("a user's name with a colon in it") end
    return "Basic " .. codec.base64.encode(name .. ":" .. password)
end

local function add_defaults(lines, seen, o)
    if not seen["user-agent"] then lines[#lines + 1] = "User-Agent: links\r\n" end
    if not seen.accept then lines[#lines + 1] = "Accept: */*\r\n" end
    if o.decompress and not seen["accept-encoding"] then
        lines[#lines + 1] = "Accept-Encoding: " .. decoder.accepts(o) .. "\r\n"
    end
end

-- What of a body the head has to tell; bodies are described in body.lua.
local NEEDS_LENGTH = { POST = true, PUT = true, PATCH = true }

local function add_body(plan, lines, seen, body)
    if body and body.type and not seen["content-type"] then
        lines[#lines + 1] = "Content-Type: " .. body.type .. "\r\n"
    end
    if body and not plan.length then
        plan.chunked = true
        lines[#lines + 1] = "Transfer-Encoding: chunked\r\n"
    elseif plan.length and (body or plan.length > 0) or NEEDS_LENGTH[plan.method] then
        if not body and (plan.length or 0) > 0 then
            return bad("Content-Length without a body")
        end
        lines[#lines + 1] = ("Content-Length: %.0f\r\n"):format(plan.length or 0)
    end
    if plan.expect and body then lines[#lines + 1] = "Expect: 100-continue\r\n" end
    return true
end

local function build(plan, to, o, headers, inherited, body)
    local lines, seen = { "", "" }, {}
    local ok, err
    if headers then
        ok, err = add_fields(plan, lines, seen, headers)
        if not ok then return nil, err end
    end
    if inherited and inherited ~= headers then
        ok, err = add_fields(plan, lines, seen, inherited)
        if not ok then return nil, err end
    end
    if plan.authorization and not seen.authorization then
        ok, err = add(lines, "Authorization", plan.authorization)
        if not ok then return nil, err end
    end
    add_defaults(lines, seen, o)
    ok, err = add_body(plan, lines, seen, body)
    if not ok then return nil, err end
    if plan.close then lines[#lines + 1] = "Connection: close\r\n" end
    lines[1] = plan.method .. " " .. to.path .. " HTTP/1.1\r\n"
    lines[2] = "Host: " .. (plan.host or to.authority) .. "\r\n"
    lines[#lines + 1] = "\r\n"
    local text = concat(lines)
    if #text > HEAD_MAX then return bad("the head is larger than " .. HEAD_MAX .. " bytes") end
    return text
end

-- Makes the head of a request: plan.head, and plan.chunked, plan.length, plan.close, plan.expect.
-- True, or nil and an error. A request without anything of its own has the same head each time.
function head.make(plan, to, o, body)
    local method = plan.method
    local headers, inherited = plan.headers, plan.inherited
    local simple = not headers and not inherited and not body and not plan.authorization
        and o.decompress and o.keepAlive
    local heads = o.stream and to.stream_heads or to.heads
    if simple and heads[method] then
        plan.head = heads[method]
        return true
    end
    if method == "" or find(method, NOT_TOKEN) then return bad("the method is no token") end
    if method == "CONNECT" then
        return nil, errors.new(UNSUPPORTED, "http", { message = "CONNECT makes a tunnel" })
    end
    plan.close = not o.keepAlive
    plan.length = body and body.length
    local text, err = build(plan, to, o, headers, inherited, body)
    if not text then return nil, err end
    plan.head = text
    if simple then heads[method] = text end
    return true
end

return head
