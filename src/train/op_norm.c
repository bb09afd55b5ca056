/* scale_shift as batch normalisation (Ioffe and Szegedy 2015), over all axes but the last:
 *
 *   training     y = gamma (x - mean) / sqrt(variance + epsilon) + beta of the batch's own mean and
 *                biased variance, which enter the running ones (the variance times n / (n - 1))
 *   evaluation   the same with the running ones
 *   measuring    y = gamma x + beta: gamma and beta are still the file's scale and shift; sums of x
 *                and x^2 are taken
 *
 * The batch is that of all processes which train together: one alone leaves training to oneDNN,
 * several to shared_norm.c.
 *
 * Where a ReLU follows, it is done here, too. */
#include "train/layer.h"
#include "train/shared_norm.h"

#include <math.h>

typedef struct norm {
    fb_dnn_layer *dnn;      /* made at the first training pass: only then is `relu` known */
    float *mean, *variance; /* [c] of the batch */
    float *scale, *shift;   /* [c] room of the shared norm, */
    double *sums;           /* [2][c] */
    double *sum, *sum2;     /* [c] of measuring */
    uint64_t seen;          /* values a channel in the sums */
} norm;

static size_t channels_of(const fb_value *x)
{
    return (size_t)x->shape.dims[x->shape.rank - 1];
}

static fb_status create(fb_net *net, fb_layer *l)
{
    size_t c = channels_of(fb_layer_in(net, l, 0));
    norm *self = fb_arena_array(net->arena, 1, sizeof *self);
    FB_TRY(fb_layer_take(net, l, 1, FB_NORM_GAMMA, false));
    FB_TRY(fb_layer_take(net, l, 2, FB_NORM_BETA, false));
    FB_TRY(fb_layer_own(net, l, "mean", c, FB_NORM_MEAN, false));
    FB_TRY(fb_layer_own(net, l, "variance", c, FB_NORM_VARIANCE, false));
    if (self) {
        self->mean = fb_arena_array(net->arena, c, sizeof *self->mean);
        self->variance = fb_arena_array(net->arena, c, sizeof *self->variance);
        self->sum = fb_arena_array(net->arena, c, sizeof *self->sum);
        self->sum2 = fb_arena_array(net->arena, c, sizeof *self->sum2);
        self->scale = fb_arena_array(net->arena, c, sizeof *self->scale);
        self->shift = fb_arena_array(net->arena, c, sizeof *self->shift);
        self->sums = fb_arena_array(net->arena, 2 * c, sizeof *self->sums);
    }
    if (!self || !self->mean || !self->variance || !self->sum || !self->sum2 || !self->scale ||
        !self->shift || !self->sums)
        return fb_fail(FB_E_MEMORY, "no memory for a batch norm");
    float *variance = fb_layer_param(net, l, FB_NORM_VARIANCE)->w;
    for (size_t i = 0; i < c; i++)
        variance[i] = 1;
    l->self = self;
    return FB_OK;
}

static void apply(const fb_layer *l, size_t rows, size_t c, const float *x, const float *scale,
                  const float *shift, float *y)
{
    for (size_t r = 0; r < rows; r++, x += c, y += c) {
        for (size_t i = 0; i < c; i++) {
            float v = x[i] * scale[i] + shift[i];
            y[i] = l->relu && v < 0 ? 0 : v;
        }
    }
}

static void measure(norm *self, size_t rows, size_t c, const float *x)
{
    for (size_t r = 0; r < rows; r++, x += c) {
        for (size_t i = 0; i < c; i++) {
            self->sum[i] += (double)x[i];
            self->sum2[i] += (double)x[i] * (double)x[i];
        }
    }
    self->seen += rows;
}

/* Scale and shift of evaluation, in the room of the batch's mean and variance. */
static void fold(fb_net *net, const fb_layer *l, size_t c, float *scale, float *shift)
{
    const float *gamma = fb_layer_param(net, l, FB_NORM_GAMMA)->w;
    const float *beta = fb_layer_param(net, l, FB_NORM_BETA)->w;
    const float *mean = fb_layer_param(net, l, FB_NORM_MEAN)->w;
    const float *variance = fb_layer_param(net, l, FB_NORM_VARIANCE)->w;
    for (size_t i = 0; i < c; i++) {
        scale[i] = gamma[i] / sqrtf(variance[i] + FB_NET_NORM_EPSILON);
        shift[i] = beta[i] - mean[i] * scale[i];
    }
}

static void run_statistics(fb_net *net, const fb_layer *l, size_t rows, size_t c)
{
    const norm *self = l->self;
    float *mean = fb_layer_param(net, l, FB_NORM_MEAN)->w;
    float *variance = fb_layer_param(net, l, FB_NORM_VARIANCE)->w;
    float m = FB_NET_NORM_MOMENTUM, bessel = rows > 1 ? (float)rows / (float)(rows - 1) : 1;
    for (size_t i = 0; i < c; i++) {
        mean[i] += m * (self->mean[i] - mean[i]);
        variance[i] += m * (self->variance[i] * bessel - variance[i]);
    }
}

static fb_shared_norm shared(const fb_net *net, const fb_layer *l, size_t rows, size_t c)
{
    const norm *self = l->self;
    return (fb_shared_norm){.rows = rows,
                            .c = c,
                            .gamma = fb_layer_param(net, l, FB_NORM_GAMMA)->w,
                            .beta = fb_layer_param(net, l, FB_NORM_BETA)->w,
                            .guess = fb_layer_param(net, l, FB_NORM_MEAN)->w,
                            .relu = l->relu,
                            .mean = self->mean,
                            .variance = self->variance,
                            .scale = self->scale,
                            .shift = self->shift,
                            .sums = self->sums,
                            .ranks = net->ranks};
}

static fb_status forward_batch(fb_net *net, fb_layer *l, size_t rows, size_t c)
{
    norm *self = l->self;
    const fb_value *x = fb_layer_in(net, l, 0);
    int64_t n = x->shape.dims[0];
    if (rows * fb_net_ranks(net) < 2)
        return fb_layer_no(l, "one value a channel has no variance; give a larger batch");
    if (net->ranks) {
        const fb_shared_norm s = shared(net, l, rows, c);
        return fb_shared_norm_forward(&s, x->x, fb_layer_out(net, l)->x);
    }
    if (!self->dnn)
        FB_TRY(fb_dnn_norm(net->dnn, n, (int64_t)rows / n, (int64_t)c, FB_NET_NORM_EPSILON, l->relu,
                           &self->dnn));
    return fb_dnn_norm_forward(self->dnn, x->x, fb_layer_param(net, l, FB_NORM_GAMMA)->w,
                               fb_layer_param(net, l, FB_NORM_BETA)->w, self->mean, self->variance,
                               fb_layer_out(net, l)->x);
}

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    norm *self = l->self;
    const fb_value *x = fb_layer_in(net, l, 0);
    float *y = fb_layer_out(net, l)->x;
    size_t c = channels_of(x), rows = x->n / c;
    if (mode == FB_NET_MEASURE) {
        measure(self, rows, c, x->x);
        apply(l, rows, c, x->x, fb_layer_param(net, l, FB_NORM_GAMMA)->w,
              fb_layer_param(net, l, FB_NORM_BETA)->w, y);
    } else if (mode == FB_NET_EVAL) {
        fold(net, l, c, self->mean, self->variance);
        apply(l, rows, c, x->x, self->mean, self->variance, y);
    } else {
        FB_TRY(forward_batch(net, l, rows, c));
        if (mode == FB_NET_TRAIN)
            run_statistics(net, l, rows * fb_net_ranks(net), c);
    }
    return FB_OK;
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const norm *self = l->self;
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    const fb_param *gamma = fb_layer_param(net, l, FB_NORM_GAMMA);
    const fb_param *beta = fb_layer_param(net, l, FB_NORM_BETA);
    if (net->ranks) {
        const fb_shared_norm s = shared(net, l, x->n / channels_of(x), channels_of(x));
        return fb_shared_norm_backward(&s, x->x, y->g, dx[0], gamma->g, beta->g);
    }
    /* oneDNN wants somewhere to put it even where nobody asks. */
    float *to = dx[0] ? dx[0] : net->spare;
    return fb_dnn_norm_backward(self->dnn, x->x, gamma->w, beta->w, self->mean, self->variance,
                                y->g, to, gamma->g, beta->g);
}

fb_status fb_norm_adopt(fb_net *net, fb_layer *l)
{
    norm *self = l->self;
    fb_param *gamma = fb_layer_param(net, l, FB_NORM_GAMMA);
    fb_param *beta = fb_layer_param(net, l, FB_NORM_BETA);
    float *mean = fb_layer_param(net, l, FB_NORM_MEAN)->w;
    float *variance = fb_layer_param(net, l, FB_NORM_VARIANCE)->w;
    if (self->seen == 0)
        return fb_layer_no(l, "nothing was measured");
    if (net->ranks) {
        FB_TRY(fb_ranks_sum(net->ranks, self->sum, gamma->n));
        FB_TRY(fb_ranks_sum(net->ranks, self->sum2, gamma->n));
        self->seen *= net->ranks->n;
    }
    for (size_t i = 0; i < gamma->n; i++) {
        double m = self->sum[i] / (double)self->seen;
        double v = self->sum2[i] / (double)self->seen - m * m;
        mean[i] = (float)m;
        variance[i] = v > 0 ? (float)v : 0;
        beta->w[i] += mean[i] * gamma->w[i];
        gamma->w[i] *= sqrtf(variance[i] + FB_NET_NORM_EPSILON);
    }
    return FB_OK;
}

static void destroy(fb_layer *l)
{
    norm *self = l->self;
    if (self)
        fb_dnn_layer_destroy(self->dnn);
}

const fb_layer_def fb_train_norm = {FB_KEEP_X, create, forward, backward, destroy};
