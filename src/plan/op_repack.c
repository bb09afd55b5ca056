/* Whole tensors from one way of storing to another, row by row. */
#include "plan/codec.h"

#include <string.h>

enum { PIECE = 1024 }; /* a multiple of 8 */

typedef struct repack_params {
    const void *data; /* a constant input, decoded; else NULL */
    fb_codec from, to;
    size_t rows, grain, row_elems, from_bytes, to_bytes; /* bytes of a row */
} repack_params;

static void run_repack(const fb_tile *t)
{
    const repack_params *k = t->step->params;
    const char *x = k->data ? k->data : t->in[0];
    size_t row, end;
    float work[PIECE];
    fb_tile_range(k->rows, k->grain, t->index, &row, &end);
    for (; row < end; row++) {
        for (size_t i = 0, n; i < k->row_elems; i += n) {
            n = k->row_elems - i < PIECE ? k->row_elems - i : PIECE;
            fb_codec_read(&k->from, x + row * k->from_bytes, i, n, work);
            fb_codec_write(&k->to, work, (char *)t->out[0] + row * k->to_bytes, i, n);
        }
    }
}

/* Equal codes stand for equal values. */
static bool same_grid(const fb_slot *a, const fb_slot *b)
{
    fb_encoding x, y;
    if (!fb_codec_grid(a, &x) || !fb_codec_grid(b, &y))
        return false;
    return x.bits == y.bits && x.is_signed == y.is_signed && x.scale[0] == y.scale[0] &&
           (x.zero ? x.zero[0] : 0) == (y.zero ? y.zero[0] : 0);
}

static fb_status open_constant(fb_prepare *p, repack_params *k)
{
    float *decoded, *data = fb_plan_alloc_packed(p->plan, p->in[0]->elems, sizeof *data);
    if (!data)
        return fb_plan_no_memory(p);
    FB_TRY(fb_prepare_decode(p, p->in[0], &decoded));
    memcpy(data, decoded, p->in[0]->elems * sizeof *data);
    fb_free(decoded);
    k->data = data;
    k->from = (fb_codec){.copy = true, .stored_bytes = sizeof(float), .work_bytes = sizeof(float)};
    return FB_OK;
}

fb_status fb_prepare_repack(fb_prepare *p)
{
    const fb_slot *in = p->in[0], *out = p->out[0];
    bool constant = in->place == FB_PLACE_CONST;
    fb_work work = !constant && same_grid(in, out) ? FB_WORK_CODES : FB_WORK_FLOATS;
    repack_params *k;
    FB_ENSURE(in->elems == out->elems && in->lay.rows == out->lay.rows);
    FB_PLAN_ALLOC(p, k, 1);
    if (constant)
        FB_TRY(open_constant(p, k));
    else
        FB_TRY(fb_codec_make(p, in, work, &k->from));
    FB_TRY(fb_codec_make(p, out, work, &k->to));
    if (k->from.work_bytes != k->to.work_bytes || k->from.work_bytes > sizeof(float))
        return fb_fail(FB_E_UNSUPPORTED, "elements of type %s cannot be converted to %s",
                       fb_dtype_name(in->shape.dtype), fb_dtype_name(out->shape.dtype));
    k->row_elems = in->lay.row_elems;
    k->rows = in->lay.rows;
    k->from_bytes = constant ? k->row_elems * sizeof(float) : in->lay.row_bytes;
    k->to_bytes = out->lay.row_bytes;
    k->grain = fb_row_grain(k->row_elems);
    if (out->lay.packed)
        (void)fbk_pack8_q_pick(p->plan->cpu, &p->step->kernel);
    else
        (void)fbk_unpack8_q_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_repack;
    p->step->n_tiles = fb_tiles(k->rows, k->grain);
    p->step->params = k;
    return FB_OK;
}

/* Whether rows hold no padding, or are cut alike. */
static bool same_bytes(const fb_layout *a, const fb_layout *b)
{
    return (a->rows == b->rows && a->row_elems == b->row_elems) ||
           (a->row_elems * a->bits % 8 == 0 && b->row_elems * b->bits % 8 == 0);
}

fb_status fb_prepare_reshape_stored(fb_prepare *p)
{
    const fb_slot *in = p->in[0], *out = p->out[0];
    if (fb_slot_is_coded(in) && fb_slot_is_coded(out) && fb_encoding_equal(in->enc, out->enc) &&
        same_bytes(&in->lay, &out->lay))
        fb_prepare_alias(p);
    return FB_OK;
}
