/*
 * A call writes behind what is in the buffer and takes that away at its end, so that one may run
 * within another: what Lua is called for may run a hook or a finalizer, and that encode something.
 * It may do so before the text of links_json_write has been used, too, which therefore has a buffer
 * of its own: only the workers of HTTP servers write there, and they use the text at once.
 *
 * Values and tables lie on Lua's stack; recursion is bounded by maxDepth. Where a value cannot be
 * encoded, the fault goes up through the levels, and each puts its step before the path.
 */
#include "lua/json_encode.h"

#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/decimal.h"
#include "base/jsontext.h"
#include "base/mem.h"
#include "lua/core.h"

enum {
    EMPTY_IS_ARRAY = 1, /* flags, as lib/links/json.lua has them */
    NAN_IS_ERROR = 2,
    INT64_IS_STRING = 4,
    SORT_KEYS = 8,
};

enum {
    ROOM_FIRST = 4096,
    PLAIN_DEPTH = 128,     /* of links_json_write: as by default */
    ROOM_KEPT = 1 << 20,   /* bytes of the buffer that are kept between two calls */
    TEXT_MAX = 0x7fff0000, /* bytes of a text: no string of LuaJIT is longer */
    PIECE = 1024,          /* bytes of a string for which room is made at once */
    PATH_SHOWN = 200,      /* bytes of the path in a message */
    SLOTS = 8,             /* of Lua's stack, for each level */
};

enum { UPVALUE_BUFFER = 1, UPVALUE_ODD = 5, UPVALUE_SORTED };

typedef struct links_json_text buffer;

struct links_json_text {
    char *data; /* what links_json_write has written lies there until the next call */
    size_t len, room;
    const void *array_meta, *object_meta, *raw_meta; /* the tables' addresses */
    lua_State *plain; /* of links_json_write: its stack; the table with the value lies on it */
};

/* One call. */
typedef struct writer {
    lua_State *L;
    char *at, *end; /* where it writes in the buffer, and where that ends: see leave() */
    buffer *out;
    size_t begin; /* of its text in the buffer */
    bool plain;   /* Lua cannot be called */
    int flags, max_depth;
    const char *indent; /* NULL: no line breaks */
    size_t indent_len;
    bool too_large;
    size_t path_len;
    char path[PATH_SHOWN + 1]; /* one more, for the dot before the first name */
    char message[256];
} writer;

static bool put_value(writer *w, int depth);

/* --- the buffer ------------------------------------------------------------------------------- */

/* While a call writes, the buffer's length is in its `at`. It puts it down where another may
 * run. */
static void leave(writer *w) { w->out->len = (size_t)(w->at - w->out->data); }

static void come_back(writer *w)
{
    w->at = w->out->data + w->out->len;
    w->end = w->out->data + w->out->room;
}

/* A text that is too large is dropped; put_value says so, soon. */
static void __attribute__((noinline)) grow(writer *w, size_t n)
{
    buffer *out = w->out;
    leave(w);
    if (out->len - w->begin + n > TEXT_MAX) {
        w->too_large = true;
        out->len = w->begin;
    }
    size_t room = out->room ? out->room : ROOM_FIRST;
    while (room - out->len < n)
        room *= 2;
    if (room > out->room)
        out->data = mem_realloc(out->data, room);
    out->room = room;
    come_back(w);
}

/* Where `n` bytes can be written. */
static inline char *room_for(writer *w, size_t n)
{
    if ((size_t)(w->end - w->at) < n)
        grow(w, n);
    return w->at;
}

static inline void put_byte(writer *w, char c)
{
    *room_for(w, 1) = c;
    w->at++;
}

static void put(writer *w, const char *s, size_t len)
{
    memcpy(room_for(w, len), s, len);
    w->at += len;
}

static void release(buffer *out)
{
    mem_free(out->data);
    out->data = NULL;
    out->room = out->len = 0;
}

/* --- faults ----------------------------------------------------------------------------------- */

static bool __attribute__((format(printf, 2, 3))) fail(writer *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->message, sizeof(w->message), format, args);
    va_end(args);
    return false;
}

static bool fail_at(writer *w, const char *step, size_t len)
{
    if (len > sizeof(w->path))
        len = sizeof(w->path);
    if (w->path_len > sizeof(w->path) - len)
        w->path_len = sizeof(w->path) - len;
    memmove(w->path + len, w->path, w->path_len);
    memcpy(w->path, step, len);
    w->path_len += len;
    return false;
}

static bool fail_at_name(writer *w, int key)
{
    size_t len;
    /* Nobody is told; and a number would become a string, and start a collection. */
    if (w->plain)
        return false;
    lua_settop(w->L, key);
    const char *name = lua_tolstring(w->L, key, &len);
    fail_at(w, name, len);
    return fail_at(w, ".", 1);
}

static bool fail_at_index(writer *w, int i)
{
    char step[16];
    int len = snprintf(step, sizeof(step), "[%d]", i);
    return fail_at(w, step, (size_t)len);
}

/* --- what is not a table ---------------------------------------------------------------------- */

static void put_long_string(writer *w, const char *s, size_t len)
{
    put_byte(w, '"');
    while (len > 0) {
        size_t piece = len < PIECE ? len : PIECE;
        w->at = jsontext_escape(room_for(w, piece * JSONTEXT_ESCAPED_MAX), s, piece);
        s += piece;
        len -= piece;
    }
    put_byte(w, '"');
}

static void put_string(writer *w, const char *s, size_t len)
{
    if (len > PIECE) {
        put_long_string(w, s, len);
        return;
    }
    char *at = room_for(w, len * JSONTEXT_ESCAPED_MAX + 2);
    *at++ = '"';
    at = jsontext_escape(at, s, len);
    *at++ = '"';
    w->at = at;
}

/* The value at `idx`, by Lua: odd(value, int64 as string) -> text | nil, message */
static bool put_odd(writer *w, int idx)
{
    size_t len;
    if (w->plain)
        return fail(w, "not without Lua");
    lua_pushvalue(w->L, lua_upvalueindex(UPVALUE_ODD));
    lua_pushvalue(w->L, idx < 0 ? idx - 1 : idx);
    lua_pushboolean(w->L, w->flags & INT64_IS_STRING);
    leave(w);
    lua_call(w->L, 2, 2);
    come_back(w);
    const char *text = lua_tolstring(w->L, -2, &len);
    if (!text)
        return fail(w, "%s", lua_tostring(w->L, -1));
    put(w, text, len);
    lua_pop(w->L, 2);
    return true;
}

/* Writes the number at `idx`. */
static bool put_digits(writer *w, int idx)
{
    size_t n = decimal_write(room_for(w, DECIMAL_MAX), lua_tonumber(w->L, idx));
    w->at += n;
    return n > 0 || put_odd(w, idx);
}

static bool put_number(writer *w)
{
    lua_Number n = lua_tonumber(w->L, -1);
    if (isfinite(n))
        return put_digits(w, -1);
    if (w->flags & NAN_IS_ERROR)
        return fail(w, "cannot encode %s", isnan(n) ? "nan" : n < 0 ? "-inf" : "inf");
    put(w, "null", 4);
    return true;
}

/* --- tables ----------------------------------------------------------------------------------- */

enum { NO_ARRAY = -1, SPARSE = -2 };

/* The length of what is an array by its keys. */
static int length_of(lua_State *L, int t)
{
    lua_Number n = 0, max = 0;
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1)) {
        lua_Number key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        /* What is not below 2^53 is whole, but for the infinite. */
        bool whole = key < 9007199254740992 ? key == (lua_Number)(int64_t)key : key < HUGE_VAL;
        if (!(key >= 1) || !whole) {
            lua_pop(L, 2);
            return NO_ARRAY;
        }
        n++;
        if (key > max)
            max = key;
    }
    return max > 10 && max > n * 2 ? SPARSE : (int)max;
}

static void put_break(writer *w, int depth)
{
    if (!w->indent)
        return;
    put_byte(w, '\n');
    while (depth-- > 0)
        put(w, w->indent, w->indent_len);
}

static bool put_array(writer *w, int t, int n, int depth)
{
    put_byte(w, '[');
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            put_byte(w, ',');
        put_break(w, depth);
        lua_rawgeti(w->L, t, i);
        if (!put_value(w, depth))
            return fail_at_index(w, i);
        lua_pop(w->L, 1);
    }
    if (n > 0)
        put_break(w, depth - 1);
    put_byte(w, ']');
    return true;
}

static bool put_name(writer *w, int key)
{
    size_t len;
    const char *name;
    switch (lua_type(w->L, key)) {
    case LUA_TSTRING:
        name = lua_tolstring(w->L, key, &len);
        put_string(w, name, len);
        break;
    case LUA_TNUMBER:
        put_byte(w, '"');
        if (!put_digits(w, key))
            return false;
        put_byte(w, '"');
        break;
    default:
        return fail(w, "cannot encode a %s as the name of a member", luaL_typename(w->L, key));
    }
    put_byte(w, ':');
    if (w->indent)
        put_byte(w, ' ');
    return true;
}

/* The member whose name is at `key`, its value being on top of the stack; pops the value. */
static bool put_member(writer *w, int key, bool first, int depth)
{
    if (!first)
        put_byte(w, ',');
    put_break(w, depth);
    if (!put_name(w, key))
        return false;
    if (!put_value(w, depth))
        return fail_at_name(w, key);
    lua_settop(w->L, key);
    return true;
}

/* From the member on that is on top of the stack; none is there where it is empty. */
static bool put_members(writer *w, int t, int depth, bool empty)
{
    put_byte(w, '{');
    if (!empty) {
        bool first = true;
        do {
            if (!put_member(w, t + 1, first, depth))
                return false;
            first = false;
        } while (lua_next(w->L, t));
        put_break(w, depth - 1);
    }
    put_byte(w, '}');
    return true;
}

static bool put_object(writer *w, int t, int depth)
{
    lua_pushnil(w->L);
    return put_members(w, t, depth, !lua_next(w->L, t));
}

static bool put_object_sorted(writer *w, int t, int depth)
{
    lua_State *L = w->L;
    lua_pushvalue(L, lua_upvalueindex(UPVALUE_SORTED));
    lua_pushvalue(L, t);
    leave(w);
    lua_call(L, 1, 1);
    come_back(w);
    int keys = lua_gettop(L), n = (int)lua_objlen(L, keys);
    put_byte(w, '{');
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, keys, i);
        lua_pushvalue(L, -1);
        lua_rawget(L, t);
        if (!put_member(w, keys + 1, i == 1, depth))
            return false;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (n > 0)
        put_break(w, depth - 1);
    put_byte(w, '}');
    return true;
}

static bool put_raw(writer *w, int t)
{
    size_t len;
    lua_rawgeti(w->L, t, 1);
    if (lua_type(w->L, -1) != LUA_TSTRING)
        return fail(w, "cannot encode a %s as raw JSON", luaL_typename(w->L, -1));
    const char *text = lua_tolstring(w->L, -1, &len);
    put(w, text, len);
    lua_pop(w->L, 1);
    return true;
}

/* What has the keys 1 to n in this order, as an array has them in memory, from the element on that
 * is on top of the stack. -1 where there turns out to be another key: then nothing has been
 * written, and the stack is as high as `t`. */
static int put_list(writer *w, int t, int depth)
{
    lua_State *L = w->L;
    size_t before = (size_t)(w->at - w->out->data);
    put_byte(w, '[');
    int i = 1;
    do {
        if (lua_type(L, t + 1) != LUA_TNUMBER || lua_tonumber(L, t + 1) != i) {
            w->at = w->out->data + before;
            lua_settop(L, t);
            return -1;
        }
        if (i > 1)
            put_byte(w, ',');
        put_break(w, depth);
        if (!put_value(w, depth))
            return fail_at_index(w, i);
        lua_settop(L, t + 1);
        i++;
    } while (lua_next(L, t));
    put_break(w, depth - 1);
    put_byte(w, ']');
    return true;
}

/* Most tables are seen by their first key to be lists or objects. As put_list. */
static int put_usual(writer *w, int t, int depth, bool may_be_object)
{
    lua_State *L = w->L;
    lua_pushnil(L);
    if (lua_next(L, t)) {
        int type = lua_type(L, t + 1);
        if (type == LUA_TNUMBER && lua_tonumber(L, t + 1) == 1)
            return put_list(w, t, depth);
        if (type == LUA_TSTRING && may_be_object)
            return put_members(w, t, depth, false);
    }
    lua_settop(L, t);
    return -1;
}

static bool put_table(writer *w, int depth)
{
    lua_State *L = w->L;
    const buffer *out = w->out;
    int t = lua_gettop(L), n = NO_ARRAY;
    if (++depth > w->max_depth)
        return fail(w, "cannot encode more than %d levels: is it in itself?", w->max_depth);
    if (!lua_checkstack(L, SLOTS)) {
        if (w->plain)
            return fail(w, "stack overflow");
        w->out->len = w->begin;
        luaL_error(L, "stack overflow");
    }
    const void *meta = NULL;
    if (lua_getmetatable(L, t)) {
        meta = lua_topointer(L, -1);
        lua_pop(L, 1);
        if (meta == out->raw_meta)
            return put_raw(w, t);
    }
    if (meta != out->object_meta) {
        bool may_be_object = meta != out->array_meta && !(w->flags & SORT_KEYS);
        int done = put_usual(w, t, depth, may_be_object);
        if (done >= 0)
            return done;
        n = length_of(L, t);
    }
    if (n == SPARSE)
        return fail(w, "cannot encode a sparse array");
    if (meta == out->array_meta) {
        if (n == NO_ARRAY)
            return fail(w, "cannot encode an array that has other keys than 1 to n");
    } else if (n == 0 && !(w->flags & EMPTY_IS_ARRAY)) {
        n = NO_ARRAY;
    }
    if (n >= 0)
        return put_array(w, t, n, depth);
    return w->flags & SORT_KEYS ? put_object_sorted(w, t, depth) : put_object(w, t, depth);
}

/* Writes the value on top of the stack, which stays there. False: a fault, and the stack is of any
 * height above it. */
static bool put_value(writer *w, int depth)
{
    lua_State *L = w->L;
    bool ok = true;
    int type = lua_type(L, -1);
    switch (type) {
    case LUA_TSTRING: {
        size_t len;
        const char *s = lua_tolstring(L, -1, &len);
        put_string(w, s, len);
        break;
    }
    case LUA_TNUMBER:
        ok = put_number(w);
        break;
    case LUA_TTABLE:
        ok = put_table(w, depth);
        break;
    case LUA_TBOOLEAN:
        if (lua_toboolean(L, -1))
            put(w, "true", 4);
        else
            put(w, "false", 5);
        break;
    case TYPE_CDATA:
        ok = put_odd(w, -1);
        break;
    default:
        if (type != LUA_TNIL && (type != LUA_TLIGHTUSERDATA || lua_touserdata(L, -1)))
            return fail(w, "cannot encode a %s", luaL_typename(L, -1));
        put(w, "null", 4);
    }
    if (w->too_large)
        return fail(w, "the text is longer than 2 GiB");
    return ok;
}

/* --- for Lua ---------------------------------------------------------------------------------- */

static void start(writer *w, lua_State *L, buffer *out)
{
    if (!out->data) {
        out->data = mem_alloc(ROOM_FIRST);
        out->room = ROOM_FIRST;
    }
    w->L = L;
    w->out = out;
    w->begin = out->len;
    w->plain = false;
    w->flags = 0;
    w->max_depth = PLAIN_DEPTH;
    w->indent = NULL;
    w->too_large = false;
    w->path_len = 0;
    come_back(w);
}

/* The length of the text, which lies there until the next call. */
static size_t stop(writer *w)
{
    size_t len = (size_t)(w->at - w->out->data) - w->begin;
    w->out->len = w->begin;
    return len;
}

/* Gives a buffer back that has become large. */
static void trim(buffer *out)
{
    if (out->len == 0 && out->room > ROOM_KEPT)
        release(out);
}

static int push_fault(const writer *w)
{
    lua_State *L = w->L;
    bool dotted = w->path_len > 0 && w->path[0] == '.';
    size_t shown = w->path_len - dotted;
    lua_settop(L, 0);
    lua_pushnil(L);
    lua_pushstring(L, w->message);
    lua_pushstring(L, w->path_len > 0 ? ", at " : "");
    lua_pushlstring(L, w->path + dotted, shown < PATH_SHOWN ? shown : PATH_SHOWN);
    lua_concat(L, 3);
    lua_pushboolean(L, w->too_large);
    return 3;
}

/* encode(value, flags, maxDepth, indent|nil) -> text | nil, message, whether it is too large */
static int encode(lua_State *L)
{
    writer w;
    start(&w, L, lua_touserdata(L, lua_upvalueindex(UPVALUE_BUFFER)));
    w.flags = (int)lua_tointeger(L, 2);
    w.max_depth = (int)lua_tointeger(L, 3);
    w.indent = lua_tolstring(L, 4, &w.indent_len);

    lua_pushvalue(L, 1);
    bool ok = put_value(&w, 0);
    size_t len = stop(&w);
    if (ok)
        lua_pushlstring(L, w.out->data + w.begin, len);
    trim(w.out);
    return ok ? 1 : push_fault(&w);
}

int links_json_write(links_json_text *out)
{
    lua_State *L = out->plain;
    writer w;
    start(&w, L, out);
    w.plain = true;

    lua_rawgeti(L, 1, 1);
    bool ok = put_value(&w, 0);
    lua_settop(L, 1);
    size_t len = stop(&w);
    if (!ok)
        trim(out);
    return ok ? (int)len : -1;
}

void links_json_drop(links_json_text *out) { trim(out); }

static int buffer_gc(lua_State *L)
{
    release(lua_touserdata(L, 1));
    return 0;
}

/* Pushes a buffer; the metatables of jsonEncoder are at the foot of the stack. */
static void push_buffer(lua_State *L)
{
    buffer *out = lua_newuserdata(L, sizeof(*out));
    memset(out, 0, sizeof(*out));
    out->array_meta = lua_topointer(L, 1);
    out->object_meta = lua_topointer(L, 2);
    out->raw_meta = lua_topointer(L, 3);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, buffer_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
}

/* Pushes the table by which links_json_write, which writes to the buffer on top of the stack, finds
 * its value, and makes it a stack to work on. The value does not live on by it: what had no other
 * owner goes with the next collection. Buffer and stack do, as names, since only values are
 * weak. */
static void push_place(lua_State *L)
{
    buffer *out = lua_touserdata(L, -1);
    lua_createtable(L, 1, 2);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    out->plain = lua_newthread(L);
    lua_pushvalue(L, -2);
    lua_xmove(L, out->plain, 1);
    lua_pushboolean(L, true);
    lua_rawset(L, -3);
    lua_pushvalue(L, -2);
    lua_pushboolean(L, true);
    lua_rawset(L, -3);
}

/* jsonEncoder(arrayMeta, objectMeta, rawMeta, odd, sorted) -> the text and the table of
 * links_json_write, encode. `odd` and `sorted` are what is left to Lua: odd(value, int64AsString)
 * -> text | nil, message; sorted(table) -> its keys. */
static int json_encoder(lua_State *L)
{
    lua_settop(L, 5);
    push_buffer(L);
    push_buffer(L);
    lua_insert(L, UPVALUE_BUFFER);
    push_place(L);
    for (int i = UPVALUE_BUFFER; i <= UPVALUE_SORTED; i++)
        lua_pushvalue(L, i);
    lua_pushcclosure(L, encode, UPVALUE_SORTED);
    return 3;
}

/* jsonLength(table) -> the length of what is an array by its keys, else nil */
static int json_length(lua_State *L)
{
    int n = length_of(L, 1);
    if (n < 0)
        return 0;
    lua_pushinteger(L, n);
    return 1;
}

void json_encode_add(lua_State *L)
{
    lua_pushcfunction(L, json_encoder);
    lua_setfield(L, -2, "jsonEncoder");
    lua_pushcfunction(L, json_length);
    lua_setfield(L, -2, "jsonLength");
}
