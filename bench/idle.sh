#!/bin/sh
# Private memory of a server per idle keep-alive connection.
#
#     bench/idle.sh [links|floor|nginx|nginx-lua...]     default: links
#
# COUNT=15000 connections, each answered once; Private_Dirty of smaps_rollup after them,
# less before, over their number. What a server allocates before the first connection is not in it (nginx:
# its table of connections), nor are the kernel's socket buffers.
set -eu
. "$(dirname "$0")/lib.sh"

COUNT=${COUNT:-15000}

ulimit -n "$(ulimit -Hn)" # the server inherits it
client=$(tool client)
[ $# -gt 0 ] || { need_links; set -- links; }
describe_machine
for server; do
    start "$server" $((COUNT + 1024))
    pid=$(server_pids)
    bytes=$("$client" hold "$server_port" "$COUNT" "${pid##* }") || die "no measurement of $server"
    stop_server
    case $server in
    links) target=300 ;;
    *) target= ;;
    esac
    row "idle keep-alive connection of $server" "$bytes bytes" "$target" "each of $COUNT"
done
print_rows
