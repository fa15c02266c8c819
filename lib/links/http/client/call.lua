-- A whole call: a connection from the pool, the request, the answer; again on a new connection
-- where the old one turns out to be dead; again after a failure, where that is asked for; and
-- onwards where the answer redirects.
local core = require "links.core"
local date = require "links.date"
local errors = require "links.errors"
local timer = require "links.timer"
local clock = require "links.http.client.clock"
local exchange = require "links.http.client.exchange"
local head = require "links.http.client.head"
local response = require "links.http.client.response"
local target = require "links.http.client.target"

local now, new_error = core.now, errors.new

local codes = errors.codes
local ETIMEDOUT, EOF = codes.ETIMEDOUT, codes.EOF
local DEAD = { [EOF] = true, [codes.ECONNRESET] = true, [codes.EPIPE] = true }
local TOO_MANY_REDIRECTS, BAD_STATUS = codes.HTTP_TOO_MANY_REDIRECTS, codes.HTTP_BAD_STATUS
local UNSUPPORTED = codes.UNSUPPORTED

-- RFC 9110, 9.2.2: what may be done twice.
local IDEMPOTENT = {
    GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true,
}
local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }
local DISCARD_MAX = 65536 -- bytes of a body that nobody wants, read to keep the connection
local MAX_RETRY_AFTER_MS = 3600000

-- --- one request -----------------------------------------------------------------------------

-- Whether the request may be sent once more: the server has not answered a byte of it, and it
-- either may come twice or did not go out.
local function may_repeat(plan, made, conn, err)
    if not DEAD[err.code] or conn.answered then return false end
    if made and not made.again then return false end
    return IDEMPOTENT[plan.method] or err.partial == 0
end

-- A connection that has been used before may have been closed by the server just now.
local function send(call, made)
    local ready = call.ready
    if ready then
        call.ready, call.res = false, ready
        return ready
    end
    local fresh, repeats = false, IDEMPOTENT[call.plan.method] and (not made or made.again)
    while true do
        local conn, err = call.pool:acquire(call, fresh, repeats)
        if not conn then return nil, err end
        call.conn = conn
        local data, n, writer = exchange.run(conn, call.plan, made, call.o)
        if data then
            call.first = clock()
            local res = response.new(call, conn, data, n, writer)
            call.conn, call.res = false, res
            return res
        end
        call.conn = false
        call.pool:drop(conn, true)
        err = n
        if fresh or conn.uses == 0 or not may_repeat(call.plan, made, conn, err) then
            if err.code == EOF then
                err = new_error(EOF, "http", {
                    address = call.to.key, message = "the connection ended before an answer",
                })
            end
            return nil, err
        end
        fresh = true
    end
end

-- RFC 9110, 10.1.1: a server that does not know Expect answers 417, and gets the request without.
local function send_expecting(call, made)
    local res, err = send(call, made)
    if not res or res.status ~= 417 or not call.plan.expect or not (made and made.again) then
        return res, err
    end
    response.discard(res, DISCARD_MAX)
    call.plan.head = call.plan.head:gsub("\r\nExpect: 100%-continue\r\n", "\r\n")
    call.plan.expect, call.plan.unsent = false, false
    res, err = send(call, made)
    return res, err
end

-- --- once more after a failure ---------------------------------------------------------------

local function listed(list, what)
    for _, item in ipairs(list) do
        if item == what then return true end
    end
    return false
end

-- Milliseconds that the server asks for: seconds, or a date (RFC 9110, 10.2.3).
local function retry_after(res)
    local value = res and res.headers["retry-after"]
    if not value then return nil end
    if value:find("^%d+$") then return math.min(tonumber(value) * 1000, MAX_RETRY_AFTER_MS) end
    local at = date.parseHttp(value)
    if not at then return nil end
    return math.min(math.max((at - os.time()) * 1000, 0), MAX_RETRY_AFTER_MS)
end

-- Full jitter: somewhere between nothing and the doubling limit.
local function pause(backoff, count, res)
    local limit = math.min((backoff.base or 100) * 2 ^ (count - 1), backoff.max or 5000)
    return math.max(retry_after(res) or 0, math.random() * limit)
end

local function wants_retry(call, made, res, err, count)
    local o = call.o
    if count >= o.retries or not IDEMPOTENT[call.plan.method] or (made and not made.again) then
        return false
    end
    if res then return listed(o.retryOn, res.status) end
    return listed(o.retryOn, err.name) or (err.code == EOF and listed(o.retryOn, "ECONNRESET"))
end

local function send_retrying(call, made)
    local count = 0
    while true do
        local res, err = send_expecting(call, made)
        if not wants_retry(call, made, res, err, count) then return res, err end
        count = count + 1
        local ms = pause(call.o.backoff, count, res)
        -- What would come after the end of the call is of no use to it.
        if call.deadline and now() + ms >= call.deadline then return res, err end
        if res then response.discard(res, DISCARD_MAX) end
        local ok
        ok, err = timer.sleep(ms)
        if not ok then return nil, err end
    end
end

-- --- redirects -------------------------------------------------------------------------------

local SECRET = { authorization = true, cookie = true, ["proxy-authorization"] = true, host = true }
local OF_BODY = {
    ["content-type"] = true, ["content-length"] = true, ["content-encoding"] = true,
    ["content-language"] = true, ["content-location"] = true, expect = true,
}

local function without(headers, names)
    if not headers then return nil end
    local kept = {}
    for name, value in pairs(headers) do
        if not names[name:lower()] then kept[name] = value end
    end
    return kept
end

local function location_of(res)
    if not REDIRECTS[res.status] then return nil end
    local location = res.headers.location
    return location ~= "" and location or nil
end

-- Fetch, 4.4 (HTTP-redirect fetch), and RFC 9110, 15.4: what becomes of the method and the body.
local function rewrite(plan, status)
    local method = plan.method
    local drops = (status == 303 and method ~= "HEAD" and method ~= "GET")
        or ((status == 301 or status == 302) and method == "POST")
    if not drops then return method, false end
    return "GET", true
end

local function failed_redirect(code, to, message)
    return nil, new_error(code, "http", { address = to.key, message = message })
end

-- The plan and the target of the next request, and whether it has the body.
local function next_hop(call, made, res, location)
    local from, o = call.to, call.o
    local to, err = target.follow(from, location)
    if not to then return nil, err end
    if o.unix and not to.unix then to = target.with_unix(to, o.unix) end
    if from.scheme == "https" and to.scheme == "http" and not o.allowDowngrade then
        return failed_redirect(UNSUPPORTED, to,
            "a redirect from https to http, and options.allowDowngrade is not set")
    end
    local old = call.plan
    local method, drops = rewrite(old, res.status)
    if made and not drops and not made.again then
        return failed_redirect(UNSUPPORTED, to, "a redirect of a body that cannot be sent again")
    end
    local plan = {
        method = method, headers = old.headers, inherited = old.inherited,
        authorization = old.authorization,
    }
    if to.key ~= from.key or to.authority ~= from.authority then
        plan.headers = without(plan.headers, SECRET)
        plan.inherited = without(plan.inherited, SECRET)
        plan.authorization = nil
    end
    if to.user then
        plan.authorization, err = head.authorization(nil, to.user)
        if not plan.authorization then return nil, err end
    end
    if drops then
        plan.headers = without(plan.headers, OF_BODY)
        plan.inherited = without(plan.inherited, OF_BODY)
    end
    return plan, nil, to, drops
end

local function follow(call, made)
    while true do
        local o = call.o
        local res, err = send_retrying(call, made)
        if not res then return nil, err end
        res.url = call.to.url or target.url(call.to)
        local location = o.redirects > 0 and location_of(res)
        if not location then return res end
        local before = call.redirects or {}
        if #before >= o.redirects then
            response.discard(res, 0)
            return failed_redirect(TOO_MANY_REDIRECTS, call.to, nil)
        end
        local plan, to, drops
        plan, err, to, drops = next_hop(call, made, res, location)
        if not plan then
            response.discard(res, 0)
            return nil, err
        end
        response.discard(res, DISCARD_MAX)
        if drops then made = nil end
        local ok
        ok, err = head.make(plan, to, o, made)
        if not ok then return nil, err end
        before[#before + 1] = res.url
        call.redirects, call.plan, call.to = before, plan, to
    end
end

-- --- all of it -------------------------------------------------------------------------------

local function is_expected(res, expected)
    if type(expected) == "number" then return res.status == expected end
    return listed(expected, res.status)
end

local function perform(call, made)
    local ok, err = head.make(call.plan, call.to, call.o, made)
    if not ok then return nil, err end
    local res
    res, err = follow(call, made)
    if not res then return nil, err end
    local o = call.o
    if o.stream then
        res.body = nil
    else
        ok, err = response.collect(res)
        if not ok then return nil, err end
    end
    if o.expectStatus and not is_expected(res, o.expectStatus) then
        res:close()
        return nil, new_error(BAD_STATUS, "http", {
            status = res.status, response = res,
            message = "the status is " .. res.status .. " " .. res.reason,
        })
    end
    return res
end

-- Whatever ends the call early has to let go of its connection.
local function clean_up(call)
    if call.conn then call.pool:drop(call.conn, true) end
    if call.res then call.res:close() end
end

-- The deadline that struck is this call's own, and none around it.
local function own_timeout(call, err)
    local code = err.pool and codes.POOL_TIMEOUT or ETIMEDOUT
    return new_error(code, "http", {
        address = call.to.key, timeout = "total",
        message = "no answer within " .. call.o.timeout .. " ms",
    })
end

local function run(call, made)
    local timeout = call.o.timeout
    if timeout == 0 then
        local ok, res, err = pcall(perform, call, made)
        return ok, res, err
    end
    local outer, outer_cut, scope = core.deadlinePush(timeout)
    call.deadline = now() + timeout
    local ok, res, err = pcall(perform, call, made)
    local cut = core.deadlinePop(outer, outer_cut, scope)
    -- Deadlines are whole milliseconds.
    if cut and err and err.deadline and now() > call.deadline - 1 then
        err = own_timeout(call, err)
    end
    return ok, res, err
end

local M = {}

-- Makes a call (start.lua); `made` is the body (body.lua) or nil. Waits; an answer, or nil and an
-- error.
function M.run(call, made)
    if not call.ready then call.from = clock() end
    local ok, res, err = run(call, made)
    if ok and res then
        if call.o.stream then res._deadline = call.deadline end
        return res
    end
    clean_up(call)
    if not ok then error(res, 0) end
    return nil, err
end

return M
