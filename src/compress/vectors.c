/* Assignment to codewords, their means, and where to start. */
#include "compress/vectors.h"

#include "base/alloc.h"
#include "base/status.h"
#include "compress/linalg.h"
#include "numeric/random.h"

#include <float.h>
#include <string.h>

enum {
    BLOCK = 128,   /* vectors whose distances are computed at once */
    CHUNK = 16384, /* vectors that a thread takes; sums go by chunk, so threads do not matter */
    DRAWS = 3,
    SEED_LEAST = 16384,
    SEED_EACH = 64
};

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for k-means");
}

static uint32_t chunks_of(size_t n)
{
    return (uint32_t)((n + CHUNK - 1) / CHUNK);
}

static void run_chunks(fb_pool *pool, uint32_t n, void (*fn)(void *, uint32_t, uint32_t), void *ctx)
{
    if (pool) {
        fb_pool_run(pool, n, fn, ctx);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        fn(ctx, i, 0);
}

/* ---- assignment ----------------------------------------------------------------------------- */

typedef struct assigner {
    const fb_vectors *x;
    const float *word; /* [k][d] */
    size_t k;
    float *square;  /* [k] of words, without importances; with them [k][d] */
    float *scratch; /* [workers][scratch_each] */
    size_t scratch_each;
    uint16_t *index;
    float *error;
    double *total; /* [chunks] */
} assigner;

static double error_of(const fb_vectors *x, size_t i, const float *word)
{
    const float *v = x->v + i * x->d, *h = x->h ? x->h + i * x->d : NULL;
    double sum = 0;
    for (size_t j = 0; j < x->d; j++) {
        double e = (double)v[j] - (double)word[j];
        sum += (h ? (double)h[j] : 1.0) * e * e;
    }
    return sum;
}

/* What an error has beside the part that all codewords share: sum_j h_j (w_j^2 - 2 v_j w_j). */
static void score_block(const assigner *a, size_t first, size_t n, float *score, float *hv)
{
    const fb_vectors *x = a->x;
    const float *v = x->v + first * x->d;
    if (x->h) {
        const float *h = x->h + first * x->d;
        for (size_t i = 0; i < n * x->d; i++)
            hv[i] = h[i] * v[i];
        fb_gemm_f32(false, true, n, a->k, x->d, 1, h, x->d, a->square, x->d, 0, score, a->k);
        v = hv;
    } else {
        for (size_t i = 0; i < n; i++)
            memcpy(score + i * a->k, a->square, a->k * sizeof *score);
    }
    fb_gemm_f32(false, true, n, a->k, x->d, -2, v, x->d, a->word, x->d, 1, score, a->k);
}

static size_t least(const float *score, size_t k)
{
    size_t best = 0;
    for (size_t i = 1; i < k; i++)
        best = score[i] < score[best] ? i : best;
    return best;
}

static void assign_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
    assigner *a = ctx;
    const fb_vectors *x = a->x;
    size_t end = (size_t)(chunk + 1) * CHUNK < x->n ? (size_t)(chunk + 1) * CHUNK : x->n;
    float *score = a->scratch + worker * a->scratch_each, *hv = score + BLOCK * a->k;
    double total = 0;
    for (size_t first = (size_t)chunk * CHUNK; first < end; first += BLOCK) {
        size_t n = end - first < BLOCK ? end - first : BLOCK;
        score_block(a, first, n, score, hv);
        for (size_t i = 0; i < n; i++) {
            size_t k = least(score + i * a->k, a->k);
            double e = error_of(x, first + i, a->word + k * x->d);
            a->index[first + i] = (uint16_t)k;
            if (a->error)
                a->error[first + i] = (float)e;
            total += e;
        }
    }
    a->total[chunk] = total;
}

fb_status fb_vectors_assign(const fb_vectors *x, const float *word, size_t k, fb_pool *pool,
                            uint16_t *index, float *error, double *total)
{
    uint32_t n_chunks = chunks_of(x->n);
    assigner a = {.x = x, .word = word, .k = k, .index = index, .error = error};
    a.scratch_each = BLOCK * (k + x->d);
    a.square = fb_calloc(x->h ? k * x->d : k, sizeof *a.square);
    a.scratch = fb_calloc((pool ? fb_pool_size(pool) : 1) * a.scratch_each, sizeof *a.scratch);
    a.total = fb_calloc(n_chunks, sizeof *a.total);
    fb_status status = a.square && a.scratch && a.total ? FB_OK : no_memory();
    for (size_t i = 0; status == FB_OK && i < k * x->d; i++)
        a.square[x->h ? i : i / x->d] += word[i] * word[i];
    if (status == FB_OK)
        run_chunks(pool, n_chunks, assign_chunk, &a);
    *total = 0;
    for (uint32_t i = 0; status == FB_OK && i < n_chunks; i++)
        *total += a.total[i];
    fb_free(a.square);
    fb_free(a.scratch);
    fb_free(a.total);
    return status;
}

/* ---- means ---------------------------------------------------------------------------------- */

typedef struct summer {
    const fb_vectors *x;
    const uint16_t *index;
    size_t k;
    double *sum;    /* [chunks][2][k][d]: h v, h */
    uint32_t *uses; /* [chunks][k] */
} summer;

static void sum_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
    summer *s = ctx;
    const fb_vectors *x = s->x;
    size_t end = (size_t)(chunk + 1) * CHUNK < x->n ? (size_t)(chunk + 1) * CHUNK : x->n;
    double *sum = s->sum + chunk * 2 * s->k * x->d, *weight = sum + s->k * x->d;
    (void)worker;
    for (size_t i = (size_t)chunk * CHUNK; i < end; i++) {
        size_t k = s->index[i];
        s->uses[chunk * s->k + k]++;
        for (size_t j = 0; j < x->d; j++) {
            double h = x->h ? (double)x->h[i * x->d + j] : 1;
            sum[k * x->d + j] += h * (double)x->v[i * x->d + j];
            weight[k * x->d + j] += h;
        }
    }
}

fb_status fb_vectors_update(const fb_vectors *x, const uint16_t *index, size_t k, fb_pool *pool,
                            float *word, uint32_t *uses)
{
    uint32_t n_chunks = chunks_of(x->n);
    summer s = {.x = x, .index = index, .k = k};
    size_t each = 2 * k * x->d;
    s.sum = fb_calloc(n_chunks * each, sizeof *s.sum);
    s.uses = fb_calloc(n_chunks * k, sizeof *s.uses);
    if (!s.sum || !s.uses) {
        fb_free(s.sum);
        fb_free(s.uses);
        return no_memory();
    }
    run_chunks(pool, n_chunks, sum_chunk, &s);
    for (uint32_t c = 1; c < n_chunks; c++) {
        for (size_t i = 0; i < each; i++)
            s.sum[i] += s.sum[c * each + i];
        for (size_t i = 0; i < k; i++)
            s.uses[i] += s.uses[c * k + i];
    }
    for (size_t i = 0; i < k * x->d; i++) {
        double weight = s.sum[k * x->d + i];
        if (weight > 0)
            word[i] = (float)(s.sum[i] / weight);
    }
    memcpy(uses, s.uses, k * sizeof *uses);
    fb_free(s.sum);
    fb_free(s.uses);
    return FB_OK;
}

/* ---- a start -------------------------------------------------------------------------------- */

typedef struct sample {
    const fb_vectors *x;
    size_t n;             /* vectors of x that are looked at, evenly spread */
    double *left;         /* [n] error to the words so far */
    double *trial, *best; /* [n] with one more */
} sample;

static size_t vector_of(const sample *s, size_t i)
{
    return (size_t)((double)i * (double)s->x->n / (double)s->n);
}

/* The number at which the running sum of left passes a random share of it. */
static size_t draw(const sample *s, double total, uint64_t *state)
{
    double want = (double)(fb_random_next(state) >> 11) * 0x1p-53 * total, sum = 0;
    size_t last = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->left[i] > 0) {
            last = i;
            sum += s->left[i];
        }
        if (sum > want)
            break;
    }
    return last;
}

/* The errors with vector i as one more codeword, in trial, and their sum. */
static double try_word(sample *s, size_t i)
{
    const float *word = s->x->v + vector_of(s, i) * s->x->d;
    double total = 0;
    for (size_t k = 0; k < s->n; k++) {
        double e = error_of(s->x, vector_of(s, k), word);
        s->trial[k] = e < s->left[k] ? e : s->left[k];
        total += s->trial[k];
    }
    return total;
}

static void choose_word(sample *s, double *total, uint64_t *state, float *word)
{
    double least_total = DBL_MAX;
    for (int i = 0; i < DRAWS; i++) {
        size_t at = draw(s, *total, state);
        double trial = try_word(s, at);
        if (trial >= least_total)
            continue;
        double *swap = s->best;
        s->best = s->trial;
        s->trial = swap;
        least_total = trial;
        memcpy(word, s->x->v + vector_of(s, at) * s->x->d, s->x->d * sizeof *word);
    }
    double *swap = s->best;
    s->best = s->left;
    s->left = swap;
    *total = least_total;
}

fb_status fb_vectors_seed(const fb_vectors *x, size_t k, uint64_t seed, float *word)
{
    size_t most = k * SEED_EACH > SEED_LEAST ? k * SEED_EACH : SEED_LEAST;
    sample s = {.x = x, .n = x->n < most ? x->n : most};
    double *room = fb_alloc(3 * s.n * sizeof *room), total = 0;
    uint64_t state = seed;
    if (!room)
        return no_memory();
    s.left = room;
    s.trial = room + s.n;
    s.best = room + 2 * s.n;
    size_t first = vector_of(&s, (size_t)(fb_random_next(&state) % s.n));
    memcpy(word, x->v + first * x->d, x->d * sizeof *word);
    for (size_t i = 0; i < s.n; i++) {
        s.left[i] = error_of(x, vector_of(&s, i), word);
        total += s.left[i];
    }
    for (size_t i = 1; i < k; i++)
        choose_word(&s, &total, &state, word + i * x->d);
    fb_free(room);
    return FB_OK;
}
