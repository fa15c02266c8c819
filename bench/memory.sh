#!/bin/sh
# Whether a server's memory stays where it is.
#
#     bench/memory.sh [requests|stream...]     default: both
#
#     requests   private memory over REQUESTS=10000000 hello worlds, after a million to warm up
#     stream     at most while MIB=1024 MiB are streamed to a client that reads a MiB every 4 ms
#
# Private_Dirty of smaps_rollup; a row is how much more that was, in KiB.
set -eu
. "$(dirname "$0")/lib.sh"

REQUESTS=${REQUESTS:-10000000}
MIB=${MIB:-1024}
WARM=1000000

private_kib() {
    awk '/^Private_Dirty:/ { print $2 }' "/proc/$1/smaps_rollup"
}

# serve COUNT: so many requests or a few more.
serve() {
    served=0
    while [ "$served" -lt "$1" ]; do
        load 2 16 64 ""
        set -- "$1" $result
        [ "$4" = 0 ] && [ "$5" = 0 ] || die "invalid run: $4 socket errors, $5 bad replies"
        [ "$2" -gt 0 ] || die "no request was answered"
        served=$((served + $2))
    done
}

need taskset wrk awk
need_links
[ $# -gt 0 ] || set -- requests stream
describe_machine
for subject; do
    case $subject in
    requests)
        start links
        serve "$WARM"
        before=$(private_kib "$server_pid")
        serve "$REQUESTS"
        after=$(private_kib "$server_pid")
        stop_server
        row "memory after $REQUESTS requests" "$((after - before)) KiB more" 1024 "$before KiB before"
        ;;
    stream)
        start links-stream
        bytes=$("$(tool client)" slow "$server_port" "$MIB" "$server_pid") || die "no measurement"
        stop_server
        row "memory while $MIB MiB go to a slow reader" "$((bytes / 1024)) KiB more" 1024 "at most"
        ;;
    *) die "there is no $subject" ;;
    esac
done
print_rows
