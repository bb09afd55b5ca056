/* The entropy coder of weights at rest: static rANS (Duda 2013) with frequencies of 12 bits and
 * 32-bit states that are filled by 16 bits at a time. docs/FORMAT.md, "Coded weights", is the
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
    FB_RANS_FEW = 16384 /* below so many symbols there is one state */
};

static inline unsigned fb_rans_states(size_t n)
{
    return n < FB_RANS_FEW ? 1 : FB_RANS_STATES;
}

/* Appends the n symbols to `out`, each with freq[symbol] > 0. Frequencies add up to FB_RANS_ONE. */
void fb_rans_encode(fb_out *out, const uint16_t freq[256], const uint8_t *symbols, size_t n);

/* What a decoder looks up: by the low 12 bits of a state, symbol | frequency << 8 | offset << 20.
 */
typedef struct fb_rans_table {
    uint32_t slot[FB_RANS_ONE];
} fb_rans_table;

/* `flip` is XORed onto each symbol: codes of signed weights are stored in two's complement. */
void fb_rans_table_make(fb_rans_table *t, const uint16_t freq[256], unsigned flip);

/* False when the bytes are not what fb_rans_encode writes for n symbols; never reads beyond them.
 */
bool fb_rans_decode(const fb_rans_table *t, const uint8_t *coded, size_t bytes, uint8_t *symbols,
                    size_t n);

#endif
