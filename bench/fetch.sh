#!/bin/sh
# CPU time of one request that links makes, over kept connections, held against what others take.
#
#     bench/fetch.sh [COMPARISON...]     default: all of them
#
#     one       one request after the other, against nginx's Lua module (its cosockets, by the least of
#               Lua that reads an answer: what lua-resty-http does is more)
#     many      64 tasks, against 64 of its light threads
#     curl      one after the other, against curl
#
# PAIRS=5 pairs per comparison, COUNT=40000 requests per run; LINKS=./links; SERVER_CPU=0 is the core of
# what is measured, CLIENT_CPU=1 that of the server it asks (floor.c). The figure is the user and system
# time of the process that asks.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-5}
COUNT=${COUNT:-40000}

# The least of an HTTP client on cosockets. setkeepalive puts the connection into nginx's pool.
LUA='content_by_lua_block {
    local port, n = tonumber(ngx.var.arg_port), tonumber(ngx.var.arg_n)
    local tasks = tonumber(ngx.var.arg_tasks)
    local request = "GET / HTTP/1.1\r\nHost: 127.0.0.1:" .. port ..
        "\r\nUser-Agent: nginx\r\nAccept: */*\r\n\r\n"
    local function get()
        local sock = ngx.socket.tcp()
        sock:settimeouts(5000, 30000, 30000)
        assert(sock:connect("127.0.0.1", port))
        assert(sock:send(request))
        local status = tonumber(assert(sock:receive("*l")):match("^HTTP/1%.1 (%d+)"))
        local headers = {}
        while true do
            local line = assert(sock:receive("*l"))
            if line == "" then break end
            local name, value = line:match("^([^:]+):%s*(.*)$")
            headers[name:lower()] = value
        end
        local body = assert(sock:receive(tonumber(headers["content-length"])))
        assert(sock:setkeepalive(60000, 100))
        return { status = status, headers = headers, body = body }
    end
    local function run() for _ = 1, n / tasks do assert(#get().body == 13) end end
    local threads = {}
    for i = 1, tasks do threads[i] = ngx.thread.spawn(run) end
    for i = 1, tasks do assert(ngx.thread.wait(threads[i])) end
    ngx.say("done")
}'

# measure WHO: with $tasks that ask at once.
measure() {
    case $1 in
    links)
        measured=$(taskset -c "$SERVER_CPU" "$LINKS" "$bench/fetch.lua" "$target" "$COUNT" "$tasks") ||
            die "links failed"
        measured="$measured 1 0"
        ;;
    nginx) measure_asking "$COUNT" "$LUA" "port=$target_port&n=$COUNT&tasks=$tasks" ;;
    curl) measure_command "$COUNT" curl -s "$target?[1-$COUNT]" ;;
    esac
}

need taskset nginx awk curl
nginx_module ngx_http_lua_module.so >/dev/null ||
    die "nginx's Lua module is not installed: make bench-deps"
need_links
[ $# -gt 0 ] || set -- one many curl
describe_machine
# The server that is asked; it is ended with everything else.
mkfifo "$work/target"
taskset -c "$CLIENT_CPU" "$(tool floor)" >"$work/target" &
client_pid=$!
read -r target_port <"$work/target"
target=http://127.0.0.1:$target_port/
for comparison; do
    tasks=1
    case $comparison in
    one) compare links nginx 1.00 "http.get / nginx cosocket" ;;
    many) tasks=64 compare links nginx 1.00 "http.get of 64 tasks / nginx cosockets" ;;
    curl) compare links curl 1.00 "http.get / curl" ;;
    *) die "no comparison named $comparison" ;;
    esac
done
print_rows
