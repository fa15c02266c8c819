#!/bin/sh
# Writes, on standard output, the C file that carries the Lua library inside the program (see
# src/lua/lualib.h). Arguments: the .lua files, as paths that begin with lib/. The bytes are
# taken up by the assembler (.incbin), from the folder the build runs in: nothing to escape, and
# no Lua needed to build.
set -eu
LC_ALL=C
export LC_ALL

cat <<'C'
/* Made by lib/embed.sh. */
#include "lua/lualib.h"

#ifdef __APPLE__
#define SECTION ".section __TEXT,__const\n"
#define SYMBOL(name) "_" name
#else
#define SECTION ".section .rodata,\"a\"\n"
#define SYMBOL(name) name
#endif

#define EMBED(name, path)                                                                          \
    __asm__(SECTION SYMBOL(name) ":\n"                                                             \
            ".incbin \"" path "\"\n"                                                               \
            ".byte 0\n"                                                                            \
            ".text\n")

C

# lib/links/http/server.lua is links.http.server; sorted by that name, not by the path.
names=$(for path in "$@"; do
    name=${path#lib/}
    printf '%s %s\n' "$(printf '%s' "${name%.lua}" | tr / .)" "$path"
done | sort)

i=0
printf '%s\n' "$names" | while read -r name path; do
    [ -n "$name" ] || continue
    printf 'EMBED("links_lualib_%d", "%s");\n' $i "$path"
    # The label is declared here, under the name that it has in the assembler.
    printf 'extern const char links_lualib_%d[];\n\n' $i
    i=$((i + 1))
done

echo 'const lualib_file lualib_files[] = {'
printf '%s\n' "$names" | {
    i=0
    while read -r name path; do
        [ -n "$name" ] || continue
        size=$(wc -c <"$path")
        printf '    {"%s", links_lualib_%d, %d},\n' "$name" $i "$size"
        i=$((i + 1))
    done
    echo '    {0, 0, 0}, /* not counted: C has no empty arrays */'
    echo '};'
    echo
    printf 'const size_t lualib_count = %d;\n' $i
}
