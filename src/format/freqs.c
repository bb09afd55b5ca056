#include "format/freqs.h"

#include <string.h>

/* First byte: bits - 1, and the form. */
enum { HEAD_BITS = 7, HEAD_CURVE = 1 << 3, KNOT_MOST = 127, RICE_MOST = 12 };

/* ---- curves --------------------------------------------------------------------------------- */

/* Distances from the middle, in 128ths of it; the last two knots are the last two distances,
 * because clipping makes the outermost code frequent. */
static const uint16_t places[FB_FREQS_KNOTS - 2] = {0, 4, 10, 20, 32, 48, 64, 96};

static uint32_t place_of(unsigned knot, uint32_t middle)
{
    if (knot >= FB_FREQS_KNOTS - 2)
        return middle - FB_FREQS_KNOTS + knot;
    return places[knot] * middle >> 7;
}

/* 32768 * 2^(i/16), rounded. */
static const uint32_t sixteenths[16] = {32768, 34219, 35734, 37316, 38968, 40693, 42495, 44376,
                                        46341, 48393, 50535, 52773, 55109, 57549, 60097, 62757};

void fb_freqs_from_curve(fb_freqs *f)
{
    const uint32_t n = 1u << f->bits, middle = n / 2;
    uint32_t by_distance[129];
    for (unsigned k = 0; k + 1 < FB_FREQS_KNOTS; k++) {
        int32_t from = (int32_t)place_of(k, middle), to = (int32_t)place_of(k + 1, middle);
        int32_t rise = f->knot[k + 1] - f->knot[k];
        for (int32_t d = from; d <= to; d++) {
            int32_t level = 2 * f->knot[k] + 2 * rise * (d - from) / (to - from);
            by_distance[d] = sixteenths[level & 15] << (level >> 4);
        }
    }
    by_distance[middle] = by_distance[middle - 1]; /* the code that symmetric weights do not use */
    uint64_t total = 0, sum = 0;
    uint32_t last = 0;
    for (uint32_t s = 0; s < n; s++)
        total += by_distance[s < middle ? middle - s : s - middle];
    memset(f->freq, 0, sizeof f->freq);
    for (uint32_t s = 0; s < n; s++) { /* one for each, the rest in proportion */
        sum += by_distance[s < middle ? middle - s : s - middle];
        uint32_t upto = s + 1 + (uint32_t)((FB_RANS_ONE - n) * sum / total);
        f->freq[s] = (uint16_t)(upto - last);
        last = upto;
    }
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* Differences in Rice codes: d and ~d as 2d and 2d + 1; that number's upper part in unary (so many
 * ones, then a zero), then `rice` low bits, lowest first. */
static uint32_t folded(int32_t d)
{
    return d < 0 ? 2 * (uint32_t) - (d + 1) + 1 : 2 * (uint32_t)d;
}

typedef struct span {
    uint32_t first, last;
} span;

static span span_of(const fb_freqs *f)
{
    span s = {0, (1u << f->bits) - 1};
    while (s.first < s.last && f->freq[s.first] == 0)
        s.first++;
    while (s.last > s.first && f->freq[s.last] == 0)
        s.last--;
    return s;
}

static uint64_t rice_bits(const fb_freqs *f, span s, unsigned rice)
{
    uint64_t bits = 0;
    int32_t before = 0;
    for (uint32_t i = s.first; i < s.last; i++) {
        bits += (folded(f->freq[i] - before) >> rice) + 1 + rice;
        before = f->freq[i];
    }
    return bits;
}

static unsigned best_rice(const fb_freqs *f, span s, uint64_t *bits)
{
    unsigned best = 0;
    *bits = rice_bits(f, s, 0);
    for (unsigned r = 1; r <= RICE_MOST; r++) {
        uint64_t b = rice_bits(f, s, r);
        if (b < *bits) {
            *bits = b;
            best = r;
        }
    }
    return best;
}

typedef struct bit_out {
    fb_out *out;
    unsigned byte, n;
} bit_out;

static void put_bit(bit_out *b, uint32_t bit)
{
    b->byte |= (unsigned)(bit & 1u) << b->n;
    if (++b->n == 8) {
        fb_out_u8(b->out, b->byte);
        *b = (bit_out){.out = b->out};
    }
}

static void put_list(fb_out *out, const fb_freqs *f)
{
    uint64_t bits;
    span s = span_of(f);
    unsigned rice = best_rice(f, s, &bits);
    bit_out b = {.out = out};
    int32_t before = 0;
    fb_out_u8(out, s.first);
    fb_out_u8(out, s.last);
    fb_out_u8(out, rice);
    for (uint32_t i = s.first; i < s.last; i++) { /* the last one is what is missing */
        uint32_t v = folded(f->freq[i] - before);
        before = f->freq[i];
        for (uint32_t k = 0; k < v >> rice; k++)
            put_bit(&b, 1);
        put_bit(&b, 0);
        for (unsigned k = 0; k < rice; k++)
            put_bit(&b, v >> k);
    }
    while (b.n > 0)
        put_bit(&b, 0);
}

typedef struct bit_in {
    fb_in *in;
    unsigned byte, left;
} bit_in;

static uint32_t get_bit(bit_in *b)
{
    if (b->left == 0) {
        b->byte = fb_in_u8(b->in);
        b->left = 8;
    }
    uint32_t bit = b->byte & 1u;
    b->byte >>= 1;
    b->left--;
    return bit;
}

static fb_status get_list(fb_in *in, fb_freqs *f)
{
    span s;
    s.first = fb_in_u8(in);
    s.last = fb_in_u8(in);
    unsigned rice = fb_in_u8(in);
    if (in->status == FB_OK && (s.first >= s.last || s.last >> f->bits != 0 || rice > RICE_MOST))
        return fb_in_broken(in,
                            "frequencies of symbols %u to %u in Rice codes of %u bits; must be "
                            "two at least, of %u bits, and at most %d",
                            s.first, s.last, rice, f->bits, (int)RICE_MOST);
    bit_in b = {.in = in};
    int32_t left = FB_RANS_ONE, before = 0;
    for (uint32_t i = s.first; i < s.last && in->status == FB_OK; i++) {
        uint32_t high = 0, low = 0;
        while (in->status == FB_OK && high <= 2 * FB_RANS_ONE && get_bit(&b))
            high++;
        for (unsigned k = 0; k < rice; k++)
            low |= get_bit(&b) << k;
        uint32_t v = high << rice | low;
        int32_t d = v & 1 ? -(int32_t)(v >> 1) - 1 : (int32_t)(v >> 1);
        if (high > 2 * FB_RANS_ONE || before + d < 0 || before + d > FB_RANS_MOST ||
            before + d > left)
            return fb_in_broken(in,
                                "frequency of symbol %u is outside 0..%d, or they add up to "
                                "more than %d",
                                i, (int)FB_RANS_MOST, (int)FB_RANS_ONE);
        before += d;
        left -= before;
        f->freq[i] = (uint16_t)before;
    }
    if (in->status == FB_OK && (left < 1 || left > FB_RANS_MOST))
        return fb_in_broken(in, "frequency of symbol %u is %d, must be 1..%d", s.last, (int)left,
                            (int)FB_RANS_MOST);
    f->freq[s.last] = (uint16_t)left;
    return in->status;
}

/* ---- tables --------------------------------------------------------------------------------- */

void fb_freqs_put(fb_out *out, const fb_freqs *f)
{
    fb_out_u8(out, (unsigned)(f->bits - 1) | (f->form == FB_FREQS_CURVE ? HEAD_CURVE : 0u));
    if (f->form == FB_FREQS_CURVE)
        fb_out_bytes(out, f->knot, sizeof f->knot);
    else
        put_list(out, f);
}

fb_status fb_freqs_get(fb_in *in, fb_freqs *f)
{
    unsigned head = fb_in_u8(in);
    *f = (fb_freqs){.bits = (uint8_t)((head & HEAD_BITS) + 1)};
    if (head & ~(unsigned)(HEAD_BITS | HEAD_CURVE))
        return fb_in_broken(in, "a table of frequencies begins with %u and needs a newer fewbit",
                            head);
    if (!(head & HEAD_CURVE))
        return get_list(in, f);
    const uint8_t *knots = fb_in_bytes(in, sizeof f->knot);
    if (!knots)
        return in->status;
    f->form = FB_FREQS_CURVE;
    memcpy(f->knot, knots, sizeof f->knot);
    if (f->bits < FB_FREQS_CURVE_BITS)
        return fb_in_broken(in, "a curve of frequencies for %u bits, must be %d at least", f->bits,
                            (int)FB_FREQS_CURVE_BITS);
    for (unsigned k = 0; k < FB_FREQS_KNOTS; k++) {
        if (f->knot[k] > KNOT_MOST)
            return fb_in_broken(in, "knot %u of a curve is %u, at most %d is possible", k,
                                f->knot[k], (int)KNOT_MOST);
    }
    fb_freqs_from_curve(f);
    return FB_OK;
}

uint64_t fb_freqs_own_cost(const fb_freqs *f)
{
    uint64_t bits = 8 * FB_FREQS_KNOTS;
    if (f->form == FB_FREQS_LIST)
        (void)best_rice(f, span_of(f), &bits);
    return (bits + (f->form == FB_FREQS_LIST ? 32 : 8)) << 16;
}
