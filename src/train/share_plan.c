/* From the options of a method to its rules. */
#include "train/share_plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- shares --------------------------------------------------------------------------------- */

/* "30/55/100", in percent. */
static fb_status parse_shares(const fb_recipe_step *step, const char *text, fb_share_rule *rule)
{
    const char *at = text;
    double before = 0;
    rule->n_steps = 0;
    for (;;) {
        char *end;
        double percent = strtod(at, &end);
        if (end == at || !(percent > before) || !(percent <= 100) || (*end && *end != '/') ||
            rule->n_steps == FB_SHARE_STEPS)
            return fb_fail(FB_E_ARG,
                           "step '%s': shares=%s is not a list of at most %d percentages above 0, "
                           "each larger than the one before, as in 30/55/75/90/100",
                           step->text, text, FB_SHARE_STEPS);
        rule->share[rule->n_steps++] = percent / 100;
        before = percent;
        at = end + 1;
        if (*end == '\0')
            break;
    }
    if (before != 100)
        return fb_fail(FB_E_ARG, "step '%s': shares=%s ends with %g, must end with 100", step->text,
                       text, before);
    return FB_OK;
}

/* The schedules of the papers are broken lines through [n] points at equal distances; other numbers
 * of steps lie on them. */
static double along(const double *point, uint32_t n, double t)
{
    double at = t * n;
    uint32_t i = (uint32_t)floor(at + 1e-9);
    double from = i > 0 ? point[i - 1] : 0;
    return i >= n ? 1 : from + (at - i) * (point[i] - from);
}

static void spread_shares(const fb_recipe_step *step, fb_share_rule *rule)
{
    static const double slq[5] = {0.3, 0.55, 0.75, 0.9, 1}, inq[4] = {0.3, 0.6, 0.8, 1};
    for (uint32_t i = 0; i < rule->n_steps; i++) {
        double t = (double)(i + 1) / rule->n_steps;
        if (step->method == &fb_method_mlq) /* half of what is left */
            rule->share[i] = 1 - ldexp(1, -(int)(i + 1));
        else
            rule->share[i] = step->method == &fb_method_inq ? along(inq, 4, t) : along(slq, 5, t);
    }
    rule->share[rule->n_steps - 1] = 1;
}

static fb_status set_shares(const fb_recipe_step *step, fb_share_rule *rule)
{
    const fb_option *steps = fb_step_option(step, "steps"),
                    *shares = fb_step_option(step, "shares");
    if (steps->given && shares->given)
        return fb_fail(FB_E_ARG,
                       "step '%s': shares= says how many steps there are, so steps= has "
                       "no place beside it",
                       step->text);
    if (shares->given)
        return parse_shares(step, shares->text, rule);
    rule->n_steps = (uint32_t)steps->number;
    spread_shares(step, rule);
    return FB_OK;
}

/* ---- the rest ------------------------------------------------------------------------------- */

static int32_t choice(const fb_recipe_step *step, const char *key)
{
    const fb_option *o = fb_step_option(step, key);
    return o ? o->choice : 0;
}

static fb_share_order order_of(const fb_recipe_step *step)
{
    if (step->method == &fb_method_inq)
        return FB_SHARE_BY_WEIGHT;
    if (step->method == &fb_method_mlq)
        return choice(step, "partition") == 0 ? FB_SHARE_BY_LAYER : FB_SHARE_BY_NET_CLUSTERS;
    return choice(step, "partition") == 0 ? FB_SHARE_BY_LOSS : FB_SHARE_BY_MAGNITUDE;
}

static fb_share_values values_of(const fb_recipe_step *step)
{
    if (step->method == &fb_method_inq)
        return FB_SHARE_TOPMOST;
    if (step->method == &fb_method_eslq)
        return FB_SHARE_POWERS;
    return choice(step, "levels") == 0 ? FB_SHARE_INTEGERS : FB_SHARE_FLOATS;
}

/* An odd number has 0 among them, as 2^(bits-1) + 1 and ternary have. */
static fb_status set_levels(const fb_recipe_step *step, fb_share_rule *rule)
{
    const fb_option *values = fb_step_option(step, "values");
    uint32_t bits = (uint32_t)fb_step_option(step, "bits")->number, most = 1u << bits;
    rule->n_levels = step->method == &fb_method_mlq ? most : most / 2 + 1;
    if (values && values->given)
        rule->n_levels = (uint32_t)values->number;
    if (rule->n_levels > most)
        return fb_fail(FB_E_ARG, "step '%s': %u values do not fit in %u bits, which hold %u",
                       step->text, rule->n_levels, bits, most);
    rule->with_zero = rule->n_levels % 2 == 1 || step->method == &fb_method_eslq;
    return FB_OK;
}

fb_status fb_share_plan_of(const fb_recipe_step *step, fb_share_plan *plan)
{
    const fb_method_def *m = step->method;
    FB_ENSURE(m->trains);
    *plan = (fb_share_plan){.ternary = m == &fb_method_twn || m == &fb_method_ttq,
                            .epochs = (uint32_t)fb_step_option(step, "epochs")->number,
                            .by_channel = choice(step, "channels") == 0,
                            .include = fb_step_option(step, "include")->text,
                            .exclude = fb_step_option(step, "exclude")->text};
    if (m == &fb_method_twn)
        plan->ternary_rule = choice(step, "fit") == 0 ? FB_TERNARY_TWN : FB_TERNARY_EXACT;
    if (m == &fb_method_ttq) {
        plan->ternary_rule = FB_TERNARY_TTQ;
        plan->part = (float)fb_step_option(step, "threshold")->number;
    }
    if (plan->ternary)
        return FB_OK;
    plan->rule = (fb_share_rule){.values = values_of(step),
                                 .fit = choice(step, "fit") == 0 ? FB_SHARE_EXACT : FB_SHARE_LLOYD,
                                 .order = order_of(step)};
    FB_TRY(set_levels(step, &plan->rule));
    return set_shares(step, &plan->rule);
}

bool fb_share_plan_wants(const fb_share_plan *plan, const char *layer)
{
    return (!*plan->include || fb_glob(plan->include, layer)) && !fb_glob(plan->exclude, layer);
}

fb_status fb_share_plan_scales(const fb_share_plan *plan, const float *w, size_t n, size_t channels,
                               float *scale)
{
    if (plan->by_channel)
        return fb_share_scales(w, n, channels, plan->ternary ? NULL : &plan->rule, scale);
    for (size_t c = 0; c < channels; c++)
        scale[c] = 1;
    return FB_OK;
}
