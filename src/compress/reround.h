/* An encoded weight as something to round anew: which values each element may take, whatever the
 * encoding (affine per tensor, channel or group; levels). Scales and levels stay as the encoder
 * chose them unless a solver moves the scales of a channel. Elements that stand aside as patches
 * keep their value. */
#ifndef FB_COMPRESS_REROUND_H
#define FB_COMPRESS_REROUND_H

#include "model/model.h"

/* The values of one element, ascending with the code: scale * (level[q] - zero), or, without
 * levels, scale * (q - zero). */
typedef struct fb_steps {
    float scale;
    int32_t zero, lo, hi; /* codes from lo to hi */
    const float *level;   /* NULL, or [hi + 1] */
} fb_steps;

typedef struct fb_reround {
    fb_tensor tensor;    /* as it was opened; its payload is the model's */
    size_t n, ct, inner; /* n = ct * inner */
    float *scale;        /* [n_scales] own copy */
    int32_t *code;       /* [n] as it is now */
    bool *fixed;         /* [n] must keep its code; NULL: none must */
    int32_t lo, hi;      /* codes of affine encodings */
} fb_reround;

/* For an affine or levels constant of rank 2 or more whose first dim is output channels.
 * FB_E_UNSUPPORTED for others. keep_zeros: elements that are 0 stay so (an
 * earlier step pruned). After a failure *r is empty. */
fb_status fb_reround_open(const fb_tensor *t, bool keep_zeros, fb_reround *r);
void fb_reround_close(fb_reround *r);

/* Writes scale and code back. */
fb_status fb_reround_store(const fb_reround *r, fb_model *m, int32_t tensor);

/* The scales of channel `row` are scale[first .. first + count); count 0 where channels share one.
 */
void fb_reround_scales(const fb_reround *r, size_t row, size_t *first, size_t *count);

/* Of element i. */
fb_steps fb_reround_steps(const fb_reround *r, size_t i);
/* The code whose value lies nearest; of two equally near, the even one (affine), the lower. */
int32_t fb_steps_nearest(const fb_steps *s, double value);

/* What the tensor's decoder gives. */
static inline float fb_steps_value(const fb_steps *s, int32_t q)
{
    return s->level ? s->scale * (s->level[q] - (float)s->zero) : s->scale * (float)(q - s->zero);
}

static inline bool fb_reround_is_fixed(const fb_reround *r, size_t i)
{
    return r->fixed && r->fixed[i];
}

/* The value of a fixed element: of its patch, or of its code. */
float fb_reround_value(const fb_reround *r, size_t i);

/* Values of codes [n] as floats [n]; fixed elements have the value that they have. */
void fb_reround_decode(const fb_reround *r, const int32_t *code, float *value);

#endif
