#include "format/rans.h"

#include <string.h>

#define LEAST ((uint32_t)1 << 16) /* states lie in [LEAST, 2^32) between symbols */

static uint32_t load16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t load32(const uint8_t *p)
{
    return load16(p) | load16(p + 2) << 16;
}

/* ---- out ------------------------------------------------------------------------------------ */

/* Decoding runs forwards, so encoding runs backwards: from the last symbol to the first, into a
 * buffer that fills from its end. */
void fb_rans_encode(fb_out *out, const uint16_t freq[256], const uint8_t *symbols, size_t n)
{
    const unsigned n_states = fb_rans_states(n);
    uint32_t x[FB_RANS_STATES], start[256], sum = 0;
    size_t cap = n / 4 * 3 + 4; /* 12 bits a symbol at most */
    uint16_t *words = cap <= SIZE_MAX / sizeof *words ? fb_alloc(cap * sizeof *words) : NULL;
    size_t at = cap;
    if (!words) {
        out->no_memory = true;
        return;
    }
    for (unsigned s = 0; s < 256; s++) {
        start[s] = sum;
        sum += freq[s];
    }
    for (unsigned k = 0; k < n_states; k++)
        x[k] = LEAST;
    for (size_t i = n; i-- > 0;) {
        uint32_t *state = &x[i % n_states], f = freq[symbols[i]];
        if (*state >= f << (32 - FB_RANS_LOG2)) {
            words[--at] = (uint16_t)(*state & 0xffffu);
            *state >>= 16;
        }
        *state = (*state / f << FB_RANS_LOG2) + *state % f + start[symbols[i]];
    }
    for (unsigned k = 0; k < n_states; k++)
        fb_out_u32(out, x[k]);
    for (; at < cap; at++) {
        uint8_t pair[2] = {(uint8_t)(words[at] & 255u), (uint8_t)(words[at] >> 8)};
        fb_out_bytes(out, pair, 2);
    }
    fb_free(words);
}

/* ---- in ------------------------------------------------------------------------------------- */

void fb_rans_table_make(fb_rans_table *t, const uint16_t freq[256], unsigned flip)
{
    uint32_t at = 0;
    for (uint32_t s = 0; s < 256; s++) {
        for (uint32_t k = 0; k < freq[s] && at < FB_RANS_ONE; k++)
            t->slot[at++] = (s ^ flip) | (uint32_t)freq[s] << 8 | k << 20;
    }
}

/* One symbol off a state, without filling it. */
static inline uint8_t take(const fb_rans_table *t, uint32_t *x)
{
    uint32_t slot = t->slot[*x & (FB_RANS_ONE - 1)];
    *x = (slot >> 8 & (FB_RANS_ONE - 1)) * (*x >> FB_RANS_LOG2) + (slot >> 20);
    return (uint8_t)slot;
}

/* The same for four states with input in plenty: no branch depends on the data. */
static inline const uint8_t *take_four(const fb_rans_table *t, uint32_t *x, const uint8_t *p,
                                       uint8_t *symbols)
{
    uint32_t a = x[0], b = x[1], c = x[2], d = x[3];
    symbols[0] = take(t, &a);
    symbols[1] = take(t, &b);
    symbols[2] = take(t, &c);
    symbols[3] = take(t, &d);
    uint32_t fill = a < LEAST;
    x[0] = fill ? a << 16 | load16(p) : a;
    p += 2 * fill;
    fill = b < LEAST;
    x[1] = fill ? b << 16 | load16(p) : b;
    p += 2 * fill;
    fill = c < LEAST;
    x[2] = fill ? c << 16 | load16(p) : c;
    p += 2 * fill;
    fill = d < LEAST;
    x[3] = fill ? d << 16 | load16(p) : d;
    return p + 2 * fill;
}

bool fb_rans_decode(const fb_rans_table *t, const uint8_t *coded, size_t bytes, uint8_t *symbols,
                    size_t n)
{
    const unsigned n_states = fb_rans_states(n);
    const uint8_t *p = coded, *end = coded + bytes;
    uint32_t x[FB_RANS_STATES];
    size_t i = 0;
    if (bytes < 4 * (size_t)n_states || bytes % 2 != 0)
        return false;
    for (unsigned k = 0; k < n_states; k++, p += 4) {
        x[k] = load32(p);
        if (x[k] < LEAST)
            return false;
    }
    if (n_states == 4) {
        for (; n - i >= 4 && end - p >= 8; i += 4)
            p = take_four(t, x, p, symbols + i);
    }
    for (; i < n; i++) {
        uint32_t *state = &x[i % n_states];
        symbols[i] = take(t, state);
        if (*state < LEAST) {
            if (p == end)
                return false;
            *state = *state << 16 | load16(p);
            p += 2;
        }
    }
    bool ends = p == end;
    for (unsigned k = 0; k < n_states; k++)
        ends &= x[k] == LEAST;
    return ends;
}
