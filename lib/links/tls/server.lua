-- What servers that speak TLS have in common, whatever else they speak.
local ffi = require "ffi"
local check = require "links.check"
local core = require "links.core"
local errors = require "links.errors"
local report = require "links.report"
local binding = require "links.tls.ffi"
local contexts = require "links.tls.context"

local C, AGAIN = binding.C, binding.AGAIN

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

local code_out = ffi.new("int[1]")
local reason_out, who_out = ffi.new("const char *[1]"), ffi.new("const char *[1]")

-- Tells of handshakes that fail, in a line a minute at most.
local function tell_failures(handle)
    while true do
        local n = C.links_tls_failed(handle, code_out, reason_out, who_out)
        if n > 0 then
            local reason, who = ffi.string(reason_out[0]), ffi.string(who_out[0])
            local err = errors.new(code_out[0], "tls handshake",
                { message = reason ~= "" and reason or nil, address = who ~= "" and who or nil })
            report.write("warn", (n == 1 and "a client has failed: " or n ..
                " clients have failed, the last one: ") .. tostring(err))
        else
            local status = n == AGAIN and core.wait() or n
            if status ~= 0 then return end
        end
    end
end

-- For servers that have nobody else to tell of them.
function server.tell_failures(ctx)
    if ctx._told then return end
    ctx._told = true
    core.spawn(tell_failures, ctx._h)
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
