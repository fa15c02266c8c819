--- Redis, and what speaks as it does: Valkey, KeyDB, Dragonfly.
---
--- A client (redis.client) is one object for a whole program: all tasks use it at once, and it
--- makes, shares and mends its connections by itself. A connection (redis.conn) is for one task.
---
--- `redis.null` stands for what is not there, within lists and tables: it is json.null. Integers
--- come exactly: up to 2^53 as numbers, beyond as 64-bit integers (`123LL`). RESP3 is spoken where
--- the server can; its maps become tables, sets lists, doubles numbers, big numbers strings.
---
--- ```lua
--- local client = redis.createClient { url = "redis://127.0.0.1:6379" }
--- client:pipeline(function(p) p:incr("a") p:get("b") end)
--- client:multi(function(tx) tx:incr("a") tx:incr("b") end)
--- client:subscribe("news")   -- redis.subscription
--- client:script("return 1")  -- redis.extras, as client:scanEach and client:stream
--- client:lock("job")         -- redis.lock
--- ```
---
--- Not there yet: Cluster (the option `cluster`), reads from replicas (`readFrom`), client-side
--- caching, passwords of sentinels themselves.
local null = require "links.null"
local clients = require "links.redis.client"
local conns = require "links.redis.conn"
local open = require "links.redis.open"
local checked = require "links.redis.options"

local redis = { null = null }

--- Makes a client. It connects when the first command needs it.
---
--- @param options  table  url          nil          redis://[user:password@]host[:port][/db],
---                                                  rediss:// for TLS, unix:///path. Options
---                                                  beside it go before what it says
---                      port           6379         1 to 65535
---                      host           "127.0.0.1"  a name or a numeric address
---                      path           nil          a Unix socket, instead of port and host
---                      db             0            the database to select
---                      username       nil          of ACL; needs a password
---                      password       nil          without a username: the default user's
---                      name           nil          of the connections, in CLIENT LIST
---                      tls            nil          options of tls.createContext; {} will do
---                      protocol       3            2: RESP2 in any case. With 3 it is spoken where
---                                                  the server does not know better
---                      connectTimeout  5000        ms to be connected and let in; 0: no limit
---                      timeout        5000         ms until a command has its reply, queueing
---                                                  included; 0: no limit. Commands that wait in
---                                                  the server have it on top of their own
---                      poolSize       8            connections at most that a task has to
---                                                  itself; the shared one comes on top
---                      idleTimeout    60000        ms until an unused one is closed; 0: never
---                      maxWait        1024         commands without a reply on the shared
---                                                  connection, and tasks that wait for one
---                      autoPipeline   true         false: each command has a connection of the
---                                                  pool to itself
---                      retries        1            how often a command is made again where that is
---                                                  safe, and a connection where it failed
---                      reconnect      {base = 50, max = 2000}  ms of back-off: doubled with each
---                                                  failure
---                      sentinels      nil          an array of {host, port} (26379 by default):
---                                                  before each connection they are asked where
---                                                  the master is, who must say so himself. A
---                                                  fail-over is seen where the connection is
---                                                  lost, or a reply is READONLY. `tls` is for
---                                                  them, too
---                      master         nil          the name that the sentinels know it by
---                      pingInterval   30000        ms of silence after which a subscription that
---                                                  is read asks whether the server is there,
---                                                  which has `timeout` to answer; 0: never
---                      readFrom       "master"     nothing else yet
---                      int64          "auto"       integers beyond 2^53: "auto" as 64-bit ones,
---                                                  "string", "number" (rounded)
---                      hashReplies    "map"        HGETALL, CONFIG GET and the maps of RESP3
---                                                  are tables by name; "list": names and values
---                                                  in turn
---                      maxReplySize   67108864     bytes of a reply
---                      maxReplyElements  4194304   of all lists in a reply
---                      maxReplyDepth  32           of lists in lists, 0 to 64
--- @return client       see redis.client
--- @raise               an option of another type or out of bounds, or one that nobody knows
--- @usage local redis = require "redis"
--- local client = redis.createClient { url = "redis://127.0.0.1:6379/0", timeout = 200 }
--- local value, err = client:get("key")
--- assert(value == nil or type(value) == "string")
--- client:close()
function redis.createClient(options)
    return clients.new(checked.client("redis.createClient([options])", options, 1))
end

--- Makes one connection, for one task (several may use it, too).
---
--- @param port     integer  1 to 65535; without meaning where options.path is given
--- @param host     string   a name or a numeric address. Default: "127.0.0.1"
--- @param options  table    path, db, username, password, name, tls, protocol, connectTimeout,
---                          timeout, int64, hashReplies, maxReplySize, maxReplyElements,
---                          maxReplyDepth: as of redis.createClient
--- @return conn           see redis.conn
--- @return nil, err       ECONNREFUSED, ETIMEDOUT and others  as tcp.connect, unix.connect and
---                                                            tls.connect
---                        WRONGPASS, NOAUTH, NOPERM and others  what the server says
---                        PROTOCOL                            it is no Redis
---                        ECANCELED                           this task was cancelled
--- @raise                 an argument or an option of another type or out of bounds, or one that
---                        nobody knows
--- @wait
--- @usage local conn, err = require("redis").connect(6379, "127.0.0.1", { connectTimeout = 200 })
--- if conn then conn:close() else assert(err.name) end
function redis.connect(port, host, options)
    local o = checked.connect("redis.connect(port[, host, options])", port, host, options, 1)
    local line, err = open(o)
    if not line then return nil, err end
    return conns.new(line, o)
end

return redis
