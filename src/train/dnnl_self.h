/* Inside the adapter to oneDNN 2.x. Every primitive is an fb_dnn_prim: its arguments are memory
 * objects without memory, which get their pointers before each run. */
#ifndef FB_TRAIN_DNNL_SELF_H
#define FB_TRAIN_DNNL_SELF_H

#include "base/alloc.h"
#include "base/status.h"
#include "train/dnnl.h"

#include <oneapi/dnnl/dnnl.h>

struct fb_dnn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    uint32_t n_threads;
};

enum { FB_DNN_ARGS = 10 };

typedef struct fb_dnn_prim {
    dnnl_primitive_t p;
    int n;
    dnnl_exec_arg_t args[FB_DNN_ARGS];
} fb_dnn_prim;

/* A weight as we hold it and as a primitive wants it; `room` is NULL where they are the same. */
typedef struct fb_dnn_weight {
    void *room;
    fb_dnn_prim reorder; /* args: from, to */
} fb_dnn_weight;

struct fb_dnn_layer {
    fb_dnn *d;
    bool bias;
    fb_dnn_prim forward, data, weights;
    fb_dnn_weight w_forward, w_data, w_grad;
    void *workspace;
};

/* Statuses of oneDNN as ours: "oneDNN refuses WHAT". */
fb_status fb_dnn_check(dnnl_status_t s, const char *what);
#define FB_DNN(call, what) FB_TRY(fb_dnn_check(call, what))

fb_status fb_dnn_new_layer(fb_dnn *d, fb_dnn_layer **out);
const dnnl_memory_desc_t *fb_dnn_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what);
fb_status fb_dnn_add_arg(const fb_dnn *d, fb_dnn_prim *p, int arg, const dnnl_memory_desc_t *md);
/* Pointers in the order of the arguments. */
fb_status fb_dnn_run(const fb_dnn *d, const fb_dnn_prim *p, const void *const *pointers);

#define FB_DNN_RUN(d, p, ...) fb_dnn_run(d, p, (const void *const[]){__VA_ARGS__})

/* The primitive of `pd`, with arguments {id, query} up to id 0. */
typedef struct fb_dnn_slot {
    int arg;
    dnnl_query_t query;
} fb_dnn_slot;

fb_status fb_dnn_build(const fb_dnn *d, const_dnnl_primitive_desc_t pd, const fb_dnn_slot *slots,
                       fb_dnn_prim *p);
/* Fills `w` for going from `from` to `to`, whose room it makes; nothing where they are equal. */
fb_status fb_dnn_build_reorder(const fb_dnn *d, const dnnl_memory_desc_t *from,
                               const dnnl_memory_desc_t *to, const dnnl_memory_desc_t *foreign,
                               fb_dnn_weight *w);

/* [n][h][w][c] as oneDNN speaks of it. */
fb_status fb_dnn_image(int64_t n, int64_t h, int64_t w, int64_t c, dnnl_memory_desc_t *md);

#endif
