/* oneDNN behind plain arrays: all that this room knows of it. A layer holds the primitives of one
 * operator at one shape, forward and backward; it is made once and run every step.
 *
 * Images are [n][h][w][c], weights of convolutions [oc][kh][kw][ic/groups], of dense layers [n][k],
 * all f32; pointers are 64-byte aligned, as fb_alloc gives them. Weights are reordered to the form
 * that oneDNN wants at each call: they change every step. The same threads and shapes give the same
 * bytes.
 *
 * One object serves one caller at a time. */
#ifndef FB_TRAIN_DNNL_H
#define FB_TRAIN_DNNL_H

#include "fewbit/status.h"

typedef struct fb_dnn fb_dnn;
typedef struct fb_dnn_layer fb_dnn_layer;

/* n_threads 0 = all cores. The number holds for everything that oneDNN does in this process from
 * now on. */
fb_status fb_dnn_create(uint32_t n_threads, fb_dnn **out);
void fb_dnn_destroy(fb_dnn *d); /* NULL is fine; its layers must be gone */
uint32_t fb_dnn_threads(const fb_dnn *d);

void fb_dnn_layer_destroy(fb_dnn_layer *l); /* NULL is fine */

/* Geometry of convolutions and pools. Pads at the far ends follow from the output's size. */
typedef struct fb_dnn_window {
    int64_t n, ih, iw, ic, oh, ow, oc;
    int64_t kh, kw, stride_h, stride_w, dil_h, dil_w; /* dil 1 = dense */
    int64_t pad_t, pad_l;
    int64_t groups;
} fb_dnn_window;

/* dx, where present, is overwritten; dx, dw and db may be NULL (not wanted), but what `want_dx` and
 * `bias` said at creation holds. */
fb_status fb_dnn_conv(fb_dnn *d, const fb_dnn_window *w, bool bias, bool want_dx,
                      fb_dnn_layer **out);
fb_status fb_dnn_conv_forward(fb_dnn_layer *l, const float *x, const float *w, const float *b,
                              float *y);
fb_status fb_dnn_conv_backward(fb_dnn_layer *l, const float *x, const float *w, const float *dy,
                               float *dx, float *dw, float *db);

/* x [m][k], w [n][k], b [n], y [m][n]. Runs with the two functions above. */
fb_status fb_dnn_dense(fb_dnn *d, int64_t m, int64_t k, int64_t n, bool bias, bool want_dx,
                       fb_dnn_layer **out);

/* Batch normalisation over n x pixels values of each of c channels; with `relu`, y is clamped at 0
 * from below. `mean` and `variance` [c] (biased) are written by forward and read by backward. */
fb_status fb_dnn_norm(fb_dnn *d, int64_t n, int64_t pixels, int64_t c, float epsilon, bool relu,
                      fb_dnn_layer **out);
fb_status fb_dnn_norm_forward(fb_dnn_layer *l, const float *x, const float *gamma,
                              const float *beta, float *mean, float *variance, float *y);
fb_status fb_dnn_norm_backward(fb_dnn_layer *l, const float *x, const float *gamma,
                               const float *beta, const float *mean, const float *variance,
                               const float *dy, float *dx, float *dgamma, float *dbeta);

/* Pools (ic == oc, groups ignored): the maximum, or the mean over what lies inside the image or,
 * with `count_pads`, over the window. Backward of the maximum needs the forward run of the same
 * step. */
fb_status fb_dnn_pool(fb_dnn *d, const fb_dnn_window *w, bool max, bool count_pads,
                      fb_dnn_layer **out);
fb_status fb_dnn_pool_forward(fb_dnn_layer *l, const float *x, float *y);
fb_status fb_dnn_pool_backward(fb_dnn_layer *l, const float *dy, float *dx);

/* Functions of single numbers that are worth oneDNN's vectors: max(x, 0) and x clamp(x/6 + 1/2). */
typedef enum fb_dnn_point { FB_DNN_RELU, FB_DNN_HARD_SWISH } fb_dnn_point;
fb_status fb_dnn_unary(fb_dnn *d, fb_dnn_point kind, int64_t n, fb_dnn_layer **out);
fb_status fb_dnn_unary_forward(fb_dnn_layer *l, const float *x, float *y);
fb_status fb_dnn_unary_backward(fb_dnn_layer *l, const float *x, const float *dy, float *dx);

/* y[i] = a[i] + b[i]; y may be a or b. */
fb_status fb_dnn_sum(fb_dnn *d, int64_t n, fb_dnn_layer **out);
fb_status fb_dnn_sum_run(fb_dnn_layer *l, const float *a, const float *b, float *y);

#endif
