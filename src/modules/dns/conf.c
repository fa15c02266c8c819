#include "conf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "name.h"

enum { DNS_PORT = 53 };

typedef struct slice {
    const char *at;
    size_t len;
} slice;

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The next word of the line, taken off its front. Empty: there is none. */
static slice next_word(slice *line)
{
    while (line->len && is_space(*line->at)) {
        line->at++;
        line->len--;
    }
    slice word = {line->at, 0};
    while (word.len < line->len && !is_space(word.at[word.len]))
        word.len++;
    line->at += word.len;
    line->len -= word.len;
    return word;
}

static bool is(slice word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.at, text, word.len) == 0;
}

static void add_domain(conf *c, slice word)
{
    uint8_t wire[NAME_MAX_WIRE];
    if (c->public.nsearch == CONF_MAX_SEARCH)
        return;
    /* The root is the name as it is, and that is asked for anyway. */
    if (name_from_text(wire, word.at, word.len) <= 1)
        return;
    if (word.at[word.len - 1] == '.')
        word.len--;
    char *to = c->search[c->public.nsearch++];
    memcpy(to, word.at, word.len);
    to[word.len] = '\0';
}

static void set_search(conf *c, slice line, int max)
{
    slice word;
    c->public.nsearch = 0;
    while (max-- && (word = next_word(&line)).len)
        add_domain(c, word);
}

static void add_server(conf *c, slice word)
{
    char text[ADDRESS_TEXT_MAX];
    if (c->nservers == CONF_MAX_SERVERS || word.len >= sizeof(text))
        return;
    memcpy(text, word.at, word.len);
    text[word.len] = '\0';
    if (address_parse(&c->servers[c->nservers], text, DNS_PORT) == 0)
        c->nservers++;
}

/* The value of "name:digits", at most `max`; -1 where the word is another. */
static int option_value(slice word, const char *name, int max)
{
    size_t n = strlen(name);
    if (word.len <= n || memcmp(word.at, name, n) != 0)
        return -1;
    int value = 0;
    for (; n < word.len; n++) {
        if (word.at[n] < '0' || word.at[n] > '9')
            break;
        value = value * 10 + word.at[n] - '0';
        if (value > max)
            value = max;
    }
    return value;
}

static void set_options(conf *c, slice line)
{
    slice word;
    while ((word = next_word(&line)).len) {
        int value;
        if ((value = option_value(word, "ndots:", CONF_MAX_NDOTS)) >= 0)
            c->public.ndots = value;
        else if ((value = option_value(word, "timeout:", CONF_MAX_TIMEOUT)) >= 0)
            c->public.timeout_ms = value ? value * 1000 : 1000;
        else if ((value = option_value(word, "attempts:", CONF_MAX_TRIES)) >= 0)
            c->public.tries = value ? value : 1;
        else if (is(word, "rotate"))
            c->rotate = true;
    }
}

/* The domain of "host.example.com" is "example.com". */
static void search_own_domain(conf *c)
{
    char host[NAME_MAX_WIRE + 1];
    if (gethostname(host, sizeof(host)) < 0)
        return;
    host[sizeof(host) - 1] = '\0';
    char *dot = strchr(host, '.');
    if (dot && dot[1])
        add_domain(c, (slice){dot + 1, strlen(dot + 1)});
}

void conf_init(conf *c)
{
    memset(c, 0, sizeof(*c));
    c->public = (links_dns_conf){.ndots = 1, .timeout_ms = 5000, .tries = 2};
    search_own_domain(c);
}

static void parse_line(conf *c, slice line)
{
    /* A keyword begins its line, a comment too. */
    if (!line.len || is_space(*line.at) || *line.at == '#' || *line.at == ';')
        return;
    slice keyword = next_word(&line);
    if (is(keyword, "nameserver"))
        add_server(c, next_word(&line));
    else if (is(keyword, "search"))
        set_search(c, line, CONF_MAX_SEARCH);
    else if (is(keyword, "domain"))
        set_search(c, line, 1);
    else if (is(keyword, "options"))
        set_options(c, line);
}

void conf_parse(conf *c, const char *text, size_t len)
{
    const char *end = len ? text + len : text; /* NULL is an empty text, too */
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        parse_line(c, (slice){text, (size_t)(stop - text)});
        text = stop + 1;
    }
}

void conf_environment(conf *c)
{
    const char *text = getenv("LOCALDOMAIN");
    if (text)
        set_search(c, (slice){text, strlen(text)}, CONF_MAX_SEARCH);
    text = getenv("RES_OPTIONS");
    if (text)
        set_options(c, (slice){text, strlen(text)});
    if (!c->nservers)
        address_parse(&c->servers[c->nservers++], "127.0.0.1", DNS_PORT);
}
