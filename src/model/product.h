/* The geometry of a product-encoded constant [ct][kernel...][c] (METHODS A.2, V.1).
 *
 * The weight is read as rows of `len` elements, each cut into m_count vectors of `sub` elements,
 * the last one padded with zeros:
 *
 *   along the channels  a row for each (ct, kernel position), its elements are the c channels
 *   along the kernel    a row for each (ct, channel), its elements are the kernel's positions
 *
 * The payload has the indices packed, least significant bit first: [row][m][stage]. The value of
 * element j of a vector is scale[ct] * (word_scale[0] * word + word_scale[1] * word + ...), summed
 * in f32 in the order of the stages; stage s takes word[s][book][index][j].
 *
 * Bytes at rest (METHODS A.2): indices rows * m_count * stages * bits / 8, rounded up; codewords
 * word_bits / 8 * fb_product_stored_words: the padding beyond a row's end is not stored. */
#ifndef FB_MODEL_PRODUCT_H
#define FB_MODEL_PRODUCT_H

#include "model/model.h"

enum { FB_PRODUCT_SUB = 64, FB_PRODUCT_WORDS = 256, FB_PRODUCT_STAGES = 4 };

typedef struct fb_product {
    size_t ct, kernel, c; /* output channels, kernel positions, channels */
    size_t rows, len;     /* rows = ct * rows_each */
    size_t rows_each;     /* rows of one output channel: kernel or c */
    size_t m_count, sub, words, stages;
    size_t books;     /* codebooks of a stage: groups * m_count, or 1 */
    size_t ct_group;  /* output channels that share codebooks */
    size_t n_indices; /* rows * m_count * stages */
    bool along_kernel, per_layer;
} fb_product;

/* The least number of bits that indices below n_words need; at least 1. */
unsigned fb_product_bits(unsigned n_words);

/* Geometry by the encoding's parameters and the dims; both must be within their limits, that is,
 * pass validation except for the lists. */
fb_product fb_product_of(const fb_tensor *t);

/* Elements of the last vector of a row: 1..sub. */
static inline size_t fb_product_last(const fb_product *p)
{
    return p->len - (p->m_count - 1) * p->sub;
}

/* Which codebook (below p->books) the vectors m of output channel ct have. */
static inline size_t fb_product_book(const fb_product *p, size_t ct, size_t m)
{
    return p->per_layer ? 0 : ct / p->ct_group * p->m_count + m;
}

/* Codeword [sub] of a stage, unscaled. */
static inline float *fb_product_word(const fb_encoding *e, const fb_product *p, size_t stage,
                                     size_t book, size_t k)
{
    return e->word + ((stage * p->books + book) * p->words + k) * p->sub;
}

/* Elements of codebook `book` that a file has of each codeword: padding is left out. */
static inline size_t fb_product_stored_sub(const fb_product *p, size_t book)
{
    return !p->per_layer && book % p->m_count == p->m_count - 1 ? fb_product_last(p) : p->sub;
}
uint64_t fb_product_stored_words(const fb_product *p);

/* Offset, within one output channel's elements, of element j of its row `row` (< rows_each). */
static inline size_t fb_product_offset(const fb_product *p, size_t row, size_t j)
{
    return p->along_kernel ? j * p->c + row : row * p->c + j;
}

/* Bytes at rest of indices, codewords and scales; before the file's coding. */
uint64_t fb_product_bytes(const fb_tensor *t);

#endif
