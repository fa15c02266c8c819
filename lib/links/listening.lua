-- A program whose server cannot listen, and which does not look at what createServer returned, has
-- nothing to do and ends: as if all had gone well. Its last words say what happened instead.
local core = require "links.core"

local listening = {}

local has_listened = false

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
end

return listening
