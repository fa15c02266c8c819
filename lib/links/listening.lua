-- A program whose server cannot listen, and which does not look at what createServer returned, has
-- nothing to do and ends: as if all had gone well. Its last words say what happened instead.
local core = require "links.core"
local watchdog = require "links.watchdog"

-- A worker of a cluster also tells its master that it listens, and closes its servers at its end.
local listening = {}

local has_listened = false
local servers = setmetatable({}, { __mode = "k" })

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

--- To be called with each server that begins; it has a method _drain(ms).
function listening.add(server)
    servers[server] = true
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
