/* Trials of activation codes. */
#include "compress/act_search.h"

#include "base/status.h"
#include "compress/allocate.h"

#include <math.h>
#include <string.h>

enum { MOST_BITS = 16 };

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to try codes of activations");
}

fb_status fb_act_trials_open(const fb_activations *a, const fb_act_rule *rule, uint64_t images,
                             uint64_t floor_images, fb_act_trials *t)
{
    *t = (fb_act_trials){.a = a, .rule = rule};
    FB_TRY(fb_judge_open(a->job, images, &t->judge));
    fb_status status = floor_images ? fb_judge_open(a->job, floor_images, &t->floor) : FB_OK;
    if (status != FB_OK)
        fb_act_trials_close(t);
    return status;
}

void fb_act_trials_close(fb_act_trials *t)
{
    fb_judge_close(&t->judge);
    fb_judge_close(&t->floor);
}

/* --- one trial ------------------------------------------------------------------------------- */

static fb_status judge_codes(fb_act_trials *t, fb_judge *judge, fb_act_code *codes, int32_t only,
                             fb_verdict *verdict)
{
    fb_model *trial;
    FB_TRY(fb_model_clone(t->a->job->model, false, &trial));
    fb_status status = fb_activations_write(t->a, trial, codes, only);
    if (status == FB_OK)
        status = fb_judge_run(judge, trial, verdict);
    fb_model_close(&trial);
    return status;
}

static fb_status choose_all(const fb_act_trials *t, const unsigned *bits, const double *bound,
                            fb_act_code *codes)
{
    for (uint32_t g = 0; g < t->a->n_groups; g++)
        FB_TRY(fb_act_choose(t->a, g, t->rule, bits[g], bound[g], &codes[g]));
    return FB_OK;
}

/* --- bits ------------------------------------------------------------------------------------ */

typedef struct bit_search {
    fb_act_trials *t;
    const double *bound;
    double floor; /* least accuracy */
    bool top5;
    fb_item *items;     /* [n_groups] */
    fb_choice *choices; /* [n_groups][MOST_BITS] */
    unsigned *most;     /* [n_groups] bits of choice 0; choice k has k fewer */
    fb_act_code *codes; /* [n_groups] */
    unsigned *bits;     /* [n_groups] of the trial at hand */
} bit_search;

/* A group that is not searched: it has its codes, or stands at an edge with bits of its own. */
static bool is_settled(const bit_search *s, uint32_t g)
{
    const fb_act_group *group = &s->t->a->groups[g];
    unsigned edge = group->place == FB_ACT_LAST ? s->t->last : 0;
    return group->fixed >= 0 || group->place == FB_ACT_FIRST || s->most[g] <= edge;
}

/* The first node that writes one of the group's tensors; 0 for the network's input. */
static uint32_t writer_of(const fb_activations *a, uint32_t g)
{
    const fb_model *m = a->job->model;
    for (uint32_t k = 0; k < m->n_inputs; k++) {
        int32_t at = a->of_tensor[m->inputs[k]];
        if (at >= 0 && a->group[at] == g)
            return 0;
    }
    for (uint32_t i = 0; i < m->n_nodes; i++) {
        int32_t at = m->nodes[i].out[0] >= 0 ? a->of_tensor[m->nodes[i].out[0]] : -1;
        if (at >= 0 && a->group[at] == g)
            return i;
    }
    return 0;
}

/* Harm of the group alone, width by width, down to where it ruins the network. */
static fb_status sense_group(bit_search *s, uint32_t g)
{
    const double ruin = 1; /* nats */
    const fb_act_group *group = &s->t->a->groups[g];
    unsigned least = s->t->rule->grid == FB_ACT_AFFINE ? 2 : 1;
    fb_choice *choice = s->choices + (size_t)g * MOST_BITS;
    s->items[g] = (fb_item){choice, 1};
    choice[0] = (fb_choice){0, group->elems * s->most[g]};
    if (is_settled(s, g))
        return FB_OK;
    FB_TRY(fb_judge_hold(&s->t->judge, s->t->a->job->model, writer_of(s->t->a, g)));
    for (unsigned bits = s->most[g]; bits >= least; bits--) {
        unsigned k = s->most[g] - bits;
        fb_verdict verdict;
        FB_TRY(
            fb_act_choose(s->t->a, g, s->t->rule, bits, s->bound ? s->bound[g] : 1, &s->codes[g]));
        FB_TRY(judge_codes(s->t, &s->t->judge, s->codes, (int32_t)g, &verdict));
        if (verdict.loss > ruin && k > 0)
            break;
        choice[k] = (fb_choice){verdict.loss, group->elems * bits};
        s->items[g].n = k + 1;
    }
    return FB_OK;
}

static fb_status judge_pick(bit_search *s, const uint32_t *pick, bool *holds, fb_verdict *verdict)
{
    for (uint32_t g = 0; g < s->t->a->n_groups; g++)
        s->bits[g] = s->most[g] - pick[g];
    FB_TRY(choose_all(s->t, s->bits, s->bound, s->codes));
    FB_TRY(judge_codes(s->t, &s->t->floor, s->codes, -1, verdict));
    *holds = (s->top5 ? verdict->among_five : verdict->correct) >= s->floor - 1e-9;
    return FB_OK;
}

/* Bisects the price of a bit for the highest one whose assignment holds. pick [n_groups]: in, the
 * most bits, which hold. */
static fb_status bisect(bit_search *s, uint32_t *pick)
{
    uint32_t n = s->t->a->n_groups;
    double lo = log(1e-18), hi = log(1e3);
    uint32_t *trial = fb_calloc(n + 1, sizeof *trial), *failed = fb_calloc(n + 1, sizeof *failed);
    fb_status status = trial && failed ? FB_OK : no_memory();
    bool has_failed = false, holds;
    for (uint32_t step = 0; step < 48 && status == FB_OK; step++) {
        double price = exp((lo + hi) / 2);
        fb_verdict verdict;
        fb_allocate_at_price(s->items, n, price, trial);
        bool same = memcmp(trial, pick, n * sizeof *pick) == 0;
        bool fails = has_failed && memcmp(trial, failed, n * sizeof *pick) == 0;
        holds = same;
        if (!same && !fails) {
            FB_GO(fb_job_report(s->t->a->job, "bits: share out", step, 48));
            FB_GO(judge_pick(s, trial, &holds, &verdict));
        }
        if (holds) {
            lo = log(price);
            memcpy(pick, trial, n * sizeof *pick);
        } else {
            hi = log(price);
            has_failed = true;
            memcpy(failed, trial, n * sizeof *failed);
        }
    }
fail:
    fb_free(trial);
    fb_free(failed);
    return status;
}

static fb_status check_most(bit_search *s, const uint32_t *pick, double reference, double drop)
{
    bool holds;
    fb_verdict verdict;
    FB_TRY(judge_pick(s, pick, &holds, &verdict));
    if (holds)
        return FB_OK;
    double got = s->top5 ? verdict.among_five : verdict.correct;
    return fb_fail(FB_E_UNSUPPORTED,
                   "with the most bits everywhere the calibration images lose %.2f points, more "
                   "than drop=%g; begin with more bits",
                   100 * (reference - got), drop);
}

static fb_status search_bits(bit_search *s, double drop, unsigned *bits)
{
    uint32_t n = s->t->a->n_groups;
    uint32_t *pick = fb_calloc(n + 1, sizeof *pick);
    fb_verdict whole;
    fb_status status = pick ? FB_OK : no_memory();
    FB_GO(status);
    FB_GO(fb_judge_reference(&s->t->floor, &whole));
    double reference = s->top5 ? whole.among_five : whole.correct;
    s->floor = reference - drop / 100;
    FB_GO(check_most(s, pick, reference, drop));
    for (uint32_t g = 0; g < n; g++) {
        FB_GO(fb_job_report(s->t->a->job, "bits: each alone", g, n));
        FB_GO(sense_group(s, g));
    }
    FB_GO(bisect(s, pick));
    for (uint32_t g = 0; g < n; g++)
        bits[g] = s->most[g] - pick[g];
fail:
    fb_free(pick);
    return status;
}

fb_status fb_act_search_bits(fb_act_trials *t, double drop, bool top5, const double *bound,
                             unsigned *bits)
{
    uint32_t n = t->a->n_groups;
    bit_search s = {.t = t, .bound = bound, .top5 = top5};
    s.items = fb_calloc(n + 1, sizeof *s.items);
    s.choices = fb_calloc((size_t)n + 1, MOST_BITS * sizeof *s.choices);
    s.most = fb_calloc(n + 1, sizeof *s.most);
    s.bits = fb_calloc(n + 1, sizeof *s.bits);
    s.codes = fb_calloc(n + 1, sizeof *s.codes);
    fb_status status = no_memory();
    if (s.items && s.choices && s.most && s.bits && s.codes) {
        memcpy(s.most, bits, n * sizeof *bits);
        status = search_bits(&s, drop, bits);
    }
    fb_free(s.items);
    fb_free(s.choices);
    fb_free(s.most);
    fb_free(s.bits);
    fb_free(s.codes);
    return status;
}

/* --- bounds ---------------------------------------------------------------------------------- */

typedef struct bound_search {
    fb_act_trials *t;
    const unsigned *bits;
    fb_act_code *codes;  /* [n_groups] best so far */
    fb_act_code *trial;  /* [n_groups] */
    double *bound, *try; /* [n_groups] */
    double loss;         /* of `bound` */
    uint32_t done, total;
} bound_search;

/* Keeps `try` where it is better. */
static fb_status judge_bounds(bound_search *s)
{
    uint32_t n = s->t->a->n_groups;
    fb_verdict verdict;
    FB_TRY(fb_job_report(s->t->a->job, "bounds", s->done++, s->total));
    FB_TRY(judge_codes(s->t, &s->t->judge, s->trial, -1, &verdict));
    if (verdict.loss < s->loss) {
        s->loss = verdict.loss;
        memcpy(s->bound, s->try, n * sizeof *s->bound);
        memcpy(s->codes, s->trial, n * sizeof *s->codes);
    }
    return FB_OK;
}

static fb_status try_all(bound_search *s, double share)
{
    for (uint32_t g = 0; g < s->t->a->n_groups; g++)
        s->try[g] = share > 0 ? share : s->bound[g];
    FB_TRY(choose_all(s->t, s->bits, s->try, s->trial));
    return judge_bounds(s);
}

static fb_status try_one(bound_search *s, uint32_t g, double bound)
{
    uint32_t n = s->t->a->n_groups;
    memcpy(s->try, s->bound, n * sizeof *s->bound);
    memcpy(s->trial, s->codes, n * sizeof *s->codes);
    s->try[g] = fmin(bound, 1);
    if (s->try[g] == s->bound[g])
        return FB_OK;
    FB_TRY(fb_act_choose(s->t->a, g, s->t->rule, s->bits[g], s->try[g], &s->trial[g]));
    return judge_bounds(s);
}

static fb_status search_bounds(bound_search *s)
{
    enum { SWEEPS = 2 };
    static const int shares[] = {64, 56, 48, 40, 32, 28, 24, 20, 16, 12, 8, 6};
    const int n_shares = (int)(sizeof shares / sizeof shares[0]);
    uint32_t n = s->t->a->n_groups;
    s->total = SWEEPS * 3 * n + 1 + (uint32_t)n_shares;
    s->loss = INFINITY;
    FB_TRY(fb_judge_hold(&s->t->judge, s->t->a->job->model, 0));
    FB_TRY(try_all(s, 0));
    for (int i = 0; i < n_shares; i++)
        FB_TRY(try_all(s, shares[i] / 64.0));
    for (uint32_t k = 0; k < SWEEPS * n; k++) {
        uint32_t g = k % n;
        const fb_act_group *group = &s->t->a->groups[g];
        if (group->fixed >= 0 || group->place == FB_ACT_FIRST)
            continue;
        FB_TRY(try_one(s, g, s->bound[g] * 0.8));
        FB_TRY(try_one(s, g, s->bound[g] * 1.25));
        FB_TRY(try_one(s, g, 1));
    }
    return FB_OK;
}

fb_status fb_act_search_bound(fb_act_trials *t, const unsigned *bits, double *bound)
{
    uint32_t n = t->a->n_groups;
    bound_search s = {.t = t, .bits = bits, .bound = bound};
    s.codes = fb_calloc(n + 1, sizeof *s.codes);
    s.trial = fb_calloc(n + 1, sizeof *s.trial);
    s.try = fb_calloc(n + 1, sizeof *s.try);
    fb_status status = s.codes && s.trial && s.try ? search_bounds(&s) : no_memory();
    fb_free(s.codes);
    fb_free(s.trial);
    fb_free(s.try);
    return status;
}
