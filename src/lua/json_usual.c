/*
 * Where it writes goes from function to function by value, so that it stays in a register; NULL
 * where something is not usual. Each leaves room for one byte behind what it has written: for the
 * colon, the comma or the end of what it stands in.
 */
#include "lua/json_usual.h"

/* What goes down through the levels. */
typedef struct walk {
    json_out *out;
    const json_usual *known;
    bool empty_is_array;
} walk;

static char *put_value(const walk *w, char *at, object_value value, int levels);

/* Where `n` bytes can be written, and one more. */
static inline char *room_for(const walk *w, char *at, size_t n)
{
    json_out *out = w->out;
    if ((size_t)(out->end - at) > n)
        return at;
    out->at = at;
    return json_out_room(out, n + 1);
}

static inline char *put(const walk *w, char *at, const char *s, size_t len)
{
    at = room_for(w, at, len);
    memcpy(at, s, len);
    return at + len;
}

static char *put_string(const walk *w, char *at, object_value value)
{
    const object_string *s = object_pointer(value);
    if (s->len > JSON_OUT_PIECE) {
        w->out->at = at;
        json_out_long_string(w->out, s->data, s->len);
        return room_for(w, w->out->at, 0);
    }
    at = room_for(w, at, s->len * JSONTEXT_ESCAPED_MAX + 2);
    *at++ = '"';
    at = jsontext_escape(at, s->data, s->len);
    *at++ = '"';
    return at;
}

static char *put_number(const walk *w, char *at, double number)
{
    at = room_for(w, at, DECIMAL_MAX);
    size_t len = decimal_write(at, number);
    return len > 0 ? at + len : NULL;
}

/* Puts the bracket over the comma behind the last. */
static char *put_end(const walk *w, char *at, char bracket)
{
    at[-1] = bracket;
    return room_for(w, at, 0);
}

/* Whether the slots from `i` on are free. */
static bool has_free_slots(const object_table *t, uint32_t i)
{
    while (i < t->slot_count && object_is_nil(t->slots[i]))
        i++;
    return i >= t->slot_count;
}

static bool has_free_nodes(const object_table *t)
{
    for (uint32_t i = 0; i <= t->node_mask; i++) {
        if (!object_is_nil(t->nodes[i].value))
            return false;
    }
    return true;
}

/* One at least is there. */
static char *put_list(const walk *w, char *at, const object_table *t, int levels)
{
    uint32_t i = 1;
    at = put(w, at, "[", 1);
    for (; i < t->slot_count && !object_is_nil(t->slots[i]); i++) {
        at = put_value(w, at, t->slots[i], levels);
        if (!at)
            return NULL;
        *at++ = ',';
    }
    return has_free_slots(t, i) && has_free_nodes(t) ? put_end(w, at, ']') : NULL;
}

static char *put_object(const walk *w, char *at, const object_table *t, int levels)
{
    at = put(w, at, "{", 1);
    for (uint32_t i = 0; i <= t->node_mask; i++) {
        const object_node *node = &t->nodes[i];
        if (object_is_nil(node->value))
            continue;
        if (object_tag(node->key) != OBJECT_STRING)
            return NULL;
        at = put_string(w, at, node->key);
        *at++ = ':';
        at = put_value(w, at, node->value, levels);
        if (!at)
            return NULL;
        *at++ = ',';
    }
    return put_end(w, at, '}');
}

/* What json.raw has marked. */
static char *put_raw(const walk *w, char *at, const object_table *t)
{
    if (t->slot_count <= 1 || object_tag(t->slots[1]) != OBJECT_STRING)
        return NULL;
    const object_string *text = object_pointer(t->slots[1]);
    return put(w, at, text->data, text->len);
}

enum mark { UNMARKED, ARRAY, OBJECT, RAW };

static enum mark mark_of(const json_usual *known, const void *meta)
{
    if (meta == known->array_meta)
        return ARRAY;
    if (meta == known->object_meta)
        return OBJECT;
    return meta == known->raw_meta ? RAW : UNMARKED;
}

static char *put_table(const walk *w, char *at, const object_table *t, int levels)
{
    enum mark mark = mark_of(w->known, t->meta);
    if (levels == 0)
        return NULL;
    if (mark == RAW)
        return put_raw(w, at, t);
    if (t->slot_count > 1 && !object_is_nil(t->slots[1]) && object_is_nil(t->slots[0]))
        return mark != OBJECT ? put_list(w, at, t, levels - 1) : NULL;
    if (!has_free_slots(t, 0))
        return NULL;
    if (has_free_nodes(t)) {
        bool array = mark == ARRAY || (mark == UNMARKED && w->empty_is_array);
        return put(w, at, array ? "[]" : "{}", 2);
    }
    return mark != ARRAY ? put_object(w, at, t, levels - 1) : NULL;
}

static char *put_value(const walk *w, char *at, object_value value, int levels)
{
    if (w->out->too_large)
        return NULL;
    if (object_is_number(value))
        return put_number(w, at, value.number);
    switch (object_tag(value)) {
    case OBJECT_STRING:
        return put_string(w, at, value);
    case OBJECT_TABLE:
        return put_table(w, at, object_pointer(value), levels);
    case OBJECT_TRUE:
        return put(w, at, "true", 4);
    case OBJECT_FALSE:
        return put(w, at, "false", 5);
    case OBJECT_INTEGER:
        return put_number(w, at, (int32_t)value.bits);
    default:
        return value.bits == w->known->null.bits ? put(w, at, "null", 4) : NULL;
    }
}

bool json_usual_put(json_out *out, const json_usual *known, const object_table *table, int levels,
                    bool empty_is_array)
{
    walk w = {.out = out, .known = known, .empty_is_array = empty_is_array};
    char *at = put_table(&w, out->at, table, levels);
    if (!at || out->too_large)
        return false;
    out->at = at;
    return true;
}
