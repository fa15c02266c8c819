-- links admin: asks a running program one thing, and prints the answer.
local client = require "links.tool.client"

local USAGE = [[
usage: links admin PID|PATH COMMAND [ARGUMENT...]
  links admin PID help     lists the commands
]]

-- What the longest profile takes, and some more.
local PATIENCE_MS = 3700000

return function(target, ...)
    if target == "-h" or target == "--help" then return io.stdout:write(USAGE) end
    if not target then return client.usage("admin", USAGE, "whom?") end
    local command = table.concat({ ... }, " ")
    if command == "" then return client.usage("admin", USAGE, "ask what?") end
    if command:find("%c") then return client.fail("admin", "a command is one line") end
    io.stdout:write(client.connect("admin", target):ask(command, PATIENCE_MS))
end
