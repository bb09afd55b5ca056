/* levels: value = scale * (level[q] - zero), q packed indices of 1 to 8 bits into a table. */
#include "model/encoding_defs.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>

static fb_status levels_bytes(const fb_tensor *t, size_t n_elems, size_t *bytes)
{
    if (!fb_packed_bytes(n_elems, t->enc.bits, bytes))
        return fb_fail(FB_E_LIMIT, "%zu elements of %u bits do not fit into memory", n_elems,
                       t->enc.bits);
    return FB_OK;
}

/* ---- validation ----------------------------------------------------------------------------- */

static fb_status validate_counts(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    uint64_t want;
    if (e->axis < -1 || e->axis >= t->rank)
        return fb_fail(FB_E_FORMAT, "scales along axis %d, must be -1 or within the %d dims",
                       e->axis, (int)t->rank);
    if (e->group != 0)
        return fb_fail(FB_E_FORMAT, "levels in groups of %u, must have none", e->group);
    if (e->axis >= 0 && !t->is_const)
        return fb_fail(FB_E_FORMAT, "an activation has scales along axis %d, must have one scale",
                       e->axis);
    if (!fb_affine_scale_count(t, &want) || e->n_scales != want)
        return fb_fail(FB_E_FORMAT, "%u scales, must be %llu", e->n_scales,
                       (unsigned long long)want);
    if (e->n_tables != 1 && e->n_tables != e->n_scales)
        return fb_fail(FB_E_FORMAT, "%u tables of levels, must be 1 or one for each of %u scales",
                       e->n_tables, e->n_scales);
    if (e->n_levels < 1 || e->n_levels > 1u << e->bits)
        return fb_fail(FB_E_FORMAT, "%u levels with %u bits, must be 1 to %u", e->n_levels, e->bits,
                       1u << e->bits);
    if (!e->scale || !e->level)
        return fb_fail(FB_E_FORMAT, "the list of scales or the table of levels is missing");
    return FB_OK;
}

static fb_status validate_levels(const fb_encoding *e, int32_t lo, int32_t hi)
{
    for (uint32_t k = 0; k < e->n_tables; k++) {
        const float *level = e->level + (size_t)k * e->n_levels;
        for (uint32_t i = 0; i < e->n_levels; i++) {
            if (!isfinite(level[i]) || (i > 0 && !(level[i] > level[i - 1])))
                return fb_fail(FB_E_FORMAT,
                               "level %u of table %u is %g, must be finite and above the one "
                               "before",
                               i, k, (double)level[i]);
            if (e->level_bits &&
                (level[i] != floorf(level[i]) || level[i] < (float)lo || level[i] > (float)hi))
                return fb_fail(FB_E_FORMAT,
                               "level %u of table %u is %g, must be an integer within %d..%d", i, k,
                               (double)level[i], (int)lo, (int)hi);
        }
    }
    return FB_OK;
}

static fb_status levels_validate(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    if (t->dtype != FB_F32)
        return fb_fail(FB_E_FORMAT, "values of levels are %s, must be f32",
                       fb_dtype_name(t->dtype));
    if (e->bits < 1 || e->bits > 8)
        return fb_fail(FB_E_FORMAT, "levels with %u bits, must have 1 to 8", e->bits);
    if (e->level_bits == 1 || e->level_bits > 16)
        return fb_fail(FB_E_FORMAT, "integer levels of %u bits, must have 2 to 16", e->level_bits);
    if (e->level_bits == 0 && (e->zero || e->is_signed))
        return fb_fail(FB_E_FORMAT, "float levels have a zero point or a sign bit, must not");
    FB_TRY(validate_counts(t));
    int32_t lo = 0, hi = 0;
    if (e->level_bits) {
        lo = e->is_signed ? -(1 << (e->level_bits - 1)) : 0;
        hi = lo + (1 << e->level_bits) - 1;
    }
    FB_TRY(fb_scales_validate(e, lo, hi));
    FB_TRY(validate_levels(e, lo, hi));
    return fb_patches_validate(t);
}

fb_status fb_levels_check_codes(const fb_tensor *t, size_t n)
{
    const fb_encoding *e = &t->enc;
    if (e->n_levels == 1u << e->bits)
        return FB_OK;
    for (size_t i = 0; i < n; i++) {
        int32_t q = fb_packed_get(t->data, i, e->bits, false);
        if (q >= e->n_levels)
            return fb_fail(FB_E_FORMAT, "code %zu is %d, there are %u levels", i, (int)q,
                           e->n_levels);
    }
    return FB_OK;
}

/* ---- decoding ------------------------------------------------------------------------------- */

/* The table of the scale numbered `at`, in values. */
static void values_of(const fb_encoding *e, uint32_t at, float value[256])
{
    const float *level = e->level + (e->n_tables > 1 ? (size_t)at * e->n_levels : 0);
    float zero = (float)(e->zero ? e->zero[at] : 0);
    for (uint32_t i = 0; i < e->n_levels; i++)
        value[i] = e->scale[at] * (level[i] - zero);
}

static void levels_decode(const fb_tensor *t, size_t first, size_t n, float *out)
{
    const fb_encoding *e = &t->enc;
    size_t inner = 1; /* elements in a row with one scale */
    for (int32_t i = e->axis + 1; i < t->rank; i++)
        inner *= (size_t)t->dims[i];
    float value[256] = {0};
    for (size_t i = first; i < first + n;) {
        size_t end = i - i % inner + inner;
        end = end < first + n ? end : first + n;
        values_of(e, fb_affine_scale_index(t, i), value);
        for (; i < end; i++)
            out[i - first] = value[fb_packed_get(t->data, i, e->bits, false)];
    }
    fb_patches_apply(e, first, n, out);
}

static void levels_describe(const fb_tensor *t, char *text, size_t cap)
{
    const fb_encoding *e = &t->enc;
    char of[16] = "", fixed[16] = "", patches[32];
    if (e->n_levels != 1u << e->bits)
        (void)snprintf(of, sizeof of, "(%u)", e->n_levels);
    if (e->level_bits)
        (void)snprintf(fixed, sizeof fixed, " fixed%u", e->level_bits);
    (void)snprintf(text, cap, "levels%u%s%s%s%s%s%s", e->bits, of, fixed,
                   e->axis >= 0 ? " per-channel" : "",
                   e->axis >= 0 && e->n_tables == 1 && e->n_scales > 1 ? " shared" : "",
                   e->pow2 ? " pow2" : "", fb_patches_text(e, patches, sizeof patches));
}

const fb_encoding_def fb_encoding_levels = {"levels", levels_bytes, levels_validate, levels_decode,
                                            levels_describe};
