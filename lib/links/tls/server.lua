-- What servers that speak TLS have in common, whatever else they speak.
local check = require "links.check"
local contexts = require "links.tls.context"

local server = {}

-- Splits options into those of TLS and the others.
function server.split(options)
    local own, others = {}, {}
    for name, value in pairs(options or {}) do
        (contexts.OPTIONS[name] and own or others)[name] = value
    end
    return own, others
end

-- The context of a server of these options.
function server.context(signature, options, level)
    local own = {}
    for name, value in pairs(options) do own[name] = value end
    own.server = true
    local ctx, err = contexts.new(contexts.check(signature, own, level + 1))
    return ctx, err
end

-- Lets a server be given other certificates, and its context end with it unless others `share` it.
function server.own(started, ctx, share)
    local close = started.close
    function started.close(self, ms)
        if not share then ctx:stop() end
        return close(self, ms)
    end
    function started.setTls(_, options)
        local signature = "server:setTls(options)"
        check.type(signature, "options", options, "table")
        local ok, err = ctx:become(signature, options, 1)
        return ok, err
    end
    started.tls = ctx
    return started
end

return server
