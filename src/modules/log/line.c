#include "modules/log/line.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/decimal.h"
#include "base/mem.h"

static log_line *line_of(links_log_line *l) { return (log_line *)l; }

static struct {
    char data[2 * LOG_TAIL_SIZE];
    uint32_t len;
} tail;

static struct {
    int facility;
    char host[256], program[49];
} identity = {.facility = 1, .program = "links"};

/* --- bytes --------------------------------------------------------------------------------- */

void log_line_init(log_line *l)
{
    l->view = (links_log_line){.data = l->buffer};
    l->second = -1;
}

links_log_line *links_log_line_new(void)
{
    log_line *l = mem_alloc(sizeof(*l));
    log_line_init(l);
    return &l->view;
}

void links_log_line_free(links_log_line *line) { mem_free(line); }

/* The slack is for what ends a line: everything else asks for room. */
static bool has_room(log_line *l, size_t len)
{
    if (!l->full && l->view.len + len <= LOG_LINE_MAX)
        return true;
    l->full = true;
    l->view.cut = 2;
    return false;
}

static void put(log_line *l, const char *s, size_t len)
{
    memcpy(l->buffer + l->view.len, s, len);
    l->view.len += (uint32_t)len;
}

#define PUT(l, literal) put(l, literal, sizeof(literal) - 1)

static void put_char(log_line *l, char c) { l->buffer[l->view.len++] = c; }

void log_line_put(log_line *l, const char *s, size_t len)
{
    if (has_room(l, len))
        put(l, s, len);
}

void log_line_put_uint(log_line *l, uint64_t n)
{
    char digits[DECIMAL_WHOLE_MAX];
    log_line_put(l, digits, decimal_write_whole(digits, n));
}

/* --- escaping ------------------------------------------------------------------------------ */

#define EACH(byte) (0x0101010101010101u * (byte))
#define ZERO_IN(x) (((x)-EACH(1)) & ~(x)&EACH(0x80))

/* The bytes up to the first that is not printable ASCII, a quote or a backslash. It may stop a few
 * bytes early. */
static const char *skip_plain(const char *s, const char *end)
{
    for (; end - s >= 8; s += 8) {
        uint64_t x;
        memcpy(&x, s, 8);
        if (((x - EACH(0x20)) | x | ZERO_IN(x ^ EACH(0x22u)) | ZERO_IN(x ^ EACH(0x5cu)) |
             ZERO_IN(x ^ EACH(0x7fu))) &
            EACH(0x80u))
            break;
    }
    while (s < end && (unsigned char)*s >= 0x20 && (unsigned char)*s < 0x7f && *s != '"' &&
           *s != '\\')
        s++;
    return s;
}

/* The length of the UTF-8 character at `s` and its code; 0 where there is none (RFC 3629, 4). */
static int decode(const char *s, const char *end, uint32_t *code)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t left = (size_t)(end - s);
    int n = *u >= 0xf0 ? 4 : *u >= 0xe0 ? 3 : 2;
    if (*u < 0xc2 || *u > 0xf4 || left < (size_t)n)
        return 0;
    uint32_t c = *u & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (u[i] & 0x3f);
    }
    if ((n == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
        (n == 4 && (c < 0x10000 || c > 0x10ffff)))
        return 0;
    *code = c;
    return n;
}

/* Characters that a terminal or an editor acts on rather than shows: C1 controls, line separators,
 * those that change the direction of what follows. */
static bool acts(uint32_t c)
{
    return c < 0xa0 || c == 0x61c || (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

static size_t escape_byte(char *out, unsigned char c, int how)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[0x20] = {['\t'] = 't', ['\n'] = 'n', ['\r'] = 'r'};
    out[0] = '\\';
    if (c == '"' || c == '\\') {
        out[1] = (char)c;
        return 2;
    }
    if (c < 0x20 && letters[c]) {
        out[1] = letters[c];
        return 2;
    }
    if (how == LOG_JSON) {
        memcpy(out + 1, "u00", 3);
        out[4] = hex[c >> 4];
        out[5] = hex[c & 15];
        return 6;
    }
    out[1] = 'x';
    out[2] = hex[c >> 4];
    out[3] = hex[c & 15];
    return 4;
}

/* One character that skip_plain has stopped at: how many bytes it is, and what stands for it. */
static int escape_one(const char *s, const char *end, int how, char out[16], size_t *out_len)
{
    unsigned char c = (unsigned char)*s;
    uint32_t code;
    if (c >= 0x80) {
        int n = decode(s, end, &code);
        if (!n) {
            *out_len = how == LOG_JSON ? (memcpy(out, "\\ufffd", 6), 6) : escape_byte(out, c, how);
            return 1;
        }
        if (acts(code))
            *out_len = (size_t)snprintf(out, 16, how == LOG_JSON ? "\\u%04x" : "\\u{%x}", code);
        else
            memcpy(out, s, *out_len = (size_t)n);
        return n;
    }
    if (how == LOG_PLAIN && c >= 0x20 && c != 0x7f)
        out[0] = (char)c, *out_len = 1;
    else
        *out_len = escape_byte(out, c, how);
    return 1;
}

void log_line_escape(log_line *l, const char *s, size_t len, int how, uint32_t limit)
{
    const char *end = s + len;
    if (l->full)
        return;
    if (limit > LOG_LINE_MAX)
        limit = LOG_LINE_MAX;
    for (;;) {
        const char *stop = skip_plain(s, end);
        size_t n = (size_t)(stop - s), room = limit > l->view.len ? limit - l->view.len : 0;
        put(l, s, n < room ? n : room);
        if (n > room)
            break;
        if ((s = stop) == end)
            return;
        char escaped[16];
        int used = escape_one(s, end, how, escaped, &n);
        if (l->view.len + n > limit)
            break;
        put(l, escaped, n);
        s += used;
    }
    l->full = limit == LOG_LINE_MAX;
    l->view.cut = l->full ? 2 : 1;
}

/* --- time ---------------------------------------------------------------------------------- */

/* Years that begin in March, in eras of 400: the leap day is the last of its year. */
void log_date_of(int64_t day, int *year, int *month, int *of_month)
{
    int64_t z = day + 719468, era = z / 146097;
    int of_era = (int)(z % 146097);
    int y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * y + y / 4 - y / 100);
    int march = (5 * of_year + 2) / 153;
    *of_month = of_year - (153 * march + 2) / 5 + 1;
    *month = (march + 2) % 12 + 1;
    *year = (int)(era * 400 + y + (*month < 3));
}

static void two(char *at, int n)
{
    at[0] = (char)('0' + n / 10 % 10);
    at[1] = (char)('0' + n % 10);
}

static void make_stamp(log_line *l, int64_t second)
{
    int year, month, day, of_day = (int)(second % 86400);
    log_date_of(second / 86400, &year, &month, &day);
    memcpy(l->stamp, "0000-00-00T00:00:00.", 20);
    two(l->stamp, year / 100);
    two(l->stamp + 2, year);
    two(l->stamp + 5, month);
    two(l->stamp + 8, day);
    two(l->stamp + 11, of_day / 3600);
    two(l->stamp + 14, of_day / 60 % 60);
    two(l->stamp + 17, of_day % 60);
    l->second = second;
}

void log_line_put_time(log_line *l, int64_t ns)
{
    int64_t second = ns / 1000000000;
    int ms = (int)(ns / 1000000 % 1000);
    if (second != l->second)
        make_stamp(l, second);
    if (!has_room(l, 24))
        return;
    char *at = l->buffer + l->view.len;
    memcpy(at, l->stamp, 20);
    at[20] = (char)('0' + ms / 100);
    two(at + 21, ms);
    at[23] = 'Z';
    l->view.len += 24;
}

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* --- beginnings ---------------------------------------------------------------------------- */

static const struct level {
    const char *name, *text, *color;
    int severity; /* RFC 5424, 6.2.1 */
} levels[] = {
    {"debug", "DEBUG ", "\033[2m", 7},    {"info", "INFO  ", "\033[32m", 6},
    {"warn", "WARN  ", "\033[33m", 4},    {"error", "ERROR ", "\033[31m", 3},
    {"fatal", "FATAL ", "\033[1;31m", 2},
};

static const struct level *level_of(int level)
{
    return &levels[level < LINKS_LOG_DEBUG ? 0 : level > LINKS_LOG_FATAL ? 4 : level];
}

void links_log_identity(int facility, const char *program)
{
    identity.facility = facility & 31;
    size_t n = 0;
    for (; *program && n < sizeof(identity.program) - 1; program++)
        identity.program[n++] = *program > ' ' && *program < 0x7f ? *program : '_';
    identity.program[n] = 0;
}

/* <PRI>1 TIME HOST PROGRAM PID NAME - MESSAGE (RFC 5424, 6) */
static void put_syslog_head(log_line *l, int level, const char *name, size_t len)
{
    if (!*identity.host) {
        if (gethostname(identity.host, sizeof(identity.host) - 1) != 0 || !*identity.host)
            strcpy(identity.host, "-");
    }
    put_char(l, '<');
    log_line_put_uint(l, (uint64_t)(identity.facility * 8 + level_of(level)->severity));
    PUT(l, ">1 ");
    log_line_put_time(l, now_ns());
    char text[512];
    int n = snprintf(text, sizeof(text), " %.255s %s %ld ", identity.host, identity.program,
                     (long)getpid());
    put(l, text, (size_t)n);
    for (size_t i = 0; i < len && i < 32; i++)
        put_char(l, name[i] > ' ' && name[i] < 0x7f ? name[i] : '_');
    if (!len)
        put_char(l, '-');
    PUT(l, " - ");
}

void log_line_start(log_line *l, int format)
{
    l->view.len = 0;
    l->view.cut = 0;
    l->format = (uint8_t)format;
    l->flags = 0;
    l->depth = l->hidden = 0;
    l->comma = l->full = false;
}

static void begin_json(log_line *l, int level, const char *name, size_t name_len,
                       const char *message, size_t len)
{
    PUT(l, "{\"time\":\"");
    log_line_put_time(l, now_ns());
    PUT(l, "\",\"level\":\"");
    put(l, level_of(level)->name, strlen(level_of(level)->name));
    if (name_len) {
        PUT(l, "\",\"name\":\"");
        log_line_escape(l, name, name_len, LOG_JSON, l->view.len + 256);
    }
    PUT(l, "\",\"message\":\"");
    log_line_escape(l, message, len, LOG_JSON, l->view.len + LOG_VALUE_MAX);
    put_char(l, '"');
    l->comma = true;
}

static void begin_text(log_line *l, int level, const char *name, size_t name_len,
                       const char *message, size_t len)
{
    const struct level *about = level_of(level);
    if (!(l->flags & LINKS_LOG_SYSLOG)) {
        log_line_put_time(l, now_ns());
        put_char(l, ' ');
        if (l->flags & LINKS_LOG_COLOR)
            put(l, about->color, strlen(about->color));
        put(l, about->text, 6);
        if (l->flags & LINKS_LOG_COLOR)
            PUT(l, "\033[0m");
        if (name_len) {
            log_line_escape(l, name, name_len, LOG_QUOTED, l->view.len + 256);
            PUT(l, ": ");
        }
    }
    log_line_escape(l, message, len, LOG_PLAIN, l->view.len + LOG_VALUE_MAX);
}

static void put_journal_value(log_line *l, const char *s, size_t len);

static void begin_journal(log_line *l, int level, const char *name, size_t name_len,
                          const char *message, size_t len)
{
    PUT(l, "PRIORITY=");
    put_char(l, (char)('0' + level_of(level)->severity));
    PUT(l, "\nSYSLOG_IDENTIFIER=");
    put(l, identity.program, strlen(identity.program));
    put_char(l, '\n');
    if (name_len) {
        PUT(l, "LOGGER");
        put_journal_value(l, name, name_len < 256 ? name_len : 256);
    }
    PUT(l, "MESSAGE");
    put_journal_value(l, message, len);
}

void links_log_begin(links_log_line *line, int format, int flags, int level, const char *name,
                     size_t name_len, const char *message, size_t message_len)
{
    log_line *l = line_of(line);
    log_line_start(l, format);
    l->flags = (uint8_t)flags;
    if (flags & LINKS_LOG_SYSLOG)
        put_syslog_head(l, level, name, name_len);
    if (format == LINKS_LOG_JSON)
        begin_json(l, level, name, name_len, message, message_len);
    else if (format == LINKS_LOG_JOURNAL)
        begin_journal(l, level, name, name_len, message, message_len);
    else
        begin_text(l, level, name, name_len, message, message_len);
}

void links_log_piece(links_log_line *line, int format) { log_line_start(line_of(line), format); }

/* --- fields -------------------------------------------------------------------------------- */

/* Below the first level, and in JSON throughout. */
static bool is_json(const log_line *l) { return l->format == LINKS_LOG_JSON || l->depth; }

static void separate(log_line *l)
{
    if (l->comma && is_json(l))
        put_char(l, ',');
    l->comma = true;
}

void links_log_raw(links_log_line *line, const char *piece, size_t len)
{
    log_line *l = line_of(line);
    if (!len || !has_room(l, len + 1))
        return;
    separate(l);
    put(l, piece, len);
}

/* Names that stand without quotes in text. */
static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c >= '+' && c <= ':') || c == '_' || c == '@' || c == '%' || c == '#' || c == '~';
}

static bool is_bare(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_word(s[i]))
            return false;
    return len > 0;
}

/* Capitals, digits and underscores, the first a letter: others are journald's own, or none. */
static void put_journal_key(log_line *l, const char *name, size_t len)
{
    if (!len || !((name[0] | 0x20) >= 'a' && (name[0] | 0x20) <= 'z'))
        PUT(l, "F_");
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 0x20);
        else if (!((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')))
            c = '_';
        put_char(l, c);
    }
}

void links_log_key(links_log_line *line, const char *name, size_t len)
{
    log_line *l = line_of(line);
    if (len > 64)
        len = 64;
    /* With room for any number behind it. */
    if (!has_room(l, 6 * len + 64))
        return;
    if (is_json(l)) {
        separate(l);
        put_char(l, '"');
        log_line_escape(l, name, len, LOG_JSON, LOG_LINE_MAX);
        PUT(l, "\":");
    } else if (l->format == LINKS_LOG_JOURNAL) {
        put_journal_key(l, name, len);
    } else {
        put_char(l, ' ');
        for (size_t i = 0; i < len; i++)
            put_char(l, is_word(name[i]) ? name[i] : '_');
        put_char(l, '=');
    }
    l->comma = false;
}

static bool is_reserved(const char *name, size_t len)
{
    static const char *const reserved[] = {"time", "level", "name", "message"};
    for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++)
        if (strlen(reserved[i]) == len && memcmp(reserved[i], name, len) == 0)
            return true;
    return false;
}

void links_log_field(links_log_line *line, const char *name, size_t len)
{
    char other[8];
    if (line_of(line)->format != LINKS_LOG_TEXT && is_reserved(name, len)) {
        memcpy(other, name, len);
        other[len++] = '_';
        name = other;
    }
    links_log_key(line, name, len);
}

/* "=value", or where there is a line end in it, its length in eight bytes and then its bytes. */
static void put_journal_value(log_line *l, const char *s, size_t len)
{
    size_t room = l->view.len + 32 < LOG_LINE_MAX ? LOG_LINE_MAX - l->view.len - 32 : 0;
    if (len > LOG_VALUE_MAX || len > room) {
        len = room < LOG_VALUE_MAX ? room : LOG_VALUE_MAX;
        l->view.cut = 1;
    }
    if (memchr(s, '\n', len)) {
        put_char(l, '\n');
        for (int i = 0; i < 8; i++)
            put_char(l, (char)((uint64_t)len >> 8 * i));
    } else {
        put_char(l, '=');
    }
    put(l, s, len);
    put_char(l, '\n');
}

void links_log_string(links_log_line *line, const char *s, size_t len)
{
    log_line *l = line_of(line);
    if (l->full)
        return;
    if (!is_json(l) && l->format == LINKS_LOG_JOURNAL) {
        put_journal_value(l, s, len);
        return;
    }
    bool bare = !is_json(l) && len < LOG_VALUE_MAX && is_bare(s, len);
    if (!has_room(l, bare ? len : 3))
        return;
    separate(l);
    if (bare) {
        put(l, s, len);
        return;
    }
    put_char(l, '"');
    log_line_escape(l, s, len, is_json(l) ? LOG_JSON : LOG_QUOTED, l->view.len + LOG_VALUE_MAX);
    put_char(l, '"');
}

void links_log_word(links_log_line *line, const char *s, size_t len)
{
    log_line *l = line_of(line);
    bool journal = !is_json(l) && l->format == LINKS_LOG_JOURNAL;
    if (!has_room(l, len + 3))
        return;
    separate(l);
    if (journal)
        put_char(l, '=');
    put(l, s, len);
    if (journal)
        put_char(l, '\n');
}

void links_log_number(links_log_line *line, double n)
{
    char text[40];
    int len;
    if (n == floor(n) && fabs(n) < 1e15) {
        char *at = text;
        if (n < 0)
            *at++ = '-';
        at += decimal_write_whole(at, (uint64_t)fabs(n));
        links_log_word(line, text, (size_t)(at - text));
        return;
    }
    if (!isfinite(n)) {
        links_log_word(line, "null", 4);
        return;
    }
    /* The fewest digits that are read as this number again. */
    for (int precision = 14; precision <= 17; precision += precision == 14 ? 2 : 1) {
        len = snprintf(text, sizeof(text), "%.*g", precision, n);
        if (strtod(text, NULL) == n)
            break;
    }
    char *comma = strchr(text, ','); /* of the locale, where the program has set one */
    if (comma)
        *comma = '.';
    links_log_word(line, text, (size_t)len);
}

void links_log_open(links_log_line *line, int bracket)
{
    log_line *l = line_of(line);
    if (l->depth == LOG_DEPTH_MAX && !l->full) {
        links_log_word(line, "null", 4);
        l->full = true;
        l->view.cut = 2;
    }
    if (!has_room(l, 3)) {
        l->hidden++;
        return;
    }
    separate(l);
    if (l->format == LINKS_LOG_JOURNAL && !l->depth)
        put_char(l, '=');
    l->depth++;
    put_char(l, (char)bracket);
    l->comma = false;
}

void links_log_close(links_log_line *line, int bracket)
{
    log_line *l = line_of(line);
    if (l->hidden) {
        l->hidden--;
        return;
    }
    put_char(l, (char)bracket);
    l->depth--;
    l->comma = true;
    if (l->format == LINKS_LOG_JOURNAL && !l->depth)
        put_char(l, '\n');
}

void links_log_field_string(links_log_line *line, const char *name, size_t name_len, const char *s,
                            size_t len)
{
    links_log_field(line, name, name_len);
    links_log_string(line, s, len);
}

void links_log_field_number(links_log_line *line, const char *name, size_t name_len, double n)
{
    links_log_field(line, name, name_len);
    links_log_number(line, n);
}

/* --- ends ---------------------------------------------------------------------------------- */

void log_line_finish(log_line *l)
{
    if (l->format == LINKS_LOG_JSON) {
        if (l->view.cut)
            PUT(l, ",\"truncated\":true");
        PUT(l, "}\n");
    } else if (l->format == LINKS_LOG_JOURNAL) {
        if (l->view.cut)
            PUT(l, "TRUNCATED=true\n");
    } else {
        if (l->view.cut)
            PUT(l, " truncated=true");
        put_char(l, '\n');
    }
}

/* Appended until twice as much is there as is kept; then the older half goes. */
static void keep_line(const log_line *l)
{
    if (tail.len + l->view.len > sizeof(tail.data)) {
        uint32_t from = tail.len - LOG_TAIL_SIZE / 2;
        const char *end = memchr(tail.data + from, '\n', tail.len - from);
        uint32_t cut = end ? (uint32_t)(end + 1 - tail.data) : tail.len;
        memmove(tail.data, tail.data + cut, tail.len - cut);
        tail.len -= cut;
    }
    memcpy(tail.data + tail.len, l->buffer, l->view.len);
    tail.len += l->view.len;
}

void links_log_text(links_log_line *line, const char *s, size_t len)
{
    log_line_escape(line_of(line), s, len, LOG_PLAIN, LOG_LINE_MAX);
}

void links_log_end(links_log_line *line, int keep)
{
    log_line *l = line_of(line);
    log_line_finish(l);
    if (keep && l->format != LINKS_LOG_JOURNAL)
        keep_line(l);
}

int links_log_tail(const char **data)
{
    *data = tail.data;
    return (int)tail.len;
}
