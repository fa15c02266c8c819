#include "lua/json_usual.h"

/* What goes down through the levels. */
typedef struct walk {
    json_out *out;
    const json_usual *known;
    bool empty_is_array;
} walk;

static bool put_value(const walk *w, object_value value, int levels);

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

static bool put_list(const walk *w, const object_table *t, int levels)
{
    uint32_t i = 1;
    json_out_byte(w->out, '[');
    for (; i < t->slot_count && !object_is_nil(t->slots[i]); i++) {
        if (i > 1)
            json_out_byte(w->out, ',');
        if (!put_value(w, t->slots[i], levels))
            return false;
    }
    json_out_byte(w->out, ']');
    return has_free_slots(t, i) && has_free_nodes(t);
}

static bool put_member(const walk *w, const object_node *node, int levels)
{
    if (object_tag(node->key) != OBJECT_STRING)
        return false;
    const object_string *name = object_pointer(node->key);
    json_out_string(w->out, name->data, name->len);
    json_out_byte(w->out, ':');
    return put_value(w, node->value, levels);
}

static bool put_object(const walk *w, const object_table *t, int levels)
{
    bool first = true;
    json_out_byte(w->out, '{');
    for (uint32_t i = 0; i <= t->node_mask; i++) {
        if (object_is_nil(t->nodes[i].value))
            continue;
        if (!first)
            json_out_byte(w->out, ',');
        first = false;
        if (!put_member(w, &t->nodes[i], levels))
            return false;
    }
    json_out_byte(w->out, '}');
    return true;
}

/* What json.raw has marked. */
static bool put_raw(const walk *w, const object_table *t)
{
    if (t->slot_count <= 1 || object_tag(t->slots[1]) != OBJECT_STRING)
        return false;
    const object_string *text = object_pointer(t->slots[1]);
    json_out_put(w->out, text->data, text->len);
    return true;
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

static bool put_table(const walk *w, const object_table *t, int levels)
{
    enum mark mark = mark_of(w->known, t->meta);
    if (levels == 0)
        return false;
    if (mark == RAW)
        return put_raw(w, t);
    bool list = t->slot_count > 1 && !object_is_nil(t->slots[1]) && object_is_nil(t->slots[0]);
    if (list)
        return mark != OBJECT && put_list(w, t, levels - 1);
    if (!has_free_slots(t, 0))
        return false;
    if (mark != OBJECT && has_free_nodes(t)) {
        json_out_put(w->out, mark == ARRAY || w->empty_is_array ? "[]" : "{}", 2);
        return true;
    }
    return mark != ARRAY && put_object(w, t, levels - 1);
}

static bool put_value(const walk *w, object_value value, int levels)
{
    json_out *out = w->out;
    if (out->too_large)
        return false;
    if (object_is_number(value))
        return json_out_number(out, value.number);
    switch (object_tag(value)) {
    case OBJECT_STRING: {
        const object_string *s = object_pointer(value);
        json_out_string(out, s->data, s->len);
        return true;
    }
    case OBJECT_TABLE:
        return put_table(w, object_pointer(value), levels);
    case OBJECT_TRUE:
        json_out_put(out, "true", 4);
        return true;
    case OBJECT_FALSE:
        json_out_put(out, "false", 5);
        return true;
    case OBJECT_INTEGER:
        return json_out_number(out, (int32_t)value.bits);
    default:
        if (value.bits != w->known->null.bits && !object_is_nil(value))
            return false;
        json_out_put(out, "null", 4);
        return true;
    }
}

bool json_usual_put(json_out *out, const json_usual *known, const object_table *table, int levels,
                    bool empty_is_array)
{
    walk w = {.out = out, .known = known, .empty_is_array = empty_is_array};
    return put_table(&w, table, levels) && !out->too_large;
}
