/* Integer convolution, the plain truth. One tile is one output row. Packed: w as given, then bias,
 * then scale. */
#include "kernels/conv_q.h"

#include "numeric/requant.h"

#include <string.h>

static size_t weight_count(const fbk_conv_q *c)
{
    return (size_t)c->oc * c->kh * c->kw * (c->ic / c->groups);
}

bool fbk_conv_q_ref_plan(fbk_conv_q *c, bool wide)
{
    c->wide = wide;
    c->band = 1;
    c->n_bands = c->oh;
    c->oc_blocks = c->oc;
    c->n_splits = 1;
    c->n_tiles = c->n * c->oh;
    c->packed_bytes = weight_count(c) * sizeof(int16_t) + 4 + (size_t)c->oc * 8;
    c->scratch_bytes = 0;
    return true;
}

typedef struct packed {
    const int16_t *w;
    const int32_t *bias;
    const float *scale;
} packed;

static packed split(const fbk_conv_q *c)
{
    packed p;
    p.w = c->packed;
    /* 4-byte alignment behind an odd number of 16-bit weights. */
    p.bias = (const void *)(p.w + (weight_count(c) + 1) / 2 * 2);
    p.scale = (const void *)(p.bias + c->oc);
    return p;
}

void fbk_conv_q_ref_pack(const fbk_conv_q *c, const int16_t *w, const int32_t *bias,
                         const float *scale)
{
    packed p = split(c);
    memcpy(c->packed, w, weight_count(c) * sizeof *w);
    memcpy((char *)c->packed + ((const char *)p.bias - (const char *)c->packed), bias,
           c->oc * sizeof *bias);
    memcpy((char *)c->packed + ((const char *)p.scale - (const char *)c->packed), scale,
           c->oc * sizeof *scale);
}

/* Wraps like the machine's own 32-bit sums. */
static int32_t sum_taps(const fbk_conv_q *c, const packed *p, const uint8_t *x, uint32_t y_row,
                        uint32_t y_col, uint32_t o)
{
    uint32_t icg = c->ic / c->groups, first = o / (c->oc / c->groups) * icg;
    uint32_t acc = (uint32_t)p->bias[o];
    for (uint32_t r = 0; r < c->kh; r++) {
        int64_t row = (int64_t)y_row * c->stride_h + (int64_t)r * c->dil_h - c->pad_t;
        if (row < 0 || row >= c->ih)
            continue;
        for (uint32_t s = 0; s < c->kw; s++) {
            int64_t col = (int64_t)y_col * c->stride_w + (int64_t)s * c->dil_w - c->pad_l;
            if (col < 0 || col >= c->iw)
                continue;
            const uint8_t *px = x + ((size_t)row * c->iw + (size_t)col) * c->ic + first;
            const int16_t *pw = p->w + (((size_t)o * c->kh + r) * c->kw + s) * icg;
            for (uint32_t i = 0; i < icg; i++) {
                int32_t q = c->x_signed ? (int8_t)px[i] : px[i];
                acc += (uint32_t)((q - c->x_zero) * pw[i]);
            }
        }
    }
    return (int32_t)acc;
}

void fbk_conv_q_ref(const fbk_conv_q *c, const void *x, void *y, void *scratch, uint32_t tile)
{
    (void)scratch;
    packed p = split(c);
    uint32_t image = tile / c->oh, row = tile % c->oh;
    const uint8_t *px = (const uint8_t *)x + (size_t)image * c->ih * c->iw * c->ic;
    size_t at = (size_t)tile * c->ow * c->oc;
    for (uint32_t col = 0; col < c->ow; col++) {
        for (uint32_t o = 0; o < c->oc; o++, at++) {
            int32_t acc = sum_taps(c, &p, px, row, col, o);
            if (c->f32_out) {
                float v = (float)acc * p.scale[o];
                v = v > c->act_lo ? v : c->act_lo;
                ((float *)y)[at] = v < c->act_hi ? v : c->act_hi;
            } else {
                ((uint8_t *)y)[at] =
                    (uint8_t)fb_requant(acc, p.scale[o], c->y_zero, c->y_lo, c->y_hi);
            }
        }
    }
}
