/*
 * Values and tables lie on Lua's stack; recursion is bounded by maxDepth. Where a value cannot be
 * encoded, the fault goes up through the levels, and each puts its step before the path.
 *
 * What Lua is called for may run a hook or a finalizer, and that encode something: the texts lie
 * one behind the other in the buffer. It may do so before the text of links_json_write has been
 * used, too, which therefore has a buffer of its own: only the workers of HTTP servers write there,
 * and they use the text at once.
 */
#include "lua/json_encode.h"

#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lua/core.h"
#include "lua/json_out.h"
#include "lua/json_usual.h"
#include "lua/objects.h"

enum {
    EMPTY_IS_ARRAY = 1, /* flags, as lib/links/json.lua has them */
    NAN_IS_ERROR = 2,
    INT64_IS_STRING = 4,
    SORT_KEYS = 8,
};

enum {
    PLAIN_DEPTH = 128, /* of links_json_write: as by default */
    PATH_SHOWN = 200,  /* bytes of the path in a message */
    SLOTS = 8,         /* of Lua's stack, for each level */
};

enum { UPVALUE_ENCODER = 1, UPVALUE_ODD = 5, UPVALUE_SORTED };

struct links_json_text {
    const char *data; /* what links_json_write has written lies there until the next call */
    json_buffer buffer;
    json_usual usual;
    bool reads_objects;        /* `usual` can be asked */
    const object_table *place; /* where links_json_write finds its value; NULL: nowhere */
};

typedef links_json_text encoder;

/* One call. */
typedef struct writer {
    lua_State *L;
    json_out out;
    const json_usual *known;
    int flags, max_depth;
    const char *indent; /* NULL: no line breaks */
    size_t indent_len;
    size_t path_len;
    char path[PATH_SHOWN + 1]; /* one more, for the dot before the first name */
    char message[256];
} writer;

static bool put_value(writer *w, int depth);

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

/* The value at `idx`, by Lua: odd(value, int64 as string) -> text | nil, message */
static bool put_odd(writer *w, int idx)
{
    size_t len;
    lua_pushvalue(w->L, lua_upvalueindex(UPVALUE_ODD));
    lua_pushvalue(w->L, idx < 0 ? idx - 1 : idx);
    lua_pushboolean(w->L, w->flags & INT64_IS_STRING);
    json_out_leave(&w->out);
    lua_call(w->L, 2, 2);
    json_out_return(&w->out);
    const char *text = lua_tolstring(w->L, -2, &len);
    if (!text)
        return fail(w, "%s", lua_tostring(w->L, -1));
    json_out_put(&w->out, text, len);
    lua_pop(w->L, 2);
    return true;
}

/* Writes the number at `idx`. */
static bool put_digits(writer *w, int idx)
{
    return json_out_number(&w->out, lua_tonumber(w->L, idx)) || put_odd(w, idx);
}

static bool put_number(writer *w)
{
    lua_Number n = lua_tonumber(w->L, -1);
    if (isfinite(n))
        return put_digits(w, -1);
    if (w->flags & NAN_IS_ERROR)
        return fail(w, "cannot encode %s", isnan(n) ? "nan" : n < 0 ? "-inf" : "inf");
    json_out_put(&w->out, "null", 4);
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
    json_out_byte(&w->out, '\n');
    while (depth-- > 0)
        json_out_put(&w->out, w->indent, w->indent_len);
}

static bool put_array(writer *w, int t, int n, int depth)
{
    json_out_byte(&w->out, '[');
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            json_out_byte(&w->out, ',');
        put_break(w, depth);
        lua_rawgeti(w->L, t, i);
        if (!put_value(w, depth))
            return fail_at_index(w, i);
        lua_pop(w->L, 1);
    }
    if (n > 0)
        put_break(w, depth - 1);
    json_out_byte(&w->out, ']');
    return true;
}

static bool put_name(writer *w, int key)
{
    size_t len;
    const char *name;
    switch (lua_type(w->L, key)) {
    case LUA_TSTRING:
        name = lua_tolstring(w->L, key, &len);
        json_out_string(&w->out, name, len);
        break;
    case LUA_TNUMBER:
        json_out_byte(&w->out, '"');
        if (!put_digits(w, key))
            return false;
        json_out_byte(&w->out, '"');
        break;
    default:
        return fail(w, "cannot encode a %s as the name of a member", luaL_typename(w->L, key));
    }
    json_out_byte(&w->out, ':');
    if (w->indent)
        json_out_byte(&w->out, ' ');
    return true;
}

/* The member whose name is at `key`, its value being on top of the stack; pops the value. */
static bool put_member(writer *w, int key, bool first, int depth)
{
    if (!first)
        json_out_byte(&w->out, ',');
    put_break(w, depth);
    if (!put_name(w, key))
        return false;
    if (!put_value(w, depth))
        return fail_at_name(w, key);
    lua_settop(w->L, key);
    return true;
}

static bool put_object(writer *w, int t, int depth)
{
    bool first = true;
    json_out_byte(&w->out, '{');
    for (lua_pushnil(w->L); lua_next(w->L, t); first = false) {
        if (!put_member(w, t + 1, first, depth))
            return false;
    }
    if (!first)
        put_break(w, depth - 1);
    json_out_byte(&w->out, '}');
    return true;
}

static bool put_object_sorted(writer *w, int t, int depth)
{
    lua_State *L = w->L;
    lua_pushvalue(L, lua_upvalueindex(UPVALUE_SORTED));
    lua_pushvalue(L, t);
    json_out_leave(&w->out);
    lua_call(L, 1, 1);
    json_out_return(&w->out);
    int keys = lua_gettop(L), n = (int)lua_objlen(L, keys);
    json_out_byte(&w->out, '{');
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
    json_out_byte(&w->out, '}');
    return true;
}

static bool put_raw(writer *w, int t)
{
    size_t len;
    lua_rawgeti(w->L, t, 1);
    if (lua_type(w->L, -1) != LUA_TSTRING)
        return fail(w, "cannot encode a %s as raw JSON", luaL_typename(w->L, -1));
    const char *text = lua_tolstring(w->L, -1, &len);
    json_out_put(&w->out, text, len);
    lua_pop(w->L, 1);
    return true;
}

static bool put_table(writer *w, int depth)
{
    lua_State *L = w->L;
    const json_usual *known = w->known;
    int t = lua_gettop(L);
    if (++depth > w->max_depth)
        return fail(w, "cannot encode more than %d levels: is it in itself?", w->max_depth);
    if (!lua_checkstack(L, SLOTS)) {
        json_out_rewind(&w->out);
        json_out_leave(&w->out);
        luaL_error(L, "stack overflow");
    }
    const void *meta = NULL;
    if (lua_getmetatable(L, t)) {
        meta = lua_topointer(L, -1);
        lua_pop(L, 1);
        if (meta == known->raw_meta)
            return put_raw(w, t);
    }
    int n = meta == known->object_meta ? NO_ARRAY : length_of(L, t);
    if (n == SPARSE)
        return fail(w, "cannot encode a sparse array");
    if (meta == known->array_meta) {
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
        json_out_string(&w->out, s, len);
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
            json_out_put(&w->out, "true", 4);
        else
            json_out_put(&w->out, "false", 5);
        break;
    case TYPE_CDATA:
        ok = put_odd(w, -1);
        break;
    default:
        if (type != LUA_TNIL && (type != LUA_TLIGHTUSERDATA || lua_touserdata(L, -1)))
            return fail(w, "cannot encode a %s", luaL_typename(L, -1));
        json_out_put(&w->out, "null", 4);
    }
    if (w->out.too_large)
        return fail(w, "the text is longer than 2 GiB");
    return ok;
}

/* --- for Lua ---------------------------------------------------------------------------------- */

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
    lua_pushboolean(L, w->out.too_large);
    return 3;
}

/* The usual value at 1, in a state whose tables can be read; see json_usual_put. */
static bool put_usual(writer *w, const encoder *self)
{
    if (!self->reads_objects || w->indent || w->flags & SORT_KEYS)
        return false;
    const object_table *t = lua_topointer(w->L, 1);
    return lua_type(w->L, 1) == LUA_TTABLE &&
           json_usual_put(&w->out, &self->usual, t, w->max_depth, w->flags & EMPTY_IS_ARRAY);
}

/* encode(value, flags, maxDepth, indent|nil) -> text | nil, message, whether it is too large */
static int encode(lua_State *L)
{
    encoder *self = lua_touserdata(L, lua_upvalueindex(UPVALUE_ENCODER));
    writer w;
    w.L = L;
    w.known = &self->usual;
    w.path_len = 0;
    w.flags = (int)lua_tointeger(L, 2);
    w.max_depth = (int)lua_tointeger(L, 3);
    w.indent = lua_tolstring(L, 4, &w.indent_len);

    json_out_start(&w.out, &self->buffer);
    bool ok = put_usual(&w, self);
    if (!ok) {
        json_out_rewind(&w.out);
        lua_pushvalue(L, 1);
        ok = put_value(&w, 0);
    }
    size_t len = json_out_stop(&w.out);
    if (ok)
        lua_pushlstring(L, self->buffer.data + w.out.begin, len);
    json_buffer_trim(&self->buffer);
    return ok ? 1 : push_fault(&w);
}

int links_json_write(links_json_text *self)
{
    if (!self->place)
        return -1;
    object_value value = self->place->slots[1];
    if (object_tag(value) != OBJECT_TABLE)
        return -1;
    json_out out;
    json_out_start(&out, &self->buffer);
    bool ok = json_usual_put(&out, &self->usual, object_pointer(value), PLAIN_DEPTH, false);
    size_t len = json_out_stop(&out);
    if (!ok)
        json_buffer_trim(&self->buffer);
    self->data = self->buffer.data;
    return ok ? (int)len : -1;
}

void links_json_drop(links_json_text *self) { json_buffer_trim(&self->buffer); }

static int encoder_gc(lua_State *L)
{
    encoder *self = lua_touserdata(L, 1);
    json_buffer_deinit(&self->buffer);
    return 0;
}

/* Pushes an encoder; the metatables of jsonEncoder are at the foot of the stack. */
static encoder *push_encoder(lua_State *L, bool reads_objects)
{
    encoder *self = lua_newuserdata(L, sizeof(*self));
    memset(self, 0, sizeof(*self));
    self->usual.array_meta = lua_topointer(L, 1);
    self->usual.object_meta = lua_topointer(L, 2);
    self->usual.raw_meta = lua_topointer(L, 3);
    self->reads_objects = reads_objects;
    if (reads_objects)
        self->usual.null = object_null(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, encoder_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return self;
}

/* Pushes the table in which links_json_write finds its value. The value does not live on by it:
 * what had no other owner goes with the next collection. The encoder on top of the stack does, as a
 * name, since only values are weak. */
static const object_table *push_place(lua_State *L)
{
    lua_createtable(L, 1, 1);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -2);
    lua_pushboolean(L, true);
    lua_rawset(L, -3);
    return lua_topointer(L, -1);
}

/* jsonEncoder(arrayMeta, objectMeta, rawMeta, odd, sorted) -> the text and the table of
 * links_json_write, encode. `odd` and `sorted` are what is left to Lua: odd(value, int64AsString)
 * -> text | nil, message; sorted(table) -> its keys. */
static int json_encoder(lua_State *L)
{
    bool reads_objects = objects_known(L);
    lua_settop(L, 5);
    encoder *text = push_encoder(L, reads_objects);
    push_encoder(L, reads_objects);
    lua_insert(L, UPVALUE_ENCODER);
    const object_table *place = push_place(L);
    if (reads_objects)
        text->place = place;
    for (int i = UPVALUE_ENCODER; i <= UPVALUE_SORTED; i++)
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
