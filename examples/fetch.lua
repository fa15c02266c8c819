-- Gets what URLs name, as curl does: links examples/fetch.lua [options] url...
--
--   links examples/fetch.lua http://127.0.0.1:8080/            the body
--   links examples/fetch.lua -i http://127.0.0.1:8080/         the head before it
--   links examples/fetch.lua -d name=links http://...          posts a form
--   links examples/fetch.lua -o file http://...                into a file; resumes
--   links examples/fetch.lua -u photo.png http://...           uploads a file
--   links examples/fetch.lua http://... http://... unix:/path:/... several at a time
local http = require "http"

local function give_up(message)
    io.stderr:write("fetch: ", tostring(message), "\n")
    os.exit(1)
end

-- Letters that take a word behind them.
local TAKES = { d = "data", o = "output", u = "upload", H = "header" }

local function parse(words)
    local o, urls, i = { headers = {} }, {}, 1
    while words[i] do
        local word = words[i]
        local letter = word:match("^%-(%a)$")
        if letter == "i" then
            o.head = true
        elseif TAKES[letter] then
            i = i + 1
            if not words[i] then give_up(word .. " needs a word behind it") end
            o[TAKES[letter]] = words[i]
            local name, value = words[i]:match("^([^:]+): *(.*)$")
            if letter == "H" and name then o.headers[name] = value end
        elseif word:sub(1, 1) == "-" then
            give_up("there is no option " .. word)
        else
            urls[#urls + 1] = word
        end
        i = i + 1
    end
    if not urls[1] then
        give_up("usage: fetch.lua [-i] [-H field] [-d data] [-o file] [-u file] url...")
    end
    return o, urls
end

local function show_head(res)
    print("HTTP/" .. res.version .. " " .. res.status .. " " .. res.reason)
    local names = {}
    for name in pairs(res.headers) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do print(name .. ": " .. res.headers[name]) end
    print(("\n# %.1f ms until the head, from %s"):format(res.timing.ttfb,
        res.remoteAddress or "a socket"))
end

-- The body as it comes, however long it is.
local function show(res, with_head)
    if with_head then show_head(res) end
    while true do
        local piece, err = res:read()
        if err then give_up(err) end
        if not piece then return end
        io.write(piece)
    end
end

local function progress(bytes, total)
    io.stderr:write(("\r%d of %s bytes"):format(bytes, total or "?"))
end

local o, urls = parse(arg)

if o.output then
    local done, err = http.download(urls[1], o.output, { headers = o.headers,
        onProgress = progress })
    if not done then give_up(err) end
    io.stderr:write("\n")
    print(done.path .. ": " .. done.bytes .. " bytes")
elseif o.upload then
    local res, err = http.upload(urls[1], o.upload, { headers = o.headers })
    if not res then give_up(err) end
    show(res, o.head)
elseif urls[2] then
    local results, failed = http.all(urls)
    for i, url in ipairs(urls) do
        local res = results[i]
        print(url .. ": " .. (res and res.status .. ", " .. #res.body .. " bytes"
            or tostring(failed[i])))
    end
else
    local method = o.data and "POST" or "GET"
    if o.data then o.headers["Content-Type"] = "application/x-www-form-urlencoded" end
    local res, err = http.request {
        method = method, url = urls[1], body = o.data, headers = o.headers, stream = true,
    }
    if not res then give_up(err) end
    show(res, o.head)
end
