#!/bin/sh
# Start-up: wall time and peak memory of an empty program, and time to a server's first answer.
#
#     bench/start.sh     RUNS=51 of each; medians of the times, maximum of the memory
set -eu
. "$(dirname "$0")/lib.sh"

RUNS=${RUNS:-51}

need_links
timer=$(tool start)
describe_machine
result=$("$timer" run "$RUNS" "$LINKS" -e "") || die "links -e \"\" did not run"
row 'links -e "", wall time' "${result% *} ms" 6
row 'links -e "", peak memory' "$(echo "${result#* }" | awk '{ printf "%.1f MiB", $1 / 1024 }')" 10
result=$("$timer" answer "$RUNS" "$LINKS" "$bench/hello.lua") || die "hello.lua did not answer"
row 'links app.lua to its first answer' "${result% *} ms" 10
print_rows
