#include "modules/shared/queue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "lua/sched.h"
#include "modules/shared/bell.h"
#include "modules/shared/dict.h"
#include "modules/shared/fifo.h"
#include "modules/shared/presence.h"
#include "modules/shared/region.h"

enum {
    PAGE = 4096,
    SEATS = 64,     /* processes that wait on one side; others only look now and then */
    LOOK_MS = 1000, /* for who was not rung, because somebody has been killed */
};

static const char MAGIC[8] = "linksQ1";

enum side { POPS, PUSHES, SIDES };

/* A process that waits: for an item, or for `need` bytes of room. */
typedef struct seat {
    uint64_t ticket; /* 0: nobody; the lowest one has waited longest. Written last. */
    uint64_t need;
    links_presence who;
    bell_address bell;
} seat;

/* The first page and some; the items follow. */
typedef struct header {
    char magic[8];
    uint64_t size;
    uint64_t tickets;
    uint32_t seated[SIDES];
    seat seats[SIDES][SEATS];
} header;

/* Our tasks that wait, and our seat. */
typedef struct waiters {
    struct queue *queue;
    waitq tasks;
    bell bell;
    uint64_t ticket;
} waiters;

typedef struct queue {
    links_queue view; /* first: Lua's pointer is ours */
    region region;
    header *header;
    fifo *fifo;
    waiters waiters[SIDES];
    ev_timer look;
    bool looks;
    char *scratch;
    size_t scratch_size;
} queue;

enum { FIFO_AT = (sizeof(header) + PAGE - 1) / PAGE * PAGE };

static queue *queue_of(links_queue *q) { return (queue *)q; }

/* --- opening --------------------------------------------------------------------------------- */

static int on_first(region *r, bool fresh, void *arg)
{
    queue *q = arg;
    (void)fresh;
    q->header = (header *)r->base;
    q->fifo = (fifo *)(r->base + FIFO_AT);
    q->header->size = r->size;
    int rc = fifo_init(q->fifo, r->size - FIFO_AT);
    if (rc == 0)
        memcpy(q->header->magic, MAGIC, sizeof(MAGIC));
    return rc;
}

static int on_join(region *r, void *arg)
{
    queue *q = arg;
    q->header = (header *)r->base;
    q->fifo = (fifo *)(r->base + FIFO_AT);
    bool sound = memcmp(q->header->magic, MAGIC, sizeof(MAGIC)) == 0 &&
                 q->header->size == r->size && fifo_is_sound(q->fifo, r->size - FIFO_AT);
    return sound ? 0 : LINKS_PARSE;
}

static void on_look(ev_loop *loop, ev_timer *timer);

links_queue *links_queue_open(const char *name, size_t name_len, double *size, int *rc)
{
    static const region_ops ops = {.first = on_first, .join = on_join};
    char full[80];
    int len = snprintf(full, sizeof(full), "queue:%.*s", (int)name_len, name);
    queue *q = mem_new(queue);
    for (int side = 0; side < SIDES; side++) {
        q->waiters[side].queue = q;
        waitq_init(&q->waiters[side].tasks);
    }
    ev_timer_init(&q->look, on_look);
    *rc = region_open(&q->region, region_path(full, (size_t)len), (size_t)*size, false, &ops, q);
    if (*rc < 0) {
        *size = (double)q->region.size;
        mem_free(q);
        return NULL;
    }
    return &q->view;
}

/* --- the lock, and the seats under it -------------------------------------------------------- */

static void take(queue *q)
{
    if (!fifo_take(q->fifo))
        return;
    for (int side = 0; side < SIDES; side++) {
        uint32_t seated = 0;
        for (int i = 0; i < SEATS; i++)
            seated += q->header->seats[side][i].ticket != 0;
        q->header->seated[side] = seated;
    }
}

static void give(queue *q) { fifo_give(q->fifo); }

static void leave_seat(queue *q, enum side side, seat *s)
{
    s->ticket = 0;
    q->header->seated[side]--;
}

static seat *own_seat(queue *q, enum side side)
{
    uint64_t ticket = q->waiters[side].ticket;
    for (int i = 0; ticket && i < SEATS; i++)
        if (q->header->seats[side][i].ticket == ticket)
            return &q->header->seats[side][i];
    return NULL;
}

static bool is_dead(const seat *s) { return !links_presence_is_here(s->who.slot, s->who.serial); }

/* One that nobody has, or whose process has died. */
static seat *free_seat(queue *q, enum side side)
{
    seat *seats = q->header->seats[side];
    for (int i = 0; i < SEATS; i++)
        if (!seats[i].ticket)
            return &seats[i];
    for (int i = 0; i < SEATS; i++) {
        if (is_dead(&seats[i])) {
            leave_seat(q, side, &seats[i]);
            return &seats[i];
        }
    }
    return NULL;
}

static void on_rung(bell *b);

/* Has this process rung for from now on. Without a free seat it only looks by itself. 0 or
 * -errno. */
static int sit(queue *q, enum side side, size_t need)
{
    waiters *w = &q->waiters[side];
    seat *s = own_seat(q, side);
    if (s) {
        if (need < s->need)
            s->need = need;
        return 0;
    }
    links_presence me;
    int rc = links_presence_enter(&me);
    if (rc == LINKS_FULL)
        return 0;
    if (rc == 0)
        rc = bell_start(&w->bell, on_rung);
    if (rc < 0)
        return rc;
    s = free_seat(q, side);
    if (!s)
        return 0;
    s->need = need;
    s->who = me;
    s->bell = bell_where(&w->bell);
    w->ticket = ++q->header->tickets;
    s->ticket = w->ticket;
    q->header->seated[side]++;
    return 0;
}

/* Rings for who has waited longest and can go on with `room`. */
static void ring_for(queue *q, enum side side, size_t room)
{
    seat *seats = q->header->seats[side];
    while (q->header->seated[side]) {
        seat *first = NULL;
        for (int i = 0; i < SEATS; i++)
            if (seats[i].ticket && seats[i].need <= room &&
                (!first || seats[i].ticket < first->ticket))
                first = &seats[i];
        if (!first)
            return;
        bool dead = is_dead(first);
        if (!dead)
            bell_ring(first->bell);
        leave_seat(q, side, first);
        if (!dead)
            return;
    }
}

/* --- waiting --------------------------------------------------------------------------------- */

static void look_in(queue *q, int64_t ms)
{
    q->looks = true;
    ev_timer_start(sched_loop(), &q->look, ms, LOOK_MS);
}

static int park(queue *q, enum side side, size_t need, double timeout_ms, const char *what)
{
    int rc = sit(q, side, need);
    if (rc < 0)
        return rc;
    if (!q->looks)
        look_in(q, LOOK_MS);
    return sched_park(&q->waiters[side].tasks, (int64_t)timeout_ms, SCHED_IO, what);
}

/* Who is woken looks for himself: all who wait for room, since each needs another amount of it. */
static bool wake(queue *q, enum side side)
{
    waitq *tasks = &q->waiters[side].tasks;
    return side == POPS ? waitq_wake_one(tasks, 0) : waitq_wake_all(tasks, 0);
}

/* Comes from ring_for too, for a seat of our own, so it leaves the lock alone. */
static void on_rung(bell *b)
{
    waiters *w = CONTAINER_OF(b, waiters, bell);
    queue *q = w->queue;
    /* Where those it is for have gone meanwhile it is another process's turn. */
    if (!wake(q, w == &q->waiters[POPS] ? POPS : PUSHES))
        look_in(q, 0);
}

static void on_look(ev_loop *loop, ev_timer *timer)
{
    queue *q = CONTAINER_OF(timer, queue, look);
    size_t room[SIDES] = {0};
    bool waits = false;
    take(q);
    room[PUSHES] = fifo_room(q->fifo);
    for (int side = 0; side < SIDES; side++) {
        bool may = side == POPS ? !fifo_is_empty(q->fifo) : room[PUSHES] > 0;
        if (may && !wake(q, side))
            ring_for(q, side, room[side]);
        waits = waits || !waitq_empty(&q->waiters[side].tasks);
    }
    for (int side = 0; side < SIDES && !waits; side++) {
        seat *s = own_seat(q, side);
        if (s)
            leave_seat(q, side, s);
    }
    give(q);
    if (!waits) {
        ev_timer_stop(loop, timer);
        q->looks = false;
    }
}

void links_queue_free(links_queue *view)
{
    queue *q = queue_of(view);
    take(q);
    for (int side = 0; side < SIDES; side++) {
        seat *s = own_seat(q, side);
        if (s)
            leave_seat(q, side, s);
        bell_stop(&q->waiters[side].bell);
    }
    give(q);
    ev_timer_stop(sched_loop(), &q->look);
    region_close(&q->region);
    mem_free(q->scratch);
    mem_free(q);
}

/* --- the operations -------------------------------------------------------------------------- */

int links_queue_push(links_queue *view, int type, const char *data, size_t len, double number,
                     double timeout_ms)
{
    queue *q = queue_of(view);
    struct iovec value = {(void *)data, len};
    if (type == DICT_NUMBER)
        value = (struct iovec){&number, sizeof(number)};
    if (value.iov_len > UINT32_MAX || fifo_need(value.iov_len) > q->fifo->size)
        return LINKS_TOO_LARGE;
    size_t need = fifo_need(value.iov_len);
    int rc = 0;
    take(q);
    if (fifo_room(q->fifo) >= need) {
        fifo_put(q->fifo, (uint32_t)type, &value, 1);
        ring_for(q, POPS, 0);
        fifo_commit(q->fifo);
        ring_for(q, PUSHES, fifo_room(q->fifo));
    } else if (timeout_ms < 0) {
        rc = LINKS_FULL;
    } else {
        rc = park(q, PUSHES, need, timeout_ms, "queue push");
    }
    give(q);
    return rc;
}

/* The first item is there: takes it. */
static int shift(queue *q)
{
    size_t len;
    int type = (int)fifo_first(q->fifo, &len);
    if (len >= q->scratch_size) {
        q->scratch_size = len + 1;
        q->scratch = mem_realloc(q->scratch, q->scratch_size);
    }
    fifo_read(q->fifo, q->scratch);
    ring_for(q, PUSHES, fifo_room(q->fifo) + fifo_need(len));
    fifo_drop(q->fifo);
    q->view.data = q->scratch;
    q->view.len = len;
    if (type == DICT_NUMBER)
        memcpy(&q->view.number, q->scratch, sizeof(q->view.number));
    return type;
}

int links_queue_pop(links_queue *view, double timeout_ms)
{
    queue *q = queue_of(view);
    int rc;
    take(q);
    if (!fifo_is_empty(q->fifo)) {
        rc = shift(q);
        /* The others of this process: they were rung for together with this one, or not yet. */
        if (!fifo_is_empty(q->fifo))
            wake(q, POPS);
        else if (!waitq_empty(&q->waiters[POPS].tasks))
            (void)sit(q, POPS, 0);
    } else if (timeout_ms < 0) {
        rc = -ETIMEDOUT;
    } else {
        rc = park(q, POPS, 0, timeout_ms, "queue pop");
    }
    give(q);
    return rc;
}

void links_queue_stats(links_queue *view, double out[5])
{
    queue *q = queue_of(view);
    take(q);
    out[0] = (double)q->fifo->items;
    out[1] = (double)fifo_room(q->fifo);
    out[2] = (double)q->fifo->size;
    out[3] = (double)q->fifo->pushed;
    out[4] = (double)q->fifo->recoveries;
    give(q);
}

double links_queue_flush(links_queue *view)
{
    queue *q = queue_of(view);
    double count = 0;
    take(q);
    for (; !fifo_is_empty(q->fifo); count++)
        fifo_drop(q->fifo);
    ring_for(q, PUSHES, fifo_room(q->fifo));
    give(q);
    return count;
}
