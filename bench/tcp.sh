#!/bin/sh
# TCP in Lua against a bare epoll loop in C (tcp_floor.c), in pairs: CPU time of the server.
#
#     bench/tcp.sh [echo|churn|copy|splice|idle...]     default: all
#
#     echo     64-byte messages there and back (socket:read, socket:write), CONNECTIONS=64
#     churn    connect, one message, close
#     copy     a proxy (socket:pipe) moving 1 MiB blocks, against the same in C (tcp_relay.c)
#     splice   the same, by splice
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
    floor-copy | floor-splice) launch "$(tool tcp_relay)" "$2" "$sink_port" ;;
    links-*) launch "$LINKS" "$bench/echo.lua" ;;
    floor-*) launch "$(tool tcp_floor)" ;;
    esac
}

# measure SERVER WHAT: sets measured to the server's CPU time per message in us.
measure() {
    client=$(tool tcp_client)
    start_tcp "$1" "$2"
    how=$2
    case $2 in
    copy | splice) how=pump ;;
    esac
    taskset -c "$CLIENT_CPU" "$client" "$how" "$server_port" "$CONNECTIONS" 500 >/dev/null
    before=$(server_cpu_ns)
    result=$(taskset -c "$CLIENT_CPU" "$client" "$how" "$server_port" "$CONNECTIONS" "$((DURATION * 1000))") ||
        die "no result from tcp_client"
    after=$(server_cpu_ns)
    stop_server
    measured=$(awk -v cpu=$((after - before)) -v n="${result%% *}" 'BEGIN { printf "%.4f\n", cpu / 1000 / n }')
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

# compare NAME WHAT TARGET
compare() {
    : >"$work/pairs"
    pair=0
    while [ $pair -lt "$PAIRS" ]; do
        if [ $((pair % 2)) = 0 ]; then
            measure links "$1"; ours=$measured
            measure floor "$1"; theirs=$measured
        else
            measure floor "$1"; theirs=$measured
            measure links "$1"; ours=$measured
        fi
        echo "$ours $theirs" >>"$work/pairs"
        pair=$((pair + 1))
        note "$1 $pair/$PAIRS: $ours us / $theirs us"
    done
    summary=$(awk '{ printf "%.4f %s %s\n", $1 / $2, $1, $2 }' "$work/pairs" | sort -n | awk '
        { q[NR] = $1; a[NR] = $2; b[NR] = $3 }
        END { m = int((NR + 1) / 2)
            printf "%.3f\t%.3f us over %.3f us, %.2f to %.2f", q[m], a[m], b[m], q[1], q[NR] }')
    row "$2" "${summary%%	*}" "$3" "${summary#*	}"
}

need taskset awk
need_links
[ $# -gt 0 ] || set -- echo churn copy splice idle
describe_machine
for subject; do
    case $subject in
    echo) compare echo "TCP echo of 64 bytes over the floor's" 1.15 ;;
    churn) compare churn "TCP connect, message, close over the floor's" 1.11 ;;
    copy | splice)
        start_sink
        target=1.11 # 0.9 x the throughput per CPU
        [ "$subject" = copy ] || target=1.0
        compare "$subject" "TCP proxy of 1 MiB blocks ($subject) over the same in C" "$target"
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
