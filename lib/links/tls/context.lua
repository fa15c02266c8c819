-- Contexts of TLS: certificates, keys and what is trusted, from files or texts, and the files
-- watched, so that a new certificate is served without anybody doing anything.
local ffi = require "ffi"
local check = require "links.check"
local core = require "links.core"
local errors = require "links.errors"
local report = require "links.report"
local binding = require "links.tls.ffi"

local C, AGAIN = binding.C, binding.AGAIN

local FILE_MAX = 16777216
local WATCH_MS = 400
local INT_MAX = 2 ^ 31 - 1
local CLIENTS_KEPT = 64 -- contexts

local VERSIONS = { ["1.2"] = 12, ["1.3"] = 13 }
local CLIENT_AUTH = { none = 0, request = 1, require = 2 }

local context = {}

context.OPTIONS = {
    cert = { type = "string|table" },
    key = { type = "string|table" },
    passphrase = { type = "string" },
    ca = { type = "string|table" },
    crl = { type = "string|table" },
    serverName = { type = "string" },
    alpn = { type = "table" },
    minVersion = { default = "1.2", type = "string" },
    maxVersion = { default = "1.3", type = "string" },
    ciphers = { type = "string" },
    cipherSuites = { type = "string" },
    curves = { type = "string" },
    clientAuth = { type = "string" },
    verifyDepth = { default = 9, type = "integer", min = 0, max = 100 },
    insecure = { type = "boolean" },
    checkHost = { default = true, type = "boolean" },
    pin = { type = "string|table" },
    sessionTickets = { default = true, type = "boolean" },
    ticketKeys = { default = "shared", type = "string" },
    watch = { default = true, type = "boolean" },
    ktls = { default = "auto", type = "string|boolean" },
    handshakeTimeout = { default = 10000, type = "integer", min = 0, max = INT_MAX },
    onServerName = { type = "function" },
    sni = { type = "table" },
    rejectUnauthorized = { type = "boolean" },
    requestCert = { type = "boolean" },
    server = { type = "boolean" },
    context = { type = "table" },
}

local Context = { __name = "tls context" }
Context.__index = Context

local new_error = errors.new
local CONFIG = -errors.code("TLS_CONFIG")

local function config_error(what, message)
    return new_error(CONFIG, what, { message = message })
end

-- --- what is checked before anything is done ---------------------------------------------------

local function one_of(signature, name, value, values, level)
    if values[value] then return values[value] end
    local names = {}
    for known in pairs(values) do names[#names + 1] = '"' .. known .. '"' end
    table.sort(names)
    error(("%s options.%s must be %s, not %q"):format(signature, name,
        table.concat(names, " or "), value), level + 2)
end

local function protocols(signature, list, level)
    local out = {}
    for i, name in ipairs(list) do
        if type(name) ~= "string" or #name == 0 or #name > 255 then
            error(("%s options.alpn[%d] must be [string] of 1 to 255 bytes"):format(signature, i),
                level + 2)
        end
        out[#out + 1] = string.char(#name) .. name
    end
    return table.concat(out)
end

-- Options with what others say differently; a certificate comes with its own key.
function context.overlay(options, others)
    local all = {}
    for name, value in pairs(options) do all[name] = value end
    if others.cert then all.key, all.passphrase = nil, nil end
    for name, value in pairs(others) do all[name] = value end
    return all
end

-- The options of each name that has no context of its own.
local function check_names(signature, options, level)
    local names, base = {}, context.overlay(options, {})
    base.sni, base.onServerName = nil, nil
    for name, about in pairs(options.sni) do
        local label = ("options.sni[%q]"):format(tostring(name))
        check.type(signature, label .. "'s name", name, "string", level + 1)
        check.type(signature, label, about, "table", level + 1)
        if getmetatable(about) ~= Context then
            names[name] = context.check(signature .. " " .. label .. ":",
                context.overlay(base, about), level + 1)
        end
    end
    return names
end

-- Checks the options of the public function `signature`, and gives them in one form.
function context.check(signature, options, level)
    level = (level or 1) + 1
    local o = check.options(signature, options, context.OPTIONS, level)
    if o.rejectUnauthorized ~= nil and o.insecure == nil then
        o.insecure = not o.rejectUnauthorized
    end
    if o.clientAuth == nil and o.requestCert then
        o.clientAuth = o.rejectUnauthorized == false and "request" or "require"
    end
    o.min = one_of(signature, "minVersion", o.minVersion, VERSIONS, level)
    o.max = one_of(signature, "maxVersion", o.maxVersion, VERSIONS, level)
    if o.min > o.max then
        error(signature .. " options.minVersion is higher than options.maxVersion", level + 1)
    end
    o.auth = one_of(signature, "clientAuth", o.clientAuth or "none", CLIENT_AUTH, level)
    o.protocols = o.alpn and protocols(signature, o.alpn, level) or nil
    if o.protocols == "" then o.protocols = nil end
    if o.ticketKeys ~= "shared" and #o.ticketKeys < 32 then
        error(signature .. ' options.ticketKeys must be "shared" or a secret of 32 bytes or more',
            level + 1)
    end
    if type(o.ktls) == "string" and o.ktls ~= "auto" then
        error(('%s options.ktls must be "auto", true or false, not %q'):format(signature, o.ktls),
            level + 1)
    end
    if o.context and getmetatable(o.context) ~= Context then
        error(signature .. " options.context must be of tls.createContext", level + 1)
    end
    o.given, o.names = options, o.sni and check_names(signature, options, level)
    return o
end

-- --- files -------------------------------------------------------------------------------------

-- A text in PEM, or that of a file, which is noted.
local function text_of(source, files, what)
    if type(source) ~= "string" then
        return nil, config_error(what, what .. " must be a path or a text in PEM")
    end
    if source:find("-----BEGIN", 1, true) then return source end
    files[source] = true
    local text, err = require("links.fs").readFile(source, { max = FILE_MAX })
    if not text then return nil, err end
    return text
end

local function list_of(value)
    if type(value) == "table" then return value end
    return { value }
end

-- All of them in one text.
local function joined(value, files, what)
    local all = {}
    for _, source in ipairs(list_of(value)) do
        local text, err = text_of(source, files, what)
        if not text then return nil, err end
        all[#all + 1] = text
    end
    return table.concat(all, "\n")
end

local function failed(rc, what)
    return nil, config_error(what, rc == CONFIG and ffi.string(C.links_tls_problem()) or nil)
end

local function use_certificates(handle, o, files)
    local certs, keys = list_of(o.cert), list_of(o.key)
    for i, source in ipairs(certs) do
        local cert, err = text_of(source, files, "cert")
        if not cert then return nil, err end
        local key = cert
        if keys[i] then
            key, err = text_of(keys[i], files, "key")
            if not key then return nil, err end
        end
        local rc = C.links_tls_use(handle, cert, #cert, key, #key, o.passphrase)
        if rc < 0 then return failed(rc, type(source) == "string" and
            not source:find("\n", 1, true) and source or "cert") end
    end
    return true
end

local function use_trust(handle, o, files)
    local ca = o.ca or (not o.server and not o.insecure and "system") or nil
    if ca == "system" then
        local rc = C.links_tls_trust_system(handle)
        if rc < 0 then return failed(rc, "ca") end
    elseif ca then
        local pem, err = joined(ca, files, "ca")
        if not pem then return nil, err end
        local rc = C.links_tls_trust(handle, pem, #pem)
        if rc < 0 then return failed(rc, "ca") end
    end
    if o.crl then
        local pem, err = joined(o.crl, files, "crl")
        if not pem then return nil, err end
        local rc = C.links_tls_revoke(handle, pem, #pem)
        if rc < 0 then return failed(rc, "crl") end
    end
    return true
end

-- --- making one --------------------------------------------------------------------------------

local secret

-- The secret that the session tickets of this process and of its workers are made with.
local function shared_secret()
    if not secret then
        local hex = os.getenv("LINKS_TICKET_SECRET")
        secret = hex and #hex == 64 and require("links.codec").hex.decode(hex)
            or require("links.crypto").randomBytes(32)
    end
    return secret
end

context.secret = shared_secret

local function ticket_secret(o)
    if o.ticketKeys == "shared" then return shared_secret() end
    return require("links.crypto").hash("sha256", o.ticketKeys, "raw")
end

local warned = false

local function warn_insecure()
    if warned then return end
    warned = true
    report.write("warn",
        "tls: insecure: certificates are not verified, anybody may be at the other end")
end

local function to_c(o)
    local c = ffi.new("links_tls_options")
    c.server, c.min_version, c.max_version = o.server and 1 or 0, o.min, o.max
    c.ciphers, c.suites, c.curves = o.ciphers, o.cipherSuites, o.curves
    if o.protocols then c.alpn, c.alpn_len = o.protocols, #o.protocols end
    c.client_cert, c.verify_depth = o.auth, o.verifyDepth
    c.insecure, c.check_host = o.insecure and 1 or 0, o.checkHost and 1 or 0
    c.tickets, c.handshake_timeout = o.sessionTickets and 1 or 0, o.handshakeTimeout
    c.ktls = (o.ktls == true or o.ktls == "auto" and o.server) and 1 or 0
    c.asks = o.onServerName and 1 or 0
    return c
end

local build

local function add_names(handle, o, files)
    for name, about in pairs(o.sni or {}) do
        local ctx = about
        if o.names[name] then
            local err
            ctx, err = build(o.names[name], files)
            if not ctx then return nil, err end
        end
        local rc = C.links_tls_name(handle, name, #name, ctx._h)
        if rc < 0 then return failed(rc, "sni " .. name) end
    end
    return true
end

-- A context of checked options; `files` gets the paths that were read.
function build(o, files)
    local out = ffi.new("links_tls_context *[1]")
    local rc = C.links_tls_context_new(out, to_c(o))
    if rc < 0 then return failed(rc, "tls") end
    local handle = ffi.gc(out[0], C.links_tls_context_free)
    if o.server then C.links_tls_secret(handle, ticket_secret(o)) end
    local ok, err = use_certificates(handle, o, files)
    if ok then ok, err = use_trust(handle, o, files) end
    if ok then ok, err = add_names(handle, o, files) end
    if not ok then return nil, err end
    return setmetatable({ _h = handle, _o = o }, Context)
end

-- --- watching ----------------------------------------------------------------------------------

local watched = setmetatable({}, { __mode = "k" })
local watcher

-- What can be seen of the files from outside: other files look otherwise.
local function look_of(files)
    local fs, looks = require "links.fs", {}
    for path in pairs(files) do
        local st = fs.stat(path)
        looks[#looks + 1] = st and table.concat({ path, st.mtime, st.size, st.ino }, " ") or path
    end
    table.sort(looks)
    return table.concat(looks, "\n")
end

local function look_again()
    local list = {}
    for ctx in pairs(watched) do list[#list + 1] = ctx end
    if #list == 0 then
        watcher:cancel()
        watcher = nil
    end
    for _, ctx in ipairs(list) do
        local look = look_of(ctx._files)
        if look ~= ctx._look and watched[ctx] then
            ctx._look = look
            local ok, err = ctx:reload()
            if not ok then
                report.write("error", "tls: " .. tostring(err) .. "; what was there before is kept")
            end
        end
    end
end

local function watch(ctx)
    if not next(ctx._files) then return end
    ctx._look = look_of(ctx._files)
    watched[ctx] = true
    if watcher then return end
    watcher = require("links.timer").setInterval(WATCH_MS, look_again)
    watcher:unref()
end

-- --- asking for names --------------------------------------------------------------------------

local name_out = ffi.new("const char *[1]")
local len_out, status_out = ffi.new("int[1]"), ffi.new("int[1]")

-- Where a connection comes from, that has no certificate yet.
local function asker(handle, number)
    local n, port = C.links_tls_asker(handle, number, name_out, len_out), len_out[0]
    if n == 0 then return { remoteAddress = "unix:" } end
    return { remoteAddress = ffi.string(name_out[0], n), remotePort = port }
end

local function answer(handle, number, fn, name)
    local ok, with = xpcall(fn, report.trace, name, asker(handle, number))
    local other
    if not ok then
        report.write("error", "tls: error in onServerName: " .. with)
        with = false
    elseif getmetatable(with) == Context then
        other = with._h
    elseif with ~= nil and with ~= false then
        report.write("error", "tls: onServerName must return a context, false or nil")
        with = false
    end
    C.links_tls_answer(handle, number, other, with == false and 1 or 0)
end

-- `choice` has the function, which may be another one later.
local function answer_all(handle, choice)
    while true do
        local number = C.links_tls_asked(handle, name_out, len_out, status_out)
        if number ~= 0 then
            core.spawn(answer, handle, number, choice.fn, ffi.string(name_out[0], len_out[0]))
        else
            local status = status_out[0]
            if status == AGAIN then status = core.wait() end
            if status ~= 0 then return end
        end
    end
end

-- --- contexts as a program sees them -----------------------------------------------------------

-- Whatever else the context was: now it is what `o` says, of these files.
local function begin(ctx, o, files)
    o.given = context.overlay(o.given or {}, {}) -- the program may use its table for something else
    ctx._o, ctx._files, ctx._look = o, files, nil
    watched[ctx] = nil
    if o.watch then watch(ctx) end
    if not o.onServerName then return end
    if not ctx._choice then
        ctx._choice = {}
        core.spawn(answer_all, ctx._h, ctx._choice)
    end
    ctx._choice.fn = o.onServerName
end

-- A context of checked options that is as a program gets it.
function context.new(o)
    if o.context then return o.context end
    if o.insecure and not o.server then warn_insecure() end
    if o.server and not o.cert and not o.sni and not o.onServerName then
        return nil, config_error("tls", "a server needs cert and key")
    end
    local files = {}
    local ctx, err = build(o, files)
    if not ctx then return nil, err end
    begin(ctx, o, files)
    return ctx
end

-- The contents of options as a text: other options have another one.
local function identity(value)
    if type(value) ~= "table" then return type(value):sub(1, 1) .. tostring(value) end
    if getmetatable(value) == Context then return "c" .. tostring(value._h) end
    local keys, list = {}, {}
    for key in pairs(value) do keys[#keys + 1] = key end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    for i, key in ipairs(keys) do
        local text = identity(value[key])
        list[i] = ("%s=%d:%s"):format(tostring(key), #text, text)
    end
    return "{" .. table.concat(list, ",") .. "}"
end

context.identity = identity

-- Those of clients, for the next connection with the same options: what is trusted takes its time
-- to read.
local clients, nclients = {}, 0

function context.client(o)
    if o.context then return o.context end
    local about = {}
    for name, value in pairs(o) do
        if context.OPTIONS[name] and name ~= "serverName" and name ~= "pin" then
            about[name] = value
        end
    end
    local key = identity(about)
    if clients[key] then return clients[key] end
    local ctx, err = context.new(o)
    if not ctx then return nil, err end
    if nclients == CLIENTS_KEPT then clients, nclients = {}, 0 end
    clients[key], nclients = ctx, nclients + 1
    return ctx
end

-- Private: reads the files again.
function Context:reload()
    local o, files = self._o, {}
    local other, err = build(o, files)
    if not other then return nil, err end
    if self._o ~= o then return true end -- somebody has said otherwise meanwhile
    C.links_tls_replace(self._h, other._h)
    self._files = files
    return true
end

-- Private: serves what other options say, and what they do not say as before.
function Context:become(signature, options, level)
    local o = context.check(signature, context.overlay(self._o.given, options), level + 1)
    local files = {}
    local other, err = build(o, files)
    if not other then return nil, err end
    C.links_tls_replace(self._h, other._h)
    begin(self, o, files)
    return true
end

-- Private: asks for no name any more.
function Context:stop()
    watched[self] = nil
    C.links_tls_stop(self._h)
end

function Context:stats()
    local h = self._h
    return { handshakes = h.handshakes, resumed = h.resumed, failed = h.failed }
end

return context
