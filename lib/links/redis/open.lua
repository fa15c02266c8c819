-- From options to a connection that is ready for commands: connected, encrypted, introduced. Where
-- there are sentinels, they are asked each time where the master is.
local core = require "links.core"
local errors = require "links.errors"
local codec = require "links.redis.codec"
local lines = require "links.redis.line"

local encode, now = codec.encode, core.now

local READ_BUFFER = 64 -- KiB

-- Seconds of silence before the system looks whether the peer is still there. What waits in the
-- server without an end has nothing else to find out by, and the system's own is two hours.
local KEEP_IDLE = 60

local function dial(o)
    if o.path then
        return require("links.unix").connect(o.path, {
            connectTimeout = o.connectTimeout, readBufferSize = READ_BUFFER,
        })
    end
    return require("links.tcp").connect(o.port, o.host, {
        family = 0, connectTimeout = o.connectTimeout, readBufferSize = READ_BUFFER,
        keepidle = KEEP_IDLE, tls = o.tls,
    })
end

-- What is left of connectTimeout; 0 where there is no limit.
local function left_of(o, began)
    if o.connectTimeout == 0 then return 0 end
    return math.max(o.connectTimeout - (now() - began), 1)
end

local function hello(o)
    local list = { "HELLO", "3" }
    if o.password then
        list[#list + 1] = "AUTH"
        list[#list + 1] = o.username or "default"
        list[#list + 1] = o.password
    end
    return (encode(unpack(list)))
end

-- A server that is older than HELLO, or does not speak RESP3.
local OLD = { ERR = true, NOPROTO = true }

local LOST = { EOF = true, ECONNRESET = true, EPIPE = true }

-- The error of a command of the introduction that must succeed.
local function failure_of(list, must)
    for i = 1, must do
        if errors.is(list[i]) then return list[i] end
    end
end

local function greet(line, o, began)
    local refusal
    if o.protocol == 3 then
        local _, err = line:send(hello(o), 0, left_of(o, began))
        if not err then
            line.protocol = 3
        elseif err.code ~= 0 or not OLD[err.name] then
            return err
        end
        refusal = err
    end
    local list = {}
    local function add(...) list[#list + 1] = encode(...) end
    if line.protocol == 2 and o.password then
        if o.username then add("AUTH", o.username, o.password) else add("AUTH", o.password) end
    end
    if o.db > 0 then add("SELECT", o.db) end
    if o.name then add("CLIENT", "SETNAME", o.name) end
    local must = #list
    -- Known since Redis 7.2: what comes of it does not matter.
    add("CLIENT", "SETINFO", "LIB-NAME", "links")
    local replies, err = line:send(table.concat(list), #list, left_of(o, began))
    if not err then return failure_of(replies, must) end
    -- It was not HELLO that was refused, but we: "max number of clients reached".
    return not LOST[err.name] and err or refusal or err
end

-- A line (lib/links/redis/line.lua), or nil and an error. Waits.
local function open_one(o)
    local began = now()
    local socket, err = dial(o)
    if not socket then return nil, err end
    local line = lines.new(socket, o)
    err = greet(line, o, began)
    if err then
        line:close()
        return nil, err
    end
    return line
end

-- --- sentinels --------------------------------------------------------------------------------

local function with(o, host, port, changed)
    local result = {}
    for name, value in pairs(o) do result[name] = value end
    for name, value in pairs(changed or {}) do result[name] = value end
    result.host, result.port, result.sentinels = host, port, nil
    return result
end

-- Asks the connection at `o` one thing, and closes it.
local function ask(o, ...)
    local line, err = open_one(o)
    if not line then return nil, err end
    local reply
    reply, err = line:send(encode(...), 0, o.timeout)
    line:close()
    return reply, err
end

-- Where the master is, as one sentinel has it.
local function master_of(o, sentinel)
    local plain = with(o, sentinel[1], sentinel[2], { protocol = 2, db = 0 })
    plain.username, plain.password, plain.name = nil, nil, nil
    local reply, err = ask(plain, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", o.master)
    if err then return nil, nil, err end
    local port = type(reply) == "table" and tonumber(reply[2])
    if not port or type(reply[1]) ~= "string" then
        return nil, nil, errors.new(errors.code("NOT_FOUND"), "redis sentinel", {
            address = sentinel[1], port = sentinel[2], message = "it knows no such master",
        })
    end
    return reply[1], port
end

-- A line to who says himself that he is the master: a sentinel may not know better yet.
local function open_master(o, host, port)
    local line, err = open_one(with(o, host, port))
    if not line then return nil, err end
    local role
    role, err = line:send(encode("ROLE"), 0, o.timeout)
    if type(role) == "table" and role[1] == "master" then return line end
    line:close()
    return nil, err or errors.new(0, nil, {
        name = "READONLY", module = "redis", address = host, port = port,
        message = "what the sentinels name is no master",
    })
end

-- Whether the task itself is to end, and need not ask the next one.
local function is_own(err) return err.name == "ECANCELED" or err.deadline end

-- Who knew is asked first the next time.
local function to_front(list, sentinel)
    for i = 1, #list do
        if list[i] == sentinel then return table.insert(list, 1, table.remove(list, i)) end
    end
end

local function open_by_sentinels(o)
    local last
    -- Of a copy: other tasks may find the master meanwhile, and change the order.
    for _, sentinel in ipairs { unpack(o.sentinels) } do
        local host, port, err = master_of(o, sentinel)
        local line
        if host then line, err = open_master(o, host, port) end
        if line then
            to_front(o.sentinels, sentinel)
            return line
        end
        if is_own(err) then return nil, err end
        last = err
    end
    return nil, last
end

return function(o)
    local open = o.sentinels and open_by_sentinels or open_one
    local line, err = open(o)
    return line, err
end
