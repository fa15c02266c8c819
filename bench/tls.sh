#!/bin/sh
# CPU time of TLS 1.3 held against nginx's, in pairs as in http.sh, with one certificate (ECDSA, P-256)
# for both; and the memory of connections that are idle.
#
#     bench/tls.sh [COMPARISON...]     default: all of them
#
#     full       connections with a handshake, one hello and the end, against nginx's Lua module
#     resumed    the same, each session taken up again by the ticket of the one before
#     hello      hello on connections that are kept, against nginx's Lua module
#     file-1m    a file of 1 MiB, against nginx
#     idle       private memory per idle connection, COUNT=2000 of them, and nginx's
#
# PAIRS=7 pairs per comparison, DURATION=3 seconds per run, CONNECTIONS=64 of wrk; tls_client.c makes
# one connection at a time.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-7}
DURATION=${DURATION:-3}
CONNECTIONS=${CONNECTIONS:-64}
COUNT=${COUNT:-2000}

client=wrk
url_path=

# connect_for SECONDS: as load, by tls_client.
connect_for() {
    taskset -c "$CLIENT_CPU" "$(tool tls_client -lssl -lcrypto)" "$client" "$server_port" \
        "$(($1 * 1000))" >"$work/client" 2>&1 &
    client_pid=$!
    wait "$client_pid" || { cat "$work/client" >&2; die "tls_client failed"; }
    client_pid=
    result=$(sed -n 's/^result //p' "$work/client")
}

ask_for() {
    if [ "$client" = wrk ]; then
        load "$1" 1 "$CONNECTIONS" "$url_path"
    else
        connect_for "$1"
    fi
}

# measure SERVER: sets measured to "us-per-request cpu-share requests-per-second".
measure() {
    start "$1"
    ask_for 1
    before=$(server_cpu_ns)
    ask_for "$DURATION"
    after=$(server_cpu_ns)
    stop_server
    set -- "$1" $result
    [ "$4" = 0 ] && [ "$5" = 0 ] || die "invalid run of $1: $4 socket errors, $5 bad replies"
    measured=$(awk -v cpu=$((after - before)) -v n="$2" -v us="$3" 'BEGIN {
        if (n == 0) exit 1
        printf "%.4f %.3f %.0f\n", cpu / 1000 / n, cpu / 1000 / us, n * 1e6 / us }') ||
        die "no request of $1 was answered"
}

idle() {
    for server in links-tls nginx-lua; do
        start "$server" $((COUNT + 1024))
        pid=$(server_pids)
        bytes=$("$(tool tls_client -lssl -lcrypto)" hold "$server_port" "$COUNT" "${pid##* }")
        stop_server
        row "idle TLS connection of $server, private memory" \
            "$(awk -v b="$bytes" 'BEGIN { printf "%.1f KiB", b / 1024 }')" "" "$COUNT connections, each with an answer"
    done
}

need taskset wrk nginx awk openssl
nginx_module ngx_http_lua_module.so >/dev/null || die "nginx's Lua module is not installed: make bench-deps"
need_links
[ $# -gt 0 ] || set -- full resumed hello file-1m idle

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null || die "openssl made no certificate"
nginx_listen=' ssl'
nginx_tls="ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem; ssl_protocols TLSv1.3;"
scheme=https

describe_machine
note "peers    $(nginx -v 2>&1), $(openssl version)"
for comparison; do
    client=wrk url_path=
    case $comparison in
    full | resumed)
        client=$comparison
        [ "$comparison" = full ] && target=1.05 || target=1.00
        compare links-tls nginx-lua "$target" "TLS connection, $comparison handshake / nginx content_by_lua"
        ;;
    hello) compare links-tls nginx-lua 0.90 "hello over TLS / nginx content_by_lua" ;;
    file-1m)
        url_path=1m.bin
        compare links-tls-files nginx-files 1.00 "file of 1 MiB over TLS / nginx"
        ;;
    idle) idle ;;
    *) die "no comparison named $comparison" ;;
    esac
done
print_rows
