/* Convolution and dense layers in fixed point (numeric/fixed.h): codes and weights of up to 16
 * bits, an accumulator of a stated width that saturates or wraps, shifts instead of scales.
 *
 * Used like conv_q.h: a layer is described and proved, a row of conv_fx.inc plans it, packs the
 * weights, and runs tiles in any order on any thread. All rows give the same bytes and counts.
 *
 *   x  [n][ih][iw][ic]  codes of x_type; taps outside the image count as 0
 *   w  [oc][kh][kw][ic / groups]  codes
 *   y  [n][oh][ow][oc]  codes of y_type, or f32
 *
 *   acc = bias[oc], then w x for each tap in the order (kh, kw, channel), as `law` says
 *   y = clamp(fb_shift(acc, shift[oc]), y_lo, y_hi)
 *   or, f32: y = min(max((float)acc * scale[oc], act_lo), act_hi)
 *
 * Saturations are counted as fewbit/run.h says.
 */
#ifndef FB_KERNELS_CONV_FX_H
#define FB_KERNELS_CONV_FX_H

#include "fewbit/run.h"
#include "kernels/layer.h"
#include "kernels/registry.h"
#include "numeric/fixed.h"

#include <stddef.h>

typedef struct fbk_conv_fx {
    /* The layer, the caller's. */
    union {
        fbk_layer shape;
        struct {
            FBK_LAYER_FIELDS
        };
    };
    fb_dtype x_type, y_type; /* u8, s8, u16, s16; y_type also f32 */
    unsigned x_bits;         /* of the codes in x */
    fb_fixed law;
    int32_t y_lo, y_hi;        /* in y's range; y_lo <= 0 <= y_hi unless an activation says so */
    bool lo_counts, hi_counts; /* an output below y_lo (above y_hi) has saturated */
    float act_lo, act_hi;      /* f32 only; -inf and inf for none */

    /* From fbk_conv_fx_prove. */
    int64_t reach;              /* no partial sum is larger in magnitude */
    int32_t w_least, w_most;    /* of all weights */
    int32_t shift_lo, shift_hi; /* of all channels */

    /* The row's, set by plan. */
    uint32_t n_tiles;
    size_t packed_bytes;  /* 64-byte aligned memory that pack fills */
    size_t scratch_bytes; /* per worker, 64-byte aligned, content undefined */
    uint32_t band, n_bands, oc_blocks, n_splits, form; /* meaning is the row's own */
    void *packed; /* the caller's memory, set between plan and pack */
} fbk_conv_fx;

typedef struct fbk_fx_weights {
    const int16_t *w;     /* [oc][taps] */
    const int32_t *bias;  /* [oc] in units of the accumulator */
    const int32_t *shift; /* [oc]; codes */
    const float *scale;   /* [oc]; f32 */
} fbk_fx_weights;

typedef struct fbk_conv_fx_row {
    const char *name;
    uint32_t cpu;
    bool (*plan)(fbk_conv_fx *c); /* false when the row does not take this layer */
    void (*pack)(const fbk_conv_fx *c, const fbk_fx_weights *w); /* w is not kept */
    /* Adds to *counts. */
    void (*run)(const fbk_conv_fx *c, const void *x, void *y, void *scratch, uint32_t tile,
                fb_saturations *counts);
} fbk_conv_fx_row;

#define FBK(name, cpu, family)                                                                     \
    bool name##_plan(fbk_conv_fx *c);                                                              \
    void name##_pack(const fbk_conv_fx *c, const fbk_fx_weights *w);                               \
    void name(const fbk_conv_fx *c, const void *x, void *y, void *scratch, uint32_t tile,          \
              fb_saturations *counts);
#include "kernels/conv_fx.inc"
#undef FBK

/* Fills what is known of the sums before any input is. */
void fbk_conv_fx_prove(fbk_conv_fx *c, const fbk_fx_weights *w);
/* True when no sum can leave the accumulator, so that overflow has no law to obey. */
static inline bool fbk_conv_fx_is_safe(const fbk_conv_fx *c)
{
    return c->reach <= fb_acc_max(c->law.acc_bits);
}

/* All rows, worst first. */
const fbk_conv_fx_row *fbk_conv_fx_rows(uint32_t *n);
/* The last row that `cpu` allows and that takes the proved layer; c is planned. Never NULL. */
const fbk_conv_fx_row *fbk_conv_fx_choose(fbk_conv_fx *c, uint32_t cpu);

#endif
