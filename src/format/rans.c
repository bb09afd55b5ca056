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

/* Where each symbol's frequencies begin, by context. */
static void sum_up(uint16_t *start, const uint16_t *freq, unsigned contexts)
{
    for (unsigned k = 0; k < contexts; k++) {
        uint32_t sum = 0;
        for (unsigned s = k << 8; s < (k + 1) << 8; s++) {
            start[s] = (uint16_t)(sum & (FB_RANS_ONE - 1));
            sum += freq[s];
        }
    }
}

/* Decoding runs forwards, so encoding runs backwards: from the last symbol to the first, into a
 * buffer that fills from its end. */
void fb_rans_encode(fb_out *out, const uint16_t *freq, const uint8_t *context,
                    const uint8_t *symbols, size_t n)
{
    const unsigned n_states = fb_rans_states(n);
    uint32_t x[FB_RANS_STATES];
    size_t cap = n / 4 * 3 + 4; /* 12 bits a symbol at most */
    uint16_t *words = cap <= SIZE_MAX / sizeof *words ? fb_alloc(cap * sizeof *words) : NULL;
    uint16_t *start = fb_alloc(FB_RANS_CONTEXTS * 256 * sizeof *start);
    size_t at = cap;
    if (!words || !start) {
        out->no_memory = true;
        goto done;
    }
    sum_up(start, freq, context ? FB_RANS_CONTEXTS : 1);
    for (unsigned k = 0; k < n_states; k++)
        x[k] = LEAST;
    for (size_t i = n; i-- > 0;) {
        size_t symbol = (context ? (size_t)context[i] << 8 : 0) | symbols[i];
        uint32_t *state = &x[i % n_states], f = freq[symbol];
        if (*state >= f << (32 - FB_RANS_LOG2)) {
            words[--at] = (uint16_t)(*state & 0xffffu);
            *state >>= 16;
        }
        *state = (*state / f << FB_RANS_LOG2) + *state % f + start[symbol];
    }
    for (unsigned k = 0; k < n_states; k++)
        fb_out_u32(out, x[k]);
    for (; at < cap; at++) {
        uint8_t pair[2] = {(uint8_t)(words[at] & 255u), (uint8_t)(words[at] >> 8)};
        fb_out_bytes(out, pair, 2);
    }
done:
    fb_free(words);
    fb_free(start);
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

static inline uint32_t fill(uint32_t x, const uint8_t **p)
{
    uint32_t low = x < LEAST;
    x = low ? x << 16 | load16(*p) : x;
    *p += 2 * low;
    return x;
}

/* The same for four states with input in plenty: no branch depends on the data. */
static inline void take_four(fb_rans_in *in, const fb_rans_table *const t[4], uint8_t *symbols)
{
    uint32_t a = in->x[0], b = in->x[1], c = in->x[2], d = in->x[3];
    const uint8_t *p = in->at;
    symbols[0] = take(t[0], &a);
    symbols[1] = take(t[1], &b);
    symbols[2] = take(t[2], &c);
    symbols[3] = take(t[3], &d);
    in->x[0] = fill(a, &p);
    in->x[1] = fill(b, &p);
    in->x[2] = fill(c, &p);
    in->x[3] = fill(d, &p);
    in->at = p;
}

/* One symbol with input perhaps at its end. */
static bool take_one(fb_rans_in *in, const fb_rans_table *t, uint8_t *symbol)
{
    uint32_t *state = &in->x[in->done++ % in->n_states];
    *symbol = take(t, state);
    if (*state >= LEAST)
        return true;
    if (in->at == in->end)
        return false;
    *state = *state << 16 | load16(in->at);
    in->at += 2;
    return true;
}

bool fb_rans_begin(fb_rans_in *in, const fb_rans_table *tables, const uint8_t *coded, size_t bytes,
                   size_t n)
{
    *in = (fb_rans_in){tables, coded, coded + bytes, {0}, fb_rans_states(n), 0};
    if (bytes < 4 * (size_t)in->n_states || bytes % 2 != 0)
        return false;
    for (unsigned k = 0; k < in->n_states; k++, in->at += 4) {
        in->x[k] = load32(in->at);
        if (in->x[k] < LEAST)
            return false;
    }
    return true;
}

bool fb_rans_take(fb_rans_in *in, const uint8_t *context, uint8_t *symbols, size_t n)
{
    const fb_rans_table *t = in->tables;
    fb_rans_in s = *in; /* a copy that the compiler keeps in registers */
    size_t i = 0;
    bool good = true;
    for (; good && i < n && (s.n_states == 1 || s.done % FB_RANS_STATES != 0); i++)
        good = take_one(&s, &t[context ? context[i] : 0], &symbols[i]);
    if (context) {
        for (; good && n - i >= 4 && s.end - s.at >= 8; i += 4, s.done += 4) {
            const uint8_t *k = context + i;
            take_four(&s, (const fb_rans_table *[]){&t[k[0]], &t[k[1]], &t[k[2]], &t[k[3]]},
                      symbols + i);
        }
    } else {
        for (; good && n - i >= 4 && s.end - s.at >= 8; i += 4, s.done += 4)
            take_four(&s, (const fb_rans_table *[]){t, t, t, t}, symbols + i);
    }
    for (; good && i < n; i++)
        good = take_one(&s, &t[context ? context[i] : 0], &symbols[i]);
    *in = s;
    return good;
}

bool fb_rans_end(const fb_rans_in *in)
{
    bool ends = in->at == in->end;
    for (unsigned k = 0; k < in->n_states; k++)
        ends &= in->x[k] == LEAST;
    return ends;
}

bool fb_rans_decode(const fb_rans_table *t, const uint8_t *coded, size_t bytes, uint8_t *symbols,
                    size_t n)
{
    fb_rans_in in;
    return fb_rans_begin(&in, t, coded, bytes, n) && fb_rans_take(&in, NULL, symbols, n) &&
           fb_rans_end(&in);
}
