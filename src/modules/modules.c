#include "modules/modules.h"

#include <http_parser.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <zlib.h>

#include "modules/dns/resolver.h"
#include "modules/http/reply.h"
#include "modules/log/writer.h"
#include "modules/metrics/metrics.h"
#include "modules/net/net.h"
#include "modules/net/tcp_socket.h"
#include "modules/process/unit.h"
#include "modules/shared/bell.h"
#include "modules/shared/presence.h"
#include "modules/websocket/conn.h"
#include "modules/work.h"

static net *shared;

void modules_open(ev_loop *loop)
{
    shared = net_open(loop);
    tcp_open();
    reply_open();
    websocket_open();
    children_open(loop);
}

void modules_close(ev_loop *loop)
{
    signals_close(loop);
    children_close();
    process_close();
    dns_close();
    websocket_close();
    work_close();
    bell_close();
    presence_close();
    metrics_close();
    log_close();
    net_close(shared);
    shared = NULL;
}

void modules_print_versions(void)
{
    unsigned long v = http_parser_version();
    printf("http-parser %lu.%lu.%lu\n", v >> 16 & 255, v >> 8 & 255, v & 255);
    dns_print_version();
    printf("zlib %s\n", zlibVersion());
    printf("%s\n", OpenSSL_version(OPENSSL_VERSION));
}
