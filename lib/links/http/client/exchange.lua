-- One request and its answer's head, over one connection.
--
-- What is small is written at once. A longer body is written by a task of its own, so that the
-- answer is read meanwhile: a server may answer before it has read everything, and may then read no
-- more.
local core = require "links.core"
local errors = require "links.errors"
local body = require "links.http.client.body"

local exchange = {}

local fast_head = core.fast.httpReplyHead
local now, new_error = core.now, errors.new

local ETIMEDOUT, EOF = errors.code("ETIMEDOUT"), errors.code("EOF")
local PROTOCOL = errors.code("PROTOCOL")
local AT_ONCE = 16384     -- bytes of a body that are written without a task
local HEAD_READ = 16384   -- bytes of one read
local CONTINUE_MS = 1000  -- RFC 9110, 10.1.1: a client does not wait for ever
local MAX_INFORMATIONAL = 32

-- The times after which a read and a write of the connection end; set only where they change.
function exchange.set_timeouts(conn, read_ms, write_ms)
    if conn.read_ms == read_ms and conn.write_ms == write_ms then return end
    conn.read_ms, conn.write_ms = read_ms, write_ms
    conn.socket:setTimeouts(0, read_ms, write_ms)
end

-- A time of the request's own has passed: `which` of them.
function exchange.timed_out(which, ms, message)
    return new_error(ETIMEDOUT, "http", {
        timeout = which, message = message .. " within " .. ms .. " ms",
    })
end

local function is_own_timeout(err) return err.code == ETIMEDOUT and not err.deadline end

-- --- the task that writes a body ----------------------------------------------------------------

-- What it cannot go on after ends the wait for the answer, too.
local function give_up(writer, conn, err)
    writer.err = err
    conn.socket:close(true)
end

local function run_writer(writer, conn, plan, made, on_progress)
    local ok, done, err, is_ours = pcall(body.write, conn.socket, made, plan, on_progress)
    if made.close then made.close() end
    writer.done = true
    if writer.over then return end
    if not ok then
        writer.raised = done
        give_up(writer, conn)
    elseif not done and is_ours then
        give_up(writer, conn, err)
    elseif not done then
        -- The server does not take it: it may have said why.
        writer.refused = err
    end
    writer.ended_at = now()
end

local function start_writer(conn, plan, made, o)
    local writer = { done = false }
    writer.task = core.spawn(run_writer, writer, conn, plan, made, o.onProgress)
    core.own(writer.task)
    return writer
end

-- Ends it, where the answer is there already or will not come. True: all had been written.
function exchange.end_writer(writer)
    writer.over = true
    if writer.done then return not (writer.refused or writer.err or writer.raised) end
    writer.task:cancel("the answer has come")
    return false
end

-- --- the head -----------------------------------------------------------------------------------

-- The error of a read while a body is written: what went wrong with that comes first.
local function explain(writer, err)
    if not writer then return nil, err end
    if writer.raised ~= nil then error(writer.raised, 0) end
    if writer.err then return nil, writer.err end
    if writer.refused and err.code == EOF then return nil, writer.refused end
    return nil, err
end

-- How long the head may still take; nil: its time is over. It begins when the body has gone.
local function time_left(writer, limit, began)
    if limit == 0 then return 0 end
    if writer and not writer.done then return limit end
    local left = (writer and writer.ended_at or began) + limit - now()
    return left > 0 and math.ceil(left) or nil
end

-- More bytes of the head.
local function read_more(conn, o, writer, limit, began)
    local socket = conn.socket
    while true do
        local left = time_left(writer, limit, began)
        if not left then return nil, exchange.timed_out("header", limit, "no answer came") end
        exchange.set_timeouts(conn, left, o.idleTimeout)
        local data, err = socket:readSome(HEAD_READ)
        if data then return data end
        if not is_own_timeout(err) then return explain(writer, err) end
    end
end

-- Reads up to a head that is not of an informational answer, or up to 100 (Continue). Returns all
-- that has come from its beginning on, and its length; nil and an error.
local function read_head(conn, o, writer, limit, up_to_continue)
    local reply, data, began = conn.reply, conn.rest, now()
    local count, err = 0
    conn.rest = ""
    if data == "" then
        data, err = read_more(conn, o, writer, limit, began)
        if not data then return nil, err end
    end
    conn.answered = true
    while true do
        local n = fast_head(reply, data)
        if n > 0 then
            local status = reply.status
            if status >= 200 or status == 101 then return data, n end
            count = count + 1
            if count > MAX_INFORMATIONAL then
                local message = "too many informational answers"
                return nil, new_error(PROTOCOL, "http", { message = message })
            end
            data = data:sub(n + 1)
            if status == 100 and up_to_continue then
                conn.rest = data
                return data, 0
            end
        elseif n < 0 then
            return nil, new_error(n, "http")
        end
        if n == 0 or data == "" then
            local more
            more, err = read_more(conn, o, writer, limit, began)
            if not more then return nil, err end
            data = data .. more
        end
    end
end

-- Waits for the word to go on. Returns true where the body is to be sent, false and the head where
-- the answer has come instead; nil and an error.
local function await_continue(conn, o)
    local data, n = read_head(conn, o, nil, CONTINUE_MS, true)
    if data and n > 0 then return false, data, n end
    if data or n.timeout == "header" then return true end
    return nil, n
end

-- --- both ------------------------------------------------------------------------------------

local function send_body(conn, plan, made, o)
    if made.data and #made.data <= AT_ONCE then
        local ok, err = conn.socket:write(made.data)
        if ok and o.onProgress then o.onProgress(#made.data, #made.data) end
        return ok, err
    end
    return true, nil, start_writer(conn, plan, made, o)
end

local function write(conn, plan, made, o)
    local ok, err = conn.socket:write(plan.head)
    if not ok then return nil, err end
    if not made then return true end
    if plan.expect then
        local go_on, data, n = await_continue(conn, o)
        if go_on == nil then return nil, data end
        if not go_on then return true, nil, nil, data, n end
    end
    return send_body(conn, plan, made, o)
end

-- Sends a request and reads the head of the answer: all that has come from its beginning on, its
-- length, and the writer of the body if it goes on; or nil and an error.
function exchange.run(conn, plan, made, o)
    conn.answered = false
    exchange.set_timeouts(conn, o.headerTimeout, o.idleTimeout)
    local ok, err, writer, data, n = write(conn, plan, made, o)
    if not ok then return nil, err end
    if data then
        plan.unsent = true -- the server wants no body: the connection is of no use any more
        return data, n
    end
    data, n = read_head(conn, o, writer, o.headerTimeout, false)
    if data then return data, n, writer end
    if writer then exchange.end_writer(writer) end
    return nil, n
end

-- Reads the head of the next answer of several: as exchange.run.
function exchange.read(conn, o)
    conn.answered = false
    exchange.set_timeouts(conn, o.headerTimeout, o.idleTimeout)
    return read_head(conn, o, nil, o.headerTimeout, false)
end

return exchange
