--- The admin socket: a running program says what it does, over a Unix socket.
---
--- `links top`, `links profile` and `links admin` speak to it: see links(1). So does `nc -U`: a
--- command is a line; the answer is a line "ok N" and N bytes, or a line "error" with a message. In
--- a cluster its master has the socket, and answers for itself and all workers; `@0` before a
--- command asks worker 0 only, `@master` the master. With `json` before it the answer is JSON.
---
--- | command | what it answers |
--- |---|---|
--- | `tasks` | the tasks, and what each waits for, and for how long |
--- | `stacks [ID]` | the same, with the traceback of each |
--- | `conns` | servers and their connections |
--- | `pools`, `timers`, `dicts` | pools of connections, timers and handles, shared dictionaries |
--- | `stats` | processor time, memory, connections, requests, the loop |
--- | `heap`, `gc` | bytes in use; collects garbage |
--- | `log-level [MODULE] LEVEL` | sets a level, as log.setLevel |
--- | `log-tail [LINES]` | the last lines that were logged, 20 of them |
--- | `profile [SECONDS [MS]]` | where the time goes: a sample each MS (10) of processor time |
--- | `profile-stop` | ends the profile that is under way, with what it has so far |
--- | `drain` | ends the program as SIGTERM does |
--- | `help` | this list |
---
--- The socket can be used by its user alone (mode 0600), and whoever can has the program in his
--- hands. A client that does not read what he has asked for holds up nobody, and the profile of one
--- that has left ends. Limits: 16 clients, a
--- line of 4096 bytes, a minute without a command.
local json = require "links.json"
local core = require "links.core"
local check = require "links.check"
local errors = require "links.errors"
local fs = require "links.fs"
local ipc = require "links.process.ipc"
local process_ffi = require "links.process.ffi"
local report = require "links.report"
local answers = require "links.admin.answers"
local places = require "links.admin.places"
local show = require "links.admin.show"
local sync = require "links.sync"
local timer = require "links.timer"
local unix = require "links.unix"

local C, tcp = process_ffi.C, require("links.tcp.ffi").C

local admin = {}

local CLIENTS_MAX, IDLE_MS, LINE_MAX = 16, 60000, 4096
local ANSWER_MS = 1000 -- of another process of the cluster
local LOOK_MS = 250 -- for a client that has left
local ASK_MASTER_MS = 5000
local RETRY_MS = 100 -- until the master before this one has let go of the socket

-- For the process, not for this load of the module.
local state = core.adminState or { servers = {} }
core.adminState = state

-- --- Commands -----------------------------------------------------------------------------------

local HELP = [=[
tasks                       the tasks, and what each waits for
stacks [ID]                 the same, with tracebacks
conns                       servers and their connections
pools | timers | dicts      pools of connections; timers; shared dictionaries
stats | heap                how the processes do
gc                          collect garbage
log-level [MODULE] LEVEL    set a level: debug, info, warn, error, fatal, off
log-tail [LINES]            the last lines that were logged
profile [SECONDS [MS]]      where the time goes, as folded stacks
profile-stop                ends that now, with what it has
drain                       end the program, as SIGTERM does
Before a command: @0 or @master for one process; json for the answer as JSON.
]=]

local function profile_arguments(args)
    local seconds, ms = tonumber(args[1] or 10), tonumber(args[2] or 10)
    if not seconds or not (seconds > 0 and seconds <= 3600) or not ms or ms % 1 ~= 0 or ms < 1
        or ms > 1000 or args[3] then
        return nil, "profile [SECONDS [MS]]: up to 3600 seconds, samples every 1 to 1000 ms"
    end
    return { seconds * 1000, ms }
end

local function unknown(command)
    local near = check.nearest(command, answers.commands)
    return 'unknown command "' .. command:sub(1, 40):gsub("%c", "?") .. '"'
        .. (near and ' (did you mean "' .. near .. '"?)' or " (help lists them)")
end

local function drain()
    core.spawn(function() require("links.process").exit("SIGTERM") end)
    return "ending\n"
end

-- The words of a line: whom it asks, whether as JSON, the command, its arguments.
local function parse(line)
    local words = {}
    for word in line:gmatch("%S+") do words[#words + 1] = word end
    local whom, as_json
    while words[1] == "json" or (words[1] or ""):sub(1, 1) == "@" do
        local word = table.remove(words, 1)
        if word == "json" then
            as_json = true
        else
            whom = word == "@master" and "master" or tonumber(word:sub(2))
            if not whom then return nil, "not a worker's number: " .. word end
        end
    end
    return { command = table.remove(words, 1), args = words, whom = whom, as_json = as_json }
end

-- The answers of all who are asked. A profile ends where its client leaves: nobody would have it.
local function collect(socket, asked)
    local request = { command = asked.command, args = asked.args }
    if asked.command ~= "profile" then return answers.collect(request, asked.whom, ANSWER_MS) end
    state.profiles = (state.profiles or 0) + 1
    local id = require("links.process").pid .. "-" .. state.profiles
    request.args[3] = id
    local function look()
        if tcp.links_tcp_left(socket._h) == 0 then return end
        answers.collect({ command = "profile-stop", args = { id } }, asked.whom, ANSWER_MS)
    end
    local watch = timer.setInterval(LOOK_MS, look)
    watch:unref()
    local list = answers.collect(request, asked.whom, request.args[1] + ANSWER_MS)
    watch:cancel()
    look() -- the server may have been closed
    return list
end

-- The text that answers a line; or nil and a message.
local function answer(socket, line)
    local asked, wrong = parse(line)
    if not asked then return nil, wrong end
    local command, args = asked.command, asked.args
    if not command then return nil, "a command is missing (help lists them)" end
    if command == "help" then return HELP end
    if command == "drain" then return drain() end
    if not answers.commands[command] then return nil, unknown(command) end
    if command == "profile" then
        asked.args, wrong = profile_arguments(args)
        if not asked.args then return nil, wrong end
    end
    local list = collect(socket, asked)
    if #list == 0 then return nil, "there is no worker " .. tostring(asked.whom) end
    local all_wrong = true
    for _, entry in ipairs(list) do all_wrong = all_wrong and entry.wrong ~= nil end
    if all_wrong and not asked.as_json then return nil, list[1].wrong end
    if asked.as_json then return json.encode(list) .. "\n" end
    return show.text(command, list)
end

-- --- Clients ------------------------------------------------------------------------------------

-- Waits for a client, for a minute. The timeout of a socket would keep the process going for that.
local function within(socket, fn, ...)
    local idle = timer.setTimeout(IDLE_MS, socket.close, socket, true)
    idle:unref()
    local value, err = fn(socket, ...)
    idle:cancel()
    return value, err
end

local function serve_one(socket, line)
    local ok, text, wrong = pcall(answer, socket, line)
    if not ok then
        report.write("error", "admin: " .. tostring(text))
        text, wrong = nil, "an error of links itself: see its log"
    end
    if text then return within(socket, socket.write, { "ok " .. #text .. "\n", text }) end
    return within(socket, socket.write, "error " .. wrong:gsub("%c", " ") .. "\n")
end

local function serve(socket)
    socket:unref()
    while true do
        local line, err = within(socket, socket.readline)
        if not line or err then
            if err and err.name == "EXCEED_BUF_SIZE" then
                socket:write("error a line has 4096 bytes at most\n")
            end
            return
        end
        if #line > LINE_MAX then
            socket:write("error a line has 4096 bytes at most\n")
            return
        end
        local written
        written, err = serve_one(socket, line)
        if not written or err then return end
    end
end

-- --- The socket ---------------------------------------------------------------------------------

-- It is found by the number of the process: a link leads to one that is elsewhere.
local function leave_a_link(path)
    if path:sub(1, 1) ~= "/" then path = require("links.process").cwd() .. "/" .. path end
    local link = places.own(require("links.process").pid)
    if not link or link == path then return nil end
    fs.remove(link)
    return fs.symlink(path, link) and link or nil
end

local Server = {}
Server.__index = Server

--- Closes the socket and ends its clients. Twice is harmless.
---
--- @return true
--- @usage local admin = require "admin"
--- local path = os.tmpname()
--- os.remove(path)
--- assert(admin.listen(path)):close()
function Server:close()
    if self._server then self._server:close(0) end
    if self._link then fs.remove(self._link) end
    if state.servers[self.path] == self then state.servers[self.path] = nil end
    self._server, self._link = nil, nil
    return true
end

-- Takes the place of the master before this one, when that lets go.
local function await(self, mode)
    local retry
    retry = timer.setInterval(RETRY_MS, function()
        self._server = unix._aside(self.path, serve, { mode = mode, maxConnections = CLIENTS_MAX })
        if self._server or not state.servers[self.path] then retry:cancel() end
    end)
    retry:unref()
end

local function is_heir()
    return core.isHeir or C.links_handover_wanted() ~= 0
end

local function open(path, mode)
    local own
    if not path then
        local err
        own, err = places.own(require("links.process").pid)
        if not own then return nil, err end
        path = own
    end
    if state.servers[path] then return state.servers[path] end
    local server, err = unix._aside(path, serve, { mode = mode, maxConnections = CLIENTS_MAX })
    local waits = err ~= nil and err.name == "EADDRINUSE" and is_heir()
    if not server and not waits then return nil, err end
    local self = setmetatable({ path = path, _server = server }, Server)
    self._link = own == nil and path:sub(1, 1) ~= "@" and leave_a_link(path) or nil
    state.servers[path] = self
    if waits then await(self, mode) end
    return self
end

-- In the process that answers: itself, or the master of its cluster, whom all workers ask at once.
function admin._begin(path, mode)
    state.mutex = state.mutex or sync.mutex()
    local ok, err = state.mutex:lock()
    if not ok then return nil, err end
    local server
    ok, server, err = pcall(open, path, mode)
    state.mutex:unlock()
    if not ok then error(server, 0) end
    return server, err
end

local LISTEN = "admin.listen([path[, options]])"

--- Listens on an admin socket. It does not keep the process going. In a worker of a cluster it is
--- the master who listens, and once is enough: so this may stand before process.cluster or after.
--- While the program is upgraded the old master has the socket, and then the new one.
---
--- Without a call, LINKS_ADMIN in the environment does the same: a path, or 1 for the default one.
---
--- @param path     string  of the socket, "unix:" may stand before it. Default: PID.sock in a
---                         folder of this user's: /run/links for root, links in
---                         $XDG_RUNTIME_DIR, or /tmp/links-UID; `links top PID` finds the
---                         others too
--- @param options  table   mode  384  of the file, tonumber("600", 8)
--- @return server          :close() .path
--- @return nil, err        EADDRINUSE    somebody listens there, or the file is no socket
---                         ENOENT, EACCES, ENAMETOOLONG, EINVAL, ...  as unix.createServer
---                         ENOTCONN, ETIMEDOUT  in a worker: the master does not answer
--- @raise                  an argument or an option of another type, or one that nobody knows
--- @wait
--- @usage local admin, unix = require "admin", require "unix"
--- local path = os.tmpname()
--- os.remove(path)
--- local server = assert(admin.listen("unix:" .. path))
--- local client = assert(unix.connect(path))
--- client:write("tasks\n")
--- assert(client:readline():find("^ok %d+$"))
--- server:close()
function admin.listen(path, options)
    check.type(LISTEN, "path", path, "string|nil")
    local o = check.options(LISTEN, options, {
        mode = { default = tonumber("600", 8), type = "integer", min = 0, max = 511 },
    })
    path = path and path:gsub("^unix:", "")
    if require("links.process").workerId == nil then return admin._begin(path, o.mode) end
    if path and not path:find("^[/@]") then path = require("links.process").cwd() .. "/" .. path end
    local reply, err = ipc.ask("master", "admin", { listen = path or false, mode = o.mode },
        ASK_MASTER_MS)
    if reply and reply.err then err = errors.new(reply.err.code, "listen", { address = path }) end
    if err then return nil, err end
    return setmetatable({ path = path }, Server)
end

--- What LINKS_ADMIN asks for. It is for this process, and not for those that it starts.
function admin._from_environment()
    local process = require "links.process"
    local value = process.env.LINKS_ADMIN
    process.env.LINKS_ADMIN = nil
    if not value or value == "" or value == "0" then return end
    state.environment = value
    local path = value ~= "1" and value:gsub("^unix:", "") or nil
    local ok, err = admin._begin(path, tonumber("600", 8))
    if not ok then
        report.write("warn", "the admin socket of LINKS_ADMIN cannot be opened: " .. tostring(err))
    end
end

return admin
