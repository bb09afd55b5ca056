/* Codewords as real numbers. */
#include "compress/words.h"

#include "base/alloc.h"
#include "base/size.h"

#include <string.h>

fb_status fb_words_alloc(fb_words *w)
{
    size_t places, codes, words;
    FB_ENSURE(w->ct > 0 && w->n_blocks > 0 && w->d > 0 && w->book_rows > 0);
    bool fits = fb_size_mul(w->n_blocks, w->d, &places) &&
                fb_size_mul(w->ct, w->n_blocks, &codes) &&
                fb_size_mul(codes, w->n_stages, &codes) &&
                fb_size_mul(w->n_stages * w->n_words * w->d, w->n_books, &words);
    if (fits) {
        w->column = fb_calloc(places, sizeof *w->column);
        w->book = fb_calloc(w->n_blocks, sizeof *w->book);
        w->code = fb_calloc(codes, sizeof *w->code);
        w->word = fb_calloc(words, sizeof *w->word);
        w->scale = fb_calloc(w->ct, sizeof *w->scale);
    }
    if (!fits || !w->column || !w->book || !w->code || !w->word || !w->scale) {
        fb_words_free(w);
        return fb_fail(FB_E_MEMORY, "no memory for the codewords of a layer");
    }
    for (size_t r = 0; r < w->ct; r++)
        w->scale[r] = 1;
    return FB_OK;
}

void fb_words_free(fb_words *w)
{
    fb_free(w->column);
    fb_free(w->book);
    fb_free(w->code);
    fb_free(w->word);
    fb_free(w->scale);
    *w = (fb_words){0};
}

void fb_words_spread(const fb_words *w, const double *word, size_t row, double *out)
{
    memset(out, 0, w->inner * sizeof *out);
    for (size_t b = 0; b < w->n_blocks; b++) {
        const uint32_t *column = w->column + b * w->d;
        const uint8_t *code = fb_words_code(w, row, b);
        for (size_t s = 0; s < w->n_stages; s++) {
            size_t book = s * w->n_books + fb_words_book(w, row, b);
            const double *from = word + (book * w->n_words + code[s]) * w->d;
            for (size_t j = 0; j < w->d; j++) {
                if (column[j] != FB_WORDS_NONE)
                    out[column[j]] += w->scale[row] * from[j];
            }
        }
    }
}

void fb_words_decode_row(const fb_words *w, size_t row, double *out)
{
    fb_words_spread(w, w->word, row, out);
}

void fb_words_decode(const fb_words *w, float *out)
{
    for (size_t r = 0; r < w->ct; r++) {
        float *to = out + r * w->inner;
        memset(to, 0, w->inner * sizeof *to);
        for (size_t b = 0; b < w->n_blocks; b++) {
            const uint32_t *column = w->column + b * w->d;
            const uint8_t *code = fb_words_code(w, r, b);
            for (size_t j = 0; j < w->d; j++) {
                double sum = 0;
                for (size_t s = 0; s < w->n_stages; s++)
                    sum += fb_words_word(w, s, fb_words_book(w, r, b), code[s])[j];
                if (column[j] != FB_WORDS_NONE)
                    to[column[j]] = (float)(w->scale[r] * sum);
            }
        }
    }
}
