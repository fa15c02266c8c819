-- What runs around a handler: middleware, hooks and the handling of errors, put together once for a
-- route, as functions within functions. Each of them takes a request and a response, and returns
-- what a handler returns.
local errors = require "links.errors"
local tree = require "links.http.tree"

local chain = {}

-- Whether the path of a request has these segments behind the first `skip` ones.
local function is_below(req, skip, prefix, sensitive)
    local path = tree.split(req.rawPath)
    if not path then return false end
    for i, segment in ipairs(prefix) do
        local have = path[skip + i]
        if not have then return false end
        if have ~= segment.text and (sensitive or have:lower() ~= segment.text:lower()) then
            return false
        end
    end
    return true
end

-- A middleware that returns nothing hands on what was within it.
local function around(middleware, inner)
    return function(req, res)
        local called, a, b, c = false, nil, nil, nil
        local function next_()
            if called then error("http: a middleware has called next() twice", 2) end
            called = true
            a, b, c = inner(req, res)
            return a, b, c
        end
        local x, y, z = middleware(req, res, next_)
        if x == nil and y == nil and called then return a, b, c end
        return x, y, z
    end
end

local function only_below(wrapped, inner, skip, prefix, sensitive)
    return function(req, res)
        if is_below(req, skip, prefix, sensitive) then return wrapped(req, res) end
        return inner(req, res)
    end
end

-- "yes", "no", or "ask" where it depends on the request.
local function applies(prefix, skip, segments, sensitive)
    local answer = "yes"
    for i, want in ipairs(prefix) do
        local have = segments and segments[skip + i]
        if segments and not have then return "no" end
        if not have or have.kind == "rest" then return "ask" end
        if have.kind == "param" then
            answer = "ask"
        elseif have.text ~= want.text
            and (sensitive or have.text:lower() ~= want.text:lower()) then
            return "no"
        end
    end
    return answer
end

local function with_hooks(owner, inner)
    local before, after = owner.befores, owner.afters
    if #before == 0 and #after == 0 then return inner end
    return function(req, res)
        local a, b, c
        for i = 1, #before do
            a, b, c = before[i](req, res)
            if a ~= nil or b ~= nil then break end
        end
        if a == nil and b == nil then a, b, c = inner(req, res) end
        for i = 1, #after do
            local x, y, z = after[i](req, res, a, b, c)
            if x ~= nil or y ~= nil then a, b, c = x, y, z end
        end
        return a, b, c
    end
end

local function with_errors(handler, inner)
    return function(req, res)
        local trace
        local ok, a, b, c = xpcall(inner, function(err)
            trace = debug.traceback("", 2)
            return err
        end, req, res)
        if ok and (a ~= nil or not errors.is(b)) then return a, b, c end
        local err = b
        if not ok then err = a end
        local x, y, z = handler(err, req, res, trace)
        if x ~= nil or y ~= nil then return x, y, z end
        -- It only looked: the server does what it does without it.
        if ok then return a, b, c end
        error(err, 0)
    end
end

--- Puts together what runs for a route.
---
--- @param route      table    .handler, or .make(route), which makes it; .middleware (its own),
---                            .segments (nil where any path may come),
---                            .owners: the routers that it belongs to, the outermost first, each
---                            {router =, skip = segments of the path that belong to those around
---                            it}
--- @param sensitive  boolean  whether the case of letters counts
--- @return function           handler(req, res)
function chain.build(route, sensitive)
    local run = route.make and route.make(route) or route.handler
    for i = #route.middleware, 1, -1 do run = around(route.middleware[i], run) end
    for i = #route.owners, 1, -1 do
        local owner = route.owners[i]
        local router = owner.router
        run = with_hooks(router, run)
        for j = #router.uses, 1, -1 do
            local use = router.uses[j]
            local answer = applies(use.prefix, owner.skip, route.segments, sensitive)
            if answer == "yes" then
                run = around(use.fn, run)
            elseif answer == "ask" then
                run = only_below(around(use.fn, run), run, owner.skip, use.prefix, sensitive)
            end
        end
        if router.errorHandler then run = with_errors(router.errorHandler, run) end
    end
    return run
end

return chain
