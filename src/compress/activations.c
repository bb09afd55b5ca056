/* Encoded activations: finding, watching and writing them. */
#include "compress/activations.h"

#include "base/status.h"

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the statistics of activations");
}

/* --- which ----------------------------------------------------------------------------------- */

static bool is_input(const fb_model *m, int32_t t)
{
    for (uint32_t k = 0; k < m->n_inputs; k++) {
        if (m->inputs[k] == t)
            return true;
    }
    return false;
}

/* Read by a layer that leaves the encoded part of the network. */
static bool feeds_the_end(const fb_model *m, const fb_region *r, int32_t t)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (r->integer[i] && m->nodes[i].in[0] == t && !r->encoded[m->nodes[i].out[0]])
            return true;
    }
    return false;
}

static uint64_t elems_of(const fb_tensor *t)
{
    int64_t n;
    return fb_tensor_elems(t, 1, &n) && n > 0 ? (uint64_t)n : 0;
}

/* Groups of all encoded tensors, also those with codes from an earlier step. */
static void find_groups(fb_activations *a, int32_t *group_of_leader)
{
    const fb_model *m = a->job->model;
    for (size_t t = 0; t < m->n_tensors; t++) {
        group_of_leader[t] = a->of_tensor[t] = -1;
        if (!a->region.encoded[t])
            continue;
        int32_t *of = &group_of_leader[a->region.leader[t]];
        if (*of < 0) {
            *of = (int32_t)a->n_groups;
            a->groups[a->n_groups++] = (fb_act_group){.fixed = -1, .positive = true};
        }
        fb_act_group *g = &a->groups[*of];
        if (m->tensors[t].enc.kind != FB_ENC_PLAIN) {
            g->fixed = g->fixed < 0 ? (int32_t)t : g->fixed;
            continue;
        }
        a->of_tensor[t] = (int32_t)a->n;
        a->group[a->n] = (uint32_t)*of;
        a->tensors[a->n++] = (int32_t)t;
        g->elems += elems_of(&m->tensors[t]);
        if (is_input(m, (int32_t)t))
            g->place = FB_ACT_FIRST;
        else if (g->place == FB_ACT_INNER && feeds_the_end(m, &a->region, (int32_t)t))
            g->place = FB_ACT_LAST;
    }
}

static fb_status find(fb_activations *a)
{
    size_t n = a->job->model->n_tensors + 1;
    int32_t *group_of_leader = fb_calloc(n, sizeof *group_of_leader);
    a->tensors = fb_calloc(n, sizeof *a->tensors);
    a->group = fb_calloc(n, sizeof *a->group);
    a->groups = fb_calloc(n, sizeof *a->groups);
    a->of_tensor = fb_calloc(n, sizeof *a->of_tensor);
    bool room = group_of_leader && a->tensors && a->group && a->groups && a->of_tensor;
    if (room)
        find_groups(a, group_of_leader);
    fb_free(group_of_leader);
    return room ? FB_OK : no_memory();
}

/* --- statistics ------------------------------------------------------------------------------ */

static fb_status add(void *user, uint32_t k, const fb_view *view)
{
    fb_activations *a = user;
    FB_ENSURE(view->dtype == FB_F32);
    FB_TRY(fb_stats_add(&a->stats[k], view->data, view->n_elems));
    if (a->cells)
        fb_cells_add(&a->cells[k], view->data, view->n_elems);
    return FB_OK;
}

/* Smooth and different for each tensor, like fb_stats_invent. */
static void invent_cells(fb_cells *c, const fb_stats *s)
{
    for (int i = 0; i <= 1024; i++) {
        float x = s->min + (s->max - s->min) * (float)i / 1024;
        fb_cells_add(c, &x, 1);
    }
}

static fb_status watch(fb_activations *a, bool with_cells)
{
    a->stats = fb_calloc(a->n + 1, sizeof *a->stats);
    a->cells = with_cells ? fb_calloc(a->n + 1, sizeof *a->cells) : NULL;
    if (!a->stats || (with_cells && !a->cells))
        return no_memory();
    for (uint32_t k = 0; k < a->n; k++) {
        FB_TRY(fb_stats_init(&a->stats[k]));
        if (with_cells)
            FB_TRY(fb_cells_init(&a->cells[k]));
        if (!a->job->dry_run)
            continue;
        FB_TRY(fb_stats_invent(&a->stats[k], k, a->region.positive[a->tensors[k]]));
        if (with_cells)
            invent_cells(&a->cells[k], &a->stats[k]);
    }
    if (a->job->dry_run || a->n == 0)
        return FB_OK;
    const fb_model *m = a->job->model;
    fb_samples samples;
    FB_TRY(fb_samples_open(m, a->job->data, 0, &samples));
    fb_source source = fb_samples_source(&samples);
    fb_watch_options o = fb_job_watch(a->job, "calibrate");
    fb_status status = fb_watch(m, &source, a->tensors, a->n, &o, add, a);
    fb_samples_close(&samples);
    return status;
}

fb_status fb_activations_open(fb_job *job, const char *include, const char *exclude,
                              fb_region_layers layers, bool with_cells, fb_activations *a)
{
    *a = (fb_activations){.job = job};
    FB_TRY(fb_region_find_layers(job->model, include, exclude, layers, &a->region));
    fb_status status = FB_OK;
    if (a->region.n_integer == 0)
        status = fb_fail(FB_E_UNSUPPORTED, "no conv or dense layer with constant weights is there "
                                           "to quantise");
    if (status == FB_OK)
        status = find(a);
    if (status == FB_OK)
        status = watch(a, with_cells);
    for (uint32_t k = 0; status == FB_OK && k < a->n; k++)
        a->groups[a->group[k]].positive &= a->stats[k].min >= 0;
    if (status != FB_OK)
        fb_activations_close(a);
    return status;
}

void fb_activations_close(fb_activations *a)
{
    for (uint32_t k = 0; a->stats && k < a->n; k++)
        fb_stats_free(&a->stats[k]);
    for (uint32_t k = 0; a->cells && k < a->n; k++)
        fb_cells_free(&a->cells[k]);
    fb_free(a->stats);
    fb_free(a->cells);
    fb_free(a->tensors);
    fb_free(a->group);
    fb_free(a->groups);
    fb_free(a->of_tensor);
    fb_region_free(&a->region);
    *a = (fb_activations){0};
}

/* --- codes ----------------------------------------------------------------------------------- */

unsigned fb_act_bits(const fb_act_group *g, unsigned bits, unsigned first, unsigned last)
{
    unsigned least = g->place == FB_ACT_FIRST ? first : g->place == FB_ACT_LAST ? last : 0;
    return bits > least ? bits : least;
}

void fb_act_affine(const fb_activations *a, uint32_t group, fb_range_rule rule, double percentile,
                   unsigned bits, fb_act_code *code)
{
    fb_range of = {0, 0};
    for (uint32_t k = 0; k < a->n; k++) {
        if (a->group[k] != group)
            continue;
        fb_range r = fb_range_choose(rule, &a->stats[k], bits, percentile);
        of.lo = r.lo < of.lo ? r.lo : of.lo;
        of.hi = r.hi > of.hi ? r.hi : of.hi;
    }
    *code = (fb_act_code){.bits = bits};
    fb_range_codes(of, bits, &code->scale, &code->zero);
}

fb_input_codes fb_act_input(const fb_activations *a, const fb_act_code *codes, int32_t tensor)
{
    const fb_encoding *e = &a->job->model->tensors[tensor].enc;
    if (e->kind != FB_ENC_PLAIN)
        return (fb_input_codes){e->scale[0], e->zero ? e->zero[0] : 0};
    const fb_act_group *g = &a->groups[a->group[a->of_tensor[tensor]]];
    if (g->fixed >= 0)
        return fb_act_input(a, codes, g->fixed);
    const fb_act_code *c = &codes[a->group[a->of_tensor[tensor]]];
    return (fb_input_codes){c->scale, c->zero};
}

/* --- the rewrite ----------------------------------------------------------------------------- */

/* `enc` points into `c`. */
static void set_code(fb_act_code *c, fb_encoding *enc)
{
    bool levels = c->n_levels > 0;
    *enc = (fb_encoding){.kind = levels ? FB_ENC_LEVELS : FB_ENC_AFFINE,
                         .bits = (uint8_t)c->bits,
                         .axis = -1,
                         .n_scales = 1,
                         .scale = &c->scale,
                         .zero = levels && c->level_bits == 0 ? NULL : &c->zero,
                         .n_levels = c->n_levels,
                         .level_bits = c->level_bits,
                         .n_tables = levels ? 1 : 0,
                         .level = levels ? c->level : NULL};
}

fb_status fb_activations_write(const fb_activations *a, fb_model *m, fb_act_code *codes,
                               int32_t only)
{
    fb_code_choice *choice = fb_calloc(m->n_tensors + 1, sizeof *choice);
    fb_encoding *enc = fb_calloc((size_t)a->n_groups + 1, sizeof *enc);
    fb_status status = choice && enc ? FB_OK : no_memory();
    for (uint32_t g = 0; g < a->n_groups && status == FB_OK; g++) {
        if (a->groups[g].fixed >= 0)
            enc[g] = a->job->model->tensors[a->groups[g].fixed].enc;
        else
            set_code(&codes[g], &enc[g]);
    }
    for (uint32_t k = 0; k < a->n && status == FB_OK; k++) {
        if (only < 0 || a->group[k] == (uint32_t)only)
            choice[a->tensors[k]].enc = &enc[a->group[k]];
    }
    if (status == FB_OK)
        status = fb_region_encode(m, &a->region, choice);
    fb_free(choice);
    fb_free(enc);
    return status;
}
