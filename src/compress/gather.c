/* Receptive fields at random positions, and the two networks in step. */
#include "compress/gather.h"

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"
#include "compress/accumulator.h"
#include "compress/bias.h"
#include "compress/linalg.h"
#include "model/product.h"
#include "numeric/random.h"

#include <string.h>

enum { LEAST_SAMPLES = 4096, PER_WEIGHT = 4 };

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the samples of a layer");
}

/* --- geometry -------------------------------------------------------------------------------- */

/* A layer's input in one run, and where its output positions look. A dense layer is a 1x1
 * convolution over as many positions as it has rows. */
typedef struct window {
    fb_attr_conv c;
    size_t n, h, w, ic; /* input [n][h][w][ic] */
    size_t oh, ow;
    size_t inner; /* taps of a group: kh kw ic/groups */
} window;

static size_t reach(size_t in, int32_t before, int32_t after, int32_t k, int32_t dil,
                    int32_t stride)
{
    int64_t room = (int64_t)in + before + after - (int64_t)dil * (k - 1) - 1;
    return room < 0 ? 0 : (size_t)(room / stride) + 1;
}

static fb_status window_of(const fb_node *node, const fb_view *x, window *v)
{
    *v = (window){.n = 1, .h = 1, .w = 1, .ic = (size_t)x->dims[x->rank - 1]};
    if (node->op == FB_OP_DENSE) {
        v->c = (fb_attr_conv){
            .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1};
        v->n = x->n_elems / v->ic;
    } else {
        FB_ENSURE(x->rank == 4);
        v->c = node->attr.conv;
        v->n = (size_t)x->dims[0];
        v->h = (size_t)x->dims[1];
        v->w = (size_t)x->dims[2];
    }
    v->oh = reach(v->h, v->c.pad_t, v->c.pad_b, v->c.kh, v->c.dil_h, v->c.stride_h);
    v->ow = reach(v->w, v->c.pad_l, v->c.pad_r, v->c.kw, v->c.dil_w, v->c.stride_w);
    v->inner = (size_t)v->c.kh * (size_t)v->c.kw * (v->ic / (size_t)v->c.groups);
    FB_ENSURE(v->n * v->oh * v->ow > 0);
    return FB_OK;
}

/* Taps of one output position: field [groups][kh][kw][ic / groups]. */
static void take_field(const window *v, const float *x, size_t position, float *field)
{
    const fb_attr_conv *c = &v->c;
    size_t groups = (size_t)c->groups, icg = v->ic / groups;
    size_t image = position / (v->oh * v->ow), oy = position / v->ow % v->oh;
    int64_t y0 = (int64_t)oy * c->stride_h - c->pad_t;
    int64_t x0 = (int64_t)(position % v->ow) * c->stride_w - c->pad_l;
    for (int32_t ky = 0; ky < c->kh; ky++) {
        for (int32_t kx = 0; kx < c->kw; kx++) {
            int64_t iy = y0 + (int64_t)ky * c->dil_h, ix = x0 + (int64_t)kx * c->dil_w;
            bool inside = iy >= 0 && iy < (int64_t)v->h && ix >= 0 && ix < (int64_t)v->w;
            const float *from =
                inside ? x + ((image * v->h + (size_t)iy) * v->w + (size_t)ix) * v->ic : NULL;
            float *to = field + ((size_t)ky * (size_t)c->kw + (size_t)kx) * icg;
            for (size_t g = 0; g < groups; g++, to += v->inner) {
                if (from)
                    memcpy(to, from + g * icg, icg * sizeof *to);
                else
                    memset(to, 0, icg * sizeof *to);
            }
        }
    }
}

/* --- samples --------------------------------------------------------------------------------- */

typedef struct collector {
    const fb_node *node;
    const fb_problem *p;
    fb_gather *g;
    uint64_t seed;
    size_t runs, per_run; /* positions of a run */
    size_t run;           /* that comes next */
    size_t total;         /* taps of all groups */
    size_t rows;          /* of all parts */
    float *image, *field; /* a decoded run, a position */
    size_t image_elems;
    float *x;   /* parts one after the other, part i [runs * per_run][d] */
    float *y;   /* likewise [runs * per_run][n_rows] */
    float *one; /* one run of the reference, like x */
} collector;

/* Positions of a run: one in each of per_run stretches of equal length, so that none comes twice
 * and all parts of the image have their share. Part i of `to` holds `room` rows, of which those
 * from `at` are filled. */
static void take_run(collector *c, const window *v, float *to, size_t room, size_t at)
{
    size_t all = v->n * v->oh * v->ow, groups = (size_t)v->c.groups;
    uint64_t state = c->seed + c->run * 0x632be59bd9b4e019u;
    for (size_t k = 0; k < c->per_run; k++) {
        size_t from = all * k / c->per_run, n = all * (k + 1) / c->per_run - from;
        take_field(v, c->image, from + (size_t)(fb_random_next(&state) % n), c->field);
        float *part = to;
        for (uint32_t i = 0; i < c->p->n_parts; i++) {
            const fb_problem_part *s = &c->p->parts[i];
            size_t group = s->row / (c->p->ct / groups);
            memcpy(part + (at + k) * s->d, c->field + group * v->inner + s->col,
                   s->d * sizeof *part);
            part += room * s->d;
        }
    }
}

static fb_status alloc_floats(float **p, size_t rows, size_t cols)
{
    size_t n, bytes;
    if (fb_size_mul(rows, cols, &n) && fb_size_mul(n, sizeof **p, &bytes))
        *p = fb_alloc(bytes);
    return *p ? FB_OK : no_memory();
}

/* The first run tells the sizes. */
static fb_status prepare(collector *c, const window *v, const fb_view *view)
{
    size_t widest = 0, all = v->n * v->oh * v->ow;
    for (uint32_t i = 0; i < c->p->n_parts; i++) {
        widest = c->p->parts[i].d > widest ? c->p->parts[i].d : widest;
        c->rows += c->p->parts[i].n_rows;
    }
    /* a run is an image, or as many as the model's input holds */
    uint64_t images = c->g->samples.count, batch = v->n;
    if (c->node->op == FB_OP_DENSE)
        batch = (uint64_t)(view->rank > 1 ? view->dims[0] : 1);
    c->runs = (size_t)((images + batch - 1) / batch);
    size_t want = PER_WEIGHT * widest > LEAST_SAMPLES ? PER_WEIGHT * widest : LEAST_SAMPLES;
    c->per_run = (want + c->runs - 1) / c->runs;
    c->per_run = c->per_run < all ? c->per_run : all;
    c->total = v->inner * (size_t)v->c.groups;
    c->image_elems = view->n_elems;
    FB_ENSURE(v->inner == c->p->inner);
    FB_TRY(alloc_floats(&c->image, 1, view->n_elems));
    FB_TRY(alloc_floats(&c->field, 1, c->total));
    FB_TRY(alloc_floats(&c->one, c->per_run, c->total));
    FB_TRY(alloc_floats(&c->x, c->runs * c->per_run, c->total));
    return alloc_floats(&c->y, c->runs * c->per_run, c->rows);
}

static fb_status collect_model(void *user, uint32_t k, const fb_view *view)
{
    collector *c = user;
    window v;
    (void)k;
    FB_TRY(window_of(c->node, view, &v));
    if (!c->x)
        FB_TRY(prepare(c, &v, view));
    FB_ENSURE(c->run < c->runs && view->n_elems == c->image_elems);
    fb_view_read(view, 0, view->n_elems, c->image);
    take_run(c, &v, c->x, c->runs * c->per_run, c->run * c->per_run);
    c->run++;
    return FB_OK;
}

/* y = W x of rows [at, at + n) of all parts; x has `room` rows a part. */
static void respond(collector *c, const float *x, size_t room, size_t first, size_t at, size_t n)
{
    float *y = c->y;
    for (uint32_t i = 0; i < c->p->n_parts; i++) {
        const fb_problem_part *s = &c->p->parts[i];
        fb_gemm_f32(false, true, n, s->n_rows, s->d, 1, x + first * s->d, s->d,
                    c->p->w + s->row * c->p->inner + s->col, c->p->inner, 0, y + at * s->n_rows,
                    s->n_rows);
        x += room * s->d;
        y += c->runs * c->per_run * s->n_rows;
    }
}

/* The run's positions in the reference become share xf + (1 - share) xq. */
static void mix(collector *c)
{
    float share = c->g->share, *one = c->one;
    const float *x = c->x;
    for (uint32_t i = 0; share < 1 && i < c->p->n_parts; i++) {
        size_t n = c->per_run * c->p->parts[i].d, room = c->runs * n;
        const float *own = x + c->run * n;
        for (size_t j = 0; j < n; j++)
            one[j] = own[j] + share * (one[j] - own[j]);
        one += n;
        x += room;
    }
}

static fb_status collect_reference(void *user, uint32_t k, const fb_view *view)
{
    collector *c = user;
    window v;
    (void)k;
    FB_TRY(window_of(c->node, view, &v));
    FB_ENSURE(c->run < c->runs && view->n_elems == c->image_elems);
    fb_view_read(view, 0, view->n_elems, c->image);
    take_run(c, &v, c->one, c->per_run, 0);
    mix(c);
    respond(c, c->one, c->per_run, 0, c->run * c->per_run, c->per_run);
    c->run++;
    return FB_OK;
}

static fb_status measure(const collector *c, fb_problem *p)
{
    size_t n = c->run * c->per_run, room = c->runs * c->per_run;
    const float **x = fb_calloc(p->n_parts, sizeof *x), **y = fb_calloc(p->n_parts, sizeof *y);
    fb_status status = x && y ? FB_OK : no_memory();
    for (uint32_t i = 0; i < p->n_parts && status == FB_OK; i++) {
        x[i] = i ? x[i - 1] + room * p->parts[i - 1].d : c->x;
        y[i] = i ? y[i - 1] + room * p->parts[i - 1].n_rows : c->y;
    }
    if (status == FB_OK)
        status = fb_problem_measure(p, n, x, y, c->g->pool);
    fb_free(x);
    fb_free(y);
    return status;
}

static fb_status collect(fb_gather *g, uint32_t k, fb_problem *p)
{
    const fb_gather_layer *l = &g->layers[k];
    const fb_node *node = &g->job->model->nodes[l->node];
    collector c = {.node = node, .p = p, .g = g};
    fb_status status;
    c.seed = g->job->seed ^ (uint64_t)(k + 1) << 32;
    FB_GO(fb_stage_watch(&g->model, l->node, node->in[0], collect_model, &c));
    size_t runs = c.run;
    FB_ENSURE(runs > 0);
    if (g->share > 0) {
        c.run = 0;
        c.node = &g->job->reference->nodes[l->origin];
        FB_GO(fb_stage_watch(&g->reference, l->origin, c.node->in[0], collect_reference, &c));
        if (c.run != runs)
            status =
                fb_fail(FB_E_INTERNAL, "the model ran %zu times, the reference %zu", runs, c.run);
    } else {
        respond(&c, c.x, c.runs * c.per_run, 0, 0, runs * c.per_run);
    }
    if (status == FB_OK)
        FB_GO(measure(&c, p));
fail:
    fb_free(c.image);
    fb_free(c.field);
    fb_free(c.one);
    fb_free(c.x);
    fb_free(c.y);
    return status;
}

/* Vectors of codewords are not cut. */
static fb_pieces pieces_of(const fb_gather *g, uint32_t k)
{
    const fb_node *n = &g->job->model->nodes[g->layers[k].node];
    const fb_tensor *w = &g->job->model->tensors[n->in[1]];
    fb_pieces pieces = {0};
    if (w->enc.kind == FB_ENC_PRODUCT && !w->enc.along_kernel)
        pieces = (fb_pieces){(size_t)w->dims[w->rank - 1], w->enc.sub};
    return pieces;
}

fb_status fb_gather_problem(fb_gather *g, uint32_t k, fb_problem *p)
{
    const fb_model *ref = g->job->reference;
    const fb_node *node = &ref->nodes[g->layers[k].origin];
    const fb_tensor *w = &ref->tensors[node->in[1]];
    size_t groups = node->op == FB_OP_CONV ? (size_t)node->attr.conv.groups : 1;
    int64_t n;
    *p = (fb_problem){0};
    FB_ENSURE(fb_tensor_elems(w, 0, &n) && n > 0);
    float *values = fb_alloc((size_t)n * sizeof *values);
    if (!values)
        return no_memory();
    fb_status status;
    FB_GO(fb_tensor_decode(w, values));
    FB_GO(fb_problem_init((size_t)w->dims[0], (size_t)(n / w->dims[0]), groups, pieces_of(g, k),
                          values, p));
    FB_GO(collect(g, k, p));
    fb_problem_centre(p);
fail:
    if (status != FB_OK)
        fb_problem_free(p);
    fb_free(values);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "layer '%.200s'", node->name);
}

fb_status fb_gather_error(const fb_gather *g, const fb_problem *p, const float *w, double *relative)
{
    double power = fb_problem_power(p), total = 0;
    *relative = 0;
    if (!g->job->layer_error)
        return FB_OK;
    double *error = fb_alloc(p->ct * sizeof *error);
    fb_status status = error ? fb_problem_error(p, w, false, g->pool, error, &total) : no_memory();
    fb_free(error);
    if (total > 0 && power > 0)
        *relative = total / power;
    return status;
}

/* --- in step --------------------------------------------------------------------------------- */

/* Both stages run up to the next layer, the reference no further than to whichever of the layers
 * that are left comes first in it. */
fb_status fb_gather_advance(fb_gather *g, uint32_t k)
{
    if (k + 1 >= g->n)
        return FB_OK;
    uint32_t next = g->layers[k + 1].node, first = UINT32_MAX;
    for (uint32_t i = k + 1; i < g->n; i++)
        first = g->layers[i].origin < first ? g->layers[i].origin : first;
    FB_TRY(fb_stage_advance(&g->model, next - 1));
    if (g->share > 0 && first > 0)
        FB_TRY(fb_stage_advance(&g->reference, first - 1));
    return FB_OK;
}

/* The layer of the reference that writes the same tensor. */
static fb_status find_origin(const fb_gather *g, uint32_t node, uint32_t *origin)
{
    const fb_model *m = g->job->model, *ref = g->job->reference;
    const fb_node *n = &m->nodes[node];
    for (size_t i = 0; i < ref->n_nodes; i++) {
        const fb_node *o = &ref->nodes[i];
        if (o->out[0] != n->out[0])
            continue;
        const fb_tensor *w = &m->tensors[n->in[1]], *v = &ref->tensors[o->in[1]];
        *origin = (uint32_t)i;
        if (o->op == n->op && v->is_const && v->rank == w->rank &&
            memcmp(v->dims, w->dims, (size_t)w->rank * sizeof *w->dims) == 0)
            return FB_OK;
    }
    return fb_fail(FB_E_UNSUPPORTED,
                   "layer '%.200s' is not in the float network as it is here; an earlier step "
                   "rewrote it",
                   n->name);
}

static fb_status find_layers(fb_gather *g, const bool *wanted)
{
    const fb_model *m = g->job->model;
    g->layers = fb_calloc(m->n_nodes + 1, sizeof *g->layers);
    if (!g->layers)
        return no_memory();
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (!wanted[i])
            continue;
        FB_ENSURE(fb_node_weight(m, &m->nodes[i]) >= 0 && m->nodes[i].op != FB_OP_CONV_TRANSPOSE);
        g->layers[g->n].node = (uint32_t)i;
        FB_TRY(find_origin(g, (uint32_t)i, &g->layers[g->n].origin));
        g->n++;
    }
    return FB_OK;
}

fb_status fb_gather_open(fb_job *job, uint64_t images, float share, const bool *wanted,
                         fb_gather *g)
{
    *g = (fb_gather){.job = job, .share = share};
    fb_status status;
    FB_GO(find_layers(g, wanted));
    FB_GO(fb_pool_create(job->n_threads, &g->pool));
    FB_GO(fb_samples_open(job->model, job->data, images, &g->samples));
    g->model = (fb_stage){
        .model = job->model, .options = fb_job_watch(job, "layers"), .samples = &g->samples};
    g->model.options.progress = NULL; /* told layer by layer */
    g->reference = g->model;
    g->reference.model = job->reference;
    return FB_OK;
fail:
    fb_gather_close(g);
    return status;
}

void fb_gather_close(fb_gather *g)
{
    fb_stage_free(&g->model);
    fb_stage_free(&g->reference);
    fb_samples_close(&g->samples);
    fb_pool_destroy(g->pool);
    fb_free(g->layers);
    *g = (fb_gather){0};
}

/* --- what solvers leave ---------------------------------------------------------------------- */

fb_status fb_gather_move_bias(fb_gather *g, uint32_t k, const double *shift)
{
    const fb_gather_layer *l = &g->layers[k];
    const fb_node *o = &g->job->reference->nodes[l->origin];
    int32_t of = o->n_in > 2 ? o->in[2] : -1, bias;
    fb_model *m = g->job->model;
    size_t ct = (size_t)m->tensors[m->nodes[l->node].in[1]].dims[0];
    FB_TRY(fb_bias_own(m, l->node, (uint32_t)ct, &bias));
    float *b = (float *)(uintptr_t)m->tensors[bias].data;
    memset(b, 0, ct * sizeof *b);
    if (of >= 0)
        FB_TRY(fb_tensor_decode(&g->job->reference->tensors[of], b));
    for (size_t i = 0; i < ct; i++)
        b[i] = (float)((double)b[i] + shift[i]);
    return fb_accumulator_check(m, &m->nodes[l->node]);
}

fb_status fb_gather_pretend(fb_job *job, const bool *wanted)
{
    fb_model *m = job->model;
    for (size_t i = 0; i < m->n_nodes; i++) {
        int32_t bias;
        const fb_tensor *out = &m->tensors[m->nodes[i].out[0]];
        if (wanted[i])
            FB_TRY(fb_bias_own(m, (uint32_t)i, (uint32_t)out->dims[out->rank - 1], &bias));
    }
    return FB_OK;
}
