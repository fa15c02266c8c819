-- Several requests on one connection before the first answer has come (RFC 9112, 9.3.2). What can
-- be made twice only: where the connection ends too early, the rest is asked for again, one by one.
local core = require "links.core"
local errors = require "links.errors"
local clock = require "links.http.client.clock"
local exchange = require "links.http.client.exchange"
local head = require "links.http.client.head"
local response = require "links.http.client.response"

local pipeline = {}

local ETIMEDOUT = errors.code("ETIMEDOUT")
local SAFE = { GET = true, HEAD = true, OPTIONS = true }

-- Whether a call may be one of several.
function pipeline.takes(call)
    local o = call.o
    return SAFE[call.plan.method] and not o.stream and o.keepAlive
end

-- The heads of all of them. One that is wrong is left out: its own call says why.
local function heads_of(calls)
    local texts, sent = {}, {}
    for _, call in ipairs(calls) do
        local ok = head.make(call.plan, call.to, call.o, nil)
        if ok and not call.plan.close then
            texts[#texts + 1] = call.plan.head
            sent[#sent + 1] = call
        end
    end
    return table.concat(texts), sent
end

-- Reads the answers in their order, for as long as the connection lasts. The error of a time that
-- has passed is returned: what was not answered then will not be any sooner.
local function read_answers(conn, calls, from)
    for i, call in ipairs(calls) do
        conn.more = #calls - i
        local data, n = exchange.read(conn, call.o)
        if not data then return n.code == ETIMEDOUT and n or nil end
        call.from, call.first = from, clock()
        local res = response.new(call, conn, data, n)
        local ok, err = response.collect(res)
        if not ok then return err.code == ETIMEDOUT and err or nil end
        call.ready = res
        if conn.dropped then return end
    end
end

local function run(calls)
    local text, sent = heads_of(calls)
    if #sent < 2 then return end
    local pool, from = calls[1].pool, clock()
    local conn = pool:acquire(calls[1], false, true)
    if not conn then return end
    if not conn.socket:write(text) then return pool:drop(conn, true) end
    local ok, err = pcall(read_answers, conn, sent, from)
    if not ok or not sent[#sent].ready then pool:drop(conn, true) end
    if not ok then error(err, 0) end
    return err
end

local function mark(calls, err)
    for _, call in ipairs(calls) do
        if err and not call.ready then call.failed = err end
    end
end

-- Sends the calls, which are all for one server, on one connection. Those that were answered have
-- `ready` then, those whose time is over `failed`; the others are as they were. Waits for as long
-- as the first of them may take.
function pipeline.run(calls)
    local timeout = calls[1].o.timeout
    if timeout == 0 then return mark(calls, run(calls)) end
    local outer, outer_cut, scope = core.deadlinePush(timeout)
    local at = core.now() + timeout - 1
    local ok, err = pcall(run, calls)
    local cut = core.deadlinePop(outer, outer_cut, scope)
    if not ok then error(err, 0) end
    if cut and err and err.deadline and core.now() > at then
        err = exchange.timed_out("total", timeout, "no answer came")
    end
    mark(calls, err)
end

return pipeline
