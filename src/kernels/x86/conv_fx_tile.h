/* Convolution in fixed point on AVX2: what the kernels share whatever they do with a product. Each
 * defines MR, the most pixels of its micro-kernels, before it includes this file once.
 *
 * Tiles, stage and runs are those of conv_tile.h; a unit is a pair of elements. The stage is s16:
 * unsigned codes of 16 bits are staged less 2^15, and the sums get it back through the bias. An odd
 * run ends with a zero weight, which changes no sum.
 *
 * packed: run offsets | [groups * blocks] heads | [groups * blocks][runs][units][16][2] weights,
 * s16, or s8 where c->form says so
 */
#ifndef FB_KERNELS_CONV_FX_TILE_H
#define FB_KERNELS_CONV_FX_TILE_H

#include "kernels/conv_fx.h"
#include "kernels/x86/conv_tile.h"

#include <immintrin.h>
#include <string.h>

/* What 16 channels need besides weights; a multiple of 64 bytes. */
typedef struct head {
    int32_t start[NR]; /* the bias, modulo 2^32; saturated where that is the law */
    int32_t left[NR];  /* -1 where saturating changed the bias */
    int64_t bias[NR];  /* the bias itself */
    int32_t right[NR]; /* places to shift to the right, 0..32, */
    int32_t up[NR];    /*   or to the left, 0..16, of a sum within [~bound, bound] */
    int32_t bound[NR];
    float scale[NR];
} head;

static layout layout_of(const fbk_conv_fx *c)
{
    return tile_layout(&c->shape, 2);
}

/* What staged codes are less than codes. */
static inline int32_t stage_offset(const fbk_conv_fx *c)
{
    return c->x_type == FB_U16 && c->x_bits == 16 ? 32768 : 0;
}

/* Cuts the layer into tiles; weights take `weight_bytes` each. */
static bool plan_tiles(fbk_conv_fx *c, size_t weight_bytes)
{
    layout l = layout_of(c);
    tile_cut t = cut_tiles(&c->shape, &l, sizeof(int16_t));
    c->band = t.band;
    c->n_bands = t.n_bands;
    c->oc_blocks = t.oc_blocks;
    c->n_splits = t.n_splits;
    c->n_tiles = t.n_tiles;
    c->packed_bytes = fb_round_up((size_t)l.runs * 4, 64) + c->oc_blocks * sizeof(head) +
                      c->oc_blocks * l.block_elems * weight_bytes;
    c->scratch_bytes = stage_bytes(&c->shape, &l, c->band, sizeof(int16_t));
    return stage_fits(&c->shape, &l, c->band) && (c->y_type == FB_F32 || c->shift_hi <= 32);
}

/* --- packing --------------------------------------------------------------------------------- */

typedef struct packed {
    int32_t *offset; /* [runs] stage elements from the pixel's first to the run's first */
    head *heads;
    void *w;
} packed;

static packed split(const fbk_conv_fx *c, const layout *l)
{
    packed p;
    p.offset = c->packed;
    p.heads = (void *)((char *)c->packed + fb_round_up((size_t)l->runs * 4, 64));
    p.w = p.heads + c->oc_blocks;
    return p;
}

static void pack_head(const fbk_conv_fx *c, const fbk_fx_weights *w, uint32_t o, int64_t w_sum,
                      head *h, uint32_t j)
{
    bool each = c->law.overflow == FB_OVERFLOW_SATURATE && !fbk_conv_fx_is_safe(c);
    int64_t bias = w->bias[o], start = each ? fb_acc_saturate(bias, c->law.acc_bits) : bias;
    h->left[j] = start == bias ? 0 : -1;
    h->bias[j] = bias + w_sum * stage_offset(c);
    h->start[j] = (int32_t)(uint32_t)(uint64_t)(start + w_sum * stage_offset(c));
    h->bound[j] = INT32_MAX;
    if (c->y_type == FB_F32) {
        h->scale[j] = w->scale[o];
        return;
    }
    int32_t shift = w->shift[o];
    h->right[j] = shift > 0 ? shift : 0;
    h->up[j] = shift >= 0 ? 0 : shift < -16 ? 16 : -shift;
    if (h->up[j] > 0)
        h->bound[j] = 1 << (30 - h->up[j]); /* beyond any 16-bit code, and within 32 bits */
}

/* weight_bytes 1 or 2, as planned. */
static void pack_layer(const fbk_conv_fx *c, const fbk_fx_weights *w, size_t weight_bytes)
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
            int64_t sum = 0;
            const int16_t *pw = w->w + (size_t)o * taps;
            for (size_t t = 0; t < taps; t++) {
                size_t run = t / l.run_len, k = t % l.run_len;
                size_t at = b * l.block_elems + (run * l.units + k / 2) * 2 * NR + j * 2 + k % 2;
                sum += pw[t];
                if (weight_bytes == 2)
                    ((int16_t *)p.w)[at] = pw[t];
                else
                    ((int8_t *)p.w)[at] = (int8_t)pw[t];
            }
            pack_head(c, w, o, sum, &p.heads[b], j);
        }
    }
}

/* --- staging --------------------------------------------------------------------------------- */

/* Widens n codes from element `from` of x; reads and writes nothing beyond them. */
static void stage_copy(const fbk_conv_fx *c, int16_t *to, const void *x, size_t from, size_t n)
{
    const uint8_t *bytes = (const uint8_t *)x + from;
    size_t i = 0;
    if (c->x_type == FB_U16 || c->x_type == FB_S16) {
        const int16_t offset = (int16_t)-stage_offset(c);
        memcpy(to, (const uint16_t *)x + from, n * sizeof *to);
        for (; offset && i < n; i++)
            to[i] = (int16_t)(to[i] ^ offset);
        return;
    }
    for (; i + 16 <= n; i += 16) {
        __m128i q = _mm_loadu_si128((const void *)(bytes + i));
        __m256i v = c->x_type == FB_S8 ? _mm256_cvtepi8_epi16(q) : _mm256_cvtepu8_epi16(q);
        _mm256_storeu_si256((void *)(to + i), v);
    }
    for (; i < n; i++)
        to[i] = c->x_type == FB_S8 ? (int8_t)bytes[i] : bytes[i];
}

static void stage_fill(const fbk_conv_fx *c, int16_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (int16_t)-stage_offset(c);
}

/* One stage row from the input row that starts at element `row`. */
static void stage_row(const fbk_conv_fx *c, const layout *l, const void *x, size_t row, int16_t *to)
{
    size_t ic = c->ic, from;
    uint32_t left, right;
    input_columns(&c->shape, l, &left, &right, &from);
    stage_fill(c, to, left * ic);
    if (l->step_w == 1) {
        stage_copy(c, to + left * ic, x, row + from * ic, (right - left) * ic);
    } else {
        for (uint32_t j = left; j < right; j++, from += l->step_w)
            stage_copy(c, to + j * ic, x, row + from * ic, ic);
    }
    stage_fill(c, to + right * ic, (l->cols - right) * ic);
}

/* `image` is the element of x where the image starts. */
static void stage(const fbk_conv_fx *c, const layout *l, const void *x, size_t image, uint32_t row,
                  uint32_t rows, int16_t *to)
{
    uint32_t count = stage_rows(&c->shape, l, rows);
    size_t width = (size_t)l->cols * c->ic;
    for (uint32_t i = 0; i < count; i++) {
        int64_t at = input_row(&c->shape, l, row, i);
        if (at < 0)
            stage_fill(c, to + i * width, width);
        else
            stage_row(c, l, x, image + (size_t)at * l->iw * c->ic, to + i * width);
    }
    memset(to + count * width, 0, SLACK * sizeof *to);
}

/* --- from accumulators to outputs ------------------------------------------------------------ */

/* What the micro-kernel does not change between pixels and blocks. */
typedef struct micro {
    const int32_t *offset;
    uint32_t runs, pairs;
    uint32_t oc; /* y elements from pixel to pixel */
    fb_fixed law;
    fb_dtype y_type;
    bool any_up;
    int32_t acc_lo, acc_hi;
    int32_t y_lo, y_hi, count_lo, count_hi; /* outputs beyond the latter two have saturated */
    float act_lo, act_hi;
} micro;

static micro micro_of(const fbk_conv_fx *c, const layout *l, const packed *p)
{
    micro m = {.offset = p->offset,
               .runs = l->runs,
               .pairs = l->units,
               .oc = c->oc,
               .law = c->law,
               .y_type = c->y_type,
               .any_up = c->shift_lo < 0,
               .acc_lo = (int32_t)fb_acc_min(c->law.acc_bits),
               .acc_hi = (int32_t)fb_acc_max(c->law.acc_bits),
               .y_lo = c->y_lo,
               .y_hi = c->y_hi,
               .count_lo = c->lo_counts ? c->y_lo : INT32_MIN,
               .count_hi = c->hi_counts ? c->y_hi : INT32_MAX,
               .act_lo = c->act_lo,
               .act_hi = c->act_hi};
    return m;
}

static inline uint32_t count_lanes(__m256i mask)
{
    return (uint32_t)__builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(mask)));
}

/* fb_shift of 8 accumulators, channels [at, at + 8) of the block. */
static inline __m256i shift8(const micro *m, const head *h, size_t at, __m256i v)
{
    const __m256i one = _mm256_set1_epi32(1), ones = _mm256_set1_epi32(-1);
    if (m->any_up) {
        __m256i bound = _mm256_load_si256((const void *)(h->bound + at));
        v = _mm256_min_epi32(_mm256_max_epi32(v, _mm256_xor_si256(bound, ones)), bound);
        v = _mm256_sllv_epi32(v, _mm256_load_si256((const void *)(h->up + at)));
    }
    __m256i n = _mm256_load_si256((const void *)(h->right + at));
    __m256i below = _mm256_sub_epi32(n, one); /* -1 for n = 0: shifts give 0 */
    __m256i down = _mm256_srav_epi32(v, n);
    __m256i half = _mm256_and_si256(_mm256_srlv_epi32(v, below), one); /* the bit worth 1/2 */
    __m256i more = ones; /* lanes where a half counts as more than a half */
    if (m->law.rounding == FB_ROUND_DOWN)
        return down;
    if (m->law.rounding != FB_ROUND_HALF_UP) {
        __m256i rest = _mm256_andnot_si256(_mm256_sllv_epi32(ones, below), v);
        __m256i tie = _mm256_cmpeq_epi32(rest, _mm256_setzero_si256());
        __m256i up = m->law.rounding == FB_ROUND_HALF_EVEN
                         ? _mm256_cmpeq_epi32(_mm256_and_si256(down, one), one)
                         : _mm256_cmpgt_epi32(v, ones);
        more = _mm256_or_si256(_mm256_andnot_si256(tie, ones), up);
    }
    return _mm256_add_epi32(down, _mm256_and_si256(half, more));
}

static inline __m256i codes8(const micro *m, const head *h, size_t at, __m256i acc, uint32_t *over)
{
    __m256i v = shift8(m, h, at, acc);
    *over += count_lanes(_mm256_cmpgt_epi32(_mm256_set1_epi32(m->count_lo), v)) +
             count_lanes(_mm256_cmpgt_epi32(v, _mm256_set1_epi32(m->count_hi)));
    return _mm256_min_epi32(_mm256_max_epi32(v, _mm256_set1_epi32(m->y_lo)),
                            _mm256_set1_epi32(m->y_hi));
}

static inline __m256 floats8(const micro *m, const head *h, size_t at, __m256i acc)
{
    __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_load_ps(h->scale + at));
    return _mm256_min_ps(_mm256_max_ps(f, _mm256_set1_ps(m->act_lo)), _mm256_set1_ps(m->act_hi));
}

/* Accumulators of 16 channels, within their range, to y[at .. at + n), n <= 16. */
static inline void finish(const micro *m, const head *h, __m256i a0, __m256i a1, void *y, size_t at,
                          uint32_t n, fb_saturations *counts)
{
    if (m->y_type == FB_F32) {
        float rest[NR];
        _mm256_storeu_ps(rest, floats8(m, h, 0, a0));
        _mm256_storeu_ps(rest + 8, floats8(m, h, 8, a1));
        memcpy((float *)y + at, rest, n * sizeof *rest);
        return;
    }
    uint32_t over = 0;
    __m256i q0 = codes8(m, h, 0, a0, &over), q1 = codes8(m, h, 8, a1, &over);
    counts->outputs += over;
    const __m256i low = _mm256_set1_epi32(0xffff); /* the low half, signed or not */
    __m256i q = _mm256_packus_epi32(_mm256_and_si256(q0, low), _mm256_and_si256(q1, low));
    q = _mm256_permute4x64_epi64(q, 0xD8);
    if (m->y_type == FB_U16 || m->y_type == FB_S16) {
        uint16_t rest[NR];
        if (n == NR) {
            _mm256_storeu_si256((void *)((uint16_t *)y + at), q);
            return;
        }
        _mm256_storeu_si256((void *)rest, q);
        memcpy((uint16_t *)y + at, rest, n * sizeof *rest);
        return;
    }
    q = _mm256_and_si256(q, _mm256_set1_epi16(0xff));
    __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    uint8_t rest[NR];
    if (n == NR) {
        _mm_storeu_si128((void *)((uint8_t *)y + at), bytes);
        return;
    }
    _mm_storeu_si128((void *)rest, bytes);
    memcpy((uint8_t *)y + at, rest, n);
}

static inline int32_t pair_at(const int16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return pair;
}

/* --- the walk -------------------------------------------------------------------------------- */

/* mr pixels x 16 channels. x[mr] stage pointers; w the block; n valid channels; `at` is y's element
 * of the first pixel. */
typedef void micro_fn(const micro *m, const int16_t *const *x, const void *w, const head *h,
                      void *y, size_t at, uint32_t n, fb_saturations *counts);

/* All pixels of the band for one block. */
static void run_block(const fbk_conv_fx *c, const layout *l, const packed *p, const micro *m,
                      micro_fn *const *micros, size_t weight_bytes, const int16_t *staged,
                      uint32_t block, uint32_t pixels, void *y, size_t at, fb_saturations *counts)
{
    uint32_t group = block / l->blocks, first = block % l->blocks * NR;
    uint32_t n = l->ocg - first < NR ? l->ocg - first : NR;
    const char *w = (const char *)p->w + block * l->block_elems * weight_bytes;
    pixel_walk walk = walk_of(&c->shape, l, group);
    at += group * l->ocg + first;
    for (uint32_t done = 0; done < pixels;) {
        uint32_t mr = pixels - done < MR ? pixels - done : MR;
        const int16_t *x[MR];
        for (uint32_t i = 0; i < mr; i++)
            x[i] = staged + next_pixel(&walk);
        micros[mr](m, x, w, &p->heads[block], y, at + (size_t)done * c->oc, n, counts);
        done += mr;
    }
}

/* micros [MR + 1] by number of pixels. */
static void run_tile(const fbk_conv_fx *c, micro_fn *const *micros, size_t weight_bytes,
                     const void *x, void *y, void *scratch, uint32_t tile, fb_saturations *counts)
{
    layout l = layout_of(c);
    packed p = split(c, &l);
    micro m = micro_of(c, &l, &p);
    fb_saturations seen = {0};
    tile_cut cut = {c->band, c->n_bands, c->oc_blocks, c->n_splits, c->n_tiles};
    tile_part t = part_of(&c->shape, &l, &cut, tile);
    stage(c, &l, x, t.x, t.row, t.rows, scratch);
    for (uint32_t block = t.from; block < t.to; block++)
        run_block(c, &l, &p, &m, micros, weight_bytes, scratch, block, t.rows * l.ow, y, t.y,
                  &seen);
    counts->sums += seen.sums;
    counts->outputs += seen.outputs;
}

#endif
