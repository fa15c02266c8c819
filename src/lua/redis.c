/*
 * A reader keeps the bytes of a reply until it is whole (base/resp.h), and only then makes values
 * of it: so nothing that a peer has merely announced takes memory. It is walked by recursion,
 * which the scan has bounded.
 */
#include "lua/redis.h"

#include <lauxlib.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/decimal.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/resp.h"
#include "lua/core.h"

/* What redisRead answers first; a failure is a negative code. */
enum { READ_MORE, READ_REPLY, READ_ERROR, READ_PUSH };

/* How integers beyond 2^53 are given to Lua. */
enum { INT64_CDATA, INT64_NUMBER, INT64_STRING };

enum {
    ROOM_FIRST = 4096,
    ROOM_KEPT = 65536, /* bytes of an empty buffer that are kept */
    ON_STACK = 1024,   /* bytes of a command that need no memory of their own */
};

#define EXACT_MAX 9007199254740992 /* 2^53 */

typedef struct reader {
    resp_scan scan;
    char *data;
    size_t start, end, room; /* what is between start and end has not been given to Lua */
    int int64;
    bool flat; /* maps become lists, which keep their order */
    const void *mark;
} reader;

static const char reader_mark = 'r';

/* The functions of Lua that make an error and a 64-bit integer of a text: in the reader's
 * environment. */
enum { MAKE_ERROR = 1, MAKE_INT64 };

static reader *check_reader(lua_State *L)
{
    reader *r = lua_touserdata(L, 1);
    if (!r || lua_objlen(L, 1) != sizeof(*r) || r->mark != &reader_mark)
        luaL_typerror(L, 1, "reader");
    return r;
}

/* --- values ----------------------------------------------------------------------------------- */

static void push_made(lua_State *L, int maker, const char *text, size_t len)
{
    lua_getfenv(L, 1);
    lua_rawgeti(L, -1, maker);
    lua_remove(L, -2);
    lua_pushlstring(L, text, len);
    lua_call(L, 1, 1);
}

static void push_integer(lua_State *L, const reader *r, resp_line line)
{
    int64_t n = resp_integer(line);
    if ((n <= EXACT_MAX && n >= -EXACT_MAX) || r->int64 == INT64_NUMBER)
        lua_pushnumber(L, (lua_Number)n);
    else if (r->int64 == INT64_STRING)
        lua_pushlstring(L, line.text, line.len);
    else
        push_made(L, MAKE_INT64, line.text, line.len);
}

static void push_double(lua_State *L, resp_line line)
{
    const char *word = line.text + (line.len > 3 && (*line.text == '-' || *line.text == '+'));
    if (*word == 'i') {
        lua_pushnumber(L, *line.text == '-' ? -HUGE_VAL : HUGE_VAL);
    } else if (*word == 'n') {
        lua_pushnumber(L, NAN);
    } else {
        lua_pushlstring(L, line.text, line.len);
        lua_pushnumber(L, lua_tonumber(L, -1));
        lua_remove(L, -2);
    }
}

static void push_null(lua_State *L) { lua_pushlightuserdata(L, NULL); }

/* The payload of a string whose length is in `line`. */
static resp_line take_payload(resp_line line, const char **at)
{
    resp_line payload = {*at, (size_t)resp_integer(line)};
    *at += payload.len + 2;
    return payload;
}

static const char *push_value(lua_State *L, const reader *r, const char *at);

static const char *push_list(lua_State *L, const reader *r, const char *at, int n)
{
    luaL_checkstack(L, 8, "redis");
    lua_createtable(L, n, 0);
    for (int i = 1; i <= n; i++) {
        at = push_value(L, r, at);
        lua_rawseti(L, -2, i);
    }
    return at;
}

static const char *push_map(lua_State *L, const reader *r, const char *at, int n)
{
    luaL_checkstack(L, 8, "redis");
    lua_createtable(L, 0, n);
    for (int i = 0; i < n; i++) {
        at = push_value(L, r, at);
        if (lua_type(L, -1) == LUA_TNUMBER && isnan(lua_tonumber(L, -1))) {
            lua_pop(L, 1);
            lua_pushliteral(L, "nan"); /* what no table can have as a key */
        }
        at = push_value(L, r, at);
        lua_rawset(L, -3);
    }
    return at;
}

/* What an attribute says is for who asked for it, which nobody can yet: it is passed by. */
static const char *skip_attribute(lua_State *L, const reader *r, const char *at, int n)
{
    at = push_map(L, r, at, n);
    lua_pop(L, 1);
    return at;
}

/* Pushes the value at `at`, and returns what is behind it. */
static const char *push_value(lua_State *L, const reader *r, const char *at)
{
    for (;;) {
        char type = *at++;
        resp_line line = resp_take_line(&at);
        switch (type) {
        case '$':
        case '=':
            if (*line.text == '-') {
                push_null(L);
                return at;
            }
            line = take_payload(line, &at);
            if (type == '=')
                lua_pushlstring(L, line.text + 4, line.len - 4);
            else
                lua_pushlstring(L, line.text, line.len);
            return at;
        case '+':
        case '(':
            lua_pushlstring(L, line.text, line.len);
            return at;
        case ':':
            push_integer(L, r, line);
            return at;
        case '!':
            line = take_payload(line, &at);
            /* fall through */
        case '-':
            push_made(L, MAKE_ERROR, line.text, line.len);
            return at;
        case '_':
            push_null(L);
            return at;
        case ',':
            push_double(L, line);
            return at;
        case '#':
            lua_pushboolean(L, *line.text == 't');
            return at;
        case '%':
            if (r->flat)
                return push_list(L, r, at, 2 * (int)resp_integer(line));
            return push_map(L, r, at, (int)resp_integer(line));
        case '|':
            at = skip_attribute(L, r, at, (int)resp_integer(line));
            break;
        default: /* a list, a set, a push */
            if (*line.text == '-') {
                push_null(L);
                return at;
            }
            return push_list(L, r, at, (int)resp_integer(line));
        }
    }
}

/* --- the buffer ------------------------------------------------------------------------------- */

static void put(reader *r, const char *data, size_t len)
{
    if (r->room - r->end < len && r->start > 0) {
        memmove(r->data, r->data + r->start, r->end - r->start);
        r->end -= r->start;
        r->start = 0;
    }
    if (r->room - r->end < len) {
        size_t room = r->room ? r->room : ROOM_FIRST;
        while (room - r->end < len)
            room *= 2;
        r->data = mem_realloc(r->data, room);
        r->room = room;
    }
    memcpy(r->data + r->end, data, len);
    r->end += len;
}

static void taken(reader *r, size_t len)
{
    r->start += len;
    if (r->start < r->end)
        return;
    r->start = r->end = 0;
    if (r->room > ROOM_KEPT) {
        mem_free(r->data);
        r->data = NULL;
        r->room = 0;
    }
}

/* redisRead(reader[, bytes]) -> kind, value: adds the bytes to what is there, and takes the next
 * reply. 0: more is needed; 1: a reply, of which null at its top is nil; 2: an error; 3: a push; a
 * negative code and what is wrong: nothing can be read any more. */
static int redis_read(lua_State *L)
{
    reader *r = check_reader(L);
    size_t len;
    lua_settop(L, 2);
    const char *bytes = lua_tolstring(L, 2, &len);
    if (bytes)
        put(r, bytes, len);
    if (r->start == r->end) {
        lua_pushinteger(L, READ_MORE);
        return 1;
    }
    const char *at = r->data + r->start;
    ptrdiff_t n = resp_scan_run(&r->scan, at, r->end - r->start);
    if (n <= 0) {
        lua_pushinteger(L, n < 0 ? (int)n : READ_MORE);
        lua_pushstring(L, n < 0 ? r->scan.fault : NULL);
        return 2;
    }
    while (*at == '|') {
        at++;
        resp_line line = resp_take_line(&at);
        at = skip_attribute(L, r, at, (int)resp_integer(line));
    }
    int kind = *at == '>' ? READ_PUSH : *at == '-' || *at == '!' ? READ_ERROR : READ_REPLY;
    push_value(L, r, at);
    taken(r, (size_t)n);
    if (lua_islightuserdata(L, -1)) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    lua_pushinteger(L, kind);
    lua_insert(L, -2);
    return 2;
}

static int reader_gc(lua_State *L)
{
    reader *r = check_reader(L);
    mem_free(r->data);
    r->data = NULL;
    r->room = r->start = r->end = 0;
    return 0;
}

/* redisReader(size, elements, depth, int64, makeError, makeInt64, flat) -> reader: the limits of a
 * reply, 0, 1 or 2 for how integers beyond 2^53 come (64-bit, as a number, as a string), what makes
 * an error and an integer of their texts, and whether maps are to be lists. */
static int redis_reader(lua_State *L)
{
    resp_limits limits = {
        .size = (size_t)luaL_checknumber(L, 1),
        .elements = (uint32_t)luaL_checknumber(L, 2),
        .depth = (int)luaL_checkinteger(L, 3),
    };
    int int64 = (int)luaL_checkinteger(L, 4);
    luaL_checktype(L, 5, LUA_TFUNCTION);
    luaL_checktype(L, 6, LUA_TFUNCTION);
    bool flat = lua_toboolean(L, 7);
    reader *r = lua_newuserdata(L, sizeof(*r));
    memset(r, 0, sizeof(*r));
    resp_scan_init(&r->scan, &limits);
    r->int64 = int64;
    r->flat = flat;
    r->mark = &reader_mark;
    if (luaL_newmetatable(L, "links.redis.reader")) {
        lua_pushcfunction(L, reader_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 5);
    lua_rawseti(L, -2, MAKE_ERROR);
    lua_pushvalue(L, 6);
    lua_rawseti(L, -2, MAKE_INT64);
    lua_setfenv(L, -2);
    return 1;
}

/* --- commands --------------------------------------------------------------------------------- */

typedef struct text {
    char *data; /* `plain`, or memory of its own */
    size_t len, room;
    char plain[ON_STACK];
} text;

static char *reserve(text *t, size_t len)
{
    if (t->room - t->len < len) {
        size_t room = (t->len + len) * 2;
        char *data = t->data == t->plain ? NULL : t->data;
        t->data = mem_realloc(data, room);
        if (!data)
            memcpy(t->data, t->plain, t->len);
        t->room = room;
    }
    return t->data + t->len;
}

/* A length and what it is of: "$3", "*2". */
static void put_length(text *t, char type, size_t n)
{
    char *out = reserve(t, DECIMAL_WHOLE_MAX + 3);
    *out = type;
    size_t len = decimal_write_whole(out + 1, n);
    memcpy(out + 1 + len, "\r\n", 2);
    t->len += len + 3;
}

static void put_bytes(text *t, const char *data, size_t len)
{
    put_length(t, '$', len);
    char *out = reserve(t, len + 2);
    memcpy(out, data, len);
    memcpy(out + len, "\r\n", 2);
    t->len += len + 2;
}

static void put_number(text *t, double n)
{
    char digits[DECIMAL_MAX];
    size_t len = decimal_write(digits, n);
    if (len == 0)
        len = (size_t)snprintf(digits, sizeof(digits), "%.17g", n);
    put_bytes(t, digits, len);
}

/* redisCommand(...) -> bytes: a command of strings and numbers; nil and the place of the first
 * argument that is neither. */
static int redis_command(lua_State *L)
{
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        int type = lua_type(L, i);
        if (type != LUA_TSTRING && type != LUA_TNUMBER) {
            lua_pushnil(L);
            lua_pushinteger(L, i);
            return 2;
        }
    }
    text t = {.room = ON_STACK};
    t.data = t.plain;
    put_length(&t, '*', (size_t)n);
    for (int i = 1; i <= n; i++) {
        size_t len;
        if (lua_type(L, i) == LUA_TNUMBER) {
            put_number(&t, lua_tonumber(L, i));
        } else {
            const char *data = lua_tolstring(L, i, &len);
            put_bytes(&t, data, len);
        }
    }
    lua_pushlstring(L, t.data, t.len);
    if (t.data != t.plain)
        mem_free(t.data);
    return 1;
}

void redis_add(lua_State *L)
{
    lua_pushcfunction(L, redis_reader);
    lua_setfield(L, -2, "redisReader");
    lua_pushcfunction(L, redis_read);
    lua_setfield(L, -2, "redisRead");
    lua_pushcfunction(L, redis_command);
    lua_setfield(L, -2, "redisCommand");
}
