/* Clipping weights at a boundary chosen for the bits that they will have (METHODS C.2.3): values
 * beyond t become t, so that the grid of the step that quantises need not reach them. That step
 * takes the range that is left as it is (fb_job.clipped). The float network that later steps
 * measure their error against keeps its weights. */
#include "compress/clip.h"

#include "base/status.h"

#include <math.h>
#include <string.h>

enum { OPT_BY, OPT_PER, OPT_IMAGES, OPT_INCLUDE, OPT_EXCLUDE, N_OPTIONS };

enum { BY_MSE, BY_KL, BY_ACIQ, BY_STD, BY_ACCURACY };

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to clip the weights");
}

/* --- the step that quantises ----------------------------------------------------------------- */

static double number_of(const fb_recipe_step *step, const char *key)
{
    const fb_option *o = fb_step_option(step, key);
    return o ? o->number : 0;
}

static bool second_choice(const fb_recipe_step *step, const char *key)
{
    const fb_option *o = fb_step_option(step, key);
    return o && o->choice == 1;
}

static fb_status find_quantiser(const fb_job *job, const fb_recipe_step **found)
{
    for (uint32_t i = job->step + 1; i < job->recipe->n_steps; i++) {
        const fb_recipe_step *step = &job->recipe->steps[i];
        const char *stem = step->method->stem;
        if (stem && (strcmp(stem, "int") == 0 || strcmp(stem, "w") == 0)) {
            *found = step;
            return FB_OK;
        }
    }
    return fb_fail(FB_E_ARG, "the boundary depends on the bits, and no step int2 to int8 or w1 to "
                             "w16 follows that says how many");
}

static fb_weight_rule rule_of(const fb_recipe_step *step)
{
    fb_weight_rule rule = {.bits = step->bits,
                           .group = (uint32_t)number_of(step, "group"),
                           .pow2 = second_choice(step, "scale"),
                           .zero = second_choice(step, "zero")};
    rule.per_channel = !second_choice(step, "per") || rule.group > 0;
    return rule;
}

/* --- layers ---------------------------------------------------------------------------------- */

static bool is_named(const fb_recipe_step *step, const char *name)
{
    const fb_option *in = fb_step_option(step, "include"), *ex = fb_step_option(step, "exclude");
    return (!in || !*in->text || fb_glob(in->text, name)) && !(ex && fb_glob(ex->text, name));
}

static bool is_taken(const fb_clip *c, int32_t weight)
{
    for (uint32_t k = 0; k < c->n; k++) {
        if (c->layers[k].weight == weight)
            return true;
    }
    return false;
}

static fb_status add_layer(fb_clip *c, int32_t weight)
{
    const fb_tensor *t = &c->job->model->tensors[weight];
    fb_clip_layer *layer = &c->layers[c->n++];
    int64_t n;
    FB_ENSURE(fb_tensor_elems(t, 0, &n) && n > 0);
    layer->weight = weight;
    layer->n_blocks = c->measure.per_channel ? (size_t)t->dims[0] : 1;
    layer->n = (size_t)n / layer->n_blocks;
    layer->w = fb_calloc((size_t)n, sizeof *layer->w);
    layer->t = fb_calloc(layer->n_blocks, sizeof *layer->t);
    layer->most = fb_calloc(layer->n_blocks, sizeof *layer->most);
    if (!layer->w || !layer->t || !layer->most)
        return no_memory();
    FB_TRY(fb_tensor_decode(t, layer->w));
    for (size_t i = 0; i < (size_t)n; i++) {
        if (!isfinite(layer->w[i]))
            return fb_fail(FB_E_FORMAT,
                           "weight '%.200s' has the value %g at %zu; weights must be "
                           "finite",
                           t->name, (double)layer->w[i], i);
    }
    return FB_OK;
}

static fb_status find_layers(fb_clip *c, const fb_recipe_step *step,
                             const fb_recipe_step *quantiser)
{
    const fb_model *m = c->job->model;
    c->layers = fb_calloc(m->n_nodes + 1, sizeof *c->layers);
    if (!c->layers)
        return no_memory();
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        int32_t weight = fb_node_weight(m, n);
        if (weight >= 0 && m->tensors[weight].enc.kind == FB_ENC_PLAIN && !is_taken(c, weight) &&
            is_named(step, n->name) && is_named(quantiser, n->name))
            FB_TRY(add_layer(c, weight));
    }
    if (c->n == 0)
        return fb_fail(FB_E_UNSUPPORTED,
                       "no conv or dense layer is there to clip that step '%s' "
                       "will quantise",
                       quantiser->text);
    return FB_OK;
}

static void clip_free(fb_clip *c)
{
    for (uint32_t k = 0; c->layers && k < c->n; k++) {
        fb_free(c->layers[k].w);
        fb_free(c->layers[k].t);
        fb_free(c->layers[k].most);
    }
    fb_free(c->layers);
}

/* --- boundaries ------------------------------------------------------------------------------ */

static fb_status choose(fb_clip *c, fb_weight_range range)
{
    for (uint32_t k = 0; k < c->n; k++) {
        fb_clip_layer *layer = &c->layers[k];
        FB_TRY(fb_job_report(c->job, "clip", k, c->n));
        for (size_t b = 0; b < layer->n_blocks; b++) {
            const float *w = layer->w + b * layer->n;
            layer->most[b] = fb_weight_boundary(&c->measure, FB_WEIGHT_MINMAX, w, layer->n);
            layer->t[b] = fb_weight_boundary(&c->measure, range, w, layer->n);
        }
    }
    return FB_OK;
}

void fb_clip_apply(const fb_clip_layer *layer, double factor, float *out)
{
    for (size_t b = 0; b < layer->n_blocks; b++) {
        float t = (float)fmin((double)layer->t[b] * factor, (double)layer->most[b]);
        for (size_t i = b * layer->n; i < (b + 1) * layer->n; i++) {
            float w = layer->w[i];
            out[i] = w > t ? t : w < -t ? -t : w;
        }
    }
}

/* --- the method ------------------------------------------------------------------------------ */

static fb_status mark(fb_job *job, int32_t weight)
{
    if ((size_t)weight >= job->n_clipped) {
        size_t n = job->model->n_tensors;
        bool *clipped = fb_arena_array(job->arena, n, sizeof *clipped);
        if (!clipped)
            return no_memory();
        if (job->n_clipped > 0)
            memcpy(clipped, job->clipped, job->n_clipped * sizeof *clipped);
        job->clipped = clipped;
        job->n_clipped = n;
    }
    job->clipped[weight] = true;
    return FB_OK;
}

static fb_status rewrite(fb_clip *c)
{
    fb_model *m = c->job->model;
    for (uint32_t k = 0; k < c->n; k++) {
        const fb_clip_layer *layer = &c->layers[k];
        fb_tensor *t = &m->tensors[layer->weight];
        size_t n = layer->n_blocks * layer->n;
        float *data = fb_arena_array(m->arena, n, sizeof *data);
        if (!data)
            return no_memory();
        fb_clip_apply(layer, 1, data);
        t->dtype = FB_F32;
        t->data = data;
        t->data_bytes = n * sizeof *data;
        FB_TRY(mark(c->job, layer->weight));
    }
    return FB_OK;
}

static bool wants_data(const fb_recipe_step *step)
{
    return step->option[OPT_BY].choice == BY_ACCURACY;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    static const fb_weight_range ranges[] = {[BY_MSE] = FB_WEIGHT_MSE,
                                             [BY_KL] = FB_WEIGHT_KL,
                                             [BY_ACIQ] = FB_WEIGHT_ACIQ,
                                             [BY_STD] = FB_WEIGHT_MINMAX,
                                             [BY_ACCURACY] = FB_WEIGHT_MSE};
    const fb_option *o = step->option;
    const fb_recipe_step *quantiser = NULL;
    fb_clip c = {.job = job, .images = (uint64_t)o[OPT_IMAGES].number};
    fb_status status;
    if (job->dry_run && wants_data(step))
        return fb_fail(FB_E_ARG,
                       "with by=accuracy the file's size depends on the images, and a dry "
                       "run reads none");
    FB_TRY(find_quantiser(job, &quantiser));
    c.rule = rule_of(quantiser);
    c.rule.range = FB_WEIGHT_MINMAX;
    c.measure = c.rule;
    if (o[OPT_PER].given)
        c.measure.per_channel = o[OPT_PER].choice == 0;
    FB_GO(find_layers(&c, step, quantiser));
    FB_GO(choose(&c, ranges[o[OPT_BY].choice]));
    if (o[OPT_BY].choice == BY_STD)
        fb_clip_by_deviation(&c);
    if (o[OPT_BY].choice == BY_ACCURACY)
        FB_GO(fb_clip_by_accuracy(&c));
    FB_GO(rewrite(&c));
fail:
    clip_free(&c);
    return status;
}

const fb_method_def fb_method_clip = {
    .name = "clip",
    .summary = "weights clipped at a boundary that suits the bits of the quantising step behind it",
    .needs_data = false,
    .wants_data = wants_data,
    .n_options = N_OPTIONS,
    .options =
        {
            {.key = "by",
             .kind = FB_OPTION_CHOICE,
             .choices = "mse|kl|aciq|std|accuracy",
             .preset = "mse",
             .meaning = "least squared error, least divergence, a formula, so many standard "
                        "deviations, or least loss on the images"},
            {.key = "per",
             .kind = FB_OPTION_CHOICE,
             .choices = "channel|layer",
             .meaning = "a boundary for each output channel, or one for the layer; as the "
                        "quantising step has its scales"},
            {.key = "images",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "64",
             .meaning = "calibration images for by=accuracy, at most"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning = "only layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that are not clipped"},
        },
    .apply = apply,
};
