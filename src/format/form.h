/* How a payload is turned into symbols for rans.h and back. A form has up to three runs of symbols,
 * which are coded one after another, each with tables by context:
 *
 *   plain      the codes, one table                                     (storage 1 in the file)
 *   predicted  what a prediction leaves of the codes, up to 8 tables    (predict.h; storage 2)
 *   product    found numbers, new numbers, tops of codewords            (recent.h; storage 2)
 */
#ifndef FB_FORMAT_FORM_H
#define FB_FORMAT_FORM_H

#include "format/predict.h"
#include "format/recent.h"

/* The number in GRPH of a payload that is in CODE. */
enum { FB_CODED_PLAIN = 1, FB_CODED_FORM = 2 };

enum { FB_FORM_RUNS = 3, FB_FORM_TABLES = FB_RANS_CONTEXTS };

typedef struct fb_form {
    uint8_t storage;
    fb_planes planes;   /* predicted: */
    fb_predict predict; /*   contexts above 0; its list is the form's */
    unsigned depth;     /* product: 0 (nothing is found), 1 or 3 */
} fb_form;

/* Symbols of one run. */
typedef struct fb_run_shape {
    size_t n;
    unsigned bits, contexts;
} fb_run_shape;
typedef struct fb_symbols {
    fb_run_shape shape;
    uint8_t *symbol, *context; /* one block at `symbol`; context NULL with one context */
} fb_symbols;

/* Whether a constant can be in CODE at all, or in the second form. */
bool fb_form_possible(const fb_tensor *t);
bool fb_form_has_second(const fb_tensor *t);
/* Number of codes or indices. */
size_t fb_form_symbols(const fb_tensor *t);
/* Bytes that CODE takes over from elsewhere: the payload, and tops of codewords. */
uint64_t fb_form_saves(const fb_tensor *t);

/* The form with the least symbols' bits. Ends with fb_form_free, on failure also. */
fb_status fb_form_choose(const fb_tensor *t, fb_form *f);
void fb_form_free(fb_form *f);

/* The description without tables' numbers; reading sets all of *f but storage, which is known. */
void fb_form_put(fb_out *out, const fb_form *f, const fb_tensor *t);
fb_status fb_form_get(fb_in *in, const fb_tensor *t, fb_form *f);

/* Runs of a form; the returned number. Of a product's new numbers, n is the most that there can be.
 */
unsigned fb_form_shapes(const fb_form *f, const fb_tensor *t, fb_run_shape shape[FB_FORM_RUNS]);

/* The symbols of each run; frees nothing on failure but what it made. */
fb_status fb_form_hide(const fb_form *f, const fb_tensor *t, fb_symbols run[FB_FORM_RUNS]);
void fb_symbols_free(fb_symbols run[FB_FORM_RUNS]);

/* Back: `data` [t->data_bytes] is zero, and a product's words hold what fb_word_rest gives. Code of
 * each run, its tables made for its contexts. *good is false where the code is not what encoding
 * gives. */
typedef struct fb_coded_run {
    const uint8_t *code;
    size_t bytes;
    const fb_rans_table *tables;
} fb_coded_run;
fb_status fb_form_show(const fb_form *f, const fb_tensor *t, const fb_coded_run run[FB_FORM_RUNS],
                       uint8_t *data, bool *good);

#endif
