/* Frequencies for counted symbols. Costs are in bits times 65536, from a logarithm in integers, so
 * that every machine chooses the same. */
#include "format/freqs.h"

#include <string.h>

enum { KNOT_MOST = 127, SWEEPS = 24 };

/* log2(v) * 65536, rounded down, v >= 1. */
static uint64_t log2_of(uint64_t v)
{
    uint64_t whole = 63;
    while (!(v >> whole))
        whole--;
    uint64_t m = whole > 31 ? v >> (whole - 31) : v << (31 - whole); /* [2^31, 2^32) */
    uint64_t log = whole;
    for (int i = 0; i < 16; i++) {
        m = m * m >> 31;
        uint64_t up = m >> 32;
        m >>= up;
        log = log << 1 | up;
    }
    return log;
}

/* Costs of symbols by frequency. */
typedef struct prices {
    uint32_t of[FB_RANS_ONE + 1];
} prices;

static const prices *get_prices(void)
{
    static _Thread_local prices p;
    if (p.of[1] == 0) {
        for (uint32_t f = 1; f <= FB_RANS_ONE; f++)
            p.of[f] = (uint32_t)((FB_RANS_LOG2 << 16) - log2_of(f));
    }
    return &p;
}

uint64_t fb_freqs_cost(const fb_freqs *f, const uint64_t count[256])
{
    const prices *p = get_prices();
    uint64_t cost = 0;
    for (unsigned s = 0; s < 256; s++) {
        if (count[s] > 0 && f->freq[s] == 0)
            return UINT64_MAX;
        cost += count[s] * p->of[f->freq[s]];
    }
    return cost;
}

uint64_t fb_freqs_ideal(const uint64_t count[256])
{
    uint64_t total = 0, bits = 0;
    for (unsigned s = 0; s < 256; s++)
        total += count[s];
    uint64_t all = total > 0 ? log2_of(total) : 0;
    for (unsigned s = 0; s < 256; s++)
        bits += count[s] > 0 ? count[s] * (all - log2_of(count[s])) : 0;
    return bits;
}

/* ---- curves --------------------------------------------------------------------------------- */

/* Each knot from the counts around it. */
static void guess_curve(fb_freqs *f, const uint64_t count[256])
{
    static const uint16_t edges[FB_FREQS_KNOTS + 1] = {0, 2, 7, 15, 26, 40, 56, 80, 112, 0, 0};
    const uint32_t middle = 1u << (f->bits - 1);
    uint64_t height[FB_FREQS_KNOTS], most = 0;
    for (unsigned k = 0; k < FB_FREQS_KNOTS; k++) {
        uint32_t from = edges[k] * middle >> 7, to = edges[k + 1] * middle >> 7;
        if (k >= FB_FREQS_KNOTS - 3) /* the last two places are one distance each */
            to = middle - FB_FREQS_KNOTS + 1 + k;
        if (k >= FB_FREQS_KNOTS - 2)
            from = to - 1;
        to = to > from ? to : from + 1;
        uint64_t sum = 1;
        for (uint32_t d = from; d < to; d++)
            sum += 2 * (count[middle + d] + count[middle - d]);
        /* per symbol, above what the most uneven count could be below */
        height[k] = (log2_of(sum) + (16u << 16)) - log2_of(2 * (to - from));
        most = height[k] > most ? height[k] : most;
    }
    for (unsigned k = 0; k < FB_FREQS_KNOTS; k++) {
        uint64_t below = (most - height[k]) >> 13; /* eighths */
        f->knot[k] = (uint8_t)(below < KNOT_MOST ? KNOT_MOST - below : 0);
    }
}

/* Downhill, one knot at a time, by steps of 4, 2 and 1 eighths. */
static void fit_curve(fb_freqs *f, const uint64_t count[256])
{
    uint64_t least;
    fb_freqs_from_curve(f);
    least = fb_freqs_cost(f, count);
    for (int step = 4, sweep = 0; step > 0 && sweep < SWEEPS; sweep++) {
        bool moved = false;
        for (int k = 0; k < 2 * FB_FREQS_KNOTS; k++) {
            uint8_t *knot = &f->knot[k / 2], old = *knot;
            int to = old + (k % 2 ? step : -step);
            if (to < 0 || to > KNOT_MOST)
                continue;
            *knot = (uint8_t)to;
            fb_freqs_from_curve(f);
            uint64_t cost = fb_freqs_cost(f, count);
            if (cost < least) {
                least = cost;
                moved = true;
            } else {
                *knot = old;
            }
        }
        if (!moved)
            step /= 2;
    }
    fb_freqs_from_curve(f);
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* The present symbol whose frequency may change by `by` at the best price. */
static unsigned cheapest(const fb_freqs *f, const uint64_t count[256], int by)
{
    const prices *p = get_prices();
    unsigned best = 256;
    int64_t least = 0;
    for (unsigned s = 0; s < 1u << f->bits; s++) {
        int to = f->freq[s] + by;
        if (f->freq[s] == 0 || to < 1 || to > FB_RANS_MOST)
            continue;
        int64_t cost = (int64_t)count[s] * ((int64_t)p->of[to] - (int64_t)p->of[f->freq[s]]);
        if (best == 256 || cost < least) {
            best = s;
            least = cost;
        }
    }
    return best;
}

static void fit_list(fb_freqs *f, const uint64_t count[256])
{
    uint64_t total = 0;
    int sum = 0, present = 0;
    unsigned n = 1u << f->bits;
    for (unsigned s = 0; s < n; s++)
        total += count[s];
    for (unsigned s = 0; s < n; s++) {
        /* in two steps: counts times 4096 may not fit */
        uint64_t v = total >> 40 ? count[s] / (total >> FB_RANS_LOG2)
                                 : (count[s] * FB_RANS_ONE + total / 2) / total;
        v = v < FB_RANS_MOST ? v : FB_RANS_MOST;
        f->freq[s] = (uint16_t)(count[s] == 0 ? 0 : v > 0 ? v : 1);
        sum += f->freq[s];
        present += count[s] > 0;
    }
    if (present < 2) { /* a second symbol takes what none may have */
        unsigned s = 0;
        while (f->freq[s] == 0)
            s++;
        f->freq[s ^ 1u] = 1;
        sum++;
    }
    for (; sum > FB_RANS_ONE; sum--)
        f->freq[cheapest(f, count, -1)]--;
    for (; sum < FB_RANS_ONE; sum++)
        f->freq[cheapest(f, count, 1)]++;
}

/* ---- the choice ----------------------------------------------------------------------------- */

void fb_freqs_choose(fb_freqs *f, unsigned bits, const uint64_t count[256], const fb_freqs *near)
{
    fb_freqs curve = {.bits = (uint8_t)bits, .form = FB_FREQS_CURVE};
    *f = (fb_freqs){.bits = (uint8_t)bits, .form = FB_FREQS_LIST};
    fit_list(f, count);
    if (bits < FB_FREQS_CURVE_BITS)
        return;
    if (near && near->form == FB_FREQS_CURVE)
        memcpy(curve.knot, near->knot, sizeof curve.knot);
    else
        guess_curve(&curve, count);
    fit_curve(&curve, count);
    uint64_t as_list = fb_freqs_cost(f, count) + fb_freqs_own_cost(f);
    if (fb_freqs_cost(&curve, count) + fb_freqs_own_cost(&curve) < as_list)
        *f = curve;
}
