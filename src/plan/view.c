/* Stored elements to floats and floats to stored elements, one by one: for reading results and
 * filling inputs, not for steps. */
#include "plan/view.h"

#include "kernels/element.h"
#include "numeric/requant.h"
#include "plan/plan.h"

#include <string.h>

static bool is_signed_type(fb_dtype type)
{
    return type == FB_S8 || type == FB_S16;
}

static double element(const fb_view *view, size_t i)
{
    if (!view->packed_bits)
        return fbk_get_f64(view->dtype, view->data, i);
    const uint8_t *row = (const uint8_t *)view->data + i / view->row_elems * view->row_bytes;
    return fb_packed_get(row, i % view->row_elems, view->packed_bits, is_signed_type(view->dtype));
}

void fb_view_read(const fb_view *view, size_t from, size_t n, float *out)
{
    if (view->dtype == FB_F32) {
        memcpy(out, (const float *)view->data + from, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        double q = element(view, from + i);
        if (view->level)
            q = (double)view->level[q < view->n_levels ? (uint32_t)q : view->n_levels - 1];
        out[i] = (float)((q - view->zero) * (double)view->scale);
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The law of kernels/pack_q.h: a value in the middle of two goes to the lower, NaN to the lowest.
 */
static int32_t nearest_level(const fb_view *v, float x)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < v->n_levels; i++) {
        float a = (v->level[i - 1] - (float)v->zero) * v->scale;
        float b = (v->level[i] - (float)v->zero) * v->scale;
        if ((double)x > ((double)a + (double)b) / 2)
            best = i;
    }
    return (int32_t)best;
}

static int32_t code_of(const fb_view *v, float x)
{
    if (v->level)
        return nearest_level(v, x);
    unsigned bits = v->packed_bits ? v->packed_bits : 8 * (unsigned)fb_dtype_bytes(v->dtype);
    bool is_signed = is_signed_type(v->dtype);
    return fb_quantize(x, v->scale, v->zero, fb_code_min(bits, is_signed),
                       fb_code_max(bits, is_signed));
}

/* Replaces bits, which fb_packed_put wants to find clear. */
static void put_packed(uint8_t *row, size_t i, unsigned bits, int32_t code)
{
    for (size_t b = i * bits; b < (i + 1) * bits; b++)
        row[b / 8] = (uint8_t)(row[b / 8] & ~(1u << b % 8));
    fb_packed_put(row, i, bits, code);
}

void fb_view_write(const fb_view *v, void *data, size_t from, size_t n, const float *x)
{
    if (v->dtype == FB_F32) {
        memcpy((float *)data + from, x, n * sizeof *x);
        return;
    }
    for (size_t k = 0; k < n; k++) {
        int32_t code = code_of(v, x[k]);
        size_t at = from + k;
        if (v->packed_bits)
            put_packed((uint8_t *)data + at / v->row_elems * v->row_bytes, at % v->row_elems,
                       v->packed_bits, code);
        else if (fb_dtype_bytes(v->dtype) == 1)
            ((uint8_t *)data)[at] = (uint8_t)code;
        else
            ((uint16_t *)data)[at] = (uint16_t)code;
    }
}
