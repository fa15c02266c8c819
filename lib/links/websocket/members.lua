-- Who is subscribed to a topic, in all workers of a cluster: lists, and word of who comes and goes.
--
-- C asks the other workers, and hears of changes (src/modules/websocket/members.h). Who watches a
-- topic keeps a list of its members besides. So what it is told of is always the difference to what
-- it was told before: of those of a worker that was killed, who say no word, and of changes that
-- were too many to be handed over, it hears all the same.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local report = require "links.report"
local binding = require "links.websocket.ffi"
local timer = require "links.timer"
local own = require "links.shared.own"
local worker = require "links.process.worker"

local C, AGAIN = binding.C, binding.AGAIN

local members = {}

local ANSWER_MS = 2000 -- for the other workers to answer
local LOOK_MS = 250    -- between two looks whether they are there
local JOINED, LEFT = 66, 67
local ETIMEDOUT, ECANCELED = -errors.code("ETIMEDOUT"), -errors.code("ECANCELED")

-- --- Lists ---------------------------------------------------------------------------------------

local out_question = ffi.new("links_ws_question *[1]")
local out_len = ffi.new("size_t[1]")
local out_data = ffi.new("const char *[1]")
local out_lost = ffi.new("int[1]")

-- Calls fn(member, event) for each record; the first also says which process it is of.
local function each(data, len, fn)
    local at = ffi.cast("const char *", data)
    local stop = at + len
    while at < stop do
        local r = ffi.cast("const links_ws_member *", at)
        local bytes = at + ffi.offsetof("links_ws_member", "bytes")
        local process = ("%d.%d"):format(r.slot, r.serial)
        fn({
            topic = ffi.string(bytes, r.topic_len),
            id = r.ws,
            worker = r.worker >= 0 and r.worker or nil,
            member = r.len > 0 and ffi.string(bytes + r.topic_len, r.len) or nil,
        }, r.event, process)
        at = at + r.size
    end
end

-- Waits until all workers have answered, or `ANSWER_MS` are over: 0 or a code.
local function await(question)
    local until_ms = core.now() + ANSWER_MS
    local rc = C.links_ws_answered(question, LOOK_MS)
    while rc == AGAIN do
        local status = core.wait()
        if status ~= 0 and (status ~= ETIMEDOUT or core.now() >= until_ms) then
            return status
        end
        rc = C.links_ws_answered(question, LOOK_MS)
    end
    return rc
end

-- Calls fn(member, event, process) for each member: 0, or the code of why these are not all.
local function ask(topic, fn)
    local rc = C.links_ws_ask(out_question, topic, #topic)
    if rc < 0 then return rc end
    local question = ffi.gc(out_question[0], C.links_ws_question_free)
    rc = await(question)
    local data = C.links_ws_found(question, out_len)
    each(data, tonumber(out_len[0]), fn)
    C.links_ws_question_free(ffi.gc(question, nil))
    return rc
end

--- The members of a topic: an array, and an error where these are not all.
function members.list(topic)
    local list = {}
    local rc = ask(topic, function(member) list[#list + 1] = member end)
    if rc == 0 then return list end
    return rc ~= ECANCELED and list or nil, errors.new(rc, "websocket members")
end

-- --- Watches -------------------------------------------------------------------------------------

-- By topic: the functions to call, by event, and the members that there are by what these have been
-- told; nil until that is known.
local watches = {}
local is_running = false
local begun = core.queue() -- those who wait until it is

local function matches(pattern, topic)
    if pattern:sub(-1) ~= "*" then return pattern == topic end
    return topic:sub(1, #pattern - 1) == pattern:sub(1, -2)
end

local function tell(watch, event, member)
    for _, fn in ipairs({ unpack(watch[event]) }) do
        local ok, trace = xpcall(fn, report.trace, member)
        if not ok then
            report.write("error", "websocket: error in on(" .. event .. "): " .. trace)
        end
    end
end

local function key_of(member, process) return process .. " " .. member.id .. " " .. member.topic end

local function join(watch, key, member, process)
    if watch.known[key] then return end
    watch.known[key] = { member = member, process = process }
    tell(watch, "join", member)
end

local function leave(watch, keys)
    for _, key in ipairs(keys) do
        local known = watch.known[key]
        watch.known[key] = nil
        if known then tell(watch, "leave", known.member) end
    end
end

-- Asks who is there, and tells the difference.
local function compare(watch)
    local found, order, gone = {}, {}, {}
    local rc = ask(watch.topic, function(member, _, process)
        local key = key_of(member, process)
        found[key] = { member = member, process = process }
        order[#order + 1] = key
    end)
    if not watch.known then
        watch.known = found
        core.wakeAll(begun)
        return
    end
    -- Where a worker has not answered, nobody is gone for that.
    for key in pairs(watch.known) do
        if rc == 0 and not found[key] then gone[#gone + 1] = key end
    end
    leave(watch, gone)
    for _, key in ipairs(order) do join(watch, key, found[key].member, found[key].process) end
end

-- The members of workers that were killed have left.
local function bury(watch)
    local alive, gone = {}, {}
    for key, known in pairs(watch.known) do
        local process = known.process
        if alive[process] == nil then alive[process] = own.is_alive(process) end
        if not alive[process] then gone[#gone + 1] = key end
    end
    leave(watch, gone)
end

local function take(data, len)
    each(data, len, function(member, event, process)
        local key = key_of(member, process)
        for topic, watch in pairs(watches) do
            if watch.known and matches(topic, member.topic) then
                if event == LEFT then leave(watch, { key }) end
                if event == JOINED then join(watch, key, member, process) end
            end
        end
    end)
end

local function each_watch(fn)
    local list = {}
    for _, watch in pairs(watches) do list[#list + 1] = watch end
    for _, watch in ipairs(list) do fn(watch) end
end

local function begin(watch)
    if not watch.known then compare(watch) end
end

-- The task that hears of changes, for as long as somebody watches. Functions are called here, one
-- after the other.
local function run()
    core.shieldPush()
    local looked = core.now()
    local look = worker.id and timer.setInterval(LOOK_MS, function() C.links_ws_look() end)
    if look then look:unref() end
    while next(watches) do
        each_watch(begin)
        local rc = C.links_ws_changes(out_data, out_len, out_lost)
        if rc == 0 then
            local lost = out_lost[0] ~= 0
            take(ffi.string(out_data[0], out_len[0]), tonumber(out_len[0]))
            if lost then each_watch(compare) end
        else
            local status = rc == AGAIN and core.wait() or rc
            if status ~= 0 then break end
        end
        if look and core.now() - looked >= LOOK_MS then
            looked = core.now()
            each_watch(bury)
        end
    end
    if look then look:cancel() end
    is_running = false
end

local function start(topic)
    local rc = C.links_ws_watch(topic, #topic)
    if rc < 0 then return nil, errors.new(rc, "websocket on") end
    local watch = { topic = topic, join = {}, leave = {} }
    watches[topic] = watch
    C.links_ws_look() -- who runs begins with it
    if not is_running then core.spawn(run) end
    is_running = true
    return watch
end

--- Calls fn(member) from now on; waits until that is so.
function members.on(event, topic, fn)
    local watch, err = watches[topic], nil
    if not watch then watch, err = start(topic) end
    if not watch then return nil, err end
    table.insert(watch[event], fn)
    while not watch.known and watches[topic] == watch do
        local status = core.park(begun, nil, "websocket members")
        if status ~= 0 then
            members.off(event, topic, fn)
            return nil, errors.new(status, "websocket on")
        end
    end
    return true
end

--- Calls it no more: whether it was called.
function members.off(event, topic, fn)
    local watch = watches[topic]
    local list, found = watch and watch[event] or {}, false
    for i = #list, 1, -1 do
        if list[i] == fn then found = table.remove(list, i) ~= nil end
    end
    if watch and not watch.join[1] and not watch.leave[1] then
        watches[topic] = nil
        C.links_ws_unwatch(topic, #topic)
        core.wakeAll(begun)
    end
    return found
end

return members
