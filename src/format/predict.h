/* Weights of a convolution, predicted from those at earlier positions of the same kernel: kernels
 * are smooth, and where one weight is large, so are its neighbours. What is coded is the distance
 * from the prediction, and the prediction's size chooses the table. docs/FORMAT.md, "Predicted", is
 * the definition; docs/ENTROPY.md has what it gains.
 *
 * Symbols are those of rans.h (codes in order of their values), [rows][positions][c]. Everything
 * about the symbols of one position is known before they are decoded, so that all loops run over c.
 */
#ifndef FB_FORMAT_PREDICT_H
#define FB_FORMAT_PREDICT_H

#include "format/bytes.h"
#include "format/rans.h"
#include "model/model.h"

enum {
    FB_PREDICT_LAGS = 8,        /* earlier positions that a prediction is made of */
    FB_PREDICT_POSITIONS = 256, /* most of a kernel */
    FB_PREDICT_SIZES = 256      /* classes of a prediction's size */
};

/* A weight as planes of c symbols. */
typedef struct fb_planes {
    size_t rows, positions, c;
    unsigned bits;
    int middle; /* a symbol s stands for the value 2 s - middle */
} fb_planes;

/* False where nothing can be predicted: one position, or more than there may be. */
bool fb_planes_of(const fb_tensor *t, fb_planes *g);

typedef struct fb_predict {
    unsigned contexts;                   /* 1 .. FB_RANS_CONTEXTS */
    uint8_t limit[FB_RANS_CONTEXTS - 1]; /* ascending: sizes from limit[k] on have context k + 1 */
    int8_t *coef; /* [positions][FB_PREDICT_LAGS] in 64ths: of the position before, the one before
                     that, ...; 0 where there is none */
} fb_predict;

/* Coefficients and limits for symbols that are given; p->coef is made by fb_alloc. *bits receives
 * what the symbols and the description take, times 65536, about. */
fb_status fb_predict_fit(const fb_planes *g, const uint8_t *symbols, fb_predict *p, uint64_t *bits);

/* Room for a row while it is coded; one fb_alloc block, NULL when there is no memory. */
typedef struct fb_predict_row {
    int16_t *value;                    /* [positions][c] */
    int32_t *sum;                      /* [c] */
    uint8_t *context, *shift;          /* [c] of the position that fb_predict_look was called for */
    uint8_t of_size[FB_PREDICT_SIZES]; /* context by size */
} fb_predict_row;
fb_predict_row *fb_predict_row_create(const fb_planes *g, const fb_predict *p);

/* Contexts and shifts at a position whose earlier ones have their values. */
void fb_predict_look(const fb_planes *g, const fb_predict *p, size_t position, fb_predict_row *row);
/* Between symbols [c] of that position and what is coded of them; both keep the values. */
void fb_predict_hide(const fb_planes *g, size_t position, fb_predict_row *row,
                     const uint8_t *symbols, uint8_t *coded);
void fb_predict_show(const fb_planes *g, size_t position, fb_predict_row *row, const uint8_t *coded,
                     uint8_t *symbols);

/* The description, without contexts' tables. Reading makes p->coef by fb_alloc. */
void fb_predict_put(fb_out *out, const fb_planes *g, const fb_predict *p);
fb_status fb_predict_get(fb_in *in, const fb_planes *g, fb_predict *p);

#endif
