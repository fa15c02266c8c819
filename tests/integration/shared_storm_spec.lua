-- Processes that work on the same shared memory, and are killed at it: nothing is corrupted, nobody
-- is stuck. `make soak` runs it at its full length.
package.path = "tests/support/?.lua;" .. package.path

local process = require "process"
local shared = require "shared"
local timer = require "timer"
local program = require "program"

local SOAK = os.getenv "LINKS_SOAK"
local OPERATIONS = SOAK and 1e7 or 50000
local ITEMS = SOAK and 2e6 or 20000
local KILLS = SOAK and 30 or 6
local PAUSE_MS = SOAK and 1000 or 60
local PATIENCE_MS = SOAK and 600000 or 60000
local KEYS, SIZE = 300, 2 ^ 19

-- Writes, changes and removes values that say themselves what they must be, and looks at those of
-- the others. Ends with what it found wrong.
local WRITER = [[
local name, KEYS = %q, %d
local dict = assert(require("shared").open(name, %d, { shards = 4 }))
local counts = assert(require("shared").open(name .. ".counts", 65536))
math.randomseed(require("process").pid)
local random = math.random
local function value_of(key)
    local n = random(3) == 1 and random(3000) or random(100)
    if random(4) == 1 then return { key = key, n = n, text = ("t"):rep(n) } end
    return key .. ":" .. n .. ":" .. ("x"):rep(n)
end
local function check(key, value)
    if value == nil then return end
    local name, n, rest
    if type(value) == "table" then
        name, n, rest = value.key, value.n, value.text
    else
        name, n, rest = value:match("^(k%%d+):(%%d+):(.*)$")
    end
    if name ~= key or #rest ~= tonumber(n) or rest:find("[^tx]") then
        print("corrupt", key, tostring(value))
        os.exit(3)
    end
end
local function checked(what, ok, err)
    if not ok and err and err.name ~= "FULL" and err.name ~= "EXISTS"
        and err.name ~= "NOT_FOUND" then
        print(what, err)
        os.exit(4)
    end
end
local operations = {
    function(key) checked("set", dict:set(key, value_of(key), random(2) == 1 and 50 or nil)) end,
    function(key) checked("add", dict:add(key, value_of(key))) end,
    function(key) checked("replace", dict:replace(key, value_of(key))) end,
    function(key) check(key, dict:get(key)) end,
    function(key) check(key, dict:get(key)) end,
    function(key) check(key, (dict:getStale(key))) end,
    function(key) dict:delete(key) end,
    function(key) dict:expire(key, random(100)) end,
    function(key)
        checked("update", dict:update(key, function(old)
            check(key, old)
            return value_of(key)
        end))
    end,
    function(key) checked("push", dict:push("l" .. key, value_of(key), "left")) end,
    function(key) check(key, dict:pop("l" .. key, random(2) == 1 and "left" or "right")) end,
    function(key) check(key, dict:pop("l" .. key)) end,
    function(key) checked("incr", dict:incr("n" .. key, 1, 0)) end,
}
while true do
    for _ = 1, 500 do operations[random(#operations)]("k" .. random(KEYS)) end
    counts:incr("operations", 500, 0)
end
]]

local function start(code, ...)
    return program.start { "-e", code:format(...) }
end

-- Runs these programs, kills one of them after the other, and starts it again in another process,
-- until there were so many kills and `is_done()`. Fails where one of them has ended by itself.
local function storm(codes, is_done)
    local running, kills, give_up = {}, 0, timer.now() + PATIENCE_MS
    local ended
    local function stop(i)
        local one = running[i]
        if not one then return end
        running[i] = nil
        one:kill("KILL")
        local result = one:wait()
        if result.signal ~= "KILL" then ended = ended or result.out .. result.err end
    end
    finally(function()
        for i = 1, #codes do stop(i) end
    end)
    for i, code in ipairs(codes) do running[i] = start(unpack(code)) end
    while not ended and (kills < KILLS or not is_done()) do
        assert(timer.now() < give_up, "somebody is stuck")
        timer.sleep(PAUSE_MS)
        if kills < KILLS or SOAK then
            local i = math.random(#codes)
            stop(i)
            running[i] = start(unpack(codes[i]))
            kills = kills + 1
        end
    end
    for i = 1, #codes do stop(i) end
    assert(not ended, ended)
    return kills
end

describe("shared memory, while its users are killed", function()
    it("keeps a dictionary whole", function()
        local name = "storm-" .. process.pid
        local dict = assert(shared.open(name, SIZE, { shards = 4 }))
        local counts = assert(shared.open(name .. ".counts", 65536))
        local writer = { WRITER, name, KEYS, SIZE }
        storm({ writer, writer, writer }, function()
            return (counts:get("operations") or 0) >= OPERATIONS
        end)
        -- Nobody holds a lock, and no block has been lost.
        dict:flush()
        local stats = dict:stats()
        assert.equal(0, stats.items)
        assert.equal(stats.capacity, stats.free)
        for i = 1, 1000 do assert(dict:set("after" .. i, ("y"):rep(50))) end
        for i = 1, 1000 do assert.equal(("y"):rep(50), dict:get("after" .. i)) end
    end)

    it("loses of a queue what was in the hands of the killed, and repeats nothing", function()
        local name = "storm-" .. process.pid
        local queue = assert(shared.queue(name, 65536))
        local counts = assert(shared.open(name .. ".counts", 65536))
        local producer = [[
            local queue = assert(require("shared").queue(%q, 65536))
            local me = require("process").pid .. "." .. tostring(require("system").hrtime64())
            for i = 1, 1e12 do
                assert(queue:push({ me, i, ("z"):rep(i %% 300) }))
            end
        ]]
        local consumer = [[
            local queue = assert(require("shared").queue(%q, 65536))
            local counts = assert(require("shared").open(%q, 65536))
            local last = {}
            while true do
                local item = assert(queue:pop())
                local from, i, text = item[1], item[2], item[3]
                if i <= (last[from] or 0) or text ~= ("z"):rep(i %% 300) then
                    print("after", last[from], "came", i)
                    os.exit(3)
                end
                last[from] = i
                counts:incr("taken", 1, 0)
            end
        ]]
        local push, pop = { producer, name }, { consumer, name, name .. ".counts" }
        local kills = storm({ push, push, pop, pop }, function()
            return (counts:get("taken") or 0) >= ITEMS
        end)
        local stats = queue:stats()
        local lost = stats.pushed - stats.items - counts:get("taken")
        -- One for each kill, the last four too; who dies while he pushes may not have been counted.
        assert.is_true(math.abs(lost) <= kills + 4, lost .. " were lost")
        assert.equal(stats.items, queue:flush())
        assert(queue:push("after", 0))
        assert.equal("after", queue:pop(0))
        assert.equal(queue:stats().capacity, queue:stats().free)
    end)
end)
