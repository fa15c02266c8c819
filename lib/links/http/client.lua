--- HTTP requests: one call, and its answer.
---
--- A call waits until the answer has come, and the other tasks go on. Connections are kept and
--- shared by all tasks; an answer that was compressed is decompressed; redirects are followed. What
--- comes back is described in http.client.response: `res.status`, `res.headers`, `res.body`,
--- `res:json()`. An answer with a status of 400 and more is an answer, and no error, unless
--- expectStatus says otherwise.
---
--- Besides "http://..." a URL may be that of a Unix socket: "unix:/run/docker.sock:/v1/info".
--- Nothing that is given can break out of its place in the request: a control character in a header
--- field, or in a URL, is an error.
---
--- What all of these functions take as options:
---
---     headers          {}        name = string, number, or a list of those; false leaves out
---                                what links would send (User-Agent, Accept, Accept-Encoding)
---     query            {}        arguments to add to the URL, as for codec.encodeArgs
---     json             nil       a body: any value, encoded
---     form             nil       a body: the arguments of a form
---     auth             nil       {user, password}, or "bearer <token>"
---     timeout          30000     ms for the whole call, the body included; 0: no limit
---     connectTimeout   5000      ms to look the name up and to connect
---     tlsTimeout       5000      ms for the handshake of TLS
---     headerTimeout    30000     ms from the end of the request to the head of the answer
---     idleTimeout      30000     ms in which nothing of a body comes, or is taken
---     maxBodySize      10485760  bytes of a body that is read as a whole, once decompressed
---     stream           false     return when the head has come; the body is read by res:read and
---                                the others
---     redirects        10        how many are followed; 0: none, and the answer is the redirect
---     allowDowngrade   false     follow a redirect from https to http
---     decompress       true      ask for compressed answers, and decompress them: gzip,
---                                deflate, and where libbrotlidec and libzstd are
---                                installed br and zstd
---     keepAlive        true      keep the connection for the next request
---     retries          0         how often a request that failed is made again (GET, HEAD, PUT,
---                                DELETE, OPTIONS only), within the timeout
---     retryOn          {"ECONNRESET", 502, 503, 504}  names of errors and statuses after which
---     backoff          {base = 100, max = 5000}  ms before the first retry at most, and before
---                                                any:
---                                it is by chance, the limit doubles, and Retry-After is heeded
---     resolve          nil       {["host"] = "address"}: instead of looking the name up
---     denyPrivate      false     refuse addresses of this machine and of private networks, for
---                                URLs that strangers have given: EACCES
---     unix             nil       the path of a Unix socket to connect to, whatever the host is
---     tls              nil       options of tls.createContext, and `pin` and `serverName`, for
---                                https
---     expectStatus     nil       a status, or a list of those: others are the error
---                                HTTP_BAD_STATUS
---     onProgress       nil       onProgress(sent, total): while the body is sent
local check = require "links.check"
local task = require "links.task"
local known = require "links.http.client.options"
local start = require "links.http.client.start"

local http = {}
local methods = {}
local Client = { __index = methods, __name = "http client" }

local REQUEST, WHOLE = known.REQUEST, known.WHOLE
local request = start.request

-- The client of http.get and the others.
local shared = setmetatable(start.client(), Client)

--- Gets a URL.
---
--- @param url      string  such as "http://example.org/path?query"
--- @param options  table   see above. Default: {}
--- @return response        see http.client.response
--- @return nil, err        HTTP_BAD_URL             it is no URL, or none of http, https, unix
---                         HTTP_BAD_REQUEST         a header field that cannot be sent: a control
---                                                  character in it, a name that is none, one that
---                                                  links sets itself
---                         HTTP_TOO_MANY_REDIRECTS  more than `redirects`
---                         HTTP_BODY_TOO_LARGE      the body is larger than maxBodySize
---                         HTTP_HEADERS_TOO_LARGE   the head is larger than 65536 bytes, or has
---                                                  more than 256 fields
---                         HTTP_BAD_FRAMING         the length of the body is ambiguous or
---                                                  malformed
---                         HTTP_DECOMPRESS          the body cannot be decompressed
---                         HTTP_BAD_STATUS          another status than expectStatus (err.status,
---                                                  err.response)
---                         PROTOCOL                 what came is no HTTP/1.1
---                         ETIMEDOUT                one of the timeouts (err.timeout: "connect",
---                                                  "header", "idle" or "total"), or a deadline
---                                                  around the call (err.deadline)
---                         POOL_FULL                maxPerHost connections are in use, and maxWait
---                                                  tasks wait
---                         POOL_TIMEOUT             none came free within the timeout
---                         EOF                      the connection ended too early
---                         ECONNREFUSED and others  as tcp.connect
---                         ECONNRESET               the server broke the connection off
---                         UNSUPPORTED              TLS is not built in, a coding of the body that
---                                                  nobody knows, or a redirect that is not
---                                                  followed
---                         EACCES                   the address is private (denyPrivate)
---                         ECANCELED                this task was cancelled
--- @raise                  an argument or an option of another type or out of bounds, or one that
---                         nobody knows
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req)
---     return "you asked for " .. req.path
--- end))
--- local base = "http://127.0.0.1:" .. server:address().port
--- local res = assert(http.get(base .. "/hello", { timeout = 2000 }))
--- assert(res.status == 200 and res.body == "you asked for /hello")
--- server:close()
function http.get(url, options)
    local res, err = request(shared, "http.get(url[, options])", "GET", url, nil, options, REQUEST)
    return res, err
end

--- Asks for the head of an answer alone.
---
--- @param url      string  as for http.get
--- @param options  table   see above. Default: {}
--- @return response        its body is ""
--- @return nil, err        as http.get
--- @raise                  as http.get
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function() return "hello" end))
--- local res = assert(http.head("http://127.0.0.1:" .. server:address().port))
--- assert(res.contentLength == 5 and res.body == "")
--- server:close()
function http.head(url, options)
    local res, err = request(shared, "http.head(url[, options])", "HEAD", url, nil, options,
        REQUEST)
    return res, err
end

--- Deletes what a URL names.
---
--- @param url      string  as for http.get
--- @param options  table   see above. Default: {}
--- @return response
--- @return nil, err        as http.get
--- @raise                  as http.get
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req) return 204 end))
--- local res = assert(http.delete("http://127.0.0.1:" .. server:address().port .. "/item/7"))
--- assert(res.status == 204)
--- server:close()
function http.delete(url, options)
    local res, err = request(shared, "http.delete(url[, options])", "DELETE", url, nil, options,
        REQUEST)
    return res, err
end

--- Asks what can be done with a URL.
---
--- @param url      string  as for http.get
--- @param options  table   see above. Default: {}
--- @return response
--- @return nil, err        as http.get
--- @raise                  as http.get
--- @wait
--- @usage local http = require "http"
--- local app = http.router()
--- app:get("/", function() return "hello" end)
--- local server = assert(http.createServer(8080, app))
--- local res = assert(http.options("http://127.0.0.1:" .. server:address().port))
--- assert(res.headers.allow:find("GET"))
--- server:close()
function http.options(url, options)
    local res, err = request(shared, "http.options(url[, options])", "OPTIONS", url, nil, options,
        REQUEST)
    return res, err
end

--- Posts a body to a URL.
---
--- A body whose length is not known beforehand goes out in chunks, unless a Content-Length is given
--- among the headers. It is sent as fast as the server takes it. With the header `Expect:
--- 100-continue` it is held back until the server asks for it, or for a second.
---
--- @param url      string  as for http.get
--- @param body     any     string; a list of strings; a function that returns the next piece, nil
---                         at the end, or nil and an error; an open file of fs.open, from where it
---                         is; {path = "..."}, a file; a socket, until its end; or anything with a
---                         method read(n), such as a request of a server. nil: none, or that of the
---                         options json or form
--- @param options  table   see above. Default: {}
--- @return response        it may come before all of the body has been sent
--- @return nil, err        as http.get, and what the function or the file said;
---                         TOO_LARGE, EOF  the body has not the length that was told
--- @raise                  as http.get, and what the function raised
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req) return req:json().name end))
--- local base = "http://127.0.0.1:" .. server:address().port
--- local res = assert(http.post(base, nil, { json = { name = "links" } }))
--- assert(res.body == "links")
--- server:close()
function http.post(url, body, options)
    local res, err = request(shared, "http.post(url, body[, options])", "POST", url, body, options,
        REQUEST)
    return res, err
end

--- Puts a body where a URL says.
---
--- @param url      string  as for http.get
--- @param body     any     as for http.post
--- @param options  table   see above. Default: {}
--- @return response
--- @return nil, err        as http.post
--- @raise                  as http.post
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req) return 201, req:body() end))
--- local res = assert(http.put("http://127.0.0.1:" .. server:address().port, { "two ", "pieces" }))
--- assert(res.status == 201 and res.body == "two pieces")
--- server:close()
function http.put(url, body, options)
    local res, err = request(shared, "http.put(url, body[, options])", "PUT", url, body, options,
        REQUEST)
    return res, err
end

--- Changes what a URL names, by a body that says how.
---
--- @param url      string  as for http.get
--- @param body     any     as for http.post
--- @param options  table   see above. Default: {}
--- @return response
--- @return nil, err        as http.post
--- @raise                  as http.post
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req) return req.method end))
--- local res = assert(http.patch("http://127.0.0.1:" .. server:address().port, "x"))
--- assert(res.body == "PATCH")
--- server:close()
function http.patch(url, body, options)
    local res, err = request(shared, "http.patch(url, body[, options])", "PATCH", url, body,
        options, REQUEST)
    return res, err
end

-- http.request takes all in one table.
local function request_whole(client, signature, given, level)
    check.type(signature, "options", given, "table", level + 1)
    check.given(signature, given, WHOLE, level + 1)
    local own = {}
    for name, value in pairs(given) do own[name] = value end
    local method, url, body = own.method or "GET", own.url, own.body
    own.method, own.url, own.body = nil, nil, nil
    return method:upper(), url, body, own
end

--- Makes any request.
---
--- @param options  table  see above, and
---                        method  "GET"  any but CONNECT
---                        url     nil    as for http.get
---                        body    nil    as for http.post
--- @return response
--- @return nil, err       as http.post
--- @raise                 as http.post
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req) return req.method end))
--- local url = "http://127.0.0.1:" .. server:address().port
--- assert(http.request { method = "PUT", url = url, body = "x" }.body == "PUT")
--- server:close()
function http.request(options)
    local signature = "http.request(options)"
    local method, url, body, own = request_whole(shared, signature, options, 1)
    local res, err = request(shared, signature, method, url, body, own, REQUEST)
    return res, err
end

-- --- several at a time -----------------------------------------------------------------------

local ALL_OPTIONS = {
    concurrency = { default = 16, type = "integer", min = 1, max = 65535 },
    pipeline = { default = 1, type = "integer", min = 1, max = 256 },
}

local function check_all(signature, requests, given)
    check.type(signature, "requests", requests, "table", 3)
    for i, item in ipairs(requests) do
        check.type(signature, "requests[" .. i .. "]", item, "string|table", 3)
        if type(item) == "table" then
            check.given(signature, item, WHOLE, 3)
            start.check(signature, item.url, nil, nil, 3)
        end
    end
    local o = check.options(signature, given, ALL_OPTIONS, 3)
    return o
end

-- One of the requests: the answer, or false and an error.
local function run_one(client, signature, item)
    local whole = type(item) == "string" and { url = item } or item
    local method, url, body, own = request_whole(client, signature, whole, 1)
    local res, err = request(client, signature, method, url, body, own, REQUEST)
    return res or false, err
end

-- The requests as groups of those that go on one connection: lists of {i =, call =}, of one server,
-- `size` at most. Those that have to be by themselves have no call.
local function groups_of(client, signature, requests, size)
    local pipeline = require "links.http.client.pipeline"
    local groups, open = {}, {}
    for i, item in ipairs(requests) do
        local whole = type(item) == "string" and { url = item } or item
        local method, url, body, own = request_whole(client, signature, whole, 1)
        local alone = size == 1 or body ~= nil or own.json ~= nil or own.form ~= nil
        if not alone then start.check(signature, url, own, REQUEST, 3) end
        local call = not alone and start.prepare(client, method, url, own)
        if call and pipeline.takes(call) then
            local group = open[call.to.key]
            if not group or #group == size then
                group = {}
                groups[#groups + 1], open[call.to.key] = group, group
            end
            group[#group + 1] = { i = i, call = call }
        else
            groups[#groups + 1] = { { i = i } }
        end
    end
    return groups
end

local function run_group(group)
    local calls = {}
    for _, entry in ipairs(group) do calls[#calls + 1] = entry.call end
    if #calls > 1 then require("links.http.client.pipeline").run(calls) end
end

local function run_all(client, signature, requests, given)
    local o = check_all(signature, requests, given)
    local results, failed = {}, nil
    local function keep(i, res, err)
        results[i] = res or false
        if not res then
            failed = failed or {}
            failed[i] = err
        end
    end
    local groups = groups_of(client, signature, requests, o.pipeline)
    local done, err = task.map(groups, function(group)
        run_group(group)
        for _, entry in ipairs(group) do
            if entry.call then
                keep(entry.i, start.finish(entry.call))
            else
                keep(entry.i, run_one(client, signature, requests[entry.i]))
            end
        end
        return true
    end, { concurrency = o.concurrency })
    if not done then return nil, err end
    return results, failed
end

--- Makes several requests side by side.
---
--- @param requests  array  URLs, and tables as for http.request
--- @param options   table  concurrency  16  at a time
--- @return array           the answers, in the order of the requests; false where one failed
--- @return data, err       the same, and the errors by the index of their request
--- @return nil, err        ECANCELED, ETIMEDOUT: this task was cancelled, or the deadline around it
---                         has passed; the requests were cancelled, too
--- @raise                  as http.request
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req) return req.path end))
--- local base = "http://127.0.0.1:" .. server:address().port
--- local results, failed = http.all({ base .. "/a", { url = base .. "/b" } }, { concurrency = 2 })
--- assert(not failed and results[1].body == "/a" and results[2].body == "/b")
--- server:close()
function http.all(requests, options)
    local results, failed = run_all(shared, "http.all(requests[, options])", requests, options)
    return results, failed
end

-- --- files -----------------------------------------------------------------------------------

local function upload(client, signature, url, parts, given)
    start.check(signature, url, given, REQUEST, 2)
    check.type(signature, "parts", parts, "string|table", 2)
    local made, err = require("links.http.client.form").make(signature, parts, 2)
    if not made then return nil, err end
    local res
    res, err = start.run(client, "POST", url, made, given)
    return res, err
end

--- Uploads files and fields, as a form of a browser does (multipart/form-data, RFC 7578). Files are
--- read while they are sent, and the length is told beforehand.
---
--- @param url      string        as for http.get
--- @param parts    string|table  a path: the file is sent as the field "file". Or field = value: a
---                               string or number, {path =, filename =, type =} for a file, {data
---                               =, filename =, type =} for what is to look like one, or a list of
---                               those. Fields go in the order of their names
--- @param options  table         see above; onProgress(sent, total) tells how far it is
--- @return response
--- @return nil, err              as http.post, and
---                               ENOENT, EACCES and others  a file cannot be read
---                               EINVAL  it is no regular file
--- @raise                        as http.post; parts of another form
--- @wait
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req)
---     local fields, files = req:files()
---     return fields.title .. ": " .. files[1].filename
--- end))
--- local url = "http://127.0.0.1:" .. server:address().port
--- local res = assert(http.upload(url, { title = "Read", text = { path = "README.md" } }))
--- assert(res.body == "Read: README.md")
--- server:close()
function http.upload(url, parts, options)
    local res, err = upload(shared, "http.upload(url, parts[, options])", url, parts, options)
    return res, err
end

local DOWNLOAD = {
    resume = { default = true, type = "boolean" },
    sha256 = { type = "string" },
    timeout = { default = 0, type = "integer", min = 0, max = 2 ^ 31 - 1 },
}
for name, about in pairs(REQUEST) do DOWNLOAD[name] = DOWNLOAD[name] or about end

local function download(client, signature, url, path, given)
    start.check(signature, url, given, DOWNLOAD, 2)
    check.type(signature, "path", path, "string", 2)
    if given and given.sha256 and not given.sha256:find("^%x+$") or
        (given and given.sha256 and #given.sha256 ~= 64) then
        error(signature .. " options.sha256 must be 64 hexadecimal digits", 3)
    end
    return require("links.http.client.download").run(client, url, path, given or {})
end

--- Downloads a file. It appears under its name when it is complete, and not before: until then it
--- is `path .. ".part"`. It is not decompressed, and maxBodySize is no limit.
---
--- A download that broke off is resumed by the next one of the same file, where the server can do
--- that (Range) and says that it is still the same (If-Range): what tells is kept in `path ..
--- ".part.info"`.
---
--- @param url      string  as for http.get
--- @param path     string  the file; one that is there is replaced
--- @param options  table   see above, and
---                         resume  true  go on with what is there of it; false: begin anew, and
---                                       leave nothing after a failure
---                         sha256  nil   the checksum that it must have, in hexadecimal digits
---                         timeout  0    ms for all of it; 0: no limit but idleTimeout
---                         onProgress(bytes, total)  tells how far it is; total is nil where it is
---                         not known
--- @return table           {bytes = its size, path = `path`, resumed = bytes that were there
---                         already, or false}
--- @return nil, err        as http.get, and as fs.open, file:write and fs.rename;
---                         HTTP_BAD_STATUS    the status is none of 200 and 206 (err.status)
---                         HTTP_BAD_CHECKSUM  it is another file; nothing is kept
--- @raise                  as http.get
--- @wait
--- @usage local http, fs = require "http", require "fs"
--- local server = assert(http.createServer(8080, function() return "hello" end))
--- local path = os.tmpname()
--- local done = assert(http.download("http://127.0.0.1:" .. server:address().port, path))
--- assert(done.bytes == 5 and fs.readFile(path) == "hello")
--- os.remove(path)
--- server:close()
function http.download(url, path, options)
    local done, err = download(shared, "http.download(url, path[, options])", url, path, options)
    return done, err
end

-- --- clients ---------------------------------------------------------------------------------

local CREATE = "http.createClient([options])"

--- Makes a client: connections, options and headers of its own, for all of its requests. It has the
--- methods :get :head :delete :options :post :put :patch :request :all :upload :download, with the
--- arguments of the functions above, and :close and :stats.
---
--- @param options  table  what all requests have as options, unless they have it themselves, and
---                        baseUrl          nil    what URLs are relative to. Then auth, and the
---                                                headers Authorization and Cookie, of the client
---                                                are sent to its server only
---                        maxPerHost       32     connections to one server
---                        maxIdle          64     connections that are kept for later, to all
---                        poolIdleTimeout  60000  ms after which such a one is closed; 0: none is
---                                                kept
---                        maxWait          256    tasks that may wait for a connection to one
---                                                server
--- @return client
--- @return nil, err       HTTP_BAD_URL  baseUrl is none
--- @raise                 an option of another type or out of bounds, or one that nobody knows
--- @usage local http = require "http"
--- local server = assert(http.createServer(8080, function(req) return req.headers["x-app"] end))
--- local api = assert(http.createClient {
---     baseUrl = "http://127.0.0.1:" .. server:address().port .. "/v1/", headers = { ["X-App"] =
---     "7" },
--- })
--- assert(api:get("items").body == "7")
--- api:close()
--- server:close()
function http.createClient(options)
    start.check(CREATE, "", options, known.CLIENT, 1)
    local client, err = start.client(options)
    if not client then return nil, err end
    return setmetatable(client, Client)
end

-- client:get(url[, options]) and the others without a body.
for _, name in ipairs { "get", "head", "delete", "options" } do
    local signature, method = "client:" .. name .. "(url[, options])", name:upper()
    methods[name] = function(self, url, given)
        local res, err = request(self, signature, method, url, nil, given, REQUEST)
        return res, err
    end
end

-- client:post(url, body[, options]) and the others with one.
for _, name in ipairs { "post", "put", "patch" } do
    local signature, method = "client:" .. name .. "(url, body[, options])", name:upper()
    methods[name] = function(self, url, body, given)
        local res, err = request(self, signature, method, url, body, given, REQUEST)
        return res, err
    end
end

-- private: as http.request.
function methods:request(given)
    local signature = "client:request(options)"
    local method, url, body, own = request_whole(self, signature, given, 1)
    local res, err = request(self, signature, method, url, body, own, REQUEST)
    return res, err
end

-- private: as http.all.
function methods:all(requests, given)
    local results, failed = run_all(self, "client:all(requests[, options])", requests, given)
    return results, failed
end

-- private: as http.upload.
function methods:upload(url, parts, given)
    local res, err = upload(self, "client:upload(url, parts[, options])", url, parts, given)
    return res, err
end

-- private: as http.download.
function methods:download(url, path, given)
    local done, err = download(self, "client:download(url, path[, options])", url, path, given)
    return done, err
end

--- What the client has.
---
--- @return table  active   connections that are in use
---                idle     connections that wait for a request
---                waiting  tasks that wait for a connection
---                hosts    servers that there is any of these for
--- @usage local client = require("http").createClient()
--- assert(client:stats().idle == 0)
--- client:close()
function methods:stats()
    return self._pool:stats()
end

--- Closes the connections that nobody uses, and the others with the end of their answer; whoever
--- waits for one gets CLOSED, and so does every later request. Twice is harmless.
---
--- @return true
--- @usage local client = require("http").createClient()
--- client:close()
--- local res, err = client:get("http://127.0.0.1:1/")
--- assert(not res and err.name == "CLOSED")
function methods:close()
    self._pool:close()
    return true
end

return http
