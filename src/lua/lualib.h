/*
 * The Lua library of links, embedded in the program: every file below lib/links, compiled, since
 * compiling was most of what a start took. The build writes the table (lib/embed.c), so the
 * installed program is one file.
 */
#ifndef LINKS_LUA_LUALIB_H
#define LINKS_LUA_LUALIB_H

#include <stddef.h>

typedef struct lualib_file {
    const char *name;  /* as for require: "links.http.server" for lib/links/http/server.lua */
    const char *chunk; /* as for luaL_loadbuffer: "=links/http/server.lua" */
    const char *data;  /* LuaJIT's bytecode of it, or the source */
    size_t size;
} lualib_file;

/* All files, sorted by name (strcmp), so that a lookup may bisect. */
extern const lualib_file lualib_files[];
extern const size_t lualib_count;

#endif
