/* The activations that a step encodes: which, what calibration saw of them, which share a code, and
 * how codes are written into a model. Shared by int<b> (weights as well) and act<b>. */
#ifndef FB_COMPRESS_ACTIVATIONS_H
#define FB_COMPRESS_ACTIVATIONS_H

#include "calibrate/cells.h"
#include "calibrate/range.h"
#include "compress/accumulator.h"
#include "compress/method.h"
#include "compress/region.h"

/* Codes of a group: unsigned affine, or indices of levels. */
typedef struct fb_act_code {
    unsigned bits; /* 1..16; 1..8 with levels */
    float scale;
    int32_t zero;
    uint16_t n_levels; /* 0: affine */
    uint8_t level_bits;
    float level[256]; /* [n_levels], as in fb_encoding */
} fb_act_code;

typedef enum fb_act_place {
    FB_ACT_INNER,
    FB_ACT_FIRST, /* the network's input */
    FB_ACT_LAST   /* read by a layer whose output is not encoded */
} fb_act_place;

/* Tensors with one code in common. */
typedef struct fb_act_group {
    fb_act_place place;
    int32_t fixed;  /* an earlier step encoded this tensor: the others take its code; else -1 */
    bool positive;  /* no value below 0 was seen */
    uint64_t elems; /* of its tensors, for one image */
} fb_act_group;

typedef struct fb_activations {
    fb_job *job;
    fb_region region;
    uint32_t n, n_groups;
    int32_t *tensors; /* [n] still plain, by ascending number */
    uint32_t *group;  /* [n] */
    fb_stats *stats;  /* [n] */
    fb_cells *cells;  /* [n], or NULL: not asked for */
    fb_act_group *groups;
    int32_t *of_tensor; /* [n_tensors] place in tensors, or -1 */
} fb_activations;

/* Finds the tensors and their groups, and gathers statistics of them over the calibration data
 * (made-up ones in a dry run). `layers`: which layers want codes (region.h). FB_E_UNSUPPORTED where
 * there is no layer. */
fb_status fb_activations_open(fb_job *job, const char *include, const char *exclude,
                              fb_region_layers layers, bool with_cells, fb_activations *a);
void fb_activations_close(fb_activations *a);

/* Bits of each group: `bits`, and at least `first` and `last` at the edges of the network. */
unsigned fb_act_bits(const fb_act_group *g, unsigned bits, unsigned first, unsigned last);

/* The code of one scale whose range a rule chooses; of several tensors, the union. */
void fb_act_affine(const fb_activations *a, uint32_t group, fb_range_rule rule, double percentile,
                   unsigned bits, fb_act_code *code);

/* How a layer sees an input tensor with codes [n_groups]. */
fb_input_codes fb_act_input(const fb_activations *a, const fb_act_code *codes, int32_t tensor);

/* Writes codes [n_groups] into `m`, which is job->model or a clone of it: all groups, or with
 * `only` >= 0 that one alone. Model inputs and outputs stay float and get a twin behind a convert
 * node. */
fb_status fb_activations_write(const fb_activations *a, fb_model *m, fb_act_code *codes,
                               int32_t only);

#endif
