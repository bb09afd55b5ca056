/* Matrix products. With a constant right side they are dense layers, whose weight is [n][k]. */
#include "import/ops_dense.h"

#include <string.h>

static const int32_t swap[2] = {1, 0};

/* factor * the constant v, plain. */
static fb_status scaled(fb_imp *im, int32_t v, float factor, const char *what, int32_t *out)
{
    *out = v;
    if (factor == 1)
        return FB_OK;
    FB_TRY(fb_imp_const_f32(im, v, what, &v));
    fb_shape s = *fb_imp_shape(im, v);
    int64_t n = 0;
    FB_TRY(fb_imp_add_const(im, "", FB_F32, s.rank, s.dims, out));
    (void)fb_imp_elems(&s, &n);
    const float *from = fb_imp_data(im, v);
    float *to = fb_imp_data(im, *out);
    for (int64_t i = 0; i < n; i++)
        to[i] = factor * from[i];
    fb_imp_at(im, *out)->name = fb_imp_at(im, v)->name;
    return FB_OK;
}

/* factor * v at run time. */
static fb_status times(fb_imp *im, int32_t v, float factor, int32_t *out)
{
    int32_t f;
    *out = v;
    if (factor == 1)
        return FB_OK;
    FB_TRY(fb_imp_scalar_f32(im, factor, &f));
    return fb_imp_binary(im, FB_BINARY_MUL, v, f, out);
}

/* ---- Gemm ---------------------------------------------------------------------------------- */

/* C as the bias of n outputs, where it is a constant that does not differ from row to row; else
 * *bias = -1. */
static fb_status gemm_bias(fb_imp *im, int32_t c, float beta, int64_t n, int32_t *bias)
{
    *bias = -1;
    if (c < 0 || !fb_imp_is_const(im, c) || fb_imp_at(im, c)->alt)
        return FB_OK;
    const fb_shape s = *fb_imp_shape(im, c);
    int64_t width = s.rank == 0 ? 1 : s.dims[s.rank - 1];
    if (s.rank > 2 || (s.rank == 2 && s.dims[0] != 1) || (width != 1 && width != n))
        return FB_OK;
    if (s.rank == 1 && width == n) /* as it is: it may stand for an s32 constant */
        return scaled(im, c, beta, "C", bias);
    FB_TRY(fb_imp_const_f32(im, c, "C", &c));
    FB_TRY(fb_imp_add_const(im, "", FB_F32, 1, &n, bias));
    const float *from = fb_imp_data(im, c);
    float *to = fb_imp_data(im, *bias);
    for (int64_t i = 0; i < n; i++)
        to[i] = beta * from[width == 1 ? 0 : i];
    fb_imp_at(im, *bias)->name = fb_imp_at(im, c)->name;
    return FB_OK;
}

static fb_status gemm_dense(fb_imp *im, const int32_t in[3], float alpha, float beta, bool trans_b,
                            int32_t *y, bool *has_c)
{
    int32_t w = in[1], bias;
    if (fb_imp_at(im, w)->alt)
        return fb_imp_no(im, "B depends on the batch size; import with a fixed batch");
    if (!trans_b)
        FB_TRY(fb_imp_permute_const(im, w, swap, &w));
    FB_TRY(scaled(im, w, alpha, "B", &w));
    FB_TRY(gemm_bias(im, in[2], beta, fb_imp_shape(im, w)->dims[0], &bias));
    *has_c = bias >= 0;
    return fb_imp_emit(im, FB_OP_DENSE, NULL, bias >= 0 ? 3 : 2, (int32_t[]){in[0], w, bias}, y);
}

static fb_status check_gemm(fb_imp *im, const int32_t in[3], bool trans_a, bool trans_b)
{
    const fb_shape *a = fb_imp_shape(im, in[0]), *b = fb_imp_shape(im, in[1]);
    if (a->rank != 2 || b->rank != 2)
        return fb_imp_bad(im, "A and B have %d and %d dims, must have 2", (int)a->rank,
                          (int)b->rank);
    if (a->dims[trans_a ? 0 : 1] != b->dims[trans_b ? 1 : 0])
        return fb_imp_bad(im, "A has %lld columns, B %lld rows (transA=%d, transB=%d)",
                          (long long)a->dims[trans_a ? 0 : 1], (long long)b->dims[trans_b ? 1 : 0],
                          (int)trans_a, (int)trans_b);
    if (b->dims[0] == 0 || b->dims[1] == 0)
        return fb_imp_no(im, "B is empty");
    return FB_OK;
}

fb_status fb_imp_gemm(fb_imp *im)
{
    int32_t in[3], y;
    fb_dtype back, ignore;
    float alpha, beta;
    int64_t trans_a, trans_b;
    bool has_c = false;
    FB_TRY(fb_imp_want_inputs(im, 2, 3));
    FB_TRY(fb_imp_attr_float(im, "alpha", 1, &alpha));
    FB_TRY(fb_imp_attr_float(im, "beta", 1, &beta));
    FB_TRY(fb_imp_attr_int(im, "transA", 0, 0, 1, &trans_a));
    FB_TRY(fb_imp_attr_int(im, "transB", 0, 0, 1, &trans_b));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &in[0], &back));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 1), &in[1], &ignore));
    in[2] = beta == 0 ? -1 : fb_imp_in(im, 2);
    if (in[2] >= 0)
        FB_TRY(fb_imp_float(im, in[2], &in[2], &ignore));
    FB_TRY(check_gemm(im, in, trans_a != 0, trans_b != 0));
    if (trans_a)
        FB_TRY(fb_imp_transpose(im, in[0], swap, &in[0]));
    if (fb_imp_is_const(im, in[1])) {
        FB_TRY(gemm_dense(im, in, alpha, beta, trans_b != 0, &y, &has_c));
    } else {
        if (trans_b)
            FB_TRY(fb_imp_transpose(im, in[1], swap, &in[1]));
        FB_TRY(fb_imp_emit(im, FB_OP_MATMUL, NULL, 2, in, &y));
        FB_TRY(times(im, y, alpha, &y));
    }
    if (in[2] >= 0 && !has_c) {
        fb_shape s = *fb_imp_shape(im, y);
        FB_TRY(times(im, in[2], beta, &in[2]));
        FB_TRY(fb_imp_binary(im, FB_BINARY_ADD, y, in[2], &y));
        const fb_shape *t = fb_imp_shape(im, y);
        if (t->rank != 2 || t->dims[0] != s.dims[0] || t->dims[1] != s.dims[1])
            return fb_imp_bad(im, "C does not broadcast to the product");
    }
    return fb_imp_set_as(im, 0, y, back);
}

/* ---- MatMul -------------------------------------------------------------------------------- */

/* The shape of v without axis `axis`. */
static fb_status drop_axis(fb_imp *im, int32_t v, int32_t axis, int32_t *out)
{
    int64_t dims[FB_MAX_RANK];
    const fb_shape s = *fb_imp_shape(im, v);
    int32_t rank = 0;
    for (int32_t i = 0; i < s.rank; i++) {
        if (i != axis)
            dims[rank++] = s.dims[i];
    }
    return fb_imp_reshape(im, v, rank, dims, out);
}

/* b is a constant of rank 1 or 2. */
static fb_status matmul_dense(fb_imp *im, int32_t a, int32_t b, const fb_encoding *enc, int32_t *y)
{
    bool vector = fb_imp_shape(im, b)->rank == 1;
    if (fb_imp_at(im, b)->alt)
        return fb_imp_no(im, "B depends on the batch size; import with a fixed batch");
    for (int32_t i = 0; i < fb_imp_shape(im, b)->rank; i++) {
        if (fb_imp_shape(im, b)->dims[i] == 0)
            return fb_imp_no(im, "B is empty");
    }
    if (vector)
        FB_TRY(fb_imp_reshape(im, b, 2, (int64_t[]){1, fb_imp_shape(im, b)->dims[0]}, &b));
    else
        FB_TRY(fb_imp_permute_const(im, b, swap, &b));
    FB_TRY(fb_imp_emit_as(im, FB_OP_DENSE, NULL, 2, (int32_t[]){a, b}, 0, enc, y));
    return vector ? drop_axis(im, *y, fb_imp_shape(im, *y)->rank - 1, y) : FB_OK;
}

fb_status fb_imp_matmul_node(fb_imp *im, int32_t a, int32_t b, const fb_encoding *enc, int32_t *y)
{
    int32_t ra = fb_imp_shape(im, a)->rank, rb = fb_imp_shape(im, b)->rank;
    if (ra < 1 || rb < 1)
        return fb_imp_bad(im, "inputs have %d and %d dims, must have at least 1", (int)ra, (int)rb);
    if (fb_imp_is_const(im, b) && rb <= 2)
        return matmul_dense(im, a, b, enc, y);
    if (ra == 1)
        FB_TRY(fb_imp_reshape(im, a, 2, (int64_t[]){1, fb_imp_shape(im, a)->dims[0]}, &a));
    if (rb == 1)
        FB_TRY(fb_imp_reshape(im, b, 2, (int64_t[]){fb_imp_shape(im, b)->dims[0], 1}, &b));
    FB_TRY(fb_imp_emit_as(im, FB_OP_MATMUL, NULL, 2, (int32_t[]){a, b}, 0, enc, y));
    if (rb == 1)
        FB_TRY(drop_axis(im, *y, fb_imp_shape(im, *y)->rank - 1, y));
    if (ra == 1)
        FB_TRY(drop_axis(im, *y, fb_imp_shape(im, *y)->rank - (rb == 1 ? 1 : 2), y));
    return FB_OK;
}

fb_status fb_imp_matmul(fb_imp *im)
{
    int32_t a, b, y;
    fb_dtype back, ignore;
    FB_TRY(fb_imp_want_inputs(im, 2, 2));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &a, &back));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 1), &b, &ignore));
    FB_TRY(fb_imp_matmul_node(im, a, b, NULL, &y));
    return fb_imp_set_as(im, 0, y, back);
}
