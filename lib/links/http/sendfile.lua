-- Sending files, which many programs do without: loaded when it is first used.
local response = {}

function response.sendFile(res, name, options)
    return require("links.http.static").sendFile(res, name, options)
end

--- Sends a file to be saved, not shown: res:sendFile with its `download`.
---
--- @param path  string  of the file
--- @param name  string  to save it by. Default: the file's own
--- @return true
--- @return nil, err     as res:sendFile
--- @raise               an argument of another type
--- @wait
function response.file(res, path, name)
    local check = require "links.check"
    check.type("res:file(path[, name])", "path", path, "string")
    check.type("res:file(path[, name])", "name", name, "string|nil")
    return response.sendFile(res, path, { download = name or true })
end

return { response = response }
