-- From the arguments of http.get and the others to a call: what the caller got wrong is raised
-- here.
local check = require "links.check"
local errors = require "links.errors"
local body = require "links.http.client.body"
local call = require "links.http.client.call"
local head = require "links.http.client.head"
local options = require "links.http.client.options"
local target = require "links.http.client.target"

local start = {}

local SECRET = { authorization = true, cookie = true, ["proxy-authorization"] = true }

-- The options of a call: its own over those of the client.
local function merge(client, given)
    if not given then return client._defaults end
    local o = setmetatable({}, client._options_meta)
    for name, value in pairs(given) do o[name] = value end
    return o
end

local function target_of(client, url, o)
    local to, err
    if client._base then
        to, err = target.resolve(client._base, url)
    else
        to, err = target.parse(url)
    end
    if not to then return nil, err end
    if o.query then to = target.with_query(to, o.query) end
    if o.unix and not to.unix then to = target.with_unix(to, o.unix) end
    return to
end

-- What a client with a base was given to identify itself is for that server, and for no other.
local function for_this_server(client, to, inherited, auth, is_own)
    if not client._base_key or to.key == client._base_key then return inherited, auth end
    local kept = {}
    for name, value in pairs(inherited or {}) do
        if not SECRET[name:lower()] then kept[name] = value end
    end
    return kept, is_own and auth or nil
end

-- Checks what was given, and raises at the line of whoever called the public function that calls
-- this, `level` functions up.
function start.check(signature, url, given, known, level)
    check.type(signature, "url", url, "string", level + 1)
    if given == nil then return end
    options.check(signature, given, known, level + 1)
    if given.headers then head.check(signature, given.headers, level + 1) end
end

-- A call, for call.run; nil and an error.
function start.prepare(client, method, url, given)
    local o = merge(client, given)
    local to, err = target_of(client, url, o)
    if not to then return nil, err end
    local inherited = client._defaults.headers
    local auth = o.auth
    inherited, auth = for_this_server(client, to, inherited, auth, given and given.auth)
    -- All fields that they will have, so that neither of these tables has to grow.
    local plan = {
        method = method, headers = given and given.headers, inherited = inherited,
        authorization = false, head = false, chunked = false, length = false, close = false,
        expect = false, host = false, unsent = false,
    }
    if auth or to.user then
        plan.authorization, err = head.authorization(auth, to.user)
        if not plan.authorization then return nil, err end
    end
    return {
        pool = client._pool, to = to, o = o, plan = plan, timing = false, redirects = false,
        from = 0, first = 0, conn = false, res = false, deadline = false, ready = false,
        failed = false,
    }
end

-- Makes the call; `made` is a body (body.lua) or nil. Waits.
function start.run(client, method, url, made, given)
    local this, err = start.prepare(client, method, url, given)
    if not this then return nil, err end
    return call.run(this, made)
end

-- Makes a prepared call. Waits.
function start.finish(prepared)
    if prepared.failed then return nil, prepared.failed end
    return call.run(prepared, nil)
end

-- All of it, for the public functions whose body is an argument or an option.
function start.request(client, signature, method, url, value, given, known)
    start.check(signature, url, given, known, 2)
    local made, err
    if value ~= nil or (given and (given.json ~= nil or given.form ~= nil)) then
        made, err = body.make(signature, value, given or {}, 2)
        if err then return nil, err end
    end
    return start.run(client, method, url, made, given)
end

-- The state of a client, from its checked options.
function start.client(given)
    local defaults = options.defaults(given)
    local client = {
        _defaults = defaults, _options_meta = { __index = defaults },
        _pool = require("links.http.client.pool").new(defaults), _base = defaults.baseUrl,
    }
    if client._base then
        local to, err = target.parse(client._base)
        if not to then return nil, err end
        if to.unix then
            return nil, errors.new(errors.code("HTTP_BAD_URL"), "http", {
                message = "a base cannot be a Unix socket: see options.unix",
            })
        end
        client._base_key = defaults.unix and target.with_unix(to, defaults.unix).key or to.key
    end
    return client
end

return start
