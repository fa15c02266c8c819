-- Where admin sockets are: those of a process have its number for a name, in a folder that only its
-- user may enter, so that they are found by the number alone.
local errors = require "links.errors"
local fs = require "links.fs"
local process_ffi = require "links.process.ffi"

local C = process_ffi.C

local places = {}

local PRIVATE = tonumber("700", 8)

local function is_folder(path)
    local about = fs.stat(path)
    return about ~= nil and about.type == "directory"
end

-- The folders that a process of that user may have its sockets in, the first choice first.
local function folders(uid)
    local list = {}
    if uid == 0 then list[1] = is_folder("/run") and "/run/links" or "/var/run/links" end
    local runtime = uid == C.geteuid() and os.getenv("XDG_RUNTIME_DIR")
    if runtime and runtime ~= "" then list[#list + 1] = runtime .. "/links" end
    local usual = "/run/user/" .. uid
    if uid ~= 0 and usual ~= runtime and is_folder(usual) then
        list[#list + 1] = usual .. "/links"
    end
    list[#list + 1] = "/tmp/links-" .. uid
    return list
end

-- It is ours, nobody else may enter, and it is no link to elsewhere.
local function is_private(path, uid)
    local about = fs.lstat(path)
    return about ~= nil and about.type == "directory" and about.uid == uid
        and about.mode % 512 == PRIVATE
end

local function make(path, uid)
    local ok, err = fs.mkdir(path, { mode = PRIVATE })
    if not ok and err.name ~= "EEXIST" then return nil, err end
    if is_private(path, uid) then return true end
    return nil, errors.new(errors.code("EACCES"), "mkdir", {
        path = path, message = "it is not a folder of this user alone",
    })
end

-- Sockets of processes that are there no more.
local function sweep(folder)
    for _, name in ipairs(fs.readdir(folder) or {}) do
        local pid = tonumber(name:match("^(%d+)%.sock$"))
        if pid and C.links_process_kill(pid, 0) == -errors.code("ESRCH") then
            fs.remove(folder .. "/" .. pid .. ".sock")
        end
    end
end

--- The path by which a process is found: of its socket, or of a link to that. nil and an error
--- where no folder can be made for it.
function places.own(pid)
    local uid = C.geteuid()
    local ok, err
    for _, folder in ipairs(folders(uid)) do
        ok, err = make(folder, uid)
        if ok then
            sweep(folder)
            return folder .. "/" .. pid .. ".sock"
        end
    end
    return nil, err
end

--- The socket of a process that runs; nil and a message.
function places.find(pid)
    local rc = C.links_process_kill(pid, 0)
    if rc == -errors.code("ESRCH") then return nil, "there is no process " .. pid end
    local about = fs.stat("/proc/" .. pid)
    local uids = { about and about.uid or C.geteuid() }
    if uids[1] ~= C.geteuid() then uids[2] = C.geteuid() end
    for _, uid in ipairs(uids) do
        for _, folder in ipairs(folders(uid)) do
            local path = folder .. "/" .. pid .. ".sock"
            if fs.lstat(path) then return path end
        end
    end
    return nil, "process " .. pid
        .. " has no admin socket: start it with LINKS_ADMIN=1, or call admin.listen in it"
end

return places
