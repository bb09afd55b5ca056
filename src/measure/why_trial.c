/* The network's answers on the images of one preprocessing. */
#include "measure/why.h"

#include "base/hash.h"

fb_status fb_why_open(const fb_why_state *s, const fb_prep *prep, uint64_t limit, fb_data **data)
{
    fb_data_options o = {
        .prep = *prep, .shape = s->shape, .limit = limit, .n_threads = s->options->decoders};
    return fb_data_open(s->options->data, &o, data);
}

/* What one preprocessing may be wrong about; anything else is wrong for all of them. */
static bool is_misfit(fb_status status)
{
    return status == FB_E_ARG || status == FB_E_UNSUPPORTED || status == FB_E_LIMIT;
}

typedef struct buffers {
    float *x, *scores;
} buffers;

static fb_status make_room(fb_why_state *s, uint64_t n, fb_trial *t, buffers *b)
{
    size_t batch = s->options->measure.batch;
    size_t sample = (size_t)s->shape.height * s->shape.width * s->shape.channels;
    t->top = fb_arena_array(s->memory, (size_t)n, sizeof *t->top);
    t->sure = fb_arena_array(s->memory, (size_t)n, sizeof *t->sure);
    t->label = fb_arena_array(s->memory, (size_t)n, sizeof *t->label);
    b->x = fb_calloc(batch, sample * sizeof *b->x);
    b->scores = fb_calloc(batch, s->classes * sizeof *b->scores);
    if (t->top && t->sure && t->label && b->x && b->scores)
        return FB_OK;
    return fb_fail(FB_E_MEMORY, "no memory for the answers to %llu images", (unsigned long long)n);
}

static double sum_of_squares(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static fb_status run_batches(fb_why_state *s, fb_data *data, fb_trial *t, const buffers *b)
{
    uint64_t n = fb_data_count(data);
    size_t sample = (size_t)s->shape.height * s->shape.width * s->shape.channels;
    fb_hash hash;
    fb_hash_init(&hash);
    while (t->n < n) {
        uint32_t got;
        FB_TRY(fb_why_progress(s, s->phase, s->done, s->total));
        FB_TRY(fb_data_next(data, s->options->measure.batch, b->x, t->label + t->n, &got));
        if (got == 0)
            break;
        fb_hash_add(&hash, b->x, got * sample * sizeof *b->x);
        t->power += sum_of_squares(b->x, got * sample);
        FB_TRY(fb_predictor_run(s->predictor, got, b->x, b->scores));
        for (uint32_t i = 0; i < got; i++) {
            fb_guess best;
            fb_top(b->scores + (size_t)i * s->classes, s->classes, 1, &best);
            t->top[t->n] = best.label;
            t->sure[t->n] = best.probability;
            t->confidence += (double)best.probability;
            t->n++;
        }
        s->done += got;
    }
    if (t->n == 0)
        return fb_fail(FB_E_ARG, "the data set has no images");
    t->hash = fb_hash_end(&hash);
    t->power /= (double)t->n * (double)sample;
    t->confidence /= (double)t->n;
    return FB_OK;
}

fb_status fb_why_try(fb_why_state *s, const fb_prep *prep, uint64_t limit, fb_trial *t)
{
    char text[512];
    fb_data *data = NULL;
    buffers b = {0};
    *t = (fb_trial){.prep = *prep, .limit = limit};
    FB_TRY(fb_prep_format(prep, text, sizeof text));
    t->text = fb_arena_string(s->memory, text);
    fb_status status = fb_why_open(s, prep, limit, &data);
    if (status == FB_OK) {
        s->labelled = fb_data_labelled(data);
        status = make_room(s, fb_data_count(data), t, &b);
    }
    if (status == FB_OK)
        status = run_batches(s, data, t, &b);
    fb_data_close(&data);
    fb_free(b.x);
    fb_free(b.scores);
    if (!is_misfit(status))
        return status;
    t->why = fb_arena_string(s->memory, fb_error());
    return t->why && t->text ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for the report");
}

fb_status fb_why_answers(fb_why_state *s, const fb_model *model, const char *phase, fb_trial *trial,
                         fb_status (*after)(fb_why_state *s, const fb_predictor *p))
{
    FB_TRY(fb_predictor_create(model, &s->options->measure, &s->predictor));
    s->phase = phase;
    s->done = 0;
    s->total = s->best->n;
    fb_status status = FB_OK;
    if (fb_predictor_classes(s->predictor) != s->classes)
        status = fb_fail(FB_E_ARG, "the compressed network has %u outputs, the float one %u",
                         fb_predictor_classes(s->predictor), s->classes);
    if (status == FB_OK)
        status = fb_why_try(s, &s->best->prep, s->best->limit, trial);
    if (status == FB_OK && trial->why)
        status = fb_fail(FB_E_ARG, "%s", trial->why);
    if (status == FB_OK && after)
        status = after(s, s->predictor);
    fb_predictor_destroy(&s->predictor);
    return status;
}
