#include "filecache.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/posix.h"
#include "fields.h"
#include "modules/work.h"

enum { FIRST_SLOTS = 64 };

static const char *const suffixes[VERSIONS] = {"", ".gz", ".zst", ".br"};
static const char *const codings[VERSIONS] = {"", "gzip", "zstd", "br"};

/* --- opening, on a thread --------------------------------------------------------------------- */

/* A version as a thread has found it. */
typedef struct found {
    int fd; /* -1: in memory, unchanged, or not there */
    bool there, unchanged;
    file_identity id;
    char *body;
} found;

struct file_load {
    work work;
    http_files *files;
    file_entry *entry; /* NULL once nobody wants it */
    file_identity known[VERSIONS];
    bool is_known[VERSIONS];
    bool wanted[VERSIONS];
    found found[VERSIONS];
    int links, memory_max;
    int rc;
    char *folder, *path, *index;
    char text[];
};

int beneath_walk(int root, const char *path)
{
    char part[256];
    for (int at = root;;) {
        size_t len = strcspn(path, "/");
        bool last = !path[len] || !path[len + 1];
        int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
        int fd = -1, error = ENAMETOOLONG;
        if (len < sizeof(part)) {
            memcpy(part, path, len);
            part[len] = '\0';
            fd = openat(at, part, path[len] ? flags | O_DIRECTORY : flags);
            error = errno;
        }
        if (at != root)
            close(at);
        if (fd < 0)
            return -error;
        if (last)
            return fd;
        at = fd;
        path += len + 1;
    }
}

static file_identity identify(const struct stat *st)
{
    return (file_identity){
        .size = (int64_t)st->st_size,
        .mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
        .ctime_ns = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec,
        .ino = (uint64_t)st->st_ino,
        .dev = (uint64_t)st->st_dev,
    };
}

static bool same(const file_identity *a, const file_identity *b)
{
    return a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns &&
           a->ino == b->ino && a->dev == b->dev;
}

/* All of a small file. NULL where it has changed under our hands: then it goes by descriptor. */
static char *read_body(int fd, int64_t size)
{
    char *body = mem_alloc(size ? (size_t)size : 1);
    int64_t have = 0;
    while (have < size) {
        ssize_t n = pread(fd, body + have, (size_t)(size - have), (off_t)have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            mem_free(body);
            return NULL;
        }
        have += n;
    }
    return body;
}

/* 0, or why it is nothing to send. */
static int find_version(file_load *l, int root, const char *path, int i)
{
    struct stat st;
    found *v = &l->found[i];
    int fd = beneath_open(root, path, l->links);
    if (fd < 0)
        return fd;
    int rc = fstat(fd, &st) < 0 ? -errno : 0;
    if (rc == 0 && !S_ISREG(st.st_mode))
        rc = S_ISDIR(st.st_mode) ? -EISDIR : -ENOENT;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    v->there = true;
    v->id = identify(&st);
    v->unchanged = l->is_known[i] && same(&l->known[i], &v->id);
    if (!v->unchanged && st.st_size <= l->memory_max)
        v->body = read_body(fd, (int64_t)st.st_size);
    if (v->unchanged || v->body)
        close(fd);
    else
        v->fd = fd;
    return 0;
}

static void run(work *w)
{
    file_load *l = CONTAINER_OF(w, file_load, work);
    char path[FILES_PATH_MAX * 2];
    size_t len = strlen(l->path);
    bool is_folder = !len || l->path[len - 1] == '/';
    int root = beneath_root(l->folder);
    if (root < 0) {
        l->rc = root;
        return;
    }
    snprintf(path, sizeof(path), "%s%s", l->path, is_folder ? l->index : "");
    l->rc = is_folder && !*l->index ? -ENOENT : find_version(l, root, path, VERSION_PLAIN);
    if (is_folder && l->rc == -ENOENT) {
        /* No index, then; but is there a folder? */
        int fd = beneath_open(root, *l->path ? l->path : ".", l->links);
        l->rc = fd < 0 ? fd : -EISDIR;
        if (fd >= 0)
            close(fd);
    } else if (l->rc == 0) {
        len = strlen(path);
        for (int i = 1; i < VERSIONS; i++) {
            snprintf(path + len, sizeof(path) - len, "%s", suffixes[i]);
            if (l->wanted[i])
                (void)find_version(l, root, path, i);
        }
    }
    close(root);
}

/* --- what an entry says ----------------------------------------------------------------------- */

static uint32_t hash_of(const char *s, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h ^ h >> 15;
}

static const char *type_of(const http_files *f, const char *path, size_t len)
{
    char extension[32];
    size_t n = 0;
    while (n < len && path[len - 1 - n] != '.' && path[len - 1 - n] != '/')
        n++;
    if (n == len || path[len - 1 - n] == '/' || n >= sizeof(extension))
        n = 0;
    for (size_t i = 0; i < n; i++) {
        char c = path[len - n + i];
        extension[i] = (char)(c >= 'A' && c <= 'Z' ? c | 32 : c);
    }
    extension[n] = '\0';
    for (const char *want = extension;; want = "") {
        const media_type *t = f->types[hash_of(want, strlen(want)) % FILES_TYPES];
        for (; t; t = t->next)
            if (strcmp(t->extension, want) == 0)
                return t->type;
        if (!*want)
            return "application/octet-stream";
    }
}

/* The fields of an answer with this version, made once. */
static void make_fields(const http_files *f, const file_entry *e, file_version *v, int i)
{
    char text[1024], date[32];
    const links_http_files_options *o = &f->options;
    size_t len = e->len;
    const char *path = e->path;
    if (!len || path[len - 1] == '/') {
        path = f->index;
        len = strlen(path);
    }
    v->etag[0] = '\0';
    if (o->etag)
        snprintf(v->etag, sizeof(v->etag), "\"%llx-%llx%s%s\"", (unsigned long long)v->id.mtime_ns,
                 (unsigned long long)v->id.size, i ? "-" : "", codings[i]);
    http_put_date(date, e->modified_s);
    int type_len = snprintf(text, sizeof(text), "Content-Type: %.200s\r\n", type_of(f, path, len));
    int n = type_len;
    n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%s%s%s%s%s%s%s%s",
                  *v->etag ? "ETag: " : "", v->etag, *v->etag ? "\r\n" : "",
                  o->last_modified ? "Last-Modified: " : "", o->last_modified ? date : "",
                  o->last_modified ? "\r\n" : "", *f->cache_control ? "Cache-Control: " : "",
                  f->cache_control, *f->cache_control ? "\r\n" : "");
    n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%s%s%s%s",
                  o->ranges ? "Accept-Ranges: bytes\r\n" : "",
                  e->varies ? "Vary: Accept-Encoding\r\n" : "", i ? "Content-Encoding: " : "",
                  codings[i], i ? "\r\n" : "");
    assert(n < (int)sizeof(text)); /* the parts have limits of their own */
    mem_free(v->fields);
    v->fields = mem_alloc((size_t)n);
    memcpy(v->fields, text, (size_t)n);
    v->fields_len = (uint32_t)n;
    v->type_len = (uint32_t)type_len;
}

static void drop_version(file_version *v)
{
    shared_file_unref(v->file);
    mem_free(v->body);
    mem_free(v->fields);
    *v = (file_version){0};
}

static void take_version(file_version *v, found *from)
{
    if (from->there && from->unchanged)
        return;
    drop_version(v);
    if (!from->there)
        return;
    v->there = true;
    v->id = from->id;
    v->body = from->body;
    if (from->fd >= 0)
        v->file = shared_file_new(from->fd);
    from->fd = -1;
    from->body = NULL;
}

/* --- the cache -------------------------------------------------------------------------------- */

static void unlink_entry(http_files *f, file_entry *e)
{
    file_entry **at = &f->slots[e->hash & (f->size - 1)];
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    list_remove(&e->link);
    f->count--;
}

static void free_entry(http_files *f, file_entry *e)
{
    unlink_entry(f, e);
    for (int i = 0; i < VERSIONS; i++)
        drop_version(&e->versions[i]);
    mem_free(e);
}

/* Lets go of the least recently used, so that there is room for one. What is being loaded stays. */
static void shrink(http_files *f)
{
    uint32_t max =
        f->options.cache_files > FILES_KEEP_MIN ? (uint32_t)f->options.cache_files : FILES_KEEP_MIN;
    for (list *l = f->lru.next, *next; f->count >= max && l != &f->lru; l = next) {
        file_entry *e = CONTAINER_OF(l, file_entry, link);
        next = l->next;
        if (!e->load)
            free_entry(f, e);
    }
}

static void grow(http_files *f)
{
    uint32_t size = f->size ? f->size * 2 : FIRST_SLOTS;
    file_entry **slots = mem_zalloc(size * sizeof(*slots));
    for (uint32_t i = 0; i < f->size; i++) {
        for (file_entry *e = f->slots[i], *next; e; e = next) {
            next = e->next;
            e->next = slots[e->hash & (size - 1)];
            slots[e->hash & (size - 1)] = e;
        }
    }
    mem_free(f->slots);
    f->slots = slots;
    f->size = size;
}

static file_entry *find_entry(const http_files *f, uint32_t hash, const char *path, size_t len)
{
    file_entry *e = f->size ? f->slots[hash & (f->size - 1)] : NULL;
    while (e && (e->hash != hash || e->len != len || memcmp(e->path, path, len) != 0))
        e = e->next;
    return e;
}

static file_entry *add_entry(http_files *f, uint32_t hash, const char *path, size_t len)
{
    shrink(f);
    if (f->count >= f->size)
        grow(f);
    file_entry *e = mem_zalloc(sizeof(*e) + len + 1);
    memcpy(e->path, path, len);
    e->len = len;
    e->hash = hash;
    waitq_init(&e->waiters);
    e->next = f->slots[hash & (f->size - 1)];
    f->slots[hash & (f->size - 1)] = e;
    list_push_back(&f->lru, &e->link);
    f->count++;
    return e;
}

/* --- loading ---------------------------------------------------------------------------------- */

static void over(work *w)
{
    file_load *l = CONTAINER_OF(w, file_load, work);
    file_entry *e = l->entry;
    if (!e)
        return;
    http_files *f = l->files;
    bool varied = e->varies;
    e->varies = false;
    for (int i = VERSION_PLAIN + 1; i < VERSIONS; i++)
        e->varies = e->varies || l->found[i].there;
    e->load = NULL;
    l->entry = NULL;
    w->owned = false;
    e->rc = w->result < 0 ? w->result : l->rc;
    e->checked_ms = ev_now_ms(sched_loop());
    bool changed = e->varies != varied;
    for (int i = 0; i < VERSIONS; i++) {
        changed = changed || (l->found[i].there && !l->found[i].unchanged);
        take_version(&e->versions[i], &l->found[i]);
    }
    if (e->rc == 0) {
        /* Rounded down, so that nobody is told that a later change is none. */
        int64_t ns = e->versions[VERSION_PLAIN].id.mtime_ns;
        e->modified_s = ns / 1000000000 - (ns % 1000000000 < 0);
        for (int i = 0; i < VERSIONS; i++)
            if (e->versions[i].there && changed)
                make_fields(f, e, &e->versions[i], i);
    } else {
        /* The first to go: who asks for what is not there must not drive out what is. */
        list_remove(&e->link);
        list_push_front(&f->lru, &e->link);
    }
    waitq_wake_all(&e->waiters, 0);
}

static void release(work *w)
{
    file_load *l = CONTAINER_OF(w, file_load, work);
    for (int i = 0; i < VERSIONS; i++) {
        if (l->found[i].fd >= 0)
            close(l->found[i].fd);
        mem_free(l->found[i].body);
    }
    mem_free(l);
}

static char *copy(char **at, const char *text)
{
    size_t len = strlen(text) + 1;
    char *to = memcpy(*at, text, len);
    *at += len;
    return to;
}

static int start_load(http_files *f, file_entry *e)
{
    static const work_ops ops = {run, over, release};
    file_load *l = mem_zalloc(sizeof(*l) + strlen(f->folder) + strlen(f->index) + e->len + 3);
    char *at = l->text;
    work_init(&l->work, &ops);
    l->files = f;
    l->entry = e;
    l->folder = copy(&at, f->folder);
    l->index = copy(&at, f->index);
    l->path = copy(&at, e->path);
    l->links = f->options.links;
    l->memory_max = f->options.cache_files ? f->options.cache_file_size : 0;
    l->wanted[VERSION_GZIP] = f->options.gzip;
    l->wanted[VERSION_ZSTD] = f->options.zstd;
    l->wanted[VERSION_BR] = f->options.br;
    for (int i = 0; i < VERSIONS; i++) {
        l->found[i].fd = -1;
        l->is_known[i] = e->versions[i].there;
        l->known[i] = e->versions[i].id;
    }
    int rc = work_start(&l->work);
    if (rc < 0) {
        release(&l->work);
        return rc;
    }
    e->load = l;
    e->ticket = ++f->tickets;
    f->view.loads++;
    return 0;
}

/* What is sent from an open file must have the length that we promise: this does not wait, since
 * the system has what it tells of an open file in memory. */
static bool is_as_opened(const file_entry *e)
{
    struct stat st;
    for (int i = 0; i < VERSIONS; i++) {
        const file_version *v = &e->versions[i];
        if (!v->file)
            continue;
        if (fstat(v->file->fd, &st) < 0)
            return false;
        file_identity now = identify(&st);
        if (!same(&now, &v->id))
            return false;
    }
    return true;
}

static bool is_fresh(const http_files *f, const file_entry *e, double ticket)
{
    if (ticket > 0 && e->ticket >= ticket)
        return true;
    return e->ticket > 0 && e->rc == 0 && f->options.cache_files &&
           ev_now_ms(sched_loop()) - e->checked_ms < f->options.cache_check && is_as_opened(e);
}

int filecache_get(http_files *f, const char *path, size_t len, double ticket, file_entry **entry)
{
    uint32_t hash = hash_of(path, len);
    file_entry *e = find_entry(f, hash, path, len);
    if (e && !e->load && is_fresh(f, e, ticket)) {
        if (ticket <= 0)
            f->view.hits++;
        if (e->rc == 0) {
            list_remove(&e->link);
            list_push_back(&f->lru, &e->link);
        }
        *entry = e;
        return e->rc;
    }
    if (!e)
        e = add_entry(f, hash, path, len);
    if (!e->load) {
        int rc = start_load(f, e);
        if (rc < 0)
            return rc;
    }
    f->view.ticket = e->ticket;
    return sched_park(&e->waiters, 0, SCHED_IO, "http file");
}

/* --- the whole -------------------------------------------------------------------------------- */

static char *duplicate(const char *s)
{
    size_t len = strlen(s) + 1;
    return memcpy(mem_alloc(len), s, len);
}

links_http_files *links_http_files_new(const char *folder, const links_http_files_options *options)
{
    http_files *f = mem_new(http_files);
    f->options = *options;
    f->folder = duplicate(folder);
    f->index = duplicate(options->index);
    f->cache_control = duplicate(options->cache_control);
    f->options.index = f->options.cache_control = NULL;
    list_init(&f->lru);
    return &f->view;
}

void links_http_files_free(links_http_files *files)
{
    http_files *f = (http_files *)files;
    while (!list_empty(&f->lru)) {
        file_entry *e = CONTAINER_OF(f->lru.next, file_entry, link);
        if (e->load) {
            e->load->entry = NULL;
            work_leave(&e->load->work);
        }
        waitq_wake_all(&e->waiters, LINKS_CLOSED);
        free_entry(f, e);
    }
    for (int i = 0; i < FILES_TYPES; i++) {
        for (media_type *t = f->types[i], *next; t; t = next) {
            next = t->next;
            mem_free(t->type);
            mem_free(t);
        }
    }
    mem_free(f->slots);
    mem_free(f->folder);
    mem_free(f->index);
    mem_free(f->cache_control);
    mem_free(f);
}

void links_http_files_type(links_http_files *files, const char *extension, const char *type)
{
    http_files *f = (http_files *)files;
    size_t len = strlen(extension);
    media_type **slot = &f->types[hash_of(extension, len) % FILES_TYPES];
    for (media_type *t = *slot; t; t = t->next) {
        if (strcmp(t->extension, extension) == 0) {
            mem_free(t->type);
            t->type = duplicate(type);
            return;
        }
    }
    media_type *t = mem_zalloc(sizeof(*t) + len + 1);
    memcpy(t->extension, extension, len);
    t->type = duplicate(type);
    t->next = *slot;
    *slot = t;
}
