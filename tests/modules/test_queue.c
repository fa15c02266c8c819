#include "modules/shared/queue.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "modules/shared/dict.h"
#include "modules/shared/fifo.h"

static char name[64];

static void setup(void) { snprintf(name, sizeof(name), "test-%ld", (long)getpid()); }

TestSuite(queue, .init = setup, .timeout = 300);
TestSuite(fifo, .timeout = 300);

/* --- the records in memory ------------------------------------------------------------------- */

static fifo *shared_fifo(size_t size)
{
    fifo *f = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)f, MAP_FAILED);
    cr_assert_eq(fifo_init(f, size), 0);
    cr_assert(fifo_is_sound(f, size));
    cr_assert(!fifo_is_sound(f, size / 2));
    return f;
}

static void put(fifo *f, uint32_t kind, const char *bytes, size_t len, size_t cut)
{
    struct iovec parts[2] = {{(char *)bytes, cut}, {(char *)bytes + cut, len - cut}};
    fifo_put(f, kind, parts, 2);
    fifo_commit(f);
}

Test(fifo, gives_back_what_was_put_wherever_it_goes_over_the_end)
{
    fifo *f = shared_fifo(4096);
    char bytes[512], read[512];
    uint32_t put_so_far = 0, taken = 0;
    for (int i = 0; i < 512; i++)
        bytes[i] = (char)(i * 7);
    while (taken < 20000) {
        size_t len = put_so_far * 31 % 400;
        if (fifo_room(f) >= fifo_need(len)) {
            put(f, put_so_far, bytes + put_so_far % 100, len, len / 3);
            put_so_far++;
            continue;
        }
        size_t wanted = taken * 31 % 400, found;
        cr_assert_eq(fifo_first(f, &found), taken);
        cr_assert_eq(found, wanted);
        fifo_read(f, read);
        cr_assert_arr_eq(read, bytes + taken % 100, found);
        fifo_drop(f);
        taken++;
        cr_assert_eq(f->items, put_so_far - taken);
    }
    munmap(f, 4096);
}

Test(fifo, has_nothing_of_a_record_whose_process_was_killed_before_it_was_whole)
{
    fifo *f = shared_fifo(4096);
    put(f, 1, "first", 5, 0);
    pid_t child = fork();
    if (child == 0) {
        fifo_take(f);
        fifo_put(f, 2, &(struct iovec){"second", 6}, 1);
        f->items = 99;
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    cr_assert(fifo_take(f), "it says that somebody has died");
    cr_assert_eq(f->items, 1);
    size_t len;
    cr_assert_eq(fifo_first(f, &len), 1);
    fifo_drop(f);
    cr_assert(fifo_is_empty(f));
    fifo_give(f);
    cr_assert(!fifo_take(f), "and says so once");
    fifo_give(f);
    munmap(f, 4096);
}

Test(fifo, empties_itself_where_what_is_there_cannot_be)
{
    fifo *f = shared_fifo(4096);
    put(f, 1, "first", 5, 0);
    pid_t child = fork();
    if (child == 0) {
        fifo_take(f);
        memset(f->bytes, 0xff, 8);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    cr_assert(fifo_take(f));
    cr_assert(fifo_is_empty(f) && f->items == 0);
    put(f, 2, "second", 6, 0);
    cr_assert_eq(f->items, 1);
    fifo_give(f);
    munmap(f, 4096);
}

/* --- the queue ------------------------------------------------------------------------------- */

static links_queue *open_queue(double size)
{
    int rc;
    links_queue *q = links_queue_open(name, strlen(name), &size, &rc);
    cr_assert(q, "%s", links_err_name(rc));
    return q;
}

static int push(links_queue *q, double number)
{
    return links_queue_push(q, DICT_NUMBER, NULL, 0, number, -1);
}

Test(queue, is_one_for_all_who_open_it_with_the_same_size)
{
    links_queue *a = open_queue(1 << 17), *b = open_queue(1 << 17);
    double size = 1 << 18;
    int rc = 0;
    cr_assert_null(links_queue_open(name, strlen(name), &size, &rc));
    cr_assert_eq(rc, LINKS_EXISTS);
    cr_assert_eq(size, 1 << 17);
    cr_assert_eq(push(a, 5), 0);
    cr_assert_eq(links_queue_pop(b, -1), DICT_NUMBER);
    cr_assert_eq(b->number, 5);
    cr_assert_eq(links_queue_pop(b, -1), -ETIMEDOUT);
    links_queue_free(a);
    links_queue_free(b);
}

/* Pushes 1, 2, 3 ... and tells how far it was, until it is killed. */
static void produce(double *told)
{
    alarm(60); /* for nobody kills it where the test has failed */
    links_queue *q = open_queue(1 << 16);
    for (double i = 1;; i++) {
        while (push(q, i) != 0)
            ;
        *told = i;
    }
}

/* Pops, and tells what it has got, until it is killed. */
static void consume(double *told)
{
    alarm(60);
    links_queue *q = open_queue(1 << 16);
    for (;;)
        if (links_queue_pop(q, -1) == DICT_NUMBER)
            *told = q->number;
}

static void kill_child(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

Test(queue, loses_nothing_and_repeats_nothing_when_its_producers_are_killed)
{
    volatile double *told =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    links_queue *q = open_queue(1 << 16);
    for (int round = 0; round < 50; round++) {
        *told = 0;
        pid_t child = fork();
        if (child == 0)
            produce((double *)told);
        double next = 1;
        while (next < 300 + round * 7)
            if (links_queue_pop(q, -1) == DICT_NUMBER)
                cr_assert_eq(q->number, next++);
        kill_child(child);
        while (links_queue_pop(q, -1) == DICT_NUMBER)
            cr_assert_eq(q->number, next++);
        cr_assert(next - 1 == *told || next - 2 == *told, "%g of %g", next - 1, *told);
    }
    links_queue_free(q);
    munmap((void *)told, 4096);
}

Test(queue, gives_the_rest_to_others_when_its_consumers_are_killed)
{
    volatile double *told =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    links_queue *q = open_queue(1 << 16);
    for (int round = 0; round < 50; round++) {
        *told = 0;
        pid_t child = fork();
        if (child == 0)
            consume((double *)told);
        double next = 1;
        while (*told < 300 + round * 7)
            if (push(q, next) == 0)
                next++;
        kill_child(child);
        double first = 0;
        for (double i = *told + 1; links_queue_pop(q, -1) == DICT_NUMBER; i++) {
            first = first ? first : q->number;
            /* What it had taken and did not come to tell is gone with it. */
            cr_assert_eq(q->number, i + (first - (*told + 1)));
        }
        cr_assert(first == 0 || first - *told <= 2, "%g after %g", first, *told);
    }
    links_queue_free(q);
    munmap((void *)told, 4096);
}
