/* Shuffled, augmented batches from a thread of their own, a few ahead. */
#include "train/stream.h"

#include "base/alloc.h"
#include "base/status.h"
#include "numeric/random.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { AHEAD = 3 };

struct fb_stream {
    const fb_train_set *samples;
    fb_augment augment;
    fb_places places;
    uint64_t seed;
    size_t elems; /* of a sample */

    uint64_t epoch;  /* whose order `order` is; UINT64_MAX at first */
    uint32_t *order; /* [n] */
    float *canvas;   /* one sample before and after the augmentation */

    float *x[AHEAD];
    int32_t *labels[AHEAD];
    uint64_t made, taken; /* steps; step k lies in slot k % AHEAD */
    bool stop, started;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* One number out of two, well mixed. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t state = a;
    state = fb_random_next(&state) ^ b;
    return fb_random_next(&state);
}

static void shuffle(fb_stream *s, uint64_t epoch)
{
    uint32_t n = (uint32_t)s->samples->n;
    uint64_t state = mix(s->seed, epoch);
    for (uint32_t i = 0; i < n; i++)
        s->order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = (uint32_t)(fb_random_next(&state) % i), swap = s->order[i - 1];
        s->order[i - 1] = s->order[k];
        s->order[k] = swap;
    }
    s->epoch = epoch;
}

static void make_sample(fb_stream *s, size_t index, uint64_t seed, float *x)
{
    const fb_train_set *from = s->samples;
    float *raw = s->canvas, *ready = raw + s->elems;
    const uint8_t *pixels = from->pixels ? from->pixels + index * s->elems : NULL;
    if (!pixels) {
        fb_augment_apply(&s->augment, seed, from->h, from->w, from->c,
                         from->values + index * s->elems, x);
        return;
    }
    for (size_t i = 0; i < s->elems; i++)
        raw[i] = pixels[i];
    fb_augment_apply(&s->augment, seed, from->h, from->w, from->c, raw, ready);
    for (size_t i = 0, c = 0; i < s->elems; i++, c = c + 1 < from->c ? c + 1 : 0) {
        const float *table = from->table[c < 4 ? c : 0];
        int whole = (int)ready[i];
        x[i] =
            (float)whole == ready[i] ? table[whole] : table[0] + (table[1] - table[0]) * ready[i];
    }
}

static void make_batch(fb_stream *s, uint64_t step)
{
    const fb_places *p = &s->places;
    uint64_t per_epoch = s->samples->n / p->size, epoch = step / per_epoch;
    size_t first = (size_t)(step % per_epoch) * p->size, slot = (size_t)(step % AHEAD);
    if (epoch != s->epoch)
        shuffle(s, epoch);
    for (size_t i = 0; i < p->count; i++) {
        size_t place = p->first + i, index = s->order[first + place];
        s->labels[slot][i] = s->samples->labels[index];
        make_sample(s, index, mix(mix(s->seed, step), place), s->x[slot] + i * s->elems);
    }
}

static void *work(void *arg)
{
    fb_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->stop && s->made - s->taken == AHEAD)
            pthread_cond_wait(&s->changed, &s->lock);
        if (s->stop)
            break;
        uint64_t step = s->made;
        pthread_mutex_unlock(&s->lock);
        make_batch(s, step);
        pthread_mutex_lock(&s->lock);
        s->made++;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static fb_status check(const fb_train_set *samples, const fb_augment *a, uint32_t batch)
{
    if (batch < 1 || samples->n < batch || samples->n > UINT32_MAX)
        return fb_fail(FB_E_ARG,
                       "%llu training samples do not fill one batch of %u; give a smaller batch",
                       (unsigned long long)samples->n, batch);
    if (samples->flat && (a->crop || a->resize > 0 || a->flip || a->jitter > 0))
        return fb_fail(FB_E_ARG, "augmentation is for images, and the network's input is none");
    if (a->jitter > 0 && (!samples->pixels || samples->c != 3))
        return fb_fail(FB_E_ARG, "jitter is for images of 8 bits and three colours");
    return FB_OK;
}

static fb_status allocate(fb_stream *s)
{
    s->order = fb_calloc((size_t)s->samples->n, sizeof *s->order);
    s->canvas = fb_calloc(2 * s->elems, sizeof *s->canvas);
    bool all = s->order && s->canvas;
    for (int i = 0; i < AHEAD; i++) {
        s->x[i] = fb_calloc(s->places.count, s->elems * sizeof *s->x[i]);
        s->labels[i] = fb_calloc(s->places.count, sizeof *s->labels[i]);
        all = all && s->x[i] && s->labels[i];
    }
    return all ? FB_OK
               : fb_fail(FB_E_MEMORY, "no memory for batches of %u samples", s->places.count);
}

/* Signals stay with the program's own threads. */
static fb_status start(fb_stream *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    s->started = pthread_create(&s->thread, NULL, work, s) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return s->started ? FB_OK : fb_fail(FB_E_MEMORY, "cannot start a thread for the batches");
}

fb_status fb_stream_create(const fb_train_set *samples, const fb_augment *augment, fb_places places,
                           uint64_t seed, uint64_t first_step, fb_stream **out)
{
    *out = NULL;
    FB_TRY(check(samples, augment, places.size));
    fb_stream *s = fb_calloc(1, sizeof *s);
    if (!s)
        return fb_fail(FB_E_MEMORY, "no memory for the batches");
    s->samples = samples;
    s->augment = *augment;
    s->places = places;
    s->seed = seed;
    s->elems = samples->h * samples->w * samples->c;
    s->epoch = UINT64_MAX;
    s->made = s->taken = first_step;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    fb_status status = allocate(s);
    if (status == FB_OK)
        status = start(s);
    if (status != FB_OK) {
        fb_stream_destroy(s);
        return status;
    }
    *out = s;
    return FB_OK;
}

void fb_stream_destroy(fb_stream *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    for (int i = 0; i < AHEAD; i++) {
        fb_free(s->x[i]);
        fb_free(s->labels[i]);
    }
    fb_free(s->order);
    fb_free(s->canvas);
    fb_free(s);
}

void fb_stream_next(fb_stream *s, float *x, int32_t *labels)
{
    pthread_mutex_lock(&s->lock);
    while (s->made == s->taken)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    size_t slot = (size_t)(s->taken % AHEAD);
    memcpy(x, s->x[slot], s->places.count * s->elems * sizeof *x);
    memcpy(labels, s->labels[slot], s->places.count * sizeof *labels);
    pthread_mutex_lock(&s->lock);
    s->taken++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}
