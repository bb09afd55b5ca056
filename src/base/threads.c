#include "base/threads.h"

#include "base/alloc.h"
#include "base/status.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* Spins before a thread sleeps: some 30 to 80 microseconds (a pause takes 40 to 140 cycles), longer
 * than the gap between two steps of a network and far shorter than a scheduler's time slice. */
enum { SPINS = 2000, MAX_THREADS = 256 };

/* A job is done when its tiles are, not when every worker has seen it: one that the system has
 * taken off its core, or that sleeps, is not waited for. So a worker may come late, and must not
 * claim a tile of a job that is over or read fields that are being changed: number of the job and
 * tiles left are one word, and who has taken one off that word by compare and exchange holds a tile
 * of a job that cannot end, and whose fields stay, before it is done. */
struct fb_pool {
    uint32_t size; /* workers, caller included */
    uint32_t n_started;
    pthread_t threads[MAX_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t wake, finished;
    atomic_uint sleepers; /* workers in wait for a job */
    atomic_bool caller_sleeps;

    void (*fn)(void *ctx, uint32_t i, uint32_t worker);
    void *ctx;
    uint32_t n;
    _Atomic uint64_t job; /* number << 32 | tiles that nobody has claimed */
    atomic_uint done;     /* tiles of the job that are */
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

static uint32_t unclaimed(uint64_t job)
{
    return (uint32_t)job;
}

/* The last tile of a job wakes the caller, if it sleeps. */
static void finish_tile(fb_pool *pool, uint32_t n)
{
    if (atomic_fetch_add(&pool->done, 1) + 1 < n || !atomic_load(&pool->caller_sleeps))
        return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->finished);
    pthread_mutex_unlock(&pool->lock);
}

/* Runs tiles until none is left unclaimed. */
static void claim_tiles(fb_pool *pool, uint32_t worker)
{
    uint64_t job = atomic_load(&pool->job);
    while (unclaimed(job) > 0) {
        if (!atomic_compare_exchange_weak(&pool->job, &job, job - 1))
            continue;
        uint32_t n = pool->n;
        pool->fn(pool->ctx, n - unclaimed(job), worker);
        finish_tile(pool, n);
        job = atomic_load(&pool->job);
    }
}

static bool has_work(fb_pool *pool)
{
    return unclaimed(atomic_load(&pool->job)) > 0 || atomic_load(&pool->stop);
}

static void wait_for_job(fb_pool *pool)
{
    for (int i = 0; i < SPINS; i++) {
        if (has_work(pool))
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!has_work(pool))
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *arg)
{
    start s = *(start *)arg;
    fb_free(arg);
    while (!atomic_load(&s.pool->stop)) {
        claim_tiles(s.pool, s.worker);
        wait_for_job(s.pool);
    }
    return NULL;
}

/* Behind a change of `job` or `stop`. */
static void wake_sleepers(fb_pool *pool)
{
    if (atomic_load(&pool->sleepers) == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

/* Tiles that others run may take long, as when their core was taken: the caller makes room. */
static void wait_for_tiles(fb_pool *pool, uint32_t n)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->done) == n)
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->done) < n)
        pthread_cond_wait(&pool->finished, &pool->lock);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->lock);
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
    pthread_cond_init(&pool->finished, NULL);
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
    wake_sleepers(pool);
    for (uint32_t i = 1; i <= pool->n_started; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->finished);
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
    atomic_store(&pool->done, 0);
    uint64_t number = (atomic_load(&pool->job) >> 32) + 1;
    atomic_store(&pool->job, number << 32 | n);
    wake_sleepers(pool);
    claim_tiles(pool, 0);
    wait_for_tiles(pool, n);
}
