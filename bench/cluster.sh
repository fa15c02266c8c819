#!/bin/sh
# A cluster of two workers against one.
#
#     bench/cluster.sh [work|spread|shared|queue|publish...]     default: all
#
#     work     requests of some 200 us of arithmetic each. What two workers do, over what one does: in a
#              second of the processors that they got, times two, for the load generator and whatever
#              else runs take their share of both; and in the same time, which is the same thing where
#              the machine is quiet
#     spread   COUNT=2000 connections: what the busier worker has, over the half of them
#     shared   a get and a set of one dictionary, by two processes at the same time: CPU time of the
#              slower process, and what it took by the clock, which is longer where one waits for the
#              other or the machine is busy; in the quietest of RUNS=5 runs
#     queue    a number through a queue from one process to another, by the clock, likewise
#     publish  one message to SUBSCRIBERS=10000 on two workers, over all of them on one: CPU time of the
#              workers
#
# PAIRS=5 pairs, DURATION=3 seconds per run; a row is the median of the pairs' ratios. Both CPUs are the
# servers' and the clients'.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-5}
DURATION=${DURATION:-3}
RUNS=${RUNS:-5}
COUNT=${COUNT:-2000}
OPERATIONS=${OPERATIONS:-2000000}
SUBSCRIBERS=${SUBSCRIBERS:-10000}
BOTH=$SERVER_CPU,$CLIENT_CPU

# serve WORKERS WHAT: the workers may run on both CPUs.
serve() {
    SERVER_CPU=$BOTH launch "$LINKS" -w "$1" "$bench/cluster.lua" "$2"
}

# measure two|one: sets measured to "us-per-request cpu-share requests-per-second".
measure() {
    case $1 in two) workers=2 ;; *) workers=1 ;; esac
    serve $workers "$subject"
    if [ "$subject" = publish ]; then
        # shellcheck disable=SC2046
        took=$("$(tool ws_client)" publish "$server_port" "$SUBSCRIBERS" $(workers_of)) || die "no measurement"
        measured=$(echo "$took" | awk '{ printf "%.1f 1 0\n", $1 / 1000 }')
    else
        load 1 1 64 ""
        before=$(server_cpu_ns)
        load "$DURATION" 1 64 ""
        after=$(server_cpu_ns)
        measured=$(echo "$result" | awk -v cpu=$((after - before)) '{
            if ($3 + $4) exit 1
            printf "%.4f %.3f %.0f\n", cpu / 1000 / $1, cpu / 1000 / $2, $1 * 1e6 / $2 }') ||
            die "a request failed: $result"
    fi
    stop_server
}

workers_of() {
    cat "/proc/$server_pid/task/$server_pid/children"
}

# pairs: PAIRS lines of what `measure two` and `measure one` say, in $work/pairs.
pairs() {
    : >"$work/pairs"
    pair=0
    while [ $pair -lt "$PAIRS" ]; do
        measure two; two=$measured
        measure one; one=$measured
        echo "$two $one" >>"$work/pairs"
        pair=$((pair + 1))
        note "$subject $pair/$PAIRS: $two, $one"
    done
}

# median EXPRESSION: of the pairs, with lowest and highest.
median() {
    awk "{ print $1 }" "$work/pairs" | sort -n |
        awk '{ v[NR] = $1 } END { printf "%.2f %.2f %.2f", v[int((NR + 1) / 2)], v[1], v[NR] }'
}

# runs COMMAND...: RUNS runs of cluster.lua; least FIELD: the least that a field was, in us.
runs() {
    run=0
    : >"$work/runs"
    while [ $run -lt "$RUNS" ]; do
        SERVER_CPU=${BOTH%,*} CLIENT_CPU=${BOTH#*,} "$LINKS" "$bench/cluster.lua" "$@" >>"$work/runs" || die "$1 failed"
        run=$((run + 1))
    done
}

least() {
    awk -v field="$1" '{ print $field / 1000 }' "$work/runs" | sort -n | head -n1
}

need taskset awk
need_links
CLIENT_CPU=$BOTH
[ $# -gt 0 ] || set -- work spread shared queue publish
describe_machine
for subject; do
    case $subject in
    work)
        need wrk
        pairs
        set -- $(median '2 * $4 / $1')
        row "two workers over one, CPU-bound work, by the processor time they got" "$1" "" \
            "pairs $2 to $3; says what sharing costs, not whether both are used"
        set -- $(median '$3 / $6')
        row "the same, by the clock" "$1" "" "pairs $2 to $3; 1.8 or more is wanted, beside wrk"
        ;;
    spread)
        serve 2 who
        over=$("$LINKS" "$bench/cluster.lua" spread "$server_port" "$COUNT") || die "no measurement"
        stop_server
        row "connections of the busier of two workers / half of them" "$over" 1.2 "$COUNT connections"
        ;;
    shared)
        runs shared "$OPERATIONS"
        row "shared: get beside another process that gets" "$(least 1) us" 0.4 "quietest of $RUNS runs"
        row "shared: set beside another process that sets" "$(least 2) us" 0.4 "quietest of $RUNS runs"
        row "the same by the clock: get" "$(least 3) us" 0.4 "with what it waited"
        row "the same by the clock: set" "$(least 4) us" 0.4 "with what it waited"
        ;;
    queue)
        runs queue "$OPERATIONS"
        row "shared.queue: a number from one process to another" "$(least 1) us" "" "quietest of $RUNS runs"
        ;;
    publish)
        ulimit -n "$(ulimit -Hn)"
        pairs
        set -- $(median '$1 / $4')
        row "publish to $SUBSCRIBERS subscribers on two workers / on one" "$1" 1.3 "CPU; pairs $2 to $3"
        ;;
    *) die "there is no $subject" ;;
    esac
done
print_rows
