/*
 * A process may be killed at any instruction while it has the lock of a shard. So here one changes
 * a shard step by step under ptrace, and at each state that the memory has on the way a copy of it
 * is recovered and looked at: every key has the value from before or the one from after, and no
 * block is lost.
 */
#ifdef __linux__

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "modules/shared/dict.h"
#include "modules/shared/shard.h"

#include "../direct/valgrind.h"

enum {
    SIZE = 8192,
    KEYS = 8, /* "k0" ... */
    TEXT_MAX = 2048,
    STEPS_MAX = 1000000,
};

static shard *s;                      /* shared with the process that changes it */
static char before[SIZE], last[SIZE]; /* the memory when it began, and at the last look */

/* What a shard holds: by key the value; of a list its elements, each behind a '|'. */
typedef struct content {
    char value[KEYS][TEXT_MAX];
    bool there[KEYS];
} content;

/* --- a shard as a table ----------------------------------------------------------------------- */

static shard_key key_of(int i)
{
    static char names[KEYS][16];
    snprintf(names[i], sizeof(names[i]), "k%d", i);
    return (shard_key){names[i], 2, (uint32_t)(i & 1)}; /* in two buckets */
}

static int64_t put(shard *at, int i, const char *value)
{
    shard_key key = key_of(i);
    shard_value v = {value, (uint32_t)strlen(value), DICT_BYTES, 0};
    return shard_put(at, &key, &v, shard_find(at, &key), 0, 0, true);
}

static void push(shard *at, int i, const char *value, bool left)
{
    shard_key key = key_of(i);
    shard_value list = {NULL, 0, DICT_LIST, 0};
    shard_value v = {value, (uint32_t)strlen(value), DICT_BYTES, 0};
    uint32_t item = shard_find(at, &key);
    if (!item)
        item = (uint32_t)shard_put(at, &key, &list, 0, 0, 0, true);
    cr_assert_eq(shard_push(at, item, &v, left, 0), 0);
}

static void pop(shard *at, int i, bool left)
{
    shard_key key = key_of(i);
    shard_pop(at, shard_find(at, &key), left);
}

static void drop(shard *at, int i)
{
    shard_key key = key_of(i);
    shard_remove(at, shard_find(at, &key));
}

/* A value of `len` times one letter. */
static const char *text(char letter, size_t len)
{
    static char bytes[TEXT_MAX];
    memset(bytes, letter, len);
    bytes[len] = '\0';
    return bytes;
}

static size_t read_list(shard *at, const block *list, char *to)
{
    size_t len = 0, count = 0;
    uint32_t previous = 0;
    for (uint32_t e = list->first; e; e = shard_block(at, e)->chain) {
        const block *b = shard_block(at, e);
        cr_assert_eq(b->newer, previous, "elements know the one before");
        to[len++] = '|';
        shard_read(at, b, to + len);
        len += b->len;
        previous = e;
        count++;
    }
    cr_assert_eq(list->last, previous, "a list knows its last element");
    cr_assert_eq(list->number, (double)count, "a list is as long as it says");
    return len;
}

static size_t blocks_of(const block *b)
{
    size_t bytes = (size_t)b->key_len + b->len, head = BLOCK_SIZE - 64, more = BLOCK_SIZE - 8;
    return bytes <= head ? 1 : 1 + (bytes - head + more - 1) / more;
}

static void read_all(shard *at, content *c)
{
    size_t used = 0, items = 0;
    memset(c, 0, sizeof(*c));
    for (int i = 0; i < KEYS; i++) {
        shard_key key = key_of(i);
        uint32_t item = shard_find(at, &key);
        if (!item)
            continue;
        const block *b = shard_block(at, item);
        c->there[i] = true;
        items++;
        used += blocks_of(b);
        if (b->type == DICT_LIST) {
            c->value[i][read_list(at, b, c->value[i])] = '\0';
            for (uint32_t e = b->first; e; e = shard_block(at, e)->chain)
                used += blocks_of(shard_block(at, e));
        } else {
            shard_read(at, b, c->value[i]);
        }
    }
    cr_assert_eq(at->items, items, "as many items as it says");
    cr_assert_eq(used + at->free_count + at->blocks + 1 - at->untouched, at->blocks,
                 "no block is lost, and none is there twice");
}

/* --- step by step ----------------------------------------------------------------------------- */

static content old_content, new_content;
static bool may_be_gone; /* a value goes before the one that takes its place */

static bool same(const content *a, const content *b, int i)
{
    return a->there[i] == b->there[i] && strcmp(a->value[i], b->value[i]) == 0;
}

/* Somebody dies here: the next one recovers the shard, and uses it. */
static void look(size_t step)
{
    static _Alignas(BLOCK_SIZE) char copy[SIZE];
    static content found;
    shard *at = (shard *)copy;
    memcpy(copy, last, SIZE);
    shard_recover(at);
    read_all(at, &found);
    for (int i = 0; i < KEYS; i++)
        cr_assert(same(&found, &old_content, i) || same(&found, &new_content, i) ||
                      (may_be_gone && !found.there[i]),
                  "step %zu: k%d is '%.40s'%s", step, i, found.value[i],
                  found.there[i] ? "" : " (none)");
    for (int i = 0; i < KEYS; i++)
        cr_assert_gt(put(at, i, text('z', 60)), 0);
    read_all(at, &found);
}

static int steps_of(pid_t child)
{
    int status, states = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    for (size_t step = 0; WIFSTOPPED(status) && step < STEPS_MAX; step++) {
        if (memcmp(last, s, SIZE) != 0) {
            memcpy(last, s, SIZE);
            look(step);
            states++;
        }
        cr_assert_eq(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        cr_assert_eq(waitpid(child, &status, 0), child);
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return states;
}

/* Makes the change in a process of its own, and looks at every state on its way. */
static void step_through(void (*change)(shard *))
{
    if (RUNNING_ON_VALGRIND)
        return; /* the steps would be valgrind's */
    memcpy(before, s, SIZE);
    memcpy(last, s, SIZE);
    read_all(s, &old_content);
    change(s); /* what it comes to in the end */
    read_all(s, &new_content);
    memcpy(s, before, SIZE);
    pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(1);
        raise(SIGSTOP);
        change(s);
        _exit(0);
    }
    cr_assert_gt(steps_of(child), 3);
    read_all(s, &old_content);
    for (int i = 0; i < KEYS; i++)
        cr_assert(same(&old_content, &new_content, i), "it has come to its end");
}

static void setup(void)
{
    s = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0);
    cr_assert_neq(s, MAP_FAILED);
    cr_assert_eq(shard_init(s, SIZE, true), 0);
    may_be_gone = false;
    put(s, 0, "zero");
    put(s, 2, text('t', 300)); /* in the bucket of k0 */
    put(s, 1, "one");
}

TestSuite(shard, .init = setup, .timeout = 120);

static void put_new(shard *at) { put(at, 4, "four"); }
static void put_long(shard *at) { put(at, 4, text('f', 700)); }
static void replace_by_longer(shard *at) { put(at, 0, text('n', 500)); }
static void replace_by_shorter(shard *at) { put(at, 2, "short"); }
static void remove_long(shard *at) { drop(at, 2); }
static void sweep_all(shard *at) { shard_sweep(at, 0, true); }
static void use_oldest(shard *at)
{
    shard_key key = key_of(0);
    shard_use(at, shard_find(at, &key));
}

Test(shard, has_the_old_value_or_the_new_one_wherever_a_put_is_killed)
{
    step_through(put_new);
    step_through(put_long);
    step_through(replace_by_longer);
    step_through(replace_by_shorter);
}

Test(shard, has_a_key_or_not_wherever_a_removal_is_killed)
{
    step_through(remove_long);
    step_through(use_oldest);
    step_through(sweep_all);
}

Test(shard, loses_only_what_is_evicted_wherever_a_put_that_evicts_is_killed)
{
    for (int i = 3; i < KEYS; i++)
        put(s, i, text((char)('0' + i), 800));
    push(s, 6, text('l', 200), false);
    pop(s, 6, true);
    step_through(replace_by_longer);
    step_through(put_long);
}

/* One value that takes up nearly everything: the new one cannot be there beside it. */
static void replace_all(shard *at) { put(at, 0, text('b', 1500)); }

Test(shard, has_one_of_two_values_that_do_not_fit_in_together)
{
    shard_sweep(s, 0, true);
    s->evicts = false;
    size_t count = (s->blocks - 2) * 120 / 2;
    put(s, 7, text('x', count < 1900 ? count : 1900));
    put(s, 6, text('y', 1500));
    put(s, 0, text('a', 1500));
    may_be_gone = true;
    step_through(replace_all);
}

Test(shard, takes_a_few_of_what_has_expired_for_a_new_value_and_not_all_at_once)
{
    shard_key key = key_of(4);
    shard_value value = {"v", 1, DICT_BYTES, 0};
    shard_sweep(s, 0, true);
    put(s, 0, "lives for ever");
    char name[8];
    uint32_t many = 0;
    while (s->items < s->blocks) {
        int len = snprintf(name, sizeof(name), "%u", many++);
        shard_key other = {name, (uint32_t)len, many};
        cr_assert_gt(shard_put(s, &other, &value, 0, 10, 0, true), 0);
    }
    uint64_t full = s->items;
    cr_assert_gt(full, 40);
    cr_assert_gt(shard_put(s, &key, &value, 0, 0, 20, true), 0);
    cr_assert_lt(s->items, full);
    cr_assert_gt(s->items, full - 20, "all of them would take too long");
    key = key_of(0);
    cr_assert(shard_find(s, &key), "what has not expired stays where others have");
    cr_assert_eq(s->evictions, 0);
}

static void push_right(shard *at) { push(at, 5, text('r', 200), false); }
static void push_left(shard *at) { push(at, 5, "left", true); }
static void pop_left(shard *at) { pop(at, 5, true); }
static void pop_right(shard *at) { pop(at, 5, false); }
static void remove_list(shard *at) { drop(at, 5); }

Test(shard, has_a_whole_list_wherever_a_push_or_a_pop_is_killed)
{
    push(s, 5, "first", false);
    step_through(push_right);
    step_through(push_left);
    step_through(push_right);
    step_through(pop_right);
    step_through(pop_left);
    step_through(remove_list);
}

#endif
