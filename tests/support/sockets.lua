-- Two ends of a connection in one process, for the specs of tcp and unix.
local core = require "links.core"
local sync = require "sync"
local task = require "task"
local tcp = require "tcp"

local sockets = { open = {} }

-- Whatever is to be closed after the test.
function sockets.keep(closable)
    table.insert(sockets.open, closable)
    return closable
end

function sockets.close_all()
    for _, closable in ipairs(sockets.open) do closable:close() end
    sockets.open = {}
end

function sockets.serve(onconnect, options)
    options = options or {}
    if not options.family then options.host = options.host or "127.0.0.1" end
    local server = assert(tcp.createServer(0, onconnect, options))
    sockets.keep { close = function() server:close(0) end }
    return server:address().port, server
end

-- The client's end, the server's end, and the server.
function sockets.pair(server_options, client_options)
    local accepted = sync.channel(1)
    local port, server = sockets.serve(function(socket) accepted:send(socket:detach()) end,
        server_options)
    local client = sockets.keep(assert(tcp.connect(port, "127.0.0.1", client_options)))
    return client, sockets.keep(assert(accepted:receive(20000))), server
end

-- Waits until fn() is true, turn by turn of the loop.
function sockets.eventually(fn)
    local give_up = core.now() + 20000
    while not fn() do
        assert(core.now() < give_up, "it did not happen within 20 seconds")
        require("timer").sleep(1)
    end
end

-- The results of fn, run in a task of its own that is then cancelled while it waits.
function sockets.cancelled(fn)
    local t = task.spawn(fn)
    sockets.eventually(function() return t.status == "waiting" end)
    t:cancel()
    local results = { t:join(20000) }
    assert(results[1] == true, tostring(results[2]))
    return results[2], results[3]
end

-- Writes until the peer, who does not read, lets no more in.
function sockets.stuff(socket)
    socket:setTimeout(20)
    local _, err
    repeat
        _, err = socket:write(("x"):rep(262144))
    until err
    socket:setTimeout(0)
    return err
end

-- A port where connecting hangs: that of a listener with a full queue.
function sockets.hanging(host)
    local port, server = sockets.serve(function() end, { host = host, backlog = 1 })
    server:pause()
    while true do
        local socket = tcp.connect(port, host, { connectTimeout = 20 })
        if not socket then return port end
        sockets.keep(socket)
    end
end

-- Runs fn with standard error going to a string, which it returns. fn gets a function that returns
-- what has come so far.
function sockets.with_log(fn)
    local lines = {}
    local stderr = io.stderr
    io.stderr = { -- luacheck: ignore 122
        write = function(_, ...) lines[#lines + 1] = table.concat({ ... }) end }
    local ok, err = pcall(fn, function() return table.concat(lines) end)
    io.stderr = stderr -- luacheck: ignore 122
    assert(ok, err)
    return table.concat(lines)
end

return sockets
