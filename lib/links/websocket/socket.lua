--- WebSockets: a connection, of a server or a client.
---
--- Fields: `id`, a number that no other connection of this process has had; `protocol`, the
--- subprotocol that was agreed on, or nil; `req`, the request that it began with (servers: what it
--- was asked with, not its body; its `tls` while the connection is open); `closed`, true once
--- nothing can be written; `latency`, the milliseconds that the last ping of `pingInterval` took,
--- nil before the first; `dropped`, messages that were not sent because too much was buffered;
--- `compressed`, whether permessage-deflate was agreed on; `data`, a table for whatever the program
--- keeps with its connection.
---
--- Any task may write. A message is never mixed with another one; pings and pongs go between.
local ffi = require "ffi"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local binding = require "links.websocket.ffi"

local C, AGAIN = binding.C, binding.AGAIN
local fast_read = core.fast.wsRead
local wait, new_error, ffi_string = core.wait, errors.new, ffi.string
local type, tostring = type, tostring

local TEXT, BINARY, NOT_LAST = 1, 2, 16
local KINDS = { "text", "binary", [17] = "text", [18] = "binary" }
local NUMBERS = { text = TEXT, binary = BINARY }

local out_len = ffi.new("int[1]")
local pointer = ffi.typeof("const char *")

-- A connection that is idle should cost little, so it is an array: its handle, its hub, the head of
-- the request that it began with (nil: we were the client), and what the program had put into that.
local methods = {}
local WebSocket = { __name = "websocket" }

local fields = {
    id = function(handle) return handle.id end,
    closed = function(handle) return handle.closed == 1 end,
    compressed = function(handle) return handle.deflate == 1 end,
    dropped = function(handle) return handle.dropped end,
    latency = function(handle) return handle.latency >= 0 and handle.latency or nil end,
}

local lazy = {
    data = function() return {} end,
    req = function(self) return self[3] and require("links.websocket.request")(self) end,
}

function WebSocket.__index(self, key)
    local method = methods[key]
    if method then return method end
    local field = fields[key]
    if field then return field(self[1]) end
    local make = lazy[key]
    local value = make and make(self)
    if value then rawset(self, key, value) end
    return value
end

function WebSocket.__tostring(self)
    return "websocket " .. self.id .. (self.closed and " (closed)" or "")
end

local function reason_of(handle)
    return ffi_string(C.links_ws_reason(handle, out_len), out_len[0])
end

-- An error with the status of the close, and the peer's reason for it.
local function failure(handle, code, what)
    local err = new_error(code, what)
    if err.name:sub(1, 3) == "WS_" and handle.status ~= 0 then
        err.status = handle.status
        local reason = reason_of(handle)
        if reason ~= "" then err.message = reason end
    end
    return err
end

--- Waits for the next message. One task at a time may.
---
--- With the option `pieces` it is the next piece of a message, as it came, and the fourth answer
--- says whether that was its last.
---
--- @param ms  number    milliseconds to wait; then the connection is still good. Default: as long
---                      as it takes
--- @return string       the message
--- @return nil
--- @return string       its kind, "text" or "binary"
--- @return boolean      with `pieces`: this is the last piece
--- @return nil, err     WS_CLOSED     the connection has ended: err.status is the status that the
---                                    peer gave, 1005 without one, 1006 without a close; its reason
---                                    is the message
---                      WS_PROTOCOL   the peer violated the protocol; err.status is what it was
---                                    told
---                      WS_TOO_LARGE  a message was larger than maxMessageSize (status 1009)
---                      ETIMEDOUT     nothing came in that time
---                      EBUSY         another task reads
---                      ECANCELED     this task was cancelled
--- @raise               `ms` is not a number of milliseconds
--- @wait
--- @usage local websocket = require "websocket"
--- local server = assert(websocket.createServer(0, function(ws)
---     for text in function() return (ws:read()) end do ws:write(text:upper()) end
--- end))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
--- ws:write("hello")
--- local data, _, kind = ws:read()
--- assert(data == "HELLO" and kind == "text")
--- ws:close()
--- server:close()
function methods:read(ms)
    if ms ~= nil then check.timeout("ws:read([ms])", "ms", ms) end
    local handle = self[1]
    if self[2].handlers then
        error("ws:read(): the messages of this connection are taken by its functions", 2)
    end
    local data, kind
    repeat data, kind = fast_read(handle, ms) until data ~= 0
    if type(data) == "string" then
        if self[2].pieces then return data, nil, KINDS[kind], kind < NOT_LAST end
        return data, nil, KINDS[kind]
    end
    return nil, failure(handle, data, "websocket read")
end

-- Sends `len` bytes at `data`, which may be a string; `buffer` is asked for them where it is given.
local function send(self, data, len, kind, buffer)
    local handle = self[1]
    while true do
        if buffer then data, len = buffer:ref() end
        local rc = C.links_ws_write(handle, data, len, kind)
        if rc == 0 then return true end
        if rc == AGAIN then rc = wait() end
        if rc ~= 0 then return nil, failure(handle, rc, "websocket write") end
    end
end

local function text_of(signature, data, level)
    if type(data) == "number" then return tostring(data) end
    check.type(signature, "data", data, "string|number", level + 1)
end

--- Sends a message. It has been sent, for this side, once the system or the buffer has it; while
--- more than `maxBuffered` bytes wait, what happens is said by the option `onOverflow`.
---
--- @param data  string|number  the message
--- @param kind  string         "text" or "binary". Default: "text"
--- @return true
--- @return nil, err     WS_CLOSED  the connection is closed, or being closed (err.status)
---                      EILSEQ     a text that is not UTF-8
---                      FULL       too much was buffered: the message was dropped
---                      ECANCELED  this task was cancelled
--- @raise               an argument of another type
--- @wait
--- @usage local websocket = require "websocket"
--- local server = assert(websocket.createServer(0, { message = function(ws, data, kind)
---     ws:write(data, kind)
--- end }))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
--- assert(ws:write("\0\255", "binary"))
--- assert(ws:read() == "\0\255")
--- server:close(0)
function methods:write(data, kind)
    local signature = "ws:write(data[, kind])"
    if type(data) ~= "string" then data = text_of(signature, data, 1) end
    local number = TEXT
    if kind ~= nil then
        number = NUMBERS[kind]
        if not number then error(signature .. ' kind must be "text" or "binary"', 2) end
    end
    return send(self, data, #data, number)
end

--- Sends a binary message. A string buffer, or memory of the program's, is sent without making a
--- string of it.
---
--- @param data  string|buffer|cdata  the message: a string, a string.buffer (it keeps its bytes),
---                                   or a pointer
--- @param len   integer              bytes; for a pointer only
--- @return true
--- @return nil, err     as ws:write
--- @raise               an argument of another type
--- @wait
--- @usage local ffi = require "ffi"
--- local websocket = require "websocket"
--- local server = assert(websocket.createServer(0, function(ws)
---     local point = ffi.new("float[2]", 1.5, -2)
---     ws:writeBinary(point, ffi.sizeof(point))
--- end))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
--- local data, _, kind = ws:read()
--- assert(#data == 8 and kind == "binary")
--- server:close()
function methods:writeBinary(data, len)
    local signature = "ws:writeBinary(data[, len])"
    if type(data) == "string" then return send(self, data, #data, BINARY) end
    if type(data) == "cdata" then
        check.integer(signature, "len", len, 0, 2 ^ 31 - 1)
        return send(self, ffi.cast(pointer, data), len, BINARY)
    end
    if type(data) ~= "userdata" or type(data.ref) ~= "function" then
        check.type(signature, "data", data, "string|buffer|cdata")
    end
    return send(self, nil, 0, BINARY, data)
end

--- Sends a value as JSON, in a text message.
---
--- @param value  any    what json.encode takes
--- @return true
--- @return nil, err     as ws:write and json.encode
--- @wait
--- @usage local websocket = require "websocket"
--- local server = assert(websocket.createServer(0, function(ws) ws:json{ hello = "world" } end))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
--- assert(ws:read() == '{"hello":"world"}')
--- server:close()
function methods:json(value)
    local text, err = require("links.json").encode(value)
    if not text then return nil, err end
    return send(self, text, #text, TEXT)
end

--- Sends a ping. Those of `pingInterval` are sent by themselves, and those of the peer are
--- answered.
---
--- @param data  string  up to 125 bytes. Default: ""
--- @return true
--- @return nil, err     WS_CLOSED  the connection is closed, or being closed
---                      TOO_LARGE  more than 125 bytes
--- @raise               `data` is no string
function methods:ping(data)
    if data == nil then data = "" end
    check.type("ws:ping([data])", "data", data, "string")
    local rc = C.links_ws_ping(self[1], data, #data)
    if rc < 0 then return nil, failure(self[1], rc, "websocket ping") end
    return true
end

--- Begins to close the connection: what was written goes first, the peer is told, and has
--- `closeTimeout` to answer. Nothing can be written from now on, and what still comes is dropped. A
--- task that reads gets WS_CLOSED once it is over. Closing twice is harmless.
---
--- @param code    integer  the status, 1000 to 1014 or 3000 to 4999, as RFC 6455, 7.4 has them.
---                         Default: 1000
--- @param reason  string   up to 123 bytes of UTF-8. Default: ""
--- @return true
--- @raise                  a status or a reason that cannot be sent
--- @usage local websocket = require "websocket"
--- local server = assert(websocket.createServer(0, function(ws) ws:close(4001, "go away") end))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
--- local _, err = ws:read()
--- assert(err.name == "WS_CLOSED" and err.status == 4001 and err.message == "go away")
--- server:close()
function methods:close(code, reason)
    local signature = "ws:close([code, reason])"
    if code == nil then code = 1000 end
    if reason == nil then reason = "" end
    check.integer(signature, "code", code, 1000, 4999)
    check.type(signature, "reason", reason, "string")
    if C.links_ws_close(self[1], code, reason, #reason) < 0 then
        error(signature .. " code must be one that may be sent, reason up to 123 bytes of UTF-8", 2)
    end
    return true
end

--- Bytes that were written and that the system has not taken yet.
---
--- @return integer
function methods:buffered()
    return C.links_ws_buffered(self[1])
end

local function check_topic(signature, topic, level)
    level = (level or 1) + 1
    check.type(signature, "topic", topic, "string", level)
    if #topic > 255 then error(signature .. " topic must be 255 bytes at most", level + 1) end
end

local SUBSCRIBE, MEMBER_MAX = "ws:subscribe(topic[, member])", 1024

--- Gets what is published to a topic from now on, until the connection ends.
---
--- @param topic  string  its name, up to 255 bytes. One that ends in "*" stands for all topics that
---                       begin so; what is published to one of them comes once
--- @param member string  who this is, up to 1024 bytes, for websocket.members and websocket.on: a
---                       name, or JSON. One who is subscribed already stays who he was. Default:
---                       none
--- @return true
--- @return nil, err      WS_CLOSED  the connection is closed, or being closed
---                       FULL       it has 1024 topics already; in a worker of a cluster also:
---                                  three million topics have subscriptions here
---                       ENOSPC, EMFILE, ENOMEM  in a worker, by which shared memory cannot be
---                                  opened
--- @raise                `topic` or `member` is no such string
--- @usage local websocket = require "websocket"
--- local server = assert(websocket.createServer(0, function(ws)
---     ws:subscribe("news.*", "ann")
---     websocket.publish("news.today", "hello")
---     ws:read()
--- end))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port))
--- assert(ws:read() == "hello")
--- ws:close()
--- server:close()
function methods:subscribe(topic, member)
    check_topic(SUBSCRIBE, topic)
    if member == nil then
        member = ""
    elseif type(member) ~= "string" or #member > MEMBER_MAX then
        error(SUBSCRIBE .. " member must be a [string] of up to " .. MEMBER_MAX .. " bytes, not "
            .. (type(member) == "string" and #member or type(member)), 2)
    end
    local rc = C.links_ws_subscribe(self[1], topic, #topic, member, #member)
    if rc < 0 then return nil, failure(self[1], rc, "websocket subscribe") end
    return true
end

--- Gets no more of a topic.
---
--- @param topic  string  as it was given to ws:subscribe
--- @return boolean       it was subscribed
--- @raise                `topic` is no such string
function methods:unsubscribe(topic)
    check_topic("ws:unsubscribe(topic)", topic)
    return C.links_ws_unsubscribe(self[1], topic, #topic) == 1
end

--- The topics that it is subscribed to.
---
--- @return table  their names, in the order of subscription
function methods:topics()
    local list = {}
    while true do
        local name = C.links_ws_topic(self[1], #list, out_len)
        if name == nil then return list end
        list[#list + 1] = ffi_string(name, out_len[0])
    end
end

-- Private: publishes for `except`, or for nobody's sake.
local function publish(signature, except, topic, data, kind, everywhere)
    check_topic(signature, topic, 2)
    if type(data) ~= "string" then data = text_of(signature, data, 2) end
    local number = NUMBERS[kind or "text"]
    if not number then error(signature .. ' kind must be "text" or "binary"', 3) end
    local n = C.links_ws_publish(topic, #topic, data, #data, number, except, everywhere)
    if n < 0 then return nil, new_error(n, "websocket publish") end
    return n
end

--- Publishes to the others: as websocket.publish, but not to itself.
---
--- @param topic  string         its name; this connection need not be subscribed
--- @param data   string|number  the message
--- @param kind   string         "text" or "binary". Default: "text"
--- @return integer              receivers, as of websocket.publish
--- @return nil, err             EILSEQ, TOO_LARGE  as websocket.publish
--- @raise                       an argument of another type
function methods:publish(topic, data, kind)
    local n, err = publish("ws:publish(topic, data[, kind])", self[1], topic, data, kind,
        1)
    return n, err
end

return {
    WebSocket = WebSocket, KINDS = KINDS, publish = publish, check_topic = check_topic,
    reason_of = reason_of,
}
