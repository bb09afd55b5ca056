/* Integer convolution and dense layers, 6 pixels x 16 channels: the shape that conv_q_6x16_avx2.c
 * and conv_q_6x16_vnni.c share. They differ in how wide a staged code is and in the instruction
 * that multiplies and adds; each defines, before it includes this file once:
 *
 *   KERNEL(suffix)    its symbol
 *   stage_t, UNIT     a staged code; how many a 32-bit broadcast holds (a unit)
 *   TAKES_WIDE        whether weights of more than 8 bits have a form
 *   stage_zero, stage_copy, stage_fill, load_w, multiply_add
 *
 * Tiles, stage and runs are those of conv_tile.h. Runs that are no whole units are padded with zero
 * weights.
 *
 * packed: bias [oc16] less zero * sum(w) | scale [oc16] | run offsets | weights
 *
 * Weights come to the micro-kernel as [groups * blocks][runs][units][16][UNIT], s8 or (c->wide)
 * s16.
 */
enum { MR = 6 };

#include "kernels/x86/conv_tile.h"

static layout layout_of(const fbk_conv_q *c)
{
    return tile_layout(&c->shape, UNIT);
}

static size_t band_bytes(const fbk_conv_q *c, const layout *l, uint32_t rows)
{
    return stage_bytes(&c->shape, l, rows, sizeof(stage_t));
}

static inline __m256i broadcast_unit(const stage_t *p)
{
    int32_t unit;
    memcpy(&unit, p, sizeof unit);
    return _mm256_set1_epi32(unit);
}

#if FEW
#include "kernels/x86/conv_q_few.h"
#else
#include "kernels/x86/conv_q_whole.h"
#endif

bool KERNEL(_plan)(fbk_conv_q *c, bool wide)
{
    layout l = layout_of(c);
    if ((wide && !TAKES_WIDE) || !weights_plan(c, &l))
        return false;
    tile_cut t = cut_tiles(&c->shape, &l, sizeof(stage_t));
    c->band = t.band;
    c->n_bands = t.n_bands;
    c->oc_blocks = t.oc_blocks;
    c->n_splits = t.n_splits;
    c->n_tiles = t.n_tiles;
    c->wide = wide;
    c->packed_bytes =
        (size_t)c->oc_blocks * NR * 8 + fb_round_up((size_t)l.runs * 4, 64) + weights_bytes(c, &l);
    c->scratch_bytes = band_bytes(c, &l, c->band) + weights_scratch_bytes(&l);
    return stage_fits(&c->shape, &l, c->band);
}

typedef struct packed {
    int32_t *bias;
    float *scale;
    int32_t *offset; /* [runs] stage elements from the pixel's first to the run's first */
    void *w;
} packed;

static packed split(const fbk_conv_q *c, const layout *l)
{
    packed p;
    p.bias = c->packed;
    p.scale = (float *)(p.bias + (size_t)c->oc_blocks * NR);
    p.offset = (int32_t *)(p.scale + (size_t)c->oc_blocks * NR);
    p.w = (char *)p.offset + fb_round_up((size_t)l->runs * 4, 64);
    return p;
}

void KERNEL(_pack)(const fbk_conv_q *c, const int16_t *w, const int32_t *bias, const float *scale)
{
    layout l = layout_of(c);
    packed p = split(c, &l);
    memset(c->packed, 0, c->packed_bytes);
    run_offsets(&c->shape, &l, p.offset);
    size_t taps = (size_t)l.runs * l.run_len;
    for (uint32_t b = 0; b < c->oc_blocks; b++) {
        uint32_t group = b / l.blocks, first = b % l.blocks * NR;
        for (uint32_t j = 0; j < NR && first + j < l.ocg; j++) {
            uint32_t o = group * l.ocg + first + j;
            int32_t sum = 0; /* below 2^31: the plan bounds the taps */
            for (size_t t = 0; t < taps; t++)
                sum += w[o * taps + t];
            weights_pack(c, &l, w + o * taps, o, b, j, p.w);
            p.bias[b * NR + j] =
                (int32_t)((uint32_t)bias[o] - (uint32_t)stage_zero(c) * (uint32_t)sum);
            p.scale[b * NR + j] = scale[o];
        }
    }
}

/* One stage row from one input row. */
static void stage_row(const fbk_conv_q *c, const layout *l, const uint8_t *x, stage_t *to)
{
    size_t ic = c->ic, from;
    uint32_t left, right;
    input_columns(&c->shape, l, &left, &right, &from);
    stage_fill(to, left * ic, stage_zero(c));
    if (l->step_w == 1) {
        stage_copy(to + left * ic, x + from * ic, (right - left) * ic, c->x_signed);
    } else {
        for (uint32_t j = left; j < right; j++, from += l->step_w)
            stage_copy(to + j * ic, x + from * ic, ic, c->x_signed);
    }
    stage_fill(to + right * ic, (l->cols - right) * ic, stage_zero(c));
}

static void stage(const fbk_conv_q *c, const layout *l, const uint8_t *x, uint32_t row,
                  uint32_t rows, stage_t *to)
{
    uint32_t count = stage_rows(&c->shape, l, rows);
    size_t width = (size_t)l->cols * c->ic;
    if (l->cols == l->iw && l->step_h == 1 && c->pad_t == 0 && c->pad_l == 0 && l->stride_w == 1 &&
        l->step_w == 1 && row * l->stride_h + count <= l->ih) {
        stage_copy(to, x + (size_t)row * l->stride_h * width, count * width, c->x_signed);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            int64_t at = input_row(&c->shape, l, row, i);
            if (at < 0)
                stage_fill(to + i * width, width, stage_zero(c));
            else
                stage_row(c, l, x + (size_t)at * l->iw * c->ic, to + i * width);
        }
    }
    stage_fill(to + count * width, SLACK, 0);
}

/* What the micro-kernel does not change between pixels and blocks. */
typedef struct micro {
    const int32_t *offset;
    uint32_t runs, units;
    uint32_t oc; /* y elements from pixel to pixel */
    simd_q_out out;
} micro;

/* One pixel of the micro-kernel. 12 sums, 2 weights, a broadcast and a product fill 16 registers
 * exactly. Named variables instead of arrays, since clang 14 keeps arrays in memory here. */
#define ROWS(X)  X(0) X(1) X(2) X(3) X(4) X(5)
#define CLEAR(i) __m256i s##i = b0, t##i = b1;
#define START(i) const stage_t *p##i = x[mr > i ? i : 0] + m->offset[r];
#define FINISH(i)                                                                                  \
    if (mr > i)                                                                                    \
        _mm_storeu_si128((void *)(to + (size_t)i * m->oc),                                         \
                         simd_q_codes(&m->out, scale, s##i, t##i));
#define SPILL(i)                                                                                   \
    if (mr > i) {                                                                                  \
        sums[i][0] = s##i;                                                                         \
        sums[i][1] = t##i;                                                                         \
    }
#define STEP(i)                                                                                    \
    if (mr > i) {                                                                                  \
        __m256i a = broadcast_unit(p##i + UNIT * k);                                               \
        s##i = multiply_add(s##i, a, w0);                                                          \
        t##i = multiply_add(t##i, a, w1);                                                          \
    }

/* Fewer than 16 channels, or floats. Kept apart, so that its calls cost the usual end nothing. */
static __attribute__((noinline)) void finish_rest(const micro *m, const float *scale,
                                                  const __m256i (*sums)[2], uint32_t mr, void *y,
                                                  size_t at, uint32_t n)
{
    for (uint32_t i = 0; i < mr; i++)
        simd_q_finish(&m->out, scale, sums[i][0], sums[i][1], y, at + (size_t)i * m->oc, n);
}

/* mr pixels x 16 channels. x[mr] stage pointers; w the block; n valid channels. mr and wide are
 * constants after inlining. */
static inline __attribute__((always_inline)) void
micro_kernel(const micro *m, const stage_t *const *x, const void *w, const int32_t *bias,
             const float *scale, void *y, size_t at, uint32_t n, const uint32_t mr, const bool wide)
{
    __m256i b0 = _mm256_loadu_si256((const void *)bias);
    __m256i b1 = _mm256_loadu_si256((const void *)(bias + 8));
    ROWS(CLEAR)
    uint32_t runs = m->runs;
    size_t units = m->units;
    for (uint32_t r = 0; r < runs; r++) {
        ROWS(START)
        for (size_t k = 0; k < units; k++) {
            __m256i w0 = load_w(w, 0, wide), w1 = load_w(w, 1, wide);
            w = (const char *)w + UNIT * NR * (wide ? 2 : 1);
            ROWS(STEP)
        }
    }
    if (n == NR && !m->out.f32_out) {
        uint8_t *to = (uint8_t *)y + at;
        ROWS(FINISH)
    } else {
        __m256i sums[MR][2];
        ROWS(SPILL)
        finish_rest(m, scale, (const __m256i(*)[2])sums, mr, y, at, n);
    }
}

typedef void micro_fn(const micro *m, const stage_t *const *x, const void *w, const int32_t *bias,
                      const float *scale, void *y, size_t at, uint32_t n);
#define MICRO(mr, wide)                                                                            \
    static void micro_##mr##_##wide(const micro *m, const stage_t *const *x, const void *w,        \
                                    const int32_t *bias, const float *scale, void *y, size_t at,   \
                                    uint32_t n)                                                    \
    {                                                                                              \
        micro_kernel(m, x, w, bias, scale, y, at, n, mr, wide);                                    \
    }
MICRO(1, 0)
MICRO(2, 0)
MICRO(3, 0)
MICRO(4, 0)
MICRO(5, 0)
MICRO(6, 0)
#if TAKES_WIDE
MICRO(1, 1)
MICRO(2, 1)
MICRO(3, 1)
MICRO(4, 1)
MICRO(5, 1)
MICRO(6, 1)
#endif
static micro_fn *const micros[][MR + 1] = {
    {NULL, micro_1_0, micro_2_0, micro_3_0, micro_4_0, micro_5_0, micro_6_0},
#if TAKES_WIDE
    {NULL, micro_1_1, micro_2_1, micro_3_1, micro_4_1, micro_5_1, micro_6_1}
#endif
};

static micro micro_of(const fbk_conv_q *c, const layout *l, const packed *p)
{
    micro m;
    m.offset = p->offset;
    m.runs = l->runs;
    m.units = l->units;
    m.oc = c->oc;
    m.out = simd_q_out_of(c);
    return m;
}

/* All pixels of the band for one block; `at` is y's element of the band's first pixel. */
static void run_block(const fbk_conv_q *c, const layout *l, const packed *p, const micro *m,
                      const stage_t *staged, void *decoded, uint32_t block, uint32_t pixels,
                      void *y, size_t at)
{
    uint32_t group = block / l->blocks, first = block % l->blocks * NR;
    uint32_t n = l->ocg - first < NR ? l->ocg - first : NR;
    const void *w = weights_of(c, l, p->w, block, decoded);
    pixel_walk walk = walk_of(&c->shape, l, group);
    at += group * l->ocg + first;
    for (uint32_t done = 0; done < pixels;) {
        uint32_t mr = pixels - done < MR ? pixels - done : MR;
        const stage_t *x[MR];
        for (uint32_t i = 0; i < mr; i++)
            x[i] = staged + next_pixel(&walk);
        micros[c->wide][mr](m, x, w, p->bias + block * NR, p->scale + block * NR, y,
                            at + (size_t)done * c->oc, n);
        done += mr;
    }
}

#if FEW
/* One pixel, whose stage ends in zeros behind its run. */
static void run_pixel(const fbk_conv_q *c, const layout *l, const packed *p, const micro *m,
                      const stage_t *staged, uint32_t block, void *y, size_t at)
{
    uint32_t first = block * NR, n = l->ocg - first < NR ? l->ocg - first : NR;
    const int32_t *bias = p->bias + first;
    __m256i sums[2] = {_mm256_loadu_si256((const void *)bias),
                       _mm256_loadu_si256((const void *)(bias + 8))};
    weights_multiply(c, l, p->w, block, staged, sums);
    simd_q_finish(&m->out, p->scale + first, sums[0], sums[1], y, at + first, n);
}
#endif

void KERNEL()(const fbk_conv_q *c, const void *x, void *y, void *scratch, uint32_t tile)
{
    layout l = layout_of(c);
    packed p = split(c, &l);
    micro m = micro_of(c, &l, &p);
    tile_cut cut = {c->band, c->n_bands, c->oc_blocks, c->n_splits, c->n_tiles};
    tile_part t = part_of(&c->shape, &l, &cut, tile);
    stage(c, &l, (const uint8_t *)x + t.x, t.row, t.rows, scratch);
    void *decoded = (char *)scratch + band_bytes(c, &l, c->band);
    for (uint32_t block = t.from; block < t.to; block++) {
#if FEW
        if (t.rows * l.ow == 1 && l.runs == 1 && c->groups == 1) {
            run_pixel(c, &l, &p, &m, scratch, block, y, t.y);
            continue;
        }
#endif
        run_block(c, &l, &p, &m, scratch, decoded, block, t.rows * l.ow, y, t.y);
    }
}
