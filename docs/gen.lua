-- Writes docs/api: a page for each public module of lib/links, made from its docstrings, and an
-- index. A module is public if its file opens with a docstring.
--
--   links docs/gen.lua           writes the pages, removes those of modules that are gone
--   links docs/gen.lua --check   writes nothing; names the pages that are not up to date
package.path = "docs/?.lua;" .. package.path
local docstrings = require "docstrings"
local trim = docstrings.trim

local OUT = "docs/api/"

-- Prose as it stands, but a cell of a table has no line ends and no bars.
local function cell(s)
    return (trim(s):gsub("%s*\n%s*", " "):gsub("|", "\\|"))
end

-- Two columns are apart by two spaces or more: "integer  bytes, 1 or more".
local function columns(line)
    local left, right = trim(line):match("^(.-)%s%s+(.*)$")
    if left then
        return left, right
    end
    return trim(line), ""
end

local function tags_of(block, name)
    local found = {}
    for _, tag in ipairs(block.tags) do
        if tag.name == name then
            found[#found + 1] = tag
        end
    end
    return found
end

-- A row of a list of options: its name, its default where it has one, what it means.
local function option_of(line)
    local name, default, meaning = trim(line):match("^(%a%w*)%s%s+(%S.-)%s%s+(.*)$")
    if not name then
        name, meaning = trim(line):match("^(%a[%w, ()]-)%s%s+(.*)$")
    end
    if name then
        return ("`%s`%s: %s"):format(name, default and " (" .. default .. ")" or "", meaning)
    end
end

-- What a parameter means, with a line for each of its options.
local function meaning_of(kind, text)
    local parts = {""}
    for line in (text .. "\n"):gmatch("(.-)\n") do
        local option = kind:find("table", 1, true) and option_of(line)
        if option then
            table.insert(parts, option)
        else
            parts[#parts] = parts[#parts] .. "\n" .. line
        end
    end
    for i, part in ipairs(parts) do
        parts[i] = cell(part)
    end
    if parts[1] == "" then
        table.remove(parts, 1)
    end
    return table.concat(parts, "<br>")
end

local function write_params(out, block)
    local params = tags_of(block, "param")
    if #params == 0 then
        return
    end
    out("\n| argument | type | |\n|---|---|---|\n")
    for _, tag in ipairs(params) do
        local text = table.concat(tag.lines, "\n")
        local name, rest = text:match("^%s*(%S+)%s+(.*)$")
        if not name then
            error(("%s:%d: @param name type  what it means"):format(block.path, tag.line), 0)
        end
        local kind, meaning = rest:match("^(.-)%s%s+(.*)$")
        if not kind then
            kind, meaning = rest, ""
        end
        out(("| `%s` | %s | %s |\n"):format(name, cell(kind), meaning_of(kind, meaning)))
    end
end

-- "ETIMEDOUT  nothing came" begins an error, and so do "ECONNRESET and others  as socket:read" and
-- "EOF, CLOSED  it is gone"; other lines go on with the one before.
local function write_errors(out, lines)
    local errors = {}
    for _, line in ipairs(lines) do
        local names, also, meaning = trim(line):match("^(%u[%u%d_]+[%u%d_,. ]-)([%l ]-)%s%s+(.*)$")
        if names then
            local shown = names:gsub("[%u%d_]+", "`%0`")
            table.insert(errors, {shown .. also, meaning})
        elseif trim(line) ~= "" then
            if #errors == 0 then
                table.insert(errors, {nil, trim(line)})
            else
                errors[#errors][2] = errors[#errors][2] .. " " .. trim(line)
            end
        end
    end
    for _, entry in ipairs(errors) do
        out(entry[1] and ("  - %s: %s\n"):format(entry[1], entry[2])
            or ("  - %s\n"):format(entry[2]))
    end
end

local function write_returns(out, block)
    local returns = tags_of(block, "return")
    if #returns == 0 then
        return
    end
    out("\nReturns\n\n")
    for _, tag in ipairs(returns) do
        local kind, meaning = columns(tag.lines[1])
        if kind:find(", err$") then
            out(("- `%s`\n"):format(kind))
            local lines = {meaning}
            for i = 2, #tag.lines do
                lines[i] = tag.lines[i]
            end
            write_errors(out, lines)
        else
            for i = 2, #tag.lines do
                meaning = meaning .. "\n" .. tag.lines[i]
            end
            meaning = meaning_of(kind, meaning)
            out(meaning == "" and ("- `%s`\n"):format(kind)
                or ("- `%s`: %s\n"):format(kind, meaning))
        end
    end
end

local function write_block(out, block)
    out(trim(table.concat(block.prose, "\n")) .. "\n")
    if #tags_of(block, "wait") > 0 then
        out("\nIt may wait: the task parks and the others run.\n")
    end
    write_params(out, block)
    write_returns(out, block)
    for _, tag in ipairs(tags_of(block, "raise")) do
        out(("\nRaises an error when: %s.\n"):format(cell(table.concat(tag.lines, "\n"))))
    end
    for _, tag in ipairs(tags_of(block, "usage")) do
        out(("\n```lua\n%s\n```\n"):format(trim(docstrings.example_of(tag))))
    end
end

local function page_of(file)
    local parts = {}
    local function out(s)
        parts[#parts + 1] = s
    end
    out(("<!-- Made from %s by make docs: edit it there. -->\n"):format(file.path))
    out(("# %s\n\n"):format(file.module))
    write_block(out, file.top)
    for _, block in ipairs(file.blocks) do
        out(("\n## %s\n\n"):format(block.signature))
        write_block(out, block)
    end
    return table.concat(parts)
end

-- The first sentence of a module, for the index.
local function summary_of(file)
    local paragraph = table.concat(file.top.prose, "\n"):match("^(.-)\n%s*\n")
        or table.concat(file.top.prose, "\n")
    return cell(paragraph)
end

local function pages()
    local made = {}
    local index = {"<!-- Made by make docs. -->\n# The API of links\n\n| module | |\n|---|---|\n"}
    for _, path in ipairs(docstrings.files()) do
        local file = docstrings.read(path)
        if file.public then
            local name = file.module .. ".md"
            made[name] = page_of(file)
            table.insert(index, ("| [%s](%s) | %s |\n"):format(file.module, name, summary_of(file)))
        end
    end
    made["README.md"] = table.concat(index)
    return made
end

local function read(path)
    local file = io.open(path, "rb")
    if not file then
        return nil
    end
    local text = file:read("*a")
    file:close()
    return text
end

local function write(path, text)
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    assert(file:close())
end

local function present()
    local names = {}
    local pipe = assert(io.popen("ls docs/api 2>/dev/null"))
    for name in pipe:lines() do
        names[#names + 1] = name
    end
    pipe:close()
    return names
end

local function main(check)
    local ok, made = pcall(pages)
    if not ok then
        io.stderr:write(tostring(made), "\n")
        os.exit(1)
    end

    local stale = 0
    for name, text in pairs(made) do
        if read(OUT .. name) ~= text then
            stale = stale + 1
            if check then
                print(OUT .. name .. ":1: is not up to date: make docs")
            end
        end
    end
    for _, name in ipairs(present()) do
        if not made[name] then
            stale = stale + 1
            if check then
                print(OUT .. name .. ":1: its module is gone: make docs")
            else
                os.remove(OUT .. name)
            end
        end
    end
    if check then
        os.exit(stale == 0 and 0 or 1)
    end

    os.execute("mkdir -p " .. OUT)
    for name, text in pairs(made) do
        write(OUT .. name, text)
    end
end

main(arg[1] == "--check")
