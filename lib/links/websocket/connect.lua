-- The client's side: a connection, perhaps through a proxy, and the handshake.
local ffi = require "ffi"
local codec = require "links.codec"
local errors = require "links.errors"
local fieldmap = require "links.http.fieldmap"
local tcp = require "links.tcp"
local urls = require "links.url"
local binding = require "links.websocket.ffi"
local hubs = require "links.websocket.hub"

local C = binding.C
local HEAD_MAX = 16384

local function bad(message, status)
    return nil, errors.new(errors.code("WS_BAD_HANDSHAKE"), "websocket connect",
        { message = message, status = status })
end

-- The head of an answer: the status, and the fields by their names in small letters.
local function read_head(socket)
    local head, err = socket:readUntil("\r\n\r\n", { max = HEAD_MAX })
    if err then return nil, err end
    local status, rest = head:match("^HTTP/1%.[01] (%d%d%d)[^\r\n]*(.*)$")
    if not status then return bad("the answer is not HTTP") end
    local fields = {}
    for name, value in rest:gmatch("\r\n([^:\r\n]+):[ \t]*([^\r\n]*)") do
        name, value = name:lower(), fieldmap.trim(value)
        fields[name] = fields[name] and fields[name] .. ", " .. value or value
    end
    return tonumber(status), fields
end

local function has_token(list, token)
    for word in (list or ""):lower():gmatch("[^%s,]+") do
        if word == token then return true end
    end
    return false
end

-- The value of a field with who we are (RFC 7617).
local function basic(credentials) return "Basic " .. codec.base64.encode(credentials) end

-- Asks a proxy for a tunnel (RFC 9110, 9.3.6).
local function tunnel(socket, proxy, authority)
    local lines = { "CONNECT " .. authority .. " HTTP/1.1", "Host: " .. authority }
    if proxy.credentials then
        lines[#lines + 1] = "Proxy-Authorization: " .. basic(proxy.credentials)
    end
    local ok, err = socket:write(table.concat(lines, "\r\n") .. "\r\n\r\n")
    if not ok then return nil, err end
    local status, why = read_head(socket)
    if not status then return nil, why end
    if status < 200 or status > 299 then return bad("the proxy answered " .. status, status) end
    return true
end

local function open(target, options)
    local proxy = options.proxy
    local at = proxy or target
    local socket, err = tcp.connect(at.port, at.host, { family = 0, connectTimeout = 0 })
    if not socket then return nil, err end
    if proxy then
        local ok, why = tunnel(socket, proxy, target.authority)
        if not ok then
            socket:close(true)
            return nil, why
        end
    end
    if not target.secure then return socket end
    local about = { serverName = target.host }
    for name, value in pairs(options.tls or {}) do about[name] = value end
    local ok, why = socket:startTls(about)
    if not ok then
        socket:close(true)
        return nil, why
    end
    return socket
end

local function request(target, options, hub, key)
    local lines = {
        "GET " .. target.path .. " HTTP/1.1", "Upgrade: websocket",
        "Connection: Upgrade", "Sec-WebSocket-Key: " .. key, "Sec-WebSocket-Version: 13",
    }
    local given = {}
    for name in pairs(options.headers or {}) do given[name:lower()] = true end
    if not given.host then lines[#lines + 1] = "Host: " .. target.authority end
    if target.credentials and not given.authorization then
        lines[#lines + 1] = "Authorization: " .. basic(target.credentials)
    end
    if options.protocols then
        lines[#lines + 1] = "Sec-WebSocket-Protocol: " .. table.concat(options.protocols, ", ")
    end
    local offer = ffi.new("char[160]")
    local n = C.links_ws_offer(hub._h, offer)
    if n > 0 then lines[#lines + 1] = "Sec-WebSocket-Extensions: " .. ffi.string(offer, n) end
    for name, value in pairs(options.headers or {}) do
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            lines[#lines + 1] = name .. ": " .. one
        end
    end
    return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- What RFC 6455, 4.1 asks of the answer: the subprotocol, or nil and why it is none.
local function check_answer(status, fields, key, protocols)
    if status ~= 101 then return bad("the server answered " .. status, status) end
    local answer = ffi.new("char[29]")
    C.links_ws_answer(key, answer)
    if (fields.upgrade or ""):lower() ~= "websocket" or not has_token(fields.connection, "upgrade")
        or fields["sec-websocket-accept"] ~= ffi.string(answer) then
        return bad("the answer is no websocket handshake", status)
    end
    local protocol = fields["sec-websocket-protocol"]
    if not protocol then return true end
    for _, name in ipairs(protocols or {}) do
        if name == protocol then return true, protocol end
    end
    return bad("the server chose a subprotocol that was not offered", status)
end

local function handshake(socket, target, options, hub)
    local key = ffi.new("char[25]")
    C.links_ws_key(key)
    local ok, err = socket:write(request(target, options, hub, ffi.string(key)))
    if not ok then return nil, err end
    local status, fields = read_head(socket)
    if not status then return nil, fields end
    local good, protocol = check_answer(status, fields, key, options.protocols)
    if not good then return nil, protocol end
    local extensions = fields["sec-websocket-extensions"] or ""
    local out = ffi.new("links_ws *[1]")
    local rc = C.links_ws_connected(hub._h, socket._h, extensions, #extensions, out)
    if rc < 0 then return nil, errors.new(rc, "websocket connect") end
    return hubs.own(hub, out[0], protocol)
end

local PORTS = { ws = 80, wss = 443, http = 80 }

-- The parts of a URL that are needed; nil for what is none.
local function parse(text, schemes)
    local parts = urls.parse(text)
    local scheme, host = parts and parts.scheme, parts and parts.host
    if not parts or not schemes[scheme] or not host or host == "" then return nil end
    local port = parts.port or PORTS[scheme]
    local shown = host:find(":", 1, true) and "[" .. host .. "]" or host
    local query = parts.query and parts.query ~= "" and "?" .. parts.query or ""
    return {
        secure = scheme == "wss", host = host, port = port,
        authority = port == PORTS[scheme] and shown or shown .. ":" .. port,
        path = (parts.path and parts.path ~= "" and parts.path or "/") .. query,
        credentials = parts.user and codec.unescapeUri(parts.user),
    }
end

local connect = {}

connect.parse = parse

-- Connects and shakes hands; what fails leaves nothing open.
function connect.open(target, options, hub)
    local socket, err = open(target, options)
    if not socket then return nil, err end
    local ws, why = handshake(socket, target, options, hub)
    if not ws then socket:close(true) end
    return ws, why
end

return connect
