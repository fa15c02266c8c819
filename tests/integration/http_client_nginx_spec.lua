-- The client against a real nginx, which this starts.
package.path = "tests/support/?.lua;" .. package.path

local crypto = require "crypto"
local fs = require "fs"
local http = require "http"
local process = require "process"
local sockets = require "sockets"
local task = require "task"
local tcp = require "tcp"
local timer = require "timer"
local tools = require "tools"

local has_nginx = os.execute("command -v nginx >/dev/null 2>&1") == 0
local run = has_nginx and describe or pending

local CONF = [[
daemon off;
master_process off;
worker_processes 1;
pid $folder/pid;
error_log $folder/error.log;
$user
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    default_type text/plain;
    server {
        listen 127.0.0.1:$port;
        listen unix:$folder/socket;
        root $folder/www;
        location /gzip/ { alias $folder/www/; gzip on; gzip_types *; gzip_min_length 1; }
        location /moved { return 301 /file; }
        location /few/ { alias $folder/www/; keepalive_requests 2; }
        location /short/ { alias $folder/www/; keepalive_timeout 1s; }
        location /small { client_max_body_size 1k; proxy_pass http://unix:$folder/socket:/ok; }
        location /slow/ { alias $folder/www/; limit_rate 20k; }
        location /ok { return 200 "fine"; }
        location /secret { return 200 "$http_authorization"; }
        location /proxied/ {
            proxy_buffering off;
            proxy_http_version 1.1;
            proxy_pass http://unix:$folder/socket:/gzip/;
        }
        location /never { proxy_pass http://127.0.0.1:$silent; }
    }
}
]]

run("the client with nginx", function()
    local folder, port, url, child, client
    local body = crypto.randomBytes(300000)
    local text = ("a line of text\n"):rep(20000)

    local function free_port()
        local server = assert(tcp.createServer(0, function() end, { host = "127.0.0.1" }))
        local number = server:address().port
        server:close()
        return number
    end

    setup(function()
        folder = assert(fs.tempDir())
        assert(fs.chmod(folder, tonumber("755", 8)))
        assert(fs.mkdir(folder .. "/www"))
        tools.write(folder .. "/www/file", body)
        tools.write(folder .. "/www/text", text)
        port = free_port()
        local values = {
            folder = folder, port = port, silent = free_port(),
            user = tools.is_root() and "user root;" or "",
        }
        tools.write(folder .. "/nginx.conf", (CONF:gsub("%$(%a+)", values)))
        child = assert(process.spawn("nginx",
            { "-e", folder .. "/error.log", "-p", folder, "-c", folder .. "/nginx.conf" },
            { stdin = "null", stdout = "null", stderr = "null" }))
        url = "http://127.0.0.1:" .. port
        tools.eventually("nginx", function() return http.get(url .. "/ok", { timeout = 1000 }) end)
    end)

    teardown(function()
        child:kill("SIGTERM")
        child:wait(20000)
        fs.remove(folder, { recursive = true })
    end)

    before_each(function() client = sockets.keep(assert(http.createClient())) end)
    after_each(sockets.close_all)

    it("gets files, by TCP and by a Unix socket", function()
        local res = assert(client:get(url .. "/file"))
        assert.is_true(res.body == body)
        assert.truthy(res.headers.server:find("nginx", 1, true))
        assert.is_true(assert(client:get("unix:" .. folder .. "/socket:/file")).body == body)
        assert.equal(#body, assert(client:head(url .. "/file")).contentLength)
        assert.equal(404, assert(client:get(url .. "/none")).status)
        assert.equal(304, assert(client:get(url .. "/file", {
            headers = { ["If-None-Match"] = res.headers.etag },
        })).status)
        assert.equal(body:sub(11, 20), assert(client:get(url .. "/file", {
            headers = { Range = "bytes=10-19" },
        })).body)
    end)

    it("gets compressed answers in chunks", function()
        for _, path in ipairs { "/gzip/text", "/proxied/text" } do
            local res = assert(client:get(url .. path))
            assert.equal("gzip", res.headers["content-encoding"])
            assert.is_true(res.body == text)
        end
        local n = 0
        for line in assert(client:get(url .. "/gzip/text", { stream = true })):lines() do
            assert.equal("a line of text", line)
            n = n + 1
        end
        assert.equal(20000, n)
    end)

    it("follows redirects and identifies itself", function()
        local res = assert(client:get(url .. "/moved"))
        assert.equal(url .. "/file", res.url)
        assert.equal("Basic YTpi", assert(client:get(url .. "/secret", { auth = { "a",
            "b" } })).body)
    end)

    it("gets along with connections that nginx closes after some requests", function()
        for _ = 1, 9 do assert.is_true(assert(client:get(url .. "/few/file")).body == body) end
        local results, failed = client:all({
            url .. "/few/text", url .. "/few/file", url .. "/ok", url .. "/gzip/text", url
                .. "/few/text",
        }, { concurrency = 3 })
        assert.is_nil(failed)
        assert.equal("fine", results[3].body)
    end)

    it("gets along with connections that nginx closes when they are idle", function()
        assert(client:post(url .. "/short/file", ""))
        assert(client:get(url .. "/short/file"))
        timer.sleep(1300)
        assert(client:get(url .. "/short/file"))
        timer.sleep(1300)
        assert.equal(405, assert(client:post(url .. "/short/file", "x")).status)
    end)

    it("reads an answer to a body that nginx does not want", function()
        local res = assert(client:post(url .. "/small", ("x"):rep(5000000)))
        assert.equal(413, res.status)
        res = assert(client:post(url .. "/small", ("x"):rep(5000000), {
            headers = { Expect = "100-continue" },
        }))
        assert.equal(413, res.status)
        assert.equal("fine", assert(client:post(url .. "/small", "x")).body)
        local n = 0
        assert.equal("fine", assert(client:post(url .. "/ok", function()
            n = n + 1
            return n < 100 and ("x"):rep(1000) or nil
        end)).body)
    end)

    it("downloads, and goes on where it was interrupted", function()
        local path = folder .. "/downloaded"
        local t = task.spawn(function() return client:download(url .. "/slow/file", path) end)
        tools.eventually("a part", function()
            local st = fs.stat(path .. ".part")
            return st and st.size > 0
        end)
        t:cancel()
        t:join()
        assert.is_true(fs.exists(path .. ".part.info"))
        tools.write(path .. ".part.info",
            (tools.read(path .. ".part.info"):gsub("/slow/file", "/file")))
        local done = assert(client:download(url .. "/file", path, {
            sha256 = crypto.hash("sha256", body),
        }))
        assert.is_true(done.resumed > 0)
        assert.is_true(fs.readFile(path) == body)
    end)

    it("is told of a gateway that has nobody behind it, and tries again", function()
        assert.equal(502, assert(client:get(url .. "/never")).status)
        assert.equal(502, assert(client:get(url .. "/never", {
            retries = 2, backoff = { base = 1, max = 1 },
        })).status)
    end)
end)
