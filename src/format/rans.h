/* The entropy coder of weights at rest: static rANS (Duda 2013) with frequencies of 12 bits and
 * 32-bit states that are filled by 16 bits at a time. docs/FORMAT.md, "CODE", is the
 * definition.
 *
 * Symbol i belongs to state i mod fb_rans_states(n), so that the multiplications of neighbours do
 * not wait for each other; a small payload has one state, because each costs two bytes.
 */
#ifndef FB_FORMAT_RANS_H
#define FB_FORMAT_RANS_H

#include "format/bytes.h"

enum {
    FB_RANS_LOG2 = 12,
    FB_RANS_ONE = 1 << FB_RANS_LOG2, /* frequencies add up to this, */
    FB_RANS_MOST = 4000,  /* none exceeds this: a symbol costs 0.034 bits at least, so that */
    FB_RANS_EXPAND = 256, /* no coded byte stands for more symbols than this: a small file cannot
                             ask for much memory */
    FB_RANS_STATES = 4,
    FB_RANS_CONTEXTS = 8, /* tables among which the symbols of one code may choose, at most */
    FB_RANS_FEW = 16384   /* below so many symbols there is one state */
};

static inline unsigned fb_rans_states(size_t n)
{
    return n < FB_RANS_FEW ? 1 : FB_RANS_STATES;
}

/* Appends the n symbols to `out`. Symbol i has the frequency freq[256 * context[i] + symbols[i]],
 * which is above 0; those of a context add up to FB_RANS_ONE. Without `context` there is one, else
 * freq has FB_RANS_CONTEXTS. */
void fb_rans_encode(fb_out *out, const uint16_t *freq, const uint8_t *context,
                    const uint8_t *symbols, size_t n);

/* What a decoder looks up: by the low 12 bits of a state, symbol | frequency << 8 | offset << 20.
 */
typedef struct fb_rans_table {
    uint32_t slot[FB_RANS_ONE];
} fb_rans_table;

/* `flip` is XORed onto each symbol: codes of signed weights are stored in two's complement. */
void fb_rans_table_make(fb_rans_table *t, const uint16_t freq[256], unsigned flip);

/* Decoding in pieces, because the contexts of a piece may follow from the symbols before it. */
typedef struct fb_rans_in {
    const fb_rans_table *tables; /* by context */
    const uint8_t *at, *end;
    uint32_t x[FB_RANS_STATES];
    unsigned n_states;
    size_t done; /* symbols so far */
} fb_rans_in;

/* n: symbols in all, as they were encoded. Each returns false when the bytes are not what
 * fb_rans_encode writes; none reads beyond them. `context` may be NULL: all are 0. */
bool fb_rans_begin(fb_rans_in *in, const fb_rans_table *tables, const uint8_t *coded, size_t bytes,
                   size_t n);
bool fb_rans_take(fb_rans_in *in, const uint8_t *context, uint8_t *symbols, size_t n);
bool fb_rans_end(const fb_rans_in *in);

/* All three, for one table. */
bool fb_rans_decode(const fb_rans_table *t, const uint8_t *coded, size_t bytes, uint8_t *symbols,
                    size_t n);

#endif
