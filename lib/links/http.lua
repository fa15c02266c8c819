--- HTTP: servers whose handlers read as if they were alone, and requests to other servers.
---
--- Every request runs in a task of its own kind: a handler may wait on anything, and the others go
--- on meanwhile.
---
--- `http.router` makes a router: see the page of http.router. `http.cors`, `http.basicAuth`,
--- `http.bearer`, `http.bodyLimit`, `http.timeout`, `http.secureHeaders` and `http.requestId` make
--- middleware for it: see http.middleware. `http.get`, `http.post` and the others make requests:
--- see http.client.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local listening = require "links.listening"
local binding = require "links.http.ffi"
local server = require "links.http.server"

local C = binding.C

local http = {}

local INT_MAX = 2 ^ 31 - 1

-- Names, defaults and bounds of the options; those of C have the name that C knows them by.
local OPTIONS = {
    host = { default = "0.0.0.0", type = "string" },
    backlog = { default = 511, type = "integer", min = 1, max = 65535, c = "backlog" },
    reuseport = { default = true, type = "boolean", c = "reuseport" },
    nodelay = { default = true, type = "boolean", c = "nodelay" },
    v6only = { default = false, type = "boolean", c = "v6only" },
    maxConnections = { default = 65535, type = "integer", min = 1, max = INT_MAX,
        c = "max_connections" },
    maxPipelined = { default = 16, type = "integer", min = 1, max = 65535, c = "max_pipelined" },
    maxRequestLine = { default = 8192, type = "integer", min = 64, max = 1048576,
        c = "max_request_line" },
    maxHeaderSize = { default = 16384, type = "integer", min = 64, max = 1048576,
        c = "max_header_size" },
    maxHeaders = { default = 100, type = "integer", min = 1, max = 10000, c = "max_headers" },
    maxBodySize = { default = 1048576, type = "integer", min = 0, max = 2 ^ 53,
        c = "max_body_size" },
    highWaterMark = { default = 65536, type = "integer", min = 1, max = 2 ^ 30,
        c = "high_water_mark" },
    headerTimeout = { default = 10000, type = "integer", min = 0, max = INT_MAX,
        c = "header_timeout" },
    bodyTimeout = { default = 30000, type = "integer", min = 0, max = INT_MAX, c = "body_timeout" },
    keepAliveTimeout = { default = 65000, type = "integer", min = 0, max = INT_MAX,
        c = "keep_alive_timeout" },
    writeTimeout = { default = 60000, type = "integer", min = 0, max = INT_MAX,
        c = "write_timeout" },
    serverHeader = { default = "links", type = "string|boolean" },
    dateHeader = { default = true, type = "boolean", c = "date_header" },
}

local SIGNATURE = "http.createServer(port, handler[, options])"

-- `port` may be {port =, host =}: then its host goes before that of the options.
local function place(port, options)
    local host = options.host
    if type(port) == "table" then
        for key in pairs(port) do
            if key ~= "port" and key ~= "host" then
                error(SIGNATURE .. ' unknown field "' .. tostring(key) ..
                    '" in port: there are port and host', 3)
            end
        end
        if port.host ~= nil then
            check.type(SIGNATURE, "port.host", port.host, "string", 2)
            host = port.host
        end
        port = port.port
    end
    check.integer(SIGNATURE, "port", port, 0, 65535, 2)
    return host, port
end

local function to_c(options)
    local o = ffi.new("links_http_options")
    for name, about in pairs(OPTIONS) do
        local value = options[name]
        if type(value) == "boolean" then value = value and 1 or 0 end
        if about.c then o[about.c] = value end
    end
    local name = options.serverHeader
    if name == true then name = OPTIONS.serverHeader.default end
    if name and (#name > 128 or name:find("[%z\1-\31\127]")) then
        error(SIGNATURE .. " options.serverHeader must be 128 printable characters at most", 3)
    end
    if name then o.server_header = name end
    return o
end

--- Starts a server. It serves until it is closed, and keeps the process alive that long.
---
--- The handler gets the request and the response, and answers with what it returns:
--- `body`, `status`, `status, body` or `status, body, headers`. The body is a string (sent as
--- text/plain unless a Content-Type is set), a function that returns the next piece or nil, or a
--- table, sent as JSON. Or it answers by the methods of the response. `return nil,
--- err` with an error of links answers what the error says of the request (413, 400, 408), and 500
--- for others. An error that it raises is a 500 for its client, a line with a traceback in the log,
--- and nothing else.
---
--- @param port     integer|table  0 to 65535, 0 for any free one; or {port = integer, host =
---                                string}
--- @param handler  function       handler(req, res), or a router (http.router)
--- @param options  table  host              "0.0.0.0"  a numeric address, IPv4 or IPv6
---                        backlog           511        connections the system queues for us
---                        reuseport         true       other processes of this user may listen on
---                                                     the port too. Unless it is given, a port on
---                                                     which somebody listens already is EADDRINUSE
---                        nodelay           true       send small answers at once (no Nagle)
---                        v6only            false      an IPv6 address does not take IPv4
---                        maxConnections    65535      at once; beyond, they wait in the backlog
---                        maxPipelined      16         requests of one connection in one turn of
---                                                     the loop
---                        maxRequestLine    8192       bytes; beyond: 414
---                        maxHeaderSize     16384      bytes of all header fields; beyond: 431
---                        maxHeaders        100        header fields; beyond: 431
---                        maxBodySize       1048576    bytes of a body; beyond: 413
---                        highWaterMark     65536      bytes of output before res:write waits
---                        headerTimeout     10000      ms for a head to come; then: 408
---                        bodyTimeout       30000      ms without a byte of a body that is read
---                        keepAliveTimeout  65000      ms between two requests
---                        writeTimeout      60000      ms without the client taking a byte
---                        serverHeader      "links"    the Server field; false: none
---                        dateHeader        true       send a Date field
---                        A time of 0 is no limit.
--- @return server                 :address() :connections() :stats() :close([ms])
--- @return nil, err               EADDRINUSE     the port is taken (err.address, err.port)
---                                EADDRNOTAVAIL  the address is not of this machine
---                                EACCES         the port is for root only
---                                EINVAL         the host is no numeric address
---                                EMFILE         no descriptor is left
--- @raise                         an argument or an option of another type or out of bounds, or one
---                                that nobody knows
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function(req, res)
---     return "you asked for " .. req.path
--- end, { host = "127.0.0.1" }))
--- server:close()
function http.createServer(port, handler, options)
    if type(handler) ~= "function" then
        handler = require("links.http.router")._handler(handler) or handler
        check.type(SIGNATURE, "handler", handler, "function")
    end
    -- Whoever does not ask to share a port wants to hear that it is taken.
    local shares = type(options) == "table" and options.reuseport == true
    options = check.options(SIGNATURE, options, OPTIONS)
    local host, number = place(port, options)
    -- `options` holds on to the string that `o` points to until C has copied it.
    local o = to_c(options)
    o.exclusive = shares and 0 or 1
    local out = ffi.new("links_http_server *[1]")
    local rc = C.links_http_listen(out, host, number, o)
    if rc < 0 then
        return listening.failed(errors.new(rc, "listen", { address = host, port = number }))
    end
    listening.began()
    return server.start(out[0], handler)
end

--- The reason phrase of a status.
---
--- @param code  integer  such as 404
--- @return string        such as "Not Found"; "Unknown" for a status that nobody knows
--- @raise                `code` is not an integer
--- @usage assert(require("http").statusText(404) == "Not Found")
function http.statusText(code)
    check.integer("http.statusText(code)", "code", code, 0, INT_MAX)
    return ffi.string(C.links_http_reason(code))
end

--- Reason phrases by status.
http.STATUS = {}
for code = 100, 511 do
    local text = http.statusText(code)
    if text ~= "Unknown" then http.STATUS[code] = text end
end

-- The rest of the module is loaded when it is first used: name = its module, and its name there.
local LAZY = {
    compress = { "links.http.compress", "compress" },
    router = { "links.http.router", "new" },
    static = { "links.http.static", "static" },
}
for _, name in ipairs {
    "all", "createClient", "delete", "download", "get", "head", "options", "patch", "post", "put",
    "request", "upload",
} do
    LAZY[name] = { "links.http.client", name }
end
for _, name in ipairs {
    "basicAuth", "bearer", "bodyLimit", "cors", "requestId", "secureHeaders", "timeout",
} do
    LAZY[name] = { "links.http.middleware", name }
end

setmetatable(http, { __index = function(_, name)
    local where = LAZY[name]
    if not where then return nil end
    http[name] = require(where[1])[where[2]]
    return http[name]
end })

return http
