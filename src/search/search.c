/* The smallest network within a drop of accuracy: a price for each byte picks the widths, trials of
 * the whole network move the price. */
#define _POSIX_C_SOURCE 200809L
#include "fewbit/search.h"

#include "base/alloc.h"
#include "base/status.h"
#include "compress/judge.h"
#include "search/front.h"
#include "search/settings.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    MOST_TRIALS = 12,  /* that move the price */
    MOST_STEPS = 12,   /* of single layers, that fill what is left of the bound */
    SENSE_IMAGES = 64, /* that tell the harm of one layer alone */
    PRICE_STEPS = 60
};
/* How the whole network's loss compares with the sum of the layers' own, which are rounded to the
 * nearest code: what GPTQ leaves of it. The first trial's guess; measured afterwards. */
#define LOSS_LEFT 0.3
/* Trials go on until sizes within and beyond the bound are so close. */
#define CLOSE_ENOUGH 0.01
/* Share of the file that a step of one layer must save to be worth a trial: smaller ones are chosen
 * by the chance of the images rather than by the layers. */
#define WORTH 0.003
/* Standard errors of counted images that are laid to chance. */
#define CHANCE 1.5

static const char tail[] = "int8:bias=keep + gptq";

/* A price with what it leads to. */
typedef struct place {
    bool known;
    double harm;    /* predicted sum */
    double cost;    /* predicted bytes */
    uint32_t *pick; /* [n_layers], of good and bad alone */
    fb_search_trial trial;
} place;

typedef struct search {
    const fb_search_options *o;
    fb_search_result *r;
    fb_job job; /* the float network is job.reference */
    fb_judge judge;
    fb_settings settings;
    fb_journal journal;
    uint32_t *pick;  /* [n_layers] */
    bool *refused;   /* [n_layers] whose next width was tried and lost too much */
    fb_model *model; /* of the trial at hand; NULL when the journal knew it */
    place good, bad; /* on both sides of the bound that prices are moved by, nearest to it: good is
                        the side of 8 bits, with max_drop within the bound, else too large */
    place last;      /* tried */
    double base;     /* loss of all layers in 8 bits */
    double made;     /* share of the network that is being made */
    double floor;    /* share of correct images, before chance */
    double start;
} search;

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool by_drop(const search *s)
{
    return s->o->max_drop >= 0;
}

/* --- bounds ---------------------------------------------------------------------------------- */

/* Images that lost against images that were won: a difference whose spread is the number that
 * changed. */
static bool keeps_accuracy(const search *s, const fb_search_trial *t)
{
    double chance = CHANCE * sqrt((1 - t->agree) / (double)s->r->images);
    return t->loss <= s->r->ceiling && t->correct >= s->floor - chance;
}

static bool keeps_size(const search *s, const fb_search_trial *t)
{
    return s->o->max_bytes == 0 || t->bytes <= s->o->max_bytes;
}

static bool is_better(const search *s, const fb_search_trial *t)
{
    const fb_search_trial *best = &s->r->trials[s->r->best_trial];
    if ((by_drop(s) && !keeps_accuracy(s, t)) || !keeps_size(s, t))
        return false;
    if (s->r->best_trial == s->r->n_trials)
        return true;
    return by_drop(s) ? t->bytes < best->bytes : t->loss < best->loss;
}

/* --- trials ---------------------------------------------------------------------------------- */

/* The steps of making a network as one progress: ranges of activations, then codes. */
static bool show_making(void *user, const char *what, uint64_t done, uint64_t total)
{
    search *s = user;
    double part = total > 0 ? (double)done / (double)total : 1;
    char text[32];
    if (strcmp(what, "calibrate") == 0)
        s->made = 0.2 * part;
    else if (strcmp(what, "gptq") == 0)
        s->made = 0.2 + 0.8 * part;
    (void)snprintf(text, sizeof text, "network %u", s->r->n_trials + 1);
    return s->o->progress(s->o->progress_user, text, (uint64_t)(1000 * s->made), 1000);
}

static fb_status make_model(search *s, const char *method, fb_model **out)
{
    fb_compress_options c;
    fb_compress_options_default(&c);
    c.method = method;
    c.data = s->o->calibrate;
    c.seed = s->o->seed;
    c.n_threads = s->o->n_threads;
    c.cpu = s->o->cpu;
    s->made = 0;
    if (s->o->progress)
        c.progress = show_making;
    c.progress_user = s;
    return fb_compress(s->job.reference, &c, out);
}

static fb_status make_trial(search *s, fb_search_trial *t)
{
    fb_verdict v;
    FB_TRY(make_model(s, t->method, &s->model));
    FB_TRY(fb_model_file_bytes(s->model, &t->bytes));
    FB_TRY(fb_judge_run(&s->judge, s->model, &v));
    t->loss = v.loss;
    t->correct = v.correct;
    t->agree = v.agree;
    FB_TRY(fb_journal_add(&s->journal, t));
    return s->o->folder ? fb_front_keep(s->o->folder, &s->journal, s->model) : FB_OK;
}

static void take_best(search *s)
{
    s->r->best_trial = s->r->n_trials - 1;
    fb_model_close(&s->r->best);
    s->r->best = s->model;
    s->model = NULL;
}

/* Tries `method`, unless that was done before; copies what came of it to the results. */
static fb_status try_method(search *s, const char *method, place *at)
{
    for (uint32_t i = 0; i < s->r->n_trials; i++) {
        if (strcmp(s->r->trials[i].method, method) == 0) {
            at->trial = s->r->trials[i];
            at->known = true;
            return FB_OK;
        }
    }
    const fb_search_trial *found = fb_journal_find(&s->journal, method);
    at->trial = (fb_search_trial){.method = method};
    s->r->n_found += found != NULL;
    fb_model_close(&s->model);
    if (!found)
        FB_TRY(make_trial(s, &at->trial));
    found = fb_journal_find(&s->journal, method);
    if (!found)
        return fb_fail(FB_E_INTERNAL, "a trial is not in the journal");
    at->trial = *found;
    at->known = true;
    bool none = s->r->best_trial == s->r->n_trials, better = is_better(s, found);
    s->r->trials[s->r->n_trials++] = *found;
    if (none)
        s->r->best_trial = s->r->n_trials;
    if (better)
        take_best(s);
    return FB_OK;
}

static fb_status try_pick(search *s, place *at)
{
    char *method = fb_settings_text(&s->settings, s->pick, tail);
    if (!method)
        return fb_fail(FB_E_MEMORY, "no memory for a method text");
    at->harm = fb_allocated_harm(s->settings.items, s->settings.n_layers, s->pick);
    at->cost = (double)fb_allocated_cost(s->settings.items, s->settings.n_layers, s->pick);
    fb_status status = try_method(s, method, at);
    fb_free(method);
    return status;
}

/* --- prices ---------------------------------------------------------------------------------- */

/* Whether widths at this price are on the side of higher prices: more harm than `most`, or less
 * cost than `least`. */
static bool is_beyond(search *s, double log_price, double most_harm, double least_cost)
{
    const fb_settings *g = &s->settings;
    fb_allocate_at_price(g->items, g->n_layers, exp(log_price), s->pick);
    return fb_allocated_harm(g->items, g->n_layers, s->pick) > most_harm ||
           (double)fb_allocated_cost(g->items, g->n_layers, s->pick) <= least_cost;
}

/* The dearest widths of predicted harm `harm` at most, or the cheapest ones that cost `cost` or
 * less: the price of a byte by bisection of its logarithm. */
static void pick_by_harm(search *s, double harm)
{
    double lo = -60, hi = 10;
    for (int i = 0; i < PRICE_STEPS; i++) {
        double mid = (lo + hi) / 2;
        *(is_beyond(s, mid, harm, -1) ? &hi : &lo) = mid;
    }
    (void)is_beyond(s, lo, harm, -1);
}

static void pick_by_cost(search *s, double cost)
{
    double lo = -60, hi = 10;
    for (int i = 0; i < PRICE_STEPS; i++) {
        double mid = (lo + hi) / 2;
        *(is_beyond(s, mid, INFINITY, cost) ? &hi : &lo) = mid;
    }
    (void)is_beyond(s, hi, INFINITY, cost);
}

/* Predicted harm whose network should lose just what it may: on a line through the logarithms of
 * what lies within and what lies beyond, or in proportion to the one that is known. */
static double next_harm(const search *s)
{
    const place *g = &s->good, *b = &s->bad;
    const double base = s->base;
    double left = fmax(s->r->ceiling - base, 0.02 * s->r->ceiling);
    if (g->harm > 0 && b->known) {
        double g_loss = fmax(g->trial.loss - base, 1e-9), b_loss = b->trial.loss - base;
        double share = b_loss > g_loss ? log(left / g_loss) / log(b_loss / g_loss) : 0.5;
        share = fmin(fmax(share, 0.15), 0.85);
        return exp(log(g->harm) + share * (log(b->harm) - log(g->harm)));
    }
    if (g->trial.loss - base > 0.01 * left)
        return g->harm * fmin(fmax(left / (g->trial.loss - base), 1.1), 4);
    if (b->known)
        return b->harm * fmin(left / (b->trial.loss - base), 0.8);
    return left / LOSS_LEFT;
}

/* Predicted cost whose file should just fit: what the last file has beside its codes stays about
 * the same. */
static double next_cost(const search *s)
{
    double beside = (double)s->last.trial.bytes - s->last.cost;
    return (double)s->o->max_bytes - beside;
}

/* Every call gets somewhere: one new trial is made however short the time is. */
static bool is_up(const search *s)
{
    return s->o->time_limit > 0 && s->r->n_trials > s->r->n_found &&
           now() - s->start > s->o->time_limit;
}

/* Whether the trial is on the side from which the bound is approached. */
static bool is_good(const search *s, const fb_search_trial *t)
{
    return by_drop(s) ? keeps_accuracy(s, t) : !keeps_size(s, t);
}

static bool is_close(const search *s)
{
    double a = (double)s->good.trial.bytes, b = (double)s->bad.trial.bytes;
    if (!by_drop(s))
        a = (double)s->o->max_bytes;
    return s->good.known && s->bad.known && a - b <= CLOSE_ENOUGH * a;
}

/* Keeps what was just tried on its side of the bound. */
static void place_it(search *s, const place *at)
{
    place *side = is_good(s, &at->trial) ? &s->good : &s->bad;
    uint32_t *pick = side->pick;
    *side = s->last = *at;
    side->pick = pick;
    memcpy(pick, s->pick, s->settings.n_layers * sizeof *pick);
}

static bool is_tried(const search *s)
{
    size_t bytes = s->settings.n_layers * sizeof *s->pick;
    return memcmp(s->pick, s->good.pick, bytes) == 0 ||
           (s->bad.known && memcmp(s->pick, s->bad.pick, bytes) == 0);
}

/* Moves the price until networks within and beyond the bound are close, or none lies between. */
static fb_status move_price(search *s)
{
    for (int i = 0; i < MOST_TRIALS && !is_close(s); i++) {
        if (is_up(s)) {
            s->r->finished = false;
            return FB_OK;
        }
        if (by_drop(s))
            pick_by_harm(s, next_harm(s));
        else
            pick_by_cost(s, next_cost(s));
        if (is_tried(s))
            return FB_OK;
        place at = {0};
        FB_TRY(try_pick(s, &at));
        place_it(s, &at);
    }
    return FB_OK;
}

/* The layer whose next width saves most of those that should do no more than `harm`; n_layers:
 * none. */
static uint32_t best_step(const search *s, const bool *refused, double harm)
{
    uint32_t n = s->settings.n_layers, best = n;
    double most = WORTH * (double)s->good.trial.bytes;
    for (uint32_t l = 0; l < n; l++) {
        uint32_t k = s->good.pick[l];
        const fb_choice *c = s->settings.layers[l].choices + k;
        if (refused[l] || k + 1 == FB_SETTING_WIDTHS || c[1].harm - c[0].harm > harm)
            continue;
        double saved = (double)c[0].cost - (double)c[1].cost;
        best = saved > most ? l : best;
        most = fmax(saved, most);
    }
    return best;
}

/* Layers by ones, where what the price left of the bound should do for them: prices find only the
 * choices on the convex hull. */
static fb_status fill(search *s, bool *refused)
{
    for (int i = 0; i < MOST_STEPS; i++) {
        const place *g = &s->good;
        double left = s->r->ceiling - g->trial.loss;
        double rate = g->harm > 0 ? (g->trial.loss - s->base) / g->harm : LOSS_LEFT;
        uint32_t l = best_step(s, refused, left / fmax(rate, 1e-3 * LOSS_LEFT));
        if (l == s->settings.n_layers)
            return FB_OK;
        if (is_up(s)) {
            s->r->finished = false;
            return FB_OK;
        }
        place at = {0};
        memcpy(s->pick, g->pick, s->settings.n_layers * sizeof *s->pick);
        s->pick[l]++;
        FB_TRY(try_pick(s, &at));
        refused[l] = !is_good(s, &at.trial) || at.trial.bytes >= g->trial.bytes;
        if (!refused[l])
            place_it(s, &at);
    }
    return FB_OK;
}

/* All layers in 8 bits come first: their loss is the part that widths cannot take away. */
static fb_status choose_widths(search *s, bool *refused)
{
    place at = {0};
    memset(s->pick, 0, s->settings.n_layers * sizeof *s->pick);
    FB_TRY(try_pick(s, &at));
    s->base = at.trial.loss;
    if (!is_good(s, &at.trial)) /* 8 bits lose too much, or are small enough */
        return FB_OK;
    place_it(s, &at);
    FB_TRY(move_price(s));
    return by_drop(s) && s->r->finished ? fill(s, refused) : FB_OK;
}

/* --- the search ------------------------------------------------------------------------------ */

static fb_status open_journal(search *s)
{
    char key[64], line[160];
    static _Thread_local char path[FB_FRONT_PATH];
    FB_TRY(fb_sensitivity_key(s->job.reference, s->o->judge, s->r->images, key));
    (void)snprintf(line, sizeof line, "%s %s %" PRIu64 " %s", key,
                   fb_data_fingerprint(s->o->calibrate), s->o->seed, fb_version());
    if (s->o->folder && snprintf(path, sizeof path, "%s/trials.txt", s->o->folder) >= FB_FRONT_PATH)
        return fb_fail(FB_E_ARG, "the name of the folder '%.200s...' is too long", s->o->folder);
    return fb_journal_open(s->o->folder ? path : NULL, line, &s->journal);
}

static fb_status sense(search *s)
{
    char path[FB_FRONT_PATH] = "";
    fb_sensitivity rows;
    if (s->o->folder)
        (void)snprintf(path, sizeof path, "%s/layers.txt", s->o->folder);
    fb_sensitivity_options o = {.data = s->o->judge,
                                .images = s->r->images < SENSE_IMAGES ? s->r->images : SENSE_IMAGES,
                                .widths = fb_setting_bits,
                                .n_widths = FB_SETTING_WIDTHS,
                                .weights_only = true,
                                .state = path[0] ? path : NULL,
                                .n_threads = s->o->n_threads,
                                .cpu = s->o->cpu,
                                .progress = s->o->progress,
                                .progress_user = s->o->progress_user};
    FB_TRY(fb_sensitivity_run(s->job.reference, &o, &rows));
    fb_settings_take(&s->settings, &rows);
    fb_sensitivity_free(&rows);
    return FB_OK;
}

/* The best trial's network, where an earlier call made it. */
static fb_status find_best(search *s)
{
    char path[FB_FRONT_PATH];
    fb_search_result *r = s->r;
    if (r->best || r->best_trial == r->n_trials)
        return FB_OK;
    const char *method = r->trials[r->best_trial].method;
    const fb_search_trial *t = fb_journal_find(&s->journal, method);
    if (t && s->o->folder && fb_front_path(s->o->folder, (uint32_t)(t - s->journal.trials), path) &&
        fb_model_open(path, &r->best) == FB_OK) {
        const char *made = fb_model_note(r->best, "method");
        if (made && strcmp(made, method) == 0)
            return FB_OK;
        fb_model_close(&r->best);
    }
    return make_model(s, method, &r->best);
}

static fb_status run(search *s)
{
    fb_verdict whole;
    FB_TRY(fb_judge_open(&s->job, UINT64_MAX, &s->judge));
    FB_TRY(fb_judge_reference(&s->judge, &whole));
    s->r->images = whole.images;
    s->r->labelled = s->judge.labelled;
    s->r->correct = whole.correct;
    s->r->ceiling = by_drop(s) ? FB_NATS_A_POINT * s->o->max_drop : 0;
    s->floor = whole.correct - s->o->max_drop / 100 - 1e-9;
    FB_TRY(open_journal(s));
    FB_TRY(fb_settings_init(s->job.reference, &s->settings));
    size_t n = s->settings.n_layers;
    s->pick = fb_calloc(n, sizeof *s->pick);
    s->good.pick = fb_calloc(n, sizeof *s->pick);
    s->bad.pick = fb_calloc(n, sizeof *s->pick);
    s->refused = fb_calloc(n, sizeof *s->refused);
    s->r->trials = fb_calloc(1 + MOST_TRIALS + MOST_STEPS, sizeof *s->r->trials);
    if (!s->pick || !s->good.pick || !s->bad.pick || !s->refused || !s->r->trials)
        return fb_fail(FB_E_MEMORY, "no memory for the search");
    FB_TRY(sense(s));
    FB_TRY(choose_widths(s, s->refused));
    return find_best(s);
}

static fb_status check(const fb_search_options *o)
{
    if (!o->calibrate || !o->judge)
        return fb_fail(FB_E_ARG, "a search needs images to calibrate with and others to judge by");
    if (o->max_drop < 0 && o->max_bytes == 0)
        return fb_fail(FB_E_ARG, "a search needs a bound: of the drop of accuracy, or of the size");
    return FB_OK;
}

fb_status fb_search(const fb_model *model, const fb_search_options *options,
                    fb_search_result *result)
{
    *result = (fb_search_result){.finished = true};
    FB_TRY(check(options));
    search s = {.o = options,
                .r = result,
                .job = {.data = options->judge,
                        .seed = options->seed,
                        .n_threads = options->n_threads,
                        .cpu = options->cpu,
                        .progress = options->progress,
                        .progress_user = options->progress_user},
                .start = now()};
    fb_status status = fb_model_clone(model, false, &s.job.reference);
    if (status == FB_OK)
        status = run(&s);
    fb_status texts = fb_front_own(result);
    fb_judge_close(&s.judge);
    fb_journal_close(&s.journal);
    fb_settings_free(&s.settings);
    fb_model_close(&s.model);
    fb_model_close(&s.job.reference);
    fb_free(s.pick);
    fb_free(s.good.pick);
    fb_free(s.bad.pick);
    fb_free(s.refused);
    status = status == FB_OK ? texts : status;
    if (status != FB_OK)
        fb_search_free(result);
    return status;
}
