#include "base/chunk.h"

#include <criterion/criterion.h>

static chunk_pool pool;

static void setup(void) { chunk_pool_init(&pool); }
static void teardown(void) { chunk_pool_deinit(&pool); }

TestSuite(chunk, .init = setup, .fini = teardown);

/* Takes `n` chunks, all at the same time, and gives them back. */
static void use(int n)
{
    chunk *all[CHUNK_POOL_MAX + 10];
    for (int i = 0; i < n; i++)
        all[i] = chunk_get(&pool);
    for (int i = 0; i < n; i++)
        chunk_put(&pool, all[i]);
}

Test(chunk, hands_out_the_most_recent_first)
{
    chunk *a = chunk_get(&pool), *b = chunk_get(&pool);
    chunk_put(&pool, a);
    chunk_put(&pool, b);
    cr_assert_eq(chunk_get(&pool), b);
    cr_assert_eq(chunk_get(&pool), a);
    chunk_put(&pool, a);
    chunk_put(&pool, b);
}

Test(chunk, comes_empty_however_it_was_left)
{
    chunk *c = chunk_get(&pool);
    c->start = 5;
    c->end = 10;
    c->next = c;
    chunk_put(&pool, c);
    c = chunk_get(&pool);
    cr_assert_eq(c->start, 0u);
    cr_assert_eq(c->end, 0u);
    cr_assert_null(c->next);
    cr_assert_eq(c->size, (uint32_t)CHUNK_SIZE);
    chunk_put(&pool, c);
}

Test(chunk, keeps_no_more_than_its_limit)
{
    use(CHUNK_POOL_MAX + 10);
    cr_assert_eq(pool.nfree, CHUNK_POOL_MAX);
    chunk_put(&pool, NULL);
    cr_assert_eq(pool.used, 0);
}

Test(chunk, does_not_pool_one_of_another_size)
{
    chunk *big = chunk_new(&pool, 100000);
    big->data[99999] = 'x';
    chunk_put(&pool, big);
    cr_assert_eq(pool.nfree, 0);
}

Test(chunk, trims_what_nobody_has_needed)
{
    use(100);
    chunk_pool_trim(&pool); /* until now, all were in use */
    cr_assert_eq(pool.nfree, 100);
    use(20);
    chunk_pool_trim(&pool);
    cr_assert_eq(pool.nfree, 60);
    for (int i = 0; i < 20; i++)
        chunk_pool_trim(&pool);
    cr_assert_eq(pool.nfree, 0);
}
