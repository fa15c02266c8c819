-- A folder as a web site: links examples/static.lua [folder [port]]. Try it with a browser, or
--
--   curl -i http://127.0.0.1:8080/README.md
--   curl -i -r 0-99 http://127.0.0.1:8080/README.md
--   curl -i --compressed http://127.0.0.1:8080/sizes
local fs = require "fs"
local http = require "http"

local folder = arg[1] or "."

local files = http.static(folder, { listing = true, maxAge = 60 })
local compress = http.compress()

-- How large everything is: read on threads, while others are served.
local function sizes()
    local lines, total = {}, 0
    for path, kind in fs.walk(folder, { depth = 4 }) do
        local st = kind == "file" and fs.lstat(path)
        if st then
            total = total + st.size
            lines[#lines + 1] = ("%12d  %s"):format(st.size, path)
        end
    end
    lines[#lines + 1] = ("%12d  bytes in all"):format(total)
    return table.concat(lines, "\n") .. "\n"
end

local server = assert(http.createServer(tonumber(arg[2]) or 8080, function(req, res)
    return compress(req, res, function()
        if req.path == "/sizes" then return sizes() end
        return files(req, res)
    end)
end, { host = "127.0.0.1" }))

print(("serving %s on http://127.0.0.1:%d"):format(folder, server:address().port))
io.stdout:flush()
