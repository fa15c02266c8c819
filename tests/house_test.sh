#!/bin/sh
# Tests what tests: that lint finds what is planted, that tests/run.sh counts and does not let a
# crash pass, that .ci/deps installs what is missing and nothing else, that make rebuilds what it
# must. Everything happens in a temporary copy; apt-get, sudo and their like are fakes that write
# down what they were asked. Speaks TAP.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
failed=0

# expect <name> <condition...>: one line of TAP; what the last step printed explains a failure.
expect() {
    name=$1
    shift
    if "$@"; then
        echo "ok - $name"
    else
        sed 's/^/# /' "$tmp/out" 2>/dev/null
        echo "not ok - $name"
        failed=1
    fi
}

out_has() { grep -q -- "$1" "$tmp/out"; }
out_lacks() { ! grep -q -- "$1" "$tmp/out"; }
is() { [ "$1" = "$2" ]; }
exists() { [ -e "$1" ]; }
missing() { [ ! -e "$1" ]; }

# --- lint --------------------------------------------------------------------------------------

copy=$tmp/copy
mkdir "$copy"
for entry in src lib tests docs examples Makefile README.md .clang-format .luacheckrc .ci; do
    [ ! -e "$root/$entry" ] || cp -R "$root/$entry" "$copy/"
done

# finds <check> <file> <what it says>: standard input is appended to the file of the copy.
finds() { finds_in "$copy" "$@"; }

finds_in() {
    keep=
    if [ -e "$1/$3" ]; then
        keep=$tmp/keep
        cp "$1/$3" "$keep"
    fi
    mkdir -p "$(dirname "$1/$3")"
    cat >>"$1/$3"
    CHECKS=$2 sh "$root/tests/lint.sh" "$1" >"$tmp/out" 2>&1
    code=$?
    lines=$(grep -c "$3:[0-9]*:.*$4" "$tmp/out")
    expect "lint finds, in $3: $4" [ "$code" = 1 -a "$lines" -ge 1 ]
    rm -f "$1/$3"
    [ -z "$keep" ] || mv "$keep" "$1/$3"
}

# The same for the tools, which take their time for a whole project: in one with nothing else.
bare=$tmp/bare
mkdir -p "$bare/src/base" "$bare/lib/links" "$bare/tests/lib"
cp "$root/.clang-format" "$root/.luacheckrc" "$bare/"
cp "$root/tests/cppcheck.supp" "$bare/tests/"
finds_bare() { finds_in "$bare" "$@"; }

finds layers src/base/planted.c 'to its right' <<'C'
#include "ev/ev.h"
C
finds layers src/lua/planted.h 'to its right' <<'C'
#include "modules/modules.h"
C
finds layers src/ev/planted.c 'name it from src' <<'C'
#include "../base/list.h"
C
finds layers src/elsewhere/planted.c 'is in no room' <<'C'
int planted;
C
finds lua_headers src/modules/planted.c 'only src/lua and main.c' <<'C'
#include <lauxlib.h>
C
finds one_resume src/lua/planted.c 'exactly once' <<'C'
int planted(void *L) { return lua_resume(L, 0); }
C
finds systems src/ev/planted.c 'inside a function' <<'C'
int planted(void)
{
#ifdef __linux__
    return 1;
#endif
    return 0;
}
C
finds arrays lib/links/planted.lua 'has \[?\] and no' <<'LUA'
-- [?]: with values
local one = ffi.new("int[?]", 1, { 1 })
local two = ffi.new("int[?]", 1)
LUA
yes 'int planted;' | head -n 901 | finds length src/base/planted.c '900 are the limit'
finds words src/base/planted.c 'without an issue' <<'C'
/* TODO: remember */
C
finds docstrings lib/links/planted.lua 'planted.first is public' <<'LUA'
--- A module.
local planted = {}
function planted.first() end
-- Private: for the neighbours.
function planted.second() end
--- Documented.
function planted.third() end
return planted
LUA
if [ -x "$root/links" ]; then
    finds pages docs/api/planted.md 'its module is gone' </dev/null
    finds pages docs/api/task.md 'not up to date' <<'MD'
something else
MD
fi
finds shell tests/planted.sh 'yntax error' <<'SH'
if true; then
SH
finds_bare clang_format src/base/planted.c 'make format' <<'C'
int   planted( void ){return 1;}
C
finds_bare cppcheck src/base/planted.c 'uninitvar' <<'C'
int planted(void);
int planted(void)
{
    int x;
    return x;
}
C
finds_bare luacheck lib/links/planted.lua 'W211' <<'LUA'
local unused = 1
LUA
finds_bare luacheck tests/lib/planted_spec.lua 'W631' <<LUA
-- $(printf '%0100d' 0)
LUA

# The comments of the C files may speak of lua_resume.
cat >"$copy/src/lua/planted.c" <<'C'
/* lua_resume( is called
 * elsewhere: lua_resume(L) */
C
CHECKS=one_resume sh "$root/tests/lint.sh" "$copy" >"$tmp/out" 2>&1
expect "lint does not take a comment for a call" out_lacks planted
rm "$copy/src/lua/planted.c"

# --- tests/run.sh ------------------------------------------------------------------------------

# Runs one suite of a project whose test program is a script.
suite() { # suite <name> <limit in seconds>; the script on standard input
    mkdir -p "$copy/build/default/tests" "$copy/build/log"
    rm -f "$copy"/build/log/*
    program=$copy/build/default/tests/test_${1#*-}
    cat >"$program"
    chmod +x "$program"
    (cd "$copy" && TIMEOUT=$2 sh tests/run.sh --suite "$1") >"$tmp/out" 2>&1
}
counts() { is "$(cat "$copy"/build/log/"$1".count)" "count $2"; }

suite base 60 <<'SH'
#!/bin/sh
printf 'ok - a\nok - b\nok - c # SKIP no IPv6 here\n'
SH
expect "run.sh counts what passed and what was skipped" counts base '2 0 1'
expect "run.sh names what was skipped and why" out_has 'skipped c: no IPv6 here'
suite base 60 <<'SH'
#!/bin/sh
printf 'ok - a\nnot ok - b\n'
exit 1
SH
expect "run.sh counts a failure once" counts base '1 1 0'
expect "run.sh shows what failed and the end of the log" out_has '^not ok - b'
suite base 60 <<'SH'
#!/bin/sh
printf 'ok - a\n'
kill -SEGV $$
SH
expect "run.sh takes a crash for a failure" counts base '1 1 0'
expect "run.sh names the signal" out_has 'crashed (signal 11)'
suite base 60 <<'SH'
#!/bin/sh
printf 'ok - a\n'
kill -KILL $$
SH
expect "run.sh tells a suite that was killed from one that took too long" \
    out_has 'killed after [0-9]* s (signal 9): out of memory'
suite base 60 <<'SH'
#!/bin/sh
ulimit -d >build/log/limit
printf 'ok - a\n'
SH
expect "run.sh limits the memory of a suite" is "$(cat "$copy/build/log/limit")" 8192000
suite base 60 <<'SH'
#!/bin/sh
SH
expect "run.sh takes a suite in which nothing ran for a failure" counts base '0 1 0'
if command -v timeout >/dev/null; then
    suite base 1 <<'SH'
#!/bin/sh
printf 'ok - a\n'
exec sleep 30
SH
    expect "run.sh stops a suite that takes too long, a failure" out_has 'stopped: it ran longer'
fi
# Ended, or a zombie that its new parent has not looked at yet.
if [ -e /proc/self/environ ] && command -v setsid >/dev/null; then
    suite base 60 <<'SH'
#!/bin/sh
setsid sh -c 'echo $$ >build/log/left; exec sleep 300' >/dev/null 2>&1 &
while [ ! -s build/log/left ]; do :; done
printf 'ok - a\n'
SH
    left() { [ -n "$(ps -o stat= -p "$(cat "$copy/build/log/left")" | grep -v Z)" ]; }
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        left && sleep 1 # it has been sent the signal, and must still be given the time to die
    done
    expect "run.sh ends what a suite leaves behind" is "$(left && echo left)" ''
fi
suite base 60 <<'SH'
#!/bin/sh
echo "==1==ERROR: LeakSanitizer: detected memory leaks" >build/log/base.report.1
printf 'ok - a\n'
SH
expect "run.sh takes the report of a sanitizer for a failure, whatever the exit code" \
    counts base '1 1 0'
suite base 60 <<'SH'
#!/bin/sh
cat >build/log/base.report.1 <<'REPORT'
==1==ERROR: LeakSanitizer: detected memory leaks
Direct leak of 48 byte(s) in 1 object(s) allocated from:
    #0 0x7f in __interceptor_calloc asan_malloc_linux.cpp:77
    #1 0x7f  (/lib/x86_64-linux-gnu/libcriterion.so.3+0x1a332)
REPORT
cp build/log/base.report.1 build/log/base.report.2
echo '    #1 0x55 in make src/base/mem.c:7' >>build/log/base.report.2
printf 'ok - a\n'
SH
expect "run.sh passes over a leak that is Criterion's own, and no other" counts base '1 1 0'
sh "$root/tests/run.sh" nonsense >"$tmp/out" 2>&1
expect "run.sh refuses the name of a suite that there is not" out_has 'there is no suite "nonsense"'

# What valgrind would find in the tests of C must be found in the forks of one process too.
if command -v valgrind >/dev/null && pkg-config --exists criterion; then
    cat >"$tmp/planted.c" <<'C'
#include <criterion/criterion.h>
#include <stdlib.h>
static int *volatile p;
static void make(void) { p = malloc(4); }
Test(planted, leaks) { make(); p = NULL; }
Test(planted, reads_junk) { make(); cr_assert(*p != 7); free(p); }
Test(planted, writes_beyond) { make(); p[1] = 0; free(p); }
Test(planted, aborts) { abort(); }
Test(planted, says_no) { cr_assert_eq(1, 2, "one is no %s", "two"); }
Test(planted, takes_too_long, .timeout = 1) { for (;;) p = NULL; }
Test(planted, is_fine) { make(); *p = 1; cr_assert_eq(*p, 1); free(p); }
static void make_it(void) { make(); *p = 3; }
static void free_it(void) { free(p); }
TestSuite(fixture, .init = make_it, .fini = free_it);
Test(fixture, is_made) { cr_assert_eq(*p, 3); }
C
    # shellcheck disable=SC2046
    cc -g -O1 -o "$tmp/direct" "$root/tests/direct/main.c" "$tmp/planted.c" \
        $(pkg-config --cflags --libs criterion) >"$tmp/out" 2>&1
    valgrind --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=99 \
        --log-file="$tmp/valgrind.%p" "$tmp/direct" >"$tmp/out" 2>&1
    for name in leaks reads_junk writes_beyond aborts says_no takes_too_long; do
        expect "the forks of one process fail a test that ${name}" \
            out_has "^not ok - planted::$name "
    done
    expect "the forks of one process say what a test says" out_has 'one is no two'
    expect "the forks of one process pass the others, with their fixtures" \
        is "$(grep -c '^ok ' "$tmp/out")" 2
fi

# --- .ci/deps ----------------------------------------------------------------------------------

fakes=$tmp/fakes
mkdir "$fakes"
# A fake takes the place of a link to the real tool and never writes through it: this may run as
# root.
fake() {
    rm -f "$fakes/$1"
    cat >"$fakes/$1"
    chmod +x "$fakes/$1"
}
# What deps itself needs, and no compiler, no busted, no apt-get: everything is missing.
for tool in sh cat cut sed grep xargs echo uname env rm chmod tee; do
    for dir in /bin /usr/bin; do
        [ -e "$fakes/$tool" ] || [ ! -x $dir/$tool ] || ln -s $dir/$tool "$fakes/$tool"
    done
done
deps() { (PATH=$fakes CC=cc sh "$root/.ci/deps" "$@") >"$tmp/out" 2>&1 </dev/null; }

deps build
code=$?
expect "deps without apt-get fails where something is missing" is $code 1
expect "deps without apt-get names the packages of FreeBSD" out_has 'pkg install.*luajit'
expect "deps without apt-get names the packages of Fedora" out_has 'dnf install.*luajit-devel'
expect "deps without apt-get names the packages of macOS" out_has 'brew install.*luajit'
deps check
expect "deps tells what has to come from elsewhere" out_has 'luarocks --lua-version 5.1 install busted'

fake dpkg-query <<'SH'
#!/bin/sh
exit 1
SH
fake apt-cache <<'SH'
#!/bin/sh
[ "$2" = libluajit2-5.1-dev ] || echo "Package: $2"
SH
fake apt-get <<SH
#!/bin/sh
echo "\$DEBIAN_FRONTEND apt-get \$*" >>"$tmp/calls"
SH
fake id <<'SH'
#!/bin/sh
echo 0
SH
: >"$tmp/calls"
deps build
expect "deps says what is missing and what for" out_has 'missing: libluajit2-5.1-dev, to run Lua'
cp "$tmp/calls" "$tmp/out"
expect "deps takes the alternative where the first package is not to be had" \
    out_has 'install.* libluajit-5.1-dev'
expect "deps asks apt-get nothing interactively" out_has '^noninteractive apt-get install -y'
expect "deps installs only what the group needs" out_lacks 'busted'

fake id <<'SH'
#!/bin/sh
echo 1000
SH
: >"$tmp/calls"
deps build
code=$?
expect "deps without root and sudo fails" is $code 1
expect "deps without root and sudo says what to run as root" out_has 'apt-get install -y .*libluajit2'
expect "deps without root and sudo runs nothing" is "$(cat "$tmp/calls")" ''
fake sudo <<SH
#!/bin/sh
echo "sudo \$*" >>"$tmp/calls"
exec "\$@"
SH
deps build
cp "$tmp/calls" "$tmp/out"
expect "deps uses sudo where it is not root" out_has '^sudo .*apt-get install'

rm "$fakes/apt-get" "$fakes/dpkg-query"
for tool in cc pkg-config; do
    fake $tool <<'SH'
#!/bin/sh
exit 0
SH
done
: >"$tmp/calls"
deps build
code=$?
expect "deps with everything there says and does nothing" \
    is "$code$(cat "$tmp/out" "$tmp/calls")" 0

# --- make --------------------------------------------------------------------------------------

small=$tmp/small
mkdir -p "$small/src/base" "$small/lib/links" "$small/docs"
cp "$root/Makefile" "$small/"
cp "$root/lib/embed.c" "$small/lib/"
mkdir "$small/src/lua"
cp "$root/src/lua/lualib.h" "$small/src/lua/"
cp "$root/docs/links.1" "$small/docs/"
echo '#define ANSWER 42' >"$small/src/base/answer.h"
cat >"$small/src/main.c" <<'C'
#include "base/answer.h"
#include "lua/lualib.h"

#include <lauxlib.h>
#include <stdio.h>

int main(void)
{
    lua_State *L = luaL_newstate();
    for (size_t i = 0; i < lualib_count; i++) {
        const lualib_file *file = &lualib_files[i];
        if (luaL_loadbuffer(L, file->data, file->size, file->chunk) || lua_pcall(L, 0, 1, 0))
            return 1;
        printf("%s %s\n", file->name, lua_tostring(L, -1));
    }
    printf("answer %d\n", ANSWER);
    lua_close(L);
    return 0;
}
C
mkdir "$small/lib/links/http"
printf 'return "\\"."' >"$small/lib/links/http.lua"
printf 'return 2' >"$small/lib/links/http/server.lua"
printf 'return 3' >"$small/lib/links/http-x.lua"

build() { (cd "$small" && make "$@" && ./links) >"$tmp/out" 2>&1 </dev/null; }

build
expect "make embeds the library, compiled, sorted by name" is \
    "$(sed -n '/^links[.]/p' "$tmp/out")" 'links.http ".
links.http-x 3
links.http.server 2'
build
expect "make has nothing to do the second time" out_lacks ' CC '
echo '#define ANSWER 43' >"$small/src/base/answer.h"
build
expect "make rebuilds what includes a header that changed" out_has 'answer 43'
rm "$small/lib/links/http-x.lua"
build
expect "make drops a Lua file that is gone" out_lacks 'http-x'
printf 'return 4' >"$small/lib/links/later.lua"
build
expect "make takes up a Lua file that is new" out_has '^links.later 4'
printf 'return 55' >"$small/lib/links/later.lua"
build
expect "make takes up a Lua file that changed" out_has '^links.later 55'
printf 'return (' >"$small/lib/links/later.lua"
build
expect "make names the line of a Lua file that does not compile" out_has 'links/later.lua:1: unexpected'
printf 'return 55' >"$small/lib/links/later.lua"
build luajit_archive=
expect "make embeds the source where LuaJIT is a shared library" \
    grep -q 'return 55' "$small/build/default/lualib.chunks"
expect "which is loaded as the bytecode is" out_has '^links.later 55'
build CFLAGS=-O1
expect "make rebuilds everything with other flags" out_has 'CC .*src/main.o'
build
build SANITIZE=address,undefined
expect "a variant is built in a tree of its own" exists "$small/build/address-undefined/links"
build
expect "another variant leaves the first one as it was" out_lacks ' CC '
build POLL=select
expect "make refuses a poll backend that there is not" out_has 'POLL must be epoll or kqueue'
(cd "$small" && make install DESTDIR="$tmp/dest" PREFIX=/usr) >"$tmp/out" 2>&1
expect "make install puts the program below PREFIX and DESTDIR" exists "$tmp/dest/usr/bin/links"
expect "make install puts the manual there" exists "$tmp/dest/usr/share/man/man1/links.1"
(cd "$small" && make uninstall DESTDIR="$tmp/dest" PREFIX=/usr) >"$tmp/out" 2>&1
expect "make uninstall takes away what install put there" \
    is "$(find "$tmp/dest" -type f)" ''
(cd "$small" && make clean) >"$tmp/out" 2>&1
expect "make clean leaves nothing that was built" missing "$small/build"
(cd "$small" && make help) >"$tmp/out" 2>&1
expect "make help lists the targets" out_has '^  check '

exit $failed
