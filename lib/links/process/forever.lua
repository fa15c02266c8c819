-- Children of process.fork that are kept running: started again when they die, later and later
-- while they die young.
local core = require "links.core"
local binding = require "links.process.ffi"
local start = require "links.process.start"
local Child = require "links.process.child"

local C = binding.C

local forever = {
    -- Milliseconds: the first pause, which doubles up to the longest; and how long a child must
    -- have lived for the next pause to be the first again.
    first = 10,
    longest = 30000,
    grown = 60000,
    -- Told of each death, before the pause.
    report = function() end,
}

-- Those that are kept, by the first id that each had. For the process, not for this load of the
-- module.
local kept = core.processKept or {}
core.processKept = kept

local Entry = {}
Entry.__index = Entry

-- Starts it anew. Where that fails it counts as one that has died at once.
function Entry:start()
    local handle, err = start.now(self.what)
    self.restarts = self.restarts + 1
    self.began = core.now()
    if not handle then
        self.handle, self.reason = nil, err
        return
    end
    self.handle, self.pid = handle, handle.pid
end

function Entry:pause()
    if core.now() - self.began >= forever.grown then self.delay = forever.first end
    local delay = self.delay
    self.delay = math.min(delay * 2, forever.longest)
    self.paused = delay
    forever.report(self:describe(), delay)
    core.park(self.queue, delay, "restart")
    self.paused = nil
end

function Entry:exhausted()
    return self.max > 0 and self.restarts >= self.max
end

-- A task that only works for the program has its cancellation from somebody who meant all tasks: it
-- goes on in another one, unless the process ends.
function Entry:watch()
    while not self.stopped do
        if self.handle then
            local status = Child.wait_for(self.handle)
            if not status then break end
            self.reason = status
        end
        if self.stopped then break end
        if self:exhausted() then
            forever.report(self:describe(), nil)
            self.stopped = true
            break
        end
        self:pause()
        if self.stopped or C.links_ending_due() ~= 0 then break end
        self:start()
    end
    if self.stopped or C.links_ending_due() ~= 0 then
        if kept[self.first] == self then kept[self.first] = nil end
        return
    end
    core.spawn(self.watch, self)
end

function Entry:describe()
    return {
        pid = self.pid,
        firstPid = self.first,
        file = self.file,
        args = self.args,
        restarts = self.restarts,
        maxRestarts = self.max,
        reason = self.reason,
        running = self.handle ~= nil and self.handle.ended == 0,
        delay = self.paused,
    }
end

--- Keeps a child that has just been started running.
function forever.keep(handle, what, file, args, max)
    local entry = setmetatable({
        handle = handle,
        pid = handle.pid,
        first = handle.pid,
        what = what,
        file = file,
        args = args,
        max = max,
        restarts = 0,
        delay = forever.first,
        began = core.now(),
        queue = core.queue(),
    }, Entry)
    kept[entry.first] = entry
    core.spawn(entry.watch, entry)
end

--- The entry of the child that has, or once had, that id.
function forever.find(pid)
    if kept[pid] then return kept[pid] end
    for _, entry in pairs(kept) do
        if entry.pid == pid then return entry end
    end
end

--- Lets it not be started again.
function forever.forget(entry)
    entry.stopped = true
    kept[entry.first] = nil
    core.wakeAll(entry.queue)
end

--- What there is to know of all that are kept, in the order of their start.
function forever.list()
    local all = {}
    for _, entry in pairs(kept) do all[#all + 1] = entry:describe() end
    table.sort(all, function(a, b) return a.firstPid < b.firstPid end)
    return all
end

return forever
