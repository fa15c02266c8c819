#define _GNU_SOURCE /* struct ucred */
#include "unix.h"

#include <errno.h>

const int unix_has_abstract = 1;

int unix_credentials(int fd, int *uid, int *gid, int *pid)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return -errno;
    if (who.uid ==
        (uid_t)-1) /* what the system says of a socket that is not connected, or of TCP */
        return -ENOTCONN;
    *uid = (int)who.uid;
    *gid = (int)who.gid;
    *pid = (int)who.pid;
    return 0;
}
