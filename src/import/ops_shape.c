/* Operators that only change how the numbers are arranged in dims. */
#include "import/import.h"

#include <string.h>

/* ---- reshape ------------------------------------------------------------------------------- */

static bool product(const int64_t *dims, int32_t n, int64_t *out)
{
    *out = 1;
    for (int32_t i = 0; i < n; i++) {
        if (!fb_i64_mul(*out, dims[i], out))
            return false;
    }
    return true;
}

/* The dims that a Reshape asks for, -1 and 0 resolved. */
static fb_status resolve(fb_imp *im, const fb_shape *x, const int64_t *want, size_t n,
                         bool allow_zero, int64_t *dims)
{
    int32_t open = -1;
    int64_t have, known = 1;
    if (n > FB_MAX_RANK)
        return fb_imp_no(im, "shape has %zu dims; at most %d are possible", n, FB_MAX_RANK);
    for (int32_t i = 0; i < (int32_t)n; i++) {
        dims[i] = want[i];
        if (want[i] == 0 && !allow_zero) {
            if (i >= x->rank)
                return fb_imp_bad(im, "shape[%d]=0 copies a dim that the input does not have",
                                  (int)i);
            dims[i] = x->dims[i];
        } else if (want[i] == -1 && open < 0) {
            open = i;
            continue;
        } else if (want[i] <= 0) {
            return fb_imp_bad(im, "shape[%d]=%lld must be > 0, or once -1", (int)i,
                              (long long)want[i]);
        }
        if (!fb_i64_mul(known, dims[i], &known))
            return fb_imp_bad(im, "shape has more than 2^63 elements");
    }
    if (!product(x->dims, x->rank, &have))
        return fb_imp_bad(im, "input has more than 2^63 elements");
    if (open >= 0) {
        if (known == 0 || have % known != 0)
            return fb_imp_bad(im, "shape: %lld elements cannot be cut into pieces of %lld",
                              (long long)have, (long long)known);
        dims[open] = have / known;
    }
    return FB_OK;
}

fb_status fb_imp_on_reshape(fb_imp *im)
{
    const int64_t *want;
    int64_t allow_zero, dims[FB_MAX_RANK];
    size_t n;
    bool present;
    int32_t y;
    FB_TRY(fb_imp_want_inputs(im, 1, 2));
    FB_TRY(fb_imp_param_ints(im, "shape", 1, 5, &want, &n, &present));
    if (!present)
        return fb_imp_bad(im, "shape is missing");
    FB_TRY(fb_imp_attr_int(im, "allowzero", 0, 0, 1, &allow_zero));
    FB_TRY(resolve(im, fb_imp_shape(im, fb_imp_in(im, 0)), want, n, allow_zero != 0, dims));
    FB_TRY(fb_imp_reshape(im, fb_imp_in(im, 0), (int32_t)n, dims, &y));
    return fb_imp_set(im, 0, y);
}

fb_status fb_imp_flatten(fb_imp *im)
{
    int32_t x = fb_imp_in(im, 0), axis, y;
    int64_t dims[2];
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    const fb_shape *s = fb_imp_shape(im, x);
    FB_TRY(fb_imp_attr_axis(im, "axis", 1, s->rank, true, &axis));
    if (!product(s->dims, axis, &dims[0]) || !product(s->dims + axis, s->rank - axis, &dims[1]))
        return fb_imp_bad(im, "input has more than 2^63 elements");
    FB_TRY(fb_imp_reshape(im, x, 2, dims, &y));
    return fb_imp_set(im, 0, y);
}

/* bit i = axis i of a tensor of `rank` dims is in the list */
static fb_status axis_mask(fb_imp *im, const int64_t *axes, size_t n, int32_t rank, uint32_t *mask)
{
    *mask = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t axis;
        FB_TRY(fb_imp_axis(im, "axes", axes[i], rank, &axis));
        if (*mask >> axis & 1u)
            return fb_imp_bad(im, "axes name axis %d twice", (int)axis);
        *mask |= 1u << axis;
    }
    return FB_OK;
}

fb_status fb_imp_squeeze(fb_imp *im)
{
    const int64_t *axes;
    int64_t dims[FB_MAX_RANK];
    size_t n;
    bool present;
    uint32_t mask;
    int32_t rank = 0, y;
    FB_TRY(fb_imp_want_inputs(im, 1, 2));
    const fb_shape *s = fb_imp_shape(im, fb_imp_in(im, 0));
    FB_TRY(fb_imp_param_ints(im, "axes", 1, 13, &axes, &n, &present));
    FB_TRY(axis_mask(im, axes, n, s->rank, &mask));
    for (int32_t i = 0; i < s->rank; i++) {
        bool named = mask >> i & 1u;
        if (named && s->dims[i] != 1)
            return fb_imp_bad(im, "axes name axis %d, whose dim is %lld, not 1", (int)i,
                              (long long)s->dims[i]);
        if (n ? !named : s->dims[i] != 1)
            dims[rank++] = s->dims[i];
    }
    FB_TRY(fb_imp_reshape(im, fb_imp_in(im, 0), rank, dims, &y));
    return fb_imp_set(im, 0, y);
}

fb_status fb_imp_unsqueeze(fb_imp *im)
{
    const int64_t *axes;
    int64_t dims[FB_MAX_RANK];
    size_t n;
    bool present;
    uint32_t mask;
    int32_t y;
    FB_TRY(fb_imp_want_inputs(im, 1, 2));
    const fb_shape *s = fb_imp_shape(im, fb_imp_in(im, 0));
    FB_TRY(fb_imp_param_ints(im, "axes", 1, 13, &axes, &n, &present));
    if ((size_t)s->rank + n > FB_MAX_RANK)
        return fb_imp_no(im, "output has %zu dims; at most %d are possible", (size_t)s->rank + n,
                         FB_MAX_RANK);
    int32_t rank = s->rank + (int32_t)n;
    FB_TRY(axis_mask(im, axes, n, rank, &mask));
    for (int32_t i = 0, from = 0; i < rank; i++)
        dims[i] = mask >> i & 1u ? 1 : s->dims[from++];
    FB_TRY(fb_imp_reshape(im, fb_imp_in(im, 0), rank, dims, &y));
    return fb_imp_set(im, 0, y);
}

/* ---- transpose, expand --------------------------------------------------------------------- */

fb_status fb_imp_on_transpose(fb_imp *im)
{
    const int64_t *list;
    size_t n;
    int32_t perm[FB_MAX_RANK] = {0}, y;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    int32_t rank = fb_imp_shape(im, fb_imp_in(im, 0))->rank;
    FB_TRY(fb_imp_attr_ints(im, "perm", &list, &n));
    if (n != 0 && n != (size_t)rank)
        return fb_imp_bad(im, "perm has %zu numbers, the input %d dims", n, (int)rank);
    for (int32_t i = 0; i < rank; i++) {
        perm[i] = rank - 1 - i;
        if (n)
            FB_TRY(fb_imp_axis(im, "perm", list[i], rank, &perm[i]));
    }
    FB_TRY(fb_imp_transpose(im, fb_imp_in(im, 0), perm, &y));
    return fb_imp_set(im, 0, y);
}

fb_status fb_imp_expand(fb_imp *im)
{
    const int64_t *want;
    size_t n;
    int32_t x = fb_imp_in(im, 0);
    FB_TRY(fb_imp_want_inputs(im, 2, 2));
    FB_TRY(fb_imp_ints(im, fb_imp_in(im, 1), "shape", &want, &n));
    const fb_shape *s = fb_imp_shape(im, x);
    if (n > FB_MAX_RANK)
        return fb_imp_no(im, "shape has %zu dims; at most %d are possible", n, FB_MAX_RANK);
    fb_attr a = {.shape = {.rank = s->rank > (int32_t)n ? s->rank : (int32_t)n}};
    bool same = a.shape.rank == s->rank;
    for (int32_t i = 0; i < a.shape.rank; i++) {
        int32_t ix = i - (a.shape.rank - s->rank), iw = i - (a.shape.rank - (int32_t)n);
        int64_t dx = ix < 0 ? 1 : s->dims[ix], dw = iw < 0 ? 1 : want[iw];
        if (dw < 1 || (dx != dw && dx != 1 && dw != 1))
            return fb_imp_bad(im, "shape[%d]=%lld does not broadcast with the input's %lld",
                              (int)iw, (long long)dw, (long long)dx);
        int64_t d = dx == 1 ? dw : dx;
        same = same && d == dx;
        a.shape.dims[i] = fb_imp_dim(d);
    }
    if (!same)
        FB_TRY(fb_imp_emit(im, FB_OP_EXPAND, &a, 1, &x, &x));
    return fb_imp_set(im, 0, x);
}

/* ---- blocks -------------------------------------------------------------------------------- */

static fb_status block_input(fb_imp *im, int32_t *x, int64_t *b, const int64_t **dims)
{
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    *x = fb_imp_in(im, 0);
    FB_TRY(fb_imp_attr_int(im, "blocksize", 0, 1, 1 << 15, b));
    const fb_shape *s = fb_imp_shape(im, *x);
    if (s->rank != 4)
        return fb_imp_bad(im, "input has %d dims, must have 4", (int)s->rank);
    if (*b == 0)
        return fb_imp_bad(im, "blocksize is missing");
    *dims = s->dims;
    return FB_OK;
}

fb_status fb_imp_depth_to_space(fb_imp *im)
{
    static const int32_t dcr[6] = {0, 3, 4, 1, 5, 2}, crd[6] = {0, 1, 4, 2, 5, 3};
    int32_t x, mode;
    int64_t b;
    const int64_t *d;
    FB_TRY(block_input(im, &x, &b, &d));
    FB_TRY(fb_imp_attr_choice(im, "mode", "DCR|CRD", 0, &mode));
    if (d[1] % (b * b) != 0)
        return fb_imp_bad(im, "%lld channels are no multiple of blocksize^2=%lld", (long long)d[1],
                          (long long)(b * b));
    int64_t c = d[1] / (b * b);
    int64_t split_d[6] = {d[0], b, b, c, d[2], d[3]}, split_c[6] = {d[0], c, b, b, d[2], d[3]};
    int64_t to[4] = {d[0], c, d[2] * b, d[3] * b};
    FB_TRY(fb_imp_reshape(im, x, 6, mode ? split_c : split_d, &x));
    FB_TRY(fb_imp_transpose(im, x, mode ? crd : dcr, &x));
    FB_TRY(fb_imp_reshape(im, x, 4, to, &x));
    return fb_imp_set(im, 0, x);
}

fb_status fb_imp_space_to_depth(fb_imp *im)
{
    static const int32_t perm[6] = {0, 3, 5, 1, 2, 4};
    int32_t x;
    int64_t b;
    const int64_t *d;
    FB_TRY(block_input(im, &x, &b, &d));
    if (d[2] % b != 0 || d[3] % b != 0)
        return fb_imp_bad(im, "%lld x %lld is no multiple of blocksize=%lld", (long long)d[2],
                          (long long)d[3], (long long)b);
    int64_t split[6] = {d[0], d[1], d[2] / b, b, d[3] / b, b};
    int64_t to[4] = {d[0], d[1] * b * b, d[2] / b, d[3] / b};
    FB_TRY(fb_imp_reshape(im, x, 6, split, &x));
    FB_TRY(fb_imp_transpose(im, x, perm, &x));
    FB_TRY(fb_imp_reshape(im, x, 4, to, &x));
    return fb_imp_set(im, 0, x);
}
