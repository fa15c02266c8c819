/*
 * Lines of the log: whatever goes into one, it is one line, without control characters, in valid
 * UTF-8, of bounded length, and where it is JSON a reader of JSON takes it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "modules/json.h"
#include "modules/log/line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const log_line *l, int format)
{
    const unsigned char *s = (const unsigned char *)l->buffer;
    size_t len = l->view.len;
    static links_json *json;
    if (len > LOG_LINE_MAX + LOG_LINE_SLACK || !len || s[len - 1] != '\n')
        abort();
    if (format == LINKS_LOG_JOURNAL)
        return; /* whose values may be anything */
    for (size_t i = 0; i + 1 < len; i++) {
        if (s[i] < 0x20 || s[i] == 0x7f)
            abort();
        if (s[i] == 0xc2 && s[i + 1] < 0xa0) /* C1 */
            abort();
    }
    if (!json)
        json = links_json_new();
    if (format == LINKS_LOG_JSON && links_json_parse(json, l->buffer, len, 100, 0) < 1)
        abort();
}

/* Each byte says what comes next, and how many of the bytes behind it. */
static void add_fields(links_log_line *l, const char *s, size_t size)
{
    char open[64];
    int depth = 0;
    for (size_t at = 0; at < size;) {
        unsigned char what = (unsigned char)s[at++];
        size_t n = what >> 2;
        if (n > size - at)
            n = size - at;
        /* Members have a name, elements have none. */
        if (!depth || open[depth - 1] == '}')
            links_log_key(l, s + at, n / 2);
        if ((what & 3) == 0) {
            links_log_string(l, s + at, n);
        } else if ((what & 3) == 1) {
            double number = 0;
            memcpy(&number, s + at, n < sizeof(number) ? n : sizeof(number));
            links_log_number(l, number);
        } else if (depth < (int)sizeof(open)) {
            links_log_open(l, (what & 3) == 2 ? '{' : '[');
            open[depth++] = (what & 3) == 2 ? '}' : ']';
        } else {
            links_log_word(l, "null", 4);
        }
        if ((what & 0x83) == 0x80 && depth)
            links_log_close(l, open[--depth]);
        at += n;
    }
    while (depth)
        links_log_close(l, open[--depth]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static log_line *l;
    if (!l)
        l = (log_line *)links_log_line_new();
    const char *s = (const char *)data;
    size_t message = size < 8 ? size : size / 4, name = message / 2;
    for (int format = LINKS_LOG_TEXT; format <= LINKS_LOG_JOURNAL; format++) {
        for (int flags = 0; flags <= LINKS_LOG_SYSLOG; flags += LINKS_LOG_SYSLOG) {
            links_log_begin(&l->view, format, flags, LINKS_LOG_INFO, s, name, s, message);
            add_fields(&l->view, s + message, size - message);
            links_log_end(&l->view, 0);
            if (!flags)
                check(l, format);
        }
    }
    return 0;
}
