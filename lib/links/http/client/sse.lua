-- Streams of events, as the HTML standard has them (9.2.6, Interpreting an event stream).
local ahead = require "links.ahead"
local errors = require "links.errors"

local sse = {}

local function too_large()
    return nil, errors.new(errors.code("EXCEED_BUF_SIZE"), "http", {
        message = "the data of an event is larger than the limit",
    })
end

local fields = {}

function fields.event(state, value) state.event = value end

function fields.data(state, value)
    state.data[#state.data + 1] = value
    state.size = state.size + #value + 1
end

function fields.id(state, value)
    if not value:find("%z") then state.id = value end
end

function fields.retry(state, value)
    if value:find("^%d+$") then state.retry = tonumber(value) end
end

local function take(state, line)
    local name, value = line:match("^([^:]*): ?(.*)$")
    if not name then name, value = line, "" end
    local field = fields[name] -- a line that begins with a colon is a comment
    if field then field(state, value) end
end

local function begin(state)
    state.event, state.data, state.size = "", {}, 0
end

-- The next line: CR, LF, or both end one.
local function line_reader(res, max, read_on)
    local after_cr = false
    return function()
        while true do
            local line, last = ahead.line(res, "[\r\n]", max, read_on)
            if last == "too long" then return too_large() end
            if not line then return nil, last end
            local is_lf_of_cr = after_cr and last == 10 and line == ""
            after_cr = last == 13
            -- A line that does not end is not complete, and none.
            if not last then return nil end
            if not is_lf_of_cr then return line end
        end
    end
end

-- An iterator over the events of an answer; read_on(res) gives the next piece of its body.
function sse.events(res, max, read_on)
    local state = { id = "" }
    local next_line, first = line_reader(res, max, read_on), true
    begin(state)
    return function()
        while true do
            local line, err = next_line()
            if not line then return nil, err end
            if first then line, first = line:gsub("^\239\187\191", ""), false end
            if line ~= "" then
                take(state, line)
                if state.size > max then return too_large() end
            elseif state.data[1] then
                local event = {
                    event = state.event ~= "" and state.event or "message", id = state.id,
                    data = table.concat(state.data, "\n"), retry = state.retry,
                }
                begin(state)
                return event
            else
                begin(state)
            end
        end
    end
end

return sse
