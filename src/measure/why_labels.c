/* Do the labels mean the network's classes? */
#include "measure/why.h"

#include <math.h>

static fb_status say_out_of_range(fb_why_state *s)
{
    const fb_trial *t = s->best;
    uint64_t beyond = 0;
    int32_t most = 0;
    for (uint64_t i = 0; i < t->n; i++) {
        most = t->label[i] > most ? t->label[i] : most;
        beyond += t->label[i] >= 0 && (uint32_t)t->label[i] >= s->classes;
    }
    if (beyond == 0)
        return FB_OK;
    fb_why_say say = {
        .kind = "labels-range",
        .points = fb_why_percent(beyond, t->n),
        .what = fb_why_text(s,
                            "the labels do not fit the network: %.1f%% of the images have one that "
                            "it cannot give (up to %d, but its classes are 0 to %u)",
                            fb_why_percent(beyond, t->n), most, s->classes - 1),
        .advice = "number the classes from 0, in the order of the network's outputs",
        .n_numbers = 3,
        .numbers = {{"images", (double)beyond},
                    {"largest_label", (double)most},
                    {"classes", (double)s->classes}}};
    return fb_why_find(s, &say);
}

static fb_status say_shifted(fb_why_state *s, fb_reading r, uint64_t was, uint64_t is, double p)
{
    const fb_trial *t = s->best;
    const char *way = r == FB_READ_UP ? "more" : "less";
    fb_why_say say = {
        .kind = "labels-shifted",
        .points = fb_why_percent(is, t->n) - fb_why_percent(was, t->n),
        .what = fb_why_text(s,
                            "the labels are off by one: the best class is the label on %.1f%% of "
                            "%llu images, but one %s than the label on %.1f%% (by chance %s times)",
                            fb_why_percent(was, t->n), (unsigned long long)t->n, way,
                            fb_why_percent(is, t->n), fb_why_odds(p)),
        .advice = r == FB_READ_UP
                      ? "add 1 to every label: the network's class 0 is probably the background"
                      : "take 1 from every label: they are probably counted from 1",
        .n_numbers = 4,
        .numbers = {{"top1", fb_why_percent(was, t->n)},
                    {"best_top1", fb_why_percent(is, t->n)},
                    {"shift", r == FB_READ_UP ? 1 : -1},
                    {"p", p}}};
    return fb_why_find(s, &say);
}

static fb_status say_mapped(fb_why_state *s, uint64_t was, uint64_t is, double p)
{
    const fb_trial *t = s->best;
    char map[256];
    uint32_t moved;
    FB_TRY(fb_why_show_map(s, t, map, &moved));
    fb_why_say say = {
        .kind = "labels-mixed",
        .points = fb_why_percent(is, t->n) - fb_why_percent(was, t->n),
        .what = fb_why_text(s,
                            "the labels stand for other classes: read as they are %.1f%% of %llu "
                            "images are right, read through the map that the other half of the "
                            "images shows %.1f%% (%u labels move: %s; by chance %s times)",
                            fb_why_percent(was, t->n), (unsigned long long)t->n,
                            fb_why_percent(is, t->n), moved, map, fb_why_odds(p)),
        .advice = "give a list of 'path label' lines with the network's own numbers: class folders "
                  "are numbered in the order of their names",
        .n_numbers = 4,
        .numbers = {{"top1", fb_why_percent(was, t->n)},
                    {"best_top1", fb_why_percent(is, t->n)},
                    {"moved", (double)moved},
                    {"p", p}}};
    return fb_why_find(s, &say);
}

/* How answers and labels are spread. */
typedef struct spread {
    uint64_t most; /* images that get the most frequent answer */
    double guess;  /* share that would be right if the two had nothing to do with each other */
} spread;

static fb_status measure_spread(const fb_why_state *s, spread *out)
{
    const fb_trial *t = s->best;
    uint64_t *answers = fb_calloc(s->classes, 2 * sizeof *answers), *labels = answers + s->classes;
    if (!answers)
        return fb_fail(FB_E_MEMORY, "no memory to count the answers");
    *out = (spread){0};
    for (uint64_t i = 0; i < t->n; i++) {
        answers[t->top[i]]++;
        if (t->label[i] >= 0 && (uint32_t)t->label[i] < s->classes)
            labels[t->label[i]]++;
    }
    for (uint32_t c = 0; c < s->classes; c++) {
        out->most = answers[c] > out->most ? answers[c] : out->most;
        out->guess += (double)answers[c] * (double)labels[c] / ((double)t->n * (double)t->n);
    }
    fb_free(answers);
    return FB_OK;
}

/* Few enough are right, of enough images, that labels given out at random would do as well. */
static bool is_chance(const fb_why_state *s, uint64_t hits, double guess)
{
    enum { ENOUGH = 20 };
    double n = (double)s->best->n;
    return s->best->n >= ENOUGH && (double)hits <= n * (guess + 0.1 * (1 - guess)) &&
           fb_binomial_tail(s->best->n, hits, guess) * (s->n_tests * FB_READINGS) >= FB_WHY_SURE;
}

/* Nothing makes it right more often than guessing would. */
static fb_status say_chance(fb_why_state *s, uint64_t hits)
{
    const fb_trial *t = s->best;
    spread d = {0};
    FB_TRY(measure_spread(s, &d));
    if (s->classes < 2 || !is_chance(s, hits, d.guess))
        return FB_OK;
    fb_why_say say = {
        .kind = "chance",
        .points = (double)NAN,
        .what =
            fb_why_text(s,
                        "the network does not know these images: %.1f%% of %llu are right where "
                        "chance gives %.2g%%, under every preprocessing and reading of the "
                        "labels; it is %.0f%% sure of its answers, and one class is the answer "
                        "to %.0f%% of the images",
                        fb_why_percent(hits, t->n), (unsigned long long)t->n, 100 * d.guess,
                        100 * t->confidence, fb_why_percent(d.most, t->n)),
        .advice = "check that these weights were trained, that the images are of its classes, and "
                  "that the labels belong to the images",
        .n_numbers = 3,
        .numbers = {{"top1", fb_why_percent(hits, t->n)},
                    {"confidence", 100 * t->confidence},
                    {"same_answer", fb_why_percent(d.most, t->n)}}};
    return fb_why_find(s, &say);
}

/* The best other reading against the plain one. */
static fb_status test_readings(fb_why_state *s, bool *other)
{
    const fb_trial *t = s->best;
    fb_reading r;
    bool *right = fb_calloc(2 * (size_t)t->n, sizeof *right), *plain = right + t->n;
    if (!right)
        return fb_fail(FB_E_MEMORY, "no memory to read the labels");
    uint64_t is = fb_why_read_best(s, t, right, &r), won = 0, lost = 0;
    uint64_t was = fb_why_read(s, t, FB_READ_PLAIN, plain);
    for (uint64_t i = 0; i < t->n; i++) {
        won += right[i] && !plain[i];
        lost += plain[i] && !right[i];
    }
    fb_free(right);
    double p = fb_sign_test(won, lost, s->n_tests * FB_READINGS);
    *other = r != FB_READ_PLAIN && p < FB_WHY_SURE;
    if (!*other)
        return FB_OK;
    return r == FB_READ_MAP ? say_mapped(s, was, is, p) : say_shifted(s, r, was, is, p);
}

fb_status fb_why_labels(fb_why_state *s)
{
    const fb_trial *t = s->best;
    bool other;
    if (!s->labelled)
        return fb_why_look_at(s, "labels", "there are none, so accuracy was not measured");
    FB_TRY(say_out_of_range(s));
    FB_TRY(test_readings(s, &other));
    uint64_t hits = fb_why_read(s, t, FB_READ_PLAIN, NULL);
    if (!other)
        FB_TRY(say_chance(s, hits));
    return fb_why_look_at(s, "labels",
                          fb_why_text(s,
                                      "as they are, one up, one down, and as another numbering "
                                      "of the classes; as they are %.1f%% are right",
                                      fb_why_percent(hits, t->n)));
}
