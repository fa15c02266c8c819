-- The master of a cluster: it keeps a worker in each slot.
--
-- A worker that ends is replaced, later and later while its successors die young. A reload starts
-- one more for each slot, and only when all of them serve the old ones are asked to end; so does
-- the replacement of a single one. The sockets are src/modules/process/cluster.c's.
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local report = require "links.report"
local binding = require "links.process.ffi"
local crash = require "links.process.crash"
local ipc = require "links.process.ipc"
local names = require "links.process.names"
local notify = require "links.process.notify"
local start = require "links.process.start"
local upgrade = require "links.process.upgrade"
local worker = require "links.process.worker"
local Child = require "links.process.child"

local C, AGAIN, STDIO = binding.C, binding.AGAIN, binding.STDIO

-- Milliseconds that a worker must have served for the next pause to be the first again; and for it
-- to end beyond its shutdownTimeout, before it is killed.
local GROWN = 1000
local GRACE = 2500
-- For what a worker that has ended told before.
local LAST_WORDS = 1000

local Master = {}
Master.__index = Master

local SIGKILL, SIGTERM = C.links_signal_number("SIGKILL"), C.links_signal_number("SIGTERM")

-- For the cluster's metrics.
local counts = { restarts = 0, reloads = 0, failed = 0 }

local function random_hex(bytes)
    return require("links.codec").hex.encode(require("links.crypto").randomBytes(bytes))
end

-- What all workers make the keys of their TLS session tickets from, so that a client may come back
-- to another one, and after a reload.
local function ticket_secret()
    return os.getenv("LINKS_TICKET_SECRET") or random_hex(32)
end

-- A task that goes on where somebody cancels all of them.
local function spawn(fn, ...)
    return core.spawn(function(...)
        core.shieldPush()
        fn(...)
    end, ...)
end

local function describe(status)
    if not status then return "was asked to end" end
    if errors.is(status) then return "could not be started: " .. tostring(status) end
    if status.signal then
        local core_file = status.core == true and "core dumped" or status.core
        return "died of " .. status.signal .. (core_file and " (" .. core_file .. ")" or "")
    end
    return "ended with code " .. tostring(status.code)
end

Master.describe = describe

local function name_of(w)
    return "worker " .. w.slot.id .. (w.pid and " (" .. w.pid .. ")" or "")
end

local function warn(...)
    report.write("warn", "cluster: " .. table.concat({ ... }))
end

-- --- One worker --------------------------------------------------------------------------------

-- Waits for what the worker tells.
function Master:listen(w)
    while true do
        local what = C.links_way_next(w.way)
        if what == AGAIN then
            if core.wait() ~= 0 then break end
        elseif what < 0 then
            break
        elseif what == worker.READY then
            w.ready_at = core.now()
            core.wakeAll(w.queue)
        elseif what == worker.RECYCLE and w.slot.current == w then
            spawn(self.recycle, self, w)
        elseif what == worker.LEAVING and w.slot.current == w and not self.ending then
            w.leaves = true
            self:drain(w)
            spawn(self.replace, self, w)
        end
    end
    w.silent = true
    core.wakeAll(w.queue)
end

-- Tells what it was serving, and looks where its core file is.
function Master:examine(w, status)
    local words = crash.last_request(w.way, status, describe({
        signal = status.signal, code = status.code,
    }))
    if words then warn(name_of(w), " ", words) end
    if not status.core then return end
    local o = self.options
    status.core = crash.core({
        pid = w.pid, signal = status.signal, title = worker.title_of(o.title, w.slot.id),
        ids = names.ids(o.uid, o.gid, o.groups),
        folder = o.chroot or self.cwd or require("links.process").cwd(),
    })
end

-- Waits for its end.
function Master:watch(w)
    local status = Child.wait_for(w.handle) or {}
    self:examine(w, status)
    -- What it told last is on its way still.
    local until_ms = core.now() + LAST_WORDS
    while not w.silent and core.now() < until_ms do
        core.park(w.queue, until_ms - core.now(), "last words of a worker")
    end
    w.ended = status
    self.alive[w] = nil
    core.wakeAll(w.queue)
    core.wakeAll(self.ends)
    if w.slot.current == w and not self.ending then self:replace(w) end
end

local out_way = ffi.new("links_way *[1]")
local out_fd = ffi.new("int[1]")

-- Starts a worker in a slot: it, or nil and an error.
function Master:start(slot)
    local rc = C.links_way_open(out_way, slot.id, self.generation, out_fd)
    if rc < 0 then return nil, errors.new(rc, "socketpair") end
    local w = { slot = slot, queue = core.queue(), began = core.now() }
    w.way = ffi.gc(out_way[0], C.links_way_free)
    local o, fd = self.options, out_fd[0]
    local what = start.describe(self.signature, self.program, { unpack(self.argv) }, {
        uid = o.uid, gid = o.gid, cpu = slot.cpu, cwd = not o.chroot and self.cwd or nil,
        env = {
            LINKS_WORKER = worker.settings(slot.id, self),
            LINKS_TICKET_SECRET = self.ticket_secret,
        },
    }, { fd, STDIO.inherit, STDIO.inherit })
    what.readable, what.tied, what.ipc, what.worker = o.file, true, true, slot.id
    what.capabilities = names.capabilities(o.capabilities)
    what.groups, what.chroot, what.no_new_privs = o.groups, o.chroot, o.noNewPrivs
    local handle, err = start.now(what)
    require("links.unix").closeFd(fd)
    if not handle then return nil, err end
    w.handle, w.pid = handle, handle.pid
    self.alive[w] = true
    spawn(self.watch, self, w)
    spawn(self.listen, self, w)
    return w
end

-- Waits until it serves: true, or nil and why it does not.
function Master:await(w)
    local until_ms = w.began + self.options.readyTimeout
    while not w.ended and not w.ready_at do
        local left = until_ms - core.now()
        if left <= 0 or core.park(w.queue, left, "readiness of a worker") ~= 0 and not w.ready_at
            and core.now() >= until_ms then
            return nil, "was not ready within " .. self.options.readyTimeout .. " ms"
        end
        if C.links_ending_due() ~= 0 then return nil, "is not needed any more" end
    end
    if w.ended then return nil, describe(w.ended) .. " before it was ready" end
    return true
end

-- Asks it to end, and sees to it that it does.
function Master:drain(w)
    if w.draining or w.ended then return end
    w.draining = true
    if not w.leaves then C.links_child_kill(w.handle, SIGTERM) end
    spawn(function()
        local until_ms = core.now() + self.options.shutdownTimeout + GRACE
        while not w.ended and core.now() < until_ms do
            core.park(w.queue, until_ms - core.now(), "end of a worker")
        end
        if w.ended then return end
        warn(name_of(w), " did not end, and is killed")
        C.links_child_kill(w.handle, SIGKILL)
    end)
end

-- --- Slots -------------------------------------------------------------------------------------

-- It serves in its slot from now on.
local function install(w)
    w.slot.current = w
    ipc.serves(w.slot.id, w.pid)
end

-- The pause before the next start in a slot.
function Master:pause_of(slot, died)
    -- What is killed while it serves did not fail by itself.
    local was_killed = died.ended and died.ended.signal == "SIGKILL"
    if died.ready_at and (was_killed or core.now() - died.ready_at >= GROWN) then
        slot.delay = self.options.restartDelay
    end
    local delay = slot.delay
    slot.delay = math.min(math.max(delay, 1) * 2, self.options.restartDelayMax)
    return delay
end

-- Starts another one where `died` was, until one can be started, or a reload has brought one.
function Master:replace(died)
    local slot = died.slot
    slot.current = nil
    while not self.ending do
        local delay = self:pause_of(slot, died)
        counts.restarts = counts.restarts + 1
        warn(name_of(died), " ", describe(died.ended), ": starting another one in ", delay, " ms")
        local until_ms = core.now() + delay
        while core.now() < until_ms and not slot.current and not self.ending do
            core.park(slot.queue, until_ms - core.now(), "restart")
        end
        if slot.current or self.ending then return end
        local w, err = self:start(slot)
        if w then
            install(w)
            return spawn(self.check_readiness, self, w)
        end
        died = { slot = slot, ended = err }
    end
end

function Master:check_readiness(w)
    local ok, why = self:await(w)
    if ok or w.ended or self.ending then return end
    warn(name_of(w), " ", why, ", and is killed")
    C.links_child_kill(w.handle, SIGKILL)
end

-- Starts a worker for each of these slots: an array of those that serve, or nil and why one does
-- not; then all of them have been asked to end.
function Master:start_all(slots)
    local fresh, fault = {}, nil
    for _, slot in ipairs(slots) do
        local w, err = self:start(slot)
        if not w then
            fault = "worker " .. slot.id .. " could not be started: " .. tostring(err)
            break
        end
        fresh[#fresh + 1] = w
    end
    for _, w in ipairs(fresh) do
        if fault then break end
        local ok, why = self:await(w)
        if not ok then fault = name_of(w) .. " " .. why end
    end
    for _, w in ipairs(fresh) do
        if not fault and w.ended then fault = name_of(w) .. " " .. describe(w.ended) end
    end
    if not fault and not self.ending then return fresh end
    for _, w in ipairs(fresh) do self:drain(w) end
    return nil, fault or "the cluster ends"
end

-- Puts these in the places of those that serve there.
function Master:exchange(fresh)
    for _, w in ipairs(fresh) do
        local old = w.slot.current
        install(w)
        core.wakeAll(w.slot.queue)
        if old then self:drain(old) end
    end
end

-- --- What comes from outside -------------------------------------------------------------------

--- Replaces all workers by new ones, of the program as it is now. One that is asked for meanwhile
--- comes next.
function Master:reload()
    if self.reloading or self.upgrading then
        self.again = true
        return
    end
    self.reloading = true
    repeat
        self.again = false
        notify.reloading()
        self.generation = self.generation + 1
        local fresh, why = self:start_all(self.slots)
        if fresh then
            for _, slot in ipairs(self.slots) do slot.delay = self.options.restartDelay end
            self:exchange(fresh)
            C.links_cluster_sweep(self.generation)
            self:tell_ready()
            counts.reloads = counts.reloads + 1
        else
            notify.ready("the reload has failed: " .. why)
            counts.failed = counts.failed + 1
            report.write("error",
                "cluster: the reload has failed, and the old workers stay: " .. why)
        end
    until not self.again or self.upgrading or self.ending
    self:settle()
end

-- It reloads no more.
function Master:settle()
    self.reloading = false
    core.wakeAll(self.settled)
end

function Master:tell_ready()
    notify.ready(#self.slots .. (#self.slots == 1 and " worker serves" or " workers serve"))
end

--- Replaces this process by another one, of the program as it is now: see upgrade.run.
function Master:upgrade()
    upgrade.run(self)
end

-- Where a limit is so low that each is there at once, the next one comes later and later.
function Master:put_off(w)
    local ms = core.now() - w.ready_at
    local delay = self:pause_of(w.slot, w)
    if ms >= GROWN then return end
    warn(name_of(w), " was at its limit after ", ("%.0f"):format(ms),
        " ms: starting another one in ", delay, " ms")
    core.park(w.slot.queue, delay, "restart")
end

--- Replaces one worker, which is at a limit.
function Master:recycle(w)
    local slot = w.slot
    if slot.recycling or self.reloading or self.ending then return end
    slot.recycling = true
    self:put_off(w)
    local fresh, why
    if slot.current == w and not self.ending then fresh, why = self:start_all({ slot }) end
    slot.recycling = false
    if why and not self.ending then warn(name_of(w), " stays beyond its limit: ", why) end
    if not fresh then return end
    -- A reload that was faster has brought a newer program.
    local current = slot.current
    if current and current ~= w then return self:drain(fresh[1]) end
    self:exchange(fresh)
end

--- Sends a signal to all that serve.
function Master:signal(signum)
    for w in pairs(self.alive) do
        if w.ready_at and not w.draining then C.links_child_kill(w.handle, signum) end
    end
end

--- Ends all workers, and returns when they have ended.
function Master:finish()
    self.ending = true
    core.wakeAll(self.settled)
    -- A worker takes what is left in its queue with it. Were it kept here, clients would go on
    -- connecting, to be answered by nobody.
    C.links_cluster_close()
    local heir = not self.has_heir and self.heir or nil
    if heir then
        C.links_child_stop(heir.handle)
        core.wakeAll(heir.queue)
    end
    for _, slot in ipairs(self.slots) do core.wakeAll(slot.queue) end
    for w in pairs(self.alive) do
        core.wakeAll(w.queue)
        self:drain(w)
    end
    while next(self.alive) or heir and not heir.status do
        if core.park(self.ends, nil, "end of the workers") ~= 0 then break end
    end
end

--- Starts the workers, and returns when they serve: true; or nil and why one does not, when all
--- have ended. `way` leads to the master that this one is to replace.
function Master:begin(way)
    self.reloading = true -- one that is asked for meanwhile comes next
    local fresh, why = self:start_all(self.slots)
    if fresh and way then
        local ok, again = upgrade.succeed(way)
        if not ok then fresh, why = nil, "the cluster ends" end
        self.again = self.again or again
    end
    self:settle()
    if not fresh then
        self:finish()
        return nil, why
    end
    self:exchange(fresh)
    if way then
        C.links_cluster_own(1)
        C.links_cluster_sweep(self.generation)
        C.links_cluster_trim(#self.slots)
    end
    self:tell_ready()
    for _, w in ipairs(fresh) do
        if w.ended then spawn(self.replace, self, w) end
    end
    if self.again and not self.upgrading then spawn(self.reload, self) end
    return true
end

--- Makes a master, which has not started anything yet. `about`: signature, program (its path), argv
--- of a worker, and the options of process.cluster. `cpus` are the processors by slot.
function Master.new(about, cpus)
    local self = setmetatable(about, Master)
    self.ticket_secret = ticket_secret()
    self.cluster = upgrade.cluster() or random_hex(16)
    self.slots, self.alive, self.ends, self.generation = {}, {}, core.queue(), 1
    self.settled = core.queue() -- who waits for the end of a reload
    core.clusterCounts = counts
    function counts.workers()
        local n = 0
        for _ in pairs(self.alive) do n = n + 1 end
        return n
    end
    for i = 1, about.options.workers do
        self.slots[i] = {
            id = i - 1, queue = core.queue(), delay = about.options.restartDelay,
            cpu = cpus and cpus[(i - 1) % #cpus + 1],
        }
    end
    ipc.join(#self.slots)
    return self
end

return Master
