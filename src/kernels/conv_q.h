/* Integer convolution and dense layers: 8-bit activations, 8-bit weights, 32-bit sums.
 *
 * A layer is described once (shape, codes), a row of conv_q.inc plans it (cuts it into tiles, says
 * how much packed and scratch memory it wants), packs the weights, and then runs tiles, in any
 * order and on any thread. All rows give the same bytes.
 *
 *   x  [n][ih][iw][ic]  codes, u8 or s8 (x_signed); taps outside the image count as x_zero
 *   w  [oc][kh][kw][ic / groups]  weight codes less their zero point, in [-255, 255]
 *   y  [n][oh][ow][oc]  codes, u8 or s8 (y_signed), or f32 when f32_out
 *
 *   acc[oc] = bias[oc] + sum over taps (x - x_zero) * w      modulo 2^32
 *   y = fb_requant(acc, scale[oc], y_zero, y_lo, y_hi)
 *   or, f32_out: y = min(max((float)acc * scale[oc], act_lo), act_hi)
 */
#ifndef FB_KERNELS_CONV_Q_H
#define FB_KERNELS_CONV_Q_H

#include "fewbit/run.h"
#include "kernels/layer.h"
#include "kernels/registry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fbk_conv_q {
    /* The layer, the caller's. */
    union {
        fbk_layer shape;
        struct {
            FBK_LAYER_FIELDS
        };
    };
    bool x_signed, y_signed, f32_out;
    int32_t x_zero;             /* in x's range */
    int32_t y_zero, y_lo, y_hi; /* in y's range */
    float act_lo, act_hi;       /* f32_out only; -inf and inf for none */
    /* The values that the weights take, where they are few (fbk_conv_q_values finds them). */
    uint32_t n_tables;    /* 0: more than 16; 1: a table for all weights; oc: one a channel */
    const int8_t *values; /* [n_tables][16] ascending, the last repeated; read by plan and pack */

    /* The row's, set by plan. */
    uint32_t n_tiles;
    size_t packed_bytes;  /* 64-byte aligned memory that pack fills */
    size_t scratch_bytes; /* per worker, 64-byte aligned, content undefined */
    bool wide;            /* weights packed as 16 bits: some do not fit 8 */
    uint32_t code_bits;   /* rows for weights of few values: bits of a packed weight, 2 or 4 */
    uint32_t band, n_bands, oc_blocks, n_splits; /* what a tile is; meaning is the row's own */
    void *packed; /* the caller's memory, set between plan and pack */
} fbk_conv_q;

typedef struct fbk_conv_q_row {
    const char *name;
    uint32_t cpu;
    /* False when the row does not take this layer. `wide`: some |w| needs more than 8 bits. */
    bool (*plan)(fbk_conv_q *c, bool wide);
    /* Fills c->packed; w, bias [oc] and scale [oc] are not kept. */
    void (*pack)(const fbk_conv_q *c, const int16_t *w, const int32_t *bias, const float *scale);
    void (*run)(const fbk_conv_q *c, const void *x, void *y, void *scratch, uint32_t tile);
} fbk_conv_q_row;

#define FBK(name, cpu, family)                                                                     \
    bool name##_plan(fbk_conv_q *c, bool wide);                                                    \
    void name##_pack(const fbk_conv_q *c, const int16_t *w, const int32_t *bias,                   \
                     const float *scale);                                                          \
    void name(const fbk_conv_q *c, const void *x, void *y, void *scratch, uint32_t tile);
#include "kernels/conv_q.inc"
#undef FBK

/* Sets c->n_tables and c->values: tables of the values in w [oc][taps], kept in `room` ([oc][16],
 * the caller's until pack has returned). Channels get tables of their own only where one table
 * cannot serve them all and a channel has weights enough to carry it. */
void fbk_conv_q_values(fbk_conv_q *c, const int16_t *w, int8_t *room);

/* All rows, worst first. */
const fbk_conv_q_row *fbk_conv_q_rows(uint32_t *n);
/* The last row that `cpu` allows and that takes the layer; c is planned. Never NULL. */
const fbk_conv_q_row *fbk_conv_q_choose(fbk_conv_q *c, uint32_t cpu, bool wide);

#endif
