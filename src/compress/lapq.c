/* All step sizes tuned together on the loss of the network (METHODS M.4, LAPQ): weights' and
 * activations', after a step that encoded them. A step moves by sixteenths of an octave, 2^(j/16),
 * so that scales on the grid of weight scales stay on it.
 *
 * 1. For p = 2, 2.5 ... 4 each tensor's step that leaves the least error |x - x'|^p; the loss of
 *    each of the five networks. 2. The minimum of the parabola through these losses. 3. From the
 *    best of all, each step up and down in turn, and after each sweep once more along the way that
 *    the sweep went (Powell). Only what lowers the loss is kept. */
#include "base/status.h"
#include "calibrate/range.h"
#include "compress/accumulator.h"
#include "compress/judge.h"
#include "compress/method.h"
#include "numeric/grid.h"
#include "numeric/requant.h"

#include <math.h>
#include <string.h>

enum { OPT_IMAGES, OPT_TRIALS, OPT_WEIGHTS };
enum { REACH = 24, N_NORMS = 5 }; /* steps move by at most 2^(REACH / 16) */

/* One step size: of a weight, or of activations that have it in common. */
typedef struct knob {
    int32_t tensor; /* the weight, or the first of the activations */
    bool is_weight;
    float *w;       /* of a weight: the float values */
    fb_stats stats; /* of activations: of the first float tensor behind them */
} knob;

typedef struct tuner {
    fb_job *job;
    fb_judge judge;
    knob *knobs;
    uint32_t n, done, most; /* knobs; trials done, and allowed */
    int32_t *best, *trial;  /* [n] sixteenths of an octave */
    double loss;            /* of `best` */
} tuner;

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to tune step sizes");
}

static float moved(float scale, int32_t by)
{
    int32_t k;
    return fb_grid_find(scale, &k) ? fb_grid_scale(k + by) : scale * fb_grid_scale(by);
}

/* --- weights --------------------------------------------------------------------------------- */

static int32_t code_of(const fb_tensor *t, float w, size_t i, int32_t by)
{
    int32_t most = fb_code_max(t->enc.bits, true);
    float scale = moved(t->enc.scale[fb_affine_scale_index(t, i)], by);
    return fb_quantize(w, scale, 0, -most, most);
}

static double weight_error(const knob *k, const fb_tensor *t, int32_t by, double p)
{
    int64_t n;
    double total = 0;
    if (!fb_tensor_elems(t, 0, &n))
        return 0;
    size_t skip = n > 100000 ? (size_t)n / 100000 + 1 : 1; /* a sample is enough */
    for (size_t i = 0; i < (size_t)n; i += skip) {
        float scale = moved(t->enc.scale[fb_affine_scale_index(t, i)], by);
        double e = (double)k->w[i] - (double)scale * code_of(t, k->w[i], i, by);
        total += pow(fabs(e), p);
    }
    return total;
}

static fb_status move_weight(const knob *k, fb_model *m, int32_t by)
{
    const fb_tensor *t = &m->tensors[k->tensor];
    fb_encoding e = t->enc;
    int64_t n;
    FB_ENSURE(fb_tensor_elems(t, 0, &n));
    uint8_t *data = fb_calloc(1, t->data_bytes);
    e.scale = fb_calloc(e.n_scales, sizeof *e.scale);
    fb_status status = data && e.scale ? FB_OK : no_memory();
    for (size_t i = 0; i < (size_t)n && status == FB_OK; i++)
        fb_packed_put(data, i, e.bits, code_of(t, k->w[i], i, by));
    for (uint32_t s = 0; s < e.n_scales && status == FB_OK; s++)
        e.scale[s] = moved(t->enc.scale[s], by);
    if (status == FB_OK)
        status = fb_model_set_payload(m, k->tensor, &e, data, t->data_bytes);
    fb_free(data);
    fb_free(e.scale);
    return status;
}

/* A weight whose codes are not just the nearest ones was rounded with more thought, and stays. */
static fb_status add_weight(tuner *u, int32_t tensor)
{
    const fb_tensor *t = &u->job->model->tensors[tensor], *f = &u->job->reference->tensors[tensor];
    const fb_encoding *e = &t->enc;
    int64_t n;
    if (e->kind != FB_ENC_AFFINE || e->zero || !e->is_signed || e->pow2 || e->sparse ||
        e->n_patches || e->bits < 2 || !f->is_const || f->enc.kind != FB_ENC_PLAIN ||
        !fb_tensor_elems(t, 0, &n) || f->rank != t->rank ||
        memcmp(f->dims, t->dims, sizeof t->dims[0] * (size_t)t->rank) != 0)
        return FB_OK;
    for (uint32_t k = 0; k < u->n; k++) {
        if (u->knobs[k].tensor == tensor)
            return FB_OK;
    }
    knob *k = &u->knobs[u->n++];
    *k = (knob){.tensor = tensor, .is_weight = true, .w = fb_calloc((size_t)n, sizeof *k->w)};
    if (!k->w)
        return no_memory();
    FB_TRY(fb_tensor_decode(f, k->w));
    int64_t other = 0;
    for (size_t i = 0; i < (size_t)n; i++)
        other += code_of(t, k->w[i], i, 0) != fb_packed_get(t->data, i, e->bits, true);
    if (other * 200 > n) {
        fb_free(k->w);
        u->n--;
    }
    return FB_OK;
}

/* --- activations ----------------------------------------------------------------------------- */

static bool is_coded(const fb_tensor *t)
{
    return !t->is_const && t->enc.kind != FB_ENC_PLAIN && !t->enc.pow2;
}

static bool is_same_code(const fb_tensor *a, const fb_tensor *b)
{
    return is_coded(a) && is_coded(b) && a->enc.kind == b->enc.kind && a->enc.bits == b->enc.bits &&
           a->enc.scale[0] == b->enc.scale[0] &&
           (a->enc.zero ? a->enc.zero[0] : 0) == (b->enc.zero ? b->enc.zero[0] : 0);
}

/* The float tensor that the codes stand for: that of the reference, or what a convert node reads.
 */
static int32_t float_of(const fb_job *job, int32_t tensor)
{
    const fb_model *m = job->model;
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].op == FB_OP_CONVERT && m->nodes[i].out[0] == tensor)
            tensor = m->nodes[i].in[0];
    }
    return (size_t)tensor < job->reference->n_tensors ? tensor : -1;
}

static fb_status find_activations(tuner *u)
{
    const fb_model *m = u->job->model;
    for (size_t t = 0; t < m->n_tensors; t++) {
        bool fresh = is_coded(&m->tensors[t]);
        for (uint32_t k = 0; k < u->n && fresh; k++)
            fresh = !is_same_code(&m->tensors[u->knobs[k].tensor], &m->tensors[t]);
        if (!fresh || float_of(u->job, (int32_t)t) < 0)
            continue;
        knob *k = &u->knobs[u->n++];
        *k = (knob){.tensor = (int32_t)t};
        FB_TRY(fb_stats_init(&k->stats));
    }
    return FB_OK;
}

typedef struct gather {
    tuner *u;
    const uint32_t *of; /* [watched] knob */
} gather;

static fb_status add_stats(void *user, uint32_t k, const fb_view *view)
{
    const gather *g = user;
    FB_ENSURE(view->dtype == FB_F32);
    return fb_stats_add(&g->u->knobs[g->of[k]].stats, view->data, view->n_elems);
}

static fb_status watch_activations(tuner *u, uint32_t first)
{
    uint32_t n = u->n - first;
    int32_t *tensors = fb_calloc(n + 1, sizeof *tensors);
    uint32_t *of = fb_calloc(n + 1, sizeof *of);
    fb_status status = tensors && of ? FB_OK : no_memory();
    for (uint32_t k = 0; k < n && status == FB_OK; k++) {
        tensors[k] = float_of(u->job, u->knobs[first + k].tensor);
        of[k] = first + k;
    }
    gather g = {u, of};
    fb_source source = fb_samples_source(&u->judge.samples);
    fb_watch_options o = fb_job_watch(u->job, "lapq: statistics");
    if (status == FB_OK && n > 0)
        status = fb_watch(u->job->reference, &source, tensors, n, &o, add_stats, &g);
    fb_free(tensors);
    fb_free(of);
    return status;
}

static double activation_error(const knob *k, const fb_tensor *t, int32_t by, double p)
{
    const fb_hist *h = &k->stats.hist;
    double step = (double)moved(t->enc.scale[0], by), total = 0;
    double least = (double)fb_code_min(t->enc.bits, t->enc.is_signed);
    double most = (double)fb_code_max(t->enc.bits, t->enc.is_signed);
    double zero = t->enc.zero ? t->enc.zero[0] : 0;
    for (int32_t j = 0; j < FB_HIST_BINS; j++) {
        if (h->bins[j] == 0)
            continue;
        double v = (j - FB_HIST_SIDE + 0.5) * (double)h->width / step, q = rint(v) + zero;
        q = q < least ? least : q > most ? most : q;
        total += (double)h->bins[j] * pow(fabs(v - (q - zero)) * step, p);
    }
    return total;
}

/* --- trials ---------------------------------------------------------------------------------- */

/* Which activations have a scale in common is told by the old scales: two that move may meet. */
static fb_status apply_steps(const tuner *u, fb_model *m, const int32_t *by)
{
    fb_model *before;
    FB_TRY(fb_model_clone(m, false, &before));
    fb_status status = FB_OK;
    for (uint32_t k = 0; k < u->n && status == FB_OK; k++) {
        if (by[k] == 0)
            continue;
        if (u->knobs[k].is_weight) {
            status = move_weight(&u->knobs[k], m, by[k]);
            continue;
        }
        const fb_tensor *like = &before->tensors[u->knobs[k].tensor];
        for (size_t t = 0; t < before->n_tensors; t++) {
            if (is_same_code(&before->tensors[t], like))
                m->tensors[t].enc.scale[0] = moved(like->enc.scale[0], by[k]);
        }
    }
    fb_model_close(&before);
    for (size_t i = 0; i < m->n_nodes && status == FB_OK; i++)
        status = fb_accumulator_check(m, &m->nodes[i]);
    return status;
}

/* Judges `trial` and keeps it where it is better. */
static fb_status try_steps(tuner *u, double *loss)
{
    fb_model *m;
    fb_verdict verdict = {.loss = INFINITY};
    *loss = INFINITY;
    if (u->done >= u->most)
        return FB_OK;
    FB_TRY(fb_job_report(u->job, "lapq", u->done++, u->most));
    FB_TRY(fb_model_clone(u->job->model, false, &m));
    fb_status status = apply_steps(u, m, u->trial);
    if (status == FB_OK)
        status = fb_judge_run(&u->judge, m, &verdict);
    fb_model_close(&m);
    if (status == FB_E_LIMIT) /* sums could pass 32 bits */
        return FB_OK;
    FB_TRY(status);
    *loss = verdict.loss;
    if (*loss < u->loss) {
        u->loss = *loss;
        memcpy(u->best, u->trial, u->n * sizeof *u->best);
    }
    return FB_OK;
}

/* --- one and two: the best norm -------------------------------------------------------------- */

static void steps_of_norm(tuner *u, double p)
{
    for (uint32_t k = 0; k < u->n; k++) {
        const knob *b = &u->knobs[k];
        const fb_tensor *t = &u->job->model->tensors[b->tensor];
        double least = INFINITY;
        u->trial[k] = 0;
        for (int32_t by = -REACH; by <= REACH && t->enc.kind == FB_ENC_AFFINE; by += 2) {
            double e = b->is_weight ? weight_error(b, t, by, p) : activation_error(b, t, by, p);
            if (e < least) {
                least = e;
                u->trial[k] = by;
            }
        }
    }
}

/* Least squares through (x, y) [N_NORMS], x = -2 .. 2: where the parabola is lowest, within the
 * ends. */
static double lowest(const double *y)
{
    double c1 = 0, c2 = 0;
    for (int i = 0; i < N_NORMS; i++) {
        double x = i - 2;
        c1 += x * y[i] / 10;
        c2 += (x * x - 2) * y[i] / 14;
    }
    if (c2 > 0)
        return fmin(2, fmax(-2, -c1 / (2 * c2)));
    return y[0] < y[N_NORMS - 1] ? -2 : 2;
}

static fb_status search_norm(tuner *u)
{
    double loss[N_NORMS], x;
    bool all = true;
    for (int i = 0; i < N_NORMS; i++) {
        steps_of_norm(u, 2 + 0.5 * i);
        FB_TRY(try_steps(u, &loss[i]));
        all = all && isfinite(loss[i]);
    }
    if (!all)
        return FB_OK;
    steps_of_norm(u, 3 + 0.5 * lowest(loss));
    return try_steps(u, &x);
}

/* --- three: each step ------------------------------------------------------------------------ */

static fb_status try_one(tuner *u, uint32_t k, int32_t by, bool *better)
{
    double before = u->loss, loss;
    memcpy(u->trial, u->best, u->n * sizeof *u->trial);
    u->trial[k] += by;
    *better = false;
    if (u->trial[k] < -2 * REACH || u->trial[k] > 2 * REACH)
        return FB_OK;
    FB_TRY(try_steps(u, &loss));
    *better = loss < before;
    return FB_OK;
}

static fb_status sweep(tuner *u, int32_t step, int32_t *start)
{
    double loss;
    memcpy(start, u->best, u->n * sizeof *start);
    for (uint32_t k = 0; k < u->n; k++) {
        bool better;
        FB_TRY(try_one(u, k, -step, &better));
        if (!better)
            FB_TRY(try_one(u, k, step, &better));
    }
    bool went = false;
    for (uint32_t k = 0; k < u->n; k++) {
        went = went || u->best[k] != start[k];
        u->trial[k] = 2 * u->best[k] - start[k];
    }
    return went ? try_steps(u, &loss) : FB_OK;
}

static fb_status tune(tuner *u)
{
    double loss;
    int32_t *start = fb_calloc(u->n + 1, sizeof *start);
    fb_status status = start ? FB_OK : no_memory();
    u->loss = INFINITY;
    FB_GO(status);
    FB_GO(try_steps(u, &loss));
    FB_GO(search_norm(u));
    for (int32_t step = 4; step >= 1 && u->done < u->most; step /= 2)
        FB_GO(sweep(u, step, start));
fail:
    fb_free(start);
    return status;
}

/* --- the step -------------------------------------------------------------------------------- */

static fb_status find_knobs(tuner *u, bool weights)
{
    const fb_model *m = u->job->model;
    u->knobs = fb_calloc(m->n_tensors + m->n_nodes + 1, sizeof *u->knobs);
    if (!u->knobs)
        return no_memory();
    FB_TRY(find_activations(u));
    FB_TRY(watch_activations(u, 0));
    for (size_t i = 0; i < m->n_nodes && weights; i++) {
        int32_t w = fb_node_weight(m, &m->nodes[i]);
        if (w >= 0 && (size_t)w < u->job->reference->n_tensors)
            FB_TRY(add_weight(u, w));
    }
    u->best = fb_calloc(u->n + 1, sizeof *u->best);
    u->trial = fb_calloc(u->n + 1, sizeof *u->trial);
    if (!u->best || !u->trial)
        return no_memory();
    return u->n > 0 ? FB_OK
                    : fb_fail(FB_E_ARG, "nothing has a step size yet; this step follows one that "
                                        "quantises");
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    if (job->dry_run)
        return fb_fail(FB_E_UNSUPPORTED, "lapq chooses codes by data, so the size is not known "
                                         "before; a dry run must do without it");
    tuner u = {.job = job, .most = (uint32_t)o[OPT_TRIALS].number};
    fb_status status;
    FB_TRY(fb_judge_open(job, (uint64_t)o[OPT_IMAGES].number, &u.judge));
    FB_GO(find_knobs(&u, o[OPT_WEIGHTS].choice == 0));
    FB_GO(tune(&u));
    FB_GO(apply_steps(&u, job->model, u.best));
fail:
    for (uint32_t k = 0; u.knobs && k < u.n; k++) {
        fb_free(u.knobs[k].w);
        fb_stats_free(&u.knobs[k].stats);
    }
    fb_free(u.knobs);
    fb_free(u.best);
    fb_free(u.trial);
    fb_judge_close(&u.judge);
    return status;
}

const fb_method_def fb_method_lapq = {
    .name = "lapq",
    .summary = "tunes the step sizes of weights and activations together on the network's loss",
    .needs_data = true,
    .n_options = 3,
    .options =
        {
            {.key = "images",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "64",
             .meaning = "calibration images to judge by, at most"},
            {.key = "trials",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "200",
             .meaning = "networks to try, at most"},
            {.key = "weights",
             .kind = FB_OPTION_CHOICE,
             .choices = "tune|keep",
             .preset = "tune",
             .meaning = "keep: activations alone"},
        },
    .apply = apply,
};
