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

ask_nginx() {
    answer=$(curl -s "http://127.0.0.1:$server_port/?path=$work/redis&n=$COUNT&tasks=$1")
    [ "$answer" = done ] || { cat "$work/nginx/error.log" >&2; die "nginx did not do it"; }
}

measure_nginx() {
    launch_nginx 1024 "$LUA"
    ask_nginx "$1"
    before=$(server_cpu_ns)
    ask_nginx "$1"
    after=$(server_cpu_ns)
    stop_server
    measured=$(awk -v ns=$((after - before)) -v n="$COUNT" 'BEGIN { print ns / 1000 / n }')
}

measure_c() {
    times=$( (taskset -c "$SERVER_CPU" redis-benchmark -s "$work/redis" -n "$COUNT" -c "$1" -q \
        GET key >"$work/null" && times) | tail -n1)
    measured=$(echo "$times" | awk -v n="$COUNT" '{
        split($1 "m" $2, t, /[ms]+/)
        print (t[1] * 60 + t[2] + t[3] * 60 + t[4]) * 1e6 / n }')
}

measure_links() {
    measured=$(taskset -c "$SERVER_CPU" "$LINKS" "$bench/redis.lua" "$work/redis" "$COUNT" "$1") ||
        die "links failed"
}

# compare NAME PEER TASKS TARGET WHAT
compare() {
    : >"$work/pairs"
    pair=0
    while [ $pair -lt "$PAIRS" ]; do
        measure_links "$3"; ours=$measured
        "measure_$2" "$3"; theirs=$measured
        echo "$ours 1 0 $theirs 1 0" >>"$work/pairs"
        pair=$((pair + 1))
        note "$1 $pair/$PAIRS: $ours us / $theirs us"
    done
    summary=$(awk -f "$bench/pairs.awk" "$work/pairs")
    row "$5" "${summary%%	*}" "$4" "${summary#*	}"
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
    case $comparison in
    one) compare one nginx 1 1.00 "redis GET / lua-resty-redis" ;;
    many) compare many nginx 64 0.50 "redis GET of 64 tasks / lua-resty-redis" ;;
    c) compare c c 64 0.50 "redis GET of 64 tasks / redis-benchmark" ;;
    *) die "no comparison named $comparison" ;;
    esac
done
print_rows
