-- Waiting for one's turn among the tasks of all processes: who comes first stands first in a list
-- in shared memory, and is rung for by whoever makes room.
local timer = require "links.timer"
local errors = require "links.errors"
local bell = require "links.shared.bell"

local turns = {}

local ETIMEDOUT = -errors.code("ETIMEDOUT")
-- A waiter looks by himself so often: for an owner that has died, or a datagram that was lost.
local LOOK_MS = 100
-- So many wait in order. Further ones only look: those who have given up stay in the list until it
-- is their turn, and must not fill the memory of all.
local QUEUE_MAX = 256

-- By name: what wakes a process tells only this.
local dicts = setmetatable({}, { __mode = "v" })

--- Wakes who has waited longest for the key.
function turns.wake(dict, key)
    local entry = dict:pop("w:" .. key)
    if type(entry) ~= "string" then return end
    local port, token = entry:match("^(%d+):(.*)$")
    if port then bell.ring(tonumber(port), token, dict.name .. "\n" .. key) end
end

bell.onUnclaimed(function(_, rest)
    local name, key = rest:match("^([^\n]*)\n(.*)$")
    -- Who was woken has gone meanwhile: it is the next one's turn.
    if name and dicts[name] then turns.wake(dicts[name], key) end
end)

--- Waits in the list of the key until try() does not return false, which is returned then; for at
--- most `ms`: false. `what` is waited for, as `token`, which nobody else is. ends(), or nil: in how
--- many ms it may be free by itself.
function turns.wait(dict, key, token, ms, try, what, ends)
    local give_up = timer.now() + ms
    local port, err = bell.enter(token)
    if not port then return nil, err end
    dicts[dict.name] = dict
    local entry, side, got = port .. ":" .. token, "right", nil
    local status = 0
    while true do
        -- Whoever wakes this one has taken it out of the list.
        if status == 0 and (dict:len("w:" .. key) or 0) < QUEUE_MAX then
            local stands, problem = dict:push("w:" .. key, entry, side)
            if not stands then
                err = problem
                break
            end
            side = "left"
        end
        -- There may have been room just before this one was in the list.
        got, err = try()
        if got ~= false then break end
        local left = give_up - timer.now()
        if left <= 0 then break end
        status = bell.wait(token, math.min(left, LOOK_MS, ends and ends() or LOOK_MS), what)
        if status ~= 0 and status ~= ETIMEDOUT then
            got, err = nil, errors.new(status, what)
            break
        end
        bell.again(token)
    end
    bell.leave(token)
    return got, err
end

return turns
