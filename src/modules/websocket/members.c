#include "members.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "lua/sched.h"
#include "modules/shared/presence.h"

_Static_assert((int)LINKS_WS_JOINED == (int)BUS_JOIN && (int)LINKS_WS_LEFT == (int)BUS_LEAVE,
               "one numbering");

enum { HEAD = offsetof(links_ws_member, bytes) };

/* Records of members, one behind the other. */
typedef struct records {
    char *data;
    size_t len, size;
} records;

/* What goes before them, and before a question. */
typedef struct letter {
    uint64_t question;
    links_presence from;
    uint32_t last; /* of an answer, there are no more */
    uint32_t unused;
} letter;

struct links_ws_question {
    list link;
    uint64_t id;
    waitq waiters;
    records found;
    links_presence *open; /* processes whose answers are to come */
    int nopen, size;
    bool cut; /* the list would be too long */
};

typedef struct watch {
    list link;
    size_t len;
    char topic[];
} watch;

static struct {
    list questions, watches;
    waitq waiters; /* for changes */
    records changes, taken;
    uint64_t last_question, lost; /* in the inbox, as of the last look */
    bool overflow;
} all = {
    .questions = {&all.questions, &all.questions},
    .watches = {&all.watches, &all.watches},
    .waiters = {{&all.waiters.tasks, &all.waiters.tasks}},
};

/* --- records --------------------------------------------------------------------------------- */

static void append(records *r, const void *data, size_t len)
{
    if (r->len + len > r->size) {
        r->size = (r->len + len) * 2;
        r->data = mem_realloc(r->data, r->size);
    }
    memcpy(r->data + r->len, data, len);
    r->len += len;
}

static void drop(records *r)
{
    mem_free(r->data);
    *r = (records){0};
}

static void append_record(records *r, int event, const char *topic, size_t len, const ws *w,
                          const char *member, size_t member_len)
{
    static const char zeros[8];
    size_t bytes = HEAD + len + member_len;
    links_ws_member head = {
        .ws = w->view.id,
        .worker = bus_worker(),
        .size = (uint32_t)((bytes + 7) & ~(size_t)7),
        .len = (uint16_t)member_len,
        .topic_len = (uint8_t)len,
        .event = (uint8_t)event,
    };
    links_presence me = bus_me();
    head.slot = me.slot;
    head.serial = me.serial;
    append(r, &head, HEAD);
    append(r, topic, len);
    append(r, member, member_len);
    append(r, zeros, head.size - bytes);
}

/* Of another process: whole records, or nothing. */
static bool is_sound(const char *data, size_t len)
{
    size_t at = 0;
    while (len - at >= sizeof(links_ws_member)) {
        links_ws_member head;
        memcpy(&head, data + at, sizeof(head));
        size_t bytes = HEAD + head.topic_len + head.len;
        if (head.size < bytes || head.size % 8 || head.size > len - at)
            return false;
        at += head.size;
    }
    return at == len;
}

/* --- answers --------------------------------------------------------------------------------- */

typedef struct answer {
    links_presence to;
    bus_message message;
    letter letter;
    records out;
    bool failed;
} answer;

static void post(answer *a)
{
    memcpy(a->out.data, &a->letter, sizeof(a->letter));
    a->message.data = a->out.data;
    a->message.len = a->out.len;
    a->failed = a->failed || !bus_send(a->to.slot, a->to.serial, &a->message);
    a->out.len = sizeof(a->letter);
}

static void add_to_answer(void *arg, const char *topic, size_t len, const ws *w, const char *member,
                          size_t member_len)
{
    answer *a = arg;
    if (a->out.len >= MEMBERS_ANSWER)
        post(a);
    append_record(&a->out, 0, topic, len, w, member, member_len);
}

/* Where the inbox of who asks is full, his time will be over: he was told of that. */
static void reply(const bus_message *m)
{
    letter question;
    if (m->len != sizeof(question))
        return;
    memcpy(&question, m->data, sizeof(question));
    answer a = {
        .to = question.from,
        .message = {.kind = BUS_ANSWER, .topic = m->topic, .topic_len = m->topic_len},
        .letter = {.question = question.question, .from = bus_me()},
    };
    append(&a.out, &a.letter, sizeof(a.letter));
    topic_each_member(m->topic, m->topic_len, add_to_answer, &a);
    a.letter.last = 1;
    if (!a.failed)
        post(&a);
    drop(&a.out);
}

static links_ws_question *find_question(uint64_t id)
{
    LIST_EACH (node, &all.questions) {
        links_ws_question *q = CONTAINER_OF(node, links_ws_question, link);
        if (q->id == id)
            return q;
    }
    return NULL;
}

static void close_asked(links_ws_question *q, int i) { q->open[i] = q->open[--q->nopen]; }

static void take_answer(const bus_message *m)
{
    letter l;
    if (m->len < sizeof(l))
        return;
    memcpy(&l, m->data, sizeof(l));
    const char *data = m->data + sizeof(l);
    size_t len = m->len - sizeof(l);
    links_ws_question *q = find_question(l.question);
    if (!q || !is_sound(data, len))
        return;
    if (q->found.len + len > MEMBERS_LIST)
        q->cut = true;
    else
        append(&q->found, data, len);
    for (int i = q->nopen - 1; l.last && i >= 0; i--)
        if (q->open[i].slot == l.from.slot && q->open[i].serial == l.from.serial)
            close_asked(q, i);
    if (!q->nopen)
        waitq_wake_all(&q->waiters, 0);
}

/* --- questions ------------------------------------------------------------------------------- */

static void add_own(void *arg, const char *topic, size_t len, const ws *w, const char *member,
                    size_t member_len)
{
    append_record(arg, 0, topic, len, w, member, member_len);
}

static void note_asked(void *arg, int slot, uint32_t serial)
{
    links_ws_question *q = arg;
    if (q->nopen == q->size) {
        q->size = q->size ? q->size * 2 : 8;
        q->open = mem_realloc(q->open, (size_t)q->size * sizeof(*q->open));
    }
    q->open[q->nopen++] = (links_presence){.slot = slot, .serial = serial};
}

int links_ws_ask(links_ws_question **out, const char *topic, size_t len)
{
    int rc = bus_is_on() ? bus_join() : 0;
    if (rc < 0)
        return rc;
    links_ws_question *q = mem_zalloc(sizeof(*q));
    q->id = ++all.last_question;
    waitq_init(&q->waiters);
    list_push_back(&all.questions, &q->link);
    topic_each_member(topic, len, add_own, &q->found);
    letter l = {.question = q->id, .from = bus_me()};
    bus_message m = {.kind = BUS_ASK, .topic = topic, .topic_len = len};
    m.data = (const char *)&l;
    m.len = sizeof(l);
    bus_send_all(&m, note_asked, q);
    *out = q;
    return 0;
}

int links_ws_answered(links_ws_question *q, double timeout_ms)
{
    for (int i = q->nopen - 1; i >= 0; i--)
        if (!links_presence_is_here(q->open[i].slot, q->open[i].serial))
            close_asked(q, i);
    if (q->cut)
        return LINKS_TOO_LARGE;
    return q->nopen ? sched_park(&q->waiters, (int64_t)timeout_ms, SCHED_IO, "websocket members")
                    : 0;
}

const char *links_ws_found(const links_ws_question *q, size_t *len)
{
    *len = q->found.len;
    return q->found.data;
}

void links_ws_question_free(links_ws_question *q)
{
    list_remove(&q->link);
    drop(&q->found);
    mem_free(q->open);
    mem_free(q);
}

/* --- changes --------------------------------------------------------------------------------- */

static bool is_watched(const char *topic, size_t len)
{
    LIST_EACH (node, &all.watches) {
        const watch *w = CONTAINER_OF(node, watch, link);
        if (topic_matches(w->topic, w->len, topic, len))
            return true;
    }
    return false;
}

static void take_change(const bus_message *m)
{
    if (!is_watched(m->topic, m->topic_len) || !is_sound(m->data, m->len))
        return;
    if (all.changes.len + m->len > MEMBERS_EVENTS)
        all.overflow = true;
    else
        append(&all.changes, m->data, m->len);
    waitq_wake_all(&all.waiters, 0);
}

void members_changed(int kind, const char *topic, size_t len, const ws *w, const char *member,
                     size_t member_len)
{
    records record = {0};
    bus_message m = {.kind = kind, .topic = topic, .topic_len = len};
    bool is_ours = is_watched(topic, len);
    if (!is_ours && !bus_is_watched(topic, len))
        return;
    append_record(&record, kind, topic, len, w, member, member_len);
    m.data = record.data;
    m.len = record.len;
    bus_tell(&m);
    if (is_ours)
        take_change(&m);
    drop(&record);
}

int links_ws_watch(const char *topic, size_t len)
{
    int rc = bus_is_on() ? bus_join() : 0;
    if (rc < 0)
        return rc;
    watch *w = mem_alloc(sizeof(*w) + len);
    w->len = len;
    memcpy(w->topic, topic, len);
    list_push_back(&all.watches, &w->link);
    if (bus_is_on())
        bus_watched(topic, len);
    return 0;
}

void links_ws_unwatch(const char *topic, size_t len)
{
    LIST_EACH (node, &all.watches) {
        watch *w = CONTAINER_OF(node, watch, link);
        if (w->len != len || memcmp(w->topic, topic, len) != 0)
            continue;
        list_remove(&w->link);
        mem_free(w);
        bus_unwatched(topic, len);
        return;
    }
}

int links_ws_changes(const char **data, size_t *len, int *lost)
{
    uint64_t in_inbox = bus_lost();
    *lost = all.overflow || in_inbox != all.lost;
    if (!*lost && !all.changes.len)
        return sched_park(&all.waiters, 0, 0, "websocket members");
    all.overflow = false;
    all.lost = in_inbox;
    records r = all.taken;
    all.taken = all.changes;
    all.changes = r;
    all.changes.len = 0;
    *data = all.taken.data;
    *len = all.taken.len;
    return 0;
}

void links_ws_look(void) { waitq_wake_all(&all.waiters, 0); }

/* --- the bus --------------------------------------------------------------------------------- */

void members_take(const bus_message *m)
{
    switch (m->kind) {
    case BUS_ASK:
        reply(m);
        break;
    case BUS_ANSWER:
        take_answer(m);
        break;
    case BUS_JOIN:
    case BUS_LEAVE:
        take_change(m);
        break;
    default:
        break; /* of a program that is newer than this one */
    }
}

void members_close(void)
{
    while (!list_empty(&all.watches))
        mem_free(CONTAINER_OF(list_pop_front(&all.watches), watch, link));
    drop(&all.changes);
    drop(&all.taken);
}
