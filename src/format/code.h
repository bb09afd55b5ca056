/* The entropy coder of the small parts of a file: names, graph, scales, small payloads. Bytes are
 * predicted bit by bit from four contexts, the predictions mixed (logistic mixing, after M.
 * Mahoney's public description of PAQ/lpaq), and the bits written with a binary arithmetic coder.
 * Integers only, so every machine computes the same; docs/FORMAT.md, "Coded bytes", is the
 * definition.
 *
 * 2 to 3 MB/s: only for what is copied at load anyway.
 */
#ifndef FB_FORMAT_CODE_H
#define FB_FORMAT_CODE_H

#include "format/bytes.h"

/* Raw bytes that `coded` bytes may stand for, so that a small file cannot ask for much time. */
static inline uint64_t fb_code_most(uint64_t coded)
{
    const uint64_t cap = (uint64_t)64 << 20;
    return coded < cap / 32 ? 1024 + 32 * coded : cap;
}

typedef struct fb_coder fb_coder;

/* `raw` is the total of bytes to come; both sides must say the same. NULL is out of memory. Ends
 * with fb_free. */
fb_coder *fb_coder_create(uint64_t raw);

/* `period` (1..8): the bytes are elements of so many bytes each, beginning with a whole one. */
void fb_coder_encode(fb_coder *c, fb_out *out, const uint8_t *data, size_t n, unsigned period);
void fb_coder_flush(fb_coder *c, fb_out *out);

void fb_coder_start(fb_coder *c, const uint8_t *coded, size_t n); /* before decoding */
void fb_coder_decode(fb_coder *c, uint8_t *data, size_t n, unsigned period);
/* True when decoding took exactly the bytes that encoding would have written. */
bool fb_coder_done(const fb_coder *c);

#endif
