/*
 * Rotated files: app.log is renamed app.log.20260131-120000, so that nothing has to be moved along
 * and names never meet; the oldest go, and the others may be compressed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"
#include "target.h"

enum {
    STAMP = 15, /* "20260131-120000" */
    SAME_SECOND_MAX = 1000,
    ROTATED_MAX = 65536, /* files looked at */
    SETTLE_S = 2,        /* other processes that have the file open notice within that */
    BLOCK = 65536,
};

/* --- periods ------------------------------------------------------------------------------- */

int64_t log_rotate_period(int every, int64_t now)
{
    time_t t = (time_t)now;
    struct tm tm;
    localtime_r(&t, &tm);
    tm.tm_min = tm.tm_sec = 0;
    if (every != 'h')
        tm.tm_hour = 0;
    if (every == 'w')
        tm.tm_mday -= (tm.tm_wday + 6) % 7; /* Monday */
    tm.tm_isdst = -1;
    return (int64_t)mktime(&tm);
}

/* --- names --------------------------------------------------------------------------------- */

int log_rotate_rename(const char *path, size_t size, char *name)
{
    char stamp[32];
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
    for (int i = 1; i < SAME_SECOND_MAX; i++) {
        int n = i == 1 ? snprintf(name, size, "%s.%s", path, stamp)
                       : snprintf(name, size, "%s.%s-%d", path, stamp, i);
        if (n < 0 || (size_t)n + 8 >= size)
            return -ENAMETOOLONG;
        char packed[PATH_MAX + 8];
        snprintf(packed, sizeof(packed), "%s.gz", name);
        struct stat st;
        if (lstat(name, &st) < 0 && errno == ENOENT && lstat(packed, &st) < 0)
            return rename(path, name) < 0 ? -errno : 0;
    }
    return -EEXIST;
}

/* The age of a file that has one of the names above, of the file `base`: its digits, as a number
 * that grows with time; 0 for any other name. *packed: with ".gz" behind it. */
static uint64_t age_of(const char *name, const char *base, bool *packed)
{
    size_t len = strlen(base);
    if (strncmp(name, base, len) != 0 || name[len] != '.')
        return 0;
    const char *at = name + len + 1;
    uint64_t age = 0, nth = 1;
    for (int i = 0; i < STAMP; i++, at++) {
        if (i == 8 ? *at != '-' : *at < '0' || *at > '9')
            return 0;
        age = i == 8 ? age : age * 10 + (uint64_t)(*at - '0');
    }
    if (*at == '-')
        nth = strtoull(at + 1, (char **)&at, 10);
    *packed = strcmp(at, ".gz") == 0;
    return (*packed || !*at) && nth < SAME_SECOND_MAX ? age * SAME_SECOND_MAX + nth : 0;
}

typedef struct rotated {
    char *path;
    uint64_t age;
    bool packed;
} rotated;

static int by_age(const void *a, const void *b)
{
    const rotated *x = a, *y = b;
    return x->age < y->age ? -1 : x->age > y->age;
}

/* All of them, the oldest first; to be given to free_rotated. */
static rotated *find_rotated(const char *path, size_t *count)
{
    const char *slash = strrchr(path, '/');
    int folder_len = slash ? (int)(slash - path + 1) : 0;
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%.*s", folder_len ? folder_len : 1, folder_len ? path : ".");
    rotated *files = NULL;
    *count = 0;
    DIR *dir = opendir(folder);
    if (!dir)
        return NULL;
    for (struct dirent *entry; *count < ROTATED_MAX && (entry = readdir(dir));) {
        bool packed = false;
        uint64_t age = age_of(entry->d_name, path + folder_len, &packed);
        if (!age)
            continue;
        size_t size = (size_t)folder_len + strlen(entry->d_name) + 1;
        if ((*count & (*count - 1)) == 0)
            files = mem_realloc(files, (*count ? *count * 2 : 1) * sizeof(*files));
        files[*count] = (rotated){.path = mem_alloc(size), .age = age, .packed = packed};
        snprintf(files[*count].path, size, "%.*s%s", folder_len, path, entry->d_name);
        ++*count;
    }
    closedir(dir);
    if (*count)
        qsort(files, *count, sizeof(*files), by_age);
    return files;
}

static void free_rotated(rotated *files, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free(files[i].path);
    mem_free(files);
}

/* --- compressing --------------------------------------------------------------------------- */

static int copy_packed(int from, gzFile to)
{
    char *block = mem_alloc(BLOCK);
    ssize_t n;
    while ((n = read(from, block, BLOCK)) > 0)
        if (gzwrite(to, block, (unsigned)n) != n)
            break;
    mem_free(block);
    return n == 0 ? 0 : -1;
}

/* The packed file appears whole, and then the other one goes. */
static void pack(const char *path)
{
    char partial[PATH_MAX + 8], packed[PATH_MAX + 4];
    struct stat st;
    snprintf(partial, sizeof(partial), "%s.gz.tmp", path);
    snprintf(packed, sizeof(packed), "%s.gz", path);
    int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0)
        return;
    /* Another process may be at it. */
    if (flock(from, LOCK_EX | LOCK_NB) < 0 || fstat(from, &st) < 0) {
        close(from);
        return;
    }
    int to =
        open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, st.st_mode & 0777);
    gzFile gz = to >= 0 ? gzdopen(to, "wb6") : NULL;
    if (!gz && to >= 0)
        close(to);
    int rc = gz ? copy_packed(from, gz) : -1;
    if (gz && gzclose(gz) != Z_OK)
        rc = -1;
    if (rc == 0 && rename(partial, packed) == 0)
        unlink(path);
    else if (to >= 0)
        unlink(partial);
    close(from);
}

static void *pack_main(void *arg)
{
    char *path = arg;
    size_t count;
    sleep(SETTLE_S);
    rotated *files = find_rotated(path, &count);
    for (size_t i = 0; i < count; i++)
        if (!files[i].packed)
            pack(files[i].path);
    free_rotated(files, count);
    mem_free(path);
    return NULL;
}

/* This runs on a sink's thread, where all signals are blocked already. */
static void start_packing(const char *path)
{
    pthread_t thread;
    pthread_attr_t attr;
    size_t len = strlen(path) + 1;
    char *copy = memcpy(mem_alloc(len), path, len);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, pack_main, copy) != 0)
        mem_free(copy); /* the next rotation will find the file */
    pthread_attr_destroy(&attr);
}

void log_rotate_tidy(const char *path, int keep, bool compress)
{
    size_t count;
    rotated *files = find_rotated(path, &count);
    for (size_t i = 0; i + (size_t)keep < count; i++)
        unlink(files[i].path);
    free_rotated(files, count);
    if (compress)
        start_packing(path);
}
