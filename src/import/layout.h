/* What layout.c and layout_rules.c share. */
#ifndef FB_IMPORT_LAYOUT_H
#define FB_IMPORT_LAYOUT_H

#include "import/import.h"

/* A value that was not made: transpose(base, perm), value.dims[i] = base.dims[perm[i]]. Flat ones
 * are reshape(transpose(reshape(base, inner), perm), [batch, rest]). */
typedef struct fb_lazy {
    int32_t base; /* value + 1; 0: not lazy */
    int32_t real; /* the value written after all, + 1, or 0 */
    int32_t perm[FB_MAX_RANK];
    bool flat, same;
    fb_shape inner;
} fb_lazy;

typedef struct fb_layout {
    fb_imp *im;
    fb_lazy *lazy; /* [n]: values that existed before the pass */
    size_t n;
    const char *name; /* for nodes that the pass adds */
} fb_layout;

const fb_lazy *fb_lay_lazy(const fb_layout *l, int32_t v); /* NULL: not lazy */
void fb_lay_set(fb_layout *l, int32_t v, int32_t base, const int32_t *perm, int32_t rank);
fb_status fb_lay_real(fb_layout *l, int32_t v, int32_t *out);
fb_status fb_lay_base(fb_layout *l, int32_t v, const int32_t *perm, int32_t rank, int32_t *out);
void fb_lay_invert(const int32_t *perm, int32_t rank, int32_t *inverse);

/* Rewrites a layer onto the bases of its lazy inputs; *done false when it cannot follow. */
fb_status fb_lay_follow(fb_layout *l, const fb_node *n, bool *done);

#endif
