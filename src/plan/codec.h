/* From an activation as it is stored to what a kernel works on, and back. A kernel works on the
 * stored array itself, on codes in whole bytes (or pairs of them), or on f32. */
#ifndef FB_PLAN_CODEC_H
#define FB_PLAN_CODEC_H

#include "kernels/pack_q.h"
#include "plan/op_q.h"

typedef enum fb_work {
    FB_WORK_CODES, /* affine codes; integer levels count as the codes of their grid */
    FB_WORK_FLOATS
} fb_work;

/* Frozen. Reads and writes pieces of a row. */
typedef struct fb_codec {
    unsigned bits; /* of a stored code; packed only */
    bool packed, is_signed;
    bool copy;           /* what is stored, once unpacked, is what is worked on */
    size_t stored_bytes; /* of an element that is not packed, or of its unpacked code */
    size_t work_bytes;   /* of an element as it is worked on */
    /* levels: */
    const uint8_t *to_code, *to_index; /* [256]; work on codes */
    const float *to_value;             /* [256]; work on f32 */
    const fbk_nearest *nearest;
    /* affine, work on f32: */
    fbk_codes codes;
    /* kernels: */
    fbk_unpack8_q_fn *unpack8;
    fbk_pack8_q_fn *pack8;
    fbk_unpack16_q_fn *unpack16;
    fbk_pack16_q_fn *pack16;
    fbk_lut_q_fn *lut;
    fbk_lut_f32_fn *lut_f32;
    fbk_nearest_f32_fn *nearest_f32;
    fbk_quantize_q_fn *quantize;
    fbk_dequantize_q_fn *dequantize;
} fb_codec;

/* The affine codes that integer kernels see for a slot: its own, or the grid of its integer levels.
 * False when there are none: plain tensors, float levels, levels of more than 8 bits, several
 * scales. scale and zero of *grid are borrowed from the slot's encoding. */
bool fb_codec_grid(const fb_slot *slot, fb_encoding *grid);

/* The codec of a slot for one way of working. A plain slot is worked on as it is. */
fb_status fb_codec_make(const fb_prepare *p, const fb_slot *slot, fb_work work, fb_codec *codec);

/* Elements [at, at + n) of the row at `row`; `at` must be a multiple of 8. `work` holds the n. */
void fb_codec_read(const fb_codec *c, const void *row, size_t at, size_t n, void *work);
void fb_codec_write(const fb_codec *c, const void *work, void *row, size_t at, size_t n);

/* A step that changes how a tensor is stored, between slots of one shape of which at least one is
 * packed or has levels: codes to codes where both have the same grid, else by way of f32. */
fb_status fb_prepare_repack(fb_prepare *p);

/* A reshape of a coded slot to one of the same encoding that leaves every byte where it is;
 * declines others. */
fb_status fb_prepare_reshape_stored(fb_prepare *p);

/* True when only fb_prepare_repack and bands read the slot: its memory is not an array of what it
 * stands for. */
static inline bool fb_slot_is_coded(const fb_slot *s)
{
    return s && s->place != FB_PLACE_CONST && (s->lay.packed || s->enc->kind == FB_ENC_LEVELS);
}

#endif
