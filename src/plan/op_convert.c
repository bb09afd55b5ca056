/* Change of encoding: f32 to codes, codes to f32, codes to other codes. One scale: a kernel pass or
 * a table. A scale per index of an axis: the same passes, run by run of equal scale. What is packed
 * or has levels goes to op_repack.c. */
#include "plan/codec.h"

#include <string.h>

typedef struct convert_params {
    const void *data; /* a constant input, decoded; else NULL */
    size_t n, grain;
    const fb_encoding *from, *to; /* kind PLAIN is f32 */
    fb_dtype from_type, to_type;
    size_t run; /* elements in a row with one scale; n for one scale */
    fbk_quantize_q_fn *quantize;
    fbk_dequantize_q_fn *dequantize;
} convert_params;

static fbk_codes codes_at(const fb_encoding *e, fb_dtype type, size_t scale)
{
    scale %= e->n_scales;
    fbk_codes q = {.scale = e->scale[scale],
                   .zero = e->zero ? e->zero[scale] : 0,
                   .lo = fb_code_min(e->bits, e->is_signed),
                   .hi = fb_code_max(e->bits, e->is_signed),
                   .type = type};
    return q;
}

/* `n` elements from `at`, all of scale number `at / run`. Codes to codes go through f32, in pieces.
 */
static void convert_run(const convert_params *k, const void *x, void *y, size_t at, size_t n)
{
    size_t scale = at / k->run;
    fbk_codes from, to;
    const char *px = (const char *)x + at * fb_dtype_bytes(k->from_type);
    char *py = (char *)y + at * fb_dtype_bytes(k->to_type);
    if (k->from->kind == FB_ENC_AFFINE)
        from = codes_at(k->from, k->from_type, k->from->n_scales == 1 ? 0 : scale);
    if (k->to->kind == FB_ENC_AFFINE)
        to = codes_at(k->to, k->to_type, k->to->n_scales == 1 ? 0 : scale);
    if (k->from->kind != FB_ENC_AFFINE) {
        k->quantize(&to, n, (const void *)px, py);
    } else if (k->to->kind != FB_ENC_AFFINE) {
        k->dequantize(&from, n, px, (void *)py);
    } else {
        float values[256];
        for (size_t i = 0, m; i < n; i += m) {
            m = n - i < 256 ? n - i : 256;
            k->dequantize(&from, m, px + i * fb_dtype_bytes(k->from_type), values);
            k->quantize(&to, m, values, py + i * fb_dtype_bytes(k->to_type));
        }
    }
}

static void run_convert(const fb_tile *t)
{
    const convert_params *k = t->step->params;
    size_t at, end;
    fb_tile_range(k->n, k->grain, t->index, &at, &end);
    while (at < end) {
        size_t left = k->run - at % k->run, n = end - at < left ? end - at : left;
        convert_run(k, k->data ? k->data : t->in[0], t->out[0], at, n);
        at += n;
    }
}

/* Elements in a row with one scale of an encoding over `shape`; n when it has one scale. */
static size_t run_of(const fb_encoding *e, const fb_shape *shape, size_t n)
{
    if (e->kind != FB_ENC_AFFINE || e->n_scales == 1)
        return n;
    return fb_dims_product(shape, e->axis + 1, shape->rank);
}

static bool is_storage(const fb_slot *s)
{
    fb_dtype t = s->shape.dtype;
    return s->enc->kind == FB_ENC_AFFINE ? t == FB_U8 || t == FB_S8 || t == FB_U16 || t == FB_S16
                                         : t == FB_F32;
}

/* A constant input becomes plain f32 in the plan's memory. */
static fb_status open_constant(fb_prepare *p, convert_params *k)
{
    float *decoded, *data;
    FB_TRY(fb_prepare_decode(p, p->in[0], &decoded));
    data = fb_plan_alloc_packed(p->plan, k->n, sizeof *data);
    if (data)
        memcpy(data, decoded, k->n * sizeof *data);
    fb_free(decoded);
    if (!data)
        return fb_plan_no_memory(p);
    k->data = data;
    k->from = &fb_plan_plain;
    k->from_type = FB_F32;
    return FB_OK;
}

static fb_status prepare_codes_to_codes(fb_prepare *p, bool *done)
{
    fb_codes x, y;
    uint8_t table[256];
    *done = fb_codes8_of(p->in[0], &x) && fb_codes8_of(p->out[0], &y);
    if (!*done)
        return FB_OK;
    fb_codes_table(&x, &y, NULL, NULL, table);
    return fb_prepare_table(p, table);
}

fb_status fb_prepare_convert(fb_prepare *p)
{
    bool constant = p->in[0]->place == FB_PLACE_CONST, done;
    if (!constant) {
        if (fb_encoding_equal(p->in[0]->enc, p->out[0]->enc) &&
            p->in[0]->shape.dtype == p->out[0]->shape.dtype &&
            p->in[0]->lay.packed == p->out[0]->lay.packed) {
            fb_prepare_alias(p);
            return FB_OK;
        }
        FB_TRY(prepare_codes_to_codes(p, &done));
        if (done)
            return FB_OK;
    }
    if (fb_slot_is_coded(p->in[0]) || fb_slot_is_coded(p->out[0]))
        return fb_prepare_repack(p);
    if ((!constant && !is_storage(p->in[0])) || !is_storage(p->out[0]))
        return fb_fail(FB_E_UNSUPPORTED, "elements of type %s cannot be converted to %s",
                       fb_dtype_name(p->in[0]->shape.dtype), fb_dtype_name(p->out[0]->shape.dtype));
    convert_params *k;
    FB_PLAN_ALLOC(p, k, 1);
    k->n = p->out[0]->elems;
    k->from = p->in[0]->enc;
    k->from_type = p->in[0]->shape.dtype;
    k->to = p->out[0]->enc;
    k->to_type = p->out[0]->shape.dtype;
    if (constant)
        FB_TRY(open_constant(p, k));
    if ((k->from->kind == FB_ENC_AFFINE && k->from->group) ||
        (k->to->kind == FB_ENC_AFFINE && k->to->group))
        return fb_fail(FB_E_UNSUPPORTED, "activations with grouped scales are not supported");
    size_t run_in = run_of(k->from, &p->out[0]->shape, k->n);
    size_t run_out = run_of(k->to, &p->out[0]->shape, k->n);
    if (run_in != run_out && run_in != k->n && run_out != k->n)
        return fb_fail(FB_E_UNSUPPORTED, "two encodings with scales along different axes");
    k->run = run_in < run_out ? run_in : run_out;
    k->grain = FB_GRAIN_ELEMS;
    k->dequantize = fbk_dequantize_q_pick(p->plan->cpu, &p->step->kernel);
    const char *kernel;
    k->quantize = fbk_quantize_q_pick(p->plan->cpu, &kernel);
    if (k->to->kind == FB_ENC_AFFINE)
        p->step->kernel = kernel;
    p->step->run = run_convert;
    p->step->n_tiles = fb_tiles(k->n, k->grain);
    p->step->params = k;
    return FB_OK;
}
