#!/bin/sh
# Runs the test suites and ends with one line: `N passed, N failed, N skipped`.
#
#   sh tests/run.sh                 all of them, every variant built first
#   sh tests/run.sh ev wire         these
#   sh tests/run.sh --list          what there is
#
# Every suite speaks TAP ("ok", "not ok", "ok # SKIP why") among whatever else it prints, into
# build/log/<suite>.log, and is summed up in one line here. A suite that ends badly without having
# said "not ok" has crashed: that is a failure. So are a suite in which nothing ran, a suite that
# takes longer than TIMEOUT seconds or more than MEMORY megabytes, and any report of a sanitizer or
# of valgrind, whoever caught the exit code. One suite more runs at a time than JOBS says, since
# those of busted spend half of their time waiting: what they test is about time and other processes.
set -u
cd "$(dirname "$0")/.." || exit 1

MAKE=${MAKE:-make}
JOBS=${JOBS:-2}
TIMEOUT=${TIMEOUT:-1200}
MEMORY=${MEMORY:-8000}
LOG=$PWD/build/log
unset MAKEFLAGS MFLAGS MAKELEVEL
# The watchdog of programs that serve is there and says nothing: see tests/busted.lua.
LINKS_WATCHDOG=3600000
export MAKE TIMEOUT MEMORY LINKS_WATCHDOG

# In this order: the long ones first, so that nothing waits for them at the end, and one that
# computes beside two that wait.
SUITES='asan-wire valgrind-modules asan-lib lib kqueue-wire clang-lib wire house kqueue-lib clang-wire
        asan-modules lint modules clang-modules valgrind-ev valgrind-lua examples fuzz
        valgrind-base ev lua base asan-ev asan-lua asan-base kqueue-ev kqueue-base clang-ev clang-lua clang-base'

# --- one suite ---------------------------------------------------------------------------------

has() { command -v "$1" >/dev/null 2>&1; }

# Ends what is left of the suites named, or of all. Criterion's workers have sessions of their own,
# which neither timeout nor ctrl-C reaches; but everything that a suite has started has LINKS_SUITE
# in its environment. Where there is no /proc, only timeout ends them.
sweep() {
    for name in ${*:-$SUITES}; do
        for _ in 1 2; do # twice: for what was born during the first
            grep -lzxF "LINKS_SUITE=$LOG/$name" /proc/[0-9]*/environ 2>/dev/null |
                sed 's|^/proc/\([0-9]*\)/.*|\1|' | xargs -r kill -KILL 2>/dev/null
        done
    done
}

skip() { echo "ok - the whole suite # SKIP $1"; }

# A variant's tree, its program, and how to make it.
variant_of() {
    case $1 in
    asan-* | fuzz) echo address-undefined ;;
    kqueue-*) echo "$kqueue_tree" ;;
    clang-*) echo clang ;;
    *) echo default ;;
    esac
}

make_arguments() {
    case $1 in
    address-undefined) echo SANITIZE=address,undefined ;;
    kqueue) echo POLL=kqueue ;;
    clang) echo CC=clang ;;
    esac
}

# Where kqueue is the system's own, the suites of the default variant are those of kqueue.
if [ "$(uname -s)" = Linux ]; then kqueue_tree=kqueue; else kqueue_tree=default; fi

criterion() {
    # --verbose names each test as it begins: the last one is the one that hangs.
    "$1" --verbose --tap="$LOG/$suite.tap"
    status=$?
    # Criterion ends its lines of TAP only after the whole: print them when it is done.
    [ ! -f "$LOG/$suite.tap" ] || cat "$LOG/$suite.tap"
    return $status
}

busted() {
    # busted takes a folder that is not there for a test without a name.
    [ -d "$1" ] || { echo "not ok - there is no $1" && return 1; }
    "$tree/links" tests/busted.lua "$1"
}

replay() {
    status=0
    for source in tests/fuzz/fuzz_*.c; do
        [ -f "$source" ] || { echo 'not ok - there is no tests/fuzz/fuzz_*.c' && return 1; }
        name=$(basename "$source" .c)
        corpus=tests/fuzz/corpus/${name#fuzz_}
        if ! "$tree/tests/$name" "$corpus"/*; then
            status=1
        fi
    done
    for source in tests/fuzz/fuzz_*.lua; do
        name=$(basename "$source" .lua)
        name=${name#fuzz_}
        "$tree/links" tests/fuzz/lua.lua "$name" replay "tests/fuzz/corpus/$name"/* || status=1
    done
    return $status
}

suite_run() {
    room=${suite#*-}
    tree=build/$(variant_of "$suite")
    case $suite in
    clang-*) has clang || { skip 'clang is not installed' && return; } ;;
    valgrind-*) has valgrind || { skip 'valgrind is not installed' && return; } ;;
    esac
    case $suite in
    lint) sh tests/lint.sh ;;
    house) sh tests/house_test.sh ;;
    examples) "$tree/links" docs/examples.lua ;;
    fuzz) replay ;;
    lib | *-lib) busted tests/lib ;;
    wire | *-wire) busted tests/integration ;;
    valgrind-*)
        valgrind --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=99 \
            --suppressions=tests/valgrind.supp --log-file="$LOG/$suite.report.%p" \
            "$tree/tests/direct_$room"
        ;;
    *) criterion "$tree/tests/test_$room" ;;
    esac
}

# Criterion, rarely and on a busy machine, leaks 48 bytes of its own. The sanitizer could be told to
# pass over leaks below a function of Criterion's, but all tests are below one.
criterions_own() {
    grep -q 'ERROR: LeakSanitizer' "$1" && grep -q '^ *#1 ' "$1" && ! grep '^ *#1 ' "$1" | grep -qv libcriterion
}

# What the sanitizers and valgrind wrote, whichever process it was: Criterion's workers and other
# children have exit codes that nobody reads.
suite_reports() {
    # A test in which valgrind found something has failed by its exit code (tests/direct). What a test
    # forks and kills writes a report too, and loses what it has.
    case $suite in valgrind-*) grep -q '^not ok ' "$log" || return ;; esac
    for report in "$LOG/$suite".report.*; do
        [ -s "$report" ] && ! criterions_own "$report" || continue
        if grep -q 'ERROR: \|WARNING: ThreadSanitizer\|runtime error: \|ERROR SUMMARY: [1-9]' "$report"; then
            cat "$report"
            echo "not ok - $(basename "$report")"
        fi
    done
    # What was written before the options were read, or without them.
    if ! grep -q '^not ok ' "$log" && grep -q 'Sanitizer: \|: runtime error: ' "$log"; then
        echo "not ok - a sanitizer complained"
    fi
}

# Why a suite has ended with this status, if it has not said it itself. Only timeout sends KILL
# here, and that when time is up; before, it was the system that ran out of memory, as a rule.
suite_end() {
    if [ "$status" = 124 ] || { [ "$status" = 137 ] && [ "$seconds" -ge "$TIMEOUT" ]; }; then
        echo "not ok - stopped: it ran longer than $TIMEOUT s"
    elif [ "$status" = 137 ]; then
        echo "not ok - killed after $seconds s (signal 9): out of memory?"
    elif ! grep -q '^not ok ' "$log"; then
        if [ "$status" -gt 128 ]; then
            echo "not ok - crashed (signal $((status - 128)))"
        else
            echo "not ok - crashed (exit code $status)"
        fi
    fi
}

# Counts the TAP lines of a log. busted's skips do not name themselves, but the line before does.
suite_count() {
    awk '
        /^ok .*# SKIP/ {
            skipped++
            name = $0
            sub(/^ok [0-9]*[ -]*/, "", name)
            if (name ~ /^# SKIP/ && last ~ /^# /)
                name = substr(last, 3) " " name
            sub(/ *# SKIP */, ": ", name)
            print "skipped " name
        }
        /^ok / && !/# SKIP/ { passed++ }
        /^not ok / { failed++ }
        { last = $0 }
        END { print "count " passed + 0, failed + 0, skipped + 0 }
    ' "$1"
}

suite_main() {
    suite=$1
    log=$LOG/$suite.log
    rm -f "$LOG/$suite".report.* "$LOG/$suite".tap "$LOG/$suite".result
    options="log_path=$LOG/$suite.report:print_stacktrace=1:abort_on_error=0"
    ASAN_OPTIONS="$options:detect_leaks=1:detect_stack_use_after_return=0:hard_rss_limit_mb=$MEMORY"
    UBSAN_OPTIONS="$options"
    TSAN_OPTIONS="$options"
    LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp:print_suppressions=0"
    export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS LSAN_OPTIONS

    began=$(date +%s)
    if [ "${2-}" = inner ]; then
        # What grows without end gets an error, before the system ends it, or something else.
        # A sanitizer reserves more than that at its start, and has a limit of its own.
        [ "$(variant_of "$suite")" = address-undefined ] || ulimit -d $((MEMORY * 1024))
        suite_run
        exit
    fi
    limit=
    ! has timeout || limit="timeout -k 5 $TIMEOUT"
    # shellcheck disable=SC2086
    LINKS_SUITE=$LOG/$suite $limit sh "$0" --inner "$suite" >"$log" 2>&1 </dev/null
    status=$?
    seconds=$(($(date +%s) - began))
    sweep "$suite"
    suite_reports >>"$log" 2>&1
    case $status in
    0)
        grep -q '^\(not \)\{0,1\}ok ' "$log" || echo "not ok - nothing ran" >>"$log"
        # A spec that has called os.exit(0): busted has not come to its last line.
        case $suite in lib | *-lib | wire | *-wire)
            grep -q '^1\.\.[0-9]' "$log" || echo "not ok - ended before its end" >>"$log" ;;
        esac
        ;;
    *) suite_end >>"$log" ;;
    esac

    counted=$(suite_count "$log")
    set -- ${counted##*count }
    result=ok
    [ "$2" -eq 0 ] || result=FAIL
    {
        printf '%-4s  %-17s %5d passed %3d failed %3d skipped %4d s\n' "$result" "$suite" \
            "$1" "$2" "$3" "$seconds"
        printf '%s\n' "$counted" | sed -n 's/^skipped /        skipped /p'
        if [ $result = FAIL ]; then
            echo "----- build/log/$suite.log, what failed:"
            grep -A 12 '^not ok \|^\[FAIL\]\|Assertion Failed' "$log" | grep -v '^ok \|^\[PASS\]\|^\[RUN ' |
                head -n 80
            echo '----- and its end:'
            tail -n 12 "$log"
            echo '-----'
        fi
    } >"$LOG/$suite.result"
    echo "count $1 $2 $3" >"$LOG/$suite.count"
    cat "$LOG/$suite.result"
}

# --- all of them -------------------------------------------------------------------------------

# Builds what the suites need. Tells of it as a suite of its own where it fails.
build() {
    for variant in $(for suite in $suites; do variant_of "$suite"; done | sort -u); do
        [ "$variant" != clang ] || has clang || continue
        targets='all test-programs'
        case $variant in
        default) ! has valgrind || targets="$targets direct-programs" ;;
        address-undefined) targets="$targets fuzz-programs" ;;
        esac
        began=$(date +%s)
        # shellcheck disable=SC2046
        if "$MAKE" -j"$JOBS" WERROR="${WERROR-}" $(make_arguments "$variant") $targets \
            >"$LOG/build-$variant.log" 2>&1; then
            printf 'ok    %-55s %3d s\n' "build $variant" $(($(date +%s) - began))
        else
            printf 'FAIL  build %s\n' "$variant"
            tail -n 40 "$LOG/build-$variant.log"
            echo 'count 0 1 0' >"$LOG/build-$variant.count"
        fi
    done
}

case ${1-} in
--inner) suite_main "$2" inner ;;
--suite) suite_main "$2" && exit ;;
--list)
    echo $SUITES
    exit
    ;;
esac

suites=${*:-$SUITES}
for suite in $suites; do
    case " $(echo $SUITES) " in
    *" $suite "*) ;;
    *)
        echo "tests/run.sh: there is no suite \"$suite\"; there are:" $SUITES >&2
        exit 1
        ;;
    esac
done

mkdir -p "$LOG"
rm -f "$LOG"/*.count
trap 'sweep; exit 130' INT TERM HUP
build
for suite in $SUITES; do
    case " $(echo $suites) " in *" $suite "*) echo "$suite" ;; esac
done | xargs -P $((JOBS + 1)) -n 1 sh "$0" --suite

cat "$LOG"/*.count | awk -v suites="$(echo $suites | wc -w)" '
    { passed += $2; failed += $3; skipped += $4; n++ }
    END {
        if (n < suites) failed += suites - n
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit failed > 0 || passed == 0
    }'
