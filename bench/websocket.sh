#!/bin/sh
# WebSockets in Lua: CPU time of the server, and its memory.
#
#     bench/websocket.sh [echo|loop|uws|publish|idle...]     default: echo loop publish idle
#
#     echo     binary messages of 64 bytes there and back, taken by a function, CONNECTIONS=64, over a
#              TCP echo of 64 bytes in C (tcp_floor.c)
#     loop     the same, read in a loop
#     uws      echo over that of a program that UWS names: it prints its port (uWebSockets, say)
#     publish  one message to SUBSCRIBERS=10000: nearly all of it is the kernel's sends, whoever makes
#              them, so what is outside of the kernel has a row of its own
#     idle     private memory of COUNT=15000 connections without a message
#
# PAIRS=5 pairs, DURATION=3 seconds per run; as in http.sh, a row is the median of the pairs' ratios.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-5}
DURATION=${DURATION:-3}
CONNECTIONS=${CONNECTIONS:-64}
SUBSCRIBERS=${SUBSCRIBERS:-10000}
COUNT=${COUNT:-15000}

# measure SERVER: sets measured to "us-per-message cpu-share messages-per-second" for the subject.
measure() {
    client=$(tool ws_client)
    case $1-$subject in
    links-loop) launch "$LINKS" "$bench/websocket.lua" loop ;;
    links-*) launch "$LINKS" "$bench/websocket.lua" functions ;;
    uws-*) launch "$UWS" ;;
    floor-*)
        client=$(tool tcp_client)
        launch "$(tool tcp_floor)"
        ;;
    esac
    taskset -c "$CLIENT_CPU" "$client" echo "$server_port" "$CONNECTIONS" 500 >/dev/null
    before=$(server_cpu_ns)
    result=$(taskset -c "$CLIENT_CPU" "$client" echo "$server_port" "$CONNECTIONS" "$((DURATION * 1000))") ||
        die "no result from $client"
    after=$(server_cpu_ns)
    stop_server
    measured=$(echo "$result" | awk -v cpu=$((after - before)) '{
        printf "%.4f %.3f %.0f\n", cpu / 1000 / $1, cpu / 1000 / $2, $1 * 1e6 / $2 }')
}

need taskset awk
need_links
[ $# -gt 0 ] || set -- echo loop publish idle
describe_machine
for subject; do
    case $subject in
    echo) compare links floor 1.15 "WebSocket echo of 64 bytes / TCP echo in C" ;;
    loop) compare links floor 1.15 "the same, by ws:read()" ;;
    uws)
        [ -x "${UWS:-}" ] || die "UWS names no program"
        compare links uws 1.2 "WebSocket echo of 64 bytes / uWebSockets"
        ;;
    publish)
        ulimit -n "$(ulimit -Hn)"
        client=$(tool ws_client)
        launch "$LINKS" "$bench/websocket.lua" publish
        took=$(taskset -c "$CLIENT_CPU" "$client" publish "$server_port" "$SUBSCRIBERS" "$server_pid") ||
            die "no measurement"
        stop_server
        row "publish to $SUBSCRIBERS subscribers, CPU of the server" \
            "$(echo "$took" | awk '{ printf "%.1f ms", $1 / 1e6 }')" 8 "the kernel's sends in it"
        row "of it, outside of the kernel" "$(echo "$took" | awk '{ printf "%.1f ms", $2 / 1e6 }')" ""
        ;;
    idle)
        ulimit -n "$(ulimit -Hn)"
        client=$(tool ws_client)
        launch "$LINKS" "$bench/websocket.lua" functions
        bytes=$("$client" hold "$server_port" "$COUNT" "$server_pid") || die "no measurement"
        stop_server
        row "idle WebSocket whose messages a function takes" "$bytes bytes" 1024 "each of $COUNT"
        ;;
    *) die "there is no $subject" ;;
    esac
done
print_rows
