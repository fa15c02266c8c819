#include "modules/websocket/interest.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 1 << 17, TOPICS = 40000 };

TestSuite(interest, .timeout = 60);

static interest *new_interest(void)
{
    size_t size = sizeof(interest) + (size_t)SLOTS * INTEREST_SLOT;
    interest *t = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)t, MAP_FAILED);
    interest_init(t);
    return t;
}

static interest_name named(const char *name)
{
    interest_name n;
    interest_name_init(&n, 12345, name, strlen(name));
    return n;
}

static interest_name numbered(int number)
{
    char name[32];
    snprintf(name, sizeof(name), "topic.%d", number);
    return named(name);
}

static void add(interest *t, const char *name)
{
    interest_name n = named(name);
    interest_add(t, &n);
}

static void take_away(interest *t, const char *name)
{
    interest_name n = named(name);
    interest_remove(t, &n);
}

static int64_t count(const interest *t, const char *name, bool with_patterns)
{
    interest_name n = named(name);
    return interest_count(t, &n, with_patterns);
}

Test(interest, counts_what_is_added_and_removed_while_it_grows_and_forgets)
{
    static uint8_t model[TOPICS];
    interest *t = new_interest();
    unsigned x = 1;
    /* First more and more of them, then fewer and fewer. */
    for (int i = 0; i < 400000; i++) {
        x = x * 1664525 + 1013904223;
        int topic = (int)(x >> 8) % TOPICS;
        bool more = (x >> 3) % 100 < (i < 200000 ? 80 : 20);
        interest_name n = numbered(topic);
        uint64_t wanted = interest_wants(t);
        cr_assert(wanted && wanted <= SLOTS);
        if (more && model[topic] < 200) {
            interest_add(t, &n);
            model[topic]++;
        } else if (!more) {
            interest_remove(t, &n);
            model[topic] -= model[topic] > 0;
        }
        cr_assert_eq(interest_count(t, &n, false), model[topic]);
    }
    for (int topic = 0; topic < TOPICS; topic++) {
        interest_name n = numbered(topic);
        cr_assert_eq(interest_count(t, &n, true), model[topic]);
    }
}

Test(interest, goes_on_for_ever_with_topics_that_come_and_go)
{
    interest *t = new_interest();
    add(t, "stays");
    for (int i = 0; i < 1000000; i++) {
        interest_name n = numbered(i);
        interest_add(t, &n);
        cr_assert_eq(interest_wants(t), INTEREST_SLOTS_MIN);
        interest_remove(t, &n);
    }
    cr_assert_eq(count(t, "stays", false), 1);
    cr_assert_eq(t->live, 1);
}

Test(interest, matches_patterns_by_the_bytes_before_their_star)
{
    interest *t = new_interest();
    add(t, "*");
    add(t, "room.*");
    add(t, "room.*");
    add(t, "room.1");
    cr_assert_eq(count(t, "room.1", false), 1);
    cr_assert_eq(count(t, "room.1", true), 4);
    cr_assert_eq(count(t, "room.", true), 3);
    cr_assert_eq(count(t, "room", true), 1);
    cr_assert_eq(count(t, "", true), 1);
    cr_assert_eq(count(t, "room.*", false), 2);
    cr_assert_eq(count(t, "room.*", true), 3, "its own name once, and \"*\"");
    cr_assert_eq(count(t, "*", true), 1);
    take_away(t, "room.*");
    cr_assert_eq(count(t, "room.2", true), 2);
    take_away(t, "room.*");
    take_away(t, "*");
    take_away(t, "*");
    cr_assert_eq(count(t, "room.2", true), 0);
    cr_assert_eq(count(t, "room.1", true), 1);

    char longest[INTEREST_NAME_MAX + 1];
    memset(longest, 'x', INTEREST_NAME_MAX);
    longest[INTEREST_NAME_MAX] = '\0';
    longest[INTEREST_NAME_MAX - 1] = '*';
    add(t, longest);
    longest[INTEREST_NAME_MAX - 1] = 'y';
    cr_assert_eq(count(t, longest, true), 1);
}

/* Another process looks while the table is made anew over and over. */
Test(interest, is_right_or_unsure_for_who_looks_meanwhile)
{
    interest *t = new_interest();
    for (int i = 0; i < 5; i++)
        add(t, "five");
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        int64_t sure = 0;
        while (sure < 200000) {
            int64_t five = count(t, "five", true), none = count(t, "none", true);
            if ((five != 5 && five != -1) || (none != 0 && none != -1))
                _exit(1);
            sure += five == 5;
        }
        _exit(0);
    }
    int status = 0;
    for (int i = 0; waitpid(child, &status, WNOHANG) == 0; i++) {
        interest_name n = numbered(i % 60000);
        interest_add(t, &n);
        if (i % 60000 == 59999)
            for (int k = 0; k < 60000; k++) {
                n = numbered(k);
                interest_remove(t, &n);
            }
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
