-- Runs every example of the documentation, so that none of them lies: the @usage of each docstring
-- and the ```lua blocks of README.md, docs and examples. Speaks TAP, and a failure names the line
-- of the file that the example stands in. Each example is a chunk of its own, in one process,
-- within five seconds.
--
-- A server of an example lives until the end of this process. Examples name the port 8080, as
-- people would; here it becomes 0, so that the system chooses one that is free.
package.path = "docs/?.lua;" .. package.path
local docstrings = require "docstrings"
local task = require "task"

local TIMEOUT_MS = 30000

-- The ```lua blocks of a Markdown file.
local function fenced(path)
    local examples, current, number = {}, nil, 0
    for line in io.lines(path) do
        number = number + 1
        if current and line:find("^```") then
            current.code = table.concat(current.lines, "\n")
            table.insert(examples, current)
            current = nil
        elseif current then
            table.insert(current.lines, line)
        elseif line:find("^```lua%s*$") then
            current = {path = path, line = number + 1, name = "block", lines = {}}
        end
    end
    return examples
end

local function collect()
    local all = {}
    local function add(examples)
        for _, example in ipairs(examples) do
            table.insert(all, example)
        end
    end
    for _, path in ipairs(docstrings.files()) do
        add(docstrings.examples(path))
    end
    -- The pages of docs/api repeat the docstrings.
    local pipe = assert(io.popen("find README.md docs examples -name '*.md' ! -path 'docs/api/*'"))
    for path in pipe:lines() do
        add(fenced(path))
    end
    pipe:close()
    return all
end

-- Runs one. Its lines are those of its file, so errors point there. Returns true or an error.
local function run(example)
    local code = ("\n"):rep(example.line - 1) .. example.code:gsub("%f[%d]8080%f[%D]", "0")
    local chunk, err = loadstring(code, "@" .. example.path)
    if not chunk then
        return err
    end
    local finished = false
    local ok, failure = xpcall(function()
        task.withTimeout(TIMEOUT_MS, function()
            chunk()
            finished = true
        end)
    end, debug.traceback)
    if not ok then
        return failure
    end
    return finished or ("it took longer than %d ms"):format(TIMEOUT_MS)
end

local failed = false
for _, example in ipairs(collect()) do
    local name = ("%s:%d %s"):format(example.path, example.line, example.name)
    io.write("# ", name, "\n")
    io.flush()
    local result = run(example)
    if result == true then
        io.write("ok - ", name, "\n")
    else
        failed = true
        io.write("# ", tostring(result):gsub("\n", "\n# "), "\n", "not ok - ", name, "\n")
    end
end
io.flush()
os.exit(failed and 1 or 0)
