--- Routers: which function answers which request. Made by `http.router`, and given to
--- `http.createServer` as a handler.
---
--- The path of a route is made of segments: written out, "/about"; a parameter, "/user/:id"; one
--- that a Lua pattern must match, "/user/:id<%d+>"; or the rest of the path, "/files/*rest". What
--- is written out goes before a parameter, a parameter with a pattern before one without, and all
--- of them before the rest, in whatever order they were added. Two routes for the same are an error
--- at once.
---
--- A route for GET answers HEAD too. OPTIONS, where there is no route for it, is answered with the
--- methods that there are, and another method with 405 and the same. Paths with "..", a NUL, a
--- backslash or half an escape, however written, are answered with 400; those with an empty segment
--- with 404.
---
--- Routers can be called without a server: see router:call.
local ffi = require "ffi"
local binding = require "links.http.ffi"
local check = require "links.check"
local codec = require "links.codec"
local chain = require "links.http.chain"
local tree = require "links.http.tree"
local write_labels = require "links.metrics.labels"

local router = {}

local methods = {}
local METHODS, slices, ffi_string = binding.METHODS, tree.slices, ffi.string
local Router = { __index = methods, __name = "http router" }

-- Of two routes for one path and method, the one that names the method goes first; then, for HEAD,
-- that of GET; then the one for all methods.
local EXACT, FROM_GET, ANY = 3, 2, 1

-- Routes for all methods stand in the tree of each method, and in this one, for those that have
-- none.
local OTHERS = "*"

local OPTIONS = {
    strictSlash = { default = false, type = "boolean" },
    caseSensitive = { default = true, type = "boolean" },
}

-- --- answers without a route --------------------------------------------------------------------

-- Which methods a path has, as the value of Allow; nil where it has none.
local function allowed(self, path)
    local found, list = {}, {}
    for method, of_method in pairs(self.trees) do
        if method ~= OTHERS and of_method:find(path) then found[method] = true end
    end
    if next(found) == nil then return nil end
    found.OPTIONS = true
    for method in pairs(found) do list[#list + 1] = method end
    table.sort(list)
    return table.concat(list, ", ")
end

-- The routers of the innermost mount that the path lies below.
local function owners_of(self, path)
    local segments = tree.split(path)
    local best = { { router = self, skip = 0 } }
    for _, mounted in ipairs(segments and self.mounted or {}) do
        local fits = #mounted.segments <= #segments
        for i, segment in ipairs(fits and mounted.segments or {}) do
            local have = segments[i]
            if segment.kind == "static" and segment.text ~= have
                and (self.settings.caseSensitive or segment.text:lower() ~= have:lower())
                or segment.matches and not segment.matches(have) then
                fits = false
            end
        end
        if fits and #mounted.owners >= #best then best = mounted.owners end
    end
    return best
end

local function not_found(owners, req, res)
    res.status = 404
    for i = #owners, 1, -1 do
        local fn = owners[i].router.notFoundHandler
        if fn then return fn(req, res) end
    end
    return 404
end

-- What runs where no route does; the middleware of its place runs around it.
local function run_without_route(self, req, res, path, status)
    local method = req.method
    if method == "OPTIONS" and path == "*" then
        return 204, "", { Allow = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" }
    end
    local allow = status ~= 400 and allowed(self, path)
    local owners = owners_of(self, path)
    local run = chain.build({
        owners = owners, middleware = {},
        handler = function()
            if status == 400 then return 400 end
            if not allow then return not_found(owners, req, res) end
            if method == "OPTIONS" then return 204, "", { Allow = allow } end
            return 405, nil, { Allow = allow }
        end,
    }, self.settings.caseSensitive)
    return run(req, res)
end

-- --- parameters ---------------------------------------------------------------------------------

-- The request whose parameters lie in `slices`.
local matched

-- A function of its own for each list of names: the compiler leaves a table out whose fields it
-- knows, where all that is read of it is their values.
local function compile(names, value)
    local fields = {}
    for i, name in ipairs(names) do fields[i] = '["' .. name .. '"] = ' .. value:gsub("%%", i) end
    return assert(loadstring("return function(values, text) return {" .. table.concat(fields, ", ")
        .. "} end", "=links/http/router.lua (parameters)"))()
end

local binders = setmetatable({}, { __mode = "v" })

-- bind(strings) and bind_slices(slices, ffi.string) for routes with these names.
local function binder(names)
    local id = table.concat(names, " ")
    local both = binders[id]
    if not both then
        both = {
            bind = compile(names, "values[%]"),
            bind_slices = compile(names, "text(values[% - 1].data, values[% - 1].len)"),
        }
        binders[id] = both
    end
    return both
end

-- The parameters of a request that C has found the route of, when they are first read. Where the
-- handler has waited before that, others may have been matched; then the path is taken apart again.
-- It is a plain one, so its segments are as they came.
local Route = {}
Route.__index, Route.is_route = Route, true

function Route._params(route, req)
    if matched == req._key then return route.bind_slices(slices, ffi_string) end
    local params, segments = {}, tree.split(req.rawPath)
    for i, segment in ipairs(route.segments) do
        if segment.kind == "rest" then
            params[segment.name] = table.concat(segments, "/", i)
        elseif segment.name then
            params[segment.name] = segments[i]
        end
    end
    return params
end

-- --- dispatch -----------------------------------------------------------------------------------

local function host_of(self, req)
    local host = req:header("host")
    host = host and host:lower():gsub(":%d*$", ""):gsub("%.$", "")
    if not host then return nil end
    local found = self.hosts.exact[host]
    if found then return found end
    for _, entry in ipairs(self.hosts.wildcards) do
        if #host > #entry.suffix and host:sub(-#entry.suffix) == entry.suffix then
            return entry
        end
    end
end

local function run_host(self, entry, req, res)
    if entry.version ~= self.version then
        entry.version = self.version
        entry.run = chain.build({
            handler = entry.router.handle, middleware = {},
            owners = { { router = self, skip = 0 } },
        }, self.settings.caseSensitive)
    end
    return entry.run(req, res)
end

local function build(self, route)
    route.version = self.version
    route.run = chain.build(route, self.settings.caseSensitive)
end

local function dispatch_slowly(self, of_method, req, res, path)
    local route, status = of_method:find(path)
    if not route then return run_without_route(self, req, res, path, status) end
    if req._r then req._r.route = route.number end
    if route.names[1] then req.params = route.bind(tree.values) end
    if route.version ~= self.version then build(self, route) end
    return route.run(req, res)
end

local function dispatch(self, req, res)
    if self.hosts then
        local entry = host_of(self, req)
        if entry then return run_host(self, entry, req, res) end
    end
    local r = req._r
    if r then
        local of_method = self.trees[METHODS[r.method]] or self.trees[OTHERS]
        local found = of_method:match(r)
        if found then
            req._route, matched = found, req._key
            if rawget(req, "params") then req.params = nil end -- of a router around this one
            if found.version ~= self.version then build(self, found) end
            return found.run(req, res)
        end
    end
    local method, path = req:_target()
    local of_method = self.trees[method] or self.trees[OTHERS]
    local node = of_method.paths[path]
    -- Paths without parameters are found as they are; nothing in them needs a check.
    local route = node and node.leaf
    if not route then return dispatch_slowly(self, of_method, req, res, path) end
    if r then r.route = route.number end
    if route.version ~= self.version then build(self, route) end
    return route.run(req, res)
end

-- --- registration -------------------------------------------------------------------------------

-- What was put together is out of date, here and in the routers that this one is part of.
local function changed(self)
    self.version = self.version + 1
    for _, parent in ipairs(self.parents) do changed(parent.router) end
end

local function rank_in(method, route)
    if route.method == OTHERS then return ANY end
    return route.method == method and EXACT or FROM_GET
end

-- The trees that a route belongs to. That of a method nobody asked for yet gets the routes for all.
local function trees_of(self, route)
    local wanted = { [route.method] = true }
    if route.method == "GET" then wanted.HEAD = true end
    for method in pairs(wanted) do
        if not self.trees[method] then
            self.trees[method] = tree.new(self.settings)
            for _, other in ipairs(self.list) do
                if other.method == OTHERS then
                    self.trees[method]:insert(other.segments, other, ANY)
                end
            end
        end
    end
    return route.method == OTHERS and self.trees or wanted
end

local function describe(route)
    return (route.method == OTHERS and "all" or route.method) .. " " .. route.path
end

local numbers = {}

-- What the metrics count the requests of a route by.
local function number_of(method, path)
    local labels = write_labels({ "method", "route" }, { method, path })
    local number = numbers[labels]
    if not number then
        number = binding.C.links_http_route(labels, #labels)
        numbers[labels] = number
    end
    return number
end

-- The same route as part of a router that `mount` is mounted in.
local function outer_route(mount, route)
    local segments = { slash = route.segments.slash }
    for _, segment in ipairs(mount.segments) do segments[#segments + 1] = segment end
    for _, segment in ipairs(route.segments) do segments[#segments + 1] = segment end
    local owners = { { router = mount.router, skip = 0 } }
    for _, owner in ipairs(route.owners) do
        owners[#owners + 1] = { router = owner.router, skip = owner.skip + #mount.segments }
    end
    local names = {}
    for _, segment in ipairs(segments) do names[#names + 1] = segment.name end
    local bound = binder(names)
    local path = mount.prefix .. (route.path == "/" and #mount.segments > 0 and "" or route.path)
    return setmetatable({
        method = route.method, path = path, name = route.name, meta = route.meta, names = names,
        segments = segments, handler = route.handler, make = route.make,
        middleware = route.middleware, owners = owners, keeps_slash = route.keeps_slash,
        version = 0, number = number_of(route.method, path),
        bind = bound.bind, bind_slices = bound.bind_slices, bound = bound,
    }, Route)
end

-- Calls fn(router, route) for this router and all that it is part of, until one returns a message,
-- which is returned.
local function everywhere(self, route, fn)
    for _, mount in ipairs(self.parents) do
        local message = everywhere(mount.router, outer_route(mount, route), fn)
        if message then return message end
    end
    return fn(self, route)
end

local function conflict(self, route)
    for method in pairs(trees_of(self, route)) do
        local there = self.trees[method]:conflict(route.segments, rank_in(method, route))
        if there then
            return describe(route) .. " conflicts with " .. describe(there)
                .. ", which matches the same"
        end
    end
    local namesake = route.name and self.names[route.name]
    if namesake then return 'the name "' .. route.name .. '" is that of ' .. describe(namesake) end
end

local function put(self, route)
    for method in pairs(trees_of(self, route)) do
        self.trees[method]:insert(route.segments, route, rank_in(method, route))
    end
    self.list[#self.list + 1] = route
    if route.name then self.names[route.name] = route end
end

local function add(self, signature, method, path, about, level)
    check.type(signature, "path", path, "string", level + 1)
    local segments, message = tree.parse(path)
    if not segments then
        error(signature .. ' path "' .. path .. '" is wrong: ' .. message, level + 2)
    end
    local names = {}
    for _, segment in ipairs(segments) do names[#names + 1] = segment.name end
    local last, bound = segments[#segments], binder(names)
    local route = setmetatable({
        method = method, path = path, segments = segments, names = names, version = 0,
        keeps_slash = last ~= nil and last.kind == "rest", handler = about.handler,
        make = about.make, middleware = about.middleware, name = about.name,
        number = number_of(method, path), meta = about.meta,
        owners = { { router = self, skip = 0 } },
        bind = bound.bind, bind_slices = bound.bind_slices, bound = bound,
    }, Route)
    message = everywhere(self, route, conflict)
    if message then error(signature .. " " .. message, level + 2) end
    everywhere(self, route, put)
end

-- The arguments behind a path: functions around, and the handler.
local function split_handlers(signature, level, ...)
    local n = select("#", ...)
    local fns = { ... }
    for i = 1, math.max(n, 1) do
        local name = i == math.max(n, 1) and "handler" or "middleware"
        check.type(signature, name, fns[i], "function", level + 1)
    end
    local handler = table.remove(fns, n)
    return { handler = handler, middleware = fns }
end

local function adder(name, method)
    local signature = "router:" .. name .. "(path, [middleware, ...] handler)"
    return function(self, path, ...)
        add(self, signature, method, path, split_handlers(signature, 1, ...), 1)
        return self
    end
end

--- Adds a route for GET, and for HEAD.
---
--- @param path     string    such as "/user/:id<%d+>"; see above
--- @param ...      function  middleware of this route: function(req, res, next)
--- @param handler  function  as that of http.createServer; the parameters are in `req.params`
--- @return router            itself
--- @raise                    the path is wrong, or another route matches the same
--- @usage local app = require("http").router()
--- app:get("/user/:id<%d+>", function(req) return "user " .. req.params.id end)
--- assert(select(3, app:call("GET", "/user/7")) == "user 7")
methods.get = adder("get", "GET")

--- Adds a route for POST; as router:get.
methods.post = adder("post", "POST")

--- Adds a route for PUT; as router:get.
methods.put = adder("put", "PUT")

--- Adds a route for PATCH; as router:get.
methods.patch = adder("patch", "PATCH")

--- Adds a route for DELETE; as router:get.
methods.delete = adder("delete", "DELETE")

--- Adds a route for OPTIONS; as router:get.
methods.options = adder("options", "OPTIONS")

--- Adds a route for HEAD, in place of that for GET; as router:get.
methods.head = adder("head", "HEAD")

--- Adds a route for all methods that have none of their own for the same path; as router:get.
methods.all = adder("all", OTHERS)

local WS = "router:ws(path, handler[, options])"

--- Adds a route for WebSockets. A request that is no handshake gets 426.
---
--- @param path     string          as for router:get
--- @param handler  function|table  as for websocket.createServer: handler(ws, req), or {message =,
---                                 ...}
--- @param options  table           those of websocket. Default: none
--- @return router                  itself
--- @raise                          as router:get; a handler or an option of another type
--- @usage local http, websocket = require "http", require "websocket"
--- local app = http.router()
--- app:ws("/room/:name", function(ws, req)
---     ws:subscribe("room:" .. req.params.name)
---     for text in function() return (ws:read()) end do
---         websocket.publish("room:" .. req.params.name, text)
---     end
--- end)
--- local server = assert(http.createServer(0, app))
--- local ws = assert(websocket.connect("ws://127.0.0.1:" .. server:address().port .. "/room/1"))
--- ws:write("hello")
--- assert(ws:read() == "hello")
--- ws:close()
--- server:close()
function methods:ws(path, handler, options)
    local route = require("links.websocket")._route(WS, handler, options)
    add(self, WS, "GET", path, { handler = route, middleware = {} }, 1)
    return self
end

local ROUTE = "router:route(options)"
local ROUTE_OPTIONS = {
    method = { default = "GET", type = "string|table" }, path = { type = "string" },
    name = { type = "string" }, handler = { type = "function" }, meta = { type = "table" },
    middleware = { type = "table" },
}

--- Adds a route with everything that a route may have.
---
--- @param options  table  path        the path
---                        handler     the function
---                        method      "GET"  or another, a list of them, or "*" for all
---                        name        for router:url
---                        meta        a table of the program's own, which router:routes hands out
---                        middleware  a list of functions
--- @return router         itself
--- @raise                 an option of another type, or one that nobody knows; else as router:get
--- @usage local app = require("http").router()
--- app:route{ method = { "GET", "POST" }, path = "/", name = "home", handler = function() return ""
--- end }
--- assert(app:url("home") == "/")
function methods:route(options)
    options = check.options(ROUTE, options, ROUTE_OPTIONS)
    check.type(ROUTE, "options.handler", options.handler, "function")
    local list = options.method
    if type(list) == "string" then list = { list } end
    if #list == 0 then error(ROUTE .. " options.method is empty", 2) end
    local name = options.name
    for _, method in ipairs(list) do
        if type(method) ~= "string" or not method:find("^[%u%-]+$") and method ~= OTHERS then
            error(ROUTE .. ' options.method must be in capitals, such as "GET"', 2)
        end
        add(self, ROUTE, method, options.path, {
            handler = options.handler, middleware = options.middleware or {}, name = name,
            meta = options.meta,
        }, 1)
        name = nil
    end
    return self
end

local function literal_segments(signature, prefix, level)
    check.type(signature, "prefix", prefix, "string", level + 1)
    local segments, message = tree.parse(prefix)
    for _, segment in ipairs(segments or {}) do
        if segment.kind ~= "static" then message = "parameters are not for prefixes" end
    end
    if message then
        error(signature .. ' prefix "' .. prefix .. '" is wrong: ' .. message, level + 2)
    end
    return segments
end

--- Adds middleware: a function that runs around what comes after it, 404 and 405 included, in the
--- order in which they were added, whenever the routes were.
---
--- It gets `next`, which runs the rest and returns what that returned; what it returns itself is
--- the answer. Where it returns nothing after it has called `next`, the answer is that of `next`.
---
--- @param prefix  string    only for paths that begin with these segments. Default: all
--- @param fn      function  function(req, res, next)
--- @return router           itself
--- @raise                   an argument of another type; a prefix with parameters
--- @usage local app = require("http").router()
--- app:use("/admin", function(req, res, next)
---     if req.headers.authorization ~= "Bearer secret" then return 401 end
---     return next()
--- end)
--- assert(app:call("GET", "/admin/users") == 401)
function methods:use(prefix, fn)
    local signature = "router:use([prefix, ]fn)"
    if fn == nil then prefix, fn = "/", prefix end
    check.type(signature, "fn", fn, "function")
    self.uses[#self.uses + 1] = { prefix = literal_segments(signature, prefix, 1), fn = fn }
    changed(self)
    return self
end

--- Adds a function that runs before each handler, within the middleware. What it returns is the
--- answer, and the handler does not run; mostly it returns nothing.
---
--- @param fn  function  function(req, res)
--- @return router       itself
--- @raise               `fn` is not a function
function methods:before(fn)
    check.type("router:before(fn)", "fn", fn, "function")
    table.insert(self.befores, fn)
    changed(self)
    return self
end

--- Adds a function that runs after each handler, with what the handler returned. What it returns
--- takes the place of that; mostly it returns nothing.
---
--- @param fn  function  function(req, res, ...)
--- @return router       itself
--- @raise               `fn` is not a function
function methods:after(fn)
    check.type("router:after(fn)", "fn", fn, "function")
    table.insert(self.afters, fn)
    changed(self)
    return self
end

--- Sets what answers where a handler or a middleware raises an error, or returns nil and an error.
--- Where it returns nothing, the server answers and logs as it does without it.
---
--- @param fn  function  function(err, req, res, traceback); no traceback for an error that was
---                      returned
--- @return router       itself
--- @raise               `fn` is not a function
--- @usage local app = require("http").router()
--- app:onError(function(err) return 500, { error = tostring(err) } end)
--- app:get("/", function() error("oops", 0) end)
--- assert(app:call("GET", "/") == 500)
function methods:onError(fn)
    check.type("router:onError(fn)", "fn", fn, "function")
    self.errorHandler = fn
    changed(self)
    return self
end

--- Sets what answers where no route does. res.status is 404 when it is called.
---
--- @param fn  function  function(req, res)
--- @return router       itself
--- @raise               `fn` is not a function
function methods:notFound(fn)
    check.type("router:notFound(fn)", "fn", fn, "function")
    self.notFoundHandler = fn
    return self
end

--- Answers GET and HEAD below a prefix with the files of a folder, as http.static does. Where there
--- is no file, it is as if there were no route.
---
--- @param prefix   string  such as "/assets"; "/" for all paths that no other route has
--- @param dir      string  the folder
--- @param options  table   as of http.static, but for `prefix`. Default: none
--- @return router          itself
--- @raise                  an argument or an option of another type; a prefix with parameters;
---                         another route matches the same
--- @usage local app = require("http").router()
--- app:static("/docs", "docs")
--- assert(app:call("GET", "/docs/architecture.md") == 200)
--- assert(app:call("GET", "/docs/none") == 404)
function methods:static(prefix, dir, options)
    local signature = "router:static(prefix, dir[, options])"
    literal_segments(signature, prefix, 1)
    local at_depth = require("links.http.static")._below(signature, dir, options)
    local path = prefix:gsub("/$", "") .. "/*path"
    add(self, signature, "GET", path, {
        middleware = {},
        make = function(route)
            return at_depth(#route.segments - 1, function(req, res)
                return not_found(route.owners, req, res)
            end)
        end,
    }, 1)
    return self
end

local function is_part_of(self, other)
    if self == other then return true end
    for _, parent in ipairs(self.parents) do
        if is_part_of(parent.router, other) then return true end
    end
    return false
end

local function check_router(signature, name, value, level)
    if getmetatable(value) ~= Router then
        error(signature .. " " .. name .. " must be a router, not a " .. type(value), level + 2)
    end
end

-- Makes known, here and further out, which routers answer below a prefix.
local function note_mount(self, segments, owners)
    table.insert(self.mounted, { segments = segments, owners = owners })
    for _, mount in ipairs(self.parents) do
        local route = outer_route(mount, {
            segments = segments, owners = owners, path = "", middleware = {},
        })
        note_mount(mount.router, route.segments, route.owners)
    end
end

--- Makes the routes of another router part of this one, below a prefix, those that it gets later
--- too. Its middleware, hooks and handlers of errors run for its own routes, within those of this
--- one.
---
--- @param prefix  string  may have parameters, such as "/user/:id"
--- @param sub     router  the other one
--- @return router         itself
--- @raise                 a route of `sub` conflicts with one that is here; `sub` contains this
---                        router
--- @usage local http = require "http"
--- local api = http.router()
--- api:get("/ping", function() return "pong" end)
--- local app = http.router()
--- app:mount("/api", api)
--- assert(select(3, app:call("GET", "/api/ping")) == "pong")
function methods:mount(prefix, sub)
    local signature = "router:mount(prefix, router)"
    check.type(signature, "prefix", prefix, "string")
    check_router(signature, "router", sub, 1)
    if is_part_of(self, sub) then error(signature .. " the router would be part of itself", 2) end
    local segments, message = tree.parse(prefix)
    local last = segments and segments[#segments]
    if last and last.kind == "rest" then message = "nothing can follow the rest" end
    if message then error(signature .. ' prefix "' .. prefix .. '" is wrong: ' .. message, 2) end
    local mount = { router = self, prefix = prefix:gsub("/$", ""), segments = segments }
    for _, route in ipairs(sub.list) do
        message = everywhere(self, outer_route(mount, route), conflict)
        if message then error(signature .. " " .. message, 2) end
    end
    for _, route in ipairs(sub.list) do
        everywhere(self, outer_route(mount, route), put)
    end
    table.insert(sub.parents, mount)
    local own = { { segments = {}, owners = { { router = sub, skip = 0 } } } }
    for _, mounted in ipairs(sub.mounted) do own[#own + 1] = mounted end
    for _, mounted in ipairs(own) do
        local route = outer_route(mount, {
            segments = mounted.segments, owners = mounted.owners, path = "", middleware = {},
        })
        note_mount(self, route.segments, route.owners)
    end
    changed(self)
    return self
end

--- Gives the requests for a host to another router, whatever this one has for their path. The
--- middleware of this one runs around it.
---
--- @param host  string  "example.com", or "*.example.com" for the names below it
--- @param sub   router  the other one
--- @return router       itself
--- @raise               an argument of another type; a host that has a router already
--- @usage local http = require "http"
--- local app, api = http.router(), http.router()
--- api:get("/", function() return "the API" end)
--- app:host("api.example.com", api)
--- local _, _, body = app:call("GET", "/", { headers = { host = "api.example.com" } })
--- assert(body == "the API")
function methods:host(host, sub)
    local signature = "router:host(host, router)"
    check.type(signature, "host", host, "string")
    check_router(signature, "router", sub, 1)
    local name = host:lower()
    if not name:find("^[%w%-._%[%]:]+$") and not name:find("^%*%.[%w%-._]+$") then
        error(signature .. ' host "' .. host .. '" is neither a name nor "*." and a name', 2)
    end
    if is_part_of(self, sub) then error(signature .. " the router would be part of itself", 2) end
    self.hosts = self.hosts or { exact = {}, wildcards = {} }
    local entry, suffix = { router = sub }, name:match("^%*(%..+)$")
    for _, other in ipairs(self.hosts.wildcards) do
        if other.suffix == suffix then
            error(signature .. " " .. host .. " has a router already", 2)
        end
    end
    if self.hosts.exact[name] then error(signature .. " " .. host .. " has a router already", 2) end
    if suffix then
        entry.suffix = suffix
        table.insert(self.hosts.wildcards, entry)
        -- The longest is the most particular.
        table.sort(self.hosts.wildcards, function(a, b) return #a.suffix > #b.suffix end)
    else
        self.hosts.exact[name] = entry
    end
    return self
end

local URL = "router:url(name[, params[, query]])"

local function url_segment(segment, params)
    if segment.kind == "static" then return codec.escapeUri(segment.text) end
    local value = params[segment.name]
    if type(value) == "number" then value = tostring(value) end
    if type(value) ~= "string" then
        check.type(URL, "params." .. segment.name, value, "string|number", 2)
    end
    if segment.kind == "rest" then
        return (value:gsub("[^/]+", codec.escapeUri))
    end
    if value == "" or value == "." or value == ".."
        or segment.matches and not segment.matches(value) then
        error(URL .. " params." .. segment.name .. ' cannot be "' .. value .. '"', 3)
    end
    return codec.escapeUri(value)
end

--- Makes the path of a route that has a name, so that nobody writes it twice.
---
--- @param name    string  the name that router:route was given
--- @param params  table   the parameters: strings or numbers. Default: none
--- @param query   table   as for codec.encodeArgs. Default: none
--- @return string         such as "/user/7?tab=posts"
--- @raise                 nobody has that name; a parameter is missing, or its pattern does not
---                        match
--- @usage local app = require("http").router()
--- app:route{ path = "/user/:id<%d+>", name = "user", handler = function() return "" end }
--- assert(app:url("user", { id = 7 }, { tab = "posts" }) == "/user/7?tab=posts")
function methods:url(name, params, query)
    check.type(URL, "name", name, "string")
    check.type(URL, "params", params, "table|nil")
    check.type(URL, "query", query, "table|nil")
    local route = self.names[name]
    if not route then
        local near = check.nearest(name, self.names)
        error(URL .. ' no route has the name "' .. name .. '"'
            .. (near and ' (did you mean "' .. near .. '"?)' or ""), 2)
    end
    local pieces = {}
    for _, segment in ipairs(route.segments) do
        pieces[#pieces + 1] = url_segment(segment, params or {})
    end
    local path = "/" .. table.concat(pieces, "/")
    if route.segments.slash then path = path .. "/" end
    local encoded = query and codec.encodeArgs(query) or ""
    return encoded == "" and path or path .. "?" .. encoded
end

--- All routes, those of mounted routers included.
---
--- @return table  a list of { method =, path =, name =, meta = }; the method of router:all is "*"
--- @usage local app = require("http").router()
--- app:get("/a", function() return "" end)
--- assert(app:routes()[1].path == "/a")
function methods:routes()
    local list = {}
    for i, route in ipairs(self.list) do
        list[i] = { method = route.method, path = route.path, name = route.name, meta = route.meta }
    end
    return list
end

local CALL = "router:call(method, path[, options])"
local CALL_OPTIONS = { headers = { type = "table" }, body = { type = "string|table|function" } }

--- Answers a request that nobody has sent: a test without a socket, or one route that uses another.
---
--- @param method   string   such as "GET"
--- @param path     string   with its query, escaped: "/user/7?tab=posts"
--- @param options  table    headers  fields of the request: name = value, or a list of values
---                          body     a string; a function that returns the next piece; a table,
---                                   sent as JSON
--- @return integer          the status
--- @return table            the fields of the response, by their names in small letters; those that
---                          repeat as lists
--- @return string           the body
--- @raise                   an argument of another type; what a handler raises and no onError
---                          answers
--- @wait
--- @usage local app = require("http").router()
--- app:post("/echo", function(req) return 201, req:body(), { ["X-Length"] = req.contentLength }
--- end)
--- local status, headers, body = app:call("POST", "/echo", { body = "hello" })
--- assert(status == 201 and headers["x-length"] == "5" and body == "hello")
function methods:call(method, path, options)
    check.type(CALL, "method", method, "string")
    check.type(CALL, "path", path, "string")
    options = check.options(CALL, options, CALL_OPTIONS)
    return require("links.http.memory").call(self.handle, method, path, options)
end

function Router:__call(req, res)
    return dispatch(self, req, res)
end

function Router:__tostring()
    return "http router: " .. #self.list .. " routes"
end

--- Makes a router: `http.router`.
---
--- @param options  table  strictSlash    false  "/a" and "/a/" are two paths
---                        caseSensitive  true   "/a" and "/A" are two paths
--- @return router         :get() :post() :put() :patch() :delete() :options() :head() :all()
---                        :route() :use() :static()
---                        :before() :after() :onError() :notFound() :mount() :host() :url()
---                        :routes()
---                        :call()
--- @raise                 an option of another type, or one that nobody knows
--- @usage local http = require "http"
--- local app = http.router()
--- app:get("/hello/:name", function(req) return "hello, " .. req.params.name end)
--- local server = assert(http.createServer(0, app, { host = "127.0.0.1" }))
--- server:close()
function router.new(options)
    local self = setmetatable({
        settings = check.options("http.router([options])", options, OPTIONS),
        trees = {}, list = {}, names = {}, uses = {}, befores = {}, afters = {}, parents = {},
        mounted = {}, version = 1,
    }, Router)
    self.trees[OTHERS] = tree.new(self.settings)
    function self.handle(req, res) return dispatch(self, req, res) end
    return self
end

-- Private: the function of a router; nil for what is none.
function router._handler(value)
    return getmetatable(value) == Router and value.handle or nil
end

return router
