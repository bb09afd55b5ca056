/* Dense layers and matrix products in f32. */
#include "kernels/gemm_f32.h"
#include "plan/op_few.h"
#include "plan/op_igemm_f32.h"
#include "plan/op_sparse_f32.h"

/* From so many rows on, packed weights pay: below, the rows of the weights stream from memory
 * anyway and packing would only hold them twice. */
enum { MIN_IGEMM_ROWS = 4 };

/* --- dense ----------------------------------------------------------------------------------- */

typedef struct dense_params {
    size_t m, n, k, grain; /* grain: outputs of a tile */
    fb_operand w;
    float lo, hi;
    fbk_dense_f32_fn *fn;
    fbk_few_f32 few; /* weights that stay packed, and their codes */
    const uint8_t *codes;
    fbk_dense_few_f32_fn *few_fn;
} dense_params;

static void run_dense(const fb_tile *t)
{
    const dense_params *q = t->step->params;
    size_t from, to;
    fb_tile_range(q->n, q->grain, t->index, &from, &to);
    fbk_dense_f32_args a = {.m = q->m,
                            .k = q->k,
                            .ldy = q->n,
                            .x = t->in[0],
                            .w = fb_operand_at(&q->w, t, 1),
                            .bias = t->step->n_in > 2 ? t->in[2] : NULL,
                            .y = t->out[0],
                            .lo = q->lo,
                            .hi = q->hi};
    q->fn(&a, from, to);
}

static void run_dense_few(const fb_tile *t)
{
    const dense_params *q = t->step->params;
    size_t from, to;
    fb_tile_range(q->n, q->grain, t->index, &from, &to);
    fbk_dense_few_f32_args a = {.m = q->m,
                                .k = q->k,
                                .ldy = q->n,
                                .x = t->in[0],
                                .w = &q->few,
                                .codes = q->codes,
                                .bias = t->step->n_in > 2 ? t->in[2] : NULL,
                                .y = t->out[0],
                                .lo = q->lo,
                                .hi = q->hi};
    q->few_fn(&a, from, to);
}

static fb_status prepare_dense_few(fb_prepare *p, dense_params *q)
{
    fb_columns columns = {1, q->n, q->n};
    FB_TRY(fb_few_params(p, p->in[1], &columns, &q->few));
    FB_TRY(fb_few_rows(p, p->in[1], &q->few, q->n, q->k, &q->codes));
    q->few_fn = fbk_dense_few_f32_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_dense_few;
    return FB_OK;
}

fb_status fb_prepare_dense_f32(fb_prepare *p)
{
    const fb_act *act = &p->node->attr.dense.act;
    const fb_slot *const slots[] = {p->in[0], p->in[2], p->out[0]};
    dense_params *q;
    FB_TRY(fb_need_f32(p, slots, 3));
    FB_ENSURE(p->in[1]->shape.rank == 2);
    FB_PLAN_ALLOC(p, q, 1);
    q->n = (size_t)p->in[1]->shape.dims[0];
    q->k = (size_t)p->in[1]->shape.dims[1];
    q->m = p->in[0]->elems / q->k;
    q->lo = fb_act_lo(act);
    q->hi = fb_act_hi(act);
    p->step->macs = (uint64_t)q->m * q->n * q->k;
    if (q->m >= MIN_IGEMM_ROWS && q->m <= INT32_MAX / 2 && q->n <= INT32_MAX && q->k <= INT32_MAX &&
        p->in[1]->place == FB_PLACE_CONST && fb_igemm_f32_usable(p)) {
        fbk_window g = {.h = 1,
                        .w = (int32_t)q->m,
                        .c = (int32_t)q->k,
                        .oh = 1,
                        .ow = (int32_t)q->m,
                        .oc = (int32_t)q->n,
                        .kh = 1,
                        .kw = 1,
                        .stride_h = 1,
                        .stride_w = 1,
                        .dil_h = 1,
                        .dil_w = 1,
                        .groups = 1};
        FB_TRY(fb_prepare_sparse_conv_f32(p, &g, 1, act));
        return p->step->kernel ? FB_OK : fb_prepare_igemm_f32(p, &g, 1, act);
    }
    /* Packed weights of a few bits are fewer bytes than sparse floats until nearly all are 0. */
    if (!fb_few_takes(p->in[1]))
        FB_TRY(fb_prepare_sparse_dense_f32(p, q->m, q->n, q->k, act));
    if (p->step->kernel)
        return FB_OK;
    if (fb_few_takes(p->in[1])) {
        FB_TRY(prepare_dense_few(p, q));
    } else {
        FB_TRY(fb_operand_plain(p, 1, &q->w));
        q->fn = fbk_dense_f32_pick(p->plan->cpu, &p->step->kernel);
        p->step->run = run_dense;
    }
    /* Tiles of 64 Ki weights: some 15 microseconds for floats from memory, and 8 outputs at least
     * so that several rows of weights stream at once. */
    q->grain = fb_round_up(65536 / q->k + 1, 8);
    p->step->n_tiles = fb_tiles(q->n, q->grain);
    p->step->params = q;
    return FB_OK;
}

/* --- matmul ---------------------------------------------------------------------------------- */

typedef struct matmul_params {
    fbk_walk batch; /* matrices: operand 0 = y, 1 = a, 2 = b, in elements; one axis more than
                       needed, of length 1, so that each matrix is a row */
    size_t m, n, k, grain;
    uint32_t tiles_per_matrix;
    fbk_matmul_f32_fn *fn;
} matmul_params;

static void run_matmul(const fb_tile *t)
{
    const matmul_params *q = t->step->params;
    ptrdiff_t off[FBK_WALK_OPERANDS];
    size_t from, to;
    fbk_walk_at(&q->batch, t->index / q->tiles_per_matrix, off);
    fb_tile_range(q->m, q->grain, t->index % q->tiles_per_matrix, &from, &to);
    fbk_matmul_f32_args a = {.n = q->n,
                             .k = q->k,
                             .lda = q->k,
                             .ldb = q->n,
                             .ldy = q->n,
                             .a = (const float *)t->in[0] + off[1],
                             .b = (const float *)t->in[1] + off[2],
                             .y = (float *)t->out[0] + off[0]};
    q->fn(&a, from, to);
}

/* The axes before the matrices, aligned to the right, as strides of operand o. */
static void batch_strides(const fb_shape *s, fbk_walk *w, int o)
{
    ptrdiff_t own[FB_MAX_RANK];
    int32_t rank = s->rank - 2;
    fb_strides(s, own);
    for (int32_t i = 0; i < rank; i++) {
        int32_t at = w->rank - 1 - rank + i;
        w->dims[at] = s->dims[i] > (int64_t)w->dims[at] ? (size_t)s->dims[i] : w->dims[at];
        w->stride[o][at] = s->dims[i] == 1 ? 0 : own[i];
    }
}

fb_status fb_prepare_matmul_f32(fb_prepare *p)
{
    const fb_shape *a = &p->in[0]->shape, *b = &p->in[1]->shape, *y = &p->out[0]->shape;
    matmul_params *q;
    FB_TRY(fb_need_f32(p, p->in, 2));
    FB_ENSURE(a->rank >= 2 && b->rank >= 2 && y->rank >= a->rank && y->rank >= b->rank);
    FB_PLAN_ALLOC(p, q, 1);
    q->m = (size_t)a->dims[a->rank - 2];
    q->k = (size_t)a->dims[a->rank - 1];
    q->n = (size_t)b->dims[b->rank - 1];
    q->batch.rank = y->rank - 1;
    for (int32_t i = 0; i < q->batch.rank; i++)
        q->batch.dims[i] = 1;
    batch_strides(y, &q->batch, 0);
    batch_strides(a, &q->batch, 1);
    batch_strides(b, &q->batch, 2);
    q->fn = fbk_matmul_f32_pick(p->plan->cpu, &p->step->kernel);
    q->grain = fb_round_up(1000000 / (q->n * q->k + 1) + 1, 6);
    q->tiles_per_matrix = fb_tiles(q->m, q->grain);
    size_t matrices = fbk_walk_rows(&q->batch);
    p->step->macs = (uint64_t)matrices * q->m * q->n * q->k;
    p->step->n_tiles = (uint32_t)matrices * q->tiles_per_matrix;
    p->step->run = run_matmul;
    p->step->params = q;
    return FB_OK;
}
