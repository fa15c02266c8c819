-- Forms with files: however the body is cut into pieces, the parts come out the same, and none of
-- them has the boundary in it.
local http = require "http"

local app, input, size, result = http.router(), nil, nil, nil

local function collect(req)
    local list = {}
    for one, err in req:parts { maxParts = 20, maxPartSize = 4096, maxHeader = 512 } do
        if err then return list, err.status end
        local body
        body, err = one:body()
        if err then return list, err.status end
        list[#list + 1] = table.concat({ tostring(one.name), tostring(one.filename),
            tostring(one.type), body }, "\0|")
        assert(not body:find("\r\n--XyZ", 1, true))
        assert(not one.filename or not one.filename:find("[/\\]"))
    end
    return list, nil
end

app:post("/", function(req)
    result = { collect(req) }
    return "x"
end)

local function parts_of(data, pieces)
    input, size = data, pieces
    local at = 1
    app:call("POST", "/", {
        headers = { ["content-type"] = "multipart/form-data; boundary=XyZ" },
        body = function()
            if at > #input then return nil end
            local piece = input:sub(at, at + size - 1)
            at = at + #piece
            return piece
        end,
    })
    return result
end

local function run(data)
    local whole = parts_of(data, math.max(#data, 1))
    assert(whole[2] == nil or whole[2] == 400 or whole[2] == 413, whole[2])
    for _, pieces in ipairs { 1, 2, 7, 64 } do
        local split = parts_of(data, pieces)
        assert(#split[1] == #whole[1] and split[2] == whole[2])
        for i, part in ipairs(whole[1]) do assert(split[1][i] == part) end
    end
end

return {
    run = run,
    words = { "--XyZ", "--XyZ--", "\r\n", "\r\n\r\n", "--", "\r", "\n", ":", ";", '"', "\\", "\0",
        'Content-Disposition: form-data; name="a"', 'filename="b"', "Content-Type: x/y" },
}
