-- A server for the specs of the HTTP client that sends exactly the bytes it is told to, and tells
-- exactly what it was sent.
local sockets = require "sockets"
local task = require "task"

local origin = {}

local function read_chunks(socket)
    local body = {}
    while true do
        local line = assert(socket:readline(true))
        local size = tonumber(line:match("^(%x+)\r\n$"), 16)
        if size == 0 then break end
        body[#body + 1] = assert(socket:read(size))
        assert(socket:read(2) == "\r\n", "a chunk does not end in CR LF")
    end
    assert(socket:readline(true) == "\r\n")
    return table.concat(body), #body
end

-- The next request of a connection: nil where there is none. `no_body`: it is left where it is.
function origin.read(socket, no_body)
    local head = socket:readUntil("\r\n\r\n", { max = 100000 })
    if not head then return nil end
    local request = { head = head .. "\r\n\r\n", headers = {}, body = "" }
    request.method, request.target = head:match("^(%S+) (%S+) HTTP/1%.1\r?\n?")
    assert(request.method, "no request line: " .. ("%q"):format(head))
    for name, value in head:gmatch("\r\n([^:\r\n]+): ([^\r\n]*)") do
        name = name:lower()
        assert(not request.headers[name] or name == "x-list", "repeated field " .. name)
        request.headers[name] = value
    end
    if no_body then return request end
    local length = tonumber(request.headers["content-length"])
    if length then
        request.body = length == 0 and "" or assert(socket:read(length))
    elseif request.headers["transfer-encoding"] then
        request.body, request.chunks = read_chunks(socket)
    end
    return request
end

-- Starts one. `answer(socket, request, n)`, n counted over all connections, returns the bytes to
-- send, or nil where it has sent them itself; or it is these bytes. Returns the URL, and the list
-- of requests, whose field `connections` counts those. options: noBody (requests are read up to
-- their body), once (a connection ends after an answer).
function origin.serve(answer, options)
    options = options or {}
    local requests = { connections = 0 }
    local port, server = sockets.serve(function(socket)
        requests.connections = requests.connections + 1
        local number = requests.connections
        while true do
            local request = origin.read(socket, options.noBody)
            if not request then return end
            request.connection = number
            requests[#requests + 1] = request
            local bytes = answer
            if type(answer) == "function" then bytes = answer(socket, request, #requests) end
            if bytes then socket:write(bytes) end
            if options.once or socket.closed then return end
        end
    end, { maxConnections = options.maxConnections })
    return "http://127.0.0.1:" .. port, requests, server
end

-- An answer with a length.
function origin.answer(body, fields, status)
    return "HTTP/1.1 " .. (status or "200 OK") .. "\r\nContent-Length: " .. #body .. "\r\n" ..
        (fields or "") .. "\r\n" .. body
end

-- Sends bytes so that they are read one by one, or `size` at a time.
function origin.drip(socket, bytes, size)
    size = size or 1
    for at = 1, #bytes, size do
        if not socket:write(bytes:sub(at, at + size - 1)) then return end
        task.yield()
        task.yield()
    end
end

return origin
