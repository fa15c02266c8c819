-- The C side of the resolver, as src/modules/dns/dns.h declares it.
local ffi = require "ffi"

ffi.cdef [[
typedef struct links_dns_record {
    const char *text[4];
    uint32_t len[4];
    uint32_t number[5];
    uint32_t ttl;
    uint32_t type;
} links_dns_record;
typedef struct links_dns_answer {
    int32_t status;
    int32_t count;
    const links_dns_record *records;
} links_dns_answer;
typedef struct links_dns_conf {
    int32_t ndots;
    int32_t timeout_ms;
    int32_t tries;
    int32_t nsearch;
} links_dns_conf;
typedef struct links_dns_setup {
    const char *hosts;
    const char *resolv_conf;
    double cache_size;
    double min_ttl, max_ttl, max_negative_ttl;
} links_dns_setup;
typedef struct links_dns_stats {
    double hits, misses;
    double shared;
    double queries;
    double timeouts;
    double failures;
    double cached, bytes;
    double pending;
} links_dns_stats;
typedef struct links_dns_ask links_dns_ask;
int links_dns_refresh(void);
const links_dns_conf *links_dns_conf_now(void);
const char *links_dns_search(int i);
const links_dns_answer *links_dns_local(const char *name, size_t len, int family);
const links_dns_answer *links_dns_local_names(const char *ip);
int links_dns_arpa(const char *ip, char name[80]);
const links_dns_answer *links_dns_cached(int servers, const char *name, size_t len,
                                                   int type);
int links_dns_status(const links_dns_answer *answer);
double links_dns_age(const links_dns_answer *answer);
links_dns_ask *links_dns_ask_new(void);
void links_dns_ask_free(links_dns_ask *ask);
int links_dns_ask_start(links_dns_ask *ask, int servers, const char *name, size_t len,
                                  int type, int timeout_ms, int tries);
int links_dns_ask_wait(links_dns_ask *ask, int want, int timeout_ms);
const links_dns_answer *links_dns_ask_answer(const links_dns_ask *ask, int i);
int links_dns_servers(const char *list);
const char *links_dns_servers_text(int servers);
void links_dns_servers_default(int servers);
int links_dns_order(const char *list, uint8_t order[64]);
int links_dns_clear(const char *name, size_t len);
void links_dns_setup_now(const links_dns_setup *setup);
void links_dns_stats_now(links_dns_stats *stats);
]]

return {
    C = ffi.C,
    AGAIN = -19999,
    ENODATA = -10001,
    ESERVFAIL = -10003,
    ENOTFOUND = -10004,
    EBADNAME = -10008,
    EBADRESP = -10010,
    A = 1,
    PTR = 12,
    AAAA = 28,
}
