/* One layer in few bits at a time, judged by what the network answers. */
#include "fewbit/search.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/status.h"
#include "calibrate/range.h"
#include "compress/judge.h"
#include "compress/weights.h"
#include "search/state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct study {
    const fb_sensitivity_options *options;
    fb_job job; /* the float network is job.reference */
    fb_judge judge;
    fb_lines state;
    fb_sensitivity *result;
    bool *found;      /* [n_rows] */
    int32_t *tensors; /* [n_tensors] inputs that are tried */
    fb_stats *stats;  /* [n_tensors] of each */
    uint32_t n_tensors;
} study;

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the trials");
}

/* --- what a state file belongs to ------------------------------------------------------------ */

static void hash_tensor(fb_hash *h, const fb_tensor *t)
{
    fb_hash_add(h, t->dims, (size_t)t->rank * sizeof *t->dims);
    if (t->is_const)
        fb_hash_add(h, t->data, t->data_bytes);
}

fb_status fb_sensitivity_key(const fb_model *m, const fb_data *data, uint64_t images, char key[17])
{
    fb_hash h;
    fb_hash_init(&h);
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        fb_hash_add(&h, &n->op, sizeof n->op);
        fb_hash_add(&h, n->in, n->n_in * sizeof *n->in);
        fb_hash_add(&h, n->out, n->n_out * sizeof *n->out);
    }
    for (size_t t = 0; t < m->n_tensors; t++)
        hash_tensor(&h, &m->tensors[t]);
    const char *print = fb_data_fingerprint(data);
    uint64_t count = fb_data_count(data);
    fb_hash_add(&h, print, strlen(print));
    fb_hash_add(&h, &m->prep, sizeof m->prep);
    fb_hash_add(&h, &count, sizeof count);
    fb_hash_add(&h, &images, sizeof images);
    (void)snprintf(key, 17, "%016" PRIx64, fb_hash_end(&h));
    return FB_OK;
}

/* --- which trials ---------------------------------------------------------------------------- */

static bool has_float_weight(const fb_model *m, const fb_node *n)
{
    int32_t w = fb_node_weight(m, n);
    return w >= 0 && m->tensors[w].enc.kind == FB_ENC_PLAIN;
}

/* A float activation between layers that no earlier row tried. */
static bool is_new_input(const study *s, const fb_node *n)
{
    const fb_model *m = s->job.reference;
    int32_t t = n->in[0];
    bool fresh = t >= 0 && !m->tensors[t].is_const && m->tensors[t].enc.kind == FB_ENC_PLAIN;
    for (uint32_t k = 0; k < m->n_inputs; k++)
        fresh = fresh && m->inputs[k] != t;
    for (uint32_t k = 0; k < s->n_tensors; k++)
        fresh = fresh && s->tensors[k] != t;
    return fresh;
}

static void add_rows(study *s, uint32_t layer, fb_sense_what what)
{
    for (uint32_t b = 0; b < s->options->n_widths; b++)
        s->result->rows[s->result->n_rows++] =
            (fb_sense_row){.layer = layer, .what = what, .bits = s->options->widths[b]};
}

static fb_status list_rows(study *s)
{
    const fb_model *m = s->job.reference;
    size_t most = 2 * m->n_nodes * s->options->n_widths + 1;
    s->result->rows = fb_calloc(most, sizeof *s->result->rows);
    s->found = fb_calloc(most, sizeof *s->found);
    s->tensors = fb_calloc(m->n_nodes + 1, sizeof *s->tensors);
    s->stats = fb_calloc(m->n_nodes + 1, sizeof *s->stats);
    if (!s->result->rows || !s->found || !s->tensors || !s->stats)
        return no_memory();
    for (uint32_t i = 0; i < m->n_nodes; i++) {
        if (!has_float_weight(m, &m->nodes[i]))
            continue;
        add_rows(s, i, FB_SENSE_WEIGHTS);
        if (!s->options->weights_only && is_new_input(s, &m->nodes[i])) {
            s->tensors[s->n_tensors++] = m->nodes[i].in[0];
            add_rows(s, i, FB_SENSE_INPUT);
        }
    }
    if (s->result->n_rows == 0)
        return fb_fail(FB_E_UNSUPPORTED, "no conv or dense layer with constant float weights is "
                                         "there to try");
    return FB_OK;
}

/* Ranges of the inputs, over the images that judge: the same for a call that is continued. */
static fb_status gather_ranges(study *s)
{
    for (uint32_t k = 0; k < s->n_tensors; k++)
        FB_TRY(fb_stats_init(&s->stats[k]));
    if (s->n_tensors == 0)
        return FB_OK;
    fb_source source = fb_samples_source(&s->judge.samples);
    fb_watch_options o = fb_job_watch(&s->job, "calibrate");
    return fb_watch_stats(s->job.reference, &source, s->tensors, s->n_tensors, &o, s->stats);
}

/* --- one trial ------------------------------------------------------------------------------- */

static fb_status encode_weight(fb_model *trial, uint32_t layer, unsigned bits)
{
    fb_weight_rule rule = {.bits = bits, .per_channel = true, .range = FB_WEIGHT_MSE};
    fb_weight_codes codes;
    int32_t w = fb_node_weight(trial, &trial->nodes[layer]);
    FB_TRY(fb_weight_codes_init(&codes, &trial->tensors[w], &rule));
    fb_status status = fb_weight_codes_store(&codes, trial, w);
    fb_weight_codes_free(&codes);
    return status;
}

static fb_status encode_input(const study *s, fb_model *trial, uint32_t layer, unsigned bits)
{
    int32_t t = trial->nodes[layer].in[0], zero;
    float scale;
    uint32_t k = 0;
    while (s->tensors[k] != t)
        k++;
    fb_range r = fb_range_choose(FB_RANGE_MSE, &s->stats[k], bits, 0);
    fb_range_codes(r, bits, &scale, &zero);
    return fb_model_set_activation(trial, t, bits, false, scale, zero);
}

static fb_status try_row(study *s, fb_sense_row *row)
{
    fb_model *trial;
    fb_verdict verdict = {0};
    fb_status status;
    FB_TRY(fb_model_clone(s->job.reference, false, &trial));
    if (row->what == FB_SENSE_WEIGHTS)
        FB_GO(encode_weight(trial, row->layer, row->bits));
    else
        FB_GO(encode_input(s, trial, row->layer, row->bits));
    FB_GO(fb_judge_run(&s->judge, trial, &verdict));
    row->loss = verdict.loss;
    row->correct = verdict.correct;
fail:
    fb_model_close(&trial);
    return status;
}

static fb_status run_study(study *s)
{
    fb_sensitivity *r = s->result;
    char key[17];
    fb_verdict whole;
    FB_TRY(fb_sensitivity_key(s->job.reference, s->job.data, s->options->images, key));
    FB_TRY(list_rows(s));
    FB_TRY(fb_state_open(s->options->state, key, r->rows, s->found, r->n_rows, &s->state));
    FB_TRY(fb_judge_open(&s->job, s->options->images, &s->judge));
    FB_TRY(gather_ranges(s));
    FB_TRY(fb_judge_reference(&s->judge, &whole));
    r->images = whole.images;
    r->correct = whole.correct;
    r->labelled = s->judge.labelled;
    for (uint32_t i = 0; i < r->n_rows; i++) {
        r->n_found += s->found[i];
        FB_TRY(fb_job_report(&s->job, "sensitivity", i, r->n_rows));
        if (s->found[i])
            continue;
        FB_TRY(fb_judge_hold(&s->judge, s->job.reference, r->rows[i].layer));
        FB_TRY(try_row(s, &r->rows[i]));
        FB_TRY(fb_state_add(&s->state, &r->rows[i]));
    }
    return FB_OK;
}

static fb_status check(const fb_sensitivity_options *o)
{
    if (!o->data || o->images < 1 || o->n_widths < 1)
        return fb_fail(FB_E_ARG, "sensitivity needs data, at least one image and one width");
    for (uint32_t i = 0; i < o->n_widths; i++) {
        if (o->widths[i] < 2 || o->widths[i] > 16)
            return fb_fail(FB_E_ARG, "a width of %u bits is not within 2 to 16", o->widths[i]);
    }
    return FB_OK;
}

fb_status fb_sensitivity_run(const fb_model *model, const fb_sensitivity_options *options,
                             fb_sensitivity *result)
{
    *result = (fb_sensitivity){0};
    FB_TRY(check(options));
    study s = {.options = options,
               .result = result,
               .job = {.data = options->data,
                       .n_threads = options->n_threads,
                       .cpu = options->cpu,
                       .progress = options->progress,
                       .progress_user = options->progress_user}};
    fb_status status = fb_model_clone(model, false, &s.job.reference);
    if (status == FB_OK)
        status = run_study(&s);
    for (uint32_t k = 0; s.stats && k < s.n_tensors; k++)
        fb_stats_free(&s.stats[k]);
    fb_judge_close(&s.judge);
    fb_lines_close(&s.state);
    fb_model_close(&s.job.reference);
    fb_free(s.found);
    fb_free(s.tensors);
    fb_free(s.stats);
    if (status != FB_OK)
        fb_sensitivity_free(result);
    return status;
}

void fb_sensitivity_free(fb_sensitivity *result)
{
    fb_free(result->rows);
    *result = (fb_sensitivity){0};
}
