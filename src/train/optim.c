#include "train/optim.h"

#include "base/alloc.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

fb_status fb_optim_parse(const char *text, fb_optim_kind *kind)
{
    static const char *const names[] = {"sgd", "nesterov", "adam"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *kind = (fb_optim_kind)i;
            return FB_OK;
        }
    }
    return fb_fail(FB_E_ARG, "optimizer '%s' is none of sgd, nesterov, adam", text);
}

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the optimizer");
}

static void free_list(float **list, uint32_t n)
{
    for (uint32_t i = 0; list && i < n; i++)
        fb_free(list[i]);
    fb_free(list);
}

/* One array for each parameter; only for those that are learned, unless `all`. */
static fb_status make_list(fb_net *net, uint32_t n, bool all, float ***out)
{
    float **list = fb_calloc(n, sizeof *list);
    *out = list;
    if (!list)
        return no_memory();
    for (uint32_t i = 0; i < n; i++) {
        const fb_param *p = fb_net_param(net, i);
        if (!p->g && !all)
            continue;
        list[i] = fb_calloc(p->n, sizeof *list[i]);
        if (!list[i])
            return no_memory();
    }
    return FB_OK;
}

fb_status fb_optim_create(fb_net *net, const fb_optim_options *options, fb_optim *o)
{
    *o = (fb_optim){.options = *options, .net = net, .n = fb_net_n_params(net)};
    fb_status status = make_list(net, o->n, false, &o->first);
    if (status == FB_OK && options->kind == FB_OPTIM_ADAM)
        status = make_list(net, o->n, false, &o->second);
    if (status != FB_OK)
        fb_optim_free(o);
    return status;
}

void fb_optim_free(fb_optim *o)
{
    free_list(o->first, o->n);
    free_list(o->second, o->n);
    *o = (fb_optim){0};
}

static double gradient_norm(const fb_optim *o)
{
    double sum = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        const fb_param *p = fb_net_param(o->net, i);
        for (size_t k = 0; p->g && k < p->n; k++) {
            if (!p->mask || p->mask[k])
                sum += (double)p->g[k] * (double)p->g[k];
        }
    }
    return sqrt(sum);
}

/* The gradient is scaled by `shrink` first. */
static void step_sgd(const fb_optim *o, const fb_param *p, float *v, float rate, float shrink)
{
    float momentum = o->options.momentum, decay = p->decay ? o->options.decay : 0;
    bool nesterov = o->options.kind == FB_OPTIM_NESTEROV;
    for (size_t k = 0; k < p->n; k++) {
        if (p->mask && !p->mask[k])
            continue;
        float g = p->g[k] * shrink + decay * p->w[k];
        v[k] = momentum * v[k] + g;
        p->w[k] -= rate * (nesterov ? g + momentum * v[k] : v[k]);
    }
}

static void step_adam(const fb_optim *o, const fb_param *p, float *m, float *v, float rate,
                      float shrink, uint64_t step)
{
    float decay = p->decay ? o->options.decay : 0;
    float m_start = (float)(1 / (1 - pow(0.9, (double)step + 1)));
    float v_start = (float)(1 / (1 - pow(0.999, (double)step + 1)));
    for (size_t k = 0; k < p->n; k++) {
        if (p->mask && !p->mask[k])
            continue;
        float g = p->g[k] * shrink;
        m[k] += 0.1f * (g - m[k]);
        v[k] += 0.001f * (g * g - v[k]);
        p->w[k] -= rate * (m[k] * m_start / (sqrtf(v[k] * v_start) + 1e-8f) + decay * p->w[k]);
    }
}

void fb_optim_step(fb_optim *o, float rate, uint64_t step, double *norm)
{
    double length = norm || o->options.clip > 0 ? gradient_norm(o) : 0;
    float shrink = 1;
    if (o->options.clip > 0 && length > (double)o->options.clip)
        shrink = (float)((double)o->options.clip / length);
    if (norm)
        *norm = length;
    for (uint32_t i = 0; i < o->n; i++) {
        const fb_param *p = fb_net_param(o->net, i);
        if (!p->g)
            continue;
        if (o->options.kind == FB_OPTIM_ADAM)
            step_adam(o, p, o->first[i], o->second[i], rate, shrink, step);
        else
            step_sgd(o, p, o->first[i], rate, shrink);
    }
}

fb_status fb_average_create(fb_net *net, float decay, fb_average *avg)
{
    *avg = (fb_average){.n = fb_net_n_params(net), .decay = decay};
    fb_status status = make_list(net, avg->n, true, &avg->a);
    for (uint32_t i = 0; status == FB_OK && i < avg->n; i++) {
        const fb_param *p = fb_net_param(net, i);
        memcpy(avg->a[i], p->w, p->n * sizeof *p->w);
    }
    if (status != FB_OK)
        fb_average_free(avg);
    return status;
}

void fb_average_free(fb_average *avg)
{
    free_list(avg->a, avg->n);
    *avg = (fb_average){0};
}

void fb_average_step(fb_average *avg, fb_net *net, uint64_t step)
{
    double limit = (1.0 + (double)step) / (10.0 + (double)step);
    float keep = limit < (double)avg->decay ? (float)limit : avg->decay;
    for (uint32_t i = 0; i < avg->n; i++) {
        const fb_param *p = fb_net_param(net, i);
        for (size_t k = 0; k < p->n; k++) {
            if (!p->mask || p->mask[k])
                avg->a[i][k] = keep * avg->a[i][k] + (1 - keep) * p->w[k];
            else
                avg->a[i][k] = p->w[k];
        }
    }
}
