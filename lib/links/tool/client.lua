-- What links' own programs have in common: finding an admin socket and asking it, and an end with
-- one line where that fails.
local core = require "links.core"
local json = require "links.json"
local places = require "links.admin.places"
local unix = require "links.unix"

local Client = {}
Client.__index = Client

local client = {}

local CONNECT_MS = 2000

--- Ends the program: code 1, and why.
function client.fail(tool, message)
    io.stdout:flush()
    io.stderr:write("links ", tool, ": ", message, "\n")
    core.exit(1)
    core.park(nil, nil, "exit") -- nothing that follows is to run
end

--- The same for a command line that is wrong: code 2.
function client.usage(tool, usage, message)
    io.stderr:write("links ", tool, ": ", message, "\n", usage)
    core.exit(2)
    core.park(nil, nil, "exit")
end

--- Connects to the admin socket of a process, by its number or by the socket's path.
function client.connect(tool, target)
    local path = target:gsub("^unix:", "")
    if target:find("^%d+$") then
        local why
        path, why = places.find(tonumber(target))
        if not path then return client.fail(tool, why) end
    end
    local socket, err = unix.connect(path, { connectTimeout = CONNECT_MS })
    if not socket then
        local hint = err.name == "ECONNREFUSED" and " (nobody listens there any more)" or ""
        return client.fail(tool, path .. ": " .. err.message .. hint)
    end
    return setmetatable({ tool = tool, path = path, socket = socket }, Client)
end

--- The answer to a command, as text.
function Client:ask(command, ms)
    self.socket:setTimeout(ms or 10000)
    local ok, err = self.socket:write(command .. "\n")
    local line, text
    if ok then line, err = self.socket:readline() end
    if line and not err then
        local wrong = line:match("^error (.*)$")
        if wrong then return client.fail(self.tool, wrong) end
        local n = line:match("^ok (%d+)$")
        if not n then return client.fail(self.tool, self.path .. ": it is no admin socket") end
        if n == "0" then return "" end
        text, err = self.socket:read(tonumber(n))
    end
    if not err then return text end
    if err.name == "EOF" or err.name == "ECONNRESET" or err.name == "EPIPE" then
        return client.fail(self.tool, "the process has gone")
    end
    return client.fail(self.tool, self.path .. ": " .. err.message)
end

--- The same as values: an array of what each process says.
function Client:ask_all(command, ms)
    local value = json.decode(self:ask("json " .. command, ms))
    if type(value) ~= "table" then
        return client.fail(self.tool, self.path .. ": it is no admin socket")
    end
    return value
end

--- Splits off options: `known` has a letter for each, true for one with an argument. Returns
--- options, the other arguments.
function client.options(tool, usage, known, ...)
    local options, rest, i, args = {}, {}, 1, { ... }
    while args[i] do
        local letter, value = args[i]:match("^%-(%a)(.*)$")
        if not letter then
            rest[#rest + 1] = args[i]
        elseif known[letter] == nil then
            return client.usage(tool, usage, "unknown option " .. args[i])
        elseif known[letter] then
            if value == "" then
                i = i + 1
                value = args[i]
            end
            if not value then return client.usage(tool, usage, "-" .. letter .. " what?") end
            options[letter] = value
        else
            options[letter] = true
        end
        i = i + 1
    end
    return options, rest
end

--- A number of an option or an argument within bounds; its default where it is missing.
function client.number(tool, usage, text, default, min, max)
    if text == nil then return default end
    local n = tonumber(text)
    if n and n >= min and n <= max then return n end
    return client.usage(tool, usage, ("not a number from %g to %g: %s"):format(min, max, text))
end

return client
