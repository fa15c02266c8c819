--- WebSockets (RFC 6455), server and client.
---
--- A handler is a function, `handler(ws, req)`, that runs in a task and reads with ws:read(); when
--- it returns the connection is closed. Or it is a table of functions, and then a connection on
--- which nothing happens holds no task: `{ upgrade = fn(req, res), open = fn(ws), message = fn(ws,
--- data, kind), drain = fn(ws), close = fn(ws, code, reason) }`. They run in tasks too and may
--- wait; those of one connection are called one after the other. `upgrade` sees the request before
--- the connection is taken over: what it returns, other than nil and true, is the answer instead
--- (as that of an HTTP handler: `return 401`). `drain` is called when the output that was too much
--- has gone down to half of `maxBuffered`.
---
--- What a connection can do is on the page of websocket.socket. The options of all of them:
---
---     maxMessageSize  1048576  bytes of a message; beyond, the peer gets 1009
---     maxFragments    1024     frames of a message; beyond: 1008
---     pieces          false    messages come in pieces, as they are read, and may be of any size:
---                              ws:read() answers data, nil, kind, last, and message gets (ws,
---                              data, kind, last)
---     compress        false    true, or {level = 6, threshold = 1024, serverNoContextTakeover =
---                              true, clientNoContextTakeover = true, serverMaxWindowBits = 15,
---                              clientMaxWindowBits = 15}: permessage-deflate (RFC 7692). A context
---                              takes some 300 KiB of a connection. Shorter than `threshold` bytes:
---                              sent as they are
---     pingInterval    30000    ms between pings
---     idleTimeout     120000   ms without a byte from the peer
---     closeTimeout    5000     ms for the peer to answer a close
---     maxBuffered     1048576  bytes of output that wait for the peer
---     onOverflow      "block"  what a write does beyond that: "block" waits; "dropNew" drops the
---                              message; "dropOld" drops those that wait longest, and compresses
---                              each by itself; "close" ends the connection (1008). What is
---                              published never waits: with "block" it is dropped
---     protocols       nil      subprotocols, the best first; servers: also function(offered, req)
---     origins         nil      servers: pages whose scripts may connect: "same" host, or a list of
---                              "https://example.com", "https://*.example.com"; others get 403
---     maxMessageRate  0        messages in a second; beyond: 1008
---     maxPerIp        0        servers: connections from one address; beyond: 429
---     perMessageTask  false    message functions of one connection may run at the same time
---
--- A time or a number of 0 is no limit.
local ffi = require "ffi"
local check = require "links.check"
local errors = require "links.errors"
local worker = require "links.process.worker"
local binding = require "links.websocket.ffi"
local hubs = require "links.websocket.hub"
local members = require "links.websocket.members"
local sockets = require "links.websocket.socket"

local C = binding.C
local websocket = {}

-- The workers of a cluster, and during an upgrade those of both masters.
if worker.cluster then C.links_ws_bus(worker.cluster, #worker.cluster, worker.id) end

-- Private: the function of HTTP that serves a route (also router:ws).
function websocket._route(signature, handler, options, level)
    level = (level or 1) + 1
    check.type(signature, "handler", handler, "function|table", level)
    if type(handler) == "function" then
        local hub = hubs.new(signature, options, nil, level)
        return function(req, res)
            local ws, err = hubs.accept(hub, req, res)
            if not ws then return nil, err end
            hubs.serve(ws, handler)
        end
    end
    hubs.check_handlers(signature, handler, level)
    local hub = hubs.new(signature, options, handler, level)
    local ask = handler.upgrade
    return function(req, res)
        if ask then
            local a, b, c = ask(req, res)
            if (a ~= nil and a ~= true) or errors.is(b) then return a, b, c end
            if res.headersSent then return end
        end
        local ws, err = hubs.accept(hub, req, res)
        if not ws then return nil, err end
    end
end

local SERVER = "websocket.createServer(port, handler[, options])"

--- Starts a server that answers every path with a WebSocket: http.createServer with one route. A
--- request that is no handshake gets 426. server:close tells the clients (1001) and waits for them.
---
--- @param port     integer|table   as for http.createServer
--- @param handler  function|table  see above
--- @param options  table           those above, and those of http.createServer
--- @return server                  as that of http.createServer
--- @return nil, err                as http.createServer
--- @raise                          an argument or an option of another type or out of bounds, or
---                                 one that nobody knows
--- @usage local websocket = require "websocket"
--- local server = assert(websocket.createServer(0, {
---     open = function(ws) ws:subscribe("all") end,
---     message = function(ws, text) websocket.publish("all", text) end,
--- }, { pingInterval = 10000 }))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
--- ws:write("hello, all")
--- assert(ws:read() == "hello, all")
--- ws:close()
--- server:close()
function websocket.createServer(port, handler, options)
    check.type(SERVER, "options", options, "table|nil")
    local mine, others = hubs.split(options)
    local route = websocket._route(SERVER, handler, mine)
    local ok, server, err = pcall(require("links.http").createServer, port, route, others)
    if not ok then error((tostring(server):gsub("^[^:]*:%d+: ", "")), 2) end
    return server, err
end

local UPGRADE = "websocket.upgrade(req, res[, options])"

-- Hubs by their tables of options: a handler that gives the same table each time has one.
local made = setmetatable({}, { __mode = "k" })
local default_hub

--- Makes a WebSocket of the connection of a request, inside any handler of HTTP: the request is
--- answered by that. The handler, or whom it gives the connection to, reads it in a loop. Where it
--- fails, `return nil, err` answers what the error says: 426, 400, 403, 429, 503.
---
--- @param req      request   the request
--- @param res      response  its response; fields that were set are sent
--- @param options  table     those above
--- @return ws
--- @return nil, err          HTTP_UPGRADE_REQUIRED  it is no handshake, or of another version
---                           HTTP_BAD_REQUEST       a key that is none, another method than GET
---                           WS_BAD_HANDSHAKE       the origin is not among `origins`
---                           FULL                   the address has `maxPerIp` connections
---                           SHUTTING_DOWN          the server is being closed
---                           CLOSED                 the client has left, or has its answer
--- @raise                    an option of another type or out of bounds, or one that nobody knows
--- @usage local http, websocket = require "http", require "websocket"
--- local server = assert(http.createServer(0, function(req, res)
---     if req.query.token ~= "secret" then return 401 end
---     local ws, err = websocket.upgrade(req, res)
---     if not ws then return nil, err end
---     ws:write("welcome")
---     ws:close()
--- end))
--- local url = "ws://127.0.0.1:" .. server:address().port .. "/?token=secret"
--- assert(assert(websocket.connect(url)):read() == "welcome")
--- server:close()
function websocket.upgrade(req, res, options)
    local hub = options and made[options]
    if not options then
        default_hub = default_hub or hubs.new(UPGRADE)
        hub = default_hub
    elseif not hub then
        hub = hubs.new(UPGRADE, options)
        made[options] = hub
    end
    local ws, err = hubs.accept(hub, req, res)
    return ws, err
end

local CONNECT = "websocket.connect(url[, options])"

local CONNECT_OPTIONS = {
    headers = { type = "table" }, protocols = { type = "table" }, tls = { type = "table" },
    proxy = { type = "string" }, timeout = { default = 10000, type = "integer", min = 0,
        max = 2 ^ 31 - 1 },
    handler = { type = "table" },
}

local function is_token(name) return name:find("^[%w!#$%%&'*+.^_`|~-]+$") end

-- Nothing that stands in the handshake may end a line of it.
local function check_fields(options)
    for name, value in pairs(options.headers or {}) do
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            if type(name) ~= "string" or not is_token(name) or
                tostring(one):find("[%z\1-\8\10-\31\127]") then
                error(CONNECT .. " options.headers: not a valid header field: " ..
                    ("%q"):format(tostring(name)), 3)
            end
        end
    end
    for _, name in ipairs(options.protocols or {}) do
        if type(name) ~= "string" or not is_token(name) then
            error(CONNECT .. " options.protocols: not the name of a subprotocol: " ..
                tostring(name), 3)
        end
    end
end

--- Connects to a server.
---
--- @param url      string  "ws://[user:password@]host[:port][/path][?query]"; "wss://..." over TLS
--- @param options  table   headers    nil    fields of the request: name = value, or a list of
---                                           values
---                         protocols  nil    subprotocols that are offered
---                         tls        nil    options of socket:startTls
---                         proxy      nil    "http://[user:password@]host:port", asked by CONNECT
---                         timeout    10000  ms for all of it; 0: as long as it takes
---                         handler    nil    functions {open =, message =, drain =, close =},
---                                           instead of ws:read(); the process lives as long as the
---                                           connection then
---                         and those above
--- @return ws
--- @return nil, err        WS_BAD_HANDSHAKE  the answer was another: err.status of HTTP where there
---                                           was one
---                         ETIMEDOUT         it took longer than `timeout`
---                         ECONNREFUSED and others  as tcp.connect
---                         EOF               the server closed without an answer
---                         ECANCELED         this task was cancelled
--- @raise                  the URL is none, or an option of another type or out of bounds, or one
---                         that nobody knows
--- @wait
--- @usage local websocket = require "websocket"
--- local server = assert(websocket.createServer(0, function(ws)
---     ws:write(ws.protocol)
--- end, { protocols = { "chat.v2", "chat.v1" } }))
--- local url = "ws://127.0.0.1:" .. server:address().port
--- local ws = assert(websocket.connect(url, { protocols = { "chat.v1" }, timeout = 2000 }))
--- assert(ws.protocol == "chat.v1" and ws:read() == "chat.v1")
--- server:close()
function websocket.connect(url, options)
    check.type(CONNECT, "url", url, "string")
    check.type(CONNECT, "options", options, "table|nil")
    local connect = require "links.websocket.connect"
    local mine, others = {}, {}
    for name, value in pairs(options or {}) do
        (CONNECT_OPTIONS[name] and mine or others)[name] = value
    end
    mine = check.options(CONNECT, mine, CONNECT_OPTIONS)
    local target = connect.parse(url, { ws = true, wss = true })
    if not target then error(CONNECT .. " url must be one of ws:// or wss://", 2) end
    if mine.proxy then
        mine.proxy = connect.parse(mine.proxy, { http = true })
        if not mine.proxy then error(CONNECT .. " options.proxy must be a URL of http://", 2) end
    end
    check_fields(mine)
    if mine.tls then
        require("links.tls.context").check(CONNECT .. " options.tls:", mine.tls)
    end
    if mine.handler then hubs.check_handlers(CONNECT, mine.handler, 1) end
    local hub = hubs.new(CONNECT, others, mine.handler)
    if mine.timeout == 0 then
        local ws, err = connect.open(target, mine, hub)
        return ws, err
    end
    local ws, err = require("links.task").withTimeout(mine.timeout, connect.open, target, mine, hub)
    return ws, err
end

local PUBLISH = "websocket.publish(topic, data[, options])"

local PUBLISH_OPTIONS = {
    kind = { default = "text", type = "string" }, scope = { default = "machine", type = "string" },
}

--- Sends a message to all who are subscribed to a topic, in all workers of a cluster (see the page
--- of process.cluster). It is encoded once in each of them, and goes out at the end of this turn of
--- the loop, together with what else the turn has published. Nobody is waited for: who has more
--- than `maxBuffered` bytes to take is served by `onOverflow`.
---
--- Other workers get it through shared memory, and those that have no subscription for it are not
--- disturbed; during a reload or an upgrade, old workers and new ones are one cluster. What one
--- process publishes arrives in the order of publishing. A worker that does not come to take what
--- is published, up to 2 MiB of it, loses what comes then: websocket.stats.
---
--- @param topic    string         its name, up to 255 bytes
--- @param data     string|number  the message; 1536 KiB at most in a worker of a cluster
--- @param options  table          kind  "text"  or "binary"
---                                scope "machine"  all workers of the cluster; or "worker": the
---                                                 connections of this process
--- @return integer                receivers: connections here that take it, and subscriptions
---                                elsewhere to which it was handed over
--- @return nil, err               EILSEQ     a text that is not UTF-8
---                                TOO_LARGE  more than other workers can be handed; nobody got it
--- @raise                         an argument of another type, another scope
--- @usage local websocket = require "websocket"
--- assert(websocket.publish("nobody.listens", "hello") == 0)
function websocket.publish(topic, data, options)
    local kind, everywhere = "text", 1
    if options ~= nil then
        options = check.options(PUBLISH, options, PUBLISH_OPTIONS)
        kind = options.kind
        if options.scope == "worker" then
            everywhere = 0
        elseif options.scope ~= "machine" then
            error(PUBLISH .. ' options.scope must be "machine" or "worker", not "'
                .. options.scope .. '"', 2)
        end
    end
    local n, err = sockets.publish(PUBLISH, nil, topic, data, kind, everywhere)
    return n, err
end

--- The number of connections that are subscribed to a topic, by this name, in all workers of a
--- cluster together. Those of a worker that was killed are gone at once.
---
--- @param topic  string   its name
--- @return integer
--- @raise                 `topic` is no string, or of more than 255 bytes
--- @usage assert(require("websocket").count("nobody.listens") == 0)
function websocket.count(topic)
    sockets.check_topic("websocket.count(topic)", topic)
    return C.links_ws_count(topic, #topic)
end

--- The members of a topic: the connections that are subscribed to it, in all workers of a cluster
--- together. The other workers are asked, and answer without a task that runs there.
---
--- @param topic  string   its name; one that ends in "*" stands for all topics that begin so
--- @return array          of tables: topic, id (ws.id, within its worker), worker (its number; nil
---                        outside a cluster), member (what it has given to ws:subscribe; nil: none)
--- @return array, err     ETIMEDOUT  a worker has not answered within two seconds: those of the
---                                   others
---                        TOO_LARGE  the list is of more than 64 MiB: some of it
--- @return nil, err       ECANCELED  this task was cancelled
---                        ENOSPC, EMFILE, ENOMEM  as ws:subscribe
--- @raise                 `topic` is no string, or of more than 255 bytes
--- @wait
--- @usage local websocket = require "websocket"
--- local server = assert(websocket.createServer(0, function(ws)
---     ws:subscribe("room", "ann")
---     assert(websocket.members("room")[1].member == "ann")
--- end))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
--- ws:read()
--- server:close()
function websocket.members(topic)
    sockets.check_topic("websocket.members(topic)", topic)
    local list, err = members.list(topic)
    return list, err
end

local ON = "websocket.on(event, topic, fn)"
local EVENTS = { join = true, leave = true }

local function check_watch(signature, event, topic, fn)
    check.type(signature, "event", event, "string", 2)
    if not EVENTS[event] then
        error(signature .. ' event must be "join" or "leave", not "' .. event .. '"', 3)
    end
    sockets.check_topic(signature, topic, 2)
    check.type(signature, "fn", fn, "function", 2)
end

--- Calls a function for each connection that comes to a topic, or leaves it, in whichever worker of
--- a cluster: by ws:subscribe and ws:unsubscribe, at its end, or with its worker, however that
--- ends. One that is a member already is no event.
---
--- The functions of a process are called one after the other, in the order of what happens in each
--- worker; they may wait. Each process that has called this hears of everything: where only one is
--- to act, let only that one call it. It does not keep the process alive.
---
--- @param event  string    "join" or "leave"
--- @param topic  string    its name; one that ends in "*" stands for all topics that begin so
--- @param fn     function  fn(member), with a table as of websocket.members
--- @return true            from now on
--- @return nil, err        ECANCELED  this task was cancelled
---                         ENOSPC, EMFILE, ENOMEM, FULL  as ws:subscribe
--- @raise                  an argument of another type, another event
--- @wait
--- @usage local websocket = require "websocket"
--- local joined
--- assert(websocket.on("join", "room", function(member) joined = member.member end))
--- local server = assert(websocket.createServer(0, function(ws) ws:subscribe("room", "bob") end))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
--- ws:read()
--- while not joined do require("timer").sleep(1) end
--- assert(joined == "bob")
--- server:close()
function websocket.on(event, topic, fn)
    check_watch(ON, event, topic, fn)
    local ok, err = members.on(event, topic, fn)
    return ok, err
end

--- Calls it no more.
---
--- @param event  string    as for websocket.on
--- @param topic  string    as for websocket.on
--- @param fn     function  as for websocket.on
--- @return boolean         it was called
--- @raise                  an argument of another type, another event
--- @usage assert(not require("websocket").off("join", "room", print))
function websocket.off(event, topic, fn)
    check_watch("websocket.off(event, topic, fn)", event, topic, fn)
    return members.off(event, topic, fn)
end

--- Numbers of what is published between the workers of a cluster.
---
--- @return table  workers, the others that have subscriptions now, or had; sent, messages that this
---                process has handed to others, counted for each of them; refused, those that one
---                of them had no room for; received, messages that came from others; lost, those
---                that did not because there was no room here
--- @usage local stats = require("websocket").stats()
--- assert(stats.workers == 0 and stats.lost == 0)
function websocket.stats()
    local out = ffi.new("double[5]")
    C.links_ws_bus_stats(out)
    return {
        workers = out[0], sent = out[1], refused = out[2], received = out[3], lost = out[4],
    }
end

return websocket
