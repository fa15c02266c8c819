-- What cluster.sh measures.
--
--     links -w N bench/cluster.lua work|publish|who
--         a server in N workers; the first prints the port. who answers with a worker's number
--     links bench/cluster.lua spread PORT COUNT
--         opens COUNT connections to that one; prints what the busiest has, over an even share
--     links bench/cluster.lua shared COUNT
--         two processes get and set keys of one dictionary COUNT times; prints ns of CPU time of
--         the slower one for a get, and for a set; and the same by the clock, with what it waited
--     links bench/cluster.lua queue COUNT
--         one process pushes COUNT numbers to another one; prints ns for each
local process = require "process"

local SIZE, KEYS = 2 ^ 22, 1000
local cpus = { os.getenv("SERVER_CPU") or 0, os.getenv("CLIENT_CPU") or 1 }

local function serve(server)
    if process.workerId == 0 then
        print(server:address().port)
        io.stdout:flush()
    end
end

-- Some 200 us of arithmetic, which says how much work one second of a processor does.
local function work()
    local x = 1
    for _ = 1, 30000 do x = (x * 16807) % 2147483647 end
    return tostring(x)
end

local commands = {}

function commands.work()
    serve(assert(require("http").createServer(0, work, { host = "127.0.0.1" })))
end

function commands.who()
    local http = require "http"
    serve(assert(http.createServer(0, function() return tostring(process.workerId) end,
        { host = "127.0.0.1" })))
end

function commands.publish()
    local websocket = require "websocket"
    serve(assert(websocket.createServer(0, {
        open = function(ws) ws:subscribe("all") end,
        message = function(_, data, kind) websocket.publish("all", data, { kind = kind }) end,
    }, { host = "127.0.0.1", pingInterval = 0 })))
end

function commands.spread(port, count)
    local http = require "http"
    local counts, most, workers = {}, 0, 0
    for _ = 1, count do
        local id = assert(http.get("http://127.0.0.1:" .. port .. "/",
            { headers = { Connection = "close" } })).body
        if not counts[id] then workers = workers + 1 end
        counts[id] = (counts[id] or 0) + 1
        most = math.max(most, counts[id])
    end
    print(most * workers / count)
end

-- Both begin when both are there, and so that neither ends long before the other.
local function beside_another(name, count, fn)
    local shared = require "shared"
    local dict = assert(shared.open("links-bench-" .. process.ppid .. name, SIZE))
    local here = dict:incr("here", 1, 0)
    while here < 2 do here = dict:get("here") end
    local hrtime = require("system").hrtime
    local begin, at = os.clock(), hrtime()
    fn(dict, count)
    return (os.clock() - begin) / count * 1e9, (hrtime() - at) / count
end

local function keys()
    local list = {}
    for i = 1, KEYS do list[i] = "key." .. i end
    return list
end

function commands.child(count)
    local list = keys()
    local get, get_took = beside_another("get", count, function(dict, n)
        for i = 1, KEYS do dict:set(list[i], i) end
        for i = 1, n do dict:get(list[i * 7 % KEYS + 1]) end
    end)
    local set, set_took = beside_another("set", count, function(dict, n)
        for i = 1, n do dict:set(list[i * 7 % KEYS + 1], i) end
    end)
    print(("%.0f %.0f %.0f %.0f"):format(get, set, get_took, set_took))
end

-- On a processor of its own, so that they meet.
local function spawn(cpu, name, count)
    local links = require("ffi").string(require("ffi").C.links_process_argument(0))
    local argv = { "-c", tostring(cpu), links, arg[0], name, tostring(count) }
    return assert(process.spawn("taskset", argv, { stderr = "inherit" }))
end

function commands.shared(count)
    local a, b = spawn(cpus[1], "child", count), spawn(cpus[2], "child", count)
    local most = { 0, 0, 0, 0 }
    for _, child in ipairs { a, b } do
        local i = 0
        for ns in assert(child:readline()):gmatch("%d+") do
            i = i + 1
            most[i] = math.max(most[i], tonumber(ns))
        end
    end
    print(unpack(most))
end

local function open_queue()
    return assert(require("shared").queue("links-bench-" .. process.ppid, SIZE))
end

function commands.producer(count)
    local queue = open_queue()
    for i = 1, count do queue:push(i) end
    queue:push("end")
end

function commands.consumer()
    local queue = open_queue()
    local hrtime = require("system").hrtime
    local begin, count = nil, 0
    repeat
        local item = queue:pop()
        begin, count = begin or hrtime(), count + 1
    until item == "end"
    print(("%.0f"):format((hrtime() - begin) / count))
end

function commands.queue(count)
    local consumer = spawn(cpus[1], "consumer", count)
    spawn(cpus[2], "producer", count)
    print((assert(consumer:readline())))
end

commands[arg[1]](tonumber(arg[2]), tonumber(arg[3]))
