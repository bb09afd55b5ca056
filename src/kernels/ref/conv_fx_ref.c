/* Convolution in fixed point, the plain truth. One tile is one output row. Packed: w as given, then
 * bias, shift and scale. */
#include "kernels/conv_fx.h"
#include "kernels/element.h"

#include <string.h>

static size_t weight_count(const fbk_conv_fx *c)
{
    return (size_t)c->oc * c->kh * c->kw * (c->ic / c->groups);
}

bool fbk_conv_fx_ref_plan(fbk_conv_fx *c)
{
    c->form = 0;
    c->band = 1;
    c->n_bands = c->oh;
    c->oc_blocks = c->oc;
    c->n_splits = 1;
    c->n_tiles = c->n * c->oh;
    c->packed_bytes = (weight_count(c) + 1) / 2 * 4 + (size_t)c->oc * 12;
    c->scratch_bytes = 0;
    return true;
}

typedef struct packed {
    int16_t *w;
    int32_t *bias, *shift;
    float *scale;
} packed;

static packed split(const fbk_conv_fx *c)
{
    packed p;
    p.w = c->packed;
    p.bias = (void *)(p.w + (weight_count(c) + 1) / 2 * 2);
    p.shift = p.bias + c->oc;
    p.scale = (void *)(p.shift + c->oc);
    return p;
}

void fbk_conv_fx_ref_pack(const fbk_conv_fx *c, const fbk_fx_weights *w)
{
    packed p = split(c);
    memset(c->packed, 0, c->packed_bytes);
    memcpy(p.w, w->w, weight_count(c) * sizeof *w->w);
    memcpy(p.bias, w->bias, c->oc * sizeof *w->bias);
    if (c->y_type == FB_F32)
        memcpy(p.scale, w->scale, c->oc * sizeof *w->scale);
    else
        memcpy(p.shift, w->shift, c->oc * sizeof *w->shift);
}

/* The accumulator after all taps of one output. */
static int64_t accumulate(const fbk_conv_fx *c, const packed *p, const void *x, size_t image,
                          uint32_t y_row, uint32_t y_col, uint32_t o, bool *left)
{
    uint32_t icg = c->ic / c->groups, first = o / (c->oc / c->groups) * icg;
    bool each = c->law.overflow == FB_OVERFLOW_SATURATE;
    int64_t acc = p->bias[o];
    *left = !fb_acc_holds(acc, c->law.acc_bits) && each;
    if (each)
        acc = fb_acc_saturate(acc, c->law.acc_bits);
    for (uint32_t r = 0; r < c->kh; r++) {
        int64_t row = (int64_t)y_row * c->stride_h + (int64_t)r * c->dil_h - c->pad_t;
        if (row < 0 || row >= c->ih)
            continue;
        for (uint32_t s = 0; s < c->kw; s++) {
            int64_t col = (int64_t)y_col * c->stride_w + (int64_t)s * c->dil_w - c->pad_l;
            if (col < 0 || col >= c->iw)
                continue;
            size_t at = ((image * c->ih + (size_t)row) * c->iw + (size_t)col) * c->ic + first;
            const int16_t *w = p->w + (((size_t)o * c->kh + r) * c->kw + s) * icg;
            for (uint32_t i = 0; i < icg; i++) {
                acc += fbk_get_i64(c->x_type, x, at + i) * w[i];
                if (each && !fb_acc_holds(acc, c->law.acc_bits)) {
                    *left = true;
                    acc = fb_acc_saturate(acc, c->law.acc_bits);
                }
            }
        }
    }
    *left = *left || !fb_acc_holds(acc, c->law.acc_bits);
    return fb_acc_of(acc, &c->law);
}

static void finish(const fbk_conv_fx *c, const packed *p, int64_t acc, uint32_t o, void *y,
                   size_t at, fb_saturations *counts)
{
    if (c->y_type == FB_F32) {
        float v = (float)(int32_t)acc * p->scale[o];
        v = v > c->act_lo ? v : c->act_lo;
        ((float *)y)[at] = v < c->act_hi ? v : c->act_hi;
        return;
    }
    int64_t v = fb_shift(acc, p->shift[o], (fb_rounding)c->law.rounding);
    counts->outputs += (v < c->y_lo && c->lo_counts) || (v > c->y_hi && c->hi_counts);
    v = v < c->y_lo ? c->y_lo : v > c->y_hi ? c->y_hi : v;
    fbk_put_i64(c->y_type, y, at, v);
}

void fbk_conv_fx_ref(const fbk_conv_fx *c, const void *x, void *y, void *scratch, uint32_t tile,
                     fb_saturations *counts)
{
    (void)scratch;
    packed p = split(c);
    uint32_t image = tile / c->oh, row = tile % c->oh;
    size_t at = (size_t)tile * c->ow * c->oc;
    for (uint32_t col = 0; col < c->ow; col++) {
        for (uint32_t o = 0; o < c->oc; o++, at++) {
            bool left;
            int64_t acc = accumulate(c, &p, x, image, row, col, o, &left);
            counts->sums += left;
            finish(c, &p, acc, o, y, at, counts);
        }
    }
}
