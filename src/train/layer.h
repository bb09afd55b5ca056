/* Inside a net: its values, its layers, and what an operator has to bring along to be trained.
 *
 * To add an operator's gradient: a file op_<name>.c with an fb_layer_def, a line in ops.inc, a case
 * in tests/unit/test_train_ops.c (finite differences). See docs/TRAINING.md. */
#ifndef FB_TRAIN_LAYER_H
#define FB_TRAIN_LAYER_H

#include "base/alloc.h"
#include "base/status.h"
#include "train/dnnl.h"
#include "train/net.h"

/* An activation of the whole batch and its gradient. */
typedef struct fb_value {
    fb_shape shape;
    size_t n; /* elements */
    float *x, *g;
    int32_t alias; /* value that this one is another view of, or -1 */
    bool wants_g;  /* some parameter lies before it, or it is tapped */
    bool is_const; /* x is a constant of the model */
    bool tapped;
    bool written;                             /* during backward: g holds something already */
    uint32_t readers;                         /* layers that read it */
    int32_t x_first, x_last, g_first, g_last; /* times, see memory.c; first > last: never */
    size_t x_at, g_at;                        /* bytes in the arena */
} fb_value;

typedef struct fb_layer fb_layer;

/* What backward reads of the forward pass. */
enum { FB_KEEP_X = 1, FB_KEEP_Y = 2 };

typedef struct fb_layer_def {
    unsigned keeps;
    /* Checks what the operator cannot do (fb_layer_no), takes its parameters, makes `self`. Shapes
     * are known, pointers of values are not yet. */
    fb_status (*create)(fb_net *net, fb_layer *l);
    fb_status (*forward)(fb_net *net, fb_layer *l, fb_net_mode mode);
    /* Gradient of each input into dx[i] (overwritten; NULL: not wanted) and of the parameters. */
    fb_status (*backward)(fb_net *net, fb_layer *l, float *const *dx);
    void (*destroy)(fb_layer *l); /* may be NULL */
} fb_layer_def;

enum { FB_LAYER_PARAMS = 4 };

struct fb_layer {
    const fb_layer_def *def;
    const fb_node *node; /* of the net's model; NULL for dropout */
    uint32_t n_in;
    int32_t *in; /* values; -1 absent or a parameter */
    int32_t out;
    int32_t param[FB_LAYER_PARAMS]; /* of the net, -1 = none */
    bool relu; /* a batch norm that clamps at 0, in place of the unary layer behind it */
    void *self;
};

struct fb_net {
    fb_model *model; /* spelled out */
    fb_dnn *dnn;
    fb_arena *arena;  /* bookkeeping */
    fb_value *values; /* tensors of the model, then those of dropout layers */
    size_t n_values;
    fb_layer *layers;
    size_t n_layers;
    fb_param *params;
    size_t n_params, max_params;
    const bool *learn; /* of the options, while layers are made */
    int32_t input, logits;
    int32_t *taps; /* [n_taps] values */
    uint32_t n_taps;
    char *memory; /* activations and gradients */
    size_t memory_bytes;
    float *spare;        /* room for a gradient that is added to another */
    fb_dnn_layer **sums; /* [n_values], made where a value has several readers */
    float dropout;
    uint64_t seed, step;
    const fb_ranks *ranks; /* NULL: the batch is the net's own */
};

/* How many nets the batch is shared by, and which share this one has. */
static inline uint32_t fb_net_ranks(const fb_net *net)
{
    return net->ranks ? net->ranks->n : 1;
}
static inline uint32_t fb_net_rank(const fb_net *net)
{
    return net->ranks ? net->ranks->own : 0;
}

/* "cannot train NODE (OP): ..." */
fb_status fb_layer_no(const fb_layer *l, const char *format, ...) FB_PRINTF(2, 3);

static inline fb_value *fb_layer_in(const fb_net *net, const fb_layer *l, uint32_t i)
{
    return &net->values[l->in[i]];
}
static inline fb_value *fb_layer_out(const fb_net *net, const fb_layer *l)
{
    return &net->values[l->out];
}
static inline fb_param *fb_layer_param(const fb_net *net, const fb_layer *l, uint32_t k)
{
    return l->param[k] >= 0 ? &net->params[l->param[k]] : NULL;
}

/* Makes the constant that is the node's input `in` parameter k of the layer. `g` false: a
 * statistic. FB_E_UNSUPPORTED when it is encoded, no constant or another layer's already. */
fb_status fb_layer_take(fb_net *net, fb_layer *l, uint32_t in, uint32_t k, bool decay);
/* n numbers that no tensor holds: a statistic, or learned. */
fb_status fb_layer_own(fb_net *net, fb_layer *l, const char *name, size_t n, uint32_t k,
                       bool learned);

/* Layers by operator. */
#define FB_TRAIN_OP(op, def) extern const fb_layer_def def;
#include "train/ops.inc"
#undef FB_TRAIN_OP
extern const fb_layer_def fb_train_dropout;

/* --- op_norm.c: what the net and its export ask of batch norms ------------------------------- */

enum { FB_NORM_GAMMA, FB_NORM_BETA, FB_NORM_MEAN, FB_NORM_VARIANCE };
fb_status fb_norm_adopt(fb_net *net, fb_layer *l);

/* --- memory.c -------------------------------------------------------------------------------- */

/* Finds the lives of all values and gives them their places. */
fb_status fb_net_place(fb_net *net);

/* --- split.c and fuse.c: rewriting --------------------------------------------------------------
 */

/* A copy of `model` whose conv, dense and add layers have no clamp of their own. */
fb_status fb_net_split(const fb_model *model, fb_model **out);
/* scale_shift into the conv or dense layer before it, clamps into conv, dense and add. In place. */
fb_status fb_net_fuse(fb_model *m);

#endif
