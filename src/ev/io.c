/*
 * I/O watchers: a table from descriptors to the watchers of today.
 *
 * The kernel is given a key of the descriptor and a generation that changes whenever a watch
 * ends. So what the kernel still has to say about a closed descriptor - later in the same batch,
 * or for as long as a forked child holds the file open - finds no watcher, or is seen to be meant
 * for another one, and nobody has to tell the kernel before a close.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop.h"

enum {
    FIRST_SLOTS = 64,
    PREFETCHED = 256, /* bytes of a connection */
};

static uint64_t key_of(int fd, uint32_t generation)
{
    return (uint64_t)generation << 32 | (uint32_t)fd;
}

void io_init(ev_loop *loop)
{
    loop->io_slots = NULL;
    loop->io_slots_len = 0;
}

void io_deinit(ev_loop *loop) { mem_free(loop->io_slots); }

/* The table is as long as the highest descriptor, and that is limited by RLIMIT_NOFILE. */
static io_slot *slot_for(ev_loop *loop, int fd)
{
    if (fd >= loop->io_slots_len) {
        int len = loop->io_slots_len ? loop->io_slots_len : FIRST_SLOTS;
        while (len <= fd)
            len = len > fd / 2 ? fd + 1 + fd / 4 : len * 2;
        loop->io_slots = mem_realloc(loop->io_slots, (size_t)len * sizeof(io_slot));
        memset(loop->io_slots + loop->io_slots_len, 0,
               (size_t)(len - loop->io_slots_len) * sizeof(io_slot));
        loop->io_slots_len = len;
    }
    return &loop->io_slots[fd];
}

int ev_io_start(ev_loop *loop, ev_io *io, int fd, ev_io_cb *cb)
{
    io->cb = cb;
    io->fd = -1;
    if (fd < 0)
        return -EBADF;
    io_slot *slot = slot_for(loop, fd);
    if (slot->io)
        return -EEXIST;
    int rc = poll_set(loop->poll, fd, key_of(fd, slot->generation), 1);
    if (rc < 0)
        return rc;
    slot->io = io;
    io->fd = fd;
    loop->stats.ios++;
    return 0;
}

/* Forgets the watcher and answers the descriptor it had, or -1 where it was stopped. One that is
 * all zero has been stopped since ever: it does not watch descriptor 0. */
static int forget(ev_loop *loop, ev_io *io)
{
    int fd = io->fd;
    if (fd < 0 || fd >= loop->io_slots_len || loop->io_slots[fd].io != io)
        return -1;
    io_slot *slot = &loop->io_slots[fd];
    slot->io = NULL;
    slot->generation++;
    io->fd = -1;
    loop->stats.ios--;
    return fd;
}

void ev_io_move(ev_loop *loop, ev_io *to, ev_io *from, ev_io_cb *cb)
{
    int fd = from->fd;
    *to = (ev_io){.cb = cb, .fd = -1};
    if (fd < 0 || fd >= loop->io_slots_len || loop->io_slots[fd].io != from)
        return;
    loop->io_slots[fd].io = to;
    to->fd = fd;
    from->fd = -1;
}

void ev_io_stop(ev_loop *loop, ev_io *io)
{
    int fd = forget(loop, io);
    /* Failing means that the kernel has no such registration any more, which is what is wanted. */
    if (fd >= 0)
        (void)poll_set(loop->poll, fd, 0, 0);
}

int ev_io_mute(ev_loop *loop, ev_io *io, bool on)
{
    assert(io->fd >= 0 && loop->io_slots[io->fd].io == io);
    uint32_t generation = loop->io_slots[io->fd].generation;
    return poll_mute(loop->poll, io->fd, key_of(io->fd, generation), on);
}

void ev_io_close(ev_loop *loop, ev_io *io)
{
    int fd = forget(loop, io);
    /* Not repeated after EINTR: the descriptor is gone, its number may be another thread's. */
    if (fd >= 0)
        close(fd);
}

/* A watcher lies in what it watches for, mostly at its begin: while one has his turn, the next is
 * fetched. Between two of its events a connection's memory has been driven out of the cache. */
static void prefetch(const ev_loop *loop, const ev_poll_event *event)
{
    mem_prefetch(loop->io_slots[(uint32_t)event->key].io, PREFETCHED);
}

void io_dispatch(ev_loop *loop, const ev_poll_event *events, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t fd = (uint32_t)events[i].key;
        assert(fd < (uint32_t)loop->io_slots_len);
        if (i + 1 < n)
            prefetch(loop, &events[i + 1]);
        io_slot *slot = &loop->io_slots[fd];
        if (slot->io && slot->generation == (uint32_t)(events[i].key >> 32))
            slot->io->cb(loop, slot->io, events[i].events);
    }
}
