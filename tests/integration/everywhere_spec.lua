-- I/O is allowed everywhere: in each place where links calls a program's function, and with each
-- handle whoever made it. Every place speaks to a TCP server over one connection of its own, and
-- over one that the main program has made.
package.path = "tests/support/?.lua;" .. package.path
local program = require "program"

local PRELUDE = [[
    local http, process, sync = require "http", require "process", require "sync"
    local task, tcp, timer = require "task", require "tcp", require "timer"
    io.stdout:setvbuf("line")
    local function echo(socket)
        for line in socket:lines() do socket:write(line .. "\n") end
    end
    local echoes, port, shared
    local function begin()
        echoes = assert(tcp.createServer(0, echo, { host = "127.0.0.1" }))
        port = echoes:address().port
        shared = assert(tcp.connect(port))
    end
    begin()
    local turn = sync.mutex()
    local function say(socket, text)
        assert(socket:write(text .. "\n"))
        return assert(socket:readline())
    end
    -- All that waits, in one place; what comes of it is printed.
    local done = sync.event()
    local function try(place)
        local own = assert(tcp.connect(port))
        local a, b = say(own, "own"), sync.withLock(turn, say, shared, "shared")
        own:close()
        timer.sleep(1)
        local listed = process.run("echo", { "child" }).stdout
        print(place, a, b, (listed:gsub("\n", "")))
        done:set()
    end
    local function reached()
        assert(done:wait(20000))
        done:reset()
    end
    local function finish()
        shared:close()
        echoes:close()
    end
]]

-- Runs the code, and expects that I/O has worked in all these places.
local function expect(places, code)
    local result = program.eval(PRELUDE .. code)
    assert.equal(0, result.code, result.err .. tostring(result.signal))
    for place in places:gmatch("%S+") do
        assert.matches(place .. "\town\tshared\tchild\n", result.out, 1, true)
    end
    assert.equal("", result.err)
end

describe("I/O works", function()
    it("at the top of the program", function()
        expect("top", [[ try "top" finish() ]])
    end)

    it("in a module while it is required", function()
        expect("module", [[
            package.preload.waits = function() try "module" return {} end
            require "waits"
            finish()
        ]])
    end)

    it("in a timer, once and repeated", function()
        expect("once", [[ timer.setTimeout(1, try, "once") reached() finish() ]])
        expect("again", [[
            local again
            again = timer.setInterval(1, function() again:cancel() try "again" end)
            reached()
            finish()
        ]])
    end)

    it("in task.onCancel, and in a cancelled task behind its shield", function()
        expect("onCancel", [[
            local t = task.spawn(function()
                task.onCancel(function() try "onCancel" end)
                timer.sleep(1e6)
            end)
            timer.sleep(1)
            t:cancel()
            reached()
            finish()
        ]])
        expect("shield", [[
            local t = task.spawn(function()
                timer.sleep(1e6)
                task.shield(try, "shield")
            end)
            timer.sleep(1)
            t:cancel()
            t:join()
            finish()
        ]])
    end)

    it("in process.on for errors and for signals", function()
        expect("error", [[
            process.on("error", function(err) try(err) end)
            task.spawn(function() error("error", 0) end)
            reached()
            finish()
        ]])
        expect("SIGUSR1", [[
            process.on("SIGUSR1", function(name) try(name) end)
            process.kill(process.pid, "SIGUSR1")
            reached()
            finish()
        ]])
    end)

    it("while the program ends", function()
        expect("end", [[
            finish()
            process.onShutdown(function(why) begin() try(why) finish() end)
        ]])
        expect("quit", [[
            process.onShutdown(function(why) try(why) end)
            process.quit(0)
        ]])
    end)

    it("in a handler of http, in what is around it, and in another request's", function()
        expect("use before handler after late onError", [[
            local app = http.router()
            app:use(function(req, res, next) try "use" return next() end)
            app:before(function() try "before" end)
            app:after(function() try "after" end)
            app:onError(function() try "onError" return 500, "sorry" end)
            local kept, late
            late = sync.event()
            app:get("/", function(req)
                try "handler"
                kept = assert(tcp.connect(port)) -- for another request, and for later
                task.spawn(function() timer.sleep(1) try "late" late:set() end)
                return "hello"
            end)
            app:get("/fails", function() assert(say(kept, "kept") == "kept") error "no" end)
            local server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
            local client = assert(tcp.connect(server:address().port))
            client:write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert(client:readUntil("hello"))
            assert(late:wait(20000))
            client:write("GET /fails HTTP/1.1\r\nHost: a\r\n\r\n")
            assert(client:readUntil("sorry"))
            assert(say(kept, "still") == "still")
            kept:close()
            client:close()
            server:close(0)
            finish()
        ]])
    end)

    it("in a program's own coroutine, a metamethod and an iterator", function()
        expect("deep", [[
            local generator = coroutine.wrap(function()
                local t = setmetatable({}, { __index = function(_, place) try(place) return place end })
                for place in function(_, last) return not last and t.deep or nil end do
                    coroutine.yield(place)
                end
            end)
            assert(generator() == "deep")
            finish()
        ]])
    end)
end)
