/*
 * Fuzzes what Redis sends: the input is replies, read whole and in pieces whose sizes its first
 * byte chooses. Both must give the same, value by value, and the end that the scan says must be
 * one.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/resp.h"
#include "lua/redis.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE_MAX_ = 4096, ELEMENTS = 256, DEPTH = 8, REPLIES = 64 };

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* What is read of some bytes: a kind for each reply, and the values in a table of Lua. */
typedef struct outcome {
    int kinds[REPLIES];
    int n;
} outcome;

static lua_State *L;

static void stop(void) { lua_close(L); } /* frees what readers hold: leaks are looked for */

static void start(void)
{
    if (L)
        return;
    L = luaL_newstate();
    atexit(stop);
    luaL_openlibs(L);
    lua_newtable(L);
    redis_add(L);
    lua_setglobal(L, "core");
    must(luaL_dostring(L,
                       "function made(text) return 'made ' .. text end\n"
                       "function open() return core.redisReader(4096, 256, 8, 0, made, made) end\n"
                       "local function show(v)\n"
                       "    if type(v) ~= 'table' then return tostring(v) end\n"
                       "    local parts = {}\n"
                       "    for k, x in pairs(v) do\n"
                       "        parts[#parts + 1] = show(k) .. '=' .. show(x)\n"
                       "    end\n"
                       "    table.sort(parts)\n"
                       "    return '{' .. table.concat(parts, ',') .. '}'\n"
                       "end\n"
                       "function read(reader, bytes)\n"
                       "    local kind, value = core.redisRead(reader, bytes)\n"
                       "    return kind, show(value)\n"
                       "end\n") == 0);
}

/* Feeds `step` bytes at a time; leaves what the values look like on the stack. */
static void run(outcome *o, const char *data, size_t len, size_t step)
{
    lua_getglobal(L, "open");
    must(lua_pcall(L, 0, 1, 0) == 0);
    int reader = lua_gettop(L);
    lua_pushliteral(L, "");
    o->n = 0;
    size_t at = 0;
    int kind = 0;
    while (o->n < REPLIES && kind >= 0 && (kind > 0 || at < len)) {
        lua_getglobal(L, "read");
        lua_pushvalue(L, reader);
        if (kind > 0) {
            lua_pushnil(L);
        } else {
            size_t n = len - at < step ? len - at : step;
            lua_pushlstring(L, data + at, n);
            at += n;
        }
        must(lua_pcall(L, 2, 2, 0) == 0);
        kind = (int)lua_tointeger(L, -2);
        must(kind >= 0 || kind == LINKS_PROTOCOL || kind == LINKS_TOO_LARGE);
        must(lua_tostring(L, -1) != NULL);
        lua_remove(L, -2);
        if (kind != 0) {
            o->kinds[o->n++] = kind;
            lua_concat(L, 2);
        } else {
            lua_pop(L, 1);
        }
    }
    lua_remove(L, reader);
}

static void scan(const char *data, size_t len)
{
    static const resp_limits limits = {SIZE_MAX_, ELEMENTS, DEPTH};
    static resp_scan s;
    char *copy = malloc(len ? len : 1); /* of exactly its size, for ASan */
    memcpy(copy, data, len);
    resp_scan_init(&s, &limits);
    for (size_t n = 0; n <= len; n++) {
        ptrdiff_t rc = resp_scan_run(&s, copy, n);
        must(rc <= (ptrdiff_t)n);
        if (rc < 0)
            must(s.fault != NULL);
        if (rc != 0)
            break;
        must(s.depth <= DEPTH && s.elements <= ELEMENTS && s.at <= SIZE_MAX_ + 2);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 2 * SIZE_MAX_)
        return 0;
    start();
    const char *text = (const char *)data + 1;
    outcome whole, pieces;
    scan(text, size - 1);
    lua_settop(L, 0);
    run(&whole, text, size - 1, size);
    run(&pieces, text, size - 1, (size_t)(data[0] % 16) + 1);
    must(whole.n == pieces.n && memcmp(whole.kinds, pieces.kinds, sizeof(int) * whole.n) == 0);
    must(lua_equal(L, -1, -2));
    return 0;
}
