/* Inside the method `hybrid`: what is tuned, and how much each width alone harms (hybrid_harm.c).
 */
#ifndef FB_COMPRESS_HYBRID_H
#define FB_COMPRESS_HYBRID_H

#include "compress/allocate.h"
#include "compress/fixed.h"
#include "compress/judge.h"

enum { FB_TUNER_WIDTHS = 10 };

/* Weights of a layer; or the data of all layers whose inputs share an encoding, with the tensors
 * that only additions and the like make these of. */
typedef struct fb_tunable {
    bool is_data;
    uint32_t layer; /* of weights */
    int32_t leader; /* of data */
    uint32_t node;  /* nothing before it knows of the width */
    uint64_t elems; /* weights; or values of one image, times data= */
    fb_choice choice[FB_TUNER_WIDTHS];
    uint32_t n; /* choices: the first n widths */
} fb_tunable;

typedef struct fb_tuner {
    fb_job *job;
    const fb_option *option; /* the step's */
    fb_fixed_net net;
    fb_fixed_rule rule;
    fb_judge judge, sense;            /* of networks; of one width alone */
    double floor;                     /* least share of correct answers */
    double ceiling;                   /* largest loss */
    unsigned widths[FB_TUNER_WIDTHS]; /* widest first */
    uint32_t n_widths;
    fb_tunable *items;
    fb_item *list; /* the same for fb_allocate */
    uint32_t n_items;
    double data;           /* cost of a bit of data, where one of the weights costs 1 */
    uint32_t *pick;        /* [n_items] */
    unsigned *acc;         /* [n_layers] */
    fb_fixed_width *width; /* [n_layers] */
    uint64_t done, total;  /* trials, for progress */
} fb_tuner;

/* Fills items, by the layers that read them; data of no cost count as well. */
void fb_tuner_list(fb_tuner *t);
/* The layer whose input an item's data are reads them by this. */
int32_t fb_tuner_leader(const fb_tuner *t, uint32_t layer);

/* Fills the choices of all items: KL to the reference on t->sense, all else being float, over that
 * of the float network. pick is overwritten. */
fb_status fb_tuner_measure(fb_tuner *t);
fb_status fb_tuner_tell(fb_tuner *t); /* of the next trial */

#endif
