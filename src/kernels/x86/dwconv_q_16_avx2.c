/* Integer depthwise convolution on AVX2, 16 channels at a time.
 *
 * Taps go in pairs: the 8-bit codes of two taps are interleaved channel by channel, widened to 16
 * bits, and vpmaddwd gives exact 32-bit sums of both products.
 *
 * A tile is (image, band of output rows). Taps outside the image read a row of x_zero codes that
 * lies in scratch. The last block starts at oc - 16, so it may overlap the one before it; both
 * write the same bytes there.
 *
 * packed: bias [blocks][16] less x_zero * sum(w) | scale [blocks][16]
 *         | weights [blocks][pairs][16][2] i16
 */
#include "base/size.h"
#include "kernels/x86/simd_q_avx2.h"

enum { MAX_TAPS = 64, TILE_MACS = 1 << 19 };

static uint32_t block_count(const fbk_conv_q *c)
{
    return (c->oc + 15) / 16;
}

static uint32_t block_start(const fbk_conv_q *c, uint32_t block)
{
    return block * 16 + 16 <= c->oc ? block * 16 : c->oc - 16;
}

static uint32_t pair_count(const fbk_conv_q *c)
{
    return (c->kh * c->kw + 1) / 2;
}

bool fbk_dwconv_q_16_avx2_plan(fbk_conv_q *c, bool wide)
{
    if (c->groups != c->ic || c->oc != c->ic || c->ic < 16 || c->kh * c->kw > MAX_TAPS)
        return false;
    uint64_t row_macs = (uint64_t)c->ow * c->oc * c->kh * c->kw;
    uint64_t rows = TILE_MACS / row_macs;
    c->band = rows == 0 ? 1 : rows < c->oh ? (uint32_t)rows : c->oh;
    c->n_bands = (c->oh + c->band - 1) / c->band;
    c->oc_blocks = block_count(c);
    c->n_splits = 1;
    c->n_tiles = c->n * c->n_bands;
    c->wide = wide;
    c->packed_bytes = (size_t)c->oc_blocks * (16 * 8 + (size_t)pair_count(c) * 64);
    c->scratch_bytes = c->ic;
    return true;
}

typedef struct packed {
    int32_t *bias;
    float *scale;
    int16_t *w;
} packed;

static packed split(const fbk_conv_q *c)
{
    packed p;
    p.bias = c->packed;
    p.scale = (float *)(p.bias + (size_t)c->oc_blocks * 16);
    p.w = (int16_t *)(p.scale + (size_t)c->oc_blocks * 16);
    return p;
}

/* Place of tap t among the packed ones; for 3x3 with stride 1 see run_row_3x3. */
static const uint8_t quick_place[9] = {0, 2, 4, 1, 3, 5, 6, 7, 8};

static bool is_quick(const fbk_conv_q *c)
{
    return c->kh == 3 && c->kw == 3 && c->stride_h == 1 && c->stride_w == 1 && c->dil_h == 1 &&
           c->dil_w == 1;
}

void fbk_dwconv_q_16_avx2_pack(const fbk_conv_q *c, const int16_t *w, const int32_t *bias,
                               const float *scale)
{
    packed p = split(c);
    size_t taps = (size_t)c->kh * c->kw, block_elems = (size_t)pair_count(c) * 32;
    bool quick = is_quick(c);
    memset(c->packed, 0, c->packed_bytes);
    for (uint32_t b = 0; b < c->oc_blocks; b++) {
        for (uint32_t j = 0; j < 16; j++) {
            uint32_t o = block_start(c, b) + j;
            int32_t sum = 0;
            for (size_t t = 0; t < taps; t++) {
                size_t at = quick ? quick_place[t] : t;
                p.w[b * block_elems + at / 2 * 32 + j * 2 + at % 2] = w[o * taps + t];
                sum += w[o * taps + t];
            }
            p.bias[b * 16 + j] = (int32_t)((uint32_t)bias[o] - (uint32_t)c->x_zero * (uint32_t)sum);
            p.scale[b * 16 + j] = scale[o];
        }
    }
}

/* First codes of the taps of one output pixel, an even number of them. */
static void find_taps(const fbk_conv_q *c, const uint8_t *x, const uint8_t *padding, uint32_t oy,
                      uint32_t ox, const uint8_t **taps)
{
    size_t step = c->ic;
    for (uint32_t r = 0; r < c->kh; r++) {
        int64_t row = (int64_t)oy * c->stride_h + (int64_t)r * c->dil_h - c->pad_t;
        bool inside = row >= 0 && row < c->ih;
        for (uint32_t s = 0; s < c->kw; s++) {
            int64_t col = (int64_t)ox * c->stride_w + (int64_t)s * c->dil_w - c->pad_l;
            *taps++ = inside && col >= 0 && col < c->iw
                          ? x + ((size_t)row * c->iw + (size_t)col) * step
                          : padding;
        }
    }
    *taps = padding; /* multiplied by zero weights when the number of taps is odd */
}

static inline __m256i widen(__m128i q, bool is_signed)
{
    return is_signed ? _mm256_cvtepi8_epi16(q) : _mm256_cvtepu8_epi16(q);
}

/* All channels of one output pixel. is_signed is a constant after inlining. */
static inline __attribute__((always_inline)) void
run_pixel(const fbk_conv_q *c, const packed *p, const simd_q_out *out, const uint8_t *const *taps,
          uint32_t pairs, void *y, size_t at, const bool is_signed)
{
    const int16_t *w = p->w;
    for (uint32_t b = 0; b < c->oc_blocks; b++) {
        size_t first = block_start(c, b);
        __m256i s0 = _mm256_loadu_si256((const void *)(p->bias + b * 16));
        __m256i s1 = _mm256_loadu_si256((const void *)(p->bias + b * 16 + 8));
        for (uint32_t k = 0; k < pairs; k++, w += 32) {
            __m128i q0 = _mm_loadu_si128((const void *)(taps[2 * k] + first));
            __m128i q1 = _mm_loadu_si128((const void *)(taps[2 * k + 1] + first));
            __m256i lo = widen(_mm_unpacklo_epi8(q0, q1), is_signed);
            __m256i hi = widen(_mm_unpackhi_epi8(q0, q1), is_signed);
            s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(lo, _mm256_load_si256((const void *)w)));
            s1 = _mm256_add_epi32(s1,
                                  _mm256_madd_epi16(hi, _mm256_load_si256((const void *)(w + 16))));
        }
        simd_q_store(out, p->scale + b * 16, s0, s1, y, at + first);
    }
}

/* --- 3x3 with stride 1 -------------------------------------------------------------------------
 * One block of 16 channels along an output row. Rows 0 and 1 of a column are interleaved once and
 * serve three outputs; row 2 goes as the pair (left, middle) and the right tap alone, whose partner
 * has weight zero. */

/* Input rows of an output row: outside the image every column is the padding row. */
typedef struct rows3 {
    const uint8_t *row[3], *padding;
    size_t step[3]; /* from column to column */
    uint32_t iw;
} rows3;

static inline __m128i load_tap(const rows3 *r, int k, int64_t col, size_t first)
{
    bool inside = col >= 0 && col < r->iw;
    const uint8_t *p = inside ? r->row[k] + (size_t)col * r->step[k] : r->padding;
    return _mm_loadu_si128((const void *)(p + first));
}

static inline __attribute__((always_inline)) void
run_row_3x3(const fbk_conv_q *c, const rows3 *r, const int16_t *w, const int32_t *bias,
            const float *scale, const simd_q_out *out, size_t first, void *y, size_t at,
            const bool is_signed)
{
    __m256i b0 = _mm256_loadu_si256((const void *)bias);
    __m256i b1 = _mm256_loadu_si256((const void *)(bias + 8));
    const __m256i *pw = (const __m256i *)(const void *)w;
    int64_t col = -(int64_t)c->pad_l;
    __m128i q0 = load_tap(r, 0, col, first), q1 = load_tap(r, 1, col, first);
    __m256i left0 = widen(_mm_unpacklo_epi8(q0, q1), is_signed);
    __m256i left1 = widen(_mm_unpackhi_epi8(q0, q1), is_signed);
    q0 = load_tap(r, 0, col + 1, first);
    q1 = load_tap(r, 1, col + 1, first);
    __m256i mid0 = widen(_mm_unpacklo_epi8(q0, q1), is_signed);
    __m256i mid1 = widen(_mm_unpackhi_epi8(q0, q1), is_signed);
    __m128i under_left = load_tap(r, 2, col, first), under_mid = load_tap(r, 2, col + 1, first);
    for (uint32_t ox = 0; ox < c->ow; ox++, col++, at += c->oc) {
        q0 = load_tap(r, 0, col + 2, first);
        q1 = load_tap(r, 1, col + 2, first);
        __m128i under = load_tap(r, 2, col + 2, first);
        __m256i right0 = widen(_mm_unpacklo_epi8(q0, q1), is_signed);
        __m256i right1 = widen(_mm_unpackhi_epi8(q0, q1), is_signed);
        __m256i pair0 = widen(_mm_unpacklo_epi8(under_left, under_mid), is_signed);
        __m256i pair1 = widen(_mm_unpackhi_epi8(under_left, under_mid), is_signed);
        __m256i last0 = widen(_mm_unpacklo_epi8(under, under), is_signed);
        __m256i last1 = widen(_mm_unpackhi_epi8(under, under), is_signed);
        __m256i s0 = _mm256_add_epi32(b0, _mm256_madd_epi16(left0, pw[0]));
        __m256i s1 = _mm256_add_epi32(b1, _mm256_madd_epi16(left1, pw[1]));
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(mid0, pw[2]));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(mid1, pw[3]));
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(right0, pw[4]));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(right1, pw[5]));
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(pair0, pw[6]));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(pair1, pw[7]));
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(last0, pw[8]));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(last1, pw[9]));
        simd_q_store(out, scale, s0, s1, y, at + first);
        left0 = mid0;
        left1 = mid1;
        mid0 = right0;
        mid1 = right1;
        under_left = under_mid;
        under_mid = under;
    }
}

static void run_3x3(const fbk_conv_q *c, const packed *p, const simd_q_out *out, const uint8_t *x,
                    const uint8_t *padding, uint32_t oy, void *y, size_t at)
{
    rows3 r = {.padding = padding, .iw = c->iw};
    for (int k = 0; k < 3; k++) {
        int64_t row = (int64_t)oy + k - c->pad_t;
        bool inside = row >= 0 && row < c->ih;
        r.row[k] = inside ? x + (size_t)row * c->iw * c->ic : padding;
        r.step[k] = inside ? c->ic : 0;
    }
    for (uint32_t b = 0; b < c->oc_blocks; b++) {
        const int16_t *w = p->w + (size_t)b * 5 * 32;
        size_t first = block_start(c, b);
        if (c->x_signed)
            run_row_3x3(c, &r, w, p->bias + b * 16, p->scale + b * 16, out, first, y, at, true);
        else
            run_row_3x3(c, &r, w, p->bias + b * 16, p->scale + b * 16, out, first, y, at, false);
    }
}

void fbk_dwconv_q_16_avx2(const fbk_conv_q *c, const void *x, void *y, void *scratch, uint32_t tile)
{
    packed p = split(c);
    simd_q_out out = simd_q_out_of(c);
    uint32_t image = tile / c->n_bands, row = tile % c->n_bands * c->band;
    uint32_t end = c->oh - row < c->band ? c->oh : row + c->band, pairs = pair_count(c);
    const uint8_t *px = (const uint8_t *)x + (size_t)image * c->ih * c->iw * c->ic;
    memset(scratch, c->x_zero, c->ic);
    size_t at = ((size_t)image * c->oh + row) * c->ow * c->oc;
    bool quick = is_quick(c);
    for (; row < end; row++) {
        if (quick) {
            run_3x3(c, &p, &out, px, scratch, row, y, at);
            at += (size_t)c->ow * c->oc;
            continue;
        }
        for (uint32_t col = 0; col < c->ow; col++, at += c->oc) {
            const uint8_t *taps[MAX_TAPS + 1];
            find_taps(c, px, scratch, row, col, taps);
            if (c->x_signed)
                run_pixel(c, &p, &out, taps, pairs, y, at, true);
            else
                run_pixel(c, &p, &out, taps, pairs, y, at, false);
        }
    }
}
