#include "lua/json_out.h"

#include "base/mem.h"

enum {
    ROOM_FIRST = 4096,
    ROOM_KEPT = 1 << 20,   /* bytes of a buffer that are kept between two texts */
    TEXT_MAX = 0x7fff0000, /* bytes of a text: no string of LuaJIT is longer */
};

void json_out_start(json_out *out, json_buffer *buffer)
{
    if (!buffer->data) {
        buffer->data = mem_alloc(ROOM_FIRST);
        buffer->room = ROOM_FIRST;
    }
    out->buffer = buffer;
    out->begin = buffer->len;
    out->too_large = false;
    json_out_return(out);
}

size_t json_out_stop(json_out *out)
{
    size_t len = (size_t)(out->at - out->buffer->data) - out->begin;
    out->buffer->len = out->begin;
    return len;
}

void json_out_leave(json_out *out) { out->buffer->len = (size_t)(out->at - out->buffer->data); }

void json_out_return(json_out *out)
{
    out->at = out->buffer->data + out->buffer->len;
    out->end = out->buffer->data + out->buffer->room;
}

void json_out_rewind(json_out *out) { out->at = out->buffer->data + out->begin; }

void json_out_grow(json_out *out, size_t n)
{
    json_buffer *buffer = out->buffer;
    json_out_leave(out);
    if (buffer->len - out->begin + n > TEXT_MAX) {
        out->too_large = true;
        buffer->len = out->begin;
    }
    size_t room = buffer->room;
    while (room - buffer->len < n)
        room *= 2;
    if (room > buffer->room)
        buffer->data = mem_realloc(buffer->data, room);
    buffer->room = room;
    json_out_return(out);
}

void json_out_long_string(json_out *out, const char *s, size_t len)
{
    json_out_byte(out, '"');
    while (len > 0) {
        size_t piece = len < JSON_OUT_PIECE ? len : JSON_OUT_PIECE;
        out->at = jsontext_escape(json_out_room(out, piece * JSONTEXT_ESCAPED_MAX), s, piece);
        s += piece;
        len -= piece;
    }
    json_out_byte(out, '"');
}

void json_buffer_trim(json_buffer *buffer)
{
    if (buffer->len == 0 && buffer->room > ROOM_KEPT)
        json_buffer_deinit(buffer);
}

void json_buffer_deinit(json_buffer *buffer)
{
    mem_free(buffer->data);
    buffer->data = NULL;
    buffer->room = buffer->len = 0;
}
