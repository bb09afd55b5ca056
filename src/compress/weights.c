/* Scales and codes of weights (METHODS M.1). Without a zero point codes are signed and symmetric:
 * -(2^(b-1) - 1) ... 2^(b-1) - 1, so that negation stays within them. */
#include "compress/weights.h"

#include "base/size.h"
#include "numeric/requant.h"

int32_t fb_weight_code(const fb_weight_rule *rule, float w, float scale, int32_t zero)
{
    int32_t lo, hi;
    fb_weight_limits(rule, &lo, &hi);
    return fb_quantize(w, scale, zero, lo, hi);
}

/* --- scales ---------------------------------------------------------------------------------- */

static size_t block_length(const fb_weight_codes *c, size_t b)
{
    size_t at = b % c->per_inner * c->block, left = c->inner - at;
    return left < c->block ? left : c->block;
}

static const float *block_start(const fb_weight_codes *c, size_t b)
{
    return c->w + b / c->per_inner * c->inner + b % c->per_inner * c->block;
}

size_t fb_weight_block(const fb_weight_codes *c, size_t block, size_t *n)
{
    *n = block_length(c, block);
    return (size_t)(block_start(c, block) - c->w);
}

/* Blocks without weights take the largest scale of the others. An integer kernel counts the bias in
 * units of it: then it is rounded no more coarsely than elsewhere. (Nothing of the calibration data
 * enters, so that dry runs know all scales.) */
static void scale_empty_blocks(fb_weight_codes *c)
{
    float most = 0;
    for (size_t b = 0; b < c->n_blocks; b++)
        most = c->scale[b] > most ? c->scale[b] : most;
    for (size_t b = 0; b < c->n_blocks; b++) {
        if (!(c->scale[b] > 0))
            c->scale[b] = most > 0 ? most : 0x1p-16f;
    }
}

static float largest(const float *w, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    return most;
}

bool fb_weights_restore(const fb_model *m)
{
    int64_t weights = 0, scales = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        int32_t t = fb_node_weight(m, &m->nodes[i]);
        int64_t n;
        if (t >= 0 && fb_tensor_elems(&m->tensors[t], 0, &n)) {
            weights += n;
            scales += m->tensors[t].dims[0];
        }
    }
    return scales * 3 <= weights / 50;
}

/* Weights that were integers once (of a network that was quantised before) are integers again in
 * units of their largest value's scale, be it on the grid or not. Where that leaves next to no
 * error, the tensor takes those scales and is spared a second rounding. */
static void restore_scales(fb_weight_codes *c)
{
    const fb_weight_rule *rule = c->rule;
    double chosen = 0, own = 0;
    int32_t least, top;
    fb_weight_limits(rule, &least, &top);
    if (!rule->restore || rule->pow2 || !rule->per_channel || fb_weight_has_zero(rule))
        return;
    for (int store = 0; store < 2; store++) {
        for (size_t b = 0; b < c->n_blocks; b++) {
            const float *w = block_start(c, b);
            size_t n = block_length(c, b);
            float scale = largest(w, n) / (float)top;
            if (!(scale > 0x1p-60f))
                continue;
            if (store) {
                c->scale[b] = scale;
                continue;
            }
            chosen += fb_weight_error(rule, w, n, (fb_weight_grid){c->scale[b], 0});
            own += fb_weight_error(rule, w, n, (fb_weight_grid){scale, 0});
        }
        if (own > chosen / 16)
            return;
    }
}

static void choose_scales(fb_weight_codes *c)
{
    for (size_t b = 0; b < c->n_blocks; b++) {
        fb_weight_grid best = fb_weight_choose(c->rule, block_start(c, b), block_length(c, b));
        c->scale[b] = best.scale;
        if (c->zero)
            c->zero[b] = best.zero;
    }
    restore_scales(c);
    scale_empty_blocks(c);
}

/* --- life ------------------------------------------------------------------------------------ */

static void cut_blocks(fb_weight_codes *c, const fb_tensor *t)
{
    bool channels = c->rule->per_channel && t->rank > 0;
    c->inner = channels ? c->n / (size_t)t->dims[0] : c->n;
    c->block = channels && c->rule->group && c->rule->group < c->inner ? c->rule->group : c->inner;
    c->per_inner = (c->inner + c->block - 1) / c->block;
    c->n_blocks = c->n / c->inner * c->per_inner;
}

fb_status fb_weight_codes_init(fb_weight_codes *c, const fb_tensor *t, const fb_weight_rule *rule)
{
    int64_t n;
    *c = (fb_weight_codes){.rule = rule};
    FB_ENSURE(t->is_const && fb_tensor_elems(t, 0, &n) && n > 0);
    c->n = (size_t)n;
    cut_blocks(c, t);
    fb_status status;
    c->w = fb_calloc(c->n, sizeof *c->w);
    c->scale = fb_calloc(c->n_blocks, sizeof *c->scale);
    c->zero = fb_weight_has_zero(rule) ? fb_calloc(c->n_blocks, sizeof *c->zero) : NULL;
    if (!c->w || !c->scale || (fb_weight_has_zero(rule) && !c->zero)) {
        status = fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", t->name);
        goto fail;
    }
    FB_GO(fb_tensor_decode(t, c->w));
    for (size_t i = 0; i < c->n; i++) {
        if (!isfinite(c->w[i])) {
            status = fb_fail(FB_E_FORMAT,
                             "weight '%.200s' has the value %g at %zu; weights must "
                             "be finite",
                             t->name, (double)c->w[i], i);
            goto fail;
        }
    }
    FB_GO(fb_outliers_take(c));
    choose_scales(c);
    fb_outliers_return(c);
    return FB_OK;
fail:
    fb_weight_codes_free(c);
    return status;
}

void fb_weight_codes_free(fb_weight_codes *c)
{
    fb_free(c->w);
    fb_free(c->scale);
    fb_free(c->zero);
    fb_free(c->patch_at);
    fb_free(c->patch);
    *c = (fb_weight_codes){0};
}

fb_status fb_weight_codes_store(const fb_weight_codes *c, fb_model *m, int32_t tensor)
{
    const fb_weight_rule *rule = c->rule;
    bool channels = rule->per_channel && m->tensors[tensor].rank > 0;
    bool grouped = c->per_inner > 1;
    fb_encoding e = {.kind = FB_ENC_AFFINE,
                     .bits = (uint8_t)rule->bits,
                     .is_signed = !fb_weight_has_zero(rule),
                     .pow2 = rule->pow2,
                     .axis = channels ? 0 : -1,
                     .group = grouped ? (uint32_t)c->block : 0,
                     .n_scales = (uint32_t)c->n_blocks,
                     .scale = c->scale,
                     .zero = c->zero,
                     .n_patches = c->n_patches,
                     .patch_at = c->patch_at,
                     .patch = c->patch};
    size_t bytes;
    if (!fb_packed_bytes(c->n, rule->bits, &bytes))
        return fb_fail(FB_E_LIMIT, "weight '%.200s' is too large", m->tensors[tensor].name);
    uint8_t *data = fb_calloc(1, bytes);
    if (!data)
        return fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", m->tensors[tensor].name);
    for (size_t b = 0; b < c->n_blocks; b++) {
        size_t at = (size_t)(block_start(c, b) - c->w), n = block_length(c, b);
        int32_t zero = c->zero ? c->zero[b] : 0;
        for (size_t i = at; i < at + n; i++)
            fb_packed_put(data, i, rule->bits, fb_weight_code(rule, c->w[i], c->scale[b], zero));
    }
    fb_status status = fb_model_set_payload(m, tensor, &e, data, bytes);
    fb_free(data);
    return status;
}
