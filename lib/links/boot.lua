-- The main task: it makes Lua's own functions able to wait, sets `arg`, and runs what the command
-- line asks for. An error that nothing catches ends the program with exit code 1 and a traceback.
local core = require "links.core"
local coroutines = require "links.coroutines"
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

local function on_error(err)
    if type(err) == "table" and not getmetatable(err) then
        err = "(error object is a table value)"
    end
    local text = debug.traceback(tostring(err), 2)
    -- What lies below the program is links' own, and no news.
    return (text:gsub("\n\t%[C%]: in function 'xpcall'\n\tlinks/boot.lua.*", ""))
end

local function run(chunk, ...)
    local ok, message = xpcall(chunk, on_error, ...)
    if not ok then
        complain(message)
        core.exit(1)
    end
    return ok
end

local function run_first(first)
    for _, item in ipairs(first) do
        if item.kind == "l" then
            local function load_module() rawset(_G, item.text, require(item.text)) end
            if not run(load_module) then return false end
        else
            local chunk, message = loadstring(item.text, "=(command line)")
            if not chunk then
                give_up(message)
                return false
            end
            if not run(chunk) then return false end
        end
    end
    return true
end

local function load_script(program)
    if program.stdin then
        local text = io.stdin:read("*a") or ""
        return loadstring((text:gsub("^#[^\n]*", "", 1)), "=stdin")
    end
    local file, message = io.open(program.script, "r")
    if not file then return nil, "cannot open " .. message end
    -- A directory opens, and only then cannot be read.
    local _, unreadable = file:read(0)
    file:close()
    if unreadable then return nil, "cannot read " .. program.script .. ": " .. unreadable end
    return loadfile(program.script)
end

local function arguments(program)
    local arg, argv = program.arg, {}
    for i = 1, #arg do argv[i] = arg[i] end
    return arg, argv
end

return function(program)
    local argv
    coroutines.install()
    loader.install()
    arg, argv = arguments(program)
    rawset(_G, "argv", argv)
    guard.install(program.strict)
    require("links.task").reportFailures()
    if not run_first(program.first) then return end
    if not program.script and not program.stdin then return end
    local chunk, message = load_script(program)
    if not chunk then return give_up(message) end
    run(chunk, unpack(argv))
end
