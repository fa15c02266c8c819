-- Files as answers, of processes of their own: the example, and what the system sends.
package.path = "tests/support/?.lua;" .. package.path

local fs = require "fs"
local program = require "program"
local wire = require "wire"
local zlib = require "zlib"

local processes, dir = {}, nil

local function start(arguments)
    local process = program.start(arguments)
    processes[#processes + 1] = process
    process:expect("\n")
    return tonumber(process.out:match("(%d+)\n")), process
end

before_each(function() dir = assert(fs.tempDir()) end)

after_each(function()
    for _, process in ipairs(processes) do
        pcall(function()
            process:kill("TERM")
            process:wait()
        end)
    end
    processes = {}
    fs.remove(dir, { recursive = true })
end)

local function get(port, path, fields)
    return wire.request(port, "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n" .. (fields or "")
        .. "\r\n")
end

describe("examples/static.lua", function()
    it("serves a folder, its lists, and what it works out", function()
        assert(fs.writeFile(dir .. "/page.txt", "a page"))
        assert(fs.mkdir(dir .. "/sub"))
        local port = start { "examples/static.lua", dir, "0" }
        assert.equal("a page", get(port, "/page.txt").body)
        assert.equal("page", get(port, "/page.txt", "Range: bytes=2-\r\n").body)
        assert.truthy(get(port, "/").body:find('href="./sub/"', 1, true))
        assert.equal("/sub/", get(port, "/sub").headers.location)
        assert.truthy(get(port, "/sizes").body:find(" 6  " .. dir .. "/page.txt", 1, true))
        for i = 1, 100 do assert(fs.writeFile(dir .. "/sub/" .. i, "")) end
        local res = get(port, "/sizes", "Accept-Encoding: gzip\r\n")
        assert.truthy(zlib.gunzip(res.body):find("/sub/100", 1, true))
        assert.equal(404, get(port, "/none").status)
    end)
end)

describe("a server of files", function()
    local CODE = [[
        local http = require "http"
        local server = assert(http.createServer(0, http.static(arg[1]), { host = "127.0.0.1" }))
        io.write(server:address().port, "\n")
        io.flush()
    ]]

    it("goes on when clients leave in the middle, also where nobody reads its output", function()
        local file = assert(fs.open(dir .. "/huge", "w"))
        assert(file:truncate(2 ^ 28))
        file:close()
        assert(fs.writeFile(dir .. "/serve.lua", CODE))
        local port, process = start { dir .. "/serve.lua", dir }
        process:hang_up("out")
        for _ = 1, 10 do
            local c = wire.connect(port)
            c:send("GET /huge HTTP/1.1\r\nHost: a\r\n\r\n")
            c:need(1000)
            -- An end, and then a reset, is what the system calls a broken pipe.
            c:shutdown()
            wire.turn()
            c:reset()
        end
        assert.equal(200, get(port, "/serve.lua").status)
    end)
end)
