/* How an activation lies in memory while running (the law is in encoding.h), and what the
 * activations of a network weigh. */
#ifndef FB_MODEL_LAYOUT_H
#define FB_MODEL_LAYOUT_H

#include "model/encoding.h"

/* Elements of one tensor, row-major, in rows of the last two dims ([w][c]; fewer where the rank is
 * less). `packed`: codes of `bits` bits, each row from a whole byte on; else an array of `dtype`.
 */
typedef struct fb_layout {
    fb_dtype dtype; /* of an array; of a code once unpacked: u8, s8, u16 or s16 */
    uint8_t bits;   /* of one stored element */
    bool packed, is_signed;
    size_t elems, rows, row_elems, row_bytes, bytes;
} fb_layout;

/* The array type that holds codes: u8, s8, u16 or s16. */
fb_dtype fb_code_dtype(unsigned bits, bool is_signed);

/* The layout of concrete dims; false when a size overflows. `enc` with a plain kind stands for an
 * array of `dtype`. */
bool fb_layout_of(const fb_encoding *enc, fb_dtype dtype, int32_t rank, const int64_t *dims,
                  fb_layout *layout);

/* Bytes of activation `t` while running, for a batch; false on overflow. */
bool fb_activation_bytes(const struct fb_tensor *t, int64_t batch, size_t *bytes);

/* True when equal codes of the two stand for equal values. For activations: neither patches nor
 * what is left of a sparse constant is compared. */
bool fb_encoding_equal(const fb_encoding *a, const fb_encoding *b);

#endif
