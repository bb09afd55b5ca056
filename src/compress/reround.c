#include "compress/reround.h"

#include "base/status.h"
#include "numeric/requant.h"

#include <math.h>
#include <string.h>

static fb_status check(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    if (!t->is_const || (e->kind != FB_ENC_AFFINE && e->kind != FB_ENC_LEVELS))
        return fb_fail(FB_E_UNSUPPORTED,
                       "weight '%.200s' is not encoded, so there is nothing to "
                       "round anew; a step that encodes it comes first",
                       t->name);
    if (e->sparse != FB_DENSE)
        return fb_fail(FB_E_UNSUPPORTED,
                       "weight '%.200s' is stored sparse; round before zeros are "
                       "dropped",
                       t->name);
    if (t->rank < 2 || e->axis > 0)
        return fb_fail(FB_E_UNSUPPORTED,
                       "weight '%.200s' of rank %d has scales along axis %d; only scales of output "
                       "channels can be rounded anew",
                       t->name, (int)t->rank, (int)e->axis);
    return FB_OK;
}

fb_status fb_reround_open(const fb_tensor *t, bool keep_zeros, fb_reround *r)
{
    const fb_encoding *e = &t->enc;
    int64_t n;
    *r = (fb_reround){.tensor = *t};
    FB_TRY(check(t));
    FB_ENSURE(fb_tensor_elems(t, 0, &n) && n > 0);
    fb_status status = FB_OK;
    bool affine = e->kind == FB_ENC_AFFINE, zero = !e->is_signed || e->zero;
    r->n = (size_t)n;
    r->ct = (size_t)t->dims[0];
    r->inner = r->n / r->ct;
    r->hi = affine ? fb_code_max(e->bits, e->is_signed) : e->n_levels - 1;
    r->lo = !affine || !e->is_signed ? 0 : zero ? -r->hi - 1 : -r->hi; /* symmetric without zeros */
    r->scale = fb_calloc(e->n_scales, sizeof *r->scale);
    r->code = fb_calloc(r->n, sizeof *r->code);
    r->fixed = e->n_patches || keep_zeros ? fb_calloc(r->n, sizeof *r->fixed) : NULL;
    if (!r->scale || !r->code || ((e->n_patches || keep_zeros) && !r->fixed)) {
        status = fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", t->name);
        goto fail;
    }
    memcpy(r->scale, e->scale, e->n_scales * sizeof *r->scale);
    for (size_t i = 0; i < r->n; i++)
        r->code[i] = fb_packed_get(t->data, i, e->bits, affine && e->is_signed);
    for (size_t i = 0; keep_zeros && i < r->n; i++) {
        fb_steps steps = fb_reround_steps(r, i);
        r->fixed[i] = fb_steps_value(&steps, r->code[i]) == 0;
    }
    for (uint32_t k = 0; k < e->n_patches; k++)
        r->fixed[e->patch_at[k]] = true;
    return FB_OK;
fail:
    fb_reround_close(r);
    return status;
}

void fb_reround_close(fb_reround *r)
{
    fb_free(r->scale);
    fb_free(r->code);
    fb_free(r->fixed);
    *r = (fb_reround){0};
}

fb_status fb_reround_store(const fb_reround *r, fb_model *m, int32_t tensor)
{
    fb_encoding e = m->tensors[tensor].enc;
    size_t bytes;
    FB_ENSURE(fb_packed_bytes(r->n, e.bits, &bytes));
    uint8_t *data = fb_calloc(1, bytes);
    if (!data)
        return fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", r->tensor.name);
    for (size_t i = 0; i < r->n; i++)
        fb_packed_put(data, i, e.bits, r->code[i]);
    e.scale = r->scale;
    fb_status status = fb_model_set_payload(m, tensor, &e, data, bytes);
    fb_free(data);
    return status;
}

void fb_reround_scales(const fb_reround *r, size_t row, size_t *first, size_t *count)
{
    const fb_encoding *e = &r->tensor.enc;
    *count = e->axis == 0 ? e->n_scales / r->ct : 0;
    *first = row * *count;
}

fb_steps fb_reround_steps(const fb_reround *r, size_t i)
{
    const fb_encoding *e = &r->tensor.enc;
    size_t row = i / r->inner, at = 0;
    if (e->axis == 0) {
        size_t per_row = e->n_scales / r->ct;
        at = row * per_row + (e->group ? i % r->inner / e->group : 0);
    }
    fb_steps s = {
        .scale = r->scale[at], .zero = e->zero ? e->zero[at] : 0, .lo = r->lo, .hi = r->hi};
    if (e->kind == FB_ENC_LEVELS)
        s.level = e->level + (e->n_tables > 1 ? row * e->n_levels : 0);
    return s;
}

int32_t fb_steps_nearest(const fb_steps *s, double value)
{
    double v = value / (double)s->scale + s->zero;
    if (!s->level)
        return v <= s->lo ? s->lo : v >= s->hi ? s->hi : (int32_t)rint(v);
    int32_t lo = s->lo, hi = s->hi;
    while (hi - lo > 1) {
        int32_t middle = lo + (hi - lo) / 2;
        if ((double)s->level[middle] <= v)
            lo = middle;
        else
            hi = middle;
    }
    return fabs(v - (double)s->level[lo]) <= fabs(v - (double)s->level[hi]) ? lo : hi;
}

float fb_reround_value(const fb_reround *r, size_t i)
{
    const fb_encoding *e = &r->tensor.enc;
    for (uint32_t k = 0; k < e->n_patches; k++) {
        if (e->patch_at[k] == i)
            return e->patch[k];
    }
    fb_steps s = fb_reround_steps(r, i);
    return fb_steps_value(&s, r->code[i]);
}

void fb_reround_decode(const fb_reround *r, const int32_t *code, float *value)
{
    const fb_encoding *e = &r->tensor.enc;
    for (size_t i = 0; i < r->n; i++) {
        fb_steps s = fb_reround_steps(r, i);
        value[i] = fb_steps_value(&s, code[i]);
    }
    for (uint32_t k = 0; k < e->n_patches; k++)
        value[e->patch_at[k]] = e->patch[k];
}
