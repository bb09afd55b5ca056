/* Layer problems with a given G, for the tests of solvers. Include setjmp/stdarg/stddef/cmocka
 * first. */
#ifndef FB_TESTS_SAMPLE_PROBLEM_H
#define FB_TESTS_SAMPLE_PROBLEM_H

#include "compress/solve.h"
#include "unit/compress_net.h"

/* Weights [ct][d] on a grid of integers of 4 bits, each at the nearest. */
static inline void grid_open(size_t ct, size_t d, const float *w, fb_model **m, fb_reround *r)
{
    int64_t dims[2] = {(int64_t)ct, (int64_t)d};
    int32_t k;
    float scale = 1;
    uint8_t *codes = calloc(ct * d, 1);
    fb_encoding e = {.kind = FB_ENC_AFFINE,
                     .bits = 4,
                     .is_signed = true,
                     .axis = -1,
                     .n_scales = 1,
                     .scale = &scale};
    net_ok(fb_model_create(m));
    net_ok(fb_model_add_const(*m, "w", FB_F32, 2, dims, w, &k));
    net_ok(fb_model_set_payload(*m, k, &e, codes, (ct * d + 1) / 2));
    net_ok(fb_reround_open(&(*m)->tensors[k], false, r));
    for (size_t i = 0; i < ct * d; i++) {
        fb_steps steps = fb_reround_steps(r, i);
        r->code[i] = fb_steps_nearest(&steps, (double)w[i]);
    }
    free(codes);
}

/* ct channels of d such weights, one G, plain target. */
typedef struct toy {
    fb_problem p;
    fb_model *m;
    fb_reround r;
    fb_pool *pool;
    size_t ct, d;
} toy;

static inline void toy_open(toy *t, size_t ct, size_t d, const double *gram, const float *w)
{
    *t = (toy){.ct = ct, .d = d};
    net_ok(fb_pool_create(2, &t->pool));
    net_ok(fb_problem_init(ct, d, 1, (fb_pieces){0}, w, &t->p));
    fb_problem_part *s = &t->p.parts[0];
    memcpy(s->gram, gram, d * d * sizeof *gram);
    for (size_t r = 0; r < ct; r++) {
        for (size_t i = 0; i < d; i++) {
            for (size_t j = 0; j < d; j++)
                s->cross[r * d + j] += (double)w[r * d + i] * gram[i * d + j];
        }
        for (size_t j = 0; j < d; j++)
            s->power[r] += s->cross[r * d + j] * (double)w[r * d + j];
    }
    grid_open(ct, d, w, &t->m, &t->r);
}

static inline void toy_close(toy *t)
{
    fb_reround_close(&t->r);
    fb_model_close(&t->m);
    fb_problem_free(&t->p);
    fb_pool_destroy(t->pool);
}

static inline double toy_error(toy *t, const int32_t *code)
{
    float *value = malloc(t->ct * t->d * sizeof *value);
    double *error = malloc(t->ct * sizeof *error), total;
    fb_reround_decode(&t->r, code, value);
    net_ok(fb_problem_error(&t->p, value, false, t->pool, error, &total));
    free(value);
    free(error);
    return total;
}

static inline double toy_gptq(toy *t, bool by_diagonal, int32_t *code)
{
    memcpy(code, t->r.code, t->ct * t->d * sizeof *code);
    net_ok(fb_solve_gptq(&t->p.parts[0], &t->r, &(fb_gptq_options){by_diagonal, false}, t->pool,
                         code));
    return toy_error(t, code);
}

/* The least error of all codes within +-2 of nearest; d <= 4, one channel. */
static inline double toy_least(toy *t, int32_t *best)
{
    double least = INFINITY;
    int ways = 1;
    for (size_t j = 0; j < t->d; j++)
        ways *= 5;
    for (int i = 0; i < ways; i++) {
        int32_t code[4];
        for (size_t j = 0, rest = (size_t)i; j < t->d; j++, rest /= 5)
            code[j] = t->r.code[j] + (int32_t)(rest % 5) - 2;
        double e = toy_error(t, code);
        if (e < least) {
            least = e;
            memcpy(best, code, t->d * sizeof *code);
        }
    }
    return least;
}

/* E[x xᵀ] of samples whose elements go together, [d][d]; malloc'd. */
static inline double *toy_gram(size_t d)
{
    double *g = calloc(d * d, sizeof *g), *x = calloc(d, sizeof *x);
    for (size_t n = 0; n < 3 * d; n++) {
        double common = (double)net_random();
        for (size_t i = 0; i < d; i++)
            x[i] = (double)net_random() * (i % 5 ? 1 : 2) + (i % 3 ? common : 0) +
                   (i ? 0.5 * x[i - 1] : 0);
        for (size_t i = 0; i < d * d; i++)
            g[i] += x[i / d] * x[i % d] / (double)(3 * d);
    }
    free(x);
    return g;
}

#endif
