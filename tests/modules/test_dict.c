#include "modules/shared/dict.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "modules/shared/region.h"
#include "modules/shared/shard.h"

#include "../direct/valgrind.h"

static char name[64];

static void setup(void) { snprintf(name, sizeof(name), "test-%ld", (long)getpid()); }

TestSuite(dict, .init = setup, .timeout = 300);

static links_dict *open_dict(double size, int shards, int evict)
{
    int rc;
    links_dict *d = links_dict_open(name, strlen(name), "", 0, &size, shards, evict, &rc);
    cr_assert(d, "%s", links_err_name(rc));
    return d;
}

static int put(links_dict *d, const char *key, const char *value)
{
    return links_dict_put(d, key, strlen(key), DICT_BYTES, value, strlen(value), 0, 0, DICT_SET, 0);
}

static bool has(links_dict *d, const char *key, const char *value)
{
    return links_dict_get(d, key, strlen(key), 0) == DICT_BYTES && d->len == strlen(value) &&
           memcmp(d->data, value, d->len) == 0;
}

static bool file_exists(void)
{
    char *path = region_path(name, strlen(name));
    struct stat about;
    bool there = stat(path, &about) == 0;
    mem_free(path);
    return there;
}

Test(dict, is_one_for_all_who_open_it_and_gone_with_the_last)
{
    links_dict *a = open_dict(1 << 20, 4, 1), *b = open_dict(1 << 20, 4, 1);
    cr_assert_eq(put(a, "key", "value"), 0);
    cr_assert(has(b, "key", "value"));
    links_dict_free(a);
    cr_assert(has(b, "key", "value"));
    cr_assert(file_exists());
    links_dict_free(b);
    cr_assert(!file_exists());
    a = open_dict(1 << 20, 4, 1);
    cr_assert(!has(a, "key", "value"), "it begins anew");
    links_dict_free(a);
}

Test(dict, says_which_size_is_there)
{
    links_dict *a = open_dict(1 << 20, 4, 1);
    double size = 1 << 21;
    int rc = 0;
    cr_assert_null(links_dict_open(name, strlen(name), "", 0, &size, 4, 1, &rc));
    cr_assert_eq(rc, LINKS_EXISTS);
    cr_assert_eq(size, 1 << 20);
    cr_assert_null(links_dict_open(name, strlen(name), "", 0, &size, 4, 0, &rc));
    cr_assert_eq(rc, LINKS_EXISTS);
    cr_assert(put(a, "key", "value") == 0 && has(a, "key", "value"), "the first goes on");
    links_dict_free(a);
}

Test(dict, begins_anew_after_a_process_that_was_killed)
{
    pid_t child = fork();
    if (child == 0) {
        put(open_dict(1 << 20, 4, 1), "key", "value");
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    cr_assert(file_exists());
    links_dict *d = open_dict(1 << 18, 4, 1);
    cr_assert(!has(d, "key", "value"));
    links_dict_free(d);
}

Test(dict, refuses_links_and_pipes_in_its_place)
{
    char *path = region_path(name, strlen(name));
    double size = 1 << 20;
    int rc = 0;
    cr_assert_eq(symlink("/etc/hostname", path), 0);
    cr_assert_null(links_dict_open(name, strlen(name), "", 0, &size, 4, 1, &rc));
    cr_assert_eq(rc, -EACCES);
    unlink(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_null(links_dict_open(name, strlen(name), "", 0, &size, 4, 1, &rc));
    cr_assert_eq(rc, -EACCES);
    unlink(path);
    mem_free(path);
}

Test(dict, keeps_a_file_and_refuses_one_of_another_kind)
{
    char path[] = "/tmp/links-dict-XXXXXX";
    int fd = mkstemp(path), rc;
    double size = 1 << 20;
    links_dict *d = links_dict_open("", 0, path, strlen(path), &size, 4, 1, &rc);
    cr_assert(d);
    put(d, "key", "value");
    links_dict_push(d, "list", 4, DICT_BYTES, "a", 1, 0, 0);
    links_dict_free(d);
    d = links_dict_open("", 0, path, strlen(path), &size, 4, 1, &rc);
    cr_assert(d && has(d, "key", "value"));
    cr_assert_eq(links_dict_pop(d, "list", 4, 1), DICT_BYTES);
    links_dict_free(d);

    /* Whatever is written over it, it is refused or mended, and never read beyond. */
    for (unsigned i = 0, x = 1; i < 300; i++) {
        for (int n = 0; n < 50; n++) {
            x = x * 69069 + 1;
            uint32_t junk = x >> 7;
            off_t at = n % 2 ? x >> 13 : (x >> 5) % 8192;
            cr_assert_eq(pwrite(fd, &junk, n % 3 + 1, at), n % 3 + 1);
        }
        d = links_dict_open("", 0, path, strlen(path), &size, 4, 1, &rc);
        if (!d) {
            cr_assert(rc == LINKS_PARSE || rc == LINKS_EXISTS);
            cr_assert_eq(unlink(path), 0);
            close(fd);
            d = links_dict_open("", 0, path, strlen(path), &size, 4, 1, &rc);
            fd = open(path, O_RDWR);
        }
        for (int k = 0; k < 200; k++) {
            char key[16], value[400];
            snprintf(key, sizeof(key), "%d", k);
            memset(value, 'a' + k % 26, sizeof(value));
            value[x % 400] = 0;
            put(d, key, value);
            links_dict_push(d, "list", 4, DICT_BYTES, value, x % 400, 0, k & 1);
            links_dict_get(d, key, strlen(key), 0);
        }
        links_dict_keys(d, 1000);
        links_dict_free(d);
    }
    close(fd);
    unlink(path);
}

Test(dict, evicts_what_was_not_used_for_longest_and_never_for_a_safe_put)
{
    links_dict *d = open_dict(DICT_MIN_SIZE, 1, 1);
    char key[16];
    int count = 0;
    for (;; count++) {
        snprintf(key, sizeof(key), "%d", count);
        if (links_dict_put(d, key, strlen(key), DICT_NUMBER, NULL, 0, count, 0, DICT_SET_SAFE, 0))
            break;
    }
    cr_assert_gt(count, 300);
    double stats[7];
    links_dict_stats(d, stats);
    cr_assert_eq(stats[1], 0, "it is full to the last block");
    cr_assert_eq(links_dict_get(d, "0", 1, 0), DICT_NUMBER);
    cr_assert_eq(put(d, "more", "value"), 0);
    cr_assert_eq(links_dict_get(d, "0", 1, 0), DICT_NUMBER, "it was just used");
    cr_assert_eq(links_dict_get(d, "1", 1, 0), LINKS_NOT_FOUND);
    char *big = mem_zalloc(1 << 20);
    cr_assert_eq(links_dict_put(d, "big", 3, DICT_BYTES, big, 1 << 20, 0, 0, DICT_SET, 0),
                 LINKS_TOO_LARGE);
    cr_assert(has(d, "more", "value"), "nothing went for what could not come");
    mem_free(big);
    links_dict_free(d);
}

Test(dict, without_eviction_is_full_but_replaces_what_is_there)
{
    links_dict *d = open_dict(DICT_MIN_SIZE, 1, 0);
    char key[16];
    int count = 0;
    do
        snprintf(key, sizeof(key), "%d", count++);
    while (put(d, key, "value") == 0);
    cr_assert_eq(put(d, "0", "other"), 0);
    cr_assert(has(d, "0", "other"));
    char big[200];
    memset(big, 'x', sizeof(big));
    cr_assert_eq(links_dict_put(d, "0", 1, DICT_BYTES, big, sizeof(big), 0, 0, DICT_SET, 0),
                 LINKS_FULL);
    cr_assert(has(d, "0", "other"), "the old value is not lost");
    cr_assert_eq(links_dict_delete(d, "1", 1, 0), 0);
    cr_assert_eq(put(d, key, "value"), 0);
    links_dict_free(d);
}

static double clock_of_test_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

Test(dict, remembers_a_rate_to_the_end_of_its_interval)
{
    enum { INTERVAL_MS = 20, BURST = 3, ENOUGH = 10 };
    links_dict *d = open_dict(1 << 20, 4, 1);
    int in_time = 0;
    /* Those in which this process was held up say nothing. */
    for (int i = 0; in_time < ENOUGH && i < 2000; i++) {
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof(key), "%d", i);
        double begun = clock_of_test_ms();
        cr_assert_eq(links_dict_rate(d, key, len, INTERVAL_MS, BURST, 1), 1);
        cr_assert_eq(d->number, BURST - 1);
        while (clock_of_test_ms() < begun + INTERVAL_MS * 0.96) {
        }
        cr_assert_eq(links_dict_rate(d, key, len, INTERVAL_MS, BURST, 1), 1);
        if (clock_of_test_ms() >= begun + INTERVAL_MS)
            continue;
        cr_assert_eq(d->number, BURST - 2, "it forgot the first one");
        in_time++;
    }
    cr_assert_eq(in_time, ENOUGH);
    links_dict_free(d);
}

/* --- against a model ------------------------------------------------------------------------- */

enum { KEYS = 40, MODEL_MAX = 700 };

Test(dict, does_what_a_plain_table_does)
{
    static char model[KEYS][MODEL_MAX];
    static int lens[KEYS];
    memset(lens, -1, sizeof(lens));
    links_dict *d = open_dict(1 << 20, 3, 0);
    uint32_t x = 1;
    for (int i = 0; i < 200000; i++) {
        x = x * 1664525 + 1013904223;
        int k = (x >> 8) % KEYS;
        char key[200];
        /* Keys of up to two blocks. */
        int key_len = snprintf(key, sizeof(key), "%0*d", 1 + k * 4, k);
        if ((x >> 20) % 4 == 0) {
            int rc = links_dict_delete(d, key, (size_t)key_len, 0);
            cr_assert_eq(rc, lens[k] < 0 ? LINKS_NOT_FOUND : 0);
            lens[k] = -1;
        } else if ((x >> 20) % 4 == 1) {
            int len = (x >> 10) % MODEL_MAX;
            for (int n = 0; n < len; n++)
                model[k][n] = (char)(x >> (n & 15));
            lens[k] = len;
            cr_assert_eq(links_dict_put(d, key, (size_t)key_len, DICT_BYTES, model[k], (size_t)len,
                                        0, 0, DICT_SET, 0),
                         0);
        }
        int rc = links_dict_get(d, key, (size_t)key_len, 0);
        cr_assert_eq(rc, lens[k] < 0 ? LINKS_NOT_FOUND : DICT_BYTES);
        cr_assert(rc < 0 || ((int)d->len == lens[k] && !memcmp(d->data, model[k], d->len)));
    }
    links_dict_flush(d, 0);
    double stats[7];
    links_dict_stats(d, stats);
    cr_assert_eq(stats[0], stats[1], "every block came back");
    links_dict_free(d);
}

/* --- killed at work -------------------------------------------------------------------------- */

/* A value that tells whether it is whole: its length and one letter, repeated. */
static size_t fill(char *value, uint32_t x)
{
    size_t len = 1 + x % 600;
    memset(value, 'a' + x % 26, len);
    return len;
}

static bool is_whole(const char *value, size_t len)
{
    for (size_t i = 1; i < len; i++)
        if (value[i] != value[0])
            return false;
    return len > 0;
}

static void scribble(links_dict *d, uint32_t x, int begun)
{
    char value[600];
    alarm(60); /* where the test that is to kill this one has failed */
    if (write(begun, "", 1) < 0)
        _exit(1);
    for (;;) {
        x = x * 1664525 + 1013904223;
        char key[16];
        int key_len = snprintf(key, sizeof(key), "%u", (x >> 8) % 300);
        size_t len = fill(value, x >> 4);
        switch ((x >> 24) % 8) {
        case 0:
            links_dict_delete(d, key, (size_t)key_len, 0);
            break;
        case 1:
            links_dict_push(d, "list", 4, DICT_BYTES, value, len, 0, (int)x & 1);
            break;
        case 2:
            links_dict_pop(d, "list", 4, (int)(x >> 1) & 1);
            break;
        case 3:
            links_dict_incr(d, "number", 6, 1, 1, 0, 0);
            break;
        default:
            links_dict_put(d, key, (size_t)key_len, DICT_BYTES, value, len, 0, 0, DICT_SET, 0);
        }
    }
}

static void check_all(links_dict *d)
{
    int count = links_dict_keys(d, 10000);
    char *keys = mem_alloc(d->len + 1), *at = keys;
    memcpy(keys, d->data, d->len);
    for (int i = 0; i < count; i++) {
        uint32_t len;
        memcpy(&len, at, sizeof(len));
        at += sizeof(len);
        int type = links_dict_get(d, at, len, 0);
        cr_assert(type == DICT_NUMBER || type == DICT_LIST || type == DICT_BYTES);
        cr_assert(type != DICT_BYTES || is_whole(d->data, d->len));
        at += len;
    }
    mem_free(keys);
    cr_assert_eq(links_dict_len(d, "list", 4), 0);
    int length = (int)d->number, type;
    for (int i = 0; (type = links_dict_pop(d, "list", 4, i & 1)) == DICT_BYTES; i++, length--)
        cr_assert(is_whole(d->data, d->len));
    cr_assert_eq(type, LINKS_NOT_FOUND);
    cr_assert_eq(length, 0, "the list is as long as it says");
}

Test(dict, survives_processes_that_are_killed_while_they_write)
{
    /* One shard, and small: whoever is killed mostly has the lock. */
    links_dict *d = open_dict(DICT_MIN_SIZE, 1, 1);
    uint32_t x = 7;
    double stats[7] = {0};
    int begun[2], rounds = RUNNING_ON_VALGRIND ? 40 : 400;
    cr_assert_eq(pipe(begun), 0);
    /* A machine with other things to do may let them write for a moment only: more rounds then. */
    for (int round = 0; round < rounds || (stats[6] <= 5 && round < 10000); round++) {
        pid_t children[2];
        char byte;
        for (int i = 0; i < 2; i++) {
            x = x * 69069 + 1;
            children[i] = fork();
            if (children[i] == 0)
                scribble(d, x, begun[1]);
        }
        for (int i = 0; i < 2; i++)
            cr_assert_eq(read(begun[0], &byte, 1), 1);
        usleep(200 + x % 1500);
        for (int i = 0; i < 2; i++) {
            kill(children[i], SIGKILL);
            waitpid(children[i], NULL, 0);
        }
        check_all(d);
        links_dict_stats(d, stats);
    }
    cr_assert_gt(stats[6], 5, "only %g died with the lock", stats[6]);
    links_dict_flush(d, 0);
    links_dict_stats(d, stats);
    cr_assert_eq(stats[0], stats[1], "no block was lost: %g of %g", stats[1], stats[0]);
    links_dict_free(d);
}

Test(dict, counts_every_increment_of_several_processes)
{
    links_dict *d = open_dict(1 << 20, 4, 1);
    enum { CHILDREN = 3, EACH = 100000 };
    for (int i = 0; i < CHILDREN; i++)
        if (fork() == 0) {
            for (int n = 0; n < EACH; n++)
                links_dict_incr(d, "n", 1, 1, 1, 0, 0);
            _exit(0);
        }
    for (int i = 0; i < CHILDREN; i++)
        wait(NULL);
    links_dict_get(d, "n", 1, 0);
    cr_assert_eq(d->number, CHILDREN * EACH);
    links_dict_free(d);
}

Test(dict, is_made_once_by_many_at_the_same_time)
{
    int rounds = RUNNING_ON_VALGRIND ? 10 : 50;
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < 4; i++)
            if (fork() == 0) {
                links_dict *d = open_dict(1 << 20, 4, 1);
                int ok = put(d, "key", "value") == 0 && has(d, "key", "value");
                links_dict_free(d);
                _exit(ok ? 0 : 1);
            }
        for (int i = 0; i < 4; i++) {
            int status;
            wait(&status);
            cr_assert_eq(status, 0);
        }
    }
    cr_assert(!file_exists());
}
