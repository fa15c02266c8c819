local function read(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
end

-- The declarations without comments and layout.
local function plain(text)
    text = text:gsub("/%*.-%*/", " "):gsub("LINKS_API ", ""):gsub("enum {.-};", "")
    text = text:gsub("#%a+[^\n]*", ""):gsub("char %*getcwd%b();", "")
    return (text:gsub("%s+", " "):gsub("%( ", "("):gsub("^ ", ""):gsub(" $", ""))
end

describe("the declarations of C in Lua", function()
    for lua, header in pairs {
        ["lib/links/fs/ffi.lua"] = "src/modules/fs/fs.h",
        ["lib/links/zlib.lua"] = "src/modules/zlib/zstream.h",
        ["lib/links/crypto/ffi.lua"] = "src/modules/crypto/crypto.h",
        ["lib/links/http/static.lua"] = "src/modules/http/files.h",
    } do
        it("in " .. lua .. " are those of " .. header, function()
            local declared = read(lua):match("ffi%.cdef %[%[(.-)%]%]")
            assert.equal(plain(read(header)), plain(declared))
        end)
    end

    it("have the numbers of the operations of fs", function()
        local names = {}
        local kinds = read("src/modules/fs/fs.h"):match("enum {(.-)};")
        for name in kinds:gmatch("LINKS_FS_([%u_]+),") do
            names[#names + 1] = name:gsub("_", ""):lower()
        end
        names[#names] = nil -- the end
        local text, known = read("lib/links/fs/ffi.lua"):match("ipairs {(.-)} do"), {}
        for name in text:gmatch('"(%a+)"') do known[#known + 1] = name:lower() end
        assert.same(names, known)
    end)
end)
