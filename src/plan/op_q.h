/* What the prepare functions on encoded activations share. */
#ifndef FB_PLAN_OP_Q_H
#define FB_PLAN_OP_Q_H

#include "kernels/layer.h"
#include "kernels/point_q.h"
#include "plan/op_util.h"

/* Codes of a tensor with one scale, as stored: 8 bits when bits <= 8, else 16. */
typedef struct fb_codes {
    float scale;
    int32_t zero, lo, hi; /* lo, hi: of `bits` bits */
    unsigned bits;
    bool is_signed;
} fb_codes;

/* True when the slot (NULL is false) is affine with one scale and lies in memory as whole bytes or
 * pairs of them. */
static inline bool fb_codes_of(const fb_slot *slot, fb_codes *q)
{
    if (!slot || slot->enc->kind != FB_ENC_AFFINE || slot->enc->n_scales != 1 || slot->lay.packed)
        return false;
    const fb_encoding *e = slot->enc;
    if (slot->place == FB_PLACE_CONST && e->bits != 8 && e->bits != 16)
        return false;
    q->scale = e->scale[0];
    q->zero = e->zero ? e->zero[0] : 0;
    q->bits = e->bits;
    q->is_signed = e->is_signed;
    q->lo = fb_code_min(e->bits, e->is_signed);
    q->hi = fb_code_max(e->bits, e->is_signed);
    return true;
}

/* The same, and stored in bytes. */
static inline bool fb_codes8_of(const fb_slot *slot, fb_codes *q)
{
    return fb_codes_of(slot, q) && q->bits <= 8;
}

/* Equal codes stand for equal values. */
static inline bool fb_codes_same(const fb_codes *a, const fb_codes *b)
{
    return a->scale == b->scale && a->zero == b->zero && a->bits == b->bits &&
           a->is_signed == b->is_signed;
}

/* Signed codes as the unsigned codes q + 128 (unsigned ones stay); returns what stored bytes are
 * xor-ed with. Operators whose rounding depends on the zero point are computed there. */
static inline uint8_t fb_codes_unsigned(fb_codes *q)
{
    if (!q->is_signed)
        return 0;
    q->zero += 128;
    q->lo += 128;
    q->hi += 128;
    return 0x80;
}

static inline void fb_codes_clamp(fb_codes *q, const fb_act *act)
{
    if (act->clamp)
        fb_act_codes(act->lo, act->hi, q->scale, q->zero, &q->lo, &q->hi);
}

static inline int32_t fb_code_of_byte(uint8_t byte, bool is_signed)
{
    return is_signed ? (int8_t)byte : byte;
}

/* The shape of a conv node over images, and of a dense node whose rows are one row of pixels. For
 * input and output of fewer than 2^32 elements (fb_layer_fits). */
bool fb_layer_fits(const fb_prepare *p);
fb_status fb_conv_shape(const fb_prepare *p, fbk_layer *shape);
fb_status fb_dense_shape(const fb_prepare *p, fbk_layer *shape);

/* table[byte] = the code in `y` of f(value of byte in `x`); f NULL is the identity. */
void fb_codes_table(const fb_codes *x, const fb_codes *y, float (*f)(const void *ctx, float v),
                    const void *ctx, uint8_t table[256]);

/* Fills the step: y = table[x], elementwise; an alias when the table changes nothing. */
fb_status fb_prepare_table(fb_prepare *p, const uint8_t table[256]);

#endif
