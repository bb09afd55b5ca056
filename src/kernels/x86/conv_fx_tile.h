/* Convolution in fixed point on AVX2: what the kernels share whatever they do with a product. Each
 * defines MR, the most pixels of its micro-kernels, before it includes this file once.
 *
 * A tile is (image, band of output rows, some blocks of 16 channels):
 *   1. stage: the input rows of the band are copied to scratch as s16, with the padding filled in.
 *      Unsigned codes of 16 bits are staged less 2^15; the sums get it back through the bias.
 *          stage [rows][cols][ic]
 *   2. for each block of 16 channels, for each MR pixels of the band: the micro-kernel walks `runs`
 *      of contiguous stage elements, in the order (kh, kw, channel). With dil_w = 1 and no groups a
 *      run is a kernel row of kw * ic elements, otherwise one tap of ic / groups. An odd run ends
 *      with a zero weight, which changes no sum. 1x1 layers without padding and stride (dense ones
 *      too) are one image, one pixel wide, of n * oh * ow rows.
 *
 * packed: run offsets | [groups * blocks] heads | [groups * blocks][runs][pairs][16][2] weights,
 * s16, or s8 where c->form says so
 */
#ifndef FB_KERNELS_CONV_FX_TILE_H
#define FB_KERNELS_CONV_FX_TILE_H

#include "base/size.h"
#include "kernels/conv_fx.h"

#include <immintrin.h>
#include <string.h>

enum {
    NR = 16,
    STAGE_BYTES = 96 * 1024, /* of a band, so that it stays in L2 with the weights of a block */
    TILE_MACS = 1 << 20,     /* about 12 microseconds or more: worth handing to a thread */
    SLACK = 32               /* stage elements behind the last: an odd run's rest */
};

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

typedef struct layout {
    uint32_t n, ih, iw, oh, ow;    /* after the 1x1 rewrite */
    uint32_t step_h, step_w;       /* input rows / columns per stage row / column */
    uint32_t stride_h, stride_w;   /* stage rows / columns per output pixel */
    uint32_t cols;                 /* stage columns */
    uint32_t ocg, blocks;          /* channels and blocks of a group */
    uint32_t runs, run_len, pairs; /* pairs of elements of a run */
    size_t block_elems;            /* packed weights of a block */
} layout;

static layout layout_of(const fbk_conv_fx *c)
{
    layout l;
    bool flat = c->kh == 1 && c->kw == 1 && c->stride_h == 1 && c->stride_w == 1 &&
                c->oh == c->ih && c->ow == c->iw;
    uint32_t pixels = c->n * c->oh * c->ow;
    l.n = flat ? 1 : c->n;
    l.ih = flat ? pixels : c->ih;
    l.iw = flat ? 1 : c->iw;
    l.oh = flat ? pixels : c->oh;
    l.ow = flat ? 1 : c->ow;
    l.step_h = c->kh == 1 ? c->stride_h : 1;
    l.step_w = c->kw == 1 ? c->stride_w : 1;
    l.stride_h = c->kh == 1 ? 1 : c->stride_h;
    l.stride_w = c->kw == 1 ? 1 : c->stride_w;
    l.cols = (l.ow - 1) * l.stride_w + (c->kw - 1) * c->dil_w + 1;
    l.ocg = c->oc / c->groups;
    l.blocks = (l.ocg + NR - 1) / NR;
    bool by_row = c->groups == 1 && (c->dil_w == 1 || c->kw == 1);
    l.runs = by_row ? c->kh : c->kh * c->kw;
    l.run_len = by_row ? c->kw * c->ic : c->ic / c->groups;
    l.pairs = (l.run_len + 1) / 2;
    l.block_elems = (size_t)l.runs * l.pairs * 2 * NR;
    return l;
}

static uint32_t stage_rows(const fbk_conv_fx *c, const layout *l, uint32_t rows)
{
    return (rows - 1) * l->stride_h + (c->kh - 1) * c->dil_h + 1;
}

static size_t stage_elems(const fbk_conv_fx *c, const layout *l, uint32_t rows)
{
    return (size_t)stage_rows(c, l, rows) * l->cols * c->ic + SLACK;
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
    uint64_t row_macs = (uint64_t)l.ow * c->oc * c->kh * c->kw * (c->ic / c->groups);
    uint32_t rows = l.oh;
    while (rows > 1 && (stage_elems(c, &l, rows) * sizeof(int16_t) > STAGE_BYTES ||
                        (row_macs * rows > 4 * TILE_MACS && (uint64_t)rows * l.ow > 16 * MR)))
        rows = (rows + 1) / 2;
    c->n_bands = (l.oh + rows - 1) / rows;
    rows = (l.oh + c->n_bands - 1) / c->n_bands; /* even bands, */
    if (rows * l.ow > MR && l.ow == 1)
        rows = (rows + MR - 1) / MR * MR; /* whole micro-tiles where rows are pixels */
    c->band = rows;
    c->n_bands = (l.oh + rows - 1) / rows;
    c->oc_blocks = c->groups * l.blocks;
    uint64_t splits = row_macs * rows / TILE_MACS;
    uint64_t bands = (uint64_t)l.n * c->n_bands;
    if (bands * splits > 16)
        splits = 16 / bands;
    if (splits > c->oc_blocks)
        splits = c->oc_blocks;
    c->n_splits = splits ? (uint32_t)splits : 1;
    c->n_tiles = l.n * c->n_bands * c->n_splits;
    c->packed_bytes = fb_round_up((size_t)l.runs * 4, 64) + c->oc_blocks * sizeof(head) +
                      c->oc_blocks * l.block_elems * weight_bytes;
    c->scratch_bytes = stage_elems(c, &l, rows) * sizeof(int16_t);
    return (uint64_t)stage_rows(c, &l, rows) * l.cols * c->ic < (1u << 30) &&
           (c->y_type == FB_F32 || c->shift_hi <= 32);
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
    for (uint32_t r = 0; r < l.runs; r++) {
        uint32_t kr = l.runs == c->kh ? r : r / c->kw, ks = l.runs == c->kh ? 0 : r % c->kw;
        p.offset[r] = (int32_t)((kr * c->dil_h * l.cols + ks * c->dil_w) * c->ic);
    }
    size_t taps = (size_t)l.runs * l.run_len;
    for (uint32_t b = 0; b < c->oc_blocks; b++) {
        uint32_t group = b / l.blocks, first = b % l.blocks * NR;
        for (uint32_t j = 0; j < NR && first + j < l.ocg; j++) {
            uint32_t o = group * l.ocg + first + j;
            int64_t sum = 0;
            const int16_t *pw = w->w + (size_t)o * taps;
            for (size_t t = 0; t < taps; t++) {
                size_t run = t / l.run_len, k = t % l.run_len;
                size_t at = b * l.block_elems + (run * l.pairs + k / 2) * 2 * NR + j * 2 + k % 2;
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

/* One stage row from the input row that starts at element `row`: columns [0, left) and [right,
 * cols) lie in the padding. */
static void stage_row(const fbk_conv_fx *c, const layout *l, const void *x, size_t row, int16_t *to)
{
    size_t ic = c->ic;
    uint32_t pad = (uint32_t)c->pad_l;
    uint32_t left = c->pad_l > 0 ? (pad + l->step_w - 1) / l->step_w : 0;
    int64_t limit = ((int64_t)l->iw + c->pad_l + l->step_w - 1) / l->step_w;
    uint32_t right = limit < l->cols ? (uint32_t)(limit > 0 ? limit : 0) : l->cols;
    left = left < right ? left : right;
    stage_fill(c, to, left * ic);
    if (left < right) {
        size_t from = row + (size_t)((int64_t)left * l->step_w - c->pad_l) * ic;
        if (l->step_w == 1) {
            stage_copy(c, to + left * ic, x, from, (right - left) * ic);
        } else {
            for (uint32_t j = left; j < right; j++, from += l->step_w * ic)
                stage_copy(c, to + j * ic, x, from, ic);
        }
    }
    stage_fill(c, to + right * ic, (l->cols - right) * ic);
}

/* `image` is the element of x where the image starts. */
static void stage(const fbk_conv_fx *c, const layout *l, const void *x, size_t image, uint32_t row,
                  uint32_t rows, int16_t *to)
{
    uint32_t count = stage_rows(c, l, rows);
    size_t width = (size_t)l->cols * c->ic;
    for (uint32_t i = 0; i < count; i++) {
        int64_t at = ((int64_t)row * l->stride_h + i) * l->step_h - c->pad_t;
        if (at < 0 || at >= l->ih)
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
               .pairs = l->pairs,
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
    const int16_t *base = staged + (size_t)group * (c->ic / c->groups);
    size_t row_step = (size_t)l->stride_h * l->cols * c->ic, col_step = (size_t)l->stride_w * c->ic;
    const int16_t *next = base;
    uint32_t col = 0;
    at += group * l->ocg + first;
    for (uint32_t done = 0; done < pixels;) {
        uint32_t mr = pixels - done < MR ? pixels - done : MR;
        const int16_t *x[MR];
        for (uint32_t i = 0; i < mr; i++) {
            x[i] = next;
            next += col_step;
            if (++col == l->ow) {
                col = 0;
                base += row_step;
                next = base;
            }
        }
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
    uint32_t part = tile % c->n_splits, band = tile / c->n_splits % c->n_bands;
    uint32_t image = tile / c->n_splits / c->n_bands;
    uint32_t row = band * c->band, rows = l.oh - row < c->band ? l.oh - row : c->band;
    stage(c, &l, x, (size_t)image * l.ih * l.iw * c->ic, row, rows, scratch);
    uint32_t from = (uint32_t)((uint64_t)c->oc_blocks * part / c->n_splits);
    uint32_t to = (uint32_t)((uint64_t)c->oc_blocks * (part + 1) / c->n_splits);
    size_t at = ((size_t)image * l.oh + row) * l.ow * c->oc;
    for (uint32_t block = from; block < to; block++)
        run_block(c, &l, &p, &m, micros, weight_bytes, scratch, block, rows * l.ow, y, at, &seen);
    counts->sums += seen.sums;
    counts->outputs += seen.outputs;
}

#endif
