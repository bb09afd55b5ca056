/* Tables of frequencies for rans.h, small enough for small payloads. Two forms:
 *
 *   curve  the logarithm of the frequency as a chain of ten straight lines over the distance from
 * the middle: 10 bytes, and weights that are rounded to 6 bits or more really look so list   every
 * frequency by itself, as the difference to the one before
 *
 * All arithmetic is in integers, so writer and reader agree on any machine. docs/FORMAT.md, "CODE",
 * is the definition.
 */
#ifndef FB_FORMAT_FREQS_H
#define FB_FORMAT_FREQS_H

#include "format/rans.h"

enum { FB_FREQS_KNOTS = 10, FB_FREQS_CURVE_BITS = 6 /* fewest for which there are curves */ };

typedef enum fb_freqs_form { FB_FREQS_LIST = 0, FB_FREQS_CURVE = 1 } fb_freqs_form;

typedef struct fb_freqs {
    uint8_t bits; /* 1..8: symbols are 0 .. 2^bits - 1, codes in order of their values */
    fb_freqs_form form;
    uint8_t knot[FB_FREQS_KNOTS]; /* of a curve: eighths of log2, 0..127 */
    uint16_t freq[256];           /* add up to FB_RANS_ONE, none above FB_RANS_MOST */
} fb_freqs;

/* The frequencies of a curve whose bits and knots are set. */
void fb_freqs_from_curve(fb_freqs *f);

/* Chooses form and frequencies for symbols that were counted. With `near` (may be NULL) a curve is
 * sought from there: quicker. */
void fb_freqs_choose(fb_freqs *f, unsigned bits, const uint64_t count[256], const fb_freqs *near);

/* Bits times 65536 of the counted symbols and of the table itself; UINT64_MAX where a symbol was
 * counted that the table does not have. */
uint64_t fb_freqs_cost(const fb_freqs *f, const uint64_t count[256]);
uint64_t fb_freqs_own_cost(const fb_freqs *f);
/* Their entropy, likewise. */
uint64_t fb_freqs_ideal(const uint64_t count[256]);

void fb_freqs_put(fb_out *out, const fb_freqs *f);
fb_status fb_freqs_get(fb_in *in, fb_freqs *f);

#endif
