-- Reads the docstrings of the Lua library: for docs/gen.lua, which makes pages of them, and
-- docs/examples.lua, which runs their examples.
--
-- A docstring is a block of lines that begin with ---, above a function or a field, or at the top
-- of a file.
-- First comes prose, then tags, each of which goes on until the next one:
--
--   @param name type   what it means; the options of a table as "name  default  what it means" or
--                      "name  what it means", one a line
--   @return type       what it means; several types and meanings are several @return
--   @return nil, err   NAME  when, one a line; or NAME, NAME  when; or NAME and others  when
--   @raise             when
--   @wait              the function may wait
--   @usage             an example that runs as it stands
local docstrings = {}

local TAGS = {param = true, ["return"] = true, raise = true, wait = true, usage = true}

local function trim(s)
    return (s:gsub("^%s+", ""):gsub("%s+$", ""))
end

-- The files of the library, sorted.
function docstrings.files()
    local files = {}
    local pipe = assert(io.popen("find lib/links -name '*.lua'"))
    for path in pipe:lines() do
        files[#files + 1] = path
    end
    pipe:close()
    table.sort(files)
    return files
end

-- "    f(x)" of a continued line: its indentation within the example, without that of "---".
local function text_of(line)
    return (line:gsub("^%-%-%-%s?", ""))
end

-- Splits a block into its prose and its tags. `first` is the number of its first line.
local function parse_block(path, lines, first)
    local block = {path = path, line = first, prose = {}, tags = {}}
    local tag
    for i, raw in ipairs(lines) do
        local text = text_of(raw)
        local name, rest = text:match("^@(%a+)%s?(.*)$")
        if name and not TAGS[name] then
            error(("%s:%d: there is no tag @%s"):format(path, first + i - 1, name), 0)
        elseif name then
            tag = {name = name, line = first + i - 1, lines = {rest}}
            table.insert(block.tags, tag)
        elseif tag then
            table.insert(tag.lines, text)
        else
            table.insert(block.prose, text)
        end
    end
    return block
end

-- The source of an example, in the lines that it has in its file.
local function example_of(tag)
    local lines = tag.lines
    local code = lines[1]
    for i = 2, #lines do
        code = code .. "\n" .. lines[i]
    end
    return code
end

-- "function Timer.__index:cancel()" of lib/links/timer.lua is timer:cancel() to its users.
local function shown_name(module, receiver, separator, name)
    receiver = receiver:gsub("%.__index$", "")
    if receiver == "methods" then
        receiver = module:match("[^.]+$")
    end
    return receiver:sub(1, 1):lower() .. receiver:sub(2) .. separator .. name
end

-- Those of a function that another one has made: what is said of them is all there is to see.
local function made_arguments(block)
    local names = {}
    for _, tag in ipairs(block.tags) do
        if tag.name == "param" then
            names[#names + 1] = tag.lines[1]:match("%S+")
        end
    end
    return #names > 0 and "(" .. table.concat(names, ", ") .. ")" or ""
end

local function signature_of(module, line, block)
    local receiver, separator, name, args =
        line:match("^function%s+([%w_.]-)([.:])([%a_][%w_]*)%s*(%b())")
    if not receiver then
        receiver, separator, name, args =
            line:match("^([%w_.]-)([.])([%a_][%w_]*)%s*=%s*function%s*(%b())")
    end
    if not receiver then
        receiver, separator, name = line:match("^([%w_.]-)([.])([%a_][%w_]*)%s*=")
        args = made_arguments(block)
    end
    -- A class has a capital.
    if receiver == "methods" or receiver and receiver:find("^%u") then
        separator = ":"
    end
    if receiver and receiver ~= "" then
        return shown_name(module, receiver, separator, name) .. args
    end
end

-- Reads one file: {path, module, public, blocks}; the block at the top of the file is blocks.top.
function docstrings.read(path)
    local module = path:gsub("^lib/links/", ""):gsub("%.lua$", ""):gsub("/", ".")
    local result = {path = path, module = module, blocks = {}}
    local pending, first, number = nil, nil, 0
    for line in io.lines(path) do
        number = number + 1
        if line:find("^%-%-%-") then
            if not pending then
                pending, first = {}, number
            end
            table.insert(pending, line)
        elseif pending then
            local block = parse_block(path, pending, first)
            if first == 1 then
                result.top = block
            end
            block.signature = signature_of(module, line, block)
            if block.signature then
                table.insert(result.blocks, block)
            elseif result.top and first ~= 1 then
                error(path .. ":" .. first .. ": this docstring is above no function and no field",
                    0)
            end
            pending = nil
        end
    end
    result.public = result.top ~= nil
    return result
end

-- Every example of a file: {{path, line, name, code}}.
function docstrings.examples(path)
    local examples = {}
    local file = docstrings.read(path)
    local function collect(block, name)
        for _, tag in ipairs(block.tags) do
            if tag.name == "usage" then
                table.insert(examples,
                    {path = path, line = tag.line, name = name, code = example_of(tag)})
            end
        end
    end
    if file.top then
        collect(file.top, file.module)
    end
    for _, block in ipairs(file.blocks) do
        collect(block, block.signature)
    end
    return examples
end

docstrings.example_of = example_of
docstrings.trim = trim

return docstrings
