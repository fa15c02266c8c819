-- The load: `wrk ... -s wrk.lua URL -- DEPTH [BYTES]` sends DEPTH pipelined requests per write,
-- with BYTES each a POST of so many; it ends with one line for the scripts: completed requests,
-- microseconds, socket errors, replies other than 2xx or 3xx. wrk reads these three globals.
-- luacheck: globals init request done wrk

function init(args)
    local depth = tonumber(args[1]) or 1
    if args[2] then
        wrk.method, wrk.body = "POST", string.rep("x", tonumber(args[2]))
    end
    if depth > 1 then
        local batch = string.rep(wrk.format(), depth)
        function request() return batch end
    end
end

function done(summary)
    local errors = summary.errors
    print(string.format("result %d %d %d %d", summary.requests, summary.duration,
        errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
