#define _POSIX_C_SOURCE 200809L
#include "data/prefetch.h"

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#define RING_BYTES ((size_t)32 << 20)
enum { MAX_SLOTS = 256, MAX_THREADS = 256, SENTENCE = 1024 };

typedef struct slot {
    float *x;
    bool ready;
    fb_status status;
    char sentence[SENTENCE]; /* fb_error() of the thread that failed */
} slot;

struct fb_data_prefetch {
    uint64_t count;
    size_t n_elems;
    fb_data_make make;
    void *user;

    pthread_mutex_t lock;
    pthread_cond_t can_make; /* a slot became free, or stop */
    pthread_cond_t can_take; /* a slot became ready, or the last thread went idle */
    uint64_t made;           /* next sample that a thread will start on */
    uint64_t taken;          /* next sample that the caller will get; made - taken <= n_slots */
    uint32_t busy;           /* threads in the making of a sample */
    bool stop;
    bool pause;

    slot *slots; /* sample i is in slots[i % n_slots] */
    size_t n_slots;
    float *memory;
    pthread_t *threads;
    uint32_t n_threads;
};

static void make_into(fb_data_prefetch *p, slot *s, uint64_t i, fb_data_scratch *scratch)
{
    s->status = p->make(p->user, i, scratch, s->x);
    s->sentence[0] = '\0';
    if (s->status != FB_OK) {
        size_t n = strlen(fb_error());
        n = n < SENTENCE ? n : SENTENCE - 1;
        memcpy(s->sentence, fb_error(), n);
        s->sentence[n] = '\0';
    }
    fb_data_scratch_trim(scratch);
}

static void *work(void *arg)
{
    fb_data_prefetch *p = arg;
    fb_data_scratch scratch;
    memset(&scratch, 0, sizeof scratch);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && (p->pause || p->made == p->count || p->made - p->taken == p->n_slots))
            pthread_cond_wait(&p->can_make, &p->lock);
        if (p->stop)
            break;
        uint64_t i = p->made++;
        slot *s = &p->slots[i % p->n_slots];
        p->busy++;
        pthread_mutex_unlock(&p->lock);
        make_into(p, s, i, &scratch);
        pthread_mutex_lock(&p->lock);
        p->busy--;
        s->ready = true;
        pthread_cond_broadcast(&p->can_take);
    }
    pthread_mutex_unlock(&p->lock);
    fb_data_scratch_free(&scratch);
    return NULL;
}

/* Signals stay with the program's own threads: a handler that saves state must not run here. */
static fb_status start_threads(fb_data_prefetch *p, uint32_t n)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int reason = 0;
    while (p->n_threads < n && reason == 0) {
        reason = pthread_create(&p->threads[p->n_threads], NULL, work, p);
        if (reason == 0)
            p->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (p->n_threads == 0)
        return fb_fail(FB_E_MEMORY, "cannot start a thread to read data: %s", strerror(reason));
    return FB_OK; /* fewer threads than asked for do the same work */
}

static fb_status make_ring(fb_data_prefetch *p, uint32_t n_threads)
{
    size_t sample_bytes, bytes;
    if (!fb_size_mul(p->n_elems, sizeof(float), &sample_bytes))
        return fb_fail(FB_E_LIMIT, "a sample of %zu elements is too large", p->n_elems);
    size_t n = RING_BYTES / sample_bytes;
    n = n > MAX_SLOTS ? MAX_SLOTS : n;
    n = n < 2 * (size_t)n_threads ? 2 * (size_t)n_threads : n;
    n = n > p->count ? (size_t)p->count : n;
    size_t step = fb_round_up(sample_bytes, FB_ALIGN); /* samples share no cache line */
    if (!fb_size_mul(n, step, &bytes))
        return fb_fail(FB_E_LIMIT, "a sample of %zu elements is too large", p->n_elems);
    p->slots = fb_calloc(n, sizeof(slot));
    p->memory = fb_alloc(bytes);
    p->threads = fb_calloc(n_threads, sizeof(pthread_t));
    if (!p->slots || !p->memory || !p->threads)
        return fb_fail(FB_E_MEMORY, "out of memory for %zu samples of %zu bytes read ahead", n,
                       sample_bytes);
    p->n_slots = n;
    for (size_t i = 0; i < n; i++)
        p->slots[i].x = p->memory + i * (step / sizeof(float));
    return FB_OK;
}

fb_status fb_data_prefetch_create(uint64_t count, size_t n_elems, uint32_t n_threads,
                                  fb_data_make make, void *user, fb_data_prefetch **out)
{
    *out = NULL;
    n_threads = n_threads == 0 ? 1 : n_threads > MAX_THREADS ? MAX_THREADS : n_threads;
    if (n_threads > count)
        n_threads = (uint32_t)count;
    fb_data_prefetch *p = fb_calloc(1, sizeof *p);
    if (!p)
        return fb_fail(FB_E_MEMORY, "out of memory for reading data ahead");
    p->count = count;
    p->n_elems = n_elems;
    p->make = make;
    p->user = user;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->can_make, NULL);
    pthread_cond_init(&p->can_take, NULL);
    fb_status status = make_ring(p, n_threads);
    if (status == FB_OK)
        status = start_threads(p, n_threads);
    if (status != FB_OK) {
        fb_data_prefetch_destroy(p);
        return status;
    }
    *out = p;
    return FB_OK;
}

void fb_data_prefetch_destroy(fb_data_prefetch *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->can_make);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->can_take);
    pthread_cond_destroy(&p->can_make);
    pthread_mutex_destroy(&p->lock);
    fb_free(p->slots);
    fb_free(p->memory);
    fb_free(p->threads);
    fb_free(p);
}

fb_status fb_data_prefetch_next(fb_data_prefetch *p, bool peek_failure, bool *failed, float *x)
{
    *failed = false;
    /* `taken` is the caller's to change, so its slot is known without the lock. */
    slot *s = &p->slots[p->taken % p->n_slots];
    pthread_mutex_lock(&p->lock);
    while (!s->ready)
        pthread_cond_wait(&p->can_take, &p->lock);
    pthread_mutex_unlock(&p->lock);
    /* A ready slot belongs to the caller until `taken` moves. */
    fb_status status = s->status;
    if (status != FB_OK && peek_failure) {
        *failed = true;
        return FB_OK;
    }
    if (status == FB_OK)
        memcpy(x, s->x, p->n_elems * sizeof(float));
    else
        status = fb_fail(status, "%s", s->sentence);
    pthread_mutex_lock(&p->lock);
    s->ready = false;
    p->taken++;
    pthread_cond_signal(&p->can_make);
    pthread_mutex_unlock(&p->lock);
    return status;
}

uint64_t fb_data_prefetch_at(const fb_data_prefetch *p)
{
    return p->taken;
}

void fb_data_prefetch_rewind(fb_data_prefetch *p)
{
    pthread_mutex_lock(&p->lock);
    p->pause = true;
    while (p->busy > 0)
        pthread_cond_wait(&p->can_take, &p->lock);
    for (size_t i = 0; i < p->n_slots; i++)
        p->slots[i].ready = false;
    p->made = 0;
    p->taken = 0;
    p->pause = false;
    pthread_cond_broadcast(&p->can_make);
    pthread_mutex_unlock(&p->lock);
}
