#!/bin/sh
# What the scheduler's own operations and a cached look-up cost, measured by links itself (micro.lua).
#
#     bench/micro.sh [spawn|channel|sleep|timers|memory|coroutine|dns|log...]     default: all
set -eu
. "$(dirname "$0")/lib.sh"

need taskset
need_links
[ $# -gt 0 ] || set -- spawn channel coroutine sleep timers memory dns log metrics
describe_machine
for name; do
    result=$(taskset -c "$SERVER_CPU" "$LINKS" "$bench/micro.lua" "$name") || die "$name failed"
    rows="$rows$result
"
done
print_rows
