#include "model/fixed.h"

#include "model/shape.h"
#include "model/shape_rules.h"

enum { MOST_FRACTION = 60 }; /* sums of two, and codes times scales, stay normal floats */

const fb_fixed *fb_node_fixed(const fb_node *n)
{
    if (n->op == FB_OP_CONV || n->op == FB_OP_CONV_TRANSPOSE)
        return &n->attr.conv.fixed;
    return n->op == FB_OP_DENSE ? &n->attr.dense.fixed : NULL;
}

bool fb_node_is_fixed(const fb_node *n)
{
    const fb_fixed *f = fb_node_fixed(n);
    return f && f->acc_bits != 0;
}

bool fb_tensor_is_fixed(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    int32_t f;
    bool integers = e->kind == FB_ENC_AFFINE || (e->kind == FB_ENC_LEVELS && e->level_bits > 0);
    if (!integers || e->group != 0 || e->axis > 0 || e->n_patches != 0)
        return false;
    for (uint32_t i = 0; i < e->n_scales; i++) {
        if (!fb_fraction_bits(e->scale[i], &f) || f < -MOST_FRACTION || f > MOST_FRACTION ||
            (e->zero && e->zero[i] != 0))
            return false;
    }
    return true;
}

static fb_status check_law(const fb_node *n, const fb_fixed *f)
{
    if (n->op == FB_OP_CONV_TRANSPOSE)
        return FB_RULE(n, "has an accumulator of %d bits; fixed point is for conv and dense layers",
                       (int)f->acc_bits);
    if (f->acc_bits < FB_ACC_LEAST || f->acc_bits > FB_ACC_MOST)
        return FB_RULE(n, "fixed point with an accumulator of %d bits, must be %d to %d",
                       (int)f->acc_bits, FB_ACC_LEAST, FB_ACC_MOST);
    if ((uint32_t)f->overflow >= FB_OVERFLOW_COUNT || (uint32_t)f->rounding >= FB_ROUND_COUNT)
        return FB_RULE(n, "fixed point with overflow mode %d and rounding %d, must be below %d, %d",
                       (int)f->overflow, (int)f->rounding, FB_OVERFLOW_COUNT, FB_ROUND_COUNT);
    return FB_OK;
}

fb_status fb_fixed_check(const fb_model *m, const fb_node *n)
{
    const fb_fixed *f = fb_node_fixed(n);
    if (!f || (f->acc_bits == 0 && f->overflow == 0 && f->rounding == 0))
        return FB_OK;
    FB_TRY(check_law(n, f));
    if (n->n_in < 2 || n->in[0] < 0 || n->in[1] < 0)
        return FB_OK; /* left to the shape rules */
    const fb_tensor *x = &m->tensors[n->in[0]], *w = &m->tensors[n->in[1]];
    const fb_tensor *y = &m->tensors[n->out[0]];
    const fb_tensor *b = n->n_in > 2 && n->in[2] >= 0 ? &m->tensors[n->in[2]] : NULL;
    if (x->is_const || !fb_tensor_is_fixed(x))
        return FB_RULE(n, "is in fixed point, but its input '%.200s' has no power of two as scale",
                       x->name);
    if (!w->is_const || !fb_tensor_is_fixed(w))
        return FB_RULE(n,
                       "is in fixed point, but its weight '%.200s' has no powers of two as scales",
                       w->name);
    if (y->enc.kind != FB_ENC_PLAIN && !fb_tensor_is_fixed(y))
        return FB_RULE(n, "is in fixed point, but its output '%.200s' has no power of two as scale",
                       y->name);
    if (b && !b->is_const)
        return FB_RULE(n, "is in fixed point, but its bias '%.200s' is no constant", b->name);
    return FB_OK;
}
