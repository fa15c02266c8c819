--- HTTP: servers whose handlers read as if they were alone, and requests to other servers.
---
--- Every request runs in a task of its own kind: a handler may wait on anything, and the others go
--- on meanwhile. When its client leaves, what the handler waits for ends with ECANCELED.
---
--- `http.router` makes a router: see the page of http.router. `http.cors`, `http.basicAuth`,
--- `http.accessLog`, `http.bearer`, `http.bodyLimit`, `http.timeout`, `http.secureHeaders` and
--- `http.requestId` make middleware for it: see http.middleware; `http.limit` and
--- `http.concurrency`: see http.limits; `http.health`: see http.health.
--- `http.get`, `http.post` and the others make requests: see http.client. `http.parseUrl` is
--- url.parse.
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
    host = { type = "string" },
    family = { default = 4, type = "integer", min = 4, max = 6 },
    backlog = { default = 511, type = "integer", min = 1, max = 65535, c = "backlog" },
    reuseport = { default = true, type = "boolean", c = "reuseport" },
    nodelay = { default = true, type = "boolean", c = "nodelay" },
    v6only = { default = false, type = "boolean", c = "v6only" },
    maxConnections = { default = 65535, type = "integer", min = 1, max = INT_MAX,
        c = "max_connections" },
    maxPipelined = { default = 16, type = "integer", min = 1, max = 65535, c = "max_pipelined" },
    maxRequestsPerConnection = { default = 0, type = "integer", min = 0, max = INT_MAX,
        c = "max_requests" },
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
    handlerTimeout = { default = 0, type = "integer", min = 0, max = INT_MAX,
        c = "handler_timeout" },
    minBodyRate = { default = 500, type = "integer", min = 0, max = INT_MAX, c = "min_body_rate" },
    cancelOnAbort = { default = true, type = "boolean", c = "cancel_on_abort" },
    trustedProxies = { type = "table" },
    proxyProtocol = { default = false, type = "boolean", c = "proxy_protocol" },
    requestId = { default = true, type = "boolean" },
    compress = { default = false, type = "boolean|table" },
    cookieSecret = { type = "string|table" },
    onError = { type = "function" },
    onConnection = { type = "function" },
    serverHeader = { default = "links", type = "string|boolean" },
    dateHeader = { default = true, type = "boolean", c = "date_header" },
    accessLog = { type = "table|string|boolean|nil" },
    tls = { type = "table" },
    plainHttp = { default = "refuse", type = "string" },
}

local PLAIN = { refuse = 0, redirect = 1, serve = 2 }

local SIGNATURE = "http.createServer(port, handler[, options])"

local PLACE = {
    host = { type = "string" }, port = { type = "integer", min = 0, max = 65535 },
    path = { type = "string" },
    mode = { default = tonumber("660", 8), type = "integer", min = 0, max = 511 },
    unlink = { default = true, type = "boolean" },
}

local function default_host(options)
    return options.host or options.family == 6 and "::" or "0.0.0.0"
end

-- One place to listen at: {host =, port =} or {path =, mode =, unlink =}.
local function place_of(item, options)
    if type(item) == "string" then
        local path = item:match("^unix:(.+)$")
        if item:find("^fd:.") then return { host = item, port = 0 } end
        if not path then
            error(SIGNATURE .. ' port must be [integer] from 0 to 65535, "unix:" and a path, "fd:"'
                .. ' and a name, a table or a list of these, not "' .. item:sub(1, 40) .. '"', 4)
        end
        return { path = path, mode = PLACE.mode.default, unlink = true }
    end
    if type(item) ~= "table" then
        check.integer(SIGNATURE, "port", item, 0, 65535, 3)
        return { host = default_host(options), port = item }
    end
    for key in pairs(item) do
        if not PLACE[key] then
            error(SIGNATURE .. ' unknown field "' .. tostring(key) ..
                '" in port: there are port and host, or path, mode and unlink', 4)
        end
    end
    if item.path ~= nil then
        local place = check.options(SIGNATURE, item, PLACE, 3)
        if place.port or place.host then
            error(SIGNATURE .. " port has a path and a port or host: it is one or the other", 4)
        end
        return place
    end
    check.type(SIGNATURE, "port.host", item.host, "string|nil", 3)
    check.integer(SIGNATURE, "port", item.port, 0, 65535, 3)
    return { host = item.host or default_host(options), port = item.port }
end

local function places_of(port, options)
    if type(port) ~= "table" or port[1] == nil then return { place_of(port, options) } end
    local places = {}
    for i, item in ipairs(port) do places[i] = place_of(item, options) end
    return places
end

local PROXIES = {
    loopback = { "127.0.0.0/8", "::1" },
    private = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7" },
}

-- Gives the proxies to the server, and returns whether there are any.
local function trust(handle, proxies)
    if not proxies or #proxies == 0 then return false end
    for _, proxy in ipairs(proxies) do
        for _, network in ipairs(PROXIES[proxy] or { proxy }) do
            if type(network) ~= "string" or C.links_http_trust(handle, network) < 0 then
                error(SIGNATURE .. " options.trustedProxies must be a list such as"
                    .. ' { "10.0.0.1", "fd00::/8", "loopback", "private", "unix:" }, not '
                    .. tostring(network), 3)
            end
        end
    end
    local header = proxies.header or "X-Forwarded-For"
    if header ~= "X-Forwarded-For" and header ~= "Forwarded" then
        error(SIGNATURE .. ' options.trustedProxies.header must be "X-Forwarded-For" or'
            .. ' "Forwarded"', 3)
    end
    if header == "Forwarded" then C.links_http_trust_forwarded(handle) end
    return true
end

local function listen(handle, place)
    local rc
    if place.path then
        rc = C.links_http_listen_unix(handle, place.path, #place.path, place.mode,
            place.unlink and 1 or 0)
    else
        rc = C.links_http_listen(handle, place.host, place.port)
    end
    if rc == 0 then return true end
    return nil, errors.new(rc, "listen", { address = place.path or place.host, port = place.port })
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

local function with_compression(handler, options)
    local filter = require("links.http.compress")._filter(SIGNATURE,
        options == true and {} or options, 2)
    return function(req, res)
        res._filter = filter
        return handler(req, res)
    end
end

--- Starts a server. It serves until it is closed, and keeps the process alive that long.
---
--- The handler gets the request and the response, and answers with what it returns:
--- `body`, `status`, `status, body` or `status, body, headers`. The body is a string (sent as
--- text/plain unless a Content-Type is set), a function that returns the next piece or nil, or a
--- table, sent as JSON. Or it answers by the methods of the response. `return nil, err` with an
--- error of links answers `err.status`, where that is from 400 to 599: it is where the request
--- could not be read, as its body, a form or JSON (400, 408, 413, 415). Others, such as the
--- ETIMEDOUT of a database, are a 500 and a line in the log. An error that it raises is a 500 for
--- its client, a line with a traceback in the log, and nothing else.
---
--- A client that closes its connection has left: the handler's wait ends with ECANCELED,
--- `req.aborted` is true, and functions given to req:onClose are called. What was asked by a client
--- that shuts down its side together with the request, as `nc` does, is answered as usual.
---
--- @param port     integer|string|table  where to listen: a port, 0 for any free one;
---                                "unix:/path", or "unix:@name" for an abstract one; "fd:name" for
---                                a socket that the service manager has opened, see
---                                process.service; {port =, host =}; {path =, mode = 432 (octal
---                                660) for the file, unlink = true}; or a list of these
--- @param handler  function  handler(req, res), or a router (http.router)
--- @param options  table  host              "0.0.0.0"  a numeric address, IPv4 or IPv6
---                        family            4          4 or 6: "::" is the default host then
---                        backlog           511        connections the system queues for us
---                        reuseport         true       other processes of this user may listen on
---                                                     the port too. Unless it is given, a port on
---                                                     which somebody listens already is EADDRINUSE
---                        nodelay           true       send small answers at once (no Nagle)
---                        v6only            false      an IPv6 address does not take IPv4
---                        maxConnections    65535      at once; beyond, they wait in the backlog
---                        maxPipelined      16         requests of one connection in one turn of
---                                                     the loop
---                        maxRequestsPerConnection  0  the answer to the last one closes; 0: any
---                                                     number
---                        maxRequestLine    8192       bytes; beyond: 414
---                        maxHeaderSize     16384      bytes of all header fields; beyond: 431
---                        maxHeaders        100        header fields; beyond: 431
---                        maxBodySize       1048576    bytes of a body; beyond: 413
---                        highWaterMark     65536      bytes of output before res:write waits
---                        headerTimeout     10000      ms for a head to come; then: 408
---                        bodyTimeout       30000      ms without a byte of a body that is read
---                        minBodyRate       500        bytes a second that a body must come with,
---                                                     on average, once it has been waited for for
---                                                     5 s; slower: ETIMEDOUT
---                        keepAliveTimeout  65000      ms between two requests
---                        writeTimeout      60000      ms without the client taking a byte
---                        handlerTimeout    0          ms for a handler to begin its answer; then
---                                                     what it waits for ends with ECANCELED, and
---                                                     the client gets 503
---                        cancelOnAbort     true       end what a handler waits for when its client
---                                                     leaves
---                        trustedProxies    {}         addresses and networks of proxies: what
---                                                     these say is req.remoteAddress, req.scheme
---                                                     and req.host. Also "loopback", "private",
---                                                     and "unix:" for who comes by a Unix socket.
---                                                     They say it by X-Forwarded-For, -Proto and
---                                                     -Host; with header = "Forwarded" in the
---                                                     table by that field (RFC 7239), and only by
---                                                     it
---                        proxyProtocol     false      every connection begins with a header of the
---                                                     PROXY protocol, version 1 or 2; only for a
---                                                     port that nobody but the proxy reaches
---                        requestId         true       req.id: taken from X-Request-Id or
---                                                     traceparent, or made. It is in the log line
---                                                     of an error, and, where it has been read
---                                                     before the head is sent, in the response.
---                                                     Other servers are told by
---                                                     headers = {["X-Request-Id"] = req.id}
---                        compress          false      compress answers, as http.compress does; a
---                                                     table: with these options
---                        cookieSecret      nil        what signs and encrypts cookies: 16 bytes
---                                                     or more; or a list, of which the first makes
---                                                     new ones and all are believed
---                        onError           nil        onError(err, req, res, traceback): what it
---                                                     returns is the answer where a handler
---                                                     raises, or returns nil and an error;
---                                                     nothing: 500 and a line in the log, as
---                                                     without it
---                        onConnection      nil        onConnection(socket) is asked about every
---                                                     connection before a byte of it is read:
---                                                     where it returns false, or raises, the
---                                                     connection is closed. `socket` is as
---                                                     req.socket: behind a proxy, that of the
---                                                     proxy. It may wait, for headerTimeout at
---                                                     most
---                        serverHeader      "links"    the Server field; false: none
---                        dateHeader        true       send a Date field
---                        accessLog         nil        logs each request: options of log.access, an
---                                                     access log, a path, or true for stderr
---                        tls               nil        options of tls.createContext: the server
---                                                     speaks HTTPS, as https.createServer. It has
---                                                     :setTls(options) then
---                        plainHttp         "refuse"   requests in plain HTTP where TLS is spoken:
---                                                     "refuse" (400), "redirect" (308, to the
---                                                     same over HTTPS) or "serve"
---                        A time of 0 is no limit.
--- @return server                 :address() :addresses() :connections() :stats() :close([ms])
--- @return nil, err               EADDRINUSE     the port is taken (err.address, err.port)
---                                EADDRNOTAVAIL  the address is not of this machine
---                                EACCES         the port is for root only
---                                EINVAL         the host is no numeric address
---                                EMFILE         no descriptor is left
---                                and for a path as unix.createServer. Where one of several places
---                                fails, it listens at none
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
    if options.family == 5 then error(SIGNATURE .. " options.family must be 4 or 6, not 5", 2) end
    if options.compress then handler = with_compression(handler, options.compress) end
    local places = places_of(port, options)
    local access_log, fault
    if options.accessLog then
        access_log, fault = require("links.log.access")._of(SIGNATURE, options.accessLog, 1)
        if not access_log then return nil, fault end
    end
    if not PLAIN[options.plainHttp] then
        error(SIGNATURE .. ' options.plainHttp must be "refuse", "redirect" or "serve"', 2)
    end
    local tls, ctx
    if options.tls then
        tls = require("links.tls.server")
        ctx, fault = tls.context(SIGNATURE .. " options.tls:", options.tls, 1)
        if not ctx then return nil, fault end
    end
    -- `options` holds on to the string that `o` points to until C has copied it.
    local o = to_c(options)
    o.exclusive = shares and 0 or 1
    local handle = ffi.gc(C.links_http_open(o), C.links_http_free)
    options.trust = trust(handle, options.trustedProxies)
    options.cookieSecrets = require("links.http.signing").secrets(SIGNATURE,
        "options.cookieSecret", options.cookieSecret, 1)
    for _, place in ipairs(places) do
        local ok, err = listen(handle, place)
        if not ok then
            C.links_http_free(ffi.gc(handle, nil))
            return listening.failed(err)
        end
    end
    listening.began()
    if access_log then access_log:_attach(handle) end
    if ctx then C.links_http_set_tls(handle, ctx._h, PLAIN[options.plainHttp]) end
    local started = server.start(handle, handler, options)
    if not ctx then return started end
    tls.tell_failures(ctx)
    return tls.own(started, ctx, options.tls.context ~= nil)
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
    concurrency = { "links.http.limits", "concurrency" },
    limit = { "links.http.limits", "limit" },
    health = { "links.http.health", "health" },
    parseUrl = { "links.url", "parse" },
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
    "accessLog", "basicAuth", "bearer", "bodyLimit", "cors", "requestId", "secureHeaders",
    "timeout",
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
