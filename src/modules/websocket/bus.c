#include "bus.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/random.h"
#include "interest.h"
#include "lua/sched.h"
#include "members.h"
#include "modules/shared/bell.h"
#include "modules/shared/fifo.h"
#include "modules/shared/presence.h"
#include "modules/shared/region.h"
#include "websocket.h"

enum {
    PAGE = 4096,
    BUDGET = 256, /* messages taken between two looks at the rest of the loop */
    BUDGET_MS = 5,
    RING_AGAIN_MS = 1000, /* for who was rung and has not come */
};

static const char MAGIC[8] = "linksT2";

/* Who is there: of all programs of this user, by their place among the processes. */
typedef struct directory_entry {
    uint64_t cluster;
    uint64_t serial; /* of the process; 0: no inbox. Written last. */
} directory_entry;

typedef struct directory {
    char magic[8];
    uint64_t seed;
    uint64_t taken[PRESENCE_MAX / 64]; /* bit n: entry n may have an inbox */
    directory_entry entries[PRESENCE_MAX];
} directory;

/* The first page of an inbox; then the messages, then the interest. All but the interest is under
 * the lock of the messages. */
typedef struct inbox {
    uint64_t serial; /* of the process that it belongs to */
    bell_address bell;
    uint32_t asleep; /* to be rung for */
    int64_t rung_ms;
    uint64_t lost;
} inbox;

enum {
    FIFO_AT = PAGE,
    INTEREST_AT = FIFO_AT + BUS_INBOX,
    INBOX_SIZE = INTEREST_AT + (int)sizeof(interest) + INTEREST_SLOTS_MAX * INTEREST_SLOT,
    INBOX_FIRST = INTEREST_AT + (int)sizeof(interest) + INTEREST_SLOTS_MIN * INTEREST_SLOT,
};

/* An inbox that is mapped here: another process's, or our own. */
typedef struct box {
    region region;
    inbox *inbox;
    fifo *fifo;
    interest *interest;
    uint64_t serial;
    int slot;
} box;

static struct {
    uint64_t cluster; /* 0: there are no others */
    int worker;
    region region;
    directory *directory;
    links_presence me;
    box *own;
    box *others[PRESENCE_MAX];
    uint64_t reserved; /* slots of our own interest that there is room for */
    bell bell;
    ev_timer more;
    char *scratch;
    size_t scratch_size;
    uint64_t sent, received, refused;
} bus = {.region = {.fd = -1}, .worker = -1};

/* Who wants to hear of a topic's members has an interest of that name under another seed. */
#define WATCHED(seed) ((seed) ^ 0x6d656d62657273u)

static uint64_t load(const uint64_t *word)
{
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
}

static void store(uint64_t *word, uint64_t value)
{
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
}

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- the directory --------------------------------------------------------------------------- */

static int on_first(region *r, bool fresh, void *arg)
{
    (void)fresh;
    (void)arg;
    directory *d = (directory *)r->base;
    d->seed = (uint64_t)random_bits() << 32 | random_bits();
    memcpy(d->magic, MAGIC, sizeof(MAGIC));
    return 0;
}

static int on_join(region *r, void *arg)
{
    (void)arg;
    return memcmp(((directory *)r->base)->magic, MAGIC, sizeof(MAGIC)) == 0 ? 0 : LINKS_PARSE;
}

static int open_directory(void)
{
    static const region_ops ops = {.first = on_first, .join = on_join};
    static const char name[] = "topics2"; /* other versions do not know all that is in there */
    if (bus.directory)
        return 0;
    int rc = links_presence_enter(&bus.me);
    if (rc == 0)
        rc = region_open(&bus.region, region_path(name, sizeof(name) - 1), sizeof(directory), false,
                         &ops, NULL);
    if (rc == 0)
        bus.directory = (directory *)bus.region.base;
    return rc;
}

static void set_bit(int slot, bool on)
{
    _Atomic uint64_t *word = (_Atomic uint64_t *)&bus.directory->taken[slot / 64];
    uint64_t bit = (uint64_t)1 << slot % 64;
    if (on)
        atomic_fetch_or(word, bit);
    else
        atomic_fetch_and(word, ~bit);
}

/* --- inboxes --------------------------------------------------------------------------------- */

static void lay_out(box *b)
{
    b->inbox = (inbox *)b->region.base;
    b->fifo = (fifo *)(b->region.base + FIFO_AT);
    b->interest = (interest *)(b->region.base + INTEREST_AT);
}

static int own_first(region *r, bool fresh, void *arg)
{
    (void)arg;
    (void)fresh;
    return fifo_init((fifo *)(r->base + FIFO_AT), BUS_INBOX);
}

/* What others have mapped still: of somebody who was in our place before, and was killed. */
static int own_join(region *r, void *arg)
{
    (void)arg;
    return fifo_is_sound((fifo *)(r->base + FIFO_AT), BUS_INBOX) ? 0 : LINKS_PARSE;
}

/* Its owner has made it, or has gone. */
static int other_first(region *r, bool fresh, void *arg)
{
    (void)r;
    (void)fresh;
    (void)arg;
    return LINKS_NOT_FOUND;
}

static int open_box(box **out, int slot, bool own)
{
    static const region_ops own_ops = {own_first, own_join, INBOX_FIRST};
    static const region_ops other_ops = {other_first, own_join, INBOX_FIRST};
    char name[32];
    int len = snprintf(name, sizeof(name), "inbox2:%d", slot);
    box *b = mem_new(box);
    int rc = region_open(&b->region, region_path(name, (size_t)len), INBOX_SIZE, false,
                         own ? &own_ops : &other_ops, NULL);
    if (rc < 0) {
        mem_free(b);
        return rc;
    }
    lay_out(b);
    b->slot = slot;
    *out = b;
    return 0;
}

static void close_box(box **b)
{
    if (!*b)
        return;
    region_close(&(*b)->region);
    mem_free(*b);
    *b = NULL;
}

static void on_rung(bell *b);
static void on_more(ev_loop *loop, ev_timer *timer);

static void begin_inbox(box *b)
{
    fifo_take(b->fifo);
    while (!fifo_is_empty(b->fifo))
        fifo_drop(b->fifo);
    interest_init(b->interest);
    *b->inbox = (inbox){.serial = bus.me.serial, .bell = bell_where(&bus.bell), .asleep = 1};
    b->serial = bus.me.serial;
    fifo_give(b->fifo);
    bus.reserved = INTEREST_SLOTS_MIN;
}

static void enter_directory(void)
{
    directory_entry *e = &bus.directory->entries[bus.me.slot];
    store(&e->serial, 0);
    store(&e->cluster, bus.cluster);
    store(&e->serial, bus.me.serial);
    set_bit(bus.me.slot, true);
}

bool bus_is_on(void) { return bus.cluster != 0; }

static int make_room_for_one(void)
{
    interest *t = bus.own->interest;
    uint64_t wanted = interest_wants(t);
    if (!wanted)
        return LINKS_FULL;
    if (wanted <= bus.reserved)
        return 0;
    size_t from = (size_t)((char *)&t->slots[bus.reserved] - bus.own->region.base);
    int rc = region_reserve(&bus.own->region, from, (wanted - bus.reserved) * INTEREST_SLOT);
    if (rc == 0)
        bus.reserved = wanted;
    return rc;
}

int bus_join(void)
{
    if (bus.own)
        return make_room_for_one();
    int rc = open_directory();
    if (rc == 0)
        rc = bell_start(&bus.bell, on_rung);
    if (rc == 0)
        rc = open_box(&bus.own, bus.me.slot, true);
    if (rc < 0)
        return rc;
    ev_timer_init(&bus.more, on_more);
    begin_inbox(bus.own);
    enter_directory();
    return 0;
}

void bus_subscribed(const char *topic, size_t len)
{
    interest_name name;
    interest_name_init(&name, bus.directory->seed, topic, len);
    interest_add(bus.own->interest, &name);
}

void bus_unsubscribed(const char *topic, size_t len)
{
    interest_name name;
    if (!bus.own)
        return;
    interest_name_init(&name, bus.directory->seed, topic, len);
    interest_remove(bus.own->interest, &name);
}

/* --- the others ------------------------------------------------------------------------------ */

/* Its entry is of a process that has died. */
static void forget(int slot, uint64_t serial)
{
    _Atomic uint64_t *word = (_Atomic uint64_t *)&bus.directory->entries[slot].serial;
    if (atomic_compare_exchange_strong(word, &serial, 0))
        set_bit(slot, false);
    close_box(&bus.others[slot]);
}

/* The inbox of a slot, if it is one of our cluster's whose process is there. */
static box *other_at(int slot)
{
    const directory_entry *e = &bus.directory->entries[slot];
    uint64_t serial = load(&e->serial), cluster = load(&e->cluster);
    box **b = &bus.others[slot];
    if (slot == bus.me.slot || !serial || cluster != bus.cluster || load(&e->serial) != serial) {
        close_box(b);
        return NULL;
    }
    if (!links_presence_is_here(slot, (uint32_t)serial)) {
        forget(slot, serial);
        return NULL;
    }
    if (*b && (*b)->serial != serial)
        close_box(b);
    if (!*b && open_box(b, slot, false) == 0)
        (*b)->serial = serial;
    return *b;
}

/* Calls `fn` for all the others. */
static void each_other(void (*fn)(box *b, void *arg), void *arg)
{
    if (!bus.cluster || open_directory() < 0)
        return;
    for (int word = 0; word < PRESENCE_MAX / 64; word++) {
        for (uint64_t bits = load(&bus.directory->taken[word]); bits; bits &= bits - 1) {
            box *b = other_at(word * 64 + __builtin_ctzll(bits));
            if (b)
                fn(b, arg);
        }
    }
}

/* --- publishing ------------------------------------------------------------------------------ */

typedef struct publication {
    const bus_message *message;
    interest_name name;
    uint64_t receivers;
    int64_t now_ms;
} publication;

/* Wakes the owner of an inbox, which is locked, before the message is there: so there is none that
 * nobody was rung for. */
static void ring_for(inbox *i, publication *p)
{
    if (!i->asleep) {
        p->now_ms = p->now_ms ? p->now_ms : clock_ms();
        if (p->now_ms - i->rung_ms < RING_AGAIN_MS)
            return;
    }
    bell_ring(i->bell);
    i->asleep = 0;
    i->rung_ms = clock_ms();
}

static bool hand_over(box *b, publication *p)
{
    const bus_message *m = p->message;
    struct iovec parts[2] = {{(void *)m->topic, m->topic_len}, {(void *)m->data, m->len}};
    bool fits = false;
    fifo_take(b->fifo);
    if (b->inbox->serial == b->serial) {
        fits = fifo_room(b->fifo) >= fifo_need(m->topic_len + m->len);
        if (fits) {
            fifo_put(b->fifo, (uint32_t)m->kind | (uint32_t)m->topic_len << 8, parts, 2);
            ring_for(b->inbox, p);
            fifo_commit(b->fifo);
        } else {
            b->inbox->lost++;
        }
    }
    fifo_give(b->fifo);
    return fits;
}

static void publish_to(box *b, void *arg)
{
    publication *p = arg;
    int64_t count = interest_count(b->interest, &p->name, true);
    if (count == 0)
        return;
    if (!hand_over(b, p)) {
        bus.refused++;
        return;
    }
    bus.sent++;
    p->receivers += count > 0 ? (uint64_t)count : 0;
}

uint64_t bus_publish(const bus_message *m)
{
    if (!bus.cluster || open_directory() < 0)
        return 0;
    publication p = {.message = m};
    interest_name_init(&p.name, bus.directory->seed, m->topic, m->topic_len);
    each_other(publish_to, &p);
    return p.receivers;
}

/* --- members --------------------------------------------------------------------------------- */

static interest_name watched_name(const char *topic, size_t len)
{
    interest_name name;
    interest_name_init(&name, WATCHED(bus.directory->seed), topic, len);
    return name;
}

void bus_watched(const char *topic, size_t len)
{
    interest_name name = watched_name(topic, len);
    interest_add(bus.own->interest, &name);
}

void bus_unwatched(const char *topic, size_t len)
{
    if (!bus.own)
        return;
    interest_name name = watched_name(topic, len);
    interest_remove(bus.own->interest, &name);
}

typedef struct look {
    interest_name name;
    bool found;
} look;

static void look_at(box *b, void *arg)
{
    look *l = arg;
    l->found = l->found || interest_count(b->interest, &l->name, true) != 0;
}

bool bus_is_watched(const char *topic, size_t len)
{
    if (!bus.cluster || open_directory() < 0)
        return false;
    look l = {.name = watched_name(topic, len)};
    each_other(look_at, &l);
    return l.found;
}

void bus_tell(const bus_message *m)
{
    if (!bus.cluster || open_directory() < 0)
        return;
    publication p = {.message = m, .name = watched_name(m->topic, m->topic_len)};
    each_other(publish_to, &p);
}

bool bus_send(int slot, uint32_t serial, const bus_message *m)
{
    publication p = {.message = m};
    if (!bus.cluster || slot < 0 || slot >= PRESENCE_MAX || open_directory() < 0)
        return false;
    box *b = other_at(slot);
    return b && b->serial == serial && hand_over(b, &p);
}

typedef struct sending {
    publication publication;
    void (*sent)(void *arg, int slot, uint32_t serial);
    void *arg;
} sending;

static void send_to(box *b, void *arg)
{
    sending *s = arg;
    if (hand_over(b, &s->publication))
        s->sent(s->arg, b->slot, (uint32_t)b->serial);
}

void bus_send_all(const bus_message *m, void (*sent)(void *arg, int slot, uint32_t serial),
                  void *arg)
{
    sending s = {.publication = {.message = m}, .sent = sent, .arg = arg};
    each_other(send_to, &s);
}

links_presence bus_me(void) { return bus.me; }

int bus_worker(void) { return bus.worker; }

uint64_t bus_lost(void) { return bus.own ? load(&bus.own->inbox->lost) : 0; }

/* --- the inbox ------------------------------------------------------------------------------- */

/* Takes the first message; false where there is none, and we are to be rung for the next one. */
static bool take(bus_message *m)
{
    box *b = bus.own;
    fifo_take(b->fifo);
    bool found = !fifo_is_empty(b->fifo);
    if (found) {
        size_t len;
        uint32_t kind = fifo_first(b->fifo, &len);
        if (len >= bus.scratch_size) {
            bus.scratch_size = len + 1;
            bus.scratch = mem_realloc(bus.scratch, bus.scratch_size);
        }
        fifo_read(b->fifo, bus.scratch);
        fifo_drop(b->fifo);
        m->kind = (int)(kind & 255);
        m->topic = bus.scratch;
        m->topic_len = kind >> 8;
        m->data = m->topic + m->topic_len;
        m->len = len - m->topic_len;
    } else {
        b->inbox->asleep = 1;
    }
    fifo_give(b->fifo);
    return found;
}

static void drain(void)
{
    bus_message m;
    int64_t until = clock_ms() + BUDGET_MS;
    for (int i = 0; i < BUDGET; i++) {
        if (!take(&m))
            return;
        bus.received++;
        if (m.kind >= BUS_ASK)
            members_take(&m);
        else
            topic_publish(&m, NULL);
        if (i % 16 == 15 && clock_ms() >= until)
            break;
    }
    ev_timer_start(sched_loop(), &bus.more, 0, 0);
}

static void on_rung(bell *b)
{
    (void)b;
    if (bus.own)
        drain();
}

static void on_more(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    (void)timer;
    drain();
}

/* --- seeing ---------------------------------------------------------------------------------- */

typedef struct counting {
    interest_name name;
    uint64_t count;
} counting;

static void count_of(box *b, void *arg)
{
    counting *c = arg;
    int64_t count;
    /* A table that is being made anew is whole again soon, unless its process dies at that. */
    while ((count = interest_count(b->interest, &c->name, false)) < 0)
        if (!links_presence_is_here(b->slot, (uint32_t)b->serial))
            return;
    c->count += (uint64_t)count;
}

uint64_t bus_count(const char *topic, size_t len)
{
    if (!bus.cluster || open_directory() < 0)
        return 0;
    counting c = {.count = 0};
    interest_name_init(&c.name, bus.directory->seed, topic, len);
    each_other(count_of, &c);
    return c.count;
}

static void count_box(box *b, void *arg)
{
    (void)b;
    (*(uint64_t *)arg)++;
}

void links_ws_bus(const char *cluster, size_t len, int worker)
{
    interest_name name;
    interest_name_init(&name, 0, cluster, len);
    bus.cluster = name.whole;
    bus.worker = worker;
}

void links_ws_bus_stats(double out[5])
{
    uint64_t others = 0;
    each_other(count_box, &others);
    out[0] = (double)others;
    out[1] = (double)bus.sent;
    out[2] = (double)bus.refused;
    out[3] = (double)bus.received;
    out[4] = bus.own ? (double)load(&bus.own->inbox->lost) : 0;
}

void bus_close(void)
{
    for (int i = 0; i < PRESENCE_MAX; i++)
        close_box(&bus.others[i]);
    if (bus.own) {
        forget(bus.me.slot, bus.me.serial);
        ev_timer_stop(sched_loop(), &bus.more);
        bell_stop(&bus.bell);
        close_box(&bus.own);
    }
    if (bus.directory)
        region_close(&bus.region);
    bus.directory = NULL;
    mem_free(bus.scratch);
    bus.scratch = NULL;
    bus.scratch_size = 0;
    bus.cluster = 0;
}
