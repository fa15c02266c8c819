#include "unix.h"

#include <errno.h>
#include <unistd.h>

const int unix_has_abstract = 0;

int unix_credentials(int fd, int *uid, int *gid, int *pid)
{
    uid_t u;
    gid_t g;
    if (getpeereid(fd, &u, &g) < 0)
        return -errno;
    *uid = (int)u;
    *gid = (int)g;
    *pid = -1;
    return 0;
}
