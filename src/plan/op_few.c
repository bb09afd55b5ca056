#include "plan/op_few.h"

#include "base/alloc.h"

#include <string.h>

bool fb_few_takes(const fb_slot *w)
{
    const fb_encoding *e = w->enc;
    if (w->place != FB_PLACE_CONST || !w->tensor ||
        (e->kind != FB_ENC_AFFINE && e->kind != FB_ENC_LEVELS))
        return false;
    return e->bits <= (e->kind == FB_ENC_LEVELS ? 4 : 8) && e->group % 8 == 0 &&
           e->sparse == FB_DENSE && e->n_patches == 0 &&
           (e->axis == 0 || (e->n_scales == 1 && e->n_tables <= 1));
}

/* Channel of a column, the group's last for those that pad it. */
static size_t channel_of(const fb_columns *columns, size_t column)
{
    size_t c = column % columns->padded;
    return column / columns->padded * columns->n + (c < columns->n ? c : columns->n - 1);
}

/* Of scale `at`: a channel, or one of its groups. */
static int32_t zero_of(const fb_encoding *e, size_t at)
{
    return e->zero ? e->zero[e->n_scales == 1 ? 0 : at] : 0;
}

/* Whether all have the zero point of the first. */
static bool one_zero(const fb_encoding *e)
{
    for (uint32_t i = 1; e->zero && i < e->n_scales; i++) {
        if (e->zero[i] != e->zero[0])
            return false;
    }
    return true;
}

/* The value, without its scale, of the code with these bits. */
static float value_of(const fb_encoding *e, size_t channel, uint32_t code)
{
    int32_t zero = zero_of(e, channel);
    if (e->kind == FB_ENC_LEVELS) {
        const float *level = e->level + (e->n_tables == 1 ? 0 : channel * e->n_levels);
        return level[code < e->n_levels ? code : e->n_levels - 1u] - (float)zero;
    }
    uint32_t sign = e->is_signed ? 1u << (e->bits - 1) : 0;
    return (float)((int32_t)(code ^ sign) - (int32_t)sign - zero);
}

static float *new_table(const fb_prepare *p, const fb_encoding *e, const fb_columns *columns,
                        bool own)
{
    size_t n = own ? columns->groups * columns->padded : 1;
    float *table = fb_plan_alloc_packed(p->plan, n * 16, sizeof *table);
    for (size_t i = 0; table && i < n * 16; i++)
        table[i] = value_of(e, own ? channel_of(columns, i / 16) : 0,
                            (uint32_t)(i % 16) & ((1u << e->bits) - 1u));
    return table;
}

/* Scales, and zeros if there are any, group by group. */
static fb_status new_lists(const fb_prepare *p, const fb_slot *w, const fb_columns *columns,
                           fbk_few_f32 *few)
{
    const fb_encoding *e = w->enc;
    size_t taps = w->elems / (columns->groups * columns->n);
    size_t groups = e->group ? (taps + e->group - 1) / e->group : 1, n = groups * few->columns;
    bool zeros = few->affine && !(one_zero(e) && zero_of(e, 0) == 0);
    float *scale = fb_plan_alloc_packed(p->plan, n, sizeof *scale), *zero = NULL;
    if (zeros)
        zero = fb_plan_alloc_packed(p->plan, n, sizeof *zero);
    if (!scale || (zeros && !zero))
        return fb_plan_no_memory(p);
    for (size_t i = 0; i < n; i++) {
        size_t at = channel_of(columns, i % few->columns) * groups + i / few->columns;
        scale[i] = e->scale[e->n_scales == 1 ? 0 : at];
        if (zero)
            zero[i] = (float)zero_of(e, at);
    }
    few->scale = scale;
    few->zero = zero;
    return FB_OK;
}

fb_status fb_few_params(const fb_prepare *p, const fb_slot *w, const fb_columns *columns,
                        fbk_few_f32 *few)
{
    const fb_encoding *e = w->enc;
    bool levels = e->kind == FB_ENC_LEVELS;
    *few = (fbk_few_f32){.bits = e->bits,
                         .is_signed = e->is_signed && !levels,
                         .affine = !levels,
                         .group = e->group,
                         .columns = columns->groups * columns->padded};
    FB_TRY(new_lists(p, w, columns, few));
    few->own = levels && (e->n_tables > 1 || !one_zero(e));
    if (levels || (e->bits <= 4 && one_zero(e))) {
        few->table = new_table(p, e, columns, few->own);
        if (!few->table)
            return fb_plan_no_memory(p);
    }
    return FB_OK;
}

fb_status fb_few_codes(const fb_prepare *p, const fb_slot *w, uint8_t **codes)
{
    uint8_t *c = fb_alloc(w->elems);
    *codes = c;
    if (!c)
        return fb_plan_no_memory(p);
    for (size_t i = 0; i < w->elems; i++)
        c[i] = (uint8_t)fb_packed_get(w->tensor->data, i, w->enc->bits, false);
    return FB_OK;
}

fb_status fb_few_rows(const fb_prepare *p, const fb_slot *w, const fbk_few_f32 *few, size_t n,
                      size_t k, const uint8_t **rows)
{
    uint32_t bits = few->bits;
    /* A tensor that is not the model's own lives only while the node is prepared. */
    bool lasting = w->tensor == &p->plan->model->tensors[p->node->in[1]];
    if (lasting && fbk_few_in_place(few, k)) {
        *rows = w->tensor->data;
        return FB_OK;
    }
    size_t row_bytes = (k + 7) / 8 * bits;
    uint8_t *copy = fb_plan_alloc_packed(p->plan, n * row_bytes + FBK_FEW_SLACK, 1);
    if (!copy)
        return fb_plan_no_memory(p);
    for (size_t j = 0; j < n; j++) {
        for (size_t i = 0; i < k; i++)
            fb_packed_put(copy + j * row_bytes, i, bits,
                          fb_packed_get(w->tensor->data, j * k + i, bits, false));
    }
    *rows = copy;
    return FB_OK;
}
