/* Many elements to one on any type: max pool, reduce, arg max, softmax. */
#include "kernels/any.h"

#include <math.h>

/* a > b where NaN is larger than every number. */
static bool f64_beats(double a, double b)
{
    return a > b || (isnan(a) && !isnan(b));
}

static bool int_beats(int64_t a, int64_t b, bool is_unsigned)
{
    return is_unsigned ? (uint64_t)a > (uint64_t)b : a > b;
}

/* Whether element i of x beats element j. */
static bool beats(fb_dtype t, const void *x, size_t i, size_t j)
{
    if (fbk_is_float(t))
        return f64_beats(fbk_get_f64(t, x, i), fbk_get_f64(t, x, j));
    return int_beats(fbk_get_i64(t, x, i), fbk_get_i64(t, x, j), fbk_is_unsigned(t));
}

static void put_lowest(fb_dtype t, void *y, size_t i)
{
    if (fbk_is_float(t)) {
        fbk_put_f64(t, y, i, -(double)INFINITY);
        return;
    }
    switch (t) {
    case FB_S8:
        ((int8_t *)y)[i] = INT8_MIN;
        break;
    case FB_S16:
        ((int16_t *)y)[i] = INT16_MIN;
        break;
    case FB_S32:
        ((int32_t *)y)[i] = INT32_MIN;
        break;
    case FB_S64:
        ((int64_t *)y)[i] = INT64_MIN;
        break;
    default:
        fbk_put_i64(t, y, i, 0);
        break;
    }
}

static void copy_element(fb_dtype t, const void *x, size_t i, void *y, size_t j)
{
    if (fbk_is_float(t))
        fbk_put_f64(t, y, j, fbk_get_f64(t, x, i));
    else
        fbk_put_i64(t, y, j, fbk_get_i64(t, x, i));
}

/* One output element: the winner's (iy, ix), or false for an empty window. */
static bool pool_winner(const fbk_window *g, fb_dtype t, const void *x, int32_t oy, int32_t ox,
                        int32_t c, int32_t *wy, int32_t *wx)
{
    int32_t y0 = oy * g->stride_h - g->pad_t, x0 = ox * g->stride_w - g->pad_l;
    int32_t ky0, ky1, kx0, kx1;
    fbk_taps_inside(y0, g->h, g->kh, g->dil_h, &ky0, &ky1);
    fbk_taps_inside(x0, g->w, g->kw, g->dil_w, &kx0, &kx1);
    bool found = false;
    size_t best = 0;
    for (int32_t ky = ky0; ky < ky1; ky++) {
        for (int32_t kx = kx0; kx < kx1; kx++) {
            int32_t iy = y0 + ky * g->dil_h, ix = x0 + kx * g->dil_w;
            size_t at = ((size_t)iy * (size_t)g->w + (size_t)ix) * (size_t)g->c + (size_t)c;
            if (found && !beats(t, x, at, best))
                continue;
            found = true;
            best = at;
            *wy = iy;
            *wx = ix;
        }
    }
    return found;
}

void fbk_max_pool_any_ref(const fbk_window *g, fb_dtype t, const void *x, void *y, int64_t *index,
                          int64_t index_base, bool column_major, int32_t oy0, int32_t oy1)
{
    for (int32_t oy = oy0; oy < oy1; oy++) {
        for (int32_t ox = 0; ox < g->ow; ox++) {
            for (int32_t c = 0; c < g->c; c++) {
                size_t out = ((size_t)oy * (size_t)g->ow + (size_t)ox) * (size_t)g->c + (size_t)c;
                int32_t iy = 0, ix = 0;
                bool found = pool_winner(g, t, x, oy, ox, c, &iy, &ix);
                if (found)
                    copy_element(
                        t, x, ((size_t)iy * (size_t)g->w + (size_t)ix) * (size_t)g->c + (size_t)c,
                        y, out);
                else
                    put_lowest(t, y, out);
                if (!index)
                    continue;
                int64_t plane = (int64_t)g->h * g->w;
                int64_t in_plane = column_major ? (int64_t)ix * g->h + iy : (int64_t)iy * g->w + ix;
                index[out] = index_base + (found ? c * plane + in_plane : 0);
            }
        }
    }
}

/* Reduction of the walk `red` that starts at element `at`; `count` elements in all. */
static void reduce_one(fbk_reduce op, fb_dtype t, const fbk_walk *red, const void *x, ptrdiff_t at,
                       void *y, size_t out)
{
    bool f = fbk_is_float(t);
    size_t rows = fbk_walk_rows(red), n = red->dims[red->rank - 1], best = 0;
    ptrdiff_t step = red->stride[1][red->rank - 1];
    double fsum = 0;
    uint64_t isum = 0;
    bool first = true;
    for (size_t r = 0; r < rows; r++) {
        ptrdiff_t off[FBK_WALK_OPERANDS];
        fbk_walk_at(red, r, off);
        for (size_t i = 0; i < n; i++) {
            size_t e = (size_t)(at + off[1] + (ptrdiff_t)i * step);
            if (op == FBK_REDUCE_MAX) {
                if (first || beats(t, x, e, best))
                    best = e;
                first = false;
            } else if (f) {
                fsum += fbk_get_f64(t, x, e);
            } else {
                isum += (uint64_t)fbk_get_i64(t, x, e);
            }
        }
    }
    if (op == FBK_REDUCE_MAX) {
        copy_element(t, x, best, y, out);
    } else if (f) {
        fbk_put_f64(t, y, out, op == FBK_REDUCE_MEAN ? fsum / (double)(rows * n) : fsum);
    } else {
        if (op == FBK_REDUCE_MEAN)
            isum = fbk_is_unsigned(t) ? isum / (rows * n)
                                      : (uint64_t)((int64_t)isum / (int64_t)(rows * n));
        fbk_put_i64(t, y, out, (int64_t)isum);
    }
}

void fbk_reduce_any_ref(fbk_reduce op, fb_dtype t, const fbk_walk *keep, const fbk_walk *red,
                        const void *x, void *y, size_t y0, size_t n)
{
    size_t inner = keep->dims[keep->rank - 1];
    for (size_t i = y0; i < y0 + n; i++) {
        ptrdiff_t off[FBK_WALK_OPERANDS];
        fbk_walk_at(keep, i / inner, off);
        reduce_one(op, t, red, x, off[1] + (ptrdiff_t)(i % inner) * keep->stride[1][keep->rank - 1],
                   y, i);
    }
}

void fbk_arg_max_any_ref(fb_dtype t, const void *x, size_t n, size_t inner, bool select_last,
                         int64_t *y, size_t y0, size_t count)
{
    for (size_t i = y0; i < y0 + count; i++) {
        size_t base = i / inner * n * inner + i % inner, best = 0;
        for (size_t k = 1; k < n; k++) {
            bool wins = select_last ? !beats(t, x, base + best * inner, base + k * inner)
                                    : beats(t, x, base + k * inner, base + best * inner);
            if (wins)
                best = k;
        }
        y[i] = (int64_t)best;
    }
}

void fbk_softmax_any_ref(fb_dtype t, const void *x, void *y, size_t n, size_t inner, bool log_form,
                         size_t l0, size_t count)
{
    for (size_t l = l0; l < l0 + count; l++) {
        size_t base = l / inner * n * inner + l % inner;
        double top = -(double)INFINITY, sum = 0;
        for (size_t i = 0; i < n; i++) {
            double v = fbk_get_f64(t, x, base + i * inner);
            top = v > top ? v : top;
        }
        for (size_t i = 0; i < n; i++)
            sum += exp(fbk_get_f64(t, x, base + i * inner) - top);
        double log_sum = log(sum);
        for (size_t i = 0; i < n; i++) {
            double v = fbk_get_f64(t, x, base + i * inner) - top;
            fbk_put_f64(t, y, base + i * inner, log_form ? v - log_sum : exp(v) / sum);
        }
    }
}
