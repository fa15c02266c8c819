-- process.run: a program from its start to its end, and all that it has said meanwhile.
local core = require "links.core"
local errors = require "links.errors"
local task = require "links.task"
local binding = require "links.process.ffi"
local start = require "links.process.start"
local Child = require "links.process.child"

local C = binding.C

local ETIMEDOUT = -errors.code("ETIMEDOUT")

local Run = {}
Run.__index = Run

-- A task of the group that ends with its pipe.
function Run:serve(group, pipe, fn)
    if not pipe then return end
    self.open = self.open + 1
    group:spawn(function()
        local _, err = fn(pipe)
        self.open = self.open - 1
        if self.open == 0 then core.wakeAll(self.over) end
        if err and err.name == "TOO_LARGE" then
            self.too_large = err
            C.links_child_stop(self.handle)
        elseif err and err.name ~= "CLOSED" then
            error(err, 0)
        end
    end)
end

function Run:collect(group, pipe, field)
    self.result[field] = pipe and "" or nil
    self:serve(group, pipe, function()
        local text, err = Child.drain({ handle = pipe }, self.max, "run")
        self.result[field] = text
        return text, err
    end)
end

function Run:feed(group, pipe, input)
    self:serve(group, pipe, function()
        local n, err = 0, nil
        if input then n, err = Child.write(pipe, input, "run") end
        C.links_pipe_close(pipe)
        -- A program need not read what it is given.
        return n, err and err.name ~= "EPIPE" and err or nil
    end)
end

function Run:close()
    for _, pipe in ipairs(self.pipes) do
        if pipe then C.links_pipe_close(pipe) end
    end
end

-- After the end of the child, or of its time. A child that was ended may have left others behind
-- that have its output: what is there is taken, and no more waited for.
function Run:finish_reading(cut)
    while not cut and self.open > 0 do
        local left = self.ends and self.ends - core.now()
        if left and left <= 0 then
            cut, self.result.timedOut = true, true
        else
            local status = core.park(self.over, left, "run")
            if status ~= 0 and status ~= ETIMEDOUT then return end
        end
    end
    for i = 2, 3 do
        while self.open > 0 and self.pipes[i] and C.links_pipe_peek(self.pipes[i]) > 0 do
            if self.too_large or core.yield() ~= 0 then break end
        end
    end
    self:close()
end

function Run:supervise()
    local status = Child.wait_for(self.handle)
    if not status then return end
    for key, value in pairs(status) do self.result[key] = value end
    self:finish_reading(self.too_large or status.timedOut)
end

-- Returns the result and an error; without a result where the task was cut short.
return function(what, input, max)
    local handle, pipes = start.now(what)
    if not handle then return nil, pipes end
    local self = setmetatable({
        handle = handle,
        pipes = pipes,
        max = max,
        ends = what.timeout > 0 and core.now() + what.timeout or nil,
        result = {},
        open = 0,
        over = core.queue(),
    }, Run)
    local ok, failure, err = pcall(task.group, function(group)
        self:feed(group, pipes[1], input)
        self:collect(group, pipes[2], "stdout")
        self:collect(group, pipes[3], "stderr")
        self:supervise()
    end)
    self:close()
    if err or not ok then C.links_child_stop(handle) end
    if not ok then error(failure, 0) end -- it cannot wait here, below table.sort say
    if err then return nil, err end
    local result = self.result
    if result.timedOut then
        return result, errors.new(ETIMEDOUT, "run", { message = "the program's time was up" })
    end
    return result, self.too_large
end
