/* One tensor against another, and the verdict over all of them. */
#include "measure/verify.h"

#include "measure/feed.h"

#include "base/status.h"

#include <math.h>
#include <string.h>

/* Read in pieces, so that a large tensor needs no second copy. */
enum { PIECE = 1024 };

static bool holds_integers(const fb_view *v)
{
    return v->dtype != FB_F32 && v->dtype != FB_F64 && v->dtype != FB_F16 && v->dtype != FB_BF16;
}

/* Stored numbers without scale, zero and levels, so that integers differ by whole steps. */
static fb_view stored(const fb_view *v)
{
    fb_view raw = *v;
    raw.scale = 1;
    raw.zero = 0;
    raw.level = NULL;
    return raw;
}

static double largest(const fb_view *v)
{
    float x[PIECE];
    double most = 0;
    for (size_t at = 0; at < v->n_elems; at += PIECE) {
        size_t n = v->n_elems - at < PIECE ? v->n_elems - at : PIECE;
        fb_view_read(v, at, n, x);
        for (size_t i = 0; i < n; i++) {
            double a = fabs((double)x[i]);
            if (a > most && !isinf(a))
                most = a;
        }
    }
    return most;
}

static void note_wrong(fb_verify_layer *row, uint64_t at, double expected, double got)
{
    if (row->wrong++ == 0) {
        row->at = at;
        row->expected = expected;
        row->got = got;
    }
}

/* Difference in units of `unit`; two NaN or two equal infinities do not differ. */
static double distance(double a, double b, double unit)
{
    if (a == b || (isnan(a) && isnan(b)))
        return 0;
    double d = fabs(a - b) / unit;
    return isnan(d) ? (double)INFINITY : d;
}

static void compare_values(fb_verify_layer *row, const fb_view *want, const fb_view *got,
                           double unit, double bound)
{
    float a[PIECE], b[PIECE];
    for (size_t at = 0; at < want->n_elems; at += PIECE) {
        size_t n = want->n_elems - at < PIECE ? want->n_elems - at : PIECE;
        fb_view_read(want, at, n, a);
        fb_view_read(got, at, n, b);
        for (size_t i = 0; i < n; i++) {
            double d = distance((double)a[i], (double)b[i], unit);
            if (d > row->worst)
                row->worst = d;
            if (d > bound)
                note_wrong(row, at + i, (double)a[i], (double)b[i]);
        }
    }
}

void fb_verify_compare(fb_verify_layer *row, const fb_view *want, const fb_view *got,
                       const fb_view *many, bool from_float)
{
    bool integers = holds_integers(want);
    fb_view w = stored(want), g = stored(got), m = stored(many);
    size_t bytes = want->bytes;
    row->exact = integers && !from_float;
    row->elems += want->n_elems;
    if (integers) {
        uint64_t before = row->wrong;
        bool differ = memcmp(want->data, got->data, bytes) != 0;
        if (differ)
            compare_values(row, &w, &g, 1, from_float ? 1 : 0);
        if (differ && row->exact && row->wrong == before)
            note_wrong(row, 0, 0, 0); /* wider than the 24 bits that a float shows */
    } else {
        double unit = largest(&w);
        compare_values(row, &w, &g, unit > 0 ? unit : 1, FB_VERIFY_BOUND);
    }
    if (memcmp(got->data, many->data, bytes) != 0)
        compare_values(row, &g, &m, 1, 0);
}

fb_status fb_verify_conclude(fb_verify_report *report)
{
    const fb_verify_layer *first = NULL;
    report->elems = report->wrong = 0;
    for (uint32_t i = 0; i < report->n_layers; i++) {
        const fb_verify_layer *l = &report->layers[i];
        report->elems += l->elems;
        report->wrong += l->wrong;
        if (l->wrong && !first)
            first = l;
    }
    if (!first)
        return FB_OK;
    return fb_fail(FB_E_MISMATCH,
                   "layer '%s' (%s, kernel %s): output %llu is %.9g, but the reference says %.9g; "
                   "%llu of %llu values differ in all",
                   first->name, first->op, first->kernel, (unsigned long long)first->at, first->got,
                   first->expected, (unsigned long long)report->wrong,
                   (unsigned long long)report->elems);
}
