package.path = "tests/support/?.lua;" .. package.path
local program = require "program"
local reference = require "reference"
local task = require "links.task"
local timer = require "links.timer"

local function same_as_plain_lua(snippets)
    for _, snippet in ipairs(snippets) do
        local plain, links = reference.compare(snippet)
        assert.equal(plain, links, snippet)
    end
end

local serial = 0

-- A module of a new name.
local function module_of(fn)
    serial = serial + 1
    local name = "loader.spec" .. serial
    package.preload[name] = fn
    return name
end

describe("require, as in plain Lua", function()
    it("gives what the module returned, or what it put into package.loaded, or true", function()
        same_as_plain_lua {
            "package.preload.m1 = function() end return show(require 'm1', require 'm1')",
            "package.preload.m2 = function(...) return ... end return show(require 'm2')",
            "package.preload.m3 = function() return false end return show(require 'm3')",
            "package.preload.m4 = function(n) package.loaded[n] = 'early'"
                .. " return nil, require(n) end return show(require 'm4')",
            "package.preload['5'] = function() return 'five' end return show(require(5))",
            "package.loaded.m6 = false package.preload.m6 = function() return 'l' end"
                .. " return show(require 'm6')",
            "package.preload.m7 = function(n) module(n, package.seeall) x = 5 end"
                .. " local m = require 'm7' return show(m.x, m._NAME, m7 == m)",
        }
    end)

    it("names what it has searched", function()
        same_as_plain_lua {
            "package.path, package.cpath = './?.x;/y/?.lua', './?.so'"
                .. " return show(pcall(function() local m = require 'no.such.module' end))",
            "package.path, package.cpath = '', '' package.loaders[#package.loaders + 1] ="
                .. " function(n) return '\\n\\tcustom ' .. n end"
                .. " return show(pcall(require, 'zz.z'))",
            "package.loaders = { function() return 5 end } return show(pcall(require, 'zz'))",
            "package.loaders = { function() error('in a loader', 0) end }"
                .. " return show(pcall(require, 'zz'))",
            "package.loaders = nil return show(pcall(require, 'zz'))",
            "package.preload = nil return show(pcall(require, 'zz'))",
            "return show(pcall(function() require() end))",
            "return show(pcall(function() require({}) end))",
        }
    end)

    it("finds circles", function()
        same_as_plain_lua {
            "package.preload.ma = function() require 'mb' end"
                .. " package.preload.mb = function() require 'ma' end"
                .. " return show(pcall(require, 'ma'))",
            "package.preload.mc = function() require 'mc' end return show(pcall(require, 'mc'))",
        }
    end)

    it("tells of a module that does not parse", function()
        program.with_file("local x = = 1", function(path)
            local name = path:match("[^/]+$")
            same_as_plain_lua {
                "package.path = '" .. path:match(".*/") .. "?' package.cpath = ''"
                    .. " return show(pcall(require, '" .. name .. "'))",
            }
        end)
    end)

    it("knows the public modules with and without their prefix", function()
        for _, name in ipairs { "task", "timer", "sync", "process", "http" } do
            assert.equal(require("links." .. name), require(name))
        end
    end)
end)

describe("require of a module that waits", function()
    it("loads it once for all tasks that ask meanwhile", function()
        local loads = 0
        local name = module_of(function()
            loads = loads + 1
            timer.sleep(3)
            return { loads }
        end)
        local all = {}
        for i = 1, 10 do all[i] = task.spawn(require, name) end
        local first = select(2, all[1]:join())
        for i = 2, 10 do assert.equal(first, select(2, all[i]:join())) end
        assert.equal(1, loads)
    end)

    it("lets the next one try where the first has failed", function()
        local loads = 0
        local name = module_of(function()
            loads = loads + 1
            timer.sleep(1)
            if loads < 3 then error("not yet", 0) end
            return "loaded"
        end)
        local all = {}
        for i = 1, 4 do all[i] = task.spawn(require, name) end
        assert.same({ false, "not yet" }, { all[1]:join() })
        assert.same({ false, "not yet" }, { all[2]:join() })
        assert.same({ true, "loaded" }, { all[3]:join() })
        assert.same({ true, "loaded" }, { all[4]:join() })
    end)

    it("finds circles across tasks, instead of a deadlock", function()
        local a, b
        a = module_of(function() timer.sleep(1) return { require(b) } end)
        b = module_of(function() timer.sleep(1) return { require(a) } end)
        local ta, tb = task.spawn(require, a), task.spawn(require, b)
        local failures = 0
        for _, t in ipairs { ta, tb } do
            local ok, err = t:join(20000)
            assert.is_not_nil(ok)
            if not ok then
                failures = failures + 1
                assert.matches("loop or previous error loading module", err)
            end
        end
        assert.is_true(failures >= 1)
    end)

    it("does not wait for a task that has left it in a coroutine it dropped", function()
        local loads = 0
        local name = module_of(function()
            loads = loads + 1
            if loads == 1 then coroutine.yield("half") end
            return "whole"
        end)
        task.spawn(function() coroutine.wrap(require)(name) end):join()
        local t = task.spawn(require, name)
        assert.same({ true, "whole" }, { t:join(20000) })
    end)

    it("is safe where a loader waits while it searches", function()
        local loads = 0
        local name = "loader.searched"
        table.insert(package.loaders, 1, function(wanted)
            if wanted ~= name then return nil end
            timer.sleep(1)
            return function() loads = loads + 1 timer.sleep(1) return "found" end
        end)
        local t, u = task.spawn(require, name), task.spawn(require, name)
        assert.same({ true, "found" }, { t:join() })
        assert.same({ true, "found" }, { u:join() })
        table.remove(package.loaders, 1)
        assert.equal(1, loads)
    end)
end)

describe("load and dofile", function()
    it("load as plain Lua does", function()
        same_as_plain_lua {
            "return show(load(function() return nil end))",
            "return show(load(function() error('r') end))",
            "return show(load(function() error({}) end))",
            "local t = { 'return ', 1, '+1' } local i = 0"
                .. " return show(load(function() i = i + 1 return t[i] end)())",
            "return show(load('x x')) .. show(load('return 1', '=n', 'b'))",
            "return show(load('return x', '=n', 't', { x = 5 })())",
            "local i = 0 return show(load(function() i = i + 1"
                .. " return i == 1 and 'x x' or nil end, '=foo'))",
            "return show(pcall(function() load() end)) .. show(pcall(function() load({}) end))",
            "local s = string.dump(function() return 'dumped' end) local i = 0"
                .. " return show(load(function() i = i + 1 return s:sub(i, i) end)())",
        }
    end)

    it("dofile as plain Lua does, and may wait", function()
        same_as_plain_lua { "return show(pcall(dofile, '/nowhere'))" }
        program.with_file("return require('timer').sleep(1), 2, nil", function(path)
            assert.same({ 3, true, 2 }, { select("#", dofile(path)), dofile(path) })
        end)
        program.with_file("x x", function(path)
            assert.is_false(pcall(dofile, path))
        end)
    end)
end)
