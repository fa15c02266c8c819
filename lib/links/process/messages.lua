--- Messages between processes: a parent and the children that it has forked with the option `ipc`,
--- and these children among each other. All of these are functions of the module `process`.
---
--- A message is any Lua value made of nil, booleans, numbers, strings, null, 64-bit integers and
--- tables of these; metatables do not go along, and a table that is in it twice comes as two. It
--- has 16 MiB at most, encoded. Messages of one sender come in the order in which they were sent.
---
--- Who sends waits while 1 MiB is queued for a receiver that does not read. A receiver keeps 1024
--- messages that nobody has asked for, and reads no more then. Messages for others go by the
--- parent.
---
--- `to` is a process id, "master" (the parent), or "*": all others of the family. `from` is a
--- process id, or "master". In a cluster (process.cluster) a number below that of its workers is a
--- worker's, process.workerId: whichever process serves as that one now. What comes from a worker
--- has its workerId for `from`.
local check = require "links.check"
local forever = require "links.process.forever"
local ipc = require "links.process.ipc"

local process = {}

local function check_to(signature, to, level)
    check.type(signature, "to", to, "string|number", level + 1)
    if type(to) == "number" then
        check.integer(signature, "to", to, ipc.workers() > 0 and 0 or 1, 2 ^ 31 - 1, level + 1)
    elseif to ~= "master" and to ~= "*" then
        error(signature .. ' to must be a process id, "master" or "*", not "' .. to .. '"',
            level + 2)
    end
end

local function encode(signature, value, level)
    local payload, why = ipc.encode(value)
    if not payload then error(signature .. " " .. why .. ", which cannot be sent", level + 2) end
    return payload
end

-- The id of the child that had this one, where it is kept running and has another by now.
local function child_of(pid)
    local entry = forever.find(pid)
    return entry and entry.pid or pid
end

--- Sends a message. That it has gone is not that it arrives: the other may end before.
---
--- @param to     integer|string  whom to
--- @param value  any             what
--- @return true
--- @return nil, err              ENOTCONN   this process was started without `ipc`, or the parent
---                                          has gone
---                               ESRCH      there is no such process, or none with `ipc`
---                               TOO_LARGE  it has more than 16 MiB
---                               EPIPE      the other has gone meanwhile
---                               ETIMEDOUT  a deadline came while much was queued
---                               ECANCELED  this task was cancelled then; nothing was sent
--- @raise                        `to` is none of these; a value that cannot be sent, such as a
---                               function, or a table with a cycle: it says which
--- @wait
--- @usage local process = require "process"
--- local ok, err = process.send("master", { hello = "world" })
--- assert(ok or err.name == "ENOTCONN")
function process.send(to, value)
    local signature = "process.send(to, value)"
    check_to(signature, to, 1)
    local payload = encode(signature, value, 1)
    local list, whom = ipc.find(to, child_of)
    if not list then return nil, whom end
    local ok, err = ipc.send(list, whom, payload)
    return ok, err
end

--- Waits for a message. While there are functions of process.on("message") those get them all.
---
--- @param ms  number          how long to wait at most, in milliseconds; 0 only looks. Default: as
---                            long as it takes
--- @return any, nil, from     the value, and who sent it
--- @return nil, err           ETIMEDOUT  none came within `ms`, or a deadline came
---                            ENOTCONN   there is nobody who could send one
---                            EOF        there is nobody any more
---                            ECANCELED  this task was cancelled
--- @raise                     `ms` is not a number of milliseconds
--- @wait
--- @usage local process = require "process"
--- local value, err = process.receive(1)
--- assert(value == nil and err.name == "ENOTCONN")
function process.receive(ms)
    check.timeout("process.receive([ms])", "ms", ms)
    local value, err, from = ipc.receive(ms)
    return value, err, from
end

--- Sends a request, and waits for what the function of process.onRequest at the other end makes of
--- it.
---
--- @param to     integer|string  a process id or "master"
--- @param value  any             what is asked
--- @param ms     number          how long to wait at most, in milliseconds. Default: as long as it
---                               takes
--- @return any                   the answer
--- @return nil, err              as process.send, and
---                               ETIMEDOUT    no answer came within `ms`, or a deadline came
---                               UNSUPPORTED  nobody answers there
---                               ERROR        the function raised: err.message is what
---                               EPIPE        the other has gone without an answer
---                               FULL         65536 requests wait already
---                               and any error that the function returned
--- @raise                        as process.send; `ms` is not a number of milliseconds
--- @wait
--- @usage local process = require "process"
--- local answer, err = process.request("master", "how are you?", 1000)
--- assert(answer or err.name == "ENOTCONN")
function process.request(to, value, ms)
    local signature = "process.request(to, value[, ms])"
    check_to(signature, to, 1)
    if to == "*" then error(signature .. ' to must be one process, not "*"', 2) end
    check.timeout(signature, "ms", ms)
    local payload = encode(signature, value, 1)
    local list, whom = ipc.find(to, child_of)
    if not list then return nil, whom end
    local answer, err = ipc.request(list[1], whom, payload, ms)
    return answer, err
end

--- Answers requests: what the function returns is the answer. It runs in a task of its own for each
--- request, 1024 at a time. One that returns `nil, err`, or raises, makes that the answer; what it
--- raises is printed here too.
---
--- @param fn  function  fn(value, from) -> answer; nil: requests are answered no more
--- @return true
--- @raise               `fn` is no function
--- @usage local process = require "process"
--- process.onRequest(function(value) return value * 2 end)
--- process.onRequest(nil)
function process.onRequest(fn)
    check.type("process.onRequest(fn)", "fn", fn, "function|nil")
    ipc.answer(fn)
    return true
end

--- Ends the way for messages to a child or the parent. What was sent before still goes; the other
--- gets an end, and so does what waits here for an answer from there.
---
--- @param to  integer|string  a child's process id, "master" or "*"
--- @return true
--- @return nil, err           ENOTCONN, ESRCH  there is no such way
--- @raise                     `to` is none of these
--- @usage local process = require "process"
--- assert(process.disconnect("*"))
function process.disconnect(to)
    check_to("process.disconnect(to)", to, 1)
    local list, whom = ipc.find(to, child_of)
    if not list then return nil, whom end
    ipc.disconnect(list)
    return true
end

return process
