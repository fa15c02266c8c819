-- A program whose server cannot listen, and which does not look at what createServer returned, has
-- nothing to do and ends: as if all had gone well. Its last words say what happened instead.
local core = require "links.core"
local watchdog = require "links.watchdog"
local binding = require "links.process.ffi"

-- A worker of a cluster also tells its master that it listens, and closes its servers at its end.
local listening = {
    drains = false, -- somebody has servers finish at the end
}

local FOREVER = 2 ^ 31 -- ms: until the process ends

local has_listened = false
local servers = setmetatable({}, { __mode = "k" }) -- server -> whether it has requests

--- To be called with the error of every attempt to listen that has failed.
---
--- @param err  table   the error
--- @return nil, err    for the caller to return
function listening.failed(err)
    if not has_listened then core.lastWords(tostring(err)) end
    return nil, err
end

--- To be called when a server listens: from now on the program knows what it does.
function listening.began()
    has_listened = true
    core.lastWords(nil)
    watchdog.begin()
    if listening.notice then listening.notice() end
end

--- Ends servers side by side, and is back when they have ended.
---
--- @param list  array   the servers
--- @param how   string  the method that ends one: "_drain" where another process goes on, "close"
--- @param ms    number  for that
function listening.finish(list, how, ms)
    local group = require("links.sync").waitGroup()
    for _, server in ipairs(list) do
        group:add(1)
        core.spawn(function()
            pcall(server[how], server, ms)
            group:done()
        end)
    end
    group:wait()
end

-- On SIGTERM, requests that are under way are answered first. Not on SIGINT, which is somebody at a
-- terminal, nor where the program asks for its end: a handler that does so never answers.
-- After process.shutdownTimeout, tasks are cancelled as ever.
local function finish_requests(reason)
    if reason ~= "SIGTERM" or binding.C.links_ending_by_signal() == 0 then return end
    local list = {}
    for server, has_requests in pairs(servers) do
        if has_requests then list[#list + 1] = server end
    end
    listening.finish(list, "close", FOREVER)
end

--- To be called with each server that begins; it has a method _drain(ms).
---
--- @param server    Server
--- @param requests  boolean  it has requests, which are to be answered before a process ends
function listening.add(server, requests)
    servers[server] = requests or false
    if requests and not listening.drains then
        listening.drains = true
        require("links.process.events").on("listening.add(server)", "shutdown", finish_requests)
    end
end

--- The servers that there are.
---
--- @return array
function listening.servers()
    local list = {}
    for server in pairs(servers) do list[#list + 1] = server end
    return list
end

return listening
