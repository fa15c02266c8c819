#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#ifdef __APPLE__
#define st_mtim st_mtimespec
#define st_ctim st_ctimespec
#endif

bool file_changed(const char *path, file_stamp *stamp)
{
    file_stamp now;
    struct stat st;
    memset(&now, 0, sizeof(now)); /* compared with its padding */
    if (stat(path, &st) == 0) {
        now.dev = st.st_dev;
        now.ino = st.st_ino;
        now.size = st.st_size;
        now.modified = st.st_mtim;
        now.changed = st.st_ctim;
    }
    if (memcmp(&now, stamp, sizeof(now)) == 0)
        return false;
    *stamp = now;
    return true;
}

char *file_read(const char *path, size_t max, size_t *len)
{
    struct stat st;
    /* Not blocking, or a named pipe would hold the process up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    char *text = NULL;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        goto done;
    /* One more, to see the end of a file that is as long as it was. */
    size_t want = (size_t)st.st_size < max ? (size_t)st.st_size + 1 : max;
    text = mem_alloc(want);
    *len = 0;
    while (*len < want) {
        ssize_t n = read(fd, text + *len, want - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            mem_free(text);
            text = NULL;
        }
        if (n <= 0)
            break;
        *len += (size_t)n;
    }
done:
    close(fd);
    return text;
}
