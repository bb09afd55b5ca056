/* Dropout before dense layers (Srivastava et al. 2014): a training step zeroes each number with
 * probability p and scales the others by 1 / (1 - p). What is zeroed is a function of (seed, step,
 * layer, element), so that backward draws the same again and a resumed run goes on alike. */
#include "numeric/random.h"
#include "train/layer.h"

#include <string.h>

static fb_status create(fb_net *net, fb_layer *l)
{
    (void)net;
    (void)l;
    return FB_OK;
}

/* Elements count through the batch of all processes, of which this one's are a part. */
static void drop(const fb_net *net, const fb_layer *l, size_t n, const float *x, float *y)
{
    uint64_t state = net->seed ^ (net->step + 1) * UINT64_C(0xd1342543de82ef95);
    state ^= fb_random_next(&state) + (uint64_t)l->out;
    fb_random_skip(&state, (uint64_t)fb_net_rank(net) * n);
    float scale = 1 / (1 - net->dropout);
    for (size_t i = 0; i < n; i++)
        y[i] = fb_random_float(&state, 0, 1) < net->dropout ? 0 : x[i] * scale;
}

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    if (mode == FB_NET_TRAIN || mode == FB_NET_TRIAL)
        drop(net, l, x->n, x->x, y->x);
    else
        memcpy(y->x, x->x, x->n * sizeof *x->x);
    return FB_OK;
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const fb_value *y = fb_layer_out(net, l);
    drop(net, l, y->n, y->g, dx[0]);
    return FB_OK;
}

const fb_layer_def fb_train_dropout = {0, create, forward, backward, NULL};
