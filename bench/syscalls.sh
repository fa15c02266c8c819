#!/bin/sh
# System calls of a server per keep-alive request, counted by strace.
#
#     bench/syscalls.sh [links|floor]     default: links
#
# Two runs of the server, the second with 1000 batches more; what it made more of, over 1000, is what a
# batch costs, free of start-up and of the connection's accept and close. A wait is counted per batch
# because one connection is busy; with many, one wait serves all that are ready.
set -eu
. "$(dirname "$0")/lib.sh"

BATCHES=1000

# -I 2: a SIGTERM ends strace and, through it, the server.
# count SERVER BATCHES DEPTH: "calls name" per system call, in $work/calls.
count() {
    rm -f "$work/trace"
    case $1 in
    links) launch strace -I 2 -f -qq -o "$work/trace" "$LINKS" "$bench/hello.lua" ;;
    floor) launch strace -I 2 -f -qq -o "$work/trace" "$(tool floor)" ;;
    *) die "no server named $1" ;;
    esac
    "$client" send "$server_port" "$2" "$3" || die "$1 did not answer"
    stop_server
    sed -n 's/^[0-9]* *\([a-z0-9_]*\)(.*/\1/p' "$work/trace" | sort | uniq -c
}

# per_batch SERVER DEPTH: rows for what 1000 batches of DEPTH requests cost.
per_batch() {
    count "$1" 100 "$2" >"$work/few"
    count "$1" $((100 + BATCHES)) "$2" >"$work/many"
    awk -v batches="$BATCHES" -v depth="$2" '
        NR == FNR { few[$2] = $1; next }
        { more[$2] = ($1 - few[$2]) / batches }
        END {
            read = more["read"] + more["recv"] + more["recvfrom"] + more["recvmsg"] + more["readv"]
            write = more["write"] + more["writev"] + more["send"] + more["sendto"] + more["sendmsg"]
            wait = more["epoll_wait"] + more["epoll_pwait"] + more["epoll_pwait2"]
            ctl = more["epoll_ctl"]
            for (name in more)
                total += more[name]
            others = total - read - write - wait - ctl
            printf "%.2f %.2f %.2f %.2f %.2f\n", read, write, wait, ctl, others < 0.005 ? 0 : others
        }' "$work/few" "$work/many"
}

rows_of() {
    result=$(per_batch "$1" "$2")
    set -- $result "$3"
    row "$6: reads" "$1" 1.01
    row "$6: writes" "$2" 1.01
    row "$6: epoll_wait" "$3" 1.01 "one busy connection; many share a wait"
    row "$6: epoll_ctl" "$4" 0.00
    row "$6: other system calls" "$5" 0.01
}

need strace
client=$(tool client)
server=${1:-links}
[ "$server" != links ] || need_links
describe_machine
rows_of "$server" 1 "keep-alive request"
rows_of "$server" 16 "16 pipelined requests"
print_rows
