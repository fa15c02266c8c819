--- Programs under a service manager, such as systemd: what they are started with, and what they
--- tell it. These are functions of the module `process`.
---
--- **Sockets** that the manager has opened (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES:
--- sd_listen_fds(3)) are taken by servers that want to listen where one of them does: at that port
--- of that address, or at that path. A socket for all addresses of IPv6 that takes IPv4 too, as
--- systemd makes them of `ListenStream=80`, is the one for "0.0.0.0" as well. A server takes a
--- socket by its name (`FileDescriptorName=`) where its host is "fd:" and that name:
--- `http.createServer("fd:web", ...)`, `host = "fd:web"` of tcp and the others,
--- `udp.createSocket(0, "fd:dns")`; the second one of a name is "fd:web:2". In a cluster such a
--- socket is one for all workers. A socket is taken once. Where LISTEN_FDS is no number, or a
--- descriptor is not open, the program does not start.
---
--- **Notifications** go to the socket that NOTIFY_SOCKET names (sd_notify(3)), without a word of
--- the program: READY=1 when the first server listens, or the program calls process.ready, and in a
--- cluster when all workers serve; RELOADING=1 and READY=1 around a reload; MAINPID= at an upgrade;
--- STOPPING=1 when the end begins; STATUS= with what a cluster does; and, where there is
--- WATCHDOG_USEC, WATCHDOG=1 twice in that time, by the loop of this process (of a cluster: the
--- master's). What is not taken within a second is left out, with one warning.
---
--- All of these variables are taken out of the environment before the program runs.
local check = require "links.check"
local notify = require "links.process.notify"
local start = require "links.process.start"

local process = {}

local NOTIFY = "process.notify(state)"

--- Tells the service manager something of the program's own, such as its status for `systemctl
--- status`.
---
--- @param state  table  assignments, name = string or number: { STATUS = "12 users" }. Names are of
---                      capitals, digits and underscores, values have no line end
--- @return true
--- @return nil, err     NOT_FOUND  there is no such manager, or this is a worker, for which the
---                                 master speaks
---                      ECONNREFUSED, ENOENT, EAGAIN, ...  it does not listen
--- @raise               `state` is not such a table
--- @usage local process = require "process"
--- local ok, err = process.notify({ STATUS = "warming up" })
--- assert(ok or err.name == "NOT_FOUND")
function process.notify(state)
    check.type(NOTIFY, "state", state, "table")
    local lines = {}
    for name, value in pairs(state) do
        if type(name) ~= "string" or not name:find("^[A-Z][A-Z0-9_]*$") then
            error(NOTIFY .. " the name of an assignment must be of capitals, digits and"
                .. " underscores, not " .. tostring(name), 2)
        end
        check.type(NOTIFY, name, value, "string|number")
        start.check_text(NOTIFY, name, tostring(value), 1)
        if tostring(value):find("\n", 1, true) then
            error(NOTIFY .. " " .. name .. " must not have a line end in it", 2)
        end
        lines[#lines + 1] = name .. "=" .. value
    end
    table.sort(lines)
    local ok, err = notify.send(table.concat(lines, "\n"))
    return ok, err
end

return process
