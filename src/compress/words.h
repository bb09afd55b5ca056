/* A weight made of codewords, unpacked for solvers: which columns of a channel each vector covers,
 * which codebook it draws from, its indices, and the codewords as real numbers. Channel r of the
 * weight is
 *
 *     w_r[column[b][j]] = scale[r] * sum over stages s of word[s][book of b][code[r][b][s]][j]
 *
 * for the vectors b of a channel, whatever their direction (model/product.h). */
#ifndef FB_COMPRESS_WORDS_H
#define FB_COMPRESS_WORDS_H

#include "model/model.h"

#include <stdbool.h>
#include <stddef.h>

#define FB_WORDS_NONE UINT32_MAX /* a column beyond the end of a row: stays 0 */

typedef struct fb_words {
    size_t ct, inner;            /* the weight is [ct][inner] */
    size_t n_blocks, d;          /* vectors of a channel, their elements, 1..64 */
    size_t n_words, n_stages;    /* K 2..256, R 1..4 */
    size_t n_books;              /* of a stage */
    size_t book_rows, book_step; /* each run of book_rows channels takes books book_step further */
    uint32_t *column;            /* [n_blocks][d] */
    uint32_t *book;              /* [n_blocks] for the first run of channels */
    uint8_t *code;               /* [ct][n_blocks][n_stages] */
    double *word;                /* [n_stages][n_books][n_words][d] */
    double *scale;               /* [ct] > 0 */
    bool own_scales;             /* each channel's scale may move; else they stay */
} fb_words;

/* Memory for the sizes in *w, which the caller has set, all zero but the scales, which are 1. After
 * a failure *w is empty. */
fb_status fb_words_alloc(fb_words *w);
void fb_words_free(fb_words *w);

static inline size_t fb_words_book(const fb_words *w, size_t row, size_t block)
{
    return w->book[block] + row / w->book_rows * w->book_step;
}

/* Codeword [d] of a stage. */
static inline double *fb_words_word(const fb_words *w, size_t stage, size_t book, size_t k)
{
    return w->word + ((stage * w->n_books + book) * w->n_words + k) * w->d;
}

static inline uint8_t *fb_words_code(const fb_words *w, size_t row, size_t block)
{
    return w->code + (row * w->n_blocks + block) * w->n_stages;
}

/* Channel `row` [inner]. */
void fb_words_decode_row(const fb_words *w, size_t row, double *out);
/* All channels as floats [ct][inner]. */
void fb_words_decode(const fb_words *w, float *out);

/* The same codes and scales with other codewords [n_stages][n_books][n_words][d], channel `row`. */
void fb_words_spread(const fb_words *w, const double *word, size_t row, double *out);

/* --- tensors (words_tensor.c) ---------------------------------------------------------------- */

/* A constant in the product encoding; FB_E_UNSUPPORTED for others, and for one that has look-up
 * tables. After a failure *w is empty. */
fb_status fb_words_open(const fb_tensor *t, fb_words *w);
/* Codewords as an encoding with words of so many bits (8, 16 or 32) can hold them. */
void fb_words_round(fb_words *w, unsigned bits);
/* Writes indices, words, which are rounded, and scales back. */
fb_status fb_words_store(const fb_words *w, fb_model *m, int32_t tensor);

#endif
