#!/bin/sh
# What clients notice of upgrades (SIGUSR2), reloads (SIGHUP) and kills of workers: wrk with 64
# connections that are kept and 64 for one request each, beside. Prints wrk's counts; a line "Socket
# errors" is a request that was lost, or, while workers are killed, what was under way in them.
#
#   bench/upgrade.sh              10 upgrades, 100 reloads
#   KILLS=100 bench/upgrade.sh   and kills, afterwards
set -eu
cd "$(dirname "$0")/.."

LINKS=${LINKS:-./links}
UPGRADES=${UPGRADES:-10}
RELOADS=${RELOADS:-100}
KILLS=${KILLS:-0}
SECONDS_EACH=${SECONDS_EACH:-60}

folder=$(mktemp -d)
trap 'kill "$(cat "$folder/pid" 2>/dev/null)" 2>/dev/null || :; rm -rf "$folder"' EXIT
cat >"$folder/app.lua" <<END
local http, process = require "http", require "process"
assert(process.cluster { workers = 2, pidFile = "$folder/pid" })
local server = assert(http.createServer(0, function() return "hello\n" end, { host = "127.0.0.1" }))
print("port " .. server:address().port)
io.stdout:flush()
END

"$LINKS" "$folder/app.lua" >"$folder/out" 2>&1 &
until grep -q port "$folder/out"; do sleep 0.1; done
url=http://127.0.0.1:$(sed -n 's/^port //p' "$folder/out" | head -n 1)/
sleep 1

master() { cat "$folder/pid"; }
descriptors() { echo "descriptors of the master: $(ls "/proc/$(master)/fd" | wc -l)"; }

# A zombie has ended, too.
has_ended() { ! grep -q '^State:[[:space:]]*[^Z]' "/proc/$1/status" 2>/dev/null; }

wrk -t1 -c64 -d"$SECONDS_EACH" "$url" >"$folder/kept" &
kept=$!
wrk -t1 -c64 -d"$SECONDS_EACH" -H 'Connection: close' "$url" >"$folder/each" &
each=$!
sleep 1

descriptors
n=0
while [ "$n" -lt "$UPGRADES" ]; do
    old=$(master)
    kill -USR2 "$old"
    until has_ended "$old"; do sleep 0.05; done
    n=$((n + 1))
done
echo "$UPGRADES upgrades"
descriptors
n=0
while [ "$n" -lt "$RELOADS" ]; do
    kill -HUP "$(master)"
    sleep 0.2
    n=$((n + 1))
done
echo "$RELOADS reloads"
n=0
while [ "$n" -lt "$KILLS" ]; do
    victim=$(tr ' ' '\n' <"/proc/$(master)/task/$(master)/children" | sed -n $((n % 2 + 1))p)
    [ -z "$victim" ] || kill -KILL "$victim" 2>/dev/null || :
    sleep 0.1
    n=$((n + 1))
done
echo "$KILLS kills"
descriptors
wait "$kept" "$each"
cat "$folder/kept" "$folder/each"
grep -v '^port\|serves, and this one ends\|died of SIGKILL' "$folder/out" || :
