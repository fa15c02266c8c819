local path = require "path"

describe("path", function()
    it("normalizes", function()
        local cases = {
            [""] = ".", ["."] = ".", ["./"] = "./", ["/"] = "/", ["//"] = "/", ["a/.."] = ".",
            ["a/../"] = "./", ["../a"] = "../a", ["a/../../b"] = "../b", ["/.."] = "/",
            ["/../a"] = "/a", ["/a//b/./c/../d/"] = "/a/b/d/",
            ["..."] = "...", ["a\\..\\b"] = "a\\..\\b", ["../.."] = "../..",
        }
        for from, to in pairs(cases) do
            assert.equal(to, path.normalize(from), "normalize " .. from)
        end
    end)

    it("joins", function()
        assert.equal(".", path.join())
        assert.equal(".", path.join("", ""))
        assert.equal("a/b", path.join("a", "", "b"))
        assert.equal("/a/b", path.join("/a", "/b"))
        assert.equal("../b", path.join("a", "../../b"))
    end)

    it("resolves from the right, and from the current directory at last", function()
        assert.equal("/c/d", path.resolve("/a", "/c", "b", "../d/"))
        assert.equal("/", path.resolve("/", ".."))
        local here = path.resolve()
        assert.truthy(path.isAbsolute(here))
        assert.equal(here .. "/x", path.resolve("x"))
        assert.equal(here, path.resolve("", "."))
    end)

    it("tells the way from one to another", function()
        assert.equal("", path.relative("/a/b", "/a/b/"))
        assert.equal("..", path.relative("/a/b", "/a"))
        assert.equal("../c", path.relative("/a/b", "/a/c"))
        assert.equal("b", path.relative("/", "/b"))
        assert.equal("../..", path.relative("a/b", ""))
    end)

    it("takes a path apart", function()
        local cases = { -- path, folder, name, extension
            { "", ".", "", "" }, { "/", "/", "", "" }, { "a", ".", "a", "" },
            { "/a", "/", "a", "" }, { "a/b.c", "a", "b.c", ".c" }, { "/a/b/", "/a", "b", "" },
            { "a//b", "a", "b", "" }, { "//a", "/", "a", "" }, { "x/..", "x", "..", "" },
            { ".profile", ".", ".profile", "" }, { "a.", ".", "a.", "." },
            { "a.b/c", "a.b", "c", "" }, { "a.tar.gz", ".", "a.tar.gz", ".gz" },
        }
        for _, case in ipairs(cases) do
            assert.equal(case[2], path.dirname(case[1]), "dirname " .. case[1])
            assert.equal(case[3], path.basename(case[1]), "basename " .. case[1])
            assert.equal(case[4], path.extname(case[1]), "extname " .. case[1])
        end
        assert.equal("b", path.basename("a/b.c", ".c"))
        assert.equal(".c", path.basename(".c", ".c"))
    end)

    it("raises for what is no string, at the caller's line", function()
        local ok, message = pcall(function() path.join("a", 1) end)
        assert.is_false(ok)
        assert.truthy(message:find("path_spec.lua:%d+: path.join%(%.%.%.%) argument 2 must be"))
        assert.is_false(pcall(path.dirname))
    end)
end)
