/* softmax, or its logarithm, within the network (one at the end is left to the loss). */
#include "train/layer.h"

#include <math.h>

typedef struct span {
    size_t outer, len, inner; /* element = (o * len + k) * inner + i */
} span;

static span span_of(const fb_layer *l, const fb_shape *s)
{
    span p = {1, 1, 1};
    for (int32_t i = 0; i < s->rank; i++) {
        size_t *to = i < l->node->attr.softmax.axis_from ? &p.outer
                     : i < l->node->attr.softmax.axis_to ? &p.len
                                                         : &p.inner;
        *to *= (size_t)s->dims[i];
    }
    return p;
}

static fb_status create(fb_net *net, fb_layer *l)
{
    (void)net;
    (void)l;
    return FB_OK;
}

static void row_forward(const float *x, size_t len, size_t step, bool log_of, float *y)
{
    float top = x[0];
    double sum = 0;
    for (size_t k = 1; k < len; k++)
        top = fmaxf(top, x[k * step]);
    for (size_t k = 0; k < len; k++)
        sum += exp((double)(x[k * step] - top));
    for (size_t k = 0; k < len; k++) {
        double d = (double)(x[k * step] - top);
        y[k * step] = (float)(log_of ? d - log(sum) : exp(d) / sum);
    }
}

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    span p = span_of(l, &x->shape);
    (void)mode;
    for (size_t o = 0; o < p.outer; o++) {
        for (size_t i = 0; i < p.inner; i++) {
            size_t at = o * p.len * p.inner + i;
            row_forward(x->x + at, p.len, p.inner, l->node->attr.softmax.log != 0, y->x + at);
        }
    }
    return FB_OK;
}

/* Plain: y (dy - sum y dy). Logarithm: dy - e^y sum dy. */
static void row_back(const float *y, const float *dy, size_t len, size_t step, bool log_of,
                     float *dx)
{
    double sum = 0;
    for (size_t k = 0; k < len; k++)
        sum += (double)dy[k * step] * (log_of ? 1.0 : (double)y[k * step]);
    for (size_t k = 0; k < len; k++) {
        double v = (double)y[k * step], g = (double)dy[k * step];
        dx[k * step] = (float)(log_of ? g - exp(v) * sum : v * (g - sum));
    }
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const fb_value *y = fb_layer_out(net, l);
    span p = span_of(l, &y->shape);
    for (size_t o = 0; o < p.outer; o++) {
        for (size_t i = 0; i < p.inner; i++) {
            size_t at = o * p.len * p.inner + i;
            row_back(y->x + at, y->g + at, p.len, p.inner, l->node->attr.softmax.log != 0,
                     dx[0] + at);
        }
    }
    return FB_OK;
}

const fb_layer_def fb_train_softmax = {FB_KEEP_Y, create, forward, backward, NULL};
