#include "notify.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "modules/net/sock.h"
#include "modules/net/unix.h"

enum { PATIENCE_MS = 1000 };

static struct {
    char *path;
    double watchdog_usec;
} self;

/* Who passes its environment on has not meant us: then there is another id. */
static double read_watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (!usec || (pid && strtol(pid, NULL, 10) != (long)getpid()))
        return 0;
    double n = strtod(usec, NULL);
    return n >= 1 ? n : 0;
}

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    /* Others, such as "vsock:", are for whole machines. */
    if (path && (*path == '/' || *path == '@'))
        self.path = mem_strdup(path);
    self.watchdog_usec = read_watchdog();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_close(void)
{
    mem_free(self.path);
    self.path = NULL;
}

const char *links_notify_socket(void) { return self.path; }

double links_notify_watchdog(void) { return self.watchdog_usec; }

static int send_all(int fd, const char *text, size_t len, bool insists)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n >= 0)
            return (size_t)n == len ? 0 : -EMSGSIZE;
        if (errno == EINTR)
            continue;
        if ((errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS) || !insists)
            return -errno;
        insists = false; /* once is enough */
        if (poll(&p, 1, PATIENCE_MS) < 0 && errno != EINTR)
            return -errno;
    }
}

int links_notify(const char *text, size_t len, int insists)
{
    struct sockaddr_un un;
    if (!self.path)
        return LINKS_NOT_FOUND;
    int size = unix_address(&un, self.path, strlen(self.path));
    if (size < 0)
        return size;
    /* Each time anew: it is seldom, and the manager may have been started again. */
    int fd = sock_open(AF_UNIX, SOCK_DGRAM);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, (struct sockaddr *)&un, (socklen_t)size) < 0 ? -errno : 0;
    if (rc == 0)
        rc = send_all(fd, text, len, insists);
    close(fd);
    return rc;
}
