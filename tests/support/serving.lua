-- HTTP servers for the specs, closed after each test by serving.close_all().
local http = require "http"

local serving = { open = {} }

-- A server on a port of this machine: the port, the server.
function serving.serve(handler, options, port)
    options = options or {}
    options.host = options.host or "127.0.0.1"
    local server = assert(http.createServer(port or 0, handler, options))
    table.insert(serving.open, server)
    return server:address().port, server
end

function serving.close_all()
    for _, server in ipairs(serving.open) do server:close(0) end
    serving.open = {}
end

-- Runs fn with standard error going to a string, which it returns.
function serving.with_log(fn)
    local lines = {}
    local stderr = io.stderr
    rawset(io, "stderr", { write = function(_, ...) lines[#lines + 1] = table.concat({ ... }) end })
    local ok, err = pcall(fn)
    rawset(io, "stderr", stderr)
    assert(ok, err)
    return table.concat(lines)
end

return serving
