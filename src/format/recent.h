/* Products as symbols to code: their numbers of codewords, and the highest bytes of these words.
 *
 * Within one output channel, a place of a row (a stage's, too) often has the codeword that it had
 * at an earlier row, that is, position of the kernel: kernels are smooth. So each number but those
 * of a channel's first row is coded as where it stands among the last ones of its place, or as a
 * new one. docs/FORMAT.md, "Products", is the definition; docs/ENTROPY.md has what it gains.
 */
#ifndef FB_FORMAT_RECENT_H
#define FB_FORMAT_RECENT_H

#include "model/product.h"

enum { FB_RECENT_MOST = 3 /* last numbers that count */ };

/* The last numbers of a place, the latest lowest; 0 at the start of a channel. */
typedef uint32_t fb_recent;

/* Which of the last `depth` numbers is `number`: 1 is the latest; 0 if none is. */
static inline unsigned fb_recent_find(fb_recent r, unsigned number, unsigned depth)
{
    for (unsigned k = 0; k < depth; k++) {
        if ((r >> (8 * k) & 255u) == number)
            return k + 1;
    }
    return 0;
}

/* That number (`new_one` if `found` is 0), which becomes the latest. */
static inline unsigned fb_recent_use(fb_recent *r, unsigned found, unsigned new_one)
{
    if (found == 0) {
        *r = *r << 8 | new_one;
        return new_one;
    }
    unsigned shift = 8 * (found - 1), number = *r >> shift & 255u;
    uint32_t later = *r & ((1u << shift) - 1), older = shift < 24 ? *r >> (shift + 8) : 0;
    *r = (older << shift | later) << 8 | number;
    return number;
}

/* Numbers of a row, and those that are coded as above: of all rows but a channel's first. */
static inline size_t fb_recent_lanes(const fb_product *p)
{
    return p->m_count * p->stages;
}
static inline size_t fb_recent_finds(const fb_product *p)
{
    return p->n_indices - p->ct * fb_recent_lanes(p);
}

/* The highest byte of a word of 16 or 32 bits once its sign has moved to its lowest bit: the
 * exponent, in 16 bits with three bits more. The rest is the other bits. */
unsigned fb_word_top(float word, unsigned bits);
uint32_t fb_word_rest(float word, unsigned bits);
float fb_word_join(unsigned top, uint32_t rest, unsigned bits);

#endif
