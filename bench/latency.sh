#!/bin/sh
# Latency at half load: the 99th percentile of links held against nginx's, in pairs.
#
#     bench/latency.sh
#
# Both servers get the same steady rate of requests, RATE: half of what nginx's CPU time per request
# allows, which is measured first. pace.c sends them, and counts a request's latency from when it was due.
# PAIRS=7 pairs, DURATION=3 seconds per run, CONNECTIONS=64. The row is the median of the pairs' ratios.
# Where pace itself had no time to spare, its figures are its own: the row has no conclusion.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-7}
DURATION=${DURATION:-3}
CONNECTIONS=${CONNECTIONS:-64}
RATE=${RATE:-}

# half_load: sets RATE.
half_load() {
    start nginx
    load 1 1 "$CONNECTIONS" ""
    before=$(server_cpu_ns)
    load "$DURATION" 1 "$CONNECTIONS" ""
    after=$(server_cpu_ns)
    stop_server
    RATE=$(awk -v cpu=$((after - before)) -v n="${result%% *}" 'BEGIN { printf "%.0f\n", n / cpu * 1e9 / 2 }')
}

# no_conclusion WHY: a row without a verdict, and the end.
no_conclusion() {
    stop_server
    row "p99 latency at $RATE requests/s / nginx return 200" "none" "" "no conclusion: $1"
    print_rows
    exit 0
}

# measure SERVER: sets measured to its 99th percentile in us; it has no rate of its own.
measure() {
    start "$1"
    result=$(taskset -c "$CLIENT_CPU" "$(tool pace)" "$server_port" "$CONNECTIONS" "$RATE" \
        $((DURATION * 1000))) || die "no result from pace"
    stop_server
    set -- $result
    awk -v share="$4" 'BEGIN { exit !(share < 0.85) }' ||
        no_conclusion "the client was the bottleneck ($4 of its CPU)"
    [ "$1" -lt 5000 ] ||
        no_conclusion "half of the replies took $1 us or more at half load: the machine is busy"
    measured="$2 1 0"
}

need taskset wrk nginx awk
need_links
describe_machine
[ -n "$RATE" ] || half_load
note "method   server on CPU $SERVER_CPU, $RATE requests/s from CPU $CLIENT_CPU, $PAIRS pairs of ${DURATION}s"
compare links nginx 1.00 "p99 latency at $RATE requests/s / nginx return 200"
print_rows
