#include "unix.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "inherited.h"
#include "lent.h"
#include "sock.h"

int unix_address(struct sockaddr_un *un, const char *path, size_t len)
{
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!len || memchr(path, '\0', len))
        return -EINVAL;
    if (*path == '@') {
        if (!unix_has_abstract)
            return LINKS_UNSUPPORTED;
        if (len > sizeof(un->sun_path))
            return -ENAMETOOLONG;
        memcpy(un->sun_path + 1, path + 1, len - 1);
        return (int)(offsetof(struct sockaddr_un, sun_path) + len);
    }
    if (len >= sizeof(un->sun_path))
        return -ENAMETOOLONG;
    memcpy(un->sun_path, path, len);
    return (int)(offsetof(struct sockaddr_un, sun_path) + len + 1);
}

int unix_path_of(const struct sockaddr_un *un, socklen_t len, char *text)
{
    size_t n = len > offsetof(struct sockaddr_un, sun_path)
                   ? len - offsetof(struct sockaddr_un, sun_path)
                   : 0;
    if (n > sizeof(un->sun_path))
        n = sizeof(un->sun_path);
    if (n && un->sun_path[0])
        n = strnlen(un->sun_path, n);
    memcpy(text, un->sun_path, n);
    if (n && !text[0])
        text[0] = '@';
    return (int)n;
}

/* Whether nobody listens on the socket file: only then it may be removed. */
static bool is_stale(const struct sockaddr_un *un, int len)
{
    struct stat st;
    if (lstat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = sock_open(AF_UNIX, SOCK_STREAM);
    if (fd < 0)
        return false;
    bool stale =
        connect(fd, (const struct sockaddr *)un, (socklen_t)len) < 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

void unix_file_adopt(unix_file *file, const char *path)
{
    struct stat st;
    *file = (unix_file){0};
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    file->path = mem_strdup(path);
    file->dev = st.st_dev;
    file->ino = st.st_ino;
}

void unix_file_forget(unix_file *file)
{
    mem_free(file->path);
    file->path = NULL;
}

static uint32_t id_of(double id) { return id < 0 ? (uint32_t)-1 : (uint32_t)id; }

/* Nobody can connect before the socket listens, so there is time to say who may. */
static int settle(unix_file *file, const struct sockaddr_un *un, const links_unix_options *o)
{
    const char *path = un->sun_path;
    if ((o->uid >= 0 || o->gid >= 0) && lchown(path, id_of(o->uid), id_of(o->gid)) < 0)
        return -errno;
    if (o->mode >= 0 && chmod(path, (mode_t)o->mode) < 0)
        return -errno;
    unix_file_adopt(file, path);
    return file->path ? 0 : -ENOENT;
}

int unix_bind(unix_file *file, const char *path, size_t path_len, const links_unix_options *o)
{
    struct sockaddr_un un;
    *file = (unix_file){0};
    int len = unix_address(&un, path, path_len);
    if (len < 0)
        return len;
    int fd = inherited_path(SOCK_STREAM, path, path_len);
    if (fd >= 0)
        return fd; /* whoever has made the file removes it */
    fd = sock_open(AF_UNIX, SOCK_STREAM);
    if (fd < 0)
        return -errno;
    int rc = bind(fd, (const struct sockaddr *)&un, (socklen_t)len) < 0 ? -errno : 0;
    if (rc == -EADDRINUSE && o->unlink_stale && un.sun_path[0] && is_stale(&un, len)) {
        unlink(un.sun_path);
        rc = bind(fd, (const struct sockaddr *)&un, (socklen_t)len) < 0 ? -errno : 0;
    }
    if (rc == 0 && un.sun_path[0]) {
        rc = settle(file, &un, o);
        if (rc < 0)
            unlink(un.sun_path);
    }
    if (rc == 0 && !o->unlink_stale)
        unix_file_forget(file);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

int unix_listen(unix_file *file, const char *path, size_t len, const links_unix_options *options,
                uint32_t *lease)
{
    *lease = 0;
    if (!lent_active())
        return unix_bind(file, path, len, options);
    *file = (unix_file){0};
    return lent_unix(path, len, options, lease);
}

void unix_file_remove(unix_file *file)
{
    struct stat st;
    if (!file->path)
        return;
    if (lstat(file->path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino)
        unlink(file->path);
    unix_file_forget(file);
}
