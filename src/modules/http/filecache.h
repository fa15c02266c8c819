/*
 * The inside of files.h: the cache (filecache.c) and the answers (files.c).
 *
 * An entry stands for a path below the folder; its versions are the file itself and its compressed
 * siblings. It is loaded on a thread, and looked at again there when it has not been for a while:
 * what has not changed is kept.
 */
#ifndef LINKS_MODULES_HTTP_FILECACHE_H
#define LINKS_MODULES_HTTP_FILECACHE_H

#include "files.h"
#include "lua/sched.h"
#include "modules/net/sendfile.h"

enum {
    FILES_PATH_MAX = 2048, /* bytes of a path, decoded */
    FILES_KEEP_MIN = 16,   /* entries kept for those who wait for them, cached or not */
    FILES_TYPES = 256,     /* slots for media types */
};

/* Of versions that a client likes equally it gets the last. */
enum { VERSION_PLAIN, VERSION_GZIP, VERSION_ZSTD, VERSION_BR, VERSIONS };

/* What tells one state of a file from another. */
typedef struct file_identity {
    int64_t size, mtime_ns, ctime_ns;
    uint64_t ino, dev;
} file_identity;

typedef struct file_version {
    file_identity id;
    shared_file *file; /* NULL where it is in memory or not there */
    char *body;        /* in memory */
    bool there;
    char etag[64];
    char *fields; /* of a 200, as they stand in the head */
    uint32_t fields_len;
    uint32_t type_len; /* bytes of the first of them, Content-Type */
} file_version;

typedef struct file_load file_load;
typedef struct http_files http_files;

typedef struct file_entry {
    list link;               /* in files->lru, the least recently used first */
    struct file_entry *next; /* of the same hash */
    uint32_t hash;
    int rc;        /* 0, or why there is nothing */
    double ticket; /* of the load that it is of */
    int64_t checked_ms;
    file_load *load; /* going on */
    waitq waiters;
    bool varies; /* there are compressed siblings */
    int64_t modified_s;
    file_version versions[VERSIONS];
    size_t len;
    char path[];
} file_entry;

typedef struct media_type {
    struct media_type *next;
    char *type;
    char extension[];
} media_type;

struct http_files {
    links_http_files view; /* first */
    links_http_files_options options;
    char *folder, *index, *cache_control;
    list lru;
    uint32_t count, size; /* entries; slots, a power of two */
    file_entry **slots;
    double tickets;
    media_type *types[FILES_TYPES];
};

/* The entry of a path, ready to be answered from: 0. Else LINKS_AGAIN with the task parked and the
 * ticket set, or what is wrong. */
int filecache_get(http_files *f, const char *path, size_t len, double ticket, file_entry **entry);

/* Opens a path below the folder that `root` is, without waiting for pipes and the like: a
 * descriptor or -errno. `links` as in files.h. Of beneath_linux.c and beneath_bsd.c. */
int beneath_open(int root, const char *path, int links);

/* Opens a folder to look below it. */
int beneath_root(const char *folder);

/* The same by one step for each part of the path, where the system has no call for it: no link is
 * followed. */
int beneath_walk(int root, const char *path);

#endif
