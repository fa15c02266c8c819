#!/bin/sh
# Checks what can be checked without running the program: the rules of docs/architecture.md and of
# the house, the layout, and what the analysers say. Every check says file, line and what is wrong,
# and then, in TAP, whether that was nothing.
#
#   sh tests/lint.sh [folder]     the project, or a copy of it (tests/house_test.sh plants errors)
#   CHECKS="layers luacheck"      only these
#
# tests/house_test.sh plants a violation for each of these checks and sees it found.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
cd "${1:-$root}" || exit 1

CHECKS=${CHECKS:-layers lua_headers one_resume systems arrays length words docstrings pages shell
    clang_format cppcheck luacheck}
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

c_files() { find "$@" \( -name '*.c' -o -name '*.h' \) 2>/dev/null | LC_ALL=C sort; }
lua_files() { find "$@" -name '*.lua' 2>/dev/null | LC_ALL=C sort; }
has() { command -v "$1" >/dev/null 2>&1; }

# --- the layers --------------------------------------------------------------------------------

# base <- ev <- lua <- modules <- main.c: a room includes only rooms to its left.
check_layers() {
    c_files src | xargs awk '
        BEGIN { rank["base"] = 1; rank["ev"] = 2; rank["lua"] = 3; rank["modules"] = 4 }
        FNR == 1 {
            split(FILENAME, path, "/")
            own = FILENAME == "src/main.c" ? 5 : rank[path[2]]
            # A header beside main.c belongs to everybody (version.h).
            if (!own && FILENAME !~ /^src\/[a-z_]+[.]h$/)
                print FILENAME ":1: is in no room (base, ev, lua, modules)"
        }
        /^[ \t]*#[ \t]*include[ \t]*"/ {
            file = $0
            sub(/^[^"]*"/, "", file)
            sub(/".*/, "", file)
            split(file, part, "/")
            if (file ~ /\.\./)
                print FILENAME ":" FNR ": includes \"" file "\": name it from src"
            else if (rank[part[1]] > own)
                print FILENAME ":" FNR ": includes \"" file "\", which is to its right"
        }'
}

check_lua_headers() {
    c_files src | grep -v '^src/lua/\|^src/main\.c$' |
        xargs grep -n '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]\(lua\|lauxlib\|lualib\|luajit\|lua\.hpp\)\(\.h\)\{0,1\}[>"]' \
            /dev/null | sed 's/$/   only src\/lua and main.c see Lua/'
}

# Comments away, lines kept.
without_comments() {
    awk '{
        line = $0
        out = ""
        while (line != "") {
            if (inside) {
                end = index(line, "*/")
                if (!end) { line = ""; break }
                line = substr(line, end + 2)
                inside = 0
            } else {
                start = index(line, "/*")
                slashes = index(line, "//")
                if (slashes && (!start || slashes < start)) { out = out substr(line, 1, slashes - 1); line = ""; break }
                if (!start) { out = out line; line = ""; break }
                out = out substr(line, 1, start - 1)
                line = substr(line, start + 2)
                inside = 1
            }
        }
        print out
    }' "$1"
}

# The scheduler alone resumes coroutines.
check_one_resume() {
    [ -d src/lua ] || return
    places=$(for file in $(c_files src); do
        without_comments "$file" | grep -n 'lua_resume *(' | sed "s|^|$file:|"
    done)
    count=$(printf '%s' "$places" | grep -c .)
    [ "$count" -eq 1 ] || {
        [ "$count" -gt 0 ] || echo "src: lua_resume( is nowhere; sched_run calls it"
        [ "$count" -eq 0 ] || printf '%s\n' "$places" | sed 's/$/   lua_resume( stands exactly once in src/'
    }
}

# What differs between systems is a file of its own (x_linux.c, x_bsd.c), not an #ifdef in a
# function. clang-format has put the braces of functions into the first column.
check_systems() {
    c_files src | grep -v '_\(linux\|bsd\|epoll\|kqueue\)\.c$' | xargs awk '
        FNR == 1 { inside = 0 }
        /^{/ { inside = 1 }
        /^}/ { inside = 0 }
        /^[ \t]*#[ \t]*(if|ifdef|ifndef|elif)/ {
            if (inside && /__linux|__FreeBSD|__NetBSD|__OpenBSD|__DragonFly|__APPLE__|BSD|_WIN32|__unix/)
                print FILENAME ":" FNR ": asks for the system inside a function: make it x_linux.c and x_bsd.c"
        }' /dev/null
}

# LuaJIT may give an array of a variable size no room: docs/architecture.md, "Errors and memory".
check_arrays() {
    lua_files lib tests docs examples bench | xargs awk '
        FNR == 1 { told = 0 }
        /\[\?\]/ && !/^[ \t]*--/ && !/-- \[\?\]: ./ && !told {
            print FILENAME ":" FNR ": has [?] and no \"-- [?]: why\" (docs/architecture.md): fix the size"
        }
        { told = /^[ \t]*-- \[\?\]: ./ }' /dev/null
}

# --- the house ---------------------------------------------------------------------------------

check_length() {
    for file in $(c_files src lib tests) $(lua_files lib tests); do
        lines=$(wc -l <"$file")
        [ "$lines" -le 900 ] || echo "$file:900: goes on to line $lines; 900 are the limit"
    done
}

# A TODO without an issue is forgotten.
check_words() {
    find src lib tests examples docs bench Makefile README.md -type f \
        ! -path '*/corpus/*' ! -path 'tests/lint.sh' ! -path 'tests/house_test.sh' 2>/dev/null |
        xargs grep -InE '\b(TODO|FIXME|XXX)\b' | grep -v '#[0-9]' | sed 's/$/   without an issue/'
}

# A module whose file opens with --- is public, and so is each of its functions, but for those
# with an underscore in the name: there is a docstring above it. A plain comment that begins with
# "private" exempts a function that other files of the library need.
check_docstrings() {
    lua_files lib/links | xargs awk '
        FNR == 1 { public = /^---/; doc = 0 }
        public && /^function [A-Za-z]+([.][A-Za-z]+)*[.:][A-Za-z]+ *\(/ && !doc {
            name = $0
            sub(/^function /, "", name)
            sub(/ *\(.*/, "", name)
            print FILENAME ":" FNR ": " name " is public and has no docstring"
        }
        /^---/ { doc = 1; next }
        /^--/ { if (tolower($0) ~ /^-- *private/) doc = 1; next }
        { doc = 0 }' /dev/null
}

check_pages() {
    program=$root/links
    [ -x "$program" ] || { echo "links:1: is not built; make it first" && return; }
    [ -f docs/gen.lua ] || { echo "docs/gen.lua:1: is missing" && return; }
    "$program" docs/gen.lua --check 2>&1
}

check_shell() {
    for file in tests/*.sh .ci/run .ci/deps lib/*.sh examples/*.sh bench/*.sh docs/deploy/*.rc; do
        [ ! -f "$file" ] || sh -n "$file" 2>&1
    done | sed 's/: \([0-9]*\): /:\1: /'
}

# --- the tools ---------------------------------------------------------------------------------

check_clang_format() {
    has clang-format || { echo 'clang-format is not installed: make deps' && return; }
    for file in $(c_files src lib tests); do
        clang-format --style=file "$file" | diff "$file" - | sed -n "s|^\\([0-9]*\\)[^0-9<>-].*|$file:\\1: is not as clang-format lays it out: make format|p"
    done
}

check_cppcheck() {
    has cppcheck || { echo 'cppcheck is not installed: make deps' && return; }
    # Not its own idea of the system: it checks every branch of every #if, without the headers.
    cppcheck -q -j 2 --std=c11 --enable=warning,performance,portability --inline-suppr \
        --suppressions-list=tests/cppcheck.supp --template='{file}:{line}: {message} ({id})' \
        -Isrc src 2>&1
}

check_luacheck() {
    has luacheck || { echo 'luacheck is not installed: make deps' && return; }
    folders=
    for folder in lib tests docs examples bench; do
        [ ! -d "$folder" ] || folders="$folders $folder"
    done
    # shellcheck disable=SC2086
    luacheck -q --codes --formatter plain $folders 2>&1
}

# --- all of them -------------------------------------------------------------------------------

failed=0
for check in $CHECKS; do
    "check_$check" >"$out"
    if [ -s "$out" ]; then
        failed=1
        cat "$out"
        echo "not ok - $check"
    else
        echo "ok - $check"
    fi
done
exit $failed
