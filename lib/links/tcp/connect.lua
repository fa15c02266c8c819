-- From a port and a host to a connected socket: names to addresses, and of several addresses the
-- one that answers first (Happy Eyeballs, RFC 8305).
local ffi = require "ffi"
local core = require "links.core"
local errors = require "links.errors"
local task = require "links.task"
local binding = require "links.tcp.ffi"
local sockets = require "links.tcp.socket"

local C, AGAIN = binding.C, binding.AGAIN
local wait, new_error = core.wait, errors.new

local ETIMEDOUT, EADDRNOTAVAIL = -errors.code("ETIMEDOUT"), -errors.code("EADDRNOTAVAIL")
local STAGGER_MS = 250 -- RFC 8305, 8: Connection Attempt Delay

local connect = {}

-- All addresses of a name, in the order in which they are to be tried: {{address =, family =},
-- ...}.
local function lookup(host, family)
    local found, err = require("links.dns").lookup(host, { family = family })
    return found, err
end

-- Alternates between the families, beginning with that of the first address (RFC 8305, 4).
local function interleave(addresses)
    local mine, other, mixed = {}, {}, {}
    for _, a in ipairs(addresses) do
        local list = a.family == addresses[1].family and mine or other
        list[#list + 1] = a
    end
    for i = 1, math.max(#mine, #other) do
        mixed[#mixed + 1] = mine[i]
        mixed[#mixed + 1] = other[i]
    end
    return mixed
end

-- One attempt: a pointer that nobody owns yet, or nil and a status. `open` makes the socket.
local function attempt(open, timeout)
    local out = ffi.new("links_tcp *[1]")
    local rc = open(out)
    if rc < 0 then return nil, rc end
    -- Owned while this waits, so that no error on the way can lose it.
    local pointer = ffi.gc(out[0], C.links_tcp_free)
    rc = C.links_tcp_connected(pointer, timeout)
    while rc == AGAIN do
        local status = wait()
        rc = status ~= 0 and status or C.links_tcp_connected(pointer, timeout)
    end
    if rc == 0 then return ffi.gc(pointer, nil) end
    C.links_tcp_free(ffi.gc(pointer, nil))
    return nil, rc
end

connect.attempt = attempt

local function to_address(port, address, options)
    return function(out)
        return C.links_tcp_connect(out, address, port, options)
    end
end

local function failure(status, port, address)
    return new_error(status, "connect", { address = address, port = port })
end

-- The task of one attempt of a race.
local function runner(race, port, address, options)
    local pointer, status = attempt(to_address(port, address, options), 0)
    race.pending = race.pending - 1
    if pointer and race.over then
        C.links_tcp_free(pointer)
    elseif pointer then
        race.over, race.winner = true, ffi.gc(pointer, C.links_tcp_free)
    elseif not race.over then
        race.err = failure(status, port, address)
    end
    core.wakeOne(race.queue)
end

local function start(race, port, address, options)
    local t = core.spawn(runner, race, port, address, options)
    core.own(t)
    race.tasks[#race.tasks + 1] = t
    race.pending = race.pending + 1
end

local function stop(race)
    race.over = true
    for _, t in ipairs(race.tasks) do core.cancel(t) end
end

-- A new attempt whenever one has failed, or has not answered within `stagger`.
local function run_race(port, addresses, options, deadline, stagger)
    local race = { queue = core.queue(), tasks = {}, pending = 0, over = false }
    local tried = 0
    while true do
        if tried < #addresses then
            tried = tried + 1
            start(race, port, addresses[tried].address, options)
        end
        local more = tried < #addresses
        local status
        repeat
            local left = deadline - core.now()
            local slice = more and stagger and math.min(stagger, left) or left
            status = slice > 0 and core.park(race.queue, deadline < math.huge and slice or
                (more and stagger or nil), "tcp connect") or ETIMEDOUT
            if race.winner then
                stop(race)
                return ffi.gc(race.winner, nil)
            end
            local late = core.now() >= deadline
            if late or (status ~= 0 and status ~= ETIMEDOUT) then
                stop(race)
                return nil, failure(late and ETIMEDOUT or status, port, addresses[tried].address)
            end
        until status == ETIMEDOUT or race.pending == 0 or (status == 0 and more)
        if race.pending == 0 and not more then return nil, race.err end
    end
end

-- The addresses of a host, which may be one itself: {{address =, family =}, ...}; within `timeout`
-- ms, 0: as long as it takes.
local function find(port, host, family, timeout)
    local is = C.links_tcp_is_ip(host, #host)
    if is ~= 0 then return { { address = host, family = is } } end
    if timeout == 0 then return lookup(host, family) end
    local began = core.now()
    local found, err = task.withTimeout(timeout, lookup, host, family)
    -- This deadline is the connection's own, and no other that lies around it.
    if err and err.deadline and core.now() - began >= timeout then
        err = failure(ETIMEDOUT, port, host)
    end
    return found, err
end

-- Connects to the first of several addresses that answers: a pointer that nobody owns yet, or nil
-- and an error. `about` has the checked options of tcp.connect, `options` is what C gets of them;
-- of about.connectTimeout is left what came after `began`.
local function reach(port, addresses, about, options, began)
    local timeout = about.connectTimeout
    if #addresses == 1 then
        local left = timeout > 0 and math.max(timeout - (core.now() - began), 1) or 0
        local address = addresses[1].address
        local pointer, status = attempt(to_address(port, address, options), math.ceil(left))
        if pointer then return pointer end
        return nil, failure(status, port, address)
    end
    local deadline = timeout > 0 and began + timeout or math.huge
    local stagger = about.happyEyeballs and STAGGER_MS or nil
    return run_race(port, interleave(addresses), options, deadline, stagger)
end

connect.find, connect.reach = find, reach

-- Both, for a host.
function connect.open(port, host, about, options)
    local began = core.now()
    local addresses, err = find(port, host, about.family, about.connectTimeout)
    if not addresses then return nil, err end
    if #addresses == 0 then return nil, failure(EADDRNOTAVAIL, port, host) end
    return reach(port, addresses, about, options, began)
end

connect.own = sockets.own

return connect
