/* Ranges of activations: outputs that stick at their ends, and whether enough images chose them. */
#include "measure/why_small.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- saturation --------------------------------------------------------------------------------
 */

/* The values at the two ends of an encoding's codes and half the distance to their neighbours. */
typedef struct ends {
    float low, high, low_slack, high_slack;
} ends;

static bool find_ends(const fb_encoding *e, ends *out)
{
    float scale = e->scale ? e->scale[0] : 0;
    float zero = e->zero ? (float)e->zero[0] : 0;
    if (e->kind == FB_ENC_AFFINE && e->bits >= 2) {
        float least = e->is_signed ? -(float)(1 << (e->bits - 1)) : 0;
        float most = least + (float)((1 << e->bits) - 1);
        *out = (ends){scale * (least - zero), scale * (most - zero), scale / 2, scale / 2};
        return true;
    }
    if (e->kind == FB_ENC_LEVELS && e->n_levels >= 3) {
        const float *l = e->level, *last = l + e->n_levels - 1;
        *out = (ends){scale * (l[0] - zero), scale * (*last - zero), scale * (l[1] - l[0]) / 2,
                      scale * (last[0] - last[-1]) / 2};
        return true;
    }
    return false;
}

static const fb_act *act_of(const fb_node *n)
{
    if (n->op == FB_OP_CONV || n->op == FB_OP_CONV_TRANSPOSE)
        return &n->attr.conv.act;
    if (n->op == FB_OP_DENSE)
        return &n->attr.dense.act;
    return n->op == FB_OP_BINARY && n->attr.binary.kind == FB_BINARY_ADD ? &n->attr.binary.act
                                                                         : NULL;
}

typedef struct saturation {
    fb_why_small *small;
    uint64_t *at_end, *all; /* [nodes] */
} saturation;

/* Outputs at an end that neither the layer's own clamp explains, nor that it is 0, where the
 * outputs of a layer without negative values lie. */
static fb_status count_ends(void *user, const fb_why_seen *seen)
{
    saturation *c = user;
    const fb_model *m = c->small->model;
    const fb_node *n = &m->nodes[seen->node];
    const fb_act *act = act_of(n);
    ends e;
    if (!act || !find_ends(&m->tensors[seen->tensor].enc, &e))
        return FB_OK;
    bool low = e.low != 0 && !(act->clamp && act->lo >= e.low - e.low_slack);
    bool high = e.high != 0 && !(act->clamp && act->hi <= e.high + e.high_slack);
    float least = low ? e.low + e.low_slack : -INFINITY;
    float most = high ? e.high - e.high_slack : INFINITY;
    uint64_t at_end = 0;
    for (size_t i = 0; i < seen->n; i++)
        at_end += seen->x[i] < least || seen->x[i] > most;
    c->at_end[seen->node] += at_end;
    c->all[seen->node] += seen->n;
    return FB_OK;
}

fb_status fb_why_saturation(fb_why_small *small)
{
    size_t n = small->model->n_nodes, worst = 0;
    fb_why_state *s = small->s;
    saturation c = {small, fb_calloc(n + 1, sizeof *c.at_end), fb_calloc(n + 1, sizeof *c.all)};
    fb_status status =
        c.at_end && c.all
            ? fb_why_watch(s, small->model, "looking at ranges", s->best->limit, count_ends, &c)
            : fb_fail(FB_E_MEMORY, "no memory to look at %zu layers", n);
    uint32_t looked = 0;
    for (size_t i = 0; i < n && status == FB_OK; i++) {
        looked += c.all[i] > 0;
        small->high[i] = c.all[i] ? (double)c.at_end[i] / (double)c.all[i] : 0;
        worst = small->high[i] > small->high[worst] ? i : worst;
    }
    fb_free(c.at_end);
    fb_free(c.all);
    FB_TRY(status);
    if (looked == 0)
        return fb_why_look_at(s, "ranges", "no layer has an encoded output");
    if (!(small->high[worst] > 0))
        return fb_why_look_at(s, "ranges",
                              fb_why_text(s, "%u layers; no outputs stick at their ends", looked));
    return fb_why_look_at(s, "ranges",
                          fb_why_text(s,
                                      "%u layers; at the ends of theirs are most often the "
                                      "outputs of %s (%.2f%%)",
                                      looked, small->model->nodes[worst].name,
                                      100 * small->high[worst]));
}

/* --- calibration -------------------------------------------------------------------------------
 */

/* Largest magnitude of each tensor that the file gives a range, by image, in the float network. */
typedef struct extremes {
    const fb_why_small *small;
    int32_t *row; /* [float nodes] of `peak`, or -1 */
    uint32_t n_rows;
    uint64_t images;
    float *peak; /* [n_rows][images] */
} extremes;

static fb_status see_peaks(void *user, const fb_why_seen *seen)
{
    extremes *e = user;
    int32_t row = e->row[seen->node];
    if (row < 0)
        return FB_OK;
    size_t each = seen->n / seen->images;
    for (uint32_t k = 0; k < seen->images && seen->first + k < e->images; k++) {
        float most = 0;
        for (size_t i = 0; i < each; i++)
            most = fmaxf(most, fabsf(seen->x[k * each + i]));
        e->peak[(size_t)row * e->images + seen->first + k] = most;
    }
    return FB_OK;
}

static fb_status find_peaks(const fb_why_small *small, extremes *e)
{
    fb_why_state *s = small->s;
    *e = (extremes){.small = small, .images = s->best->n};
    e->row = fb_calloc(s->model->n_nodes + 1, sizeof *e->row);
    if (!e->row)
        return fb_fail(FB_E_MEMORY, "no memory to look at the ranges");
    memset(e->row, 0xff, s->model->n_nodes * sizeof *e->row);
    for (size_t i = 0; i < small->model->n_nodes; i++) {
        const fb_node *n = &small->model->nodes[i];
        if (small->twin[i] >= 0 && act_of(n) &&
            small->model->tensors[n->out[0]].enc.kind != FB_ENC_PLAIN)
            e->row[small->twin[i]] = (int32_t)e->n_rows++;
    }
    e->peak = fb_calloc((size_t)e->n_rows + 1, (size_t)e->images * sizeof *e->peak);
    if (!e->peak)
        return fb_fail(FB_E_MEMORY, "no memory to look at %u ranges", e->n_rows);
    return e->n_rows ? fb_why_watch(s, s->model, "looking at the float ranges", s->best->limit,
                                    see_peaks, e)
                     : FB_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* By how much the range from a group of `size` images falls short of that from all, on average
 * over the disjoint groups; median over the tensors. */
static fb_status shortfall(const extremes *e, uint64_t size, double *median)
{
    double *each = fb_calloc(e->n_rows, sizeof *each);
    uint64_t groups = e->images / size;
    if (!each)
        return fb_fail(FB_E_MEMORY, "no memory to compare %u ranges", e->n_rows);
    for (uint32_t r = 0; r < e->n_rows; r++) {
        const float *peak = e->peak + (size_t)r * e->images;
        double sum = 0, whole = 0;
        for (uint64_t g = 0; g < groups; g++) {
            double most = 0; /* images far apart: the data may be sorted */
            for (uint64_t k = 0; k < size; k++)
                most = fmax(most, (double)peak[g + k * groups]);
            sum += most;
            whole = fmax(whole, most);
        }
        each[r] = whole > 0 ? 1 - sum / ((double)groups * whole) : 0;
    }
    qsort(each, e->n_rows, sizeof *each, by_value);
    *median = each[e->n_rows / 2];
    fb_free(each);
    return FB_OK;
}

static fb_status say_few(fb_why_small *small, const extremes *e, uint64_t used)
{
    fb_why_state *s = small->s;
    double missing = 0;
    FB_TRY(shortfall(e, used, &missing));
    FB_TRY(fb_why_look_at(s, "calibration",
                          fb_why_text(s,
                                      "%llu images; ranges from so many fall short of those from "
                                      "%llu by %.1f%% (median of %u layers)",
                                      (unsigned long long)used, (unsigned long long)e->images,
                                      100 * missing, e->n_rows)));
    if (missing < 0.15)
        return FB_OK;
    fb_why_say say = {
        .kind = "few-images",
        .points = (double)NAN,
        .what = fb_why_text(s,
                            "too few images chose the ranges: the file was calibrated with %llu, "
                            "and ranges from so many fall short of those from %llu images by "
                            "%.0f%% (median of %u layers)",
                            (unsigned long long)used, (unsigned long long)e->images, 100 * missing,
                            e->n_rows),
        .advice = "compress again with a hundred images or more",
        .n_numbers = 2,
        .numbers = {{"images", (double)used}, {"shortfall", 100 * missing}}};
    return fb_why_find(s, &say);
}

fb_status fb_why_calibration(fb_why_small *small)
{
    fb_why_state *s = small->s;
    const char *note = fb_model_note(small->model, "data.images");
    uint64_t used = note ? strtoull(note, NULL, 10) : 0;
    extremes e = {0};
    if (used == 0)
        return fb_why_look_at(s, "calibration", "the file does not say that images were used");
    if (used > s->best->n / 2)
        return fb_why_look_at(s, "calibration",
                              fb_why_text(s, "%llu images, too many to judge with %llu",
                                          (unsigned long long)used,
                                          (unsigned long long)s->best->n));
    fb_status status = find_peaks(small, &e);
    if (status == FB_OK)
        status = e.n_rows ? say_few(small, &e, used)
                          : fb_why_look_at(s, "calibration", "no layer has an encoded output");
    fb_free(e.row);
    fb_free(e.peak);
    return status;
}
