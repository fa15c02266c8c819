-- What the workers of a cluster all have in mind and one of them does: whoever is the first to come
-- for a time. There is no leader that could be missing.
local lock = require "links.lock"
local own = require "links.shared.own"
local binding = require "links.process.ffi"
local worker = require "links.process.worker"

local once = {}

local SIZE = 65536
-- Where nobody has come for so many ms an earlier time is no late one: the clock was set back.
local SET_BACK = 60000
-- Until it is released, or its owner has gone.
local FOR_EVER = 2 ^ 39

-- The workers run the same program, so the second job of an expression is the second in all.
local made = {}

local function trace(err)
    return type(err) == "string" and debug.traceback(err, 2) or err
end

-- Whether nobody has come for that time, or for a later one.
local function is_first(dict, key, time)
    local first
    assert(dict:update(key, function(last)
        local now = own.clock()
        first = not last or time > last.time
            or (time < last.time and now - last.at > SET_BACK)
        return first and { time = time, at = now } or last
    end))
    return first
end

--- A function(time) that calls `fn` with it where no other worker does that for the same time, and
--- none is still at it for an earlier one.
function once.wrap(name, fn)
    made[name] = (made[name] or 0) + 1
    local key = ("once %s:%d %s"):format(worker.cluster, made[name], name)
    return function(time)
        -- Who is about to end leaves it to the others.
        if binding.C.links_ending_due() == 1 then return end
        if not is_first(assert(own.open("once", SIZE)), key, time) then return end
        local held, err = lock.acquire(key, { wait = 0, ttl = FOR_EVER })
        if not held then
            if err.name == "LOCKED" then return end
            error(err, 0)
        end
        local ok, failure = xpcall(fn, trace, time)
        held:release()
        if not ok then error(failure, 0) end
    end
end

return once
