#include "plan/op_sparse_f32.h"

#include "kernels/sparse_f32.h"

/* Convolutions: the sparse kernel's cost, of the dense one's, that it is taken at. Dense layers:
 * the share of zeros from which on it is faster (docs/methods/prune.md). */
static const double COST_MOST = 0.95, DENSE_LEAST = 0.7;

enum { TILE_WEIGHTS = 40000 /* of a dense layer: 240 KB, some 15 microseconds from memory */ };

/* The weight, decoded, and how many of its elements are not 0; w->data is NULL when it is no
 * constant. */
static fb_status open_weight(fb_prepare *p, fb_weight *w, size_t *kept)
{
    size_t n = p->in[1]->elems;
    *w = (fb_weight){NULL, NULL};
    *kept = 0;
    if (p->in[1]->place != FB_PLACE_CONST || n > UINT32_MAX)
        return FB_OK;
    FB_TRY(fb_weight_open(p, 1, w));
    for (size_t i = 0; i < n; i++)
        *kept += w->data[i] != 0;
    return FB_OK;
}

static bool alloc_weights(fb_prepare *p, size_t starts, size_t kept, fbk_sparse_f32_weights *w)
{
    w->start = fb_plan_alloc_packed(p->plan, starts, sizeof *w->start);
    w->off = fb_plan_alloc_packed(p->plan, kept + 1, sizeof *w->off);
    w->value = fb_plan_alloc_packed(p->plan, kept + 1, sizeof *w->value);
    return w->start && w->off && w->value;
}

/* ---- convolution ---------------------------------------------------------------------------- */

typedef struct conv_params {
    fbk_sparse_f32_shape s;
    fbk_sparse_f32_args args;   /* what all tiles share */
    size_t in_elems, out_elems; /* of one image */
    uint32_t tiles;             /* of one image */
} conv_params;

static void run_conv(const fb_tile *t)
{
    const conv_params *q = t->step->params;
    size_t image = t->index / q->tiles;
    fbk_sparse_f32_args a = q->args;
    a.x = (const float *)t->in[0] + image * q->in_elems;
    a.bias = t->step->n_in > 2 ? t->in[2] : NULL;
    a.y = (float *)t->out[0] + image * q->out_elems;
    a.scratch = t->scratch;
    fbk_sparse_f32_tile(&a, t->index % q->tiles);
}

fb_status fb_prepare_sparse_conv_f32(fb_prepare *p, const fbk_window *g, size_t images,
                                     const fb_act *act)
{
    fbk_sparse_f32_shape s;
    fb_weight w;
    size_t kept;
    const char *kernel;
    fbk_sparse_f32_fn *micro = fbk_sparse_f32_pick(p->plan->cpu, &kernel);
    if (micro == fbk_sparse_f32_ref || !fbk_sparse_f32_shape_make(g, &s))
        return FB_OK;
    FB_TRY(open_weight(p, &w, &kept));
    if (!w.data || fbk_sparse_f32_cost(&s, kept) > COST_MOST) {
        fb_weight_release(&w);
        return FB_OK;
    }
    conv_params *q = fb_plan_alloc(p->plan, 1, sizeof *q);
    if (!q || !alloc_weights(p, s.n_blocks * (size_t)g->oc + 1, kept, &q->args.w)) {
        fb_weight_release(&w);
        return fb_plan_no_memory(p);
    }
    q->s = s;
    fbk_sparse_f32_pack(&q->s, w.data, &q->args.w);
    fb_weight_release(&w);
    q->args.s = &q->s;
    q->args.micro = micro;
    q->args.move = fbk_move_any_pick(p->plan->cpu, NULL);
    q->args.lo = fb_act_lo(act);
    q->args.hi = fb_act_hi(act);
    q->in_elems = p->in[0]->elems / images;
    q->out_elems = p->out[0]->elems / images;
    q->tiles = fbk_sparse_f32_tiles(&s);
    p->step->kernel = kernel;
    p->step->n_tiles = (uint32_t)images * q->tiles;
    p->step->scratch_bytes = s.scratch_bytes;
    p->step->run = run_conv;
    p->step->params = q;
    return FB_OK;
}

/* ---- dense ---------------------------------------------------------------------------------- */

typedef struct dense_params {
    fbk_sparse_dense_f32_args args; /* what all tiles share */
    fbk_sparse_dense_f32_fn *fn;
    size_t n, grain; /* outputs, of a tile */
} dense_params;

static void run_dense(const fb_tile *t)
{
    const dense_params *q = t->step->params;
    fbk_sparse_dense_f32_args a = q->args;
    size_t from, to;
    fb_tile_range(q->n, q->grain, t->index, &from, &to);
    a.x = t->in[0];
    a.bias = t->step->n_in > 2 ? t->in[2] : NULL;
    a.y = t->out[0];
    q->fn(&a, from, to);
}

static void pack_rows(const float *w, size_t n, size_t k, fbk_sparse_f32_weights *to)
{
    size_t kept = 0;
    to->start[0] = 0;
    for (size_t j = 0; j < n; j++) {
        for (size_t i = 0; i < k; i++) {
            if (w[j * k + i] == 0)
                continue;
            to->off[kept] = (uint16_t)i;
            to->value[kept++] = w[j * k + i];
        }
        to->start[j + 1] = (uint32_t)kept;
    }
}

fb_status fb_prepare_sparse_dense_f32(fb_prepare *p, size_t m, size_t n, size_t k,
                                      const fb_act *act)
{
    fb_weight w;
    fbk_sparse_f32_weights packed;
    size_t kept;
    const char *kernel;
    fbk_sparse_dense_f32_fn *fn = fbk_sparse_dense_f32_pick(p->plan->cpu, &kernel);
    if (fn == fbk_sparse_dense_f32_ref || k > 65536)
        return FB_OK;
    FB_TRY(open_weight(p, &w, &kept));
    if (!w.data || (double)kept > (1 - DENSE_LEAST) * (double)n * (double)k) {
        fb_weight_release(&w);
        return FB_OK;
    }
    dense_params *q = fb_plan_alloc(p->plan, 1, sizeof *q);
    if (!q || !alloc_weights(p, n + 1, kept, &packed)) {
        fb_weight_release(&w);
        return fb_plan_no_memory(p);
    }
    pack_rows(w.data, n, k, &packed);
    fb_weight_release(&w);
    q->args = (fbk_sparse_dense_f32_args){.m = m,
                                          .k = k,
                                          .ldy = n,
                                          .w = packed.value,
                                          .start = packed.start,
                                          .at = packed.off,
                                          .lo = fb_act_lo(act),
                                          .hi = fb_act_hi(act)};
    q->fn = fn;
    q->n = n;
    q->grain = TILE_WEIGHTS / (kept / n + 1) + 1;
    p->step->kernel = kernel;
    p->step->n_tiles = fb_tiles(n, q->grain);
    p->step->run = run_dense;
    p->step->params = q;
    return FB_OK;
}
