-- A hub: what the connections with the same options have in common, the handshakes of its servers,
-- and the workers that call the functions of those whose messages are not read in a loop.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local reports = require "links.report"
local binding = require "links.websocket.ffi"
local response = require "links.http.response"
local servers = require "links.http.servers"
local sockets = require "links.websocket.socket"

local C, AGAIN = binding.C, binding.AGAIN
local OPEN, MESSAGE, DRAIN = binding.OPEN, binding.MESSAGE, binding.DRAIN
local WebSocket, KINDS, reason_of = sockets.WebSocket, sockets.KINDS, sockets.reason_of
local wait, spawn = core.wait, core.spawn
local ffi_string, setmetatable, xpcall = ffi.string, setmetatable, xpcall
local on_error = reports.trace

local ECANCELED = -errors.code("ECANCELED")
local INT_MAX = 2 ^ 31 - 1
local NOBODY = ffi.cast("links_ws *", nil)

local hubs = {}

-- --- options ----------------------------------------------------------------------------------

local OPTIONS = {
    maxMessageSize = { default = 1048576, type = "integer", min = 0, max = 2 ^ 40,
        c = "max_message_size" },
    maxFragments = { default = 1024, type = "integer", min = 0, max = INT_MAX,
        c = "max_fragments" },
    pieces = { default = false, type = "boolean", c = "pieces" },
    compress = { default = false, type = "boolean|table" },
    pingInterval = { default = 30000, type = "integer", min = 0, max = INT_MAX,
        c = "ping_interval" },
    idleTimeout = { default = 120000, type = "integer", min = 0, max = INT_MAX,
        c = "idle_timeout" },
    closeTimeout = { default = 5000, type = "integer", min = 0, max = INT_MAX,
        c = "close_timeout" },
    maxBuffered = { default = 1048576, type = "integer", min = 0, max = 2 ^ 40,
        c = "max_buffered" },
    onOverflow = { default = "block", type = "string" },
    protocols = { type = "table|function" },
    origins = { type = "table|string" },
    maxMessageRate = { default = 0, type = "integer", min = 0, max = INT_MAX,
        c = "max_message_rate" },
    maxPerIp = { default = 0, type = "integer", min = 0, max = INT_MAX, c = "max_per_ip" },
    perMessageTask = { default = false, type = "boolean", c = "per_message_task" },
}

local OVERFLOW = { block = 0, dropNew = 1, dropOld = 2, close = 3 }

local COMPRESS = {
    level = { default = 6, type = "integer", min = 1, max = 9, c = "level" },
    threshold = { default = 1024, type = "integer", min = 0, max = INT_MAX, c = "threshold" },
    serverNoContextTakeover = { default = true, type = "boolean", c = "server_no_context" },
    clientNoContextTakeover = { default = true, type = "boolean", c = "client_no_context" },
    serverMaxWindowBits = { default = 15, type = "integer", min = 9, max = 15, c = "server_bits" },
    clientMaxWindowBits = { default = 15, type = "integer", min = 9, max = 15, c = "client_bits" },
}

local function copy_to_c(o, options, known)
    for name, about in pairs(known) do
        local value = options[name]
        if type(value) == "boolean" then value = value and 1 or 0 end
        if about.c then o[about.c] = value end
    end
end

local function check_list(signature, name, list, level)
    if type(list) ~= "table" then return end
    for i, value in ipairs(list) do
        check.type(signature, "options." .. name .. "[" .. i .. "]", value, "string", level + 1)
    end
end

-- The options in C's form, and what Lua needs of them.
local function prepare(signature, options, level)
    level = level + 1
    options = check.options(signature, options, OPTIONS, level)
    local o = ffi.new("links_ws_options")
    copy_to_c(o, options, OPTIONS)
    o.on_overflow = OVERFLOW[options.onOverflow] or error(signature ..
        ' options.onOverflow must be "block", "dropNew", "dropOld" or "close"', level + 1)
    local origins = options.origins
    if type(origins) == "string" and origins ~= "same" then
        error(signature .. ' options.origins must be a list, or "same"', level + 1)
    end
    check_list(signature, "origins", origins, level)
    check_list(signature, "protocols", options.protocols, level)
    if options.compress then
        local compress = options.compress ~= true and options.compress or nil
        o.compress = 1
        copy_to_c(o, check.options(signature .. " options.compress:", compress, COMPRESS, level),
            COMPRESS)
    end
    return options, o
end

-- Private: splits a table of options into those of WebSockets and the others.
function hubs.split(options)
    local mine, others = {}, {}
    for name, value in pairs(options or {}) do
        (OPTIONS[name] and mine or others)[name] = value
    end
    return mine, others
end

local HANDLERS = { upgrade = true, open = true, message = true, drain = true, close = true }

-- Private: the functions of a handler that is a table.
function hubs.check_handlers(signature, handler, level)
    for name, fn in pairs(handler) do
        if not HANDLERS[name] then
            local near = type(name) == "string" and check.nearest(name, HANDLERS)
            error(signature .. ' unknown function "' .. tostring(name) .. '" in handler' ..
                (near and ' (did you mean "' .. near .. '"?)' or ""), level + 2)
        end
        check.type(signature, "handler." .. name, fn, "function", level + 1)
    end
end

-- Private: a hub. `handlers`: the functions to call, or nil for connections that are read.
function hubs.new(signature, options, handlers, level)
    local about, o = prepare(signature, options, (level or 1) + 1)
    o.callbacks = handlers and 1 or 0
    return {
        _h = ffi.gc(C.links_ws_hub_new(o), C.links_ws_hub_free),
        handlers = handlers,
        objects = {},
        protocols = about.protocols,
        origins = about.origins,
        pieces = about.pieces,
    }
end

-- --- the workers ------------------------------------------------------------------------------

local function report(what, trace)
    reports.write("error", "websocket: error in " .. what .. ": " .. trace)
end

-- Everything but messages. The connection is the garbage collector's once it has ended.
local function handle_event(hub, ws, event)
    local handlers = hub.handlers
    local ok, trace = true, nil
    if event == OPEN then
        if handlers.open then ok, trace = xpcall(handlers.open, on_error, ws) end
        return ok, "open", trace
    elseif event == DRAIN then
        if handlers.drain then ok, trace = xpcall(handlers.drain, on_error, ws) end
        return ok, "drain", trace
    end
    local handle = ws[1]
    if handlers.close then
        ok, trace = xpcall(handlers.close, on_error, ws, handle.status, reason_of(handle))
    end
    C.links_ws_own(handle)
    ffi.gc(handle, C.links_ws_free)
    hub.objects[handle.slot] = nil
    return ok, "close", trace
end

local work

local function spawn_workers(hub)
    for _ = 1, hub._h.want do
        C.links_ws_worker(hub._h, 1, 0)
        spawn(work, hub)
    end
end

-- The loop that a busy hub is in.
local function take_events(hub, handle, on_message)
    local objects, done = hub.objects, NOBODY
    while true do
        local w = C.links_ws_next(handle, done)
        if w == nil then return handle.status, done ~= NOBODY end
        if handle.want > 0 then spawn_workers(hub) end
        local ws, event = objects[w.slot], handle.event
        local ok, what, trace
        if event == MESSAGE then
            local kind = handle.kind
            local data = ffi_string(handle.data, handle.len)
            ok, trace = xpcall(on_message, on_error, ws, data, KINDS[kind], kind < 16)
            what = "message"
        else
            ok, what, trace = handle_event(hub, ws, event)
        end
        if not ok then
            report(what, trace)
            C.links_ws_close(w, 1011, "", 0)
        end
        done = w
    end
end

local function ignore() end

function work(hub)
    local handle, on_message = hub._h, hub.handlers.message or ignore
    local status, answered
    repeat
        status, answered = take_events(hub, handle, on_message)
        if status == AGAIN then status = wait() end
    until status ~= 0
    C.links_ws_worker(handle, -1, 0)
    -- A function that has cancelled its own task, or left something in it, must not leave the hub
    -- without a worker, nor the next connection with that one.
    if status == ECANCELED and answered then
        C.links_ws_worker(handle, 1, 0)
        core.bequeath(core.current(), false)
        spawn(work, hub)
    end
end

-- Private: makes a connection of a pointer; see links.websocket.socket for what it is made of.
function hubs.own(hub, pointer, protocol, head, kept)
    local ws = kept and { pointer, hub, head, kept } or { pointer, hub, head }
    if protocol then ws.protocol = protocol end
    if hub.handlers then
        hub.objects[pointer.slot] = ws
        local handle = hub._h
        if handle.workers == 0 then
            handle.want = 2
            spawn_workers(hub)
        end
    else
        C.links_ws_own(pointer)
        ffi.gc(pointer, C.links_ws_free)
    end
    return setmetatable(ws, WebSocket)
end

-- --- handshakes of servers --------------------------------------------------------------------

local STATUS_OF = {
    HTTP_UPGRADE_REQUIRED = 426, HTTP_BAD_REQUEST = 400, SHUTTING_DOWN = 503, FULL = 429,
}

local function refused(rc, what)
    local err = errors.new(rc, what)
    err.status = STATUS_OF[err.name]
    return nil, err
end

-- A browser says on whose page the script runs; what is no browser says nothing, and may say
-- anything.
local function is_allowed(origins, req)
    local origin = req:header("origin")
    if not origins or not origin then return true end
    origin = origin:lower()
    if origins == "same" then
        return origin:match("^%a[%w+.-]*://(.*)$") == (req.host or ""):lower()
    end
    for _, allowed in ipairs(origins) do
        allowed = allowed:lower()
        if allowed == "*" or allowed == origin then return true end
        local scheme, domain = allowed:match("^(.*://)%*(%..*)$")
        if scheme and origin:sub(1, #scheme) == scheme and origin:sub(-#domain) == domain then
            return true
        end
    end
    return false
end

-- The first of ours that the client offers; the function's choice.
local function choose(protocols, req)
    local offered = {}
    for _, value in ipairs(req:headerAll("sec-websocket-protocol")) do
        for name in value:gmatch("[^%s,]+") do
            offered[#offered + 1] = name
            offered[name] = true
        end
    end
    if type(protocols) == "function" then
        local name = protocols(offered, req)
        if name ~= nil and not offered[name] then
            error("websocket: options.protocols returned what the client does not offer", 0)
        end
        return name
    end
    for _, name in ipairs(protocols or {}) do
        if offered[name] then return name end
    end
end

-- Fields that can be made again of the head, or that lead nowhere once the request is over.
local MADE = {
    method = true, url = true, version = true, rawPath = true, path = true, queryString = true,
    contentLength = true, remoteAddress = true, remotePort = true, headers = true, query = true,
    cookies = true, params = true, scheme = true, host = true, localAddress = true,
    localPort = true, startTime = true, server = true,
}

-- What the program has put into the request, and what is not in its head: the parameters of its
-- route, and who it came from where a proxy or TLS was between.
local function kept_fields(req, is_told)
    local kept = {}
    for key, value in pairs(req) do
        if type(key) == "string" and key:sub(1, 1) ~= "_" and not MADE[key] then
            kept[key] = value
        end
    end
    local params = req.params
    if params and next(params) then kept.params = params end
    if is_told then kept.scheme, kept.host = req.scheme, req.host end
    return next(kept) and kept or nil
end

-- Whether what the connection says of the client is not all there is to say.
local function is_told(req, r)
    local server = servers.of(req._h)
    return server and server._trust and true or false, C.links_http_tls(r) ~= nil
end

local out_len = ffi.new("int[1]")

-- Private: answers the handshake of a request: the connection, or nil, err with a status.
function hubs.accept(hub, req, res)
    local r = res._r
    if not r then return refused(binding.CLOSED, "websocket upgrade") end
    local rc = C.links_ws_check(r)
    if rc < 0 then return refused(rc, "websocket upgrade") end
    if not is_allowed(hub.origins, req) then
        return nil, errors.new(errors.code("WS_BAD_HANDSHAKE"), "websocket upgrade",
            { status = 403, message = "the page's origin is not allowed" })
    end
    local protocol = hub.protocols and choose(hub.protocols, req)
    r = res._r -- the choice may have waited
    if not r then return refused(binding.CLOSED, "websocket upgrade") end
    if protocol then res:setHeader("Sec-WebSocket-Protocol", protocol) end
    local head = C.links_http_head(r, out_len)
    head = ffi_string(head, out_len[0])
    local by_proxy, by_tls = is_told(req, r)
    local kept = kept_fields(req, by_proxy or by_tls)
    local client = by_proxy and req.remoteAddress or nil
    local out = ffi.new("links_ws *[1]")
    rc = C.links_ws_accept(hub._h, r, client, client and req.remotePort or 0, out)
    if rc < 0 then
        if protocol then res:removeHeader("Sec-WebSocket-Protocol") end
        return refused(rc, "websocket upgrade")
    end
    response.over(res)
    return hubs.own(hub, out[0], protocol, head, kept)
end

-- Private: the life of a connection that is read in a loop.
function hubs.serve(ws, handler)
    local ok, trace = xpcall(handler, on_error, ws, ws.req)
    if not ok then report("the handler", trace) end
    C.links_ws_close(ws[1], ok and 1000 or 1011, "", 0)
end

return hubs
