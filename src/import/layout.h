/* Inside the layout pass. While it sweeps over the nodes in order, a value may be a *view*: it was
 * to be a transpose of another value, `src`, but nobody has needed that transpose yet. An operator
 * that can work in src's order takes src and hands the view on; one that cannot asks for the value
 * itself (fb_lay_logical), which makes the transpose. Inverse pairs vanish on the way. */
#ifndef FB_IMPORT_LAYOUT_H
#define FB_IMPORT_LAYOUT_H

#include "import/import.h"

typedef struct fb_lay_view {
    bool has;
    bool flat;   /* the value is [n][k]; src holds the k numbers in the order of dims[1..], of which
                    perm would make the right order */
    bool made;   /* the value exists after all */
    int32_t src; /* value.dims[i] = src.dims[perm[i]] */
    int32_t perm[FB_MAX_RANK];
    fb_shape before; /* flat: src's shape as [n][...] */
} fb_lay_view;

typedef struct fb_lay {
    fb_imp *im;
    fb_lay_view *views; /* by value */
    size_t cap;
    const char *name;     /* of the node at hand */
    const uint32_t *uses; /* before the pass, for values that were there then */
    size_t n_uses;
} fb_lay;

/* The view of a value, NULL when it is a plain value. */
fb_lay_view *fb_lay_get(fb_lay *l, int32_t v);
fb_status fb_lay_set(fb_lay *l, int32_t v, int32_t src, const int32_t *perm);
/* A value that holds v as it should be: v itself, or src where that is the same. */
fb_status fb_lay_logical(fb_lay *l, int32_t v, int32_t *out);
/* Adds `node` with other inputs and attributes and one output in the order of perm, of which the
 * node's own output becomes a view. */
fb_status fb_lay_emit(fb_lay *l, const fb_node *node, const int32_t *in, const fb_attr *attr,
                      const int32_t *perm);
/* Adds it as it stands, on logical inputs. */
fb_status fb_lay_plain(fb_lay *l, const fb_node *node);
/* transpose(x, perm), as a reshape where only dims of 1 move. */
fb_status fb_lay_transpose(fb_lay *l, int32_t x, const int32_t *perm, int32_t *out);
fb_status fb_lay_reshape(fb_lay *l, int32_t x, int32_t rank, const int64_t *dims, int32_t *out);
bool fb_lay_moves(const fb_shape *src, const int32_t *perm);
void fb_lay_inverse(int32_t rank, const int32_t *perm, int32_t *inverse);

/* layout_ops.c: one operator on whatever views its inputs are. */
fb_status fb_lay_node(fb_lay *l, const fb_node *node);
/* layout_reshape.c */
fb_status fb_lay_on_reshape(fb_lay *l, const fb_node *node);
fb_status fb_lay_on_dense(fb_lay *l, const fb_node *node);

#endif
