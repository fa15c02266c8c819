#include "modules/http/fields.h"

#include <stdio.h>
#include <string.h>

#include "modules/http/head.h"

typedef struct scan {
    const char *at, *end;
} scan;

static bool more(const scan *s) { return s->at < s->end; }

static bool take(scan *s, char c)
{
    if (!more(s) || *s->at != c)
        return false;
    s->at++;
    return true;
}

static void skip_blanks(scan *s)
{
    while (more(s) && (*s->at == ' ' || *s->at == '\t'))
        s->at++;
}

/* To the next element of a list: over blanks and commas. False at the end. */
static bool next_element(scan *s)
{
    while (more(s) && (*s->at == ' ' || *s->at == '\t' || *s->at == ','))
        s->at++;
    return more(s);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* --- ranges ----------------------------------------------------------------------------------- */

/* A number; beyond what a file can have it stays there. -1 for none. */
static int64_t take_number(scan *s)
{
    const int64_t max = INT64_MAX / 16;
    int64_t n = 0;
    if (!more(s) || !is_digit(*s->at))
        return -1;
    while (more(s) && is_digit(*s->at)) {
        n = n * 10 + (*s->at++ - '0');
        if (n > max)
            n = max;
    }
    return n;
}

/* One range: 1, 0 where nothing of it lies within, -1 where it is malformed. */
static int take_range(scan *s, int64_t size, http_range *range)
{
    int64_t from = take_number(s);
    if (!take(s, '-'))
        return -1;
    int64_t to = take_number(s);
    if (from < 0 && to < 0)
        return -1;
    if (from < 0) { /* the last so many bytes */
        from = to < size ? size - to : 0;
        if (to == 0)
            from = size;
        to = size - 1;
    } else if (to < 0 || to >= size) {
        to = size - 1;
    } else if (to < from) {
        return -1;
    }
    *range = (http_range){from, to};
    return from < size;
}

int http_ranges(const char *value, size_t len, int64_t size, http_range *ranges)
{
    scan s = {value, value + len};
    int count = 0, seen = 0;
    int64_t total = 0;

    if (len < 6 || !http_equals(value, 6, "bytes=", 6))
        return HTTP_RANGES_IGNORE;
    s.at += 6;
    while (next_element(&s)) {
        http_range r;
        int rc = take_range(&s, size, &r);
        skip_blanks(&s);
        if (rc < 0 || (more(&s) && *s.at != ',') || ++seen > HTTP_RANGES_MAX)
            return HTTP_RANGES_IGNORE;
        if (rc == 0)
            continue;
        total += r.to - r.from + 1;
        ranges[count++] = r;
    }
    /* Overlapping ranges are how one request is made to cost many answers (RFC 9110, 14.2). */
    if (!seen || (count > 1 && total > size))
        return HTTP_RANGES_IGNORE;
    return count ? count : HTTP_RANGES_NONE;
}

/* --- encodings -------------------------------------------------------------------------------- */

/* A weight "q=0.123" behind a semicolon; other parameters are skipped. -1 for a malformed one. */
static int take_weight(scan *s)
{
    int q = HTTP_Q_MAX;
    for (;;) {
        skip_blanks(s);
        if (!take(s, ';'))
            return q;
        skip_blanks(s);
        if (s->end - s->at < 3 || (*s->at | 32) != 'q' || s->at[1] != '=') {
            while (more(s) && *s->at != ';' && *s->at != ',')
                s->at++;
            continue;
        }
        s->at += 2;
        if (*s->at != '0' && *s->at != '1')
            return -1;
        q = (*s->at++ - '0') * HTTP_Q_MAX;
        if (take(s, '.'))
            for (int unit = HTTP_Q_MAX / 10; unit && more(s) && is_digit(*s->at); unit /= 10)
                q += (*s->at++ - '0') * unit;
        if (q > HTTP_Q_MAX || (more(s) && is_digit(*s->at)))
            return -1;
    }
}

int http_accept_encoding(const char *value, size_t len, const char *coding)
{
    scan s = {value, value + len};
    size_t coding_len = strlen(coding);
    int any = -1;

    while (next_element(&s)) {
        const char *name = s.at;
        while (more(&s) && *s.at != ',' && *s.at != ';' && *s.at != ' ' && *s.at != '\t')
            s.at++;
        size_t name_len = (size_t)(s.at - name);
        int q = take_weight(&s);
        while (more(&s) && *s.at != ',')
            s.at++;
        if (q < 0)
            continue;
        if (http_equals(name, name_len, coding, coding_len))
            return q;
        /* The name that gzip had in HTTP/1.0 (RFC 9110, 8.4.1.3). */
        if (name_len == 6 && coding_len == 4 && http_equals(name, 6, "x-gzip", 6) &&
            memcmp(coding, "gzip", 4) == 0)
            return q;
        if (name_len == 1 && *name == '*')
            any = q;
    }
    return any > 0 && strcmp(coding, "identity") == 0 ? -1 : any;
}

/* --- validators ------------------------------------------------------------------------------- */

bool http_etag_listed(const char *value, size_t len, const char *tag, bool strong)
{
    scan s = {value, value + len};
    size_t tag_len = strlen(tag);

    while (next_element(&s)) {
        if (*s.at == '*')
            return true;
        bool weak = s.end - s.at >= 2 && s.at[0] == 'W' && s.at[1] == '/';
        if (weak)
            s.at += 2;
        const char *start = s.at;
        if (!take(&s, '"'))
            return false;
        const char *quote = memchr(s.at, '"', (size_t)(s.end - s.at));
        if (!quote)
            return false;
        s.at = quote + 1;
        if (!(weak && strong) && (size_t)(s.at - start) == tag_len &&
            memcmp(start, tag, tag_len) == 0)
            return true;
    }
    return false;
}

/* --- dates ------------------------------------------------------------------------------------ */

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* Days since 1970 of a day of the Gregorian calendar. */
static int64_t days_of(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool take_digits(scan *s, int count, int *n)
{
    *n = 0;
    while (count-- > 0) {
        if (!more(s) || !is_digit(*s->at))
            return false;
        *n = *n * 10 + (*s->at++ - '0');
    }
    return true;
}

static bool take_month(scan *s, int *month)
{
    for (int i = 0; i < 12 && s->end - s->at >= 3; i++) {
        if (memcmp(s->at, months + i * 3, 3) == 0) {
            s->at += 3;
            *month = i + 1;
            return true;
        }
    }
    return false;
}

static bool take_time(scan *s, int *seconds)
{
    int h, m, sec;
    if (!take_digits(s, 2, &h) || !take(s, ':') || !take_digits(s, 2, &m) || !take(s, ':') ||
        !take_digits(s, 2, &sec) || h > 23 || m > 59 || sec > 60)
        return false;
    *seconds = h * 3600 + m * 60 + sec;
    return true;
}

static bool take_text(scan *s, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, text, len) != 0)
        return false;
    s->at += len;
    return true;
}

/* "Sun Nov  6 08:49:37 1994", behind the name of the day. */
static bool take_asctime(scan *s, int *year, int *month, int *day, int *seconds)
{
    if (!take(s, ' ') || !take_month(s, month) || !take(s, ' '))
        return false;
    if (!take_digits(s, take(s, ' ') ? 1 : 2, day))
        return false;
    return take(s, ' ') && take_time(s, seconds) && take(s, ' ') && take_digits(s, 4, year);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" or "Sunday, 06-Nov-94 08:49:37 GMT", behind the comma. */
static bool take_gmt(scan *s, int *year, int *month, int *day, int *seconds)
{
    if (!take(s, ' ') || !take_digits(s, 2, day))
        return false;
    bool old = take(s, '-');
    if ((!old && !take(s, ' ')) || !take_month(s, month) || !take(s, old ? '-' : ' ') ||
        !take_digits(s, old ? 2 : 4, year))
        return false;
    if (old)
        *year += *year < 70 ? 2000 : 1900;
    return take(s, ' ') && take_time(s, seconds) && take_text(s, " GMT");
}

int64_t http_date(const char *value, size_t len)
{
    scan s = {value, value + len};
    int year, month, day, seconds;
    while (more(&s) && *s.at != ',' && *s.at != ' ')
        s.at++;
    if (s.at - value < 3)
        return -1;
    bool ok = take(&s, ',') ? take_gmt(&s, &year, &month, &day, &seconds)
                            : take_asctime(&s, &year, &month, &day, &seconds);
    if (!ok || more(&s) || day < 1 || day > 31 || year < 1970)
        return -1;
    return days_of(year, month, day) * 86400 + seconds;
}

void http_put_date(char *to, int64_t seconds)
{
    int64_t days = seconds / 86400, rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t of_era = z - era * 146097;
    int64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * years + years / 4 - years / 100);
    int64_t mp = (5 * of_year + 2) / 153;
    int day = (int)(of_year - (153 * mp + 2) / 5 + 1);
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);
    int year = (int)(years + era * 400 + (month <= 2));
    int weekday = (int)(((days + 4) % 7 + 7) % 7);
    char text[64];
    snprintf(text, sizeof(text), "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
             &"SunMonTueWedThuFriSat"[weekday * 3], day, &months[(month - 1) * 3], year % 10000,
             (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60));
    memcpy(to, text, 29);
    to[29] = '\0';
}
