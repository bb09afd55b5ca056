/* Findings into the report. */
#include "measure/why.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *fb_why_text(fb_why_state *s, const char *format, ...)
{
    char text[2048];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return fb_arena_string(s->memory, text);
}

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the report");
}

/* Room for one more in one of the report's lists. */
static bool grow(void *list, size_t *cap, uint32_t n, size_t bytes)
{
    void **items = list;
    return fb_grow(items, cap, (size_t)n + 1, bytes);
}

fb_status fb_why_find(fb_why_state *s, const fb_why_say *say)
{
    fb_why_report *r = s->report;
    fb_why_number *numbers =
        fb_arena_array(s->memory, say->n_numbers ? say->n_numbers : 1, sizeof *numbers);
    void *list = r->findings;
    if (!say->what || !say->advice || !numbers ||
        !grow(&list, &s->cap_findings, r->n_findings, sizeof *r->findings))
        return no_memory();
    r->findings = list;
    for (uint32_t i = 0; i < say->n_numbers; i++)
        numbers[i] = say->numbers[i];
    r->findings[r->n_findings++] = (fb_why_finding){.kind = say->kind,
                                                    .hint = say->hint,
                                                    .points = say->points,
                                                    .layer = say->layer,
                                                    .what = say->what,
                                                    .advice = say->advice,
                                                    .numbers = numbers,
                                                    .n_numbers = say->n_numbers};
    return FB_OK;
}

fb_status fb_why_look_at(fb_why_state *s, const char *at, const char *result)
{
    fb_why_report *r = s->report;
    void *list = r->looks;
    if (!result || !grow(&list, &s->cap_looks, r->n_looks, sizeof *r->looks))
        return no_memory();
    r->looks = list;
    r->looks[r->n_looks++] = (fb_why_look){at, result};
    return FB_OK;
}

/* Hints last; else the larger cost first, an unmeasured one behind all measured ones. */
static bool before(const fb_why_finding *a, const fb_why_finding *b)
{
    if (a->hint != b->hint)
        return b->hint;
    if (isnan(a->points) || isnan(b->points))
        return !isnan(a->points) && isnan(b->points);
    return a->points > b->points;
}

void fb_why_sort(fb_why_report *r)
{
    for (uint32_t i = 1; i < r->n_findings; i++) {
        fb_why_finding f = r->findings[i];
        uint32_t at = i;
        for (; at > 0 && before(&f, &r->findings[at - 1]); at--)
            r->findings[at] = r->findings[at - 1];
        r->findings[at] = f;
    }
    r->n_hints = 0;
    for (uint32_t i = 0; i < r->n_findings; i++)
        r->n_hints += r->findings[i].hint;
}

const char *fb_why_odds(double p)
{
    static _Thread_local char text[48];
    if (p < 1e-9)
        return "less than one in a billion";
    if (p < 1e-6)
        return "less than one in a million";
    double ways = floor(1 / p);
    (void)snprintf(text, sizeof text, "about one in %.0f",
                   ways > 1000 ? floor(ways / 100) * 100 : ways);
    return text;
}

fb_status fb_why_progress(fb_why_state *s, const char *what, uint64_t done, uint64_t total)
{
    const fb_measure_options *o = &s->options->measure;
    total = total > done ? total : done;
    if (o->progress && !o->progress(o->progress_user, what, done, total))
        return fb_fail(FB_E_INTERRUPTED, "interrupted while %s", what);
    return FB_OK;
}
