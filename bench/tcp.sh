#!/bin/sh
# TCP in Lua against a bare epoll loop in C (tcp_floor.c), in pairs: CPU time of the server.
#
#     bench/tcp.sh [echo|churn|copy|splice|idle...]     default: all
#
#     echo     64-byte messages there and back (socket:read, socket:write), CONNECTIONS=64
#     churn    connect, one message, close
#     copy     a proxy (socket:pipe) moving 1 MiB blocks, against the same in C by read and write
#              (tcp_relay.c)
#     splice   a proxy that may splice, against the same in C by read and write, and by splice
#     idle     private memory of COUNT=10000 connections whose handler waits in read
#
# PAIRS=5 pairs, DURATION=3 seconds per run; as in http.sh, a row is the median of the pairs' ratios.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-5}
DURATION=${DURATION:-3}
CONNECTIONS=${CONNECTIONS:-64}
COUNT=${COUNT:-10000}

# start_tcp SERVER WHAT
start_tcp() {
    case $1-$2 in
    links-copy | links-splice) launch "$LINKS" "$bench/relay.lua" "$2" "$sink_port" ;;
    copier-*) launch "$(tool tcp_relay)" copy "$sink_port" ;;
    floor-copy | floor-splice) launch "$(tool tcp_relay)" "$2" "$sink_port" ;;
    links-*) launch "$LINKS" "$bench/echo.lua" ;;
    floor-*) launch "$(tool tcp_floor)" ;;
    esac
}

# measure SERVER: sets measured to "us-per-message cpu-share messages-per-second" for the subject.
measure() {
    client=$(tool tcp_client)
    start_tcp "$1" "$subject"
    how=$subject
    case $how in
    copy | splice) how=pump ;;
    esac
    taskset -c "$CLIENT_CPU" "$client" "$how" "$server_port" "$CONNECTIONS" 500 >/dev/null
    before=$(server_cpu_ns)
    result=$(taskset -c "$CLIENT_CPU" "$client" "$how" "$server_port" "$CONNECTIONS" "$((DURATION * 1000))") ||
        die "no result from tcp_client"
    after=$(server_cpu_ns)
    stop_server
    measured=$(echo "$result" | awk -v cpu=$((after - before)) '{
        printf "%.4f %.3f %.0f\n", cpu / 1000 / $1, cpu / 1000 / $2, $1 * 1e6 / $2 }')
}

# The program behind the proxy, on the CPU of the client.
start_sink() {
    mkfifo "$work/sink"
    taskset -c "$CLIENT_CPU" "$(tool tcp_client)" sink >"$work/sink" &
    client_pid=$!
    read -r sink_port <"$work/sink"
}

stop_sink() {
    kill "$client_pid"
    wait "$client_pid" 2>/dev/null || :
    client_pid=
    rm -f "$work/sink"
}

need taskset awk
need_links
[ $# -gt 0 ] || set -- echo churn copy splice idle
describe_machine
for subject; do
    case $subject in
    echo) compare links floor 1.15 "TCP echo of 64 bytes / floor" ;;
    churn) compare links floor 1.11 "TCP connect, message, close / floor" ;;
    copy)
        start_sink
        # 0.9 x the throughput per CPU
        compare links floor 1.11 "TCP proxy of 1 MiB blocks, copied / in C by read and write"
        stop_sink
        ;;
    splice)
        start_sink
        compare links copier 1.0 "TCP proxy of 1 MiB blocks, spliced / in C by read and write"
        compare links floor "" "TCP proxy of 1 MiB blocks, spliced / in C by splice"
        stop_sink
        ;;
    idle)
        ulimit -n "$(ulimit -Hn)"
        client=$(tool tcp_client)
        start_tcp links idle
        bytes=$("$client" hold "$server_port" "$COUNT" "$server_pid") || die "no measurement"
        stop_server
        row "TCP connection whose handler waits in read" "$bytes bytes" 2560 "each of $COUNT"
        ;;
    *) die "there is no $subject" ;;
    esac
done
print_rows
