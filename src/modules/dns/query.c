#include "query.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/random.h"

enum {
    EARLY_MS = 50, /* a timeout that comes earlier than this before its time was not ours */
};

struct query {
    list link; /* of its bucket */
    list askers;
    queries *owner;
    servers *servers;
    question question;
    int timeout_ms, tries;
    uint8_t order[SERVERS_MAX];
    int at;           /* in the order */
    int round;        /* of tries */
    unsigned refused; /* servers that have answered, and that have no answer: a bit each */
    int error;        /* what to say if nobody has an answer */
    int64_t begun_ms; /* the try that is under way */
    uint8_t sent[MESSAGE_MAX_QUERY];
    bool with_edns; /* the query under way */
    bool no_edns;   /* the server does not know it */
    bool tcp;       /* an answer by UDP was suspicious */
    bool plain;     /* ... and there is no TCP */
    bool sending, again, done;
};

/* --- chance -------------------------------------------------------------------------------- */

/* Letters in a case that whoever forges an answer would have to guess: servers repeat the
 * question as it is (draft-vixie-dnsext-dns0x20). No length of a label looks like a letter. */
static void mix_case(uint8_t *wire, int len)
{
    uint32_t bits = 0;
    int left = 0;
    for (int i = 0; i < len; i++) {
        if (wire[i] < 'a' || wire[i] > 'z')
            continue;
        if (!left) {
            bits = random_bits();
            left = 32;
        }
        if (bits & 1)
            wire[i] ^= 'a' ^ 'A';
        bits >>= 1;
        left--;
    }
}

/* --- the answer ---------------------------------------------------------------------------- */

static void give(ask_part *part, answer *a)
{
    list_remove(&part->link);
    part->answer = answer_ref(a);
    part->ask->done++;
    waitq_wake_all(&part->ask->waiters, 0);
}

static bool is_final(int status)
{
    return status == 0 || status == DNS_ENODATA || status == DNS_ENOTFOUND;
}

static void query_free(query *q)
{
    q->servers->users--;
    mem_free(q);
}

/* Ends the question, whose memory goes once nothing of it runs any more. */
static void complete(query *q, answer *a)
{
    queries *qs = q->owner;
    int64_t now = ev_now_ms(qs->channels.net->loop);
    list *l;

    list_remove(&q->link);
    qs->pending--;
    a->at_ms = now;
    if (is_final(a->public.status))
        cache_put(qs->cache, &q->question, a, now);
    else
        qs->stats->failures++;
    while ((l = q->askers.next) != &q->askers)
        give(CONTAINER_OF(l, ask_part, link), a);
    answer_unref(a);
    q->done = true;
}

static void fail(query *q) { complete(q, answer_new(q->error)); }

/* --- one server after the other ------------------------------------------------------------ */

/* What a server has said weighs more than that another one has said nothing; and who has said it
 * will not say another thing the next time. */
static void note_error(query *q, int error, bool said)
{
    if (said || (!q->refused && error != DNS_ECONNREFUSED))
        q->error = error;
    if (said)
        q->refused |= 1u << q->order[q->at];
}

/* On to the next server that may have an answer; or, where there is none, to the end. */
static void next_server(query *q)
{
    if (q->refused == (1u << q->servers->count) - 1) {
        fail(q);
        return;
    }
    do {
        if (++q->at == q->servers->count) {
            q->at = 0;
            if (++q->round == q->tries) {
                fail(q);
                return;
            }
        }
    } while (q->refused & 1u << q->order[q->at]);
    q->no_edns = false;
    q->again = true;
}

static void on_no_reply(query *q, int status)
{
    queries *qs = q->owner;
    int64_t now = ev_now_ms(qs->channels.net->loop);

    if (status == DNS_EDESTRUCTION) {
        q->error = status;
        fail(q);
        return;
    }
    if (q->tcp)
        q->plain = true;
    q->tcp = false;
    if (status == DNS_ETIMEOUT) {
        qs->stats->timeouts++;
        /* Newer versions of c-ares give a server that used to be quick less time. */
        if (now - q->begun_ms < q->timeout_ms - EARLY_MS) {
            q->again = true;
            return;
        }
    }
    q->servers->bad_until_ms[q->order[q->at]] = now + SERVERS_BAD_MS;
    note_error(q, status, false);
    next_server(q);
}

static void on_message(query *q, const uint8_t *message, size_t len)
{
    if (!q->tcp && !q->plain && !message_echoes(message, len, q->sent, q->question.wire_len)) {
        q->tcp = true;
        q->again = true;
        return;
    }
    answer *a =
        message_parse(message, len, q->question.wire, q->question.wire_len, q->question.type);
    int status = a->public.status;
    q->servers->bad_until_ms[q->order[q->at]] = 0;
    if (is_final(status)) {
        complete(q, a);
        return;
    }
    answer_unref(a);
    if (status == DNS_EFORMERR && q->with_edns) {
        q->no_edns = true;
        q->again = true;
        return;
    }
    note_error(q, status, true);
    next_server(q);
}

static void run(query *q);

static void on_reply(void *arg, int status, const uint8_t *message, size_t len)
{
    query *q = arg;
    if (message)
        on_message(q, message, len);
    else
        on_no_reply(q, status);
    if (!q->sending)
        run(q);
}

/* The second time round it does without EDNS, for there are those who drop what they do not
 * know. */
static void send_one(query *q)
{
    queries *qs = q->owner;
    int wire_len = q->question.wire_len;
    uint8_t wire[NAME_MAX_WIRE];

    memcpy(wire, q->question.wire, (size_t)wire_len);
    if (!q->plain)
        mix_case(wire, wire_len);
    q->with_edns = !q->no_edns && q->round == 0;
    int len = message_query(q->sent, (uint16_t)random_bits(), wire, wire_len, q->question.type,
                            q->with_edns);
    qs->stats->queries++;
    channels_send(&qs->channels, &q->servers->at[q->order[q->at]], q->timeout_ms, q->tcp, q->sent,
                  len, on_reply, q);
}

/* Sends until a query is under way, and not all have failed at once. */
static void run(query *q)
{
    ev_loop *loop = q->owner->channels.net->loop;
    while (q->again) {
        q->again = false;
        q->begun_ms = ev_now_ms(loop);
        q->sending = true;
        send_one(q);
        q->sending = false;
    }
    if (q->done)
        query_free(q);
}

/* --- asking -------------------------------------------------------------------------------- */

static query *find(queries *qs, const question *q, int timeout_ms, int tries)
{
    LIST_EACH (node, &qs->buckets[q->hash % QUERIES_BUCKETS]) {
        query *one = CONTAINER_OF(node, query, link);
        if (question_equal(&one->question, q) && one->timeout_ms == timeout_ms &&
            one->tries == tries)
            return one;
    }
    return NULL;
}

static query *query_new(queries *qs, const question *q, servers *s, int timeout_ms, int tries)
{
    query *one = mem_new(query);
    one->owner = qs;
    one->servers = s;
    one->question = *q;
    one->timeout_ms = timeout_ms;
    one->tries = tries;
    one->error = DNS_ECONNREFUSED;
    one->again = true;
    list_init(&one->askers);
    list_push_back(&qs->buckets[q->hash % QUERIES_BUCKETS], &one->link);
    servers_order(s, ev_now_ms(qs->channels.net->loop), one->order);
    s->users++;
    qs->pending++;
    return one;
}

int queries_ask(queries *qs, links_dns_ask *ask, const question *q, servers *s, int timeout_ms,
                int tries)
{
    query *one = find(qs, q, timeout_ms, tries);
    bool is_new = !one;
    if (is_new) {
        if (qs->pending == QUERIES_MAX)
            return LINKS_FULL;
        one = query_new(qs, q, s, timeout_ms, tries);
    } else {
        qs->stats->shared++;
    }
    ask_part *part = &ask->parts[ask->count++];
    part->ask = ask;
    list_push_back(&one->askers, &part->link);
    if (is_new)
        run(one);
    return 0;
}

void queries_open(queries *qs, net *n, cache *c, links_dns_stats *stats)
{
    *qs = (queries){.cache = c, .stats = stats};
    for (int i = 0; i < QUERIES_BUCKETS; i++)
        list_init(&qs->buckets[i]);
    channels_open(&qs->channels, n);
}

void queries_close(queries *qs) { channels_close(&qs->channels); }
