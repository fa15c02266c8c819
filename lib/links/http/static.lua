--- Files as answers: folders of them, and single ones.
---
--- What a client may ask for is answered as RFC 9110 has it: conditions (If-None-Match, If-Match,
--- If-Modified-Since, If-Unmodified-Since) by 304 and 412, one or several ranges by 206 and 416,
--- HEAD, and compressed siblings by Accept-Encoding. Small files are kept in memory, larger ones
--- open, and sent by the system straight from the file; a disk that is slow holds up nobody but who
--- asked. Nothing outside the folder is ever sent, whatever a path or a link says.
local ffi = require "ffi"
local check = require "links.check"
local core = require "links.core"
local errors = require "links.errors"
local fs = require "links.fs"
local path = require "links.path"
local mime = require "links.http.mime"
local binding = require "links.http.ffi"
local codec = require "links.codec"

ffi.cdef [[
typedef struct links_http_files_options {
    const char *index;
    const char *cache_control;
    int cache_files;
    int cache_file_size;
    int cache_check;
    int links;
    int dotfiles, etag, last_modified, ranges, gzip, zstd, br;
} links_http_files_options;
typedef struct links_http_files {
    double ticket;
    double hits, loads;
    int32_t cached;
    int32_t slash;
} links_http_files;
links_http_files *links_http_files_new(const char *folder,
                                                 const links_http_files_options *options);
void links_http_files_free(links_http_files *files);
void links_http_files_type(links_http_files *files, const char *extension,
                                     const char *type);
int links_http_files_send(links_http_files *files, links_http_req *r, const char *path,
                                    size_t len, int flags, int status, double ticket);
int links_http_accepts(const links_http_req *r, const char *coding);
]]

local find = string.find
local C, AGAIN, CLOSED = binding.C, binding.AGAIN, binding.CLOSED
local new_error, wait = errors.new, core.wait
local DECODED = 1
-- The suffixes of compressed siblings, and the names that C has for them.
local CODINGS = { gz = "gzip", zst = "zstd", br = "br" }
local LINKS = { none = 0, inside = 1, follow = 2 }
local EISDIR, UNSUPPORTED = -errors.code("EISDIR"), binding.UNSUPPORTED
local LISTING_MAX = 10000
local MEMORY_MAX = 2 ^ 26
local SENDERS_MAX = 64

local http = {}

-- What says of a path that there is nothing for this client, and not that something is wrong.
local NOT_THERE, FORBIDDEN = {}, {}
for _, name in ipairs { "ENOENT", "ENOTDIR", "ELOOP", "EXDEV", "ENAMETOOLONG", "ENXIO" } do
    NOT_THERE[-errors.code(name)] = true
end
for _, name in ipairs { "EACCES", "EPERM" } do FORBIDDEN[-errors.code(name)] = true end

local function cache_control(o)
    if not o.maxAge then return "" end
    return ("public, max-age=%d%s"):format(o.maxAge, o.immutable and ", immutable" or "")
end

local function to_c(folder, o)
    local c = ffi.new("links_http_files_options")
    local index, control = o.index or "", cache_control(o)
    c.index, c.cache_control = index, control
    c.cache_files, c.cache_file_size, c.cache_check = o.cacheFiles, o.cacheFileSize, o.cacheCheck
    c.links, c.dotfiles = LINKS[o.symlinks], o.dotfiles
    c.etag, c.last_modified, c.ranges = o.etag, o.lastModified, o.ranges
    for _, suffix in ipairs(o.precompressed or {}) do c[CODINGS[suffix]] = true end
    local files = ffi.gc(C.links_http_files_new(folder, c), C.links_http_files_free)
    for extension, kind in pairs(mime) do C.links_http_files_type(files, extension, kind) end
    for extension, kind in pairs(o.types or {}) do
        C.links_http_files_type(files, extension:lower(), kind)
    end
    -- `index` and `control` have been copied by now.
    return files, index, control
end

-- Answers with a file, waiting where it has to. 0 where the request is over; nil, err where the
-- wait ended before; else what C says.
local function send(files, res, name, len, flags, status)
    local r, ticket = res._r, 0
    while true do
        local rc = C.links_http_files_send(files, r, name, len, flags, status, ticket)
        if rc == 0 then
            res._r = false
            return 0
        end
        if rc ~= AGAIN then
            if rc == CLOSED then res._r = false end
            return rc
        end
        ticket = files.ticket
        local woken = wait()
        r = res._r
        if not r then return nil, new_error(CLOSED, "http file") end
        if woken ~= 0 then
            if r.sent == 1 then
                C.links_http_break(r)
                res._r = false
            end
            return nil, new_error(woken, "http file")
        end
    end
end

-- A request that no client has sent (router:call) gets the file whole: its type and body, or nil
-- and a code. `name` is decoded.
local function load_file(self, name)
    if name:find("[%z\\]") or ("/" .. name .. "/"):find("/%.%.?/")
        or (not self.options.dotfiles and ("/" .. name):find("/.", 1, true)) then
        return nil, -errors.code("ENOENT")
    end
    if self.options.index and (name == "" or name:byte(-1) == 47) then
        name = name .. self.options.index
    end
    local full, err = fs.realpath(path.join(self.folder, name))
    local folder = full and fs.realpath(self.folder)
    if not folder then return nil, err and -err.code or -errors.code("ENOENT") end
    local links = self.options.symlinks
    if links ~= "follow" and folder ~= "/" and full ~= folder
        and full:sub(1, #folder + 1) ~= folder .. "/"
        or links == "none" and full ~= path.join(folder, name) then
        return nil, -errors.code("ENOENT")
    end
    local data
    data, err = fs.readFile(full, { max = MEMORY_MAX })
    if not data then return nil, -err.code end
    local extension = path.extname(full):sub(2):lower()
    return (self.options.types or {})[extension] or mime[extension] or mime[""], data
end

-- How much of the path, as it came, is before the folder: a prefix, or so many segments. nil where
-- it is not below the prefix.
local function skip_of(self, raw)
    local prefix, depth = self.options.prefix, self.depth
    if depth == 1 then return (find(raw, "/", 2, true) or #raw + 1) - 1 end
    if depth then
        local at = 1
        for _ = 1, depth do at = find(raw, "/", at + 1, true) or #raw + 1 end
        return at - 1
    end
    local skip = #prefix
    if skip > 0 and (raw:sub(1, skip) ~= prefix or (#raw > skip and raw:byte(skip + 1) ~= 47)) then
        return nil
    end
    return skip
end

-- The name of what is asked for, decoded, for what is not sent by C.
local function name_below(self, req)
    local skip = skip_of(self, req.rawPath)
    return skip and codec.unescapeUri(req.rawPath:sub(skip + 1)):gsub("^/+", "") or nil
end

local function answer_in_memory(self, req, res, next_handler, without_file)
    local name = name_below(self, req)
    local kind, data = nil, -errors.code("ENOENT")
    if req.method ~= "GET" and req.method ~= "HEAD" then
        data = UNSUPPORTED
    elseif name then
        kind, data = load_file(self, name)
    end
    if kind then return 200, data, { ["Content-Type"] = kind } end
    self.files.slash = req.rawPath:byte(-1) == 47 and 1 or 0
    return without_file(self, req, res, data, next_handler)
end

-- What is in a folder.

local ESCAPES = {
    ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;",
}

local function escape_html(text) return (text:gsub("[&<>\"']", ESCAPES)) end

local function escape_url(text)
    return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local PAGE = [[
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>%s</title>
<style>body { font: 16px/1.6 system-ui,
    sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem }
ul { list-style: none; padding: 0 } :root { color-scheme: light dark }</style></head>
<body><h1>%s</h1><ul>
%s</ul></body></html>
]]

local function list_folder(folder, req, o)
    local names, types = fs.readdir(folder, { max = LISTING_MAX })
    if not names then return nil, types end
    local folders, plain = {}, {}
    for i, name in ipairs(names) do
        if o.dotfiles or name:byte() ~= 46 then
            local slash = types[i] == "directory" and "/" or ""
            local list = slash == "/" and folders or plain
            list[#list + 1] = ('<li><a href="./%s%s">%s%s</a>\n'):format(escape_url(name), slash,
                escape_html(name), slash)
        end
    end
    local title = escape_html(req.path)
    local up = req.path ~= "/" and '<li><a href="../">../</a>\n' or ""
    return PAGE:format(title, title, up .. table.concat(folders) .. table.concat(plain))
end

-- Folders.

local STATIC_OPTIONS = {
    index = { default = "index.html", type = "string|boolean" },
    listing = { default = false, type = "boolean" },
    dotfiles = { default = false, type = "boolean" },
    maxAge = { default = 0, type = "number|boolean" },
    immutable = { default = false, type = "boolean" },
    etag = { default = true, type = "boolean" },
    lastModified = { default = true, type = "boolean" },
    ranges = { default = true, type = "boolean" },
    precompressed = { type = "table|boolean" },
    cacheFiles = { default = 1024, type = "integer", min = 0, max = 1000000 },
    cacheFileSize = { default = 65536, type = "integer", min = 0, max = 16777216 },
    cacheCheck = { default = 1000, type = "integer", min = 0, max = 2 ^ 31 - 1 },
    symlinks = { default = "inside", type = "string" },
    types = { type = "table" },
    fallback = { type = "string" },
    prefix = { default = "", type = "string" },
}

local function check_max_age(signature, age, level)
    if age == true then
        error(signature .. " options.maxAge must be seconds, or false", level + 2)
    end
    if age then check.integer(signature, "options.maxAge", age, 0, 2 ^ 31, level + 1) end
end

local function check_types(signature, types)
    for extension, kind in pairs(types or {}) do
        if type(extension) ~= "string" or type(kind) ~= "string" or #kind > 128
            or #extension > 31 or not kind:find("^[%w!#$&^_.+-]+/[^%c]+$") then
            error(signature .. ' options.types must be {extension = "type/subtype", ...}', 5)
        end
    end
end

local function check_static(signature, o)
    check_max_age(signature, o.maxAge, 3)
    check_types(signature, o.types)
    if not LINKS[o.symlinks] then
        error(signature .. ' options.symlinks must be "inside", "none" or "follow"', 4)
    end
    if o.index == true then o.index = STATIC_OPTIONS.index.default end
    if o.index and (#o.index > 255 or o.index:find("[/%z]")) then
        error(signature .. " options.index must be the name of a file", 4)
    end
    if o.precompressed == nil or o.precompressed == true then o.precompressed = { "br", "gz" } end
    for _, suffix in ipairs(o.precompressed or {}) do
        if not CODINGS[suffix] then
            error(signature .. ' options.precompressed must be a list of "br", "zst" and "gz"', 4)
        end
    end
end

-- The answer where there is no file to send.
local function without_file(self, req, res, rc, next_handler)
    local o, files = self.options, self.files
    if rc == EISDIR and files.slash == 0 then
        -- Slashes at the beginning would make it the address of another host.
        local target = req.rawPath:gsub("^/+", "/") .. "/"
        if req.queryString ~= "" then target = target .. "?" .. req.queryString end
        return 301, "", { Location = target }
    end
    if rc == EISDIR and o.listing then
        local page, err = list_folder(path.join(self.folder, name_below(self, req)), req, o)
        if page then return 200, page, { ["Content-Type"] = "text/html; charset=utf-8" } end
        rc = -err.code
    end
    if rc == EISDIR or NOT_THERE[rc] then
        if o.fallback and not next_handler and res._r == nil then
            local kind, data = load_file(self, o.fallback)
            if kind then return 200, data, { ["Content-Type"] = kind } end
        elseif o.fallback and not next_handler then
            local again, err = send(files, res, o.fallback, #o.fallback, DECODED, 200)
            if again == nil then return nil, err end
            if again == 0 or again == CLOSED then return end
        end
        if next_handler then return next_handler(req, res) end
        return 404
    end
    if rc == UNSUPPORTED then
        if next_handler then return next_handler(req, res) end
        return 405, nil, { Allow = "GET, HEAD" }
    end
    if FORBIDDEN[rc] then return 403 end
    if rc == CLOSED then return end
    return nil, new_error(rc, "http file", { path = req.path })
end

local function open_folder(signature, dir, options)
    check.type(signature, "dir", dir, "string", 2)
    local o = check.options(signature, options, STATIC_OPTIONS, 2)
    check_static(signature, o)
    o.prefix = o.prefix:gsub("/+$", "")
    local folder = path.resolve(dir)
    return { files = to_c(folder, o), folder = folder, options = o }
end

local function answer_with_file(self, req, res, next_handler)
    local r = res._r
    if not r then
        if r == nil then return answer_in_memory(self, req, res, next_handler, without_file) end
        return
    end
    local skip = 0
    if self.depth ~= nil or self.options.prefix ~= "" then
        skip = skip_of(self, req.rawPath)
        if not skip then
            return without_file(self, req, res, -errors.code("ENOENT"), next_handler)
        end
    end
    local rc, err = send(self.files, res, nil, skip, 0, res.status)
    if rc == 0 then return end
    if rc == nil then return nil, err end
    return without_file(self, req, res, rc, next_handler)
end

--- Makes a handler, or a middleware, that answers with the files of a folder. As a middleware it
--- hands on what it has no file for; as a handler it answers 404, and 405 for methods other than
--- GET and HEAD.
---
--- A folder is answered with its index; without a slash at the end of the path, by a redirect to
--- the path that has one. Files whose name begins with a dot, and what lies in such folders, are
--- not there, nor is what a path names by "..", by an encoded slash or by a backslash.
---
--- @param dir      string  the folder; it needs not exist yet
--- @param options  table   index          "index.html"   what stands for a folder; false: nothing
---                         listing        false          show what is in a folder that has no index
---                         dotfiles       false          send those whose name begins with a dot
---                                                       too
---                         maxAge         0              seconds that clients may keep a file
---                                                       unasked; false: leave
---                                                       that to them
---                         immutable      false          it never changes under its name
---                         etag           true           send an ETag, made of time and size
---                         lastModified   true           send Last-Modified
---                         ranges         true           answer requests for ranges
---                         precompressed  {"br", "gz"}   send file.br or file.gz, where there is
---                                                       one, to who accepts it; file.zst only
---                                                       where "zst" is listed; of those that a
---                                                       client likes equally: br, zst, gz. false:
---                                                       never
---                         cacheFiles     1024           files kept open or in memory; 0: none
---                         cacheFileSize  65536          bytes up to which a file is kept in memory
---                         cacheCheck     1000           ms until a file that is kept is looked at
---                                                       again
---                         symlinks       "inside"       "inside": followed below the folder
---                                                       (absolute ones are
---                                                       not); "none": not there; "follow":
---                                                       wherever they lead
---                         types          nil            {extension = media type}, over those that
---                                                       are known
---                         fallback       nil            the file, in the folder, for paths that
---                                                       have none: for
---                                                       applications that route in the browser
---                         prefix         ""             what comes before the folder in the path
--- @return function        handler(req, res[, next])
--- @raise                  an argument of another type; an unknown option
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, http.static("docs", { listing = true })))
--- server:close()
function http.static(dir, options)
    local self = open_folder("http.static(dir[, options])", dir, options)
    return function(req, res, next_handler)
        return answer_with_file(self, req, res, next_handler)
    end
end

-- private: for routers: a function that makes a handler for a route with so many segments before
-- the folder; `not_found` answers where there is no file.
function http._below(signature, dir, options)
    local self = open_folder(signature, dir, options)
    return function(depth, not_found)
        local at_depth = setmetatable({ depth = depth }, { __index = self })
        if self.options.fallback then not_found = nil end
        return function(req, res) return answer_with_file(at_depth, req, res, not_found) end
    end
end

-- Single files.

local SEND_OPTIONS = {
    root = { type = "string" },
    maxAge = { default = 0, type = "number|boolean" },
    immutable = { default = false, type = "boolean" },
    etag = { default = true, type = "boolean" },
    lastModified = { default = true, type = "boolean" },
    ranges = { default = true, type = "boolean" },
    download = { type = "string|boolean" },
    type = { type = "string" },
}

-- A name for any client, and for those that know RFC 6266 the name.
local function disposition(name)
    local plain = name:gsub("[^%w !#$&+.^_`{}~%-]", "_")
    local text = 'attachment; filename="' .. plain .. '"'
    if plain ~= name then text = text .. "; filename*=UTF-8''" .. escape_url(name) end
    return text
end

-- To a response in memory.
local function load_and_send(self, name, o)
    local folder = { folder = o.root and path.resolve(o.root) or "/", options = {
        dotfiles = not o.root, symlinks = o.root and "inside" or "follow",
    } }
    local kind, data = load_file(folder, ((o.root and name or path.resolve(name)):gsub("^/+", "")))
    if not kind then
        if NOT_THERE[data] then data = -errors.code("ENOENT") end
        return nil, new_error(data, "http file", { path = name })
    end
    if not self:getHeader("content-type") then self:setHeader("Content-Type", o.type or kind) end
    if o.download then
        local as = o.download == true and path.basename(name) or o.download
        self:setHeader("Content-Disposition", disposition(as))
    end
    return self:finish(data)
end

-- The folders that files have been sent from, by what was asked of them.
local senders, nsenders = {}, 0

local function sender(o)
    local key = table.concat({ o.root or "", tostring(o.maxAge), tostring(o.immutable),
        tostring(o.etag), tostring(o.lastModified), tostring(o.ranges) }, "\0")
    local files = senders[key]
    if files then return files end
    -- Roots that are made up by requests must not pile up.
    if nsenders >= SENDERS_MAX then senders, nsenders = {}, 0 end
    files = to_c(o.root and path.resolve(o.root) or "/", {
        maxAge = o.maxAge, immutable = o.immutable, etag = o.etag, lastModified = o.lastModified,
        ranges = o.ranges, dotfiles = not o.root, symlinks = o.root and "inside" or "follow",
        index = false,
        cacheFiles = 256, cacheFileSize = 65536, cacheCheck = 1000,
    })
    senders[key], nsenders = files, nsenders + 1
    return files
end

local res = {}

--- Answers with a file: with its type, validators, conditions and ranges as http.static, and the
--- status of the response. Header fields that have been set stay as they are.
---
--- @param name     string  the file. With a `root` it is looked for below that, and may come from a
---                         client: nothing
---                         outside is sent. Without one it is any path
--- @param options  table   root          nil    the folder that it has to be in
---                         maxAge        0      seconds that clients may keep it unasked; false:
---                                              leave that to them
---                         immutable     false  it never changes under its name
---                         etag          true   send an ETag
---                         lastModified  true   send Last-Modified
---                         ranges        true   answer requests for ranges
---                         download      nil    the name to save it by; true: its own
---                         type          nil    its media type, if not that of its extension
--- @return true
--- @return nil, err        ENOENT       there is no such file, or it is outside the root: not
---                                      answered yet
---                         EISDIR       it is a folder: not answered yet
---                         EACCES       it may not be read: not answered yet
---                         UNSUPPORTED  the method is neither GET nor HEAD: not answered yet
---                         CLOSED       the client has left
---                         ETIMEDOUT    the client took nothing within the server's writeTimeout
---                         ECANCELED    this task was cancelled
--- @raise                  an argument of another type; an unknown option
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(0, function(req, res)
---     local ok, err = res:sendFile("README.md", { download = "readme.txt" })
---     if not ok then return 404 end
--- end))
--- server:close()
function res:sendFile(name, options)
    local signature = "res:sendFile(path[, options])"
    check.type(signature, "path", name, "string")
    local o = check.options(signature, options, SEND_OPTIONS)
    check_max_age(signature, o.maxAge, 1)
    local r = self._r
    if r == nil then return load_and_send(self, name, o) end
    if not r then return nil, new_error(CLOSED, "http file") end
    if r.sent == 1 then return nil, new_error(binding.HEADERS_SENT, "http file") end
    if o.type then self:setHeader("Content-Type", o.type) end
    if o.download then
        local as = o.download == true and path.basename(name) or o.download
        self:setHeader("Content-Disposition", disposition(as))
    end
    local full = o.root and name or path.resolve(name)
    local rc, err = send(sender(o), self, full, #full, DECODED, self.status)
    if rc == 0 then return true end
    if rc == nil then return nil, err end
    if NOT_THERE[rc] then rc = -errors.code("ENOENT") end
    if self._r then
        if o.type then self:removeHeader("Content-Type") end
        if o.download then self:removeHeader("Content-Disposition") end
    end
    return nil, new_error(rc, "http file", { path = name })
end

http.sendFile = res.sendFile

return http
