#include "modules/tls/ktls.h"

/* FreeBSD's is not used. */
bool ktls_prepare(int fd)
{
    (void)fd;
    return false;
}
