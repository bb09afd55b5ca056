/* Is there a preprocessing that the network likes better than the one it was given? */
#include "measure/why.h"

#include <math.h>
#include <string.h>

enum { SCREEN = 64 }; /* images on which every variant is tried; the best then get all of them */

static bool same_text(const fb_trial *t, const char *text, uint64_t limit)
{
    return t->limit == limit && strcmp(t->text, text) == 0;
}

/* The variant on `limit` images, run unless it has been; NULL when it does not fit the images or
 * gives the very same input as one before. */
static fb_status get(fb_why_state *s, const fb_prep *prep, uint64_t limit, const fb_trial **out)
{
    char text[512];
    *out = NULL;
    FB_TRY(fb_prep_format(prep, text, sizeof text));
    for (uint32_t i = 0; i < s->n_trials; i++) {
        if (same_text(&s->trials[i], text, limit)) {
            *out = s->trials[i].why ? NULL : &s->trials[i];
            return FB_OK;
        }
    }
    FB_ENSURE(s->n_trials < FB_WHY_TRIALS);
    fb_trial *t = &s->trials[s->n_trials];
    FB_TRY(fb_why_try(s, prep, limit, t));
    for (uint32_t i = 0; i < s->n_trials && !t->why; i++) {
        if (!s->trials[i].why && s->trials[i].limit == limit && s->trials[i].hash == t->hash)
            t->why = "the same input as another";
    }
    s->n_trials++;
    if (!t->why)
        *out = t;
    return FB_OK;
}

/* Whether all values of the data lie within 0..1, so that they are no pixels. */
static fb_status look_at_values(fb_why_state *s, const fb_prep *frame, bool *unit)
{
    fb_prep none;
    fb_data *data = NULL;
    float least = INFINITY, most = -INFINITY;
    size_t sample = (size_t)s->shape.height * s->shape.width * s->shape.channels;
    float *x = fb_calloc(sample, sizeof *x);
    uint32_t got = 0;
    *unit = false;
    FB_TRY(fb_prep_parse("none", &none));
    none.resize_h = frame->resize_h;
    none.resize_w = frame->resize_w;
    none.crop_h = frame->crop_h;
    none.crop_w = frame->crop_w;
    if (s->shape.channels != 3)
        none.order = frame->order;
    fb_status status =
        x ? fb_why_open(s, &none, 16, &data) : fb_fail(FB_E_MEMORY, "no memory for an image");
    do {
        if (status == FB_OK)
            status = fb_data_next(data, 1, x, NULL, &got);
        for (size_t i = 0; i < sample && status == FB_OK && got; i++) {
            least = x[i] < least ? x[i] : least;
            most = x[i] > most ? x[i] : most;
        }
    } while (status == FB_OK && got);
    fb_data_close(&data);
    fb_free(x);
    if (status == FB_E_MEMORY || status == FB_E_INTERNAL)
        return status;
    *unit = status == FB_OK && least >= 0 && most > 0 && most <= 1;
    return FB_OK; /* what else is wrong, the trials tell */
}

static uint64_t score(const fb_why_state *s, const fb_trial *t)
{
    return fb_why_read(s, t, s->reading, NULL);
}

/* How labels are to be read while preprocessings are compared: the plainest way that is nearly as
 * good as the best, each with the preprocessing that suits it. (Colours in the wrong order may look
 * like classes in the wrong order.) */
static void choose_reading(fb_why_state *s)
{
    uint64_t most[FB_READINGS] = {0}, best = 0;
    for (fb_reading r = FB_READ_PLAIN; r < FB_READINGS; r++) {
        for (uint32_t i = 0; i < s->n_trials; i++) {
            const fb_trial *t = &s->trials[i];
            uint64_t hits = t->why ? 0 : 1000 * fb_why_read(s, t, r, NULL) / t->n;
            most[r] = hits > most[r] ? hits : most[r];
        }
        best = most[r] > best ? most[r] : best;
    }
    while (10 * most[s->reading] < 9 * best)
        s->reading++;
}

/* How much better b is than a, both on the same images. */
typedef struct duel {
    uint64_t right_a, right_b, won, lost;
    double p;
} duel;

static fb_status compare(const fb_why_state *s, const fb_trial *a, const fb_trial *b,
                         uint32_t tests, duel *d)
{
    bool *ra = fb_calloc(2 * (size_t)a->n, sizeof *ra), *rb = ra + a->n;
    if (!ra)
        return fb_fail(FB_E_MEMORY, "no memory to compare %llu images", (unsigned long long)a->n);
    *d = (duel){.right_a = fb_why_read(s, a, s->reading, ra),
                .right_b = fb_why_read(s, b, s->reading, rb)};
    for (uint64_t i = 0; i < a->n; i++) {
        d->won += rb[i] && !ra[i];
        d->lost += ra[i] && !rb[i];
    }
    d->p = fb_sign_test(d->won, d->lost, tests * FB_READINGS);
    fb_free(ra);
    return FB_OK;
}

/* Runs variants on the screening images. */
static fb_status screen(fb_why_state *s, const fb_prep *preps, uint32_t n, uint64_t limit)
{
    for (uint32_t i = 0; i < n; i++) {
        const fb_trial *t;
        FB_TRY(get(s, &preps[i], limit, &t));
        s->n_tests += t != NULL;
    }
    return FB_OK;
}

/* The best on the screening images from trial `from` on, the earlier of two as good; NULL: none. */
static const fb_trial *best_of(const fb_why_state *s, uint32_t from, uint64_t limit)
{
    const fb_trial *best = NULL;
    for (uint32_t i = from; i < s->n_trials; i++) {
        const fb_trial *t = &s->trials[i];
        if (!t->why && t->limit == limit && (!best || score(s, t) > score(s, best)))
            best = t;
    }
    return best;
}

/* Tries everything and leaves the two that deserve all images: the best with the frame as it is,
 * and the best with another frame. */
static fb_status screen_all(fb_why_state *s, const fb_prep *base, uint64_t limit,
                            const fb_trial **normed, const fb_trial **framed)
{
    fb_prep norms[FB_WHY_NORMS_MOST], frames[FB_WHY_FRAMES_MOST];
    bool unit;
    FB_TRY(look_at_values(s, base, &unit));
    if (s->options->prep)
        FB_TRY(screen(s, s->options->prep, 1, limit));
    FB_TRY(screen(s, norms, fb_why_norms(s, base, unit, norms), limit));
    choose_reading(s);
    *normed = best_of(s, 0, limit);
    uint32_t n = fb_why_frames(s, *normed ? &(*normed)->prep : &norms[0], frames);
    FB_TRY(screen(s, frames, n, limit));
    *framed = best_of(s, 0, limit);
    if (*normed || !*framed)
        return FB_OK;
    n = fb_why_norms(s, &(*framed)->prep, unit, norms); /* in the first frame that fits */
    FB_TRY(screen(s, norms, n, limit));
    choose_reading(s);
    *framed = best_of(s, 0, limit);
    return FB_OK;
}

/* All images for the winners. A change of frame must be worth it: of two that are about as good the
 * one is taken that changes less. */
static fb_status choose(fb_why_state *s, const fb_trial *normed, const fb_trial *framed)
{
    const fb_trial *a = NULL, *b = NULL;
    if (normed)
        FB_TRY(get(s, &normed->prep, s->options->limit, &a));
    if (framed && framed != normed)
        FB_TRY(get(s, &framed->prep, s->options->limit, &b));
    if (a && b) {
        duel d;
        FB_TRY(compare(s, a, b, 1, &d));
        s->best = d.p < FB_WHY_SURE ? b : a;
    } else {
        s->best = a ? a : b;
    }
    return FB_OK;
}

/* The given one is clearly beaten. */
static fb_status say_better(fb_why_state *s, const duel *d)
{
    uint64_t n = s->best->n;
    double was = fb_why_percent(d->right_a, n), is = fb_why_percent(d->right_b, n);
    fb_why_say say = {
        .kind = "prep",
        .points = is - was,
        .what =
            fb_why_text(s,
                        "the preprocessing is wrong: with %s the network is right on %.1f%% of "
                        "%llu images, with %s on %.1f%% (%llu turn right and %llu wrong; by "
                        "chance that happens %s times)",
                        s->given->text, was, (unsigned long long)n, s->best->text, is,
                        (unsigned long long)d->won, (unsigned long long)d->lost, fb_why_odds(d->p)),
        .advice = fb_why_text(s, "give --prep %s", s->best->text),
        .n_numbers = 5,
        .numbers = {{"top1", was},
                    {"best_top1", is},
                    {"won", (double)d->won},
                    {"lost", (double)d->lost},
                    {"p", d->p}}};
    return fb_why_find(s, &say);
}

/* There is none to compare with: not given, or not fit for the images (`why`). */
static fb_status say_which(fb_why_state *s, const char *why)
{
    double is = fb_why_percent(score(s, s->best), s->best->n);
    fb_why_say say = {
        .kind = "prep",
        .points = (double)NAN,
        .what = fb_why_text(s,
                            "%s%s: of %u preprocessings, %s is right most often, on %.1f%% of %llu "
                            "images",
                            why ? "the preprocessing does not fit the images: " : "",
                            why ? why : "nothing says how an image becomes the network's input",
                            s->n_tests, s->best->text, is, (unsigned long long)s->best->n),
        .advice = fb_why_text(s, "give --prep %s", s->best->text),
        .n_numbers = 1,
        .numbers = {{"best_top1", is}}};
    return fb_why_find(s, &say);
}

/* Without labels: a variant whose answers are surer on nearly every image, though its input is no
 * larger (larger inputs make any network surer). */
static fb_status hint_at_surer(fb_why_state *s, uint64_t limit)
{
    const fb_trial *given, *best = NULL;
    uint64_t won_most = 0;
    FB_TRY(get(s, s->options->prep, limit, &given));
    for (uint32_t i = 0; given && i < s->n_trials; i++) {
        const fb_trial *t = &s->trials[i];
        uint64_t won = 0;
        if (t->why || t == given || t->limit != limit || t->power > 2 * given->power ||
            t->confidence < given->confidence + 0.1)
            continue;
        for (uint64_t k = 0; k < t->n; k++)
            won += t->sure[k] > given->sure[k];
        if (won > won_most) {
            won_most = won;
            best = t;
        }
    }
    double p = best ? fb_sign_test(won_most, best->n - won_most, s->n_tests) : 1;
    if (p >= FB_WHY_SURE)
        return FB_OK;
    fb_why_say say = {.kind = "prep",
                      .hint = true,
                      .points = (double)NAN,
                      .what = fb_why_text(
                          s,
                          "with %s the network is surer of its answers (%.0f%% on average, with "
                          "%s %.0f%%), on %llu of %llu images, which may mean that it was "
                          "trained so",
                          best->text, 100 * best->confidence, given->text, 100 * given->confidence,
                          (unsigned long long)won_most, (unsigned long long)best->n),
                      .advice = fb_why_text(s, "give images with labels to know"),
                      .n_numbers = 3,
                      .numbers = {{"confidence", 100 * given->confidence},
                                  {"best_confidence", 100 * best->confidence},
                                  {"p", p}}};
    return fb_why_find(s, &say);
}

/* The one that was given, on all images; what it says when it does not fit. */
static fb_status try_given(fb_why_state *s, const char **why)
{
    *why = NULL;
    s->total = 3 * s->options->limit + 14 * SCREEN;
    if (!s->options->prep)
        return FB_OK;
    FB_TRY(get(s, s->options->prep, s->options->limit, &s->given));
    if (!s->given)
        *why = s->trials[0].why;
    else
        s->total = 3 * s->given->n + 14 * (s->given->n < SCREEN ? s->given->n : SCREEN);
    return FB_OK;
}

/* Images to screen with: all of them where that is few enough. */
static uint64_t screen_limit(const fb_why_state *s)
{
    uint64_t limit = s->options->limit;
    if ((s->given && s->given->n <= SCREEN) || (limit && limit <= SCREEN))
        return limit;
    return SCREEN;
}

static fb_status fallback_frame(const fb_why_state *s, fb_prep *base)
{
    if (s->options->prep) {
        *base = *s->options->prep;
        return FB_OK;
    }
    bool picture = s->shape.height > 1 || s->shape.width > 1;
    FB_TRY(fb_prep_parse(picture ? "imagenet" : "none", base));
    if (picture)
        fb_prep_fit(base, s->shape.height, s->shape.width);
    return FB_OK;
}

static fb_status settle(fb_why_state *s, const char *why, uint64_t limit)
{
    duel d;
    if (!s->best) /* no variant fits: what the given one said, or the first of ours */
        return fb_fail(FB_E_ARG, "no preprocessing fits the images: %s",
                       why           ? why
                       : s->n_trials ? s->trials[0].why
                                     : "there is none to try");
    if (!s->labelled && !s->given)
        return fb_fail(FB_E_ARG, "without labels nobody can tell the preprocessing%s%s",
                       why ? ", and the one given does not fit: " : "; give it", why ? why : "");
    if (!s->labelled) {
        s->best = s->given;
        return hint_at_surer(s, limit);
    }
    if (!s->given)
        return say_which(s, why);
    FB_TRY(compare(s, s->given, s->best, s->n_tests, &d));
    if (s->best != s->given && d.p < FB_WHY_SURE)
        return say_better(s, &d);
    s->best = s->given;
    return FB_OK;
}

static fb_status list_variants(fb_why_state *s)
{
    fb_why_report *r = s->report;
    r->variants = fb_arena_array(s->memory, s->n_trials + 1, sizeof *r->variants);
    if (!r->variants)
        return fb_fail(FB_E_MEMORY, "no memory for the report");
    for (uint32_t i = 0; i < s->n_trials; i++) {
        const fb_trial *t = &s->trials[i];
        if (t->why)
            continue;
        r->variants[r->n_variants++] = (fb_why_variant){
            t->text, t->n,
            s->labelled ? fb_why_percent(fb_why_read(s, t, FB_READ_PLAIN, NULL), t->n)
                        : (double)NAN,
            100 * t->confidence};
    }
    return FB_OK;
}

fb_status fb_why_prep(fb_why_state *s)
{
    const fb_trial *normed, *framed;
    const char *why;
    fb_prep base;
    FB_TRY(fallback_frame(s, &base));
    FB_TRY(try_given(s, &why));
    uint64_t limit = screen_limit(s);
    FB_TRY(screen_all(s, &base, limit, &normed, &framed));
    if (s->labelled || !s->given)
        FB_TRY(choose(s, normed, framed));
    else
        s->best = s->given;
    FB_TRY(settle(s, why, limit));
    FB_TRY(list_variants(s));
    return fb_why_look_at(s, "preprocessing",
                          fb_why_text(s, "%u variants tried%s; looked at the rest with %s",
                                      s->n_tests, s->labelled ? "" : " (without labels)",
                                      s->best->text));
}
