#!/bin/sh
# CPU time per request of links held against a peer's, in pairs.
#
#     bench/http.sh [COMPARISON...]     default: all of them
#
#     floor        hello against floor.c                  nginx      hello against nginx `return 200`
#     floor-p16    the same, 16 pipelined requests        nginx-lua  hello against content_by_lua
#     file-4k      a file of 4 KiB against nginx with     file-1m    the same of 1 MiB
#                  open_file_cache and sendfile
#
# PAIRS=7 pairs per comparison, DURATION=3 seconds per run, CONNECTIONS=64; LINKS=./links; SERVER_CPU=0 and
# CLIENT_CPU=1 are the cores. Every run has a server of its own, warmed for a second, because what the
# JIT compiler does differs from run to run; the two of a pair follow each other, links first in every
# other pair, because machines drift. The ratio is the median of the pairs' ratios.
#
# CPU per request is the server's user and system time, kernel's network work included, over the requests
# wrk completed. It is valid whoever was the bottleneck; requests per second are the server's only if it
# was busy: the table says `client-bound` where it was below 90 %.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-7}
DURATION=${DURATION:-3}
CONNECTIONS=${CONNECTIONS:-64}

# load SECONDS DEPTH: sets result to "requests microseconds socket-errors bad-replies".
load() {
    # In the background, so that a signal does not wait for wrk.
    taskset -c "$CLIENT_CPU" wrk -t1 -c"$CONNECTIONS" -d"$1" -s "$bench/wrk.lua" \
        "http://127.0.0.1:$server_port/$url_path" -- "$2" >"$work/wrk" 2>&1 &
    client_pid=$!
    wait "$client_pid" || { cat "$work/wrk" >&2; die "wrk failed"; }
    client_pid=
    result=$(sed -n 's/^result //p' "$work/wrk")
    [ -n "$result" ] || { cat "$work/wrk" >&2; die "no result from wrk"; }
}

# What is asked for, and the server of links for it.
url_path=
ours_is=links

# measure SERVER DEPTH: sets measured to "us-per-request cpu-share requests-per-second".
measure() {
    start "$1"
    load 1 "$2"
    before=$(server_cpu_ns)
    load "$DURATION" "$2"
    after=$(server_cpu_ns)
    stop_server
    set -- "$1" "$2" $result
    [ "$5" = 0 ] && [ "$6" = 0 ] || die "invalid run of $1: $5 socket errors, $6 bad replies"
    measured=$(awk -v cpu=$((after - before)) -v n="$3" -v us="$4" 'BEGIN {
        if (n == 0) exit 1
        printf "%.4f %.3f %.0f\n", cpu / 1000 / n, cpu / 1000 / us, n * 1e6 / us }') ||
        die "no request of $1 was answered"
}

# compare NAME PEER DEPTH TARGET WHAT
compare() {
    : >"$work/pairs"
    pair=0
    while [ $pair -lt "$PAIRS" ]; do
        if [ $((pair % 2)) = 0 ]; then
            measure "$ours_is" "$3"; ours=$measured
            measure "$2" "$3"; theirs=$measured
        else
            measure "$2" "$3"; theirs=$measured
            measure "$ours_is" "$3"; ours=$measured
        fi
        echo "$ours $theirs" >>"$work/pairs"
        pair=$((pair + 1))
        note "$1 $pair/$PAIRS: $(echo "$ours $theirs" |
            awk '{ printf "%.3f us / %.3f us = %.3f", $1, $4, $1 / $4 }')"
    done
    summary=$(awk '
        function sort(a, n,   i, j, t) {
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
        }
        function median(a, n) {
            sort(a, n)
            return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
        }
        function who(share, rate) {
            return sprintf("%.0f/s%s", rate, share < 0.9 ? " client-bound" : "")
        }
        {
            ours[NR] = $1; ours_share[NR] = $2; ours_rate[NR] = $3
            theirs[NR] = $4; their_share[NR] = $5; their_rate[NR] = $6
            q[NR] = $1 / $4
        }
        END {
            ratio = median(q, NR) # which sorts them
            printf "%.3f\t%.3f us (%s) over %.3f us (%s), %.2f to %.2f", ratio, median(ours, NR),
                who(median(ours_share, NR), median(ours_rate, NR)), median(theirs, NR),
                who(median(their_share, NR), median(their_rate, NR)), q[1], q[NR]
        }' "$work/pairs")
    row "$5" "${summary%%	*}" "$4" "${summary#*	}"
}

need taskset wrk nginx awk
nginx_module ngx_http_lua_module.so >/dev/null || die "nginx's Lua module is not installed: make bench-deps"
need_links
tool floor >/dev/null
[ $# -gt 0 ] || set -- floor floor-p16 nginx nginx-lua file-4k file-1m

# compare_file NAME FILE TARGET WHAT
compare_file() {
    url_path=$2
    ours_is=links-files
    compare "$1" nginx-files 1 "$3" "$4"
    url_path=
    ours_is=links
}

describe_machine
note "peers    $(nginx -v 2>&1), $(wrk -v 2>&1 | head -n1 | cut -d' ' -f1,2)"
note "method   server on CPU $SERVER_CPU, wrk -t1 -c$CONNECTIONS on CPU $CLIENT_CPU," \
    "$PAIRS pairs of ${DURATION}s runs"
for comparison; do
    case $comparison in
    floor) compare floor floor 1 1.10 "hello, CPU per request / floor" ;;
    floor-p16) compare floor-p16 floor 16 1.70 "hello, 16 pipelined / floor" ;;
    nginx) compare nginx nginx 1 "" "hello / nginx return 200" ;;
    nginx-lua) compare nginx-lua nginx-lua 1 "" "hello / nginx content_by_lua" ;;
    file-4k) compare_file file-4k 4k.bin 0.75 "file of 4 KiB / nginx, open_file_cache, sendfile" ;;
    file-1m) compare_file file-1m 1m.bin 1.00 "file of 1 MiB / nginx, open_file_cache, sendfile" ;;
    *) die "no comparison named $comparison" ;;
    esac
done
print_rows
