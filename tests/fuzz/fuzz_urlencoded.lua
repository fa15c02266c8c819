-- Forms and queries: codec.decodeArgs against a decoder that is slow and plain, the way back by
-- codec.encodeArgs, and req.query, which reads them in its own way.
local codec = require "codec"
local http = require "http"

local MAX = 40

local function plain(text)
    text = text:gsub("+", " ")
    return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function reference(data)
    local list = {}
    for piece in data:gmatch("[^&]+") do
        local name, value = piece:match("^([^=]*)=(.*)$")
        list[#list + 1] = { plain(name or piece), plain(value or "") }
    end
    return list
end

local function values_of(value)
    return type(value) == "table" and value or { value }
end

local app, seen = http.router(), nil
app:get("/", function(req)
    seen = { req.query, req }
    for name in pairs(req.query) do seen[name] = req:queryAll(name) end
    return "x"
end)

local function run(data)
    local args, err = codec.decodeArgs(data, MAX)
    local want = reference(data)
    assert((err ~= nil) == (#want > MAX))
    local got, total = {}, 0
    for name, value in pairs(args) do
        got[name] = values_of(value)
        total = total + #got[name]
    end
    assert(total == math.min(#want, MAX))
    local counts = {}
    for i = 1, total do
        local name, value = want[i][1], want[i][2]
        counts[name] = (counts[name] or 0) + 1
        assert(got[name][counts[name]] == value)
    end
    -- There and back.
    local again = codec.decodeArgs(codec.encodeArgs(args), MAX)
    for name, list in pairs(got) do
        local back = values_of(again[name])
        assert(#back == #list)
        for i, value in ipairs(list) do assert(back[i] == value) end
    end
    -- What a request has of it.
    if not data:find("[#%z\r\n ]") and #want <= MAX then
        app:call("GET", "/?" .. data)
        for name, list in pairs(got) do
            assert(seen[1][name] == list[1])
            for i, value in ipairs(list) do assert(seen[name][i] == value) end
        end
    end
end

return { run = run, words = { "&", "=", "+", "%", "%41", "%4", "%zz", "a=b", "a", "&&", "%26" } }
