#include "base/threads.h"

#include "base/alloc.h"
#include "base/status.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* Spins between jobs before a worker sleeps: about 50 microseconds, longer than the gap between two
 * steps of a network and far shorter than a scheduler's time slice. */
enum { SPINS = 20000, MAX_THREADS = 256 };

struct fb_pool {
    uint32_t size; /* workers, caller included */
    uint32_t n_started;
    pthread_t threads[MAX_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint sleepers;

    /* The job. `epoch` is bumped (release) after the fields are written, so a worker that sees the
     * new epoch (acquire) sees them; `left` counts workers that have not finished with the job. */
    void (*fn)(void *ctx, uint32_t i, uint32_t worker);
    void *ctx;
    uint32_t n;
    atomic_uint next;
    atomic_uint epoch;
    atomic_uint left;
    atomic_bool stop;
};

typedef struct start {
    fb_pool *pool;
    uint32_t worker;
} start;

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void claim_tiles(fb_pool *pool, uint32_t worker)
{
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (i >= pool->n)
            break;
        pool->fn(pool->ctx, i, worker);
    }
}

static void wait_for_job(fb_pool *pool, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->epoch, memory_order_acquire) != seen)
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->epoch) == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *arg)
{
    start s = *(start *)arg;
    fb_free(arg);
    unsigned seen = 0;
    for (;;) {
        wait_for_job(s.pool, seen);
        seen = atomic_load_explicit(&s.pool->epoch, memory_order_acquire);
        if (atomic_load(&s.pool->stop))
            return NULL;
        claim_tiles(s.pool, s.worker);
        atomic_fetch_sub_explicit(&s.pool->left, 1, memory_order_release);
    }
}

static void publish(fb_pool *pool)
{
    atomic_fetch_add(&pool->epoch, 1);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
}

static uint32_t usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (uint32_t)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

fb_status fb_pool_create(uint32_t n_threads, fb_pool **out)
{
    *out = NULL;
    if (n_threads == 0)
        n_threads = usable_cores();
    if (n_threads > MAX_THREADS)
        return fb_fail(FB_E_ARG, "%u threads asked for; at most %d are allowed", n_threads,
                       MAX_THREADS);
    fb_pool *pool = fb_calloc(1, sizeof *pool);
    if (!pool)
        return fb_fail(FB_E_MEMORY, "no memory for a thread pool");
    pool->size = n_threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (uint32_t i = 1; i < n_threads; i++) {
        start *s = fb_alloc(sizeof *s);
        if (s)
            *s = (start){pool, i};
        if (!s || pthread_create(&pool->threads[i], NULL, worker_main, s) != 0) {
            fb_free(s);
            fb_pool_destroy(pool);
            return fb_fail(FB_E_MEMORY, "cannot start thread %u of %u", i + 1, n_threads);
        }
        pool->n_started++;
    }
    *out = pool;
    return FB_OK;
}

void fb_pool_destroy(fb_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    publish(pool);
    for (uint32_t i = 1; i <= pool->n_started; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    fb_free(pool);
}

uint32_t fb_pool_size(const fb_pool *pool)
{
    return pool->size;
}

void fb_pool_run(fb_pool *pool, uint32_t n, void (*fn)(void *ctx, uint32_t i, uint32_t worker),
                 void *ctx)
{
    if (pool->size == 1 || n <= 1) {
        for (uint32_t i = 0; i < n; i++)
            fn(ctx, i, 0);
        return;
    }
    pool->fn = fn;
    pool->ctx = ctx;
    pool->n = n;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->left, pool->size - 1, memory_order_relaxed);
    publish(pool);
    claim_tiles(pool, 0);
    /* Workers that the system has taken off their core would make us spin for a time slice: yield
     * after a while. */
    for (int spins = 0; atomic_load_explicit(&pool->left, memory_order_acquire) > 0; spins++) {
        if (spins < SPINS)
            relax();
        else
            sched_yield();
    }
}
