/*
 * The hosts file as an administrator could write it. Whatever it says, each name in the table can
 * be found, has addresses, and its addresses have it.
 */
#include <assert.h>

#include "modules/dns/hosts.h"

static int find(const hosts *h, const uint8_t *wire, int family)
{
    answer *a = answer_new(0);
    hosts_find(h, wire, family, a);
    answer_finish(a);
    int n = a->public.count;
    for (int i = 0; i < n; i++)
        assert(a->public.records[i].len[0] > 0);
    answer_unref(a);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hosts h;
    hosts_init(&h);
    hosts_parse(&h, (const char *)data, size);
    for (uint32_t i = 1; i <= h.count && i <= 20; i++) {
        const uint8_t *wire = h.names + h.hosts[i].name;
        int n = find(&h, wire, 0);
        assert(n >= 1 && n <= HOSTS_MAX_ADDRESSES);
        assert(find(&h, wire, h.hosts[i].family) >= 1);
        answer *a = answer_new(0);
        hosts_find_names(&h, h.hosts[i].family, h.hosts[i].ip, a);
        assert(a->public.count >= 1);
        answer_unref(a);
    }
    find(&h, (const uint8_t *)"\4none", 0);
    hosts_deinit(&h);
    return 0;
}
