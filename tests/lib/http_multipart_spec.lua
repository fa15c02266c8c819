local fs = require "fs"
local http = require "http"

local TYPE = "multipart/form-data; boundary=XyZ"

-- Calls a handler with a body that comes in pieces of `size` bytes; what the handler returns.
local function ask(handler, body, kind, size)
    local app, result, at = http.router(), nil, 1
    app:post("/", function(req)
        result = { handler(req) }
        return ""
    end)
    local function pieces()
        if at > #body then return nil end
        local piece = body:sub(at, at + (size or #body) - 1)
        at = at + #piece
        return piece
    end
    app:call("POST", "/", { headers = { ["content-type"] = kind or TYPE }, body = pieces })
    return unpack(result, 1, 3)
end

local function part(disposition, content, more)
    local head = "Content-Disposition: form-data; " .. disposition .. "\r\n" .. (more or "")
    return "--XyZ\r\n" .. head .. "\r\n" .. content .. "\r\n"
end

local FORM = part('name="title"', "hello") .. part('name="empty"', "")
    .. part('name="f"; filename="a.txt"', "line\r\n-XyZ is not\r\n--Xy\r\n-",
        "Content-Type: text/x\r\n")
    .. part('name="title"', "again") .. "--XyZ--\r\n"

-- Everything that a form has, as one list; nil, err.
local function collect(options)
    return function(req)
        local list = {}
        for one, err in req:parts(options) do
            if err then return nil, err end
            local body
            body, err = one:body()
            if err then return nil, err end
            list[#list + 1] = { one.name, one.filename, one.type, body }
        end
        return list
    end
end

local EXPECTED = {
    { "title", nil, "text/plain", "hello" }, { "empty", nil, "text/plain", "" },
    { "f", "a.txt", "text/x", "line\r\n-XyZ is not\r\n--Xy\r\n-" },
    { "title", nil, "text/plain", "again" },
}

local function fails(status, body, options, kind)
    local list, err = ask(collect(options), body, kind)
    assert.is_nil(list)
    assert.equal(status, err.status)
    return err.message
end

describe("req:parts", function()
    it("reads the parts of a form, in pieces of every size", function()
        for size = 1, #FORM do
            assert.same(EXPECTED, (ask(collect(), FORM, TYPE, size)))
        end
    end)

    it("reads the parts of a form that is split at every byte", function()
        for split = 1, #FORM - 1 do
            local app, list = http.router(), nil
            app:post("/", function(req)
                list = collect()(req)
                return ""
            end)
            local pieces, n = { FORM:sub(1, split), FORM:sub(split + 1) }, 0
            app:call("POST", "/", { headers = { ["content-type"] = TYPE }, body = function()
                n = n + 1
                return pieces[n]
            end })
            assert.same(EXPECTED, list)
        end
    end)

    it("reads content in pieces as small as one likes, and passes over what nobody reads",
        function()
        local seen = ask(function(req)
            local list = {}
            for one in req:parts() do
                if one.name == "f" then
                    for piece in function() return (one:read(3)) end do
                        assert.truthy(#piece >= 1 and #piece <= 3)
                        list[#list + 1] = piece
                    end
                else
                    list[#list + 1] = one:read(1)
                end
            end
            return table.concat(list)
        end, FORM, TYPE, 7)
        assert.equal("h" .. EXPECTED[3][4] .. "a", seen)
    end)

    it("passes over what is before the first boundary and after the last", function()
        assert.same(EXPECTED,
            (ask(collect(), "preamble\r\n--Xy\r\n" .. FORM .. "epilogue\r\n--XyZ\r\n")))
        assert.same({}, (ask(collect(), "--XyZ--")))
        assert.same(EXPECTED, (ask(collect(), (FORM:gsub("%-%-XyZ\r\n", "--XyZ \t\r\n")))))
    end)

    it("takes names as browsers write them, and files without their folder", function()
        local function first(disposition)
            local list = assert(ask(collect(), part(disposition, "") .. "--XyZ--"))
            return { list[1][1], list[1][2] }
        end
        assert.same({ 'a"b\r\n', nil }, first 'name="a%22b%0D%0A"')
        assert.same({ 'a"b', "d" }, first [[name="a\"b"; filename="c\d"]])
        assert.same({ "a", "passwd" }, first 'name="a"; filename="../../etc/passwd"')
        assert.same({ "a", "x.txt" }, first [[name="a"; filename="C:\dir\x.txt"]])
        assert.same({ "a", "" }, first 'name="a"; filename=""')
        assert.same({ "tok", "en" }, first "name=tok; filename=en")
        assert.same({ "x", "name=y" }, first 'filename="name=y"; name="x"')
        assert.same({ "\195\169", nil }, first 'NAME="\195\169"')
    end)

    it("says what is wrong with a body, with the status for the client", function()
        assert.equal("the body ends too early", fails(400, ""))
        for cut = 1, #FORM - 3 do fails(400, FORM:sub(1, cut)) end
        assert.equal("something follows a boundary", fails(400, "--XyZx\r\n\r\n--XyZ--"))
        assert.equal("a part is no field of a form", fails(400, "--XyZ\r\n\r\nx\r\n--XyZ--"))
        assert.equal("a part has no name", fails(400, part("x=y", "") .. "--XyZ--"))
        assert.equal("the header of a part is malformed",
            fails(400, part('name="a"', "", "bad line\r\n") .. "--XyZ--"))
        assert.equal("a part has a field twice: x",
            fails(400, part('name="a"', "", "X: 1\r\nx: 2\r\n")))
        fails(400, '--XyZ\r\nContent-Disposition: form-data; name="a\r\n\r\n--XyZ--')
    end)

    it("says what is wrong with the type of a body", function()
        fails(415, FORM, nil, "text/plain")
        fails(415, FORM, nil, "multipart/mixed; boundary=XyZ")
        fails(400, FORM, nil, "multipart/form-data; charset=x")
        fails(400, FORM, nil, "multipart/form-data; boundary=")
        fails(400, FORM, nil, "multipart/form-data; boundary=" .. ("x"):rep(71))
        fails(400, FORM, nil, 'multipart/form-data; boundary="a\tb"')
        assert.same(EXPECTED, (ask(collect(), FORM, 'Multipart/Form-Data; Boundary="XyZ"; x=y')))
    end)

    it("has limits", function()
        assert.equal("more than 3 parts", fails(413, FORM, { maxParts = 3 }))
        assert.same(EXPECTED, (ask(collect { maxParts = 4 }, FORM)))
        assert.equal("a part is larger than 4 bytes", fails(413, FORM, { maxPartSize = 4 }))
        local long = part('name="' .. ("x"):rep(5000) .. '"', "") .. "--XyZ--"
        assert.equal("the header of a part is too large", fails(413, long))
        assert.truthy(ask(collect { maxHeader = 6000 }, long))
        assert.equal("too much follows the last part", fails(413, FORM .. ("x"):rep(70000)))
        assert.has_error(function() ask(function(req) req:parts { maxpart = 1 } end, FORM) end)
    end)

    it("counts what nobody reads against the limit of a part", function()
        local seen, err = ask(function(req)
            for one, failure in req:parts { maxPartSize = 1000 } do
                if failure then return "failed", failure end
                assert(one.name)
            end
            return "passed"
        end, part('name="a"', ("x"):rep(200000)) .. "--XyZ--")
        assert.equal("failed", seen)
        assert.equal(413, err.status)
    end)

    it("has nothing to read from a part once the next has been asked for", function()
        local seen = ask(function(req)
            local next_part = req:parts()
            local one = next_part()
            local two = next_part()
            return { one:read() or "none", two.name }
        end, FORM)
        assert.same({ "none", "empty" }, seen)
    end)

    it("saves a part into a new file, and into no other", function()
        local path = os.tmpname()
        local seen = ask(function(req)
            local list = {}
            for one in req:parts() do
                if one.name == "f" then list = { one:save(path) } end
            end
            return list
        end, FORM)
        assert.is_nil(seen[1])
        assert.equal("EEXIST", seen[2].name)
        os.remove(path)
        seen = ask(function(req)
            for one in req:parts() do
                if one.name == "f" then return (one:save(path)) end
            end
        end, FORM)
        assert.equal(#EXPECTED[3][4], seen)
        assert.equal(EXPECTED[3][4], fs.readFile(path))
        os.remove(path)
    end)

    it("survives any bytes", function()
        math.randomseed(9)
        local words = { "--XyZ", "\r\n", "--", "\r", "\n", ":", "Content-Disposition: form-data; ",
            'name="a"', ";", '"', "\\", "x", "\0", "filename=" }
        for _ = 1, 3000 do
            local list = { "--XyZ\r\n" }
            for i = 2, math.random(2, 14) do list[i] = words[math.random(#words)] end
            local found, err = ask(collect(), table.concat(list), TYPE, math.random(1, 9))
            assert.truthy(found or err.status)
        end
    end)
end)

describe("req:files", function()
    it("gives fields and files, small ones in memory and large ones on disk", function()
        local large = ("0123456789"):rep(20000)
        local body = part('name="title"', "x") .. part('name="s"; filename="s.txt"', "small")
            .. part('name="l"; filename="l.bin"', large, "Content-Type: application/x\r\n")
            .. part('name="tag"', "1") .. part('name="tag"', "2") .. "--XyZ--\r\n"
        local dir = assert(fs.tempDir())
        local fields, files, err = ask(function(req) return req:files { dir = dir } end, body, TYPE,
            1000)
        assert.is_nil(err)
        assert.same({ title = "x", tag = { "1", "2" } }, fields)
        assert.same({ "s", "s.txt", 5, "small" },
            { files[1].name, files[1].filename, files[1].size, files[1]:body() })
        assert.same({ "l", "l.bin", "application/x", 200000 },
            { files[2].name, files[2].filename, files[2].type, files[2].size })
        assert.equal(large, files[2]:body())
        local path = os.tmpname()
        os.remove(path)
        assert.equal(200000, files[2]:save(path))
        assert.equal(large, fs.readFile(path))
        os.remove(path)
        assert.same({}, fs.readdir(dir))
        assert(fs.remove(dir))
        files[1]._at = 0
        assert.same({ "sma", "ll" }, { files[1]:read(3), files[1]:read(3) })
        assert.is_nil(files[1]:read())
    end)

    it("fails as a whole, and has limits for fields too", function()
        local fields, files, err = ask(function(req) return req:files() end, FORM:sub(1, 100))
        assert.is_nil(fields or files)
        assert.equal(400, err.status)
        fields, files, err = ask(function(req) return req:files { maxField = 4 } end, FORM)
        assert.is_nil(fields or files)
        assert.equal(413, err.status)
        fields, files,
            err = ask(function(req) return req:files { dir = "/nowhere", memory = 1 } end, FORM)
        assert.is_nil(fields or files)
        assert.equal("ENOENT", err.name)
    end)

    it("keeps no file open of a form that is wrong", function()
        local function open_files() return #assert(fs.readdir("/dev/fd")) end
        local body = part('name="a"; filename="a"', ("x"):rep(1000))
            .. part('name="b"; filename="b"', ("x"):rep(3000)) .. "--XyZ--\r\n"
        collectgarbage()
        collectgarbage("stop")
        local before, during = open_files(), nil
        local _, _, err = ask(function(req)
            local fields, files, fault = req:files { memory = 1, maxPartSize = 2000 }
            during = open_files()
            return fields, files, fault
        end, body, TYPE, 100)
        collectgarbage("restart")
        assert.same({ 413, before }, { err.status, during })
    end)
end)
