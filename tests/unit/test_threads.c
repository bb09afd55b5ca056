/* Every tile of every job runs once, by a worker of the pool, and is done when the call returns. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/threads.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { MOST = 97, WORKERS = 5, JOBS = 20000 };

typedef struct count {
    uint32_t runs[MOST]; /* plain: what a tile writes is seen by the caller */
    uint32_t size;
    atomic_uint strangers;
    atomic_uint others; /* tiles of other workers than the caller */
} count;

static void tile(void *ctx, uint32_t i, uint32_t worker)
{
    count *c = ctx;
    volatile uint32_t spin = i % 7 * 20;
    while (spin > 0)
        spin--;
    c->runs[i]++;
    if (worker >= c->size)
        atomic_fetch_add(&c->strangers, 1);
    if (worker > 0)
        atomic_fetch_add(&c->others, 1);
}

static void run_jobs(uint32_t size)
{
    fb_pool *pool;
    static count c;
    memset(&c, 0, sizeof c);
    assert_int_equal(fb_pool_create(size, &pool), FB_OK);
    c.size = fb_pool_size(pool);
    assert_int_equal(c.size, size);
    for (uint32_t job = 0; job < JOBS; job++) {
        uint32_t n = job * 7919 % (MOST + 1);
        memset(c.runs, 0, sizeof c.runs);
        fb_pool_run(pool, n, tile, &c);
        for (uint32_t i = 0; i < MOST; i++)
            assert_int_equal(c.runs[i], i < n);
        if (job % 4000 == 0) { /* workers fall asleep */
            const struct timespec nap = {0, 2000000};
            (void)nanosleep(&nap, NULL);
        }
    }
    assert_int_equal(atomic_load(&c.strangers), 0);
    fb_pool_destroy(pool);
}

static void one_worker_is_the_caller(void **state)
{
    (void)state;
    run_jobs(1);
}

static void tiles_run_once_each(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= WORKERS; size++)
        run_jobs(size);
}

static void slow(void *ctx, uint32_t i, uint32_t worker)
{
    const struct timespec nap = {0, 20000000};
    count *c = ctx;
    (void)nanosleep(&nap, NULL);
    c->runs[i]++;
    if (worker > 0)
        atomic_fetch_add(&c->others, 1);
}

/* Longer than anybody spins: the caller sleeps, and the last tile wakes it; both take part. */
static void long_tiles_are_waited_for(void **state)
{
    (void)state;
    fb_pool *pool;
    static count c;
    memset(&c, 0, sizeof c);
    assert_int_equal(fb_pool_create(2, &pool), FB_OK);
    for (uint32_t job = 1; job <= 5; job++) {
        fb_pool_run(pool, 3, slow, &c);
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(c.runs[i], job);
    }
    assert_true(atomic_load(&c.others) > 0);
    fb_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_worker_is_the_caller),
        cmocka_unit_test(tiles_run_once_each),
        cmocka_unit_test(long_tiles_are_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
