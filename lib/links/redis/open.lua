-- From options to a connection that is ready for commands: connected, encrypted, introduced.
local core = require "links.core"
local errors = require "links.errors"
local codec = require "links.redis.codec"
local lines = require "links.redis.line"

local encode, now = codec.encode, core.now

local READ_BUFFER = 64 -- KiB

local function dial(o)
    if o.path then
        return require("links.unix").connect(o.path, {
            connectTimeout = o.connectTimeout, readBufferSize = READ_BUFFER,
        })
    end
    return require("links.tcp").connect(o.port, o.host, {
        family = 0, connectTimeout = o.connectTimeout, readBufferSize = READ_BUFFER, tls = o.tls,
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

-- The error of a command of the introduction that must succeed.
local function failure_of(list, must)
    for i = 1, must do
        if errors.is(list[i]) then return list[i] end
    end
end

local function greet(line, o, began)
    if o.protocol == 3 then
        local _, err = line:send(hello(o), 0, left_of(o, began))
        if not err then
            line.protocol = 3
        elseif err.code ~= 0 or not OLD[err.name] then
            return err
        end
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
    return err or failure_of(replies, must)
end

-- A line (lib/links/redis/line.lua), or nil and an error. Waits.
local function open(o)
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

return open
