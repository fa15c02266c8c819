#!/bin/sh
# All benchmarks, in one table: `make bench`. About five minutes; a quiet machine gives better numbers.
#
#     bench/run.sh [SCRIPT...]     default: http tls latency fetch redis tcp websocket cluster micro idle memory start syscalls
set -eu
. "$(dirname "$0")/lib.sh"

need taskset wrk nginx curl redis-server strace awk
need_links
[ $# -gt 0 ] || set -- http tls latency fetch redis tcp websocket cluster micro idle memory start syscalls
BENCH_ROWS=$work/rows
export BENCH_ROWS
for script; do
    note "--- $script"
    "$bench/$script.sh"
done
rows=$(cat "$BENCH_ROWS")
unset BENCH_ROWS
describe_machine
print_rows
