#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

int address_parse(address *a, const char *host, int port)
{
    *a = (address){.port = (uint16_t)port};
    if (inet_pton(AF_INET, host, a->ip) == 1)
        a->family = 4;
    else if (inet_pton(AF_INET6, host, a->ip) == 1)
        a->family = 6;
    else
        return -EINVAL;
    return 0;
}

/* Each line of an access log has one, and inet_ntop takes 100 ns. */
static int format_ip4(const uint8_t *ip, char *text)
{
    char *at = text;
    for (int i = 0; i < 4; i++) {
        if (ip[i] >= 100)
            *at++ = (char)('0' + ip[i] / 100);
        if (ip[i] >= 10)
            *at++ = (char)('0' + ip[i] / 10 % 10);
        *at++ = (char)('0' + ip[i] % 10);
        *at++ = i < 3 ? '.' : '\0';
    }
    return (int)(at - text) - 1;
}

int address_format(const address *a, char text[static ADDRESS_TEXT_MAX])
{
    text[0] = '\0';
    if (a->family == 4)
        return format_ip4(a->ip, text);
    if (a->family)
        inet_ntop(AF_INET6, a->ip, text, ADDRESS_TEXT_MAX);
    return (int)strlen(text);
}

socklen_t address_to_sockaddr(const address *a, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof(*ss));
    if (a->family == 6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        memcpy(&in6->sin6_addr, a->ip, 16);
        return sizeof(*in6);
    }
    struct sockaddr_in *in = (struct sockaddr_in *)ss;
    in->sin_family = AF_INET;
    in->sin_port = htons(a->port);
    memcpy(&in->sin_addr, a->ip, 4);
    return sizeof(*in);
}

void address_from_sockaddr(address *a, const struct sockaddr_storage *ss)
{
    *a = (address){0};
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
        a->family = 4;
        a->port = ntohs(in->sin_port);
        memcpy(a->ip, &in->sin_addr, 4);
    } else if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
        a->family = 6;
        a->port = ntohs(in6->sin6_port);
        memcpy(a->ip, &in6->sin6_addr, 16);
    }
}
