/* A product-encoded weight taken apart, for methods that choose its indices and codewords. */
#ifndef FB_COMPRESS_PRODUCT_CODES_H
#define FB_COMPRESS_PRODUCT_CODES_H

#include "base/threads.h"
#include "model/product.h"

typedef struct fb_product_codes {
    fb_tensor form; /* dims and encoding, without lists and payload */
    fb_product p;
    uint8_t *index; /* [rows][m_count][stages] */
    float *word;    /* [stages][books][words][sub], as values: word scales are multiplied in */
    float *scale;   /* [ct]; all 1 where the encoding has one scale for all */
} fb_product_codes;

/* All 0, scales 1: room for a weight with the dims of `t`. Of *form kind and lists are not looked
 * at, bits follow from n_words. FB_E_FORMAT when it does not go with the dims. After a failure *c
 * is empty. */
fb_status fb_product_codes_make(const fb_tensor *t, const fb_encoding *form, fb_product_codes *c);
/* Of a product constant. */
fb_status fb_product_codes_open(const fb_tensor *t, fb_product_codes *c);
void fb_product_codes_free(fb_product_codes *c);

/* The values of output channel ct, [kernel][c], without its scale. */
void fb_product_codes_channel(const fb_product_codes *c, size_t ct, float *out);
/* All values, [ct][kernel][c]. */
void fb_product_codes_decode(const fb_product_codes *c, float *out);

/* Rounds the codewords to what a file would hold of them. */
fb_status fb_product_codes_round(fb_product_codes *c);

/* Writes it into the model, with codewords rounded to word_bits of the form (8 bits: the largest of
 * a stage is +-127) and without tables. */
fb_status fb_product_codes_store(const fb_product_codes *c, fb_model *m, int32_t tensor);

#endif
