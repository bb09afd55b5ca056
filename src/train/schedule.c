#include "train/schedule.h"

#include "base/status.h"

#include <math.h>
#include <string.h>

fb_status fb_schedule_parse(const char *text, fb_schedule_kind *kind)
{
    static const char *const names[] = {"constant", "step", "cosine", "one-cycle"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *kind = (fb_schedule_kind)i;
            return FB_OK;
        }
    }
    return fb_fail(FB_E_ARG, "schedule '%s' is none of constant, step, cosine, one-cycle", text);
}

/* From a to b along half a cosine, u in [0, 1]. */
static double ease(double a, double b, double u)
{
    return b + (a - b) * (1 + cos(3.14159265358979323846 * u)) / 2;
}

/* The peak and the end fall on whole steps, as in PyTorch: step 0.3 n - 1 and step n - 1. */
static double one_cycle(const fb_schedule *s, uint64_t step)
{
    double peak = 0.3 * (double)s->steps - 1, last = (double)s->steps - 1, at = (double)step;
    double low = s->rate / 25;
    if (at <= peak)
        return ease(low, s->rate, peak > 0 ? at / peak : 1);
    peak = peak > 0 ? peak : 0;
    return ease(s->rate, low / 1e4, last > peak ? (at - peak) / (last - peak) : 1);
}

double fb_schedule_rate(const fb_schedule *s, uint64_t step)
{
    double t = (double)step / (double)s->steps, rate = s->rate;
    if (s->kind == FB_SCHEDULE_STEP)
        rate *= t < 0.5 ? 1 : t < 0.75 ? 0.1 : 0.01;
    else if (s->kind == FB_SCHEDULE_COSINE)
        rate = ease(rate, 0, t);
    else if (s->kind == FB_SCHEDULE_ONE_CYCLE)
        rate = one_cycle(s, step);
    if (step < s->warmup)
        rate *= (double)(step + 1) / (double)s->warmup;
    return rate;
}
