-- What a master knows of a worker that has died: which request it was serving, and where its core
-- file is.
local ffi = require "ffi"
local binding = require "links.process.ffi"
local system = require "links.system"

local C = binding.C

local crash = {}

local RUNNING, WAITING, ANSWERED = 1, 2, 3
local PATH_MAX = 4096
local COMM = 15 -- bytes of a name that Linux keeps
local LOOK_BACK = 3 -- seconds that the end of a process may be ago

-- --- The last request ----------------------------------------------------------------------------

-- A client has chosen it: nothing in there ends a line or speaks to a terminal.
local function escape(text)
    return (text:gsub("[^\33-\91%]\94-\126]", function(c) return ("\\x%02x"):format(c:byte()) end))
end

local last = ffi.new("links_last_request")

local function request_of(method)
    local http = require "links.http.ffi"
    local name = http.C.links_http_method(method)
    local path = escape(ffi.string(last.path, last.len))
    return (name ~= nil and ffi.string(name) or "?") .. " " .. path
        .. (last.len == ffi.sizeof(last.path) and "..." or "")
end

local function more(count)
    if count == 0 then return "" end
    return ("; %d more %s under way"):format(count, count == 1 and "request was" or "requests were")
end

--- What a worker that has ended was serving, for the log: nil where that tells nothing.
---
--- @param way  cdata        to the worker
--- @param status  table     of its end
--- @param how  string       the same in words: "died of SIGSEGV"
--- @return string
function crash.last_request(way, status, how)
    local is_killed = status.signal and status.signal ~= "SIGTERM" and status.signal ~= "SIGINT"
    if not is_killed and (status.code or 0) == 0 then return end
    C.links_way_last(way, last)
    if last.state == RUNNING then
        return ("was serving %s, for %.0f ms, when it %s%s"):format(request_of(last.method),
            last.ms, how, more(last.under_way - 1))
    elseif last.state == WAITING then
        return ("%s while %s was under way, for %.0f ms%s"):format(how, request_of(last.method),
            last.ms, more(last.under_way - 1))
    elseif last.state == ANSWERED and is_killed then
        return ("%s %.0f ms after its last request, %s, which it had answered"):format(how, last.ms,
            request_of(last.method))
    end
end

-- --- The core file -------------------------------------------------------------------------------

-- The path that the pattern makes, or nil where it depends on what we do not know. Letters are
-- those of core(5), on Linux, FreeBSD and NetBSD.
local function expand(pattern, about, seconds)
    local name = jit.os == "Linux" and about.title:sub(1, COMM):gsub("/", "!") or "links"
    local uid, gid = C.geteuid(), C.getegid()
    if about.ids then uid, gid = about.ids.uid, about.ids.gid end
    local signum = C.links_signal_number(about.signal)
    local values = {
        ["%"] = "%", p = about.pid, P = about.pid, i = about.pid, I = about.pid,
        e = name, N = name, n = name, u = uid, U = uid, g = gid,
        h = system.hostname(), H = system.hostname(), s = signum, S = signum,
        t = ("%.0f"):format(seconds),
    }
    local is_known = true
    local path = pattern:gsub("%%(.?)", function(letter)
        is_known = is_known and values[letter] ~= nil
        return tostring(values[letter] or "")
    end)
    return is_known and path or nil
end

local function is_there(path)
    local file = io.open(path, "rb")
    if file then file:close() end
    return file ~= nil
end

--- The pattern by which this system names core files; nil: it does not tell.
function crash.pattern()
    local text = ffi.new("char[" .. PATH_MAX .. "]")
    if C.links_process_core_pattern(text, PATH_MAX) < 0 then return end
    return ffi.string(text)
end

--- Where the core file is that a process has left, in words.
---
--- @param about  table      pid, signal, title, and the folder that it was in; ids, where it had
---                          others than this process
--- @param pattern  string   by which the system names it; core(5). Default: this system's
--- @return string
function crash.core(about, pattern)
    pattern = pattern or crash.pattern()
    if not pattern then return "core dumped" end
    if pattern:sub(1, 1) == "|" then
        return "core given to " .. (pattern:match("^|%s*(%S+)") or "nobody")
    end
    local now = os.time()
    for seconds = now, now - LOOK_BACK, -1 do
        local path = expand(pattern, about, seconds)
        if path and path:sub(1, 1) ~= "/" then path = about.folder .. "/" .. path end
        if path and is_there(path) then return "core: " .. path end
    end
    return "core dumped as " .. pattern
end

--- Begins to note what this worker serves.
function crash.begin()
    C.links_worker_trail()
end

return crash
