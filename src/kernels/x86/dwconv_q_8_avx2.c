/* Integer depthwise convolution on AVX2 for the narrow layers, 8 to 15 channels, that
 * dwconv_q_16_avx2.c cannot take: 8 channels at a time, taps in pairs, loads of 8 bytes. With
 * exactly 8 channels and stride 1, two neighbouring pixels are 16 bytes in a row and go together.
 *
 * A tile is (image, band of output rows). Taps outside the image read a row of x_zero codes in
 * scratch. The last block starts at oc - 8 and may overlap the one before it; both write the same
 * bytes there.
 *
 * packed: bias [blocks][8] less x_zero * sum(w) | scale [blocks][8], then the first 8 again
 *         | weights [blocks][pairs][8][2] i16
 */
#include "kernels/x86/simd_q_avx2.h"

enum { MAX_TAPS = 64, TILE_MACS = 1 << 19 };

static uint32_t block_start(const fbk_conv_q *c, uint32_t block)
{
    return block * 8 + 8 <= c->oc ? block * 8 : c->oc - 8;
}

static uint32_t pair_count(const fbk_conv_q *c)
{
    return (c->kh * c->kw + 1) / 2;
}

bool fbk_dwconv_q_8_avx2_plan(fbk_conv_q *c, bool wide)
{
    if (c->groups != c->ic || c->oc != c->ic || c->ic < 8 || c->ic > 15 || c->kh * c->kw > MAX_TAPS)
        return false;
    uint64_t row_macs = (uint64_t)c->ow * c->oc * c->kh * c->kw;
    uint64_t rows = TILE_MACS / row_macs;
    c->band = rows == 0 ? 1 : rows < c->oh ? (uint32_t)rows : c->oh;
    c->n_bands = (c->oh + c->band - 1) / c->band;
    c->oc_blocks = (c->oc + 7) / 8;
    c->n_splits = 1;
    c->n_tiles = c->n * c->n_bands;
    c->wide = wide;
    c->packed_bytes = (size_t)c->oc_blocks * (8 * 8 + (size_t)pair_count(c) * 32) + 32;
    c->scratch_bytes = 16;
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
    p.scale = (float *)(p.bias + (size_t)c->oc_blocks * 8);
    p.w = (int16_t *)(p.scale + (size_t)c->oc_blocks * 8 + 8);
    return p;
}

void fbk_dwconv_q_8_avx2_pack(const fbk_conv_q *c, const int16_t *w, const int32_t *bias,
                              const float *scale)
{
    packed p = split(c);
    size_t taps = (size_t)c->kh * c->kw, block_elems = (size_t)pair_count(c) * 16;
    memset(c->packed, 0, c->packed_bytes);
    for (uint32_t b = 0; b < c->oc_blocks; b++) {
        for (uint32_t j = 0; j < 8; j++) {
            uint32_t o = block_start(c, b) + j;
            int32_t sum = 0;
            for (size_t t = 0; t < taps; t++) {
                p.w[b * block_elems + t / 2 * 16 + j * 2 + t % 2] = w[o * taps + t];
                sum += w[o * taps + t];
            }
            p.bias[b * 8 + j] = (int32_t)((uint32_t)bias[o] - (uint32_t)c->x_zero * (uint32_t)sum);
            p.scale[b * 8 + j] = scale[o];
        }
    }
    for (uint32_t j = 0; j < 8; j++)
        p.scale[c->oc_blocks * 8 + j] = scale[j];
}

/* First codes of the taps of one output pixel, an even number of them. */
static void find_taps(const fbk_conv_q *c, const uint8_t *x, const uint8_t *padding, uint32_t oy,
                      uint32_t ox, const uint8_t **taps)
{
    for (uint32_t r = 0; r < c->kh; r++) {
        int64_t row = (int64_t)oy * c->stride_h + (int64_t)r * c->dil_h - c->pad_t;
        bool inside = row >= 0 && row < c->ih;
        for (uint32_t s = 0; s < c->kw; s++) {
            int64_t col = (int64_t)ox * c->stride_w + (int64_t)s * c->dil_w - c->pad_l;
            *taps++ = inside && col >= 0 && col < c->iw
                          ? x + ((size_t)row * c->iw + (size_t)col) * c->ic
                          : padding;
        }
    }
    *taps = padding; /* multiplied by zero weights when the number of taps is odd */
}

static inline __m256i two_taps(const uint8_t *a, const uint8_t *b, bool is_signed)
{
    __m128i q =
        _mm_unpacklo_epi8(_mm_loadl_epi64((const void *)a), _mm_loadl_epi64((const void *)b));
    return is_signed ? _mm256_cvtepi8_epi16(q) : _mm256_cvtepu8_epi16(q);
}

static void run_pixel(const fbk_conv_q *c, const packed *p, const simd_q_out *out,
                      const uint8_t *const *taps, void *y, size_t at)
{
    uint32_t pairs = pair_count(c);
    const int16_t *w = p->w;
    for (uint32_t b = 0; b < c->oc_blocks; b++) {
        size_t first = block_start(c, b);
        __m256i sum = _mm256_loadu_si256((const void *)(p->bias + b * 8));
        for (uint32_t k = 0; k < pairs; k++, w += 16) {
            __m256i q = two_taps(taps[2 * k] + first, taps[2 * k + 1] + first, c->x_signed);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(q, _mm256_load_si256((const void *)w)));
        }
        simd_q_finish(out, p->scale + b * 8, sum, _mm256_setzero_si256(), y, at + first, 8);
    }
}

/* Output pixels [from, to) of a row, an even number, all taps inside the columns of the image. */
static void run_pairs(const fbk_conv_q *c, const packed *p, const simd_q_out *out,
                      const uint8_t **taps, const uint8_t *padding, uint32_t n, void *y, size_t at)
{
    uint32_t pairs = pair_count(c);
    for (uint32_t done = 0; done < n; done += 2, at += 16) {
        const int16_t *w = p->w;
        __m256i s0 = _mm256_loadu_si256((const void *)p->bias), s1 = s0;
        for (uint32_t k = 0; k < pairs; k++, w += 16) {
            __m128i q0 = _mm_loadu_si128((const void *)taps[2 * k]);
            __m128i q1 = _mm_loadu_si128((const void *)taps[2 * k + 1]);
            __m128i lo = _mm_unpacklo_epi8(q0, q1), hi = _mm_unpackhi_epi8(q0, q1);
            __m256i pw = _mm256_load_si256((const void *)w);
            __m256i v0 = c->x_signed ? _mm256_cvtepi8_epi16(lo) : _mm256_cvtepu8_epi16(lo);
            __m256i v1 = c->x_signed ? _mm256_cvtepi8_epi16(hi) : _mm256_cvtepu8_epi16(hi);
            s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(v0, pw));
            s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(v1, pw));
        }
        simd_q_store(out, p->scale, s0, s1, y, at);
        for (uint32_t t = 0; t < 2 * pairs; t++)
            taps[t] += taps[t] == padding ? 0 : 16;
    }
}

static void run_row(const fbk_conv_q *c, const packed *p, const simd_q_out *out, const uint8_t *x,
                    const uint8_t *padding, uint32_t row, void *y, size_t at)
{
    const uint8_t *taps[MAX_TAPS + 1];
    uint32_t first = c->ow, last = c->ow; /* pixels whose columns all lie inside */
    int64_t reach = (int64_t)(c->kw - 1) * c->dil_w;
    if (c->ic == 8 && c->stride_w == 1 && (int64_t)c->iw - reach > 1) {
        int64_t end = (int64_t)c->iw - reach + c->pad_l;
        first = c->pad_l < (int64_t)c->ow ? (uint32_t)c->pad_l : c->ow;
        last = end < (int64_t)c->ow ? (uint32_t)end : c->ow;
        last = last > first ? first + (last - first) / 2 * 2 : first;
    }
    for (uint32_t col = 0; col < c->ow;) {
        find_taps(c, x, padding, row, col, taps);
        if (col == first && last > first) {
            run_pairs(c, p, out, taps, padding, last - first, y, at + (size_t)col * c->oc);
            col = last;
        } else {
            run_pixel(c, p, out, taps, y, at + (size_t)col * c->oc);
            col++;
        }
    }
}

void fbk_dwconv_q_8_avx2(const fbk_conv_q *c, const void *x, void *y, void *scratch, uint32_t tile)
{
    packed p = split(c);
    simd_q_out out = simd_q_out_of(c);
    uint32_t image = tile / c->n_bands, row = tile % c->n_bands * c->band;
    uint32_t end = c->oh - row < c->band ? c->oh : row + c->band;
    const uint8_t *px = (const uint8_t *)x + (size_t)image * c->ih * c->iw * c->ic;
    memset(scratch, c->x_zero, 16);
    size_t at = ((size_t)image * c->oh + row) * c->ow * c->oc;
    for (; row < end; row++, at += (size_t)c->ow * c->oc)
        run_row(c, &p, &out, px, scratch, row, y, at);
}
