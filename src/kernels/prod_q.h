/* Convolution and dense layers by table look-up: 8-bit inputs, weights that are indices of
 * codewords.
 *
 * A weight's channels are cut into sub-vectors of d; each is the sum over `stages` of a codeword,
 * one of n_words. The products of an input pixel's sub-vectors with all codewords are computed
 * once, rounded to table_bits bits, and serve every kernel position and every output channel:
 *
 *   x      [n][ih][iw][ic]  u8 codes; taps outside the image count as x_zero
 *   word   [groups][subs][stages][n_words][d]  integers, sum over d of |word| <= 128
 *   index  [oc][kh][kw][subs][stages]  0 .. n_words - 1
 *   y      [n][oh][ow][oc]  codes, u8 or s8 (y_signed), or f32 when f32_out
 *
 *   raw = sum over j < d of (x[m * d + j] - x_zero) * word[k][j]
 *   t   = clamp((raw * mul[stage] + 2^14) >> 15, -2^(table_bits - 1), 2^(table_bits - 1) - 1)
 *   acc[oc] = bias[oc] + sum over taps in the image, subspaces and stages of t[index]
 *                                                              modulo 2^32
 *   y = fb_requant(acc, scale[oc], y_zero, y_lo, y_hi)
 *   or, f32_out: y = min(max((float)acc * scale[oc], act_lo), act_hi)
 *
 * The bound on the words keeps raw within 16 bits. Where d does not divide a group's channels, the
 * last sub-vector's missing elements count as 0. All rows give the same bytes. A layer is
 * described, planned, packed and run as in conv_q.h.
 *
 * Source: METHODS A.3 (the paper's tables), V.7 (tables in a register).
 */
#ifndef FB_KERNELS_PROD_Q_H
#define FB_KERNELS_PROD_Q_H

#include "fewbit/run.h"
#include "kernels/layer.h"
#include "kernels/registry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FBK_PROD_STAGES = 4, FBK_PROD_SUM = 128 /* the most of sum |word| */ };

typedef struct fbk_prod_q {
    /* The layer, the caller's. */
    union {
        fbk_layer shape;
        struct {
            FBK_LAYER_FIELDS
        };
    };
    uint32_t d, n_words, stages;  /* 1..64, 2..256, 1..FBK_PROD_STAGES */
    uint32_t subs;                /* subspaces of a group: ceil(ic / groups / d) */
    uint32_t table_bits;          /* 5..8 */
    int32_t mul[FBK_PROD_STAGES]; /* 1..32767 */
    bool y_signed, f32_out;
    int32_t x_zero;             /* 0..255 */
    int32_t y_zero, y_lo, y_hi; /* in y's range */
    float act_lo, act_hi;       /* f32_out only; -inf and inf for none */

    /* The row's, set by plan. */
    uint32_t n_tiles;
    size_t packed_bytes;  /* 64-byte aligned memory that pack fills */
    size_t scratch_bytes; /* per worker, 64-byte aligned, content undefined */
    uint32_t band, n_bands, strip, oc_blocks, n_splits; /* what a tile is; the row's own */
    void *packed; /* the caller's memory, set between plan and pack */
} fbk_prod_q;

/* What pack reads and does not keep. */
typedef struct fbk_prod_source {
    const uint8_t *index;
    const int8_t *word;
    const int32_t *bias; /* [oc] */
    const float *scale;  /* [oc] */
} fbk_prod_source;

typedef struct fbk_prod_q_row {
    const char *name;
    uint32_t cpu;
    bool (*plan)(fbk_prod_q *c); /* false: the row does not take this layer */
    void (*pack)(const fbk_prod_q *c, const fbk_prod_source *s);
    void (*run)(const fbk_prod_q *c, const void *x, void *y, void *scratch, uint32_t tile);
} fbk_prod_q_row;

#define FBK(name, cpu, family)                                                                     \
    bool name##_plan(fbk_prod_q *c);                                                               \
    void name##_pack(const fbk_prod_q *c, const fbk_prod_source *s);                               \
    void name(const fbk_prod_q *c, const void *x, void *y, void *scratch, uint32_t tile);
#include "kernels/prod_q.inc"
#undef FBK

/* All rows, worst first. */
const fbk_prod_q_row *fbk_prod_q_rows(uint32_t *n);
/* The last row that `cpu` allows and that takes the layer; c is planned. Never NULL. */
const fbk_prod_q_row *fbk_prod_q_choose(fbk_prod_q *c, uint32_t cpu);

#endif
