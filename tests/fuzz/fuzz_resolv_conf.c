/*
 * resolv.conf as an administrator could write it. Whatever it says stays within the limits, and
 * every domain to search is a name.
 */
#include <assert.h>
#include <string.h>

#include "modules/dns/conf.h"
#include "modules/dns/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static conf c;
    uint8_t wire[NAME_MAX_WIRE];

    conf_init(&c);
    conf_parse(&c, (const char *)data, size);
    assert(c.nservers >= 0 && c.nservers <= CONF_MAX_SERVERS);
    assert(c.public.nsearch >= 0 && c.public.nsearch <= CONF_MAX_SEARCH);
    assert(c.public.ndots >= 0 && c.public.ndots <= CONF_MAX_NDOTS);
    assert(c.public.timeout_ms >= 1000 && c.public.timeout_ms <= CONF_MAX_TIMEOUT * 1000);
    assert(c.public.tries >= 1 && c.public.tries <= CONF_MAX_TRIES);
    for (int i = 0; i < c.nservers; i++)
        assert(c.servers[i].family && c.servers[i].port == 53);
    for (int i = 0; i < c.public.nsearch; i++)
        assert(name_from_text(wire, c.search[i], strlen(c.search[i])) > 1);
    return 0;
}
