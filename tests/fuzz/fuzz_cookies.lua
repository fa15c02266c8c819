-- The Cookie field as it could come: names and values are what the field has, within their limits,
-- and what res:cookie sets is read as it was set.
local http = require "http"

local app, seen = http.router(), nil
app:get("/", function(req)
    seen = req.cookies
    return "x"
end)

local setter, pair = http.router(), nil
setter:get("/", function(_, res)
    res:cookie(pair[1], pair[2])
    return "x"
end)

local function cookies_of(field)
    app:call("GET", "/", { headers = { cookie = field } })
    return seen
end

local function run(data)
    local count = 0
    local found = cookies_of(data)
    for name, value in pairs(found) do
        count = count + 1
        assert(name ~= "" and not name:find("[;=%s]"))
        assert(not value:find(";", 1, true))
        assert(data:find(name, 1, true) and data:find(value, 1, true))
    end
    assert(count <= 200)
    for name, value in pairs(found) do
        pair = { name, value }
        local ok, _, headers = pcall(setter.call, setter, "GET", "/")
        if ok then
            local back = cookies_of(headers["set-cookie"]:match("^[^;]*"))
            assert(back[name] == value)
            assert(next(back, (next(back))) == nil)
        end
    end
end

return { run = run, words = { ";", "=", "; ", '"', " ", "a=b", "\t", "__Host-", ",", "\\" } }
