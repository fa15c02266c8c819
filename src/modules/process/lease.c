#define _GNU_SOURCE
#include "lease.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "modules/net/inherited.h"
#include "modules/net/udp_bind.h"
#include "modules/net/unix.h"
#include "process.h"

/* Where one socket for each worker spreads nothing, they share one. */
#if defined(SO_REUSEPORT_LB) || defined(__linux__)
enum { SPREADS = 1 };
#else
enum { SPREADS = 0 };
#endif

/* Of datagrams only Linux spreads them. */
#ifdef __linux__
enum { SPREADS_UDP = 1 };
#else
enum { SPREADS_UDP = 0 };
#endif

enum { LEASES_MAX = 1024, SLOTS_MAX = 1024 };

/* A holder that has ended: what it held waits for its successor. */
#define GONE UINT32_MAX

/* A place to listen, and its sockets. */
typedef struct lease {
    list link;
    lent_request what; /* as it was last asked for */
    uint32_t id;
    int generation; /* of the latest worker that has asked */
    int nfds;
    int *fds;       /* by slot, -1 for none; where it is shared, only the first */
    uint32_t *held; /* by slot: the serial number of the way of who listens; 0 for nobody */
    bool shared;
    bool owes; /* the other master, from whom it came, removes its file still */
    int port;  /* that the system has chosen, where none was asked for */
    unix_file file;
} lease;

static struct {
    list leases; /* by their ids */
    uint32_t last;
    int count;
} all = {.leases = {&all.leases, &all.leases}};

static void free_lease(lease *l)
{
    list_remove(&l->link);
    all.count--;
    for (int i = 0; i < l->nfds; i++)
        if (l->fds[i] >= 0)
            close(l->fds[i]);
    unix_file_remove(&l->file);
    mem_free(l->fds);
    mem_free(l->held);
    mem_free(l);
}

static bool has_path(const lent_request *what)
{
    return what->kind == LENT_UNIX || what->kind == LENT_NAMED;
}

static bool is_same(const lent_request *a, const lent_request *b)
{
    if (a->kind != b->kind || (a->kind == LENT_NAMED && a->what != b->what))
        return false;
    if (has_path(a))
        return a->path_len == b->path_len && memcmp(a->path, b->path, a->path_len) == 0;
    return a->at.family == b->at.family && a->at.port == b->at.port && a->nth == b->nth &&
           memcmp(a->at.ip, b->at.ip, a->at.family == 6 ? 16 : 4) == 0;
}

static lease *find_lease(const lent_request *what)
{
    LIST_EACH (node, &all.leases) {
        lease *l = CONTAINER_OF(node, lease, link);
        if (is_same(&l->what, what))
            return l;
    }
    return NULL;
}

static bool wants_its_own(const lent_request *what)
{
    return (what->kind == LENT_UDP && SPREADS_UDP) ||
           (what->kind == LENT_TCP && what->options.reuseport && SPREADS);
}

static lease *new_lease(const lent_request *what)
{
    lease *l = mem_new(lease);
    l->what = *what;
    l->id = ++all.last;
    l->shared = !wants_its_own(what);
    list_push_back(&all.leases, &l->link);
    all.count++;
    return l;
}

static void make_room(lease *l, int slot)
{
    if (slot < l->nfds)
        return;
    l->fds = mem_realloc(l->fds, (size_t)(slot + 1) * sizeof(*l->fds));
    l->held = mem_realloc(l->held, (size_t)(slot + 1) * sizeof(*l->held));
    for (; l->nfds <= slot; l->nfds++) {
        l->fds[l->nfds] = -1;
        l->held[l->nfds] = 0;
    }
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Whoever listens there already is in the way of the first of our sockets, and of no other. */
static int bind_tcp(lease *l, bool is_first)
{
    address at = l->what.at;
    listener_options options = l->what.options;
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    options.exclusive = options.exclusive && is_first;
    if (l->port)
        at.port = (uint16_t)l->port;
    int fd = listener_bind(&at, &options);
    if (fd < 0 || l->port)
        return fd;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    address_from_sockaddr(&at, &ss);
    l->port = at.port;
    return fd;
}

static int bind_udp(const lease *l, bool is_first)
{
    return udp_bind(&l->what.at, &l->what.udp, is_first && !l->what.udp.reuseport);
}

static bool is_empty(const lease *l)
{
    for (int i = 0; i < l->nfds; i++)
        if (l->fds[i] >= 0)
            return false;
    return true;
}

/* One that we were started with is for all workers. */
static int take_inherited(lease *l)
{
    const lent_request *what = &l->what;
    int fd = LINKS_NOT_FOUND;
    if (what->kind == LENT_NAMED)
        fd = inherited_name(what->what, what->path, what->path_len);
    else if (what->kind == LENT_TCP)
        fd = inherited_at(SOCK_STREAM, &what->at);
    else if (what->kind == LENT_UDP)
        fd = inherited_at(SOCK_DGRAM, &what->at);
    l->shared = l->shared || fd >= 0;
    return fd;
}

static int open_socket(lease *l)
{
    const lent_request *what = &l->what;
    bool is_first = is_empty(l);
    int fd = is_first ? take_inherited(l) : LINKS_NOT_FOUND;
    if (fd >= 0 || what->kind == LENT_NAMED)
        return fd;
    if (what->kind == LENT_UNIX)
        return unix_bind(&l->file, what->path, what->path_len, &what->file);
    return what->kind == LENT_UDP ? bind_udp(l, is_first) : bind_tcp(l, is_first);
}

/* Whether a worker that listens there may not do so once more. */
static bool is_exclusive(const lent_request *what)
{
    switch (what->kind) {
    case LENT_TCP:
        return what->options.exclusive || !what->options.reuseport;
    case LENT_UDP:
        return !what->udp.reuseport;
    default:
        return true;
    }
}

int lease_lend(const holder *who, const lent_request *what, uint32_t *id)
{
    int slot = who->slot;
    lease *l = find_lease(what);
    if (!l && all.count == LEASES_MAX)
        return -EMFILE;
    if (!l)
        l = new_lease(what);
    l->what = *what;
    make_room(l, slot);
    int fd = l->fds[l->shared ? 0 : slot];
    if (fd < 0) {
        fd = open_socket(l);
        if (fd < 0) {
            if (is_empty(l))
                free_lease(l);
            return fd;
        }
        l->fds[l->shared ? 0 : slot] = fd;
    } else if (l->held[slot] == who->serial && is_exclusive(what)) {
        return -EADDRINUSE; /* this same worker listens there */
    }
    l->held[slot] = who->serial;
    if (l->generation < who->generation)
        l->generation = who->generation;
    *id = l->id;
    return fd;
}

/* --- closing ---------------------------------------------------------------------------------- */

void lease_release(const holder *who, uint32_t id)
{
    int slot = who->slot;
    LIST_EACH (node, &all.leases) {
        lease *l = CONTAINER_OF(node, lease, link);
        if (l->id != id || slot >= l->nfds)
            continue;
        bool is_held = false;
        if (l->held[slot] != who->serial)
            return;
        l->held[slot] = 0;
        for (int i = 0; i < l->nfds; i++)
            is_held = is_held || l->held[i];
        if (!l->shared && l->fds[slot] >= 0) {
            close(l->fds[slot]);
            l->fds[slot] = -1;
        }
        if (!is_held)
            free_lease(l);
        return;
    }
}

void lease_forget(const holder *who)
{
    LIST_EACH (node, &all.leases) {
        lease *l = CONTAINER_OF(node, lease, link);
        if (who->slot < l->nfds && l->held[who->slot] == who->serial)
            l->held[who->slot] = GONE;
    }
}

void links_cluster_sweep(int generation)
{
    for (list *node = all.leases.next, *next; node != &all.leases; node = next) {
        next = node->next;
        lease *l = CONTAINER_OF(node, lease, link);
        if (l->generation < generation)
            free_lease(l);
    }
}

void links_cluster_trim(int slots)
{
    LIST_EACH (node, &all.leases) {
        lease *l = CONTAINER_OF(node, lease, link);
        for (int i = l->shared ? l->nfds : slots; i < l->nfds; i++) {
            if (l->fds[i] >= 0)
                close(l->fds[i]);
            l->fds[i] = -1;
            l->held[i] = 0;
        }
    }
}

void links_cluster_close(void)
{
    while (!list_empty(&all.leases))
        free_lease(CONTAINER_OF(all.leases.next, lease, link));
}

/* --- to another master ------------------------------------------------------------------------ */

/* One line for each socket; another version of links may read it, so what it has is only added to:
 * kind, type, family, ip, port, nth, slot, port that was chosen, shared, removes the file, path. */
#define FORMAT   "%d %d %d %s %d %d %d %d %d %d %.*s"
#define SCANNING "%d %d %d %45s %d %d %d %d %d %d%n"

static void write_text(const lease *l, int slot, char *text)
{
    const lent_request *what = &l->what;
    char ip[ADDRESS_TEXT_MAX] = "";
    address_format(&what->at, ip);
    snprintf(text, LEASE_TEXT, FORMAT, what->kind, what->what, what->at.family, *ip ? ip : "-",
             what->at.port, what->nth, slot, l->port, l->shared, l->file.path != NULL,
             has_path(what) ? (int)what->path_len : 0, what->path);
}

int lease_next(lease_place *at, char text[static LEASE_TEXT])
{
    LIST_EACH (node, &all.leases) {
        const lease *l = CONTAINER_OF(node, lease, link);
        if (l->id < at->id)
            continue;
        for (int slot = l->id == at->id ? at->slot : 0; slot < l->nfds; slot++) {
            if (l->fds[slot] < 0)
                continue;
            *at = (lease_place){.id = l->id, .slot = slot + 1};
            write_text(l, slot, text);
            return l->fds[slot];
        }
    }
    return LINKS_NOT_FOUND;
}

static bool is_sound(const lent_request *what, int slot)
{
    bool has_address = what->at.family == 4 || what->at.family == 6;
    return slot >= 0 && slot < SLOTS_MAX &&
           (has_path(what) ? what->path_len > 0
                           : (what->kind == LENT_TCP || what->kind == LENT_UDP) && has_address);
}

static int set_path(lent_request *what, const char *path)
{
    size_t len = strlen(path);
    if (!has_path(what))
        return 0;
    if (len > sizeof(what->path))
        return -EPROTO;
    what->path_len = (uint32_t)len;
    memcpy(what->path, path, len);
    return 0;
}

int lease_restore(int fd, const char *text)
{
    lent_request what = {0};
    char ip[ADDRESS_TEXT_MAX];
    int family, port, slot, chosen, shared, owns, end = 0;
    int n = sscanf(text, SCANNING, &what.kind, &what.what, &family, ip, &port, &what.nth, &slot,
                   &chosen, &shared, &owns, &end);
    if (n < 10 || !end || text[end] != ' ' || set_path(&what, text + end + 1) < 0)
        return -EPROTO;
    if (port < 0 || port > UINT16_MAX || chosen < 0 || chosen > UINT16_MAX)
        return -EPROTO;
    if (!has_path(&what) && address_parse(&what.at, ip, port) < 0)
        return -EPROTO;
    if (shared != 0 && slot != 0)
        return -EPROTO;
    if (!is_sound(&what, slot) || (has_path(&what) ? 0 : what.at.family) != family)
        return -EPROTO;
    lease *l = find_lease(&what);
    if (!l && all.count == LEASES_MAX)
        return -EMFILE;
    if (!l)
        l = new_lease(&what);
    make_room(l, slot);
    if (l->fds[slot] >= 0)
        return -EPROTO;
    l->fds[slot] = fd;
    l->held[slot] = GONE;
    l->port = chosen;
    l->shared = shared;
    l->owes = owns;
    return 0;
}

void links_cluster_own(int own)
{
    LIST_EACH (node, &all.leases) {
        lease *l = CONTAINER_OF(node, lease, link);
        char path[sizeof(l->what.path) + 1] = "";
        if (!own) {
            unix_file_forget(&l->file);
        } else if (l->owes) {
            memcpy(path, l->what.path, l->what.path_len);
            unix_file_adopt(&l->file, path);
            l->owes = false;
        }
    }
}
