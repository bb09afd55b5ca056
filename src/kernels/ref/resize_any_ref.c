/* Linear and cubic resizing in any number of axes, from tables that the plan computed. */
#include "kernels/any.h"

#include <math.h>

/* Where an output point reads: per axis its row of taps. False when an axis is outside (the output
 * is then the extrapolation value). */
typedef struct point {
    const int32_t *idx[FBK_MAX_RANK];
    const float *wt[FBK_MAX_RANK];
    ptrdiff_t base; /* from axes that are the identity */
} point;

static bool locate(const fbk_resize *r, size_t p, point *at)
{
    at->base = 0;
    bool inside = true;
    for (int32_t k = r->rank - 1; k >= 0; k--) {
        const fbk_resize_axis *a = &r->axis[k];
        size_t i = p % a->out;
        p /= a->out;
        at->idx[k] = NULL;
        at->wt[k] = NULL;
        if (a->idx) {
            at->idx[k] = a->idx + i * (size_t)a->taps;
            at->wt[k] = a->wt + i * (size_t)a->taps;
            inside = inside && at->idx[k][0] >= 0;
        } else {
            at->base += (ptrdiff_t)i * a->stride;
        }
    }
    return inside;
}

/* Steps the tap numbers like the digits of an odometer; false after the last combination. */
static bool next_taps(const fbk_resize *r, const point *at, int32_t tap[FBK_MAX_RANK])
{
    for (int32_t k = r->rank - 1; k >= 0; k--) {
        if (!at->idx[k])
            continue;
        if (++tap[k] < r->axis[k].taps)
            return true;
        tap[k] = 0;
    }
    return false;
}

/* Offset and weight of a combination of taps. */
static ptrdiff_t tap_offset(const fbk_resize *r, const point *at, const int32_t tap[FBK_MAX_RANK],
                            double *weight)
{
    ptrdiff_t off = at->base;
    double wt = 1;
    for (int32_t k = 0; k < r->rank; k++) {
        if (!at->idx[k])
            continue;
        off += at->idx[k][tap[k]] * r->axis[k].stride;
        wt *= (double)at->wt[k][tap[k]];
    }
    *weight = wt;
    return off;
}

void fbk_resize_any_ref(const fbk_resize *r, fb_dtype t, const void *x, void *y, size_t p0,
                        size_t n)
{
    for (size_t p = p0; p < p0 + n; p++) {
        point at;
        bool inside = locate(r, p, &at);
        for (size_t j = 0; j < r->block; j++) {
            double sum = inside ? 0 : (double)r->extrapolation;
            int32_t tap[FBK_MAX_RANK] = {0};
            bool more = inside;
            while (more) {
                double wt;
                ptrdiff_t off = tap_offset(r, &at, tap, &wt);
                if (wt != 0)
                    sum += wt * fbk_get_f64(t, x, (size_t)off + j);
                more = next_taps(r, &at, tap);
            }
            fbk_put_f64(t, y, p * r->block + j, fbk_is_float(t) ? sum : rint(sum));
        }
    }
}

void fbk_resize_f32_ref(const fbk_resize *r, const float *x, float *y, size_t p0, size_t n)
{
    for (size_t p = p0; p < p0 + n; p++) {
        point at;
        float *out = y + p * r->block;
        bool more = locate(r, p, &at), first = true;
        if (!more)
            for (size_t j = 0; j < r->block; j++)
                out[j] = r->extrapolation;
        int32_t tap[FBK_MAX_RANK] = {0};
        while (more) {
            double wt;
            const float *in = x + tap_offset(r, &at, tap, &wt);
            float f = (float)wt;
            if (first)
                for (size_t j = 0; j < r->block; j++)
                    out[j] = f * in[j];
            else if (wt != 0)
                for (size_t j = 0; j < r->block; j++)
                    out[j] += f * in[j];
            first = false;
            more = next_taps(r, &at, tap);
        }
    }
}
