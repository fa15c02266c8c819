# What the benchmark scripts share: where things are, servers that are started and always ended, rows of
# the table. Sourced by them with `set -eu`; Linux only, because it reads /proc.

root=$(cd "$(dirname "$0")/.." && pwd)
bench=$root/bench
LINKS=${LINKS:-$root/links}
SERVER_CPU=${SERVER_CPU:-0}
CLIENT_CPU=${CLIENT_CPU:-1}
tools=${BENCH_BUILD:-$root/build/bench}
rows=

work=$(mktemp -d "${TMPDIR:-/tmp}/links-bench.XXXXXX")
server_pid=
client_pid=

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

note() {
    echo "$*" >&2
}

# Runs on every way out, so that neither a server nor a directory is left behind.
cleanup() {
    status=$?
    trap '' INT TERM HUP
    trap - EXIT
    [ -z "$client_pid" ] || kill "$client_pid" 2>/dev/null || :
    stop_server
    rm -rf "$work"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

need() {
    for program; do
        command -v "$program" >/dev/null || die "$program is not installed: make bench-deps"
    done
}

need_links() {
    [ -x "$LINKS" ] || die "$LINKS is not there: run make first, or set LINKS"
}

# tool NAME [LIBRARY...]: the path of a helper written in C, compiled when its source or a header is newer.
tool() {
    source=$1
    shift
    set -- "$source" "$*"
    if [ ! -x "$tools/$1" ] || [ -n "$(find "$bench/$1.c" "$bench"/*.h -newer "$tools/$1")" ]; then
        mkdir -p "$tools"
        ${CC:-cc} -std=gnu11 -O3 -Wall -Wextra -o "$tools/$1" "$bench/$1.c" $2 >&2
    fi
    echo "$tools/$1"
}

# launch COMMAND...: starts a server that prints its port; sets server_pid and server_port. taskset and
# strace replace themselves or stay in front, so a signal to server_pid reaches the server.
launch() {
    rm -f "$work/port"
    mkfifo "$work/port"
    taskset -c "$SERVER_CPU" "$@" >"$work/port" 2>"$work/stderr" &
    server_pid=$!
    read -r server_port <"$work/port" || server_port=
    case $server_port in
    '' | *[!0-9]*)
        cat "$work/stderr" >&2
        die "no port from: $*"
        ;;
    esac
}

stop_server() {
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null || :
    wait "$server_pid" 2>/dev/null || :
    server_pid=
}

# The server's processes: the one that was started and its children (nginx: the worker).
server_pids() {
    echo "$server_pid" $(cat "/proc/$server_pid/task/"*/children)
}

# CPU time of all threads of the server's processes in ns. It is utime + stime: the kernel scales those
# two to this sum and then rounds them to its clock ticks.
server_cpu_ns() {
    for pid in $(server_pids); do
        cat "/proc/$pid/task/"*/schedstat
    done | awk '{ sum += $1 } END { printf "%.0f\n", sum }'
}

nginx_module() {
    for dir in /usr/lib/nginx/modules /usr/lib64/nginx/modules /usr/share/nginx/modules; do
        [ -f "$dir/$1" ] && echo "load_module $dir/$1;" && return
    done
    return 1
}

# What `listen` of nginx goes on with, and what its server has of TLS; what wrk speaks. See tls.sh.
nginx_listen=
nginx_tls=
scheme=http

# launch_nginx CONNECTIONS LOCATION [MORE]: nginx with one worker and a configuration of its own, in $work; the
# system's nginx and its files are not touched. Sets server_pid and server_port.
launch_nginx() {
    launch "$(tool floor)" # for a free port, which nginx cannot choose itself
    stop_server
    mkdir -p "$work/nginx"
    {
        nginx_module ndk_http_module.so && nginx_module ngx_http_lua_module.so ||
            die "nginx's Lua module is not installed: make bench-deps"
        [ "$(id -u)" != 0 ] || echo "user root;"
        cat <<CONF
daemon off;
worker_processes 1;
worker_rlimit_nofile $(ulimit -n);
pid $work/nginx/pid;
error_log $work/nginx/error.log;
events { worker_connections $1; }
http {
    access_log off;
    keepalive_timeout 600;
    keepalive_requests 1000000000;
    default_type text/plain;
    client_body_temp_path $work/nginx/body;
    proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi;
    uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    server {
        listen 127.0.0.1:$server_port$nginx_listen;
        $nginx_tls
        location / { $2 }
        ${3:-}
    }
}
CONF
    } >"$work/nginx/nginx.conf"
    taskset -c "$SERVER_CPU" nginx -e "$work/nginx/error.log" -p "$work/nginx" \
        -c "$work/nginx/nginx.conf" &
    server_pid=$!
    # The worker is born after the socket listens.
    while [ -z "$(cat "/proc/$server_pid/task/$server_pid/children" 2>/dev/null)" ]; do
        kill -0 "$server_pid" 2>/dev/null || { cat "$work/nginx/error.log" >&2; die "nginx ended"; }
        sleep 0.05
    done
}

# make_files: what the servers of files have in $work/files.
make_files() {
    [ ! -d "$work/files" ] || return 0
    mkdir "$work/files"
    head -c 4096 /dev/urandom >"$work/files/4k.bin"
    head -c 1048576 /dev/urandom >"$work/files/1m.bin"
}

# start SERVER [CONNECTIONS]: links, links-access, floor, nginx and nginx-lua answer with 13 bytes, links-files and
# nginx-files with the files of make_files; the others are described in http.sh and app.lua.
start() {
    case $1 in
    links-json | links-routed | links-matched | links-unrouted | links-post | links-stream)
        launch "$LINKS" "$bench/app.lua" "${1#links-}"
        ;;
    links-files)
        make_files
        launch "$LINKS" "$bench/files.lua" "$work/files"
        ;;
    nginx-files)
        make_files
        launch_nginx "${2:-1024}" "root $work/files; sendfile on; tcp_nopush on;
            open_file_cache max=1000; open_file_cache_valid 60s;"
        ;;
    links) launch "$LINKS" "$bench/hello.lua" ;;
    links-access)
        rm -f "$work/access.log"
        launch "$LINKS" "$bench/hello.lua" "$work/access.log"
        ;;
    links-tls) launch "$LINKS" "$bench/tls_hello.lua" "$work/cert.pem" "$work/key.pem" ;;
    links-tls-files)
        make_files
        launch "$LINKS" "$bench/tls_hello.lua" "$work/cert.pem" "$work/key.pem" "$work/files"
        ;;
    floor) launch "$(tool floor)" ;;
    nginx) launch_nginx "${2:-1024}" 'return 200 "Hello, World!";' ;;
    nginx-lua)
        launch_nginx "${2:-1024}" 'content_by_lua_block {
            ngx.header.content_length = 13
            ngx.print("Hello, World!")
        }'
        ;;
    nginx-lua-json)
        launch_nginx "${2:-1024}" 'default_type application/json; content_by_lua_block {
            local cjson = require "cjson"
            local text = cjson.encode({
                message = "Hello, World!", id = 42, tags = { "a", "b", "c" }, ok = true })
            ngx.header.content_length = #text
            ngx.print(text)
        }'
        ;;
    nginx-lua-routed)
        launch_nginx "${2:-1024}" 'return 404;' 'location ~ ^/user/([^/]+)$ { content_by_lua_block {
            ngx.header.content_length = 13
            ngx.print(ngx.var[1] == "1234" and "Hello, World!" or "")
        } }'
        ;;
    nginx-lua-post)
        launch_nginx "${2:-1024}" 'client_body_buffer_size 64k; content_by_lua_block {
            ngx.req.read_body()
            local text = tostring(#ngx.req.get_body_data())
            ngx.header.content_length = #text
            ngx.print(text)
        }'
        ;;
    *) die "no server named $1" ;;
    esac
}

# load SECONDS DEPTH CONNECTIONS PATH [BYTES]: wrk, DEPTH requests per write, POSTs with BYTES; sets result
# to "requests microseconds socket-errors bad-replies".
load() {
    # In the background, so that a signal does not wait for wrk.
    taskset -c "$CLIENT_CPU" wrk -t1 -c"$3" -d"$1" -s "$bench/wrk.lua" \
        "$scheme://127.0.0.1:$server_port/$4" -- "$2" ${5:-} >"$work/wrk" 2>&1 &
    client_pid=$!
    wait "$client_pid" || { cat "$work/wrk" >&2; die "wrk failed"; }
    client_pid=
    result=$(sed -n 's/^result //p' "$work/wrk")
    [ -n "$result" ] || { cat "$work/wrk" >&2; die "no result from wrk"; }
}

# compare OURS THEIRS TARGET WHAT [difference]: a row of PAIRS pairs of runs, of which the script's function
# `measure SERVER` makes each; see pairs.awk.
compare() {
    : >"$work/pairs"
    pair=0
    while [ $pair -lt "$PAIRS" ]; do
        if [ $((pair % 2)) = 0 ]; then
            measure "$1"; ours=$measured
            measure "$2"; theirs=$measured
        else
            measure "$2"; theirs=$measured
            measure "$1"; ours=$measured
        fi
        echo "$ours $theirs" >>"$work/pairs"
        pair=$((pair + 1))
        note "$4 $pair/$PAIRS: $(echo "$ours $theirs" |
            awk '{ printf "%.3f us / %.3f us = %.3f", $1, $4, $1 / $4 }')"
    done
    summary=$(awk -v how="${5:-ratio}" -f "$bench/pairs.awk" "$work/pairs")
    row "$4" "${summary%%	*}" "$3" "${summary#*	}"
}

# ask_nginx QUERY: has what nginx's LUA says be done, which answers "done".
ask_nginx() {
    answer=$(curl -s "http://127.0.0.1:$server_port/?$1")
    [ "$answer" = done ] || { cat "$work/nginx/error.log" >&2; die "nginx did not do it"; }
}

# measure_asking COUNT LUA QUERY: what one of COUNT requests costs nginx that it makes when it is asked, after
# as many to warm up. This and the next set measured as compare wants it: nothing is said of rates, because
# whoever asks waits for the answer.
measure_asking() {
    launch_nginx 1024 "$2"
    ask_nginx "$3"
    before=$(server_cpu_ns)
    ask_nginx "$3"
    after=$(server_cpu_ns)
    stop_server
    measured=$(awk -v ns=$((after - before)) -v n="$1" 'BEGIN { print ns / 1000 / n, 1, 0 }')
}

# measure_command COUNT COMMAND...: what one of COUNT requests costs a command that makes them, and ends.
measure_command() {
    count=$1
    shift
    times=$( (taskset -c "$SERVER_CPU" "$@" >"$work/null" && times) | tail -n1)
    [ -n "$times" ] || die "$1 failed"
    measured=$(echo "$times" | awk -v n="$count" '{
        split($1 "m" $2, t, /[ms]+/)
        print (t[1] * 60 + t[2] + t[3] * 60 + t[4]) * 1e6 / n, 1, 0 }')
}

# row WHAT MEASURED TARGET NOTE: MEASURED is a number and perhaps a unit, TARGET a limit in the same unit
# or empty. The rows become the table at the end, or part of the one of `make bench`.
row() {
    rows="$rows$(printf '%s\t%s\t%s\t%s' "$1" "$2" "$3" "${4:-}")
"
}

# With BENCH_ROWS set, the rows are appended to that file, for run.sh; else they are printed.
print_rows() {
    if [ -n "${BENCH_ROWS:-}" ]; then
        printf '%s' "$rows" >>"$BENCH_ROWS"
    else
        printf '%s' "$rows" | awk -f "$bench/table.awk"
    fi
}

# What the numbers were taken on, on stderr: numbers without it mean nothing.
describe_machine() {
    note "machine  $(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) CPUs," \
        "$(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
    note "system   $(uname -sr), load $(cut -d' ' -f1 /proc/loadavg), $(${CC:-cc} --version | head -n1)"
    note "commit   $(git -C "$root" log -1 --format='%h %s' 2>/dev/null || echo unknown)"
}
