package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local process = require "process"
local sockets = require "sockets"
local tools = require "tools"

describe("examples/fetch.lua", function()
    local url

    before_each(function()
        local server = sockets.keep(assert(http.createServer(0, function(req)
            if req.path == "/files" then
                local _, files = req:files()
                return files[1].filename .. "\n"
            end
            return req.method .. " " .. (req.headers["x-a"] or "") .. " " .. req:body() .. "\n"
        end, { host = "127.0.0.1" })))
        url = "http://127.0.0.1:" .. server:address().port .. "/"
    end)

    after_each(sockets.close_all)

    local function fetch(...)
        return assert(process.run(tools.LINKS, { "examples/fetch.lua", ... }, { timeout = 60000 }))
    end

    it("shows what a URL names", function()
        assert.equal("GET  \n", fetch(url).stdout)
        assert.equal("POST 1 a=b\n", fetch("-H", "X-A: 1", "-d", "a=b", url).stdout)
        local text = fetch("-i", url).stdout
        assert.truthy(text:find("^HTTP/1.1 200 OK\n"))
        assert.truthy(text:find("\nserver: links\n", 1, true))
    end)

    it("moves files, and gets several at a time", function()
        assert.equal("README.md\n", fetch("-u", "README.md", url .. "files").stdout)
        local path = os.tmpname()
        assert.equal(path .. ": 6 bytes\n", fetch("-o", path, url).stdout)
        assert.equal("GET  \n", tools.read(path))
        os.remove(path)
        assert.equal(url .. ": 200, 6 bytes\nhttp://127.0.0.1:1/: " ..
            "ECONNREFUSED: connection refused (connect 127.0.0.1:1)\n",
            fetch(url, "http://127.0.0.1:1/").stdout)
    end)

    it("says what is wrong", function()
        local result = fetch("http://127.0.0.1:1/")
        assert.equal(1, result.code)
        assert.equal("fetch: ECONNREFUSED: connection refused (connect 127.0.0.1:1)\n",
            result.stderr)
        assert.truthy(fetch("-x").stderr:find("there is no option -x", 1, true))
        assert.truthy(fetch().stderr:find("usage: ", 1, true))
        assert.truthy(fetch("-o").stderr:find("needs a word", 1, true))
    end)
end)
