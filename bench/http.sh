#!/bin/sh
# CPU time per request of links held against a peer's, in pairs.
#
#     bench/http.sh [COMPARISON...]     default: all of them
#
#     hello world against      floor, nginx (`return 200`), nginx-lua (content_by_lua)
#     with 16 pipelined        floor-p16, nginx-p16, nginx-lua-p16
#     with 1,000 connections   floor-1000, nginx-1000, nginx-lua-1000
#     json                     an object encoded per request, against nginx's Lua module and cjson
#     routed                   a path with a parameter among 1,000 routes, against a location of nginx's
#                              with a regular expression, and content_by_lua
#     routed-cost              the same, not read, against a handler without a router; the difference
#     post                     a body of 16 KiB, read whole, against nginx's Lua module
#     file-4k, file-1m         files, against nginx with open_file_cache and sendfile
#     access, access-p16       hello with an access log (combined, to a file) against hello without
#
# PAIRS=7 pairs per comparison, DURATION=3 seconds per run, CONNECTIONS=64; LINKS=./links; SERVER_CPU=0 and
# CLIENT_CPU=1 are the cores. Every run has a server of its own, warmed for a second, because what the
# JIT compiler does differs from run to run; the two of a pair follow each other, links first in every
# other pair, because machines drift. The ratio is the median of the pairs' ratios.
#
# CPU per request is the server's user and system time, kernel's network work included, over the requests
# wrk completed. It is valid whoever was the bottleneck; requests per second are the server's only if it
# was busy: the table says `client-bound`, and no rate, where it was below 90 %.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-7}
DURATION=${DURATION:-3}
CONNECTIONS=${CONNECTIONS:-64}

# What is asked for, and how.
depth=1
connections=$CONNECTIONS
url_path=
post_bytes=

# measure SERVER: sets measured to "us-per-request cpu-share requests-per-second".
measure() {
    start "$1" $((connections + 1024))
    load 1 "$depth" "$connections" "$url_path" $post_bytes
    before=$(server_cpu_ns)
    load "$DURATION" "$depth" "$connections" "$url_path" $post_bytes
    after=$(server_cpu_ns)
    stop_server
    set -- "$1" $result
    [ "$4" = 0 ] && [ "$5" = 0 ] || die "invalid run of $1: $4 socket errors, $5 bad replies"
    measured=$(awk -v cpu=$((after - before)) -v n="$2" -v us="$3" 'BEGIN {
        if (n == 0) exit 1
        printf "%.4f %.3f %.0f\n", cpu / 1000 / n, cpu / 1000 / us, n * 1e6 / us }') ||
        die "no request of $1 was answered"
}

need taskset wrk nginx awk
nginx_module ngx_http_lua_module.so >/dev/null || die "nginx's Lua module is not installed: make bench-deps"
need_links
tool floor >/dev/null
[ $# -gt 0 ] || set -- floor nginx nginx-lua floor-p16 nginx-p16 nginx-lua-p16 floor-1000 nginx-1000 \
    nginx-lua-1000 json routed routed-cost post file-4k file-1m access access-p16

describe_machine
note "peers    $(nginx -v 2>&1), $(wrk -v 2>&1 | head -n1 | cut -d' ' -f1,2)"
note "method   server on CPU $SERVER_CPU, wrk -t1 -c$CONNECTIONS on CPU $CLIENT_CPU," \
    "$PAIRS pairs of ${DURATION}s runs"
for comparison; do
    depth=1 connections=$CONNECTIONS url_path= post_bytes=
    case $comparison in
    *-p16) depth=16 ;;
    *-1000) connections=1000 ;;
    esac
    case $comparison in
    floor) compare links floor 1.05 "hello, CPU per request / floor" ;;
    nginx) compare links nginx "" "hello / nginx return 200" ;;
    nginx-lua) compare links nginx-lua "" "hello / nginx content_by_lua" ;;
    floor-p16) compare links floor 1.50 "hello, 16 pipelined / floor" ;;
    nginx-p16) compare links nginx "" "hello, 16 pipelined / nginx return 200" ;;
    nginx-lua-p16) compare links nginx-lua 0.125 "hello, 16 pipelined / nginx content_by_lua" ;;
    floor-1000) compare links floor "" "hello, 1000 connections / floor" ;;
    nginx-1000) compare links nginx "" "hello, 1000 connections / nginx return 200" ;;
    nginx-lua-1000) compare links nginx-lua "" "hello, 1000 connections / nginx content_by_lua" ;;
    json) compare links-json nginx-lua-json 0.75 "JSON object / nginx content_by_lua, cjson" ;;
    routed)
        url_path=user/1234
        compare links-routed nginx-lua-routed "" "routed path with a parameter / nginx content_by_lua"
        ;;
    routed-cost)
        url_path=user/1234 depth=16
        compare links-matched links-unrouted 0.15 "routed path among 1,000, over no router" difference
        ;;
    post)
        post_bytes=16384
        compare links-post nginx-lua-post "" "POST of 16 KiB / nginx content_by_lua"
        ;;
    file-4k)
        url_path=4k.bin
        compare links-files nginx-files 0.75 "file of 4 KiB / nginx, open_file_cache, sendfile"
        ;;
    file-1m)
        url_path=1m.bin
        compare links-files nginx-files 1.00 "file of 1 MiB / nginx, open_file_cache, sendfile"
        ;;
    access) compare links-access links 1.05 "hello with an access log / without" ;;
    access-p16) compare links-access links "" "hello with an access log, 16 pipelined / without" ;;
    *) die "no comparison named $comparison" ;;
    esac
done
print_rows
