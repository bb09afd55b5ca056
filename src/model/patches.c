/* Patches: elements of a constant whose value stands aside; and constants as integers. */
#include "model/encoding_defs.h"
#include "model/model.h"
#include "numeric/half.h"

#include <math.h>
#include <stdio.h>

fb_status fb_patches_validate(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    int64_t n;
    if (e->n_patches == 0)
        return FB_OK;
    if (!t->is_const || !fb_tensor_elems(t, 0, &n))
        return fb_fail(FB_E_FORMAT, "an activation has %u outliers, must have none", e->n_patches);
    if (!e->patch_at || !e->patch)
        return fb_fail(FB_E_FORMAT, "the list of %u outliers is missing", e->n_patches);
    for (uint32_t i = 0; i < e->n_patches; i++) {
        if (e->patch_at[i] >= (uint64_t)n || (i > 0 && e->patch_at[i] <= e->patch_at[i - 1]))
            return fb_fail(FB_E_FORMAT,
                           "outlier %u is element %llu, must be behind the one before and one of "
                           "%lld",
                           i, (unsigned long long)e->patch_at[i], (long long)n);
        if (!isfinite(e->patch[i]) ||
            fb_f16_to_f32(fb_f16_from_f64((double)e->patch[i])) != e->patch[i])
            return fb_fail(FB_E_FORMAT, "outlier %u is %g, must be a finite 16-bit float", i,
                           (double)e->patch[i]);
    }
    return FB_OK;
}

void fb_patches_apply(const fb_encoding *e, size_t first, size_t n, float *out)
{
    uint32_t lo = 0, hi = e->n_patches;
    while (lo < hi) { /* the first one that is not before `first` */
        uint32_t middle = lo + (hi - lo) / 2;
        if (e->patch_at[middle] < first)
            lo = middle + 1;
        else
            hi = middle;
    }
    for (; lo < e->n_patches && e->patch_at[lo] - first < n; lo++)
        out[e->patch_at[lo] - first] = e->patch[lo];
}

const char *fb_patches_text(const fb_encoding *e, char *text, size_t cap)
{
    text[0] = '\0';
    if (e->n_patches)
        (void)snprintf(text, cap, " +%u outliers", e->n_patches);
    return text;
}

bool fb_tensor_is_int8(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    if (!t->is_const || e->n_patches > 0 || e->group != 0 || (e->axis > 0 && e->n_scales > 1))
        return false;
    if (e->kind == FB_ENC_PRODUCT)
        return e->word_bits == 8 && e->n_stages == 1;
    if (e->kind == FB_ENC_LEVELS)
        return e->level_bits > 0 && e->level_bits <= 8;
    return e->kind == FB_ENC_AFFINE && e->bits <= 8;
}

void fb_tensor_integers(const fb_tensor *t, size_t first, size_t n, int16_t *out)
{
    const fb_encoding *e = &t->enc;
    size_t inner = 1;
    if (e->kind == FB_ENC_PRODUCT) {
        fb_product_integers(t, first, n, out);
        return;
    }
    for (int32_t i = e->axis + 1; i < t->rank; i++)
        inner *= (size_t)t->dims[i];
    for (size_t i = first; i < first + n;) {
        size_t end = i - i % inner + inner;
        uint32_t at = fb_affine_scale_index(t, i);
        int32_t zero = e->zero ? e->zero[at] : 0;
        end = end < first + n ? end : first + n;
        if (e->kind == FB_ENC_AFFINE) {
            for (; i < end; i++)
                out[i - first] = (int16_t)(fb_packed_get(t->data, i, e->bits, e->is_signed) - zero);
            continue;
        }
        const float *level = e->level + (e->n_tables > 1 ? (size_t)at * e->n_levels : 0);
        for (; i < end; i++)
            out[i - first] =
                (int16_t)((int32_t)level[fb_packed_get(t->data, i, e->bits, false)] - zero);
    }
}
