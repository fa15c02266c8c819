local process = require "links.process"
local task = require "links.task"
local timer = require "links.timer"

describe("process.on(\"error\")", function()
    local handlers

    local function on(fn)
        handlers[#handlers + 1] = fn
        assert.is_true(process.on("error", fn))
    end

    before_each(function() handlers = {} end)
    after_each(function()
        for _, fn in ipairs(handlers) do process.off("error", fn) end
    end)

    it("hears of each failure that nobody waits for, with task and traceback", function()
        local seen = {}
        on(function(err, t, traceback) seen[#seen + 1] = { err, t, traceback } end)
        local object = {}
        local t = task.spawn(function() local function deep() error(object) end deep() end)
        timer.sleep(1)
        assert.equal(1, #seen)
        assert.equal(object, seen[1][1])
        assert.equal(t, seen[1][2])
        assert.matches("in function 'deep'", seen[1][3])
    end)

    it("may wait, and calls every function", function()
        local n = 0
        on(function() timer.sleep(1) n = n + 1 end)
        on(function() n = n + 10 end)
        task.spawn(error, "x")
        timer.sleep(4)
        assert.equal(11, n)
    end)

    it("is printed, with the failure, where a function of it fails", function()
        local real, text = io.stderr, {}
        on(function() error("in the handler") end)
        local function write(_, ...) text[#text + 1] = table.concat { ... } end
        rawset(io, "stderr", { write = write })
        task.spawn(error, "the failure")
        timer.sleep(1)
        rawset(io, "stderr", real)
        text = table.concat(text)
        assert.matches("the failure", text)
        assert.matches("in the handler", text)
    end)

    it("does not hear of failures that are joined, or of cancelled tasks", function()
        local n = 0
        on(function() n = n + 1 end)
        task.spawn(error, "x"):join()
        local t = task.spawn(function() error(select(2, timer.sleep(1e6))) end)
        timer.sleep(0)
        t:cancel()
        timer.sleep(1)
        assert.equal(0, n)
    end)

    it("ends with process.off, from inside too; another off does no harm", function()
        local n = 0
        local function once()
            n = n + 1
            process.off("error", once)
        end
        on(once)
        on(function() end)
        task.spawn(error, "a")
        timer.sleep(1)
        task.spawn(error, "b")
        timer.sleep(1)
        assert.equal(1, n)
        assert.is_true(process.off("error", once))
        assert.is_true(process.off("error", print))
    end)

    it("raises at the caller's line for an unknown event or no function", function()
        for _, name in ipairs { "on", "off" } do
            local ok, err = pcall(function() process[name]("eror", print) end)
            assert.is_false(ok)
            assert.matches("process_spec.lua:%d+: process%." .. name
                .. '.*unknown event "eror" %(did you mean "error"%?%)', err)
            assert.is_false(pcall(process[name], 5, print))
            assert.is_false(pcall(process[name], "error"))
            assert.is_false(pcall(process[name]))
        end
    end)
end)

describe("process", function()
    it("knows its arguments and its id", function()
        assert.is_table(process.argv)
        local file = io.open("/proc/self/stat")
        if file then
            assert.equal(process.pid, file:read("*n"))
            file:close()
        end
    end)
end)
