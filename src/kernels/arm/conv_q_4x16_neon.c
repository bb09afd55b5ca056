/* Integer convolution with NEON: 4 output pixels by 16 channels of widening multiply-adds. A tile
 * is an output row, or some blocks of its channels where there is one row only. The receptive
 * fields of 4 pixels are gathered as 16-bit numbers less the zero point, 0 beside the image; sums
 * are 32 bits modulo 2^32.
 *
 * packed: bias [groups * blocks][16] | scale | w [groups * blocks][depth][16]
 */
#include "kernels/conv_q.h"

#include "base/size.h"
#include "kernels/arm/simd_q_neon.h"

enum { MR = 4, NB = 16, LEAST_CHANNELS = 4, SPLITS = 8 };

typedef struct layout {
    uint32_t icg, ocg, blocks; /* of a group */
    uint32_t depth;            /* products of a sum, in whole fours */
    int32_t *bias;
    float *scale;
    int16_t *w;
    size_t bytes;
} layout;

static layout layout_of(const fbk_conv_q *c)
{
    layout l;
    l.icg = c->ic / c->groups;
    l.ocg = c->oc / c->groups;
    l.blocks = (l.ocg + NB - 1) / NB;
    l.depth = (uint32_t)fb_round_up((size_t)c->kh * c->kw * l.icg, 4);
    size_t outputs = (size_t)c->groups * l.blocks * NB;
    char *base = c->packed;
    l.bias = (void *)base;
    l.scale = base ? (void *)(base + outputs * 4) : NULL;
    l.w = base ? (void *)(base + outputs * 8) : NULL;
    l.bytes = outputs * (8 + l.depth * sizeof *l.w);
    return l;
}

/* Depthwise layers would leave the blocks empty. */
bool fbk_conv_q_4x16_neon_plan(fbk_conv_q *c, bool wide)
{
    c->packed = NULL;
    layout l = layout_of(c);
    if (l.ocg < LEAST_CHANNELS || (uint64_t)c->kh * c->kw * l.icg > (1u << 24))
        return false;
    c->wide = wide;
    c->band = 1;
    c->n_bands = c->oh;
    c->oc_blocks = c->groups * l.blocks;
    c->n_splits = c->n * c->oh > 1 ? 1 : c->oc_blocks < SPLITS ? c->oc_blocks : SPLITS;
    c->n_tiles = c->n * c->oh * c->n_splits;
    c->packed_bytes = l.bytes;
    c->scratch_bytes = MR * l.depth * sizeof(int16_t);
    return true;
}

void fbk_conv_q_4x16_neon_pack(const fbk_conv_q *c, const int16_t *w, const int32_t *bias,
                               const float *scale)
{
    layout l = layout_of(c);
    size_t taps = (size_t)c->kh * c->kw * l.icg;
    memset(c->packed, 0, c->packed_bytes);
    for (uint32_t o = 0; o < c->oc; o++) {
        size_t block = o / l.ocg * l.blocks + o % l.ocg / NB, at = o % l.ocg % NB;
        l.bias[block * NB + at] = bias[o];
        l.scale[block * NB + at] = scale[o];
        for (size_t k = 0; k < taps; k++)
            l.w[(block * l.depth + k) * NB + at] = w[o * taps + k];
    }
}

/* One pixel's receptive field in a group; x is the image's first code of the group. */
static void gather(const fbk_conv_q *c, const layout *l, const uint8_t *x, uint32_t row,
                   uint32_t col, int16_t *to)
{
    for (uint32_t r = 0; r < c->kh; r++)
        for (uint32_t s = 0; s < c->kw; s++, to += l->icg) {
            int64_t iy = (int64_t)row * c->stride_h + (int64_t)r * c->dil_h - c->pad_t;
            int64_t ix = (int64_t)col * c->stride_w + (int64_t)s * c->dil_w - c->pad_l;
            if (iy < 0 || iy >= c->ih || ix < 0 || ix >= c->iw) {
                memset(to, 0, l->icg * sizeof *to);
                continue;
            }
            const uint8_t *from = x + ((size_t)iy * c->iw + (size_t)ix) * c->ic;
            for (uint32_t i = 0; i < l->icg; i++)
                to[i] = (int16_t)((c->x_signed ? (int8_t)from[i] : from[i]) - c->x_zero);
        }
}

#define STEP(lane)                                                                                 \
    do {                                                                                           \
        int16x8_t w0 = vld1q_s16(w), w1 = vld1q_s16(w + 8);                                        \
        w += NB;                                                                                   \
        for (uint32_t i = 0; i < mr; i++) {                                                        \
            sums[i][0] = vmlal_lane_s16(sums[i][0], vget_low_s16(w0), v[i], lane);                 \
            sums[i][1] = vmlal_high_lane_s16(sums[i][1], w0, v[i], lane);                          \
            sums[i][2] = vmlal_lane_s16(sums[i][2], vget_low_s16(w1), v[i], lane);                 \
            sums[i][3] = vmlal_high_lane_s16(sums[i][3], w1, v[i], lane);                          \
        }                                                                                          \
    } while (0)

/* x [mr][depth], w [depth][16]; mr is a constant after inlining. */
static inline __attribute__((always_inline)) void multiply(const int16_t *x, const int16_t *w,
                                                           const int32_t *bias, uint32_t depth,
                                                           int32x4_t sums[MR][4], const uint32_t mr)
{
    for (uint32_t i = 0; i < mr; i++)
        for (uint32_t j = 0; j < 4; j++)
            sums[i][j] = vld1q_s32(bias + j * 4);
    for (uint32_t k = 0; k < depth; k += 4) {
        int16x4_t v[MR];
        for (uint32_t i = 0; i < mr; i++)
            v[i] = vld1_s16(x + (size_t)i * depth + k);
        STEP(0);
        STEP(1);
        STEP(2);
        STEP(3);
    }
}

/* n pixels of a group, gathered in x, for the group's blocks [from, to); `at` is y's element of the
 * first pixel. */
static void run_blocks(const fbk_conv_q *c, const layout *l, const int16_t *x, uint32_t n,
                       uint32_t group, uint32_t from, uint32_t to, void *y, size_t at)
{
    simd_q_out out = {c->f32_out, c->f32_out ? c->act_lo : (float)(c->y_lo - c->y_zero),
                      c->f32_out ? c->act_hi : (float)(c->y_hi - c->y_zero), (int16_t)c->y_zero};
    uint32_t mr = n == MR ? MR : 1;
    for (uint32_t b = from; b < to; b++) {
        size_t block = (size_t)group * l->blocks + b, first = at + (size_t)group * l->ocg + b * NB;
        const int16_t *w = l->w + block * l->depth * NB;
        const int32_t *bias = l->bias + block * NB;
        uint32_t channels = l->ocg - b * NB < NB ? l->ocg - b * NB : NB;
        for (uint32_t p = 0; p < n; p += mr) {
            int32x4_t sums[MR][4];
            if (mr == MR)
                multiply(x, w, bias, l->depth, sums, MR);
            else
                multiply(x + (size_t)p * l->depth, w, bias, l->depth, sums, 1);
            for (uint32_t i = 0; i < mr; i++)
                simd_q_finish(&out, l->scale + block * NB, sums[i], y,
                              first + (size_t)(p + i) * c->oc, channels);
        }
    }
}

void fbk_conv_q_4x16_neon(const fbk_conv_q *c, const void *x, void *y, void *scratch, uint32_t tile)
{
    layout l = layout_of(c);
    uint32_t part = tile % c->n_splits, row = tile / c->n_splits % c->oh;
    uint32_t image = tile / c->n_splits / c->oh;
    uint32_t first = (uint32_t)((uint64_t)c->oc_blocks * part / c->n_splits);
    uint32_t end = (uint32_t)((uint64_t)c->oc_blocks * (part + 1) / c->n_splits);
    const uint8_t *px = (const uint8_t *)x + (size_t)image * c->ih * c->iw * c->ic;
    int16_t *fields = scratch;
    size_t taps = (size_t)c->kh * c->kw * l.icg;
    for (uint32_t i = 0; i < MR; i++) /* what rounds the depth up */
        memset(fields + (size_t)i * l.depth + taps, 0, (l.depth - taps) * sizeof *fields);
    for (uint32_t col = 0; col < c->ow; col += MR) {
        uint32_t n = c->ow - col < MR ? c->ow - col : MR;
        size_t at = (((size_t)image * c->oh + row) * c->ow + col) * c->oc;
        for (uint32_t g = first / l.blocks; g * l.blocks < end; g++) {
            uint32_t from = first > g * l.blocks ? first - g * l.blocks : 0;
            uint32_t to = end - g * l.blocks < l.blocks ? end - g * l.blocks : l.blocks;
            for (uint32_t i = 0; i < n; i++)
                gather(c, &l, px + (size_t)g * l.icg, row, col + i, fields + (size_t)i * l.depth);
            run_blocks(c, &l, fields, n, g, from, to, y, at);
        }
    }
}
