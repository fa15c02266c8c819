-- The main task: it makes Lua's own functions able to wait, sets `arg`, and runs what the command
-- line asks for. An error that nothing catches ends the task, and so the program, with exit code 1
-- and a traceback: see task.reportFailures.
local core = require "links.core"
local coroutines = require "links.coroutines"
local finalizers = require "links.finalizers"
local guard = require "links.guard"
local loader = require "links.loader"

pcall(require("jit.opt").start, "maxtrace=8000", "maxrecord=16000", "maxmcode=40960")

local function complain(message)
    io.stdout:flush()
    io.stderr:write("links: ", message, "\n")
end

-- A failed start is one line, without a traceback: the fault is not in the running program.
local function give_up(message)
    complain(message)
    core.exit(1)
end

local function run_first(first)
    for _, item in ipairs(first) do
        if item.kind == "l" then
            local function load_module() rawset(_G, item.text, require(item.text)) end
            load_module()
        else
            local chunk, message = loadstring(item.text, "=(command line)")
            if not chunk then
                give_up(message)
                return false
            end
            chunk()
        end
    end
    return true
end

-- Read once and as a whole: the script may be a pipe.
local function read_script(program)
    if program.stdin then return io.stdin:read("*a") or "" end
    local file, message = io.open(program.script, "rb")
    if not file then return nil, "cannot open " .. message end
    local text, unreadable = file:read("*a")
    -- A directory opens, and only then cannot be read.
    if text == "" then
        local _
        _, unreadable = file:read(0)
    end
    file:close()
    if unreadable then return nil, "cannot read " .. program.script .. ": " .. unreadable end
    return text
end

local function load_script(program)
    local text, message = read_script(program)
    if not text then return nil, message end
    text = text:gsub("^\239\187\191", ""):gsub("^#[^\n]*", "")
    return loadstring(text, program.stdin and "=stdin" or "@" .. program.script)
end

local function arguments(program)
    local arg, argv = program.arg, {}
    for i = 1, #arg do argv[i] = arg[i] end
    return arg, argv
end

return function(program)
    local argv
    coroutines.install()
    finalizers.install()
    loader.install()
    core.fromStdin = program.stdin
    arg, argv = arguments(program)
    rawset(_G, "argv", argv)
    guard.install(program.strict)
    require("links.task").reportFailures()
    if program.isService then require("links.process.notify").begin() end
    if program.tool then return require("links.tool." .. program.tool)(unpack(argv)) end
    if os.getenv("LINKS_ADMIN") and not program.isWorker then
        require("links.admin")._from_environment()
    end
    if program.isWorker then
        require("links.process.worker").begin()
    elseif program.workers then
        if not program.script then return give_up("-w needs a script") end
        local _, message = require("links.process.cluster")._command(program.workers)
        return give_up(message)
    end
    if not run_first(program.first) then return end
    if not program.script and not program.stdin then return end
    local chunk, message = load_script(program)
    if not chunk then return give_up(message) end
    chunk(unpack(argv))
end
