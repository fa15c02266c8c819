#!/bin/sh
# CPU time of one GET that links sends to Redis, held against what others take.
#
#     bench/redis.sh [COMPARISON...]     default: all of them
#
#     one       one after the other, against lua-resty-redis in nginx
#     many      64 tasks that share a client, against 64 light threads, each with a connection
#     c         64 tasks, against redis-benchmark with 64 connections, in C
#
# RESTY names the lib folder of lua-resty-redis; without it there are no rows of it. PAIRS=5 pairs per
# comparison, COUNT=64000 commands per run; LINKS=./links; SERVER_CPU=0 is the core of what is measured,
# CLIENT_CPU=1 that of redis-server. The figure is the user and system time of the process that asks.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-5}
COUNT=${COUNT:-64000}
RESTY=${RESTY:-}

LUA='content_by_lua_block {
    package.path = "'$RESTY'/?.lua;" .. package.path
    local redis = require "resty.redis"
    local n, tasks = tonumber(ngx.var.arg_n), tonumber(ngx.var.arg_tasks)
    local function run()
        local client = redis:new()
        assert(client:connect("unix:" .. ngx.var.arg_path))
        for _ = 1, n / tasks do assert(#client:get("key") == 13) end
        client:set_keepalive(60000, 100)
    end
    local threads = {}
    for i = 1, tasks do threads[i] = ngx.thread.spawn(run) end
    for i = 1, tasks do assert(ngx.thread.wait(threads[i])) end
    ngx.say("done")
}'

# measure WHO: with $tasks that ask at once, or connections.
measure() {
    case $1 in
    links)
        measured=$(taskset -c "$SERVER_CPU" "$LINKS" "$bench/redis.lua" "$work/redis" "$COUNT" "$tasks") ||
            die "links failed"
        measured="$measured 1 0"
        ;;
    nginx) measure_asking "$COUNT" "$LUA" "path=$work/redis&n=$COUNT&tasks=$tasks" ;;
    c) measure_command "$COUNT" redis-benchmark -s "$work/redis" -n "$COUNT" -c "$tasks" -q GET key ;;
    esac
}

need taskset awk redis-server redis-benchmark
need_links
[ $# -gt 0 ] || set -- ${RESTY:+one many} c
describe_machine
taskset -c "$CLIENT_CPU" redis-server --port 0 --unixsocket "$work/redis" --save '' --dir "$work" \
    >"$work/null" &
client_pid=$!
while [ ! -S "$work/redis" ]; do sleep 0.05; done
for comparison; do
    tasks=64
    case $comparison in
    one) tasks=1 compare links nginx 1.00 "redis GET / lua-resty-redis" ;;
    many) compare links nginx 0.50 "redis GET of 64 tasks / lua-resty-redis" ;;
    c) compare links c 0.50 "redis GET of 64 tasks / redis-benchmark" ;;
    *) die "no comparison named $comparison" ;;
    esac
done
print_rows
